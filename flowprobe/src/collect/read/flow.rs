//! Makes of the values of a record a `FlowRecord`, or the two of a biflow.

use std::num::TryFromIntError;

use flowprobe_ebpf::flow::Extremes;
use flowprobe_ebpf::{Address, Direction, FlowKey, Route, Tunnel};

use super::times::{Clock, Times};
use super::values::{Place, Side, Slot, Values, Wide, side_of};
use super::{Context, sampling};
use crate::collect::received::Own;
use crate::record::{EndReason, FlowRecord, ICMP, ICMPV6, Role, TCP, UDP};

/// What was made of a record.
pub(super) struct Outcome {
    pub(super) forward: FlowRecord,
    /// The answers, where there were any.
    pub(super) reverse: Option<FlowRecord>,
    pub(super) times: Times,
    pub(super) reverse_times: Option<Times>,
    /// Whether the sampler that the record names told how its packets were chosen.
    pub(super) by_sampler: bool,
}

/// Which of several values that a template has is the one that counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chosen {
    forward: Counts,
    reverse: Counts,
    ingress: Slot,
    egress: Slot,
    has_v4: bool,
    has_v6: bool,
    /// Whether records name a sampler or selector.
    pub(super) names_sampler: bool,
    /// Whether there are values about answers.
    pub(super) has_reverse: bool,
    /// Whether there is a type of ICMP by itself: 0 is an echo reply then, not a value that is missing.
    has_icmp_type: bool,
    /// What of a `FlowRecord` the records say.
    pub(super) own: Own,
}

/// The values of one direction that count.
#[derive(Clone, Copy, Debug)]
struct Counts {
    octets: Slot,
    packets: Slot,
    layer2_octets: Slot,
    /// Whether there are the uptimes of both beginning and end: 0 is the boot then, not a value that is missing.
    has_uptimes: bool,
}

impl Chosen {
    /// For a template in which there are these places.
    pub(super) fn of(places: &[(Side, Place)]) -> Self {
        let has = |side, place| places.contains(&(side, place));
        let first = |side, slots: &[Slot]| {
            slots.iter().copied().find(|&slot| has(side, Place::Unsigned(slot))).unwrap_or(Slot::Nothing)
        };
        let counts = |side| Counts {
            octets: first(side, &[Slot::Octets, Slot::OctetsTotal, Slot::InitiatorOctets, Slot::PostOctets]),
            packets: first(side, &[Slot::Packets, Slot::PacketsTotal, Slot::InitiatorPackets, Slot::PostPackets]),
            layer2_octets: first(side, &[Slot::Layer2Octets, Slot::Layer2OctetsTotal]),
            has_uptimes: [Slot::StartUptime, Slot::EndUptime].iter().all(|&slot| has(side, Place::Unsigned(slot))),
        };
        let own = Own::of(|enterprise, id| {
            let side = side_of(enterprise);
            let counts = counts(side);
            let is_any = |slots: &[Slot]| first(side, slots) != Slot::Nothing;
            match id {
                1 => counts.octets != Slot::Nothing,
                2 => counts.packets != Slot::Nothing,
                352 => counts.layer2_octets != Slot::Nothing,
                4 => is_any(&[Slot::Protocol]),
                5 => is_any(&[Slot::Tos]),
                61 => is_any(&[Slot::Direction]),
                25 | 26 => is_any(&[Slot::LengthMin, Slot::LengthMax]),
                52 | 53 => is_any(&[Slot::TtlMin, Slot::TtlMax, Slot::Ttl]),
                _ => true,
            }
        });
        let has_any = |places: [Place; 2]| places.into_iter().any(|place| has(Side::Forward, place));
        Self {
            forward: counts(Side::Forward),
            reverse: counts(Side::Reverse),
            ingress: first(Side::Forward, &[Slot::Ingress, Slot::PhysicalIngress]),
            egress: first(Side::Forward, &[Slot::Egress, Slot::PhysicalEgress]),
            has_v4: has_any([Place::Unsigned(Slot::SourceV4), Place::Unsigned(Slot::DestinationV4)]),
            has_v6: has_any([Place::Wide(Wide::Source), Place::Wide(Wide::Destination)]),
            names_sampler: has_any([Place::Unsigned(Slot::Sampler), Place::Unsigned(Slot::Selector)]),
            has_reverse: places.iter().any(|&(side, _)| side == Side::Reverse),
            has_icmp_type: has_any([Place::Unsigned(Slot::IcmpType), Place::Unsigned(Slot::IcmpV6Type)]),
            own,
        }
    }

