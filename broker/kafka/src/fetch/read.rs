//! Reading for a fetch: waits until there is enough, then gathers whole batches.

use super::{FetchPartition, FetchRequest, TOPIC_IDS_FROM};
use crate::door::Shared;
use crate::errors::{Fault, denied};
use crate::limits::{FETCH_BYTES_MAX, FETCH_WAIT_MS_MAX};
use anabranch_engine::{
    Catalog, Chunk, Interest, Operation, PartitionLog, Session, StreamId, Until,
};
use anabranch_types::{Offset, PartitionIndex, ProducerId};
use kafka_protocol::error::ResponseError;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// First version whose clients know zstd (KIP-110).
const ZSTD_FROM: i16 = 10;

/// Records behind the end that are read on the spot: so near, they are in memory.
const NEAR_RECORDS: i64 = 10_000;

/// What is sent for one partition.
#[derive(Debug)]
pub(crate) struct Gathered {
    pub(crate) fault: Option<Fault>,
    pub(crate) high_watermark: Offset,
    pub(crate) last_stable: Offset,
    pub(crate) log_start: Offset,
    pub(crate) chunks: Vec<Chunk>,
    /// Transactions whose records among the chunks do not count: whose, and from which offset on.
    pub(crate) aborted: Vec<(ProducerId, Offset)>,
}

impl Gathered {
    /// Record bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.bytes.len()).sum()
    }

    fn fault(error: ResponseError, message: &'static str) -> Self {
        Self {
            fault: Some(Fault::new(error, message)),
            high_watermark: Offset(-1),
            last_stable: Offset(-1),
            log_start: Offset(-1),
            chunks: Vec::new(),
            aborted: Vec::new(),
        }
    }
}

