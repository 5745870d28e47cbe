//! COPY (PostgreSQL 15, COPY): the options in parentheses, and as they were written before.

use super::cursor::{Cursor, Name};
use super::{Kind, Offsets, Statement, parse_one};
use crate::copy::{Argument, CopyOptions, Direction, Forced, Given};
use crate::error::{Error, sqlstate};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

/// What a COPY asks for.
#[derive(Debug, Clone)]
pub(crate) struct CopyStatement {
    pub(crate) copied: Copied,
    pub(crate) direction: Direction,
    pub(crate) options: CopyOptions,
}

/// What is copied.
#[derive(Debug, Clone)]
pub(crate) enum Copied {
    /// A relation; no columns are all of them.
    Relation { name: Name, columns: Vec<String> },
    /// The rows of a statement.
    Query(Box<Statement>),
}

/// `None`: another statement. `text` is what the tokens were read from.
pub(super) fn parse(text: &str, tokens: &[TokenWithSpan]) -> Result<Option<CopyStatement>, Error> {
    let mut cursor = Cursor::new(tokens);
    if !cursor.word("COPY") {
        return Ok(None);
    }
    let mut given = Given::default();
    let copied = if cursor.peek() == Some(&Token::LParen) {
        let (query, behind) = query(text, tokens)?;
        cursor = Cursor::new(behind);
        Copied::Query(Box::new(query))
    } else {
        if is_binary(cursor) && cursor.word("BINARY") {
            given.set("format", Argument::Text("binary".to_owned()))?;
        }
        let name = cursor.name()?;
        let columns = match cursor.token(&Token::LParen) {
            true => names_until_parenthesis(&mut cursor)?,
            false => Vec::new(),
        };
        Copied::Relation { name, columns }
    };
    let direction = if cursor.word("FROM") {
        Direction::In
    } else {
        cursor.expect_word("TO")?;
        Direction::Out
    };
    if matches!((&copied, direction), (Copied::Query(_), Direction::In)) {
        return Err(Error::syntax("syntax error at or near \"FROM\": a query is only copied TO"));
    }
    client_only(&mut cursor, direction)?;
    options(&mut cursor, &mut given)?;
    if cursor.word("WHERE") {
        return Err(match direction {
            Direction::Out => Error::syntax("WHERE clause not allowed with COPY TO"),
            Direction::In => Error::unsupported("COPY FROM … WHERE is not supported")
                .hint("filter the rows before, or COPY into another stream and INSERT … SELECT"),
        });
    }
    cursor.expect_end()?;
    Ok(Some(CopyStatement { copied, direction, options: given.finish(direction)? }))
}

/// `COPY BINARY t FROM …`, and not a stream of that name.
fn is_binary(mut cursor: Cursor<'_>) -> bool {
    cursor.word("BINARY")
        && matches!(cursor.peek(), Some(Token::Word(word))
            if word.quote_style.is_some()
                || !["FROM", "TO"].iter().any(|way| word.value.eq_ignore_ascii_case(way)))
}

/// The statement in parentheses, and the tokens behind it.
fn query<'t>(
    text: &str,
    tokens: &'t [TokenWithSpan],
) -> Result<(Statement, &'t [TokenWithSpan]), Error> {
    let mut depth = 0;
    let end = tokens.iter().position(|token| {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            _ => {}
        }
        token.token == Token::RParen && depth == 0
    });
    let end = end.ok_or_else(|| Error::syntax("syntax error at end of input: expected )"))?;
    let inner = tokens[2..end].to_vec();
    let text = inner_text(text, end)?;
    let kind = parse_one(&text, inner)?;
    if !matches!(kind, Kind::Query(_) | Kind::Insert(..) | Kind::Update(..) | Kind::Delete(..)) {
        return Err(Error::syntax("COPY takes SELECT, VALUES, INSERT, UPDATE or DELETE"));
    }
    Ok((Statement { text, kind }, &tokens[end + 1..]))
}

/// What stands between the second of the tokens of `text` and the one of number `end`.
fn inner_text(text: &str, end: usize) -> Result<String, Error> {
    let dialect = PostgreSqlDialect {};
    let tokens = Tokenizer::new(&dialect, text).tokenize_with_location();
    let tokens = tokens.map_err(|error| Error::syntax(error.to_string()))?;
    let mut offsets = Offsets { text, line: 1, line_at: 0 };
    let mut marks =
        tokens.iter().filter(|token| !matches!(token.token, Token::Whitespace(_))).skip(1);
    let from = marks.next().map_or(0, |token| offsets.of(token.span.end));
    let to = marks.nth(end - 2).map_or(text.len(), |token| offsets.of(token.span.start));
    Ok(text[from..to.max(from)].trim().to_owned())
}

