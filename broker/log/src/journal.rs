//! The journal: one record a round, one write and one sync each.
//!
//! ```text
//! file 0                                    file 1 …
//! ┌────────┬─────────┬────────┬──────────┬──┐┌────────┬───
//! │round 7 │ round 8 │ round 9│ round 10 │  ││round 11│      each record begins on a block of 4 KiB;
//! └────────┴─────────┴────────┴──────────┴──┘└────────┴───   one that does not fit goes to the next file
//! ```
//! Files are written with zeros and synced before their first use and then used again in turn, so
//! that a sync of a round has no metadata to commit: file number `s` lives in slot `s % files`.
//!
//! Invariant: a record is written only after the one before it was synced. Hence a bad last record
//! is torn, and nobody was answered after its sync; a bad record *followed by a good one of the
//! same boot* is corruption.

use crate::Error;
use crate::codec::Reader;
use crate::disk::{Disk, DiskFile};
use crate::limits::JOURNAL_BLOCK_BYTES;
use anabranch_types::Round;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::Arc;

const MAGIC: u32 = u32::from_le_bytes(*b"ANBJ");
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 48;
/// Bytes written or read at once where a file is gone through as a whole.
const PIECE_BYTES: usize = 1 << 20;
const ZEROS: [u8; JOURNAL_BLOCK_BYTES] = [0; JOURNAL_BLOCK_BYTES];

/// How large the journal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalSize {
    /// Bytes of a file: a multiple of the block. A round must fit into one.
    pub file_bytes: u64,
    /// Files, used in turn.
    pub files: u64,
}

impl JournalSize {
    /// Whether a journal can be made of it.
    pub(crate) fn is_possible(self) -> bool {
        let block = JOURNAL_BLOCK_BYTES as u64;
        self.files >= 2 && self.file_bytes >= 4 * block && self.file_bytes.is_multiple_of(block)
    }

    /// Bytes of the largest round.
    #[must_use]
    pub fn round_bytes_max(self) -> usize {
        self.file_bytes as usize - HEADER_BYTES
    }
}

/// Where a record stands, or would.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct JournalPosition {
    /// Number of the file, counted from the first the journal ever had.
    pub(crate) file: u64,
    /// Byte in it.
    pub(crate) at: u64,
}

/// What the next record must follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Link {
    /// The journal's incarnation: drawn anew at each start of the broker.
    pub(crate) boot: u64,
    /// The record's round.
    pub(crate) round: Round,
    /// Checksum of the header before it; 0 for the first of a boot.
    pub(crate) before: u32,
    /// Where it stands.
    pub(crate) position: JournalPosition,
}

pub(crate) fn path(size: JournalSize, file: u64) -> String {
    format!("journal/{}", file % size.files)
}

/// The writing end.
pub(crate) struct Journal {
    size: JournalSize,
    files: Arc<JournalFiles>,
    file: Arc<dyn DiskFile>,
    next: Link,
}

/// The files that are ready for use: made by whoever has time, at the latest by the writer.
pub(crate) struct JournalFiles {
    disk: Arc<dyn Disk>,
    size: JournalSize,
    slots: Mutex<BTreeMap<u64, Arc<dyn DiskFile>>>,
}

impl JournalFiles {
    pub(crate) fn new(disk: Arc<dyn Disk>, size: JournalSize) -> Self {
        Self { disk, size, slots: Mutex::default() }
    }

    pub(crate) fn size(&self) -> JournalSize {
        self.size
    }

    pub(crate) fn round_bytes_max(&self) -> usize {
        self.size.round_bytes_max()
    }

