//! Find or insert a flow and count a packet in it: the narrow face behind which the flow table can be replaced.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::bindings::BPF_NOEXIST;

use flowprobe_ebpf::flow::Extremes;
use flowprobe_ebpf::parse::Packet;
use flowprobe_ebpf::{FlowValue, Weight};

use crate::machine::Machine;
use crate::maps::FlowMap;
use crate::room;
use crate::scratch::Scratch;

/// `-EEXIST`: another CPU was first to insert the flow.
const EXISTS: i32 = -17;

/// How often a CPU tries again to widen [`FlowValue::extremes`] when others write the word at the same moment.
const EXTREMES_TRIES: u32 = 4;

/// Whether a packet's flow was there already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// Yes.
    There,
    /// Yes, with one packet until now.
    Young,
    /// No; now it is.
    New,
}

/// Counts `packet`, standing for `weight`, in the flow `key` of the map `flows`, whose entry in the map `ROOM` is `room`. For `scratch`
/// see [`room::admits`].
///
/// # Errors
/// Where the flow is new and finds no room: `-E2BIG` for a map that is full or has room for known flows only, else the negated
/// errno of `bpf_map_update_elem`.
#[inline(always)]
pub(crate) fn account<M: Machine, Key>(
    flows: &FlowMap<Key>,
    room: u32,
    scratch: *mut Scratch,
    key: &Key,
    packet: &Packet,
    weight: Weight,
    now: u64,
) -> Result<Found, i32> {
    if let Some(value) = flows.get_ptr_mut(key) {
        return Ok(update::<M>(value, packet, weight, now));
    }
    if M::KEEPS_ROOM && !room::admits(room, scratch, packet) {
        return Err(room::FULL);
    }
    let value = FlowValue::begin(packet, weight, now);
    match flows.insert(key, &value, BPF_NOEXIST.into()) {
        Err(EXISTS) => {
            let value = flows.get_ptr_mut(key).ok_or(EXISTS)?;
            Ok(update::<M>(value, packet, weight, now))
        }
        Err(error) => Err(error),
        Ok(()) => Ok(Found::New),
    }
}

/// Ors `facts` into those of the flow `key`.
#[inline(always)]
pub(crate) fn note<M: Machine, Key>(flows: &FlowMap<Key>, key: &Key, facts: u32) {
    if let Some(value) = flows.get_ptr_mut(key) {
        // SAFETY: as in `update`.
        unsafe { M::or(&raw mut (*value).facts, facts) };
    }
}

#[inline(always)]
fn update<M: Machine>(value: *mut FlowValue, packet: &Packet, weight: Weight, now: u64) -> Found {
    // SAFETY: `value` points to a live entry of the generation that programs write: user space deletes from a generation
    // only after a grace period in which no program can hold such a pointer. Counters are only ever added to atomically.
    unsafe {
        let found = if M::KEEPS_ROOM && (*value).packets < 2 { Found::Young } else { Found::There };
        add(&raw mut (*value).packets, weight.packets);
        add(&raw mut (*value).octets, weight.octets);
        let excess = weight.excess((*value).link_octets);
        if excess != 0 {
            add(&raw mut (*value).layer2_excess, excess);
        }
        // A race here loses less than the clock's grain.
        (*value).last_ns = now;
        let facts = &raw mut (*value).facts;
        if *facts & packet.facts != packet.facts {
            M::or(facts, packet.facts);
        }
        widen::<M>(&raw mut (*value).extremes, weight.extremes);
        found
    }
}

/// # Safety
/// `counter` points into a live map value.
#[inline(always)]
unsafe fn add(counter: *mut u64, amount: u64) {
    // SAFETY: by this function's contract. The result is unused, so this is one BPF instruction.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counter, amount) };
}

/// # Safety
/// `word` points into a live map value.
#[inline(always)]
unsafe fn widen<M: Machine>(word: *mut u64, seen: Extremes) {
    for _ in 0..EXTREMES_TRIES {
        // SAFETY: by this function's contract.
        let old = unsafe { word.read_volatile() };
        let new = Extremes::unpack(old).union(seen).pack();
        if new == old {
            return;
        }
        // SAFETY: by this function's contract.
        if unsafe { M::replace(word, old, new) } {
            return;
        }
    }
}
