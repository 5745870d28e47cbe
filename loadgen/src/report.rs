//! Results, as a table and as JSON.

use crate::error::Error;
use crate::measure::{Meter, Sample, Sums, quantile_ms};
use crate::server::Usage;
use comfy_table::{Cell, CellAlignment, Table, presets};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::path::Path;
use std::time::Duration;

/// Watches CPU and memory of the broker and of this process over the measured time.
#[derive(Debug)]
pub(crate) struct Watch {
    pid: Option<u32>,
    server: Option<Usage>,
    own: Usage,
    anonymous_bytes_max: u64,
    peak_bytes: u64,
    server_cpu: Duration,
    own_cpu: Duration,
}

impl Watch {
    pub(crate) fn start(pid: Option<u32>) -> Result<Self, Error> {
        let mut watch = Self {
            pid,
            server: pid.map(|pid| Usage::read(Some(pid))).transpose()?,
            own: Usage::read(None)?,
            anonymous_bytes_max: 0,
            peak_bytes: 0,
            server_cpu: Duration::ZERO,
            own_cpu: Duration::ZERO,
        };
        watch.look()?;
        Ok(watch)
    }

    /// Takes note of the broker's memory.
    pub(crate) fn look(&mut self) -> Result<(), Error> {
        if let Some(pid) = self.pid {
            let usage = Usage::read(Some(pid))?;
            self.anonymous_bytes_max = self.anonymous_bytes_max.max(usage.anonymous_bytes);
            self.peak_bytes = self.peak_bytes.max(usage.peak_bytes);
        }
        Ok(())
    }

    /// The measured time is over.
    pub(crate) fn stop(&mut self) -> Result<(), Error> {
        self.look()?;
        self.own_cpu = Usage::read(None)?.cpu.saturating_sub(self.own.cpu);
        if let (Some(pid), Some(start)) = (self.pid, self.server) {
            self.server_cpu = Usage::read(Some(pid))?.cpu.saturating_sub(start.cpu);
        }
        Ok(())
    }
}

/// Quantiles of a latency, in milliseconds.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Latency {
    /// From where to where.
    pub(crate) what: String,
    pub(crate) count: u64,
    pub(crate) p50_ms: f64,
    pub(crate) p90_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    pub(crate) max_ms: f64,
}

impl Latency {
    pub(crate) fn of(what: impl Into<String>, latencies: &Histogram<u64>) -> Self {
        Self {
            what: what.into(),
            count: latencies.len(),
            p50_ms: quantile_ms(latencies, 0.5),
            p90_ms: quantile_ms(latencies, 0.9),
            p99_ms: quantile_ms(latencies, 0.99),
            p999_ms: quantile_ms(latencies, 0.999),
            max_ms: quantile_ms(latencies, 1.0),
        }
    }
}

/// What the broker used.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ServerUse {
    pub(crate) cpu_s_per_million: f64,
    /// CPU seconds a second.
    pub(crate) cores: f64,
    /// Most memory at once that was no file's, while measured.
    pub(crate) anonymous_mb_max: f64,
    /// Most memory ever, mapped files included.
    pub(crate) peak_mb: f64,
}

/// One measurement.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    pub(crate) command: &'static str,
    pub(crate) settings: serde_json::Value,
    pub(crate) events: u64,
    pub(crate) failed: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) first_failure: String,
    pub(crate) seconds: f64,
    pub(crate) events_per_s: f64,
    pub(crate) mb_per_s: f64,
    pub(crate) client_cpu_s_per_million: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server: Option<ServerUse>,
    pub(crate) latencies: Vec<Latency>,
    pub(crate) samples: Vec<Sample>,
}

impl Report {
    pub(crate) fn of(
        command: &'static str,
        settings: serde_json::Value,
        sums: &Sums,
        watch: &Watch,
        meter: &Meter,
        size: usize,
    ) -> Self {
        let millions = (sums.events as f64 / 1e6).max(1e-9);
        let seconds = sums.seconds().max(1e-9);
        let (failed, first_failure) = meter.failures();
        let mega = |bytes: u64| bytes as f64 / 1e6;
        let server = watch.pid.map(|_| ServerUse {
            cpu_s_per_million: watch.server_cpu.as_secs_f64() / millions,
            cores: watch.server_cpu.as_secs_f64() / seconds,
            anonymous_mb_max: mega(watch.anonymous_bytes_max),
            peak_mb: mega(watch.peak_bytes),
        });
        let latencies = if sums.latencies.is_empty() {
            Vec::new()
        } else {
            vec![Latency::of("sent → acknowledged", &sums.latencies)]
        };
        Self {
            command,
            settings,
            events: sums.events,
            failed,
            first_failure,
            seconds,
            events_per_s: sums.events as f64 / seconds,
            mb_per_s: sums.events as f64 * size as f64 / 1e6 / seconds,
            client_cpu_s_per_million: watch.own_cpu.as_secs_f64() / millions,
            server,
            latencies,
            samples: sums.samples.clone(),
        }
    }

    pub(crate) fn add_failures(&mut self, count: u64, first: String) {
        if self.failed == 0 {
            self.first_failure = first;
        }
        self.failed += count;
    }

    #[expect(clippy::print_stdout, reason = "the result is what the program is for")]
    pub(crate) fn print(&self) {
        let mut table = new_table(&["", "value"]);
        let mut row = |name: &str, value: String| {
            table.add_row([Cell::new(name), right(value)]);
        };
        row("events", self.events.to_string());
        row("seconds", format!("{:.2}", self.seconds));
        row("events/s", format!("{:.0}", self.events_per_s));
        row("MB/s", format!("{:.1}", self.mb_per_s));
        if self.failed > 0 {
            row("failed", self.failed.to_string());
        }
        row("load generator, CPU s per million", format!("{:.3}", self.client_cpu_s_per_million));
        if let Some(server) = &self.server {
            row("broker, CPU s per million", format!("{:.3}", server.cpu_s_per_million));
            row("broker, cores", format!("{:.2}", server.cores));
            row("broker, anonymous memory, MB", format!("{:.1}", server.anonymous_mb_max));
            row("broker, peak memory, MB", format!("{:.1}", server.peak_mb));
        }
        println!("{table}");
        if self.latencies.is_empty() {
            return;
        }
        let mut table = new_table(&["milliseconds", "p50", "p90", "p99", "p99.9", "max", "count"]);
        for one in &self.latencies {
            let mut cells = vec![Cell::new(&one.what)];
            let quantiles = [one.p50_ms, one.p90_ms, one.p99_ms, one.p999_ms, one.max_ms];
            cells.extend(quantiles.map(|ms| right(format!("{ms:.3}"))));
            cells.push(right(one.count.to_string()));
            table.add_row(cells);
        }
        println!("{table}");
    }

    pub(crate) fn write_json(&self, path: &Path) -> Result<(), Error> {
        let write = |source| Error::Write { path: path.to_owned(), source };
        let text = serde_json::to_string_pretty(self).map_err(|error| write(error.into()))?;
        std::fs::write(path, text + "\n").map_err(write)
    }
}

fn new_table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED);
    table.set_header(header);
    table
}

fn right(value: String) -> Cell {
    Cell::new(value).set_alignment(CellAlignment::Right)
}
