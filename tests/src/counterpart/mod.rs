//! Real collectors and readers of what the daemon exports: nfcapd with nfdump, nfacctd, tcpdump with tshark, and ipfixDump.
//!
//! Each is made to show all that it can ([`Reading`]). What it cannot show, and what a format cannot carry, is listed in one
//! table with the reasons; all else must be as the daemon says and as it was sent ([`View`]).
//!
//! And real exporters, to which the daemon listens: softflowd and fprobe; a server to which history goes ([`s3`]); and Prometheus,
//! which asks the daemon how it is ([`prometheus`]).

mod fprobe;
mod ipfixdump;
mod nfacctd;
mod nfcapd;
pub mod prometheus;
mod reading;
pub mod s3;
mod softflowd;
mod tshark;

pub use fprobe::Fprobe;
pub use ipfixdump::{ipfixdump, ipfixdump_with_a_gap};
pub use nfacctd::Nfacctd;
pub use nfcapd::{CountingNfcapd, Nfcapd};
pub use reading::{Format, Reader, Reading, View};
pub use softflowd::Softflowd;
pub use tshark::{BAD, Capture, Captured, tshark_on_file};
