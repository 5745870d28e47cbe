//! From and to a group of KIP-848: what of the members goes along.

use super::{Effect, Group, JoinError, Limits, Member, Moment, State};
use bytes::Bytes;
use kafka_protocol::error::ResponseError;

/// The protocol type of consumers; only they can migrate.
pub(crate) const CONSUMER_PROTOCOL: &str = "consumer";

/// A member on its way from one kind of group to the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Migrant {
    pub(crate) id: String,
    pub(crate) instance: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) session_ms: u32,
    pub(crate) rebalance_ms: u32,
    /// What it speaks, best first; the one of the group stands first.
    pub(crate) protocols: Vec<(String, Bytes)>,
    pub(crate) assignment: Bytes,
}

impl Group {
    /// All members.
    pub(crate) fn migrants(&self) -> Vec<Migrant> {
        let members = self.members.iter();
        members
            .map(|(id, member)| Migrant {
                id: id.clone(),
                instance: member.instance.clone(),
                client_id: member.client_id.clone(),
                client_host: member.client_host.clone(),
                session_ms: member.session_ms,
                rebalance_ms: member.rebalance_ms,
                protocols: member.protocols.clone(),
                assignment: member.assignment.clone(),
            })
            .collect()
    }

    /// Has everybody who waits join again: elsewhere there is another rebalance.
    pub(crate) fn dismiss(&mut self, effects: &mut Vec<Effect>) {
        let error = ResponseError::RebalanceInProgress;
        for (id, member) in &mut self.members {
            if let Some(waiter) = member.joining.take() {
                let error = JoinError { error, member_id: id.clone() };
                effects.push(Effect::Joined(waiter, Err(error)));
            }
            if let Some(waiter) = member.syncing.take() {
                effects.push(Effect::Synced(waiter, Err(error)));
            }
        }
    }

    /// The group of these members, of which there is one at least; they share out the work anew.
    pub(crate) fn of_migrants(
        limits: Limits,
        now: Moment,
        generation: i32,
        migrants: Vec<Migrant>,
    ) -> Self {
        let mut group = Self::new(limits);
        group.state = State::Stable;
        group.generation = generation;
        CONSUMER_PROTOCOL.clone_into(&mut group.protocol_type);
        for migrant in migrants {
            group.order += 1;
            if let Some(instance) = &migrant.instance {
                group.statics.insert(instance.clone(), migrant.id.clone());
            }
            group.leader.get_or_insert_with(|| migrant.id.clone());
            let member = Member {
                instance: migrant.instance,
                client_id: migrant.client_id,
                client_host: migrant.client_host,
                session_ms: migrant.session_ms,
                rebalance_ms: migrant.rebalance_ms,
                protocols: migrant.protocols,
                assignment: migrant.assignment,
                expires: now.plus(migrant.session_ms),
                joining: None,
                syncing: None,
                order: group.order,
            };
            group.members.insert(migrant.id, member);
        }
        group.protocol = group.choose_protocol().unwrap_or_default();
        group.unsaved = true;
        // Nobody waits yet, so nobody is told.
        group.prepare(now, &mut Vec::new());
        group
    }
}
