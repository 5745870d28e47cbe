//! Scanning the logs of a stream, in parallel.

use super::log_bounds::LogBounds;
use super::log_cursor::{Filled, LogCursor};
use super::{QueryContext, partition_index};
use crate::error::Error;
use crate::limits::SCAN_ROWS;
use crate::rows::{Layout, RowHeaders, RowInput, RowsBuilder};
use anabranch_engine::{Session as EngineSession, Stream, Until};
use anabranch_types::{Offset, PartitionId, PartitionIndex};
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
use std::sync::Arc;

/// A part of a partition's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slice {
    partition: PartitionId,
    index: PartitionIndex,
    from: Offset,
    /// `None`: to the cut, which is not known when a query is planned.
    to: Option<Offset>,
}

/// Cuts what `bounds` leave of a stream into about equal parts for `threads` threads: by
/// partition, and within partitions where there are fewer.
pub(crate) fn slices(
    engine: &EngineSession,
    stream: &Stream,
    bounds: &LogBounds,
    threads: usize,
) -> Result<Vec<Vec<Slice>>, Error> {
    let mut whole = Vec::new();
    for (number, &partition) in (0..).zip(&stream.partitions) {
        if !bounds.wants(i64::from(number)) {
            continue;
        }
        let Some(log) = engine.partition(partition) else {
            continue;
        };
        let mut from = bounds.from.unwrap_or(Offset(0)).max(log.log_start());
        if let Some(since) = bounds.since {
            match log.find_time(since)? {
                Some((offset, _)) => from = from.max(offset),
                // Nothing so late yet; what comes until the cut may be.
                None => from = from.max(log.high_watermark()),
            }
        }
        let end = bounds.to.map_or(log.high_watermark(), |to| to.min(log.high_watermark()));
        whole.push((Slice { partition, index: PartitionIndex(number), from, to: bounds.to }, end));
    }
    let total: i64 = whole.iter().map(|(slice, end)| (end.0 - slice.from.0).max(0)).sum();
    let share = (total / threads.max(1) as i64).max(SCAN_ROWS as i64);
    let mut groups: Vec<Vec<Slice>> = vec![Vec::new()];
    let mut left = share;
    for (mut slice, end) in whole {
        while end.0 - slice.from.0 > left && groups.len() < threads {
            let middle = slice.from.plus(left);
            let last = groups.len() - 1;
            groups[last].push(Slice { to: Some(middle), ..slice.clone() });
            slice.from = middle;
            groups.push(Vec::new());
            left = share;
        }
        left -= (end.0 - slice.from.0).max(0);
        let last = groups.len() - 1;
        groups[last].push(slice);
    }
    Ok(groups)
}

/// The plan's node.
pub(crate) struct LogScan {
    engine: EngineSession,
    stream: Arc<Stream>,
    layout: Arc<Layout>,
    projection: Vec<usize>,
    groups: Vec<Vec<Slice>>,
    /// Whether events of this transaction, which are in no log yet, are shown as well.
    with_own: bool,
    limit: Option<usize>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl LogScan {
    pub(crate) fn new(
        engine: EngineSession,
        stream: Arc<Stream>,
        layout: Arc<Layout>,
        projection: Vec<usize>,
        groups: Vec<Vec<Slice>>,
        with_own: bool,
        limit: Option<usize>,
    ) -> Self {
        let schema = RowsBuilder::new(&layout, &stream, &projection).schema();
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(schema.clone()),
            Partitioning::UnknownPartitioning(groups.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ));
        Self { engine, stream, layout, projection, groups, with_own, limit, schema, properties }
    }

    fn rows_estimate(&self, group: &[Slice]) -> usize {
        let rows = group.iter().map(|slice| {
            let end = slice
                .to
                .or_else(|| self.engine.partition(slice.partition).map(|log| log.high_watermark()));
            end.map_or(0, |end| (end.0 - slice.from.0).max(0))
        });
        usize::try_from(rows.sum::<i64>()).unwrap_or(usize::MAX)
    }
}

