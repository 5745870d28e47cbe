//! From the bytes of a COPY to batches of rows.

use super::binary::{self, Rows};
use super::fields::{CsvFields, TextFields, text_of};
use super::lines::{Found, Lines, bad};
use crate::parameters;
use crate::types::pg_type;
use anabranch_query::limits::{COPY_BATCH_BYTES, COPY_BATCH_ROWS, COPY_ROW_BYTES_MAX};
use anabranch_query::{CopyFormat, CopyHeader, CopyOptions, CopyRows, SqlError, sqlstate};
use datafusion::arrow::array::{ArrayRef, RecordBatch, StringViewBuilder};
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::scalar::ScalarValue;
use pgwire::api::Type;
use std::sync::Arc;

/// Longest line that an error shows (PostgreSQL 15, `MAX_COPY_DATA_DISPLAY`).
const SHOWN_BYTES_MAX: usize = 100;

/// Reads rows out of pieces of bytes that are cut anywhere.
pub(crate) struct Reader {
    stream: String,
    columns: SchemaRef,
    form: Form,
    header: CopyHeader,
    /// What was sent and is not read yet.
    input: Vec<u8>,
    /// Whether nothing more comes.
    is_all: bool,
    /// Whether `\.` came.
    is_over: bool,
    /// The line, or row, that was read last.
    line: u64,
    lines: Vec<u64>,
    /// Bytes of the rows in hand.
    bytes: usize,
}

enum Form {
    Lines { lines: Lines, fields: Fields, builders: Vec<StringViewBuilder> },
    Binary { rows: Rows, types: Vec<Type>, values: Vec<Vec<ScalarValue>> },
}

enum Fields {
    Text(TextFields),
    Csv(CsvFields),
}

impl Reader {
    pub(crate) fn new(stream: &str, columns: &SchemaRef, options: &CopyOptions) -> Self {
        let names = || columns.fields().iter().map(|field| field.name().as_str());
        let count = columns.fields().len();
        let builders = (0..count).map(|_| StringViewBuilder::new()).collect();
        let (delimiter, null) = (options.delimiter, options.null.clone());
        let form = match options.format {
            CopyFormat::Text => Form::Lines {
                lines: Lines::text(),
                fields: Fields::Text(TextFields { delimiter, null }),
                builders,
            },
            CopyFormat::Csv => Form::Lines {
                lines: Lines::csv(options.quote, options.escape),
                fields: Fields::Csv(CsvFields {
                    delimiter,
                    null,
                    quote: options.quote,
                    escape: options.escape,
                    not_null: options.force_not_null.flags(names()),
                    null_in_quotes: options.force_null.flags(names()),
                }),
                builders,
            },
            CopyFormat::Binary => Form::Binary {
                rows: Rows::new(count),
                types: columns.fields().iter().map(|field| pg_type(field)).collect(),
                values: vec![Vec::new(); count],
            },
        };
        Self {
            stream: stream.to_owned(),
            columns: columns.clone(),
            form,
            header: options.header,
            input: Vec::new(),
            is_all: false,
            is_over: false,
            line: 0,
            lines: Vec::new(),
            bytes: 0,
        }
    }

