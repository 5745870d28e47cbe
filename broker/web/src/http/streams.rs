//! `/v1/streams`: what there is.

use super::answer;
use crate::error::{Code, Failure};
use crate::follow::stream_to_read;
use crate::login::Caller;
use anabranch_engine::{Column, ErrorKind, Mode, Session, Stream};
use axum::Extension;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use std::collections::BTreeMap;

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
pub(super) async fn all(Extension(caller): Extension<Caller>) -> Result<Response, Failure> {
    let catalog = caller.engine.catalog();
    let streams = catalog.streams().filter(|stream| !stream.is_internal());
    let streams = streams.map(|stream| describe(&caller.engine, stream)).collect();
    encode(&AllStreams { streams })
}

/// `GET /v1/streams/{name}`.
pub(super) async fn one(
    Extension(caller): Extension<Caller>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, Failure> {
    let stream = stream_to_read(&caller.engine, &answer::path(name)?)?;
    encode(&describe(&caller.engine, &stream))
}

fn describe<'a>(engine: &Session, stream: &'a Stream) -> OneStream<'a> {
    let logs = stream.partitions.iter().enumerate();
    let partitions = logs
        .filter_map(|(partition, &id)| {
            // A stream that is just being dropped has no partitions left.
            let log = engine.marks(id)?;
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