    /// The version of IP: of the addresses, where a template has both by what the record says or by which are not zero; 0 where
    /// there are none.
    fn ip_version(&self, values: &Values) -> u8 {
        let said = values.get(Slot::IpVersion);
        match (self.has_v4, self.has_v6) {
            (true, false) => 4,
            (false, true) => 6,
            _ if said == 4 => 4,
            _ if said == 6 => 6,
            (true, true) if values.first(&[Slot::SourceV4, Slot::DestinationV4]).1 != 0 => 4,
            (true, true) if values.wide(Wide::Source) | values.wide(Wide::Destination) != 0 => 6,
            _ => 0,
        }
    }
}

impl Outcome {
    /// What these values make: of the flow, and of the answers where the template has such.
    pub(super) fn of(chosen: &Chosen, values: &Values, answers: Option<&Values>, context: &Context<'_>) -> Self {
        let clock = Clock::of(values, context);
        let times = Times::of(values, chosen.forward.has_uptimes, &clock);
        let (key, route) = key(chosen, values);
        let interfaces = [key.ifindex, route.map_or(0, |route| route.ifindex)];
        let (rate, by_sampler) = sampling::of_record(values, chosen.names_sampler, interfaces, context);
        let mut forward = FlowRecord {
            key,
            tunnel: Tunnel::NONE,
            packets: 0,
            octets: 0,
            layer2_octets: 0,
            start_us: times.start_us,
            end_us: times.end_us,
            extremes: Extremes::of(0, 0),
            tcp_flags: 0,
            fragmented: false,
            ethertype: ethertype(values, key.ip_version),
            tos: 0,
            mpls_top_label: 0,
            source_mac: [0; 6],
            destination_mac: [0; 6],
            route,
            source_as: fit(values.get(Slot::SourceAs), u32::MAX),
            destination_as: fit(values.get(Slot::DestinationAs), u32::MAX),
            sampling: rate,
            end_reason: EndReason::Unsaid,
            role: Role::Single,
        };
        describe(&mut forward, chosen.forward, values);
        forward.end_reason = end_reason(values);
        let (reverse, reverse_times) = match answers.map(|answers| reverse(&forward, chosen, answers, times, &clock)) {
            Some((reverse, times)) if reverse.packets | reverse.octets != 0 => {
                forward.role = Role::Forward;
                (Some(reverse), Some(times))
            }
            _ => (None, None),
        };
        Self { forward, reverse, times, reverse_times, by_sampler }
    }
}

/// What makes the flow; and the interface on the other side and the next hop, where either is known.
fn key(chosen: &Chosen, values: &Values) -> (FlowKey, Option<Route>) {
    let ip_version = chosen.ip_version(values);
    let [source, destination] = match ip_version {
        4 => [Slot::SourceV4, Slot::DestinationV4].map(|slot| v4(values.get(slot))),
        6 => [Wide::Source, Wide::Destination].map(|wide| v6(values.wide(wide))),
        _ => [Address::default(); 2],
    };
    let protocol = fit(values.get(Slot::Protocol), u8::MAX);
    let [source_port, destination_port] = ports(protocol, values, chosen.has_icmp_type);
    let is_egress = values.get(Slot::Direction) == u64::from(Direction::Egress as u8);
    let [ingress, egress] = [chosen.ingress, chosen.egress].map(|slot| fit(values.get(slot), u32::MAX));
    let (direction, ifindex, other) =
        if is_egress { (Direction::Egress, egress, ingress) } else { (Direction::Ingress, ingress, egress) };
    let key = FlowKey {
        source,
        destination,
        ifindex,
        source_port,
        destination_port,
        vlan: fit(values.first(&[Slot::Vlan, Slot::Dot1qVlan]).1, u16::MAX),
        customer_vlan: fit(values.get(Slot::CustomerVlan), u16::MAX),
        protocol,
        ip_version,
        direction: direction as u8,
        padding: 0,
    };
    (key, route(values, ip_version, other))
}

