//! Writes answers, and whatever subscriptions have, as fast as the socket takes it.
//!
//! Invariant: the log is read for a connection only when its socket has taken all that was read
//! before; so a slow reader holds one step, and everybody else nothing of its.

use super::tables::{Event, Tables};
use super::{Counted, End, Sending};
use crate::door::{CatalogChanges, Door};
use crate::error::{Code, Failure};
use crate::follow::Follower;
use crate::frames::Frames;
use crate::json::{push_string, push_uint};
use crate::limits::{MESSAGE_BYTES_MAX, PING_EVERY, REQUESTS_MAX};
use crate::login::Caller;
use crate::position::Begin;
use crate::publish::Pending;
use anabranch_engine::{AppendResult, ErrorKind, Interest, Mode, Stream};
use anabranch_query::LiveSpec;
use futures::SinkExt;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

/// What the reader hands over. The permit is given back when the answer has been encoded.
pub(super) enum Outgoing {
    /// An answer.
    Answer { frame: Vec<u8>, permit: OwnedSemaphorePermit },
    /// What became of publishes that were submitted together.
    Published { answers: Vec<Answer>, results: Vec<AppendResult> },
    /// Follow a stream.
    Subscribe { id: u64, stream: String, begin: Begin, permit: OwnedSemaphorePermit },
    /// Follow a table.
    SubscribeTable { id: u64, spec: LiveSpec, permit: OwnedSemaphorePermit },
    /// Stop following.
    Unsubscribe { id: u64, sub: u64, permit: OwnedSemaphorePermit },
}

/// A publish that waits for its answer.
pub(super) struct Answer {
    pub(super) id: u64,
    pub(super) pending: Pending,
    pub(super) permit: OwnedSemaphorePermit,
}

pub(super) struct Writer {
    door: Arc<Door>,
    caller: Caller,
    sink: Sending,
    inbox: UnboundedReceiver<Outgoing>,
    streams: Vec<StreamSubscription>,
    /// The stream subscription whose turn it is.
    turn: usize,
    tables: Tables,
    tables_counted: Vec<(u64, Counted)>,
    /// Advances of the streams' partitions; none while there are no streams.
    interest: Option<Interest>,
    interest_is_stale: bool,
    catalog: CatalogChanges,
    ping: Interval,
    /// Whether something was written since the last flush.
    is_dirty: bool,
}

struct StreamSubscription {
    sub: u64,
    follower: Follower,
    _open: Counted,
}

