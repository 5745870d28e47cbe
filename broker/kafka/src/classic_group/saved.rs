//! What of a group outlives a restart: the generation that everybody agreed on.

use super::{Group, Limits, Member, Moment, State};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;

/// What is remembered of the group itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedGroup {
    generation: i32,
    protocol_type: String,
    protocol: String,
    leader: Option<String>,
}

/// What is remembered of a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedMember {
    instance: Option<String>,
    client_id: String,
    client_host: String,
    session_ms: u32,
    rebalance_ms: u32,
    protocols: Vec<(String, Blob)>,
    assignment: Blob,
    order: u64,
}

/// Bytes that only clients understand; base64 in JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blob(pub(crate) Bytes);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = BASE64_STANDARD.decode(text).map_err(serde::de::Error::custom)?;
        Ok(Self(bytes.into()))
    }
}

impl Group {
    /// What is to be saved, if anything is since this was last called.
    pub(crate) fn take_unsaved(&mut self) -> Option<(SavedGroup, BTreeMap<String, SavedMember>)> {
        if !std::mem::take(&mut self.unsaved) {
            return None;
        }
        let head = SavedGroup {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
        };
        let members = self.members.iter().map(|(id, member)| {
            let protocols = member.protocols.iter();
            let saved = SavedMember {
                instance: member.instance.clone(),
                client_id: member.client_id.clone(),
                client_host: member.client_host.clone(),
                session_ms: member.session_ms,
                rebalance_ms: member.rebalance_ms,
                protocols: protocols
                    .map(|(name, says)| (name.clone(), Blob(says.clone())))
                    .collect(),
                assignment: Blob(member.assignment.clone()),
                order: member.order,
            };
            (id.clone(), saved)
        });
        Some((head, members.collect()))
    }

    /// The group as it was saved: stable, with sessions that begin `now`.
    pub(crate) fn restore(
        limits: Limits,
        now: Moment,
        head: SavedGroup,
        members: BTreeMap<String, SavedMember>,
    ) -> Self {
        let mut group = Self::new(limits);
        group.generation = head.generation;
        group.protocol_type = head.protocol_type;
        if members.is_empty() {
            return group;
        }
        group.state = State::Stable;
        group.protocol = head.protocol;
        group.leader = head.leader.filter(|leader| members.contains_key(leader));
        group.order = members.values().map(|member| member.order).max().unwrap_or(0);
        for (id, saved) in members {
            if let Some(instance) = &saved.instance {
                group.statics.insert(instance.clone(), id.clone());
            }
            let protocols = saved.protocols.into_iter();
            let member = Member {
                instance: saved.instance,
                client_id: saved.client_id,
                client_host: saved.client_host,
                session_ms: saved.session_ms,
                rebalance_ms: saved.rebalance_ms,
                protocols: protocols.map(|(name, Blob(says))| (name, says)).collect(),
                assignment: saved.assignment.0,
                expires: now.plus(saved.session_ms),
                joining: None,
                syncing: None,
                order: saved.order,
            };
            group.members.insert(id, member);
        }
        group
    }
}
