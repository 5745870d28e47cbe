//! Cursors by statement (PostgreSQL 15, DECLARE, FETCH, MOVE and CLOSE).
//!
//! A cursor is a query that runs as far as its rows are fetched: it reads at its transaction's
//! cut, and holds what it has read ahead, not its result. WITH HOLD it goes on after COMMIT, at
//! the same cut.

use super::{Done, Outcome, Prepared, Session};
use crate::error::{Error, sqlstate};
use crate::execute::{Held, Rows};
use crate::limits::CURSORS_MAX;
use crate::plan::QueryPlan;
use crate::statement::{CursorStatement, Declare, Fetch, FetchRows, SessionStatement};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::scalar::ScalarValue;
use std::collections::HashMap;
use std::sync::Arc;

/// The cursors of a session.
#[derive(Default)]
pub(super) struct Cursors {
    open: HashMap<String, Opened>,
    /// Cursors declared so far: each has a number.
    declared: u64,
    /// Savepoints, and how many were declared before each.
    savepoints: Vec<(String, u64)>,
}

struct Opened {
    held: Held,
    number: u64,
    hold: bool,
    /// Of the transaction that is open: rolling it back closes the cursor.
    is_of_transaction: bool,
}

impl Cursors {
    /// What FETCH gives.
    pub(super) fn schema(&self, name: &str) -> Option<SchemaRef> {
        self.open.get(name).map(|opened| opened.held.schema().clone())
    }

    fn get(&self, name: &str) -> Result<&Opened, Error> {
        self.open.get(name).ok_or_else(|| {
            Error::new(sqlstate::INVALID_CURSOR_NAME, format!("cursor \"{name}\" does not exist"))
        })
    }

    fn open(
        &mut self,
        name: &str,
        held: Held,
        hold: bool,
        is_of_transaction: bool,
    ) -> Result<(), Error> {
        if self.open.len() >= CURSORS_MAX {
            return Err(Error::new(
                sqlstate::PROGRAM_LIMIT_EXCEEDED,
                format!("a session can have at most {CURSORS_MAX} cursors"),
            )
            .hint("CLOSE those that are no longer read"));
        }
        let number = self.declared;
        self.declared += 1;
        self.open.insert(name.to_owned(), Opened { held, number, hold, is_of_transaction });
        Ok(())
    }

    pub(super) fn close_all(&mut self) {
        self.open.clear();
    }

    /// Follows what a statement about the transaction did, of which `is_open` and `committed`
    /// tell.
    pub(super) fn follow(&mut self, statement: &SessionStatement, is_open: bool, committed: bool) {
        if !is_open {
            self.savepoints.clear();
            self.open.retain(|_, opened| {
                let stays = opened.hold && (committed || !opened.is_of_transaction);
                opened.is_of_transaction = false;
                stays
            });
            return;
        }
        let place = |savepoints: &[(String, u64)], name: &str| {
            savepoints.iter().rposition(|(savepoint, _)| savepoint == name)
        };
        match statement {
            SessionStatement::Savepoint(name) => {
                self.savepoints.push((name.clone(), self.declared));
            }
            SessionStatement::RollbackTo(name) => {
                if let Some(at) = place(&self.savepoints, name) {
                    let declared = self.savepoints[at].1;
                    self.savepoints.truncate(at + 1);
                    self.open.retain(|_, opened| opened.number < declared);
                }
            }
            SessionStatement::Release(name) => {
                if let Some(at) = place(&self.savepoints, name) {
                    self.savepoints.truncate(at);
                }
            }
            _ => {}
        }
    }
}

impl Session {
    /// The columns of a cursor that a statement declared; `None`: there is no such cursor.
    #[must_use]
    pub fn cursor_schema(&self, name: &str) -> Option<SchemaRef> {
        self.cursors.schema(name)
    }

    /// Makes rows that are executed by a portal's name a cursor: FETCH and MOVE know it, too
    /// (PostgreSQL 15, 55.2.3).
    ///
    /// # Errors
    /// 54000 when there are too many.
    pub fn open_portal(&mut self, name: &str, rows: Rows) -> Result<(), Error> {
        let is_of_transaction = self.is_in_transaction_block();
        self.cursors.open(name, Held::new(rows), false, is_of_transaction)
    }

