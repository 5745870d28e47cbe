//! Scanning a table: some keys, a range of keys, or all of it.

use super::{KeyAccess, QueryContext};
use crate::error::Error;
use crate::limits::{POINT_KEYS_BATCH, SCAN_BYTES_MAX, SCAN_ROWS};
use crate::rows::{Layout, RowHeaders, RowInput, RowsBuilder};
use anabranch_engine::Stream;
use anabranch_engine::table::{KeyRange, Row};
use anabranch_types::{PartitionId, PartitionIndex};
use bytes::Bytes;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Statistics;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
    SendableRecordBatchStream,
};
use futures::StreamExt;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

/// The plan's node.
pub(crate) struct TableScan {
    stream: Arc<Stream>,
    layout: Arc<Layout>,
    projection: Vec<usize>,
    access: KeyAccess,
    limit: Option<usize>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl TableScan {
    pub(crate) fn new(
        stream: Arc<Stream>,
        layout: Arc<Layout>,
        projection: Vec<usize>,
        access: KeyAccess,
        limit: Option<usize>,
    ) -> Self {
        let schema = RowsBuilder::new(&layout, &stream, &projection).schema();
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(schema.clone()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ));
        Self { stream, layout, projection, access, limit, schema, properties }
    }
}

impl fmt::Debug for TableScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableScan").field("stream", &self.stream.name).finish_non_exhaustive()
    }
}

impl DisplayAs for TableScan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TableScan: stream={}, ", self.stream.name)?;
        match &self.access {
            KeyAccess::Points(keys) => write!(f, "keys={}", keys.len())?,
            KeyAccess::Range(KeyRange { from: Bound::Unbounded, to: Bound::Unbounded }) => {
                write!(f, "all keys")?;
            }
            KeyAccess::Range(range) => {
                write!(f, "from={:?}, to={:?}", range.from, range.to)?;
            }
        }
        self.limit.map_or(Ok(()), |limit| write!(f, ", limit={limit}"))
    }
}

impl ExecutionPlan for TableScan {
    fn name(&self) -> &'static str {
        "TableScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, _: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let reader = TableReader {
            query: QueryContext::of(&context)?,
            stream: self.stream.clone(),
            left: self.limit.unwrap_or(usize::MAX),
            rows: RowsBuilder::new(&self.layout, &self.stream, &self.projection),
            position: Position::new(&self.access),
        };
        let batches = futures::stream::unfold(reader, |mut reader| async move {
            let batch = reader.next().transpose()?;
            Some((batch.map_err(Into::into), reader))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), batches.fuse())))
    }

    fn statistics_from_inputs(
        &self,
        _: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let mut statistics = Statistics::new_unknown(&self.schema);
        if let KeyAccess::Points(keys) = &self.access {
            statistics.num_rows = Precision::Inexact(keys.len());
        }
        Ok(Arc::new(statistics))
    }
}

struct TableReader {
    query: Arc<QueryContext>,
    stream: Arc<Stream>,
    left: usize,
    rows: RowsBuilder,
    position: Position,
}

/// What is still to be read.
enum Position {
    Keys(std::vec::IntoIter<Bytes>),
    Range(KeyRange),
    End,
}

impl Position {
    fn new(access: &KeyAccess) -> Self {
        match access {
            KeyAccess::Points(keys) => Self::Keys(keys.clone().into_iter()),
            KeyAccess::Range(range) => Self::Range(range.clone()),
        }
    }
}

impl TableReader {
    fn next(&mut self) -> Result<Option<RecordBatch>, Error> {
        let snapshot = self.query.snapshot.clone();
        while self.rows.rows() == 0 && self.left > 0 {
            match &mut self.position {
                Position::End => return Ok(None),
                Position::Keys(keys) => {
                    let some: Vec<_> = keys.by_ref().take(POINT_KEYS_BATCH).collect();
                    if some.is_empty() {
                        self.position = Position::End;
                        continue;
                    }
                    for (key, row) in some.iter().zip(snapshot.get_many(&self.stream, &some)?) {
                        if let Some(row) = row {
                            push_row(&mut self.rows, &self.stream, key, &row);
                        }
                    }
                }
                Position::Range(range) => {
                    let enough = SCAN_ROWS.min(self.left);
                    let mut last = None;
                    for entry in snapshot.scan(&self.stream, range)? {
                        let (key, row) = entry?;
                        push_row(&mut self.rows, &self.stream, &key, &row);
                        last = Some(key);
                        if self.rows.rows() >= enough || self.rows.bytes() >= SCAN_BYTES_MAX {
                            break;
                        }
                    }
                    // The next batch begins a new scan: a view is not held open in between.
                    match last {
                        Some(key) => range.from = Bound::Excluded(key),
                        None => self.position = Position::End,
                    }
                }
            }
        }
        let rows = self.rows.rows();
        if rows == 0 {
            return Ok(None);
        }
        let batch = self.rows.finish()?;
        self.query.count_misfits(&self.stream.name, &mut self.rows);
        let batch = if rows > self.left { batch.slice(0, self.left) } else { batch };
        self.left -= batch.num_rows();
        Ok(Some(batch))
    }
}

/// Adds a table's row.
pub(crate) fn push_row(rows: &mut RowsBuilder, stream: &Stream, key: &[u8], row: &Row) {
    rows.push(RowInput {
        partition: partition_index(stream, row.stamp.partition),
        offset: row.stamp.offset,
        timestamp: row.timestamp,
        key: Some(key),
        value: Some(&row.value),
        headers: RowHeaders::Row(&row.headers),
    });
}

/// Kafka's number of a stream's partition; −1 of one that the stream had in another life.
pub(crate) fn partition_index(stream: &Stream, partition: PartitionId) -> PartitionIndex {
    let index = stream.partitions.iter().position(|&id| id == partition);
    PartitionIndex(index.and_then(|index| i32::try_from(index).ok()).unwrap_or(-1))
}
