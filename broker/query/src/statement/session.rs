//! Statements about the session: settings and transactions.

use super::cursor::Cursor;
use crate::error::Error;
use datafusion::sql::sqlparser::tokenizer::Token;

/// A statement that is answered without a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SessionStatement {
    Set {
        name: String,
        value: SetValue,
        local: bool,
    },
    /// `None`: all.
    Show(Option<String>),
    /// `None`: all.
    Reset(Option<String>),
    /// DISCARD ALL.
    Discard,
    /// DEALLOCATE; `None`: all.
    Deallocate(Option<String>),
    /// UNLISTEN: nothing is listened to.
    Unlisten,
    /// `None`: as the session's default says.
    Begin {
        read_only: Option<bool>,
    },
    Commit,
    Rollback,
    Savepoint(String),
    RollbackTo(String),
    Release(String),
    /// SET TRANSACTION and the like: accepted, since it asks for no more than is given.
    Transaction {
        read_only: Option<bool>,
    },
    /// SET SESSION CHARACTERISTICS: of the transactions to come.
    Characteristics {
        read_only: Option<bool>,
    },
}

/// What a setting is set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SetValue {
    Default,
    /// Several values are joined with commas, as PostgreSQL shows them.
    Text(String),
}

/// `None`: another statement.
pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<Option<SessionStatement>, Error> {
    let statement = if cursor.word("SET") {
        set(cursor)?
    } else if cursor.word("SHOW") {
        show(cursor)?
    } else if cursor.word("RESET") {
        if cursor.word("ALL") {
            SessionStatement::Reset(None)
        } else {
            SessionStatement::Reset(Some(setting(cursor)?))
        }
    } else if cursor.word("DISCARD") {
        cursor.expect_word("ALL")?;
        SessionStatement::Discard
    } else if cursor.word("DEALLOCATE") {
        cursor.word("PREPARE");
        if cursor.word("ALL") {
            SessionStatement::Deallocate(None)
        } else {
            SessionStatement::Deallocate(Some(cursor.identifier()?))
        }
    } else if cursor.word("UNLISTEN") {
        if !cursor.token(&Token::Mul) {
            cursor.identifier()?;
        }
        SessionStatement::Unlisten
    } else if cursor.word("BEGIN") || cursor.words(&["START", "TRANSACTION"]) {
        let _ = cursor.word("WORK") || cursor.word("TRANSACTION");
        SessionStatement::Begin { read_only: modes(cursor)? }
    } else if cursor.word("COMMIT") || cursor.word("END") {
        let _ = cursor.word("WORK") || cursor.word("TRANSACTION");
        cursor.words(&["AND", "NO", "CHAIN"]);
        SessionStatement::Commit
    } else if cursor.word("ROLLBACK") || cursor.word("ABORT") {
        let _ = cursor.word("WORK") || cursor.word("TRANSACTION");
        cursor.words(&["AND", "NO", "CHAIN"]);
        if cursor.word("TO") {
            cursor.word("SAVEPOINT");
            SessionStatement::RollbackTo(cursor.identifier()?)
        } else {
            SessionStatement::Rollback
        }
    } else if cursor.word("SAVEPOINT") {
        SessionStatement::Savepoint(cursor.identifier()?)
    } else if cursor.word("RELEASE") {
        cursor.word("SAVEPOINT");
        SessionStatement::Release(cursor.identifier()?)
    } else {
        return Ok(None);
    };
    cursor.expect_end()?;
    Ok(Some(statement))
}

fn set(cursor: &mut Cursor<'_>) -> Result<SessionStatement, Error> {
    if cursor.words(&["TRANSACTION", "SNAPSHOT"]) {
        return Err(Error::unsupported("snapshots of other transactions are not supported")
            .hint("a transaction reads at the cut of its own first statement"));
    }
    if cursor.words(&["SESSION", "CHARACTERISTICS", "AS", "TRANSACTION"]) {
        return Ok(SessionStatement::Characteristics { read_only: modes(cursor)? });
    }
    if cursor.word("TRANSACTION") {
        return Ok(SessionStatement::Transaction { read_only: modes(cursor)? });
    }
    let local = cursor.word("LOCAL");
    cursor.word("SESSION");
    if cursor.words(&["TIME", "ZONE"]) {
        let value = match cursor.word("LOCAL") || cursor.word("DEFAULT") {
            true => SetValue::Default,
            false => SetValue::Text(cursor.value()?),
        };
        return Ok(SessionStatement::Set { name: "timezone".to_owned(), value, local });
    }
    let name = setting(cursor)?;
    if !cursor.word("TO") {
        cursor.expect(&Token::Eq)?;
    }
    if cursor.word("DEFAULT") {
        return Ok(SessionStatement::Set { name, value: SetValue::Default, local });
    }
    let mut value = cursor.value()?;
    while cursor.token(&Token::Comma) {
        value.push_str(", ");
        value.push_str(&cursor.value()?);
    }
    Ok(SessionStatement::Set { name, value: SetValue::Text(value), local })
}

fn show(cursor: &mut Cursor<'_>) -> Result<SessionStatement, Error> {
    if cursor.word("ALL") {
        return Ok(SessionStatement::Show(None));
    }
    if cursor.words(&["TIME", "ZONE"]) {
        return Ok(SessionStatement::Show(Some("timezone".to_owned())));
    }
    if cursor.words(&["TRANSACTION", "ISOLATION", "LEVEL"]) {
        return Ok(SessionStatement::Show(Some("transaction_isolation".to_owned())));
    }
    Ok(SessionStatement::Show(Some(setting(cursor)?)))
}

fn setting(cursor: &mut Cursor<'_>) -> Result<String, Error> {
    let mut name = cursor.identifier()?.to_lowercase();
    while cursor.token(&Token::Period) {
        name.push('.');
        name.push_str(&cursor.identifier()?);
    }
    Ok(name)
}

/// Transaction modes; whether READ ONLY or READ WRITE is among them. Isolation levels are all accepted: reads
/// of a transaction have one cut, which is what REPEATABLE READ asks for. SERIALIZABLE asks for
/// more and is refused.
fn modes(cursor: &mut Cursor<'_>) -> Result<Option<bool>, Error> {
    let mut read_only = None;
    loop {
        if cursor.words(&["ISOLATION", "LEVEL"]) {
            if cursor.word("SERIALIZABLE") {
                return Err(Error::unsupported("transactions are not serializable")
                    .hint("REPEATABLE READ (snapshot isolation) is the strongest level here"));
            }
            let known = cursor.words(&["REPEATABLE", "READ"])
                || cursor.words(&["READ", "COMMITTED"])
                || cursor.words(&["READ", "UNCOMMITTED"]);
            if !known {
                return Err(cursor.unexpected("an isolation level"));
            }
        } else if cursor.words(&["READ", "ONLY"]) {
            read_only = Some(true);
        } else if cursor.words(&["READ", "WRITE"]) {
            read_only = Some(false);
        } else if !(cursor.word("DEFERRABLE") || cursor.words(&["NOT", "DEFERRABLE"])) {
            return Ok(read_only);
        }
        cursor.token(&Token::Comma);
    }
}
