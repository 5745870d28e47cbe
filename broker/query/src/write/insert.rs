//! INSERT.

use super::complete::{Completion, refuse_given, take_defaults};
use super::conflict::ConflictAction;
use super::encode::Encoder;
use super::returning::{Returned, Returning};
use super::target::{Target, check_columns, duplicate_key};
use super::values::{self, Cell};
use super::{Written, add_parameters};
use crate::error::{Error, sqlstate};
use crate::execute::Execution;
use crate::pending::{Event, Pending};
use crate::plan::{PlanContext, QueryPlan};
use crate::snapshot::{KEYS_AT_HAND_MAX, Snapshot};
use crate::sql::Sql;
use crate::statement::{Overriding, folded, next_value_of};
use ahash::HashSet;
use anabranch_engine::table::Row;
use anabranch_types::{PartitionId, Timestamp};
use bytes::Bytes;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::{self, Insert, SetExpr, TableObject};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub(crate) struct InsertPlan {
    into: Destination,
    source: Source,
    returning: Option<Returning>,
    parameters: Vec<DataType>,
}

/// Where rows go, and what becomes of them on the way.
pub(super) struct Destination {
    pub(super) target: Target,
    pub(super) completion: Completion,
    conflict: ConflictAction,
    /// Rises with each execution: events without a key go to partitions in turn.
    turn: AtomicUsize,
}

enum Source {
    Values(Vec<Vec<Cell>>),
    Query(Arc<QueryPlan>),
}

impl InsertPlan {
    pub(super) async fn new(
        sql: &Sql,
        context: &PlanContext,
        insert: Insert,
        overriding: Overriding,
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
        let named: Option<Vec<String>> = match insert.columns.as_slice() {
            [] => None,
            names => Some(names.iter().map(last_part).collect::<Result<_, _>>()?),
        };
        let mut names = named.clone().unwrap_or_else(|| target.insertable());
        let (source, width, mut parameters) = match insert.source {
            None => {
                names.clear();
                (Source::Values(vec![Vec::new()]), 0, Vec::new())
            }
            Some(mut query) => {
                take_defaults(&target, &mut names, &mut query, overriding)?;
                source(sql, context, &target, *query, &names, hints).await?
            }
        };
        if width > names.len() || (named.is_some() && width < names.len()) {
            return Err(Error::syntax(if width > names.len() {
                "INSERT has more expressions than target columns"
            } else {
                "INSERT has more target columns than expressions"
            }));
        }
        let mut into = Destination::new(sql, context, target, &names[..width], overriding)?;
        let target = &into.target;
        add_parameters(&insert.on, &mut parameters);
        add_parameters(&insert.returning, &mut parameters);
        let alias = insert.table_alias.as_ref().map(|alias| &alias.alias);
        let name = alias.map_or_else(|| target.stream.name.clone(), folded);
        let conflict = ConflictAction::new(sql, context, target, &name, insert.on)?;
        let returning = match insert.returning {
            None => None,
            Some(items) => {
                Some(Returning::new(sql.state(), context, target, &name, Vec::new(), &items)?)
            }
        };
        into.conflict = conflict;
        Ok(Self { into, source, returning, parameters })
    }

    /// Whether it writes values, and does no more.
    pub(super) fn is_of_values(&self) -> bool {
        matches!(self.source, Source::Values(_))
            && !matches!(self.into.conflict, ConflictAction::Update(_))
            && self.returning.is_none()
    }

    /// Whether it takes no longer than a few lookups.
    pub(super) fn is_quick(&self) -> bool {
        matches!(&self.source, Source::Values(rows) if rows.len() <= KEYS_AT_HAND_MAX)
    }

    pub(super) fn parameters(&self) -> &[DataType] {
        &self.parameters
    }

    pub(super) fn returning_schema(&self) -> Option<&SchemaRef> {
        self.returning.as_ref().map(Returning::schema)
    }

