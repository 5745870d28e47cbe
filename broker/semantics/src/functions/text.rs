//! Strings and bytes (PostgreSQL 15, 9.4 and 9.5). Cases are those of collation C: ASCII's.

use super::{Library, boolean, int, text};
use crate::casts;
use crate::datum::Datum;
use crate::error::{Error, sqlstate};
use crate::types::PgType::{self, *};

const T: &[PgType] = &[Text];
const TT: &[PgType] = &[Text, Text];
const TI: &[PgType] = &[Text, Int4];
const TII: &[PgType] = &[Text, Int4, Int4];
const TTT: &[PgType] = &[Text, Text, Text];

pub(super) fn add(library: &mut Library) {
    library.strict("||", TT, Text, |a, _| text(a[0].text().to_owned() + a[1].text()));
    for arguments in [&[Text, Any] as &'static [PgType], &[Any, Text]] {
        library.strict("||", arguments, Text, |a, t| {
            text(casts::text(&a[0], t[0]) + &casts::text(&a[1], t[1]))
        });
    }
    for name in ["length", "char_length", "character_length"] {
        library.strict(name, T, Int4, |a, _| int(a[0].text().chars().count()));
    }
    library.strict("octet_length", T, Int4, |a, _| int(a[0].text().len()));
    library.strict("bit_length", T, Int4, |a, _| int(a[0].text().len() * 8));
    library.strict("lower", T, Text, |a, _| text(a[0].text().to_ascii_lowercase()));
    library.strict("upper", T, Text, |a, _| text(a[0].text().to_ascii_uppercase()));
    library.strict("initcap", T, Text, |a, _| text(capitalized(a[0].text())));
    library.strict("reverse", T, Text, |a, _| text(a[0].text().chars().rev().collect::<String>()));
    library.strict("left", TI, Text, |a, _| {
        let kept = from_end(a[0].text(), a[1].int());
        text(a[0].text().chars().take(kept).collect::<String>())
    });
    library.strict("right", TI, Text, |a, _| {
        let length = a[0].text().chars().count();
        let kept = from_end(a[0].text(), a[1].int()).min(length);
        text(a[0].text().chars().skip(length - kept).collect::<String>())
    });
    library.strict("repeat", TI, Text, |a, _| {
        let count = usize::try_from(a[1].int()).unwrap_or(0);
        let bytes = a[0].text().len().saturating_mul(count);
        if bytes > 1 << 28 {
            return Err(Error::new(sqlstate::PROGRAM_LIMIT_EXCEEDED, "requested length too large"));
        }
        text(a[0].text().repeat(count))
    });
    add_padding(library);
    for name in ["substr", "substring"] {
        library.strict(name, TI, Text, |a, _| text(part(a[0].text(), a[1].int(), None)?));
        library
            .strict(name, TII, Text, |a, _| text(part(a[0].text(), a[1].int(), Some(a[2].int()))?));
        library.strict(name, &[Bytea, Int4], Bytea, |a, _| bytes_part(a, None));
        library.strict(name, &[Bytea, Int4, Int4], Bytea, |a, _| bytes_part(a, Some(a[2].int())));
    }
    for name in ["strpos", "position"] {
        library.strict(name, TT, Int4, |a, _| int(position(a[0].text(), a[1].text())));
    }
    library.strict("overlay", &[Text, Text, Int4], Text, |a, _| {
        let length = a[1].text().chars().count() as i64;
        overlay(a[0].text(), a[1].text(), a[2].int(), length)
    });
    library.strict("overlay", &[Text, Text, Int4, Int4], Text, |a, _| {
        overlay(a[0].text(), a[1].text(), a[2].int(), a[3].int())
    });
    library.strict("replace", TTT, Text, |a, _| match a[1].text() {
        "" => Ok(a[0].clone()),
        from => text(a[0].text().replace(from, a[2].text())),
    });
    library.strict("translate", TTT, Text, |a, _| {
        let from: Vec<char> = a[1].text().chars().collect();
        let to: Vec<char> = a[2].text().chars().collect();
        let mapped = a[0].text().chars().filter_map(|c| match from.iter().position(|f| *f == c) {
            None => Some(c),
            Some(at) => to.get(at).copied(),
        });
        text(mapped.collect::<String>())
    });
    library.strict("split_part", &[Text, Text, Int4], Text, |a, _| split_part(a));
    library.strict("starts_with", TT, Bool, |a, _| boolean(a[0].text().starts_with(a[1].text())));
    library.strict("^@", TT, Bool, |a, _| boolean(a[0].text().starts_with(a[1].text())));
    library.strict("ascii", T, Int4, |a, _| {
        Ok(Datum::Int(a[0].text().chars().next().map_or(0, |c| i64::from(u32::from(c)))))
    });
    library.strict("chr", &[Int4], Text, |a, _| match a[0].int() {
        0 => Err(Error::new(sqlstate::PROGRAM_LIMIT_EXCEEDED, "null character not permitted")),
        code => match u32::try_from(code).ok().and_then(char::from_u32) {
            Some(c) => text(c.to_string()),
            None => Err(Error::new(
                sqlstate::PROGRAM_LIMIT_EXCEEDED,
                "requested character not valid for encoding",
            )),
        },
    });
    library.strict("to_hex", &[Int4], Text, |a, _| text(format!("{:x}", a[0].int() as i32)));
    library.strict("to_hex", &[Int8], Text, |a, _| text(format!("{:x}", a[0].int())));
    library.strict("quote_ident", T, Text, |a, _| text(quote_ident(a[0].text())));
    library.strict("quote_literal", T, Text, |a, _| text(quote_literal(a[0].text())));
    library.lenient("quote_nullable", T, Text, |a, _| match &a[0] {
        Datum::Null => text("NULL"),
        value => text(quote_literal(value.text())),
    });
    add_bytes(library);
}

