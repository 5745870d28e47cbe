//! All groups of the broker, their clock, and the requests that wait for them.
//!
//! Membership lives in memory: after a restart members are told that they are unknown and join
//! anew. Committed offsets are the engine's, and durable.

use crate::group::{
    Effect, Group, Identity, Join, JoinError, Joined, Limits, Moment, State, Sync, Synced, Waiter,
};
use crate::limits::{GROUP_MEMBERS_MAX, GROUPS_BYTES_MAX, GROUPS_MAX};
use crate::settings::GroupSettings;
use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use parking_lot::Mutex;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

pub(crate) struct Coordinator {
    state: Mutex<Groups>,
    /// The next deadline may have come nearer.
    nearer: Notify,
    started: Instant,
    pub(crate) settings: GroupSettings,
}

#[derive(Default)]
struct Groups {
    groups: BTreeMap<String, Entry>,
    waiting: HashMap<Waiter, Reply>,
    waiters: u64,
    /// Deadlines to look at; a group's newest is in its entry, older ones are ignored.
    deadlines: BinaryHeap<Reverse<(Moment, String)>>,
    /// What members make us remember, of all groups.
    bytes: usize,
}

struct Entry {
    group: Group,
    scheduled: Option<Moment>,
    bytes: usize,
}

enum Reply {
    Join(oneshot::Sender<Result<Joined, JoinError>>),
    Sync(oneshot::Sender<Result<Synced, ResponseError>>),
}

/// A group as tools show it.
#[derive(Debug, Default)]
pub(crate) struct Described {
    pub(crate) state: &'static str,
    pub(crate) protocol_type: String,
    pub(crate) protocol: String,
    pub(crate) members: Vec<DescribedMember>,
}

#[derive(Debug)]
pub(crate) struct DescribedMember {
    pub(crate) id: String,
    pub(crate) instance: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    /// Of the group's protocol; empty unless the group is stable.
    pub(crate) metadata: Bytes,
    pub(crate) assignment: Bytes,
}

impl Coordinator {
    pub(crate) fn new(settings: GroupSettings) -> Self {
        Self { state: Mutex::default(), nearer: Notify::new(), started: Instant::now(), settings }
    }

    /// Expires what is due, for ever.
    pub(crate) async fn run(&self) {
        loop {
            let next = self.expire();
            let nearer = self.nearer.notified();
            match next {
                None => nearer.await,
                Some(at) => {
                    let at = self.started + Duration::from_millis(at.0);
                    tokio::select! {
                        () = tokio::time::sleep_until(at) => {}
                        () = nearer => {}
                    }
                }
            }
        }
    }

