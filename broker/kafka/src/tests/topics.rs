use super::{Broker, topic_name};
use crate::apis::APIS;
use crate::settings::HostPort;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    ApiVersionsRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeClusterRequest,
    DescribeConfigsRequest, DescribeLogDirsRequest, IncrementalAlterConfigsRequest,
    MetadataRequest,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn metadata(name: &str) -> MetadataRequest {
    let topic = MetadataRequestTopic::default().with_name(Some(topic_name(name)));
    MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(true)
}

#[tokio::test]
async fn versions_are_answered_as_old_clients_need_it() {
    let broker = Broker::start();
    let mut client = broker.client().await;
    for version in 0..=4 {
        let response = client.versions(version).await;
        assert_eq!((response.error_code, response.api_keys.len()), (0, APIS.len()));
        let produce = &response.api_keys[0];
        // KAFKA-18659: librdkafka wants to see 0.
        assert_eq!((produce.api_key, produce.min_version, produce.max_version), (0, 0, 13));
    }
    // An unknown version is answered in version 0 with our range, and the connection lives.
    let mut frame = vec![0, 0, 0, 14, 0, 18, 0, 99, 0, 0, 0, 5];
    frame.extend([0, 1, b'x', 0, 0, 0]);
    client.send_bytes(&frame).await;
    let answer = client.receive_frame().await.expect("answered");
    assert_eq!(&answer[..], [0, 0, 0, 5, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4]);
    client.versions(3).await;
    // KIP-511.
    let request = ApiVersionsRequest::default()
        .with_client_software_name(text("-no-"))
        .with_client_software_version(text("1"));
    let refused = client.call(3, request).await;
    assert_eq!(refused.error_code, ResponseError::InvalidRequest.code());
    client.versions(4).await;
}

#[tokio::test]
async fn metadata_creates_topics_that_may_be_created() {
    let broker = Broker::start();
    let mut client = broker.client().await;
    let mut no = metadata("t");
    no.allow_auto_topic_creation = false;
    let response = client.call(12, no).await;
    let unknown = ResponseError::UnknownTopicOrPartition.code();
    assert_eq!(response.topics[0].error_code, unknown);
    for version in 0..=13 {
        let response = client.call(version, metadata("t")).await;
        assert_eq!(response.brokers[0].port, i32::from(broker.address.port()));
        assert_eq!(&*response.brokers[0].host, "127.0.0.1");
        let topic = &response.topics[0];
        assert_eq!((topic.error_code, topic.partitions.len()), (0, 1), "version {version}");
        assert_eq!(topic.partitions[0].leader_id, response.brokers[0].node_id);
        if version >= 2 {
            assert_eq!(response.cluster_id.as_ref().map(|id| id.len()), Some(22));
        }
        if version >= 10 {
            assert_ne!(topic.topic_id, Uuid::nil());
        }
    }
    for name in ["__mine", "a/b", ""] {
        let response = client.call(9, metadata(name)).await;
        let invalid = ResponseError::InvalidTopicException.code();
        assert_eq!(response.topics[0].error_code, invalid, "{name:?}");
    }
    // Null asks for all; from version 1 an empty list asks for none. Internal ones are hidden.
    let all = client.call(1, MetadataRequest::default().with_topics(None)).await;
    assert_eq!(all.topics.len(), 1);
    let all = client.call(0, MetadataRequest::default().with_topics(Some(vec![]))).await;
    assert_eq!(all.topics.len(), 1);
    let none = client.call(1, MetadataRequest::default().with_topics(Some(vec![]))).await;
    assert_eq!(none.topics.len(), 0);
    // By id; a name beside an id does not count.
    let id = broker.engine.catalog().by_name("t").expect("created").id.0;
    for (id, error) in [(id, 0), (Uuid::from_u128(1), ResponseError::UnknownTopicId.code())] {
        let topic = MetadataRequestTopic::default().with_topic_id(id).with_name(None);
        let request = MetadataRequest::default().with_topics(Some(vec![topic]));
        let response = client.call(12, request).await;
        assert_eq!(response.topics[0].error_code, error, "{id}");
        let named = MetadataRequestTopic::default().with_name(Some(topic_name("other")));
        let both = MetadataRequestTopic::default().with_topic_id(id);
        let both = both.with_name(Some(topic_name("another")));
        let request = MetadataRequest::default().with_topics(Some(vec![named, both]));
        let response = client.call(12, request).await;
        assert_eq!((response.topics.len(), response.topics[0].error_code), (1, error), "{id}");
    }
}

