use super::client::{Client, batch};
use super::produce::produce;
use super::{Broker, topic_name};
use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, FindCoordinatorRequest, GroupId, HeartbeatRequest,
    JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, ListGroupsRequest, OffsetCommitRequest,
    OffsetFetchRequest, SyncGroupRequest,
};
use kafka_protocol::protocol::StrBytes;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn group(name: &str) -> GroupId {
    GroupId(text(name))
}

fn join(member_id: &StrBytes) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(text("range"))
        .with_metadata(Bytes::from_static(b"\0\x01\0\0\0\x01\0\x01t\0\0\0\0"));
    JoinGroupRequest::default()
        .with_group_id(group("g"))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(60_000)
        .with_member_id(member_id.clone())
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol])
}

/// Joins in two steps, as clients since Kafka 2.2 do (KIP-394).
async fn join_anew(client: &mut Client, version: i16) -> i32 {
    let told = client.call(version, join(&StrBytes::new())).await;
    assert_eq!(told.error_code, ResponseError::MemberIdRequired.code());
    client.send(version, &join(&told.member_id)).await
}

async fn joined(client: &mut Client, version: i16, correlation: i32) -> JoinGroupResponse {
    let joined = client.receive::<JoinGroupRequest>(version, correlation).await;
    assert_eq!(joined.error_code, 0);
    joined
}

