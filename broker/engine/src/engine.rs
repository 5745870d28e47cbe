//! The engine: what doors call. Opening, appending, reading, cuts.

use crate::access::AccessState;
use crate::applier::{Applied, Applier, Feed};
use crate::catalog::{CLUSTER_KEY, Catalog, NextIds, STREAM_PREFIX};
use crate::interest::Published;
use crate::ledger::Ledger;
use crate::sequences::{SEQUENCE_PREFIX, Sequences};
use crate::stream::{Durability, Stream, Timestamps};
use crate::transactions::Transactions;
use crate::views::VIEW_PREFIX;
use crate::{Error, ErrorKind};
use anabranch_log::disk::RealDisk;
use anabranch_log::{
    Append, AppendError, Appended, Atomicity, Change, Command, JournalSize, LogHandle, Operation,
    Options, PartitionLog, Submission,
};
use anabranch_table::{Progress, Tables, View};
use anabranch_types::{LeaderEpoch, PartitionId, Round, Timestamp};
use parking_lot::{Mutex, RwLock};
use smallvec::SmallVec;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Bytes of appends that may wait for their round, over all doors.
const IN_FLIGHT_BYTES_MAX: usize = 16 << 20;

pub(crate) const CATALOG: PartitionId = PartitionId(0);
pub(crate) const GROUPS: PartitionId = PartitionId(1);
pub(crate) const TRANSACTIONS: PartitionId = PartitionId(2);
pub(crate) const ACCESS: PartitionId = PartitionId(3);
/// The first partition that streams get; those below are the broker's own.
const FIRST_PARTITION: u32 = anabranch_log::limits::INTERNAL_PARTITIONS;

/// How to open an engine.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Partitions of a stream that does not say (`num.partitions`).
    pub partitions_default: i32,
    /// Whether a door may create a stream by naming it (`auto.create.topics.enable`).
    pub auto_create: bool,
    /// Bytes of free disk below which clients' appends are refused.
    pub disk_reserve_bytes: u64,
    /// Bytes of one of the journal's four files; a round must fit into one.
    pub journal_file_bytes: u64,
    /// Between two looks for logs to compact (`log.cleaner.backoff.ms`).
    pub compaction_pause: Duration,
    /// Open a log whose journal is damaged in the middle, without what stands behind the damage.
    pub accept_journal_damage: bool,
}

impl Settings {
    /// The defaults, in `data_dir`.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            partitions_default: 1,
            auto_create: true,
            disk_reserve_bytes: 512 << 20,
            journal_file_bytes: JournalSize::default().file_bytes,
            compaction_pause: Duration::from_secs(15),
            accept_journal_damage: false,
        }
    }
}

/// A handle on the one engine of a broker; cheap to clone.
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) settings: Settings,
    pub(crate) log: Arc<LogHandle>,
    pub(crate) applier: Arc<Applier>,
    pub(crate) tables: Arc<Tables>,
    pub(crate) catalog: RwLock<Arc<Catalog>>,
    /// Settings that new streams get.
    pub(crate) stream_defaults: RwLock<BTreeMap<String, String>>,
    pub(crate) catalog_ledger: Ledger,
    pub(crate) groups_ledger: Ledger,
    pub(crate) transactions_ledger: Ledger,
    pub(crate) transactions: Transactions,
    pub(crate) access: AccessState,
    pub(crate) sequences: Sequences,
    /// Changes of the catalog, one at a time.
    pub(crate) changing: tokio::sync::Mutex<()>,
    /// Written while offsets expire, read while they are committed.
    pub(crate) expiring_offsets: tokio::sync::RwLock<()>,
    pub(crate) producer_ids: tokio::sync::Mutex<std::ops::Range<i64>>,
    published: Arc<Published>,
    budget: Arc<Semaphore>,
    cluster_id: String,
    threads: Mutex<Vec<JoinHandle<()>>>,
    stopped: AtomicBool,
    /// Threads that do something now and then end when this is dropped.
    stop_threads: Mutex<Option<crossbeam::channel::Sender<()>>>,
    pub(crate) compaction: crate::compaction::Counts,
    pub(crate) backups: crate::backup::Backups,
}

