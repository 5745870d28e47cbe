//! Texts of a limited length.

use crate::error::Error;
use anabranch_engine::TextLength;
use datafusion::arrow::array::{ArrayRef, AsArray, StringViewArray};
use std::sync::Arc;

/// `array` as values of `varchar(n)` or `char(n)`: blanks beyond the length are cut off, anything
/// else there is an error. `char(n)` is kept without blanks at its end, which mean nothing.
pub(super) fn within_length(array: ArrayRef, length: TextLength) -> Result<ArrayRef, Error> {
    let texts = array.as_string_view();
    let max = length.max as usize;
    let fits = |text: &str| text.len() <= max && !(length.is_fixed && text.ends_with(' '));
    if texts.iter().flatten().all(fits) {
        return Ok(array);
    }
    let cut = texts.iter().map(|text| text.map(|text| cut(text, length)).transpose());
    Ok(Arc::new(cut.collect::<Result<StringViewArray, Error>>()?))
}

fn cut(text: &str, length: TextLength) -> Result<&str, Error> {
    let text = if length.is_fixed { text.trim_end_matches(' ') } else { text };
    let Some((end, _)) = text.char_indices().nth(length.max as usize) else {
        return Ok(text);
    };
    if text[end..].chars().all(|c| c == ' ') {
        return Ok(&text[..end]);
    }
    let name = if length.is_fixed { "character" } else { "character varying" };
    Err(Error::new("22001", format!("value too long for type {name}({})", length.max)))
}
