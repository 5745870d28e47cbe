//! `/v1/streams`: what there is.

use super::answer;
use crate::door::Door;
use crate::error::{Code, Failure};
use crate::follow::stream_to_read;
use anabranch_engine::{Column, ErrorKind, Mode, Stream};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Serialize)]
struct AllStreams<'a> {
    streams: Vec<OneStream<'a>>,
}

#[derive(Serialize)]
struct OneStream<'a> {
    name: &'a str,
    mode: Mode,
    partitions: Vec<OnePartition>,
    columns: &'a [Column],
    settings: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
struct OnePartition {
    partition: usize,
    log_start: i64,
    high_watermark: i64,
}

/// `GET /v1/streams`.
pub(super) async fn all(State(door): State<Arc<Door>>) -> Result<Response, Failure> {
    let catalog = door.engine.catalog();
    let streams = catalog.streams().filter(|stream| !stream.is_internal());
    let streams = streams.map(|stream| describe(&door, stream)).collect();
    encode(&AllStreams { streams })
}

/// `GET /v1/streams/{name}`.
pub(super) async fn one(
    State(door): State<Arc<Door>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, Failure> {
    let stream = stream_to_read(&door.engine.catalog(), &answer::path(name)?)?;
    encode(&describe(&door, &stream))
}

fn describe<'a>(door: &Door, stream: &'a Stream) -> OneStream<'a> {
    let logs = stream.partitions.iter().enumerate();
    let partitions = logs
        .filter_map(|(partition, &id)| {
            // A stream that is just being dropped has no partitions left.
            let log = door.engine.marks(id)?;
            let (log_start, high_watermark) = (log.log_start().0, log.high_watermark().0);
            Some(OnePartition { partition, log_start, high_watermark })
        })
        .collect();
    OneStream {
        name: &stream.name,
        mode: stream.mode,
        partitions,
        columns: &stream.columns,
        settings: &stream.settings,
    }
}

fn encode(value: &impl Serialize) -> Result<Response, Failure> {
    let mut body = serde_json::to_vec(value)
        .map_err(|error| Failure::new(Code::Engine(ErrorKind::Internal), error.to_string()))?;
    body.push(b'\n');
    Ok(answer::json(StatusCode::OK, body))
}
