//! `ON CONFLICT`: what INSERT does with keys that exist.

use super::assign::image;
use super::encode::assigned;
use super::rules::RowRules;
use super::target::{Role, Target, Written, qualified};
use crate::error::Error;
use crate::evaluate;
use crate::plan::PlanContext;
use crate::rows::RowsBuilder;
use crate::scan::push_row;
use crate::sql::Sql;
use crate::statement::folded;
use anabranch_engine::table::Row;
use bytes::Bytes;
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, RecordBatch, UInt32Array, new_null_array,
};
use datafusion::arrow::compute::take;
use datafusion::common::DFSchema;
use datafusion::logical_expr::Expr;
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::{
    self, ConflictTarget, Ident, OnConflict, OnConflictAction, OnInsert, VisitMut, VisitorMut,
};
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// What to do with a row whose key exists.
pub(super) enum ConflictAction {
    /// 23505.
    Fail,
    Nothing,
    Update(Box<ConflictUpdate>),
}

/// `DO UPDATE SET …`
pub(super) struct ConflictUpdate {
    assignments: Vec<(Written, Expr)>,
    selection: Option<Expr>,
    /// The row that exists, and what was to be inserted (`excluded`).
    schema: DFSchema,
    rules: RowRules,
}

impl ConflictAction {
    pub(super) fn new(
        sql: &Sql,
        context: &PlanContext,
        target: &Target,
        name: &str,
        on: Option<OnInsert>,
    ) -> Result<Self, Error> {
        let Some(on) = on else { return Ok(Self::Fail) };
        let OnInsert::OnConflict(OnConflict { conflict_target, action }) = on else {
            return Err(Error::syntax("use ON CONFLICT"));
        };
        if !target.is_keyed() {
            return Err(Error::new(
                "42P10",
                format!("stream \"{}\" has no primary key to conflict with", target.stream.name),
            ));
        }
        check_target(target, conflict_target)?;
        match action {
            OnConflictAction::DoNothing => Ok(Self::Nothing),
            OnConflictAction::DoUpdate(update) => {
                ConflictUpdate::new(sql, context, target, name, update)
                    .map(|update| Self::Update(Box::new(update)))
            }
        }
    }
}

fn check_target(target: &Target, conflict: Option<ConflictTarget>) -> Result<(), Error> {
    let Some(ConflictTarget::Columns(columns)) = conflict else {
        return Ok(());
    };
    let mut named: Vec<_> = columns.iter().map(folded).collect();
    let mut key: Vec<_> = target.stream.key_columns().map(|column| column.name.clone()).collect();
    if key.is_empty() {
        key.push("_key".to_owned());
    }
    named.sort();
    key.sort();
    if named == key {
        return Ok(());
    }
    Err(Error::new("42P10", "there is no unique constraint matching the ON CONFLICT specification")
        .hint(format!("the primary key is ({})", key.join(", "))))
}

impl ConflictUpdate {
    fn new(
        sql: &Sql,
        context: &PlanContext,
        target: &Target,
        name: &str,
        update: ast::DoUpdate,
    ) -> Result<Self, Error> {
        let mut fields = qualified(name, target.layout.schema.fields());
        fields.extend(qualified("excluded", target.layout.visible_schema().fields()));
        let schema = DFSchema::new_with_metadata(fields, HashMap::new())?;
        let logical = |mut expr: ast::Expr| {
            let _ = expr.visit(&mut Qualify { table: name });
            evaluate::logical_within(sql.state(), context, &expr, &schema)
        };
        let mut assignments = Vec::new();
        for (column, value) in super::assign::assignments(target, update.assignments)? {
            if matches!(column.role, Role::Key(_) | Role::RawKey) {
                return Err(Error::unsupported(format!(
                    "column \"{}\" is part of the primary key: DO UPDATE cannot change it",
                    column.field.name()
                ))
                .hint("UPDATE changes keys"));
            }
            assignments.push((column, logical(value)?));
        }
        let selection = update.selection.map(logical).transpose()?;
        let rules = RowRules::new(sql, context, target)?;
        Ok(Self { assignments, selection, schema, rules })
    }

    /// The new values of rows that exist; `None` where WHERE does not hold. `numbers` are the
    /// rows of `excluded` (arrays by name) that they belong to.
    pub(super) fn values(
        &self,
        sql: &Sql,
        target: &Target,
        existing: &[(Bytes, Row)],
        excluded: &RecordBatch,
        numbers: &[u32],
        parameters: &[ScalarValue],
    ) -> Result<Vec<Option<Bytes>>, Error> {
        let batch = self.joined(target, existing, excluded, numbers)?;
        let evaluate = |expr| evaluate::values(sql.state(), expr, &self.schema, &batch, parameters);
        let holds = self.selection.as_ref().map(evaluate).transpose()?;
        let mut columns: Vec<(&Written, ArrayRef)> = Vec::new();
        for (column, expr) in &self.assignments {
            columns.push((column, assigned(target, column, &evaluate(expr)?)?));
        }
        let mut values = vec![None; existing.len()];
        let mut images = Vec::with_capacity(existing.len());
        let mut numbers = Vec::with_capacity(existing.len());
        for (number, (key, row)) in existing.iter().enumerate() {
            let holds = holds.as_ref().is_none_or(|holds| {
                let holds = holds.as_boolean();
                holds.is_valid(number) && holds.value(number)
            });
            if holds {
                images.push((key.clone(), image(&row.value, &columns, number)?));
                numbers.push(number);
            }
        }
        let images = self.rules.images(sql, target, images)?;
        for (number, (_, value)) in numbers.into_iter().zip(images) {
            values[number] = Some(value);
        }
        Ok(values)
    }

    fn joined(
        &self,
        target: &Target,
        existing: &[(Bytes, Row)],
        excluded: &RecordBatch,
        numbers: &[u32],
    ) -> Result<RecordBatch, Error> {
        let all: Vec<_> = (0..target.layout.schema.fields().len()).collect();
        let mut rows = RowsBuilder::new(&target.layout, &target.stream, &all);
        for (key, row) in existing {
            push_row(&mut rows, &target.stream, key, row);
        }
        let mut columns = rows.finish()?.columns().to_vec();
        let numbers = UInt32Array::from(numbers.to_vec());
        for field in target.layout.visible_schema().fields() {
            columns.push(match excluded.column_by_name(field.name()) {
                Some(array) => take(array, &numbers, None)?,
                None => new_null_array(field.data_type(), existing.len()),
            });
        }
        Ok(RecordBatch::try_new(Arc::new(self.schema.as_arrow().clone()), columns)?)
    }
}

/// Names without a table mean the row that exists.
struct Qualify<'a> {
    table: &'a str,
}

impl VisitorMut for Qualify<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut ast::Expr) -> ControlFlow<()> {
        if let ast::Expr::Identifier(ident) = expr {
            let table = Ident::with_quote('"', self.table);
            *expr = ast::Expr::CompoundIdentifier(vec![table, ident.clone()]);
        }
        ControlFlow::Continue(())
    }
}
