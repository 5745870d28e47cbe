//! The APIs that are spoken, with their versions: what ApiVersions answers.
//!
//! Kafka 4.1's ranges, capped at what the `kafka-protocol` crate encodes. Clients infer the
//! broker's release from the maxima, so they must stay coherent.

use crate::layout::{self, Layout};
use crate::wire::Malformed;

/// An API's number on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i16)]
#[allow(missing_docs)]
pub enum ApiKey {
    Produce = 0,
    Fetch = 1,
    ListOffsets = 2,
    Metadata = 3,
    OffsetCommit = 8,
    OffsetFetch = 9,
    FindCoordinator = 10,
    JoinGroup = 11,
    Heartbeat = 12,
    LeaveGroup = 13,
    SyncGroup = 14,
    DescribeGroups = 15,
    ListGroups = 16,
    SaslHandshake = 17,
    ApiVersions = 18,
    CreateTopics = 19,
    DeleteTopics = 20,
    DeleteRecords = 21,
    InitProducerId = 22,
    OffsetForLeaderEpoch = 23,
    AddPartitionsToTxn = 24,
    AddOffsetsToTxn = 25,
    EndTxn = 26,
    WriteTxnMarkers = 27,
    TxnOffsetCommit = 28,
    DescribeAcls = 29,
    CreateAcls = 30,
    DeleteAcls = 31,
    DescribeConfigs = 32,
    AlterConfigs = 33,
    AlterReplicaLogDirs = 34,
    DescribeLogDirs = 35,
    SaslAuthenticate = 36,
    CreatePartitions = 37,
    DeleteGroups = 42,
    ElectLeaders = 43,
    IncrementalAlterConfigs = 44,
    AlterPartitionReassignments = 45,
    ListPartitionReassignments = 46,
    OffsetDelete = 47,
    DescribeClientQuotas = 48,
    AlterClientQuotas = 49,
    DescribeUserScramCredentials = 50,
    AlterUserScramCredentials = 51,
    DescribeQuorum = 55,
    DescribeCluster = 60,
    DescribeProducers = 61,
    DescribeTransactions = 65,
    ListTransactions = 66,
    ConsumerGroupHeartbeat = 68,
    ConsumerGroupDescribe = 69,
    ListConfigResources = 74,
    DescribeTopicPartitions = 75,
}

/// One API.
#[derive(Debug)]
pub struct Api {
    /// Its number.
    pub key: ApiKey,
    /// First version that is answered.
    pub min: i16,
    /// Last version that is answered.
    pub max: i16,
    /// First version with compact lengths and tagged fields.
    pub flexible_from: i16,
    /// How to check a request before it is decoded; `None` where it is decoded by hand.
    pub(crate) layout: Option<&'static Layout>,
}

/// First flexible version of Produce.
pub(crate) const PRODUCE_FLEXIBLE_FROM: i16 = 9;
/// First flexible version of Fetch.
pub(crate) const FETCH_FLEXIBLE_FROM: i16 = 12;

const fn by_hand(key: ApiKey, min: i16, max: i16, flexible_from: i16) -> Api {
    Api { key, min, max, flexible_from, layout: None }
}

const fn checked(key: ApiKey, min: i16, max: i16, layout: &'static Layout) -> Api {
    Api { key, min, max, flexible_from: layout.flexible_from, layout: Some(layout) }
}

