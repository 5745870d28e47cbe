//! Functions for DataFusion: first by name only, then as they were chosen.

use crate::casts;
use crate::compare::{compare, total};
use crate::datum::{Datum, Reader, column};
use crate::desugar::PREFIX;
use crate::error::Error;
use crate::functions::{Integers, Overload, integers};
use crate::json;
use crate::numeric::Numeric;
use crate::resolve;
use crate::types::PgType;
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, Decimal128Builder, Float64Array,
};
use datafusion::arrow::datatypes::{DataType, FieldRef, Float64Type};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use datafusion::scalar::ScalarValue;
use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A function that is known by name; which one is chosen by [`resolve`].
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Named {
    name: String,
    signature: Signature,
}

impl Named {
    pub(crate) fn udf(name: &str, volatility: Volatility) -> ScalarUDF {
        ScalarUDF::from(Self {
            name: format!("{PREFIX}{name}"),
            signature: Signature::user_defined(volatility),
        })
    }
}

impl ScalarUDFImpl for Named {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(types.to_vec())
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Err(Error::internal("the type of a call depends on its arguments").into())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let types: Vec<_> = args
            .arg_fields
            .iter()
            .zip(args.scalar_arguments)
            .map(|(field, constant)| resolve::type_of_argument(field, *constant))
            .collect();
        let name = self.name.strip_prefix(PREFIX).unwrap_or(&self.name);
        // DataFusion does not know all types yet (that of a CASE is its first branch's): what is
        // wrong is said when the call is resolved.
        let result = resolve::result_of(name, &types).unwrap_or(PgType::Unknown);
        Ok(result.field(&self.name))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Err(Error::internal(format!("{} was not resolved", self.name)).into())
    }
}

/// What a chosen function does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Operation {
    Function(&'static Overload),
    /// The argument in the result's type.
    Cast,
    /// `numeric(precision, scale)`.
    Digits,
    /// Comparison of two values.
    Compare(Comparison),
    /// Comparison of a value with one of an array's, or with all.
    Quantified(Comparison, Quantifier),
    /// Bytes, or a number, that compare as the values do.
    Key,
    /// The argument as it is: it gives a field its type back.
    Retyped,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quantifier {
    Any,
    All,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Eq,
    NotEq,
    Lt,
    LtEq,
    Gt,
    GtEq,
}

impl Comparison {
    pub(crate) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "=" => Self::Eq,
            "<>" => Self::NotEq,
            "<" => Self::Lt,
            "<=" => Self::LtEq,
            ">" => Self::Gt,
            ">=" => Self::GtEq,
            _ => return None,
        })
    }

    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Eq => order.is_eq(),
            Self::NotEq => order.is_ne(),
            Self::Lt => order.is_lt(),
            Self::LtEq => order.is_le(),
            Self::Gt => order.is_gt(),
            Self::GtEq => order.is_ge(),
        }
    }
}

/// A function that was chosen, with the types that it is called with.
#[derive(Debug)]
pub(crate) struct Call {
    name: String,
    operation: Operation,
    arguments: Vec<PgType>,
    result: PgType,
    signature: Signature,
}

impl PartialEq for Call {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.arguments == other.arguments && self.result == other.result
    }
}

impl Eq for Call {}

impl Hash for Call {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.name, &self.arguments, self.result).hash(state);
    }
}

impl Call {
    pub(crate) fn udf(
        name: &str,
        operation: Operation,
        arguments: Vec<PgType>,
        result: PgType,
    ) -> Arc<ScalarUDF> {
        let volatility = match operation {
            Operation::Function(overload) => overload.volatility,
            _ => Volatility::Immutable,
        };
        // Not the name of what is registered: this one is chosen.
        let name = format!("pg_{name}");
        let signature = Signature::user_defined(volatility);
        Arc::new(ScalarUDF::from(Self { name, operation, arguments, result, signature }))
    }

