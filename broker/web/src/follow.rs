//! Following a stream: a position in each partition, and what is read from there. Nothing is held
//! between steps but positions.

#[cfg(test)]
mod tests;

use crate::error::{Code, Failure};
use crate::limits::{COLD_READS_MAX, READ_BYTES};
use crate::position::{Begin, position_text};
use anabranch_engine::{
    Chunk, ErrorKind, Operation, PartitionLog, ReadError, Session, Stream, Until,
};
use anabranch_types::batch::{
    BatchError, BatchHeader, Compression, Record, batches, decode_records,
};
use anabranch_types::{Offset, PartitionId, PartitionIndex};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Steps that read from disk at this moment.
static COLD_READS: Semaphore = Semaphore::const_new(COLD_READS_MAX);

/// Takes the records of a step.
pub(crate) trait Sink: Send + 'static {
    /// The next record of a partition.
    fn record(&mut self, partition: PartitionIndex, record: &Record<'_>);

    /// Whether the step should end here; `compressed` if going on later means to expand the same
    /// batch again.
    fn is_full(&self, compressed: bool) -> bool;

    /// The partition's records so far all stand below `next`.
    fn partition_end(&mut self, partition: PartitionIndex, next: Offset);
}

/// A reader of one stream.
pub(crate) struct Follower {
    engine: Session,
    stream: Arc<Stream>,
    cursors: Vec<Cursor>,
    /// The cursor whose turn it is.
    turn: usize,
    /// The only partition to follow, if there is but one.
    only: Option<PartitionIndex>,
    catalog_version: u64,
}

#[derive(Clone)]
struct Cursor {
    index: PartitionIndex,
    log: Arc<PartitionLog>,
    next: Offset,
    /// Whether it had reached the end: what has come since is in memory.
    is_warm: bool,
}

/// The stream of that name, to read.
///
/// # Errors
/// There is none, it is the broker's own, or they may not know of it.
pub(crate) fn stream_to_read(engine: &Session, name: &str) -> Result<Arc<Stream>, Failure> {
    // Whether there is such a stream or not.
    engine.check_stream_access(Operation::Describe, name)?;
    engine
        .catalog()
        .by_name(name)
        .filter(|stream| !stream.is_internal())
        .cloned()
        .ok_or_else(|| Failure::not_found(format!("there is no stream {name:?}")))
}

impl Follower {
    /// Begins to follow the stream `name`; may read the disk to find a time.
    ///
    /// # Errors
    /// There is no such stream or partition, or the position is not kept.
    pub(crate) async fn open(
        engine: &Session,
        name: &str,
        begin: Begin,
        only: Option<PartitionIndex>,
    ) -> Result<Self, Failure> {
        let catalog = engine.catalog();
        let stream = stream_to_read(engine, name)?;
        let count = stream.partitions.len();
        let named = match &begin {
            Begin::Position(position) => position.iter().map(|&(index, _)| index).collect(),
            _ => Vec::new(),
        };
        for index in only.iter().chain(&named) {
            if stream.partition(*index).is_none() {
                return Err(Failure::not_found(format!(
                    "stream {name:?} has {count} partitions; there is no {index}"
                )));
            }
        }
        let mut follower = Self {
            engine: engine.clone(),
            stream,
            cursors: Vec::with_capacity(count),
            turn: 0,
            only,
            catalog_version: catalog.version(),
        };
        follower.add_partitions()?;
        follower.seek(begin).await?;
        Ok(follower)
    }

    /// What is followed.
    pub(crate) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// The partitions whose advance is of interest.
    pub(crate) fn partition_ids(&self) -> impl Iterator<Item = PartitionId> {
        self.cursors.iter().map(|cursor| cursor.log.id())
    }

    /// Where the next step begins.
    pub(crate) fn position(&self) -> String {
        position_text(self.cursors.iter().map(|cursor| (cursor.index, cursor.next)))
    }

    /// Whether there is something to read.
    pub(crate) fn is_behind(&self) -> bool {
        self.cursors.iter().any(Cursor::is_behind)
    }

