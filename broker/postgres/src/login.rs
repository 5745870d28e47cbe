//! Who is there: SCRAM-SHA-256, once there are principals (PostgreSQL 15, 55.3.1).

use crate::connection::{End, read_more};
use crate::door::Shared;
use crate::out::Out;
use crate::startup::say;
use crate::wire::{WireError, length};
use anabranch_engine::{Exchange, Login, Mechanism, SaslMechanism, Session};
use anabranch_net::{Peer, Stream};
use anabranch_query::SqlError;
use bytes::{Buf, Bytes, BytesMut};
use std::time::Duration;

/// How long a failed login waits for its answer.
const FAILED_PAUSE: Duration = Duration::from_millis(100);
const MECHANISM: SaslMechanism = SaslMechanism::Scram(Mechanism::ScramSha256);

/// Why nobody was let in.
pub(crate) enum Refused {
    /// The client is told.
    Sql(SqlError),
    End(End),
}

impl From<End> for Refused {
    fn from(end: End) -> Self {
        Self::End(end)
    }
}

impl From<WireError> for Refused {
    fn from(error: WireError) -> Self {
        Self::End(error.into())
    }
}

impl From<std::io::Error> for Refused {
    fn from(error: std::io::Error) -> Self {
        Self::End(error.into())
    }
}

/// The engine as the user may use it. While there is no principal, nobody is asked.
pub(crate) async fn log_in(
    socket: &mut Stream,
    peer: &Peer,
    input: &mut BytesMut,
    shared: &Shared,
    user: &str,
) -> Result<Session, Refused> {
    let host = peer.address.ip().to_canonical().to_string();
    let engine = shared.sql.engine().from_host(&host);
    if engine.is_open() {
        return Ok(engine);
    }
    let mut out = Out::default();
    out.sasl(&[MECHANISM.name()]);
    say(socket, &out.buffer).await?;
    let nonce: u128 = rand::random();
    let mut exchange = Exchange::of_user(MECHANISM, format!("{nonce:032x}"), user.to_owned());
    let mut first = true;
    loop {
        let mut message = password_message(socket, input).await?;
        if std::mem::take(&mut first) {
            message = initial_response(message)?;
        }
        let mut out = Out::default();
        match engine.log_in(&mut exchange, &message) {
            Ok(Login::Continue(answer)) => {
                out.sasl_continue(answer.into());
                say(socket, &out.buffer).await?;
            }
            Ok(Login::Done { session, answer }) => {
                out.sasl_final(answer.into());
                say(socket, &out.buffer).await?;
                return Ok(session);
            }
            Err(_) => {
                tokio::time::sleep(FAILED_PAUSE).await;
                let message = format!("password authentication failed for user {user:?}");
                return Err(Refused::Sql(SqlError::new("28P01", message)));
            }
        }
    }
}

/// The body of the next message, which must be of a login.
async fn password_message(socket: &mut Stream, input: &mut BytesMut) -> Result<Bytes, Refused> {
    loop {
        if let Some(bytes) = length(input)?
            && input.len() >= bytes
        {
            let mut message = input.split_to(bytes).freeze();
            if message[0] != b'p' {
                return Err(WireError::Type(message[0]).into());
            }
            message.advance(5);
            return Ok(message);
        }
        read_more(socket, input).await?;
    }
}

/// SASLInitialResponse: the mechanism's name, and its first message behind a length.
pub(crate) fn initial_response(mut body: Bytes) -> Result<Bytes, Refused> {
    let malformed = || Refused::from(WireError::Malformed("SASLInitialResponse"));
    let end = body.iter().position(|byte| *byte == 0).ok_or_else(malformed)?;
    let name = body.split_to(end);
    if &name[..] != MECHANISM.name().as_bytes() {
        let error =
            SqlError::new("28000", "client selected an invalid SASL authentication mechanism");
        return Err(Refused::Sql(error));
    }
    if body.len() < 5 {
        return Err(malformed());
    }
    body.advance(5);
    Ok(body)
}
