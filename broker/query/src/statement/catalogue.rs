//! Syntax that statements about the system catalogue have, as what is planned: casts to and from
//! names of objects, functions and relations of `pg_catalog`, sets in FROM.
//!
//! Oids are numbers here. `'orders'::regclass` becomes a lookup, `x::regclass::text` the name.

use super::session_functions::plain_arguments;
use super::visible::folded;
use crate::catalog::system_oid;
use anabranch_semantics::call_of;
use datafusion::sql::sqlparser::ast::{
    self, AccessExpr, CastKind, DataType, Expr, Function, FunctionArguments, Ident, ObjectName,
    Query, Select, SelectItem, SetExpr, TableFactor, Value, VisitMut, VisitorMut,
};
use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

/// Rewrites `statement`. `is_relation` tells what `pg_catalog` has; other names are left alone.
pub(crate) fn rewrite_catalogue(
    statement: &mut ast::Statement,
    is_relation: &dyn Fn(&str) -> bool,
) {
    let mut names = Names::default();
    let _ = statement.visit(&mut names);
    let _ = statement.visit(&mut Catalogue { is_relation, ctes: names.0 });
    if let ast::Statement::Query(query) = statement {
        show_names(&mut query.body);
    }
}

/// Names that WITH introduces.
#[derive(Default)]
struct Names(HashSet<String>);

impl VisitorMut for Names {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            self.0.insert(folded(&cte.alias.name));
        }
        ControlFlow::Continue(())
    }
}

struct Catalogue<'a> {
    is_relation: &'a dyn Fn(&str) -> bool,
    ctes: HashSet<String>,
}

impl VisitorMut for Catalogue<'_> {
    type Break = ();

    /// `pg_catalog` is searched first (PostgreSQL 15, 5.9.3).
    fn post_visit_relation(&mut self, relation: &mut ObjectName) -> ControlFlow<()> {
        if let [part] = relation.0.as_slice()
            && let Some(name) = part.as_ident().map(folded)
            && !self.ctes.contains(&name)
            && (self.is_relation)(&name)
        {
            relation.0.insert(0, ast::ObjectNamePart::Identifier(Ident::new("pg_catalog")));
        }
        ControlFlow::Continue(())
    }

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, args: Some(_), .. } = factor {
            unqualify(name);
        }
        if let Some(unnest) = unnest_in_from(factor) {
            *factor = unnest;
        }
        if let Some(derived) = value_in_from(factor) {
            *factor = derived;
        }
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        for table in select.from.iter_mut().skip(1) {
            make_lateral(&mut table.relation);
        }
        let mut relations = HashMap::new();
        for table in &select.from {
            let joined = table.joins.iter().map(|join| &join.relation);
            for factor in std::iter::once(&table.relation).chain(joined) {
                relations.extend(system_relation(factor));
            }
        }
        if !relations.is_empty() {
            let _ = select.visit(&mut TableOids { relations: &relations });
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let old = std::mem::replace(expr, Expr::Value(Value::Null.with_empty_span()));
        *expr = rewritten(old);
        ControlFlow::Continue(())
    }
}

/// What a relation of the catalogue is called in its query, and its oid.
fn system_relation(factor: &TableFactor) -> Option<(String, i32)> {
    let TableFactor::Table { name, alias, args: None, .. } = factor else {
        return None;
    };
    let name = name.0.last().and_then(|part| part.as_ident()).map(folded)?;
    let oid = system_oid(&name)?;
    Some((alias.as_ref().map_or(name, |alias| folded(&alias.name)), oid))
}

/// `x.tableoid`, the system column that says which relation a row is of, as a number.
struct TableOids<'a> {
    relations: &'a HashMap<String, i32>,
}

impl VisitorMut for TableOids<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::CompoundIdentifier(idents) = expr
            && let [relation, column] = idents.as_slice()
            && folded(column) == "tableoid"
            && let Some(oid) = self.relations.get(&folded(relation))
        {
            *expr = number(*oid);
        }
        ControlFlow::Continue(())
    }
}

/// `FROM a, unnest(a.keys)`: sets see what stands before them (PostgreSQL 15, 7.2.1.5).
fn make_lateral(factor: &mut TableFactor) {
    let TableFactor::UNNEST { alias: Some(alias), array_exprs, .. } = factor else {
        return;
    };
    let is_column = |expr: &Expr| matches!(expr, Expr::CompoundIdentifier(_));
    if !array_exprs.iter().any(is_column) {
        return;
    }
    let Some(mut subquery) = super::visible::parse_query("SELECT * FROM x") else {
        return;
    };
    let alias = ast::TableAlias { columns: Vec::new(), ..alias.clone() };
    if let SetExpr::Select(select) = subquery.body.as_mut()
        && let Some(from) = select.from.first_mut()
    {
        std::mem::swap(&mut from.relation, factor);
    }
    *factor = TableFactor::Derived { lateral: true, subquery, alias: Some(alias), sample: None };
}

