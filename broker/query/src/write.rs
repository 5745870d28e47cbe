//! INSERT, UPDATE, DELETE and TRUNCATE: rows become events.
//!
//! ```text
//! INSERT  rows ──────────────────> key, value ──┐
//! UPDATE  SELECT keys and images ─> key, value ─┼─> Pending ──> one atomic append, on condition
//! DELETE  SELECT keys ────────────> key, null ──┘               that the keys are as they were read
//! ```
//! Nothing goes through DataFusion's own hooks for writing: what they would delete or update is
//! not what the statement says (apache/datafusion #24654).

mod assign;
mod change;
mod complete;
mod conflict;
mod copy;
mod encode;
mod find;
mod insert;
mod length;
mod rekeyed;
mod returning;
mod rules;
mod stored;
mod target;
#[cfg(test)]
mod tests;
mod truncate;
mod validate;
mod values;

pub(crate) use copy::{CopyPlan, copied_columns};
pub(crate) use rekeyed::Rekeyed;
pub(crate) use stored::parsed;
pub(crate) use validate::{missing_value, validate};

use crate::error::Error;
use crate::execute::{Execution, Rows};
use crate::limits::CONFLICT_RETRIES;
use crate::pending::Pending;
use crate::plan::{PlanContext, placeholder_number};
use crate::session::{Done, Outcome};
use crate::snapshot::Snapshot;
use crate::sql::Sql;
use crate::statement::Kind;
use anabranch_engine::ErrorKind;
use change::ChangePlan;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::{Expr, Visit, Visitor};
use insert::InsertPlan;
use std::ops::ControlFlow;
use truncate::TruncatePlan;

/// A statement that writes, planned.
pub(crate) enum WritePlan {
    Insert(Box<InsertPlan>),
    /// UPDATE or DELETE.
    Change(Box<ChangePlan>),
    Truncate(TruncatePlan),
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
            Kind::Insert(insert, overriding) => {
                let planning = InsertPlan::new(sql, context, *insert, overriding, hints);
                Box::pin(planning).await.map(|plan| Self::Insert(Box::new(plan)))
            }
            Kind::Update(update, with) => {
                let planning = ChangePlan::update(sql, context, *update, with, hints);
                Box::pin(planning).await.map(|plan| Self::Change(Box::new(plan)))
            }
            Kind::Delete(delete, with) => {
                let planning = ChangePlan::delete(sql, context, *delete, with, hints);
                Box::pin(planning).await.map(|plan| Self::Change(Box::new(plan)))
            }
            Kind::Truncate(truncate) => TruncatePlan::new(sql, &truncate).map(Self::Truncate),
            _ => Err(Error::internal("no statement that writes")),
        }
    }

    pub(crate) fn parameters(&self) -> &[DataType] {
        match self {
            Self::Insert(plan) => plan.parameters(),
            Self::Change(plan) => plan.parameters(),
            Self::Truncate(_) => &[],
        }
    }

    pub(crate) fn returning_schema(&self) -> Option<&SchemaRef> {
        match self {
            Self::Insert(plan) => plan.returning_schema(),
            Self::Change(plan) => plan.returning_schema(),
            Self::Truncate(_) => None,
        }
    }

    pub(crate) fn verb(&self) -> &'static str {
        match self {
            Self::Insert(_) => "INSERT",
            Self::Change(plan) => plan.verb(),
            Self::Truncate(_) => "TRUNCATE TABLE",
        }
    }

    /// Whether parameters in place of its constants mean the same, and whether it is an INSERT.
    pub(crate) fn takes_constants_as_parameters(&self) -> Option<bool> {
        match self {
            Self::Insert(plan) => plan.is_of_values().then_some(true),
            Self::Change(plan) => plan.is_by_key().then_some(false),
            Self::Truncate(_) => None,
        }
    }

    /// Whether it may be executed where a connection is served: two changes of threads take longer.
    /// What is not in memory then is not at hand ([`Error::not_at_hand`]), and it is executed anew
    /// on the query threads; a sequence of which it took a value has a gap.
    pub(crate) fn is_quick(&self) -> bool {
        match self {
            Self::Insert(plan) => plan.is_quick(),
            Self::Change(plan) => plan.is_quick(),
            Self::Truncate(_) => false,
        }
    }

    /// Executes it for itself: what somebody else writes in between is read again.
    pub(crate) async fn execute_alone(
        &self,
        execution: Execution,
        parameters: Vec<ScalarValue>,
    ) -> Result<Written, Error> {
        if let Self::Truncate(plan) = self {
            return plan.execute_alone(&execution).await;
        }
        let engine = execution.sql.engine().clone();
        let mut conflicts = 0;
        loop {
            let cut = execution.new_cut().await?;
            let snapshot = Some(Snapshot::new(cut).waiting(execution.may_wait));
            let execution = Execution { snapshot, ..execution.clone() };
            let (written, pending) = self.execute_within(execution, parameters.clone()).await?;
            match pending.append(&engine).await {
                Ok(()) => return Ok(written),
                Err(error) if error.kind == ErrorKind::Conflict && conflicts < CONFLICT_RETRIES => {
                    conflicts += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Executes it at the snapshot of `execution`; what it writes is still to be appended.
    pub(crate) async fn execute_within(
        &self,
        execution: Execution,
        parameters: Vec<ScalarValue>,
    ) -> Result<(Written, Pending), Error> {
        match self {
            Self::Insert(plan) => plan.execute(execution, parameters).await,
            Self::Change(plan) => plan.execute(execution, parameters).await,
            Self::Truncate(plan) => plan.execute(execution).await,
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
            None => Outcome::Done(Done::tag(match self.verb {
                // PostgreSQL 15, 55.7, CommandComplete: the 0 was an oid once.
                "INSERT" => format!("INSERT 0 {}", self.count),
                "TRUNCATE TABLE" => self.verb.to_owned(),
                verb => format!("{verb} {}", self.count),
            })),
        }
    }
}

/// Adds the parameters that only `part` of a statement has: they are text.
fn add_parameters(part: &impl Visit, parameters: &mut Vec<DataType>) {
    struct Highest(usize);
    impl Visitor for Highest {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            self.0 = self.0.max(placeholder_number(expr).unwrap_or(0));
            ControlFlow::Continue(())
        }
    }
    let mut highest = Highest(0);
    let _ = part.visit(&mut highest);
    if highest.0 > parameters.len() {
        parameters.resize(highest.0, DataType::Utf8);
    }
}
