//! Grants as Kafka's tools see and change them: ACLs (KIP-140, KIP-290).

use super::text;
use crate::door::Shared;
use crate::errors::{About, Fault};
use anabranch_engine::{
    CLUSTER, Grant, GrantFilter, Operation, Pattern, PatternFilter, Permission, Principal,
    ResourceKind,
};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::create_acls_response::AclCreationResult;
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use kafka_protocol::messages::delete_acls_response::{
    DeleteAclsFilterResult, DeleteAclsMatchingAcl,
};
use kafka_protocol::messages::describe_acls_response::{AclDescription, DescribeAclsResource};
use kafka_protocol::messages::{
    CreateAclsRequest, CreateAclsResponse, DeleteAclsRequest, DeleteAclsResponse,
    DescribeAclsRequest, DescribeAclsResponse,
};
use std::collections::BTreeMap;

/// In filters, of kinds, operations, permissions and patterns: whichever.
const ANY: i8 = 1;
// Types of patterns (KIP-290).
const MATCH: i8 = 2;
const LITERAL: i8 = 3;
const PREFIXED: i8 = 4;

fn invalid(message: impl Into<String>) -> Fault {
    Fault::new(ResponseError::InvalidRequest, message.into())
}

fn fault(error: anabranch_engine::Error) -> Fault {
    Fault::of(error, About::Partition)
}

pub(super) fn describe(shared: &Shared, request: &DescribeAclsRequest) -> DescribeAclsResponse {
    let response = DescribeAclsResponse::default();
    let found = shared.engine.access().map_err(fault).and_then(|access| {
        let wanted = DeleteAclsFilter::default()
            .with_resource_type_filter(request.resource_type_filter)
            .with_resource_name_filter(request.resource_name_filter.clone())
            .with_pattern_type_filter(request.pattern_type_filter)
            .with_principal_filter(request.principal_filter.clone())
            .with_host_filter(request.host_filter.clone())
            .with_operation(request.operation)
            .with_permission_type(request.permission_type);
        let filter = filter(&wanted)?;
        let mut resources: BTreeMap<(ResourceKind, Pattern), Vec<AclDescription>> = BTreeMap::new();
        for grant in access.matching(&filter) {
            let acl = AclDescription::default()
                .with_principal(text(grant.principal.as_str()))
                .with_host(text(&*grant.host))
                .with_operation(grant.operation.number())
                .with_permission_type(grant.permission.number());
            resources.entry((grant.kind, grant.pattern.clone())).or_default().push(acl);
        }
        Ok(resources)
    });
    match found {
        Err(fault) => response
            .with_error_code(fault.error.code())
            .with_error_message(Some(text(&*fault.message))),
        Ok(resources) => {
            let resources = resources.into_iter().map(|((kind, pattern), acls)| {
                DescribeAclsResource::default()
                    .with_resource_type(kind.number())
                    .with_resource_name(text(pattern.name()))
                    .with_pattern_type(pattern_number(&pattern))
                    .with_acls(acls)
            });
            response.with_error_message(Some(text(""))).with_resources(resources.collect())
        }
    }
}

fn pattern_number(pattern: &Pattern) -> i8 {
    match pattern {
        Pattern::Literal(_) => LITERAL,
        Pattern::Prefixed(_) => PREFIXED,
    }
}

pub(super) async fn create(shared: &Shared, request: CreateAclsRequest) -> CreateAclsResponse {
    let grants: Vec<Result<Grant, Fault>> = request.creations.iter().map(grant).collect();
    let good: Vec<Grant> = grants.iter().filter_map(|grant| grant.as_ref().ok().cloned()).collect();
    let added = shared.engine.add_grants(good).await.map_err(fault);
    let results = grants.into_iter().map(|grant| {
        let result = AclCreationResult::default();
        match added.clone().and(grant.map(drop)) {
            Ok(()) => result,
            Err(fault) => result
                .with_error_code(fault.error.code())
                .with_error_message(Some(text(&*fault.message))),
        }
    });
    CreateAclsResponse::default().with_results(results.collect())
}

