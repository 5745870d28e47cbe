//! Reading rows by key without executing a plan: a lookup, a decode, done.

use crate::error::Error;
use crate::rows::{Layout, RowsBuilder};
use crate::scan::{Predicate, StreamTable, points, predicate, push_row};
use crate::snapshot::Snapshot;
use anabranch_engine::Stream;
use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::default_table_source::source_as_provider;
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan};
use datafusion::scalar::ScalarValue;
use std::sync::Arc;

/// A query that only looks up keys: `SELECT columns FROM stream WHERE key = …`.
pub(crate) struct PointRead {
    stream: Arc<Stream>,
    layout: Arc<Layout>,
    /// On the key only, as equality with constants or parameters.
    filters: Vec<Expr>,
    /// Columns to read.
    projection: Vec<usize>,
    /// Which of them the result has, in its order.
    output: Vec<usize>,
    fetch: Option<usize>,
    schema: SchemaRef,
}

impl PointRead {
    /// Of an optimized plan, if it is one.
    pub(crate) fn of(plan: &LogicalPlan, schema: &SchemaRef) -> Option<Self> {
        match plan {
            LogicalPlan::TableScan(scan) => Self::of_scan(scan, None, schema),
            LogicalPlan::Projection(projection) => match projection.input.as_ref() {
                LogicalPlan::TableScan(scan) => Self::of_scan(scan, Some(&projection.expr), schema),
                _ => None,
            },
            _ => None,
        }
    }

    fn of_scan(scan: &TableScan, exprs: Option<&[Expr]>, schema: &SchemaRef) -> Option<Self> {
        let provider = source_as_provider(&scan.source).ok()?;
        let table = provider.downcast_ref::<StreamTable>().filter(|table| table.is_keyed())?;
        let layout = table.layout();
        let by_key =
            |filter: &Expr| matches!(predicate(layout, filter), Some(Predicate::OneOf(..)));
        if scan.filters.is_empty() || !scan.filters.iter().all(by_key) {
            return None;
        }
        let projection = match &scan.projection {
            Some(projection) => projection.clone(),
            None => (0..layout.schema.fields().len()).collect(),
        };
        let output = match exprs {
            None => (0..projection.len()).collect(),
            Some(exprs) => exprs
                .iter()
                .map(|expr| scan.projected_schema.maybe_index_of_column(column(expr)?))
                .collect::<Option<_>>()?,
        };
        Some(Self {
            stream: table.stream().clone(),
            layout: layout.clone(),
            filters: scan.filters.clone(),
            projection,
            output,
            fetch: scan.fetch,
            schema: schema.clone(),
        })
    }

    /// Reads the rows; a second result is a notice. Touches the disk only if it `may_wait`: else
    /// there is no result where it would have to.
    pub(crate) fn read(
        &self,
        snapshot: &Snapshot,
        parameters: &[ScalarValue],
        may_wait: bool,
    ) -> Result<Option<(RecordBatch, Option<String>)>, Error> {
        let keys = points(&self.layout, &self.filters, parameters)?;
        let query = crate::scan::QueryContext::new(snapshot.clone());
        let mut rows = RowsBuilder::new(&self.layout, &self.stream, &self.projection);
        let found = match may_wait {
            true => snapshot.get_many(&self.stream, &keys)?,
            false => match snapshot.get_many_at_hand(&self.stream, &keys)? {
                Some(found) => found,
                None => return Ok(None),
            },
        };
        for (key, row) in keys.iter().zip(found) {
            if self.fetch.is_some_and(|fetch| rows.rows() >= fetch) {
                break;
            }
            if let Some(row) = row {
                push_row(&mut rows, &self.stream, key, &row);
            }
        }
        let batch = rows.finish()?;
        query.count_misfits(&self.stream.name, &mut rows);
        let columns = self.output.iter().map(|&column| batch.column(column).clone()).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?;
        Ok(Some((batch, query.misfit_notice())))
    }
}

fn column(expr: &Expr) -> Option<&datafusion::common::Column> {
    match expr {
        Expr::Column(column) => Some(column),
        Expr::Alias(alias) => column(&alias.expr),
        _ => None,
    }
}
