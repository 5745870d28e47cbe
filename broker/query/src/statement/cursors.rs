//! DECLARE, FETCH, MOVE and CLOSE: cursors by statement.

use super::cursor::Cursor;
use super::{Kind, Statement, query_of};
use crate::error::Error;
use datafusion::sql::sqlparser::tokenizer::Token;

/// A statement about a cursor.
#[derive(Debug, Clone)]
pub(crate) enum CursorStatement {
    Declare(Declare),
    Fetch(Fetch),
    /// `None`: all.
    Close(Option<String>),
}

/// DECLARE name CURSOR FOR query.
#[derive(Debug, Clone)]
pub(crate) struct Declare {
    pub(crate) name: String,
    /// WITH HOLD: it outlives its transaction.
    pub(crate) hold: bool,
    pub(crate) query: Box<Statement>,
}

/// FETCH, or MOVE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fetch {
    pub(crate) name: String,
    pub(crate) rows: Rows,
    /// MOVE: rows are passed over.
    pub(crate) moves: bool,
}

/// Which rows. Cursors only go forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rows {
    /// So many, or all.
    Next(u64),
    /// The one that is so many on; those before are passed over.
    Skip(u64),
    /// The one of this number in the whole, from 1.
    Absolute(u64),
    /// What stands further back.
    Back,
}

/// `None`: another statement.
pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<Option<Kind>, Error> {
    let statement = if cursor.word("DECLARE") {
        CursorStatement::Declare(declare(cursor)?)
    } else if cursor.word("FETCH") {
        CursorStatement::Fetch(fetch(cursor, false)?)
    } else if cursor.word("MOVE") {
        CursorStatement::Fetch(fetch(cursor, true)?)
    } else if cursor.word("CLOSE") {
        let name = if cursor.word("ALL") { None } else { Some(cursor.identifier()?) };
        cursor.expect_end()?;
        CursorStatement::Close(name)
    } else {
        return Ok(None);
    };
    Ok(Some(Kind::Cursor(statement)))
}

fn declare(cursor: &mut Cursor<'_>) -> Result<Declare, Error> {
    let name = cursor.identifier()?;
    loop {
        if cursor.word("BINARY") {
            return Err(Error::unsupported("BINARY cursors are not supported")
                .hint("ask for binary results in the extended protocol's Bind"));
        } else if cursor.word("SCROLL") {
            return Err(Error::unsupported("SCROLL cursors are not supported")
                .hint("cursors go forward only: leave SCROLL out"));
        } else if !(cursor.words(&["NO", "SCROLL"])
            || cursor.word("INSENSITIVE")
            || cursor.word("ASENSITIVE"))
        {
            break;
        }
    }
    cursor.expect_word("CURSOR")?;
    let hold = cursor.words(&["WITH", "HOLD"]);
    if !hold {
        cursor.words(&["WITHOUT", "HOLD"]);
    }
    cursor.expect_word("FOR")?;
    let query = Box::new(query_of(cursor.rest())?);
    if !matches!(query.kind, Kind::Query(_)) {
        return Err(Error::syntax("DECLARE CURSOR takes a SELECT"));
    }
    Ok(Declare { name, hold, query })
}

fn fetch(cursor: &mut Cursor<'_>, moves: bool) -> Result<Fetch, Error> {
    let rows = rows(cursor)?;
    let _ = cursor.word("FROM") || cursor.word("IN");
    let name = cursor.identifier()?;
    cursor.expect_end()?;
    Ok(Fetch { name, rows, moves })
}

fn rows(cursor: &mut Cursor<'_>) -> Result<Rows, Error> {
    // A name alone may be any word.
    if cursor.rest().len() == 1 {
        return Ok(Rows::Next(1));
    }
    Ok(if cursor.word("NEXT") {
        Rows::Next(1)
    } else if cursor.word("ALL") {
        Rows::Next(u64::MAX)
    } else if cursor.word("FORWARD") {
        if cursor.word("ALL") {
            Rows::Next(u64::MAX)
        } else {
            count(cursor)?.map_or(Rows::Next(1), forward)
        }
    } else if cursor.word("FIRST") {
        Rows::Absolute(1)
    } else if cursor.word("ABSOLUTE") {
        let number = count(cursor)?.ok_or_else(|| cursor.unexpected("a number"))?;
        u64::try_from(number).map_or(Rows::Back, Rows::Absolute)
    } else if cursor.word("RELATIVE") {
        match count(cursor)?.ok_or_else(|| cursor.unexpected("a number"))? {
            number if number > 0 => Rows::Skip(number.unsigned_abs()),
            _ => Rows::Back,
        }
    } else if cursor.word("PRIOR") || cursor.word("LAST") {
        Rows::Back
    } else if cursor.word("BACKWARD") {
        if !cursor.word("ALL") {
            count(cursor)?;
        }
        Rows::Back
    } else {
        count(cursor)?.map_or(Rows::Next(1), forward)
    })
}

fn forward(count: i64) -> Rows {
    // Zero asks for the row that was read last.
    if count > 0 { Rows::Next(count.unsigned_abs()) } else { Rows::Back }
}

/// A whole number, if one comes next.
fn count(cursor: &mut Cursor<'_>) -> Result<Option<i64>, Error> {
    if !matches!(cursor.peek(), Some(Token::Number(..) | Token::Minus)) {
        return Ok(None);
    }
    let text = cursor.value()?;
    let number = text.parse();
    number.map(Some).map_err(|_| Error::syntax(format!("syntax error at or near \"{text}\"")))
}
