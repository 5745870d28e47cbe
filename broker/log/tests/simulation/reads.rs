//! Compares what can be read with the model.

use crate::model::{Model, Partition, Stored, records};
use anabranch_log::{Chunk, PartitionLog, ReadError, Shared, Until};
use anabranch_types::batch::{BatchHeader, Ending, batches};
use anabranch_types::{LeaderEpoch, Offset, Round, Timestamp};
use rand::Rng;
use rand::rngs::StdRng;
use std::collections::BTreeSet;
use std::rc::Rc;

/// Everything, from start to end, with rounds. Fills in rounds that were not known.
pub(crate) fn everything(shared: &Shared, model: &Model, bytes_max: usize) {
    let logs = shared.partitions();
    assert_eq!(logs.len(), model.partitions.len(), "partitions");
    for (id, partition) in &model.partitions {
        let log = shared.partition(*id).unwrap_or_else(|| panic!("partition {id} is gone"));
        assert_eq!(log.log_start().0, partition.log_start, "start of partition {id}");
        assert_eq!(log.high_watermark().0, partition.next(), "end of partition {id}");
        let mut from = log.log_start();
        let mut there = BTreeSet::new();
        while from.0 < partition.next() {
            let chunks = log.read_rounds(from, bytes_max, Until::Published);
            let chunks = chunks.unwrap_or_else(|error| panic!("reading {id} at {from}: {error}"));
            assert!(!chunks.is_empty(), "nothing to read in {id} at {from}");
            for (header, _) in chunks.iter().flat_map(|chunk| batches(&chunk.bytes).flatten()) {
                if header.records_count > 0 {
                    there.insert(header.base_offset.0);
                }
            }
            from = compare(&chunks, partition, from, true);
        }
        assert_eq!(from.0, partition.next(), "the end of partition {id} was read");
        transactions(&log, partition, &there);
    }
    assert_eq!(shared.figures().damaged_batches, 0, "damaged batches");
}

/// What is decided, and how; of `there`, which are base offsets of batches.
fn transactions(log: &PartitionLog, partition: &Partition, there: &BTreeSet<i64>) {
    let (start, next) = (partition.log_start, partition.next());
    let all = &partition.transactions;
    let open = all.iter().filter(|one| one.end.is_none()).map(|one| one.first).min();
    let stable = open.unwrap_or(next).max(start);
    assert_eq!(log.last_stable(), Offset(stable), "stable in {}", log.id());
    let mut aborted: Vec<_> = all
        .iter()
        .filter_map(|one| match one.end {
            Some((marker, Ending::Abort)) if marker >= start => {
                Some((marker, one.producer, one.first))
            }
            _ => None,
        })
        .collect();
    aborted.sort_unstable();
    let found = log.aborted_within(Offset(start), Offset(next));
    let found: Vec<_> = found.iter().map(|one| (one.marker.0, one.producer, one.first.0)).collect();
    // With its marker an aborted transaction goes.
    let may_lack = |marker: i64| marker < partition.compacted.tombstones_until;
    aborted.retain(|one| !may_lack(one.0) || found.contains(one));
    assert_eq!(found, aborted, "aborted in {}", log.id());
    for batch in partition.visible().iter().filter(|batch| there.contains(&batch.base())) {
        let header = &batch.header;
        let its = all
            .iter()
            .rev()
            .find(|one| one.producer == header.producer_id && one.first <= batch.base());
        let committed = its.is_some_and(|one| matches!(one.end, Some((_, Ending::Commit))));
        let expected = !header.is_control() && (!header.is_transactional() || committed);
        let marker = its.and_then(|one| one.end).map_or(i64::MAX, |(marker, _)| marker);
        if header.is_transactional() && !header.is_control() && marker != i64::MAX {
            assert!(there.contains(&marker), "{} has a marker at {marker}", batch.base());
        }
        // An aborted transaction whose marker has gone is forgotten; so has it.
        if marker >= start {
            let counts = log.counts_at(header, Round(u64::MAX));
            assert_eq!(counts, expected, "{} at {}", log.id(), batch.base());
        }
    }
    let committed = log.read(Offset(stable.min(next)), 1, Until::Stable).expect("within the log");
    assert!(committed.is_empty(), "nothing behind it is stable");
}

