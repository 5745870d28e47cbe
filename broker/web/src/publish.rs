//! Events on their way into the log: by partition into batches, submitted, acknowledged.

#[cfg(test)]
mod tests;

use crate::error::{Acknowledged, Code, Failure};
use crate::event::{NewEvent, key_from_fields};
use anabranch_engine::{
    Append, AppendResult, Atomicity, ErrorKind, Mode, Operation, Part, Session, Stream, StreamSpec,
    Submission, key_hash,
};
use anabranch_types::batch::{BatchBuilder, HEADER_BYTES, ValidateOptions, validate};
use anabranch_types::limits::BATCH_BYTES_MAX;
use anabranch_types::{Offset, PartitionIndex, Timestamp, partitioner};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::oneshot;

/// What a record adds to the bytes of its parts, at most: lengths, deltas, attributes.
const RECORD_OVERHEAD_BYTES: usize = 40;

/// What a header adds to its bytes, at most.
const HEADER_OVERHEAD_BYTES: usize = 10;

/// Events that are ready to be submitted.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// Each whole or not at all, in this order; usually one.
    pub(crate) appends: Vec<Append>,
    /// Bytes of all batches.
    pub(crate) bytes: usize,
    /// Whether a table follows.
    pub(crate) is_keyed: bool,
    /// What the answers mean.
    pub(crate) pending: Pending,
}

/// Events that are being appended: where each will stand once its batch's offset is known.
#[derive(Debug)]
pub(crate) struct Pending {
    places: Vec<Place>,
    appends_count: usize,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    append: u32,
    partition: PartitionIndex,
    /// Number of the part in its append; known when the append is complete.
    part: u32,
    /// Number of the record in its batch.
    record: i32,
}

/// The stream to publish to; created if the broker does so.
///
/// # Errors
/// There is none, its name is not allowed, it is the broker's own, or they may not write to it.
pub(crate) async fn stream_to_publish(
    engine: &Session,
    name: &str,
) -> Result<Arc<Stream>, Failure> {
    if name.starts_with("__") {
        return Err(internal(name));
    }
    // Whether there is such a stream or not.
    engine.check_stream_access(Operation::Write, name)?;
    if let Some(stream) = engine.catalog().by_name(name) {
        return if stream.is_internal() { Err(internal(name)) } else { Ok(stream.clone()) };
    }
    if !engine.auto_create() {
        return Err(Failure::not_found(format!("there is no stream {name:?}"))
            .hint("create it with CREATE STREAM, or set streams.auto_create for the broker"));
    }
    let spec = StreamSpec { name: name.to_owned(), ..StreamSpec::default() };
    match engine.create_stream(spec).await {
        Ok(stream) => Ok(stream),
        // Somebody else was faster.
        Err(error) if error.kind == ErrorKind::AlreadyExists => {
            engine.catalog().by_name(name).cloned().ok_or_else(|| error.into())
        }
        Err(error) => Err(error.into()),
    }
}

fn internal(name: &str) -> Failure {
    Failure::new(
        Code::Engine(ErrorKind::InvalidName),
        format!("{name:?} is a name of the broker's own streams: they cannot be published to"),
    )
}

/// How events are completed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Defaults {
    /// The time of events without one.
    pub(crate) now: Timestamp,
    /// Chooses the partition of events without key, by remainder.
    pub(crate) turn: u32,
}

/// Builds the batches of `events`.
///
/// # Errors
/// Names the first event that the stream does not take.
pub(crate) fn prepare(
    stream: &Stream,
    events: Vec<NewEvent<'_>>,
    defaults: Defaults,
) -> Result<Prepared, Failure> {
    if events.is_empty() {
        return Err(Failure::invalid("there are no events to publish"));
    }
    let key_columns: Vec<&str> =
        stream.key_columns().map(anabranch_engine::Column::field).collect();
    let mut packer = Packer::new(stream, defaults);
    let many = events.len() > 1;
    for (number, mut event) in events.into_iter().enumerate() {
        let packed =
            complete_key(stream, &key_columns, &mut event).and_then(|()| packer.push(&event));
        packed.map_err(|mut failure| {
            if many {
                failure.message = format!("event {number}: {}", failure.message);
            }
            failure
        })?;
    }
    packer.finish()
}

