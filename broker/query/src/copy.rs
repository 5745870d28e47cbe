//! COPY: rows in bulk, in and out (PostgreSQL 15, COPY).
//!
//! ```text
//! door: bytes ─> rows of text, or of values ─> CopyIn ─> Load (query threads) ─> pieces ─> appends
//! Rows ─> CopyOut ─> door: bytes
//! ```
//! What the rows look like outside is the door's; here they are batches.

mod load;
mod options;
mod typed;

pub(crate) use options::{Argument, Direction, Given};
pub use options::{CopyFormat, CopyHeader, CopyOptions, Forced};

use crate::error::Error;
use crate::execute::{Execution, Rows, within};
use crate::limits::COPY_BATCHES;
use crate::runtime::Task;
use crate::snapshot::Snapshot;
use crate::write::CopyPlan;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
pub(crate) use load::too_much_at_once;
use load::{Load, Loaded, Message, Progress};
use std::sync::Arc;
use tokio::sync::mpsc;

/// A COPY TO STDOUT: rows, and how the client wants them.
pub struct CopyOut {
    /// The rows; their schema has the columns.
    pub rows: Rows,
    /// How they go out.
    pub options: CopyOptions,
}

/// A COPY FROM STDIN that waits for rows. Dropping it ends it: what was not appended yet is not.
pub struct CopyIn {
    plan: Arc<CopyPlan>,
    options: CopyOptions,
    sender: mpsc::Sender<Message>,
    task: Task<Result<Loaded, Error>>,
    /// The task's result, once it is there.
    ended: Option<Result<Loaded, Error>>,
    progress: Arc<Progress>,
}

/// Rows that come in.
#[derive(Debug, Clone)]
pub struct CopyRows {
    /// A column for each of [`CopyIn::columns`]: text, or values of a type that can be assigned
    /// to the column's.
    pub batch: RecordBatch,
    /// The input's line of each row, from 1.
    pub lines: Vec<u64>,
}

impl CopyIn {
    /// Begins on the query threads. `snapshot` is the transaction's, where one is open.
    pub(crate) fn start(
        plan: Arc<CopyPlan>,
        options: CopyOptions,
        execution: Execution,
        snapshot: Option<Snapshot>,
    ) -> Self {
        let (sender, messages) = mpsc::channel(COPY_BATCHES);
        let progress = Arc::new(Progress::default());
        let (sql, timeout) = (execution.sql.clone(), execution.timeout);
        let load = Load::new(plan.clone(), execution, snapshot, progress.clone());
        let task = sql.runtime.spawn(within(timeout, load.run(messages)));
        Self { plan, options, sender, task, ended: None, progress }
    }

    /// The stream's name.
    #[must_use]
    pub fn stream(&self) -> &str {
        self.plan.stream()
    }

    /// The columns that come in, in their order.
    #[must_use]
    pub fn columns(&self) -> &SchemaRef {
        self.plan.schema()
    }

    /// How rows come in.
    #[must_use]
    pub fn options(&self) -> &CopyOptions {
        &self.options
    }

    /// Hands rows over; waits while those before are being written.
    ///
    /// # Errors
    /// What is wrong with these rows, or with rows before.
    pub async fn write(&mut self, rows: CopyRows) -> Result<(), Error> {
        match self.sender.send(Message::Rows(rows)).await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.failed().await),
        }
    }

    /// Waits until it fails, if ever. Can be asked again.
    pub async fn failed(&mut self) -> Error {
        match self.result().await {
            Err(error) => error.clone(),
            Ok(_) => Error::internal("a COPY ended before its rows did"),
        }
    }

    /// Ends it on account of `error`, which then says what is in the stream already.
    pub async fn abandon(mut self, error: Error) -> Error {
        // What is being appended is waited for, so that it can be counted.
        drop(std::mem::replace(&mut self.sender, mpsc::channel(1).0));
        let _of_no_interest = self.result().await;
        self.progress.explain(error)
    }

    /// All rows were handed over: appends what was not yet.
    pub(crate) async fn finish(&mut self) -> Result<Loaded, Error> {
        // If it has failed, the result says so.
        let _failed = self.sender.send(Message::End).await;
        self.result().await.as_mut().map(std::mem::take).map_err(|error| error.clone())
    }

    async fn result(&mut self) -> &mut Result<Loaded, Error> {
        if self.ended.is_none() {
            let ended = (&mut self.task).await;
            let ended = ended.and_then(|result| result);
            self.ended = Some(ended.map_err(|error| self.progress.explain(error)));
        }
        self.ended.get_or_insert_with(|| Err(Error::internal("a COPY has no result")))
    }
}
