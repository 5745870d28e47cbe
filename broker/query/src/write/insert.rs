//! INSERT.

use super::Written;
use super::conflict::ConflictAction;
use super::encode::Encoder;
use super::pending::{Event, Pending};
use super::target::{Target, Written as Column, check_columns};
use super::values::{self, Cell};
use crate::error::{Error, sqlstate};
use crate::evaluate;
use crate::execute::Execution;
use crate::plan::{PlanContext, QueryPlan, placeholder_number};
use crate::rows::{RowHeaders, RowInput, RowsBuilder};
use crate::sql::Sql;
use crate::statement::folded;
use ahash::HashSet;
use anabranch_engine::Cut;
use anabranch_engine::table::Row;
use anabranch_types::{Offset, PartitionIndex};
use bytes::Bytes;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::Expr;
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::{
    self, Insert, OnInsert, SelectItem, SetExpr, TableObject, Visit, Visitor,
};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub(crate) struct InsertPlan {
    target: Target,
    columns: Vec<Column>,
    source: Source,
    conflict: ConflictAction,
    returning: Option<Returning>,
    parameters: Vec<DataType>,
    /// Rises with each execution: events without a key go to partitions in turn.
    turn: AtomicUsize,
}

enum Source {
    Values(Vec<Vec<Cell>>),
    Query(Arc<QueryPlan>),
    /// Batches that are given one by one ([`InsertPlan::add_batch`]).
    Outside,
}

/// `RETURNING …`, over the rows as they were written.
struct Returning {
    exprs: Vec<Expr>,
    /// The columns that `*` shows.
    rows: DFSchema,
    schema: SchemaRef,
}

impl InsertPlan {
    pub(super) async fn new(
        sql: &Sql,
        context: &PlanContext,
        insert: Insert,
        hints: &[Option<DataType>],
    ) -> Result<Self, Error> {
        let TableObject::TableName(name) = &insert.table else {
            return Err(Error::syntax("INSERT INTO takes the name of a stream"));
        };
        if insert.replace_into
            || insert.or.is_some()
            || insert.overwrite
            || !insert.assignments.is_empty()
        {
            return Err(Error::unsupported("this form of INSERT is not PostgreSQL's"));
        }
        let target = Target::find(sql, name)?;
        let Some(query) = insert.source else {
            return Err(Error::unsupported("DEFAULT VALUES is not supported: columns have none"));
        };
        let named: Option<Vec<String>> = match insert.columns.as_slice() {
            [] => None,
            names => Some(names.iter().map(last_part).collect::<Result<_, _>>()?),
        };
        let names = named.clone().unwrap_or_else(|| target.insertable());
        let (source, width, mut parameters) =
            source(sql, context, &target, *query, &names, hints).await?;
        if width > names.len() || (named.is_some() && width < names.len()) {
            return Err(Error::syntax(if width > names.len() {
                "INSERT has more expressions than target columns"
            } else {
                "INSERT has more target columns than expressions"
            }));
        }
        let columns: Vec<_> =
            names[..width].iter().map(|name| target.column(name)).collect::<Result<_, Error>>()?;
        check_columns(&target, &columns)?;
        add_conflict_parameters(&insert.on, &mut parameters);
        let alias = insert.table_alias.as_ref().map(|alias| &alias.alias);
        let conflict = ConflictAction::new(sql.state(), &target, alias, insert.on)?;
        let returning = match insert.returning {
            None => None,
            Some(items) => Some(Returning::new(sql.state(), &target, &items)?),
        };
        let turn = AtomicUsize::new(0);
        Ok(Self { target, columns, source, conflict, returning, parameters, turn })
    }

    /// For batches of the columns `names` that come from outside.
    pub(super) fn of_batches(target: Target, names: &[String]) -> Result<Self, Error> {
        let columns: Vec<_> =
            names.iter().map(|name| target.column(name)).collect::<Result<_, Error>>()?;
        check_columns(&target, &columns)?;
        Ok(Self {
            target,
            columns,
            source: Source::Outside,
            conflict: ConflictAction::Fail,
            returning: None,
            parameters: Vec::new(),
            turn: AtomicUsize::new(0),
        })
    }

