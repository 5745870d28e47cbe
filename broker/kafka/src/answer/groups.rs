//! Requests of consumer groups: the wire on one side, the coordinator on the other.

use super::{Client, NO_OPERATIONS, operations, text};
use crate::classic_group::{Identity, Join, JoinError, Joined, Sync};
use crate::coordinator::{Described, Listed};
use crate::door::Shared;
use crate::errors::{About, Fault, denied};
use anabranch_engine::{Operation, ResourceKind};
use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse,
    GroupId, HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse,
    LeaveGroupRequest, LeaveGroupResponse, ListGroupsRequest, ListGroupsResponse, SyncGroupRequest,
    SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;
use std::collections::{BTreeMap, HashSet};

pub(super) async fn join(
    shared: &Shared,
    client: &Client,
    version: i16,
    request: JoinGroupRequest,
) -> JoinGroupResponse {
    let result = match checked_join(shared, client, version, &request) {
        Ok(join) => shared.groups.join(&request.group_id, join).await,
        Err(error) => Err(JoinError { error, member_id: request.member_id.to_string() }),
    };
    match result {
        Ok(joined) => joined_response(joined, version),
        Err(JoinError { error, member_id }) => JoinGroupResponse::default()
            .with_error_code(error.code())
            .with_generation_id(-1)
            .with_protocol_name((version < 7).then(StrBytes::new))
            .with_member_id(text(member_id)),
    }
}

fn checked_join(
    shared: &Shared,
    client: &Client,
    version: i16,
    request: &JoinGroupRequest,
) -> Result<Join, ResponseError> {
    if request.group_id.is_empty() {
        return Err(ResponseError::InvalidGroupId);
    }
    named(shared, &request.group_id)?;
    let bounds = shared.groups.settings;
    let session_ms = u32::try_from(request.session_timeout_ms)
        .ok()
        .filter(|ms| (bounds.session_ms_min..=bounds.session_ms_max).contains(ms))
        .ok_or(ResponseError::InvalidSessionTimeout)?;
    // Version 0 has but one time-out.
    let rebalance_ms = u32::try_from(request.rebalance_timeout_ms).unwrap_or(session_ms);
    // What is remembered is copied: a slice would hold on to all that was read with it.
    let protocols = request.protocols.iter();
    let protocols = protocols
        .map(|protocol| (protocol.name.to_string(), Bytes::copy_from_slice(&protocol.metadata)));
    let prefix = request.group_instance_id.as_deref().unwrap_or(&client.id);
    let new_id = format!("{prefix}-{}", uuid::Uuid::new_v4());
    Ok(Join {
        member_id: request.member_id.to_string(),
        instance: request.group_instance_id.as_ref().map(ToString::to_string),
        client_id: client.id.clone(),
        client_host: client.host(),
        session_ms,
        rebalance_ms: if version == 0 { session_ms } else { rebalance_ms },
        protocol_type: request.protocol_type.to_string(),
        protocols: protocols.collect(),
        new_id,
        id_first: version >= 4,
        can_skip: version >= 9,
    })
}

fn joined_response(joined: Joined, version: i16) -> JoinGroupResponse {
    let members = joined.members.into_iter().map(|member| {
        JoinGroupResponseMember::default()
            .with_member_id(text(member.id))
            .with_group_instance_id(member.instance.map(text))
            .with_metadata(member.metadata)
    });
    let mut response = JoinGroupResponse::default()
        .with_generation_id(joined.generation)
        .with_protocol_name(Some(text(joined.protocol)))
        .with_leader(text(joined.leader))
        .with_member_id(text(joined.member_id))
        .with_members(members.collect());
    if version >= 7 {
        response.protocol_type = Some(text(joined.protocol_type));
    }
    if version >= 9 {
        response.skip_assignment = joined.skip_assignment;
    }
    response
}