impl Writer {
    pub(super) fn new(
        door: Arc<Door>,
        caller: Caller,
        sink: Sending,
        inbox: UnboundedReceiver<Outgoing>,
    ) -> Self {
        let catalog = door.catalog.clone();
        let mut ping = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            door,
            caller,
            sink,
            inbox,
            streams: Vec::new(),
            turn: 0,
            tables: Tables::default(),
            tables_counted: Vec::new(),
            interest: None,
            interest_is_stale: false,
            catalog,
            ping,
            is_dirty: false,
        }
    }

    /// Writes until the connection fails.
    pub(super) async fn run(&mut self) -> End {
        match self.write_all().await {
            Err(error) => error.into(),
            Ok(never) => match never {},
        }
    }

    /// Says goodbye.
    pub(super) async fn close(&mut self, frame: CloseFrame) -> Result<(), Error> {
        self.sink.send(Message::Close(Some(frame))).await
    }

    pub(super) fn into_sink(self) -> Sending {
        self.sink
    }

    async fn write_all(&mut self) -> Result<std::convert::Infallible, Error> {
        let hello = hello(&self.door);
        self.feed(hello).await?;
        loop {
            while let Ok(outgoing) = self.inbox.try_recv() {
                self.answer(outgoing).await?;
            }
            let more = self.step_streams().await? | self.step_tables().await?;
            if std::mem::take(&mut self.is_dirty) {
                self.sink.flush().await?;
            }
            if !more {
                self.wait().await?;
            }
        }
    }

    /// Waits for anything to do.
    async fn wait(&mut self) -> Result<(), Error> {
        let event = tokio::select! {
            // Without a reader the connection is ending: it is our caller who says how.
            outgoing = self.inbox.recv() => match outgoing {
                Some(outgoing) => return self.answer(outgoing).await,
                None => return std::future::pending().await,
            },
            event = self.tables.next() => event,
            () = advance(self.interest.as_mut()) => return Ok(()),
            () = self.catalog.changed(), if !self.streams.is_empty() => return Ok(()),
            _ = self.ping.tick() => {
                self.is_dirty = true;
                return self.sink.feed(Message::Ping(Default::default())).await;
            }
        };
        self.table_event(event).await
    }

    async fn feed(&mut self, frame: Vec<u8>) -> Result<(), Error> {
        self.is_dirty = true;
        self.door.counts.messages_out.add(1);
        self.door.counts.bytes_out.add(frame.len() as u64);
        self.sink.feed(Message::Text(text(frame))).await
    }

    async fn answer(&mut self, outgoing: Outgoing) -> Result<(), Error> {
        match outgoing {
            Outgoing::Answer { frame, permit } => {
                drop(permit);
                self.feed(frame).await
            }
            Outgoing::Published { answers, results } => self.published(answers, &results).await,
            Outgoing::Subscribe { id, stream, begin, permit } => {
                let frame = match self.subscribe(id, &stream, begin).await {
                    Ok(frame) => frame,
                    Err(failure) => self.refusal(id, &failure),
                };
                drop(permit);
                self.feed(frame).await
            }
            Outgoing::SubscribeTable { id, spec, permit } => match self.check_room(id) {
                Ok(()) => {
                    self.tables.open(self.caller.clone(), id, spec, permit);
                    Ok(())
                }
                Err(failure) => {
                    drop(permit);
                    let frame = self.refusal(id, &failure);
                    self.feed(frame).await
                }
            },
            Outgoing::Unsubscribe { id, sub, permit } => {
                let frame = self.unsubscribe(id, sub);
                drop(permit);
                self.feed(frame).await
            }
        }
    }

    async fn published(
        &mut self,
        answers: Vec<Answer>,
        results: &[AppendResult],
    ) -> Result<(), Error> {
        let mut results = results;
        for Answer { id, pending, permit } in answers {
            let count = pending.appends_count().min(results.len());
            let (own, rest) = results.split_at(count);
            results = rest;
            let frame = match pending.answer(own) {
                Ok(acknowledged) => {
                    self.door.counts.events_published.add(acknowledged.places.len() as u64);
                    let mut frame = answer_head(id, "published");
                    frame.push(b',');
                    acknowledged.push_fields(&mut frame);
                    frame.push(b'}');
                    frame
                }
                Err(failure) => self.refusal(id, &failure),
            };
            drop(permit);
            self.feed(frame).await?;
        }
        Ok(())
    }

    fn refusal(&self, id: u64, failure: &Failure) -> Vec<u8> {
        self.door.counts.refused.add(1);
        answer_error(Some(id), failure)
    }

    fn check_room(&self, id: u64) -> Result<(), Failure> {
        if self.tables.contains(id) || self.streams.iter().any(|stream| stream.sub == id) {
            return Err(Failure::invalid(format!("subscription {id} exists"))
                .hint("unsubscribe it first, or use another id"));
        }
        let max = self.door.settings.limits.subscriptions_max;
        if self.tables.len() + self.streams.len() >= max {
            return Err(Failure::new(
                Code::TooMany,
                format!("a connection has at most {max} subscriptions"),
            )
            .hint("unsubscribe some, or open another connection"));
        }
        Ok(())
    }

    async fn subscribe(&mut self, id: u64, name: &str, begin: Begin) -> Result<Vec<u8>, Failure> {
        self.check_room(id)?;
        let follower = Follower::open(&self.caller.engine, name, begin, None).await?;
        let mut frame = subscribed(id, "stream", follower.stream());
        frame.extend_from_slice(b",\"position\":");
        push_string(&mut frame, &follower.position());
        frame.push(b'}');
        let open = Counted::new(&self.door, |door| &door.counts.subscriptions);
        self.streams.push(StreamSubscription { sub: id, follower, _open: open });
        self.interest_is_stale = true;
        Ok(frame)
    }

    fn unsubscribe(&mut self, id: u64, sub: u64) -> Vec<u8> {
        if !self.end_stream(sub) && !self.end_table(sub) {
            return self.refusal(id, &Failure::invalid(format!("there is no subscription {sub}")));
        }
        let mut frame = answer_head(id, "unsubscribed");
        frame.extend_from_slice(b",\"sub\":");
        push_uint(&mut frame, sub);
        frame.push(b'}');
        frame
    }

    fn end_stream(&mut self, sub: u64) -> bool {
        let before = self.streams.len();
        self.streams.retain(|stream| stream.sub != sub);
        let ended = self.streams.len() < before;
        self.interest_is_stale |= ended;
        ended
    }

    fn end_table(&mut self, sub: u64) -> bool {
        self.tables_counted.retain(|(counted, _)| *counted != sub);
        self.tables.remove(sub)
    }

    /// One step of one stream's subscription; false if none has anything.
    async fn step_streams(&mut self) -> Result<bool, Error> {
        for _ in 0..self.streams.len() {
            self.renew_interest();
            if self.streams.is_empty() {
                break;
            }
            let at = self.turn % self.streams.len();
            self.turn = at + 1;
            let subscription = &mut self.streams[at];
            let sub = subscription.sub;
            match subscription.follower.refresh() {
                Ok(grown) => self.interest_is_stale |= grown,
                Err(failure) => {
                    self.ended(sub, &failure).await?;
                    continue;
                }
            }
            if !subscription.follower.is_behind() {
                continue;
            }
            let (frames, stepped) = subscription.follower.step(Frames::new(sub)).await;
            self.door.counts.events_delivered.add(frames.events);
            for frame in frames.finished {
                self.feed(frame).await?;
            }
            match stepped {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(failure) => self.ended(sub, &failure).await?,
            }
        }
        self.renew_interest();
        Ok(false)
    }

    /// Registers for the partitions of all streams. Before they are read: so nothing is missed.
    fn renew_interest(&mut self) {
        if !std::mem::take(&mut self.interest_is_stale) {
            return;
        }
        let mut partitions: Vec<_> =
            self.streams.iter().flat_map(|stream| stream.follower.partition_ids()).collect();
        partitions.sort_unstable();
        partitions.dedup();
        self.interest = (!partitions.is_empty()).then(|| self.caller.engine.interest(&partitions));
    }

    /// One batch of one table's subscription; false if none has anything.
    async fn step_tables(&mut self) -> Result<bool, Error> {
        match self.tables.ready() {
            None => Ok(false),
            Some(event) => self.table_event(event).await.map(|()| true),
        }
    }

    async fn table_event(&mut self, event: Event) -> Result<(), Error> {
        match event {
            Event::Opened { sub, opened, permit } => {
                let frame = match opened {
                    Ok(table) => {
                        let mut frame = subscribed(sub, "table", table.stream());
                        frame.push(b'}');
                        let open = Counted::new(&self.door, |door| &door.counts.subscriptions);
                        self.tables_counted.push((sub, open));
                        self.tables.follow(sub, table);
                        frame
                    }
                    Err(error) => {
                        self.tables.remove(sub);
                        self.refusal(sub, &error.into())
                    }
                };
                drop(permit);
                self.feed(frame).await
            }
            Event::Next { followed, batch: Err(error) } => {
                self.ended(followed.sub, &error.into()).await
            }
            Event::Next { mut followed, batch: Ok(batch) } => {
                self.door.counts.changes_delivered.add(batch.changes.len() as u64);
                for frame in followed.messages(&batch) {
                    self.feed(frame).await?;
                }
                drop(batch);
                self.tables.go_on(followed);
                Ok(())
            }
        }
    }

    /// Tells that a subscription is over.
    async fn ended(&mut self, sub: u64, failure: &Failure) -> Result<(), Error> {
        _ = self.end_stream(sub) || self.end_table(sub);
        let mut frame = b"{\"type\":\"error\",\"sub\":".to_vec();
        push_uint(&mut frame, sub);
        frame.extend_from_slice(b",\"ended\":true,\"error\":");
        failure.push_object(&mut frame);
        frame.push(b'}');
        self.feed(frame).await
    }
}

