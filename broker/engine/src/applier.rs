//! From log to tables: one thread that follows the keyed streams by whole rounds.
//!
//! It sleeps until a keyed partition advances or somebody asks for a cut; a broker without tables
//! does not pay for it.

use crate::{Error, ErrorKind};
use anabranch_log::{Chunk, PartitionLog, Shared, Until, Watcher};
use anabranch_table::{Mutation, Operation, Progress, TableId, Tables, View};
use anabranch_types::batch::{batches, decode_records};
use anabranch_types::{Offset, PartitionId, Round, Stamp};
use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// Rows after which a step ends.
const STEP_ROWS: usize = 65_536;
/// Rounds that a step spans at most.
const SPAN_MAX: u64 = 1024;
/// Bytes taken from a partition at a time.
const READ_BYTES: usize = 1 << 20;
/// Unapplied records at which appends to keyed streams wait.
const LAG_RECORDS_MAX: u64 = 400_000;

/// A partition that feeds a table.
pub(crate) struct Feed {
    pub(crate) table: TableId,
    pub(crate) log: Arc<PartitionLog>,
}

/// Tables and the round that they show.
#[derive(Clone)]
pub(crate) struct Applied {
    pub(crate) round: Round,
    pub(crate) view: Arc<View>,
}

pub(crate) struct Applier {
    shared: Arc<Shared>,
    tables: Arc<Tables>,
    orders: Mutex<Orders>,
    wake: Condvar,
    applied: watch::Sender<Applied>,
    failure: Mutex<Option<Error>>,
    misfits: AtomicU64,
    /// Published and not applied, as of the end of the last step.
    lag_records: AtomicU64,
    /// Registered with the partitions: lives as long as this.
    bell: Arc<Bell>,
}

#[derive(Default)]
struct Orders {
    feeds: BTreeMap<PartitionId, Feed>,
    drop_tables: Vec<TableId>,
    rung: bool,
    stop: bool,
}

/// Rings when a keyed partition advances.
struct Bell {
    applier: std::sync::Weak<Applier>,
}

impl Watcher for Bell {
    fn advanced(&self) {
        if let Some(applier) = self.applier.upgrade() {
            applier.ring();
        }
    }
}

impl Applier {
    pub(crate) fn new(shared: Arc<Shared>, tables: Arc<Tables>) -> Arc<Self> {
        let view = tables.view();
        let applied = Applied { round: view.applied(), view };
        Arc::new_cyclic(|applier| Self {
            shared,
            tables,
            orders: Mutex::default(),
            wake: Condvar::new(),
            applied: watch::Sender::new(applied),
            failure: Mutex::new(None),
            misfits: AtomicU64::new(0),
            lag_records: AtomicU64::new(0),
            bell: Arc::new(Bell { applier: applier.clone() }),
        })
    }

    /// Follows a partition from now on.
    pub(crate) fn feed(&self, feed: Feed) {
        let log = Arc::clone(&feed.log);
        self.orders.lock().feeds.insert(log.id(), feed);
        let bell: Arc<dyn Watcher> = Arc::clone(&self.bell) as Arc<dyn Watcher>;
        log.watch(Arc::downgrade(&bell));
        self.ring();
    }

    /// Stops following a table's partitions and removes its rows.
    pub(crate) fn drop_table(&self, table: TableId) {
        let mut orders = self.orders.lock();
        orders.feeds.retain(|_, feed| feed.table != table);
        orders.drop_tables.push(table);
        drop(orders);
        self.ring();
    }

    /// Has the thread look for what is new.
    pub(crate) fn ring(&self) {
        let mut orders = self.orders.lock();
        orders.rung = true;
        self.wake.notify_one();
    }

    pub(crate) fn stop(&self) {
        self.orders.lock().stop = true;
        self.wake.notify_one();
    }

