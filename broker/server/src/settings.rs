//! Everything that can be set, with its default. A key is the path of a field (`kafka.listen`);
//! its environment variable is made from it mechanically (`ANABRANCH_KAFKA_LISTEN`).
//!
//! Invariant: every key has a value in [`Settings::default`], of the type that it takes.

mod address;
mod bytes;
mod load;
#[cfg(test)]
mod tests;
mod tls;

pub(crate) use address::{Advertise, Listen};
pub(crate) use bytes::Bytes;
pub(crate) use load::{Loaded, Override, SettingsError, load, variable};
pub(crate) use tls::Tls;

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;

/// The settings of a broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Where everything is kept.
    pub(crate) data_dir: PathBuf,
    /// Whether doors may listen beyond this machine although nobody is authenticated.
    pub(crate) allow_insecure: bool,
    pub(crate) kafka: Kafka,
    pub(crate) postgres: Postgres,
    pub(crate) web: Web,
    pub(crate) tls: Tls,
    pub(crate) sql: Sql,
    pub(crate) streams: Streams,
    pub(crate) disk: Disk,
    pub(crate) journal: Journal,
    pub(crate) telemetry: Telemetry,
}

/// The Kafka door.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Kafka {
    pub(crate) listen: Listen,
    /// The address that clients are told to connect to.
    pub(crate) advertise: Advertise,
    pub(crate) connections_max: Count,
    pub(crate) connections_per_address_max: Count,
}

/// The PostgreSQL door.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Postgres {
    pub(crate) listen: Listen,
    pub(crate) connections_max: Count,
    pub(crate) connections_per_address_max: Count,
}

/// The door for HTTP and WebSocket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Web {
    pub(crate) listen: Listen,
    pub(crate) connections_max: Count,
    pub(crate) connections_per_address_max: Count,
    /// Origins whose pages may use the door, apart from its own.
    pub(crate) allowed_origins: Vec<String>,
}

/// Queries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Sql {
    /// What sorts, joins and aggregates may hold together.
    pub(crate) memory_bytes_max: Bytes,
}

/// What streams are like unless they say otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Streams {
    /// Partitions of a stream that does not say.
    pub(crate) partitions: Count,
    /// Whether naming a stream that does not exist creates it.
    pub(crate) auto_create: bool,
    /// Seconds between two looks for logs to compact.
    pub(crate) compaction_pause_seconds: Count,
}

/// The disk under `data_dir`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Disk {
    /// With less than this free, clients' appends are refused.
    pub(crate) reserve_bytes: Bytes,
}

/// The journal, which every append is written to first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Journal {
    /// Bytes of each of its files; the largest atomic append fits into one.
    pub(crate) file_bytes: Bytes,
}

/// What the broker tells about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Telemetry {
    /// Which log lines are written, in the language of `tracing`'s `EnvFilter`.
    pub(crate) filter: String,
    pub(crate) format: LogFormat,
}

/// How log lines are written to standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// A line for people.
    Pretty,
    /// A JSON object a line.
    Json,
}

/// A number of things, from 1 to [`Count::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub(crate) struct Count(u32);

impl Count {
    /// More is a mistake rather than a wish.
    const MAX: u32 = 1_000_000;

    /// The number.
    pub(crate) fn get(self) -> usize {
        self.0 as usize
    }
}

impl TryFrom<i64> for Count {
    type Error = String;

    fn try_from(count: i64) -> Result<Self, String> {
        u32::try_from(count)
            .ok()
            .filter(|count| (1..=Self::MAX).contains(count))
            .map(Self)
            .ok_or_else(|| format!("{count} is not between 1 and {}", Self::MAX))
    }
}

impl From<Count> for i64 {
    fn from(count: Count) -> Self {
        Self::from(count.0)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data_dir: data_dir_default(),
            allow_insecure: false,
            kafka: Kafka::default(),
            postgres: Postgres::default(),
            web: Web::default(),
            tls: Tls::default(),
            sql: Sql::default(),
            streams: Streams::default(),
            disk: Disk::default(),
            journal: Journal::default(),
            telemetry: Telemetry::default(),
        }
    }
}

impl Default for Kafka {
    fn default() -> Self {
        Self {
            listen: Listen::loopback(9092),
            advertise: Advertise::Auto,
            connections_max: Count(10_000),
            connections_per_address_max: Count(10_000),
        }
    }
}

impl Default for Postgres {
    fn default() -> Self {
        Self {
            listen: Listen::loopback(5433),
            connections_max: Count(1_000),
            connections_per_address_max: Count(1_000),
        }
    }
}

impl Default for Web {
    fn default() -> Self {
        Self {
            listen: Listen::loopback(8080),
            connections_max: Count(10_000),
            connections_per_address_max: Count(10_000),
            allowed_origins: Vec::new(),
        }
    }
}

impl Default for Sql {
    fn default() -> Self {
        Self { memory_bytes_max: Bytes::mib(512) }
    }
}

impl Default for Streams {
    fn default() -> Self {
        Self { partitions: Count(1), auto_create: true, compaction_pause_seconds: Count(15) }
    }
}

impl Default for Disk {
    fn default() -> Self {
        Self { reserve_bytes: Bytes::mib(512) }
    }
}

impl Default for Journal {
    fn default() -> Self {
        Self { file_bytes: Bytes::mib(32) }
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: LogFormat::Pretty }
    }
}

impl Settings {
    /// Checks what one key alone cannot tell: that the doors are not open to strangers, nor in each
    /// other's way, that there is a place for the data, and that sizes make sense. Resolves host names.
    pub(crate) fn check(&self) -> Result<(), SettingsError> {
        if self.data_dir.as_os_str().is_empty() {
            return Err(SettingsError::NoDataDir);
        }
        let mut seen: Vec<(&'static str, SocketAddr)> = Vec::new();
        for (key, listen) in self.listens() {
            listen.check(key, self.allow_insecure)?;
            let Some(address) = listen.address(key)? else { continue };
            // Port 0 is another one each time.
            if let Some((first, _)) = seen.iter().find(|(_, taken)| *taken == address)
                && address.port() != 0
            {
                return Err(SettingsError::SameAddress { first, second: key, address });
            }
            seen.push((key, address));
        }
        self.tls.check()?;
        let (journal, memory) = (self.journal.file_bytes, self.sql.memory_bytes_max);
        journal.check("journal.file_bytes", Bytes::mib(1), Bytes::mib(1024))?;
        memory.check("sql.memory_bytes_max", Bytes::mib(16), Bytes::mib(16 << 20))
    }

    /// The doors' addresses by key.
    pub(crate) fn listens(&self) -> [(&'static str, &Listen); 3] {
        [
            ("kafka.listen", &self.kafka.listen),
            ("postgres.listen", &self.postgres.listen),
            ("web.listen", &self.web.listen),
        ]
    }
}

/// The user's data directory by the XDG rules: the same wherever the broker is started from.
/// Empty without a home, which [`Settings::check`] refuses.
fn data_dir_default() -> PathBuf {
    let absolute =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_DATA_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local").join("share")))
        .map(|share| share.join("anabranch"))
        .unwrap_or_default()
}
