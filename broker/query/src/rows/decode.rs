//! Records into record batches.

use super::cell::{CellBuilder, DoesNotFit};
use super::fields::FieldScanner;
use super::key::{KeyShape, plain};
use super::layout::{Layout, Source, System};
use super::print::{operation_word, write_headers};
use anabranch_engine::{ColumnType, Mode, Stream};
use anabranch_types::batch::Headers;
use anabranch_types::{Offset, PartitionIndex, Timestamp, varint};
use datafusion::arrow::array::{
    ArrayRef, BinaryViewBuilder, Int32Builder, Int64Builder, ListBuilder, RecordBatch,
    RecordBatchOptions, StringViewBuilder, TimestampMicrosecondBuilder,
};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::error::ArrowError;
use std::ops::Range;
use std::sync::Arc;

/// A record or row to decode.
#[derive(Clone, Copy)]
pub(crate) struct RowInput<'a> {
    pub(crate) partition: PartitionIndex,
    pub(crate) offset: Offset,
    pub(crate) timestamp: Timestamp,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: RowHeaders<'a>,
}

/// A record's headers, from a batch or from a table's row.
#[derive(Clone, Copy)]
pub(crate) enum RowHeaders<'a> {
    /// In a batch.
    Record(Headers<'a>),
    /// As a table keeps them: count, then name and value each; empty without headers.
    Row(&'a [u8]),
}

/// The first of some values that did not fit their columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Misfit {
    /// The column.
    pub(crate) column: String,
    /// Where the record stands.
    pub(crate) partition: PartitionIndex,
    /// Where the record stands.
    pub(crate) offset: Offset,
}

/// Collects rows of some of a layout's columns.
pub(crate) struct RowsBuilder {
    schema: SchemaRef,
    columns: Vec<Column>,
    /// Columns that are decoded only to see whether they fit, with their names.
    others: Vec<(String, Column)>,
    /// Which columns of the row in hand do not fit; `None`: nobody asks.
    row_misfits: Option<Vec<usize>>,
    fields: FieldScanner,
    key: KeyShape,
    keyed: bool,
    needs_key: bool,
    key_parts: Vec<Range<usize>>,
    scratch: Vec<u8>,
    rows: usize,
    bytes: usize,
    misfits: u64,
    first_misfit: Option<Misfit>,
}

enum Column {
    Key(usize, CellBuilder),
    /// Slot of the scanner, and what is read where there is no such field.
    Field(usize, CellBuilder, Option<String>),
    Partition(Int32Builder),
    Offset(Int64Builder),
    Timestamp(TimestampMicrosecondBuilder),
    Operation(StringViewBuilder),
    RawKey(BinaryViewBuilder),
    RawValue(BinaryViewBuilder),
    Headers(StringViewBuilder),
    Json(StringViewBuilder),
    Misfits(ListBuilder<StringViewBuilder>),
}

impl RowsBuilder {
    /// For the columns `projection` (indexes in the layout) of `stream`.
    pub(crate) fn new(layout: &Layout, stream: &Stream, projection: &[usize]) -> Self {
        let mut names = Vec::new();
        let columns: Vec<_> = projection
            .iter()
            .map(|&index| column_builder(layout, stream, index, &mut names))
            .collect();
        let asks = columns.iter().any(|column| matches!(column, Column::Misfits(_)));
        let is_declared = |index: &usize| !matches!(layout.sources[*index], Source::System(_));
        let others: Vec<_> = (0..layout.sources.len())
            .filter(|index| asks && is_declared(index) && !projection.contains(index))
            .map(|index| {
                let column = column_builder(layout, stream, index, &mut names);
                (layout.schema.field(index).name().clone(), column)
            })
            .collect();
        let fields = projection.iter().map(|&index| layout.schema.fields()[index].clone());
        let all = || columns.iter().chain(others.iter().map(|(_, column)| column));
        Self {
            schema: Arc::new(datafusion::arrow::datatypes::Schema::new(fields.collect::<Vec<_>>())),
            needs_key: all().any(|column| matches!(column, Column::Key(..))),
            columns,
            others,
            row_misfits: asks.then(Vec::new),
            fields: FieldScanner::new(names),
            key: layout.key.clone(),
            keyed: layout.mode == Mode::Upsert,
            key_parts: Vec::new(),
            scratch: Vec::new(),
            rows: 0,
            bytes: 0,
            misfits: 0,
            first_misfit: None,
        }
    }

