//! The client of Anabranch, and of any broker that speaks Kafka's protocol.
//!
//! [`Client`] knows the brokers and their topics. From it come a [`Producer`], which frames each
//! batch as a produce request in place and keeps many of them in flight on one connection; a
//! [`Consumer`] of assigned partitions; and the [`Admin`] calls.
//!
//! ```no_run
//! # async fn run() -> Result<(), anabranch_client::Error> {
//! use anabranch_client::{Client, ClientConfig, Futures, ProducerConfig, Record};
//! let client = Client::connect(ClientConfig::new("127.0.0.1:9092")).await?;
//! let producer = client.producer(ProducerConfig::default(), Futures).await?;
//! let topic = producer.topic("greetings").await?;
//! let receipt = topic.deliver(Record::value(b"hello")).await?.await?;
//! println!("partition {}, offset {:?}", receipt.partition, receipt.offset);
//! # Ok(()) }
//! ```
//!
//! Where it stands: outside the broker, beside the stock clients. Of the broker's crates it uses
//! only `types`: record batches, ids and the partitioner.
//!
//! Invariant: every record that [`Topic::try_send`] took is reported to its [`Deliveries`]
//! exactly once.
//! Invariant: no length that a server sends becomes an allocation before it was compared with the
//! bytes that are there or with a bound of [`limits`].

mod admin;
mod cluster;
mod connection;
mod consumer;
mod error;
pub mod limits;
mod messages;
mod producer;
pub mod web;
mod wire;

pub use admin::{Admin, NewTopic, OffsetAt};
pub use cluster::{Client, ClientConfig};
pub use consumer::{ConsumeFrom, Consumer, ConsumerConfig, Fetched};
pub use error::Error;
pub use messages::metadata::{Broker, BrokerId, PartitionMetadata, TopicMetadata};
pub use producer::{
    Acks, Delivered, Deliveries, Delivery, Futures, Ignore, Producer, ProducerConfig, Receipt,
    Record, Refused, Topic,
};
