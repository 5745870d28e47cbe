//! The checkpoint: how much of each segment counts, and where the journal goes on from there.
//!
//! Two slots are written in turn, each with its number and checksum: a torn one leaves the other.

use crate::Error;
use crate::codec::Reader;
use crate::disk::{Disk, DiskFile};
use crate::journal::{JournalPosition, JournalSize, Link};
use crate::partition::Kept;
use crate::producers::Producers;
use crate::segment::SegmentEnd;
use crate::transactions::{decode_aborted, encode_aborted};
use anabranch_types::{LeaderEpoch, Offset, PartitionId, Round, Timestamp};
use std::io::{self, IoSlice};

const MAGIC: u32 = u32::from_le_bytes(*b"ANBC");
const VERSION: u16 = 3;
/// Before there was compaction. It can be read.
const VERSION_UNCOMPACTED: u16 = 2;
const SLOTS: u64 = 2;
/// Magic, version, length, checksum.
const PREFIX_BYTES: usize = 16;

/// What a start needs to know besides the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// Counts checkpoints.
    pub(crate) number: u64,
    pub(crate) epoch: LeaderEpoch,
    pub(crate) journal: JournalSize,
    /// The first journal record that segments and producers do not contain.
    pub(crate) link: Link,
    pub(crate) partitions: Vec<(PartitionId, Kept, Producers)>,
    /// Deleted partitions whose files may still be there.
    pub(crate) unlinking: Vec<PartitionId>,
}

impl Checkpoint {
    /// Writes it into its slot; durable when this returns.
    pub(crate) fn write(&self, disk: &dyn Disk) -> io::Result<()> {
        self.write_to(disk, &*disk.create(&slot(self.number))?)
    }

    /// Makes what was read durable: a killed process may have left it in the page cache only, and
    /// the next one takes the place of the last that is durable.
    pub(crate) fn write_again(&self, disk: &dyn Disk) -> io::Result<()> {
        // In place: until this is durable, the same bytes may be needed.
        self.write_to(disk, &*disk.open(&slot(self.number))?)
    }

    /// Its slot's name and contents.
    pub(crate) fn file(&self) -> (String, Vec<u8>) {
        let body = self.encode();
        let mut contents = prefix(&body).to_vec();
        contents.extend(body);
        (slot(self.number), contents)
    }

    fn write_to(&self, disk: &dyn Disk, file: &dyn DiskFile) -> io::Result<()> {
        let body = self.encode();
        file.write_at(&[IoSlice::new(&prefix(&body)), IoSlice::new(&body)], 0)?;
        file.sync()?;
        disk.sync_dir("")
    }

    /// The newest valid checkpoint; `None` in a directory that never had one.
    pub(crate) fn read(disk: &dyn Disk) -> Result<Option<Self>, Error> {
        let mut newest: Option<Self> = None;
        let mut other_version = None;
        for number in 0..SLOTS {
            let Some(bytes) = read_all(disk, &slot(number))? else { continue };
            let Some(found) = Self::decode_slot(&bytes) else {
                other_version = other_version.or(version_of(&bytes));
                continue;
            };
            if newest.as_ref().is_none_or(|other| other.number < found.number) {
                newest = Some(found);
            }
        }
        // Neither exists before the first checkpoint is durable.
        let served = || Ok::<_, Error>([disk.list("journal")?, disk.list("partitions")?]);
        if newest.is_none() && served()?.iter().any(|names| !names.is_empty()) {
            return Err(match other_version {
                Some(found) => Error::CheckpointVersion { found, known: VERSION },
                None => Error::CheckpointDamaged,
            });
        }
        Ok(newest)
    }

