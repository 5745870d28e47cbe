//! Members of objects without escapes, found by looking for quotes: most documents are such, and
//! this is several times as fast as a parser. What is read here is taken for JSON; it is checked
//! only as far as it must be to find its way.

use memchr::memchr;

/// Goes through the members of an object that has no backslash in it.
pub(super) struct Members<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Members<'a> {
    /// Of `text`; none if it is no object, or has a backslash.
    pub(super) fn of(text: &'a str) -> Option<Self> {
        if memchr(b'\\', text.as_bytes()).is_some() {
            return None;
        }
        let mut members = Self { text, at: 0 };
        members.spaces();
        members.takes(b'{').then_some(members)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn spaces(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\t' | b'\r')) {
            self.at += 1;
        }
    }

    fn takes(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// The text between the quotes that begin here.
    fn string(&mut self) -> Option<&'a str> {
        if !self.takes(b'"') {
            return None;
        }
        let from = self.at;
        let length = memchr(b'"', &self.text.as_bytes()[from..])?;
        self.at = from + length + 1;
        self.text.get(from..from + length)
    }

    /// The value that begins here, as it stands.
    fn value(&mut self) -> Option<&'a str> {
        self.spaces();
        let from = self.at;
        match self.peek()? {
            b'"' => {
                self.string()?;
            }
            b'{' | b'[' => self.container()?,
            _ => {
                let rest = &self.text.as_bytes()[from..];
                let ends = |byte: &u8| matches!(byte, b',' | b'}' | b' ' | b'\n' | b'\t' | b'\r');
                self.at = from + rest.iter().position(ends)?;
                if self.at == from {
                    return None;
                }
            }
        }
        self.text.get(from..self.at)
    }

    fn container(&mut self) -> Option<()> {
        let mut depth = 0;
        loop {
            match self.peek()? {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Some(());
            }
        }
    }

    /// What is behind the last member that was given.
    pub(super) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }
}

impl<'a> Iterator for Members<'a> {
    /// Key and value; none at the end, and where it is no JSON.
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        self.spaces();
        self.takes(b',');
        self.spaces();
        let key = self.string()?;
        self.spaces();
        if !self.takes(b':') {
            return None;
        }
        Some((key, self.value()?))
    }
}