fn add_padding(library: &mut Library) {
    const TIT: &[PgType] = &[Text, Int4, Text];
    library.strict("lpad", TI, Text, |a, _| padded(a[0].text(), a[1].int(), " ", true));
    library.strict("rpad", TI, Text, |a, _| padded(a[0].text(), a[1].int(), " ", false));
    library.strict("lpad", TIT, Text, |a, _| padded(a[0].text(), a[1].int(), a[2].text(), true));
    library.strict("rpad", TIT, Text, |a, _| padded(a[0].text(), a[1].int(), a[2].text(), false));
    for name in ["btrim", "trim"] {
        library.strict(name, T, Text, |a, _| text(a[0].text().trim_matches(' ')));
        library.strict(name, TT, Text, |a, _| {
            text(a[0].text().trim_matches(|c| a[1].text().contains(c)))
        });
    }
    library.strict("ltrim", T, Text, |a, _| text(a[0].text().trim_start_matches(' ')));
    library.strict("rtrim", T, Text, |a, _| text(a[0].text().trim_end_matches(' ')));
    library.strict("ltrim", TT, Text, |a, _| {
        text(a[0].text().trim_start_matches(|c| a[1].text().contains(c)))
    });
    library.strict("rtrim", TT, Text, |a, _| {
        text(a[0].text().trim_end_matches(|c| a[1].text().contains(c)))
    });
}

fn add_bytes(library: &mut Library) {
    library.strict("||", &[Bytea, Bytea], Bytea, |a, _| {
        Ok(Datum::Bytes([a[0].bytes(), a[1].bytes()].concat()))
    });
    for name in ["length", "octet_length"] {
        library.strict(name, &[Bytea], Int4, |a, _| int(a[0].bytes().len()));
    }
    library.strict("bit_length", &[Bytea], Int4, |a, _| int(a[0].bytes().len() * 8));
    library.strict("encode", &[Bytea, Text], Text, |a, _| encode(a[0].bytes(), a[1].text()));
    library.strict("decode", TT, Bytea, |a, _| decode(a[0].text(), a[1].text()));
    library.strict("get_byte", &[Bytea, Int4], Int4, |a, _| {
        let found = usize::try_from(a[1].int()).ok().and_then(|at| a[0].bytes().get(at));
        found.map(|byte| Datum::Int(i64::from(*byte))).ok_or_else(|| {
            let last = a[0].bytes().len() as i64 - 1;
            Error::new("2202E", format!("index {} out of valid range, 0..{last}", a[1].int()))
        })
    });
    library.strict("convert_to", TT, Bytea, |a, _| {
        utf8(a[1].text())?;
        Ok(Datum::Bytes(a[0].text().as_bytes().to_vec()))
    });
    library.strict("convert_from", &[Bytea, Text], Text, |a, _| {
        utf8(a[1].text())?;
        match std::str::from_utf8(a[0].bytes()) {
            Ok(value) if !value.contains('\0') => text(value),
            _ => Err(Error::new("22021", "invalid byte sequence for encoding \"UTF8\"")),
        }
    });
}