fn sync(
    joined: &JoinGroupResponse,
    assignments: &[(&StrBytes, &'static [u8])],
) -> SyncGroupRequest {
    let assignments = assignments.iter().map(|(id, bytes)| {
        SyncGroupRequestAssignment::default()
            .with_member_id(StrBytes::clone(id))
            .with_assignment(Bytes::from_static(bytes))
    });
    SyncGroupRequest::default()
        .with_group_id(group("g"))
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_assignments(assignments.collect())
}

fn heartbeat(joined: &JoinGroupResponse) -> HeartbeatRequest {
    HeartbeatRequest::default()
        .with_group_id(group("g"))
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
}

#[tokio::test]
async fn two_members_share_and_one_leaves() {
    let broker = Broker::start();
    let (mut one, mut two) = (broker.client().await, broker.client().await);
    let waiting = join_anew(&mut one, 6).await;
    let first = joined(&mut one, 6, waiting).await;
    assert_eq!((first.generation_id, &first.leader), (1, &first.member_id));
    let answer = one.call(4, sync(&first, &[(&first.member_id, b"all")])).await;
    assert_eq!((answer.error_code, &answer.assignment[..]), (0, &b"all"[..]));

    // The second member's join waits until the first one has joined again.
    let second = join_anew(&mut two, 6).await;
    let rebalance = ResponseError::RebalanceInProgress.code();
    while one.call(4, heartbeat(&first)).await.error_code != rebalance {
        tokio::task::yield_now().await;
    }
    let first = one.call(6, join(&first.member_id)).await;
    let second = joined(&mut two, 6, second).await;
    assert_eq!((first.generation_id, second.generation_id), (2, 2));
    assert_eq!((first.members.len(), second.members.len()), (2, 0));
    let waiting = two.send(4, &sync(&second, &[])).await;
    let shares = [(&first.member_id, &b"one"[..]), (&second.member_id, &b"two"[..])];
    assert_eq!(&one.call(4, sync(&first, &shares)).await.assignment[..], b"one");
    assert_eq!(&two.receive::<SyncGroupRequest>(4, waiting).await.assignment[..], b"two");

    let described = DescribeGroupsRequest::default().with_groups(vec![group("g")]);
    let described = &one.call(5, described).await.groups[0];
    assert_eq!((&*described.group_state, &*described.protocol_data), ("Stable", "range"));
    assert_eq!(described.members.len(), 2);
    assert_eq!(&*described.members[0].client_host, "/127.0.0.1");
    let listed = one.call(4, ListGroupsRequest::default()).await;
    assert_eq!((&*listed.groups[0].group_id.0, &*listed.groups[0].group_state), ("g", "Stable"));

    let member = MemberIdentity::default().with_member_id(second.member_id.clone());
    let leave = LeaveGroupRequest::default().with_group_id(group("g")).with_members(vec![member]);
    let left = two.call(4, leave).await;
    assert_eq!((left.error_code, left.members[0].error_code), (0, 0));
    assert_eq!(one.call(4, heartbeat(&first)).await.error_code, rebalance);
    let gone = two.call(4, heartbeat(&second)).await.error_code;
    assert_eq!(gone, ResponseError::UnknownMemberId.code());
}

#[tokio::test]
async fn members_go_on_after_a_restart() {
    let broker = Broker::start();
    let mut one = broker.client().await;
    let waiting = join_anew(&mut one, 6).await;
    let first = joined(&mut one, 6, waiting).await;
    assert_eq!(one.call(4, sync(&first, &[(&first.member_id, b"all")])).await.error_code, 0);

    let broker = broker.restart().await;
    let mut one = broker.client().await;
    assert_eq!(one.call(4, heartbeat(&first)).await.error_code, 0);
    let answer = one.call(4, sync(&first, &[])).await;
    assert_eq!((answer.error_code, &answer.assignment[..]), (0, &b"all"[..]));
    let member = MemberIdentity::default().with_member_id(first.member_id.clone());
    let leave = LeaveGroupRequest::default().with_group_id(group("g")).with_members(vec![member]);
    assert_eq!(one.call(4, leave).await.error_code, 0);

    // The generation is never used again, as a commit of an old one would count.
    let broker = broker.restart().await;
    let mut one = broker.client().await;
    let described = DescribeGroupsRequest::default().with_groups(vec![group("g")]);
    let described = &one.call(5, described).await.groups[0];
    assert_eq!((&*described.group_state, &*described.protocol_type), ("Empty", "consumer"));
    let waiting = join_anew(&mut one, 6).await;
    assert!(joined(&mut one, 6, waiting).await.generation_id > first.generation_id);
}

#[tokio::test]
async fn a_closed_connection_gives_up_its_place() {
    let broker = Broker::start_with(|settings| {
        settings.groups.session_ms_min = 1;
        settings.groups.initial_delay_ms = 0;
    });
    let (mut one, mut two) = (broker.client().await, broker.client().await);
    let waiting = join_anew(&mut one, 6).await;
    let first = joined(&mut one, 6, waiting).await;
    one.call(4, sync(&first, &[])).await;
    // Before version 4 no id comes first.
    let brief = join(&StrBytes::new()).with_session_timeout_ms(400);
    two.send(3, &brief).await;
    let rebalance = ResponseError::RebalanceInProgress.code();
    while one.call(4, heartbeat(&first)).await.error_code != rebalance {
        tokio::task::yield_now().await;
    }
    drop(two);
    // Its session passes while the first one's join waits.
    let again = one.call(6, join(&first.member_id)).await;
    assert_eq!((again.error_code, again.members.len()), (0, 1));
}

fn commit(offset: i64, metadata: &str) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(0)
        .with_committed_offset(offset)
        .with_committed_metadata(Some(text(metadata)));
    let topic = OffsetCommitRequestTopic::default()
        .with_name(topic_name("t"))
        .with_partitions(vec![partition]);
    OffsetCommitRequest::default()
        .with_group_id(group("g"))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic])
}

fn fetch_old(all: bool) -> OffsetFetchRequest {
    let topic = OffsetFetchRequestTopic::default()
        .with_name(topic_name("t"))
        .with_partition_indexes(vec![0, 1]);
    OffsetFetchRequest::default().with_group_id(group("g")).with_topics((!all).then(|| vec![topic]))
}

