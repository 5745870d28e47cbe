//! From batches of rows to the bytes of a COPY (PostgreSQL 15, `CopyOneRowTo` in copyto.c).

use super::binary::SIGNATURE;
use crate::encode::{self, Format, normal, set_length};
use anabranch_query::{CopyFormat, CopyHeader, CopyOptions, SqlError, Texts};
use bytes::{BufMut, BytesMut};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Int16Type, Int32Type, Int64Type, Schema};
use std::fmt::Write;

/// Writes rows as the client wants them.
pub(super) struct Writer {
    options: CopyOptions,
    /// By column.
    force_quote: Vec<bool>,
    /// What the first message begins with: drivers read the head of a binary COPY there.
    head: &'static [u8],
}

/// Signature, flags, and the length of an extension.
const HEAD: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const _: () = assert!(HEAD.len() == SIGNATURE.len() + 8);

/// Rows that are being written.
pub(super) struct Rows<'a> {
    writer: &'a mut Writer,
    columns: Vec<Column>,
    count: usize,
    next: usize,
    text: String,
}

struct Column {
    array: ArrayRef,
    /// For types that have no quicker way to their text.
    texts: Option<Texts>,
}

impl Writer {
    pub(super) fn new(options: &CopyOptions, schema: &Schema) -> Self {
        let names = schema.fields().iter().map(|field| field.name().as_str());
        Self {
            force_quote: options.force_quote.flags(names),
            options: options.clone(),
            head: if options.format == CopyFormat::Binary { HEAD } else { &[] },
        }
    }

    /// What stands before the rows.
    pub(super) fn begin(&self, schema: &Schema, out: &mut BytesMut) {
        let is_binary = self.options.format == CopyFormat::Binary;
        if !is_binary && self.options.header != CopyHeader::None {
            let names: Vec<_> = schema.fields().iter().map(|field| field.name()).collect();
            message(out, |out| {
                for (number, name) in names.iter().enumerate() {
                    self.put_delimiter(number, out);
                    self.put_text(name, false, names.len() == 1, out);
                }
                out.put_u8(b'\n');
            });
        }
    }

    /// What stands behind the rows.
    pub(super) fn end(&self, out: &mut BytesMut) {
        if self.options.format == CopyFormat::Binary {
            message(out, |out| {
                out.put_slice(self.head);
                out.put_i16(-1);
            });
        }
    }

    pub(super) fn rows(&mut self, batch: &RecordBatch) -> Result<Rows<'_>, SqlError> {
        let is_binary = self.options.format == CopyFormat::Binary;
        let columns = batch.columns().iter().map(|array| {
            let array = normal(array)?;
            let texts = match array.data_type() {
                DataType::Null
                | DataType::Int16
                | DataType::Int32
                | DataType::Int64
                | DataType::Utf8View => None,
                _ if is_binary => None,
                _ => Some(Texts::new(&array)?),
            };
            Ok::<_, SqlError>(Column { array, texts })
        });
        let columns = columns.collect::<Result<_, _>>()?;
        let (count, text) = (batch.num_rows(), String::new());
        Ok(Rows { writer: self, columns, count, next: 0, text })
    }

    fn put_delimiter(&self, number: usize, out: &mut BytesMut) {
        if number > 0 {
            out.put_u8(self.options.delimiter);
        }
    }

    fn put_text(&self, text: &str, is_forced: bool, is_alone: bool, out: &mut BytesMut) {
        match self.options.format {
            CopyFormat::Csv => self.put_csv(text, is_forced, is_alone, out),
            CopyFormat::Text | CopyFormat::Binary => self.put_escaped(text, out),
        }
    }

    /// `CopyAttributeOutText`.
    fn put_escaped(&self, text: &str, out: &mut BytesMut) {
        let bytes = text.as_bytes();
        let mut from = 0;
        for (at, &byte) in bytes.iter().enumerate() {
            let escaped = match byte {
                8 => b'b',
                12 => b'f',
                b'\n' => b'n',
                b'\r' => b'r',
                b'\t' => b't',
                11 => b'v',
                b'\\' => b'\\',
                byte if byte == self.options.delimiter => byte,
                _ => continue,
            };
            out.put_slice(&bytes[from..at]);
            out.put_slice(&[b'\\', escaped]);
            from = at + 1;
        }
        out.put_slice(&bytes[from..]);
    }

    /// `CopyAttributeOutCSV`.
    fn put_csv(&self, text: &str, is_forced: bool, is_alone: bool, out: &mut BytesMut) {
        let CopyOptions { delimiter, quote, escape, ref null, .. } = self.options;
        let special =
            |byte: u8| byte == delimiter || byte == quote || byte == b'\n' || byte == b'\r';
        let is_quoted = is_forced
            || text == null
            // It would be the end of all.
            || (is_alone && text == "\\.")
            || text.bytes().any(special);
        if !is_quoted {
            out.put_slice(text.as_bytes());
            return;
        }
        out.put_u8(quote);
        for byte in text.bytes() {
            if byte == quote || byte == escape {
                out.put_u8(escape);
            }
            out.put_u8(byte);
        }
        out.put_u8(quote);
    }
}

