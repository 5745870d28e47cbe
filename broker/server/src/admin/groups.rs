//! `anabranch groups`: what consumer groups have read, and where they go on.

use super::{AdminError, Connection, Listing, check};
use crate::cli::{BrokerArgs, GroupsCommand, ResetTo};
use crate::settings::Settings;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::{
    BrokerId, ConsumerGroupDescribeRequest, DeleteGroupsRequest, DescribeGroupsRequest, GroupId,
    ListGroupsRequest, ListOffsetsRequest, MetadataRequest, OffsetCommitRequest,
    OffsetFetchRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// By stream and partition.
type Offsets = BTreeMap<(String, i32), i64>;

/// Times that mean a place (KIP-79).
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

/// Runs a command.
pub(crate) fn groups(
    settings: &Settings,
    broker: &BrokerArgs,
    command: &GroupsCommand,
) -> Result<(), AdminError> {
    let mut connection = Connection::open(settings, broker)?;
    match command {
        GroupsCommand::List => list(&mut connection, broker.json),
        GroupsCommand::Describe { group } => describe(&mut connection, group, broker.json),
        GroupsCommand::Members { group } => members(&mut connection, group, broker.json),
        GroupsCommand::Reset { group, stream, to, execute } => {
            let reset = Reset { group, stream, to, is_dry: !execute };
            reset_offsets(&mut connection, &reset, broker.json)
        }
        GroupsCommand::Delete { group } => delete(&mut connection, group),
    }
}

fn group_id(name: &str) -> GroupId {
    GroupId(StrBytes::from_string(name.to_owned()))
}

fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

/// Name, protocol and state of each group.
fn known(connection: &mut Connection) -> Result<Vec<[String; 3]>, AdminError> {
    let answer = connection.call(5, &ListGroupsRequest::default())?;
    check(answer.error_code, "listing groups")?;
    let all = answer.groups.into_iter();
    Ok(all
        .map(|group| {
            [
                group.group_id.0.to_string(),
                group.group_type.to_string(),
                group.group_state.to_string(),
            ]
        })
        .collect())
}

fn list(connection: &mut Connection, json: bool) -> Result<(), AdminError> {
    let mut listing = Listing::new(&["group", "protocol", "state", "lag"]);
    let mut groups = known(connection)?;
    groups.sort();
    for [group, protocol, state] in groups {
        let committed = committed(connection, &group)?;
        let ends = offsets_at(connection, &committed, LATEST)?;
        let starts = offsets_at(connection, &committed, EARLIEST)?;
        let lag: i64 =
            committed.iter().map(|(place, next)| lag(place, *next, &starts, &ends)).sum();
        listing.push([json!(group), json!(protocol), json!(state), json!(lag)]);
    }
    listing.print(json)
}

fn lag(place: &(String, i32), next: i64, starts: &Offsets, ends: &Offsets) -> i64 {
    let at = |all: &Offsets| all.get(place).copied().unwrap_or(next);
    (at(ends) - next.max(at(starts))).max(0)
}

fn describe(connection: &mut Connection, group: &str, json: bool) -> Result<(), AdminError> {
    expect_group(connection, group)?;
    let committed = committed(connection, group)?;
    let ends = offsets_at(connection, &committed, LATEST)?;
    let starts = offsets_at(connection, &committed, EARLIEST)?;
    let mut listing = Listing::new(&["stream", "partition", "committed", "end", "lag"]);
    for (place, next) in &committed {
        let end = ends.get(place).map_or(Value::Null, |end| json!(end));
        let lag = lag(place, *next, &starts, &ends);
        listing.push([json!(place.0), json!(place.1), json!(next), end, json!(lag)]);
    }
    listing.print(json)
}

fn expect_group(connection: &mut Connection, group: &str) -> Result<(), AdminError> {
    if known(connection)?.iter().any(|[name, ..]| name == group) {
        return Ok(());
    }
    Err(AdminError::Refused {
        what: format!("the group {group}"),
        name: "GroupIdNotFound".to_owned(),
    })
}

fn members(connection: &mut Connection, group: &str, json: bool) -> Result<(), AdminError> {
    expect_group(connection, group)?;
    let mut listing = Listing::new(&["member", "client", "host"]);
    let request = ConsumerGroupDescribeRequest::default().with_group_ids(vec![group_id(group)]);
    for found in connection.call(1, &request)?.groups {
        // It is a classic one.
        if found.error_code != 0 {
            continue;
        }
        for one in found.members {
            let [member, client, host] = [one.member_id, one.client_id, one.client_host];
            listing.push([json!(member.as_str()), json!(client.as_str()), json!(host.as_str())]);
        }
        return listing.print(json);
    }
    let request = DescribeGroupsRequest::default().with_groups(vec![group_id(group)]);
    for found in connection.call(5, &request)?.groups {
        check(found.error_code, &format!("the group {group}"))?;
        for one in found.members {
            let [member, client, host] = [one.member_id, one.client_id, one.client_host];
            listing.push([json!(member.as_str()), json!(client.as_str()), json!(host.as_str())]);
        }
    }
    listing.print(json)
}

/// What a group has committed.
fn committed(connection: &mut Connection, group: &str) -> Result<Offsets, AdminError> {
    let asked = OffsetFetchRequestGroup::default().with_group_id(group_id(group)).with_topics(None);
    let request = OffsetFetchRequest::default().with_groups(vec![asked]);
    let mut offsets = Offsets::new();
    for found in connection.call(8, &request)?.groups {
        check(found.error_code, &format!("the group {group}"))?;
        for topic in found.topics {
            for partition in topic.partitions {
                check(partition.error_code, &format!("the group {group}"))?;
                let place = (topic.name.0.to_string(), partition.partition_index);
                offsets.insert(place, partition.committed_offset);
            }
        }
    }
    offsets.retain(|_, next| *next >= 0);
    Ok(offsets)
}

/// The offset at `time`, or one of the times that mean a place, of each partition.
fn offsets_at(connection: &mut Connection, of: &Offsets, time: i64) -> Result<Offsets, AdminError> {
    let mut by_topic: BTreeMap<&str, Vec<ListOffsetsPartition>> = BTreeMap::new();
    for (topic, partition) in of.keys() {
        let asked =
            ListOffsetsPartition::default().with_partition_index(*partition).with_timestamp(time);
        by_topic.entry(topic).or_default().push(asked);
    }
    let topics = by_topic.into_iter().map(|(topic, partitions)| {
        ListOffsetsTopic::default().with_name(topic_name(topic)).with_partitions(partitions)
    });
    let request =
        ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(topics.collect());
    let mut offsets = Offsets::new();
    for topic in connection.call(7, &request)?.topics {
        for partition in topic.partitions {
            // A stream that was dropped has none.
            if partition.error_code == 0 {
                let place = (topic.name.0.to_string(), partition.partition_index);
                offsets.insert(place, partition.offset);
            }
        }
    }
    Ok(offsets)
}

struct Reset<'a> {
    group: &'a str,
    stream: &'a str,
    to: &'a ResetTo,
    is_dry: bool,
}

