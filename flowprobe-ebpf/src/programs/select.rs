//! Whether a packet is metered.

use aya_ebpf::helpers::bpf_get_prandom_u32;

use flowprobe_ebpf::parse::Packet;
use flowprobe_ebpf::selection::Verdict;

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

/// Takes the content of `packet` out of the verifier's sight, and returns a copy of which it knows nothing either. Else it
/// would follow what comes after for each way through the headers.
///
/// # Safety
/// `scratch` points to a value of the map `SCRATCH`; `packet` is a packet on the stack, or the one in there.
#[inline(always)]
unsafe fn forget_packet<'a>(scratch: *mut Scratch, packet: &mut Packet) -> &'a Packet {
    // SAFETY: by this function's contract.
    let copy = unsafe { &raw mut (*scratch).packet };
    if core::ptr::eq(copy, packet) {
        // SAFETY: as above.
        return unsafe { &*copy };
    }
    // SAFETY: as above; they are not the same.
    unsafe { copy.write(*packet) };
    let (from, to) = (copy.cast::<u32>(), core::ptr::from_mut(packet).cast::<u32>());
    for word in 0..size_of::<Packet>() / size_of::<u32>() {
        // SAFETY: both have that many words. Volatile, so that the compiler does not see that they are the same.
        unsafe { to.add(word).write(from.add(word).read_volatile()) };
    }
    // SAFETY: as above.
    unsafe { &*copy }
}

const _: () = assert!(size_of::<Packet>().is_multiple_of(size_of::<u32>()) && align_of::<Packet>() >= 4);
