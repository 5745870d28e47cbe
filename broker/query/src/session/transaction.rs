//! Transactions.
//!
//! BEGIN to COMMIT is a snapshot: all reads have one cut, taken by the first of them. Writes are
//! kept until COMMIT and then appended together, in one round or none, on condition that nobody
//! has written their keys since the cut; a conflict is 40001 (or 23505 where the key was to be
//! new). Until then nobody sees them, the transaction itself included: reading a stream after
//! writing in the same transaction is refused rather than answered wrongly.

use super::{Done, Outcome, Session};
use crate::error::{Error, sqlstate};
use crate::execute::Execution;
use crate::limits::WRITE_BYTES_MAX;
use crate::statement::{SessionStatement, SetValue};
use crate::write::{Pending, WritePlan};
use anabranch_engine::Cut;
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
    read_only: bool,
    cut: Option<Cut>,
    pending: Pending,
    /// Name, and what was pending then.
    savepoints: Vec<(String, Pending)>,
    /// What SET LOCAL changed.
    restore: Vec<(String, String)>,
}

impl Transaction {
    fn new(read_only: bool) -> Self {
        Self {
            failed: false,
            read_only,
            cut: None,
            pending: Pending::default(),
            savepoints: Vec::new(),
            restore: Vec::new(),
        }
    }

    /// The one cut of all its reads.
    pub(super) async fn cut(&mut self, execution: &Execution) -> Result<Cut, Error> {
        if let Some(cut) = &self.cut {
            return Ok(cut.clone());
        }
        let (sql, execution) = (execution.sql.clone(), execution.clone());
        let cut = sql.runtime.run(async move { execution.cut().await }).await?;
        self.cut = Some(cut.clone());
        Ok(cut)
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.read_only
    }

    pub(super) fn check_readable(&self) -> Result<(), Error> {
        if self.pending.is_empty() {
            return Ok(());
        }
        Err(Pending::unreadable())
    }

    pub(super) fn restore_later(&mut self, name: &str, before: String) {
        if self.restore.iter().all(|(restored, _)| restored != name) {
            self.restore.push((name.to_owned(), before));
        }
    }
}

impl Session {
    /// Executes INSERT, UPDATE or DELETE: at once, or at COMMIT where a transaction is open.
    pub(super) async fn write(
        &mut self,
        plan: Arc<WritePlan>,
        parameters: Vec<ScalarValue>,
    ) -> Result<Outcome, Error> {
        let parameters = crate::plan::cast_parameters(plan.parameters(), parameters)?;
        let (sql, execution) = (self.sql.clone(), self.execution());
        if self.transaction.is_none() && self.settings.is_read_only() {
            return Err(read_only(plan.verb()));
        }
        let Some(transaction) = &mut self.transaction else {
            let writing = async move { plan.execute_alone(execution, parameters).await };
            return Ok(sql.runtime.run(writing).await?.outcome());
        };
        if transaction.read_only {
            return Err(read_only(plan.verb()));
        }
        let cut = transaction.cut(&execution).await?;
        let execution = Execution { cut: Some(cut.clone()), ..execution };
        let mut pending = std::mem::take(&mut transaction.pending);
        let writing = async move {
            let written = plan.execute_within(execution, &cut, parameters, &mut pending).await?;
            Ok((written, pending))
        };
        let (written, pending) = sql.runtime.run(writing).await?;
        transaction.pending = pending;
        if transaction.pending.bytes() > WRITE_BYTES_MAX {
            return Err(Error::new(
                sqlstate::PROGRAM_LIMIT_EXCEEDED,
                format!("a transaction can write at most {WRITE_BYTES_MAX} bytes"),
            )
            .hint("COMMIT more often"));
        }
        Ok(written.outcome())
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
                let pending = std::mem::take(&mut transaction.pending);
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
                let pending = transaction.pending.clone();
                transaction.savepoints.push((name, pending));
                Ok(Done::tag("SAVEPOINT"))
            }
            (SessionStatement::RollbackTo(name), Some(transaction)) => {
                let at = savepoint(transaction, &name)?;
                transaction.savepoints.truncate(at + 1);
                transaction.pending = transaction.savepoints[at].1.clone();
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

    fn end_transaction(&mut self) {
        let Some(transaction) = self.transaction.take() else {
            return;
        };
        for (name, value) in transaction.restore {
            // It was accepted before.
            let _ = self.settings.set(&name, &SetValue::Text(value));
        }
    }
}

fn read_only(verb: &str) -> Error {
    Error::new("25006", format!("cannot execute {verb} in a read-only transaction"))
}

fn savepoint(transaction: &Transaction, name: &str) -> Result<usize, Error> {
    transaction.savepoints.iter().rposition(|(savepoint, _)| savepoint == name).ok_or_else(|| {
        Error::new(sqlstate::SAVEPOINT_NOT_FOUND, format!("savepoint \"{name}\" does not exist"))
    })
}
