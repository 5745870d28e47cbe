//! Sequences: numbers of which each is given out once.
//!
//! A sequence is a record of `__catalog` under `sequence/<name>`. Its record names a value that
//! none given out is beyond: [`AHEAD`] more are made durable at a time than were asked for, and are
//! then given out of memory. So a crash leaves a gap, and no number comes twice.

mod drafted;

pub(crate) use drafted::{DraftedSequences, Found};

use crate::catalog::{NextIds, to_json};
use crate::changes::{check_name, to_the_end};
use crate::engine::Engine;
use crate::ledger::Entry;
use crate::stream::ColumnType;
use crate::{Error, ErrorKind};
use anabranch_types::StreamId;
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::OwnedMutexGuard;

pub(crate) const SEQUENCE_PREFIX: &str = "sequence/";

/// Values that are made durable beyond those asked for, as PostgreSQL does in its log.
const AHEAD: usize = 32;

/// What a sequence is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SequenceSpec {
    /// Stream names' rules hold.
    pub name: String,
    /// `Smallint`, `Integer` or `Bigint`.
    #[serde(rename = "type")]
    pub data_type: ColumnType,
    /// The first value.
    pub start: i64,
    /// Between two values; not 0.
    pub increment: i64,
    /// The least value.
    pub min: i64,
    /// The greatest value.
    pub max: i64,
    /// `CACHE`; kept as it was said: values come out of memory anyway.
    pub cache: i64,
    /// Whether it begins anew at its end.
    pub cycle: bool,
    /// The column of the stream that it is made with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
}

/// A sequence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sequence {
    /// Its number; none comes twice.
    pub id: u32,
    /// How it counts.
    #[serde(flatten)]
    pub spec: SequenceSpec,
    /// The column that it goes with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<SequenceOwner>,
}

/// A column of a stream that a sequence goes with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SequenceOwner {
    /// The stream.
    #[serde(with = "stream_id")]
    pub stream: StreamId,
    /// Its column.
    pub column: String,
}

/// Ids of streams as they stand in the catalog's keys.
mod stream_id {
    use anabranch_types::StreamId;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(id: &StreamId, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(id)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<StreamId, D::Error> {
        let text = String::deserialize(from)?;
        uuid::Uuid::parse_str(&text).map(StreamId).map_err(de::Error::custom)
    }
}

/// A sequence and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SequenceStatus {
    /// What it is.
    pub sequence: Sequence,
    /// The value given out last, or the first one.
    pub last: i64,
    /// Whether `last` was given out.
    pub is_called: bool,
}

/// One change of a sequence.
#[derive(Debug, Clone)]
pub enum SequenceChange {
    /// The next value, and whether it was given out already (`setval`).
    Set(i64, bool),
    /// Counts in another way from here on; goes to `restart`, if that is said. The name stays.
    Count(Box<SequenceSpec>, Option<i64>),
    /// Goes with a column, or with none.
    Own(Option<SequenceOwner>),
    /// Another name for the column that it goes with.
    RenameColumn(String),
}

/// Why a sequence gave nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SequenceError {
    /// It is at its end and does not cycle.
    #[error("nextval: reached {which} value of sequence \"{name}\" ({limit})")]
    Exhausted {
        /// The sequence.
        name: String,
        /// `minimum` or `maximum`.
        which: &'static str,
        /// That value.
        limit: i64,
    },
    /// Not one of its values.
    #[error("setval: value {value} is out of bounds for sequence \"{name}\" ({min}..{max})")]
    OutOfBounds {
        /// The sequence.
        name: String,
        /// What was to be set.
        value: i64,
        /// Its least value.
        min: i64,
        /// Its greatest value.
        max: i64,
    },
    /// The engine's.
    #[error(transparent)]
    Engine(#[from] Error),
}

impl SequenceSpec {
    /// The value behind `last`; the first after the last one if it cycles.
    fn after(&self, last: i64) -> Result<i64, SequenceError> {
        let next = last.checked_add(self.increment);
        let next = next.filter(|next| (self.min..=self.max).contains(next));
        let (end, begin, which) = match self.increment > 0 {
            true => (self.max, self.min, "maximum"),
            false => (self.min, self.max, "minimum"),
        };
        match next {
            Some(next) => Ok(next),
            None if self.cycle => Ok(begin),
            None => Err(SequenceError::Exhausted { name: self.name.clone(), which, limit: end }),
        }
    }

    fn check_value(&self, value: i64) -> Result<(), SequenceError> {
        if (self.min..=self.max).contains(&value) {
            return Ok(());
        }
        let (name, min, max) = (self.name.clone(), self.min, self.max);
        Err(SequenceError::OutOfBounds { name, value, min, max })
    }
}