/// Bytes of the budget for appends that are not committed yet; given back on drop.
pub struct Reserved {
    _permit: Option<OwnedSemaphorePermit>,
}

/// What `/metrics` and `sys.*` tell, since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// The newest round that can be read.
    pub rounds: u64,
    /// Records appended.
    pub records_appended: u64,
    /// Bytes of batches appended.
    pub bytes_appended: u64,
    /// Batches appended.
    pub batches_appended: u64,
    /// Syncs of the journal.
    pub syncs: u64,
    /// Nanoseconds spent in them.
    pub sync_nanos: u64,
    /// Checkpoints written.
    pub checkpoints: u64,
    /// Bytes of recent batches in memory.
    pub tail_bytes: u64,
    /// Rounds that tables are behind.
    pub applied_lag_rounds: u64,
    /// Logs that were compacted.
    pub compactions: u64,
    /// Bytes of the segments that these took.
    pub compacted_bytes_before: u64,
    /// Bytes of what came in their place.
    pub compacted_bytes_after: u64,
    /// Damaged batches that reads have skipped.
    pub damaged_batches: u64,
    /// Records of keyed streams that could not be applied.
    pub misfit_records: u64,
    /// What somebody asked for and may not do.
    pub denials: u64,
    /// Logins that failed.
    pub logins_failed: u64,
    /// Bytes of all logs.
    pub log_bytes: u64,
    /// Bytes of the tables' files.
    pub table_bytes: u64,
    /// Nanoseconds for which tables waited for their files to be merged.
    pub table_stall_nanos: u64,
    /// Transactions that are not decided yet.
    pub transactions_open: u64,
    /// Milliseconds for which the oldest of them has been open.
    pub transaction_oldest_ms: u64,
    /// Bytes free on the data directory's disk, as of the log's last look.
    pub disk_free_bytes: u64,
    /// Bytes below which clients' appends are refused.
    pub disk_reserve_bytes: u64,
    /// Backups made.
    pub backups: u64,
    /// Backups that failed.
    pub backups_failed: u64,
    /// When the last backup was begun that was made, in milliseconds since 1970; 0 before the first.
    pub backup_time_ms: i64,
    /// Why nothing can be appended, if so.
    pub storage_error: Option<String>,
}

impl Engine {
    /// Opens (or creates) the data directory and recovers. Blocks.
    ///
    /// # Errors
    /// Another broker has the directory; damage; the disk's.
    pub fn open(settings: Settings) -> Result<Self, Error> {
        // The log first: its lock keeps a second broker off the tables too.
        let log = open_log(&settings)?;
        crate::backup::remove_leftovers(&settings.data_dir)?;
        let (tables, progress) = Tables::open(&settings.data_dir.join("tables"))?;
        Self::start(settings, log, tables, progress)
    }

