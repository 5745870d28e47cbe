//! Who is at the other end.

use crate::name::DistinguishedName;
use std::fmt;
use std::net::SocketAddr;

/// The other end of a connection, as far as the connection itself tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// How what is sent is protected.
    pub security: Security,
}

/// How what is sent on a connection is protected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Security {
    /// Not at all.
    ClearText,
    /// By TLS.
    Tls {
        /// The subject of the client's certificate, which `tls.client_ca` has vouched for; `None`
        /// if the client has shown none.
        client: Option<DistinguishedName>,
    },
}

impl Peer {
    /// The principal that the certificate stands for, as Kafka writes it by default:
    /// `User:CN=alice,OU=dev`.
    #[must_use]
    pub fn principal(&self) -> Option<String> {
        self.certificate().map(|name| format!("User:{name}"))
    }

    /// The subject of the client's certificate.
    #[must_use]
    pub fn certificate(&self) -> Option<&DistinguishedName> {
        match &self.security {
            Security::ClearText => None,
            Security::Tls { client } => client.as_ref(),
        }
    }
}

/// For log lines.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)?;
        match &self.security {
            Security::ClearText => Ok(()),
            Security::Tls { client: None } => f.write_str(" (TLS)"),
            Security::Tls { client: Some(name) } => write!(f, " (TLS, {name})"),
        }
    }
}
