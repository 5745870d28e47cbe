//! What `COPY … WITH (…)` says (PostgreSQL 15, COPY; `ProcessCopyOptions` in copy.c).

use crate::error::{Error, sqlstate};

/// How rows look outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CopyFormat {
    /// Lines of fields with escapes.
    #[default]
    Text,
    /// Comma separated values.
    Csv,
    /// What the types' send functions write.
    Binary,
}

/// The first line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CopyHeader {
    /// Is a row.
    #[default]
    None,
    /// Has the columns' names; what comes in there is not looked at.
    Names,
    /// Must have the columns' names.
    Match,
}

/// Columns that an option is about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Forced {
    /// None.
    #[default]
    Nothing,
    /// Those of these names.
    These(Vec<String>),
    /// All.
    All,
}

/// Which way rows go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// `FROM STDIN`.
    In,
    /// `TO STDOUT`.
    Out,
}

/// How rows come in or go out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyOptions {
    /// How they look.
    pub format: CopyFormat,
    /// Between two fields; ASCII.
    pub delimiter: u8,
    /// What NULL looks like.
    pub null: String,
    /// Whether there is a line of names.
    pub header: CopyHeader,
    /// Around fields of CSV; ASCII.
    pub quote: u8,
    /// In front of a quote within quotes; ASCII.
    pub escape: u8,
    /// Columns whose values are quoted in any case.
    pub force_quote: Forced,
    /// Columns in which what looks like NULL is taken as it stands.
    pub force_not_null: Forced,
    /// Columns in which NULL may stand in quotes.
    pub force_null: Forced,
}

/// What was given, before it is known to go together.
#[derive(Debug, Default)]
pub(crate) struct Given {
    format: Option<CopyFormat>,
    delimiter: Option<String>,
    null: Option<String>,
    header: Option<CopyHeader>,
    quote: Option<String>,
    escape: Option<String>,
    force_quote: Option<Forced>,
    force_not_null: Option<Forced>,
    force_null: Option<Forced>,
    encoding: Option<()>,
    freeze: Option<bool>,
}

/// The value of an option.
#[derive(Debug, Clone)]
pub(crate) enum Argument {
    None,
    Text(String),
    Columns(Forced),
}

impl Forced {
    /// Whether the option is about each of `columns`.
    pub fn flags<'a>(&self, columns: impl Iterator<Item = &'a str>) -> Vec<bool> {
        columns
            .map(|column| match self {
                Self::Nothing => false,
                Self::These(names) => names.iter().any(|name| name == column),
                Self::All => true,
            })
            .collect()
    }
}

impl Given {
    /// Takes an option.
    pub(crate) fn set(&mut self, name: &str, argument: Argument) -> Result<(), Error> {
        match name {
            "format" => once(&mut self.format, format(&text(name, argument)?)?),
            "delimiter" => once(&mut self.delimiter, text(name, argument)?),
            "null" => once(&mut self.null, text(name, argument)?),
            "header" => once(&mut self.header, header(argument)?),
            "quote" => once(&mut self.quote, text(name, argument)?),
            "escape" => once(&mut self.escape, text(name, argument)?),
            "force_quote" => once(&mut self.force_quote, columns(name, argument)?),
            "force_not_null" => once(&mut self.force_not_null, columns(name, argument)?),
            "force_null" => once(&mut self.force_null, columns(name, argument)?),
            "encoding" => once(&mut self.encoding, encoding(&text(name, argument)?)?),
            // Rows are never frozen here, and always visible when it ends.
            "freeze" => once(&mut self.freeze, boolean(name, argument)?),
            _ => Err(Error::syntax(format!("option \"{name}\" not recognized"))),
        }
    }

    /// What goes together.
    pub(crate) fn finish(self, direction: Direction) -> Result<CopyOptions, Error> {
        let format = self.format.unwrap_or_default();
        self.check_format(format, direction)?;
        let of_format = |csv: &str, other: &str| match format {
            CopyFormat::Csv => csv.to_owned(),
            CopyFormat::Text | CopyFormat::Binary => other.to_owned(),
        };
        let delimiter = self.delimiter.unwrap_or_else(|| of_format(",", "\t"));
        let null = self.null.unwrap_or_else(|| of_format("", "\\N"));
        let quote = one_byte("quote", self.quote.as_deref().unwrap_or("\""))?;
        let escape = match &self.escape {
            Some(escape) => one_byte("escape", escape)?,
            None => quote,
        };
        let delimiter = one_byte("delimiter", &delimiter)?;
        check_delimiter(delimiter, format)?;
        let invalid = |message: &str| Err(Error::new(sqlstate::INVALID_PARAMETER, message));
        if null.contains(['\r', '\n']) {
            return invalid("COPY null representation cannot use newline or carriage return");
        }
        if format == CopyFormat::Csv && delimiter == quote {
            return invalid("COPY delimiter and quote must be different");
        }
        if null.as_bytes().contains(&delimiter) {
            return Err(Error::unsupported(
                "COPY delimiter must not appear in the NULL specification",
            ));
        }
        if format == CopyFormat::Csv && null.as_bytes().contains(&quote) {
            return Err(Error::unsupported(
                "CSV quote character must not appear in the NULL specification",
            ));
        }
        Ok(CopyOptions {
            format,
            delimiter,
            null,
            header: self.header.unwrap_or_default(),
            quote,
            escape,
            force_quote: self.force_quote.unwrap_or_default(),
            force_not_null: self.force_not_null.unwrap_or_default(),
            force_null: self.force_null.unwrap_or_default(),
        })
    }

