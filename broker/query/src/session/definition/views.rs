//! CREATE, ALTER and DROP VIEW, and what views keep others from.

use super::columns::column_type;
use super::{Done, Plan, Session, parse, stream_name, taken};
use crate::catalog::{find, is_taken};
use crate::error::{Error, sqlstate};
use crate::plan::QueryPlan;
use crate::sql::Sql;
use crate::statement::{Kind, Name, ViewStatement, has_star, relations_of, view_text};
use anabranch_engine::{Catalog, Column, View, ViewSpec};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::sql::sqlparser::ast;
use std::collections::BTreeSet;
use std::sync::Arc;

impl Session {
    pub(super) async fn define_view(&mut self, statement: ViewStatement) -> Result<Done, Error> {
        match statement {
            ViewStatement::Create { name, or_replace, columns, query } => {
                self.create_view(&name, or_replace, &columns, &query).await
            }
            ViewStatement::Rename { name, if_exists, to } => {
                self.rename_view(&name, if_exists, to).await
            }
            ViewStatement::Drop { names, if_exists, cascade } => {
                self.drop_views(&names, if_exists, cascade).await
            }
        }
    }

    async fn create_view(
        &self,
        name: &Name,
        or_replace: bool,
        names: &[String],
        query: &ast::Query,
    ) -> Result<Done, Error> {
        let name = stream_name(name)?;
        let engine = self.sql.engine();
        let catalog = engine.catalog();
        let old = catalog.view(&name).filter(|_| or_replace);
        if old.is_none() && is_taken(engine, &name) {
            return Err(taken(&name));
        }
        let query_text = query.to_string();
        let Plan::Query(plan) = self.plan_text(&query_text).await? else {
            return Err(Error::internal("no query"));
        };
        if !plan.parameters.is_empty() {
            return Err(Error::new("42P02", "there is no parameter $1"));
        }
        let fields = plan.schema.fields();
        if names.len() > fields.len() {
            return Err(Error::syntax("CREATE VIEW specifies more column names than columns"));
        }
        let mut columns: Vec<Column> = Vec::new();
        for (number, field) in fields.iter().enumerate() {
            let name = names.get(number).unwrap_or_else(|| field.name());
            if columns.iter().any(|column| &column.name == name) {
                let message = format!("column \"{name}\" specified more than once");
                return Err(Error::new(sqlstate::DUPLICATE_COLUMN, message));
            }
            columns.push(Column::new(name, column_type(field)?));
        }
        let own_names: Vec<String> = fields.iter().map(|field| field.name().clone()).collect();
        // What is not unique can only be told by where it stands.
        let is_unique = own_names.iter().collect::<BTreeSet<_>>().len() == own_names.len();
        let sources = (has_star(query) && is_unique).then_some(own_names);
        let spec = ViewSpec { name, query: query_text, columns, sources };
        self.plan_view(&self.sql, &spec).await?;
        if let Some(old) = old {
            check_replacement(old, &spec)?;
            check_cycle(&engine.unrestricted().catalog(), &spec)?;
        }
        engine.create_view(spec, or_replace).await?;
        Ok(Done::tag("CREATE VIEW"))
    }

    /// Plans a view as it is going to be read; its columns.
    async fn plan_view(&self, sql: &Arc<Sql>, spec: &ViewSpec) -> Result<SchemaRef, Error> {
        let columns = spec.columns.iter().map(|column| column.name.as_str());
        let text = view_text(&spec.query, spec.sources.as_deref(), columns);
        let Some(Kind::Query(query)) = parse(&text)?.pop().map(|statement| statement.kind) else {
            return Err(Error::internal("a view's query is none"));
        };
        let (planned_by, context) = (sql.clone(), self.plan_context());
        let planning =
            Box::pin(
                async move { QueryPlan::new(&planned_by, &context, &text, *query, &[]).await },
            );
        Ok(sql.runtime.run(planning).await?.schema)
    }

    async fn rename_view(&self, name: &Name, if_exists: bool, to: String) -> Result<Done, Error> {
        let name = stream_name(name)?;
        let engine = self.sql.engine();
        let mut done = Done::tag("ALTER VIEW");
        let catalog = engine.catalog();
        if catalog.view(&name).is_none() {
            if if_exists {
                done.notices.push(format!("relation \"{name}\" does not exist, skipping"));
                return Ok(done);
            }
            return Err(no_view(&catalog, &name));
        }
        if is_taken(engine, &to) {
            return Err(taken(&to));
        }
        self.refuse_dependents(&name, "view")?;
        engine.rename_view(&name, to).await?;
        Ok(done)
    }

    async fn drop_views(
        &self,
        names: &[Name],
        if_exists: bool,
        cascade: bool,
    ) -> Result<Done, Error> {
        let mut done = Done::tag("DROP VIEW");
        let engine = self.sql.engine();
        let catalog = engine.catalog();
        let mut dropped = BTreeSet::new();
        for name in names {
            let name = stream_name(name)?;
            if catalog.view(&name).is_some() {
                dropped.insert(name);
            } else if if_exists && find(engine, &name).is_none() {
                done.notices.push(format!("view \"{name}\" does not exist, skipping"));
            } else {
                return Err(no_view(&catalog, &name));
            }
        }
        self.drop_dependents(&dropped, "view", cascade, &mut done).await?;
        for name in dropped {
            engine.drop_view(&name).await?;
        }
        Ok(done)
    }

