//! What all connections of the door share.

use crate::limits::{BODIES_BYTES_MAX, Limits};
use crate::login::{LOGINS_MAX, Logins};
use crate::metrics::{Collect, Counts};
use anabranch_engine::Session;
use anabranch_net::{Peer, Place, Rules};
use anabranch_query::Sql;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How late a subscriber may learn that its stream was dropped or has new partitions.
const CATALOG_EVERY: Duration = Duration::from_millis(250);

/// How the door behaves.
#[derive(Clone, Default)]
pub struct Settings {
    /// Who is let in; others are answered with 503.
    pub rules: Rules,
    /// Bounds.
    pub limits: Limits,
    /// Origins (`https://app.example.com`) whose pages may use the door; `*` is all. A page that
    /// the door itself serves always may.
    pub allowed_origins: Vec<String>,
    /// What other doors add to `/metrics`.
    pub collect: Vec<Collect>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("rules", &self.rules)
            .field("limits", &self.limits)
            .field("allowed_origins", &self.allowed_origins)
            .field("collect", &self.collect.len())
            .finish()
    }
}

/// See the module.
pub(crate) struct Door {
    /// The broker's own: for figures, and to make sessions of clients from.
    pub(crate) own: Session,
    /// For whoever cannot be denied anything.
    pub(crate) sql: Arc<Sql>,
    pub(crate) settings: Settings,
    pub(crate) counts: Counts,
    /// Counts of connections.
    pub(crate) connections: Arc<anabranch_net::Metrics>,
    /// KiB of request bodies that may yet be read.
    pub(crate) bodies: Arc<Semaphore>,
    /// Passwords that may be hashed now.
    pub(crate) logins: Arc<Semaphore>,
    /// Cancelled when the door closes.
    pub(crate) stop: CancellationToken,
    /// Wakes when streams come, change or go.
    pub(crate) catalog: CatalogChanges,
    /// Connections, those that became WebSockets included.
    pub(crate) tasks: TaskTracker,
    turn: AtomicU32,
}

impl Door {
    pub(crate) fn new(
        own: Session,
        sql: Arc<Sql>,
        settings: Settings,
        connections: Arc<anabranch_net::Metrics>,
        stop: CancellationToken,
    ) -> Self {
        let tasks = TaskTracker::new();
        let catalog = CatalogChanges::watch(&own, &stop, &tasks);
        Self {
            own,
            sql,
            settings,
            counts: Counts::default(),
            connections,
            bodies: Arc::new(Semaphore::new(BODIES_BYTES_MAX >> 10)),
            logins: Arc::new(Semaphore::new(LOGINS_MAX)),
            stop,
            catalog,
            tasks,
            turn: AtomicU32::new(0),
        }
    }

    /// Deals events without a key to the partitions in turn, a request at a time.
    pub(crate) fn turn(&self) -> u32 {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }
}

/// Waits for the catalog to change; each clone for itself.
#[derive(Clone)]
pub(crate) struct CatalogChanges {
    version: watch::Receiver<u64>,
}

impl CatalogChanges {
    /// Looks at the catalog's version now and then, once for all connections.
    fn watch(engine: &Session, stop: &CancellationToken, tasks: &TaskTracker) -> Self {
        let (sender, version) = watch::channel(engine.catalog().version());
        let (engine, stop) = (engine.clone(), stop.clone());
        tasks.spawn(async move {
            let mut ticks = tokio::time::interval(CATALOG_EVERY);
            loop {
                tokio::select! {
                    _ = ticks.tick() => {}
                    () = stop.cancelled() => return,
                }
                let now = engine.catalog().version();
                sender.send_if_modified(|known| std::mem::replace(known, now) != now);
            }
        });
        Self { version }
    }

    /// Completes when the catalog has changed since the last call did.
    pub(crate) async fn changed(&mut self) {
        if self.version.changed().await.is_err() {
            // The door is closing.
            std::future::pending().await
        }
    }
}

/// A connection, as its requests see it.
#[derive(Clone)]
pub(crate) struct Connection {
    /// Our end.
    pub(crate) local: SocketAddr,
    /// Who is there, as far as the connection tells.
    pub(crate) peer: Peer,
    /// Who its requests are by.
    pub(crate) logins: Arc<Logins>,
    /// Counts the connection against the limit until it is gone, WebSocket or not.
    pub(crate) _place: Arc<Place>,
}
