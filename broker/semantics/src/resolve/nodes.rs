//! The nodes of a plan, each with its expressions.

use super::{coerce, common, correlated, equality, resolve_expr, settled, type_of};
use crate::types::PgType;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result;
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Union};

/// Resolves all calls of `plan`, and of the plans in it.
///
/// # Errors
/// PostgreSQL's, where there is no such function or cast.
pub fn resolve(plan: LogicalPlan) -> Result<LogicalPlan> {
    Ok(plan.transform_up_with_subqueries(node)?.data)
}

fn node(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    match node {
        LogicalPlan::Union(union) => return union_of(union).map(Transformed::yes),
        LogicalPlan::Values(values) => {
            return values_of(values.values, &values.schema).map(Transformed::yes);
        }
        LogicalPlan::Limit(_) => return limit_of(node),
        _ => {}
    }
    let inputs = node.inputs();
    let schema =
        if inputs.is_empty() { node.schema().as_ref().clone() } else { merge_schema(&inputs) };
    let names = NamePreserver::new(&node);
    let resolved = node.map_expressions(|expr| {
        let name = names.save(&expr);
        let resolved = resolve_expr(expr, &schema)?;
        Ok(resolved.update_data(|expr| name.restore(expr)))
    })?;
    // Types of inputs may have changed, too.
    let keyed = equality::keyed(resolved.data.recompute_schema()?)?;
    Ok(Transformed::yes(correlated::taken_apart(keyed)?))
}

/// Counts are bigint, also where a parameter is said to be of another type.
fn limit_of(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let schema = DFSchema::empty();
    node.map_expressions(|expr| {
        let resolved = resolve_expr(expr, &schema)?.data;
        let from = type_of(&resolved, &schema)?;
        Ok(Transformed::yes(match from {
            PgType::Int8 => resolved,
            from => assigned(resolved, from, PgType::Int8)?,
        }))
    })
}

fn assigned(expr: Expr, from: PgType, to: PgType) -> Result<Expr> {
    let coerced = coerce(expr, from, to)?;
    // A constant is needed: the plan's size depends on it.
    Ok(match coerced {
        Expr::ScalarFunction(_) => Expr::Cast(Cast::new(Box::new(coerced), to.arrow())),
        other => other,
    })
}

/// The columns of all inputs in the types that they have in common.
fn union_of(union: Union) -> Result<LogicalPlan> {
    let columns = union.schema.fields().len();
    let mut wanted = Vec::with_capacity(columns);
    for at in 0..columns {
        let types: Vec<_> = union
            .inputs
            .iter()
            .filter_map(|input| input.schema().fields().get(at))
            .map(|field| PgType::of_field(field))
            .collect();
        wanted.push(common(&types)?);
    }
    let inputs = equality::alike(union.inputs, &wanted)?;
    Ok(LogicalPlan::Union(Union::try_new_with_loose_types(inputs)?))
}

fn values_of(rows: Vec<Vec<Expr>>, schema: &DFSchema) -> Result<LogicalPlan> {
    let empty = DFSchema::empty();
    let mut rows = rows
        .into_iter()
        .map(|row| {
            row.into_iter()
                .map(|expr| Ok(resolve_expr(expr, &empty)?.data))
                .collect::<Result<Vec<_>>>()
        })
        .collect::<Result<Vec<_>>>()?;
    for at in 0..schema.fields().len() {
        let types = rows.iter().map(|row| type_of(&row[at], &empty)).collect::<Result<Vec<_>>>()?;
        let of = common(&types)?;
        for (row, from) in rows.iter_mut().zip(types) {
            row[at] = settled(row[at].clone(), from, of)?;
        }
    }
    LogicalPlanBuilder::values(rows)?.build()
}
