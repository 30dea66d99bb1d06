//! One frame's way through a program: seen, parsed, accounted.

use aya_ebpf::helpers::{bpf_ktime_get_coarse_ns, bpf_ktime_get_ns};

use flowprobe_ebpf::parse::{self, Origin, Packet};
use flowprobe_ebpf::{Direction, INTERFACE_PROBES, INTERFACE_SLOTS, InterfaceStats, OverflowClass, stats_index};

use crate::fragments::KernelFragments;
use crate::kernel_frame::KernelFrame;
use crate::maps::{COARSE_CLOCK, CONTROL, FLOWS_0, FLOWS_1, INTERFACES, STATS};
use crate::{account, report};

/// Counts `frame` once in `seen` and once in exactly one of: a flow, overflow, unparsed.
#[inline(always)]
pub(crate) fn meter(frame: &impl KernelFrame, ifindex: u32, direction: Direction) {
    // The generation is read once, so that a frame's `seen` and its flow fall into the same one.
    let Some(generation) = generation() else { return };
    // The daemon fills the slot before it attaches the program, and lets it stand when the interface is gone.
    let Some(slot) = slot_of(ifindex) else { return };
    let Some(stats) = STATS.get_ptr_mut(stats_index(slot, direction, generation)) else {
        return;
    };
    // SAFETY: the pointer comes from the map and was checked; the entry belongs to this CPU, and programs run with soft
    // interrupts off, so nothing else writes it.
    let stats = unsafe { &mut *stats };

    let origin = Origin { ifindex, direction, offloaded_vlan: frame.offloaded_vlan() };
    let mut packet = Packet::default();
    if let Err(reason) = parse::ethernet(frame, origin, &KernelFragments, &mut packet) {
        let (packets, octets) = (frame.packets(), frame.layer2_octets());
        stats.seen.add(packets, octets);
        if let Some(counter) = stats.unparsed.get_mut(reason as usize) {
            counter.add(packets, octets);
        }
        return;
    }
    let weight = frame.weigh(&packet);
    stats.seen.add(weight.packets, weight.layer2_octets);
    let now = now();
    // Two arms instead of one pointer to a map: the kernel can inline a lookup only where it knows which map it is.
    let outcome = if generation == 0 {
        account::account(&FLOWS_0, &packet, weight, now)
    } else {
        account::account(&FLOWS_1, &packet, weight, now)
    };
    if let Err(error) = outcome {
        overflow(stats, packet.key.protocol, weight.packets, weight.layer2_octets, ifindex, error);
    }
}

#[inline(always)]
fn overflow(stats: &mut InterfaceStats, protocol: u8, packets: u64, octets: u64, ifindex: u32, error: i32) {
    if let Some(counter) = stats.overflow.get_mut(OverflowClass::of(protocol) as usize) {
        counter.add(packets, octets);
        // Rare by construction: at the 1st, 2nd, 4th, 8th … packet of a CPU.
        if counter.packets & (counter.packets - 1) == 0 {
            report::no_room(ifindex, counter.packets, error);
        }
    }
}

#[inline(always)]
fn generation() -> Option<u32> {
    let word = CONTROL.get_ptr(0)?;
    // SAFETY: the pointer comes from the map. User space changes the word at any moment; a volatile read takes it once.
    Some(unsafe { word.read_volatile() } & 1)
}

/// The slot of an interface: its first choice nearly always.
#[inline(always)]
fn slot_of(ifindex: u32) -> Option<u32> {
    for probe in 0..INTERFACE_PROBES {
        let slot = ifindex.wrapping_add(probe) & (INTERFACE_SLOTS - 1);
        if *INTERFACES.get(slot)? == ifindex {
            return Some(slot);
        }
    }
    None
}

#[inline(always)]
fn now() -> u64 {
    if COARSE_CLOCK.load() != 0 {
        // SAFETY: helpers without arguments have no preconditions.
        unsafe { bpf_ktime_get_coarse_ns() }
    } else {
        // SAFETY: the same.
        unsafe { bpf_ktime_get_ns() }
    }
}
