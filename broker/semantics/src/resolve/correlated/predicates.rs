//! EXISTS and IN outside of WHERE, and subqueries that are to give one row, as subqueries that give
//! one value.

use super::{Outer, has_outer, joined, outer_columns};
use crate::aggregates::single_udaf;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, ExprSchema, JoinType, TableReference};
use datafusion::error::Result;
use datafusion::functions_aggregate::expr_fn::{bool_or, count};
use datafusion::logical_expr::expr::InSubquery;
use datafusion::logical_expr::{
    Aggregate, Expr, LogicalPlan, LogicalPlanBuilder, Projection, Subquery, lit, not, when,
};
use datafusion::scalar::ScalarValue;
use std::sync::Arc;

/// `plan`, whose second row is an error.
pub(super) fn single(plan: &Arc<LogicalPlan>) -> Result<LogicalPlan> {
    let value = Expr::from(plan.schema().qualified_field(0));
    let one = single_udaf().call(vec![value]);
    Ok(LogicalPlan::Aggregate(Aggregate::try_new(plan.clone(), Vec::new(), vec![one])?))
}

/// How many rows the subquery has; of one that does not look at outer rows, whether it has one.
pub(super) fn count_of(subquery: &Subquery) -> Result<Subquery> {
    let mut plan = LogicalPlanBuilder::from(subquery.subquery.as_ref().clone());
    if outer_columns(&subquery.subquery)?.is_empty() {
        plan = plan.limit(0, Some(1))?;
    }
    let counted = plan.aggregate(Vec::<Expr>::new(), vec![count(lit(1i64))])?.build()?;
    Ok(Subquery { subquery: Arc::new(counted), ..subquery.clone() })
}

/// `x IN (SELECT y …)`, with null where only a null could decide.
pub(super) fn within(input: &mut LogicalPlan, within: InSubquery) -> Result<Transformed<Expr>> {
    let found = match outer_columns(&within.subquery.subquery)?.is_empty() {
        true => Some(marked(input, &within)?),
        false => compared(input, &within)?,
    };
    Ok(match found {
        None => Transformed::no(Expr::InSubquery(within)),
        Some(found) if within.negated => Transformed::yes(not(found)),
        Some(found) => Transformed::yes(found),
    })
}

fn unknown() -> Expr {
    lit(ScalarValue::Boolean(None))
}

/// Of a subquery that is the same for all rows: a join marks the rows that it has.
fn marked(input: &mut LogicalPlan, within: &InSubquery) -> Result<Expr> {
    let subquery = &within.subquery;
    let name = TableReference::bare(format!("within {}", Outer::number()));
    let value = Expr::from(subquery.subquery.schema().qualified_field(0));
    let column = Column::new(Some(name.clone()), "0");
    let values = value.clone().alias_qualified(Some(name), "0");
    let right = Projection::try_new(vec![values], subquery.subquery.clone())?;
    let is_same = within.expr.as_ref().clone().eq(Expr::Column(column));
    let joined = LogicalPlanBuilder::from(input.clone())
        .join_on(LogicalPlan::Projection(right), JoinType::LeftMark, vec![is_same])?
        .build()?;
    let mark = Expr::from(joined.schema().qualified_field(joined.schema().fields().len() - 1));
    *input = joined;
    let scalar = |plan: Arc<LogicalPlan>| {
        Expr::ScalarSubquery(Subquery { subquery: plan, ..subquery.clone() })
    };
    let nulls = LogicalPlanBuilder::from(subquery.subquery.as_ref().clone())
        .filter(value.is_null())?
        .aggregate(Vec::<Expr>::new(), vec![count(lit(1i64))])?
        .build()?;
    let has_rows = scalar(count_of(subquery)?.subquery).gt(lit(0i64));
    let has_null = scalar(Arc::new(nulls)).gt(lit(0i64));
    let is_unknown = within.expr.as_ref().clone().is_null().and(has_rows).or(has_null);
    when(mark, lit(true)).when(is_unknown, unknown()).otherwise(lit(false))
}

/// Of a correlated subquery: all its values are compared with the outer one.
fn compared(input: &mut LogicalPlan, within: &InSubquery) -> Result<Option<Expr>> {
    let plan = within.subquery.subquery.clone();
    let schema = input.schema().clone();
    let outer = within.expr.as_ref().clone().transform_up(|expr| match expr {
        Expr::Column(column) => {
            let field = schema.field_from_column(&column)?.clone();
            Ok(Transformed::yes(Expr::OuterReferenceColumn(field, column)))
        }
        other => Ok(Transformed::no(other)),
    })?;
    if !has_outer(&outer.data) {
        return Ok(None);
    }
    let is_same = outer.data.eq(Expr::from(plan.schema().qualified_field(0)));
    let facts = vec![bool_or(is_same.clone()), bool_or(is_same.is_null())];
    let facts = Aggregate::try_new(plan, Vec::new(), facts)?;
    let fact = |at: usize| Expr::from(facts.schema.qualified_field(at));
    let value = when(fact(0), lit(true)).when(fact(1), unknown()).otherwise(lit(false))?;
    let facts = Arc::new(LogicalPlan::Aggregate(facts));
    let value = Projection::try_new(vec![value.alias("within")], facts)?;
    Ok(joined(input, &LogicalPlan::Projection(value))?.map(|(plan, column)| {
        *input = plan;
        Expr::Column(column)
    }))
}
