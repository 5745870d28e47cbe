//! Transactions.
//!
//! BEGIN to COMMIT is a snapshot: all reads have one cut, taken by the first of them, and see what
//! the transaction itself has written since. Writes are kept until COMMIT and then appended
//! together, in one round or none, on condition that nobody has written their keys since the cut;
//! a conflict is 40001. Until then nobody else sees them.
//!
//! Definitions belong to it too: the transaction alone sees what it has created, altered or dropped,
//! until COMMIT puts it in force in the round of its writes. If somebody else has changed the same
//! stream meanwhile, that is a conflict as well.
//!
//! Several statements that come as one text, or before one Sync, are a transaction of their own, as
//! in PostgreSQL (55.2.2.1, 55.2.3), but one that COPY FROM, TRUNCATE, and what cannot be undone
//! divide: what stands before these is committed first.

use super::{Done, Outcome, Session};
use crate::error::{Error, sqlstate};
use crate::execute::Execution;
use crate::limits::LOCKED_ROWS_MAX;
use crate::pending::{Mark, Pending};
use crate::plan::LockPlan;
use crate::snapshot::Snapshot;
use crate::sql::Sql;
use crate::statement::{SessionStatement, SetValue};
use crate::write::WritePlan;
use anabranch_engine::{Cut, Draft, DraftMark};
use datafusion::arrow::array::AsArray;
use datafusion::scalar::ScalarValue;
use std::sync::Arc;

/// Most savepoints of one transaction.
const SAVEPOINTS_MAX: usize = 64;

/// Bytes of writes that are committed where the connection is served.
const COMMIT_HERE_BYTES: usize = 64 << 10;

/// Where a session's transaction stands, for `ReadyForQuery`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionState {
    /// There is none.
    None,
    /// It is open.
    Open,
    /// A statement failed: it can only be rolled back.
    Failed,
}

/// An open transaction.
pub(super) struct Transaction {
    pub(super) failed: bool,
    /// Nobody said BEGIN.
    pub(super) implicit: bool,
    read_only: bool,
    cut: Option<Cut>,
    /// What it has written. Queries that still run keep what was written when they began.
    pending: Arc<Pending>,
    definitions: Option<Definitions>,
    savepoints: Vec<Savepoint>,
    /// What SET LOCAL changed.
    restore: Vec<(String, String)>,
}

/// What a transaction has defined.
struct Definitions {
    draft: Draft,
    /// What the session has spoken to until then.
    before: Arc<Sql>,
}

struct Savepoint {
    name: String,
    pending: Mark,
    /// `None`: nothing was defined yet.
    definitions: Option<DraftMark>,
}

impl Transaction {
    fn new(read_only: bool, sql: &Sql) -> Self {
        Self {
            failed: false,
            implicit: false,
            read_only,
            cut: None,
            pending: Arc::new(Pending::counted(sql)),
            definitions: None,
            savepoints: Vec::new(),
            restore: Vec::new(),
        }
    }

    /// What its next statement sees.
    pub(super) async fn snapshot(&mut self, execution: &Execution) -> Result<Snapshot, Error> {
        let cut = match &self.cut {
            Some(cut) => cut.clone(),
            None => self.cut.insert(Box::pin(execution.new_cut()).await?).clone(),
        };
        Ok(Snapshot::within(cut, self.pending.clone()))
    }

    /// What there is now, and what the transaction has written: a definition has to hold for it.
    pub(super) async fn newest(&self, execution: &Execution) -> Result<Snapshot, Error> {
        Ok(Snapshot::within(execution.new_cut().await?, self.pending.clone()))
    }

    fn savepoint(&self, name: String) -> Savepoint {
        let definitions = self.definitions.as_ref();
        Savepoint {
            name,
            pending: self.pending.mark(),
            definitions: definitions.map(|definitions| definitions.draft.mark()),
        }
    }

    fn go_back(&mut self, at: usize) {
        self.savepoints.truncate(at + 1);
        let Some(savepoint) = self.savepoints.last() else { return };
        Arc::make_mut(&mut self.pending).go_back(savepoint.pending);
        match (&self.definitions, &savepoint.definitions) {
            (Some(Definitions { draft, .. }), Some(mark)) => draft.go_back(mark.clone()),
            (Some(Definitions { draft, .. }), None) => draft.clear(),
            (None, _) => {}
        }
        self.failed = false;
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.read_only
    }

    pub(super) fn check_writable(&self, verb: &str) -> Result<(), Error> {
        if !self.read_only {
            return Ok(());
        }
        Err(read_only(verb))
    }

    /// Adds what a statement of it has written.
    pub(super) fn absorb(&mut self, statement: Pending) -> Result<(), Error> {
        Arc::make_mut(&mut self.pending).absorb(statement)
    }

    pub(super) fn restore_later(&mut self, name: &str, before: String) {
        if self.restore.iter().all(|(restored, _)| restored != name) {
            self.restore.push((name.to_owned(), before));
        }
    }
}

impl Session {
    /// Whether a transaction is open, whoever began it.
    #[must_use]
    pub fn is_in_transaction(&self) -> bool {
        self.transaction.is_some()
    }

