//! The beginning of a connection (PostgreSQL 15, 55.2.1).

use crate::connection::{Connection, End, read_more};
use crate::door::Shared;
use crate::limits::STARTUP_TIME_MAX;
use crate::login::{Refused, log_in};
use crate::out::{Out, Severity};
use crate::wire::{First, take_first};
use anabranch_query::{REPORTED, Session, Sql, SqlError, sqlstate};
use bytes::BytesMut;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// Speaks until the client may send statements; `None` if it only wanted to cancel something.
pub(crate) async fn start(
    mut socket: TcpStream,
    shared: Arc<Shared>,
    has_place: bool,
) -> Result<Option<Connection>, End> {
    let mut input = BytesMut::new();
    let first = tokio::time::timeout(STARTUP_TIME_MAX, first(&mut socket, &mut input, &shared));
    let (minor, parameters) = match first.await {
        Ok(Ok(Some(startup))) => startup,
        Ok(Ok(None)) | Err(_) => return Ok(None),
        Ok(Err(End::Wire(error))) => {
            refuse(&mut socket, &SqlError::new("08P01", error.to_string())).await?;
            return Err(End::Wire(error));
        }
        Ok(Err(end)) => return Err(end),
    };
    if !has_place {
        let error = SqlError::new("53300", "sorry, too many clients already")
            .hint("close connections, or raise postgres.connections_max");
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
    socket.write_all(&std::mem::take(&mut out.buffer)).await?;
    let login = log_in(&mut socket, &mut input, &shared, user);
    let sql = match tokio::time::timeout(STARTUP_TIME_MAX, login).await {
        Ok(Ok(sql)) => sql,
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
    let session = match session(sql, user, &parameters) {
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
    let mut connection = Connection::new(socket, input, out, shared, session, running);
    connection.flush().await?;
    Ok(Some(connection))
}

async fn first(
    socket: &mut TcpStream,
    input: &mut BytesMut,
    shared: &Shared,
) -> Result<Option<(u16, Vec<(String, String)>)>, End> {
    loop {
        match take_first(input)? {
            Some(First::Startup { minor, parameters }) => return Ok(Some((minor, parameters))),
            Some(First::Cancel { process_id, secret }) => {
                shared.registry.cancel(process_id, secret);
                return Ok(None);
            }
            Some(First::Encryption) => {
                let mut out = Out::default();
                out.no_encryption();
                socket.write_all(&out.buffer).await?;
            }
            None => tokio::select! {
                more = read_more(socket, input) => more?,
                () = shared.shutdown.cancelled() => return Ok(None),
            },
        }
    }
}

async fn refuse(socket: &mut TcpStream, error: &SqlError) -> Result<(), End> {
    let mut out = Out::default();
    out.error(Severity::Fatal, error);
    socket.write_all(&out.buffer).await?;
    Ok(())
}

/// The one database has any name.
fn session(
    sql: Arc<Sql>,
    user: &str,
    parameters: &[(String, String)],
) -> Result<Session, SqlError> {
    let mut session = Session::new(sql, user);
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
