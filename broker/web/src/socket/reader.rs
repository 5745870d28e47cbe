//! Reads requests; publishes what comes in one go as one submission.

use super::request::{Op, Refused, parse};
use super::writer::{Answer, Outgoing, answer_error, answer_head};
use super::{End, Incoming};
use crate::door::Door;
use crate::error::Failure;
use crate::event::NewEvent;
use crate::json::push_int;
use crate::limits::{MESSAGE_BYTES_MAX, MESSAGES_A_READ, REQUESTS_MAX, SILENCE_MAX};
use crate::login::Caller;
use crate::position::Begin;
use crate::publish::{Defaults, Prepared, prepare, reserve, stream_to_publish};
use anabranch_engine::{Append, Submission};
use anabranch_query::{LiveSpec, Start};
use futures::{FutureExt, StreamExt};
use std::sync::Arc;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// Events whose answer costs as much as another request does.
const EVENTS_A_PERMIT: usize = 64;

/// Bytes of appends that are submitted together.
const SUBMISSION_BYTES: usize = MESSAGE_BYTES_MAX;

pub(super) struct Reader {
    door: Arc<Door>,
    caller: Caller,
    stream: Incoming,
    outbox: UnboundedSender<Outgoing>,
    /// Bounds what waits for an answer, the outbox included.
    requests: Arc<Semaphore>,
    appends: Vec<Append>,
    append_bytes: usize,
    /// Whether a table follows any of the appends.
    is_keyed: bool,
    answers: Vec<Answer>,
}

impl Reader {
    pub(super) fn new(
        door: Arc<Door>,
        caller: Caller,
        stream: Incoming,
        outbox: UnboundedSender<Outgoing>,
        requests: Arc<Semaphore>,
    ) -> Self {
        let (appends, answers) = (Vec::new(), Vec::new());
        let (append_bytes, is_keyed) = (0, false);
        Self { door, caller, stream, outbox, requests, appends, append_bytes, is_keyed, answers }
    }

    /// Reads until there is a reason to stop.
    pub(super) async fn run(&mut self) -> End {
        loop {
            match tokio::time::timeout(SILENCE_MAX, self.stream.next()).await {
                Err(_) => return End::Close(CloseCode::Policy, "no sign of life".into()),
                Ok(None) => return End::Gone,
                Ok(Some(Err(error))) => return error.into(),
                Ok(Some(Ok(message))) => {
                    if let Err(end) = self.message(message).await {
                        return end;
                    }
                }
            }
            let drained = self.drain_ready().await;
            self.submit().await;
            if let Err(end) = drained {
                return end;
            }
        }
    }

    /// Reads to the end of a closing handshake; false if there was none.
    pub(super) async fn drain(&mut self) -> bool {
        let mut has_closed = false;
        while let Some(Ok(message)) = self.stream.next().await {
            has_closed |= message.is_close();
        }
        has_closed
    }

    pub(super) fn into_stream(self) -> Incoming {
        self.stream
    }

    /// Takes what has already arrived.
    async fn drain_ready(&mut self) -> Result<(), End> {
        for _ in 1..MESSAGES_A_READ {
            match self.stream.next().now_or_never() {
                None => break,
                Some(None) => return Err(End::Gone),
                Some(Some(Err(error))) => return Err(error.into()),
                Some(Some(Ok(message))) => self.message(message).await?,
            }
        }
        Ok(())
    }

    async fn message(&mut self, message: Message) -> Result<(), End> {
        match message {
            Message::Text(text) => {
                self.door.counts.messages_in.add(1);
                self.request(&text).await;
                Ok(())
            }
            Message::Binary(_) => {
                Err(End::Close(CloseCode::Unsupported, "requests are text messages".into()))
            }
            // Pings are answered, and closes confirmed, by the library as it reads on.
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => Ok(()),
        }
    }

