//! The store on disk: RocksDB, one column family, without a write-ahead log and without memtables.
//!
//! What is written is sorted already, so it becomes a table file at once, which RocksDB takes
//! over: half the work of a write into a memtable and its flush, and none of the memory. Taking
//! it over is one synced record of RocksDB's manifest, so a write is there whole or not at all.

use super::{Cursor, Sizes, Snapshot, Span, Store, Write};
use crate::codec;
use crate::limits;
use crate::rows::{Rows, RowsBuilder};
use crate::tables::{Error, Settings};
use anabranch_types::Round;
use bytes::Bytes;
use rocksdb::checkpoint::Checkpoint;
use rocksdb::compaction_filter::Decision;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, DB, DBCompressionType, DBRawIterator, ErrorKind,
    IngestExternalFileOptions, LogLevel, Options, Range, ReadOptions, ReadTier, SstFileWriter,
    WaitForCompactOptions, WriteOptions, properties,
};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Files that were written and are not merged yet: merging starts at the first number, and
/// writing waits at the second.
const FILES_COMPACT: i32 = 8;
const FILES_WAIT: u64 = 24;

/// How often a wait looks whether it is over.
const CATCH_UP_MICROS: u64 = 100_000;

const FAMILY: &str = "default";

/// Version of keys, rows and progress, as a whole.
const FORMAT: &[u8] = &[1];

/// Where files are built before RocksDB takes them over.
const INCOMING: &str = "incoming";

/// See the module.
pub(crate) struct RocksStore {
    db: Arc<DB>,
    options: Options,
    cache: Cache,
    horizon: Arc<AtomicU64>,
    incoming: PathBuf,
    files: AtomicU64,
}

impl RocksStore {
    /// Opens the store in `directory`, creating it if it is missing.
    pub(crate) fn open(directory: &Path, settings: &Settings) -> Result<Self, Error> {
        let cache = Cache::new_lru_cache(settings.block_cache_bytes);
        let horizon = Arc::new(AtomicU64::new(0));
        let mut options = options(&cache);
        let settled = horizon.clone();
        options.set_compaction_filter(
            "settled deletes",
            move |_level, key: &[u8], stored: &[u8]| {
                let own = key.starts_with(&codec::OWN.0.to_be_bytes());
                let settled = Round(settled.load(Relaxed));
                match codec::delete_round(stored) {
                    Some(round) if round < settled && !own => Decision::Remove,
                    _ => Decision::Keep,
                }
            },
        );
        let families = [(FAMILY, options.clone())];
        let db = DB::open_cf_with_opts(&options, directory, families).map_err(|error| {
            Error::Store(format!(
                "cannot open {}: {error}; is another broker running there? Tables are a copy of \
                 the log: with the broker stopped the directory may be removed, it is rebuilt",
                directory.display()
            ))
        })?;
        let incoming = directory.join(INCOMING);
        let files = AtomicU64::new(0);
        let store = Self { db: Arc::new(db), options, cache, horizon, incoming, files };
        store.check_format()?;
        store.empty_incoming()?;
        Ok(store)
    }

    /// Compares the format with ours; a new store gets it.
    ///
    /// It is also what takes a new store beyond sequence number 0: RocksDB gives that to the rows
    /// of a first file, and its compactions take a snapshot at 0 for none.
    fn check_format(&self) -> Result<(), Error> {
        let key = codec::key(codec::OWN, b"format");
        match self.db.get(&key).map_err(store_error)? {
            Some(format) if format == FORMAT => Ok(()),
            Some(format) => Err(Error::Store(format!(
                "its format is {format:02x?}, this broker knows {FORMAT:02x?}: start the broker \
                 that wrote it, or stop and remove the tables directory: it is rebuilt"
            ))),
            None => {
                let mut unlogged = WriteOptions::default();
                unlogged.disable_wal(true);
                self.db.put_opt(&key, FORMAT, &unlogged).map_err(store_error)?;
                self.db.flush().map_err(store_error)
            }
        }
    }

