//! The table of elements.

use flowprobe_ebpf::{Address, Direction, TunnelKind};

use super::{Element, Field, Group};
use crate::record::{FlowRecord, TCP};

/// The IANA registry.
const IANA: u32 = 0;

/// VMware's Private Enterprise Number, under which Open vSwitch defines elements for tunnels that IANA has none for.
const VMWARE: u32 = 6876;

/// A row that is about every record of its group.
const fn row(
    group: Group,
    (enterprise, id): (u32, u16),
    length: u16,
    name: &'static str,
    about: &'static str,
    value: fn(&FlowRecord) -> Field,
) -> Element {
    Element { name, enterprise, id, length, group, about, value, applies: always }
}

impl Element {
    /// The row, of which not every record says something.
    const fn only_if(self, applies: fn(&FlowRecord) -> bool) -> Self {
        Self { applies, ..self }
    }
}

/// All elements, in the order of the templates.
///
/// The addresses of a tunnel come before those of the flow in it: RFC 7011 section 8 has a repeated element follow the order
/// of the headers.
#[rustfmt::skip]
pub static ELEMENTS: &[Element] = &[
    row(Group::Always, (IANA, 152), 8, "flowStartMilliseconds", "First packet of the record.", |record| unsigned(record.start_us / 1000)),
    row(Group::Always, (IANA, 153), 8, "flowEndMilliseconds", "Last packet of the record.", |record| unsigned(record.end_us / 1000)),
    row(Group::Tunnel, (VMWARE, 891), 1, "tunnelType", "1 VXLAN, 2 GRE, 7 GENEVE, 0 for others.", |record| unsigned(tunnel_type(record))),
    row(Group::Tunnel, (VMWARE, 892), 4, "tunnelKey", "VXLAN or GENEVE network identifier, GRE key, ERSPAN session, GTP-U tunnel endpoint identifier; four octets.", |record| unsigned(record.tunnel.id)),
    row(Group::Tunnel, (IANA, 351), 8, "layer2SegmentId", "Of VXLAN: 1 in the first octet, the network identifier in the last three.", layer2_segment).only_if(is_vxlan),
    row(Group::OuterV4, (IANA, 8), 4, "tunnelSourceIPv4Address", "Source address of the tunnel's own header: in IPFIX the first of two sourceIPv4Address or the only one.", |record| v4(record.tunnel.source)),
    row(Group::OuterV4, (IANA, 12), 4, "tunnelDestinationIPv4Address", "Destination address of the tunnel's own header, likewise.", |record| v4(record.tunnel.destination)),
    row(Group::OuterV6, (IANA, 27), 16, "tunnelSourceIPv6Address", "The same over IPv6.", |record| v6(record.tunnel.source)),
    row(Group::OuterV6, (IANA, 28), 16, "tunnelDestinationIPv6Address", "The same over IPv6.", |record| v6(record.tunnel.destination)),
    row(Group::V4, (IANA, 8), 4, "sourceIPv4Address", "Source address of the flow.", |record| v4(record.key.source)),
    row(Group::V4, (IANA, 12), 4, "destinationIPv4Address", "Destination address of the flow.", |record| v4(record.key.destination)),
    row(Group::V6, (IANA, 27), 16, "sourceIPv6Address", "Source address of the flow.", |record| v6(record.key.source)),
    row(Group::V6, (IANA, 28), 16, "destinationIPv6Address", "Destination address of the flow.", |record| v6(record.key.destination)),
    row(Group::Always, (IANA, 7), 2, "sourceTransportPort", "Of TCP, UDP, SCTP, DCCP and UDP-Lite.", |record| unsigned(record.key.source_port)).only_if(FlowRecord::has_ports),
    row(Group::Always, (IANA, 11), 2, "destinationTransportPort", "Of TCP, UDP, SCTP, DCCP and UDP-Lite. In IPFIX it also carries type and code of ICMP, as collectors expect since NetFlow.", |record| unsigned(record.key.destination_port)).only_if(FlowRecord::has_ports),
    row(Group::Always, (IANA, 4), 1, "protocolIdentifier", "Transport protocol; of IPv6 the one after the extension headers.", |record| unsigned(record.key.protocol)),
    row(Group::Always, (IANA, 60), 1, "ipVersion", "4 or 6.", |record| unsigned(record.key.ip_version)),
    row(Group::Always, (IANA, 5), 1, "ipClassOfService", "Type of service or traffic class of the first packet.", |record| unsigned(record.tos)),
    row(Group::Always, (IANA, 6), 2, "tcpControlBits", "TCP flags of all packets, or-ed: the eight and NS.", |record| unsigned(record.tcp_flags)).only_if(|record| record.key.protocol == TCP),
    row(Group::V4, (IANA, 32), 2, "icmpTypeCodeIPv4", "Type × 256 + code.", icmp_type_code).only_if(FlowRecord::is_icmp),
    row(Group::V6, (IANA, 139), 2, "icmpTypeCodeIPv6", "Type × 256 + code.", icmp_type_code).only_if(FlowRecord::is_icmp),
    row(Group::Always, (IANA, 52), 1, "minimumTTL", "Smallest TTL or hop limit.", |record| unsigned(record.extremes.ttl_min)),
    row(Group::Always, (IANA, 53), 1, "maximumTTL", "Largest TTL or hop limit.", |record| unsigned(record.extremes.ttl_max)),
    row(Group::Always, (IANA, 25), 2, "minimumIpTotalLength", "Octets of the shortest packet, from its IP header on.", |record| unsigned(record.extremes.length_min)),
    row(Group::Always, (IANA, 26), 2, "maximumIpTotalLength", "Octets of the longest packet; 65,535 where it is longer.", |record| unsigned(record.extremes.length_max)),
    row(Group::Always, (IANA, 2), 8, "packetDeltaCount", "Packets since the flow's previous record.", |record| unsigned(record.packets)),
    row(Group::Always, (IANA, 1), 8, "octetDeltaCount", "Octets from the IP header on since the flow's previous record.", |record| unsigned(record.octets)),
    row(Group::Always, (IANA, 352), 8, "layer2OctetDeltaCount", "Octets of the whole frames, without preamble and frame check sequence.", |record| unsigned(record.layer2_octets)),
    row(Group::Always, (IANA, 10), 4, "ingressInterface", "Index of the interface where the packets came in. Of flows that were metered where they leave: with --next-hop.", |record| unsigned(interface(record, Direction::Ingress))).only_if(|record| interface(record, Direction::Ingress) != 0),
    row(Group::Always, (IANA, 14), 4, "egressInterface", "Index of the interface where the packets leave. Of flows that were metered where they came in: with --next-hop.", |record| unsigned(interface(record, Direction::Egress))).only_if(|record| interface(record, Direction::Egress) != 0),
    row(Group::NextHop, (IANA, 15), 4, "ipNextHopIPv4Address", "Next hop by the routing tables, of a tunnel that of its own header; 0.0.0.0 where the destination is on the link, the next hop is IPv6 or nothing is known.", |record| v4(next_hop(record, 4))).only_if(|record| has_next_hop(record, 4)),
    row(Group::NextHop, (IANA, 62), 16, "ipNextHopIPv6Address", "The same where it is IPv6, as it may be for IPv4 flows too (RFC 8950).", |record| v6(next_hop(record, 6))).only_if(|record| has_next_hop(record, 6)),
    row(Group::Always, (IANA, 61), 1, "flowDirection", "0 ingress, 1 egress.", |record| unsigned(record.key.direction)),
    row(Group::Always, (IANA, 58), 2, "vlanId", "Identifier of the outer VLAN tag.", |record| unsigned(record.key.vlan)).only_if(has_vlan),
    row(Group::Always, (IANA, 243), 2, "dot1qVlanId", "The same.", |record| unsigned(record.key.vlan)).only_if(has_vlan),
    row(Group::Always, (IANA, 245), 2, "dot1qCustomerVlanId", "Identifier of the second VLAN tag.", |record| unsigned(record.key.customer_vlan)).only_if(|record| record.key.customer_vlan != 0),
    row(Group::Always, (IANA, 70), 3, "mplsTopLabelStackSection", "First MPLS label stack entry of the first packet: label (20 bits), traffic class (3), bottom of stack (1); in JSON the number that they make.", |record| unsigned(record.mpls_top_label)).only_if(|record| record.mpls_top_label != 0),
    row(Group::Always, (IANA, 197), 1, "fragmentFlags", "32 (more fragments follow) where the flow held fragments.", fragment_flags).only_if(|record| record.fragmented),
    row(Group::Always, (IANA, 256), 2, "ethernetType", "EtherType of the network layer: 2048 or 34525.", |record| unsigned(record.ethertype)),
    row(Group::Always, (IANA, 56), 6, "sourceMacAddress", "Of the first packet.", |record| Field::Mac(record.source_mac)).only_if(|record| record.source_mac != [0; 6]),
    row(Group::Always, (IANA, 80), 6, "destinationMacAddress", "Of the first packet.", |record| Field::Mac(record.destination_mac)).only_if(|record| record.destination_mac != [0; 6]),
    row(Group::Sampled, (IANA, 34), 4, "samplingInterval", "Of how many packets or flows one was metered.", |record| unsigned(record.sampling.interval())),
    row(Group::SampledPackets, (IANA, 304), 2, "selectorAlgorithm", "4: uniform probabilistic (RFC 5475).", |_| unsigned(UNIFORM_PROBABILISTIC)),
    row(Group::SampledPackets, (IANA, 305), 4, "samplingPacketInterval", "1: packets chosen …", |_| unsigned(1_u32)),
    row(Group::SampledPackets, (IANA, 306), 4, "samplingPacketSpace", "… for this many that were not, on average.", |record| unsigned(record.sampling.interval() - 1)),
    row(Group::SampledPackets, (IANA, 311), 8, "samplingProbability", "The same as the probability of each packet, which is what RFC 5477 has for this algorithm.", |record| Field::Float(1.0 / f64::from(record.sampling.interval()))),
    row(Group::SampledFlows, (IANA, 390), 2, "flowSelectorAlgorithm", "4: uniform probabilistic (RFC 7014).", |_| unsigned(UNIFORM_PROBABILISTIC)),
    row(Group::SampledFlows, (IANA, 396), 4, "samplingFlowInterval", "1: flows chosen …", |_| unsigned(1_u32)),
    row(Group::SampledFlows, (IANA, 397), 4, "samplingFlowSpacing", "… for this many that were not, on average.", |record| unsigned(record.sampling.interval() - 1)),
    row(Group::Always, (IANA, 136), 1, "flowEndReason", "1 idle timeout, 2 active timeout, 3 end of flow, 4 forced end, 5 lack of resources.", |record| unsigned(record.end_reason as u8)),
];

