//! `anabranch streams`: asks the running broker over its door for HTTP.

use crate::settings::{Settings, SettingsError};
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde::Deserialize;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

/// How long the broker may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// An answer is at most so long: some hundred thousand streams.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

/// Why the streams cannot be listed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamsError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("`web.listen` is off: only a broker with its door for HTTP open can be asked")]
    Off,
    #[error("no broker answers on {address} (`web.listen`): {source}; is it running?")]
    Unreachable { address: SocketAddr, source: io::Error },
    #[error("what listens on {address} (`web.listen`) is no such broker: {reason}")]
    Strange { address: SocketAddr, reason: String },
}

#[derive(Deserialize)]
struct Answer {
    streams: Vec<Stream>,
}

#[derive(Deserialize)]
struct Stream {
    name: String,
    mode: String,
    partitions: Vec<Partition>,
    columns: Vec<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Partition {
    log_start: i64,
    high_watermark: i64,
}

/// The streams as a table for people.
pub(crate) fn list(settings: &Settings, internal: bool) -> Result<Table, StreamsError> {
    let mut address = settings.web.listen.address("web.listen")?.ok_or(StreamsError::Off)?;
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => IpAddr::from([127, 0, 0, 1]),
            IpAddr::V6(_) => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
        });
    }
    let answer = get(address).map_err(|source| StreamsError::Unreachable { address, source })?;
    let strange = |reason| StreamsError::Strange { address, reason };
    let Answer { streams } = parse(&answer).map_err(strange)?;

    let mut table = Table::new();
    table.load_preset(NOTHING);
    table.set_header(["STREAM", "MODE", "COLUMNS", "PARTITIONS", "EVENTS"]);
    for stream in streams {
        if internal || !stream.name.starts_with("__") {
            let events: i64 =
                stream.partitions.iter().map(|p| p.high_watermark - p.log_start).sum();
            table.add_row([
                stream.name,
                stream.mode,
                stream.columns.len().to_string(),
                stream.partitions.len().to_string(),
                events.to_string(),
            ]);
        }
    }
    Ok(table)
}

fn get(address: SocketAddr) -> io::Result<Vec<u8>> {
    let mut socket = TcpStream::connect_timeout(&address, TIMEOUT)?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    socket.set_write_timeout(Some(TIMEOUT))?;
    write!(socket, "GET /v1/streams HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    socket.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(answer)
}

/// The body of an HTTP/1.0 answer, which is never in chunks (RFC 9112, section 6.1).
fn parse(answer: &[u8]) -> Result<Answer, String> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let (head, body) = answer.split_at(end.ok_or("it does not speak HTTP")? + 4);
    let status = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    if !status.split(|byte| *byte == b' ').any(|word| word == b"200") {
        return Err(format!("it says \"{}\"", status.escape_ascii()));
    }
    serde_json::from_slice(body).map_err(|error| error.to_string())
}
