//! Where packets go whose flow has found no room: to which hosts, and beyond so many of them to which networks.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::bindings::BPF_NOEXIST;

use flowprobe_ebpf::parse::Packet;
use flowprobe_ebpf::{Counter, OverflowKey, Weight};

use crate::forget::copy_of;
use crate::maps::{OVER_HOSTS_0, OVER_HOSTS_1, OVER_NETS_0, OVER_NETS_1, OverflowMap, SCRATCH};
use crate::scratch::Scratch;

/// Counts what `packet` stands for by its destination. `scratch` points to a value of the map `SCRATCH`; the packet may be the
/// one in there.
#[inline(always)]
pub(crate) fn count(generation: u32, scratch: *mut Scratch, packet: &Packet, weight: Weight) {
    // SAFETY: by this function's contract.
    unsafe { copy_of(scratch, packet) };
    overflow_on_scratch(generation, weight.packets, weight.layer2_octets);
}

/// The same for the packet in the map `SCRATCH`. Global, so that the kernel verifies it once and by itself (see `select`).
/// The result says nothing; such a function has one.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn overflow_on_scratch(generation: u32, packets: u64, octets: u64) -> u32 {
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else { return 0 };
    // SAFETY: the pointer comes from the map; while a program runs, nothing else on this CPU writes there.
    let (key, more, packet) = unsafe { (&mut (*scratch).overflow, &mut (*scratch).more, &(*scratch).packet.key) };
    *more = Counter { packets, octets };
    *key = OverflowKey::host(packet);
    let hosts = if generation == 0 { &OVER_HOSTS_0 } else { &OVER_HOSTS_1 };
    if !add(hosts, key, more) {
        *key = OverflowKey::net(packet);
        let nets = if generation == 0 { &OVER_NETS_0 } else { &OVER_NETS_1 };
        add(nets, key, more);
    }
    0
}

/// Whether there was room for it.
#[inline(always)]
fn add(map: &OverflowMap, key: &OverflowKey, more: &Counter) -> bool {
    if map.get_ptr(key).is_none() && map.insert(key, more, BPF_NOEXIST.into()).is_ok() {
        return true;
    }
    // It was there, or another CPU was first, or there is no room.
    let Some(counter) = map.get_ptr_mut(key) else { return false };
    // SAFETY: the pointer comes from the map: a live entry of the generation that programs write, to which all CPUs only add.
    let (packets, octets) = unsafe { (&raw mut (*counter).packets, &raw mut (*counter).octets) };
    // SAFETY: as above. The results are unused, so each is one BPF instruction.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(packets, more.packets) };
    // SAFETY: as above.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(octets, more.octets) };
    true
}
