//! What a transaction has written and not committed yet: events that wait for their append.

use crate::error::{Error, sqlstate};
use crate::limits::{WRITE_BYTES_FREE, WRITE_BYTES_MAX};
use crate::sql::Sql;
use anabranch_engine::table::KeyRange;
use anabranch_engine::{
    Append, Atomicity, CheckedKeys, Draft, Mode, Part, Preconditions, Session as EngineSession,
    Stream, key_hash,
};
use anabranch_types::batch::{BatchBuilder, ValidateOptions, validate};
use anabranch_types::{PartitionId, Round, StreamId, Timestamp};
use bytes::Bytes;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

/// What one statement or transaction is going to append, all of it or nothing.
#[derive(Clone)]
pub(crate) struct Pending {
    events: Vec<Event>,
    bytes: usize,
    bytes_max: usize,
    memory: Memory,
    /// What was read to decide upon the events: the oldest cut, and the keys.
    cut: Option<Round>,
    checked: Vec<Checked>,
    /// The streams of `checked`, as they were then.
    streams: Vec<Arc<Stream>>,
    /// Of each keyed stream, where the last event of each key stands in `events`.
    rows: HashMap<StreamId, BTreeMap<Bytes, usize>>,
}

impl Default for Pending {
    fn default() -> Self {
        Self {
            events: Vec::new(),
            bytes: 0,
            bytes_max: WRITE_BYTES_MAX,
            memory: Memory(None),
            cut: None,
            checked: Vec::new(),
            streams: Vec::new(),
            rows: HashMap::new(),
        }
    }
}

/// A key that was read.
#[derive(Clone, Copy)]
struct Checked {
    /// Where its stream stands in `streams`.
    stream: u32,
    hash: u64,
}

/// What is held of the queries' memory: of all clones together, as they share their events.
#[derive(Clone)]
struct Memory(Option<Arc<MemoryReservation>>);

/// One event.
#[derive(Clone)]
pub(crate) struct Event {
    pub(crate) stream: Arc<Stream>,
    pub(crate) partition: PartitionId,
    pub(crate) key: Option<Bytes>,
    /// `None` deletes the key.
    pub(crate) value: Option<Bytes>,
    /// When it was written.
    pub(crate) timestamp: Timestamp,
}

/// A point to go back to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    events: usize,
    checked: usize,
}

/// Overhead of an event that is counted.
const EVENT_BYTES: usize = 64;
/// Bytes of a key that was read.
const CHECKED_BYTES: usize = size_of::<Checked>();

impl Event {
    fn bytes(&self) -> usize {
        let size = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        EVENT_BYTES + size(&self.key) + size(&self.value)
    }
}

impl Pending {
    /// One that takes what it needs of the memory that queries have.
    pub(crate) fn counted(sql: &Sql) -> Self {
        let memory = MemoryConsumer::new("writes").register(&sql.state().runtime_env().memory_pool);
        Self { memory: Memory(Some(Arc::new(memory))), ..Self::default() }
    }

    /// One of at most so many bytes.
    pub(crate) fn up_to(bytes_max: usize) -> Self {
        Self { bytes_max, ..Self::default() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The last event of a keyed stream's key.
    pub(crate) fn last(&self, stream: StreamId, key: &[u8]) -> Option<&Event> {
        let at = self.rows.get(&stream)?.get(key)?;
        Some(&self.events[*at])
    }

    /// The keys of `range` that are written to a keyed stream, in order, with their last events.
    pub(crate) fn range<'a>(
        &'a self,
        stream: StreamId,
        range: &KeyRange,
    ) -> impl Iterator<Item = (&'a Bytes, &'a Event)> + use<'a> {
        let rows = self.rows.get(&stream).filter(|_| !is_empty(range));
        let found = rows.map(|rows| rows.range((range.from.clone(), range.to.clone())));
        found.into_iter().flatten().map(|(key, at)| (key, &self.events[*at]))
    }

