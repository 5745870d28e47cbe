//! Messages and pages: what steps of subscriptions and GETs are encoded into.

#[cfg(test)]
mod tests;

use crate::follow::Sink;
use crate::json::{push_comma, push_int, push_string, push_uint, put_on_one_line};
use crate::limits::{FRAME_BYTES, PAGE_BYTES, STEP_BYTES, STEP_COMPRESSED_BYTES};
use crate::record::push_record;
use anabranch_query::{Change, LiveTable, Op};
use anabranch_types::batch::Record;
use anabranch_types::{Offset, PartitionIndex, Round};

/// Messages of a stream's subscription, `{"type":"events",…}`.
#[derive(Debug)]
pub(crate) struct Frames {
    sub: u64,
    /// Finished messages.
    pub(crate) finished: Vec<Vec<u8>>,
    /// Events in all of them.
    pub(crate) events: u64,
    open: Option<Vec<u8>>,
    next: Offset,
    finished_bytes: usize,
}

impl Frames {
    /// No messages yet.
    pub(crate) fn new(sub: u64) -> Self {
        let (finished, open) = (Vec::new(), None);
        Self { sub, finished, events: 0, open, next: Offset(0), finished_bytes: 0 }
    }

    fn begin(sub: u64, partition: PartitionIndex) -> Vec<u8> {
        let mut frame = Vec::with_capacity(4 << 10);
        frame.extend_from_slice(b"{\"type\":\"events\",\"sub\":");
        push_uint(&mut frame, sub);
        frame.extend_from_slice(b",\"partition\":");
        push_int(&mut frame, i64::from(partition.0));
        frame.extend_from_slice(b",\"events\":[");
        frame
    }

    fn finish(&mut self) {
        let Some(mut frame) = self.open.take() else {
            return;
        };
        frame.extend_from_slice(b"],\"next\":");
        push_int(&mut frame, self.next.0);
        frame.push(b'}');
        self.finished_bytes += frame.len();
        self.finished.push(frame);
    }
}

impl Sink for Frames {
    fn record(&mut self, partition: PartitionIndex, record: &Record<'_>) {
        let sub = self.sub;
        let frame = self.open.get_or_insert_with(|| Self::begin(sub, partition));
        push_comma(frame);
        push_record(frame, None, record);
        self.events += 1;
        self.next = record.offset.plus(1);
        if frame.len() >= FRAME_BYTES {
            self.finish();
        }
    }

    fn is_full(&self, compressed: bool) -> bool {
        let room = if compressed { STEP_COMPRESSED_BYTES } else { STEP_BYTES };
        self.finished_bytes + self.open.as_ref().map_or(0, Vec::len) >= room
    }

    fn partition_end(&mut self, _: PartitionIndex, next: Offset) {
        self.next = next;
        self.finish();
    }
}

/// The events of one GET: objects with a comma between them.
#[derive(Debug)]
pub(crate) struct Page {
    /// The objects.
    pub(crate) events: Vec<u8>,
    /// How many.
    pub(crate) count: usize,
    limit: usize,
}

impl Page {
    /// Room for `limit` events.
    pub(crate) fn new(limit: usize) -> Self {
        Self { events: Vec::new(), count: 0, limit }
    }
}

impl Sink for Page {
    fn record(&mut self, partition: PartitionIndex, record: &Record<'_>) {
        push_comma(&mut self.events);
        push_record(&mut self.events, Some(partition), record);
        self.count += 1;
    }

    fn is_full(&self, _: bool) -> bool {
        self.count >= self.limit || self.events.len() >= PAGE_BYTES
    }

    fn partition_end(&mut self, _: PartitionIndex, _: Offset) {}
}

/// Begins a message of a table's subscription: `{"type":"rows","sub":2,"rows":[`.
pub(crate) fn begin_changes(frame: &mut Vec<u8>, sub: u64, list: &str) {
    frame.extend_from_slice(b"{\"type\":");
    push_string(frame, list);
    frame.extend_from_slice(b",\"sub\":");
    push_uint(frame, sub);
    frame.push(b',');
    push_string(frame, list);
    frame.extend_from_slice(b":[");
}

/// Appends how far a message goes.
pub(crate) fn push_progress(frame: &mut Vec<u8>, round: Round, token: Option<&str>) {
    frame.extend_from_slice(b",\"round\":");
    push_uint(frame, round.0);
    if let Some(token) = token {
        frame.extend_from_slice(b",\"token\":");
        push_string(frame, token);
    }
}

/// Appends a row of a snapshot.
pub(crate) fn push_row(out: &mut Vec<u8>, table: &LiveTable, row: &Change) {
    out.extend_from_slice(b"{\"key\":");
    table.key_json(row, out);
    push_row_field(out, table, row);
    push_place(out, row);
    out.push(b'}');
}

/// Appends a change.
pub(crate) fn push_change(out: &mut Vec<u8>, table: &LiveTable, change: &Change) {
    out.extend_from_slice(match change.op {
        Op::Upsert => b"{\"op\":\"upsert\",\"key\":",
        Op::Delete => b"{\"op\":\"delete\",\"key\":",
    });
    table.key_json(change, out);
    if change.op == Op::Upsert {
        push_row_field(out, table, change);
    }
    push_place(out, change);
    out.push(b'}');
}

fn push_row_field(out: &mut Vec<u8>, table: &LiveTable, change: &Change) {
    out.extend_from_slice(b",\"row\":");
    let start = out.len();
    table.row_json(change, out);
    put_on_one_line(&mut out[start..]);
}

fn push_place(out: &mut Vec<u8>, change: &Change) {
    out.extend_from_slice(b",\"partition\":");
    push_int(out, i64::from(change.partition.0));
    out.extend_from_slice(b",\"offset\":");
    push_int(out, change.stamp.offset.0);
    out.extend_from_slice(b",\"ts\":");
    push_int(out, change.timestamp.0);
}
