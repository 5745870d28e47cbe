//! `anabranch groups`, `producers` and `acl`: a broker's Kafka door is asked, here or elsewhere.

mod acl;
mod connection;
mod groups;
mod print;
mod producers;

pub(crate) use acl::acl;
pub(crate) use groups::groups;
pub(crate) use producers::producers;

use connection::{Connection, check};
use kafka_protocol::ResponseError;
use print::Listing;
use std::io;

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminError {
    #[error("`kafka.listen` is off: name a broker with --broker HOST:PORT")]
    Off,
    #[error("no broker answers on {address}: {source}; is it running? --broker names another")]
    Unreachable { address: String, source: io::Error },
    #[error(
        "{address} closed the connection: {source}; a broker with users wants --user, one with \
         `tls.required` wants --tls-ca"
    )]
    Closed { address: String, source: io::Error },
    #[error("what listens on {address} is no such broker: {reason}")]
    Strange { address: String, reason: String },
    #[error("the certificates in {path} cannot be used: {reason}")]
    Tls { path: String, reason: String },
    #[error(
        "the password would be sent in clear text: name the broker's certificates with --tls-ca"
    )]
    ClearText,
    #[error("set the environment variable ANABRANCH_PASSWORD to the user's password")]
    NoPassword,
    #[error("the user {user} or the password is wrong")]
    Login { user: String },
    #[error("{what}: {name}{}", remedy(name))]
    Refused { what: String, name: String },
    #[error("{0}")]
    Invalid(String),
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
}

/// The name of an error code of Kafka; none of success.
fn error_name(code: i16) -> Option<String> {
    ResponseError::try_from_code(code).map(|error| format!("{error:?}"))
}

/// What to do about some of Kafka's errors.
fn remedy(name: &str) -> &'static str {
    match name {
        "NonEmptyGroup" | "UnknownMemberId" => "; stop the group's consumers first",
        "GroupIdNotFound" => "; `anabranch groups list` shows those there are",
        "UnknownTopicOrPartition" => "; `anabranch streams` shows those there are",
        "GroupAuthorizationFailed"
        | "TopicAuthorizationFailed"
        | "ClusterAuthorizationFailed"
        | "TransactionalIdAuthorizationFailed" => "; log in with --user as somebody who may",
        _ => "",
    }
}