    /// As [`Self::open`], with tables in memory: they are rebuilt from the whole log at each
    /// start.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with_tables_in_memory(settings: Settings) -> Result<Self, Error> {
        let log = open_log(&settings)?;
        Self::start(settings, log, Tables::in_memory(), Progress::default())
    }

    fn start(
        settings: Settings,
        log: LogHandle,
        tables: Tables,
        mut progress: Progress,
    ) -> Result<Self, Error> {
        let log = Arc::new(log);
        let tables = Arc::new(tables);
        if progress.applied > log.shared().published() {
            return Err(Error::new(
                ErrorKind::Storage,
                "the tables are ahead of the log, as after restoring an older log: stop the broker \
                 and remove the directory `tables`; it is rebuilt from the log",
            ));
        }
        make_internal_partitions(&log)?;
        let catalog_ledger = Ledger::open(Arc::clone(&log), CATALOG)?;
        let groups_ledger = Ledger::open(Arc::clone(&log), GROUPS)?;
        let transactions_ledger = Ledger::open(Arc::clone(&log), TRANSACTIONS)?;
        let transactions = Transactions::load(transactions_ledger.scan(b"["))?;
        let access = AccessState::load(Ledger::open(Arc::clone(&log), ACCESS)?)?;
        let sequences = Sequences::load(catalog_ledger.scan(SEQUENCE_PREFIX.as_bytes()))?;
        let cluster_id = cluster_id(&catalog_ledger)?;
        let records = [STREAM_PREFIX, VIEW_PREFIX];
        let records = records.iter().flat_map(|of| catalog_ledger.scan(of.as_bytes()));
        let catalog = Catalog::load(records)?;
        let applier = Applier::new(Arc::clone(log.shared()), Arc::clone(&tables));
        let published = Published::watch(log.shared());
        let (stop_threads, stopped) = crossbeam::channel::bounded(0);
        let engine = Self {
            inner: Arc::new(Inner {
                settings,
                log,
                applier,
                tables,
                catalog: RwLock::new(Arc::new(catalog)),
                stream_defaults: RwLock::default(),
                catalog_ledger,
                groups_ledger,
                transactions_ledger,
                transactions,
                access,
                sequences,
                changing: tokio::sync::Mutex::default(),
                expiring_offsets: tokio::sync::RwLock::default(),
                producer_ids: tokio::sync::Mutex::new(0..0),
                published,
                budget: Arc::new(Semaphore::new(IN_FLIGHT_BYTES_MAX)),
                cluster_id,
                threads: Mutex::default(),
                stopped: AtomicBool::new(false),
                stop_threads: Mutex::new(Some(stop_threads)),
                compaction: crate::compaction::Counts::default(),
                backups: crate::backup::Backups::default(),
            }),
        };
        engine.resume_tables(&mut progress);
        engine.spawn("apply", {
            let applier = Arc::clone(&engine.inner.applier);
            move || applier.run(progress)
        })?;
        engine.spawn("housekeeping", {
            let (weak, stopped) = (Arc::downgrade(&engine.inner), stopped.clone());
            let left = engine.leftovers();
            move || crate::housekeeping::run(&weak, left, &stopped)
        })?;
        engine.spawn("expire", {
            let (weak, stopped) = (Arc::downgrade(&engine.inner), stopped.clone());
            move || crate::expiry::run(&weak, &stopped)
        })?;
        engine.spawn("compact", {
            let weak = Arc::downgrade(&engine.inner);
            let every = engine.inner.settings.compaction_pause;
            move || crate::compaction::run(&weak, every, &stopped)
        })?;
        Ok(engine)
    }

    /// Has the applier follow every keyed stream.
    fn resume_tables(&self, progress: &mut Progress) {
        let inner = &self.inner;
        for stream in self.catalog().streams() {
            self.configure(stream);
            self.feed(stream, &stream.partitions);
        }
        // Partitions of dropped streams need no replay.
        progress.positions.retain(|(id, _)| inner.log.shared().partition(*id).is_some());
    }

    pub(crate) fn feed(&self, stream: &Stream, partitions: &[PartitionId]) {
        let Some(table) = stream.table else { return };
        for id in partitions {
            if let Some(log) = self.partition(*id) {
                self.inner.applier.feed(Feed { table, log });
            }
        }
    }

    pub(crate) fn configure(&self, stream: &Stream) {
        let settings = log_settings(stream);
        let all = stream.partitions.iter().map(|id| (*id, settings)).collect();
        // Refused only when the log has stopped: then nothing is appended that it could govern.
        let _ = self.inner.log.send(Command::Configure(all));
    }

    fn spawn(&self, name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), Error> {
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(body)
            .map_err(|error| Error::new(ErrorKind::Internal, format!("no thread: {error}")))?;
        self.inner.threads.lock().push(thread);
        Ok(())
    }

    /// Stops taking appends, writes what is in memory, and ends the engine's threads. Blocks; the
    /// second call does nothing.
    pub fn stop(&self) {
        if self.inner.stopped.swap(true, Ordering::SeqCst) {
            return;
        }
        self.inner.stop_threads.lock().take();
        self.inner.log.stop();
        self.inner.applier.stop();
        for thread in self.inner.threads.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the engine has panicked");
            }
        }
        if let Err(error) = self.inner.tables.flush() {
            tracing::error!(%error, "the tables were not flushed; they are replayed at the start");
        }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.inner.stopped.load(Ordering::SeqCst)
    }

    /// Rises at every start.
    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.inner.log.epoch()
    }

    /// Kafka's cluster id: 22 characters of base64url.
    #[must_use]
    pub fn cluster_id(&self) -> &str {
        &self.inner.cluster_id
    }

    /// The streams now.
    #[must_use]
    pub(crate) fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.inner.catalog.read())
    }

    /// Whether doors may create streams by naming them.
    #[must_use]
    pub fn auto_create(&self) -> bool {
        self.inner.settings.auto_create
    }

    /// Partitions of a stream that does not say.
    #[must_use]
    pub fn partitions_default(&self) -> i32 {
        self.inner.settings.partitions_default
    }

    // ── append ──

    /// Waits until `bytes` more of appends may be in flight (bounded memory). Keep it until the
    /// appends are answered. A request larger than the whole budget waits for all of it.
    pub async fn reserve(&self, bytes: usize) -> Reserved {
        let permits = u32::try_from(bytes.min(IN_FLIGHT_BYTES_MAX)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.inner.budget).acquire_many_owned(permits).await.ok();
        Reserved { _permit: permit }
    }

    /// Takes `bytes` of the budget if they are free: the fast way for doors.
    #[must_use]
    pub fn try_reserve(&self, bytes: usize) -> Option<Reserved> {
        let permits = u32::try_from(bytes.min(IN_FLIGHT_BYTES_MAX)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.inner.budget).try_acquire_many_owned(permits).ok()?;
        Some(Reserved { _permit: Some(permit) })
    }

    /// Whether appends to a keyed stream must wait: its table is too far behind. Waits with
    /// [`Self::table_room`].
    #[must_use]
    pub fn table_is_behind(&self) -> bool {
        self.inner.applier.is_behind()
    }

    /// Waits until tables have caught up enough. Doors call it before they submit to a keyed
    /// stream.
    pub async fn table_room(&self) {
        let mut applied = self.inner.applier.subscribe();
        while self.inner.applier.is_behind() && self.inner.applier.failure().is_none() {
            applied.mark_unchanged();
            if !self.inner.applier.is_behind() || applied.changed().await.is_err() {
                return;
            }
        }
    }

    /// Hands appends to the commit loop; the answer comes through `submission.reply`. The fast
    /// way for doors with pipelines; order of calls is order of commits.
    pub(crate) fn submit(&self, submission: Submission) {
        if let Err(refused) = self.inner.log.send(Command::Submit(submission))
            && let Command::Submit(submission) = *refused
        {
            let stopping = |append: &Append| -> anabranch_log::AppendResult {
                append.parts.iter().map(|_| Err(AppendError::Stopping)).collect()
            };
            let results = submission.appends.iter().map(stopping).collect();
            (submission.reply)(results);
        }
    }

    /// Appends and waits until the append is durable and visible.
    ///
    /// # Errors
    /// The first error of a part. With [`Atomicity::EachPart`] other parts may have been
    /// appended.
    pub(crate) async fn append(&self, append: Append) -> Result<Vec<Appended>, Error> {
        let bytes = append.parts.iter().map(|part| part.batch.len()).sum();
        let _reserved = self.reserve(bytes).await;
        let (sender, receiver) = oneshot::channel();
        let reply = Box::new(move |results: Vec<anabranch_log::AppendResult>| {
            let all: Result<Vec<Appended>, AppendError> = results.into_iter().flatten().collect();
            // Who asked may have gone; what was appended stays.
            let _ = sender.send(all);
        });
        self.submit(Submission { appends: vec![append], reply });
        Ok(receiver.await.map_err(|_| AppendError::Stopping)??)
    }

    // ── read ──

    /// The log of a partition, to read. Reading may touch the disk.
    #[must_use]
    pub(crate) fn partition(&self, id: PartitionId) -> Option<Arc<PartitionLog>> {
        self.inner.log.shared().partition(id)
    }

    /// The newest published round.
    #[must_use]
    pub fn published(&self) -> Round {
        self.inner.log.shared().published()
    }

    /// A cut that shows every write acknowledged before this call; waits for the applier.
    ///
    /// # Errors
    /// [`ErrorKind::TimedOut`] when tables are too far behind; the tables' own failure.
    pub(crate) async fn cut(&self, timeout: Duration) -> Result<(Round, Arc<View>), Error> {
        let shared = self.inner.log.shared();
        // After a storage error nothing newer will be published.
        let mut target = shared.written();
        let reach = async {
            let mut applied = self.inner.applier.subscribe();
            loop {
                if shared.failure().is_some() {
                    target = target.min(shared.published());
                }
                self.inner.published.reach(shared, target).await;
                let Applied { round, view } = applied.borrow_and_update().clone();
                if round >= target {
                    return Ok((round, view));
                }
                if let Some(failure) = self.inner.applier.failure() {
                    return Err(failure);
                }
                self.inner.applier.ring();
                if applied.changed().await.is_err() {
                    return Err(Error::new(ErrorKind::Unavailable, "the broker is shutting down"));
                }
            }
        };
        tokio::time::timeout(timeout, reach).await.unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::TimedOut,
                format!(
                    "the tables are {} rounds behind the log; try again, or allow more time",
                    self.inner.applier.lag_rounds()
                ),
            ))
        })
    }

    /// The newest cut that tables show, without waiting for any.
    #[must_use]
    pub(crate) fn applied(&self) -> (Round, Arc<View>) {
        let Applied { round, view } = self.inner.applier.subscribe().borrow().clone();
        (round, view)
    }

    /// Figures for `/metrics` and `sys.*`.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let shared = self.inner.log.shared();
        let figures = shared.figures();
        let compaction = &self.inner.compaction;
        let tables = self.inner.tables.stats();
        let (transactions_open, oldest) = self.inner.transactions.open_since();
        let oldest_ms = oldest.map_or(0, |since| self.now().0.saturating_sub(since));
        Stats {
            rounds: shared.published().0,
            records_appended: figures.records,
            bytes_appended: figures.bytes,
            batches_appended: figures.batches,
            syncs: figures.syncs,
            sync_nanos: figures.sync_nanos,
            checkpoints: figures.checkpoints,
            tail_bytes: figures.tail_bytes,
            applied_lag_rounds: self.inner.applier.lag_rounds(),
            compactions: compaction.passes.load(Ordering::Relaxed),
            compacted_bytes_before: compaction.bytes_before.load(Ordering::Relaxed),
            compacted_bytes_after: compaction.bytes_after.load(Ordering::Relaxed),
            damaged_batches: figures.damaged_batches,
            misfit_records: self.inner.applier.misfits(),
            denials: self.inner.access.denials.load(Ordering::Relaxed),
            logins_failed: self.inner.access.logins_failed.load(Ordering::Relaxed),
            log_bytes: shared.partitions().iter().map(|log| log.bytes()).sum(),
            table_bytes: tables.disk_bytes,
            table_stall_nanos: tables.stall_nanos,
            transactions_open,
            transaction_oldest_ms: u64::try_from(oldest_ms).unwrap_or_default(),
            disk_free_bytes: figures.disk_free_bytes,
            disk_reserve_bytes: self.inner.settings.disk_reserve_bytes,
            backups: self.inner.backups.made.load(Ordering::Relaxed),
            backups_failed: self.inner.backups.failed.load(Ordering::Relaxed),
            backup_time_ms: self.inner.backups.last_ms.load(Ordering::Relaxed),
            storage_error: shared.failure(),
        }
    }

    /// The engine's clock, in milliseconds since 1970.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        anabranch_log::now()
    }
}

