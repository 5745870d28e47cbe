//! From records to rows: what columns a stream has, and how they are read out of a record.
//!
//! Nothing is converted but the columns that are asked for: a record's JSON is scanned once, from
//! front to back, the wanted fields are cut out of it, and only those are parsed.

mod cell;
mod decode;
mod fields;
mod key;
mod layout;
mod patch;
mod print;
#[cfg(test)]
mod tests;

pub(crate) use cell::{arrow_type, hex_bytes, parse_text};
pub(crate) use decode::{RowHeaders, RowInput, RowsBuilder};
pub(crate) use key::{KeyShape, text_of};
pub(crate) use layout::{Layout, Relation, Source, System};
pub(crate) use patch::patched;
pub(crate) use print::{write_bytes_string, write_json_string, write_json_value};
