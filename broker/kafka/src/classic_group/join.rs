//! Joining: new members, members that come back, static members that were restarted.

use super::{
    Effect, Group, Identity, JoinError, Joined, JoinedMember, Member, Moment, State, Waiter,
};
use bytes::Bytes;
use kafka_protocol::error::ResponseError;

/// A request to join.
#[derive(Debug, Clone)]
pub(crate) struct Join {
    /// Empty for a new member.
    pub(crate) member_id: String,
    pub(crate) instance: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) session_ms: u32,
    pub(crate) rebalance_ms: u32,
    pub(crate) protocol_type: String,
    pub(crate) protocols: Vec<(String, Bytes)>,
    /// The id a new member gets.
    pub(crate) new_id: String,
    /// Whether a new member is first told its id, and joins with it then (KIP-394).
    pub(crate) id_first: bool,
    /// Whether the client understands `skip_assignment` (KIP-814).
    pub(crate) can_skip: bool,
}

impl Group {
    /// Takes a member in. `waiter` is answered at once or when the rebalance ends.
    pub(crate) fn join(
        &mut self,
        now: Moment,
        join: Join,
        waiter: Waiter,
        effects: &mut Vec<Effect>,
    ) {
        if let Err((error, member_id)) = self.try_join(now, join, waiter, effects) {
            effects.push(Effect::Joined(waiter, Err(JoinError { error, member_id })));
        }
    }

    fn try_join(
        &mut self,
        now: Moment,
        join: Join,
        waiter: Waiter,
        effects: &mut Vec<Effect>,
    ) -> Result<(), (ResponseError, String)> {
        let asked = join.member_id.clone();
        if !self.takes_protocols(&join) {
            return Err((ResponseError::InconsistentGroupProtocol, asked));
        }
        let known = match &join.instance {
            Some(instance) => self.statics.contains_key(instance),
            None => self.members.contains_key(&asked),
        };
        let full = self.members.len() + self.pending.len() >= self.limits.members;
        if full && !known && !self.pending.contains_key(&asked) {
            return Err((ResponseError::GroupMaxSizeReached, asked));
        }
        if !asked.is_empty() {
            if self.pending.remove(&asked).is_some() {
                self.add(now, asked, join, waiter, effects);
                return Ok(());
            }
            let who = Identity { member_id: &asked, instance: join.instance.as_deref() };
            let id = self.identify(who).map_err(|error| (error, asked.clone()))?;
            self.rejoin(now, &id, join, waiter, effects);
            return Ok(());
        }
        let replaced = join.instance.as_ref().and_then(|at| self.statics.get(at).cloned());
        if let Some(old) = replaced {
            self.replace(now, &old, join, waiter, effects);
        } else if join.id_first && join.instance.is_none() {
            self.pending.insert(join.new_id.clone(), now.plus(join.session_ms));
            return Err((ResponseError::MemberIdRequired, join.new_id));
        } else {
            self.add(now, join.new_id.clone(), join, waiter, effects);
        }
        Ok(())
    }

    /// Whether the members and `join` have a protocol in common.
    fn takes_protocols(&self, join: &Join) -> bool {
        if join.protocol_type.is_empty() || join.protocols.is_empty() {
            return false;
        }
        // A member's old offer does not count against its new one.
        let old = join.instance.as_ref().and_then(|at| self.statics.get(at));
        let own = old.unwrap_or(&join.member_id);
        let mut others = self.members.iter().filter(|(id, _)| *id != own).peekable();
        if others.peek().is_none() {
            return true;
        }
        join.protocol_type == self.protocol_type
            && join
                .protocols
                .iter()
                .any(|(name, _)| others.clone().all(|(_, member)| member.speaks(name)))
    }

    fn add(
        &mut self,
        now: Moment,
        id: String,
        join: Join,
        waiter: Waiter,
        effects: &mut Vec<Effect>,
    ) {
        if self.members.is_empty() {
            self.protocol_type = join.protocol_type;
        }
        self.order += 1;
        let member = Member {
            instance: join.instance.clone(),
            client_id: join.client_id,
            client_host: join.client_host,
            session_ms: join.session_ms,
            rebalance_ms: join.rebalance_ms,
            protocols: join.protocols,
            assignment: Bytes::new(),
            expires: now.plus(join.session_ms),
            joining: Some(waiter),
            syncing: None,
            order: self.order,
        };
        if let Some(instance) = join.instance {
            self.statics.insert(instance, id.clone());
        }
        if self.leader.is_none() {
            self.leader = Some(id.clone());
        }
        self.members.insert(id, member);
        self.prepare(now, effects);
        self.extend_initial_delay(now);
        self.complete_if_all_joined(now, effects);
    }

