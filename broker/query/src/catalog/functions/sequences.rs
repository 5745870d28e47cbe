//! `nextval`, `currval`, `setval` and `lastval`. Statements name the session behind the other
//! arguments (see [`crate::statement`]).

use crate::error::Error;
use crate::sequences::SequenceCalls;
use anabranch_semantics::cast_array;
use async_trait::async_trait;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::error::Result;
use datafusion::logical_expr::async_udf::{AsyncScalarUDF, AsyncScalarUDFImpl};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// All of them, for registering.
pub(super) fn all(calls: &SequenceCalls) -> [ScalarUDF; 4] {
    let function = |name| Function {
        name,
        calls: calls.clone(),
        signature: Signature::variadic_any(Volatility::Volatile),
    };
    [
        AsyncScalarUDF::new(Arc::new(function("nextval"))).into_scalar_udf(),
        AsyncScalarUDF::new(Arc::new(function("setval"))).into_scalar_udf(),
        ScalarUDF::from(function("currval")),
        ScalarUDF::from(function("lastval")),
    ]
}

#[derive(Debug)]
struct Function {
    name: &'static str,
    calls: SequenceCalls,
    signature: Signature,
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Function {}

impl Hash for Function {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Given { names, session, .. } = Given::of(&args)?;
        let value = |row: usize| match self.name {
            "lastval" => self.calls.last(session).map(Some),
            "currval" if names.is_null(row) => Ok(None),
            "currval" => self.calls.current(session, names.value(row)).map(Some),
            name => Err(Error::unsupported(format!("{name} cannot stand here"))
                .hint("SELECT it first, and give the statement its value")),
        };
        let values = (0..args.number_rows).map(value).collect::<Result<Int64Array, Error>>()?;
        Ok(ColumnarValue::Array(Arc::new(values)))
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for Function {
    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let given = Given::of(&args)?;
        let rows = args.number_rows;
        let values: Int64Array = match self.name {
            "setval" => self.set(&given, rows).await?,
            _ => self.next(&given, rows).await?,
        };
        Ok(ColumnarValue::Array(Arc::new(values)))
    }
}

impl Function {
    async fn next(&self, given: &Given, rows: usize) -> Result<Int64Array, Error> {
        let mut values: Vec<Option<i64>> = Vec::with_capacity(rows);
        let mut row = 0;
        while row < rows {
            if given.names.is_null(row) {
                values.push(None);
                row += 1;
                continue;
            }
            // Rows of one sequence take their values together.
            let name = given.names.value(row);
            let same = (row..rows).take_while(|&other| {
                given.names.is_valid(other) && given.names.value(other) == name
            });
            let count = same.count();
            let next = self.calls.next(given.session, name, count).await?;
            values.extend(next.into_iter().map(Some));
            row += count;
        }
        Ok(values.into_iter().collect())
    }

    async fn set(&self, given: &Given, rows: usize) -> Result<Int64Array, Error> {
        let [value, rest @ ..] = given.others.as_slice() else {
            return Err(Error::syntax("setval takes a sequence and a value"));
        };
        let numbers = cast_array(value, &DataType::Int64)?;
        let numbers = numbers.as_primitive::<Int64Type>();
        let called = rest.first().map(|called| cast_array(called, &DataType::Boolean));
        let called = called.transpose()?;
        let mut values = Vec::with_capacity(rows);
        for row in 0..rows {
            let is_null = given.names.is_null(row) || numbers.is_null(row);
            if is_null {
                values.push(None);
                continue;
            }
            let is_called = called.as_ref().is_none_or(|called| called.as_boolean().value(row));
            let (name, value) = (given.names.value(row), numbers.value(row));
            self.calls.set(given.session, name, value, is_called).await?;
            values.push(Some(value));
        }
        Ok(values.into_iter().collect())
    }
}

/// Arguments: the sequence's name, others, and the session.
struct Given {
    names: StringArray,
    others: Vec<ArrayRef>,
    session: i32,
}

impl Given {
    fn of(args: &ScalarFunctionArgs) -> Result<Self> {
        let arrays = args.args.iter().map(|arg| arg.to_array(args.number_rows));
        let mut arrays = arrays.collect::<Result<Vec<_>>>()?;
        let session = match arrays.pop() {
            Some(last) if !last.is_empty() => {
                let last = cast(&last, &DataType::Int64)?;
                i32::try_from(last.as_primitive::<Int64Type>().value(0)).unwrap_or(-1)
            }
            _ => -1,
        };
        let names = match arrays.is_empty() {
            true => StringArray::new_null(args.number_rows),
            false => cast(&arrays.remove(0), &DataType::Utf8)?.as_string::<i32>().clone(),
        };
        Ok(Self { names, others: arrays, session })
    }
}
