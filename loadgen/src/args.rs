//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Measures how a broker takes events in, gives them out, and shows them in its table.
#[derive(Debug, Parser)]
#[command(name = "anabranch-loadgen", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Produces events as fast as possible, or at a given rate.
    Ingest(IngestArgs),
    /// Reads a topic from its beginning.
    Consume(ConsumeArgs),
    /// Produces at a rate and measures when events are acknowledged, reach a Kafka consumer and
    /// a WebSocket, and can be seen in SQL.
    EndToEnd(EndToEndArgs),
    /// Upserts into a keyed stream, and measures how far its table lags behind.
    Table(TableArgs),
    /// Commits transactions, one after the other a producer (librdkafka).
    Transactions(TransactionsArgs),
    /// Measures how long a group takes to share out partitions (librdkafka).
    Rebalance(RebalanceArgs),
    /// Deletes a topic.
    Delete(TopicArgs),
    /// Measures what this machine's disk and loopback give, without a broker.
    Machine(MachineArgs),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Driver {
    /// The project's own client.
    Native,
    /// The C library that most clients are made of.
    Librdkafka,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Payload {
    /// Readings of a device, as JSON.
    Json,
    /// Bytes that do not compress.
    Random,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Keys {
    /// No keys: partitions are filled in turn.
    None,
    /// Every key as often as any other.
    Uniform,
    /// Few keys very often, many seldom (Zipf, exponent 0.99).
    Zipf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize)]
pub(crate) enum AcksArg {
    #[value(name = "0")]
    None,
    #[value(name = "1")]
    Leader,
    #[value(name = "all")]
    All,
}

/// Which topic, on which broker.
#[derive(Debug, Clone, Args)]
pub(crate) struct TopicArgs {
    /// The broker's Kafka listener.
    #[arg(long, default_value = "127.0.0.1:9092")]
    pub(crate) bootstrap: String,
    /// The topic; created if it is not there.
    #[arg(long, default_value = "loadgen")]
    pub(crate) topic: String,
    /// Partitions of a topic that is created.
    #[arg(long, default_value_t = 16)]
    pub(crate) partitions: i32,
    /// A config of a topic that is created, such as `flush.messages=1`; can be repeated.
    #[arg(long = "topic-config", value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) topic_configs: Vec<(String, String)>,
    /// Deletes the topic first.
    #[arg(long)]
    pub(crate) recreate: bool,
}

/// What events look like.
#[derive(Debug, Clone, Args, serde::Serialize)]
pub(crate) struct PayloadArgs {
    /// Bytes of a value.
    #[arg(long, default_value_t = 100)]
    pub(crate) size: usize,
    /// What a value is.
    #[arg(long, value_enum, default_value_t = Payload::Json)]
    pub(crate) payload: Payload,
    /// How keys are chosen.
    #[arg(long, value_enum, default_value_t = Keys::None)]
    pub(crate) keys: Keys,
    /// How many different keys there are.
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) key_space: u32,
}

/// How producers send.
#[derive(Debug, Clone, Args, serde::Serialize)]
pub(crate) struct ProduceArgs {
    /// Which client library sends.
    #[arg(long, value_enum, default_value_t = Driver::Native)]
    pub(crate) driver: Driver,
    /// Producers, each with its own connection.
    #[arg(long, visible_alias = "connections", default_value_t = 1)]
    pub(crate) producers: usize,
    /// Requests a connection may have in flight [default: 5; 2000 with `--batch 1`].
    #[arg(long)]
    pub(crate) in_flight: Option<usize>,
    /// Most events in a batch; 1 is one event a request.
    #[arg(long)]
    pub(crate) batch: Option<usize>,
    /// Most bytes of a batch.
    #[arg(long, default_value_t = 256 << 10)]
    pub(crate) batch_bytes: usize,
    /// Milliseconds that a batch waits for more events [default: 5; 2 with `--rate`; 0 with `--batch 1`].
    #[arg(long)]
    pub(crate) linger_ms: Option<u64>,
    /// Bytes (native) that a producer buffers.
    #[arg(long, default_value_t = 32 << 20)]
    pub(crate) buffer_bytes: usize,
    /// What the broker must have done before it answers.
    #[arg(long, value_enum, default_value_t = AcksArg::All)]
    pub(crate) acks: AcksArg,
    /// Retries write nothing twice and keep the order.
    #[arg(long)]
    pub(crate) idempotent: bool,
    /// How batches are compressed.
    #[arg(long, value_enum, default_value_t = Codec::None)]
    pub(crate) compression: Codec,
}

