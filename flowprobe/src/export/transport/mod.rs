//! How messages get to a collector where UDP is not what is wanted: over TCP (RFC 7011 section 10.4), alone or under TLS
//! (section 11).
//!
//! A connection is a [`Stream`], which says how much of what it was given the peer has acknowledged: the rest has to be sent
//! again where it breaks.

mod fault;
mod socket;
mod stream;
mod tls;

#[cfg(test)]
mod tests;

pub use fault::TlsFault;
pub use socket::{OptionError, SocketOptions};
pub use stream::{Closed, ConnectError, Stream};
#[cfg(feature = "object-store")]
pub(crate) use tls::roots_of_the_system;
pub use tls::{TlsClient, TlsError, TlsFiles};
pub(crate) use tls::{certificates, own_certificate, roots_of};
