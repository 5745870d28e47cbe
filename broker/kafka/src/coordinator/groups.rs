//! The groups, who waits for them, and what of them is not saved yet.

use super::saved::{empty_since_ms, read, write_classic, write_consumer};
use super::{Listed, ResponseError};
use crate::classic_group::{self, Effect, Group, JoinError, Joined, Moment, Synced, Waiter};
use crate::consumer_group::{
    self, ConsumerGroup, Head, Heartbeat, HeartbeatError, JOINS, Timeouts, Told, Topics,
};
use crate::limits::{GROUP_MEMBERS_MAX, GROUPS_BYTES_MAX, GROUPS_MAX};
use crate::settings::GroupSettings;
use anabranch_engine::{Catalog, GroupEntry};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::sync::Arc;
use tokio::sync::oneshot;

pub(super) struct Groups {
    groups: BTreeMap<String, Entry>,
    pub(super) waiting: HashMap<Waiter, Reply>,
    waiters: u64,
    /// Deadlines to look at; a group's newest is in its entry, older ones are ignored.
    deadlines: BinaryHeap<Reverse<(Moment, String)>>,
    /// What members make us remember, of all groups.
    bytes: usize,
    /// In the order in which they were made.
    pub(super) saves: Vec<Save>,
    catalog: Option<Arc<Catalog>>,
    topics: Topics,
    /// Counts the catalogs that were seen.
    seen: u64,
    settings: GroupSettings,
    /// Milliseconds since 1970, as the last change saw them.
    pub(super) now_ms: i64,
    /// Of groups that were given their own.
    timeouts: BTreeMap<String, Timeouts>,
}

struct Entry {
    kind: Kind,
    scheduled: Option<Moment>,
    bytes: usize,
    /// Members that the engine remembers.
    saved: BTreeSet<String>,
    /// What it remembers of the group itself.
    head: Option<Vec<u8>>,
    /// Since when nobody is in it, in milliseconds since 1970.
    empty_since_ms: Option<i64>,
}

#[derive(Debug)]
pub(super) enum Kind {
    Classic(Group),
    Consumer(ConsumerGroup),
}

impl Kind {
    /// Whether nobody is in it, nor about to be.
    fn is_vacant(&self) -> bool {
        match self {
            Self::Classic(group) => group.is_vacant(),
            Self::Consumer(group) => group.members.is_empty(),
        }
    }
}

pub(super) enum Reply {
    Join(oneshot::Sender<Result<Joined, JoinError>>),
    Sync(oneshot::Sender<Result<Synced, ResponseError>>),
}

/// What comes of a change, and is told when the change is saved.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) effects: Vec<Effect>,
    pub(super) done: Option<oneshot::Sender<bool>>,
}

/// A change on its way to the engine.
pub(super) struct Save {
    name: String,
    pub(super) entries: Vec<GroupEntry>,
    outcome: Outcome,
}

impl Save {
    pub(super) fn new(entries: Vec<GroupEntry>, name: &str, outcome: Outcome) -> Self {
        Self { name: name.to_owned(), entries, outcome }
    }
}

impl Groups {
    pub(super) fn new(settings: GroupSettings) -> Self {
        Self {
            groups: BTreeMap::new(),
            waiting: HashMap::new(),
            waiters: 0,
            deadlines: BinaryHeap::new(),
            bytes: 0,
            saves: Vec::new(),
            catalog: None,
            topics: Topics::default(),
            seen: 0,
            settings,
            now_ms: 0,
            timeouts: BTreeMap::new(),
        }
    }

    /// Puts back what the engine remembers.
    pub(super) fn restore(&mut self, entries: Vec<GroupEntry>) {
        let classic = self.classic_limits();
        for (name, remembered) in read(entries) {
            let consumer = self.consumer_limits(&name);
            let kind = match remembered.restore(classic, consumer) {
                Ok(kind) => kind,
                Err(error) => {
                    tracing::error!(group = name, %error, "a group's members are not readable");
                    continue;
                }
            };
            let entry = Entry {
                kind,
                scheduled: None,
                bytes: 0,
                saved: remembered.members.into_keys().collect(),
                empty_since_ms: empty_since_ms(remembered.head.as_deref()),
                head: remembered.head,
            };
            self.groups.insert(name.clone(), entry);
            self.settle(&name);
        }
    }

    fn classic_limits(&self) -> classic_group::Limits {
        classic_group::Limits {
            members: GROUP_MEMBERS_MAX,
            initial_delay_ms: self.settings.initial_delay_ms,
        }
    }

