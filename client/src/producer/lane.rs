//! The task that sends to one broker: it collects sealed frames, keeps their order, writes, reads
//! and reports. Everything it decides about order is in [`Sending`](super::sending::Sending).

use super::delivery::{Delivered, Deliveries};
use super::frame::Frame;
use super::link::Link;
use super::partition::Partition;
use super::shared::Shared;
use crate::messages::produce::{self, Answer};
use crate::{BrokerId, Error, error};
use futures::task::AtomicWaker;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::time::Sleep;

/// How often time-outs are looked at.
const TICK: Duration = Duration::from_millis(500);

/// Frames that one partition sends before the next has its turn.
const FRAMES_PER_TURN: usize = 64;

const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
const DUPLICATE_SEQUENCE_NUMBER: i16 = 46;
const UNKNOWN_PRODUCER_ID: i16 = 59;

/// What senders know of a lane.
#[derive(Debug)]
pub(super) struct Lane<T> {
    pub(super) broker: BrokerId,
    inbox: Mutex<Inbox<T>>,
    /// Set while the task will look at the inbox anyway.
    signalled: AtomicBool,
    waker: AtomicWaker,
}

#[derive(Debug)]
struct Inbox<T> {
    ready: Vec<Arc<Partition<T>>>,
    closed: bool,
}

impl<T> Lane<T> {
    pub(super) fn new(broker: BrokerId) -> Self {
        Self {
            broker,
            inbox: Mutex::new(Inbox { ready: Vec::new(), closed: false }),
            signalled: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        }
    }

    /// The partition has something new. False where the lane has ended.
    pub(super) fn list(&self, partition: Arc<Partition<T>>) -> bool {
        let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        if inbox.closed {
            return false;
        }
        inbox.ready.push(partition);
        drop(inbox);
        self.signal();
        true
    }

    pub(super) fn signal(&self) {
        if !self.signalled.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
    }

    fn take_ready(&self, ready: &mut Vec<Arc<Partition<T>>>) {
        assert!(ready.is_empty(), "what was ready before is dealt with");
        let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut inbox.ready, ready);
    }

    fn close(&self, ready: &mut Vec<Arc<Partition<T>>>) {
        let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        inbox.closed = true;
        ready.append(&mut inbox.ready);
    }
}

/// Runs until the producer closes: connects when there is something to send, again after errors.
pub(super) async fn run<D: Deliveries>(shared: Arc<Shared<D>>, lane: Arc<Lane<D::Ticket>>) {
    let mut core = Core::new(shared, lane);
    while poll_fn(|cx| core.poll_work(cx)).await {
        let error = match core.connect().await {
            Ok(link) => match core.serve(link).await {
                Ok(()) => break,
                Err(error) => error,
            },
            Err(error) => error,
        };
        core.expire(Instant::now(), Some(&error));
        if let Some(&slot) = core.active.front() {
            tracing::warn!(broker = %core.lane.broker, %error, "producing waits");
            core.shared.refresh(&core.slots[slot].topic.name);
        }
        let closing = core.shared.closing.clone();
        tokio::select! {
            () = closing.cancelled() => {}
            () = tokio::time::sleep(core.shared.config.retry_pause) => {}
        }
    }
    core.stop();
}

/// The lane's own side: partitions by slot, and which of them have something to send.
pub(super) struct Core<D: Deliveries> {
    shared: Arc<Shared<D>>,
    lane: Arc<Lane<D::Ticket>>,
    slots: Vec<Arc<Partition<D::Ticket>>>,
    active: VecDeque<usize>,
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
    ready: Vec<Arc<Partition<D::Ticket>>>,
    /// Slots whose timers went off.
    due: Vec<usize>,
    /// Bytes to give back to the budget.
    freed: usize,
}

impl<D: Deliveries> Core<D> {
    fn new(shared: Arc<Shared<D>>, lane: Arc<Lane<D::Ticket>>) -> Self {
        Self {
            shared,
            lane,
            slots: Vec::new(),
            active: VecDeque::new(),
            timers: BinaryHeap::new(),
            ready: Vec::new(),
            due: Vec::new(),
            freed: 0,
        }
    }

    /// Without a connection: waits for something to send; false when the producer closes.
    fn poll_work(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        self.lane.waker.register(cx.waker());
        self.lane.signalled.store(false, Ordering::SeqCst);
        if self.shared.closing.is_cancelled() {
            return Poll::Ready(false);
        }
        self.collect(Instant::now(), false);
        // A lingering batch is reason enough to connect: it will be due soon.
        let idle = self.active.is_empty() && self.timers.is_empty();
        if idle { Poll::Pending } else { Poll::Ready(true) }
    }

