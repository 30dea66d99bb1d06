//! The listening side: NetFlow and IPFIX from routers and other exporters, as records like our own.
//!
//! ```text
//! listen ─► wire ─► session ─► read ─► ReceivedRecords ─► metering
//! sockets   sets    templates  FlowRecord and tail
//! ```

pub mod listen;
pub mod read;
pub mod received;
pub mod registry;
pub mod template;

pub use received::{Beyond, Origin, Received, ReceivedRecords, Specifier, Tail, VARIABLE_LENGTH};
