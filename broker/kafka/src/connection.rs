//! One client's connection: one task.
//!
//! ```text
//! socket ─> Input ─ frames ─┬─ Produce ──> Pipeline ──> engine.submit ──┐ (commit thread)
//!                           │                 ^───── completions, one wake a round ──┘
//!                           └─ others, one at a time, once the pipeline is empty
//! Output <── responses in the order of requests ── socket
//! ```
//! Everything that one read from the socket brought becomes one submission, and everything that
//! is answered goes out in one write.
//!
//! Invariant: responses leave in the order of their requests.
//! Invariant: a request other than Produce is not looked at before every earlier Produce of the
//! connection is answered, so that a client reads its own writes.

mod input;
mod output;
mod pipeline;
#[cfg(test)]
mod tests;

pub(crate) use output::Output;

use crate::answer::{self, Client};
use crate::apis::{Api, ApiKey};
use crate::door::Shared;
use crate::errors;
use crate::limits::{
    CONTROL_FRAME_BYTES_MAX, FRAME_BYTES_FREE, FRAME_BYTES_MAX, LOGIN_MESSAGE_BYTES_MAX,
    OUTPUT_BYTES_MAX, RESERVE_BYTES_MAX, SUBMISSION_BYTES_MAX, VALIDATE_INLINE_BYTES_MAX,
};
use crate::produce::{self, Admission, Admitted};
use crate::quotas::Flow;
use crate::request::{self, Head};
use crate::wire::Malformed;
use anabranch_engine::{Append, Catalog, Guarded, Operation};
use anabranch_net::Stream;
use anabranch_net::noise::may_say;
use anabranch_types::Timestamp;
use bytes::{BufMut, Bytes};
use input::{Arrived, Input};
use pipeline::Pipeline;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