/// How much, and how fast.
#[derive(Debug, Clone, Args, serde::Serialize)]
pub(crate) struct PaceArgs {
    /// Events a second, whatever the broker does (open loop); without it, as fast as it goes.
    #[arg(long)]
    pub(crate) rate: Option<f64>,
    /// Seconds to measure.
    #[arg(long, default_value_t = 10.0)]
    pub(crate) duration: f64,
    /// Seconds before that, not measured.
    #[arg(long, default_value_t = 2.0)]
    pub(crate) warmup: f64,
    /// Sends so many events, however long it takes, and measures all of them.
    #[arg(long, conflicts_with_all = ["duration", "warmup"])]
    pub(crate) events: Option<u64>,
    /// Threads of the client's runtime [default: 1 for one producer, otherwise 2].
    #[arg(long)]
    pub(crate) threads: Option<usize>,
}

/// Where results go.
#[derive(Debug, Clone, Args)]
pub(crate) struct OutputArgs {
    /// Writes the results as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Draws rate and latency over time as SVG.
    #[arg(long, value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,
    /// The broker's process on this machine: its CPU time and memory are reported too.
    #[arg(long, value_name = "PID")]
    pub(crate) server_pid: Option<u32>,
    /// Shows no progress.
    #[arg(long)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct IngestArgs {
    #[command(flatten)]
    pub(crate) topic: TopicArgs,
    #[command(flatten)]
    pub(crate) payload: PayloadArgs,
    #[command(flatten)]
    pub(crate) produce: ProduceArgs,
    #[command(flatten)]
    pub(crate) pace: PaceArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ConsumeArgs {
    #[command(flatten)]
    pub(crate) topic: TopicArgs,
    /// Which client library reads.
    #[arg(long, value_enum, default_value_t = Driver::Native)]
    pub(crate) driver: Driver,
    /// Consumers, each with its share of the partitions.
    #[arg(long, default_value_t = 1)]
    pub(crate) consumers: usize,
    /// Reads so many events [default: all that are there at the start].
    #[arg(long)]
    pub(crate) events: Option<u64>,
    /// Stops after so many seconds at the latest.
    #[arg(long, default_value_t = 300.0)]
    pub(crate) duration: f64,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct EndToEndArgs {
    #[command(flatten)]
    pub(crate) topic: TopicArgs,
    /// Events a second.
    #[arg(long, default_value_t = 100_000.0)]
    pub(crate) rate: f64,
    /// Seconds to measure.
    #[arg(long, default_value_t = 10.0)]
    pub(crate) duration: f64,
    /// Seconds before that, not measured.
    #[arg(long, default_value_t = 2.0)]
    pub(crate) warmup: f64,
    /// Bytes of a value.
    #[arg(long, default_value_t = 110)]
    pub(crate) size: usize,
    /// Most events in a batch; 1 is one event a request.
    #[arg(long)]
    pub(crate) batch: Option<usize>,
    /// Requests the producer may have in flight.
    #[arg(long, default_value_t = 64)]
    pub(crate) in_flight: usize,
    /// How many different keys there are.
    #[arg(long, default_value_t = 100_000)]
    pub(crate) key_space: u32,
    /// The broker's WebSocket, such as `ws://127.0.0.1:8080`; without it that leg is left out.
    #[arg(long)]
    pub(crate) web: Option<String>,
    /// The broker's SQL, such as `host=127.0.0.1 port=5433 user=loadgen dbname=anabranch`;
    /// without it that leg is left out, and the stream is not made a table.
    #[arg(long)]
    pub(crate) sql: Option<String>,
    /// Milliseconds between two looks in SQL.
    #[arg(long, default_value_t = 5)]
    pub(crate) sql_every_ms: u64,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TableArgs {
    #[command(flatten)]
    pub(crate) topic: TopicArgs,
    #[command(flatten)]
    pub(crate) produce: ProduceArgs,
    /// Upserts a second; without it, as fast as the broker takes them.
    #[arg(long)]
    pub(crate) rate: Option<f64>,
    /// Seconds to measure.
    #[arg(long, default_value_t = 20.0)]
    pub(crate) duration: f64,
    /// Seconds before that, not measured.
    #[arg(long, default_value_t = 3.0)]
    pub(crate) warmup: f64,
    /// Bytes of a value.
    #[arg(long, default_value_t = 110)]
    pub(crate) size: usize,
    /// How keys are chosen.
    #[arg(long, value_enum, default_value_t = Keys::Uniform)]
    pub(crate) keys: Keys,
    /// How many different keys there are.
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) key_space: u32,
    /// The broker's SQL.
    #[arg(long, default_value = "host=127.0.0.1 port=5433 user=loadgen dbname=anabranch")]
    pub(crate) sql: String,
    /// Milliseconds between two looks in SQL.
    #[arg(long, default_value_t = 20)]
    pub(crate) sql_every_ms: u64,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TransactionsArgs {
    #[command(flatten)]
    pub(crate) topic: TopicArgs,
    /// Producers, each with its own transactional id.
    #[arg(long, default_value_t = 1)]
    pub(crate) producers: usize,
    /// Records in a transaction.
    #[arg(long, default_value_t = 1)]
    pub(crate) records: usize,
    /// Bytes of a value.
    #[arg(long, default_value_t = 100)]
    pub(crate) size: usize,
    /// Seconds to measure.
    #[arg(long, default_value_t = 10.0)]
    pub(crate) duration: f64,
    /// Seconds before that, not measured.
    #[arg(long, default_value_t = 2.0)]
    pub(crate) warmup: f64,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum GroupProtocol {
    /// Members share out the partitions themselves.
    Classic,
    /// The broker does (KIP-848).
    Consumer,
}

impl GroupProtocol {
    /// As librdkafka's `group.protocol` has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Consumer => "consumer",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct RebalanceArgs {
    #[command(flatten)]
    pub(crate) topic: TopicArgs,
    /// Members of the group; partitions are at least as many.
    #[arg(long, default_value_t = 100)]
    pub(crate) members: usize,
    /// How the group works.
    #[arg(long, value_enum, default_value_t = GroupProtocol::Classic)]
    pub(crate) protocol: GroupProtocol,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct MachineArgs {
    /// A directory on the disk in question.
    #[arg(long, default_value = ".")]
    pub(crate) dir: PathBuf,
    /// Seconds for each limit.
    #[arg(long, default_value_t = 3.0)]
    pub(crate) duration: f64,
    /// Writes the results as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

impl ProduceArgs {
    pub(crate) fn is_one_event_a_request(&self) -> bool {
        self.batch == Some(1)
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.unwrap_or(if self.is_one_event_a_request() { 2_000 } else { 5 })
    }

    pub(crate) fn linger_ms(&self, is_open_loop: bool) -> u64 {
        let usual = match (self.is_one_event_a_request(), is_open_loop) {
            (true, _) => 0,
            (false, true) => 2,
            (false, false) => 5,
        };
        self.linger_ms.unwrap_or(usual)
    }
}

impl PaceArgs {
    pub(crate) fn threads(&self, producers: usize) -> usize {
        self.threads.unwrap_or(if producers == 1 { 1 } else { 2 }).max(1)
    }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("give it as KEY=VALUE".to_owned()),
    }
}
