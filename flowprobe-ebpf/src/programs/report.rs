//! What the programs have to say, which the daemon forwards to its own log. Rare events only.

use aya_log_ebpf_macros::warn;

/// Says that a flow map refused a flow for another reason than that it is full, of which the daemon speaks. Not inlined: this
/// stays out of the way of the packets that find room.
#[inline(never)]
pub(crate) fn refused(ifindex: u32, packets: u64, error: i32) {
    warn!(
        (),
        "flow map refused a flow on interface {} with error {}: {} packets in overflow on this CPU",
        ifindex,
        error,
        packets
    );
}
