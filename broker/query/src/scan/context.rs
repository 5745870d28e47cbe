//! What belongs to one execution of a query.

use crate::error::Error;
use crate::rows::RowsBuilder;
use crate::snapshot::Snapshot;
use anabranch_types::PartitionIndex;
use datafusion::execution::TaskContext;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a query reads, and what its scans noticed.
pub(crate) struct QueryContext {
    /// Everything is read here.
    pub(crate) snapshot: Snapshot,
    misfits: Mutex<(u64, Option<String>)>,
    /// Partitions of which damaged batches were skipped.
    damaged: Mutex<BTreeSet<String>>,
}

impl QueryContext {
    pub(crate) fn new(snapshot: Snapshot) -> Self {
        Self { snapshot, misfits: Mutex::new((0, None)), damaged: Mutex::default() }
    }

    /// The context that an execution was started with.
    pub(crate) fn of(task: &TaskContext) -> Result<Arc<Self>, Error> {
        task.session_config()
            .get_extension::<Self>()
            .ok_or_else(|| Error::internal("a scan was started without a cut"))
    }

    /// Takes over what `rows` counted.
    pub(crate) fn count_misfits(&self, stream: &str, rows: &mut RowsBuilder) {
        let (count, first) = rows.take_misfits();
        if count == 0 {
            return;
        }
        let mut misfits = self.misfits.lock();
        misfits.0 += count;
        if let (None, Some(first)) = (&misfits.1, first) {
            misfits.1 = Some(format!(
                "column {} of {stream}, partition {} offset {}",
                first.column, first.partition, first.offset
            ));
        }
    }

    /// Notes that not all of a partition could be read.
    pub(crate) fn note_damage(&self, stream: &str, partition: PartitionIndex) {
        self.damaged.lock().insert(format!("{stream}, partition {partition}"));
    }

    /// What the client is to know of the result.
    pub(crate) fn notices(&self) -> impl Iterator<Item = String> {
        let damaged = self.damaged.lock().clone().into_iter();
        let damage = damaged.map(|partition| {
            format!(
                "damaged batches of {partition} were skipped: the result lacks their records; \
                 `anabranch log verify` lists them"
            )
        });
        damage.chain(self.misfit_notice())
    }

    /// If values did not fit.
    pub(crate) fn misfit_notice(&self) -> Option<String> {
        let misfits = self.misfits.lock();
        let first = misfits.1.as_ref()?;
        Some(format!(
            "{} values do not fit the types of their columns and read as NULL; the first: {first}; \
             _json shows them as they came",
            misfits.0
        ))
    }
}
