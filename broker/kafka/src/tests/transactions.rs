use super::client::Client;
use super::consume::{fetch, records};
use super::produce::{only, produce};
use super::{Broker, topic_name};
use anabranch_types::batch::BatchBuilder;
use anabranch_types::{PartitionIndex, ProducerEpoch, ProducerId, Sequence, Timestamp};
use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::write_txn_markers_request::{
    WritableTxnMarker, WritableTxnMarkerTopic,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, DescribeProducersRequest,
    DescribeTransactionsRequest, EndTxnRequest, FetchResponse, GroupId, InitProducerIdRequest,
    ListOffsetsRequest, ListTransactionsRequest, OffsetFetchRequest, TransactionalId,
    TxnOffsetCommitRequest, WriteTxnMarkersRequest, describe_producers_request,
};
use kafka_protocol::protocol::StrBytes;
use std::time::Duration;

/// A transactional producer, by hand.
struct Producer {
    client: Client,
    id: i64,
    epoch: i16,
    sequence: i32,
}

fn transactional_id() -> TransactionalId {
    TransactionalId(StrBytes::from_static_str("mine"))
}

fn init(timeout_ms: i32) -> InitProducerIdRequest {
    InitProducerIdRequest::default()
        .with_transactional_id(Some(transactional_id()))
        .with_transaction_timeout_ms(timeout_ms)
        .with_producer_id((-1).into())
        .with_producer_epoch(-1)
}

fn error(code: i16) -> Result<(), ResponseError> {
    ResponseError::try_from_code(code).map_or(Ok(()), Err)
}

impl Producer {
    async fn new(broker: &Broker) -> Self {
        let mut client = broker.client().await;
        let given = client.call(4, init(60_000)).await;
        assert_eq!(given.error_code, 0);
        Self { client, id: given.producer_id.0, epoch: given.producer_epoch, sequence: 0 }
    }

    async fn add(&mut self, topic: &str, indexes: &[i32]) -> Result<(), ResponseError> {
        let topic = AddPartitionsToTxnTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(indexes.to_vec());
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(transactional_id())
            .with_v3_and_below_producer_id(self.id.into())
            .with_v3_and_below_producer_epoch(self.epoch)
            .with_v3_and_below_topics(vec![topic]);
        let answer = self.client.call(3, request).await.results_by_topic_v3_and_below;
        error(answer[0].results_by_partition[0].partition_error_code)
    }

    fn batch(&self, values: &[&str]) -> Bytes {
        let mut builder = BatchBuilder::default();
        let (id, epoch) = (ProducerId(self.id), ProducerEpoch(self.epoch));
        builder.set_producer(id, epoch, Sequence(self.sequence));
        builder.set_transactional();
        for value in values {
            let time = Timestamp(1_700_000_000_000);
            builder.push(time, Some(b"key"), Some(value.as_bytes()), &[]);
        }
        builder.build().expect("not compressed").freeze()
    }

    async fn send(&mut self, topic: &str, values: &[&str]) -> Result<(), ResponseError> {
        let request =
            produce(topic, 0, self.batch(values)).with_transactional_id(Some(transactional_id()));
        let answer = only(self.client.call(9, request).await);
        error(answer.error_code)?;
        self.sequence += values.len() as i32;
        Ok(())
    }

    async fn end(&mut self, commit: bool) -> Result<(), ResponseError> {
        let request = EndTxnRequest::default()
            .with_transactional_id(transactional_id())
            .with_producer_id(self.id.into())
            .with_producer_epoch(self.epoch)
            .with_committed(commit);
        error(self.client.call(3, request).await.error_code)
    }
}

/// What a consumer of committed records gets: (offset, value), with those of aborted transactions
/// left out, as the client does it.
async fn committed(client: &mut Client, topic: &str) -> (FetchResponse, Vec<(i64, String)>) {
    let response = client.call(11, fetch(topic, &[(0, 0)]).with_isolation_level(1)).await;
    let found = records(&response, 0);
    (response, found)
}

