//! Addresses: where a door listens, and what its clients are told.

use super::{SettingsError, variable};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// A host (name or address, IPv6 without brackets) and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostPort {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Where a door listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum Listen {
    /// Nowhere: the door stays shut.
    Off,
    /// At this address; port 0 takes a free one.
    At(HostPort),
}

/// The address that clients are told to connect to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum Advertise {
    /// The one that they have connected to.
    Auto,
    /// This one.
    At(HostPort),
}

impl FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("\"{text}\" {what}: write one such as \"127.0.0.1:9092\"");
        let (host, port) = text.rsplit_once(':').ok_or_else(|| wrong("lacks a host or a port"))?;
        let port = port.parse().map_err(|_| wrong("has no port between 0 and 65535"))?;
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(inner) => inner,
            None if host.contains(':') => return Err(wrong("has an IPv6 address without [ ]")),
            None => host,
        };
        if host.is_empty() || host.contains(char::is_whitespace) {
            return Err(wrong("has no host"));
        }
        Ok(Self { host: host.to_owned(), port })
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

impl Listen {
    /// On this machine only.
    pub(crate) fn loopback(port: u16) -> Self {
        Self::At(HostPort { host: "127.0.0.1".to_owned(), port })
    }

    /// Where a client on this machine connects; `None` if off.
    pub(crate) fn to_connect(&self) -> Option<String> {
        let Self::At(at) = self else { return None };
        let host = match at.host.as_str() {
            "0.0.0.0" => "127.0.0.1",
            "::" => "::1",
            other => other,
        };
        Some(HostPort { host: host.to_owned(), port: at.port }.to_string())
    }

    /// The address to listen at; `None` if off. `key` names it in errors. Resolves host names.
    pub(crate) fn address(&self, key: &'static str) -> Result<Option<SocketAddr>, SettingsError> {
        match self {
            Self::Off => Ok(None),
            Self::At(at) => at.resolve(key).map(Some),
        }
    }

    /// Refuses an address that strangers could reach, unless told otherwise. `key` names it in
    /// errors.
    pub(crate) fn check(
        &self,
        key: &'static str,
        allow_insecure: bool,
    ) -> Result<(), SettingsError> {
        let Some(address) = self.address(key)? else { return Ok(()) };
        if address.ip().is_loopback() || allow_insecure {
            return Ok(());
        }
        Err(SettingsError::Exposed { key, address })
    }
}

impl HostPort {
    fn resolve(&self, key: &'static str) -> Result<SocketAddr, SettingsError> {
        let unresolved =
            |source| SettingsError::Unresolved { key, host: self.host.clone(), source };
        let found = (self.host.as_str(), self.port).to_socket_addrs().map_err(unresolved)?;
        let mut found: Vec<SocketAddr> = found.collect();
        // Clients that know only IPv4 are the more common ones.
        found.sort_by_key(SocketAddr::is_ipv6);
        let none = || unresolved(io::Error::new(io::ErrorKind::NotFound, "no address"));
        found.first().copied().ok_or_else(none)
    }
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "off" { Ok(Self::Off) } else { text.parse().map(Self::At) }
    }
}

impl From<Listen> for String {
    fn from(listen: Listen) -> Self {
        match listen {
            Listen::Off => "off".to_owned(),
            Listen::At(at) => at.to_string(),
        }
    }
}

impl TryFrom<String> for Advertise {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let at: HostPort = text.parse()?;
        if at.host.parse().is_ok_and(|ip: IpAddr| ip.is_unspecified()) {
            return Err(format!("\"{text}\" is no address that a client could connect to"));
        }
        if at.port == 0 {
            return Err(format!("\"{text}\" needs the port that clients are to connect to"));
        }
        Ok(Self::At(at))
    }
}

impl From<Advertise> for String {
    fn from(advertise: Advertise) -> Self {
        match advertise {
            Advertise::Auto => "auto".to_owned(),
            Advertise::At(at) => at.to_string(),
        }
    }
}

impl SettingsError {
    /// Why a door cannot listen.
    pub(crate) fn bind(key: &'static str, address: SocketAddr, source: io::Error) -> Self {
        let variable = variable(key);
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse { key, variable, address },
            _ => Self::Bind { key, variable, address, source },
        }
    }
}
