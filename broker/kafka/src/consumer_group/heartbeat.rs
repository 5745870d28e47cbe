//! A member's heartbeat: joining, what it wants, what it has, leaving.

use super::reconcile::is_within;
use super::{
    Assignor, ConsumerGroup, JOINS, LEAVES, LEAVES_FOR_NOW, Member, Partitions, Topics, compile,
};
use crate::classic_group::Moment;
use kafka_protocol::error::ResponseError;
use std::collections::BTreeSet;

/// What a member says. `None` is "as before".
#[derive(Debug, Clone, Default)]
pub(crate) struct Heartbeat {
    pub(crate) member_id: String,
    pub(crate) instance: Option<String>,
    pub(crate) rack: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) epoch: i32,
    pub(crate) rebalance_ms: Option<u32>,
    pub(crate) topics: Option<BTreeSet<String>>,
    /// Empty for none.
    pub(crate) regex: Option<String>,
    /// The topics that a regular expression may find for it; `None` for all.
    pub(crate) sees: Option<BTreeSet<String>>,
    pub(crate) assignor: Option<String>,
    /// The partitions that it has.
    pub(crate) owned: Option<Partitions>,
}

/// What it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) member_id: String,
    pub(crate) epoch: i32,
    pub(crate) heartbeat_ms: u32,
    /// `None` if it is as before.
    pub(crate) assignment: Option<Partitions>,
}

/// Why it is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeartbeatError {
    pub(crate) error: ResponseError,
    pub(crate) message: String,
}

impl HeartbeatError {
    pub(crate) fn new(error: ResponseError, message: impl Into<String>) -> Self {
        Self { error, message: message.into() }
    }
}

impl Heartbeat {
    /// Whether it says everything, as a member does that lost an answer.
    fn is_full(&self) -> bool {
        self.epoch == JOINS
            || (self.rebalance_ms.is_some()
                && (self.topics.is_some() || self.regex.is_some())
                && self.owned.is_some())
    }

    /// Checks what needs no group.
    pub(crate) fn check(&self, id_required: bool) -> Result<(), HeartbeatError> {
        let invalid =
            |message: &str| Err(HeartbeatError::new(ResponseError::InvalidRequest, message));
        let has_epoch = self.epoch > JOINS || self.epoch == LEAVES;
        if self.member_id.is_empty() && (id_required || has_epoch) {
            return invalid("the member id is empty");
        }
        if self.instance.as_deref() == Some("") || self.rack.as_deref() == Some("") {
            return invalid("an instance id or rack is null or not empty");
        }
        match self.epoch {
            JOINS if self.rebalance_ms.is_none() => {
                return invalid("a member that joins has to give its rebalance time-out");
            }
            JOINS if self.owned.as_ref().is_none_or(|owned| !owned.is_empty()) => {
                return invalid("a member that joins has no partitions: the list has to be empty");
            }
            JOINS if self.topics.is_none() && self.regex.is_none() => {
                return invalid("a member that joins has to give topics or a regular expression");
            }
            LEAVES_FOR_NOW if self.instance.is_none() => {
                return invalid(
                    "only a static member can leave for now: the instance id is missing",
                );
            }
            i32::MIN..LEAVES_FOR_NOW => return invalid("there is no such member epoch"),
            _ => {}
        }
        if let Some(assignor) = &self.assignor
            && Assignor::of(assignor).is_none()
        {
            return Err(HeartbeatError::new(
                ResponseError::UnsupportedAssignor,
                format!("there is no assignor {assignor:?}: use uniform or range"),
            ));
        }
        if let Some(regex) = self.regex.as_deref().filter(|regex| !regex.is_empty())
            && let Err(error) = compile(regex)
        {
            return Err(HeartbeatError::new(
                ResponseError::InvalidRegularExpression,
                format!("{regex:?} is not a regular expression: {error}"),
            ));
        }
        Ok(())
    }
}

impl ConsumerGroup {
    /// Hears a member. `seen` is the version of `topics`.
    pub(crate) fn heartbeat(
        &mut self,
        now: Moment,
        heartbeat: Heartbeat,
        topics: &Topics,
        seen: u64,
    ) -> Result<Told, HeartbeatError> {
        if heartbeat.epoch < JOINS {
            return self.leave(&heartbeat);
        }
        let new = self.take_in(&heartbeat)?;
        let id = heartbeat.member_id.clone();
        let full = heartbeat.is_full();
        if self.update(now, &id, &heartbeat) || new {
            self.head.epoch += 1;
        }
        self.retarget(topics, seen);
        let before = self.members[&id].assigned.clone();
        self.reconcile(now, &id, heartbeat.owned.as_ref());
        let member = &self.members[&id];
        let assignment = (full || member.assigned != before).then(|| member.assigned.clone());
        Ok(Told {
            member_id: id,
            epoch: member.epoch,
            heartbeat_ms: self.limits.heartbeat_ms,
            assignment,
        })
    }

