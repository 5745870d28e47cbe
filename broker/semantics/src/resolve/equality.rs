//! Nodes that compare values without an operator: GROUP BY, DISTINCT, ORDER BY, windows, joins
//! by column and set operations. Where Arrow's comparison is not PostgreSQL's they get keys
//! (1.0 and 1.00 are one number, a month is thirty days, jsonb has an order of its own).

use super::{common, comparable, comparison_type, key, settled, type_of};
use crate::types::PgType;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column, DFSchema, NullEquality};
use datafusion::error::Result;
use datafusion::functions_aggregate::min_max::min_udaf;
use datafusion::logical_expr::expr::{InSubquery, Sort as SortExpr, WindowFunctionParams};
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, ExprSchemable, Join, JoinConstraint, JoinType, LogicalPlan,
    Projection, Sort, Window, WindowFrameBound, WindowFrameUnits,
};
use datafusion::scalar::ScalarValue;
use std::sync::Arc;

/// `node` with keys where it compares values.
pub(super) fn keyed(node: LogicalPlan) -> Result<LogicalPlan> {
    match node {
        LogicalPlan::Aggregate(aggregate) => groups(aggregate),
        LogicalPlan::Distinct(Distinct::All(input)) => distinct(input),
        LogicalPlan::Distinct(Distinct::On(mut on)) => {
            let schema = on.input.schema().clone();
            on.on_expr = all_keyed(on.on_expr, &schema)?;
            on.sort_expr = on.sort_expr.map(|sorts| sorted(sorts, &schema)).transpose()?;
            Ok(LogicalPlan::Distinct(Distinct::On(on)))
        }
        LogicalPlan::Sort(Sort { expr, input, fetch }) => {
            let expr = sorted(expr, input.schema())?;
            Ok(LogicalPlan::Sort(Sort { expr, input, fetch }))
        }
        LogicalPlan::Join(join) if !join.on.is_empty() => joined(join),
        LogicalPlan::Window(window) => partitions(window),
        other => Ok(other),
    }
}

/// PARTITION BY and ORDER BY of a window.
pub(super) fn window(params: &mut WindowFunctionParams, schema: &DFSchema) -> Result<()> {
    params.partition_by = all_keyed(std::mem::take(&mut params.partition_by), schema)?;
    let is_distance = |bound: &WindowFrameBound| {
        matches!(
            bound,
            WindowFrameBound::Preceding(value) | WindowFrameBound::Following(value)
                if !value.is_null()
        )
    };
    let frame = &params.window_frame;
    // What lies within a distance is computed from the values themselves.
    let by_distance = frame.units == WindowFrameUnits::Range
        && (is_distance(&frame.start_bound) || is_distance(&frame.end_bound));
    if !by_distance {
        params.order_by = sorted(std::mem::take(&mut params.order_by), schema)?;
    }
    Ok(())
}

/// Expressions with keys that are constants become columns before rows are parted by them:
/// DataFusion looks for the ranges of what it sorts by, and knows none of bytes.
fn partitions(window: Window) -> Result<LogicalPlan> {
    let has_constant_key = |expr: &Expr| {
        expr.exists(|expr| Ok(matches!(expr, Expr::Literal(ScalarValue::Binary(_), _))))
            .unwrap_or(false)
    };
    let own = window.input.schema().fields().len();
    let mut columns = Vec::new();
    let mut exprs = Vec::with_capacity(window.window_expr.len());
    for (at, expr) in window.window_expr.iter().enumerate() {
        let mut expr = expr.clone().unalias();
        if let Expr::WindowFunction(function) = &mut expr {
            for partition in &mut function.params.partition_by {
                if has_constant_key(partition) {
                    let name = format!("partition {}", columns.len());
                    let column = Expr::Column(Column::new_unqualified(&name));
                    columns.push(std::mem::replace(partition, column).unalias().alias(name));
                }
            }
        }
        let (relation, field) = window.schema.qualified_field(own + at);
        exprs.push(expr.alias_qualified(relation.cloned(), field.name()));
    }
    if columns.is_empty() {
        return Ok(LogicalPlan::Window(window));
    }
    let shown: Vec<Expr> = window.schema.iter().map(Expr::from).collect();
    let mut below: Vec<Expr> = window.input.schema().iter().map(Expr::from).collect();
    below.extend(columns);
    let input = Arc::new(LogicalPlan::Projection(Projection::try_new(below, window.input)?));
    let window = Arc::new(LogicalPlan::Window(Window::try_new(exprs, input)?));
    Ok(LogicalPlan::Projection(Projection::try_new(shown, window)?))
}

