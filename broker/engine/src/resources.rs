//! Settings of what is not a stream, as Kafka has them: the broker itself, groups, clients. The engine keeps
//! them; what they mean is the doors' business.

use crate::Error;
use crate::catalog::to_json;
use crate::engine::Engine;
use std::collections::BTreeMap;

const PREFIX: &str = "settings/";

/// What has settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// The broker.
    Broker,
    /// A consumer group.
    Group,
    /// A subscription to metrics of clients (KIP-714).
    ClientMetrics,
    /// Users, client ids and addresses that have quotas (KIP-546).
    ClientQuota,
}

impl Resource {
    fn prefix(self) -> String {
        let kind = match self {
            Self::Broker => "broker",
            Self::Group => "group",
            Self::ClientMetrics => "client-metrics",
            Self::ClientQuota => "client-quota",
        };
        format!("{PREFIX}{kind}/")
    }
}

impl Engine {
    /// The settings of a resource; none if none were ever set.
    #[must_use]
    pub(crate) fn resource_settings(&self, kind: Resource, name: &str) -> BTreeMap<String, String> {
        let key = format!("{}{name}", kind.prefix());
        let record = self.inner.catalog_ledger.get(key.as_bytes());
        record.and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default()
    }

    /// Names of the resources of a kind that have settings.
    #[must_use]
    pub(crate) fn resources(&self, kind: Resource) -> Vec<String> {
        let prefix = kind.prefix();
        let entries = self.inner.catalog_ledger.scan(prefix.as_bytes()).into_iter();
        let name = |key: &[u8]| String::from_utf8_lossy(&key[prefix.len()..]).into_owned();
        entries.map(|(key, _)| name(&key)).collect()
    }

    /// Settings that streams get when they are created and do not name them.
    pub(crate) fn set_stream_defaults(&self, defaults: BTreeMap<String, String>) {
        *self.inner.stream_defaults.write() = defaults;
    }

    /// Sets (`Some`) or resets (`None`) settings of a resource; durable when this returns.
    ///
    /// # Errors
    /// The log's.
    pub(crate) async fn set_resource(
        &self,
        kind: Resource,
        name: &str,
        changes: BTreeMap<String, Option<String>>,
    ) -> Result<(), Error> {
        let _one_at_a_time = self.inner.changing.lock().await;
        let mut settings = self.resource_settings(kind, name);
        for (name, value) in changes {
            match value {
                Some(value) => settings.insert(name, value),
                None => settings.remove(&name),
            };
        }
        let key = format!("{}{name}", kind.prefix()).into_bytes();
        let value = (!settings.is_empty()).then(|| to_json(&settings));
        self.inner.catalog_ledger.put(vec![(key, value)]).await
    }
}
