//! What rows must be, whoever writes them in SQL: generated columns and CHECK constraints.

use super::encode::assigned;
use super::stored::{Stored, parsed};
use super::target::{Role, Target, Written};
use crate::error::Error;
use crate::plan::PlanContext;
use crate::rows::{RowHeaders, RowInput, RowsBuilder, patched, write_json_value};
use crate::sql::Sql;
use anabranch_engine::Filled;
use anabranch_types::{Offset, PartitionIndex, Timestamp};
use bytes::Bytes;
use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::FieldRef;

/// A stream's generated columns and constraints.
pub(super) struct RowRules {
    generated: Vec<Generated>,
    /// By name.
    checks: Vec<(String, Stored)>,
}

struct Generated {
    column: Written,
    /// Its number among the stream's columns.
    number: usize,
    expr: Stored,
}

/// The declared columns of a stream, as expressions over a row see them.
pub(super) fn row_fields(target: &Target) -> Vec<FieldRef> {
    let schema = &target.layout.schema;
    let columns = target.stream.columns.iter();
    columns
        .filter_map(|column| schema.fields().find(&column.name))
        .map(|(_, f)| f.clone())
        .collect()
}

impl RowRules {
    pub(super) fn new(sql: &Sql, context: &PlanContext, target: &Target) -> Result<Self, Error> {
        let stream = &target.stream;
        let row = row_fields(target);
        let mut rules = Self { generated: Vec::new(), checks: Vec::new() };
        for (number, column) in stream.columns.iter().enumerate() {
            if let Some(Filled::Generated(text)) = &column.filled {
                let expr = Stored::new(sql, context, parsed(text)?, &row)?;
                let column = target.column(&column.name)?;
                rules.generated.push(Generated { column, number, expr });
            }
        }
        for check in &stream.checks {
            let expr = Stored::new(sql, context, parsed(&check.expression)?, &row)?;
            rules.checks.push((check.name.clone(), expr));
        }
        Ok(rules)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.generated.is_empty() && self.checks.is_empty()
    }

    /// The columns that are computed.
    pub(super) fn generated(&self) -> impl Iterator<Item = &Written> {
        self.generated.iter().map(|generated| &generated.column)
    }

    /// Computes the generated columns of `rows` rows and then checks them. `row` are the values of
    /// all the stream's columns.
    pub(super) fn apply(
        &self,
        sql: &Sql,
        target: &Target,
        mut row: Vec<ArrayRef>,
        rows: usize,
    ) -> Result<Vec<ArrayRef>, Error> {
        let mut computed = Vec::with_capacity(self.generated.len());
        for Generated { column, expr, .. } in &self.generated {
            computed.push(assigned(target, column, &expr.values(sql, row.clone(), rows)?)?);
        }
        for (Generated { number, .. }, array) in self.generated.iter().zip(&computed) {
            row[*number] = array.clone();
        }
        for (name, expr) in &self.checks {
            let holds = expr.values(sql, row.clone(), rows)?;
            let is_false = |row| holds.is_valid(row) && !holds.as_boolean().value(row);
            let is_null = holds.data_type().is_null();
            if !is_null && (0..rows).any(is_false) {
                return Err(Error::new(
                    "23514",
                    format!(
                        "new row for relation \"{}\" violates check constraint \"{name}\"",
                        target.stream.name
                    ),
                ));
            }
        }
        Ok(computed)
    }

    /// Keys and values of rows as they are going to be: computes their generated columns and
    /// checks them.
    pub(super) fn images(
        &self,
        sql: &Sql,
        target: &Target,
        images: Vec<(Bytes, Bytes)>,
    ) -> Result<Vec<(Bytes, Bytes)>, Error> {
        if self.is_empty() || images.is_empty() {
            return Ok(images);
        }
        let count = target.stream.columns.len();
        let mut builder =
            RowsBuilder::new(&target.layout, &target.stream, &(0..count).collect::<Vec<_>>());
        for (key, value) in &images {
            builder.push(RowInput {
                partition: PartitionIndex(-1),
                offset: Offset(-1),
                timestamp: Timestamp(-1),
                key: Some(key),
                value: Some(value),
                headers: RowHeaders::Row(&[]),
            });
        }
        let row = builder.finish()?.columns().to_vec();
        let computed = self.apply(sql, target, row, images.len())?;
        if computed.is_empty() {
            return Ok(images);
        }
        let patch = |(number, (key, value)): (usize, (Bytes, Bytes))| {
            let mut changes = Vec::with_capacity(computed.len());
            for (generated, array) in self.generated.iter().zip(&computed) {
                debug_assert!(generated.column.role == Role::Field, "keys are not generated");
                let mut json = Vec::new();
                write_json_value(array, number, &generated.column.field, &mut json)?;
                changes.push((generated.column.json.as_str(), json));
            }
            Ok((key, Bytes::from(patched(&value, &changes))))
        };
        images.into_iter().enumerate().map(patch).collect()
    }
}
