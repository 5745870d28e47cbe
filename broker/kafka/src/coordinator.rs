//! All groups of the broker, their clock, and the requests that wait for them.
//!
//! What must outlive a restart is written to the engine before anybody is told of it: members
//! then go on where they were, as nobody but they can say what was assigned to them.

mod groups;
mod saved;
#[cfg(test)]
mod tests;

use crate::answer::{group_timeouts, topic_defaults};
use crate::classic_group::{
    CommitOf, Effect, Group, Identity, Join, JoinError, Joined, Moment, State, Sync, Synced, Waiter,
};
use crate::consumer_group::{ConsumerGroup, Heartbeat, HeartbeatError, Timeouts, Told, Topics};
use crate::errors::own;
use crate::settings::GroupSettings;
use anabranch_engine::{Resource, Session};
use bytes::Bytes;
use groups::{Groups, Kind, Outcome, Reply, Save};
use kafka_protocol::error::ResponseError;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// How often old offsets, and groups that nobody is in and that have none, are forgotten
/// (`offsets.retention.check.interval.ms`).
const FORGET_EVERY: Duration = Duration::from_secs(600);

pub(crate) struct Coordinator {
    engine: Session,
    state: Mutex<Groups>,
    /// The next deadline may have come nearer.
    nearer: Notify,
    /// There is something to save.
    unsaved: Notify,
    started: Instant,
    pub(crate) settings: GroupSettings,
}

/// A classic group as tools show it.
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
    /// The newest it was given.
    pub(crate) assignment: Bytes,
}

/// A group in a list.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) name: String,
    pub(crate) protocol_type: String,
    pub(crate) state: &'static str,
    /// "classic" or "consumer" (KIP-848).
    pub(crate) kind: &'static str,
}

/// What members of a group want.
#[derive(Debug)]
pub(crate) enum Interests {
    /// What each member of a classic group says about itself.
    Classic(Vec<Bytes>),
    /// Topics.
    Consumer(BTreeSet<String>),
}

impl Coordinator {
    /// With the groups that the engine remembers.
    pub(crate) fn new(settings: GroupSettings, engine: Session) -> Self {
        let mut groups = Groups::new(settings);
        for name in own(engine.resources(Resource::Group)) {
            groups.configure(&name, group_timeouts(&engine, &name));
        }
        groups.restore(engine.saved_groups());
        own(engine.set_stream_defaults(topic_defaults(&engine)));
        Self {
            engine,
            state: Mutex::new(groups),
            nearer: Notify::new(),
            unsaved: Notify::new(),
            started: Instant::now(),
            settings,
        }
    }

    /// Expires what is due, and saves what has changed, for ever.
    pub(crate) async fn run(&self) {
        tokio::join!(self.expire(), self.save(), self.forget());
    }

