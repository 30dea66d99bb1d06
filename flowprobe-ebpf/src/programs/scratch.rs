//! Memory of one run of a program, in a per-CPU map: nothing else runs on this CPU meanwhile.

use aya_ebpf::bindings::bpf_fib_lookup;

use flowprobe_ebpf::parse::{FARTHEST_OFFSET, Packet};
use flowprobe_ebpf::{Counter, OverflowKey, Route, TunnelledKey};

/// Octets of a socket buffer that the parser can see: enough for two VXLANs over IPv6 with TCP in them. What begins beyond is
/// not seen, as if the frame had been cut there.
pub(crate) const VISIBLE: usize = 256;

/// The largest header that is read at once.
const LARGEST_READ: usize = 64;

/// The memory.
#[repr(C)]
pub(crate) struct Scratch {
    /// Where an offset goes to be forgotten.
    offset: u64,
    /// What the parser finds.
    pub(crate) packet: Packet,
    /// The question to the routing tables, and their answer.
    pub(crate) lookup: bpf_fib_lookup,
    /// A key of the map `ROUTES`.
    pub(crate) route: Route,
    /// A key of the maps of tunnelled flows.
    pub(crate) tunnelled: TunnelledKey,
    /// A key of the maps of where overflow goes.
    pub(crate) overflow: OverflowKey,
    /// What is added there.
    pub(crate) more: Counter,
    /// The beginning of a socket buffer, and room so that a read that begins in it ends in it.
    pub(crate) headers: [u8; VISIBLE + LARGEST_READ],
}

/// Takes `number` out of the verifier's sight, as [`forget`] does an offset.
///
/// # Safety
/// `scratch` points to a value of the map `SCRATCH`.
#[inline(always)]
pub(crate) unsafe fn forget_number(scratch: *mut Scratch, number: u32) -> u32 {
    // SAFETY: by this function's contract.
    let word = unsafe { &raw mut (*scratch).offset }.cast::<u32>();
    // SAFETY: as above; volatile, so that the compiler does not see through it.
    unsafe { word.write_volatile(number) };
    // SAFETY: as above.
    unsafe { word.read_volatile() }
}

/// Takes `offset` out of the verifier's sight: what it reads from a map it knows nothing about.
///
/// # Safety
/// `scratch` points to a value of the map `SCRATCH`.
#[inline(always)]
pub(crate) unsafe fn forget(scratch: *mut Scratch, offset: usize) -> usize {
    // SAFETY: by this function's contract.
    let word = unsafe { &raw mut (*scratch).offset };
    // SAFETY: as above; volatile, so that the compiler does not see through it.
    unsafe { word.write_volatile(offset as u64) };
    // SAFETY: as above.
    let offset = unsafe { word.read_volatile() };
    offset as usize & FARTHEST_OFFSET
}
