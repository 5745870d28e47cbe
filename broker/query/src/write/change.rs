//! UPDATE and DELETE: a SELECT of keys and images, and events for what it finds.

use super::Written;
use super::conflict::{assigned_column, image};
use super::encode::assigned;
use super::pending::{Event, Pending};
use super::rules::RowRules;
use super::target::{Target, Written as Column};
use crate::error::Error;
use crate::execute::Execution;
use crate::plan::{PlanContext, QueryPlan};
use crate::sql::Sql;
use crate::statement::folded;
use anabranch_engine::Cut;
use anabranch_types::PartitionIndex;
use bytes::Bytes;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Int32Type};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::{
    self, BinaryOperator, Delete, Expr, FromTable, Ident, ObjectName, SelectItem, SetExpr,
    TableFactor, TableWithJoins, Update, visit_expressions,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use std::ops::ControlFlow;
use std::sync::Arc;

pub(crate) struct ChangePlan {
    target: Target,
    /// `_key, _value, _partition`, then the new values.
    query: Arc<QueryPlan>,
    action: Action,
    reads: Reads,
}

/// What a statement reads to find its rows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reads {
    /// The row of one key.
    OneRow,
    /// Rows of the stream that it changes.
    Rows,
    /// Other streams too.
    Everything,
}

enum Action {
    /// Columns that are set, in the order of the query's, and what rows must be then.
    Update(Vec<Column>, RowRules),
    Delete,
}

/// Columns of the query in front of the new values.
const KEY: usize = 0;
const VALUE: usize = 1;
const PARTITION: usize = 2;
const NEW_VALUES: usize = 3;

impl ChangePlan {
    pub(super) async fn update(
        sql: &Sql,
        context: &PlanContext,
        update: Update,
        hints: &[Option<DataType>],
    ) -> Result<Self, Error> {
        if update.from.is_some() || update.returning.is_some() || update.limit.is_some() {
            return Err(Error::unsupported("UPDATE … FROM, RETURNING and LIMIT are not supported")
                .hint("name the rows with WHERE; subqueries are taken there"));
        }
        let (target, relation) = target(sql, &update.table, "UPDATE")?;
        let mut columns = Vec::new();
        let mut values = Vec::new();
        for assignment in update.assignments {
            let (column, value) = assigned_column(&target, assignment)?;
            columns.push(column);
            values.push(value);
        }
        let reads = reads(&target, &values, update.selection.as_ref());
        let query = select(sql, context, &relation, values, update.selection, hints).await?;
        let rules = RowRules::new(sql, context, &target)?;
        Ok(Self { target, query, action: Action::Update(columns, rules), reads })
    }

    pub(super) async fn delete(
        sql: &Sql,
        context: &PlanContext,
        delete: Delete,
        hints: &[Option<DataType>],
    ) -> Result<Self, Error> {
        if delete.using.is_some() || delete.returning.is_some() || delete.limit.is_some() {
            return Err(Error::unsupported(
                "DELETE … USING, RETURNING and LIMIT are not supported",
            )
            .hint("name the rows with WHERE; subqueries are taken there"));
        }
        let (FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables)) = &delete.from;
        let [table] = tables.as_slice() else {
            return Err(Error::syntax("DELETE takes one stream"));
        };
        let (target, relation) = target(sql, table, "DELETE")?;
        let reads = reads(&target, &[], delete.selection.as_ref());
        let query = select(sql, context, &relation, Vec::new(), delete.selection, hints).await?;
        Ok(Self { target, query, action: Action::Delete, reads })
    }

    pub(super) fn parameters(&self) -> &[DataType] {
        &self.query.parameters
    }

    pub(super) fn verb(&self) -> &'static str {
        match self.action {
            Action::Update(..) => "UPDATE",
            Action::Delete => "DELETE",
        }
    }

    pub(super) async fn execute(
        &self,
        execution: Execution,
        cut: &Cut,
        parameters: Vec<ScalarValue>,
        pending: &mut Pending,
    ) -> Result<Written, Error> {
        let wrote_here = pending.writes_to(&self.target.stream);
        let unreadable = match self.reads {
            Reads::OneRow => false,
            Reads::Rows => wrote_here,
            Reads::Everything => !pending.is_empty(),
        };
        if unreadable {
            return Err(Pending::unreadable());
        }
        let sql = execution.sql.clone();
        let mut rows = execution.start(self.query.clone(), parameters).await?;
        let mut count = 0;
        while let Some(batch) = rows.next().await? {
            count += batch.num_rows();
            self.batch(&sql, &batch, cut, pending)?;
        }
        if count == 0 && wrote_here {
            // The row may be one that this transaction has inserted.
            return Err(Pending::unreadable());
        }
        Ok(Written { verb: self.verb(), count, returning: None })
    }

    /// The rows of `batch` as UPDATE leaves them: their values.
    fn images(&self, sql: &Sql, batch: &RecordBatch) -> Result<Option<Vec<Bytes>>, Error> {
        let Action::Update(columns, rules) = &self.action else {
            return Ok(None);
        };
        let assigned = |(number, column)| {
            let array: &ArrayRef = batch.column(NEW_VALUES + number);
            Ok((column, assigned(&self.target, column, array)?))
        };
        let columns = columns.iter().enumerate().map(assigned);
        let columns: Vec<(&Column, ArrayRef)> = columns.collect::<Result<_, Error>>()?;
        let keys = batch.column(KEY).as_binary_view();
        let values = batch.column(VALUE).as_binary_view();
        let images = (0..batch.num_rows()).map(|row| {
            let key = Bytes::copy_from_slice(keys.value(row));
            Ok((key, image(values.value(row), &columns, row)?))
        });
        let images = images.collect::<Result<Vec<_>, Error>>()?;
        let images = rules.images(sql, &self.target, images)?;
        Ok(Some(images.into_iter().map(|(_, value)| value).collect()))
    }

    fn batch(
        &self,
        sql: &Sql,
        batch: &RecordBatch,
        cut: &Cut,
        pending: &mut Pending,
    ) -> Result<(), Error> {
        let keys = batch.column(KEY).as_binary_view();
        let partitions = batch.column(PARTITION).as_primitive::<Int32Type>();
        let images = self.images(sql, batch)?;
        let stream = &self.target.stream;
        for row in 0..batch.num_rows() {
            if keys.is_null(row) {
                return Err(Error::internal("a row of a keyed stream has no key"));
            }
            let key = Bytes::copy_from_slice(keys.value(row));
            if pending.writes(stream, &key) {
                return Err(Error::unsupported(
                    "a row cannot be written twice in one transaction yet",
                )
                .hint("COMMIT in between"));
            }
            pending.check(stream, &key, cut.round);
            let value = images.as_ref().map(|images| images[row].clone());
            // A row is changed where it stands, so that its partition keeps the order of its key.
            let partition = stream
                .partition(PartitionIndex(partitions.value(row)))
                .unwrap_or_else(|| self.target.partition_of(&key));
            pending.push(Event { stream: stream.clone(), partition, key: Some(key), value })?;
        }
        Ok(())
    }
}

