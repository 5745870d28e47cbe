//! Settings of the door.

use anabranch_net::Rules;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

/// How the door listens and what it allows.
#[derive(Debug, Clone)]
pub struct KafkaSettings {
    /// Where to listen (`kafka.listen`).
    pub listeners: Vec<Listener>,
    /// Who is let in; others are closed as they come.
    pub rules: Rules,
    /// A connection on which nothing moved for so long is closed (Kafka:
    /// `connections.max.idle.ms`).
    pub idle_timeout: Duration,
    /// The same in the middle of a request or response.
    pub stall_timeout: Duration,
    /// What a broker tells clients about groups, and holds them to.
    pub groups: GroupSettings,
}

/// One address to listen at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The address; port 0 takes any.
    pub listen: SocketAddr,
    /// What to tell clients to connect to (`kafka.advertise`); `None` for the address that each
    /// client connected to.
    pub advertise: Option<HostPort>,
}

/// Bounds of consumer groups, by Kafka's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupSettings {
    /// `group.min.session.timeout.ms`
    pub session_ms_min: u32,
    /// `group.max.session.timeout.ms`
    pub session_ms_max: u32,
    /// `group.initial.rebalance.delay.ms`: how long a new group waits for more members.
    pub initial_delay_ms: u32,
    /// `group.consumer.session.timeout.ms`
    pub consumer_session_ms: u32,
    /// `group.consumer.heartbeat.interval.ms`
    pub consumer_heartbeat_ms: u32,
    /// `group.consumer.migration.policy`
    pub migration: Migration,
    /// `offsets.retention.minutes`, in milliseconds: offsets of a group that nobody is in are
    /// forgotten after so long.
    pub offsets_retention_ms: i64,
}

/// Which way a group may go from one protocol to the other while it has members (KIP-848).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Migration {
    /// Neither way.
    Disabled,
    /// To the consumer protocol.
    Upgrade,
    /// Back to the classic protocol.
    Downgrade,
    /// Both ways.
    Bidirectional,
}

impl Migration {
    /// As Kafka calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Upgrade => "upgrade",
            Self::Downgrade => "downgrade",
            Self::Bidirectional => "bidirectional",
        }
    }

    pub(crate) fn allows_upgrade(self) -> bool {
        matches!(self, Self::Upgrade | Self::Bidirectional)
    }

    pub(crate) fn allows_downgrade(self) -> bool {
        matches!(self, Self::Downgrade | Self::Bidirectional)
    }
}

impl Default for KafkaSettings {
    fn default() -> Self {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 9092));
        Self {
            listeners: vec![Listener { listen, advertise: None }],
            rules: Rules::default(),
            idle_timeout: Duration::from_secs(600),
            stall_timeout: Duration::from_secs(60),
            groups: GroupSettings::default(),
        }
    }
}

impl Default for GroupSettings {
    fn default() -> Self {
        Self {
            session_ms_min: 6_000,
            session_ms_max: 1_800_000,
            initial_delay_ms: 100,
            consumer_session_ms: 45_000,
            consumer_heartbeat_ms: 5_000,
            migration: Migration::Bidirectional,
            offsets_retention_ms: 7 * 24 * 60 * 60 * 1000,
        }
    }
}

/// A host (name or address) and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// Name or address; of IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Why words are not an address to advertise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdvertiseError {
    /// No host, or no port.
    #[error("{0:?} is not HOST:PORT, like broker.example.com:9092 or [2001:db8::1]:9092")]
    Form(String),
    /// Clients cannot connect to it.
    #[error("{0} stands for every address: name one that clients can connect to")]
    Wildcard(String),
}

impl HostPort {
    /// The address as clients take it.
    #[must_use]
    pub fn of(address: SocketAddr) -> Self {
        Self { host: address.ip().to_canonical().to_string(), port: address.port() }
    }
}

impl FromStr for HostPort {
    type Err = AdvertiseError;

    fn from_str(words: &str) -> Result<Self, AdvertiseError> {
        let form = || AdvertiseError::Form(words.to_owned());
        let (host, port) = words.rsplit_once(':').ok_or_else(form)?;
        let port = port.parse().ok().filter(|&port| port != 0).ok_or_else(form)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if bare.is_empty() || bare.len() > 255 || (bare == host && host.contains(':')) {
            return Err(form());
        }
        if bare.parse::<IpAddr>().is_ok_and(|address| address.is_unspecified()) {
            return Err(AdvertiseError::Wildcard(bare.to_owned()));
        }
        Ok(Self { host: bare.to_owned(), port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}
