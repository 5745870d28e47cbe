//! The order in which a partition's frames go out, and again after an error. No I/O.
//!
//! Invariant: an idempotent partition's frames reach the broker in the order of their numbers,
//! each sequence following the last, whatever was retried (KIP-98, KIP-360).

use super::frame::Frame;
use super::partition::Pool;
use anabranch_types::batch::set_producer;
use anabranch_types::{ProducerEpoch, ProducerId, Sequence};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Frames of one partition that are not in flight, and how many are.
#[derive(Debug)]
pub(super) struct Sending<T> {
    queue: VecDeque<Box<Frame<T>>>,
    in_flight: usize,
    in_flight_max: usize,
    identity: Option<Identity>,
    /// After a retry, and during it: nothing goes out until everything in flight came back.
    hold: bool,
    /// After a frame was given up: its sequence is missing, so numbering starts anew.
    restart: bool,
    not_before: Option<Instant>,
    /// Whether the lane has it on its list.
    pub(super) active: bool,
    /// Whether a timer for its open batch runs.
    pub(super) lingering: bool,
    /// Whether one for the pause after a retry does.
    pub(super) pausing: bool,
    /// The lane that sends, and its number for this partition.
    pub(super) slot: Option<(i32, usize)>,
    /// Answered frames, on their way back to the intake.
    pub(super) recycled: Pool<T>,
    /// An open batch is due and waits until something can be sent.
    pub(super) open_waits: bool,
}

#[derive(Debug, Clone, Copy)]
struct Identity {
    id: ProducerId,
    epoch: ProducerEpoch,
    next: Sequence,
}

impl<T> Sending<T> {
    pub(super) fn new(identity: Option<(ProducerId, ProducerEpoch)>, in_flight_max: usize) -> Self {
        let identity = identity.map(|(id, epoch)| Identity { id, epoch, next: Sequence(0) });
        Self {
            queue: VecDeque::new(),
            in_flight: 0,
            in_flight_max,
            identity,
            hold: false,
            restart: false,
            not_before: None,
            active: false,
            lingering: false,
            pausing: false,
            slot: None,
            recycled: Pool::default(),
            open_waits: false,
        }
    }

    /// Whether there is anything to send, now or later.
    pub(super) fn has_work(&self) -> bool {
        !self.queue.is_empty() || self.open_waits
    }

    /// Whether a frame may go out now.
    pub(super) fn may_send(&self, now: Instant) -> bool {
        self.in_flight < self.in_flight_max
            && !(self.hold && self.in_flight > 0)
            && self.not_before.is_none_or(|not_before| not_before <= now)
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// When the pause after a retry ends.
    pub(super) fn not_before(&self) -> Option<Instant> {
        self.not_before
    }

    /// Takes over new frames, in order.
    pub(super) fn enqueue(&mut self, frames: &mut VecDeque<Box<Frame<T>>>) {
        if self.queue.is_empty() {
            std::mem::swap(&mut self.queue, frames);
        } else {
            self.queue.append(frames);
        }
    }

    /// The next frame that may go out now, stamped.
    pub(super) fn next(&mut self, now: Instant) -> Option<Box<Frame<T>>> {
        if self.queue.is_empty() || !self.may_send(now) {
            return None;
        }
        self.not_before = None;
        if self.restart {
            self.start_anew();
        }
        let mut frame = self.queue.pop_front()?;
        // A retried frame goes alone: were others written meanwhile, the broker could forget that
        // it has this one already, since it remembers only the last five.
        self.hold = frame.sequence.is_some();
        if let Some(identity) = &mut self.identity
            && frame.sequence.is_none()
        {
            let sequence = identity.next;
            frame.sequence = Some(sequence);
            identity.next = sequence.plus(frame.records_count);
            set_producer(frame.batch_mut(), identity.id, identity.epoch, sequence);
        }
        self.in_flight += 1;
        Some(frame)
    }

    /// A frame in flight was answered.
    pub(super) fn acknowledged(&mut self) {
        assert!(self.in_flight > 0, "a frame was answered that was not in flight");
        self.in_flight -= 1;
    }

    /// A frame in flight goes out again, before everything younger.
    pub(super) fn retry(&mut self, frame: Box<Frame<T>>, now: Instant, pause: Duration) {
        self.acknowledged();
        let at = self.queue.partition_point(|queued| queued.number < frame.number);
        self.queue.insert(at, frame);
        self.hold = self.identity.is_some();
        self.not_before = Some(now + pause);
    }

    /// Whether the broker's complaint about a sequence follows from an older frame's retry.
    pub(super) fn follows_a_retry(&self, number: u64) -> bool {
        self.queue.front().is_some_and(|queued| queued.number < number) || self.restart
    }

    /// Numbering must start anew before anything else goes out.
    pub(super) fn sequence_lost(&mut self) {
        if self.identity.is_some() {
            self.hold = true;
            self.restart = true;
        }
    }

    /// Takes out the frames in the queue that were opened before `limit`.
    pub(super) fn expired(&mut self, limit: Instant) -> Vec<Box<Frame<T>>> {
        let count = self.queue.partition_point(|frame| frame.opened < limit);
        let expired: Vec<_> = self.queue.drain(..count).collect();
        if expired.iter().any(|frame| frame.sequence.is_some()) {
            self.sequence_lost();
        }
        expired
    }

    /// Takes out everything.
    pub(super) fn drain(&mut self) -> Vec<Box<Frame<T>>> {
        self.queue.drain(..).collect()
    }

    /// A higher epoch starts at sequence 0 (KIP-360). When the epochs of an id are used up the
    /// broker refuses the next, and the error says so; that is 32,767 lost batches.
    fn start_anew(&mut self) {
        assert!(self.in_flight == 0, "numbering starts anew only when nothing is in flight");
        self.restart = false;
        if let Some(identity) = &mut self.identity {
            identity.epoch = ProducerEpoch(identity.epoch.0.saturating_add(1));
            identity.next = Sequence(0);
            self.queue.iter_mut().for_each(|frame| frame.sequence = None);
        }
    }
}
