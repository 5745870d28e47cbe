use super::*;
use proptest::prelude::*;

const LIMITS: Limits = Limits {
    members: 5,
    session_ms: 45_000,
    heartbeat_ms: 5_000,
    migration: Migration::Bidirectional,
};
const REBALANCE: u32 = 30_000;

fn topics(of: &[(&str, i32)]) -> Topics {
    let id = |name: &str| Uuid::from_u128(u128::from(name.as_bytes()[0]));
    Topics(of.iter().map(|&(name, count)| (name.to_owned(), (id(name), count))).collect())
}

/// A group and the clients in it, as they see it.
struct Test {
    group: ConsumerGroup,
    now: Moment,
    topics: Topics,
    seen: u64,
    clients: BTreeMap<String, Client>,
    /// What a restart would find.
    saved: (Head, BTreeMap<String, Member>),
}

#[derive(Debug, Clone, Default)]
struct Client {
    epoch: i32,
    instance: Option<String>,
    wants: BTreeSet<String>,
    regex: Option<String>,
    owned: Partitions,
    /// It is to say everything, as after an answer that did not come.
    full: bool,
}

impl Test {
    fn new(of: &[(&str, i32)]) -> Self {
        Self {
            group: ConsumerGroup::new(Head::default(), LIMITS),
            now: Moment(1),
            topics: topics(of),
            seen: 1,
            clients: BTreeMap::new(),
            saved: (Head::default(), BTreeMap::new()),
        }
    }

    fn send(&mut self, heartbeat: Heartbeat) -> Result<Told, ResponseError> {
        heartbeat.check(true).map_err(|error| error.error)?;
        let told = self.group.heartbeat(self.now, heartbeat, &self.topics, self.seen);
        self.save();
        told.map_err(|error| error.error)
    }

    fn save(&mut self) {
        self.saved.0 = self.group.head;
        for (id, member) in self.group.take_changes() {
            match member {
                Some(member) => self.saved.1.insert(id, member),
                None => self.saved.1.remove(&id),
            };
        }
    }

    fn restart(&mut self) {
        let (head, members) = self.saved.clone();
        self.group = ConsumerGroup::new(head, LIMITS);
        for (id, member) in members {
            self.group.restore(self.now, id, member);
        }
        self.seen += 1;
    }

    fn join(&mut self, id: &str, wants: &[&str]) {
        let wants = wants.iter().map(ToString::to_string).collect();
        self.clients.insert(id.to_owned(), Client { wants, ..Client::default() });
        self.beat(id, true);
    }

    /// One heartbeat of a client that does what it is told. `heard`: the answer arrives.
    fn beat(&mut self, id: &str, heard: bool) {
        let Some(client) = self.clients.get(id).cloned() else { return };
        let first = client.epoch == JOINS;
        let full = first || client.full;
        let heartbeat = Heartbeat {
            member_id: id.to_owned(),
            instance: client.instance.clone(),
            epoch: client.epoch,
            rebalance_ms: full.then_some(REBALANCE),
            topics: Some(client.wants.clone()),
            regex: Some(client.regex.clone().unwrap_or_default()),
            owned: Some(client.owned),
            ..Heartbeat::default()
        };
        let told = self.send(heartbeat);
        let client = self.clients.get_mut(id).expect("it is there");
        if !heard {
            client.full = true;
            return;
        }
        client.full = false;
        match told {
            Ok(told) => {
                client.epoch = told.epoch;
                if let Some(assignment) = told.assignment {
                    client.owned = assignment;
                }
            }
            Err(ResponseError::FencedMemberEpoch | ResponseError::UnknownMemberId) => {
                client.epoch = JOINS;
                client.owned = Partitions::new();
            }
            Err(ResponseError::UnreleasedInstanceId | ResponseError::GroupMaxSizeReached) => {}
            Err(other) => panic!("{other:?}"),
        }
    }

    fn leave(&mut self, id: &str) {
        let Some(client) = self.clients.remove(id) else { return };
        let heartbeat = Heartbeat {
            member_id: id.to_owned(),
            instance: client.instance,
            epoch: LEAVES,
            ..Heartbeat::default()
        };
        // It may not have joined at all.
        let _ = self.send(heartbeat);
    }