async fn end_offset(client: &mut Client, topic: &str, isolation: i8) -> i64 {
    let partition = ListOffsetsPartition::default().with_timestamp(-1);
    let topic =
        ListOffsetsTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default()
        .with_replica_id((-1).into())
        .with_isolation_level(isolation)
        .with_topics(vec![topic]);
    client.call(5, request).await.topics[0].partitions[0].offset
}

#[tokio::test]
async fn what_is_committed_is_read_and_what_is_aborted_is_listed() {
    let broker = Broker::start();
    broker.topic("t", 1, &[]).await;
    let mut reader = broker.client().await;
    let mut producer = Producer::new(&broker).await;
    assert_eq!(producer.send("t", &["early"]).await, Err(ResponseError::InvalidTxnState));
    assert_eq!(producer.end(true).await, Err(ResponseError::InvalidTxnState));
    assert_eq!(producer.add("t", &[0]).await, Ok(()));
    assert_eq!(producer.send("t", &["a", "b"]).await, Ok(()));
    let (response, found) = committed(&mut reader, "t").await;
    let partition = &response.responses[0].partitions[0];
    assert_eq!((partition.high_watermark, partition.last_stable_offset), (2, 0));
    assert!(found.is_empty());
    assert_eq!(end_offset(&mut reader, "t", 1).await, 0);
    assert_eq!(end_offset(&mut reader, "t", 0).await, 2);
    assert_eq!(producer.end(true).await, Ok(()));
    assert_eq!(producer.end(true).await, Ok(()), "asked again");
    assert_eq!(producer.end(false).await, Err(ResponseError::InvalidTxnState));
    assert_eq!(producer.send("t", &["late"]).await, Err(ResponseError::InvalidTxnState));
    let (response, found) = committed(&mut reader, "t").await;
    assert_eq!(response.responses[0].partitions[0].last_stable_offset, 3);
    assert_eq!(found[..2], [(0, "a".to_owned()), (1, "b".to_owned())]);

    assert_eq!(producer.add("t", &[0]).await, Ok(()));
    assert_eq!(producer.send("t", &["c"]).await, Ok(()));
    assert_eq!(producer.end(false).await, Ok(()));
    let (response, _) = committed(&mut reader, "t").await;
    let partition = &response.responses[0].partitions[0];
    assert_eq!(partition.last_stable_offset, 5);
    let aborted = partition.aborted_transactions.as_ref().expect("a list");
    let aborted: Vec<_> = aborted.iter().map(|one| (one.producer_id.0, one.first_offset)).collect();
    assert_eq!(aborted, [(producer.id, 3)]);
    let response = reader.call(11, fetch("t", &[(0, 0)])).await;
    assert_eq!(response.responses[0].partitions[0].aborted_transactions, None);
}

#[tokio::test]
async fn a_newer_producer_aborts_and_fences_the_older() {
    let broker = Broker::start();
    broker.topic("t", 1, &[]).await;
    let mut old = Producer::new(&broker).await;
    assert_eq!(old.add("t", &[0]).await, Ok(()));
    assert_eq!(old.send("t", &["lost"]).await, Ok(()));
    let mut new = Producer::new(&broker).await;
    assert_eq!((new.id, new.epoch), (old.id, old.epoch + 1));
    assert_eq!(end_offset(&mut new.client, "t", 1).await, 2, "it is decided");
    assert_eq!(old.send("t", &["late"]).await, Err(ResponseError::InvalidProducerEpoch));
    assert_eq!(old.add("t", &[0]).await, Err(ResponseError::ProducerFenced));
    assert_eq!(old.end(true).await, Err(ResponseError::ProducerFenced));
    assert_eq!(new.add("t", &[0]).await, Ok(()));
    assert_eq!(new.send("t", &["kept"]).await, Ok(()));
    assert_eq!(new.end(true).await, Ok(()));

    // A producer that recovers keeps its id (KIP-360); one that was replaced is told so.
    let known =
        |id: i64, epoch| init(60_000).with_producer_id(id.into()).with_producer_epoch(epoch);
    let again = new.client.call(4, known(new.id, new.epoch)).await;
    assert_eq!((again.error_code, again.producer_epoch), (0, new.epoch + 1));
    let retried = new.client.call(4, known(new.id, new.epoch)).await;
    assert_eq!((retried.error_code, retried.producer_epoch), (0, new.epoch + 1));
    let fenced = new.client.call(4, known(old.id, old.epoch)).await;
    assert_eq!(error(fenced.error_code), Err(ResponseError::ProducerFenced));
    let long = new.client.call(4, init(i32::MAX)).await;
    assert_eq!(error(long.error_code), Err(ResponseError::InvalidTransactionTimeout));
}

