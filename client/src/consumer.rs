//! Consuming assigned partitions: one fetch in flight a leader, the next on its way while the
//! last is looked at. Groups are left to the stock clients.

use crate::cluster::RETRY_PAUSE;
use crate::connection::CallBounds;
use crate::messages::{FETCH, fetch};
use crate::{BrokerId, Client, Error, OffsetAt, error, limits};
use anabranch_types::batch::{self, BatchHeader, Record};
use anabranch_types::{Offset, PartitionIndex};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

/// Where to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsumeFrom {
    /// At the first record that is still there.
    Beginning,
    /// With what is produced from now on.
    End,
    /// At these offsets, in these partitions only.
    Offsets(Vec<(PartitionIndex, Offset)>),
}

/// How to consume.
#[derive(Debug, Clone)]
pub struct ConsumerConfig {
    /// Where to start.
    pub from: ConsumeFrom,
    /// Which partitions; `None` is all of them. Not looked at with [`ConsumeFrom::Offsets`].
    pub partitions: Option<Vec<PartitionIndex>>,
    /// How long the broker may wait for `bytes_min`.
    pub wait_max: Duration,
    /// The broker answers when it has so many bytes, or after `wait_max`.
    pub bytes_min: i32,
    /// Bytes of one answer; the broker exceeds it for the first batch only.
    pub bytes_max: i32,
    /// Bytes of one partition in one answer.
    pub partition_bytes_max: i32,
    /// Pieces that wait for [`Consumer::next`] at most.
    pub pieces_ahead_max: usize,
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        Self {
            from: ConsumeFrom::Beginning,
            partitions: None,
            wait_max: Duration::from_millis(500),
            bytes_min: 1,
            bytes_max: 8 << 20,
            partition_bytes_max: 1 << 20,
            pieces_ahead_max: 16,
        }
    }
}

/// Record batches of one partition, as they are in the broker's log.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The partition.
    pub partition: PartitionIndex,
    /// The offset after the last record that could be read there.
    pub high_watermark: Offset,
    /// The first offset that was asked for: batches can begin before it.
    pub from: Offset,
    /// The offset after the last batch.
    pub next: Offset,
    /// The batches, whole, checksums verified.
    pub batches: Bytes,
}

impl Fetched {
    /// Shows each record from `self.from` on; `scratch` is room for decompression.
    ///
    /// # Errors
    /// When a batch cannot be decompressed or its framing is broken.
    pub fn for_each(
        &self,
        scratch: &mut Vec<u8>,
        mut each: impl FnMut(&Record<'_>),
    ) -> Result<(), Error> {
        for found in batch::batches(&self.batches) {
            let (header, bytes) = found?;
            if header.is_control() {
                continue;
            }
            for record in batch::decode_records(&header, bytes, scratch)? {
                let record = record?;
                if record.offset >= self.from {
                    each(&record);
                }
            }
        }
        Ok(())
    }
}

/// Consumes partitions of one topic; dropping it ends that.
#[derive(Debug)]
pub struct Consumer {
    pieces: mpsc::Receiver<Result<Fetched, Error>>,
    task: AbortHandle,
}

type Positions = Vec<(PartitionIndex, Offset)>;

impl Consumer {
    pub(crate) async fn start(
        client: Client,
        topic: &str,
        config: ConsumerConfig,
    ) -> Result<Self, Error> {
        if config.pieces_ahead_max == 0 {
            return Err(Error::Config("`pieces_ahead_max` is at least 1"));
        }
        if config.bytes_max < 1 || config.partition_bytes_max < 1 {
            return Err(Error::Config("`bytes_max` and `partition_bytes_max` are at least 1"));
        }
        client.topic(topic).await?;
        let positions = start_positions(&client, topic, &config).await?;
        let (send, pieces) = mpsc::channel(config.pieces_ahead_max);
        let fetcher = Arc::new(Fetcher { client, topic: topic.to_owned(), config, send });
        let task = tokio::spawn(fetcher.run(positions)).abort_handle();
        Ok(Self { pieces, task })
    }

