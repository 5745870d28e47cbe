//! Numbers that mean something are types.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// Position of a record in its partition, from 0. Offsets are never translated between
    /// layers or sites; there can be gaps.
    Offset(i64)
);
number!(
    /// One turn of the commit loop: what becomes durable and visible together. A round number is
    /// also a *cut*, a point that a read over all streams is consistent at. The first is 1.
    Round(u64)
);
number!(
    /// A partition of the log, unique in a broker and never used again. Not Kafka's partition
    /// number: that is [`PartitionIndex`].
    PartitionId(u32)
);
number!(
    /// Kafka's number of a partition within its topic, from 0.
    PartitionIndex(i32)
);
number!(
    /// Rises at every start of the broker.
    LeaderEpoch(i32)
);
number!(
    /// Id of an idempotent or transactional producer; −1 is none.
    ProducerId(i64)
);
number!(
    /// Generation of a [`ProducerId`]; −1 is none.
    ProducerEpoch(i16)
);
number!(
    /// Number of a producer's first record in a batch, per partition; wraps to 0 after
    /// `i32::MAX`; −1 is none.
    Sequence(i32)
);
number!(
    /// Milliseconds since 1970 UTC; −1 is none.
    Timestamp(i64)
);

impl Offset {
    /// The offset `count` records later.
    #[must_use]
    pub fn plus(self, count: i64) -> Self {
        Self(self.0 + count)
    }
}

impl Round {
    /// The round before the first.
    pub const ZERO: Self = Self(0);

    /// The round after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl ProducerId {
    /// No producer: the batch is neither idempotent nor transactional.
    pub const NONE: Self = Self(-1);
}

impl Sequence {
    /// The sequence `count` records later, wrapping as Kafka's does (KIP-98).
    #[must_use]
    pub fn plus(self, count: i32) -> Self {
        let sum = i64::from(self.0) + i64::from(count);
        Self((sum % (i64::from(i32::MAX) + 1)) as i32)
    }
}

/// Id of a stream (Kafka: topic id), random, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub uuid::Uuid);

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where and when a record was appended. Of two records of one key, the higher stamp wins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// The round of the append.
    pub round: Round,
    /// The partition appended to.
    pub partition: PartitionId,
    /// The record's offset there.
    pub offset: Offset,
}
