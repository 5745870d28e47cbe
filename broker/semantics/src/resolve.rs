//! Calls in a plan become the functions that are meant, their arguments cast to what these take.
//!
//! DataFusion's own coercion, which runs later, finds nothing left to do.

mod correlated;
mod equality;
mod nodes;

pub use nodes::resolve;

use crate::aggregates;
use crate::call::{Call, Comparison, Operation, Quantifier};
use crate::casts;
use crate::datum::{Datum, column};
use crate::desugar::{PREFIX, cast_name};
use crate::error::{Error, sqlstate};
use crate::input;
use crate::numeric::Numeric;
use crate::select::{missing, select};
use crate::types::{Category, PLAIN, PgType};
use datafusion::arrow::array::Array;
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::functions::core::coalesce;
use datafusion::logical_expr::expr::{
    AggregateFunction, Between, Case, Cast, InList, Like, Placeholder, ScalarFunction,
};
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, Operator, ScalarUDF, WindowFunctionDefinition,
};
use datafusion::scalar::ScalarValue;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// The types that can be cast to, by the name of the cast.
static CASTS: LazyLock<HashMap<String, PgType>> = LazyLock::new(|| {
    PLAIN.iter().flat_map(|of| [*of, of.array()]).map(|of| (cast_name(of), of)).collect()
});

/// `IS DISTINCT FROM`, as a function.
pub(crate) const DISTINCT: &str = "is distinct from";
/// `IS NOT DISTINCT FROM`, as a function.
pub(crate) const NOT_DISTINCT: &str = "is not distinct from";

const COMPARISONS: [&str; 6] = ["=", "<>", "<", "<=", ">", ">="];

/// Names that are resolved here and are no functions of the library.
pub(crate) fn names() -> impl Iterator<Item = String> {
    let quantified = COMPARISONS.iter().flat_map(|op| [format!("any {op}"), format!("all {op}")]);
    CASTS
        .keys()
        .cloned()
        .chain(COMPARISONS.iter().map(ToString::to_string))
        .chain(quantified)
        .chain(
            ["coalesce", "nullif", "numeric digits", DISTINCT, NOT_DISTINCT].map(ToOwned::to_owned),
        )
}

/// The type of an argument; a string that is written down has none yet.
pub(crate) fn type_of_argument(field: &Field, constant: Option<&ScalarValue>) -> PgType {
    match constant {
        Some(ScalarValue::Utf8(_) | ScalarValue::Utf8View(_) | ScalarValue::Null) => {
            PgType::Unknown
        }
        _ => PgType::of_field(field),
    }
}

/// The type that `name` gives for arguments of these types.
pub(crate) fn result_of(name: &str, types: &[PgType]) -> Result<PgType, Error> {
    if let Some(to) = CASTS.get(name) {
        return match types {
            [from] if casts::exists(*from, *to) => Ok(*to),
            [from] => Err(casts::missing(*from, *to)),
            _ => Err(missing(name, types)),
        };
    }
    match (name, types) {
        ("coalesce", _) => common(types),
        ("nullif", [a, b]) => {
            comparison_type("=", *a, *b)?;
            Ok(if *a == PgType::Unknown { PgType::Text } else { *a })
        }
        ("numeric digits", _) => Ok(PgType::Numeric),
        (DISTINCT | NOT_DISTINCT, [a, b]) => comparison_type("=", *a, *b).map(|_| PgType::Bool),
        (name, [a, b]) if Comparison::of(name).is_some() => {
            comparison_type(name, *a, *b).map(|_| PgType::Bool)
        }
        (name, [a, b]) if quantified(name).is_some() => {
            element_type(name, *a, *b).map(|_| PgType::Bool)
        }
        _ => select(name, types).map(|selected| selected.result),
    }
}

fn quantified(name: &str) -> Option<(Comparison, Quantifier)> {
    let (word, operator) = name.split_once(' ')?;
    let quantifier = match word {
        "any" => Quantifier::Any,
        "all" => Quantifier::All,
        _ => return None,
    };
    Some((Comparison::of(operator)?, quantifier))
}

