//! A frame's way to a request: pure functions of its bytes.
//!
//! ```text
//! │ api key │ version │ correlation id │ client id │ tags (flexible) │ body … │
//! └ INT16 ──┴─ INT16 ─┴──── INT32 ─────┴─ STRING ──┴─────────────────┴────────┘
//! ```
//! Source: Kafka protocol guide, "Request Header v1, v2".

#[cfg(test)]
mod tests;

use crate::apis::{Api, ApiKey};
use crate::fetch::FetchRequest;
use crate::produce;
use crate::wire::{Malformed, Reader};
use bytes::Bytes;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::Decodable;

/// What stands in front of each request.
#[derive(Debug, Clone, Copy)]
pub struct Head {
    /// Which API.
    pub api: &'static Api,
    /// Version of the request; one that is spoken, but for ApiVersions.
    pub version: i16,
    /// Comes back with the response.
    pub correlation: i32,
    /// Whether the request has compact lengths.
    pub flexible: bool,
    /// Where the client id stands in the frame; (0, 0) for none.
    pub client: (usize, usize),
    /// Where the body starts in the frame.
    pub body: usize,
}

/// A request, decoded.
#[derive(Debug)]
#[allow(missing_docs)]
pub enum Request {
    /// Checked, and walked again when it is answered.
    Produce,
    Fetch(FetchRequest),
    ListOffsets(ListOffsetsRequest),
    Metadata(MetadataRequest),
    OffsetCommit(OffsetCommitRequest),
    OffsetFetch(OffsetFetchRequest),
    FindCoordinator(FindCoordinatorRequest),
    JoinGroup(JoinGroupRequest),
    Heartbeat(HeartbeatRequest),
    LeaveGroup(LeaveGroupRequest),
    SyncGroup(SyncGroupRequest),
    DescribeGroups(DescribeGroupsRequest),
    ListGroups(ListGroupsRequest),
    /// `None`: of a version we do not know (KIP-511).
    ApiVersions(Option<ApiVersionsRequest>),
    CreateTopics(CreateTopicsRequest),
    DeleteTopics(DeleteTopicsRequest),
    InitProducerId(InitProducerIdRequest),
    OffsetForLeaderEpoch(OffsetForLeaderEpochRequest),
    AddPartitionsToTxn(AddPartitionsToTxnRequest),
    AddOffsetsToTxn(AddOffsetsToTxnRequest),
    EndTxn(EndTxnRequest),
    TxnOffsetCommit(TxnOffsetCommitRequest),
    DescribeConfigs(DescribeConfigsRequest),
    AlterConfigs(AlterConfigsRequest),
    DescribeLogDirs(DescribeLogDirsRequest),
    DeleteGroups(DeleteGroupsRequest),
    IncrementalAlterConfigs(IncrementalAlterConfigsRequest),
    OffsetDelete(OffsetDeleteRequest),
    DescribeClientQuotas(DescribeClientQuotasRequest),
    AlterClientQuotas(AlterClientQuotasRequest),
    DescribeCluster(DescribeClusterRequest),
    ConsumerGroupHeartbeat(ConsumerGroupHeartbeatRequest),
    ConsumerGroupDescribe(ConsumerGroupDescribeRequest),
    WriteTxnMarkers(WriteTxnMarkersRequest),
    AlterReplicaLogDirs(AlterReplicaLogDirsRequest),
    ElectLeaders(ElectLeadersRequest),
    AlterPartitionReassignments(AlterPartitionReassignmentsRequest),
    ListPartitionReassignments(ListPartitionReassignmentsRequest),
    DescribeQuorum(DescribeQuorumRequest),
    ListConfigResources(ListConfigResourcesRequest),
    CreatePartitions(CreatePartitionsRequest),
    DeleteRecords(DeleteRecordsRequest),
    DescribeProducers(DescribeProducersRequest),
    DescribeTransactions(DescribeTransactionsRequest),
    ListTransactions(ListTransactionsRequest),
    DescribeTopicPartitions(DescribeTopicPartitionsRequest),
    SaslHandshake(SaslHandshakeRequest),
    SaslAuthenticate(SaslAuthenticateRequest),
    DescribeAcls(DescribeAclsRequest),
    CreateAcls(CreateAclsRequest),
    DeleteAcls(DeleteAclsRequest),
    DescribeUserScramCredentials(DescribeUserScramCredentialsRequest),
    AlterUserScramCredentials(AlterUserScramCredentialsRequest),
}