/// `pg_catalog.unnest(…)`, which only the bare name makes a set.
fn unnest_in_from(factor: &TableFactor) -> Option<TableFactor> {
    let TableFactor::Table { name, alias, args: Some(args), with_ordinality, .. } = factor else {
        return None;
    };
    if !name.to_string().eq_ignore_ascii_case("unnest") {
        return None;
    }
    let array_exprs = plain_arguments(&args.args)?;
    Some(TableFactor::UNNEST {
        alias: alias.clone(),
        array_exprs,
        with_offset: false,
        with_offset_alias: None,
        with_ordinality: *with_ordinality,
    })
}

/// `pg_catalog.lower` is `lower`.
fn unqualify(name: &mut ObjectName) {
    let is_schema =
        |ident: &Ident| matches!(folded(ident).as_str(), "pg_catalog" | "information_schema");
    if let [schema, _] = name.0.as_slice()
        && schema.as_ident().is_some_and(is_schema)
    {
        name.0.remove(0);
    }
}

fn call(name: &str, arguments: Vec<Expr>) -> Expr {
    call_of(Ident::new(name), arguments)
}

fn number(value: i32) -> Expr {
    Expr::Value(Value::Number(value.to_string(), false).with_empty_span())
}

fn rewritten(expr: Expr) -> Expr {
    match expr {
        // Everything is in the collation C.
        Expr::Collate { expr, .. } => *expr,
        Expr::Cast {
            kind: kind @ (CastKind::Cast | CastKind::DoubleColon),
            expr,
            data_type,
            array,
            format,
        } => match meaning(&data_type) {
            // Whoever sends it has it as a number.
            Meaning::Call("pg_oid") if is_parameter(&expr) => {
                Expr::Cast { kind, expr, data_type: DataType::Integer(None), array, format }
            }
            Meaning::Call(function) => call(function, vec![*expr]),
            Meaning::Same => *expr,
            Meaning::Type(data_type) => match name_function(&expr) {
                Some(function) if is_text(&data_type) => call(function, vec![*expr]),
                _ => Expr::Cast { kind, expr, data_type, array, format },
            },
        },
        Expr::Function(mut function) => {
            unqualify(&mut function.name);
            let name = function.name.to_string().to_lowercase();
            match (name.as_str(), arguments(&function).as_deref()) {
                ("generate_subscripts", Some([array, dimension])) => call(
                    "generate_series",
                    vec![number(1), call("array_length", vec![array.clone(), dimension.clone()])],
                ),
                // The set of a vector's items: of (x, n) only x is asked for by itself.
                ("_pg_expandarray", Some([array])) => call("unnest", vec![array.clone()]),
                _ => Expr::Function(function),
            }
        }
        Expr::CompoundFieldAccess { root, access_chain } => field(*root, access_chain),
        other => other,
    }
}

fn is_parameter(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if matches!(value.value, Value::Placeholder(_)))
}

/// `(_pg_expandarray(keys)).n` and the like, whose function has become `unnest` already.
fn field(root: Expr, chain: Vec<AccessExpr>) -> Expr {
    let name = match chain.as_slice() {
        [AccessExpr::Dot(Expr::Identifier(ident))] => Some(folded(ident)),
        _ => None,
    };
    let inner = match &root {
        Expr::Nested(inner) => inner.as_ref(),
        other => other,
    };
    match (name.as_deref(), inner) {
        (Some("n"), Expr::Function(function)) if is_named(function, "unnest") => {
            match arguments(function).as_deref() {
                Some([array]) => {
                    let count = call("array_length", vec![array.clone(), number(1)]);
                    call("generate_series", vec![number(1), count])
                }
                _ => Expr::CompoundFieldAccess { root: Box::new(root), access_chain: chain },
            }
        }
        (Some("x"), Expr::Function(function)) if is_named(function, "unnest") => inner.clone(),
        // A column of such a set: it holds x.
        (Some("x"), Expr::CompoundIdentifier(_) | Expr::Identifier(_)) => inner.clone(),
        _ => Expr::CompoundFieldAccess { root: Box::new(root), access_chain: chain },
    }
}

fn is_named(function: &Function, name: &str) -> bool {
    function.name.to_string().eq_ignore_ascii_case(name)
}

/// The arguments, where they are plain.
fn arguments(function: &Function) -> Option<Vec<Expr>> {
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    plain_arguments(&list.args)
}

