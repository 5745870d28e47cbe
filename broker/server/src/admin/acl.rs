//! `anabranch acl`: who may do what.

use super::{AdminError, Connection, Listing, check};
use crate::cli::{AclArgs, AclCommand, BrokerArgs};
use crate::settings::Settings;
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use kafka_protocol::messages::{CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest};
use kafka_protocol::protocol::StrBytes;
use serde_json::{Value, json};

/// Kafka's numbers: AclOperation, ResourceType, PatternType, AclPermissionType.
const OPERATIONS: [&str; 16] = [
    "unknown",
    "any",
    "all",
    "read",
    "write",
    "create",
    "delete",
    "alter",
    "describe",
    "cluster_action",
    "describe_configs",
    "alter_configs",
    "idempotent_write",
    "create_tokens",
    "describe_tokens",
    "two_phase_commit",
];
const RESOURCES: [&str; 8] = [
    "unknown",
    "any",
    "stream",
    "group",
    "cluster",
    "transactional_id",
    "delegation_token",
    "user",
];
const PATTERNS: [&str; 5] = ["unknown", "any", "match", "literal", "prefixed"];
const PERMISSIONS: [&str; 4] = ["unknown", "any", "deny", "allow"];
const ANY: i8 = 1;

/// Runs a command.
pub(crate) fn acl(
    settings: &Settings,
    broker: &BrokerArgs,
    command: &AclCommand,
) -> Result<(), AdminError> {
    let mut connection = Connection::open(settings, broker)?;
    match command {
        AclCommand::List { of } => list(&mut connection, of.as_deref(), broker.json),
        AclCommand::Add(acl) => add(&mut connection, acl),
        AclCommand::Remove(acl) => remove(&mut connection, acl, broker.json),
    }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn number(names: &[&str], name: &str, what: &str) -> Result<i8, AdminError> {
    let wanted = name.to_ascii_lowercase().replace('-', "_");
    let found = names.iter().position(|known| *known == wanted).filter(|at| *at > 1);
    found.map(|at| at as i8).ok_or_else(|| {
        let all = names[2..].join(", ");
        AdminError::Invalid(format!("there is no {what} {name}: it is one of {all}"))
    })
}

fn word(names: &[&'static str], number: i8) -> Value {
    usize::try_from(number)
        .ok()
        .and_then(|at| names.get(at))
        .map_or(Value::Null, |name| json!(name))
}

/// A user's name, or Kafka's way of writing one.
fn principal(user: &str) -> String {
    if user.contains(':') { user.to_owned() } else { format!("User:{user}") }
}

const COLUMNS: &[&str] =
    &["principal", "permission", "operation", "kind", "name", "pattern", "host"];

fn list(connection: &mut Connection, user: Option<&str>, json: bool) -> Result<(), AdminError> {
    let request = DescribeAclsRequest::default()
        .with_resource_type_filter(ANY)
        .with_resource_name_filter(None)
        .with_pattern_type_filter(ANY)
        .with_principal_filter(user.map(|user| text(&principal(user))))
        .with_host_filter(None)
        .with_operation(ANY)
        .with_permission_type(ANY);
    let answer = connection.call(3, &request)?;
    check(answer.error_code, "listing grants")?;
    let mut listing = Listing::new(COLUMNS);
    for resource in answer.resources {
        for acl in resource.acls {
            listing.push([
                json!(acl.principal.as_str()),
                word(&PERMISSIONS, acl.permission_type),
                word(&OPERATIONS, acl.operation),
                word(&RESOURCES, resource.resource_type),
                json!(resource.resource_name.as_str()),
                word(&PATTERNS, resource.pattern_type),
                json!(acl.host.as_str()),
            ]);
        }
    }
    listing.print(json)
}

/// What an ACL is on: its kind, name and pattern.
fn resource(acl: &AclArgs) -> Result<(i8, &str, i8), AdminError> {
    let pattern = if acl.prefixed { 4 } else { 3 };
    let all = [
        (2, acl.stream.as_deref()),
        (3, acl.group.as_deref()),
        (5, acl.transactional_id.as_deref()),
        (4, acl.cluster.then_some("kafka-cluster")),
    ];
    let mut named = all.into_iter().filter_map(|(kind, name)| Some((kind, name?, pattern)));
    match (named.next(), named.next()) {
        (Some(one), None) => Ok(one),
        _ => Err(AdminError::Invalid(
            "name one of --stream, --group, --transactional-id and --cluster".to_owned(),
        )),
    }
}

fn permission(acl: &AclArgs) -> i8 {
    if acl.deny { 2 } else { 3 }
}

fn add(connection: &mut Connection, acl: &AclArgs) -> Result<(), AdminError> {
    let (kind, name, pattern) = resource(acl)?;
    let mut creations = Vec::new();
    for operation in &acl.operation {
        creations.push(
            AclCreation::default()
                .with_resource_type(kind)
                .with_resource_name(text(name))
                .with_resource_pattern_type(pattern)
                .with_principal(text(&principal(&acl.to)))
                .with_host(text(&acl.host))
                .with_operation(number(&OPERATIONS, operation, "operation")?)
                .with_permission_type(permission(acl)),
        );
    }
    let answer = connection.call(3, &CreateAclsRequest::default().with_creations(creations))?;
    for result in answer.results {
        check(result.error_code, result.error_message.as_deref().unwrap_or("the grant"))?;
    }
    Ok(())
}

fn remove(connection: &mut Connection, acl: &AclArgs, json: bool) -> Result<(), AdminError> {
    let (kind, name, pattern) = resource(acl)?;
    let mut filters = Vec::new();
    for operation in &acl.operation {
        filters.push(
            DeleteAclsFilter::default()
                .with_resource_type_filter(kind)
                .with_resource_name_filter(Some(text(name)))
                .with_pattern_type_filter(pattern)
                .with_principal_filter(Some(text(&principal(&acl.to))))
                .with_host_filter(Some(text(&acl.host)))
                .with_operation(number(&OPERATIONS, operation, "operation")?)
                .with_permission_type(permission(acl)),
        );
    }
    let answer = connection.call(3, &DeleteAclsRequest::default().with_filters(filters))?;
    let mut listing = Listing::new(COLUMNS);
    for result in answer.filter_results {
        check(result.error_code, result.error_message.as_deref().unwrap_or("the grant"))?;
        for acl in result.matching_acls {
            listing.push([
                json!(acl.principal.as_str()),
                word(&PERMISSIONS, acl.permission_type),
                word(&OPERATIONS, acl.operation),
                word(&RESOURCES, acl.resource_type),
                json!(acl.resource_name.as_str()),
                word(&PATTERNS, acl.pattern_type),
                json!(acl.host.as_str()),
            ]);
        }
    }
    if listing.is_empty() {
        return Err(AdminError::Invalid("there is no such grant: `anabranch acl list`".to_owned()));
    }
    listing.print(json)
}
