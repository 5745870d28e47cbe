//! The bytes of a connection, in clear text or under TLS.

use crate::limits::GOODBYE_TIME_MAX;
use std::future::{pending, poll_fn};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

/// A connection's two directions. In clear text every operation is the socket's own.
#[derive(Debug)]
pub enum Stream {
    /// The socket.
    Plain(TcpStream),
    /// A session on it.
    Tls(Box<Session>),
}

/// A TLS session.
#[derive(Debug)]
pub struct Session {
    inner: TlsStream<TcpStream>,
    /// A byte that was read to see whether more comes. The next read begins with it.
    ahead: Option<u8>,
}

impl Stream {
    pub(crate) fn tls(inner: TlsStream<TcpStream>) -> Self {
        Self::Tls(Box::new(Session { inner, ahead: None }))
    }

    /// Our end.
    ///
    /// # Errors
    /// The system's, if the client is gone.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Plain(socket) => socket.local_addr(),
            Self::Tls(session) => session.inner.get_ref().0.local_addr(),
        }
    }

    /// Completes when the client has closed its side, or the connection has failed. If the client
    /// has sent more instead, that can only be told once that is read, so this waits for ever.
    /// Nothing is lost when it is dropped.
    ///
    /// # Errors
    /// How the connection failed.
    pub async fn closed(&mut self) -> io::Result<()> {
        let has_more = match self {
            Self::Plain(socket) => socket.peek(&mut [0]).await? > 0,
            Self::Tls(session) => poll_fn(|context| session.poll_ahead(context)).await?,
        };
        if has_more { pending().await } else { Ok(()) }
    }

    /// The protocol that was agreed on by ALPN (RFC 7301).
    pub(crate) fn alpn(&self) -> Option<&[u8]> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(session) => session.inner.get_ref().1.alpn_protocol(),
        }
    }

    /// Tells the client that nothing more comes, where the protocol has a word for it: without it
    /// the client cannot tell an end from an attack. Does not wait for long.
    pub async fn goodbye(&mut self) {
        if let Self::Tls(session) = self {
            // It is closed in any case.
            _ = timeout(GOODBYE_TIME_MAX, session.inner.shutdown()).await;
        }
    }
}

impl Session {
    /// Whether more is to be read; false at the end.
    fn poll_ahead(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.ahead.is_none() {
            let mut byte = [0];
            let mut buffer = ReadBuf::new(&mut byte);
            ready!(Pin::new(&mut self.inner).poll_read(context, &mut buffer))?;
            self.ahead = buffer.filled().first().copied();
        }
        Poll::Ready(Ok(self.ahead.is_some()))
    }

    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(byte) = self.ahead
            && buffer.remaining() > 0
        {
            self.ahead = None;
            buffer.put_slice(&[byte]);
            // What follows it, as far as it is here. An error comes again with the next read.
            let _ = Pin::new(&mut self.inner).poll_read(context, buffer);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl AsyncRead for Stream {
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(context, buffer),
            Self::Tls(session) => session.poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(context, bytes),
            Self::Tls(session) => Pin::new(&mut session.inner).poll_write(context, bytes),
        }
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(context, slices),
            Self::Tls(session) => Pin::new(&mut session.inner).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Under TLS, what was written leaves only now for certain; in clear text it has left.
    #[inline]
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(context),
            Self::Tls(session) => Pin::new(&mut session.inner).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(context),
            Self::Tls(session) => Pin::new(&mut session.inner).poll_shutdown(context),
        }
    }
}
