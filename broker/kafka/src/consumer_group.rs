//! A consumer group of KIP-848: the broker assigns, members converge by heartbeats.
//!
//! ```text
//! subscriptions or topics change ──> group epoch + 1 ──> target assignment of that epoch
//! each heartbeat: the member gives up what is no longer its own (until it says that it has),
//!                 takes what is free, and is at the target's epoch when both are done
//! ```
//! No I/O, no clock, no randomness: time, topics and new member ids are passed in; what is to be
//! remembered comes back as [`Changes`]. Rules: KIP-848, and the answers of Kafka 4.3.
//!
//! Invariant: no partition is assigned to, or still being given up by, two members.

mod assign;
mod classic;
mod embedded;
mod heartbeat;
mod reconcile;
#[cfg(test)]
mod tests;

pub(crate) use assign::Assignor;
pub(crate) use heartbeat::{Heartbeat, HeartbeatError, Told};

use crate::classic_group::Moment;
use crate::settings::Migration;
use kafka_protocol::error::ResponseError;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use uuid::Uuid;

/// Partitions by topic id. No topic without a partition.
pub(crate) type Partitions = BTreeMap<Uuid, BTreeSet<i32>>;

/// All topics that groups may subscribe to: name, id, number of partitions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Topics(pub(crate) BTreeMap<String, (Uuid, i32)>);

/// A member that joins.
pub(crate) const JOINS: i32 = 0;
/// A member that leaves.
pub(crate) const LEAVES: i32 = -1;
/// A static member that leaves and will come back.
pub(crate) const LEAVES_FOR_NOW: i32 = -2;

/// How far a member is on its way to its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Progress {
    /// It has what it should have.
    Stable,
    /// It has to give up partitions first.
    Revoking,
    /// It waits for partitions that others have not given up yet.
    Waiting,
}

/// A member, as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) instance: Option<String>,
    pub(crate) rack: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) rebalance_ms: u32,
    pub(crate) topics: BTreeSet<String>,
    pub(crate) regex: Option<String>,
    /// The topics that its regular expression may find, as its client was last allowed to see
    /// them; `None` for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sees: Option<BTreeSet<String>>,
    pub(crate) assignor: Option<Assignor>,
    /// The epoch that the member is at; [`LEAVES_FOR_NOW`] while a static one is away.
    pub(crate) epoch: i32,
    /// The one before: a member whose answer was lost still has it.
    pub(crate) previous_epoch: i32,
    pub(crate) progress: Progress,
    /// What it has.
    pub(crate) assigned: Partitions,
    /// What it has still to give up.
    pub(crate) revoking: Partitions,
    /// What it should have.
    pub(crate) target: Partitions,
    /// Set if it speaks the classic protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) classic: Option<classic::Classic>,
    #[serde(skip)]
    expires: Moment,
    /// While it gives up partitions, or is to join again: until when it must have.
    #[serde(skip)]
    revoke_by: Option<Moment>,
}

impl Member {
    /// One that has said and been given nothing yet.
    fn new(instance: Option<String>) -> Self {
        Self {
            instance,
            rack: None,
            client_id: String::new(),
            client_host: String::new(),
            rebalance_ms: 0,
            topics: BTreeSet::new(),
            regex: None,
            sees: None,
            assignor: None,
            epoch: JOINS,
            previous_epoch: -1,
            progress: Progress::Stable,
            assigned: Partitions::new(),
            revoking: Partitions::new(),
            target: Partitions::new(),
            classic: None,
            expires: Moment::default(),
            revoke_by: None,
        }
    }
}

/// What is remembered of the group itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    /// Counts changes of what members want and of the topics.
    pub(crate) epoch: i32,
    /// Of the target assignment.
    pub(crate) target_epoch: i32,
    /// A hash of the subscribed topics that the epoch is for.
    topics: u64,
}

/// What is to be remembered of a change: members by id, `None` for who is gone.
pub(crate) type Changes = BTreeMap<String, Option<Member>>;

/// Time-outs that a group was given; `None` for the broker's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Timeouts {
    pub(crate) session_ms: Option<u32>,
    pub(crate) heartbeat_ms: Option<u32>,
}

/// Bounds that members are held to, by Kafka's names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) members: usize,
    /// `group.consumer.session.timeout.ms`
    pub(crate) session_ms: u32,
    /// `group.consumer.heartbeat.interval.ms`
    pub(crate) heartbeat_ms: u32,
    /// `group.consumer.migration.policy`
    pub(crate) migration: Migration,
}