    /// Files that were not taken over are left from a crash: their rows are replayed.
    fn empty_incoming(&self) -> Result<(), Error> {
        let emptied = match std::fs::remove_dir_all(&self.incoming) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => std::fs::create_dir(&self.incoming),
        };
        emptied.map_err(|error| {
            Error::Store(format!("cannot empty {}: {error}", self.incoming.display()))
        })
    }

    fn build(
        &self,
        path: &Path,
        spans: &[Span],
        writes: &mut dyn Iterator<Item = Write<'_>>,
    ) -> Result<(), rocksdb::Error> {
        let mut file = SstFileWriter::create(&self.options);
        file.open(path)?;
        for (from, to) in spans {
            file.delete_range(from, to)?;
        }
        for write in writes {
            match write {
                Write::Put { key, stored } => file.put(key, stored)?,
                Write::Delete { key } => file.delete(key)?,
            }
        }
        file.finish()
    }

    /// Waits while there are so many files that reads would suffer: taking files over is not
    /// slowed down by RocksDB itself.
    fn catch_up(&self) -> Result<(), Error> {
        let mut options = WaitForCompactOptions::default();
        options.set_timeout(CATCH_UP_MICROS);
        while self.property(&properties::num_files_at_level(0)) >= FILES_WAIT {
            match self.db.wait_for_compact(&options) {
                Err(error) if error.kind() == ErrorKind::TimedOut => {}
                Err(error) => return Err(store_error(error)),
                Ok(()) => break,
            }
        }
        Ok(())
    }

    /// Copies what the process would leave behind if it were killed now.
    #[cfg(test)]
    pub(crate) fn copy_as_killed(&self, to: &Path) {
        self.db.disable_file_deletions().expect("no file in use may vanish while it is copied");
        std::fs::create_dir_all(to).expect("a directory can be made");
        // What refers to other files first: they exist before they are referred to. A file that
        // was out of use already may still vanish; RocksDB refuses to open if another is missing.
        for wanted in ["CURRENT", "MANIFEST", "IDENTITY", ".sst"] {
            for entry in std::fs::read_dir(self.db.path()).expect("the directory is there") {
                let name = entry.expect("it can be listed").file_name();
                if name.to_string_lossy().contains(wanted) {
                    match std::fs::copy(self.db.path().join(&name), to.join(&name)) {
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                        copied => drop(copied.expect("files can be copied")),
                    }
                }
            }
        }
        self.db.enable_file_deletions().expect("it was disabled above");
    }

    #[cfg(test)]
    pub(crate) fn compact(&self) {
        self.db.compact_range(None::<&[u8]>, None::<&[u8]>);
    }

    fn property(&self, name: &properties::PropName) -> u64 {
        // A property that RocksDB does not know is a gap in a statistic, nothing else.
        self.db.property_int_value(name).ok().flatten().unwrap_or_default()
    }
}

fn options(cache: &Cache) -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    // Index and filters are part of the cache's bound, not beside it.
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    blocks.set_bloom_filter(10.0, false);
    blocks.set_block_size(16 << 10);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_block_based_table_factory(&blocks);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_max_background_jobs(2);
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_level_zero_file_num_compaction_trigger(FILES_COMPACT);
    options.set_target_file_size_base(64 << 20);
    options.set_max_open_files(limits::OPEN_FILES_MAX);
    options.set_bytes_per_sync(1 << 20);
    // No periodic work: an idle broker stays idle.
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_log_level(LogLevel::Warn);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(1 << 20);
    options
}

impl Store for RocksStore {
    fn write(
        &self,
        spans: &[Span],
        writes: &mut dyn Iterator<Item = Write<'_>>,
    ) -> Result<(), Error> {
        let mut writes = writes.peekable();
        if spans.is_empty() && writes.peek().is_none() {
            return Ok(());
        }
        let number = self.files.fetch_add(1, Relaxed);
        let path = self.incoming.join(format!("{number}.sst"));
        if let Err(error) = self.build(&path, spans, &mut writes) {
            // Its space above all; what cannot be removed goes at the next start.
            let _ = std::fs::remove_file(&path);
            return Err(store_error(error));
        }
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        self.db.ingest_external_file_opts(&options, vec![&path]).map_err(store_error)?;
        self.catch_up()
    }

