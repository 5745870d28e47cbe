//! Errors of statements: what the caller should do, and PostgreSQL's code for it.

use anabranch_engine::{AppendError, ErrorKind, ResourceKind};
pub use anabranch_semantics::sqlstate;
use datafusion::arrow::error::ArrowError;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;

/// Why a statement failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What the caller should do.
    pub kind: ErrorKind,
    /// PostgreSQL's five characters (PostgreSQL 15, appendix A).
    pub sqlstate: &'static str,
    /// What happened.
    pub message: String,
    /// The remedy, where the message does not name it.
    pub hint: Option<String>,
    /// What else is so, now that it failed.
    pub detail: Option<String>,
    /// Where in the input it happened.
    pub context: Option<String>,
}

/// No client ever sees it.
const NOT_AT_HAND: &str = "XXH00";

impl Error {
    /// An error of the statement: `kind` follows from the code.
    pub fn new(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind: kind_of(sqlstate),
            sqlstate,
            message: message.into(),
            hint: None,
            detail: None,
            context: None,
        }
    }

    /// Adds the remedy.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds what else is so.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds where in the input it happened, unless that is known already.
    #[must_use]
    pub fn context(mut self, context: impl FnOnce() -> String) -> Self {
        self.context.get_or_insert_with(context);
        self
    }

    /// Something that is not built (yet): what to do instead stands in the hint.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(sqlstate::FEATURE_NOT_SUPPORTED, message)
    }

    /// The statement is not SQL as it is understood here.
    pub fn syntax(message: impl Into<String>) -> Self {
        Self::new(sqlstate::SYNTAX_ERROR, message)
    }

    /// A bug of ours.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(sqlstate::INTERNAL_ERROR, message)
    }

    /// What would be read is not in memory: to be tried again where a disk may be waited for.
    pub(crate) fn not_at_hand() -> Self {
        Self::new(NOT_AT_HAND, "the row is not in memory")
    }

    pub(crate) fn is_not_at_hand(&self) -> bool {
        self.sqlstate == NOT_AT_HAND
    }

    /// The statement ran longer than `statement_timeout`.
    #[must_use]
    pub fn timed_out() -> Self {
        Self {
            kind: ErrorKind::TimedOut,
            ..Self::new(sqlstate::QUERY_CANCELED, "canceling statement due to statement timeout")
        }
    }

    /// Message and remedy in one text, for doors that have one field.
    #[must_use]
    pub fn full_message(&self) -> String {
        match &self.hint {
            None => self.message.clone(),
            Some(hint) => format!("{} ({hint})", self.message),
        }
    }
}

fn kind_of(sqlstate: &str) -> ErrorKind {
    match sqlstate {
        sqlstate::FEATURE_NOT_SUPPORTED => ErrorKind::Unsupported,
        sqlstate::UNIQUE_VIOLATION => ErrorKind::DuplicateKey,
        sqlstate::SERIALIZATION_FAILURE => ErrorKind::Conflict,
        sqlstate::UNDEFINED_TABLE => ErrorKind::NotFound,
        sqlstate::DUPLICATE_TABLE | sqlstate::DUPLICATE_OBJECT => ErrorKind::AlreadyExists,
        sqlstate::INSUFFICIENT_PRIVILEGE => ErrorKind::Denied(ResourceKind::Topic),
        sqlstate::RESERVED_NAME => ErrorKind::InvalidName,
        sqlstate::DISK_FULL => ErrorKind::DiskFull,
        sqlstate::OUT_OF_MEMORY | sqlstate::PROGRAM_LIMIT_EXCEEDED => ErrorKind::TooLarge,
        sqlstate::ADMIN_SHUTDOWN | sqlstate::CANNOT_CONNECT_NOW => ErrorKind::Unavailable,
        sqlstate::IO_ERROR => ErrorKind::Storage,
        sqlstate::INTERNAL_ERROR => ErrorKind::Internal,
        _ => ErrorKind::InvalidArgument,
    }
}