#[tokio::test]
async fn the_advertised_address_is_the_one_that_was_set() {
    let broker = Broker::start_with(|settings| {
        let host = "broker.example.com".to_owned();
        settings.listeners[0].advertise = Some(HostPort { host, port: 19092 });
    });
    let mut client = broker.client().await;
    let response = client.call(9, metadata("t")).await;
    let broker = &response.brokers[0];
    assert_eq!((&*broker.host, broker.port), ("broker.example.com", 19092));
    let cluster = client.call(1, DescribeClusterRequest::default().with_endpoint_type(1)).await;
    assert_eq!(&*cluster.brokers[0].host, "broker.example.com");
}

#[tokio::test]
async fn a_wildcard_is_never_advertised() {
    let broker = Broker::start_with(|settings| {
        settings.listeners[0].listen = ([0, 0, 0, 0], 0).into();
    });
    let address = ([127, 0, 0, 1], broker.address.port()).into();
    let mut client = super::Client::connect(address).await;
    let response = client.call(9, metadata("t")).await;
    assert_eq!(&*response.brokers[0].host, "127.0.0.1");
}

fn create(topics: Vec<CreatableTopic>) -> CreateTopicsRequest {
    CreateTopicsRequest::default().with_topics(topics).with_timeout_ms(1000)
}

fn topic(name: &str, partitions: i32, replicas: i16) -> CreatableTopic {
    CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(partitions)
        .with_replication_factor(replicas)
}

#[tokio::test]
async fn topics_are_created_as_asked_or_refused_in_words() {
    let broker = Broker::start();
    let mut client = broker.client().await;
    for version in 2..=7 {
        let name = format!("v{version}");
        let config = CreatableTopicConfig::default()
            .with_name(text("retention.ms"))
            .with_value(Some(text("5000")));
        let request = create(vec![topic(&name, 3, 1).with_configs(vec![config])]);
        let created = &client.call(version, request).await.topics[0];
        assert_eq!(created.error_code, 0, "{created:?}");
        let stream = broker.engine.catalog().by_name(&name).cloned().expect("created");
        assert_eq!(stream.partitions.len(), 3);
        assert_eq!(stream.options.retention_ms, Some(5000));
        if version >= 5 {
            assert_eq!((created.num_partitions, created.replication_factor), (3, 1));
            // Java fails on null.
            assert!(created.configs.as_ref().is_some_and(|configs| !configs.is_empty()));
        }
        if version >= 7 {
            assert_eq!(created.topic_id, stream.id.0);
        }
    }
    let mut check = async |topic: CreatableTopic, error: ResponseError| {
        let created = &client.call(7, create(vec![topic])).await.topics[0];
        let message = created.error_message.as_deref().unwrap_or_default();
        assert_eq!(created.error_code, error.code(), "{message}");
        assert!(!message.is_empty());
    };
    check(topic("v7", 1, 1), ResponseError::TopicAlreadyExists).await;
    check(topic("a b", 1, 1), ResponseError::InvalidTopicException).await;
    check(topic("x", 0, 1), ResponseError::InvalidPartitions).await;
    check(topic("x", 1_000_000, 1), ResponseError::InvalidPartitions).await;
    check(topic("x", 1, 3), ResponseError::InvalidReplicationFactor).await;
    let config = CreatableTopicConfig::default().with_name(text("no.such")).with_value(None);
    let with_config = |value: Option<&str>| {
        let config = config.clone().with_value(value.map(text));
        topic("x", 1, 1).with_configs(vec![config])
    };
    check(with_config(Some("1")), ResponseError::InvalidConfig).await;
    let assign = |index: i32, broker: i32| {
        CreatableReplicaAssignment::default()
            .with_partition_index(index)
            .with_broker_ids(vec![broker.into()])
    };
    let assigned = |all| topic("x", -1, -1).with_assignments(all);
    check(assigned(vec![assign(0, 9)]), ResponseError::InvalidReplicaAssignment).await;
    check(assigned(vec![assign(1, 1)]), ResponseError::InvalidReplicaAssignment).await;
    // Twice in one request: answered once, created never.
    let twice = client.call(7, create(vec![topic("x", 1, 1), topic("x", 1, 1)])).await;
    assert_eq!(twice.topics.len(), 1);
    assert_eq!(twice.topics[0].error_code, ResponseError::InvalidRequest.code());
    // Only checked.
    let only = create(vec![topic("x", -1, -1)]).with_validate_only(true);
    let checked = client.call(7, only).await;
    assert_eq!((checked.topics[0].error_code, checked.topics[0].num_partitions), (0, 1));
    assert!(broker.engine.catalog().by_name("x").is_none());
    let good = assigned(vec![assign(1, 1), assign(0, 1)]);
    let created = client.call(7, create(vec![good])).await;
    assert_eq!((created.topics[0].error_code, created.topics[0].num_partitions), (0, 2));
}

