//! Settings of topics: described with their defaults, set and reset. Those of the broker stand in
//! its configuration file and are only described.

use super::{BROKER_ID, text, visible};
use crate::door::Shared;
use crate::errors::{About, Fault};
use anabranch_engine::{
    ErrorKind, KNOWN_SETTINGS, SettingKind, StreamChange, StreamSpec, known_setting,
};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::create_topics_response::CreatableTopicConfigs;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::incremental_alter_configs_request::AlterableConfig;
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse as IncrementalResponse;
use kafka_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, DescribeConfigsRequest, DescribeConfigsResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use kafka_protocol::protocol::StrBytes;
use std::collections::{BTreeMap, HashSet};

// Kinds of resources (KIP-133, KIP-714, KIP-848).
const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

// Where a value comes from (KIP-226).
const SOURCE_TOPIC: i8 = 1;
const SOURCE_BROKER_FILE: i8 = 4;
const SOURCE_DEFAULT: i8 = 5;

// Types of values (KIP-569).
const TYPE_BOOLEAN: i8 = 1;
const TYPE_STRING: i8 = 2;
const TYPE_INT: i8 = 3;
const TYPE_LONG: i8 = 5;
const TYPE_DOUBLE: i8 = 6;
const TYPE_LIST: i8 = 7;

// What to do with a value (KIP-339).
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

pub(super) fn describe(
    shared: &Shared,
    version: i16,
    request: DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let synonyms = request.include_synonyms;
    let mut seen = HashSet::new();
    let mut results = Vec::new();
    for resource in request.resources {
        if !seen.insert((resource.resource_type, resource.resource_name.clone())) {
            continue;
        }
        let configs = describe_one(shared, &resource, version, synonyms);
        let result = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name);
        results.push(match configs {
            Ok(configs) => result.with_configs(configs),
            Err(fault) => result
                .with_error_code(fault.error.code())
                .with_error_message(Some(text(&*fault.message))),
        });
    }
    DescribeConfigsResponse::default().with_results(results)
}

fn describe_one(
    shared: &Shared,
    resource: &DescribeConfigsResource,
    version: i16,
    synonyms: bool,
) -> Result<Vec<DescribeConfigsResourceResult>, Fault> {
    let mut configs = match resource.resource_type {
        TOPIC => {
            let catalog = shared.engine.catalog();
            let stream = visible(&catalog, &resource.resource_name).ok_or_else(unknown_topic)?;
            topic_configs(&stream.settings, version, synonyms)
        }
        BROKER => {
            check_broker(&resource.resource_name)?;
            broker_configs(shared)
        }
        GROUP | CLIENT_METRICS => Vec::new(),
        _ => return Err(unknown_resource()),
    };
    if let Some(keys) = &resource.configuration_keys {
        configs.retain(|config| keys.contains(&config.name));
    }
    Ok(configs)
}

fn topic_configs(
    settings: &BTreeMap<String, String>,
    version: i16,
    synonyms: bool,
) -> Vec<DescribeConfigsResourceResult> {
    let configs = KNOWN_SETTINGS.iter().map(|known| {
        let set = settings.get(known.name);
        let mut config = config(known.name, set.map_or(known.default, String::as_str))
            .with_config_source(if set.is_some() { SOURCE_TOPIC } else { SOURCE_DEFAULT });
        if version >= 3 {
            config.config_type = kind(known.kind);
        }
        if synonyms {
            let synonym = |value: &str, source| {
                DescribeConfigsSynonym::default()
                    .with_name(StrBytes::from_static_str(known.name))
                    .with_value(Some(text(value)))
                    .with_source(source)
            };
            config.synonyms.extend(set.map(|value| synonym(value, SOURCE_TOPIC)));
            config.synonyms.push(synonym(known.default, SOURCE_DEFAULT));
        }
        config
    });
    configs.collect()
}

fn kind(kind: SettingKind) -> i8 {
    match kind {
        SettingKind::Boolean => TYPE_BOOLEAN,
        SettingKind::Number(_, most) if most > i64::from(i32::MAX) => TYPE_LONG,
        SettingKind::Number(..) => TYPE_INT,
        SettingKind::Fraction => TYPE_DOUBLE,
        SettingKind::Words(_) => TYPE_LIST,
        SettingKind::Word(_) | SettingKind::Text => TYPE_STRING,
    }
}

fn config(name: &'static str, value: &str) -> DescribeConfigsResourceResult {
    DescribeConfigsResourceResult::default()
        .with_name(StrBytes::from_static_str(name))
        .with_value(Some(text(value)))
}

