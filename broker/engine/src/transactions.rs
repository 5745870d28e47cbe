//! Transactions of Kafka producers (KIP-98): which are open, and how they end.
//!
//! ```text
//! init ──> Empty ── add partitions, groups ──> Ongoing ── end, time-out, init anew ──> Ended
//!                                                 ^────────── the next transaction ──────┘
//! ```
//! An end is one round: a marker in every partition, the group offsets, and the state. So there is
//! no state between, and nothing to finish after a crash. Which partitions a transaction may write
//! to, the log knows too ([`Operation::Begin`]): it refuses what comes late, in the order of
//! commits.
//!
//! Invariant: a transactional id's changes happen one at a time, and to their end even if the client
//! that asked goes: what memory does not know of, a later end would commit or leave pending.

use crate::catalog::to_json;
use crate::changes::to_the_end;
use crate::engine::Engine;
use crate::ledger::{Entry, Held};
use crate::offsets::{CommittedOffset, offset_key};
use crate::{Error, ErrorKind};
use anabranch_log::{
    Append, AppendError, Appended, Atomicity, Command, Operation, Part, Settings, Submission,
};
use anabranch_types::batch::{BatchHeader, Ending, marker};
use anabranch_types::{PartitionId, PartitionIndex, ProducerEpoch, ProducerId, StreamId};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// Transactional ids remembered.
const IDS_MAX: usize = 100_000;
/// An id is forgotten when it was not used for so long (`transactional.id.expiration.ms`).
const ID_EXPIRES_MS: i64 = 7 * 24 * 60 * 60 * 1000;
/// How often an end is tried while partitions are deleted under it.
const END_ATTEMPTS: u32 = 10;
/// Longest time-out that a producer may ask for (`transaction.max.timeout.ms`).
pub const TRANSACTION_TIMEOUT_MS_MAX: i32 = 15 * 60 * 1000;

/// Why a transactional producer is refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TransactionError {
    /// A newer incarnation has taken over, or the transaction timed out.
    #[error("a newer producer has this transactional id, or its transaction timed out")]
    Fenced,
    /// The id is not known, or belongs to another producer.
    #[error("the transactional id does not belong to this producer id")]
    UnknownProducer,
    /// Not now.
    #[error("{0}")]
    InvalidState(&'static str),
    /// What the engine says.
    #[error(transparent)]
    Engine(#[from] Error),
}

/// A transactional id, as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionStatus {
    /// The id.
    pub id: String,
    /// Its producer.
    pub producer: ProducerId,
    /// The producer's epoch.
    pub epoch: ProducerEpoch,
    /// How long a transaction may be open, in milliseconds.
    pub timeout_ms: i32,
    /// In Kafka's words: Empty, Ongoing, CompleteCommit, CompleteAbort.
    pub state: &'static str,
    /// When the open transaction began, or the one that has ended, in milliseconds since 1970.
    pub since_ms: Option<i64>,
    /// Where the open transaction writes.
    pub partitions: BTreeSet<PartitionId>,
}

/// What `__transactions` holds of a transactional id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    producer: i64,
    epoch: i16,
    timeout_ms: i32,
    updated_ms: i64,
    state: State,
    /// When the transaction began that has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended_since_ms: Option<i64>,
    /// The producer and epoch that the last transaction was ended with, if that gave it new ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended_by: Option<(i64, i16)>,
}

/// What becomes of a producer's epoch at the end of its transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EpochAfter {
    /// It stays: the producer tells one transaction from the next by adding partitions.
    Same,
    /// It rises, so that nothing late joins the next transaction (KIP-890).
    Next,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Empty,
    Ongoing { since_ms: i64, partitions: BTreeSet<u32>, groups: BTreeSet<String> },
    Committed,
    Aborted,
}

/// A group's offset of one partition.
type Place = (String, StreamId, PartitionIndex);

