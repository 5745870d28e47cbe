//! All streams at one moment, and the records they are made of.

use crate::engine::{ACCESS, CATALOG, GROUPS, TRANSACTIONS};
use crate::ledger::{self, Entry};
use crate::settings::options_of;
use crate::stream::{Check, Column, Mode, Stream};
use crate::views::{VIEW_PREFIX, View, decode_view};
use crate::{Error, ErrorKind};
use anabranch_log::Inspection;
use anabranch_table::TableId;
use anabranch_types::{PartitionId, PartitionIndex, StreamId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// All streams, at one moment. Immutable; taken anew for each request.
#[derive(Debug, Default, Clone)]
pub struct Catalog {
    by_name: BTreeMap<String, Arc<Stream>>,
    by_id: BTreeMap<StreamId, Arc<Stream>>,
    by_partition: ahash::HashMap<PartitionId, (Arc<Stream>, PartitionIndex)>,
    views: BTreeMap<String, Arc<View>>,
    version: u64,
}

impl Catalog {
    /// By name (Kafka: topic), internal streams too.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<&Arc<Stream>> {
        self.by_name.get(name)
    }

    /// By id (Kafka: topic id).
    #[must_use]
    pub fn by_id(&self, id: StreamId) -> Option<&Arc<Stream>> {
        self.by_id.get(&id)
    }

    /// Of a partition: its stream and Kafka's number in it.
    #[must_use]
    pub fn by_partition(&self, id: PartitionId) -> Option<(&Arc<Stream>, PartitionIndex)> {
        self.by_partition.get(&id).map(|(stream, index)| (stream, *index))
    }

    /// All streams in the order of their names, internal ones too.
    pub fn streams(&self) -> impl Iterator<Item = &Arc<Stream>> {
        self.by_name.values()
    }

    /// The view of a name.
    #[must_use]
    pub fn view(&self, name: &str) -> Option<&Arc<View>> {
        self.views.get(name)
    }

    /// All views in the order of their names.
    pub fn views(&self) -> impl Iterator<Item = &Arc<View>> {
        self.views.values()
    }

    /// Rises with every change.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The stream of a name, or an error that says what to do.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub fn find(&self, name: &str) -> Result<&Arc<Stream>, Error> {
        self.by_name(name).ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("there is no stream {name}: create it, or produce to it"),
            )
        })
    }

    /// The streams of a data directory that may not be served.
    ///
    /// # Errors
    /// Damage.
    pub fn inspect(inspection: &Inspection) -> Result<Self, Error> {
        Self::load(ledger::inspect(inspection, CATALOG)?)
    }

    /// The internal streams, and those that the catalog's ledger holds.
    pub(crate) fn load(
        entries: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>,
    ) -> Result<Self, Error> {
        let mut catalog = Self::default();
        for (name, partition) in [
            ("__catalog", CATALOG),
            ("__groups", GROUPS),
            ("__transactions", TRANSACTIONS),
            ("__access", ACCESS),
        ] {
            catalog.insert(Arc::new(Stream::internal(name, partition)));
        }
        for (key, value) in entries {
            if key.starts_with(STREAM_PREFIX.as_bytes()) {
                catalog.insert(Arc::new(decode_stream(&key, &value)?));
            } else if key.starts_with(VIEW_PREFIX.as_bytes()) {
                catalog.insert_view(Arc::new(decode_view(&key, &value)?));
            }
        }
        Ok(catalog)
    }

    /// What `may` be seen, by its name.
    pub(crate) fn only(&self, may: &mut dyn FnMut(&str) -> bool) -> Self {
        let mut only = Self { version: self.version, ..Self::default() };
        for stream in self.streams().filter(|stream| may(&stream.name)) {
            only.insert(Arc::clone(stream));
        }
        for view in self.views().filter(|view| may(&view.spec.name)) {
            only.insert_view(Arc::clone(view));
        }
        only
    }

    pub(crate) fn with(&self, stream: Arc<Stream>) -> Self {
        let mut next = self.without(&stream);
        next.insert(stream);
        next
    }

    fn insert(&mut self, stream: Arc<Stream>) {
        for (index, partition) in stream.partitions.iter().enumerate() {
            let index = PartitionIndex(index as i32);
            self.by_partition.insert(*partition, (Arc::clone(&stream), index));
        }
        self.by_id.insert(stream.id, Arc::clone(&stream));
        self.by_name.insert(stream.name.clone(), stream);
    }

    pub(crate) fn without(&self, stream: &Stream) -> Self {
        let mut next = self.clone();
        next.version += 1;
        next.remove(stream);
        next
    }

    /// The same of another version, to be changed.
    pub(crate) fn of_version(&self, version: u64) -> Self {
        Self { version, ..self.clone() }
    }

    /// Puts `next` in the place of the stream of an id.
    pub(crate) fn replace(&mut self, id: StreamId, next: Option<&Arc<Stream>>) {
        if let Some(old) = self.by_id(id).cloned() {
            self.remove(&old);
        }
        next.into_iter().for_each(|stream| self.insert(Arc::clone(stream)));
    }

    /// Puts `next` in the place of the view of a number.
    pub(crate) fn replace_view(&mut self, id: u32, next: Option<&Arc<View>>) {
        self.views.retain(|_, view| view.id != id);
        next.into_iter().for_each(|view| self.insert_view(Arc::clone(view)));
    }

    fn insert_view(&mut self, view: Arc<View>) {
        self.views.insert(view.spec.name.clone(), view);
    }

    fn remove(&mut self, stream: &Stream) {
        self.by_id.remove(&stream.id);
        self.by_name.remove(&stream.name);
        for partition in &stream.partitions {
            self.by_partition.remove(partition);
        }
    }
}

