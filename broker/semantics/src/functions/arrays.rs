//! Arrays of one dimension (PostgreSQL 15, 9.19).

use super::{Library, boolean, int, text};
use crate::compare::nulls_last;
use crate::datum::Datum;
use crate::error::{Error, sqlstate};
use crate::numeric::Numeric as Number;
use crate::types::PgType::{self, *};

fn item_of(of: PgType) -> PgType {
    match of {
        Array(item) => *item,
        other => other,
    }
}

fn same(a: &Datum, b: &Datum, of: PgType) -> bool {
    nulls_last(a, b, of).is_eq()
}

fn array(items: Vec<Datum>) -> Result<Datum, Error> {
    Ok(Datum::Array(items))
}

const A: &[PgType] = &[AnyArray];
const AA: &[PgType] = &[AnyArray, AnyArray];
const AE: &[PgType] = &[AnyArray, AnyElement];

pub(super) fn add(library: &mut Library) {
    library.strict("array_length", &[AnyArray, Int4], Int4, |a, _| {
        one_dimension(a, a[0].items().len() as i64)
    });
    library.strict("array_upper", &[AnyArray, Int4], Int4, |a, _| {
        one_dimension(a, a[0].items().len() as i64)
    });
    library.strict("array_lower", &[AnyArray, Int4], Int4, |a, _| one_dimension(a, 1));
    library.strict("array_ndims", A, Int4, |a, _| {
        Ok(if a[0].items().is_empty() { Datum::Null } else { Datum::Int(1) })
    });
    library.strict("cardinality", A, Int4, |a, _| int(a[0].items().len()));
    library.lenient("array_append", AE, AnyArray, |a, _| {
        let mut items = a[0].items().to_vec();
        items.push(a[1].clone());
        array(items)
    });
    library.lenient("array_prepend", &[AnyElement, AnyArray], AnyArray, |a, _| {
        let mut items = vec![a[0].clone()];
        items.extend_from_slice(a[1].items());
        array(items)
    });
    for name in ["array_cat", "||"] {
        library.lenient(name, AA, AnyArray, |a, _| match (&a[0], &a[1]) {
            (Datum::Null, other) | (other, Datum::Null) => Ok(other.clone()),
            (left, right) => array([left.items(), right.items()].concat()),
        });
    }
    library.lenient("||", AE, AnyArray, |a, _| {
        let mut items = a[0].items().to_vec();
        items.push(a[1].clone());
        array(items)
    });
    library.lenient("||", &[AnyElement, AnyArray], AnyArray, |a, _| {
        let mut items = vec![a[0].clone()];
        items.extend_from_slice(a[1].items());
        array(items)
    });
    library.lenient("array_remove", AE, AnyArray, |a, t| {
        if a[0].is_null() {
            return Ok(Datum::Null);
        }
        let of = item_of(t[0]);
        array(a[0].items().iter().filter(|item| !same(item, &a[1], of)).cloned().collect())
    });
    library.lenient("array_replace", &[AnyArray, AnyElement, AnyElement], AnyArray, |a, t| {
        if a[0].is_null() {
            return Ok(Datum::Null);
        }
        let of = item_of(t[0]);
        let swapped =
            |item: &Datum| if same(item, &a[1], of) { a[2].clone() } else { item.clone() };
        array(a[0].items().iter().map(swapped).collect())
    });
    library.lenient("array_position", AE, Int4, |a, t| {
        let of = item_of(t[0]);
        let found = a[0].items().iter().position(|item| same(item, &a[1], of));
        found.map_or(Ok(Datum::Null), |at| int(at + 1))
    });
    library.lenient("array_positions", AE, Array(&Int4), |a, t| {
        if a[0].is_null() {
            return Ok(Datum::Null);
        }
        let of = item_of(t[0]);
        let found = a[0].items().iter().enumerate().filter(|(_, item)| same(item, &a[1], of));
        array(found.map(|(at, _)| Datum::Int(at as i64 + 1)).collect())
    });
    library.strict("@>", AA, Bool, |a, t| boolean(contains(&a[0], &a[1], item_of(t[0]))));
    library.strict("<@", AA, Bool, |a, t| boolean(contains(&a[1], &a[0], item_of(t[0]))));
    library.strict("&&", AA, Bool, |a, t| {
        let of = item_of(t[0]);
        let shared = |item: &Datum| {
            !item.is_null() && a[1].items().iter().any(|other| same(item, other, of))
        };
        boolean(a[0].items().iter().any(shared))
    });
    library.strict("array_to_string", &[AnyArray, Text], Text, |a, t| {
        let of = item_of(t[0]);
        let shown = a[0].items().iter().filter(|item| !item.is_null());
        let shown: Vec<_> = shown.map(|item| crate::output::print(item, of)).collect();
        text(shown.join(a[1].text()))
    });
    library.lenient("array_to_string", &[AnyArray, Text, Text], Text, |a, t| {
        if a[0].is_null() || a[1].is_null() {
            return Ok(Datum::Null);
        }
        let of = item_of(t[0]);
        let shown = a[0].items().iter().filter_map(|item| match (item, &a[2]) {
            (Datum::Null, Datum::Null) => None,
            (Datum::Null, shown) => Some(shown.text().to_owned()),
            (item, _) => Some(crate::output::print(item, of)),
        });
        text(shown.collect::<Vec<_>>().join(a[1].text()))
    });
    library.lenient("string_to_array", &[Text, Text], Array(&Text), |a, _| split(a, None));
    library.lenient("string_to_array", &[Text, Text, Text], Array(&Text), |a, _| {
        let null = match &a[2] {
            Datum::Null => None,
            value => Some(value.text().to_owned()),
        };
        split(a, null.as_deref())
    });
    library.strict("subscript", &[AnyArray, Int4], AnyElement, |a, _| {
        let at = usize::try_from(a[1].int() - 1).ok();
        Ok(at.and_then(|at| a[0].items().get(at)).cloned().unwrap_or(Datum::Null))
    });
    library.strict("slice", &[AnyArray, Int4, Int4], AnyArray, |a, _| {
        let items = a[0].items();
        let from = usize::try_from(a[1].int().max(1) - 1).unwrap_or(usize::MAX);
        let to = usize::try_from(a[2].int()).unwrap_or(0).min(items.len());
        array(items.get(from..to.max(from)).unwrap_or(&[]).to_vec())
    });
    let made = library.lenient("array", &[], AnyArray, |a, _| array(a.to_vec()));
    made.variadic = Some(AnyElement);
    // What string_agg gives: nothing if there is nothing but nulls.
    library.lenient("joined", &[AnyArray, Text], Text, |a, t| {
        let of = item_of(t[0]);
        if a[0].items().iter().all(Datum::is_null) {
            return Ok(Datum::Null);
        }
        let shown = a[0].items().iter().filter(|item| !item.is_null());
        let shown: Vec<_> = shown.map(|item| crate::output::print(item, of)).collect();
        text(shown.join(a[1].text()))
    });
    add_series(library);
    add_ordered_sets(library);
    library.strict("array_to_json", A, Json, |a, t| text(super::json::to_json(&a[0], t[0])));
}

