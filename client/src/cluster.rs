//! The cluster as a client sees it: bootstrap addresses, brokers, and each topic's leaders.

use crate::connection::{ConnectOptions, Connection};
use crate::messages::metadata::{self, Broker, BrokerId, Metadata, TopicMetadata};
use crate::messages::{Api, INIT_PRODUCER_ID, METADATA, topics};
use crate::{Admin, Consumer, ConsumerConfig, Deliveries, Error, Producer, ProducerConfig, error};
use ahash::AHashMap;
use anabranch_types::{ProducerEpoch, ProducerId};
use bytes::Bytes;
use futures::future::BoxFuture;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Pause before asking again for something that is not there yet.
pub(crate) const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Longest name of a topic (Kafka's limit).
const TOPIC_NAME_BYTES_MAX: usize = 249;

/// How to reach a cluster.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// `host:port`, several by commas; the first that answers tells of the others.
    pub bootstrap: String,
    /// What the broker's logs and metrics call this client; at most 1,000 bytes.
    pub client_id: String,
    /// Longest wait for a connection or an answer.
    pub request_timeout: Duration,
    /// Whether asking for a topic may create it, where the broker allows that.
    pub auto_create_topics: bool,
}

impl ClientConfig {
    /// The defaults: 30 s, topics created as needed.
    #[must_use]
    pub fn new(bootstrap: impl Into<String>) -> Self {
        Self {
            bootstrap: bootstrap.into(),
            client_id: "anabranch-client".to_owned(),
            request_timeout: Duration::from_secs(30),
            auto_create_topics: true,
        }
    }
}

/// A cluster; cheap to clone, shared by producers and consumers.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: ClientConfig,
    /// For metadata and administration; opened again when it breaks.
    control: tokio::sync::Mutex<Option<Connection>>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    brokers: AHashMap<BrokerId, String>,
    topics: AHashMap<String, Arc<TopicMetadata>>,
}

impl Client {
    /// Connects to the first bootstrap address that answers.
    ///
    /// # Errors
    /// When none does, or the answer is no Kafka broker's.
    pub async fn connect(config: ClientConfig) -> Result<Self, Error> {
        if config.client_id.len() > 1_000 {
            return Err(Error::Config("`client_id` is longer than 1,000 bytes"));
        }
        let client = Self {
            inner: Arc::new(Inner {
                config,
                control: tokio::sync::Mutex::new(None),
                known: Mutex::new(Known::default()),
            }),
        };
        client.metadata(Some(&[])).await?;
        Ok(client)
    }

    /// A producer with its own connection to each broker that it needs.
    ///
    /// # Errors
    /// When a setting is out of range, or an idempotent producer gets no id.
    pub async fn producer<D: Deliveries>(
        &self,
        config: ProducerConfig,
        deliveries: D,
    ) -> Result<Producer<D>, Error> {
        Producer::start(self.clone(), config, deliveries).await
    }

    /// A consumer of all partitions, or of those that `config` names.
    ///
    /// # Errors
    /// When the topic or a partition is not there.
    pub async fn consumer(&self, topic: &str, config: ConsumerConfig) -> Result<Consumer, Error> {
        Consumer::start(self.clone(), topic, config).await
    }

    /// Creating and deleting topics, and looking at them.
    #[must_use]
    pub fn admin(&self) -> Admin {
        Admin::new(self.clone())
    }

    pub(crate) fn config(&self) -> &ClientConfig {
        &self.inner.config
    }

    /// The topic's partitions and leaders, from memory or else from the cluster; waits for a
    /// topic in creation until the request time-out.
    pub(crate) async fn topic(&self, name: &str) -> Result<Arc<TopicMetadata>, Error> {
        if let Some(topic) = self.known(|known| known.topics.get(name).cloned()) {
            return Ok(topic);
        }
        let deadline = Instant::now() + self.config().request_timeout;
        self.retrying(|| Box::pin(self.ask_topic(name, deadline))).await?
    }

    /// A passing error asks for another try; any other outcome is inside.
    async fn ask_topic(
        &self,
        name: &str,
        deadline: Instant,
    ) -> Result<Result<Arc<TopicMetadata>, Error>, Error> {
        let topic = match self.refresh(name).await {
            // Where asking creates nothing, a topic that is not there stays away.
            Err(error) if !self.config().auto_create_topics => return Ok(Err(error)),
            result => result?,
        };
        let led = topic.partitions.iter().all(|one| one.leader.is_some());
        if led || Instant::now() >= deadline {
            return Ok(Ok(topic));
        }
        Err(Error::refused(format!("topic {name}"), error::LEADER_NOT_AVAILABLE, None))
    }

