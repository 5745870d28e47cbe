//! `sum`, `avg` and the variances with PostgreSQL's types: exact where numbers are exact
//! (PostgreSQL 15, 9.21).

mod groups;
mod single;

pub(crate) use single::single_udaf;

use crate::compare;
use crate::datum::{Datum, Reader, Span, column};
use crate::error::{Error, sqlstate};
use crate::functions::divided as divided_span;
use crate::numeric::Numeric;
use crate::types::PgType;
use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::error::Result;
use datafusion::functions_aggregate::{average::avg_udaf, sum::sum_udaf};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, Signature, Volatility,
};
use datafusion::scalar::ScalarValue;
use groups::{Exact, ExactTotals, OneTotal};
use std::sync::Arc;

/// What is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Sum,
    Average,
    VarianceOfSample,
    VarianceOfAll,
    DeviationOfSample,
    DeviationOfAll,
}

impl Kind {
    fn needs_squares(self) -> bool {
        !matches!(self, Self::Sum | Self::Average)
    }
}

const NAMES: [(&str, Kind); 8] = [
    ("sum", Kind::Sum),
    ("avg", Kind::Average),
    ("variance", Kind::VarianceOfSample),
    ("var_samp", Kind::VarianceOfSample),
    ("var_pop", Kind::VarianceOfAll),
    ("stddev", Kind::DeviationOfSample),
    ("stddev_samp", Kind::DeviationOfSample),
    ("stddev_pop", Kind::DeviationOfAll),
];

/// All of them, for registering.
pub(crate) fn all() -> impl Iterator<Item = AggregateUDF> {
    NAMES.iter().map(|(name, kind)| AggregateUDF::from(Aggregate::new(name, *kind)))
}

/// DataFusion's own where it does the same, for it computes many groups at once.
pub(crate) fn chosen(udf: &Arc<AggregateUDF>, of: PgType) -> Arc<AggregateUDF> {
    match (udf.name(), of) {
        ("sum", PgType::Int2 | PgType::Int4 | PgType::Float8) => sum_udaf(),
        ("avg", PgType::Float8) => avg_udaf(),
        _ => udf.clone(),
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Aggregate {
    name: &'static str,
    kind: Kind,
    signature: Signature,
}

impl Aggregate {
    fn new(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, signature: Signature::user_defined(Volatility::Immutable) }
    }

    fn result(&self, of: PgType) -> Result<PgType, Error> {
        use PgType::*;
        Ok(match (self.kind, of) {
            (Kind::Sum, Int2 | Int4) => Int8,
            (Kind::Sum, Int8) => Numeric,
            (Kind::Sum, Numeric | Float4 | Float8 | Interval) => of,
            (Kind::Average, Interval) => Interval,
            (Kind::Sum, _) => return Err(self.missing(of)),
            (_, Int2 | Int4 | Int8 | Numeric) => Numeric,
            (_, Float4 | Float8) => Float8,
            _ => return Err(self.missing(of)),
        })
    }

    /// Sums of exact numbers, if that is what is asked for.
    fn exact(&self, args: &AccumulatorArgs<'_>) -> Result<Option<ExactTotals>> {
        let of = args.expr_fields[0].data_type();
        let kind = match self.kind {
            Kind::Sum => Exact::Sum,
            Kind::Average => Exact::Average,
            _ => return Ok(None),
        };
        if args.is_distinct || !groups::takes(of) {
            return Ok(None);
        }
        Ok(Some(ExactTotals::new(kind, of, self.result(PgType::of(of))?)))
    }

    fn missing(&self, of: PgType) -> Error {
        Error::new(
            if of == PgType::Unknown { "42725" } else { sqlstate::UNDEFINED_FUNCTION },
            format!("function {}({}) does not exist", self.name, of.name()),
        )
    }
}

/// The type that totals of values of type `of` are kept in.
fn total_type(of: PgType) -> PgType {
    match of {
        PgType::Float4 | PgType::Float8 => PgType::Float8,
        PgType::Interval => PgType::Interval,
        _ => PgType::Numeric,
    }
}

impl AggregateUDFImpl for Aggregate {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(types.to_vec())
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let of = types.first().map_or(PgType::Unknown, PgType::of);
        Ok(self.result(of)?.arrow())
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let of = PgType::of(args.expr_fields[0].data_type());
        if let Some(totals) = self.exact(&args)? {
            return Ok(Box::new(OneTotal::new(totals)));
        }
        Ok(Box::new(Totals {
            kind: self.kind,
            of,
            result: self.result(of)?,
            count: 0,
            sum: zero(of),
            squares: zero(of),
            distinct: args.is_distinct.then(Vec::new),
        }))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let of = PgType::of(args.input_fields[0].data_type());
        let total = total_type(of).arrow();
        let name = |part: &str| format!("{}[{part}]", args.name);
        if args.is_distinct {
            let list = of.array().arrow();
            return Ok(vec![Arc::new(Field::new(name("values"), list, true))]);
        }
        let mut fields = vec![
            Arc::new(Field::new(name("count"), DataType::Int64, true)),
            Arc::new(Field::new(name("sum"), total.clone(), true)),
        ];
        if self.kind.needs_squares() {
            fields.push(Arc::new(Field::new(name("squares"), total, true)));
        }
        Ok(fields)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        matches!(self.exact(&args), Ok(Some(_)))
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        match self.exact(&args)? {
            Some(totals) => Ok(Box::new(totals)),
            None => Err(Error::internal("these values are not summed by groups").into()),
        }
    }
}