    fn evaluate(&self, row: &[Datum]) -> Result<Datum, Error> {
        let has_null = row.iter().any(Datum::is_null);
        match self.operation {
            Operation::Function(overload) if overload.is_strict && has_null => Ok(Datum::Null),
            Operation::Function(overload) => (overload.body)(row, &self.arguments),
            Operation::Quantified(comparison, quantifier) => {
                Ok(self.quantified(row, comparison, quantifier))
            }
            _ if has_null => Ok(Datum::Null),
            Operation::Cast => casts::cast(&row[0], self.arguments[0], self.result),
            Operation::Digits => {
                let value = row[0].numeric();
                casts::with_digits(&value, row[1].int(), row[2].int()).map(Datum::Numeric)
            }
            Operation::Compare(comparison) => {
                Ok(Datum::Bool(comparison.holds(compare(&row[0], &row[1], self.arguments[0]))))
            }
            Operation::Key | Operation::Retyped => Ok(row[0].clone()),
        }
    }

    /// Null where only a null could decide.
    fn quantified(&self, row: &[Datum], comparison: Comparison, quantifier: Quantifier) -> Datum {
        if row[1].is_null() {
            return Datum::Null;
        }
        let decisive = quantifier == Quantifier::Any;
        let mut saw_null = false;
        for item in row[1].items() {
            if row[0].is_null() || item.is_null() {
                saw_null = true;
            } else if comparison.holds(compare(&row[0], item, self.arguments[0])) == decisive {
                return Datum::Bool(decisive);
            }
        }
        if saw_null { Datum::Null } else { Datum::Bool(!decisive) }
    }

    /// Whole columns at once, where Arrow does what PostgreSQL does.
    fn vectorized(&self, args: &ScalarFunctionArgs) -> Option<Result<ColumnarValue>> {
        let Operation::Function(overload) = self.operation else {
            return None;
        };
        if let Some(computed) = overload.columns.and_then(|columns| columns(&args.args)) {
            return Some(computed.map(ColumnarValue::Array).map_err(Into::into));
        }
        let [of, other] = self.arguments.as_slice() else {
            return None;
        };
        let is_integer = matches!(of, PgType::Int2 | PgType::Int4 | PgType::Int8) && of == other;
        let operator = Integers::of(overload.name).filter(|_| is_integer)?;
        let wanted = of.arrow();
        let [left, right] = args.args.as_slice() else {
            return None;
        };
        if left.data_type() != wanted || right.data_type() != wanted {
            return None;
        }
        let both = matches!((left, right), (ColumnarValue::Scalar(_), ColumnarValue::Scalar(_)));
        let compute = || -> Result<ColumnarValue> {
            let computed = match (left, right) {
                (ColumnarValue::Array(a), ColumnarValue::Array(b)) => {
                    integers(operator, a, b, *of)?
                }
                (ColumnarValue::Array(a), ColumnarValue::Scalar(b)) => {
                    integers(operator, a, &b.to_scalar()?, *of)?
                }
                (ColumnarValue::Scalar(a), ColumnarValue::Array(b)) => {
                    integers(operator, &a.to_scalar()?, b, *of)?
                }
                (ColumnarValue::Scalar(a), ColumnarValue::Scalar(b)) => {
                    integers(operator, &a.to_scalar()?, &b.to_scalar()?, *of)?
                }
            };
            Ok(match both {
                true => ColumnarValue::Scalar(ScalarValue::try_from_array(&computed, 0)?),
                false => ColumnarValue::Array(computed),
            })
        };
        Some(compute())
    }

    /// Row by row. Constants are read once.
    fn rows(&self, arguments: &[ColumnarValue], rows: usize) -> Result<ArrayRef, Error> {
        let mut row = vec![Datum::Null; arguments.len()];
        let mut readers = Vec::new();
        for (at, (value, of)) in arguments.iter().zip(&self.arguments).enumerate() {
            match value {
                ColumnarValue::Array(array) => readers.push((at, Reader::new(array, *of)?)),
                ColumnarValue::Scalar(value) => {
                    row[at] = Reader::new(&value.to_array()?, *of)?.get(0);
                }
            }
        }
        let mut values = Vec::with_capacity(rows);
        for number in 0..rows {
            for (at, reader) in &readers {
                row[*at] = reader.get(number);
            }
            values.push(self.evaluate(&row)?);
        }
        match self.operation {
            Operation::Key => keys(&values, self.arguments[0]),
            _ => column(&values, self.result),
        }
    }
}