    /// The next `count` rows of a portal.
    ///
    /// # Errors
    /// 34000 when it was closed.
    pub fn portal_rows(&self, name: &str, count: u64) -> Result<Rows, Error> {
        self.cursors.get(name)?.held.take(0, count, self.settings.statement_timeout())
    }

    /// Closes a portal, if it is there.
    pub fn close_portal(&mut self, name: &str) {
        self.cursors.open.remove(name);
    }

    /// Whether a BEGIN was said that is not ended.
    #[must_use]
    pub fn is_in_transaction_block(&self) -> bool {
        self.transaction.as_ref().is_some_and(|transaction| !transaction.implicit)
    }

    pub(super) async fn declare(
        &mut self,
        declare: &Declare,
        query: &Prepared,
        parameters: Vec<ScalarValue>,
    ) -> Result<Outcome, Error> {
        let is_of_transaction = self.is_in_transaction_block();
        if !is_of_transaction && !declare.hold {
            return Err(Error::new(
                sqlstate::NO_TRANSACTION,
                "DECLARE CURSOR can only be used in transaction blocks",
            )
            .hint("BEGIN a transaction, or declare the cursor WITH HOLD"));
        }
        if self.cursors.open.contains_key(&declare.name) {
            return Err(Error::new(
                sqlstate::DUPLICATE_CURSOR,
                format!("cursor \"{}\" already exists", declare.name),
            ));
        }
        let plan = query.query_plan().ok_or_else(|| Error::internal("a cursor without a query"))?;
        let parameters = plan.cast_parameters(parameters)?;
        let held = self.hold(plan, parameters).await?;
        self.cursors.open(&declare.name, held, declare.hold, is_of_transaction)?;
        Ok(Outcome::Done(Done::tag("DECLARE CURSOR")))
    }

    /// Starts a query whose rows are taken by later statements: its time is theirs.
    async fn hold(
        &mut self,
        plan: &Arc<QueryPlan>,
        parameters: Vec<ScalarValue>,
    ) -> Result<Held, Error> {
        let mut execution = self.reading(plan).await?;
        if plan.reads_streams {
            // It reads at the cut of now, whenever its query gets to run.
            execution.snapshot = Some(Box::pin(execution.snapshot()).await?);
        }
        execution.timeout = None;
        Ok(Held::new(execution.start(plan.clone(), parameters).await?))
    }

    pub(super) async fn cursor(
        &mut self,
        statement: CursorStatement,
        described: Option<&SchemaRef>,
    ) -> Result<Outcome, Error> {
        match statement {
            CursorStatement::Fetch(fetch) if fetch.moves => {
                let mut rows = self.fetched(&fetch)?;
                let mut moved = 0;
                while let Some(batch) = rows.next().await? {
                    moved += batch.num_rows();
                }
                Ok(Outcome::Done(Done::tag(format!("MOVE {moved}"))))
            }
            CursorStatement::Fetch(fetch) => {
                let rows = self.fetched(&fetch)?;
                if described.is_some_and(|described| described != rows.schema()) {
                    return Err(Error::unsupported("cached plan must not change result type")
                        .hint("the cursor is another one: prepare the statement again"));
                }
                Ok(Outcome::Rows(rows, "FETCH"))
            }
            CursorStatement::Close(Some(name)) => {
                self.cursors.get(&name)?;
                self.cursors.open.remove(&name);
                Ok(Outcome::Done(Done::tag("CLOSE CURSOR")))
            }
            CursorStatement::Close(None) => {
                self.cursors.close_all();
                Ok(Outcome::Done(Done::tag("CLOSE CURSOR ALL")))
            }
            CursorStatement::Declare(_) => Err(Error::internal("a cursor without its query")),
        }
    }

    fn fetched(&self, fetch: &Fetch) -> Result<Rows, Error> {
        let held = &self.cursors.get(&fetch.name)?.held;
        let position = held.position()?;
        let (skip, count) = match fetch.rows {
            FetchRows::Next(count) => (0, count),
            FetchRows::Skip(count) => (count.saturating_sub(1), 1),
            FetchRows::Absolute(number) if number > position => (number - position - 1, 1),
            FetchRows::Absolute(_) | FetchRows::Back => {
                return Err(Error::new(
                    sqlstate::OBJECT_NOT_IN_STATE,
                    "cursor can only scan forward",
                )
                .hint("declare it again to read from the beginning"));
            }
        };
        held.take(skip, count, self.settings.statement_timeout())
    }
}
