//! Syntax that means a function becomes a call of it: operators, casts, EXTRACT and the like.
//!
//! DataFusion then has no operator of its own to apply: every call is looked up in
//! [`crate::functions`], and its types are PostgreSQL's.

use crate::functions::FUNCTIONS;
use crate::resolve::{DISTINCT, NOT_DISTINCT};
use crate::types::PgType;
use datafusion::sql::sqlparser::ast::{
    self, AccessExpr, BinaryOperator, CastKind, DataType, ExactNumberInfo, Expr, Function,
    FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArgumentList, FunctionArguments,
    GroupByExpr, Ident, LimitClause, ObjectName, OrderByKind, Query, Select, Subscript,
    TableFactor, TimezoneInfo, TrimWhereField, UnaryOperator, Value, VisitMut, VisitorMut,
    WindowFrameBound, WindowType,
};
use std::ops::ControlFlow;

/// Rewrites all expressions of `statement`.
pub fn desugar<V: VisitMut>(statement: &mut V) {
    let _ = statement.visit(&mut Desugar);
}

struct Desugar;

/// What a cast is called as a function.
pub(crate) fn cast_name(to: PgType) -> String {
    format!("cast {}", to.name())
}

/// What the names of our functions begin with, so that DataFusion's of the same names stay there
/// for statements about the system catalogue.
pub(crate) const PREFIX: &str = "pg ";

/// A call of the function `name` of ours.
fn call(name: &str, arguments: Vec<Expr>) -> Expr {
    plain_call(&format!("{PREFIX}{name}"), arguments)
}

fn plain_call(name: &str, arguments: Vec<Expr>) -> Expr {
    call_of(Ident::with_quote('"', name), arguments)
}

/// A call of the function `name`.
#[must_use]
pub fn call_of(name: Ident, arguments: Vec<Expr>) -> Expr {
    let args = arguments
        .into_iter()
        .map(|argument| FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)))
        .collect();
    Expr::Function(Function {
        name: ObjectName::from(vec![name]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args,
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

fn text(value: impl Into<String>) -> Expr {
    Expr::Value(Value::SingleQuotedString(value.into()).with_empty_span())
}

fn number(value: impl Into<String>) -> Expr {
    Expr::Value(Value::Number(value.into(), false).with_empty_span())
}

fn negated(expr: Expr) -> Expr {
    Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(expr) }
}

/// An integer constant, as int4: DataFusion takes all for bigint.
fn marked(number: Expr) -> Expr {
    Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(number),
        data_type: DataType::Int(None),
        array: false,
        format: None,
    }
}

/// The number in a constant that [`marked`] made.
fn unmarked(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Cast { kind: CastKind::Cast, expr, data_type: DataType::Int(None), .. } => {
            match expr.as_ref() {
                Expr::Value(value) => match &value.value {
                    Value::Number(text, _) => Some(text),
                    _ => None,
                },
                _ => None,
            }
        }
        _ => None,
    }
}

/// Constants that say a place or a count stay plain numbers.
fn unmark(expr: &mut Expr) {
    if let Some(text) = unmarked(expr) {
        *expr = number(text);
    }
}

