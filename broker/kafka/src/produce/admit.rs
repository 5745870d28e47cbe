//! From a produce request to appends: names looked up, batches validated. Runs on the
//! connection's task, so that the commit thread never sees a bad batch.

use super::{Joining, ProduceHead, TopicRef, Visitor};
use crate::apis::PRODUCE_FLEXIBLE_FROM;
use crate::errors;
use crate::limits::FRAME_BYTES_OWN;
use anabranch_engine::{
    Append, Atomicity, Catalog, Guarded, Mode, Part, ResourceKind, Stream, StreamOptions,
    Timestamps, key_hash,
};
use anabranch_types::batch::{self, BatchError, Compression, RecordFault, ValidateOptions};
use anabranch_types::{PartitionIndex, StreamId, Timestamp};
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::error::ResponseError;
use std::borrow::Cow;
use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// Decompressed batches are walked here; kept small between uses.
const SCRATCH_BYTES_KEPT: usize = 1 << 20;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Why a partition's batch was refused before it came to the commit loop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Kafka's code.
    pub(crate) error: ResponseError,
    /// What is wrong and what to do.
    pub(crate) message: Cow<'static, str>,
    /// The records that are to blame, by their numbers in the batch (KIP-467): clients then send
    /// the others again.
    pub(crate) records: Vec<i32>,
}

impl From<errors::Fault> for Fault {
    fn from(fault: errors::Fault) -> Self {
        Self { error: fault.error, message: fault.message, records: Vec::new() }
    }
}

/// The time of a record that has none.
const NO_TIME: i64 = -1;
/// First version whose clients may compress with zstd (KIP-110).
const ZSTD_FROM: i16 = 7;

/// A request whose batches are with the commit loop: all that its response needs.
#[derive(Debug)]
pub(crate) struct Admitted {
    /// Comes back with the response.
    pub(crate) correlation: i32,
    /// Of the request and its response.
    pub(crate) version: i16,
    /// Whether the client wants a response (acks is not 0).
    pub(crate) answered: bool,
    /// The request, to be walked again; large batches are not in it any more.
    pub(crate) body: Bytes,
    /// Partitions that were refused, by their place in the request, in order.
    pub(crate) faults: Vec<(usize, Fault)>,
    /// Whether an append was made of the others.
    pub(crate) appended: bool,
    /// What is to be part of the producer's transaction.
    pub(crate) joining: Option<Box<Joining>>,
    /// For how long its client is to wait, if it is beyond its quota.
    pub(crate) throttle: Option<Duration>,
}

/// Whether the client may write to a topic, or under a transactional id.
pub(crate) type MayWrite<'a> = &'a dyn Fn(Guarded<'_>) -> Result<(), ResponseError>;

/// Builds the append of one request.
pub(crate) struct Admission<'a> {
    may_write: MayWrite<'a>,
    catalog: &'a Catalog,
    body: &'a Bytes,
    version: i16,
    now: Timestamp,
    head: ProduceHead,
    topic: Result<&'a Arc<Stream>, Fault>,
    next: usize,
    append: Append,
    /// The fields of large batches that belong to the append.
    large: Vec<Range<usize>>,
    faults: Vec<(usize, Fault)>,
    joining: Option<Box<Joining>>,
}

impl<'a> Admission<'a> {
    /// For the request `body`; names mean what they mean in `catalog`, which has all streams.
    pub(crate) fn new(
        may_write: MayWrite<'a>,
        catalog: &'a Catalog,
        body: &'a Bytes,
        version: i16,
        now: Timestamp,
    ) -> Self {
        Self {
            may_write,
            catalog,
            body,
            version,
            now,
            head: ProduceHead { transactional: None, acks: 0, topics: 0 },
            topic: Err(unknown_topic()),
            next: 0,
            append: Append {
                parts: Default::default(),
                atomicity: Atomicity::EachPart,
                preconditions: None,
            },
            large: Vec::new(),
            faults: Vec::new(),
            joining: None,
        }
    }

