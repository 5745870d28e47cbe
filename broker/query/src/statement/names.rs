//! Names of result columns, as PostgreSQL gives them (parse_target.c, `FigureColname`).

use super::visible::folded;
use datafusion::sql::sqlparser::ast::{
    self, DataType, Expr, Ident, ObjectName, Select, SelectItem, SetExpr, TimezoneInfo,
    TrimWhereField, Value, VisitMut, VisitorMut,
};
use std::collections::HashSet;
use std::ops::ControlFlow;

/// Names for the columns of a result, where they are not what DataFusion calls them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OutputNames {
    /// Of the columns before the first star.
    before: Vec<Option<String>>,
    /// Of the columns after the last star, counted from the end of the row.
    after: Vec<Option<String>>,
}

impl OutputNames {
    /// The names of `columns` columns, of which DataFusion calls number `i` `given(i)`.
    pub(crate) fn apply(&self, columns: usize, given: impl Fn(usize) -> String) -> Vec<String> {
        let after_from = columns.saturating_sub(self.after.len());
        (0..columns)
            .map(|number| {
                let name = if number < self.before.len() {
                    self.before[number].clone()
                } else if number >= after_from {
                    self.after[number - after_from].clone()
                } else {
                    None
                };
                name.unwrap_or_else(|| given(number))
            })
            .collect()
    }
}

/// Names of the result of `statement`.
pub(crate) fn output_names(statement: &ast::Statement) -> OutputNames {
    let ast::Statement::Query(query) = statement else {
        return OutputNames::default();
    };
    let Some(projection) = projection(&query.body) else {
        return OutputNames::default();
    };
    let is_star = |item: &SelectItem| {
        matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..))
    };
    let name = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(expr) => Some(column_name(expr)),
        SelectItem::ExprWithAlias { alias, .. } => Some(folded(alias)),
        _ => None,
    };
    let first = projection.iter().position(is_star);
    let last = projection.iter().rposition(is_star);
    let before = projection[..first.unwrap_or(projection.len())].iter().map(name).collect();
    let after = last.map_or(Vec::new(), |last| projection[last + 1..].iter().map(name).collect());
    OutputNames { before, after }
}

/// Gives every column of every SELECT list a name of its own, since DataFusion takes no two of one
/// name: PostgreSQL's where it is free. What the client sees is [`output_names`]'.
pub(crate) fn unique_projection(statement: &mut ast::Statement) {
    let _ = statement.visit(&mut UniqueNames);
}

struct UniqueNames;

impl VisitorMut for UniqueNames {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let mut seen = HashSet::new();
        // Names that were written go first.
        for item in &select.projection {
            match item {
                SelectItem::ExprWithAlias { alias, .. } => seen.insert(folded(alias)),
                SelectItem::UnnamedExpr(expr) => match plain_column(expr) {
                    Some(name) => seen.insert(name),
                    None => continue,
                },
                _ => continue,
            };
        }
        let mut taken = HashSet::new();
        for (number, item) in select.projection.iter_mut().enumerate() {
            let own = || Ident::with_quote('"', format!("column_{}", number + 1));
            match item {
                SelectItem::UnnamedExpr(expr) => match plain_column(expr) {
                    Some(name) => {
                        if !taken.insert(name) {
                            let expr = expr.clone();
                            *item = SelectItem::ExprWithAlias { expr, alias: own() };
                        }
                    }
                    None => {
                        let name = column_name(expr);
                        let is_free = seen.insert(name.clone());
                        let alias = if is_free { Ident::with_quote('"', name) } else { own() };
                        *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
                    }
                },
                SelectItem::ExprWithAlias { alias, .. } if !taken.insert(folded(alias)) => {
                    *alias = own();
                }
                _ => {}
            }
        }
        ControlFlow::Continue(())
    }
}

/// The name of an expression that only names a column.
fn plain_column(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(ident) => Some(folded(ident)),
        Expr::CompoundIdentifier(idents) => idents.last().map(folded),
        _ => None,
    }
}

fn projection(body: &SetExpr) -> Option<&[SelectItem]> {
    match body {
        SetExpr::Select(select) => Some(&select.projection),
        SetExpr::Query(query) => projection(&query.body),
        SetExpr::SetOperation { left, .. } => projection(left),
        _ => None,
    }
}

const UNKNOWN: &str = "?column?";

