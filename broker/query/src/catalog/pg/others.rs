//! Relations of `datafusion-pg-catalog`, with the arrays that it has as text.

use crate::catalog::cells::list_of;
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::catalog::TableProvider;
use datafusion::catalog::default_table_source::provider_as_source;
use datafusion::datasource::ViewTable;
use datafusion::error::Result;
use datafusion::logical_expr::{LogicalPlanBuilder, lit};
use datafusion::prelude::ident;
use datafusion::scalar::ScalarValue;
use std::sync::Arc;

/// Columns of other relations that are arrays: rights, options and the like, of which there are
/// none here.
const ARRAYS: [&str; 22] = [
    "defaclacl",
    "evttags",
    "extcondition",
    "extconfig",
    "fdwacl",
    "fdwoptions",
    "ftoptions",
    "lanacl",
    "polroles",
    "proacl",
    "proallargtypes",
    "proargmodes",
    "proargnames",
    "proconfig",
    "setconfig",
    "spcacl",
    "spcoptions",
    "srvacl",
    "srvoptions",
    "stxkind",
    "subpublications",
    "umoptions",
];

/// Those of them that are of oids.
const OIDS: [&str; 3] = ["extconfig", "polroles", "proallargtypes"];

/// `table` with null arrays for the columns that it has as text.
pub(super) fn with_arrays(
    name: &str,
    table: Arc<dyn TableProvider>,
) -> Result<Arc<dyn TableProvider>> {
    let schema = table.schema();
    let is_array =
        |field: &Field| ARRAYS.contains(&field.name().as_str()) && field.data_type().is_string();
    if !schema.fields().iter().any(|field| is_array(field)) {
        return Ok(table);
    }
    let exprs = schema.fields().iter().map(|field| match is_array(field) {
        true if OIDS.contains(&field.name().as_str()) => {
            Ok(lit(ScalarValue::try_from(list_of(DataType::Int32))?).alias(field.name()))
        }
        true => Ok(lit(ScalarValue::try_from(list_of(DataType::Utf8))?).alias(field.name())),
        false => Ok(ident(field.name())),
    });
    let exprs = exprs.collect::<Result<Vec<_>>>()?;
    let plan = LogicalPlanBuilder::scan(name, provider_as_source(table), None)?;
    Ok(Arc::new(ViewTable::new(plan.project(exprs)?.build()?, None)))
}
