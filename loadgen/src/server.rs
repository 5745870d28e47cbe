//! What the broker's process has used, from `/proc` (proc(5), "stat" and "status").

use crate::error::Error;
use std::time::Duration;

/// The kernel's unit of time towards programs (time(7), "USER_HZ"): 100 on every architecture that
/// Rust's Linux targets run on.
const TICKS_PER_SECOND: u64 = 100;

/// CPU time and memory of a process.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// User and system time since it started.
    pub(crate) cpu: Duration,
    /// Most memory it ever held, mapped files included.
    pub(crate) peak_bytes: u64,
    /// Memory it holds now that is no file's.
    pub(crate) anonymous_bytes: u64,
}

impl Usage {
    /// Of another process, or of this one where `pid` is none.
    pub(crate) fn read(pid: Option<u32>) -> Result<Self, Error> {
        let own = std::process::id();
        let read = |file: &str| {
            let path = format!("/proc/{}/{file}", pid.unwrap_or(own));
            std::fs::read_to_string(path)
                .map_err(|source| Error::Server { pid: pid.unwrap_or(own), source })
        };
        let mut usage = Self { cpu: cpu(&read("stat")?), ..Self::default() };
        let status = read("status")?;
        usage.peak_bytes = kilobytes(&status, "VmHWM:");
        usage.anonymous_bytes = kilobytes(&status, "RssAnon:");
        Ok(usage)
    }
}

fn cpu(stat: &str) -> Duration {
    // The name in brackets can hold anything; the fields after it are numbers from the third on.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = |at: usize| fields.split_whitespace().nth(at - 3)?.parse::<u64>().ok();
    let ticks = ticks(14).unwrap_or(0) + ticks(15).unwrap_or(0);
    Duration::from_millis(ticks * (1_000 / TICKS_PER_SECOND))
}

fn kilobytes(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse::<u64>().ok()).unwrap_or(0) * 1024
}
