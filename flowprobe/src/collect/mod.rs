//! The listening side: NetFlow and IPFIX from routers and other exporters, as records like our own.
//!
//! ```text
//! listen ─► session ─► wire ─► read ─► ReceivedRecords ─► metering
//! sockets   templates  sets    FlowRecord and tail
//! ```

pub mod health;
mod intake;
pub mod listen;
pub mod read;
pub mod received;
pub mod registry;
pub mod session;
pub mod template;
mod watch;
pub mod wire;

pub use intake::start;
pub use received::{Beyond, Origin, Own, Received, ReceivedRecords, Said, Specifier, Tail, VARIABLE_LENGTH};
pub use watch::{Exporter, Heard, Listener, Listening, Watch};