/// The one map from the engine's kinds to PostgreSQL's codes.
fn sqlstate_of(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::NotFound => sqlstate::UNDEFINED_TABLE,
        ErrorKind::AlreadyExists => sqlstate::DUPLICATE_TABLE,
        ErrorKind::Denied(_) => sqlstate::INSUFFICIENT_PRIVILEGE,
        ErrorKind::InvalidArgument | ErrorKind::InvalidRecord | ErrorKind::OutOfRange => {
            sqlstate::INVALID_PARAMETER
        }
        ErrorKind::InvalidName => sqlstate::RESERVED_NAME,
        ErrorKind::Corrupt => "XX001",
        ErrorKind::TooLarge => sqlstate::PROGRAM_LIMIT_EXCEEDED,
        ErrorKind::Conflict => sqlstate::SERIALIZATION_FAILURE,
        ErrorKind::DuplicateKey => sqlstate::UNIQUE_VIOLATION,
        ErrorKind::OutOfOrderSequence
        | ErrorKind::SequenceUsedBefore
        | ErrorKind::NotInTransaction
        | ErrorKind::ProducerFenced
        | ErrorKind::Internal => sqlstate::INTERNAL_ERROR,
        ErrorKind::DiskFull => sqlstate::DISK_FULL,
        ErrorKind::Unavailable => sqlstate::CANNOT_CONNECT_NOW,
        ErrorKind::TimedOut => sqlstate::QUERY_CANCELED,
        ErrorKind::Storage => sqlstate::IO_ERROR,
        ErrorKind::Unsupported => sqlstate::FEATURE_NOT_SUPPORTED,
    }
}

impl From<anabranch_engine::Error> for Error {
    fn from(error: anabranch_engine::Error) -> Self {
        Self { kind: error.kind, ..Self::new(sqlstate_of(error.kind), error.message) }
    }
}

impl From<AppendError> for Error {
    fn from(error: AppendError) -> Self {
        anabranch_engine::Error::from(error).into()
    }
}

impl From<anabranch_engine::ReadError> for Error {
    fn from(error: anabranch_engine::ReadError) -> Self {
        let kind = match &error {
            anabranch_engine::ReadError::OutOfRange { .. } => ErrorKind::OutOfRange,
            anabranch_engine::ReadError::Storage { .. } => ErrorKind::Storage,
        };
        anabranch_engine::Error::new(kind, error.to_string()).into()
    }
}

impl From<anabranch_engine::table::Error> for Error {
    fn from(error: anabranch_engine::table::Error) -> Self {
        anabranch_engine::Error::from(error).into()
    }
}

impl From<ParserError> for Error {
    fn from(error: ParserError) -> Self {
        match error {
            ParserError::TokenizerError(message) | ParserError::ParserError(message) => {
                Self::syntax(format!("syntax error: {message}"))
            }
            ParserError::RecursionLimitExceeded => {
                Self::new(sqlstate::PROGRAM_LIMIT_EXCEEDED, "the statement is nested too deeply")
            }
        }
    }
}

impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        Self::External(Box::new(error))
    }
}

impl From<anabranch_semantics::Error> for Error {
    fn from(error: anabranch_semantics::Error) -> Self {
        Self { hint: error.hint, ..Self::new(error.sqlstate, error.message) }
    }
}

impl From<ArrowError> for Error {
    fn from(error: ArrowError) -> Self {
        from_arrow(&error)
    }
}

impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        from_root(error.find_root())
    }
}