    /// Decodes a slot's bytes; `None` when they are torn or damaged.
    pub(crate) fn decode_slot(bytes: &[u8]) -> Option<Self> {
        let mut fields = Reader(bytes);
        if fields.u32()? != MAGIC {
            return None;
        }
        let version = fields.u16()?;
        if version != VERSION && version != VERSION_UNCOMPACTED {
            return None;
        }
        fields.u16()?;
        let length = fields.u32()? as usize;
        let crc = fields.u32()?;
        let body = fields.bytes(length)?;
        if checksum(version, body) != crc {
            return None;
        }
        Self::decode(body, version)
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let out_mut = &mut out;
        put_u64(out_mut, self.number);
        out_mut.extend(self.epoch.0.to_le_bytes());
        put_u64(out_mut, self.journal.file_bytes);
        put_u64(out_mut, self.journal.files);
        put_u64(out_mut, self.link.boot);
        put_u64(out_mut, self.link.round.0);
        put_u32(out_mut, self.link.before);
        put_u64(out_mut, self.link.position.file);
        put_u64(out_mut, self.link.position.at);
        put_u32(out_mut, self.partitions.len() as u32);
        for (id, kept, producers) in &self.partitions {
            put_u32(out_mut, id.0);
            put_u64(out_mut, kept.log_start.0 as u64);
            put_u64(out_mut, kept.log_end.0 as u64);
            put_u64(out_mut, kept.cleaned.0 as u64);
            put_u32(out_mut, kept.segments.len() as u32);
            for end in &kept.segments {
                put_u64(out_mut, end.base.0 as u64);
                put_u32(out_mut, end.generation);
                put_u64(out_mut, end.bytes);
                put_u64(out_mut, end.entries);
                put_u64(out_mut, end.max_timestamp.0 as u64);
            }
            put_u32(out_mut, kept.epochs.len() as u32);
            for (epoch, start) in &kept.epochs {
                out_mut.extend(epoch.0.to_le_bytes());
                put_u64(out_mut, start.0 as u64);
            }
            encode_aborted(&kept.aborted, out_mut);
            producers.encode(out_mut);
        }
        put_u32(out_mut, self.unlinking.len() as u32);
        for id in &self.unlinking {
            put_u32(out_mut, id.0);
        }
        out
    }

    fn decode(body: &[u8], version: u16) -> Option<Self> {
        let fields = &mut Reader(body);
        let number = fields.u64()?;
        let epoch = LeaderEpoch(fields.i32()?);
        let journal = JournalSize { file_bytes: fields.u64()?, files: fields.u64()? };
        let link = Link {
            boot: fields.u64()?,
            round: Round(fields.u64()?),
            before: fields.u32()?,
            position: JournalPosition { file: fields.u64()?, at: fields.u64()? },
        };
        let mut partitions = Vec::new();
        for _ in 0..fields.count(32)? {
            let id = PartitionId(fields.u32()?);
            partitions.push((id, decode_kept(fields, version)?, Producers::decode(fields)?));
        }
        let mut unlinking = Vec::new();
        for _ in 0..fields.count(4)? {
            unlinking.push(PartitionId(fields.u32()?));
        }
        Some(Self { number, epoch, journal, link, partitions, unlinking })
    }
}

fn prefix(body: &[u8]) -> [u8; PREFIX_BYTES] {
    let mut prefix = [0; PREFIX_BYTES];
    prefix[0..4].copy_from_slice(&MAGIC.to_le_bytes());
    prefix[4..6].copy_from_slice(&VERSION.to_le_bytes());
    prefix[8..12].copy_from_slice(&(body.len() as u32).to_le_bytes());
    prefix[12..16].copy_from_slice(&checksum(VERSION, body).to_le_bytes());
    prefix
}

fn checksum(version: u16, body: &[u8]) -> u32 {
    let prefix =
        if version == VERSION_UNCOMPACTED { 0 } else { crc32c::crc32c(&version.to_le_bytes()) };
    crc32c::crc32c_append(prefix, body)
}

/// The version of a slot that is of another one than ours.
fn version_of(slot: &[u8]) -> Option<u16> {
    let mut fields = Reader(slot);
    let magic = fields.u32()?;
    fields.u16().filter(|&version| magic == MAGIC && version != VERSION)
}

fn decode_kept(fields: &mut Reader<'_>, version: u16) -> Option<Kept> {
    let knows_compaction = version != VERSION_UNCOMPACTED;
    let log_start = Offset(fields.i64()?);
    let log_end = Offset(fields.i64()?);
    let cleaned = if knows_compaction { Offset(fields.i64()?) } else { Offset(0) };
    let mut segments = Vec::new();
    for _ in 0..fields.count(32)? {
        segments.push(SegmentEnd {
            base: Offset(fields.i64()?),
            generation: if knows_compaction { fields.u32()? } else { 0 },
            bytes: fields.u64()?,
            entries: fields.u64()?,
            max_timestamp: Timestamp(fields.i64()?),
        });
    }
    let mut epochs = Vec::new();
    for _ in 0..fields.count(12)? {
        epochs.push((LeaderEpoch(fields.i32()?), Offset(fields.i64()?)));
    }
    let aborted = decode_aborted(fields)?;
    Some(Kept { log_start, log_end, cleaned, segments, epochs, aborted })
}

fn slot(number: u64) -> String {
    format!("checkpoint.{}", number % SLOTS)
}

fn read_all(disk: &dyn Disk, path: &str) -> io::Result<Option<Vec<u8>>> {
    let file = match disk.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = vec![0; file.bytes()? as usize];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(Some(bytes))
}

fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend(value.to_le_bytes());
}

fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend(value.to_le_bytes());
}
