//! Messages from clients (PostgreSQL 15, 55.7). Read here rather than by pgwire, whose decoders
//! believe the counts and lengths inside a message.

use crate::limits::{MESSAGE_BYTES_MAX, STARTUP_BYTES_MAX};
use bytes::{Buf, Bytes, BytesMut};

#[cfg(test)]
mod tests;

/// Type of the message that ends what is executed together.
pub(crate) const SYNC: u8 = b'S';

/// A message of a started connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    Query(String),
    Parse {
        name: String,
        text: String,
        types: Vec<u32>,
    },
    Bind(Bind),
    Describe(Target),
    Execute {
        portal: String,
        rows_max: i32,
    },
    Close(Target),
    Flush,
    Sync,
    Terminate,
    CopyData(Bytes),
    CopyDone,
    /// Why the client gives its COPY up.
    CopyFail(String),
    /// Messages of authentication, which nothing here waits for.
    Stray,
}

impl Message {
    /// Its first byte.
    pub(crate) fn kind(&self) -> u8 {
        match self {
            Self::Query(_) => b'Q',
            Self::Parse { .. } => b'P',
            Self::Bind(_) => b'B',
            Self::Describe(_) => b'D',
            Self::Execute { .. } => b'E',
            Self::Close(_) => b'C',
            Self::Flush => b'H',
            Self::Sync => b'S',
            Self::Terminate => b'X',
            Self::CopyData(_) => b'd',
            Self::CopyDone => b'c',
            Self::CopyFail(_) => b'f',
            Self::Stray => b'p',
        }
    }
}

/// Binds parameters to a prepared statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bind {
    pub(crate) portal: String,
    pub(crate) statement: String,
    /// None, one for all, or one each.
    pub(crate) parameter_formats: Vec<i16>,
    pub(crate) parameters: Vec<Option<Bytes>>,
    /// None, one for all, or one each.
    pub(crate) result_formats: Vec<i16>,
}

/// What Describe and Close are about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    Statement(String),
    Portal(String),
}

/// The first message of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum First {
    /// SSLRequest.
    Tls,
    /// GSSENCRequest.
    Gss,
    Cancel {
        process_id: i32,
        secret: i32,
    },
    Startup {
        minor: u16,
        parameters: Vec<(String, String)>,
    },
}

/// What is wrong with a message; the connection cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    #[error("a message of {found} bytes was announced; at most {max} are taken")]
    TooLarge { found: usize, max: usize },
    #[error("invalid message format: {0}")]
    Malformed(&'static str),
    #[error("invalid frontend message type {0}")]
    Type(u8),
    #[error("unsupported frontend protocol {0}.{1}: server supports 3.0")]
    Version(u16, u16),
}

/// Bytes in front of a message's body: type and length.
const HEAD: usize = 5;

/// Length of the message in front of `input`, head included, once its head is there.
pub(crate) fn length(input: &[u8]) -> Result<Option<usize>, WireError> {
    let Some(head) = input.first_chunk::<HEAD>() else {
        return Ok(None);
    };
    let length = usize::try_from(i32::from_be_bytes([head[1], head[2], head[3], head[4]]))
        .map_err(|_| WireError::Malformed("negative length"))?;
    if length < 4 {
        return Err(WireError::Malformed("length below four"));
    }
    if length > MESSAGE_BYTES_MAX {
        return Err(WireError::TooLarge { found: length, max: MESSAGE_BYTES_MAX });
    }
    Ok(Some(length + 1))
}

/// Takes the message in front of `input`, which [`length`] said is whole.
pub(crate) fn take(input: &mut BytesMut, length: usize) -> Result<Message, WireError> {
    let mut message = input.split_to(length).freeze();
    let kind = message[0];
    message.advance(HEAD);
    let mut body = Body { rest: message };
    let decoded = match kind {
        b'Q' => Message::Query(body.text()?),
        b'P' => body.parse()?,
        b'B' => Message::Bind(body.bind()?),
        b'D' => Message::Describe(body.target()?),
        b'E' => Message::Execute { portal: body.text()?, rows_max: body.i32()? },
        b'C' => Message::Close(body.target()?),
        b'H' => Message::Flush,
        SYNC => Message::Sync,
        b'X' => Message::Terminate,
        b'd' => return Ok(Message::CopyData(body.rest)),
        b'c' => Message::CopyDone,
        b'f' => Message::CopyFail(body.text()?),
        b'p' => return Ok(Message::Stray),
        other => return Err(WireError::Type(other)),
    };
    if body.rest.is_empty() { Ok(decoded) } else { Err(WireError::Malformed("bytes at its end")) }
}

