//! Calls of sequences' functions, to which the session is added: `nextval('s')` becomes
//! `nextval('s', 7)`. What a session got is its own, and functions know no sessions.

use super::visible::folded;
use datafusion::sql::sqlparser::ast::{
    CastKind, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Value, VisitMut, VisitorMut, visit_expressions,
};
use std::ops::ControlFlow;

const FUNCTIONS: [&str; 4] = ["nextval", "currval", "setval", "lastval"];

/// Adds the session; tells whether there was anything to add it to.
pub(crate) fn bind_sequence_calls<V: VisitMut>(statement: &mut V, session: i32) -> bool {
    let mut binder = Binder { session, found: false };
    let _ = statement.visit(&mut binder);
    binder.found
}

/// The sequence that `expr` takes the next value of, if that is all that it does.
pub(crate) fn next_value_of(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Nested(inner) => next_value_of(inner),
        Expr::Function(function) if name_of(function)? == "nextval" => {
            let FunctionArguments::List(list) = &function.args else { return None };
            let [FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))] = list.args.as_slice()
            else {
                return None;
            };
            literal(without_cast(argument))
        }
        _ => None,
    }
}

/// Whether `expr` takes values of sequences, or asks for them: only a query can.
pub(crate) fn calls_sequences(expr: &Expr) -> bool {
    let found = visit_expressions(expr, |expr| match expr {
        Expr::Function(function)
            if name_of(function).is_some_and(|name| FUNCTIONS.contains(&name.as_str())) =>
        {
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

struct Binder {
    session: i32,
    found: bool,
}

impl VisitorMut for Binder {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr
            && let Some(name) = name_of(function)
            && let FunctionArguments::List(list) = &mut function.args
            && takes(&name, list)
        {
            if let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(first))) = list.args.first_mut()
            {
                *first = without_cast(first).clone();
            }
            let session = Value::Number(self.session.to_string(), false).with_empty_span();
            let session = FunctionArgExpr::Expr(Expr::Value(session));
            list.args.push(FunctionArg::Unnamed(session));
            self.found = true;
        }
        ControlFlow::Continue(())
    }
}

fn takes(name: &str, list: &FunctionArgumentList) -> bool {
    match name {
        "nextval" | "currval" => list.args.len() == 1,
        "setval" => matches!(list.args.len(), 2 | 3),
        "lastval" => list.args.is_empty(),
        _ => false,
    }
}

fn name_of(function: &Function) -> Option<String> {
    let parts: Option<Vec<_>> =
        function.name.0.iter().map(|part| part.as_ident().map(folded)).collect();
    match parts?.as_slice() {
        [name] => Some(name.clone()),
        [schema, name] if schema == "pg_catalog" => Some(name.clone()),
        _ => None,
    }
}

/// `'s'::regclass` names what `'s'` names.
fn without_cast(expr: &Expr) -> &Expr {
    match expr {
        Expr::Nested(inner) => without_cast(inner),
        Expr::Cast {
            kind: CastKind::DoubleColon | CastKind::Cast, expr: inner, data_type, ..
        } if ["regclass", "text"]
            .iter()
            .any(|name| data_type.to_string().eq_ignore_ascii_case(name)) =>
        {
            without_cast(inner)
        }
        other => other,
    }
}

fn literal(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text.clone()),
            _ => None,
        },
        _ => None,
    }
}
