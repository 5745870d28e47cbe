//! CREATE, ALTER and DROP VIEW.

use super::column::names_in_parentheses;
use super::create::query_of;
use super::dropped_names;
use crate::error::Error;
use crate::statement::cursor::{Cursor, Name};
use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::tokenizer::Token;

/// A statement about a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ViewStatement {
    Create {
        name: Name,
        or_replace: bool,
        /// Names for the query's first columns.
        columns: Vec<String>,
        query: Box<ast::Query>,
    },
    Rename {
        name: Name,
        if_exists: bool,
        to: String,
    },
    Drop {
        names: Vec<Name>,
        if_exists: bool,
        cascade: bool,
    },
}

/// `name [(column, …)] [WITH (…)] AS query`
pub(super) fn create(cursor: &mut Cursor<'_>, or_replace: bool) -> Result<ViewStatement, Error> {
    let name = cursor.name()?;
    let columns = match cursor.peek() {
        Some(Token::LParen) => names_in_parentheses(cursor)?,
        _ => Vec::new(),
    };
    if cursor.word("WITH") {
        return Err(Error::unsupported("options of views are not supported")
            .hint("a view reads with the rights of who queries it, as with security_invoker"));
    }
    cursor.expect_word("AS")?;
    let tokens = cursor.take_until(|_| false);
    let query = query_of(tokens)?;
    Ok(ViewStatement::Create { name, or_replace, columns, query })
}

pub(super) fn alter(cursor: &mut Cursor<'_>) -> Result<ViewStatement, Error> {
    let if_exists = cursor.words(&["IF", "EXISTS"]);
    let name = cursor.name()?;
    if !cursor.words(&["RENAME", "TO"]) {
        return Err(Error::unsupported("of a view only the name can be altered")
            .hint("CREATE OR REPLACE VIEW changes its query"));
    }
    let to = cursor.identifier()?;
    cursor.expect_end()?;
    Ok(ViewStatement::Rename { name, if_exists, to })
}

pub(super) fn drop(cursor: &mut Cursor<'_>) -> Result<ViewStatement, Error> {
    let (names, if_exists, cascade) = dropped_names(cursor)?;
    Ok(ViewStatement::Drop { names, if_exists, cascade })
}