    fn consumer_limits(&self, name: &str) -> consumer_group::Limits {
        let own = self.timeouts.get(name).copied().unwrap_or_default();
        consumer_group::Limits {
            members: GROUP_MEMBERS_MAX,
            session_ms: own.session_ms.unwrap_or(self.settings.consumer_session_ms),
            heartbeat_ms: own.heartbeat_ms.unwrap_or(self.settings.consumer_heartbeat_ms),
            migration: self.settings.migration,
        }
    }

    /// Gives a group time-outs of its own.
    pub(super) fn configure(&mut self, name: &str, timeouts: Timeouts) {
        if timeouts == Timeouts::default() {
            self.timeouts.remove(name);
        } else {
            self.timeouts.insert(name.to_owned(), timeouts);
        }
        let limits = self.consumer_limits(name);
        if let Some(Kind::Consumer(group)) = self.known(name) {
            group.set_limits(limits);
        }
    }

    /// Takes notice of the streams that there are.
    pub(super) fn see(&mut self, catalog: Arc<Catalog>) {
        if self.catalog.as_ref().is_some_and(|known| Arc::ptr_eq(known, &catalog)) {
            return;
        }
        let topics = catalog.streams().filter(|stream| !stream.is_internal()).map(|stream| {
            let partitions = i32::try_from(stream.partitions.len()).unwrap_or(i32::MAX);
            (stream.name.clone(), (stream.id.0, partitions))
        });
        let topics = Topics(topics.collect());
        // Most changes of the catalog are none of the topics as groups see them.
        if topics != self.topics || self.seen == 0 {
            self.topics = topics;
            self.seen += 1;
        }
        self.catalog = Some(catalog);
    }

    /// Whether there is no room for a group of this name, or for more of it.
    pub(super) fn is_full(&self, name: &str) -> bool {
        self.bytes > GROUPS_BYTES_MAX
            || (self.groups.len() >= GROUPS_MAX && !self.groups.contains_key(name))
    }

    pub(super) fn known(&mut self, name: &str) -> Option<&mut Kind> {
        Some(&mut self.groups.get_mut(name)?.kind)
    }

    pub(super) fn known_classic(&mut self, name: &str) -> Option<&mut Group> {
        match self.known(name)? {
            Kind::Classic(group) => Some(group),
            Kind::Consumer(_) => None,
        }
    }

    /// Makes the group a classic one unless it is. One that somebody is in stays what it is.
    pub(super) fn classic(&mut self, name: &str) -> Result<(), ResponseError> {
        match self.known(name) {
            Some(Kind::Classic(_)) => return Ok(()),
            Some(Kind::Consumer(group)) if !group.members.is_empty() => {
                return Err(ResponseError::InconsistentGroupProtocol);
            }
            Some(Kind::Consumer(_)) | None => {}
        }
        self.put(name, Kind::Classic(Group::new(self.classic_limits())));
        Ok(())
    }

    /// Makes the group one of KIP-848 unless it is; says whether it is one. Only a member that
    /// joins makes one; consumers that are in it come along.
    pub(super) fn consumer(
        &mut self,
        name: &str,
        epoch: i32,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let limits = self.consumer_limits(name);
        let may_migrate = self.settings.migration.allows_upgrade();
        let made = match self.groups.get_mut(name).map(|entry| &mut entry.kind) {
            Some(Kind::Consumer(_)) => return true,
            Some(Kind::Classic(_)) | None if epoch != JOINS => return false,
            Some(Kind::Classic(group)) if !group.members.is_empty() => {
                let made = ConsumerGroup::of_classic(group, limits, now, &self.topics);
                let Some(made) = made.filter(|_| may_migrate) else { return false };
                group.dismiss(effects);
                tracing::info!(group = name, "the group goes over to the consumer protocol");
                made
            }
            Some(Kind::Classic(_)) | None => ConsumerGroup::new(Head::default(), limits),
        };
        self.put(name, Kind::Consumer(made));
        true
    }

    /// Makes a group a classic one whose last member of the consumer protocol has gone.
    pub(super) fn downgrade(&mut self, name: &str, now: Moment) {
        let limits = self.classic_limits();
        let Some(entry) = self.groups.get_mut(name) else { return };
        let Kind::Consumer(group) = &entry.kind else { return };
        if !group.goes_back() {
            return;
        }
        tracing::info!(group = name, "the group goes back to the classic protocol");
        let migrants = group.migrants(&self.topics);
        let generation = group.head.epoch;
        entry.kind = Kind::Classic(Group::of_migrants(limits, now, generation, migrants));
    }

