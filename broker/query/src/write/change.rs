//! UPDATE and DELETE: a SELECT of keys and images, and events for what it finds.

use super::Written;
use super::assign::{assignments, image};
use super::encode::assigned;
use super::find::KeyFinder;
use super::returning::{Joined, Returned, Returning};
use super::rules::RowRules;
use super::target::{Role, Target, Written as Column, duplicate_key};
use crate::catalog::PUBLIC;
use crate::error::Error;
use crate::execute::Execution;
use crate::pending::{Event, Pending};
use crate::plan::{PlanContext, QueryPlan, placeholder_number, sql_type};
use crate::snapshot::Snapshot;
use crate::sql::Sql;
use crate::statement::{folded, table_alias};
use ahash::{HashMap, HashSet};
use anabranch_types::{PartitionId, PartitionIndex, Timestamp};
use bytes::Bytes;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use datafusion::arrow::compute::take_record_batch;
use datafusion::arrow::datatypes::{DataType, Int32Type, SchemaRef};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::{
    self, Delete, Expr, FromTable, Ident, ObjectName, ObjectNamePart, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, TableFactor, TableWithJoins, Update,
    UpdateTableFromKind, WildcardAdditionalOptions, With,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use std::sync::Arc;

pub(crate) struct ChangePlan {
    target: Target,
    /// `_key, _value, _partition`, the new values, then what RETURNING reads of other relations.
    query: Arc<QueryPlan>,
    /// How to find the rows without it.
    finder: Option<KeyFinder>,
    action: Action,
    returning: Option<Returning>,
    parameters: Vec<DataType>,
}

enum Action {
    /// Columns that are set, in the order of the query's, and what rows must be then.
    Update {
        columns: Vec<Column>,
        moves: bool,
        rules: RowRules,
    },
    Delete,
}

/// Columns of the query in front of the new values.
const KEY: usize = 0;
const VALUE: usize = 1;
const PARTITION: usize = 2;
const NEW_VALUES: usize = 3;

/// The SELECT that finds a statement's rows.
struct Finding {
    target: Target,
    /// How the statement names the stream, and the stream.
    qualifier: ObjectName,
    factor: TableFactor,
    values: Vec<Expr>,
    /// FROM of UPDATE, USING of DELETE.
    others: Vec<TableWithJoins>,
    selection: Option<Expr>,
    with: Option<With>,
}

impl ChangePlan {
    pub(super) async fn update(
        sql: &Sql,
        context: &PlanContext,
        update: Update,
        with: Option<With>,
        hints: &[Option<DataType>],
    ) -> Result<Self, Error> {
        if update.limit.is_some() || update.or.is_some() || !update.order_by.is_empty() {
            return Err(Error::unsupported("this form of UPDATE is not PostgreSQL's"));
        }
        let mut finding = Finding::new(sql, &update.table, "UPDATE", update.selection, with)?;
        finding.others = match update.from {
            None => Vec::new(),
            Some(UpdateTableFromKind::AfterSet(others)) => others,
            Some(UpdateTableFromKind::BeforeSet(_)) => {
                return Err(Error::syntax("FROM comes after SET"));
            }
        };
        let mut columns = Vec::new();
        for (column, value) in assignments(&finding.target, update.assignments)? {
            finding.values.push(of_column(value, &column));
            columns.push(column);
        }
        let moves = columns.iter().any(|column| is_key(&column.role));
        if moves {
            // A key is made of all its columns.
            for column in finding.target.key_columns()? {
                if columns.iter().all(|set| set.field.name() != column.field.name()) {
                    let mut parts = finding.qualifier.clone();
                    let name = Ident::with_quote('"', column.field.name());
                    parts.0.push(ObjectNamePart::Identifier(name));
                    let parts = parts.0.iter().filter_map(|part| part.as_ident().cloned());
                    finding.values.push(Expr::CompoundIdentifier(parts.collect()));
                    columns.push(column);
                }
            }
        }
        let rules = RowRules::new(sql, context, &finding.target)?;
        let action = Action::Update { columns, moves, rules };
        finding.plan(sql, context, action, update.returning, hints).await
    }

    pub(super) async fn delete(
        sql: &Sql,
        context: &PlanContext,
        delete: Delete,
        with: Option<With>,
        hints: &[Option<DataType>],
    ) -> Result<Self, Error> {
        if delete.limit.is_some() || !delete.order_by.is_empty() {
            return Err(Error::unsupported("this form of DELETE is not PostgreSQL's")
                .hint("WHERE key IN (SELECT … ORDER BY … LIMIT n) names the rows"));
        }
        let (FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables)) = &delete.from;
        let [table] = tables.as_slice() else {
            return Err(Error::syntax("DELETE takes one stream"));
        };
        let mut finding = Finding::new(sql, table, "DELETE", delete.selection, with)?;
        finding.others = delete.using.unwrap_or_default();
        finding.plan(sql, context, Action::Delete, delete.returning, hints).await
    }

    /// Whether rows are looked up.
    pub(super) fn is_by_key(&self) -> bool {
        self.finder.is_some() && self.returning.is_none()
    }

    /// Whether it takes no longer than a few lookups.
    pub(super) fn is_quick(&self) -> bool {
        self.finder.is_some()
    }

    pub(super) fn parameters(&self) -> &[DataType] {
        &self.parameters
    }

    pub(super) fn returning_schema(&self) -> Option<&SchemaRef> {
        self.returning.as_ref().map(Returning::schema)
    }

    pub(super) fn verb(&self) -> &'static str {
        match self.action {
            Action::Update { .. } => "UPDATE",
            Action::Delete => "DELETE",
        }
    }

    pub(super) async fn execute(
        &self,
        execution: Execution,
        parameters: Vec<ScalarValue>,
    ) -> Result<(Written, Pending), Error> {
        let snapshot = execution.snapshot().await?;
        let sql = execution.sql.clone();
        let state = sql.state();
        let now = sql.engine().now();
        let mut changes = Changes {
            plan: self,
            sql: &sql,
            snapshot: &snapshot,
            parameters: &parameters,
            now,
            pending: Pending::counted(&sql),
            seen: HashSet::default(),
            left: HashSet::default(),
            placed: HashSet::default(),
            occupied: Vec::new(),
            returned: Vec::new(),
        };
        if let Some(finder) = &self.finder {
            changes.batch(&finder.find(state, &self.target, &snapshot, &parameters)?)?;
        } else {
            let mut given = parameters.clone();
            given.truncate(self.query.parameters.len());
            let mut rows = execution.start(self.query.clone(), given).await?;
            while let Some(batch) = rows.next().await? {
                changes.batch(&batch)?;
            }
        }
        changes.check_occupied()?;
        let Changes { pending, seen, returned, .. } = changes;
        let returning = self.returning.as_ref().map(|of| (of.schema().clone(), returned));
        Ok((Written { verb: self.verb(), count: seen.len(), returning }, pending))
    }
}

