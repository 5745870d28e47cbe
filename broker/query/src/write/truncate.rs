//! TRUNCATE.

use super::Written;
use super::target::Target;
use crate::error::{Error, sqlstate};
use crate::execute::Execution;
use crate::pending::{Event, Pending};
use crate::sql::Sql;
use anabranch_engine::table::KeyRange;
use datafusion::sql::sqlparser::ast::{Truncate, TruncateIdentityOption};

/// Streams that lose all that is in them.
pub(crate) struct TruncatePlan {
    targets: Vec<Target>,
}

impl TruncatePlan {
    pub(super) fn new(sql: &Sql, truncate: &Truncate) -> Result<Self, Error> {
        if matches!(truncate.identity, Some(TruncateIdentityOption::Restart)) {
            return Err(Error::unsupported("TRUNCATE … RESTART IDENTITY is not supported")
                .hint("ALTER SEQUENCE … RESTART does that"));
        }
        let targets = truncate.table_names.iter().map(|table| Target::find(sql, &table.name));
        Ok(Self { targets: targets.collect::<Result<_, _>>()? })
    }

    /// Outside of transactions: what was appended until now is gone from tables and logs, as if
    /// its retention had ended.
    pub(super) async fn execute_alone(&self, execution: &Execution) -> Result<Written, Error> {
        let engine = execution.sql.engine();
        let mut ends = Vec::new();
        for target in &self.targets {
            for id in &target.stream.partitions {
                ends.extend(engine.partition(*id).map(|log| (*id, log.high_watermark())));
            }
        }
        engine.delete_records(ends).await?;
        Ok(Written { verb: "TRUNCATE TABLE", count: 0, returning: None })
    }

    /// Within a transaction: every row is deleted.
    pub(super) async fn execute(&self, execution: Execution) -> Result<(Written, Pending), Error> {
        let snapshot = execution.snapshot().await?;
        let engine = execution.sql.engine();
        let mut pending = Pending::counted(&execution.sql);
        for Target { stream, .. } in &self.targets {
            if !stream.table.is_some_and(|_| stream.mode == anabranch_engine::Mode::Upsert) {
                let logs = stream.partitions.iter().filter_map(|id| engine.partition(*id));
                let has_events = logs.into_iter().any(|log| log.log_start() < log.high_watermark())
                    || snapshot.written(stream).next().is_some();
                if has_events {
                    return Err(Error::new(
                        sqlstate::TRANSACTION_ACTIVE,
                        format!(
                            "stream \"{}\" keeps every event: TRUNCATE of it cannot be undone and \
                             cannot run inside a transaction block",
                            stream.name
                        ),
                    ));
                }
                continue;
            }
            for row in snapshot.scan(stream, &KeyRange::ALL)? {
                let (key, row) = row?;
                pending.check(stream, &key, snapshot.round());
                pending.push(Event {
                    stream: stream.clone(),
                    partition: row.stamp.partition,
                    key: Some(key),
                    value: None,
                    timestamp: engine.now(),
                })?;
            }
        }
        Ok((Written { verb: "TRUNCATE TABLE", count: 0, returning: None }, pending))
    }
}
