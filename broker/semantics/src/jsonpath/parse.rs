//! Paths out of text.

use super::pattern::Pattern;
use super::{Expr, Index, Method, Path, Predicate, Step, invalid};
use crate::error::Error;
use crate::json::{self, Json};
use crate::numeric::Numeric;

/// How deep a path may be nested.
const DEPTH_MAX: usize = 64;

/// The path that `text` is.
pub(super) fn parse(text: &str) -> Result<Path, Error> {
    let mut parser = Parser { text, rest: text, depth: 0 };
    let is_strict = parser.word("strict");
    if !is_strict {
        parser.word("lax");
    }
    let expr = match parser.attempt(Parser::predicate) {
        Some(predicate) => Expr::Predicate(Box::new(predicate)),
        None => parser.sum()?,
    };
    parser.spaces();
    if parser.rest.is_empty() { Ok(Path { is_strict, expr }) } else { Err(invalid(text)) }
}

struct Parser<'a> {
    text: &'a str,
    rest: &'a str,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn spaces(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn symbol(&mut self, symbol: &str) -> bool {
        self.spaces();
        match self.rest.strip_prefix(symbol) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn word(&mut self, word: &str) -> bool {
        self.spaces();
        match self.rest.strip_prefix(word) {
            Some(rest) if !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_') => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn expect(&mut self, symbol: &str) -> Result<(), Error> {
        if self.symbol(symbol) { Ok(()) } else { Err(invalid(self.text)) }
    }

    /// What `parse` gives; the text is where it was if it fails, or if more than the end of a
    /// path or of a pair of parentheses follows.
    fn attempt<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, Error>) -> Option<T> {
        let (rest, depth) = (self.rest, self.depth);
        match parse(self) {
            Ok(found) => Some(found),
            Err(_) => {
                (self.rest, self.depth) = (rest, depth);
                None
            }
        }
    }

    fn deeper(&mut self) -> Result<(), Error> {
        self.depth += 1;
        if self.depth > DEPTH_MAX { Err(invalid(self.text)) } else { Ok(()) }
    }

    fn predicate(&mut self) -> Result<Predicate, Error> {
        self.deeper()?;
        let mut left = self.conjunction()?;
        while self.symbol("||") {
            left = Predicate::Or(Box::new(left), Box::new(self.conjunction()?));
        }
        self.depth -= 1;
        Ok(left)
    }

    fn conjunction(&mut self) -> Result<Predicate, Error> {
        let mut left = self.condition()?;
        while self.symbol("&&") {
            left = Predicate::And(Box::new(left), Box::new(self.condition()?));
        }
        Ok(left)
    }

    fn condition(&mut self) -> Result<Predicate, Error> {
        if self.symbol("!") {
            self.expect("(")?;
            let inner = self.predicate()?;
            self.expect(")")?;
            return Ok(Predicate::Not(Box::new(inner)));
        }
        if self.word("exists") {
            self.expect("(")?;
            let inner = self.sum()?;
            self.expect(")")?;
            return Ok(Predicate::Exists(inner));
        }
        let grouped = self.attempt(|parser| {
            parser.expect("(")?;
            let inner = parser.predicate()?;
            parser.expect(")")?;
            Ok(inner)
        });
        if let Some(inner) = grouped {
            if self.word("is") && self.word("unknown") {
                return Ok(Predicate::IsUnknown(Box::new(inner)));
            }
            return Ok(inner);
        }
        let left = self.sum()?;
        if self.word("starts") && self.word("with") {
            return Ok(Predicate::StartsWith(left, self.sum()?));
        }
        if self.word("like_regex") {
            return self.pattern().map(|pattern| Predicate::Matches(left, pattern));
        }
        for operator in ["==", "<>", "!=", "<=", ">=", "<", ">"] {
            if self.symbol(operator) {
                let operator = if operator == "!=" { "<>" } else { operator };
                return Ok(Predicate::Compare(operator, left, self.sum()?));
            }
        }
        Err(invalid(self.text))
    }

    /// `"…" [flag "…"]`
    fn pattern(&mut self) -> Result<Pattern, Error> {
        self.spaces();
        if !self.rest.starts_with('"') {
            return Err(invalid(self.text));
        }
        let text = self.string()?;
        let mut flags = String::new();
        if self.word("flag") {
            self.spaces();
            flags = self.string()?;
        }
        Pattern::new(text, flags)
    }

    fn sum(&mut self) -> Result<Expr, Error> {
        self.deeper()?;
        let mut left = self.product()?;
        loop {
            let operator = if self.symbol("+") {
                '+'
            } else if self.symbol("-") {
                '-'
            } else {
                self.depth -= 1;
                return Ok(left);
            };
            left = Expr::Arithmetic(operator, Box::new(left), Box::new(self.product()?));
        }
    }

    fn product(&mut self) -> Result<Expr, Error> {
        let mut left = self.signed()?;
        loop {
            self.spaces();
            let operator = match self.rest.chars().next() {
                Some(c @ ('*' | '/' | '%')) => c,
                _ => return Ok(left),
            };
            self.rest = &self.rest[1..];
            left = Expr::Arithmetic(operator, Box::new(left), Box::new(self.signed()?));
        }
    }

    fn signed(&mut self) -> Result<Expr, Error> {
        if self.symbol("-") {
            self.deeper()?;
            let inner = self.signed()?;
            self.depth -= 1;
            return Ok(Expr::Negated(Box::new(inner)));
        }
        self.symbol("+");
        let mut value = self.primary()?;
        while let Some(step) = self.step()? {
            value = Expr::Step(Box::new(value), step);
        }
        Ok(value)
    }

    fn primary(&mut self) -> Result<Expr, Error> {
        self.spaces();
        for (word, value) in
            [("null", Json::Null), ("true", Json::Bool(true)), ("false", Json::Bool(false))]
        {
            if self.word(word) {
                return Ok(Expr::Literal(value));
            }
        }
        match self.rest.chars().next() {
            Some('$') => {
                self.rest = &self.rest[1..];
                match self.rest.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '"') {
                    true => Err(invalid(self.text)),
                    false => Ok(Expr::Root),
                }
            }
            Some('@') => {
                self.rest = &self.rest[1..];
                Ok(Expr::Current)
            }
            Some('(') => {
                self.rest = &self.rest[1..];
                let inner = self.sum()?;
                self.expect(")")?;
                Ok(inner)
            }
            Some('"') => self.string().map(|text| Expr::Literal(Json::Text(text))),
            Some(c) if c.is_ascii_digit() || c == '.' => {
                let end = self
                    .rest
                    .find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E')))
                    .unwrap_or(self.rest.len());
                let (number, rest) = self.rest.split_at(end);
                self.rest = rest;
                let number = Numeric::parse(number)?.ok_or_else(|| invalid(self.text))?;
                Ok(Expr::Literal(Json::Number(number)))
            }
            _ => Err(invalid(self.text)),
        }
    }

    fn string(&mut self) -> Result<String, Error> {
        let mut escaped = false;
        let inner = self.rest.get(1..).unwrap_or("");
        for (at, c) in inner.char_indices() {
            if c == '"' && !escaped {
                let quoted = &self.rest[..at + 2];
                self.rest = &self.rest[at + 2..];
                return match json::parse(quoted) {
                    Ok(Json::Text(text)) => Ok(text),
                    _ => Err(invalid(self.text)),
                };
            }
            escaped = c == '\\' && !escaped;
        }
        Err(invalid(self.text))
    }

    fn step(&mut self) -> Result<Option<Step>, Error> {
        if self.symbol(".**") {
            return Ok(Some(Step::Descendants));
        }
        if self.symbol(".*") {
            return Ok(Some(Step::AnyKey));
        }
        if self.symbol(".") {
            self.spaces();
            if self.rest.starts_with('"') {
                return self.string().map(|key| Some(Step::Key(key)));
            }
            let end = self
                .rest
                .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'))
                .unwrap_or(self.rest.len());
            let (name, rest) = self.rest.split_at(end);
            if name.is_empty() {
                return Err(invalid(self.text));
            }
            self.rest = rest;
            if !self.symbol("(") {
                return Ok(Some(Step::Key(name.to_owned())));
            }
            self.expect(")")?;
            let method = match name {
                "type" => Method::Type,
                "size" => Method::Size,
                "double" => Method::Double,
                "abs" => Method::Abs,
                "floor" => Method::Floor,
                "ceiling" => Method::Ceiling,
                "keyvalue" => Method::KeyValue,
                _ => return Err(invalid(self.text)),
            };
            return Ok(Some(Step::Method(method)));
        }
        if self.symbol("[") {
            if self.symbol("*") {
                self.expect("]")?;
                return Ok(Some(Step::AnyItem));
            }
            let mut ranges = Vec::new();
            loop {
                let from = self.index()?;
                let to = if self.word("to") { Some(self.index()?) } else { None };
                ranges.push((from, to));
                if !self.symbol(",") {
                    break;
                }
            }
            self.expect("]")?;
            return Ok(Some(Step::Items(ranges)));
        }
        if self.symbol("?") {
            self.expect("(")?;
            let predicate = self.predicate()?;
            self.expect(")")?;
            return Ok(Some(Step::Filter(Box::new(predicate))));
        }
        Ok(None)
    }

    fn index(&mut self) -> Result<Index, Error> {
        if self.word("last") {
            if self.symbol("-") {
                return Ok(Index::Last(self.integer()?));
            }
            return Ok(Index::Last(0));
        }
        let negative = self.symbol("-");
        let value = self.integer()?;
        Ok(Index::At(if negative { -value } else { value }))
    }

    fn integer(&mut self) -> Result<i64, Error> {
        self.spaces();
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest;
        digits.parse().map_err(|_| invalid(self.text))
    }
}
