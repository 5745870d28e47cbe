//! Produce requests between the socket and the commit loop.
//!
//! ```text
//! first ─┐
//!        v
//! │ submission 7 │ submission 8 │ submission 9 │   <- pushed at the end
//!   answered       waits          answered
//! ```
//! Submissions can be finished out of order (`durability = "os"`); they are answered in order.

use crate::connection::Output;
use crate::limits::{PIPELINE_BYTES_MAX, PIPELINE_REQUESTS_MAX};
use crate::produce::{self, Admitted, Outcome};
use anabranch_engine::{Append, AppendResult, Reserved, Submission};
use anabranch_net::Histogram;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Instant;

#[derive(Default)]
pub(super) struct Pipeline {
    submissions: VecDeque<InFlight>,
    /// Number of the first of `submissions`.
    first: u64,
    requests: usize,
    bytes: usize,
    finished: Arc<Finished>,
}

/// One submission's requests.
struct InFlight {
    requests: Vec<Admitted>,
    bytes: usize,
    since: Instant,
    state: State,
}

enum State {
    Waits,
    /// A result for each request that has an append, in order; `None` if the engine stopped
    /// without one.
    Answered(Option<Vec<AppendResult>>),
}

/// Where the commit thread leaves results.
#[derive(Default)]
struct Finished(Mutex<Mailbox>);

#[derive(Default)]
struct Mailbox {
    results: Vec<(u64, Option<Vec<AppendResult>>)>,
    waker: Option<Waker>,
}

/// Travels with a submission. If it is dropped unanswered the requests are answered with an
/// error, so that no client waits for ever.
struct Ticket {
    number: u64,
    finished: Arc<Finished>,
    answered: bool,
    /// Given back as soon as the appends are committed.
    _reserved: Reserved,
}

impl Pipeline {
    pub(super) fn is_empty(&self) -> bool {
        self.submissions.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.would_fill(0, 0)
    }

    /// Whether the pipeline would be full with `requests` of `bytes` more.
    pub(super) fn would_fill(&self, requests: usize, bytes: usize) -> bool {
        self.requests + requests >= PIPELINE_REQUESTS_MAX
            || self.bytes + bytes >= PIPELINE_BYTES_MAX
    }

    /// Adds requests of which none has an append: they are answered in their turn.
    pub(super) fn push_answered(&mut self, requests: Vec<Admitted>) {
        self.requests += requests.len();
        let state = State::Answered(Some(Vec::new()));
        let since = Instant::now();
        self.submissions.push_back(InFlight { requests, bytes: 0, since, state });
    }

    /// Adds requests with their appends, and makes the submission of them.
    pub(super) fn push(
        &mut self,
        requests: Vec<Admitted>,
        bytes: usize,
        appends: Vec<Append>,
        reserved: Reserved,
    ) -> Submission {
        let number = self.first + self.submissions.len() as u64;
        self.requests += requests.len();
        self.bytes += bytes;
        let (since, state) = (Instant::now(), State::Waits);
        self.submissions.push_back(InFlight { requests, bytes, since, state });
        let mut ticket = Ticket {
            number,
            finished: Arc::clone(&self.finished),
            answered: false,
            _reserved: reserved,
        };
        let reply = Box::new(move |results| ticket.answer(Some(results)));
        Submission { appends, reply }
    }

    /// Writes the answers that are next in order. While any are missing the connection is woken
    /// by the commit thread. Returns false if a request that wants no answer was refused.
    pub(super) fn poll_answers(
        &mut self,
        context: &mut Context<'_>,
        out: &mut Output,
        took: &Histogram,
    ) -> bool {
        if self.submissions.is_empty() {
            return true;
        }
        for (number, results) in self.finished.take(context.waker()) {
            let at = usize::try_from(number - self.first).expect("a number that was given out");
            self.submissions[at].state = State::Answered(results);
        }
        let mut fine = true;
        while let Some(InFlight { state: State::Answered(_), .. }) = self.submissions.front() {
            let submission = self.submissions.pop_front().expect("it was just seen");
            self.first += 1;
            self.requests -= submission.requests.len();
            self.bytes -= submission.bytes;
            took.observe(submission.since.elapsed(), submission.requests.len() as u64);
            fine &= submission.answer(out);
        }
        fine
    }
}

impl InFlight {
    fn answer(self, out: &mut Output) -> bool {
        let State::Answered(results) = self.state else { return true };
        let mut results = results.as_ref().map(|results| results.iter());
        let mut fine = true;
        for request in &self.requests {
            let result = match &mut results {
                Some(results) if request.appended => results.next(),
                _ => None,
            };
            let outcome = produce::answer(out.tail(), request, result);
            fine &= request.answered || outcome == Outcome::Taken;
        }
        fine
    }
}

impl Finished {
    fn take(&self, waker: &Waker) -> Vec<(u64, Option<Vec<AppendResult>>)> {
        let mut mailbox = self.0.lock();
        match &mut mailbox.waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        std::mem::take(&mut mailbox.results)
    }

    fn put(&self, number: u64, results: Option<Vec<AppendResult>>) {
        let waker = {
            let mut mailbox = self.0.lock();
            mailbox.results.push((number, results));
            mailbox.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Ticket {
    fn answer(&mut self, results: Option<Vec<AppendResult>>) {
        self.answered = true;
        self.finished.put(self.number, results);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.answered {
            self.answer(None);
        }
    }
}
