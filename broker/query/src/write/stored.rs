//! Expressions that definitions store, ready to be computed.

use crate::error::Error;
use crate::evaluate;
use crate::plan::PlanContext;
use crate::sql::Sql;
use crate::statement::next_value_of;
use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::common::DFSchema;
use datafusion::logical_expr::Expr;
use datafusion::sql::sqlparser::ast::{self, Ident, VisitMut, VisitorMut};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use std::ops::ControlFlow;
use std::sync::Arc;

/// An expression over a row. Values of sequences are columns behind the row's: they are taken
/// before anything is computed.
pub(crate) struct Stored {
    expr: Expr,
    schema: DFSchema,
    /// Sequences whose next values it takes.
    pub(crate) sequences: Vec<String>,
}

/// The expression that `text` is.
pub(crate) fn parsed(text: &str) -> Result<ast::Expr, Error> {
    Ok(Parser::new(&PostgreSqlDialect {}).try_with_sql(text)?.parse_expr()?)
}

impl Stored {
    /// `row` are the columns that it may name.
    pub(crate) fn new(
        sql: &Sql,
        context: &PlanContext,
        expr: ast::Expr,
        row: &[FieldRef],
    ) -> Result<Self, Error> {
        let mut expr = expr;
        let mut next = NextValues { sequences: Vec::new() };
        let _ = expr.visit(&mut next);
        let values = (0..next.sequences.len())
            .map(|number| Arc::new(Field::new(value_name(number), DataType::Int64, true)));
        let fields: Vec<FieldRef> = row.iter().cloned().chain(values).collect();
        let schema = DFSchema::try_from(Schema::new(fields))?;
        let expr = evaluate::logical_within(sql.state(), context, &expr, &schema)?;
        Ok(Self { expr, schema, sequences: next.sequences })
    }

    /// The type that it gives.
    pub(crate) fn data_type(&self) -> Result<DataType, Error> {
        Ok(evaluate::field(&self.expr, &self.schema)?.data_type().clone())
    }

    pub(crate) fn logical(&self) -> &Expr {
        &self.expr
    }

    /// Its values for `rows` rows, whose columns are `row`. `session` takes sequences' values.
    pub(crate) async fn compute(
        &self,
        sql: &Sql,
        session: i32,
        row: &[ArrayRef],
        rows: usize,
    ) -> Result<ArrayRef, Error> {
        let mut columns = row.to_vec();
        for name in &self.sequences {
            let values = sql.sequences().next(session, name, rows).await?;
            columns.push(Arc::new(Int64Array::from(values)));
        }
        self.values(sql, columns, rows)
    }

    /// The same, of one that takes no values of sequences.
    pub(crate) fn values(
        &self,
        sql: &Sql,
        columns: Vec<ArrayRef>,
        rows: usize,
    ) -> Result<ArrayRef, Error> {
        let schema = Arc::new(self.schema.as_arrow().clone());
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(schema, columns, &options)?;
        evaluate::values(sql.state(), &self.expr, &self.schema, &batch, &[])
    }
}

fn value_name(number: usize) -> String {
    format!("_next_{number}")
}

/// Replaces `nextval('…')` by a column.
struct NextValues {
    sequences: Vec<String>,
}

impl VisitorMut for NextValues {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut ast::Expr) -> ControlFlow<()> {
        if let Some(sequence) = next_value_of(expr) {
            let name = value_name(self.sequences.len());
            *expr = ast::Expr::Identifier(Ident::with_quote('"', name));
            self.sequences.push(sequence);
        }
        ControlFlow::Continue(())
    }
}
