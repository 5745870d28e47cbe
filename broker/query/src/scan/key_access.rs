//! Predicates on a keyed stream's key, as lookups and ranges.

use crate::error::Error;
use crate::evaluate;
use crate::limits::POINT_KEYS_MAX;
use crate::rows::{KeyShape, Layout, Source, System};
use anabranch_engine::table::KeyRange;
use bytes::Bytes;
use datafusion::arrow::datatypes::DataType;
use datafusion::logical_expr::expr::{Between, InList, Like};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, TableProviderFilterPushDown};
use datafusion::scalar::ScalarValue;
use std::ops::Bound;

/// Which rows of a table to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeyAccess {
    /// These keys, in order, each once.
    Points(Vec<Bytes>),
    /// All keys of a range.
    Range(KeyRange),
}

/// A constant, now or once parameters are bound.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Literal {
    Value(ScalarValue),
    /// `$1` as `Parameter("$1")`.
    Parameter(String),
}

/// What one predicate says about the key.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Predicate {
    /// The key's column is one of these.
    OneOf(KeyColumn, Vec<Literal>),
    /// The only key column compares so.
    Compare(Operator, Literal),
    /// The only key column, text, begins so; more rows may.
    Prefix(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyColumn {
    /// A column of the declared key.
    Declared(usize),
    /// `_key`.
    Raw,
}

impl KeyAccess {
    /// What `filters`, which [`pushdown`] took, leave to read.
    pub(crate) fn new(layout: &Layout, filters: &[Expr]) -> Self {
        let predicates: Vec<_> =
            filters.iter().filter_map(|filter| predicate(layout, filter)).collect();
        let mut range = KeyRange { from: Bound::Unbounded, to: Bound::Unbounded };
        let mut points: Option<Vec<Bytes>> = declared_points(layout, &predicates);
        for predicate in &predicates {
            match predicate {
                Predicate::OneOf(KeyColumn::Raw, literals) => {
                    let keys = literals.iter().filter_map(raw_key).collect();
                    points = Some(intersect(points, keys));
                }
                Predicate::OneOf(KeyColumn::Declared(_), _) => {}
                Predicate::Compare(operator, literal) => match text_key(literal) {
                    Some(key) => narrow(&mut range, *operator, key),
                    // A comparison with NULL holds for no row.
                    None => points = Some(Vec::new()),
                },
                Predicate::Prefix(prefix) => {
                    narrow(&mut range, Operator::GtEq, Bytes::copy_from_slice(prefix.as_bytes()));
                    if let Some(end) = after_prefix(prefix.as_bytes()) {
                        narrow(&mut range, Operator::Lt, end);
                    }
                }
            }
        }
        match points {
            None if is_empty(&range) => Self::Points(Vec::new()),
            None => Self::Range(range),
            Some(keys) => {
                Self::Points(keys.into_iter().filter(|key| contains(&range, key)).collect())
            }
        }
    }
}

/// The keys that a lookup's filters name, each an equality: of a whole key, with these parameters.
///
/// # Errors
/// What parameters cannot be.
pub(crate) fn points(
    layout: &Layout,
    filters: &[Expr],
    parameters: &[ScalarValue],
) -> Result<Vec<Bytes>, Error> {
    let filters = filters.iter().map(|filter| evaluate::bound(filter.clone(), parameters));
    match KeyAccess::new(layout, &filters.collect::<Result<Vec<_>, Error>>()?) {
        KeyAccess::Points(keys) => Ok(keys),
        KeyAccess::Range(_) => Err(Error::internal("a lookup by key has become a scan")),
    }
}

/// Which filters narrow what is read, and which of them wholly.
pub(crate) fn pushdown(layout: &Layout, filters: &[&Expr]) -> Vec<TableProviderFilterPushDown> {
    let predicates: Vec<_> = filters.iter().map(|filter| predicate(layout, filter)).collect();
    let bound = |part| {
        predicates.iter().flatten().any(|predicate| {
            matches!(predicate, Predicate::OneOf(KeyColumn::Declared(at), _) if *at == part)
        })
    };
    // Of a key with several columns, all must be given.
    let all_given = (0..layout.key.columns()).all(bound);
    predicates
        .iter()
        .map(|predicate| match predicate {
            None => TableProviderFilterPushDown::Unsupported,
            Some(Predicate::Prefix(_)) => TableProviderFilterPushDown::Inexact,
            Some(Predicate::OneOf(KeyColumn::Declared(_), _)) if !all_given => {
                TableProviderFilterPushDown::Unsupported
            }
            Some(_) => TableProviderFilterPushDown::Exact,
        })
        .collect()
}

/// What `filter` says about the key, if anything.
pub(crate) fn predicate(layout: &Layout, filter: &Expr) -> Option<Predicate> {
    match filter {
        // What the optimizer makes of a short IN.
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            match (predicate(layout, left)?, predicate(layout, right)?) {
                (Predicate::OneOf(column, mut literals), Predicate::OneOf(other, more))
                    if column == other && literals.len() + more.len() <= POINT_KEYS_MAX =>
                {
                    literals.extend(more);
                    Some(Predicate::OneOf(column, literals))
                }
                _ => None,
            }
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (column, op, literal) = match (key_column(layout, left), literal(right)) {
                (Some(column), Some(literal)) => (column, *op, literal),
                _ => (key_column(layout, right)?, op.swap()?, literal(left)?),
            };
            match op {
                Operator::Eq => Some(Predicate::OneOf(column, vec![literal])),
                Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq
                    if is_text_key(layout, column) =>
                {
                    Some(Predicate::Compare(op, literal))
                }
                _ => None,
            }
        }
        Expr::InList(InList { expr, list, negated: false }) if list.len() <= POINT_KEYS_MAX => {
            let literals = list.iter().map(literal).collect::<Option<Vec<_>>>()?;
            Some(Predicate::OneOf(key_column(layout, expr)?, literals))
        }
        Expr::Between(Between { .. }) => None,
        Expr::Like(Like {
            negated: false,
            expr,
            pattern,
            escape_char: None,
            case_insensitive: false,
        }) => {
            let column = key_column(layout, expr)?;
            let Literal::Value(value) = literal(pattern)? else {
                return None;
            };
            let text = crate::rows::text_of(&value)?;
            let prefix = &text[..text.find(['%', '_', '\\']).unwrap_or(text.len())];
            (is_text_key(layout, column) && !prefix.is_empty())
                .then(|| Predicate::Prefix(prefix.to_owned()))
        }
        _ => None,
    }
}