impl Head {
    /// Reads the head of a whole frame (without its length).
    ///
    /// # Errors
    /// [`Malformed`]: the connection is to be closed, as Kafka does.
    #[inline]
    pub fn read(frame: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(frame);
        let key = reader.int16("the API key")?;
        let version = reader.int16("the API version")?;
        let correlation = reader.int32("the correlation id")?;
        let api = Api::find(key, version)?;
        let known = (api.min..=api.max).contains(&version);
        if !known {
            if api.key != ApiKey::ApiVersions {
                return Err(Malformed::Unsupported { key, version });
            }
            // The head itself may look different in a version that is not known.
            let body = frame.len();
            return Ok(Self { api, version, correlation, flexible: false, client: (0, 0), body });
        }
        let flexible = api.is_flexible(version);
        let client = reader.text(false, "the client id")?.map_or((0, 0), |at| (at.start, at.end));
        if flexible {
            reader.tags()?;
        }
        Ok(Self { api, version, correlation, flexible, client, body: reader.position() })
    }

    /// Whether the version is one that is spoken.
    #[must_use]
    pub fn is_known(&self) -> bool {
        (self.api.min..=self.api.max).contains(&self.version)
    }
}

/// Decodes a whole frame (without its length) in bounded memory.
///
/// # Errors
/// [`Malformed`]: the connection is to be closed, as Kafka does.
pub fn decode(frame: &Bytes) -> Result<(Head, Request), Malformed> {
    let head = Head::read(frame)?;
    let request = decode_body(&head, frame.slice(head.body..))?;
    Ok((head, request))
}