/// `x IN (SELECT y)`: both sides in the type that they have in common.
pub(super) fn in_subquery(mut subquery: InSubquery, schema: &DFSchema) -> Result<Expr> {
    let plan = subquery.subquery.subquery.clone();
    let inner = plan.schema().clone();
    let from = type_of(&subquery.expr, schema)?;
    let column = Expr::from(inner.qualified_field(0));
    let of_column = PgType::of_field(inner.field(0));
    if from == PgType::Other || of_column == PgType::Other {
        return Ok(Expr::InSubquery(subquery));
    }
    let of = comparison_type("=", from, of_column)?;
    if matches!(of, PgType::Array(_)) {
        return Ok(Expr::InSubquery(subquery));
    }
    let name = inner.field(0).name().clone();
    let outer = merged(schema, &inner);
    let (left, right) =
        comparable((*subquery.expr, from), (column.clone(), of_column), of, &outer)?;
    *subquery.expr = left;
    if right != column {
        let projection = Projection::try_new(vec![right.alias(name)], plan)?;
        subquery.subquery.subquery = Arc::new(LogicalPlan::Projection(projection));
    }
    Ok(Expr::InSubquery(subquery))
}

fn merged(left: &DFSchema, right: &DFSchema) -> DFSchema {
    let mut both = left.clone();
    both.merge(right);
    both
}

/// Whether equal values of `expr` can differ to Arrow, or come in another order.
fn needs_key(expr: &Expr, schema: &DFSchema) -> Result<Option<PgType>> {
    if matches!(expr, Expr::Placeholder(_)) {
        return Ok(None);
    }
    let of = type_of(expr, schema)?;
    Ok(match of {
        PgType::Interval | PgType::Jsonb | PgType::Float4 | PgType::Float8 => Some(of),
        PgType::Numeric => (expr.get_type(schema)? == DataType::LargeBinary).then_some(of),
        _ => None,
    })
}

/// The key of `expr`, or itself where that is one.
fn key_of(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    Ok(match needs_key(&expr, schema)? {
        None => expr,
        Some(of @ (PgType::Float4 | PgType::Float8)) => {
            key(super::coerce(expr, of, PgType::Float8)?, PgType::Float8)
        }
        Some(of) => key(expr, of),
    })
}

/// The keys of `exprs`, where they need them.
pub(super) fn all_keyed(exprs: Vec<Expr>, schema: &DFSchema) -> Result<Vec<Expr>> {
    exprs.into_iter().map(|expr| key_of(expr, schema)).collect()
}

fn sorted(sorts: Vec<SortExpr>, schema: &DFSchema) -> Result<Vec<SortExpr>> {
    sorts
        .into_iter()
        .map(|sort| Ok(SortExpr { expr: key_of(sort.expr, schema)?, ..sort }))
        .collect()
}

