//! COPY: planned as what it copies, executed as rows or as a load.

use super::transaction::read_only;
use super::{Done, Outcome, Plan, Session};
use crate::catalog::PUBLIC;
use crate::copy::{CopyIn, CopyOptions, CopyOut, Direction};
use crate::error::Error;
use crate::statement::{Copied, CopyStatement, Name, Statement, parse, quoted};
use crate::write::{CopyPlan, copied_columns};
use std::sync::Arc;

/// A COPY that was planned.
pub(super) enum CopyKind {
    In(Arc<CopyPlan>),
    /// What gives the rows.
    Out(Box<Plan>),
}

impl Session {
    pub(super) async fn plan_copy(&mut self, copy: &CopyStatement) -> Result<Plan, Error> {
        let kind = match (&copy.copied, copy.direction) {
            (Copied::Relation { name, columns }, Direction::In) => CopyKind::In(Arc::new(
                CopyPlan::new(&self.sql, &self.plan_context(), name, columns)?,
            )),
            (Copied::Relation { name, columns }, Direction::Out) => {
                let select = self.select_of(name, columns)?;
                CopyKind::Out(Box::new(self.plan_copied(&select).await?))
            }
            (Copied::Query(statement), _) => {
                CopyKind::Out(Box::new(self.plan_copied(statement).await?))
            }
        };
        let columns: Vec<_> = match &kind {
            CopyKind::In(plan) => names(plan.schema()),
            CopyKind::Out(plan) => plan.schema().map(names).unwrap_or_default(),
        };
        copy.options.check_columns(&columns)?;
        Ok(Plan::Copy(kind, copy.options.clone()))
    }

    async fn plan_copied(&mut self, statement: &Statement) -> Result<Plan, Error> {
        let plan = self.plan(statement, &[]).await?;
        if plan.schema().is_none() {
            return Err(Error::unsupported("COPY query must have a RETURNING clause"));
        }
        if plan.parameters().is_empty() {
            Ok(plan)
        } else {
            Err(Error::new("42P02", "there is no parameter $1").hint("COPY takes no parameters"))
        }
    }

    /// `SELECT columns FROM relation`. Without columns, those of a stream are what COPY FROM takes.
    fn select_of(&self, name: &Name, columns: &[String]) -> Result<Statement, Error> {
        let is_rows = name.schema.as_deref().is_none_or(|schema| schema == PUBLIC);
        let columns = match columns {
            [] if is_rows => copied_columns(&self.sql, name).unwrap_or_default(),
            named => named.to_vec(),
        };
        let list = match columns.as_slice() {
            [] => "*".to_owned(),
            columns => columns.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", "),
        };
        let parts = name.schema.iter().chain([&name.name]).map(|name| quoted(name));
        let relation = parts.collect::<Vec<_>>().join(".");
        let statement = parse(&format!("SELECT {list} FROM {relation}"))?.pop();
        statement.ok_or_else(|| Error::internal("a SELECT is no statement"))
    }

    pub(super) async fn copy(
        &mut self,
        kind: &CopyKind,
        options: &CopyOptions,
    ) -> Result<Outcome, Error> {
        let options = options.clone();
        match kind {
            CopyKind::Out(plan) => match self.run_plan(plan, Vec::new()).await? {
                Outcome::Rows(rows, _) => Ok(Outcome::CopyOut(CopyOut { rows, options })),
                _ => Err(Error::internal("a COPY gave no rows")),
            },
            CopyKind::In(plan) => {
                // Alone, it may be more than one append takes.
                self.commit_implicit().await?;
                let execution = self.execution();
                let snapshot = match &mut self.transaction {
                    None if self.settings.is_read_only() => return Err(read_only("COPY FROM")),
                    None => None,
                    Some(transaction) => {
                        transaction.check_writable("COPY FROM")?;
                        Some(transaction.snapshot(&execution).await?)
                    }
                };
                Ok(Outcome::CopyIn(CopyIn::start(plan.clone(), options, execution, snapshot)))
            }
        }
    }

    /// Ends a COPY FROM STDIN whose rows were all given. Inside a transaction they belong to it.
    ///
    /// # Errors
    /// What is wrong with its rows. The caller then calls [`Self::fail`].
    pub async fn finish_copy(&mut self, mut copy: CopyIn) -> Result<Done, Error> {
        let loaded = copy.finish().await?;
        match (&mut self.transaction, loaded.pending) {
            (Some(transaction), Some(pending)) => {
                transaction.absorb(pending).map_err(crate::copy::too_much_at_once)?;
            }
            (None, Some(_)) => return Err(Error::internal("a COPY outlived its transaction")),
            (_, None) => {}
        }
        let mut done = Done::tag(format!("COPY {}", loaded.count));
        if loaded.pieces > 1 {
            done.notices.push(format!(
                "the rows were appended in {} pieces, each atomic: they are more than one append \
                 takes ({} bytes)",
                loaded.pieces,
                crate::limits::COPY_PIECE_BYTES_MAX
            ));
        }
        Ok(done)
    }
}

fn names(schema: &datafusion::arrow::datatypes::SchemaRef) -> Vec<String> {
    schema.fields().iter().map(|field| field.name().clone()).collect()
}
