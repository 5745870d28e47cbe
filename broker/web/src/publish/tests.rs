use super::*;
use anabranch_engine::{
    AppendError, Appended, Column, ColumnType, StreamId, StreamOptions, TableId,
};
use anabranch_types::{PartitionId, Round};
use smallvec::smallvec;

const DEFAULTS: Defaults = Defaults { now: Timestamp(17), turn: 4 };

fn stream(mode: Mode, partitions: u32, batch_bytes_max: u32, key: &[&str]) -> Stream {
    Stream {
        id: StreamId(Default::default()),
        name: "flights".to_owned(),
        mode,
        partitions: (0..partitions).map(|number| PartitionId(100 + number)).collect(),
        table: (mode == Mode::Upsert).then_some(TableId(1)),
        columns: key
            .iter()
            .map(|&name| Column {
                in_key: true,
                not_null: true,
                ..Column::new(name, ColumnType::Text)
            })
            .collect(),
        checks: Vec::new(),
        retired: Vec::new(),
        settings: BTreeMap::new(),
        options: StreamOptions {
            batch_bytes_max,
            time_before_ms_max: i64::MAX,
            time_after_ms_max: i64::MAX,
            ..StreamOptions::default()
        },
    }
}

fn event<'a>(key: Option<&'a str>, value: Option<&'a str>) -> NewEvent<'a> {
    let bytes = |text: &'a str| Cow::Borrowed(text.as_bytes());
    NewEvent { key: key.map(bytes), value: value.map(bytes), ..NewEvent::default() }
}

fn appended(base_offset: i64, round: u64) -> Result<Appended, AppendError> {
    Ok(Appended {
        base_offset: Offset(base_offset),
        round: Round(round),
        log_start: Offset(0),
        append_time: None,
    })
}

#[test]
fn events_keep_their_order_and_find_their_partition() {
    let stream = stream(Mode::Append, 3, 1 << 20, &[]);
    let mut chosen = event(None, Some("1"));
    chosen.partition = Some(PartitionIndex(2));
    let events = vec![event(None, Some("1")), event(Some("21"), None), chosen, event(None, None)];
    let prepared = prepare(&stream, events, DEFAULTS).expect("taken");
    // The turn 4 is partition 1; murmur2 of "21" is 1173551340 after masking: partition 0.
    let parts: Vec<_> = prepared.appends[0].parts.iter().map(|part| part.partition.0).collect();
    assert_eq!((prepared.appends.len(), parts), (1, vec![100, 101, 102]));
    let results = [smallvec![appended(10, 7), appended(20, 7), appended(30, 8)]];
    let acknowledged = prepared.pending.answer(&results).expect("appended");
    let place = |partition, offset| Some((PartitionIndex(partition), Offset(offset)));
    assert_eq!(acknowledged.round, Round(8));
    assert_eq!(acknowledged.places, [place(1, 20), place(0, 10), place(2, 30), place(1, 21)]);
}

#[test]
fn large_requests_are_split_by_the_streams_bound() {
    let stream = stream(Mode::Append, 1, 300, &[]);
    let value = "x".repeat(60);
    let events = vec![event(None, Some(&value)); 5];
    let prepared = prepare(&stream, events, DEFAULTS).expect("taken");
    let counts: Vec<_> =
        prepared.appends.iter().map(|append| append.parts[0].header.records_count).collect();
    assert_eq!(counts.iter().sum::<i32>(), 5);
    assert!(prepared.appends.iter().all(|append| append.parts[0].batch.len() <= 300));
    assert!(counts.len() > 1, "{counts:?}");

    let full = AppendError::DiskFull { free: 1, reserve: 2 };
    let mut results: Vec<AppendResult> = vec![smallvec![appended(0, 1)]];
    results.extend(counts[1..].iter().map(|_| smallvec![Err(full.clone())]));
    let failure = prepared.pending.answer(&results).expect_err("the second append failed");
    assert_eq!(failure.code, Code::Engine(ErrorKind::DiskFull));
    let places = failure.partly.expect("the first was appended").places;
    let kept = places.iter().filter(|place| place.is_some()).count();
    assert_eq!(kept as i32, counts[0]);

    let large = "x".repeat(300);
    let failure = prepare(&stream, vec![event(None, Some(&large))], DEFAULTS).expect_err("large");
    assert_eq!(failure.code, Code::Engine(ErrorKind::TooLarge));
}

#[test]
fn keyed_streams_need_keys() {
    let check = |key_columns: &[&str], event: NewEvent<'_>, expected: Option<&[u8]>| {
        let stream = stream(Mode::Upsert, 1, 1 << 20, key_columns);
        let hashes = prepare(&stream, vec![event], DEFAULTS)
            .ok()
            .map(|prepared| prepared.appends[0].parts[0].key_hashes.clone());
        assert_eq!(hashes, expected.map(|key| vec![key_hash(key)]));
    };
    check(&[], event(Some("a"), None), Some(b"a"));
    check(&[], event(None, Some("{\"a\":\"x\"}")), None);
    check(&["a"], event(None, Some("{\"a\":\"x\"}")), Some(b"x"));
    check(&["a"], event(Some("y"), Some("{\"a\":\"x\"}")), Some(b"y"));
    check(&["a", "b"], event(None, Some("{\"a\":\"x\",\"b\":5}")), Some(b"[\"x\",5]"));
    check(&["a"], event(None, Some("{}")), None);
    check(&["a"], event(None, None), None);
}

#[test]
fn nothing_is_not_published() {
    let stream = stream(Mode::Append, 1, 1 << 20, &[]);
    assert!(prepare(&stream, Vec::new(), DEFAULTS).is_err());
    let mut elsewhere = event(None, Some("1"));
    elsewhere.partition = Some(PartitionIndex(1));
    let failure = prepare(&stream, vec![event(None, None), elsewhere], DEFAULTS).expect_err("none");
    assert!(failure.message.starts_with("event 1: "), "{failure}");
}