    /// The columns, in the projection's order.
    pub(crate) fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Rows since the last [`Self::finish`].
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of input since the last [`Self::finish`].
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a row.
    pub(crate) fn push(&mut self, row: RowInput<'_>) {
        self.rows += 1;
        self.bytes += 16 + row.key.map_or(0, <[u8]>::len) + row.value.map_or(0, <[u8]>::len);
        let value = row.value.unwrap_or_default();
        // A value that is no JSON object has none of the columns: NULL, without being a misfit.
        let has_fields = !self.fields.is_empty() && self.fields.scan(value);
        let key_fits = match (&self.key, self.needs_key, row.key) {
            (KeyShape::Array(_), true, Some(key)) => {
                self.key.cut(key, &mut self.key_parts).is_some()
            }
            _ => true,
        };
        let mut misfit = None;
        let count = self.columns.len();
        let others = self.others.iter_mut().map(|(_, column)| column);
        for (number, column) in self.columns.iter_mut().chain(others).enumerate() {
            let fits = match column {
                Column::Key(part, cell) => match (&self.key, row.key) {
                    (_, None) => append_null(cell),
                    (KeyShape::Text, Some(key)) => cell.append_utf8(key),
                    (KeyShape::Plain(column), Some(key)) => {
                        match plain(*column, key, &mut self.scratch) {
                            Some(json) => cell.append_json(json),
                            None => {
                                cell.append_null();
                                Err(DoesNotFit)
                            }
                        }
                    }
                    (_, Some(key)) if key_fits => {
                        cell.append_json(&key[self.key_parts[*part].clone()])
                    }
                    _ => {
                        cell.append_null();
                        Err(DoesNotFit)
                    }
                },
                Column::Field(slot, cell, missing) => {
                    let found = self.fields.slot(*slot, value).filter(|_| has_fields);
                    match found.or(missing.as_deref().filter(|_| has_fields).map(str::as_bytes)) {
                        None => append_null(cell),
                        Some(raw) => cell.append_json(raw),
                    }
                }
                // Once all others are known.
                Column::Misfits(_) => Ok(()),
                other => {
                    other.append_system(&row, self.keyed, &mut self.scratch);
                    Ok(())
                }
            };
            if fits.is_err() && number < count {
                self.misfits += 1;
                misfit = misfit.or(Some(number));
            }
            if let (Err(DoesNotFit), Some(misfits)) = (fits, &mut self.row_misfits) {
                misfits.push(number);
            }
        }
        if let Some(number) = misfit
            && self.first_misfit.is_none()
        {
            self.first_misfit = Some(Misfit {
                column: self.schema.field(number).name().clone(),
                partition: row.partition,
                offset: row.offset,
            });
        }
        if self.row_misfits.is_some() {
            let is_object = has_fields || self.fields.is_empty() || row.value.is_none();
            self.append_misfits(is_object);
        }
    }

    fn append_misfits(&mut self, is_object: bool) {
        let Some(misfits) = &mut self.row_misfits else { return };
        let (schema, others) = (&self.schema, &self.others);
        let name = |number: usize| match number.checked_sub(schema.fields().len()) {
            None => schema.field(number).name().as_str(),
            Some(other) => others[other].0.as_str(),
        };
        let mut names: Vec<&str> = misfits.drain(..).map(name).collect();
        if !is_object {
            names.push(System::Value.name());
        }
        names.sort_unstable();
        for column in &mut self.columns {
            let Column::Misfits(builder) = column else { continue };
            match names.as_slice() {
                [] => builder.append_null(),
                names => {
                    names.iter().for_each(|name| builder.values().append_value(name));
                    builder.append(true);
                }
            }
        }
    }

    /// The rows so far, and an empty builder again.
    pub(crate) fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        let columns: Vec<ArrayRef> = self.columns.iter_mut().map(Column::finish).collect();
        self.others.iter_mut().for_each(|(_, column)| drop(column.finish()));
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        self.rows = 0;
        self.bytes = 0;
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
    }

    /// Values that did not fit since the last call, and the first of them.
    pub(crate) fn take_misfits(&mut self) -> (u64, Option<Misfit>) {
        (std::mem::take(&mut self.misfits), self.first_misfit.take())
    }
}

