//! Rows that are inserted, completed: with defaults, values of sequences and generated columns.
//!
//! ```text
//! columns given ──> + columns with a default ──> + generated columns ──> checks ──> Encoder
//! ```

use super::encode::assigned;
use super::rules::{RowRules, row_fields};
use super::stored::{Stored, parsed};
use super::target::{Target, Written};
use crate::error::Error;
use crate::plan::PlanContext;
use crate::sql::Sql;
use crate::statement::{Overriding, folded, shown_name};
use anabranch_engine::{Column, Filled};
use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use datafusion::arrow::datatypes::{Field, FieldRef, Schema};
use datafusion::sql::sqlparser::ast;
use std::sync::Arc;

/// What is added to the columns that a statement gives.
pub(super) struct Completion {
    /// Those given, those with a default, those generated.
    columns: Vec<Written>,
    given: usize,
    defaults: Vec<Stored>,
    rules: RowRules,
    row: Vec<FieldRef>,
    session: i32,
}

impl Completion {
    /// For rows of which `given` are given.
    pub(super) fn new(
        sql: &Sql,
        context: &PlanContext,
        target: &Target,
        given: Vec<Written>,
    ) -> Result<Self, Error> {
        let rules = RowRules::new(sql, context, target)?;
        let mut completion = Self {
            given: given.len(),
            columns: given,
            defaults: Vec::new(),
            rules,
            row: row_fields(target),
            session: context.process_id,
        };
        for column in &target.stream.columns {
            let is_given =
                completion.columns.iter().any(|given| given.field.name() == &column.name);
            if let (false, Some(expr)) = (is_given, default_of(column)?) {
                completion.defaults.push(Stored::new(sql, context, expr, &[])?);
                completion.columns.push(target.column(&column.name)?);
            }
        }
        completion.columns.extend(completion.rules.generated().cloned());
        Ok(completion)
    }

    /// The columns that are given.
    pub(super) fn given(&self) -> &[Written] {
        &self.columns[..self.given]
    }

    /// Who takes values of sequences.
    pub(super) fn session(&self) -> i32 {
        self.session
    }

    /// The columns that are written.
    pub(super) fn columns(&self) -> &[Written] {
        &self.columns
    }

    /// Rows with all of [`Self::columns`], from rows with the columns given.
    pub(super) async fn batch(
        &self,
        sql: &Sql,
        target: &Target,
        batch: &RecordBatch,
    ) -> Result<RecordBatch, Error> {
        if self.columns.len() == self.given && self.rules.is_empty() {
            return Ok(batch.clone());
        }
        let rows = batch.num_rows();
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.columns.len());
        for (column, array) in self.columns.iter().zip(batch.columns()) {
            arrays.push(assigned(target, column, array)?);
        }
        let defaulted = &self.columns[self.given..];
        for (column, default) in defaulted.iter().zip(&self.defaults) {
            let values = default.compute(sql, self.session, &[], rows).await?;
            arrays.push(assigned(target, column, &values)?);
        }
        if !self.rules.is_empty() {
            let row = self.row.iter().map(|field| {
                let number =
                    self.columns.iter().position(|column| column.field.name() == field.name());
                let array = number.and_then(|number| arrays.get(number).cloned());
                array.unwrap_or_else(|| new_null_array(field.data_type(), rows))
            });
            let row = row.collect();
            arrays.extend(self.rules.apply(sql, target, row, rows)?);
        }
        let fields = self.columns.iter().zip(&arrays).map(|(column, array)| {
            Field::new(column.field.name(), array.data_type().clone(), true)
        });
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(schema, arrays, &options)?)
    }
}

/// What a column gets where no value is given; nothing if that is null.
pub(super) fn default_of(column: &Column) -> Result<Option<ast::Expr>, Error> {
    match &column.filled {
        Some(Filled::Default(text)) => parsed(text).map(Some),
        Some(Filled::Identity { sequence, .. }) => {
            let name = shown_name(sequence).replace('\'', "''");
            parsed(&format!("nextval('{name}')")).map(Some)
        }
        Some(Filled::Generated(_)) | None => Ok(None),
    }
}

/// Whether `expr` is the keyword DEFAULT.
pub(super) fn is_default(expr: &ast::Expr) -> bool {
    matches!(expr, ast::Expr::Identifier(ident)
        if ident.quote_style.is_none() && folded(ident) == "default")
}

/// What DEFAULT means for a column.
pub(super) fn default_value(column: Option<&Column>) -> Result<ast::Expr, Error> {
    let default = column.map(default_of).transpose()?.flatten();
    Ok(match default {
        Some(expr) => ast::Expr::Nested(Box::new(expr)),
        None => ast::Expr::Value(ast::Value::Null.with_empty_span()),
    })
}

/// Takes DEFAULT out of an INSERT: columns that have it in every row are not given at all. Refuses
/// values for columns that take none.
pub(super) fn take_defaults(
    target: &Target,
    names: &mut Vec<String>,
    query: &mut ast::Query,
    overriding: Overriding,
) -> Result<(), Error> {
    let mut dropped = Vec::new();
    if let ast::SetExpr::Values(values) = query.body.as_mut() {
        let width = values.rows.iter().map(|row| row.content.len()).max().unwrap_or(0);
        for (number, name) in names.iter().enumerate().take(width) {
            let cells = values.rows.iter_mut().filter_map(|row| row.content.get_mut(number));
            let mut defaults: Vec<&mut ast::Expr> = cells.collect();
            let all = defaults.len();
            defaults.retain(|expr| is_default(expr));
            let column = target.declared(name);
            if defaults.len() == all {
                dropped.push(number);
            } else if !defaults.is_empty() {
                refuse_given(column, overriding)?;
                for expr in defaults {
                    *expr = default_value(column)?;
                }
            }
        }
        for number in dropped.iter().rev() {
            names.remove(*number);
            for row in &mut values.rows {
                if *number < row.content.len() {
                    row.content.remove(*number);
                }
            }
        }
    }
    Ok(())
}

/// Refuses values for a column that computes its own.
pub(super) fn refuse_given(column: Option<&Column>, overriding: Overriding) -> Result<(), Error> {
    let Some(column) = column else { return Ok(()) };
    let name = &column.name;
    let refused = |message: String| Error::new("428C9", message);
    match &column.filled {
        Some(Filled::Generated(_)) => Err(refused(format!(
            "cannot insert a non-DEFAULT value into column \"{name}\": it is a generated column"
        ))),
        Some(Filled::Identity { always: true, .. }) if overriding == Overriding::Nothing => {
            Err(refused(format!(
                "cannot insert a non-DEFAULT value into column \"{name}\": it is an identity \
                 column defined as GENERATED ALWAYS"
            ))
            .hint("use OVERRIDING SYSTEM VALUE to override"))
        }
        _ => Ok(()),
    }
}