/// Aggregates over what was gathered in order (PostgreSQL 15, table 9.61).
fn add_ordered_sets(library: &mut Library) {
    library.strict("percentile_cont of", &[Float8, Array(&Float8)], Float8, |a, _| {
        let at = fraction(&a[0])?;
        let values: Vec<f64> =
            a[1].items().iter().filter(|item| !item.is_null()).map(Datum::float).collect();
        let Some(last) = values.len().checked_sub(1) else {
            return Ok(Datum::Null);
        };
        let place = at * last as f64;
        let (low, high) = (values[place.floor() as usize], values[place.ceil() as usize]);
        Ok(Datum::Float(low + (place - place.floor()) * (high - low)))
    });
    library.strict("percentile_disc of", &[Float8, AnyArray], AnyElement, |a, _| {
        let at = fraction(&a[0])?;
        let values: Vec<&Datum> = a[1].items().iter().filter(|item| !item.is_null()).collect();
        let place = (at * values.len() as f64).ceil().max(1.0) as usize - 1;
        Ok(values.get(place).map_or(Datum::Null, |value| (*value).clone()))
    });
    library.strict("mode of", A, AnyElement, |a, t| {
        let of = item_of(t[0]);
        let values: Vec<&Datum> = a[0].items().iter().filter(|item| !item.is_null()).collect();
        let runs = values.chunk_by(|a, b| same(a, b, of));
        // Of runs of one length the first.
        let longest = runs.rev().max_by_key(|run| run.len());
        Ok(longest.map_or(Datum::Null, |run| run[0].clone()))
    });
}

fn fraction(value: &Datum) -> Result<f64, Error> {
    let at = value.float();
    if (0.0..=1.0).contains(&at) {
        return Ok(at);
    }
    Err(Error::new(
        sqlstate::NUMERIC_OUT_OF_RANGE,
        format!("percentile value {at} is not between 0 and 1"),
    ))
}

