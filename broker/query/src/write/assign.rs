//! `SET column = …`: of UPDATE, and of ON CONFLICT DO UPDATE.

use super::complete::{default_value, is_default};
use super::target::{Role, Target, Written};
use crate::error::{Error, sqlstate};
use crate::rows::{patched, write_json_value};
use crate::statement::folded;
use anabranch_engine::{Column, Filled};
use bytes::Bytes;
use datafusion::arrow::array::ArrayRef;
use datafusion::sql::sqlparser::ast::{
    Assignment, AssignmentTarget, Expr, ObjectName, Query, SelectItem, SetExpr, visit_expressions,
};
use std::ops::ControlFlow;

/// The columns that are set, and to what.
pub(super) fn assignments(
    target: &Target,
    all: Vec<Assignment>,
) -> Result<Vec<(Written, Expr)>, Error> {
    let mut out: Vec<(Written, Expr)> = Vec::new();
    for Assignment { target: to, value } in all {
        let pairs = match to {
            AssignmentTarget::ColumnName(name) => vec![(name, value)],
            AssignmentTarget::Tuple(names) => {
                let values = row_of(value, names.len())?;
                names.into_iter().zip(values).collect()
            }
        };
        for (name, value) in pairs {
            let column = column(target, &name)?;
            let value = value_of(target, &column, value)?;
            if out.iter().any(|(other, _)| other.field.name() == column.field.name()) {
                return Err(Error::syntax(format!(
                    "multiple assignments to same column \"{}\"",
                    column.field.name()
                )));
            }
            out.push((column, value));
        }
    }
    Ok(out)
}

/// DEFAULT is what the column says; what is computed is not given.
fn value_of(target: &Target, column: &Written, value: Expr) -> Result<Expr, Error> {
    let declared = target.declared(column.field.name());
    if is_default(&value) {
        return default_value(declared);
    }
    let computes = |column: &Column| {
        matches!(column.filled, Some(Filled::Generated(_) | Filled::Identity { always: true, .. }))
    };
    if declared.is_some_and(computes) {
        let name = column.field.name();
        let message = format!("column \"{name}\" can only be updated to DEFAULT");
        return Err(Error::new("428C9", message));
    }
    Ok(value)
}

fn column(target: &Target, name: &ObjectName) -> Result<Written, Error> {
    match name.0.last().and_then(|part| part.as_ident()) {
        Some(ident) => target.column(&folded(ident)),
        None => Err(Error::syntax(format!("{name} is not the name of a column"))),
    }
}

/// The expressions that `(a, b) = …` sets columns to.
fn row_of(value: Expr, width: usize) -> Result<Vec<Expr>, Error> {
    let values = match value {
        Expr::Tuple(values) => values,
        Expr::Nested(inner) => vec![*inner],
        Expr::Subquery(query) => columns_of(&query)?,
        other => {
            return Err(Error::unsupported(format!(
                "source for a multiple-column UPDATE item must be a sub-SELECT or ROW() \
                 expression, not {other}"
            )));
        }
    };
    match values.len() == width {
        true => Ok(values),
        false => Err(Error::syntax("number of columns does not match number of values")),
    }
}

/// A subquery for each column of `query`.
fn columns_of(query: &Query) -> Result<Vec<Expr>, Error> {
    let SetExpr::Select(select) = query.body.as_ref() else {
        return Err(Error::unsupported("(a, b) = takes a plain SELECT"));
    };
    // Without GROUP BY, aggregates make one row of any number, and what is beside them is the same
    // for all of them.
    let one_row = select.projection.iter().any(has_aggregate);
    select
        .projection
        .iter()
        .map(|item| {
            if !matches!(item, SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. }) {
                return Err(
                    Error::unsupported("(a, b) = (SELECT …) takes no *").hint("name the columns")
                );
            }
            let mut one = query.clone();
            if let SetExpr::Select(select) = one.body.as_mut() {
                select.projection = vec![item.clone()];
                if one_row && !has_aggregate(item) {
                    select.from.clear();
                    select.selection = None;
                }
            }
            Ok(Expr::Subquery(Box::new(one)))
        })
        .collect()
}

fn has_aggregate(item: &SelectItem) -> bool {
    const AGGREGATES: [&str; 24] = [
        "array_agg",
        "avg",
        "bit_and",
        "bit_or",
        "bit_xor",
        "bool_and",
        "bool_or",
        "corr",
        "count",
        "covar_pop",
        "covar_samp",
        "every",
        "json_agg",
        "json_object_agg",
        "jsonb_agg",
        "jsonb_object_agg",
        "max",
        "min",
        "stddev",
        "stddev_pop",
        "stddev_samp",
        "string_agg",
        "sum",
        "variance",
    ];
    let found = visit_expressions(item, |expr| match expr {
        Expr::Function(function) if function.over.is_none() => {
            let name = function.name.to_string().to_ascii_lowercase();
            match AGGREGATES.contains(&name.as_str()) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        }
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

/// A row's value with columns set.
pub(super) fn image(
    old: &[u8],
    columns: &[(&Written, ArrayRef)],
    row: usize,
) -> Result<Bytes, Error> {
    let mut changes = Vec::with_capacity(columns.len());
    for (column, array) in columns {
        match column.role {
            Role::RawKey => continue,
            Role::RawValue => {
                return super::encode::raw_bytes(array, row).ok_or_else(|| {
                    Error::new(
                        sqlstate::NOT_NULL_VIOLATION,
                        "a null value would delete the row: use DELETE",
                    )
                });
            }
            Role::Key(_) | Role::Field => {}
        }
        let mut value = Vec::new();
        write_json_value(array, row, &column.field, &mut value)?;
        changes.push((column.json.as_str(), value));
    }
    Ok(Bytes::from(patched(old, &changes)))
}