fn element_type(name: &str, value: PgType, array: PgType) -> Result<PgType, Error> {
    let item = match array {
        PgType::Array(item) => *item,
        PgType::Unknown => PgType::Unknown,
        _ => {
            return Err(Error::new(
                sqlstate::WRONG_OBJECT_TYPE,
                "op ANY/ALL (array) requires array on right side",
            ));
        }
    };
    comparison_type(&name[4..], value, item)
}

fn common(types: &[PgType]) -> Result<PgType, Error> {
    let names = || types.iter().map(|of| of.name()).collect::<Vec<_>>().join(" and ");
    match PgType::common(types.iter().copied()) {
        Some(PgType::Unknown) => Ok(PgType::Text),
        Some(of) => Ok(of),
        None => Err(Error::new(
            sqlstate::DATATYPE_MISMATCH,
            format!("types {} cannot be matched", names()),
        )),
    }
}

/// The type that two values are compared as.
fn comparison_type(name: &str, a: PgType, b: PgType) -> Result<PgType, Error> {
    use PgType::*;
    match (a, b) {
        (Unknown, Unknown) => Ok(Text),
        (Json, _) | (_, Json) => Err(missing(name, &[a, b])),
        (Unknown, of) | (of, Unknown) => Ok(of),
        (a, b) if a == b => Ok(a),
        (Other, _) | (_, Other) => Ok(Other),
        (a, b) if a.category() == Category::Number && b.category() == Category::Number => {
            let both = [a, b];
            Ok(if both.contains(&Float4) || both.contains(&Float8) {
                Float8
            } else if both.contains(&Numeric) {
                Numeric
            } else if both.contains(&Int8) {
                Int8
            } else {
                Int4
            })
        }
        (a, b) if a.casts_implicitly(b) => Ok(b),
        (a, b) if b.casts_implicitly(a) => Ok(a),
        _ => Err(missing(name, &[a, b])),
    }
}

fn type_of(expr: &Expr, schema: &DFSchema) -> Result<PgType> {
    Ok(match expr {
        Expr::Literal(ScalarValue::Utf8(_) | ScalarValue::Utf8View(_) | ScalarValue::Null, _) => {
            PgType::Unknown
        }
        Expr::Placeholder(Placeholder { field: None, .. }) => PgType::Unknown,
        Expr::Alias(alias) => type_of(&alias.expr, schema)?,
        other => PgType::of_field(&other.to_field(schema)?.1),
    })
}

/// `expr` with all its calls resolved.
///
/// # Errors
/// PostgreSQL's, where there is no such function or cast.
pub fn resolve_expr(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    expr.transform_up(|expr| one(expr, schema))
}

fn one(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let expr = match expr {
        Expr::Literal(value, metadata) => match literal(&value) {
            Some(value) => Expr::Literal(value, metadata),
            None => return Ok(Transformed::no(Expr::Literal(value, metadata))),
        },
        Expr::ScalarFunction(function) if is_named(&function.func) => {
            called(own_name(&function.func), function.args, schema)?
        }
        Expr::Cast(cast) => match constant(&cast) {
            Some(value) => Expr::Literal(value, None),
            None => return explicit(cast, schema),
        },
        Expr::Case(case) => case_of(case, schema)?,
        Expr::Between(between) => between_of(between, schema)?,
        Expr::InList(list) => in_list(list, schema)?,
        Expr::Like(like) => Expr::Like(like_of(like, schema)?),
        Expr::AggregateFunction(function) => aggregate(function, schema)?,
        Expr::WindowFunction(mut function) => {
            if let WindowFunctionDefinition::AggregateUDF(udf) = &function.fun
                && let Some(first) = function.params.args.first()
            {
                let of = type_of(first, schema)?;
                let chosen = aggregates::chosen(udf, of);
                function.fun = WindowFunctionDefinition::AggregateUDF(chosen);
            }
            equality::window(&mut function.params, schema)?;
            Expr::WindowFunction(function)
        }
        Expr::InSubquery(subquery) => equality::in_subquery(subquery, schema)?,
        other => return Ok(Transformed::no(other)),
    };
    Ok(Transformed::yes(expr))
}

