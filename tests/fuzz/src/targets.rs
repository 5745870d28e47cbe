//! What is fuzzed: each decoder of bytes from a socket or a file. Any bytes must be refused or
//! understood, in bounded memory, without a panic; what is understood must hold together.
//!
//! Also a module of the test crate, which runs every seed and every finding of the past.

use anabranch_access::{
    Access, Credential, Credentials, Exchange, Principal, PrincipalRecord, SaslMechanism, Step,
};
use anabranch_kafka::{apis, request};
use anabranch_table::{Mutation, Operation, TableId, codec};
use anabranch_types::batch::{
    BatchBuilder, BatchHeader, Compression, HEADER_BYTES, Left, Record, ValidateOptions, batches,
    decode_records, retain, set_base_offset_and_epoch, validate,
};
use anabranch_types::{LeaderEpoch, Offset, PartitionId, Round, Stamp, Timestamp, limits};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// A decoder.
pub(crate) struct Target {
    /// Its name, and that of its directory in `corpus`.
    pub(crate) name: &'static str,
    /// Decodes some bytes, and panics if something is wrong with what comes out.
    pub(crate) run: fn(&[u8]),
    /// Bytes to begin with.
    pub(crate) seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub(crate) const TARGETS: &[Target] = &[
    Target { name: "batch", run: batch, seeds: batch_seeds },
    Target { name: "records", run: records, seeds: records_seeds },
    Target { name: "log", run: log, seeds: log_seeds },
    Target { name: "table", run: table, seeds: table_seeds },
    Target { name: "kafka", run: kafka, seeds: kafka_seeds },
    Target { name: "rewrite", run: rewrite, seeds: records_seeds },
    Target { name: "sasl", run: sasl, seeds: sasl_seeds },
];

/// A piece of a log, or what a client produced: batches back to back.
fn batch(data: &[u8]) {
    let mut scratch = Vec::new();
    let mut bytes = 0;
    // Not all: hundreds of batches may expand to the bound each, one after the other.
    for (header, batch) in batches(data).take(4).flatten() {
        bytes += batch.len();
        assert_eq!(header.bytes, batch.len());
        assert_eq!(BatchHeader::read(batch), Ok(header));
        // Damage that the checksum did not find, or data that had none.
        let _damaged = header.check_crc(batch);
        if let Ok(records) = decode_records(&header, batch, &mut scratch) {
            records.flatten().for_each(|record| {
                assert_eq!(record.headers.iter().count(), record.headers.len());
            });
        }
    }
    assert!(bytes <= data.len());
    produced(data);
}

/// The records of one batch whose header and checksum are right.
fn records(data: &[u8]) {
    if let Some(batch) = sealed(data) {
        produced(&batch);
    }
}

/// Such a batch, of codec, count, flags, records.
fn sealed(data: &[u8]) -> Option<Vec<u8>> {
    let (&[codec, count_high, count_low, flags], payload) = data.split_first_chunk()?;
    let count = i32::from(u16::from_be_bytes([count_high, count_low]));
    let mut batch = vec![0; HEADER_BYTES];
    batch.extend_from_slice(payload);
    let length = (batch.len() - 12) as i32;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[16] = 2;
    batch[22] = (codec & 7) | (flags & 0x38);
    batch[23..27].copy_from_slice(&(count - 1).to_be_bytes());
    if flags & 1 == 1 {
        batch[27..35].copy_from_slice(&i64::MAX.to_be_bytes());
    }
    batch[43..57].fill(0xff);
    batch[57..61].copy_from_slice(&count.to_be_bytes());
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    Some(batch)
}

/// What compaction leaves of a batch: the records that it keeps, as they were.
fn rewrite(data: &[u8]) {
    let Some(batch) = sealed(data) else { return };
    let Ok(header) = BatchHeader::read(&batch) else { return };
    let mut scratch = Vec::new();
    for wanted in [0b01, 0b10, 0b11] {
        // Of each pair of records some are kept.
        let is_kept = |offset: Offset| wanted >> (offset.0 & 1) & 1 == 1;
        let horizon = Timestamp(1_700_000_000_000);
        let keep = |record: &Record<'_>| is_kept(record.offset);
        let Ok(left) = retain(&header, &batch, horizon, &mut scratch, keep) else { return };
        let all = contents(&batch).expect("they were decoded");
        let expected: Vec<_> = all.into_iter().filter(|record| is_kept(record.0)).collect();
        match left {
            Left::Whole => assert_eq!(contents(&batch), Some(expected)),
            Left::Part(part) => {
                let renewed = BatchHeader::read(&part).expect("it was written here");
                renewed.check_crc(&part).expect("it was written here");
                assert_eq!(renewed.next_offset(), header.next_offset());
                assert_eq!(contents(&part), Some(expected));
            }
            Left::Nothing => assert!(expected.is_empty()),
        }
    }
}

/// A record's offset, time, key and value.
type Content = (Offset, Timestamp, Option<Vec<u8>>, Option<Vec<u8>>);

fn contents(batch: &[u8]) -> Option<Vec<Content>> {
    let header = BatchHeader::read(batch).ok()?;
    let mut scratch = Vec::new();
    let records = decode_records(&header, batch, &mut scratch).ok()?;
    let content = |record: Record<'_>| {
        let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
        (record.offset, record.timestamp, owned(record.key), owned(record.value))
    };
    records.map(|record| record.ok().map(content)).collect()
}

