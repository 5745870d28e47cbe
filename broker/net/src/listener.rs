//! Sockets that listen, and the loop that accepts.

use crate::gate::{Gate, Guest};
use crate::limits::{ACCEPT_PAUSE, BACKLOG};
use crate::noise::may_say;
use socket2::{Domain, Protocol, Socket, Type};
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// An address that is taken and not listened at yet: clients are refused by the system.
#[derive(Debug)]
pub struct Bound {
    /// The one that was asked for, then those beside it.
    sockets: Vec<Socket>,
}

/// An address that is listened at: clients can connect, and wait until they are accepted.
#[derive(Debug)]
pub struct Listener {
    sockets: Vec<TcpListener>,
}

/// Takes `address`; port 0 takes any. `[::]` takes IPv4 clients too, and with 127.0.0.1 comes
/// `[::1]` if it is free, since clients may take "localhost" for either.
///
/// # Errors
/// The system's, if the address is taken or not ours.
pub fn bind(address: SocketAddr) -> io::Result<Bound> {
    let first = socket(address)?;
    let mut sockets = Vec::new();
    if address.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST) {
        let port = local(&first)?.port();
        let also = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
        match socket(also) {
            Ok(socket) => sockets.push(socket),
            Err(error) => tracing::debug!(%also, %error, "not listening here too"),
        }
    }
    sockets.insert(0, first);
    Ok(Bound { sockets })
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for connections of the last run to fade.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // ::1 stands beside 127.0.0.1.
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn local(socket: &Socket) -> io::Result<SocketAddr> {
    let address = socket.local_addr()?.as_socket();
    address.ok_or_else(|| io::Error::other("a TCP socket without an address"))
}

impl Bound {
    /// Lets clients connect. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The system's, if somebody else has begun to listen there meanwhile.
    pub fn listen(self) -> io::Result<Listener> {
        let mut sockets = Vec::with_capacity(self.sockets.len());
        for socket in self.sockets {
            let listening =
                socket.listen(BACKLOG).and_then(|()| TcpListener::from_std(socket.into()));
            match listening {
                Ok(socket) => sockets.push(socket),
                Err(error) if sockets.is_empty() => return Err(error),
                Err(error) => tracing::debug!(%error, "not listening at [::1] too"),
            }
        }
        Ok(Listener { sockets })
    }

    /// Where it will listen; with the port that was chosen where 0 was asked for.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().filter_map(|socket| local(socket).ok()).collect()
    }
}

impl Listener {
    /// Where it listens; with the port that was chosen where 0 was asked for.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().filter_map(|socket| socket.local_addr().ok()).collect()
    }

    /// Accepts clients until `stop`, and serves each in a task of its own. The address is free
    /// again when this returns; the tasks go on.
    pub async fn accept<F>(
        self,
        gate: Arc<Gate>,
        tasks: TaskTracker,
        stop: CancellationToken,
        serve: impl Fn(Guest) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut turn = 0;
        loop {
            let accepted = tokio::select! {
                accepted = poll_fn(|context| self.poll_accept(context, &mut turn)) => accepted,
                () = stop.cancelled() => return,
            };
            match accepted {
                Ok((stream, address)) => {
                    if let Some(guest) = gate.admit(stream, address, &stop) {
                        tasks.spawn(serve(guest));
                    }
                }
                // ECONNABORTED and the like concern one connection, EMFILE all: a pause serves
                // both.
                Err(error) => {
                    if may_say("clients that could not be accepted") {
                        tracing::warn!(%error, "cannot accept a {} client", gate.application());
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Takes from each socket in turn, so that a crowd at one does not shut the others out.
    fn poll_accept(
        &self,
        context: &mut Context<'_>,
        turn: &mut usize,
    ) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        for _ in &self.sockets {
            *turn = (*turn + 1) % self.sockets.len();
            let accepted = self.sockets[*turn].poll_accept(context);
            if accepted.is_ready() {
                return accepted;
            }
        }
        Poll::Pending
    }
}
