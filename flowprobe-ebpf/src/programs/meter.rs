//! One frame's way through a program: seen, parsed, selected, accounted.

use core::ffi::c_void;

use aya_ebpf::helpers::{bpf_ktime_get_coarse_ns, bpf_ktime_get_ns};

use flowprobe_ebpf::parse::{self, Layer, Origin, Packet, Unparsed, by_version};
use flowprobe_ebpf::room::room_index;
use flowprobe_ebpf::selection::Verdict;
use flowprobe_ebpf::{
    Direction, INTERFACE_PROBES, INTERFACE_SLOTS, InterfaceSlot, InterfaceStats, LinkLayer, OverflowClass,
    TunnelledKey, Tunnels, Weight, stats_index,
};

use crate::account::Found;
use crate::fragments::KernelFragments;
use crate::kernel_frame::KernelFrame;
use crate::machine::Machine;
use crate::maps::{
    COARSE_CLOCK, CONTROL, FLOWS_0, FLOWS_1, INTERFACES, OPENED_TUNNELS, STATS, TUNNELLED_0, TUNNELLED_1,
};
use crate::scratch::Scratch;
use crate::{account, overflow, report, room, route, select};

/// One run of a program.
pub(crate) struct Run {
    /// What the kernel handed to it.
    pub(crate) context: *mut c_void,
    /// Points to a value of the map `SCRATCH`.
    pub(crate) scratch: *mut Scratch,
    /// The interface at which it runs.
    pub(crate) ifindex: u32,
    /// Of a frame that goes out: the interface by which it came in, 0 where it is the host's own.
    pub(crate) arrived_on: u32,
    /// Which way the frame passes.
    pub(crate) direction: Direction,
}

/// Counts `frame` once in `seen` and once in exactly one of: a flow, overflow, unparsed, filtered out, sampled out.
#[inline(always)]
pub(crate) fn meter<M: Machine>(frame: &impl KernelFrame, run: &Run) {
    // The generation is read once, so that a frame's `seen` and its flow fall into the same one.
    let Some(generation) = generation() else { return };
    // The daemon fills the slot before it attaches the program, and lets it stand when the interface is gone.
    let Some((slot, link)) = slot_of(run.ifindex) else { return };
    let Some(stats) = STATS.get_ptr_mut(stats_index(slot, run.direction, generation)) else {
        return;
    };
    // SAFETY: the pointer comes from the map and was checked; the entry belongs to this CPU, and programs run with soft
    // interrupts off, so nothing else writes it.
    let stats = unsafe { &mut *stats };
    let place = Place { generation, link };
    if M::OPENS_TUNNELS {
        // SAFETY: by the contract of `Run`; nothing else uses this part of the memory.
        let packet = unsafe { &mut (*run.scratch).packet };
        *packet = Packet::default();
        let opened = Tunnels(OPENED_TUNNELS.load());
        read_and_count::<M>(frame, run, place, stats, opened, packet);
    } else {
        read_and_count::<M>(frame, run, place, stats, Tunnels::NONE, &mut Packet::default());
    }
}

/// Where a frame was met, and when.
#[derive(Clone, Copy)]
struct Place {
    generation: u32,
    link: u32,
}