/// STDIN or STDOUT, whichever: what else there is lies on the broker's machine.
fn client_only(cursor: &mut Cursor<'_>, direction: Direction) -> Result<(), Error> {
    if cursor.word("STDIN") || cursor.word("STDOUT") {
        return Ok(());
    }
    let (way, instead) = match direction {
        Direction::In => ("from", "COPY … FROM STDIN, or \\copy of psql, reads the client's files"),
        Direction::Out => ("to", "COPY … TO STDOUT, or \\copy of psql, writes the client's files"),
    };
    let refuse = |what: &str| {
        let message = format!("COPY {way} a {what} of the broker's machine is not allowed");
        Err(Error::new(sqlstate::INSUFFICIENT_PRIVILEGE, message).hint(instead))
    };
    if cursor.word("PROGRAM") {
        return refuse("program");
    }
    match cursor.peek() {
        Some(Token::SingleQuotedString(_) | Token::EscapedStringLiteral(_)) => refuse("file"),
        _ => Err(cursor.unexpected(match direction {
            Direction::In => "STDIN",
            Direction::Out => "STDOUT",
        })),
    }
}

fn options(cursor: &mut Cursor<'_>, given: &mut Given) -> Result<(), Error> {
    if cursor.words(&["USING", "DELIMITERS"]) || cursor.word("DELIMITERS") {
        given.set("delimiter", string(cursor)?)?;
    }
    cursor.word("WITH");
    if cursor.token(&Token::LParen) {
        loop {
            let name = cursor.identifier()?;
            given.set(&name, argument(cursor)?)?;
            if !cursor.token(&Token::Comma) {
                return cursor.expect(&Token::RParen);
            }
        }
    }
    while before_parentheses(cursor, given)? {}
    Ok(())
}

/// One of the options as they were written up to PostgreSQL 8.4; false if there is none.
fn before_parentheses(cursor: &mut Cursor<'_>, given: &mut Given) -> Result<bool, Error> {
    let format = |name: &str| Argument::Text(name.to_owned());
    let (name, argument) = if cursor.word("BINARY") {
        ("format", format("binary"))
    } else if cursor.word("CSV") {
        ("format", format("csv"))
    } else if cursor.word("FREEZE") {
        ("freeze", Argument::None)
    } else if cursor.word("HEADER") {
        ("header", Argument::None)
    } else if cursor.word("DELIMITER") {
        ("delimiter", string(cursor)?)
    } else if cursor.word("NULL") {
        ("null", string(cursor)?)
    } else if cursor.word("QUOTE") {
        ("quote", string(cursor)?)
    } else if cursor.word("ESCAPE") {
        ("escape", string(cursor)?)
    } else if cursor.word("ENCODING") {
        ("encoding", string(cursor)?)
    } else if cursor.words(&["FORCE", "QUOTE"]) {
        ("force_quote", columns(cursor)?)
    } else if cursor.words(&["FORCE", "NOT", "NULL"]) {
        ("force_not_null", columns(cursor)?)
    } else if cursor.words(&["FORCE", "NULL"]) {
        ("force_null", columns(cursor)?)
    } else {
        return Ok(false);
    };
    given.set(name, argument)?;
    Ok(true)
}

fn string(cursor: &mut Cursor<'_>) -> Result<Argument, Error> {
    cursor.word("AS");
    match cursor.peek() {
        Some(Token::SingleQuotedString(_) | Token::EscapedStringLiteral(_)) => {
            cursor.value().map(Argument::Text)
        }
        _ => Err(cursor.unexpected("a string")),
    }
}

fn columns(cursor: &mut Cursor<'_>) -> Result<Argument, Error> {
    if cursor.token(&Token::Mul) {
        return Ok(Argument::Columns(Forced::All));
    }
    let mut names = vec![cursor.identifier()?];
    while cursor.token(&Token::Comma) {
        names.push(cursor.identifier()?);
    }
    Ok(Argument::Columns(Forced::These(names)))
}

fn argument(cursor: &mut Cursor<'_>) -> Result<Argument, Error> {
    match cursor.peek() {
        Some(Token::Comma | Token::RParen) => Ok(Argument::None),
        Some(Token::Mul) => {
            cursor.next();
            Ok(Argument::Columns(Forced::All))
        }
        Some(Token::LParen) => {
            cursor.next();
            names_until_parenthesis(cursor).map(|names| Argument::Columns(Forced::These(names)))
        }
        _ => cursor.value().map(Argument::Text),
    }
}

fn names_until_parenthesis(cursor: &mut Cursor<'_>) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    loop {
        names.push(cursor.identifier()?);
        if !cursor.token(&Token::Comma) {
            cursor.expect(&Token::RParen)?;
            return Ok(names);
        }
    }
}
