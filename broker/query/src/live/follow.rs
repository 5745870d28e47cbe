//! Following the partitions of a stream in the order of stamps.
//!
//! Each partition is read ahead a little; the chunk with the lowest (round, partition) comes
//! next. A partition whose chunks have run out is read on before another one is taken, so no
//! chunk that belongs in front is missed.
//!
//! Records of a transaction come when its marker does, with the stamps they have had since: they
//! are read once more then. What was aborted never comes.

use super::overtaken;
use super::token::Token;
use crate::error::{Error, sqlstate};
use crate::limits::{LIVE_BYTES, LIVE_READ_BYTES};
use anabranch_engine::{
    Chunk, ErrorKind, PartitionLog, ReadError, Session as EngineSession, Stream, Until,
};
use anabranch_types::batch::{
    BatchHeader, Compression, Ending, Record, batches, decode_records, ending,
};
use anabranch_types::{
    Offset, PartitionId, PartitionIndex, ProducerId, Round, Stamp, Timestamp, varint,
};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

/// Reads a stream in the order of stamps.
pub(super) struct Follower {
    engine: EngineSession,
    stream: Arc<Stream>,
    readers: Vec<Reader>,
    read_bytes: usize,
}

struct Reader {
    index: PartitionIndex,
    id: PartitionId,
    log: Arc<PartitionLog>,
    next: Offset,
    /// Transactions that are not decided at `next`: where their records begin.
    open: BTreeMap<ProducerId, Offset>,
    chunks: VecDeque<Chunk>,
}

/// A record as it was read.
pub(super) struct LiveRecord {
    pub(super) stamp: Stamp,
    pub(super) partition: PartitionIndex,
    pub(super) timestamp: Timestamp,
    pub(super) key: Option<Bytes>,
    pub(super) value: Option<Bytes>,
    /// As tables keep them.
    pub(super) headers: Vec<u8>,
    /// Later records may have come already: it was part of a transaction.
    pub(super) is_late: bool,
}

/// Some records, and where to resume after them.
pub(super) struct Seen {
    pub(super) records: Vec<LiveRecord>,
    pub(super) token: Token,
}

impl Follower {
    /// From the start of every partition.
    pub(super) fn new(engine: &EngineSession, stream: &Arc<Stream>) -> Result<Self, Error> {
        let mut readers = Vec::new();
        for (number, &id) in (0..).zip(&stream.partitions) {
            let Some(log) = engine.partition(id) else {
                return Err(dropped(stream));
            };
            let next = log.log_start();
            let index = PartitionIndex(number);
            let open = BTreeMap::new();
            readers.push(Reader { index, id, log, next, open, chunks: VecDeque::new() });
        }
        let read_bytes = (4 * LIVE_BYTES / readers.len().max(1)).clamp(16 << 10, LIVE_READ_BYTES);
        Ok(Self { engine: engine.clone(), stream: stream.clone(), readers, read_bytes })
    }

    /// Goes to the first record after `token`. With `cluster` it is a client's, and must not lie
    /// before what is kept.
    pub(super) fn seek(&mut self, token: Token, cluster: Option<&str>) -> Result<(), Error> {
        let mut kept_from = Round::ZERO;
        for reader in &mut self.readers {
            let first = reader.first_round()?;
            reader.next = match reader.id.cmp(&token.partition) {
                std::cmp::Ordering::Equal => token.offset.plus(1),
                std::cmp::Ordering::Less => reader.first_after(token.round)?,
                // Of this round, the partitions behind are still to come.
                std::cmp::Ordering::Greater => {
                    reader.first_after(Round(token.round.0.saturating_sub(1)))?
                }
            };
            reader.open = reader.log.undecided_at(reader.next).into_iter().collect();
            let start = reader.log.log_start();
            if start > Offset(0) {
                let lost = match first {
                    Some(first) => first > token.round,
                    None => true,
                };
                if lost || reader.next < start {
                    kept_from = kept_from.max(first.unwrap_or(self.engine.published()));
                }
            }
        }
        match cluster {
            Some(cluster) if kept_from > Round::ZERO => {
                let earliest = Token::after_round(kept_from).encode(cluster, &self.stream);
                Err(overtaken(&self.stream, &format!("the earliest token is {earliest}")))
            }
            _ => Ok(()),
        }
    }

