//! A classic consumer group: who is in it, what generation it is in, who gets what.
//!
//! ```text
//!            join                    all joined, or time is up
//!   Empty ─────────> Preparing ──────────────────────────────> Completing
//!     ^                ^   ^  join, leave, expiry                  │ leader syncs
//!     │ last one gone  │   └────────────── Stable <────────────────┘
//!     └────────────────┴────── (from any state)
//! ```
//! No I/O, no clock, no randomness: time and new member ids are passed in, and what is to be
//! told to waiting members comes back as [`Effect`]s. Rules: KIP-62 (rebalance time-out),
//! KIP-345 (static members), KIP-394 (member ids first), KIP-814 (static leaders skip
//! assignment), and Kafka's `GroupMetadataManager`.
//!
//! Invariant: a generation's members and protocol do not change while it is completing or
//! stable.

mod join;
mod migrate;
mod rebalance;
mod saved;
#[cfg(test)]
mod tests;

pub(crate) use join::Join;
pub(crate) use migrate::{CONSUMER_PROTOCOL, Migrant};
pub(crate) use saved::{Blob, SavedGroup};

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Milliseconds since some moment; only differences mean something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(pub(crate) u64);

impl Moment {
    pub(crate) fn plus(self, ms: u32) -> Self {
        Self(self.0.saturating_add(u64::from(ms)))
    }
}

/// A request that waits for the group. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Waiter(pub(crate) u64);

/// What is to be told to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    Joined(Waiter, Result<Joined, JoinError>),
    Synced(Waiter, Result<Synced, ResponseError>),
}

/// A member's place in a new generation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Joined {
    pub(crate) generation: i32,
    pub(crate) protocol_type: String,
    pub(crate) protocol: String,
    pub(crate) leader: String,
    pub(crate) member_id: String,
    /// For the leader: all members, with what they say about themselves.
    pub(crate) members: Vec<JoinedMember>,
    /// For a static leader that came back: the old assignment stands (KIP-814).
    pub(crate) skip_assignment: bool,
}

/// A member, as its leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JoinedMember {
    pub(crate) id: String,
    pub(crate) instance: Option<String>,
    pub(crate) metadata: Bytes,
}

/// Why a member could not join, and the id it has or is to come back with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JoinError {
    pub(crate) error: ResponseError,
    pub(crate) member_id: String,
}

/// What a member is to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Synced {
    pub(crate) protocol_type: String,
    pub(crate) protocol: String,
    pub(crate) assignment: Bytes,
}

/// Names of states as Kafka's tools know them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Nobody is in it; it may have offsets.
    Empty,
    /// Waits for members to join.
    Preparing,
    /// Waits for the leader's assignment.
    Completing,
    /// Everybody has what it is to do.
    Stable,
}

impl State {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Preparing => "PreparingRebalance",
            Self::Completing => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

/// Bounds a group holds its members to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) members: usize,
    pub(crate) initial_delay_ms: u32,
}

/// Who a request says it is from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identity<'a> {
    pub(crate) member_id: &'a str,
    pub(crate) instance: Option<&'a str>,
}

/// Whose offsets a commit is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CommitOf {
    /// A consumer's: it is to see a rebalance first.
    Consumer,
    /// A transaction's: the state of the group does not matter to it.
    Transaction,
}

/// A request for an assignment.
#[derive(Debug, Clone)]
pub(crate) struct Sync<'a> {
    pub(crate) who: Identity<'a>,
    pub(crate) generation: i32,
    /// From version 5 on.
    pub(crate) protocol_type: Option<&'a str>,
    /// From version 5 on.
    pub(crate) protocol: Option<&'a str>,
    /// By member id; from the leader only.
    pub(crate) assignments: Vec<(String, Bytes)>,
}

#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) instance: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    session_ms: u32,
    rebalance_ms: u32,
    /// What it speaks, best first, with what it says about itself in each.
    protocols: Vec<(String, Bytes)>,
    pub(crate) assignment: Bytes,
    /// Removed when this passes, unless a request of its waits.
    expires: Moment,
    joining: Option<Waiter>,
    syncing: Option<Waiter>,
    /// Order of arrival: the oldest leads.
    order: u64,
}

