//! From a request to its response: one function an API.

mod acls;
mod cluster;
mod configs;
mod consumer_groups;
mod group_offsets;
mod groups;
mod metadata;
mod offsets;
mod partitions;
mod producers;
mod quotas;
mod replicas;
pub(crate) mod sasl;
mod topics;
mod transactions;
mod users;
mod versions;

pub(crate) use configs::{group_timeouts, topic_defaults};
pub(crate) use transactions::code as transaction_code;

use crate::apis::ApiKey;
use crate::connection::{Close, Output};
use crate::door::Shared;
use crate::fetch;
use crate::quotas::Flow;
use crate::request::{Head, Request};
use crate::settings::HostPort;
use crate::wire::{begin_frame, end_frame};
use anabranch_engine::{
    CLUSTER, ErrorKind, Guarded, Operation, ResourceKind, Session, Stream, StreamSpec,
};
use anabranch_net::Peer;
use anabranch_types::PartitionIndex;
use kafka_protocol::error::ResponseError;
use kafka_protocol::protocol::{Encodable, StrBytes};
use std::sync::Arc;
use std::time::Duration;

/// The one broker's id in a cluster of one.
pub(crate) const BROKER_ID: i32 = 1;

/// Bits of operations (KIP-430) that were not asked for.
pub(crate) const NO_OPERATIONS: i32 = i32::MIN;

/// Who asks, and how it reached us.
pub(crate) struct Client {
    pub(crate) peer: Peer,
    /// What to call this broker in answers.
    pub(crate) broker: HostPort,
    /// `client.id`.
    pub(crate) id: String,
    /// Name and version of the client's library (KIP-511); empty if it did not say.
    pub(crate) software: String,
    /// The name of its principal.
    pub(crate) user: String,
    /// For how long nothing is to be read from it once it is answered (KIP-219).
    pub(crate) throttle: Option<Duration>,
    /// A login that has begun.
    pub(crate) login: Option<sasl::Ongoing>,
    /// Whether a login has ended well; another must be of the same principal.
    pub(crate) authenticated: bool,
    /// The engine as the client may use it from now on.
    pub(crate) session: Option<Session>,
    /// Whether a login has failed: the connection ends with its answer.
    pub(crate) refused: bool,
}

impl Client {
    pub(crate) fn new(peer: Peer, broker: HostPort, user: &str) -> Self {
        Self {
            peer,
            broker,
            id: String::new(),
            software: String::new(),
            user: user.to_owned(),
            throttle: None,
            login: None,
            authenticated: false,
            session: None,
            refused: false,
        }
    }

    /// Its address, as groups are told it.
    pub(crate) fn host(&self) -> String {
        format!("/{}", self.peer.address.ip().to_canonical())
    }

    /// Who its quotas are of.
    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    pub(crate) fn set_id(&mut self, id: &[u8]) {
        if self.id.as_bytes() != id {
            self.id = String::from_utf8_lossy(id).into_owned();
        }
    }
}