    /// Tells of every new cut.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Applied> {
        self.applied.subscribe()
    }

    /// Why tables are not followed any more, if so.
    pub(crate) fn failure(&self) -> Option<Error> {
        self.failure.lock().clone()
    }

    /// Records that could not be applied since the start.
    pub(crate) fn misfits(&self) -> u64 {
        self.misfits.load(Ordering::Relaxed)
    }

    /// The thread.
    pub(crate) fn run(&self, progress: Progress) {
        let mut positions: BTreeMap<PartitionId, Offset> = progress.positions.into_iter().collect();
        let mut applied = progress.applied;
        let mut span = 8;
        loop {
            let published = self.shared.published();
            if applied >= published && !self.wait() {
                return;
            }
            let result = self.step(&mut positions, &mut applied, &mut span);
            if let Err(error) = result {
                tracing::error!(%error, "tables are not followed any more; restart the broker");
                *self.failure.lock() = Some(error);
                // Whoever waits for a cut looks again and finds the failure.
                self.applied.send_modify(|_| {});
                return;
            }
        }
    }

    /// Waits for the bell. False: stop.
    fn wait(&self) -> bool {
        let mut orders = self.orders.lock();
        while !orders.rung && !orders.stop {
            self.wake.wait_for(&mut orders, Duration::from_secs(3600));
        }
        orders.rung = false;
        !orders.stop
    }

    /// Applies some whole rounds, or finds that there is nothing in them for a table.
    fn step(
        &self,
        positions: &mut BTreeMap<PartitionId, Offset>,
        applied: &mut Round,
        span: &mut u64,
    ) -> Result<(), Error> {
        let (feeds, drop_tables) = {
            let mut orders = self.orders.lock();
            let feeds: Vec<(TableId, Arc<PartitionLog>)> =
                orders.feeds.values().map(|feed| (feed.table, Arc::clone(&feed.log))).collect();
            (feeds, std::mem::take(&mut orders.drop_tables))
        };
        for table in drop_tables {
            self.tables.drop_table(table)?;
        }
        let published = self.shared.published();
        let behind = |(_, log): &&(TableId, Arc<PartitionLog>)| {
            positions.get(&log.id()).copied().unwrap_or_default() < log.high_watermark()
        };
        let busy: Vec<_> = feeds.iter().filter(behind).cloned().collect();
        let target = if busy.is_empty() {
            published
        } else {
            published.min(Round(applied.0.saturating_add(*span)))
        };
        let mut mutations = Vec::new();
        for (table, log) in &busy {
            let position = positions.entry(log.id()).or_insert_with(|| log.log_start());
            *position = (*position).max(log.log_start());
            self.collect(*table, log, position, target, &mut mutations)?;
        }
        let rows = mutations.len();
        *span = if rows > STEP_ROWS { *span / 2 } else { *span * 2 }.clamp(1, SPAN_MAX);
        let followed = |id: &PartitionId| feeds.iter().any(|(_, log)| log.id() == *id);
        positions.retain(|id, _| followed(id));
        if !mutations.is_empty() {
            let positions = positions.iter().map(|(id, next)| (*id, *next)).collect();
            self.tables.apply(mutations, Progress { applied: target, positions })?;
        }
        let lag = |(_, log): &(TableId, Arc<PartitionLog>)| {
            let position = positions.get(&log.id()).copied().unwrap_or_default();
            u64::try_from(log.high_watermark().0 - position.0).unwrap_or(0)
        };
        self.lag_records.store(feeds.iter().map(lag).sum(), Ordering::Relaxed);
        *applied = target;
        self.shared.set_applied(target);
        self.applied.send_replace(Applied { round: target, view: self.tables.view() });
        Ok(())
    }

    fn collect(
        &self,
        table: TableId,
        log: &PartitionLog,
        position: &mut Offset,
        target: Round,
        out: &mut Vec<Mutation>,
    ) -> Result<(), Error> {
        loop {
            let chunks = match log.read_rounds(*position, READ_BYTES, Until::Round(target)) {
                Ok(chunks) => chunks,
                // Retention or a deletion overtook us: what is gone is gone.
                Err(anabranch_log::ReadError::OutOfRange { start, .. }) if start > *position => {
                    *position = start;
                    continue;
                }
                Err(error) => return Err(Error::new(ErrorKind::Storage, error.to_string())),
            };
            let Some(last) = chunks.last() else { return Ok(()) };
            let next = last.next_offset;
            for chunk in &chunks {
                self.mutations(table, log.id(), chunk, *position, out);
            }
            *position = next;
        }
    }

    /// What cannot be decoded was validated once, so it is damage: counted, and stops nobody.
    fn mutations(
        &self,
        table: TableId,
        partition: PartitionId,
        chunk: &Chunk,
        from: Offset,
        out: &mut Vec<Mutation>,
    ) {
        let mut scratch = Vec::new();
        for (header, batch) in batches(&chunk.bytes).flatten() {
            if header.is_control() {
                continue;
            }
            let plain = header.compression().is_ok_and(|codec| codec == Default::default());
            // Uncompressed rows share the memory of the log's tail.
            let own = |bytes: &[u8]| {
                if plain { chunk.bytes.slice_ref(bytes) } else { Bytes::copy_from_slice(bytes) }
            };
            let Ok(records) = decode_records(&header, batch, &mut scratch) else {
                self.misfits.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            for record in records {
                let Ok(record) = record else {
                    self.misfits.fetch_add(1, Ordering::Relaxed);
                    break;
                };
                let Some(key) = record.key else {
                    self.misfits.fetch_add(1, Ordering::Relaxed);
                    continue;
                };
                if record.offset < from {
                    continue;
                }
                let operation = match record.value {
                    None => Operation::Delete,
                    Some(value) => {
                        let mut headers = Vec::new();
                        record.headers.encode(&mut headers);
                        Operation::Put {
                            timestamp: record.timestamp,
                            value: own(value),
                            headers: Bytes::from(headers),
                        }
                    }
                };
                let stamp = Stamp { round: chunk.round, partition, offset: record.offset };
                out.push(Mutation { table, key: own(key), stamp, operation });
            }
        }
    }

    /// Whether appends to keyed streams should wait.
    pub(crate) fn is_behind(&self) -> bool {
        self.lag_records.load(Ordering::Relaxed) > LAG_RECORDS_MAX
    }

    /// Rounds that are published and not applied yet.
    pub(crate) fn lag_rounds(&self) -> u64 {
        let applied = self.applied.borrow().round;
        self.shared.published().0.saturating_sub(applied.0)
    }
}
