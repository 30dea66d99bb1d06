//! The Exporting Process: records become IPFIX messages (RFC 7011) and go to collectors.

pub mod elements;
pub mod message;
pub mod packed;
pub mod spool;
pub mod statistics;
pub mod transport;
mod udp;

pub use udp::{UdpExporter, connect_all};
