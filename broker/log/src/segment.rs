//! A segment: a file of batches back to back, and its sidecar.
//!
//! ```text
//! 00000000000000004711.log   │batch 4711…4715│batch 4716│batch 4717…4999│batch 5000│ …
//! 00000000000000004711.idx   │4711, round 88, byte 0│4717, round 90, byte 1,480│ …
//! ```
//! The sidecar has an entry where a round begins, and one every 64 KiB within a round. So it is
//! the offset index, the time index (each entry holds the highest time up to its end) and the
//! memory of which round a batch came in, all in one. It is searched on disk: a segment written
//! by single small events has too many entries to hold, and a sealed one is seldom read.
//!
//! Compaction writes a segment anew, under a name with the next generation.

use crate::codec::Reader;
use crate::disk::{Disk, DiskFile};
use crate::limits::INDEX_INTERVAL_BYTES;
use crate::read::{Chunk, Range};
use crate::segment_writer::sync_names;
use anabranch_types::batch::{BatchError, BatchHeader, HEADER_BYTES, batches};
use anabranch_types::{Offset, PartitionId, Round, Timestamp};
use bytes::Bytes;
use parking_lot::Mutex;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

pub(crate) const ENTRY_BYTES: u64 = 32;

/// Most bytes one read takes from disk beyond what was asked for.
const READ_AHEAD_BYTES: usize = INDEX_INTERVAL_BYTES;

/// Bytes taken at a time when all of a segment is read.
const SCAN_BYTES: usize = 1 << 20;

/// One entry of the sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Base offset of the batch at `position`.
    pub(crate) base_offset: Offset,
    /// The round of the batches from here to the next entry.
    pub(crate) round: Round,
    /// Byte in the segment.
    pub(crate) position: u32,
    /// Highest time of a record from the segment's beginning to the next entry.
    pub(crate) max_timestamp: Timestamp,
}

impl Entry {
    pub(crate) fn encode(&self) -> [u8; ENTRY_BYTES as usize] {
        let mut out = [0; ENTRY_BYTES as usize];
        out[0..8].copy_from_slice(&self.base_offset.0.to_le_bytes());
        out[8..16].copy_from_slice(&self.round.0.to_le_bytes());
        out[16..24].copy_from_slice(&self.max_timestamp.0.to_le_bytes());
        out[24..28].copy_from_slice(&self.position.to_le_bytes());
        let crc = crc32c::crc32c(&out[..28]);
        out[28..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    pub(crate) fn decode(raw: &[u8]) -> Option<Self> {
        let mut fields = Reader(raw);
        let entry = Self {
            base_offset: Offset(fields.i64()?),
            round: Round(fields.u64()?),
            max_timestamp: Timestamp(fields.i64()?),
            position: fields.u32()?,
        };
        (fields.u32()? == crc32c::crc32c(&raw[..28])).then_some(entry)
    }
}

/// How much of a segment's files counts. Comes from checkpoint and journal, never from scanning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentEnd {
    pub(crate) base: Offset,
    /// How often what is here was compacted.
    pub(crate) generation: u32,
    pub(crate) bytes: u64,
    pub(crate) entries: u64,
    pub(crate) max_timestamp: Timestamp,
}

pub(crate) struct Segment {
    pub(crate) base: Offset,
    generation: u32,
    partition: PartitionId,
    disk: Arc<dyn Disk>,
    files: Mutex<Option<Files>>,
    bytes: AtomicU64,
    entries: AtomicU64,
    max_timestamp: AtomicI64,
    /// Written to since the last sync.
    dirty: AtomicBool,
    /// Its directory entries are known to be durable.
    pub(crate) named: AtomicBool,
    /// Where the last read ended: whoever reads on need not search.
    hint: Mutex<Place>,
}

#[derive(Clone)]
struct Files {
    log: Arc<dyn DiskFile>,
    index: Arc<dyn DiskFile>,
}

/// A place in a segment: the batch of `offset` begins at `position`, within entry `entry`.
#[derive(Clone, Copy)]
struct Place {
    offset: Offset,
    position: u64,
    entry: u64,
}

/// What a read of a segment found.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) chunks: Vec<Chunk>,
    /// Damaged batches that were skipped: the first offset of each.
    pub(crate) damaged: Vec<Offset>,
    /// The next offset to read, which is behind anything skipped.
    pub(crate) next: Option<Offset>,
}