    pub(super) async fn execute(
        &self,
        execution: Execution,
        parameters: Vec<ScalarValue>,
    ) -> Result<(Written, Pending), Error> {
        let snapshot = execution.snapshot().await?;
        let sql = execution.sql.clone();
        let state = sql.state();
        let Destination { target, completion, .. } = &self.into;
        let mut writer = Writer {
            into: &self.into,
            sql: &sql,
            snapshot: &snapshot,
            parameters: &parameters,
            turn: self.into.next_turn(),
            now: execution.sql.engine().now(),
            pending: Pending::counted(&sql),
            count: 0,
            returned: self.returning.is_some().then(Vec::new),
        };
        match &self.source {
            Source::Values(rows) => {
                let given = completion.given();
                let rows = values::with_next(rows, &sql, completion.session()).await?;
                let batch = values::batch(sql.state(), &rows, given, &parameters)?;
                writer.batch(&completion.batch(&sql, target, &batch).await?)?;
            }
            Source::Query(plan) => {
                let mut given = parameters.clone();
                given.truncate(plan.parameters.len());
                let mut rows = execution.start(plan.clone(), given).await?;
                while let Some(batch) = rows.next().await? {
                    writer.batch(&completion.batch(&sql, target, &batch).await?)?;
                }
            }
        }
        let Writer { pending, count, returned, .. } = writer;
        let returning = match &self.returning {
            None => None,
            Some(returning) => {
                let rows = returned.iter().flatten();
                let batch = returning.batch(state, target, rows, None, &parameters)?;
                Some((returning.schema().clone(), vec![batch]))
            }
        };
        Ok((Written { verb: "INSERT", count, returning }, pending))
    }
}

impl Destination {
    /// Of rows with the columns `names`, whose keys must not exist.
    pub(super) fn new(
        sql: &Sql,
        context: &PlanContext,
        target: Target,
        names: &[String],
        overriding: Overriding,
    ) -> Result<Self, Error> {
        let columns: Vec<_> =
            names.iter().map(|name| target.column(name)).collect::<Result<_, Error>>()?;
        for column in &columns {
            refuse_given(target.declared(column.field.name()), overriding)?;
        }
        let completion = Completion::new(sql, context, &target, columns)?;
        check_columns(&target, completion.columns())?;
        let (conflict, turn) = (ConflictAction::Fail, AtomicUsize::new(0));
        Ok(Self { target, completion, conflict, turn })
    }

