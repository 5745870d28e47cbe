//! What a producer's senders and lanes share.

use super::budget::{Budget, Waiter};
use super::config::ProducerConfig;
use super::delivery::Deliveries;
use super::lane::{self, Lane};
use super::partition::{Partition, TopicName, TopicState};
use super::sending::Sending;
use super::{Record, Refused};
use crate::messages::produce;
use crate::{BrokerId, Client, Error, TopicMetadata};
use ahash::AHashMap;
use anabranch_types::{ProducerEpoch, ProducerId};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_util::sync::CancellationToken;

/// Closes the producer when the last handle to it goes.
pub(super) struct Handle<D: Deliveries> {
    pub(super) shared: Arc<Shared<D>>,
}

impl<D: Deliveries> Drop for Handle<D> {
    fn drop(&mut self) {
        self.shared.close();
    }
}

type Topics<T> = AHashMap<String, Arc<TopicState<T>>>;
type Lanes<T> = AHashMap<BrokerId, Arc<Lane<T>>>;

pub(super) struct Shared<D: Deliveries> {
    pub(super) client: Client,
    pub(super) config: ProducerConfig,
    pub(super) deliveries: D,
    pub(super) budget: Budget,
    pub(super) closing: CancellationToken,
    identity: Option<(ProducerId, ProducerEpoch)>,
    flushing: AtomicUsize,
    refreshing: AtomicBool,
    // Lock order: `topics`, then `lanes`.
    topics: Mutex<Topics<D::Ticket>>,
    lanes: Mutex<Lanes<D::Ticket>>,
}

impl<D: Deliveries> Shared<D> {
    pub(super) fn new(
        client: Client,
        config: ProducerConfig,
        deliveries: D,
        identity: Option<(ProducerId, ProducerEpoch)>,
    ) -> Self {
        Self {
            client,
            deliveries,
            budget: Budget::new(config.buffer_bytes),
            config,
            closing: CancellationToken::new(),
            identity,
            flushing: AtomicUsize::new(0),
            refreshing: AtomicBool::new(false),
            topics: Mutex::new(AHashMap::new()),
            lanes: Mutex::new(AHashMap::new()),
        }
    }

    #[inline]
    pub(super) fn try_send(
        &self,
        topic: &TopicState<D::Ticket>,
        record: Record<'_>,
        ticket: D::Ticket,
    ) -> Result<(), Refused<D::Ticket>> {
        match topic.partition(&record) {
            Ok(partition) => partition.push(&record, ticket, &self.config, &self.budget),
            Err(error) => Err(Refused::Error(error, ticket)),
        }
    }

    pub(super) async fn room(&self) {
        self.budget.room(|| self.signal_lanes()).await;
    }

    /// Whether open batches must go now.
    pub(super) fn is_urgent(&self) -> bool {
        self.budget.is_short() || self.flushing.load(Ordering::Acquire) > 0
    }

    pub(super) async fn flush(&self) {
        let _flushing = Waiter::register(&self.flushing);
        self.signal_lanes();
        self.budget.empty().await;
    }

    pub(super) fn close(&self) {
        let topics: Vec<_> = self.topics().values().cloned().collect();
        self.closing.cancel();
        for topic in topics {
            topic.partitions.iter().for_each(|partition| partition.close());
        }
        self.signal_lanes();
    }

    fn signal_lanes(&self) {
        let lanes: Vec<_> = self.lanes().values().cloned().collect();
        lanes.iter().for_each(|lane| lane.signal());
    }

    fn topics(&self) -> MutexGuard<'_, Topics<D::Ticket>> {
        // Maps are changed by single calls.
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes<D::Ticket>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn topic(
        self: &Arc<Self>,
        name: &str,
    ) -> Result<Arc<TopicState<D::Ticket>>, Error> {
        if let Some(topic) = self.topics().get(name) {
            return Ok(Arc::clone(topic));
        }
        let metadata = self.client.topic(name).await?;
        let mut topics = self.topics();
        if self.closing.is_cancelled() {
            return Err(Error::Stopped);
        }
        if let Some(topic) = topics.get(name) {
            return Ok(Arc::clone(topic));
        }
        let topic = Arc::new(self.make_topic(&metadata)?);
        topics.insert(name.to_owned(), Arc::clone(&topic));
        Ok(topic)
    }

    fn make_topic(
        self: &Arc<Self>,
        metadata: &TopicMetadata,
    ) -> Result<TopicState<D::Ticket>, Error> {
        let brokers = self.client.brokers();
        let any = brokers.first().ok_or(Error::Malformed("the cluster has no brokers"))?.id;
        let count = metadata.partitions.len();
        let sticky = AtomicUsize::new(rand::random_range(0..count));
        let name = Arc::new(TopicName { name: metadata.name.clone(), sticky });
        let partitions = metadata.partitions.iter().map(|partition| {
            let timeout = self.client.config().request_timeout.as_millis();
            let prefix = produce::prefix(produce::Prefix {
                client_id: &self.client.config().client_id,
                acks: self.config.acks.code(),
                timeout_ms: i32::try_from(timeout).unwrap_or(i32::MAX),
                topic: &metadata.name,
                partition: partition.index,
            });
            // Without a leader any broker will do: it refuses, and the metadata is asked again.
            let lane = self.lane(partition.leader.unwrap_or(any));
            let sending = Sending::new(self.identity, self.config.batches_in_flight_max());
            Arc::new(Partition::new(Arc::clone(&name), partition.index, prefix, lane, sending))
        });
        Ok(TopicState { partitions: partitions.collect(), name: Arc::clone(&name) })
    }

    /// The lane to a broker, started when it is first needed.
    pub(super) fn lane(self: &Arc<Self>, broker: BrokerId) -> Arc<Lane<D::Ticket>> {
        let mut lanes = self.lanes();
        let lane = lanes.entry(broker).or_insert_with(|| {
            let lane = Arc::new(Lane::new(broker));
            tokio::spawn(lane::run(Arc::clone(self), Arc::clone(&lane)));
            lane
        });
        Arc::clone(lane)
    }

    /// Asks in the background who leads the topic's partitions now; one question at a time.
    pub(super) fn refresh(self: &Arc<Self>, topic: &str) {
        if self.refreshing.swap(true, Ordering::AcqRel) {
            return;
        }
        let (shared, topic) = (Arc::clone(self), topic.to_owned());
        tokio::spawn(async move {
            match shared.client.refresh(&topic).await {
                Ok(metadata) => shared.set_leaders(&metadata),
                Err(error) => tracing::warn!(%topic, %error, "cannot ask for the topic's leaders"),
            }
            shared.refreshing.store(false, Ordering::Release);
            shared.signal_lanes();
        });
    }

    fn set_leaders(&self, metadata: &TopicMetadata) {
        let Some(topic) = self.topics().get(&metadata.name).cloned() else {
            return;
        };
        for (partition, found) in topic.partitions.iter().zip(&metadata.partitions) {
            if let Some(leader) = found.leader {
                partition.leader.store(leader.0, Ordering::Release);
            }
        }
    }
}
