//! One run: a log on a simulated disk, its model, and what befalls them.

use crate::generate::{CATALOG, Generator, part};
use crate::judge::{Asked, Judge, Unsure, change, submission};
use crate::model::{Change, Model};
use crate::reads;
use anabranch_log::backup::{self, Copier, MANIFEST, Pace};
use anabranch_log::disk::Disk;
use anabranch_log::disk::sim::{Faults, SimDisk};
use anabranch_log::{
    Append, AppendError, Atomicity, Command, Compaction, JournalSize, Log, Memory, Operation,
    Options, SegmentWriter, Settings, Tombstones,
};
use anabranch_types::batch::Ending;
use anabranch_types::{LeaderEpoch, Offset, PartitionId, Round, Timestamp};
use crossbeam::channel::{TryRecvError, bounded};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use smallvec::SmallVec;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What happened, so that a test run can tell that all of it did.
#[derive(Default, Debug)]
pub(crate) struct Figures {
    pub(crate) appended: u64,
    pub(crate) duplicates: u64,
    pub(crate) refused: u64,
    pub(crate) full: u64,
    pub(crate) unsure: u64,
    pub(crate) unsure_kept: u64,
    pub(crate) unsure_lost: u64,
    pub(crate) early_lost: u64,
    pub(crate) early_kept: u64,
    pub(crate) opens_failed: u64,
    pub(crate) in_flight: u64,
    pub(crate) checkpoints: u64,
    pub(crate) placed_bytes: u64,
    pub(crate) compacted_bytes: u64,
    pub(crate) compactions_failed: u64,
    pub(crate) committed: u64,
    pub(crate) aborted: u64,
    pub(crate) backups: u64,
}

impl Figures {
    pub(crate) fn add(&mut self, other: &Self) {
        self.appended += other.appended;
        self.duplicates += other.duplicates;
        self.refused += other.refused;
        self.full += other.full;
        self.unsure += other.unsure;
        self.unsure_kept += other.unsure_kept;
        self.unsure_lost += other.unsure_lost;
        self.early_lost += other.early_lost;
        self.early_kept += other.early_kept;
        self.opens_failed += other.opens_failed;
        self.in_flight += other.in_flight;
        self.checkpoints += other.checkpoints;
        self.placed_bytes += other.placed_bytes;
        self.compacted_bytes += other.compacted_bytes;
        self.compactions_failed += other.compactions_failed;
        self.committed += other.committed;
        self.aborted += other.aborted;
        self.backups += other.backups;
    }

    /// A simulation in which nothing happens proves nothing.
    pub(crate) fn assert_everything_happened(&self) {
        let Self { appended, duplicates, refused, full, unsure, .. } = *self;
        let Self { unsure_kept, unsure_lost, early_lost, early_kept, .. } = *self;
        let all = [appended, duplicates, refused, full, unsure, unsure_kept, unsure_lost];
        let more = [early_lost, early_kept, self.opens_failed, self.checkpoints];
        let bulk = [self.placed_bytes, self.in_flight];
        let compacted = [self.compacted_bytes, self.compactions_failed];
        let ended = [self.committed, self.aborted, self.backups];
        assert!(
            all.iter()
                .chain(&more)
                .chain(&bulk)
                .chain(&compacted)
                .chain(&ended)
                .all(|count| *count > 0),
            "never happened: {self:?}"
        );
    }
}

