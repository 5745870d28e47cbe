//! Functions whose value belongs to the session, as constants.

use super::visible::folded;
use crate::catalog::DATABASE;
use crate::plan::placeholder_number;
use datafusion::sql::sqlparser::ast::{
    CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Value,
    VisitMut, VisitorMut,
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

/// What a call of `set_config` sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Configured {
    pub(crate) name: String,
    pub(crate) value: ConfiguredValue,
    /// For the transaction only.
    pub(crate) local: bool,
}

/// To what it is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ConfiguredValue {
    Constant(String),
    /// The parameter of this number, from 1.
    Parameter(usize),
}

/// Replaces them in `statement`; gives what `set_config` is to set.
pub(crate) fn replace_session_functions<V: VisitMut>(
    statement: &mut V,
    facts: &SessionFacts<'_>,
) -> Vec<Configured> {
    let mut replacer = Replacer { facts, configures: Vec::new() };
    let _ = statement.visit(&mut replacer);
    replacer.configures
}

struct Replacer<'a> {
    facts: &'a SessionFacts<'a>,
    configures: Vec<Configured>,
}

impl VisitorMut for Replacer<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr
            && let Some((configured, value)) = configured(function)
        {
            self.configures.push(configured);
            *expr = value;
            return ControlFlow::Continue(());
        }
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

/// The arguments of a call, where they are expressions without names.
pub(super) fn plain_arguments(all: &[FunctionArg]) -> Option<Vec<Expr>> {
    let plain = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    };
    all.iter().map(plain).collect()
}

/// What a call of `set_config` sets (PostgreSQL 15, 9.27.1), and what it gives.
fn configured(function: &Function) -> Option<(Configured, Expr)> {
    let name = function.name.0.last()?.as_ident().map(folded)?;
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    let arguments = plain_arguments(&list.args)?;
    let ("set_config", [Expr::Value(setting), value, Expr::Value(local)]) =
        (name.as_str(), arguments.as_slice())
    else {
        return None;
    };
    let (Value::SingleQuotedString(setting), Value::Boolean(local)) =
        (&setting.value, &local.value)
    else {
        return None;
    };
    let (configured, given) = match (placeholder_number(value), value) {
        (Some(number), value) => {
            let given = Expr::Cast {
                kind: CastKind::Cast,
                expr: Box::new(value.clone()),
                data_type: DataType::Text,
                array: false,
                format: None,
            };
            (ConfiguredValue::Parameter(number), given)
        }
        (None, Expr::Value(constant)) => match &constant.value {
            Value::SingleQuotedString(text) => {
                (ConfiguredValue::Constant(text.clone()), value.clone())
            }
            _ => return None,
        },
        _ => return None,
    };
    Some((Configured { name: setting.clone(), value: configured, local: *local }, given))
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