#[tokio::test]
async fn topics_are_deleted_by_name_and_by_id() {
    let broker = Broker::start();
    let mut client = broker.client().await;
    for version in 1..=5 {
        broker.topic("t", 1, &[]).await;
        let request = DeleteTopicsRequest::default()
            .with_topic_names(vec![topic_name("t"), topic_name("nowhere")]);
        let deleted = client.call(version, request).await.responses;
        let codes: Vec<_> = deleted.iter().map(|each| each.error_code).collect();
        assert_eq!(codes, [0, ResponseError::UnknownTopicOrPartition.code()]);
    }
    broker.topic("t", 1, &[]).await;
    let id = broker.engine.catalog().by_name("t").expect("created").id.0;
    let by_id = |id| DeleteTopicState::default().with_name(None).with_topic_id(id);
    let request = DeleteTopicsRequest::default().with_topics(vec![by_id(id), by_id(id)]);
    let deleted = client.call(6, request).await.responses;
    assert_eq!(deleted[0].name.as_deref().map(|name| &**name), Some("t"));
    let codes: Vec<_> = deleted.iter().map(|each| each.error_code).collect();
    assert_eq!(codes, [0, ResponseError::UnknownTopicId.code()]);
}

#[tokio::test]
async fn settings_are_described_set_and_reset() {
    let broker = Broker::start();
    broker.topic("t", 1, &[("retention.ms", "5000")]).await;
    let mut client = broker.client().await;
    let resource = |kind: i8, name: &str| {
        DescribeConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(text(name))
            .with_configuration_keys(None)
    };
    for version in 1..=4 {
        let request = DescribeConfigsRequest::default()
            .with_resources(vec![resource(2, "t"), resource(4, "1"), resource(2, "nowhere")])
            .with_include_synonyms(true);
        let results = client.call(version, request).await.results;
        assert_eq!(results[2].error_code, ResponseError::UnknownTopicOrPartition.code());
        assert!(results[1].configs.iter().any(|each| &*each.name == "num.partitions"));
        let value = |name: &str| {
            let config = results[0].configs.iter().find(|each| &*each.name == name);
            let config = config.unwrap_or_else(|| panic!("{name} is not described"));
            (config.value.as_deref().unwrap_or_default().to_owned(), config.config_source)
        };
        assert_eq!(value("retention.ms"), ("5000".to_owned(), 1));
        assert_eq!(value("cleanup.policy"), ("delete".to_owned(), 5));
    }
    let config = |name: &str, operation: i8, value: Option<&str>| {
        AlterableConfig::default()
            .with_name(text(name))
            .with_config_operation(operation)
            .with_value(value.map(text))
    };
    let mut check = async |config: AlterableConfig, validate: bool, error: i16| {
        let resource = AlterConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(text("t"))
            .with_configs(vec![config]);
        let request = IncrementalAlterConfigsRequest::default()
            .with_resources(vec![resource])
            .with_validate_only(validate);
        let result = &client.call(1, request).await.responses[0];
        assert_eq!(result.error_code, error, "{:?}", result.error_message);
    };
    let retention = || {
        let stream = broker.engine.catalog().by_name("t").cloned().expect("created");
        stream.options.retention_ms
    };
    let invalid = ResponseError::InvalidConfig.code();
    check(config("retention.ms", 0, Some("7000")), true, 0).await;
    assert_eq!(retention(), Some(5000));
    check(config("retention.ms", 0, Some(" 07000 ")), false, 0).await;
    let kept = broker.engine.catalog().by_name("t").cloned().expect("created");
    assert_eq!(kept.settings["retention.ms"], "7000");
    assert_eq!(retention(), Some(7000));
    check(config("retention.ms", 0, Some("soon")), true, invalid).await;
    check(config("retention.ms", 0, Some("soon")), false, invalid).await;
    check(config("retention.ms", 2, Some("1")), false, invalid).await;
    check(config("no.such", 0, Some("1")), false, invalid).await;
    check(config("retention.ms", 1, None), false, 0).await;
    assert_eq!(retention(), Some(604_800_000));
    check(config("leader.replication.throttled.replicas", 2, Some("0:1")), false, 0).await;
    let logs = client.call(2, DescribeLogDirsRequest::default().with_topics(None)).await;
    assert_eq!(logs.results[0].topics[0].partitions.len(), 1);
}

