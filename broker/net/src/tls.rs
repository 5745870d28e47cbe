//! Certificates and keys: read at the start, and again whenever their files change.

use crate::gate::Application;
use crate::limits::REREAD_EVERY;
use parking_lot::{Mutex, RwLock};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Where the broker's identity is kept, and what clients have to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and those between it and its authority, in PEM (`tls.certificate`).
    pub certificate: PathBuf,
    /// Its key, in PEM (`tls.key`).
    pub key: PathBuf,
    /// What clients have to show.
    pub client: ClientCertificates,
}

/// Whether clients show certificates, as Kafka's `ssl.client.auth` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientCertificates {
    /// They are not asked to.
    None,
    /// They may. One that is shown must be signed by an authority of this file (`tls.client_ca`).
    Requested(PathBuf),
    /// They must.
    Required(PathBuf),
}

/// Why there can be no TLS. Each names the key, the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error(
        "`{key}`: cannot read {}: {source}; give the path of a PEM file that the broker's user \
         may read", path.display()
    )]
    Unreadable {
        /// The setting.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file has not what it should.
    #[error("`{key}`: {} {what}", path.display())]
    Content {
        /// The setting.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong, and the remedy.
        what: String,
    },
    /// Two files that do not belong together.
    #[error(
        "`tls.key`: {} is not the key of the certificate in {}: give the two files of one pair",
        key.display(), certificate.display()
    )]
    Pair {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
    },
}

/// What the files held.
#[derive(PartialEq, Eq)]
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

/// What handshakes need. Connections that have shaken hands do not.
pub struct Tls {
    files: TlsFiles,
    current: RwLock<Arc<Configs>>,
    /// What was read last, whether or not it could be used.
    read: Mutex<Contents>,
}

/// One for each application, since they differ in what ALPN may say.
struct Configs {
    kafka: Arc<ServerConfig>,
    postgres: Arc<ServerConfig>,
    http: Arc<ServerConfig>,
}

