//! Sums of exact numbers for many groups at once: what `sum` and `avg` of integers and numeric
//! need. Sums of integers and stored decimals are kept in 128 bits, and move to numeric where
//! these do not hold them.

use crate::datum::{Datum, Reader, column};
use crate::error::Error;
use crate::numeric::Numeric;
use crate::types::PgType;
use datafusion::arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, Int64Array,
};
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Int16Type, Int32Type, Int64Type};
use datafusion::error::Result;
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};
use datafusion::scalar::ScalarValue;
use std::collections::HashMap;

/// What is made of a sum and a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exact {
    Sum,
    Average,
}

/// Whether sums of these values are kept here.
pub(super) fn takes(values: &DataType) -> bool {
    matches!(
        values,
        DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::Decimal128(..)
            | DataType::LargeBinary
    )
}

/// The sums of all groups, and how many values are in each.
#[derive(Debug)]
pub(super) struct ExactTotals {
    kind: Exact,
    result: PgType,
    /// Digits after the point of `sums`.
    scale: i8,
    counts: Vec<i64>,
    sums: Vec<i128>,
    /// What is not in `sums`: of numeric, and of sums that have outgrown them.
    beyond: HashMap<usize, Numeric>,
}

impl ExactTotals {
    /// Of values of type `of`, which [`takes`] takes.
    pub(super) fn new(kind: Exact, of: &DataType, result: PgType) -> Self {
        let scale = match of {
            DataType::Decimal128(_, scale) => *scale,
            _ => 0,
        };
        Self { kind, result, scale, counts: Vec::new(), sums: Vec::new(), beyond: HashMap::new() }
    }

    fn grow(&mut self, groups: usize) {
        self.counts.resize(groups.max(self.counts.len()), 0);
        self.sums.resize(groups.max(self.sums.len()), 0);
    }

    fn add_numeric(&mut self, group: usize, value: &Numeric) -> Result<(), Error> {
        match self.beyond.get_mut(&group) {
            Some(sum) => *sum = sum.add(value)?,
            None => {
                self.beyond.insert(group, value.clone());
            }
        }
        Ok(())
    }

    fn add_i128(&mut self, group: usize, value: i128) -> Result<(), Error> {
        match self.sums[group].checked_add(value) {
            Some(sum) => self.sums[group] = sum,
            None => {
                let full = Numeric::of_decimal(self.sums[group], self.scale);
                self.sums[group] = value;
                self.add_numeric(group, &full)?;
            }
        }
        Ok(())
    }

    fn add_primitive<T: ArrowPrimitiveType>(
        &mut self,
        values: &ArrayRef,
        sign: i64,
        group_of: impl Fn(usize) -> Option<usize>,
    ) -> Result<(), Error>
    where
        T::Native: Into<i128>,
    {
        let values = values.as_primitive::<T>();
        for row in 0..values.len() {
            if let (true, Some(group)) = (values.is_valid(row), group_of(row)) {
                self.counts[group] += sign;
                self.add_i128(group, i128::from(sign) * values.value(row).into())?;
            }
        }
        Ok(())
    }

    /// Adds values to their groups, or takes them away where `sign` is −1; `group_of` a row is
    /// none where it does not count.
    fn add(
        &mut self,
        values: &ArrayRef,
        sign: i64,
        group_of: impl Fn(usize) -> Option<usize>,
    ) -> Result<(), Error> {
        match values.data_type() {
            DataType::Int16 => self.add_primitive::<Int16Type>(values, sign, group_of),
            DataType::Int32 => self.add_primitive::<Int32Type>(values, sign, group_of),
            DataType::Int64 => self.add_primitive::<Int64Type>(values, sign, group_of),
            DataType::Decimal128(..) => {
                self.add_primitive::<Decimal128Type>(values, sign, group_of)
            }
            _ => {
                let reader = Reader::new(values, PgType::Numeric)?;
                for row in 0..values.len() {
                    if let (Datum::Numeric(value), Some(group)) = (reader.get(row), group_of(row)) {
                        self.counts[group] += sign;
                        let value = if sign < 0 { value.negated() } else { value };
                        self.add_numeric(group, &value)?;
                    }
                }
                Ok(())
            }
        }
    }

    fn merge(&mut self, states: &[ArrayRef], group_of: impl Fn(usize) -> usize) -> Result<()> {
        let counts = states[0].as_primitive::<Int64Type>();
        let sums = Reader::new(&states[1], PgType::Numeric)?;
        for row in 0..counts.len() {
            if counts.is_null(row) || counts.value(row) == 0 {
                continue;
            }
            let group = group_of(row);
            self.counts[group] += counts.value(row);
            self.add_numeric(group, &sums.get(row).numeric())?;
        }
        Ok(())
    }