pub(super) async fn sync(
    shared: &Shared,
    version: i16,
    request: SyncGroupRequest,
) -> SyncGroupResponse {
    let assignments = request.assignments.iter();
    let assignments = assignments
        .map(|each| (each.member_id.to_string(), Bytes::copy_from_slice(&each.assignment)));
    let sync = Sync {
        who: Identity {
            member_id: &request.member_id,
            instance: request.group_instance_id.as_deref(),
        },
        generation: request.generation_id,
        protocol_type: request.protocol_type.as_deref(),
        protocol: request.protocol_name.as_deref(),
        assignments: assignments.collect(),
    };
    // From this version on, clients say what they take the group's protocol for (KIP-559).
    let incomplete = version >= 5 && (sync.protocol_type.is_none() || sync.protocol.is_none());
    let result = match named(shared, &request.group_id) {
        Err(error) => Err(error),
        Ok(_) if incomplete => Err(ResponseError::InconsistentGroupProtocol),
        Ok(group) => shared.groups.sync(group, sync).await,
    };
    match result {
        Err(error) => SyncGroupResponse::default().with_error_code(error.code()),
        Ok(synced) => {
            let response = SyncGroupResponse::default().with_assignment(synced.assignment);
            if version < 5 {
                return response;
            }
            response
                .with_protocol_type(Some(text(synced.protocol_type)))
                .with_protocol_name(Some(text(synced.protocol)))
        }
    }
}

/// The group's name, if the client may be a member.
fn named<'a>(shared: &Shared, group: &'a GroupId) -> Result<&'a str, ResponseError> {
    if group.is_empty() {
        return Err(ResponseError::InvalidGroupId);
    }
    shared.engine.check_group(Operation::Read, group).map_err(denied)?;
    Ok(group)
}

pub(super) fn heartbeat(shared: &Shared, request: &HeartbeatRequest) -> HeartbeatResponse {
    let who =
        Identity { member_id: &request.member_id, instance: request.group_instance_id.as_deref() };
    let result = named(shared, &request.group_id)
        .and_then(|group| shared.groups.heartbeat(group, who, request.generation_id));
    HeartbeatResponse::default().with_error_code(code(result))
}

pub(super) fn leave(
    shared: &Shared,
    version: i16,
    request: LeaveGroupRequest,
) -> LeaveGroupResponse {
    let group = match named(shared, &request.group_id) {
        Ok(group) => group,
        Err(error) => return LeaveGroupResponse::default().with_error_code(error.code()),
    };
    if version < 3 {
        let who = Identity { member_id: &request.member_id, instance: None };
        let result = shared.groups.leave(group, who);
        return LeaveGroupResponse::default().with_error_code(code(result));
    }
    let members = request.members.into_iter().map(|member| {
        let instance = member.group_instance_id.as_deref();
        let who = Identity { member_id: &member.member_id, instance };
        let result = shared.groups.leave(group, who);
        MemberResponse::default()
            .with_error_code(code(result))
            .with_member_id(member.member_id)
            .with_group_instance_id(member.group_instance_id)
    });
    LeaveGroupResponse::default().with_members(members.collect())
}

pub(super) fn describe(
    shared: &Shared,
    version: i16,
    request: DescribeGroupsRequest,
) -> DescribeGroupsResponse {
    let with_operations = version >= 3 && request.include_authorized_operations;
    let mut seen = HashSet::new();
    let names = request.groups.into_iter().filter(|name| seen.insert(name.clone()));
    let groups = names.map(|name| {
        if let Err(error) = shared.engine.check_group(Operation::Describe, &name) {
            return DescribedGroup::default()
                .with_group_id(name)
                .with_error_code(denied(error).code())
                .with_authorized_operations(NO_OPERATIONS);
        }
        let described = match shared.groups.describe(&name) {
            Some(described) => described.ok(),
            None => {
                let committed = shared.engine.committed_offsets(&name);
                let empty = Described { state: "Empty", ..Described::default() };
                (!committed.is_empty()).then_some(empty)
            }
        };
        let told = described.is_some() || version < 6;
        let operations = if told && with_operations {
            operations(shared, ResourceKind::Group, &name)
        } else {
            NO_OPERATIONS
        };
        described_group(name, described, version).with_authorized_operations(operations)
    });
    DescribeGroupsResponse::default().with_groups(groups.collect())
}

