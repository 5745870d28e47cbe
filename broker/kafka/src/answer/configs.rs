//! Settings of topics, the broker, groups and client metrics: described with their defaults, set
//! and reset. What stands in the broker's configuration file is only described.

mod known;

use super::{BROKER_ID, text, unknown, visible};
use crate::consumer_group::Timeouts;
use crate::door::Shared;
use crate::errors::{About, Fault, denied, own};
use anabranch_engine::{
    ErrorKind, KNOWN_SETTINGS, KnownSetting, Operation, Resource, Session, SettingKind, Stream,
    StreamChange, StreamSpec, check_setting, known_setting,
};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::create_topics_response::CreatableTopicConfigs;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse as IncrementalResponse;
use kafka_protocol::messages::list_config_resources_response::ConfigResource;
use kafka_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, DescribeConfigsRequest, DescribeConfigsResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, ListConfigResourcesRequest,
    ListConfigResourcesResponse,
};
use kafka_protocol::protocol::StrBytes;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

// Kinds of resources (KIP-133, KIP-714, KIP-848).
const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

// Where a value comes from (KIP-226).
const SOURCE_TOPIC: i8 = 1;
const SOURCE_BROKER: i8 = 2;
const SOURCE_ALL_BROKERS: i8 = 3;
const SOURCE_BROKER_FILE: i8 = 4;
const SOURCE_DEFAULT: i8 = 5;
const SOURCE_CLIENT_METRICS: i8 = 7;
const SOURCE_GROUP: i8 = 8;

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
    let (kind, name) = (resource.resource_type, &resource.resource_name);
    let target = Target::find(shared, kind, name, Operation::DescribeConfigs)?;
    let set = target.settings(&shared.own);
    let mut configs: Vec<_> = match &target {
        Target::Broker(name) => {
            let all = own(shared.own.resource_settings(Resource::Broker, ALL_BROKERS));
            let one = |setting: &known::BrokerSetting| {
                let known = setting.known();
                let own = set.get(known.name).filter(|_| name != ALL_BROKERS);
                let sources = [
                    own.map(|value| (value.as_str(), SOURCE_BROKER)),
                    all.get(known.name).map(|value| (value.as_str(), SOURCE_ALL_BROKERS)),
                ];
                described(&known, &sources, version, synonyms)
            };
            let mut configs: Vec<_> = known::BROKER.iter().map(one).collect();
            if name == ALL_BROKERS {
                // What holds for all of them has no defaults: those are each broker's.
                configs.retain(|config| config.config_source == SOURCE_ALL_BROKERS);
            } else {
                let names: HashSet<_> = configs.iter().map(|config| config.name.clone()).collect();
                let file = broker_configs(shared, version).into_iter();
                configs.extend(file.filter(|config| !names.contains(&config.name)));
            }
            configs
        }
        other => {
            let of = |known: &KnownSetting| {
                let set = set.get(known.name).map(|value| (value.as_str(), other.source()));
                described(known, &[set], version, synonyms)
            };
            known_of(other.kind()).iter().map(of).collect()
        }
    };
    if let Some(keys) = resource.configuration_keys.as_ref().filter(|keys| !keys.is_empty()) {
        configs.retain(|config| keys.contains(&config.name));
    }
    Ok(configs)
}

/// What Kafka calls all brokers.
const ALL_BROKERS: &str = "";

/// What a request is about.
enum Target {
    Topic(Arc<Stream>),
    /// The broker's number, or [`ALL_BROKERS`].
    Broker(String),
    Group(String),
    ClientMetrics(String),
}

