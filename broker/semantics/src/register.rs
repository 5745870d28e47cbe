//! Functions and aggregates as DataFusion knows them: by name.

use crate::{aggregates, call, functions, resolve};
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::Volatility;
use datafusion::prelude::SessionContext;
use std::sync::Arc;

/// Registers all functions.
///
/// # Errors
/// When DataFusion does not take one.
pub fn register(context: &mut SessionContext) -> datafusion::error::Result<()> {
    for (name, overloads) in functions::FUNCTIONS.iter() {
        let volatility =
            overloads.iter().map(|overload| overload.volatility).max_by_key(|of| match of {
                Volatility::Immutable => 0,
                Volatility::Stable => 1,
                Volatility::Volatile => 2,
            });
        let volatility = volatility.unwrap_or(Volatility::Immutable);
        context.register_udf(Arc::new(call::Named::udf(name, volatility)))?;
    }
    for name in resolve::names() {
        context.register_udf(Arc::new(call::Named::udf(&name, Volatility::Immutable)))?;
    }
    for aggregate in aggregates::all() {
        context.register_udaf(Arc::new(aggregate))?;
    }
    Ok(())
}