/// One execution.
struct Changes<'a> {
    plan: &'a ChangePlan,
    sql: &'a Sql,
    snapshot: &'a Snapshot,
    parameters: &'a [ScalarValue],
    now: Timestamp,
    pending: Pending,
    /// Keys of the rows that were found: a join may find one again, and the first counts.
    seen: HashSet<Bytes>,
    /// Keys that rows have moved away from.
    left: HashSet<Bytes>,
    /// New keys of rows.
    placed: HashSet<Bytes>,
    /// Those of them that rows had before: these must have gone elsewhere.
    occupied: Vec<Bytes>,
    returned: Vec<RecordBatch>,
}

impl Changes<'_> {
    fn batch(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        let target = &self.plan.target;
        let keys = batch.column(KEY).as_binary_view();
        let partitions = batch.column(PARTITION).as_primitive::<Int32Type>();
        let mut found = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            if keys.is_null(row) {
                return Err(Error::internal("a row of a keyed stream has no key"));
            }
            let key = Bytes::copy_from_slice(keys.value(row));
            if !self.seen.insert(key.clone()) {
                continue;
            }
            self.pending.check(&target.stream, &key, self.snapshot.round());
            // A row is changed where it stands, so that its partition keeps the order of its key.
            let partition = target
                .stream
                .partition(PartitionIndex(partitions.value(row)))
                .unwrap_or_else(|| target.partition_of(&key));
            found.push(Found { row, key, partition });
        }
        let returned = match &self.plan.action {
            Action::Delete => self.delete(batch, found)?,
            Action::Update { columns, moves, rules } => {
                self.update(batch, columns, *moves, rules, found)?
            }
        };
        self.give(batch, &returned)
    }

    fn delete(
        &mut self,
        batch: &RecordBatch,
        found: Vec<Found>,
    ) -> Result<Vec<(usize, Returned)>, Error> {
        let values = batch.column(VALUE).as_binary_view();
        let mut returned = Vec::new();
        for Found { row, key, partition } in found {
            if self.plan.returning.is_some() {
                let value = Some(Bytes::copy_from_slice(values.value(row)));
                returned.push((row, Returned { partition, key: Some(key.clone()), value }));
            }
            self.push(partition, key, None)?;
        }
        Ok(returned)
    }

    fn update(
        &mut self,
        batch: &RecordBatch,
        columns: &[Column],
        moves: bool,
        rules: &RowRules,
        found: Vec<Found>,
    ) -> Result<Vec<(usize, Returned)>, Error> {
        let target = &self.plan.target;
        let columns: Vec<(&Column, ArrayRef)> = columns
            .iter()
            .enumerate()
            .map(|(number, column)| {
                let array = batch.column(NEW_VALUES + number);
                Ok((column, assigned(target, column, array)?))
            })
            .collect::<Result<_, Error>>()?;
        let new_keys = match moves {
            true => found
                .iter()
                .map(|found| target.key_of(&columns, found.row))
                .collect::<Result<Vec<_>, _>>()?,
            false => Vec::new(),
        };
        let in_place = self.where_they_stand(&found, &new_keys)?;
        let values = batch.column(VALUE).as_binary_view();
        let mut images = Vec::with_capacity(found.len());
        for (number, Found { row, key, .. }) in found.iter().enumerate() {
            let key = new_keys.get(number).unwrap_or(key).clone();
            images.push((key, image(values.value(*row), &columns, *row)?));
        }
        let images = rules.images(self.sql, target, images)?;
        let mut returned = Vec::new();
        let rows = found.into_iter().zip(images).enumerate();
        for (number, (Found { row, key, partition }, (_, value))) in rows {
            let new_key = new_keys.get(number).filter(|new| **new != key);
            let (partition, key) = match new_key {
                None => (partition, key),
                Some(new) => {
                    self.left.insert(key.clone());
                    if !self.placed.contains(&key) {
                        self.push(partition, key, None)?;
                    }
                    (self.place(new, &in_place)?, new.clone())
                }
            };
            if self.plan.returning.is_some() {
                let (key, value) = (Some(key.clone()), Some(value.clone()));
                returned.push((row, Returned { partition, key, value }));
            }
            self.push(partition, key, Some(value))?;
        }
        Ok(returned)
    }

    /// Partitions of the new keys that rows have already.
    fn where_they_stand(
        &self,
        found: &[Found],
        new_keys: &[Bytes],
    ) -> Result<HashMap<Bytes, PartitionId>, Error> {
        let moved: Vec<Bytes> = found
            .iter()
            .zip(new_keys)
            .filter(|(found, new)| found.key != **new)
            .map(|(_, new)| new.clone())
            .collect();
        let rows = self.snapshot.get_many(&self.plan.target.stream, &moved)?;
        let there = moved.into_iter().zip(rows);
        Ok(there.filter_map(|(key, row)| Some((key, row?.stamp.partition))).collect())
    }

    /// Where a row with a new key goes.
    fn place(
        &mut self,
        key: &Bytes,
        in_place: &HashMap<Bytes, PartitionId>,
    ) -> Result<PartitionId, Error> {
        let target = &self.plan.target;
        if !self.placed.insert(key.clone()) {
            return Err(duplicate_key(&target.stream, key));
        }
        self.pending.check(&target.stream, key, self.snapshot.round());
        Ok(match in_place.get(key) {
            Some(partition) => {
                self.occupied.push(key.clone());
                *partition
            }
            None => target.partition_of(key),
        })
    }

    /// As the SQL standard has it, keys are unique at the end of the statement.
    fn check_occupied(&self) -> Result<(), Error> {
        for key in &self.occupied {
            if !self.left.contains(key) {
                return Err(duplicate_key(&self.plan.target.stream, key));
            }
        }
        Ok(())
    }

    fn push(
        &mut self,
        partition: PartitionId,
        key: Bytes,
        value: Option<Bytes>,
    ) -> Result<(), Error> {
        let (stream, timestamp) = (self.plan.target.stream.clone(), self.now);
        self.pending.push(Event { stream, partition, key: Some(key), value, timestamp })
    }

    fn give(&mut self, batch: &RecordBatch, rows: &[(usize, Returned)]) -> Result<(), Error> {
        let Some(returning) = self.plan.returning.as_ref().filter(|_| !rows.is_empty()) else {
            return Ok(());
        };
        let first = NEW_VALUES + self.plan.new_values();
        let others: Vec<_> = (first..batch.num_columns()).collect();
        let numbers = rows.iter().map(|(row, _)| u32::try_from(*row).unwrap_or(u32::MAX));
        let numbers = UInt32Array::from_iter_values(numbers);
        let others = match others.as_slice() {
            [] => None,
            others => Some(take_record_batch(&batch.project(others)?, &numbers)?),
        };
        let target = &self.plan.target;
        let rows = rows.iter().map(|(_, row)| row);
        self.returned.push(returning.batch(
            self.sql.state(),
            target,
            rows,
            others.as_ref(),
            self.parameters,
        )?);
        Ok(())
    }
}

