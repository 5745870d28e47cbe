//! From one generation to the next, and what time does to a group.

use super::{Effect, Group, JoinError, Moment, State, Waiter};
use kafka_protocol::error::ResponseError;
use std::collections::HashMap;

impl Group {
    /// Begins a rebalance, unless one has begun.
    pub(super) fn prepare(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        if self.state == State::Preparing {
            return;
        }
        for member in self.members.values_mut() {
            if let Some(waiter) = member.syncing.take() {
                member.expires = now.plus(member.session_ms);
                let error = ResponseError::RebalanceInProgress;
                effects.push(Effect::Synced(waiter, Err(error)));
            }
        }
        self.unsynced.clear();
        self.not_before = (self.state == State::Empty && self.limits.initial_delay_ms > 0)
            .then(|| now.plus(self.limits.initial_delay_ms));
        self.deadline = now.plus(self.rebalance_ms());
        self.first = self.state == State::Empty;
        self.state = State::Preparing;
    }

    /// Another member of a new group: more may follow.
    pub(super) fn extend_initial_delay(&mut self, now: Moment) {
        if let Some(not_before) = &mut self.not_before {
            *not_before = now.plus(self.limits.initial_delay_ms).min(self.deadline);
        }
    }

    /// The longest that a member may take to come back.
    fn rebalance_ms(&self) -> u32 {
        self.members.values().map(|member| member.rebalance_ms).max().unwrap_or(0)
    }

    /// Ends the rebalance if there is nobody left to wait for.
    pub(super) fn complete_if_all_joined(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        if self.state == State::Preparing
            && self.not_before.is_none()
            && (self.first || self.pending.is_empty())
            && self.members.values().all(|member| member.joining.is_some())
        {
            self.complete(now, effects);
        }
    }

    /// Begins the next generation with those who joined.
    fn complete(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        // Static members are given until their session ends (KIP-345).
        let late = |member: &super::Member| member.joining.is_none() && member.instance.is_none();
        self.members.retain(|_, member| !late(member));
        self.not_before = None;
        if self.members.is_empty() {
            self.generation += 1;
            self.become_empty();
            return;
        }
        let mut joined: Vec<(u64, String)> = Vec::new();
        for (id, member) in &self.members {
            if member.joining.is_some() {
                joined.push((member.order, id.clone()));
            }
        }
        joined.sort();
        let Some((_, oldest)) = joined.first() else {
            // Only static members that are away: wait until they return or expire.
            self.deadline = now.plus(self.rebalance_ms().max(1));
            return;
        };
        if !joined.iter().any(|(_, id)| Some(id) == self.leader.as_ref()) {
            self.leader = Some(oldest.clone());
        }
        self.generation += 1;
        self.protocol = self.choose_protocol().expect("members are taken in only with one");
        self.state = State::Completing;
        self.unsynced = self.members.keys().cloned().collect();
        self.sync_deadline = now.plus(self.rebalance_ms());
        for (_, id) in joined {
            let answer = self.joined(&id);
            let member = self.members.get_mut(&id).expect("it is one of them");
            member.expires = now.plus(member.session_ms);
            if let Some(waiter) = member.joining.take() {
                effects.push(Effect::Joined(waiter, Ok(answer)));
            }
        }
    }

    fn become_empty(&mut self) {
        self.state = State::Empty;
        self.unsaved = true;
        self.protocol.clear();
        self.leader = None;
        self.statics.clear();
        self.unsynced.clear();
        self.not_before = None;
    }

    /// The protocol that most members like best, of those that all speak.
    pub(super) fn choose_protocol(&self) -> Option<String> {
        let common = |name: &str| self.members.values().all(|member| member.speaks(name));
        let mut votes: HashMap<&str, usize> = HashMap::new();
        for member in self.members.values() {
            if let Some((name, _)) = member.protocols.iter().find(|(name, _)| common(name)) {
                *votes.entry(name).or_default() += 1;
            }
        }
        let best = votes.into_iter().max_by_key(|&(name, count)| (count, std::cmp::Reverse(name)));
        best.map(|(name, _)| name.to_owned())
    }

    /// Takes members out; the others share their work anew.
    pub(super) fn remove(&mut self, now: Moment, ids: &[String], effects: &mut Vec<Effect>) {
        for id in ids {
            let Some(mut member) = self.members.remove(id) else { continue };
            let error = ResponseError::UnknownMemberId;
            if let Some(waiter) = member.joining.take() {
                let error = JoinError { error, member_id: id.clone() };
                effects.push(Effect::Joined(waiter, Err(error)));
            }
            if let Some(waiter) = member.syncing.take() {
                effects.push(Effect::Synced(waiter, Err(error)));
            }
            if let Some(instance) = &member.instance {
                self.statics.remove(instance);
            }
            self.unsynced.remove(id);
            if self.leader.as_ref() == Some(id) {
                let oldest = self.members.iter().min_by_key(|(_, member)| member.order);
                self.leader = oldest.map(|(id, _)| id.clone());
            }
        }
        if self.members.is_empty() {
            if self.state != State::Empty {
                self.generation += 1;
            }
            self.become_empty();
            return;
        }
        self.prepare(now, effects);
        self.complete_if_all_joined(now, effects);
    }

    /// A request was given up by its client: it does not hold the member's place any longer.
    pub(crate) fn abandon(&mut self, now: Moment, waiter: Waiter) {
        for member in self.members.values_mut() {
            if member.joining == Some(waiter) {
                member.joining = None;
                member.expires = now.plus(member.session_ms);
            }
            if member.syncing == Some(waiter) {
                member.syncing = None;
                member.expires = now.plus(member.session_ms);
            }
        }
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        self.pending.retain(|_, until| *until > now);
        let waits = |member: &super::Member| member.joining.is_some() || member.syncing.is_some();
        let expired = self.members.iter().filter(|(_, member)| !waits(member));
        let expired = expired.filter(|(_, member)| member.expires <= now);
        let expired: Vec<String> = expired.map(|(id, _)| id.clone()).collect();
        if !expired.is_empty() {
            self.remove(now, &expired, effects);
        }
        if self.not_before.is_some_and(|not_before| not_before <= now) {
            self.not_before = None;
        }
        match self.state {
            State::Preparing if self.deadline <= now => self.complete(now, effects),
            State::Preparing => self.complete_if_all_joined(now, effects),
            State::Completing | State::Stable
                if !self.unsynced.is_empty() && self.sync_deadline <= now =>
            {
                let late: Vec<String> = self.unsynced.drain().collect();
                self.remove(now, &late, effects);
            }
            State::Empty | State::Completing | State::Stable => {}
        }
    }

    /// When [`Self::tick`] has something to do next.
    pub(crate) fn next_deadline(&self) -> Option<Moment> {
        let waits = |member: &super::Member| member.joining.is_some() || member.syncing.is_some();
        let sessions =
            self.members.values().filter(|member| !waits(member)).map(|member| member.expires);
        let preparing = (self.state == State::Preparing)
            .then(|| self.not_before.unwrap_or(self.deadline).min(self.deadline));
        let completing =
            matches!(self.state, State::Completing | State::Stable) && !self.unsynced.is_empty();
        let syncing = completing.then_some(self.sync_deadline);
        sessions.chain(self.pending.values().copied()).chain(preparing).chain(syncing).min()
    }
}
