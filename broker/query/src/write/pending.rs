//! Events that wait for their append.

use crate::error::{Error, sqlstate};
use crate::limits::WRITE_BYTES_MAX;
use ahash::HashSet;
use anabranch_engine::{
    Append, Atomicity, Mode, Part, Preconditions, Session as EngineSession, Stream, key_hash,
};
use anabranch_types::batch::{BatchBuilder, ValidateOptions, validate};
use anabranch_types::{PartitionId, Round};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What one statement or transaction is going to append, all of it or nothing.
#[derive(Clone, Default)]
pub(crate) struct Pending {
    events: Vec<Event>,
    bytes: usize,
    /// What was read to decide upon the events: the oldest cut, and the keys.
    cut: Option<Round>,
    checked: Vec<(PartitionId, u64)>,
    /// Keys that are written, so that a statement does not write one twice.
    written: HashSet<(PartitionId, Bytes)>,
}

/// One event.
#[derive(Clone)]
pub(crate) struct Event {
    pub(crate) stream: Arc<Stream>,
    pub(crate) partition: PartitionId,
    pub(crate) key: Option<Bytes>,
    /// `None` deletes the key.
    pub(crate) value: Option<Bytes>,
}

/// Overhead of an event that is counted: more than its record has.
const EVENT_BYTES: usize = 64;

impl Event {
    fn bytes(&self) -> usize {
        let size = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        EVENT_BYTES + size(&self.key) + size(&self.value)
    }
}

impl Pending {
    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether anything is written to the stream.
    pub(crate) fn writes_to(&self, stream: &Stream) -> bool {
        self.events.iter().any(|event| event.stream.id == stream.id)
    }

    /// For a statement that would have to read what is pending, and cannot.
    pub(crate) fn unreadable() -> Error {
        Error::unsupported(
            "this transaction has written, and its writes are not visible before COMMIT",
        )
        .hint("name rows by their whole key, COMMIT first, or read before you write")
    }

    /// Whether the stream's key is written already.
    pub(crate) fn writes(&self, stream: &Stream, key: &Bytes) -> bool {
        stream.partitions.first().is_some_and(|first| self.written.contains(&(*first, key.clone())))
    }

    /// Adds an event; too many are refused rather than kept.
    pub(crate) fn push(&mut self, event: Event) -> Result<(), Error> {
        self.bytes += event.bytes();
        if self.bytes > WRITE_BYTES_MAX {
            return Err(Error::new(
                sqlstate::PROGRAM_LIMIT_EXCEEDED,
                format!("one statement or transaction can write at most {WRITE_BYTES_MAX} bytes"),
            )
            .hint("write in parts (LIMIT, or ranges of a key), or produce with a Kafka client"));
        }
        if let (Some(key), Some(first), Mode::Upsert) =
            (&event.key, event.stream.partitions.first(), event.stream.mode)
        {
            self.written.insert((*first, key.clone()));
        }
        self.events.push(event);
        Ok(())
    }

    /// Notes that `key` was read at `cut`: whatever partition it may stand in, nobody may have
    /// written it since.
    pub(crate) fn check(&mut self, stream: &Stream, key: &[u8], cut: Round) {
        self.cut = Some(self.cut.map_or(cut, |before| before.min(cut)));
        let hash = key_hash(key);
        self.checked.extend(stream.partitions.iter().map(|&partition| (partition, hash)));
    }

    /// Appends everything in one round; durable and visible when this returns.
    ///
    /// # Errors
    /// `Conflict`: a key was written since it was read; nothing was appended.
    pub(crate) async fn append(self, engine: &EngineSession) -> Result<(), Error> {
        if self.events.iter().any(|event| event.stream.mode == Mode::Upsert) {
            engine.table_room().await;
        }
        engine.append(self.into_append(engine)?).await?;
        Ok(())
    }

    fn into_append(self, engine: &EngineSession) -> Result<Append, Error> {
        let now = engine.now();
        let mut batches: BTreeMap<PartitionId, (Vec<BatchBuilder>, Arc<Stream>)> = BTreeMap::new();
        for event in self.events {
            let (builders, stream) = batches
                .entry(event.partition)
                .or_insert_with(|| (vec![BatchBuilder::default()], event.stream.clone()));
            // What is beyond one batch of the stream goes into another of the same round.
            let bytes = event.bytes();
            let max = stream.options.batch_bytes_max as usize;
            if builders.last().is_some_and(|last| last.count() > 0 && last.bytes() + bytes > max) {
                builders.push(BatchBuilder::default());
            }
            if let Some(builder) = builders.last_mut() {
                builder.push(now, event.key.as_deref(), event.value.as_deref(), &[]);
            }
        }
        let mut scratch = Vec::new();
        let mut parts = Vec::with_capacity(batches.len());
        let batches = batches.into_iter().flat_map(|(partition, (builders, stream))| {
            builders.into_iter().map(move |builder| (partition, builder, stream.clone()))
        });
        for (partition, builder, stream) in batches {
            let keyed = stream.mode == Mode::Upsert;
            let batch = builder
                .build()
                .map_err(|error| Error::internal(format!("cannot build a batch: {error}")))?
                .freeze();
            let options = ValidateOptions { keys_required: keyed, hash_keys: keyed };
            let passed = validate(&batch, options, key_hash, &mut scratch).map_err(|error| {
                Error::internal(format!("a batch of ours is not valid: {error}"))
            })?;
            if batch.len() > stream.options.batch_bytes_max as usize {
                return Err(Error::new(
                    sqlstate::PROGRAM_LIMIT_EXCEEDED,
                    format!(
                        "{} bytes for one partition of stream \"{}\"; max.message.bytes is {}",
                        batch.len(),
                        stream.name,
                        stream.options.batch_bytes_max
                    ),
                )
                .hint("write less at a time, or ALTER STREAM … SET (max_message_bytes = …)"));
            }
            parts.push(Part::new(partition, batch, passed));
        }
        let preconditions = self.cut.map(|cut| Box::new(Preconditions { cut, keys: self.checked }));
        Ok(Append { parts: parts.into(), atomicity: Atomicity::AllParts, preconditions })
    }
}
