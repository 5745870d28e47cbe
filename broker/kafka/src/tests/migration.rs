use super::client::Client;
use super::{Broker, topic_name};
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
    ConsumerProtocolAssignment, DescribeGroupsRequest, GroupId, HeartbeatRequest, JoinGroupRequest,
    JoinGroupResponse, SyncGroupRequest,
};
use kafka_protocol::protocol::{Decodable, StrBytes};
use uuid::Uuid;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn group() -> GroupId {
    GroupId(text("g"))
}

/// Partitions of the topic "t", as consumers write them: an array of topics.
fn partitions(indexes: &[i32]) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_i32(1);
    out.put_slice(b"\0\x01t");
    out.put_i32(indexes.len() as i32);
    indexes.iter().for_each(|&index| out.put_i32(index));
    out
}

/// A consumer of the classic protocol, by hand.
struct Classic {
    client: Client,
    id: StrBytes,
    generation: i32,
    owned: Vec<i32>,
}

impl Classic {
    async fn join(&mut self) -> JoinGroupResponse {
        let mut metadata = BytesMut::from(&b"\0\x01\0\0\0\x01\0\x01t\xff\xff\xff\xff"[..]);
        metadata.put(partitions(&self.owned));
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(text("range"))
            .with_metadata(metadata.freeze());
        let request = JoinGroupRequest::default()
            .with_group_id(group())
            .with_session_timeout_ms(30_000)
            .with_rebalance_timeout_ms(60_000)
            .with_member_id(self.id.clone())
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol]);
        let joined = self.client.call(5, request).await;
        self.id = joined.member_id.clone();
        self.generation = joined.generation_id;
        joined
    }

    /// Brings its own assignment, which counts if it leads, and takes what it is given.
    async fn sync(&mut self, assigns: &[i32]) -> i16 {
        let mut bytes = BytesMut::from(&b"\0\x01"[..]);
        bytes.put(partitions(assigns));
        bytes.put_i32(-1);
        let assignment = SyncGroupRequestAssignment::default()
            .with_member_id(self.id.clone())
            .with_assignment(bytes.freeze());
        let request = SyncGroupRequest::default()
            .with_group_id(group())
            .with_generation_id(self.generation)
            .with_member_id(self.id.clone())
            .with_assignments(vec![assignment]);
        let synced = self.client.call(3, request).await;
        if synced.error_code == 0 {
            self.owned = read(&synced.assignment);
        }
        synced.error_code
    }

    async fn beat(&mut self) -> i16 {
        let request = HeartbeatRequest::default()
            .with_group_id(group())
            .with_generation_id(self.generation)
            .with_member_id(self.id.clone());
        self.client.call(3, request).await.error_code
    }
}

fn read(assignment: &Bytes) -> Vec<i32> {
    let mut bytes = assignment.slice(2..);
    let decoded = ConsumerProtocolAssignment::decode(&mut bytes, 1).expect("sound");
    decoded.assigned_partitions.into_iter().flat_map(|topic| topic.partitions).collect()
}

async fn beat(
    client: &mut Client,
    epoch: i32,
    topic: Uuid,
    owned: &[i32],
) -> ConsumerGroupHeartbeatResponse {
    let partitions =
        TopicPartitions::default().with_topic_id(topic).with_partitions(owned.to_vec());
    let request = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group())
        .with_member_id(text("new"))
        .with_member_epoch(epoch)
        .with_rebalance_timeout_ms(60_000)
        .with_subscribed_topic_names(Some(vec![topic_name("t")]))
        .with_topic_partitions(Some(if owned.is_empty() { vec![] } else { vec![partitions] }));
    let told = client.call(1, request).await;
    assert_eq!(told.error_code, 0, "{:?}", told.error_message);
    told
}

fn has(told: &ConsumerGroupHeartbeatResponse) -> Vec<i32> {
    let assigned = told.assignment.clone().expect("it said everything");
    assigned.topic_partitions.into_iter().flat_map(|topic| topic.partitions).collect()
}

/// The kinds of its members, by the consumer protocol; `None` if the group is none.
async fn kinds(client: &mut Client) -> Option<Vec<i8>> {
    let request = ConsumerGroupDescribeRequest::default().with_group_ids(vec![group()]);
    let described = client.call(1, request).await.groups.remove(0);
    let kinds = described.members.iter().map(|member| member.member_type).collect();
    (described.error_code == 0).then_some(kinds)
}

