//! Whether a packet is metered.

use aya_ebpf::helpers::bpf_get_prandom_u32;

use flowprobe_ebpf::parse::Packet;
use flowprobe_ebpf::selection::Verdict;

use crate::forget::copy_of;
use crate::maps::{SCRATCH, SELECTION};
use crate::scratch::Scratch;

/// Decides on a packet of a frame of `layer2_octets` octets. `scratch` points to a value of the map `SCRATCH`; the packet may
/// be the one in there.
#[inline(always)]
pub(crate) fn verdict(generation: u32, scratch: *mut Scratch, packet: &Packet, layer2_octets: u64) -> Verdict {
    let Some(selection) = SELECTION.get(generation) else { return Verdict::Metered };
    if selection.is_everything() {
        return Verdict::Metered;
    }
    // SAFETY: by this function's contract.
    unsafe { copy_of(scratch, packet) };
    // More octets than that no frame has.
    match verdict_on_scratch(generation, layer2_octets as u32) {
        FILTERED_OUT => Verdict::FilteredOut,
        SAMPLED_OUT => Verdict::SampledOut,
        _ => Verdict::Metered,
    }
}

const METERED: u32 = Verdict::Metered as u32;
const FILTERED_OUT: u32 = Verdict::FilteredOut as u32;
const SAMPLED_OUT: u32 = Verdict::SampledOut as u32;

/// The same for the packet in the map `SCRATCH`, as a number.
///
/// Global, so that the kernel verifies it once and by itself (Linux 5.6, `Documentation/bpf/verifier.rst`): inlined, the tests
/// of the filter would be followed for each way through the headers. Such a function takes numbers, not references.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn verdict_on_scratch(generation: u32, layer2_octets: u32) -> u32 {
    let (Some(selection), Some(scratch)) = (SELECTION.get(generation), SCRATCH.get_ptr(0)) else { return METERED };
    // SAFETY: the pointer comes from the map; while a program runs, nothing else on this CPU writes there.
    let packet = unsafe { &(*scratch).packet };
    // SAFETY: the helper has no preconditions.
    selection.decide(packet, layer2_octets.into(), || unsafe { bpf_get_prandom_u32() }) as u32
}
