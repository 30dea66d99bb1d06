//! Sockets where exporters' messages come in.

mod tls;

pub use tls::{TlsServer, TlsServerFiles};
