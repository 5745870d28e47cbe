//! The door on a real engine, with a real WebSocket client and plain HTTP.

mod client;
mod login;

use crate::limits::MESSAGE_BYTES_MAX;
use anabranch_engine::{Column, ColumnType, Mode, StreamSpec};
use client::{Broker, Client};
use serde_json::{Value, json};

fn text_column(name: &str, in_key: bool) -> Column {
    Column { in_key, not_null: in_key, ..Column::new(name, ColumnType::Text) }
}

/// An `upsert` stream of aircraft, by tail number.
async fn aircraft(broker: &Broker) {
    let spec = StreamSpec {
        name: "aircraft".to_owned(),
        mode: Some(Mode::Upsert),
        partitions: Some(2),
        columns: vec![text_column("tailnum", true), text_column("carrier", false)],
        ..StreamSpec::default()
    };
    broker.engine.create_stream(spec).await.expect("a new stream");
}

async fn put_aircraft(broker: &Broker, tailnum: &str, carrier: &str) {
    let path = format!("/v1/tables/aircraft/rows/{tailnum}");
    let (status, answer) = broker.http("PUT", &path, &json!({"carrier": carrier})).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publish_and_follow() {
    let broker = Broker::start().await;
    let mut client = Client::connect(&broker).await;
    let answer = client
        .ask(json!({"op": "publish", "stream": "flights", "events": [
            {"key": "N1", "value": {"n": 1}}, {"key": "N2", "value": null, "ts": 17}]}))
        .await;
    assert_eq!(answer["type"], "published", "{answer}");
    assert_eq!(answer["offsets"][1], json!({"partition": 0, "offset": 1}));

    let answer = client.ask(json!({"op": "subscribe", "stream": "flights", "from": "0:1"})).await;
    assert_eq!(answer["position"], "0:1", "{answer}");
    let sub = &answer["id"];
    let message = client.next().await;
    assert_eq!((&message["type"], &message["sub"]), (&json!("events"), sub));
    let event = json!({"offset": 1, "ts": 17, "key": "N2", "value": null});
    assert_eq!(message["events"], json!([event]));
    assert_eq!(message["next"], 2);

    // What comes later comes by itself, from whatever door.
    let (status, answer) =
        broker.http("POST", "/v1/streams/flights/events?key=N3", &json!({"n": 3})).await;
    assert_eq!((status, &answer["offsets"][0]["offset"]), (200, &json!(2)));
    let message = client.next().await;
    assert_eq!(message["events"][0]["value"], json!({"n": 3}));
    assert_eq!(message["events"][0]["key"], "N3");

    let answer = client.ask(json!({"op": "unsubscribe", "sub": sub})).await;
    assert_eq!(answer["type"], "unsubscribed");
    broker.http("POST", "/v1/streams/flights/events", &json!({"n": 4})).await;
    let answer = client.ask(json!({"op": "ping"})).await;
    assert_eq!(answer["type"], "pong", "nothing in between: {answer}");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_with_a_filter() {
    let broker = Broker::start().await;
    aircraft(&broker).await;
    for (tailnum, carrier) in [("N1", "UA"), ("N2", "AA"), ("N3", "UA")] {
        put_aircraft(&broker, tailnum, carrier).await;
    }
    let mut client = Client::connect(&broker).await;
    let subscribe = json!({"op": "subscribe", "table": "aircraft", "filter": "carrier = 'UA'"});
    let answer = client.ask(subscribe).await;
    assert_eq!((&answer["type"], &answer["mode"]), (&json!("subscribed"), &json!("upsert")));
    let (mut keys, token) = client.snapshot().await;
    keys.sort();
    assert_eq!(keys, ["N1", "N3"]);

    put_aircraft(&broker, "N2", "UA").await;
    let change = client.change().await;
    assert_eq!((&change["op"], &change["key"]), (&json!("upsert"), &json!("N2")));
    assert_eq!(change["row"], json!({"tailnum": "N2", "carrier": "UA"}));
    put_aircraft(&broker, "N1", "AA").await;
    let change = client.change().await;
    assert_eq!((&change["op"], &change["key"]), (&json!("delete"), &json!("N1")));

    // Another connection goes on from the snapshot's token: the same two changes.
    let mut second = Client::connect(&broker).await;
    let from = format!("token:{token}");
    let subscribe = json!({"op": "subscribe", "table": "aircraft",
        "filter": "carrier = 'UA'", "from": from});
    assert_eq!(second.ask(subscribe).await["type"], "subscribed");
    assert_eq!(second.change().await["key"], "N2");
    assert_eq!(second.change().await["key"], "N1");

    let (status, row) = broker.http("GET", "/v1/tables/aircraft/rows/N2", &Value::Null).await;
    assert_eq!((status, &row["row"]["carrier"]), (200, &json!("UA")));
    let path = "/v1/tables/aircraft/rows?filter=carrier%20%3D%20'UA'";
    let (status, rows) = broker.http("GET", path, &Value::Null).await;
    assert_eq!(status, 200, "{rows}");
    assert_eq!(rows["rows"].as_array().map(Vec::len), Some(2), "{rows}");
    let (status, _) = broker.http("DELETE", "/v1/tables/aircraft/rows/N2", &Value::Null).await;
    assert_eq!(status, 200);
    assert_eq!(client.change().await["op"], "delete");
    let (status, _) = broker.http("GET", "/v1/tables/aircraft/rows/N2", &Value::Null).await;
    assert_eq!(status, 404);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_are_typed() {
    let broker = Broker::start().await;
    aircraft(&broker).await;
    let mut client = Client::connect(&broker).await;
    let check = async |client: &mut Client, request: Value, code: &str| {
        let answer = client.ask(request.clone()).await;
        assert_eq!(answer["error"]["code"], code, "{request} {answer}");
    };
    check(&mut client, json!({"op": "subscribe", "stream": "none"}), "not_found").await;
    check(&mut client, json!({"op": "subscribe", "table": "none"}), "not_found").await;
    let filter = json!({"op": "subscribe", "table": "aircraft", "filter": "nonsense = 1"});
    check(&mut client, filter, "invalid_argument").await;
    let beyond = json!({"op": "subscribe", "stream": "aircraft", "from": "0:9"});
    let answer = client.ask(beyond).await;
    assert_eq!(answer["error"]["code"], "out_of_range");
    assert_eq!(answer["error"]["earliest"], "0:0,1:0");
    let keyless = json!({"op": "publish", "stream": "aircraft", "events": [{"value": 1}]});
    check(&mut client, keyless, "invalid_record").await;
    let internal = json!({"op": "publish", "stream": "__catalog", "events": [{"value": 1}]});
    check(&mut client, internal, "invalid_name").await;
    check(&mut client, json!({"op": "unsubscribe", "sub": 1}), "invalid_argument").await;

    client.send_text("no JSON").await;
    let answer = client.next().await;
    assert_eq!((&answer["type"], &answer["id"]), (&json!("error"), &Value::Null));

    for _ in 0..2 {
        let answer = client.ask(json!({"op": "subscribe", "stream": "aircraft"})).await;
        assert_eq!(answer["type"], "subscribed");
    }
    check(&mut client, json!({"op": "subscribe", "table": "aircraft"}), "too_many").await;

    let (status, answer) = broker.http("GET", "/v1/nothing", &Value::Null).await;
    assert_eq!((status, &answer["error"]["code"]), (404, &json!("not_found")));
    let (status, _) = broker.http("DELETE", "/v1/streams", &Value::Null).await;
    assert_eq!(status, 405);
    let (status, answer) =
        broker.http("GET", "/v1/streams/aircraft/events?limt=1", &Value::Null).await;
    assert_eq!(status, 400, "{answer}");
    let (status, _) =
        broker.http("POST", "/v1/streams/aircraft/events", &json!({"no": "key"})).await;
    assert_eq!(status, 400);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_end_with_a_reason() {
    let broker = Broker::start().await;
    let mut client = Client::connect(&broker).await;
    client.send_binary().await;
    assert_eq!(client.closed().await, 1003);
    let mut client = Client::connect(&broker).await;
    client.send_text(&"x".repeat(MESSAGE_BYTES_MAX + 1)).await;
    assert_eq!(client.closed().await, 1009);
    let mut client = Client::connect(&broker).await;
    client.ask(json!({"op": "ping"})).await;
    broker.stop.cancel();
    assert_eq!(client.closed().await, 1001);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_stream_ends_its_subscriptions() {
    let broker = Broker::start().await;
    aircraft(&broker).await;
    let mut client = Client::connect(&broker).await;
    client.ask(json!({"op": "subscribe", "stream": "aircraft"})).await;
    broker.engine.drop_stream("aircraft").await.expect("it exists");
    let message = client.next().await;
    assert_eq!((&message["type"], &message["ended"]), (&json!("error"), &json!(true)));
    assert_eq!(message["error"]["code"], "not_found", "{message}");
    broker.stop().await;
}

/// A client that does not read costs what sockets and one step hold, and then gets everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_loses_nothing_and_holds_nobody_up() {
    const EVENTS: usize = 64;
    let broker = Broker::start().await;
    let mut slow = Client::connect(&broker).await;
    let pad = "x".repeat(900 << 10);
    for number in 0..EVENTS {
        let event = json!({"value": {"n": number, "pad": pad}});
        let publish = json!({"op": "publish", "stream": "large", "events": [event]});
        assert_eq!(slow.ask(publish).await["type"], "published");
    }
    slow.ask(json!({"op": "subscribe", "stream": "large", "from": "beginning"})).await;

    let mut quick = Client::connect(&broker).await;
    quick.ask(json!({"op": "subscribe", "stream": "large"})).await;
    let event = json!({"value": {"n": EVENTS}});
    let publish = json!({"op": "publish", "stream": "large", "events": [event]});
    quick.send(publish).await;
    let seen = [quick.next().await, quick.next().await];
    assert!(seen.iter().any(|message| message["type"] == "events"), "{seen:?}");
    // The slow one has not been sent it all: the sockets' buffers are smaller than that.
    let (_, metrics) = broker.http_text("GET", "/metrics", b"").await;
    let sent = metrics
        .lines()
        .find_map(|line| line.strip_prefix("anabranch_web_sent_bytes_total "))
        .and_then(|value| value.parse::<usize>().ok())
        .expect("a figure");
    assert!(sent < EVENTS * pad.len() / 2, "{sent} bytes were sent to nobody");

    let mut expected = 0;
    while expected <= EVENTS {
        for event in slow.next().await["events"].as_array().expect("events") {
            assert_eq!(event["value"]["n"], expected);
            expected += 1;
        }
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_over_http() {
    let broker = Broker::start().await;
    let body = b"{\"n\":0}\n{\"n\":1}\n[{\"n\":2},{\"n\":3}]";
    let (status, answer) = broker.http_text("POST", "/v1/streams/flights/events", body).await;
    assert_eq!(status, 200, "{answer}");
    let events = "/v1/streams/flights/events";
    let (_, page) = broker.http("GET", &format!("{events}?limit=3"), &Value::Null).await;
    assert_eq!(page["events"][2]["value"], json!({"n": 2}));
    assert_eq!(page["next"], "0:3");
    let (_, page) = broker.http("GET", &format!("{events}?from=0:3"), &Value::Null).await;
    assert_eq!((&page["events"][0]["value"], &page["next"]), (&json!({"n": 3}), &json!("0:4")));

    // A read that waits is answered by a write that comes.
    let path = format!("{events}?from=0:4&wait_ms=20000");
    let event = json!({"n": 4});
    let (waited, published) =
        tokio::join!(broker.http("GET", &path, &Value::Null), broker.http("POST", events, &event),);
    assert_eq!(published.0, 200);
    assert_eq!(waited.1["events"][0]["value"], json!({"n": 4}), "{waited:?}");

    let (_, streams) = broker.http("GET", "/v1/streams", &Value::Null).await;
    let names: Vec<_> =
        streams["streams"].as_array().into_iter().flatten().map(|one| &one["name"]).collect();
    assert_eq!(names, ["flights"]);
    let (status, health) = broker.http("GET", "/healthz", &Value::Null).await;
    assert_eq!((status, health), (200, json!({"status": "ok"})));
    let (status, page) = broker.http_text("GET", "/", b"").await;
    assert!(status == 200 && page.starts_with("<!doctype html>"));
    let (status, rows) =
        broker.http_text("POST", "/v1/sql", b"SELECT count(*) AS n FROM flights").await;
    assert!(status == 200 && rows.contains("{\"n\":5}"), "{rows}");
    broker.stop().await;
}

/// Publishes in flight on one connection are appended in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelined_publishes_keep_their_order() {
    const COUNT: i64 = 3_000;
    let broker = Broker::start().await;
    let mut client = Client::connect(&broker).await;
    client.ask(json!({"op": "publish", "stream": "s", "events": [{"value": -1}]})).await;
    client.ask(json!({"op": "subscribe", "stream": "s"})).await;
    for number in 0..COUNT {
        let publish = json!({"op": "publish", "stream": "s", "events": [{"value": number}]});
        client.send(publish).await;
    }
    let (mut acknowledged, mut delivered) = (0, 0);
    while acknowledged < COUNT || delivered < COUNT {
        let message = client.next().await;
        if message["type"] == "published" {
            assert_eq!(message["offsets"][0]["offset"], acknowledged + 1, "{message}");
            acknowledged += 1;
        } else {
            for event in message["events"].as_array().expect("events") {
                assert_eq!(event["value"], delivered);
                delivered += 1;
            }
        }
    }
    broker.stop().await;
}
