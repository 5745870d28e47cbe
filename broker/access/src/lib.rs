//! Who may do what: principals with their credentials, grants, and the decision over them.
//!
//! The engine keeps principals and grants as records, builds an [`Access`] of them, and asks it
//! before it lets a session do anything. The doors run an [`Exchange`] to find out who is there.
//! Nothing here does I/O or knows the time.
//!
//! Invariant: a denial beats every grant, and what nobody granted is denied, once there is a
//! principal.
//! Invariant: no password is kept, only what SCRAM needs to check one.

mod access;
mod credential;
mod grant;
mod operation;
mod principal;
mod sasl;
mod scram;
#[cfg(test)]
mod tests;

pub use access::{Access, Decision, Resource};
pub use credential::{
    Credential, CredentialError, Credentials, ITERATIONS_DEFAULT, ITERATIONS_MAX, ITERATIONS_MIN,
    Mechanism, SECRET_BYTES,
};
pub use grant::{Grant, GrantFilter, Pattern, PatternFilter};
pub use operation::{Operation, OperationSet, Permission, ResourceKind};
pub use principal::{Identity, Principal, PrincipalRecord};
pub use sasl::{Exchange, Failed, SaslMechanism, Step};

/// The name of the one resource of kind [`ResourceKind::Cluster`].
pub const CLUSTER: &str = "kafka-cluster";
