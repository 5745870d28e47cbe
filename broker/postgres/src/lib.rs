//! The PostgreSQL door: psql, drivers and tools.
//!
//! ```text
//! socket ─> wire (messages) ─> connection ─> query::Session ─> Rows ─> encode ─> socket
//!                              └─> copy (rows in bulk, in and out)
//! ```
//! The messages that go out are pgwire's; the protocol's state is ours: portals, the row limit,
//! streaming at the client's speed, cancelling in the middle of a result, one flush a Sync.
//! Source: PostgreSQL 15 documentation, chapter 55.
//!
//! Invariant: nothing is allocated for what a client only announces.
//! Invariant: a result is never held as a whole: a batch, and what the socket has not taken.

mod connection;
mod copy;
mod door;
mod encode;
mod extended;
pub mod fuzz;
mod limits;
mod login;
mod out;
mod parameters;
mod registry;
mod startup;
#[cfg(test)]
mod tests;
mod types;
mod wire;

pub use door::{PostgresDoor, PostgresSettings, ServeError, serve};
