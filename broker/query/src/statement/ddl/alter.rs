//! ALTER STREAM.

use super::column::{Constraint, column, column_name, constraint};
use super::expression::unenclosed;
use super::settings::{kafka_name, setting_name, settings};
use super::types::column_type;
use super::{AlterStream, Retyped, StreamAction};
use crate::error::Error;
use crate::statement::cursor::Cursor;
use datafusion::sql::sqlparser::tokenizer::Token;
use std::collections::BTreeMap;

pub(super) fn alter(cursor: &mut Cursor<'_>, word: &'static str) -> Result<AlterStream, Error> {
    let if_exists = cursor.words(&["IF", "EXISTS"]);
    cursor.word("ONLY");
    let name = cursor.name()?;
    let mut notices = Vec::new();
    let actions = match alone(cursor)? {
        Some(action) => vec![action],
        None => several(cursor, &mut notices)?,
    };
    cursor.expect_end()?;
    Ok(AlterStream { name, word, if_exists, actions, notices })
}

/// An action that stands alone.
fn alone(cursor: &mut Cursor<'_>) -> Result<Option<StreamAction>, Error> {
    if cursor.words(&["INFER", "SCHEMA"]) {
        return Ok(Some(StreamAction::InferSchema));
    }
    if cursor.words(&["SET", "SCHEMA"]) {
        return Err(Error::unsupported("streams are in the schema public"));
    }
    if cursor.word("SET") {
        return set(cursor).map(Some);
    }
    if cursor.word("RESET") {
        return reset(cursor).map(Some);
    }
    if !cursor.word("RENAME") {
        return Ok(None);
    }
    if cursor.word("TO") {
        return Ok(Some(StreamAction::Rename(cursor.identifier()?)));
    }
    let is_constraint = cursor.word("CONSTRAINT");
    if !is_constraint {
        cursor.word("COLUMN");
    }
    let from = cursor.identifier()?;
    cursor.expect_word("TO")?;
    Ok(Some(match is_constraint {
        true => StreamAction::RenameConstraint(from, cursor.identifier()?),
        false => StreamAction::RenameColumn(from, column_name(cursor)?),
    }))
}

fn set(cursor: &mut Cursor<'_>) -> Result<StreamAction, Error> {
    let all = settings(cursor)?;
    if let Some((name, _)) = all.iter().find(|(name, _)| name == "mode" || name == "partitions") {
        return Err(Error::unsupported(format!("{name} cannot be changed yet"))
            .hint("create another stream and INSERT INTO it SELECT from this one"));
    }
    Ok(StreamAction::Settings(
        all.into_iter().map(|(name, value)| (kafka_name(&name), Some(value))).collect(),
    ))
}

fn reset(cursor: &mut Cursor<'_>) -> Result<StreamAction, Error> {
    cursor.expect(&Token::LParen)?;
    let mut all = BTreeMap::new();
    loop {
        all.insert(kafka_name(&setting_name(cursor)?), None);
        if !cursor.token(&Token::Comma) {
            break;
        }
    }
    cursor.expect(&Token::RParen)?;
    Ok(StreamAction::Settings(all))
}

fn several(cursor: &mut Cursor<'_>, notices: &mut Vec<String>) -> Result<Vec<StreamAction>, Error> {
    let mut actions = Vec::new();
    loop {
        if cursor.words(&["OWNER", "TO"]) {
            cursor.identifier()?;
            notices.push("streams have no owner: GRANT says who may do what".to_owned());
        } else if cursor.word("ADD") {
            actions.push(add(cursor, notices)?);
        } else if cursor.word("DROP") {
            actions.push(drop(cursor)?);
        } else if cursor.word("ALTER") {
            cursor.word("COLUMN");
            actions.push(alter_column(cursor, notices)?);
        } else {
            return Err(cursor.unexpected("ADD, DROP, ALTER, RENAME, SET, RESET or INFER SCHEMA"));
        }
        if !cursor.token(&Token::Comma) {
            return Ok(actions);
        }
    }
}

fn add(cursor: &mut Cursor<'_>, notices: &mut Vec<String>) -> Result<StreamAction, Error> {
    match constraint(cursor)? {
        Some(Constraint::Key(names)) => return Ok(StreamAction::AddKey(names)),
        Some(Constraint::Check(check)) => return Ok(StreamAction::AddCheck(*check)),
        None => {}
    }
    cursor.word("COLUMN");
    let may_exist = cursor.words(&["IF", "NOT", "EXISTS"]);
    let new = column(cursor, notices)?;
    if new.column.in_key {
        return Err(Error::unsupported("a new column cannot be the primary key: it has no values")
            .hint("ADD PRIMARY KEY makes one of columns that there are"));
    }
    Ok(StreamAction::AddColumn(Box::new(new), may_exist))
}

fn drop(cursor: &mut Cursor<'_>) -> Result<StreamAction, Error> {
    let is_constraint = cursor.word("CONSTRAINT");
    if !is_constraint {
        cursor.word("COLUMN");
    }
    let if_exists = cursor.words(&["IF", "EXISTS"]);
    let name = cursor.identifier()?;
    let cascade = cursor.word("CASCADE");
    cursor.word("RESTRICT");
    Ok(match is_constraint {
        true => StreamAction::DropConstraint(name, if_exists),
        false => StreamAction::DropColumn { name, if_exists, cascade },
    })
}

/// What follows on `ALTER COLUMN`.
fn alter_column(cursor: &mut Cursor<'_>, notices: &mut Vec<String>) -> Result<StreamAction, Error> {
    let name = cursor.identifier()?;
    if cursor.words(&["SET", "DEFAULT"]) {
        return Ok(StreamAction::SetDefault(name, unenclosed(cursor)?));
    }
    if cursor.words(&["DROP", "DEFAULT"]) {
        return Ok(StreamAction::DropDefault(name));
    }
    if cursor.words(&["SET", "NOT", "NULL"]) {
        return Ok(StreamAction::SetNotNull(name));
    }
    if cursor.words(&["DROP", "NOT", "NULL"]) {
        return Ok(StreamAction::DropNotNull(name));
    }
    if cursor.words(&["SET", "DATA", "TYPE"]) || cursor.word("TYPE") {
        return retype(cursor, name, notices);
    }
    Err(Error::unsupported(
        "of a column, DEFAULT, NOT NULL and TYPE can be altered; an identity and a generated \
         column stay what they are",
    ))
}

fn retype(
    cursor: &mut Cursor<'_>,
    column: String,
    notices: &mut Vec<String>,
) -> Result<StreamAction, Error> {
    let (data_type, length) = column_type(cursor, &column, notices)?;
    if cursor.word("USING") {
        // Object mappers always say how: the column itself, as what it is going to be.
        let mut same = cursor.identifier().is_ok_and(|name| name == column);
        if same && cursor.token(&Token::DoubleColon) {
            same = column_type(cursor, &column, &mut Vec::new())? == (data_type, length);
        }
        if !same {
            return Err(Error::unsupported(
                "USING another value is not supported: events are not written anew",
            )
            .hint("ADD COLUMN another one, and UPDATE … SET it"));
        }
    }
    let misfits_are_null = cursor.words(&["ON", "MISFIT", "NULL"]);
    Ok(StreamAction::SetType(Retyped { column, data_type, length, misfits_are_null }))
}
