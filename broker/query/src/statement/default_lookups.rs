//! Subqueries for a column's default, which `\d` and tools ask for.
//!
//! `(SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d WHERE d.adrelid = a.attrelid AND
//! d.adnum = a.attnum AND …)` is correlated, which statements about the system catalogue cannot
//! be; it becomes a call with the relation and the column.

use crate::catalog::COLUMN_DEFAULT;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, SetExpr, TableFactor, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use std::ops::ControlFlow;

/// Replaces them; tells whether there were any.
pub(crate) fn replace_default_lookups<V: VisitMut>(statement: &mut V) -> bool {
    let mut replacer = Replacer { found: false };
    let _ = statement.visit(&mut replacer);
    replacer.found
}

struct Replacer {
    found: bool,
}

impl VisitorMut for Replacer {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Some(call) = lookup(expr) {
            *expr = call;
            self.found = true;
        }
        ControlFlow::Continue(())
    }
}

fn lookup(expr: &Expr) -> Option<Expr> {
    let Expr::Subquery(query) = expr else { return None };
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    let [from] = select.from.as_slice() else { return None };
    let TableFactor::Table { name, .. } = &from.relation else { return None };
    let table = name.0.last()?.as_ident()?;
    if !from.joins.is_empty() || !table.value.eq_ignore_ascii_case("pg_attrdef") {
        return None;
    }
    let selection = select.selection.as_ref()?;
    let relation = equal_to(selection, "adrelid")?;
    let column = equal_to(selection, "adnum")?;
    let text = format!("{COLUMN_DEFAULT}({relation}, {column})");
    Parser::new(&PostgreSqlDialect {}).try_with_sql(&text).ok()?.parse_expr().ok()
}

/// What a condition sets equal to the column of this name.
fn equal_to<'a>(condition: &'a Expr, name: &str) -> Option<&'a Expr> {
    let is_named = |expr: &Expr| match expr {
        Expr::Identifier(ident) => ident.value.eq_ignore_ascii_case(name),
        Expr::CompoundIdentifier(parts) => {
            parts.last().is_some_and(|part| part.value.eq_ignore_ascii_case(name))
        }
        _ => false,
    };
    match condition {
        Expr::Nested(inner) => equal_to(inner, name),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            equal_to(left, name).or_else(|| equal_to(right, name))
        }
        Expr::BinaryOp { left, op: BinaryOperator::Eq, right } if is_named(left) => Some(right),
        Expr::BinaryOp { left, op: BinaryOperator::Eq, right } if is_named(right) => Some(left),
        _ => None,
    }
}
