//! Rows that UPDATE or DELETE names by their whole key: looked up, where a plan would have to be
//! executed (which took nine tenths of the time of such a statement).

use super::target::{Target, qualified};
use crate::error::Error;
use crate::evaluate;
use crate::plan::PlanContext;
use crate::rows::{Layout, RowsBuilder};
use crate::scan::{KeyColumn, Predicate, partition_index, points, predicate, push_row};
use crate::snapshot::Snapshot;
use crate::statement::calls_sequences;
use anabranch_engine::table::Row;
use bytes::Bytes;
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewBuilder, BooleanArray, Int32Array, RecordBatch,
};
use datafusion::arrow::compute::{and_kleene, filter_record_batch};
use datafusion::arrow::datatypes::{Field, Schema};
use datafusion::common::DFSchema;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// A statement's rows by key, and what else must hold of them.
pub(super) struct KeyFinder {
    /// On the key, as equality with constants or parameters.
    keys: Vec<Expr>,
    rest: Option<Expr>,
    values: Vec<Expr>,
    /// The columns of the layout that `rest` and `values` read.
    columns: Vec<usize>,
    row: DFSchema,
}

impl KeyFinder {
    /// `None` if the statement has to be executed as a query.
    pub(super) fn new(
        state: &SessionState,
        context: &PlanContext,
        target: &Target,
        name: &str,
        values: &[ast::Expr],
        selection: Option<&ast::Expr>,
    ) -> Option<Self> {
        let layout = &target.layout;
        let named = |fields| DFSchema::new_with_metadata(fields, HashMap::new());
        let schema = named(qualified(name, layout.schema.fields())).ok()?;
        let simplify = SimplifyContext::builder()
            .with_schema(Arc::new(schema.clone()))
            .with_config_options(state.config_options().clone())
            .build();
        let simplifier = ExprSimplifier::new(simplify);
        let logical = |expr: &ast::Expr| {
            let expr = match calls_sequences(expr) {
                true => return None,
                false => evaluate::logical_within(state, context, expr, &schema).ok()?,
            };
            simplifier.simplify(simplifier.coerce(expr, &schema).ok()?).ok()
        };
        let by_key =
            |filter: &Expr| matches!(predicate(layout, filter), Some(Predicate::OneOf(..)));
        let (keys, rest): (Vec<Expr>, Vec<Expr>) =
            split_conjunction_owned(logical(selection?)?).into_iter().partition(by_key);
        if !is_whole_key(layout, &keys) {
            return None;
        }
        let values = values.iter().map(logical).collect::<Option<Vec<_>>>()?;
        let rest = conjunction(rest);
        let mut used = BTreeSet::new();
        for expr in values.iter().chain(&rest) {
            for column in expr.column_refs() {
                used.insert(layout.schema.index_of(&column.name).ok()?);
            }
        }
        let columns: Vec<usize> = used.into_iter().collect();
        let read = columns.iter().map(|&at| &layout.schema.fields()[at]);
        let row = named(qualified(name, read)).ok()?;
        Some(Self { keys, rest, values, columns, row })
    }

    /// `_key, _value, _partition`, then the new values, of the rows that there are.
    pub(super) fn find(
        &self,
        state: &SessionState,
        target: &Target,
        snapshot: &Snapshot,
        parameters: &[ScalarValue],
    ) -> Result<RecordBatch, Error> {
        let keys = points(&target.layout, &self.keys, parameters)?;
        let found = snapshot.get_many(&target.stream, &keys)?;
        let found: Vec<(&Bytes, Row)> =
            keys.iter().zip(found).filter_map(|(key, row)| Some((key, row?))).collect();
        let mut rows = RowsBuilder::new(&target.layout, &target.stream, &self.columns);
        for (key, row) in &found {
            push_row(&mut rows, &target.stream, key, row);
        }
        let row = rows.finish()?;
        let of = |expr: &Expr| evaluate::values(state, expr, &self.row, &row, parameters);
        let mut columns = places(target, &found);
        for value in &self.values {
            columns.push(of(value)?);
        }
        let fields = columns.iter().enumerate().map(|(number, array)| {
            Field::new(format!("column_{number}"), array.data_type().clone(), true)
        });
        let schema = Schema::new(fields.collect::<Vec<_>>());
        let batch = RecordBatch::try_new(Arc::new(schema), columns)?;
        match &self.rest {
            None => Ok(batch),
            Some(rest) => {
                let holds = of(rest)?;
                let all = BooleanArray::from(vec![true; holds.len()]);
                Ok(filter_record_batch(&batch, &and_kleene(holds.as_boolean(), &all)?)?)
            }
        }
    }
}

fn is_whole_key(layout: &Layout, keys: &[Expr]) -> bool {
    let given: Vec<KeyColumn> = keys
        .iter()
        .filter_map(|key| match predicate(layout, key) {
            Some(Predicate::OneOf(column, _)) => Some(column),
            _ => None,
        })
        .collect();
    let parts = layout.key.columns();
    let declared = (0..parts).all(|part| given.contains(&KeyColumn::Declared(part)));
    given.contains(&KeyColumn::Raw) || (parts > 0 && declared)
}

/// Where rows stand, and what they are.
fn places(target: &Target, found: &[(&Bytes, Row)]) -> Vec<ArrayRef> {
    let mut keys = BinaryViewBuilder::with_capacity(found.len());
    let mut values = BinaryViewBuilder::with_capacity(found.len());
    for (key, row) in found {
        keys.append_value(key);
        values.append_value(&row.value);
    }
    let partitions =
        found.iter().map(|(_, row)| partition_index(&target.stream, row.stamp.partition).0);
    vec![
        Arc::new(keys.finish()),
        Arc::new(values.finish()),
        Arc::new(Int32Array::from_iter_values(partitions)),
    ]
}
