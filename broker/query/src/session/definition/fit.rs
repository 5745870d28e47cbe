//! Whether the rows that there are fit a definition.

use super::{Plan, Session};
use crate::error::{Error, sqlstate};
use crate::execute::Rows;
use crate::rows::{Layout, Relation, RowHeaders, RowInput, RowsBuilder};
use crate::statement::{Retyped, quoted};
use anabranch_engine::Stream;
use anabranch_types::{Offset, PartitionIndex, Timestamp};
use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::{Int32Type, Int64Type};
use serde_json::Value;

impl Session {
    /// Whether a row of the stream meets the condition.
    pub(super) async fn any_row(&self, stream: &str, condition: &str) -> Result<bool, Error> {
        let stream = quoted(stream);
        let mut rows =
            self.rows(&format!("SELECT 1 FROM {stream} WHERE {condition} LIMIT 1")).await?;
        Ok(rows.next().await?.is_some())
    }

    /// What a query gives that is made here.
    pub(super) async fn rows(&self, text: &str) -> Result<Rows, Error> {
        match self.plan_text(text).await? {
            Plan::Query(plan) => {
                let mut execution = self.execution();
                if let Some(transaction) = &self.transaction {
                    execution.snapshot = Some(transaction.newest(&execution).await?);
                }
                execution.start(plan, Vec::new()).await
            }
            _ => Err(Error::internal("no query")),
        }
    }

    /// Whether all values of a column are of the type that it has in `next`.
    pub(super) async fn check_fit(&self, next: &Stream, retyped: &Retyped) -> Result<(), Error> {
        let layout = Layout::new(next, Relation::Rows);
        let number = layout
            .schema
            .index_of(&retyped.column)
            .map_err(|error| Error::internal(error.to_string()))?;
        let mut builder = RowsBuilder::new(&layout, next, &[number]);
        let stream = quoted(&next.name);
        let text = format!("SELECT _key, _value, _partition, _offset FROM {stream}");
        let mut rows = self.rows(&text).await?;
        while let Some(batch) = rows.next().await? {
            let keys = batch.column(0).as_binary_view();
            let values = batch.column(1).as_binary_view();
            let partitions = batch.column(2).as_primitive::<Int32Type>();
            let offsets = batch.column(3).as_primitive::<Int64Type>();
            for row in 0..batch.num_rows() {
                let value = values.is_valid(row).then(|| values.value(row));
                builder.push(RowInput {
                    partition: PartitionIndex(partitions.value(row)),
                    offset: Offset(offsets.value(row)),
                    timestamp: Timestamp(-1),
                    key: keys.is_valid(row).then(|| keys.value(row)),
                    value,
                    headers: RowHeaders::Row(&[]),
                });
                let (count, _) = builder.take_misfits();
                if count > 0 {
                    let place = match keys.is_valid(row) {
                        true => format!("key {}", String::from_utf8_lossy(keys.value(row))),
                        false => {
                            let (partition, offset) = (partitions.value(row), offsets.value(row));
                            format!("partition {partition}, offset {offset}")
                        }
                    };
                    return Err(misfit(next, retyped, &place, value.unwrap_or_default()));
                }
            }
            builder.finish()?;
        }
        Ok(())
    }
}

fn misfit(stream: &Stream, retyped: &Retyped, place: &str, value: &[u8]) -> Error {
    let column = stream.columns.iter().find(|column| column.name == retyped.column);
    let field = column.map_or(retyped.column.as_str(), |column| column.field());
    let document: Option<Value> = serde_json::from_slice(value).ok();
    let found = document.as_ref().and_then(|document| document.get(field));
    let is_number = found.is_some_and(Value::is_number);
    let sqlstate = if is_number { sqlstate::NUMERIC_OUT_OF_RANGE } else { sqlstate::INVALID_TEXT };
    let found = found.map(Value::to_string).unwrap_or_default();
    Error::new(
        sqlstate,
        format!(
            "column \"{}\" of relation \"{}\": {found} is not of the new type (row with {place})",
            retyped.column, stream.name
        ),
    )
    .hint("UPDATE such rows, or say ALTER COLUMN … TYPE … ON MISFIT NULL")
}
