//! The beginning of a connection (PostgreSQL 15, 55.2.1).

use crate::connection::{Connection, End, read_more};
use crate::door::Shared;
use crate::limits::STARTUP_TIME_MAX;
use crate::login::{Refused, log_in};
use crate::out::{Out, Severity};
use crate::wire::{First, WireError, take_first};
use anabranch_net::{Peer, Refusal, Security, Stream};
use anabranch_query::{REPORTED, Session, SqlError, sqlstate};
use bytes::BytesMut;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout_at};

/// Speaks until the client may send statements; `None` if it only wanted to cancel something, or
/// is refused; `refusal` says why there is no place for it.
pub(crate) async fn start(
    mut socket: Stream,
    mut peer: Peer,
    shared: Arc<Shared>,
    refusal: Option<&String>,
) -> Result<Option<Connection>, End> {
    let mut input = BytesMut::new();
    let deadline = Instant::now() + STARTUP_TIME_MAX;
    let (minor, parameters) = loop {
        let opening = timeout_at(deadline, opening(&mut socket, &mut input, &shared)).await;
        let end = match opening {
            Ok(Ok(Some(Opening::Startup { minor, parameters }))) => break (minor, parameters),
            Ok(Ok(Some(Opening::Tls))) if !input.is_empty() => End::Wire(WireError::Malformed(
                // Somebody between us could have put it there.
                "unencrypted data after an SSLRequest",
            )),
            Ok(Ok(Some(Opening::Tls))) => match secure(socket, peer, &shared).await? {
                Some(secured) => {
                    (socket, peer) = secured;
                    continue;
                }
                None => return Ok(None),
            },
            Ok(Ok(None)) | Err(_) => return Ok(None),
            Ok(Err(end)) => end,
        };
        if let End::Wire(error) = &end {
            refuse(&mut socket, &SqlError::new("08P01", error.to_string())).await?;
        }
        return Err(end);
    };
    if shared.gate.requires_tls() && peer.security == Security::ClearText {
        shared.gate.turn_away(peer.address, Refusal::ClearText);
        // PostgreSQL 15, auth.c: the code of a line in pg_hba.conf that wants TLS.
        let error = SqlError::new("28000", "no encryption: this broker requires TLS")
            .hint("connect with sslmode=require, or better verify-full");
        refuse(&mut socket, &error).await?;
        return Ok(None);
    }
    if let Some(refusal) = refusal {
        let error = SqlError::new("53300", "sorry, too many clients already")
            .hint(format!("close connections, or have the limit raised: {refusal}"));
        refuse(&mut socket, &error).await?;
        return Ok(None);
    }
    let mut out = Out::default();
    // PostgreSQL 15, 55.2.1: options of the protocol begin with _pq_.
    let unknown: Vec<_> = parameters
        .iter()
        .map(|(name, _)| name)
        .filter(|name| name.starts_with("_pq_."))
        .cloned()
        .collect();
    if minor > 0 || !unknown.is_empty() {
        out.negotiate(unknown);
    }
    let user = parameters.iter().find(|(name, _)| name == "user").map(|(_, user)| user.as_str());
    let Some(user) = user else {
        let message = "no PostgreSQL user name specified in startup packet";
        refuse(&mut socket, &SqlError::new("28000", message)).await?;
        return Ok(None);
    };
    // What is said before the login goes out with its first message.
    say(&mut socket, &std::mem::take(&mut out.buffer)).await?;
    let login = log_in(&mut socket, &peer, &mut input, &shared, user);
    let engine = match tokio::time::timeout(STARTUP_TIME_MAX, login).await {
        Ok(Ok(engine)) => engine,
        Ok(Err(Refused::Sql(error))) => {
            refuse(&mut socket, &error).await?;
            return Ok(None);
        }
        Ok(Err(Refused::End(End::Wire(error)))) => {
            refuse(&mut socket, &SqlError::new("08P01", error.to_string())).await?;
            return Err(End::Wire(error));
        }
        Ok(Err(Refused::End(end))) => return Err(end),
        Err(_) => return Ok(None),
    };
    let session = Session::of_client(Arc::clone(&shared.sql), engine, user);
    let session = match with_parameters(session, &parameters) {
        Ok(session) => session,
        Err(error) => {
            refuse(&mut socket, &error).await?;
            return Ok(None);
        }
    };
    out.authenticated();
    for name in REPORTED {
        out.parameter(name, &session.setting(name).unwrap_or_default());
    }
    let (secret, running) = shared.registry.add(session.process_id());
    out.key_data(session.process_id(), secret);
    out.ready(session.transaction_state());
    let mut connection = Connection::new(socket, peer, input, out, shared, session, running);
    connection.flush().await?;
    Ok(Some(connection))
}

