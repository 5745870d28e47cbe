//! Members that still speak the classic protocol: a group moves from one protocol to the other
//! while its consumers are restarted one by one (KIP-848, "online migration").
//!
//! To such a member its epoch is the generation. It rejoins when it is told that a rebalance is in
//! progress; what it says it has it reports when it joins, what it should have it is told when it
//! syncs. Nobody leads: the broker assigns.

use super::embedded::{Named, Subscription, read_assignment, write_assignment};
use super::{ConsumerGroup, Head, Heartbeat, JOINS, Limits, Member, Partitions, Progress, Topics};
use crate::classic_group::{
    Blob, CONSUMER_PROTOCOL, Group, Identity, Join, JoinError, Joined, Migrant, Moment, Sync,
    Synced,
};
use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What the classic protocol says of a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Classic {
    pub(super) session_ms: u32,
    /// What it speaks, best first, with its subscription in each.
    protocols: Vec<(String, Blob)>,
}

impl Classic {
    fn new(session_ms: u32, protocols: Vec<(String, Bytes)>) -> Self {
        let protocols = protocols.into_iter().map(|(name, says)| (name, Blob(says)));
        Self { session_ms, protocols: protocols.collect() }
    }

    /// The protocol that it is told to use.
    fn protocol(&self) -> &str {
        self.protocols.first().map_or("", |(name, _)| name)
    }
}

impl ConsumerGroup {
    /// Takes in a member of the classic protocol, or has one come back. `seen` is the version of
    /// `topics`.
    pub(crate) fn join_classic(
        &mut self,
        now: Moment,
        join: Join,
        topics: &Topics,
        seen: u64,
    ) -> Result<Joined, JoinError> {
        let is_new = join.member_id.is_empty();
        let id = if is_new { join.new_id.clone() } else { join.member_id.clone() };
        let refuse = |error| Err(JoinError { error, member_id: join.member_id.clone() });
        if self.members.len() >= self.limits.members && !self.members.contains_key(&id) {
            return refuse(ResponseError::GroupMaxSizeReached);
        }
        let says = join.protocols.first().filter(|_| self.takes_protocols(&id, &join));
        let Some(subscription) = says.and_then(|(_, says)| Subscription::read(says)) else {
            return refuse(ResponseError::InconsistentGroupProtocol);
        };
        if is_new && join.id_first && join.instance.is_none() {
            return Err(JoinError { error: ResponseError::MemberIdRequired, member_id: id });
        }
        let is_added = match self.find_place(&id, is_new, join.instance.as_deref()) {
            Ok(is_added) => is_added,
            Err(error) => return refuse(error),
        };
        let owned = topics.by_id(&subscription.owned);
        let heartbeat = Heartbeat {
            member_id: id.clone(),
            instance: join.instance,
            rack: subscription.rack,
            client_id: join.client_id,
            client_host: join.client_host,
            epoch: JOINS,
            rebalance_ms: Some(join.rebalance_ms),
            topics: Some(subscription.topics),
            regex: Some(String::new()),
            sees: None,
            assignor: None,
            owned: None,
        };
        let wants_others = self.update(now, &id, &heartbeat);
        let member = self.members.get_mut(&id).expect("it was found a place");
        member.classic = Some(Classic::new(join.session_ms, join.protocols));
        member.expires = now.plus(join.session_ms);
        let revoke_by = member.revoke_by.take();
        if wants_others || is_added {
            self.head.epoch += 1;
        }
        self.retarget(topics, seen);
        self.reconcile(now, &id, Some(&owned));
        let member = self.members.get_mut(&id).expect("it was found a place");
        if member.progress == Progress::Revoking && member.revoke_by.is_none() {
            member.revoke_by = revoke_by.or_else(|| Some(now.plus(member.rebalance_ms)));
        }
        let joined = Joined {
            generation: member.epoch,
            protocol_type: CONSUMER_PROTOCOL.to_owned(),
            protocol: member.classic.as_ref().map_or("", Classic::protocol).to_owned(),
            leader: String::new(),
            member_id: id.clone(),
            members: Vec::new(),
            skip_assignment: false,
        };
        self.remember(&id);
        Ok(joined)
    }

