//! What a statement reads: one cut of tables and logs, and what its own transaction has written.

use crate::error::Error;
use crate::pending::{Event, Pending};
use anabranch_engine::table::{KeyRange, Row};
use anabranch_engine::{Cut, Stream, TableId};
use anabranch_types::{Offset, Round, Stamp};
use bytes::Bytes;
use std::cmp::Ordering;
use std::iter::Peekable;
use std::sync::Arc;

/// Tables and logs as one statement sees them. What a transaction has written stands above its
/// cut until it commits; nobody else sees it.
#[derive(Clone)]
pub(crate) struct Snapshot {
    cut: Cut,
    own: Arc<Pending>,
    may_wait: bool,
}

/// Most rows that are looked up where no disk may be waited for.
pub(crate) const KEYS_AT_HAND_MAX: usize = 16;

impl Snapshot {
    /// A cut, and nothing above it.
    pub(crate) fn new(cut: Cut) -> Self {
        Self::within(cut, Arc::default())
    }

    /// A transaction's cut and what it has written.
    pub(crate) fn within(cut: Cut, own: Arc<Pending>) -> Self {
        Self { cut, own, may_wait: true }
    }

    /// The same, for where no disk may be waited for unless `may_wait`: what would have to is
    /// [`Error::not_at_hand`].
    pub(crate) fn waiting(self, may_wait: bool) -> Self {
        Self { may_wait, ..self }
    }

    /// The cut's round: logs are read to it.
    pub(crate) fn round(&self) -> Round {
        self.cut.round
    }

    /// Many rows, in the order of the keys.
    pub(crate) fn get_many(
        &self,
        stream: &Stream,
        keys: &[Bytes],
    ) -> Result<Vec<Option<Row>>, Error> {
        if !self.may_wait {
            return self.get_many_at_hand(stream, keys)?.ok_or_else(Error::not_at_hand);
        }
        let stored = self.cut.tables.get_many(table(stream)?, keys)?;
        Ok(self.with_own(stream, keys, stored))
    }

    /// As [`Self::get_many`], if no disk has to be waited for and keys are few; `None` otherwise.
    pub(crate) fn get_many_at_hand(
        &self,
        stream: &Stream,
        keys: &[Bytes],
    ) -> Result<Option<Vec<Option<Row>>>, Error> {
        if keys.len() > KEYS_AT_HAND_MAX {
            return Ok(None);
        }
        let stored = self.cut.tables.get_many_at_hand(table(stream)?, keys)?;
        Ok(stored.map(|stored| self.with_own(stream, keys, stored)))
    }

    fn with_own(
        &self,
        stream: &Stream,
        keys: &[Bytes],
        mut rows: Vec<Option<Row>>,
    ) -> Vec<Option<Row>> {
        if !self.own.is_empty() {
            for (row, key) in rows.iter_mut().zip(keys) {
                if let Some(event) = self.own.last(stream.id, key) {
                    *row = own_row(event);
                }
            }
        }
        rows
    }

    /// The rows of a range in key order.
    pub(crate) fn scan<'a>(
        &'a self,
        stream: &Stream,
        range: &KeyRange,
    ) -> Result<impl Iterator<Item = Result<(Bytes, Row), Error>> + use<'a>, Error> {
        let stored = self.cut.tables.scan(table(stream)?, range.clone())?;
        let stored = stored.map(|row| row.map_err(Error::from));
        Ok(Merged { stored: stored.peekable(), own: self.own.range(stream.id, range).peekable() })
    }

    /// The events that the transaction has written to a stream, in order.
    pub(crate) fn written(&self, stream: &Stream) -> impl Iterator<Item = &Event> {
        self.own.of(stream.id)
    }
}

fn table(stream: &Stream) -> Result<TableId, Error> {
    stream.table.ok_or_else(|| Error::internal(format!("{} has no table", stream.name)))
}

/// The row that an event makes. It has no offset yet: that is −1, as Kafka says "unknown".
fn own_row(event: &Event) -> Option<Row> {
    let stamp = Stamp { round: Round(0), partition: event.partition, offset: Offset(-1) };
    let value = event.value.clone()?;
    Some(Row { stamp, timestamp: event.timestamp, value, headers: Bytes::new() })
}

/// Both in key order; of a key that both have, only the transaction's own.
struct Merged<S: Iterator, O: Iterator> {
    stored: Peekable<S>,
    own: Peekable<O>,
}

impl<'a, S, O> Iterator for Merged<S, O>
where
    S: Iterator<Item = Result<(Bytes, Row), Error>>,
    O: Iterator<Item = (&'a Bytes, &'a Event)>,
{
    type Item = Result<(Bytes, Row), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some((key, _)) = self.own.peek() else {
                return self.stored.next();
            };
            let order = match self.stored.peek() {
                None => Ordering::Greater,
                Some(Err(_)) => Ordering::Less,
                Some(Ok((stored, _))) => stored.cmp(key),
            };
            match order {
                Ordering::Less => return self.stored.next(),
                Ordering::Equal => {
                    self.stored.next();
                }
                Ordering::Greater => {}
            }
            let (key, event) = self.own.next()?;
            if let Some(row) = own_row(event) {
                return Some(Ok((key.clone(), row)));
            }
        }
    }
}