    async fn connect(&self) -> Result<Link<D::Ticket>, Error> {
        let closing = self.shared.closing.clone();
        let connection = tokio::select! {
            () = closing.cancelled() => return Err(Error::Stopped),
            connection = self.shared.client.open(self.lane.broker) => connection?,
        };
        Link::new(connection, self.shared.config.acks != super::Acks::None)
    }

    /// Sends and receives until the producer closes or the connection breaks.
    async fn serve(&mut self, mut link: Link<D::Ticket>) -> Result<(), Error> {
        let mut timer = Timer::new();
        let result = poll_fn(|cx| self.poll_serve(cx, &mut link, &mut timer)).await;
        let reason = result.clone().err().unwrap_or(Error::Stopped);
        let now = Instant::now();
        for frame in link.into_frames() {
            self.retry_or_fail(frame, &reason, now);
        }
        self.give_back();
        result
    }

    fn poll_serve(
        &mut self,
        cx: &mut Context<'_>,
        link: &mut Link<D::Ticket>,
        timer: &mut Timer,
    ) -> Poll<Result<(), Error>> {
        self.lane.waker.register(cx.waker());
        // What deliveries send is collected below without waking this very task.
        self.lane.signalled.store(true, Ordering::SeqCst);
        let more = match link.poll_read(cx, self) {
            Ok(more) => more,
            Err(error) => return Poll::Ready(Err(error)),
        };
        self.give_back();
        self.lane.signalled.store(false, Ordering::SeqCst);
        if self.shared.closing.is_cancelled() {
            return Poll::Ready(Ok(()));
        }
        let now = Instant::now();
        let requests_max = self.shared.config.requests_in_flight_max;
        if let Err(error) = link.poll_write(cx, self) {
            return Poll::Ready(Err(error));
        }
        let room = link.requests() < requests_max && !link.is_blocked();
        self.collect(now, room);
        self.dispatch(link, now);
        if let Err(error) = link.poll_write(cx, self) {
            return Poll::Ready(Err(error));
        }
        self.give_back();
        let request_timeout = self.shared.client.config().request_timeout;
        if let Some(sent) = link.oldest()
            && now.saturating_duration_since(sent) > request_timeout
        {
            let error = Error::Timeout { what: "Produce", after: request_timeout };
            return Poll::Ready(Err(error));
        }
        let room = link.requests() < requests_max && !link.is_blocked();
        if more || (room && !self.active.is_empty()) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let waits = link.requests() > 0 || !self.active.is_empty() || !self.timers.is_empty();
        let tick = waits.then(|| now + TICK);
        let due = self.timers.peek().map(|Reverse((due, _))| *due);
        if timer.poll(cx, now, [due, tick].into_iter().flatten().min()) {
            self.expire(now, None);
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Takes over what senders left, and batches that have lingered. Without `room` on the
    /// connection, open batches go on growing.
    fn collect(&mut self, now: Instant, room: bool) {
        let mut ready = std::mem::take(&mut self.ready);
        self.lane.take_ready(&mut ready);
        for partition in ready.drain(..) {
            let slot = self.slot(partition);
            self.gather(slot, now, room);
        }
        self.ready = ready;
        let urgent = self.shared.is_urgent();
        while let Some(&Reverse((at, slot))) = self.timers.peek()
            && (urgent || at <= now)
        {
            self.timers.pop();
            self.due.push(slot);
        }
        let mut due = std::mem::take(&mut self.due);
        for slot in due.drain(..) {
            let mut sending = self.slots[slot].sending();
            (sending.lingering, sending.pausing) = (false, false);
            drop(sending);
            self.gather(slot, now, room);
        }
        self.due = due;
    }

    /// The lane's number of the partition.
    fn slot(&mut self, partition: Arc<Partition<D::Ticket>>) -> usize {
        let mut sending = partition.sending();
        if let Some((broker, slot)) = sending.slot
            && broker == self.lane.broker.0
        {
            return slot;
        }
        let slot = self.slots.len();
        sending.slot = Some((self.lane.broker.0, slot));
        drop(sending);
        self.slots.push(partition);
        slot
    }

    /// Moves a partition's sealed frames, and its open batch when that is due, to its queue.
    fn gather(&mut self, slot: usize, now: Instant, room: bool) {
        let partition = &self.slots[slot];
        let config = &self.shared.config;
        let mut sending = partition.sending();
        let mut intake = partition.intake();
        intake.listed = false;
        intake.pool.put_all(&mut sending.recycled, config.batch_bytes);
        sending.enqueue(&mut intake.sealed);
        if let Some(open) = &intake.open {
            let due = open.opened + config.linger;
            if due > now && !self.shared.is_urgent() {
                if !sending.lingering {
                    sending.lingering = true;
                    self.timers.push(Reverse((due, slot)));
                }
            } else if room && sending.may_send(now) {
                partition.seal(&mut intake);
                sending.enqueue(&mut intake.sealed);
            } else {
                // It may grow until something can be sent.
                sending.open_waits = true;
            }
        }
        drop(intake);
        if sending.has_work() && !sending.active {
            sending.active = true;
            self.active.push_back(slot);
        }
    }

    /// Hands frames to the socket, partition by partition.
    fn dispatch(&mut self, link: &mut Link<D::Ticket>, now: Instant) {
        let requests_max = self.shared.config.requests_in_flight_max;
        let mut turns = self.active.len();
        while turns > 0
            && link.requests() < requests_max
            && let Some(slot) = self.active.pop_front()
        {
            turns -= 1;
            let partition = Arc::clone(&self.slots[slot]);
            let mut sending = partition.sending();
            sending.active = false;
            if partition.leader.load(Ordering::Acquire) != self.lane.broker.0 {
                let idle = sending.in_flight() == 0;
                drop(sending);
                if idle {
                    self.hand_over(&partition);
                }
                continue;
            }
            if sending.open_waits && sending.may_send(now) && !link.is_blocked() {
                sending.open_waits = false;
                let mut intake = partition.intake();
                partition.seal(&mut intake);
                sending.enqueue(&mut intake.sealed);
            }
            for _ in 0..FRAMES_PER_TURN.min(requests_max - link.requests()) {
                let Some(mut frame) = sending.next(now) else { break };
                frame.slot = slot;
                if let Some(fault) = frame.fault.take() {
                    drop(sending);
                    self.fail(frame, &fault, now);
                    sending = partition.sending();
                } else {
                    link.push(frame, now);
                }
            }
            if sending.has_work() && sending.may_send(now) && !sending.active {
                sending.active = true;
                self.active.push_back(slot);
            }
            if let Some(not_before) = sending.not_before()
                && not_before > now
                && !sending.pausing
            {
                sending.pausing = true;
                self.timers.push(Reverse((not_before, slot)));
            }
        }
    }

    /// Another broker leads the partition now, and nothing of it is in flight here.
    fn hand_over(&mut self, partition: &Arc<Partition<D::Ticket>>) {
        let leader = BrokerId(partition.leader.load(Ordering::Acquire));
        let lane = self.shared.lane(leader);
        partition.sending().slot = None;
        let mut intake = partition.intake();
        intake.lane = Arc::clone(&lane);
        intake.listed = true;
        drop(intake);
        if !lane.list(Arc::clone(partition)) {
            self.fail_all(partition, &Error::Stopped);
        }
    }

    /// The answer to the first frame in flight.
    pub(super) fn read_answer<'a>(
        &self,
        slot: usize,
        body: &'a [u8],
        version: i16,
    ) -> Result<Answer<'a>, Error> {
        let partition = &self.slots[slot];
        produce::read(body, version, &partition.topic.name, partition.index)
    }