fn open_log(settings: &Settings) -> Result<LogHandle, Error> {
    let storage = |message: String| Error::new(ErrorKind::Storage, message);
    crate::backup::refuse_a_backup(&settings.data_dir)?;
    let disk = RealDisk::open(&settings.data_dir).map_err(|error| {
        let directory = settings.data_dir.display();
        storage(if error.kind() == std::io::ErrorKind::WouldBlock {
            format!("another broker is running on {directory}: stop it, or set another data_dir")
        } else {
            format!("cannot open {directory}: {error}; set data_dir to a directory of yours")
        })
    })?;
    let options = Options {
        journal: JournalSize {
            file_bytes: settings.journal_file_bytes.next_multiple_of(4096),
            files: JournalSize::default().files,
        },
        reserve_bytes: settings.disk_reserve_bytes,
        segment_bytes: 1 << 30,
        boot: rand::random::<u64>().max(1),
        accept_journal_damage: settings.accept_journal_damage,
    };
    LogHandle::start(Arc::new(disk), &options).map_err(|error| storage(error.to_string()))
}

/// At the first start, the broker's own partitions come into being.
fn make_internal_partitions(log: &Arc<LogHandle>) -> Result<(), Error> {
    let missing: Vec<Operation> = [CATALOG, GROUPS, TRANSACTIONS, ACCESS]
        .into_iter()
        .filter(|id| log.shared().partition(*id).is_none())
        .map(Operation::Create)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let (sender, receiver) = crossbeam::channel::bounded(1);
    let append =
        Append { parts: SmallVec::new(), atomicity: Atomicity::AllParts, preconditions: None };
    let reply = Box::new(move |result| {
        // The other end waits below.
        let _ = sender.send(result);
    });
    let settings = anabranch_log::Settings::default();
    let (operations, unwritten) = (missing, Vec::new());
    let change = Change { append, operations, settings, unwritten, frees: true, reply };
    log.send(Command::Change(Box::new(change))).map_err(|_| AppendError::Stopping)?;
    receiver.recv().map_err(|_| AppendError::Stopping)??;
    Ok(())
}