fn described_group(name: GroupId, described: Option<Described>, version: i16) -> DescribedGroup {
    let group = DescribedGroup::default().with_group_id(name);
    let Some(described) = described else {
        let group = group.with_group_state(StrBytes::from_static_str("Dead"));
        if version < 6 {
            return group;
        }
        // KIP-1043: from version 6 a group that is not there is an error.
        return group
            .with_error_code(ResponseError::GroupIdNotFound.code())
            .with_error_message(Some(text("there is no such group")));
    };
    let members = described.members.into_iter().map(|member| {
        let mut described = DescribedGroupMember::default()
            .with_member_id(text(member.id))
            .with_client_id(text(member.client_id))
            .with_client_host(text(member.client_host))
            .with_member_metadata(member.metadata)
            .with_member_assignment(member.assignment);
        if version >= 4 {
            described.group_instance_id = member.instance.map(text);
        }
        described
    });
    group
        .with_group_state(StrBytes::from_static_str(described.state))
        .with_protocol_type(text(described.protocol_type))
        .with_protocol_data(text(described.protocol))
        .with_members(members.collect())
}

pub(super) fn list(shared: &Shared, request: &ListGroupsRequest) -> ListGroupsResponse {
    let mut groups: BTreeMap<String, Listed> = BTreeMap::new();
    // Of who only commits offsets, nothing else is known.
    for name in shared.engine.groups() {
        let (protocol_type, state, kind) = (String::new(), "Empty", "classic");
        groups.insert(name.clone(), Listed { name, protocol_type, state, kind });
    }
    let listed = shared.groups.list().into_iter();
    for group in listed.filter(|group| shared.engine.may_list_group(&group.name)) {
        groups.insert(group.name.clone(), group);
    }
    let wanted = |filter: &[StrBytes], value: &str| {
        filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(value))
    };
    let groups = groups.into_values().filter(|group| {
        wanted(&request.states_filter, group.state) && wanted(&request.types_filter, group.kind)
    });
    let groups = groups.map(|group| {
        ListedGroup::default()
            .with_group_id(GroupId(text(group.name)))
            .with_protocol_type(text(group.protocol_type))
            .with_group_state(StrBytes::from_static_str(group.state))
            .with_group_type(StrBytes::from_static_str(group.kind))
    });
    ListGroupsResponse::default().with_groups(groups.collect())
}

pub(super) async fn delete(shared: &Shared, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let mut results = Vec::new();
    let mut seen = HashSet::new();
    for name in request.groups_names {
        if !seen.insert(name.clone()) {
            continue;
        }
        let result = delete_one(shared, &name).await;
        let result =
            DeletableGroupResult::default().with_error_code(code(result)).with_group_id(name);
        results.push(result);
    }
    DeleteGroupsResponse::default().with_results(results)
}

async fn delete_one(shared: &Shared, name: &str) -> Result<(), ResponseError> {
    shared.engine.check_group(Operation::Delete, name).map_err(denied)?;
    let has_members = shared.groups.has_members(name);
    if has_members == Some(true) {
        return Err(ResponseError::NonEmptyGroup);
    }
    let committed = shared.own.committed_offsets(name);
    if committed.is_empty() && has_members.is_none() {
        return Err(ResponseError::GroupIdNotFound);
    }
    shared.groups.delete(name).await?;
    let removals = committed.into_keys().map(|(stream, index)| (stream, index, None));
    let deleted = shared.engine.commit_offsets(name, removals.collect()).await;
    deleted.map_err(|error| Fault::of(error, About::Coordinator).error)
}

fn code(result: Result<(), ResponseError>) -> i16 {
    result.map_or_else(|error| error.code(), |()| 0)
}
