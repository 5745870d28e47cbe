//! Every client against the broker: what one writes all read, groups share partitions and
//! resume, topics are administered.

use crate::clients::{Client, Member, Record, Target, hex};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// 2013-01-01T10:00:00Z, when the flights begin.
const WHEN: i64 = 1_357_034_400_000;

/// Records with what clients and brokers get wrong: null and empty, headers, old timestamps,
/// bytes that are no text, and more than fits into one small buffer.
fn odd_records(client: Client) -> Vec<Record> {
    let large: Vec<u8> = (0..200_000_u32).map(|n| (n * 7 / 3) as u8).collect();
    let mut records = vec![
        Record::new(Some(b"key"), Some(b"{\"flight\":1545}")).at(WHEN),
        Record::new(None, Some(b"no key")).at(WHEN + 1),
        Record::new(Some(b""), Some(b"empty key")).at(WHEN + 2),
        Record::new(Some(b"empty value"), Some(b"")).at(WHEN + 3),
        Record::new(Some(b"tombstone"), None).at(WHEN + 4),
        Record::new(Some(b"\x00\xff\xfe"), Some(b"\x80\x00")).at(WHEN + 6),
        Record::new(Some("Zürich".as_bytes()), Some("✈".as_bytes())).at(WHEN + 7),
        Record::new(Some(b"headers"), Some(b"1"))
            .at(WHEN + 8)
            .header("a", Some(b"1"))
            .header("b", Some(b""))
            .header("ü", Some(b"\xff")),
        Record::new(Some(b"large"), Some(&large)).at(WHEN + 9),
        Record::new(Some(b"earlier"), Some(b"time goes back")).at(WHEN - 86_400_000),
        Record::new(Some(b"now"), Some(b"the client's own time")),
    ];
    // What the libraries cannot say. kafkajs also keeps headers in an object: no order among
    // different names after a repetition.
    if !matches!(client, Client::KafkaPython | Client::Aiokafka) {
        records.push(Record::new(None, None).at(WHEN + 5));
    }
    if !matches!(client, Client::KafkaPython | Client::Kafkajs) {
        records.push(
            Record::new(Some(b"headers"), Some(b"2"))
                .at(WHEN + 10)
                .header("a", Some(b"1"))
                .header("a", Some(b"2"))
                .header("null", None),
        );
    }
    records
}

/// One client produces, by default settings into a topic that does not exist, and in every other
/// way; all clients read the same.
fn check_produces(client: Client) {
    let at = Target::start();
    let plain = [
        &[][..],
        &["idempotent=true"],
        &["acks=1", "idempotent=false"],
        &["compression=gzip"],
        &["acks=0", "idempotent=false"],
    ];
    check_modes(&at, client, &plain, &Client::ALL);
    if client.compressions().len() > 2 {
        let packed = [&["compression=snappy"][..], &["compression=lz4"], &["compression=zstd"]];
        let readers = Client::ALL.into_iter().filter(|reader| reader.compressions().len() > 2);
        check_modes(&at, client, &packed, &readers.collect::<Vec<_>>());
    }
}

fn check_modes(at: &Target, client: Client, modes: &[&[&str]], readers: &[Client]) {
    let topic = Target::topic("odd");
    let mut expected = Vec::new();
    for &options in modes {
        let records = odd_records(client);
        let placed = client.produce(at, &topic, options, &records);
        assert_eq!(placed.len(), records.len(), "{client:?} {options:?}");
        for (record, placed) in records.into_iter().zip(placed) {
            let offset = i64::try_from(expected.len()).expect("few records");
            if options.first() != Some(&"acks=0") {
                assert_eq!(placed.offset, Some(offset), "{client:?} {options:?} {record:?}");
            }
            expected.push(Record { offset: Some(offset), ..record });
        }
    }
    for &reader in readers {
        let read = reader.consume(at, &topic, expected.len());
        check_same(reader, &read, &expected);
    }
}

