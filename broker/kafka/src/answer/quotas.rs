//! Client quotas, described and changed (KIP-546).

use super::text;
use crate::door::Shared;
use crate::errors::{About, Fault};
use crate::quotas::{CLIENT_ID, Entity, IP, USER, name_of, stored};
use anabranch_engine::{Operation, Resource};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::alter_client_quotas_request::{self as alter_request, OpData};
use kafka_protocol::messages::alter_client_quotas_response as altered;
use kafka_protocol::messages::describe_client_quotas_request::ComponentData;
use kafka_protocol::messages::describe_client_quotas_response as described;
use kafka_protocol::messages::{
    AlterClientQuotasRequest, AlterClientQuotasResponse, DescribeClientQuotasRequest,
    DescribeClientQuotasResponse,
};
use std::collections::{BTreeMap, HashMap};
use std::net::ToSocketAddrs;

// How names are matched.
const EXACT: i8 = 0;
const DEFAULT: i8 = 1;
const ANY: i8 = 2;

/// What a filter wants of a type: a name, the default, or any.
enum Wanted {
    Name(Option<String>),
    Any,
}

fn invalid(message: impl Into<String>) -> Fault {
    Fault::new(ResponseError::InvalidRequest, message.into())
}

pub(super) fn describe(
    shared: &Shared,
    request: DescribeClientQuotasRequest,
) -> DescribeClientQuotasResponse {
    let quotas = || stored(&shared.engine).map_err(|error| Fault::of(error, About::Config));
    let found = filter(&request.components).and_then(|filter| Ok((filter, quotas()?)));
    let (filter, quotas) = match found {
        Ok(found) => found,
        Err(fault) => {
            return DescribeClientQuotasResponse::default()
                .with_error_code(fault.error.code())
                .with_error_message(Some(text(&*fault.message)))
                .with_entries(None);
        }
    };
    let matches = |entity: &Entity| {
        let strict = !request.strict || entity.len() == filter.len();
        strict
            && filter.iter().all(|(kind, wanted)| match (entity.get(*kind), wanted) {
                (None, _) => false,
                (Some(_), Wanted::Any) => true,
                (Some(name), Wanted::Name(wanted)) => name == wanted,
            })
    };
    let found = quotas.into_iter().filter(|(entity, _)| matches(entity));
    let entries = found.map(|(entity, values)| {
        let part = |(kind, name): (String, Option<String>)| {
            described::EntityData::default()
                .with_entity_type(text(kind))
                .with_entity_name(name.map(text))
        };
        let value = |(key, value): (String, f64)| {
            described::ValueData::default().with_key(text(key)).with_value(value)
        };
        described::EntryData::default()
            .with_entity(entity.into_iter().map(part).collect())
            .with_values(values.into_iter().map(value).collect())
    });
    DescribeClientQuotasResponse::default().with_entries(Some(entries.collect()))
}

fn filter(components: &[ComponentData]) -> Result<BTreeMap<&str, Wanted>, Fault> {
    let mut filter = BTreeMap::new();
    for component in components {
        let kind = &*component.entity_type;
        if kind.is_empty() || filter.contains_key(kind) {
            return Err(invalid("a type of entity is empty, or stands in the filter twice"));
        }
        if ![USER, CLIENT_ID, IP].contains(&kind) {
            let error = ResponseError::UnsupportedVersion;
            return Err(Fault::new(error, format!("there is no type of entity {kind:?}")));
        }
        let wanted = match (component.match_type, &component._match) {
            (EXACT, Some(name)) => Wanted::Name(Some(name.to_string())),
            (DEFAULT, None) => Wanted::Name(None),
            (ANY, None) => Wanted::Any,
            (EXACT, None) => return Err(invalid("a name to match is missing")),
            (DEFAULT | ANY, Some(_)) => return Err(invalid("a name to match is of no use here")),
            (other, _) => return Err(invalid(format!("{other} is no way to match"))),
        };
        filter.insert(kind, wanted);
    }
    if filter.contains_key(IP) && filter.len() > 1 {
        return Err(invalid("an address does not stand together with a user or client id"));
    }
    Ok(filter)
}

