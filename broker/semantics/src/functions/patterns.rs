//! Regular expressions (PostgreSQL 15, 9.7.3), by the crate `regex`: the leftmost match with the
//! first alternative that fits, where PostgreSQL looks for the longest. No back references.

use super::{Library, boolean, int, text};
use crate::datum::Datum;
use crate::error::{Error, sqlstate};
use crate::types::PgType::{self, *};
use regex::{Captures, Regex, RegexBuilder};
use std::cell::RefCell;

/// Bytes that a compiled expression may have.
pub(crate) const COMPILED_MAX: usize = 1 << 20;

const TT: &[PgType] = &[Text, Text];
const TTT: &[PgType] = &[Text, Text, Text];

thread_local! {
    /// The last expression of the thread: within a query it is mostly the same.
    static LAST: RefCell<Option<(String, String, Regex)>> = const { RefCell::new(None) };
}

fn compiled(pattern: &str, flags: &str) -> Result<Regex, Error> {
    LAST.with_borrow_mut(|last| {
        if let Some((of, with, regex)) = last
            && of == pattern
            && with == flags
        {
            return Ok(regex.clone());
        }
        let regex = compile(pattern, flags)?;
        *last = Some((pattern.to_owned(), flags.to_owned(), regex.clone()));
        Ok(regex)
    })
}

fn compile(pattern: &str, flags: &str) -> Result<Regex, Error> {
    let mut newline_sensitive = false;
    let mut builder_flags = (false, false);
    for flag in flags.chars() {
        match flag {
            'g' => {}
            'i' => builder_flags.0 = true,
            'c' => builder_flags.0 = false,
            'x' => builder_flags.1 = true,
            'n' | 'm' => newline_sensitive = true,
            's' => newline_sensitive = false,
            other => {
                return Err(Error::new(
                    sqlstate::INVALID_PARAMETER,
                    format!("invalid regular expression option: \"{other}\""),
                ));
            }
        }
    }
    // \m and \M are the ends of words, \Y no such end, \A and \Z those of the text.
    let pattern = pattern
        .replace("\\m", "\\b{start}")
        .replace("\\M", "\\b{end}")
        .replace("\\y", "\\b")
        .replace("\\Y", "\\B")
        .replace("\\Z", "\\z");
    RegexBuilder::new(&pattern)
        .case_insensitive(builder_flags.0)
        .ignore_whitespace(builder_flags.1)
        .multi_line(newline_sensitive)
        .dot_matches_new_line(!newline_sensitive)
        .size_limit(COMPILED_MAX)
        .build()
        .map_err(|error| Error::new("2201B", format!("invalid regular expression: {error}")))
}

pub(super) fn add(library: &mut Library) {
    // LIKE … ESCAPE: the pattern with a backslash for the character that escapes.
    library
        .strict("like_escape", &[Text, Text], Text, |a, _| like_escape(a[0].text(), a[1].text()));
    library.strict("~", TT, Bool, |a, _| boolean(compiled(a[1].text(), "")?.is_match(a[0].text())));
    library
        .strict("!~", TT, Bool, |a, _| boolean(!compiled(a[1].text(), "")?.is_match(a[0].text())));
    library
        .strict("~*", TT, Bool, |a, _| boolean(compiled(a[1].text(), "i")?.is_match(a[0].text())));
    library.strict("!~*", TT, Bool, |a, _| {
        boolean(!compiled(a[1].text(), "i")?.is_match(a[0].text()))
    });
    library.strict("similar to", TT, Bool, |a, _| {
        boolean(compiled(&from_similar(a[1].text())?, "")?.is_match(a[0].text()))
    });
    library.strict("regexp_like", TT, Bool, |a, _| {
        boolean(compiled(a[1].text(), "")?.is_match(a[0].text()))
    });
    library.strict("regexp_like", TTT, Bool, |a, _| {
        boolean(compiled(a[1].text(), a[2].text())?.is_match(a[0].text()))
    });
    library.strict("regexp_count", TT, Int4, |a, _| {
        int(compiled(a[1].text(), "")?.find_iter(a[0].text()).count())
    });
    library.strict("regexp_substr", TT, Text, |a, _| {
        Ok(match compiled(a[1].text(), "")?.find(a[0].text()) {
            None => Datum::Null,
            Some(found) => Datum::Text(found.as_str().to_owned()),
        })
    });
    library.strict("regexp_instr", TT, Int4, |a, _| {
        let found = compiled(a[1].text(), "")?.find(a[0].text());
        int(found.map_or(0, |found| a[0].text()[..found.start()].chars().count() + 1))
    });
    // substring(text from pattern): the first group if there is one.
    for name in ["substring", "substr"] {
        library.strict(name, TT, Text, |a, _| {
            let regex = compiled(a[1].text(), "")?;
            let group = usize::from(regex.captures_len() > 1);
            let found = regex.captures(a[0].text()).and_then(|captures| captures.get(group));
            Ok(found.map_or(Datum::Null, |found| Datum::Text(found.as_str().to_owned())))
        });
    }
    library.strict("regexp_replace", TTT, Text, |a, _| replace(a, ""));
    library
        .strict("regexp_replace", &[Text, Text, Text, Text], Text, |a, _| replace(a, a[3].text()));
    library.strict("regexp_match", TT, Array(&Text), |a, _| matched(a, ""));
    library.strict("regexp_match", TTT, Array(&Text), |a, _| {
        if a[2].text().contains('g') {
            return Err(Error::new(
                sqlstate::INVALID_PARAMETER,
                "regexp_match() does not support the \"global\" option",
            ));
        }
        matched(a, a[2].text())
    });
    library.strict("regexp_split_to_array", TT, Array(&Text), |a, _| {
        split(a[0].text(), &compiled(a[1].text(), "")?)
    });
    library.strict("regexp_split_to_array", TTT, Array(&Text), |a, _| {
        split(a[0].text(), &compiled(a[1].text(), a[2].text())?)
    });
}