fn is_named(func: &ScalarUDF) -> bool {
    func.inner().downcast_ref::<crate::call::Named>().is_some()
}

fn own_name(func: &ScalarUDF) -> String {
    func.name().strip_prefix(PREFIX).unwrap_or(func.name()).to_owned()
}

/// Decimal constants are numeric.
fn literal(value: &ScalarValue) -> Option<ScalarValue> {
    let number = match value {
        ScalarValue::Decimal128(Some(value), _, scale) => Numeric::of_decimal(*value, *scale),
        ScalarValue::Decimal256(Some(value), _, scale) => Numeric::of_decimal(
            num_bigint::BigInt::from_signed_bytes_le(&value.to_le_bytes()),
            *scale,
        ),
        ScalarValue::UInt64(Some(value)) => Numeric::new(*value, 0),
        _ => return None,
    };
    Some(ScalarValue::LargeBinary(Some(number.encode())))
}

/// An integer that was written down, as int4.
fn constant(cast: &Cast) -> Option<ScalarValue> {
    match (cast.expr.as_ref(), cast.field.data_type()) {
        (Expr::Literal(ScalarValue::Int64(Some(value)), _), DataType::Int32) => {
            i32::try_from(*value).ok().map(|value| ScalarValue::Int32(Some(value)))
        }
        _ => None,
    }
}

/// A cast that DataFusion planned: of a parameter, or to a type of the system catalogue.
fn explicit(cast: Cast, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let from = type_of(&cast.expr, schema)?;
    let to = PgType::of_field(&cast.field);
    if matches!(*cast.expr, Expr::Placeholder(_))
        || from == to
        || from == PgType::Other
        || to == PgType::Other
        || (cast.field.data_type() != &to.arrow() && to != PgType::Numeric)
        || !casts::exists(from, to)
    {
        return Ok(match (from, to) {
            // VALUES of numbers with different digits.
            (PgType::Numeric, PgType::Numeric) => Transformed::yes(*cast.expr),
            _ => Transformed::no(Expr::Cast(cast)),
        });
    }
    Ok(Transformed::yes(coerce(*cast.expr, from, to)?))
}

/// A call by name, as what it means.
fn called(name: String, mut args: Vec<Expr>, schema: &DFSchema) -> Result<Expr> {
    let types = args.iter().map(|arg| type_of(arg, schema)).collect::<Result<Vec<_>>>()?;
    let result = result_of(&name, &types)?;
    if CASTS.contains_key(&name) {
        let arg = args.swap_remove(0);
        return if types[0] == PgType::Unknown {
            typed(arg, result)
        } else {
            coerce(arg, types[0], result)
        };
    }
    match name.as_str() {
        "coalesce" => {
            let args = args
                .into_iter()
                .zip(&types)
                .map(|(arg, from)| settled(arg, *from, result))
                .collect::<Result<Vec<_>>>()?;
            return Ok(retyped(scalar(coalesce(), args), result));
        }
        "nullif" => {
            let of = comparison_type("=", types[0], types[1])?;
            let first = settled(args[0].clone(), types[0], result)?;
            let (left, right) =
                comparable((args[0].clone(), types[0]), (args[1].clone(), types[1]), of, schema)?;
            let equal = compared(Comparison::Eq, left, right, of);
            let case = Case {
                expr: None,
                when_then_expr: vec![(Box::new(equal), Box::new(null(result)?))],
                else_expr: Some(Box::new(first)),
            };
            return Ok(retyped(Expr::Case(case), result));
        }
        DISTINCT | NOT_DISTINCT => {
            let of = comparison_type("=", types[0], types[1])?;
            let [left, right] = [args.remove(0), args.remove(0)];
            let (left, right) = comparable((left, types[0]), (right, types[1]), of, schema)?;
            let op = match name.as_str() {
                DISTINCT => Operator::IsDistinctFrom,
                _ => Operator::IsNotDistinctFrom,
            };
            return Ok(Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right))));
        }
        "numeric digits" => {
            return Ok(scalar(Call::udf("numeric", Operation::Digits, types, result), args));
        }
        _ => {}
    }
    if let Some(comparison) = Comparison::of(&name) {
        let of = comparison_type(&name, types[0], types[1])?;
        let [left, right] = [args.remove(0), args.remove(0)];
        let (left, right) = comparable((left, types[0]), (right, types[1]), of, schema)?;
        return Ok(compared(comparison, left, right, of));
    }
    if let Some((comparison, quantifier)) = quantified(&name) {
        return quantified_call(&name, comparison, quantifier, args, &types);
    }
    let selected = select(&name, &types)?;
    let args = args
        .into_iter()
        .zip(types.iter().zip(&selected.arguments))
        .map(|(arg, (from, to))| coerce(arg, *from, *to))
        .collect::<Result<Vec<_>>>()?;
    // What PostgreSQL folds: the other arguments are not looked at.
    if selected.overload.is_strict && args.iter().any(is_null) {
        return null(selected.result);
    }
    let operation = Operation::Function(selected.overload);
    Ok(scalar(Call::udf(&name, operation, selected.arguments, selected.result), args))
}

