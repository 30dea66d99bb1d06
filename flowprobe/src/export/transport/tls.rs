//! The client's side of TLS, as configured: read from files once, at the start and at a reload.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, InconsistentKeys, RootCertStore};
use thiserror::Error;

/// Files, all of them PEM, and names of a TLS session, as configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of the authorities that may have signed the collector's, else those that the system trusts.
    pub ca: Option<PathBuf>,
    /// The client's certificate, with those between it and its authority, where the collector wants one.
    pub certificate: Option<PathBuf>,
    /// The client certificate's private key.
    pub key: Option<PathBuf>,
    /// The name that the collector's certificate must be for, else the host's.
    pub name: Option<String>,
}

/// A client's configuration whose files have been read and fit together.
#[derive(Clone, Debug)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    has_certificate: bool,
}

/// What is wrong with the files.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read `{}`: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel says.
        error: io::Error,
    },
    /// A file is no PEM.
    #[error("`{}` is damaged: {}", path.display(), pem_words(error))]
    Pem {
        /// The file.
        path: PathBuf,
        /// What its reader says.
        error: pem::Error,
    },
    /// A file has no certificates.
    #[error("there is no certificate in `{}`", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// A certificate is of no use.
    #[error("a certificate in `{}` cannot be used: {error}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What rustls says.
        error: rustls::Error,
    },
    /// A file has no private key, or none that can be read without a password.
    #[error("there is no private key in `{}`; one that is encrypted cannot be used", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// A private key is of no use.
    #[error("the private key in `{}` cannot be used: {error}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What rustls says.
        error: rustls::Error,
    },
    /// A private key is that of another certificate.
    #[error("the private key in `{}` is not that of the certificate in `{}`", key.display(), certificate.display())]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// A certificate without its key.
    #[error("the client certificate `{}` needs its private key", certificate.display())]
    KeyMissing {
        /// The certificate's file.
        certificate: PathBuf,
    },
    /// A key without its certificate.
    #[error("the private key `{}` needs its certificate", key.display())]
    CertificateMissing {
        /// The key's file.
        key: PathBuf,
    },
    /// The system trusts nobody.
    #[error("the system has no certificates of authorities{}; name a file with the collector's", because(.0))]
    NoRoots(Vec<rustls_native_certs::Error>),
    /// A certificate could not be for such a name.
    #[error("`{0}` is neither a DNS name nor an address, so no certificate can be for it")]
    Name(String),
    /// rustls has refused its own settings.
    #[error("TLS cannot be used: {0}")]
    Settings(rustls::Error),
}

impl TlsClient {
    /// Reads what `files` name, for sessions with the collector `host`.
    ///
    /// # Errors
    /// A file cannot be used, or the name is none.
    pub fn new(files: &TlsFiles, host: &str) -> Result<Self, TlsError> {
        let name = files.name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_owned()).map_err(|_| TlsError::Name(name.to_owned()))?;
        let roots = match &files.ca {
            Some(path) => roots_of(path)?,
            None => roots_of_the_system()?,
        };
        let provider = Arc::new(ring::default_provider());
        let own = match (&files.certificate, &files.key) {
            (Some(certificate), Some(key)) => Some(own_certificate(certificate, key, &provider)?),
            (None, None) => None,
            (Some(certificate), None) => return Err(TlsError::KeyMissing { certificate: certificate.clone() }),
            (None, Some(key)) => return Err(TlsError::CertificateMissing { key: key.clone() }),
        };
        let has_certificate = own.is_some();
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Settings)?
            .with_root_certificates(roots);
        let mut config = match own {
            Some(own) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own))),
            None => builder.with_no_client_auth(),
        };
        // Sessions last, and each is to look at the collector's certificate anew.
        config.resumption = Resumption::disabled();
        Ok(Self { config: Arc::new(config), name, has_certificate })
    }

    /// What rustls connects with.
    #[must_use]
    pub const fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }

    /// The name that the collector's certificate must be for.
    #[must_use]
    pub const fn name(&self) -> &ServerName<'static> {
        &self.name
    }

    /// Whether there is a client certificate to show.
    #[must_use]
    pub const fn has_certificate(&self) -> bool {
        self.has_certificate
    }
}

pub(crate) fn roots_of(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| TlsError::Certificate { path: path.to_owned(), error })?;
    }
    Ok(roots)
}

/// Systems have certificates that rustls cannot read, and are none the worse for it.
pub(crate) fn roots_of_the_system() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() { Err(TlsError::NoRoots(found.errors)) } else { Ok(roots) }
}

pub(crate) fn own_certificate(
    certificate: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let chain = certificates(certificate)?;
    let octets = read(key)?;
    let der = PrivateKeyDer::from_pem_slice(&octets).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::NoKey { path: key.to_owned() },
        error => TlsError::Pem { path: key.to_owned(), error },
    })?;
    let signing =
        provider.key_provider.load_private_key(der).map_err(|error| TlsError::Key { path: key.to_owned(), error })?;
    let own = CertifiedKey::new(chain, signing);
    match own.keys_match() {
        Ok(()) => Ok(own),
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            Err(TlsError::Mismatch { certificate: certificate.to_owned(), key: key.to_owned() })
        }
        Err(error) => Err(TlsError::Certificate { path: certificate.to_owned(), error }),
    }
}

pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let octets = read(path)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&octets).collect();
    let all = all.map_err(|error| TlsError::Pem { path: path.to_owned(), error })?;
    if all.is_empty() { Err(TlsError::NoCertificate { path: path.to_owned() }) } else { Ok(all) }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|error| TlsError::Read { path: path.to_owned(), error })
}

/// The library prints lines as lists of numbers.
fn pem_words(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no end".to_owned(),
        pem::Error::IllegalSectionStart { .. } => "the first line of a section is not one".to_owned(),
        error => error.to_string(),
    }
}

fn because(errors: &[rustls_native_certs::Error]) -> String {
    errors.first().map_or_else(String::new, |error| format!(" ({error})"))
}