/// A sequence as `__catalog` keeps it.
#[derive(Serialize, Deserialize)]
struct Record {
    #[serde(flatten)]
    sequence: Sequence,
    /// No value beyond this one was given out.
    last: i64,
    is_called: bool,
}

pub(crate) struct Live {
    /// Held while the record is written.
    gate: Arc<tokio::sync::Mutex<()>>,
    state: Mutex<State>,
}

#[derive(Clone)]
struct State {
    sequence: Sequence,
    last: i64,
    is_called: bool,
    /// How many values behind `last` are durable.
    ahead: usize,
    is_dropped: bool,
}

impl Live {
    fn new(sequence: Sequence, last: i64, is_called: bool) -> Arc<Self> {
        Self::of(State { sequence, last, is_called, ahead: 0, is_dropped: false })
    }

    fn of(state: State) -> Arc<Self> {
        Arc::new(Self { gate: Arc::default(), state: Mutex::new(state) })
    }

    pub(crate) fn status(&self) -> SequenceStatus {
        let state = self.state.lock();
        let (last, is_called) = (state.last, state.is_called);
        SequenceStatus { sequence: state.sequence.clone(), last, is_called }
    }
}

impl State {
    fn entry(&self, last: i64, is_called: bool) -> Entry {
        let record = Record { sequence: self.sequence.clone(), last, is_called };
        (key(&self.sequence.spec.name), Some(to_json(&record)))
    }

    fn next(&self) -> Result<i64, SequenceError> {
        match self.is_called {
            true => self.sequence.spec.after(self.last),
            false => Ok(self.last),
        }
    }

    fn change(&mut self, change: SequenceChange) -> Result<(), SequenceError> {
        match change {
            SequenceChange::Set(value, is_called) => {
                self.sequence.spec.check_value(value)?;
                (self.last, self.is_called) = (value, is_called);
            }
            SequenceChange::Count(spec, restart) => {
                let SequenceSpec { name, column, .. } = self.sequence.spec.clone();
                self.sequence.spec = SequenceSpec { name, column, ..*spec };
                if let Some(value) = restart {
                    (self.last, self.is_called) = (value, false);
                }
            }
            SequenceChange::Own(owner) => self.sequence.owner = owner,
            SequenceChange::RenameColumn(column) => {
                if let Some(owner) = &mut self.sequence.owner {
                    owner.column = column;
                }
            }
        }
        Ok(())
    }
}

fn key(name: &str) -> Vec<u8> {
    format!("{SEQUENCE_PREFIX}{name}").into_bytes()
}

/// All sequences.
#[derive(Default)]
pub(crate) struct Sequences {
    live: RwLock<BTreeMap<String, Arc<Live>>>,
}

/// Sequences that are about to be.
pub(crate) struct Made(Vec<Arc<Live>>);

/// Sequences that are about to go; nobody takes a value of them meanwhile.
pub(crate) struct Going(Vec<(Arc<Live>, OwnedMutexGuard<()>)>);

impl Made {
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry> {
        self.0.iter().map(|live| {
            let state = live.state.lock();
            state.entry(state.last, state.is_called)
        })
    }
}

impl Going {
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry> {
        self.0.iter().map(|(live, _)| (key(&live.state.lock().sequence.spec.name), None))
    }
}

impl Sequences {
    pub(crate) fn load(entries: Vec<(Vec<u8>, Vec<u8>)>) -> Result<Self, Error> {
        let mut live = BTreeMap::new();
        for (key, value) in entries {
            let record: Record = serde_json::from_slice(&value).map_err(|error| {
                let key = String::from_utf8_lossy(&key);
                Error::new(ErrorKind::Storage, format!("the catalog's record {key}: {error}"))
            })?;
            let name = record.sequence.spec.name.clone();
            live.insert(name, Live::new(record.sequence, record.last, record.is_called));
        }
        Ok(Self { live: RwLock::new(live) })
    }

    /// Sequences as they are going to be; to be called by one who changes the catalog.
    pub(crate) fn made(
        &self,
        specs: Vec<SequenceSpec>,
        stream: Option<StreamId>,
        next: &mut NextIds,
    ) -> Result<Made, Error> {
        let mut made = Vec::new();
        for spec in specs {
            check_name(&spec.name)?;
            self.check_free(&spec.name)?;
            let sequence = new_sequence(spec, stream, next);
            let start = sequence.spec.start;
            made.push(Live::new(sequence, start, false));
        }
        Ok(Made(made))
    }

