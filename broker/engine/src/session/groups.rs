//! Groups, their offsets, and transactions, as far as they may be used.

use super::Session;
use crate::offsets::{CommittedOffset, GroupEntry};
use crate::transactions::{EpochAfter, TransactionError, TransactionStatus};
use crate::{Error, ErrorKind};
use anabranch_access::{CLUSTER, Operation, Resource, ResourceKind};
use anabranch_types::batch::Ending;
use anabranch_types::{PartitionId, PartitionIndex, ProducerEpoch, ProducerId, StreamId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

impl Session {
    /// Commits a group's offsets; durable when this returns. `None` deletes.
    ///
    /// # Errors
    /// `Denied`; the log's.
    pub async fn commit_offsets(
        &self,
        group: &str,
        offsets: Vec<(StreamId, PartitionIndex, Option<CommittedOffset>)>,
    ) -> Result<(), Error> {
        let mut streams = BTreeSet::new();
        for (stream, _, offset) in &offsets {
            match offset {
                Some(_) => {
                    self.check_group(Operation::Read, group)?;
                    streams.insert(*stream);
                }
                None => self.check_group(Operation::Delete, group)?,
            }
        }
        self.check_streams(Operation::Read, streams)?;
        self.engine.commit_offsets(group, offsets).await
    }

    fn check_streams(&self, operation: Operation, ids: BTreeSet<StreamId>) -> Result<(), Error> {
        let catalog = self.whole_catalog();
        let streams = ids.into_iter().filter_map(|id| catalog.by_id(id));
        let mut checks = streams.map(|stream| self.check_stream_access(operation, &stream.name));
        checks.try_for_each(|check| check)
    }

    /// A group's committed offsets; none if the group may not be described.
    #[must_use]
    pub fn committed_offsets(
        &self,
        group: &str,
    ) -> BTreeMap<(StreamId, PartitionIndex), CommittedOffset> {
        if self.check_group(Operation::Describe, group).is_err() {
            return BTreeMap::new();
        }
        self.engine.committed_offsets(group)
    }

    /// Groups that have committed offsets, as far as they may be described.
    #[must_use]
    pub fn groups(&self) -> Vec<String> {
        let mut names = self.engine.groups();
        names.retain(|name| self.may_list_group(name));
        names
    }

    /// Whether a list may hold the group.
    #[must_use]
    pub fn may_list_group(&self, name: &str) -> bool {
        let cluster = Resource { kind: ResourceKind::Cluster, name: CLUSTER };
        self.may(Operation::Describe, cluster)
            || self.may(Operation::Describe, Resource { kind: ResourceKind::Group, name })
    }

    /// Remembers groups and members, for the broker's own coordinator; durable when this returns.
    ///
    /// # Errors
    /// `Denied`; the log's.
    pub async fn save_groups(&self, entries: Vec<GroupEntry>) -> Result<(), Error> {
        for entry in &entries {
            self.check_group(Operation::All, &entry.group)?;
        }
        self.engine.save_groups(entries).await
    }

    /// Everything that [`Self::save_groups`] was given and did not remove again, as far as it may
    /// be described.
    #[must_use]
    pub fn saved_groups(&self) -> Vec<GroupEntry> {
        let mut entries = self.engine.saved_groups();
        entries.retain(|entry| self.may_list_group(&entry.group));
        entries
    }

    /// Offsets of the group that open transactions may commit.
    #[must_use]
    pub fn pending_offsets(&self, group: &str) -> BTreeSet<(StreamId, PartitionIndex)> {
        if self.check_group(Operation::Describe, group).is_err() {
            return BTreeSet::new();
        }
        self.engine.pending_offsets(group)
    }

    /// Forgets the offsets of a group that were committed before `before_ms` (milliseconds since
    /// 1970), but for those that an open transaction may replace; says how many.
    ///
    /// # Errors
    /// `Denied`; the log's.
    pub async fn expire_offsets(&self, group: &str, before_ms: i64) -> Result<usize, Error> {
        self.check_group(Operation::Delete, group)?;
        self.engine.expire_offsets(group, before_ms).await
    }

    /// Waits until no open transaction may commit an offset of the group, but not for long.
    pub async fn settle_offsets(&self, group: &str, patience: Duration) {
        self.engine.settle_offsets(group, patience).await;
    }

    /// A producer id never given out before, not by an earlier start either; for who may write to
    /// some stream (KIP-679).
    ///
    /// # Errors
    /// `Denied`; the log's.
    pub async fn new_producer_id(&self) -> Result<ProducerId, Error> {
        if !self.may_some(Operation::Write, ResourceKind::Topic) {
            self.check_cluster(Operation::IdempotentWrite)?;
        }
        self.engine.new_producer_id().await
    }

    /// A producer for the transactional id: older ones are fenced, and a transaction that is open
    /// is aborted. `known` is what a producer that recovers has been (KIP-360).
    ///
    /// # Errors
    /// [`TransactionError::Fenced`] if `known` is no longer current; `Denied`; the log's.
    pub async fn init_transactional(
        &self,
        id: &str,
        timeout_ms: i32,
        known: Option<(ProducerId, ProducerEpoch)>,
    ) -> Result<(ProducerId, ProducerEpoch), TransactionError> {
        self.check_transactional(Operation::Write, id)?;
        self.engine.init_transactional(id, timeout_ms, known).await
    }

    /// Checks that a producer may write to partitions in its transaction; gives those that are not
    /// part of it.
    ///
    /// # Errors
    /// [`TransactionError`] if it is not the producer of this id.
    pub async fn check_transaction(
        &self,
        id: &str,
        producer: ProducerId,
        epoch: ProducerEpoch,
        partitions: &[PartitionId],
    ) -> Result<Vec<PartitionId>, TransactionError> {
        self.check_transactional(Operation::Write, id)?;
        self.engine.check_transaction(id, producer, epoch, partitions).await
    }

    /// Adds partitions to the producer's transaction, which begins if none is open.
    ///
    /// # Errors
    /// [`TransactionError`].
    pub async fn add_to_transaction(
        &self,
        id: &str,
        producer: ProducerId,
        epoch: ProducerEpoch,
        partitions: &[PartitionId],
    ) -> Result<(), TransactionError> {
        self.check_transactional(Operation::Write, id)?;
        for partition in partitions {
            self.check_partition(Operation::Write, *partition)?;
        }
        self.engine.add_to_transaction(id, producer, epoch, partitions).await
    }

    /// Says that the transaction will commit offsets of a group.
    ///
    /// # Errors
    /// [`TransactionError`].
    pub async fn add_group_to_transaction(
        &self,
        id: &str,
        producer: ProducerId,
        epoch: ProducerEpoch,
        group: &str,
    ) -> Result<(), TransactionError> {
        self.check_transactional(Operation::Write, id)?;
        self.check_group(Operation::Read, group)?;
        self.engine.add_group_to_transaction(id, producer, epoch, group).await
    }

    /// Offsets that the group commits if the transaction does.
    ///
    /// # Errors
    /// [`TransactionError`].
    pub async fn commit_offsets_in_transaction(
        &self,
        id: &str,
        producer: ProducerId,
        epoch: ProducerEpoch,
        group: &str,
        offsets: Vec<(StreamId, PartitionIndex, CommittedOffset)>,
    ) -> Result<(), TransactionError> {
        self.check_transactional(Operation::Write, id)?;
        self.check_group(Operation::Read, group)?;
        let streams = offsets.iter().map(|(stream, ..)| *stream).collect();
        self.check_streams(Operation::Read, streams)?;
        self.engine.commit_offsets_in_transaction(id, producer, epoch, group, offsets).await
    }

    /// Commits or aborts the producer's transaction: everything in one round. Says who the
    /// producer is from then on.
    ///
    /// # Errors
    /// [`TransactionError`]. After an error of the log, ask again: it may have ended.
    pub async fn end_transaction(
        &self,
        id: &str,
        producer: ProducerId,
        epoch: ProducerEpoch,
        ending: Ending,
        after: EpochAfter,
    ) -> Result<(ProducerId, ProducerEpoch), TransactionError> {
        self.check_transactional(Operation::Write, id)?;
        self.engine.end_transaction(id, producer, epoch, ending, after).await
    }

    /// All transactional ids that may be described.
    pub async fn transactions(&self) -> Vec<TransactionStatus> {
        let mut all = self.engine.transactions().await;
        let kind = ResourceKind::TransactionalId;
        all.retain(|one| self.may(Operation::Describe, Resource { kind, name: &one.id }));
        all
    }

    /// One transactional id, if it may be described.
    ///
    /// # Errors
    /// `Denied`, `NotFound`.
    pub async fn transaction(&self, id: &str) -> Result<TransactionStatus, Error> {
        self.check_transactional(Operation::Describe, id)?;
        self.engine
            .transaction(id)
            .await
            .ok_or_else(|| Error::new(ErrorKind::NotFound, "there is no such transactional id"))
    }

    /// Ends whatever transaction the producer has in a partition, at an operator's wish: its
    /// coordinator is not asked.
    ///
    /// # Errors
    /// `Denied`; the log's.
    pub async fn write_marker(
        &self,
        partition: PartitionId,
        producer: ProducerId,
        epoch: ProducerEpoch,
        ending: Ending,
    ) -> Result<(), Error> {
        self.check_markers()?;
        self.engine.write_marker(partition, producer, epoch, ending).await
    }

    /// Whether they may end transactions of others.
    ///
    /// # Errors
    /// `Denied`.
    pub fn check_markers(&self) -> Result<(), Error> {
        let cluster = Resource { kind: ResourceKind::Cluster, name: CLUSTER };
        if self.may(Operation::Alter, cluster) {
            return Ok(());
        }
        self.check_cluster(Operation::ClusterAction)
    }
}
