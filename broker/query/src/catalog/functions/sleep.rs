//! `pg_sleep`: waits without holding a thread, so that it ends when its query is cancelled.

use async_trait::async_trait;
use datafusion::arrow::array::{Array, AsArray, StringViewArray};
use datafusion::arrow::datatypes::{DataType, Float64Type};
use datafusion::error::Result;
use datafusion::logical_expr::async_udf::{AsyncScalarUDF, AsyncScalarUDFImpl};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use std::sync::Arc;
use std::time::Duration;

/// Longest sleep of a row, in seconds: nobody waits for longer.
const SECONDS_MAX: f64 = 1e9;

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Sleep {
    signature: Signature,
}

impl Sleep {
    /// For registering.
    pub(super) fn udf() -> ScalarUDF {
        let signature = Signature::any(1, Volatility::Volatile);
        AsyncScalarUDF::new(Arc::new(Self { signature })).into_scalar_udf()
    }
}

impl ScalarUDFImpl for Sleep {
    fn name(&self) -> &str {
        "pg_sleep"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8View)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Err(crate::error::Error::internal("pg_sleep waits, it does not compute").into())
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for Sleep {
    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let given = args.args[0].to_array(args.number_rows)?;
        let seconds = anabranch_semantics::cast_array(&given, &DataType::Float64)?;
        for seconds in seconds.as_primitive::<Float64Type>().iter().flatten() {
            if seconds > 0.0 {
                tokio::time::sleep(Duration::from_secs_f64(seconds.min(SECONDS_MAX))).await;
            }
        }
        // void: nothing, but for rows that say no time.
        let values =
            (0..seconds.len()).map(|row| if seconds.is_null(row) { None } else { Some("") });
        Ok(ColumnarValue::Array(Arc::new(values.collect::<StringViewArray>())))
    }
}