#[derive(Debug)]
pub(crate) struct ConsumerGroup {
    pub(crate) head: Head,
    pub(crate) members: BTreeMap<String, Member>,
    /// Member ids of static members, by instance id.
    statics: HashMap<String, String>,
    /// The topics that regular expressions of members match.
    matches: BTreeMap<String, BTreeSet<String>>,
    /// The subscribed topics as they were when the target was computed.
    subscribed: Topics,
    /// The topics that were last looked at.
    seen: u64,
    limits: Limits,
    changes: Changes,
}

impl ConsumerGroup {
    /// A group without members.
    pub(crate) fn new(head: Head, limits: Limits) -> Self {
        Self {
            head,
            members: BTreeMap::new(),
            statics: HashMap::new(),
            matches: BTreeMap::new(),
            subscribed: Topics::default(),
            seen: 0,
            limits,
            changes: Changes::new(),
        }
    }

    /// Holds members to other bounds, from their next heartbeat on.
    pub(crate) fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Puts a remembered member back; its session begins anew.
    pub(crate) fn restore(&mut self, now: Moment, id: String, mut member: Member) {
        let session_ms = member.classic.as_ref().map(|classic| classic.session_ms);
        member.expires = now.plus(session_ms.unwrap_or(self.limits.session_ms));
        member.revoke_by =
            (member.progress == Progress::Revoking).then(|| now.plus(member.rebalance_ms));
        if let Some(instance) = &member.instance {
            self.statics.insert(instance.clone(), id.clone());
        }
        self.members.insert(id, member);
    }

