//! `*` without the system's columns.
//!
//! DataFusion has no hidden columns, so `*` is rewritten before planning: `SELECT *` of a stream
//! becomes `* EXCLUDE (_partition, …)`, `*` of a join becomes one such star for each relation.
//! Where columns are merged (`USING`, `NATURAL`), a stream is replaced by a subquery of its
//! visible columns.

use crate::rows::Layout;
use datafusion::sql::sqlparser::ast::{
    self, ExcludeSelectItem, Ident, JoinConstraint, JoinOperator, ObjectName, Select, SelectItem,
    SelectItemQualifiedWildcardKind, TableAlias, TableFactor, TableWithJoins, VisitMut, VisitorMut,
    WildcardAdditionalOptions,
};
use datafusion::sql::sqlparser::keywords::RESERVED_FOR_COLUMN_ALIAS;
use std::ops::ControlFlow;
use std::sync::Arc;

/// The layout of a relation with hidden columns, by schema (if named) and name.
pub(crate) type Lookup<'a> = dyn Fn(Option<&str>, &str) -> Option<Arc<Layout>> + 'a;

/// Rewrites every `*` of `statement`, in which WITH calls nothing by a stream's name (see
/// [`super::expand_views`]).
pub(crate) fn hide_system_columns<V: VisitMut>(statement: &mut V, lookup: &Lookup<'_>) {
    let _ = statement.visit(&mut Hider { lookup });
}

struct Hider<'a> {
    lookup: &'a Lookup<'a>,
}

impl VisitorMut for Hider<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        self.rewrite(select);
        ControlFlow::Continue(())
    }
}

/// A relation of a FROM clause.
struct Factor {
    /// What qualifies its columns.
    name: ObjectName,
    layout: Option<Arc<Layout>>,
}

impl Hider<'_> {
    fn rewrite(&self, select: &mut Select) {
        let natural = has_constraint(select, |on| matches!(on, JoinConstraint::Natural));
        let using = has_constraint(select, |on| matches!(on, JoinConstraint::Using(_)));
        let stars = select.projection.iter().any(super::column_is_star);
        if natural || (stars && using) {
            for_each_factor(&mut select.from, &mut |factor| self.wrap(factor));
            return;
        }
        if !stars {
            return;
        }
        let mut unnamed = 0;
        let mut factors = Vec::new();
        for_each_factor(&mut select.from, &mut |factor| {
            factors.extend(self.factor(factor, &mut unnamed));
        });
        if factors.iter().all(|factor| factor.layout.is_none()) {
            return;
        }
        let mut projection = Vec::new();
        for item in std::mem::take(&mut select.projection) {
            match item {
                SelectItem::Wildcard(options) => match factors.as_slice() {
                    [only] => projection.push(SelectItem::Wildcard(excluding(options, only))),
                    all => projection.extend(all.iter().map(|factor| {
                        let star = SelectItemQualifiedWildcardKind::ObjectName(factor.name.clone());
                        SelectItem::QualifiedWildcard(star, excluding(options.clone(), factor))
                    })),
                },
                SelectItem::QualifiedWildcard(
                    SelectItemQualifiedWildcardKind::ObjectName(name),
                    options,
                ) => {
                    let factor = factors.iter().find(|factor| same_name(&factor.name, &name));
                    // DataFusion wants the relation called what FROM calls it.
                    let (name, options) = match factor {
                        Some(factor) => (factor.name.clone(), excluding(options, factor)),
                        None => (name, options),
                    };
                    let star = SelectItemQualifiedWildcardKind::ObjectName(name);
                    projection.push(SelectItem::QualifiedWildcard(star, options));
                }
                other => projection.push(other),
            }
        }
        select.projection = projection;
    }

    fn factor(&self, factor: &mut TableFactor, unnamed: &mut usize) -> Option<Factor> {
        let layout = self.layout(factor);
        let name = match factor {
            TableFactor::Table { name, alias: None, args: None, .. } => name.clone(),
            TableFactor::Table { alias, .. }
            | TableFactor::Derived { alias, .. }
            | TableFactor::TableFunction { alias, .. }
            | TableFactor::Function { alias, .. }
            | TableFactor::UNNEST { alias, .. } => {
                let alias = alias.get_or_insert_with(|| {
                    *unnamed += 1;
                    table_alias(Ident::new(format!("unnamed_{unnamed}")))
                });
                ObjectName::from(alias.name.clone())
            }
            _ => return None,
        };
        Some(Factor { name, layout })
    }

    fn layout(&self, factor: &TableFactor) -> Option<Arc<Layout>> {
        let TableFactor::Table { name, args: None, .. } = factor else {
            return None;
        };
        let parts: Vec<_> =
            name.0.iter().map(|part| part.as_ident().map(folded)).collect::<Option<_>>()?;
        match parts.as_slice() {
            [name] => (self.lookup)(None, name),
            [schema, name] | [_, schema, name] => (self.lookup)(Some(schema), name),
            _ => None,
        }
    }

    /// Replaces a stream by a subquery of what it shows.
    fn wrap(&self, factor: &mut TableFactor) {
        let Some(layout) = self.layout(factor) else {
            return;
        };
        let TableFactor::Table { name, alias, .. } = factor else {
            return;
        };
        let columns: Vec<_> = layout
            .visible_schema()
            .fields()
            .iter()
            .map(|field| Ident::with_quote('"', field.name()).to_string())
            .collect();
        let alias = alias
            .take()
            .or_else(|| name.0.last().and_then(|part| part.as_ident()).cloned().map(table_alias));
        let text = format!("SELECT {} FROM {name}", columns.join(", "));
        if let Some(body) = parse_query(&text) {
            *factor = TableFactor::Derived { lateral: false, subquery: body, alias, sample: None };
        }
    }
}

