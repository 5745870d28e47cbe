//! The listener: accepts connections, speaks HTTP on them, and lets go of those that became
//! WebSockets.

use crate::door::{Connection, Door, Settings};
use crate::http;
use crate::io::Patient;
use crate::limits::{HEAD_BYTES_MAX, HEAD_TIMEOUT, WRITE_TIMEOUT};
use anabranch_engine::Session;
use anabranch_query::Sql;
use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// How long accepting pauses when it fails, as it does when file descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a connection above the limit may take to hear so.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\n\
    content-type: application/json\r\ncontent-length: 114\r\n\r\n\
    {\"error\":{\"code\":\"too_many\",\"message\":\"the broker has too many connections\",\
    \"hint\":\"retry later, or close some\"}}\n";

/// Why the door cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The listener does not tell where it is.
    #[error("the web listener is broken: {0}")]
    Listener(#[from] io::Error),
}

/// Serves WebSocket and HTTP on `listener` until `stop` is cancelled; returns when all
/// connections are closed. See `PROTOCOL.md`.
///
/// # Errors
/// When the listener is broken; what goes wrong on a connection stays there.
pub async fn serve(
    engine: Session,
    sql: Arc<Sql>,
    listener: TcpListener,
    settings: Settings,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    listener.local_addr()?;
    let connections = Arc::new(Semaphore::new(settings.limits.connections_max));
    let door = Arc::new(Door::new(engine, sql, settings, stop));
    let router = http::router(door.clone());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = door.stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let task = connection(door.clone(), router.clone(), stream, connections.clone());
                door.tasks.spawn(task);
            }
            // ECONNABORTED and the like concern one connection, EMFILE all: a pause serves both.
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    door.tasks.close();
    door.tasks.wait().await;
    Ok(())
}

async fn connection(
    door: Arc<Door>,
    router: Router,
    stream: TcpStream,
    connections: Arc<Semaphore>,
) {
    let Ok(permit) = connections.try_acquire_owned() else {
        return refuse(stream).await;
    };
    // Small answers and events leave at once. Without it they are late, not wrong.
    _ = stream.set_nodelay(true);
    // The peer can be gone by now.
    let Ok(local) = stream.local_addr() else {
        return;
    };
    let connection = Connection { local, _permit: Arc::new(permit) };
    let service = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(connection.clone());
        service.call(request)
    });
    let io = TokioIo::new(Patient::new(stream, WRITE_TIMEOUT));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(io, service)
        .with_upgrades();
    let mut connection = pin!(connection);
    door.counts.connections.add(1);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = door.stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.as_mut().await
        }
    };
    door.counts.connections.add(-1);
    if let Err(error) = served {
        tracing::debug!("an HTTP connection ended: {error}");
    }
}

/// Tells a connection above the limit that it is one.
async fn refuse(mut stream: TcpStream) {
    // It is closed in any case.
    _ = tokio::time::timeout(REFUSAL_TIMEOUT, stream.write_all(REFUSAL)).await;
}
