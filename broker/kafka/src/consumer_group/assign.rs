//! Who should have what: pure functions of subscriptions and of what members had.

use super::{ConsumerGroup, Partitions};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// How partitions are shared out, by Kafka's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Assignor {
    /// Everybody has about as many, and keeps what it had.
    Uniform,
    /// Each topic in ranges, so that partitions of the same number meet.
    Range,
}

impl Assignor {
    pub(crate) fn of(name: &str) -> Option<Self> {
        [Self::Uniform, Self::Range].into_iter().find(|assignor| assignor.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }
}

/// What an assignor sees: members in order, topics with the members that want them.
struct Wish {
    topic: Uuid,
    partitions: i32,
    /// Places in the list of members.
    members: Vec<usize>,
}

/// The target of each member.
pub(super) fn assign(group: &ConsumerGroup) -> Vec<(String, Partitions)> {
    // Static members keep their place in the order under another id.
    let mut order: Vec<(&str, &String)> = group
        .members
        .iter()
        .map(|(id, member)| (member.instance.as_deref().unwrap_or(id), id))
        .collect();
    order.sort_unstable();
    let mut wishes: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (place, (_, id)) in order.iter().enumerate() {
        for topic in group.topics_of(&group.members[*id]) {
            wishes.entry(topic).or_default().push(place);
        }
    }
    let wishes: Vec<Wish> = wishes
        .into_iter()
        .filter_map(|(name, members)| {
            let &(topic, partitions) = group.subscribed.0.get(name)?;
            Some(Wish { topic, partitions, members })
        })
        .collect();
    let before: Vec<&Partitions> = order.iter().map(|(_, id)| &group.members[*id].target).collect();
    let targets = match group.assignor() {
        Assignor::Uniform => uniform(&wishes, &before),
        Assignor::Range => range(&wishes, before.len()),
    };
    order.into_iter().map(|(_, id)| id.clone()).zip(targets).collect()
}

fn range(wishes: &[Wish], members: usize) -> Vec<Partitions> {
    let mut targets = vec![Partitions::new(); members];
    for wish in wishes {
        let partitions = usize::try_from(wish.partitions).unwrap_or(0);
        let (each, more) = (partitions / wish.members.len(), partitions % wish.members.len());
        let mut next = 0;
        for (nth, &member) in wish.members.iter().enumerate() {
            let count = each + usize::from(nth < more);
            let indexes = (next..next + count).map(|index| index as i32);
            if count > 0 {
                targets[member].entry(wish.topic).or_default().extend(indexes);
            }
            next += count;
        }
    }
    targets
}

/// Everybody keeps what it had, the rest goes to who has least, and then from who has most to who
/// has least until nobody has two more than another who could have them.
fn uniform(wishes: &[Wish], before: &[&Partitions]) -> Vec<Partitions> {
    let mut load = vec![0usize; before.len()];
    // By wish and partition: who has it.
    let mut owners: Vec<Vec<Option<usize>>> = Vec::with_capacity(wishes.len());
    for wish in wishes {
        let mut topic = vec![None; usize::try_from(wish.partitions).unwrap_or(0)];
        for &member in &wish.members {
            for &index in before[member].get(&wish.topic).into_iter().flatten() {
                if let Some(owner @ None) =
                    usize::try_from(index).ok().and_then(|at| topic.get_mut(at))
                {
                    *owner = Some(member);
                    load[member] += 1;
                }
            }
        }
        owners.push(topic);
    }
    // Topics that few want first: those who want them have less choice.
    let mut order: Vec<usize> = (0..wishes.len()).collect();
    order.sort_by_key(|&at| wishes[at].members.len());
    for &at in &order {
        for owner in owners[at].iter_mut().filter(|owner| owner.is_none()) {
            let least = least_of(&wishes[at].members, &load);
            load[least] += 1;
            *owner = Some(least);
        }
    }
    // Each move brings two loads nearer to each other, so this ends.
    loop {
        let mut moved = false;
        for &at in &order {
            let mut least = least_of(&wishes[at].members, &load);
            for owner in owners[at].iter_mut().flatten() {
                if load[*owner] > load[least] + 1 {
                    load[*owner] -= 1;
                    load[least] += 1;
                    *owner = least;
                    moved = true;
                    least = least_of(&wishes[at].members, &load);
                }
            }
        }
        if !moved {
            break;
        }
    }
    let mut targets = vec![Partitions::new(); before.len()];
    for (wish, owners) in wishes.iter().zip(&owners) {
        for (index, owner) in owners.iter().enumerate() {
            if let Some(owner) = *owner {
                targets[owner].entry(wish.topic).or_default().insert(index as i32);
            }
        }
    }
    targets
}

fn least_of(members: &[usize], load: &[usize]) -> usize {
    members.iter().copied().min_by_key(|&member| load[member]).expect("a wish has members")
}