    /// Asks the cluster about one topic.
    pub(crate) async fn refresh(&self, name: &str) -> Result<Arc<TopicMetadata>, Error> {
        check_name(name)?;
        let answer = self.metadata(Some(&[name])).await?;
        let found = answer.topics.into_iter().next();
        let found = found.ok_or(Error::Malformed("it leaves out the topic"))?;
        let topic = Arc::new(found.inspect_err(|_| self.forget(name))?);
        if topic.name != name {
            return Err(Error::Malformed("it describes another topic"));
        }
        self.known(|known| known.topics.insert(name.to_owned(), Arc::clone(&topic)));
        Ok(topic)
    }

    /// `topics`: which; `None` is all of them.
    pub(crate) async fn metadata(&self, topics: Option<&[&str]>) -> Result<Metadata, Error> {
        let create = self.config().auto_create_topics;
        let (body, version) =
            self.call(METADATA, |out, version| metadata::put(out, version, topics, create)).await?;
        let answer = metadata::read(&body, version)?;
        self.known(|known| {
            let brokers = answer.brokers.iter();
            known.brokers = brokers.map(|one| (one.id, one.address.clone())).collect();
        });
        Ok(answer)
    }

    /// Forgets a deleted topic.
    pub(crate) fn forget(&self, topic: &str) {
        self.known(|known| known.topics.remove(topic));
    }

    pub(crate) async fn producer_id(&self) -> Result<(ProducerId, ProducerEpoch), Error> {
        self.retrying(|| Box::pin(self.ask_producer_id())).await
    }

    async fn ask_producer_id(&self) -> Result<(ProducerId, ProducerEpoch), Error> {
        let (body, _) =
            self.call(INIT_PRODUCER_ID, |out, _| topics::put_init_producer_id(out)).await?;
        topics::read_init_producer_id(&body)
    }

    /// Asks again after a passing error, until the request time-out: a new topic's leaders are
    /// named before they know it, a new cluster's coordinators load.
    pub(crate) async fn retrying<'a, T>(
        &self,
        ask: impl Fn() -> BoxFuture<'a, Result<T, Error>>,
    ) -> Result<T, Error> {
        let deadline = Instant::now() + self.config().request_timeout;
        loop {
            match ask().await {
                Err(error) if error.is_retriable() && Instant::now() < deadline => {
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
                result => return result,
            }
        }
    }

    /// The brokers that the cluster named last.
    #[must_use]
    pub fn brokers(&self) -> Vec<Broker> {
        self.known(|known| {
            let brokers = known.brokers.iter();
            brokers.map(|(&id, address)| Broker { id, address: address.clone() }).collect()
        })
    }

    /// A connection of its own to a broker.
    pub(crate) async fn open(&self, broker: BrokerId) -> Result<Connection, Error> {
        let address = self
            .known(|known| known.brokers.get(&broker).cloned())
            .ok_or(Error::Malformed("the metadata names a leader that is no broker"))?;
        Connection::open(&address, self.options()).await
    }

    /// One request on the control connection, which is opened again after an error.
    pub(crate) async fn call(
        &self,
        api: Api,
        put: impl FnOnce(&mut Vec<u8>, i16),
    ) -> Result<(Bytes, i16), Error> {
        let mut control = self.inner.control.lock().await;
        let mut connection = match control.take() {
            Some(connection) => connection,
            None => self.bootstrap().await?,
        };
        let answer = connection.call(api, put).await?;
        *control = Some(connection);
        Ok(answer)
    }

    async fn bootstrap(&self) -> Result<Connection, Error> {
        let mut last = Error::Config("`bootstrap` names no address; give it as `host:port`");
        let addresses = self.config().bootstrap.split(',').map(str::trim);
        for address in addresses.filter(|address| !address.is_empty()) {
            match Connection::open(address, self.options()).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn options(&self) -> ConnectOptions {
        let config = self.config();
        ConnectOptions { client_id: config.client_id.clone(), timeout: config.request_timeout }
    }

    fn known<T>(&self, look: impl FnOnce(&mut Known) -> T) -> T {
        // Nothing panics while it holds the lock.
        look(&mut self.inner.known.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Names are checked before they are sent: the protocol has no room for longer ones.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    if name.is_empty() || name.len() > TOPIC_NAME_BYTES_MAX {
        return Err(Error::Config("a topic's name has 1 to 249 bytes"));
    }
    Ok(())
}
