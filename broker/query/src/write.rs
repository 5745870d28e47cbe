//! INSERT, UPDATE and DELETE: rows become events.
//!
//! ```text
//! INSERT  rows ──────────────────> key, value ──┐
//! UPDATE  SELECT keys and images ─> key, value ─┼─> Pending ──> one atomic append, on condition
//! DELETE  SELECT keys ────────────> key, null ──┘               that the keys are as they were read
//! ```
//! Nothing goes through DataFusion's own hooks for writing: what they would delete or update is
//! not what the statement says (apache/datafusion #24654).

mod change;
mod conflict;
mod copy;
mod encode;
mod insert;
mod pending;
mod target;
#[cfg(test)]
mod tests;
mod values;

pub(crate) use copy::{CopyPlan, copied_columns};
pub(crate) use pending::Pending;

use crate::error::Error;
use crate::execute::{Execution, Rows};
use crate::limits::CONFLICT_RETRIES;
use crate::plan::PlanContext;
use crate::session::{Done, Outcome};
use crate::sql::Sql;
use crate::statement::Kind;
use anabranch_engine::{Cut, ErrorKind};
use change::ChangePlan;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::scalar::ScalarValue;
use insert::InsertPlan;

/// A statement that writes, planned.
pub(crate) enum WritePlan {
    Insert(Box<InsertPlan>),
    /// UPDATE or DELETE.
    Change(ChangePlan),
}

/// What a statement wrote.
pub(crate) struct Written {
    verb: &'static str,
    count: usize,
    returning: Option<(SchemaRef, Vec<RecordBatch>)>,
}

impl WritePlan {
    pub(crate) async fn new(
        sql: &Sql,
        context: &PlanContext,
        kind: Kind,
        hints: &[Option<DataType>],
    ) -> Result<Self, Error> {
        match kind {
            Kind::Insert(insert) => {
                let planning = InsertPlan::new(sql, context, *insert, hints);
                Box::pin(planning).await.map(|plan| Self::Insert(Box::new(plan)))
            }
            Kind::Update(update) => {
                Box::pin(ChangePlan::update(sql, context, *update, hints)).await.map(Self::Change)
            }
            Kind::Delete(delete) => {
                Box::pin(ChangePlan::delete(sql, context, *delete, hints)).await.map(Self::Change)
            }
            _ => Err(Error::internal("no statement that writes")),
        }
    }

    pub(crate) fn parameters(&self) -> &[DataType] {
        match self {
            Self::Insert(plan) => plan.parameters(),
            Self::Change(plan) => plan.parameters(),
        }
    }

    pub(crate) fn returning_schema(&self) -> Option<&SchemaRef> {
        match self {
            Self::Insert(plan) => plan.returning_schema(),
            Self::Change(_) => None,
        }
    }

    pub(crate) fn verb(&self) -> &'static str {
        match self {
            Self::Insert(_) => "INSERT",
            Self::Change(plan) => plan.verb(),
        }
    }

    /// Executes it for itself: what somebody else writes in between is read again. Runs on the
    /// query threads.
    pub(crate) async fn execute_alone(
        &self,
        execution: Execution,
        parameters: Vec<ScalarValue>,
    ) -> Result<Written, Error> {
        let engine = execution.sql.engine().clone();
        let mut conflicts = 0;
        loop {
            let cut = execution.cut().await?;
            let mut pending = Pending::default();
            let execution = Execution { cut: Some(cut.clone()), ..execution.clone() };
            let written =
                self.execute_within(execution, &cut, parameters.clone(), &mut pending).await?;
            if pending.is_empty() {
                return Ok(written);
            }
            match pending.append(&engine).await {
                Ok(()) => return Ok(written),
                Err(error) if error.kind == ErrorKind::Conflict && conflicts < CONFLICT_RETRIES => {
                    conflicts += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads at `cut` and adds what it writes to `pending`.
    pub(crate) async fn execute_within(
        &self,
        execution: Execution,
        cut: &Cut,
        parameters: Vec<ScalarValue>,
        pending: &mut Pending,
    ) -> Result<Written, Error> {
        match self {
            Self::Insert(plan) => plan.execute(execution, cut, parameters, pending).await,
            Self::Change(plan) => plan.execute(execution, cut, parameters, pending).await,
        }
    }
}

impl Written {
    pub(crate) fn outcome(self) -> Outcome {
        match self.returning {
            Some((schema, batches)) => {
                let tag = if self.verb == "INSERT" { "INSERT 0" } else { self.verb };
                Outcome::Rows(Rows::ready(schema, batches), tag)
            }
            None => Outcome::Done(Done::tag(if self.verb == "INSERT" {
                // PostgreSQL 15, 55.7, CommandComplete: the 0 was an oid once.
                format!("INSERT 0 {}", self.count)
            } else {
                format!("{} {}", self.verb, self.count)
            })),
        }
    }
}