/// One random question to one random partition.
pub(crate) fn something(rng: &mut StdRng, shared: &Shared, model: &Model) {
    if model.partitions.is_empty() {
        return;
    }
    let number = rng.random_range(0..model.partitions.len());
    let (id, partition) = model.partitions.iter().nth(number).expect("below the length");
    let log = shared.partition(*id).unwrap_or_else(|| panic!("partition {id} is gone"));
    match rng.random_range(0..10) {
        0 => find_time(rng, &log, partition),
        1 => epoch_end(rng, &log, partition),
        _ => read(rng, shared, &log, partition),
    }
}

fn read(rng: &mut StdRng, shared: &Shared, log: &PartitionLog, partition: &Partition) {
    let (start, end) = (partition.log_start, partition.next());
    let from = rng.random_range(start - 1..=end + 1);
    let bytes_max = [0, 1, 500, 5_000, 50_000, usize::MAX][rng.random_range(0..6)];
    let round = rng.random_bool(0.3).then(|| Round(rng.random_range(0..=shared.published().0)));
    let until = round.map_or(Until::Published, Until::Round);
    let rounds = rng.random_bool(0.5);
    let asked = Offset(from);
    let answer = if rounds {
        log.read_rounds(asked, bytes_max, until)
    } else {
        log.read(asked, bytes_max, until)
    };
    if from < start || from > end {
        let error = ReadError::OutOfRange { asked, start: Offset(start), end: Offset(end) };
        assert_eq!(answer, Err(error));
        return;
    }
    let chunks = answer.unwrap_or_else(|error| panic!("partition {} at {from}: {error}", log.id()));
    let first = partition.batches.iter().find(|batch| batch.next() > from);
    let known =
        |batch: &Rc<Stored>| batch.round.get().expect("rounds of what is visible are known");
    let nothing = first.is_none_or(|batch| round.is_some_and(|max| known(batch) > max));
    // A batch of an earlier round may cover what was compacted.
    let nothing = nothing && (chunks.is_empty() || from >= partition.compacted.until);
    assert_eq!(chunks.is_empty(), nothing, "{} at {from}, until {until:?}", log.id());
    compare(&chunks, partition, asked, rounds);
    let count: usize = chunks.iter().map(|chunk| batches(&chunk.bytes).count()).sum();
    let bytes: usize = chunks.iter().map(|chunk| chunk.bytes.len()).sum();
    assert!(count <= 1 || bytes <= bytes_max, "{bytes} of at most {bytes_max} bytes");
    if let Some(max) = round {
        assert!(chunks.iter().all(|chunk| chunk.round <= max), "a round behind {max} was read");
    }
}

/// The chunks must be what the partition holds from `from` on, but for what compaction may have
/// dropped. Says where they end.
fn compare(chunks: &[Chunk], partition: &Partition, from: Offset, rounds: bool) -> Offset {
    let mut end = None;
    for chunk in chunks {
        let mut newest = Timestamp(-1);
        let mut last = None;
        for found in batches(&chunk.bytes) {
            let (header, bytes) = found.expect("only whole batches are read");
            match end {
                Some(end) => assert_eq!(header.base_offset, end, "the batches follow each other"),
                None => assert!((header.base_offset..header.next_offset()).contains(&from)),
            }
            let base = header.base_offset.0;
            let number = partition.batches.partition_point(|batch| batch.base() < base);
            let batch = partition.batches.get(number).filter(|batch| batch.base() == base);
            let batch = batch.unwrap_or_else(|| panic!("no batch began at {base}"));
            if bytes != &batch.bytes[..] {
                compare_left(partition, number, &header, bytes);
            }
            if last.is_none() {
                assert_eq!(chunk.base_offset.0, batch.base());
            }
            if rounds && batch.round.get().is_none() {
                batch.round.set(Some(chunk.round));
            }
            if rounds {
                assert_eq!(batch.round.get(), Some(chunk.round), "round at {}", batch.base());
            }
            newest = newest.max(header.max_timestamp);
            last = Some(batch);
            end = Some(header.next_offset());
        }
        let last = last.expect("a chunk holds at least one batch");
        assert_eq!(Some(chunk.round), last.round.get(), "round of the last batch");
        assert_eq!(Some(chunk.next_offset), end);
        assert_eq!(chunk.max_timestamp, newest);
    }
    end.unwrap_or(from)
}

