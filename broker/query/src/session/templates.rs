//! Statements that differ only in their constants are planned once.
//!
//! Who sends plain texts sends `… WHERE aid = 4711` and then `… WHERE aid = 12`. Planning takes
//! twenty times as long as looking a row up, so the second time a text comes with other constants
//! it is planned with parameters in their place, and that plan is used from then on. Only for
//! statements that mean the same then: lookups and changes by key, and INSERT of values.

use super::{Outcome, Plan, Prepared, Session};
use crate::error::Error;
use crate::plan::cast_parameters;
use crate::statement::parse;
use datafusion::arrow::datatypes::DataType;
use datafusion::scalar::ScalarValue;
use std::collections::HashMap;
use std::sync::Arc;

/// Longest text that is looked at, in bytes.
const TEXT_BYTES_MAX: usize = 2_048;

/// Templates that a session remembers; beyond, it begins anew.
const TEMPLATES_MAX: usize = 128;

/// The templates of a session, by their text.
#[derive(Default)]
pub(super) struct Templates(HashMap<String, Template>);

enum Template {
    /// Once.
    Seen,
    /// With parameters it could mean something else.
    Unfit,
    Fit(Arc<Prepared>),
}

impl Session {
    /// Executes `text` if it is one statement that is known but for its constants. `None` if it
    /// is to be parsed: then, once it has succeeded, [`Self::remember`] it.
    ///
    /// # Errors
    /// As the statement fails. The caller then calls [`Self::fail`].
    pub async fn execute_known(&mut self, text: &str) -> Option<Result<Outcome, Error>> {
        let (template, constants) = template(text)?;
        let Some(Template::Fit(prepared)) = self.templates.0.get(&template) else {
            return None;
        };
        let mut prepared = prepared.clone();
        // A number that is too large for its column, say: not the same statement then.
        let constants = cast_parameters(prepared.parameters(), constants).ok()?;
        let before = prepared.clone();
        let done = self.execute(&mut prepared, constants).await;
        if done.is_err() {
            self.templates.0.remove(&template);
        } else if !Arc::ptr_eq(&before, &prepared) {
            self.templates.0.insert(template, Template::Fit(prepared));
        }
        Some(done)
    }

    /// Notes that `text` has been executed.
    pub async fn remember(&mut self, text: &str) {
        let Some((template, constants)) = template(text) else { return };
        if self.templates.0.len() >= TEMPLATES_MAX {
            self.templates.0.clear();
        }
        let next = match self.templates.0.get(&template) {
            None => Template::Seen,
            Some(Template::Seen) => match self.plan_template(&template, &constants).await {
                Some(prepared) => Template::Fit(Arc::new(prepared)),
                None => Template::Unfit,
            },
            Some(Template::Unfit | Template::Fit(_)) => return,
        };
        self.templates.0.insert(template, next);
    }

    /// `None` where it could mean something else, or nothing.
    async fn plan_template(&mut self, text: &str, constants: &[ScalarValue]) -> Option<Prepared> {
        let mut statements = parse(text).ok()?;
        let statement = statements.pop().filter(|_| statements.is_empty())?;
        let prepared = self.prepare(statement, Vec::new()).await.ok()?;
        let is_insert = match &prepared.plan {
            // What else a query says of its rows may be a constant's place in a list.
            Plan::Query(plan) => {
                let is_lookup = plan.point.is_some() && plan.locks.is_none();
                let orders = ["order", "limit", "fetch", "offset", "group"];
                let mut words = text.split(|c: char| !c.is_ascii_alphabetic());
                let orders =
                    words.any(|word| orders.iter().any(|of| word.eq_ignore_ascii_case(of)));
                (is_lookup && !orders).then_some(false)?
            }
            Plan::Write(plan) => plan.takes_constants_as_parameters()?,
            Plan::Copy(..) | Plan::Declare(_) | Plan::Other(_) => return None,
        };
        let types = prepared.parameters();
        let fits = types.len() == constants.len()
            && constants.iter().zip(types).all(|(constant, of)| fits(constant, of, is_insert));
        fits.then_some(prepared)
    }
}

/// Whether a constant, as a parameter of type `of`, is what it was. VALUES of an INSERT are brought
/// to their columns' types either way.
fn fits(constant: &ScalarValue, of: &DataType, is_insert: bool) -> bool {
    let is_text = matches!(of, DataType::Utf8 | DataType::Utf8View);
    let is_integer = matches!(of, DataType::Int16 | DataType::Int32 | DataType::Int64);
    match constant {
        ScalarValue::Int64(_) => is_integer,
        _ if is_insert => {
            is_text || matches!(of, DataType::Date32 | DataType::Timestamp(..) | DataType::Boolean)
        }
        _ => is_text,
    }
}

