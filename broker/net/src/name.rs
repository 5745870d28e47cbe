//! The subject of a certificate, as Kafka names it.

use der::asn1::{AnyRef, ObjectIdentifier};
use der::{Decode, Reader, SliceReader, Tag, Tagged};
use std::fmt::{self, Write as _};

/// A distinguished name in the form of RFC 2253, as Java's `X500Principal.getName()` writes it,
/// and so as Kafka's `ssl.principal.mapping.rules=DEFAULT` takes it: `CN=alice,OU=dev,O=Acme`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DistinguishedName(Box<str>);

/// RFC 2253, section 2.3: the attributes that have names. All others are written as numbers.
const KEYWORDS: [(ObjectIdentifier, &str); 9] = [
    (ObjectIdentifier::new_unwrap("2.5.4.3"), "CN"),
    (ObjectIdentifier::new_unwrap("2.5.4.6"), "C"),
    (ObjectIdentifier::new_unwrap("2.5.4.7"), "L"),
    (ObjectIdentifier::new_unwrap("2.5.4.8"), "ST"),
    (ObjectIdentifier::new_unwrap("2.5.4.9"), "STREET"),
    (ObjectIdentifier::new_unwrap("2.5.4.10"), "O"),
    (ObjectIdentifier::new_unwrap("2.5.4.11"), "OU"),
    (ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.25"), "DC"),
    (ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.1"), "UID"),
];

impl DistinguishedName {
    /// The subject of a certificate that was verified; `None` if it has none (then its names are
    /// in extensions, which name hosts rather than people), or it cannot be read.
    pub(crate) fn of_subject(certificate: &[u8]) -> Option<Self> {
        let certificate = certificate.into();
        let certificate = webpki::EndEntityCert::try_from(&certificate).ok()?;
        Self::of_rdns(certificate.subject()).ok().filter(|name| !name.0.is_empty())
    }

    /// The name of the contents of a `Name` (RFC 5280, section 4.1.2.4).
    pub(crate) fn of_rdns(rdns: &[u8]) -> der::Result<Self> {
        let mut rdns = elements(rdns)?;
        // RFC 2253, section 2.1: beginning with the last.
        rdns.reverse();
        let mut name = String::new();
        for rdn in rdns {
            rdn.tag().assert_eq(Tag::Set)?;
            if !name.is_empty() {
                name.push(',');
            }
            for (number, attribute) in elements(rdn.value())?.into_iter().enumerate() {
                if number > 0 {
                    name.push('+');
                }
                attribute.tag().assert_eq(Tag::Sequence)?;
                let [kind, value] = elements(attribute.value())?[..] else {
                    return Err(Tag::Sequence.value_error());
                };
                put(&mut name, kind.decode_as()?, value);
            }
        }
        Ok(Self(name.into_boxed_str()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DistinguishedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// DER values that stand one behind the other.
fn elements(bytes: &[u8]) -> der::Result<Vec<AnyRef<'_>>> {
    let mut reader = SliceReader::new(bytes)?;
    let mut elements = Vec::new();
    while !reader.is_finished() {
        elements.push(AnyRef::decode(&mut reader)?);
    }
    Ok(elements)
}

fn put(name: &mut String, kind: ObjectIdentifier, value: AnyRef<'_>) {
    let keyword = KEYWORDS.iter().find(|(known, _)| *known == kind).map(|(_, keyword)| *keyword);
    let text = match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String => {
            std::str::from_utf8(value.value()).ok()
        }
        _ => None,
    };
    // Writing into a String cannot fail.
    match (keyword, text) {
        (Some(keyword), Some(text)) => {
            _ = write!(name, "{keyword}=");
            escape(name, text);
        }
        _ => {
            _ = match keyword {
                Some(keyword) => write!(name, "{keyword}=#"),
                None => write!(name, "{kind}=#"),
            };
            hex(name, value);
        }
    }
}

/// RFC 2253, section 2.4; like Java, `=` and `#` everywhere, and every space at either end.
fn escape(name: &mut String, text: &str) {
    let spaces = |text: &str| text.chars().take_while(|&c| c == ' ').count();
    let backwards: String = text.chars().rev().collect();
    let (count, lead, trail) = (text.chars().count(), spaces(text), spaces(&backwards));
    for (at, c) in text.chars().enumerate() {
        match c {
            ',' | '=' | '+' | '<' | '>' | '#' | ';' | '"' | '\\' => name.extend(['\\', c]),
            '\0' => name.push_str("\\00"),
            _ if at < lead || at >= count - trail => name.extend(['\\', c]),
            _ => name.push(c),
        }
    }
}

/// The whole value in hexadecimal, tag and length included.
fn hex(name: &mut String, value: AnyRef<'_>) {
    use der::Encode as _;
    let length = value.encoded_len().ok().and_then(|length| usize::try_from(length).ok());
    let mut bytes = vec![0; length.unwrap_or_default()];
    // It came from bytes of that form.
    if let Ok(bytes) = value.encode_to_slice(&mut bytes) {
        for byte in bytes {
            _ = write!(name, "{byte:02x}");
        }
    }
}
