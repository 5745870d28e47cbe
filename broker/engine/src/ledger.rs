//! The broker's own state: a map that is the fold of an internal stream.
//!
//! State without a home in the log is lost at a restart; so catalog, committed offsets and
//! producer ids are records, committed in rounds like all others before anybody is answered. A
//! ledger is small and wholly in memory; when its log has grown far beyond it, the whole map is
//! appended once more and the log's start moved there.

use crate::own::{change_log, nothing, own_part};
use crate::{Error, ErrorKind};
use anabranch_log::{
    Append, AppendError, Appended, Atomicity, Change, Chunk, Command, Inspection, LogHandle,
    Operation, Part, PartitionLog, Settings, Submission, Until,
};
use anabranch_types::batch::{BatchBuilder, batches, decode_records};
use anabranch_types::{Offset, PartitionId};
use parking_lot::Mutex;
use smallvec::SmallVec;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{OwnedRwLockReadGuard, RwLock, oneshot};

/// A key and its new value; `None` removes it.
pub(crate) type Entry = (Vec<u8>, Option<Vec<u8>>);

/// Bytes of log at which a ledger is written anew, if the map is much smaller.
const COMPACT_BYTES: u64 = 8 << 20;
/// How many times the map the log may be.
const COMPACT_RATIO: u64 = 4;
const BATCH_BYTES: usize = 1 << 20;

pub(crate) struct Ledger {
    partition: PartitionId,
    log: Arc<LogHandle>,
    state: Arc<Mutex<State>>,
    /// Taken for reading by who writes entries, for writing by who writes the map anew: entries
    /// that overtook it would be undone by it.
    gate: Arc<RwLock<()>>,
}

#[derive(Default)]
struct State {
    map: BTreeMap<Vec<u8>, Vec<u8>>,
    map_bytes: u64,
    log_bytes: u64,
}

impl State {
    fn apply(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        let size = |key: &[u8], value: &[u8]| (key.len() + value.len()) as u64;
        self.log_bytes += size(&key, value.as_deref().unwrap_or_default());
        if let Some(old) = self.map.get(&key) {
            self.map_bytes -= size(&key, old);
        }
        match value {
            Some(value) => {
                self.map_bytes += size(&key, &value);
                self.map.insert(key, value);
            }
            None => {
                self.map.remove(&key);
            }
        }
    }
}

/// What happens in one round with entries of a ledger.
#[derive(Default)]
pub(crate) struct Together {
    /// What happens to the log.
    pub(crate) operations: Vec<Operation>,
    /// Settings of partitions that are created.
    pub(crate) settings: Settings,
    /// A conflict if the next record of one of these has another offset.
    pub(crate) unwritten: Vec<(PartitionId, Offset)>,
    /// Records of streams, on their conditions.
    pub(crate) append: Option<Append>,
}

/// Entries on their way to the log.
pub(crate) struct Held {
    parts: SmallVec<[Part; 1]>,
    entries: Vec<Entry>,
    state: Arc<Mutex<State>>,
    _gate: OwnedRwLockReadGuard<()>,
}

impl Held {
    /// What is to be appended.
    pub(crate) fn parts(&self) -> impl Iterator<Item = Part> {
        self.parts.iter().cloned()
    }

    /// Puts the entries in force if they were appended. On the commit thread: in the log's order.
    pub(crate) fn done(self, appended: bool) {
        if appended {
            let mut state = self.state.lock();
            for (key, value) in self.entries {
                state.apply(key, value);
            }
        }
    }
}

impl Ledger {
    /// Folds the partition's log. Blocks.
    pub(crate) fn open(log: Arc<LogHandle>, partition: PartitionId) -> Result<Self, Error> {
        let mut state = State::default();
        if let Some(reader) = log.shared().partition(partition) {
            fold(&reader, &mut state)?;
        }
        Ok(Self { partition, log, state: Arc::new(Mutex::new(state)), gate: Arc::default() })
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.state.lock().map.get(key).cloned()
    }