/// What PostgreSQL calls the column that `expr` gives.
pub(crate) fn column_name(expr: &Expr) -> String {
    name_of(expr).unwrap_or_else(|| UNKNOWN.to_owned())
}

fn name_of(expr: &Expr) -> Option<String> {
    let fixed = |name: &str| Some(name.to_owned());
    match expr {
        Expr::Identifier(ident) => Some(folded(ident)),
        Expr::CompoundIdentifier(idents) => idents.last().map(folded),
        Expr::Function(function) => last_part(&function.name),
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => name_of(inner),
        Expr::Cast { expr, data_type, .. } => match expr.as_ref() {
            inner if is_strong(inner) => name_of(inner),
            _ => Some(type_name(data_type)),
        },
        Expr::TypedString(typed) => Some(type_name(&typed.data_type)),
        Expr::Value(value) => match value.value {
            Value::Boolean(_) => fixed("bool"),
            _ => None,
        },
        Expr::Case { else_result, .. } => {
            // A strong name only: one of a cast or of a CASE within is not.
            let inner = else_result.as_deref().filter(|inner| is_strong(inner));
            inner.and_then(name_of).or_else(|| fixed("case"))
        }
        Expr::BinaryOp { op: ast::BinaryOperator::Overlaps, .. } => fixed("overlaps"),
        Expr::Exists { .. } => fixed("exists"),
        Expr::Array(_) => fixed("array"),
        Expr::Extract { .. } => fixed("extract"),
        Expr::Substring { shorthand: true, .. } => fixed("substr"),
        Expr::Substring { .. } => fixed("substring"),
        Expr::Trim { trim_where: Some(TrimWhereField::Leading), .. } => fixed("ltrim"),
        Expr::Trim { trim_where: Some(TrimWhereField::Trailing), .. } => fixed("rtrim"),
        Expr::Trim { .. } => fixed("btrim"),
        Expr::CompoundFieldAccess { root, .. } => name_of(root),
        Expr::Position { .. } => fixed("position"),
        Expr::Overlay { .. } => fixed("overlay"),
        Expr::Ceil { .. } => fixed("ceil"),
        Expr::Floor { .. } => fixed("floor"),
        Expr::AtTimeZone { .. } => fixed("timezone"),
        Expr::Interval(_) => fixed("interval"),
        Expr::Subquery(query) => match projection(&query.body)?.first()? {
            SelectItem::UnnamedExpr(expr) => name_of(expr),
            SelectItem::ExprWithAlias { alias, .. } => Some(folded(alias)),
            _ => None,
        },
        _ => None,
    }
}

/// Whether the name of an expression is better than one that is made of a type.
fn is_strong(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => is_strong(inner),
        Expr::Cast { expr: inner, .. } => is_strong(inner),
        Expr::Value(_) | Expr::TypedString(_) | Expr::Interval(_) | Expr::Case { .. } => false,
        Expr::Subquery(query) => match projection(&query.body).and_then(<[_]>::first) {
            Some(SelectItem::UnnamedExpr(expr)) => is_strong(expr),
            Some(SelectItem::ExprWithAlias { .. }) => true,
            _ => false,
        },
        other => name_of(other).is_some(),
    }
}

fn last_part(name: &ObjectName) -> Option<String> {
    name.0.last().and_then(|part| part.as_ident()).map(folded)
}

fn type_name(data_type: &DataType) -> String {
    let name = match data_type {
        DataType::Int(_) | DataType::Integer(_) | DataType::Int4(_) => "int4",
        DataType::BigInt(_) | DataType::Int8(_) => "int8",
        DataType::SmallInt(_) | DataType::Int2(_) => "int2",
        DataType::Real | DataType::Float4 => "float4",
        DataType::Double(_) | DataType::DoublePrecision | DataType::Float8 | DataType::Float(_) => {
            "float8"
        }
        DataType::Boolean | DataType::Bool => "bool",
        DataType::Varchar(_) | DataType::CharacterVarying(_) => "varchar",
        DataType::Numeric(_) | DataType::Decimal(_) => "numeric",
        DataType::Timestamp(_, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz) => "timestamptz",
        DataType::Timestamp(..) => "timestamp",
        DataType::Time(..) => "time",
        DataType::Char(_) | DataType::Character(_) => "bpchar",
        DataType::Array(ast::ArrayElemTypeDef::SquareBracket(item, _)) => return type_name(item),
        other => return other.to_string().to_lowercase(),
    };
    name.to_owned()
}