    /// Decides what an answer means for its frame.
    pub(super) fn answered(
        &mut self,
        frame: Box<Frame<D::Ticket>>,
        answer: Answer<'_>,
        at: Instant,
    ) {
        match answer.code {
            0 => return self.done(frame, Ok(Some(answer.base_offset)), at),
            DUPLICATE_SEQUENCE_NUMBER => return self.done(frame, Ok(None), at),
            _ => {}
        }
        let partition = &self.slots[frame.slot];
        let what = format!("producing to {} / {}", partition.topic.name, partition.index);
        let error = Error::refused(what, answer.code, answer.message);
        let follows = match answer.code {
            OUT_OF_ORDER_SEQUENCE_NUMBER => partition.sending().follows_a_retry(frame.number),
            // The broker forgot the producer: nothing of it is left to be a duplicate of.
            UNKNOWN_PRODUCER_ID => {
                partition.sending().sequence_lost();
                true
            }
            _ => false,
        };
        if error::is_stale_metadata(answer.code) {
            self.shared.refresh(&partition.topic.name);
        }
        if follows || error::is_retriable(answer.code) {
            self.retry_or_fail(frame, &error, at);
        } else {
            self.fail(frame, &error, at);
        }
    }

    /// Without acknowledgements, written is delivered.
    pub(super) fn written(&mut self, frame: Box<Frame<D::Ticket>>) {
        self.done(frame, Ok(None), Instant::now());
    }