    /// Finds the member, or makes room for it; says whether it is new.
    fn take_in(&mut self, heartbeat: &Heartbeat) -> Result<bool, HeartbeatError> {
        let Heartbeat { member_id: id, epoch, .. } = heartbeat;
        let refuse = |error: ResponseError, why: &str| {
            Err(HeartbeatError::new(error, format!("member {id}: {why}")))
        };
        let owner = heartbeat.instance.as_ref().and_then(|instance| self.statics.get(instance));
        if let Some(owner) = owner.filter(|owner| *owner != id).cloned() {
            if *epoch != JOINS {
                return refuse(ResponseError::FencedInstanceId, "another has its instance id now");
            }
            if self.members[&owner].epoch != LEAVES_FOR_NOW {
                let why = "its instance id is another member's, which has not left";
                return refuse(ResponseError::UnreleasedInstanceId, why);
            }
            self.replace(&owner, id);
            return Ok(false);
        }
        if let Some(member) = self.members.get(id) {
            let is_lost_answer = *epoch == member.previous_epoch
                && heartbeat.owned.as_ref().is_some_and(|owned| is_within(owned, &member.assigned));
            // Who joins again has nothing, so it cannot read what is not its own.
            if *epoch == member.epoch
                || (*epoch < member.epoch && is_lost_answer)
                || *epoch == JOINS
            {
                return Ok(false);
            }
            return refuse(ResponseError::FencedMemberEpoch, "it has another epoch: join again");
        }
        if *epoch != JOINS {
            return refuse(ResponseError::UnknownMemberId, "it is not in the group: join again");
        }
        if self.members.len() >= self.limits.members {
            return refuse(ResponseError::GroupMaxSizeReached, "the group is full");
        }
        self.add(id, heartbeat.instance.as_deref());
        Ok(true)
    }

    pub(super) fn add(&mut self, id: &str, instance: Option<&str>) {
        if let Some(instance) = instance {
            self.statics.insert(instance.to_owned(), id.to_owned());
        }
        self.members.insert(id.to_owned(), Member::new(instance.map(str::to_owned)));
    }

    /// A static member comes back under a new id, to what it had (KIP-345).
    pub(super) fn replace(&mut self, old: &str, id: &str) {
        let mut member = self.members.remove(old).expect("static members are members");
        member.previous_epoch = -1;
        member.epoch = JOINS;
        if let Some(instance) = member.instance.clone() {
            self.statics.insert(instance, id.to_owned());
        }
        self.members.insert(id.to_owned(), member);
        self.changes.insert(old.to_owned(), None);
        self.remember(id);
    }

    /// Takes over what the member says; says whether it wants other topics now.
    pub(super) fn update(&mut self, now: Moment, id: &str, heartbeat: &Heartbeat) -> bool {
        let session_ms = self.limits.session_ms;
        let member = self.members.get_mut(id).expect("it was taken in");
        let before = member.clone();
        if member.epoch == LEAVES_FOR_NOW {
            member.epoch = JOINS;
        }
        // Who speaks the classic protocol is known to by that protocol alone.
        member.classic = None;
        member.client_id.clone_from(&heartbeat.client_id);
        member.client_host.clone_from(&heartbeat.client_host);
        if let Some(rack) = &heartbeat.rack {
            member.rack = Some(rack.clone());
        }
        if let Some(ms) = heartbeat.rebalance_ms {
            member.rebalance_ms = ms;
        }
        if let Some(topics) = &heartbeat.topics {
            member.topics.clone_from(topics);
        }
        if let Some(regex) = &heartbeat.regex {
            member.regex = Some(regex.clone()).filter(|regex| !regex.is_empty());
        }
        if let Some(assignor) = &heartbeat.assignor {
            member.assignor = Assignor::of(assignor);
        }
        member.sees = heartbeat.sees.clone().filter(|_| member.regex.is_some());
        let changed = *member != before;
        let sees_others = member.sees != before.sees;
        let wants_others = member.topics != before.topics
            || member.regex != before.regex
            || sees_others && self.topics_of(&self.members[id]) != self.topics_of(&before);
        let member = self.members.get_mut(id).expect("it was taken in");
        member.expires = now.plus(session_ms);
        if changed {
            self.remember(id);
        }
        wants_others
    }

    fn leave(&mut self, heartbeat: &Heartbeat) -> Result<Told, HeartbeatError> {
        let Heartbeat { member_id: id, instance, epoch, .. } = heartbeat;
        let member = self.member(id, instance.as_deref()).map_err(|error| {
            HeartbeatError::new(error, format!("member {id} is not in the group"))
        })?;
        // A dynamic member has no place to keep.
        if *epoch == LEAVES_FOR_NOW && member.instance.is_some() {
            self.leave_for_now(id);
        } else {
            self.remove(id);
            self.begin_epoch_of_the_rest();
        }
        let heartbeat_ms = 0;
        Ok(Told { member_id: id.clone(), epoch: *epoch, heartbeat_ms, assignment: None })
    }
}