/// The interface on the other side, and the next hop: where there are two, the one of the flow's own version of IP.
fn route(values: &Values, ip_version: u8, ifindex: u32) -> Option<Route> {
    let (hop_v4, hop_v6) = (values.get(Slot::NextHopV4), values.wide(Wide::NextHop));
    let (next_hop, ip_version) = match (hop_v4, hop_v6) {
        (0, 0) => (Address::default(), 0),
        (0, _) => (v6(hop_v6), 6),
        (_, 0) => (v4(hop_v4), 4),
        _ if ip_version == 6 => (v6(hop_v6), 6),
        _ => (v4(hop_v4), 4),
    };
    (ifindex != 0 || ip_version != 0).then_some(Route { next_hop, ifindex, ip_version })
}

/// Both ports. That of the destination is the type and code of ICMP, which exporters say in several ways or there.
fn ports(protocol: u8, values: &Values, has_icmp_type: bool) -> [u16; 2] {
    let [of_source, of_destination] = match protocol {
        TCP => [Slot::TcpSourcePort, Slot::TcpDestinationPort],
        UDP => [Slot::UdpSourcePort, Slot::UdpDestinationPort],
        _ => [Slot::Nothing; 2],
    };
    let (_, mut source) = values.first(&[Slot::SourcePort, of_source]);
    let (_, mut destination) = values.first(&[Slot::DestinationPort, of_destination]);
    if matches!(protocol, ICMP | ICMPV6) {
        match type_and_code(protocol, values) {
            Some(said) => destination = said,
            // What stands for a port is the identifier of the echo.
            None if has_icmp_type => destination = 0,
            // fprobe's way: the type in the one and the code in the other.
            None if (1..=255).contains(&source) && destination <= 255 => {
                (source, destination) = (0, source * 256 + destination);
            }
            None => {}
        }
    }
    [source, destination].map(|port| fit(port, u16::MAX))
}

/// Type × 256 + code of ICMP or ICMPv6, where an element of its own says what is not 0. NetFlow v9 has one for both.
fn type_and_code(protocol: u8, values: &Values) -> Option<u64> {
    let pair = |of_type, code| values.get(of_type).saturating_mul(256).saturating_add(values.get(code));
    let of_v4 = [values.get(Slot::Icmp), pair(Slot::IcmpType, Slot::IcmpCode)];
    let of_v6 = [values.get(Slot::IcmpV6), pair(Slot::IcmpV6Type, Slot::IcmpV6Code)];
    let [first, second] = if protocol == ICMPV6 { [of_v6, of_v4] } else { [of_v4, of_v6] };
    first.into_iter().chain(second).find(|&said| said != 0)
}

/// Puts into a record what its own direction's values say beyond key and times.
fn describe(record: &mut FlowRecord, counts: Counts, values: &Values) {
    record.octets = values.get(counts.octets);
    record.packets = values.get(counts.packets);
    record.layer2_octets = values.get(counts.layer2_octets);
    let smallest_and_largest = |least, most| {
        let (least, most) = (values.get(least), values.get(most));
        (if least == 0 { most } else { least }, if most == 0 { least } else { most })
    };
    let (length_min, length_max) = smallest_and_largest(Slot::LengthMin, Slot::LengthMax);
    let (ttl_min, ttl_max) = match smallest_and_largest(Slot::TtlMin, Slot::TtlMax) {
        (0, 0) => (values.get(Slot::Ttl), values.get(Slot::Ttl)),
        said => said,
    };
    record.extremes = Extremes {
        length_min: fit(length_min, u16::MAX),
        length_max: fit(length_max, u16::MAX),
        ttl_min: fit(ttl_min, u8::MAX),
        ttl_max: fit(ttl_max, u8::MAX),
    };
    record.tcp_flags = if record.key.protocol == TCP { fit(values.get(Slot::TcpFlags), u16::MAX) } else { 0 };
    /// "More fragments" in `fragmentFlags`.
    const MORE_FRAGMENTS: u64 = 0x20;
    record.fragmented = values.get(Slot::FragmentFlags) & MORE_FRAGMENTS != 0 || values.get(Slot::FragmentOffset) != 0;
    record.tos = fit(values.get(Slot::Tos), u8::MAX);
    record.mpls_top_label = fit(values.get(Slot::MplsTopLabel), u32::MAX);
    record.source_mac = mac(values.get(Slot::SourceMac));
    record.destination_mac = mac(values.get(Slot::DestinationMac));
}

