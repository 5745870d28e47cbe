//! `anabranch log dump` and `log verify`: the log on disk, read-only, whether or not a broker
//! serves it.

use crate::cli::DumpArgs;
use anabranch_engine::{Catalog, Chunk, Inspection};
use anabranch_types::batch::{BatchHeader, batches, decode_records};
use anabranch_types::{Offset, PartitionId, PartitionIndex};
use std::error::Error;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Bytes of a key or value that are printed.
const SHOWN_BYTES: usize = 200;

/// What `log verify` found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Whole,
    Damaged,
}

/// Reads everything in the data directory, and says for each partition what it found.
pub(crate) fn verify(data_dir: &Path) -> Result<Verdict, Box<dyn Error>> {
    let inspection = inspect(data_dir)?;
    let catalog = Catalog::inspect(&inspection);
    let mut out = BufWriter::new(io::stdout().lock());
    let mut verdict = Verdict::Whole;
    if let Err(error) = &catalog {
        writeln!(out, "streams cannot be named: {error}")?;
        verdict = Verdict::Damaged;
    }
    let catalog = catalog.unwrap_or_default();
    for found in inspection.verify()? {
        let number = found.partition;
        let name = match catalog.by_partition(number) {
            Some((stream, index)) => format!("{}/{index} (partition {number})", stream.name),
            None => format!("partition {number}"),
        };
        writeln!(
            out,
            "{name}: offsets {} to {}, {} batches",
            found.log_start, found.log_end, found.batches
        )?;
        for offset in &found.damaged {
            writeln!(out, "{name}: the batch at {offset} is damaged")?;
        }
        for error in &found.errors {
            writeln!(out, "{name}: {error}")?;
        }
        if !found.damaged.is_empty() || !found.errors.is_empty() {
            verdict = Verdict::Damaged;
        }
    }
    let journal_from = inspection.journal_from();
    writeln!(out, "the journal is whole from round {journal_from}")?;
    out.flush()?;
    Ok(verdict)
}

/// Prints batches of a partition, with their records if asked.
pub(crate) fn dump(data_dir: &Path, args: &DumpArgs) -> Result<(), Box<dyn Error>> {
    let inspection = inspect(data_dir)?;
    let partition = partition(&inspection, &args.partition)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let mut left = args.limit;
    let mut result = Ok(());
    inspection.chunks(partition, Offset(args.from), |chunk| {
        if result.is_ok() {
            result = dump_chunk(&mut out, chunk, args, &mut left);
        }
    })?;
    match result.and_then(|()| out.flush()) {
        // The reader, head for instance, has had enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// The partition that `name` means: a number, or `STREAM/INDEX`.
fn partition(inspection: &Inspection, name: &str) -> Result<PartitionId, Box<dyn Error>> {
    let found = match (name.parse(), name.rsplit_once('/')) {
        (Ok(number), _) => {
            let number = PartitionId(number);
            // One that was created lately stands in the journal only.
            let known = inspection.partitions().iter().any(|log| log.id() == number)
                || Catalog::inspect(inspection)?.by_partition(number).is_some();
            known.then_some(number)
        }
        (_, Some((stream, index))) => {
            let catalog = Catalog::inspect(inspection)?;
            let index = index.parse().ok().map(PartitionIndex);
            let stream = catalog.by_name(stream);
            stream.zip(index).and_then(|(stream, index)| stream.partition(index))
        }
        _ => None,
    };
    let unknown = || format!("there is no partition {name}: `anabranch log verify` lists them");
    found.ok_or_else(|| unknown().into())
}

fn inspect(data_dir: &Path) -> Result<Inspection, Box<dyn Error>> {
    Inspection::open(data_dir)
        .map_err(|error| format!("cannot read the log in {}: {error}", data_dir.display()).into())
}

fn dump_chunk(
    out: &mut impl Write,
    chunk: &Chunk,
    args: &DumpArgs,
    left: &mut u64,
) -> io::Result<()> {
    for batch in batches(&chunk.bytes) {
        if *left == 0 {
            return Ok(());
        }
        match batch {
            Ok((header, bytes)) if header.next_offset() > Offset(args.from) => {
                *left -= 1;
                dump_batch(out, chunk, &header, bytes, args)?;
            }
            Ok(_) => {}
            Err(error) => writeln!(out, "round {}: not a batch: {error}", chunk.round)?,
        }
    }
    Ok(())
}

fn dump_batch(
    out: &mut impl Write,
    chunk: &Chunk,
    header: &BatchHeader,
    bytes: &[u8],
    args: &DumpArgs,
) -> io::Result<()> {
    let crc = if header.check_crc(bytes).is_ok() { "" } else { ", CHECKSUM WRONG" };
    let compression = match header.compression() {
        Ok(compression) => format!("{compression:?}").to_lowercase(),
        Err(error) => error.to_string(),
    };
    writeln!(
        out,
        "offsets {} to {}, round {}, {} records, {} bytes, {compression}, time to {}, producer {} \
         epoch {} sequence {}{crc}",
        header.base_offset,
        header.next_offset(),
        chunk.round,
        header.records_count,
        header.bytes,
        header.max_timestamp,
        header.producer_id,
        header.producer_epoch,
        header.base_sequence,
    )?;
    if !args.records {
        return Ok(());
    }
    let mut scratch = Vec::new();
    match decode_records(header, bytes, &mut scratch) {
        Ok(records) => {
            for record in records {
                match record {
                    Ok(record) if record.offset >= Offset(args.from) => writeln!(
                        out,
                        "  {} time {} key {} value {}",
                        record.offset,
                        record.timestamp,
                        shown(record.key),
                        shown(record.value)
                    )?,
                    Ok(_) => {}
                    Err(error) => writeln!(out, "  {error}")?,
                }
            }
            Ok(())
        }
        Err(error) => writeln!(out, "  {error}"),
    }
}

fn shown(bytes: Option<&[u8]>) -> String {
    let Some(bytes) = bytes else { return "null".to_owned() };
    let cut = &bytes[..bytes.len().min(SHOWN_BYTES)];
    let more = if cut.len() < bytes.len() { "…" } else { "" };
    format!("\"{}\"{more}", cut.escape_ascii())
}