fn utf8(encoding: &str) -> Result<(), Error> {
    match encoding.to_ascii_lowercase().replace('-', "").as_str() {
        "utf8" => Ok(()),
        _ => Err(Error::unsupported(format!("encoding \"{encoding}\" is not supported"))),
    }
}

/// Characters that a count leaves; one below zero counts from the end.
fn from_end(value: &str, count: i64) -> usize {
    match usize::try_from(count) {
        Ok(count) => count,
        Err(_) => {
            let away = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
            value.chars().count().saturating_sub(away)
        }
    }
}

fn capitalized(value: &str) -> String {
    let mut in_word = false;
    let next = |c: char| {
        let shown = if in_word { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() };
        in_word = c.is_ascii_alphanumeric();
        shown
    };
    value.chars().map(next).collect()
}

fn padded(value: &str, length: i64, fill: &str, on_left: bool) -> Result<Datum, Error> {
    let length = usize::try_from(length).unwrap_or(0);
    if length > 1 << 26 {
        return Err(Error::new(sqlstate::PROGRAM_LIMIT_EXCEEDED, "requested length too large"));
    }
    let has = value.chars().count();
    if has >= length || fill.is_empty() {
        return text(value.chars().take(length).collect::<String>());
    }
    let padding: String = fill.chars().cycle().take(length - has).collect();
    text(if on_left { padding + value } else { value.to_owned() + &padding })
}

/// From character `from`, which may be before the first, `count` of them.
pub(super) fn part(value: &str, from: i64, count: Option<i64>) -> Result<String, Error> {
    let (skip, take) = range(from, count)?;
    let rest = value.chars().skip(skip);
    Ok(match take {
        None => rest.collect(),
        Some(take) => rest.take(take).collect(),
    })
}

fn range(from: i64, count: Option<i64>) -> Result<(usize, Option<usize>), Error> {
    let end = match count {
        Some(count) if count < 0 => {
            return Err(Error::new("22011", "negative substring length not allowed"));
        }
        Some(count) => Some(from.saturating_add(count)),
        None => None,
    };
    let first = from.max(1);
    let take = end.map(|end| usize::try_from(end - first).unwrap_or(0));
    Ok((usize::try_from(first - 1).unwrap_or(0), take))
}

fn bytes_part(a: &[Datum], count: Option<i64>) -> Result<Datum, Error> {
    let (skip, take) = range(a[1].int(), count)?;
    let rest = a[0].bytes().iter().skip(skip).copied();
    Ok(Datum::Bytes(match take {
        None => rest.collect(),
        Some(take) => rest.take(take).collect(),
    }))
}

/// Where `wanted` begins, from 1; 0 if nowhere.
fn position(value: &str, wanted: &str) -> usize {
    value.find(wanted).map_or(0, |at| value[..at].chars().count() + 1)
}

fn overlay(value: &str, with: &str, from: i64, count: i64) -> Result<Datum, Error> {
    if from <= 0 {
        return Err(Error::new("22011", "negative substring length not allowed"));
    }
    let head = part(value, 1, Some(from - 1))?;
    let tail = part(value, from.saturating_add(count), None)?;
    text(head + with + &tail)
}

fn split_part(a: &[Datum]) -> Result<Datum, Error> {
    let (value, separator, number) = (a[0].text(), a[1].text(), a[2].int());
    if number == 0 {
        return Err(Error::new(sqlstate::INVALID_PARAMETER, "field position must not be zero"));
    }
    let parts: Vec<&str> = match separator {
        _ if value.is_empty() => vec![""],
        "" => vec![value],
        _ => value.split(separator).collect(),
    };
    let at = if number > 0 { number - 1 } else { parts.len() as i64 + number };
    text(usize::try_from(at).ok().and_then(|at| parts.get(at)).copied().unwrap_or(""))
}