    /// The next batches of any partition, in order within each.
    ///
    /// # Errors
    /// What the broker refused, such as an offset that is no longer there (code 1), or an answer
    /// that makes no sense. Broken connections are opened again without a word but in the log.
    pub async fn next(&mut self) -> Result<Fetched, Error> {
        self.pieces.recv().await.unwrap_or(Err(Error::Stopped))
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn start_positions(
    client: &Client,
    topic: &str,
    config: &ConsumerConfig,
) -> Result<Positions, Error> {
    let at = match &config.from {
        ConsumeFrom::Offsets(offsets) => return Ok(offsets.clone()),
        ConsumeFrom::Beginning => OffsetAt::Beginning,
        ConsumeFrom::End => OffsetAt::End,
    };
    let all = client.admin().offsets(topic, at).await?;
    let wanted = |partition: &PartitionIndex| {
        config.partitions.as_ref().is_none_or(|wanted| wanted.contains(partition))
    };
    let positions: Positions = all
        .iter()
        .filter(|(partition, _)| wanted(partition))
        .map(|(partition, offset)| (*partition, offset.unwrap_or_default()))
        .collect();
    if let Some(missing) = config.partitions.as_ref().and_then(|wanted| {
        wanted.iter().find(|wanted| !positions.iter().any(|(found, _)| found == *wanted))
    }) {
        return Err(Error::NoPartition {
            topic: topic.to_owned(),
            partition: missing.0,
            partitions: all.len() as i32,
        });
    }
    Ok(positions)
}

struct Fetcher {
    client: Client,
    topic: String,
    config: ConsumerConfig,
    send: mpsc::Sender<Result<Fetched, Error>>,
}

/// Why the loop of one leader ended, and how far it came.
struct Ended {
    positions: Positions,
    error: Error,
}

impl Fetcher {
    /// One loop a leader; partitions whose loop ended are looked up and followed again.
    async fn run(self: Arc<Self>, positions: Positions) {
        let mut loops = JoinSet::new();
        let mut homeless = positions;
        loop {
            if !homeless.is_empty() {
                match self.by_leader(&homeless).await {
                    Ok(leaders) => {
                        for (leader, positions) in leaders {
                            loops.spawn(Arc::clone(&self).follow(leader, positions));
                        }
                        homeless.clear();
                    }
                    Err(error) if error.is_retriable() => {
                        tracing::warn!(topic = self.topic, %error, "consuming waits");
                        tokio::time::sleep(RETRY_PAUSE).await;
                        continue;
                    }
                    Err(error) => return self.give_up(error).await,
                }
            }
            match loops.join_next().await {
                None => return,
                Some(Ok(ended)) if ended.error.is_retriable() => {
                    tracing::warn!(topic = self.topic, error = %ended.error, "consuming again");
                    homeless = ended.positions;
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
                Some(Ok(ended)) => return self.give_up(ended.error).await,
                Some(Err(panic)) => {
                    tracing::error!(%panic, "a fetch loop failed");
                    return self.give_up(Error::Stopped).await;
                }
            }
        }
    }

    async fn give_up(&self, error: Error) {
        // Nobody listens where the consumer was dropped.
        let _ = self.send.send(Err(error)).await;
    }

    async fn by_leader(
        &self,
        positions: &Positions,
    ) -> Result<BTreeMap<BrokerId, Positions>, Error> {
        let metadata = self.client.refresh(&self.topic).await?;
        let mut leaders: BTreeMap<_, Positions> = BTreeMap::new();
        for &(partition, offset) in positions {
            let found = usize::try_from(partition.0)
                .ok()
                .and_then(|at| metadata.partitions.get(at))
                .ok_or_else(|| Error::NoPartition {
                    topic: self.topic.clone(),
                    partition: partition.0,
                    partitions: metadata.partitions.len() as i32,
                })?;
            let leader = found.leader.ok_or_else(|| {
                let what = format!("fetching from topic {}", self.topic);
                Error::refused(what, error::LEADER_NOT_AVAILABLE, None)
            })?;
            leaders.entry(leader).or_default().push((partition, offset));
        }
        Ok(leaders)
    }

    async fn follow(self: Arc<Self>, leader: BrokerId, mut positions: Positions) -> Ended {
        match self.fetch_from(leader, &mut positions).await {
            Ok(()) => Ended { positions, error: Error::Stopped },
            Err(error) => Ended { positions, error },
        }
    }

    /// Fetches until something fails, or nobody listens any more.
    async fn fetch_from(&self, leader: BrokerId, positions: &mut Positions) -> Result<(), Error> {
        let mut connection = self.client.open(leader).await?;
        let config = &self.config;
        let bounds = CallBounds {
            bytes_max: config.bytes_max as usize + limits::FETCH_SLACK_BYTES,
            wait: config.wait_max,
        };
        loop {
            let request = fetch::Request {
                wait_ms_max: i32::try_from(config.wait_max.as_millis()).unwrap_or(i32::MAX),
                bytes_min: config.bytes_min,
                bytes_max: config.bytes_max,
                partition_bytes_max: config.partition_bytes_max,
                topic: &self.topic,
                partitions: positions,
            };
            let (body, version) = connection
                .call_within(FETCH, bounds, |out, version| fetch::put(out, version, request))
                .await?;
            for part in fetch::read(&body, version, &self.topic)? {
                if part.code != 0 {
                    let what = format!("fetching from {} / {}", self.topic, part.partition);
                    return Err(Error::refused(what, part.code, None));
                }
                let position = positions
                    .iter_mut()
                    .find(|(partition, _)| *partition == part.partition)
                    .ok_or(Error::Malformed("it has a partition that was not asked for"))?;
                let Some(fetched) = take_batches(&body, &part, position.1)? else { continue };
                position.1 = fetched.next;
                if self.send.send(Ok(fetched)).await.is_err() {
                    return Ok(());
                }
            }
            // The broker fills partitions in the order asked for: give the others their turn.
            positions.rotate_left(1);
        }
    }
}

/// The whole batches of a part, checked; `None` where there are none.
fn take_batches(body: &Bytes, part: &fetch::Part, from: Offset) -> Result<Option<Fetched>, Error> {
    let bytes = &body[part.records.clone()];
    let mut taken = 0;
    let mut next = from;
    for found in batch::batches(bytes) {
        let (header, batch): (BatchHeader, &[u8]) = found?;
        header.check_crc(batch)?;
        if header.next_offset() <= next {
            return Err(Error::Malformed("a batch is older than what was asked for"));
        }
        next = header.next_offset();
        taken += header.bytes;
    }
    if taken == 0 {
        if !bytes.is_empty() {
            return Err(Error::Malformed("a batch is larger than the answer it is in"));
        }
        return Ok(None);
    }
    let start = part.records.start;
    Ok(Some(Fetched {
        partition: part.partition,
        high_watermark: part.high_watermark,
        from,
        next,
        batches: body.slice(start..start + taken),
    }))
}
