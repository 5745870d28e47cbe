//! What is checked before a request is decoded.
//!
//! The `kafka-protocol` crate believes the wire: it calls `Vec::with_capacity` with any array
//! length it reads, so that eight bytes can ask for gigabytes. Each request that it decodes is
//! therefore walked first, by a [`Layout`] that follows the same schema: every string and array
//! must lie within the frame, and array elements and tagged fields are counted together against
//! [`REQUEST_ELEMENTS_MAX`]. What passes holds as many elements as it claims, all of them in the
//! frame, so decoding it takes memory in proportion to an accepted count.
//!
//! Invariant: a request that passes [`Layout::check`] is decoded by the crate to the same end.

mod requests;
#[cfg(test)]
mod tests;

pub(crate) use requests::*;

use crate::limits::REQUEST_ELEMENTS_MAX;
use crate::wire::{Malformed, Reader};

/// The fields of a request, in order.
#[derive(Debug)]
pub(crate) struct Layout {
    /// First version with compact lengths and tagged fields (KIP-482).
    pub(crate) flexible_from: i16,
    /// The fields.
    pub(crate) fields: &'static [Field],
}

/// A field and the versions that have it.
#[derive(Debug)]
pub(crate) struct Field {
    from: i16,
    to: i16,
    kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Fixed(usize),
    Text,
    Blob,
    Array(&'static Kind),
    Struct(&'static [Field]),
    /// A struct behind a byte that is 1 if there is one.
    Optional(&'static [Field]),
}

impl Layout {
    /// Whether `version` has compact lengths.
    pub(crate) fn is_flexible(&self, version: i16) -> bool {
        version >= self.flexible_from
    }

    /// Walks the request `body` and says how many bytes of it the request takes.
    ///
    /// # Errors
    /// [`Malformed`], and then it must not be decoded.
    pub(crate) fn check(&self, version: i16, body: &[u8]) -> Result<usize, Malformed> {
        let mut walk = Walk {
            reader: Reader::new(body),
            version,
            flexible: self.is_flexible(version),
            elements: 0,
        };
        walk.fields(self.fields)?;
        Ok(walk.reader.position())
    }
}

struct Walk<'a> {
    reader: Reader<'a>,
    version: i16,
    flexible: bool,
    elements: usize,
}

impl Walk<'_> {
    fn fields(&mut self, fields: &'static [Field]) -> Result<(), Malformed> {
        for field in fields {
            if (field.from..=field.to).contains(&self.version) {
                self.kind(&field.kind)?;
            }
        }
        if self.flexible {
            let tags = self.reader.tags()?;
            self.count(tags)?;
        }
        Ok(())
    }

    fn kind(&mut self, kind: &'static Kind) -> Result<(), Malformed> {
        match kind {
            Kind::Fixed(bytes) => {
                self.reader.skip(*bytes, "a number")?;
            }
            Kind::Text => {
                self.reader.text(self.flexible, "a string")?;
            }
            Kind::Blob => {
                self.reader.blob(self.flexible, "a byte field")?;
            }
            Kind::Array(element) => {
                let count = self.reader.count(self.flexible, "an array")?.unwrap_or(0);
                self.count(count)?;
                for _ in 0..count {
                    self.kind(element)?;
                }
            }
            Kind::Struct(fields) => self.fields(fields)?,
            Kind::Optional(fields) => {
                if self.reader.int8("whether there is a struct")? == 1 {
                    self.fields(fields)?;
                }
            }
        }
        Ok(())
    }

    fn count(&mut self, more: usize) -> Result<(), Malformed> {
        self.elements += more;
        if self.elements > REQUEST_ELEMENTS_MAX {
            return Err(Malformed::TooMany(REQUEST_ELEMENTS_MAX));
        }
        Ok(())
    }
}

const ALL: i16 = i16::MAX;

const fn all(kind: Kind) -> Field {
    Field { from: 0, to: ALL, kind }
}

const fn since(from: i16, kind: Kind) -> Field {
    Field { from, to: ALL, kind }
}

const fn until(to: i16, kind: Kind) -> Field {
    Field { from: 0, to, kind }
}

const fn between(from: i16, to: i16, kind: Kind) -> Field {
    Field { from, to, kind }
}