    /// Looks at the catalog again; true if there are new partitions.
    ///
    /// # Errors
    /// The stream was dropped.
    pub(crate) fn refresh(&mut self) -> Result<bool, Failure> {
        let catalog = self.engine.catalog();
        if catalog.version() == self.catalog_version {
            return Ok(false);
        }
        self.catalog_version = catalog.version();
        let name = &self.stream.name;
        self.stream = catalog
            .by_id(self.stream.id)
            .cloned()
            .ok_or_else(|| Failure::not_found(format!("stream {name:?} was dropped")))?;
        let before = self.cursors.len();
        self.add_partitions()?;
        Ok(self.cursors.len() > before)
    }

    /// Reads what comes next, until `sink` is full or there is no more; true if the position has
    /// moved.
    ///
    /// # Errors
    /// It may not be read any more; retention was faster (`out_of_range`), the disk failed, or a
    /// batch is damaged; records before that were handed to the sink, which is given back in any
    /// case.
    pub(crate) async fn step<S: Sink>(&mut self, mut sink: S) -> (S, Result<bool, Failure>) {
        // A grant that was revoked meanwhile gives nothing more.
        if let Err(denied) = self.engine.check_stream_access(Operation::Read, &self.stream.name) {
            return (sink, Err(denied.into()));
        }
        let mut has_moved = false;
        for _ in 0..self.cursors.len() {
            let at = self.turn % self.cursors.len();
            let cursor = &mut self.cursors[at];
            if cursor.is_behind() {
                let (start, end) = (cursor.next, cursor.log.last_stable());
                let result;
                (sink, result) = cursor.read(sink).await;
                cursor.is_warm = cursor.next >= end;
                has_moved |= cursor.next > start;
                if let Err(error) = result {
                    return (sink, Err(self.failure(at, error)));
                }
                if sink.is_full(false) {
                    return (sink, Ok(has_moved));
                }
            }
            self.turn = at + 1;
        }
        (sink, Ok(has_moved))
    }

    fn add_partitions(&mut self) -> Result<(), Failure> {
        for (number, &id) in self.stream.partitions.iter().enumerate() {
            let index = PartitionIndex(number as i32);
            let wanted = self.only.is_none_or(|only| only == index);
            if !wanted || self.cursors.iter().any(|cursor| cursor.index == index) {
                continue;
            }
            let log = self.engine.partition(id).ok_or_else(|| {
                Failure::not_found(format!("stream {:?} was dropped", self.stream.name))
            })?;
            let next = log.log_start();
            self.cursors.push(Cursor { index, log, next, is_warm: false });
        }
        Ok(())
    }

    async fn seek(&mut self, begin: Begin) -> Result<(), Failure> {
        match begin {
            Begin::Beginning => {}
            Begin::Now => {
                for cursor in &mut self.cursors {
                    cursor.next = cursor.log.high_watermark();
                    cursor.is_warm = true;
                }
            }
            Begin::Position(position) => {
                for cursor in &mut self.cursors {
                    if let Some((_, offset)) =
                        position.iter().find(|(index, _)| *index == cursor.index)
                    {
                        cursor.next = *offset;
                    }
                }
                self.check_kept()?;
            }
            Begin::Time(time) => {
                let mut cursors = self.cursors.clone();
                let found = blocking(move || {
                    for cursor in &mut cursors {
                        let found = cursor.log.find_time(time)?;
                        cursor.next =
                            found.map_or_else(|| cursor.log.high_watermark(), |(offset, _)| offset);
                    }
                    Ok(cursors)
                })
                .await;
                self.cursors = found.map_err(|error| self.failure(0, error))?;
            }
            Begin::Token(_) => {
                return Err(Failure::invalid("a token resumes a table, not a stream")
                    .hint("subscribe to the table, or give a position"));
            }
        }
        Ok(())
    }

    fn check_kept(&self) -> Result<(), Failure> {
        for (at, cursor) in self.cursors.iter().enumerate() {
            let (start, end) = (cursor.log.log_start(), cursor.log.high_watermark());
            if !(start..=end).contains(&cursor.next) {
                let error = ReadError::OutOfRange { asked: cursor.next, start, end };
                return Err(self.failure(at, StepError::Read(error)));
            }
        }
        Ok(())
    }

