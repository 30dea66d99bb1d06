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

/// The same, and takes the content of `packet` itself out of the verifier's sight.
///
/// # Safety
/// That of [`copy_of`].
#[inline(always)]
pub(crate) unsafe fn forget_packet<'a>(scratch: *mut Scratch, packet: &mut Packet) -> &'a Packet {
    // SAFETY: by this function's contract.
    let copy = unsafe { copy_of(scratch, packet) };
    if !core::ptr::eq(copy, packet) {
        let (from, to) = (core::ptr::from_ref(copy).cast::<u32>(), core::ptr::from_mut(packet).cast::<u32>());
        for word in 0..size_of::<Packet>() / size_of::<u32>() {
            // SAFETY: both have that many words. Volatile, so that the compiler does not see that they are the same.
            unsafe { to.add(word).write(from.add(word).read_volatile()) };
        }
    }
    copy
}

const _: () = assert!(size_of::<Packet>().is_multiple_of(size_of::<u32>()) && align_of::<Packet>() >= 4);
