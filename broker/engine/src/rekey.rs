//! A stream of events becomes a table whose keys come from its columns: its rows are written anew,
//! under their keys, into partitions that take the place of its own.
//!
//! Until they do, these partitions belong to no stream: a start removes them
//! (`unfinished/<partition>` in the catalog's ledger). Should somebody write to the stream
//! meanwhile, then they do not take its place.

use crate::applier::Feed;
use crate::catalog::{
    DROPPED_PREFIX, UNFINISHED_PREFIX, dropped_key, encode_stream, marked, stream_key,
    unfinished_key,
};
use crate::changes::{altered_meanwhile, check_columns, refuse_internal, to_the_end};
use crate::engine::{Engine, log_settings};
use crate::ledger::Together;
use crate::stream::{Column, Mode, Stream};
use crate::{Error, ErrorKind};
use anabranch_log::Operation;
use anabranch_table::TableId;
use anabranch_types::{Offset, PartitionId};
use std::sync::Arc;

/// Partitions and tables of no stream.
pub(crate) struct Leftovers {
    partitions: Vec<PartitionId>,
    tables: Vec<TableId>,
}

/// A stream whose rows are being written anew. What is dropped unfinished is removed.
pub struct Rekeying {
    engine: Engine,
    old: Arc<Stream>,
    new: Arc<Stream>,
    table: TableId,
    /// What is written anew: all below.
    ends: Vec<(PartitionId, Offset)>,
    is_finished: bool,
}

impl Rekeying {
    /// The stream as it is going to be: rows are appended to its partitions.
    #[must_use]
    pub fn stream(&self) -> &Arc<Stream> {
        &self.new
    }

    /// Has it take the old one's place; durable when this returns.
    ///
    /// # Errors
    /// `Conflict`: the old one was written or altered since. The log's.
    pub async fn finish(self) -> Result<Arc<Stream>, Error> {
        // Whoever asked may go: the change comes to its end.
        to_the_end(async move {
            let mut rekeying = self;
            let engine = rekeying.engine.clone();
            let stream = engine.take_place(&rekeying).await?;
            rekeying.is_finished = true;
            // Offsets begin anew.
            engine.forget_offsets(stream.id).await?;
            Ok(stream)
        })
        .await
    }
}

impl Drop for Rekeying {
    fn drop(&mut self) {
        if self.is_finished {
            return;
        }
        self.engine.remove_unfinished_later(self.new.partitions.clone(), vec![self.table]);
    }
}

impl Engine {
    /// Begins to make `name` a keyed stream of these columns.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; `InvalidArgument` if it is keyed; `Conflict` while a transaction
    /// is open on it; the log's.
    pub(crate) async fn begin_rekeying(
        &self,
        name: &str,
        columns: Vec<Column>,
    ) -> Result<Rekeying, Error> {
        let (engine, name) = (self.clone(), name.to_owned());
        to_the_end(async move { engine.begin(&name, columns).await }).await
    }

