//! Who is let in: the limits on a door's connections, each connection's place among them, and
//! whether it speaks TLS.

use crate::limits::{APOLOGIES_MAX, FIRST_BYTE_TIME_MAX, HANDSHAKE_TIME_MAX};
use crate::metrics::{Metrics, Refusal};
use crate::name::DistinguishedName;
use crate::noise::may_say;
use crate::peer::{Peer, Security};
use crate::places::{Place, Places};
use crate::stream::Stream;
use crate::tls::{POSTGRESQL, Tls};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// The first byte of a TLS session (RFC 8446, section 5.1: content type 22). No other protocol
/// that is spoken here begins with it: Kafka's frames and PostgreSQL's first messages begin with
/// the high byte of a length that is far below, HTTP with a letter.
pub const TLS_HANDSHAKE: u8 = 0x16;

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
    /// How long a TLS handshake may take.
    pub handshake_within: Duration,
    /// What is spoken under TLS.
    pub encryption: Encryption,
}

/// What a door speaks under TLS.
#[derive(Debug, Clone)]
pub enum Encryption {
    /// Nothing.
    Off,
    /// What clients want to, on the same port as clear text.
    Offered(Arc<Tls>),
    /// Everything: clear text is refused.
    Required(Arc<Tls>),
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            connections_per_address_max: 10_000,
            first_byte_within: FIRST_BYTE_TIME_MAX,
            handshake_within: HANDSHAKE_TIME_MAX,
            encryption: Encryption::Off,
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

/// How a client has entered.
#[derive(Debug)]
pub enum Entry {
    /// It may go on.
    In(Entered),
    /// It speaks clear text where that is refused; the socket is for telling it so.
    ClearText(TcpStream),
    /// It is gone, or was turned away.
    Gone,
}

/// A connection on which the client has begun to speak, and has shaken hands if that is TLS.
#[derive(Debug)]
pub struct Entered {
    /// Its bytes; small writes leave at once.
    pub stream: Stream,
    /// The client.
    pub peer: Peer,
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
        let rules = &self.rules;
        match why {
            Refusal::TooMany => format!("{section}.connections_max is {}", rules.connections_max),
            Refusal::TooManyOfAddress => format!(
                "{section}.connections_per_address_max is {}",
                rules.connections_per_address_max
            ),
            Refusal::Silent => format!("a client has {:?} to begin", rules.first_byte_within),
            Refusal::Handshake => {
                format!("the handshake fails or takes more than {:?}", rules.handshake_within)
            }
            Refusal::ClearText => "tls.required is true".to_owned(),
            Refusal::NoTls => "it speaks TLS: set tls.certificate and tls.key".to_owned(),
        }
    }

    /// Whether clients may speak TLS.
    #[must_use]
    pub fn has_tls(&self) -> bool {
        !matches!(self.rules.encryption, Encryption::Off)
    }

    /// Whether clear text is refused.
    #[must_use]
    pub fn requires_tls(&self) -> bool {
        matches!(self.rules.encryption, Encryption::Required(_))
    }

    /// Counts a connection that is turned away, and says so in the log now and then.
    pub fn turn_away(&self, address: SocketAddr, why: Refusal) {
        self.metrics.refused(why).add(1);
        if may_say("connections that were turned away") {
            let remedy = self.remedy(why);
            tracing::warn!(%address, reason = why.name(), "a connection was refused: {remedy}");
        }
    }

    /// Shakes hands with a client that speaks TLS from now on; `None` if that fails.
    pub async fn shake_hands(
        &self,
        stream: TcpStream,
        address: SocketAddr,
    ) -> Option<(Stream, Peer)> {
        let (Encryption::Offered(tls) | Encryption::Required(tls)) = &self.rules.encryption else {
            self.turn_away(address, Refusal::NoTls);
            return None;
        };
        let acceptor = TlsAcceptor::from(tls.config(self.application));
        let handshake = timeout(self.rules.handshake_within, acceptor.accept(stream)).await;
        let error = match handshake {
            Ok(Ok(session)) => {
                self.metrics.encrypted.add(1);
                let shown = session.get_ref().1.peer_certificates();
                let client = shown.and_then(|chain| DistinguishedName::of_subject(chain.first()?));
                let peer = Peer { address, security: Security::Tls { client } };
                return Some((Stream::tls(session), peer));
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("not done in {:?}", self.rules.handshake_within),
        };
        self.metrics.refused(Refusal::Handshake).add(1);
        if may_say("TLS handshakes that failed") {
            let application = self.application;
            tracing::warn!(%address, "a TLS handshake for {application} failed: {error}");
        }
        None
    }
}

impl Guest {
    /// Whether it has a place; if not, it may enter to be told so.
    #[must_use]
    pub fn has_place(&self) -> bool {
        self.place.is_ok()
    }

    /// Waits for the client's first byte, and shakes hands if it begins a TLS session.
    pub async fn enter(self) -> Entry {
        let stop = self.stop.clone();
        tokio::select! {
            entry = self.knock() => entry,
            () = stop.cancelled() => Entry::Gone,
        }
    }

    async fn knock(self) -> Entry {
        let Self { stream, address, gate, place, apology, .. } = self;
        let mut first = [0];
        let (stream, peer) = match timeout(gate.rules.first_byte_within, stream.peek(&mut first))
            .await
        {
            Ok(Ok(0)) => return Entry::Gone,
            Ok(Ok(_)) if first[0] == TLS_HANDSHAKE => {
                // On the heap: it is large, and clear text needs none of it.
                match Box::pin(gate.shake_hands(stream, address)).await {
                    Some((stream, peer)) if gate.takes(&stream) => (stream, peer),
                    Some(_) => {
                        gate.turn_away(address, Refusal::Handshake);
                        return Entry::Gone;
                    }
                    None => return Entry::Gone,
                }
            }
            // PostgreSQL's clients ask for TLS in clear text.
            Ok(Ok(_)) if gate.requires_tls() && gate.application != Application::PostgreSql => {
                gate.turn_away(address, Refusal::ClearText);
                return Entry::ClearText(stream);
            }
            Ok(Ok(_)) => (Stream::Plain(stream), Peer { address, security: Security::ClearText }),
            Ok(Err(error)) => {
                tracing::debug!(%address, %error, "the client was gone at once");
                return Entry::Gone;
            }
            Err(_) => {
                gate.metrics.refused(Refusal::Silent).add(1);
                tracing::debug!(%address, "the client sent nothing");
                return Entry::Gone;
            }
        };
        Entry::In(Entered { stream, peer, place, apology })
    }
}

impl Gate {
    /// PostgreSQL 17, 54.2.11: who begins with TLS names the protocol by ALPN, lest a browser be
    /// made to speak to a database.
    fn takes(&self, stream: &Stream) -> bool {
        self.application != Application::PostgreSql || stream.alpn() == Some(POSTGRESQL)
    }
}
