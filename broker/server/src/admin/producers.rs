//! `anabranch producers`: who writes, and transactions that are not decided.

use super::{AdminError, Connection, Listing, check};
use crate::cli::{BrokerArgs, ProducersCommand};
use crate::settings::Settings;
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    DescribeProducersRequest, DescribeTransactionsRequest, InitProducerIdRequest,
    ListTransactionsRequest, MetadataRequest, ProducerId, TopicName, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;
use serde_json::{Value, json};

/// The longest that a transaction of the producer that fences may be open; it begins none.
const TIMEOUT_MS: i32 = 60_000;

/// Runs a command.
pub(crate) fn producers(
    settings: &Settings,
    broker: &BrokerArgs,
    command: &ProducersCommand,
) -> Result<(), AdminError> {
    let mut connection = Connection::open(settings, broker)?;
    match command {
        ProducersCommand::List { stream } => list(&mut connection, stream, broker.json),
        ProducersCommand::Transactions => transactions(&mut connection, broker.json),
        ProducersCommand::Abort { transactional_id } => abort(&mut connection, transactional_id),
    }
}

fn list(connection: &mut Connection, stream: &str, json: bool) -> Result<(), AdminError> {
    let name = || TopicName(StrBytes::from_string(stream.to_owned()));
    let asked = MetadataRequestTopic::default().with_name(Some(name()));
    let request = MetadataRequest::default()
        .with_topics(Some(vec![asked]))
        .with_allow_auto_topic_creation(false);
    let mut partitions = Vec::new();
    for topic in connection.call(12, &request)?.topics {
        check(topic.error_code, &format!("the stream {stream}"))?;
        partitions.extend(topic.partitions.iter().map(|found| found.partition_index));
    }
    let asked = TopicRequest::default().with_name(name()).with_partition_indexes(partitions);
    let request = DescribeProducersRequest::default().with_topics(vec![asked]);
    let columns = &["partition", "producer", "epoch", "last_sequence", "last_ms", "open_from"];
    let mut listing = Listing::new(columns);
    let answer = connection.call(0, &request)?;
    for partition in answer.topics.into_iter().flat_map(|topic| topic.partitions) {
        check(partition.error_code, &format!("the stream {stream}"))?;
        for one in partition.active_producers {
            let start = one.current_txn_start_offset;
            listing.push([
                json!(partition.partition_index),
                json!(one.producer_id.0),
                json!(one.producer_epoch),
                json!(one.last_sequence),
                json!(one.last_timestamp),
                if start < 0 { Value::Null } else { json!(start) },
            ]);
        }
    }
    listing.print(json)
}

fn transactions(connection: &mut Connection, json: bool) -> Result<(), AdminError> {
    let request = ListTransactionsRequest::default().with_duration_filter(-1);
    let answer = connection.call(1, &request)?;
    check(answer.error_code, "listing transactions")?;
    let ids = answer.transaction_states.into_iter().map(|one| one.transactional_id).collect();
    let request = DescribeTransactionsRequest::default().with_transactional_ids(ids);
    let columns = &["transactional_id", "producer", "epoch", "state", "since_ms", "partitions"];
    let mut listing = Listing::new(columns);
    for one in connection.call(0, &request)?.transaction_states {
        check(one.error_code, &one.transactional_id.0)?;
        let is_open = one.transaction_state.as_str() == "Ongoing";
        let since = one.transaction_start_time_ms;
        let partitions: usize = one.topics.iter().map(|topic| topic.partitions.len()).sum();
        listing.push([
            json!(one.transactional_id.0.as_str()),
            json!(one.producer_id.0),
            json!(one.producer_epoch),
            json!(one.transaction_state.as_str()),
            if is_open && since >= 0 { json!(since) } else { Value::Null },
            json!(partitions),
        ]);
    }
    listing.print(json)
}

/// A producer that takes over the transactional id aborts what its predecessor has open, and fences
/// it (KIP-98).
fn abort(connection: &mut Connection, id: &str) -> Result<(), AdminError> {
    let request = ListTransactionsRequest::default().with_duration_filter(-1);
    let answer = connection.call(1, &request)?;
    check(answer.error_code, "listing transactions")?;
    let is_known =
        answer.transaction_states.iter().any(|one| one.transactional_id.0.as_str() == id);
    if !is_known {
        let message = format!(
            "there is no transactional id {id}: `anabranch producers transactions` lists them"
        );
        return Err(AdminError::Invalid(message));
    }
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(TransactionalId(StrBytes::from_string(id.to_owned()))))
        .with_transaction_timeout_ms(TIMEOUT_MS)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1);
    // While the old transaction is being aborted the answer is to ask again.
    for _ in 0..100 {
        let code = connection.call(4, &request)?.error_code;
        if super::error_name(code).as_deref() != Some("ConcurrentTransactions") {
            return check(code, id);
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    Err(AdminError::Invalid(format!("{id} is still being aborted: look again")))
}
