//! Settings, principals and grants, as far as they may be seen and changed.

use super::{Session, Who};
use crate::Error;
use crate::access::CredentialChange;
use crate::resources::Resource as Settable;
use anabranch_access::{Access, Credentials, Grant, GrantFilter, Identity, Operation};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Session {
    fn check_settable(&self, on_group: Operation, kind: Settable, name: &str) -> Result<(), Error> {
        match kind {
            Settable::Group => self.check_group(on_group, name),
            Settable::Broker | Settable::ClientMetrics | Settable::ClientQuota => {
                self.check_cluster(on_group)
            }
        }
    }

    /// The settings of a resource; none if none were ever set.
    ///
    /// # Errors
    /// `Denied`.
    pub fn resource_settings(
        &self,
        kind: Settable,
        name: &str,
    ) -> Result<BTreeMap<String, String>, Error> {
        self.check_settable(Operation::DescribeConfigs, kind, name)?;
        Ok(self.engine.resource_settings(kind, name))
    }

    /// Names of the resources of a kind that have settings.
    ///
    /// # Errors
    /// `Denied`.
    pub fn resources(&self, kind: Settable) -> Result<Vec<String>, Error> {
        self.check_cluster(Operation::DescribeConfigs)?;
        Ok(self.engine.resources(kind))
    }

    /// Sets (`Some`) or resets (`None`) settings of a resource; durable when this returns.
    ///
    /// # Errors
    /// `Denied`; the log's.
    pub async fn set_resource(
        &self,
        kind: Settable,
        name: &str,
        changes: BTreeMap<String, Option<String>>,
    ) -> Result<(), Error> {
        self.check_settable(Operation::AlterConfigs, kind, name)?;
        self.engine.set_resource(kind, name, changes).await
    }

    /// Settings that streams get when they are created and do not name them.
    ///
    /// # Errors
    /// `Denied`.
    pub fn set_stream_defaults(&self, defaults: BTreeMap<String, String>) -> Result<(), Error> {
        self.check_cluster(Operation::AlterConfigs)?;
        self.engine.set_stream_defaults(defaults);
        Ok(())
    }

    /// All principals and grants.
    ///
    /// # Errors
    /// `Denied`.
    pub fn access(&self) -> Result<Arc<Access>, Error> {
        self.check_cluster(Operation::Describe)?;
        Ok(self.engine.inner.access.snapshot().1)
    }

    /// Adds grants, all or none; those that are there stay. Durable when this returns.
    ///
    /// # Errors
    /// `Denied`; `InvalidArgument` if there are too many; the log's.
    pub async fn add_grants(&self, grants: Vec<Grant>) -> Result<(), Error> {
        self.check_cluster(Operation::Alter)?;
        self.engine.add_grants(grants).await
    }

    /// Removes the grants that the filters take, and says for each filter which those were.
    /// Durable when this returns.
    ///
    /// # Errors
    /// `Denied`; the log's.
    pub async fn remove_grants(&self, filters: Vec<GrantFilter>) -> Result<Vec<Vec<Grant>>, Error> {
        self.check_cluster(Operation::Alter)?;
        self.engine.remove_grants(filters).await
    }

    /// Changes what users log in with, each on its own. Durable when this returns. Who makes the
    /// first principal goes on as that, since it is they who know its password: else they would
    /// have locked themselves out.
    ///
    /// # Errors
    /// `Denied`; the log's. For each change: `InvalidName`; `NotFound`, of what is to be removed;
    /// `InvalidArgument`.
    pub async fn change_credentials(
        &self,
        changes: Vec<(String, CredentialChange)>,
    ) -> Result<Vec<Result<(), Error>>, Error> {
        self.check_cluster(Operation::Alter)?;
        let changed = self.engine.change_credentials(changes).await?;
        if let (Some(principal), Who::Somebody(caller)) = (changed.first, &*self.who) {
            let host = self.host();
            *caller.identity.write() = Arc::new(Identity { principal, host });
            // What was remembered was of somebody else.
            caller.remembered.lock().version = u64::MAX;
        }
        Ok(changed.results)
    }

    /// Changes the password of who has logged in with one; that needs no grant.
    ///
    /// # Errors
    /// `Denied`: they have not logged in. `NotFound`: by a certificate, or they were dropped.
    /// The log's.
    pub async fn change_own_password(&self, credentials: Credentials) -> Result<(), Error> {
        let Some(user) = self.user() else {
            return self.check_cluster(Operation::Alter);
        };
        let change = (user, CredentialChange::Replace(credentials));
        let changed = self.engine.change_credentials(vec![change]).await?;
        changed.results.into_iter().collect()
    }
}
