//! From log to tables: one thread that follows the keyed streams by whole rounds.
//!
//! Records of a transaction are applied when its marker comes, all of them in the round that
//! decides it; their stamps stay those of their append. So an open transaction delays nobody, and
//! a restart begins before the oldest one that was open.
//!
//! It sleeps until a keyed partition advances or somebody asks for a cut; a broker without tables
//! does not pay for it.

use crate::{Error, ErrorKind};
use anabranch_log::{Chunk, PartitionLog, Shared, Until, Watcher};
use anabranch_table::{Mutation, Operation, Progress, TableId, Tables, View};
use anabranch_types::batch::{BatchHeader, Ending, batches, decode_records, ending};
use anabranch_types::{Offset, PartitionId, ProducerId, Round, Stamp};
use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::watch;

/// Rows after which a step ends, with the round that it is in.
const STEP_ROWS: usize = 65_536;
/// Bytes of batches after which a step ends, likewise.
const STEP_BYTES: usize = 16 << 20;
/// Bytes that every partition may give in a step, however many there are.
const SHARE_BYTES_MIN: usize = 64 << 10;
/// Bytes taken from a partition at a time.
const READ_BYTES: usize = 1 << 20;
/// Unapplied records at which appends to keyed streams wait.
const LAG_RECORDS_MAX: u64 = 150_000;

/// A partition that feeds a table.
pub(crate) struct Feed {
    pub(crate) table: TableId,
    pub(crate) log: Arc<PartitionLog>,
}

/// How far a partition is read.
#[derive(Debug, Clone, Default)]
struct Place {
    next: Offset,
    /// Transactions whose marker is still to come: where their records begin, and in which round.
    open: BTreeMap<ProducerId, (Offset, Round)>,
}

impl Place {
    /// What a restart begins with: it needs the records of open transactions once more.
    fn resume(&self) -> Offset {
        self.open.values().map(|(first, _)| *first).min().unwrap_or(self.next)
    }
}

/// What one partition gives in a step.
#[derive(Default)]
struct Part {
    after: Place,
    /// The last round read.
    last: Round,
    /// Up to the end of which round it was read.
    until: Round,
    has_markers: bool,
    mutations: Vec<Mutation>,
}

/// Where a batch's records belong; those before `from` do not.
#[derive(Clone, Copy)]
struct At {
    table: TableId,
    partition: PartitionId,
    from: Offset,
}

fn storage(error: &anabranch_log::ReadError) -> Error {
    Error::new(ErrorKind::Storage, error.to_string())
}

