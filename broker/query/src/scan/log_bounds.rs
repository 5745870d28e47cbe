//! Predicates on where and when an event was appended, as bounds of what is read.

use super::key_access::{Literal, literal};
use crate::error::{Error, sqlstate};
use crate::rows::System;
use anabranch_engine::{Session as EngineSession, Stream};
use anabranch_types::{Offset, Timestamp};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, TableProviderFilterPushDown};
use datafusion::scalar::ScalarValue;

/// What part of a log to read; rows outside are filtered again above.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LogBounds {
    /// Only these of Kafka's partition numbers.
    pub(crate) partitions: Option<Vec<i64>>,
    /// From this offset on.
    pub(crate) from: Option<Offset>,
    /// Before this offset.
    pub(crate) to: Option<Offset>,
    /// From this time on.
    pub(crate) since: Option<Timestamp>,
}

enum Bound {
    Partitions(Vec<i64>),
    Offset(Operator, i64),
    Since(Timestamp),
}

impl LogBounds {
    pub(crate) fn new(filters: &[Expr]) -> Self {
        let mut bounds = Self::default();
        for bound in filters.iter().filter_map(bound) {
            match bound {
                Bound::Partitions(mut numbers) => {
                    if let Some(before) = &bounds.partitions {
                        numbers.retain(|number| before.contains(number));
                    }
                    bounds.partitions = Some(numbers);
                }
                Bound::Offset(operator, offset) => bounds.narrow(operator, offset),
                Bound::Since(time) => bounds.since = bounds.since.max(Some(time)),
            }
        }
        bounds
    }

    /// Refuses a lower bound that lies before what is kept: it would be answered short.
    pub(crate) fn check_retained(
        &self,
        engine: &EngineSession,
        stream: &Stream,
    ) -> Result<(), Error> {
        let Some(from) = self.from else { return Ok(()) };
        for (number, &partition) in (0..).zip(&stream.partitions) {
            let Some(log) = engine.partition(partition).filter(|_| self.wants(number)) else {
                continue;
            };
            if from < log.log_start() {
                return Err(Error::new(
                    sqlstate::INVALID_PARAMETER,
                    format!(
                        "log.{} holds partition {number} from offset {} on; offset {from} is gone",
                        stream.name,
                        log.log_start()
                    ),
                )
                .hint("raise the lower bound of _offset, or leave it away to read what is kept"));
            }
        }
        Ok(())
    }

    /// Whether partition `number` is read.
    pub(crate) fn wants(&self, number: i64) -> bool {
        self.partitions.as_ref().is_none_or(|numbers| numbers.contains(&number))
    }

    fn narrow(&mut self, operator: Operator, offset: i64) {
        match operator {
            Operator::Eq => {
                self.narrow(Operator::GtEq, offset);
                self.narrow(Operator::LtEq, offset);
            }
            Operator::GtEq => self.from = self.from.max(Some(Offset(offset))),
            Operator::Gt => self.narrow(Operator::GtEq, offset.saturating_add(1)),
            Operator::LtEq => self.narrow(Operator::Lt, offset.saturating_add(1)),
            Operator::Lt => {
                let to = self.to.map_or(offset, |to| to.0.min(offset));
                self.to = Some(Offset(to));
            }
            _ => {}
        }
    }
}

/// Bounds are inexact: they save reading, and the filter is evaluated all the same.
pub(crate) fn pushdown(filters: &[&Expr]) -> Vec<TableProviderFilterPushDown> {
    filters
        .iter()
        .map(|filter| match bound(filter) {
            Some(_) => TableProviderFilterPushDown::Inexact,
            None => TableProviderFilterPushDown::Unsupported,
        })
        .collect()
}

fn bound(filter: &Expr) -> Option<Bound> {
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (column, op, value) = match (system_column(left), literal(right)) {
                (Some(column), Some(Literal::Value(value))) => (column, *op, value),
                _ => match (system_column(right)?, op.swap()?, literal(left)?) {
                    (column, op, Literal::Value(value)) => (column, op, value),
                    _ => return None,
                },
            };
            match (column, op) {
                (System::Partition, Operator::Eq) => {
                    Some(Bound::Partitions(vec![integer(&value)?]))
                }
                (
                    System::Offset,
                    Operator::Eq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq,
                ) => Some(Bound::Offset(op, integer(&value)?)),
                (System::Timestamp, Operator::Eq | Operator::Gt | Operator::GtEq) => {
                    Some(Bound::Since(time(&value)?))
                }
                _ => None,
            }
        }
        Expr::InList(InList { expr, list, negated: false }) => match system_column(expr)? {
            System::Partition => {
                let numbers = list.iter().map(|item| match literal(item)? {
                    Literal::Value(value) => integer(&value),
                    Literal::Parameter(_) => None,
                });
                Some(Bound::Partitions(numbers.collect::<Option<_>>()?))
            }
            _ => None,
        },
        _ => None,
    }
}

fn system_column(expr: &Expr) -> Option<System> {
    let Expr::Column(column) = expr else {
        return None;
    };
    System::ALL.into_iter().find(|system| system.name() == column.name)
}

fn integer(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::Int16(Some(value)) => Some(i64::from(*value)),
        ScalarValue::Int32(Some(value)) => Some(i64::from(*value)),
        ScalarValue::Int64(Some(value)) => Some(*value),
        _ => None,
    }
}

/// Rounded down to the milliseconds that records have.
fn time(value: &ScalarValue) -> Option<Timestamp> {
    let milliseconds = match value {
        ScalarValue::TimestampSecond(Some(value), _) => value.checked_mul(1_000)?,
        ScalarValue::TimestampMillisecond(Some(value), _) => *value,
        ScalarValue::TimestampMicrosecond(Some(value), _) => value.div_euclid(1_000),
        ScalarValue::TimestampNanosecond(Some(value), _) => value.div_euclid(1_000_000),
        _ => return None,
    };
    Some(Timestamp(milliseconds))
}
