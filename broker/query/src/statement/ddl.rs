//! CREATE, ALTER and DROP STREAM (or TABLE).
//!
//! ```sql
//! CREATE STREAM [IF NOT EXISTS] name [(column type [PRIMARY KEY] [NOT NULL], …, PRIMARY KEY (a, b))]
//!     [WITH (mode = 'upsert', partitions = 4, retention_ms = …, durability = 'os', …)]
//! ALTER STREAM name ADD [COLUMN] [IF NOT EXISTS] column type [NOT NULL], …
//! ALTER STREAM name SET (setting = value, …) | RESET (setting, …)
//! ALTER STREAM name INFER SCHEMA
//! DROP STREAM [IF EXISTS] name, …
//! ```

use super::Kind;
use super::cursor::{Cursor, Name};
use crate::error::{Error, sqlstate};
use crate::limits::COLUMNS_MAX;
use anabranch_engine::{Column, ColumnType, ItemType, Mode};
use datafusion::sql::sqlparser::tokenizer::Token;
use std::collections::BTreeMap;

/// CREATE STREAM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CreateStream {
    pub(crate) name: Name,
    pub(crate) if_not_exists: bool,
    pub(crate) columns: Vec<Column>,
    pub(crate) mode: Option<Mode>,
    pub(crate) partitions: Option<i32>,
    /// By Kafka's names.
    pub(crate) settings: BTreeMap<String, String>,
    /// What the client should know.
    pub(crate) notices: Vec<String>,
}

/// ALTER STREAM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AlterStream {
    pub(crate) name: Name,
    pub(crate) if_exists: bool,
    pub(crate) action: StreamAction,
    pub(crate) notices: Vec<String>,
}

/// What ALTER STREAM does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StreamAction {
    /// Columns, and whether each may exist already.
    AddColumns(Vec<(Column, bool)>),
    /// Sets or resets, by Kafka's names.
    Settings(BTreeMap<String, Option<String>>),
    /// Prints what columns could be added.
    InferSchema,
}

/// DROP STREAM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DropStream {
    pub(crate) names: Vec<Name>,
    pub(crate) if_exists: bool,
}

/// `None`: another statement.
pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<Option<Kind>, Error> {
    if cursor.word("CREATE") {
        if cursor.word("STREAM") || cursor.word("TABLE") {
            return create(cursor).map(|statement| Some(Kind::Create(statement)));
        }
        return Err(Error::unsupported("only streams and users can be created").hint(
            "CREATE STREAM name (column type, …) WITH (mode = 'append' | 'upsert', …); CREATE TABLE is a synonym",
        ));
    }
    if cursor.word("ALTER") {
        if cursor.word("STREAM") || cursor.word("TABLE") {
            return alter(cursor).map(|statement| Some(Kind::Alter(statement)));
        }
        return Err(Error::unsupported("only streams and users can be altered"));
    }
    if cursor.word("DROP") {
        if cursor.word("STREAM") || cursor.word("TABLE") {
            return drop_stream(cursor).map(|statement| Some(Kind::Drop(statement)));
        }
        return Err(Error::unsupported("only streams and users can be dropped"));
    }
    Ok(None)
}

fn create(cursor: &mut Cursor<'_>) -> Result<CreateStream, Error> {
    let if_not_exists = cursor.words(&["IF", "NOT", "EXISTS"]);
    let mut statement = CreateStream {
        name: cursor.name()?,
        if_not_exists,
        columns: Vec::new(),
        mode: None,
        partitions: None,
        settings: BTreeMap::new(),
        notices: Vec::new(),
    };
    if cursor.token(&Token::LParen) {
        column_list(cursor, &mut statement)?;
    }
    if cursor.word("WITH") {
        for (name, value) in settings(cursor)? {
            match (name.as_str(), value) {
                ("mode", value) => statement.mode = Some(mode(&value)?),
                ("partitions", value) => {
                    statement.partitions = Some(value.parse().map_err(|_| {
                        Error::new(
                            sqlstate::INVALID_PARAMETER,
                            format!("partitions must be a number, not \"{value}\""),
                        )
                    })?);
                }
                (name, value) => {
                    statement.settings.insert(kafka_name(name), value);
                }
            }
        }
    }
    if cursor.word("AS") {
        return Err(Error::unsupported("CREATE … AS SELECT is not supported")
            .hint("CREATE STREAM, then INSERT INTO … SELECT"));
    }
    cursor.expect_end()?;
    check_key(&statement.columns)?;
    let keyed = statement.columns.iter().any(|column| column.in_key);
    match statement.mode {
        None if keyed => statement.mode = Some(Mode::Upsert),
        Some(Mode::Append) if keyed => {
            return Err(Error::new(
                sqlstate::INVALID_TABLE_DEFINITION,
                "an append stream keeps every event, so it cannot have a primary key",
            )
            .hint("leave the PRIMARY KEY away, or say WITH (mode = 'upsert')"));
        }
        _ => {}
    }
    Ok(statement)
}

