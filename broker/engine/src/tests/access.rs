//! Sessions: what somebody may do, and that it is the same after a restart.

use super::{SOON, append, open, part, spec};
use crate::{
    Credential, CredentialChange, Engine, ErrorKind, Exchange, Grant, Guarded, Identity, Login,
    Mechanism, Mode, Operation, Pattern, Permission, Principal, ResourceKind, SaslMechanism,
    Session, StreamRef, Submission,
};
use anabranch_access::GrantFilter;
use anabranch_log::AppendError;
use std::sync::mpsc::channel;

const HERE: &str = "127.0.0.1";

fn password(password: &str) -> CredentialChange {
    let credential =
        Credential::of_password(Mechanism::ScramSha256, password, vec![1; 16], 4096).expect("good");
    CredentialChange::Set(credential)
}

async fn make(session: &Session, name: &str) {
    let changes = vec![(name.to_owned(), password(name))];
    let results = session.change_credentials(changes).await.expect("they may");
    assert!(results.iter().all(Result::is_ok), "{results:?}");
}

fn log_in(engine: &Engine, name: &str) -> Session {
    let mut exchange = Exchange::new(SaslMechanism::Plain, String::new());
    let message = format!("\0{name}\0{name}");
    match engine.session(HERE).log_in(&mut exchange, message.as_bytes()) {
        Ok(Login::Done { session, .. }) => session,
        Ok(Login::Continue(_)) => panic!("PLAIN is one message"),
        Err(failed) => panic!("{name}: {failed}"),
    }
}

fn grant(name: &str, operation: Operation, stream: &str) -> Grant {
    Grant {
        kind: ResourceKind::Topic,
        pattern: Pattern::Literal(stream.into()),
        principal: Principal::user(name),
        host: "*".into(),
        operation,
        permission: Permission::Allow,
    }
}

fn denied<T>(result: Result<T, crate::Error>) -> bool {
    matches!(result.map_err(|error| error.kind), Err(ErrorKind::Denied(_)))
}

#[tokio::test]
async fn the_first_principal_closes_the_broker() {
    let directory = tempfile::tempdir().expect("a directory");
    let engine = open(directory.path());
    let (creator, other) = (engine.session(HERE), engine.session(HERE));
    let stream = creator.create_stream(spec("s", Mode::Upsert, 1)).await.expect("open");
    make(&creator, "root").await;
    assert_eq!(creator.principal(), Principal::user("root"), "goes on as the admin");
    assert!(other.catalog().by_name("s").is_none());
    assert!(creator.catalog().by_name("s").is_some());
    assert!(denied(other.create_stream(spec("t", Mode::Append, 1)).await));
    assert!(denied(other.drop_stream("s").await));
    assert!(denied(other.look_up(StreamRef::Name("s"), Operation::Describe)));
    assert!(denied(other.look_up(StreamRef::Name("missing"), Operation::Describe)));
    assert!(denied(other.add_grants(vec![grant("eve", Operation::All, "*")]).await));
    assert!(denied(other.append(append([part(stream.partitions[0], &[("k", None)])])).await));
    assert!(other.partition(stream.partitions[0]).is_none());
    assert!(other.marks(stream.partitions[0]).is_none());
    let cut = other.cut(SOON).await.expect("tables follow");
    assert!(denied(cut.tables.get(stream.table.expect("keyed"), b"k")));
    assert!(denied(other.access().map(drop)));
    assert!(engine.stats().denials >= 9);
    engine.stop();
}

