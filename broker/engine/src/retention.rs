//! What goes by age or size (`retention.ms`, `retention.bytes`; of rows, `ttl.ms`) or because
//! somebody asks for it (Kafka's `DeleteRecords`): records from the front of a log, and with them
//! the rows they are.
//!
//! A row goes by a tombstone in the log, like any other: so every subscriber sees it go, and a table
//! rebuilt from what is left is the same. Only then the log's start moves over its record.

use crate::engine::Engine;
use crate::own::{change_log, nothing, own_part};
use crate::stream::Stream;
use crate::{Error, ErrorKind};
use anabranch_log::{Append, Atomicity, CheckedKeys, Operation, Preconditions, key_hash};
use anabranch_table::{KeyRange, Row, TableId};
use anabranch_types::batch::BatchBuilder;
use anabranch_types::{Offset, PartitionId};
use bytes::Bytes;
use smallvec::SmallVec;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Rows that go in one append.
const ROWS: usize = 1_000;
/// How often an append is tried whose rows somebody writes at the same time.
const TRIES: u32 = 10;
/// How long tables may take to show what was written.
const CUT_TIMEOUT: Duration = Duration::from_secs(30);

impl Engine {
    /// Moves the starts of logs by their streams' retention.
    pub async fn retain(&self) {
        let now = self.now();
        let streams: Vec<Arc<Stream>> = self.catalog().streams().cloned().collect();
        for stream in streams.iter().filter(|stream| !stream.is_internal()) {
            let (age_ms, bytes) = (stream.options.retention_ms, stream.options.retention_bytes);
            let logs = stream.partitions.iter().filter_map(|id| self.partition(*id));
            let due = logs.filter_map(|log| {
                let start = log.retain_from(now, age_ms, bytes)?;
                Some((log.id(), start))
            });
            if let Err(error) = self.forget(stream, due.collect()).await {
                tracing::warn!(stream = stream.name, %error, "retention did not happen");
            }
        }
    }

    /// Forgets the records before an offset of each partition, of any streams; durable when this
    /// returns.
    ///
    /// # Errors
    /// Those of [`Self::cut`] and of the log; [`ErrorKind::Conflict`] if rows that would go are
    /// being written all the time.
    pub(crate) async fn delete_records(&self, to: Vec<(PartitionId, Offset)>) -> Result<(), Error> {
        let streams: Vec<Arc<Stream>> = self.catalog().streams().cloned().collect();
        let mut by_stream: Vec<(Arc<Stream>, BTreeMap<PartitionId, Offset>)> = Vec::new();
        for stream in streams {
            let its = to.iter().filter(|(id, _)| stream.partitions.contains(id)).copied();
            let its: BTreeMap<PartitionId, Offset> = its.collect();
            if !its.is_empty() {
                by_stream.push((stream, its));
            }
        }
        for (stream, starts) in by_stream {
            self.forget(&stream, starts).await?;
        }
        Ok(())
    }

    async fn forget(
        &self,
        stream: &Stream,
        starts: BTreeMap<PartitionId, Offset>,
    ) -> Result<(), Error> {
        if starts.is_empty() {
            return Ok(());
        }
        if let Some(table) = stream.table {
            let goes = |row: &Row| {
                let start = starts.get(&row.stamp.partition);
                start.is_some_and(|start| row.stamp.offset < *start)
            };
            self.delete_rows(stream, table, goes).await?;
        }
        let operations = starts.into_iter().map(|(id, start)| Operation::SetLogStart(id, start));
        change_log(&self.inner.log, nothing(), operations.collect()).await
    }

    /// Deletes the rows that have outlived their stream's `ttl.ms`.
    ///
    /// # Errors
    /// As [`Self::delete_records`].
    pub(crate) async fn expire_rows(&self, stream: &Stream) -> Result<(), Error> {
        let (Some(table), Some(ttl_ms)) = (stream.table, stream.options.ttl_ms) else {
            return Ok(());
        };
        let oldest = self.now().0.saturating_sub_unsigned(ttl_ms);
        self.delete_rows(stream, table, |row: &Row| row.timestamp.0 < oldest).await
    }

    /// Deletes the rows that `goes` says.
    async fn delete_rows(
        &self,
        stream: &Stream,
        table: TableId,
        goes: impl Fn(&Row) -> bool + Copy,
    ) -> Result<(), Error> {
        let (_, view) = self.cut(CUT_TIMEOUT).await?;
        let mut keys = Vec::new();
        for row in view.scan(table, KeyRange::ALL) {
            if self.is_stopped() {
                return Err(Error::new(ErrorKind::Unavailable, "the broker is shutting down"));
            }
            let (key, row) = row?;
            if goes(&row) {
                keys.push(key);
            }
            if keys.len() == ROWS {
                self.delete_keys(stream, table, std::mem::take(&mut keys), goes).await?;
            }
        }
        self.delete_keys(stream, table, keys, goes).await
    }

    /// Deletes those of the rows that still go: somebody may have written them anew.
    async fn delete_keys(
        &self,
        stream: &Stream,
        table: TableId,
        mut keys: Vec<Bytes>,
        goes: impl Fn(&Row) -> bool,
    ) -> Result<(), Error> {
        for _ in 0..TRIES {
            let (cut, view) = self.cut(CUT_TIMEOUT).await?;
            let mut left = Vec::new();
            let mut batches: BTreeMap<PartitionId, BatchBuilder> = BTreeMap::new();
            for (key, row) in keys.iter().zip(view.get_many(table, &keys)?) {
                let Some(row) = row.filter(|row| goes(row)) else { continue };
                let batch = batches.entry(row.stamp.partition).or_default();
                batch.push(self.now(), Some(key), None, &[]);
                left.push(key.clone());
            }
            if left.is_empty() {
                return Ok(());
            }
            let hashes = left.iter().map(|key| key_hash(key)).collect();
            let partitions = stream.partitions.clone();
            let checked = CheckedKeys { partitions, hashes };
            let preconditions = Preconditions { cut, keys: vec![checked] };
            let parts: Result<SmallVec<_>, Error> =
                batches.into_iter().map(|(id, batch)| own_part(id, batch, true)).collect();
            let append = Append {
                parts: parts?,
                atomicity: Atomicity::AllParts,
                preconditions: Some(Box::new(preconditions)),
            };
            // As a change, it may use the reserve of a full disk: it makes room.
            match change_log(&self.inner.log, append, Vec::new()).await {
                Ok(()) => return Ok(()),
                Err(error) if matches!(error.kind, ErrorKind::Conflict) => keys = left,
                Err(error) => return Err(error),
            }
        }
        let message =
            format!("rows of {} that are to go are being written: try again", stream.name);
        Err(Error::new(ErrorKind::Conflict, message))
    }
}
