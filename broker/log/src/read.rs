//! What readers of a partition ask for and get.

use anabranch_types::batch::batches;
use anabranch_types::{Offset, PartitionId, Round, Timestamp};
use bytes::Bytes;

/// How far to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// To the high watermark.
    Published,
    /// To the last stable offset: every transaction below is decided.
    Stable,
    /// To the end of a round that is published.
    Round(Round),
}

/// Whole batches, all of one round where rounds were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Base offset of the first batch.
    pub base_offset: Offset,
    /// The first offset after the last batch.
    pub next_offset: Offset,
    /// The round of the last batch.
    pub round: Round,
    /// Highest time of a record.
    pub max_timestamp: Timestamp,
    /// The batches, back to back.
    pub bytes: Bytes,
}

impl Chunk {
    pub(crate) fn of(base_offset: Offset, round: Round, bytes: Bytes) -> Self {
        Self { base_offset, next_offset: base_offset, round, max_timestamp: Timestamp(-1), bytes }
    }

    /// The batches below `end`, which is where a batch begins.
    pub(crate) fn below(self, end: Offset) -> Self {
        if self.next_offset <= end {
            return self;
        }
        let kept =
            batches(&self.bytes).flatten().take_while(|(header, _)| header.base_offset < end);
        let bytes: usize = kept.map(|(header, _)| header.bytes).sum();
        Self::of(self.base_offset, self.round, self.bytes.slice(..bytes)).measured()
    }

    /// Fills in what the batches say: where they end and their highest time.
    pub(crate) fn measured(mut self) -> Self {
        for (header, _) in batches(&self.bytes).flatten() {
            self.next_offset = header.next_offset();
            self.max_timestamp = self.max_timestamp.max(header.max_timestamp);
        }
        self
    }
}

/// Why nothing can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Before the log's start or beyond its end.
    #[error("offset {asked} is out of range: the log holds {start} to {end}")]
    OutOfRange {
        /// What was asked for.
        asked: Offset,
        /// First offset kept.
        start: Offset,
        /// Next offset to come.
        end: Offset,
    },
    /// The disk failed.
    #[error("cannot read partition {partition}: {message}")]
    Storage {
        /// Which partition.
        partition: PartitionId,
        /// The system's words.
        message: String,
    },
}

/// What is asked of one segment.
pub(crate) struct Range {
    /// The first offset wanted.
    pub(crate) from: Offset,
    /// Bytes wanted at most; the first batch is given in any case.
    pub(crate) bytes_max: usize,
    /// The last round wanted.
    pub(crate) round_max: Option<Round>,
    /// Whether a chunk may hold batches of one round only.
    pub(crate) split_rounds: bool,
    /// Where the segment ends: what a damaged last batch is skipped to.
    pub(crate) segment_end: Offset,
}