/// A login, or what somebody says is kept of a password: which, then messages, each behind its
/// length.
fn sasl(data: &[u8]) {
    let Some((which, mut rest)) = data.split_first() else { return };
    let Some(mechanism) = SaslMechanism::EVERY.get(usize::from(which % 4)) else {
        if let Ok(text) = std::str::from_utf8(rest) {
            drop(Credential::try_from(text.to_owned()));
        }
        return;
    };
    let mut exchange = Exchange::new(*mechanism, NONCE.to_owned());
    while let Some((&[high, low], after)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([high, low])).min(after.len());
        let (message, after) = after.split_at(length);
        match exchange.step(&KNOWN, message) {
            Ok(Step::Continue(answer)) => assert!(!answer.is_empty()),
            Ok(Step::Done { principal, .. }) => {
                assert!(KNOWN.principals().contains_key(&principal));
                return;
            }
            Err(_) => return,
        }
        rest = after;
    }
}

const NONCE: &str = "fyko+d2lbbFgONRv9qkxdawL";

/// There is one user.
static KNOWN: LazyLock<Access> = LazyLock::new(|| {
    let credentials =
        Credentials::of_password("pencil", [vec![1; 16], vec![2; 16]]).expect("a good password");
    let record = PrincipalRecord { credentials, ..PrincipalRecord::default() };
    Access::new(BTreeMap::from([(Principal::user("user"), record)]), [], [7; 32])
});

fn sasl_seeds() -> Vec<Vec<u8>> {
    let login = |which: u8, messages: &[&str]| {
        let mut seed = vec![which];
        for message in messages {
            seed.extend_from_slice(&(message.len() as u16).to_be_bytes());
            seed.extend_from_slice(message.as_bytes());
        }
        seed
    };
    let first = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    let last = format!("c=biws,r=rOprNGfwEbeRWgbNEkqO{NONCE},p={}", "A".repeat(44));
    let kept = KNOWN.credentials(&Principal::user("user")).and_then(Credentials::any);
    let kept = kept.map(|credential| String::from(credential.clone())).unwrap_or_default();
    vec![
        login(0, &["\0user\0pencil"]),
        login(0, &["other\0user\0pencil"]),
        login(1, &[first, &last]),
        login(2, &["y,a=user,n=us=2Cer,r=abc,ext=1", &last]),
        [&[3], kept.as_bytes()].concat(),
        b"\x03SCRAM-SHA-512$4096:c2FsdHNhbHQ=$AAAA:BBBB".to_vec(),
    ]
}

