//! How connections come in, the same for all doors.
//!
//! ```text
//! Bound ─listen─> Listener ─accept─> Gate ── Guest ─> the door's task
//!                                     └─ above a limit: counted, logged now and then, closed
//! ```
//! A door binds its addresses, and is handed a [`Guest`] for each connection: the socket with its
//! place among those that the door allows. What is spoken on it is the door's.
//!
//! Invariant: a connection is counted from the moment it is accepted until its [`Guest`] is gone.
//! Invariant: what strangers do costs a bounded number of log lines.

mod gate;
pub mod limits;
mod listener;
mod metrics;
#[cfg(test)]
mod tests;

pub use gate::{Application, Gate, Guest, Place, Rules};
pub use listener::{Bound, Listener, bind};
pub use metrics::{Counter, Gauge, Metrics, Refusal};