impl VisitorMut for Desugar {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let old = std::mem::replace(expr, Expr::Value(Value::Null.with_empty_span()));
        *expr = desugared(old);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let Some(order_by) = &mut query.order_by
            && let OrderByKind::Expressions(exprs) = &mut order_by.kind
        {
            exprs.iter_mut().for_each(|order| unmark(&mut order.expr));
        }
        match &mut query.limit_clause {
            Some(LimitClause::LimitOffset { limit, offset, .. }) => {
                limit.iter_mut().for_each(unmark);
                offset.iter_mut().for_each(|offset| unmark(&mut offset.value));
            }
            Some(LimitClause::OffsetCommaLimit { offset, limit }) => {
                unmark(offset);
                unmark(limit);
            }
            None => {}
        }
        if let Some(fetch) = &mut query.fetch {
            fetch.quantity.iter_mut().for_each(unmark);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        if let GroupByExpr::Expressions(exprs, _) = &mut select.group_by {
            exprs.iter_mut().for_each(unmark);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        let unmark_argument = |argument: &mut FunctionArg| {
            if let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = argument {
                unmark(expr);
            }
        };
        match factor {
            TableFactor::Table { args: Some(args), .. } => {
                args.args.iter_mut().for_each(unmark_argument);
            }
            TableFactor::Function { args, .. } => args.iter_mut().for_each(unmark_argument),
            _ => {}
        }
        if let Some(array) = array_of_set(factor) {
            *factor = array;
        }
        name_items(factor);
        number_items(factor);
        ControlFlow::Continue(())
    }
}

/// A set that FROM names as an array that is taken apart there. Long series of integers stay
/// DataFusion's, which does not keep them in memory; but their column is called as theirs is.
fn array_of_set(factor: &TableFactor) -> Option<TableFactor> {
    let TableFactor::Table { name, alias, args: Some(args), with_ordinality, .. } = factor else {
        return None;
    };
    let name = name.to_string().to_ascii_lowercase();
    let arguments = args
        .args
        .iter()
        .map(|argument| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
            _ => None,
        })
        .collect::<Option<Vec<_>>>()?;
    let constant = |expr: &Expr| match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => digits.parse::<i64>().ok(),
            _ => None,
        },
        _ => None,
    };
    let mut alias = alias.clone().unwrap_or_else(|| ast::TableAlias {
        explicit: false,
        name: Ident::new(name.clone()),
        columns: Vec::new(),
        at: None,
    });
    if alias.columns.is_empty() && !with_ordinality {
        alias.columns.push(ast::TableAliasColumnDef { name: alias.name.clone(), data_type: None });
    }
    let array = match name.as_str() {
        "generate_series" => {
            let ends = arguments.iter().take(2).filter_map(constant).collect::<Vec<_>>();
            if let [from, to] = ends.as_slice()
                && from.abs_diff(*to) > SERIES_IN_MEMORY_MAX
                && !with_ordinality
            {
                let mut series = factor.clone();
                if let TableFactor::Table { alias: called, .. } = &mut series {
                    *called = Some(alias);
                }
                return Some(series);
            }
            // Short integers are int4 again.
            let arguments = arguments.into_iter().map(desugared).collect();
            call("generate_series", arguments)
        }
        set if SETS.contains(&set) => call(set, arguments),
        _ => return None,
    };
    Some(TableFactor::UNNEST {
        alias: Some(alias),
        array_exprs: vec![array],
        with_offset: false,
        with_offset_alias: None,
        with_ordinality: *with_ordinality,
    })
}

/// `unnest(…) AS x`: the one column is called as the relation is.
fn name_items(factor: &mut TableFactor) {
    if let TableFactor::UNNEST { alias: Some(alias), array_exprs, with_ordinality: false, .. } =
        factor
        && array_exprs.len() == 1
        && alias.columns.is_empty()
    {
        let name = alias.name.clone();
        alias.columns.push(ast::TableAliasColumnDef { name, data_type: None });
    }
}

/// WITH ORDINALITY: the numbers are an array beside the first.
fn number_items(factor: &mut TableFactor) {
    let TableFactor::UNNEST { array_exprs, with_ordinality, .. } = factor else {
        return;
    };
    if *with_ordinality {
        let bigint = |expr: Expr| call(&cast_name(PgType::Int8), vec![expr]);
        let lengths = array_exprs.iter().map(|array| call("cardinality", vec![array.clone()]));
        let count = bigint(call("greatest", lengths.collect()));
        array_exprs.push(call("generate_series", vec![bigint(marked(number("1"))), count]));
        *with_ordinality = false;
    }
}

/// Longest series of integers that is made as an array.
const SERIES_IN_MEMORY_MAX: u64 = 100_000;

/// Whether a number that is written down has an exponent, or more digits than 38.
fn is_long(digits: &str) -> bool {
    digits.len() > 38 || digits.contains(['e', 'E'])
}