    /// Whether members of the consumer protocol are in the group, and others join them.
    pub(super) fn is_joint(&mut self, name: &str) -> bool {
        matches!(self.known(name), Some(Kind::Consumer(group)) if !group.members.is_empty())
    }

    /// What a member of the classic protocol asks of a consumer group; `None` if it is none. The
    /// topics come with their version.
    pub(super) fn in_consumer<T>(
        &mut self,
        name: &str,
        ask: impl FnOnce(&mut ConsumerGroup, &Topics, u64) -> T,
    ) -> Option<T> {
        match &mut self.groups.get_mut(name)?.kind {
            Kind::Consumer(group) => Some(ask(group, &self.topics, self.seen)),
            Kind::Classic(_) => None,
        }
    }

    fn put(&mut self, name: &str, kind: Kind) {
        match self.groups.get_mut(name) {
            Some(entry) => entry.kind = kind,
            None => {
                let (saved, head) = (BTreeSet::new(), None);
                let empty_since_ms = None;
                let entry = Entry { kind, scheduled: None, bytes: 0, saved, head, empty_since_ms };
                self.groups.insert(name.to_owned(), entry);
            }
        }
    }

    pub(super) fn wait(&mut self, reply: Reply) -> Waiter {
        self.waiters += 1;
        let waiter = Waiter(self.waiters);
        self.waiting.insert(waiter, reply);
        waiter
    }

    pub(super) fn heartbeat(
        &mut self,
        name: &str,
        now: Moment,
        heartbeat: Heartbeat,
    ) -> Result<Told, HeartbeatError> {
        let entry = self.groups.get_mut(name).expect("it was made a consumer group");
        match &mut entry.kind {
            Kind::Consumer(group) => group.heartbeat(now, heartbeat, &self.topics, self.seen),
            Kind::Classic(_) => {
                let error = ResponseError::GroupIdNotFound;
                Err(HeartbeatError::new(error, "the group is a classic one"))
            }
        }
    }

    /// Does what is due in a group.
    pub(super) fn tick(&mut self, name: &str, now: Moment) -> Outcome {
        let mut outcome = Outcome::default();
        match self.groups.get_mut(name).map(|entry| &mut entry.kind) {
            Some(Kind::Classic(group)) => group.tick(now, &mut outcome.effects),
            Some(Kind::Consumer(group)) => group.tick(now),
            None => {}
        }
        self.downgrade(name, now);
        outcome
    }

    /// A group whose deadline has come, or else when the next one comes.
    pub(super) fn next_due(&mut self, now: Moment) -> Result<String, Option<Moment>> {
        while let Some(Reverse((at, _))) = self.deadlines.peek() {
            if *at > now {
                return Err(Some(*at));
            }
            let Some(Reverse((at, name))) = self.deadlines.pop() else { break };
            let Some(entry) = self.groups.get_mut(&name) else { continue };
            if entry.scheduled == Some(at) {
                entry.scheduled = None;
                return Ok(name);
            }
        }
        Err(None)
    }

    /// Schedules a changed group's next deadline, and says whether that is nearer than before; a
    /// group that nothing needs to be remembered of is forgotten.
    pub(super) fn settle(&mut self, name: &str) -> bool {
        let Some(entry) = self.groups.get_mut(name) else { return false };
        let (bytes, deadline) = match &entry.kind {
            Kind::Classic(group) => (group.bytes(), group.next_deadline()),
            Kind::Consumer(group) => (group.bytes(), group.next_deadline()),
        };
        self.bytes = self.bytes - entry.bytes + bytes;
        entry.bytes = bytes;
        let nearer = deadline.filter(|&at| entry.scheduled.is_none_or(|known| at < known));
        if let Some(at) = nearer {
            entry.scheduled = Some(at);
            self.deadlines.push(Reverse((at, name.to_owned())));
        }
        let forgettable = match &entry.kind {
            Kind::Classic(group) => group.is_vacant() && group.generation == 0,
            Kind::Consumer(group) => group.members.is_empty() && group.head == Head::default(),
        };
        if forgettable && entry.head.is_none() && entry.saved.is_empty() {
            self.bytes -= bytes;
            self.groups.remove(name);
        }
        nearer.is_some()
    }