/// The Arrow type of keys of values of type `of`.
fn key_type(of: PgType) -> DataType {
    match of {
        PgType::Numeric | PgType::Jsonb => DataType::Binary,
        PgType::Interval => DataType::Decimal128(38, 0),
        _ => DataType::Float64,
    }
}

fn keys(values: &[Datum], of: PgType) -> Result<ArrayRef, Error> {
    match of {
        PgType::Numeric => {
            let mut builder = BinaryBuilder::new();
            for value in values {
                match value {
                    Datum::Numeric(value) => builder.append_value(value.key()),
                    Datum::Int(value) => builder.append_value(Numeric::from(*value).key()),
                    _ => builder.append_null(),
                }
            }
            Ok(Arc::new(builder.finish()))
        }
        PgType::Jsonb => {
            let mut builder = BinaryBuilder::new();
            for value in values {
                match value {
                    Datum::Text(text) => builder.append_value(json::parse(text)?.key()),
                    _ => builder.append_null(),
                }
            }
            Ok(Arc::new(builder.finish()))
        }
        PgType::Interval => {
            let mut builder = Decimal128Builder::new().with_data_type(DataType::Decimal128(38, 0));
            for value in values {
                match value {
                    Datum::Span(span) => builder.append_value(total(*span)),
                    _ => builder.append_null(),
                }
            }
            Ok(Arc::new(builder.finish()))
        }
        _ => Err(Error::internal("keys are of numbers, intervals and jsonb")),
    }
}

/// What [`Numeric::encode`] wrote, without the digits that are shown.
fn numeric_keys(array: &ArrayRef) -> ArrayRef {
    let mut builder = BinaryBuilder::with_capacity(array.len(), array.len() * 8);
    for value in array.as_binary::<i64>() {
        match value {
            Some(bytes) => builder.append_value(Numeric::key_within(bytes)),
            None => builder.append_null(),
        }
    }
    Arc::new(builder.finish())
}

/// Zeros without a sign, and one NaN: so they are the same to Arrow.
fn float_keys(array: &ArrayRef) -> ArrayRef {
    let values = array.as_primitive::<Float64Type>();
    let keyed: Float64Array =
        values.unary(|value| if value.is_nan() { f64::NAN } else { value + 0.0 });
    Arc::new(keyed)
}

impl ScalarUDFImpl for Call {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(types.to_vec())
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.operation {
            Operation::Key => key_type(self.arguments[0]),
            _ => self.result.arrow(),
        })
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let field = self.result.field(&self.name);
        Ok(match self.operation {
            Operation::Key => {
                Arc::new(field.as_ref().clone().with_data_type(key_type(self.arguments[0])))
            }
            _ => field,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if let Some(done) = self.vectorized(&args) {
            return done;
        }
        if let (Operation::Retyped, [value]) = (self.operation, args.args.as_slice()) {
            return Ok(value.clone());
        }
        let is_volatile = self.signature.volatility == Volatility::Volatile;
        let constant =
            !is_volatile && args.args.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let computed = match (self.operation, self.arguments.first()) {
            (Operation::Key, Some(PgType::Float8)) => float_keys(&args.args[0].to_array(rows)?),
            (Operation::Key, Some(PgType::Numeric))
                if args.args[0].data_type() == DataType::LargeBinary =>
            {
                numeric_keys(&args.args[0].to_array(rows)?)
            }
            _ => self.rows(&args.args, rows)?,
        };
        debug_assert_eq!(computed.len(), rows, "one value a row");
        if constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&computed, 0)?));
        }
        Ok(ColumnarValue::Array(computed))
    }
}
