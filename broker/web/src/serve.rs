//! The door: its address, and HTTP on its connections, which are let go if they become
//! WebSockets.

use crate::door::{Connection, Door, Settings};
use crate::http;
use crate::io::Patient;
use crate::limits::{HEAD_BYTES_MAX, HEAD_TIMEOUT, WRITE_TIMEOUT};
use crate::login::Logins;
use anabranch_engine::Session;
use anabranch_net::{Application, Bound, Entered, Entry, Gate, Guest, Peer, Place, Stream};
use anabranch_query::Sql;
use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

/// How long a client that may not stay may take to hear so.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\n\
    content-type: application/json\r\ncontent-length: 114\r\n\r\n\
    {\"error\":{\"code\":\"too_many\",\"message\":\"the broker has too many connections\",\
    \"hint\":\"retry later, or close some\"}}\n";

const CLEAR_TEXT: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\
    content-type: application/json\r\ncontent-length: 122\r\n\r\n\
    {\"error\":{\"code\":\"tls_required\",\"message\":\"the broker speaks TLS only\",\
    \"hint\":\"write https:// or wss:// in the address\"}}\n";

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

    /// Lets clients connect, and serves WebSocket and HTTP until `stop` is cancelled; completes
    /// when all connections are closed. `engine` is the broker's own session: clients get theirs
    /// from it. See `PROTOCOL.md`. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When somebody else listens at the address by now; what goes wrong on a connection stays
    /// there.
    pub fn serve(
        self,
        engine: Session,
        sql: Arc<Sql>,
        stop: CancellationToken,
    ) -> Result<impl Future<Output = ()> + Send + 'static, ServeError> {
        let address = self.address;
        let listener = self.bound.listen();
        let listener = listener.map_err(|error| ServeError::Listen { address, error })?;
        let metrics = self.gate.metrics();
        let door = Arc::new(Door::new(engine, sql, self.settings, metrics, stop.clone()));
        let router = http::router(door.clone());
        let serving = door.clone();
        let serve = move |guest| connection(serving.clone(), router.clone(), guest);
        Ok(async move {
            listener.accept(self.gate, door.tasks.clone(), stop, serve).await;
            door.tasks.close();
            door.tasks.wait().await;
        })
    }
}

async fn connection(door: Arc<Door>, router: Router, guest: Guest) {
    match guest.enter().await {
        Entry::In(Entered { stream, peer, place: Ok(place), .. }) => {
            // On the heap only now: a connection that says nothing is small.
            Box::pin(serve(door, router, stream, peer, place)).await;
        }
        Entry::In(Entered { mut stream, apology, .. }) => {
            refuse(&mut stream, TOO_MANY).await;
            stream.goodbye().await;
            drop(apology);
        }
        Entry::ClearText(mut socket) => refuse(&mut socket, CLEAR_TEXT).await,
        Entry::Gone => {}
    }
}

/// Speaks HTTP.
async fn serve(door: Arc<Door>, router: Router, stream: Stream, peer: Peer, place: Place) {
    // The peer can be gone by now.
    let Ok(local) = stream.local_addr() else {
        return;
    };
    let logins = Arc::new(Logins::new(&door, &peer));
    let connection = Connection { local, peer, logins, _place: Arc::new(place) };
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

/// Tells a client that it may not stay.
async fn refuse(stream: &mut (impl AsyncWrite + Unpin), words: &[u8]) {
    // It is closed in any case.
    _ = tokio::time::timeout(REFUSAL_TIMEOUT, stream.write_all(words)).await;
}
