//! Whether the expressions of a definition can be computed, and give what they are for.

use super::complete::default_of;
use super::encode::assigned;
use super::rules::row_fields;
use super::stored::{Stored, parsed};
use super::target::Target;
use crate::error::{Error, sqlstate};
use crate::plan::PlanContext;
use crate::rows::write_json_value;
use crate::sequences::relation_name;
use crate::sql::Sql;
use anabranch_engine::{Column, Filled, Stream};
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::{Expr, Volatility};
use datafusion::sql::sqlparser::ast::{self, visit_expressions};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Checks the defaults, generated columns and constraints of a stream as it is to be. `made` are
/// sequences that come with it.
pub(crate) fn validate(
    sql: &Sql,
    context: &PlanContext,
    stream: &Stream,
    made: &[String],
) -> Result<(), Error> {
    let target = Target::of(Arc::new(stream.clone()));
    let row = row_fields(&target);
    for column in &stream.columns {
        if let Some(Filled::Generated(text)) = &column.filled {
            generated(sql, context, stream, column, text, &row)?;
        } else if let Some(expr) = default_of(column)? {
            let default = default(sql, context, column, expr)?;
            for name in &default.sequences {
                let name = relation_name(name);
                if !made.contains(&name) {
                    sql.engine().sequence(&name)?;
                }
            }
            if default.sequences.is_empty() {
                constant(sql, &target, column, &default)?;
            }
        }
    }
    for check in &stream.checks {
        check_constraint(sql, context, parsed(&check.expression)?, &row)?;
    }
    Ok(())
}

/// What rows that there are read in a new column, as JSON: its default, where that is the same for
/// all rows.
pub(crate) fn missing_value(
    sql: &Sql,
    context: &PlanContext,
    stream: &Stream,
    column: &Column,
) -> Result<Option<String>, Error> {
    let Some(expr) = default_of(column)? else { return Ok(None) };
    let default = Stored::new(sql, context, expr, &[])?;
    if !default.sequences.is_empty() || is_at_least(default.logical(), Volatility::Volatile) {
        return Ok(None);
    }
    constant(sql, &Target::of(Arc::new(stream.clone())), column, &default).map(Some)
}

/// The value of a default as JSON.
fn constant(
    sql: &Sql,
    target: &Target,
    column: &Column,
    default: &Stored,
) -> Result<String, Error> {
    let written = target.column(&column.name)?;
    let nullable = super::target::Written { not_null: false, ..written };
    let value = assigned(target, &nullable, &default.values(sql, Vec::new(), 1)?)?;
    let mut json = Vec::new();
    write_json_value(&value, 0, &nullable.field, &mut json)?;
    String::from_utf8(json).map_err(|error| Error::internal(error.to_string()))
}

fn default(
    sql: &Sql,
    context: &PlanContext,
    column: &Column,
    expr: ast::Expr,
) -> Result<Stored, Error> {
    refuse_subqueries(&expr, "DEFAULT expression")?;
    let stored = Stored::new(sql, context, expr, &[]).map_err(|error| match error.sqlstate {
        sqlstate::UNDEFINED_COLUMN => {
            Error::unsupported("cannot use column reference in DEFAULT expression")
        }
        _ => error,
    })?;
    refuse_aggregates(&stored, "DEFAULT expressions")?;
    let of = stored.data_type()?;
    if !is_assignable(&of, stored.logical(), column) {
        return Err(mismatch(column, "default expression", &of));
    }
    Ok(stored)
}

fn generated(
    sql: &Sql,
    context: &PlanContext,
    stream: &Stream,
    column: &Column,
    text: &str,
    row: &[FieldRef],
) -> Result<(), Error> {
    // PostgreSQL 15, appendix A: invalid_object_definition.
    let invalid = |message: String| Error::new("42P17", message);
    let expr = parsed(text)?;
    refuse_subqueries(&expr, "column generation expression")?;
    let stored = Stored::new(sql, context, expr, row)?;
    refuse_aggregates(&stored, "column generation expressions")?;
    for name in stored.logical().column_refs() {
        let other = stream.columns.iter().find(|other| other.name == name.name);
        if other.is_some_and(|other| matches!(other.filled, Some(Filled::Generated(_)))) {
            return Err(invalid(format!(
                "cannot use generated column \"{}\" in column generation expression",
                name.name
            )));
        }
    }
    if !stored.sequences.is_empty() || is_at_least(stored.logical(), Volatility::Stable) {
        return Err(invalid("generation expression is not immutable".to_owned()));
    }
    let of = stored.data_type()?;
    match is_assignable(&of, stored.logical(), column) {
        true => Ok(()),
        false => Err(mismatch(column, "generation expression", &of)),
    }
}