    /// What of a group is to be written.
    pub(super) fn take_unsaved(&mut self, name: &str) -> Vec<GroupEntry> {
        let Some(entry) = self.groups.get_mut(name) else { return Vec::new() };
        entry.empty_since_ms =
            entry.kind.is_vacant().then(|| entry.empty_since_ms.unwrap_or(self.now_ms));
        let since = entry.empty_since_ms;
        let (head, members) = match &mut entry.kind {
            Kind::Classic(group) => match write_classic(group, &entry.saved, since) {
                Some(written) => written,
                None => return Vec::new(),
            },
            Kind::Consumer(group) => write_consumer(group, since),
        };
        let mut entries = Vec::with_capacity(members.len() + 1);
        for (id, value) in members {
            let is_news = match &value {
                Some(_) => {
                    entry.saved.insert(id.clone());
                    true
                }
                None => entry.saved.remove(&id),
            };
            if is_news {
                entries.push(GroupEntry { group: name.to_owned(), member: Some(id), value });
            }
        }
        if entry.head.as_ref() != Some(&head) {
            entry.head = Some(head.clone());
            entries.push(GroupEntry { group: name.to_owned(), member: None, value: Some(head) });
        }
        entries
    }

    /// Tells who waits for a change that it is saved, or that it cannot be.
    pub(super) fn saved(&mut self, save: Save, well: bool) {
        if !well && let Some(entry) = self.groups.get_mut(&save.name) {
            // With the next change all of it is tried again.
            entry.head = None;
            match &mut entry.kind {
                Kind::Classic(group) => group.unsaved = true,
                Kind::Consumer(group) => group.remember_all(),
            }
        }
        for effect in save.outcome.effects {
            self.tell(effect, well);
        }
        if let Some(done) = save.outcome.done {
            // Whoever asked may be gone.
            let _ = done.send(well);
        }
    }

    /// Whoever asked may be gone by now; then there is nobody to tell.
    fn tell(&mut self, effect: Effect, well: bool) {
        let error = ResponseError::CoordinatorNotAvailable;
        match effect {
            Effect::Joined(waiter, answer) => {
                if let Some(Reply::Join(sender)) = self.waiting.remove(&waiter) {
                    let lost = |joined: Joined| JoinError { error, member_id: joined.member_id };
                    let _ = sender.send(
                        answer.and_then(|joined| if well { Ok(joined) } else { Err(lost(joined)) }),
                    );
                }
            }
            Effect::Synced(waiter, answer) => {
                if let Some(Reply::Sync(sender)) = self.waiting.remove(&waiter) {
                    let _ = sender
                        .send(answer.and_then(|synced| if well { Ok(synced) } else { Err(error) }));
                }
            }
        }
    }

    /// Groups that nobody is in.
    pub(super) fn vacant(&self) -> Vec<String> {
        let vacant = self.groups.iter().filter(|(_, entry)| entry.kind.is_vacant());
        vacant.map(|(name, _)| name.clone()).collect()
    }

    /// Since when nobody is in the group, in milliseconds since 1970; `i64::MAX` while somebody is,
    /// `None` if nobody ever was.
    pub(super) fn empty_since_ms(&self, name: &str) -> Option<i64> {
        let entry = self.groups.get(name)?;
        if entry.kind.is_vacant() { entry.empty_since_ms } else { Some(i64::MAX) }
    }

    /// Forgets a group.
    pub(super) fn remove(&mut self, name: &str, done: Option<oneshot::Sender<bool>>) {
        let mut entries = Vec::new();
        if let Some(entry) = self.groups.remove(name) {
            self.bytes -= entry.bytes;
            let group = || name.to_owned();
            let members = entry.saved.into_iter().map(Some);
            let all = members.chain(entry.head.map(|_| None));
            entries =
                all.map(|member| GroupEntry { group: group(), member, value: None }).collect();
        }
        let outcome = Outcome { effects: Vec::new(), done };
        self.saves.push(Save::new(entries, name, outcome));
    }

    pub(super) fn list(&self) -> Vec<Listed> {
        let all = self.groups.iter();
        all.map(|(name, entry)| {
            let (protocol_type, state, kind) = match &entry.kind {
                Kind::Classic(group) => {
                    (group.protocol_type.clone(), group.state.name(), "classic")
                }
                Kind::Consumer(group) => ("consumer".to_owned(), group.state(), "consumer"),
            };
            Listed { name: name.clone(), protocol_type, state, kind }
        })
        .collect()
    }
}