fn reads(target: &Target, values: &[Expr], selection: Option<&Expr>) -> Reads {
    let has_subquery = |expr: &Expr| {
        let found = visit_expressions(expr, |expr| match expr {
            Expr::Subquery(_) | Expr::InSubquery { .. } | Expr::Exists { .. } => {
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        });
        found.is_break()
    };
    if values.iter().chain(selection).any(has_subquery) {
        return Reads::Everything;
    }
    let mut pinned = Vec::new();
    if let Some(selection) = selection {
        pinned_columns(selection, &mut pinned);
    }
    let mut key = target.stream.columns.iter().filter(|column| column.in_key).peekable();
    let is_pinned = |name: &str| pinned.iter().any(|pinned| pinned == name);
    let one_row = match key.peek() {
        Some(_) => key.all(|column| is_pinned(&column.name)),
        None => is_pinned("_key"),
    };
    if one_row { Reads::OneRow } else { Reads::Rows }
}

/// The columns that `selection` sets equal to a constant.
fn pinned_columns(selection: &Expr, out: &mut Vec<String>) {
    match selection {
        Expr::Nested(inner) => pinned_columns(inner, out),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            pinned_columns(left, out);
            pinned_columns(right, out);
        }
        Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => {
            for (column, value) in [(left, right), (right, left)] {
                let name = match column.as_ref() {
                    Expr::Identifier(name) => Some(name),
                    Expr::CompoundIdentifier(names) => names.last(),
                    _ => None,
                };
                if let (Some(name), true) = (name, is_constant(value)) {
                    out.push(folded(name));
                }
            }
        }
        _ => {}
    }
}

fn is_constant(expr: &Expr) -> bool {
    match expr {
        Expr::Value(_) | Expr::TypedString(_) => true,
        Expr::Nested(inner) | Expr::Cast { expr: inner, .. } => is_constant(inner),
        Expr::UnaryOp { expr: inner, .. } => is_constant(inner),
        _ => false,
    }
}

/// The stream, and how the statement names it.
fn target(
    sql: &Sql,
    table: &TableWithJoins,
    verb: &str,
) -> Result<(Target, (ObjectName, TableFactor)), Error> {
    let factor = &table.relation;
    let TableFactor::Table { name, alias, args: None, .. } = factor else {
        return Err(Error::syntax(format!("{verb} takes the name of a stream")));
    };
    if !table.joins.is_empty() {
        return Err(Error::unsupported(format!("{verb} of a join is not supported")));
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
    Ok((target, (qualifier, factor.clone())))
}

/// `SELECT _key, _value, _partition, values… FROM relation WHERE selection`
async fn select(
    sql: &Sql,
    context: &PlanContext,
    (qualifier, factor): &(ObjectName, TableFactor),
    values: Vec<Expr>,
    selection: Option<Expr>,
    hints: &[Option<DataType>],
) -> Result<Arc<QueryPlan>, Error> {
    let text = format!(
        "SELECT {qualifier}._key, {qualifier}._value, {qualifier}._partition FROM {factor}"
    );
    let dialect = PostgreSqlDialect {};
    let mut query = Parser::new(&dialect).try_with_sql(&text)?.parse_query()?;
    if let SetExpr::Select(select) = query.body.as_mut() {
        let values = values.into_iter().enumerate().map(|(number, expr)| {
            SelectItem::ExprWithAlias { expr, alias: Ident::new(format!("value_{number}")) }
        });
        select.projection.extend(values);
        select.selection = selection;
    }
    let statement = ast::Statement::Query(query);
    let text = statement.to_string();
    Ok(Arc::new(QueryPlan::new(sql, context, &text, statement, hints).await?))
}
