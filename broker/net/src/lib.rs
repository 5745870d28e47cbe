//! How connections come in, the same for all doors.
//!
//! ```text
//! Bound ─listen─> Listener ─accept─> Gate ── Guest ─> the door's task
//!                                     └─ above a limit: counted, logged now and then, closed
//! ```
//! A door binds its addresses, and is handed a [`Guest`] for each connection: the socket with its
//! place among those that the door allows. It has entered once its first byte is there; what is
//! spoken from then on is the door's.
//!
//! Invariant: a connection is counted from the moment it is accepted until its [`Guest`] is gone.
//! Invariant: what strangers do costs a bounded number of log lines.

mod gate;
pub mod limits;
mod listener;
mod metrics;
pub mod noise;
mod places;
#[cfg(test)]
mod tests;

pub use gate::{Application, Entered, Gate, Guest, Rules};
pub use listener::{Bound, Listener, bind};
pub use metrics::{Counter, Gauge, Metrics, Refusal};
pub use places::Place;
