//! Statements: what a text asks for.
//!
//! SELECT, INSERT, UPDATE and DELETE are sqlparser's; what is ours (streams), and what belongs to
//! a session, is parsed here from the same tokens.

mod catalogue;
mod copy;
mod cursor;
mod cursors;
mod ddl;
mod default_lookups;
mod names;
mod prepared;
mod roles;
mod sequence_calls;
mod session;
mod session_functions;
#[cfg(test)]
mod tests;
mod views;
mod visible;

pub(crate) use catalogue::rewrite_catalogue;
pub(crate) use copy::{Copied, CopyStatement};
pub(crate) use cursor::Name;
pub(crate) use cursors::{CursorStatement, Declare, Fetch, Rows as FetchRows};
pub(crate) use ddl::{
    AlterStream, CreateStream, DropStream, Filling, Needless, NewCheck, NewColumn, Retyped,
    SequenceKind, SequenceOptions, SequenceStatement, StreamAction, ViewStatement, check_key,
    mark_key, second_key,
};
pub(crate) use default_lookups::replace_default_lookups;
pub(crate) use names::{OutputNames, column_name, output_names, unique_projection};
pub(crate) use prepared::PreparedStatement;
pub(crate) use roles::{Grantee, Objects, Privileges, RoleStatement, Secret};
pub(crate) use sequence_calls::{bind_sequence_calls, calls_sequences, next_value_of};
pub(crate) use session::{SessionStatement, SetValue};
pub(crate) use session_functions::{
    Configured, ConfiguredValue, SessionFacts, replace_session_functions,
};
pub(crate) use views::{expand_views, has_star, relations_of, view_text};
pub(crate) use visible::{folded, hide_system_columns, quoted, shown_name, table_alias};

use crate::error::{Error, sqlstate};
use crate::limits::STATEMENT_BYTES_MAX;
use cursor::Cursor;
use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{
    Location, Token, TokenWithSpan, Tokenizer, TokenizerError,
};

/// One statement of a text.
#[derive(Debug, Clone)]
pub struct Statement {
    pub(crate) text: String,
    pub(crate) kind: Kind,
}

/// Prepared statements that a statement does away with; doors keep them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forgets<'a> {
    /// None.
    Nothing,
    /// The one of this name (DEALLOCATE).
    Prepared(&'a str),
    /// All (DEALLOCATE ALL, DISCARD ALL).
    AllPrepared,
}

/// What a statement is.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// SELECT, VALUES, TABLE, WITH … SELECT, EXPLAIN.
    Query(Box<ast::Statement>),
    Insert(Box<ast::Insert>, Overriding),
    /// With what WITH names.
    Update(Box<ast::Update>, Option<ast::With>),
    Delete(Box<ast::Delete>, Option<ast::With>),
    Truncate(Box<ast::Truncate>),
    Copy(Box<CopyStatement>),
    Create(CreateStream),
    Alter(AlterStream),
    Drop(DropStream),
    Sequence(SequenceStatement),
    View(ViewStatement),
    Needless(Needless),
    Role(RoleStatement),
    Session(SessionStatement),
    Cursor(CursorStatement),
    Prepared(PreparedStatement),
}

/// Whether an INSERT gives values to columns that compute their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overriding {
    Nothing,
    /// OVERRIDING SYSTEM VALUE
    System,
}

fn column_is_star(item: &ast::SelectItem) -> bool {
    matches!(item, ast::SelectItem::Wildcard(_) | ast::SelectItem::QualifiedWildcard(..))
}

impl Statement {
    /// Whether it ends a transaction: all that a failed one takes.
    #[must_use]
    pub fn ends_transaction(&self) -> bool {
        matches!(
            self.kind,
            Kind::Session(
                SessionStatement::Commit
                    | SessionStatement::Rollback
                    | SessionStatement::RollbackTo(_)
            )
        )
    }

    /// What of a session's prepared statements it does away with.
    #[must_use]
    pub fn forgets(&self) -> Forgets<'_> {
        match &self.kind {
            Kind::Session(SessionStatement::Deallocate(Some(name))) => Forgets::Prepared(name),
            Kind::Session(SessionStatement::Deallocate(None) | SessionStatement::Discard) => {
                Forgets::AllPrepared
            }
            _ => Forgets::Nothing,
        }
    }

    /// The statement as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// The statements of `text`; empty ones are left out.