#[track_caller]
fn check_same(reader: Client, read: &[Record], expected: &[Record]) {
    assert_eq!(read.len(), expected.len(), "{reader:?}");
    for (read, expected) in read.iter().zip(expected) {
        let mut read = read.clone();
        if expected.timestamp.is_none() {
            assert!(read.timestamp.is_some_and(|ms| ms > WHEN), "{reader:?}: {read:?}");
            read.timestamp = None;
        }
        assert_eq!(&read, expected, "{reader:?}");
    }
}

/// Two members share four partitions, one leaves, the group resumes from its commits.
fn check_group(client: Client) {
    let at = Target::start();
    let (topic, group) = (Target::topic("shared"), Target::topic("group"));
    assert_eq!(client.admin(&at, &["create", &topic, "4"]), json!({ "created": topic }));
    let round = |text: &str| -> Vec<Record> {
        let value = |partition: i32, n: i32| format!("{text} {partition} {n}").into_bytes();
        let all = (0..4).flat_map(|p| (0..10).map(move |n| (p, n)));
        all.map(|(p, n)| Record::new(None, Some(&value(p, n))).on(p)).collect()
    };
    client.produce(&at, &topic, &[], &round("first"));

    let mut first = client.join(&at, &topic, &group);
    first.wait("the only member has all partitions", |m| m.assigned == [0, 1, 2, 3]);
    first.wait("it reads everything", |m| m.records.len() == 40);
    let all_read = BTreeMap::from([(0, 10), (1, 10), (2, 10), (3, 10)]);
    assert_eq!(first.commit(), all_read);

    let mut second = client.join(&at, &topic, &group);
    Member::wait_all([&mut first, &mut second], "two members share", |[first, second]| {
        let mut both = [first.assigned.clone(), second.assigned.clone()].concat();
        both.sort_unstable();
        both == [0, 1, 2, 3] && first.assigned.len() == 2
    });
    client.produce(&at, &topic, &[], &round("second"));
    Member::wait_all([&mut first, &mut second], "each reads its half", |[first, second]| {
        first.records.len() == 60 && second.records.len() == 20
    });
    // Both, as a rebalance takes every member back to what is committed.
    first.commit();
    second.commit();
    second.close();
    first.wait("the remaining member has all again", |m| m.assigned == [0, 1, 2, 3]);
    first.close();

    let committed = json!({ "0": 20, "1": 20, "2": 20, "3": 20 });
    assert_eq!(client.admin(&at, &["committed", &group, &topic]), committed);
    let mut third = client.join(&at, &topic, &group);
    third.wait("a new member has all", |m| m.assigned == [0, 1, 2, 3]);
    client.produce(&at, &topic, &[], &round("third"));
    third.wait("it goes on where the others stopped", |m| m.records.len() >= 40);
    let begins = hex(b"third");
    let is_new = |record: &Record| record.value.as_ref().is_some_and(|v| v.starts_with(&begins));
    assert!(third.records.iter().all(is_new), "read again: {:?}", third.records);
    assert_eq!(third.records.len(), 40);
    third.close();
}

/// The same in a group whose members the broker assigns (KIP-848); when the broker is killed, they
/// go on with what they have.
fn check_consumer_group(client: Client) {
    let mut at = Target::start();
    let (topic, group) = (Target::topic("shared"), Target::topic("group"));
    assert_eq!(client.admin(&at, &["create", &topic, "4"]), json!({ "created": topic }));
    let round = |text: &str| -> Vec<Record> {
        let all = (0..4).map(|p| Record::new(None, Some(format!("{text} {p}").as_bytes())).on(p));
        all.collect()
    };
    client.produce(&at, &topic, &[], &round("first"));
    let mut first = client.join_consumers(&at, &topic, &group);
    first.wait("the only member has all partitions", |m| m.assigned == [0, 1, 2, 3]);
    first.wait("it reads everything", |m| m.records.len() == 4);
    first.commit();
    let mut second = client.join_consumers(&at, &topic, &group);
    second.wait("the second gets half", |m| m.assigned.len() == 2);
    client.produce(&at, &topic, &[], &round("second"));
    Member::wait_all([&mut first, &mut second], "each reads its half", |[first, second]| {
        first.records.len() == 6 && second.records.len() == 2
    });
    assert_eq!(second.commit().len(), 2);
    if let Target::Ours(broker) = &mut at {
        broker.kill();
        broker.restart();
    }
    client.produce(&at, &topic, &[], &round("third"));
    Member::wait_all([&mut first, &mut second], "each goes on with its half", |[first, second]| {
        first.records.len() == 8 && second.records.len() == 4
    });
    second.commit();
    second.close();
    first.wait("the remaining member has all again", |m| m.assigned == [0, 1, 2, 3]);
    client.produce(&at, &topic, &[], &round("fourth"));
    first.wait("and reads them from where the other was", |m| m.records.len() == 12);
    first.commit();
    first.close();
    let committed = json!({ "0": 4, "1": 4, "2": 4, "3": 4 });
    assert_eq!(client.admin(&at, &["committed", &group, &topic]), committed);
}

