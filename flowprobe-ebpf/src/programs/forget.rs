//! Hides from the verifier what it has found out about a packet.

use flowprobe_ebpf::parse::Packet;

use crate::scratch::Scratch;

/// A copy of `packet` of which the verifier knows nothing. Else it would follow what comes after for each way through the
/// headers.
///
/// # Safety
/// `scratch` points to a value of the map `SCRATCH`; `packet` is a packet on the stack, or the one in there.
#[inline(always)]
pub(crate) unsafe fn copy_of<'a>(scratch: *mut Scratch, packet: &Packet) -> &'a Packet {
    // SAFETY: by this function's contract.
    let copy = unsafe { &raw mut (*scratch).packet };
    if !core::ptr::eq(copy, packet) {
        // SAFETY: as above; they are not the same.
        unsafe { copy.write(*packet) };
    }
    // SAFETY: as above.
    unsafe { &*copy }
}
