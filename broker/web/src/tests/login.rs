//! Users on a broker that has some: Basic authentication, and what anonymous clients get.

use super::client::{Broker, Client, status_of, within};
use anabranch_engine::{
    CredentialChange, Grant, GrantFilter, Operation, Pattern, Permission, Principal, ResourceKind,
    credentials_of_password,
};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
}

async fn change(broker: &Broker, user: &str, change: CredentialChange) {
    let changes = vec![(user.to_owned(), change)];
    let results = broker.engine.change_credentials(changes).await.expect("the broker may");
    assert!(results.iter().all(Result::is_ok), "{results:?}");
}

fn password(text: &str) -> CredentialChange {
    CredentialChange::Set(
        credentials_of_password(text).expect("credentials").any().expect("two").clone(),
    )
}

async fn grant(broker: &Broker, principal: Principal, operation: Operation, stream: &str) {
    let grant = Grant {
        kind: ResourceKind::Topic,
        pattern: Pattern::Literal(stream.into()),
        principal,
        host: "*".into(),
        operation,
        permission: Permission::Allow,
    };
    broker.engine.add_grants(vec![grant]).await.expect("the broker may");
}

/// A broker with the stream `s` of one event, the admin `root`, and `ann`, who may read it.
async fn closed() -> Broker {
    let broker = Broker::start().await;
    let (status, answer) = broker.http("POST", "/v1/streams/s/events", &json!({"n": 1})).await;
    assert_eq!(status, 200, "{answer}");
    change(&broker, "root", password("secret")).await;
    change(&broker, "ann", password("a:b")).await;
    grant(&broker, Principal::user("ann"), Operation::Read, "s").await;
    broker
}