impl fmt::Debug for LogScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogScan").field("stream", &self.stream.name).finish_non_exhaustive()
    }
}

impl DisplayAs for LogScan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogScan: stream={}, slices=[", self.stream.name)?;
        for (number, group) in self.groups.iter().enumerate() {
            f.write_str(if number > 0 { " | " } else { "" })?;
            for slice in group {
                match slice.to {
                    Some(to) => write!(f, " {}:{}..{to}", slice.index, slice.from)?,
                    None => write!(f, " {}:{}..", slice.index, slice.from)?,
                }
            }
        }
        write!(f, " ]")?;
        self.limit.map_or(Ok(()), |limit| write!(f, ", limit={limit}"))
    }
}

impl ExecutionPlan for LogScan {
    fn name(&self) -> &'static str {
        "LogScan"
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

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let query = QueryContext::of(&context)?;
        let reader = Reader {
            engine: self.engine.clone(),
            slices: self.groups[partition].clone().into_iter(),
            cursor: None,
            with_own: self.with_own && partition == 0,
            rows: RowsBuilder::new(&self.layout, &self.stream, &self.projection),
            left: self.limit.unwrap_or(usize::MAX),
            stream: self.stream.clone(),
            query,
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
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let rows = match args.partition() {
            Some(partition) => self.rows_estimate(&self.groups[partition]),
            None => self.groups.iter().map(|group| self.rows_estimate(group)).sum(),
        };
        let rows = rows.min(self.limit.unwrap_or(usize::MAX));
        let mut statistics = Statistics::new_unknown(&self.schema);
        statistics.num_rows = Precision::Inexact(rows);
        Ok(Arc::new(statistics))
    }
}

struct Reader {
    engine: EngineSession,
    slices: std::vec::IntoIter<Slice>,
    cursor: Option<LogCursor>,
    with_own: bool,
    rows: RowsBuilder,
    left: usize,
    stream: Arc<Stream>,
    query: Arc<QueryContext>,
}

impl Reader {
    fn next(&mut self) -> Result<Option<RecordBatch>, Error> {
        let enough = SCAN_ROWS.min(self.left);
        while self.rows.rows() < enough {
            let Some(cursor) = self.cursor.as_mut() else {
                if !self.open_next() {
                    self.push_own();
                    break;
                }
                continue;
            };
            let filled = cursor.fill(&mut self.rows, enough)?;
            if let Some(partition) = cursor.met_damage() {
                self.query.note_damage(&self.stream.name, partition);
            }
            if filled == Filled::End {
                self.cursor = None;
            }
        }
        let rows = self.rows.rows();
        if rows == 0 || self.left == 0 {
            return Ok(None);
        }
        let batch = self.rows.finish()?;
        self.query.count_misfits(&self.stream.name, &mut self.rows);
        let batch = if rows > self.left { batch.slice(0, self.left) } else { batch };
        self.left -= batch.num_rows();
        Ok(Some(batch))
    }

    /// What the transaction has written, once: no more than a transaction can write.
    fn push_own(&mut self) {
        if !std::mem::take(&mut self.with_own) {
            return;
        }
        for event in self.query.snapshot.written(&self.stream) {
            self.rows.push(RowInput {
                partition: partition_index(&self.stream, event.partition),
                offset: Offset(-1),
                timestamp: event.timestamp,
                key: event.key.as_deref(),
                value: event.value.as_deref(),
                headers: RowHeaders::Row(&[]),
            });
        }
    }

    /// Opens the next slice; false when there is none.
    fn open_next(&mut self) -> bool {
        for slice in self.slices.by_ref() {
            // A partition that is gone was dropped after the query was planned.
            if let Some(log) = self.engine.partition(slice.partition) {
                let until = Until::Round(self.query.snapshot.round());
                self.cursor = Some(LogCursor::new(log, slice.index, slice.from, slice.to, until));
                return true;
            }
        }
        false
    }
}
