//! `like_regex`: XQuery's flags on the expressions that `~` takes (PostgreSQL 15, 9.16.2.3).

use crate::error::{Error, sqlstate};
use regex::{Regex, RegexBuilder};

/// An expression, ready to be asked.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    text: String,
    flags: String,
    regex: Regex,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        (&self.text, &self.flags) == (&other.text, &other.flags)
    }
}

impl Pattern {
    /// `flags` are of `i`, `s`, `m` and `q`.
    pub(super) fn new(text: String, flags: String) -> Result<Self, Error> {
        let mut source = text.clone();
        let (mut ignores_case, mut dot_takes_lines, mut by_lines) = (false, false, false);
        for flag in flags.chars() {
            match flag {
                'i' => ignores_case = true,
                's' => dot_takes_lines = true,
                'm' => by_lines = true,
                'q' => source = regex::escape(&text),
                'x' => {
                    return Err(Error::unsupported(
                        "XQuery \"x\" flag (expanded regular expressions) is not implemented",
                    ));
                }
                other => {
                    return Err(Error::new(
                        sqlstate::SYNTAX_ERROR,
                        format!("unrecognized flag character \"{other}\" in LIKE_REGEX predicate"),
                    ));
                }
            }
        }
        let regex = RegexBuilder::new(&source)
            .case_insensitive(ignores_case)
            .dot_matches_new_line(dot_takes_lines)
            .multi_line(by_lines)
            .size_limit(crate::functions::COMPILED_MAX)
            .build()
            .map_err(|error| Error::new("2201B", format!("invalid regular expression: {error}")))?;
        Ok(Self { text, flags, regex })
    }

    /// Whether some part of `value` fits.
    pub(super) fn fits(&self, value: &str) -> bool {
        self.regex.is_match(value)
    }
}