fn reset_offsets(
    connection: &mut Connection,
    reset: &Reset<'_>,
    json: bool,
) -> Result<(), AdminError> {
    let partitions = partitions(connection, reset.stream)?;
    let before = committed(connection, reset.group)?;
    let ends = offsets_at(connection, &partitions, LATEST)?;
    let starts = offsets_at(connection, &partitions, EARLIEST)?;
    let mut after = match reset.to {
        ResetTo::Earliest => starts.clone(),
        ResetTo::Latest => ends.clone(),
        ResetTo::Offset(offset) => partitions.keys().map(|at| (at.clone(), *offset)).collect(),
        ResetTo::Time(time) => offsets_at(connection, &partitions, *time)?,
    };
    for (place, next) in &mut after {
        let at = |all: &Offsets| all.get(place).copied().unwrap_or_default();
        // Nothing is so late: what comes next.
        let asked = if *next < 0 { at(&ends) } else { *next };
        *next = asked.clamp(at(&starts), at(&ends));
    }
    if !reset.is_dry {
        commit(connection, reset, &after)?;
    }
    let mut listing = Listing::new(&["stream", "partition", "before", "after"]);
    for (place, next) in &after {
        let before = before.get(place).map_or(Value::Null, |next| json!(next));
        listing.push([json!(place.0), json!(place.1), before, json!(next)]);
    }
    listing.print(json)?;
    if reset.is_dry {
        use std::io::Write;
        writeln!(std::io::stderr(), "nothing was changed: add --execute to do it")?;
    }
    Ok(())
}

/// Partitions of a stream, each at 0.
fn partitions(connection: &mut Connection, stream: &str) -> Result<Offsets, AdminError> {
    let asked = MetadataRequestTopic::default().with_name(Some(topic_name(stream)));
    let request = MetadataRequest::default()
        .with_topics(Some(vec![asked]))
        .with_allow_auto_topic_creation(false);
    let mut offsets = Offsets::new();
    for topic in connection.call(12, &request)?.topics {
        check(topic.error_code, &format!("the stream {stream}"))?;
        let all = topic.partitions.iter();
        offsets.extend(all.map(|found| ((stream.to_owned(), found.partition_index), 0)));
    }
    Ok(offsets)
}

/// Commits as nobody's member, which a group takes only while it has none.
fn commit(
    connection: &mut Connection,
    reset: &Reset<'_>,
    offsets: &Offsets,
) -> Result<(), AdminError> {
    let partitions = offsets.iter().map(|((_, partition), next)| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(*partition)
            .with_committed_offset(*next)
    });
    let topic = OffsetCommitRequestTopic::default()
        .with_name(topic_name(reset.stream))
        .with_partitions(partitions.collect());
    let request = OffsetCommitRequest::default()
        .with_group_id(group_id(reset.group))
        .with_generation_id_or_member_epoch(-1)
        .with_group_instance_id(None)
        .with_topics(vec![topic]);
    let answer = connection.call(8, &request)?;
    let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
    for partition in partitions {
        check(partition.error_code, &format!("the group {}", reset.group))?;
    }
    Ok(())
}

fn delete(connection: &mut Connection, group: &str) -> Result<(), AdminError> {
    let request = DeleteGroupsRequest::default().with_groups_names(vec![group_id(group)]);
    for result in connection.call(2, &request)?.results {
        check(result.error_code, &format!("the group {group}"))?;
    }
    Ok(())
}