/// One transactional id.
#[derive(Debug, Default)]
struct Transactional {
    record: Option<Record>,
    /// Offsets that are committed with the transaction.
    offsets: BTreeMap<Place, CommittedOffset>,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Transactions {
    by_id: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<Transactional>>>>,
    /// Ids whose transaction is open.
    open: Mutex<BTreeSet<String>>,
    /// Offsets that open transactions may commit; of one place by more than one of them, if the
    /// members of a group do not heed their assignment.
    pending: Mutex<BTreeMap<Place, usize>>,
    /// A transaction has ended.
    ended: Notify,
}

const ID_KEY: &str = "transaction";
const OFFSET_KEY: &str = "offset";

fn id_key(id: &str) -> Vec<u8> {
    to_json(&(ID_KEY, id))
}

fn pending_key(id: &str, (group, stream, index): &Place) -> Vec<u8> {
    to_json(&(OFFSET_KEY, id, group, stream.0, index.0))
}

impl Transactions {
    /// How many are open, and since when the oldest is, in milliseconds since 1970; those that change
    /// right now are left out of that.
    pub(crate) fn open_since(&self) -> (u64, Option<i64>) {
        let open = self.open.lock().clone();
        let by_id = self.by_id.lock();
        let since = |id: &String| match &by_id.get(id)?.try_lock().ok()?.record.as_ref()?.state {
            State::Ongoing { since_ms, .. } => Some(*since_ms),
            State::Empty | State::Committed | State::Aborted => None,
        };
        (open.len() as u64, open.iter().filter_map(since).min())
    }

    /// From the entries of the ledger.
    pub(crate) fn load(entries: Vec<(Vec<u8>, Vec<u8>)>) -> Result<Self, Error> {
        let damaged = |error: serde_json::Error| {
            Error::new(ErrorKind::Storage, format!("a record of __transactions: {error}"))
        };
        let mut all: BTreeMap<String, Transactional> = BTreeMap::new();
        let mut pending = BTreeMap::new();
        let mut open = BTreeSet::new();
        for (key, value) in entries {
            if let Ok((ID_KEY, id)) = serde_json::from_slice::<(&str, String)>(&key) {
                let record: Record = serde_json::from_slice(&value).map_err(damaged)?;
                if matches!(record.state, State::Ongoing { .. }) {
                    open.insert(id.clone());
                }
                all.entry(id).or_default().record = Some(record);
                continue;
            }
            let (_, id, group, stream, index): (&str, String, String, uuid::Uuid, i32) =
                serde_json::from_slice(&key).map_err(damaged)?;
            let place = (group, StreamId(stream), PartitionIndex(index));
            let offset = serde_json::from_slice(&value).map_err(damaged)?;
            *pending.entry(place.clone()).or_insert(0) += 1;
            all.entry(id).or_default().offsets.insert(place, offset);
        }
        let shared = |one| Arc::new(tokio::sync::Mutex::new(one));
        let by_id = all.into_iter().map(|(id, one)| (id, shared(one))).collect();
        Ok(Self {
            by_id: Mutex::new(by_id),
            open: Mutex::new(open),
            pending: Mutex::new(pending),
            ended: Notify::new(),
        })
    }

    fn find(&self, id: &str) -> Result<Arc<tokio::sync::Mutex<Transactional>>, TransactionError> {
        self.by_id.lock().get(id).cloned().ok_or(TransactionError::UnknownProducer)
    }

    fn find_or_make(&self, id: &str) -> Result<Arc<tokio::sync::Mutex<Transactional>>, Error> {
        let mut all = self.by_id.lock();
        if all.len() >= IDS_MAX && !all.contains_key(id) {
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!("{IDS_MAX} transactional ids are in use: use fewer, or wait for a week"),
            ));
        }
        Ok(Arc::clone(all.entry(id.to_owned()).or_default()))
    }

    fn set_pending<'a>(&self, places: impl Iterator<Item = &'a Place>) {
        let mut pending = self.pending.lock();
        places.for_each(|place| *pending.entry(place.clone()).or_insert(0) += 1);
    }

    fn clear_pending<'a>(&self, places: impl Iterator<Item = &'a Place>) {
        let mut pending = self.pending.lock();
        for place in places {
            if let Some(count) = pending.get_mut(place) {
                *count -= 1;
                if *count == 0 {
                    pending.remove(place);
                }
            }
        }
    }
}

impl Transactional {
    /// The record, if the producer is the current one.
    fn current(
        &self,
        producer: ProducerId,
        epoch: ProducerEpoch,
    ) -> Result<&Record, TransactionError> {
        let record = self.record.as_ref().ok_or(TransactionError::UnknownProducer)?;
        if record.producer != producer.0 {
            return Err(TransactionError::UnknownProducer);
        }
        if record.epoch != epoch.0 {
            return Err(TransactionError::Fenced);
        }
        Ok(record)
    }
}

