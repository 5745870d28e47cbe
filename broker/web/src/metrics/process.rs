//! Figures of the process, from Linux' `/proc` (proc(5)), under the names that Prometheus' client
//! libraries give them.

use super::{Exposition, Kind};
use std::fs;

/// The kernel's unit of CPU time for user space, `USER_HZ`: 100 on every platform but Alpha.
const TICKS_A_SECOND: f64 = 100.0;

/// Adds what `/proc` tells; on other systems nothing.
pub(super) fn add(out: &mut Exposition) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    if let Some(seconds) = cpu_seconds(&stat) {
        let help = "CPU time of the process, user and system.";
        out.add("process_cpu_seconds_total", Kind::Counter, help, seconds);
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    for (field, name, help) in [
        ("VmRSS:", "process_resident_memory_bytes", "Resident memory of the process."),
        ("VmHWM:", "process_resident_memory_peak_bytes", "Highest resident memory so far."),
    ] {
        if let Some(bytes) = status_bytes(&status, field) {
            out.add(name, Kind::Gauge, help, bytes);
        }
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        let help = "Open file descriptors.";
        out.add("process_open_fds", Kind::Gauge, help, open.count() as f64);
    }
}

/// Fields 14 and 15 of `stat`, utime and stime. The second field, the name in parentheses, may
/// contain anything.
pub(super) fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_A_SECOND)
}

/// A field of `status`, which counts in KiB.
pub(super) fn status_bytes(status: &str, field: &str) -> Option<f64> {
    let rest = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: f64 = rest.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024.0)
}
