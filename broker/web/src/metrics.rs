//! `/metrics`: Prometheus' text format 0.0.4, written by hand.

mod engine;
mod groups;
mod process;
#[cfg(test)]
mod tests;

use crate::door::Door;
use anabranch_net::{Histogram, Metrics, Refusal};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// What another part of the broker adds to `/metrics`. Called for each scrape; must not block.
pub type Collect = Arc<dyn Fn(&mut Exposition) + Send + Sync>;

/// The text of a scrape in the making.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
}

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only rises. By convention its name ends in `_total`.
    Counter,
    /// Rises and falls.
    Gauge,
}

impl Exposition {
    /// Adds a metric with one value. `name` is Prometheus' way: words of `a-z0-9_`, base units
    /// (`_seconds`, `_bytes`) last; `help` is one line.
    pub fn add(&mut self, name: &str, kind: Kind, help: &str, value: f64) {
        self.add_labelled(name, kind, help, &[(&[], value)]);
    }

    /// Adds a metric with a value for each set of labels (name, value).
    pub fn add_labelled(
        &mut self,
        name: &str,
        kind: Kind,
        help: &str,
        samples: &[(&[(&str, &str)], f64)],
    ) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let text = &mut self.text;
        // Writing into a String cannot fail.
        _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        for (labels, value) in samples {
            text.push_str(name);
            for (number, (label, value)) in labels.iter().enumerate() {
                let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
                let open = if number == 0 { '{' } else { ',' };
                _ = write!(text, "{open}{label}=\"{value}\"");
            }
            if !labels.is_empty() {
                text.push('}');
            }
            _ = writeln!(text, " {value}");
        }
    }

    /// Adds how long something took.
    pub fn add_histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        let counts = histogram.cumulative();
        let text = &mut self.text;
        // Writing into a String cannot fail.
        _ = write!(text, "# HELP {name} {help}\n# TYPE {name} histogram\n");
        for (bound, count) in &counts {
            let bound = if bound.is_finite() { bound.to_string() } else { "+Inf".to_owned() };
            _ = writeln!(text, "{name}_bucket{{le=\"{bound}\"}} {count}");
        }
        let all = counts.last().map_or(0, |(_, count)| *count);
        _ = writeln!(text, "{name}_sum {}\n{name}_count {all}", histogram.seconds());
    }

    /// Adds what the gate of a door counts.
    pub fn add_connections(&mut self, door: &str, metrics: &Metrics) {
        let name = |what: &str| format!("anabranch_{door}_connections{what}");
        let open = metrics.open.get() as f64;
        self.add(&name(""), Kind::Gauge, "Connections that are open.", open);
        let accepted = metrics.accepted.get() as f64;
        self.add(&name("_total"), Kind::Counter, "Connections let in.", accepted);
        let encrypted = metrics.encrypted.get() as f64;
        let help = "TLS handshakes done.";
        self.add(&format!("anabranch_{door}_tls_handshakes_total"), Kind::Counter, help, encrypted);
        let labels = Refusal::ALL.map(|why| [("reason", why.name())]);
        let counts = Refusal::ALL.map(|why| metrics.refused(why).get() as f64);
        let samples: Vec<(&[(&str, &str)], f64)> =
            labels.iter().map(|labels| &labels[..]).zip(counts).collect();
        let help = "Connections that were not let in, by reason.";
        self.add_labelled(&name("_refused_total"), Kind::Counter, help, &samples);
    }

    /// The text so far.
    #[must_use]
    pub fn into_text(self) -> String {
        self.text
    }
}

/// What the door counts. Nothing but a count depends on them.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) sockets: Gauge,
    pub(crate) subscriptions: Gauge,
    pub(crate) requests: Counter,
    pub(crate) refused: Counter,
    pub(crate) messages_in: Counter,
    pub(crate) messages_out: Counter,
    pub(crate) bytes_out: Counter,
    pub(crate) events_published: Counter,
    pub(crate) events_delivered: Counter,
    pub(crate) changes_delivered: Counter,
}

/// Only rises.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    fn get(&self) -> f64 {
        self.0.load(Ordering::Relaxed) as f64
    }
}

/// Rises and falls.
#[derive(Debug, Default)]
pub(crate) struct Gauge(AtomicI64);

impl Gauge {
    pub(crate) fn add(&self, count: i64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    fn get(&self) -> f64 {
        self.0.load(Ordering::Relaxed) as f64
    }
}

/// The text of a scrape.
pub(crate) fn scrape(door: &Door) -> String {
    let mut out = Exposition::default();
    engine::add(&door.own, &mut out);
    groups::add(&door.own, &mut out);
    web(&door.counts, &mut out);
    out.add_connections("web", &door.connections);
    for collect in &door.settings.collect {
        collect(&mut out);
    }
    process::add(&mut out);
    out.into_text()
}

fn web(counts: &Counts, out: &mut Exposition) {
    let mut counter = |name: &str, help: &str, counter: &Counter| {
        out.add(&format!("anabranch_web_{name}"), Kind::Counter, help, counter.get());
    };
    counter("requests_total", "HTTP requests.", &counts.requests);
    counter("refused_total", "Requests and messages answered with an error.", &counts.refused);
    counter("messages_received_total", "WebSocket messages received.", &counts.messages_in);
    counter("messages_sent_total", "WebSocket messages sent.", &counts.messages_out);
    counter("sent_bytes_total", "Bytes of WebSocket messages sent.", &counts.bytes_out);
    counter(
        "events_published_total",
        "Events published and acknowledged.",
        &counts.events_published,
    );
    counter(
        "events_delivered_total",
        "Events sent to subscribers of streams.",
        &counts.events_delivered,
    );
    counter(
        "changes_delivered_total",
        "Rows and changes sent to subscribers of tables.",
        &counts.changes_delivered,
    );
    let mut gauge = |name: &str, help: &str, gauge: &Gauge| {
        out.add(&format!("anabranch_web_{name}"), Kind::Gauge, help, gauge.get());
    };
    gauge("websockets", "Open WebSocket connections.", &counts.sockets);
    gauge("subscriptions", "Subscriptions of WebSocket connections.", &counts.subscriptions);
}
