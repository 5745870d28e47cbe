//! The tables at one cut: what readers see.

use crate::codec::{self, Mark};
use crate::limits;
use crate::mutation::{Row, TableId};
use crate::rows::{Rows, Run};
use crate::store::{Cursor, Snapshot};
use crate::tables::{Error, Progress};
use anabranch_types::Round;
use bytes::Bytes;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Keys of one table, in byte order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    /// Where to begin.
    pub from: Bound<Bytes>,
    /// Where to end.
    pub to: Bound<Bytes>,
}

impl KeyRange {
    /// Every key.
    pub const ALL: Self = Self { from: Bound::Unbounded, to: Bound::Unbounded };

    /// The store's keys: the first included, the last not.
    fn stored(&self, table: TableId) -> (Vec<u8>, Vec<u8>) {
        let after = |key: &Bytes| {
            let mut after = codec::key(table, key);
            after.push(0);
            after
        };
        let from = match &self.from {
            Bound::Included(key) => codec::key(table, key),
            Bound::Excluded(key) => after(key),
            Bound::Unbounded => codec::key(table, b""),
        };
        let to = match &self.to {
            Bound::Included(key) => after(key),
            Bound::Excluded(key) => codec::key(table, key),
            Bound::Unbounded => codec::table_end(table).to_vec(),
        };
        (from, to)
    }
}

/// The tables at one cut. Holding one keeps its runs in memory and its rows in the store: a view
/// that is held too long while tables change is cancelled
/// ([`Settings::pinned_bytes_max`](crate::Settings)). It also keeps the store open.
pub struct View {
    /// Newest first.
    pub(crate) runs: Vec<Arc<Run>>,
    pub(crate) snapshot: Arc<dyn Snapshot>,
    pub(crate) mark: Arc<Mark>,
    pub(crate) dropped: Arc<BTreeSet<TableId>>,
    /// Rows of all runs.
    pub(crate) rows: usize,
    /// Bytes of all runs.
    pub(crate) bytes: usize,
    pub(crate) cancelled: AtomicBool,
}

impl View {
    /// A view of these runs, newest first.
    pub(crate) fn new(
        runs: Vec<Arc<Run>>,
        snapshot: Arc<dyn Snapshot>,
        mark: Arc<Mark>,
        dropped: Arc<BTreeSet<TableId>>,
    ) -> Self {
        let rows = runs.iter().map(|run| run.rows.len()).sum();
        let bytes = runs.iter().map(|run| run.rows.bytes()).sum();
        Self { runs, snapshot, mark, dropped, rows, bytes, cancelled: AtomicBool::new(false) }
    }

    /// The cut.
    #[must_use]
    pub fn applied(&self) -> Round {
        self.mark.progress.applied
    }

    /// What the cut contains.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.mark.progress
    }

    /// One row.
    ///
    /// # Errors
    /// When the store fails, or the view was cancelled.
    pub fn get(&self, table: TableId, key: &[u8]) -> Result<Option<Row>, Error> {
        self.check()?;
        if !self.shows(table) {
            return Ok(None);
        }
        let key = codec::key(table, key);
        let stored = match self.find_in_runs(&key) {
            Some(stored) => Some(stored),
            None => self.snapshot.get(&key)?,
        };
        stored.map_or(Ok(None), codec::row)
    }

    /// Many rows, in the order of the keys.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn get_many(&self, table: TableId, keys: &[Bytes]) -> Result<Vec<Option<Row>>, Error> {
        let found = self.get_with(table, keys, |keys| self.find_many(keys).map(Some))?;
        Ok(found.unwrap_or_default())
    }

    /// As [`Self::get_many`], if no disk has to be waited for: for threads that must not wait.
    /// `None` if one may have to.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn get_many_at_hand(
        &self,
        table: TableId,
        keys: &[Bytes],
    ) -> Result<Option<Vec<Option<Row>>>, Error> {
        self.get_with(table, keys, |keys| self.find_many_at_hand(keys))
    }

    fn get_with(
        &self,
        table: TableId,
        keys: &[Bytes],
        find: impl Fn(&[&[u8]]) -> Result<Option<Vec<Option<Bytes>>>, Error>,
    ) -> Result<Option<Vec<Option<Row>>>, Error> {
        self.check()?;
        if !self.shows(table) {
            return Ok(Some(vec![None; keys.len()]));
        }
        let keys: Vec<_> = keys.iter().map(|key| codec::key(table, key)).collect();
        let mut order: Vec<usize> = (0..keys.len()).collect();
        order.sort_unstable_by(|a, b| keys[*a].cmp(&keys[*b]));
        let sorted: Vec<&[u8]> = order.iter().map(|at| &keys[*at][..]).collect();
        let Some(found) = find(&sorted)? else { return Ok(None) };
        let mut rows = vec![None; keys.len()];
        for (at, stored) in order.into_iter().zip(found) {
            rows[at] = stored.map_or(Ok(None), codec::row)?;
        }
        Ok(Some(rows))
    }

    /// The rows of a range in key order. Takes memory for one piece of rows from the store, 64 KiB
    /// or one row.
    #[must_use]
    pub fn scan(&self, table: TableId, range: KeyRange) -> Scan<'_> {
        let mut scan = Scan {
            view: self,
            runs: BinaryHeap::new(),
            store: None,
            piece: Rows::default(),
            at: 0,
            piece_bytes: limits::SCAN_PIECE_BYTES_MIN,
            ended: false,
        };
        if !self.shows(table) {
            return scan;
        }
        let (from, to) = range.stored(table);
        if from >= to {
            return scan;
        }
        for (age, run) in self.runs.iter().enumerate() {
            let (at, end) = (run.rows.first_from(&from), run.rows.first_from(&to));
            scan.runs.extend(Head { key: &[], age, rows: &run.rows, at, end }.positioned());
        }
        scan.store = Some(self.snapshot.cursor(&from, &to));
        scan
    }

    /// What is stored of keys that are sorted: rows and deletes.
    pub(crate) fn find_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, Error> {
        let mut found: Vec<_> = keys.iter().map(|key| self.find_in_runs(key)).collect();
        let missing: Vec<_> = (0..keys.len()).filter(|at| found[*at].is_none()).collect();
        for piece in missing.chunks(limits::GET_MANY_KEYS_MAX) {
            let keys: Vec<_> = piece.iter().map(|at| keys[*at]).collect();
            for (at, stored) in piece.iter().zip(self.snapshot.get_many(&keys)?) {
                found[*at] = stored;
            }
        }
        Ok(found)
    }

    fn find_many_at_hand(&self, keys: &[&[u8]]) -> Result<Option<Vec<Option<Bytes>>>, Error> {
        let mut found: Vec<_> = keys.iter().map(|key| self.find_in_runs(key)).collect();
        let missing: Vec<_> = (0..keys.len()).filter(|at| found[*at].is_none()).collect();
        if missing.is_empty() {
            return Ok(Some(found));
        }
        let keys: Vec<_> = missing.iter().map(|at| keys[*at]).collect();
        let Some(stored) = self.snapshot.get_many_at_hand(&keys)? else { return Ok(None) };
        for (at, stored) in missing.into_iter().zip(stored) {
            found[at] = stored;
        }
        Ok(Some(found))
    }

    fn find_in_runs(&self, key: &[u8]) -> Option<Bytes> {
        self.runs.iter().find_map(|run| run.rows.find(key).map(|row| run.rows.share(row)))
    }

    fn shows(&self, table: TableId) -> bool {
        assert!(table != codec::OWN, "no table has this id");
        !self.dropped.contains(&table)
    }

    fn check(&self) -> Result<(), Error> {
        if self.cancelled.load(Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
    }
}

