//! The server's side of TLS (RFC 7011 section 11), as configured: read from files once, at the start.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;

use crate::export::transport::{TlsError, own_certificate, roots_of};

/// Files, all of them PEM, of TLS sessions with exporters, as configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsServerFiles {
    /// The certificate that exporters are shown, with those between it and its authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Certificates of the authorities one of which must have signed an exporter's; without, exporters need none.
    pub client_ca: Option<PathBuf>,
}

/// A server's configuration whose files have been read and fit together.
#[derive(Clone, Debug)]
pub struct TlsServer {
    config: Arc<ServerConfig>,
}

impl TlsServer {
    /// Reads what `files` name.
    ///
    /// # Errors
    /// A file cannot be used.
    pub fn new(files: &TlsServerFiles) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let own = own_certificate(&files.certificate, &files.key, &provider)?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Settings)?;
        let builder = match &files.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let roots = Arc::new(roots_of(path)?);
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(roots, provider).build().map_err(|error| {
                        let error = rustls::Error::General(error.to_string());
                        TlsError::Certificate { path: path.clone(), error }
                    })?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(own)));
        // Sessions last, and each is to show its certificate anew.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { config: Arc::new(config) })
    }

    /// What rustls accepts sessions with.
    #[must_use]
    pub const fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }
}
