//! `pg_stat_activity`: the sessions that are there. Who may not see everything sees their own.

use super::DATABASE_OID;
use crate::catalog::DATABASE;
use crate::catalog::cells::{Cell, Of, Shape, batch};
use crate::error::Error;
use crate::processes::Processes;
use anabranch_engine::Session as EngineSession;
use datafusion::arrow::array::RecordBatch;

pub(super) const PG_STAT_ACTIVITY: &str = "pg_stat_activity";

/// PostgreSQL 15, 28.2.3. What a session does is not told.
pub(super) const SHAPE: Shape = &[
    ("datid", Of::Oid),
    ("datname", Of::Text),
    ("pid", Of::Int4),
    ("leader_pid", Of::Int4),
    ("usesysid", Of::Oid),
    ("usename", Of::Text),
    ("application_name", Of::Text),
    ("client_addr", Of::Text),
    ("client_hostname", Of::Text),
    ("client_port", Of::Int4),
    ("backend_start", Of::Timestamptz),
    ("xact_start", Of::Timestamptz),
    ("query_start", Of::Timestamptz),
    ("state_change", Of::Timestamptz),
    ("wait_event_type", Of::Text),
    ("wait_event", Of::Text),
    ("state", Of::Text),
    ("backend_xid", Of::Oid),
    ("backend_xmin", Of::Oid),
    ("query_id", Of::Int8),
    ("query", Of::Text),
    ("backend_type", Of::Text),
];

pub(super) fn activity(
    engine: &EngineSession,
    processes: &Processes,
) -> Result<RecordBatch, Error> {
    let mut all = processes.all();
    if !engine.sees_all() {
        let user = engine.user();
        all.retain(|(_, process)| user.as_ref() == Some(&process.user));
    }
    batch(SHAPE, &all, |(id, process), column| {
        Some(match column {
            "datid" => Cell::int(DATABASE_OID),
            "datname" => Cell::text(DATABASE),
            "pid" => Cell::int(*id),
            "usename" => Cell::text(&process.user),
            "backend_start" => Cell::Int(process.began_micros),
            "backend_type" => Cell::text("client backend"),
            _ => Cell::Null,
        })
    })
}
