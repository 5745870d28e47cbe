//! `/v1/tables/{name}/rows`: the rows of a stream's table.

use super::{answer, body};
use crate::door::Door;
use crate::error::{Code, Failure};
use crate::event::{NewEvent, key_from_columns};
use crate::follow::stream_to_read;
use crate::frames::push_row;
use crate::json::{push_comma, push_string, push_uint};
use crate::limits::{BODY_BYTES_MAX, CUT_TIMEOUT, PAGE_BYTES, PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX};
use crate::login::Caller;
use crate::publish::{self, Defaults};
use anabranch_engine::{ErrorKind, Mode, Session, Stream, table};
use anabranch_query::{Change, LiveSpec, LiveTable, Op, Phase, Start};
use anabranch_types::{PartitionIndex, Round};
use axum::Extension;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::sync::Arc;

/// Which rows.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListParameters {
    filter: Option<String>,
    limit: Option<usize>,
}

/// `GET …/rows`: rows of one cut.
pub(super) async fn list(
    State(door): State<Arc<Door>>,
    Extension(caller): Extension<Caller>,
    name: Result<Path<String>, PathRejection>,
    parameters: Result<Query<ListParameters>, QueryRejection>,
) -> Result<Response, Failure> {
    let (name, parameters) = (answer::path(name)?, answer::parameters(parameters)?);
    let limit = parameters.limit.unwrap_or(PAGE_ITEMS_DEFAULT);
    if !(1..=PAGE_ITEMS_MAX).contains(&limit) {
        return Err(Failure::invalid(format!("limit is 1 to {PAGE_ITEMS_MAX}")));
    }
    let stream = stream_to_read(&caller.engine, &name)?;
    if stream.mode != Mode::Upsert {
        return Err(no_table(&name));
    }
    let spec =
        LiveSpec { stream: name.clone(), filter: parameters.filter, start: Start::Beginning };
    let listed = tokio::time::timeout(CUT_TIMEOUT, rows(&caller, spec, limit)).await;
    let Listed { rows, count, round, complete } = listed.map_err(|_| {
        Failure::new(
            Code::Engine(ErrorKind::TimedOut),
            format!("no {limit} such rows were found within {} seconds", CUT_TIMEOUT.as_secs()),
        )
        .hint("subscribe to the table, or use SQL")
    })??;
    door.counts.changes_delivered.add(count as u64);

    let mut body = Vec::with_capacity(rows.len() + 256);
    body.extend_from_slice(b"{\"table\":");
    push_string(&mut body, &name);
    body.extend_from_slice(b",\"round\":");
    push_uint(&mut body, round.0);
    body.extend_from_slice(b",\"rows\":[");
    body.extend_from_slice(&rows);
    body.extend_from_slice(b"],\"complete\":");
    body.extend_from_slice(if complete { b"true" } else { b"false" });
    body.extend_from_slice(b"}\n");
    Ok(answer::json(StatusCode::OK, body))
}

#[derive(Default)]
struct Listed {
    /// Objects with a comma between them.
    rows: Vec<u8>,
    count: usize,
    round: Round,
    /// Whether these are all.
    complete: bool,
}

async fn rows(caller: &Caller, spec: LiveSpec, limit: usize) -> Result<Listed, Failure> {
    let mut table = LiveTable::open(&caller.sql()?, spec).await?;
    let mut listed = Listed::default();
    loop {
        let batch = table.next_batch().await?;
        listed.round = batch.round;
        for row in &batch.changes {
            if listed.count == limit || listed.rows.len() >= PAGE_BYTES {
                return Ok(listed);
            }
            push_comma(&mut listed.rows);
            push_row(&mut listed.rows, &table, row);
            listed.count += 1;
        }
        if batch.phase == Phase::SnapshotEnd {
            listed.complete = true;
            return Ok(listed);
        }
    }
}