fn replace(a: &[Datum], flags: &str) -> Result<Datum, Error> {
    let regex = compiled(a[1].text(), flags)?;
    let by = |captures: &Captures<'_>| replacement(a[2].text(), captures);
    let limit = usize::from(!flags.contains('g'));
    text(regex.replacen(a[0].text(), limit, by).into_owned())
}

/// `\1` and `\&` in the replacement.
fn replacement(template: &str, captures: &Captures<'_>) -> String {
    let mut out = String::new();
    let mut chars = template.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('&') => out.push_str(&captures[0]),
            Some(digit @ '1'..='9') => {
                let group = digit as usize - '0' as usize;
                out.push_str(captures.get(group).map_or("", |found| found.as_str()));
            }
            Some('\\') | None => out.push('\\'),
            Some(other) => {
                out.push('\\');
                out.push(other);
            }
        }
    }
    out
}

fn matched(a: &[Datum], flags: &str) -> Result<Datum, Error> {
    let regex = compiled(a[1].text(), flags)?;
    let Some(captures) = regex.captures(a[0].text()) else {
        return Ok(Datum::Null);
    };
    let from = usize::from(captures.len() > 1);
    let groups = captures.iter().skip(from);
    let values = groups
        .map(|group| group.map_or(Datum::Null, |found| Datum::Text(found.as_str().to_owned())));
    Ok(Datum::Array(values.collect()))
}

/// Empty matches at the ends, or right after another match, do not split.
fn split(value: &str, regex: &Regex) -> Result<Datum, Error> {
    let mut parts = Vec::new();
    let mut from = 0;
    for found in regex.find_iter(value) {
        if found.is_empty() && (found.start() <= from || found.start() >= value.len()) {
            continue;
        }
        parts.push(Datum::Text(value[from..found.start()].to_owned()));
        from = found.end();
    }
    parts.push(Datum::Text(value[from..].to_owned()));
    Ok(Datum::Array(parts))
}

/// A pattern of SIMILAR TO as a regular expression (PostgreSQL 15, 9.7.2).
fn from_similar(pattern: &str) -> Result<String, Error> {
    let mut out = String::from("^(?:");
    let mut chars = pattern.chars();
    let mut in_class = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                let next = chars.next().ok_or_else(|| {
                    Error::new("22025", "LIKE pattern must not end with escape character")
                })?;
                out.push_str(&regex::escape(&next.to_string()));
            }
            '[' => {
                in_class = true;
                out.push('[');
            }
            ']' => {
                in_class = false;
                out.push(']');
            }
            _ if in_class => out.push(c),
            '%' => out.push_str(".*"),
            '_' => out.push('.'),
            '(' => out.push_str("(?:"),
            '.' | '^' | '$' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out.push_str(")$");
    Ok(out)
}

fn like_escape(pattern: &str, escape: &str) -> Result<Datum, Error> {
    let mut chars = escape.chars();
    let (escape, more) = (chars.next(), chars.next());
    if more.is_some() {
        return Err(Error::new("22025", "invalid escape string")
            .hint("Escape string must be empty or one character."));
    }
    let mut out = String::with_capacity(pattern.len());
    let mut pattern = pattern.chars();
    while let Some(c) = pattern.next() {
        if Some(c) == escape {
            out.push('\\');
            out.extend(pattern.next());
        } else {
            if c == '\\' {
                out.push('\\');
            }
            out.push(c);
        }
    }
    text(out)
}
