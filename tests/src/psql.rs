//! psql against the broker.

use crate::broker::Broker;
use crate::process::{program, run, run_any};
use std::process::Command;

/// psql on the broker: unaligned rows without headers, and stops at the first error.
pub(crate) fn psql(broker: &Broker) -> Command {
    let mut command = program("psql");
    command
        .args(["-h", "127.0.0.1", "-p", &broker.postgres_port().to_string()])
        .args(["-U", "tester", "-d", "anabranch", "-XAtq", "-v", "ON_ERROR_STOP=1"])
        .env("PGCONNECT_TIMEOUT", "30");
    command
}

/// The rows of a query, columns separated by `|`.
#[track_caller]
pub(crate) fn query(broker: &Broker, sql: &str) -> Vec<String> {
    let said = run(psql(broker).args(["-c", sql]), &[]);
    said.lines().map(ToOwned::to_owned).collect()
}

/// The one value of a query.
#[track_caller]
pub(crate) fn value(broker: &Broker, sql: &str) -> String {
    let rows = query(broker, sql);
    assert_eq!(rows.len(), 1, "{sql}: {rows:?}");
    rows.into_iter().next().expect("one row")
}

/// A statement that must fail; returns what psql says, with the SQLSTATE.
#[track_caller]
pub(crate) fn error(broker: &Broker, sql: &str) -> String {
    let output = run_any(psql(broker).args(["-v", "VERBOSITY=verbose", "-c", sql]), &[]);
    assert!(!output.status.success(), "{sql}: succeeded");
    String::from_utf8_lossy(&output.stderr).into_owned()
}
