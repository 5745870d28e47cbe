//! Listening: sockets, the bound on connections, shutdown.

use crate::connection;
use crate::limits::{CLOSING_MAX, CONNECTIONS_MAX, LARGE_BYTES_MAX};
use crate::registry::Registry;
use anabranch_query::Sql;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections the system holds for us until we take them.
const BACKLOG: i32 = 1024;
/// How long to wait when the system has no more sockets for us.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How the door listens and what it allows.
#[derive(Debug, Clone)]
pub struct PostgresSettings {
    /// Where to listen (`postgres.listen`); port 0 takes any.
    pub listen: Vec<SocketAddr>,
    /// Connections at most; more are refused with 53300 (`postgres.connections_max`).
    pub connections_max: usize,
}

impl Default for PostgresSettings {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 5433))],
            connections_max: CONNECTIONS_MAX,
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
    /// KiB of large messages that are arriving.
    pub(crate) large: Semaphore,
    pub(crate) shutdown: CancellationToken,
}

/// A door whose sockets are bound: clients can connect, and wait until it is served.
#[derive(Debug)]
pub struct PostgresDoor {
    settings: PostgresSettings,
    listeners: Vec<TcpListener>,
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
            let listener = bind(address).map_err(error)?;
            let port = listener.local_addr().map_err(error)?.port();
            listeners.push(listener);
            // Clients may take "localhost" for ::1.
            if address.ip() == IpAddr::from([127, 0, 0, 1]) {
                let also = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
                match bind(also) {
                    Ok(listener) => listeners.push(listener),
                    Err(error) => tracing::debug!(%also, %error, "not listening here too"),
                }
            }
        }
        if listeners.is_empty() {
            return Err(ServeError::NoListener);
        }
        Ok(Self { settings, listeners })
    }

    /// Where it listens; with the ports that were chosen where 0 was asked for.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Serves clients until `shutdown`; then ends what runs, and returns after some seconds at
    /// most.
    pub async fn serve(self, sql: Arc<Sql>, shutdown: CancellationToken) {
        let shared = Arc::new(Shared {
            sql,
            registry: Registry::default(),
            large: Semaphore::new(LARGE_BYTES_MAX / 1024),
            shutdown: shutdown.clone(),
        });
        let places = Arc::new(Semaphore::new(self.settings.connections_max));
        let tasks = TaskTracker::new();
        for listener in self.listeners {
            tasks.spawn(accept(listener, shared.clone(), places.clone(), tasks.clone()));
        }
        shutdown.cancelled().await;
        tasks.close();
        if tokio::time::timeout(CLOSING_MAX, tasks.wait()).await.is_err() {
            tracing::warn!("some PostgreSQL clients did not close in {CLOSING_MAX:?}: dropped");
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for connections of the last run to fade.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // [::] takes IPv4 clients too; ::1 stands beside 127.0.0.1.
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    places: Arc<Semaphore>,
    tasks: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.shutdown.cancelled() => return,
        };
        match accepted {
            Ok((socket, peer)) => {
                let place = places.clone().try_acquire_owned().ok();
                let shared = shared.clone();
                tasks.spawn(async move {
                    if let Err(error) = connection::run(socket, shared, place).await {
                        tracing::debug!(%peer, %error, "a PostgreSQL client's connection broke");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a PostgreSQL client");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