/// How much one partition gives in a step before its target sinks.
struct Share {
    rows: usize,
    bytes: usize,
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
    /// Set outside of the lock: the commit thread rings for every keyed partition and round.
    rung: AtomicBool,
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
    /// Of those, the ones with records from before they were fed, which are not applied yet: no
    /// reader knows their table.
    late: BTreeSet<PartitionId>,
    /// Of those, the ones that no step has seen yet: how far another table had followed them says
    /// nothing of this one.
    begin: BTreeSet<PartitionId>,
    drop_tables: Vec<TableId>,
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
            rung: AtomicBool::new(false),
            applied: watch::Sender::new(applied),
            failure: Mutex::new(None),
            misfits: AtomicU64::new(0),
            lag_records: AtomicU64::new(0),
            bell: Arc::new(Bell { applier: applier.clone() }),
        })
    }

    /// Follows a partition from now on.
    pub(crate) fn feed(&self, feed: Feed) {
        self.follow(vec![feed], false);
    }

    fn follow(&self, feeds: Vec<Feed>, are_late: bool) {
        let logs: Vec<Arc<PartitionLog>> = feeds.iter().map(|feed| Arc::clone(&feed.log)).collect();
        let mut orders = self.orders.lock();
        // Together: a step that found one late and did not feed it would take it for done.
        let late: Vec<PartitionId> = logs.iter().filter(|_| are_late).map(|log| log.id()).collect();
        orders.late.extend(&late);
        orders.begin.extend(&late);
        orders.feeds.extend(feeds.into_iter().map(|feed| (feed.log.id(), feed)));
        drop(orders);
        let bell: Arc<dyn Watcher> = Arc::clone(&self.bell) as Arc<dyn Watcher>;
        logs.iter().for_each(|log| log.watch(Arc::downgrade(&bell)));
        self.ring();
    }

    /// Follows partitions that have records already, and returns when these are applied.
    pub(crate) async fn feed_from_the_start(&self, feeds: Vec<Feed>) -> Result<(), Error> {
        let ids: Vec<PartitionId> = feeds.iter().map(|feed| feed.log.id()).collect();
        let mut applied = self.subscribe();
        self.follow(feeds, true);
        loop {
            if ids.iter().all(|id| !self.orders.lock().late.contains(id)) {
                return Ok(());
            }
            if let Some(failure) = self.failure() {
                return Err(failure);
            }
            if applied.changed().await.is_err() {
                return Err(Error::new(ErrorKind::Unavailable, "the broker is shutting down"));
            }
        }
    }

    /// Stops following a table's partitions and removes its rows.
    pub(crate) fn drop_table(&self, table: TableId) {
        let mut orders = self.orders.lock();
        let Orders { feeds, late, .. } = &mut *orders;
        feeds.retain(|_, feed| feed.table != table);
        late.retain(|id| feeds.contains_key(id));
        orders.drop_tables.push(table);
        drop(orders);
        self.ring();
    }

    /// Has the thread look for what is new.
    pub(crate) fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            // Under the lock, or the thread could miss it on its way to sleep.
            let _orders = self.orders.lock();
            self.wake.notify_one();
        }
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
        let at = |next| Place { next, open: BTreeMap::new() };
        let mut positions: BTreeMap<PartitionId, Place> =
            progress.positions.into_iter().map(|(id, next)| (id, at(next))).collect();
        let mut applied = progress.applied;
        let mut more = true;
        while self.may_go_on(more) {
            match self.step(&mut positions, &mut applied) {
                Ok(is_behind) => more = is_behind,
                Err(error) => {
                    tracing::error!(%error, "tables are not followed any more; restart the broker");
                    *self.failure.lock() = Some(error);
                    // Whoever waits for a cut looks again and finds the failure.
                    self.applied.send_modify(|_| {});
                    return;
                }
            }
        }
    }

    /// Waits for the bell, unless there is more to do. False: stop.
    fn may_go_on(&self, more: bool) -> bool {
        let mut orders = self.orders.lock();
        while !orders.stop && !self.rung.swap(false, Ordering::AcqRel) && !more {
            self.wake.wait(&mut orders);
        }
        !orders.stop
    }

    /// Applies some whole rounds, or finds that there is nothing in them for a table. Says whether
    /// there are more.
    fn step(
        &self,
        positions: &mut BTreeMap<PartitionId, Place>,
        applied: &mut Round,
    ) -> Result<bool, Error> {
        // Before the feeds: what is fed later has records of later rounds only, or nobody reads it.
        let published = self.shared.published();
        let (feeds, late, drop_tables) = {
            let mut orders = self.orders.lock();
            let feeds: Vec<(TableId, Arc<PartitionLog>)> =
                orders.feeds.values().map(|feed| (feed.table, Arc::clone(&feed.log))).collect();
            std::mem::take(&mut orders.begin).iter().for_each(|id| drop(positions.remove(id)));
            (feeds, orders.late.clone(), std::mem::take(&mut orders.drop_tables))
        };
        for table in drop_tables {
            self.tables.drop_table_later(table);
        }
        let behind = |(_, log): &&(TableId, Arc<PartitionLog>)| {
            positions.get(&log.id()).map_or(Offset(0), |place| place.next) < log.high_watermark()
        };
        let busy: Vec<_> = feeds.iter().filter(behind).cloned().collect();
        let feeders = busy.len().max(1);
        let share =
            Share { rows: STEP_ROWS / feeders, bytes: (STEP_BYTES / feeders).max(SHARE_BYTES_MIN) };
        // Sinks to the round in which a partition has given its share.
        let mut target = published;
        let mut taken = Vec::with_capacity(busy.len());
        for (table, log) in &busy {
            let begin = Place { next: log.log_start(), open: BTreeMap::new() };
            let before = positions.entry(log.id()).or_insert(begin);
            before.next = before.next.max(log.log_start());
            let mut part = Part { after: before.clone(), ..Part::default() };
            part.until = self.collect(*table, log, &mut part, &share, target)?;
            // Nobody reads a table that is filled from the start: the others do not wait for it.
            if !late.contains(&log.id()) {
                target = part.until;
            }
            taken.push(part);
        }
        let mut mutations = Vec::new();
        let mut behind: BTreeSet<PartitionId> = BTreeSet::new();
        for (part, (table, log)) in taken.into_iter().zip(&busy) {
            let place = positions.get_mut(&log.id()).expect("it was just read");
            let mut part = part;
            if part.last > target && part.has_markers {
                // It was read before the target sank, and what a later marker decides is not to be
                // told from the rest any more.
                part = Part { after: place.clone(), ..Part::default() };
                let all = Share { rows: usize::MAX, bytes: usize::MAX };
                part.until = self.collect(*table, log, &mut part, &all, target)?;
                target = target.min(part.until);
            } else if part.last > target {
                let next = &mut part.after.next;
                part.mutations.retain(|mutation| {
                    let within = mutation.stamp.round <= target;
                    if !within {
                        *next = (*next).min(mutation.stamp.offset);
                    }
                    within
                });
            }
            if part.until < target {
                behind.insert(log.id());
            }
            mutations.append(&mut part.mutations);
            *place = part.after;
        }
        positions.retain(|id, _| feeds.binary_search_by_key(id, |(_, log)| log.id()).is_ok());
        if !mutations.is_empty() {
            let positions = positions.iter().map(|(id, place)| (*id, place.resume())).collect();
            self.tables.apply(mutations, Progress { applied: target, positions })?;
        }
        let still_late: BTreeSet<PartitionId> = late.intersection(&behind).copied().collect();
        // Nothing older will come: deletions need no stamps any more.
        let open = positions.values().flat_map(|place| place.open.values());
        let oldest = open.map(|(_, round)| *round).min();
        if still_late.is_empty() {
            self.tables.settle(oldest.map_or(target.next(), |oldest| oldest.min(target.next())));
        }
        let lag = |(_, log): &(TableId, Arc<PartitionLog>)| {
            let next = positions.get(&log.id()).map_or(Offset(0), |place| place.next);
            u64::try_from(log.high_watermark().0 - next.0).unwrap_or(0)
        };
        // Nobody is to wait for a table that nobody knows.
        let known = feeds.iter().filter(|(_, log)| !still_late.contains(&log.id()));
        self.lag_records.store(known.map(lag).sum(), Ordering::Relaxed);
        let is_late = !still_late.is_empty();
        if !late.is_empty() {
            let done: Vec<_> = late.difference(&still_late).copied().collect();
            self.orders.lock().late.retain(|id| !done.contains(id));
        }
        *applied = target;
        self.shared.set_applied(target);
        self.applied.send_replace(Applied { round: target, view: self.tables.view() });
        Ok(target < published || is_late)
    }

    /// Takes what a partition has up to the end of `target`, or of the round in which its share is
    /// exceeded: says which.
    fn collect(
        &self,
        table: TableId,
        log: &PartitionLog,
        part: &mut Part,
        share: &Share,
        mut target: Round,
    ) -> Result<Round, Error> {
        let mut bytes = 0;
        let read_bytes = READ_BYTES.min(share.bytes);
        loop {
            let chunks = match log.read_rounds(part.after.next, read_bytes, Until::Round(target)) {
                Ok(chunks) => chunks,
                // Its table goes too.
                Err(_) if log.is_deleted() => return Ok(target),
                // Retention or a deletion overtook us: what is gone is gone.
                Err(anabranch_log::ReadError::OutOfRange { start, .. })
                    if start > part.after.next =>
                {
                    part.after.next = start;
                    continue;
                }
                Err(error) => return Err(storage(&error)),
            };
            let Some(last) = chunks.last() else { return Ok(target) };
            let next = last.next_offset;
            for chunk in &chunks {
                bytes += chunk.bytes.len();
                self.chunk(table, log, chunk, part)?;
            }
            part.after.next = next;
            part.last = last.round;
            if bytes >= share.bytes || part.mutations.len() >= share.rows {
                target = target.min(last.round);
            }
        }
    }

    /// Takes a chunk's records; those of a transaction when it is decided.
    fn chunk(
        &self,
        table: TableId,
        log: &PartitionLog,
        chunk: &Chunk,
        part: &mut Part,
    ) -> Result<(), Error> {
        for (header, batch) in batches(&chunk.bytes).flatten() {
            if header.next_offset() <= part.after.next {
                continue;
            }
            let producer = header.producer_id;
            if header.is_control() {
                part.has_markers = true;
                let open = part.after.open.remove(&producer);
                if let (Some((first, _)), Some(Ending::Commit)) = (open, ending(&header, batch)) {
                    let range = first..header.base_offset;
                    self.transaction(table, log, producer, range, &mut part.mutations)?;
                }
            } else if header.is_transactional() {
                let began = (header.base_offset, chunk.round);
                part.after.open.entry(producer).or_insert(began);
            } else {
                let at = At { table, partition: log.id(), from: part.after.next };
                self.batch(at, chunk, &header, batch, &mut part.mutations);
            }
        }
        Ok(())
    }

    /// Reads the records of a committed transaction, which are in `range` among others'.
    fn transaction(
        &self,
        table: TableId,
        log: &PartitionLog,
        producer: ProducerId,
        range: std::ops::Range<Offset>,
        out: &mut Vec<Mutation>,
    ) -> Result<(), Error> {
        let read = log.transaction(producer, range, |chunk, batch| {
            if let Ok((header, batch)) = batch {
                let at = At { table, partition: log.id(), from: header.base_offset };
                self.batch(at, chunk, &header, batch, out);
            }
            Ok(())
        });
        match read {
            Err(_) if log.is_deleted() => Ok(()),
            read => read.map_err(|error| storage(&error)),
        }
    }

    /// What cannot be decoded was validated once, so it is damage: counted, and stops nobody.
    fn batch(
        &self,
        at: At,
        chunk: &Chunk,
        header: &BatchHeader,
        batch: &[u8],
        out: &mut Vec<Mutation>,
    ) {
        let mut scratch = Vec::new();
        let plain = header.compression().is_ok_and(|codec| codec == Default::default());
        // Uncompressed rows share the memory of the log's tail.
        let own = |bytes: &[u8]| {
            if plain { chunk.bytes.slice_ref(bytes) } else { Bytes::copy_from_slice(bytes) }
        };
        let Ok(records) = decode_records(header, batch, &mut scratch) else {
            self.misfits.fetch_add(1, Ordering::Relaxed);
            return;
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
            if record.offset < at.from {
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
            let stamp =
                Stamp { round: chunk.round, partition: at.partition, offset: record.offset };
            out.push(Mutation { table: at.table, key: own(key), stamp, operation });
        }
    }

    /// Whether appends to keyed streams should wait.
    pub(crate) fn is_behind(&self) -> bool {
        self.lag_records.load(Ordering::Relaxed) > LAG_RECORDS_MAX
    }

    /// Rounds that are published and not applied yet. Rounds without a record for a table are no
    /// lag: the thread does not even look at them until somebody asks for a cut.
    pub(crate) fn lag_rounds(&self) -> u64 {
        if self.lag_records.load(Ordering::Relaxed) == 0 && !self.rung.load(Ordering::Relaxed) {
            return 0;
        }
        let applied = self.applied.borrow().round;
        self.shared.published().0.saturating_sub(applied.0)
    }
}