    fn snapshot(&self) -> Arc<dyn Snapshot> {
        Arc::new(RocksSnapshot(OwnedSnapshot::new(self.db.clone(), |db| db.snapshot())))
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn settle(&self, horizon: Round) {
        self.horizon.fetch_max(horizon.0, Relaxed);
    }

    fn copy(&self, directory: &Path) -> Result<bool, Error> {
        // Its files are never changed, so links to them do.
        let checkpoint = Checkpoint::new(&self.db).map_err(store_error)?;
        checkpoint.create_checkpoint(directory).map_err(store_error)?;
        Ok(true)
    }

    fn sizes(&self) -> Sizes {
        let readers = self.property(properties::ESTIMATE_TABLE_READERS_MEM);
        let buffers = self.property(properties::CUR_SIZE_ALL_MEM_TABLES);
        Sizes {
            disk_bytes: self.property(properties::TOTAL_SST_FILES_SIZE),
            memory_bytes: self.cache.get_usage() as u64 + readers + buffers,
        }
    }

    fn range_bytes(&self, from: &[u8], to: &[u8]) -> u64 {
        self.db.get_approximate_sizes(&[Range::new(from, to)]).first().copied().unwrap_or_default()
    }
}

fn store_error(error: rocksdb::Error) -> Error {
    let kind = error.kind();
    let message = error.into_string();
    if kind == ErrorKind::Corruption {
        Error::Damaged(message)
    } else if message.contains("No space left on device") {
        // RocksDB itself goes on by itself once there is space; till then it repeats the error.
        Error::Full(message)
    } else {
        Error::Store(message)
    }
}

type DbSnapshot<'a> = rocksdb::Snapshot<'a>;

self_cell::self_cell!(
    /// A snapshot together with the database that it borrows.
    struct OwnedSnapshot {
        owner: Arc<DB>,
        #[covariant]
        dependent: DbSnapshot,
    }
);

struct RocksSnapshot(OwnedSnapshot);

impl RocksSnapshot {
    fn read_options(&self) -> ReadOptions {
        let mut options = ReadOptions::default();
        options.set_snapshot(self.0.borrow_dependent());
        options
    }

    fn read_many(
        &self,
        keys: &[&[u8]],
        options: &ReadOptions,
    ) -> Result<Vec<Option<Bytes>>, rocksdb::Error> {
        let db = self.0.borrow_owner();
        let sorted = true;
        db.batched_multi_get_cf_opt(self.family(), keys.iter().copied(), sorted, options)
            .into_iter()
            .map(|found| Ok(found?.map(|stored| Bytes::copy_from_slice(&stored))))
            .collect()
    }

    fn family(&self) -> &ColumnFamily {
        self.0.borrow_owner().cf_handle(FAMILY).expect("it was opened with the database")
    }
}

impl Snapshot for RocksSnapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let found = self.0.borrow_dependent().get_pinned(key).map_err(store_error)?;
        Ok(found.map(|stored| Bytes::copy_from_slice(&stored)))
    }

    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, Error> {
        self.read_many(keys, &self.read_options()).map_err(store_error)
    }

    fn get_many_at_hand(&self, keys: &[&[u8]]) -> Result<Option<Vec<Option<Bytes>>>, Error> {
        let mut options = self.read_options();
        options.set_read_tier(ReadTier::BlockCache);
        match self.read_many(keys, &options) {
            Ok(found) => Ok(Some(found)),
            // It stands in a block that is not in the cache.
            Err(error) if error.kind() == ErrorKind::Incomplete => Ok(None),
            Err(error) => Err(store_error(error)),
        }
    }

    fn cursor<'s>(&'s self, from: &[u8], to: &[u8]) -> Box<dyn Cursor + 's> {
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(from);
        options.set_iterate_upper_bound(to);
        options.set_auto_readahead_size(true);
        let mut iterator = self.0.borrow_dependent().raw_iterator_opt(options);
        iterator.seek(from);
        Box::new(RocksCursor { iterator })
    }
}

struct RocksCursor<'s> {
    iterator: DBRawIterator<'s>,
}

impl Cursor for RocksCursor<'_> {
    fn next(&mut self, bytes: usize) -> Result<Rows, Error> {
        let mut rows = RowsBuilder::default();
        while let Some((key, stored)) = self.iterator.item() {
            rows.push(key, stored);
            self.iterator.next();
            if rows.bytes() >= bytes {
                break;
            }
        }
        // Not valid is the end of the range or an error.
        self.iterator.status().map_err(store_error)?;
        Ok(rows.build())
    }
}