    /// All clients, until nothing moves any more.
    fn converge(&mut self) {
        for _ in 0..20 {
            let ids: Vec<String> = self.clients.keys().cloned().collect();
            ids.iter().for_each(|id| self.beat(id, true));
        }
    }

    /// What each client has, in order.
    fn owned(&self) -> Vec<usize> {
        let count = |client: &Client| client.owned.values().map(BTreeSet::len).sum();
        self.clients.values().map(count).collect()
    }

    /// No partition is two members', neither as the group sees it nor as clients do.
    fn check(&self) {
        let mut seen = BTreeSet::new();
        for (id, member) in &self.group.members {
            for (topic, indexes) in member.assigned.iter().chain(&member.revoking) {
                for index in indexes {
                    assert!(seen.insert((*topic, *index)), "{id} has what another has");
                }
            }
        }
        let mut seen = BTreeSet::new();
        for (id, client) in &self.clients {
            // A client that was taken out does not know it yet: it stops by its own clock.
            if !self.group.members.contains_key(id) {
                continue;
            }
            for (topic, indexes) in &client.owned {
                for index in indexes {
                    assert!(seen.insert((*topic, *index)), "{id} reads what another reads");
                }
            }
        }
        let members: BTreeMap<&String, &Member> = self.group.members.iter().collect();
        let saved: BTreeMap<&String, &Member> = self.saved.1.iter().collect();
        let plain = |all: BTreeMap<&String, &Member>| -> BTreeMap<String, String> {
            let json = |member: &Member| serde_json::to_string(member).expect("plain data");
            all.into_iter().map(|(id, member)| (id.clone(), json(member))).collect()
        };
        assert_eq!(plain(members), plain(saved), "all of it is remembered");
    }

    fn check_converged(&self) {
        assert!(self.clients.is_empty() || self.group.state() == "Stable");
        let wanted: BTreeSet<&str> =
            self.group.members.values().flat_map(|member| self.group.topics_of(member)).collect();
        let partitions = wanted.iter().filter_map(|name| self.topics.0.get(*name));
        let all: usize = partitions.map(|&(_, count)| usize::try_from(count).expect("few")).sum();
        assert_eq!(self.owned().iter().sum::<usize>(), all, "every partition is read");
        for client in self.clients.values() {
            let ids: BTreeSet<Uuid> = self
                .topics
                .0
                .iter()
                .filter(|(name, _)| {
                    client.wants.contains(*name)
                        || client.regex.as_deref().is_some_and(|regex| {
                            compile(regex).is_ok_and(|regex| regex.is_match(name))
                        })
                })
                .map(|(_, &(id, _))| id)
                .collect();
            assert!(
                client.owned.keys().all(|id| ids.contains(id)),
                "nobody reads what it does not want"
            );
        }
    }
}

#[test]
fn members_share_and_keep_what_they_can() {
    let mut test = Test::new(&[("a", 6)]);
    test.join("one", &["a"]);
    assert_eq!(test.owned(), [6]);
    let before = test.clients["one"].owned.clone();
    test.join("two", &["a"]);
    // Nothing is free before the first has given it up.
    assert_eq!(test.owned(), [6, 0]);
    test.converge();
    assert_eq!(test.owned(), [3, 3]);
    assert!(reconcile::is_within(&test.clients["one"].owned, &before));
    test.join("zero", &["a"]);
    test.converge();
    assert_eq!(test.owned(), [2, 2, 2]);
    test.leave("one");
    // Who is left shares it out with its next heartbeat.
    assert_eq!(test.group.state(), "Assigning");
    test.converge();
    assert_eq!(test.owned(), [3, 3]);
    test.check_converged();
}

#[test]
fn new_topics_and_partitions_are_found() {
    let mut test = Test::new(&[("a", 1)]);
    test.join("one", &["a", "b"]);
    test.clients.get_mut("one").expect("it joined").regex = Some("c.*".to_owned());
    test.converge();
    assert_eq!(test.owned(), [1]);
    test.topics = topics(&[("a", 2), ("b", 3), ("cx", 4)]);
    test.seen += 1;
    test.converge();
    assert_eq!(test.owned(), [9]);
    test.check_converged();
}

