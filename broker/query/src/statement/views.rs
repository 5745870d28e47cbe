//! Names of relations in queries: what WITH names, and views, which become their queries before
//! anything is planned.
//!
//! DataFusion knows one space of names that WITH introduces, in which none may come twice and each
//! hides the stream of its name. So names are made unique here: one that is taken, or is a
//! stream's, is called something else, and who reads it by an alias of its old name.

use super::visible::{parse_query, quoted, table_alias};
use super::{column_is_star, folded};
use crate::catalog::{DEAD_LETTERS, LOG, PUBLIC, dead_letters};
use crate::error::{Error, sqlstate};
use crate::limits::{VIEW_DEPTH_MAX, VIEWS_MAX, WITH_DEPTH_MAX};
use anabranch_engine::{Catalog, Session as EngineSession, ViewSpec};
use datafusion::sql::sqlparser::ast::{
    Ident, ObjectName, ObjectNamePart, Query, SetExpr, TableFactor, VisitMut, VisitorMut, With,
};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::ControlFlow;

/// Replaces all views in `statement`, and makes the names of WITH unique; tells whether there was
/// anything to do.
///
/// # Errors
/// 54001, 54000 where views are nested too deeply, or are too many; 42712 for a name that one WITH
/// has twice.
pub(crate) fn expand_views<V: VisitMut>(
    statement: &mut V,
    engine: &EngineSession,
) -> Result<bool, Error> {
    let catalog = engine.catalog();
    let mut done = Done::default();
    let views = Some((engine, &*catalog));
    visit(statement, Resolver { views, ..Resolver::new(&mut done) })?;
    Ok(done.views + done.names > 0)
}

/// The relations in `public` and `log` that a view's query reads.
pub(crate) fn relations_of(query: &str) -> BTreeSet<String> {
    let mut done = Done::default();
    if let Some(mut query) = parse_query(query) {
        // It was planned before: nothing in it is an error.
        let _ = visit(&mut query, Resolver::new(&mut done));
    }
    done.relations
}

fn visit<V: VisitMut>(part: &mut V, mut resolver: Resolver<'_>) -> Result<(), Error> {
    match part.visit(&mut resolver) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// What has come of a statement.
#[derive(Default)]
struct Done {
    /// Views that were replaced.
    views: usize,
    /// Names that were changed.
    names: usize,
    /// Where no views are replaced: what was named.
    relations: BTreeSet<String>,
}

struct Resolver<'a> {
    /// Where views are replaced: by what.
    views: Option<(&'a EngineSession, &'a Catalog)>,
    done: &'a mut Done,
    /// Views around.
    depth: usize,
    /// Queries of WITH around, those around the view among them.
    within: usize,
    /// What queries around the view have introduced, which it does not know.
    taken: HashSet<String>,
    /// Of each query around, the names that WITH has introduced, and what they are called.
    scopes: Vec<HashMap<String, String>>,
    /// Of each query around, the WITH, while the rest is visited: else it would be visited twice.
    withs: Vec<Option<With>>,
}

impl<'a> Resolver<'a> {
    fn new(done: &'a mut Done) -> Self {
        Self {
            views: None,
            done,
            depth: 0,
            within: 0,
            taken: HashSet::new(),
            scopes: Vec::new(),
            withs: Vec::new(),
        }
    }

    /// Introduces a name of WITH; what it is to be called.
    fn introduce(&mut self, name: &mut Ident) -> Result<(), Error> {
        let known = folded(name);
        let is_taken = self.taken.contains(&known)
            || self.scopes.iter().flat_map(HashMap::values).any(|called| called == &known)
            || self.views.is_some_and(|(_, catalog)| catalog.by_name(&known).is_some());
        let called = match is_taken {
            true => {
                self.done.names += 1;
                format!("{known} {}", self.done.names)
            }
            false => known.clone(),
        };
        if is_taken {
            *name = Ident::with_quote('"', &called);
        }
        let scope = self.scopes.last_mut().expect("the query that has the WITH");
        if scope.insert(known.clone(), called).is_some() {
            let message = format!("WITH query name \"{known}\" specified more than once");
            return Err(Error::new("42712", message));
        }
        Ok(())
    }

    fn with(&mut self, with: &mut With) -> ControlFlow<Error> {
        if with.recursive {
            for cte in &mut with.cte_tables {
                or_break(self.introduce(&mut cte.alias.name))?;
            }
        }
        if self.within >= WITH_DEPTH_MAX {
            return ControlFlow::Break(Error::new("54001", "WITH is nested too deeply"));
        }
        for cte in &mut with.cte_tables {
            self.within += 1;
            cte.query.visit(self)?;
            self.within -= 1;
            // Each knows those in front of it.
            if !with.recursive {
                or_break(self.introduce(&mut cte.alias.name))?;
            }
        }
        ControlFlow::Continue(())
    }

