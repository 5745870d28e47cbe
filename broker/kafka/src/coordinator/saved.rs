//! What the engine remembers of groups: an entry for the group, one for each member. JSON, as
//! everything of the broker's own, so that `anabranch log dump` shows it.

use super::groups::Kind;
use crate::classic_group::{self, Group, Moment};
use crate::consumer_group::{self, ConsumerGroup};
use anabranch_engine::GroupEntry;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What is remembered of a group itself.
#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    #[serde(flatten)]
    head: Head,
    /// Since when nobody is in it, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    empty_since_ms: Option<i64>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Head {
    Classic(classic_group::SavedGroup),
    Consumer(consumer_group::Head),
}

/// A group's entries.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    pub(super) head: Option<Vec<u8>>,
    pub(super) members: BTreeMap<String, Vec<u8>>,
}

/// The head, and members by id; `None` for who is gone.
type Written = (Vec<u8>, BTreeMap<String, Option<Vec<u8>>>);

/// Entries by group.
pub(super) fn read(entries: Vec<GroupEntry>) -> BTreeMap<String, Remembered> {
    let mut groups: BTreeMap<String, Remembered> = BTreeMap::new();
    for entry in entries {
        let group = groups.entry(entry.group).or_default();
        match (entry.member, entry.value) {
            (_, None) => {}
            (None, Some(head)) => group.head = Some(head),
            (Some(member), Some(value)) => {
                group.members.insert(member, value);
            }
        }
    }
    groups
}

impl Remembered {
    /// The group as it was; sessions begin anew.
    pub(super) fn restore(
        &self,
        classic: classic_group::Limits,
        consumer: consumer_group::Limits,
    ) -> Result<Kind, serde_json::Error> {
        let head = self.head.as_deref().unwrap_or_default();
        let now = Moment::default();
        Ok(match serde_json::from_slice::<Saved>(head)?.head {
            Head::Classic(head) => {
                let members = self.members.iter();
                let members = members
                    .map(|(id, value)| Ok((id.clone(), serde_json::from_slice(value)?)))
                    .collect::<Result<_, serde_json::Error>>()?;
                Kind::Classic(Group::restore(classic, now, head, members))
            }
            Head::Consumer(head) => {
                let mut group = ConsumerGroup::new(head, consumer);
                for (id, value) in &self.members {
                    group.restore(now, id.clone(), serde_json::from_slice(value)?);
                }
                Kind::Consumer(group)
            }
        })
    }
}

/// Since when nobody is in a group, of which this is remembered.
pub(super) fn empty_since_ms(head: Option<&[u8]>) -> Option<i64> {
    serde_json::from_slice::<Saved>(head?).ok()?.empty_since_ms
}

/// All of a classic group, if it is to be saved. `saved` are the members that are remembered.
pub(super) fn write_classic(
    group: &mut Group,
    saved: &BTreeSet<String>,
    empty_since_ms: Option<i64>,
) -> Option<Written> {
    let (head, members) = group.take_unsaved()?;
    let mut written: BTreeMap<String, Option<Vec<u8>>> =
        saved.iter().map(|id| (id.clone(), None)).collect();
    written.extend(members.into_iter().map(|(id, member)| (id, Some(json(&member)))));
    let head = Head::Classic(head);
    Some((json(&Saved { head, empty_since_ms }), written))
}

/// What has changed of a consumer group.
pub(super) fn write_consumer(group: &mut ConsumerGroup, empty_since_ms: Option<i64>) -> Written {
    let changes = group.take_changes().into_iter();
    let members = changes.map(|(id, member)| (id, member.map(|member| json(&member))));
    let members = members.collect();
    let head = Head::Consumer(group.head);
    (json(&Saved { head, empty_since_ms }), members)
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("maps have text for keys, and memory does not fail")
}