    /// Counts and sums of the groups that are given away; what is left is numbered anew.
    fn taken(&mut self, emit_to: EmitTo) -> Result<(Vec<i64>, Vec<Numeric>), Error> {
        let counts = emit_to.take_needed(&mut self.counts);
        let sums = emit_to.take_needed(&mut self.sums);
        let taken = counts.len();
        let mut beyond = std::mem::take(&mut self.beyond);
        let mut totals = Vec::with_capacity(taken);
        for (group, sum) in sums.into_iter().enumerate() {
            let sum = Numeric::of_decimal(sum, self.scale);
            totals.push(match beyond.remove(&group) {
                Some(more) => sum.add(&more)?,
                None => sum,
            });
        }
        self.beyond = beyond.into_iter().map(|(group, sum)| (group - taken, sum)).collect();
        Ok((counts, totals))
    }

    fn value(&self, count: i64, sum: Numeric) -> Result<Datum, Error> {
        Ok(match self.kind {
            _ if count == 0 => Datum::Null,
            Exact::Sum if self.result == PgType::Int8 => {
                Datum::Int(sum.to_i64().ok_or_else(|| crate::casts::out_of_range(PgType::Int8))?)
            }
            Exact::Sum => Datum::Numeric(sum),
            Exact::Average => Datum::Numeric(sum.divide(&Numeric::from(count))?),
        })
    }

    fn size_bytes(&self) -> usize {
        self.counts.capacity() * size_of::<i64>()
            + self.sums.capacity() * size_of::<i128>()
            + self.beyond.capacity() * size_of::<(usize, Numeric)>()
    }
}

/// Counts and sums as they go from the partial aggregate to the final one.
fn states(counts: Vec<i64>, sums: Vec<Numeric>) -> Result<Vec<ArrayRef>> {
    let sums: Vec<Datum> = sums.into_iter().map(Datum::Numeric).collect();
    Ok(vec![
        std::sync::Arc::new(Int64Array::from(counts)) as ArrayRef,
        column(&sums, PgType::Numeric)?,
    ])
}

fn counts_row(filter: Option<&BooleanArray>, row: usize) -> bool {
    filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row))
}

impl GroupsAccumulator for ExactTotals {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.grow(total);
        self.add(&values[0], 1, |row| counts_row(filter, row).then(|| groups[row]))?;
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let (counts, sums) = self.taken(emit_to)?;
        let values = counts.into_iter().zip(sums).map(|(count, sum)| self.value(count, sum));
        let values = values.collect::<Result<Vec<_>, Error>>()?;
        Ok(column(&values, self.result)?)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let (counts, sums) = self.taken(emit_to)?;
        states(counts, sums)
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.grow(total);
        self.merge(values, |row| groups[row])
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let reader = Reader::new(&values[0], PgType::of(values[0].data_type()))?;
        let rows = 0..values[0].len();
        let numbers: Vec<Datum> = rows
            .map(|row| if counts_row(filter, row) { reader.get(row) } else { Datum::Null })
            .collect();
        let counts = numbers.iter().map(|number| i64::from(!number.is_null())).collect();
        let sums = numbers.iter().map(|number| match number {
            Datum::Null => Numeric::from(0),
            number => number.numeric(),
        });
        states(counts, sums.collect())
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.size_bytes()
    }
}

/// All rows are one group, for aggregates without GROUP BY and for windows.
#[derive(Debug)]
pub(super) struct OneTotal(ExactTotals);

impl OneTotal {
    pub(super) fn new(mut totals: ExactTotals) -> Self {
        totals.grow(1);
        Self(totals)
    }

    fn total(&self) -> Result<Numeric, Error> {
        let sum = Numeric::of_decimal(self.0.sums[0], self.0.scale);
        self.0.beyond.get(&0).map_or_else(|| Ok(sum.clone()), |more| sum.add(more))
    }
}

impl Accumulator for OneTotal {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        Ok(self.0.add(&values[0], 1, |_| Some(0))?)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        Ok(self.0.add(&values[0], -1, |_| Some(0))?)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let value = self.0.value(self.0.counts[0], self.total()?)?;
        ScalarValue::try_from_array(&column(&[value], self.0.result)?, 0)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.0.size_bytes()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let sum = column(&[Datum::Numeric(self.total()?)], PgType::Numeric)?;
        Ok(vec![ScalarValue::Int64(Some(self.0.counts[0])), ScalarValue::try_from_array(&sum, 0)?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.0.merge(states, |_| 0)
    }
}
