//! Responses on their way to the socket.

use bytes::{Buf, Bytes, BytesMut};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;
use tokio::sync::OwnedSemaphorePermit;

/// Pieces that go into one write: as many as Linux takes without more ado.
const PIECES_MAX: usize = 64;
/// Smaller pieces are copied: one more piece in a write costs about as much.
const COPY_BYTES_MAX: usize = 1024;
/// Room that is kept for small responses while there is nothing to send.
const TAIL_BYTES_KEPT: usize = 64 << 10;

/// Small responses are written one behind the other into one buffer; large pieces of the log
/// stand between them as they are.
#[derive(Default)]
pub(crate) struct Output {
    /// Goes out first.
    queue: VecDeque<Bytes>,
    /// Goes out after the queue.
    tail: BytesMut,
    queued: usize,
    written: u64,
    /// Whether what was written may still be on its way through TLS.
    unflushed: bool,
    /// Shares of the budget for fetched bytes; given back when everything is written.
    shares: Vec<OwnedSemaphorePermit>,
}

impl Output {
    /// Whether everything has left.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes() == 0 && !self.unflushed
    }

    /// Bytes that wait to be written.
    pub(crate) fn bytes(&self) -> usize {
        self.queued + self.tail.len()
    }

    pub(crate) fn bytes_written(&self) -> u64 {
        self.written
    }

    /// Where responses are appended.
    pub(crate) fn tail(&mut self) -> &mut BytesMut {
        &mut self.tail
    }

    pub(crate) fn copy(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
    }

    /// Appends `bytes`, without copying them if they are many.
    pub(crate) fn push(&mut self, bytes: Bytes) {
        if bytes.len() <= COPY_BYTES_MAX {
            return self.copy(&bytes);
        }
        if !self.tail.is_empty() {
            let before = self.tail.split().freeze();
            self.queued += before.len();
            self.queue.push_back(before);
        }
        self.queued += bytes.len();
        self.queue.push_back(bytes);
    }

    /// Holds `share` until everything that is here now is written.
    pub(crate) fn hold(&mut self, share: OwnedSemaphorePermit) {
        self.shares.push(share);
    }

    /// Writes what the socket takes, and says how much; if something is left, a waker is set.
    pub(crate) fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        stream: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<usize> {
        let mut total = 0;
        while self.bytes() > 0 {
            let count = match self.poll_once(context, stream) {
                Poll::Ready(count) => count?,
                Poll::Pending => return Ok(total),
            };
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.advance(count);
            self.unflushed = true;
            total += count;
        }
        if self.unflushed {
            match Pin::new(stream).poll_flush(context) {
                Poll::Ready(flushed) => flushed?,
                Poll::Pending => return Ok(total),
            }
            self.unflushed = false;
        }
        self.shares.clear();
        if self.tail.capacity() > TAIL_BYTES_KEPT {
            self.tail = BytesMut::new();
        }
        Ok(total)
    }

    /// All that waits, in order.
    #[cfg(test)]
    pub(crate) fn to_bytes(&self) -> Bytes {
        let pieces: Vec<&[u8]> = self.queue.iter().map(|piece| &piece[..]).collect();
        Bytes::from([pieces.concat(), self.tail.to_vec()].concat())
    }

    fn poll_once(
        &self,
        context: &mut Context<'_>,
        stream: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<usize>> {
        let stream = Pin::new(stream);
        if self.queue.is_empty() {
            return stream.poll_write(context, &self.tail);
        }
        let mut pieces = [IoSlice::new(&[]); PIECES_MAX];
        let all = self.queue.iter().map(|piece| &piece[..]).chain([&self.tail[..]]);
        let mut count = 0;
        for (slot, piece) in pieces.iter_mut().zip(all) {
            *slot = IoSlice::new(piece);
            count += 1;
        }
        stream.poll_write_vectored(context, &pieces[..count])
    }

    fn advance(&mut self, mut count: usize) {
        self.written += count as u64;
        while let Some(front) = self.queue.front_mut() {
            if count < front.len() {
                front.advance(count);
                self.queued -= count;
                return;
            }
            count -= front.len();
            self.queued -= front.len();
            self.queue.pop_front();
        }
        self.tail.advance(count);
    }
}