#[tokio::test]
async fn a_transaction_that_takes_too_long_is_aborted() {
    let broker = Broker::start();
    broker.topic("t", 1, &[]).await;
    let mut producer = Producer::new(&broker).await;
    let given = producer.client.call(4, init(1)).await;
    producer.epoch = given.producer_epoch;
    assert_eq!(producer.add("t", &[0]).await, Ok(()));
    assert_eq!(producer.send("t", &["slow"]).await, Ok(()));
    let log = broker.engine.catalog().by_name("t").map(|stream| stream.partitions[0]);
    let log = log.and_then(|id| broker.engine.partition(id)).expect("it is there");
    let interest = broker.engine.interest(&[log.id()]);
    let mut interest = interest;
    while log.last_stable().0 < 2 {
        let moved = tokio::time::timeout(Duration::from_secs(30), interest.changed());
        moved.await.expect("it is aborted in time");
    }
    assert_eq!(producer.end(true).await, Err(ResponseError::ProducerFenced));
    let id = ProducerId(producer.id);
    let aborted = log.aborted_within(log.log_start(), log.high_watermark());
    assert_eq!(
        aborted.iter().map(|one| (one.producer, one.first.0)).collect::<Vec<_>>(),
        [(id, 0)]
    );
}

fn ask(stable: bool) -> OffsetFetchRequest {
    let topic = OffsetFetchRequestTopic::default()
        .with_name(topic_name("t"))
        .with_partition_indexes(vec![0]);
    OffsetFetchRequest::default()
        .with_group_id(GroupId(StrBytes::from_static_str("g")))
        .with_topics(Some(vec![topic]))
        .with_require_stable(stable)
}

async fn committed_offset(client: &mut Client, stable: bool) -> Result<i64, ResponseError> {
    let partition = client.call(7, ask(stable)).await.topics[0].partitions[0].clone();
    error(partition.error_code)?;
    Ok(partition.committed_offset)
}

#[tokio::test]
async fn offsets_are_committed_with_the_transaction() {
    let broker = Broker::start();
    broker.topic("t", 1, &[]).await;
    let mut reader = broker.client().await;
    let mut producer = Producer::new(&broker).await;
    let group = || GroupId(StrBytes::from_static_str("g"));
    let (id, epoch) = (producer.id, producer.epoch);
    let commit = |offset: i64| {
        let partition = TxnOffsetCommitRequestPartition::default().with_committed_offset(offset);
        let topic = TxnOffsetCommitRequestTopic::default()
            .with_name(topic_name("t"))
            .with_partitions(vec![partition]);
        TxnOffsetCommitRequest::default()
            .with_transactional_id(transactional_id())
            .with_group_id(group())
            .with_producer_id(id.into())
            .with_producer_epoch(epoch)
            .with_topics(vec![topic])
    };
    let code = |answer: kafka_protocol::messages::TxnOffsetCommitResponse| {
        error(answer.topics[0].partitions[0].error_code)
    };
    assert_eq!(code(producer.client.call(3, commit(5)).await), Err(ResponseError::InvalidTxnState));
    let add = || {
        AddOffsetsToTxnRequest::default()
            .with_transactional_id(transactional_id())
            .with_producer_id(id.into())
            .with_producer_epoch(epoch)
            .with_group_id(group())
    };
    assert_eq!(producer.client.call(3, add()).await.error_code, 0);
    assert_eq!(code(producer.client.call(3, commit(5)).await), Ok(()));
    assert_eq!(committed_offset(&mut reader, false).await, Ok(-1));
    let unstable = Err(ResponseError::UnstableOffsetCommit);
    assert_eq!(committed_offset(&mut reader, true).await, unstable);
    // A client that cannot be told so waits for the end.
    let asked = reader.send(5, &ask(false)).await;
    assert_eq!(producer.end(false).await, Ok(()));
    let answer = reader.receive::<OffsetFetchRequest>(5, asked).await;
    assert_eq!(answer.topics[0].partitions[0].committed_offset, -1);
    assert_eq!(committed_offset(&mut reader, true).await, Ok(-1));

    assert_eq!(producer.client.call(3, add()).await.error_code, 0);
    assert_eq!(code(producer.client.call(3, commit(7)).await), Ok(()));
    drop((producer, reader));

    // Pending offsets outlive the broker, and so does the transaction.
    let broker = broker.restart().await;
    let mut reader = broker.client().await;
    assert_eq!(committed_offset(&mut reader, true).await, unstable);
    let mut producer = Producer { client: broker.client().await, id, epoch, sequence: 0 };
    assert_eq!(producer.end(true).await, Ok(()));
    assert_eq!(committed_offset(&mut reader, true).await, Ok(7));
}