/// What a type of the catalogue stands for.
enum Meaning {
    /// A lookup.
    Call(&'static str),
    /// Nothing: values are of it already, or as good.
    Same,
    /// A type.
    Type(DataType),
}

fn meaning(data_type: &DataType) -> Meaning {
    match data_type {
        DataType::Regclass => Meaning::Call("pg_regclass"),
        DataType::Custom(name, modifiers) if modifiers.is_empty() => {
            let parts: Vec<_> =
                name.0.iter().filter_map(|part| part.as_ident().map(folded)).collect();
            let name = match parts.as_slice() {
                [name] => name.as_str(),
                [schema, name]
                    if matches!(schema.as_str(), "pg_catalog" | "information_schema") =>
                {
                    name.as_str()
                }
                _ => return Meaning::Type(data_type.clone()),
            };
            named(name).unwrap_or_else(|| Meaning::Type(data_type.clone()))
        }
        DataType::Array(ast::ArrayElemTypeDef::SquareBracket(item, size)) => {
            match meaning(item) {
                Meaning::Type(item) => Meaning::Type(DataType::Array(
                    ast::ArrayElemTypeDef::SquareBracket(Box::new(item), *size),
                )),
                // Arrays of oids and of their names are shown as they are.
                _ => Meaning::Same,
            }
        }
        other => Meaning::Type(other.clone()),
    }
}

fn named(name: &str) -> Option<Meaning> {
    Some(match name {
        "oid" | "xid" | "cid" => Meaning::Call("pg_oid"),
        "regclass" => Meaning::Call("pg_regclass"),
        "regtype" => Meaning::Call("pg_regtype"),
        "regnamespace" => Meaning::Call("pg_regnamespace"),
        "regrole" => Meaning::Call("pg_regrole"),
        "regproc" | "regprocedure" | "regoper" | "regoperator" => Meaning::Call("pg_regproc"),
        "int2vector" | "oidvector" | "anyarray" | "pg_node_tree" => Meaning::Same,
        "name" | "char" | "character_data" | "sql_identifier" | "yes_or_no" | "inet" | "text"
        | "varchar" | "bpchar" => Meaning::Type(DataType::Text),
        "cardinal_number" | "int4" => Meaning::Type(DataType::Integer(None)),
        "int2" => Meaning::Type(DataType::SmallInt(None)),
        "int8" => Meaning::Type(DataType::BigInt(None)),
        "bool" => Meaning::Type(DataType::Boolean),
        "float8" => Meaning::Type(DataType::DoublePrecision),
        "numeric" => Meaning::Type(DataType::Numeric(ast::ExactNumberInfo::None)),
        "json" => Meaning::Type(DataType::JSON),
        "jsonb" => Meaning::Type(DataType::JSONB),
        _ => return None,
    })
}

fn is_text(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Text
            | DataType::Varchar(_)
            | DataType::CharacterVarying(_)
            | DataType::Char(_)
            | DataType::Character(_)
    )
}

/// What names the object whose oid `expr` looks up.
fn name_function(expr: &Expr) -> Option<&'static str> {
    let expr = match expr {
        Expr::Nested(inner) => inner.as_ref(),
        other => other,
    };
    let Expr::Function(function) = expr else {
        return None;
    };
    match function.name.to_string().as_str() {
        "pg_regclass" | "to_regclass" => Some("pg_regclass_name"),
        "pg_regtype" | "to_regtype" => Some("pg_regtype_name"),
        "pg_regnamespace" | "to_regnamespace" => Some("pg_regnamespace_name"),
        "pg_regrole" => Some("pg_regrole_name"),
        _ => None,
    }
}

/// What clients see of an object is its name.
fn show_names(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => {
            for item in &mut select.projection {
                if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item
                    && let Some(function) = name_function(expr)
                {
                    *expr = call(function, vec![expr.clone()]);
                }
            }
        }
        SetExpr::Query(query) => show_names(&mut query.body),
        SetExpr::SetOperation { left, right, .. } => {
            show_names(left);
            show_names(right);
        }
        _ => {}
    }
}

/// A function in FROM that gives one value is a relation of one row.
fn value_in_from(factor: &TableFactor) -> Option<TableFactor> {
    const VALUES: [&str; 6] = [
        "string_to_array",
        "current_schemas",
        "current_database",
        "current_setting",
        "version",
        "pg_backend_pid",
    ];
    let TableFactor::Table { name, alias, args: Some(args), with_ordinality: false, .. } = factor
    else {
        return None;
    };
    let function = name.to_string().to_lowercase();
    if !VALUES.contains(&function.as_str()) {
        return None;
    }
    let arguments = plain_arguments(&args.args)?;
    let alias = alias.clone().unwrap_or_else(|| ast::TableAlias {
        explicit: true,
        name: Ident::new(function.clone()),
        columns: Vec::new(),
        at: None,
    });
    let column = alias.columns.first().map_or(&alias.name, |column| &column.name);
    let mut subquery = super::visible::parse_query(&format!("SELECT NULL AS {column}"))?;
    if let SetExpr::Select(select) = subquery.body.as_mut()
        && let Some(SelectItem::ExprWithAlias { expr, .. }) = select.projection.first_mut()
    {
        *expr = call(&function, arguments);
    }
    Some(TableFactor::Derived { lateral: false, subquery, alias: Some(alias), sample: None })
}