/// What a client begins with.
enum Opening {
    /// It wants to speak TLS.
    Tls,
    Startup {
        minor: u16,
        parameters: Vec<(String, String)>,
    },
}

async fn opening(
    socket: &mut Stream,
    input: &mut BytesMut,
    shared: &Shared,
) -> Result<Option<Opening>, End> {
    loop {
        match take_first(input)? {
            Some(First::Tls) => return Ok(Some(Opening::Tls)),
            Some(First::Startup { minor, parameters }) => {
                return Ok(Some(Opening::Startup { minor, parameters }));
            }
            Some(First::Cancel { process_id, secret }) => {
                shared.registry.cancel(process_id, secret);
                return Ok(None);
            }
            Some(First::Gss) => say(socket, b"N").await?,
            None => tokio::select! {
                more = read_more(socket, input) => more?,
                () = shared.shutdown.cancelled() => return Ok(None),
            },
        }
    }
}

/// PostgreSQL 15, 55.2.10: one byte answers an SSLRequest, and hands are shaken after an S.
async fn secure(
    mut socket: Stream,
    peer: Peer,
    shared: &Shared,
) -> Result<Option<(Stream, Peer)>, End> {
    if !shared.gate.has_tls() {
        say(&mut socket, b"N").await?;
        return Ok(Some((socket, peer)));
    }
    match socket {
        Stream::Plain(mut socket) => {
            socket.write_all(b"S").await?;
            tokio::select! {
                secured = Box::pin(shared.gate.shake_hands(socket, peer.address)) => Ok(secured),
                () = shared.shutdown.cancelled() => Ok(None),
            }
        }
        Stream::Tls(_) => Err(End::Wire(WireError::Malformed("an SSLRequest within TLS"))),
    }
}

async fn refuse(socket: &mut Stream, error: &SqlError) -> Result<(), End> {
    let mut out = Out::default();
    out.error(Severity::Fatal, error);
    say(socket, &out.buffer).await?;
    socket.goodbye().await;
    Ok(())
}

pub(crate) async fn say(socket: &mut Stream, bytes: &[u8]) -> Result<(), End> {
    socket.write_all(bytes).await?;
    Ok(socket.flush().await?)
}

/// The one database has any name.
fn with_parameters(
    mut session: Session,
    parameters: &[(String, String)],
) -> Result<Session, SqlError> {
    for (name, value) in parameters {
        match name.as_str() {
            "user" | "database" => {}
            "replication" => {
                let off = ["false", "off", "no", "0"].contains(&value.as_str());
                if !off {
                    return Err(SqlError::new(
                        sqlstate::FEATURE_NOT_SUPPORTED,
                        "replication connections are not supported",
                    )
                    .hint("consume the stream with a Kafka client"));
                }
            }
            "options" => {
                for (name, value) in options(value) {
                    session.set_at_start(&name, &value)?;
                }
            }
            name if name.starts_with("_pq_.") => {}
            name => session.set_at_start(name, value)?,
        }
    }
    Ok(session)
}

/// `-c name=value` and `--name=value`; a backslash escapes a space.
fn options(text: &str) -> Vec<(String, String)> {
    let mut words = vec![String::new()];
    let mut escaped = false;
    for character in text.chars() {
        let last = words.len() - 1;
        match character {
            _ if escaped => {
                words[last].push(character);
                escaped = false;
            }
            '\\' => escaped = true,
            ' ' => words.push(String::new()),
            other => words[last].push(other),
        }
    }
    let mut pairs = Vec::new();
    let mut words = words.into_iter().filter(|word| !word.is_empty());
    while let Some(word) = words.next() {
        let pair = match word.strip_prefix("--").or_else(|| word.strip_prefix("-c")) {
            Some("") => words.next(),
            Some(pair) => Some(pair.to_owned()),
            None => None,
        };
        if let Some((name, value)) = pair.as_deref().and_then(|pair| pair.split_once('=')) {
            pairs.push((name.replace('-', "_"), value.to_owned()));
        }
    }
    pairs
}