fn quantified_call(
    name: &str,
    comparison: Comparison,
    quantifier: Quantifier,
    mut args: Vec<Expr>,
    types: &[PgType],
) -> Result<Expr> {
    let of = element_type(name, types[0], types[1])?;
    let value = coerce(args.remove(0), types[0], of)?;
    // Constants that a column equals one of are a list, by which keys are looked up.
    let array = args.remove(0);
    let array = coerce(array, types[1], of.array())?;
    if let (Comparison::Eq, Quantifier::Any) = (comparison, quantifier)
        && is_natural(of)
        && let Some(items) = items_of(&array)
    {
        return Ok(Expr::InList(InList::new(Box::new(value), items, false)));
    }
    let operation = Operation::Quantified(comparison, quantifier);
    Ok(scalar(Call::udf(name, operation, vec![of, of.array()], PgType::Bool), vec![value, array]))
}

/// The items of an array that is written down.
fn items_of(array: &Expr) -> Option<Vec<Expr>> {
    match array {
        Expr::ScalarFunction(function) if function.func.name() == "pg_array" => {
            (!function.args.is_empty()).then(|| function.args.clone())
        }
        Expr::Literal(ScalarValue::List(list), _) if list.len() == 1 => {
            let items = list.value(0);
            (0..items.len())
                .map(|at| ScalarValue::try_from_array(&items, at).ok())
                .map(|value| value.map(|value| Expr::Literal(value, None)))
                .collect::<Option<Vec<_>>>()
                .filter(|items| !items.is_empty())
        }
        _ => None,
    }
}

fn scalar(func: Arc<ScalarUDF>, args: Vec<Expr>) -> Expr {
    Expr::ScalarFunction(ScalarFunction { func, args })
}

/// json loses its name in what DataFusion computes.
fn retyped(expr: Expr, of: PgType) -> Expr {
    match of {
        PgType::Json => scalar(Call::udf("json", Operation::Retyped, vec![of], of), vec![expr]),
        _ => expr,
    }
}

fn null(of: PgType) -> Result<Expr> {
    let null = Expr::Literal(ScalarValue::try_from(&of.arrow())?, None);
    Ok(if of == PgType::Text { said_text(null) } else { retyped(null, of) })
}

/// Text that is no longer taken for a constant without a type.
fn said_text(literal: Expr) -> Expr {
    let of = PgType::Text;
    scalar(Call::udf("text", Operation::Retyped, vec![of], of), vec![literal])
}

fn is_null(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(value, _) => value.is_null(),
        Expr::ScalarFunction(function) if function.func.name() == "pg_text" => {
            function.args.len() == 1 && is_null(&function.args[0])
        }
        _ => false,
    }
}

