//! The schema `sys`: what the broker knows about itself.

mod access;

use super::computed::computed;
use crate::error::Error;
use crate::rows::arrow_type;
use crate::statement::quoted;
use anabranch_engine::{
    ColumnType, Durability, Guarded, ItemType, Marks, Mode, Operation, ResourceKind,
    Session as EngineSession, Stream,
};
use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::error::{DataFusionError, Result};
use std::fmt;
use std::sync::Arc;

/// Names in `sys`.
pub(super) const RELATIONS: [&str; 5] =
    ["streams", "partitions", "principals", "grants", DEAD_LETTERS];

/// What does not fit, of all streams; a view, whose query is made when it is read.
pub(crate) const DEAD_LETTERS: &str = "dead_letters";

pub(super) struct Sys {
    pub(super) engine: EngineSession,
}

impl fmt::Debug for Sys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sys").finish_non_exhaustive()
    }
}

#[async_trait]
impl SchemaProvider for Sys {
    fn table_names(&self) -> Vec<String> {
        RELATIONS.iter().map(ToString::to_string).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        let engine = self.engine.clone();
        let Some(schema) = schema_of(name) else {
            return Ok(None);
        };
        let batch = match name {
            "streams" => streams_batch,
            "partitions" => partitions_batch,
            "principals" => access::principals_batch,
            "grants" => access::grants_batch,
            _ => return Ok(None),
        };
        computed(schema, move |schema| batch(&engine, schema)).map(Some)
    }

    fn table_exist(&self, name: &str) -> bool {
        RELATIONS.contains(&name)
    }
}

/// Columns of `sys.<name>`.
pub(super) fn schema_of(name: &str) -> Option<SchemaRef> {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let number = |name: &str| Field::new(name, DataType::Int64, true);
    let fields = match name {
        "streams" => vec![
            text("name"),
            text("mode"),
            text("key"),
            Field::new("columns", DataType::Int32, false),
            Field::new("partitions", DataType::Int32, false),
            number("records"),
            number("bytes"),
            text("durability"),
            number("retention_ms"),
            text("id"),
        ],
        "partitions" => vec![
            text("stream"),
            Field::new("partition", DataType::Int32, false),
            number("partition_id"),
            number("log_start"),
            number("high_watermark"),
            number("bytes"),
        ],
        "principals" => {
            vec![text("name"), Field::new("admin", DataType::Boolean, false), text("mechanisms")]
        }
        "grants" => vec![
            text("principal"),
            text("permission"),
            text("operation"),
            text("kind"),
            text("name"),
            text("pattern"),
            text("host"),
        ],
        DEAD_LETTERS => vec![
            text("stream"),
            Field::new("partition", DataType::Int32, true),
            number("offset"),
            Field::new("ts", arrow_type(ColumnType::Timestamptz), true),
            Field::new("key", DataType::BinaryView, true),
            Field::new("value", DataType::BinaryView, true),
            Field::new("misfits", arrow_type(ColumnType::Array(ItemType::Text)), true),
        ],
        _ => return None,
    };
    Some(Arc::new(Schema::new(fields)))
}

/// The query of [`DEAD_LETTERS`]: of the streams that have columns and may be read.
pub(crate) fn dead_letters(engine: &EngineSession) -> String {
    let streams = streams_of(engine);
    let may_be_read = |stream: &&Arc<Stream>| {
        let stream = Guarded { kind: ResourceKind::Topic, name: &stream.name };
        engine.may(Operation::Read, stream)
    };
    let with_columns = streams.iter().filter(|stream| !stream.columns.is_empty());
    let of_each = with_columns.filter(may_be_read).map(|stream| {
        format!(
            "SELECT '{}'::text AS stream, _partition AS partition, _offset AS \"offset\", \
             _ts AS ts, _key AS key, _value AS value, _misfits AS misfits FROM log.{} \
             WHERE _misfits IS NOT NULL",
            stream.name.replace('\'', "''"),
            quoted(&stream.name)
        )
    });
    let none = "SELECT NULL::text AS stream, NULL::int AS partition, NULL::bigint AS \"offset\", \
                NULL::timestamptz AS ts, NULL::bytea AS key, NULL::bytea AS value, \
                NULL::text[] AS misfits WHERE false";
    let all: Vec<String> = of_each.collect();
    if all.is_empty() { none.to_owned() } else { all.join(" UNION ALL ") }
}