impl Member {
    pub(crate) fn metadata(&self, protocol: &str) -> Bytes {
        let mut all = self.protocols.iter();
        all.find(|(name, _)| name == protocol).map(|(_, bytes)| bytes.clone()).unwrap_or_default()
    }

    fn speaks(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|(name, _)| name == protocol)
    }

    /// Bytes it makes the broker remember.
    pub(crate) fn bytes(&self) -> usize {
        let protocols = self.protocols.iter().map(|(name, bytes)| name.len() + bytes.len());
        protocols.sum::<usize>() + self.assignment.len()
    }
}

#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) state: State,
    pub(crate) generation: i32,
    /// "consumer", "connect", …
    pub(crate) protocol_type: String,
    pub(crate) protocol: String,
    leader: Option<String>,
    pub(crate) members: BTreeMap<String, Member>,
    /// Member ids of static members, by instance id.
    statics: HashMap<String, String>,
    /// Ids that were given out (KIP-394) and until when they may be used.
    pending: HashMap<String, Moment>,
    /// While preparing: when it ends in any case.
    deadline: Moment,
    /// While preparing a first generation: does not end before.
    not_before: Option<Moment>,
    /// While preparing a first generation: who was given an id need not come.
    first: bool,
    /// Members that have not fetched their assignment of this generation, and until when.
    unsynced: HashSet<String>,
    sync_deadline: Moment,
    order: u64,
    /// It became stable, or empty, and that is not saved yet.
    pub(crate) unsaved: bool,
    limits: Limits,
}