/// What tools look up of a broker. All of it stands in the configuration file.
fn broker_configs(shared: &Shared) -> Vec<DescribeConfigsResourceResult> {
    let engine = &shared.engine;
    let groups = shared.settings.groups;
    let topic = |name| known_setting(name).map_or("", |known| known.default).to_owned();
    let listeners: Vec<String> = shared
        .settings
        .listeners
        .iter()
        .map(|listener| format!("PLAINTEXT://{}", listener.listen))
        .collect();
    let values = [
        ("auto.create.topics.enable", engine.auto_create().to_string()),
        ("broker.id", BROKER_ID.to_string()),
        ("compression.type", topic("compression.type")),
        ("default.replication.factor", "1".to_owned()),
        ("delete.topic.enable", "true".to_owned()),
        ("group.initial.rebalance.delay.ms", groups.initial_delay_ms.to_string()),
        ("group.max.session.timeout.ms", groups.session_ms_max.to_string()),
        ("group.min.session.timeout.ms", groups.session_ms_min.to_string()),
        ("listeners", listeners.join(",")),
        ("log.cleanup.policy", topic("cleanup.policy")),
        ("log.message.timestamp.type", topic("message.timestamp.type")),
        ("log.retention.bytes", topic("retention.bytes")),
        ("log.retention.ms", topic("retention.ms")),
        ("log.segment.bytes", topic("segment.bytes")),
        ("message.max.bytes", topic("max.message.bytes")),
        ("min.insync.replicas", "1".to_owned()),
        ("node.id", BROKER_ID.to_string()),
        ("num.partitions", engine.partitions_default().to_string()),
        ("socket.request.max.bytes", crate::limits::FRAME_BYTES_MAX.to_string()),
    ];
    let values = values.iter();
    values
        .map(|(name, value)| {
            config(name, value).with_read_only(true).with_config_source(SOURCE_BROKER_FILE)
        })
        .collect()
}

/// The settings of a topic as CreateTopics answers them (KIP-525).
pub(super) fn created(settings: &BTreeMap<String, String>) -> Vec<CreatableTopicConfigs> {
    let configs = KNOWN_SETTINGS.iter().map(|known| {
        let set = settings.get(known.name);
        CreatableTopicConfigs::default()
            .with_name(StrBytes::from_static_str(known.name))
            .with_value(Some(text(set.map_or(known.default, String::as_str))))
            .with_config_source(if set.is_some() { SOURCE_TOPIC } else { SOURCE_DEFAULT })
    });
    configs.collect()
}

/// AlterConfigs: what is not named is reset.
pub(super) async fn alter(shared: &Shared, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let mut responses = Vec::with_capacity(request.resources.len());
    for resource in request.resources {
        let mut changes: BTreeMap<String, Option<String>> = BTreeMap::new();
        for config in &resource.configs {
            let value = config.value.as_ref().map(ToString::to_string);
            changes.insert(config.name.to_string(), value);
        }
        let name = &resource.resource_name;
        let resets = settings(shared, resource.resource_type, name).map(|settings| {
            for name in settings.into_keys() {
                changes.entry(name).or_insert(None);
            }
            changes
        });
        let result = match resets {
            Ok(changes) => apply(shared, name, changes, request.validate_only).await,
            Err(fault) => Err(fault),
        };
        let response = AlterConfigsResourceResponse::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name);
        responses.push(match result {
            Ok(()) => response,
            Err(fault) => response
                .with_error_code(fault.error.code())
                .with_error_message(Some(text(&*fault.message))),
        });
    }
    AlterConfigsResponse::default().with_responses(responses)
}

/// IncrementalAlterConfigs (KIP-339): what is not named stays.
pub(super) async fn alter_some(
    shared: &Shared,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let mut responses = Vec::with_capacity(request.resources.len());
    for resource in request.resources {
        let name = &resource.resource_name;
        let changes = settings(shared, resource.resource_type, name)
            .and_then(|settings| changes(&settings, &resource.configs));
        let result = match changes {
            Ok(changes) => apply(shared, name, changes, request.validate_only).await,
            Err(fault) => Err(fault),
        };
        let response = IncrementalResponse::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name);
        responses.push(match result {
            Ok(()) => response,
            Err(fault) => response
                .with_error_code(fault.error.code())
                .with_error_message(Some(text(&*fault.message))),
        });
    }
    IncrementalAlterConfigsResponse::default().with_responses(responses)
}