/// A constant, or a parameter, whose type is known now.
fn typed(expr: Expr, of: PgType) -> Result<Expr> {
    match expr {
        Expr::Literal(ScalarValue::Null, _) => null(of),
        Expr::Literal(ScalarValue::Utf8(value) | ScalarValue::Utf8View(value), _) => {
            let Some(value) = value else { return null(of) };
            if of == PgType::Json {
                let literal = Expr::Literal(ScalarValue::Utf8View(Some(value)), None);
                let cast = Call::udf("json", Operation::Cast, vec![PgType::Text], of);
                return Ok(scalar(cast, vec![literal]));
            }
            if of == PgType::Text {
                let literal = Expr::Literal(ScalarValue::Utf8View(Some(value)), None);
                return Ok(said_text(literal));
            }
            Ok(Expr::Literal(scalar_of(&input::parse(&value, of)?, of)?, None))
        }
        Expr::Placeholder(placeholder) => {
            Ok(Expr::Placeholder(Placeholder { field: Some(of.field("")), ..placeholder }))
        }
        Expr::Alias(alias) => typed(*alias.expr, of),
        other => coerce(other, PgType::Unknown, of),
    }
}

fn scalar_of(value: &Datum, of: PgType) -> Result<ScalarValue> {
    ScalarValue::try_from_array(&column(std::slice::from_ref(value), of)?, 0)
}

/// `expr`, which is of type `from`, in the type `to`.
fn coerce(expr: Expr, from: PgType, to: PgType) -> Result<Expr> {
    if from == to || to == PgType::Other || to == PgType::Any {
        return Ok(expr);
    }
    if let Expr::Placeholder(placeholder) = expr {
        return Ok(Expr::Placeholder(Placeholder { field: Some(to.field("")), ..placeholder }));
    }
    if from == PgType::Unknown {
        return match expr {
            Expr::Literal(ScalarValue::Utf8(_) | ScalarValue::Utf8View(_), _)
                if to == PgType::Text =>
            {
                Ok(expr)
            }
            Expr::Literal(..) | Expr::Alias(_) => typed(expr, to),
            other => Ok(Expr::Cast(Cast::new(Box::new(other), to.arrow()))),
        };
    }
    if let (Expr::Literal(value, _), false) = (&expr, matches!(to, PgType::Json | PgType::Text)) {
        // A cast that fails does so when the query runs, if it is reached.
        let array = value.to_array()?;
        let value = crate::datum::Reader::new(&array, from)?.get(0);
        if let Ok(value) = casts::cast(&value, from, to) {
            return Ok(Expr::Literal(scalar_of(&value, to)?, None));
        }
    }
    let widens = matches!(
        (from, to),
        (PgType::Int2, PgType::Int4 | PgType::Int8) | (PgType::Int4, PgType::Int8)
    );
    if widens {
        return Ok(Expr::Cast(Cast::new(Box::new(expr), to.arrow())));
    }
    if !casts::exists(from, to) {
        return Err(casts::missing(from, to).into());
    }
    Ok(scalar(Call::udf(to.name(), Operation::Cast, vec![from], to), vec![expr]))
}

/// As [`coerce`], in the one Arrow type that results of `to` have, for values from several
/// sources.
fn settled(expr: Expr, from: PgType, to: PgType) -> Result<Expr> {
    if from == PgType::Unknown {
        return match expr {
            Expr::Literal(ScalarValue::Utf8(value), _) if to == PgType::Text => {
                Ok(Expr::Literal(ScalarValue::Utf8View(value), None))
            }
            Expr::Literal(..) => typed(expr, to),
            other => coerce(other, from, to),
        };
    }
    if from == to && to == PgType::Numeric {
        // Columns of numeric(p, s) have a type of their own.
        let is_done = matches!(&expr, Expr::Literal(ScalarValue::LargeBinary(_), _));
        if !is_done {
            let cast = Call::udf("numeric", Operation::Cast, vec![from], to);
            return Ok(scalar(cast, vec![expr]));
        }
    }
    coerce(expr, from, to)
}

/// Types that Arrow compares as PostgreSQL does.
fn is_natural(of: PgType) -> bool {
    use PgType::*;
    matches!(
        of,
        Bool | Int2
            | Int4
            | Int8
            | Text
            | Bytea
            | Date
            | Timestamp
            | Timestamptz
            | Time
            | Uuid
            | Other
    )
}

