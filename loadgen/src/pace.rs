//! When to send what: as fast as there is room, or by the clock.

use crate::drivers::Sink;
use crate::error::Error;
use crate::payload::{EventBuffer, Events};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Events between two looks at the clock, in a closed loop.
const EVENTS_PER_LOOK: u64 = 32;

/// Events to one producer before it is the next one's turn.
const EVENTS_PER_TURN: u64 = 128;

/// Shortest sleep in an open loop: shorter ones cost more than they place better.
const SLEEP_MIN: Duration = Duration::from_micros(100);

/// One generating thread's part of the load.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) events: Arc<Events>,
    /// Tickets are nanoseconds since then; so is the schedule.
    pub(crate) base: Instant,
    /// This thread sends event `first`, and every `step`th after it.
    pub(crate) first: u64,
    pub(crate) step: u64,
    /// Of all events, not only this thread's.
    pub(crate) events_max: Option<u64>,
    /// Events a second of this thread; none: closed loop.
    pub(crate) rate: Option<f64>,
    pub(crate) stop: Arc<AtomicBool>,
}

/// When event `n` of a thread is due, in nanoseconds after the base.
pub(crate) fn due_ns(n: u64, rate: f64) -> u64 {
    (n as f64 * 1e9 / rate) as u64
}

impl Plan {
    fn is_over(&self, n: u64) -> bool {
        self.events_max.is_some_and(|max| n >= max) || self.stop.load(Ordering::Relaxed)
    }

    fn elapsed_ns(&self) -> u64 {
        self.base.elapsed().as_nanos() as u64
    }

    /// Sends until it is over; returns how many events were handed over.
    pub(crate) fn run(&self, sinks: &mut [Box<dyn Sink>]) -> Result<u64, Error> {
        match self.rate {
            None => self.run_closed(sinks),
            Some(rate) => self.run_open(sinks, rate),
        }
    }

    fn run_closed(&self, sinks: &mut [Box<dyn Sink>]) -> Result<u64, Error> {
        let mut buffer = EventBuffer::default();
        let (mut n, mut sent) = (self.first, 0);
        let mut ticket = self.elapsed_ns();
        let mut time_ms = unix_ms();
        while !self.is_over(n) {
            let at = (sent / EVENTS_PER_TURN) as usize % sinks.len();
            let sink = &mut sinks[at];
            if sent % EVENTS_PER_LOOK == 0 {
                ticket = self.elapsed_ns();
                time_ms = unix_ms();
            }
            let (key, value) = self.events.event(n, &mut buffer);
            while !sink.try_send(key, value, time_ms, ticket)? {
                if self.stop.load(Ordering::Relaxed) {
                    return Ok(sent);
                }
                sink.wait();
                ticket = self.elapsed_ns();
                time_ms = unix_ms();
            }
            n += self.step;
            sent += 1;
        }
        Ok(sent)
    }

    fn run_open(&self, sinks: &mut [Box<dyn Sink>], rate: f64) -> Result<u64, Error> {
        let mut buffer = EventBuffer::default();
        let (mut n, mut sent) = (self.first, 0);
        while !self.is_over(n) {
            let now = self.elapsed_ns();
            let time_ms = unix_ms();
            let mut due = due_ns(sent, rate);
            while due <= now && !self.is_over(n) {
                let at = sent as usize % sinks.len();
                let (key, value) = self.events.event(n, &mut buffer);
                // A full buffer holds up the generator, not the schedule: the ticket is the time
                // at which the event was due.
                while !sinks[at].try_send(key, value, time_ms, due)? {
                    if self.stop.load(Ordering::Relaxed) {
                        return Ok(sent);
                    }
                    sinks[at].wait();
                }
                n += self.step;
                sent += 1;
                due = due_ns(sent, rate);
            }
            sinks.iter_mut().for_each(|sink| sink.look());
            let rest = Duration::from_nanos(due.saturating_sub(self.elapsed_ns()));
            std::thread::sleep(rest.clamp(SLEEP_MIN, Duration::from_millis(10)));
        }
        Ok(sent)
    }
}

/// Milliseconds since 1970.
pub(crate) fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