    /// The file of a number, written with zeros if it is new.
    pub(crate) fn prepare(&self, file: u64) -> io::Result<Arc<dyn DiskFile>> {
        let mut slots = self.slots.lock();
        if let Some(ready) = slots.get(&(file % self.size.files)) {
            return Ok(Arc::clone(ready));
        }
        let path = path(self.size, file);
        let opened = match self.disk.open(&path) {
            Ok(there) if there.bytes()? == self.size.file_bytes => {
                // Whoever made it may have been killed before it was durable.
                self.make_durable(&*there)?;
                there
            }
            Ok(_) => self.create(&path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.create(&path)?,
            Err(error) => return Err(error),
        };
        slots.insert(file % self.size.files, Arc::clone(&opened));
        Ok(opened)
    }

    fn create(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.create_dir("journal")?;
        let file = self.disk.create(path)?;
        let zeros = vec![0; PIECE_BYTES.min(self.size.file_bytes as usize)];
        let mut at = 0;
        while at < self.size.file_bytes {
            let count = zeros.len().min((self.size.file_bytes - at) as usize);
            file.write_at(&[IoSlice::new(&zeros[..count])], at)?;
            at += count as u64;
        }
        self.make_durable(&*file)?;
        Ok(file)
    }

    fn make_durable(&self, file: &dyn DiskFile) -> io::Result<()> {
        file.sync()?;
        self.disk.sync_dir("journal")?;
        self.disk.sync_dir("")
    }
}

impl Journal {
    /// A journal whose next record is `next`, at the beginning of a file.
    pub(crate) fn start(files: Arc<JournalFiles>, next: Link) -> io::Result<Self> {
        assert_eq!(next.position.at, 0, "a boot begins with a file of its own");
        let file = files.prepare(next.position.file)?;
        Ok(Self { size: files.size, files, file, next })
    }

    /// Where the next record would stand, and what it follows.
    pub(crate) fn next(&self) -> Link {
        self.next
    }

    /// The file that a record of `bytes` would need.
    pub(crate) fn file_for(&self, bytes: usize) -> u64 {
        let fits = self.next.position.at + padded(bytes) <= self.size.file_bytes;
        self.next.position.file + u64::from(!fits)
    }