pub(super) async fn alter(
    shared: &Shared,
    request: AlterClientQuotasRequest,
) -> AlterClientQuotasResponse {
    let mut times: HashMap<Entity, u32> = HashMap::new();
    for entry in &request.entries {
        *times.entry(entity_of(entry)).or_default() += 1;
    }
    let mut entries = Vec::with_capacity(request.entries.len());
    for entry in request.entries {
        let result = if times[&entity_of(&entry)] > 1 {
            Err(invalid("the entity stands in the request more than once"))
        } else {
            alter_one(shared, &entry, request.validate_only).await
        };
        let parts = entry.entity.into_iter().map(|part| {
            altered::EntityData::default()
                .with_entity_type(part.entity_type)
                .with_entity_name(part.entity_name)
        });
        let answer = altered::EntryData::default().with_entity(parts.collect());
        entries.push(match result {
            Ok(()) => answer,
            Err(fault) => answer
                .with_error_code(fault.error.code())
                .with_error_message(Some(text(&*fault.message))),
        });
    }
    shared.quotas.load(&shared.own);
    AlterClientQuotasResponse::default().with_entries(entries)
}

fn entity_of(entry: &alter_request::EntryData) -> Entity {
    let part = |part: &alter_request::EntityData| {
        (part.entity_type.to_string(), part.entity_name.as_ref().map(ToString::to_string))
    };
    entry.entity.iter().map(part).collect()
}

async fn alter_one(
    shared: &Shared,
    entry: &alter_request::EntryData,
    validate_only: bool,
) -> Result<(), Fault> {
    let entity = entity_of(entry);
    check_entity(&entity, entry.entity.len())?;
    let mut changes = BTreeMap::new();
    for op in &entry.ops {
        if !op.remove {
            check_value(&entity, op)?;
        }
        let value = (!op.remove).then(|| op.value.to_string());
        if changes.insert(op.key.to_string(), value).is_some() {
            return Err(invalid(format!("{} stands in the request more than once", &*op.key)));
        }
    }
    if validate_only {
        let may = shared.engine.check_cluster(Operation::AlterConfigs);
        return may.map_err(|error| Fault::of(error, About::Config));
    }
    let set = shared.engine.set_resource(Resource::ClientQuota, &name_of(&entity), changes).await;
    set.map_err(|error| Fault::of(error, About::Config))
}

fn check_entity(entity: &Entity, parts: usize) -> Result<(), Fault> {
    if entity.is_empty() || entity.len() != parts {
        return Err(invalid("an entity has a user, a client id, both, or an address: each once"));
    }
    for (kind, name) in entity {
        if ![USER, CLIENT_ID, IP].contains(&kind.as_str()) {
            return Err(invalid(format!("there is no type of entity {kind:?}")));
        }
        if name.as_deref() == Some("") {
            return Err(invalid(format!("the name of a {kind} is empty")));
        }
    }
    match entity.get(IP) {
        Some(_) if entity.len() > 1 => {
            Err(invalid("an address does not stand together with a user or client id"))
        }
        Some(Some(ip)) if (ip.as_str(), 0).to_socket_addrs().is_err() => {
            Err(invalid(format!("{ip} is no address")))
        }
        _ => Ok(()),
    }
}

/// The bounds that Kafka's types set.
fn check_value(entity: &Entity, OpData { key, value, .. }: &OpData) -> Result<(), Fault> {
    let (whole, most) = match (&**key, entity.contains_key(IP)) {
        ("producer_byte_rate" | "consumer_byte_rate", false) => (true, i64::MAX as f64),
        ("request_percentage" | "controller_mutation_rate", false) => (false, f64::MAX),
        ("connection_creation_rate", true) => (true, f64::from(i32::MAX)),
        _ => return Err(invalid(format!("there is no quota {:?} of this", &**key))),
    };
    if value.is_nan() || *value <= 0.0 || *value > most || (whole && value.fract() > 1e-6) {
        let kind = if whole { "whole number" } else { "number" };
        return Err(invalid(format!("{} = {value}: expected a {kind} above 0", &**key)));
    }
    Ok(())
}