#[tokio::test]
async fn an_open_transaction_outlives_the_broker() {
    let broker = Broker::start();
    broker.topic("t", 1, &[]).await;
    broker.topic("gone", 1, &[]).await;
    let mut producer = Producer::new(&broker).await;
    for (topic, values) in [("t", &["x"][..]), ("gone", &["y"])] {
        assert_eq!(producer.add(topic, &[0]).await, Ok(()));
        producer.sequence = 0;
        assert_eq!(producer.send(topic, values).await, Ok(()));
    }
    let (id, epoch) = (producer.id, producer.epoch);
    drop(producer);
    let broker = broker.restart().await;
    let mut reader = broker.client().await;
    assert_eq!(end_offset(&mut reader, "t", 1).await, 0);
    // A partition that is gone holds nobody up.
    broker.engine.drop_stream("gone").await.expect("it is there");
    let mut producer = Producer { client: broker.client().await, id, epoch, sequence: 1 };
    assert_eq!(producer.send("t", &["z"]).await, Ok(()));
    assert_eq!(producer.end(true).await, Ok(()));
    // What was there before the restart is read from its segment, the rest from memory.
    let (_, found) = committed(&mut reader, "t").await;
    assert_eq!(found, [(0, "x".to_owned())]);
    let response = reader.call(11, fetch("t", &[(0, 1)]).with_isolation_level(1)).await;
    assert_eq!(records(&response, 0)[0], (1, "z".to_owned()));
    assert_eq!(end_offset(&mut reader, "t", 1).await, 3);
    let catalog = broker.engine.catalog();
    let stream = catalog.by_name("t").expect("it is there");
    assert!(stream.partition(PartitionIndex(0)).is_some());
}

#[tokio::test]
async fn a_stranger_with_the_same_id_keeps_no_transaction_open() {
    let broker = Broker::start();
    broker.topic("t", 1, &[]).await;
    let mut producer = Producer::new(&broker).await;
    assert_eq!(producer.add("t", &[0]).await, Ok(()));
    assert_eq!(producer.send("t", &["mine"]).await, Ok(()));
    let mut builder = BatchBuilder::default();
    builder.set_producer(ProducerId(producer.id), ProducerEpoch(100), Sequence(0));
    builder.push(Timestamp(1_700_000_000_000), None, Some(b"a stranger's"), &[]);
    let batch = builder.build().expect("not compressed").freeze();
    let mut stranger = broker.client().await;
    assert_eq!(only(stranger.call(9, produce("t", 0, batch)).await).error_code, 0);
    assert_eq!(producer.end(true).await, Ok(()));
    assert_eq!(end_offset(&mut stranger, "t", 1).await, 3, "data, the stranger's, the marker");
}

