//! Committed offsets of consumer groups, their members, and producer ids: all in ledgers.

use crate::catalog::to_json;
use crate::engine::Engine;
use crate::ledger::Entry;
use crate::{Error, ErrorKind};
use anabranch_types::{PartitionIndex, ProducerId, StreamId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// A group's committed offset for one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommittedOffset {
    /// Next offset to consume.
    pub offset: i64,
    /// Kafka's leader epoch, −1 for none.
    pub leader_epoch: i32,
    /// The client's words.
    pub metadata: String,
    /// When, in milliseconds since 1970.
    pub committed_ms: i64,
}

/// A key of `__groups`: readable in `anabranch log dump`, and in order by group.
type Key<'a> = (&'a str, Uuid, i32);

/// What a door remembers of a group, or of one of its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupEntry {
    /// The group's name.
    pub group: String,
    /// The member's id; `None` for the group itself.
    pub member: Option<String>,
    /// The door's words; `None` removes the entry.
    pub value: Option<Vec<u8>>,
}

/// The other kind of key in `__groups`.
#[derive(Debug, Serialize, Deserialize)]
struct MemberKey {
    group: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    member: Option<String>,
}

/// What such keys begin with.
const MEMBERS: &[u8] = b"{";

/// Producer ids taken from the log at a time.
const PRODUCER_ID_BLOCK: i64 = 1000;
const PRODUCER_IDS_KEY: &[u8] = b"producer_ids";

pub(crate) fn offset_key((group, stream, index): &(String, StreamId, PartitionIndex)) -> Vec<u8> {
    let key: Key<'_> = (group, stream.0, index.0);
    to_json(&key)
}

impl Engine {
    /// Commits a group's offsets; durable when this returns. `None` deletes.
    ///
    /// # Errors
    /// The log's.
    pub(crate) async fn commit_offsets(
        &self,
        group: &str,
        offsets: Vec<(StreamId, PartitionIndex, Option<CommittedOffset>)>,
    ) -> Result<(), Error> {
        let entries: Vec<Entry> = offsets
            .into_iter()
            .map(|(stream, index, committed)| {
                let key: Key<'_> = (group, stream.0, index.0);
                (to_json(&key), committed.map(|committed| to_json(&committed)))
            })
            .collect();
        if entries.is_empty() {
            return Ok(());
        }
        let _no_expiry = self.inner.expiring_offsets.read().await;
        self.inner.groups_ledger.put(entries).await
    }

    /// Forgets the offsets of a group that were committed before `before_ms` (milliseconds since
    /// 1970), but for those that an open transaction may replace; says how many.
    ///
    /// # Errors
    /// The log's.
    pub(crate) async fn expire_offsets(&self, group: &str, before_ms: i64) -> Result<usize, Error> {
        // Nobody commits between the look at an offset and its end.
        let _no_commits = self.inner.expiring_offsets.write().await;
        let pending = self.pending_offsets(group);
        let committed = self.committed_offsets(group).into_iter();
        let old = committed
            .filter(|(place, offset)| offset.committed_ms < before_ms && !pending.contains(place));
        let entries: Vec<Entry> = old
            .map(|((stream, index), _)| (offset_key(&(group.to_owned(), stream, index)), None))
            .collect();
        let count = entries.len();
        if count > 0 {
            self.inner.groups_ledger.put(entries).await?;
        }
        Ok(count)
    }

    /// A group's committed offsets.
    #[must_use]
    pub(crate) fn committed_offsets(
        &self,
        group: &str,
    ) -> BTreeMap<(StreamId, PartitionIndex), CommittedOffset> {
        let mut prefix = vec![b'['];
        prefix.extend(to_json(&group));
        prefix.push(b',');
        let entries = self.inner.groups_ledger.scan(&prefix);
        entries
            .iter()
            .filter_map(|(key, value)| {
                let (_, stream, index): (String, Uuid, i32) = serde_json::from_slice(key).ok()?;
                let committed = serde_json::from_slice(value).ok()?;
                Some(((StreamId(stream), PartitionIndex(index)), committed))
            })
            .collect()
    }

    /// Groups that have committed offsets.
    #[must_use]
    pub(crate) fn groups(&self) -> Vec<String> {
        let keys = self.inner.groups_ledger.scan(b"[");
        let names: BTreeSet<String> = keys
            .iter()
            .filter_map(|(key, _)| serde_json::from_slice::<(String, Uuid, i32)>(key).ok())
            .map(|(group, ..)| group)
            .collect();
        names.into_iter().collect()
    }

    /// Remembers groups and members; durable when this returns.
    ///
    /// # Errors
    /// The log's.
    pub(crate) async fn save_groups(&self, entries: Vec<GroupEntry>) -> Result<(), Error> {
        if entries.is_empty() {
            return Ok(());
        }
        let entries = entries.into_iter().map(|GroupEntry { group, member, value }| {
            (to_json(&MemberKey { group, member }), value)
        });
        self.inner.groups_ledger.put(entries.collect()).await
    }

    /// Everything that [`Self::save_groups`] was given and did not remove again.
    #[must_use]
    pub(crate) fn saved_groups(&self) -> Vec<GroupEntry> {
        let entries = self.inner.groups_ledger.scan(MEMBERS).into_iter();
        entries
            .filter_map(|(key, value)| {
                let MemberKey { group, member } = serde_json::from_slice(&key).ok()?;
                Some(GroupEntry { group, member, value: Some(value) })
            })
            .collect()
    }

    /// Removes all committed offsets of a dropped stream.
    pub(crate) async fn forget_offsets(&self, stream: StreamId) -> Result<(), Error> {
        let keys = self.inner.groups_ledger.scan(b"[");
        let entries: Vec<Entry> = keys
            .into_iter()
            .filter(|(key, _)| {
                serde_json::from_slice::<(String, Uuid, i32)>(key)
                    .is_ok_and(|(_, id, _)| id == stream.0)
            })
            .map(|(key, _)| (key, None))
            .collect();
        if entries.is_empty() {
            return Ok(());
        }
        self.inner.groups_ledger.put(entries).await
    }

    /// A producer id never given out before, not by an earlier start either.
    ///
    /// # Errors
    /// The log's.
    pub(crate) async fn new_producer_id(&self) -> Result<ProducerId, Error> {
        let mut block = self.inner.producer_ids.lock().await;
        if block.is_empty() {
            let ledger = &self.inner.transactions_ledger;
            let used = match ledger.get(PRODUCER_IDS_KEY) {
                None => 0,
                Some(json) => serde_json::from_slice::<i64>(&json).map_err(|error| {
                    Error::new(ErrorKind::Storage, format!("producer ids: {error}"))
                })?,
            };
            let end = used + PRODUCER_ID_BLOCK;
            ledger.put(vec![(PRODUCER_IDS_KEY.to_vec(), Some(to_json(&end)))]).await?;
            *block = used..end;
        }
        let id = block.start;
        block.start += 1;
        Ok(ProducerId(id))
    }
}
