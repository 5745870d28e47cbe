//! Settings of streams: `WITH (…)`, `SET (…)`, `RESET (…)`.

use crate::error::{Error, sqlstate};
use crate::statement::cursor::Cursor;
use anabranch_engine::Mode;
use datafusion::sql::sqlparser::tokenizer::Token;

/// `(name = value, …)`
pub(super) fn settings(cursor: &mut Cursor<'_>) -> Result<Vec<(String, String)>, Error> {
    cursor.expect(&Token::LParen)?;
    let mut all = Vec::new();
    loop {
        let name = setting_name(cursor)?;
        cursor.expect(&Token::Eq)?;
        all.push((name, cursor.value()?));
        if !cursor.token(&Token::Comma) {
            break;
        }
    }
    cursor.expect(&Token::RParen)?;
    Ok(all)
}

/// `retention_ms`, `retention.ms` or `"retention.ms"`.
pub(super) fn setting_name(cursor: &mut Cursor<'_>) -> Result<String, Error> {
    let mut name = cursor.identifier()?;
    while cursor.token(&Token::Period) {
        name.push('.');
        name.push_str(&cursor.identifier()?);
    }
    Ok(name)
}

/// Kafka's names have dots where SQL's have underscores.
pub(super) fn kafka_name(name: &str) -> String {
    name.replace('_', ".")
}

pub(super) fn mode(value: &str) -> Result<Mode, Error> {
    match value.to_ascii_lowercase().as_str() {
        "append" => Ok(Mode::Append),
        "upsert" => Ok(Mode::Upsert),
        "document" => Err(Error::unsupported("mode 'document' is not supported yet")
            .hint("use 'upsert' with a json column")),
        other => Err(Error::new(
            sqlstate::INVALID_PARAMETER,
            format!("mode \"{other}\" does not exist: use 'append' or 'upsert'"),
        )),
    }
}