    /// Whether the members that speak the classic protocol and `join` have a protocol in common.
    fn takes_protocols(&self, id: &str, join: &Join) -> bool {
        let speaks = |name: &str| {
            let others = self.members.iter().filter(|(other, _)| *other != id);
            others
                .filter_map(|(_, member)| member.classic.as_ref())
                .all(|classic| classic.protocols.iter().any(|(other, _)| other == name))
        };
        join.protocol_type == CONSUMER_PROTOCOL
            && join.protocols.iter().any(|(name, _)| speaks(name))
    }

    /// Finds the member that joins, or makes room for it; says whether room was made.
    fn find_place(
        &mut self,
        id: &str,
        is_new: bool,
        instance: Option<&str>,
    ) -> Result<bool, ResponseError> {
        let owner = instance.map(|instance| self.statics.get(instance).cloned());
        match owner {
            Some(Some(owner)) if owner == id => return Ok(false),
            Some(Some(owner)) if is_new => {
                self.replace(&owner, id);
                return Ok(false);
            }
            Some(Some(_)) => return Err(ResponseError::FencedInstanceId),
            Some(None) if !is_new => return Err(ResponseError::UnknownMemberId),
            None if self.members.contains_key(id) => return Ok(false),
            Some(None) | None => {}
        }
        self.add(id, instance);
        Ok(true)
    }