fn desugared(expr: Expr) -> Expr {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, false) if digits.parse::<i32>().is_ok() => {
                marked(Expr::Value(value))
            }
            // DataFusion's decimals end there.
            Value::Number(digits, false) if is_long(digits) => {
                call(&cast_name(PgType::Numeric), vec![text(digits.clone())])
            }
            _ => Expr::Value(value),
        },
        Expr::BinaryOp { left, op, right } => binary(*left, op, *right),
        Expr::UnaryOp { op, expr } => unary(op, *expr),
        Expr::IsDistinctFrom(left, right) if !is_row(&left, &right) => {
            call(DISTINCT, vec![*left, *right])
        }
        Expr::IsNotDistinctFrom(left, right) if !is_row(&left, &right) => {
            call(NOT_DISTINCT, vec![*left, *right])
        }
        Expr::Cast {
            kind: CastKind::Cast | CastKind::DoubleColon,
            expr,
            data_type,
            array,
            format,
        } => cast(*expr, data_type, array, format),
        Expr::TypedString(typed) => match pg_type(&typed.data_type) {
            Some(to) => match typed.value.clone().into_string() {
                Some(value) => call(&cast_name(to), vec![text(value)]),
                None => Expr::TypedString(typed),
            },
            None => Expr::TypedString(typed),
        },
        Expr::Interval(interval) => {
            let value = match (*interval.value, &interval.leading_field) {
                (Expr::Value(value), Some(field)) => match value.clone().value.into_string() {
                    Some(value) => text(format!("{value} {field}")),
                    None => Expr::Value(value),
                },
                (value, _) => value,
            };
            call(&cast_name(PgType::Interval), vec![value])
        }
        Expr::Extract { field, expr, .. } => {
            let field = field.to_string();
            call("extract", vec![text(field.trim_matches(['"', '\'']).to_lowercase()), *expr])
        }
        Expr::AtTimeZone { timestamp, time_zone } => call("timezone", vec![*time_zone, *timestamp]),
        Expr::Substring { expr, substring_from, substring_for, .. } => {
            let mut arguments = vec![*expr];
            arguments.push(substring_from.map_or_else(|| marked(number("1")), |from| *from));
            arguments.extend(substring_for.map(|count| *count));
            call("substring", arguments)
        }
        Expr::Trim { expr, trim_where, trim_what, trim_characters } => {
            let name = match trim_where {
                Some(TrimWhereField::Leading) => "ltrim",
                Some(TrimWhereField::Trailing) => "rtrim",
                _ => "btrim",
            };
            let mut arguments = vec![*expr];
            arguments.extend(trim_what.map(|what| *what));
            arguments.extend(trim_characters.into_iter().flatten());
            call(name, arguments)
        }
        Expr::Position { expr, r#in } => call("position", vec![*r#in, *expr]),
        Expr::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
            let mut arguments = vec![*expr, *overlay_what, *overlay_from];
            arguments.extend(overlay_for.map(|count| *count));
            call("overlay", arguments)
        }
        Expr::Ceil { expr, .. } => call("ceil", vec![*expr]),
        Expr::Floor { expr, .. } => call("floor", vec![*expr]),
        Expr::Like { negated, any: false, expr, pattern, escape_char: Some(escape) } => {
            let pattern = Box::new(call("like_escape", vec![*pattern, Expr::Value(escape)]));
            Expr::Like { negated, any: false, expr, pattern, escape_char: None }
        }
        Expr::ILike { negated, any: false, expr, pattern, escape_char: Some(escape) } => {
            let pattern = Box::new(call("like_escape", vec![*pattern, Expr::Value(escape)]));
            Expr::ILike { negated, any: false, expr, pattern, escape_char: None }
        }
        Expr::SimilarTo { negated: not, expr, pattern, escape_char: None } => {
            let matched = call("similar to", vec![*expr, *pattern]);
            if not { negated(matched) } else { matched }
        }
        Expr::AnyOp { left, compare_op, right, is_some } => match *right {
            Expr::Subquery(query) => {
                Expr::AnyOp { left, compare_op, right: Box::new(Expr::Subquery(query)), is_some }
            }
            right => call(&format!("any {}", operator(&compare_op)), vec![*left, right]),
        },
        Expr::AllOp { left, compare_op, right } => match *right {
            Expr::Subquery(query) => {
                Expr::AllOp { left, compare_op, right: Box::new(Expr::Subquery(query)) }
            }
            right => call(&format!("all {}", operator(&compare_op)), vec![*left, right]),
        },
        Expr::Array(array) => call("array", array.elem),
        Expr::CompoundFieldAccess { root, access_chain } => access(*root, access_chain),
        Expr::Case {
            operand: Some(operand),
            mut conditions,
            else_result,
            case_token,
            end_token,
        } => {
            for when in &mut conditions {
                let condition = std::mem::replace(&mut when.condition, text(""));
                when.condition = call("=", vec![(*operand).clone(), condition]);
            }
            Expr::Case { operand: None, conditions, else_result, case_token, end_token }
        }
        Expr::Function(function) => function_call(function),
        other => other,
    }
}