/// Names of lower-case letters stay as they are, unless they are keywords that cannot be names
/// everywhere (PostgreSQL 15, appendix C).
pub(super) fn quote_ident(name: &str) -> String {
    const RESERVED: &str = "all analyse analyze and any array as asc asymmetric \
        authorization between bigint binary bit boolean both case cast \
        char character check coalesce collate collation column concurrently constraint \
        create cross current_catalog current_date current_role current_schema current_time current_timestamp current_user \
        dec decimal default deferrable desc distinct do else end \
        except exists extract false fetch float for foreign freeze \
        from full grant greatest group grouping having ilike in \
        initially inner inout int integer intersect interval into is \
        isnull join lateral leading least left like limit localtime \
        localtimestamp national natural nchar none normalize not notnull null \
        nullif numeric offset on only or order out outer \
        overlaps overlay placing position precision primary real references returning \
        right row select session_user setof similar smallint some substring \
        symmetric table tablesample then time timestamp to trailing treat \
        trim true union unique user using values varchar variadic \
        verbose when where window with xmlattributes xmlconcat xmlelement xmlexists \
        xmlforest xmlnamespaces xmlparse xmlpi xmlroot xmlserialize xmltable";
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && !RESERVED.split(' ').any(|word| word == name);
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

pub(super) fn quote_literal(value: &str) -> String {
    let quoted = value.replace('\'', "''").replace('\\', "\\\\");
    if value.contains('\\') { format!("E'{quoted}'") } else { format!("'{quoted}'") }
}

fn unrecognized(encoding: &str) -> Error {
    Error::new(sqlstate::INVALID_PARAMETER, format!("unrecognized encoding: \"{encoding}\""))
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn encode(bytes: &[u8], encoding: &str) -> Result<Datum, Error> {
    match encoding.to_ascii_lowercase().as_str() {
        "hex" => text(&crate::output::hex(bytes)[2..]),
        "base64" => {
            let mut out = String::new();
            for (number, chunk) in bytes.chunks(3).enumerate() {
                // Lines have 76 characters.
                if number > 0 && number % 19 == 0 {
                    out.push('\n');
                }
                let three = [chunk[0], *chunk.get(1).unwrap_or(&0), *chunk.get(2).unwrap_or(&0)];
                let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
                for at in 0..4 {
                    let digit = BASE64[(bits >> (18 - 6 * at) & 63) as usize] as char;
                    out.push(if at <= chunk.len() { digit } else { '=' });
                }
            }
            text(out)
        }
        "escape" => {
            let mut out = String::new();
            for byte in bytes {
                match byte {
                    0 | 0x80.. => out.push_str(&format!("\\{byte:03o}")),
                    b'\\' => out.push_str("\\\\"),
                    byte => out.push(*byte as char),
                }
            }
            text(out)
        }
        _ => Err(unrecognized(encoding)),
    }
}

fn decode(value: &str, encoding: &str) -> Result<Datum, Error> {
    use crate::input;
    match encoding.to_ascii_lowercase().as_str() {
        "hex" => input::parse(&format!("\\x{value}"), Bytea),
        "escape" => input::parse(value, Bytea),
        "base64" => {
            let invalid = || Error::new(sqlstate::INVALID_PARAMETER, "invalid base64 end sequence");
            let mut bits = 0u32;
            let mut digits = 0;
            let mut out = Vec::new();
            for byte in value.bytes().filter(|b| !b.is_ascii_whitespace() && *b != b'=') {
                let digit = BASE64.iter().position(|b| *b == byte).ok_or_else(|| {
                    Error::new(
                        sqlstate::INVALID_PARAMETER,
                        format!(
                            "invalid symbol \"{}\" found while decoding base64 sequence",
                            byte as char
                        ),
                    )
                })?;
                bits = bits << 6 | digit as u32;
                digits += 1;
                if digits == 4 {
                    out.extend_from_slice(&bits.to_be_bytes()[1..]);
                    (bits, digits) = (0, 0);
                }
            }
            match digits {
                0 => {}
                2 => out.push((bits >> 4) as u8),
                3 => out.extend_from_slice(&((bits >> 2) as u16).to_be_bytes()),
                _ => return Err(invalid()),
            }
            Ok(Datum::Bytes(out))
        }
        _ => Err(unrecognized(encoding)),
    }
}