/// A row that a statement changes.
struct Found {
    row: usize,
    key: Bytes,
    partition: PartitionId,
}

impl ChangePlan {
    fn new_values(&self) -> usize {
        match &self.action {
            Action::Update { columns, .. } => columns.len(),
            Action::Delete => 0,
        }
    }
}

fn is_key(role: &Role) -> bool {
    matches!(role, Role::Key(_) | Role::RawKey)
}

impl Finding {
    fn new(
        sql: &Sql,
        table: &TableWithJoins,
        verb: &str,
        selection: Option<Expr>,
        with: Option<With>,
    ) -> Result<Self, Error> {
        let factor = &table.relation;
        let TableFactor::Table { name, alias, args: None, .. } = factor else {
            return Err(Error::syntax(format!("{verb} takes the name of a stream")));
        };
        if !table.joins.is_empty() {
            return Err(Error::syntax(format!(
                "{verb} takes one stream; name others in FROM or USING"
            )));
        }
        let target = Target::find(sql, name)?;
        if !target.is_keyed() {
            return Err(Error::unsupported(format!(
                "stream \"{}\" keeps every event: {verb} is only for upsert streams",
                target.stream.name
            ))
            .hint("INSERT an event that says what changed; retention removes old events"));
        }
        let qualifier = match alias {
            Some(alias) => ObjectName::from(alias.name.clone()),
            None => name.clone(),
        };
        let mut factor = factor.clone();
        // Whatever WITH calls by its name.
        if let TableFactor::Table { name, alias, .. } = &mut factor
            && let ([ObjectNamePart::Identifier(only)], true) = (name.0.as_slice(), with.is_some())
        {
            alias.get_or_insert_with(|| table_alias(only.clone()));
            name.0.insert(0, ObjectNamePart::Identifier(Ident::new(PUBLIC)));
        }
        let (values, others) = (Vec::new(), Vec::new());
        Ok(Self { target, qualifier, factor, values, others, selection, with })
    }

