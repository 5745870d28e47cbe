//! librdkafka, through the `rdkafka` crate.

use super::Sink;
use crate::args::{AcksArg, Codec, ProduceArgs};
use crate::error::Error;
use crate::measure::Meter;
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Sends between two looks at what was delivered.
const SENDS_PER_LOOK: u32 = 512;

/// Longest wait for the last deliveries.
const FLUSH_MAX: Duration = Duration::from_secs(120);

/// Counts deliveries; a ticket travels as the message's opaque.
pub(crate) struct Counting {
    pub(crate) meter: Arc<Meter>,
    pub(crate) shard: usize,
}

impl ClientContext for Counting {}

impl ProducerContext for Counting {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: usize) {
        match result {
            Ok(_) => {
                let ticket = std::iter::once(ticket as u64);
                self.meter.delivered(self.shard, Instant::now(), ticket);
            }
            Err((error, _)) => self.meter.failed(1, || error.to_string()),
        }
    }
}

/// One producer.
pub(crate) struct LibrdkafkaSink {
    producer: BaseProducer<Counting>,
    topic: String,
    sent: u32,
}

impl LibrdkafkaSink {
    pub(crate) fn start(
        bootstrap: &str,
        topic: &str,
        args: &ProduceArgs,
        is_open_loop: bool,
        counting: Counting,
    ) -> Result<Self, Error> {
        let acks = match args.acks {
            AcksArg::None => "0",
            AcksArg::Leader => "1",
            AcksArg::All => "all",
        };
        let compression = match args.compression {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        };
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", bootstrap)
            .set("client.id", "anabranch-loadgen")
            .set("acks", acks)
            .set("enable.idempotence", args.idempotent.to_string())
            .set("linger.ms", args.linger_ms(is_open_loop).to_string())
            .set("batch.size", args.batch_bytes.to_string())
            .set("batch.num.messages", args.batch.unwrap_or(1_000_000).to_string())
            .set("max.in.flight", args.in_flight().to_string())
            .set("compression.codec", compression)
            .set("queue.buffering.max.messages", "500000");
        Ok(Self {
            producer: config.create_with_context(counting)?,
            topic: topic.to_owned(),
            sent: 0,
        })
    }
}

impl Sink for LibrdkafkaSink {
    fn try_send(
        &mut self,
        key: Option<&[u8]>,
        value: &[u8],
        time_ms: i64,
        ticket: u64,
    ) -> Result<bool, Error> {
        self.sent = self.sent.wrapping_add(1);
        if self.sent.is_multiple_of(SENDS_PER_LOOK) {
            self.producer.poll(Duration::ZERO);
        }
        let mut record: BaseRecord<'_, [u8], [u8], usize> =
            BaseRecord::with_opaque_to(&self.topic, ticket as usize)
                .payload(value)
                .timestamp(time_ms);
        if let Some(key) = key {
            record = record.key(key);
        }
        match self.producer.send(record) {
            Ok(()) => Ok(true),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => Ok(false),
            Err((error, _)) => Err(error.into()),
        }
    }

    fn wait(&mut self) {
        self.producer.poll(Duration::from_millis(10));
    }

    fn look(&mut self) {
        self.producer.poll(Duration::ZERO);
    }

    fn flush(&mut self) {
        if let Err(error) = self.producer.flush(FLUSH_MAX) {
            let left = u64::try_from(self.producer.in_flight_count()).unwrap_or(0);
            self.producer.context().meter.failed(left, || error.to_string());
        }
    }
}
