//! The stream that a statement writes to.

use crate::catalog::find;
use crate::error::{Error, sqlstate};
use crate::rows::{KeyShape, Layout, Relation, Source, System};
use crate::session::{stream_name, unknown};
use crate::sql::Sql;
use crate::statement::{Name, folded};
use anabranch_engine::{Column, Mode, Stream, TextLength};
use anabranch_types::partitioner::partition_of;
use anabranch_types::{PartitionId, PartitionIndex};
use bytes::Bytes;
use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::TableReference;
use datafusion::sql::sqlparser::ast::ObjectName;
use std::sync::Arc;

/// A stream, and how its columns are written.
pub(super) struct Target {
    pub(super) stream: Arc<Stream>,
    pub(super) layout: Arc<Layout>,
}

/// What a column that is written goes into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Role {
    /// This column of the key.
    Key(usize),
    /// A field of the value.
    Field,
    /// The key as a whole (`_key`).
    RawKey,
    /// The value as a whole (`_value`, `_json`).
    RawValue,
}

/// A column that is written.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub(super) role: Role,
    /// Name and type.
    pub(super) field: Arc<Field>,
    /// The field of the value that it is written to.
    pub(super) json: String,
    pub(super) not_null: bool,
    pub(super) length: Option<TextLength>,
}

impl Target {
    pub(super) fn find(sql: &Sql, name: &ObjectName) -> Result<Self, Error> {
        let parts: Vec<_> = name
            .0
            .iter()
            .map(|part| part.as_ident().map(folded))
            .collect::<Option<_>>()
            .ok_or_else(|| Error::syntax(format!("{name} is not the name of a stream")))?;
        let name = match parts.as_slice() {
            [name] => Name { schema: None, name: name.clone() },
            [schema, name] | [_, schema, name] => {
                Name { schema: Some(schema.clone()), name: name.clone() }
            }
            _ => return Err(Error::syntax(format!("{name} is not the name of a stream"))),
        };
        let name = stream_name(&name)?;
        let stream =
            find(sql.engine(), &name).ok_or_else(|| match sql.engine().catalog().view(&name) {
                Some(_) => {
                    Error::new("55000", format!("cannot write to view \"{name}\": it is a query"))
                        .hint("write to the streams that it reads")
                }
                None => unknown(&name),
            })?;
        Ok(Self::of(stream))
    }

    pub(super) fn of(stream: Arc<Stream>) -> Self {
        let layout = Layout::new(&stream, Relation::Rows);
        Self { stream, layout }
    }

    pub(super) fn is_keyed(&self) -> bool {
        self.stream.mode == Mode::Upsert
    }

    /// The column `name`, as something to write.
    pub(super) fn column(&self, name: &str) -> Result<Written, Error> {
        let unknown = || {
            Error::new(
                sqlstate::UNDEFINED_COLUMN,
                format!("column \"{name}\" of stream \"{}\" does not exist", self.stream.name),
            )
            .hint("ALTER STREAM … ADD COLUMN declares it; fields of any name can be given in _json")
        };
        let index = self.layout.schema.index_of(name).map_err(|_| unknown())?;
        let field = self.layout.schema.fields()[index].clone();
        let role = match &self.layout.sources[index] {
            Source::Key(part) => Role::Key(*part),
            Source::Field(_) => Role::Field,
            Source::System(System::Key) if self.layout.key == KeyShape::Raw => Role::RawKey,
            Source::System(System::Value | System::Json) if self.stream.columns.is_empty() => {
                Role::RawValue
            }
            Source::System(_) => {
                return Err(Error::new(
                    "428C9",
                    format!("cannot insert or update column \"{name}\""),
                )
                .hint(
                    "of the system's columns only _key and _json (or _value) can be written, \
                       where no columns are declared",
                ));
            }
        };
        let declared = self.declared(name);
        Ok(Written {
            role,
            field,
            json: declared.map_or(name, Column::field).to_owned(),
            not_null: declared.is_some_and(|column| column.not_null || column.in_key),
            length: declared.and_then(|column| column.length),
        })
    }

    /// Columns of an INSERT that names none: those that `*` shows and that can be written.
    pub(super) fn insertable(&self) -> Vec<String> {
        self.layout
            .visible_schema()
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .filter(|name| name != System::Value.name() || !self.stream.columns.is_empty())
            .collect()
    }

    pub(super) fn declared(&self, name: &str) -> Option<&Column> {
        self.stream.columns.iter().find(|column| column.name == name)
    }

