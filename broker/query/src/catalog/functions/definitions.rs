//! Functions that tell of definitions: `pg_get_serial_sequence`, and what `\d` shows as a column's
//! default.

use crate::catalog::pg::column_default;
use crate::error::{Error, sqlstate};
use crate::sequences::relation_name;
use crate::statement::shown_name;
use anabranch_engine::Session as EngineSession;
use datafusion::arrow::array::{AsArray, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Called in place of the subquery with which `\d` looks for a default.
pub(crate) const COLUMN_DEFAULT: &str = "anabranch_column_default";

/// All of them, for registering.
pub(super) fn all(engine: &EngineSession) -> [ScalarUDF; 2] {
    ["pg_get_serial_sequence", COLUMN_DEFAULT].map(|name| {
        ScalarUDF::from(Definitions {
            name,
            engine: engine.clone(),
            signature: Signature::variadic_any(Volatility::Stable),
        })
    })
}

struct Definitions {
    name: &'static str,
    engine: EngineSession,
    signature: Signature,
}

impl std::fmt::Debug for Definitions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Definitions").field("name", &self.name).finish_non_exhaustive()
    }
}

impl PartialEq for Definitions {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Definitions {}

impl Hash for Definitions {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Definitions {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let texts: StringArray = match self.name {
            "pg_get_serial_sequence" => {
                let (tables, columns) = (text(&args, 0)?, text(&args, 1)?);
                let found = tables.iter().zip(columns.iter()).map(|pair| match pair {
                    (Some(table), Some(column)) => serial_sequence(&self.engine, table, column),
                    _ => Ok(None),
                });
                found.collect::<Result<_, Error>>()?
            }
            _ => {
                let (relations, columns) = (number(&args, 0)?, number(&args, 1)?);
                let pairs = relations.into_iter().zip(columns);
                pairs.map(|(of, column)| column_default(&self.engine, of?, column?)).collect()
            }
        };
        Ok(ColumnarValue::Array(Arc::new(texts)))
    }
}

fn text(args: &ScalarFunctionArgs, number: usize) -> Result<StringArray> {
    let array = argument(args, number)?.to_array(args.number_rows)?;
    Ok(cast(&array, &DataType::Utf8)?.as_string::<i32>().clone())
}

fn number(args: &ScalarFunctionArgs, number: usize) -> Result<Vec<Option<i64>>> {
    let array = argument(args, number)?.to_array(args.number_rows)?;
    Ok(cast(&array, &DataType::Int64)?.as_primitive::<Int64Type>().iter().collect())
}

fn argument(args: &ScalarFunctionArgs, number: usize) -> Result<&ColumnarValue, Error> {
    args.args.get(number).ok_or_else(|| {
        Error::new(sqlstate::UNDEFINED_FUNCTION, "this function takes more arguments")
    })
}

/// The sequence that goes with a column, or that its default names.
fn serial_sequence(
    engine: &EngineSession,
    table: &str,
    column: &str,
) -> Result<Option<String>, Error> {
    let name = relation_name(table);
    let stream = crate::catalog::find(engine, &name).ok_or_else(|| {
        Error::new(sqlstate::UNDEFINED_TABLE, format!("relation \"{name}\" does not exist"))
    })?;
    if stream.columns.iter().all(|other| other.name != column) {
        return Err(Error::new(
            sqlstate::UNDEFINED_COLUMN,
            format!("column \"{column}\" of relation \"{name}\" does not exist"),
        ));
    }
    let owned = engine.sequences().into_iter().find(|one| {
        let owner = one.sequence.owner.as_ref();
        owner.is_some_and(|owner| owner.stream == stream.id && owner.column == column)
    });
    Ok(owned.map(|one| format!("public.{}", shown_name(&one.sequence.spec.name))))
}
