//! Where the lines of text and CSV end (PostgreSQL 15, `CopyReadLineText` in copyfromparse.c).

use anabranch_query::SqlError;

/// What ends a line: the first one decides for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Newline {
    Lf,
    Cr,
    CrLf,
}

/// Quotes in CSV, within which lines do not end.
#[derive(Debug, Clone, Copy)]
struct Quotes {
    quote: u8,
    /// `None`: the quote itself.
    escape: Option<u8>,
}

/// What stands in front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// A line of `length` bytes; with its end, of `taken`.
    Line { length: usize, taken: usize },
    /// The beginning of a line.
    More,
    /// `\.`, the end of all; behind `length` bytes of a last line.
    End { length: usize },
}

/// Looks for the ends of lines, and no byte twice.
#[derive(Debug)]
pub(super) struct Lines {
    quotes: Option<Quotes>,
    newline: Option<Newline>,
    /// Bytes of the line in hand that were looked at.
    seen: usize,
    is_quoted: bool,
    is_escaped: bool,
    /// Line ends within quotes of the line in hand.
    inner: u64,
}

impl Lines {
    pub(super) fn text() -> Self {
        let (is_quoted, is_escaped) = (false, false);
        Self { quotes: None, newline: None, seen: 0, is_quoted, is_escaped, inner: 0 }
    }

    pub(super) fn csv(quote: u8, escape: u8) -> Self {
        let escape = (escape != quote).then_some(escape);
        Self { quotes: Some(Quotes { quote, escape }), ..Self::text() }
    }

    /// How many lines of the input the line that was found is.
    pub(super) fn take_count(&mut self) -> u64 {
        1 + std::mem::take(&mut self.inner)
    }

    /// Looks for the end of the line that `input` begins with. `is_all`: nothing comes behind it.
    pub(super) fn find(&mut self, input: &[u8], is_all: bool) -> Result<Found, SqlError> {
        let mut at = self.seen;
        while at < input.len() {
            let byte = input[at];
            let looks_ahead = byte == b'\r' || byte == b'\\';
            if looks_ahead && !is_all && !self.can_decide(&input[at..]) {
                self.seen = at;
                return Ok(Found::More);
            }
            self.look_at_quotes(byte);
            match byte {
                b'\r' | b'\n' if !self.is_quoted => {
                    let is_pair = byte == b'\r' && input.get(at + 1) == Some(&b'\n');
                    self.check_newline(byte, is_pair)?;
                    self.begin_line();
                    return Ok(Found::Line { length: at, taken: at + 1 + usize::from(is_pair) });
                }
                b'\\' if self.quotes.is_none() || at == 0 => {
                    if input.get(at + 1) == Some(&b'.') && self.is_end(&input[at + 2..])? {
                        self.begin_line();
                        return Ok(Found::End { length: at });
                    }
                    // What stands behind a backslash ends no line.
                    at += if self.quotes.is_none() { 2 } else { 1 };
                }
                _ => at += 1,
            }
        }
        if !is_all {
            // A backslash at the end has another byte coming.
            self.seen = at;
            return Ok(Found::More);
        }
        self.begin_line();
        Ok(Found::Line { length: input.len(), taken: input.len() })
    }

    fn begin_line(&mut self) {
        self.seen = 0;
        self.is_quoted = false;
        self.is_escaped = false;
    }

    /// Whether what a carriage return or a backslash means can be told from what is there.
    fn can_decide(&self, input: &[u8]) -> bool {
        match input {
            [_] => false,
            [b'\\', b'.'] => false,
            [b'\\', b'.', b'\r'] => self.newline == Some(Newline::Cr),
            _ => true,
        }
    }

    fn look_at_quotes(&mut self, byte: u8) {
        let Some(Quotes { quote, escape }) = self.quotes else { return };
        if self.is_quoted && Some(byte) == escape {
            self.is_escaped = !self.is_escaped;
        }
        if byte == quote && !self.is_escaped {
            self.is_quoted = !self.is_quoted;
        }
        if Some(byte) != escape {
            self.is_escaped = false;
        }
        let counted = if self.newline == Some(Newline::Cr) { b'\r' } else { b'\n' };
        if self.is_quoted && byte == counted {
            self.inner += 1;
        }
    }

    fn check_newline(&mut self, byte: u8, is_pair: bool) -> Result<(), SqlError> {
        let found = match (byte, is_pair) {
            (b'\n', _) => Newline::Lf,
            (_, true) if self.newline != Some(Newline::Cr) => Newline::CrLf,
            _ => Newline::Cr,
        };
        if *self.newline.get_or_insert(found) == found {
            return Ok(());
        }
        let what = if byte == b'\n' { "newline" } else { "carriage return" };
        let escape = if byte == b'\n' { "\\n" } else { "\\r" };
        Err(match self.quotes {
            None => bad(format!("literal {what} found in data"))
                .hint(format!("Use \"{escape}\" to represent {what}.")),
            Some(_) => bad(format!("unquoted {what} found in data"))
                .hint(format!("Use quoted CSV field to represent {what}.")),
        })
    }

    /// Whether a `\.` with this behind it is the end of all. In CSV anything else is data.
    fn is_end(&self, behind: &[u8]) -> Result<bool, SqlError> {
        let found = match behind {
            [] => return Ok(true),
            [b'\n', ..] => Newline::Lf,
            [b'\r', b'\n', ..] => Newline::CrLf,
            [b'\r', ..] => Newline::Cr,
            _ if self.quotes.is_some() => return Ok(false),
            _ => return Err(bad("end-of-copy marker corrupt")),
        };
        let fits = match self.newline {
            None => true,
            Some(Newline::Cr) => found != Newline::Lf,
            Some(newline) => newline == found,
        };
        match (fits, self.quotes) {
            (true, _) => Ok(true),
            (false, Some(_)) => Ok(false),
            (false, None) => Err(bad("end-of-copy marker does not match previous newline style")),
        }
    }
}

/// 22P04.
pub(super) fn bad(message: impl Into<String>) -> SqlError {
    SqlError::new("22P04", message)
}