/// What passes validation is what every later hop relies on.
fn produced(data: &[u8]) {
    let options = ValidateOptions { keys_required: data.len().is_multiple_of(2), hash_keys: true };
    let mut scratch = Vec::new();
    let Ok(produced) = validate(data, options, |key| key.len() as u64, &mut scratch) else {
        assert!(scratch.len() <= limits::BATCH_DECOMPRESSED_BYTES_MAX + 1);
        return;
    };
    let mut stored = data.to_vec();
    set_base_offset_and_epoch(&mut stored, Offset(1_000), LeaderEpoch(7));
    let header = BatchHeader::read(&stored).expect("it was valid");
    header.check_crc(&stored).expect("neither field is covered");
    let (mut count, mut keys, mut newest) = (0, 0, Timestamp(i64::MIN));
    let records = decode_records(&header, &stored, &mut scratch).expect("it was valid");
    for record in records {
        let record = record.expect("it was valid");
        assert_eq!(record.offset, Offset(1_000 + count));
        assert_eq!(record.headers.iter().count(), record.headers.len());
        newest = newest.max(record.timestamp);
        keys += usize::from(record.key.is_some());
        count += 1;
    }
    assert_eq!(count, i64::from(produced.header.records_count));
    assert_eq!(keys, produced.key_hashes.len());
    assert_eq!(newest, produced.max_timestamp);
    assert_eq!(header.next_offset(), Offset(1_000 + count));
}

/// What the log reads back from its files.
fn log(data: &[u8]) {
    let Some((which, bytes)) = data.split_first() else {
        return;
    };
    match which % 3 {
        0 => anabranch_log::fuzz::checkpoint(bytes),
        1 => anabranch_log::fuzz::round(bytes),
        _ => anabranch_log::fuzz::index_entry(bytes),
    }
}

/// What the tables read back from their store.
fn table(data: &[u8]) {
    let Some((which, bytes)) = data.split_first() else {
        return;
    };
    match which % 4 {
        0 => table_row(bytes),
        1 => drop(codec::decode_mark(bytes)),
        2 => {
            let sealed = [bytes, &crc32c::crc32c(bytes).to_be_bytes()].concat();
            if let Ok(mark) = codec::decode_mark(&sealed) {
                assert_eq!(codec::encode_mark(&mark), sealed);
            }
        }
        _ => {
            if let Ok((table, key)) = codec::split_key(bytes) {
                assert_eq!(codec::key(table, key), bytes);
            }
        }
    }
}

fn table_row(bytes: &[u8]) {
    let stamp = codec::stamp(bytes);
    let Ok(row) = codec::row(Bytes::copy_from_slice(bytes)) else {
        return;
    };
    let stamp = stamp.expect("a row has a stamp");
    let operation = match &row {
        None => Operation::Delete,
        Some(row) => {
            assert_eq!(row.stamp, stamp);
            Operation::Put {
                timestamp: row.timestamp,
                value: row.value.clone(),
                headers: row.headers.clone(),
            }
        }
    };
    let mut again = Vec::new();
    let mutation = Mutation { table: TableId(0), key: Bytes::new(), stamp, operation };
    codec::put_mutation(&mut again, &mutation);
    assert_eq!(codec::row(Bytes::from(again)), Ok(row));
}

/// A request of a Kafka client, without its length.
fn kafka(data: &[u8]) {
    let frame = Bytes::copy_from_slice(data);
    if let Ok((head, _request)) = request::decode(&frame) {
        assert!(head.body <= frame.len());
        assert!(head.client.0 <= head.client.1 && head.client.1 <= frame.len());
    }
}

fn batch_seeds() -> Vec<Vec<u8>> {
    let one: Vec<Vec<u8>> = all_codecs().into_iter().map(built).collect();
    let all = one.concat();
    one.into_iter().chain([all]).collect()
}

