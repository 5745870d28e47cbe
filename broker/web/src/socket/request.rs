//! What WebSocket clients ask for: from text to requests. Pure.

#[cfg(test)]
mod tests;

use crate::error::Failure;
use crate::event::{AtMost, EventFields, NewEvent, Object};
use crate::position::Begin;
use serde::Deserialize;
use std::borrow::Cow;

/// Largest id: what JavaScript holds exactly.
const ID_MAX: u64 = (1 << 53) - 1;

/// A request; its `id` is the client's.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request<'a> {
    /// Names the answer, and a subscription.
    pub(crate) id: u64,
    /// What to do.
    pub(crate) op: Op<'a>,
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub(crate) enum Op<'a> {
    /// Follow a stream.
    Subscribe { stream: String, begin: Begin },
    /// Follow a table.
    SubscribeTable { table: String, filter: Option<String>, begin: Begin },
    /// Stop.
    Unsubscribe { sub: u64 },
    /// Append.
    Publish { stream: String, events: Vec<NewEvent<'a>> },
    /// Answer.
    Ping,
}

/// A message that is no request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The request's id, if it could be read.
    pub(crate) id: Option<u64>,
    /// What is wrong.
    pub(crate) failure: Failure,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields<'a> {
    id: u64,
    op: Cow<'a, str>,
    stream: Option<String>,
    table: Option<String>,
    filter: Option<String>,
    from: Option<String>,
    sub: Option<u64>,
    #[serde(borrow)]
    events: Option<AtMost<Object<EventFields<'a>>>>,
}

#[derive(Deserialize)]
struct IdOnly {
    id: u64,
}

/// Reads a message.
///
/// # Errors
/// It is no JSON, no request, or a request with fields that it does not take.
pub(crate) fn parse(text: &str) -> Result<Request<'_>, Refused> {
    let fields: Object<Fields<'_>> = serde_json::from_str(text).map_err(|error| Refused {
        id: serde_json::from_str::<IdOnly>(text).ok().map(|fields| fields.id),
        failure: Failure::invalid(format!("not a request: {error}"))
            .hint("see PROTOCOL.md: {\"id\":1,\"op\":\"subscribe\",\"stream\":\"…\"}"),
    })?;
    let fields = fields.0;
    let id = fields.id;
    if id > ID_MAX {
        let failure = Failure::invalid(format!("an id is at most {ID_MAX}"));
        return Err(Refused { id: None, failure });
    }
    let op = fields.op().map_err(|failure| Refused { id: Some(id), failure })?;
    Ok(Request { id, op })
}

impl<'a> Fields<'a> {
    fn op(mut self) -> Result<Op<'a>, Failure> {
        let op = match &*self.op {
            "subscribe" => {
                let begin = self.from.take().as_deref().map(Begin::parse).transpose()?;
                match (self.stream.take(), self.table.take()) {
                    (Some(stream), None) => {
                        Op::Subscribe { stream, begin: begin.unwrap_or(Begin::Now) }
                    }
                    (None, Some(table)) => Op::SubscribeTable {
                        table,
                        filter: self.filter.take(),
                        begin: begin.unwrap_or(Begin::Beginning),
                    },
                    _ => return Err(Failure::invalid("subscribe needs one of stream and table")),
                }
            }
            "unsubscribe" => Op::Unsubscribe { sub: needed(self.sub.take(), "sub")? },
            "publish" => {
                let events = needed(self.events.take(), "events")?.0;
                let many = events.len() > 1;
                let numbered = |(number, fields): (usize, Object<EventFields<'a>>)| {
                    fields.0.event().map_err(|mut failure| {
                        if many {
                            failure.message = format!("event {number}: {}", failure.message);
                        }
                        failure
                    })
                };
                let events = events.into_iter().enumerate().map(numbered);
                Op::Publish {
                    stream: needed(self.stream.take(), "stream")?,
                    events: events.collect::<Result<_, _>>()?,
                }
            }
            "ping" => Op::Ping,
            other => {
                let shown: String = other.chars().take(40).collect();
                return Err(Failure::invalid(format!("there is no op {shown:?}"))
                    .hint("subscribe, unsubscribe, publish, ping"));
            }
        };
        self.is_used_up()?;
        Ok(op)
    }

    /// Refuses fields that the op did not take.
    fn is_used_up(&self) -> Result<(), Failure> {
        let left = [
            ("stream", self.stream.is_some()),
            ("table", self.table.is_some()),
            ("filter", self.filter.is_some()),
            ("from", self.from.is_some()),
            ("sub", self.sub.is_some()),
            ("events", self.events.is_some()),
        ];
        match left.iter().find(|(_, is_left)| *is_left) {
            None => Ok(()),
            // The one that people will try: a filter needs a table's columns.
            Some(("filter", _)) => Err(Failure::invalid("a stream's subscription has no filter")
                .hint("subscribe to the table: \"table\" instead of \"stream\"")),
            Some((field, _)) => {
                Err(Failure::invalid(format!("{:?} does not go with {field:?} here", self.op)))
            }
        }
    }
}

fn needed<T>(field: Option<T>, name: &str) -> Result<T, Failure> {
    field.ok_or_else(|| Failure::invalid(format!("{name} is missing")))
}