/// All of them, in the order of their numbers.
pub static APIS: &[Api] = &[
    by_hand(ApiKey::Produce, 3, 13, PRODUCE_FLEXIBLE_FROM),
    by_hand(ApiKey::Fetch, 4, 18, FETCH_FLEXIBLE_FROM),
    checked(ApiKey::ListOffsets, 1, 10, &layout::LIST_OFFSETS),
    checked(ApiKey::Metadata, 0, 13, &layout::METADATA),
    checked(ApiKey::OffsetCommit, 2, 9, &layout::OFFSET_COMMIT),
    checked(ApiKey::OffsetFetch, 1, 9, &layout::OFFSET_FETCH),
    checked(ApiKey::FindCoordinator, 0, 6, &layout::FIND_COORDINATOR),
    checked(ApiKey::JoinGroup, 0, 9, &layout::JOIN_GROUP),
    checked(ApiKey::Heartbeat, 0, 4, &layout::HEARTBEAT),
    checked(ApiKey::LeaveGroup, 0, 5, &layout::LEAVE_GROUP),
    checked(ApiKey::SyncGroup, 0, 5, &layout::SYNC_GROUP),
    checked(ApiKey::DescribeGroups, 0, 6, &layout::DESCRIBE_GROUPS),
    checked(ApiKey::ListGroups, 0, 5, &layout::LIST_GROUPS),
    checked(ApiKey::SaslHandshake, 0, 1, &layout::SASL_HANDSHAKE),
    checked(ApiKey::ApiVersions, 0, 4, &layout::API_VERSIONS),
    checked(ApiKey::CreateTopics, 2, 7, &layout::CREATE_TOPICS),
    checked(ApiKey::DeleteTopics, 1, 6, &layout::DELETE_TOPICS),
    checked(ApiKey::DeleteRecords, 0, 2, &layout::DELETE_RECORDS),
    checked(ApiKey::InitProducerId, 0, 5, &layout::INIT_PRODUCER_ID),
    checked(ApiKey::OffsetForLeaderEpoch, 2, 4, &layout::OFFSET_FOR_LEADER_EPOCH),
    // From version 4 on, this is what brokers say to each other.
    checked(ApiKey::AddPartitionsToTxn, 0, 3, &layout::ADD_PARTITIONS_TO_TXN),
    checked(ApiKey::AddOffsetsToTxn, 0, 4, &layout::ADD_OFFSETS_TO_TXN),
    checked(ApiKey::EndTxn, 0, 5, &layout::END_TXN),
    checked(ApiKey::WriteTxnMarkers, 1, 1, &layout::WRITE_TXN_MARKERS),
    checked(ApiKey::TxnOffsetCommit, 0, 5, &layout::TXN_OFFSET_COMMIT),
    checked(ApiKey::DescribeAcls, 1, 3, &layout::DESCRIBE_ACLS),
    checked(ApiKey::CreateAcls, 1, 3, &layout::CREATE_ACLS),
    checked(ApiKey::DeleteAcls, 1, 3, &layout::DELETE_ACLS),
    checked(ApiKey::DescribeConfigs, 1, 4, &layout::DESCRIBE_CONFIGS),
    checked(ApiKey::AlterConfigs, 0, 2, &layout::ALTER_CONFIGS),
    checked(ApiKey::AlterReplicaLogDirs, 1, 2, &layout::ALTER_REPLICA_LOG_DIRS),
    checked(ApiKey::DescribeLogDirs, 1, 4, &layout::DESCRIBE_LOG_DIRS),
    checked(ApiKey::SaslAuthenticate, 0, 2, &layout::SASL_AUTHENTICATE),
    checked(ApiKey::CreatePartitions, 0, 3, &layout::CREATE_PARTITIONS),
    checked(ApiKey::DeleteGroups, 0, 2, &layout::DELETE_GROUPS),
    checked(ApiKey::ElectLeaders, 0, 2, &layout::ELECT_LEADERS),
    checked(ApiKey::IncrementalAlterConfigs, 0, 1, &layout::INCREMENTAL_ALTER_CONFIGS),
    checked(ApiKey::AlterPartitionReassignments, 0, 1, &layout::ALTER_PARTITION_REASSIGNMENTS),
    checked(ApiKey::ListPartitionReassignments, 0, 0, &layout::LIST_PARTITION_REASSIGNMENTS),
    checked(ApiKey::OffsetDelete, 0, 0, &layout::OFFSET_DELETE),
    checked(ApiKey::DescribeClientQuotas, 0, 1, &layout::DESCRIBE_CLIENT_QUOTAS),
    checked(ApiKey::AlterClientQuotas, 0, 1, &layout::ALTER_CLIENT_QUOTAS),
    checked(ApiKey::DescribeUserScramCredentials, 0, 0, &layout::DESCRIBE_USER_SCRAM_CREDENTIALS),
    checked(ApiKey::AlterUserScramCredentials, 0, 0, &layout::ALTER_USER_SCRAM_CREDENTIALS),
    checked(ApiKey::DescribeQuorum, 0, 2, &layout::DESCRIBE_QUORUM),
    checked(ApiKey::DescribeCluster, 0, 2, &layout::DESCRIBE_CLUSTER),
    checked(ApiKey::DescribeProducers, 0, 0, &layout::DESCRIBE_PRODUCERS),
    checked(ApiKey::DescribeTransactions, 0, 0, &layout::DESCRIBE_TRANSACTIONS),
    checked(ApiKey::ListTransactions, 0, 2, &layout::LIST_TRANSACTIONS),
    checked(ApiKey::ConsumerGroupHeartbeat, 0, 1, &layout::CONSUMER_GROUP_HEARTBEAT),
    checked(ApiKey::ConsumerGroupDescribe, 0, 1, &layout::CONSUMER_GROUP_DESCRIBE),
    checked(ApiKey::ListConfigResources, 0, 1, &layout::LIST_CONFIG_RESOURCES),
    checked(ApiKey::DescribeTopicPartitions, 0, 0, &layout::DESCRIBE_TOPIC_PARTITIONS),
];

impl Api {
    /// The API of a number.
    ///
    /// # Errors
    /// [`Malformed::Unsupported`].
    pub fn find(key: i16, version: i16) -> Result<&'static Self, Malformed> {
        APIS.iter().find(|api| api.key as i16 == key).ok_or(Malformed::Unsupported { key, version })
    }

    /// The API's place in [`APIS`], for tables by API.
    #[must_use]
    pub fn position(key: ApiKey) -> usize {
        APIS.iter().position(|api| api.key == key).unwrap_or(0)
    }

    /// The lowest version to advertise. librdkafka before 2.11.1 stops compressing, silently,
    /// unless Produce goes down to 0 (KAFKA-18659).
    #[must_use]
    pub fn min_advertised(&self) -> i16 {
        if self.key == ApiKey::Produce { 0 } else { self.min }
    }

    /// Whether `version` has compact lengths and tagged fields.
    #[must_use]
    pub fn is_flexible(&self, version: i16) -> bool {
        version >= self.flexible_from
    }
}
