//! Names of result columns, as PostgreSQL gives them (parse_target.c, `FigureColname`).

use super::visible::folded;
use datafusion::sql::sqlparser::ast::{
    self, DataType, Expr, Ident, ObjectName, SelectItem, SetExpr, TimezoneInfo, Value,
};
use std::collections::HashSet;

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

/// Gives columns that stand twice in a SELECT list names of their own, since DataFusion takes no
/// two of one name. What the client sees is [`output_names`]'.
pub(crate) fn unique_projection(statement: &mut ast::Statement) {
    let ast::Statement::Query(query) = statement else {
        return;
    };
    let SetExpr::Select(select) = query.body.as_mut() else {
        return;
    };
    let mut seen = HashSet::new();
    for (number, item) in select.projection.iter_mut().enumerate() {
        let text = match item {
            SelectItem::UnnamedExpr(expr) => expr.to_string(),
            SelectItem::ExprWithAlias { alias, .. } => folded(alias),
            _ => continue,
        };
        if seen.insert(text) {
            continue;
        }
        let alias = Ident::new(format!("column_{}", number + 1));
        match item {
            SelectItem::UnnamedExpr(expr) => {
                *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
            }
            SelectItem::ExprWithAlias { alias: old, .. } => *old = alias,
            _ => {}
        }
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

fn column_name(expr: &Expr) -> String {
    name_of(expr).unwrap_or_else(|| UNKNOWN.to_owned())
}

fn name_of(expr: &Expr) -> Option<String> {
    let fixed = |name: &str| Some(name.to_owned());
    match expr {
        Expr::Identifier(ident) => Some(folded(ident)),
        Expr::CompoundIdentifier(idents) => idents.last().map(folded),
        Expr::Function(function) => last_part(&function.name),
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => name_of(inner),
        Expr::Cast { expr, data_type, .. } => name_of(expr).or_else(|| Some(type_name(data_type))),
        Expr::TypedString(typed) => Some(type_name(&typed.data_type)),
        Expr::Value(value) => match value.value {
            Value::Boolean(_) => fixed("bool"),
            _ => None,
        },
        Expr::Case { else_result, .. } => match else_result.as_deref() {
            Some(Expr::Identifier(ident)) => Some(folded(ident)),
            _ => fixed("case"),
        },
        Expr::Exists { .. } => fixed("exists"),
        Expr::Array(_) => fixed("array"),
        Expr::Extract { .. } => fixed("extract"),
        Expr::Substring { .. } => fixed("substring"),
        Expr::Trim { .. } => fixed("btrim"),
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
        other => return other.to_string().to_lowercase(),
    };
    name.to_owned()
}
