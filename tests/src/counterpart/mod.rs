//! Real collectors and readers of IPFIX: nfcapd with nfdump, and tcpdump with tshark.

mod nfcapd;
mod tshark;

pub use nfcapd::Nfcapd;
pub use tshark::{BAD, Capture, Captured};
