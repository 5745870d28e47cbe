//! What is wrong with a value or a call, with PostgreSQL's code for it.

use datafusion::arrow::error::ArrowError;
use datafusion::error::DataFusionError;

/// Why something has no meaning, or no value.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// PostgreSQL's five characters (PostgreSQL 15, appendix A).
    pub sqlstate: &'static str,
    /// What happened.
    pub message: String,
    /// The remedy, where the message does not name it.
    pub hint: Option<String>,
}

/// PostgreSQL's codes that SQL gives here (PostgreSQL 15, appendix A).
pub mod sqlstate {
    #![allow(missing_docs)]
    pub const FEATURE_NOT_SUPPORTED: &str = "0A000";
    pub const CARDINALITY_VIOLATION: &str = "21000";
    pub const NUMERIC_OUT_OF_RANGE: &str = "22003";
    pub const DIVISION_BY_ZERO: &str = "22012";
    pub const INVALID_PARAMETER: &str = "22023";
    pub const INVALID_TEXT: &str = "22P02";
    pub const NOT_NULL_VIOLATION: &str = "23502";
    pub const UNIQUE_VIOLATION: &str = "23505";
    pub const INVALID_CURSOR_STATE: &str = "24000";
    pub const TRANSACTION_ACTIVE: &str = "25001";
    pub const NO_TRANSACTION: &str = "25P01";
    pub const TRANSACTION_FAILED: &str = "25P02";
    pub const UNDEFINED_PREPARED: &str = "26000";
    pub const DEPENDENT_OBJECTS: &str = "2BP01";
    pub const INVALID_CURSOR_NAME: &str = "34000";
    pub const SAVEPOINT_NOT_FOUND: &str = "3B001";
    pub const SERIALIZATION_FAILURE: &str = "40001";
    pub const SYNTAX_ERROR: &str = "42601";
    pub const UNDEFINED_COLUMN: &str = "42703";
    pub const UNDEFINED_OBJECT: &str = "42704";
    pub const DUPLICATE_OBJECT: &str = "42710";
    pub const DUPLICATE_COLUMN: &str = "42701";
    pub const AMBIGUOUS_COLUMN: &str = "42702";
    pub const DATATYPE_MISMATCH: &str = "42804";
    pub const WRONG_OBJECT_TYPE: &str = "42809";
    pub const UNDEFINED_FUNCTION: &str = "42883";
    pub const RESERVED_NAME: &str = "42939";
    pub const UNDEFINED_TABLE: &str = "42P01";
    pub const DUPLICATE_CURSOR: &str = "42P03";
    pub const DUPLICATE_PREPARED: &str = "42P05";
    pub const DUPLICATE_TABLE: &str = "42P07";
    /// Nobody granted it.
    pub const INSUFFICIENT_PRIVILEGE: &str = "42501";
    pub const INVALID_TABLE_DEFINITION: &str = "42P16";
    pub const INDETERMINATE_DATATYPE: &str = "42P18";
    pub const DISK_FULL: &str = "53100";
    pub const OUT_OF_MEMORY: &str = "53200";
    pub const PROGRAM_LIMIT_EXCEEDED: &str = "54000";
    pub const OBJECT_NOT_IN_STATE: &str = "55000";
    pub const OBJECT_IN_USE: &str = "55006";
    pub const QUERY_CANCELED: &str = "57014";
    pub const ADMIN_SHUTDOWN: &str = "57P01";
    pub const CANNOT_CONNECT_NOW: &str = "57P03";
    pub const IO_ERROR: &str = "58030";
    pub const INTERNAL_ERROR: &str = "XX000";
}

impl Error {
    /// An error of this code.
    pub fn new(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self { sqlstate, message: message.into(), hint: None }
    }

    /// Adds the remedy.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
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

    /// What Arrow says of values.
    #[must_use]
    pub fn of_arrow(error: &ArrowError) -> Self {
        match error {
            ArrowError::ExternalError(inner) => match inner.downcast_ref::<Self>() {
                Some(own) => own.clone(),
                None => Self::internal(inner.to_string()),
            },
            ArrowError::DivideByZero => Self::new(sqlstate::DIVISION_BY_ZERO, "division by zero"),
            ArrowError::ArithmeticOverflow(what) => {
                Self::new(sqlstate::NUMERIC_OUT_OF_RANGE, format!("out of range: {what}"))
            }
            ArrowError::CastError(what) | ArrowError::ParseError(what) => {
                Self::new(sqlstate::INVALID_TEXT, what.clone())
            }
            ArrowError::InvalidArgumentError(what) => {
                Self::new(sqlstate::INVALID_PARAMETER, what.clone())
            }
            ArrowError::NotYetImplemented(what) => Self::unsupported(what.clone()),
            other => Self::internal(other.to_string()),
        }
    }
}

impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        Self::External(Box::new(error))
    }
}

impl From<ArrowError> for Error {
    fn from(error: ArrowError) -> Self {
        Self::of_arrow(&error)
    }
}

impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        match error.find_root() {
            DataFusionError::External(inner) => match inner.downcast_ref::<Self>() {
                Some(own) => own.clone(),
                None => Self::internal(inner.to_string()),
            },
            DataFusionError::ArrowError(arrow, _) => Self::of_arrow(arrow),
            other => Self::internal(other.strip_backtrace()),
        }
    }
}