/// Longest array that `generate_series` makes.
const SERIES_MAX: usize = 10_000_000;

fn add_series(library: &mut Library) {
    for of in [Int4, Int8, Numeric] {
        let (two, three, array): (&'static [PgType], &'static [PgType], PgType) = match of {
            Int4 => (&[Int4, Int4], &[Int4, Int4, Int4], Array(&Int4)),
            Int8 => (&[Int8, Int8], &[Int8, Int8, Int8], Array(&Int8)),
            _ => (&[Numeric, Numeric], &[Numeric, Numeric, Numeric], Array(&Numeric)),
        };
        let body: super::Body = if of == Numeric { numeric_series } else { integer_series };
        library.strict("generate_series", two, array, body);
        library.strict("generate_series", three, array, body);
    }
    library.strict(
        "generate_series",
        &[Timestamp, Timestamp, Interval],
        Array(&Timestamp),
        time_series,
    );
    library.strict(
        "generate_series",
        &[Timestamptz, Timestamptz, Interval],
        Array(&Timestamptz),
        time_series,
    );
}

fn too_long() -> Error {
    Error::new(sqlstate::PROGRAM_LIMIT_EXCEEDED, "the series is too long")
        .hint(format!("a series has at most {SERIES_MAX} values here"))
}

fn zero_step() -> Error {
    Error::new(sqlstate::INVALID_PARAMETER, "step size cannot equal zero")
}

fn integer_series(a: &[Datum], _: &[PgType]) -> Result<Datum, Error> {
    let (mut at, end) = (a[0].int(), a[1].int());
    let step = a.get(2).map_or(1, Datum::int);
    if step == 0 {
        return Err(zero_step());
    }
    let mut items = Vec::new();
    while if step > 0 { at <= end } else { at >= end } {
        items.push(Datum::Int(at));
        if items.len() > SERIES_MAX {
            return Err(too_long());
        }
        match at.checked_add(step) {
            Some(next) => at = next,
            None => break,
        }
    }
    array(items)
}

fn numeric_series(a: &[Datum], _: &[PgType]) -> Result<Datum, Error> {
    let (mut at, end) = (a[0].numeric(), a[1].numeric());
    let step = a.get(2).map_or(Number::from(1), Datum::numeric);
    if step.is_zero() {
        return Err(zero_step());
    }
    for value in [&at, &end, &step] {
        if !matches!(value, Number::Finite { .. }) {
            return Err(Error::new(
                sqlstate::INVALID_PARAMETER,
                "start, stop and step of a series must be finite",
            ));
        }
    }
    let up = step.sign() > 0;
    let mut items = Vec::new();
    while if up { at.compare(&end).is_le() } else { at.compare(&end).is_ge() } {
        let next = at.add(&step)?;
        items.push(Datum::Numeric(at));
        if items.len() > SERIES_MAX {
            return Err(too_long());
        }
        at = next;
    }
    array(items)
}

fn time_series(a: &[Datum], _: &[PgType]) -> Result<Datum, Error> {
    let step = a[2].span();
    let total = crate::compare::total(step);
    if total == 0 {
        return Err(zero_step());
    }
    let (mut at, end) = (a[0].ticks(), a[1].ticks());
    let mut items = Vec::new();
    while if total > 0 { at <= end } else { at >= end } {
        items.push(Datum::Timestamp(at));
        if items.len() > SERIES_MAX {
            return Err(too_long());
        }
        at = super::time::moved(at, step, 1)?.ticks();
    }
    array(items)
}

fn one_dimension(a: &[Datum], value: i64) -> Result<Datum, Error> {
    Ok(if a[0].items().is_empty() || a[1].int() != 1 { Datum::Null } else { Datum::Int(value) })
}

fn contains(all: &Datum, wanted: &Datum, of: PgType) -> bool {
    wanted
        .items()
        .iter()
        .all(|item| !item.is_null() && all.items().iter().any(|other| same(item, other, of)))
}

fn split(a: &[Datum], null: Option<&str>) -> Result<Datum, Error> {
    if a[0].is_null() {
        return Ok(Datum::Null);
    }
    let value = a[0].text();
    let parts: Vec<String> = match &a[1] {
        _ if value.is_empty() => Vec::new(),
        Datum::Null => value.chars().map(String::from).collect(),
        separator if separator.text().is_empty() => vec![value.to_owned()],
        separator => value.split(separator.text()).map(ToOwned::to_owned).collect(),
    };
    let item =
        |part: String| if null == Some(part.as_str()) { Datum::Null } else { Datum::Text(part) };
    array(parts.into_iter().map(item).collect())
}
