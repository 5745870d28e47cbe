//! `/v1/streams/{name}/events`: publishing and reading.

#[cfg(test)]
mod tests;

use super::{answer, body};
use crate::door::Door;
use crate::error::Failure;
use crate::event::{AtMost, EventFields, NewEvent, Object, key_from_fields};
use crate::follow::Follower;
use crate::frames::Page;
use crate::json::push_string;
use crate::limits::{BODY_BYTES_MAX, EVENTS_MAX, PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX, WAIT_MAX};
use crate::login::Caller;
use crate::position::Begin;
use crate::publish::{self, Defaults, stream_to_publish};
use anabranch_engine::Session;
use anabranch_types::PartitionIndex;
use axum::Extension;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A key for all events of a request.
const KEY_HEADER: HeaderName = HeaderName::from_static("anabranch-key");

/// How the documents of a body become events.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PublishParameters {
    key_field: Option<String>,
    key: Option<String>,
    #[serde(default)]
    envelope: bool,
    partition: Option<i32>,
}

/// `POST`: publishes.
pub(super) async fn publish(
    State(door): State<Arc<Door>>,
    Extension(caller): Extension<Caller>,
    name: Result<Path<String>, PathRejection>,
    parameters: Result<Query<PublishParameters>, QueryRejection>,
    request: Request,
) -> Result<Response, Failure> {
    let (name, parameters) = (answer::path(name)?, answer::parameters(parameters)?);
    let shape = Shape::new(parameters, request.headers())?;
    let body = body::read(&door, request, BODY_BYTES_MAX).await?;
    let text =
        std::str::from_utf8(&body.bytes).map_err(|_| Failure::invalid("the body is not UTF-8"))?;
    let events = shape.events(text)?;
    let stream = stream_to_publish(&caller.engine, &name).await?;
    let defaults = Defaults { now: caller.engine.now(), turn: door.turn() };
    let prepared = publish::prepare(&stream, events, defaults)?;
    // The batches are copies: the body has served.
    drop(body);
    let acknowledged = publish::publish(&caller.engine, prepared).await?;
    door.counts.events_published.add(acknowledged.places.len() as u64);
    Ok(answer::acknowledged(&acknowledged))
}

/// What the parameters and headers say about a body.
#[derive(Debug)]
struct Shape {
    key_fields: Vec<String>,
    key: Option<Vec<u8>>,
    is_envelope: bool,
    is_ndjson: bool,
    partition: Option<PartitionIndex>,
}

impl Shape {
    fn new(parameters: PublishParameters, headers: &HeaderMap) -> Result<Self, Failure> {
        let PublishParameters { key_field, key, envelope, partition } = parameters;
        let in_header = headers.get(KEY_HEADER).map(|key| key.as_bytes().to_vec());
        let ways = [key_field.is_some(), key.is_some(), in_header.is_some(), envelope];
        if ways.into_iter().filter(|way| *way).count() > 1 {
            return Err(Failure::invalid("the key is given in more than one way")
                .hint("key_field, key, the header Anabranch-Key, or envelope=true"));
        }
        let key_fields: Vec<_> = key_field
            .iter()
            .flat_map(|fields| fields.split(','))
            .map(|field| field.trim().to_owned())
            .collect();
        if key_fields.iter().any(String::is_empty) {
            return Err(Failure::invalid("key_field names no field"));
        }
        let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        Ok(Self {
            key_fields,
            key: key.map(String::into_bytes).or(in_header),
            is_envelope: envelope,
            is_ndjson: content_type.starts_with(b"application/x-ndjson"),
            partition: partition.map(PartitionIndex),
        })
    }

    /// The events of a body.
    fn events<'a>(&'a self, text: &'a str) -> Result<Vec<NewEvent<'a>>, Failure> {
        let mut events = Vec::new();
        for document in serde_json::Deserializer::from_str(text).into_iter::<&RawValue>() {
            let document = document
                .map_err(|error| Failure::invalid(format!("the body is not JSON: {error}")))?;
            if document.get().starts_with('[') && !self.is_ndjson {
                let elements: AtMost<&RawValue> = serde_json::from_str(document.get())
                    .map_err(|error| Failure::invalid(error.to_string()))?;
                for element in elements.0 {
                    self.add(element, &mut events)?;
                }
            } else {
                self.add(document, &mut events)?;
            }
        }
        Ok(events)
    }