    /// All events of a stream, in the order they were written.
    pub(crate) fn of(&self, stream: StreamId) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(move |event| event.stream.id == stream)
    }

    /// Adds an event; too many are refused rather than kept.
    pub(crate) fn push(&mut self, event: Event) -> Result<(), Error> {
        self.take(event.bytes())?;
        if let (Some(key), Mode::Upsert) = (&event.key, event.stream.mode) {
            let rows = self.rows.entry(event.stream.id).or_default();
            rows.insert(key.clone(), self.events.len());
        }
        self.events.push(event);
        Ok(())
    }

    /// Notes that `key` was read at `cut`: whatever partition it may stand in, nobody may have
    /// written it since.
    pub(crate) fn check(&mut self, stream: &Arc<Stream>, key: &[u8], cut: Round) {
        self.cut = Some(self.cut.map_or(cut, |before| before.min(cut)));
        let stream = self.number_of(stream);
        self.checked.push(Checked { stream, hash: key_hash(key) });
        self.bytes += CHECKED_BYTES;
    }

    fn number_of(&mut self, stream: &Arc<Stream>) -> u32 {
        let known = self.streams.iter().rposition(|known| Arc::ptr_eq(known, stream));
        let number = known.unwrap_or_else(|| {
            self.streams.push(stream.clone());
            self.streams.len() - 1
        });
        u32::try_from(number).expect("a transaction writes to few streams")
    }

    /// Counts so many bytes more.
    fn take(&mut self, bytes: usize) -> Result<(), Error> {
        let bytes = self.bytes + bytes;
        if bytes > self.bytes_max {
            return Err(Error::new(
                sqlstate::PROGRAM_LIMIT_EXCEEDED,
                format!("one statement or transaction can write at most {} bytes", self.bytes_max),
            )
            .hint("write in parts (LIMIT, or ranges of a key), or produce with a Kafka client"));
        }
        // Events, and the batches that are made of them.
        let twice = 2 * bytes;
        if twice > 2 * WRITE_BYTES_FREE
            && let Some(memory) = &self.memory.0
            && twice > memory.size()
        {
            memory.try_resize(twice + WRITE_BYTES_FREE)?;
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Adds what a statement of this transaction has written.
    pub(crate) fn absorb(&mut self, mut statement: Self) -> Result<(), Error> {
        // From here on it is this one's.
        statement.memory = Memory(None);
        for event in statement.events {
            self.push(event)?;
        }
        self.take(statement.checked.len() * CHECKED_BYTES)?;
        let numbers: Vec<u32> =
            statement.streams.iter().map(|stream| self.number_of(stream)).collect();
        self.checked.extend(
            statement
                .checked
                .into_iter()
                .map(|checked| Checked { stream: numbers[checked.stream as usize], ..checked }),
        );
        self.cut = self.cut.into_iter().chain(statement.cut).min();
        Ok(())
    }

    /// Where it stands.
    pub(crate) fn mark(&self) -> Mark {
        Mark { events: self.events.len(), checked: self.checked.len() }
    }

    /// Forgets what came after `mark`.
    pub(crate) fn go_back(&mut self, mark: Mark) {
        if mark.events == self.events.len() && mark.checked == self.checked.len() {
            return;
        }
        self.checked.truncate(mark.checked);
        self.events.truncate(mark.events);
        let events: usize = self.events.iter().map(Event::bytes).sum();
        self.bytes = events + self.checked.len() * CHECKED_BYTES;
        self.rows.clear();
        for (at, event) in self.events.iter().enumerate() {
            if let (Some(key), Mode::Upsert) = (&event.key, event.stream.mode) {
                self.rows.entry(event.stream.id).or_default().insert(key.clone(), at);
            }
        }
    }

    /// Appends everything in one round; durable and visible when this returns. Of a key that was
    /// written several times, only the last event is.
    ///
    /// # Errors
    /// `Conflict`: a key was written since it was read; nothing was appended.
    pub(crate) async fn append(mut self, engine: &EngineSession) -> Result<(), Error> {
        if self.is_empty() {
            return Ok(());
        }
        let _held = std::mem::replace(&mut self.memory, Memory(None));
        if !self.rows.is_empty() {
            engine.table_room().await;
        }
        engine.append(self.into_append(|_| true)?).await?;
        Ok(())
    }

    /// As [`Self::append`], together with definitions. What was written to streams that they have
    /// dropped, or given keys since, is not.
    ///
    /// # Errors
    /// `Conflict`, also where somebody else has changed what they change.
    pub(crate) async fn append_with(mut self, draft: Draft) -> Result<(), Error> {
        let _held = std::mem::replace(&mut self.memory, Memory(None));
        let append = self.into_append(|event| draft.keeps(&event.stream))?;
        if !append.parts.is_empty() {
            draft.session().table_room().await;
        }
        Ok(draft.commit(Some(append)).await?)
    }

    fn into_append(self, stays: impl Fn(&Event) -> bool) -> Result<Append, Error> {
        let Self { events, cut, checked, streams, rows, .. } = self;
        let is_last = |at: usize, event: &Event| match (&event.key, event.stream.mode) {
            (Some(key), Mode::Upsert) => {
                rows.get(&event.stream.id).and_then(|rows| rows.get(key)) == Some(&at)
            }
            _ => true,
        };
        let mut batches: BTreeMap<PartitionId, Batches> = BTreeMap::new();
        // Each event goes once it is in its batch.
        for (at, event) in events.into_iter().enumerate() {
            if is_last(at, &event) && stays(&event) {
                let batches =
                    batches.entry(event.partition).or_insert_with(|| Batches::of(&event.stream));
                batches.push(&event)?;
            }
        }
        let mut parts = Vec::with_capacity(batches.len());
        for (partition, batches) in batches {
            parts.extend(batches.finish(partition)?);
        }
        let partitions = streams.iter().map(|stream| stream.partitions.clone());
        let mut keys: Vec<CheckedKeys> =
            partitions.map(|partitions| CheckedKeys { partitions, hashes: Vec::new() }).collect();
        for Checked { stream, hash } in checked {
            keys[stream as usize].hashes.push(hash);
        }
        let preconditions = cut.map(|cut| Box::new(Preconditions { cut, keys }));
        Ok(Append { parts: parts.into(), atomicity: Atomicity::AllParts, preconditions })
    }
}

/// What `BTreeMap::range` would not take.
fn is_empty(range: &KeyRange) -> bool {
    match (&range.from, &range.to) {
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (
            Bound::Included(from) | Bound::Excluded(from),
            Bound::Excluded(to) | Bound::Included(to),
        ) => from >= to,
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
    }
}

/// The batches of one partition, none larger than its stream takes.
struct Batches {
    stream: Arc<Stream>,
    builder: BatchBuilder,
    full: Vec<BatchBuilder>,
}

/// Most bytes that a record, and a batch, have besides key and value.
const RECORD_OVERHEAD: usize = 32;
const BATCH_OVERHEAD: usize = 64;

impl Batches {
    fn of(stream: &Arc<Stream>) -> Self {
        Self { stream: stream.clone(), builder: BatchBuilder::default(), full: Vec::new() }
    }

    fn push(&mut self, event: &Event) -> Result<(), Error> {
        let max = self.stream.options.batch_bytes_max as usize;
        let size = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        let bytes = size(&event.key) + size(&event.value) + RECORD_OVERHEAD;
        if bytes + BATCH_OVERHEAD > max {
            return Err(Error::new(
                sqlstate::PROGRAM_LIMIT_EXCEEDED,
                format!(
                    "a row of {bytes} bytes for stream \"{}\"; max.message.bytes is {max}",
                    self.stream.name
                ),
            )
            .hint("ALTER STREAM … SET (max_message_bytes = …)"));
        }
        if self.builder.count() > 0 && self.builder.bytes() + bytes + BATCH_OVERHEAD > max {
            self.full.push(std::mem::take(&mut self.builder));
        }
        self.builder.push(event.timestamp, event.key.as_deref(), event.value.as_deref(), &[]);
        Ok(())
    }

    fn finish(self, partition: PartitionId) -> Result<Vec<Part>, Error> {
        let keyed = self.stream.mode == Mode::Upsert;
        let options = ValidateOptions { keys_required: keyed, hash_keys: keyed };
        let mut scratch = Vec::new();
        let all = self.full.into_iter().chain([self.builder]);
        all.map(|builder| {
            let batch = builder
                .build()
                .map_err(|error| Error::internal(format!("cannot build a batch: {error}")))?
                .freeze();
            let passed = validate(&batch, options, key_hash, &mut scratch).map_err(|error| {
                Error::internal(format!("a batch of ours is not valid: {error}"))
            })?;
            Ok(Part::new(partition, batch, passed))
        })
        .collect()
    }
}
