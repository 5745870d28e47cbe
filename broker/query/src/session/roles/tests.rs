use super::*;
use crate::testing::{Broker, Given, run};
use anabranch_engine::{Exchange, Login, SaslMechanism};

const HERE: &str = "127.0.0.1";

/// A session of somebody who has not logged in.
fn stranger(broker: &Broker) -> Session {
    Session::of_client(broker.sql.clone(), broker.engine.session(HERE), "tester")
}

/// A session of a user; `None` if that is not the password.
fn log_in(broker: &Broker, user: &str, password: &str) -> Option<Session> {
    let mut exchange = Exchange::new(SaslMechanism::Plain, String::new());
    let message = format!("\0{user}\0{password}");
    match broker.engine.session(HERE).log_in(&mut exchange, message.as_bytes()) {
        Ok(Login::Done { session, .. }) => {
            Some(Session::of_client(broker.sql.clone(), session, user))
        }
        Ok(Login::Continue(_)) => panic!("PLAIN is one message"),
        Err(_) => None,
    }
}

async fn done(session: &mut Session, text: &str) -> Given {
    match run(session, text).await {
        Ok(given) => given,
        Err(error) => panic!("{text}: {} {error}", error.sqlstate),
    }
}

#[track_caller]
fn code(result: Result<Given, Error>) -> &'static str {
    match result {
        Ok(given) => panic!("did not fail: {given:?}"),
        Err(error) => error.sqlstate,
    }
}

/// A broker with the streams `a` and `b`, and its admin.
async fn closed() -> (Broker, Session) {
    let broker = Broker::start();
    let mut root = stranger(&broker);
    done(&mut root, "CREATE STREAM a (n integer); CREATE STREAM b (n integer)").await;
    done(&mut root, "CREATE USER root PASSWORD 'secret'").await;
    (broker, root)
}

#[tokio::test]
async fn who_makes_the_first_user_goes_on_as_it_and_nobody_else_does() {
    let broker = Broker::start();
    let (mut creator, mut other) = (stranger(&broker), stranger(&broker));
    done(&mut creator, "CREATE STREAM a (n integer)").await;
    assert_eq!(done(&mut other, "SELECT n FROM a").await.tag, "SELECT 0");
    assert_eq!(done(&mut creator, "SELECT current_user").await.lines(), ["tester"]);
    let given = done(&mut creator, "CREATE ROLE root LOGIN PASSWORD 'secret'").await;
    assert_eq!(given.tag, "CREATE ROLE");
    assert_eq!(
        done(&mut creator, "SELECT current_user, session_user").await.lines(),
        ["root|root"]
    );
    done(&mut creator, "INSERT INTO a VALUES (1)").await;
    // The other session shared its tables with everybody until now.
    assert_ne!(code(run(&mut other, "SELECT n FROM a").await), "");
    let create = "CREATE USER eve PASSWORD 'eve'";
    assert_eq!(code(run(&mut other, create).await), sqlstate::INSUFFICIENT_PRIVILEGE);
    assert_eq!(done(&mut other, "SELECT name FROM sys.streams").await.rows.len(), 0);
}