fn records_seeds() -> Vec<Vec<u8>> {
    let payload = |compression| {
        let batch = built(compression);
        let (codec, count) = (batch[22] & 7, batch[57 + 3]);
        [&[codec, 0, count, 0], &batch[HEADER_BYTES..]].concat()
    };
    // xerial's framing, as Java clients have it.
    let raw = payload(Compression::Snappy);
    let framed = [
        &raw[..4],
        b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01",
        &((raw.len() - 4) as u32).to_be_bytes(),
        &raw[4..],
    ]
    .concat();
    all_codecs().into_iter().map(payload).chain([framed]).collect()
}

fn all_codecs() -> [Compression; 5] {
    use Compression::{Gzip, Lz4, None, Snappy, Zstd};
    [None, Gzip, Snappy, Lz4, Zstd]
}

fn built(compression: Compression) -> Vec<u8> {
    let mut builder = BatchBuilder::default().compression(compression);
    let value = b"{\"a\":1,\"b\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}";
    builder.push(Timestamp(1_700_000_000_000), Some(b"key"), Some(value), &[]);
    builder.push(Timestamp(1_700_000_000_001), Some(b""), None, &[(b"name", Some(b"value"))]);
    builder.push(Timestamp(1_699_999_999_999), None, Some(b""), &[(b"", None), (b"x", Some(b""))]);
    builder.build().expect("every codec takes this").to_vec()
}

fn log_seeds() -> Vec<Vec<u8>> {
    (0..3u8).flat_map(|which| [vec![which; 33], vec![which, 0, 0, 0, 0]]).collect()
}

fn table_seeds() -> Vec<Vec<u8>> {
    let stamp = Stamp { round: Round(300), partition: PartitionId(2), offset: Offset(5) };
    let put = |headers: &'static [u8]| Operation::Put {
        timestamp: Timestamp(1_700_000_000_000),
        value: Bytes::from_static(b"value"),
        headers: Bytes::from_static(headers),
    };
    let row = |operation| {
        let mut out = vec![0];
        let (table, key) = (TableId(1), Bytes::from_static(b"key"));
        codec::put_mutation(&mut out, &Mutation { table, key, stamp, operation });
        out
    };
    let mut mark = codec::Mark { highest: Round(9), ..codec::Mark::default() };
    mark.progress.positions.push((PartitionId(1), Offset(2)));
    let mark = codec::encode_mark(&mark);
    vec![
        row(put(b"")),
        row(put(b"\x02\x02a\x01")),
        row(Operation::Delete),
        [&[1], &mark[..]].concat(),
        [&[2], &mark[..mark.len() - 4]].concat(),
        [&[3], &codec::key(TableId(7), b"key")[..]].concat(),
    ]
}

/// Each API in each version: its head, and a body in which every length is 0, or 1 with one
/// element of zeros, as far as that goes.
fn kafka_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for api in apis::APIS {
        for version in [api.min, api.flexible_from - 1, api.flexible_from, api.max] {
            if !(api.min..=api.max).contains(&version) {
                continue;
            }
            let mut head = Vec::new();
            head.extend_from_slice(&(api.key as i16).to_be_bytes());
            head.extend_from_slice(&version.to_be_bytes());
            head.extend_from_slice(b"\0\0\0\x07\0\x01c");
            if api.is_flexible(version) {
                head.push(0);
            }
            let ones = if api.is_flexible(version) { [2; 48] } else { [0; 48] };
            seeds.push([&head[..], &[0; 48]].concat());
            seeds.push([&head[..], &ones].concat());
        }
    }
    seeds.push(produce_seed());
    seeds
}

/// Produce, version 3: a transactional id of null, acks=all, one topic with one partition.
fn produce_seed() -> Vec<u8> {
    let batch = built(Compression::None);
    let length = (batch.len() as u32).to_be_bytes();
    [
        &b"\0\0\0\x03\0\0\0\x01\0\x01c"[..],
        b"\xff\xff\xff\xff\0\0\x75\x30",
        b"\0\0\0\x01\0\x05topic",
        b"\0\0\0\x01\0\0\0\0",
        &length,
        &batch,
    ]
    .concat()
}