/// What reading the files again has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reread {
    /// Nothing new.
    Same,
    /// New handshakes use what they hold now.
    Changed,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`] if one cannot be read or used.
    pub fn open(files: TlsFiles) -> Result<Arc<Self>, TlsError> {
        let read = files.read()?;
        let current = RwLock::new(Arc::new(files.configs(&read)?));
        Ok(Arc::new(Self { files, current, read: Mutex::new(read) }))
    }

    pub(crate) fn config(&self, application: Application) -> Arc<ServerConfig> {
        let current = Arc::clone(&self.current.read());
        Arc::clone(match application {
            Application::Kafka => &current.kafka,
            Application::PostgreSql => &current.postgres,
            Application::Http => &current.http,
        })
    }

    /// Reads the files again. If they have changed and cannot be used, what was there before
    /// stays in use. Blocks.
    ///
    /// # Errors
    /// [`TlsError`], once for each state of the files that cannot be used.
    pub fn reread(&self) -> Result<Reread, TlsError> {
        let contents = self.files.read()?;
        let mut read = self.read.lock();
        if *read == contents {
            return Ok(Reread::Same);
        }
        *read = contents;
        *self.current.write() = Arc::new(self.files.configs(&read)?);
        Ok(Reread::Changed)
    }

    /// Reads the files again every [`REREAD_EVERY`] until `stop`. What issues certificates
    /// replaces files in many ways, and not all can send a signal: so contents are compared.
    pub async fn follow(self: Arc<Self>, stop: CancellationToken) {
        let mut unreadable = false;
        loop {
            tokio::select! {
                () = tokio::time::sleep(REREAD_EVERY) => {}
                () = stop.cancelled() => return,
            }
            let tls = Arc::clone(&self);
            let reread = tokio::task::spawn_blocking(move || tls.reread()).await;
            match reread.expect("reading files does not panic") {
                Ok(Reread::Same) => unreadable = false,
                Ok(Reread::Changed) => {
                    unreadable = false;
                    let file = self.files.certificate.display();
                    tracing::info!(%file, "the certificate was read again");
                }
                // Once, until it can be read again.
                Err(TlsError::Unreadable { .. }) if unreadable => {}
                Err(error) => {
                    unreadable = matches!(error, TlsError::Unreadable { .. });
                    tracing::warn!("the certificate stays as it was: {error}");
                }
            }
        }
    }
}

/// Keys are not for log lines.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

impl TlsFiles {
    fn client_ca(&self) -> Option<&Path> {
        match &self.client {
            ClientCertificates::None => None,
            ClientCertificates::Requested(ca) | ClientCertificates::Required(ca) => Some(ca),
        }
    }

    fn read(&self) -> Result<Contents, TlsError> {
        let read = |key: &'static str, path: &Path| {
            std::fs::read(path).map_err(|source| TlsError::Unreadable {
                key,
                path: path.to_owned(),
                source,
            })
        };
        Ok(Contents {
            certificate: read("tls.certificate", &self.certificate)?,
            key: read("tls.key", &self.key)?,
            client_ca: self.client_ca().map(|path| read("tls.client_ca", path)).transpose()?,
        })
    }

    fn configs(&self, contents: &Contents) -> Result<Configs, TlsError> {
        let chain = certificates("tls.certificate", &self.certificate, &contents.certificate)?;
        let key = self.private_key(&contents.key)?;
        let unusable = |what: &str, key: &'static str, path: &Path| TlsError::Content {
            key,
            path: path.to_owned(),
            what: what.to_owned(),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13, &TLS12])
            .expect("ring has cipher suites for both");
        let builder = match self.verifier(contents)? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let config = builder.with_single_cert(chain, key).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                TlsError::Pair { key: self.key.clone(), certificate: self.certificate.clone() }
            }
            rustls::Error::InvalidCertificate(why) => unusable(
                &format!("holds a certificate that cannot be used: {why:?}; have a new one issued"),
                "tls.certificate",
                &self.certificate,
            ),
            other => unusable(
                &format!(
                    "holds a key that cannot be used: {other}; RSA of at least 2048 bits, \
                          ECDSA P-256 and P-384, and Ed25519 can"
                ),
                "tls.key",
                &self.key,
            ),
        })?;
        let with_alpn = |protocols: &[&[u8]]| {
            let mut config = config.clone();
            config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
            Arc::new(config)
        };
        Ok(Configs {
            // Kafka's clients offer nothing.
            kafka: with_alpn(&[]),
            postgres: with_alpn(&[POSTGRESQL]),
            http: with_alpn(&[b"http/1.1"]),
        })
    }

    fn private_key(&self, pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_slice(pem).map_err(|error| {
            let path = &self.key;
            let is_encrypted = contains(pem, b"ENCRYPTED");
            let what = if is_encrypted {
                format!(
                    "holds a key that is encrypted with a passphrase: write it without one, with \
                     `openssl pkey -in {}`, to a file that only the broker's user may read",
                    path.display()
                )
            } else {
                format!("holds no key: {error}; it is PEM, with -----BEGIN PRIVATE KEY-----")
            };
            TlsError::Content { key: "tls.key", path: path.clone(), what }
        })
    }

    fn verifier(
        &self,
        contents: &Contents,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
        let (Some(path), Some(pem)) = (self.client_ca(), &contents.client_ca) else {
            return Ok(None);
        };
        let key = "tls.client_ca";
        let unusable = |why: String| TlsError::Content {
            key,
            path: path.to_owned(),
            what: format!(
                "holds a certificate that cannot be used: {why}; give those of the authorities \
                 that sign clients' certificates"
            ),
        };
        let mut roots = RootCertStore::empty();
        for authority in certificates(key, path, pem)? {
            roots.add(authority).map_err(|error| unusable(error.to_string()))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let builder = match self.client {
            ClientCertificates::Required(_) => builder,
            _ => builder.allow_unauthenticated(),
        };
        builder.build().map(Some).map_err(|error| unusable(error.to_string()))
    }
}

/// What PostgreSQL's clients offer by ALPN (PostgreSQL 17, 54.2.11).
pub(crate) const POSTGRESQL: &[u8] = b"postgresql";

/// All certificates of a PEM file, of which there must be one.
fn certificates(
    key: &'static str,
    path: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let content = |why: &str| TlsError::Content {
        key,
        path: path.to_owned(),
        what: format!("{why}; it is PEM, with -----BEGIN CERTIFICATE-----"),
    };
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| content(&format!("is damaged: {error}")))?;
    if found.is_empty() { Err(content("holds no certificate")) } else { Ok(found) }
}

fn contains(bytes: &[u8], words: &[u8]) -> bool {
    bytes.windows(words.len()).any(|window| window == words)
}
