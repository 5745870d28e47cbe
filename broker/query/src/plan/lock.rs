//! `SELECT … FOR UPDATE`: the rows that a transaction has read on purpose.
//!
//! Nobody waits for anybody here: that a row is locked means that the transaction's COMMIT fails
//! with 40001 if somebody else has written the row since. So NOWAIT and SKIP LOCKED have nothing
//! to do.

use super::{PlanContext, QueryPlan, visible_layout};
use crate::catalog::find;
use crate::error::{Error, sqlstate};
use crate::sql::Sql;
use crate::statement::{folded, relations_of};
use anabranch_engine::{Mode, Stream};
use datafusion::arrow::datatypes::DataType;
use datafusion::sql::sqlparser::ast::{
    self, GroupByExpr, Ident, ObjectName, Query, Select, SelectItem, SetExpr, TableFactor,
};
use std::sync::Arc;

/// Finds the keys of the rows that a query locks.
pub(crate) struct LockPlan {
    /// A column of keys for each stream.
    pub(crate) query: Arc<QueryPlan>,
    pub(crate) streams: Vec<Arc<Stream>>,
}

impl LockPlan {
    /// Takes the locking clauses out of `statement`; what they ask for, if there are any.
    pub(super) async fn take(
        sql: &Sql,
        context: &PlanContext,
        statement: &mut ast::Statement,
        hints: &[Option<DataType>],
    ) -> Result<Option<Self>, Error> {
        let ast::Statement::Query(query) = statement else { return Ok(None) };
        let clauses = std::mem::take(&mut query.locks);
        if clauses.is_empty() {
            return Ok(None);
        }
        let only: Vec<String> = clauses
            .iter()
            .filter_map(|clause| clause.of.as_ref()?.0.last()?.as_ident().map(folded))
            .collect();
        let mut keys = query.clone();
        let streams = keys_only(sql, &mut keys, &only)?;
        if streams.is_empty() {
            return Ok(None);
        }
        let statement = ast::Statement::Query(keys);
        let text = statement.to_string();
        let query = Box::pin(QueryPlan::new(sql, context, &text, statement, hints)).await?;
        Ok(Some(Self { query: Arc::new(query), streams }))
    }
}

/// Makes `query` one of the keys of its streams.
fn keys_only(sql: &Sql, query: &mut Query, only: &[String]) -> Result<Vec<Arc<Stream>>, Error> {
    let SetExpr::Select(select) = query.body.as_mut() else {
        return Err(not_allowed("UNION/INTERSECT/EXCEPT"));
    };
    check(select)?;
    let mut streams = Vec::new();
    let mut projection = Vec::new();
    let joins = select.from.iter().flat_map(|table| &table.joins).map(|join| &join.relation);
    let relations = select.from.iter().map(|table| &table.relation).chain(joins);
    for factor in relations {
        if let TableFactor::Derived { alias, subquery, .. } = factor {
            let called = alias.as_ref().map(|alias| folded(&alias.name));
            let is_locked = only.is_empty() || called.is_some_and(|called| only.contains(&called));
            if is_locked && !relations_of(&subquery.to_string()).is_empty() {
                return Err(not_allowed("views and subqueries")
                    .hint("name the stream itself, or FOR UPDATE OF another relation"));
            }
        }
        let TableFactor::Table { name, alias, args: None, .. } = factor else { continue };
        let called = match alias {
            Some(alias) => ObjectName::from(alias.name.clone()),
            None => name.clone(),
        };
        let last = |name: &ObjectName| name.0.last().and_then(|part| part.as_ident()).map(folded);
        let (Some(stream), Some(called_last)) = (last(name), last(&called)) else { continue };
        let schema = match name.0.as_slice() {
            [schema, _] => schema.as_ident().map(folded),
            _ => None,
        };
        if !only.is_empty() && !only.contains(&called_last)
            || schema.as_deref() == Some(crate::catalog::LOG)
            || visible_layout(sql, schema.as_deref(), &stream).is_none()
        {
            continue;
        }
        let Some(stream) = find(sql.engine(), &stream).filter(|of| of.mode == Mode::Upsert) else {
            continue;
        };
        let mut parts: Vec<Ident> =
            called.0.iter().filter_map(|part| part.as_ident().cloned()).collect();
        parts.push(Ident::new("_key"));
        let alias = Ident::new(format!("key_{}", streams.len()));
        projection
            .push(SelectItem::ExprWithAlias { expr: ast::Expr::CompoundIdentifier(parts), alias });
        streams.push(stream);
    }
    select.projection = projection;
    Ok(streams)
}

fn check(select: &Select) -> Result<(), Error> {
    if select.distinct.is_some() {
        return Err(not_allowed("DISTINCT clause"));
    }
    let grouped = match &select.group_by {
        GroupByExpr::All(_) => true,
        GroupByExpr::Expressions(by, _) => !by.is_empty(),
    };
    if grouped {
        return Err(not_allowed("GROUP BY clause"));
    }
    if select.having.is_some() {
        return Err(not_allowed("HAVING clause"));
    }
    Ok(())
}

fn not_allowed(what: &str) -> Error {
    Error::new(sqlstate::FEATURE_NOT_SUPPORTED, format!("FOR UPDATE is not allowed with {what}"))
}
