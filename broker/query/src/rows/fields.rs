//! Cutting wanted fields out of a JSON object, in one pass, without building a tree.

use jiter::{Jiter, Peek};
use std::collections::HashMap;
use std::ops::Range;

/// Finds fields by name. Records of one producer mostly have the same fields in the same order,
/// so the order of the last record is tried first: one comparison a field, no hashing.
#[derive(Debug)]
pub(crate) struct FieldScanner {
    wanted: HashMap<String, usize>,
    last_order: Vec<(String, Option<usize>)>,
    slots: Vec<Option<Range<usize>>>,
}

/// Longest remembered order of fields.
const ORDER_MAX: usize = 256;

impl FieldScanner {
    /// Wants `names`; slots are numbered in their order.
    pub(crate) fn new(names: impl IntoIterator<Item = String>) -> Self {
        let wanted: HashMap<String, usize> =
            names.into_iter().enumerate().map(|(slot, name)| (name, slot)).collect();
        let slots = vec![None; wanted.len()];
        Self { wanted, last_order: Vec::new(), slots }
    }

    /// Whether nothing is wanted, and nothing need be scanned.
    pub(crate) fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// Scans `value`. Of a field that stands twice, the last counts (as in `jsonb`). Returns
    /// whether `value` is a JSON object; where it is not, no slot is set. `NaN` and `Infinity`,
    /// which some producers write, count as numbers.
    pub(crate) fn scan(&mut self, value: &[u8]) -> bool {
        self.slots.fill(None);
        let whole = self.scan_object(value).is_some();
        if !whole {
            self.slots.fill(None);
        }
        whole
    }

    /// The raw JSON of slot `slot` in the scanned value.
    pub(crate) fn slot<'a>(&self, slot: usize, value: &'a [u8]) -> Option<&'a [u8]> {
        self.slots[slot].clone().map(|range| &value[range])
    }

    fn scan_object(&mut self, value: &[u8]) -> Option<()> {
        let mut json = Jiter::new(value).with_allow_inf_nan();
        if json.peek().ok()? != Peek::Object {
            return None;
        }
        let mut number = 0;
        let mut slot = match json.known_object().ok()? {
            None => return json.finish().ok(),
            Some(name) => self.slot_of(number, name),
        };
        loop {
            let peek = json.peek().ok()?;
            let start = json.current_index();
            json.known_skip(peek).ok()?;
            if let Some(slot) = slot {
                self.slots[slot] = Some(start..json.current_index());
            }
            number += 1;
            slot = match json.next_key().ok()? {
                None => return json.finish().ok(),
                Some(name) => self.slot_of(number, name),
            };
        }
    }

    fn slot_of(&mut self, number: usize, name: &str) -> Option<usize> {
        if let Some((last, slot)) = self.last_order.get(number)
            && last == name
        {
            return *slot;
        }
        let slot = self.wanted.get(name).copied();
        if number < ORDER_MAX {
            self.last_order.truncate(number);
            self.last_order.push((name.to_owned(), slot));
        }
        slot
    }
}
