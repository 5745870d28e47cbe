//! A reader of tokens for the statements that are parsed here.

use crate::error::Error;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

/// Stands in front of a token.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    tokens: &'a [TokenWithSpan],
}

/// A name, perhaps with a schema in front.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) schema: Option<String>,
    pub(crate) name: String,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(tokens: &'a [TokenWithSpan]) -> Self {
        Self { tokens }
    }

    pub(super) fn peek(&self) -> Option<&'a Token> {
        self.tokens.first().map(|token| &token.token)
    }

    pub(super) fn next(&mut self) -> Option<&'a Token> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(&first.token)
    }

    /// Takes the tokens up to the one that `ends`, or all.
    pub(super) fn take_until(&mut self, ends: impl FnMut(&Token) -> bool) -> &'a [TokenWithSpan] {
        let mut ends = ends;
        let end = self.tokens.iter().position(|token| ends(&token.token));
        let (taken, rest) = self.tokens.split_at(end.unwrap_or(self.tokens.len()));
        self.tokens = rest;
        taken
    }

    /// What was not taken yet.
    pub(super) fn rest(&self) -> &'a [TokenWithSpan] {
        self.tokens
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Takes the keyword if it comes next.
    pub(super) fn word(&mut self, keyword: &str) -> bool {
        let found = matches!(
            self.peek(),
            Some(Token::Word(word))
                if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(keyword)
        );
        if found {
            self.next();
        }
        found
    }

    /// Takes the keywords if they come next, all of them.
    pub(super) fn words(&mut self, keywords: &[&str]) -> bool {
        let before = *self;
        let found = keywords.iter().all(|keyword| self.word(keyword));
        if !found {
            *self = before;
        }
        found
    }

    pub(super) fn token(&mut self, token: &Token) -> bool {
        let found = self.peek() == Some(token);
        if found {
            self.next();
        }
        found
    }

    pub(super) fn expect_word(&mut self, keyword: &str) -> Result<(), Error> {
        if self.word(keyword) { Ok(()) } else { Err(self.unexpected(keyword)) }
    }

    pub(super) fn expect(&mut self, token: &Token) -> Result<(), Error> {
        if self.token(token) { Ok(()) } else { Err(self.unexpected(&token.to_string())) }
    }

    pub(super) fn expect_end(&self) -> Result<(), Error> {
        if self.is_at_end() { Ok(()) } else { Err(self.unexpected("the end of the statement")) }
    }

    /// An identifier, folded to lower case unless it is quoted.
    pub(super) fn identifier(&mut self) -> Result<String, Error> {
        match self.peek() {
            Some(Token::Word(word)) => {
                let name = match word.quote_style {
                    Some(_) => word.value.clone(),
                    None => word.value.to_lowercase(),
                };
                self.next();
                Ok(name)
            }
            _ => Err(self.unexpected("a name")),
        }
    }

    pub(super) fn name(&mut self) -> Result<Name, Error> {
        let first = self.identifier()?;
        if !self.token(&Token::Period) {
            return Ok(Name { schema: None, name: first });
        }
        let second = self.identifier()?;
        Ok(Name { schema: Some(first), name: second })
    }

    /// A string, number or bare word, as text.
    pub(super) fn value(&mut self) -> Result<String, Error> {
        let negative = self.token(&Token::Minus);
        let sign = if negative { "-" } else { "" };
        match self.peek() {
            Some(Token::Number(number, _)) => {
                self.next();
                Ok(format!("{sign}{number}"))
            }
            Some(Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text))
                if !negative =>
            {
                self.next();
                Ok(text.clone())
            }
            Some(Token::Word(word)) if !negative => {
                let text = match word.quote_style {
                    Some(_) => word.value.clone(),
                    None => word.value.to_lowercase(),
                };
                self.next();
                Ok(text)
            }
            _ => Err(self.unexpected("a value")),
        }
    }

    pub(super) fn unexpected(&self, wanted: &str) -> Error {
        match self.peek() {
            Some(token) => {
                Error::syntax(format!("syntax error at or near \"{token}\": expected {wanted}"))
            }
            None => Error::syntax(format!("syntax error at end of input: expected {wanted}")),
        }
    }
}
