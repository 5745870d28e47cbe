//! The Kafka door: the Kafka protocol on one side, the engine on the other.
//!
//! ```text
//! socket ─> connection ─ frame ─> request ─┬─ produce ─> engine.submit ─> commit loop
//!                                          ├─ fetch  <── engine.partition(…).read
//!                                          └─ answer <── catalog, groups, offsets
//! ```
//! Bytes of batches are not copied between socket and engine in either direction. Everything that
//! comes from a socket is bounded before it is believed: frames by `limits`, array lengths by
//! `layout`, batches by `anabranch_types::batch::validate`.
//!
//! Invariant: responses of a connection leave in the order of its requests.
//! Invariant: a response to acks=1 or acks=all leaves after the append is durable.
//! Invariant: nothing here allocates more than a bound of `limits` for one request.

mod answer;
pub mod apis;
mod classic_group;
mod connection;
mod consumer_group;
mod coordinator;
mod door;
mod errors;
pub mod fetch;
mod layout;
pub mod limits;
mod metrics;
pub mod produce;
mod quotas;
pub mod request;
mod settings;
#[cfg(test)]
mod tests;
pub mod wire;

pub use door::{KafkaDoor, ServeError, serve};
pub use metrics::KafkaMetrics;
pub use settings::{AdvertiseError, GroupSettings, HostPort, KafkaSettings, Listener, Migration};
