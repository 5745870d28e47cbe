use super::client::Client;
use super::{Broker, topic_name};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::consumer_group_heartbeat_response::Assignment;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
    DeleteGroupsRequest, DescribeGroupsRequest, GroupId, ListGroupsRequest, OffsetCommitRequest,
};
use kafka_protocol::protocol::StrBytes;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn group(name: &str) -> GroupId {
    GroupId(text(name))
}

/// What a member says: at epoch 0 everything, later only what it has.
fn heartbeat(member: &str, epoch: i32, owned: &[TopicPartitions]) -> ConsumerGroupHeartbeatRequest {
    let request = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group("g"))
        .with_member_id(text(member))
        .with_member_epoch(epoch)
        .with_topic_partitions(Some(owned.to_vec()));
    if epoch != 0 {
        return request.with_rebalance_timeout_ms(-1).with_subscribed_topic_names(None);
    }
    request
        .with_rebalance_timeout_ms(60_000)
        .with_subscribed_topic_names(Some(vec![topic_name("t")]))
}

fn has(told: &ConsumerGroupHeartbeatResponse) -> Vec<TopicPartitions> {
    let Assignment { topic_partitions, .. } = told.assignment.clone().expect("it is told");
    let owned = topic_partitions.into_iter().map(|topic| {
        TopicPartitions::default().with_topic_id(topic.topic_id).with_partitions(topic.partitions)
    });
    owned.collect()
}

fn count(owned: &[TopicPartitions]) -> usize {
    owned.iter().map(|topic| topic.partitions.len()).sum()
}

async fn call(
    client: &mut Client,
    request: ConsumerGroupHeartbeatRequest,
) -> ConsumerGroupHeartbeatResponse {
    let told = client.call(1, request).await;
    assert_eq!(told.error_code, 0, "{:?}", told.error_message);
    told
}

fn commit(member: &str, epoch: i32) -> OffsetCommitRequest {
    let partition =
        OffsetCommitRequestPartition::default().with_committed_offset(0).with_partition_index(0);
    let topic = OffsetCommitRequestTopic::default()
        .with_name(topic_name("t"))
        .with_partitions(vec![partition]);
    OffsetCommitRequest::default()
        .with_group_id(group("g"))
        .with_member_id(text(member))
        .with_generation_id_or_member_epoch(epoch)
        .with_topics(vec![topic])
}

#[tokio::test]
async fn members_share_and_go_on_after_a_restart() {
    let broker = Broker::start();
    broker.topic("t", 4, &[]).await;
    let mut client = broker.client().await;
    let first = call(&mut client, heartbeat("one", 0, &[])).await;
    let mut one = has(&first);
    assert_eq!(count(&one), 4);
    let second = call(&mut client, heartbeat("two", 0, &[])).await;
    assert_eq!(count(&has(&second)), 0, "nothing is free yet");
    // The first gives up two, and says so.
    let told = call(&mut client, heartbeat("one", first.member_epoch, &one)).await;
    one = has(&told);
    assert_eq!(count(&one), 2);
    let told = call(&mut client, heartbeat("one", told.member_epoch, &one)).await;
    let epoch = told.member_epoch;
    let told = call(&mut client, heartbeat("two", second.member_epoch, &[])).await;
    let two = has(&told);
    assert_eq!((count(&two), told.member_epoch), (2, epoch));

    let broker = broker.restart().await;
    let mut client = broker.client().await;
    for (member, owned) in [("one", &one), ("two", &two)] {
        let told = call(&mut client, heartbeat(member, epoch, owned)).await;
        assert_eq!((told.member_epoch, told.assignment), (epoch, None), "as before");
    }
    let error = |response: kafka_protocol::messages::OffsetCommitResponse| {
        response.topics[0].partitions[0].error_code
    };
    assert_eq!(error(client.call(9, commit("one", epoch)).await), 0);
    let stale = error(client.call(9, commit("one", epoch - 1)).await);
    assert_eq!(stale, ResponseError::StaleMemberEpoch.code());
    let old = error(client.call(8, commit("one", epoch - 1)).await);
    assert_eq!(old, ResponseError::UnsupportedVersion.code());
    let stranger = error(client.call(9, commit("three", epoch)).await);
    assert_eq!(stranger, ResponseError::UnknownMemberId.code());

    let request = ConsumerGroupDescribeRequest::default().with_group_ids(vec![group("g")]);
    let described = &client.call(1, request).await.groups[0];
    assert_eq!(described.error_code, 0);
    assert_eq!((&*described.group_state, described.members.len()), ("Stable", 2));
    let topics = &described.members[0].assignment.topic_partitions;
    assert_eq!((&*topics[0].topic_name.0, topics[0].partitions.len()), ("t", 2));
    let request = DescribeGroupsRequest::default().with_groups(vec![group("g")]);
    let classic = &client.call(6, request).await.groups[0];
    assert_eq!(classic.error_code, ResponseError::GroupIdNotFound.code());
    let list = client.call(5, ListGroupsRequest::default()).await;
    let listed: Vec<_> =
        list.groups.iter().map(|each| (&**each.group_id, &*each.group_type)).collect();
    assert_eq!(listed, [("g", "consumer")]);

    let request = || DeleteGroupsRequest::default().with_groups_names(vec![group("g")]);
    let deleted = client.call(2, request()).await;
    assert_eq!(deleted.results[0].error_code, ResponseError::NonEmptyGroup.code());
    for member in ["one", "two"] {
        let leave = heartbeat(member, 0, &[]).with_member_epoch(-1);
        assert_eq!(call(&mut client, leave).await.member_epoch, -1);
    }
    assert_eq!(client.call(2, request()).await.results[0].error_code, 0);
    let again = client.call(2, request()).await;
    assert_eq!(again.results[0].error_code, ResponseError::GroupIdNotFound.code());
}

#[tokio::test]
async fn only_who_joins_makes_a_group() {
    let broker = Broker::start();
    let mut client = broker.client().await;
    let told = client.call(1, heartbeat("one", 3, &[])).await;
    assert_eq!(told.error_code, ResponseError::GroupIdNotFound.code());
    let told = client.call(1, heartbeat("one", 0, &[]).with_group_id(group(""))).await;
    assert_eq!(told.error_code, ResponseError::InvalidRequest.code());
    // Version 0 gives out member ids.
    let told = client.call(0, heartbeat("", 0, &[])).await;
    assert_eq!(told.error_code, 0);
    assert!(told.member_id.is_some_and(|id| !id.is_empty()));
}