fn is_row(left: &Expr, right: &Expr) -> bool {
    matches!(left, Expr::Tuple(_)) || matches!(right, Expr::Tuple(_))
}

/// The operator as a name.
fn operator(op: &BinaryOperator) -> String {
    match op {
        BinaryOperator::PGCustomBinaryOperator(parts) => parts.last().cloned().unwrap_or_default(),
        other => match other.to_string().as_str() {
            "!=" => "<>".to_owned(),
            other => other.to_owned(),
        },
    }
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    if let (BinaryOperator::Overlaps, Expr::Tuple(from), Expr::Tuple(to)) = (&op, &left, &right) {
        return call("overlaps", from.iter().chain(to).cloned().collect());
    }
    let like = |not: bool, ignores_case: bool, left: Expr, right: Expr| {
        let (expr, pattern) = (Box::new(left), Box::new(right));
        if ignores_case {
            Expr::ILike { negated: not, any: false, expr, pattern, escape_char: None }
        } else {
            Expr::Like { negated: not, any: false, expr, pattern, escape_char: None }
        }
    };
    let has_row = is_row(&left, &right);
    match op {
        BinaryOperator::And | BinaryOperator::Or | BinaryOperator::Xor => {
            Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
        }
        BinaryOperator::PGLikeMatch => like(false, false, left, right),
        BinaryOperator::PGILikeMatch => like(false, true, left, right),
        BinaryOperator::PGNotLikeMatch => like(true, false, left, right),
        BinaryOperator::PGNotILikeMatch => like(true, true, left, right),
        op if has_row => Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) },
        op => call(&operator(&op), vec![left, right]),
    }
}

fn unary(op: UnaryOperator, expr: Expr) -> Expr {
    let name = match op {
        UnaryOperator::Minus => {
            return match unmarked(&expr) {
                Some(digits) if !digits.starts_with('-') => marked(number(format!("-{digits}"))),
                _ => match negative(&expr) {
                    Some(constant) => constant,
                    None => call("-", vec![expr]),
                },
            };
        }
        UnaryOperator::Plus => "+",
        UnaryOperator::BitwiseNot => "~",
        UnaryOperator::PGSquareRoot => "|/",
        UnaryOperator::PGCubeRoot => "||/",
        UnaryOperator::PGAbs => "@",
        other => return Expr::UnaryOp { op: other, expr: Box::new(expr) },
    };
    call(name, vec![expr])
}

/// A constant with a minus before it is one constant: the smallest integers have no positive.
fn negative(expr: &Expr) -> Option<Expr> {
    let Expr::Value(value) = expr else {
        return None;
    };
    let Value::Number(digits, _) = &value.value else {
        return None;
    };
    let text = format!("-{digits}");
    match text.parse::<i64>() {
        Ok(value) if i32::try_from(value).is_ok() => Some(marked(number(text))),
        Ok(_) => Some(number(text)),
        Err(_) => None,
    }
}