/// The keys that equality predicates on all columns of the declared key leave.
fn declared_points(layout: &Layout, predicates: &[Predicate]) -> Option<Vec<Bytes>> {
    let parts = layout.key.columns();
    let mut choices: Vec<Option<Vec<ScalarValue>>> = vec![None; parts];
    for predicate in predicates {
        if let Predicate::OneOf(KeyColumn::Declared(part), literals) = predicate {
            let values: Vec<_> = literals
                .iter()
                .filter_map(|literal| match literal {
                    Literal::Value(value) => Some(value.clone()),
                    Literal::Parameter(_) => None,
                })
                .collect();
            choices[*part] = Some(match choices[*part].take() {
                None => values,
                Some(before) => before.into_iter().filter(|value| values.contains(value)).collect(),
            });
        }
    }
    let choices = choices.into_iter().collect::<Option<Vec<_>>>()?;
    if parts == 0
        || choices.iter().map(Vec::len).try_fold(1usize, |a, b| a.checked_mul(b))? > POINT_KEYS_MAX
    {
        return None;
    }
    let mut keys = vec![Vec::new()];
    for choice in &choices {
        keys = keys
            .iter()
            .flat_map(|head: &Vec<ScalarValue>| {
                choice.iter().map(|value| {
                    let mut key = head.clone();
                    key.push(value.clone());
                    key
                })
            })
            .collect();
    }
    let keys = keys.iter().filter_map(|values| layout.key.encode_literals(values)).collect();
    Some(intersect(None, keys))
}

fn key_column(layout: &Layout, expr: &Expr) -> Option<KeyColumn> {
    let column = match expr {
        Expr::Column(column) => column,
        Expr::Cast(cast) if is_text(cast.field.data_type()) => match cast.expr.as_ref() {
            Expr::Column(column) => column,
            _ => return None,
        },
        _ => return None,
    };
    let index = layout.schema.index_of(&column.name).ok()?;
    let is_cast = matches!(expr, Expr::Cast(_));
    if is_cast && !is_text(layout.schema.field(index).data_type()) {
        return None;
    }
    match &layout.sources[index] {
        Source::Key(part) if layout.key.is_canonical() => Some(KeyColumn::Declared(*part)),
        Source::System(System::Key) => Some(KeyColumn::Raw),
        _ => None,
    }
}

