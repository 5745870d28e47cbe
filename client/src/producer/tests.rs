use super::budget::Budget;
use super::frame::Frame;
use super::partition::{Pool, TopicName, TopicState};
use super::sending::Sending;
use super::{ProducerConfig, Record};
use anabranch_types::batch::{BatchHeader, Compression};
use anabranch_types::{ProducerEpoch, ProducerId, Timestamp};
use proptest::prelude::*;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

type TestFrame = Box<Frame<u64>>;

fn frame(number: u64, records: usize, now: Instant) -> TestFrame {
    let mut frame = Box::new(Frame::new(now));
    frame.open(b"prefix of eleven.", Compression::None, now);
    frame.number = number;
    for _ in 0..records {
        let value = number.to_be_bytes();
        let record = Record { timestamp: Some(Timestamp(1)), ..Record::value(&value) };
        frame.push(&record, number, 1);
    }
    frame.seal();
    frame
}

fn header(frame: &mut TestFrame) -> BatchHeader {
    let header = BatchHeader::read(frame.batch_mut()).expect("a whole batch");
    header.check_crc(frame.batch_mut()).expect("the checksum was renewed");
    header
}

/// One partition of a broker that checks sequences as Kafka does (KIP-98).
#[derive(Default)]
struct Broker {
    log: Vec<u64>,
    epoch: i16,
    next: i32,
    /// (epoch, first sequence) of the last five batches.
    last: VecDeque<(i16, i32)>,
}

#[derive(Debug, PartialEq)]
enum Reply {
    Written,
    Duplicate,
    OutOfOrder,
}

impl Broker {
    fn append(&mut self, frame: &mut TestFrame) -> Reply {
        let header = header(frame);
        let (epoch, sequence) = (header.producer_epoch.0, header.base_sequence.0);
        if self.last.contains(&(epoch, sequence)) {
            return Reply::Duplicate;
        }
        let expected = if epoch > self.epoch { 0 } else { self.next };
        if epoch < self.epoch || sequence != expected {
            return Reply::OutOfOrder;
        }
        self.epoch = epoch;
        self.next = sequence + header.records_count;
        self.last.push_back((epoch, sequence));
        if self.last.len() > 5 {
            self.last.pop_front();
        }
        self.log.push(frame.number);
        Reply::Written
    }
}

/// What happens to the oldest request in flight.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Answered,
    /// A passing error, nothing written.
    Refused,
    /// The connection breaks; this many of those in flight were written before.
    Broken(usize),
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => Just(Fate::Answered),
        2 => Just(Fate::Refused),
        1 => (0..6usize).prop_map(Fate::Broken),
    ]
}

proptest! {
    /// Whatever is retried: each frame is in the log once, in order.
    #[test]
    fn an_idempotent_partition_keeps_order(sizes in prop::collection::vec(1..4usize, 1..30), fates in prop::collection::vec(fate(), 0..60)) {
        let mut now = Instant::now();
        let count = sizes.len() as u64;
        let mut queue: VecDeque<_> =
            sizes.iter().zip(0..).map(|(size, number)| frame(number, *size, now)).collect();
        let mut sending = Sending::new(Some((ProducerId(7), ProducerEpoch(0))), 5);
        sending.enqueue(&mut queue);
        let mut broker = Broker::default();
        let mut in_flight: VecDeque<TestFrame> = VecDeque::new();
        let mut fates = fates.into_iter();
        let pause = Duration::from_millis(10);
        let mut acknowledged = Vec::new();
        while acknowledged.len() < count as usize {
            while let Some(frame) = sending.next(now) {
                in_flight.push_back(frame);
            }
            prop_assert!(in_flight.len() <= 5);
            let Some(mut oldest) = in_flight.pop_front() else {
                now += pause;
                continue;
            };
            match fates.next().unwrap_or(Fate::Answered) {
                Fate::Answered => match broker.append(&mut oldest) {
                    Reply::OutOfOrder => {
                        prop_assert!(sending.follows_a_retry(oldest.number));
                        sending.retry(oldest, now, pause);
                    }
                    _ => {
                        acknowledged.push(oldest.number);
                        sending.acknowledged();
                    }
                },
                Fate::Refused => sending.retry(oldest, now, pause),
                Fate::Broken(written) => {
                    in_flight.push_front(oldest);
                    for frame in in_flight.iter_mut().take(written) {
                        broker.append(frame);
                    }
                    for frame in in_flight.drain(..) {
                        sending.retry(frame, now, pause);
                    }
                }
            }
        }
        prop_assert_eq!(&broker.log, &(0..count).collect::<Vec<_>>());
        // A duplicate is acknowledged after its successors, which were written meanwhile.
        acknowledged.sort_unstable();
        prop_assert_eq!(acknowledged, broker.log);
    }
}

