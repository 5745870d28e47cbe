//! Client quotas (KIP-13, KIP-257, KIP-546): how many bytes a second producers may send and
//! consumers be sent, by user, client id, or both.
//!
//! Who goes beyond is answered at once, with the time for which nothing more is read from its
//! connection (KIP-219). Kept and described but not enforced are `request_percentage`,
//! `controller_mutation_rate` and `connection_creation_rate`.
//!
//! Invariant: while no byte rate is set, a request costs one look at a flag.

mod rate;

use crate::limits::QUOTA_RATES_MAX;
use anabranch_engine::{Error, Resource, Session};
use parking_lot::Mutex;
use rate::{Rate, WHOLE_SAMPLES};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;

pub(crate) const USER: &str = "user";
pub(crate) const CLIENT_ID: &str = "client-id";
pub(crate) const IP: &str = "ip";

/// Who a quota is of: names by type; `None` for all that have no quota of their own.
pub(crate) type Entity = BTreeMap<String, Option<String>>;

/// What is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Flow {
    /// Bytes of produce requests.
    Produced,
    /// Bytes of fetched records.
    Fetched,
}

impl Flow {
    fn key(self) -> &'static str {
        match self {
            Self::Produced => "producer_byte_rate",
            Self::Fetched => "consumer_byte_rate",
        }
    }
}

/// Quotas by who they are of, and what flowed lately.
pub(crate) struct Quotas {
    /// Whether any byte rate is set.
    is_set: AtomicBool,
    state: Mutex<State>,
    started: Instant,
}

#[derive(Default)]
struct State {
    quotas: BTreeMap<Entity, BTreeMap<String, f64>>,
    rates: HashMap<Place, Rate>,
}

/// What shares a rate: user and client id, empty where the quota does not look at it.
type Place = (Flow, String, String);

impl Quotas {
    /// With what the engine remembers.
    pub(crate) fn new(engine: &Session) -> Self {
        let quotas = Self {
            is_set: AtomicBool::new(false),
            state: Mutex::default(),
            started: Instant::now(),
        };
        quotas.load(engine);
        quotas
    }

    /// Puts what the engine has in force.
    pub(crate) fn load(&self, engine: &Session) {
        let quotas = match stored(engine) {
            Ok(quotas) => quotas,
            Err(error) => {
                tracing::error!(%error, "quotas stay what they were");
                return;
            }
        };
        let flows = [Flow::Produced, Flow::Fetched];
        let is_set =
            quotas.values().any(|values| flows.iter().any(|flow| values.contains_key(flow.key())));
        self.state.lock().quotas = quotas;
        self.is_set.store(is_set, Ordering::Relaxed);
    }