impl Record {
    /// Of a producer without a transaction.
    fn empty(producer: ProducerId, epoch: ProducerEpoch, timeout_ms: i32, now_ms: i64) -> Self {
        Self {
            producer: producer.0,
            epoch: epoch.0,
            timeout_ms,
            updated_ms: now_ms,
            state: State::Empty,
            ended_since_ms: None,
            ended_by: None,
        }
    }

    /// The transaction that goes on, or a new one.
    fn ongoing(&self, now_ms: i64) -> (i64, BTreeSet<u32>, BTreeSet<String>) {
        match &self.state {
            State::Ongoing { since_ms, partitions, groups } => {
                (*since_ms, partitions.clone(), groups.clone())
            }
            _ => (now_ms, BTreeSet::new(), BTreeSet::new()),
        }
    }

    fn status(&self, id: String) -> TransactionStatus {
        let (state, since_ms, partitions) = match &self.state {
            State::Empty => ("Empty", None, BTreeSet::new()),
            State::Ongoing { since_ms, partitions, .. } => {
                ("Ongoing", Some(*since_ms), partitions.iter().copied().map(PartitionId).collect())
            }
            State::Committed => ("CompleteCommit", self.ended_since_ms, BTreeSet::new()),
            State::Aborted => ("CompleteAbort", self.ended_since_ms, BTreeSet::new()),
        };
        TransactionStatus {
            id,
            producer: ProducerId(self.producer),
            epoch: ProducerEpoch(self.epoch),
            timeout_ms: self.timeout_ms,
            state,
            since_ms,
            partitions,
        }
    }

    fn with(&self, state: State, now_ms: i64) -> Self {
        let ended_since_ms = match (&self.state, &state) {
            (State::Ongoing { since_ms, .. }, State::Committed | State::Aborted) => Some(*since_ms),
            // Nothing was in it: it ended as it began.
            (_, State::Committed | State::Aborted) => Some(now_ms),
            _ => None,
        };
        Self { state, updated_ms: now_ms, ended_since_ms, ended_by: None, ..self.clone() }
    }
}

impl Engine {
    /// A producer for the transactional id: older ones are fenced, and a transaction that is open
    /// is aborted. `known` is what a producer that recovers has been (KIP-360).
    ///
    /// # Errors
    /// [`TransactionError::Fenced`] if `known` is no longer current; the log's.
    pub(crate) async fn init_transactional(
        &self,
        id: &str,
        timeout_ms: i32,
        known: Option<(ProducerId, ProducerEpoch)>,
    ) -> Result<(ProducerId, ProducerEpoch), TransactionError> {
        let engine = self.clone();
        let id = id.to_owned();
        to_the_end(async move { engine.init(&id, timeout_ms, known).await }).await
    }

    async fn init(
        &self,
        id: &str,
        timeout_ms: i32,
        known: Option<(ProducerId, ProducerEpoch)>,
    ) -> Result<(ProducerId, ProducerEpoch), TransactionError> {
        let one = self.inner.transactions.find_or_make(id)?;
        let mut one = one.lock_owned().await;
        let now_ms = self.now().0;
        let Some(record) = one.record.clone() else {
            let producer = self.new_producer_id().await?;
            let record = Record::empty(producer, ProducerEpoch(0), timeout_ms, now_ms);
            self.put_record(id, &record).await?;
            one.record = Some(record);
            return Ok((producer, ProducerEpoch(0)));
        };
        if let Some((producer, epoch)) = known {
            let is_retry = epoch.0 == record.epoch - 1 && record.state == State::Empty;
            if producer.0 != record.producer || (epoch.0 != record.epoch && !is_retry) {
                return Err(TransactionError::Fenced);
            }
            if is_retry {
                return Ok((producer, ProducerEpoch(record.epoch)));
            }
        }
        let fenced = ProducerEpoch(record.epoch.saturating_add(1));
        let (producer, epoch) = self.next_epoch(&record).await?;
        let next = Record::empty(producer, epoch, timeout_ms, now_ms);
        self.finish(id, &mut one, Ending::Abort, fenced, next).await?;
        Ok((producer, epoch))
    }