/// A stream as `__catalog` keeps it, in JSON, under `stream/<id>`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StreamRecord {
    name: String,
    mode: Mode,
    partitions: Vec<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    table: Option<u32>,
    #[serde(default)]
    columns: Vec<Column>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    checks: Vec<Check>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    retired: Vec<String>,
    #[serde(default)]
    settings: BTreeMap<String, String>,
}

/// Ids that were given out, under `next`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct NextIds {
    pub(crate) partition: u32,
    pub(crate) table: u32,
    #[serde(default)]
    pub(crate) sequence: u32,
}

impl NextIds {
    /// What the catalog's ledger holds of it.
    pub(crate) fn entry(&self) -> Entry {
        (NEXT_KEY.as_bytes().to_vec(), Some(to_json(self)))
    }

    pub(crate) fn partitions(&mut self, count: u32) -> Vec<PartitionId> {
        let first = self.partition;
        self.partition += count;
        (first..self.partition).map(PartitionId).collect()
    }

    /// A number for a sequence or a view.
    pub(crate) fn relation(&mut self) -> u32 {
        self.sequence += 1;
        self.sequence
    }

    pub(crate) fn table(&mut self) -> TableId {
        self.table += 1;
        TableId(self.table - 1)
    }
}

pub(crate) const STREAM_PREFIX: &str = "stream/";
pub(crate) const DROPPED_PREFIX: &str = "dropped/";
pub(crate) const UNFINISHED_PREFIX: &str = "unfinished/";
pub(crate) const NEXT_KEY: &str = "next";
pub(crate) const CLUSTER_KEY: &str = "cluster";

pub(crate) fn stream_key(id: StreamId) -> Vec<u8> {
    format!("{STREAM_PREFIX}{id}").into_bytes()
}

pub(crate) fn dropped_key(table: TableId) -> Vec<u8> {
    format!("{DROPPED_PREFIX}{}", table.0).into_bytes()
}

pub(crate) fn unfinished_key(partition: PartitionId) -> Vec<u8> {
    format!("{UNFINISHED_PREFIX}{}", partition.0).into_bytes()
}

/// A key that says all by being there.
pub(crate) fn marked(key: Vec<u8>) -> Entry {
    (key, Some(b"true".to_vec()))
}

/// JSON of something that always has one.
pub(crate) fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("keys are strings and numbers are finite")
}

pub(crate) fn encode_stream(stream: &Stream) -> Vec<u8> {
    to_json(&StreamRecord {
        name: stream.name.clone(),
        mode: stream.mode,
        partitions: stream.partitions.iter().map(|id| id.0).collect(),
        table: stream.table.map(|id| id.0),
        columns: stream.columns.clone(),
        checks: stream.checks.clone(),
        retired: stream.retired.clone(),
        settings: stream.settings.clone(),
    })
}

pub(crate) fn decode_stream(key: &[u8], value: &[u8]) -> Result<Stream, Error> {
    let damaged = |message: String| {
        let key = String::from_utf8_lossy(key);
        Error::new(ErrorKind::Storage, format!("the catalog's record {key}: {message}"))
    };
    let id = key
        .strip_prefix(STREAM_PREFIX.as_bytes())
        .and_then(|id| Uuid::try_parse_ascii(id).ok())
        .ok_or_else(|| damaged("its key is not a stream's".to_owned()))?;
    let record: StreamRecord =
        serde_json::from_slice(value).map_err(|error| damaged(error.to_string()))?;
    Ok(Stream {
        id: StreamId(id),
        name: record.name,
        mode: record.mode,
        partitions: record.partitions.into_iter().map(PartitionId).collect(),
        table: record.table.map(TableId),
        columns: record.columns,
        checks: record.checks,
        retired: record.retired,
        options: options_of(&record.settings),
        settings: record.settings,
    })
}
