//! Opening the log: checkpoint, then journal, then a checkpoint of the new boot.
//!
//! What a killed process left in the page cache can be read but is not durable; so everything
//! since the last checkpoint is written to the segments again from the journal and synced, before
//! anybody is served.

use crate::Error;
use crate::checkpoint::Checkpoint;
use crate::commit::{Log, RoundInHand};
use crate::disk::Disk;
use crate::journal::{Journal, JournalFiles, JournalPosition, JournalSize, Link, Replay};
use crate::limits::{SEGMENT_BYTES_MAX, SWEEP_BYTES};
use crate::partition::{Kept, PartitionLog};
use crate::producers::Producers;
use crate::read::Chunk;
use crate::round::{Entry, Operation, Placed, entries};
use crate::segment::{dir, parse_file_name};
use crate::segment_writer::{SegmentWriter, Task, sync_segments};
use crate::shared::Shared;
use crate::sweep::Sweep;
use crate::transactions::Event;
use crate::writer::{Settings, Writer};
use anabranch_types::batch::{BatchHeader, HEADER_BYTES, batches, ending};
use anabranch_types::{LeaderEpoch, Offset, PartitionId, Round, Timestamp};
use bytes::Bytes;
use smallvec::smallvec;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;

/// How to open a log.
#[derive(Debug, Clone)]
pub struct Options {
    /// Size of the journal; of a new boot, whatever it was before.
    pub journal: JournalSize,
    /// Bytes of free disk below which clients' appends are refused.
    pub reserve_bytes: u64,
    /// Bytes at which a segment is followed by a new one.
    pub segment_bytes: u64,
    /// Drawn at random for each start, never 0: tells this boot's journal from any before.
    pub boot: u64,
    /// Open even if the journal is damaged in the middle, without what stands behind the damage.
    pub accept_journal_damage: bool,
}

impl Default for JournalSize {
    fn default() -> Self {
        Self { file_bytes: 32 << 20, files: 4 }
    }
}

struct Recovering {
    disk: Arc<dyn Disk>,
    partitions: BTreeMap<PartitionId, (Arc<PartitionLog>, Producers)>,
    unlinking: Vec<PartitionId>,
    epoch: LeaderEpoch,
}

impl Log {
    /// Opens the log on `disk`, creating it if there is none, and recovers. `stall` is called
    /// while the journal is full: it waits for, or drives, the segment writer.
    ///
    /// # Errors
    /// [`Error`]: the disk's, or damage that needs a decision.
    pub fn open(
        disk: Arc<dyn Disk>,
        options: &Options,
        stall: impl FnOnce(&Arc<Shared>) -> Box<dyn FnMut() + Send>,
    ) -> Result<(Self, SegmentWriter), Error> {
        assert_ne!(options.boot, 0, "0 is no boot");
        if !options.journal.is_possible() {
            return Err(Error::JournalSize(options.journal));
        }
        let checkpoint = Checkpoint::read(&*disk)?;
        if let Some(checkpoint) = &checkpoint {
            checkpoint.write_again(&*disk)?;
        }
        let fresh = checkpoint.is_none();
        let checkpoint = checkpoint.unwrap_or_else(|| Checkpoint {
            number: 0,
            epoch: LeaderEpoch(-1),
            journal: options.journal,
            link: Link { boot: 0, round: Round(1), ..Link::default() },
            partitions: Vec::new(),
            unlinking: Vec::new(),
        });
        let mut recovering = Recovering::new(Arc::clone(&disk), &checkpoint)?;
        let replay = if fresh {
            checkpoint.link
        } else {
            recovering.replay(&checkpoint, options.accept_journal_damage)?
        };
        recovering.make_durable()?;
        // A file of its own for the new boot. If the size has changed, numbering goes on all the
        // same; slots of the old size are simply made anew.
        let link = Link {
            boot: options.boot,
            round: replay.round,
            before: 0,
            position: JournalPosition { file: replay.position.file + u64::from(!fresh), at: 0 },
        };
        let epoch = LeaderEpoch(checkpoint.epoch.0 + 1);
        let number = checkpoint.number + 1;
        // Into both slots: should one be damaged later, the other must not lead back behind this
        // boot, whose journal would then pass for garbage.
        recovering.checkpoint(number, epoch, options.journal, link)?;
        let number = number + 1;
        recovering.checkpoint(number, epoch, options.journal, link)?;
        recovering.finish(number, epoch, link, options, stall)
    }
}

