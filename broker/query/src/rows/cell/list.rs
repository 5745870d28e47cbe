//! Columns of arrays: a JSON array a row, its items one after another in one column.

use super::CellBuilder;
use datafusion::arrow::array::{ArrayRef, ListArray};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use jiter::{Jiter, Peek};
use std::sync::Arc;

/// A column of arrays in the making.
pub(crate) struct ListCells {
    item: FieldRef,
    items: Box<CellBuilder>,
    /// Items of each row. Rows that did not fit are null and cover what was read of them.
    lengths: Vec<usize>,
    valid: Vec<bool>,
    /// Items since the end of the last row.
    open: usize,
}

impl ListCells {
    pub(super) fn new(of: DataType, items: CellBuilder) -> Self {
        Self {
            item: Arc::new(Field::new_list_field(of, true)),
            items: Box::new(items),
            lengths: Vec::new(),
            valid: Vec::new(),
            open: 0,
        }
    }

    fn end_row(&mut self, is_valid: bool) {
        self.lengths.push(std::mem::take(&mut self.open));
        self.valid.push(is_valid);
    }

    pub(super) fn append_null(&mut self) {
        self.end_row(false);
    }

    /// Appends an array whose items all fit; else its row is still to be appended.
    pub(super) fn try_append_json(&mut self, raw: &[u8]) -> Option<()> {
        let mut json = Jiter::new(raw).with_allow_inf_nan();
        let mut next = match json.peek().ok()? {
            Peek::Array => json.known_array().ok()?,
            _ => return None,
        };
        while let Some(peek) = next {
            let start = json.current_index();
            json.known_skip(peek).ok()?;
            self.open += 1;
            self.items.append_json(&raw[start..json.current_index()]).ok()?;
            next = json.array_step().ok()?;
        }
        self.end_row(true);
        Some(())
    }

    pub(super) fn finish(&mut self) -> ListArray {
        let offsets = OffsetBuffer::from_lengths(std::mem::take(&mut self.lengths));
        let valid = NullBuffer::from(std::mem::take(&mut self.valid));
        let items: ArrayRef = self.items.finish();
        debug_assert_eq!(
            *offsets.last().unwrap_or(&0) as usize,
            items.len(),
            "rows cover all items"
        );
        ListArray::new(self.item.clone(), offsets, items, Some(valid))
    }
}
