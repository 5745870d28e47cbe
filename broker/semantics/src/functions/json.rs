//! Operators and functions of json and jsonb (PostgreSQL 15, 9.16).

mod raw;
mod scan;

use super::{Library, boolean, int, text};
use crate::casts;
use crate::datum::Datum;
use crate::error::{Error, sqlstate};
use crate::json::{self, Json as Tree, object, parse, position};
use crate::jsonpath;
use crate::types::PgType::{self, *};

fn jsonb(value: &Tree) -> Result<Datum, Error> {
    text(value.to_string())
}

fn found(value: Option<&Tree>) -> Result<Datum, Error> {
    Ok(value.map_or(Datum::Null, |value| Datum::Text(value.to_string())))
}

fn found_text(value: Option<&Tree>) -> Result<Datum, Error> {
    Ok(value.and_then(Tree::as_text).map_or(Datum::Null, Datum::Text))
}

fn steps(path: &Datum) -> Option<Vec<String>> {
    let step = |item: &Datum| match item {
        Datum::Text(step) => Some(step.clone()),
        _ => None,
    };
    path.items().iter().map(step).collect()
}

fn step<'a>(value: &'a Tree, step: &str) -> Option<&'a Tree> {
    match value {
        Tree::Array(_) => step.trim().parse().ok().and_then(|index| value.item(index)),
        _ => value.get(step),
    }
}

fn at_path<'a>(value: &'a Tree, path: &Datum) -> Option<&'a Tree> {
    steps(path)?.iter().try_fold(value, |value, next| step(value, next))
}