pub(crate) fn dir(partition: PartitionId) -> String {
    format!("partitions/{}", partition.0)
}

/// What the file of a segment is called: `00000000000000004711.log`; after compaction
/// `00000000000000004711-1.log`.
pub(crate) fn file_name(base: Offset, generation: u32, extension: &str) -> String {
    match generation {
        0 => format!("{:020}.{extension}", base.0),
        _ => format!("{:020}-{generation}.{extension}", base.0),
    }
}

/// Base offset and generation of the segment whose file has this name.
pub(crate) fn parse_file_name(name: &str) -> Option<(Offset, u32)> {
    let (stem, _) = name.split_once('.')?;
    let (base, generation) = match stem.split_once('-') {
        Some((base, generation)) => (base, generation.parse().ok()?),
        None => (stem, 0),
    };
    Some((Offset(base.parse().ok()?), generation))
}

impl Segment {
    /// A new segment. What stands in its files already, a recovery will want: it is kept until
    /// [`Self::cut_to_end`].
    pub(crate) fn create(
        disk: Arc<dyn Disk>,
        partition: PartitionId,
        base: Offset,
    ) -> io::Result<Self> {
        let directory = dir(partition);
        disk.create_dir(&directory)?;
        let segment = Self::empty(disk, partition, base, 0);
        for extension in ["log", "idx"] {
            let path = segment.path(extension);
            match segment.disk.open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    segment.disk.create(&path)?
                }
                there => there?,
            };
        }
        Ok(segment)
    }

    /// A new segment that is to take this one's place.
    pub(crate) fn create_next(&self) -> io::Result<Self> {
        let disk = Arc::clone(&self.disk);
        let segment = Self::empty(disk, self.partition, self.base, self.generation + 1);
        for extension in ["log", "idx"] {
            self.disk.create(&segment.path(extension))?;
        }
        Ok(segment)
    }

    fn empty(disk: Arc<dyn Disk>, partition: PartitionId, base: Offset, generation: u32) -> Self {
        let max_timestamp = Timestamp(-1);
        let end = SegmentEnd { base, generation, bytes: 0, entries: 0, max_timestamp };
        let segment = Self::opened(disk, partition, end);
        segment.named.store(false, Ordering::Release);
        segment
    }

    /// A segment that a checkpoint names; its files are opened when they are first needed.
    pub(crate) fn opened(disk: Arc<dyn Disk>, partition: PartitionId, end: SegmentEnd) -> Self {
        Self {
            base: end.base,
            generation: end.generation,
            partition,
            disk,
            files: Mutex::new(None),
            bytes: AtomicU64::new(end.bytes),
            entries: AtomicU64::new(end.entries),
            max_timestamp: AtomicI64::new(end.max_timestamp.0),
            dirty: AtomicBool::new(false),
            named: AtomicBool::new(true),
            hint: Mutex::new(Place { offset: end.base, position: 0, entry: 0 }),
        }
    }

    pub(crate) fn end(&self) -> SegmentEnd {
        SegmentEnd {
            base: self.base,
            generation: self.generation,
            bytes: self.bytes.load(Ordering::Acquire),
            entries: self.entries.load(Ordering::Acquire),
            max_timestamp: Timestamp(self.max_timestamp.load(Ordering::Acquire)),
        }
    }

    pub(crate) fn path(&self, extension: &str) -> String {
        let name = file_name(self.base, self.generation, extension);
        format!("{}/{name}", dir(self.partition))
    }

    fn files(&self) -> io::Result<Files> {
        let mut files = self.files.lock();
        if let Some(files) = &*files {
            return Ok(files.clone());
        }
        let opened = Files {
            log: self.disk.open(&self.path("log"))?,
            index: self.disk.open(&self.path("idx"))?,
        };
        *files = Some(opened.clone());
        Ok(opened)
    }

    /// Cuts both files to the segment's end: what stands behind it was never acknowledged.
    pub(crate) fn cut_to_end(&self) -> io::Result<()> {
        let files = self.files()?;
        let end = self.end();
        for (file, bytes) in [(&files.log, end.bytes), (&files.index, end.entries * ENTRY_BYTES)] {
            if file.bytes()? > bytes {
                file.set_len(bytes)?;
                self.dirty.store(true, Ordering::Release);
            }
        }
        Ok(())
    }

    /// Whether both files hold at least what the segment should.
    pub(crate) fn check_length(&self) -> io::Result<()> {
        let files = self.files()?;
        let end = self.end();
        for (file, bytes) in [(&files.log, end.bytes), (&files.index, end.entries * ENTRY_BYTES)] {
            let there = file.bytes()?;
            if there < bytes {
                return Err(self.cut_short(there, bytes));
            }
        }
        Ok(())
    }

    fn cut_short(&self, there: u64, expected: u64) -> io::Error {
        io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("{} has {there} bytes, there should be {expected}", self.path("*")),
        )
    }

    /// Writes chunks at the end. They can be read, but are durable only after [`Self::sync`].
    pub(crate) fn append(&self, chunks: &[Chunk]) -> io::Result<()> {
        let end = self.write(chunks, self.end())?;
        self.set_end(&end);
        Ok(())
    }

    /// Writes chunks from `end` on, which is the segment's or that of what was placed behind it:
    /// says where the segment is to end once they are published. Has the system begin to make
    /// them durable.
    pub(crate) fn place(&self, chunks: &[Chunk], end: SegmentEnd) -> io::Result<SegmentEnd> {
        let at = end.bytes;
        let end = self.write(chunks, end)?;
        self.files()?.log.begin_sync(at, end.bytes - at);
        Ok(end)
    }

    fn write(&self, chunks: &[Chunk], end: SegmentEnd) -> io::Result<SegmentEnd> {
        self.dirty.store(true, Ordering::Release);
        let pieces: Vec<_> = chunks.iter().map(|chunk| IoSlice::new(&chunk.bytes)).collect();
        self.files()?.log.write_at(&pieces, end.bytes)?;
        self.index(chunks, end)
    }

    /// Writes the entries of chunks whose batches stand from `end` on already. Says where they
    /// end.
    pub(crate) fn index(&self, chunks: &[Chunk], mut end: SegmentEnd) -> io::Result<SegmentEnd> {
        self.dirty.store(true, Ordering::Release);
        let index_at = end.entries * ENTRY_BYTES;
        let mut entries = Vec::with_capacity(chunks.len() * ENTRY_BYTES as usize);
        for chunk in chunks {
            index_chunk(chunk, &mut end, &mut entries);
        }
        self.files()?.index.write_at(&[IoSlice::new(&entries)], index_at)?;
        Ok(end)
    }

    pub(crate) fn set_end(&self, end: &SegmentEnd) {
        self.max_timestamp.store(end.max_timestamp.0, Ordering::Release);
        self.entries.store(end.entries, Ordering::Release);
        self.bytes.store(end.bytes, Ordering::Release);
    }

    /// Makes batches durable, not their index entries: those can be made again from them.
    pub(crate) fn sync_batches(&self) -> io::Result<()> {
        self.files()?.log.sync()
    }

    /// Has the next [`Self::sync`] sync the files, whether or not this process has changed them.
    pub(crate) fn sync_again(&self) {
        self.dirty.store(true, Ordering::Release);
    }

    /// Lets go of the files until somebody needs them again.
    pub(crate) fn close(&self) {
        let mut files = self.files.lock();
        if !self.dirty.load(Ordering::Acquire) {
            *files = None;
        }
    }

    /// Whether something was appended since the last [`Self::sync`].
    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty.load(Ordering::Acquire)
    }

    /// Makes what was appended durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        if self.dirty.swap(false, Ordering::AcqRel) {
            let files = self.files()?;
            files.log.sync()?;
            files.index.sync()?;
        }
        Ok(())
    }

    fn entry(&self, files: &Files, number: u64) -> io::Result<Entry> {
        let mut raw = [0; ENTRY_BYTES as usize];
        files.index.read_at(&mut raw, number * ENTRY_BYTES)?;
        Entry::decode(&raw).ok_or_else(|| self.damaged_index(number))
    }

    fn damaged_index(&self, number: u64) -> io::Error {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!(
                "entry {number} of {} is damaged; see `anabranch log verify`",
                self.path("idx")
            ),
        )
    }

    /// The number of the first entry for which `is_after` holds; it must be monotonic.
    fn search(&self, files: &Files, is_after: impl Fn(&Entry) -> bool) -> io::Result<u64> {
        let (mut low, mut high) = (0, self.end().entries);
        while low < high {
            let middle = low.midpoint(high);
            if is_after(&self.entry(files, middle)?) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Ok(low)
    }

    /// Whole batches from the one that contains `range.from`.
    pub(crate) fn read(&self, range: &Range) -> io::Result<Found> {
        let files = self.files()?;
        if self.end().entries == 0 {
            return Ok(Found::default());
        }
        let hint = *self.hint.lock();
        let mut place = if hint.offset == range.from {
            hint
        } else {
            let number = self.search(&files, |entry| entry.base_offset > range.from)?;
            let number = number.saturating_sub(1);
            let entry = self.entry(&files, number)?;
            Place { offset: entry.base_offset, position: u64::from(entry.position), entry: number }
        };
        let mut found = Found::default();
        let mut want = range.bytes_max + READ_AHEAD_BYTES;
        loop {
            let end = self.end().bytes;
            let bytes = (end.saturating_sub(place.position) as usize).min(want);
            let buffer = files.log.read(bytes, place.position)?;
            let read = buffer.len();
            if read < bytes {
                return Err(self.cut_short(place.position + read as u64, end));
            }
            let before = place.position;
            let stop = self.walk(&files, range, &mut place, Bytes::from(buffer), &mut found)?;
            match stop {
                Stop::Done => break,
                // The first batch is larger than what was read, or was behind it.
                Stop::Need(bytes) if found.chunks.is_empty() && before + (read as u64) < end => {
                    want = bytes.max(range.bytes_max + READ_AHEAD_BYTES);
                }
                Stop::Need(_) => break,
            }
        }
        found.next = Some(place.offset);
        *self.hint.lock() = place;
        Ok(found)
    }

    /// Takes batches from `bytes`, which begin at `place`, and moves it behind what was taken.
    fn walk(
        &self,
        files: &Files,
        range: &Range,
        place: &mut Place,
        bytes: Bytes,
        found: &mut Found,
    ) -> io::Result<Stop> {
        let start = place.position;
        let mut entry = self.entry(files, place.entry)?;
        let mut following = self.following(files, place.entry)?;
        let mut taken = 0;
        // The chunk in hand: bytes from..to, of one round where rounds are asked for.
        let mut chunk: Option<(usize, usize, Offset, Round)> = None;
        let stop = loop {
            let at = (place.position - start) as usize;
            if place.position >= self.end().bytes {
                break Stop::Done;
            }
            if following.is_some_and(|next| place.position >= u64::from(next.position)) {
                place.entry += 1;
                entry = self.entry(files, place.entry)?;
                following = self.following(files, place.entry)?;
                continue;
            }
            if range.round_max.is_some_and(|max| entry.round > max) {
                break Stop::Done;
            }
            let rest = &bytes[at.min(bytes.len())..];
            let header = match sound(rest, place.offset) {
                Ok(header) => header,
                Err(BatchError::CutOff { need, .. })
                    if place.position + need as u64 <= self.end().bytes =>
                {
                    break Stop::Need(need);
                }
                Err(_) => {
                    let entry_end = following.map_or_else(
                        || (self.end().bytes, range.segment_end),
                        |next| (u64::from(next.position), next.base_offset),
                    );
                    let (position, offset) = match behind(rest, place, entry_end) {
                        Ok(behind) => behind,
                        Err(need) => break Stop::Need(need),
                    };
                    // Counted once, by the read that has nothing before it.
                    if taken > 0 {
                        break Stop::Done;
                    }
                    found.damaged.push(place.offset);
                    close(&mut chunk, &bytes, found);
                    place.position = position;
                    place.offset = offset;
                    if place.position - start >= bytes.len() as u64 {
                        break Stop::Need(0);
                    }
                    continue;
                }
            };
            if header.next_offset() > range.from {
                if taken > 0 && taken + header.bytes > range.bytes_max {
                    break Stop::Done;
                }
                let new_round = chunk.is_some_and(|(.., round)| round != entry.round);
                if range.split_rounds && new_round {
                    close(&mut chunk, &bytes, found);
                }
                let to = at + header.bytes;
                chunk = Some(match chunk {
                    Some((from, _, base, _)) => (from, to, base, entry.round),
                    None => (at, to, header.base_offset, entry.round),
                });
                taken += header.bytes;
            }
            place.position += header.bytes as u64;
            place.offset = header.next_offset();
        };
        close(&mut chunk, &bytes, found);
        Ok(stop)
    }

    fn following(&self, files: &Files, number: u64) -> io::Result<Option<Entry>> {
        if number + 1 < self.end().entries {
            return self.entry(files, number + 1).map(Some);
        }
        Ok(None)
    }

    /// Where to look for the first record of `time` or later: base offset of an index entry.
    pub(crate) fn find_time(&self, time: Timestamp) -> io::Result<Option<Offset>> {
        let files = self.files()?;
        let number = self.search(&files, |entry| entry.max_timestamp >= time)?;
        if number == self.end().entries {
            return Ok(None);
        }
        self.entry(&files, number).map(|entry| Some(entry.base_offset))
    }

    /// Shows every batch with its round, until `visit` says false. Says where batches are damaged.
    pub(crate) fn scan(
        &self,
        segment_end: Offset,
        mut visit: impl FnMut(Round, BatchHeader, &[u8]) -> bool,
    ) -> io::Result<Vec<Offset>> {
        let mut damaged = Vec::new();
        let mut from = self.base;
        while from < segment_end {
            let range = Range {
                from,
                bytes_max: SCAN_BYTES,
                round_max: None,
                split_rounds: true,
                segment_end,
            };
            let found = self.read(&range)?;
            damaged.extend(found.damaged);
            for chunk in &found.chunks {
                for (header, batch) in batches(&chunk.bytes).flatten() {
                    if !visit(chunk.round, header, batch) {
                        return Ok(damaged);
                    }
                }
            }
            match found.next {
                Some(next) if next > from => from = next,
                _ => break,
            }
        }
        Ok(damaged)
    }

    /// Where its files are.
    pub(crate) fn directory(&self) -> String {
        dir(self.partition)
    }

    /// Makes the names of its files durable.
    pub(crate) fn sync_name(&self) -> io::Result<()> {
        sync_names(&*self.disk, &[self])
    }

    /// As [`Self::remove`]. What cannot be removed now goes with the next start.
    pub(crate) fn discard(&self) {
        if let Err(error) = self.remove() {
            tracing::warn!(%error, file = self.path("log"), "it could not be removed");
        }
    }

    /// Removes its files.
    pub(crate) fn remove(&self) -> io::Result<()> {
        self.disk.remove_file(&self.path("log"))?;
        self.disk.remove_file(&self.path("idx"))
    }
}