fn from_root(error: &DataFusionError) -> Error {
    match error {
        DataFusionError::External(inner) => from_external(inner.as_ref()),
        DataFusionError::SQL(parser, _) => parser.as_ref().clone().into(),
        DataFusionError::SchemaError(schema, _) => from_schema(schema),
        DataFusionError::Plan(message) => from_plan(message),
        DataFusionError::NotImplemented(message) => Error::unsupported(message.clone()),
        DataFusionError::ResourcesExhausted(message) => Error::new(
            sqlstate::OUT_OF_MEMORY,
            format!("the query needs more memory than it may have: {message}"),
        )
        .hint("narrow the query, or raise query.memory_bytes"),
        DataFusionError::ArrowError(arrow, _) => from_arrow(arrow),
        DataFusionError::Execution(message) => from_execution(message),
        other => Error::internal(other.strip_backtrace()),
    }
}

fn from_arrow(error: &ArrowError) -> Error {
    match error {
        ArrowError::ExternalError(inner) => from_external(inner.as_ref()),
        other => anabranch_semantics::Error::of_arrow(other).into(),
    }
}

/// One of ours, which came through DataFusion.
fn from_external(inner: &(dyn std::error::Error + Send + Sync + 'static)) -> Error {
    if let Some(own) = inner.downcast_ref::<Error>() {
        return own.clone();
    }
    match inner.downcast_ref::<anabranch_semantics::Error>() {
        Some(of_value) => of_value.clone().into(),
        None => Error::internal(inner.to_string()),
    }
}

fn from_schema(error: &SchemaError) -> Error {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let error = Error::new(
                sqlstate::UNDEFINED_COLUMN,
                format!("column \"{}\" does not exist", field.flat_name()),
            );
            let like = nearest(&field.name, valid_fields.iter().map(|column| column.name.as_str()));
            match like {
                Some(name) => error.hint(format!(
                    "perhaps you meant \"{name}\"; fields that are not declared are read with \
                     _json->>'{}'",
                    field.name
                )),
                None => error.hint(format!(
                    "fields that are not declared are read with _json->>'{}'",
                    field.name
                )),
            }
        }
        SchemaError::AmbiguousReference { field } => Error::new(
            sqlstate::AMBIGUOUS_COLUMN,
            format!("column reference \"{}\" is ambiguous", field.name),
        )
        .hint("name the table in front of the column"),
        other => Error::new(sqlstate::DUPLICATE_COLUMN, other.to_string()),
    }
}

/// DataFusion gives most planning errors as text only; its words are matched where PostgreSQL's
/// clients act on the code.
fn from_plan(message: &str) -> Error {
    if let Some(name) = between(message, "table '", "' not found") {
        let name = name.trim_start_matches("anabranch.").trim_start_matches("public.");
        return Error::new(
            sqlstate::UNDEFINED_TABLE,
            format!("relation \"{name}\" does not exist"),
        )
        .hint("SELECT name FROM sys.streams lists the streams; a Kafka producer or CREATE STREAM makes one");
    }
    if message.contains("Invalid function") {
        return Error::new(sqlstate::UNDEFINED_FUNCTION, message.to_owned());
    }
    if message.contains("failed to resolve schema") || message.contains("failed to resolve catalog")
    {
        return Error::new("3F000", message.to_owned());
    }
    if message.contains("type_coercion") || message.contains("Cannot infer common argument type") {
        return Error::new(sqlstate::DATATYPE_MISMATCH, message.to_owned());
    }
    Error::new("42000", message.to_owned())
}

fn from_execution(message: &str) -> Error {
    if message.contains("Scalar subquery returned more than one row") {
        return Error::new(
            sqlstate::CARDINALITY_VIOLATION,
            "more than one row returned by a subquery used as an expression",
        );
    }
    Error::new("22000", message.to_owned())
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let rest = &text[text.find(before)? + before.len()..];
    Some(&rest[..rest.find(after)?])
}

/// The candidate that differs from `name` by at most two edits.
fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (edits(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= 2)
        .min()
        .map(|(_, candidate)| candidate)
}

fn edits(a: &str, b: &str) -> usize {
    if a.len().abs_diff(b.len()) > 2 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
