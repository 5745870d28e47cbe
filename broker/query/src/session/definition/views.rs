//! CREATE, ALTER and DROP VIEW, and what views keep others from.

use super::columns::column_type;
use super::{Done, Plan, Session, stream_name, taken};
use crate::catalog::{find, is_taken};
use crate::error::{Error, sqlstate};
use crate::statement::{Name, Named, ViewStatement, has_star, view_text};
use anabranch_engine::{Catalog, Column, View, ViewSpec};
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
        let own_names = || fields.iter().map(|field| field.name().clone()).collect();
        let sources: Option<Vec<String>> = has_star(query).then(own_names);
        let spec = ViewSpec { name, query: query_text, columns, sources };
        // As it is going to be read.
        let columns = spec.columns.iter().map(|column| column.name.as_str());
        self.plan_text(&view_text(&spec.query, spec.sources.as_deref(), columns)).await?;
        if let Some(old) = old {
            check_replacement(old, &spec)?;
            check_cycle(&catalog, &View { id: old.id, spec: spec.clone() })?;
        }
        engine.create_view(spec, or_replace).await?;
        Ok(Done::tag("CREATE VIEW"))
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
        refuse_dependents(&catalog, &name, "view", |_| true)?;
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
        self.drop_dependents(&catalog, &dropped, "view", cascade, &mut done).await?;
        for name in dropped {
            engine.drop_view(&name).await?;
        }
        Ok(done)
    }

    /// Sees to it that no view reads what is about to be dropped.
    pub(super) async fn drop_dependents(
        &self,
        catalog: &Catalog,
        dropped: &BTreeSet<String>,
        what: &str,
        cascade: bool,
        done: &mut Done,
    ) -> Result<(), Error> {
        let mut gone = dropped.clone();
        let mut dependents = Vec::new();
        loop {
            let next = catalog.views().find_map(|view| {
                let name = &view.spec.name;
                let on = Named::of(view).relations.into_iter().find(|on| gone.contains(on))?;
                (!gone.contains(name)).then(|| (name.clone(), on))
            });
            let Some((view, on)) = next else { break };
            if !cascade {
                return Err(depends(what, &on, &view)
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
}

/// Refuses what a view that reads `name` could not be read after. `minds` is asked of each.
pub(super) fn refuse_dependents(
    catalog: &Catalog,
    name: &str,
    what: &str,
    minds: impl Fn(&Named) -> bool,
) -> Result<(), Error> {
    let mut named = catalog.views().map(|view| (view, Named::of(view)));
    match named.find(|(_, named)| named.relations.contains(name) && minds(named)) {
        Some((view, _)) => Err(depends(what, name, &view.spec.name)
            .hint("drop the view first, and create it again afterwards")),
        None => Ok(()),
    }
}

fn depends(what: &str, name: &str, view: &str) -> Error {
    Error::new(
        sqlstate::DEPENDENT_OBJECTS,
        format!("cannot change {what} {name}: view {view} depends on it"),
    )
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
fn check_cycle(catalog: &Catalog, new: &View) -> Result<(), Error> {
    let name = &new.spec.name;
    let mut seen = BTreeSet::new();
    let mut waiting: Vec<String> = Named::of(new).relations.into_iter().collect();
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
            waiting.extend(Named::of(view).relations);
        }
    }
    Ok(())
}