/// Groups by keys; of the values that have one key, the least is shown.
fn groups(aggregate: Aggregate) -> Result<LogicalPlan> {
    let schema = aggregate.input.schema().clone();
    if aggregate.group_expr.iter().any(|expr| matches!(expr, Expr::GroupingSet(_))) {
        return Ok(LogicalPlan::Aggregate(aggregate));
    }
    let mut group_expr = Vec::with_capacity(aggregate.group_expr.len());
    let mut aggr_expr = aggregate.aggr_expr.clone();
    let groups = aggregate.group_expr.len();
    // Where each column of the result stands.
    let mut places: Vec<usize> = (0..aggregate.schema.fields().len()).collect();
    for (at, expr) in aggregate.group_expr.iter().enumerate() {
        if needs_key(expr, &schema)?.is_none() {
            group_expr.push(expr.clone());
            continue;
        }
        let value = expr.clone().unalias();
        group_expr.push(key_of(value.clone(), &schema)?);
        let least = min_udaf().call(vec![value]);
        let found = aggr_expr.iter().position(|other| *other == least);
        places[at] = groups + found.unwrap_or(aggr_expr.len());
        if found.is_none() {
            aggr_expr.push(least);
        }
    }
    if places.iter().enumerate().all(|(at, place)| at == *place) {
        return Ok(LogicalPlan::Aggregate(aggregate));
    }
    let shown = aggregate.schema.clone();
    let inner = Aggregate::try_new(aggregate.input, group_expr, aggr_expr)?;
    let columns = shown
        .iter()
        .zip(places)
        .map(|((relation, field), place)| {
            let column = Expr::Column(Column::from(inner.schema.qualified_field(place)));
            column.alias_qualified(relation.cloned(), field.name())
        })
        .collect();
    let inner = Arc::new(LogicalPlan::Aggregate(inner));
    Ok(LogicalPlan::Projection(Projection::try_new(columns, inner)?))
}

fn distinct(input: Arc<LogicalPlan>) -> Result<LogicalPlan> {
    let columns: Vec<Expr> = input.schema().iter().map(Expr::from).collect();
    for column in &columns {
        if needs_key(column, input.schema())?.is_some() {
            return groups(Aggregate::try_new(input, columns, Vec::new())?);
        }
    }
    Ok(LogicalPlan::Distinct(Distinct::All(input)))
}

fn joined(mut join: Join) -> Result<LogicalPlan> {
    let is_set_operation = matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti)
        && join.null_equality == NullEquality::NullEqualsNull
        && join.on.len() == join.left.schema().fields().len()
        && join.on.len() == join.right.schema().fields().len();
    if is_set_operation {
        let mut wanted = Vec::with_capacity(join.on.len());
        for (one, other) in join.left.schema().fields().iter().zip(join.right.schema().fields()) {
            wanted.push(common(&[PgType::of_field(one), PgType::of_field(other)])?);
        }
        join.left = in_types(&join.left, &wanted)?;
        join.right = in_types(&join.right, &wanted)?;
    }
    let (left, right) = (join.left.schema().clone(), join.right.schema().clone());
    let both = merged(&left, &right);
    let mut has_keys = false;
    for (one, other) in &mut join.on {
        let (a, b) = (type_of(one, &left)?, type_of(other, &right)?);
        let same = one.get_type(&left)? == other.get_type(&right)?;
        if same && needs_key(one, &left)?.is_none() {
            continue;
        }
        let of = comparison_type("=", a, b)?;
        let (l, r) = comparable((one.clone(), a), (other.clone(), b), of, &both)?;
        (*one, *other) = (l, r);
        has_keys = true;
    }
    if has_keys {
        // The columns of USING were found before; what is compared is no column now.
        join.join_constraint = JoinConstraint::On;
    }
    LogicalPlan::Join(join).recompute_schema()
}

/// `input` with its columns in these types.
fn in_types(input: &Arc<LogicalPlan>, wanted: &[PgType]) -> Result<Arc<LogicalPlan>> {
    let schema = input.schema();
    let differs = schema.fields().iter().zip(wanted).any(|(field, of)| {
        PgType::of_field(field) != *of
            || (*of == PgType::Numeric && *field.data_type() != DataType::LargeBinary)
    });
    if !differs {
        return Ok(input.clone());
    }
    let exprs = schema
        .iter()
        .zip(wanted)
        .map(|((relation, field), of)| {
            let from = PgType::of_field(field);
            let expr = Expr::from((relation, field));
            Ok(settled(expr, from, *of)?.alias_qualified(relation.cloned(), field.name()))
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(LogicalPlan::Projection(Projection::try_new(exprs, input.clone())?)))
}

/// The inputs of a UNION in the types that they have in common.
pub(super) fn alike(
    inputs: Vec<Arc<LogicalPlan>>,
    wanted: &[PgType],
) -> Result<Vec<Arc<LogicalPlan>>> {
    inputs.iter().map(|input| in_types(input, wanted)).collect()
}
