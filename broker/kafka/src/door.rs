//! The door: its addresses, what its connections share, shutdown.

use crate::answer::Client;
use crate::connection::Connection;
use crate::coordinator::Coordinator;
use crate::limits::{FETCHES_BYTES_MAX, LARGE_FRAMES_BYTES_MAX, LOGINS_MAX};
use crate::metrics::KafkaMetrics;
use crate::quotas::Quotas;
use crate::settings::{HostPort, KafkaSettings, Listener};
use anabranch_engine::{Engine, Session};
use anabranch_net::{Application, Entered, Entry, Gate, Guest};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

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
    pub(crate) quotas: Arc<Quotas>,
    /// KiB of large frames that are arriving or being answered.
    pub(crate) large_frames: Arc<Semaphore>,
    /// KiB of fetched records that are not sent yet.
    pub(crate) fetched: Arc<Semaphore>,
    /// Logins that may hash at a time.
    pub(crate) logins: Arc<Semaphore>,
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
    listeners: Vec<(anabranch_net::Listener, Option<HostPort>)>,
    gate: Arc<Gate>,
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
            let bound = anabranch_net::bind(*listen).map_err(error)?;
            listeners.push((bound.listen().map_err(error)?, advertise.clone()));
        }
        if listeners.is_empty() {
            return Err(ServeError::NoListener);
        }
        let gate = Gate::new(Application::Kafka, settings.rules.clone());
        Ok(Self { settings, listeners, gate, metrics: Arc::default() })
    }

    /// Where it listens; with the ports that were chosen where 0 was asked for.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().flat_map(|(listener, _)| listener.addresses()).collect()
    }

    /// Counts of its connections.
    #[must_use]
    pub fn connections(&self) -> Arc<anabranch_net::Metrics> {
        self.gate.metrics()
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
            quotas: Arc::new(Quotas::new(&engine.own_session())),
            engine: engine.session(""),
            own: engine.own_session(),
            large_frames: Arc::new(Semaphore::new(LARGE_FRAMES_BYTES_MAX / 1024)),
            fetched: Arc::new(Semaphore::new(FETCHES_BYTES_MAX / 1024)),
            logins: Arc::new(Semaphore::new(LOGINS_MAX)),
            settings: Arc::new(self.settings),
            metrics: self.metrics,
        });
        let tasks = TaskTracker::new();
        for (listener, advertise) in self.listeners {
            let (shared, stop) = (Arc::clone(&shared), shutdown.clone());
            let serve = move |guest| {
                connection(guest, advertise.clone(), Arc::clone(&shared), stop.clone())
            };
            let gate = Arc::clone(&self.gate);
            tasks.spawn(listener.accept(gate, tasks.clone(), shutdown.clone(), serve));
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

/// Serves one client.
async fn connection(
    guest: Guest,
    advertise: Option<HostPort>,
    shared: Arc<Shared>,
    stop: CancellationToken,
) {
    if !guest.has_place() {
        // The protocol has no word for it.
        return;
    }
    // What it turns away it has counted and told.
    let Entry::In(Entered { stream, peer, place: _place, .. }) = guest.enter().await else {
        return;
    };
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
    // As whom the client comes, it may still say.
    let host = peer.address.ip().to_canonical().to_string();
    let session = match peer.principal() {
        Some(principal) => shared.own.session_by_certificate(&host, &principal),
        None => shared.own.session(&host),
    };
    let shared = shared.with(session);
    let client = Client::new(peer, broker, shared.engine.principal().name());
    // On the heap only now: a connection that says nothing is small.
    Box::pin(Connection::new(stream, client, shared).run(stop)).await;
}
