//! Expressions over rows that are at hand, without a plan.

use crate::error::Error;
use crate::plan::{PlanContext, depends_on_time};
use crate::statement::{bind_sequence_calls, replace_session_functions};
use anabranch_semantics::{desugar, resolve_expr};
use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::datatypes::FieldRef;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr, ExprSchemable};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast;
use std::sync::Arc;

/// `expr` over rows of `schema`, with what it asks of a session answered.
pub(crate) fn logical_within(
    state: &SessionState,
    context: &PlanContext,
    expr: &ast::Expr,
    schema: &DFSchema,
) -> Result<Expr, Error> {
    let mut expr = expr.clone();
    bind_sequence_calls(&mut expr, context.process_id);
    if !replace_session_functions(&mut expr, &context.facts()).is_empty() {
        return Err(Error::new("0A000", "set_config is a function of SELECT; or use SET"));
    }
    logical(state, expr, schema)
}

/// `expr`, which asks nothing of a session, over rows of `schema`.
pub(crate) fn logical(
    state: &SessionState,
    mut expr: ast::Expr,
    schema: &DFSchema,
) -> Result<Expr, Error> {
    desugar(&mut expr);
    let expr = ast::ExprWithAlias { expr, alias: None };
    let expr = state.create_logical_expr_from_sql_expr(expr, schema)?;
    let expr = resolve_expr(expr, schema)?.data;
    Ok(expr.infer_placeholder_types(schema)?.0)
}

/// Name, type and nullability of what `expr` gives.
pub(crate) fn field(expr: &Expr, schema: &DFSchema) -> Result<FieldRef, Error> {
    Ok(expr.to_field(schema)?.1)
}

/// The values of `expr` for the rows of `batch`, whose columns are those of `schema`.
pub(crate) fn values(
    state: &SessionState,
    expr: &Expr,
    schema: &DFSchema,
    batch: &RecordBatch,
    parameters: &[ScalarValue],
) -> Result<ArrayRef, Error> {
    let expr = at_this_time(state, bound(expr.clone(), parameters)?, schema)?;
    let physical = state.create_physical_expr(expr, schema)?;
    Ok(physical.evaluate(batch)?.into_array(batch.num_rows())?)
}

/// `expr` with the time in place of `now()` and the like.
fn at_this_time(state: &SessionState, expr: Expr, schema: &DFSchema) -> Result<Expr, Error> {
    if !depends_on_time(&expr) {
        return Ok(expr);
    }
    let mut now = state.execution_props().clone();
    now.mark_start_execution(state.config_options().clone());
    let context = SimplifyContext::builder()
        .with_schema(Arc::new(schema.clone()))
        .with_config_options(state.config_options().clone())
        .with_query_execution_start_time(now.query_execution_start_time)
        .build();
    let simplifier = ExprSimplifier::new(context);
    Ok(simplifier.simplify(simplifier.coerce(expr, schema)?)?)
}

/// `expr` with the values of its parameters.
pub(crate) fn bound(expr: Expr, parameters: &[ScalarValue]) -> Result<Expr, Error> {
    let bound = expr.transform(|expr| {
        let Expr::Placeholder(placeholder) = &expr else {
            return Ok(Transformed::no(expr));
        };
        let number = placeholder.id.strip_prefix('$').and_then(|text| text.parse::<usize>().ok());
        match number.and_then(|number| parameters.get(number.checked_sub(1)?)) {
            Some(value) => Ok(Transformed::yes(Expr::Literal(value.clone(), None))),
            None => {
                Err(Error::new("08P01", format!("there is no parameter {}", placeholder.id)).into())
            }
        }
    })?;
    Ok(bound.data)
}