#[test]
fn after_a_restart_everybody_goes_on() {
    let mut test = Test::new(&[("a", 4)]);
    test.join("one", &["a"]);
    test.join("two", &["a"]);
    test.converge();
    let epoch = test.group.head.epoch;
    let owned = test.clients["one"].owned.clone();
    test.restart();
    test.converge();
    assert_eq!(test.group.head.epoch, epoch, "no new epoch");
    assert_eq!(test.clients["one"].owned, owned);
    test.check();
    test.check_converged();
}

#[test]
fn a_static_member_comes_back_to_what_it_had() {
    let mut test = Test::new(&[("a", 4)]);
    let instance = Some("i".to_owned());
    let wants: BTreeSet<String> = ["a".to_owned()].into();
    let client = Client { instance: instance.clone(), wants, ..Client::default() };
    test.clients.insert("one".to_owned(), client.clone());
    test.join("two", &["a"]);
    test.converge();
    let owned = test.clients["one"].owned.clone();
    let epoch = test.clients["one"].epoch;
    let join = Heartbeat {
        member_id: "three".to_owned(),
        instance: instance.clone(),
        rebalance_ms: Some(REBALANCE),
        topics: Some(client.wants),
        owned: Some(Partitions::new()),
        ..Heartbeat::default()
    };
    assert_eq!(test.send(join.clone()), Err(ResponseError::UnreleasedInstanceId));
    let away = Heartbeat {
        member_id: "one".to_owned(),
        instance,
        epoch: LEAVES_FOR_NOW,
        ..Heartbeat::default()
    };
    assert_eq!(test.send(away).map(|told| told.epoch), Ok(LEAVES_FOR_NOW));
    test.beat("two", true);
    let told = test.send(join).expect("the place is free");
    assert_eq!((told.epoch, told.assignment), (epoch, Some(owned)));
    test.check();
}

/// An expression finds what its own member may see, whatever others with the same one see.
#[test]
fn an_expression_finds_what_its_member_may_see() {
    let mut test = Test::new(&[("a", 2), ("b", 2), ("c", 2)]);
    let sees = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
    let mut ask = |id: &str, epoch: i32, sees: Option<BTreeSet<String>>| {
        let heartbeat = Heartbeat {
            member_id: id.to_owned(),
            epoch,
            rebalance_ms: Some(REBALANCE),
            topics: Some(BTreeSet::new()),
            regex: Some(".*".to_owned()),
            sees,
            owned: Some(Partitions::new()),
            ..Heartbeat::default()
        };
        let told = test.send(heartbeat).expect("it may");
        let wanted = test.group.topics_of(&test.group.members[id]).into_iter().map(str::to_owned);
        (wanted.collect::<Vec<_>>(), told.epoch, test.group.head.epoch)
    };
    let (found, one, _) = ask("one", JOINS, sees(&["a", "b"]));
    assert_eq!(found, ["a", "b"]);
    let (found, _, before) = ask("two", JOINS, None);
    assert_eq!(found, ["a", "b", "c"]);
    // What a revoke or a grant changes begins an epoch.
    let (found, _, after) = ask("one", one, sees(&["c"]));
    assert_eq!((found, after), (vec!["c".to_owned()], before + 1));
}

#[test]
fn who_is_late_is_taken_out() {
    let mut test = Test::new(&[("a", 4)]);
    test.join("one", &["a"]);
    test.join("two", &["a"]);
    let due = test.group.next_deadline().expect("members have sessions");
    assert_eq!(due, test.now.plus(LIMITS.session_ms));
    // The first is to give up two partitions and does not say that it has.
    let epoch = test.clients["one"].epoch;
    let ask = Heartbeat { member_id: "one".to_owned(), epoch, ..Heartbeat::default() };
    test.send(ask.clone()).expect("it is a member");
    test.now = test.now.plus(REBALANCE);
    test.group.tick(test.now);
    assert_eq!(test.send(ask), Err(ResponseError::UnknownMemberId));
    test.beat("two", true);
    assert_eq!(test.clients["two"].owned.values().map(BTreeSet::len).sum::<usize>(), 4);
}