/// Takes a missing key from the value's fields where the stream declares which.
fn complete_key(
    stream: &Stream,
    key_columns: &[&str],
    event: &mut NewEvent<'_>,
) -> Result<(), Failure> {
    if event.key.is_some() {
        return Ok(());
    }
    match &event.value {
        Some(value) if !key_columns.is_empty() => {
            event.key = Some(Cow::Owned(key_from_fields(value, key_columns)?));
            Ok(())
        }
        _ if stream.mode == Mode::Upsert => Err(Failure::new(
            Code::Engine(ErrorKind::InvalidRecord),
            format!("stream {:?} is keyed: every event needs a key", stream.name),
        )
        .hint("give the event a key, or name the fields that make it with key_field")),
        _ => Ok(()),
    }
}

/// Fills batches; a batch that would exceed the stream's bound begins the next append.
struct Packer<'s> {
    stream: &'s Stream,
    defaults: Defaults,
    batch_bytes_max: usize,
    open: BTreeMap<PartitionIndex, (u32, BatchBuilder)>,
    appends: Vec<Vec<(PartitionIndex, BatchBuilder)>>,
    places: Vec<Place>,
}

impl<'s> Packer<'s> {
    fn new(stream: &'s Stream, defaults: Defaults) -> Self {
        let batch_bytes_max = (stream.options.batch_bytes_max as usize).min(BATCH_BYTES_MAX);
        let (open, appends, places) = (BTreeMap::new(), Vec::new(), Vec::new());
        Self { stream, defaults, batch_bytes_max, open, appends, places }
    }

    fn push(&mut self, event: &NewEvent<'_>) -> Result<(), Failure> {
        let partition = self.partition(event)?;
        let mut bytes = RECORD_OVERHEAD_BYTES;
        bytes += event.key.as_ref().map_or(0, |key| key.len());
        bytes += event.value.as_ref().map_or(0, |value| value.len());
        let mut headers: SmallVec<[(&[u8], Option<&[u8]>); 4]> = SmallVec::new();
        for (name, value) in &event.headers {
            headers.push((name, value.as_deref()));
            bytes += name.len() + value.as_ref().map_or(0, |value| value.len());
            bytes += HEADER_OVERHEAD_BYTES;
        }
        let (append, builder) = self.open.entry(partition).or_default();
        if bytes + HEADER_BYTES > self.batch_bytes_max {
            return Err(Failure::new(
                Code::Engine(ErrorKind::TooLarge),
                format!(
                    "the event takes {bytes} bytes, stream {:?} takes at most {} in a batch",
                    self.stream.name, self.batch_bytes_max
                ),
            )
            .hint("send less, or raise the stream's max.message.bytes"));
        }
        if builder.count() > 0 && builder.bytes() + bytes > self.batch_bytes_max {
            let full = std::mem::take(builder);
            at_least(&mut self.appends, *append)[*append as usize].push((partition, full));
            *append += 1;
        }
        let record = builder.count();
        self.places.push(Place { append: *append, partition, part: 0, record });
        let timestamp = event.timestamp.unwrap_or(self.defaults.now);
        builder.push(timestamp, event.key.as_deref(), event.value.as_deref(), &headers);
        Ok(())
    }

    fn partition(&self, event: &NewEvent<'_>) -> Result<PartitionIndex, Failure> {
        let count = self.stream.partitions.len() as i32;
        match (event.partition, event.key.as_deref()) {
            (Some(index), _) if (0..count).contains(&index.0) => Ok(index),
            (Some(index), _) => Err(Failure::not_found(format!(
                "stream {:?} has {count} partitions; there is no {index}",
                self.stream.name
            ))),
            (None, Some(key)) => Ok(partitioner::partition_of(key, count)),
            (None, None) => Ok(PartitionIndex((self.defaults.turn % count as u32) as i32)),
        }
    }