#[tokio::test]
async fn grants_hold_at_once_and_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let engine = open(directory.path());
    let root = engine.session(HERE);
    let stream = root.create_stream(spec("s", Mode::Append, 1)).await.expect("open");
    make(&root, "root").await;
    make(&root, "ann").await;
    let ann = log_in(&engine, "ann");
    let partition = stream.partitions[0];
    let write = || append([part(partition, &[("k", Some("v"))])]);
    assert!(denied(ann.append(write()).await));
    root.add_grants(vec![grant("ann", Operation::Write, "s")]).await.expect("the admin");
    ann.append(write()).await.expect("granted");
    assert!(ann.marks(partition).is_some(), "to write implies to describe");
    assert!(ann.partition(partition).is_none(), "but not to read");
    drop((root, ann));
    engine.stop();
    drop(engine);

    let engine = open(directory.path());
    let ann = log_in(&engine, "ann");
    ann.append(write()).await.expect("still granted");
    assert!(denied(engine.session(HERE).append(write()).await));
    let root = log_in(&engine, "root");
    let removed = root.remove_grants(vec![GrantFilter::everything()]).await.expect("the admin");
    assert_eq!(removed, [vec![grant("ann", Operation::Write, "s")]]);
    assert!(denied(ann.append(write()).await));
    engine.stop();
}

#[tokio::test]
async fn of_a_submission_only_what_may_be_written_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let engine = open(directory.path());
    let root = engine.session(HERE);
    let mine = root.create_stream(spec("mine", Mode::Append, 1)).await.expect("open");
    let other = root.create_stream(spec("other", Mode::Append, 1)).await.expect("open");
    make(&root, "root").await;
    make(&root, "ann").await;
    root.add_grants(vec![grant("ann", Operation::Write, "mine")]).await.expect("the admin");
    let to = |partition| append([part(partition, &[("k", Some("v"))])]);
    let (sender, results) = channel();
    let reply = Box::new(move |results| sender.send(results).expect("waited for"));
    let (mine, other) = (mine.partitions[0], other.partitions[0]);
    log_in(&engine, "ann")
        .submit(Submission { appends: vec![to(other), to(mine), to(other)], reply });
    let results = results.recv().expect("an answer");
    let good: Vec<bool> = results.iter().map(|append| append[0].is_ok()).collect();
    assert_eq!(good, [false, true, false]);
    assert_eq!(results[0][0], Err(AppendError::Denied));
    engine.stop();
}

#[tokio::test]
async fn only_the_last_principal_can_take_the_last_admin_away() {
    let directory = tempfile::tempdir().expect("a directory");
    let engine = open(directory.path());
    let root = engine.session(HERE);
    make(&root, "root").await;
    make(&root, "ann").await;
    let remove =
        |name: &str| vec![(name.to_owned(), CredentialChange::Remove(Mechanism::ScramSha256))];
    let refused = root.change_credentials(remove("root")).await.expect("the admin");
    assert_eq!(refused[0].as_ref().map_err(|error| error.kind), Err(ErrorKind::InvalidArgument));
    for name in ["ann", "root"] {
        let gone = root.change_credentials(remove(name)).await.expect("the admin");
        assert!(gone[0].is_ok(), "{gone:?}");
    }
    assert!(engine.session(HERE).is_open());
    engine.session(HERE).create_stream(spec("s", Mode::Append, 1)).await.expect("open again");
    engine.stop();
}

#[tokio::test]
async fn an_explicit_denial_holds_on_an_open_broker() {
    let directory = tempfile::tempdir().expect("a directory");
    let engine = open(directory.path());
    let session = engine.session(HERE);
    session.create_stream(spec("s", Mode::Append, 1)).await.expect("open");
    let denial =
        Grant { permission: Permission::Deny, ..grant("ANONYMOUS", Operation::Describe, "s") };
    session.add_grants(vec![denial]).await.expect("open");
    let names = |session: &Session| -> Vec<String> {
        let catalog = session.catalog();
        catalog.streams().filter(|one| !one.is_internal()).map(|one| one.name.clone()).collect()
    };
    assert!(names(&session).is_empty());
    assert_eq!(names(&engine.own_session()), ["s"]);
    let what = Guarded { kind: ResourceKind::Topic, name: "other" };
    assert!(session.may(Operation::Write, what));
    assert_eq!(Identity::anonymous(HERE).principal, session.principal());
    engine.stop();
}
