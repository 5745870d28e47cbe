//! The response to a produce request, written while the request is walked again.

use super::{Admitted, Fault, ProduceHead, TOPIC_IDS_FROM, TopicRef, Visitor, walk};
use crate::apis::PRODUCE_FLEXIBLE_FROM;
use crate::errors;
use crate::quotas::throttle_ms;
use crate::wire::{begin_frame, end_frame, put_count, put_no_tags, put_nullable_text, put_text};
use anabranch_engine::{AppendError, AppendResult, Appended};
use bytes::{BufMut, BytesMut};
use kafka_protocol::error::ResponseError;
use std::ops::Range;

/// First version whose clients know TRANSACTION_ABORTABLE (KIP-890).
const ABORTABLE_FROM: i16 = 11;

/// What became of a request as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Every partition took its batch.
    Taken,
    /// One or more did not.
    Refused,
}

/// Writes the response into `out`, unless the client wants none (acks=0). `result` is what the
/// commit loop said to the request's append, `None` if it was stopped before it said anything.
pub(crate) fn answer(
    out: &mut BytesMut,
    request: &Admitted,
    result: Option<&AppendResult>,
) -> Outcome {
    let flexible = request.version >= PRODUCE_FLEXIBLE_FROM;
    let mut writer = Writer {
        out,
        version: request.version,
        flexible,
        faults: &request.faults,
        results: result.map(|result| result.iter()),
        next: 0,
        outcome: Outcome::Taken,
    };
    let start = writer.out.len();
    if request.answered {
        begin_frame(writer.out, request.correlation, flexible);
    }
    walk(&request.body, request.version, &mut writer)
        .expect("the same bytes were walked when the request was admitted");
    let outcome = writer.outcome;
    if request.answered {
        out.put_i32(throttle_ms(request.throttle));
        put_no_tags(out, flexible);
        end_frame(out, start, 0);
    } else {
        out.truncate(start);
    }
    outcome
}

struct Writer<'a> {
    out: &'a mut BytesMut,
    version: i16,
    flexible: bool,
    faults: &'a [(usize, Fault)],
    results: Option<std::slice::Iter<'a, Result<Appended, AppendError>>>,
    next: usize,
    outcome: Outcome,
}

impl Writer<'_> {
    fn appended(&mut self, appended: &Appended) {
        self.out.put_i16(0);
        self.out.put_i64(appended.base_offset.0);
        self.out.put_i64(appended.append_time.map_or(-1, |time| time.0));
        if self.version >= 5 {
            self.out.put_i64(appended.log_start.0);
        }
        if self.version >= 8 {
            put_count(self.out, self.flexible, 0);
            put_nullable_text(self.out, self.flexible, None);
        }
        put_no_tags(self.out, self.flexible);
    }

    fn refused(&mut self, fault: &Fault) {
        self.outcome = Outcome::Refused;
        self.out.put_i16(fault.error.code());
        self.out.put_i64(-1);
        self.out.put_i64(-1);
        if self.version >= 5 {
            self.out.put_i64(-1);
        }
        if self.version >= 8 {
            let message = bounded(&fault.message);
            put_count(self.out, self.flexible, fault.records.len());
            for &record in &fault.records {
                self.out.put_i32(record);
                put_nullable_text(self.out, self.flexible, Some(message));
                put_no_tags(self.out, self.flexible);
            }
            put_nullable_text(self.out, self.flexible, Some(message));
        }
        put_no_tags(self.out, self.flexible);
    }
}

impl Visitor for Writer<'_> {
    fn head(&mut self, head: ProduceHead) {
        put_count(self.out, self.flexible, head.topics);
    }

    fn topic(&mut self, topic: TopicRef<'_>, partitions: usize) {
        match topic {
            TopicRef::Name(name) => put_text(self.out, self.flexible, name),
            TopicRef::Id(id) => {
                debug_assert!(self.version >= TOPIC_IDS_FROM);
                self.out.put_slice(id.as_bytes());
            }
        }
        put_count(self.out, self.flexible, partitions);
    }

    fn partition(&mut self, index: i32, _field: usize, _records: Option<Range<usize>>) {
        self.out.put_i32(index);
        let number = self.next;
        self.next += 1;
        if let Some((fault, rest)) = self.faults.split_first()
            && fault.0 == number
        {
            self.faults = rest;
            return self.refused(&fault.1);
        }
        match self.results.as_mut().and_then(Iterator::next) {
            Some(Ok(appended)) => self.appended(appended),
            Some(Err(error)) => {
                let mut fault: Fault = errors::Fault::append(error.clone()).into();
                if self.version >= ABORTABLE_FROM && *error == AppendError::NotInTransaction {
                    fault.error = ResponseError::TransactionAbortable;
                }
                self.refused(&fault);
            }
            None => self.refused(&lost()),
        }
    }

    fn topic_end(&mut self) {
        put_no_tags(self.out, self.flexible);
    }
}

/// The commit loop went away with the append: it may or may not have been written.
fn lost() -> Fault {
    Fault {
        error: ResponseError::RequestTimedOut,
        message: "the broker stopped before it knew whether the batch was written".into(),
        records: Vec::new(),
    }
}

/// At most 1,000 bytes of a message, cut between characters.
fn bounded(message: &str) -> &str {
    let end = (0..=message.len().min(1000)).rev().find(|&at| message.is_char_boundary(at));
    &message[..end.unwrap_or(0)]
}