pub(crate) struct World {
    rng: StdRng,
    disk: SimDisk,
    capacity: u64,
    options: Options,
    place_bytes: usize,
    log: Option<Log>,
    writer: Arc<Mutex<Option<SegmentWriter>>>,
    model: Model,
    now: Timestamp,
    epoch: LeaderEpoch,
    counter: u64,
    next_id: u32,
    unsure: Vec<Unsure>,
    /// The unsure changes fit into one round.
    one_round: bool,
    /// Ends that could be read when the log failed.
    seen: BTreeMap<PartitionId, Offset>,
    power_lost: bool,
    figures: Figures,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let journal = journal_size(&mut rng);
        let bounded = rng.random_bool(0.1);
        let journal_bytes = 4 * (64 << 10);
        // Whatever was accepted before the disk was found full must fit into the reserve.
        let reserve_bytes = if bounded { 4 * journal_bytes } else { 0 };
        let room = journal_bytes + rng.random_range(100_000..300_000);
        let capacity = if bounded { reserve_bytes + room } else { 0 };
        let options = Options {
            journal,
            reserve_bytes,
            segment_bytes: rng.random_range(2_000..60_000),
            boot: 1,
            accept_journal_damage: false,
        };
        let place_bytes = [300, 1_500, 6_000, usize::MAX][rng.random_range(0..4)];
        Self {
            disk: SimDisk::new(rng.random()),
            rng,
            capacity,
            options,
            place_bytes,
            log: None,
            writer: Arc::default(),
            model: Model::default(),
            now: Timestamp(1_700_000_000_000),
            epoch: LeaderEpoch(-1),
            counter: 0,
            next_id: 16,
            unsure: Vec::new(),
            one_round: true,
            seen: BTreeMap::new(),
            power_lost: false,
            figures: Figures::default(),
        }
    }

    pub(crate) fn lives(&mut self) -> u32 {
        self.rng.random_range(2..=6)
    }

    fn log(&self) -> &Log {
        self.log.as_ref().expect("the log is open")
    }

    // ── accidents and recovery ──

    /// Power goes, or the process is killed; maybe both, one after the other.
    pub(crate) fn accident(&mut self) {
        self.log = None;
        *self.writer.lock() = None;
        if self.rng.random_bool(0.3) {
            self.disk.kill();
        }
        if self.rng.random_bool(0.5) {
            self.disk.crash();
            self.power_lost = true;
        } else {
            self.disk.kill();
        }
    }

    /// Recovers, maybe at the second or third attempt, and compares what is left.
    pub(crate) fn open(&mut self) {
        if self.rng.random_bool(0.2) {
            self.options.journal = journal_size(&mut self.rng);
        }
        let attempts = if self.rng.random_bool(0.4) { self.rng.random_range(1..=3) } else { 0 };
        for _ in 0..attempts {
            let dies = self.rng.random_range(2..40);
            let sync_fails = if self.rng.random_bool(0.3) { 20 } else { 0 };
            self.disk.set_faults(Faults { dies, sync_fails, capacity: self.capacity });
            if self.try_open().is_ok() {
                break;
            }
            self.figures.opens_failed += 1;
            self.accident();
        }
        self.disk.set_faults(Faults { capacity: self.capacity, ..Faults::default() });
        if self.log.is_none() {
            self.try_open().unwrap_or_else(|error| panic!("the log does not open: {error}"));
        }
        let log = self.log();
        assert!(log.epoch() > self.epoch, "the leader epoch rises");
        self.epoch = log.epoch();
        self.reconcile();
        let bytes_max = [3_000, 1, 1 << 20][self.rng.random_range(0..9) / 4];
        reads::everything(self.log().shared(), &self.model, bytes_max);
        self.configure();
        let known = |id: &PartitionId| self.model.partitions.contains_key(id);
        if !known(&CATALOG) {
            self.create_catalog();
        }
    }

    fn try_open(&mut self) -> Result<(), anabranch_log::Error> {
        self.options.boot = self.rng.random::<u64>().max(1);
        let driven = Arc::clone(&self.writer);
        let seed = self.rng.random();
        let stall = |_: &Arc<anabranch_log::Shared>| -> Box<dyn FnMut() + Send> {
            let mut idle = 0;
            let mut rng = StdRng::seed_from_u64(seed);
            Box::new(move || {
                // It may do more than what is waited for.
                let tasks = rng.random_range(1..=3);
                let ran = driven.lock().as_mut().expect("it is open").run_pending(tasks);
                idle = if ran == 0 { idle + 1 } else { 0 };
                assert!(idle < 3, "the log waits for a segment writer that has nothing to do");
            })
        };
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let (log, writer) = Log::open(disk, &self.options, stall)?;
        let memory = Memory {
            write_bytes: 2_000,
            own_bytes: [0, 500, usize::MAX][self.rng.random_range(0..3)],
            place_bytes: self.place_bytes,
            journal_bytes_per_s: 0,
            tail_bytes_target: 8_000,
            tail_bytes_max: 100_000,
        };
        log.shared().set_memory(memory);
        self.log = Some(log);
        *self.writer.lock() = Some(writer);
        Ok(())
    }

    /// Settings are the engine's to remember.
    fn configure(&mut self) {
        let all = self.model.partitions.iter().map(|(id, partition)| (*id, partition.settings));
        let all = all.collect();
        let log = self.log.as_mut().expect("the log is open");
        log.commit(&mut vec![Command::Configure(all)], self.now);
    }

    fn create_catalog(&mut self) {
        let append =
            Append { parts: SmallVec::new(), atomicity: Atomicity::AllParts, preconditions: None };
        let operations = vec![Operation::Create(CATALOG)];
        let (command, asked) = change(append, operations, Settings::default());
        self.commit(vec![command], vec![asked]);
    }

    /// Finds out which of the unsure changes were made: the first ones, none by halves, and all
    /// that were promised.
    fn reconcile(&mut self) {
        let shared = Arc::clone(self.log().shared());
        let unsure = std::mem::take(&mut self.unsure);
        let seen = std::mem::take(&mut self.seen);
        let shape = |model: &Model| {
            let partitions = shared.partitions();
            partitions.len() == model.partitions.len()
                && partitions.iter().all(|log| {
                    model.partitions.get(&log.id()).is_some_and(|partition| {
                        partition.next() == log.high_watermark().0
                            && partition.log_start == log.log_start().0
                    })
                })
        };
        let promised = |change: &Unsure| match &change.change {
            _ if change.early && !self.power_lost => true,
            Change::Append(id, batch) => {
                seen.get(id).is_some_and(|end| batch.header.base_offset < *end)
            }
            Change::Operation(..) => false,
        };
        let least = unsure.iter().rposition(promised).map_or(0, |last| last + 1);
        let mut model = self.model.clone();
        let mut whole = Vec::new();
        for kept in 0..=unsure.len() {
            let split = kept > 0
                && unsure.get(kept).is_some_and(|next| next.group == unsure[kept - 1].group);
            let all_or_nothing = !self.one_round || kept == 0 || kept == unsure.len();
            if shape(&model) {
                whole.push((kept, !split && all_or_nothing && kept >= least));
            }
            if let Some(next) = unsure.get(kept) {
                model.apply(&next.change);
            }
        }
        let Some((kept, _)) = whole.iter().rev().find(|(_, sound)| *sound).copied() else {
            self.explain(&unsure, &whole, least);
        };
        for change in &unsure[..kept] {
            self.model.apply(&change.change);
        }
        let early = |changes: &[Unsure]| changes.iter().filter(|change| change.early).count();
        self.figures.unsure_kept += kept as u64;
        self.figures.unsure_lost += (unsure.len() - kept) as u64;
        self.figures.early_kept += early(&unsure[..kept]) as u64;
        self.figures.early_lost += early(&unsure[kept..]) as u64;
        self.power_lost = false;
        self.send_again(&unsure);
    }

    fn explain(&self, unsure: &[Unsure], whole: &[(usize, bool)], least: usize) -> ! {
        let mut actual: Vec<_> = self.log().shared().partitions();
        actual.sort_by_key(|log| log.id());
        let actual: Vec<_> = actual
            .iter()
            .map(|log| (log.id().0, log.log_start().0, log.high_watermark().0))
            .collect();
        let before: Vec<_> = self
            .model
            .partitions
            .iter()
            .map(|(id, partition)| (id.0, partition.log_start, partition.next()))
            .collect();
        let changes: Vec<_> = unsure
            .iter()
            .map(|unsure| match &unsure.change {
                Change::Append(id, batch) => {
                    let (base, next) = (batch.base(), batch.next());
                    format!("{}: {id} {base}..{next} early {}", unsure.group, unsure.early)
                }
                Change::Operation(operation, _) => format!("{}: {operation:?}", unsure.group),
            })
            .collect();
        panic!(
            "what is left is no whole prefix of what was asked (id, start, end).\nfound  {actual:?}\n\
             before {before:?}\nunsure {changes:#?}\nprefixes of the right shape {whole:?}; at \
             least {least} were promised; in one round: {}; power lost: {}",
            self.one_round, self.power_lost
        );
    }

    /// As a client would: everything of an idempotent producer that was not answered.
    fn send_again(&mut self, unsure: &[Unsure]) {
        if self.rng.random_bool(0.5) {
            return;
        }
        let mut commands = Vec::new();
        let mut asked = Vec::new();
        for change in unsure {
            let Change::Append(id, batch) = &change.change else { continue };
            if batch.header.producer_id.0 >= 0 {
                let parts = SmallVec::from_iter([part(*id, batch.raw.clone())]);
                let append = Append { parts, atomicity: Atomicity::EachPart, preconditions: None };
                let (command, one) = submission(vec![append]);
                commands.push(command);
                asked.push(one);
            }
        }
        // Rounds of the survivors must be known first.
        reads::everything(self.log().shared(), &self.model, 1 << 20);
        self.configure();
        self.commit(commands, asked);
    }

    // ── life ──

    pub(crate) fn live(&mut self) {
        let dies = if self.rng.random_bool(0.4) { self.rng.random_range(20..300) } else { 0 };
        let sync_fails = if self.rng.random_bool(0.3) { self.rng.random_range(10..100) } else { 0 };
        self.disk.set_faults(Faults { dies, sync_fails, capacity: self.capacity });
        for _ in 0..self.rng.random_range(3..80) {
            if self.log().shared().failure().is_some() {
                self.live_on_after_failure();
                return;
            }
            match self.rng.random_range(0..100) {
                0..45 => self.random_commands(),
                45..65 => {
                    let tasks = self.rng.random_range(0..4);
                    self.run_writer(tasks);
                }
                65..68 => self.checkpoint(),
                68..71 => self.other_settings(),
                71..76 => {
                    if !self.compact() {
                        return;
                    }
                }
                76..78 => self.back_up(),
                _ => self.read_something(),
            }
        }
    }

    /// As if by another thread, while nothing else happens. False: the disk failed, and nothing
    /// is said about the log.
    fn compact(&mut self) -> bool {
        if self.model.partitions.is_empty() {
            return true;
        }
        let number = self.rng.random_range(0..self.model.partitions.len());
        let (id, partition) =
            self.model.partitions.iter_mut().nth(number).expect("below the length");
        let log = self.log.as_ref().expect("the log is open").shared().partition(*id);
        let log = log.expect("it was published");
        let next = partition.next();
        let mut below = next;
        if self.rng.random_bool(0.3) {
            below = self.rng.random_range(partition.log_start..=next);
        }
        let stops_after = self.rng.random_bool(0.1).then(|| self.rng.random_range(0..50));
        let asked = Cell::new(0);
        let plan = Compaction {
            below: Offset(below),
            now: self.now,
            delete_retention_ms: [0, 200, 10_000][self.rng.random_range(0..3)],
            min_lag_ms: [0, 0, 100][self.rng.random_range(0..3)],
            segment_bytes: self.rng.random_range(1_000..100_000),
            keys_max: [2, 4, 1_000][self.rng.random_range(0..3)],
            free_bytes_min: self.options.reserve_bytes,
            tombstones: Tombstones::All,
            stop: &|| {
                asked.set(asked.get() + 1);
                stops_after.is_some_and(|after| asked.get() > after)
            },
        };
        let compacted = &mut partition.compacted;
        compacted.until = compacted.until.max(below);
        compacted.tombstones_until = compacted.until;
        match log.compact(&plan) {
            Ok(done) => {
                // Tombstones grow by some bytes when their time is set.
                let bytes = done.bytes_before.saturating_sub(done.bytes_after);
                self.figures.compacted_bytes += bytes;
                // It may have died of removing what it had begun, which is no error of its own.
                self.disk.free_bytes().is_ok()
            }
            Err(_) => {
                self.figures.compactions_failed += 1;
                false
            }
        }
    }

    fn read_something(&mut self) {
        let log = self.log.as_ref().expect("the log is open");
        for _ in 0..4 {
            reads::something(&mut self.rng, log.shared(), &self.model);
        }
    }

    fn run_writer(&mut self, tasks: usize) {
        self.writer.lock().as_mut().expect("it is open").run_pending(tasks);
        self.note_failure();
    }

    fn checkpoint(&mut self) {
        let (done, finished) = bounded(0);
        let log = self.log.as_mut().expect("the log is open");
        log.commit(&mut vec![Command::Checkpoint(done)], self.now);
        if self.rng.random_bool(0.5) {
            self.run_writer(usize::MAX);
            assert_eq!(finished.try_recv(), Err(TryRecvError::Disconnected), "it is done");
        }
        self.note_failure();
    }

    /// Takes a snapshot, goes on, copies it, and opens the copy: it is the log as it was when its
    /// files were counted.
    fn back_up(&mut self) {
        let (asked, taken) = bounded(1);
        let log = self.log.as_mut().expect("the log is open");
        log.commit(&mut vec![Command::Snapshot(asked)], self.now);
        let mut models = vec![(self.log().shared().published(), self.model.clone())];
        // Rounds after the checkpoint's moment; some of them come into segments with it.
        for _ in 0..self.rng.random_range(0..3) {
            if self.log().shared().failure().is_none() {
                self.random_commands();
            }
            // After a failure the model does not know yet what has become of the last commands.
            if self.log().shared().failure().is_none() {
                models.push((self.log().shared().published(), self.model.clone()));
            }
        }
        if self.log().shared().failure().is_none() {
            self.run_writer(usize::MAX);
        }
        // The disk has failed, and says so to everybody.
        let Ok(Ok(snapshot)) = taken.try_recv() else { return };
        if self.log().shared().failure().is_none() {
            self.random_commands();
        }
        if self.log().shared().failure().is_none() {
            self.checkpoint();
        }
        if self.log().shared().failure().is_none() {
            self.run_writer(self.options.boot as usize % 20);
        }
        let copy = SimDisk::new(1);
        let mut copier = Copier::new(&copy, Pace::new(None), 0, &|_| true).expect("it is empty");
        if snapshot.copy(&mut copier).is_err() {
            // The process has died.
            return;
        }
        copier.finish(snapshot.round(), "cluster", self.now).expect("the other disk is sound");
        backup::verify(&copy).expect("it was just written");
        let restored = SimDisk::new(1);
        let mut copier = Copier::new(&restored, Pace::new(None), 0, &|_| true).expect("empty");
        backup::restore(&copy, &mut copier).expect("it was just written");
        restored.remove_file(MANIFEST).expect("it may be missing");
        let options = Options { boot: self.rng.random::<u64>().max(1), ..self.options.clone() };
        let stall = |_: &Arc<anabranch_log::Shared>| -> Box<dyn FnMut() + Send> {
            Box::new(|| panic!("nothing is appended"))
        };
        let (log, writer) =
            Log::open(Arc::new(restored), &options, stall).expect("a backup can be opened");
        assert_eq!(log.shared().published(), snapshot.round(), "no more and no less");
        // The segment writer may have come to it in the middle of some commands.
        if let Some((_, model)) = models.iter().find(|(round, _)| *round == snapshot.round()) {
            reads::everything(log.shared(), model, 1 << 20);
            self.figures.backups += 1;
        }
        assert!(log.epoch().0 > self.epoch.0 + 1_000, "nobody else has this leader epoch");
        drop((log, writer));
    }

    fn other_settings(&mut self) {
        if self.model.partitions.is_empty() {
            return;
        }
        let settings = self.generator(|generator| generator.settings());
        let number = self.rng.random_range(0..self.model.partitions.len());
        let partition = self.model.partitions.values_mut().nth(number).expect("below the length");
        partition.settings = settings;
        self.configure();
    }

    fn generator<T>(&mut self, act: impl FnOnce(&mut Generator<'_>) -> T) -> T {
        act(&mut Generator {
            rng: &mut self.rng,
            counter: &mut self.counter,
            now: self.now,
            round_bytes_max: self.options.journal.round_bytes_max(),
        })
    }

    fn random_commands(&mut self) {
        self.now.0 += self.rng.random_range(0..50);
        let mut commands = Vec::new();
        let mut asked = Vec::new();
        let mut next_id = self.next_id;
        let mut model = self.model.clone();
        let published = self.model.clone();
        let several = if self.rng.random_bool(0.1) { 30 } else { 4 };
        let count = self.rng.random_range(1..=several);
        for number in 0..count {
            let changes = self.rng.random_bool(0.15);
            let (command, one) = self.generator(|generator| {
                if changes {
                    let first = number == 0;
                    let (append, operations) =
                        generator.change(&model, &published, &mut next_id, first);
                    let settings = generator.settings();
                    change(append, operations, settings)
                } else {
                    let count = generator.rng.random_range(1..=2);
                    submission((0..count).map(|_| generator.append(&model)).collect())
                }
            });
            one.assume(&mut model);
            commands.push(command);
            asked.push(one);
            // A checkpoint in the middle ends the round in hand.
            if self.rng.random_bool(0.01) {
                let (done, _) = bounded(0);
                commands.push(Command::Checkpoint(done));
            }
        }
        self.next_id = next_id;
        self.commit(commands, asked);
    }

    /// Commits, and compares each answer with the model's.
    fn commit(&mut self, mut commands: Vec<Command>, asked: Vec<Asked>) {
        let bytes: usize = asked.iter().map(Asked::bytes).sum();
        let begins = |operation: &Operation| matches!(operation, Operation::Begin(..));
        let divided = commands.iter().any(|command| match command {
            Command::Checkpoint(_) => true,
            Command::Change(change) => change.operations.iter().any(begins),
            _ => false,
        });
        let log = self.log.as_mut().expect("the log is open");
        let first_round = log.next_round();
        // Some come while bulk of those before is in flight.
        let mut ahead = 0;
        while commands.len() > 1 && self.rng.random_bool(0.3) {
            let rest = commands.split_off(self.rng.random_range(1..commands.len()));
            log.commit_ahead(&mut commands, self.now);
            let is_published = log.shared().published().next() == log.next_round();
            self.figures.in_flight += u64::from(!is_published);
            commands = rest;
            ahead += 1;
            let tasks = self.rng.random_range(0..3);
            self.writer.lock().as_mut().expect("it is open").run_pending(tasks);
        }
        log.commit(&mut commands, self.now);
        let failed = log.shared().failure().is_some();
        let mut judge = Judge {
            before: &self.model,
            model: self.model.clone(),
            now: self.now,
            epoch: self.epoch,
            failed,
            published: log.shared().published(),
            may_be_full: self.capacity > 0,
            rounds: first_round..log.next_round(),
            last_round: Round(0),
            unsure: Vec::new(),
            group: 0,
            figures: &mut self.figures,
        };
        for one in asked {
            judge.judge(one);
        }
        let Judge { model, unsure, .. } = judge;
        if failed {
            self.one_round =
                bytes < self.options.journal.round_bytes_max() && !divided && ahead == 0;
            self.figures.unsure += unsure.len() as u64;
            self.unsure = unsure;
            self.note_failure();
            return;
        }
        assert_eq!(log.shared().published().next(), log.next_round(), "all is published");
        self.model = model;
    }

    /// Whoever reads sees the rounds that were synced before the failure.
    fn note_failure(&mut self) {
        let shared = self.log().shared();
        if shared.failure().is_some() && self.seen.is_empty() {
            let ends = shared.partitions().into_iter().map(|log| (log.id(), log.high_watermark()));
            self.seen = ends.collect();
        }
    }

    /// Nothing is acknowledged any more, whatever is asked; nothing panics.
    fn live_on_after_failure(&mut self) {
        self.note_failure();
        for _ in 0..self.rng.random_range(0..3) {
            let model = self.model.clone();
            let append = self.generator(|generator| generator.append(&model));
            let published = self.log().shared().published();
            let count = append.parts.len();
            let (command, asked) = submission(vec![append]);
            let (done, _) = bounded(0);
            let mut commands = vec![command];
            if self.rng.random_bool(0.3) {
                commands.push(Command::Checkpoint(done));
            }
            self.log.as_mut().expect("the log is open").commit(&mut commands, self.now);
            let Asked::Submission(_, answer) = asked else { unreachable!("it was submitted") };
            let answer = answer.try_recv().expect("every submission is answered");
            assert_eq!(answer[0].len(), count);
            let storage =
                |result: &Result<_, AppendError>| matches!(result, Err(AppendError::Storage(_)));
            assert!(answer[0].iter().all(storage), "acknowledged after a failure: {answer:?}");
            self.run_writer(2);
            assert_eq!(published, self.log().shared().published(), "nothing becomes visible");
        }
    }

    // ── the end ──

    /// A checkpoint of everything; then nothing superfluous may be on the disk, and a power
    /// failure changes nothing.
    pub(crate) fn finish(mut self) -> Figures {
        self.disk.set_faults(Faults { capacity: self.capacity, ..Faults::default() });
        if self.capacity > 0 {
            self.fill_and_free();
        }
        let (done, finished) = bounded(0);
        let log = self.log.as_mut().expect("the log is open");
        log.commit(&mut vec![Command::Checkpoint(done)], self.now);
        self.run_writer(usize::MAX);
        assert_eq!(finished.try_recv(), Err(TryRecvError::Disconnected), "it is done");
        assert_eq!(self.log().shared().failure(), None, "nothing went wrong");
        let counted = self.log().shared().figures();
        self.figures.checkpoints += counted.checkpoints;
        self.figures.placed_bytes += counted.placed_bytes;
        reads::everything(self.log().shared(), &self.model, 5_000);
        self.nothing_superfluous();
        self.log = None;
        *self.writer.lock() = None;
        self.disk.crash();
        self.try_open().expect("the log opens again");
        self.reconcile();
        reads::everything(self.log().shared(), &self.model, 5_000);
        let all = self.model.partitions.values().flat_map(|partition| &partition.transactions);
        for (_, ending) in all.filter_map(|one| one.end) {
            match ending {
                Ending::Commit => self.figures.committed += 1,
                Ending::Abort => self.figures.aborted += 1,
            }
        }
        self.figures
    }

    /// Segment files hold what their partitions say, and nobody else's are left.
    fn nothing_superfluous(&self) {
        let mut bytes: BTreeMap<PartitionId, u64> = BTreeMap::new();
        for path in self.disk.paths() {
            let Some(rest) = path.strip_prefix("partitions/") else { continue };
            let (id, name) = rest.split_once('/').expect("files are in a partition's directory");
            let id = PartitionId(id.parse().expect("a partition's id"));
            assert!(self.model.partitions.contains_key(&id), "{path} is left of a deleted one");
            if name.ends_with(".log") {
                let file = self.disk.open(&path).expect("it is there");
                *bytes.entry(id).or_default() += file.bytes().expect("it is there");
            }
        }
        for log in self.log().shared().partitions() {
            let there = bytes.get(&log.id()).copied().unwrap_or(0);
            assert_eq!(there, log.bytes(), "bytes in the segment files of {}", log.id());
        }
    }

    /// A full disk refuses appends, fails nothing, and takes them again once there is room.
    fn fill_and_free(&mut self) {
        let mut refused = false;
        for _ in 0..2_000 {
            let before = self.figures.full;
            self.random_commands();
            self.run_writer(usize::MAX);
            assert_eq!(self.log().shared().failure(), None, "the reserve is enough");
            refused = self.figures.full > before;
            if refused {
                break;
            }
        }
        assert!(refused, "the disk was never full");
        let ids: Vec<PartitionId> = self.model.partitions.keys().copied().collect();
        for id in ids {
            let next = self.model.partitions[&id].next();
            let operations = vec![Operation::SetLogStart(id, Offset(next))];
            let parts = SmallVec::new();
            let append = Append { parts, atomicity: Atomicity::AllParts, preconditions: None };
            let (command, asked) = change(append, operations, Settings::default());
            self.commit(vec![command], vec![asked]);
        }
        let (command, asked) = change(
            Append { parts: SmallVec::new(), atomicity: Atomicity::AllParts, preconditions: None },
            vec![Operation::Create(PartitionId(self.next_id))],
            Settings::default(),
        );
        self.commit(vec![command], vec![asked]);
        let id = PartitionId(self.next_id);
        self.next_id += 1;
        for _ in 0..10 {
            let raw = self.generator(|generator| generator.part(CATALOG, &Model::default()).batch);
            let parts = SmallVec::from_iter([part(id, raw)]);
            let append = Append { parts, atomicity: Atomicity::EachPart, preconditions: None };
            let (command, asked) = submission(vec![append]);
            self.commit(vec![command], vec![asked]);
            self.run_writer(usize::MAX);
        }
        let accepted = !self.model.partitions[&id].batches.is_empty();
        assert!(accepted, "appends are refused although the disk has room again");
    }
}

fn journal_size(rng: &mut StdRng) -> JournalSize {
    let file_bytes = [16 << 10, 32 << 10, 64 << 10][rng.random_range(0..3)];
    JournalSize { file_bytes, files: rng.random_range(2..=4) }
}