#[tokio::test]
async fn users_come_change_and_go() {
    let (broker, mut root) = closed().await;
    assert_eq!(done(&mut root, "CREATE USER ann PASSWORD 'one'").await.tag, "CREATE ROLE");
    let again = run(&mut root, "CREATE USER ann PASSWORD 'two'").await;
    assert_eq!(code(again), sqlstate::DUPLICATE_OBJECT);
    assert!(log_in(&broker, "ann", "one").is_some());
    assert_eq!(done(&mut root, "ALTER USER ann PASSWORD 'two'").await.tag, "ALTER ROLE");
    assert!(log_in(&broker, "ann", "one").is_none());
    let mut ann = log_in(&broker, "ann", "two").expect("the new password");
    assert_eq!(done(&mut ann, "SELECT current_user").await.lines(), ["ann"]);
    let others = run(&mut ann, "ALTER USER root PASSWORD 'three'").await;
    assert_eq!(code(others), sqlstate::INSUFFICIENT_PRIVILEGE);
    assert!(log_in(&broker, "root", "secret").is_some());
    assert_eq!(done(&mut ann, "ALTER USER ann PASSWORD 'three'").await.tag, "ALTER ROLE");
    assert!(log_in(&broker, "ann", "two").is_none());
    assert!(log_in(&broker, "ann", "three").is_some());
    assert_eq!(
        done(&mut root, "SELECT usename FROM pg_catalog.pg_user ORDER BY 1").await.lines(),
        ["ann", "root"]
    );
    assert_eq!(
        done(&mut ann, "SELECT rolname, rolsuper FROM pg_catalog.pg_roles").await.lines(),
        ["ann|false"]
    );

    // What psql asks for `\du`.
    let listing = "SELECT r.rolname, r.rolsuper, r.rolvaliduntil, ARRAY(SELECT b.rolname \
                   FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles b \
                   ON (m.roleid = b.oid) WHERE m.member = r.oid) AS memberof, r.rolbypassrls \
                   FROM pg_catalog.pg_roles r WHERE r.rolname !~ '^pg_' ORDER BY 1";
    let listed = done(&mut root, listing).await.lines();
    assert_eq!(listed, ["ann|false||{}|false", "root|true||{}|false"]);

    let none = run(&mut root, "ALTER USER eve PASSWORD 'x'").await;
    assert_eq!(code(none), sqlstate::UNDEFINED_OBJECT);
    assert_eq!(code(run(&mut root, "DROP USER eve").await), sqlstate::UNDEFINED_OBJECT);
    assert_eq!(done(&mut root, "DROP USER IF EXISTS eve").await.notices.len(), 1);
    done(&mut root, "GRANT SELECT ON a TO ann").await;
    assert_eq!(code(run(&mut root, "DROP USER ann").await), sqlstate::DEPENDENT_OBJECTS);
    done(&mut root, "DROP OWNED BY ann").await;
    assert_eq!(done(&mut root, "DROP USER ann").await.tag, "DROP ROLE");
    assert!(log_in(&broker, "ann", "three").is_none());
    let gone = run(&mut ann, "ALTER USER ann PASSWORD 'four'").await;
    assert_eq!(code(gone), sqlstate::UNDEFINED_OBJECT);
    assert!(log_in(&broker, "ann", "four").is_none());
}

#[tokio::test]
async fn settings_say_who_it_is() {
    let broker = Broker::start();
    let mut root = stranger(&broker);
    let check = async |session: &mut Session, superuser: &str, user: &str| {
        assert_eq!(session.setting("is_superuser").as_deref(), Some(superuser));
        assert_eq!(session.setting("SESSION_AUTHORIZATION").as_deref(), Some(user));
        assert_eq!(done(session, "SHOW is_superuser").await.lines(), [superuser]);
        let setting = "SELECT current_setting('session_authorization')";
        assert_eq!(done(session, setting).await.lines(), [user]);
    };
    check(&mut root, "on", "tester").await;
    done(&mut root, "CREATE USER root PASSWORD 'secret'; CREATE USER ann PASSWORD 'ann'").await;
    check(&mut root, "on", "root").await;
    let mut ann = log_in(&broker, "ann", "ann").expect("her password");
    check(&mut ann, "off", "ann").await;
}

#[tokio::test]
async fn verifiers_are_taken_as_they_are() {
    let (broker, mut root) = closed().await;
    // Of the password "pencil" (RFC 7677, section 3).
    let credential = Credential::of_password(
        anabranch_engine::Mechanism::ScramSha256,
        "pencil",
        vec![7; 16],
        4096,
    );
    let verifier = String::from(credential.expect("good"));
    done(&mut root, "CREATE USER ann PASSWORD 'before'").await;
    done(&mut root, &format!("ALTER USER ann PASSWORD '{verifier}'")).await;
    assert!(log_in(&broker, "ann", "pencil").is_some());
    assert!(log_in(&broker, "ann", &verifier).is_none());
    // The other mechanism's key was of the password before.
    let mechanisms = "SELECT mechanisms FROM sys.principals WHERE name = 'ann'";
    assert_eq!(done(&mut root, mechanisms).await.lines(), ["SCRAM-SHA-256"]);
    for bad in ["SCRAM-SHA-256$1:AAAA$AA==:AA==", "md5a3556571e93b0d20722ba62be61e8c2d"] {
        let refused = run(&mut root, &format!("ALTER USER ann PASSWORD '{bad}'")).await;
        assert_eq!(code(refused), sqlstate::INVALID_PARAMETER, "{bad}");
    }
}