impl Target {
    /// What is meant, if the client may do `operation` to it.
    fn find(shared: &Shared, kind: i8, name: &str, operation: Operation) -> Result<Self, Fault> {
        let engine = &shared.engine;
        let may = match kind {
            TOPIC => engine.check_stream_access(operation, name),
            BROKER | CLIENT_METRICS => engine.check_cluster(operation),
            GROUP => engine.check_group(operation, name),
            _ => Ok(()),
        };
        may.map_err(|error| Fault::of(error, About::Config))?;
        let unnamed = || Fault::new(ResponseError::InvalidRequest, "the resource has no name");
        match kind {
            TOPIC => {
                let catalog = shared.own.catalog();
                let unknown = || Fault::new(unknown(shared, name), "there is no such topic");
                Ok(Self::Topic(Arc::clone(visible(&catalog, name).ok_or_else(unknown)?)))
            }
            BROKER => {
                check_broker(name)?;
                Ok(Self::Broker(name.to_owned()))
            }
            GROUP | CLIENT_METRICS if name.is_empty() => Err(unnamed()),
            GROUP => Ok(Self::Group(name.to_owned())),
            CLIENT_METRICS => Ok(Self::ClientMetrics(name.to_owned())),
            _ => Err(unknown_resource()),
        }
    }

    /// What is set.
    fn settings(&self, engine: &Session) -> BTreeMap<String, String> {
        let own = |kind, name: &str| own(engine.resource_settings(kind, name));
        match self {
            Self::Topic(stream) => stream.settings.clone(),
            Self::Broker(name) => own(Resource::Broker, name),
            Self::Group(name) => own(Resource::Group, name),
            Self::ClientMetrics(name) => own(Resource::ClientMetrics, name),
        }
    }

    /// Its number in requests.
    fn kind(&self) -> i8 {
        match self {
            Self::Topic(_) => TOPIC,
            Self::Broker(_) => BROKER,
            Self::Group(_) => GROUP,
            Self::ClientMetrics(_) => CLIENT_METRICS,
        }
    }

    fn source(&self) -> i8 {
        match self {
            Self::Topic(_) => SOURCE_TOPIC,
            Self::Broker(_) => SOURCE_BROKER,
            Self::Group(_) => SOURCE_GROUP,
            Self::ClientMetrics(_) => SOURCE_CLIENT_METRICS,
        }
    }
}

/// What can be set of a kind of resource; of brokers, more.
fn known_of(kind: i8) -> &'static [KnownSetting] {
    match kind {
        TOPIC => KNOWN_SETTINGS,
        GROUP => known::GROUP,
        CLIENT_METRICS => known::CLIENT_METRICS,
        _ => &[],
    }
}

fn find_known(kind: i8, name: &str) -> Option<KnownSetting> {
    if kind == BROKER {
        let all = known::BROKER.iter().map(known::BrokerSetting::known);
        return all.into_iter().find(|known| known.name == name);
    }
    known_of(kind).iter().find(|known| known.name == name).copied()
}

/// A setting with its value: the first that is set, of those that come before the default.
fn described(
    known: &KnownSetting,
    set: &[Option<(&str, i8)>],
    version: i16,
    synonyms: bool,
) -> DescribeConfigsResourceResult {
    let mut values: Vec<(&str, i8)> = set.iter().copied().flatten().collect();
    values.push((known.default, SOURCE_DEFAULT));
    let (value, source) = values[0];
    let mut config = config(known.name, value).with_config_source(source);
    if version >= 3 {
        config.config_type = kind(known.kind);
    }
    if synonyms {
        let synonyms = values.into_iter().map(|(value, source)| {
            DescribeConfigsSynonym::default()
                .with_name(StrBytes::from_static_str(known.name))
                .with_value(Some(text(value)))
                .with_source(source)
        });
        config.synonyms = synonyms.collect();
    }
    config
}

fn kind(kind: SettingKind) -> i8 {
    match kind {
        SettingKind::Boolean | SettingKind::Word(["false"]) => TYPE_BOOLEAN,
        SettingKind::Number(_, most) if most > i64::from(i32::MAX) => TYPE_LONG,
        SettingKind::Number(..) | SettingKind::NumberBut(..) => TYPE_INT,
        SettingKind::Fraction => TYPE_DOUBLE,
        SettingKind::Words(_) | SettingKind::Replicas => TYPE_LIST,
        SettingKind::Word(_) | SettingKind::Text => TYPE_STRING,
    }
}