    /// A known member joins again.
    fn rejoin(
        &mut self,
        now: Moment,
        id: &str,
        join: Join,
        waiter: Waiter,
        effects: &mut Vec<Effect>,
    ) {
        let unchanged = self.members[id].protocols == join.protocols;
        let leads = self.leader.as_deref() == Some(id);
        match self.state {
            // The answer was lost: it is given again.
            State::Completing if unchanged => {
                self.touch(now, id);
                effects.push(Effect::Joined(waiter, Ok(self.joined(id))));
            }
            // Only the leader, who sees what changed outside, or new interests start a rebalance.
            State::Stable if unchanged && !leads => {
                self.touch(now, id);
                effects.push(Effect::Joined(waiter, Ok(self.joined(id))));
            }
            State::Empty | State::Preparing | State::Completing | State::Stable => {
                self.update(now, id, join, waiter, effects);
                self.prepare(now, effects);
                self.complete_if_all_joined(now, effects);
            }
        }
    }

    /// A static member comes back under a new id; the old one is fenced (KIP-345).
    fn replace(
        &mut self,
        now: Moment,
        old: &str,
        join: Join,
        waiter: Waiter,
        effects: &mut Vec<Effect>,
    ) {
        let mut member = self.members.remove(old).expect("static members are members");
        fence(&mut member, old, effects);
        let id = join.new_id.clone();
        let led_before = self.leader.clone();
        let leads = self.leader.as_deref() == Some(old);
        if leads {
            self.leader = Some(id.clone());
        }
        if self.unsynced.remove(old) {
            self.unsynced.insert(id.clone());
        }
        let instance = member.instance.clone().expect("it was found by its instance id");
        self.statics.insert(instance, id.clone());
        self.members.insert(id.clone(), member);
        let can_skip = join.can_skip;
        self.update(now, &id, join, waiter, effects);
        let stays = self.state == State::Stable
            && self.choose_protocol().as_deref() == Some(self.protocol.as_str());
        if !stays {
            self.prepare(now, effects);
            self.complete_if_all_joined(now, effects);
            return;
        }
        // Nothing changed but an id: the generation goes on without a rebalance.
        self.unsaved = true;
        self.members.get_mut(&id).expect("it was just added").joining = None;
        let mut joined = self.joined(&id);
        if can_skip {
            joined.skip_assignment = leads;
        } else if leads {
            // A client that cannot skip must not take itself for the leader.
            joined.leader = led_before.unwrap_or_default();
            joined.members.clear();
        }
        effects.push(Effect::Joined(waiter, Ok(joined)));
    }

    /// Takes over what a known member now says; its request waits.
    fn update(
        &mut self,
        now: Moment,
        id: &str,
        join: Join,
        waiter: Waiter,
        effects: &mut Vec<Effect>,
    ) {
        let member = self.members.get_mut(id).expect("it is known");
        member.client_id = join.client_id;
        member.client_host = join.client_host;
        member.session_ms = join.session_ms;
        member.rebalance_ms = join.rebalance_ms;
        member.protocols = join.protocols;
        member.expires = now.plus(join.session_ms);
        // Asked twice: the first request, which nobody may be waiting for, must not hang.
        if let Some(before) = member.joining.replace(waiter) {
            let error =
                JoinError { error: ResponseError::RebalanceInProgress, member_id: id.to_owned() };
            effects.push(Effect::Joined(before, Err(error)));
        }
        if self.members.len() == 1 {
            self.protocol_type = join.protocol_type;
        }
    }

    /// What a member is told about the generation.
    pub(super) fn joined(&self, id: &str) -> Joined {
        let leader = self.leader.clone().unwrap_or_default();
        let members = if leader == id {
            let all = self.members.iter();
            all.map(|(id, member)| JoinedMember {
                id: id.clone(),
                instance: member.instance.clone(),
                metadata: member.metadata(&self.protocol),
            })
            .collect()
        } else {
            Vec::new()
        };
        Joined {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader,
            member_id: id.to_owned(),
            members,
            skip_assignment: false,
        }
    }
}

/// Tells requests of a member's old incarnation that it was replaced.
fn fence(member: &mut Member, id: &str, effects: &mut Vec<Effect>) {
    let error = ResponseError::FencedInstanceId;
    if let Some(waiter) = member.joining.take() {
        let error = JoinError { error, member_id: id.to_owned() };
        effects.push(Effect::Joined(waiter, Err(error)));
    }
    if let Some(waiter) = member.syncing.take() {
        effects.push(Effect::Synced(waiter, Err(error)));
    }
}