#[tokio::test]
async fn operators_see_a_transaction_and_end_it() {
    let broker = Broker::start();
    broker.topic("t", 2, &[]).await;
    let mut producer = Producer::new(&broker).await;
    producer.add("t", &[0]).await.expect("it is open");
    producer.send("t", &["a"]).await.expect("it is open");
    let mut client = broker.client().await;
    let all = client.call(2, ListTransactionsRequest::default().with_duration_filter(-1)).await;
    assert_eq!(all.transaction_states.len(), 1);
    let state = &all.transaction_states[0];
    assert_eq!((&**state.transactional_id, &*state.transaction_state), ("mine", "Ongoing"));
    for (filter, unknown, found) in [("Empty", 0, 0), ("Ongoing", 0, 1), ("Weird", 1, 0)] {
        let request = ListTransactionsRequest::default()
            .with_duration_filter(-1)
            .with_state_filters(vec![StrBytes::from_static_str(filter)]);
        let told = client.call(2, request).await;
        let counts = (told.unknown_state_filters.len(), told.transaction_states.len());
        assert_eq!(counts, (unknown, found), "{filter}");
    }
    for (pattern, found) in [("m.*", 1), ("in", 0)] {
        let request = ListTransactionsRequest::default()
            .with_duration_filter(-1)
            .with_transactional_id_pattern(Some(StrBytes::from_static_str(pattern)));
        let told = client.call(2, request).await;
        assert_eq!(told.transaction_states.len(), found, "{pattern}");
    }
    let ids = vec![transactional_id(), TransactionalId(StrBytes::from_static_str("other"))];
    let request = DescribeTransactionsRequest::default().with_transactional_ids(ids);
    let told = client.call(0, request).await.transaction_states;
    assert_eq!((&*told[0].transaction_state, told[0].producer_id.0), ("Ongoing", producer.id));
    assert_eq!(told[0].topics[0].partitions, [0]);
    assert_eq!(error(told[1].error_code), Err(ResponseError::TransactionalIdNotFound));

    let topic = describe_producers_request::TopicRequest::default()
        .with_name(topic_name("t"))
        .with_partition_indexes(vec![0, 1, 2]);
    let request = DescribeProducersRequest::default().with_topics(vec![topic]);
    let told = client.call(0, request.clone()).await.topics.remove(0).partitions;
    assert_eq!((told[0].error_code, told[0].active_producers.len()), (0, 1));
    let seen = &told[0].active_producers[0];
    assert_eq!((seen.producer_id.0, seen.last_sequence), (producer.id, 0));
    assert_eq!((seen.current_txn_start_offset, told[1].active_producers.len()), (0, 0));
    assert_eq!(error(told[2].error_code), Err(ResponseError::UnknownTopicOrPartition));

    let topic = WritableTxnMarkerTopic::default()
        .with_name(topic_name("t"))
        .with_partition_indexes(vec![0, 2]);
    let marker = WritableTxnMarker::default()
        .with_producer_id(producer.id.into())
        .with_producer_epoch(producer.epoch)
        .with_topics(vec![topic]);
    let markers = WriteTxnMarkersRequest::default().with_markers(vec![marker]);
    let told = client.call(1, markers).await.markers.remove(0).topics.remove(0).partitions;
    assert_eq!(error(told[0].error_code), Ok(()));
    assert_eq!(error(told[1].error_code), Err(ResponseError::UnknownTopicOrPartition));
    let told = client.call(0, request.clone()).await.topics.remove(0).partitions;
    assert_eq!(told[0].active_producers[0].current_txn_start_offset, -1);

    // A partition that has but a marker knows the producer too; when it began stays known.
    producer.end(true).await.expect("it is open");
    producer.add("t", &[1]).await.expect("the next one");
    let told = client.call(0, request.clone()).await.topics.remove(0).partitions;
    assert_eq!(told[1].active_producers.len(), 0);
    producer.end(true).await.expect("it is open");
    let told = client.call(0, request).await.topics.remove(0).partitions;
    let seen = &told[1].active_producers[0];
    assert_eq!((seen.producer_id.0, seen.last_sequence), (producer.id, -1));
    let request =
        DescribeTransactionsRequest::default().with_transactional_ids(vec![transactional_id()]);
    let told = client.call(0, request).await.transaction_states.remove(0);
    assert_eq!(&*told.transaction_state, "CompleteCommit");
    assert!(told.transaction_start_time_ms > 0);
}