fn cluster_id(ledger: &Ledger) -> Result<String, Error> {
    if let Some(id) = ledger.get(CLUSTER_KEY.as_bytes()) {
        return String::from_utf8(id)
            .map_err(|_| Error::new(ErrorKind::Storage, "the cluster id is damaged"));
    }
    let id = base64url(uuid::Uuid::new_v4().as_bytes());
    let next = NextIds { partition: FIRST_PARTITION, table: 1, sequence: 0 };
    let entries =
        vec![(CLUSTER_KEY.as_bytes().to_vec(), Some(id.clone().into_bytes())), next.entry()];
    ledger.put_first(entries)?;
    Ok(id)
}

/// As Kafka writes its cluster and topic ids: base64url without padding.
fn base64url(bytes: &[u8; 16]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let value = u128::from_be_bytes(*bytes);
    (0..22)
        .map(|digit| {
            let shift = 122i32 - 6 * digit;
            let bits = if shift >= 0 { value >> shift } else { value << -shift };
            char::from(DIGITS[(bits & 63) as usize])
        })
        .collect()
}

pub(crate) fn log_settings(stream: &Stream) -> anabranch_log::Settings {
    anabranch_log::Settings {
        answer_early: stream.options.durability == Durability::Os,
        append_time: stream.options.timestamps == Timestamps::Append,
        segment_bytes: u64::from(stream.options.segment_bytes),
    }
}
