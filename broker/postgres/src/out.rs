//! Messages to clients.

use crate::encode::Format;
use crate::types::{length, modifier, of_catalogue, pg_type};
use anabranch_query::{SqlError, TransactionState};
use bytes::{BufMut, Bytes, BytesMut};
use datafusion::arrow::datatypes::Schema;
use pgwire::error::ErrorInfo;
use pgwire::messages::Message;
use pgwire::messages::data::{FieldDescription, NoData, ParameterDescription, RowDescription};
use pgwire::messages::extendedquery::{
    BindComplete, CloseComplete, ParseComplete, PortalSuspended,
};
use pgwire::messages::response::{
    CommandComplete, EmptyQueryResponse, ErrorResponse, NoticeResponse, ReadyForQuery,
    TransactionStatus,
};
use pgwire::messages::startup::{
    Authentication, BackendKeyData, NegotiateProtocolVersion, ParameterStatus, SecretKey,
};

/// Bytes that wait to be written to the socket.
#[derive(Default)]
pub(crate) struct Out {
    pub(crate) buffer: BytesMut,
}

/// How bad an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Severity {
    /// The statement failed.
    Error,
    /// The connection ends.
    Fatal,
}

/// Which way rows of a COPY go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CopyDirection {
    /// From the client.
    In,
    /// To the client.
    Out,
}

impl Out {
    fn put(&mut self, message: &impl Message) {
        // Only a message beyond the protocol's own bounds fails, and none of ours is one.
        if let Err(error) = message.encode(&mut self.buffer) {
            tracing::error!(%error, "a message to a PostgreSQL client was not sent");
        }
    }

    pub(crate) fn negotiate(&mut self, unsupported: Vec<String>) {
        // PostgreSQL 15, postmaster.c: the newest version as a whole, 3.0.
        self.put(&NegotiateProtocolVersion::new(3 << 16, unsupported));
    }

    pub(crate) fn authenticated(&mut self) {
        self.put(&Authentication::Ok);
    }

    /// Asks who is there, by one of these mechanisms.
    pub(crate) fn sasl(&mut self, mechanisms: &[&str]) {
        let names = mechanisms.iter().map(ToString::to_string).collect();
        self.put(&Authentication::SASL(names));
    }

    pub(crate) fn sasl_continue(&mut self, message: Bytes) {
        self.put(&Authentication::SASLContinue(message));
    }

    pub(crate) fn sasl_final(&mut self, message: Bytes) {
        self.put(&Authentication::SASLFinal(message));
    }

    pub(crate) fn parameter(&mut self, name: &str, value: &str) {
        self.put(&ParameterStatus::new(name.to_owned(), value.to_owned()));
    }

    pub(crate) fn key_data(&mut self, process_id: i32, secret: i32) {
        self.put(&BackendKeyData::new(process_id, SecretKey::I32(secret)));
    }

    pub(crate) fn ready(&mut self, state: TransactionState) {
        self.put(&ReadyForQuery::new(match state {
            TransactionState::None => TransactionStatus::Idle,
            TransactionState::Open => TransactionStatus::Transaction,
            TransactionState::Failed => TransactionStatus::Error,
        }));
    }

    pub(crate) fn error(&mut self, severity: Severity, error: &SqlError) {
        let word = match severity {
            Severity::Error => "ERROR",
            Severity::Fatal => "FATAL",
        };
        let mut info =
            ErrorInfo::new(word.to_owned(), error.sqlstate.to_owned(), clean(&error.message));
        info.severity_nonlocalized = Some(word.to_owned());
        info.hint = error.hint.as_deref().map(clean);
        info.detail = error.detail.as_deref().map(clean);
        info.where_context = error.context.as_deref().map(clean);
        self.put(&ErrorResponse::from(info));
    }

    pub(crate) fn notice(&mut self, text: &str) {
        let mut info = ErrorInfo::new("NOTICE".to_owned(), "00000".to_owned(), clean(text));
        info.severity_nonlocalized = Some("NOTICE".to_owned());
        self.put(&NoticeResponse::from(info));
    }

    /// Says that a COPY begins, in which all columns have this format.
    pub(crate) fn copy_begins(&mut self, direction: CopyDirection, format: Format, columns: usize) {
        self.buffer.put_u8(match direction {
            CopyDirection::In => b'G',
            CopyDirection::Out => b'H',
        });
        let columns = i16::try_from(columns).unwrap_or(i16::MAX);
        self.buffer.put_i32(4 + 1 + 2 + 2 * i32::from(columns));
        self.buffer.put_u8(format.code() as u8);
        self.buffer.put_i16(columns);
        for _ in 0..columns {
            self.buffer.put_i16(format.code());
        }
    }

    pub(crate) fn copy_done(&mut self) {
        self.buffer.put_u8(b'c');
        self.buffer.put_i32(4);
    }

    pub(crate) fn row_description(&mut self, schema: &Schema, formats: &[Format], has_oids: bool) {
        let fields = schema.fields().iter().zip(formats).map(|(field, format)| {
            let of = pg_type(field);
            let of = if has_oids { of_catalogue(of) } else { of };
            FieldDescription::new(
                clean(field.name()),
                0,
                0,
                of.oid(),
                length(&of),
                modifier(field),
                format.code(),
            )
        });
        self.put(&RowDescription::new(fields.collect()));
    }

    pub(crate) fn parameter_description(&mut self, oids: Vec<u32>) {
        self.put(&ParameterDescription::new(oids));
    }

    pub(crate) fn no_data(&mut self) {
        self.put(&NoData::new());
    }

    pub(crate) fn complete(&mut self, tag: String) {
        self.put(&CommandComplete::new(tag));
    }

    pub(crate) fn empty_query(&mut self) {
        self.put(&EmptyQueryResponse::new());
    }

    pub(crate) fn suspended(&mut self) {
        self.put(&PortalSuspended::new());
    }

    pub(crate) fn parse_complete(&mut self) {
        self.put(&ParseComplete::new());
    }

    pub(crate) fn bind_complete(&mut self) {
        self.put(&BindComplete::new());
    }

    pub(crate) fn close_complete(&mut self) {
        self.put(&CloseComplete::new());
    }
}

/// Strings of the protocol end at a NUL.
fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