    /// What came of the walk: the append, unless every batch was refused.
    pub(crate) fn finish(self, correlation: i32) -> (Admitted, Option<Append>) {
        let version = self.version;
        let append = (!self.append.parts.is_empty()).then_some(self.append);
        let body = if self.large.is_empty() {
            self.body.clone()
        } else {
            without(self.body, &self.large, version >= PRODUCE_FLEXIBLE_FROM)
        };
        let admitted = Admitted {
            correlation,
            version,
            answered: self.head.acks != 0,
            body,
            faults: self.faults,
            appended: append.is_some(),
            joining: self.joining,
            throttle: None,
        };
        (admitted, append)
    }

    fn part(&self, index: i32, records: Option<Range<usize>>) -> Result<Part, Fault> {
        if !(-1..=1).contains(&self.head.acks) {
            return Err(fault(ResponseError::InvalidRequiredAcks, "acks must be 0, 1 or all (-1)"));
        }
        let stream = self.topic.as_ref().map_err(Clone::clone)?;
        let partition =
            stream.partition(PartitionIndex(index)).ok_or_else(|| unknown_partition(stream))?;
        let records = records.filter(|records| !records.is_empty()).ok_or_else(|| {
            fault(
                ResponseError::InvalidRecord,
                "a produce request holds exactly one record batch a partition",
            )
        })?;
        let options = &stream.options;
        if records.len() > options.batch_bytes_max as usize {
            let message = format!(
                "the batch has {} bytes, the topic takes {}: send less at a time, or raise \
                 max.message.bytes",
                records.len(),
                options.batch_bytes_max,
            );
            return Err(fault(ResponseError::MessageTooLarge, message));
        }
        let keyed = stream.mode == Mode::Upsert;
        let validate = ValidateOptions { keys_required: keyed, hash_keys: keyed };
        let passed = SCRATCH.with_borrow_mut(|scratch| {
            let bytes = &self.body[records.clone()];
            let passed = batch::validate(bytes, validate, key_hash, scratch);
            if scratch.capacity() > SCRATCH_BYTES_KEPT {
                *scratch = Vec::new();
            }
            passed
        });
        let passed = passed.map_err(refused)?;
        self.check_version(&passed)?;
        if options.timestamps == Timestamps::Producer {
            self.check_times(options, &self.body[records.clone()], &passed)?;
        }
        Ok(Part::new(partition, self.body.slice(records), passed))
    }

    /// What a client may send only in requests of some versions.
    fn check_version(&self, passed: &batch::ProducedBatch) -> Result<(), Fault> {
        let header = &passed.header;
        if self.version < ZSTD_FROM && header.compression() == Ok(Compression::Zstd) {
            return Err(fault(
                ResponseError::UnsupportedCompressionType,
                "zstd needs version 7 of produce requests (Kafka 2.1)",
            ));
        }
        if header.is_transactional() {
            let kind = ResourceKind::TransactionalId;
            let may = |(start, end): (usize, usize)| {
                let name = std::str::from_utf8(&self.body[start..end]).unwrap_or_default();
                (self.may_write)(Guarded { kind, name }).is_ok()
            };
            if !self.head.transactional.is_some_and(may) {
                return Err(fault(
                    ResponseError::TransactionalIdAuthorizationFailed,
                    "a transactional batch needs the transactional id in its request, and leave to \
                     write under it",
                ));
            }
        }
        Ok(())
    }

    /// `message.timestamp.{before,after}.max.ms` (KIP-937): says which records are to blame, as
    /// KIP-467 asks for. Records are walked once more only where one may be.
    fn check_times(
        &self,
        options: &StreamOptions,
        bytes: &[u8],
        passed: &batch::ProducedBatch,
    ) -> Result<(), Fault> {
        let earliest = self.now.0.saturating_sub(options.time_before_ms_max);
        let latest = self.now.0.saturating_add(options.time_after_ms_max);
        if passed.max_timestamp.0 <= latest && options.time_before_ms_max == i64::MAX {
            return Ok(());
        }
        let is_outside = |time: i64| time != NO_TIME && !(earliest..=latest).contains(&time);
        let records = SCRATCH.with_borrow_mut(|scratch| {
            let records = batch::decode_records(&passed.header, bytes, scratch)?;
            let mut outside = Vec::new();
            for (number, record) in (0..).zip(records) {
                if is_outside(record?.timestamp.0) {
                    outside.push(number);
                }
            }
            Ok::<Vec<i32>, BatchError>(outside)
        });
        let records = records.map_err(|error| refused(RecordFault::Corrupt(error)))?;
        if records.is_empty() {
            return Ok(());
        }
        let message = format!(
            "times up to {} are outside of what the topic takes, {earliest} to {latest}: correct \
             the clock, or message.timestamp.before.max.ms and message.timestamp.after.max.ms",
            passed.max_timestamp,
        );
        Err(Fault { error: ResponseError::InvalidTimestamp, message: message.into(), records })
    }
}