/// PostgreSQL 15, 55.7: SSLRequest, GSSENCRequest, CancelRequest.
const SSL: u32 = 80_877_103;
const GSS: u32 = 80_877_104;
const CANCEL: u32 = 80_877_102;

/// Takes the first message if it is whole.
pub(crate) fn take_first(input: &mut BytesMut) -> Result<Option<First>, WireError> {
    let Some(head) = input.first_chunk::<4>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*head) as usize;
    if !(8..=STARTUP_BYTES_MAX).contains(&length) {
        return Err(WireError::Malformed("invalid length of startup packet"));
    }
    if input.len() < length {
        return Ok(None);
    }
    let mut message = input.split_to(length).freeze();
    message.advance(4);
    let mut body = Body { rest: message };
    let code = body.i32()? as u32;
    match code {
        SSL => Ok(Some(First::Tls)),
        GSS => Ok(Some(First::Gss)),
        CANCEL => Ok(Some(First::Cancel { process_id: body.i32()?, secret: body.i32()? })),
        version => {
            let (major, minor) = ((version >> 16) as u16, version as u16);
            if major != 3 {
                return Err(WireError::Version(major, minor));
            }
            let mut parameters = Vec::new();
            loop {
                let name = body.text()?;
                if name.is_empty() {
                    return Ok(Some(First::Startup { minor, parameters }));
                }
                parameters.push((name, body.text()?));
            }
        }
    }
}

struct Body {
    rest: Bytes,
}

impl Body {
    fn take(&mut self, count: usize) -> Result<Bytes, WireError> {
        if count > self.rest.len() {
            return Err(WireError::Malformed("it is cut off"));
        }
        Ok(self.rest.split_to(count))
    }

    fn i16(&mut self) -> Result<i16, WireError> {
        Ok(self.take(2)?.get_i16())
    }

    fn i32(&mut self) -> Result<i32, WireError> {
        Ok(self.take(4)?.get_i32())
    }

    /// A string that ends in NUL.
    fn text(&mut self) -> Result<String, WireError> {
        let end = self
            .rest
            .iter()
            .position(|&byte| byte == 0)
            .ok_or(WireError::Malformed("a string does not end"))?;
        let bytes = self.take(end + 1)?;
        String::from_utf8(bytes[..end].to_vec())
            .map_err(|_| WireError::Malformed("a string is not UTF-8"))
    }

    /// A count of things that take at least `bytes_each`.
    fn count(&mut self, bytes_each: usize) -> Result<usize, WireError> {
        let count = usize::from(self.i16()? as u16);
        if count * bytes_each > self.rest.len() {
            return Err(WireError::Malformed("a count does not fit"));
        }
        Ok(count)
    }

    fn parse(&mut self) -> Result<Message, WireError> {
        let (name, text) = (self.text()?, self.text()?);
        let count = self.count(4)?;
        let types = (0..count).map(|_| Ok(self.i32()? as u32)).collect::<Result<_, WireError>>()?;
        Ok(Message::Parse { name, text, types })
    }

    fn formats(&mut self) -> Result<Vec<i16>, WireError> {
        let count = self.count(2)?;
        (0..count)
            .map(|_| match self.i16()? {
                format @ (0 | 1) => Ok(format),
                _ => Err(WireError::Malformed("an unknown format code")),
            })
            .collect()
    }

    fn bind(&mut self) -> Result<Bind, WireError> {
        let (portal, statement) = (self.text()?, self.text()?);
        let parameter_formats = self.formats()?;
        let count = self.count(4)?;
        let parameters = (0..count)
            .map(|_| match self.i32()? {
                -1 => Ok(None),
                length => {
                    let length = usize::try_from(length)
                        .map_err(|_| WireError::Malformed("a negative length"))?;
                    self.take(length).map(Some)
                }
            })
            .collect::<Result<_, WireError>>()?;
        let result_formats = self.formats()?;
        Ok(Bind { portal, statement, parameter_formats, parameters, result_formats })
    }

    fn target(&mut self) -> Result<Target, WireError> {
        let kind = self.take(1)?[0];
        let name = self.text()?;
        match kind {
            b'S' => Ok(Target::Statement(name)),
            b'P' => Ok(Target::Portal(name)),
            _ => Err(WireError::Malformed("it is about neither a statement nor a portal")),
        }
    }
}
