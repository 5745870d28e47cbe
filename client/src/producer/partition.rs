//! Where records come in: one open batch a partition, behind one short lock.

use super::budget::Budget;
use super::config::ProducerConfig;
use super::frame::Frame;
use super::lane::Lane;
use super::sending::Sending;
use super::{Record, Refused};
use crate::{Error, limits};
use anabranch_types::batch::HEADER_BYTES;
use anabranch_types::limits::BATCH_BYTES_MAX;
use anabranch_types::{PartitionIndex, partitioner};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// A topic that is produced to.
#[derive(Debug)]
pub(super) struct TopicState<T> {
    pub(super) name: Arc<TopicName>,
    pub(super) partitions: Vec<Arc<Partition<T>>>,
}

/// What a topic's partitions share.
#[derive(Debug)]
pub(super) struct TopicName {
    pub(super) name: String,
    /// The partition that records without a key go to for now.
    pub(super) sticky: AtomicUsize,
}

impl TopicName {
    /// The batch of `partition` is full or gone: the next one's turn (KIP-480).
    fn turn(&self, partition: PartitionIndex) {
        if self.sticky.load(Ordering::Relaxed) == partition.0 as usize {
            self.sticky.store(partition.0 as usize + 1, Ordering::Relaxed);
        }
    }
}

impl<T> TopicState<T> {
    pub(super) fn partition(&self, record: &Record<'_>) -> Result<&Arc<Partition<T>>, Error> {
        let count = self.partitions.len();
        let index = match (record.partition, record.key) {
            (Some(partition), _) => usize::try_from(partition.0).unwrap_or(usize::MAX),
            (None, Some(key)) => partitioner::partition_of(key, count as i32).0 as usize,
            (None, None) => {
                let sticky = self.name.sticky.load(Ordering::Relaxed);
                if sticky < count {
                    sticky
                } else {
                    self.name.sticky.store(0, Ordering::Relaxed);
                    0
                }
            }
        };
        self.partitions.get(index).ok_or_else(|| Error::NoPartition {
            topic: self.name.name.clone(),
            partition: record.partition.map_or(-1, |partition| partition.0),
            partitions: count as i32,
        })
    }
}

/// One partition. Lock order: `sending`, then `intake`.
#[derive(Debug)]
pub(super) struct Partition<T> {
    pub(super) topic: Arc<TopicName>,
    pub(super) index: PartitionIndex,
    /// Everything of a produce request in front of the batch.
    prefix: Box<[u8]>,
    /// The broker that leads it, as far as is known.
    pub(super) leader: AtomicI32,
    intake: Mutex<Intake<T>>,
    /// Only the lane's task takes this lock, so it never waits.
    sending: Mutex<Sending<T>>,
}

/// What senders and the lane share.
#[derive(Debug)]
pub(super) struct Intake<T> {
    pub(super) open: Option<Box<Frame<T>>>,
    pub(super) sealed: VecDeque<Box<Frame<T>>>,
    pub(super) pool: Pool<T>,
    /// Whether the lane was told.
    pub(super) listed: bool,
    pub(super) lane: Arc<Lane<T>>,
    closed: bool,
    next_number: u64,
}

impl<T> Partition<T> {
    pub(super) fn new(
        topic: Arc<TopicName>,
        index: PartitionIndex,
        prefix: Vec<u8>,
        lane: Arc<Lane<T>>,
        sending: Sending<T>,
    ) -> Self {
        Self {
            topic,
            index,
            prefix: prefix.into_boxed_slice(),
            leader: AtomicI32::new(lane.broker.0),
            intake: Mutex::new(Intake {
                open: None,
                sealed: VecDeque::new(),
                pool: Pool::default(),
                listed: false,
                lane,
                closed: false,
                next_number: 0,
            }),
            sending: Mutex::new(sending),
        }
    }

    pub(super) fn intake(&self) -> MutexGuard<'_, Intake<T>> {
        // Nothing that runs under the lock leaves it half done.
        self.intake.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn sending(&self) -> MutexGuard<'_, Sending<T>> {
        self.sending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses records from now on.
    pub(super) fn close(&self) {
        self.intake().closed = true;
    }