/// Rows in key order: a merge of the runs and the store, newest first. Ends after an error.
pub struct Scan<'a> {
    view: &'a View,
    /// The next row of each run that has one; the lowest key first, then the newest run.
    runs: BinaryHeap<Reverse<Head<'a>>>,
    store: Option<Box<dyn Cursor + 'a>>,
    piece: Rows,
    at: usize,
    piece_bytes: usize,
    /// After an error.
    ended: bool,
}

/// A run's next row. Compares by key, then age.
#[derive(Clone, Copy)]
struct Head<'a> {
    key: &'a [u8],
    /// The newest is 0.
    age: usize,
    rows: &'a Rows,
    at: usize,
    end: usize,
}

impl PartialEq for Head<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head<'_> {}

impl PartialOrd for Head<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Head<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(other.key).then(self.age.cmp(&other.age))
    }
}

impl<'a> Head<'a> {
    /// The head with the key of its row, in the order of the heap; none at the run's end.
    fn positioned(self) -> Option<Reverse<Self>> {
        (self.at < self.end).then(|| Reverse(Self { key: self.rows.key(self.at), ..self }))
    }

    fn next(self) -> Option<Reverse<Self>> {
        Self { at: self.at + 1, ..self }.positioned()
    }
}

impl<'a> Scan<'a> {
    /// The newest run that holds the lowest key. It and all others that hold it move past it.
    fn take_run(&mut self) -> Option<Head<'a>> {
        let Reverse(newest) = self.runs.pop()?;
        self.runs.extend(newest.next());
        while let Some(Reverse(older)) = self.runs.peek().copied() {
            if older.key != newest.key {
                break;
            }
            self.runs.pop();
            self.runs.extend(older.next());
        }
        Some(newest)
    }

    /// Makes sure that the store's next row stands at `self.at`, if there is one.
    fn fill(&mut self) -> Result<(), Error> {
        let Some(store) = &mut self.store else {
            return Ok(());
        };
        if self.at == self.piece.len() {
            self.piece = store.next(self.piece_bytes)?;
            self.at = 0;
            self.piece_bytes = (self.piece_bytes * 2).min(limits::SCAN_PIECE_BYTES_MAX);
            if self.piece.is_empty() {
                self.store = None;
            }
        }
        Ok(())
    }

    fn step(&mut self) -> Result<Option<(Bytes, Row)>, Error> {
        loop {
            self.view.check()?;
            self.fill()?;
            let in_store = (self.at < self.piece.len()).then(|| self.piece.key(self.at));
            let in_run = self.runs.peek().map(|head| head.0.key);
            let (rows, at) = match (in_run, in_store) {
                (None, None) => return Ok(None),
                (Some(run), Some(store)) if store < run => (&self.piece, self.at),
                (None, Some(_)) => (&self.piece, self.at),
                (Some(run), store) => {
                    self.at += usize::from(store == Some(run));
                    let head = self.take_run().expect("it was seen above");
                    if let Some(row) = codec::row(head.rows.share(head.at))? {
                        return Ok(Some((head.rows.record_key(head.at), row)));
                    }
                    continue;
                }
            };
            let (key, row) = (rows.record_key(at), codec::row(rows.share(at))?);
            self.at += 1;
            if let Some(row) = row {
                return Ok(Some((key, row)));
            }
        }
    }
}

impl Iterator for Scan<'_> {
    type Item = Result<(Bytes, Row), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.step();
        self.ended = next.is_err();
        next.transpose()
    }
}