    /// Joins, and waits for the rebalance's end.
    pub(crate) async fn join(&self, name: &str, join: Join) -> Result<Joined, JoinError> {
        let member_id = join.member_id.clone();
        let (sender, receiver) = oneshot::channel();
        let waiter = {
            let mut groups = self.state.lock();
            let full = groups.bytes > GROUPS_BYTES_MAX
                || (groups.groups.len() >= GROUPS_MAX && !groups.groups.contains_key(name));
            if full {
                drop(groups);
                tracing::warn!(group = name, "there are too many groups or members to take more");
                return Err(JoinError { error: ResponseError::GroupMaxSizeReached, member_id });
            }
            let waiter = groups.wait(Reply::Join(sender));
            self.change(&mut groups, name, |group, now, effects| {
                group.join(now, join, waiter, effects);
            });
            waiter
        };
        let _abandon = Abandon { coordinator: self, name, waiter };
        let gone = || JoinError { error: ResponseError::CoordinatorNotAvailable, member_id };
        receiver.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Waits for the leader's assignment.
    pub(crate) async fn sync(&self, name: &str, sync: Sync<'_>) -> Result<Synced, ResponseError> {
        let (sender, receiver) = oneshot::channel();
        let waiter = {
            let mut groups = self.state.lock();
            if !groups.groups.contains_key(name) {
                return Err(ResponseError::UnknownMemberId);
            }
            let waiter = groups.wait(Reply::Sync(sender));
            self.change(&mut groups, name, |group, now, effects| {
                group.sync(now, sync, waiter, effects);
            });
            waiter
        };
        let _abandon = Abandon { coordinator: self, name, waiter };
        receiver.await.unwrap_or(Err(ResponseError::CoordinatorNotAvailable))
    }

    pub(crate) fn heartbeat(
        &self,
        name: &str,
        who: Identity<'_>,
        generation: i32,
    ) -> Result<(), ResponseError> {
        let now = self.now();
        let mut groups = self.state.lock();
        // A heartbeat only moves deadlines away: the one that is scheduled will see.
        match groups.groups.get_mut(name) {
            Some(entry) => entry.group.heartbeat(now, who, generation),
            None => Err(ResponseError::UnknownMemberId),
        }
    }

    pub(crate) fn leave(&self, name: &str, who: Identity<'_>) -> Result<(), ResponseError> {
        let mut groups = self.state.lock();
        if !groups.groups.contains_key(name) {
            return Err(ResponseError::UnknownMemberId);
        }
        let mut result = Ok(());
        self.change(&mut groups, name, |group, now, effects| {
            result = group.leave(now, who, effects);
        });
        result
    }

    /// Checks that a commit comes from who may make it. A group that nobody is in takes commits
    /// of any client that manages its partitions itself.
    pub(crate) fn check_commit(
        &self,
        name: &str,
        who: Identity<'_>,
        generation: i32,
    ) -> Result<(), ResponseError> {
        let now = self.now();
        let mut groups = self.state.lock();
        match groups.groups.get_mut(name) {
            Some(entry) => entry.group.check_commit(now, who, generation),
            None if generation < 0 => Ok(()),
            None => Err(ResponseError::IllegalGeneration),
        }
    }

    /// Whether anybody is in the group.
    pub(crate) fn has_members(&self, name: &str) -> bool {
        let groups = self.state.lock();
        groups.groups.get(name).is_some_and(|entry| !entry.group.members.is_empty())
    }

    /// Metadata of all members of a group of consumers, for looking up their topics.
    pub(crate) fn subscriptions(&self, name: &str) -> Vec<Bytes> {
        let groups = self.state.lock();
        let Some(entry) = groups.groups.get(name) else { return Vec::new() };
        let group = &entry.group;
        let members = group.members.values();
        members.map(|member| member.metadata(&group.protocol)).collect()
    }

    pub(crate) fn describe(&self, name: &str) -> Option<Described> {
        let groups = self.state.lock();
        let group = &groups.groups.get(name)?.group;
        let stable = group.state == State::Stable;
        let members = group.members.iter().map(|(id, member)| DescribedMember {
            id: id.clone(),
            instance: member.instance.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: if stable { member.metadata(&group.protocol) } else { Bytes::new() },
            assignment: if stable { member.assignment.clone() } else { Bytes::new() },
        });
        Some(Described {
            state: group.state.name(),
            protocol_type: group.protocol_type.clone(),
            protocol: if stable { group.protocol.clone() } else { String::new() },
            members: members.collect(),
        })
    }

    /// Groups with members: name, protocol type, state.
    pub(crate) fn list(&self) -> Vec<(String, String, &'static str)> {
        let groups = self.state.lock();
        let all = groups.groups.iter();
        all.map(|(name, entry)| {
            (name.clone(), entry.group.protocol_type.clone(), entry.group.state.name())
        })
        .collect()
    }

    fn now(&self) -> Moment {
        let ms = self.started.elapsed().as_millis();
        Moment(u64::try_from(ms).unwrap_or(u64::MAX))
    }

    fn change(
        &self,
        groups: &mut Groups,
        name: &str,
        change: impl FnOnce(&mut Group, Moment, &mut Vec<Effect>),
    ) {
        let limits =
            Limits { members: GROUP_MEMBERS_MAX, initial_delay_ms: self.settings.initial_delay_ms };
        if groups.change(name, limits, self.now(), change) {
            self.nearer.notify_one();
        }
    }

    fn expire(&self) -> Option<Moment> {
        let mut groups = self.state.lock();
        let now = self.now();
        while let Some(Reverse((at, name))) = groups.deadlines.peek() {
            if *at > now {
                return Some(*at);
            }
            let (at, name) = (*at, name.clone());
            groups.deadlines.pop();
            let Some(entry) = groups.groups.get_mut(&name) else { continue };
            if entry.scheduled != Some(at) {
                continue;
            }
            entry.scheduled = None;
            self.change(&mut groups, &name, |group, now, effects| group.tick(now, effects));
        }
        None
    }
}

impl Groups {
    fn wait(&mut self, reply: Reply) -> Waiter {
        self.waiters += 1;
        let waiter = Waiter(self.waiters);
        self.waiting.insert(waiter, reply);
        waiter
    }

    /// Changes a group, tells who waits, and says whether a nearer deadline was scheduled.
    fn change(
        &mut self,
        name: &str,
        limits: Limits,
        now: Moment,
        change: impl FnOnce(&mut Group, Moment, &mut Vec<Effect>),
    ) -> bool {
        if !self.groups.contains_key(name) {
            let entry = Entry { group: Group::new(limits), scheduled: None, bytes: 0 };
            self.groups.insert(name.to_owned(), entry);
        }
        let entry = self.groups.get_mut(name).expect("it was just put there");
        let mut effects = Vec::new();
        change(&mut entry.group, now, &mut effects);
        self.bytes -= entry.bytes;
        entry.bytes = entry.group.bytes();
        self.bytes += entry.bytes;
        let deadline = entry.group.next_deadline();
        let nearer = deadline.filter(|&at| entry.scheduled.is_none_or(|known| at < known));
        if let Some(at) = nearer {
            entry.scheduled = Some(at);
            self.deadlines.push(Reverse((at, name.to_owned())));
        }
        if entry.group.is_forgettable() {
            self.groups.remove(name);
        }
        for effect in effects {
            self.tell(effect);
        }
        nearer.is_some()
    }

    /// Whoever asked may be gone by now; then there is nobody to tell.
    fn tell(&mut self, effect: Effect) {
        match effect {
            Effect::Joined(waiter, answer) => {
                if let Some(Reply::Join(sender)) = self.waiting.remove(&waiter) {
                    let _ = sender.send(answer);
                }
            }
            Effect::Synced(waiter, answer) => {
                if let Some(Reply::Sync(sender)) = self.waiting.remove(&waiter) {
                    let _ = sender.send(answer);
                }
            }
        }
    }
}

/// Takes a request back when its connection ends before it is answered.
struct Abandon<'a> {
    coordinator: &'a Coordinator,
    name: &'a str,
    waiter: Waiter,
}

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        let mut groups = self.coordinator.state.lock();
        if groups.waiting.remove(&self.waiter).is_none() || !groups.groups.contains_key(self.name) {
            return;
        }
        let waiter = self.waiter;
        self.coordinator.change(&mut groups, self.name, |group, now, _| {
            group.abandon(now, waiter);
        });
    }
}
