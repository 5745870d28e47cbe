//! Functions and operators by name, with what they take and give.
//!
//! An operator is a function that is named as it is written. A new function goes into the file of
//! its family, next to its neighbours: argument types, result type, and what it does with values.

mod arithmetic;
mod arrays;
mod generic;
mod json;
mod math;
mod number_format;
mod patterns;
mod text;
mod time;
mod time_format;

use crate::datum::Datum;
use crate::error::Error;
use crate::types::PgType;
use datafusion::arrow::array::ArrayRef;
use datafusion::logical_expr::{ColumnarValue, Volatility};
use std::collections::HashMap;
use std::sync::LazyLock;

pub(crate) use arithmetic::{Integers, integers};
pub(crate) use patterns::COMPILED_MAX;
pub(crate) use time::divided;

/// What a function does with values of these types.
pub(crate) type Body = fn(&[Datum], &[PgType]) -> Result<Datum, Error>;

/// What a function does with whole columns, where it is faster than value by value; none for
/// arguments of another form.
pub(crate) type Columns = fn(&[ColumnarValue]) -> Option<Result<ArrayRef, Error>>;

/// One way to call a function.
pub(crate) struct Overload {
    pub(crate) name: &'static str,
    pub(crate) arguments: &'static [PgType],
    /// More arguments of this type may follow.
    pub(crate) variadic: Option<PgType>,
    pub(crate) result: PgType,
    /// Null if an argument is.
    pub(crate) is_strict: bool,
    pub(crate) volatility: Volatility,
    pub(crate) body: Body,
    pub(crate) columns: Option<Columns>,
}

impl std::fmt::Debug for Overload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{:?}", self.name, self.arguments)
    }
}

/// All functions, by name.
pub(crate) static FUNCTIONS: LazyLock<HashMap<&'static str, Vec<Overload>>> = LazyLock::new(|| {
    let mut library = Library::default();
    arithmetic::add(&mut library);
    math::add(&mut library);
    text::add(&mut library);
    patterns::add(&mut library);
    time::add(&mut library);
    json::add(&mut library);
    arrays::add(&mut library);
    generic::add(&mut library);
    library.0
});

/// Functions in the making.
#[derive(Default)]
struct Library(HashMap<&'static str, Vec<Overload>>);

impl Library {
    /// A function that is null if an argument is.
    fn strict(
        &mut self,
        name: &'static str,
        arguments: &'static [PgType],
        result: PgType,
        body: Body,
    ) -> &mut Overload {
        let overloads = self.0.entry(name).or_default();
        overloads.push(Overload {
            name,
            arguments,
            variadic: None,
            result,
            is_strict: true,
            volatility: Volatility::Immutable,
            body,
            columns: None,
        });
        let last = overloads.len() - 1;
        &mut overloads[last]
    }

    /// A function that looks at nulls itself.
    fn lenient(
        &mut self,
        name: &'static str,
        arguments: &'static [PgType],
        result: PgType,
        body: Body,
    ) -> &mut Overload {
        let overload = self.strict(name, arguments, result, body);
        overload.is_strict = false;
        overload
    }
}

fn text(value: impl Into<String>) -> Result<Datum, Error> {
    Ok(Datum::Text(value.into()))
}

fn int(value: usize) -> Result<Datum, Error> {
    Ok(Datum::Int(i64::try_from(value).unwrap_or(i64::MAX)))
}

fn boolean(value: bool) -> Result<Datum, Error> {
    Ok(Datum::Bool(value))
}
