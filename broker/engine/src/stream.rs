//! A stream as the catalog knows it: partitions, mode, columns, options.

use anabranch_table::TableId;
use anabranch_types::{PartitionId, PartitionIndex, StreamId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A stream's definition. Immutable: a change makes a new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// Its id (Kafka: topic id).
    pub id: StreamId,
    /// Its name (Kafka: topic).
    pub name: String,
    /// What its table is.
    pub mode: Mode,
    /// The log's partitions, by Kafka's partition number.
    pub partitions: Vec<PartitionId>,
    /// Its table, for keyed modes.
    pub table: Option<TableId>,
    /// Declared columns, in order; none for a topic that nobody declared.
    pub columns: Vec<Column>,
    /// What every row that SQL writes must be.
    pub checks: Vec<Check>,
    /// Fields of JSON values that were columns once; no other column is ever read from them.
    pub retired: Vec<String>,
    /// Settings that were set, by Kafka's names (`retention.ms`), ours included (`durability`).
    pub settings: BTreeMap<String, String>,
    /// The settings that the log and the doors act on, parsed.
    pub options: StreamOptions,
}

impl Stream {
    pub(crate) fn internal(name: &str, partition: PartitionId) -> Self {
        Self {
            id: StreamId(uuid::Uuid::from_u128(u128::from(partition.0) + 1)),
            name: name.to_owned(),
            mode: Mode::Append,
            partitions: vec![partition],
            table: None,
            columns: Vec::new(),
            checks: Vec::new(),
            retired: Vec::new(),
            settings: BTreeMap::new(),
            options: crate::settings::options_of(&BTreeMap::new()),
        }
    }

    /// The same as a table of these columns, whose rows come from other partitions.
    pub(crate) fn keyed(
        &self,
        columns: Vec<Column>,
        partitions: Vec<PartitionId>,
        table: TableId,
    ) -> Self {
        let mut settings = self.settings.clone();
        settings.insert("cleanup.policy".to_owned(), "compact".to_owned());
        Self {
            mode: Mode::Upsert,
            partitions,
            table: Some(table),
            columns,
            options: crate::settings::options_of(&settings),
            settings,
            ..self.clone()
        }
    }

    /// The log's partition of Kafka's number.
    #[must_use]
    pub fn partition(&self, index: PartitionIndex) -> Option<PartitionId> {
        self.partitions.get(usize::try_from(index.0).ok()?).copied()
    }

    /// The columns of the primary key, in the key's order.
    pub fn key_columns(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| column.in_key)
    }

    /// Whether the stream is the broker's own (`__catalog`, …).
    #[must_use]
    pub fn is_internal(&self) -> bool {
        self.name.starts_with("__")
    }
}

/// What the table of a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Every record is a row.
    Append,
    /// The latest record of a key is a row (Kafka: `cleanup.policy=compact`).
    Upsert,
}

/// A declared column. Columns of the key come from the record's key, all others from a field of
/// the record's JSON value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name, as PostgreSQL folds it.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub data_type: ColumnType,
    /// Whether it is part of the primary key.
    #[serde(default)]
    pub in_key: bool,
    /// Whether it was declared NOT NULL.
    #[serde(default)]
    pub not_null: bool,
    /// The field of the JSON value, where it is not called as the column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Most characters of a text: `varchar(n)`, `char(n)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<TextLength>,
    /// Where a value comes from when SQL writes a row and gives none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filled: Option<Filled>,
    /// JSON that is read where an event has no such field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

impl Column {
    /// A column that takes anything of its type.
    #[must_use]
    pub fn new(name: impl Into<String>, data_type: ColumnType) -> Self {
        Self {
            name: name.into(),
            data_type,
            in_key: false,
            not_null: false,
            field: None,
            length: None,
            filled: None,
            missing: None,
        }
    }

    /// The field of the JSON value that it is read from and written to.
    #[must_use]
    pub fn field(&self) -> &str {
        self.field.as_deref().unwrap_or(&self.name)
    }
}

/// Most characters of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextLength {
    /// In characters.
    pub max: u32,
    /// `char(n)`: blanks at the end mean nothing.
    pub is_fixed: bool,
}

/// Where the value of a column comes from when SQL writes a row and gives none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filled {
    /// `DEFAULT`: an expression in SQL.
    Default(String),
    /// `GENERATED ALWAYS AS (…) STORED`: an expression in SQL, over the row.
    Generated(String),
    /// `GENERATED … AS IDENTITY`.
    Identity {
        /// The sequence that its values are taken from.
        sequence: String,
        /// Whether no other values are taken.
        always: bool,
    },
}

