//! Who is let in: the limits on a door's connections, and each connection's place among them.

use crate::limits::{APOLOGIES_MAX, FIRST_BYTE_TIME_MAX};
use crate::metrics::{Metrics, Refusal};
use crate::noise::may_say;
use crate::places::{Place, Places};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// What is spoken behind a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Application {
    /// The Kafka protocol.
    Kafka,
    /// PostgreSQL's protocol, version 3.
    PostgreSql,
    /// HTTP/1.1 and WebSocket.
    Http,
}

/// What a door allows.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Connections at most.
    pub connections_max: usize,
    /// Connections from one address at most.
    pub connections_per_address_max: usize,
    /// How long a client may take to send its first byte.
    pub first_byte_within: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            connections_per_address_max: 10_000,
            first_byte_within: FIRST_BYTE_TIME_MAX,
        }
    }
}

/// Stands before one door, whatever its addresses.
#[derive(Debug)]
pub struct Gate {
    application: Application,
    rules: Rules,
    places: Arc<Places>,
    apologies: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// A connection that was accepted.
#[derive(Debug)]
pub struct Guest {
    stream: TcpStream,
    address: SocketAddr,
    gate: Arc<Gate>,
    stop: CancellationToken,
    place: Result<Place, Refusal>,
    apology: Option<OwnedSemaphorePermit>,
}

/// A connection on which the client has begun to speak.
#[derive(Debug)]
pub struct Entered {
    /// Its socket; small writes leave at once.
    pub stream: TcpStream,
    /// The client's end.
    pub address: SocketAddr,
    /// Its place among the door's connections, to be held as long as it lives; or why there is
    /// none, so that the client can be told, shortly.
    pub place: Result<Place, Refusal>,
    /// Held while a client is told that there is no place.
    pub apology: Option<OwnedSemaphorePermit>,
}

impl Application {
    /// The section of the configuration that its door is set in.
    #[must_use]
    pub fn section(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::PostgreSql => "postgres",
            Self::Http => "web",
        }
    }
}

impl fmt::Display for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kafka => "Kafka",
            Self::PostgreSql => "PostgreSQL",
            Self::Http => "HTTP",
        })
    }
}

impl Gate {
    /// A gate for a door that speaks `application`.
    #[must_use]
    pub fn new(application: Application, rules: Rules) -> Arc<Self> {
        let metrics = Arc::<Metrics>::default();
        let (max, per_address_max) = (rules.connections_max, rules.connections_per_address_max);
        Arc::new(Self {
            application,
            rules,
            places: Places::new(max, per_address_max, Arc::clone(&metrics)),
            apologies: Arc::new(Semaphore::new(APOLOGIES_MAX)),
            metrics,
        })
    }

    /// What is spoken behind it.
    #[must_use]
    pub fn application(&self) -> Application {
        self.application
    }

    /// What it counts.
    #[must_use]
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    /// Gives a connection a place, or at least a moment to be told that there is none.
    pub(crate) fn admit(
        self: &Arc<Self>,
        stream: TcpStream,
        address: SocketAddr,
        stop: &CancellationToken,
    ) -> Option<Guest> {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%address, %error, "answers to this client may be delayed");
        }
        let (gate, stop) = (Arc::clone(self), stop.clone());
        let place = self.places.take(address.ip());
        let apology = match place {
            Ok(_) => None,
            Err(why) => {
                self.metrics.refused(why).add(1);
                if may_say("connections above a limit") {
                    let remedy = self.remedy(why);
                    tracing::warn!(%address, "a connection was refused: {remedy}");
                }
                Some(Arc::clone(&self.apologies).try_acquire_owned().ok()?)
            }
        };
        Some(Guest { stream, address, gate, stop, place, apology })
    }

    /// What an operator can do about a refusal, if it should not have been.
    #[must_use]
    pub fn remedy(&self, why: Refusal) -> String {
        let section = self.application.section();
        let Rules { connections_max, connections_per_address_max, first_byte_within } = &self.rules;
        match why {
            Refusal::TooMany => format!("{section}.connections_max is {connections_max}"),
            Refusal::TooManyOfAddress => {
                format!("{section}.connections_per_address_max is {connections_per_address_max}")
            }
            Refusal::Silent => format!("a client has {first_byte_within:?} to begin"),
        }
    }

    fn refuse(&self, why: Refusal) {
        self.metrics.refused(why).add(1);
    }
}

impl Guest {
    /// Whether it has a place; if not, it may enter to be told so.
    #[must_use]
    pub fn has_place(&self) -> bool {
        self.place.is_ok()
    }

    /// Waits for the client's first byte. `None` if it went, said nothing for too long, or the
    /// door closed.
    pub async fn enter(self) -> Option<Entered> {
        let Self { stream, address, gate, stop, place, apology } = self;
        let mut byte = [0];
        let first = tokio::select! {
            first = timeout(gate.rules.first_byte_within, stream.peek(&mut byte)) => first,
            () = stop.cancelled() => return None,
        };
        match first {
            Ok(Ok(1..)) => Some(Entered { stream, address, place, apology }),
            Ok(Ok(0)) => None,
            Ok(Err(error)) => {
                tracing::debug!(%address, %error, "the client was gone at once");
                None
            }
            Err(_) => {
                gate.refuse(Refusal::Silent);
                tracing::debug!(%address, "the client sent nothing");
                None
            }
        }
    }
}