impl Group {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            state: State::Empty,
            generation: 0,
            protocol_type: String::new(),
            protocol: String::new(),
            leader: None,
            members: BTreeMap::new(),
            statics: HashMap::new(),
            pending: HashMap::new(),
            deadline: Moment::default(),
            not_before: None,
            first: false,
            unsynced: HashSet::new(),
            sync_deadline: Moment::default(),
            order: 0,
            unsaved: false,
            limits,
        }
    }

    /// Whether nobody is in it, nor about to be.
    pub(crate) fn is_vacant(&self) -> bool {
        self.members.is_empty() && self.pending.is_empty()
    }

    /// Bytes its members make the broker remember.
    pub(crate) fn bytes(&self) -> usize {
        self.members.values().map(Member::bytes).sum()
    }

    /// A member's word that it is alive.
    pub(crate) fn heartbeat(
        &mut self,
        now: Moment,
        who: Identity<'_>,
        generation: i32,
    ) -> Result<(), ResponseError> {
        let id = self.identify(who)?;
        if generation != self.generation {
            return Err(ResponseError::IllegalGeneration);
        }
        self.touch(now, &id);
        match self.state {
            State::Preparing => Err(ResponseError::RebalanceInProgress),
            State::Empty | State::Completing | State::Stable => Ok(()),
        }
    }

    /// A member asks for, or (the leader) brings, the assignment.
    pub(crate) fn sync(
        &mut self,
        now: Moment,
        sync: Sync<'_>,
        waiter: Waiter,
        effects: &mut Vec<Effect>,
    ) {
        let checked = self.identify(sync.who).and_then(|id| {
            if sync.generation != self.generation {
                return Err(ResponseError::IllegalGeneration);
            }
            let same = sync.protocol_type.is_none_or(|kind| kind == self.protocol_type)
                && sync.protocol.is_none_or(|name| name == self.protocol);
            if same { Ok(id) } else { Err(ResponseError::InconsistentGroupProtocol) }
        });
        let id = match checked {
            Ok(id) => id,
            Err(error) => return effects.push(Effect::Synced(waiter, Err(error))),
        };
        match self.state {
            State::Empty => {
                effects.push(Effect::Synced(waiter, Err(ResponseError::UnknownMemberId)));
            }
            State::Preparing => {
                effects.push(Effect::Synced(waiter, Err(ResponseError::RebalanceInProgress)));
            }
            State::Completing => {
                self.unsynced.remove(&id);
                let leads = self.leader.as_deref() == Some(&id);
                let member = self.members.get_mut(&id).expect("it was identified");
                // An answer that is asked for again takes the place of the first.
                if let Some(before) = member.syncing.replace(waiter) {
                    let error = ResponseError::RebalanceInProgress;
                    effects.push(Effect::Synced(before, Err(error)));
                }
                if leads {
                    self.assign(now, sync.assignments, effects);
                }
            }
            State::Stable => {
                self.unsynced.remove(&id);
                self.touch(now, &id);
                effects.push(Effect::Synced(waiter, Ok(self.synced(&id))));
            }
        }
    }

    /// Checks that a commit comes from who may make it.
    pub(crate) fn check_commit(
        &mut self,
        now: Moment,
        who: Identity<'_>,
        generation: i32,
        of: CommitOf,
    ) -> Result<(), ResponseError> {
        let anonymous = generation < 0 && who.member_id.is_empty() && who.instance.is_none();
        if self.members.is_empty() && generation < 0 {
            return Ok(());
        }
        if anonymous {
            return Err(ResponseError::UnknownMemberId);
        }
        let id = self.identify(who)?;
        if generation != self.generation {
            return Err(ResponseError::IllegalGeneration);
        }
        self.touch(now, &id);
        match self.state {
            State::Completing if of == CommitOf::Consumer => {
                Err(ResponseError::RebalanceInProgress)
            }
            State::Empty | State::Preparing | State::Completing | State::Stable => Ok(()),
        }
    }

    /// Takes a member out at its own wish.
    pub(crate) fn leave(
        &mut self,
        now: Moment,
        who: Identity<'_>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), ResponseError> {
        if self.pending.remove(who.member_id).is_some() {
            self.complete_if_all_joined(now, effects);
            return Ok(());
        }
        // A static member can be taken out by its instance id alone (KIP-345).
        let id = match who.instance {
            Some(instance) if who.member_id.is_empty() => {
                self.statics.get(instance).cloned().ok_or(ResponseError::UnknownMemberId)?
            }
            _ => self.identify(who)?,
        };
        self.remove(now, &[id], effects);
        Ok(())
    }

    /// The id of the member that `who` is.
    fn identify(&self, who: Identity<'_>) -> Result<String, ResponseError> {
        if let Some(instance) = who.instance {
            return match self.statics.get(instance) {
                None => Err(ResponseError::UnknownMemberId),
                Some(id) if id != who.member_id => Err(ResponseError::FencedInstanceId),
                Some(id) => Ok(id.clone()),
            };
        }
        if self.members.contains_key(who.member_id) {
            Ok(who.member_id.to_owned())
        } else {
            Err(ResponseError::UnknownMemberId)
        }
    }

    fn touch(&mut self, now: Moment, id: &str) {
        let member = self.members.get_mut(id).expect("it was identified");
        member.expires = now.plus(member.session_ms);
    }

    /// Takes the leader's assignment: the generation is stable.
    fn assign(
        &mut self,
        now: Moment,
        assignments: Vec<(String, Bytes)>,
        effects: &mut Vec<Effect>,
    ) {
        let mut assignments: HashMap<String, Bytes> = assignments.into_iter().collect();
        for (id, member) in &mut self.members {
            member.assignment = assignments.remove(id).unwrap_or_default();
        }
        self.state = State::Stable;
        self.unsaved = true;
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let member = self.members.get_mut(&id).expect("it is one of them");
            if let Some(waiter) = member.syncing.take() {
                member.expires = now.plus(member.session_ms);
                effects.push(Effect::Synced(waiter, Ok(self.synced(&id))));
            }
        }
    }

    fn synced(&self, id: &str) -> Synced {
        Synced {
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment: self.members[id].assignment.clone(),
        }
    }
}
