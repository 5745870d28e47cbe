//! What the other doors add to `/metrics`.

use anabranch_kafka::KafkaMetrics;
use anabranch_net::Metrics;
use anabranch_web::{Collect, Exposition, Kind};
use std::sync::Arc;

/// Adds the counts of a door's connections to each scrape.
pub(crate) fn connections(door: &'static str, metrics: Arc<Metrics>) -> Collect {
    Arc::new(move |out| out.add_connections(door, &metrics))
}

/// Adds the Kafka door's counters to each scrape.
pub(crate) fn kafka(metrics: Arc<KafkaMetrics>) -> Collect {
    Arc::new(move |out| expose(&metrics, out))
}

fn expose(metrics: &KafkaMetrics, out: &mut Exposition) {
    let counters = [
        (
            "connections_closed_total",
            "Connections closed because of what the client sent.",
            &metrics.refused,
        ),
        (
            "produce_refused_total",
            "Partitions of produce requests refused before they came to the log.",
            &metrics.produce_refused,
        ),
        ("in_bytes_total", "Bytes read from clients.", &metrics.bytes_in),
        ("out_bytes_total", "Bytes written to clients.", &metrics.bytes_out),
    ];
    for (name, help, counter) in counters {
        let name = format!("anabranch_kafka_{name}");
        out.add(&name, Kind::Counter, help, counter.get() as f64);
    }
    let help = "From the moment a produce request was read to its answer.";
    out.add_histogram("anabranch_kafka_produce_seconds", help, &metrics.produced);
    let help = "Fetches, with the time for which they waited for records as they had asked.";
    out.add_histogram("anabranch_kafka_fetch_seconds", help, &metrics.fetched);
    let requests: Vec<(String, f64)> = metrics
        .requests()
        .map(|(api, count)| (format!("{api:?}").to_lowercase(), count as f64))
        .collect();
    let labels: Vec<[(&str, &str); 1]> =
        requests.iter().map(|(api, _)| [("api", api.as_str())]).collect();
    let samples: Vec<(&[(&str, &str)], f64)> =
        labels.iter().zip(&requests).map(|(label, (_, count))| (&label[..], *count)).collect();
    let name = "anabranch_kafka_requests_total";
    out.add_labelled(name, Kind::Counter, "Requests, by API.", &samples);
}