/// What is set of a resource that can be changed.
fn settings(
    shared: &Shared,
    resource_type: i8,
    name: &str,
) -> Result<BTreeMap<String, String>, Fault> {
    match resource_type {
        TOPIC => {
            let catalog = shared.engine.catalog();
            Ok(visible(&catalog, name).ok_or_else(unknown_topic)?.settings.clone())
        }
        BROKER => {
            check_broker(name)?;
            Err(Fault::new(
                ResponseError::InvalidConfig,
                "the broker's settings cannot be changed while it runs: change its \
                 configuration file and restart it",
            ))
        }
        GROUP | CLIENT_METRICS => Err(Fault::new(
            ResponseError::InvalidConfig,
            "groups and client metrics have no settings here",
        )),
        _ => Err(unknown_resource()),
    }
}

fn changes(
    settings: &BTreeMap<String, String>,
    configs: &[AlterableConfig],
) -> Result<BTreeMap<String, Option<String>>, Fault> {
    let invalid = |message: String| Fault::new(ResponseError::InvalidConfig, message);
    let mut changes = BTreeMap::new();
    for config in configs {
        let name = &*config.name;
        let value = || {
            let value = config.value.as_deref();
            value.ok_or_else(|| invalid(format!("{name} needs a value")))
        };
        let change = match config.config_operation {
            SET => Some(value()?.to_owned()),
            DELETE => None,
            operation @ (APPEND | SUBTRACT) => {
                let list = known_setting(name)
                    .filter(|known| matches!(known.kind, SettingKind::Words(_) | SettingKind::Text))
                    .ok_or_else(|| invalid(format!("{name} is not a list")))?;
                let now = settings.get(name).map_or(list.default, String::as_str);
                Some(edited(now, value()?, operation == APPEND))
            }
            other => {
                let message = format!("{other} is no operation: 0 sets, 1 resets, 2 and 3 edit");
                return Err(Fault::new(ResponseError::InvalidRequest, message));
            }
        };
        if changes.insert(name.to_owned(), change).is_some() {
            let message = format!("{name} stands in the request more than once");
            return Err(Fault::new(ResponseError::InvalidRequest, message));
        }
    }
    Ok(changes)
}

/// A list with words added or taken away.
fn edited(list: &str, words: &str, add: bool) -> String {
    let split = |list: &'_ str| -> Vec<String> {
        let words = list.split(',').map(str::trim).filter(|word| !word.is_empty());
        words.map(str::to_owned).collect()
    };
    let mut list = split(list);
    for word in split(words) {
        let at = list.iter().position(|known| *known == word);
        match (at, add) {
            (None, true) => list.push(word),
            (Some(at), false) => drop(list.remove(at)),
            (None, false) | (Some(_), true) => {}
        }
    }
    list.join(",")
}

async fn apply(
    shared: &Shared,
    name: &str,
    changes: BTreeMap<String, Option<String>>,
    validate_only: bool,
) -> Result<(), Fault> {
    for name in changes.keys() {
        if known_setting(name).is_none() {
            let message = format!("there is no setting {name}");
            return Err(Fault::new(ResponseError::InvalidConfig, message));
        }
    }
    let result = if validate_only {
        check(shared, name, changes)
    } else {
        shared.engine.alter_stream(name, StreamChange::Settings(changes)).await.map(drop)
    };
    result.map_err(|error| Fault::of(error, About::Config))
}

/// Checks settings by pretending to create the topic with them: that it exists is the last thing
/// that is found wrong.
fn check(
    shared: &Shared,
    name: &str,
    changes: BTreeMap<String, Option<String>>,
) -> Result<(), anabranch_engine::Error> {
    let catalog = shared.engine.catalog();
    let stream = catalog.find(name)?;
    let mut settings = stream.settings.clone();
    for (name, value) in changes {
        match value {
            Some(value) => settings.insert(name, value),
            None => settings.remove(&name),
        };
    }
    let spec = StreamSpec {
        name: name.to_owned(),
        mode: Some(stream.mode),
        partitions: Some(1),
        columns: stream.columns.clone(),
        settings,
    };
    match shared.engine.check_stream(&spec) {
        Err(error) if error.kind == ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

fn check_broker(name: &str) -> Result<(), Fault> {
    if name.is_empty() || name.parse() == Ok(BROKER_ID) {
        return Ok(());
    }
    let message = format!("the only broker is {BROKER_ID}");
    Err(Fault::new(ResponseError::InvalidRequest, message))
}

fn unknown_topic() -> Fault {
    Fault::new(ResponseError::UnknownTopicOrPartition, "there is no such topic")
}

fn unknown_resource() -> Fault {
    Fault::new(
        ResponseError::InvalidRequest,
        "only topics (2), brokers (4) and groups (32) have settings",
    )
}