enum Stop {
    /// Everything asked for was taken.
    Done,
    /// The next batch needs so many bytes.
    Need(usize),
}

/// The batch in front, if it is whole, undamaged and the one that should stand there.
fn sound(bytes: &[u8], expected: Offset) -> Result<BatchHeader, BatchError> {
    let header = BatchHeader::read(bytes)?;
    if header.base_offset != expected {
        return Err(BatchError::Malformed("its offset is not the one that comes next"));
    }
    header.check_crc(bytes)?;
    Ok(header)
}

/// Position and offset of what stands behind a damaged batch: the next batch, if the damaged one's
/// header and the next one's agree on both; else the entry's end. Or the bytes needed to tell.
fn behind(rest: &[u8], place: &Place, entry_end: (u64, Offset)) -> Result<(u64, Offset), usize> {
    let Ok(damaged) = BatchHeader::read(rest) else { return Ok(entry_end) };
    let position = place.position + damaged.bytes as u64;
    let offset = place.offset.plus(i64::from(damaged.last_offset_delta) + 1);
    if position >= entry_end.0 || offset <= place.offset || offset >= entry_end.1 {
        return Ok(entry_end);
    }
    match rest[damaged.bytes..].first_chunk() {
        Some(base) if i64::from_be_bytes(*base) == offset.0 => Ok((position, offset)),
        Some(_) => Ok(entry_end),
        None => Err(damaged.bytes + size_of::<i64>()),
    }
}