#[test]
fn what_is_wrong_is_refused() {
    let mut test = Test::new(&[("a", 4)]);
    let join = |id: &str| Heartbeat {
        member_id: id.to_owned(),
        rebalance_ms: Some(REBALANCE),
        topics: Some(["a".to_owned()].into()),
        owned: Some(Partitions::new()),
        ..Heartbeat::default()
    };
    let mut check = |heartbeat: Heartbeat, expected: ResponseError| {
        assert_eq!(test.send(heartbeat.clone()), Err(expected), "{heartbeat:?}");
    };
    check(Heartbeat { rebalance_ms: None, ..join("x") }, ResponseError::InvalidRequest);
    check(Heartbeat { owned: None, ..join("x") }, ResponseError::InvalidRequest);
    check(Heartbeat { topics: None, ..join("x") }, ResponseError::InvalidRequest);
    check(join(""), ResponseError::InvalidRequest);
    check(Heartbeat { epoch: -3, ..join("x") }, ResponseError::InvalidRequest);
    check(Heartbeat { epoch: LEAVES_FOR_NOW, ..join("x") }, ResponseError::InvalidRequest);
    check(Heartbeat { epoch: LEAVES, ..join("x") }, ResponseError::UnknownMemberId);
    check(Heartbeat { epoch: 7, ..join("x") }, ResponseError::UnknownMemberId);
    let assignor = Some("best".to_owned());
    check(Heartbeat { assignor, ..join("x") }, ResponseError::UnsupportedAssignor);
    let regex = Some("(".to_owned());
    check(Heartbeat { regex, ..join("x") }, ResponseError::InvalidRegularExpression);
    test.send(join("x")).expect("the first");
    let mut check = |heartbeat: Heartbeat, expected: ResponseError| {
        assert_eq!(test.send(heartbeat.clone()), Err(expected), "{heartbeat:?}");
    };
    check(Heartbeat { epoch: 7, ..join("x") }, ResponseError::FencedMemberEpoch);
    for id in ["b", "c", "d", "e"] {
        test.send(join(id)).expect("there is room");
    }
    assert_eq!(test.send(join("f")), Err(ResponseError::GroupMaxSizeReached));
}

#[derive(Debug, Clone)]
enum Step {
    Beat { client: usize, heard: bool },
    Want { client: usize, topics: Vec<usize>, regex: bool },
    Leave { client: usize },
    Topics { partitions: Vec<i32> },
    Pass { ms: u32 },
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0..4usize;
    prop_oneof![
        8 => (client.clone(), prop::bool::weighted(0.8))
            .prop_map(|(client, heard)| Step::Beat { client, heard }),
        3 => (client.clone(), prop::collection::vec(0..3usize, 0..3), any::<bool>())
            .prop_map(|(client, topics, regex)| Step::Want { client, topics, regex }),
        1 => client.prop_map(|client| Step::Leave { client }),
        1 => prop::collection::vec(0..5i32, 3).prop_map(|partitions| Step::Topics { partitions }),
        1 => (0..50_000u32).prop_map(|ms| Step::Pass { ms }),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_no_partition_has_two_readers_and_all_find_one(
        steps in prop::collection::vec(step(), 1..80),
    ) {
        const NAMES: [&str; 3] = ["a", "b", "c"];
        let id = |client: usize| format!("client-{client}");
        let mut test = Test::new(&[("a", 3), ("b", 4), ("c", 5)]);
        for step in steps {
            match step {
                Step::Beat { client, heard } => test.beat(&id(client), heard),
                Step::Want { client, topics, regex } => {
                    let entry = test.clients.entry(id(client)).or_default();
                    entry.wants = topics.into_iter().map(|at| NAMES[at].to_owned()).collect();
                    entry.regex = regex.then(|| "[bc]".to_owned());
                }
                Step::Leave { client } => test.leave(&id(client)),
                Step::Topics { partitions } => {
                    let all = NAMES.iter().copied().zip(partitions);
                    let all: Vec<_> = all.filter(|&(_, count)| count > 0).collect();
                    test.topics = topics(&all);
                    test.seen += 1;
                }
                Step::Pass { ms } => {
                    test.now = test.now.plus(ms);
                    test.group.tick(test.now);
                    test.save();
                }
                Step::Restart => test.restart(),
            }
            test.check();
        }
        test.converge();
        test.check();
        test.check_converged();
    }
}