fn grant(creation: &AclCreation) -> Result<Grant, Fault> {
    let name = &*creation.resource_name;
    let kind = ResourceKind::of_number(creation.resource_type)
        .ok_or_else(|| invalid("no such type of resource"))?;
    let pattern = match creation.resource_pattern_type {
        LITERAL => Pattern::Literal(name.into()),
        PREFIXED => Pattern::Prefixed(name.into()),
        _ => return Err(invalid("the pattern must be literal (3) or prefixed (4)")),
    };
    if kind == ResourceKind::Cluster && name != CLUSTER {
        return Err(invalid(format!("The only valid name for the CLUSTER resource is {CLUSTER}")));
    }
    if name.is_empty() {
        return Err(invalid("Invalid empty resource name"));
    }
    let operation =
        Operation::of_number(creation.operation).ok_or_else(|| invalid("no such operation"))?;
    let permission = Permission::of_number(creation.permission_type)
        .ok_or_else(|| invalid("the permission must be to deny (2) or to allow (3)"))?;
    let principal = Principal::parse(&creation.principal)
        .ok_or_else(|| invalid("a principal is written User:name"))?;
    let host = match &*creation.host {
        "" => return Err(invalid("the host is empty: * means any")),
        host => host.into(),
    };
    Ok(Grant { kind, pattern, principal, host, operation, permission })
}

pub(super) async fn delete(shared: &Shared, request: DeleteAclsRequest) -> DeleteAclsResponse {
    let filters: Vec<Result<GrantFilter, Fault>> = request.filters.iter().map(filter).collect();
    let good: Vec<GrantFilter> =
        filters.iter().filter_map(|filter| filter.as_ref().ok().cloned()).collect();
    let removed = shared.engine.remove_grants(good).await.map_err(fault);
    let mut removed = removed.map(Vec::into_iter);
    let results = filters.into_iter().map(|filter| {
        let taken = match &mut removed {
            Err(fault) => Err(fault.clone()),
            Ok(removed) => filter.map(|_| removed.next().unwrap_or_default()),
        };
        let result = DeleteAclsFilterResult::default();
        match taken {
            Ok(grants) => result.with_matching_acls(grants.iter().map(matching).collect()),
            Err(fault) => result
                .with_error_code(fault.error.code())
                .with_error_message(Some(text(&*fault.message))),
        }
    });
    DeleteAclsResponse::default().with_filter_results(results.collect())
}

fn matching(grant: &Grant) -> DeleteAclsMatchingAcl {
    DeleteAclsMatchingAcl::default()
        .with_resource_type(grant.kind.number())
        .with_resource_name(text(grant.pattern.name()))
        .with_pattern_type(pattern_number(&grant.pattern))
        .with_principal(text(grant.principal.as_str()))
        .with_host(text(&*grant.host))
        .with_operation(grant.operation.number())
        .with_permission_type(grant.permission.number())
}

fn filter(wanted: &DeleteAclsFilter) -> Result<GrantFilter, Fault> {
    fn number<T>(
        number: i8,
        of_number: impl Fn(i8) -> Option<T>,
        what: &str,
    ) -> Result<Option<T>, Fault> {
        match number {
            ANY => Ok(None),
            number => of_number(number).map(Some).ok_or_else(|| invalid(format!("no such {what}"))),
        }
    }
    let name = wanted.resource_name_filter.as_ref().map(ToString::to_string);
    let pattern = match wanted.pattern_type_filter {
        ANY => PatternFilter::Any(name),
        MATCH => PatternFilter::Match(name),
        LITERAL => PatternFilter::Literal(name),
        PREFIXED => PatternFilter::Prefixed(name),
        _ => return Err(invalid("no such type of pattern")),
    };
    Ok(GrantFilter {
        kind: number(wanted.resource_type_filter, ResourceKind::of_number, "type of resource")?,
        pattern,
        principal: wanted.principal_filter.as_ref().map(ToString::to_string),
        host: wanted.host_filter.as_ref().map(ToString::to_string),
        operation: number(wanted.operation, Operation::of_number, "operation")?,
        permission: number(wanted.permission_type, Permission::of_number, "permission")?,
    })
}
