//! Views in queries: the name of one becomes its query, before anything is planned.

use super::visible::{parse_query, quoted};
use super::{column_is_star, folded};
use crate::catalog::{DEAD_LETTERS, PUBLIC, dead_letters};
use crate::error::{Error, sqlstate};
use crate::limits::{VIEW_DEPTH_MAX, VIEWS_MAX};
use anabranch_engine::{Catalog, Session as EngineSession, View, ViewSpec};
use datafusion::sql::sqlparser::ast::{
    self, Ident, ObjectName, ObjectNamePart, Query, SetExpr, TableAlias, TableFactor, Visit,
    VisitMut, Visitor, VisitorMut,
};
use std::collections::HashSet;
use std::ops::ControlFlow;

/// Replaces all views in `statement`; tells whether there were any.
///
/// # Errors
/// 54001, 54000 where they are nested too deeply, or are too many.
pub(crate) fn expand_views<V: VisitMut>(
    statement: &mut V,
    engine: &EngineSession,
) -> Result<bool, Error> {
    let mut count = 0;
    expand(statement, engine, &engine.catalog(), &mut count, 0)?;
    Ok(count > 0)
}

fn expand<V: VisitMut>(
    part: &mut V,
    engine: &EngineSession,
    catalog: &Catalog,
    count: &mut usize,
    depth: usize,
) -> Result<(), Error> {
    let mut expander = Expander { engine, catalog, ctes: Vec::new(), count, depth };
    match part.visit(&mut expander) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Expander<'a> {
    engine: &'a EngineSession,
    catalog: &'a Catalog,
    /// Of each query around, the names that WITH has introduced.
    ctes: Vec<HashSet<String>>,
    count: &'a mut usize,
    depth: usize,
}

impl Expander<'_> {
    fn is_cte(&self, name: &str) -> bool {
        self.ctes.iter().any(|names| names.contains(name))
    }

    /// The text of the view of a name, if it is one.
    fn view(&self, name: &ObjectName) -> Option<String> {
        if let [schema, name] = name.0.as_slice()
            && schema.as_ident().is_some_and(|schema| folded(schema) == "sys")
            && name.as_ident().is_some_and(|name| folded(name) == DEAD_LETTERS)
        {
            return Some(dead_letters(self.engine));
        }
        let name = relation(name)?;
        if !name.is_qualified && self.is_cte(&name.name) {
            return None;
        }
        let ViewSpec { query, columns, sources, .. } = &self.catalog.view(&name.name)?.spec;
        let columns = columns.iter().map(|column| column.name.as_str());
        Some(view_text(query, sources.as_deref(), columns))
    }

    fn expanded(&mut self, text: &str) -> Result<Box<Query>, Error> {
        *self.count += 1;
        if self.depth >= VIEW_DEPTH_MAX {
            return Err(Error::new("54001", "views are nested too deeply"));
        }
        if *self.count > VIEWS_MAX {
            return Err(Error::new(
                sqlstate::PROGRAM_LIMIT_EXCEEDED,
                format!(
                    "a statement can name at most {VIEWS_MAX} views, with those that they name"
                ),
            ));
        }
        let mut query = parse_query(text)
            .ok_or_else(|| Error::internal(format!("a view's query is none: {text}")))?;
        expand(&mut query, self.engine, self.catalog, self.count, self.depth + 1)?;
        // What WITH calls by the name of a stream is not what the view reads.
        if self.ctes.iter().any(|names| !names.is_empty()) {
            let names = self.ctes.iter().flatten().cloned().collect();
            let _ = VisitMut::visit(&mut query, &mut Qualifier { taken: names, ctes: Vec::new() });
        }
        Ok(query)
    }
}

