//! The door: its address, and HTTP on its connections, which are let go if they become
//! WebSockets.

use crate::door::{Connection, Door, Settings};
use crate::http;
use crate::io::Patient;
use crate::limits::{HEAD_BYTES_MAX, HEAD_TIMEOUT, WRITE_TIMEOUT};
use anabranch_engine::Engine;
use anabranch_net::{Application, Bound, Entered, Gate, Guest, Place};
use anabranch_query::Sql;
use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// How long a connection above the limit may take to hear so.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\n\
    content-type: application/json\r\ncontent-length: 114\r\n\r\n\
    {\"error\":{\"code\":\"too_many\",\"message\":\"the broker has too many connections\",\
    \"hint\":\"retry later, or close some\"}}\n";

/// Why the door cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken, or not ours.
    #[error("cannot listen at {address} for HTTP clients: {error}; choose another web.listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        error: io::Error,
    },
}

/// A door whose address is taken: clients cannot connect until it is served.
#[derive(Debug)]
pub struct WebDoor {
    address: SocketAddr,
    bound: Bound,
    settings: Settings,
    gate: Arc<Gate>,
}

impl WebDoor {
    /// Takes the address (`web.listen`); port 0 takes any.
    ///
    /// # Errors
    /// [`ServeError`] if it cannot be taken.
    pub fn bind(address: SocketAddr, settings: Settings) -> Result<Self, ServeError> {
        let bound = anabranch_net::bind(address);
        let bound = bound.map_err(|error| ServeError::Listen { address, error })?;
        let gate = Gate::new(Application::Http, settings.rules.clone());
        Ok(Self { address, bound, settings, gate })
    }

    /// Where it listens; with the ports that were chosen where 0 was asked for.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.bound.addresses()
    }

    /// Serves WebSocket and HTTP until `stop` is cancelled; returns when all connections are
    /// closed. See `PROTOCOL.md`.
    ///
    /// # Errors
    /// When somebody else listens at the address by now; what goes wrong on a connection stays
    /// there.
    pub async fn serve(
        self,
        engine: Engine,
        sql: Arc<Sql>,
        stop: CancellationToken,
    ) -> Result<(), ServeError> {
        let address = self.address;
        let listener = self.bound.listen();
        let listener = listener.map_err(|error| ServeError::Listen { address, error })?;
        let metrics = self.gate.metrics();
        let door = Arc::new(Door::new(engine, sql, self.settings, metrics, stop.clone()));
        let router = http::router(door.clone());
        let serving = door.clone();
        let serve = move |guest| connection(serving.clone(), router.clone(), guest);
        listener.accept(self.gate, door.tasks.clone(), stop, serve).await;
        door.tasks.close();
        door.tasks.wait().await;
        Ok(())
    }
}

async fn connection(door: Arc<Door>, router: Router, guest: Guest) {
    let Some(Entered { stream, place, apology, .. }) = guest.enter().await else {
        return;
    };
    let Ok(place) = place else {
        refuse(stream).await;
        return drop(apology);
    };
    // On the heap only now: a connection that says nothing is small.
    Box::pin(serve(door, router, stream, place)).await;
}

/// Speaks HTTP.
async fn serve(door: Arc<Door>, router: Router, stream: TcpStream, place: Place) {
    // The peer can be gone by now.
    let Ok(local) = stream.local_addr() else {
        return;
    };
    let connection = Connection { local, _place: Arc::new(place) };
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
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = door.stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.as_mut().await
        }
    };
    if let Err(error) = served {
        tracing::debug!("an HTTP connection ended: {error}");
    }
}

/// Tells a connection above the limit that it is one.
async fn refuse(mut stream: TcpStream) {
    // It is closed in any case.
    _ = tokio::time::timeout(REFUSAL_TIMEOUT, stream.write_all(REFUSAL)).await;
}