/// Decodes the body behind `head`.
///
/// # Errors
/// As [`decode`].
pub fn decode_body(head: &Head, body: Bytes) -> Result<Request, Malformed> {
    if !head.is_known() {
        return Ok(Request::ApiVersions(None));
    }
    let version = head.version;
    if let Some(layout) = head.api.layout {
        layout.check(version, &body)?;
    }
    Ok(match head.api.key {
        ApiKey::Produce => {
            produce::walk(&body, version, &mut produce::Nothing)?;
            Request::Produce
        }
        ApiKey::Fetch => Request::Fetch(FetchRequest::read(&body, version)?),
        ApiKey::ListOffsets => Request::ListOffsets(message(body, version)?),
        ApiKey::Metadata => Request::Metadata(message(body, version)?),
        ApiKey::OffsetCommit => Request::OffsetCommit(message(body, version)?),
        ApiKey::OffsetFetch => Request::OffsetFetch(message(body, version)?),
        ApiKey::FindCoordinator => Request::FindCoordinator(message(body, version)?),
        ApiKey::JoinGroup => Request::JoinGroup(message(body, version)?),
        ApiKey::Heartbeat => Request::Heartbeat(message(body, version)?),
        ApiKey::LeaveGroup => Request::LeaveGroup(message(body, version)?),
        ApiKey::SyncGroup => Request::SyncGroup(message(body, version)?),
        ApiKey::DescribeGroups => Request::DescribeGroups(message(body, version)?),
        ApiKey::ListGroups => Request::ListGroups(message(body, version)?),
        ApiKey::ApiVersions => Request::ApiVersions(Some(message(body, version)?)),
        ApiKey::CreateTopics => Request::CreateTopics(message(body, version)?),
        ApiKey::DeleteTopics => Request::DeleteTopics(message(body, version)?),
        ApiKey::InitProducerId => Request::InitProducerId(message(body, version)?),
        ApiKey::OffsetForLeaderEpoch => Request::OffsetForLeaderEpoch(message(body, version)?),
        ApiKey::AddPartitionsToTxn => Request::AddPartitionsToTxn(message(body, version)?),
        ApiKey::AddOffsetsToTxn => Request::AddOffsetsToTxn(message(body, version)?),
        ApiKey::EndTxn => Request::EndTxn(message(body, version)?),
        ApiKey::TxnOffsetCommit => Request::TxnOffsetCommit(message(body, version)?),
        ApiKey::DescribeConfigs => Request::DescribeConfigs(message(body, version)?),
        ApiKey::AlterConfigs => Request::AlterConfigs(message(body, version)?),
        ApiKey::DescribeLogDirs => Request::DescribeLogDirs(message(body, version)?),
        ApiKey::DeleteGroups => Request::DeleteGroups(message(body, version)?),
        ApiKey::IncrementalAlterConfigs => {
            Request::IncrementalAlterConfigs(message(body, version)?)
        }
        ApiKey::OffsetDelete => Request::OffsetDelete(message(body, version)?),
        ApiKey::DescribeClientQuotas => Request::DescribeClientQuotas(message(body, version)?),
        ApiKey::AlterClientQuotas => Request::AlterClientQuotas(message(body, version)?),
        ApiKey::DescribeCluster => Request::DescribeCluster(message(body, version)?),
        ApiKey::ConsumerGroupHeartbeat => Request::ConsumerGroupHeartbeat(message(body, version)?),
        ApiKey::ConsumerGroupDescribe => Request::ConsumerGroupDescribe(message(body, version)?),
        ApiKey::AlterReplicaLogDirs => Request::AlterReplicaLogDirs(message(body, version)?),
        ApiKey::ElectLeaders => Request::ElectLeaders(message(body, version)?),
        ApiKey::AlterPartitionReassignments => {
            Request::AlterPartitionReassignments(message(body, version)?)
        }
        ApiKey::ListPartitionReassignments => {
            Request::ListPartitionReassignments(message(body, version)?)
        }
        ApiKey::DescribeQuorum => Request::DescribeQuorum(message(body, version)?),
        ApiKey::ListConfigResources => Request::ListConfigResources(message(body, version)?),
        ApiKey::WriteTxnMarkers => Request::WriteTxnMarkers(message(body, version)?),
        ApiKey::CreatePartitions => Request::CreatePartitions(message(body, version)?),
        ApiKey::DeleteRecords => Request::DeleteRecords(message(body, version)?),
        ApiKey::DescribeProducers => Request::DescribeProducers(message(body, version)?),
        ApiKey::DescribeTransactions => Request::DescribeTransactions(message(body, version)?),
        ApiKey::ListTransactions => Request::ListTransactions(message(body, version)?),
        ApiKey::SaslHandshake => Request::SaslHandshake(message(body, version)?),
        ApiKey::SaslAuthenticate => Request::SaslAuthenticate(message(body, version)?),
        ApiKey::DescribeAcls => Request::DescribeAcls(message(body, version)?),
        ApiKey::CreateAcls => Request::CreateAcls(message(body, version)?),
        ApiKey::DeleteAcls => Request::DeleteAcls(message(body, version)?),
        ApiKey::DescribeUserScramCredentials => {
            Request::DescribeUserScramCredentials(message(body, version)?)
        }
        ApiKey::AlterUserScramCredentials => {
            Request::AlterUserScramCredentials(message(body, version)?)
        }
        ApiKey::DescribeTopicPartitions => {
            Request::DescribeTopicPartitions(message(body, version)?)
        }
    })
}

/// The crate's decoder. Only for what passed the layout's check.
fn message<M: Decodable>(mut body: Bytes, version: i16) -> Result<M, Malformed> {
    // Its reason names the crate's own types; the peer gets none, so it is told to the log only
    // as what it is.
    M::decode(&mut body, version)
        .map_err(|_| Malformed::Invalid("a field is null, or not UTF-8, that must not be"))
}