    /// `SELECT _key, _value, _partition, values…, others.* FROM stream, others WHERE selection`
    async fn plan(
        self,
        sql: &Sql,
        context: &PlanContext,
        action: Action,
        returning: Option<Vec<SelectItem>>,
        hints: &[Option<DataType>],
    ) -> Result<ChangePlan, Error> {
        let Self { target, qualifier, factor, values, others, selection, with } = self;
        let name = qualifier.0.last().and_then(|part| part.as_ident()).map(folded);
        let name = name.unwrap_or_else(|| target.stream.name.clone());
        let finder = match others.is_empty() && with.is_none() {
            true => {
                KeyFinder::new(sql.state(), context, &target, &name, &values, selection.as_ref())
            }
            false => None,
        };
        let text = format!(
            "SELECT {qualifier}._key, {qualifier}._value, {qualifier}._partition FROM {factor}"
        );
        let dialect = PostgreSqlDialect {};
        let mut query = Parser::new(&dialect).try_with_sql(&text)?.parse_query()?;
        query.with = with;
        if let SetExpr::Select(select) = query.body.as_mut() {
            let values = values.into_iter().enumerate().map(|(number, expr)| {
                SelectItem::ExprWithAlias { expr, alias: Ident::new(format!("value_{number}")) }
            });
            select.projection.extend(values);
            if returning.is_some() {
                let mut names = Vec::new();
                others.iter().for_each(|other| relation_names(other, &mut names));
                select.projection.extend(names.into_iter().map(star_of));
            }
            select.from.extend(others);
            select.selection = selection;
        }
        let statement = ast::Statement::Query(query);
        let text = statement.to_string();
        let query = Box::pin(QueryPlan::new(sql, context, &text, statement, hints)).await?;
        let mut parameters = query.parameters.clone();
        let returning = match returning {
            None => None,
            Some(items) => {
                let first = NEW_VALUES
                    + match &action {
                        Action::Update { columns, .. } => columns.len(),
                        Action::Delete => 0,
                    };
                super::add_parameters(&items, &mut parameters);
                let others: Vec<Joined> = query.columns().skip(first).collect();
                Some(Returning::new(sql.state(), context, &target, &name, others, &items)?)
            }
        };
        let query = Arc::new(query);
        Ok(ChangePlan { target, query, finder, action, returning, parameters })
    }
}