    /// Begins the transaction of several statements, unless there is one.
    pub fn begin_implicit(&mut self) {
        if self.transaction.is_none() {
            let read_only = self.settings.is_read_only();
            self.transaction =
                Some(Transaction { implicit: true, ..Transaction::new(read_only, &self.sql) });
        }
    }

    /// Commits what [`Self::begin_implicit`] has begun, unless it was made a transaction by BEGIN.
    ///
    /// # Errors
    /// 40001 as COMMIT; nothing was written.
    pub async fn commit_implicit(&mut self) -> Result<(), Error> {
        match &mut self.transaction {
            Some(transaction) if transaction.implicit => self.commit().await,
            _ => Ok(()),
        }
    }

    /// Sees to it that what is defined from here on belongs to the open transaction, if there is
    /// one.
    pub(super) fn begin_definitions(&mut self, verb: &str) -> Result<(), Error> {
        let Some(transaction) = &mut self.transaction else {
            return if self.settings.is_read_only() { Err(read_only(verb)) } else { Ok(()) };
        };
        transaction.check_writable(verb)?;
        if transaction.definitions.is_none() {
            let draft = self.sql.engine().begin_draft();
            let sql = self.sql.of(draft.session().clone())?;
            transaction.cut = transaction.cut.take().map(|cut| cut.of(draft.session().clone()));
            let before = std::mem::replace(&mut self.sql, sql);
            transaction.definitions = Some(Definitions { draft, before });
        }
        Ok(())
    }

    /// Executes a statement that writes: at once, or at COMMIT where a transaction is open.
    pub(super) async fn write(
        &mut self,
        plan: Arc<WritePlan>,
        parameters: Vec<ScalarValue>,
    ) -> Result<Outcome, Error> {
        let parameters = crate::plan::cast_parameters(plan.parameters(), parameters)?;
        let (sql, execution) = (self.sql.clone(), self.execution());
        if matches!(*plan, WritePlan::Truncate(_)) {
            self.commit_implicit().await?;
        }
        if self.transaction.is_none() && self.settings.is_read_only() {
            return Err(read_only(plan.verb()));
        }
        let Some(transaction) = &mut self.transaction else {
            if plan.is_quick() {
                let here = Execution { may_wait: false, ..execution.clone() };
                match Box::pin(plan.execute_alone(here, parameters.clone())).await {
                    Err(error) if error.is_not_at_hand() => {}
                    done => return Ok(done?.outcome()),
                }
            }
            let writing = Box::pin(async move { plan.execute_alone(execution, parameters).await });
            return Ok(sql.runtime.run(writing).await?.outcome());
        };
        transaction.check_writable(plan.verb())?;
        let snapshot = Some(transaction.snapshot(&execution).await?);
        let execution = Execution { snapshot, ..execution };
        if plan.is_quick() {
            let here = Execution { may_wait: false, ..execution.clone() };
            match Box::pin(plan.execute_within(here, parameters.clone())).await {
                Err(error) if error.is_not_at_hand() => {}
                done => {
                    let (written, statement) = done?;
                    transaction.absorb(statement)?;
                    return Ok(written.outcome());
                }
            }
        }
        let writing = Box::pin(async move { plan.execute_within(execution, parameters).await });
        let (written, statement) = sql.runtime.run(writing).await?;
        transaction.absorb(statement)?;
        Ok(written.outcome())
    }

    /// Notes the rows that a transaction locks: its COMMIT fails if they are written meanwhile.
    pub(super) async fn lock(
        &mut self,
        locks: &LockPlan,
        execution: &Execution,
        parameters: &[ScalarValue],
    ) -> Result<(), Error> {
        let (Some(transaction), Some(snapshot)) = (&mut self.transaction, &execution.snapshot)
        else {
            return Ok(());
        };
        let query = locks.query.clone();
        let given = parameters.iter().take(query.parameters.len()).cloned().collect();
        let given = query.cast_parameters(given)?;
        let mut rows = execution.clone().start(query, given).await?;
        let mut statement = Pending::default();
        let mut count = 0;
        while let Some(batch) = rows.next().await? {
            count += batch.num_rows();
            if count > LOCKED_ROWS_MAX {
                return Err(Error::new(
                    sqlstate::PROGRAM_LIMIT_EXCEEDED,
                    format!("a statement can lock at most {LOCKED_ROWS_MAX} rows"),
                ));
            }
            for (stream, keys) in locks.streams.iter().zip(batch.columns()) {
                for key in keys.as_binary_view().iter().flatten() {
                    statement.check(stream, key, snapshot.round());
                }
            }
        }
        transaction.absorb(statement)
    }