#[tokio::test]
async fn committed_offsets_outlive_the_broker() {
    let broker = Broker::start();
    broker.topic("t", 2, &[]).await;
    let mut client = broker.client().await;
    for version in 2..=9 {
        let response = client.call(version, commit(40 + i64::from(version), "how far")).await;
        assert_eq!(response.topics[0].partitions[0].error_code, 0, "version {version}");
    }
    let response = client.call(8, commit(1, &"x".repeat(5000))).await;
    let error = response.topics[0].partitions[0].error_code;
    assert_eq!(error, ResponseError::OffsetMetadataTooLarge.code());

    let broker = broker.restart().await;
    let mut client = broker.client().await;
    for version in 1..=7 {
        let response = client.call(version, fetch_old(false)).await;
        let partitions = &response.topics[0].partitions;
        assert_eq!(partitions[0].committed_offset, 49, "version {version}");
        assert_eq!(partitions[0].metadata.as_deref(), Some("how far"));
        // Nothing committed is not an error.
        assert_eq!((partitions[1].committed_offset, partitions[1].error_code), (-1, 0));
    }
    let response = client.call(7, fetch_old(true)).await;
    assert_eq!((response.topics.len(), response.topics[0].partitions.len()), (1, 1));
    let topic = OffsetFetchRequestTopics::default()
        .with_name(topic_name("t"))
        .with_partition_indexes(vec![0]);
    let asked =
        OffsetFetchRequestGroup::default().with_group_id(group("g")).with_topics(Some(vec![topic]));
    let nobody =
        OffsetFetchRequestGroup::default().with_group_id(group("nobody")).with_topics(None);
    let request = OffsetFetchRequest::default().with_groups(vec![asked, nobody]);
    let response = client.call(8, request).await;
    assert_eq!(response.groups[0].topics[0].partitions[0].committed_offset, 49);
    assert!(response.groups[1].topics.is_empty());

    let listed = client.call(4, ListGroupsRequest::default()).await;
    assert_eq!((&*listed.groups[0].group_id.0, &*listed.groups[0].group_state), ("g", "Empty"));
    let delete = DeleteGroupsRequest::default().with_groups_names(vec![group("g"), group("h")]);
    let deleted = client.call(2, delete).await;
    let codes: Vec<_> = deleted.results.iter().map(|each| each.error_code).collect();
    assert_eq!(codes, [0, ResponseError::GroupIdNotFound.code()]);
    let response = client.call(7, fetch_old(true)).await;
    assert!(response.topics.is_empty());
}

#[tokio::test]
async fn a_commit_is_seen_by_the_next_request_of_the_connection() {
    let broker = Broker::start();
    broker.topic("t", 2, &[]).await;
    let mut client = broker.client().await;
    for offset in 0..20 {
        client.send(9, &produce("t", 0, batch(&[(None, "x")]))).await;
        let committed = client.send(8, &commit(offset, "")).await;
        let asked = client.send(7, &fetch_old(false)).await;
        client.receive::<kafka_protocol::messages::ProduceRequest>(9, committed - 1).await;
        client.receive::<OffsetCommitRequest>(8, committed).await;
        let fetched = client.receive::<OffsetFetchRequest>(7, asked).await;
        assert_eq!(fetched.topics[0].partitions[0].committed_offset, offset);
    }
}

#[tokio::test]
async fn coordinators_are_here() {
    let broker = Broker::start();
    let mut client = broker.client().await;
    let port = i32::from(broker.address.port());
    for version in 0..=3 {
        let found =
            client.call(version, FindCoordinatorRequest::default().with_key(text("g"))).await;
        assert_eq!((found.error_code, &*found.host, found.port), (0, "127.0.0.1", port));
    }
    for version in 4..=6 {
        let request = FindCoordinatorRequest::default()
            .with_coordinator_keys(vec![text("g"), StrBytes::new()]);
        let found = client.call(version, request).await.coordinators;
        // Old clients without a group have one without a name.
        for coordinator in found {
            assert_eq!((coordinator.error_code, coordinator.port), (0, port));
        }
    }
    let request = FindCoordinatorRequest::default().with_key(text("t")).with_key_type(1);
    let found = client.call(3, request).await;
    assert_eq!((found.error_code, found.port), (0, port));
}
