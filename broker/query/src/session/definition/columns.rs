//! Columns, constraints and sequences as they were written, as they are going to be kept.

use super::sequences::spec_of;
use crate::error::{Error, sqlstate};
use crate::limits::COLUMNS_MAX;
use crate::statement::{NewCheck, NewColumn, SequenceKind, shown_name};
use anabranch_engine::{Check, Column, ColumnType, Filled, ItemType, SequenceSpec};
use anabranch_semantics::is_json;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::sql::sqlparser::ast::{self, visit_expressions};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// What a stream is going to be, while it is put together.
pub(super) struct Drafts<'a> {
    stream: String,
    is_taken: Box<dyn Fn(&str) -> bool + Send + 'a>,
    pub(super) columns: Vec<Column>,
    pub(super) checks: Vec<Check>,
    /// Sequences that are made.
    pub(super) sequences: Vec<SequenceSpec>,
}

impl<'a> Drafts<'a> {
    /// Of a stream without columns. `is_taken` knows the names of sequences that there are.
    pub(super) fn new(stream: &str, is_taken: impl Fn(&str) -> bool + Send + 'a) -> Self {
        Self {
            stream: stream.to_owned(),
            is_taken: Box::new(is_taken),
            columns: Vec::new(),
            checks: Vec::new(),
            sequences: Vec::new(),
        }
    }

    pub(super) fn add_column(&mut self, new: NewColumn) -> Result<(), Error> {
        let mut column = new.column;
        if let Some(sequence) = new.sequence {
            let name = match &sequence.options.name {
                Some(name) => super::stream_name(name)?,
                None => self.sequence_name(&column.name),
            };
            let data_type = sequence.options.data_type.unwrap_or(column.data_type);
            let spec = spec_of(&name, &sequence.options, data_type)?;
            self.sequences.push(SequenceSpec { column: Some(column.name.clone()), ..spec });
            column.filled = Some(match sequence.kind {
                SequenceKind::Serial => Filled::Default(format!(
                    "nextval('{}'::regclass)",
                    shown_name(&name).replace('\'', "''")
                )),
                kind => Filled::Identity { sequence: name, always: kind == SequenceKind::Always },
            });
        }
        if self.columns.len() >= COLUMNS_MAX {
            let message = format!("streams can have at most {COLUMNS_MAX} columns");
            return Err(Error::new("54011", message));
        }
        let name = column.name.clone();
        self.columns.push(column);
        for check in new.checks {
            self.add_named(check, Some(&name))?;
        }
        Ok(())
    }

    pub(super) fn add_check(&mut self, check: NewCheck) -> Result<(), Error> {
        // As PostgreSQL does: a check of one column is named for it.
        let columns = columns_of(&check.expression, &self.columns);
        let column = match columns.len() {
            1 => columns.into_iter().next(),
            _ => None,
        };
        self.add_named(check, column.as_deref())
    }

    fn add_named(&mut self, check: NewCheck, column: Option<&str>) -> Result<(), Error> {
        let is_taken = |name: &str| self.checks.iter().any(|check| check.name == name);
        let name = match check.name {
            Some(name) if is_taken(&name) => {
                return Err(Error::new(
                    sqlstate::DUPLICATE_OBJECT,
                    format!(
                        "constraint \"{name}\" for relation \"{}\" already exists",
                        self.stream
                    ),
                ));
            }
            Some(name) => name,
            None => {
                let column = column.map(|column| format!("_{column}")).unwrap_or_default();
                free_name(&format!("{}{column}_check", self.stream), is_taken)
            }
        };
        self.checks.push(Check { name, expression: check.expression.to_string() });
        Ok(())
    }

    fn sequence_name(&self, column: &str) -> String {
        let made = |name: &str| self.sequences.iter().any(|spec| spec.name == name);
        let is_taken = |name: &str| made(name) || (self.is_taken)(name);
        free_name(&format!("{}_{column}_seq", self.stream), is_taken)
    }
}

/// `name`, or with the first number behind it that makes it a free one.
pub(super) fn free_name(name: &str, is_taken: impl Fn(&str) -> bool) -> String {
    if !is_taken(name) {
        return name.to_owned();
    }
    let mut number = 1;
    loop {
        let numbered = format!("{name}{number}");
        if !is_taken(&numbered) {
            return numbered;
        }
        number += 1;
    }
}

/// The columns that an expression names.
pub(super) fn columns_of(expr: &ast::Expr, columns: &[Column]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let _ = visit_expressions(expr, |expr| {
        if let ast::Expr::Identifier(ident) = expr {
            let name = crate::statement::folded(ident);
            if columns.iter().any(|column| column.name == name) {
                found.insert(name);
            }
        }
        ControlFlow::<()>::Continue(())
    });
    found
}

/// Columns for what a query gives.
pub(super) fn columns_of_schema(schema: &Schema, names: &[String]) -> Result<Vec<Column>, Error> {
    if names.len() > schema.fields().len() {
        return Err(Error::syntax("too many column names were specified"));
    }
    let mut columns: Vec<Column> = Vec::new();
    for (number, field) in schema.fields().iter().enumerate() {
        let name = names.get(number).unwrap_or_else(|| field.name());
        if name.starts_with('_') || name.starts_with('?') {
            return Err(Error::new(
                sqlstate::RESERVED_NAME,
                format!("\"{name}\" is no name for a column: give it one with AS"),
            ));
        }
        if columns.iter().any(|column| &column.name == name) {
            return Err(Error::new(
                sqlstate::DUPLICATE_COLUMN,
                format!("column \"{name}\" specified more than once"),
            ));
        }
        columns.push(Column::new(name, column_type(field)?));
    }
    Ok(columns)
}

pub(super) fn column_type(field: &Field) -> Result<ColumnType, Error> {
    Ok(match field.data_type() {
        DataType::Boolean => ColumnType::Boolean,
        DataType::Int16 => ColumnType::Smallint,
        DataType::Int32 => ColumnType::Integer,
        DataType::Int64 => ColumnType::Bigint,
        DataType::Float32 => ColumnType::Real,
        DataType::Float64 => ColumnType::Double,
        DataType::Decimal128(precision, scale) => {
            ColumnType::Numeric { precision: *precision, scale: *scale }
        }
        // numeric without digits (anabranch_semantics).
        DataType::LargeBinary => ColumnType::Numeric { precision: 38, scale: 9 },
        DataType::Utf8 | DataType::Utf8View if is_json(field) => ColumnType::Json,
        DataType::Utf8 | DataType::Utf8View | DataType::Null => ColumnType::Text,
        DataType::LargeUtf8 => ColumnType::Jsonb,
        DataType::Binary | DataType::BinaryView => ColumnType::Bytea,
        DataType::Date32 => ColumnType::Date,
        DataType::Timestamp(_, None) => ColumnType::Timestamp,
        DataType::Timestamp(_, Some(_)) => ColumnType::Timestamptz,
        DataType::Time64(_) => ColumnType::Time,
        DataType::Interval(_) => ColumnType::Interval,
        DataType::FixedSizeBinary(16) => ColumnType::Uuid,
        DataType::List(item) => ColumnType::Array(item_type(item)?),
        other => {
            return Err(Error::unsupported(format!(
                "column \"{}\" is of a type that no stream has: {other}",
                field.name()
            ))
            .hint("cast it"));
        }
    })
}

fn item_type(item: &Field) -> Result<ItemType, Error> {
    match column_type(item)? {
        ColumnType::Json => Ok(ItemType::Jsonb),
        column => ItemType::of(column)
            .ok_or_else(|| Error::unsupported("arrays have one dimension here").hint("use jsonb")),
    }
}
