//! What stops a measurement.

use std::path::PathBuf;

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Client(#[from] anabranch_client::Error),
    #[error(transparent)]
    Web(#[from] anabranch_client::web::WebError),
    #[error("librdkafka: {0}")]
    Librdkafka(#[from] rdkafka::error::KafkaError),
    #[error("SQL at {address}: {source}{}", detail(source))]
    Sql { address: String, source: tokio_postgres::Error },
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error("cannot draw {}: {why}", path.display())]
    Draw { path: PathBuf, why: String },
    #[error("cannot read /proc/{pid}: {source}; is that the broker's process, on this machine?")]
    Server { pid: u32, source: std::io::Error },
    #[error("{0}")]
    Usage(String),
    #[error("cannot start threads: {0}")]
    Threads(#[from] std::io::Error),
    #[error("{count} events failed; the first: {first}")]
    Failed { count: u64, first: String },
}

/// tokio-postgres keeps the server's own words out of its one-line form.
fn detail(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map(|error| format!(": {}", error.message())).unwrap_or_default()
}
