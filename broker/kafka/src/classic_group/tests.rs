use super::{CommitOf, Effect, Group, Identity, Join, Joined, Limits, Moment, State, Sync, Waiter};
use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashMap};

const SESSION: u32 = 10_000;
const REBALANCE: u32 = 30_000;

/// A group with its clock, and everything that was answered.
struct Test {
    group: Group,
    now: Moment,
    waiters: u64,
    ids: u64,
    answers: BTreeMap<u64, Effect>,
}

impl Test {
    fn new(initial_delay_ms: u32) -> Self {
        Self {
            group: Group::new(Limits { members: 5, initial_delay_ms }),
            now: Moment(1_000_000),
            waiters: 0,
            ids: 0,
            answers: BTreeMap::new(),
        }
    }

    fn waiter(&mut self) -> Waiter {
        self.waiters += 1;
        Waiter(self.waiters)
    }

    fn answered(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            let waiter = match &effect {
                Effect::Joined(waiter, _) | Effect::Synced(waiter, _) => waiter.0,
            };
            assert!(self.answers.insert(waiter, effect).is_none(), "answered twice");
        }
    }

    fn join_with(&mut self, change: impl FnOnce(&mut Join)) -> Waiter {
        let waiter = self.waiter();
        let mut join = Join {
            member_id: String::new(),
            instance: None,
            client_id: "test".to_owned(),
            client_host: "/127.0.0.1".to_owned(),
            session_ms: SESSION,
            rebalance_ms: REBALANCE,
            protocol_type: "consumer".to_owned(),
            protocols: vec![("range".to_owned(), Bytes::from_static(b"topics"))],
            new_id: String::new(),
            id_first: false,
            can_skip: true,
        };
        change(&mut join);
        if join.member_id.is_empty() {
            self.ids += 1;
            join.new_id = format!("m{}", self.ids);
        }
        let mut effects = Vec::new();
        self.group.join(self.now, join, waiter, &mut effects);
        self.answered(effects);
        waiter
    }

    fn join(&mut self, member_id: &str) -> Waiter {
        self.join_with(|join| join.member_id = member_id.to_owned())
    }

    fn sync(&mut self, member_id: &str, assignments: &[(&str, &'static [u8])]) -> Waiter {
        let generation = self.group.generation;
        let waiter = self.waiter();
        let sync = Sync {
            who: Identity { member_id, instance: None },
            generation,
            protocol_type: None,
            protocol: None,
            assignments: assignments
                .iter()
                .map(|(id, bytes)| ((*id).to_owned(), Bytes::from_static(bytes)))
                .collect(),
        };
        let mut effects = Vec::new();
        self.group.sync(self.now, sync, waiter, &mut effects);
        self.answered(effects);
        waiter
    }

    fn heartbeat(&mut self, member_id: &str) -> Result<(), ResponseError> {
        let who = Identity { member_id, instance: None };
        self.group.heartbeat(self.now, who, self.group.generation)
    }

    fn leave(&mut self, member_id: &str) -> Result<(), ResponseError> {
        let mut effects = Vec::new();
        let who = Identity { member_id, instance: None };
        let result = self.group.leave(self.now, who, &mut effects);
        self.answered(effects);
        result
    }

    /// Lets time pass, doing what is due on the way.
    fn pass(&mut self, ms: u32) {
        let end = self.now.plus(ms);
        while let Some(due) = self.group.next_deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            let mut effects = Vec::new();
            self.group.tick(self.now, &mut effects);
            self.answered(effects);
        }
        self.now = end;
    }

    fn joined(&self, waiter: Waiter) -> &Joined {
        match self.answers.get(&waiter.0) {
            Some(Effect::Joined(_, Ok(joined))) => joined,
            other => panic!("{waiter:?} was not taken in: {other:?}"),
        }
    }

    fn error(&self, waiter: Waiter) -> ResponseError {
        match self.answers.get(&waiter.0) {
            Some(Effect::Joined(_, Err(refused))) => refused.error,
            Some(Effect::Synced(_, Err(error))) => *error,
            other => panic!("{waiter:?} was not refused: {other:?}"),
        }
    }

    fn assignment(&self, waiter: Waiter) -> &[u8] {
        match self.answers.get(&waiter.0) {
            Some(Effect::Synced(_, Ok(synced))) => &synced.assignment,
            other => panic!("{waiter:?} has no assignment: {other:?}"),
        }
    }

    fn waits(&self, waiter: Waiter) -> bool {
        !self.answers.contains_key(&waiter.0)
    }

    /// A group of two in its second generation, stable: m1 leads.
    fn of_two() -> Self {
        let mut test = Self::new(0);
        test.join("");
        test.sync("m1", &[]);
        let second = test.join("");
        assert!(test.waits(second), "m1 has not come back yet");
        let first = test.join("m1");
        assert_eq!(test.joined(first).members.len(), 2);
        assert_eq!(test.joined(second).leader, "m1");
        let waiting = test.sync("m2", &[]);
        assert!(test.waits(waiting), "the leader has not decided yet");
        let leader = test.sync("m1", &[("m1", b"one"), ("m2", b"two")]);
        assert_eq!((test.assignment(leader), test.assignment(waiting)), (&b"one"[..], &b"two"[..]));
        assert_eq!((test.group.state, test.group.generation), (State::Stable, 2));
        test
    }
}