/// Answers one request. Everything before it on the connection is answered.
pub(crate) async fn answer(
    shared: &Arc<Shared>,
    client: &mut Client,
    head: &Head,
    request: Request,
    out: &mut Output,
) -> Result<(), Close> {
    let version = head.version;
    match request {
        // The connection takes those itself, many at a time.
        Request::Produce => Ok(()),
        Request::Fetch(request) => {
            fetch(shared, client, head, request, out).await;
            Ok(())
        }
        Request::ApiVersions(request) => {
            versions::answer(client, head, request, out);
            Ok(())
        }
        Request::Metadata(request) => {
            respond(out, head, &metadata::metadata(shared, client, version, request).await)
        }
        Request::DescribeCluster(request) => {
            respond(out, head, &cluster::describe(shared, client, &request))
        }
        Request::DescribeLogDirs(request) => {
            respond(out, head, &cluster::log_dirs(shared, request))
        }
        Request::FindCoordinator(request) => {
            respond(out, head, &cluster::find_coordinator(shared, client, version, request))
        }
        Request::InitProducerId(request) => {
            respond(out, head, &transactions::init_producer_id(shared, version, &request).await)
        }
        Request::ListOffsets(request) => {
            respond(out, head, &offsets::list(shared, version, request).await)
        }
        Request::OffsetForLeaderEpoch(request) => {
            respond(out, head, &offsets::leader_epochs(shared, request))
        }
        Request::CreateTopics(request) => {
            respond(out, head, &topics::create(shared, version, request).await)
        }
        Request::DeleteTopics(request) => {
            respond(out, head, &topics::delete(shared, version, request).await)
        }
        Request::DescribeConfigs(request) => {
            respond(out, head, &configs::describe(shared, version, request))
        }
        Request::AlterConfigs(request) => {
            respond(out, head, &configs::alter(shared, request).await)
        }
        Request::IncrementalAlterConfigs(request) => {
            respond(out, head, &configs::alter_some(shared, request).await)
        }
        Request::AddPartitionsToTxn(request) => {
            respond(out, head, &transactions::add_partitions(shared, version, request).await)
        }
        Request::AddOffsetsToTxn(request) => {
            respond(out, head, &transactions::add_offsets(shared, version, &request).await)
        }
        Request::EndTxn(request) => {
            respond(out, head, &transactions::end(shared, version, &request).await)
        }
        Request::TxnOffsetCommit(request) => {
            respond(out, head, &transactions::commit_offsets(shared, version, request).await)
        }
        Request::DescribeClientQuotas(request) => {
            respond(out, head, &quotas::describe(shared, request))
        }
        Request::AlterClientQuotas(request) => {
            respond(out, head, &quotas::alter(shared, request).await)
        }
        Request::CreatePartitions(request) => {
            respond(out, head, &partitions::create(shared, request).await)
        }
        Request::DeleteRecords(request) => {
            respond(out, head, &partitions::delete_records(shared, request).await)
        }
        Request::DescribeTopicPartitions(request) => {
            respond(out, head, &partitions::describe(shared, &request))
        }
        Request::ElectLeaders(request) => {
            respond(out, head, &replicas::elect_leaders(shared, request))
        }
        Request::AlterPartitionReassignments(request) => {
            respond(out, head, &replicas::reassign(shared, request))
        }
        Request::ListPartitionReassignments(_) => {
            respond(out, head, &replicas::reassignments(shared))
        }
        Request::AlterReplicaLogDirs(request) => {
            respond(out, head, &replicas::alter_log_dirs(shared, request))
        }
        Request::DescribeQuorum(request) => {
            respond(out, head, &replicas::quorum(shared, client, version, request))
        }
        Request::ListConfigResources(request) => {
            respond(out, head, &configs::list_resources(shared, version, &request))
        }
        Request::DescribeProducers(request) => {
            respond(out, head, &producers::describe(shared, request).await)
        }
        Request::DescribeTransactions(request) => {
            respond(out, head, &producers::describe_transactions(shared, request).await)
        }
        Request::ListTransactions(request) => {
            respond(out, head, &producers::list_transactions(shared, &request).await)
        }
        Request::WriteTxnMarkers(request) => {
            respond(out, head, &producers::write_markers(shared, request).await)
        }
        Request::SaslHandshake(request) => {
            respond(out, head, &sasl::handshake(client, version, &request))
        }
        Request::SaslAuthenticate(request) => {
            respond(out, head, &sasl::authenticate(shared, client, &request).await)
        }
        Request::DescribeAcls(request) => respond(out, head, &acls::describe(shared, &request)),
        Request::CreateAcls(request) => respond(out, head, &acls::create(shared, request).await),
        Request::DeleteAcls(request) => respond(out, head, &acls::delete(shared, request).await),
        Request::DescribeUserScramCredentials(request) => {
            respond(out, head, &users::describe(shared, request))
        }
        Request::AlterUserScramCredentials(request) => {
            respond(out, head, &users::alter(shared, request).await)
        }
        request => group(shared, client, head, request, out).await,
    }
}

/// The requests of consumer groups.
async fn group(
    shared: &Arc<Shared>,
    client: &Client,
    head: &Head,
    request: Request,
    out: &mut Output,
) -> Result<(), Close> {
    let version = head.version;
    match request {
        Request::JoinGroup(request) => {
            respond(out, head, &groups::join(shared, client, version, request).await)
        }
        Request::SyncGroup(request) => {
            respond(out, head, &groups::sync(shared, version, request).await)
        }
        Request::Heartbeat(request) => respond(out, head, &groups::heartbeat(shared, &request)),
        Request::LeaveGroup(request) => {
            respond(out, head, &groups::leave(shared, version, request))
        }
        Request::DescribeGroups(request) => {
            respond(out, head, &groups::describe(shared, version, request))
        }
        Request::ListGroups(request) => respond(out, head, &groups::list(shared, &request)),
        Request::DeleteGroups(request) => {
            respond(out, head, &groups::delete(shared, request).await)
        }
        Request::ConsumerGroupHeartbeat(request) => {
            let told = consumer_groups::heartbeat(shared, client, version, request).await;
            respond(out, head, &told)
        }
        Request::ConsumerGroupDescribe(request) => {
            respond(out, head, &consumer_groups::describe(shared, version, request))
        }
        Request::OffsetCommit(request) => {
            respond(out, head, &group_offsets::commit(shared, version, request).await)
        }
        Request::OffsetFetch(request) => {
            respond(out, head, &group_offsets::fetch(shared, version, request).await)
        }
        Request::OffsetDelete(request) => {
            respond(out, head, &group_offsets::delete(shared, request).await)
        }
        other => Err(Close::Encode(format!("no answer is written for {other:?}"))),
    }
}

