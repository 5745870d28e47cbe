//! Columns and constraints of a stream.

use super::expression::{in_parentheses, unenclosed};
use super::sequence;
use super::settings::settings;
use super::types::column_type;
use super::{NewCheck, NewColumn, NewSequence, SequenceKind, SequenceOptions};
use crate::error::{Error, sqlstate};
use crate::limits::COLUMNS_MAX;
use crate::statement::cursor::Cursor;
use anabranch_engine::{Column, ColumnType, Filled};
use datafusion::sql::sqlparser::tokenizer::Token;

/// A constraint of a stream.
pub(super) enum Constraint {
    /// Columns of the primary key.
    Key(Vec<String>),
    Check(Box<NewCheck>),
}

/// `[CONSTRAINT name] PRIMARY KEY (…) | CHECK (…)`, if one comes next.
pub(super) fn constraint(cursor: &mut Cursor<'_>) -> Result<Option<Constraint>, Error> {
    let before = *cursor;
    let name = match cursor.word("CONSTRAINT") {
        true => Some(cursor.identifier()?),
        false => None,
    };
    if cursor.words(&["PRIMARY", "KEY"]) {
        let key = names_in_parentheses(cursor)?;
        index_parameters(cursor)?;
        return Ok(Some(Constraint::Key(key)));
    }
    if is_constraint(cursor, "CHECK") {
        cursor.word("CHECK");
        return check(cursor, name).map(|check| Some(Constraint::Check(Box::new(check))));
    }
    if let Some(word) =
        ["UNIQUE", "FOREIGN", "EXCLUDE"].into_iter().find(|word| is_constraint(cursor, word))
    {
        return Err(refused(word));
    }
    if name.is_some() {
        return Err(cursor.unexpected("PRIMARY KEY or CHECK"));
    }
    *cursor = before;
    Ok(None)
}

fn check(cursor: &mut Cursor<'_>, name: Option<String>) -> Result<NewCheck, Error> {
    let expression = in_parentheses(cursor)?;
    let is_not_valid = cursor.words(&["NOT", "VALID"]);
    cursor.words(&["NO", "INHERIT"]);
    Ok(NewCheck { name, expression, is_not_valid })
}

fn is_constraint(cursor: &Cursor<'_>, word: &str) -> bool {
    let mut ahead = *cursor;
    ahead.word(word)
        && matches!(ahead.peek(), Some(Token::LParen) | Some(Token::Word(_)))
        && (ahead.token(&Token::LParen)
            || ahead.word("KEY")
            || ahead.word("USING")
            || ahead.word("NULLS"))
}

fn refused(word: &str) -> Error {
    match word {
        "UNIQUE" => Error::unsupported("UNIQUE constraints are not supported")
            .hint("a stream has one unique constraint, its primary key"),
        "REFERENCES" | "FOREIGN" => Error::unsupported("foreign keys are not supported")
            .hint("leave them away: they would not be enforced, and nothing is ignored"),
        _ => Error::unsupported(format!("{word} is not supported"))
            .hint("leave it away: nothing is ever accepted and then ignored"),
    }
}

/// What may stand behind a primary key and says nothing here.
fn index_parameters(cursor: &mut Cursor<'_>) -> Result<(), Error> {
    if cursor.word("WITH") {
        settings(cursor)?;
    }
    if cursor.word("USING") || cursor.word("DEFERRABLE") || cursor.words(&["INITIALLY", "DEFERRED"])
    {
        return Err(Error::unsupported("a primary key is checked with each statement")
            .hint("leave DEFERRABLE and USING INDEX away"));
    }
    cursor.words(&["NOT", "DEFERRABLE"]);
    cursor.words(&["INITIALLY", "IMMEDIATE"]);
    Ok(())
}

pub(super) fn names_in_parentheses(cursor: &mut Cursor<'_>) -> Result<Vec<String>, Error> {
    cursor.expect(&Token::LParen)?;
    let mut names = vec![cursor.identifier()?];
    while cursor.token(&Token::Comma) {
        names.push(cursor.identifier()?);
    }
    cursor.expect(&Token::RParen)?;
    Ok(names)
}

pub(super) fn add_column(columns: &mut Vec<NewColumn>, new: NewColumn) -> Result<(), Error> {
    if columns.iter().any(|other| other.column.name == new.column.name) {
        return Err(Error::new(
            sqlstate::DUPLICATE_COLUMN,
            format!("column \"{}\" specified more than once", new.column.name),
        ));
    }
    if columns.len() >= COLUMNS_MAX {
        return Err(Error::new("54011", format!("streams can have at most {COLUMNS_MAX} columns")));
    }
    columns.push(new);
    Ok(())
}

/// A name that a column may have.
pub(super) fn column_name(cursor: &mut Cursor<'_>) -> Result<String, Error> {
    let name = cursor.identifier()?;
    if name.starts_with('_') {
        return Err(Error::new(
            sqlstate::RESERVED_NAME,
            format!("column name \"{name}\" is reserved: names that begin with _ are the system's"),
        ));
    }
    Ok(name)
}

