//! How far a partition goes, for who may not read it.

use anabranch_log::{PartitionLog, ReadError};
use anabranch_types::{LeaderEpoch, Offset, PartitionId, Timestamp};
use std::sync::Arc;

/// A partition's offsets, times and size, without its records.
#[derive(Clone)]
pub struct Marks(pub(crate) Arc<PartitionLog>);

impl Marks {
    /// Whose they are.
    #[must_use]
    pub fn id(&self) -> PartitionId {
        self.0.id()
    }

    /// First offset that is kept.
    #[must_use]
    pub fn log_start(&self) -> Offset {
        self.0.log_start()
    }

    /// Offset that the next record gets.
    #[must_use]
    pub fn high_watermark(&self) -> Offset {
        self.0.high_watermark()
    }

    /// First offset whose transaction is not decided.
    #[must_use]
    pub fn last_stable(&self) -> Offset {
        self.0.last_stable()
    }

    /// Bytes kept.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.bytes()
    }

    /// See [`PartitionLog::find_time`].
    ///
    /// # Errors
    /// The disk's.
    pub fn find_time(&self, time: Timestamp) -> Result<Option<(Offset, Timestamp)>, ReadError> {
        self.0.find_time(time)
    }

    /// See [`PartitionLog::find_max_time`].
    ///
    /// # Errors
    /// The disk's.
    pub fn find_max_time(&self) -> Result<Option<(Offset, Timestamp)>, ReadError> {
        self.0.find_max_time()
    }

    /// See [`PartitionLog::epoch_end`].
    #[must_use]
    pub fn epoch_end(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        self.0.epoch_end(epoch)
    }
}