fn column_list(cursor: &mut Cursor<'_>, statement: &mut CreateStream) -> Result<(), Error> {
    let mut key: Option<Vec<String>> = None;
    loop {
        if cursor.word("CONSTRAINT") {
            cursor.identifier()?;
        }
        if cursor.words(&["PRIMARY", "KEY"]) {
            key = Some(names_in_parentheses(cursor)?);
        } else if ["UNIQUE", "FOREIGN", "CHECK", "EXCLUDE"]
            .iter()
            .any(|word| is_constraint(cursor, word))
        {
            return Err(refused_constraint());
        } else {
            let column = column(cursor, &mut statement.notices)?;
            add_column(&mut statement.columns, column)?;
        }
        if !cursor.token(&Token::Comma) {
            break;
        }
    }
    cursor.expect(&Token::RParen)?;
    let Some(key) = key else { return Ok(()) };
    if statement.columns.iter().any(|column| column.in_key) {
        return Err(Error::new(
            sqlstate::INVALID_TABLE_DEFINITION,
            format!("multiple primary keys for stream \"{}\" are not allowed", statement.name.name),
        ));
    }
    mark_key(&mut statement.columns, &key)
}

fn mark_key(columns: &mut [Column], key: &[String]) -> Result<(), Error> {
    for name in key {
        let Some(column) = columns.iter_mut().find(|column| &column.name == name) else {
            return Err(Error::new(
                sqlstate::UNDEFINED_COLUMN,
                format!("column \"{name}\" named in key does not exist"),
            ));
        };
        column.in_key = true;
        column.not_null = true;
    }
    let declared: Vec<_> =
        columns.iter().filter(|column| column.in_key).map(|column| &column.name).collect();
    if declared.len() != key.len() || declared.iter().zip(key).any(|(a, b)| *a != b) {
        return Err(Error::new(
            sqlstate::INVALID_TABLE_DEFINITION,
            "the primary key must list its columns once, in the order in which they are declared",
        ));
    }
    Ok(())
}

/// A document or an array is written in many ways, and each would be a key of its own.
fn check_key(columns: &[Column]) -> Result<(), Error> {
    let found = columns.iter().find(|column| {
        column.in_key && matches!(column.data_type, ColumnType::Jsonb | ColumnType::Array(_))
    });
    match found {
        None => Ok(()),
        Some(column) => Err(Error::unsupported(format!(
            "column \"{}\" cannot be in a primary key: it is jsonb or an array",
            column.name
        ))),
    }
}

fn is_constraint(cursor: &Cursor<'_>, word: &str) -> bool {
    let mut ahead = *cursor;
    ahead.word(word)
        && matches!(ahead.peek(), Some(Token::LParen) | Some(Token::Word(_)))
        && (ahead.token(&Token::LParen) || ahead.word("KEY") || ahead.word("USING"))
}

fn refused_constraint() -> Error {
    Error::unsupported("constraints other than PRIMARY KEY and NOT NULL are not supported")
        .hint("leave them away: nothing is ever accepted and then ignored")
}

fn add_column(columns: &mut Vec<Column>, column: Column) -> Result<(), Error> {
    if columns.iter().any(|other| other.name == column.name) {
        return Err(Error::new(
            sqlstate::DUPLICATE_COLUMN,
            format!("column \"{}\" specified more than once", column.name),
        ));
    }
    if columns.len() >= COLUMNS_MAX {
        return Err(Error::new("54011", format!("streams can have at most {COLUMNS_MAX} columns")));
    }
    columns.push(column);
    Ok(())
}

