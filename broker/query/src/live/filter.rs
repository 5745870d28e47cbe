//! Which rows a live query is about.

use crate::error::{Error, sqlstate};
use crate::limits::{FILTER_BYTES_MAX, LIVE_KEYS_MAX};
use crate::rows::{Layout, RowInput, RowsBuilder};
use crate::sql::Sql;
use ahash::HashSet;
use anabranch_engine::{Stream, key_hash};
use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::{Expr, ExprSchemable};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;
use std::sync::Arc;

/// A filter, and which keys it let through.
pub(super) struct Selection {
    filter: Option<Filter>,
    given: Given,
}

/// Keys of rows that the reader may hold.
enum Given {
    /// Exactly these, by hash: a snapshot was read from its beginning.
    Known(HashSet<u64>),
    /// Any: the query was resumed, or they were too many.
    Any,
}

struct Filter {
    expr: Arc<dyn PhysicalExpr>,
    rows: RowsBuilder,
}

impl Selection {
    pub(super) fn new(
        sql: &Sql,
        stream: &Stream,
        layout: &Layout,
        text: Option<&str>,
        from_snapshot: bool,
    ) -> Result<Self, Error> {
        let filter = text.map(|text| Filter::new(sql, stream, layout, text)).transpose()?;
        // Without a filter every delete is of interest.
        let given = match (&filter, from_snapshot) {
            (Some(_), true) => Given::Known(HashSet::default()),
            _ => Given::Any,
        };
        Ok(Self { filter, given })
    }

    /// Which of `rows` the filter lets through; rows without a value are evaluated like others.
    pub(super) fn matching<'a>(
        &mut self,
        rows: impl ExactSizeIterator<Item = RowInput<'a>>,
    ) -> Result<Vec<bool>, Error> {
        match &mut self.filter {
            None => Ok(vec![true; rows.len()]),
            Some(filter) => filter.matching(rows),
        }
    }

    /// The row of `key` was given.
    pub(super) fn remember(&mut self, key: &[u8]) {
        if let Given::Known(hashes) = &mut self.given {
            hashes.insert(key_hash(key));
            if hashes.len() > LIVE_KEYS_MAX {
                self.given = Given::Any;
            }
        }
    }

    /// The row of `key` is gone, or matches no more. Whether it may have been given.
    pub(super) fn forget(&mut self, key: &[u8]) -> bool {
        match &mut self.given {
            Given::Known(hashes) => hashes.remove(&key_hash(key)),
            Given::Any => true,
        }
    }
}

impl Filter {
    fn new(sql: &Sql, stream: &Stream, layout: &Layout, text: &str) -> Result<Self, Error> {
        if text.len() > FILTER_BYTES_MAX {
            return Err(Error::new(
                sqlstate::PROGRAM_LIMIT_EXCEEDED,
                format!("a filter can have at most {FILTER_BYTES_MAX} bytes"),
            ));
        }
        let state = sql.state();
        let all = DFSchema::try_from_qualified_schema(stream.name.as_str(), &layout.schema)?;
        let expr = crate::evaluate::logical(state, parsed(text)?, &all)?;
        check(&expr, &all)?;
        let mut projection: Vec<usize> = expr
            .column_refs()
            .into_iter()
            .map(|column| layout.schema.index_of(&column.name))
            .collect::<Result<_, _>>()?;
        projection.sort_unstable();
        projection.dedup();
        let fields: Vec<_> =
            projection.iter().map(|&index| layout.schema.fields()[index].clone()).collect();
        let read = DFSchema::try_from_qualified_schema(stream.name.as_str(), &Schema::new(fields))?;
        let expr = state.create_physical_expr(expr, &read)?;
        Ok(Self { expr, rows: RowsBuilder::new(layout, stream, &projection) })
    }

    fn matching<'a>(
        &mut self,
        rows: impl ExactSizeIterator<Item = RowInput<'a>>,
    ) -> Result<Vec<bool>, Error> {
        let count = rows.len();
        for row in rows {
            self.rows.push(row);
        }
        let batch = self.rows.finish()?;
        // Values that do not fit their column are NULL to the filter, as they are to queries.
        let _ = self.rows.take_misfits();
        let holds = self.expr.evaluate(&batch)?.into_array(count)?;
        let holds = holds.as_boolean();
        Ok((0..count).map(|row| holds.is_valid(row) && holds.value(row)).collect())
    }
}

/// The one expression that `text` is.
fn parsed(text: &str) -> Result<ast::Expr, Error> {
    let dialect = PostgreSqlDialect {};
    let mut parser = Parser::new(&dialect).try_with_sql(text)?;
    let expr = parser.parse_expr()?;
    parser.expect_token(&Token::EOF)?;
    Ok(expr)
}

/// A filter says something about one row, by itself.
fn check(expr: &Expr, schema: &DFSchema) -> Result<(), Error> {
    let beyond_row = expr.exists(|expr| {
        Ok(matches!(
            expr,
            Expr::AggregateFunction(_)
                | Expr::WindowFunction(_)
                | Expr::ScalarSubquery(_)
                | Expr::InSubquery(_)
                | Expr::Exists(_)
                | Expr::Placeholder(_)
                | Expr::Unnest(_)
        ))
    })?;
    if beyond_row {
        return Err(Error::new(
            sqlstate::INVALID_PARAMETER,
            "a filter looks at one row: no aggregates, subqueries or parameters",
        ));
    }
    let data_type = expr.get_type(schema)?;
    if data_type != DataType::Boolean {
        return Err(Error::new(
            sqlstate::DATATYPE_MISMATCH,
            format!("a filter must be a condition, not a value of type {data_type}"),
        ));
    }
    Ok(())
}
