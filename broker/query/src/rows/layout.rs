//! The columns of a stream, as a relation.

use super::cell::{arrow_type, json_metadata};
use super::key::KeyShape;
use anabranch_engine::{ColumnType, ItemType, Mode, Stream};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use std::sync::Arc;

/// Which of a stream's two relations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Relation {
    /// `public.orders`: the rows.
    Rows,
    /// `log.orders`: the events.
    Log,
}

/// Where a column comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// This column of the record's key, from 0.
    Key(usize),
    /// The field of this name of the record's JSON value.
    Field(String),
    /// The record itself.
    System(System),
}

/// Columns that every stream has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum System {
    /// `_partition integer`: Kafka's number.
    Partition,
    /// `_offset bigint`.
    Offset,
    /// `_ts timestamptz`: the record's time.
    Timestamp,
    /// `_op text`: `insert` in append streams, else `upsert` or `delete`.
    Operation,
    /// `_key bytea`.
    Key,
    /// `_headers json`: `[{"key":…,"value":…}, …]`, null without headers.
    Headers,
    /// `_value bytea`.
    Value,
    /// `_json json`: the value where it is UTF-8, as it came.
    Json,
    /// `_misfits text[]`: columns whose values are not of their types, and `_value` where the value
    /// is no JSON object and the stream has columns of its fields; null where all fit.
    Misfits,
}

impl System {
    pub(crate) const ALL: [Self; 9] = [
        Self::Partition,
        Self::Offset,
        Self::Timestamp,
        Self::Operation,
        Self::Key,
        Self::Headers,
        Self::Value,
        Self::Json,
        Self::Misfits,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Partition => "_partition",
            Self::Offset => "_offset",
            Self::Timestamp => "_ts",
            Self::Operation => "_op",
            Self::Key => "_key",
            Self::Headers => "_headers",
            Self::Value => "_value",
            Self::Json => "_json",
            Self::Misfits => "_misfits",
        }
    }

    fn field(self) -> Field {
        let (data_type, nullable) = match self {
            Self::Partition => (DataType::Int32, false),
            Self::Offset => (DataType::Int64, false),
            Self::Timestamp => {
                (DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())), false)
            }
            Self::Operation => (DataType::Utf8View, false),
            Self::Key | Self::Value => (DataType::BinaryView, true),
            Self::Headers | Self::Json => (DataType::Utf8View, true),
            Self::Misfits => (arrow_type(ColumnType::Array(ItemType::Text)), true),
        };
        let field = Field::new(self.name(), data_type, nullable);
        match self {
            Self::Headers | Self::Json => field.with_metadata(json_metadata()),
            _ => field,
        }
    }
}

/// The columns of a relation, visible ones first.
#[derive(Debug)]
pub(crate) struct Layout {
    /// Names and types; every column but the system's is nullable, for values that do not fit.
    pub(crate) schema: SchemaRef,
    /// Where each comes from.
    pub(crate) sources: Vec<Source>,
    /// How many are shown by `*`.
    pub(crate) visible: usize,
    /// How the record's key reads.
    pub(crate) key: KeyShape,
    /// Whether the stream is keyed.
    pub(crate) mode: Mode,
}

impl Layout {
    pub(crate) fn new(stream: &Stream, relation: Relation) -> Arc<Self> {
        use System::{Headers, Json, Key, Offset, Operation, Partition, Timestamp, Value};
        let mut columns = Columns::default();
        match relation {
            Relation::Rows => {
                columns.declared(stream);
                if stream.columns.is_empty() {
                    columns.system(&[Key, Value, Json]);
                }
            }
            Relation::Log => {
                columns.system(&[Partition, Offset, Timestamp, Operation, Key]);
                columns.declared(stream);
                columns.system(&[Headers, Value, Json]);
            }
        }
        let visible = columns.sources.len();
        columns.system(&System::ALL);
        Arc::new(Self {
            schema: Arc::new(Schema::new(columns.fields)),
            sources: columns.sources,
            visible,
            key: KeyShape::new(stream),
            mode: stream.mode,
        })
    }

    /// Names of the columns that `*` does not show.
    pub(crate) fn hidden(&self) -> impl Iterator<Item = &str> {
        self.schema.fields().iter().skip(self.visible).map(|field| field.name().as_str())
    }

    /// What `*` shows.
    pub(crate) fn visible_schema(&self) -> SchemaRef {
        let fields: Vec<_> = self.schema.fields().iter().take(self.visible).cloned().collect();
        Arc::new(Schema::new(fields))
    }
}

#[derive(Default)]
struct Columns {
    fields: Vec<Field>,
    sources: Vec<Source>,
}

impl Columns {
    fn declared(&mut self, stream: &Stream) {
        let mut key_column = 0;
        for column in &stream.columns {
            let field = Field::new(&column.name, arrow_type(column.data_type), true);
            self.fields.push(match column.data_type {
                ColumnType::Json => field.with_metadata(json_metadata()),
                _ => field,
            });
            self.sources.push(if column.in_key {
                key_column += 1;
                Source::Key(key_column - 1)
            } else {
                Source::Field(column.field().to_owned())
            });
        }
    }

    /// Adds system columns, except where a column of that name stands already: a declared column
    /// hides the system's.
    fn system(&mut self, columns: &[System]) {
        for &column in columns {
            if self.fields.iter().all(|field| field.name() != column.name()) {
                self.fields.push(column.field());
                self.sources.push(Source::System(column));
            }
        }
    }
}