fn zero(of: PgType) -> Datum {
    match total_type(of) {
        PgType::Float8 => Datum::Float(0.0),
        PgType::Interval => Datum::Span(Span::default()),
        _ => Datum::Numeric(Numeric::from(0)),
    }
}

/// How many values, their sum, and the sum of their squares (of floats: of their distances from
/// the mean, after Youngs and Cramer).
#[derive(Debug)]
struct Totals {
    kind: Kind,
    of: PgType,
    result: PgType,
    count: i64,
    sum: Datum,
    squares: Datum,
    /// The values that were seen, where each counts once.
    distinct: Option<Vec<Datum>>,
}

impl Totals {
    fn add(&mut self, value: &Datum) -> Result<(), Error> {
        if let Some(seen) = &mut self.distinct {
            let at = seen.binary_search_by(|other| compare::compare(other, value, self.of));
            match at {
                Ok(_) => return Ok(()),
                Err(at) => seen.insert(at, value.clone()),
            }
        }
        self.count += 1;
        match &mut self.sum {
            Datum::Float(sum) => {
                let value = value.float();
                let before = *sum;
                *sum += value;
                if let (true, Datum::Float(squares)) =
                    (self.kind.needs_squares(), &mut self.squares)
                {
                    let count = self.count as f64;
                    if self.count > 1 {
                        let distance = value * count - *sum;
                        *squares += distance * distance / (count * (count - 1.0));
                    } else if !value.is_finite() {
                        *squares = f64::NAN;
                    }
                }
                check_float(*sum, before.is_infinite() || value.is_infinite(), self.of)
            }
            Datum::Span(sum) => {
                *sum = plus(*sum, value.span(), 1)?;
                Ok(())
            }
            _ => {
                let value = value.numeric();
                self.sum = Datum::Numeric(self.sum.numeric().add(&value)?);
                if self.kind.needs_squares() {
                    let square = value.multiply(&value)?;
                    self.squares = Datum::Numeric(self.squares.numeric().add(&square)?);
                }
                Ok(())
            }
        }
    }

    fn take_away(&mut self, value: &Datum) -> Result<(), Error> {
        self.count -= 1;
        match &mut self.sum {
            Datum::Float(sum) => *sum -= value.float(),
            Datum::Span(sum) => *sum = plus(*sum, value.span(), -1)?,
            _ => {
                self.sum = Datum::Numeric(self.sum.numeric().subtract(&value.numeric())?);
            }
        }
        Ok(())
    }

    fn merge(&mut self, count: i64, sum: &Datum, squares: &Datum) -> Result<(), Error> {
        if count == 0 {
            return Ok(());
        }
        match (&mut self.sum, sum) {
            (Datum::Float(total), Datum::Float(sum)) => {
                if let (Datum::Float(mine), Datum::Float(theirs)) = (&mut self.squares, squares) {
                    let (a, b) = (self.count as f64, count as f64);
                    *mine += theirs;
                    if self.count > 0 {
                        let distance = *total / a - sum / b;
                        *mine += a * b * distance * distance / (a + b);
                    }
                }
                *total += sum;
            }
            (Datum::Span(total), Datum::Span(sum)) => *total = plus(*total, *sum, 1)?,
            _ => {
                self.sum = Datum::Numeric(self.sum.numeric().add(&sum.numeric())?);
                self.squares = Datum::Numeric(self.squares.numeric().add(&squares.numeric())?);
            }
        }
        self.count += count;
        Ok(())
    }

    fn value(&self) -> Result<Datum, Error> {
        if self.count == 0 {
            return Ok(Datum::Null);
        }
        let count = self.count;
        match (self.kind, &self.sum) {
            (Kind::Sum, Datum::Numeric(sum)) if self.result == PgType::Int8 => {
                let sum = sum.to_i64().ok_or_else(|| crate::casts::out_of_range(PgType::Int8))?;
                Ok(Datum::Int(sum))
            }
            (Kind::Sum, sum) => Ok(sum.clone()),
            (Kind::Average, Datum::Float(sum)) => Ok(Datum::Float(sum / count as f64)),
            (Kind::Average, Datum::Span(sum)) => divided_span(*sum, count as f64),
            (Kind::Average, sum) => {
                Ok(Datum::Numeric(sum.numeric().divide(&Numeric::from(count))?))
            }
            (kind, Datum::Float(_)) => Ok(self.float_variance(kind)),
            (kind, sum) => self.variance(kind, &sum.numeric()),
        }
    }