/// Status of an answer, and whether it says how to log in.
async fn ask(broker: &Broker, login: Option<&str>, method: &str, path: &str) -> (u16, bool) {
    let line = login.map(|login| format!("authorization: {login}\r\n")).unwrap_or_default();
    let body: &[u8] = match (method, path) {
        ("POST", "/v1/sql") => b"SELECT count(*) FROM s",
        ("POST", _) => b"{\"n\":2}",
        _ => b"",
    };
    let (head, _) = broker.http_with(method, path, &line, body).await;
    (status_of(&head), head.to_ascii_lowercase().contains("www-authenticate: basic realm="))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_and_rights() {
    let broker = closed().await;
    let (root, ann) = (basic("root", "secret"), basic("ann", "a:b"));
    let wrong = [basic("ann", "b"), basic("eve", "a:b"), "Bearer x".to_owned()];
    let check = async |login: Option<&str>, method: &str, path: &str, expected: u16| {
        let found = ask(&broker, login, method, path).await;
        assert_eq!(found, (expected, expected == 401), "{login:?} {method} {path}");
    };
    let (read, write) = ("/v1/streams/s/events", "/v1/streams/s/events");
    for path in ["/", "/v1/streams", read, "/v1/streams/none", "/v1/ws"] {
        check(None, "GET", path, 401).await;
        check(Some(&wrong[0]), "GET", path, 401).await;
    }
    for wrong in &wrong {
        check(Some(wrong), "GET", read, 401).await;
    }
    for path in ["/", "/v1/streams", read, "/healthz", "/metrics"] {
        check(Some(&root), "GET", path, 200).await;
    }
    check(None, "GET", "/healthz", 200).await;
    check(None, "GET", "/metrics", 200).await;
    check(Some(&root), "GET", "/v1/streams/none", 404).await;
    check(Some(&root), "POST", write, 200).await;
    check(Some(&root), "POST", "/v1/sql", 200).await;

    check(Some(&ann), "GET", read, 200).await;
    check(Some(&ann), "POST", "/v1/sql", 200).await;
    check(Some(&ann), "POST", write, 403).await;
    check(Some(&ann), "GET", "/v1/streams/none", 403).await;

    // What everybody may do needs no login, and the rest one.
    grant(&broker, Principal::everybody(), Operation::Read, "s").await;
    check(None, "GET", read, 200).await;
    check(None, "POST", write, 401).await;
    check(None, "GET", "/", 401).await;
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_there_is_no_user_nobody_is_asked() {
    let broker = Broker::start().await;
    let login = basic("root", "secret");
    for path in ["/", "/v1/streams"] {
        assert_eq!(ask(&broker, Some(&login), "GET", path).await, (200, false));
        assert_eq!(ask(&broker, None, "GET", path).await, (200, false));
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn websockets() {
    let broker = closed().await;
    assert_eq!(Client::connect_as(&broker, None).await.err(), Some(401));
    let wrong = basic("ann", "wrong");
    assert_eq!(Client::connect_as(&broker, Some(&wrong)).await.err(), Some(401));
    let ann = basic("ann", "a:b");
    let mut ann = Client::connect_as(&broker, Some(&ann)).await.expect("her password");
    let subscribe = json!({"op": "subscribe", "stream": "s", "from": "beginning"});
    assert_eq!(ann.ask(subscribe).await["type"], "subscribed");
    assert_eq!(ann.next().await["events"][0]["value"], json!({"n": 1}));
    let publish = json!({"op": "publish", "stream": "s", "events": [{"value": 1}]});
    let answer = ann.ask(publish.clone()).await;
    assert_eq!(answer["error"]["code"], "denied", "{answer}");
    let table = json!({"op": "subscribe", "table": "s", "from": "beginning"});
    assert_eq!(ann.ask(table).await["type"], "subscribed");
    // A grant counts on connections that are open.
    let mut other = Client::connect_as(&broker, Some(&basic("ann", "a:b"))).await.expect("again");
    grant(&broker, Principal::user("ann"), Operation::Write, "s").await;
    assert_eq!(other.ask(publish).await["type"], "published");
    broker.stop().await;
}

/// What was subscribed to ends with the grant: nothing that comes later is sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriptions_end_with_their_grant() {
    let broker = closed().await;
    let root = basic("root", "secret");
    for what in ["stream", "table"] {
        grant(&broker, Principal::user("ann"), Operation::Read, "s").await;
        let ann = basic("ann", "a:b");
        let mut ann = Client::connect_as(&broker, Some(&ann)).await.expect("her password");
        let subscribe = json!({"op": "subscribe", what: "s", "from": "now"});
        assert_eq!(ann.ask(subscribe).await["type"], "subscribed");
        let filter = GrantFilter::everything();
        broker.engine.remove_grants(vec![filter]).await.expect("the broker may");
        let line = format!("authorization: {root}\r\n");
        let (head, _) =
            broker.http_with("POST", "/v1/streams/s/events", &line, b"{\"n\":\"secret\"}").await;
        assert_eq!(status_of(&head), 200);
        loop {
            let message = ann.next().await;
            assert!(!message.to_string().contains("secret"), "{message}");
            if message["type"] == "error" {
                assert_eq!(message["error"]["code"], "denied", "{message}");
                break;
            }
        }
    }
    broker.stop().await;
}

/// A connection that stays is asked for the password's proof anew when it may have changed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_password_counts_on_open_connections() {
    let broker = closed().await;
    let login = basic("ann", "a:b");
    let mut stream = broker.connect().await;
    let request =
        format!("GET /v1/streams HTTP/1.1\r\nhost: localhost\r\nauthorization: {login}\r\n\r\n");
    let mut ask = async || {
        stream.write_all(request.as_bytes()).await.expect("the connection is open");
        let mut answer = String::new();
        // Answers here end in a line of their own.
        while !answer.ends_with("}\n") {
            let mut some = [0; 4096];
            let count = within(stream.read(&mut some)).await.expect("the connection is open");
            assert!(count > 0, "closed after {answer:?}");
            answer.push_str(&String::from_utf8_lossy(&some[..count]));
        }
        status_of(&answer)
    };
    assert_eq!([ask().await, ask().await], [200, 200]);
    change(&broker, "ann", password("another")).await;
    assert_eq!(ask().await, 401);
    change(&broker, "ann", password("a:b")).await;
    assert_eq!(ask().await, 200);
    drop(stream);
    broker.stop().await;
}
