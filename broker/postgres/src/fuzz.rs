//! The decoders of what clients send, for fuzzing: any bytes must be refused or understood.

use crate::copy::Reader;
use crate::login::initial_response;
use crate::wire::{length, take, take_first};
use anabranch_query::{CopyFormat, CopyHeader, CopyOptions, Forced, SqlError};
use bytes::{Bytes, BytesMut};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use std::sync::Arc;

/// What a connection begins with.
pub fn first_messages(bytes: &[u8]) {
    let mut input = BytesMut::from(bytes);
    while let Ok(Some(_)) = take_first(&mut input) {}
    assert!(input.len() <= bytes.len());
}

/// The body of SASLInitialResponse.
pub fn login_response(bytes: &[u8]) {
    let _refused_or_not = initial_response(Bytes::copy_from_slice(bytes)).is_ok();
}

/// Messages of a started connection.
pub fn messages(bytes: &[u8]) {
    let mut input = BytesMut::from(bytes);
    while let Ok(Some(bytes)) = length(&input)
        && bytes <= input.len()
        && take(&mut input, bytes).is_ok()
    {}
}

/// The rows of a COPY; the first byte chooses how they look, the second where they are cut, which
/// must make no difference.
pub fn copied(bytes: &[u8]) {
    let [how, cut, rest @ ..] = bytes else { return };
    let (format, delimiter, null) = match how % 3 {
        0 => (CopyFormat::Text, b'\t', "\\N"),
        1 => (CopyFormat::Csv, b',', ""),
        _ => (CopyFormat::Binary, b'\t', "\\N"),
    };
    let options = CopyOptions {
        format,
        delimiter,
        null: null.to_owned(),
        header: if how & 64 > 0 { CopyHeader::Match } else { CopyHeader::None },
        quote: b'"',
        escape: if how & 128 > 0 { b'\\' } else { b'"' },
        force_quote: Forced::Nothing,
        force_not_null: Forced::Nothing,
        force_null: Forced::Nothing,
    };
    let whole = rows_of(&options, [rest].into_iter());
    let cut = rows_of(&options, rest.chunks(usize::from(*cut).max(1)));
    let told = |error: SqlError| (error.sqlstate, error.message, error.context);
    assert_eq!(whole.map_err(told), cut.map_err(told));
}

fn rows_of<'a>(
    options: &CopyOptions,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> Result<Vec<(RecordBatch, Vec<u64>)>, SqlError> {
    let texts = DataType::List(Arc::new(Field::new_list_field(DataType::Utf8View, true)));
    let types = [
        ("a", DataType::Int32),
        ("b", DataType::Utf8View),
        ("c", DataType::Decimal128(10, 2)),
        ("d", DataType::Timestamp(TimeUnit::Microsecond, None)),
        ("e", texts),
    ];
    let fields: Vec<_> = types.into_iter().map(|(name, of)| Field::new(name, of, true)).collect();
    let columns: SchemaRef = Arc::new(Schema::new(fields));
    let mut reader = Reader::new("t", &columns, options);
    let mut all = Vec::new();
    for piece in pieces {
        reader.push(piece)?;
        while let Some(rows) = reader.next_rows()? {
            all.push((rows.batch, rows.lines));
        }
    }
    reader.end();
    while let Some(rows) = reader.next_rows()? {
        all.push((rows.batch, rows.lines));
    }
    Ok(all)
}