#[tokio::test]
async fn grants_open_streams_and_revokes_close_them() {
    let (broker, mut root) = closed().await;
    done(&mut root, "CREATE USER ann PASSWORD 'ann'; INSERT INTO a VALUES (1)").await;
    let mut ann = log_in(&broker, "ann", "ann").expect("her password");
    let read = "SELECT n FROM a";
    let write = "INSERT INTO a VALUES (2)";
    assert!(run(&mut ann, read).await.is_err());
    assert_eq!(done(&mut root, "GRANT SELECT ON a TO ann").await.tag, "GRANT");
    assert_eq!(done(&mut ann, read).await.lines(), ["1"]);
    assert_eq!(code(run(&mut ann, write).await), sqlstate::INSUFFICIENT_PRIVILEGE);
    done(&mut root, "GRANT INSERT, UPDATE, DELETE ON a TO PUBLIC").await;
    assert_eq!(done(&mut ann, write).await.tag, "INSERT 0 1");
    let shown = "SELECT principal, operation, name, pattern FROM sys.grants ORDER BY 1, 2";
    assert_eq!(
        done(&mut root, shown).await.lines(),
        ["User:*|Write|a|literal", "User:ann|Read|a|literal"]
    );
    assert_eq!(done(&mut root, "REVOKE APPEND ON a FROM PUBLIC").await.tag, "REVOKE");
    assert_eq!(code(run(&mut ann, write).await), sqlstate::INSUFFICIENT_PRIVILEGE);
    let nothing = done(&mut root, "REVOKE SELECT ON b FROM ann").await;
    assert_eq!(nothing.notices.len(), 1);

    // A part of everything: the rest stays.
    done(&mut root, "GRANT ALL ON ALL TABLES IN SCHEMA public TO ann").await;
    done(&mut root, "CREATE STREAM later (n integer)").await;
    assert_eq!(done(&mut ann, "SELECT n FROM later").await.tag, "SELECT 0");
    done(&mut root, "REVOKE INSERT ON ALL TABLES IN SCHEMA public FROM ann").await;
    assert_eq!(done(&mut ann, "SELECT n FROM later").await.tag, "SELECT 0");
    let refused = run(&mut ann, "INSERT INTO later VALUES (1)").await;
    assert_eq!(code(refused), sqlstate::INSUFFICIENT_PRIVILEGE);
    done(&mut root, "REVOKE ALL ON ALL TABLES IN SCHEMA public FROM ann").await;
    assert!(run(&mut ann, "SELECT n FROM later").await.is_err());
}

#[tokio::test]
async fn what_cannot_be_granted() {
    let (_broker, mut root) = closed().await;
    let check = async |root: &mut Session, text: &str, expected: &str| {
        assert_eq!(code(run(root, text).await), expected, "{text}");
    };
    check(&mut root, "GRANT SELECT ON a TO eve", sqlstate::UNDEFINED_OBJECT).await;
    check(&mut root, "GRANT SELECT ON none TO PUBLIC", sqlstate::UNDEFINED_TABLE).await;
    check(&mut root, "REVOKE SELECT ON none FROM PUBLIC", sqlstate::UNDEFINED_TABLE).await;
    check(&mut root, "GRANT SELECT ON sys.streams TO PUBLIC", sqlstate::WRONG_OBJECT_TYPE).await;
    // Certificates have no record here.
    for subject in ["CN=ann,OU=dev", "CN=Ann\\, the first+UID=7,2.5.4.10=x"] {
        done(&mut root, &format!("GRANT SELECT ON a TO \"{subject}\"")).await;
    }
    for name in ["a = b", "=b", "CN=", "CN=ann,dev", "x.1=y", "CN=ann\\"] {
        let grant = format!("GRANT SELECT ON a TO \"{name}\"");
        check(&mut root, &grant, sqlstate::UNDEFINED_OBJECT).await;
    }
    done(&mut root, "BEGIN").await;
    check(&mut root, "GRANT SELECT ON a TO PUBLIC", sqlstate::FEATURE_NOT_SUPPORTED).await;
}