    /// Writes a round; it is not durable before [`Self::sync`].
    pub(crate) fn write(&mut self, body: &[IoSlice<'_>]) -> io::Result<()> {
        let bytes: usize = body.iter().map(|piece| piece.len()).sum();
        assert!(bytes <= self.size.round_bytes_max(), "the commit loop bounds its rounds");
        let file = self.file_for(bytes);
        if file != self.next.position.file {
            self.file = self.files.prepare(file)?;
            self.next.position = JournalPosition { file, at: 0 };
        }
        let crc = body.iter().fold(0, |crc, piece| crc32c::crc32c_append(crc, piece));
        let header = encode_header(&self.next, bytes as u32, crc);
        let padding = padded(bytes) as usize - HEADER_BYTES - bytes;
        let mut pieces = Vec::with_capacity(body.len() + 2);
        pieces.push(IoSlice::new(&header));
        pieces.extend_from_slice(body);
        pieces.push(IoSlice::new(&ZEROS[..padding]));
        self.file.write_at(&pieces, self.next.position.at)?;
        self.next = after(&self.next, &header, bytes);
        Ok(())
    }

    /// Makes everything written durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

fn padded(body_bytes: usize) -> u64 {
    (HEADER_BYTES + body_bytes).next_multiple_of(JOURNAL_BLOCK_BYTES) as u64
}

fn after(link: &Link, header: &[u8; HEADER_BYTES], body_bytes: usize) -> Link {
    let JournalPosition { file, at } = link.position;
    Link {
        boot: link.boot,
        round: link.round.next(),
        before: header_crc(header),
        position: JournalPosition { file, at: at + padded(body_bytes) },
    }
}

fn encode_header(link: &Link, body_bytes: u32, body_crc: u32) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[0..4].copy_from_slice(&MAGIC.to_le_bytes());
    header[4..6].copy_from_slice(&VERSION.to_le_bytes());
    header[8..16].copy_from_slice(&link.boot.to_le_bytes());
    header[16..24].copy_from_slice(&link.round.0.to_le_bytes());
    header[24..28].copy_from_slice(&body_bytes.to_le_bytes());
    header[28..32].copy_from_slice(&body_crc.to_le_bytes());
    header[32..36].copy_from_slice(&link.before.to_le_bytes());
    let crc = crc32c::crc32c(&header[..HEADER_BYTES - 4]);
    header[HEADER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
    header
}

fn header_crc(header: &[u8; HEADER_BYTES]) -> u32 {
    u32::from_le_bytes([header[44], header[45], header[46], header[47]])
}

struct Header {
    boot: u64,
    round: Round,
    body_bytes: u32,
    body_crc: u32,
    before: u32,
}

fn decode_header(header: &[u8; HEADER_BYTES]) -> Option<Header> {
    if crc32c::crc32c(&header[..HEADER_BYTES - 4]) != header_crc(header) {
        return None;
    }
    let mut fields = Reader(header);
    if fields.u32()? != MAGIC || fields.u16()? != VERSION {
        return None;
    }
    fields.u16()?;
    Some(Header {
        boot: fields.u64()?,
        round: Round(fields.u64()?),
        body_bytes: fields.u32()?,
        body_crc: fields.u32()?,
        before: fields.u32()?,
    })
}

/// Reads a journal from a link onwards, record by record.
pub(crate) struct Replay {
    disk: Arc<dyn Disk>,
    size: JournalSize,
    next: Link,
    /// Where the record stands that was read last, and its header.
    last: Option<(JournalPosition, [u8; HEADER_BYTES])>,
}

impl Replay {
    pub(crate) fn new(disk: Arc<dyn Disk>, size: JournalSize, from: Link) -> Self {
        Self { disk, size, next: from, last: None }
    }

    /// What would have come next.
    pub(crate) fn next_link(&self) -> Link {
        self.next
    }

    /// The next round's body, if it is there, whole, and the exact successor.
    pub(crate) fn next(&mut self) -> Result<Option<(Round, Vec<u8>)>, Error> {
        let here = self.next.position;
        let following = JournalPosition { file: here.file + 1, at: 0 };
        for position in [here, following] {
            if let Some((header, body)) = self.record(position)? {
                let round = self.next.round;
                self.next.position = position;
                self.next = after(&self.next, &header, body.len());
                self.last = Some((position, header));
                return Ok(Some((round, body)));
            }
        }
        self.check_end()?;
        Ok(None)
    }

    /// Adds the record that was read last, whose body this is, to a copy of the journal.
    pub(crate) fn push_record(&self, body: &[u8], copy: &mut Vec<u8>) {
        let Some((_, header)) = &self.last else { return };
        copy.extend(header);
        copy.extend(body);
        copy.resize(copy.len().next_multiple_of(JOURNAL_BLOCK_BYTES), 0);
    }

    /// Makes the record that was read last durable: whoever wrote it may have been killed before
    /// its sync, and then it stands in memory alone. All before it were synced.
    pub(crate) fn make_last_durable(&self, body: &[u8]) -> io::Result<()> {
        let (Some((position, header)), true) = (&self.last, !body.is_empty()) else {
            return Ok(());
        };
        let Some(file) = self.file(position.file)? else { return Ok(()) };
        // After a sync that failed, only what is written again counts as written.
        file.write_at(&[IoSlice::new(header), IoSlice::new(body)], position.at)?;
        file.sync()
    }

    fn record(
        &self,
        position: JournalPosition,
    ) -> Result<Option<([u8; HEADER_BYTES], Vec<u8>)>, Error> {
        let Some(file) = self.file(position.file)? else { return Ok(None) };
        let mut raw = [0; HEADER_BYTES];
        if file.read_at(&mut raw, position.at)? < HEADER_BYTES {
            return Ok(None);
        }
        let Some(header) = decode_header(&raw) else { return Ok(None) };
        let link = &self.next;
        if (header.boot, header.round, header.before) != (link.boot, link.round, link.before)
            || position.at + padded(header.body_bytes as usize) > self.size.file_bytes
        {
            return Ok(None);
        }
        let mut body = vec![0; header.body_bytes as usize];
        let read = file.read_at(&mut body, position.at + HEADER_BYTES as u64)?;
        let whole = read == body.len() && crc32c::crc32c(&body) == header.body_crc;
        Ok(whole.then_some((raw, body)))
    }

    /// A later record of this boot behind the end means that the journal was damaged, not torn.
    fn check_end(&self) -> Result<(), Error> {
        let end = self.next.position;
        for file_number in end.file..end.file + self.size.files {
            let Some(file) = self.file(file_number)? else { continue };
            let mut blocks = vec![0; PIECE_BYTES.min(self.size.file_bytes as usize)];
            let mut at = if file_number == end.file { end.at } else { 0 };
            while at < self.size.file_bytes {
                let read = file.read_at(&mut blocks, at)?;
                for block in blocks[..read].chunks(JOURNAL_BLOCK_BYTES) {
                    let Some(header) = block.first_chunk().and_then(decode_header) else {
                        continue;
                    };
                    if header.boot == self.next.boot && header.round > self.next.round {
                        return Err(Error::JournalDamaged {
                            path: path(self.size, end.file),
                            at: end.at,
                            round: self.next.round,
                            later: header.round,
                        });
                    }
                }
                if read == 0 {
                    break;
                }
                at += read as u64;
            }
        }
        Ok(())
    }

    fn file(&self, number: u64) -> io::Result<Option<Arc<dyn DiskFile>>> {
        match self.disk.open(&path(self.size, number)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}