    fn finish(mut self) -> Result<Prepared, Failure> {
        for (partition, (append, builder)) in std::mem::take(&mut self.open) {
            at_least(&mut self.appends, append)[append as usize].push((partition, builder));
        }
        let keyed = self.stream.mode == Mode::Upsert;
        let options = ValidateOptions { keys_required: keyed, hash_keys: keyed };
        let (mut appends, mut bytes) = (Vec::with_capacity(self.appends.len()), 0);
        let mut parts_of = Vec::with_capacity(self.appends.len());
        for builders in self.appends {
            let mut parts = SmallVec::with_capacity(builders.len());
            let mut numbers = BTreeMap::new();
            for (index, builder) in builders {
                let id = self
                    .stream
                    .partition(index)
                    .ok_or_else(|| Failure::not_found(format!("there is no partition {index}")))?;
                let bug = |error: &dyn std::fmt::Display| {
                    Failure::new(Code::Engine(ErrorKind::Internal), error.to_string())
                };
                let batch = builder.build().map_err(|error| bug(&error))?.freeze();
                let passed = validate(&batch, options, key_hash, &mut Vec::new())
                    .map_err(|error| bug(&error))?;
                bytes += batch.len();
                numbers.insert(index, parts.len() as u32);
                parts.push(Part::new(id, batch, passed));
            }
            let atomicity = Atomicity::AllParts;
            appends.push(Append { parts, atomicity, preconditions: None });
            parts_of.push(numbers);
        }
        for place in &mut self.places {
            place.part = parts_of[place.append as usize][&place.partition];
        }
        let pending = Pending { places: self.places, appends_count: appends.len() };
        Ok(Prepared { appends, bytes, is_keyed: keyed, pending })
    }
}

fn at_least<T: Default>(list: &mut Vec<T>, at: u32) -> &mut Vec<T> {
    if list.len() <= at as usize {
        list.resize_with(at as usize + 1, T::default);
    }
    list
}

impl Pending {
    /// How many of a submission's results are ours.
    pub(crate) fn appends_count(&self) -> usize {
        self.appends_count
    }

    /// What to answer, from the results of the appends in order.
    ///
    /// # Errors
    /// The first append that failed; what was appended all the same stands in the failure.
    pub(crate) fn answer(&self, results: &[AppendResult]) -> Result<Acknowledged, Failure> {
        let mut acknowledged = Acknowledged::default();
        let mut failed = None;
        for place in &self.places {
            let result = results
                .get(place.append as usize)
                .and_then(|result| result.get(place.part as usize));
            acknowledged.places.push(match result {
                Some(Ok(appended)) => {
                    acknowledged.round = acknowledged.round.max(appended.round);
                    let Offset(base) = appended.base_offset;
                    Some((place.partition, Offset(base + i64::from(place.record))))
                }
                Some(Err(error)) => {
                    failed.get_or_insert_with(|| error.clone().into());
                    None
                }
                None => {
                    failed.get_or_insert_with(unanswered);
                    None
                }
            });
        }
        let Some(failed) = failed else {
            return Ok(acknowledged);
        };
        let mut failure = Failure::from(failed);
        if acknowledged.places.iter().any(Option::is_some) {
            failure.partly = Some(Box::new(acknowledged));
        }
        Err(failure)
    }
}

fn unanswered() -> anabranch_engine::Error {
    anabranch_engine::Error::new(
        ErrorKind::Unavailable,
        "the broker stopped before the append was answered: it may or may not have happened",
    )
}

/// Appends, and waits until the events are durable and visible.
///
/// # Errors
/// See [`Pending::answer`].
pub(crate) async fn publish(engine: &Session, prepared: Prepared) -> Result<Acknowledged, Failure> {
    let reserved = reserve(engine, prepared.bytes, prepared.is_keyed).await;
    let (answer, answered) = oneshot::channel();
    engine.submit(Submission {
        appends: prepared.appends,
        // The request may have been given up: then nobody waits for the answer.
        reply: Box::new(move |results| _ = answer.send(results)),
    });
    let results = answered.await.unwrap_or_default();
    drop(reserved);
    prepared.pending.answer(&results)
}

/// Room in the engine for `bytes` of appends; tables that are far behind hold up what they are
/// to follow.
pub(crate) async fn reserve(
    engine: &Session,
    bytes: usize,
    is_keyed: bool,
) -> anabranch_engine::Reserved {
    if is_keyed && engine.table_is_behind() {
        engine.table_room().await;
    }
    engine.reserve(bytes).await
}
