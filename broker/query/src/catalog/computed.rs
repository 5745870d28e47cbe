//! Relations that are computed when they are read.

use crate::error::Error;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use std::fmt;
use std::sync::Arc;

/// A relation of `schema` whose rows `make` gives.
pub(super) fn computed(
    schema: SchemaRef,
    make: impl Fn(SchemaRef) -> Result<RecordBatch, Error> + Send + Sync + 'static,
) -> Result<Arc<dyn TableProvider>> {
    let partition = Arc::new(Computed { schema: schema.clone(), make: Arc::new(make) });
    Ok(Arc::new(StreamingTable::try_new(schema, vec![partition])?))
}

type Make = dyn Fn(SchemaRef) -> Result<RecordBatch, Error> + Send + Sync;

struct Computed {
    schema: SchemaRef,
    make: Arc<Make>,
}

impl fmt::Debug for Computed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Computed").finish_non_exhaustive()
    }
}

impl PartitionStream for Computed {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let make = self.make.clone();
        let schema = self.schema.clone();
        let batch = futures::stream::once(async move { make(schema).map_err(Into::into) });
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), batch))
    }
}
