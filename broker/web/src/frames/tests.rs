use super::*;
use anabranch_types::Timestamp;
use anabranch_types::batch::Headers;

fn record(offset: i64, value: &[u8]) -> Record<'_> {
    Record {
        offset: Offset(offset),
        timestamp: Timestamp(17),
        key: None,
        value: Some(value),
        headers: Headers::default(),
    }
}

#[test]
fn a_message_holds_one_partition() {
    let mut frames = Frames::new(4);
    frames.record(PartitionIndex(0), &record(5, b"1"));
    frames.record(PartitionIndex(0), &record(7, b"2"));
    frames.partition_end(PartitionIndex(0), Offset(9));
    frames.partition_end(PartitionIndex(1), Offset(3));
    frames.record(PartitionIndex(2), &record(0, b"3"));
    frames.partition_end(PartitionIndex(2), Offset(1));
    let text: Vec<_> = frames.finished.iter().map(|frame| String::from_utf8_lossy(frame)).collect();
    let expected = [
        "{\"type\":\"events\",\"sub\":4,\"partition\":0,\"events\":[\
         {\"offset\":5,\"ts\":17,\"key\":null,\"value\":1},\
         {\"offset\":7,\"ts\":17,\"key\":null,\"value\":2}],\"next\":9}",
        "{\"type\":\"events\",\"sub\":4,\"partition\":2,\"events\":[\
         {\"offset\":0,\"ts\":17,\"key\":null,\"value\":3}],\"next\":1}",
    ];
    assert_eq!(text, expected);
    assert_eq!(frames.events, 3);
}

#[test]
fn messages_and_steps_are_bounded() {
    let value = format!("\"{}\"", "x".repeat(10_000));
    let mut frames = Frames::new(0);
    let mut offset = 0;
    while !frames.is_full(false) {
        frames.record(PartitionIndex(0), &record(offset, value.as_bytes()));
        offset += 1;
    }
    frames.partition_end(PartitionIndex(0), Offset(offset));
    assert!(frames.finished.len() >= 2);
    assert!(frames.finished.iter().all(|frame| frame.len() < FRAME_BYTES + 11_000));
    let first = String::from_utf8_lossy(&frames.finished[0]);
    // 27 times 10,042 bytes.
    assert!(first.ends_with("\"next\":27}"), "{offset}");

    let mut page = Page::new(2);
    page.record(PartitionIndex(0), &record(0, b"1"));
    assert!(!page.is_full(false));
    page.record(PartitionIndex(1), &record(0, b"1"));
    assert!(page.is_full(false));
}
