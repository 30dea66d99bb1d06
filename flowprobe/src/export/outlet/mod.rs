//! The ends of the way: a socket, a connection, a file.

mod file;
mod stream;
mod udp;

pub use file::{FileOptions, IpfixFiles};
pub use stream::{Connection, Ended, Item, QUEUE, WINDOW};
pub use udp::{Outcome, Udp};

/// Where messages leave.
pub enum Outlet {
    /// Datagrams.
    Udp(Box<Udp>),
    /// A connection.
    Stream(Connection),
    /// A file.
    File(IpfixFiles),
}
