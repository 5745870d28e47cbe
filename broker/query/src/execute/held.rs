//! Rows that several statements take from, a few at a time: those of a cursor.

use super::{Rows, within};
use crate::error::{Error, sqlstate};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

/// The rows of a cursor. Nothing is kept of what was taken.
pub(crate) struct Held {
    schema: SchemaRef,
    /// Empty while a statement takes from them.
    place: Arc<Mutex<Option<Box<Rest>>>>,
}

/// What a cursor has still to give.
struct Rest {
    rows: Rows,
    /// Rows that came with others that were taken.
    batch: Option<RecordBatch>,
    /// Rows taken so far.
    position: u64,
    failed: bool,
}

/// The part that one statement takes. What is left goes back when it is dropped.
pub(super) struct Part {
    place: Arc<Mutex<Option<Box<Rest>>>>,
    rest: Option<Box<Rest>>,
    /// Rows to pass over, then rows to give.
    skip: u64,
    left: u64,
    timeout: Option<Duration>,
}

impl Held {
    pub(crate) fn new(rows: Rows) -> Self {
        let schema = rows.schema().clone();
        let rest = Box::new(Rest { rows, batch: None, position: 0, failed: false });
        Self { schema, place: Arc::new(Mutex::new(Some(rest))) }
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Rows taken so far.
    ///
    /// # Errors
    /// 55006 while another statement takes from it.
    pub(crate) fn position(&self) -> Result<u64, Error> {
        self.place.lock().as_ref().map(|rest| rest.position).ok_or_else(in_use)
    }

    /// `count` rows, after `skip` rows that are passed over.
    ///
    /// # Errors
    /// 55006 while another statement takes from it, 24000 after it has failed.
    pub(crate) fn take(
        &self,
        skip: u64,
        count: u64,
        timeout: Option<Duration>,
    ) -> Result<Rows, Error> {
        let rest = self.place.lock().take().ok_or_else(in_use)?;
        let failed = rest.failed;
        let place = self.place.clone();
        let part = Part { place, rest: Some(rest), skip, left: count, timeout };
        if failed {
            return Err(Error::new(sqlstate::INVALID_CURSOR_STATE, "the cursor has failed"));
        }
        Ok(Rows::of_part(self.schema.clone(), part))
    }
}

fn in_use() -> Error {
    Error::new(sqlstate::OBJECT_IN_USE, "another statement is reading from the cursor")
}

impl Part {
    pub(super) async fn next(&mut self) -> Result<Option<RecordBatch>, Error> {
        let timeout = self.timeout;
        let Some(rest) = &mut self.rest else {
            return Ok(None);
        };
        while self.skip > 0 {
            match within(timeout, rest.next(self.skip)).await? {
                Some(batch) => self.skip -= rows_of(&batch),
                None => return Ok(None),
            }
        }
        if self.left == 0 {
            return Ok(None);
        }
        let batch = within(timeout, rest.next(self.left)).await?;
        self.left -= batch.as_ref().map_or(0, rows_of);
        Ok(batch)
    }
}

impl Rest {
    /// The next rows, `max` at most; `None` at the end.
    async fn next(&mut self, max: u64) -> Result<Option<RecordBatch>, Error> {
        let batch = match self.batch.take() {
            Some(batch) => batch,
            // Recursion by type only: a cursor's rows are never those of a cursor.
            None => match Box::pin(self.rows.next()).await {
                Ok(Some(batch)) => batch,
                Ok(None) => return Ok(None),
                Err(error) => {
                    self.failed = true;
                    return Err(error);
                }
            },
        };
        let count = usize::try_from(max).unwrap_or(usize::MAX).min(batch.num_rows());
        if count < batch.num_rows() {
            self.batch = Some(batch.slice(count, batch.num_rows() - count));
        }
        let taken = batch.slice(0, count);
        self.position += rows_of(&taken);
        Ok(Some(taken))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        *self.place.lock() = self.rest.take();
    }
}

fn rows_of(batch: &RecordBatch) -> u64 {
    u64::try_from(batch.num_rows()).unwrap_or(u64::MAX)
}