fn cast(expr: Expr, data_type: DataType, array: bool, format: Option<ast::CastFormat>) -> Expr {
    let Some(to) = pg_type(&data_type).filter(|_| !array && format.is_none()) else {
        let kind = CastKind::Cast;
        return Expr::Cast { kind, expr: Box::new(expr), data_type, array, format };
    };
    let whole = call(&cast_name(to), vec![expr]);
    match data_type {
        DataType::Numeric(info) | DataType::Decimal(info) => match info {
            ExactNumberInfo::None => whole,
            ExactNumberInfo::Precision(precision) => {
                digits(whole, precision.to_string(), "0".to_owned())
            }
            ExactNumberInfo::PrecisionAndScale(precision, scale) => {
                digits(whole, precision.to_string(), scale.to_string())
            }
        },
        DataType::Varchar(Some(length))
        | DataType::CharacterVarying(Some(length))
        | DataType::Char(Some(length))
        | DataType::Character(Some(length)) => match length {
            ast::CharacterLength::IntegerLength { length, .. } => {
                call("left", vec![whole, marked(number(length.to_string()))])
            }
            ast::CharacterLength::Max => whole,
        },
        _ => whole,
    }
}

fn digits(value: Expr, precision: String, scale: String) -> Expr {
    call("numeric digits", vec![value, marked(number(precision)), marked(number(scale))])
}