    /// Sees to it that no view reads what is about to be dropped.
    pub(super) async fn drop_dependents(
        &self,
        dropped: &BTreeSet<String>,
        what: &str,
        cascade: bool,
        done: &mut Done,
    ) -> Result<(), Error> {
        let catalog = self.sql.engine().unrestricted().catalog();
        let read: Vec<_> =
            catalog.views().map(|view| (&view.spec.name, relations_of(&view.spec.query))).collect();
        let mut gone = dropped.clone();
        let mut dependents = Vec::new();
        while let Some((view, on)) = read.iter().find_map(|(view, relations)| {
            let on = relations.iter().find(|on| gone.contains(*on))?;
            (!gone.contains(*view)).then_some((*view, on))
        }) {
            if !cascade {
                return Err(self
                    .depends(what, on, view)
                    .hint("use DROP … CASCADE to drop the dependent objects too"));
            }
            gone.insert(view.clone());
            dependents.push(view);
        }
        for view in dependents.iter().rev() {
            self.sql.engine().drop_view(view).await?;
        }
        done.notices.extend(dependents.iter().map(|view| format!("drop cascades to view {view}")));
        Ok(())
    }

    /// Sees to it that views which read a stream give what they gave, now that it was altered.
    /// `cascade`: those that do not go.
    pub(super) async fn check_views(
        &self,
        stream: &str,
        cascade: bool,
        done: &mut Done,
    ) -> Result<(), Error> {
        let engine = self.sql.engine();
        let all = engine.unrestricted();
        let catalog = all.catalog();
        let readers = readers_of(&catalog, stream);
        if readers.is_empty() {
            return Ok(());
        }
        let sql = if engine.sees_all() { self.sql.clone() } else { self.sql.of(all)? };
        let mut lost = BTreeSet::new();
        for view in readers {
            let name = &view.spec.name;
            match self.plan_view(&sql, &view.spec).await {
                Ok(schema) if has_types(&schema, &view.spec.columns) => {}
                _ if cascade => {
                    lost.insert(name.clone());
                }
                _ => {
                    return Err(self
                        .depends("stream", stream, name)
                        .hint("drop the view first, and create it again afterwards"));
                }
            }
        }
        if lost.is_empty() {
            return Ok(());
        }
        self.drop_dependents(&lost, "view", true, done).await?;
        for view in lost {
            engine.drop_view(&view).await?;
            done.notices.push(format!("drop cascades to view {view}"));
        }
        Ok(())
    }

    /// Refuses another name for what a view reads.
    pub(super) fn refuse_dependents(&self, name: &str, what: &str) -> Result<(), Error> {
        match readers_of(&self.sql.engine().unrestricted().catalog(), name).first() {
            Some(view) => Err(self
                .depends(what, name, &view.spec.name)
                .hint("drop the view first, and create it again afterwards")),
            None => Ok(()),
        }
    }

    fn depends(&self, what: &str, name: &str, view: &str) -> Error {
        let view = match self.sql.engine().catalog().view(view) {
            Some(_) => format!("view {view} depends on it"),
            None => "a view of somebody else depends on it".to_owned(),
        };
        let message = format!("cannot change {what} {name}: {view}");
        Error::new(sqlstate::DEPENDENT_OBJECTS, message)
    }
}

/// The views whose queries name a relation.
fn readers_of(catalog: &Catalog, name: &str) -> Vec<Arc<View>> {
    let views = catalog.views().filter(|view| relations_of(&view.spec.query).contains(name));
    views.cloned().collect()
}

/// Whether columns have the types that they had.
fn has_types(schema: &SchemaRef, columns: &[Column]) -> bool {
    schema.fields().len() == columns.len()
        && schema.fields().iter().zip(columns).all(|(field, column)| {
            column_type(field).is_ok_and(|data_type| data_type == column.data_type)
        })
}

fn no_view(catalog: &Catalog, name: &str) -> Error {
    match catalog.by_name(name) {
        Some(_) => Error::new(sqlstate::WRONG_OBJECT_TYPE, format!("\"{name}\" is not a view"))
            .hint("use DROP STREAM or DROP TABLE for streams"),
        None => Error::new(sqlstate::UNDEFINED_TABLE, format!("view \"{name}\" does not exist")),
    }
}

/// PostgreSQL 15, CREATE VIEW: the columns that there were stay, and more may follow.
fn check_replacement(old: &Arc<View>, new: &ViewSpec) -> Result<(), Error> {
    let invalid = |message: String| Err(Error::new(sqlstate::INVALID_TABLE_DEFINITION, message));
    if new.columns.len() < old.spec.columns.len() {
        return invalid("cannot drop columns from view".to_owned());
    }
    for (old, new) in old.spec.columns.iter().zip(&new.columns) {
        if old.name != new.name {
            return invalid(format!(
                "cannot change name of view column \"{}\" to \"{}\"",
                old.name, new.name
            ));
        }
        if old.data_type != new.data_type {
            return invalid(format!("cannot change data type of view column \"{}\"", old.name));
        }
    }
    Ok(())
}

/// Whether a view would read itself.
fn check_cycle(catalog: &Catalog, new: &ViewSpec) -> Result<(), Error> {
    let name = &new.name;
    let mut seen = BTreeSet::new();
    let mut waiting: Vec<String> = relations_of(&new.query).into_iter().collect();
    while let Some(next) = waiting.pop() {
        if &next == name {
            return Err(Error::new(
                "42P17",
                format!("infinite recursion detected in rules for relation \"{name}\""),
            ));
        }
        if seen.insert(next.clone())
            && let Some(view) = catalog.view(&next)
        {
            waiting.extend(relations_of(&view.spec.query));
        }
    }
    Ok(())
}