#[tokio::test]
async fn a_group_changes_its_protocol_while_a_consumer_stays_in_it() {
    let broker = Broker::start();
    broker.topic("t", 4, &[]).await;
    let topic = broker.engine.catalog().by_name("t").expect("created").id.0;
    let (client, id) = (broker.client().await, StrBytes::new());
    let mut old = Classic { client, id, generation: -1, owned: Vec::new() };
    assert_eq!(old.join().await.error_code, ResponseError::MemberIdRequired.code());
    assert_eq!(old.join().await.error_code, 0);
    assert_eq!(old.sync(&[0, 1, 2, 3]).await, 0);

    // One of the new protocol joins: the other is to give up a half first.
    let mut client = broker.client().await;
    let told = beat(&mut client, 0, topic, &[]).await;
    assert!(has(&told).is_empty());
    assert_eq!(kinds(&mut client).await.map(|kinds| kinds.len()), Some(2));
    let rebalance = ResponseError::RebalanceInProgress.code();
    assert_eq!(old.beat().await, rebalance);
    // Cooperatively: it says what it has, and is told what it may keep.
    assert_eq!(old.join().await.error_code, 0);
    assert_eq!(old.sync(&[]).await, 0);
    assert_eq!(old.owned.len(), 2);
    assert_eq!(old.beat().await, rebalance);
    let joined = old.join().await;
    assert_eq!((joined.error_code, &*joined.leader, joined.members.len()), (0, "", 0));
    assert_eq!(old.sync(&[]).await, 0);
    assert_eq!(old.beat().await, 0);
    let told = beat(&mut client, told.member_epoch, topic, &[]).await;
    let new = has(&told);
    let mut all = [old.owned.clone(), new.clone()].concat();
    all.sort_unstable();
    assert_eq!((new.len(), all), (2, vec![0, 1, 2, 3]));

    // Both outlive a restart.
    let broker = broker.restart().await;
    old.client = broker.client().await;
    let mut client = broker.client().await;
    assert_eq!(old.beat().await, 0);
    let mut kinds_now = kinds(&mut client).await.expect("of the consumer protocol");
    kinds_now.sort_unstable();
    assert_eq!(kinds_now, [0, 1]);

    // The new one leaves: the group is a classic one again, and the old one leads.
    let request = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group())
        .with_member_id(text("new"))
        .with_member_epoch(-1);
    assert_eq!(client.call(1, request).await.error_code, 0);
    assert_eq!(kinds(&mut client).await, None);
    assert_eq!(old.beat().await, rebalance);
    let joined = old.join().await;
    assert_eq!((joined.error_code, joined.leader, joined.members.len()), (0, old.id.clone(), 1));
    assert_eq!(old.sync(&[0, 1, 2, 3]).await, 0);
    assert_eq!(old.owned, [0, 1, 2, 3]);
    let request = DescribeGroupsRequest::default().with_groups(vec![group()]);
    let described = client.call(5, request).await.groups.remove(0);
    assert_eq!((&*described.group_state, described.members.len()), ("Stable", 1));
}

#[tokio::test]
async fn a_group_of_another_kind_stays_what_it_is() {
    let broker = Broker::start_with(|settings| {
        settings.groups.migration = crate::settings::Migration::Downgrade;
    });
    broker.topic("t", 1, &[]).await;
    let (client, id) = (broker.client().await, StrBytes::new());
    let mut old = Classic { client, id, generation: -1, owned: Vec::new() };
    old.join().await;
    assert_eq!(old.join().await.error_code, 0);
    assert_eq!(old.sync(&[0]).await, 0);
    let request = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group())
        .with_member_id(text("new"))
        .with_rebalance_timeout_ms(60_000)
        .with_subscribed_topic_names(Some(vec![topic_name("t")]))
        .with_topic_partitions(Some(vec![]));
    let told = broker.client().await.call(1, request).await;
    assert_eq!(told.error_code, ResponseError::GroupIdNotFound.code());
    assert_eq!(old.beat().await, 0);
}
