//! Types of columns.

use crate::error::{Error, sqlstate};
use crate::statement::cursor::Cursor;
use anabranch_engine::{ColumnType, ItemType, TextLength};
use datafusion::sql::sqlparser::tokenizer::Token;

/// Most characters that `varchar(n)` can name, as in PostgreSQL.
const LENGTH_MAX: u32 = 10_485_760;

/// The type that comes next. `column` is named in notices.
pub(super) fn column_type(
    cursor: &mut Cursor<'_>,
    column: &str,
    notices: &mut Vec<String>,
) -> Result<(ColumnType, Option<TextLength>), Error> {
    let name = cursor.identifier()?;
    // A type's name may have its schema in front, as tools write it.
    let name = match name.as_str() {
        "pg_catalog" if cursor.token(&Token::Period) => cursor.identifier()?,
        _ => name,
    };
    let mut length = None;
    let data_type = match name.as_str() {
        "boolean" | "bool" => ColumnType::Boolean,
        "smallint" | "int2" => ColumnType::Smallint,
        "integer" | "int" | "int4" => ColumnType::Integer,
        "bigint" | "int8" => ColumnType::Bigint,
        "real" | "float4" => ColumnType::Real,
        "float8" | "float" => ColumnType::Double,
        "double" => {
            cursor.expect_word("PRECISION")?;
            ColumnType::Double
        }
        "numeric" | "decimal" => return numeric(cursor, column, notices).map(|of| (of, None)),
        "text" => ColumnType::Text,
        "varchar" => text(cursor, false, &mut length)?,
        "character" | "char" if cursor.word("VARYING") => text(cursor, false, &mut length)?,
        "character" | "char" | "bpchar" => text(cursor, true, &mut length)?,
        "bytea" => ColumnType::Bytea,
        "date" => ColumnType::Date,
        "timestamptz" => {
            microseconds(cursor)?;
            ColumnType::Timestamptz
        }
        "timestamp" => timestamp(cursor)?,
        "time" => time(cursor)?,
        "interval" => ColumnType::Interval,
        "uuid" => ColumnType::Uuid,
        "json" => ColumnType::Json,
        "jsonb" => ColumnType::Jsonb,
        other => {
            return Err(Error::new(
                sqlstate::UNDEFINED_OBJECT,
                format!("type \"{other}\" is not supported"),
            )
            .hint(
                "the types are boolean, smallint, integer, bigint, real, double precision, \
                 numeric(p,s), text, varchar(n), char(n), bytea, date, time, timestamp, timestamptz, interval, uuid, \
                 json, jsonb, and arrays of them",
            ));
        }
    };
    match is_array(cursor)? {
        true if length.is_some() => {
            Err(Error::unsupported("lengths of an array's items are not enforced")
                .hint("say text[]"))
        }
        true => Ok((ColumnType::Array(item_type(data_type)?), None)),
        false => Ok((data_type, length)),
    }
}

/// `[]` or `ARRAY` behind a type; lengths are not enforced, as in PostgreSQL.
fn is_array(cursor: &mut Cursor<'_>) -> Result<bool, Error> {
    let mut found = cursor.word("ARRAY");
    let mut dimensions = 0;
    while cursor.token(&Token::LBracket) {
        if !cursor.token(&Token::RBracket) {
            cursor.value()?;
            cursor.expect(&Token::RBracket)?;
        }
        found = true;
        dimensions += 1;
    }
    if dimensions > 1 {
        return Err(Error::unsupported("arrays have one dimension here").hint("use jsonb"));
    }
    Ok(found)
}

fn item_type(column: ColumnType) -> Result<ItemType, Error> {
    ItemType::of(column).ok_or_else(|| match column {
        ColumnType::Json => {
            Error::unsupported("arrays of json are not supported").hint("use jsonb[]")
        }
        _ => Error::syntax("a type has one pair of brackets"),
    })
}

fn time(cursor: &mut Cursor<'_>) -> Result<ColumnType, Error> {
    microseconds(cursor)?;
    if cursor.words(&["WITH", "TIME", "ZONE"]) {
        return Err(Error::unsupported("time with time zone is not supported")
            .hint("use timestamptz, or time and a text for the zone"));
    }
    cursor.words(&["WITHOUT", "TIME", "ZONE"]);
    Ok(ColumnType::Time)
}

/// `(6)`, which is what times have; others would have to be rounded to.
fn microseconds(cursor: &mut Cursor<'_>) -> Result<(), Error> {
    if !cursor.token(&Token::LParen) {
        return Ok(());
    }
    if cursor.value()? != "6" {
        return Err(Error::unsupported("times have microseconds; leave the precision away"));
    }
    cursor.expect(&Token::RParen)
}

/// Digits of `numeric` without precision.
const NUMERIC_DEFAULT: (u8, i8) = (38, 9);

fn numeric(
    cursor: &mut Cursor<'_>,
    column: &str,
    notices: &mut Vec<String>,
) -> Result<ColumnType, Error> {
    if is_array(cursor)? {
        return Ok(ColumnType::Array(ItemType::Numeric));
    }
    if !cursor.token(&Token::LParen) {
        let (precision, scale) = NUMERIC_DEFAULT;
        notices.push(format!(
            "numeric without precision is numeric({precision},{scale}) here (column {column})"
        ));
        return Ok(ColumnType::Numeric { precision, scale });
    }
    let bad = || {
        Error::new(
            sqlstate::INVALID_PARAMETER,
            "numeric takes a precision of 1 to 38 and a scale of 0 to the precision",
        )
    };
    let precision: u8 = cursor.value()?.parse().map_err(|_| bad())?;
    let scale: i8 = match cursor.token(&Token::Comma) {
        true => cursor.value()?.parse().map_err(|_| bad())?,
        false => 0,
    };
    cursor.expect(&Token::RParen)?;
    if is_array(cursor)? {
        return Err(
            Error::unsupported("digits of an array's items are not enforced").hint("say numeric[]")
        );
    }
    let fits = (1..=38).contains(&precision) && (0..=precision as i8).contains(&scale);
    if fits { Ok(ColumnType::Numeric { precision, scale }) } else { Err(bad()) }
}

/// A text type: `(n)` behind it is its length; `char` without it is `char(1)`.
fn text(
    cursor: &mut Cursor<'_>,
    is_fixed: bool,
    length: &mut Option<TextLength>,
) -> Result<ColumnType, Error> {
    if cursor.token(&Token::LParen) {
        let given = cursor.value()?;
        let max = given.parse().ok().filter(|max| (1..=LENGTH_MAX).contains(max));
        let max = max.ok_or_else(|| {
            let message = format!("a text's length is 1 to {LENGTH_MAX}, not {given}");
            Error::new(sqlstate::INVALID_PARAMETER, message)
        })?;
        cursor.expect(&Token::RParen)?;
        *length = Some(TextLength { max, is_fixed });
    } else if is_fixed {
        *length = Some(TextLength { max: 1, is_fixed });
    }
    Ok(ColumnType::Text)
}

fn timestamp(cursor: &mut Cursor<'_>) -> Result<ColumnType, Error> {
    microseconds(cursor)?;
    if cursor.words(&["WITH", "TIME", "ZONE"]) {
        return Ok(ColumnType::Timestamptz);
    }
    cursor.words(&["WITHOUT", "TIME", "ZONE"]);
    Ok(ColumnType::Timestamp)
}