/// Whether comparing the column is comparing record keys.
fn is_text_key(layout: &Layout, column: KeyColumn) -> bool {
    layout.key == KeyShape::Text && matches!(column, KeyColumn::Declared(_))
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

pub(crate) fn literal(expr: &Expr) -> Option<Literal> {
    match expr {
        Expr::Literal(value, _) => Some(Literal::Value(value.clone())),
        Expr::Placeholder(placeholder) => Some(Literal::Parameter(placeholder.id.clone())),
        Expr::Cast(cast) if is_text(cast.field.data_type()) => match literal(&cast.expr)? {
            Literal::Value(value) if crate::rows::text_of(&value).is_some() => {
                Some(Literal::Value(value))
            }
            Literal::Value(_) => None,
            parameter => Some(parameter),
        },
        _ => None,
    }
}

fn text_key(literal: &Literal) -> Option<Bytes> {
    match literal {
        Literal::Value(value) => {
            crate::rows::text_of(value).map(|text| Bytes::copy_from_slice(text.as_bytes()))
        }
        Literal::Parameter(_) => None,
    }
}

fn raw_key(literal: &Literal) -> Option<Bytes> {
    match literal {
        Literal::Value(
            ScalarValue::Binary(Some(bytes))
            | ScalarValue::LargeBinary(Some(bytes))
            | ScalarValue::BinaryView(Some(bytes))
            | ScalarValue::FixedSizeBinary(_, Some(bytes)),
        ) => Some(Bytes::copy_from_slice(bytes)),
        _ => None,
    }
}

/// Sorted, each once.
fn intersect(before: Option<Vec<Bytes>>, mut keys: Vec<Bytes>) -> Vec<Bytes> {
    keys.sort_unstable();
    keys.dedup();
    match before {
        None => keys,
        Some(before) => {
            keys.retain(|key| before.binary_search(key).is_ok());
            keys
        }
    }
}

fn narrow(range: &mut KeyRange, operator: Operator, key: Bytes) {
    match operator {
        Operator::Gt => raise(&mut range.from, Bound::Excluded(key)),
        Operator::GtEq => raise(&mut range.from, Bound::Included(key)),
        Operator::Lt => lower(&mut range.to, Bound::Excluded(key)),
        Operator::LtEq => lower(&mut range.to, Bound::Included(key)),
        _ => debug_assert!(false, "only comparisons become ranges"),
    }
}

fn raise(from: &mut Bound<Bytes>, to: Bound<Bytes>) {
    let higher = match (&*from, &to) {
        (Bound::Unbounded, _) => true,
        (Bound::Included(old), Bound::Included(new)) => new > old,
        (Bound::Included(old), Bound::Excluded(new)) => new >= old,
        (Bound::Excluded(old), Bound::Included(new) | Bound::Excluded(new)) => new > old,
        (_, Bound::Unbounded) => false,
    };
    if higher {
        *from = to;
    }
}

fn lower(from: &mut Bound<Bytes>, to: Bound<Bytes>) {
    let lower = match (&*from, &to) {
        (Bound::Unbounded, _) => true,
        (Bound::Included(old), Bound::Included(new)) => new < old,
        (Bound::Included(old), Bound::Excluded(new)) => new <= old,
        (Bound::Excluded(old), Bound::Included(new) | Bound::Excluded(new)) => new < old,
        (_, Bound::Unbounded) => false,
    };
    if lower {
        *from = to;
    }
}

fn contains(range: &KeyRange, key: &Bytes) -> bool {
    let after = match &range.from {
        Bound::Unbounded => true,
        Bound::Included(from) => key >= from,
        Bound::Excluded(from) => key > from,
    };
    let before = match &range.to {
        Bound::Unbounded => true,
        Bound::Included(to) => key <= to,
        Bound::Excluded(to) => key < to,
    };
    after && before
}

fn is_empty(range: &KeyRange) -> bool {
    match (&range.from, &range.to) {
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (Bound::Included(from) | Bound::Excluded(from), Bound::Excluded(to))
        | (Bound::Excluded(from), Bound::Included(to)) => from >= to,
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
    }
}

/// The first key after all that begin with `prefix`.
fn after_prefix(prefix: &[u8]) -> Option<Bytes> {
    let last = prefix.iter().rposition(|&byte| byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(Bytes::from(end))
}