    pub(super) async fn transaction_statement(
        &mut self,
        statement: SessionStatement,
    ) -> Result<Done, Error> {
        let none = |what: &str| {
            Error::new(
                sqlstate::NO_TRANSACTION,
                format!("{what} can only be used in transaction blocks"),
            )
        };
        match (statement, self.transaction.as_mut()) {
            (SessionStatement::Begin { read_only }, Some(transaction)) if transaction.implicit => {
                transaction.implicit = false;
                if let Some(read_only) = read_only {
                    transaction.read_only = read_only;
                }
                Ok(Done::tag("BEGIN"))
            }
            (SessionStatement::Begin { .. }, Some(_)) => Ok(Done {
                notices: vec!["there is already a transaction in progress".to_owned()],
                ..Done::tag("BEGIN")
            }),
            (SessionStatement::Begin { read_only }, None) => {
                let read_only = read_only.unwrap_or_else(|| self.settings.is_read_only());
                self.transaction = Some(Transaction::new(read_only, &self.sql));
                Ok(Done::tag("BEGIN"))
            }
            (SessionStatement::Transaction { read_only }, transaction) => {
                if let (Some(transaction), Some(true)) = (transaction, read_only) {
                    transaction.read_only = true;
                }
                Ok(Done::tag("SET"))
            }
            (SessionStatement::Commit | SessionStatement::Rollback, None) => Ok(Done {
                notices: vec!["there is no transaction in progress".to_owned()],
                ..Done::tag("COMMIT")
            }),
            (SessionStatement::Commit, Some(transaction)) if !transaction.failed => {
                self.commit().await?;
                Ok(Done::tag("COMMIT"))
            }
            (SessionStatement::Commit | SessionStatement::Rollback, Some(_)) => {
                self.end_transaction();
                Ok(Done::tag("ROLLBACK"))
            }
            (SessionStatement::Savepoint(_), Some(transaction))
                if transaction.savepoints.len() >= SAVEPOINTS_MAX =>
            {
                Err(Error::new(
                    sqlstate::PROGRAM_LIMIT_EXCEEDED,
                    format!("a transaction can have at most {SAVEPOINTS_MAX} savepoints"),
                ))
            }
            (SessionStatement::Savepoint(name), Some(transaction)) => {
                let savepoint = transaction.savepoint(name);
                transaction.savepoints.push(savepoint);
                Ok(Done::tag("SAVEPOINT"))
            }
            (SessionStatement::RollbackTo(name), Some(transaction)) => {
                let at = savepoint(transaction, &name)?;
                transaction.go_back(at);
                Ok(Done::tag("ROLLBACK"))
            }
            (SessionStatement::Release(name), Some(transaction)) => {
                let at = savepoint(transaction, &name)?;
                transaction.savepoints.truncate(at);
                Ok(Done::tag("RELEASE"))
            }
            (SessionStatement::Savepoint(_), None) => Err(none("SAVEPOINT")),
            (SessionStatement::RollbackTo(_), None) => Err(none("ROLLBACK TO SAVEPOINT")),
            (SessionStatement::Release(_), None) => Err(none("RELEASE SAVEPOINT")),
            (other, _) => Err(Error::internal(format!("{other:?} is no transaction statement"))),
        }
    }

    async fn commit(&mut self) -> Result<(), Error> {
        let Some((pending, draft)) = self.end_transaction() else { return Ok(()) };
        let pending = Arc::unwrap_or_clone(pending);
        if pending.is_empty() && draft.is_none() {
            return Ok(());
        }
        let sql = self.sql.clone();
        // Little is made a batch here: two changes of threads take longer.
        let is_quick = draft.is_none() && pending.bytes() <= COMMIT_HERE_BYTES;
        let committing = Box::pin(async move {
            let committed = match draft {
                None => pending.append(sql.engine()).await,
                Some(draft) => pending.append_with(draft).await,
            };
            // Inside a transaction there is nothing to read again: the client decides.
            committed.map_err(|error| match error.kind {
                anabranch_engine::ErrorKind::Conflict => Error::new(
                    sqlstate::SERIALIZATION_FAILURE,
                    "could not serialize access due to concurrent update",
                )
                .hint("somebody else wrote what this transaction has written: run it again"),
                _ => error,
            })
        });
        match is_quick {
            true => committing.await,
            false => self.sql.runtime.run(committing).await,
        }
    }

    /// Ends the transaction; gives what it had to commit. What is not committed is as if it had
    /// not been.
    pub(super) fn end_transaction(&mut self) -> Option<(Arc<Pending>, Option<Draft>)> {
        let transaction = self.transaction.take()?;
        for (name, value) in transaction.restore {
            // It was accepted before.
            let _ = self.settings.set(&name, &SetValue::Text(value));
        }
        let draft = transaction.definitions.map(|definitions| {
            self.sql = definitions.before;
            definitions.draft
        });
        Some((transaction.pending, draft))
    }
}

pub(super) fn read_only(verb: &str) -> Error {
    Error::new("25006", format!("cannot execute {verb} in a read-only transaction"))
}

fn savepoint(transaction: &Transaction, name: &str) -> Result<usize, Error> {
    transaction.savepoints.iter().rposition(|savepoint| savepoint.name == name).ok_or_else(|| {
        Error::new(sqlstate::SAVEPOINT_NOT_FOUND, format!("savepoint \"{name}\" does not exist"))
    })
}
