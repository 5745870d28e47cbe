//! Streams as relations for DataFusion.
//!
//! ```text
//! public.orders, append   ┐
//! log.orders              ┴─> LogScan: the partitions' logs to the cut's round
//! public.orders, upsert   ──> TableScan: the view of the cut; by key, by range of keys, or all
//! ```
//! A plan does not know its cut: it comes with the task context of an execution, so that a plan
//! can be used again, and so that everything one query touches is read at one cut.

mod context;
mod key_access;
mod log_bounds;
mod log_cursor;
mod log_scan;
mod table_scan;
#[cfg(test)]
mod tests;

pub(crate) use context::QueryContext;
pub(crate) use key_access::{KeyAccess, KeyColumn, Predicate, points, predicate};
pub(crate) use log_cursor::{LogCursor, Visit};
pub(crate) use table_scan::{partition_index, push_row};

use crate::rows::{Layout, Relation};
use anabranch_engine::{Mode, Session as EngineSession, Stream};
use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use std::fmt;
use std::sync::Arc;

/// One relation of a stream.
pub(crate) struct StreamTable {
    engine: EngineSession,
    stream: Arc<Stream>,
    layout: Arc<Layout>,
    relation: Relation,
}

impl fmt::Debug for StreamTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamTable")
            .field("stream", &self.stream.name)
            .field("relation", &self.relation)
            .finish_non_exhaustive()
    }
}

impl StreamTable {
    pub(crate) fn new(engine: EngineSession, stream: Arc<Stream>, relation: Relation) -> Self {
        let layout = Layout::new(&stream, relation);
        Self { engine, stream, layout, relation }
    }

    pub(crate) fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    pub(crate) fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// Whether rows are found by key.
    pub(crate) fn is_keyed(&self) -> bool {
        self.relation == Relation::Rows
            && self.stream.mode == Mode::Upsert
            && self.stream.table.is_some()
    }
}

#[async_trait]
impl TableProvider for StreamTable {
    fn schema(&self) -> SchemaRef {
        self.layout.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(if self.is_keyed() {
            key_access::pushdown(&self.layout, filters)
        } else {
            log_bounds::pushdown(filters)
        })
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let projection = match projection {
            Some(projection) => projection.clone(),
            None => (0..self.layout.schema.fields().len()).collect(),
        };
        if self.is_keyed() {
            let access = KeyAccess::new(&self.layout, filters);
            return Ok(Arc::new(table_scan::TableScan::new(
                self.stream.clone(),
                self.layout.clone(),
                projection,
                access,
                limit,
            )));
        }
        let bounds = log_bounds::LogBounds::new(filters);
        if self.relation == Relation::Log {
            bounds.check_retained(&self.engine, &self.stream)?;
        }
        let threads = state.config().target_partitions();
        let slices = log_scan::slices(&self.engine, &self.stream, &bounds, threads)?;
        Ok(Arc::new(log_scan::LogScan::new(
            self.engine.clone(),
            self.stream.clone(),
            self.layout.clone(),
            projection,
            slices,
            self.relation == Relation::Rows,
            limit,
        )))
    }
}