fn check_constraint(
    sql: &Sql,
    context: &PlanContext,
    expr: ast::Expr,
    row: &[FieldRef],
) -> Result<(), Error> {
    refuse_subqueries(&expr, "check constraint")?;
    let stored = Stored::new(sql, context, expr, row)?;
    refuse_aggregates(&stored, "check constraints")?;
    if !stored.sequences.is_empty() {
        return Err(Error::unsupported("a check constraint cannot take values of a sequence"));
    }
    match stored.data_type()? {
        DataType::Boolean | DataType::Null => Ok(()),
        other => Err(Error::new(
            sqlstate::DATATYPE_MISMATCH,
            format!("argument of CHECK must be type boolean, not type {}", type_name(&other)),
        )),
    }
}

fn refuse_subqueries(expr: &ast::Expr, what: &str) -> Result<(), Error> {
    let found = visit_expressions(expr, |expr| match expr {
        ast::Expr::Subquery(_) | ast::Expr::InSubquery { .. } | ast::Expr::Exists { .. } => {
            ControlFlow::Break("cannot use subquery in")
        }
        ast::Expr::Value(value) if matches!(value.value, ast::Value::Placeholder(_)) => {
            ControlFlow::Break("there are no parameters in")
        }
        _ => ControlFlow::Continue(()),
    });
    match found {
        ControlFlow::Break(message) => Err(Error::unsupported(format!("{message} {what}"))),
        ControlFlow::Continue(()) => Ok(()),
    }
}

fn refuse_aggregates(stored: &Stored, what: &str) -> Result<(), Error> {
    let is_aggregate =
        |expr: &Expr| matches!(expr, Expr::AggregateFunction(_) | Expr::WindowFunction(_));
    if stored.logical().exists(|expr| Ok(is_aggregate(expr)))? {
        // PostgreSQL 15, appendix A: grouping_error.
        return Err(Error::new("42803", format!("aggregate functions are not allowed in {what}")));
    }
    Ok(())
}

fn is_at_least(expr: &Expr, volatility: Volatility) -> bool {
    let reaches = |of: Volatility| {
        of == Volatility::Volatile || (volatility == Volatility::Stable && of == Volatility::Stable)
    };
    let found = expr.exists(|expr| {
        Ok(matches!(expr, Expr::ScalarFunction(function)
            if reaches(function.func.signature().volatility)))
    });
    found.unwrap_or(true)
}

/// PostgreSQL's assignment casts by kinds of types (PostgreSQL 15, 10.4); a string without a type
/// may be anything.
fn is_assignable(from: &DataType, expr: &Expr, column: &Column) -> bool {
    let to = crate::rows::arrow_type(column.data_type);
    let untyped = matches!(expr, Expr::Literal(..)) && kind(from) == Kind::Text;
    untyped || from.is_null() || kind(&to) == Kind::Text || kind(from) == kind(&to)
}

#[derive(PartialEq, Eq)]
enum Kind {
    Boolean,
    Number,
    Text,
    Time,
    Other,
}

fn kind(of: &DataType) -> Kind {
    match of {
        DataType::Boolean => Kind::Boolean,
        DataType::Utf8 | DataType::Utf8View => Kind::Text,
        // LargeBinary is numeric (anabranch_semantics).
        DataType::LargeBinary => Kind::Number,
        _ if of.is_numeric() => Kind::Number,
        _ if of.is_temporal() => Kind::Time,
        _ => Kind::Other,
    }
}

fn mismatch(column: &Column, what: &str, of: &DataType) -> Error {
    let to = crate::rows::arrow_type(column.data_type);
    Error::new(
        sqlstate::DATATYPE_MISMATCH,
        format!(
            "column \"{}\" is of type {} but {what} is of type {}",
            column.name,
            type_name(&to),
            type_name(of)
        ),
    )
    .hint("rewrite or cast the expression")
}

fn type_name(of: &DataType) -> String {
    match crate::plan::sql_type(of) {
        Some(name) => name.to_string().to_lowercase(),
        None => of.to_string(),
    }
}
