//! Which of the functions of a name is meant (PostgreSQL 15, 10.2 and 10.3).

use crate::error::{Error, sqlstate};
use crate::functions::{FUNCTIONS, Overload};
use crate::types::{Category, PgType};

/// A function, and the types that it is called with.
#[derive(Debug, Clone)]
pub(crate) struct Selected {
    pub(crate) overload: &'static Overload,
    /// What the arguments are cast to.
    pub(crate) arguments: Vec<PgType>,
    pub(crate) result: PgType,
}

/// The function `name` for arguments of these types.
pub(crate) fn select(name: &str, types: &[PgType]) -> Result<Selected, Error> {
    let overloads = FUNCTIONS.get(name).map_or(&[] as &[Overload], Vec::as_slice);
    let mut candidates: Vec<Selected> =
        overloads.iter().filter_map(|overload| fitted(overload, types)).collect();
    // An operator on a known and an unknown type is first taken for one on the known type twice.
    if let [a, b] = types
        && (*a == PgType::Unknown) != (*b == PgType::Unknown)
        && !name.starts_with(|c: char| c.is_ascii_alphabetic())
    {
        let known = if *a == PgType::Unknown { *b } else { *a };
        let twice = candidates
            .iter()
            .position(|it| it.arguments == [known, known] && !is_of_items(it.overload));
        if let Some(at) = twice {
            return Ok(candidates.swap_remove(at));
        }
    }
    keep_best(&mut candidates, |it| {
        it.arguments.iter().zip(types).filter(|(to, from)| to == from).count()
    });
    // A function of just these types is better than one that takes any.
    keep_best(&mut candidates, |it| usize::from(!is_generic(it.overload)));
    // And one that takes arrays as such is better than one that takes anything.
    if types.iter().any(|of| matches!(of, PgType::Array(_))) {
        keep_best(&mut candidates, |it| {
            it.overload.arguments.iter().filter(|of| **of != PgType::Any).count()
        });
    }
    keep_best(&mut candidates, |it| {
        let good = |(to, from): &(&PgType, &PgType)| {
            to == from || (to.is_preferred() && to.category() == from.category())
        };
        it.arguments.iter().zip(types).filter(good).count()
    });
    for (at, _) in types.iter().enumerate().filter(|(_, of)| **of == PgType::Unknown) {
        if candidates.len() <= 1 {
            break;
        }
        let category =
            match candidates.iter().any(|it| it.arguments[at].category() == Category::String) {
                true => Category::String,
                false => candidates[0].arguments[at].category(),
            };
        let same = candidates.iter().all(|it| it.arguments[at].category() == category);
        if !same && category != Category::String {
            return Err(ambiguous(name, types));
        }
        candidates.retain(|it| it.arguments[at].category() == category);
        keep_best(&mut candidates, |it| usize::from(it.arguments[at].is_preferred()));
    }
    if candidates.len() > 1 {
        // Unknown arguments are taken for the one type that the others have.
        let mut known = types.iter().filter(|of| **of != PgType::Unknown);
        if let Some(first) = known.next()
            && known.all(|of| of == first)
            && let Some(at) =
                candidates.iter().position(|it| it.arguments.iter().all(|of| of == first))
        {
            return Ok(candidates.swap_remove(at));
        }
        return Err(ambiguous(name, types));
    }
    candidates.pop().ok_or_else(|| missing(name, types))
}

/// Whether a generic argument is no array: an item goes with arrays of any type.
fn is_of_items(overload: &Overload) -> bool {
    overload.arguments.iter().any(|of| matches!(of, PgType::Any | PgType::AnyElement))
}

fn is_generic(overload: &Overload) -> bool {
    let generic = |of: &PgType| matches!(of, PgType::Any | PgType::AnyElement | PgType::AnyArray);
    overload.arguments.iter().any(generic) || overload.variadic.as_ref().is_some_and(generic)
}

fn keep_best(candidates: &mut Vec<Selected>, score: impl Fn(&Selected) -> usize) {
    if candidates.len() > 1
        && let Some(best) = candidates.iter().map(&score).max()
    {
        candidates.retain(|it| score(it) == best);
    }
}

/// `overload` for these types, if its arguments can be cast to what it takes.
fn fitted(overload: &'static Overload, types: &[PgType]) -> Option<Selected> {
    let fixed = overload.arguments.len();
    let fits = match overload.variadic {
        Some(_) => types.len() >= fixed,
        None => types.len() == fixed,
    };
    if !fits {
        return None;
    }
    let wanted: Vec<PgType> = overload
        .arguments
        .iter()
        .copied()
        .chain(overload.variadic.into_iter().cycle().take(types.len() - fixed))
        .collect();
    let element = element_of(&wanted, types)?;
    let mut arguments = Vec::with_capacity(types.len());
    for (want, have) in wanted.iter().zip(types) {
        arguments.push(match want {
            PgType::Any if *have == PgType::Unknown => PgType::Text,
            PgType::Any => *have,
            PgType::AnyElement => element,
            PgType::AnyArray => {
                if !matches!(have, PgType::Array(_) | PgType::Unknown) {
                    return None;
                }
                element.array()
            }
            exact if have.casts_implicitly(*exact) => *exact,
            _ => return None,
        });
    }
    let result = match overload.result {
        PgType::AnyElement => element,
        PgType::AnyArray => element.array(),
        other => other,
    };
    Some(Selected { overload, arguments, result })
}

/// The one type that the generic arguments have; text if none says.
fn element_of(wanted: &[PgType], types: &[PgType]) -> Option<PgType> {
    let elements = wanted.iter().zip(types).filter_map(|(want, have)| match (want, have) {
        (PgType::AnyElement, have) => Some(*have),
        (PgType::AnyArray, PgType::Array(item)) => Some(**item),
        _ => None,
    });
    let common = PgType::common(elements)?;
    Some(if common == PgType::Unknown { PgType::Text } else { common })
}

fn shown(name: &str, types: &[PgType]) -> (&'static str, String) {
    let names: Vec<_> = types.iter().map(|of| of.name()).collect();
    let is_operator = !name.starts_with(|c: char| c.is_ascii_alphabetic());
    match (is_operator, names.as_slice()) {
        (true, [a, b]) => ("operator", format!("{a} {name} {b}")),
        (true, [a]) => ("operator", format!("{name} {a}")),
        _ => ("function", format!("{name}({})", names.join(", "))),
    }
}

fn ambiguous(name: &str, types: &[PgType]) -> Error {
    let (what, call) = shown(name, types);
    Error::new("42725", format!("{what} is not unique: {call}"))
}

/// That there is no such function.
pub(crate) fn missing(name: &str, types: &[PgType]) -> Error {
    let (what, call) = shown(name, types);
    Error::new(sqlstate::UNDEFINED_FUNCTION, format!("{what} does not exist: {call}"))
        .hint("no function of this name takes arguments of these types; a cast may help")
}
