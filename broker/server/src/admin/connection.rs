//! A connection to a broker's Kafka door: one request at a time, with TLS and a login if asked for.

use super::AdminError;
use crate::cli::BrokerArgs;
use crate::settings::Settings;
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{
    ApiKey, RequestHeader, ResponseHeader, SaslAuthenticateRequest, SaslHandshakeRequest,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long the broker may take to answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// An answer is no longer.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// What the password is read from: an argument would be seen by everybody on the machine.
const PASSWORD: &str = "ANABRANCH_PASSWORD";

trait Socket: Read + Write {}
impl<T: Read + Write> Socket for T {}

/// See the module.
pub(crate) struct Connection {
    socket: Box<dyn Socket>,
    address: String,
    correlation: i32,
}

impl Connection {
    /// Connects, and logs in if there is a user.
    pub(crate) fn open(settings: &Settings, args: &BrokerArgs) -> Result<Self, AdminError> {
        let address = match &args.broker {
            Some(address) => address.clone(),
            None => settings.kafka.listen.to_connect().ok_or(AdminError::Off)?,
        };
        let unreachable = |source| AdminError::Unreachable { address: address.clone(), source };
        let mut found = address.to_socket_addrs().map_err(unreachable)?;
        let peer = found.next().ok_or_else(|| unreachable(io::ErrorKind::NotFound.into()))?;
        let stream = TcpStream::connect_timeout(&peer, TIMEOUT).map_err(unreachable)?;
        stream.set_read_timeout(Some(TIMEOUT)).map_err(unreachable)?;
        stream.set_write_timeout(Some(TIMEOUT)).map_err(unreachable)?;
        let socket: Box<dyn Socket> = match &args.tls_ca {
            Some(ca) => Box::new(encrypt(stream, &address, ca)?),
            None => Box::new(stream),
        };
        let mut connection = Self { socket, address, correlation: 0 };
        if let Some(user) = &args.user {
            if args.tls_ca.is_none() && !peer.ip().to_canonical().is_loopback() {
                return Err(AdminError::ClearText);
            }
            connection.log_in(user)?;
        }
        Ok(connection)
    }

    /// RFC 4616 (PLAIN): the connection is encrypted, or does not leave the machine.
    fn log_in(&mut self, user: &str) -> Result<(), AdminError> {
        let password = std::env::var(PASSWORD).map_err(|_| AdminError::NoPassword)?;
        let mechanism = StrBytes::from_static_str("PLAIN");
        let answer = self.call(1, &SaslHandshakeRequest::default().with_mechanism(mechanism))?;
        check(answer.error_code, "logging in")?;
        let message = Bytes::from(format!("\0{user}\0{password}"));
        let request = SaslAuthenticateRequest::default().with_auth_bytes(message);
        let answer = self.call(2, &request)?;
        if answer.error_code == 0 {
            return Ok(());
        }
        Err(AdminError::Login { user: user.to_owned() })
    }

    /// Sends a request and waits for its answer.
    pub(crate) fn call<R: Request>(
        &mut self,
        version: i16,
        request: &R,
    ) -> Result<R::Response, AdminError> {
        self.correlation += 1;
        let strange =
            |reason: String| AdminError::Strange { address: self.address.clone(), reason };
        let key = ApiKey::try_from(R::KEY).map_err(|()| strange("an unknown API".to_owned()))?;
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation)
            .with_client_id(Some(StrBytes::from_static_str("anabranch")));
        let mut body = BytesMut::new();
        header
            .encode(&mut body, key.request_header_version(version))
            .and_then(|()| request.encode(&mut body, version))
            .map_err(|error| strange(error.to_string()))?;
        let mut frame = BytesMut::with_capacity(body.len() + 4);
        frame.put_u32(body.len() as u32);
        frame.put(body);
        let mut answer = exchange(&mut self.socket, &frame).map_err(|source| {
            // A broker that wants TLS, or a login, closes the connection.
            AdminError::Closed { address: self.address.clone(), source }
        })?;
        ResponseHeader::decode(&mut answer, R::Response::header_version(version))
            .and_then(|_| R::Response::decode(&mut answer, version))
            .map_err(|error| strange(error.to_string()))
    }
}

fn exchange(socket: &mut impl Socket, frame: &[u8]) -> io::Result<Bytes> {
    socket.write_all(frame)?;
    socket.flush()?;
    let mut length = [0; 4];
    socket.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > ANSWER_BYTES_MAX {
        return Err(io::Error::other(format!("an answer of {length} bytes")));
    }
    let mut answer = vec![0; length];
    socket.read_exact(&mut answer)?;
    Ok(Bytes::from(answer))
}

fn encrypt(
    stream: TcpStream,
    address: &str,
    ca: &Path,
) -> Result<StreamOwned<ClientConnection, TcpStream>, AdminError> {
    let wrong = |reason: String| AdminError::Tls { path: ca.display().to_string(), reason };
    let mut roots = RootCertStore::empty();
    for certificate in
        CertificateDer::pem_file_iter(ca).map_err(|error| wrong(error.to_string()))?
    {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(host).map_err(|error| wrong(error.to_string()))?;
    let client = ClientConnection::new(Arc::new(config), name);
    Ok(StreamOwned::new(client.map_err(|error| wrong(error.to_string()))?, stream))
}

/// An error code of Kafka as an error: what was asked for, and the code's name.
pub(crate) fn check(code: i16, what: &str) -> Result<(), AdminError> {
    match super::error_name(code) {
        None => Ok(()),
        Some(name) => Err(AdminError::Refused { what: what.to_owned(), name }),
    }
}