/// Both sides in a form whose comparison is that of the values.
fn comparable(
    (left, a): (Expr, PgType),
    (right, b): (Expr, PgType),
    of: PgType,
    schema: &DFSchema,
) -> Result<(Expr, Expr)> {
    if of == PgType::Numeric
        && let Some(both) = decimals(&left, &right, schema)?
    {
        return Ok(both);
    }
    let (left, right) = (coerce(left, a, of)?, coerce(right, b, of)?);
    Ok(match of {
        PgType::Numeric | PgType::Interval | PgType::Jsonb => (key(left, of), key(right, of)),
        PgType::Float4 | PgType::Float8 => {
            let wide = |expr: Expr| coerce(expr, of, PgType::Float8);
            (key(wide(left)?, PgType::Float8), key(wide(right)?, PgType::Float8))
        }
        _ => (left, right),
    })
}

fn key(expr: Expr, of: PgType) -> Expr {
    if let (Expr::Literal(ScalarValue::LargeBinary(Some(bytes)), _), PgType::Numeric) = (&expr, of)
    {
        let key = Numeric::decode(bytes).key();
        return Expr::Literal(ScalarValue::Binary(Some(key)), None);
    }
    scalar(Call::udf("key", Operation::Key, vec![of], of), vec![expr])
}

/// A column of numeric(p, s) and a constant, or two columns alike: compared as they are stored.
fn decimals(left: &Expr, right: &Expr, schema: &DFSchema) -> Result<Option<(Expr, Expr)>> {
    let stored = |expr: &Expr| -> Result<Option<DataType>> {
        if matches!(expr, Expr::Placeholder(_)) {
            return Ok(None);
        }
        let of = expr.get_type(schema)?;
        Ok(matches!(of, DataType::Decimal128(..)).then_some(of))
    };
    Ok(match (stored(left)?, stored(right)?) {
        (Some(a), Some(b)) if a == b => Some((left.clone(), right.clone())),
        (Some(of), None) => as_stored(right, &of).map(|right| (left.clone(), right)),
        (None, Some(of)) => as_stored(left, &of).map(|left| (left, right.clone())),
        _ => None,
    })
}

fn as_stored(expr: &Expr, of: &DataType) -> Option<Expr> {
    let DataType::Decimal128(precision, scale) = of else {
        return None;
    };
    let number = match expr {
        Expr::Literal(ScalarValue::LargeBinary(Some(bytes)), _) => Numeric::decode(bytes),
        Expr::Literal(ScalarValue::Int16(Some(value)), _) => Numeric::from(i64::from(*value)),
        Expr::Literal(ScalarValue::Int32(Some(value)), _) => Numeric::from(i64::from(*value)),
        Expr::Literal(ScalarValue::Int64(Some(value)), _) => Numeric::from(*value),
        Expr::Literal(ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)), _) => {
            Numeric::parse(text).ok()??
        }
        _ => return None,
    };
    let fits = number.scale_min() <= u32::try_from(*scale).ok()?;
    let exponent = number.exponent().unwrap_or(0);
    if !fits || exponent >= i64::from(*precision) - i64::from(*scale) {
        return None;
    }
    match number.rescaled(u32::try_from(*scale).ok()?) {
        Numeric::Finite { unscaled, .. } => {
            let value = i128::try_from(unscaled).ok()?;
            let value = ScalarValue::Decimal128(Some(value), *precision, *scale);
            Some(Expr::Literal(value, None))
        }
        _ => None,
    }
}

fn compared(comparison: Comparison, left: Expr, right: Expr, of: PgType) -> Expr {
    if matches!(of, PgType::Array(_)) {
        let operation = Operation::Compare(comparison);
        let name = format!("{comparison:?}");
        return scalar(Call::udf(&name, operation, vec![of, of], PgType::Bool), vec![left, right]);
    }
    let op = match comparison {
        Comparison::Eq => Operator::Eq,
        Comparison::NotEq => Operator::NotEq,
        Comparison::Lt => Operator::Lt,
        Comparison::LtEq => Operator::LtEq,
        Comparison::Gt => Operator::Gt,
        Comparison::GtEq => Operator::GtEq,
    };
    Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))
}

