//! Rows for people or for programs.

use super::AdminError;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde_json::{Map, Value};
use std::io::{self, Write};

/// A table in the making.
pub(crate) struct Listing {
    columns: &'static [&'static str],
    rows: Vec<Vec<Value>>,
}

impl Listing {
    /// Columns are named as in JSON: `log_end`.
    pub(crate) fn new(columns: &'static [&'static str]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row, a value for each column.
    pub(crate) fn push<const N: usize>(&mut self, row: [Value; N]) {
        assert_eq!(N, self.columns.len(), "a value for each column");
        self.rows.push(row.into());
    }

    /// Whether there is no row.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Prints aligned columns, or an object of JSON a line.
    pub(crate) fn print(self, json: bool) -> Result<(), AdminError> {
        let mut out = io::stdout().lock();
        if json {
            for row in self.rows {
                let names = self.columns.iter().map(ToString::to_string);
                let object: Map<String, Value> = names.zip(row).collect();
                writeln!(out, "{}", Value::Object(object))?;
            }
            return Ok(());
        }
        let mut table = Table::new();
        table.load_preset(NOTHING);
        table.set_header(self.columns.iter().map(|name| name.to_uppercase().replace('_', " ")));
        for row in self.rows {
            table.add_row(row.into_iter().map(|value| match value {
                Value::Null => "-".to_owned(),
                Value::String(text) => text,
                other => other.to_string(),
            }));
        }
        Ok(writeln!(out, "{table}")?)
    }
}