/// A batch that compaction has changed: it covers the one of this number and some behind it.
fn compare_left(partition: &Partition, number: usize, header: &BatchHeader, bytes: &[u8]) {
    header.check_crc(bytes).expect("it was renewed");
    let next = header.next_offset().0;
    let covered = &partition.batches[number..];
    let covered = &covered[..covered.partition_point(|batch| batch.base() < next)];
    let (base, until) = (header.base_offset.0, partition.compacted.until);
    assert!(base < until, "the bytes at {base} differ, compacted up to {until}");
    assert_eq!(covered.last().map(|batch| batch.next()), Some(next), "it ends where one ended");
    let mut found = records(header, bytes).into_iter().peekable();
    for batch in covered {
        assert_eq!(batch.header.leader_epoch, header.leader_epoch, "at {}", batch.base());
        for (offset, record) in records(&batch.header, &batch.bytes) {
            if found.next_if(|(at, _)| *at == offset).is_some_and(|(_, left)| left == record) {
                continue;
            }
            let may_lack = partition.may_lack(batch, offset, &record);
            assert!(may_lack, "{offset} should not have gone: {record:?}");
        }
    }
    assert_eq!(found.next(), None, "a record that never was");
}

fn find_time(rng: &mut StdRng, log: &PartitionLog, partition: &Partition) {
    if partition.compacted.until > 0 {
        return;
    }
    let all = || {
        partition.batches.iter().flat_map(|batch| {
            batch.times.iter().zip(batch.base()..).map(|(time, offset)| (offset, *time))
        })
    };
    let (Some(oldest), Some(newest)) =
        (all().map(|(_, time)| time).min(), all().map(|(_, time)| time).max())
    else {
        return;
    };
    let time = rng.random_range(oldest - 1..=newest + 1);
    let expected = all().find(|(offset, at)| *offset >= partition.log_start && *at >= time);
    let found = log.find_time(Timestamp(time)).expect("the disk is sound");
    let found = found.map(|(offset, time)| (offset.0, time.0));
    assert_eq!(found, expected, "partition {}, time {time}", log.id());
}

fn epoch_end(rng: &mut StdRng, log: &PartitionLog, partition: &Partition) {
    let mut epochs: Vec<(i32, i64)> = Vec::new();
    for batch in &partition.batches {
        let epoch = batch.header.leader_epoch.0;
        if epochs.last().is_none_or(|(last, _)| *last < epoch) {
            epochs.push((epoch, batch.base()));
        }
    }
    let newest = epochs.last().map_or(0, |(epoch, _)| *epoch);
    let asked = rng.random_range(-1..=newest + 1);
    let number = epochs.iter().rposition(|(epoch, _)| *epoch <= asked);
    let expected = number.map(|number| {
        let end = epochs.get(number + 1).map_or(partition.next(), |(_, start)| *start);
        (LeaderEpoch(epochs[number].0), Offset(end))
    });
    let found = log.epoch_end(LeaderEpoch(asked));
    // An epoch may be forgotten when its records are.
    let forgotten = expected.is_some_and(|(_, end)| end.0 <= partition.log_start);
    assert!(
        found == expected || found.is_none() && forgotten,
        "epoch {asked} of {}: {found:?}, expected {expected:?}",
        log.id()
    );
}