    fn retry_or_fail(&mut self, frame: Box<Frame<D::Ticket>>, error: &Error, now: Instant) {
        let after = self.shared.config.delivery_timeout;
        if self.shared.closing.is_cancelled() {
            return self.fail(frame, &Error::Stopped, now);
        }
        if now.saturating_duration_since(frame.opened) >= after {
            let last = Some(Arc::new(error.clone()));
            return self.fail(frame, &Error::NotDelivered { after, last }, now);
        }
        let slot = frame.slot;
        self.slots[slot].sending().retry(frame, now, self.shared.config.retry_pause);
        self.activate(slot);
    }

    fn fail(&mut self, frame: Box<Frame<D::Ticket>>, error: &Error, at: Instant) {
        self.slots[frame.slot].sending().sequence_lost();
        self.done(frame, Err(error), at);
    }

    /// Reports a frame that was in flight, and frees it.
    fn done(
        &mut self,
        frame: Box<Frame<D::Ticket>>,
        outcome: Result<Option<anabranch_types::Offset>, &Error>,
        at: Instant,
    ) {
        let slot = frame.slot;
        let frame = self.report(slot, frame, outcome, at);
        let mut sending = self.slots[slot].sending();
        sending.acknowledged();
        sending.recycled.put(frame, self.shared.config.batch_bytes);
        drop(sending);
        self.activate(slot);
    }

    fn report(
        &mut self,
        slot: usize,
        mut frame: Box<Frame<D::Ticket>>,
        outcome: Result<Option<anabranch_types::Offset>, &Error>,
        at: Instant,
    ) -> Box<Frame<D::Ticket>> {
        let partition = &self.slots[slot];
        let batch =
            Delivered { topic: &partition.topic.name, partition: partition.index, outcome, at };
        self.shared.deliveries.delivered(batch, frame.tickets.drain(..));
        self.freed += std::mem::take(&mut frame.reserved_bytes);
        frame
    }

    fn activate(&mut self, slot: usize) {
        let mut sending = self.slots[slot].sending();
        if sending.has_work() && !sending.active {
            sending.active = true;
            self.active.push_back(slot);
        }
    }

    fn give_back(&mut self) {
        self.shared.budget.give(std::mem::take(&mut self.freed));
    }

    /// Fails what has waited in the queues for longer than the delivery time-out.
    fn expire(&mut self, now: Instant, last: Option<&Error>) {
        let after = self.shared.config.delivery_timeout;
        let Some(limit) = now.checked_sub(after) else { return };
        for slot in 0..self.slots.len() {
            let expired = self.slots[slot].sending().expired(limit);
            let error = Error::NotDelivered { after, last: last.cloned().map(Arc::new) };
            for frame in expired {
                self.report(slot, frame, Err(&error), now);
            }
        }
        self.give_back();
    }

    /// The producer closes: nothing is left unreported.
    fn stop(&mut self) {
        let mut left = std::mem::take(&mut self.ready);
        self.lane.close(&mut left);
        left.append(&mut self.slots.clone());
        for partition in left {
            if partition.sending().slot.is_none_or(|(broker, _)| broker == self.lane.broker.0) {
                partition.close();
                self.fail_all(&partition, &Error::Stopped);
            }
        }
        self.give_back();
    }

    fn fail_all(&mut self, partition: &Arc<Partition<D::Ticket>>, error: &Error) {
        let slot = self.slot(Arc::clone(partition));
        let mut sending = partition.sending();
        let mut intake = partition.intake();
        partition.seal(&mut intake);
        sending.enqueue(&mut intake.sealed);
        drop(intake);
        let frames = sending.drain();
        drop(sending);
        for frame in frames {
            self.report(slot, frame, Err(error), Instant::now());
        }
    }
}

/// One timer for all that a lane waits for.
struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    set_to: Option<Instant>,
}

impl Timer {
    fn new() -> Self {
        Self { sleep: None, set_to: None }
    }

    /// Whether the time has come. A timer that is set early enough stays as it is.
    fn poll(&mut self, cx: &mut Context<'_>, now: Instant, due: Option<Instant>) -> bool {
        let Some(due) = due else {
            return false;
        };
        if self.set_to.is_none_or(|set_to| due < set_to || set_to < now) {
            self.set_to = Some(due);
            match &mut self.sleep {
                Some(sleep) => sleep.as_mut().reset(due.into()),
                None => self.sleep = Some(Box::pin(tokio::time::sleep_until(due.into()))),
            }
        }
        let sleep = self.sleep.as_mut().expect("it was just set");
        let is_due = sleep.as_mut().poll(cx).is_ready();
        if is_due {
            self.set_to = None;
        }
        is_due
    }
}
