//! The door's errors: what a client is told, over both of its protocols (`PROTOCOL.md`, "Errors").

use crate::json::{push_int, push_string};
use anabranch_engine::{Error, ErrorKind};
use anabranch_types::{Offset, PartitionIndex, Round};
use axum::http::StatusCode;

/// What went wrong, as programs see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// The engine's kinds.
    Engine(ErrorKind),
    /// Nobody has logged in, or with a wrong password.
    Unauthenticated,
    /// A browser's page of another origin.
    ForbiddenOrigin,
    /// A host name that is not ours.
    ForbiddenHost,
    /// More subscriptions, bodies or connections than are allowed.
    TooMany,
}

impl Code {
    /// Its name in the protocol.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Engine(kind) => match kind {
                ErrorKind::NotFound => "not_found",
                ErrorKind::AlreadyExists => "already_exists",
                ErrorKind::InvalidArgument => "invalid_argument",
                ErrorKind::InvalidName => "invalid_name",
                ErrorKind::InvalidRecord => "invalid_record",
                ErrorKind::Denied(_) => "denied",
                ErrorKind::Corrupt => "corrupt",
                ErrorKind::TooLarge => "too_large",
                ErrorKind::Conflict => "conflict",
                ErrorKind::DuplicateKey => "duplicate_key",
                ErrorKind::OutOfRange => "out_of_range",
                ErrorKind::OutOfOrderSequence => "out_of_order_sequence",
                ErrorKind::SequenceUsedBefore => "sequence_used_before",
                ErrorKind::ProducerFenced => "producer_fenced",
                ErrorKind::NotInTransaction => "not_in_transaction",
                ErrorKind::DiskFull => "disk_full",
                ErrorKind::Unavailable => "unavailable",
                ErrorKind::TimedOut => "timed_out",
                ErrorKind::Storage => "storage",
                ErrorKind::Unsupported => "unsupported",
                ErrorKind::Internal => "internal",
            },
            Self::Unauthenticated => "unauthenticated",
            Self::ForbiddenOrigin => "forbidden_origin",
            Self::ForbiddenHost => "forbidden_host",
            Self::TooMany => "too_many",
        }
    }

    /// Its status in HTTP.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Engine(kind) => match kind {
                ErrorKind::InvalidArgument
                | ErrorKind::InvalidName
                | ErrorKind::InvalidRecord
                | ErrorKind::Corrupt => StatusCode::BAD_REQUEST,
                ErrorKind::NotFound => StatusCode::NOT_FOUND,
                ErrorKind::Denied(_) => StatusCode::FORBIDDEN,
                ErrorKind::AlreadyExists
                | ErrorKind::DuplicateKey
                | ErrorKind::Conflict
                | ErrorKind::OutOfOrderSequence
                | ErrorKind::SequenceUsedBefore
                | ErrorKind::ProducerFenced
                | ErrorKind::NotInTransaction => StatusCode::CONFLICT,
                ErrorKind::OutOfRange => StatusCode::GONE,
                ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
                ErrorKind::Unsupported => StatusCode::NOT_IMPLEMENTED,
                ErrorKind::DiskFull | ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
                ErrorKind::TimedOut => StatusCode::GATEWAY_TIMEOUT,
                ErrorKind::Storage | ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            },
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::ForbiddenOrigin | Self::ForbiddenHost => StatusCode::FORBIDDEN,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    /// What to do, where the message does not always say it.
    fn hint(self) -> Option<&'static str> {
        Some(match self {
            Self::Engine(ErrorKind::NotFound) => "GET /v1/streams lists what there is",
            Self::Engine(ErrorKind::Conflict) => "read again, then retry",
            Self::Engine(ErrorKind::OutOfRange) => "start at the earliest that is kept, or later",
            Self::Engine(ErrorKind::Corrupt) => "send it again",
            Self::Engine(ErrorKind::TooLarge) => "send less at a time",
            Self::Engine(ErrorKind::DiskFull | ErrorKind::Unavailable) => "retry later",
            Self::Engine(ErrorKind::TimedOut) => "retry; the broker may be catching up",
            Self::Engine(ErrorKind::Storage) => "tell the operator: the disk failed",
            Self::Unauthenticated => "send the header Authorization: Basic (curl -u user:password)",
            Self::Engine(ErrorKind::Internal) => "this is a bug: tell the authors",
            _ => return None,
        })
    }
}

/// An error on its way to a client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    /// For programs.
    pub(crate) code: Code,
    /// What happened.
    pub(crate) message: String,
    /// What to do, if it is more than the code's own hint.
    pub(crate) hint: Option<String>,
    /// The position from which everything is kept.
    pub(crate) earliest: Option<String>,
    /// What was appended of a publish that failed in part.
    pub(crate) partly: Option<Box<Acknowledged>>,
}

/// Where published events stand; an event that was not appended has no place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    /// The last round they came in.
    pub(crate) round: Round,
    /// A place for each event, in order.
    pub(crate) places: Vec<Option<(PartitionIndex, Offset)>>,
}

impl Acknowledged {
    /// Appends the fields `"round":…,"offsets":[…]`.
    pub(crate) fn push_fields(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\"round\":");
        crate::json::push_uint(out, self.round.0);
        out.extend_from_slice(b",\"offsets\":[");
        for (number, place) in self.places.iter().enumerate() {
            if number > 0 {
                out.push(b',');
            }
            let Some((partition, offset)) = place else {
                out.extend_from_slice(b"null");
                continue;
            };
            out.extend_from_slice(b"{\"partition\":");
            push_int(out, i64::from(partition.0));
            out.extend_from_slice(b",\"offset\":");
            push_int(out, offset.0);
            out.push(b'}');
        }
        out.push(b']');
    }
}

impl Failure {
    /// An error of `code`.
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, earliest: None, partly: None }
    }

    /// The request is wrong.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::Engine(ErrorKind::InvalidArgument), message)
    }

    /// There is no such thing.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(Code::Engine(ErrorKind::NotFound), message)
    }

    /// Says what to do.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Appends the error as an object.
    pub(crate) fn push_object(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"code\":");
        push_string(out, self.code.name());
        out.extend_from_slice(b",\"message\":");
        push_string(out, &self.message);
        if let Some(hint) = self.hint.as_deref().or(self.code.hint()) {
            out.extend_from_slice(b",\"hint\":");
            push_string(out, hint);
        }
        if let Some(earliest) = &self.earliest {
            out.extend_from_slice(b",\"earliest\":");
            push_string(out, earliest);
        }
        if let Some(partly) = &self.partly {
            out.push(b',');
            partly.push_fields(out);
        }
        out.push(b'}');
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(Code::Engine(error.kind), error.message)
    }
}
