//! Principals, and who stands at the other end of a connection.

use crate::credential::Credentials;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// Who can be granted something, as Kafka writes it: `User:alice`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Principal(Box<str>);

/// What stands before a user's name.
const USER: &str = "User:";

impl Principal {
    /// The principal of a user's name.
    #[must_use]
    pub fn user(name: &str) -> Self {
        Self(format!("{USER}{name}").into())
    }

    /// Who has not said who they are.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::user("ANONYMOUS")
    }

    /// Everybody, in a grant.
    #[must_use]
    pub fn everybody() -> Self {
        Self::user("*")
    }

    /// As a grant names it: `User:` and a name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let name = text.strip_prefix(USER)?;
        (!name.is_empty()).then(|| Self(text.into()))
    }

    /// The user's name, without what stands before it.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.strip_prefix(USER).unwrap_or(&self.0)
    }

    /// The whole of it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who asks, and from where.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Who.
    pub principal: Principal,
    /// The address they come from, as grants write it: an IP address without a port.
    pub host: Arc<str>,
}

impl Identity {
    /// Somebody at `host` who has not said who they are.
    #[must_use]
    pub fn anonymous(host: &str) -> Self {
        Self { principal: Principal::anonymous(), host: host.into() }
    }
}

/// What is kept of a principal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrincipalRecord {
    /// Whether they may do everything: the first principal, and whom an admin makes one.
    #[serde(default)]
    pub admin: bool,
    /// What their password is checked with.
    #[serde(default)]
    pub credentials: Credentials,
}