fn compare_exprs(name: &str, left: &Expr, right: &Expr, schema: &DFSchema) -> Result<Expr> {
    called(name.to_owned(), vec![left.clone(), right.clone()], schema)
}

fn between_of(between: Between, schema: &DFSchema) -> Result<Expr> {
    let Between { expr, negated, low, high } = between;
    let above = compare_exprs(if negated { "<" } else { ">=" }, &expr, &low, schema)?;
    let below = compare_exprs(if negated { ">" } else { "<=" }, &expr, &high, schema)?;
    Ok(if negated { above.or(below) } else { above.and(below) })
}

fn in_list(list: InList, schema: &DFSchema) -> Result<Expr> {
    let InList { expr, list, negated } = list;
    let of_expr = type_of(&expr, schema)?;
    let mut types = vec![of_expr];
    for item in &list {
        types.push(type_of(item, schema)?);
    }
    let mut of = of_expr;
    for item in &types[1..] {
        of = comparison_type("=", of, *item)?;
    }
    if is_natural(of) {
        let items = list
            .into_iter()
            .zip(&types[1..])
            .map(|(item, from)| coerce(item, *from, of))
            .collect::<Result<Vec<_>>>()?;
        return Ok(Expr::InList(InList::new(
            Box::new(coerce(*expr, of_expr, of)?),
            items,
            negated,
        )));
    }
    let (name, combine): (_, fn(Expr, Expr) -> Expr) =
        if negated { ("<>", |a, b| a.and(b)) } else { ("=", |a, b| a.or(b)) };
    let mut all = list.iter().map(|item| compare_exprs(name, &expr, item, schema));
    let first = all.next().ok_or_else(|| Error::syntax("IN needs values"))??;
    all.try_fold(first, |before, next| Ok(combine(before, next?)))
}

fn like_of(like: Like, schema: &DFSchema) -> Result<Like> {
    let types = [type_of(&like.expr, schema)?, type_of(&like.pattern, schema)?];
    for of in types {
        if !matches!(of, PgType::Text | PgType::Unknown | PgType::Other) {
            return Err(missing(if like.case_insensitive { "~~*" } else { "~~" }, &types).into());
        }
    }
    let [a, b] = types;
    Ok(Like {
        expr: Box::new(coerce(*like.expr, a, PgType::Text)?),
        pattern: Box::new(coerce(*like.pattern, b, PgType::Text)?),
        ..like
    })
}

fn case_of(mut case: Case, schema: &DFSchema) -> Result<Expr> {
    let mut types = Vec::new();
    for (_, then) in &case.when_then_expr {
        types.push(type_of(then, schema)?);
    }
    if let Some(otherwise) = &case.else_expr {
        types.push(type_of(otherwise, schema)?);
    }
    let of = common(&types)?;
    if of == PgType::Other {
        return Ok(Expr::Case(case));
    }
    let mut types = types.into_iter();
    let mut bring = |expr: &mut Box<Expr>| -> Result<()> {
        let from = types.next().unwrap_or(PgType::Unknown);
        let old = std::mem::replace(expr.as_mut(), Expr::Literal(ScalarValue::Null, None));
        **expr = settled(old, from, of)?;
        Ok(())
    };
    for (_, then) in &mut case.when_then_expr {
        bring(then)?;
    }
    if let Some(otherwise) = &mut case.else_expr {
        bring(otherwise)?;
    }
    Ok(retyped(Expr::Case(case), of))
}

fn aggregate(mut function: AggregateFunction, schema: &DFSchema) -> Result<Expr> {
    if let Some(first) = function.params.args.first() {
        let of = type_of(first, schema)?;
        function.func = aggregates::chosen(&function.func, of);
    }
    if function.params.distinct && function.func.name() == "count" {
        let args = std::mem::take(&mut function.params.args);
        function.params.args = equality::all_keyed(args, schema)?;
    }
    Ok(Expr::AggregateFunction(function))
}