    /// Goes to these offsets.
    pub(super) fn seek_offsets(
        &mut self,
        offsets: &[(PartitionIndex, Offset)],
    ) -> Result<(), Error> {
        for &(index, offset) in offsets {
            let Some(reader) = self.readers.iter_mut().find(|reader| reader.index == index) else {
                return Err(Error::new(
                    sqlstate::INVALID_PARAMETER,
                    format!("stream \"{}\" has no partition {index}", self.stream.name),
                ));
            };
            let (start, end) = (reader.log.log_start(), reader.log.high_watermark());
            if offset < start || offset > end {
                return Err(Error {
                    kind: ErrorKind::OutOfRange,
                    ..Error::new(
                        sqlstate::INVALID_PARAMETER,
                        format!(
                            "offset {offset} is out of range: partition {index} of stream \"{}\" \
                             holds {start} to {end}",
                            self.stream.name
                        ),
                    )
                });
            }
            reader.next = offset;
            reader.open = reader.log.undecided_at(offset).into_iter().collect();
        }
        Ok(())
    }

    /// The next records, about `bytes_max` bytes; none when everything published was read.
    pub(super) fn read(&mut self, bytes_max: usize) -> Result<Seen, Error> {
        let published = self.engine.published();
        let mut records = Vec::new();
        let mut bytes = 0;
        let mut token = Token::after_round(Round::ZERO);
        loop {
            for reader in &mut self.readers {
                reader.read_ahead(published, self.read_bytes, &self.stream)?;
            }
            let next = self
                .readers
                .iter_mut()
                .filter_map(|reader| Some(((reader.chunks.front()?.round, reader.id), reader)))
                .min_by_key(|(order, _)| *order);
            let Some((_, reader)) = next else {
                return Ok(Seen { records, token: Token::after_round(published) });
            };
            if bytes >= bytes_max {
                return Ok(Seen { records, token });
            }
            let Some(chunk) = reader.chunks.pop_front() else {
                continue;
            };
            bytes += chunk.bytes.len();
            token = Token {
                round: chunk.round,
                partition: reader.id,
                offset: reader.take(&chunk, &mut records)?,
            };
        }
    }
}

impl Reader {
    /// The round of the first record kept.
    fn first_round(&self) -> Result<Option<Round>, Error> {
        let start = self.log.log_start();
        if start >= self.log.high_watermark() {
            return Ok(None);
        }
        let chunks = self.log.read_rounds(start, 1, Until::Published)?;
        Ok(chunks.first().map(|chunk| chunk.round))
    }

    /// The first offset whose record came after `round`: rounds rise with offsets.
    fn first_after(&self, round: Round) -> Result<Offset, Error> {
        let (mut low, mut high) = (self.log.log_start(), self.log.high_watermark());
        // Nearly always everything, or nearly everything, came before.
        let mut probe = Offset((high.0 - 1).max(low.0));
        while low < high {
            let chunks = self.log.read_rounds(probe, 1, Until::Published)?;
            let Some(chunk) = chunks.first() else {
                return Ok(low);
            };
            if chunk.round > round {
                high = chunk.base_offset.max(low).min(probe);
            } else {
                let end = BatchHeader::read(&chunk.bytes).map(|header| header.next_offset());
                low = end.unwrap_or(probe.plus(1)).max(probe.plus(1));
            }
            probe = Offset(low.0 + (high.0 - low.0).max(0) / 2);
        }
        Ok(low)
    }

