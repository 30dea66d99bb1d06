//! What the programs have to say, which the daemon forwards to its own log. Rare events only.

use aya_log_ebpf_macros::warn;

use crate::room::FULL;

/// Says that flows found no room. Not inlined: this stays out of the way of the packets that do.
#[inline(never)]
pub(crate) fn no_room(ifindex: u32, packets: u64, error: i32) {
    if error == FULL {
        warn!((), "flow map full on interface {}: {} packets in overflow on this CPU", ifindex, packets);
    } else {
        warn!(
            (),
            "flow map refused a flow on interface {} with error {}: {} packets in overflow on this CPU",
            ifindex,
            error,
            packets
        );
    }
}