///
/// # Errors
/// 42601 where it is not SQL, 54000 where it is too long or nested too deeply.
pub fn parse(text: &str) -> Result<Vec<Statement>, Error> {
    if text.len() > STATEMENT_BYTES_MAX {
        return Err(Error::new(
            sqlstate::PROGRAM_LIMIT_EXCEEDED,
            format!("{} bytes in one query; at most {STATEMENT_BYTES_MAX} are taken", text.len()),
        ));
    }
    let dialect = PostgreSqlDialect {};
    let tokens = Tokenizer::new(&dialect, text).tokenize_with_location().map_err(
        |TokenizerError { message, location }| {
            Error::syntax(format!("syntax error: {message} at {location}"))
        },
    )?;
    let mut offsets = Offsets { text, line: 1, line_at: 0 };
    let mut statements = Vec::new();
    let mut current: Vec<TokenWithSpan> = Vec::new();
    for token in tokens {
        match token.token {
            Token::SemiColon => finish(&mut current, &mut offsets, &mut statements)?,
            Token::Whitespace(_) => {}
            _ => current.push(printable(token)),
        }
    }
    finish(&mut current, &mut offsets, &mut statements)?;
    Ok(statements)
}

/// With `SELECT * FROM orders`, which sqlparser takes everywhere, for `TABLE orders`.
fn without_table(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    if !(0..tokens.len()).any(|at| begins_table(&tokens, at)) {
        return tokens;
    }
    let mut out = Vec::with_capacity(tokens.len() + 2);
    for (at, token) in tokens.iter().enumerate() {
        if begins_table(&tokens, at) {
            let words = [Token::make_keyword("SELECT"), Token::Mul, Token::make_keyword("FROM")];
            out.extend(words.map(|word| TokenWithSpan { token: word, span: token.span }));
        } else {
            out.push(token.clone());
        }
    }
    out
}

/// Whether the token is the `TABLE` of `TABLE orders`, where a query may stand.
fn begins_table(tokens: &[TokenWithSpan], at: usize) -> bool {
    let is = |at: usize, keyword| {
        let token = tokens.get(at).map(|token| &token.token);
        matches!(token, Some(Token::Word(word)) if word.keyword == keyword)
    };
    let names = matches!(tokens.get(at + 1).map(|next| &next.token), Some(Token::Word(_)));
    is(at, Keyword::TABLE)
        && names
        && match at.checked_sub(1).map(|before| &tokens[before].token) {
            None | Some(Token::LParen | Token::RParen) => true,
            // Elsewhere it is an alias.
            Some(Token::Word(word)) if word.keyword == Keyword::AS => is(0, Keyword::CREATE),
            Some(Token::Word(word)) => matches!(
                word.keyword,
                Keyword::ALL
                    | Keyword::ANALYZE
                    | Keyword::DISTINCT
                    | Keyword::EXCEPT
                    | Keyword::EXPLAIN
                    | Keyword::INTERSECT
                    | Keyword::UNION
                    | Keyword::VERBOSE
            ),
            Some(_) => false,
        }
}

/// sqlparser prints quotes that stand together, or behind a backslash, as they are: what is read
/// from its text again, such as a view's query, would be another string.
fn printable(mut token: TokenWithSpan) -> TokenWithSpan {
    if let Token::SingleQuotedString(text) = &mut token.token
        && (text.contains("''") || text.contains("\\'"))
    {
        token.token = Token::EscapedStringLiteral(std::mem::take(text));
    }
    token
}

fn finish(
    tokens: &mut Vec<TokenWithSpan>,
    offsets: &mut Offsets<'_>,
    statements: &mut Vec<Statement>,
) -> Result<(), Error> {
    let tokens = without_table(std::mem::take(tokens));
    let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else {
        return Ok(());
    };
    let from = offsets.of(first.span.start);
    let to = offsets.of(last.span.end);
    let text = offsets.text[from..to.max(from)].to_owned();
    statements.push(Statement { kind: parse_one(&text, tokens)?, text });
    Ok(())
}

