//! A connection's table subscriptions: live queries that wait, each for itself. One that has
//! something is taken only when the socket can have it; until then it holds a position.

use crate::frames::{begin_changes, push_change, push_progress, push_row};
use crate::json::push_comma;
use crate::limits::FRAME_BYTES;
use crate::login::Caller;
use anabranch_query::{Error, LiveBatch, LiveSpec, LiveTable, Phase};
use futures::StreamExt;
use futures::future::{AbortHandle, Abortable, BoxFuture, FutureExt};
use futures::stream::FuturesUnordered;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

/// How often a token is sent that nothing changed with.
const TOKEN_EVERY: Duration = Duration::from_secs(1);

/// What became of a subscription.
pub(super) enum Event {
    /// It was opened, or not.
    Opened { sub: u64, opened: Result<LiveTable, Error>, permit: OwnedSemaphorePermit },
    /// It has something, or is over.
    Next { followed: Box<Followed>, batch: Result<LiveBatch, Error> },
}

/// A subscription.
pub(super) struct Followed {
    pub(super) sub: u64,
    table: LiveTable,
    /// When a token was last sent.
    token_sent: Option<Instant>,
}

/// All of a connection's.
#[derive(Default)]
pub(super) struct Tables {
    waiting: FuturesUnordered<Abortable<BoxFuture<'static, Event>>>,
    /// By subscription, those that are being opened included.
    handles: BTreeMap<u64, AbortHandle>,
}

impl Tables {
    pub(super) fn len(&self) -> usize {
        self.handles.len()
    }

    pub(super) fn contains(&self, sub: u64) -> bool {
        self.handles.contains_key(&sub)
    }

    /// Starts a subscription; how that went comes as an event.
    pub(super) fn open(
        &mut self,
        caller: Caller,
        sub: u64,
        spec: LiveSpec,
        permit: OwnedSemaphorePermit,
    ) {
        let open = async move {
            let opened = match caller.sql() {
                Ok(sql) => LiveTable::open(&sql, spec).await,
                Err(error) => Err(error),
            };
            Event::Opened { sub, opened, permit }
        };
        self.wait(sub, open.boxed());
    }

    /// Goes on with a subscription that was opened.
    pub(super) fn follow(&mut self, sub: u64, table: LiveTable) {
        self.go_on(Box::new(Followed { sub, table, token_sent: None }));
    }

    /// Goes on with a subscription after an event.
    pub(super) fn go_on(&mut self, mut followed: Box<Followed>) {
        let sub = followed.sub;
        let next = async move {
            let batch = followed.table.next_batch().await;
            Event::Next { followed, batch }
        };
        self.wait(sub, next.boxed());
    }

    fn wait(&mut self, sub: u64, event: BoxFuture<'static, Event>) {
        let (handle, registration) = AbortHandle::new_pair();
        self.handles.insert(sub, handle);
        self.waiting.push(Abortable::new(event, registration));
    }

    /// Ends a subscription; false if there is none.
    pub(super) fn remove(&mut self, sub: u64) -> bool {
        let Some(handle) = self.handles.remove(&sub) else {
            return false;
        };
        handle.abort();
        true
    }

    /// The next event; never, if there is no subscription. Cancel-safe.
    pub(super) async fn next(&mut self) -> Event {
        loop {
            match self.waiting.next().await {
                Some(Ok(event)) => return event,
                Some(Err(_aborted)) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// The next event, if there is one by now.
    pub(super) fn ready(&mut self) -> Option<Event> {
        self.next().now_or_never()
    }
}

impl Followed {
    /// Encodes a batch, a message at a time; `None` after the last.
    pub(super) fn messages<'a>(&'a mut self, batch: &'a LiveBatch) -> Messages<'a> {
        Messages { followed: self, batch, at: 0, ended: false }
    }
}

/// Messages of one batch.
pub(super) struct Messages<'a> {
    followed: &'a mut Followed,
    batch: &'a LiveBatch,
    at: usize,
    ended: bool,
}

impl Iterator for Messages<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let changes = &self.batch.changes;
        if self.at < changes.len() {
            return Some(self.list());
        }
        if std::mem::replace(&mut self.ended, true) {
            return None;
        }
        match self.batch.phase {
            Phase::Snapshot => None,
            Phase::SnapshotEnd => Some(self.end_of_snapshot()),
            Phase::Live => {
                let is_due = |sent: Instant| sent.elapsed() >= TOKEN_EVERY;
                let due = changes.is_empty() && self.followed.token_sent.is_none_or(is_due);
                (due && self.batch.token.is_some()).then(|| self.list())
            }
        }
    }
}

impl Messages<'_> {
    /// As many changes as fit one message; with the last goes how far they are.
    fn list(&mut self) -> Vec<u8> {
        let Self { followed, batch, at, .. } = self;
        let is_live = batch.phase == Phase::Live;
        let mut frame = Vec::with_capacity(4 << 10);
        begin_changes(&mut frame, followed.sub, if is_live { "changes" } else { "rows" });
        while let Some(change) = batch.changes.get(*at)
            && frame.len() < FRAME_BYTES
        {
            push_comma(&mut frame);
            if is_live {
                push_change(&mut frame, &followed.table, change);
            } else {
                push_row(&mut frame, &followed.table, change);
            }
            *at += 1;
        }
        frame.push(b']');
        if is_live && *at == batch.changes.len() {
            push_progress(&mut frame, batch.round, batch.token.as_deref());
            followed.token_sent = Some(Instant::now());
        }
        frame.push(b'}');
        frame
    }

    fn end_of_snapshot(&mut self) -> Vec<u8> {
        let mut frame = b"{\"type\":\"snapshot_complete\",\"sub\":".to_vec();
        crate::json::push_uint(&mut frame, self.followed.sub);
        push_progress(&mut frame, self.batch.round, self.batch.token.as_deref());
        frame.push(b'}');
        self.followed.token_sent = Some(Instant::now());
        frame
    }
}