    /// Checks that a producer may write to partitions in its transaction; gives those that are not
    /// part of it.
    ///
    /// # Errors
    /// [`TransactionError`] if it is not the producer of this id.
    pub(crate) async fn check_transaction(
        &self,
        id: &str,
        producer: ProducerId,
        epoch: ProducerEpoch,
        partitions: &[PartitionId],
    ) -> Result<Vec<PartitionId>, TransactionError> {
        let one = self.inner.transactions.find(id)?;
        let one = one.lock().await;
        let mut missing = partitions.to_vec();
        if let State::Ongoing { partitions: added, .. } = &one.current(producer, epoch)?.state {
            missing.retain(|partition| !added.contains(&partition.0));
        }
        Ok(missing)
    }

    /// Adds partitions to the producer's transaction, which begins if none is open.
    ///
    /// # Errors
    /// [`TransactionError`].
    pub(crate) async fn add_to_transaction(
        &self,
        id: &str,
        producer: ProducerId,
        epoch: ProducerEpoch,
        partitions: &[PartitionId],
    ) -> Result<(), TransactionError> {
        let engine = self.clone();
        let (id, partitions) = (id.to_owned(), partitions.to_vec());
        to_the_end(async move { engine.add(&id, producer, epoch, &partitions).await }).await
    }

    async fn add(
        &self,
        id: &str,
        producer: ProducerId,
        epoch: ProducerEpoch,
        partitions: &[PartitionId],
    ) -> Result<(), TransactionError> {
        let one = self.inner.transactions.find(id)?;
        let mut one = one.lock_owned().await;
        let record = one.current(producer, epoch)?;
        let now_ms = self.now().0;
        let (since_ms, mut all, groups) = record.ongoing(now_ms);
        let new: Vec<PartitionId> =
            partitions.iter().copied().filter(|partition| all.insert(partition.0)).collect();
        if new.is_empty() && matches!(record.state, State::Ongoing { .. }) {
            return Ok(());
        }
        let state = State::Ongoing { since_ms, partitions: all, groups };
        let next = record.with(state, now_ms);
        let begin = |partition| Operation::Begin(partition, producer, epoch);
        let operations = new.into_iter().map(begin).collect();
        let entries = vec![(id_key(id), Some(to_json(&next)))];
        self.inner.transactions_ledger.change(entries, operations, Settings::default()).await?;
        self.inner.transactions.open.lock().insert(id.to_owned());
        one.record = Some(next);
        Ok(())
    }

    /// Adds a consumer group whose offsets will be committed with the transaction.
    ///
    /// # Errors
    /// [`TransactionError`].
    pub(crate) async fn add_group_to_transaction(
        &self,
        id: &str,
        producer: ProducerId,
        epoch: ProducerEpoch,
        group: &str,
    ) -> Result<(), TransactionError> {
        let engine = self.clone();
        let (id, group) = (id.to_owned(), group.to_owned());
        to_the_end(async move { engine.add_group(&id, producer, epoch, &group).await }).await
    }

    async fn add_group(
        &self,
        id: &str,
        producer: ProducerId,
        epoch: ProducerEpoch,
        group: &str,
    ) -> Result<(), TransactionError> {
        let one = self.inner.transactions.find(id)?;
        let mut one = one.lock_owned().await;
        let record = one.current(producer, epoch)?;
        let now_ms = self.now().0;
        let (since_ms, partitions, mut groups) = record.ongoing(now_ms);
        if !groups.insert(group.to_owned()) {
            return Ok(());
        }
        let next = record.with(State::Ongoing { since_ms, partitions, groups }, now_ms);
        self.put_record(id, &next).await?;
        self.inner.transactions.open.lock().insert(id.to_owned());
        one.record = Some(next);
        Ok(())
    }

    /// Offsets that count once the transaction is committed.
    ///
    /// # Errors
    /// [`TransactionError`]; the group must have been added.
    pub(crate) async fn commit_offsets_in_transaction(
        &self,
        id: &str,
        producer: ProducerId,
        epoch: ProducerEpoch,
        group: &str,
        offsets: Vec<(StreamId, PartitionIndex, CommittedOffset)>,
    ) -> Result<(), TransactionError> {
        let engine = self.clone();
        let (id, group) = (id.to_owned(), group.to_owned());
        to_the_end(async move { engine.add_offsets(&id, producer, epoch, &group, offsets).await })
            .await
    }

