//! Paths into jsonb (PostgreSQL 15, 9.16.2): members, items, filters, arithmetic and methods.
//! Not supported: `datetime()`, variables.

mod parse;
mod pattern;

use crate::error::{Error, sqlstate};
use crate::json::Json;
use crate::numeric::Numeric;
use pattern::Pattern;
use std::cell::RefCell;
use std::cmp::Ordering;
use std::rc::Rc;

thread_local! {
    /// The last path of the thread: within a query it is mostly the same.
    static LAST: RefCell<Option<(String, Rc<Path>)>> = const { RefCell::new(None) };
}

/// The path that `text` is.
pub(crate) fn parse(text: &str) -> Result<Rc<Path>, Error> {
    LAST.with_borrow_mut(|last| {
        if let Some((of, path)) = last
            && of == text
        {
            return Ok(path.clone());
        }
        let path = Rc::new(parse::parse(text)?);
        *last = Some((text.to_owned(), path.clone()));
        Ok(path)
    })
}

/// A path, and whether what is missing is an error.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Path {
    is_strict: bool,
    expr: Expr,
}

/// What gives items.
#[derive(Debug, Clone, PartialEq)]
enum Expr {
    Root,
    Current,
    Literal(Json),
    Negated(Box<Expr>),
    Arithmetic(char, Box<Expr>, Box<Expr>),
    /// A path that is a predicate gives true, false or null.
    Predicate(Box<Predicate>),
    Step(Box<Expr>, Step),
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Key(String),
    AnyKey,
    /// From and to, where `None` is `last`.
    Items(Vec<(Index, Option<Index>)>),
    AnyItem,
    /// `.**`
    Descendants,
    Filter(Box<Predicate>),
    Method(Method),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Index {
    At(i64),
    /// So many before the last.
    Last(i64),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Method {
    Type,
    Size,
    Double,
    Abs,
    Floor,
    Ceiling,
    KeyValue,
}

#[derive(Debug, Clone, PartialEq)]
enum Predicate {
    And(Box<Predicate>, Box<Predicate>),
    Or(Box<Predicate>, Box<Predicate>),
    Not(Box<Predicate>),
    IsUnknown(Box<Predicate>),
    Exists(Expr),
    StartsWith(Expr, Expr),
    /// `like_regex`.
    Matches(Expr, Pattern),
    Compare(&'static str, Expr, Expr),
}

fn missing(code: &'static str, message: &str) -> Error {
    Error::new(code, message.to_owned())
}

impl Path {
    /// The items that the path gives.
    pub(crate) fn query(&self, root: &Json) -> Result<Vec<Json>, Error> {
        let run = Run { root, is_strict: self.is_strict };
        run.items(&self.expr, root)
    }

    /// Whether there are items; none if that cannot be said.
    pub(crate) fn exists(&self, root: &Json) -> Option<bool> {
        self.query(root).ok().map(|items| !items.is_empty())
    }

    /// What the path says, if it is a predicate.
    pub(crate) fn matches(&self, root: &Json) -> Result<Option<bool>, Error> {
        let items = self.query(root)?;
        match items.as_slice() {
            [Json::Bool(value)] => Ok(Some(*value)),
            [Json::Null] => Ok(None),
            _ => Err(missing("22038", "single boolean result is expected")),
        }
    }
}

struct Run<'a> {
    root: &'a Json,
    is_strict: bool,
}

impl Run<'_> {
    fn items(&self, expr: &Expr, current: &Json) -> Result<Vec<Json>, Error> {
        match expr {
            Expr::Root => Ok(vec![self.root.clone()]),
            Expr::Current => Ok(vec![current.clone()]),
            Expr::Literal(value) => Ok(vec![value.clone()]),
            Expr::Predicate(predicate) => Ok(vec![match self.holds(predicate, current) {
                Some(value) => Json::Bool(value),
                None => Json::Null,
            }]),
            Expr::Negated(inner) => {
                let items = self.unwrapped(inner, current)?;
                items.into_iter().map(|item| Ok(Json::Number(number(&item)?.negated()))).collect()
            }
            Expr::Arithmetic(operator, left, right) => {
                let left = self.one_number(left, current, "left")?;
                let right = self.one_number(right, current, "right")?;
                let result = match operator {
                    '+' => left.add(&right),
                    '-' => left.subtract(&right),
                    '*' => left.multiply(&right),
                    '/' => left.divide(&right),
                    _ => left.modulo(&right),
                };
                Ok(vec![Json::Number(result?)])
            }
            Expr::Step(inner, step) => {
                let mut found = Vec::new();
                for item in self.items(inner, current)? {
                    self.step(step, item, &mut found)?;
                }
                Ok(found)
            }
        }
    }

    fn one_number(&self, expr: &Expr, current: &Json, side: &str) -> Result<Numeric, Error> {
        let items = self.unwrapped(expr, current)?;
        match items.as_slice() {
            [Json::Number(number)] => Ok(number.clone()),
            _ => Err(missing(
                "22038",
                &format!("{side} operand of jsonpath operator is not a single numeric value"),
            )),
        }
    }

    /// In lax mode, arrays stand for their items.
    fn unwrapped(&self, expr: &Expr, current: &Json) -> Result<Vec<Json>, Error> {
        let items = self.items(expr, current)?;
        if self.is_strict {
            return Ok(items);
        }
        Ok(items
            .into_iter()
            .flat_map(|item| match item {
                Json::Array(items) => items,
                other => vec![other],
            })
            .collect())
    }

    fn step(&self, step: &Step, item: Json, found: &mut Vec<Json>) -> Result<(), Error> {
        let unwraps = matches!(step, Step::Key(_) | Step::AnyKey | Step::Filter(_))
            || matches!(step, Step::Method(method) if !matches!(method, Method::Type | Method::Size));
        if let (true, false, Json::Array(items)) = (unwraps, self.is_strict, &item) {
            for item in items {
                self.direct(step, item.clone(), found)?;
            }
            return Ok(());
        }
        self.direct(step, item, found)
    }

    fn direct(&self, step: &Step, item: Json, found: &mut Vec<Json>) -> Result<(), Error> {
        match (step, item) {
            (Step::Key(key), item @ Json::Object(_)) => match item.get(key) {
                Some(value) => found.push(value.clone()),
                None if self.is_strict => {
                    return Err(missing(
                        "2203A",
                        &format!("JSON object does not contain key \"{key}\""),
                    ));
                }
                None => {}
            },
            (Step::AnyKey, Json::Object(pairs)) => {
                found.extend(pairs.into_iter().map(|(_, value)| value));
            }
            (Step::Key(_) | Step::AnyKey, _) if self.is_strict => {
                return Err(missing(
                    "2203A",
                    "jsonpath member accessor can only be applied to an object",
                ));
            }
            (Step::Key(_) | Step::AnyKey, _) => {}
            (Step::AnyItem, Json::Array(items)) => found.extend(items),
            (Step::Items(ranges), Json::Array(items)) => self.ranges(ranges, &items, found)?,
            (Step::AnyItem | Step::Items(_), _) if self.is_strict => {
                return Err(missing(
                    "22039",
                    "jsonpath array accessor can only be applied to an array",
                ));
            }
            (Step::AnyItem, item) => found.push(item),
            (Step::Items(ranges), item) => self.ranges(ranges, &[item], found)?,
            (Step::Descendants, item) => descend(item, found),
            (Step::Filter(predicate), item) => {
                if self.holds(predicate, &item) == Some(true) {
                    found.push(item);
                }
            }
            (Step::Method(method), item) => found.extend(method.of(item, self.is_strict)?),
        }
        Ok(())
    }

    fn ranges(
        &self,
        ranges: &[(Index, Option<Index>)],
        items: &[Json],
        found: &mut Vec<Json>,
    ) -> Result<(), Error> {
        let place = |index: Index| match index {
            Index::At(at) => at,
            Index::Last(before) => items.len() as i64 - 1 - before,
        };
        for (from, to) in ranges {
            let from = place(*from);
            let to = to.map_or(from, place);
            if self.is_strict && (from < 0 || from > to || to >= items.len() as i64) {
                return Err(missing("22033", "jsonpath array subscript is out of bounds"));
            }
            let to = to.min(items.len() as i64 - 1);
            for at in from.max(0)..=to {
                found.extend(usize::try_from(at).ok().and_then(|at| items.get(at)).cloned());
            }
        }
        Ok(())
    }

    /// None is unknown.
    fn holds(&self, predicate: &Predicate, current: &Json) -> Option<bool> {
        match predicate {
            Predicate::And(a, b) => match (self.holds(a, current), self.holds(b, current)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Predicate::Or(a, b) => match (self.holds(a, current), self.holds(b, current)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
            Predicate::Not(inner) => self.holds(inner, current).map(|value| !value),
            Predicate::IsUnknown(inner) => Some(self.holds(inner, current).is_none()),
            Predicate::Exists(expr) => {
                self.items(expr, current).ok().map(|items| !items.is_empty())
            }
            Predicate::StartsWith(value, start) => {
                self.any_pair(value, start, current, |a, b| match (a, b) {
                    (Json::Text(a), Json::Text(b)) => Some(a.starts_with(b.as_str())),
                    _ => None,
                })
            }
            Predicate::Matches(value, pattern) => {
                let nothing = Expr::Literal(Json::Null);
                self.any_pair(value, &nothing, current, |value, _| match value {
                    Json::Text(text) => Some(pattern.fits(text)),
                    _ => None,
                })
            }
            Predicate::Compare(operator, left, right) => {
                self.any_pair(left, right, current, |a, b| compare(operator, a, b))
            }
        }
    }

    fn any_pair(
        &self,
        left: &Expr,
        right: &Expr,
        current: &Json,
        test: impl Fn(&Json, &Json) -> Option<bool>,
    ) -> Option<bool> {
        let left = self.unwrapped(left, current).ok()?;
        let right = self.unwrapped(right, current).ok()?;
        let mut found = Some(false);
        for a in &left {
            for b in &right {
                match test(a, b) {
                    Some(true) if !self.is_strict => return Some(true),
                    Some(true) => found = found.map(|_| true),
                    Some(false) => {}
                    None if self.is_strict => return None,
                    None => found = None,
                }
            }
        }
        found
    }
}

fn compare(operator: &str, a: &Json, b: &Json) -> Option<bool> {
    let order = match (a, b) {
        (Json::Null, Json::Null) => Ordering::Equal,
        // Null is only different from the others.
        (Json::Null, _) | (_, Json::Null) => return Some(operator == "<>"),
        (Json::Bool(a), Json::Bool(b)) => a.cmp(b),
        (Json::Number(a), Json::Number(b)) => a.compare(b),
        (Json::Text(a), Json::Text(b)) => a.cmp(b),
        _ => return None,
    };
    Some(match operator {
        "==" => order.is_eq(),
        "<>" => order.is_ne(),
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        _ => order.is_ge(),
    })
}

fn descend(item: Json, found: &mut Vec<Json>) {
    found.push(item.clone());
    match item {
        Json::Array(items) => items.into_iter().for_each(|item| descend(item, found)),
        Json::Object(pairs) => pairs.into_iter().for_each(|(_, item)| descend(item, found)),
        _ => {}
    }
}

fn number(item: &Json) -> Result<Numeric, Error> {
    match item {
        Json::Number(number) => Ok(number.clone()),
        _ => Err(missing("2203B", "operand of unary jsonpath operator is not a numeric value")),
    }
}

impl Method {
    fn of(self, item: Json, is_strict: bool) -> Result<Vec<Json>, Error> {
        let not_a_number =
            || missing("22036", "jsonpath item method can only be applied to a numeric value");
        Ok(vec![match (self, item) {
            (Self::Type, item) => Json::Text(item.type_name().to_owned()),
            (Self::Size, Json::Array(items)) => Json::Number(Numeric::from(items.len() as i64)),
            (Self::Size, _) if is_strict => {
                return Err(missing(
                    "22039",
                    "jsonpath item method .size() can only be applied to an array",
                ));
            }
            (Self::Size, _) => Json::Number(Numeric::from(1)),
            (Self::Double, Json::Number(number)) => {
                Json::Number(Numeric::from_f64(number.to_f64(), 15))
            }
            (Self::Double, Json::Text(text)) => {
                let value: f64 = text.trim().parse().map_err(|_| not_a_number())?;
                Json::Number(Numeric::from_f64(value, 15))
            }
            (Self::Abs, Json::Number(number)) if number.sign() < 0 => {
                Json::Number(number.negated())
            }
            (Self::Abs, item @ Json::Number(_)) => item,
            (Self::Floor, Json::Number(number)) => Json::Number(number.floor()),
            (Self::Ceiling, Json::Number(number)) => {
                Json::Number(number.negated().floor().negated())
            }
            (Self::KeyValue, Json::Object(pairs)) => {
                let pair = |(key, value): (String, Json)| {
                    crate::json::object(vec![
                        ("id".to_owned(), Json::Number(Numeric::from(0))),
                        ("key".to_owned(), Json::Text(key)),
                        ("value".to_owned(), value),
                    ])
                };
                return Ok(pairs.into_iter().map(pair).collect());
            }
            (Self::KeyValue, _) => {
                return Err(missing(
                    "2203C",
                    "jsonpath item method .keyvalue() can only be applied to an object",
                ));
            }
            _ => return Err(not_a_number()),
        }])
    }
}

/// That a path is none.
fn invalid(text: &str) -> Error {
    Error::new(sqlstate::SYNTAX_ERROR, format!("syntax error in jsonpath \"{text}\""))
}
