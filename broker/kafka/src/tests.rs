//! The door with a real engine behind it, over real sockets, as clients see it.

mod client;
mod consume;
mod consumer_groups;
mod groups;
mod migration;
mod partitions;
mod produce;
mod quotas;
mod topics;
mod transactions;

use crate::KafkaDoor;
use crate::settings::{GroupSettings, HostPort, KafkaSettings, Listener};
use anabranch_engine::{Engine, Session, Settings};
use client::Client;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::{CreateTopicsRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use std::net::SocketAddr;
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A broker of its own for a test.
pub(crate) struct Broker {
    pub(crate) engine: Session,
    pub(crate) address: SocketAddr,
    stop: CancellationToken,
    serving: JoinHandle<()>,
    directory: TempDir,
}

impl Broker {
    pub(crate) fn start() -> Self {
        Self::start_in(tempfile::tempdir().expect("a directory"), |_| {})
    }

    pub(crate) fn start_with(change: impl FnOnce(&mut KafkaSettings)) -> Self {
        Self::start_in(tempfile::tempdir().expect("a directory"), change)
    }

    fn start_in(directory: TempDir, change: impl FnOnce(&mut KafkaSettings)) -> Self {
        let engine = Engine::open_with_tables_in_memory(Settings {
            disk_reserve_bytes: 0,
            journal_file_bytes: 4 << 20,
            ..Settings::new(directory.path())
        });
        let engine = engine.expect("a sound directory");
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut settings = KafkaSettings {
            listeners: vec![Listener { listen, advertise: None }],
            groups: GroupSettings { initial_delay_ms: 0, ..GroupSettings::default() },
            ..KafkaSettings::default()
        };
        change(&mut settings);
        let door = KafkaDoor::bind(settings).expect("a free port");
        let address = door.addresses()[0];
        let stop = CancellationToken::new();
        let serving = tokio::spawn(door.serve(engine.clone(), stop.clone()));
        let engine = engine.own_session();
        Self { engine, address, stop, serving, directory }
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.address).await
    }

    /// Stops it as an operator would, and starts it again on the same directory.
    pub(crate) async fn restart(self) -> Self {
        self.stop.cancel();
        self.serving.await.expect("it does not panic");
        self.engine.stop();
        drop(self.engine);
        Self::start_in(self.directory, |_| {})
    }

    /// Creates a topic over the wire.
    pub(crate) async fn topic(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        let configs = configs.iter().map(|(name, value)| {
            CreatableTopicConfig::default()
                .with_name(StrBytes::from_string((*name).to_owned()))
                .with_value(Some(StrBytes::from_string((*value).to_owned())))
        });
        let topic = CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(partitions)
            .with_replication_factor(1)
            .with_configs(configs.collect());
        let request = CreateTopicsRequest::default().with_topics(vec![topic]);
        let response = self.client().await.call(7, request).await;
        assert_eq!(response.topics[0].error_code, 0, "{:?}", response.topics[0]);
    }
}

pub(crate) fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

#[tokio::test]
async fn a_taken_port_is_an_error_that_names_the_key() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let listen = taken.local_addr().expect("bound");
    let settings = KafkaSettings {
        listeners: vec![Listener { listen, advertise: None }],
        ..KafkaSettings::default()
    };
    let error = KafkaDoor::bind(settings).expect_err("it is taken").to_string();
    assert!(error.contains("kafka.listen") && error.contains(&listen.to_string()), "{error}");
}

#[test]
fn advertised_addresses_are_ones_to_connect_to() {
    let check = |words: &str, expected: Option<(&str, u16)>| {
        let parsed = words.parse::<HostPort>().ok();
        let expected = expected.map(|(host, port)| HostPort { host: host.to_owned(), port });
        assert_eq!(parsed, expected, "{words}");
    };
    check("broker.example.com:9092", Some(("broker.example.com", 9092)));
    check("[2001:db8::1]:9092", Some(("2001:db8::1", 9092)));
    check("0.0.0.0:9092", None);
    check("[::]:9092", None);
    check("::1:9092", None);
    check("broker:0", None);
    check("broker", None);
    check(":9092", None);
}

#[tokio::test]
async fn connections_beyond_the_bound_are_closed() {
    let broker = Broker::start_with(|settings| settings.rules.connections_max = 2);
    let (mut one, mut two) = (broker.client().await, broker.client().await);
    one.versions(0).await;
    two.versions(0).await;
    let mut three = broker.client().await;
    assert!(three.is_closed().await);
    drop(one);
    // The place of a connection that ended is free again, once the door has noticed.
    loop {
        let mut next = broker.client().await;
        if next.try_versions().await {
            break;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let broker = Broker::start_with(|settings| {
        settings.stall_timeout = Duration::from_millis(50);
        settings.idle_timeout = Duration::from_millis(200);
    });
    let mut client = broker.client().await;
    client.versions(3).await;
    assert!(client.is_closed().await);
    // Half a request is given less time.
    let mut client = broker.client().await;
    client.send_bytes(&[0, 0, 0, 100, 0, 3]).await;
    assert!(client.is_closed().await);
}