#[test]
fn a_new_group_waits_for_more_members() {
    let mut test = Test::new(3_000);
    let first = test.join("");
    test.pass(2_000);
    let second = test.join("");
    test.pass(2_000);
    assert!(test.waits(first) && test.waits(second), "the second began the delay anew");
    test.pass(1_000);
    assert_eq!(test.joined(first).members.len(), 2);
    assert_eq!(test.joined(second).members.len(), 0);
    assert_eq!(test.joined(second).generation, 1);
}

#[test]
fn a_member_that_does_not_come_back_is_dropped() {
    let mut test = Test::of_two();
    let third = test.join("");
    assert_eq!(test.heartbeat("m1"), Err(ResponseError::RebalanceInProgress));
    let first = test.join("m1");
    // m2 still sends heartbeats, but does not join.
    for _ in 0..6 {
        test.pass(5_000 - 1);
        let _ = test.heartbeat("m2");
    }
    assert!(test.waits(third));
    test.pass(10);
    assert_eq!(test.joined(third).generation, 3);
    assert_eq!(test.joined(first).members.len(), 2);
    assert_eq!(test.heartbeat("m2"), Err(ResponseError::UnknownMemberId));
}

#[test]
fn a_silent_member_expires_and_the_others_share_its_work() {
    let mut test = Test::of_two();
    test.pass(6_000);
    assert_eq!(test.heartbeat("m1"), Ok(()));
    test.pass(6_000);
    assert_eq!(test.heartbeat("m2"), Err(ResponseError::UnknownMemberId));
    assert_eq!(test.heartbeat("m1"), Err(ResponseError::RebalanceInProgress));
    let first = test.join("m1");
    assert_eq!((test.joined(first).generation, test.joined(first).members.len()), (3, 1));
}

#[test]
fn a_leader_that_does_not_decide_is_dropped() {
    let mut test = Test::of_two();
    let leader = test.join("m1");
    let other = test.join("m2");
    assert_eq!(test.joined(other).generation, 3);
    let sync = test.sync("m2", &[]);
    for _ in 0..4 {
        test.pass(8_000);
        let _ = test.heartbeat("m1");
    }
    assert_eq!(test.joined(leader).leader, "m1");
    assert_eq!(test.error(sync), ResponseError::RebalanceInProgress);
    assert_eq!(test.heartbeat("m1"), Err(ResponseError::UnknownMemberId));
    let again = test.join("m2");
    assert_eq!(test.joined(again).leader, "m2");
}

#[test]
fn members_can_join_and_leave_while_a_rebalance_goes_on() {
    // "UNKNOWN_MEMBER_ID in concurrent rebalances" is what other brokers got wrong.
    let mut test = Test::of_two();
    let first = test.join("m1");
    let third = test.join("");
    assert_eq!(test.leave("m2"), Ok(()));
    assert_eq!(test.joined(third).generation, 3);
    // The leader's answer is lost, it asks again; then a fourth comes before anybody synced.
    let again = test.join("m1");
    assert_eq!(test.joined(first), test.joined(again));
    let sync = test.sync("m3", &[]);
    let fourth = test.join("");
    assert_eq!(test.error(sync), ResponseError::RebalanceInProgress);
    let (one, three) = (test.join("m1"), test.join("m3"));
    for waiter in [one, three, fourth] {
        assert_eq!(test.joined(waiter).generation, 4);
    }
    // An old generation is told so, and is not unknown.
    let old = Identity { member_id: "m1", instance: None };
    let result = test.group.heartbeat(test.now, old, 3);
    assert_eq!(result, Err(ResponseError::IllegalGeneration));
}