#[tokio::test]
async fn batches_come_from_the_producer_of_their_transaction() {
    let broker = Broker::start();
    broker.topic("t", 1, &[]).await;
    let mut producer = Producer::new(&broker).await;
    assert_eq!(producer.add("t", &[0]).await, Ok(()));
    let mut send = async |name: &'static str, epoch: i16| {
        producer.epoch = epoch;
        let id = TransactionalId(StrBytes::from_static_str(name));
        let request = produce("t", 0, producer.batch(&["x"])).with_transactional_id(Some(id));
        error(only(producer.client.call(11, request).await).error_code)
    };
    assert_eq!(send("mine", 1).await, Err(ResponseError::InvalidProducerEpoch));
    assert_eq!(send("other", 0).await, Err(ResponseError::InvalidProducerIdMapping));
    assert_eq!(send("mine", 0).await, Ok(()));
}

/// KIP-890: nothing is added beforehand, and each end gives a new epoch.
#[tokio::test]
async fn transactions_of_version_2_need_no_words_before() {
    let broker = Broker::start();
    broker.topic("t", 2, &[]).await;
    let mut reader = broker.client().await;
    let versions = reader.versions(4).await;
    let feature = &versions.finalized_features[0];
    assert_eq!((&*feature.name, feature.max_version_level), ("transaction.version", 2));
    assert!(reader.versions(3).await.finalized_features.is_empty());
    let mut producer = Producer::new(&broker).await;
    // Of a producer that the partition does not know, too.
    producer.sequence = 2;
    let late =
        produce("t", 0, producer.batch(&["x"])).with_transactional_id(Some(transactional_id()));
    let late = only(producer.client.call(12, late).await);
    assert_eq!(error(late.error_code), Err(ResponseError::OutOfOrderSequenceNumber));
    for (epoch, commit) in [(0, true), (1, false), (2, true)] {
        assert_eq!(producer.epoch, epoch);
        producer.sequence = 0;
        let request =
            produce("t", 0, producer.batch(&["a"])).with_transactional_id(Some(transactional_id()));
        assert_eq!(only(producer.client.call(12, request).await).error_code, 0);
        let partition =
            TxnOffsetCommitRequestPartition::default().with_committed_offset(i64::from(epoch) + 10);
        let topic = TxnOffsetCommitRequestTopic::default()
            .with_name(topic_name("t"))
            .with_partitions(vec![partition]);
        let offsets = TxnOffsetCommitRequest::default()
            .with_transactional_id(transactional_id())
            .with_group_id(GroupId(StrBytes::from_static_str("g")))
            .with_producer_id(producer.id.into())
            .with_producer_epoch(epoch)
            .with_topics(vec![topic]);
        let answer = producer.client.call(5, offsets).await;
        assert_eq!(answer.topics[0].partitions[0].error_code, 0);
        let end = EndTxnRequest::default()
            .with_transactional_id(transactional_id())
            .with_producer_id(producer.id.into())
            .with_producer_epoch(epoch)
            .with_committed(commit);
        for _ in 0..2 {
            let ended = producer.client.call(5, end.clone()).await;
            assert_eq!((ended.error_code, ended.producer_id.0), (0, producer.id));
            assert_eq!(ended.producer_epoch, epoch + 1);
        }
        // What comes late joins no other transaction.
        let late =
            produce("t", 1, producer.batch(&["b"])).with_transactional_id(Some(transactional_id()));
        let late = only(producer.client.call(12, late).await);
        assert_eq!(error(late.error_code), Err(ResponseError::InvalidProducerEpoch));
        producer.epoch += 1;
    }
    let (response, _) = committed(&mut reader, "t").await;
    let partition = &response.responses[0].partitions[0];
    assert_eq!((partition.last_stable_offset, partition.high_watermark), (6, 6));
    assert_eq!(partition.aborted_transactions.as_ref().map(Vec::len), Some(1));
    assert_eq!(end_offset(&mut reader, "t", 1).await, 6);
    assert_eq!(committed_offset(&mut reader, true).await, Ok(12));
}
