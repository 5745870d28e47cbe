//! What came from the socket, cut into frames.

use crate::apis::ApiKey;
use crate::limits::{FRAME_BYTES_FREE, FRAME_BYTES_OWN, READ_BYTES_MAX, READ_BYTES_MIN};
use crate::wire::Malformed;
use bytes::{Buf, Bytes, BytesMut};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncRead;
use tokio_util::io::poll_read_buf;

/// Bytes of the length in front of a frame.
const LENGTH_BYTES: usize = 4;
/// Bytes of a frame that say what it asks: length, API key, version.
const PEEK_BYTES: usize = LENGTH_BYTES + 4;
/// The shortest request: API key, version, correlation id.
const FRAME_BYTES_MIN: usize = 8;

/// What the input starts with.
pub(super) enum Arrived {
    /// Less than a frame, or nothing that may be taken now.
    Nothing,
    /// A whole request.
    Frame(ApiKey),
}

/// The next frame, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Next {
    /// Its size, without the length in front.
    pub(super) bytes: usize,
    /// API key; 0 while unknown.
    pub(super) api: i16,
    /// Version; 0 while unknown.
    pub(super) version: i16,
    /// Whether all of it is here.
    pub(super) is_whole: bool,
}

pub(super) struct Input {
    buffer: BytesMut,
    /// How much room the next read gets: follows what arrives.
    room: usize,
    read: u64,
    /// A whole frame is here that may not be taken yet.
    waiting: bool,
}

impl Default for Input {
    fn default() -> Self {
        Self { buffer: BytesMut::new(), room: READ_BYTES_MIN, read: 0, waiting: false }
    }
}

impl Input {
    pub(super) fn bytes_read(&self) -> u64 {
        self.read
    }

    pub(super) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// Marks the next frame as one that has to wait: reading on would only fill memory.
    pub(super) fn wait(&mut self) {
        self.waiting = true;
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.waiting
    }

    /// The next frame's size and API, once they are here. A length that no frame can have is
    /// given as the largest there is, so that the caller's bound refuses it.
    pub(super) fn peek(&mut self) -> Option<Next> {
        self.waiting = false;
        let mut start = &self.buffer[..];
        if start.len() < PEEK_BYTES {
            return None;
        }
        let bytes = usize::try_from(start.get_i32())
            .ok()
            .filter(|&bytes| bytes >= FRAME_BYTES_MIN)
            .unwrap_or(usize::MAX);
        let is_whole = self.buffer.len() - LENGTH_BYTES >= bytes;
        Some(Next { bytes, api: start.get_i16(), version: start.get_i16(), is_whole })
    }

    /// Takes a message of a login that is no request: a length and as many bytes.
    pub(super) fn take_bare(&mut self, bytes_max: usize) -> Result<Option<Bytes>, Malformed> {
        self.waiting = false;
        let Some(mut start) = self.buffer.get(..LENGTH_BYTES) else { return Ok(None) };
        let bytes = usize::try_from(start.get_i32())
            .ok()
            .filter(|&bytes| bytes <= bytes_max)
            .ok_or(Malformed::Invalid("a message of a login is too long"))?;
        if self.buffer.len() - LENGTH_BYTES < bytes {
            return Ok(None);
        }
        self.buffer.advance(LENGTH_BYTES);
        Ok(Some(self.buffer.split_to(bytes).freeze()))
    }

    /// Takes the next frame, without its length. It must be whole.
    pub(super) fn take(&mut self) -> Bytes {
        let bytes = self.buffer.get_u32() as usize;
        if bytes >= FRAME_BYTES_OWN && bytes == self.buffer.len() {
            // Nobody else has its buffer. The next read is small again: it tells how large the
            // next frame's own buffer has to be, and what it brings has to be copied there.
            self.room = READ_BYTES_MIN;
            return std::mem::take(&mut self.buffer).freeze();
        }
        self.buffer.split_to(bytes).freeze()
    }

    /// Reads once. Room grows with what arrives, so memory follows bytes that were sent, not
    /// bytes that were announced: what a large frame is given at once stays untouched until they
    /// come.
    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        stream: &mut (impl AsyncRead + Unpin),
    ) -> Poll<io::Result<usize>> {
        let begun = self.peek().map_or(0, |next| next.bytes.saturating_add(LENGTH_BYTES));
        if (FRAME_BYTES_OWN..=FRAME_BYTES_FREE).contains(&begun) {
            if self.buffer.capacity() < begun {
                let mut own = BytesMut::with_capacity(begun);
                own.extend_from_slice(&self.buffer);
                self.buffer = own;
            }
        } else {
            // The rest of a frame that has begun is given at most as much again as has arrived.
            let missing = match begun {
                usize::MAX => 0,
                bytes => bytes.saturating_sub(self.buffer.len()).min(self.buffer.len()),
            };
            let wanted = self.room.max(missing);
            if self.buffer.capacity() - self.buffer.len() < wanted / 2 {
                self.buffer.reserve(wanted);
            }
        }
        let room = self.buffer.capacity() - self.buffer.len();
        let count = ready!(poll_read_buf(Pin::new(stream), context, &mut self.buffer))?;
        self.read += count as u64;
        if count == room {
            self.room = (self.room * 2).min(READ_BYTES_MAX);
        } else if count < self.room / 8 {
            self.room = (self.room / 2).max(READ_BYTES_MIN);
        }
        Poll::Ready(Ok(count))
    }
}