/// `name type [PRIMARY KEY] [NOT NULL | NULL]`
fn column(cursor: &mut Cursor<'_>, notices: &mut Vec<String>) -> Result<Column, Error> {
    let name = cursor.identifier()?;
    if name.starts_with('_') {
        return Err(Error::new(
            sqlstate::RESERVED_NAME,
            format!("column name \"{name}\" is reserved: names that begin with _ are the system's"),
        ));
    }
    let data_type = column_type(cursor, &name, notices)?;
    let mut column = Column { name, data_type, in_key: false, not_null: false };
    loop {
        if cursor.words(&["PRIMARY", "KEY"]) {
            column.in_key = true;
            column.not_null = true;
        } else if cursor.words(&["NOT", "NULL"]) {
            column.not_null = true;
        } else if cursor.word("NULL") {
            // PostgreSQL's default, said aloud.
        } else if ["DEFAULT", "UNIQUE", "REFERENCES", "CHECK", "GENERATED", "CONSTRAINT", "COLLATE"]
            .iter()
            .any(|word| cursor.word(word))
        {
            return Err(refused_constraint());
        } else {
            return Ok(column);
        }
    }
}

fn column_type(
    cursor: &mut Cursor<'_>,
    column: &str,
    notices: &mut Vec<String>,
) -> Result<ColumnType, Error> {
    let name = cursor.identifier()?;
    let data_type = match name.as_str() {
        "boolean" | "bool" => ColumnType::Boolean,
        "smallint" | "int2" => ColumnType::Smallint,
        "integer" | "int" | "int4" => ColumnType::Integer,
        "bigint" | "int8" => ColumnType::Bigint,
        "real" | "float4" => ColumnType::Real,
        "float8" | "float" => ColumnType::Double,
        "double" => {
            cursor.expect_word("PRECISION")?;
            ColumnType::Double
        }
        "numeric" | "decimal" => return numeric(cursor, column, notices),
        "text" => ColumnType::Text,
        "varchar" => text_without_length(cursor)?,
        "character" if cursor.word("VARYING") => text_without_length(cursor)?,
        "bytea" => ColumnType::Bytea,
        "date" => ColumnType::Date,
        "timestamptz" => ColumnType::Timestamptz,
        "timestamp" => timestamp(cursor)?,
        "time" => time(cursor)?,
        "interval" => ColumnType::Interval,
        "uuid" => ColumnType::Uuid,
        "json" => ColumnType::Json,
        "jsonb" => ColumnType::Jsonb,
        other => {
            return Err(Error::new(
                sqlstate::UNDEFINED_OBJECT,
                format!("type \"{other}\" is not supported"),
            )
            .hint(
                "the types are boolean, smallint, integer, bigint, real, double precision, \
                 numeric(p,s), text, bytea, date, time, timestamp, timestamptz, interval, uuid, \
                 json, jsonb, and arrays of them",
            ));
        }
    };
    match is_array(cursor)? {
        true => item_type(data_type).map(ColumnType::Array),
        false => Ok(data_type),
    }
}

/// `[]` or `ARRAY` behind a type; lengths are not enforced, as in PostgreSQL.
fn is_array(cursor: &mut Cursor<'_>) -> Result<bool, Error> {
    let mut found = cursor.word("ARRAY");
    let mut dimensions = 0;
    while cursor.token(&Token::LBracket) {
        if !cursor.token(&Token::RBracket) {
            cursor.value()?;
            cursor.expect(&Token::RBracket)?;
        }
        found = true;
        dimensions += 1;
    }
    if dimensions > 1 {
        return Err(Error::unsupported("arrays have one dimension here").hint("use jsonb"));
    }
    Ok(found)
}