    async fn begin(&self, name: &str, columns: Vec<Column>) -> Result<Rekeying, Error> {
        let _one_at_a_time = self.inner.changing.lock().await;
        let old = Arc::clone(self.catalog().find(name)?);
        refuse_internal(&old)?;
        if old.mode == Mode::Upsert {
            let message = format!("{name} has keys already, which stay as they are");
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        check_columns(Mode::Upsert, &columns)?;
        let ends = self.ends(&old)?;
        let mut next = self.next_ids()?;
        let count = u32::try_from(old.partitions.len()).expect("streams have few partitions");
        let (partitions, table) = (next.partitions(count), next.table());
        let new = Arc::new(old.keyed(columns, partitions, table));
        let mut entries = vec![next.entry(), marked(dropped_key(table))];
        entries.extend(new.partitions.iter().map(|id| marked(unfinished_key(*id))));
        let operations = new.partitions.iter().map(|id| Operation::Create(*id)).collect();
        self.inner.catalog_ledger.change(entries, operations, log_settings(&new)).await?;
        Ok(Rekeying { engine: self.clone(), old, new, table, ends, is_finished: false })
    }

    /// Where the next records of a stream come. Of a transaction that is open nobody knows yet
    /// whether its records count.
    fn ends(&self, stream: &Stream) -> Result<Vec<(PartitionId, Offset)>, Error> {
        let logs = stream.partitions.iter().filter_map(|id| self.partition(*id));
        logs.map(|log| {
            let end = log.high_watermark();
            if log.last_stable() < end {
                let message = format!("a producer's transaction is open on {}", stream.name);
                return Err(Error::new(ErrorKind::Conflict, message));
            }
            Ok((log.id(), end))
        })
        .collect()
    }

    async fn take_place(&self, rekeying: &Rekeying) -> Result<Arc<Stream>, Error> {
        let Rekeying { old, new, table, ends, .. } = rekeying;
        let _one_at_a_time = self.inner.changing.lock().await;
        let is_same = self.catalog().by_id(old.id).is_some_and(|now| Arc::ptr_eq(now, old));
        if !is_same {
            return Err(altered_meanwhile(&old.name));
        }
        let logs = new.partitions.iter().filter_map(|id| self.partition(*id));
        let feeds = logs.map(|log| Feed { table: *table, log }).collect();
        self.inner.applier.feed_from_the_start(feeds).await?;
        let mut entries =
            vec![(dropped_key(*table), None), (stream_key(new.id), Some(encode_stream(new)))];
        entries.extend(new.partitions.iter().map(|id| (unfinished_key(*id), None)));
        let together = Together {
            operations: old.partitions.iter().map(|id| Operation::Delete(*id)).collect(),
            settings: log_settings(new),
            unwritten: ends.clone(),
            append: None,
        };
        let changed = self.inner.catalog_ledger.change_with(entries, together);
        changed.await.map_err(|error| match error.kind {
            ErrorKind::Conflict => Error::new(
                ErrorKind::Conflict,
                format!("{} was written to at the same time: try again", old.name),
            ),
            _ => error,
        })?;
        self.configure(new);
        self.set_catalog(|catalog| catalog.without(old).with(Arc::clone(new)));
        Ok(Arc::clone(new))
    }

    /// What an earlier start has left to no stream; to be asked before there are others.
    pub(crate) fn leftovers(&self) -> Leftovers {
        let ids = |prefix: &str| {
            let keys = self.inner.catalog_ledger.scan(prefix.as_bytes()).into_iter();
            let id = |key: Vec<u8>| std::str::from_utf8(&key[prefix.len()..]).ok()?.parse().ok();
            keys.filter_map(|(key, _)| id(key)).collect::<Vec<u32>>()
        };
        Leftovers {
            partitions: ids(UNFINISHED_PREFIX).into_iter().map(PartitionId).collect(),
            tables: ids(DROPPED_PREFIX).into_iter().map(TableId).collect(),
        }
    }

    /// Removes what an earlier start has left, tables for good. Blocks.
    ///
    /// # Errors
    /// The log's and the tables'; then the next start removes the rest.
    pub(crate) async fn remove_leftovers(&self, left: Leftovers) -> Result<(), Error> {
        self.remove_unfinished(left.partitions).await?;
        if left.tables.is_empty() {
            return Ok(());
        }
        left.tables.iter().try_for_each(|table| self.inner.tables.drop_table(*table))?;
        let entries = left.tables.into_iter().map(|table| (dropped_key(table), None));
        self.inner.catalog_ledger.put(entries.collect()).await
    }

    /// Removes partitions and tables of no stream, once there is time.
    pub(crate) fn remove_unfinished_later(
        &self,
        partitions: Vec<PartitionId>,
        tables: Vec<TableId>,
    ) {
        // Without a runtime the broker is about to end: the next start does it.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let engine = self.clone();
        runtime.spawn(async move {
            if let Err(error) = engine.remove_unfinished(partitions).await {
                tracing::warn!(%error, "partitions of no stream stay till the start");
                return;
            }
            // Whoever could not tell whether they were taken into use must not remove a table that
            // was: its id is of no use ever after.
            let ledger = &engine.inner.catalog_ledger;
            let is_left = |table: &TableId| ledger.get(&dropped_key(*table)).is_some();
            let left = tables.into_iter().filter(is_left);
            left.for_each(|table| engine.inner.applier.drop_table(table));
        });
    }

    pub(crate) async fn remove_unfinished(&self, all: Vec<PartitionId>) -> Result<(), Error> {
        let ledger = &self.inner.catalog_ledger;
        let is_left = |id: &PartitionId| ledger.get(&unfinished_key(*id)).is_some();
        let all: Vec<_> = all.into_iter().filter(is_left).collect();
        if all.is_empty() {
            return Ok(());
        }
        let entries = all.iter().map(|id| (unfinished_key(*id), None)).collect();
        let operations = all.into_iter().map(Operation::Delete).collect();
        let settings = anabranch_log::Settings::default();
        ledger.change(entries, operations, settings).await
    }
}