/// Of the IANA registries "PSAMP Parameters" and "IPFIX flowSelectorAlgorithm".
const UNIFORM_PROBABILISTIC: u16 = 4;

/// The bit "more fragments" of `fragmentFlags`.
const MORE_FRAGMENTS: u8 = 0x20;

fn always(_: &FlowRecord) -> bool {
    true
}

fn unsigned(value: impl Into<u64>) -> Field {
    Field::Unsigned(value.into())
}

fn v4(address: Address) -> Field {
    Field::V4(address.to_ipv4())
}

fn v6(address: Address) -> Field {
    Field::V6(address.to_ipv6())
}

fn icmp_type_code(record: &FlowRecord) -> Field {
    unsigned(if record.is_icmp() { record.key.destination_port } else { 0 })
}

fn fragment_flags(record: &FlowRecord) -> Field {
    unsigned(if record.fragmented { MORE_FRAGMENTS } else { 0 })
}

fn has_vlan(record: &FlowRecord) -> bool {
    record.key.vlan != 0
}

/// The interface in this direction: where the flow was metered, or the other one; 0 where it is not known.
fn interface(record: &FlowRecord, direction: Direction) -> u32 {
    if record.key.direction == direction as u8 {
        record.key.ifindex
    } else {
        record.route.map_or(0, |route| route.ifindex)
    }
}

