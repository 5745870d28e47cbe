use super::Broker;
use super::client::{Client, batch};
use super::consume::{fetch, records};
use super::produce::{only, produce};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use kafka_protocol::messages::describe_client_quotas_request::ComponentData;
use kafka_protocol::messages::{AlterClientQuotasRequest, DescribeClientQuotasRequest};
use kafka_protocol::protocol::StrBytes;
use std::time::Duration;
use tokio::time::Instant;

type Part<'a> = (&'a str, Option<&'a str>);

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// Sets a quota, or removes it; says the error.
async fn alter(client: &mut Client, entity: &[Part<'_>], key: &str, value: Option<f64>) -> i16 {
    let part = |(kind, name): &Part<'_>| {
        EntityData::default().with_entity_type(text(kind)).with_entity_name(name.map(text))
    };
    let op = OpData::default().with_key(text(key)).with_value(value.unwrap_or_default());
    let entry = EntryData::default()
        .with_entity(entity.iter().map(part).collect())
        .with_ops(vec![op.with_remove(value.is_none())]);
    let request = AlterClientQuotasRequest::default().with_entries(vec![entry]);
    client.call(1, request).await.entries[0].error_code
}

/// The quotas that a filter finds: names of the entity, key and value.
async fn describe(
    client: &mut Client,
    filter: &[(&str, i8, Option<&str>)],
) -> Vec<(Vec<Option<String>>, String, f64)> {
    let component = |(kind, how, name): &(&str, i8, Option<&str>)| {
        let component = ComponentData::default().with_entity_type(text(kind));
        component.with_match_type(*how).with_match(name.map(text))
    };
    let components = filter.iter().map(component).collect();
    let request = DescribeClientQuotasRequest::default().with_components(components);
    let response = client.call(1, request).await;
    assert_eq!(response.error_code, 0);
    let entries = response.entries.expect("no error").into_iter();
    entries
        .map(|entry| {
            let names = entry.entity.iter();
            let names = names.map(|part| part.entity_name.as_ref().map(ToString::to_string));
            (names.collect(), entry.values[0].key.to_string(), entry.values[0].value)
        })
        .collect()
}

const PRODUCED: &str = "producer_byte_rate";
const FETCHED: &str = "consumer_byte_rate";
const MINE: &[Part<'static>] = &[("client-id", Some("tests"))];

#[tokio::test]
async fn quotas_are_kept_and_found_by_filters() {
    let broker = Broker::start();
    let mut client = broker.client().await;
    assert_eq!(alter(&mut client, MINE, PRODUCED, Some(5000.0)).await, 0);
    let both = [("user", None), ("client-id", Some("tests"))];
    assert_eq!(alter(&mut client, &both, "request_percentage", Some(12.5)).await, 0);
    let address = [("ip", Some("127.0.0.1"))];
    assert_eq!(alter(&mut client, &address, "connection_creation_rate", Some(7.0)).await, 0);
    let broker = broker.restart().await;
    let mut client = broker.client().await;
    let tests = Some("tests".to_owned());
    assert_eq!(describe(&mut client, &[]).await.len(), 3);
    let found = describe(&mut client, &[("user", 1, None)]).await;
    assert_eq!(found, [(vec![tests.clone(), None], "request_percentage".to_owned(), 12.5)]);
    let found = describe(&mut client, &[("client-id", 0, Some("tests"))]).await;
    assert_eq!(found.len(), 2);
    assert_eq!(alter(&mut client, MINE, PRODUCED, None).await, 0);
    assert_eq!(describe(&mut client, &[("client-id", 2, None)]).await.len(), 1);
}

#[tokio::test]
async fn what_is_no_quota_is_refused() {
    let broker = Broker::start();
    let mut client = broker.client().await;
    let invalid = ResponseError::InvalidRequest.code();
    let cases: [(&[Part<'_>], &str, f64); 8] = [
        (&[], PRODUCED, 1.0),
        (&[("user", Some(""))], PRODUCED, 1.0),
        (&[("colour", Some("red"))], PRODUCED, 1.0),
        (&[("ip", Some("127.0.0.1")), ("user", None)], PRODUCED, 1.0),
        (&[("ip", None)], PRODUCED, 1.0),
        (MINE, PRODUCED, 0.0),
        (MINE, PRODUCED, 1.5),
        (MINE, "no_such_rate", 1.0),
    ];
    for (entity, key, value) in cases {
        let error = alter(&mut client, entity, key, Some(value)).await;
        assert_eq!(error, invalid, "{entity:?} {key} {value}");
    }
    assert_eq!(describe(&mut client, &[]).await, []);
    let component = ComponentData::default().with_entity_type(text("colour"));
    let request = DescribeClientQuotasRequest::default().with_components(vec![component]);
    let answer = client.call(0, request).await;
    assert_eq!(answer.error_code, ResponseError::UnsupportedVersion.code());
}

#[tokio::test]
async fn a_producer_beyond_its_quota_is_answered_first_and_then_left_alone() {
    let broker = Broker::start();
    broker.topic("t", 1, &[]).await;
    let mut client = broker.client().await;
    assert_eq!(alter(&mut client, MINE, PRODUCED, Some(100_000.0)).await, 0);
    // A burst of ten seconds' worth is free; this is a little more.
    let burst = produce("t", 0, batch(&[(None, &"x".repeat(1_030_000))]));
    let answer = client.call(9, burst).await;
    let wait = Duration::from_millis(answer.throttle_time_ms.try_into().expect("a time"));
    assert!((200..1_000).contains(&answer.throttle_time_ms), "{wait:?}");
    assert_eq!(only(answer).error_code, 0);
    let begun = Instant::now();
    client.versions(0).await;
    assert!(begun.elapsed() > wait / 2, "{:?} of {wait:?}", begun.elapsed());
    // Without the quota nobody waits.
    assert_eq!(alter(&mut client, MINE, PRODUCED, None).await, 0);
    let burst = produce("t", 0, batch(&[(None, &"x".repeat(1_030_000))]));
    assert_eq!(client.call(9, burst).await.throttle_time_ms, 0);
}

#[tokio::test]
async fn a_consumer_beyond_its_quota_is_to_ask_again() {
    let broker = Broker::start();
    broker.topic("t", 1, &[]).await;
    let mut client = broker.client().await;
    for bytes in [600_000, 420_000] {
        let request = produce("t", 0, batch(&[(None, &"x".repeat(bytes))]));
        assert_eq!(only(client.call(9, request).await).error_code, 0);
    }
    let user = [("user", None)];
    assert_eq!(alter(&mut client, &user, FETCHED, Some(100_000.0)).await, 0);
    let mut request = fetch("t", &[(0, 0)]);
    request.topics[0].partitions[0].partition_max_bytes = 1;
    let answer = client.call(11, request.clone()).await;
    assert_eq!((answer.throttle_time_ms, records(&answer, 0).len()), (0, 1));
    request.topics[0].partitions[0].fetch_offset = 1;
    let mut waited_ms = 0;
    loop {
        let begun = Instant::now();
        let answer = client.call(11, request.clone()).await;
        if answer.throttle_time_ms == 0 {
            assert_eq!(records(&answer, 0).len(), 1);
            break;
        }
        assert!(answer.responses.is_empty());
        assert!(begun.elapsed() >= Duration::from_millis(waited_ms / 2));
        waited_ms = answer.throttle_time_ms.try_into().expect("a time");
    }
    assert!(waited_ms > 0, "it was never held back");
}