/// `GET …/rows/{key}`: one row.
pub(super) async fn one(
    Extension(caller): Extension<Caller>,
    place: Result<Path<(String, String)>, PathRejection>,
) -> Result<Response, Failure> {
    let (name, key) = answer::path(place)?;
    let (stream, key) = row_place(&caller.engine, &name, &key)?;
    let Some(id) = stream.table else {
        return Err(no_table(&name));
    };
    let cut = caller.engine.cut(CUT_TIMEOUT).await?;
    let wanted = key.clone();
    // The row may have to come from disk.
    let found = tokio::task::spawn_blocking(move || cut.tables.get(id, &wanted)).await;
    let found = found.map_err(|ended| {
        Failure::new(Code::Engine(ErrorKind::Internal), format!("the read ended: {ended}"))
    })?;
    let row = found?.ok_or_else(|| {
        Failure::not_found("there is no row of this key").hint("GET …/rows lists some")
    })?;
    let spec = LiveSpec { stream: name, filter: None, start: Start::Now };
    let table = LiveTable::open(&caller.sql()?, spec).await?;
    let mut body = Vec::new();
    push_row(&mut body, &table, &as_change(&stream, key, row));
    body.push(b'\n');
    Ok(answer::json(StatusCode::OK, body))
}

fn as_change(stream: &Stream, key: Bytes, row: table::Row) -> Change {
    let number = stream.partitions.iter().position(|&id| id == row.stamp.partition);
    Change {
        op: Op::Upsert,
        stamp: row.stamp,
        // A row whose partition is gone cannot be: partitions only go with their stream.
        partition: PartitionIndex(number.map_or(-1, |number| number as i32)),
        timestamp: row.timestamp,
        key: Some(key),
        value: Some(row.value),
    }
}

/// `PUT …/rows/{key}`: sets one row.
pub(super) async fn put(
    State(door): State<Arc<Door>>,
    Extension(caller): Extension<Caller>,
    place: Result<Path<(String, String)>, PathRejection>,
    request: Request,
) -> Result<Response, Failure> {
    let (name, key) = answer::path(place)?;
    let (stream, key) = row_place(&caller.engine, &name, &key)?;
    let body = body::read(&door, request, BODY_BYTES_MAX).await?;
    let text =
        std::str::from_utf8(&body.bytes).map_err(|_| Failure::invalid("the body is not UTF-8"))?;
    let value: &RawValue = serde_json::from_str(text)
        .map_err(|error| Failure::invalid(format!("the body is no JSON document: {error}")))?;
    if value.get() == "null" {
        return Err(Failure::invalid("a row cannot be null").hint("DELETE removes it"));
    }
    write(&door, &caller.engine, &stream, key, Some(value.get().as_bytes())).await
}

/// `DELETE …/rows/{key}`: removes one row.
pub(super) async fn delete(
    State(door): State<Arc<Door>>,
    Extension(caller): Extension<Caller>,
    place: Result<Path<(String, String)>, PathRejection>,
) -> Result<Response, Failure> {
    let (name, key) = answer::path(place)?;
    let (stream, key) = row_place(&caller.engine, &name, &key)?;
    write(&door, &caller.engine, &stream, key, None).await
}

async fn write(
    door: &Door,
    engine: &Session,
    stream: &Stream,
    key: Bytes,
    value: Option<&[u8]>,
) -> Result<Response, Failure> {
    let event = NewEvent {
        key: Some(Cow::Borrowed(&key)),
        value: value.map(Cow::Borrowed),
        ..NewEvent::default()
    };
    let defaults = Defaults { now: engine.now(), turn: 0 };
    let prepared = publish::prepare(stream, vec![event], defaults)?;
    let acknowledged = publish::publish(engine, prepared).await?;
    door.counts.events_published.add(1);
    Ok(answer::acknowledged(&acknowledged))
}

/// The stream and the record key that a path names.
fn row_place(engine: &Session, name: &str, key: &str) -> Result<(Arc<Stream>, Bytes), Failure> {
    let stream = stream_to_read(engine, name)?;
    if stream.mode != Mode::Upsert {
        return Err(no_table(name));
    }
    let key = match stream.key_columns().count() {
        0 | 1 => Bytes::copy_from_slice(key.as_bytes()),
        _ => Bytes::from(key_from_columns(key)?),
    };
    Ok((stream, key))
}

fn no_table(name: &str) -> Failure {
    Failure::invalid(format!("stream {name:?} is no keyed table: each of its events is a row"))
        .hint("GET /v1/streams/{name}/events, or POST /v1/sql, or subscribe with a filter")
}