    pub(super) fn stream_name(&self) -> &str {
        &self.target.stream.name
    }

    pub(super) fn is_keyed(&self) -> bool {
        self.target.is_keyed()
    }

    /// The columns that are written.
    pub(super) fn fields(&self) -> impl Iterator<Item = &Arc<Field>> {
        self.columns.iter().map(|column| &column.field)
    }

    pub(super) fn next_turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    /// Adds the rows of `batch`, as they stand at `cut`, to `pending`.
    pub(super) fn add_batch(
        &self,
        state: &SessionState,
        cut: &Cut,
        turn: usize,
        batch: &RecordBatch,
        pending: &mut Pending,
    ) -> Result<(), Error> {
        let parameters = &[];
        let written = Vec::new();
        let mut writer = Writer { plan: self, state, cut, parameters, turn, pending, written };
        writer.batch(batch)
    }

    pub(super) fn parameters(&self) -> &[DataType] {
        &self.parameters
    }

    pub(super) fn returning_schema(&self) -> Option<&SchemaRef> {
        self.returning.as_ref().map(|returning| &returning.schema)
    }

    pub(super) async fn execute(
        &self,
        execution: Execution,
        cut: &Cut,
        parameters: Vec<ScalarValue>,
        pending: &mut Pending,
    ) -> Result<Written, Error> {
        if let Source::Query(_) = &self.source
            && !pending.is_empty()
        {
            return Err(Pending::unreadable());
        }
        let state = execution.sql.state().clone();
        let mut writer = Writer {
            plan: self,
            state: &state,
            cut,
            parameters: &parameters,
            turn: self.next_turn(),
            pending,
            written: Vec::new(),
        };
        match &self.source {
            Source::Values(rows) => {
                let batch = values::batch(rows, &self.columns, &parameters)?;
                writer.batch(&batch)?;
            }
            Source::Query(plan) => {
                let mut rows = execution.start(plan.clone(), parameters.clone()).await?;
                while let Some(batch) = rows.next().await? {
                    writer.batch(&batch)?;
                }
            }
            Source::Outside => {}
        }
        let written = writer.written;
        let returning = match &self.returning {
            None => None,
            Some(returning) => {
                let batch = returning.rows(&state, &self.target, &written, &parameters)?;
                Some((returning.schema.clone(), vec![batch]))
            }
        };
        Ok(Written { verb: "INSERT", count: written.len(), returning })
    }
}

async fn source(
    sql: &Sql,
    context: &PlanContext,
    target: &Target,
    query: ast::Query,
    names: &[String],
    hints: &[Option<DataType>],
) -> Result<(Source, usize, Vec<DataType>), Error> {
    let plain = query.with.is_none() && query.order_by.is_none() && query.limit_clause.is_none();
    if let (SetExpr::Values(rows), true) = (query.body.as_ref(), plain) {
        let width = rows.rows.first().map_or(0, |row| row.content.len());
        if let Some(cells) = values::cells(rows, width)
            && width <= names.len()
        {
            let columns: Vec<_> = names[..width]
                .iter()
                .map(|name| target.column(name))
                .collect::<Result<_, Error>>()?;
            if let Some(parameters) = values::parameter_types(&cells, &columns) {
                return Ok((Source::Values(cells), width, parameters));
            }
        }
    }
    let text = query.to_string();
    let statement = ast::Statement::Query(Box::new(query));
    let plan = QueryPlan::new(sql, context, &text, statement, hints).await?;
    let (width, parameters) = (plan.schema.fields().len(), plan.parameters.clone());
    Ok((Source::Query(Arc::new(plan)), width, parameters))
}

