//! TLS: where certificate and key are, and what clients have to show.

use super::SettingsError;
use anabranch_net::{ClientCertificates, Encryption, TlsError, TlsFiles};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// TLS on all doors. A path is empty if it is not set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Tls {
    /// PEM: the broker's certificate, and those between it and its authority.
    pub(crate) certificate: PathBuf,
    /// PEM: its key.
    pub(crate) key: PathBuf,
    /// PEM: the authorities that sign clients' certificates.
    pub(crate) client_ca: PathBuf,
    pub(crate) client_auth: ClientAuth,
    /// Whether clear text is refused.
    pub(crate) required: bool,
}

/// Kafka's `ssl.client.auth`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ClientAuth {
    /// Clients are not asked for a certificate.
    #[default]
    None,
    /// They may show one.
    Requested,
    /// They must.
    Required,
}

impl Tls {
    /// Refuses keys that mean nothing without another.
    pub(crate) fn check(&self) -> Result<(), SettingsError> {
        let is_set = |path: &PathBuf| !path.as_os_str().is_empty();
        let needs = |key, needed, remedy| Err(SettingsError::Needs { key, needed, remedy });
        let (certificate, key) = (is_set(&self.certificate), is_set(&self.key));
        if certificate && !key {
            return needs("tls.certificate", "tls.key", "give the certificate's key");
        }
        if key && !certificate {
            return needs("tls.key", "tls.certificate", "give the key's certificate");
        }
        if self.required && !certificate {
            let remedy = "give a certificate and its key, or leave `tls.required` away";
            return needs("tls.required", "tls.certificate", remedy);
        }
        let asks = self.client_auth != ClientAuth::None;
        if asks && !certificate {
            let remedy = "clients show certificates to a broker that has shown its own";
            return needs("tls.client_auth", "tls.certificate", remedy);
        }
        if asks && !is_set(&self.client_ca) {
            let remedy = "give the certificates of the authorities that sign those of clients";
            return needs("tls.client_auth", "tls.client_ca", remedy);
        }
        if is_set(&self.client_ca) && !asks {
            let remedy = "set it to \"requested\" or \"required\", lest no client be asked";
            return needs("tls.client_ca", "tls.client_auth", remedy);
        }
        Ok(())
    }

    /// Reads the files, if TLS is set up.
    pub(crate) fn open(&self) -> Result<Encryption, TlsError> {
        if self.certificate.as_os_str().is_empty() {
            return Ok(Encryption::Off);
        }
        let ca = self.client_ca.clone();
        let tls = anabranch_net::Tls::open(TlsFiles {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            client: match self.client_auth {
                ClientAuth::None => ClientCertificates::None,
                ClientAuth::Requested => ClientCertificates::Requested(ca),
                ClientAuth::Required => ClientCertificates::Required(ca),
            },
        })?;
        Ok(if self.required { Encryption::Required(tls) } else { Encryption::Offered(tls) })
    }
}