    /// What changed since this was last called.
    pub(crate) fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    /// As Kafka's tools name it.
    pub(crate) fn state(&self) -> &'static str {
        if self.members.is_empty() {
            "Empty"
        } else if self.head.epoch > self.head.target_epoch {
            "Assigning"
        } else if self.members.values().all(|member| self.is_at_target(member)) {
            "Stable"
        } else {
            "Reconciling"
        }
    }

    fn is_at_target(&self, member: &Member) -> bool {
        member.progress == Progress::Stable
            && (member.epoch == self.head.target_epoch || member.epoch == LEAVES_FOR_NOW)
    }

    /// The assignor that most members prefer.
    pub(crate) fn assignor(&self) -> Assignor {
        let votes = |assignor| {
            self.members.values().filter(|member| member.assignor == Some(assignor)).count()
        };
        if votes(Assignor::Range) > votes(Assignor::Uniform) {
            Assignor::Range
        } else {
            Assignor::Uniform
        }
    }

    /// Names of the topics that a member is subscribed to.
    pub(crate) fn topics_of<'a>(&'a self, member: &'a Member) -> BTreeSet<&'a str> {
        let matched = member.regex.as_ref().and_then(|regex| self.matches.get(regex));
        let may_see = |name: &&String| member.sees.as_ref().is_none_or(|sees| sees.contains(*name));
        let matched = matched.into_iter().flatten().filter(may_see);
        let all = member.topics.iter().chain(matched);
        all.map(String::as_str).collect()
    }

    /// Checks that a commit comes from a member at its epoch. A group that nobody is in takes
    /// commits of any client that manages its partitions itself.
    pub(crate) fn check_commit(
        &self,
        member_id: &str,
        instance: Option<&str>,
        epoch: i32,
    ) -> Result<(), ResponseError> {
        if self.members.is_empty() && epoch < 0 {
            return Ok(());
        }
        let member = self.member(member_id, instance)?;
        match member.classic {
            _ if member.epoch == epoch => Ok(()),
            Some(_) => Err(ResponseError::IllegalGeneration),
            None => Err(ResponseError::StaleMemberEpoch),
        }
    }

    fn member(&self, id: &str, instance: Option<&str>) -> Result<&Member, ResponseError> {
        if let Some(instance) = instance
            && let Some(owner) = self.statics.get(instance)
            && owner != id
        {
            return Err(ResponseError::FencedInstanceId);
        }
        self.members.get(id).ok_or(ResponseError::UnknownMemberId)
    }

    /// Takes out whose time is up.
    pub(crate) fn tick(&mut self, now: Moment) {
        let late = |member: &Member| {
            member.expires <= now || member.revoke_by.is_some_and(|until| until <= now)
        };
        let gone: Vec<String> = self
            .members
            .iter()
            .filter(|(_, member)| late(member))
            .map(|(id, _)| id.clone())
            .collect();
        for id in &gone {
            tracing::info!(
                member = id,
                "a consumer did not keep its time and is taken out of its group"
            );
            self.remove(id);
        }
        if !gone.is_empty() {
            self.begin_epoch_of_the_rest();
        }
    }

    /// After members have gone: the next heartbeat computes a target for those who are left. If
    /// they go back to the classic protocol, that group's first rebalance gives them a generation.
    fn begin_epoch_of_the_rest(&mut self) {
        if !self.goes_back() {
            self.head.epoch += 1;
        }
    }

    /// Whether it is to become a classic group: all of its members speak that protocol.
    pub(crate) fn goes_back(&self) -> bool {
        self.limits.migration.allows_downgrade()
            && !self.members.is_empty()
            && self.members.values().all(|member| member.classic.is_some())
    }

    /// When [`Self::tick`] has something to do next.
    pub(crate) fn next_deadline(&self) -> Option<Moment> {
        let times = self.members.values();
        times
            .map(|member| member.revoke_by.map_or(member.expires, |at| at.min(member.expires)))
            .min()
    }

    /// Bytes that members make the broker remember.
    pub(crate) fn bytes(&self) -> usize {
        let members = self.members.iter();
        members
            .map(|(id, member)| {
                let topics: usize = member.topics.iter().map(String::len).sum();
                let count =
                    |partitions: &Partitions| partitions.values().map(BTreeSet::len).sum::<usize>();
                let partitions =
                    count(&member.assigned) + count(&member.revoking) + count(&member.target);
                id.len() + topics + 16 * partitions + 256
            })
            .sum()
    }

    fn remove(&mut self, id: &str) {
        if let Some(member) = self.members.remove(id) {
            if let Some(instance) = &member.instance
                && self.statics.get(instance).is_some_and(|owner| owner == id)
            {
                self.statics.remove(instance);
            }
            self.changes.insert(id.to_owned(), None);
        }
    }

    /// Notes that all members are to be remembered as they are now.
    pub(crate) fn remember_all(&mut self) {
        let ids: Vec<String> = self.members.keys().cloned().collect();
        ids.iter().for_each(|id| self.remember(id));
    }

    /// Notes that a member is to be remembered as it is now.
    fn remember(&mut self, id: &str) {
        self.changes.insert(id.to_owned(), self.members.get(id).cloned());
    }

    /// Looks at the topics anew if they changed, or members' interests did: matches regular
    /// expressions, and begins an epoch if what members are subscribed to is another now.
    fn look_at(&mut self, topics: &Topics, seen: u64) {
        let wanted: BTreeSet<&String> =
            self.members.values().filter_map(|member| member.regex.as_ref()).collect();
        let mut matches: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for regex in wanted {
            let known = self.matches.remove(regex).filter(|_| self.seen == seen);
            matches.insert(regex.clone(), known.unwrap_or_else(|| matching(regex, topics)));
        }
        self.matches = matches;
        self.seen = seen;
        let names: BTreeSet<&str> =
            self.members.values().flat_map(|member| self.topics_of(member)).collect();
        let found = names
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), *topics.0.get(name)?)))
            .collect();
        self.subscribed = Topics(found);
        let hash = hash(&self.subscribed);
        if hash != self.head.topics {
            self.head.topics = hash;
            self.head.epoch += 1;
        }
    }

    /// Computes the target of the newest epoch.
    fn retarget(&mut self, topics: &Topics, seen: u64) {
        if self.seen != seen || self.head.target_epoch < self.head.epoch {
            self.look_at(topics, seen);
        }
        if self.head.target_epoch >= self.head.epoch {
            return;
        }
        let targets = assign::assign(self);
        for (id, target) in targets {
            let member = self.members.get_mut(&id).expect("assigned to members only");
            if member.target != target {
                member.target = target;
                self.remember(&id);
            }
        }
        self.head.target_epoch = self.head.epoch;
    }
}

/// The expression that a topic's whole name has to match.
pub(crate) fn compile(regex: &str) -> Result<regex::Regex, regex::Error> {
    regex::RegexBuilder::new(&format!("^(?:{regex})$")).size_limit(1 << 20).build()
}

/// The same at each start, unless Rust's hasher changes: then groups begin an epoch more.
fn hash(topics: &Topics) -> u64 {
    if topics.0.is_empty() {
        return 0;
    }
    let mut hasher = DefaultHasher::new();
    topics.0.hash(&mut hasher);
    hasher.finish()
}

fn matching(regex: &str, topics: &Topics) -> BTreeSet<String> {
    // It was compiled when it was taken; one that no longer can be matches nothing.
    let Ok(regex) = compile(regex) else { return BTreeSet::new() };
    topics.0.keys().filter(|name| regex.is_match(name)).cloned().collect()
}
