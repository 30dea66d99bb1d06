//! Whether a packet is metered.

use aya_ebpf::helpers::bpf_get_prandom_u32;

use flowprobe_ebpf::parse::Packet;
use flowprobe_ebpf::selection::Verdict;

use crate::forget::forget_packet;
use crate::maps::SELECTION;
use crate::scratch::Scratch;

/// Decides on a packet of a frame of `layer2_octets` octets. `scratch` points to a value of the map `SCRATCH`; the packet may
/// be the one in there.
#[inline(always)]
pub(crate) fn verdict(generation: u32, scratch: *mut Scratch, packet: &mut Packet, layer2_octets: u64) -> Verdict {
    let Some(selection) = SELECTION.get(generation) else { return Verdict::Metered };
    if selection.is_everything() {
        return Verdict::Metered;
    }
    // SAFETY: by this function's contract.
    let packet = unsafe { forget_packet(scratch, packet) };
    // SAFETY: the helper has no preconditions.
    selection.decide(packet, layer2_octets, || unsafe { bpf_get_prandom_u32() })
}