    async fn add_offsets(
        &self,
        id: &str,
        producer: ProducerId,
        epoch: ProducerEpoch,
        group: &str,
        offsets: Vec<(StreamId, PartitionIndex, CommittedOffset)>,
    ) -> Result<(), TransactionError> {
        let transactions = &self.inner.transactions;
        let one = transactions.find(id)?;
        let mut one = one.lock_owned().await;
        match &one.current(producer, epoch)?.state {
            State::Ongoing { groups, .. } if groups.contains(group) => {}
            _ => {
                return Err(TransactionError::InvalidState(
                    "the group is not part of the transaction: add it first",
                ));
            }
        }
        let offsets: BTreeMap<Place, CommittedOffset> = offsets
            .into_iter()
            .map(|(stream, index, offset)| ((group.to_owned(), stream, index), offset))
            .collect();
        let entries =
            offsets.iter().map(|(place, offset)| (pending_key(id, place), Some(to_json(offset))));
        let entries: Vec<Entry> = entries.collect();
        if entries.is_empty() {
            return Ok(());
        }
        // Before they are durable: who asks for stable offsets meanwhile waits.
        let new: Vec<Place> =
            offsets.keys().filter(|place| !one.offsets.contains_key(place)).cloned().collect();
        transactions.set_pending(new.iter());
        if let Err(error) = self.inner.transactions_ledger.put(entries).await {
            transactions.clear_pending(new.iter());
            return Err(error.into());
        }
        one.offsets.extend(offsets);
        Ok(())
    }

    /// Commits or aborts the producer's transaction: everything in one round. Says who the
    /// producer is from then on.
    ///
    /// # Errors
    /// [`TransactionError`]. After an error of the log, ask again: it may have ended.
    pub(crate) async fn end_transaction(
        &self,
        id: &str,
        producer: ProducerId,
        epoch: ProducerEpoch,
        ending: Ending,
        after: EpochAfter,
    ) -> Result<(ProducerId, ProducerEpoch), TransactionError> {
        let engine = self.clone();
        let id = id.to_owned();
        to_the_end(async move { engine.end(&id, producer, epoch, ending, after).await }).await
    }

    async fn end(
        &self,
        id: &str,
        producer: ProducerId,
        epoch: ProducerEpoch,
        ending: Ending,
        after: EpochAfter,
    ) -> Result<(ProducerId, ProducerEpoch), TransactionError> {
        let one = self.inner.transactions.find(id)?;
        let mut one = one.lock_owned().await;
        let known = one.record.as_ref().ok_or(TransactionError::UnknownProducer)?;
        // Asked again, by a producer that was not told who it is now.
        let is_again = known.ended_by == Some((producer.0, epoch.0));
        let record = if is_again { known } else { one.current(producer, epoch)? };
        let same = Ok((ProducerId(record.producer), ProducerEpoch(record.epoch)));
        match (&record.state, ending) {
            (State::Ongoing { .. }, _) => {}
            (State::Committed, Ending::Commit) | (State::Aborted, Ending::Abort)
                if is_again || record.ended_by.is_none() && after == EpochAfter::Same =>
            {
                return same;
            }
            // What was refused is aborted without having begun.
            (State::Empty | State::Committed | State::Aborted, Ending::Abort)
                if after == EpochAfter::Next && !is_again => {}
            (State::Committed, Ending::Commit) | (State::Aborted, Ending::Abort) => {
                return Err(TransactionError::InvalidState("no transaction is open"));
            }
            (State::Empty, _) => {
                return Err(TransactionError::InvalidState("no transaction is open"));
            }
            (State::Committed, Ending::Abort) => {
                return Err(TransactionError::InvalidState("the transaction was committed"));
            }
            (State::Aborted, Ending::Commit) => {
                return Err(TransactionError::InvalidState("the transaction was aborted"));
            }
        }
        let mut next = record.with(ended(ending), self.now().0);
        let mut marker_epoch = epoch;
        if after == EpochAfter::Next {
            let (producer, epoch) = self.next_epoch(record).await?;
            (next.producer, next.epoch) = (producer.0, epoch.0);
            next.ended_by = Some((record.producer, record.epoch));
            marker_epoch = ProducerEpoch(record.epoch.saturating_add(1));
        }
        let now = (ProducerId(next.producer), ProducerEpoch(next.epoch));
        self.finish(id, &mut one, ending, marker_epoch, next).await?;
        Ok(now)
    }

    /// The producer with its epoch raised; another one if there is none left. Kafka keeps the last
    /// epoch for fencing.
    async fn next_epoch(&self, record: &Record) -> Result<(ProducerId, ProducerEpoch), Error> {
        if record.epoch >= i16::MAX - 1 {
            return Ok((self.new_producer_id().await?, ProducerEpoch(0)));
        }
        Ok((ProducerId(record.producer), ProducerEpoch(record.epoch + 1)))
    }

