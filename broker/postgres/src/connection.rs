//! A client's connection: reading messages, simple queries, sending rows.

use crate::door::Shared;
use crate::encode::{self, Format};
use crate::extended::{Portal, Stored};
use crate::limits::{FLUSH_BYTES, SMALL_BYTES};
use crate::out::{Out, Severity};
use crate::registry::Running;
use crate::startup;
use crate::wire::{self, Message, WireError};
use anabranch_net::{Peer, Place, Stream};
use anabranch_query::{Outcome, Rows, Session, SqlError, Statement, parse, sqlstate};
use bytes::BytesMut;
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum End {
    #[error("the client has gone")]
    Gone,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("the broker is shutting down")]
    Shutdown,
}

/// Why a message was not done.
pub(crate) enum Failure {
    /// The client is told, and the connection goes on.
    Sql(SqlError),
    End(End),
}

impl From<SqlError> for Failure {
    fn from(error: SqlError) -> Self {
        Self::Sql(error)
    }
}

impl From<End> for Failure {
    fn from(end: End) -> Self {
        Self::End(end)
    }
}

impl From<datafusion::arrow::error::ArrowError> for Failure {
    fn from(error: datafusion::arrow::error::ArrowError) -> Self {
        Self::Sql(error.into())
    }
}

/// A started connection.
pub(crate) struct Connection {
    socket: Stream,
    /// Who is there, as far as the connection tells.
    pub(crate) peer: Peer,
    input: BytesMut,
    pub(crate) out: Out,
    shared: Arc<Shared>,
    pub(crate) session: Session,
    running: Arc<Running>,
    /// Prepared statements by name; the unnamed one is "".
    pub(crate) statements: HashMap<String, Stored>,
    pub(crate) portals: HashMap<String, Portal>,
    /// After an error, messages are passed over until Sync (PostgreSQL 15, 55.2.3).
    skipping: bool,
}

/// Rows on their way to a client.
pub(crate) struct Sending {
    rows: Rows,
    formats: Vec<Format>,
    batch: Option<encode::Rows>,
    sent: u64,
    verb: &'static str,
}

impl Sending {
    pub(crate) fn new(rows: Rows, formats: Vec<Format>, verb: &'static str) -> Self {
        Self { rows, formats, batch: None, sent: 0, verb }
    }

    pub(crate) fn has_sent(&self, rows: u64) -> bool {
        self.sent >= rows
    }

    /// PostgreSQL 15, 55.7, CommandComplete.
    pub(crate) fn tag(&self) -> String {
        match self.verb {
            "SHOW" => "SHOW".to_owned(),
            verb => format!("{verb} {}", self.sent),
        }
    }
}

/// Serves a client until it leaves.
pub(crate) async fn run(
    socket: Stream,
    peer: Peer,
    shared: Arc<Shared>,
    place: Result<Place, String>,
) -> Result<(), End> {
    let Some(mut connection) = startup::start(socket, peer, shared, place.as_ref().err()).await?
    else {
        return Ok(());
    };
    tracing::debug!(peer = %connection.peer, "a PostgreSQL session began");
    let ended = connection.serve().await;
    connection.shared.registry.remove(connection.session.process_id());
    let told = match ended {
        Ok(()) | Err(End::Gone) => Ok(()),
        Err(End::Shutdown) => {
            connection.say_goodbye(SqlError::new(
                sqlstate::ADMIN_SHUTDOWN,
                "terminating connection: the broker is shutting down",
            ));
            connection.flush().await
        }
        Err(End::Wire(error)) => {
            connection.say_goodbye(SqlError::new("08P01", error.to_string()));
            connection.flush().await
        }
        Err(end) => Err(end),
    };
    connection.socket.goodbye().await;
    told
}

/// Reads what has come; an error at the end of the stream.
pub(crate) async fn read_more(socket: &mut Stream, input: &mut BytesMut) -> Result<(), End> {
    // Grows with what comes, not with what was announced.
    input.reserve(8 << 10);
    match socket.read_buf(input).await? {
        0 => Err(End::Gone),
        _ => Ok(()),
    }
}

