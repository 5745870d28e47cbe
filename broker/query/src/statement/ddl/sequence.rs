//! CREATE, ALTER and DROP SEQUENCE.

use super::column::is_integer;
use super::types::column_type;
use crate::error::{Error, sqlstate};
use crate::statement::cursor::{Cursor, Name};
use anabranch_engine::ColumnType;
use datafusion::sql::sqlparser::tokenizer::Token;

/// A statement about a sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SequenceStatement {
    Create { name: Name, if_not_exists: bool, options: SequenceOptions },
    Alter { name: Name, if_exists: bool, options: SequenceOptions },
    Drop { names: Vec<Name>, if_exists: bool },
}

/// What was said about how a sequence counts. `Some(None)`: that there is none (NO MINVALUE).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SequenceOptions {
    pub(crate) name: Option<Name>,
    pub(crate) data_type: Option<ColumnType>,
    pub(crate) start: Option<i64>,
    pub(crate) increment: Option<i64>,
    pub(crate) min: Option<Option<i64>>,
    pub(crate) max: Option<Option<i64>>,
    pub(crate) cache: Option<i64>,
    pub(crate) cycle: Option<bool>,
    /// Stream and column.
    pub(crate) owned_by: Option<Option<(Name, String)>>,
    /// RESTART, perhaps with a value.
    pub(crate) restart: Option<Option<i64>>,
}

pub(super) fn create(cursor: &mut Cursor<'_>) -> Result<SequenceStatement, Error> {
    let if_not_exists = cursor.words(&["IF", "NOT", "EXISTS"]);
    let name = cursor.name()?;
    let options = options(cursor)?;
    cursor.expect_end()?;
    if options.restart.is_some() {
        return Err(Error::syntax("RESTART is for ALTER SEQUENCE: say START WITH"));
    }
    Ok(SequenceStatement::Create { name, if_not_exists, options })
}

pub(super) fn alter(cursor: &mut Cursor<'_>) -> Result<SequenceStatement, Error> {
    let if_exists = cursor.words(&["IF", "EXISTS"]);
    let name = cursor.name()?;
    if ["RENAME", "OWNER", "SET"].iter().any(|word| cursor.word(word)) {
        return Err(Error::unsupported(
            "a sequence keeps its name and its schema, and has no owner",
        )
        .hint("CREATE SEQUENCE another one, with START"));
    }
    let options = options(cursor)?;
    cursor.expect_end()?;
    Ok(SequenceStatement::Alter { name, if_exists, options })
}

/// Options in any order, as long as there are some.
pub(super) fn options(cursor: &mut Cursor<'_>) -> Result<SequenceOptions, Error> {
    let mut options = SequenceOptions::default();
    loop {
        if cursor.word("AS") {
            let (data_type, _) = column_type(cursor, "", &mut Vec::new())?;
            if !is_integer(data_type) {
                return Err(Error::new(
                    sqlstate::INVALID_PARAMETER,
                    "sequence type must be smallint, integer, or bigint",
                ));
            }
            options.data_type = Some(data_type);
        } else if cursor.word("START") {
            cursor.word("WITH");
            options.start = Some(number(cursor)?);
        } else if cursor.word("INCREMENT") {
            cursor.word("BY");
            options.increment = Some(number(cursor)?);
        } else if cursor.words(&["NO", "MINVALUE"]) {
            options.min = Some(None);
        } else if cursor.words(&["NO", "MAXVALUE"]) {
            options.max = Some(None);
        } else if cursor.words(&["NO", "CYCLE"]) {
            options.cycle = Some(false);
        } else if cursor.word("MINVALUE") {
            options.min = Some(Some(number(cursor)?));
        } else if cursor.word("MAXVALUE") {
            options.max = Some(Some(number(cursor)?));
        } else if cursor.word("CACHE") {
            options.cache = Some(number(cursor)?);
        } else if cursor.word("CYCLE") {
            options.cycle = Some(true);
        } else if cursor.words(&["OWNED", "BY"]) {
            options.owned_by = Some(owner(cursor)?);
        } else if cursor.words(&["SEQUENCE", "NAME"]) {
            options.name = Some(cursor.name()?);
        } else if cursor.word("RESTART") {
            let with = cursor.word("WITH");
            let is_number = matches!(cursor.peek(), Some(Token::Number(..) | Token::Minus));
            let value = if with || is_number { Some(number(cursor)?) } else { None };
            options.restart = Some(value);
        } else {
            return Ok(options);
        }
    }
}

fn number(cursor: &mut Cursor<'_>) -> Result<i64, Error> {
    let text = cursor.value()?;
    text.parse().map_err(|_| {
        Error::new(sqlstate::NUMERIC_OUT_OF_RANGE, format!("\"{text}\" is not a bigint"))
    })
}

/// `NONE`, or `[schema.]stream.column`.
fn owner(cursor: &mut Cursor<'_>) -> Result<Option<(Name, String)>, Error> {
    if cursor.word("NONE") {
        return Ok(None);
    }
    let first = cursor.name()?;
    let Some(schema) = first.schema else {
        return Err(Error::new(sqlstate::SYNTAX_ERROR, "invalid OWNED BY option")
            .hint("say OWNED BY stream.column or OWNED BY NONE"));
    };
    Ok(Some(match cursor.token(&Token::Period) {
        true => (Name { schema: Some(schema), name: first.name }, cursor.identifier()?),
        false => (Name { schema: None, name: schema }, first.name),
    }))
}
