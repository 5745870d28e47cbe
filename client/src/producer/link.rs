//! The socket of a lane: many requests in one write, many answers in one read.

use super::delivery::Deliveries;
use super::frame::Frame;
use super::lane::Core;
use crate::connection::Connection;
use crate::messages::{PRODUCE, produce, set_correlation};
use crate::{Error, limits};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::net::TcpStream;

/// Reads before others get their turn.
const READS_PER_TURN: usize = 4;

pub(super) struct Link<T> {
    stream: TcpStream,
    address: Arc<str>,
    version: i16,
    /// `acks = 0` gets no answers.
    is_answered: bool,
    correlation: i32,
    outgoing: VecDeque<Box<Frame<T>>>,
    /// Bytes of the first outgoing frame that are written.
    written: usize,
    in_flight: VecDeque<Box<Frame<T>>>,
    input: Vec<u8>,
    filled: usize,
}

impl<T> Link<T> {
    pub(super) fn new(connection: Connection, is_answered: bool) -> Result<Self, Error> {
        Ok(Self {
            version: connection.versions.pick(PRODUCE)?,
            stream: connection.stream,
            address: connection.address,
            is_answered,
            correlation: 0,
            outgoing: VecDeque::new(),
            written: 0,
            in_flight: VecDeque::new(),
            input: vec![0; limits::READ_BUFFER_BYTES],
            filled: 0,
        })
    }

    /// Requests that are not answered.
    pub(super) fn requests(&self) -> usize {
        self.outgoing.len() + self.in_flight.len()
    }

    /// Whether the socket takes no more for now.
    pub(super) fn is_blocked(&self) -> bool {
        !self.outgoing.is_empty()
    }

    pub(super) fn push(&mut self, mut frame: Box<Frame<T>>, now: Instant) {
        self.correlation = self.correlation.wrapping_add(1);
        frame.correlation = self.correlation;
        frame.sent = now;
        set_correlation(&mut frame.bytes, self.correlation);
        produce::set_version(&mut frame.bytes, self.version);
        self.outgoing.push_back(frame);
    }

    /// When the oldest request was sent.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.in_flight.front().or(self.outgoing.front()).map(|frame| frame.sent)
    }

    /// Everything not answered, oldest first.
    pub(super) fn into_frames(self) -> impl Iterator<Item = Box<Frame<T>>> {
        self.in_flight.into_iter().chain(self.outgoing)
    }

    /// Writes until nothing is left or the socket takes no more.
    pub(super) fn poll_write<D: Deliveries<Ticket = T>>(
        &mut self,
        cx: &mut Context<'_>,
        core: &mut Core<D>,
    ) -> Result<(), Error> {
        while !self.outgoing.is_empty() {
            match self.stream.poll_write_ready(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Err(source)) => return Err(self.broken(source)),
                Poll::Ready(Ok(())) => {}
            }
            match self.write_once() {
                Ok(written) => self.advance(written, core),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(source) => return Err(self.broken(source)),
            }
        }
        Ok(())
    }

    fn write_once(&self) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); limits::WRITE_FRAMES_MAX];
        let mut count = 0;
        for (slice, frame) in slices.iter_mut().zip(&self.outgoing) {
            let from = if count == 0 { self.written } else { 0 };
            *slice = IoSlice::new(&frame.bytes[from..]);
            count += 1;
        }
        self.stream.try_write_vectored(&slices[..count])
    }

    fn advance<D: Deliveries<Ticket = T>>(&mut self, written: usize, core: &mut Core<D>) {
        self.written += written;
        while let Some(front) = self.outgoing.front()
            && self.written >= front.bytes.len()
        {
            self.written -= front.bytes.len();
            let frame = self.outgoing.pop_front().expect("it was just looked at");
            if self.is_answered {
                self.in_flight.push_back(frame);
            } else {
                core.written(frame);
            }
        }
    }

    /// Reads what has arrived and hands each answer on. Whether more may be waiting.
    pub(super) fn poll_read<D: Deliveries<Ticket = T>>(
        &mut self,
        cx: &mut Context<'_>,
        core: &mut Core<D>,
    ) -> Result<bool, Error> {
        for _ in 0..READS_PER_TURN {
            match self.stream.poll_read_ready(cx) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Err(source)) => return Err(self.broken(source)),
                Poll::Ready(Ok(())) => {}
            }
            match self.stream.try_read(&mut self.input[self.filled..]) {
                Ok(0) => return Err(Error::Closed { address: self.address.to_string() }),
                Ok(read) => {
                    self.filled += read;
                    self.take_answers(core)?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(source) => return Err(self.broken(source)),
            }
        }
        Ok(true)
    }

    fn take_answers<D: Deliveries<Ticket = T>>(&mut self, core: &mut Core<D>) -> Result<(), Error> {
        let at = Instant::now();
        let mut rest = &self.input[..self.filled];
        let mut missing = 0;
        while let Some((length, after)) = rest.split_first_chunk() {
            let length = i32::from_be_bytes(*length);
            let Some(bytes) = usize::try_from(length).ok().filter(|bytes| *bytes >= 4) else {
                return Err(Error::Malformed("an answer has an impossible length"));
            };
            let bytes_max = limits::PRODUCE_RESPONSE_BYTES_MAX;
            if bytes > bytes_max {
                return Err(Error::ResponseTooLarge { bytes: bytes as u64, bytes_max });
            }
            let Some((answer, left)) = after.split_at_checked(bytes) else {
                missing = bytes + 4;
                break;
            };
            rest = left;
            let Some((correlation, body)) = answer.split_first_chunk() else {
                return Err(Error::Malformed("an answer has no correlation id"));
            };
            let Some(asked) = self.in_flight.front() else {
                return Err(Error::Malformed("nothing was asked"));
            };
            if i32::from_be_bytes(*correlation) != asked.correlation {
                return Err(Error::Malformed("answers are not in the order of the requests"));
            }
            let answer = core.read_answer(asked.slot, body, self.version)?;
            let frame = self.in_flight.pop_front().expect("it was just looked at");
            core.answered(frame, answer, at);
        }
        let left = rest.len();
        self.input.copy_within(self.filled - left..self.filled, 0);
        self.filled = left;
        if missing > self.input.len() {
            self.input.resize(missing, 0);
        }
        Ok(())
    }

    fn broken(&self, source: io::Error) -> Error {
        Error::Connection { address: self.address.to_string(), source: Arc::new(source) }
    }
}