fn close(chunk: &mut Option<(usize, usize, Offset, Round)>, bytes: &Bytes, found: &mut Found) {
    if let Some((from, to, base_offset, round)) = chunk.take() {
        let mut piece = Chunk::of(base_offset, round, bytes.slice(from..to));
        piece.next_offset = base_offset;
        found.chunks.push(piece.measured());
    }
}

/// Adds a chunk's entries: one at its beginning, more inside if it is long.
fn index_chunk(chunk: &Chunk, end: &mut SegmentEnd, out: &mut Vec<u8>) {
    let mut put = |entry: Entry, end: &mut SegmentEnd| {
        out.extend_from_slice(&entry.encode());
        end.entries += 1;
    };
    let start = end.bytes;
    if chunk.bytes.len() <= INDEX_INTERVAL_BYTES {
        end.max_timestamp = end.max_timestamp.max(chunk.max_timestamp);
        let entry = Entry {
            base_offset: chunk.base_offset,
            round: chunk.round,
            position: start as u32,
            max_timestamp: end.max_timestamp,
        };
        put(entry, end);
    } else {
        let mut at = 0;
        let mut open: Option<(Entry, usize)> = None;
        while at < chunk.bytes.len() {
            let header = BatchHeader::read(&chunk.bytes[at..])
                .expect("a chunk is made of batches that were validated");
            if let Some((mut entry, from)) = open
                && at - from >= INDEX_INTERVAL_BYTES
            {
                entry.max_timestamp = end.max_timestamp;
                put(entry, end);
                open = None;
            }
            if open.is_none() {
                let entry = Entry {
                    base_offset: header.base_offset,
                    round: chunk.round,
                    position: (start + at as u64) as u32,
                    max_timestamp: end.max_timestamp,
                };
                open = Some((entry, at));
            }
            end.max_timestamp = end.max_timestamp.max(header.max_timestamp);
            at += header.bytes;
        }
        if let Some((mut entry, _)) = open {
            entry.max_timestamp = end.max_timestamp;
            put(entry, end);
        }
    }
    end.bytes = start + chunk.bytes.len() as u64;
}

const _: () = assert!(READ_AHEAD_BYTES > HEADER_BYTES);
