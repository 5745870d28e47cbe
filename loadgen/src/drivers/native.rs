//! The project's own client.

use super::Sink;
use crate::args::{AcksArg, Codec, ProduceArgs};
use crate::error::Error;
use crate::measure::Meter;
use anabranch_client::{
    Acks, Client, Delivered, Deliveries, Producer, ProducerConfig, Record, Refused, Topic,
};
use anabranch_types::Timestamp;
use anabranch_types::batch::Compression;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// Room for frames beside the events of a closed loop.
const FRAME_BYTES: usize = 512;

/// How the client produces with these arguments.
pub(crate) fn config(args: &ProduceArgs, size: usize, is_open_loop: bool) -> ProducerConfig {
    let in_flight = args.in_flight();
    let buffer_bytes = if args.is_one_event_a_request() {
        args.buffer_bytes.max(2 * in_flight * (size + FRAME_BYTES))
    } else {
        args.buffer_bytes
    };
    ProducerConfig {
        acks: match args.acks {
            AcksArg::None => Acks::None,
            AcksArg::Leader => Acks::Leader,
            AcksArg::All => Acks::All,
        },
        idempotent: args.idempotent,
        linger: Duration::from_millis(args.linger_ms(is_open_loop)),
        batch_bytes: args.batch_bytes,
        batch_records_max: args.batch.unwrap_or(usize::MAX),
        buffer_bytes,
        requests_in_flight_max: in_flight,
        compression: match args.compression {
            Codec::None => Compression::None,
            Codec::Gzip => Compression::Gzip,
            Codec::Snappy => Compression::Snappy,
            Codec::Lz4 => Compression::Lz4,
            Codec::Zstd => Compression::Zstd,
        },
        ..ProducerConfig::default()
    }
}

/// Counts deliveries.
pub(crate) struct Counting {
    pub(crate) meter: Arc<Meter>,
    pub(crate) shard: usize,
}

impl Deliveries for Counting {
    type Ticket = u64;

    fn delivered(&self, batch: Delivered<'_>, tickets: impl ExactSizeIterator<Item = u64>) {
        match batch.outcome {
            Ok(_) => self.meter.delivered(self.shard, batch.at, tickets),
            Err(error) => self.meter.failed(tickets.len() as u64, || error.to_string()),
        }
    }
}

/// One producer.
pub(crate) struct NativeSink {
    producer: Producer<Counting>,
    topic: Topic<Counting>,
    runtime: Handle,
}

impl NativeSink {
    pub(crate) async fn start(
        client: &Client,
        topic: &str,
        config: ProducerConfig,
        deliveries: Counting,
    ) -> Result<Self, Error> {
        let producer = client.producer(config, deliveries).await?;
        let topic = producer.topic(topic).await?;
        Ok(Self { producer, topic, runtime: Handle::current() })
    }
}

impl Sink for NativeSink {
    fn try_send(
        &mut self,
        key: Option<&[u8]>,
        value: &[u8],
        time_ms: i64,
        ticket: u64,
    ) -> Result<bool, Error> {
        let record = Record {
            key,
            value: Some(value),
            timestamp: Some(Timestamp(time_ms)),
            ..Record::default()
        };
        match self.topic.try_send(record, ticket) {
            Ok(()) => Ok(true),
            Err(Refused::Full(_)) => Ok(false),
            Err(Refused::Error(error, _)) => Err(error.into()),
        }
    }

    fn wait(&mut self) {
        self.runtime.block_on(self.topic.room());
    }

    fn look(&mut self) {}

    fn flush(&mut self) {
        self.runtime.block_on(self.producer.flush());
    }
}