fn item_type(column: ColumnType) -> Result<ItemType, Error> {
    Ok(match column {
        ColumnType::Boolean => ItemType::Boolean,
        ColumnType::Smallint => ItemType::Smallint,
        ColumnType::Integer => ItemType::Integer,
        ColumnType::Bigint => ItemType::Bigint,
        ColumnType::Real => ItemType::Real,
        ColumnType::Double => ItemType::Double,
        ColumnType::Text => ItemType::Text,
        ColumnType::Bytea => ItemType::Bytea,
        ColumnType::Date => ItemType::Date,
        ColumnType::Timestamp => ItemType::Timestamp,
        ColumnType::Timestamptz => ItemType::Timestamptz,
        ColumnType::Time => ItemType::Time,
        ColumnType::Interval => ItemType::Interval,
        ColumnType::Uuid => ItemType::Uuid,
        ColumnType::Jsonb => ItemType::Jsonb,
        ColumnType::Json => {
            return Err(Error::unsupported("arrays of json are not supported").hint("use jsonb[]"));
        }
        ColumnType::Numeric { .. } | ColumnType::Array(_) => {
            return Err(Error::syntax("a type has one pair of brackets"));
        }
    })
}

fn time(cursor: &mut Cursor<'_>) -> Result<ColumnType, Error> {
    if cursor.peek() == Some(&Token::LParen) {
        return Err(Error::unsupported("times have microseconds; leave the precision away"));
    }
    if cursor.words(&["WITH", "TIME", "ZONE"]) {
        return Err(Error::unsupported("time with time zone is not supported")
            .hint("use timestamptz, or time and a text for the zone"));
    }
    cursor.words(&["WITHOUT", "TIME", "ZONE"]);
    Ok(ColumnType::Time)
}

/// Digits of `numeric` without precision.
const NUMERIC_DEFAULT: (u8, i8) = (38, 9);

fn numeric(
    cursor: &mut Cursor<'_>,
    column: &str,
    notices: &mut Vec<String>,
) -> Result<ColumnType, Error> {
    if is_array(cursor)? {
        return Ok(ColumnType::Array(ItemType::Numeric));
    }
    if !cursor.token(&Token::LParen) {
        let (precision, scale) = NUMERIC_DEFAULT;
        notices.push(format!(
            "numeric without precision is numeric({precision},{scale}) here (column {column})"
        ));
        return Ok(ColumnType::Numeric { precision, scale });
    }
    let bad = || {
        Error::new(
            sqlstate::INVALID_PARAMETER,
            "numeric takes a precision of 1 to 38 and a scale of 0 to the precision",
        )
    };
    let precision: u8 = cursor.value()?.parse().map_err(|_| bad())?;
    let scale: i8 = match cursor.token(&Token::Comma) {
        true => cursor.value()?.parse().map_err(|_| bad())?,
        false => 0,
    };
    cursor.expect(&Token::RParen)?;
    if is_array(cursor)? {
        return Err(
            Error::unsupported("digits of an array's items are not enforced").hint("say numeric[]")
        );
    }
    let fits = (1..=38).contains(&precision) && (0..=precision as i8).contains(&scale);
    if fits { Ok(ColumnType::Numeric { precision, scale }) } else { Err(bad()) }
}

fn text_without_length(cursor: &Cursor<'_>) -> Result<ColumnType, Error> {
    if cursor.peek() == Some(&Token::LParen) {
        return Err(Error::unsupported("lengths of text are not enforced").hint("use text"));
    }
    Ok(ColumnType::Text)
}

fn timestamp(cursor: &mut Cursor<'_>) -> Result<ColumnType, Error> {
    if cursor.peek() == Some(&Token::LParen) {
        return Err(Error::unsupported("timestamps have microseconds; leave the precision away"));
    }
    if cursor.words(&["WITH", "TIME", "ZONE"]) {
        return Ok(ColumnType::Timestamptz);
    }
    cursor.words(&["WITHOUT", "TIME", "ZONE"]);
    Ok(ColumnType::Timestamp)
}

fn names_in_parentheses(cursor: &mut Cursor<'_>) -> Result<Vec<String>, Error> {
    cursor.expect(&Token::LParen)?;
    let mut names = vec![cursor.identifier()?];
    while cursor.token(&Token::Comma) {
        names.push(cursor.identifier()?);
    }
    cursor.expect(&Token::RParen)?;
    Ok(names)
}