/// Topics are created, described, altered, found by time, deleted; errors have Kafka's numbers.
fn check_admin(client: Client) {
    let at = Target::start();
    let topic = Target::topic("admin");
    let admin = |arguments: &[&str]| client.admin(&at, arguments);
    let config = |name: &str| admin(&["configs", &topic])[name].clone();
    let listed = || admin(&["list"])["topics"].as_array().expect("topics").clone();

    let created = admin(&["create", &topic, "2", "retention.ms=3600000000000"]);
    assert_eq!(created, json!({ "created": topic }));
    assert_eq!(admin(&["create", &topic, "2"]), json!({ "error": 36 }), "it exists");
    assert_eq!(admin(&["create", "no/topic", "1"]), json!({ "error": 17 }), "no such name");
    let wrong = Target::topic("wrong");
    assert_eq!(admin(&["create", &wrong, "0"]), json!({ "error": 37 }), "no partitions");
    assert_eq!(admin(&["create", &wrong, "1", "no.such=1"]), json!({ "error": 40 }));
    assert_eq!(admin(&["describe", &topic]), json!({ "partitions": 2 }));
    assert!(listed().contains(&Value::from(topic.clone())));

    assert_eq!(config("retention.ms"), "3600000000000");
    assert_eq!(config("cleanup.policy"), "delete");
    let altered = admin(&["alter", &topic, "retention.ms=7200000000000"]);
    assert_eq!(altered, json!({ "altered": topic }));
    assert_eq!(config("retention.ms"), "7200000000000");

    let records = [0, 1000, 2000].map(|after| Record::new(None, Some(b"x")).at(WHEN + after));
    client.produce(&at, &topic, &[], &records);
    let offsets = |when: i64| admin(&["offsets", &topic, &when.to_string()])["0"].clone();
    assert_eq!((offsets(-2), offsets(-1)), (json!(0), json!(3)), "the beginning and the end");
    assert_eq!(offsets(WHEN + 500), json!(1), "the first record that is not earlier");
    assert_eq!(offsets(WHEN + 1000), json!(1), "the record of that very time");
    assert_eq!(offsets(0), json!(0), "before everything");
    // kafkajs answers with the end where there is none.
    let none = if client == Client::Kafkajs { json!(3) } else { Value::Null };
    assert_eq!(offsets(WHEN + 2001), none, "after everything");

    assert_eq!(admin(&["delete", &topic]), json!({ "deleted": topic }));
    assert_eq!(admin(&["delete", &topic]), json!({ "error": 3 }), "it is gone");
    assert!(!listed().contains(&Value::from(topic.clone())));
}

macro_rules! for_each_client {
    ($($name:ident = $client:expr;)*) => {$(
        mod $name {
            use crate::clients::Client;

            #[test]
            fn produces_what_all_read() {
                super::check_produces($client);
            }

            #[test]
            fn shares_and_resumes() {
                super::check_group($client);
            }

            #[test]
            fn administers() {
                super::check_admin($client);
            }
        }
    )*};
}

for_each_client! {
    confluent = Client::Confluent;
    kafka_python = Client::KafkaPython;
    aiokafka = Client::Aiokafka;
    kafkajs = Client::Kafkajs;
    java = Client::Java;
}

#[test]
fn confluent_in_a_consumer_group() {
    check_consumer_group(Client::Confluent);
}

#[test]
fn java_in_a_consumer_group() {
    check_consumer_group(Client::Java);
}