fn parse_one(text: &str, tokens: Vec<TokenWithSpan>) -> Result<Kind, Error> {
    let mut cursor = Cursor::new(&tokens);
    if let Some(statement) = roles::parse(&mut cursor)? {
        return Ok(Kind::Role(statement));
    }
    let mut cursor = Cursor::new(&tokens);
    if let Some(statement) = ddl::parse(&mut cursor)? {
        return Ok(statement);
    }
    let mut cursor = Cursor::new(&tokens);
    if let Some(statement) = session::parse(&mut cursor)? {
        return Ok(Kind::Session(statement));
    }
    if let Some(statement) = copy::parse(text, &tokens)? {
        return Ok(Kind::Copy(Box::new(statement)));
    }
    let mut cursor = Cursor::new(&tokens);
    if let Some(statement) = cursors::parse(&mut cursor)? {
        return Ok(statement);
    }
    let mut cursor = Cursor::new(&tokens);
    if let Some(statement) = prepared::parse(&mut cursor)? {
        return Ok(statement);
    }
    refuse_by_first_word(&tokens)?;
    let (statement, overriding) = parsed(tokens)?;
    classify(text, statement, overriding)
}

/// A query or a write that stands within another statement.
fn query_of(tokens: &[TokenWithSpan]) -> Result<Statement, Error> {
    let (statement, overriding) = parsed(tokens.to_vec())?;
    let text = statement.to_string();
    Ok(Statement { kind: classify(&text, statement, overriding)?, text })
}

/// One statement of sqlparser's.
fn parsed(tokens: Vec<TokenWithSpan>) -> Result<(ast::Statement, Overriding), Error> {
    let dialect = PostgreSqlDialect {};
    let tokens = match tokens.first().map(|token| &token.token) {
        // `TABLE orders` is `SELECT * FROM orders` (PostgreSQL 15, SELECT).
        Some(Token::Word(word)) if word.value.eq_ignore_ascii_case("TABLE") => {
            let select = Tokenizer::new(&dialect, "SELECT * FROM ").tokenize_with_location();
            let select = select.map_err(|error| Error::internal(error.to_string()))?;
            select.into_iter().chain(tokens.into_iter().skip(1)).collect()
        }
        _ => tokens,
    };
    let (tokens, overriding) = take_overriding(plain_locks(tokens))?;
    let mut parser = Parser::new(&dialect).with_tokens_with_locations(tokens);
    let statement = parser.parse_statement()?;
    let next = parser.peek_token();
    if next.token != Token::EOF {
        return Err(Error::syntax(format!("syntax error at or near \"{}\"", next.token)));
    }
    Ok((statement, overriding))
}

/// `FOR NO KEY UPDATE` and `FOR KEY SHARE`, which the parser does not know, as what they weaken: to
/// lock is not to wait here.
fn plain_locks(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let is = |token: Option<&TokenWithSpan>, text: &str| match token.map(|token| &token.token) {
        Some(Token::Word(word)) => {
            word.quote_style.is_none() && word.value.eq_ignore_ascii_case(text)
        }
        _ => false,
    };
    let mut at = 0;
    while at < tokens.len() {
        if is(tokens.get(at), "FOR") {
            let next = |by: usize, text: &str| is(tokens.get(at + by), text);
            if next(1, "NO") && next(2, "KEY") && next(3, "UPDATE") {
                tokens.drain(at + 1..at + 3);
            } else if next(1, "KEY") && next(2, "SHARE") {
                tokens.remove(at + 1);
            }
        }
        at += 1;
    }
    tokens
}

/// Takes `OVERRIDING SYSTEM VALUE` out of an INSERT, which the parser does not know.
fn take_overriding(
    mut tokens: Vec<TokenWithSpan>,
) -> Result<(Vec<TokenWithSpan>, Overriding), Error> {
    let is = |token: Option<&TokenWithSpan>, word: &str| {
        matches!(token.map(|token| &token.token), Some(Token::Word(found))
            if found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word))
    };
    let found = match is(tokens.first(), "INSERT") {
        true => (0..tokens.len())
            .find(|at| is(tokens.get(*at), "OVERRIDING") && is(tokens.get(at + 2), "VALUE")),
        false => None,
    };
    let Some(at) = found else { return Ok((tokens, Overriding::Nothing)) };
    if !is(tokens.get(at + 1), "SYSTEM") {
        return Err(Error::unsupported("OVERRIDING USER VALUE is not supported")
            .hint("leave the identity column away"));
    }
    tokens.drain(at..at + 3);
    Ok((tokens, Overriding::System))
}