/// `(name = value, …)`
fn settings(cursor: &mut Cursor<'_>) -> Result<Vec<(String, String)>, Error> {
    cursor.expect(&Token::LParen)?;
    let mut all = Vec::new();
    loop {
        let name = setting_name(cursor)?;
        cursor.expect(&Token::Eq)?;
        all.push((name, cursor.value()?));
        if !cursor.token(&Token::Comma) {
            break;
        }
    }
    cursor.expect(&Token::RParen)?;
    Ok(all)
}

/// `retention_ms`, `retention.ms` or `"retention.ms"`.
fn setting_name(cursor: &mut Cursor<'_>) -> Result<String, Error> {
    let mut name = cursor.identifier()?;
    while cursor.token(&Token::Period) {
        name.push('.');
        name.push_str(&cursor.identifier()?);
    }
    Ok(name)
}

/// Kafka's names have dots where SQL's have underscores.
fn kafka_name(name: &str) -> String {
    name.replace('_', ".")
}

fn mode(value: &str) -> Result<Mode, Error> {
    match value.to_ascii_lowercase().as_str() {
        "append" => Ok(Mode::Append),
        "upsert" => Ok(Mode::Upsert),
        "document" => Err(Error::unsupported("mode 'document' is not supported yet")
            .hint("use 'upsert' with a json column")),
        other => Err(Error::new(
            sqlstate::INVALID_PARAMETER,
            format!("mode \"{other}\" does not exist: use 'append' or 'upsert'"),
        )),
    }
}

fn alter(cursor: &mut Cursor<'_>) -> Result<AlterStream, Error> {
    let if_exists = cursor.words(&["IF", "EXISTS"]);
    let name = cursor.name()?;
    let mut notices = Vec::new();
    let action = if cursor.words(&["INFER", "SCHEMA"]) {
        StreamAction::InferSchema
    } else if cursor.word("SET") {
        let all = settings(cursor)?;
        if let Some((name, _)) = all.iter().find(|(name, _)| name == "mode" || name == "partitions")
        {
            return Err(Error::unsupported(format!("{name} cannot be changed yet"))
                .hint("create another stream and INSERT INTO it SELECT from this one"));
        }
        StreamAction::Settings(
            all.into_iter().map(|(name, value)| (kafka_name(&name), Some(value))).collect(),
        )
    } else if cursor.word("RESET") {
        cursor.expect(&Token::LParen)?;
        let mut all = BTreeMap::new();
        loop {
            all.insert(kafka_name(&setting_name(cursor)?), None);
            if !cursor.token(&Token::Comma) {
                break;
            }
        }
        cursor.expect(&Token::RParen)?;
        StreamAction::Settings(all)
    } else {
        StreamAction::AddColumns(added_columns(cursor, &mut notices)?)
    };
    cursor.expect_end()?;
    Ok(AlterStream { name, if_exists, action, notices })
}

fn added_columns(
    cursor: &mut Cursor<'_>,
    notices: &mut Vec<String>,
) -> Result<Vec<(Column, bool)>, Error> {
    let mut columns = Vec::new();
    loop {
        if ["DROP", "ALTER", "RENAME", "OWNER"].iter().any(|word| cursor.word(word)) {
            return Err(Error::unsupported(
                "only ADD COLUMN, SET, RESET and INFER SCHEMA are supported by ALTER STREAM",
            ));
        }
        cursor.expect_word("ADD")?;
        cursor.word("COLUMN");
        let may_exist = cursor.words(&["IF", "NOT", "EXISTS"]);
        let column = column(cursor, notices)?;
        if column.in_key {
            return Err(Error::unsupported("a primary key cannot be added to a stream yet")
                .hint("create an upsert stream and INSERT INTO it SELECT from this one"));
        }
        columns.push((column, may_exist));
        if !cursor.token(&Token::Comma) {
            return Ok(columns);
        }
    }
}

fn drop_stream(cursor: &mut Cursor<'_>) -> Result<DropStream, Error> {
    let if_exists = cursor.words(&["IF", "EXISTS"]);
    let mut names = vec![cursor.name()?];
    while cursor.token(&Token::Comma) {
        names.push(cursor.name()?);
    }
    // Nothing depends on a stream yet, so both say the same.
    let _ = cursor.word("CASCADE") || cursor.word("RESTRICT");
    cursor.expect_end()?;
    Ok(DropStream { names, if_exists })
}
