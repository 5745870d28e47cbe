//! Who is let in: the limits on a door's connections, and each connection's place among them.

use crate::limits::APOLOGIES_MAX;
use crate::metrics::{Metrics, Refusal};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

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
}

impl Default for Rules {
    fn default() -> Self {
        Self { connections_max: 10_000 }
    }
}

/// Stands before one door, whatever its addresses.
#[derive(Debug)]
pub struct Gate {
    application: Application,
    rules: Rules,
    places: Arc<Semaphore>,
    apologies: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// A connection that was accepted.
#[derive(Debug)]
pub struct Guest {
    /// Its socket; small writes leave at once.
    pub stream: TcpStream,
    /// The client's end.
    pub address: SocketAddr,
    /// Its place among the door's connections, to be held as long as it lives; `None` if there is
    /// none left: the client may be told so, shortly.
    pub place: Option<Place>,
    /// Held while a client is told that there is no place.
    _apology: Option<OwnedSemaphorePermit>,
}

/// A place among a door's connections; free again when dropped.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
    metrics: Arc<Metrics>,
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
        Arc::new(Self {
            application,
            places: Arc::new(Semaphore::new(rules.connections_max)),
            apologies: Arc::new(Semaphore::new(APOLOGIES_MAX)),
            rules,
            metrics: Arc::default(),
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
    pub(crate) fn admit(&self, stream: TcpStream, address: SocketAddr) -> Option<Guest> {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%address, %error, "answers to this client may be delayed");
        }
        if let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() {
            self.metrics.accepted.add(1);
            self.metrics.open.add(1);
            let place = Some(Place { _permit: permit, metrics: Arc::clone(&self.metrics) });
            return Some(Guest { stream, address, place, _apology: None });
        }
        self.metrics.refused(Refusal::TooMany).add(1);
        let (section, max) = (self.application.section(), self.rules.connections_max);
        tracing::warn!(%address, max, "too many connections: raise {section}.connections_max");
        let apology = Arc::clone(&self.apologies).try_acquire_owned().ok()?;
        Some(Guest { stream, address, place: None, _apology: Some(apology) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.metrics.open.add(-1);
    }
}