    /// What a classic member has of its target, in the words of its protocol.
    pub(crate) fn sync_classic(
        &mut self,
        now: Moment,
        sync: &Sync<'_>,
        topics: &Topics,
    ) -> Result<Synced, ResponseError> {
        let (member, classic) = self.classic_member(sync.who, sync.generation)?;
        let same = sync.protocol_type.is_none_or(|kind| kind == CONSUMER_PROTOCOL)
            && sync.protocol.is_none_or(|name| name == classic.protocol());
        if !same {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        let says = classic.protocols.first().and_then(|(_, says)| Subscription::read(&says.0));
        let version = says.map_or(0, |subscription| subscription.version);
        let synced = Synced {
            protocol_type: CONSUMER_PROTOCOL.to_owned(),
            protocol: classic.protocol().to_owned(),
            assignment: write_assignment(version, &topics.by_name(&member.assigned)),
        };
        let is_late = self.head.epoch > member.epoch && member.progress != Progress::Revoking;
        self.heard(now, sync.who.member_id);
        if is_late {
            return self.rejoin(now, sync.who.member_id);
        }
        Ok(synced)
    }

    /// A classic member's word that it is alive.
    pub(crate) fn heartbeat_classic(
        &mut self,
        now: Moment,
        who: Identity<'_>,
        generation: i32,
        topics: &Topics,
        seen: u64,
    ) -> Result<(), ResponseError> {
        self.classic_member(who, generation)?;
        self.heard(now, who.member_id);
        self.retarget(topics, seen);
        let member = &self.members[who.member_id];
        let is_late = match member.progress {
            Progress::Revoking => true,
            Progress::Waiting => !self.waits(who.member_id),
            Progress::Stable => false,
        };
        if is_late || member.epoch < self.head.epoch {
            return self.rejoin(now, who.member_id);
        }
        Ok(())
    }

    /// Takes a classic member out at its own wish, or by its instance id.
    pub(crate) fn leave_classic(&mut self, who: Identity<'_>) -> Result<(), ResponseError> {
        let by_instance = who.instance.filter(|_| who.member_id.is_empty());
        let id = match by_instance {
            Some(instance) => {
                self.statics.get(instance).cloned().ok_or(ResponseError::UnknownMemberId)?
            }
            None => who.member_id.to_owned(),
        };
        let member = self.member(&id, who.instance)?;
        if member.classic.is_none() {
            return Err(ResponseError::UnknownMemberId);
        }
        self.remove(&id);
        self.begin_epoch_of_the_rest();
        Ok(())
    }

    /// The group that members of a classic one make, each with what it was last assigned; `None`
    /// if they are not all consumers. Its first change is a rebalance.
    pub(crate) fn of_classic(
        group: &Group,
        limits: Limits,
        now: Moment,
        topics: &Topics,
    ) -> Option<Self> {
        if group.protocol_type != CONSUMER_PROTOCOL {
            return None;
        }
        let (epoch, target_epoch) = (group.generation, group.generation);
        let mut made = Self::new(Head { epoch, target_epoch, topics: 0 }, limits);
        for migrant in group.migrants() {
            let subscription = Subscription::read(&migrant.protocols.first()?.1)?;
            let assigned = topics.by_id(&read_assignment(&migrant.assignment)?);
            let mut member = Member::new(migrant.instance);
            member.rack = subscription.rack;
            member.client_id = migrant.client_id;
            member.client_host = migrant.client_host;
            member.rebalance_ms = migrant.rebalance_ms;
            member.topics = subscription.topics;
            member.epoch = epoch;
            member.previous_epoch = epoch;
            member.target.clone_from(&assigned);
            member.assigned = assigned;
            member.classic = Some(Classic::new(migrant.session_ms, migrant.protocols));
            made.restore(now, migrant.id, member);
        }
        made.remember_all();
        Some(made)
    }

    /// Its members as a classic group takes them over, once all of them speak that protocol.
    pub(crate) fn migrants(&self, topics: &Topics) -> Vec<Migrant> {
        let migrant = |(id, member): (&String, &Member)| {
            let classic = member.classic.as_ref()?;
            let protocols = classic.protocols.iter();
            let says = classic.protocols.first().and_then(|(_, says)| Subscription::read(&says.0));
            let version = says.map_or(0, |subscription| subscription.version);
            Some(Migrant {
                id: id.clone(),
                instance: member.instance.clone(),
                client_id: member.client_id.clone(),
                client_host: member.client_host.clone(),
                session_ms: classic.session_ms,
                rebalance_ms: member.rebalance_ms,
                protocols: protocols.map(|(name, says)| (name.clone(), says.0.clone())).collect(),
                assignment: write_assignment(version, &topics.by_name(&member.target)),
            })
        };
        self.members.iter().filter_map(migrant).collect()
    }

    fn classic_member(
        &self,
        who: Identity<'_>,
        generation: i32,
    ) -> Result<(&Member, &Classic), ResponseError> {
        let member = self.member(who.member_id, who.instance)?;
        let classic = member.classic.as_ref().ok_or(ResponseError::UnknownMemberId)?;
        if member.epoch != generation {
            return Err(ResponseError::IllegalGeneration);
        }
        Ok((member, classic))
    }

    fn heard(&mut self, now: Moment, id: &str) {
        let member = self.members.get_mut(id).expect("it was identified");
        let session_ms = member.classic.as_ref().map_or(0, |classic| classic.session_ms);
        member.expires = now.plus(session_ms);
    }

    /// Tells a member to join again, in time.
    fn rejoin<T>(&mut self, now: Moment, id: &str) -> Result<T, ResponseError> {
        let member = self.members.get_mut(id).expect("it was identified");
        let until = now.plus(member.rebalance_ms);
        member.revoke_by.get_or_insert(until);
        Err(ResponseError::RebalanceInProgress)
    }
}

impl Topics {
    /// Partitions of topics that are there.
    fn by_id(&self, named: &Named) -> Partitions {
        let known = named.iter().filter_map(|(name, indexes)| {
            let (id, _) = self.0.get(name)?;
            Some((*id, indexes.clone()))
        });
        known.collect()
    }

    fn by_name(&self, partitions: &Partitions) -> Named {
        let known = self.0.iter().filter_map(|(name, (id, _))| {
            let indexes: &BTreeSet<i32> = partitions.get(id)?;
            Some((name.clone(), indexes.clone()))
        });
        known.collect()
    }
}