    /// All transactional ids, in order. One that is being changed is awaited.
    pub(crate) async fn transactions(&self) -> Vec<TransactionStatus> {
        let all: Vec<_> = {
            let by_id = self.inner.transactions.by_id.lock();
            by_id.iter().map(|(id, one)| (id.clone(), Arc::clone(one))).collect()
        };
        let mut found = Vec::with_capacity(all.len());
        for (id, one) in all {
            let status = one.lock().await.record.as_ref().map(|record| record.status(id));
            found.extend(status);
        }
        found
    }

    /// One transactional id.
    pub(crate) async fn transaction(&self, id: &str) -> Option<TransactionStatus> {
        let one = self.inner.transactions.find(id).ok()?;
        let one = one.lock().await;
        one.record.as_ref().map(|record| record.status(id.to_owned()))
    }

    /// Ends whatever transaction the producer has in a partition, at an operator's wish: its
    /// coordinator is not asked.
    ///
    /// # Errors
    /// The log's.
    pub(crate) async fn write_marker(
        &self,
        partition: PartitionId,
        producer: ProducerId,
        epoch: ProducerEpoch,
        ending: Ending,
    ) -> Result<(), Error> {
        let part = self.marker(partition, producer, epoch, ending)?;
        let parts = SmallVec::from_iter([part]);
        let append = Append { parts, atomicity: Atomicity::AllParts, preconditions: None };
        self.append(append).await.map(drop)
    }

    /// Places for which an open transaction may commit an offset of the group.
    #[must_use]
    pub(crate) fn pending_offsets(&self, group: &str) -> BTreeSet<(StreamId, PartitionIndex)> {
        let first = (group.to_owned(), StreamId(uuid::Uuid::nil()), PartitionIndex(i32::MIN));
        let pending = self.inner.transactions.pending.lock();
        let all = pending.range(first..).map(|(place, _)| place);
        all.take_while(|place| place.0 == group).map(|place| (place.1, place.2)).collect()
    }

    /// Waits until no open transaction may commit an offset of the group, but not for long.
    pub(crate) async fn settle_offsets(&self, group: &str, patience: Duration) {
        let settled = async {
            loop {
                let ended = self.inner.transactions.ended.notified();
                let mut ended = std::pin::pin!(ended);
                // Registered first, so that no end slips in between.
                ended.as_mut().enable();
                if self.pending_offsets(group).is_empty() {
                    return;
                }
                ended.await;
            }
        };
        // What is pending after that is the business of who asked.
        let _ = tokio::time::timeout(patience, settled).await;
    }

    /// Aborts what has timed out, and fences its producers; forgets ids that are not used, if
    /// `all` are to be looked at.
    pub(crate) async fn expire_transactions(&self, all: bool) {
        let transactions = &self.inner.transactions;
        let ids: Vec<String> = if all {
            transactions.by_id.lock().keys().cloned().collect()
        } else {
            transactions.open.lock().iter().cloned().collect()
        };
        for id in ids {
            let Ok(one) = transactions.find(&id) else { continue };
            // In use: not timed out, or about to end.
            let Ok(mut one) = one.try_lock_owned() else { continue };
            let Some(record) = &one.record else { continue };
            let now_ms = self.now().0;
            let result = match &record.state {
                State::Ongoing { since_ms, .. }
                    if now_ms - since_ms > i64::from(record.timeout_ms) =>
                {
                    tracing::warn!(transactional_id = id, "a transaction timed out and is aborted");
                    let fenced = ProducerEpoch(record.epoch.saturating_add(1));
                    let next = Record { epoch: fenced.0, ..record.with(State::Aborted, now_ms) };
                    self.finish(&id, &mut one, Ending::Abort, fenced, next).await
                }
                State::Ongoing { .. } => Ok(()),
                _ if now_ms - record.updated_ms > ID_EXPIRES_MS => {
                    let removed = self.inner.transactions_ledger.put(vec![(id_key(&id), None)]);
                    removed.await.map(|()| {
                        one.record = None;
                        self.inner.transactions.by_id.lock().remove(&id);
                    })
                }
                _ => Ok(()),
            };
            if let Err(error) = result {
                tracing::warn!(transactional_id = id, %error, "a transaction could not be ended");
            }
        }
    }