fn has_next_hop(record: &FlowRecord, ip_version: u32) -> bool {
    record.route.is_some_and(|route| route.ip_version == ip_version)
}

fn next_hop(record: &FlowRecord, ip_version: u32) -> Address {
    record.route.filter(|route| route.ip_version == ip_version).map_or(Address::default(), |route| route.next_hop)
}

fn is_vxlan(record: &FlowRecord) -> bool {
    record.tunnel.kind == TunnelKind::Vxlan as u8
}

fn layer2_segment(record: &FlowRecord) -> Field {
    /// "VxLAN" in the most significant octet of `layer2SegmentId`.
    const VXLAN: u64 = 1 << 56;
    unsigned(if is_vxlan(record) { VXLAN | u64::from(record.tunnel.id) } else { 0 })
}

/// `tunnelType` as Open vSwitch numbers it.
fn tunnel_type(record: &FlowRecord) -> u8 {
    const VXLAN: u8 = TunnelKind::Vxlan as u8;
    const GENEVE: u8 = TunnelKind::Geneve as u8;
    const GRE: u8 = TunnelKind::Gre as u8;
    const ERSPAN: u8 = TunnelKind::Erspan as u8;
    match record.tunnel.kind {
        VXLAN => 1,
        GRE | ERSPAN => 2,
        GENEVE => 7,
        _ => 0,
    }
}
