//! Transactions.
//!
//! BEGIN to COMMIT is a snapshot: all reads have one cut, taken by the first of them, and see what
//! the transaction itself has written since. Writes are kept until COMMIT and then appended
//! together, in one round or none, on condition that nobody has written their keys since the cut;
//! a conflict is 40001. Until then nobody else sees them.
//!
//! Several statements that come as one text, or before one Sync, are a transaction of their own, as
//! in PostgreSQL (55.2.2.1, 55.2.3), but one that a definition divides: what stands before it is
//! committed first.

use super::{Done, Outcome, Session};
use crate::error::{Error, sqlstate};
use crate::execute::Execution;
use crate::limits::LOCKED_ROWS_MAX;
use crate::pending::{Mark, Pending};
use crate::plan::LockPlan;
use crate::snapshot::Snapshot;
use crate::statement::{SessionStatement, SetValue};
use crate::write::WritePlan;
use anabranch_engine::Cut;
use datafusion::arrow::array::AsArray;
use datafusion::scalar::ScalarValue;
use std::sync::Arc;

/// Most savepoints of one transaction.
const SAVEPOINTS_MAX: usize = 64;

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
    /// Name, and where `pending` stood.
    savepoints: Vec<(String, Mark)>,
    /// What SET LOCAL changed.
    restore: Vec<(String, String)>,
}

impl Transaction {
    fn new(read_only: bool) -> Self {
        Self {
            failed: false,
            implicit: false,
            read_only,
            cut: None,
            pending: Arc::default(),
            savepoints: Vec::new(),
            restore: Vec::new(),
        }
    }

    /// What its next statement sees.
    pub(super) async fn snapshot(&mut self, execution: &Execution) -> Result<Snapshot, Error> {
        let cut = match &self.cut {
            Some(cut) => cut.clone(),
            None => {
                let (sql, execution) = (execution.sql.clone(), execution.clone());
                let cut = sql.runtime.run(async move { execution.new_cut().await }).await?;
                self.cut.insert(cut).clone()
            }
        };
        Ok(Snapshot::within(cut, self.pending.clone()))
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
            self.transaction = Some(Transaction { implicit: true, ..Transaction::new(read_only) });
        }
    }

    /// Commits what [`Self::begin_implicit`] has begun, unless it was made a transaction by BEGIN.
    ///
    /// # Errors
    /// 40001 as COMMIT; nothing was written.
    pub async fn commit_implicit(&mut self) -> Result<(), Error> {
        match &mut self.transaction {
            Some(transaction) if transaction.implicit => {
                let pending = std::mem::take(&mut transaction.pending);
                self.end_transaction();
                self.commit(Arc::unwrap_or_clone(pending)).await
            }
            _ => Ok(()),
        }
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
            let writing = async move { plan.execute_alone(execution, parameters).await };
            return Ok(sql.runtime.run(writing).await?.outcome());
        };
        transaction.check_writable(plan.verb())?;
        let snapshot = Some(transaction.snapshot(&execution).await?);
        let execution = Execution { snapshot, ..execution };
        let writing = async move { plan.execute_within(execution, parameters).await };
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
                self.transaction = Some(Transaction::new(read_only));
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
                let pending = Arc::unwrap_or_clone(std::mem::take(&mut transaction.pending));
                self.end_transaction();
                self.commit(pending).await?;
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
                let mark = transaction.pending.mark();
                transaction.savepoints.push((name, mark));
                Ok(Done::tag("SAVEPOINT"))
            }
            (SessionStatement::RollbackTo(name), Some(transaction)) => {
                let at = savepoint(transaction, &name)?;
                transaction.savepoints.truncate(at + 1);
                let mark = transaction.savepoints[at].1;
                Arc::make_mut(&mut transaction.pending).go_back(mark);
                transaction.failed = false;
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

    async fn commit(&self, pending: Pending) -> Result<(), Error> {
        if pending.is_empty() {
            return Ok(());
        }
        let sql = self.sql.clone();
        self.sql
            .runtime
            .run(async move {
                match pending.append(sql.engine()).await {
                    // Inside a transaction there is nothing to read again: the client decides.
                    Err(error) if error.kind == anabranch_engine::ErrorKind::Conflict => {
                        Err(Error::new(
                            sqlstate::SERIALIZATION_FAILURE,
                            "could not serialize access due to concurrent update",
                        )
                        .hint("somebody else wrote a key of this transaction: run it again"))
                    }
                    other => other.map(|_| ()),
                }
            })
            .await
    }

    pub(super) fn end_transaction(&mut self) {
        let Some(transaction) = self.transaction.take() else {
            return;
        };
        for (name, value) in transaction.restore {
            // It was accepted before.
            let _ = self.settings.set(&name, &SetValue::Text(value));
        }
    }
}

pub(super) fn read_only(verb: &str) -> Error {
    Error::new("25006", format!("cannot execute {verb} in a read-only transaction"))
}

fn savepoint(transaction: &Transaction, name: &str) -> Result<usize, Error> {
    transaction.savepoints.iter().rposition(|(savepoint, _)| savepoint == name).ok_or_else(|| {
        Error::new(sqlstate::SAVEPOINT_NOT_FOUND, format!("savepoint \"{name}\" does not exist"))
    })
}
