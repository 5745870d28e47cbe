//! What the engine counts.

use super::{Exposition, Kind};
use anabranch_engine::Session;

pub(super) fn add(own: &Session, out: &mut Exposition) {
    counters(own, out);
    gauges(own, out);
    let version = env!("CARGO_PKG_VERSION");
    let labels: &[(&str, &str)] = &[("version", version)];
    let help = "1, and the version of the broker.";
    out.add_labelled("anabranch_build_info", Kind::Gauge, help, &[(labels, 1.0)]);
}

fn counters(own: &Session, out: &mut Exposition) {
    let stats = own.stats();
    let sync_seconds = stats.sync_nanos as f64 / 1e9;
    let stall_seconds = stats.table_stall_nanos as f64 / 1e9;
    let counters = [
        ("rounds_total", "Rounds committed.", stats.rounds as f64),
        ("records_appended_total", "Records appended.", stats.records_appended as f64),
        ("batches_appended_total", "Record batches appended.", stats.batches_appended as f64),
        ("appended_bytes_total", "Bytes of batches appended.", stats.bytes_appended as f64),
        ("syncs_total", "Times the journal was synced.", stats.syncs as f64),
        ("sync_seconds_total", "Time spent in syncs of the journal.", sync_seconds),
        ("checkpoints_total", "Checkpoints written.", stats.checkpoints as f64),
        ("compactions_total", "Logs compacted.", stats.compactions as f64),
        (
            "compacted_bytes_total",
            "Bytes of segments that were compacted.",
            stats.compacted_bytes_before as f64,
        ),
        (
            "compacted_left_bytes_total",
            "Bytes that compaction left of them.",
            stats.compacted_bytes_after as f64,
        ),
        ("damaged_batches_total", "Damaged batches met and skipped.", stats.damaged_batches as f64),
        (
            "misfit_records_total",
            "Records of keyed streams that no table could take.",
            stats.misfit_records as f64,
        ),
        (
            "table_stall_seconds_total",
            "Time for which tables waited for their files to be merged.",
            stall_seconds,
        ),
        ("denials_total", "What was asked for and denied.", stats.denials as f64),
        ("logins_failed_total", "Logins that failed.", stats.logins_failed as f64),
        ("backups_total", "Backups made.", stats.backups as f64),
        ("backups_failed_total", "Backups that failed.", stats.backups_failed as f64),
    ];
    for (name, help, value) in counters {
        out.add(&format!("anabranch_{name}"), Kind::Counter, help, value);
    }
}

fn gauges(own: &Session, out: &mut Exposition) {
    let stats = own.stats();
    let catalog = own.catalog();
    let streams = catalog.streams().filter(|stream| !stream.is_internal()).count();
    let partitions: usize = catalog.streams().map(|stream| stream.partitions.len()).sum();
    let failed = f64::from(u8::from(stats.storage_error.is_some()));
    let gauges = [
        ("streams", "Streams, the broker's own left out.", streams as f64),
        ("partitions", "Partitions of all streams.", partitions as f64),
        ("log_bytes", "Bytes of all logs.", stats.log_bytes as f64),
        ("log_tail_bytes", "Bytes of recent batches in memory.", stats.tail_bytes as f64),
        ("table_bytes", "Bytes of the tables' files.", stats.table_bytes as f64),
        (
            "table_lag_rounds",
            "Rounds published that are not applied to tables yet.",
            stats.applied_lag_rounds as f64,
        ),
        (
            "transactions_open",
            "Transactions that are not decided yet.",
            stats.transactions_open as f64,
        ),
        (
            "transaction_oldest_seconds",
            "How long the oldest of them has been open.",
            stats.transaction_oldest_ms as f64 / 1e3,
        ),
        ("disk_free_bytes", "Bytes free under the data directory.", stats.disk_free_bytes as f64),
        (
            "disk_reserve_bytes",
            "Free bytes below which clients' appends are refused.",
            stats.disk_reserve_bytes as f64,
        ),
        (
            "backup_timestamp_seconds",
            "When the last backup was begun that was made since the start; 0 before it.",
            stats.backup_time_ms as f64 / 1e3,
        ),
        ("storage_failed", "1 after a storage error that stopped appends.", failed),
    ];
    for (name, help, value) in gauges {
        out.add(&format!("anabranch_{name}"), Kind::Gauge, help, value);
    }
}