async fn advance(interest: Option<&mut Interest>) {
    match interest {
        Some(interest) => interest.changed().await,
        None => std::future::pending().await,
    }
}

fn hello(door: &Door) -> Vec<u8> {
    let mut frame = b"{\"type\":\"hello\",\"protocol\":1,\"limits\":{".to_vec();
    let limits = [
        ("message_bytes_max", MESSAGE_BYTES_MAX),
        ("subscriptions_max", door.settings.limits.subscriptions_max),
        ("requests_max", REQUESTS_MAX),
    ];
    for (number, (name, value)) in limits.into_iter().enumerate() {
        if number > 0 {
            frame.push(b',');
        }
        push_string(&mut frame, name);
        frame.push(b':');
        push_uint(&mut frame, value as u64);
    }
    frame.extend_from_slice(b"}}");
    frame
}

/// The beginning of an answer: `{"id":1,"type":"…"`.
pub(super) fn answer_head(id: u64, kind: &str) -> Vec<u8> {
    let mut frame = b"{\"id\":".to_vec();
    push_uint(&mut frame, id);
    frame.extend_from_slice(b",\"type\":");
    push_string(&mut frame, kind);
    frame
}

/// An error as the answer to a request, or to a message that was none.
pub(super) fn answer_error(id: Option<u64>, failure: &Failure) -> Vec<u8> {
    let mut frame = match id {
        Some(id) => answer_head(id, "error"),
        None => b"{\"type\":\"error\"".to_vec(),
    };
    frame.extend_from_slice(b",\"error\":");
    failure.push_object(&mut frame);
    frame.push(b'}');
    frame
}

fn subscribed(id: u64, field: &str, stream: &Stream) -> Vec<u8> {
    let mut frame = answer_head(id, "subscribed");
    frame.push(b',');
    push_string(&mut frame, field);
    frame.push(b':');
    push_string(&mut frame, &stream.name);
    frame.extend_from_slice(match stream.mode {
        Mode::Append => b",\"mode\":\"append\"",
        Mode::Upsert => b",\"mode\":\"upsert\"",
    });
    frame
}

/// What we write is UTF-8, so this only checks; a row of the query layer that is not would be its
/// bug, and must not end the connection.
fn text(frame: Vec<u8>) -> Utf8Bytes {
    Utf8Bytes::try_from(frame).unwrap_or_else(|error| {
        tracing::error!("a message is not UTF-8: {error}");
        let failure = Failure::new(
            Code::Engine(ErrorKind::Internal),
            "a message could not be encoded as text and was left out",
        );
        let frame = String::from_utf8_lossy(&answer_error(None, &failure)).into_owned();
        Utf8Bytes::from(frame)
    })
}
