//! Definitions that are put in force together.

use super::{append, open, part, read_all, rows, sequence, spec};
use crate::{Engine, ErrorKind, Mode, ViewSpec};

fn view(name: &str) -> ViewSpec {
    let (query, columns) = ("SELECT 1 AS a".to_owned(), Vec::new());
    ViewSpec { name: name.to_owned(), query, columns, sources: None }
}

#[tokio::test]
async fn a_draft_is_in_force_as_a_whole_and_after_a_restart() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let engine = open(directory.path());
    let session = engine.own_session();
    engine.create_stream(spec("old", Mode::Upsert, 1)).await.expect("new");
    let draft = session.begin_draft();
    let own = draft.session().clone();
    let keyed = own.create_stream(spec("keyed", Mode::Upsert, 2)).await.expect("new");
    let plain = own.create_stream(spec("plain", Mode::Append, 1)).await.expect("new");
    own.create_view(view("v"), false).await.expect("new");
    own.create_sequence(sequence("s", 100)).await.expect("new");
    assert_eq!(own.next_values("s", 40).await.expect("within").last(), Some(&40));
    own.drop_stream("old").await.expect("it is there");
    let taken = own.create_view(view("plain"), false).await.expect_err("a stream has the name");
    assert_eq!(taken.kind, ErrorKind::AlreadyExists);
    // Nobody else sees any of it.
    let seen = session.catalog();
    assert!(seen.by_name("keyed").is_none() && seen.view("v").is_none());
    assert!(seen.by_name("old").is_some() && session.sequence("s").is_err());
    assert!(own.catalog().by_name("keyed").is_some() && own.catalog().by_name("old").is_none());
    let parts = [
        part(keyed.partitions[1], &[("a", Some("1"))]),
        part(plain.partitions[0], &[("b", Some("2"))]),
    ];
    draft.commit(Some(append(parts))).await.expect("nobody has changed anything");
    let check = async |engine: &Engine| {
        let catalog = engine.catalog();
        assert_eq!(catalog.by_name("keyed"), Some(&keyed));
        assert!(catalog.by_name("old").is_none() && catalog.view("v").is_some());
        assert_eq!(rows(engine, "keyed").await.get("a"), Some(&"1".to_owned()));
        assert_eq!(read_all(engine, plain.partitions[0]).len(), 1);
        let next = engine.next_values("s", 1).await.expect("within");
        assert!((41..=80).contains(&next[0]), "{next:?}");
        engine.stop();
    };
    check(&engine).await;
    drop((own, session, engine));
    check(&open(directory.path())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_of_a_draft_that_was_not_committed() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let engine = open(directory.path());
    let draft = engine.own_session().begin_draft();
    let stream = draft.session().create_stream(spec("t", Mode::Upsert, 1)).await.expect("new");
    let partition = stream.partitions[0];
    assert!(engine.partition(partition).is_some());
    drop(draft);
    while engine.partition(partition).is_some() {
        tokio::task::yield_now().await;
    }
    // Killed: the start removes it.
    let draft = engine.own_session().begin_draft();
    let stream = draft.session().create_stream(spec("t", Mode::Upsert, 1)).await.expect("new");
    let partition = stream.partitions[0];
    engine.stop();
    // Nobody is left who could remove it.
    std::thread::spawn(|| drop(draft)).join().expect("it does not panic");
    drop(engine);
    let engine = open(directory.path());
    assert!(engine.catalog().by_name("t").is_none());
    while engine.partition(partition).is_some() {
        tokio::task::yield_now().await;
    }
    engine.stop();
}

#[tokio::test]
async fn a_draft_changes_nothing_that_was_changed_since() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let engine = open(directory.path());
    let session = engine.own_session();
    session.create_view(view("v"), false).await.expect("new");
    for (number, meanwhile) in (0..).zip(["dropped", "replaced", "taken"]) {
        let draft = session.begin_draft();
        let own = draft.session();
        let expected = match meanwhile {
            "taken" => {
                own.create_stream(spec("new", Mode::Append, 1)).await.expect("free");
                session.create_view(view("new"), false).await.expect("free");
                ErrorKind::AlreadyExists
            }
            "replaced" => {
                own.rename_view("v", "w".to_owned()).await.expect("it is there");
                session.create_view(view("v"), true).await.expect("it is there");
                ErrorKind::Conflict
            }
            _ => {
                let name = format!("t{number}");
                session.create_stream(spec(&name, Mode::Append, 1)).await.expect("free");
                own.drop_stream(&name).await.expect("it is there");
                session.drop_stream(&name).await.expect("it is there");
                ErrorKind::Conflict
            }
        };
        let error = draft.commit(None).await.expect_err(meanwhile);
        assert_eq!(error.kind, expected, "{meanwhile}: {error}");
    }
    let catalog = engine.catalog();
    assert!(catalog.by_name("new").is_none() && catalog.view("w").is_none());
    engine.stop();
}

#[tokio::test]
async fn an_append_may_be_larger_than_the_journal() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let engine = open(directory.path());
    let keyed = engine.create_stream(spec("keyed", Mode::Upsert, 2)).await.expect("new");
    let old = engine.create_stream(spec("old", Mode::Append, 1)).await.expect("new");
    // A file of the journal has a megabyte.
    let large = "x".repeat(300_000);
    let parts = |from: usize| {
        let to = |number: usize| keyed.partitions[number % 2];
        let one = move |number: usize| (to(number), number.to_string());
        let large = &large;
        (from..from + 12).map(one).map(move |(to, key)| part(to, &[(&key, Some(large))]))
    };
    let appended = engine.append(append(parts(0))).await.expect("it goes to segments");
    assert!(appended.iter().all(|one| one.round == appended[0].round));
    let draft = engine.own_session().begin_draft();
    draft.session().drop_stream("old").await.expect("it is there");
    let new = draft.session().create_stream(spec("new", Mode::Upsert, 1)).await.expect("free");
    let more = parts(12).chain([part(new.partitions[0], &[("a", Some("1"))])]);
    draft.commit(Some(append(more))).await.expect("it goes to segments");
    let check = async |engine: &Engine| {
        assert_eq!(rows(engine, "keyed").await.len(), 24);
        assert_eq!(rows(engine, "new").await.len(), 1);
        assert!(engine.partition(old.partitions[0]).is_none());
        assert_eq!(read_all(engine, keyed.partitions[0]).len(), 12);
    };
    check(&engine).await;
    engine.stop();
    drop(engine);
    let engine = open(directory.path());
    check(&engine).await;
    engine.stop();
}
