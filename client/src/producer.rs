//! Producing: records become batches by partition, batches become frames, and one task a broker
//! keeps many of them in flight.
//!
//! ```text
//!  try_send ─> intake (open batch, sealed frames) ─> lane: queue ─> socket ─> in flight ─> Deliveries
//!   any thread, one short lock a record              one task a broker: no locks to wait for
//! ```
//! A frame is the whole produce request, built in place: nothing is copied between the record's
//! own bytes and the socket. An answered frame's buffer goes back to its partition.

mod budget;
mod config;
mod delivery;
mod frame;
mod lane;
mod link;
mod partition;
mod sending;
mod shared;
#[cfg(test)]
mod tests;

pub use config::{Acks, ProducerConfig};
pub use delivery::{Delivered, Deliveries, Delivery, Futures, Ignore, Receipt};

use crate::{Client, Error};
use anabranch_types::{PartitionIndex, Timestamp};
use partition::TopicState;
use shared::{Handle, Shared};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// A record to produce, borrowed: its bytes are copied into the batch at once.
#[derive(Debug, Clone, Copy, Default)]
pub struct Record<'a> {
    /// The key: chooses the partition, as Kafka's Java client does, unless `partition` does.
    pub key: Option<&'a [u8]>,
    /// The value; `None` deletes the key in a keyed stream.
    pub value: Option<&'a [u8]>,
    /// Names and values.
    pub headers: &'a [(&'a [u8], Option<&'a [u8]>)],
    /// Its time; `None` is now.
    pub timestamp: Option<Timestamp>,
    /// Its partition; `None` leaves that to the key, or without a key to the producer, which
    /// fills one partition's batch after the other (KIP-480).
    pub partition: Option<PartitionIndex>,
}

impl<'a> Record<'a> {
    /// A record of a value alone.
    #[must_use]
    pub fn value(value: &'a [u8]) -> Self {
        Self { value: Some(value), ..Self::default() }
    }

    /// A record of a key and a value.
    #[must_use]
    pub fn keyed(key: &'a [u8], value: &'a [u8]) -> Self {
        Self { key: Some(key), value: Some(value), ..Self::default() }
    }

    /// Upper bound of its bytes in a batch.
    fn bytes(&self) -> usize {
        /// Length, attributes, time, offset, lengths of key and value, number of headers.
        const AROUND: usize = 5 + 1 + 10 + 5 + 5 + 5 + 5;
        let headers = self.headers.iter();
        let headers = headers.map(|(name, value)| 10 + name.len() + value.map_or(0, <[u8]>::len));
        AROUND
            + self.key.map_or(0, <[u8]>::len)
            + self.value.map_or(0, <[u8]>::len)
            + headers.sum::<usize>()
    }

    fn time(&self) -> Timestamp {
        self.timestamp.unwrap_or_else(|| {
            // A clock before 1970 is one that nobody set.
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
        })
    }
}

/// Why a record was not taken; its ticket comes back.
#[derive(Debug)]
pub enum Refused<T> {
    /// `buffer_bytes` are in use: try again when something was delivered.
    Full(T),
    /// It can never be taken.
    Error(Error, T),
}

/// Produces to any topic. Dropping it and its topics gives up on what was not delivered; see
/// [`Self::flush`].
pub struct Producer<D: Deliveries> {
    handle: Arc<Handle<D>>,
}

/// Produces to one topic. Cheap to clone; any thread may send.
pub struct Topic<D: Deliveries> {
    handle: Arc<Handle<D>>,
    state: Arc<TopicState<D::Ticket>>,
}

impl<D: Deliveries> Producer<D> {
    pub(crate) async fn start(
        client: Client,
        config: ProducerConfig,
        deliveries: D,
    ) -> Result<Self, Error> {
        config.check()?;
        let identity = if config.idempotent { Some(client.producer_id().await?) } else { None };
        let shared = Shared::new(client, config, deliveries, identity);
        Ok(Self { handle: Arc::new(Handle { shared: Arc::new(shared) }) })
    }

    /// A handle to a topic, which may be created by asking for it.
    ///
    /// # Errors
    /// When the topic is not there, or no broker answers.
    pub async fn topic(&self, name: &str) -> Result<Topic<D>, Error> {
        let state = self.handle.shared.topic(name).await?;
        Ok(Topic { handle: Arc::clone(&self.handle), state })
    }

    /// Waits until everything sent so far was delivered or failed; batches do not linger.
    pub async fn flush(&self) {
        self.handle.shared.flush().await;
    }

    /// Delivers what was sent, then closes the connections; later records are refused.
    pub async fn close(self) {
        self.flush().await;
        self.handle.shared.close();
    }

    /// Bytes of records and frames that were not answered yet.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.handle.shared.budget.used()
    }

    /// What hears of deliveries.
    #[must_use]
    pub fn deliveries(&self) -> &D {
        &self.handle.shared.deliveries
    }
}

impl<D: Deliveries> Clone for Topic<D> {
    fn clone(&self) -> Self {
        Self { handle: Arc::clone(&self.handle), state: Arc::clone(&self.state) }
    }
}

impl<D: Deliveries> Topic<D> {
    /// How many partitions it had when it was first asked for.
    #[must_use]
    pub fn partitions(&self) -> usize {
        self.state.partitions.len()
    }

    /// Takes the record if there is room for it; `ticket` comes back with its delivery. Never
    /// waits.
    ///
    /// # Errors
    /// [`Refused`], with the ticket.
    #[inline]
    pub fn try_send(
        &self,
        record: Record<'_>,
        ticket: D::Ticket,
    ) -> Result<(), Refused<D::Ticket>> {
        self.handle.shared.try_send(&self.state, record, ticket)
    }

    /// As [`Self::try_send`], waiting for room.
    ///
    /// # Errors
    /// When the record can never be taken; the ticket is dropped.
    pub async fn send(&self, record: Record<'_>, ticket: D::Ticket) -> Result<(), Error> {
        let mut ticket = ticket;
        loop {
            match self.try_send(record, ticket) {
                Ok(()) => return Ok(()),
                Err(Refused::Error(error, _)) => return Err(error),
                Err(Refused::Full(back)) => ticket = back,
            }
            self.handle.shared.room().await;
        }
    }

    /// Waits until at least half of the buffer is free.
    pub async fn room(&self) {
        self.handle.shared.room().await;
    }
}

impl Topic<Futures> {
    /// Takes the record, waiting for room; the future tells of its delivery.
    ///
    /// # Errors
    /// When the record can never be taken.
    pub async fn deliver(&self, record: Record<'_>) -> Result<Delivery, Error> {
        let (ticket, delivery) = delivery::pair();
        self.send(record, ticket).await?;
        Ok(delivery)
    }
}