impl Connection {
    pub(crate) fn new(
        socket: Stream,
        peer: Peer,
        input: BytesMut,
        out: Out,
        shared: Arc<Shared>,
        session: Session,
        running: Arc<Running>,
    ) -> Self {
        Self {
            socket,
            peer,
            input,
            out,
            shared,
            session,
            running,
            statements: HashMap::new(),
            portals: HashMap::new(),
            skipping: false,
        }
    }

    async fn serve(&mut self) -> Result<(), End> {
        loop {
            let shared = self.shared.clone();
            let (message, _share) = self.next_message(&shared).await?;
            let done = match message {
                Message::Terminate => return Ok(()),
                Message::Sync => {
                    self.skipping = false;
                    self.sync().await?;
                    self.flush().await?;
                    continue;
                }
                _ if self.skipping => continue,
                Message::Query(text) => {
                    self.simple_query(&text).await?;
                    continue;
                }
                Message::Flush => {
                    self.flush().await?;
                    continue;
                }
                Message::Parse { name, text, types } => self.parse(name, &text, types).await,
                Message::Bind(bind) => self.bind(bind),
                Message::Describe(target) => self.describe(&target),
                Message::Execute { portal, rows_max } => self.execute(&portal, rows_max).await,
                Message::Close(target) => {
                    self.close(&target);
                    Ok(())
                }
                // Behind a COPY that failed, they are of no interest (PostgreSQL 15, 55.2.6).
                Message::CopyData(_) | Message::CopyDone | Message::CopyFail(_) => Ok(()),
                Message::Stray => Ok(()),
            };
            match done {
                Ok(()) => {}
                Err(Failure::Sql(error)) => {
                    self.fail(&error);
                    self.skipping = true;
                    self.flush().await?;
                }
                Err(Failure::End(end)) => return Err(end),
            }
            if self.out.buffer.len() >= FLUSH_BYTES {
                self.flush().await?;
            }
        }
    }