/// All streams but the broker's own, by name.
pub(crate) fn streams_of(engine: &EngineSession) -> Vec<Arc<Stream>> {
    engine.catalog().streams().filter(|stream| !stream.is_internal()).cloned().collect()
}

fn logs<'a>(
    engine: &'a EngineSession,
    stream: &'a Stream,
) -> impl Iterator<Item = (i32, Marks)> + 'a {
    (0..).zip(&stream.partitions).filter_map(|(number, &id)| Some((number, engine.marks(id)?)))
}

fn streams_batch(engine: &EngineSession, schema: SchemaRef) -> Result<RecordBatch, Error> {
    let streams = streams_of(engine);
    let texts = |of: &dyn Fn(&Stream) -> Option<String>| -> ArrayRef {
        Arc::new(streams.iter().map(|stream| of(stream)).collect::<StringArray>())
    };
    let count = |of: &dyn Fn(&Stream) -> usize| -> ArrayRef {
        let counts = streams.iter().map(|stream| i32::try_from(of(stream)).unwrap_or(i32::MAX));
        Arc::new(Int32Array::from_iter_values(counts))
    };
    let sum = |of: &dyn Fn(&Marks) -> i64| -> ArrayRef {
        let sums =
            streams.iter().map(|stream| logs(engine, stream).map(|(_, log)| of(&log)).sum::<i64>());
        Arc::new(Int64Array::from_iter_values(sums))
    };
    let retention = streams
        .iter()
        .map(|stream| stream.options.retention_ms.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX)));
    let columns: Vec<ArrayRef> = vec![
        texts(&|stream| Some(stream.name.clone())),
        texts(&|stream| {
            Some(match stream.mode {
                Mode::Append => "append".to_owned(),
                Mode::Upsert => "upsert".to_owned(),
            })
        }),
        texts(&|stream| {
            let names: Vec<_> = stream.key_columns().map(|column| column.name.as_str()).collect();
            (!names.is_empty()).then(|| names.join(", "))
        }),
        count(&|stream| stream.columns.len()),
        count(&|stream| stream.partitions.len()),
        sum(&|log| log.high_watermark().0 - log.log_start().0),
        sum(&|log| i64::try_from(log.bytes()).unwrap_or(i64::MAX)),
        texts(&|stream| {
            Some(match stream.options.durability {
                Durability::Fsync => "fsync".to_owned(),
                Durability::Os => "os".to_owned(),
            })
        }),
        Arc::new(retention.collect::<Int64Array>()),
        texts(&|stream| Some(stream.id.to_string())),
    ];
    Ok(RecordBatch::try_new(schema, columns)?)
}

fn partitions_batch(engine: &EngineSession, schema: SchemaRef) -> Result<RecordBatch, Error> {
    let streams = streams_of(engine);
    let all: Vec<_> = streams
        .iter()
        .flat_map(|stream| {
            logs(engine, stream).map(|(number, log)| (stream.name.as_str(), number, log))
        })
        .collect();
    let number = |of: &dyn Fn(&Marks) -> i64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(all.iter().map(|(_, _, log)| of(log))))
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(all.iter().map(|(name, ..)| name))),
        Arc::new(Int32Array::from_iter_values(all.iter().map(|(_, number, _)| *number))),
        number(&|log| i64::from(log.id().0)),
        number(&|log| log.log_start().0),
        number(&|log| log.high_watermark().0),
        number(&|log| i64::try_from(log.bytes()).unwrap_or(i64::MAX)),
    ];
    Ok(RecordBatch::try_new(schema, columns)?)
}
