//! A member's way from what it has to what it should have.

use super::{ConsumerGroup, LEAVES_FOR_NOW, Member, Partitions, Progress};
use crate::classic_group::Moment;
use std::collections::BTreeSet;
use uuid::Uuid;

impl ConsumerGroup {
    /// Takes a member as far as it can go. `owned` is what it says it has; `None` if it does not
    /// say.
    pub(super) fn reconcile(&mut self, now: Moment, id: &str, owned: Option<&Partitions>) {
        let member = &self.members[id];
        let holds =
            |partitions: &Partitions| owned.is_none_or(|owned| intersects(owned, partitions));
        let next = match member.progress {
            Progress::Stable if member.epoch == self.head.target_epoch => return,
            Progress::Revoking if holds(&member.revoking) => return,
            Progress::Stable | Progress::Revoking | Progress::Waiting => {
                self.next(id, member, &holds)
            }
        };
        let member = self.members.get_mut(id).expect("it was just read");
        if *member == next {
            return;
        }
        *member = next;
        member.revoke_by = match (member.progress, member.revoke_by) {
            (Progress::Revoking, None) => Some(now.plus(member.rebalance_ms)),
            (Progress::Revoking, Some(until)) => Some(until),
            (Progress::Stable | Progress::Waiting, _) => None,
        };
        self.remember(id);
    }

    fn next(&self, id: &str, member: &Member, holds: &dyn Fn(&Partitions) -> bool) -> Member {
        let mut next = member.clone();
        let (kept, given_up) = divide(&member.assigned, &member.target);
        let mut free = Partitions::new();
        let mut waits = false;
        for (&topic, indexes) in &member.target {
            for &index in indexes {
                if contains(&kept, topic, index) {
                    continue;
                }
                if self.is_taken(id, topic, index) {
                    waits = true;
                } else {
                    free.entry(topic).or_default().insert(index);
                }
            }
        }
        if !given_up.is_empty() && holds(&given_up) {
            next.assigned = kept;
            next.revoking = given_up;
            next.progress = Progress::Revoking;
            return next;
        }
        next.assigned = kept;
        for (topic, indexes) in free {
            next.assigned.entry(topic).or_default().extend(indexes);
        }
        next.revoking = Partitions::new();
        next.progress = if waits { Progress::Waiting } else { Progress::Stable };
        if next.epoch != self.head.target_epoch {
            next.previous_epoch = next.epoch;
            next.epoch = self.head.target_epoch;
        }
        next
    }

    /// Whether a partition that the member should have is still another's.
    pub(super) fn waits(&self, id: &str) -> bool {
        let member = &self.members[id];
        member.target.iter().any(|(&topic, indexes)| {
            let missing =
                indexes.iter().filter(|&&index| !contains(&member.assigned, topic, index));
            missing.copied().any(|index| self.is_taken(id, topic, index))
        })
    }

    /// Whether somebody else has the partition, or has not given it up yet.
    fn is_taken(&self, id: &str, topic: Uuid, index: i32) -> bool {
        self.members.iter().any(|(other, member)| {
            other != id
                && (contains(&member.assigned, topic, index)
                    || contains(&member.revoking, topic, index))
        })
    }

    /// A static member goes, and keeps its place until its session ends.
    pub(super) fn leave_for_now(&mut self, id: &str) {
        let member = self.members.get_mut(id).expect("it was identified");
        member.previous_epoch = member.epoch;
        member.epoch = LEAVES_FOR_NOW;
        // It holds nothing any longer, so it has given up what it had to.
        member.revoking = Partitions::new();
        member.progress = Progress::Stable;
        member.revoke_by = None;
        self.remember(id);
    }
}

fn contains(partitions: &Partitions, topic: Uuid, index: i32) -> bool {
    partitions.get(&topic).is_some_and(|indexes| indexes.contains(&index))
}

fn intersects(a: &Partitions, b: &Partitions) -> bool {
    a.iter().any(|(topic, indexes)| b.get(topic).is_some_and(|other| !indexes.is_disjoint(other)))
}

/// What of `all` is in `wanted`, and what is not.
fn divide(all: &Partitions, wanted: &Partitions) -> (Partitions, Partitions) {
    let (mut inside, mut outside) = (Partitions::new(), Partitions::new());
    for (&topic, indexes) in all {
        let none = BTreeSet::new();
        let wanted = wanted.get(&topic).unwrap_or(&none);
        for &index in indexes {
            let side = if wanted.contains(&index) { &mut inside } else { &mut outside };
            side.entry(topic).or_default().insert(index);
        }
    }
    (inside, outside)
}

/// Whether all of `a` is in `b`.
pub(super) fn is_within(a: &Partitions, b: &Partitions) -> bool {
    a.iter().all(|(topic, indexes)| {
        indexes.is_empty() || b.get(topic).is_some_and(|other| indexes.is_subset(other))
    })
}