/// `name type [constraint …]`
pub(super) fn column(
    cursor: &mut Cursor<'_>,
    notices: &mut Vec<String>,
) -> Result<NewColumn, Error> {
    let name = column_name(cursor)?;
    let serial = serial(cursor);
    let (data_type, length) = match serial {
        Some(data_type) => (data_type, None),
        None => column_type(cursor, &name, notices)?,
    };
    let column = Column { length, ..Column::new(name, data_type) };
    let mut new = NewColumn { column, sequence: None, checks: Vec::new() };
    if serial.is_some() {
        new.column.not_null = true;
        let kind = SequenceKind::Serial;
        new.sequence = Some(NewSequence { kind, options: SequenceOptions::default() });
    }
    while column_constraint(cursor, &mut new)? {}
    if new.column.in_key && matches!(new.column.filled, Some(Filled::Generated(_))) {
        return Err(Error::unsupported("a generated column cannot be in a primary key"));
    }
    Ok(new)
}

fn serial(cursor: &mut Cursor<'_>) -> Option<ColumnType> {
    let all = [
        (["SMALLSERIAL", "SERIAL2"], ColumnType::Smallint),
        (["SERIAL", "SERIAL4"], ColumnType::Integer),
        (["BIGSERIAL", "SERIAL8"], ColumnType::Bigint),
    ];
    let found = all.into_iter().find(|(words, _)| words.iter().any(|word| cursor.word(word)));
    found.map(|(_, data_type)| data_type)
}

/// One more constraint of the column; false if there is none.
fn column_constraint(cursor: &mut Cursor<'_>, new: &mut NewColumn) -> Result<bool, Error> {
    let constraint_name = match cursor.word("CONSTRAINT") {
        true => Some(cursor.identifier()?),
        false => None,
    };
    if cursor.words(&["PRIMARY", "KEY"]) {
        new.column.in_key = true;
        new.column.not_null = true;
        index_parameters(cursor)?;
    } else if cursor.words(&["NOT", "NULL"]) {
        new.column.not_null = true;
    } else if cursor.word("NULL") {
        // PostgreSQL's default, said aloud.
    } else if cursor.word("DEFAULT") {
        let expr = unenclosed(cursor)?;
        fill(new, Filled::Default(expr.to_string()))?;
    } else if cursor.word("CHECK") {
        let check = check(cursor, constraint_name)?;
        new.checks.push(check);
    } else if cursor.word("GENERATED") {
        generated(cursor, new)?;
    } else if let Some(word) = ["UNIQUE", "REFERENCES"].into_iter().find(|word| cursor.word(word)) {
        return Err(refused(word));
    } else if cursor.word("COLLATE") {
        let collation = cursor.name()?.name;
        if !matches!(collation.as_str(), "C" | "POSIX" | "ucs_basic" | "default") {
            return Err(Error::unsupported(format!("collation \"{collation}\" is not supported"))
                .hint("texts are ordered by their bytes: COLLATE \"C\""));
        }
    } else if constraint_name.is_some() {
        return Err(cursor.unexpected("a constraint"));
    } else {
        return Ok(false);
    }
    Ok(true)
}

fn fill(new: &mut NewColumn, filled: Filled) -> Result<(), Error> {
    if new.column.filled.is_some() || new.sequence.is_some() {
        let name = &new.column.name;
        return Err(Error::syntax(format!(
            "multiple default values specified for column \"{name}\""
        )));
    }
    new.column.filled = Some(filled);
    Ok(())
}

/// `ALWAYS AS (expression) STORED`, `ALWAYS | BY DEFAULT AS IDENTITY [(…)]`
fn generated(cursor: &mut Cursor<'_>, new: &mut NewColumn) -> Result<(), Error> {
    let kind = if cursor.word("ALWAYS") {
        SequenceKind::Always
    } else {
        cursor.expect_word("BY")?;
        cursor.expect_word("DEFAULT")?;
        SequenceKind::ByDefault
    };
    cursor.expect_word("AS")?;
    if !cursor.word("IDENTITY") {
        if kind == SequenceKind::ByDefault {
            return Err(cursor.unexpected("IDENTITY"));
        }
        let expr = in_parentheses(cursor)?;
        cursor.expect_word("STORED")?;
        return fill(new, Filled::Generated(expr.to_string()));
    }
    let name = &new.column.name;
    if !is_integer(new.column.data_type) {
        return Err(Error::new(
            sqlstate::INVALID_PARAMETER,
            "identity column type must be smallint, integer, or bigint",
        ));
    }
    if new.column.filled.is_some() || new.sequence.is_some() {
        return Err(Error::syntax(format!(
            "both default and identity specified for column \"{name}\""
        )));
    }
    let options = match cursor.token(&Token::LParen) {
        true => {
            let options = sequence::options(cursor)?;
            cursor.expect(&Token::RParen)?;
            options
        }
        false => SequenceOptions::default(),
    };
    new.column.not_null = true;
    new.sequence = Some(NewSequence { kind, options });
    Ok(())
}

pub(super) fn is_integer(data_type: ColumnType) -> bool {
    matches!(data_type, ColumnType::Smallint | ColumnType::Integer | ColumnType::Bigint)
}
