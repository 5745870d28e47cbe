//! Expressions within definitions.

use crate::error::Error;
use crate::statement::cursor::Cursor;
use datafusion::sql::sqlparser::ast::Expr;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

/// Words that end a default. PostgreSQL 15's b_expr knows none of them outside of parentheses.
const ENDS: [&str; 11] = [
    "NOT",
    "NULL",
    "CHECK",
    "PRIMARY",
    "UNIQUE",
    "REFERENCES",
    "GENERATED",
    "CONSTRAINT",
    "COLLATE",
    "DEFAULT",
    "USING",
];

/// `(expression)`
pub(super) fn in_parentheses(cursor: &mut Cursor<'_>) -> Result<Expr, Error> {
    cursor.expect(&Token::LParen)?;
    let mut depth = 0;
    let tokens = cursor.take_until(|token| match token {
        Token::LParen => {
            depth += 1;
            false
        }
        Token::RParen => {
            depth -= 1;
            depth < 0
        }
        _ => false,
    });
    let expr = parsed(tokens)?;
    cursor.expect(&Token::RParen)?;
    Ok(expr)
}

/// An expression that goes on to a comma, a closing parenthesis or another clause.
pub(super) fn unenclosed(cursor: &mut Cursor<'_>) -> Result<Expr, Error> {
    let (mut depth, mut is_first) = (0, true);
    let tokens = cursor.take_until(|token| {
        let first = std::mem::take(&mut is_first);
        match token {
            Token::LParen | Token::LBracket => depth += 1,
            Token::RParen | Token::RBracket if depth > 0 => depth -= 1,
            Token::RParen => return true,
            Token::Comma => return depth == 0,
            Token::Word(word) if word.quote_style.is_none() => {
                let is = |other: &str| word.value.eq_ignore_ascii_case(other);
                if is("CASE") {
                    depth += 1;
                } else if is("END") && depth > 0 {
                    depth -= 1;
                }
                return depth == 0 && !first && ENDS.iter().any(|end| is(end));
            }
            _ => {}
        }
        false
    });
    parsed(tokens)
}

fn parsed(tokens: &[TokenWithSpan]) -> Result<Expr, Error> {
    let dialect = PostgreSqlDialect {};
    let mut parser = Parser::new(&dialect).with_tokens_with_locations(tokens.to_vec());
    let expr = parser.parse_expr()?;
    let next = parser.peek_token();
    if next.token != Token::EOF {
        return Err(Error::syntax(format!("syntax error at or near \"{}\"", next.token)));
    }
    Ok(expr)
}
