//! Events of a stream as rows by a key that they had not.

use super::target::{Target, duplicate_key, null_violation};
use crate::error::Error;
use crate::limits::COPY_WRITE_BYTES;
use crate::pending::{Event, Pending};
use crate::sql::Sql;
use anabranch_engine::Stream;
use anabranch_types::Timestamp;
use bytes::Bytes;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::datatypes::TimestampMicrosecondType;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use std::collections::HashSet;
use std::sync::Arc;

/// Bytes that a key costs which was seen.
const SEEN_BYTES: usize = 40;

/// Rows that are being written anew.
pub(crate) struct Rekeyed {
    target: Target,
    pending: Pending,
    /// Hashes of all keys so far, of 128 bits: two keys have one with a probability that nobody
    /// needs to care about.
    seen: HashSet<u128, ahash::RandomState>,
    hashers: [ahash::RandomState; 2],
    reservation: MemoryReservation,
}

impl Rekeyed {
    /// For the stream as it is going to be.
    pub(crate) fn new(stream: &Arc<Stream>, sql: &Sql) -> Self {
        let memory = &sql.state().runtime_env().memory_pool;
        Self {
            target: Target::of(stream.clone()),
            pending: Pending::default(),
            seen: HashSet::default(),
            hashers: Default::default(),
            reservation: MemoryConsumer::new("primary key").register(memory),
        }
    }

    /// The key's columns.
    pub(crate) fn columns(&self) -> impl Iterator<Item = &str> {
        self.target.stream.key_columns().map(|column| column.name.as_str())
    }

    pub(crate) fn bytes(&self) -> usize {
        self.pending.bytes()
    }

    /// What was added and is not appended yet.
    pub(crate) fn take(&mut self) -> Pending {
        std::mem::take(&mut self.pending)
    }

    /// Adds rows whose columns are `_value`, `_ts` and those of the key, as many as may be appended
    /// together; says how many.
    ///
    /// # Errors
    /// 23502, 23505; 53200 where there are more keys than memory.
    pub(crate) fn add(&mut self, batch: &RecordBatch) -> Result<usize, Error> {
        let (values, key) = (batch.column(0), &batch.columns()[2..]);
        let times = batch.column(1).as_primitive::<TimestampMicrosecondType>();
        self.check_nulls(key)?;
        for row in 0..batch.num_rows() {
            if self.pending.bytes() >= COPY_WRITE_BYTES {
                return Ok(row);
            }
            let mut bytes = Vec::new();
            self.target.layout.key.encode(key, row, &mut bytes)?;
            self.check_unique(&bytes)?;
            // A deletion, once there are keys; a default may have given its columns values.
            let value = (!values.is_null(row))
                .then(|| Bytes::copy_from_slice(values.as_binary_view().value(row)))
                .ok_or_else(|| null_violation(&self.target.stream, "_value"))?;
            self.pending.push(Event {
                stream: self.target.stream.clone(),
                partition: self.target.partition_of(&bytes),
                key: Some(Bytes::from(bytes)),
                value: Some(value),
                timestamp: Timestamp(times.value(row) / 1000),
            })?;
        }
        Ok(batch.num_rows())
    }

    fn check_nulls(&self, key: &[ArrayRef]) -> Result<(), Error> {
        for (column, array) in self.columns().zip(key) {
            if array.null_count() > 0 {
                return Err(null_violation(&self.target.stream, column));
            }
        }
        Ok(())
    }

    fn check_unique(&mut self, key: &[u8]) -> Result<(), Error> {
        let [high, low] = self.hashers.each_ref().map(|hasher| u128::from(hasher.hash_one(key)));
        if self.seen.len() == self.seen.capacity() {
            self.reservation.try_resize(2 * SEEN_BYTES * self.seen.len())?;
        }
        match self.seen.insert(high << 64 | low) {
            true => Ok(()),
            false => Err(duplicate_key(&self.target.stream, key)
                .hint("DELETE is not for streams of events: CREATE TABLE … AS SELECT DISTINCT ON")),
        }
    }
}