#[tokio::test]
async fn broker_and_groups_have_settings() {
    let broker = Broker::start();
    let mut client = broker.client().await;
    let alter =
        |kind: i8, name: &'static str, operation, value: Option<&'static str>, of: &'static str| {
            let config = AlterableConfig::default()
                .with_name(StrBytes::from_static_str(name))
                .with_config_operation(operation)
                .with_value(value.map(StrBytes::from_static_str));
            let resource = AlterConfigsResource::default()
                .with_resource_type(kind)
                .with_resource_name(StrBytes::from_static_str(of))
                .with_configs(vec![config]);
            IncrementalAlterConfigsRequest::default().with_resources(vec![resource])
        };
    for (kind, of, name, operation, value, expected) in [
        (4, "1", "background.threads", 0, Some("9"), 0),
        (4, "1", "background.threads", 0, Some("many"), ResponseError::InvalidConfig.code()),
        (4, "1", "broker.id", 0, Some("9"), ResponseError::InvalidRequest.code()),
        (4, "7", "background.threads", 2, Some("9"), ResponseError::InvalidRequest.code()),
        (2, "", "retention.ms", 0, Some("9"), ResponseError::InvalidRequest.code()),
        (2, "", "retention.ms", 2, Some("9"), ResponseError::InvalidConfig.code()),
        (2, "", "retention.ms", 0, None, ResponseError::InvalidRequest.code()),
        (4, "", "log.cleanup.policy", 2, Some("compact"), 0),
        (4, "", "log.cleanup.policy", 3, Some("delete"), 0),
        (32, "g", "consumer.session.timeout.ms", 0, Some("50000"), 0),
        (32, "g", "consumer.session.timeout.ms", 0, Some("1"), ResponseError::InvalidConfig.code()),
        (32, "", "consumer.session.timeout.ms", 1, None, ResponseError::InvalidRequest.code()),
        (32, "g", "no.such", 0, Some("1"), ResponseError::InvalidConfig.code()),
    ] {
        let told = client.call(1, alter(kind, name, operation, value, of)).await;
        assert_eq!(told.responses[0].error_code, expected, "{of} {name} {value:?}");
    }
    let broker = broker.restart().await;
    let mut client = broker.client().await;
    let described = |kind: i8, of: &'static str, name: &'static str| {
        let resource = DescribeConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(StrBytes::from_static_str(of))
            .with_configuration_keys(Some(vec![StrBytes::from_static_str(name)]));
        DescribeConfigsRequest::default().with_resources(vec![resource])
    };
    for (kind, of, name, value, source) in [
        (4, "1", "background.threads", "9", 2),
        (4, "1", "log.cleanup.policy", "compact", 3),
        (4, "1", "num.io.threads", "8", 5),
        (4, "1", "node.id", "1", 4),
        (32, "g", "consumer.session.timeout.ms", "50000", 8),
        (32, "h", "consumer.session.timeout.ms", "45000", 5),
    ] {
        let told = client.call(4, described(kind, of, name)).await;
        let config = &told.results[0].configs[0];
        let found = (config.value.as_deref(), config.config_source);
        assert_eq!(found, (Some(value), source), "{of} {name}");
    }
    // What the broker's settings say of topics holds for new ones.
    broker.topic("t", 1, &[]).await;
    let told = client.call(4, described(2, "t", "cleanup.policy")).await;
    assert_eq!(told.results[0].configs[0].value.as_deref(), Some("compact"));
}