pub(crate) fn table_alias(name: Ident) -> TableAlias {
    TableAlias { explicit: true, name, columns: Vec::new(), at: None }
}

/// A name in SQL that is made here: in quotes, lest it is taken for a keyword or a function.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A name as it is shown: in quotes where it needs them.
pub(crate) fn shown_name(name: &str) -> String {
    let is_plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    let is_reserved = RESERVED_FOR_COLUMN_ALIAS
        .iter()
        .any(|keyword| format!("{keyword:?}").eq_ignore_ascii_case(name));
    if is_plain && !is_reserved { name.to_owned() } else { quoted(name) }
}

pub(super) fn parse_query(text: &str) -> Option<Box<ast::Query>> {
    let dialect = datafusion::sql::sqlparser::dialect::PostgreSqlDialect {};
    let mut parser =
        datafusion::sql::sqlparser::parser::Parser::new(&dialect).try_with_sql(text).ok()?;
    parser.parse_query().ok()
}

/// Adds the hidden columns to what a star leaves out.
fn excluding(mut options: WildcardAdditionalOptions, factor: &Factor) -> WildcardAdditionalOptions {
    let Some(layout) = &factor.layout else {
        return options;
    };
    let mut names: Vec<ObjectName> = match options.opt_exclude.take() {
        None => Vec::new(),
        Some(ExcludeSelectItem::Single(name)) => vec![name],
        Some(ExcludeSelectItem::Multiple(names)) => names,
    };
    for hidden in layout.hidden() {
        if !names.iter().any(|name| name.to_string() == hidden) {
            names.push(ObjectName::from(Ident::new(hidden)));
        }
    }
    if !names.is_empty() {
        options.opt_exclude = Some(ExcludeSelectItem::Multiple(names));
    }
    options
}

fn for_each_factor(from: &mut [TableWithJoins], visit: &mut dyn FnMut(&mut TableFactor)) {
    for table in from {
        for_each_in(table, visit);
    }
}

fn for_each_in(table: &mut TableWithJoins, visit: &mut dyn FnMut(&mut TableFactor)) {
    let joined = table.joins.iter_mut().map(|join| &mut join.relation);
    for factor in std::iter::once(&mut table.relation).chain(joined) {
        match factor {
            TableFactor::NestedJoin { table_with_joins, .. } => {
                for_each_in(table_with_joins, visit)
            }
            factor => visit(factor),
        }
    }
}

fn has_constraint(select: &Select, is: impl Fn(&JoinConstraint) -> bool + Copy) -> bool {
    select.from.iter().flat_map(|table| &table.joins).any(|join| match &join.join_operator {
        JoinOperator::Join(on)
        | JoinOperator::Inner(on)
        | JoinOperator::Left(on)
        | JoinOperator::LeftOuter(on)
        | JoinOperator::Right(on)
        | JoinOperator::RightOuter(on)
        | JoinOperator::FullOuter(on) => is(on),
        _ => false,
    })
}

/// `flights` names `public.flights` too.
fn same_name(factor: &ObjectName, star: &ObjectName) -> bool {
    let parts = |name: &ObjectName| -> Vec<String> {
        name.0.iter().filter_map(|part| part.as_ident().map(folded)).collect()
    };
    let (factor, star) = (parts(factor), parts(star));
    factor.ends_with(&star)
}

/// An identifier as PostgreSQL folds it.
pub(crate) fn folded(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}
