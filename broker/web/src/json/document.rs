//! Whether text is one JSON document (RFC 8259) that a client's parser will take as a part of a
//! larger one. Stricter than the grammar where common parsers fail on what it allows: one such
//! event would cost its readers all others of the same message.

/// Deepest nesting: Python's `json` fails near 1,000, serde_json at 128, and our messages add some.
const DEPTH_MAX: u32 = 100;

/// Longest number, in characters: Python refuses integers above 4,300 digits.
const NUMBER_BYTES_MAX: usize = 256;

/// Highest power of ten of a number's first digit that every double reaches.
const EXPONENT_MAX: i64 = 307;

const _: () = assert!(DEPTH_MAX < u128::BITS);

/// Whether `text` is one JSON document, possibly with white space around it.
pub(crate) fn is_document(text: &str) -> bool {
    Scanner { rest: text.as_bytes() }.document().is_some()
}

/// What remains to be looked at. `None` from a method: no document.
struct Scanner<'a> {
    rest: &'a [u8],
}

impl Scanner<'_> {
    fn document(&mut self) -> Option<()> {
        // One bit a level: 1 is an object.
        let mut objects: u128 = 0;
        let mut depth = 0;
        loop {
            // A value starts here.
            self.space();
            match self.take()? {
                open @ (b'{' | b'[') => {
                    depth += 1;
                    if depth > DEPTH_MAX {
                        return None;
                    }
                    let object = open == b'{';
                    objects = objects << 1 | u128::from(object);
                    self.space();
                    if self.rest.first() != Some(&(if object { b'}' } else { b']' })) {
                        if object {
                            self.name()?;
                        }
                        continue;
                    }
                }
                b'"' => self.string()?,
                b't' => self.word(b"rue")?,
                b'f' => self.word(b"alse")?,
                b'n' => self.word(b"ull")?,
                first => self.number(first)?,
            }
            // A value has ended, or an empty list is about to.
            loop {
                self.space();
                if depth == 0 {
                    return self.rest.is_empty().then_some(());
                }
                let object = objects & 1 == 1;
                match self.take()? {
                    b',' => {
                        if object {
                            self.space();
                            self.name()?;
                        }
                        break;
                    }
                    b'}' if object => {}
                    b']' if !object => {}
                    _ => return None,
                }
                objects >>= 1;
                depth -= 1;
            }
        }
    }

    #[inline]
    fn take(&mut self) -> Option<u8> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    #[inline]
    fn space(&mut self) {
        while let [b' ' | b'\t' | b'\n' | b'\r', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.rest = self.rest.strip_prefix(word)?;
        Some(())
    }

    /// A member's name and its colon.
    fn name(&mut self) -> Option<()> {
        if self.take()? != b'"' {
            return None;
        }
        self.string()?;
        self.space();
        (self.take()? == b':').then_some(())
    }

    /// The rest of a string.
    fn string(&mut self) -> Option<()> {
        loop {
            let end =
                self.rest.iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\');
            self.rest = &self.rest[end?..];
            match self.take()? {
                b'"' => return Some(()),
                b'\\' => match self.take()? {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                    b'u' => self.unicode()?,
                    _ => return None,
                },
                _ => return None,
            }
        }
    }

    /// The digits of `\u`; half of a surrogate pair is no text (RFC 8259, section 8.2).
    fn unicode(&mut self) -> Option<()> {
        match self.hex()? {
            0xd800..0xdc00 => {
                self.word(b"\\u")?;
                matches!(self.hex()?, 0xdc00..0xe000).then_some(())
            }
            0xdc00..0xe000 => None,
            _ => Some(()),
        }
    }

    fn hex(&mut self) -> Option<u32> {
        let mut value = 0;
        for _ in 0..4 {
            value = value << 4 | char::from(self.take()?).to_digit(16)?;
        }
        Some(value)
    }

    fn number(&mut self, first: u8) -> Option<()> {
        let before = self.rest.len();
        let first = if first == b'-' { self.take()? } else { first };
        let mut power = match first {
            b'0' => 0,
            b'1'..=b'9' => self.digits() as i64,
            _ => return None,
        };
        if self.rest.first() == Some(&b'.') {
            self.take();
            if self.digits() == 0 {
                return None;
            }
        }
        if let Some(b'e' | b'E') = self.rest.first() {
            self.take();
            let minus = match self.rest.first() {
                Some(b'-') => self.take().is_some(),
                Some(b'+') => self.take().is_none(),
                _ => false,
            };
            let exponent = self.rest;
            let length = self.digits();
            if length == 0 {
                return None;
            }
            let mut value = 0_i64;
            for digit in &exponent[..length] {
                value = value.saturating_mul(10).saturating_add(i64::from(digit - b'0'));
            }
            power = power.saturating_add(if minus { -value } else { value });
        }
        (before - self.rest.len() < NUMBER_BYTES_MAX && power <= EXPONENT_MAX).then_some(())
    }

    /// How many digits come next.
    fn digits(&mut self) -> usize {
        let before = self.rest.len();
        while let [b'0'..=b'9', rest @ ..] = self.rest {
            self.rest = rest;
        }
        before - self.rest.len()
    }
}