impl Recovering {
    fn new(disk: Arc<dyn Disk>, checkpoint: &Checkpoint) -> Result<Self, Error> {
        let mut partitions = BTreeMap::new();
        for (id, kept, producers) in &checkpoint.partitions {
            let log = PartitionLog::new(Arc::clone(&disk), *id, kept.clone());
            if let Some(last) = log.segments().last() {
                last.check_length()?;
            }
            let open = producers.open();
            let events: Vec<_> =
                open.map(|(producer, first)| Event::Opened { producer, first }).collect();
            log.decide_again(&events);
            partitions.insert(*id, (Arc::new(log), producers.clone()));
        }
        let unlinking = checkpoint.unlinking.clone();
        Ok(Self { disk, partitions, unlinking, epoch: checkpoint.epoch })
    }

    /// Applies every whole round of the journal. Says what would have come next.
    fn replay(&mut self, checkpoint: &Checkpoint, accept_damage: bool) -> Result<Link, Error> {
        let mut replay = Replay::new(Arc::clone(&self.disk), checkpoint.journal, checkpoint.link);
        // One round is held back: the last has to be made durable before anything follows from it.
        let mut held: Option<(Round, Vec<u8>, Link)> = None;
        loop {
            let here = replay.next_link();
            match replay.next() {
                Ok(Some((round, body))) => {
                    if let Some(before) = held.replace((round, body, here))
                        && let Some(end) = self.replay_held(before, accept_damage)?
                    {
                        return Ok(end);
                    }
                }
                Ok(None) => break,
                Err(Error::JournalDamaged { round, later, .. }) if accept_damage => {
                    tracing::warn!(
                        from = round.0,
                        to = later.0,
                        "the journal is damaged; rounds from here on are given up as was asked"
                    );
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(last) = held {
            replay.make_last_durable(&last.1)?;
            if let Some(end) = self.replay_held(last, accept_damage)? {
                return Ok(end);
            }
        }
        Ok(replay.next_link())
    }

    /// Applies a round. Says where the journal ends for us if it is given up.
    fn replay_held(
        &mut self,
        (round, body, here): (Round, Vec<u8>, Link),
        accept_damage: bool,
    ) -> Result<Option<Link>, Error> {
        match self.check_placed(round, &body) {
            Ok(()) => self.replay_round(round, &body).map(|()| None),
            Err(Error::PlacedDamaged { partition, .. }) if accept_damage => {
                tracing::warn!(
                    from = round.0,
                    partition = partition.0,
                    "a segment is damaged; rounds from here on are given up as was asked"
                );
                Ok(Some(here))
            }
            Err(error) => Err(error),
        }
    }

    /// Whether everything that the round names stands in its segment.
    fn check_placed(&self, round: Round, body: &[u8]) -> Result<(), Error> {
        for entry in entries(body).flatten() {
            let Entry::Placed { partition, placed, .. } = entry else { continue };
            let Some((log, _)) = self.partitions.get(&partition) else { continue };
            if placed.base < log.high_watermark() {
                continue;
            }
            let segments = log.segments();
            let next = segments
                .last()
                .map_or((placed.base, 0), |segment| (segment.base, segment.end().bytes));
            if next != (placed.segment, placed.position) || !log.holds(&placed)? {
                return Err(Error::PlacedDamaged {
                    partition,
                    segment: placed.segment,
                    position: placed.position,
                    round,
                });
            }
        }
        Ok(())
    }

    fn replay_round(&mut self, round: Round, body: &[u8]) -> Result<(), Error> {
        for entry in entries(body) {
            // The record's checksum held: what cannot be understood was not written by us.
            let entry = entry.ok_or(Error::JournalVersion { round })?;
            match entry {
                Entry::Operation(operation) => self.replay_operation(operation),
                Entry::Batches { partition, base, time, bytes } => {
                    self.replay_batches(round, partition, base, time, bytes)?;
                }
                Entry::Placed { partition, time, placed } => {
                    self.replay_placed(round, partition, time, &placed)?;
                }
            }
        }
        Ok(())
    }

    fn replay_operation(&mut self, operation: Operation) {
        match operation {
            Operation::Create(id) => {
                let log = PartitionLog::new(Arc::clone(&self.disk), id, Kept::default());
                self.partitions.insert(id, (Arc::new(log), Producers::default()));
            }
            Operation::Delete(id) => {
                if self.partitions.remove(&id).is_some() {
                    self.unlinking.push(id);
                }
            }
            Operation::Begin(id, producer, epoch) => {
                if let Some((_, producers)) = self.partitions.get_mut(&id) {
                    producers.begin(producer, epoch, Timestamp(0));
                }
            }
            Operation::SetLogStart(id, start) => {
                if let Some((log, _)) = self.partitions.get(&id) {
                    let start = start.clamp(log.log_start(), log.high_watermark());
                    // Files that are not needed any more go with the other leftovers.
                    let _ = log.set_log_start(start);
                }
            }
        }
    }

    fn replay_batches(
        &mut self,
        round: Round,
        partition: PartitionId,
        base: Offset,
        time: Timestamp,
        bytes: &[u8],
    ) -> Result<(), Error> {
        let Some((log, producers)) = self.partitions.get_mut(&partition) else {
            return Err(Error::JournalVersion { round });
        };
        let mut epoch = self.epoch;
        let mut events = Vec::new();
        for (header, batch) in batches(bytes).flatten() {
            epoch = header.leader_epoch;
            let marker = ending(&header, batch);
            events.extend(producers.record(&header, marker, header.base_offset, round, time));
        }
        // The segments may already have it: the checkpoint was written a little after its moment.
        if base < log.high_watermark() {
            log.decide_again(&events);
            return Ok(());
        }
        let chunk = Chunk::of(base, round, Bytes::copy_from_slice(bytes)).measured();
        let bytes = chunk.bytes.len();
        log.publish(smallvec![chunk], &events, epoch);
        // Nothing reads yet: memory is for nothing but what is being written.
        log.write_tail(log.high_watermark())?;
        log.evict(bytes);
        Ok(())
    }

    fn replay_placed(
        &mut self,
        round: Round,
        partition: PartitionId,
        time: Timestamp,
        placed: &Placed<'_>,
    ) -> Result<(), Error> {
        let Some((log, producers)) = self.partitions.get_mut(&partition) else {
            return Err(Error::JournalVersion { round });
        };
        let mut events = Vec::new();
        for header in placed.headers.chunks_exact(HEADER_BYTES) {
            let header = BatchHeader::read_alone(header).ok_or(Error::JournalVersion { round })?;
            events.extend(producers.record(&header, None, header.base_offset, round, time));
        }
        if placed.base < log.high_watermark() {
            log.decide_again(&events);
        } else if !log.adopt(placed, &events, round)? {
            let (segment, position) = (placed.segment, placed.position);
            return Err(Error::PlacedDamaged { partition, segment, position, round });
        }
        Ok(())
    }

    fn make_durable(&self) -> io::Result<()> {
        self.disk.create_dir("partitions")?;
        let mut all = Vec::new();
        for (log, _) in self.partitions.values() {
            let segments = log.segments();
            // What stands behind was never acknowledged.
            if let Some(last) = segments.last() {
                last.cut_to_end()?;
            }
            all.extend(segments);
        }
        sync_segments(&*self.disk, &all, || true)?;
        self.disk.sync_dir("partitions")?;
        self.disk.sync_dir("")
    }

    fn checkpoint(
        &self,
        number: u64,
        epoch: LeaderEpoch,
        journal: JournalSize,
        link: Link,
    ) -> io::Result<()> {
        let partitions = self
            .partitions
            .iter()
            .map(|(id, (log, producers))| (*id, log.kept().0, producers.clone()))
            .collect();
        let unlinking = self.unlinking.clone();
        Checkpoint { number, epoch, journal, link, partitions, unlinking }.write(&*self.disk)
    }

    fn finish(
        self,
        number: u64,
        epoch: LeaderEpoch,
        link: Link,
        options: &Options,
        stall: impl FnOnce(&Arc<Shared>) -> Box<dyn FnMut() + Send>,
    ) -> Result<(Log, SegmentWriter), Error> {
        let mut sweep = Sweep::new(Arc::clone(&self.disk), SWEEP_BYTES);
        self.unlinking.iter().for_each(|id| sweep.partition(*id));
        self.remove_leftovers(&mut sweep)?;
        self.look_for_strangers()?;
        let published = Round(link.round.0 - 1);
        let shared = Arc::new(Shared::default());
        shared.set_floor(link.position);
        shared.set_written(published);
        shared.set_published(published);
        shared.free_bytes.store(self.disk.free_bytes()?, std::sync::atomic::Ordering::Relaxed);
        let mut writers = ahash::HashMap::default();
        for (id, (log, producers)) in self.partitions {
            shared.insert(Arc::clone(&log));
            let mut writer = Writer::new(log, published, Settings::default());
            producers.open().for_each(|(id, _)| writer.recent_keys.add_unknown(id));
            writer.producers = producers;
            writers.insert(id, Box::new(writer));
        }
        let files = Arc::new(JournalFiles::new(Arc::clone(&self.disk), options.journal));
        let (tasks, waiting) = crossbeam::channel::unbounded();
        // The second file is ready before the first is full.
        let _ = tasks.send(Task::Prepare(link.position.file + 1));
        let segment_writer = SegmentWriter {
            disk: Arc::clone(&self.disk),
            shared: Arc::clone(&shared),
            files: Arc::clone(&files),
            tasks: waiting,
            number,
            evictable: VecDeque::new(),
            doomed: self.unlinking,
            sweep,
        };
        let log = Log {
            disk: self.disk,
            stall: stall(&shared),
            shared,
            journal: Journal::start(Arc::clone(&files), link)?,
            files,
            epoch,
            writers,
            tasks,
            reserve_bytes: options.reserve_bytes,
            checkpoints_asked: 0,
            checkpoint_asked_at: Timestamp(0),
            segment_bytes: options.segment_bytes.min(SEGMENT_BYTES_MAX),
            own_bytes: 0,
            untidy: false,
            pace: crate::commit::Pace::default(),
            placed_bytes: 0,
            unlinking: Vec::new(),
            stopping: false,
            round: RoundInHand::default(),
            flights: VecDeque::new(),
        };
        Ok((log, segment_writer))
    }

    /// Segments that no checkpoint names any more, or not yet when the process died.
    fn remove_leftovers(&self, sweep: &mut Sweep) -> io::Result<()> {
        for (id, (log, _)) in &self.partitions {
            let named: Vec<(Offset, u32)> = log
                .segments()
                .iter()
                .map(|segment| (segment.base, segment.end().generation))
                .collect();
            for name in self.disk.list(&dir(*id))? {
                let Some(found) = parse_file_name(&name) else { continue };
                let path = format!("{}/{name}", dir(*id));
                if named.first().is_some_and(|first| found.0 < first.0) {
                    sweep.file(path);
                } else if named.binary_search(&found).is_err() {
                    // At once: the next segment may have this name.
                    self.disk.remove_file(&path)?;
                }
            }
        }
        Ok(())
    }

    /// Directories that no partition owns are reported, never removed.
    fn look_for_strangers(&self) -> io::Result<()> {
        for name in self.disk.list("partitions")? {
            let known = name
                .parse()
                .map(PartitionId)
                .is_ok_and(|id| self.partitions.contains_key(&id) || self.unlinking.contains(&id));
            if !known {
                tracing::warn!(directory = %format!("partitions/{name}"), "no partition owns this");
            }
        }
        Ok(())
    }
}
