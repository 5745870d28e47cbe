//! The door for browsers, services and scripts: WebSocket and HTTP, in JSON (`PROTOCOL.md`).
//!
//! A request comes in by the listener of [`WebDoor`], passes `origin` and the router of `http`, and
//! either is answered there or becomes a `socket`. Both publish through `publish` (JSON to record
//! batches to the engine) and read through `follow` (the log) or a live query (tables); what is
//! read is written as JSON by hand, by `record`, into the messages of `frames`.
//!
//! Invariant: a subscription is a position; the log is read for a connection only when its socket
//! has taken what was read before.
//! Invariant: what a client can make the door hold is bounded, by `limits`.

mod door;
mod error;
mod event;
mod follow;
mod frames;
pub mod fuzz;
mod http;
mod io;
mod json;
pub mod limits;
mod login;
mod metrics;
mod origin;
mod position;
mod publish;
mod record;
mod serve;
mod socket;
#[cfg(test)]
mod tests;

pub use door::Settings;
pub use limits::Limits;
pub use metrics::{Collect, Exposition, Kind};
pub use serve::{ServeError, WebDoor};