/// Parameters that only ON CONFLICT has are text.
fn add_conflict_parameters(on: &Option<OnInsert>, parameters: &mut Vec<DataType>) {
    struct Highest(usize);
    impl Visitor for Highest {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<()> {
            self.0 = self.0.max(placeholder_number(expr).unwrap_or(0));
            ControlFlow::Continue(())
        }
    }
    let mut highest = Highest(0);
    let _ = on.visit(&mut highest);
    if highest.0 > parameters.len() {
        parameters.resize(highest.0, DataType::Utf8);
    }
}

fn last_part(name: &ast::ObjectName) -> Result<String, Error> {
    match name.0.last().and_then(|part| part.as_ident()) {
        Some(ident) => Ok(folded(ident)),
        None => Err(Error::syntax(format!("{name} is not the name of a column"))),
    }
}

/// One execution.
struct Writer<'a> {
    plan: &'a InsertPlan,
    state: &'a SessionState,
    cut: &'a Cut,
    parameters: &'a [ScalarValue],
    turn: usize,
    pending: &'a mut Pending,
    /// Key and value of each row written, for RETURNING.
    written: Vec<(Option<Bytes>, Option<Bytes>)>,
}

impl Writer<'_> {
    fn batch(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        let encoder = Encoder::new(&self.plan.target, &self.plan.columns, batch)?;
        match self.plan.target.stream.table {
            Some(table) if self.plan.target.is_keyed() => {
                let keys = (0..batch.num_rows())
                    .map(|row| {
                        encoder.key(row)?.ok_or_else(|| Error::internal("a keyed row has no key"))
                    })
                    .collect::<Result<Vec<_>, Error>>()?;
                let existing = self.cut.tables.get_many(table, &keys)?;
                self.keyed(&encoder, &keys, existing)
            }
            _ => self.append(&encoder, batch.num_rows()),
        }
    }

    fn append(&mut self, encoder: &Encoder<'_>, rows: usize) -> Result<(), Error> {
        for row in 0..rows {
            let key = encoder.key(row)?;
            let partition = match &key {
                Some(key) => self.plan.target.partition_of(key),
                None => self.plan.target.partition_in_turn(self.turn),
            };
            let value = encoder.value(row)?;
            self.push(partition, key, value)?;
        }
        Ok(())
    }

    fn keyed(
        &mut self,
        encoder: &Encoder<'_>,
        keys: &[Bytes],
        existing: Vec<Option<Row>>,
    ) -> Result<(), Error> {
        let mut conflicting = Vec::new();
        let mut seen = HashSet::default();
        let mut numbers = Vec::new();
        for (number, (key, row)) in keys.iter().zip(existing).enumerate() {
            let stream = &self.plan.target.stream;
            let again = self.pending.writes(stream, key) || seen.contains(key);
            self.pending.check(stream, key, self.cut.round);
            match (&self.plan.conflict, row, again) {
                (_, None, false) => {
                    let partition = self.plan.target.partition_of(key);
                    let value = encoder.value(number)?;
                    self.push(partition, Some(key.clone()), value)?;
                }
                (ConflictAction::Fail, ..) => return Err(self.duplicate(key)),
                (ConflictAction::Nothing, ..) => {}
                (ConflictAction::Update(_), _, true) => {
                    return Err(Error::new(
                        sqlstate::CARDINALITY_VIOLATION,
                        "ON CONFLICT DO UPDATE command cannot affect row a second time",
                    )
                    .hint("no two rows of one INSERT may have one key"));
                }
                (ConflictAction::Update(_), Some(row), false) => {
                    seen.insert(key.clone());
                    conflicting.push((key.clone(), row));
                    numbers.push(u32::try_from(number).unwrap_or(u32::MAX));
                }
            }
        }
        self.update(encoder, &conflicting, &numbers)
    }

    fn update(
        &mut self,
        encoder: &Encoder<'_>,
        conflicting: &[(Bytes, Row)],
        numbers: &[u32],
    ) -> Result<(), Error> {
        let ConflictAction::Update(update) = &self.plan.conflict else {
            return Ok(());
        };
        if conflicting.is_empty() {
            return Ok(());
        }
        let fields: Vec<_> =
            self.plan.columns.iter().map(|column| column.field.as_ref().clone()).collect();
        let fields = fields.into_iter().map(|field| field.with_nullable(true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let excluded = RecordBatch::try_new(schema, encoder.arrays().to_vec())?;
        let target = &self.plan.target;
        let values =
            update.values(self.state, target, conflicting, &excluded, numbers, self.parameters)?;
        for ((key, row), value) in conflicting.iter().zip(values) {
            if let Some(value) = value {
                self.push(row.stamp.partition, Some(key.clone()), Some(value))?;
            }
        }
        Ok(())
    }

    fn push(
        &mut self,
        partition: anabranch_types::PartitionId,
        key: Option<Bytes>,
        value: Option<Bytes>,
    ) -> Result<(), Error> {
        self.written.push((key.clone(), value.clone()));
        let stream = self.plan.target.stream.clone();
        self.pending.push(Event { stream, partition, key, value })
    }

    fn duplicate(&self, key: &[u8]) -> Error {
        let stream = &self.plan.target.stream;
        let columns: Vec<_> = stream.key_columns().map(|column| column.name.as_str()).collect();
        let columns = if columns.is_empty() { "_key".to_owned() } else { columns.join(", ") };
        Error::new(
            sqlstate::UNIQUE_VIOLATION,
            format!(
                "duplicate key value violates unique constraint \"{}_pkey\": key ({columns})=({}) \
                 already exists",
                stream.name,
                String::from_utf8_lossy(key)
            ),
        )
        .hint("use ON CONFLICT DO UPDATE or DO NOTHING")
    }
}

impl Returning {
    fn new(state: &SessionState, target: &Target, items: &[SelectItem]) -> Result<Self, Error> {
        let visible = target.layout.visible_schema();
        let rows = DFSchema::try_from_qualified_schema(target.stream.name.as_str(), &visible)?;
        let mut exprs = Vec::new();
        let mut fields = Vec::new();
        for item in items {
            let (expr, alias) = match item {
                SelectItem::Wildcard(_) => {
                    for (index, field) in visible.fields().iter().enumerate() {
                        exprs.push(Expr::Column(rows.columns()[index].clone()));
                        fields.push(field.as_ref().clone());
                    }
                    continue;
                }
                SelectItem::UnnamedExpr(expr) => (expr, None),
                SelectItem::ExprWithAlias { expr, alias } => (expr, Some(folded(alias))),
                other => {
                    return Err(Error::unsupported(format!("RETURNING {other} is not supported")));
                }
            };
            let logical = evaluate::logical(state, expr, &rows)?;
            let field = evaluate::field(&logical, &rows)?;
            let name = alias.unwrap_or_else(|| match &logical {
                Expr::Column(column) => column.name.clone(),
                _ => "?column?".to_owned(),
            });
            fields.push(field.as_ref().clone().with_name(name).with_nullable(true));
            exprs.push(logical);
        }
        let fields: Vec<Field> = fields;
        Ok(Self { exprs, rows, schema: Arc::new(Schema::new(fields)) })
    }

    fn rows(
        &self,
        state: &SessionState,
        target: &Target,
        written: &[(Option<Bytes>, Option<Bytes>)],
        parameters: &[ScalarValue],
    ) -> Result<RecordBatch, Error> {
        let visible: Vec<_> = (0..target.layout.visible).collect();
        let mut rows = RowsBuilder::new(&target.layout, &target.stream, &visible);
        for (key, value) in written {
            rows.push(RowInput {
                partition: PartitionIndex(-1),
                offset: Offset(-1),
                timestamp: anabranch_types::Timestamp(-1),
                key: key.as_deref(),
                value: value.as_deref(),
                headers: RowHeaders::Row(&[]),
            });
        }
        let batch = rows.finish()?;
        let columns = self
            .exprs
            .iter()
            .map(|expr| evaluate::values(state, expr, &self.rows, &batch, parameters))
            .collect::<Result<Vec<_>, Error>>()?;
        Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
    }
}
