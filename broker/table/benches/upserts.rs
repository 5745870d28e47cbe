//! How fast tables take upserts, and for how much CPU; beside it the plain way, one `put` a row.
//!
//! `cargo bench -p anabranch-table -- [tables|memory|puts|generate] [million rows] [rows a step]`
//!
//! Rows are JSON of about 110 bytes over a million keys in random order. CPU is that of the whole
//! process, RocksDB's flushes and compactions included; `generate` is the load's own share, to
//! subtract.

use anabranch_table::{KeyRange, Mutation, Operation, Progress, Settings, TableId, Tables};
use anabranch_types::{Offset, PartitionId, Round, Stamp, Timestamp};
use bytes::Bytes;
use rocksdb::{BlockBasedOptions, DB, DBCompressionType, Options, WriteOptions};
use std::error::Error;
use std::io::{Write, stdout};
use std::time::Instant;

const KEYS: u64 = 1_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let argument = |at: usize| arguments.get(at).map(String::as_str);
    let rows = argument(1).map_or(Ok(3), str::parse::<u64>)? * 1_000_000;
    let step = argument(2).map_or(Ok(3_000), str::parse::<u64>)?;
    let directory = tempfile::tempdir()?;
    let what = argument(0).unwrap_or("tables");
    let tables = match what {
        "tables" => Some(Tables::open_with(directory.path(), Settings::default())?.0),
        "memory" => Some(Tables::in_memory()),
        _ => None,
    };
    let (started, cpu) = (Instant::now(), cpu_seconds()?);
    match what {
        "tables" | "memory" => upsert(tables.as_ref().ok_or("they were opened")?, rows, step)?,
        "puts" => put_each(directory.path(), rows, step)?,
        "generate" => (0..rows / step).for_each(|round| {
            std::hint::black_box(mutations(round, step));
        }),
        other => return Err(format!("unknown: {other}; see the head of this file").into()),
    }
    let (seconds, cpu) = (started.elapsed().as_secs_f64(), cpu_seconds()? - cpu);
    let millions = rows as f64 / 1e6;
    writeln!(
        stdout(),
        "{what}: {millions} M rows in {seconds:.1} s: {:.0} k/s, {:.2} CPU s per million, \
         peak {} MB",
        millions / seconds * 1e3,
        cpu / millions,
        peak_megabytes()?,
    )?;
    tables.as_ref().map_or(Ok(()), report)
}

fn upsert(tables: &Tables, rows: u64, step: u64) -> Result<(), Box<dyn Error>> {
    for round in 0..rows / step {
        let progress = Progress { applied: Round(round + 1), positions: Vec::new() };
        tables.apply(mutations(round, step), progress)?;
    }
    tables.flush()?;
    Ok(())
}

fn report(tables: &Tables) -> Result<(), Box<dyn Error>> {
    let stats = tables.stats();
    let started = Instant::now();
    let view = tables.view();
    let found = view.scan(TableId(1), KeyRange::ALL).count();
    writeln!(
        stdout(),
        "{} writes, {} of {} rows written, {} stalls of {:.1} s in all, {} MB in files; {found} \
         rows scanned in {:.2} s",
        stats.writes,
        stats.rows_written,
        stats.mutations,
        stats.stalls,
        stats.stall_nanos as f64 / 1e9,
        stats.disk_bytes >> 20,
        started.elapsed().as_secs_f64(),
    )?;
    Ok(())
}

fn put_each(directory: &std::path::Path, rows: u64, step: u64) -> Result<(), Box<dyn Error>> {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_bloom_filter(10.0, false);
    blocks.set_block_size(16 << 10);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_block_based_table_factory(&blocks);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_write_buffer_size(32 << 20);
    let db = DB::open(&options, directory)?;
    let mut unlogged = WriteOptions::default();
    unlogged.disable_wal(true);
    for round in 0..rows / step {
        for mutation in mutations(round, step) {
            let Operation::Put { value, .. } = mutation.operation else {
                continue;
            };
            db.put_opt(&mutation.key, &value, &unlogged)?;
        }
    }
    db.flush()?;
    Ok(())
}

/// A step's rows: as the applier cuts them out of batches, all in one buffer.
fn mutations(round: u64, step: u64) -> Vec<Mutation> {
    let mut text = Vec::with_capacity(step as usize * 128);
    let mut ends = Vec::with_capacity(step as usize);
    for n in round * step..(round + 1) * step {
        // A full-period generator modulo 2^64, mixed: random keys without a table of them.
        let mixed = (n ^ 0x5bd1_e995).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let key = (mixed >> 20) % KEYS;
        write!(text, "sensor-{key:07}").expect("a vector takes all");
        let key_end = text.len();
        write!(
            text,
            "{{\"sensor\":\"sensor-{key:07}\",\"at\":{:013},\"celsius\":{}.{},\"ok\":true,\
             \"n\":{n:010}}}",
            1_700_000_000_000 + n,
            mixed % 40,
            mixed % 10,
        )
        .expect("a vector takes all");
        ends.push((key_end, text.len()));
    }
    let text = Bytes::from(text);
    let mut from = 0;
    ends.into_iter()
        .zip(round * step..)
        .map(|((key_end, end), n)| {
            let (key, value) = (text.slice(from..key_end), text.slice(key_end..end));
            from = end;
            Mutation {
                table: TableId(1),
                key,
                stamp: Stamp {
                    round: Round(round + 1),
                    partition: PartitionId(0),
                    offset: Offset(n as i64),
                },
                operation: Operation::Put {
                    timestamp: Timestamp(1_700_000_000_000 + n as i64),
                    value,
                    headers: Bytes::new(),
                },
            }
        })
        .collect()
}

/// User and system time of all threads (proc(5): fields 14 and 15 of `stat`, in hundredths).
fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: Vec<f64> = fields.skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    Ok(ticks.iter().sum::<f64>() / 100.0)
}

fn peak_megabytes() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()).ok_or("no VmHWM")?;
    Ok(kilobytes.parse::<u64>()? / 1024)
}