    pub(crate) fn check_free(&self, name: &str) -> Result<(), Error> {
        if self.live.read().contains_key(name) { Err(exists(name)) } else { Ok(()) }
    }

    pub(crate) fn add(&self, made: Made) {
        let mut live = self.live.write();
        for one in made.0 {
            let name = one.state.lock().sequence.spec.name.clone();
            live.insert(name, one);
        }
    }

    /// The sequences that go with columns of a stream.
    pub(crate) async fn going(&self, stream: StreamId, column: impl Fn(&str) -> bool) -> Going {
        let all: Vec<_> = self.live.read().values().cloned().collect();
        let owned = all.into_iter().filter(|live| {
            let state = live.state.lock();
            let owner = state.sequence.owner.as_ref();
            owner.is_some_and(|owner| owner.stream == stream && column(&owner.column))
        });
        let mut going = Vec::new();
        for live in owned.collect::<Vec<_>>() {
            let gate = Arc::clone(&live.gate).lock_owned().await;
            going.push((live, gate));
        }
        Going(going)
    }

    pub(crate) fn remove(&self, going: Going) {
        for (live, _gate) in going.0 {
            let mut state = live.state.lock();
            state.is_dropped = true;
            self.live.write().remove(&state.sequence.spec.name);
        }
    }

    pub(crate) fn find(&self, name: &str) -> Result<Arc<Live>, Error> {
        self.live.read().get(name).cloned().ok_or_else(|| missing(name))
    }
}

/// A sequence with a number of its own.
pub(crate) fn new_sequence(
    spec: SequenceSpec,
    stream: Option<StreamId>,
    next: &mut NextIds,
) -> Sequence {
    let owner = stream.zip(spec.column.clone());
    let owner = owner.map(|(stream, column)| SequenceOwner { stream, column });
    Sequence { id: next.relation(), spec, owner }
}

pub(crate) fn exists(name: &str) -> Error {
    Error::new(ErrorKind::AlreadyExists, format!("the sequence {name} exists"))
}

pub(crate) fn missing(name: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("relation \"{name}\" does not exist"))
}

impl Engine {
    /// All sequences by name, and where they stand.
    pub(crate) fn sequences(&self) -> Vec<SequenceStatus> {
        // One lock at a time: who removes a sequence takes them in the other order.
        let all: Vec<_> = self.inner.sequences.live.read().values().cloned().collect();
        all.iter().map(|live| live.status()).collect()
    }

    pub(crate) fn sequence(&self, name: &str) -> Result<Sequence, Error> {
        Ok(self.inner.sequences.find(name)?.status().sequence)
    }

    pub(crate) async fn change_sequence(
        &self,
        name: &str,
        change: SequenceChange,
    ) -> Result<(), SequenceError> {
        let (engine, name) = (self.clone(), name.to_owned());
        to_the_end(async move {
            let live = engine.inner.sequences.find(&name)?;
            let _gate = live.gate.lock().await;
            let mut state = live.state.lock().clone();
            if state.is_dropped {
                return Err(missing(&name).into());
            }
            state.change(change)?;
            state.ahead = 0;
            let entry = state.entry(state.last, state.is_called);
            engine.inner.catalog_ledger.put(vec![entry]).await?;
            *live.state.lock() = state;
            Ok(())
        })
        .await
    }

    /// The next `count` values; they come from memory while some are durable.
    pub(crate) async fn next_values(
        &self,
        name: &str,
        count: usize,
    ) -> Result<Vec<i64>, SequenceError> {
        self.take_values(&*self.inner.sequences.find(name)?, count).await
    }

    pub(crate) async fn take_values(
        &self,
        live: &Live,
        count: usize,
    ) -> Result<Vec<i64>, SequenceError> {
        let _gate = live.gate.lock().await;
        let mut state = live.state.lock().clone();
        if state.is_dropped {
            return Err(missing(&state.sequence.spec.name).into());
        }
        let mut values = Vec::with_capacity(count);
        for _ in 0..count {
            let value = state.next()?;
            (state.last, state.is_called) = (value, true);
            values.push(value);
        }
        match state.ahead.checked_sub(count) {
            Some(left) => state.ahead = left,
            None => {
                let (mut durable, mut ahead) = (state.last, 0);
                while ahead < AHEAD
                    && let Ok(value) = state.sequence.spec.after(durable)
                {
                    durable = value;
                    ahead += 1;
                }
                let entry = state.entry(durable, true);
                self.inner.catalog_ledger.put(vec![entry]).await?;
                state.ahead = ahead;
            }
        }
        *live.state.lock() = state;
        Ok(values)
    }
}