#[test]
fn the_id_comes_first_when_it_is_asked_for() {
    let mut test = Test::new(0);
    let asked = test.join_with(|join| join.id_first = true);
    assert_eq!(test.error(asked), ResponseError::MemberIdRequired);
    let joined = test.join_with(|join| {
        join.id_first = true;
        join.member_id = "m1".to_owned();
    });
    assert_eq!(test.joined(joined).member_id, "m1");
    // An id that was not used in time is forgotten.
    let asked = test.join_with(|join| join.id_first = true);
    let Some(Effect::Joined(_, Err(refused))) = test.answers.get(&asked.0).cloned() else {
        panic!("it should have been told an id");
    };
    test.sync("m1", &[]);
    for _ in 0..3 {
        test.pass(SESSION / 2 + 1);
        assert_eq!(test.heartbeat("m1"), Ok(()));
    }
    let late = test.join(&refused.member_id);
    assert_eq!(test.error(late), ResponseError::UnknownMemberId);
}

#[test]
fn protocols_must_have_one_in_common() {
    let mut test = Test::new(0);
    let with = |kind: &str, names: &[&str]| {
        let kind = kind.to_owned();
        let protocols: Vec<_> =
            names.iter().map(|name| ((*name).to_owned(), Bytes::new())).collect();
        move |join: &mut Join| {
            join.protocol_type = kind;
            join.protocols = protocols;
        }
    };
    let nothing = test.join_with(with("consumer", &[]));
    assert_eq!(test.error(nothing), ResponseError::InconsistentGroupProtocol);
    let first = test.join_with(with("consumer", &["sticky", "range"]));
    assert_eq!(test.joined(first).protocol, "sticky");
    let other_kind = test.join_with(with("connect", &["range"]));
    assert_eq!(test.error(other_kind), ResponseError::InconsistentGroupProtocol);
    let other_name = test.join_with(with("consumer", &["roundrobin"]));
    assert_eq!(test.error(other_name), ResponseError::InconsistentGroupProtocol);
    // Each votes for what it likes best of what all have.
    let second = test.join_with(with("consumer", &["range", "roundrobin"]));
    let first = test.join_with(|join| {
        join.member_id = "m2".to_owned();
        with("consumer", &["sticky", "range"])(join);
    });
    assert_eq!(test.joined(first).protocol, "range");
    assert_eq!(test.joined(second).protocol, "range");
}

#[test]
fn a_static_member_comes_back_without_a_rebalance() {
    let of = |instance: &'static str| move |join: &mut Join| join.instance = Some(instance.into());
    let mut test = Test::new(0);
    test.join_with(of("a"));
    test.sync("m1", &[("m1", b"all")]);
    let restarted = test.join_with(of("a"));
    let joined = test.joined(restarted).clone();
    assert_eq!((joined.generation, &*joined.member_id), (1, "m2"));
    // It led and leads; its assignment stands (KIP-814).
    assert!(joined.skip_assignment && joined.leader == "m2" && joined.members.len() == 1);
    let sync = test.sync_as("m2", "a");
    assert_eq!(test.assignment(sync), b"all");
    // Its old self is fenced, not unknown.
    let old = Identity { member_id: "m1", instance: Some("a") };
    assert_eq!(test.group.heartbeat(test.now, old, 1), Err(ResponseError::FencedInstanceId));
    // A client that cannot skip must not take itself for the leader.
    let restarted = test.join_with(|join| {
        of("a")(join);
        join.can_skip = false;
    });
    let joined = test.joined(restarted);
    assert!(joined.leader == "m2" && joined.member_id == "m3" && joined.members.is_empty());
}

impl Test {
    fn sync_as(&mut self, member_id: &str, instance: &str) -> Waiter {
        let waiter = self.waiter();
        let sync = Sync {
            who: Identity { member_id, instance: Some(instance) },
            generation: self.group.generation,
            protocol_type: Some("consumer"),
            protocol: Some("range"),
            assignments: Vec::new(),
        };
        let mut effects = Vec::new();
        self.group.sync(self.now, sync, waiter, &mut effects);
        self.answered(effects);
        waiter
    }
}