impl Visitor for Admission<'_> {
    fn head(&mut self, head: ProduceHead) {
        self.head = head;
    }

    fn topic(&mut self, topic: TopicRef<'_>, _partitions: usize) {
        let may = |name: &str| {
            let denial = |error| fault(error, "the topic may not be written to: it needs a grant");
            (self.may_write)(Guarded { kind: ResourceKind::Topic, name }).map_err(denial)
        };
        self.topic = match topic {
            TopicRef::Name(name) => match std::str::from_utf8(name) {
                Ok(name) => {
                    may(name).and_then(|()| self.catalog.by_name(name).ok_or_else(unknown_topic))
                }
                Err(_) => Err(unknown_topic()),
            },
            TopicRef::Id(id) => match self.catalog.by_id(StreamId(id)) {
                Some(stream) => may(&stream.name).map(|()| stream),
                None => Err(fault(
                    ResponseError::UnknownTopicId,
                    "no topic has this id: ask for metadata anew",
                )),
            },
        };
        if self.topic.as_ref().is_ok_and(|stream| stream.is_internal()) {
            self.topic = Err(fault(
                ResponseError::InvalidTopicException,
                "the topic is the broker's own: choose a name that does not start with __",
            ));
        }
    }

    fn partition(&mut self, index: i32, field: usize, records: Option<Range<usize>>) {
        match self.part(index, records.clone()) {
            Ok(part) => {
                if part.batch.len() >= FRAME_BYTES_OWN {
                    self.large.extend(records.map(|records| field..records.end));
                }
                if let Some((start, end)) = self.head.transactional
                    && part.header.is_transactional()
                {
                    let id = &self.body[start..end];
                    let joining = self.joining.get_or_insert_with(|| Box::new(Joining::new(id)));
                    joining.parts.push((self.next, self.append.parts.len()));
                }
                self.append.parts.push(part);
            }
            Err(fault) => self.faults.push((self.next, fault)),
        }
        self.next += 1;
    }

    fn topic_end(&mut self) {}
}

/// The request with null in some fields: who waits for the answer is not to keep batches in
/// memory, and the log takes over a batch that nobody else holds.
pub(super) fn without(body: &[u8], fields: &[Range<usize>], flexible: bool) -> Bytes {
    let mut out = BytesMut::new();
    let mut at = 0;
    for field in fields {
        out.put_slice(&body[at..field.start]);
        if flexible {
            out.put_u8(0);
        } else {
            out.put_i32(-1);
        }
        at = field.end;
    }
    out.put_slice(&body[at..]);
    out.freeze()
}

fn fault(error: ResponseError, message: impl Into<Cow<'static, str>>) -> Fault {
    Fault { error, message: message.into(), records: Vec::new() }
}

fn unknown_topic() -> Fault {
    fault(
        ResponseError::UnknownTopicOrPartition,
        "there is no such topic: create it, or ask for metadata that may create it",
    )
}

fn unknown_partition(stream: &Stream) -> Fault {
    let message = format!("the topic has {} partitions", stream.partitions.len());
    fault(ResponseError::UnknownTopicOrPartition, message)
}

fn refused(refusal: RecordFault) -> Fault {
    match refusal {
        // Only these can be the network's doing, and be well the next time.
        RecordFault::Corrupt(error @ (BatchError::Checksum { .. } | BatchError::Magic(3..))) => {
            fault(ResponseError::CorruptMessage, error.to_string())
        }
        RecordFault::Corrupt(error) => fault(ResponseError::InvalidRecord, error.to_string()),
        RecordFault::Invalid(message) => fault(ResponseError::InvalidRecord, message),
        RecordFault::Records { numbers, message } => Fault {
            error: ResponseError::InvalidRecord,
            message: message.into(),
            records: numbers.into_iter().filter_map(|number| i32::try_from(number).ok()).collect(),
        },
    }
}
