//! Where a new flow's packets go, by the kernel's own routing: policy rules and VRFs included.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::bindings::{BPF_FIB_LOOKUP_OUTPUT, BPF_NOEXIST, bpf_fib_lookup as FibLookup};
use aya_ebpf::helpers::bpf_fib_lookup;

use flowprobe_ebpf::flow::with_route;
use flowprobe_ebpf::interface::MOST_ROUTES;
use flowprobe_ebpf::parse::Packet;
use flowprobe_ebpf::{Address, Direction, Route, TunnelKind, protocol};

use crate::machine::Machine;
use crate::maps::{FIND_ROUTES, FLOWS_0, FLOWS_1, ROUTE_COUNT, ROUTES, TUNNELLED_0, TUNNELLED_1};
use crate::meter::Run;
use crate::{account, forget};

/// Address families of the kernel.
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// Results of `bpf_fib_lookup` with a route: also one whose neighbour's MAC address is not known yet, and one by which the
/// packet is too long to go in one piece.
const FOUND: i64 = 0;
const NO_NEIGHBOUR: i64 = 7;
const TOO_LONG: i64 = 8;

/// Notes the route of `packet`'s flow, which is new, if routes are asked for.
#[inline(always)]
pub(crate) fn note<M: Machine>(generation: u32, packet: &Packet, run: &Run) {
    if !M::FINDS_ROUTES || FIND_ROUTES.load() == 0 {
        return;
    }
    // SAFETY: by the contract of `Run`.
    let packet = unsafe { forget::copy_of(run.scratch, packet) };
    let number = number_of(packet, run);
    if number == 0 {
        return;
    }
    let facts = with_route(0, number);
    if packet.tunnels == 0 {
        let flows = if generation == 0 { &FLOWS_0 } else { &FLOWS_1 };
        account::note::<M, _>(flows, &packet.key, facts);
    } else if M::OPENS_TUNNELS {
        // SAFETY: by the contract of `Run`. The flow was counted under the key in there.
        let key = unsafe { &(*run.scratch).tunnelled };
        let flows = if generation == 0 { &TUNNELLED_0 } else { &TUNNELLED_1 };
        account::note::<M, _>(flows, key, facts);
    }
}

/// The number of a packet's route; 0 where there is none, or no number is left.
#[inline(always)]
fn number_of(packet: &Packet, run: &Run) -> u32 {
    // The kernel routes by the header that it sees. Of tunnels within tunnels only the innermost is known.
    let (source, destination, ip_version) = match packet.tunnels {
        0 => (packet.key.source, packet.key.destination, packet.key.ip_version),
        1 => (packet.tunnel.source, packet.tunnel.destination, packet.tunnel.ip_version),
        _ => return 0,
    };
    let goes_out = packet.key.direction == Direction::Egress as u8;
    // SAFETY: by the contract of `Run`; nothing else uses these parts of the memory.
    let (lookup, route) = unsafe { (&mut (*run.scratch).lookup, &mut (*run.scratch).route) };
    *lookup = question(packet, source, destination, ip_version);
    let flags = if goes_out { BPF_FIB_LOOKUP_OUTPUT } else { 0 };
    // SAFETY: the kernel's context, and memory of the size that is named.
    let outcome = unsafe { bpf_fib_lookup(run.context, lookup, size_of::<FibLookup>() as i32, flags) };
    let found = matches!(outcome, FOUND | NO_NEIGHBOUR | TOO_LONG);
    *route = Route::default();
    if found {
        (route.next_hop, route.ip_version) = answer(lookup);
        // The kernel leaves the destination there where it is on the link.
        if route.next_hop == destination {
            route.next_hop = Address::default();
        }
        route.ifindex = lookup.ifindex;
    }
    if goes_out {
        route.ifindex = run.arrived_on;
    } else if !found {
        return 0;
    }
    number(route)
}

#[inline(always)]
fn question(packet: &Packet, source: Address, destination: Address, ip_version: u8) -> FibLookup {
    // SAFETY: integers, and unions of integers; all zero is a value of each.
    let mut lookup: FibLookup = unsafe { core::mem::zeroed() };
    lookup.ifindex = packet.key.ifindex;
    // Of a tunnel's header, protocol and ToS are not kept; its ports would not be the flow's.
    let mut tos = 0;
    if packet.tunnels == 0 {
        lookup.l4_protocol = packet.key.protocol;
        tos = packet.tos;
        if protocol::has_ports(packet.key.protocol) {
            lookup.sport = packet.key.source_port.to_be();
            lookup.dport = packet.key.destination_port.to_be();
        }
    } else {
        lookup.l4_protocol = carrier(packet);
    }
    if ip_version == 4 {
        lookup.family = AF_INET;
        lookup.__bindgen_anon_2.tos = tos;
        lookup.__bindgen_anon_3.ipv4_src = source.0[3];
        lookup.__bindgen_anon_4.ipv4_dst = destination.0[3];
    } else {
        lookup.family = AF_INET6;
        lookup.__bindgen_anon_2.flowinfo = (u32::from(tos) << 20).to_be();
        lookup.__bindgen_anon_3.ipv6_src = source.0;
        lookup.__bindgen_anon_4.ipv6_dst = destination.0;
    }
    lookup
}

/// The protocol of the header that carries the tunnel around `packet`.
#[inline(always)]
fn carrier(packet: &Packet) -> u8 {
    const GRE: u8 = TunnelKind::Gre as u8;
    const ERSPAN: u8 = TunnelKind::Erspan as u8;
    const IP_IN_IP: u8 = TunnelKind::IpInIp as u8;
    match packet.tunnel.kind {
        GRE | ERSPAN => protocol::GRE,
        IP_IN_IP if packet.key.ip_version == 4 => protocol::IPV4,
        IP_IN_IP => protocol::IPV6,
        _ => protocol::UDP,
    }
}

/// The next hop and its IP version, which for an IPv4 destination may be 6 too (RFC 8950).
#[inline(always)]
fn answer(lookup: &FibLookup) -> (Address, u32) {
    // SAFETY: both arms are integers, and the kernel has written the one that the family names.
    unsafe {
        if lookup.family == AF_INET {
            (Address::v4_mapped(lookup.__bindgen_anon_4.ipv4_dst), 4)
        } else {
            (Address(lookup.__bindgen_anon_4.ipv6_dst), 6)
        }
    }
}

/// The number of a route: a new one for a new route, 0 when all are given out.
#[inline(always)]
fn number(route: &Route) -> u32 {
    if let Some(number) = ROUTES.get_ptr(route) {
        // SAFETY: the pointer comes from the map; entries are never changed or removed.
        return unsafe { *number };
    }
    let Some(count) = ROUTE_COUNT.get_ptr_mut(0) else { return 0 };
    // SAFETY: the pointer comes from the map. A look before the addition keeps the count from running on for ever.
    if unsafe { count.read_volatile() } >= MOST_ROUTES {
        return 0;
    }
    // Not relaxed: of a relaxed addition whose result is used LLVM may drop the result.
    // SAFETY: the pointer comes from the map; other CPUs add to the word in the same way.
    let number = unsafe { atomic_xadd::<u32, u32, { AtomicOrdering::SeqCst }>(count, 1) } + 1;
    if number > MOST_ROUTES {
        return 0;
    }
    if ROUTES.insert(route, &number, BPF_NOEXIST.into()).is_ok() {
        return number;
    }
    // Another CPU was first. Its number is the route's; this one stays unused.
    match ROUTES.get_ptr(route) {
        // SAFETY: as above.
        Some(number) => unsafe { *number },
        None => 0,
    }
}