    /// All keys with a prefix, with their values, in order.
    pub(crate) fn scan(&self, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let state = self.state.lock();
        let from = state.map.range(prefix.to_vec()..);
        from.take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    /// Writes entries, all or none; durable and in force when this returns.
    pub(crate) async fn put(&self, entries: Vec<Entry>) -> Result<(), Error> {
        // Held until the entries are in the map, even if who asked goes.
        let gate = Arc::clone(&self.gate).read_owned().await;
        let (sender, receiver) = oneshot::channel();
        self.send(entries, move |result| {
            drop(gate);
            // Who asked may have gone; what was written holds all the same.
            let _ = sender.send(result);
        })?;
        receiver.await.map_err(|_| AppendError::Stopping)??;
        self.tidy().await;
        Ok(())
    }

    /// Writes the map anew if its log has become large.
    pub(crate) async fn tidy(&self) {
        if let Err(error) = self.compact_if_large().await {
            tracing::warn!(%error, partition = self.partition.0, "a ledger was not written anew");
        }
    }

    /// Entries that are to be appended together with others'.
    pub(crate) async fn hold(&self, entries: Vec<Entry>) -> Result<Held, Error> {
        let gate = Arc::clone(&self.gate).read_owned().await;
        let parts = self.append(&entries)?.parts;
        Ok(Held { parts, entries, state: Arc::clone(&self.state), _gate: gate })
    }

    /// As [`Self::put`], for the start, when nobody else writes yet. Blocks.
    pub(crate) fn put_first(&self, entries: Vec<Entry>) -> Result<(), Error> {
        let (sender, receiver) = crossbeam::channel::bounded(1);
        self.send(entries, move |result| {
            // The other end waits below.
            let _ = sender.send(result);
        })?;
        receiver.recv().map_err(|_| AppendError::Stopping)??;
        Ok(())
    }

    fn send(
        &self,
        entries: Vec<Entry>,
        done: impl FnOnce(Result<SmallVec<[Appended; 1]>, AppendError>) + Send + 'static,
    ) -> Result<(), Error> {
        let append = self.append(&entries)?;
        let state = Arc::clone(&self.state);
        let reply = Box::new(move |results: Vec<anabranch_log::AppendResult>| {
            let result = first(results);
            // On the commit thread, hence in the order of the log.
            if result.is_ok() {
                let mut state = state.lock();
                for (key, value) in entries {
                    state.apply(key, value);
                }
            }
            done(result);
        });
        let submission = Submission { appends: vec![append], reply };
        self.log.send(Command::Submit(submission)).map_err(|_| AppendError::Stopping)?;
        Ok(())
    }

    /// Writes entries together with operations on the log, in one round.
    pub(crate) async fn change(
        &self,
        entries: Vec<Entry>,
        operations: Vec<Operation>,
        settings: Settings,
    ) -> Result<(), Error> {
        self.change_with(entries, Together { operations, settings, ..Together::default() }).await
    }

    /// Writes entries together with what else is to happen in one round, or not at all.
    pub(crate) async fn change_with(
        &self,
        entries: Vec<Entry>,
        together: Together,
    ) -> Result<(), Error> {
        let gate = Arc::clone(&self.gate).read_owned().await;
        let mut append = self.append(&entries)?;
        let frees = together.append.is_none();
        if let Some(more) = together.append {
            append.parts.extend(more.parts);
            append.preconditions = more.preconditions;
        }
        let (sender, receiver) = oneshot::channel();
        let state = Arc::clone(&self.state);
        let reply = Box::new(move |result: Result<SmallVec<[Appended; 1]>, AppendError>| {
            if result.is_ok() {
                let mut state = state.lock();
                for (key, value) in entries {
                    state.apply(key, value);
                }
            }
            drop(gate);
            let _ = sender.send(result);
        });
        let Together { operations, settings, unwritten, .. } = together;
        let change = Change { append, operations, settings, unwritten, frees, reply };
        self.log.send(Command::Change(Box::new(change))).map_err(|_| AppendError::Stopping)?;
        receiver.await.map_err(|_| AppendError::Stopping)??;
        Ok(())
    }

    fn append(&self, entries: &[Entry]) -> Result<Append, Error> {
        let mut parts = SmallVec::new();
        let mut builder = BatchBuilder::default();
        for (key, value) in entries {
            builder.push(anabranch_log::now(), Some(key), value.as_deref(), &[]);
            if builder.bytes() >= BATCH_BYTES {
                parts.push(own_part(self.partition, std::mem::take(&mut builder), false)?);
            }
        }
        if builder.count() > 0 {
            parts.push(own_part(self.partition, builder, false)?);
        }
        Ok(Append { parts, atomicity: Atomicity::AllParts, preconditions: None })
    }

    async fn compact_if_large(&self) -> Result<(), Error> {
        let large = |state: &State| {
            state.log_bytes > COMPACT_BYTES && state.log_bytes > COMPACT_RATIO * state.map_bytes
        };
        if !large(&self.state.lock()) {
            return Ok(());
        }
        let _gate = self.gate.write().await;
        let entries: Vec<Entry> = {
            let state = self.state.lock();
            if !large(&state) {
                return Ok(());
            }
            state.map.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect()
        };
        // The map need not fit into one round: nothing else is written meanwhile.
        let parts = self.append(&entries)?.parts.into_iter();
        let appends = parts.map(|part| Append {
            parts: SmallVec::from_iter([part]),
            atomicity: Atomicity::AllParts,
            preconditions: None,
        });
        let appends = appends.collect();
        let (sender, receiver) = oneshot::channel();
        let reply = Box::new(move |results| {
            let _ = sender.send(first(results));
        });
        let submission = Submission { appends, reply };
        self.log.send(Command::Submit(submission)).map_err(|_| AppendError::Stopping)?;
        let appended = receiver.await.map_err(|_| AppendError::Stopping)??;
        let start = appended.first().map_or(Offset(0), |first| first.base_offset);
        let moved = vec![Operation::SetLogStart(self.partition, start)];
        change_log(&self.log, nothing(), moved).await?;
        let mut state = self.state.lock();
        state.log_bytes = state.map_bytes;
        Ok(())
    }
}

/// All parts of the one append, or the first error.
fn first(
    results: Vec<anabranch_log::AppendResult>,
) -> Result<SmallVec<[Appended; 1]>, AppendError> {
    results.into_iter().flatten().collect()
}

/// The map of a ledger in a data directory that may not be served.
pub(crate) fn inspect(
    inspection: &Inspection,
    partition: PartitionId,
) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Error> {
    let (mut state, mut scratch) = (State::default(), Vec::new());
    let mut result = Ok(());
    let visited = inspection.chunks(partition, Offset(0), |chunk| {
        if result.is_ok() {
            result = fold_chunk(chunk, &mut state, &mut scratch);
        }
    });
    visited.map_err(|error| storage(error.to_string()))?;
    result.map(|()| state.map)
}

fn storage(message: String) -> Error {
    Error::new(ErrorKind::Storage, message)
}

fn fold_chunk(chunk: &Chunk, state: &mut State, scratch: &mut Vec<u8>) -> Result<(), Error> {
    for batch in batches(&chunk.bytes) {
        let (header, batch) = batch.map_err(|error| storage(error.to_string()))?;
        let records =
            decode_records(&header, batch, scratch).map_err(|error| storage(error.to_string()))?;
        for record in records {
            let record = record.map_err(|error| storage(error.to_string()))?;
            let key = record.key.unwrap_or_default().to_vec();
            state.apply(key, record.value.map(<[u8]>::to_vec));
        }
    }
    Ok(())
}

fn fold(reader: &PartitionLog, state: &mut State) -> Result<(), Error> {
    const STEP_BYTES: usize = 1 << 20;
    let mut next = reader.log_start();
    let mut scratch = Vec::new();
    while next < reader.high_watermark() {
        let chunks = reader
            .read(next, STEP_BYTES, Until::Published)
            .map_err(|error| storage(error.to_string()))?;
        let Some(last) = chunks.last() else { break };
        next = last.next_offset;
        for chunk in &chunks {
            fold_chunk(chunk, state, &mut scratch)?;
        }
    }
    if reader.damaged_batches() > 0 {
        return Err(storage(format!(
            "partition {} of the broker's own state is damaged: restore a backup",
            reader.id()
        )));
    }
    Ok(())
}