    fn check_format(&self, format: CopyFormat, direction: Direction) -> Result<(), Error> {
        let is_binary = format == CopyFormat::Binary;
        if is_binary && self.delimiter.is_some() {
            return Err(Error::syntax("cannot specify DELIMITER in BINARY mode"));
        }
        if is_binary && self.null.is_some() {
            return Err(Error::syntax("cannot specify NULL in BINARY mode"));
        }
        let header = self.header.unwrap_or_default();
        if is_binary && header != CopyHeader::None {
            return Err(Error::unsupported("cannot specify HEADER in BINARY mode"));
        }
        if header == CopyHeader::Match && direction == Direction::Out {
            return Err(Error::unsupported("cannot use \"match\" with HEADER in COPY TO"));
        }
        let of_csv = [
            ("quote", self.quote.is_some(), None),
            ("escape", self.escape.is_some(), None),
            ("force quote", self.force_quote.is_some(), Some(Direction::Out)),
            ("force not null", self.force_not_null.is_some(), Some(Direction::In)),
            ("force null", self.force_null.is_some(), Some(Direction::In)),
        ];
        for (what, _, only) in of_csv.iter().filter(|(_, given, _)| *given) {
            if format != CopyFormat::Csv {
                return Err(Error::unsupported(format!("COPY {what} available only in CSV mode")));
            }
            if only.is_some_and(|only| only != direction) {
                let way = if direction == Direction::In { "TO" } else { "FROM" };
                return Err(Error::unsupported(format!(
                    "COPY {what} only available using COPY {way}"
                )));
            }
        }
        Ok(())
    }
}

impl CopyOptions {
    /// Checks that the options are about columns that are copied.
    pub(crate) fn check_columns(&self, columns: &[String]) -> Result<(), Error> {
        let options = [
            ("FORCE_QUOTE", &self.force_quote),
            ("FORCE_NOT_NULL", &self.force_not_null),
            ("FORCE_NULL", &self.force_null),
        ];
        for (option, forced) in options {
            let Forced::These(names) = forced else { continue };
            if let Some(name) = names.iter().find(|name| !columns.contains(name)) {
                return Err(Error::new(
                    "42P10",
                    format!("{option} column \"{name}\" not referenced by COPY"),
                ));
            }
        }
        Ok(())
    }
}

fn once<T>(option: &mut Option<T>, value: T) -> Result<(), Error> {
    match option.replace(value) {
        None => Ok(()),
        Some(_) => Err(Error::syntax("conflicting or redundant options")),
    }
}

fn text(name: &str, argument: Argument) -> Result<String, Error> {
    match argument {
        Argument::Text(text) => Ok(text),
        Argument::None | Argument::Columns(_) => {
            Err(Error::syntax(format!("{name} requires a parameter")))
        }
    }
}

fn columns(name: &str, argument: Argument) -> Result<Forced, Error> {
    match argument {
        Argument::Columns(Forced::All) if name != "force_quote" => {
            Err(wrong_argument(name, "a list of column names"))
        }
        Argument::Columns(columns) => Ok(columns),
        Argument::None | Argument::Text(_) => Err(wrong_argument(name, "a list of column names")),
    }
}

fn wrong_argument(name: &str, wanted: &str) -> Error {
    Error::new(
        sqlstate::INVALID_PARAMETER,
        format!("argument to option \"{name}\" must be {wanted}"),
    )
}

fn format(name: &str) -> Result<CopyFormat, Error> {
    match name {
        "text" => Ok(CopyFormat::Text),
        "csv" => Ok(CopyFormat::Csv),
        "binary" => Ok(CopyFormat::Binary),
        _ => Err(Error::new(
            sqlstate::INVALID_PARAMETER,
            format!("COPY format \"{name}\" not recognized"),
        )),
    }
}

fn boolean(name: &str, argument: Argument) -> Result<bool, Error> {
    let value = match &argument {
        Argument::None => Some(true),
        Argument::Text(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "on" | "1" => Some(true),
            "false" | "off" | "0" => Some(false),
            _ => None,
        },
        Argument::Columns(_) => None,
    };
    value.ok_or_else(|| Error::syntax(format!("{name} requires a Boolean value")))
}

fn header(argument: Argument) -> Result<CopyHeader, Error> {
    match &argument {
        Argument::Text(text) if text.eq_ignore_ascii_case("match") => Ok(CopyHeader::Match),
        _ => match boolean("header", argument) {
            Ok(true) => Ok(CopyHeader::Names),
            Ok(false) => Ok(CopyHeader::None),
            Err(_) => Err(Error::syntax("header requires a Boolean value or \"match\"")),
        },
    }
}

fn encoding(name: &str) -> Result<(), Error> {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    match plain.to_ascii_lowercase().as_str() {
        "utf8" | "unicode" | "sqlascii" => Ok(()),
        _ => Err(Error::unsupported(format!("COPY in encoding \"{name}\" is not supported"))
            .hint("everything is UTF-8 here: convert it, with iconv for instance")),
    }
}

fn one_byte(what: &str, text: &str) -> Result<u8, Error> {
    match text.as_bytes() {
        [byte] => Ok(*byte),
        _ => Err(Error::unsupported(format!("COPY {what} must be a single one-byte character"))),
    }
}

fn check_delimiter(delimiter: u8, format: CopyFormat) -> Result<(), Error> {
    let invalid = |message: String| Err(Error::new(sqlstate::INVALID_PARAMETER, message));
    if matches!(delimiter, b'\r' | b'\n') {
        return invalid("COPY delimiter cannot be newline or carriage return".to_owned());
    }
    // Letters and digits stand behind a backslash for something else.
    let is_escape = matches!(delimiter, b'\\' | b'.' | b'a'..=b'z' | b'0'..=b'9');
    if format != CopyFormat::Csv && is_escape {
        return invalid(format!("COPY delimiter cannot be \"{}\"", char::from(delimiter)));
    }
    Ok(())
}