    /// More bytes; what came before was read by [`Self::next_rows`].
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), SqlError> {
        // Behind `\.` everything is passed over.
        if self.is_over {
            return Ok(());
        }
        if self.input.len() > COPY_ROW_BYTES_MAX {
            return Err(SqlError::new(
                sqlstate::PROGRAM_LIMIT_EXCEEDED,
                format!("a row of more than {COPY_ROW_BYTES_MAX} bytes cannot be written"),
            )
            .context(|| format!("COPY {}, line {}", self.stream, self.line + 1)));
        }
        self.input.extend_from_slice(bytes);
        Ok(())
    }

    /// There are no more bytes.
    pub(crate) fn end(&mut self) {
        self.is_all = true;
    }

    /// Rows, once there are many or all; `None`: more bytes are needed, if any come.
    pub(crate) fn next_rows(&mut self) -> Result<Option<CopyRows>, SqlError> {
        let input = std::mem::take(&mut self.input);
        let mut at = 0;
        let mut has_more = true;
        while has_more && self.lines.len() < COPY_BATCH_ROWS && self.bytes < COPY_BATCH_BYTES {
            let taken = self.next_row(&input[at..])?;
            has_more = taken.is_some();
            let taken = taken.unwrap_or(0);
            (at, self.bytes) = (at + taken, self.bytes + taken);
        }
        self.input = input;
        self.input.drain(..at);
        if has_more || (self.is_all && !self.lines.is_empty()) {
            return self.take_rows().map(Some);
        }
        Ok(None)
    }

    /// Reads the row that `input` begins with, or what is none; `None` if there is no whole one.
    fn next_row(&mut self, input: &[u8]) -> Result<Option<usize>, SqlError> {
        let read = match &mut self.form {
            Form::Lines { .. } => self.next_line(input),
            Form::Binary { rows, types, values } => match rows.find(input, self.is_all) {
                Ok(binary::Found::More) => Ok(None),
                Ok(binary::Found::Mark(taken)) => Ok(Some(taken)),
                Ok(binary::Found::Row(fields, taken)) => {
                    self.line += 1;
                    let columns = values.iter_mut().zip(types).zip(self.columns.fields());
                    for (field, ((values, of), column)) in fields.into_iter().zip(columns) {
                        values.push(value(field, of).map_err(|error| {
                            let (stream, line) = (&self.stream, self.line);
                            let name = column.name();
                            error.context(|| format!("COPY {stream}, line {line}, column {name}"))
                        })?);
                    }
                    self.lines.push(self.line);
                    Ok(Some(taken))
                }
                Err(error) => {
                    self.line += 1;
                    Err(error)
                }
            },
        };
        read.map_err(|error| error.context(|| format!("COPY {}, line {}", self.stream, self.line)))
    }

    fn next_line(&mut self, input: &[u8]) -> Result<Option<usize>, SqlError> {
        let Form::Lines { lines, .. } = &mut self.form else { return Ok(None) };
        if self.is_over || (input.is_empty() && self.is_all) {
            return Ok(None);
        }
        let found = lines.find(input, self.is_all);
        if !matches!(found, Ok(Found::More)) {
            self.line += lines.take_count();
        }
        let (length, taken) = match found? {
            Found::More => return Ok(None),
            Found::Line { length, taken } => (length, taken),
            Found::End { length } => {
                self.is_over = true;
                if length == 0 {
                    return Ok(Some(input.len()));
                }
                (length, input.len())
            }
        };
        let line = &input[..length];
        self.read_line(line).map_err(|error| {
            error.context(|| {
                format!("COPY {}, line {}: \"{}\"", self.stream, self.line, shown(line))
            })
        })?;
        Ok(Some(taken))
    }

    fn read_line(&mut self, line: &[u8]) -> Result<(), SqlError> {
        let Form::Lines { fields, builders, .. } = &mut self.form else { return Ok(()) };
        match std::mem::take(&mut self.header) {
            CopyHeader::None => {}
            CopyHeader::Names => return Ok(()),
            CopyHeader::Match => return check_header(fields, &text_of(line)?, &self.columns),
        }
        let text = text_of(line)?;
        let mut take = |number: usize, field: Option<&str>| {
            let builder = builders.get_mut(number);
            let builder = builder.ok_or_else(|| bad("extra data after last expected column"))?;
            match field {
                None => builder.append_null(),
                Some(field) => builder.append_value(field),
            }
            Ok(())
        };
        let count = fields.split(&text, &mut take)?;
        if let Some(missing) = self.columns.fields().get(count) {
            return Err(bad(format!("missing data for column \"{}\"", missing.name())));
        }
        self.lines.push(self.line);
        Ok(())
    }

    fn take_rows(&mut self) -> Result<CopyRows, SqlError> {
        let arrays: Vec<ArrayRef> = match &mut self.form {
            Form::Lines { builders, .. } => {
                builders.iter_mut().map(|builder| Arc::new(builder.finish()) as _).collect()
            }
            Form::Binary { types, values, .. } => values
                .iter_mut()
                .zip(types)
                .map(|(values, of)| column(std::mem::take(values), of))
                .collect::<Result<_, _>>()?,
        };
        self.bytes = 0;
        let fields = self.columns.fields().iter().zip(&arrays);
        let fields: Vec<_> = fields
            .map(|(field, array)| Field::new(field.name(), array.data_type().clone(), true))
            .collect();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?;
        Ok(CopyRows { batch, lines: std::mem::take(&mut self.lines) })
    }
}

impl Fields {
    fn split(&self, line: &str, take: super::fields::Take<'_>) -> Result<usize, SqlError> {
        match self {
            Self::Text(fields) => fields.split(line, take),
            Self::Csv(fields) => fields.split(line, take),
        }
    }
}

/// `HEADER match`.
fn check_header(fields: &Fields, line: &str, columns: &SchemaRef) -> Result<(), SqlError> {
    let mut found: Vec<Option<String>> = Vec::new();
    let count = fields.split(line, &mut |_, field| {
        // A line of nothing but delimiters has no more names than columns are compared with.
        if found.len() < columns.fields().len() {
            found.push(field.map(ToOwned::to_owned));
        }
        Ok(())
    })?;
    let expected = columns.fields().len();
    if count != expected {
        return Err(bad(format!(
            "wrong number of fields in header line: field count is {count}, expected {expected}"
        )));
    }
    for (number, (found, column)) in found.iter().zip(columns.fields()).enumerate() {
        let name = column.name();
        let got = match found {
            Some(found) if found == name => continue,
            Some(found) => format!("\"{found}\""),
            None => "null value".to_owned(),
        };
        return Err(bad(format!(
            "column name mismatch in header line field {}: got {got}, expected \"{name}\"",
            number + 1
        )));
    }
    Ok(())
}

fn value(field: Option<&[u8]>, of: &Type) -> Result<ScalarValue, SqlError> {
    match field {
        Some(bytes) => parameters::copied(bytes, of),
        None => Ok(ScalarValue::try_from(&parameters::read_as(of))?),
    }
}

fn column(values: Vec<ScalarValue>, of: &Type) -> Result<ArrayRef, SqlError> {
    if values.is_empty() {
        return Ok(datafusion::arrow::array::new_empty_array(&parameters::read_as(of)));
    }
    Ok(ScalarValue::iter_to_array(values)?)
}

fn shown(line: &[u8]) -> String {
    let cut = &line[..line.len().min(SHOWN_BYTES_MAX)];
    let more = if cut.len() < line.len() { "..." } else { "" };
    format!("{}{more}", String::from_utf8_lossy(cut))
}