/// How long answers may take to leave once the broker stops.
const DRAIN: Duration = Duration::from_secs(5);

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Close {
    #[error("the client closed it")]
    ByClient,
    #[error("the socket failed: {0}")]
    Socket(#[from] std::io::Error),
    #[error("{0}")]
    Malformed(#[from] Malformed),
    #[error("a request of {bytes} bytes: at most {max} are taken")]
    TooLarge { bytes: usize, max: usize },
    #[error("a record with acks=0 was refused")]
    Unanswerable,
    #[error("the login failed")]
    LoginFailed,
    #[error("nothing moved for {0:?}")]
    Idle(Duration),
    #[error("the broker is stopping")]
    Stopping,
    #[error("a response could not be encoded: {0}")]
    Encode(String),
}

pub(crate) struct Connection {
    stream: Stream,
    shared: Arc<Shared>,
    client: Client,
    input: Input,
    pipeline: Pipeline,
    output: Output,
    /// What one read brought, before it is submitted.
    batch: Batch,
    large: Large,
    /// Until when nothing is read, for the client is beyond its quota (KIP-219).
    muted: Option<Pin<Box<Sleep>>>,
    /// Set when no more requests are taken; what was taken is still answered.
    closing: Option<Close>,
}

/// A large frame's share of the budget that all connections have for them.
enum Large {
    None,
    Asking(Pin<Box<dyn Future<Output = OwnedSemaphorePermit> + Send>>),
    /// The frame may be read.
    Arriving(OwnedSemaphorePermit),
    /// The frame was taken; the share goes back once it is answered.
    Taken(#[allow(dead_code)] OwnedSemaphorePermit),
}

#[derive(Default)]
struct Batch {
    appends: Vec<Append>,
    requests: Vec<Admitted>,
    bytes: usize,
}

enum Step {
    /// Produce requests are in the batch.
    Submit,
    /// A request to be answered on its own; nothing is before it.
    Answer(Bytes),
    /// A bare message of a login.
    LogIn(Bytes),
}

impl Connection {
    /// Serves `stream`; `client` says who is there and what the broker is called to it.
    pub(crate) fn new(stream: Stream, client: Client, shared: Arc<Shared>) -> Self {
        Self {
            client,
            stream,
            shared,
            input: Input::default(),
            pipeline: Pipeline::default(),
            output: Output::default(),
            batch: Batch::default(),
            large: Large::None,
            muted: None,
            closing: None,
        }
    }

    /// Serves the client until either side ends.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let close = tokio::select! {
            biased;
            close = self.serve() => close,
            () = stop.cancelled() => {
                self.closing = Some(Close::Stopping);
                let drained = poll_fn(|context| self.poll_step(context));
                match tokio::time::timeout(DRAIN, drained).await {
                    Ok(Err(close)) => close,
                    Ok(Ok(_)) | Err(_) => Close::Stopping,
                }
            }
        };
        self.stream.goodbye().await;
        let peer = &self.client.peer;
        match close {
            Close::ByClient | Close::Stopping | Close::Idle(_) => {
                tracing::debug!(%peer, reason = %close, "connection closed");
            }
            Close::Socket(error) => tracing::debug!(%peer, %error, "connection lost"),
            Close::Malformed(_)
            | Close::TooLarge { .. }
            | Close::Unanswerable
            | Close::LoginFailed
            | Close::Encode(_) => {
                self.shared.metrics.refused.add(1);
                if may_say("connections closed for what they sent") {
                    let client = &self.client.software;
                    tracing::warn!(%peer, client = %client, reason = %close, "connection closed");
                }
            }
        }
    }

    async fn serve(&mut self) -> Close {
        let mut idle = std::pin::pin!(tokio::time::sleep(self.shared.settings.stall_timeout));
        let mut seen = self.moved();
        let mut since = Instant::now();
        loop {
            let step = tokio::select! {
                biased;
                step = poll_fn(|context| self.poll_step(context)) => step,
                () = &mut idle => {
                    if self.moved() != seen || self.muted.is_some() {
                        seen = self.moved();
                        since = Instant::now();
                    }
                    let patience = self.patience();
                    if since.elapsed() >= patience {
                        return Close::Idle(patience);
                    }
                    idle.as_mut().reset(Instant::now() + self.shared.settings.stall_timeout);
                    continue;
                }
            };
            let done = match step {
                Ok(Step::Submit) => {
                    self.submit().await;
                    Ok(())
                }
                Ok(Step::Answer(frame)) => self.answer(frame).await,
                Ok(Step::LogIn(message)) => self.log_in(&message).await,
                Err(close) => Err(close),
            };
            if let Err(close) = done {
                return close;
            }
        }
    }

    /// Counts what came and went; unchanged means that the connection is idle.
    fn moved(&self) -> u64 {
        self.input.bytes_read().wrapping_add(self.output.bytes_written())
    }

    /// A client in the middle of a request or response is given less time than an idle one.
    fn patience(&self) -> Duration {
        let settings = &self.shared.settings;
        if self.input.is_empty() && self.output.is_empty() {
            settings.idle_timeout
        } else {
            settings.stall_timeout
        }
    }

    /// Moves everything that can move without waiting.
    fn poll_step(&mut self, context: &mut Context<'_>) -> Poll<Result<Step, Close>> {
        loop {
            let took = &self.shared.metrics.produced;
            let fine = self.pipeline.poll_answers(context, &mut self.output, took);
            if !fine && self.closing.is_none() {
                self.closing = Some(Close::Unanswerable);
            }
            let answered = self.pipeline.is_empty() && self.batch.requests.is_empty();
            if answered && matches!(self.large, Large::Taken(_)) {
                self.large = Large::None;
            }
            let written = self.output.poll_write(context, &mut self.stream)?;
            self.shared.metrics.bytes_out.add(written as u64);
            if self.closing.is_some() {
                return self.poll_close();
            }
            if let Some(muted) = &mut self.muted {
                ready!(muted.as_mut().poll(context));
                self.muted = None;
            }
            if let Some(step) = self.take_frames()? {
                return Poll::Ready(Ok(step));
            }
            if self.closing.is_some() {
                continue;
            }
            if !self.may_read(context) {
                return Poll::Pending;
            }
            match ready!(self.input.poll_read(context, &mut self.stream)?) {
                0 => return Poll::Ready(Err(Close::ByClient)),
                bytes => self.shared.metrics.bytes_in.add(bytes as u64),
            }
        }
    }

    /// Ends once everything that was taken is answered and sent.
    fn poll_close(&mut self) -> Poll<Result<Step, Close>> {
        if self.pipeline.is_empty() && self.output.is_empty() {
            let close = self.closing.take().unwrap_or(Close::ByClient);
            return Poll::Ready(Err(close));
        }
        Poll::Pending
    }

    /// Whether more is to be read now; if not, a waker is set for what has to happen first.
    fn may_read(&mut self, context: &mut Context<'_>) -> bool {
        if self.pipeline.is_full() || self.output.bytes() > OUTPUT_BYTES_MAX {
            return false;
        }
        // A whole frame is there that waits for the pipeline or for the output to drain.
        if self.input.is_waiting() {
            return false;
        }
        let begun = self.input.peek().is_some_and(|next| next.bytes > FRAME_BYTES_FREE);
        match &mut self.large {
            Large::None | Large::Arriving(_) => true,
            Large::Taken(_) => !begun,
            Large::Asking(asking) => match asking.as_mut().poll(context) {
                Poll::Pending => false,
                Poll::Ready(permit) => {
                    self.large = Large::Arriving(permit);
                    true
                }
            },
        }
    }

    /// Takes whole frames out of the input, as far as they may be taken now.
    fn take_frames(&mut self) -> Result<Option<Step>, Close> {
        if self.client.sends_bare_messages() {
            return Ok(self.input.take_bare(LOGIN_MESSAGE_BYTES_MAX)?.map(Step::LogIn));
        }
        let mut moment = None;
        loop {
            let full = self.pipeline.would_fill(self.batch.requests.len(), self.batch.bytes)
                || self.batch.bytes >= SUBMISSION_BYTES_MAX
                || self.muted.is_some();
            let arrived = if full { Arrived::Nothing } else { self.arrived()? };
            match arrived {
                Arrived::Nothing => break,
                Arrived::Frame(ApiKey::Produce) => {
                    let frame = self.take();
                    // All streams: whether one may be written to is asked when it is known.
                    let own = &self.shared.own;
                    let (catalog, now) = moment.get_or_insert_with(|| (own.catalog(), own.now()));
                    if let Err(malformed) = self.admit(catalog, *now, frame) {
                        self.closing = Some(malformed.into());
                        break;
                    }
                }
                Arrived::Frame(_) => {
                    let alone = self.batch.requests.is_empty()
                        && self.pipeline.is_empty()
                        && self.output.is_empty();
                    if alone {
                        return Ok(Some(Step::Answer(self.take())));
                    }
                    self.input.wait();
                    break;
                }
            }
        }
        Ok((!self.batch.requests.is_empty()).then_some(Step::Submit))
    }

    fn take(&mut self) -> Bytes {
        let frame = self.input.take();
        self.large = match std::mem::replace(&mut self.large, Large::None) {
            Large::Arriving(permit) if frame.len() > FRAME_BYTES_FREE => Large::Taken(permit),
            other => other,
        };
        frame
    }

    /// What the input starts with. A frame that is too large is refused by its length, before it
    /// has arrived.
    fn arrived(&mut self) -> Result<Arrived, Close> {
        let Some(next) = self.input.peek() else { return Ok(Arrived::Nothing) };
        let api = Api::find(next.api, next.version)?;
        let max = match api.key {
            ApiKey::Produce => FRAME_BYTES_MAX,
            _ => CONTROL_FRAME_BYTES_MAX,
        };
        if next.bytes > max {
            return Err(Close::TooLarge { bytes: next.bytes, max });
        }
        if next.is_whole {
            return Ok(Arrived::Frame(api.key));
        }
        if next.bytes > FRAME_BYTES_FREE && matches!(self.large, Large::None) {
            let budget = Arc::clone(&self.shared.large_frames);
            let kib = u32::try_from(next.bytes.div_ceil(1024)).unwrap_or(u32::MAX);
            self.large = Large::Asking(Box::pin(async move {
                budget.acquire_many_owned(kib).await.expect("the budget is never closed")
            }));
        }
        Ok(Arrived::Nothing)
    }

    fn admit(&mut self, catalog: &Catalog, now: Timestamp, frame: Bytes) -> Result<(), Malformed> {
        let head = Head::read(&frame)?;
        let body = frame.slice(head.body..);
        let engine = &self.shared.engine;
        let may_write =
            |what: Guarded<'_>| engine.check(Operation::Write, what).map_err(errors::denied);
        let admit = || {
            let mut admission = Admission::new(&may_write, catalog, &body, head.version, now);
            produce::walk(&body, head.version, &mut admission)?;
            Ok::<_, Malformed>(admission.finish(head.correlation))
        };
        let (mut request, append) =
            if frame.len() > VALIDATE_INLINE_BYTES_MAX { aside(admit) } else { admit() }?;
        if self.shared.quotas.is_set() {
            self.client.set_id(&frame[head.client.0..head.client.1]);
            let (user, id) = (self.client.user(), self.client.id.as_str());
            request.throttle = self.shared.quotas.record(Flow::Produced, user, id, frame.len());
            self.mute(request.throttle);
        }
        self.batch.bytes += frame.len();
        self.batch.appends.extend(append);
        self.batch.requests.push(request);
        Ok(())
    }

    /// Leaves the client alone for so long; what was taken from it is answered meanwhile.
    fn mute(&mut self, throttle: Option<Duration>) {
        if let Some(wait) = throttle {
            self.muted = Some(Box::pin(tokio::time::sleep(wait)));
        }
    }

    async fn submit(&mut self) {
        let mut batch = std::mem::take(&mut self.batch);
        if batch.requests.iter().any(|request| request.joining.is_some()) {
            produce::join(&self.shared.engine, &mut batch.requests, &mut batch.appends).await;
        }
        self.shared.metrics.requests[Api::position(ApiKey::Produce)]
            .add(batch.requests.len() as u64);
        let refused = batch.requests.iter().map(|request| request.faults.len() as u64).sum();
        self.shared.metrics.produce_refused.add(refused);
        if batch.appends.is_empty() {
            self.pipeline.push_answered(batch.requests);
            return;
        }
        let engine = &self.shared.engine;
        // Keys are hashed for keyed streams alone: those wait for their tables.
        let keyed = |append: &Append| append.parts.iter().any(|part| !part.key_hashes.is_empty());
        if engine.table_is_behind() && batch.appends.iter().any(keyed) {
            engine.table_room().await;
        }
        let bytes = batch.bytes.min(RESERVE_BYTES_MAX);
        let reserved = match engine.try_reserve(bytes) {
            Some(reserved) => reserved,
            None => engine.reserve(bytes).await,
        };
        let submission = self.pipeline.push(batch.requests, batch.bytes, batch.appends, reserved);
        self.shared.engine.submit(submission);
    }

    /// Answers a request other than Produce; watches for the client's end meanwhile, since some
    /// answers take minutes.
    async fn answer(&mut self, frame: Bytes) -> Result<(), Close> {
        let began = Instant::now();
        let (head, request) = request::decode(&frame)?;
        self.shared.metrics.requests[Api::position(head.api.key)].add(1);
        if head.client != (0, 0) {
            self.client.set_id(&frame[head.client.0..head.client.1]);
        }
        drop(frame);
        let answer =
            answer::answer(&self.shared, &mut self.client, &head, request, &mut self.output);
        let answered = tokio::select! {
            biased;
            answered = answer => answered,
            close = closed(&mut self.stream) => Err(close),
        };
        if head.api.key == ApiKey::Fetch {
            self.shared.metrics.fetched.observe(began.elapsed(), 1);
        }
        let throttle = self.client.throttle.take();
        self.mute(throttle);
        answered?;
        self.logged_in();
        Ok(())
    }

    /// Answers a message of a login that comes without a request around it.
    async fn log_in(&mut self, message: &Bytes) -> Result<(), Close> {
        let Some(answer) = answer::sasl::bare(&self.shared, &mut self.client, message).await else {
            return Err(Close::LoginFailed);
        };
        let out = self.output.tail();
        out.put_u32(u32::try_from(answer.len()).expect("messages of logins are short"));
        out.put_slice(&answer);
        self.logged_in();
        Ok(())
    }

    /// Goes on as whom a login has made the client, or ends if it has failed.
    fn logged_in(&mut self) {
        if let Some(session) = self.client.session.take() {
            session.principal().name().clone_into(&mut self.client.user);
            self.shared = self.shared.with(session);
        }
        if self.client.refused {
            self.closing = Some(Close::LoginFailed);
        }
    }
}

/// Runs heavy work so that this thread's other connections move on meanwhile.
pub(crate) fn aside<T>(work: impl FnOnce() -> T) -> T {
    use tokio::runtime::{Handle, RuntimeFlavor};
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

/// Completes when the client has closed the connection.
async fn closed(stream: &mut Stream) -> Close {
    match stream.closed().await {
        Ok(()) => Close::ByClient,
        Err(error) => Close::Socket(error),
    }
}