#[test]
fn after_a_lost_batch_numbering_starts_anew_in_the_next_epoch() {
    let now = Instant::now();
    let mut sending = Sending::new(Some((ProducerId(7), ProducerEpoch(3))), 5);
    sending.enqueue(&mut (0..3).map(|number| frame(number, 2, now)).collect());
    let mut first = sending.next(now).expect("nothing is in the way");
    let second = sending.next(now).expect("nothing is in the way");
    assert_eq!(header(&mut first).base_sequence.0, 0);
    sending.sequence_lost();
    sending.acknowledged();
    assert!(sending.next(now).is_none(), "the second is still in flight");
    assert!(sending.follows_a_retry(second.number));
    sending.retry(second, now, Duration::ZERO);
    for (number, sequence) in [(1, 0), (2, 2)] {
        let mut next = sending.next(now).expect("everything came back");
        let header = header(&mut next);
        assert_eq!((next.number, header.base_sequence.0), (number, sequence));
        assert_eq!(header.producer_epoch, ProducerEpoch(4));
    }
}

#[test]
fn frames_that_waited_too_long_are_taken_out() {
    let start = Instant::now();
    let later = start + Duration::from_secs(1);
    let mut sending: Sending<u64> = Sending::new(None, 5);
    sending.enqueue(&mut [frame(0, 1, start), frame(1, 1, later)].into());
    let expired = sending.expired(later);
    assert_eq!(expired.iter().map(|frame| frame.number).collect::<Vec<_>>(), [0]);
    assert_eq!(sending.next(later).map(|frame| frame.number), Some(1));
}

#[test]
fn a_pool_stays_within_its_bounds() {
    let now = Instant::now();
    let mut pool = Pool::default();
    for number in 0..1_000 {
        pool.put(frame(number, 1, now), 0);
    }
    let mut kept = 0;
    while pool.take().is_some() {
        kept += 1;
    }
    assert_eq!(kept, crate::limits::FRAMES_POOLED_MAX);
}

#[test]
fn a_budget_refuses_what_does_not_fit_unless_it_is_empty() {
    let budget = Budget::new(10);
    assert!(budget.take(25), "one record larger than half must pass sometime");
    assert!(!budget.take(1));
    budget.give(25);
    assert!(budget.take(10));
    assert!(!budget.take(1));
    assert_eq!(budget.used(), 10);
}

#[test]
fn keys_go_where_kafka_sends_them() {
    let name = Arc::new(TopicName { name: "t".to_owned(), sticky: 7.into() });
    let lane = Arc::new(super::lane::Lane::new(crate::BrokerId(1)));
    let partition = |index| {
        let sending = Sending::new(None, 5);
        let (name, lane) = (Arc::clone(&name), Arc::clone(&lane));
        let index = anabranch_types::PartitionIndex(index);
        Arc::new(super::partition::Partition::<u64>::new(name, index, vec![], lane, sending))
    };
    let topic = TopicState { name: Arc::clone(&name), partitions: (0..6).map(partition).collect() };
    let check = |record: Record<'_>, expected: Option<i32>| {
        assert_eq!(topic.partition(&record).ok().map(|found| found.index.0), expected);
    };
    // Kafka's Utils.toPositive(murmur2("foobar")) % 6.
    check(Record::keyed(b"foobar", b"v"), Some((-790_332_482i32 & i32::MAX) % 6));
    let to = |partition| Record {
        partition: Some(anabranch_types::PartitionIndex(partition)),
        ..Record::keyed(b"foobar", b"v")
    };
    check(to(2), Some(2));
    check(to(6), None);
    check(to(-1), None);
    // The turn has passed the last partition: it starts with the first again.
    check(Record::value(b"v"), Some(0));
}

#[test]
fn settings_that_cannot_work_are_named() {
    let check = |config: ProducerConfig, expected: &str| {
        assert_eq!(config.check().expect_err("cannot work").to_string(), expected);
    };
    let default = ProducerConfig::default;
    assert!(default().check().is_ok());
    check(
        ProducerConfig { acks: super::Acks::Leader, ..default() },
        "an idempotent producer needs `acks = All`; set `idempotent = false` for fewer",
    );
    check(
        ProducerConfig { batch_records_max: 0, ..default() },
        "`batch_records_max` is at least 1",
    );
}