/// `text` with `$1`, `$2`, … in place of its constants, and these. `None` where it has others than
/// integers and plain strings, or what takes more than a look.
fn template(text: &str) -> Option<(String, Vec<ScalarValue>)> {
    let text = text.trim_end_matches(|c: char| c == ';' || c.is_ascii_whitespace());
    if text.len() > TEXT_BYTES_MAX {
        return None;
    }
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len() + 8);
    let mut constants = Vec::new();
    let mut at = 0;
    // Where the text begins that is to be copied.
    let mut from = 0;
    while at < bytes.len() {
        let begin = at;
        let before = out_end(&out, &text[from..at]);
        let constant = match bytes[at] {
            b'\'' => {
                let (constant, end) = string(text, at)?;
                at = end;
                // A prefix gives a string another meaning.
                (!before.is_some_and(is_word)).then_some(constant)?
            }
            b'"' => {
                at += 1 + text[at + 1..].find('"')? + 1;
                continue;
            }
            b'-' if bytes.get(at + 1) == Some(&b'-') => return None,
            b'-' if bytes.get(at + 1).is_some_and(u8::is_ascii_digit)
                && is_sign(&out, &text[from..at]) =>
            {
                let (constant, end) = integer(text, at)?;
                at = end;
                constant
            }
            b'/' if bytes.get(at + 1) == Some(&b'*') => return None,
            b';' | b'$' | b'\\' => return None,
            digit if digit.is_ascii_digit() && !before.is_some_and(is_word) => {
                let (constant, end) = integer(text, at)?;
                at = end;
                constant
            }
            _ => {
                at += 1;
                continue;
            }
        };
        out.push_str(&text[from..begin]);
        constants.push(constant);
        out.push('$');
        out.push_str(&constants.len().to_string());
        from = at;
    }
    out.push_str(&text[from..]);
    (!constants.is_empty()).then_some((out, constants))
}

/// The last character before what comes.
fn out_end(out: &str, copied: &str) -> Option<char> {
    copied.chars().next_back().or_else(|| out.chars().next_back())
}

/// Whether a minus that comes after this is a number's sign.
fn is_sign(out: &str, copied: &str) -> bool {
    let before = |text: &str| text.trim_end().chars().next_back();
    let before = before(copied).or_else(|| before(out));
    before.is_some_and(|c| "(,=<>+-*/%".contains(c))
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.' | '&' | '"')
}

/// The string that begins at `at`, and where it ends.
fn string(text: &str, at: usize) -> Option<(ScalarValue, usize)> {
    let mut value = String::new();
    let mut rest = at + 1;
    loop {
        let quote = rest + text[rest..].find('\'')?;
        value.push_str(&text[rest..quote]);
        if text.as_bytes().get(quote + 1) != Some(&b'\'') {
            return Some((ScalarValue::Utf8(Some(value)), quote + 1));
        }
        value.push('\'');
        rest = quote + 2;
    }
}

/// The integer that begins at `at`, and where it ends.
fn integer(text: &str, at: usize) -> Option<(ScalarValue, usize)> {
    let sign = usize::from(text.as_bytes()[at] == b'-');
    let digits = text[at + sign..].bytes().take_while(u8::is_ascii_digit).count();
    let end = at + sign + digits;
    match text[end..].chars().next() {
        Some(c) if is_word(c) => None,
        _ => Some((ScalarValue::Int64(Some(text[at..end].parse().ok()?)), end)),
    }
}

#[cfg(test)]
#[test]
fn constants_are_told_from_what_looks_like_them() {
    let check = |text: &str, expected: Option<(&str, &[&str])>| {
        let found = template(text);
        let found = found.as_ref().map(|(text, constants)| {
            (text.as_str(), constants.iter().map(ToString::to_string).collect::<Vec<_>>())
        });
        let expected = expected
            .map(|(text, all)| (text, all.iter().map(ToString::to_string).collect::<Vec<_>>()));
        assert_eq!(found, expected, "{text}");
    };
    check("SELECT a FROM t WHERE k = 42;", Some(("SELECT a FROM t WHERE k = $1", &["42"])));
    check(
        "INSERT INTO t2 VALUES (1, 'it''s', '')",
        Some(("INSERT INTO t2 VALUES ($1, $2, $3)", &["1", "it's", ""])),
    );
    check(
        "UPDATE t SET n=n+-5 WHERE \"k 1\"=7",
        Some(("UPDATE t SET n=n+$1 WHERE \"k 1\"=$2", &["-5", "7"])),
    );
    check(
        "INSERT INTO t VALUES (-1, - 2, 3 -4, a -5, -9223372036854775808)",
        Some((
            "INSERT INTO t VALUES ($1, - $2, $3 -$4, a -$5, $6)",
            &["-1", "2", "3", "4", "5", "-9223372036854775808"],
        )),
    );
    check("SELECT a1, b FROM t", None);
    for other in [
        "SELECT 1.5",
        "SELECT 1e5",
        "SELECT .5",
        "SELECT 99999999999999999999",
        "SELECT E'a\\n'",
        "SELECT 1 -- 2",
        "SELECT /* 1 */ 2",
        "SELECT $1, 2",
        "SELECT $$a$$, 2",
        "SELECT 1; SELECT 2",
        "SELECT 'open",
        "SELECT 1, \"open",
        "SELECT 0x1F",
        "SELECT 1_000",
    ] {
        check(other, None);
    }
}