fn config(name: &'static str, value: &str) -> DescribeConfigsResourceResult {
    DescribeConfigsResourceResult::default()
        .with_documentation(None)
        .with_name(StrBytes::from_static_str(name))
        .with_value(Some(text(value)))
}

/// What tools look up of a broker. All of it stands in the configuration file.
fn broker_configs(shared: &Shared, version: i16) -> Vec<DescribeConfigsResourceResult> {
    let engine = &shared.engine;
    let groups = shared.settings.groups;
    let topic = |name| known_setting(name).map_or("", |known| known.default).to_owned();
    let advertised: Vec<String> = shared
        .settings
        .listeners
        .iter()
        .map(|listener| match &listener.advertise {
            Some(advertise) => format!("PLAINTEXT://{advertise}"),
            None => format!("PLAINTEXT://{}", listener.listen),
        })
        .collect();
    let listeners: Vec<String> = shared
        .settings
        .listeners
        .iter()
        .map(|listener| format!("PLAINTEXT://{}", listener.listen))
        .collect();
    let values = [
        ("advertised.listeners", advertised.join(",")),
        ("auto.create.topics.enable", engine.auto_create().to_string()),
        ("broker.id", BROKER_ID.to_string()),
        ("compression.type", topic("compression.type")),
        ("default.replication.factor", "1".to_owned()),
        ("delete.topic.enable", "true".to_owned()),
        ("group.consumer.migration.policy", groups.migration.name().to_owned()),
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
        ("offsets.retention.minutes", (groups.offsets_retention_ms / 60_000).to_string()),
        ("num.partitions", engine.partitions_default().to_string()),
        ("socket.request.max.bytes", crate::limits::FRAME_BYTES_MAX.to_string()),
    ];
    let values = values.iter();
    values
        .map(|(name, value)| {
            let kind = match (*name, value.parse::<i64>()) {
                ("listeners" | "advertised.listeners" | "log.cleanup.policy", _) => TYPE_LIST,
                (_, Ok(_)) if name.ends_with("bytes") || name.ends_with("ms") => TYPE_LONG,
                (_, Ok(_)) => TYPE_INT,
                (_, Err(_)) if value.parse::<bool>().is_ok() => TYPE_BOOLEAN,
                (_, Err(_)) => TYPE_STRING,
            };
            let config = config(name, value).with_read_only(true);
            let config = config.with_config_source(SOURCE_BROKER_FILE);
            if version >= 3 { config.with_config_type(kind) } else { config }
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
        let (kind, name) = (resource.resource_type, &resource.resource_name);
        let configs = resource.configs.iter();
        let words = configs.map(|config| (&*config.name, config.value.as_deref()));
        let target = check_words(words.clone(), |_| true)
            .and_then(|()| check_named(kind, name))
            .and_then(|()| Target::find(shared, kind, name, Operation::AlterConfigs));
        let result = match target {
            Ok(target) => {
                let mut changes: BTreeMap<String, Option<String>> = words
                    .map(|(name, value)| (name.to_owned(), value.map(str::to_owned)))
                    .collect();
                for name in target.settings(&shared.own).into_keys() {
                    changes.entry(name).or_insert(None);
                }
                apply(shared, &target, changes, request.validate_only).await
            }
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
        let target = find_for(shared, &resource);
        let changes = target.and_then(|target| {
            let now = target.settings(&shared.own);
            changes(&now, &resource).map(|changes| (target, changes))
        });
        let result = match changes {
            Ok((target, changes)) => apply(shared, &target, changes, request.validate_only).await,
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

/// Names must stand in a request once, with a value where it `needs_value`, by their place.
fn check_words<'a>(
    words: impl Iterator<Item = (&'a str, Option<&'a str>)>,
    needs_value: impl Fn(usize) -> bool,
) -> Result<(), Fault> {
    let refuse = |message| Err(Fault::new(ResponseError::InvalidRequest, message));
    let mut seen = HashSet::new();
    for (at, (name, value)) in words.enumerate() {
        if !seen.insert(name) {
            return refuse(format!("{name} stands in the request more than once"));
        }
        if value.is_none() && needs_value(at) {
            return refuse(format!("{name} needs a value"));
        }
    }
    Ok(())
}

/// Only of topics that have a name settings can be changed.
fn check_named(kind: i8, name: &str) -> Result<(), Fault> {
    if kind == TOPIC && name.is_empty() {
        return Err(Fault::new(ResponseError::InvalidRequest, "the topic has no name"));
    }
    Ok(())
}

/// What a request wants to change a part of. That words are added to lists only is looked at before
/// whether there is such a resource, as Kafka does.
fn find_for(shared: &Shared, resource: &AlterConfigsResource) -> Result<Target, Fault> {
    let (kind, configs) = (resource.resource_type, &resource.configs);
    let words = configs.iter().map(|config| (&*config.name, config.value.as_deref()));
    let needs_value = |at: usize| configs[at].config_operation != DELETE;
    check_words(words, needs_value)?;
    match kind {
        TOPIC | GROUP | CLIENT_METRICS => {}
        BROKER => check_broker(&resource.resource_name)?,
        _ => return Err(unknown_resource()),
    }
    for config in configs {
        match config.config_operation {
            SET | DELETE => {}
            APPEND | SUBTRACT => drop(list_of(kind, &config.name)?),
            other => {
                let message = format!("{other} is no operation: 0 sets, 1 resets, 2 and 3 edit");
                return Err(Fault::new(ResponseError::InvalidRequest, message));
            }
        }
    }
    check_named(kind, &resource.resource_name)?;
    Target::find(shared, kind, &resource.resource_name, Operation::AlterConfigs)
}

fn list_of(kind: i8, name: &str) -> Result<KnownSetting, Fault> {
    let is_list = |known: &KnownSetting| {
        matches!(known.kind, SettingKind::Words(_) | SettingKind::Replicas | SettingKind::Text)
    };
    find_known(kind, name)
        .filter(is_list)
        .ok_or_else(|| Fault::new(ResponseError::InvalidConfig, format!("{name} is not a list")))
}

/// What a request that passed [`find_for`] changes.
fn changes(
    settings: &BTreeMap<String, String>,
    resource: &AlterConfigsResource,
) -> Result<BTreeMap<String, Option<String>>, Fault> {
    let change = |config: &AlterableConfig| {
        let name = config.name.to_string();
        let value = config.value.as_deref().unwrap_or_default();
        let value = match config.config_operation {
            DELETE => None,
            SET => Some(value.to_owned()),
            operation => {
                let list = list_of(resource.resource_type, &name)?;
                let words = matches!(list.kind, SettingKind::Words(_));
                if operation == APPEND && words && value.is_empty() {
                    let message = format!("{name}: an empty word cannot be added");
                    return Err(Fault::new(ResponseError::InvalidConfig, message));
                }
                let now = settings.get(&name).map_or(list.default, String::as_str);
                Some(edited(now, value, operation == APPEND))
            }
        };
        Ok((name, value))
    };
    resource.configs.iter().map(change).collect()
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
    target: &Target,
    changes: BTreeMap<String, Option<String>>,
    validate_only: bool,
) -> Result<(), Fault> {
    let invalid = |message| Fault::new(ResponseError::InvalidConfig, message);
    let mut changes = changes;
    // To reset what does not exist changes nothing.
    let kind = target.kind();
    changes.retain(|name, value| value.is_some() || find_known(kind, name).is_some());
    for (name, value) in &mut changes {
        let Some(known) = find_known(kind, name) else {
            return Err(match target {
                Target::Broker(_) => Fault::new(
                    ResponseError::InvalidRequest,
                    format!(
                        "{name} cannot be changed while the broker runs: change its configuration \
                         file and restart it"
                    ),
                ),
                _ => invalid(format!("there is no setting {name}")),
            });
        };
        if let Some(value) = value {
            *value = check_setting(&known, value).map_err(|error| invalid(error.message))?;
        }
    }
    let engine = &shared.engine;
    let (resource, name) = match target {
        Target::Topic(stream) => {
            let result = if validate_only {
                check(shared, &stream.name, changes)
            } else {
                engine.alter_stream(&stream.name, StreamChange::Settings(changes)).await.map(drop)
            };
            return result.map_err(|error| Fault::of(error, About::Config));
        }
        Target::Broker(name) => (Resource::Broker, name),
        Target::Group(name) => (Resource::Group, name),
        Target::ClientMetrics(name) => (Resource::ClientMetrics, name),
    };
    if validate_only {
        return Ok(());
    }
    let set = engine.set_resource(resource, name, changes).await;
    set.map_err(|error| Fault::of(error, About::Config))?;
    match target {
        Target::Group(name) => shared.groups.configure(name, group_timeouts(&shared.own, name)),
        Target::Broker(_) => own(shared.own.set_stream_defaults(topic_defaults(&shared.own))),
        Target::Topic(_) | Target::ClientMetrics(_) => {}
    }
    Ok(())
}

/// The time-outs that a group was given.
pub(crate) fn group_timeouts(engine: &Session, name: &str) -> Timeouts {
    let settings = own(engine.resource_settings(Resource::Group, name));
    let number = |name: &str| settings.get(name).and_then(|value| value.trim().parse().ok());
    Timeouts {
        session_ms: number(known::SESSION_TIMEOUT),
        heartbeat_ms: number(known::HEARTBEAT_INTERVAL),
    }
}

/// Settings of topics that are created, as the broker's own settings have them.
pub(crate) fn topic_defaults(engine: &Session) -> BTreeMap<String, String> {
    let mut set = own(engine.resource_settings(Resource::Broker, ALL_BROKERS));
    set.extend(own(engine.resource_settings(Resource::Broker, &BROKER_ID.to_string())));
    let all = known::BROKER.iter();
    let defaults = all.filter_map(|setting| {
        Some((setting.of_topics()?.to_owned(), set.get(setting.known().name)?.clone()))
    });
    defaults.collect()
}

pub(super) fn list_resources(
    shared: &Shared,
    version: i16,
    request: &ListConfigResourcesRequest,
) -> ListConfigResourcesResponse {
    if let Err(error) = shared.engine.check_cluster(Operation::DescribeConfigs) {
        return ListConfigResourcesResponse::default().with_error_code(denied(error).code());
    }
    let all = [TOPIC, BROKER, CLIENT_METRICS, GROUP];
    // Before version 1 there were only those of client metrics.
    let wanted = match (version, request.resource_types.as_slice()) {
        (0, _) => &[CLIENT_METRICS][..],
        (_, []) => &all[..],
        (_, some) => some,
    };
    let mut resources = Vec::new();
    for kind in all.into_iter().filter(|kind| wanted.contains(kind)) {
        let names = match kind {
            TOPIC => {
                let catalog = shared.own.catalog();
                let visible = catalog.streams().filter(|stream| !stream.is_internal());
                visible.map(|stream| stream.name.clone()).collect()
            }
            BROKER => vec![BROKER_ID.to_string()],
            CLIENT_METRICS => own(shared.own.resources(Resource::ClientMetrics)),
            _ => own(shared.own.resources(Resource::Group)),
        };
        for name in names {
            let resource = ConfigResource::default().with_resource_name(text(name));
            resources.push(if version == 0 { resource } else { resource.with_resource_type(kind) });
        }
    }
    let unknown = wanted.iter().any(|kind| !all.contains(kind));
    let error = if unknown { ResponseError::UnsupportedVersion.code() } else { 0 };
    let resources = if unknown { Vec::new() } else { resources };
    ListConfigResourcesResponse::default().with_error_code(error).with_config_resources(resources)
}

/// Checks settings by pretending to create the topic with them: that it exists is the last thing
/// that is found wrong.
fn check(
    shared: &Shared,
    name: &str,
    changes: BTreeMap<String, Option<String>>,
) -> Result<(), anabranch_engine::Error> {
    let catalog = shared.own.catalog();
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
        ..StreamSpec::default()
    };
    match shared.own.check_stream(&spec) {
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

fn unknown_resource() -> Fault {
    Fault::new(
        ResponseError::InvalidRequest,
        "only topics (2), brokers (4) and groups (32) have settings",
    )
}