    async fn request(&mut self, text: &str) {
        let request = match parse(text) {
            Ok(request) => request,
            Err(Refused { id, failure }) => return self.refuse(id, &failure).await,
        };
        let id = request.id;
        match request.op {
            Op::Publish { stream, events } => {
                let permit = self.permit(1 + events.len() / EVENTS_A_PERMIT).await;
                match self.prepare(&stream, events).await {
                    Ok(prepared) => self.publish(id, prepared, permit).await,
                    Err(failure) => {
                        self.door.counts.refused.add(1);
                        self.answer(answer_error(Some(id), &failure), permit);
                    }
                }
            }
            Op::Subscribe { stream, begin } => {
                let permit = self.permit(1).await;
                self.send(Outgoing::Subscribe { id, stream, begin, permit });
            }
            Op::SubscribeTable { table, filter, begin } => {
                let Some(start) = table_start(begin) else {
                    let failure = Failure::invalid("a table's subscription cannot begin at a time")
                        .hint("\"beginning\", \"now\", a position, or \"token:…\"");
                    return self.refuse(Some(id), &failure).await;
                };
                let permit = self.permit(1).await;
                let spec = LiveSpec { stream: table, filter, start };
                self.send(Outgoing::SubscribeTable { id, spec, permit });
            }
            Op::Unsubscribe { sub } => {
                let permit = self.permit(1).await;
                self.send(Outgoing::Unsubscribe { id, sub, permit });
            }
            Op::Ping => {
                let permit = self.permit(1).await;
                let mut frame = answer_head(id, "pong");
                frame.extend_from_slice(b",\"ts\":");
                push_int(&mut frame, self.caller.engine.now().0);
                frame.push(b'}');
                self.answer(frame, permit);
            }
        }
    }

    async fn prepare(
        &mut self,
        stream: &str,
        events: Vec<NewEvent<'_>>,
    ) -> Result<Prepared, Failure> {
        let engine = &self.caller.engine;
        let stream = stream_to_publish(engine, stream).await?;
        let defaults = Defaults { now: engine.now(), turn: self.door.turn() };
        prepare(&stream, events, defaults)
    }

    async fn publish(&mut self, id: u64, prepared: Prepared, permit: OwnedSemaphorePermit) {
        self.appends.extend(prepared.appends);
        self.append_bytes += prepared.bytes;
        self.is_keyed |= prepared.is_keyed;
        self.answers.push(Answer { id, pending: prepared.pending, permit });
        if self.append_bytes >= SUBMISSION_BYTES {
            self.submit().await;
        }
    }

    /// Hands the publishes read so far to the commit loop.
    async fn submit(&mut self) {
        if self.answers.is_empty() {
            return;
        }
        let bytes = std::mem::take(&mut self.append_bytes);
        let is_keyed = std::mem::take(&mut self.is_keyed);
        let reserved = reserve(&self.caller.engine, bytes, is_keyed).await;
        let (appends, answers) =
            (std::mem::take(&mut self.appends), std::mem::take(&mut self.answers));
        let outbox = self.outbox.clone();
        self.caller.engine.submit(Submission {
            appends,
            reply: Box::new(move |results| {
                // A slow reader of answers must not hold what others wait for.
                drop(reserved);
                // The connection may be gone: then nobody waits for the answer.
                _ = outbox.send(Outgoing::Published { answers, results });
            }),
        });
    }

    async fn refuse(&mut self, id: Option<u64>, failure: &Failure) {
        self.door.counts.refused.add(1);
        let permit = self.permit(1).await;
        self.answer(answer_error(id, failure), permit);
    }

    fn answer(&self, frame: Vec<u8>, permit: OwnedSemaphorePermit) {
        self.send(Outgoing::Answer { frame, permit });
    }

    fn send(&self, outgoing: Outgoing) {
        // The writer ends only together with us.
        _ = self.outbox.send(outgoing);
    }

    /// Waits until the connection may have another request, or one as heavy as several.
    async fn permit(&mut self, count: usize) -> OwnedSemaphorePermit {
        let count = count.min(REQUESTS_MAX) as u32;
        if let Ok(permit) = self.requests.clone().try_acquire_many_owned(count) {
            return permit;
        }
        // What is waited for may stand in what is not submitted yet.
        self.submit().await;
        let permit = self.requests.clone().acquire_many_owned(count).await;
        permit.expect("this semaphore is never closed")
    }
}

fn table_start(begin: Begin) -> Option<Start> {
    Some(match begin {
        Begin::Now => Start::Now,
        Begin::Beginning => Start::Beginning,
        Begin::Position(position) => Start::Offsets(position),
        Begin::Token(token) => Start::Resume(token),
        Begin::Time(_) => return None,
    })
}
