//! Who may enter a flow map: anybody while it is less than three quarters full, then only flows that are known. So a flood of
//! new flows finds no room before the flows that were there lose theirs.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use flowprobe_ebpf::Epoch;
use flowprobe_ebpf::parse::Packet;
use flowprobe_ebpf::room::{Room, mark_of};

use crate::forget::copy_of;
use crate::maps::{CONTROL, FILLING, FILLING_AT, KNOWN, MARK_BLOCKS, NEWCOMERS, ROOM, SCRATCH};
use crate::scratch::Scratch;

/// `-E2BIG`: what an insertion into a full map says.
pub(crate) const FULL: i32 = -7;

/// Whether the flow of `packet` may enter the flow map of this entry of the map `ROOM`. `scratch` points to a value of the map
/// `SCRATCH`; the packet may be the one in there.
#[inline(always)]
pub(crate) fn admits(room: u32, scratch: *mut Scratch, packet: &Packet) -> bool {
    let Some(room) = ROOM.get_ptr(room) else { return true };
    // SAFETY: the pointer comes from the map. Other CPUs add to the word; that one or two more get in does no harm.
    let flows = unsafe { (&raw const (*room).flows).read_volatile() };
    if flows < u64::from(NEWCOMERS.load()) {
        return true;
    }
    // SAFETY: by this function's contract.
    unsafe { copy_of(scratch, packet) };
    known_on_scratch(ASK) != 0
}

/// Notes that the flow of `packet` has had more than one. For `scratch` see [`admits`].
#[inline(always)]
pub(crate) fn mark(scratch: *mut Scratch, packet: &Packet) {
    // SAFETY: by this function's contract.
    unsafe { copy_of(scratch, packet) };
    known_on_scratch(MARK);
}

const ASK: u32 = 0;
const MARK: u32 = 1;

/// Whether the flow of the packet in the map `SCRATCH` is known; with `MARK` it is from now on. Global, so that the kernel
/// verifies it once and by itself (see `select`).
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn known_on_scratch(what: u32) -> u32 {
    let (Some(scratch), Some(epoch)) = (SCRATCH.get_ptr(0), CONTROL.get(1)) else { return 0 };
    let epoch = Epoch(*epoch);
    // SAFETY: the pointer comes from the map; while a program runs, nothing else on this CPU writes there.
    let (block, mark) = mark_of(unsafe { &(*scratch).packet.key }, MARK_BLOCKS.load());
    let Some(block) = KNOWN.get_ptr_mut(block) else { return 0 };
    // SAFETY: `mark_of` gives an index below the block's length.
    let mark = unsafe { block.cast::<u8>().add(mark) };
    // SAFETY: a place in a live map value. Whoever writes there writes a mark as well.
    let old = unsafe { mark.read_volatile() };
    if what == MARK && old != epoch.mark() {
        // SAFETY: as above.
        unsafe { mark.write_volatile(epoch.mark()) };
    }
    u32::from(epoch.holds(old))
}

/// Counts a flow that has entered, and tells the daemon when the map is filling.
#[inline(always)]
pub(crate) fn entered(room: u32) {
    let Some(room) = ROOM.get_ptr_mut(room) else { return };
    // SAFETY: the pointer comes from the map; all CPUs only ever add to the word.
    let word = unsafe { &raw mut (*room).flows };
    // SAFETY: as above. The result is unused, so this is one BPF instruction.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(word, 1) };
    // SAFETY: as above.
    if unsafe { word.read_volatile() } >= u64::from(FILLING_AT.load()) {
        tell(room);
    }
}

/// Once in a generation, or twice where two CPUs come at once.
#[inline(always)]
fn tell(room: *mut Room) {
    // SAFETY: by the caller, which has it from the map.
    let told = unsafe { &raw mut (*room).told };
    // SAFETY: as above.
    if unsafe { told.read_volatile() } != 0 {
        return;
    }
    // SAFETY: as above.
    unsafe { told.write_volatile(1) };
    // Where there is no room for the word, another one is waiting to be read.
    if let Some(mut word) = FILLING.reserve_untyped::<u64>(0) {
        word.write(1);
        word.submit(0);
    }
}
