//! `RETURNING …`.

use super::target::{Target, qualified};
use crate::error::Error;
use crate::evaluate;
use crate::plan::PlanContext;
use crate::rows::{RowHeaders, RowInput, RowsBuilder, Source, System};
use crate::scan::partition_index;
use crate::statement::{column_name, folded};
use anabranch_types::{Offset, PartitionId, Timestamp};
use bytes::Bytes;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use datafusion::common::{DFSchema, TableReference};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::Expr;
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::{SelectItem, SelectItemQualifiedWildcardKind};
use std::collections::HashMap;
use std::sync::Arc;

/// What a statement gives of each row that it wrote.
pub(super) struct Returning {
    exprs: Vec<Expr>,
    /// The stream's columns, then those of the relations that it was joined with.
    row: DFSchema,
    /// Which columns of the layout the first are.
    columns: Vec<usize>,
    schema: SchemaRef,
}

/// A row that was written; of DELETE, as it was.
pub(super) struct Returned {
    pub(super) partition: PartitionId,
    pub(super) key: Option<Bytes>,
    pub(super) value: Option<Bytes>,
}

/// A column of a relation that the statement joins.
pub(super) type Joined = (Option<TableReference>, FieldRef);

impl Returning {
    /// Of the stream as the statement calls it (`name`), joined with `others`.
    pub(super) fn new(
        state: &SessionState,
        context: &PlanContext,
        target: &Target,
        name: &str,
        others: Vec<Joined>,
        items: &[SelectItem],
    ) -> Result<Self, Error> {
        let layout = &target.layout;
        let columns: Vec<usize> =
            (0..layout.sources.len()).filter(|&at| is_known(&layout.sources[at])).collect();
        let own = columns.iter().map(|&at| &layout.schema.fields()[at]);
        let mut fields: Vec<Joined> = qualified(name, own);
        let visible = columns.iter().filter(|&&at| at < layout.visible).count();
        let first_other = fields.len();
        fields.extend(others);
        let row = DFSchema::new_with_metadata(fields, HashMap::new())?;
        let mut out = Output { row: &row, exprs: Vec::new(), fields: Vec::new() };
        for item in items {
            match item {
                SelectItem::Wildcard(_) => {
                    out.columns((0..visible).chain(first_other..row.fields().len()));
                }
                SelectItem::QualifiedWildcard(
                    SelectItemQualifiedWildcardKind::ObjectName(of),
                    _,
                ) => {
                    let of = of.0.last().and_then(|part| part.as_ident()).map(folded);
                    let is_shown = |at: &usize| {
                        let (table, _) = row.qualified_field(*at);
                        let named = table.map(TableReference::table) == of.as_deref();
                        named && (*at < visible || *at >= first_other)
                    };
                    let all: Vec<_> = (0..row.fields().len()).filter(is_shown).collect();
                    if all.is_empty() {
                        return Err(Error::new(
                            "42P01",
                            format!("missing FROM-clause entry for {item}"),
                        ));
                    }
                    out.columns(all.into_iter());
                }
                SelectItem::UnnamedExpr(expr) => {
                    let logical = evaluate::logical_within(state, context, expr, &row)?;
                    out.expr(logical, column_name(expr))?;
                }
                SelectItem::ExprWithAlias { expr, alias } => {
                    let logical = evaluate::logical_within(state, context, expr, &row)?;
                    out.expr(logical, folded(alias))?;
                }
                other => {
                    return Err(Error::unsupported(format!("RETURNING {other} is not supported")));
                }
            }
        }
        let Output { exprs, fields, .. } = out;
        Ok(Self { exprs, columns, schema: Arc::new(Schema::new(fields)), row })
    }

    /// What clients see.
    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Of some rows, and of the rows of `others` that they were joined with.
    pub(super) fn batch<'a>(
        &self,
        state: &SessionState,
        target: &Target,
        written: impl Iterator<Item = &'a Returned>,
        others: Option<&RecordBatch>,
        parameters: &[ScalarValue],
    ) -> Result<RecordBatch, Error> {
        let mut rows = RowsBuilder::new(&target.layout, &target.stream, &self.columns);
        for row in written {
            rows.push(RowInput {
                partition: partition_index(&target.stream, row.partition),
                offset: Offset(-1),
                timestamp: Timestamp(-1),
                key: row.key.as_deref(),
                value: row.value.as_deref(),
                headers: RowHeaders::Row(&[]),
            });
        }
        let mut arrays = rows.finish()?.columns().to_vec();
        arrays.extend(others.into_iter().flat_map(|batch| batch.columns().iter().cloned()));
        let batch = RecordBatch::try_new(Arc::new(self.row.as_arrow().clone()), arrays)?;
        let columns = self
            .exprs
            .iter()
            .map(|expr| evaluate::values(state, expr, &self.row, &batch, parameters))
            .collect::<Result<Vec<_>, Error>>()?;
        Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
    }
}

/// What is known of a row before it is appended.
fn is_known(source: &Source) -> bool {
    !matches!(
        source,
        Source::System(
            System::Offset
                | System::Timestamp
                | System::Operation
                | System::Headers
                | System::Misfits
        )
    )
}

struct Output<'a> {
    row: &'a DFSchema,
    exprs: Vec<Expr>,
    fields: Vec<Field>,
}

impl Output<'_> {
    fn columns(&mut self, all: impl Iterator<Item = usize>) {
        for at in all {
            let (table, field) = self.row.qualified_field(at);
            self.exprs.push(Expr::Column((table, field).into()));
            self.fields.push(field.as_ref().clone().with_nullable(true));
        }
    }

    fn expr(&mut self, expr: Expr, name: String) -> Result<(), Error> {
        let field = evaluate::field(&expr, self.row)?;
        self.fields.push(field.as_ref().clone().with_name(name).with_nullable(true));
        self.exprs.push(expr);
        Ok(())
    }
}
