//! Looking at a data directory without serving it: `anabranch log dump` and `log verify`.

use crate::Error;
use crate::checkpoint::Checkpoint;
use crate::disk::{Disk, RealDisk};
use crate::journal::Replay;
use crate::partition::{Kept, PartitionLog, read_placed};
use crate::read::{Chunk, ReadError, Until};
use crate::round::{Entry, entries};
use anabranch_types::{Offset, PartitionId, Round};
use bytes::Bytes;
use std::path::Path;
use std::sync::Arc;

/// A data directory as its last checkpoint describes it. What came later stands in the journal.
pub struct Inspection {
    disk: Arc<dyn Disk>,
    checkpoint: Checkpoint,
    partitions: Vec<PartitionLog>,
}

/// What `log verify` found in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The partition.
    pub partition: PartitionId,
    /// First offset kept.
    pub log_start: Offset,
    /// Next offset after the segments.
    pub log_end: Offset,
    /// Batches that were read.
    pub batches: u64,
    /// First offset of each damaged batch.
    pub damaged: Vec<Offset>,
    /// What else is wrong.
    pub errors: Vec<String>,
}

impl Inspection {
    /// Opens `directory` read-only, whether or not a broker serves it.
    ///
    /// # Errors
    /// No such directory, no checkpoint in it, or a damaged one.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::open_unlocked(directory)?);
        let checkpoint = Checkpoint::read(&*disk)?.ok_or_else(|| {
            std::io::Error::new(std::io::ErrorKind::NotFound, "no log was ever opened here")
        })?;
        let partitions = checkpoint
            .partitions
            .iter()
            .map(|(id, kept, _)| PartitionLog::new(Arc::clone(&disk), *id, kept.clone()))
            .collect();
        Ok(Self { disk, checkpoint, partitions })
    }

    /// The partitions of the checkpoint.
    #[must_use]
    pub fn partitions(&self) -> &[PartitionLog] {
        &self.partitions
    }

    /// The first round that stands in the journal only.
    #[must_use]
    pub fn journal_from(&self) -> Round {
        self.checkpoint.link.round
    }

    /// Calls `visit` with everything after `from`, oldest first: of the segments, then of the
    /// journal.
    ///
    /// # Errors
    /// The disk's, or damage in the journal.
    pub fn chunks(
        &self,
        partition: PartitionId,
        from: Offset,
        mut visit: impl FnMut(&Chunk),
    ) -> Result<(), Error> {
        const STEP_BYTES: usize = 1 << 20;
        let read_error = |error: ReadError| std::io::Error::other(error.to_string());
        let mut next = from;
        if let Some(log) = self.partitions.iter().find(|log| log.id() == partition) {
            next = next.max(log.log_start());
            while next < log.high_watermark() {
                let chunks =
                    log.read_rounds(next, STEP_BYTES, Until::Published).map_err(read_error)?;
                let Some(last) = chunks.last() else { break };
                next = last.next_offset;
                chunks.iter().for_each(&mut visit);
            }
        }
        self.journal_rounds(|round, entry| {
            let (base, bytes) = match entry {
                Entry::Batches { partition: of, base, bytes, .. } if of == partition => {
                    (base, Bytes::copy_from_slice(bytes))
                }
                Entry::Placed { partition: of, placed, .. } if of == partition => {
                    (placed.base, read_placed(&self.disk, of, &placed)?)
                }
                _ => return Ok(()),
            };
            if base >= next {
                visit(&Chunk::of(base, round, bytes).measured());
            }
            Ok(())
        })
    }

    /// Reads everything there is.
    ///
    /// # Errors
    /// Damage in the journal; damage in segments is in the result.
    pub fn verify(&self) -> Result<Vec<Verified>, Error> {
        let mut all: Vec<Verified> = self.partitions.iter().map(verify_partition).collect();
        self.journal_rounds(|round, entry| {
            let Entry::Placed { partition, placed, .. } = entry else { return Ok(()) };
            let (log, end) = match self.partitions.iter().find(|log| log.id() == partition) {
                Some(log) => (log, log.high_watermark()),
                // Created lately.
                None => {
                    let disk = Arc::clone(&self.disk);
                    (&PartitionLog::new(disk, partition, Kept::default()), Offset(0))
                }
            };
            if placed.base < end || log.holds(&placed)? {
                return Ok(());
            }
            let number = match all.iter().position(|found| found.partition == partition) {
                Some(number) => number,
                None => {
                    all.push(verify_partition(log));
                    all.len() - 1
                }
            };
            all[number].errors.push(format!(
                "byte {} of segment {} is damaged, in round {round} of the journal",
                placed.position, placed.segment
            ));
            Ok(())
        })?;
        Ok(all)
    }

    fn journal_rounds(
        &self,
        mut visit: impl FnMut(Round, Entry<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut replay =
            Replay::new(Arc::clone(&self.disk), self.checkpoint.journal, self.checkpoint.link);
        while let Some((round, body)) = replay.next()? {
            for entry in entries(&body) {
                visit(round, entry.ok_or(Error::JournalVersion { round })?)?;
            }
        }
        Ok(())
    }
}

fn verify_partition(log: &PartitionLog) -> Verified {
    let mut verified = Verified {
        partition: log.id(),
        log_start: log.log_start(),
        log_end: log.high_watermark(),
        batches: 0,
        damaged: Vec::new(),
        errors: Vec::new(),
    };
    let segments = log.segments();
    for (number, segment) in segments.iter().enumerate() {
        let end = segments.get(number + 1).map_or(verified.log_end, |next| next.base);
        let scanned = segment.scan(end, |_, _, _| {
            verified.batches += 1;
            true
        });
        match scanned {
            Ok(damaged) => verified.damaged.extend(damaged),
            Err(error) => verified.errors.push(error.to_string()),
        }
    }
    verified
}

/// The decoders of what stands on disk, for fuzzing: any bytes must be refused or understood.
pub mod fuzz {
    /// A checkpoint slot.
    pub fn checkpoint(bytes: &[u8]) {
        let _ = crate::checkpoint::Checkpoint::decode_slot(bytes);
    }

    /// The body of a journal record.
    pub fn round(bytes: &[u8]) {
        let _ = crate::round::entries(bytes).count();
    }

    /// An entry of a segment's sidecar.
    pub fn index_entry(bytes: &[u8]) {
        if bytes.len() >= 32 {
            let _ = crate::segment::Entry::decode(bytes);
        }
    }
}