/// A parameter that a column is set to has the column's type.
fn of_column(value: Expr, column: &Column) -> Expr {
    match sql_type(column.field.data_type()) {
        Some(data_type) if placeholder_number(&value).is_some() => Expr::Cast {
            kind: ast::CastKind::Cast,
            expr: Box::new(value),
            data_type,
            array: false,
            format: None,
        },
        _ => value,
    }
}

/// Names of the relations of a FROM clause.
fn relation_names(table: &TableWithJoins, names: &mut Vec<ObjectName>) {
    let joined = table.joins.iter().map(|join| &join.relation);
    for factor in std::iter::once(&table.relation).chain(joined) {
        match factor {
            TableFactor::NestedJoin { table_with_joins, alias: None } => {
                relation_names(table_with_joins, names);
            }
            TableFactor::Table { alias: Some(alias), .. }
            | TableFactor::Derived { alias: Some(alias), .. }
            | TableFactor::NestedJoin { alias: Some(alias), .. }
            | TableFactor::Function { alias: Some(alias), .. }
            | TableFactor::UNNEST { alias: Some(alias), .. } => {
                names.push(ObjectName::from(alias.name.clone()));
            }
            TableFactor::Table { name, .. } => names.push(name.clone()),
            _ => {}
        }
    }
}

fn star_of(name: ObjectName) -> SelectItem {
    SelectItem::QualifiedWildcard(
        SelectItemQualifiedWildcardKind::ObjectName(name),
        WildcardAdditionalOptions::default(),
    )
}