fn classify(text: &str, statement: ast::Statement, overriding: Overriding) -> Result<Kind, Error> {
    match statement {
        ast::Statement::Query(query) => query_or_write(*query, overriding),
        ast::Statement::Explain { statement: ref inner, .. } => match inner.as_ref() {
            ast::Statement::Query(_) => Ok(Kind::Query(Box::new(statement))),
            _ => Err(Error::unsupported("EXPLAIN takes a SELECT")),
        },
        ast::Statement::Insert(insert) => Ok(Kind::Insert(Box::new(insert), overriding)),
        ast::Statement::Update(update) => Ok(Kind::Update(Box::new(update), None)),
        ast::Statement::Delete(delete) => Ok(Kind::Delete(Box::new(delete), None)),
        ast::Statement::Truncate(truncate) => Ok(Kind::Truncate(Box::new(truncate))),
        _ => {
            let words: Vec<_> = text.split_whitespace().take(2).collect();
            Err(Error::unsupported(format!("{} is not supported", words.join(" ").to_uppercase())))
        }
    }
}

/// A query, or what writes behind WITH.
fn query_or_write(mut query: ast::Query, overriding: Overriding) -> Result<Kind, Error> {
    let is_write = |body: &ast::SetExpr| {
        matches!(body, ast::SetExpr::Insert(_) | ast::SetExpr::Update(_) | ast::SetExpr::Delete(_))
    };
    let ctes = query.with.iter().flat_map(|with| &with.cte_tables);
    if ctes.into_iter().any(|cte| is_write(&cte.query.body)) {
        return Err(Error::unsupported("WITH takes SELECT only, no statement that writes")
            .hint("run the statements one after the other, in one transaction"));
    }
    if !is_write(&query.body) {
        return Ok(Kind::Query(Box::new(ast::Statement::Query(Box::new(query)))));
    }
    let with = query.with.take();
    match *query.body {
        ast::SetExpr::Insert(ast::Statement::Insert(mut insert)) => {
            match insert.source.as_mut() {
                Some(source) if source.with.is_none() => source.with = with,
                _ => return Err(Error::unsupported("INSERT takes one WITH")),
            }
            Ok(Kind::Insert(Box::new(insert), overriding))
        }
        ast::SetExpr::Update(ast::Statement::Update(update)) => {
            Ok(Kind::Update(Box::new(update), with))
        }
        ast::SetExpr::Delete(ast::Statement::Delete(delete)) => {
            Ok(Kind::Delete(Box::new(delete), with))
        }
        _ => Err(Error::internal("no statement that writes")),
    }
}

/// Statements that somebody coming from PostgreSQL may try, and what to do instead.
fn refuse_by_first_word(tokens: &[TokenWithSpan]) -> Result<(), Error> {
    let Some(Token::Word(word)) = tokens.first().map(|token| &token.token) else {
        return Ok(());
    };
    let refuse = |message: &str, hint: &str| Err(Error::unsupported(message).hint(hint));
    match word.value.to_ascii_uppercase().as_str() {
        "MERGE" => refuse("MERGE is not supported", "use INSERT … ON CONFLICT"),
        "LISTEN" | "NOTIFY" => refuse(
            "LISTEN and NOTIFY are not supported",
            "subscribe to a stream over WebSocket, or consume it with a Kafka client",
        ),
        "LOCK" => refuse("LOCK is not supported", "writes carry preconditions instead of locks"),
        "CLUSTER" | "REINDEX" => {
            refuse(&format!("{} is not supported", word.value.to_uppercase()), "nothing needs it")
        }
        _ => Ok(()),
    }
}

/// Byte offsets of lines and columns; asked for in rising order.
struct Offsets<'a> {
    text: &'a str,
    line: u64,
    line_at: usize,
}

impl Offsets<'_> {
    fn of(&mut self, location: Location) -> usize {
        while self.line < location.line {
            match self.text[self.line_at..].find('\n') {
                Some(at) => self.line_at += at + 1,
                None => return self.text.len(),
            }
            self.line += 1;
        }
        let rest = &self.text[self.line_at..];
        let column = usize::try_from(location.column.saturating_sub(1)).unwrap_or(usize::MAX);
        rest.char_indices().nth(column).map_or(self.text.len(), |(at, _)| self.line_at + at)
    }
}