/// The record of the answers: the key turned round, but for VLANs that the answers have of their own. Of ICMP it keeps type and
/// code where the exporter does not say those of the answers.
fn reverse(forward: &FlowRecord, chosen: &Chosen, values: &Values, times: Times, clock: &Clock) -> (FlowRecord, Times) {
    let times = Times::of_answers(values, chosen.reverse.has_uptimes, times, clock);
    let key = forward.key;
    let is_icmp = forward.is_icmp();
    let own = |slots: &[Slot], other: u16| match values.first(slots) {
        (Slot::Nothing, _) => other,
        (_, said) => fit(said, u16::MAX),
    };
    let mut record = *forward;
    record.key = FlowKey {
        source: key.destination,
        destination: key.source,
        source_port: if is_icmp { key.source_port } else { key.destination_port },
        destination_port: if is_icmp { key.destination_port } else { key.source_port },
        ifindex: forward.route.map_or(0, |route| route.ifindex),
        vlan: own(&[Slot::Vlan, Slot::Dot1qVlan], key.vlan),
        customer_vlan: own(&[Slot::CustomerVlan], key.customer_vlan),
        ..key
    };
    if is_icmp && let Some(said) = type_and_code(key.protocol, values) {
        record.key.destination_port = fit(said, u16::MAX);
    }
    let back = Route { next_hop: Address::default(), ifindex: key.ifindex, ip_version: 0 };
    record.route = (key.ifindex != 0).then_some(back);
    (record.source_as, record.destination_as) = (forward.destination_as, forward.source_as);
    (record.start_us, record.end_us) = (times.start_us, times.end_us);
    record.role = Role::Reverse;
    describe(&mut record, chosen.reverse, values);
    (record, times)
}

/// What the record says; else what the version of IP means; 0 without one.
fn ethertype(values: &Values, ip_version: u8) -> u16 {
    match (values.get(Slot::Ethertype), ip_version) {
        (0, 4) => 0x0800,
        (0, 6) => 0x86dd,
        (said, _) => fit(said, u16::MAX),
    }
}

/// Why the record left its exporter, as it says, or as a firewall's events tell whether the flow goes on.
fn end_reason(values: &Values) -> EndReason {
    /// `firewallEvent`: flow created, deleted, updated.
    const CREATED: u64 = 1;
    const DELETED: u64 = 2;
    const UPDATED: u64 = 5;
    match (values.get(Slot::EndReason), values.get(Slot::FirewallEvent)) {
        (1, _) => EndReason::IdleTimeout,
        (2, _) => EndReason::ActiveTimeout,
        (3, _) => EndReason::EndOfFlow,
        (4, _) => EndReason::ForcedEnd,
        (5, _) => EndReason::LackOfResources,
        (_, CREATED | UPDATED) => EndReason::ActiveTimeout,
        (_, DELETED) => EndReason::EndOfFlow,
        _ => EndReason::Unsaid,
    }
}

/// A number in as many bits as there are for it; the largest where it is larger.
fn fit<Number: TryFrom<u64, Error = TryFromIntError>>(number: u64, largest: Number) -> Number {
    number.try_into().unwrap_or(largest)
}

fn v4(number: u64) -> Address {
    std::net::Ipv4Addr::from_bits(fit(number, u32::MAX)).into()
}

fn v6(number: u128) -> Address {
    std::net::Ipv6Addr::from_bits(number).into()
}

/// The address in the last six octets.
fn mac(number: u64) -> [u8; 6] {
    let [_, _, mac @ ..] = number.to_be_bytes();
    mac
}