    pub(super) fn next_turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    /// Adds the rows of `batch`, which is complete, as they stand in `snapshot`, to `pending`,
    /// which is of no more use where that fails.
    pub(super) fn add(
        &self,
        sql: &Sql,
        snapshot: &Snapshot,
        turn: usize,
        batch: &RecordBatch,
        pending: &mut Pending,
    ) -> Result<(), Error> {
        let mut writer = Writer {
            into: self,
            sql,
            snapshot,
            parameters: &[],
            turn,
            now: sql.engine().now(),
            pending: std::mem::take(pending),
            count: 0,
            returned: None,
        };
        writer.batch(batch)?;
        *pending = writer.pending;
        Ok(())
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
        if let Some(cells) = values::cells(sql.state(), context, rows, width)
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
    let mut query = query;
    as_selects(&mut query);
    let text = query.to_string();
    let statement = ast::Statement::Query(Box::new(query));
    let plan = Box::pin(QueryPlan::new(sql, context, &text, statement, hints)).await?;
    let (width, parameters) = (plan.schema.fields().len(), plan.parameters.clone());
    Ok((Source::Query(Arc::new(plan)), width, parameters))
}

/// VALUES with values of sequences as SELECTs: only these wait for what they compute.
fn as_selects(query: &mut ast::Query) {
    let SetExpr::Values(values) = query.body.as_ref() else { return };
    let mut takes_next = |expr: &ast::Expr| match next_value_of(expr) {
        Some(_) => ControlFlow::Break(()),
        None => ControlFlow::Continue(()),
    };
    let has_next = values
        .rows
        .iter()
        .flat_map(|row| &row.content)
        .any(|expr| ast::visit_expressions(expr, &mut takes_next).is_break());
    if !has_next {
        return;
    }
    let selects = values.rows.iter().map(|row| {
        let cells: Vec<_> = row.content.iter().map(ToString::to_string).collect();
        format!("SELECT {}", cells.join(", "))
    });
    let text = selects.collect::<Vec<_>>().join(" UNION ALL ");
    let parsed = Parser::new(&PostgreSqlDialect {})
        .try_with_sql(&text)
        .and_then(|mut parser| parser.parse_query());
    // What does not parse stays as it is, and is refused when it is planned.
    if let Ok(parsed) = parsed {
        query.body = parsed.body;
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
    into: &'a Destination,
    sql: &'a Sql,
    snapshot: &'a Snapshot,
    parameters: &'a [ScalarValue],
    turn: usize,
    now: Timestamp,
    pending: Pending,
    count: usize,
    /// The rows, if they are asked for.
    returned: Option<Vec<Returned>>,
}

impl Writer<'_> {
    fn batch(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        let encoder = Encoder::new(&self.into.target, self.into.completion.columns(), batch)?;
        match self.into.target.is_keyed() {
            true => {
                let keys = (0..batch.num_rows())
                    .map(|row| {
                        encoder.key(row)?.ok_or_else(|| Error::internal("a keyed row has no key"))
                    })
                    .collect::<Result<Vec<_>, Error>>()?;
                let existing = self.snapshot.get_many(&self.into.target.stream, &keys)?;
                self.keyed(&encoder, &keys, existing)
            }
            false => self.append(&encoder, batch.num_rows()),
        }
    }

    fn append(&mut self, encoder: &Encoder<'_>, rows: usize) -> Result<(), Error> {
        for row in 0..rows {
            let key = encoder.key(row)?;
            let partition = match &key {
                Some(key) => self.into.target.partition_of(key),
                None => self.into.target.partition_in_turn(self.turn),
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
            let stream = &self.into.target.stream;
            let again = self.pending.last(stream.id, key).is_some() || seen.contains(key);
            self.pending.check(stream, key, self.snapshot.round());
            match (&self.into.conflict, row, again) {
                (_, None, false) => {
                    let partition = self.into.target.partition_of(key);
                    let value = encoder.value(number)?;
                    self.push(partition, Some(key.clone()), value)?;
                }
                (ConflictAction::Fail, ..) => {
                    return Err(
                        duplicate_key(stream, key).hint("use ON CONFLICT DO UPDATE or DO NOTHING")
                    );
                }
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
        let ConflictAction::Update(update) = &self.into.conflict else {
            return Ok(());
        };
        if conflicting.is_empty() {
            return Ok(());
        }
        let columns = self.into.completion.columns().iter();
        let fields: Vec<_> = columns.map(|column| column.field.as_ref().clone()).collect();
        let fields = fields.into_iter().map(|field| field.with_nullable(true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let excluded = RecordBatch::try_new(schema, encoder.arrays().to_vec())?;
        let target = &self.into.target;
        let values =
            update.values(self.sql, target, conflicting, &excluded, numbers, self.parameters)?;
        for ((key, row), value) in conflicting.iter().zip(values) {
            if let Some(value) = value {
                self.push(row.stamp.partition, Some(key.clone()), Some(value))?;
            }
        }
        Ok(())
    }

    fn push(
        &mut self,
        partition: PartitionId,
        key: Option<Bytes>,
        value: Option<Bytes>,
    ) -> Result<(), Error> {
        self.count += 1;
        if let Some(returned) = &mut self.returned {
            let (key, value) = (key.clone(), value.clone());
            returned.push(Returned { partition, key, value });
        }
        let (stream, timestamp) = (self.into.target.stream.clone(), self.now);
        self.pending.push(Event { stream, partition, key, value, timestamp })
    }
}