#[test]
fn a_static_member_that_is_away_keeps_its_place_until_its_session_ends() {
    let mut test = Test::new(0);
    test.join_with(|join| {
        join.instance = Some("a".to_owned());
        join.session_ms = 100_000;
    });
    test.sync("m1", &[]);
    test.sync_as("m1", "a");
    let second = test.join("");
    test.pass(REBALANCE + 1);
    // The static member did not join, but is counted in.
    let joined = test.joined(second);
    assert_eq!((&*joined.leader, joined.members.len()), ("m2", 2));
}

#[test]
fn a_transaction_commits_while_the_leader_shares_out_the_work() {
    let mut test = Test::of_two();
    test.group.state = State::Completing;
    let who = Identity { member_id: "m1", instance: None };
    let mut check = |of| test.group.check_commit(test.now, who, 2, of);
    assert_eq!(check(CommitOf::Consumer), Err(ResponseError::RebalanceInProgress));
    assert_eq!(check(CommitOf::Transaction), Ok(()));
}

#[test]
fn commits_come_from_who_may_make_them() {
    let mut test = Test::of_two();
    let check = |test: &mut Test, member_id: &str, generation: i32, expected| {
        let who = Identity { member_id, instance: None };
        let of = CommitOf::Consumer;
        assert_eq!(test.group.check_commit(test.now, who, generation, of), expected);
    };
    check(&mut test, "m1", 2, Ok(()));
    check(&mut test, "m1", 1, Err(ResponseError::IllegalGeneration));
    check(&mut test, "m9", 2, Err(ResponseError::UnknownMemberId));
    // Somebody without a group may not commit into one that has members.
    check(&mut test, "", -1, Err(ResponseError::UnknownMemberId));
    // While a rebalance is being prepared the last word of the old generation counts.
    test.join("");
    check(&mut test, "m2", 2, Ok(()));
    test.join("m1");
    test.join("m2");
    check(&mut test, "m1", 3, Err(ResponseError::RebalanceInProgress));
    for id in ["m1", "m2", "m3"] {
        assert_eq!(test.leave(id), Ok(()));
    }
    check(&mut test, "", -1, Ok(()));
    assert!(test.group.is_vacant());
}

#[test]
fn a_full_group_takes_nobody_more() {
    let mut test = Test::new(1_000);
    for _ in 0..5 {
        test.join("");
    }
    let sixth = test.join("");
    assert_eq!(test.error(sixth), ResponseError::GroupMaxSizeReached);
    test.pass(1_000);
    assert_eq!(test.group.members.len(), 5);
    let known = test.join("m1");
    assert_eq!(test.joined(known).generation, 1);
}

#[test]
fn a_request_that_was_given_up_does_not_hold_a_place() {
    let mut test = Test::new(0);
    test.join("");
    test.sync("m1", &[]);
    let second = test.join("");
    test.group.abandon(test.now, second);
    test.pass(SESSION - 1);
    let _ = test.heartbeat("m1");
    test.pass(2);
    let first = test.join("m1");
    assert_eq!(test.joined(first).members.len(), 1);
}

#[derive(Debug, Clone)]
enum Step {
    Join { known: bool, pick: usize, id_first: bool, instance: Option<u8>, protocols: u8 },
    Sync { pick: usize },
    Heartbeat { pick: usize },
    Leave { pick: usize },
    Abandon { pick: usize },
    Pass { ms: u32 },
}

fn step() -> impl Strategy<Value = Step> {
    let pick = 0usize..8;
    prop_oneof![
        4 => (any::<bool>(), pick.clone(), any::<bool>(), proptest::option::of(0u8..3), 1u8..4)
            .prop_map(|(known, pick, id_first, instance, protocols)| {
                Step::Join { known, pick, id_first, instance, protocols }
            }),
        4 => pick.clone().prop_map(|pick| Step::Sync { pick }),
        2 => pick.clone().prop_map(|pick| Step::Heartbeat { pick }),
        1 => pick.clone().prop_map(|pick| Step::Leave { pick }),
        1 => pick.prop_map(|pick| Step::Abandon { pick }),
        2 => (1u32..20_000).prop_map(|ms| Step::Pass { ms }),
    ]
}

