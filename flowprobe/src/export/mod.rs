//! The Exporting Process: records become messages of IPFIX (RFC 7011) or NetFlow and go to collectors.

pub mod elements;
pub mod encode;
mod format;
mod health;
pub mod lane;
pub mod options;
pub mod outlet;
pub mod packed;
pub mod session;
mod share;
pub mod spool;
mod target;
pub mod transport;

pub use format::Format;
pub use health::{Condition, Health};
pub use outlet::FileOptions;
pub use share::Share;
pub use target::{CannotUse, connect_all, names, warn_of_leftovers};