    /// Adds the record to the open batch, and tells the lane where there is something new.
    #[inline]
    pub(super) fn push(
        self: &Arc<Self>,
        record: &Record<'_>,
        ticket: T,
        config: &ProducerConfig,
        budget: &Budget,
    ) -> Result<(), Refused<T>> {
        let record_bytes = record.bytes();
        let frame_bytes = self.prefix.len() + HEADER_BYTES;
        let bytes_max = budget.max().min(BATCH_BYTES_MAX);
        if record_bytes + frame_bytes > bytes_max {
            let error = Error::RecordTooLarge { bytes: record_bytes + frame_bytes, bytes_max };
            return Err(Refused::Error(error, ticket));
        }
        let mut intake = self.intake();
        if intake.closed {
            return Err(Refused::Error(Error::Stopped, ticket));
        }
        let open_bytes = intake.open.as_ref().map(|open| open.batch_bytes());
        let full = open_bytes.is_some_and(|bytes| bytes + record_bytes > config.batch_bytes);
        let opening = full || open_bytes.is_none();
        let reserved = record_bytes + if opening { frame_bytes } else { 0 };
        if !budget.take(reserved) {
            return Err(Refused::Full(ticket));
        }
        if full {
            self.seal(&mut intake);
        }
        if opening {
            self.open(&mut intake, config);
        }
        let open = intake.open.as_mut().expect("it was just opened");
        open.push(record, ticket, reserved);
        let sealed = open.tickets.len() >= config.batch_records_max
            || open.batch_bytes() >= config.batch_bytes;
        if sealed {
            self.seal(&mut intake);
        }
        let lane = if (opening || sealed) && !intake.listed {
            intake.listed = true;
            Some(Arc::clone(&intake.lane))
        } else {
            None
        };
        drop(intake);
        if let Some(lane) = lane {
            // A lane that ended has closed its partitions first.
            lane.list(Arc::clone(self));
        }
        Ok(())
    }

    fn open(&self, intake: &mut Intake<T>, config: &ProducerConfig) {
        let now = Instant::now();
        let mut frame = intake.pool.take().unwrap_or_else(|| Box::new(Frame::new(now)));
        frame.open(&self.prefix, config.compression, now);
        frame.number = intake.next_number;
        intake.next_number += 1;
        intake.open = Some(frame);
    }

    /// Closes the open batch, if there is one.
    pub(super) fn seal(&self, intake: &mut Intake<T>) {
        if let Some(mut frame) = intake.open.take() {
            frame.seal();
            intake.sealed.push_back(frame);
            self.topic.turn(self.index);
        }
    }
}

/// Frames whose buffers can be used again.
#[derive(Debug)]
pub(super) struct Pool<T> {
    frames: Vec<Box<Frame<T>>>,
    bytes: usize,
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self { frames: Vec::new(), bytes: 0 }
    }
}

impl<T> Pool<T> {
    pub(super) fn take(&mut self) -> Option<Box<Frame<T>>> {
        let frame = self.frames.pop()?;
        self.bytes -= frame.bytes.capacity();
        Some(frame)
    }

    /// Keeps the frame where that stays within the bounds.
    pub(super) fn put(&mut self, frame: Box<Frame<T>>, batch_bytes: usize) {
        let bytes = self.bytes + frame.bytes.capacity();
        let bytes_max = limits::FRAMES_POOLED_BYTES_MAX + 2 * batch_bytes;
        if self.frames.len() < limits::FRAMES_POOLED_MAX && bytes <= bytes_max {
            self.bytes = bytes;
            self.frames.push(frame);
        }
    }

    /// Moves frames over from `other` within the bounds.
    pub(super) fn put_all(&mut self, other: &mut Self, batch_bytes: usize) {
        let bytes = self.bytes + other.bytes;
        let fits = self.frames.len() + other.frames.len() <= limits::FRAMES_POOLED_MAX
            && bytes <= limits::FRAMES_POOLED_BYTES_MAX + 2 * batch_bytes;
        if fits {
            self.frames.append(&mut other.frames);
            (self.bytes, other.bytes) = (bytes, 0);
            return;
        }
        while let Some(frame) = other.take() {
            self.put(frame, batch_bytes);
        }
    }
}
