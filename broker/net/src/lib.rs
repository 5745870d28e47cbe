//! How connections come in, the same for all doors.
//!
//! ```text
//! Bound ─listen─> Listener ─accept─> Gate ── Guest ─> the door's task
//!                                     └─ above a limit: counted, logged now and then, closed
//! ```
//! A door binds its addresses, and is handed a [`Guest`] for each connection: the socket with its
//! place among those that the door allows. It has entered once its first byte is there, and hands
//! are shaken if that begins a TLS session; what is spoken from then on is the door's.
//!
//! Invariant: a connection is counted from the moment it is accepted until its [`Guest`] is gone.
//! Invariant: clear text costs no copy and no indirection: a [`Stream`] is the socket itself.
//! Invariant: what strangers do costs a bounded number of log lines.

mod gate;
pub mod limits;
mod listener;
mod metrics;
mod name;
pub mod noise;
mod peer;
mod places;
mod stream;
#[cfg(test)]
mod tests;
mod tls;

pub use gate::{Application, Encryption, Entered, Entry, Gate, Guest, Rules, TLS_HANDSHAKE};
pub use listener::{Bound, Listener, bind};
pub use metrics::{Counter, Gauge, Histogram, Metrics, Refusal};
pub use name::DistinguishedName;
pub use peer::{Peer, Security};
pub use places::Place;
pub use stream::{Session, Stream};
pub use tls::{ClientCertificates, Reread, Tls, TlsError, TlsFiles};
