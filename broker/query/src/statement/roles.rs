//! Users and what they may do.
//!
//! ```sql
//! CREATE ROLE|USER name [WITH] [LOGIN] [ENCRYPTED] PASSWORD 'secret'
//! ALTER ROLE|USER name [WITH] [LOGIN] [ENCRYPTED] PASSWORD 'secret'
//! DROP ROLE|USER [IF EXISTS] name, …
//! DROP OWNED BY name, …
//! GRANT privilege, …|ALL [PRIVILEGES] ON [TABLE|STREAM] name, … TO name|PUBLIC, …
//! REVOKE privilege, …|ALL [PRIVILEGES] ON ALL TABLES|STREAMS IN SCHEMA public FROM name|PUBLIC, …
//! ```

use super::cursor::{Cursor, Name};
use crate::error::{Error, sqlstate};
use anabranch_engine::Operation;
use datafusion::sql::sqlparser::tokenizer::Token;
use std::collections::BTreeSet;
use std::fmt;

/// A statement about users or grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RoleStatement {
    Create { name: String, password: Secret },
    Alter { name: String, password: Secret },
    Drop { names: Vec<String>, if_exists: bool },
    DropOwned { names: Vec<String> },
    Grant { privileges: Privileges, on: Objects, to: Vec<Grantee> },
    Revoke { privileges: Privileges, on: Objects, from: Vec<Grantee> },
}

/// A password, or what one is checked with, which no log is to show.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What is granted or revoked, as operations on a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Privileges {
    /// `All` stands alone.
    pub(crate) operations: BTreeSet<Operation>,
    /// What the client should know.
    pub(crate) notices: Vec<String>,
}

/// On what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Objects {
    Streams(Vec<Name>),
    /// Those that come later too.
    AllStreams,
}

/// To whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Grantee {
    Role(String),
    Public,
}

/// `None`: another statement.
pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<Option<RoleStatement>, Error> {
    let statement = if is_role(cursor, "CREATE") {
        let (name, password) = name_and_password(cursor)?;
        RoleStatement::Create { name, password }
    } else if is_role(cursor, "ALTER") {
        let (name, password) = name_and_password(cursor)?;
        RoleStatement::Alter { name, password }
    } else if is_role(cursor, "DROP") {
        let if_exists = cursor.words(&["IF", "EXISTS"]);
        RoleStatement::Drop { names: names(cursor)?, if_exists }
    } else if cursor.words(&["DROP", "OWNED", "BY"]) {
        let names = names(cursor)?;
        let _ = cursor.word("CASCADE") || cursor.word("RESTRICT");
        RoleStatement::DropOwned { names }
    } else if cursor.word("GRANT") {
        let (privileges, on) = privileges_on_objects(cursor)?;
        cursor.expect_word("TO")?;
        let to = grantees(cursor)?;
        if cursor.words(&["WITH", "GRANT", "OPTION"]) {
            return Err(Error::unsupported("WITH GRANT OPTION is not supported")
                .hint("whoever may alter the broker may grant"));
        }
        RoleStatement::Grant { privileges, on, to }
    } else if cursor.word("REVOKE") {
        if cursor.words(&["GRANT", "OPTION", "FOR"]) {
            return Err(Error::unsupported("GRANT OPTION is not supported"));
        }
        let (privileges, on) = privileges_on_objects(cursor)?;
        cursor.expect_word("FROM")?;
        let from = grantees(cursor)?;
        let _ = cursor.word("CASCADE") || cursor.word("RESTRICT");
        RoleStatement::Revoke { privileges, on, from }
    } else {
        return Ok(None);
    };
    cursor.expect_end()?;
    Ok(Some(statement))
}

/// `verb` and ROLE or USER; or nothing is taken.
fn is_role(cursor: &mut Cursor<'_>, verb: &str) -> bool {
    cursor.words(&[verb, "ROLE"]) || cursor.words(&[verb, "USER"])
}

fn names(cursor: &mut Cursor<'_>) -> Result<Vec<String>, Error> {
    let mut names = vec![cursor.identifier()?];
    while cursor.token(&Token::Comma) {
        names.push(cursor.identifier()?);
    }
    Ok(names)
}

/// What PostgreSQL's other options say is the case anyway, or is refused.
fn name_and_password(cursor: &mut Cursor<'_>) -> Result<(String, Secret), Error> {
    const AS_IT_IS: [&str; 7] = [
        "LOGIN",
        "INHERIT",
        "NOSUPERUSER",
        "NOCREATEDB",
        "NOCREATEROLE",
        "NOREPLICATION",
        "NOBYPASSRLS",
    ];
    let name = cursor.identifier()?;
    cursor.word("WITH");
    let mut password = None;
    while let Some(token) = cursor.peek() {
        if AS_IT_IS.iter().any(|word| cursor.word(word)) {
            continue;
        }
        let option = token.to_string().to_uppercase();
        cursor.word("ENCRYPTED");
        if !cursor.word("PASSWORD") {
            return Err(Error::unsupported(format!("{option} is not supported for users"))
                .hint("a user has a name, a password, and what GRANT gives"));
        }
        match cursor.next() {
            Some(Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text)) => {
                password = Some(Secret(text.clone()));
            }
            // Not told back: it might be the password.
            _ => return Err(Error::syntax("PASSWORD takes a string in single quotes")),
        }
    }
    let password = password.filter(|password| !password.0.is_empty()).ok_or_else(|| {
        Error::unsupported("a user needs a password").hint("… PASSWORD 'a secret'")
    })?;
    Ok((name, password))
}