    fn add<'a>(
        &'a self,
        document: &'a RawValue,
        events: &mut Vec<NewEvent<'a>>,
    ) -> Result<(), Failure> {
        if events.len() == EVENTS_MAX {
            return Err(Failure::invalid(format!("more than {EVENTS_MAX} events in one request"))
                .hint("send them in several"));
        }
        let event = self.event(document).map_err(|mut failure| {
            failure.message = format!("event {}: {}", events.len(), failure.message);
            failure
        })?;
        events.push(event);
        Ok(())
    }

    fn event<'a>(&'a self, document: &'a RawValue) -> Result<NewEvent<'a>, Failure> {
        let text = document.get();
        let mut event = if self.is_envelope {
            serde_json::from_str::<Object<EventFields<'_>>>(text)
                .map_err(|error| Failure::invalid(format!("not an event: {error}")))?
                .0
                .event()?
        } else {
            let value = (text != "null").then_some(Cow::Borrowed(text.as_bytes()));
            NewEvent { value, ..NewEvent::default() }
        };
        if let Some(key) = &self.key {
            event.key = Some(Cow::Borrowed(key));
        } else if !self.key_fields.is_empty() {
            let names: Vec<_> = self.key_fields.iter().map(String::as_str).collect();
            event.key = Some(Cow::Owned(key_from_fields(text.as_bytes(), &names)?));
        }
        event.partition = event.partition.or(self.partition);
        Ok(event)
    }
}

/// What to read.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReadParameters {
    from: Option<String>,
    limit: Option<usize>,
    wait_ms: Option<u64>,
    partition: Option<i32>,
}

/// `GET`: reads.
pub(super) async fn read(
    State(door): State<Arc<Door>>,
    Extension(caller): Extension<Caller>,
    name: Result<Path<String>, PathRejection>,
    parameters: Result<Query<ReadParameters>, QueryRejection>,
) -> Result<Response, Failure> {
    let (name, parameters) = (answer::path(name)?, answer::parameters(parameters)?);
    let limit = parameters.limit.unwrap_or(PAGE_ITEMS_DEFAULT);
    if !(1..=PAGE_ITEMS_MAX).contains(&limit) {
        return Err(Failure::invalid(format!("limit is 1 to {PAGE_ITEMS_MAX}")));
    }
    let wait = Duration::from_millis(parameters.wait_ms.unwrap_or(0));
    if wait > WAIT_MAX {
        return Err(Failure::invalid(format!("wait_ms is at most {}", WAIT_MAX.as_millis())));
    }
    let begin = parameters.from.as_deref().map_or(Ok(Begin::Beginning), Begin::parse)?;
    let only = parameters.partition.map(PartitionIndex);
    let mut follower = Follower::open(&caller.engine, &name, begin, only).await?;
    let page =
        read_page(&door, &caller.engine, &mut follower, limit, Instant::now() + wait).await?;
    door.counts.events_delivered.add(page.count as u64);

    let mut body = Vec::with_capacity(page.events.len() + 256);
    body.extend_from_slice(b"{\"stream\":");
    push_string(&mut body, &name);
    body.extend_from_slice(b",\"events\":[");
    body.extend_from_slice(&page.events);
    body.extend_from_slice(b"],\"next\":");
    push_string(&mut body, &follower.position());
    body.extend_from_slice(b"}\n");
    Ok(answer::json(StatusCode::OK, body))
}

/// Waits, until `deadline`, for something to read.
async fn read_page(
    door: &Door,
    engine: &Session,
    follower: &mut Follower,
    limit: usize,
    deadline: Instant,
) -> Result<Page, Failure> {
    let mut page = Page::new(limit);
    loop {
        let partitions: Vec<_> = follower.partition_ids().collect();
        // Before the read: what comes after it wakes us.
        let mut interest = engine.interest(&partitions);
        let has_moved;
        (page, has_moved) = follower.step(page).await;
        let has_moved = has_moved?;
        if page.count > 0 || Instant::now() >= deadline {
            return Ok(page);
        }
        if has_moved {
            continue;
        }
        tokio::select! {
            () = interest.changed() => {}
            () = tokio::time::sleep_until(deadline) => return Ok(page),
            () = door.stop.cancelled() => return Ok(page),
        }
        follower.refresh()?;
    }
}