/// What every row that SQL writes must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Unique in the stream.
    pub name: String,
    /// An expression in SQL that must not be false.
    pub expression: String,
}

/// Types a column can be declared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum ColumnType {
    Boolean,
    Smallint,
    Integer,
    Bigint,
    Real,
    Double,
    Numeric { precision: u8, scale: i8 },
    Text,
    Bytea,
    Date,
    Timestamp,
    Timestamptz,
    Time,
    Interval,
    Uuid,
    Json,
    Jsonb,
    Array(ItemType),
}

/// Types that items of an array can be declared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum ItemType {
    Boolean,
    Smallint,
    Integer,
    Bigint,
    Real,
    Double,
    /// With as many digits as each item has.
    Numeric,
    Text,
    Bytea,
    Date,
    Timestamp,
    Timestamptz,
    Time,
    Interval,
    Uuid,
    Jsonb,
}

impl ItemType {
    /// Of items that are as values of `column`. `None` where an array has none such: of arrays,
    /// and of json.
    #[must_use]
    pub const fn of(column: ColumnType) -> Option<Self> {
        Some(match column {
            ColumnType::Boolean => Self::Boolean,
            ColumnType::Smallint => Self::Smallint,
            ColumnType::Integer => Self::Integer,
            ColumnType::Bigint => Self::Bigint,
            ColumnType::Real => Self::Real,
            ColumnType::Double => Self::Double,
            ColumnType::Numeric { .. } => Self::Numeric,
            ColumnType::Text => Self::Text,
            ColumnType::Bytea => Self::Bytea,
            ColumnType::Date => Self::Date,
            ColumnType::Timestamp => Self::Timestamp,
            ColumnType::Timestamptz => Self::Timestamptz,
            ColumnType::Time => Self::Time,
            ColumnType::Interval => Self::Interval,
            ColumnType::Uuid => Self::Uuid,
            ColumnType::Jsonb => Self::Jsonb,
            ColumnType::Json | ColumnType::Array(_) => return None,
        })
    }
}

/// The settings that something acts on, with Kafka's defaults where Kafka has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamOptions {
    /// When producers are answered.
    pub durability: Durability,
    /// `retention.ms`; `None` keeps for ever.
    pub retention_ms: Option<u64>,
    /// `retention.bytes`, per partition; `None` keeps everything.
    pub retention_bytes: Option<u64>,
    /// `segment.bytes`.
    pub segment_bytes: u32,
    /// `segment.ms`: age at which a segment is followed by a new one.
    pub segment_ms: u64,
    /// `ttl.ms`: age at which rows go; `None` keeps them.
    pub ttl_ms: Option<u64>,
    /// When and how the log is compacted, if it is.
    pub compaction: CompactionOptions,
    /// `max.message.bytes`: largest batch.
    pub batch_bytes_max: u32,
    /// `message.timestamp.type`.
    pub timestamps: Timestamps,
    /// `message.timestamp.before.max.ms`: how far before the append a record's time may be.
    pub time_before_ms_max: i64,
    /// `message.timestamp.after.max.ms`: how far behind it.
    pub time_after_ms_max: i64,
}

impl Default for StreamOptions {
    fn default() -> Self {
        crate::settings::options_of(&BTreeMap::new())
    }
}

/// When and how a log is compacted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompactionOptions {
    /// `delete.retention.ms`: how long a deletion can be seen.
    pub delete_retention_ms: u64,
    /// `min.compaction.lag.ms`: how long a record stays at least.
    pub min_lag_ms: u64,
    /// `max.compaction.lag.ms`: how long a superseded record stays at most, once its segment is
    /// full.
    pub max_lag_ms: u64,
    /// `min.cleanable.dirty.ratio`, in millionths.
    pub dirty_millionths: u32,
}

impl CompactionOptions {
    /// `min.cleanable.dirty.ratio`: the share of bytes not compacted yet at which a log is.
    #[must_use]
    pub fn dirty_ratio(&self) -> f64 {
        f64::from(self.dirty_millionths) / 1e6
    }
}

/// When a producer is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Once its round is synced: nothing acknowledged is ever lost.
    Fsync,
    /// Once its round is written: a power loss can take it. Visibility still waits for the sync.
    Os,
}

/// Whose time a record has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timestamps {
    /// The producer's (`CreateTime`).
    Producer,
    /// The append's (`LogAppendTime`).
    Append,
}