fn privileges_on_objects(cursor: &mut Cursor<'_>) -> Result<(Privileges, Objects), Error> {
    let privileges = privileges(cursor)?;
    cursor.expect_word("ON")?;
    if cursor.words(&["ALL", "TABLES", "IN", "SCHEMA"])
        || cursor.words(&["ALL", "STREAMS", "IN", "SCHEMA"])
    {
        let schema = cursor.identifier()?;
        if schema != crate::catalog::PUBLIC {
            let message = format!("nothing can be granted on schema \"{schema}\"");
            return Err(Error::new(sqlstate::WRONG_OBJECT_TYPE, message)
                .hint("streams are in the schema public"));
        }
        return Ok((privileges, Objects::AllStreams));
    }
    let kinds = ["ALL", "SEQUENCE", "DATABASE", "SCHEMA", "FUNCTION", "LANGUAGE", "TYPE"];
    let before = *cursor;
    if let Some(kind) = kinds.iter().find(|kind| cursor.word(kind))
        // A stream may be called so.
        && !(cursor.is_at_end() || is_after_objects(cursor))
    {
        return Err(Error::unsupported(format!("GRANT and REVOKE ON {kind} are not supported"))
            .hint("rights are granted on streams alone; leave this statement out"));
    }
    *cursor = before;
    // A stream may be called so, too.
    if (cursor.word("TABLE") || cursor.word("STREAM")) && is_after_objects(cursor) {
        *cursor = before;
    }
    let mut names = vec![cursor.name()?];
    while cursor.token(&Token::Comma) {
        names.push(cursor.name()?);
    }
    Ok((privileges, Objects::Streams(names)))
}

/// Whether what comes next ends the list of objects.
fn is_after_objects(cursor: &Cursor<'_>) -> bool {
    let mut ahead = *cursor;
    ahead.word("TO") || ahead.word("FROM") || ahead.token(&Token::Comma)
}

/// PostgreSQL's privileges, and ours, as Kafka's operations on a topic.
fn privileges(cursor: &mut Cursor<'_>) -> Result<Privileges, Error> {
    if cursor.word("ALL") {
        cursor.word("PRIVILEGES");
        let operations = BTreeSet::from([Operation::All]);
        return Ok(Privileges { operations, notices: Vec::new() });
    }
    let (mut operations, mut changes) = (BTreeSet::new(), BTreeSet::new());
    loop {
        let word = cursor.identifier()?.to_uppercase();
        let operation = match word.as_str() {
            "SELECT" | "SUBSCRIBE" => Operation::Read,
            "INSERT" | "UPDATE" | "DELETE" | "APPEND" => Operation::Write,
            "TRUNCATE" => Operation::Delete,
            _ => return Err(unknown_privilege(cursor, &word)),
        };
        if matches!(cursor.peek(), Some(Token::LParen)) {
            return Err(Error::unsupported("rights on single columns are not supported"));
        }
        operations.insert(operation);
        if operation == Operation::Write {
            changes.insert(word);
        }
        if !cursor.token(&Token::Comma) {
            break;
        }
    }
    let is_whole = changes.contains("APPEND") || changes.len() == 3;
    let notices = match changes.is_empty() || is_whole {
        true => Vec::new(),
        false => vec!["INSERT, UPDATE and DELETE are one right here, to write events".to_owned()],
    };
    Ok(Privileges { operations, notices })
}

fn unknown_privilege(cursor: &Cursor<'_>, word: &str) -> Error {
    let error = match cursor.peek() {
        Some(Token::Word(next)) if next.value.eq_ignore_ascii_case("ON") => {
            Error::unsupported(format!("there is no privilege {word} on streams"))
        }
        _ => Error::unsupported("roles cannot be members of other roles"),
    };
    error.hint(
        "SELECT, INSERT, UPDATE, DELETE, TRUNCATE, SUBSCRIBE, APPEND, or ALL; \
         more can be granted as Kafka's ACLs",
    )
}

fn grantees(cursor: &mut Cursor<'_>) -> Result<Vec<Grantee>, Error> {
    let mut all = Vec::new();
    loop {
        cursor.words(&["GROUP"]);
        all.push(match cursor.word("PUBLIC") {
            true => Grantee::Public,
            false => Grantee::Role(cursor.identifier()?),
        });
        if !cursor.token(&Token::Comma) {
            return Ok(all);
        }
    }
}
