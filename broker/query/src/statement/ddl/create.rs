//! CREATE STREAM.

use super::column::{Constraint, add_column, column, constraint, names_in_parentheses};
use super::settings::{kafka_name, mode, settings};
use super::{CreateStream, Filling};
use crate::error::{Error, sqlstate};
use crate::statement::cursor::Cursor;
use anabranch_engine::{Column, ColumnType, Filled, Mode};
use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use std::collections::BTreeMap;

pub(super) fn create(cursor: &mut Cursor<'_>, word: &'static str) -> Result<CreateStream, Error> {
    let if_not_exists = cursor.words(&["IF", "NOT", "EXISTS"]);
    let mut statement = CreateStream {
        name: cursor.name()?,
        word,
        if_not_exists,
        columns: Vec::new(),
        checks: Vec::new(),
        mode: None,
        partitions: None,
        settings: BTreeMap::new(),
        query: None,
        notices: Vec::new(),
    };
    let mut names = Vec::new();
    if names_only(cursor) {
        names = names_in_parentheses(cursor)?;
    } else if cursor.token(&Token::LParen) && !cursor.token(&Token::RParen) {
        column_list(cursor, &mut statement)?;
    }
    if ["INHERITS", "PARTITION", "USING", "TABLESPACE", "ON", "OF"]
        .iter()
        .any(|word| cursor.word(word))
    {
        return Err(Error::unsupported(
            "INHERITS, PARTITION, USING, TABLESPACE, OF and ON COMMIT are not supported",
        )
        .hint("partitions are a setting: WITH (partitions = 4)"));
    }
    cursor.words(&["WITHOUT", "OIDS"]);
    if cursor.word("WITH") {
        with(cursor, &mut statement)?;
    }
    if cursor.word("AS") {
        statement.query = Some(filling(cursor, names)?);
    } else if !names.is_empty() {
        return Err(cursor.unexpected("AS, or types of the columns"));
    }
    cursor.expect_end()?;
    check_key(statement.columns.iter().map(|new| &new.column))?;
    let keyed = statement.columns.iter().any(|new| new.column.in_key);
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

/// Whether `(a, b)` comes next: names for a query's columns.
fn names_only(cursor: &Cursor<'_>) -> bool {
    let mut ahead = *cursor;
    names_in_parentheses(&mut ahead).is_ok()
}

fn with(cursor: &mut Cursor<'_>, statement: &mut CreateStream) -> Result<(), Error> {
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
            (name, _) if is_storage_parameter(name) => {
                statement.notices.push(format!("{name} says nothing here: rows are not in pages"));
            }
            (name, value) => {
                statement.settings.insert(kafka_name(name), value);
            }
        }
    }
    Ok(())
}

/// PostgreSQL's settings of how a table lies on disk.
fn is_storage_parameter(name: &str) -> bool {
    name == "fillfactor"
        || name == "parallel_workers"
        || name == "oids"
        || name.starts_with("autovacuum_")
        || name.starts_with("toast")
}

fn filling(cursor: &mut Cursor<'_>, names: Vec<String>) -> Result<Filling, Error> {
    let tokens = cursor.take_until(|_| false);
    let is = |at: usize, word: &str| {
        matches!(
            tokens.get(at).map(|token| &token.token),
            Some(Token::Word(found)) if found.value.eq_ignore_ascii_case(word)
        )
    };
    let count = tokens.len();
    let (end, with_data) = match count {
        3.. if is(count - 3, "WITH") && is(count - 2, "NO") && is(count - 1, "DATA") => {
            (count - 3, false)
        }
        2.. if is(count - 2, "WITH") && is(count - 1, "DATA") => (count - 2, true),
        _ => (count, true),
    };
    Ok(Filling { query: query_of(&tokens[..end])?, names, with_data })
}

pub(super) fn query_of(tokens: &[TokenWithSpan]) -> Result<Box<ast::Query>, Error> {
    let dialect = PostgreSqlDialect {};
    let mut parser = Parser::new(&dialect).with_tokens_with_locations(tokens.to_vec());
    let query = parser.parse_query()?;
    let next = parser.peek_token();
    if next.token != Token::EOF {
        return Err(Error::syntax(format!("syntax error at or near \"{}\"", next.token)));
    }
    Ok(query)
}

fn column_list(cursor: &mut Cursor<'_>, statement: &mut CreateStream) -> Result<(), Error> {
    let mut key: Option<Vec<String>> = None;
    loop {
        match constraint(cursor)? {
            Some(Constraint::Key(names)) if key.is_none() => key = Some(names),
            Some(Constraint::Key(_)) => return Err(second_key(&statement.name.name)),
            Some(Constraint::Check(check)) => statement.checks.push(*check),
            None if cursor.word("LIKE") => {
                return Err(Error::unsupported("LIKE is not supported")
                    .hint("name the columns, or CREATE TABLE … AS SELECT"));
            }
            None => {
                let column = column(cursor, &mut statement.notices)?;
                if column.column.in_key && statement.columns.iter().any(|other| other.column.in_key)
                {
                    return Err(second_key(&statement.name.name));
                }
                add_column(&mut statement.columns, column)?;
            }
        }
        if !cursor.token(&Token::Comma) {
            break;
        }
    }
    cursor.expect(&Token::RParen)?;
    let Some(key) = key else { return Ok(()) };
    if statement.columns.iter().any(|new| new.column.in_key) {
        return Err(second_key(&statement.name.name));
    }
    mark_key(statement.columns.iter_mut().map(|new| &mut new.column).collect(), &key)
}

pub(crate) fn second_key(stream: &str) -> Error {
    Error::new(
        sqlstate::INVALID_TABLE_DEFINITION,
        format!("multiple primary keys for stream \"{stream}\" are not allowed"),
    )
}

/// Makes the columns of these names the primary key.
pub(crate) fn mark_key(mut columns: Vec<&mut Column>, key: &[String]) -> Result<(), Error> {
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
    let keyed = columns.iter().filter(|column| column.in_key);
    let declared: Vec<_> = keyed.map(|column| &column.name).collect();
    if declared.len() != key.len() || declared.iter().zip(key).any(|(a, b)| *a != b) {
        return Err(Error::new(
            sqlstate::INVALID_TABLE_DEFINITION,
            "the primary key must list its columns once, in the order in which they are declared",
        ));
    }
    Ok(())
}

/// A document or an array is written in many ways, and each would be a key of its own.
pub(crate) fn check_key<'a>(columns: impl Iterator<Item = &'a Column>) -> Result<(), Error> {
    for column in columns.filter(|column| column.in_key) {
        let name = &column.name;
        if matches!(column.data_type, ColumnType::Jsonb | ColumnType::Array(_)) {
            return Err(Error::unsupported(format!(
                "column \"{name}\" cannot be in a primary key: it is jsonb or an array"
            )));
        }
        if matches!(column.filled, Some(Filled::Generated(_))) {
            return Err(Error::unsupported(format!(
                "column \"{name}\" cannot be in a primary key: it is generated"
            )));
        }
    }
    Ok(())
}
