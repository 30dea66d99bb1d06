//! What went wrong with a TLS session, in the words of who has to put it right.

use std::fmt;
use std::io;

use rustls::{AlertDescription, CertificateError, Error};

/// Why a TLS session did not come to be, or ended: what it means, then rustls' own words.
#[derive(Debug)]
pub struct TlsFault {
    error: Error,
    /// Whether the client has a certificate to show.
    has_certificate: bool,
}

impl TlsFault {
    /// `error` as it was met by a client with a certificate of its own, or without.
    #[must_use]
    pub const fn new(error: Error, has_certificate: bool) -> Self {
        Self { error, has_certificate }
    }

    /// Finds rustls' error in one of tokio-rustls' and puts it into words; others are left as they are.
    pub(super) fn within(error: io::Error, has_certificate: bool) -> io::Error {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return io::Error::new(
                error.kind(),
                "the collector closed the connection without TLS's goodbye (close_notify)",
            );
        }
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(inner) => io::Error::new(error.kind(), Self::new(inner.clone(), has_certificate)),
            None => error,
        }
    }

    /// The fault that [`TlsFault::within`] has put into `error`.
    pub(super) fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref().and_then(|inner| inner.downcast_ref())
    }

    /// Whether it is the collector that said so.
    #[must_use]
    pub const fn is_alert(&self) -> bool {
        matches!(self.error, Error::AlertReceived(_))
    }

    /// Whether it is the collector's certificate that was not accepted.
    #[must_use]
    pub const fn is_certificate(&self) -> bool {
        matches!(self.error, Error::InvalidCertificate(_))
    }

    fn meaning(&self) -> &'static str {
        match &self.error {
            Error::InvalidCertificate(error) => certificate(error),
            Error::AlertReceived(alert) => self.alert(*alert),
            Error::InvalidMessage(_) => "what answers does not seem to speak TLS",
            Error::PeerIncompatible(_) => "the collector's TLS has too little in common with this one",
            _ => "the TLS session failed",
        }
    }

    fn alert(&self, alert: AlertDescription) -> &'static str {
        match alert {
            AlertDescription::CertificateRequired => "the collector wants a client certificate",
            // Some say one of these of a certificate that is missing.
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied => {
                if self.has_certificate {
                    "the collector does not accept the client certificate"
                } else {
                    "the collector wants a client certificate"
                }
            }
            // Of a certificate whose authority has the right name and another key.
            AlertDescription::DecryptError if self.has_certificate => {
                "the collector does not accept the client certificate"
            }
            // With TLS 1.2 that is what most say of a certificate that is missing.
            AlertDescription::HandshakeFailure if !self.has_certificate => {
                "the collector refuses the session; it may want a client certificate"
            }
            AlertDescription::ProtocolVersion | AlertDescription::InsufficientSecurity => {
                "the collector wants another version of TLS or another cipher"
            }
            AlertDescription::UnrecognisedName => "the collector does not go by this name",
            _ => "the collector refuses the session",
        }
    }
}

impl fmt::Display for TlsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meaning = self.meaning();
        match &self.error {
            Error::InvalidCertificate(error) => write!(f, "{meaning} ({error})"),
            Error::AlertReceived(alert) => write!(f, "{meaning} (TLS alert {alert:?})"),
            error => write!(f, "{meaning} ({error})"),
        }
    }
}

impl std::error::Error for TlsFault {}

/// What is wrong with a collector's certificate.
fn certificate(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::UnknownIssuer => "its issuer is none of those that are trusted",
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet, by this machine's clock"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it is not for the name that was expected"
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => "it is not for a server",
        CertificateError::BadEncoding => "it is damaged",
        CertificateError::BadSignature => "its signature is not that of the authority of this name",
        // The verifier's own errors are known by their names only.
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "it is that of an authority (CA:TRUE), which a server's must not be"
        }
        _ => "it does not hold",
    }
}