    async fn expire(&self) {
        loop {
            let next = self.expire_due();
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

    fn expire_due(&self) -> Option<Moment> {
        let mut groups = self.groups();
        let now = self.now();
        loop {
            match groups.next_due(now) {
                Ok(name) => self.change(&mut groups, &name, |groups, name| groups.tick(name, now)),
                Err(next) => return next,
            }
        }
    }

    /// Writes what is to be remembered, as much at a time as has gathered, and tells who waits.
    async fn save(&self) {
        loop {
            let mut saves = std::mem::take(&mut self.state.lock().saves);
            if saves.is_empty() {
                self.unsaved.notified().await;
                continue;
            }
            let entries = saves.iter_mut().flat_map(|save| std::mem::take(&mut save.entries));
            let result = self.engine.save_groups(entries.collect()).await;
            if let Err(error) = &result {
                tracing::warn!(%error, "members of groups were not saved");
            }
            let mut groups = self.state.lock();
            for save in saves {
                groups.saved(save, result.is_ok());
            }
        }
    }

    async fn forget(&self) {
        loop {
            tokio::time::sleep(FORGET_EVERY).await;
            self.forget_once().await;
        }
    }

    async fn forget_once(&self) {
        let old_ms = self.engine.now().0.saturating_sub(self.settings.offsets_retention_ms);
        for name in self.engine.groups() {
            // Of a group with members nothing is old, and of another nothing before it was left
            // for long enough.
            let is_left = self.state.lock().empty_since_ms(&name).is_none_or(|at| at < old_ms);
            if !is_left {
                continue;
            }
            match self.engine.expire_offsets(&name, old_ms).await {
                Ok(0) => {}
                Ok(count) => tracing::info!(group = name, count, "old offsets are forgotten"),
                Err(error) => {
                    tracing::warn!(group = name, %error, "old offsets were not forgotten")
                }
            }
        }
        let mut groups = self.state.lock();
        for name in groups.vacant() {
            if self.engine.committed_offsets(&name).is_empty() {
                groups.remove(&name, None);
            }
        }
        drop(groups);
        self.unsaved.notify_one();
    }

    /// Joins a classic group, and waits for the rebalance's end.
    pub(crate) async fn join(&self, name: &str, join: Join) -> Result<Joined, JoinError> {
        let member_id = join.member_id.clone();
        let (sender, receiver) = oneshot::channel();
        let waiter = {
            let mut groups = self.groups();
            if groups.is_full(name) {
                drop(groups);
                return Err(JoinError { error: too_many(name), member_id });
            }
            let now = self.now();
            if groups.is_joint(name) {
                Err(join)
            } else {
                if let Err(error) = groups.classic(name) {
                    return Err(JoinError { error, member_id });
                }
                let waiter = groups.wait(Reply::Join(sender));
                self.change_classic(&mut groups, name, |group, effects| {
                    group.join(now, join, waiter, effects);
                });
                Ok(waiter)
            }
        };
        let waiter = match waiter {
            Ok(waiter) => waiter,
            Err(join) => return self.join_consumers(name, join).await,
        };
        let _abandon = Abandon { coordinator: self, name, waiter };
        let gone = || JoinError { error: ResponseError::CoordinatorNotAvailable, member_id };
        receiver.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Joins a consumer group with the classic protocol.
    async fn join_consumers(&self, name: &str, join: Join) -> Result<Joined, JoinError> {
        let member_id = join.member_id.clone();
        let gone = move || JoinError { error: ResponseError::CoordinatorNotAvailable, member_id };
        let mut result = None;
        let receiver = {
            let mut groups = self.groups();
            let now = self.now();
            let (sender, receiver) = oneshot::channel();
            self.change(&mut groups, name, |groups, name| {
                result = groups.in_consumer(name, |group, topics, seen| {
                    group.join_classic(now, join, topics, seen)
                });
                groups.downgrade(name, now);
                Outcome { done: Some(sender), ..Outcome::default() }
            });
            receiver
        };
        match (receiver.await, result) {
            (Ok(true), Some(result)) => result,
            // It was left, or not saved, a moment ago: to ask again is right.
            (Ok(_) | Err(_), _) => Err(gone()),
        }
    }

    /// What a classic member of a consumer group asks; `None` if it is no such group.
    fn ask_consumers<T>(
        &self,
        groups: &mut Groups,
        name: &str,
        ask: impl FnOnce(&mut ConsumerGroup, &Topics, u64) -> T,
    ) -> Option<T> {
        if !groups.is_joint(name) {
            return None;
        }
        let (mut result, now) = (None, self.now());
        self.change(groups, name, |groups, name| {
            result = groups.in_consumer(name, ask);
            groups.downgrade(name, now);
            Outcome::default()
        });
        result
    }

    /// Waits for the leader's assignment.
    pub(crate) async fn sync(&self, name: &str, sync: Sync<'_>) -> Result<Synced, ResponseError> {
        let (sender, receiver) = oneshot::channel();
        let waiter = {
            let mut groups = self.groups();
            let now = self.now();
            let ask = |group: &mut ConsumerGroup, topics: &Topics, _| {
                group.sync_classic(now, &sync, topics)
            };
            if let Some(result) = self.ask_consumers(&mut groups, name, ask) {
                return result;
            }
            if groups.known_classic(name).is_none() {
                return Err(ResponseError::UnknownMemberId);
            }
            let waiter = groups.wait(Reply::Sync(sender));
            self.change_classic(&mut groups, name, |group, effects| {
                group.sync(now, sync, waiter, effects);
            });
            waiter
        };
        let _abandon = Abandon { coordinator: self, name, waiter };
        receiver.await.unwrap_or(Err(ResponseError::CoordinatorNotAvailable))
    }

    /// A classic member's heartbeat.
    pub(crate) fn heartbeat(
        &self,
        name: &str,
        who: Identity<'_>,
        generation: i32,
    ) -> Result<(), ResponseError> {
        let now = self.now();
        // A heartbeat only moves deadlines away: the one that is scheduled will see.
        if let Some(group) = self.state.lock().known_classic(name) {
            return group.heartbeat(now, who, generation);
        }
        let ask = |group: &mut ConsumerGroup, topics: &Topics, seen| {
            group.heartbeat_classic(now, who, generation, topics, seen)
        };
        let asked = self.ask_consumers(&mut self.groups(), name, ask);
        asked.unwrap_or(Err(ResponseError::UnknownMemberId))
    }

    /// Takes a classic member out.
    pub(crate) fn leave(&self, name: &str, who: Identity<'_>) -> Result<(), ResponseError> {
        let mut groups = self.groups();
        if groups.known_classic(name).is_none() {
            let ask = |group: &mut ConsumerGroup, _: &Topics, _| group.leave_classic(who);
            let asked = self.ask_consumers(&mut groups, name, ask);
            return asked.unwrap_or(Err(ResponseError::UnknownMemberId));
        }
        let mut result = Ok(());
        let now = self.now();
        self.change_classic(&mut groups, name, |group, effects| {
            result = group.leave(now, who, effects);
        });
        result
    }

    /// Hears a member of a consumer group (KIP-848).
    pub(crate) async fn consumer_heartbeat(
        &self,
        name: &str,
        heartbeat: Heartbeat,
    ) -> Result<Told, HeartbeatError> {
        let mut result = Err(HeartbeatError::new(
            ResponseError::GroupIdNotFound,
            "there is no such group of the consumer protocol",
        ));
        let receiver = {
            let mut groups = self.groups();
            let now = self.now();
            if groups.is_full(name) {
                let message = "there are too many groups or members to take more";
                return Err(HeartbeatError::new(too_many(name), message));
            }
            let mut effects = Vec::new();
            if !groups.consumer(name, heartbeat.epoch, now, &mut effects) {
                return result;
            }
            let (sender, receiver) = oneshot::channel();
            self.change(&mut groups, name, |groups, name| {
                result = groups.heartbeat(name, now, heartbeat);
                groups.downgrade(name, now);
                Outcome { done: Some(sender), effects }
            });
            receiver
        };
        // Without anything to save, it is answered already.
        match receiver.await {
            Ok(true) => result,
            Ok(false) | Err(_) => Err(HeartbeatError::new(
                ResponseError::CoordinatorNotAvailable,
                "the group's state cannot be saved: see the broker's log",
            )),
        }
    }

    /// Gives a group time-outs of its own.
    pub(crate) fn configure(&self, name: &str, timeouts: Timeouts) {
        self.state.lock().configure(name, timeouts);
    }

    /// Checks that a commit comes from who may make it. A group that nobody is in takes commits
    /// of any client that manages its partitions itself.
    pub(crate) fn check_commit(
        &self,
        name: &str,
        who: Identity<'_>,
        generation: i32,
        of: CommitOf,
    ) -> Result<(), ResponseError> {
        let now = self.now();
        let mut groups = self.state.lock();
        match groups.known(name) {
            Some(Kind::Classic(group)) => group.check_commit(now, who, generation, of),
            Some(Kind::Consumer(group)) => {
                group.check_commit(who.member_id, who.instance, generation)
            }
            None if generation < 0 => Ok(()),
            None if !self.engine.committed_offsets(name).is_empty() => {
                Err(ResponseError::UnknownMemberId)
            }
            None => Err(ResponseError::IllegalGeneration),
        }
    }

    /// Checks that who asks for offsets is a member at its epoch, of a consumer group.
    pub(crate) fn check_fetch(
        &self,
        name: &str,
        member_id: &str,
        epoch: i32,
    ) -> Result<(), ResponseError> {
        match self.state.lock().known(name) {
            Some(Kind::Consumer(group)) => group.check_commit(member_id, None, epoch),
            Some(Kind::Classic(_)) | None => Ok(()),
        }
    }

    /// Whether anybody is in the group; `None` if there is no such group.
    pub(crate) fn has_members(&self, name: &str) -> Option<bool> {
        let mut groups = self.state.lock();
        Some(match groups.known(name)? {
            Kind::Classic(group) => !group.members.is_empty(),
            Kind::Consumer(group) => !group.members.is_empty(),
        })
    }

    /// What members want, for looking up their topics.
    pub(crate) fn interests(&self, name: &str) -> Interests {
        match self.state.lock().known(name) {
            None => Interests::Classic(Vec::new()),
            Some(Kind::Classic(group)) => {
                let members = group.members.values();
                let metadata = members.map(|member| member.metadata(&group.protocol));
                Interests::Classic(metadata.collect())
            }
            Some(Kind::Consumer(group)) => {
                let members = group.members.values();
                let topics = members.flat_map(|member| group.topics_of(member));
                Interests::Consumer(topics.map(str::to_owned).collect())
            }
        }
    }

    /// Forgets a group that nobody is in; durable when this returns.
    pub(crate) async fn delete(&self, name: &str) -> Result<(), ResponseError> {
        let receiver = {
            let mut groups = self.state.lock();
            let (sender, receiver) = oneshot::channel();
            groups.remove(name, Some(sender));
            receiver
        };
        self.unsaved.notify_one();
        match receiver.await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(ResponseError::CoordinatorNotAvailable),
        }
    }

    /// A classic group; `Some(Err)` for one of another kind.
    pub(crate) fn describe(&self, name: &str) -> Option<Result<Described, ResponseError>> {
        let mut groups = self.state.lock();
        let group = match groups.known(name)? {
            Kind::Classic(group) => group,
            Kind::Consumer(_) => return Some(Err(ResponseError::GroupIdNotFound)),
        };
        let stable = group.state == State::Stable;
        let members = group.members.iter().map(|(id, member)| DescribedMember {
            id: id.clone(),
            instance: member.instance.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: if stable { member.metadata(&group.protocol) } else { Bytes::new() },
            assignment: member.assignment.clone(),
        });
        Some(Ok(Described {
            state: group.state.name(),
            protocol_type: group.protocol_type.clone(),
            protocol: if stable { group.protocol.clone() } else { String::new() },
            members: members.collect(),
        }))
    }

    /// Looks at a consumer group.
    pub(crate) fn describe_consumer<T>(
        &self,
        name: &str,
        look: impl FnOnce(&ConsumerGroup) -> T,
    ) -> Option<T> {
        match self.state.lock().known(name)? {
            Kind::Consumer(group) => Some(look(group)),
            Kind::Classic(_) => None,
        }
    }

    /// All groups that somebody is or was in.
    pub(crate) fn list(&self) -> Vec<Listed> {
        self.state.lock().list()
    }

    fn now(&self) -> Moment {
        let ms = self.started.elapsed().as_millis();
        Moment(u64::try_from(ms).unwrap_or(u64::MAX))
    }

    /// The groups, with the topics as they are now.
    fn groups(&self) -> parking_lot::MutexGuard<'_, Groups> {
        let catalog = self.engine.catalog();
        let mut groups = self.state.lock();
        groups.see(catalog);
        groups.now_ms = self.engine.now().0;
        groups
    }

    fn change_classic(
        &self,
        groups: &mut Groups,
        name: &str,
        change: impl FnOnce(&mut Group, &mut Vec<Effect>),
    ) {
        self.change(groups, name, |groups, name| {
            let mut outcome = Outcome::default();
            if let Some(group) = groups.known_classic(name) {
                change(group, &mut outcome.effects);
            }
            outcome
        });
    }

    /// Changes a group, has it saved, schedules its next deadline, and tells who waits.
    fn change(
        &self,
        groups: &mut Groups,
        name: &str,
        change: impl FnOnce(&mut Groups, &str) -> Outcome,
    ) {
        let outcome = change(groups, name);
        if groups.settle(name) {
            self.nearer.notify_one();
        }
        let save = Save::new(groups.take_unsaved(name), name, outcome);
        if save.entries.is_empty() {
            groups.saved(save, true);
        } else {
            groups.saves.push(save);
            self.unsaved.notify_one();
        }
    }
}

fn too_many(group: &str) -> ResponseError {
    tracing::warn!(group, "there are too many groups or members to take more");
    ResponseError::GroupMaxSizeReached
}

/// Takes a request back when its connection ends before it is answered.
struct Abandon<'a> {
    coordinator: &'a Coordinator,
    name: &'a str,
    waiter: Waiter,
}

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        let mut groups = self.coordinator.groups();
        if groups.waiting.remove(&self.waiter).is_none() {
            return;
        }
        let (waiter, now) = (self.waiter, self.coordinator.now());
        self.coordinator.change_classic(&mut groups, self.name, |group, _| {
            group.abandon(now, waiter);
        });
    }
}
