//! Functions whose value belongs to the session, as constants.

use super::visible::folded;
use crate::catalog::DATABASE;
use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Value, VisitMut, VisitorMut,
};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// What the functions tell.
pub(crate) struct SessionFacts<'a> {
    pub(crate) user: &'a str,
    pub(crate) version: &'a str,
    pub(crate) process_id: i32,
    pub(crate) settings: &'a BTreeMap<String, String>,
}

/// Replaces them in `statement`.
pub(crate) fn replace_session_functions<V: VisitMut>(statement: &mut V, facts: &SessionFacts<'_>) {
    let _ = statement.visit(&mut Replacer { facts });
}

struct Replacer<'a> {
    facts: &'a SessionFacts<'a>,
}

impl VisitorMut for Replacer<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let value = match expr {
            Expr::Identifier(ident) if ident.quote_style.is_none() => {
                match folded(ident).as_str() {
                    "current_user" | "session_user" | "user" | "current_role" => {
                        Some(text(self.facts.user))
                    }
                    "current_catalog" => Some(text(DATABASE)),
                    _ => None,
                }
            }
            Expr::Function(function) => self.value_of(function),
            _ => None,
        };
        if let Some(value) = value {
            *expr = Expr::Value(value.with_empty_span());
        }
        ControlFlow::Continue(())
    }
}

impl Replacer<'_> {
    fn value_of(&self, function: &Function) -> Option<Value> {
        let parts: Vec<_> = function
            .name
            .0
            .iter()
            .map(|part| part.as_ident().map(folded))
            .collect::<Option<_>>()?;
        let name = match parts.as_slice() {
            [name] => name,
            [schema, name] if schema == "pg_catalog" => name,
            _ => return None,
        };
        let arguments = string_arguments(&function.args)?;
        let number = |value: i32| Some(Value::Number(value.to_string(), false));
        match (name.as_str(), arguments.as_slice()) {
            ("version", []) => Some(text(self.facts.version)),
            ("current_database" | "current_catalog", []) => Some(text(DATABASE)),
            ("current_schema", []) => Some(text("public")),
            ("current_user" | "session_user" | "user" | "current_role", []) => {
                Some(text(self.facts.user))
            }
            ("pg_backend_pid", []) => number(self.facts.process_id),
            ("pg_is_in_recovery", []) => Some(Value::Boolean(false)),
            ("inet_client_addr" | "inet_server_addr" | "inet_client_port", []) => Some(Value::Null),
            ("current_setting", [name] | [name, _]) => {
                Some(self.facts.settings.get(name).map_or(Value::Null, |value| text(value)))
            }
            _ => None,
        }
    }
}

fn text(value: &str) -> Value {
    Value::SingleQuotedString(value.to_owned())
}

/// The arguments, if all are constants.
fn string_arguments(arguments: &FunctionArguments) -> Option<Vec<String>> {
    let list = match arguments {
        FunctionArguments::None => return Some(Vec::new()),
        FunctionArguments::List(list) => &list.args,
        FunctionArguments::Subquery(_) => return None,
    };
    list.iter()
        .map(|argument| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value))) => match &value.value {
                Value::SingleQuotedString(text) => Some(text.to_lowercase()),
                Value::Boolean(value) => Some(value.to_string()),
                _ => None,
            },
            _ => None,
        })
        .collect()
}