/// The type that a name in SQL means; none for those of the system catalogue.
fn pg_type(data_type: &DataType) -> Option<PgType> {
    use PgType::*;
    Some(match data_type {
        DataType::Boolean | DataType::Bool => Bool,
        DataType::SmallInt(_) | DataType::Int2(_) => Int2,
        DataType::Int(_) | DataType::Integer(_) | DataType::Int4(_) => Int4,
        DataType::BigInt(_) | DataType::Int8(_) => Int8,
        DataType::Real | DataType::Float4 => Float4,
        DataType::Double(_) | DataType::DoublePrecision | DataType::Float8 => Float8,
        DataType::Float(info) => match info {
            ExactNumberInfo::Precision(1..=24) => Float4,
            _ => Float8,
        },
        DataType::Numeric(_) | DataType::Decimal(_) | DataType::Dec(_) => Numeric,
        DataType::Text
        | DataType::Varchar(_)
        | DataType::CharacterVarying(_)
        | DataType::Char(_)
        | DataType::Character(_)
        | DataType::String(_) => Text,
        DataType::Bytea => Bytea,
        DataType::Date => Date,
        DataType::Timestamp(_, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz) => Timestamptz,
        DataType::Timestamp(..) => Timestamp,
        DataType::Time(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => Time,
        DataType::Interval { .. } => Interval,
        DataType::Uuid => Uuid,
        DataType::JSON => Json,
        DataType::JSONB => Jsonb,
        DataType::Array(ast::ArrayElemTypeDef::SquareBracket(item, _)) => pg_type(item)?.array(),
        DataType::Custom(name, _) => match name.to_string().to_ascii_lowercase().as_str() {
            "name" | "bpchar" => Text,
            "timestamptz" => Timestamptz,
            _ => return None,
        },
        _ => return None,
    })
}

fn access(root: Expr, chain: Vec<AccessExpr>) -> Expr {
    let is_subscript = |access: &AccessExpr| {
        matches!(
            access,
            AccessExpr::Subscript(Subscript::Index { .. } | Subscript::Slice { stride: None, .. })
        )
    };
    if !chain.iter().all(is_subscript) {
        return Expr::CompoundFieldAccess { root: Box::new(root), access_chain: chain };
    }
    chain.into_iter().fold(root, |value, access| match access {
        AccessExpr::Subscript(Subscript::Index { index }) => call("subscript", vec![value, index]),
        AccessExpr::Subscript(Subscript::Slice { lower_bound, upper_bound, .. }) => {
            let from = lower_bound.unwrap_or_else(|| marked(number("1")));
            let to = upper_bound.unwrap_or_else(|| marked(number(i32::MAX.to_string())));
            call("slice", vec![value, from, to])
        }
        AccessExpr::Dot(_) => value,
    })
}

/// Functions that give sets: arrays here, taken apart where they stand.
const SETS: [&str; 5] = [
    "generate_series",
    "jsonb_path_query",
    "jsonb_array_elements",
    "jsonb_array_elements_text",
    "jsonb_object_keys",
];

/// Aggregates that make one value of an array of all: DataFusion gathers the array, in its order.
fn collecting(name: &str, function: &Function) -> Option<Expr> {
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    let gathered = |argument: &FunctionArg| {
        let mut list = list.clone();
        list.args = vec![argument.clone()];
        let name = ObjectName::from(vec![Ident::new("array_agg")]);
        Expr::Function(Function { name, args: FunctionArguments::List(list), ..function.clone() })
    };
    let plain = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    };
    match (name, list.args.as_slice()) {
        ("string_agg", [value, separator]) => {
            Some(call("joined", vec![gathered(value), plain(separator)?]))
        }
        ("json_agg" | "jsonb_agg", [value]) => {
            Some(call(&format!("{name} of"), vec![gathered(value)]))
        }
        ("json_object_agg" | "jsonb_object_agg", [key, value]) => {
            Some(call(&format!("{name} of"), vec![gathered(key), gathered(value)]))
        }
        ("percentile_cont" | "percentile_disc" | "mode", direct) => {
            let [order] = function.within_group.as_slice() else {
                return None;
            };
            let mut arguments = direct.iter().map(plain).collect::<Option<Vec<_>>>()?;
            let mut list = list.clone();
            list.args = vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(order.expr.clone()))];
            list.clauses = vec![FunctionArgumentClause::OrderBy(vec![order.clone()])];
            let name_of_array = ObjectName::from(vec![Ident::new("array_agg")]);
            arguments.push(Expr::Function(Function {
                name: name_of_array,
                args: FunctionArguments::List(list),
                within_group: Vec::new(),
                ..function.clone()
            }));
            Some(call(&format!("{name} of"), arguments))
        }
        ("every", [value]) => {
            let name = ObjectName::from(vec![Ident::new("bool_and")]);
            let mut list = list.clone();
            list.args = vec![value.clone()];
            Some(Expr::Function(Function {
                name,
                args: FunctionArguments::List(list),
                ..function.clone()
            }))
        }
        _ => None,
    }
}

const MAKE_INTERVAL: [&str; 7] = ["years", "months", "weeks", "days", "hours", "mins", "secs"];

fn set_place(places: &mut [Expr], name: &str, value: &Expr) {
    let found = MAKE_INTERVAL.iter().position(|place| place.eq_ignore_ascii_case(name));
    if let Some(at) = found {
        places[at] = value.clone();
    }
}

