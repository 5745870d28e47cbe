//! One connection to one broker: versions first, then one request at a time. The producer takes
//! the socket out and pipelines on it by itself.

use crate::messages::api_versions::{self, Answer, Versions};
use crate::messages::{API_VERSIONS, Api, end_frame, set_correlation, start_frame};
use crate::wire::Reader;
use crate::{Error, limits};
use bytes::{Buf, Bytes, BytesMut};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How to connect.
#[derive(Debug, Clone)]
pub(crate) struct ConnectOptions {
    pub(crate) client_id: String,
    pub(crate) timeout: Duration,
}

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    pub(crate) address: Arc<str>,
    pub(crate) versions: Versions,
    options: ConnectOptions,
    correlation: i32,
    frame: Vec<u8>,
    input: BytesMut,
}

impl Connection {
    /// Connects and agrees on versions.
    pub(crate) async fn open(address: &str, options: ConnectOptions) -> Result<Self, Error> {
        let connect = |source: io::Error| Error::Connect {
            address: address.to_owned(),
            source: Arc::new(source),
        };
        let after = options.timeout;
        let stream = timeout(after, TcpStream::connect(address))
            .await
            .map_err(|_| connect(io::ErrorKind::TimedOut.into()))?
            .map_err(connect)?;
        stream.set_nodelay(true).map_err(connect)?;
        let mut connection = Self {
            stream,
            address: address.into(),
            versions: Versions::default(),
            options,
            correlation: 0,
            frame: Vec::new(),
            input: BytesMut::new(),
        };
        connection.versions = connection.ask_versions().await?;
        Ok(connection)
    }

    async fn ask_versions(&mut self) -> Result<Versions, Error> {
        let body = self.call_version(API_VERSIONS, 3, api_versions::put_v3).await?;
        if let Answer::Versions(versions) = api_versions::read(&body, false)? {
            return Ok(versions);
        }
        let body = self.call_version(API_VERSIONS, 0, |_| ()).await?;
        match api_versions::read(&body, true)? {
            Answer::Versions(versions) => Ok(versions),
            Answer::AskOlder => Err(Error::Malformed("the broker refuses every version")),
        }
    }

    /// Sends one request in the newest common version; returns the answer's body and the version.
    pub(crate) async fn call(
        &mut self,
        api: Api,
        put: impl FnOnce(&mut Vec<u8>, i16),
    ) -> Result<(Bytes, i16), Error> {
        let version = self.versions.pick(api)?;
        let body = self.call_version(api, version, |out| put(out, version)).await?;
        Ok((body, version))
    }

    /// As [`Self::call`], for an answer of a known bound that may take `wait` longer.
    pub(crate) async fn call_within(
        &mut self,
        api: Api,
        bounds: CallBounds,
        put: impl FnOnce(&mut Vec<u8>, i16),
    ) -> Result<(Bytes, i16), Error> {
        let version = self.versions.pick(api)?;
        self.send(api, version, |out| put(out, version)).await?;
        Ok((self.receive(api, bounds).await?, version))
    }

    async fn call_version(
        &mut self,
        api: Api,
        version: i16,
        put: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Bytes, Error> {
        self.send(api, version, put).await?;
        let bounds = CallBounds { bytes_max: limits::RESPONSE_BYTES_MAX, wait: Duration::ZERO };
        self.receive(api, bounds).await
    }

    async fn send(
        &mut self,
        api: Api,
        version: i16,
        put: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), Error> {
        self.frame.clear();
        start_frame(&mut self.frame, api, version, &self.options.client_id);
        put(&mut self.frame);
        end_frame(&mut self.frame);
        self.correlation = self.correlation.wrapping_add(1);
        set_correlation(&mut self.frame, self.correlation);
        let after = self.options.timeout;
        match timeout(after, self.stream.write_all(&self.frame)).await {
            Ok(written) => written.map_err(|source| self.broken(source)),
            Err(_) => Err(Error::Timeout { what: api.name, after }),
        }
    }

    async fn receive(&mut self, api: Api, bounds: CallBounds) -> Result<Bytes, Error> {
        let after = self.options.timeout + bounds.wait;
        let frame = timeout(after, self.read_frame(bounds.bytes_max))
            .await
            .map_err(|_| Error::Timeout { what: api.name, after })??;
        if Reader::new(&frame).i32()? != self.correlation {
            return Err(Error::Malformed("it answers another request"));
        }
        Ok(frame.slice(4..))
    }

    /// One answer without its length.
    async fn read_frame(&mut self, bytes_max: usize) -> Result<Bytes, Error> {
        self.fill(4).await?;
        let length = self.input.get_i32();
        let bytes = usize::try_from(length).map_err(|_| Error::Malformed("a negative length"))?;
        if bytes > bytes_max {
            return Err(Error::ResponseTooLarge { bytes: bytes as u64, bytes_max });
        }
        self.fill(bytes).await?;
        Ok(self.input.split_to(bytes).freeze())
    }

    async fn fill(&mut self, bytes: usize) -> Result<(), Error> {
        while self.input.len() < bytes {
            self.input.reserve(bytes - self.input.len());
            match self.stream.read_buf(&mut self.input).await {
                Ok(0) => return Err(Error::Closed { address: self.address.to_string() }),
                Ok(_) => {}
                Err(source) => return Err(self.broken(source)),
            }
        }
        Ok(())
    }

    fn broken(&self, source: io::Error) -> Error {
        Error::Connection { address: self.address.to_string(), source: Arc::new(source) }
    }
}

/// How large and how late an answer may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallBounds {
    pub(crate) bytes_max: usize,
    /// How long the broker was asked to wait, on top of the time-out.
    pub(crate) wait: Duration,
}
