//! COPY FROM: rows that come from outside, a batch at a time, become events as with INSERT.

use super::insert::Destination;
use super::target::Target;
use crate::error::Error;
use crate::pending::Pending;
use crate::plan::PlanContext;
use crate::snapshot::Snapshot;
use crate::sql::Sql;
use crate::statement::{Name, Overriding};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::sql::sqlparser::ast::{Ident, ObjectName};
use std::sync::Arc;

/// A stream and the columns of it that rows are given for.
pub(crate) struct CopyPlan {
    into: Destination,
    schema: SchemaRef,
}

impl CopyPlan {
    /// Of the stream `name`; no columns are all that can be written.
    pub(crate) fn new(
        sql: &Sql,
        context: &PlanContext,
        name: &Name,
        columns: &[String],
    ) -> Result<Self, Error> {
        let target = Target::find(sql, &object_name(name))?;
        let names = match columns {
            [] => target.insertable(),
            named => named.to_vec(),
        };
        let into = Destination::new(sql, context, target, &names, Overriding::System)?;
        let given = into.completion.given().iter();
        let fields = given.map(|column| column.field.as_ref().clone().with_nullable(true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Ok(Self { into, schema })
    }

    /// The stream's name.
    pub(crate) fn stream(&self) -> &str {
        &self.into.target.stream.name
    }

    /// Whether rows have keys that must not exist.
    pub(crate) fn is_keyed(&self) -> bool {
        self.into.target.is_keyed()
    }

    /// What rows consist of.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// A number for what is appended together: events without a key go to one partition then.
    pub(crate) fn next_turn(&self) -> usize {
        self.into.next_turn()
    }

    /// Rows with defaults and what is computed, from rows whose columns are those of
    /// [`Self::schema`].
    pub(crate) async fn complete(
        &self,
        sql: &Sql,
        batch: &RecordBatch,
    ) -> Result<RecordBatch, Error> {
        self.into.completion.batch(sql, &self.into.target, batch).await
    }

    /// Adds complete rows to `pending`, which is of no more use where that fails.
    pub(crate) fn add(
        &self,
        sql: &Sql,
        snapshot: &Snapshot,
        turn: usize,
        batch: &RecordBatch,
        pending: &mut Pending,
    ) -> Result<(), Error> {
        self.into.add(sql, snapshot, turn, batch, pending)
    }
}

/// The columns of the stream `name` that COPY takes and gives where it names none; `None` where
/// there is no such stream.
pub(crate) fn copied_columns(sql: &Sql, name: &Name) -> Option<Vec<String>> {
    Target::find(sql, &object_name(name)).ok().map(|target| target.insertable())
}

fn object_name(name: &Name) -> ObjectName {
    let parts = name.schema.iter().chain([&name.name]);
    ObjectName::from(parts.map(|part| Ident::with_quote('"', part)).collect::<Vec<_>>())
}