    fn read_ahead(
        &mut self,
        published: Round,
        bytes_max: usize,
        stream: &Stream,
    ) -> Result<(), Error> {
        if !self.chunks.is_empty() {
            return Ok(());
        }
        if self.log.is_deleted() {
            return Err(dropped(stream));
        }
        match self.log.read_rounds(self.next, bytes_max, Until::Round(published)) {
            Ok(chunks) => {
                self.chunks = chunks.into();
                Ok(())
            }
            Err(ReadError::OutOfRange { start, .. }) if self.next < start => Err(overtaken(
                stream,
                &format!("partition {} begins at offset {start}", self.index),
            )),
            Err(ReadError::OutOfRange { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes the records of `chunk`; gives the offset of the last.
    fn take(&mut self, chunk: &Chunk, records: &mut Vec<LiveRecord>) -> Result<Offset, Error> {
        for batch in batches(&chunk.bytes) {
            let (header, bytes) = batch.map_err(|error| self.damaged(&error))?;
            if header.next_offset() <= self.next {
                continue;
            }
            let producer = header.producer_id;
            if header.is_control() {
                let open = self.open.remove(&producer);
                if let (Some(first), Some(Ending::Commit)) = (open, ending(&header, bytes)) {
                    self.take_transaction(producer, first..header.base_offset, records)?;
                }
            } else if header.is_transactional() {
                self.open.entry(producer).or_insert(header.base_offset);
            } else {
                self.take_batch(chunk, &header, bytes, self.next, records)?;
            }
            self.next = self.next.max(header.next_offset());
        }
        Ok(Offset(self.next.0 - 1))
    }

    /// Takes the records of a committed transaction, which are in `range` among others'.
    fn take_transaction(
        &self,
        producer: ProducerId,
        range: Range<Offset>,
        records: &mut Vec<LiveRecord>,
    ) -> Result<(), Error> {
        self.log.transaction(producer, range, |chunk, batch| {
            let (header, bytes) = batch.map_err(|error| self.damaged(&error))?;
            self.take_batch(chunk, &header, bytes, header.base_offset, records)
        })
    }

    fn take_batch(
        &self,
        chunk: &Chunk,
        header: &BatchHeader,
        bytes: &[u8],
        from: Offset,
        records: &mut Vec<LiveRecord>,
    ) -> Result<(), Error> {
        let mut scratch = Vec::new();
        let mut found = Vec::new();
        let decoded =
            decode_records(header, bytes, &mut scratch).map_err(|error| self.damaged(&error))?;
        let base = match header.compression() {
            Ok(Compression::None) => chunk.bytes.as_ptr() as usize,
            // Where the records were expanded to: the first record's bytes tell.
            _ => decoded.rest().as_ptr() as usize,
        };
        for record in decoded {
            let record = record.map_err(|error| self.damaged(&error))?;
            if record.offset >= from {
                found.push(Found::new(&record, base));
            }
        }
        let shared = match header.compression() {
            Ok(Compression::None) => chunk.bytes.clone(),
            _ => Bytes::from(scratch),
        };
        records.extend(found.into_iter().map(|found| LiveRecord {
            stamp: Stamp { round: chunk.round, partition: self.id, offset: found.offset },
            partition: self.index,
            timestamp: found.timestamp,
            key: found.key.map(|range| shared.slice(range)),
            value: found.value.map(|range| shared.slice(range)),
            headers: found.headers,
            is_late: header.is_transactional(),
        }));
        Ok(())
    }

    fn damaged(&self, error: &dyn std::fmt::Display) -> Error {
        Error::new(
            "XX001",
            format!("partition {} is damaged near offset {}: {error}", self.index, self.next),
        )
    }
}

/// A record, as ranges of the buffer that it stands in.
struct Found {
    offset: Offset,
    timestamp: Timestamp,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    headers: Vec<u8>,
}

impl Found {
    /// `base` is the address of the buffer: positions are differences of addresses.
    fn new(record: &Record<'_>, base: usize) -> Self {
        let range = |part: &[u8]| {
            let from = part.as_ptr() as usize - base;
            from..from + part.len()
        };
        let mut headers = Vec::new();
        if !record.headers.is_empty() {
            varint::put(&mut headers, record.headers.len() as i64);
            for header in record.headers.iter() {
                put_bytes(&mut headers, Some(header.name));
                put_bytes(&mut headers, header.value);
            }
        }
        Self {
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.map(range),
            value: record.value.map(range),
            headers,
        }
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => varint::put(out, -1),
        Some(bytes) => {
            varint::put(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
    }
}

fn dropped(stream: &Stream) -> Error {
    Error::new(sqlstate::UNDEFINED_TABLE, format!("stream \"{}\" was dropped", stream.name))
}
