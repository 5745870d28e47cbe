//! What every crate of Anabranch speaks: ids, offsets, rounds, stamps and Kafka record batches.
//!
//! Layer 0: no I/O, no threads, no clock. A record is born here (as bytes of a [`batch`]) and
//! every later hop only looks at it through these views.
//!
//! Invariant: all progress points are exclusive: an [`Offset`] or [`Round`] that bounds something
//! names the first that is *not* included.
//! Invariant: nothing here allocates more than the input's own length or a bound of [`limits`].

pub mod batch;
mod ids;
pub mod limits;
pub mod partitioner;
pub mod varint;

pub use ids::{
    LeaderEpoch, Offset, PartitionId, PartitionIndex, ProducerEpoch, ProducerId, Round, Sequence,
    Stamp, StreamId, Timestamp,
};