#[inline(always)]
fn read_and_count<M: Machine>(
    frame: &impl KernelFrame,
    run: &Run,
    place: Place,
    stats: &mut InterfaceStats,
    opened: Tunnels,
    packet: &mut Packet,
) {
    if let Err(reason) = read(frame, run, place.link, opened, packet) {
        let (packets, octets) = (frame.packets(), frame.layer2_octets());
        stats.seen.add(packets, octets);
        if let Some(counter) = stats.unparsed.get_mut(reason as usize) {
            counter.add(packets, octets);
        }
        return;
    }
    let weight = frame.weigh(packet);
    stats.seen.add(weight.packets, weight.layer2_octets);
    match select::verdict(place.generation, run.scratch, packet, weight.layer2_octets) {
        Verdict::Metered => {}
        Verdict::FilteredOut => {
            stats.filtered_out.add(weight.packets, weight.layer2_octets);
            return;
        }
        Verdict::SampledOut => {
            stats.sampled_out.add(weight.packets, weight.layer2_octets);
            return;
        }
    }
    match count::<M>(place.generation, packet, weight, run) {
        Ok(Found::There) => {}
        Ok(Found::Young) => room::mark(run.scratch, packet),
        Ok(Found::New) => {
            room::entered(room_index(place.generation, M::OPENS_TUNNELS && packet.tunnels != 0));
            if M::KEEPS_ROOM && weight.packets > 1 {
                room::mark(run.scratch, packet);
            }
            // Last of all: by now the verifier has nothing else to remember.
            route::note::<M>(place.generation, packet, run);
        }
        Err(error) => {
            no_room(stats, packet.key.protocol, weight.packets, weight.layer2_octets, run.ifindex, error);
            overflow::count(place.generation, run.scratch, packet, weight);
        }
    }
}

#[inline(always)]
fn read(frame: &impl KernelFrame, run: &Run, link: u32, opened: Tunnels, packet: &mut Packet) -> Result<(), Unparsed> {
    let origin = Origin { ifindex: run.ifindex, direction: run.direction, offloaded_vlan: frame.offloaded_vlan() };
    let begin = if link == LinkLayer::Ip as u32 {
        Layer { ethertype: by_version(frame, 0)?, offset: 0 }
    } else {
        parse::after_ethernet(frame, packet)?
    };
    parse::network(frame, begin, origin, opened, &KernelFragments, packet)
}

/// Counts the packet in its flow.
#[inline(always)]
fn count<M: Machine>(generation: u32, packet: &Packet, weight: Weight, run: &Run) -> Result<Found, i32> {
    let now = now();
    // One arm for each map instead of a pointer to a map: the kernel can inline a lookup only where it knows which it is.
    if !M::OPENS_TUNNELS || packet.tunnels == 0 {
        return if generation == 0 {
            account::account::<M, _>(&FLOWS_0, room_index(0, false), run.scratch, &packet.key, packet, weight, now)
        } else {
            account::account::<M, _>(&FLOWS_1, room_index(1, false), run.scratch, &packet.key, packet, weight, now)
        };
    }
    // SAFETY: by the contract of `Run`; nothing else uses this part of it.
    let key = unsafe { &mut (*run.scratch).tunnelled };
    *key = TunnelledKey { flow: packet.key, tunnel: packet.tunnel };
    if generation == 0 {
        account::account::<M, _>(&TUNNELLED_0, room_index(0, true), run.scratch, key, packet, weight, now)
    } else {
        account::account::<M, _>(&TUNNELLED_1, room_index(1, true), run.scratch, key, packet, weight, now)
    }
}

#[inline(always)]
fn no_room(stats: &mut InterfaceStats, protocol: u8, packets: u64, octets: u64, ifindex: u32, error: i32) {
    if let Some(counter) = stats.overflow.get_mut(OverflowClass::of(protocol) as usize) {
        counter.add(packets, octets);
        // Rare by construction: at the 1st, 2nd, 4th, 8th … packet of a CPU.
        if error != room::FULL && counter.packets & (counter.packets - 1) == 0 {
            report::refused(ifindex, counter.packets, error);
        }
    }
}

#[inline(always)]
fn generation() -> Option<u32> {
    let word = CONTROL.get_ptr(0)?;
    // SAFETY: the pointer comes from the map. User space changes the word at any moment; a volatile read takes it once.
    Some(unsafe { word.read_volatile() } & 1)
}

/// The slot of an interface, its first choice nearly always, and its [`LinkLayer`].
#[inline(always)]
fn slot_of(ifindex: u32) -> Option<(u32, u32)> {
    for probe in 0..INTERFACE_PROBES {
        let slot = ifindex.wrapping_add(probe) & (INTERFACE_SLOTS - 1);
        let InterfaceSlot { ifindex: holder, link } = *INTERFACES.get(slot)?;
        if holder == ifindex {
            return Some((slot, link));
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