/// `ARRAY(SELECT …)`: the subquery gathers its one column in its order. None for a subquery whose
/// order is not that of its rows: after DISTINCT, groups and set operations.
fn array_of_rows(query: &Query) -> Option<Expr> {
    let mut query = query.clone();
    let ast::SetExpr::Select(select) = query.body.as_mut() else {
        return None;
    };
    let is_plain = query.with.is_none()
        && query.limit_clause.is_none()
        && query.fetch.is_none()
        && select.distinct.is_none()
        && select.having.is_none()
        && matches!(&select.group_by, GroupByExpr::Expressions(exprs, _) if exprs.is_empty());
    let [ast::SelectItem::UnnamedExpr(item) | ast::SelectItem::ExprWithAlias { expr: item, .. }] =
        select.projection.as_slice()
    else {
        return None;
    };
    let item = item.clone();
    let order = match query.order_by.take().map(|order_by| order_by.kind) {
        None => Vec::new(),
        Some(OrderByKind::Expressions(mut exprs)) => {
            // ORDER BY 1 is the column.
            for order in &mut exprs {
                if matches!(&order.expr, Expr::Value(value) if matches!(&value.value, Value::Number(..)))
                {
                    order.expr = item.clone();
                }
            }
            exprs
        }
        Some(OrderByKind::All(_)) => return None,
    };
    if !is_plain {
        return None;
    }
    let clauses = match order.is_empty() {
        true => Vec::new(),
        false => vec![FunctionArgumentClause::OrderBy(order)],
    };
    let Expr::Function(mut gathered) = plain_call("array_agg", vec![item]) else {
        return None;
    };
    if let FunctionArguments::List(list) = &mut gathered.args {
        list.clauses = clauses;
    }
    select.projection = vec![ast::SelectItem::UnnamedExpr(Expr::Function(gathered))];
    // Without rows it is empty, not null.
    let empty = text("{}");
    Some(call("coalesce", vec![Expr::Subquery(Box::new(query)), empty]))
}

fn function_call(mut function: Function) -> Expr {
    // pg_catalog.lower(x) is lower(x).
    if let [schema, name] = function.name.0.as_slice()
        && schema.as_ident().is_some_and(|ident| ident.value.eq_ignore_ascii_case("pg_catalog"))
        && name
            .as_ident()
            .is_some_and(|ident| FUNCTIONS.contains_key(ident.value.to_ascii_lowercase().as_str()))
    {
        function.name = ObjectName(vec![name.clone()]);
    }
    let name = function.name.to_string().to_ascii_lowercase();
    if name == "make_interval"
        && let FunctionArguments::List(list) = &mut function.args
    {
        let mut places: Vec<Expr> = (0..6).map(|_| marked(number("0"))).collect();
        places.push(call(&cast_name(PgType::Float8), vec![text("0")]));
        for (at, argument) in list.args.iter().enumerate() {
            match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) if at < 7 => {
                    places[at] = expr.clone();
                }
                FunctionArg::Named { name, arg: FunctionArgExpr::Expr(expr), .. } => {
                    set_place(&mut places, &name.value, expr);
                }
                FunctionArg::ExprNamed {
                    name: Expr::Identifier(name),
                    arg: FunctionArgExpr::Expr(expr),
                    ..
                } => set_place(&mut places, &name.value, expr),
                _ => {}
            }
        }
        return call("make_interval", places);
    }
    if let ("array", FunctionArguments::Subquery(query)) = (name.as_str(), &function.args) {
        return match array_of_rows(query) {
            Some(array) => array,
            None => Expr::Function(function),
        };
    }
    if let Some(collected) = collecting(&name, &function) {
        return collected;
    }
    let is_ours =
        FUNCTIONS.contains_key(name.as_str()) || matches!(name.as_str(), "coalesce" | "nullif");
    if is_ours && function.over.is_none() {
        function.name = ObjectName::from(vec![Ident::with_quote('"', format!("{PREFIX}{name}"))]);
    }
    if SETS.contains(&name.as_str()) {
        return plain_call("unnest", vec![Expr::Function(function)]);
    }
    if let Some(WindowType::WindowSpec(window)) = &mut function.over
        && let Some(frame) = &mut window.window_frame
    {
        for bound in std::iter::once(&mut frame.start_bound).chain(&mut frame.end_bound) {
            if let WindowFrameBound::Preceding(Some(expr))
            | WindowFrameBound::Following(Some(expr)) = bound
            {
                unmark(expr);
            }
        }
    }
    // How far lag and lead look, and what ntile and nth_value count, are plain numbers.
    if function.over.is_some()
        && matches!(name.as_str(), "lag" | "lead" | "ntile" | "nth_value")
        && let FunctionArguments::List(list) = &mut function.args
    {
        let from = usize::from(name != "ntile");
        for argument in list.args.iter_mut().skip(from).take(1) {
            if let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = argument {
                unmark(expr);
            }
        }
    }
    Expr::Function(function)
}