/// A partition to read, or why not.
enum Source {
    Log(Arc<PartitionLog>),
    Refused(ResponseError, &'static str),
}

/// Answers `request` as soon as it has `min_bytes`, an error, or waited long enough. There is
/// one item for each of the request's partitions. The bytes count against `budget` until the
/// permit is dropped; none are held while it waits.
pub(crate) async fn gather(
    shared: &Shared,
    budget: &Arc<Semaphore>,
    request: &FetchRequest,
    version: i16,
) -> (Vec<Gathered>, OwnedSemaphorePermit) {
    let wait_ms = u64::try_from(request.max_wait_ms).unwrap_or(0).min(FETCH_WAIT_MS_MAX);
    let deadline = Instant::now() + Duration::from_millis(wait_ms);
    let engine = &shared.engine;
    let mut access = engine.access_version();
    let mut sources = sources(shared, request, version);
    let most = usize::try_from(request.max_bytes).unwrap_or(0).min(FETCH_BYTES_MAX);
    // A bound that the request itself makes unreachable would only ever wait for the deadline.
    let enough = usize::try_from(request.min_bytes).unwrap_or(0).min(most);
    // Only who has to wait says so beforehand; a consumer that is behind never does.
    let mut interest = None;
    loop {
        let budget = Arc::clone(budget);
        let mut share =
            budget.acquire_many_owned(kib(most)).await.expect("the budget is never closed");
        let gathered = read_all(&sources, request, most).await;
        let bytes: usize = gathered.iter().map(Gathered::bytes).sum();
        let unused = share.num_permits().saturating_sub(kib(bytes) as usize);
        drop(share.split(unused));
        let faulty = gathered.iter().any(|partition| partition.fault.is_some());
        if bytes >= enough || faulty || wait_ms == 0 || sources.is_empty() {
            return (gathered, share);
        }
        match &mut interest {
            // Registered first and then read once more, so that nothing slips in between.
            None => interest = Some(watch(engine, &sources)),
            Some(interest) => {
                if Instant::now() >= deadline {
                    return (gathered, share);
                }
                drop((gathered, share));
                // Whether it changed or the time is up: what is there is read once more.
                let _ = timeout_at(deadline, interest.changed()).await;
                // A grant that was revoked meanwhile gives nothing more.
                if access != engine.access_version() {
                    access = engine.access_version();
                    sources = self::sources(shared, request, version);
                }
            }
        }
    }
}

/// Watches the partitions themselves, so that one that was deleted a moment ago wakes too.
fn watch(engine: &Session, sources: &[Source]) -> Interest {
    let interest = engine.interest(&[]);
    for source in sources {
        if let Source::Log(log) = source {
            interest.add(log);
        }
    }
    interest
}

fn sources(shared: &Shared, request: &FetchRequest, version: i16) -> Vec<Source> {
    // All streams: whether one may be read is asked when it is known.
    let catalog = shared.own.catalog();
    let wanted = request.partitions.iter();
    wanted.map(|wanted| source(&shared.engine, &catalog, request, wanted, version)).collect()
}

fn source(
    engine: &Session,
    catalog: &Catalog,
    request: &FetchRequest,
    wanted: &FetchPartition,
    version: i16,
) -> Source {
    let epoch = engine.leader_epoch().0;
    let topic = &request.topics[wanted.topic];
    let stream = if version >= TOPIC_IDS_FROM {
        catalog.by_id(StreamId(topic.id))
    } else {
        catalog.by_name(&topic.name)
    };
    let name = match stream {
        Some(stream) => Some(&stream.name),
        None => (version < TOPIC_IDS_FROM).then_some(&topic.name),
    };
    if let Some(Err(error)) = name.map(|name| engine.check_stream_access(Operation::Read, name)) {
        return Source::Refused(denied(error), "the topic may not be read: it needs a grant");
    }
    let Some(stream) = stream.filter(|stream| !stream.is_internal()) else {
        return if version >= TOPIC_IDS_FROM {
            Source::Refused(ResponseError::UnknownTopicId, "no topic has this id")
        } else {
            Source::Refused(ResponseError::UnknownTopicOrPartition, "there is no such topic")
        };
    };
    let log = stream
        .partition(PartitionIndex(wanted.index))
        .and_then(|partition| engine.partition(partition));
    let Some(log) = log else {
        let unknown = ResponseError::UnknownTopicOrPartition;
        return Source::Refused(unknown, "there is no such partition");
    };
    // As Kafka does, the topic's setting decides alone: what producers compressed with zstd in
    // other topics is sent as it is, and some clients of old versions can read it.
    if version < ZSTD_FROM && stream.settings.get("compression.type").is_some_and(|is| is == "zstd")
    {
        let error = ResponseError::UnsupportedCompressionType;
        return Source::Refused(error, "zstd needs version 10 of fetch requests (Kafka 2.1)");
    }
    // KIP-320: a client with old or too new metadata is told so.
    match wanted.leader_epoch {
        -1 => Source::Log(log),
        asked if asked < epoch => {
            Source::Refused(ResponseError::FencedLeaderEpoch, "the leader epoch is old")
        }
        asked if asked > epoch => {
            Source::Refused(ResponseError::UnknownLeaderEpoch, "the leader epoch is unknown")
        }
        _ => Source::Log(log),
    }
}

async fn read_all(sources: &[Source], request: &FetchRequest, most: usize) -> Vec<Gathered> {
    let mut gathered = Vec::with_capacity(sources.len());
    let mut left = most;
    let mut first = true;
    for (source, wanted) in sources.iter().zip(&request.partitions) {
        let partition = match source {
            Source::Refused(error, message) => Gathered::fault(*error, message),
            Source::Log(log) if log.is_deleted() => {
                let unknown = ResponseError::UnknownTopicOrPartition;
                Gathered::fault(unknown, "the topic was deleted")
            }
            Source::Log(log) => {
                let of_partition = usize::try_from(wanted.max_bytes).unwrap_or(0);
                let most = of_partition.min(left);
                let committed = request.read_committed;
                read_one(log, Offset(wanted.offset), most, first, committed).await
            }
        };
        let bytes = partition.bytes();
        left = left.saturating_sub(bytes);
        first &= bytes == 0;
        gathered.push(partition);
    }
    gathered
}

/// Reads from one partition. The log gives at least one batch; one beyond `most` is only sent
/// as the first of the response, so that a large batch cannot stop a consumer (KIP-74).
async fn read_one(
    log: &Arc<PartitionLog>,
    from: Offset,
    most: usize,
    first: bool,
    committed: bool,
) -> Gathered {
    // The high watermark is taken before reading, and what is read may go a little beyond it.
    let mut gathered = Gathered {
        fault: None,
        high_watermark: log.high_watermark(),
        last_stable: log.last_stable(),
        log_start: log.log_start(),
        chunks: Vec::new(),
        aborted: Vec::new(),
    };
    let until = if committed { Until::Stable } else { Until::Published };
    let behind = gathered.high_watermark.0.saturating_sub(from.0);
    if behind == 0 || (behind > 0 && from >= gathered.log_start && most == 0 && !first) {
        return gathered;
    }
    let result = if behind < NEAR_RECORDS {
        log.read(from, most, until)
    } else {
        let log = Arc::clone(log);
        let read = move || log.read(from, most, until);
        match tokio::task::spawn_blocking(read).await {
            Ok(result) => result,
            Err(error) => {
                tracing::error!(%error, "a read was broken off");
                let error = ResponseError::UnknownServerError;
                gathered.fault = Some(Fault::new(error, "the read was broken off"));
                return gathered;
            }
        }
    };
    match result {
        Ok(chunks) => {
            gathered.chunks = chunks;
            gathered.last_stable = log.last_stable();
            gathered.high_watermark = log.high_watermark();
            if !first && gathered.bytes() > most {
                gathered.chunks.clear();
            }
            if let Some(last) = gathered.chunks.last().filter(|_| committed) {
                let aborted = log.aborted_within(from, last.next_offset).into_iter();
                gathered.aborted = aborted.map(|one| (one.producer, one.first)).collect();
            }
        }
        Err(error) => gathered.fault = Some(Fault::read(error)),
    }
    gathered
}

/// Bytes as the budget counts them.
fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}
