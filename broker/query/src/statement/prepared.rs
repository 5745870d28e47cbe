//! PREPARE and EXECUTE: prepared statements by statement.

use super::cursor::Cursor;
use super::{Kind, Statement, query_of};
use crate::error::Error;
use crate::plan::placeholder_number;
use datafusion::sql::sqlparser::ast::{self, VisitMut, VisitorMut};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use std::ops::ControlFlow;

/// A statement about a prepared one.
#[derive(Debug, Clone)]
pub(crate) enum PreparedStatement {
    /// PREPARE name (types) AS statement; the types are casts of its parameters.
    Prepare { name: String, statement: Box<Statement> },
    /// EXECUTE name (values); the values are the columns of a query.
    Execute { name: String, values: Option<Box<Statement>> },
}

/// `None`: another statement.
pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<Option<Kind>, Error> {
    let statement = if cursor.word("PREPARE") {
        prepare(cursor)?
    } else if cursor.word("EXECUTE") {
        execute(cursor)?
    } else {
        return Ok(None);
    };
    Ok(Some(Kind::Prepared(statement)))
}

fn prepare(cursor: &mut Cursor<'_>) -> Result<PreparedStatement, Error> {
    let name = cursor.identifier()?;
    let types = match cursor.token(&Token::LParen) {
        true => types(cursor)?,
        false => Vec::new(),
    };
    cursor.expect_word("AS")?;
    let mut statement = Box::new(query_of(cursor.rest())?);
    let mut casts = Casts { types: &types };
    let _ = match &mut statement.kind {
        Kind::Query(query) => query.visit(&mut casts),
        Kind::Insert(insert, _) => insert.visit(&mut casts),
        Kind::Update(update, _) => update.visit(&mut casts),
        Kind::Delete(delete, _) => delete.visit(&mut casts),
        _ => return Err(Error::syntax("PREPARE takes SELECT, INSERT, UPDATE or DELETE")),
    };
    Ok(PreparedStatement::Prepare { name, statement })
}

/// What stands in the parentheses, split at its commas.
fn types(cursor: &mut Cursor<'_>) -> Result<Vec<ast::DataType>, Error> {
    let dialect = PostgreSqlDialect {};
    enclosed(cursor)?
        .into_iter()
        .map(|tokens| {
            let mut parser = Parser::new(&dialect).with_tokens_with_locations(tokens);
            Ok(parser.parse_data_type()?)
        })
        .collect()
}

fn execute(cursor: &mut Cursor<'_>) -> Result<PreparedStatement, Error> {
    let name = cursor.identifier()?;
    if cursor.is_at_end() {
        return Ok(PreparedStatement::Execute { name, values: None });
    }
    cursor.expect(&Token::LParen)?;
    let values = enclosed(cursor)?;
    cursor.expect_end()?;
    if values.is_empty() {
        return Ok(PreparedStatement::Execute { name, values: None });
    }
    let mut query = vec![TokenWithSpan::wrap(Token::make_keyword("SELECT"))];
    for (number, value) in values.into_iter().enumerate() {
        if number > 0 {
            query.push(TokenWithSpan::wrap(Token::Comma));
        }
        query.push(TokenWithSpan::wrap(Token::LParen));
        query.extend(value);
        query.push(TokenWithSpan::wrap(Token::RParen));
    }
    Ok(PreparedStatement::Execute { name, values: Some(Box::new(query_of(&query)?)) })
}

/// The parts between commas up to the parenthesis that closes; the one that opens was taken.
fn enclosed(cursor: &mut Cursor<'_>) -> Result<Vec<Vec<TokenWithSpan>>, Error> {
    let mut parts = Vec::new();
    let mut part = Vec::new();
    let mut depth = 0u32;
    loop {
        let Some(token) = cursor.rest().first().cloned() else {
            return Err(cursor.unexpected(")"));
        };
        cursor.next();
        match &token.token {
            Token::RParen if depth == 0 => break,
            Token::Comma if depth == 0 => parts.push(std::mem::take(&mut part)),
            other => {
                match other {
                    Token::LParen | Token::LBracket => depth += 1,
                    Token::RParen | Token::RBracket => depth = depth.saturating_sub(1),
                    _ => {}
                }
                part.push(token);
            }
        }
    }
    if !part.is_empty() || !parts.is_empty() {
        parts.push(part);
    }
    Ok(parts)
}

/// Gives parameters the types that PREPARE names.
struct Casts<'a> {
    types: &'a [ast::DataType],
}

impl VisitorMut for Casts<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut ast::Expr) -> ControlFlow<()> {
        if let Some(number) = placeholder_number(expr)
            && let Some(data_type) = self.types.get(number - 1)
            && !data_type.to_string().eq_ignore_ascii_case("unknown")
        {
            *expr = ast::Expr::Cast {
                kind: ast::CastKind::Cast,
                expr: Box::new(expr.clone()),
                data_type: data_type.clone(),
                array: false,
                format: None,
            };
        }
        ControlFlow::Continue(())
    }
}