impl VisitorMut for Expander<'_> {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        let mut names = HashSet::new();
        if let Some(with) = &mut query.with {
            if with.recursive {
                names.extend(with.cte_tables.iter().map(|cte| folded(&cte.alias.name)));
            } else {
                // Each knows those in front of it.
                for cte in &mut with.cte_tables {
                    self.ctes.push(names.clone());
                    VisitMut::visit(&mut cte.query, self)?;
                    self.ctes.pop();
                    names.insert(folded(&cte.alias.name));
                }
            }
        }
        self.ctes.push(names);
        if let SetExpr::Table(table) = query.body.as_ref()
            && let Some(name) = &table.table_name
        {
            let parts = table.schema_name.iter().chain([name]).map(Ident::new).collect::<Vec<_>>();
            let name = ObjectName::from(parts);
            if self.view(&name).is_some()
                && let Some(select) = parse_query(&format!("SELECT * FROM {name}"))
            {
                query.body = select.body;
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<Error> {
        self.ctes.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        let TableFactor::Table { name, alias, args: None, .. } = factor else {
            return ControlFlow::Continue(());
        };
        let Some(text) = self.view(name) else { return ControlFlow::Continue(()) };
        let called = name.0.last().and_then(|part| part.as_ident()).cloned();
        let alias = alias.take().or_else(|| {
            Some(TableAlias { explicit: true, name: called?, columns: Vec::new(), at: None })
        });
        match self.expanded(&text) {
            Ok(subquery) => {
                *factor = TableFactor::Derived { lateral: false, subquery, alias, sample: None };
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error),
        }
    }
}

/// Says `public` in front of names that something else has where they are put.
struct Qualifier {
    taken: HashSet<String>,
    ctes: Vec<HashSet<String>>,
}

impl VisitorMut for Qualifier {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let ctes = query.with.iter().flat_map(|with| &with.cte_tables);
        self.ctes.push(ctes.map(|cte| folded(&cte.alias.name)).collect());
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.ctes.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, args: None, .. } = factor
            && let Some(Relation { name: found, is_qualified: false }) = relation(name)
            && self.taken.contains(&found)
            && !self.ctes.iter().any(|names| names.contains(&found))
        {
            name.0.insert(0, ObjectNamePart::Identifier(Ident::new(PUBLIC)));
        }
        ControlFlow::Continue(())
    }
}

struct Relation {
    name: String,
    is_qualified: bool,
}

/// A name in `public`.
fn relation(name: &ObjectName) -> Option<Relation> {
    let parts: Vec<_> = name.0.iter().map(|part| part.as_ident().map(folded)).collect();
    match parts.as_slice() {
        [Some(name)] => Some(Relation { name: name.clone(), is_qualified: false }),
        [Some(schema), Some(name)] | [_, Some(schema), Some(name)] if schema == PUBLIC => {
            Some(Relation { name: name.clone(), is_qualified: true })
        }
        _ => None,
    }
}

/// A query with names for its columns. `sources` are its own names for them, where it may come to
/// have others beside them.
pub(crate) fn view_text<'a>(
    query: &str,
    sources: Option<&[String]>,
    columns: impl Iterator<Item = &'a str>,
) -> String {
    match sources {
        None => {
            let names: Vec<_> = columns.map(quoted).collect();
            format!("SELECT * FROM ({query}) AS \"of\" ({})", names.join(", "))
        }
        Some(sources) => {
            let renamed = sources.iter().zip(columns);
            let list: Vec<_> = renamed
                .map(|(source, name)| format!("{} AS {}", quoted(source), quoted(name)))
                .collect();
            format!("SELECT {} FROM ({query}) AS \"of\"", list.join(", "))
        }
    }
}

/// Whether a query gives all columns of something.
pub(crate) fn has_star(query: &Query) -> bool {
    fn of(body: &SetExpr) -> bool {
        match body {
            SetExpr::Select(select) => select.projection.iter().any(column_is_star),
            SetExpr::Query(query) => of(&query.body),
            SetExpr::SetOperation { left, .. } => of(left),
            SetExpr::Table(_) => true,
            _ => false,
        }
    }
    of(&query.body)
}

/// What a view's query names.
#[derive(Default)]
pub(crate) struct Named {
    /// Relations in `public` and `log`. Names that WITH introduces are among them.
    pub(crate) relations: HashSet<String>,
    /// Everything else.
    pub(crate) words: HashSet<String>,
}

impl Named {
    pub(crate) fn of(view: &View) -> Self {
        let mut named = Self::default();
        if let Some(query) = parse_query(&view.spec.query) {
            let _ = Visit::visit(&query, &mut named);
        }
        named.words.extend(view.spec.sources.iter().flatten().cloned());
        named
    }
}

impl Visitor for Named {
    type Break = ();

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        self.relations.extend(relation.0.last().and_then(|part| part.as_ident()).map(folded));
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<()> {
        match expr {
            ast::Expr::Identifier(ident) => {
                self.words.insert(folded(ident));
            }
            ast::Expr::CompoundIdentifier(parts) => {
                self.words.extend(parts.iter().map(folded));
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