    /// The columns that make the key, in its order.
    pub(super) fn key_columns(&self) -> Result<Vec<Written>, Error> {
        if self.layout.key == KeyShape::Raw {
            return Ok(vec![self.column(System::Key.name())?]);
        }
        self.stream.key_columns().map(|column| self.column(&column.name)).collect()
    }

    /// The key of row `row`, of which all columns are among `columns`.
    pub(super) fn key_of(
        &self,
        columns: &[(&Written, ArrayRef)],
        row: usize,
    ) -> Result<Bytes, Error> {
        let raw = columns.iter().find(|(column, _)| column.role == Role::RawKey);
        if let Some((_, array)) = raw {
            return super::encode::raw_bytes(array, row)
                .ok_or_else(|| null_violation(&self.stream, System::Key.name()));
        }
        let mut parts: Vec<(usize, ArrayRef)> = columns
            .iter()
            .filter_map(|(column, array)| match column.role {
                Role::Key(part) => Some((part, array.clone())),
                _ => None,
            })
            .collect();
        parts.sort_by_key(|(part, _)| *part);
        let parts: Vec<_> = parts.into_iter().map(|(_, array)| array).collect();
        let mut key = Vec::new();
        self.layout.key.encode(&parts, row, &mut key)?;
        Ok(Bytes::from(key))
    }

    /// Where a new key goes.
    pub(super) fn partition_of(&self, key: &[u8]) -> PartitionId {
        let count = i32::try_from(self.stream.partitions.len()).unwrap_or(i32::MAX);
        let PartitionIndex(index) = partition_of(key, count);
        self.stream.partitions[usize::try_from(index).unwrap_or(0)]
    }

    /// Where events without a key go: one partition a statement, in turn.
    pub(super) fn partition_in_turn(&self, turn: usize) -> PartitionId {
        self.stream.partitions[turn % self.stream.partitions.len()]
    }
}

/// The columns `fields` of the relation `name`.
pub(super) fn qualified<'a>(
    name: &str,
    fields: impl IntoIterator<Item = &'a FieldRef>,
) -> Vec<(Option<TableReference>, FieldRef)> {
    let table = TableReference::bare(name.to_owned());
    fields.into_iter().map(|field| (Some(table.clone()), field.clone())).collect()
}

/// Checks that a set of columns makes an event.
pub(super) fn check_columns(target: &Target, columns: &[Written]) -> Result<(), Error> {
    for (number, column) in columns.iter().enumerate() {
        if columns[..number].iter().any(|other| other.field.name() == column.field.name()) {
            return Err(Error::new(
                sqlstate::DUPLICATE_COLUMN,
                format!("column \"{}\" specified more than once", column.field.name()),
            ));
        }
    }
    let values = columns.iter().filter(|column| column.role == Role::RawValue).count();
    if values > 1 {
        return Err(Error::syntax("_value and _json are the same bytes: give one of them"));
    }
    let missing = target
        .stream
        .columns
        .iter()
        .filter(|column| column.not_null || column.in_key)
        .find(|column| columns.iter().all(|written| written.field.name() != &column.name));
    if let Some(missing) = missing {
        return Err(null_violation(&target.stream, &missing.name));
    }
    let has_key = columns.iter().any(|column| column.role == Role::RawKey);
    if target.is_keyed() && target.layout.key == KeyShape::Raw && !has_key {
        return Err(null_violation(&target.stream, System::Key.name()));
    }
    Ok(())
}

pub(super) fn null_violation(stream: &Stream, column: &str) -> Error {
    Error::new(
        sqlstate::NOT_NULL_VIOLATION,
        format!(
            "null value in column \"{column}\" of stream \"{}\" violates not-null constraint",
            stream.name
        ),
    )
}

/// A row with this key is there already.
pub(super) fn duplicate_key(stream: &Stream, key: &[u8]) -> Error {
    let columns: Vec<_> = stream.key_columns().map(|column| column.name.as_str()).collect();
    let columns =
        if columns.is_empty() { System::Key.name().to_owned() } else { columns.join(", ") };
    Error::new(
        sqlstate::UNIQUE_VIOLATION,
        format!(
            "duplicate key value violates unique constraint \"{}_pkey\": key ({columns})=({}) \
             already exists",
            stream.name,
            String::from_utf8_lossy(key)
        ),
    )
}

/// The type that a column's values are brought to; keys and values may also be given as text.
pub(super) fn written_type(column: &Written) -> DataType {
    column.field.data_type().clone()
}