pub(super) fn add(library: &mut Library) {
    add_access(library);
    add_jsonb(library);
    add_makers(library);
    add_paths(library);
    add_collected(library);
    for (name, of) in [("json_typeof", &[Json] as &'static [PgType]), ("jsonb_typeof", &[Jsonb])] {
        library.strict(name, of, Text, |a, _| text(parse(a[0].text())?.type_name()));
    }
    for (name, of) in
        [("json_array_length", &[Json] as &'static [PgType]), ("jsonb_array_length", &[Jsonb])]
    {
        library.strict(name, of, Int4, |a, _| match parse(a[0].text())? {
            Tree::Array(items) => int(items.len()),
            Tree::Object(_) => Err(Error::new(
                sqlstate::INVALID_PARAMETER,
                "cannot get array length of a non-array",
            )),
            _ => {
                Err(Error::new(sqlstate::INVALID_PARAMETER, "cannot get array length of a scalar"))
            }
        });
    }
    library.strict("json_strip_nulls", &[Json], Json, |a, _| {
        raw::stripped(a[0].text()).map(Datum::Text)
    });
    library
        .strict("jsonb_strip_nulls", &[Jsonb], Jsonb, |a, _| jsonb(&stripped(parse(a[0].text())?)));
    library.strict("jsonb_pretty", &[Jsonb], Text, |a, _| {
        let mut out = String::new();
        pretty(&parse(a[0].text())?, 0, &mut out);
        text(out)
    });
}

/// `silent` leaves errors of the path's items out, and gives nothing instead.
fn queried(a: &[Datum], silent: bool) -> Result<Option<Vec<Tree>>, Error> {
    let path = jsonpath::parse(a[1].text())?;
    match path.query(&parse(a[0].text())?) {
        Ok(items) => Ok(Some(items)),
        Err(_) if silent => Ok(None),
        Err(error) => Err(error),
    }
}

/// A path is text here that has to be one.
fn add_paths(library: &mut Library) {
    const JT: &[PgType] = &[Jsonb, Text];
    library.strict("@?", JT, Bool, |a, _| {
        let path = jsonpath::parse(a[1].text())?;
        Ok(path.exists(&parse(a[0].text())?).map_or(Datum::Null, Datum::Bool))
    });
    library.strict("@@", JT, Bool, |a, _| {
        let path = jsonpath::parse(a[1].text())?;
        let found = path.matches(&parse(a[0].text())?).ok().flatten();
        Ok(found.map_or(Datum::Null, Datum::Bool))
    });
    library.strict("jsonb_path_match", JT, Bool, |a, _| {
        let path = jsonpath::parse(a[1].text())?;
        Ok(path.matches(&parse(a[0].text())?)?.map_or(Datum::Null, Datum::Bool))
    });
    library.strict("jsonb_path_exists", JT, Bool, |a, _| {
        boolean(queried(a, false)?.is_some_and(|items| !items.is_empty()))
    });
    library.strict("jsonb_path_query_first", JT, Jsonb, |a, _| {
        found(queried(a, false)?.and_then(|items| items.into_iter().next()).as_ref())
    });
    library.strict("jsonb_path_query_array", JT, Jsonb, |a, _| {
        jsonb(&Tree::Array(queried(a, false)?.unwrap_or_default()))
    });
    // A set: `unnest` is put around it (see desugar).
    library.strict("jsonb_path_query", JT, Array(&Jsonb), |a, _| {
        let items = queried(a, false)?.unwrap_or_default();
        Ok(Datum::Array(items.iter().map(|item| Datum::Text(item.to_string())).collect()))
    });
    library.strict("jsonb_array_elements", &[Jsonb], Array(&Jsonb), |a, _| {
        let items = elements(a[0].text())?;
        Ok(Datum::Array(items.iter().map(|item| Datum::Text(item.to_string())).collect()))
    });
    library.strict("jsonb_array_elements_text", &[Jsonb], Array(&Text), |a, _| {
        let items = elements(a[0].text())?;
        let texts = items.iter().map(|item| item.as_text().map_or(Datum::Null, Datum::Text));
        Ok(Datum::Array(texts.collect()))
    });
    library.strict("jsonb_object_keys", &[Jsonb], Array(&Text), |a, _| match parse(a[0].text())? {
        Tree::Object(pairs) => {
            Ok(Datum::Array(pairs.into_iter().map(|(key, _)| Datum::Text(key)).collect()))
        }
        other => Err(Error::new(
            sqlstate::INVALID_PARAMETER,
            format!("cannot call jsonb_object_keys on {}", other.type_name()),
        )),
    });
}

fn elements(value: &str) -> Result<Vec<Tree>, Error> {
    match parse(value)? {
        Tree::Array(items) => Ok(items),
        Tree::Object(_) => {
            Err(Error::new(sqlstate::INVALID_PARAMETER, "cannot extract elements from an object"))
        }
        _ => Err(Error::new(sqlstate::INVALID_PARAMETER, "cannot extract elements from a scalar")),
    }
}

fn add_access(library: &mut Library) {
    // json keeps what was written: its parts are cut out of the text.
    let member = library.strict("->", &[Json, Text], Json, |a, _| {
        Ok(raw::member(a[0].text(), a[1].text()).map_or(Datum::Null, |t| Datum::Text(t.to_owned())))
    });
    member.columns = Some(|args| raw::members(args, raw::Cut::Json));
    library.strict("->", &[Json, Int4], Json, |a, _| {
        Ok(raw::item(a[0].text(), a[1].int()).map_or(Datum::Null, |t| Datum::Text(t.to_owned())))
    });
    let member = library.strict("->>", &[Json, Text], Text, |a, _| {
        raw::as_text(raw::member(a[0].text(), a[1].text()))
    });
    member.columns = Some(|args| raw::members(args, raw::Cut::Text));
    library.strict("->>", &[Json, Int4], Text, |a, _| {
        raw::as_text(raw::item(a[0].text(), a[1].int()))
    });
    const PATH: PgType = Array(&Text);
    const JSON_PATH: &[PgType] = &[Json, PATH];
    library.strict("#>", JSON_PATH, Json, |a, _| {
        Ok(raw::path(a[0].text(), &steps(&a[1])).map_or(Datum::Null, |t| Datum::Text(t.to_owned())))
    });
    library
        .strict("#>>", JSON_PATH, Text, |a, _| raw::as_text(raw::path(a[0].text(), &steps(&a[1]))));
    library.strict("->", &[Jsonb, Text], Jsonb, |a, _| found(parse(a[0].text())?.get(a[1].text())));
    library.strict("->", &[Jsonb, Int4], Jsonb, |a, _| found(parse(a[0].text())?.item(a[1].int())));
    library.strict("->>", &[Jsonb, Text], Text, |a, _| {
        found_text(parse(a[0].text())?.get(a[1].text()))
    });
    library.strict("->>", &[Jsonb, Int4], Text, |a, _| {
        found_text(parse(a[0].text())?.item(a[1].int()))
    });
    library.strict("#>", &[Jsonb, PATH], Jsonb, |a, _| found(at_path(&parse(a[0].text())?, &a[1])));
    library.strict("#>>", &[Jsonb, PATH], Text, |a, _| {
        found_text(at_path(&parse(a[0].text())?, &a[1]))
    });
    for (name, result, of) in [
        ("jsonb_extract_path", Jsonb, &[Jsonb] as &'static [PgType]),
        ("jsonb_extract_path_text", Text, &[Jsonb]),
        ("json_extract_path", Json, &[Json]),
        ("json_extract_path_text", Text, &[Json]),
    ] {
        let overload = library.strict(name, of, result, |_, _| Ok(Datum::Null));
        overload.variadic = Some(Text);
        overload.body = match (of[0], result) {
            (Jsonb, Text) => |a, _| {
                let path = Datum::Array(a[1..].to_vec());
                found_text(at_path(&parse(a[0].text())?, &path))
            },
            (Jsonb, _) => |a, _| {
                let path = Datum::Array(a[1..].to_vec());
                found(at_path(&parse(a[0].text())?, &path))
            },
            (_, Text) => {
                |a, _| raw::as_text(raw::path(a[0].text(), &steps(&Datum::Array(a[1..].to_vec()))))
            }
            _ => |a, _| {
                let part = raw::path(a[0].text(), &steps(&Datum::Array(a[1..].to_vec())));
                Ok(part.map_or(Datum::Null, |t| Datum::Text(t.to_owned())))
            },
        };
    }
}

fn has_key(value: &Tree, key: &str) -> bool {
    match value {
        Tree::Object(_) => value.get(key).is_some(),
        Tree::Array(items) => items.iter().any(|item| matches!(item, Tree::Text(t) if t == key)),
        Tree::Text(text) => text == key,
        _ => false,
    }
}

fn add_jsonb(library: &mut Library) {
    const JJ: &[PgType] = &[Jsonb, Jsonb];
    library
        .strict("@>", JJ, Bool, |a, _| boolean(parse(a[0].text())?.contains(&parse(a[1].text())?)));
    library
        .strict("<@", JJ, Bool, |a, _| boolean(parse(a[1].text())?.contains(&parse(a[0].text())?)));
    library.strict("?", &[Jsonb, Text], Bool, |a, _| {
        boolean(has_key(&parse(a[0].text())?, a[1].text()))
    });
    // Of json as well, which PostgreSQL does not have: `_json` is json, and is asked this.
    library.strict("?", &[Json, Text], Bool, |a, _| {
        boolean(has_key(&parse(a[0].text())?, a[1].text()))
    });
    library.strict("?|", &[Jsonb, Array(&Text)], Bool, |a, _| {
        let value = parse(a[0].text())?;
        boolean(a[1].items().iter().any(|key| !key.is_null() && has_key(&value, key.text())))
    });
    library.strict("?&", &[Jsonb, Array(&Text)], Bool, |a, _| {
        let value = parse(a[0].text())?;
        boolean(a[1].items().iter().all(|key| key.is_null() || has_key(&value, key.text())))
    });
    library.strict("||", JJ, Jsonb, |a, _| {
        let (left, right) = (parse(a[0].text())?, parse(a[1].text())?);
        jsonb(&match (left, right) {
            (Tree::Object(mut pairs), Tree::Object(more)) => {
                pairs.extend(more);
                object(pairs)
            }
            (left, right) => {
                let items = |value: Tree| match value {
                    Tree::Array(items) => items,
                    other => vec![other],
                };
                Tree::Array(items(left).into_iter().chain(items(right)).collect())
            }
        })
    });
    library.strict("-", &[Jsonb, Text], Jsonb, |a, _| {
        jsonb(&without(parse(a[0].text())?, &[a[1].text()])?)
    });
    library.strict("-", &[Jsonb, Array(&Text)], Jsonb, |a, _| {
        let keys: Vec<&str> = a[1].items().iter().map(Datum::text).collect();
        jsonb(&without(parse(a[0].text())?, &keys)?)
    });
    library.strict("-", &[Jsonb, Int4], Jsonb, |a, _| {
        jsonb(&match parse(a[0].text())? {
            Tree::Array(mut items) => {
                if let Some(at) = position(a[1].int(), items.len()) {
                    items.remove(at);
                }
                Tree::Array(items)
            }
            Tree::Object(_) => {
                return Err(Error::new(
                    sqlstate::INVALID_PARAMETER,
                    "cannot delete from object using integer index",
                ));
            }
            _ => return Err(no_deletion()),
        })
    });
    library.strict("#-", &[Jsonb, Array(&Text)], Jsonb, |a, _| {
        let mut value = parse(a[0].text())?;
        check_container(&value, "delete path in scalar")?;
        let steps = path_steps(&a[1])?;
        changed(&mut value, &steps, 1, &mut |parent, step| {
            match parent {
                Tree::Object(pairs) => pairs.retain(|pair| pair.0 != step),
                Tree::Array(items) => {
                    if let Some(at) = index(step)?.and_then(|i| position(i, items.len())) {
                        items.remove(at);
                    }
                }
                _ => {}
            }
            Ok(())
        })?;
        jsonb(&value)
    });
    const SET: &[PgType] = &[Jsonb, Array(&Text), Jsonb];
    const SET_BOOL: &[PgType] = &[Jsonb, Array(&Text), Jsonb, Bool];
    library.strict("jsonb_set", SET, Jsonb, |a, _| set(a, true));
    library.strict("jsonb_set", SET_BOOL, Jsonb, |a, _| set(a, a[3].bool()));
    library.strict("jsonb_insert", SET, Jsonb, |a, _| insert(a, false));
    library.strict("jsonb_insert", SET_BOOL, Jsonb, |a, _| insert(a, a[3].bool()));
}

fn no_deletion() -> Error {
    Error::new(sqlstate::INVALID_PARAMETER, "cannot delete from scalar")
}

fn without(value: Tree, keys: &[&str]) -> Result<Tree, Error> {
    Ok(match value {
        Tree::Object(mut pairs) => {
            pairs.retain(|pair| !keys.contains(&pair.0.as_str()));
            Tree::Object(pairs)
        }
        Tree::Array(mut items) => {
            items.retain(|item| !matches!(item, Tree::Text(t) if keys.contains(&t.as_str())));
            Tree::Array(items)
        }
        _ => return Err(no_deletion()),
    })
}

fn check_container(value: &Tree, what: &str) -> Result<(), Error> {
    match value {
        Tree::Object(_) | Tree::Array(_) => Ok(()),
        _ => Err(Error::new(sqlstate::INVALID_PARAMETER, format!("cannot {what}"))),
    }
}

fn path_steps(path: &Datum) -> Result<Vec<String>, Error> {
    steps(path).ok_or_else(|| Error::new("22004", "path element must not be null"))
}

fn index(step: &str) -> Result<Option<i64>, Error> {
    step.parse::<i64>().map(Some).map_err(|_| {
        Error::new(sqlstate::INVALID_TEXT, format!("path element is not an integer: \"{step}\""))
    })
}

/// Calls `change` with the parent of what the path leads to, if all before it is there.
fn changed(
    value: &mut Tree,
    steps: &[String],
    depth: usize,
    change: &mut dyn FnMut(&mut Tree, &str) -> Result<(), Error>,
) -> Result<(), Error> {
    let Some((first, rest)) = steps.split_first() else {
        return Ok(());
    };
    if rest.is_empty() {
        if let Tree::Array(_) = value {
            index_at(first, depth)?;
        }
        return change(value, first);
    }
    let next = match value {
        Tree::Object(pairs) => {
            pairs.iter_mut().find(|pair| pair.0 == *first).map(|pair| &mut pair.1)
        }
        Tree::Array(items) => {
            let index = index_at(first, depth)?;
            position(index, items.len()).map(|at| &mut items[at])
        }
        _ => None,
    };
    next.map_or(Ok(()), |next| changed(next, rest, depth + 1, change))
}

fn index_at(step: &str, depth: usize) -> Result<i64, Error> {
    step.parse().map_err(|_| {
        Error::new(
            sqlstate::INVALID_TEXT,
            format!("path element at position {depth} is not an integer: \"{step}\""),
        )
    })
}

/// `a[0]` with its part at the path `a[1]` changed by `put`, which is given the part's parent, the
/// last step and the new value `a[2]`.
fn with_part(
    a: &[Datum],
    put: impl Fn(&mut Tree, &str, Tree) -> Result<(), Error>,
) -> Result<Datum, Error> {
    let mut value = parse(a[0].text())?;
    let new = parse(a[2].text())?;
    check_container(&value, "set path in scalar")?;
    let steps = path_steps(&a[1])?;
    changed(&mut value, &steps, 1, &mut |parent, step| put(parent, step, new.clone()))?;
    jsonb(&value)
}

fn set(a: &[Datum], creates: bool) -> Result<Datum, Error> {
    with_part(a, |parent, step, new| {
        match parent {
            Tree::Object(pairs) => match pairs.iter_mut().find(|pair| pair.0 == step) {
                Some(pair) => pair.1 = new,
                None if creates => {
                    let mut all = std::mem::take(pairs);
                    all.push((step.to_owned(), new));
                    *parent = object(all);
                }
                None => {}
            },
            Tree::Array(items) => {
                let wanted = index(step)?.unwrap_or(0);
                match position(wanted, items.len()) {
                    Some(at) => items[at] = new,
                    None if creates && wanted < 0 => items.insert(0, new),
                    None if creates => items.push(new),
                    None => {}
                }
            }
            _ => {}
        }
        Ok(())
    })
}

fn insert(a: &[Datum], after: bool) -> Result<Datum, Error> {
    with_part(a, |parent, step, new| {
        match parent {
            Tree::Object(pairs) => {
                if pairs.iter().any(|pair| pair.0 == step) {
                    return Err(Error::new(
                        sqlstate::INVALID_PARAMETER,
                        "cannot replace existing key",
                    ));
                }
                let mut all = std::mem::take(pairs);
                all.push((step.to_owned(), new));
                *parent = object(all);
            }
            Tree::Array(items) => {
                let wanted = index(step)?.unwrap_or(0);
                let at = match position(wanted, items.len()) {
                    Some(at) => at + usize::from(after),
                    None if wanted < 0 => 0,
                    None => items.len(),
                };
                items.insert(at, new);
            }
            _ => {}
        }
        Ok(())
    })
}

fn stripped(value: Tree) -> Tree {
    match value {
        Tree::Object(pairs) => Tree::Object(
            pairs
                .into_iter()
                .filter(|pair| pair.1 != Tree::Null)
                .map(|(key, value)| (key, stripped(value)))
                .collect(),
        ),
        Tree::Array(items) => Tree::Array(items.into_iter().map(stripped).collect()),
        other => other,
    }
}

fn pretty(value: &Tree, depth: usize, out: &mut String) {
    let indent = |out: &mut String, depth: usize| {
        out.push('\n');
        out.push_str(&" ".repeat(depth * 4));
    };
    match value {
        Tree::Object(pairs) => {
            out.push('{');
            for (at, (key, value)) in pairs.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                indent(out, depth + 1);
                out.push_str(&json::quoted(key));
                out.push_str(": ");
                pretty(value, depth + 1, out);
            }
            indent(out, depth);
            out.push('}');
        }
        Tree::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                indent(out, depth + 1);
                pretty(item, depth + 1, out);
            }
            indent(out, depth);
            out.push(']');
        }
        other => out.push_str(&other.to_string()),
    }
}

/// A value of any type as JSON text; jsonb prints it anew.
pub(crate) fn to_json(value: &Datum, of: PgType) -> String {
    match value {
        Datum::Null => "null".to_owned(),
        Datum::Bool(value) => value.to_string(),
        Datum::Int(_) => casts::text(value, of),
        Datum::Float(number) if !number.is_finite() => json::quoted(&casts::text(value, of)),
        Datum::Numeric(number) if !matches!(number, crate::numeric::Numeric::Finite { .. }) => {
            json::quoted(&casts::text(value, of))
        }
        Datum::Float(_) | Datum::Numeric(_) => casts::text(value, of),
        Datum::Text(text) if matches!(of, Json | Jsonb) => text.clone(),
        Datum::Timestamp(micros) if *micros != i64::MAX && *micros != i64::MIN => {
            // ISO 8601, with a T and minutes of the zone.
            let mut shown = casts::text(value, of).replacen(' ', "T", 1);
            if of == Timestamptz {
                shown = shown.replacen("+00", "+00:00", 1);
            }
            json::quoted(&shown)
        }
        Datum::Array(items) => {
            let item = match of {
                Array(item) => *item,
                _ => Text,
            };
            let items: Vec<_> = items.iter().map(|value| to_json(value, item)).collect();
            format!("[{}]", items.join(","))
        }
        other => json::quoted(&casts::text(other, of)),
    }
}

fn add_makers(library: &mut Library) {
    library.strict("to_json", &[Any], Json, |a, t| text(to_json(&a[0], t[0])));
    library.strict("to_jsonb", &[Any], Jsonb, |a, t| jsonb(&parse(&to_json(&a[0], t[0]))?));
    for (name, result) in [("json_build_object", Json), ("jsonb_build_object", Jsonb)] {
        let overload = library.lenient(name, &[], result, |_, _| Ok(Datum::Null));
        overload.variadic = Some(Any);
        overload.body = if result == Json {
            |a, t| text(built_object(a, t, " : ")?)
        } else {
            |a, t| jsonb(&parse(&built_object(a, t, ": ")?)?)
        };
    }
    for (name, result) in [("json_build_array", Json), ("jsonb_build_array", Jsonb)] {
        let overload = library.lenient(name, &[], result, |_, _| Ok(Datum::Null));
        overload.variadic = Some(Any);
        overload.body = if result == Json {
            |a, t| text(built_array(a, t))
        } else {
            |a, t| jsonb(&parse(&built_array(a, t))?)
        };
    }
}

fn collected_array(a: &[Datum], t: &[PgType]) -> String {
    let of = match t[0] {
        Array(item) => *item,
        other => other,
    };
    let items: Vec<_> = a[0].items().iter().map(|item| to_json(item, of)).collect();
    format!("[{}]", items.join(", "))
}

fn collected_object(a: &[Datum], t: &[PgType]) -> Result<String, Error> {
    let item_of = |of: PgType| match of {
        Array(item) => *item,
        other => other,
    };
    let mut pairs = Vec::new();
    for (key, value) in a[0].items().iter().zip(a[1].items()) {
        if key.is_null() {
            return Err(Error::new(sqlstate::INVALID_PARAMETER, "field name must not be null"));
        }
        let key = json::quoted(&casts::text(key, item_of(t[0])));
        pairs.push(format!("{key} : {}", to_json(value, item_of(t[1]))));
    }
    Ok(format!("{{ {} }}", pairs.join(", ")))
}

/// What aggregates make of the arrays that were gathered (see desugar).
fn add_collected(library: &mut Library) {
    library.strict("json_agg of", &[AnyArray], Json, |a, t| text(collected_array(a, t)));
    library
        .strict("jsonb_agg of", &[AnyArray], Jsonb, |a, t| jsonb(&parse(&collected_array(a, t))?));
    library.strict("json_object_agg of", &[Any, Any], Json, |a, t| text(collected_object(a, t)?));
    library.strict("jsonb_object_agg of", &[Any, Any], Jsonb, |a, t| {
        jsonb(&parse(&collected_object(a, t)?)?)
    });
}

fn built_object(a: &[Datum], t: &[PgType], colon: &str) -> Result<String, Error> {
    if !a.len().is_multiple_of(2) {
        return Err(Error::new(
            sqlstate::INVALID_PARAMETER,
            "argument list must have even number of elements",
        ));
    }
    let mut pairs = Vec::new();
    for at in (0..a.len()).step_by(2) {
        if a[at].is_null() {
            return Err(Error::new(
                sqlstate::INVALID_PARAMETER,
                format!("argument {} cannot be null", at + 1),
            ));
        }
        let key = json::quoted(&casts::text(&a[at], t[at]));
        pairs.push(format!("{key}{colon}{}", to_json(&a[at + 1], t[at + 1])));
    }
    Ok(format!("{{{}}}", pairs.join(", ")))
}

fn built_array(a: &[Datum], t: &[PgType]) -> String {
    let items: Vec<_> = a.iter().zip(t).map(|(value, of)| to_json(value, *of)).collect();
    format!("[{}]", items.join(", "))
}
