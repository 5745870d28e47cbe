//! The door: its addresses, what its connections share, shutdown.

use crate::connection;
use crate::limits::{CLOSING_MAX, CONNECTIONS_MAX, LARGE_BYTES_MAX};
use crate::registry::Registry;
use anabranch_net::{Application, Entered, Entry, Gate, Guest, Listener, Rules};
use anabranch_query::Sql;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How the door listens and what it allows.
#[derive(Debug, Clone)]
pub struct PostgresSettings {
    /// Where to listen (`postgres.listen`); port 0 takes any.
    pub listen: Vec<SocketAddr>,
    /// Who is let in; others are refused with 53300.
    pub rules: Rules,
}

impl Default for PostgresSettings {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 5433))],
            rules: Rules {
                connections_max: CONNECTIONS_MAX,
                connections_per_address_max: CONNECTIONS_MAX,
                ..Rules::default()
            },
        }
    }
}

/// Why the door cannot open.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken, or not ours.
    #[error(
        "cannot listen at {address} for PostgreSQL clients: {error}; choose another postgres.listen"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        error: io::Error,
    },
    /// Nowhere to listen.
    #[error("there is no address to listen at for PostgreSQL clients: set postgres.listen")]
    NoListener,
}

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) sql: Arc<Sql>,
    pub(crate) registry: Registry,
    pub(crate) gate: Arc<Gate>,
    /// KiB of large messages that are arriving.
    pub(crate) large: Semaphore,
    pub(crate) shutdown: CancellationToken,
}

/// A door whose sockets are bound: clients can connect, and wait until it is served.
#[derive(Debug)]
pub struct PostgresDoor {
    listeners: Vec<Listener>,
    gate: Arc<Gate>,
}

/// Binds and serves until `shutdown`: [`PostgresDoor::bind`], then [`PostgresDoor::serve`].
///
/// # Errors
/// [`ServeError`] if an address cannot be bound.
pub async fn serve(
    sql: Arc<Sql>,
    settings: PostgresSettings,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    PostgresDoor::bind(settings)?.serve(sql, shutdown).await;
    Ok(())
}

impl PostgresDoor {
    /// Binds all addresses. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`ServeError`] for the first address that cannot be bound.
    pub fn bind(settings: PostgresSettings) -> Result<Self, ServeError> {
        let mut listeners = Vec::new();
        for &address in &settings.listen {
            let error = |error| ServeError::Listen { address, error };
            let bound = anabranch_net::bind(address).map_err(error)?;
            listeners.push(bound.listen().map_err(error)?);
        }
        if listeners.is_empty() {
            return Err(ServeError::NoListener);
        }
        let gate = Gate::new(Application::PostgreSql, settings.rules);
        Ok(Self { listeners, gate })
    }

    /// Where it listens; with the ports that were chosen where 0 was asked for.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().flat_map(Listener::addresses).collect()
    }

    /// Counts of its connections.
    #[must_use]
    pub fn connections(&self) -> Arc<anabranch_net::Metrics> {
        self.gate.metrics()
    }

    /// Serves clients until `shutdown`; then ends what runs, and returns after some seconds at
    /// most.
    pub async fn serve(self, sql: Arc<Sql>, shutdown: CancellationToken) {
        let shared = Arc::new(Shared {
            sql,
            registry: Registry::default(),
            gate: self.gate.clone(),
            large: Semaphore::new(LARGE_BYTES_MAX / 1024),
            shutdown: shutdown.clone(),
        });
        let tasks = TaskTracker::new();
        for listener in self.listeners {
            let (shared, gate) = (shared.clone(), self.gate.clone());
            let serve = move |guest| connection(guest, shared.clone());
            tasks.spawn(listener.accept(gate, tasks.clone(), shutdown.clone(), serve));
        }
        shutdown.cancelled().await;
        tasks.close();
        if tokio::time::timeout(CLOSING_MAX, tasks.wait()).await.is_err() {
            tracing::warn!("some PostgreSQL clients did not close in {CLOSING_MAX:?}: dropped");
        }
    }
}

/// Serves one client.
async fn connection(guest: Guest, shared: Arc<Shared>) {
    // What it turns away it has counted and told.
    let Entry::In(Entered { stream, peer, place, apology }) = guest.enter().await else {
        return;
    };
    let address = peer.address;
    let place = place.map_err(|why| shared.gate.remedy(why));
    // On the heap only now: a connection that says nothing is small.
    if let Err(error) = Box::pin(connection::run(stream, peer, shared, place)).await {
        tracing::debug!(%address, %error, "a PostgreSQL client's connection broke");
    }
    drop(apology);
}