impl Test {
    fn run(&mut self, step: Step) -> Option<Waiter> {
        let ids: Vec<(String, Option<String>)> = self
            .group
            .members
            .iter()
            .map(|(id, member)| (id.clone(), member.instance.clone()))
            .collect();
        let picked = |pick: usize| ids.get(pick % ids.len().max(1)).cloned();
        match step {
            Step::Join { known, pick, id_first, instance, protocols } => {
                let known = if known { picked(pick) } else { None };
                let names = ["range", "sticky"];
                let offers = names.iter().enumerate().filter(|(bit, _)| protocols >> bit & 1 == 1);
                let offers: Vec<_> =
                    offers.map(|(_, name)| ((*name).to_owned(), Bytes::new())).collect();
                return Some(self.join_with(|join| {
                    join.id_first = id_first;
                    join.protocols = offers;
                    match known {
                        Some((id, instance)) => {
                            join.member_id = id;
                            join.instance = instance;
                        }
                        None => join.instance = instance.map(|n| format!("i{n}")),
                    }
                }));
            }
            Step::Sync { pick } => {
                let (id, instance) = picked(pick)?;
                return Some(match instance {
                    Some(instance) => self.sync_as_any(&id, &instance),
                    None => self.sync(&id, &[]),
                });
            }
            Step::Heartbeat { pick } => {
                let (member_id, instance) = picked(pick)?;
                let who = Identity { member_id: &member_id, instance: instance.as_deref() };
                let _ = self.group.heartbeat(self.now, who, self.group.generation);
            }
            Step::Leave { pick } => {
                let (member_id, instance) = picked(pick)?;
                let who = Identity { member_id: &member_id, instance: instance.as_deref() };
                let mut effects = Vec::new();
                self.group.leave(self.now, who, &mut effects).expect("it is a member");
                self.answered(effects);
            }
            Step::Abandon { pick } => {
                let waiting = self.waiting();
                let waiter = *waiting.iter().nth(pick % waiting.len().max(1))?;
                self.group.abandon(self.now, Waiter(waiter));
                let given_up = Effect::Synced(Waiter(waiter), Err(ResponseError::NetworkException));
                self.answers.insert(waiter, given_up);
            }
            Step::Pass { ms } => self.pass(ms),
        }
        None
    }

    fn sync_as_any(&mut self, member_id: &str, instance: &str) -> Waiter {
        let waiter = self.waiter();
        let sync = Sync {
            who: Identity { member_id, instance: Some(instance) },
            generation: self.group.generation,
            protocol_type: None,
            protocol: None,
            assignments: Vec::new(),
        };
        let mut effects = Vec::new();
        self.group.sync(self.now, sync, waiter, &mut effects);
        self.answered(effects);
        waiter
    }

    /// Requests that members hold.
    fn waiting(&self) -> BTreeSet<u64> {
        let members = self.group.members.values();
        members
            .flat_map(|member| member.joining.iter().chain(&member.syncing))
            .map(|w| w.0)
            .collect()
    }

    fn check(&self, generation_before: i32) {
        let group = &self.group;
        let open: BTreeSet<u64> =
            (1..=self.waiters).filter(|waiter| !self.answers.contains_key(waiter)).collect();
        assert_eq!(open, self.waiting(), "every open request is held by exactly one member");
        assert!(open.is_empty() || group.next_deadline().is_some(), "a request waits for ever");
        assert!(group.generation >= generation_before);
        assert_eq!(group.members.is_empty(), group.state == State::Empty);
        assert!(group.members.len() + group.pending.len() <= 5);
        let statics: HashMap<_, _> = group
            .members
            .iter()
            .filter_map(|(id, member)| Some((member.instance.clone()?, id.clone())))
            .collect();
        assert_eq!(group.statics, statics);
        match group.state {
            State::Completing | State::Stable => {
                let leader = group.leader.as_ref().expect("somebody leads");
                assert!(group.members.contains_key(leader));
                assert!(group.members.values().all(|member| member.speaks(&group.protocol)));
                assert!(group.members.values().all(|member| member.joining.is_none()));
            }
            State::Empty | State::Preparing => {
                assert!(group.members.values().all(|member| member.syncing.is_none()));
            }
        }
        if group.state == State::Stable {
            assert!(group.members.values().all(|member| member.syncing.is_none()));
        }
    }
}

proptest! {
    #[test]
    fn whatever_members_do_everybody_is_answered_once(
        initial_delay in prop_oneof![Just(0u32), Just(3_000)],
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let mut test = Test::new(initial_delay);
        for step in steps {
            let before = test.group.generation;
            test.run(step);
            test.check(before);
        }
        // With everybody silent the group empties, and nobody is left waiting.
        for _ in 0..20 {
            test.pass(REBALANCE * 2);
        }
        prop_assert!(test.group.is_vacant());
        prop_assert_eq!(test.answers.len() as u64, test.waiters);
    }
}
