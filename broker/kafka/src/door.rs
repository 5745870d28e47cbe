//! Listening: sockets, the bound on connections, shutdown.

use crate::answer::Client;
use crate::connection::Connection;
use crate::coordinator::Coordinator;
use crate::limits::{FETCHES_BYTES_MAX, LARGE_FRAMES_BYTES_MAX, LOGINS_MAX};
use crate::metrics::KafkaMetrics;
use crate::settings::{HostPort, KafkaSettings, Listener};
use anabranch_engine::{Engine, Session};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections the system holds for us until we take them.
const BACKLOG: i32 = 1024;
/// How long to wait when the system has no more sockets for us.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the door cannot open.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken, or not ours.
    #[error("cannot listen at {address} for Kafka clients: {error}; choose another kafka.listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        error: io::Error,
    },
    /// Nowhere to listen.
    #[error("there is no address to listen at for Kafka clients: set kafka.listen")]
    NoListener,
}

/// What all connections share, and the engine as the client of one of them may use it.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) engine: Session,
    /// The engine as the door itself uses it, where a request is decided by other means.
    pub(crate) own: Session,
    pub(crate) settings: Arc<KafkaSettings>,
    pub(crate) metrics: Arc<KafkaMetrics>,
    pub(crate) groups: Arc<Coordinator>,
    /// KiB of large frames that are arriving or being answered.
    pub(crate) large_frames: Arc<Semaphore>,
    /// KiB of fetched records that are not sent yet.
    pub(crate) fetched: Arc<Semaphore>,
    /// Logins that may hash at a time.
    pub(crate) logins: Arc<Semaphore>,
    connections: Arc<Semaphore>,
}

impl Shared {
    /// The same for a client who may use `engine`.
    pub(crate) fn with(&self, engine: Session) -> Arc<Self> {
        Arc::new(Self { engine, ..self.clone() })
    }
}

/// A door whose sockets are bound: clients can connect, and wait until it is served.
#[derive(Debug)]
pub struct KafkaDoor {
    settings: KafkaSettings,
    listeners: Vec<(TcpListener, Option<HostPort>)>,
    metrics: Arc<KafkaMetrics>,
}

/// Binds and serves until `shutdown`: [`KafkaDoor::bind`], then [`KafkaDoor::serve`].
///
/// # Errors
/// [`ServeError`] if an address cannot be bound.
pub async fn serve(
    engine: Engine,
    settings: KafkaSettings,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    KafkaDoor::bind(settings)?.serve(engine, shutdown).await;
    Ok(())
}

impl KafkaDoor {
    /// Binds all addresses. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`ServeError`] for the first address that cannot be bound.
    pub fn bind(settings: KafkaSettings) -> Result<Self, ServeError> {
        let mut listeners = Vec::new();
        for Listener { listen, advertise } in &settings.listeners {
            let error = |error| ServeError::Listen { address: *listen, error };
            let listener = bind(*listen).map_err(error)?;
            let port = listener.local_addr().map_err(error)?.port();
            listeners.push((listener, advertise.clone()));
            // Clients may take "localhost" for ::1.
            if listen.ip() == IpAddr::from([127, 0, 0, 1]) {
                let also = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
                match bind(also) {
                    Ok(listener) => listeners.push((listener, advertise.clone())),
                    Err(error) => tracing::debug!(%also, %error, "not listening here too"),
                }
            }
        }
        if listeners.is_empty() {
            return Err(ServeError::NoListener);
        }
        Ok(Self { settings, listeners, metrics: Arc::default() })
    }

    /// Where it listens; with the ports that were chosen where 0 was asked for.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|(listener, _)| listener.local_addr().ok()).collect()
    }

    /// Its counters.
    #[must_use]
    pub fn metrics(&self) -> Arc<KafkaMetrics> {
        Arc::clone(&self.metrics)
    }

    /// Serves clients until `shutdown`, then answers what is in flight, for some seconds at
    /// most, and returns.
    pub async fn serve(self, engine: Engine, shutdown: CancellationToken) {
        let shared = Arc::new(Shared {
            groups: Arc::new(Coordinator::new(self.settings.groups, engine.own_session())),
            engine: engine.session(""),
            own: engine.own_session(),
            large_frames: Arc::new(Semaphore::new(LARGE_FRAMES_BYTES_MAX / 1024)),
            fetched: Arc::new(Semaphore::new(FETCHES_BYTES_MAX / 1024)),
            logins: Arc::new(Semaphore::new(LOGINS_MAX)),
            connections: Arc::new(Semaphore::new(self.settings.connections_max)),
            settings: Arc::new(self.settings),
            metrics: self.metrics,
        });
        let tasks = TaskTracker::new();
        for (listener, advertise) in self.listeners {
            let accept =
                accept(listener, advertise, Arc::clone(&shared), tasks.clone(), shutdown.clone());
            tasks.spawn(accept);
        }
        let timers = Arc::clone(&shared);
        let stop = shutdown.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = timers.groups.run() => {}
                () = stop.cancelled() => {}
            }
        });
        shutdown.cancelled().await;
        tasks.close();
        tasks.wait().await;
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
    advertise: Option<HostPort>,
    shared: Arc<Shared>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Ok(place) = Arc::clone(&shared.connections).try_acquire_owned() else {
                    shared.metrics.connections_refused.add(1);
                    tracing::warn!(%peer, "too many connections: raise kafka.connections_max");
                    continue;
                };
                let stop = shutdown.clone();
                tasks.spawn(connection(
                    stream,
                    peer,
                    advertise.clone(),
                    Arc::clone(&shared),
                    stop,
                    place,
                ));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a Kafka client");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    advertise: Option<HostPort>,
    shared: Arc<Shared>,
    stop: CancellationToken,
    _place: OwnedSemaphorePermit,
) {
    // Without an address of its own to give, the broker is where the client reached it; a
    // wildcard is never given out.
    let broker = match (advertise, stream.local_addr()) {
        (Some(advertise), _) => advertise,
        (None, Ok(local)) => HostPort::of(local),
        (None, Err(error)) => {
            tracing::debug!(%peer, %error, "the client was gone at once");
            return;
        }
    };
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "responses to this client may be delayed");
    }
    let _open = Open::new(&shared.metrics);
    // As whom the client comes, it may still say.
    let shared = shared.with(shared.own.session(&peer.ip().to_canonical().to_string()));
    Connection::new(stream, Client::new(peer, broker), shared).run(stop).await;
}

/// Counts a connection as open for as long as it lives.
struct Open(Arc<KafkaMetrics>);

impl Open {
    fn new(metrics: &Arc<KafkaMetrics>) -> Self {
        metrics.connections.add(1);
        metrics.connections_open.add(1);
        Self(Arc::clone(metrics))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections_open.add(-1);
    }
}