    /// The next message; a large one comes with its share of the memory for large ones.
    pub(crate) async fn next_message<'s>(
        &mut self,
        shared: &'s Shared,
    ) -> Result<(Message, Option<tokio::sync::SemaphorePermit<'s>>), End> {
        let mut share = None;
        loop {
            if let Some(length) = wire::length(&self.input)? {
                if self.input.len() >= length {
                    return Ok((wire::take(&mut self.input, length)?, share));
                }
                if length > SMALL_BYTES && share.is_none() {
                    let kibibytes = u32::try_from(length.div_ceil(1024)).unwrap_or(u32::MAX);
                    let acquired = shared.large.acquire_many(kibibytes).await;
                    share = Some(acquired.map_err(|_| End::Shutdown)?);
                }
            }
            tokio::select! {
                more = read_more(&mut self.socket, &mut self.input) => more?,
                () = shared.shutdown.cancelled() => return Err(End::Shutdown),
            }
        }
    }

    pub(crate) async fn flush(&mut self) -> Result<(), End> {
        if !self.out.buffer.is_empty() {
            self.socket.write_all(&self.out.buffer).await?;
            self.socket.flush().await?;
            self.out.buffer.clear();
            // What one large result needed is not kept for ever.
            if self.out.buffer.capacity() > 4 * FLUSH_BYTES {
                self.out.buffer = BytesMut::new();
            }
        }
        Ok(())
    }

    fn say_goodbye(&mut self, error: SqlError) {
        self.out.error(Severity::Fatal, &error);
    }

    fn fail(&mut self, error: &SqlError) {
        if error.sqlstate == sqlstate::INTERNAL_ERROR {
            tracing::error!(error = error.message, "a statement failed");
        }
        self.out.error(Severity::Error, error);
        self.session.fail();
    }

    /// Whether the client's next message is Sync. No client waits for the answer to an Execute
    /// that it has not sent a Sync or Flush behind.
    pub(crate) async fn syncs_next(&mut self) -> Result<bool, End> {
        loop {
            if let Some(kind) = self.input.first() {
                return Ok(*kind == wire::SYNC);
            }
            let shared = self.shared.clone();
            tokio::select! {
                more = read_more(&mut self.socket, &mut self.input) => more?,
                () = shared.shutdown.cancelled() => return Err(End::Shutdown),
            }
        }
    }

    async fn sync(&mut self) -> Result<(), End> {
        let cancel = self.begin();
        match self.end_together(true, &cancel).await {
            Ok(()) => {}
            Err(Failure::Sql(error)) => self.fail(&error),
            Err(Failure::End(end)) => return Err(end),
        }
        // PostgreSQL 15, 55.2.3: portals live as long as their transaction.
        if self.session.transaction_state() == anabranch_query::TransactionState::None {
            self.portals.clear();
        }
        self.out.ready(self.session.transaction_state());
        Ok(())
    }

    async fn simple_query(&mut self, text: &str) -> Result<(), End> {
        self.portals.remove("");
        match self.statements_of(text).await {
            Ok(()) => {}
            Err(Failure::Sql(error)) => self.fail(&error),
            Err(Failure::End(end)) => return Err(end),
        }
        self.out.ready(self.session.transaction_state());
        self.flush().await
    }

    async fn statements_of(&mut self, text: &str) -> Result<(), Failure> {
        let cancel = self.running.begin();
        let known = async { Ok(self.session.execute_known(text).await) };
        let known = undisturbed(&mut self.socket, &self.shared, &cancel, known).await?;
        if let Some(done) = known {
            return self.tell(done?, false, true, &cancel).await;
        }
        let statements = parse(text)?;
        if statements.is_empty() {
            self.out.empty_query();
        }
        let (count, together) = (statements.len(), statements.len() > 1);
        for (number, statement) in statements.into_iter().enumerate() {
            self.forget(&statement);
            if together {
                self.session.begin_implicit();
            }
            let is_last = number + 1 == count;
            let preparing = self.session.prepare(statement, Vec::new());
            let prepared = undisturbed(&mut self.socket, &self.shared, &cancel, preparing).await?;
            let mut prepared = Arc::new(prepared);
            let executing = self.session.execute(&mut prepared, Vec::new());
            let outcome = undisturbed(&mut self.socket, &self.shared, &cancel, executing).await?;
            let has_oids = prepared.has_oids();
            self.tell(outcome, has_oids, is_last, &cancel).await?;
        }
        if count == 1 {
            let session = &mut self.session;
            let remembering = async {
                session.remember(text).await;
                Ok(())
            };
            undisturbed(&mut self.socket, &self.shared, &cancel, remembering).await?;
        }
        Ok(())
    }

    /// Tells what a statement of a simple query gave.
    async fn tell(
        &mut self,
        outcome: Outcome,
        has_oids: bool,
        is_last: bool,
        cancel: &CancellationToken,
    ) -> Result<(), Failure> {
        match outcome {
            Outcome::Done(done) => {
                self.end_together(is_last, cancel).await?;
                self.done(done);
            }
            Outcome::CopyOut(copy) => {
                self.end_together(is_last, cancel).await?;
                self.copy_out(copy, cancel).await?;
            }
            Outcome::CopyIn(copy) => self.copy_in(copy, cancel).await?,
            Outcome::Rows(rows, verb) => {
                let formats = vec![Format::Text; rows.schema().fields().len()];
                let mut sending = Sending::new(rows, formats, verb);
                // What fails at its first row has no columns to describe.
                self.fetch(&mut sending, cancel).await?;
                let schema = sending.rows.schema().clone();
                self.out.row_description(&schema, &sending.formats, has_oids);
                self.send(&mut sending, u64::MAX, cancel).await?;
                self.end_together(is_last, cancel).await?;
                self.out.complete(sending.tag());
            }
        }
        Ok(())
    }

    /// Commits what several statements of one text have written, before the last one is reported.
    async fn end_together(
        &mut self,
        is_last: bool,
        cancel: &CancellationToken,
    ) -> Result<(), Failure> {
        if !is_last {
            return Ok(());
        }
        let committing = self.session.commit_implicit();
        undisturbed(&mut self.socket, &self.shared, cancel, committing).await
    }

    /// Statements that were prepared are the door's to forget.
    pub(crate) fn forget(&mut self, statement: &Statement) {
        match statement.forgets() {
            anabranch_query::Forgets::Nothing => {}
            anabranch_query::Forgets::Prepared(name) => {
                self.statements.remove(name);
            }
            anabranch_query::Forgets::AllPrepared => self.statements.clear(),
        }
    }

    pub(crate) fn done(&mut self, done: anabranch_query::Done) {
        for notice in &done.notices {
            self.out.notice(notice);
        }
        for (name, value) in &done.reported {
            self.out.parameter(name, value);
        }
        self.out.complete(done.tag);
    }

    pub(crate) fn begin(&self) -> CancellationToken {
        self.running.begin()
    }

    /// What all connections share.
    pub(crate) fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    /// What planning and executing need, for [`undisturbed`].
    pub(crate) fn parts(&mut self) -> (&mut Stream, &Shared, &mut Session) {
        (&mut self.socket, &self.shared, &mut self.session)
    }

    /// Sends up to `rows_max` rows; whether there are no more.
    pub(crate) async fn send(
        &mut self,
        sending: &mut Sending,
        rows_max: u64,
        cancel: &CancellationToken,
    ) -> Result<bool, Failure> {
        let until = sending.sent.saturating_add(rows_max);
        loop {
            if !self.fetch(sending, cancel).await? {
                for notice in sending.rows.take_notices() {
                    self.out.notice(&notice);
                }
                return Ok(true);
            }
            let Some(batch) = sending.batch.as_mut() else {
                continue;
            };
            while !batch.is_empty() && self.out.buffer.len() < FLUSH_BYTES {
                if sending.sent >= until {
                    return Ok(false);
                }
                batch.put_next(&mut self.out.buffer)?;
                sending.sent += 1;
            }
            if batch.is_empty() {
                sending.batch = None;
            }
            if self.out.buffer.len() >= FLUSH_BYTES {
                self.flush().await?;
                if cancel.is_cancelled() {
                    return Err(cancelled().into());
                }
            }
        }
    }

    /// Has a batch at hand, unless there is none.
    async fn fetch(
        &mut self,
        sending: &mut Sending,
        cancel: &CancellationToken,
    ) -> Result<bool, Failure> {
        while sending.batch.is_none() {
            let next = undisturbed(&mut self.socket, &self.shared, cancel, sending.rows.next());
            let Some(batch) = next.await? else {
                return Ok(false);
            };
            let rows = encode::Rows::new(&batch, &sending.formats)?;
            sending.batch = (!rows.is_empty()).then_some(rows);
        }
        Ok(true)
    }
}

/// Does `work`, unless the client cancels it or goes, or the broker stops.
pub(crate) async fn undisturbed<T>(
    socket: &mut Stream,
    shared: &Shared,
    cancel: &CancellationToken,
    work: impl Future<Output = Result<T, SqlError>>,
) -> Result<T, Failure> {
    tokio::select! {
        biased;
        done = work => done.map_err(Failure::Sql),
        () = cancel.cancelled() => Err(cancelled().into()),
        // An error means the same: the client has gone.
        _ = socket.closed() => Err(End::Gone.into()),
        () = shared.shutdown.cancelled() => Err(End::Shutdown.into()),
    }
}

pub(crate) fn cancelled() -> SqlError {
    SqlError::new(sqlstate::QUERY_CANCELED, "canceling statement due to user request")
}
