//! What a program is made for: the abilities of the kernel, and how much it is to do. Instructions that a kernel does not know
//! cannot be hidden from it behind a constant, as helpers can; and what a program does not do must not cost it stack. So there
//! are programs with and without.

use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_or};

/// What a program is made for.
pub(crate) trait Machine {
    /// Whether tunnels are opened. Where they are, the packet lies in memory of the maps, because the stack has no room for it;
    /// that makes every packet about a fifth dearer.
    const OPENS_TUNNELS: bool;

    /// Whether flows that are known keep their room ([`crate::room`]): where tunnels are opened, the verifier of Linux 5.10 was
    /// not seen to come to an end with it in five minutes, nor that of 6.1 in two.
    const KEEPS_ROOM: bool;

    /// Whether routes are looked for: their numbers are given out by an addition that says what was there before.
    const FINDS_ROUTES: bool;

    /// Ors `bits` into `word`.
    ///
    /// # Safety
    /// `word` points into a live map value.
    unsafe fn or(word: *mut u32, bits: u32);

    /// Replaces `old` by `new` in `word`, unless something else is there by now; whether it did.
    ///
    /// # Safety
    /// `word` points into a live map value.
    unsafe fn replace(word: *mut u64, old: u64, new: u64) -> bool;
}

/// With BPF's atomic instructions beyond addition (Linux 5.12, `BPF_ATOMIC`).
pub(crate) struct Atomics<const OPENS_TUNNELS: bool>;

impl<const OPENS_TUNNELS: bool> Machine for Atomics<OPENS_TUNNELS> {
    const OPENS_TUNNELS: bool = OPENS_TUNNELS;
    const KEEPS_ROOM: bool = !OPENS_TUNNELS;
    const FINDS_ROUTES: bool = true;

    #[inline(always)]
    unsafe fn or(word: *mut u32, bits: u32) {
        // SAFETY: by this function's contract.
        unsafe { atomic_or::<u32, u32, { AtomicOrdering::Relaxed }>(word, bits) };
    }

    #[inline(always)]
    unsafe fn replace(word: *mut u64, old: u64, new: u64) -> bool {
        // SAFETY: by this function's contract.
        let (_, done) =
            unsafe { atomic_cxchg::<u64, { AtomicOrdering::Relaxed }, { AtomicOrdering::Relaxed }>(word, old, new) };
        done
    }
}

/// Without. Counts are as exact as elsewhere; but of two CPUs that meet packets of one flow in the same instant, one may undo
/// what the other has noted of flags, lengths or TTL.
pub(crate) struct Legacy;

impl Machine for Legacy {
    const OPENS_TUNNELS: bool = true;
    const KEEPS_ROOM: bool = false;
    const FINDS_ROUTES: bool = false;

    #[inline(always)]
    unsafe fn or(word: *mut u32, bits: u32) {
        // SAFETY: by this function's contract. Volatile, so that the compiler makes no atomic instruction of it.
        unsafe { word.write_volatile(word.read_volatile() | bits) };
    }

    #[inline(always)]
    unsafe fn replace(word: *mut u64, _: u64, new: u64) -> bool {
        // SAFETY: as above.
        unsafe { word.write_volatile(new) };
        true
    }
}