    async fn put_record(&self, id: &str, record: &Record) -> Result<(), Error> {
        self.inner.transactions_ledger.put(vec![(id_key(id), Some(to_json(record)))]).await
    }

    /// Ends the transaction, if one is open, and makes `next` the id's record: in one round.
    async fn finish(
        &self,
        id: &str,
        one: &mut Transactional,
        ending: Ending,
        marker_epoch: ProducerEpoch,
        next: Record,
    ) -> Result<(), Error> {
        let record = one.record.as_ref().expect("only a known id is ended");
        let producer = ProducerId(record.producer);
        let partitions: Vec<PartitionId> = match &record.state {
            State::Ongoing { partitions, .. } => {
                partitions.iter().copied().map(PartitionId).collect()
            }
            _ => Vec::new(),
        };
        let catalog = self.catalog();
        let counts = |(place, _): &(&Place, &CommittedOffset)| {
            ending == Ending::Commit && catalog.by_id(place.1).is_some()
        };
        let committed = one.offsets.iter().filter(counts);
        let group_entries: Vec<Entry> =
            committed.map(|(place, offset)| (offset_key(place), Some(to_json(offset)))).collect();
        let mut own_entries = vec![(id_key(id), Some(to_json(&next)))];
        own_entries.extend(one.offsets.keys().map(|place| (pending_key(id, place), None)));
        let _no_expiry = self.inner.expiring_offsets.read().await;
        for attempt in 1.. {
            // Always in this order: a ledger that is written anew waits for nobody who waits.
            let groups = self.inner.groups_ledger.hold(group_entries.clone()).await?;
            let own = self.inner.transactions_ledger.hold(own_entries.clone()).await?;
            // Partitions that were deleted meanwhile need no marker.
            let there = partitions.iter().filter(|id| self.partition(**id).is_some());
            let markers = there.map(|id| self.marker(*id, producer, marker_epoch, ending));
            let markers = markers.collect::<Result<Vec<Part>, Error>>()?;
            match self.append_held(markers, [groups, own]).await {
                // Deleted just now.
                Err(AppendError::UnknownPartition(_) | AppendError::Together)
                    if attempt < END_ATTEMPTS => {}
                other => {
                    other?;
                    break;
                }
            }
        }
        self.inner.transactions.open.lock().remove(id);
        self.inner.transactions.clear_pending(one.offsets.keys());
        self.inner.transactions.ended.notify_waiters();
        one.offsets.clear();
        one.record = Some(next);
        self.inner.groups_ledger.tidy().await;
        self.inner.transactions_ledger.tidy().await;
        Ok(())
    }

    fn marker(
        &self,
        partition: PartitionId,
        producer: ProducerId,
        epoch: ProducerEpoch,
        ending: Ending,
    ) -> Result<Part, Error> {
        let now = self.now();
        let internal = |error: anabranch_types::batch::BatchError| {
            Error::new(ErrorKind::Internal, format!("a marker: {error}"))
        };
        let batch = marker(producer, epoch, ending, now).map_err(internal)?.freeze();
        let header = BatchHeader::read(&batch).map_err(internal)?;
        Ok(Part { partition, batch, header, max_timestamp: now, key_hashes: Vec::new() })
    }

    /// Appends all of it or nothing; the ledgers hold their entries from that round on.
    async fn append_held(&self, parts: Vec<Part>, held: [Held; 2]) -> Result<(), AppendError> {
        let mut parts: SmallVec<[Part; 1]> = parts.into();
        parts.extend(held.iter().flat_map(Held::parts));
        let append = Append { parts, atomicity: Atomicity::AllParts, preconditions: None };
        let (sender, receiver) = oneshot::channel();
        let reply = Box::new(move |results: Vec<anabranch_log::AppendResult>| {
            let all: Result<Vec<Appended>, AppendError> = results.into_iter().flatten().collect();
            held.into_iter().for_each(|held| held.done(all.is_ok()));
            // Who asked may have gone; what was decided stays.
            let _ = sender.send(all.map(drop));
        });
        let submission = Submission { appends: vec![append], reply };
        self.inner.log.send(Command::Submit(submission)).map_err(|_| AppendError::Stopping)?;
        receiver.await.map_err(|_| AppendError::Stopping)?
    }
}

fn ended(ending: Ending) -> State {
    match ending {
        Ending::Commit => State::Committed,
        Ending::Abort => State::Aborted,
    }
}