    /// The text of the view of a name, if it is one.
    fn view(&self, name: &ObjectName) -> Option<String> {
        let (engine, catalog) = self.views?;
        if let [schema, name] = name.0.as_slice()
            && schema.as_ident().is_some_and(|schema| folded(schema) == "sys")
            && name.as_ident().is_some_and(|name| folded(name) == DEAD_LETTERS)
        {
            return Some(dead_letters(engine));
        }
        let Relation { schema, name } = relation(name)?;
        if schema.is_some_and(|schema| schema != PUBLIC) {
            return None;
        }
        let ViewSpec { query, columns, sources, .. } = &catalog.view(&name)?.spec;
        let columns = columns.iter().map(|column| column.name.as_str());
        Some(view_text(query, sources.as_deref(), columns))
    }

    fn expanded(&mut self, text: &str) -> Result<Box<Query>, Error> {
        self.done.views += 1;
        if self.depth >= VIEW_DEPTH_MAX {
            return Err(Error::new("54001", "views are nested too deeply"));
        }
        if self.done.views > VIEWS_MAX {
            return Err(Error::new(
                sqlstate::PROGRAM_LIMIT_EXCEEDED,
                format!(
                    "a statement can name at most {VIEWS_MAX} views, with those that they name"
                ),
            ));
        }
        let mut query = parse_query(text)
            .ok_or_else(|| Error::internal(format!("a view's query is none: {text}")))?;
        let names = self.scopes.iter().flat_map(HashMap::values);
        let taken = self.taken.iter().chain(names).cloned().collect();
        let depth = self.depth + 1;
        let (views, within) = (self.views, self.within);
        let inner = Resolver { views, depth, within, taken, ..Resolver::new(self.done) };
        visit(&mut query, inner)?;
        Ok(query)
    }

    fn resolve(&mut self, factor: &mut TableFactor) -> Result<(), Error> {
        let TableFactor::Table { name, alias, args: None, .. } = factor else { return Ok(()) };
        let found = relation(name);
        if let Some(Relation { schema: None, name: known }) = &found
            && let Some(called) = self.scopes.iter().rev().find_map(|scope| scope.get(known))
        {
            if called != known {
                alias.get_or_insert_with(|| table_alias(last_of(name)));
                *name = ObjectName::from(Ident::with_quote('"', called));
            }
            return Ok(());
        }
        if let Some(text) = self.view(name) {
            let alias = alias.take().unwrap_or_else(|| table_alias(last_of(name)));
            let (subquery, alias) = (self.expanded(&text)?, Some(alias));
            *factor = TableFactor::Derived { lateral: false, subquery, alias, sample: None };
            return Ok(());
        }
        let Some(Relation { schema, name: known }) = found else { return Ok(()) };
        if self.views.is_none() && schema.as_deref().is_none_or(|of| of == PUBLIC || of == LOG) {
            self.done.relations.insert(known);
        } else if schema.is_none()
            && self.taken.contains(&known)
            && self.views.is_some_and(|(_, catalog)| catalog.by_name(&known).is_some())
        {
            // What queries around call so is not what the view reads.
            name.0.insert(0, ObjectNamePart::Identifier(Ident::new(PUBLIC)));
        }
        Ok(())
    }
}

fn or_break<T>(result: Result<T, Error>) -> ControlFlow<Error, T> {
    match result {
        Ok(value) => ControlFlow::Continue(value),
        Err(error) => ControlFlow::Break(error),
    }
}

impl VisitorMut for Resolver<'_> {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        let mut with = query.with.take();
        self.scopes.push(HashMap::new());
        if let Some(with) = &mut with {
            self.with(with)?;
        }
        self.withs.push(with);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        self.scopes.pop();
        query.with = self.withs.pop().flatten();
        ControlFlow::Continue(())
    }

    /// After what is in it, so that a view's query, which has names of its own, is not visited.
    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        or_break(self.resolve(factor))
    }
}

fn last_of(name: &ObjectName) -> Ident {
    let last = name.0.last().and_then(|part| part.as_ident()).cloned();
    last.unwrap_or_else(|| Ident::new(name.to_string()))
}

/// A name of a relation, as it was written.
struct Relation {
    schema: Option<String>,
    name: String,
}

fn relation(name: &ObjectName) -> Option<Relation> {
    let parts: Vec<_> =
        name.0.iter().map(|part| part.as_ident().map(folded)).collect::<Option<_>>()?;
    match parts.as_slice() {
        [name] => Some(Relation { schema: None, name: name.clone() }),
        [schema, name] | [_, schema, name] => {
            Some(Relation { schema: Some(schema.clone()), name: name.clone() })
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