async fn fetch(
    shared: &Arc<Shared>,
    client: &mut Client,
    head: &Head,
    mut request: fetch::FetchRequest,
    out: &mut Output,
) {
    let mut fault = None;
    let mut gathered = Vec::new();
    let quotas = shared.quotas.is_set().then_some(&shared.quotas);
    let (user, id) = (client.user(), client.id.as_str());
    let most = quotas.and_then(|quotas| quotas.most_at_once(Flow::Fetched, user, id));
    if let Some(most) = most {
        request.max_bytes = request.max_bytes.min(i32::try_from(most).unwrap_or(i32::MAX));
    }
    let mut throttle = None;
    if request.session_id == 0 {
        let (found, share) = fetch::gather(shared, &shared.fetched, &request, head.version).await;
        gathered = found;
        let bytes = gathered.iter().map(fetch::Gathered::bytes).sum();
        throttle = quotas.and_then(|quotas| quotas.record(Flow::Fetched, user, id, bytes));
        // One batch that is more than a quota allows at once would never come.
        let is_small = most.is_some_and(|most| bytes <= most);
        if let (Some(quotas), Some(_), true) = (quotas, throttle, is_small) {
            // It is to ask again: an empty answer, of which nothing counts.
            quotas.take_back(Flow::Fetched, user, id, bytes);
            gathered.clear();
        } else {
            out.hold(share);
        }
    } else {
        fault = Some(ResponseError::FetchSessionIdNotFound);
    }
    client.throttle = throttle;
    fetch::answer(out, head, &request, throttle, fault, gathered);
}

/// Writes a response that the crate encodes.
pub(crate) fn respond<M: Encodable>(
    out: &mut Output,
    head: &Head,
    response: &M,
) -> Result<(), Close> {
    // The header of ApiVersions' response never has tags (KIP-511); it is written elsewhere.
    debug_assert!(head.api.key != ApiKey::ApiVersions);
    let out = out.tail();
    let start = begin_frame(out, head.correlation, head.flexible);
    response.encode(out, head.version).map_err(|error| {
        let (key, version) = (head.api.key, head.version);
        tracing::error!(?key, version, %error, "a response could not be encoded");
        out.truncate(start);
        Close::Encode(error.to_string())
    })?;
    end_frame(out, start, 0);
    Ok(())
}

/// A string as the crate takes it; longer ones than the protocol can carry are cut.
pub(crate) fn text(text: impl Into<String>) -> StrBytes {
    let mut text: String = text.into();
    if text.len() > 32_000 {
        let end = (0..=32_000).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(end);
    }
    StrBytes::from_string(text)
}

/// What the client may do to a topic or group, as bits of operations' numbers (KIP-430).
pub(crate) fn operations(shared: &Shared, kind: ResourceKind, name: &str) -> i32 {
    shared.engine.operations(Guarded { kind, name }).bits()
}

/// What the client may do to the cluster; nothing is told to who may not describe it.
pub(crate) fn cluster_operations(shared: &Shared) -> i32 {
    match shared.engine.check_cluster(Operation::Describe) {
        Ok(()) => operations(shared, ResourceKind::Cluster, CLUSTER),
        Err(_) => 0,
    }
}

/// Partition indexes of a stream, in order.
pub(crate) fn indexes(stream: &Stream) -> impl Iterator<Item = PartitionIndex> + use<> {
    (0..i32::try_from(stream.partitions.len()).unwrap_or(i32::MAX)).map(PartitionIndex)
}

/// What a name says that no topic has.
pub(crate) fn unknown(shared: &Shared, name: &str) -> ResponseError {
    let spec = StreamSpec { name: name.to_owned(), ..StreamSpec::default() };
    match shared.own.check_stream(&spec) {
        Err(error) if error.kind == ErrorKind::InvalidName => ResponseError::InvalidTopicException,
        Ok(()) | Err(_) => ResponseError::UnknownTopicOrPartition,
    }
}

/// A stream that clients may see, by name. The broker's own are not theirs.
pub(crate) fn visible<'a>(
    catalog: &'a anabranch_engine::Catalog,
    name: &str,
) -> Option<&'a Arc<Stream>> {
    catalog.by_name(name).filter(|stream| !stream.is_internal())
}