    /// Whether any byte rate is set.
    #[inline]
    pub(crate) fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Relaxed)
    }

    /// Counts bytes; says for how long the client is to be left alone, if it has a quota and is
    /// beyond it.
    pub(crate) fn record(
        &self,
        flow: Flow,
        user: &str,
        client_id: &str,
        bytes: usize,
    ) -> Option<Duration> {
        let now_ms = self.now_ms();
        let mut state = self.state.lock();
        let (most, place) = state.find(flow, user, client_id)?;
        let rate = state.rate(place, now_ms);
        rate.record(bytes as f64, now_ms);
        let wait_ms = rate.excess_ms(most, now_ms);
        (wait_ms > 0).then(|| Duration::from_millis(wait_ms))
    }

    /// Takes back bytes that were counted but not sent.
    pub(crate) fn take_back(&self, flow: Flow, user: &str, client_id: &str, bytes: usize) {
        let now_ms = self.now_ms();
        let mut state = self.state.lock();
        if let Some((_, place)) = state.find(flow, user, client_id) {
            state.rate(place, now_ms).record(-(bytes as f64), now_ms);
        }
    }

    /// The most bytes that can be taken at once without being beyond the quota.
    pub(crate) fn most_at_once(&self, flow: Flow, user: &str, client_id: &str) -> Option<usize> {
        let (most, _) = self.state.lock().find(flow, user, client_id)?;
        // A cast of a number that is too large gives the largest.
        Some((most * WHOLE_SAMPLES as f64) as usize)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl State {
    /// The quota of a client, the most special one, and what it counts in.
    fn find(&self, flow: Flow, user: &str, client_id: &str) -> Option<(f64, Place)> {
        let own = |name: &str| Some(Some(name.to_owned()));
        // In Kafka's order: by user and client id, by user, by client id; a name before a default.
        let steps = [
            (own(user), own(client_id)),
            (own(user), Some(None)),
            (own(user), None),
            (Some(None), own(client_id)),
            (Some(None), Some(None)),
            (Some(None), None),
            (None, own(client_id)),
            (None, Some(None)),
        ];
        steps.into_iter().find_map(|(by_user, by_client)| {
            if by_client.is_some() && client_id.is_empty() {
                return None;
            }
            let counted = |part: &Option<_>, name: &str| {
                if part.is_some() { name.to_owned() } else { String::new() }
            };
            let place = (flow, counted(&by_user, user), counted(&by_client, client_id));
            let named = |kind: &str, part: Option<_>| part.map(|name| (kind.to_owned(), name));
            let entity: Entity =
                named(USER, by_user).into_iter().chain(named(CLIENT_ID, by_client)).collect();
            let most = self.quotas.get(&entity)?.get(flow.key())?;
            Some((*most, place))
        })
    }

    fn rate(&mut self, place: Place, now_ms: u64) -> &mut Rate {
        if self.rates.len() >= QUOTA_RATES_MAX && !self.rates.contains_key(&place) {
            self.rates.retain(|_, rate| !rate.is_idle(now_ms));
            if self.rates.len() >= QUOTA_RATES_MAX {
                // Client ids are what clients say: those that are too many share one rate.
                return self.rates.entry((place.0, String::new(), String::new())).or_default();
            }
        }
        self.rates.entry(place).or_default()
    }
}

/// A wait as responses tell it, in milliseconds.
pub(crate) fn throttle_ms(throttle: Option<Duration>) -> i32 {
    throttle.map_or(0, |wait| i32::try_from(wait.as_millis()).unwrap_or(i32::MAX))
}

/// All quotas that are set.
///
/// # Errors
/// `Denied`.
pub(crate) fn stored(engine: &Session) -> Result<BTreeMap<Entity, BTreeMap<String, f64>>, Error> {
    let mut all = BTreeMap::new();
    for name in engine.resources(Resource::ClientQuota)? {
        let Ok(entity) = serde_json::from_str(&name) else { continue };
        let values = engine.resource_settings(Resource::ClientQuota, &name)?.into_iter();
        let values = values.filter_map(|(key, value)| Some((key, value.parse().ok()?)));
        all.insert(entity, values.collect());
    }
    Ok(all)
}

/// The name under which the engine keeps quotas of an entity.
pub(crate) fn name_of(entity: &Entity) -> String {
    serde_json::to_string(entity).expect("maps have text for keys, and memory does not fail")
}

#[cfg(test)]
mod tests {
    use super::{CLIENT_ID, Entity, Flow, State, USER};
    use std::collections::BTreeMap;

    fn entity(parts: &[(&str, Option<&str>)]) -> Entity {
        let part =
            |(kind, name): &(&str, Option<&str>)| ((*kind).to_owned(), name.map(str::to_owned));
        parts.iter().map(part).collect()
    }

    #[test]
    fn the_most_special_quota_counts() {
        let mut state = State::default();
        let levels = [
            (entity(&[(CLIENT_ID, None)]), ("", "c")),
            (entity(&[(CLIENT_ID, Some("c"))]), ("", "c")),
            (entity(&[(USER, None)]), ("u", "")),
            (entity(&[(USER, None), (CLIENT_ID, None)]), ("u", "c")),
            (entity(&[(USER, None), (CLIENT_ID, Some("c"))]), ("u", "c")),
            (entity(&[(USER, Some("u"))]), ("u", "")),
            (entity(&[(USER, Some("u")), (CLIENT_ID, None)]), ("u", "c")),
            (entity(&[(USER, Some("u")), (CLIENT_ID, Some("c"))]), ("u", "c")),
        ];
        let mut most = 0.0;
        for (entity, (user, client)) in levels {
            most += 1.0;
            let quota = BTreeMap::from([("producer_byte_rate".to_owned(), most)]);
            state.quotas.insert(entity.clone(), quota);
            let place = (Flow::Produced, user.to_owned(), client.to_owned());
            assert_eq!(state.find(Flow::Produced, "u", "c"), Some((most, place)), "{entity:?}");
            assert_eq!(state.find(Flow::Fetched, "u", "c"), None);
        }
        // Without a client id, those of users alone count.
        assert_eq!(state.find(Flow::Produced, "u", "").map(|found| found.0), Some(6.0));
        assert_eq!(state.find(Flow::Produced, "x", "y").map(|found| found.0), Some(4.0));
    }
}