    /// Where whoever has lost their place goes on: everywhere they were, except that a partition
    /// in which that is not kept, or never was, is read from its start.
    fn earliest(&self) -> String {
        position_text(self.cursors.iter().map(|cursor| {
            let (start, end) = (cursor.log.log_start(), cursor.log.high_watermark());
            let is_kept = (start..=end).contains(&cursor.next);
            (cursor.index, if is_kept { cursor.next } else { start })
        }))
    }

    fn failure(&self, at: usize, error: StepError) -> Failure {
        let index = self.cursors[at].index;
        let place = format!("stream {:?}, partition {index}", self.stream.name);
        match error {
            StepError::Read(error @ ReadError::OutOfRange { .. }) => {
                let code = Code::Engine(ErrorKind::OutOfRange);
                let mut failure = Failure::new(code, format!("{place}: {error}"));
                failure.earliest = Some(self.earliest());
                failure
            }
            StepError::Read(error @ ReadError::Storage { .. }) => {
                Failure::new(Code::Engine(ErrorKind::Storage), format!("{place}: {error}"))
            }
            StepError::Batch { error, after } => {
                let code = Code::Engine(ErrorKind::Corrupt);
                let message = format!("{place}: the batch before offset {after}: {error}");
                Failure::new(code, message).hint(format!("go on at \"{index}:{after}\""))
            }
        }
    }
}

impl Cursor {
    fn is_behind(&self) -> bool {
        self.log.last_stable() > self.next
    }

    /// Reads once. What has just come is in memory and is read here; what is older may be on
    /// disk, which is not for the threads of sockets.
    async fn read<S: Sink>(&mut self, mut sink: S) -> (S, Result<(), StepError>) {
        if self.is_warm {
            let result = self.read_now(&mut sink);
            return (sink, result);
        }
        let mut cursor = self.clone();
        let permit = COLD_READS.acquire().await;
        let read = tokio::task::spawn_blocking(move || {
            let result = cursor.read_now(&mut sink);
            (cursor, sink, result)
        })
        .await;
        drop(permit);
        match read {
            Ok((cursor, sink, result)) => {
                *self = cursor;
                (sink, result)
            }
            Err(ended) => over(ended).await,
        }
    }

    fn read_now(&mut self, sink: &mut impl Sink) -> Result<(), StepError> {
        let chunks = self.log.read(self.next, READ_BYTES, Until::Stable)?;
        let log = &self.log;
        let result = feed(|header| log.counts(header), &chunks, self.index, &mut self.next, sink);
        sink.partition_end(self.index, self.next);
        result
    }
}

/// Hands the records of `chunks` from `next` on to `sink`, and moves `next`.
fn feed(
    counts: impl Fn(&BatchHeader) -> bool,
    chunks: &[Chunk],
    index: PartitionIndex,
    next: &mut Offset,
    sink: &mut impl Sink,
) -> Result<(), StepError> {
    let mut scratch = Vec::new();
    for chunk in chunks {
        for batch in batches(&chunk.bytes) {
            let broken = |error, after| StepError::Batch { error, after };
            let (header, batch) = batch.map_err(|error| broken(error, next.plus(1)))?;
            let after = header.next_offset();
            if after <= *next {
                continue;
            }
            if !counts(&header) {
                *next = after;
                continue;
            }
            let broken = |error| broken(error, after);
            let compressed = header.compression().map_err(broken)? != Compression::None;
            for record in decode_records(&header, batch, &mut scratch).map_err(broken)? {
                let record = record.map_err(broken)?;
                if record.offset < *next {
                    continue;
                }
                sink.record(index, &record);
                *next = record.offset.plus(1);
                if sink.is_full(compressed) && *next < after {
                    return Ok(());
                }
            }
            *next = after;
            if sink.is_full(false) {
                return Ok(());
            }
        }
        // Past what the log has left out.
        *next = chunk.next_offset.max(*next);
    }
    Ok(())
}

/// Why a step ended early.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{error}")]
    Batch { error: BatchError, after: Offset },
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
) -> Result<T, StepError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(ended) => over(ended).await,
    }
}

/// Passes a panic on. A task that was cancelled means that the runtime is going, and we with it.
async fn over<T>(ended: tokio::task::JoinError) -> T {
    match ended.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => std::future::pending().await,
    }
}