impl Rows<'_> {
    /// Appends the next row as a message; false when there is none.
    pub(super) fn put_next(&mut self, out: &mut BytesMut) -> Result<bool, SqlError> {
        if self.next >= self.count {
            return Ok(false);
        }
        let at = begin_message(out);
        match self.writer.options.format {
            CopyFormat::Binary => {
                out.put_slice(std::mem::take(&mut self.writer.head));
                out.put_i16(i16::try_from(self.columns.len()).unwrap_or(i16::MAX));
                for column in &self.columns {
                    encode::put(&column.array, self.next, Format::Binary, out)?;
                }
            }
            CopyFormat::Text | CopyFormat::Csv => self.put_line(out),
        }
        set_length(out, at);
        self.next += 1;
        Ok(true)
    }

    fn put_line(&mut self, out: &mut BytesMut) {
        let (writer, row) = (&*self.writer, self.next);
        let is_alone = self.columns.len() == 1;
        for (number, column) in self.columns.iter().enumerate() {
            writer.put_delimiter(number, out);
            let array = &column.array;
            if array.is_null(row) || array.data_type() == &DataType::Null {
                out.put_slice(writer.options.null.as_bytes());
                continue;
            }
            let is_forced = writer.force_quote.get(number).copied().unwrap_or(false);
            if array.data_type() == &DataType::Utf8View {
                writer.put_text(array.as_string_view().value(row), is_forced, is_alone, out);
            } else {
                column.print(row, &mut self.text);
                writer.put_text(&self.text, is_forced, is_alone, out);
            }
        }
        out.put_u8(b'\n');
    }
}

impl Column {
    fn print(&self, row: usize, text: &mut String) {
        text.clear();
        if let Some(texts) = &self.texts {
            text.push_str(&texts.get(row));
            return;
        }
        // Writing to memory does not fail.
        let _ = match self.array.data_type() {
            DataType::Int16 => {
                write!(text, "{}", self.array.as_primitive::<Int16Type>().value(row))
            }
            DataType::Int32 => {
                write!(text, "{}", self.array.as_primitive::<Int32Type>().value(row))
            }
            DataType::Int64 => {
                write!(text, "{}", self.array.as_primitive::<Int64Type>().value(row))
            }
            _ => Ok(()),
        };
    }
}

fn begin_message(out: &mut BytesMut) -> usize {
    out.put_u8(b'd');
    let at = out.len();
    out.put_i32(0);
    at
}

fn message(out: &mut BytesMut, put: impl FnOnce(&mut BytesMut)) {
    let at = begin_message(out);
    put(out);
    set_length(out, at);
}