fn append_null(cell: &mut CellBuilder) -> Result<(), DoesNotFit> {
    cell.append_null();
    Ok(())
}

fn column_builder(
    layout: &Layout,
    stream: &Stream,
    index: usize,
    names: &mut Vec<String>,
) -> Column {
    let name = layout.schema.field(index).name();
    let declared = stream.columns.iter().find(|column| &column.name == name);
    let cells = || CellBuilder::new(declared.map_or(ColumnType::Text, |column| column.data_type));
    match &layout.sources[index] {
        Source::Key(part) => Column::Key(*part, cells()),
        Source::Field(field) => {
            names.push(field.clone());
            let missing = declared.and_then(|column| column.missing.clone());
            Column::Field(names.len() - 1, cells(), missing)
        }
        Source::System(System::Partition) => Column::Partition(Int32Builder::new()),
        Source::System(System::Offset) => Column::Offset(Int64Builder::new()),
        Source::System(System::Timestamp) => {
            Column::Timestamp(TimestampMicrosecondBuilder::new().with_timezone("+00:00"))
        }
        Source::System(System::Operation) => Column::Operation(StringViewBuilder::new()),
        Source::System(System::Key) => Column::RawKey(BinaryViewBuilder::new()),
        Source::System(System::Value) => Column::RawValue(BinaryViewBuilder::new()),
        Source::System(System::Headers) => Column::Headers(StringViewBuilder::new()),
        Source::System(System::Json) => Column::Json(StringViewBuilder::new()),
        Source::System(System::Misfits) => {
            Column::Misfits(ListBuilder::new(StringViewBuilder::new()))
        }
    }
}

impl Column {
    fn append_system(&mut self, row: &RowInput<'_>, keyed: bool, scratch: &mut Vec<u8>) {
        match self {
            Self::Partition(builder) => builder.append_value(row.partition.0),
            Self::Offset(builder) => builder.append_value(row.offset.0),
            Self::Timestamp(builder) => {
                builder.append_value(row.timestamp.0.saturating_mul(1_000));
            }
            Self::Operation(builder) => {
                builder.append_value(operation_word(keyed, row.value.is_some()));
            }
            Self::RawKey(builder) => builder.append_option(row.key),
            Self::RawValue(builder) => builder.append_option(row.value),
            Self::Headers(builder) => match row.headers.write(scratch) {
                Some(text) => builder.append_value(text),
                None => builder.append_null(),
            },
            Self::Json(builder) => {
                builder.append_option(row.value.and_then(|value| std::str::from_utf8(value).ok()));
            }
            Self::Key(..) | Self::Field(..) | Self::Misfits(_) => {
                debug_assert!(false, "these are appended by the builder");
            }
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Key(_, cell) | Self::Field(_, cell, _) => cell.finish(),
            Self::Partition(builder) => Arc::new(builder.finish()),
            Self::Offset(builder) => Arc::new(builder.finish()),
            Self::Timestamp(builder) => Arc::new(builder.finish()),
            Self::Operation(builder) | Self::Headers(builder) | Self::Json(builder) => {
                Arc::new(builder.finish())
            }
            Self::RawKey(builder) | Self::RawValue(builder) => Arc::new(builder.finish()),
            Self::Misfits(builder) => Arc::new(builder.finish()),
        }
    }
}

impl RowHeaders<'_> {
    /// The headers as JSON; `None` without any.
    fn write<'s>(&self, scratch: &'s mut Vec<u8>) -> Option<&'s str> {
        scratch.clear();
        match self {
            Self::Record(headers) if headers.is_empty() => return None,
            Self::Record(headers) => {
                write_headers(headers.iter().map(|header| (header.name, header.value)), scratch);
            }
            Self::Row(bytes) => {
                let mut rest = *bytes;
                let count = varint::take(&mut rest).filter(|count| *count > 0)?;
                let pairs = (0..count).map_while(|_| {
                    let name = take_bytes(&mut rest)??;
                    Some((name, take_bytes(&mut rest)?))
                });
                write_headers(pairs, scratch);
            }
        }
        std::str::from_utf8(scratch).ok()
    }
}

fn take_bytes<'a>(input: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let length = varint::take(input)?;
    if length < 0 {
        return Some(None);
    }
    let (bytes, rest) = input.split_at_checked(usize::try_from(length).ok()?)?;
    *input = rest;
    Some(Some(bytes))
}