    fn float_variance(&self, kind: Kind) -> Datum {
        let squares = self.squares.float();
        let count = self.count as f64;
        let variance = match kind {
            Kind::VarianceOfAll | Kind::DeviationOfAll => squares / count,
            _ if self.count < 2 => return Datum::Null,
            _ => squares / (count - 1.0),
        };
        match kind {
            Kind::DeviationOfAll | Kind::DeviationOfSample => Datum::Float(variance.sqrt()),
            _ => Datum::Float(variance),
        }
    }

    /// numeric.c, `numeric_stddev_internal`: (N·Σx² − (Σx)²) / N·(N−1).
    fn variance(&self, kind: Kind, sum: &Numeric) -> Result<Datum, Error> {
        let count = Numeric::from(self.count);
        let of_sample = matches!(kind, Kind::VarianceOfSample | Kind::DeviationOfSample);
        if of_sample && self.count < 2 {
            return Ok(Datum::Null);
        }
        if !matches!(sum, Numeric::Finite { .. }) {
            return Ok(Datum::Numeric(Numeric::NaN));
        }
        let above = count.multiply(&self.squares.numeric())?.subtract(&sum.multiply(sum)?)?;
        if above.sign() <= 0 {
            return Ok(Datum::Numeric(Numeric::from(0)));
        }
        let fewer = if of_sample { Numeric::from(self.count - 1) } else { count.clone() };
        let variance = above.divide(&count.multiply(&fewer)?)?;
        Ok(Datum::Numeric(match kind {
            Kind::DeviationOfAll | Kind::DeviationOfSample => {
                crate::numeric::square_root(&variance)?
            }
            _ => variance,
        }))
    }
}

fn check_float(sum: f64, may_be_infinite: bool, of: PgType) -> Result<(), Error> {
    let sum = if of == PgType::Float4 { f64::from(sum as f32) } else { sum };
    if sum.is_infinite() && !may_be_infinite {
        return Err(Error::new(sqlstate::NUMERIC_OUT_OF_RANGE, "value out of range: overflow"));
    }
    Ok(())
}

fn plus(a: Span, b: Span, sign: i64) -> Result<Span, Error> {
    let range = || Error::new("22008", "interval out of range");
    let narrow = i32::try_from(sign).unwrap_or(1);
    Ok(Span {
        months: a.months.checked_add(narrow * b.months).ok_or_else(range)?,
        days: a.days.checked_add(narrow * b.days).ok_or_else(range)?,
        micros: a.micros.checked_add(sign * b.micros).ok_or_else(range)?,
    })
}

impl Accumulator for Totals {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let reader = Reader::new(&values[0], self.of)?;
        for row in 0..values[0].len() {
            let value = reader.get(row);
            if !value.is_null() {
                self.add(&value)?;
            }
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let reader = Reader::new(&values[0], self.of)?;
        for row in 0..values[0].len() {
            let value = reader.get(row);
            if !value.is_null() {
                self.take_away(&value)?;
            }
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        !self.kind.needs_squares() && self.distinct.is_none()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let value = self.value()?;
        ScalarValue::try_from_array(&column(&[value], self.result)?, 0)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.distinct.as_ref().map_or(0, |seen| seen.len() * size_of::<Datum>())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let scalar =
            |value: Datum, of: PgType| ScalarValue::try_from_array(&column(&[value], of)?, 0);
        if let Some(seen) = &self.distinct {
            return Ok(vec![scalar(Datum::Array(seen.clone()), self.of.array())?]);
        }
        let of = total_type(self.of);
        let mut state = vec![ScalarValue::Int64(Some(self.count)), scalar(self.sum.clone(), of)?];
        if self.kind.needs_squares() {
            state.push(scalar(self.squares.clone(), of)?);
        }
        Ok(state)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        if self.distinct.is_some() {
            let lists = Reader::new(&states[0], self.of.array())?;
            for row in 0..states[0].len() {
                for value in lists.get(row).items() {
                    self.add(value)?;
                }
            }
            return Ok(());
        }
        let counts = states[0].as_primitive::<Int64Type>();
        let of = total_type(self.of);
        let sums = Reader::new(&states[1], of)?;
        let squares = states.get(2).map(|array| Reader::new(array, of)).transpose()?;
        for row in 0..counts.len() {
            if !counts.is_null(row) {
                let squares = squares.as_ref().map_or_else(|| zero(self.of), |all| all.get(row));
                self.merge(counts.value(row), &sums.get(row), &squares)?;
            }
        }
        Ok(())
    }
}
