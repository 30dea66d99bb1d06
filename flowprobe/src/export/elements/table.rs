//! The table of elements.

use std::hint::cold_path;

use flowprobe_ebpf::{Address, Direction, TunnelKind};

use super::{DataType, Element, Field, Group, Place, Unit};
use crate::record::{EndReason, FlowRecord, SamplingRate, TCP, UDP};

/// The IANA registry.
const IANA: u32 = 0;

/// VMware's Private Enterprise Number, under which Open vSwitch defines elements for tunnels that IANA has none for.
const VMWARE: u32 = 6876;

/// The Private Enterprise Number of reverse elements (RFC 5103 section 6.1).
pub(super) const REVERSE: u32 = 29_305;

/// Makes of the rows the table, and the code that writes the values of all of them one after the other ([`super::places`]).
/// A row: group, place, (enterprise, id), type in the registry, octets on the wire, unit, name, what it says, the value, and of
/// which records it says something.
macro_rules! elements {
    ($($group:ident, $place:ident, ($enterprise:expr, $id:literal), $data_type:ident, $length:literal, $unit:ident,
       $name:literal, $about:literal, |$record:ident| $value:expr, $applies:expr;)*) => {
        /// All elements, in the order of the templates.
        ///
        /// The addresses of a tunnel come before those of the flow in it: RFC 7011 section 8 has a repeated element follow the
        /// order of the headers.
        pub static ELEMENTS: &[Element] = &[$(Element {
            name: $name,
            enterprise: $enterprise,
            id: $id,
            data_type: DataType::$data_type,
            length: $length,
            unit: Unit::$unit,
            group: Group::$group,
            place: Place::$place,
            about: $about,
            value: |$record| $value,
            applies: $applies,
        }),*];

        /// Rows of the table.
        pub(super) const ROWS: usize = [$($id),*].len();

        /// Writes into `out` the values that the elements of a part have for `record`, each at its place there, if it has one.
        #[inline(always)]
        pub(super) fn write<const PART: u8>(record: &FlowRecord, places: &[u16; ROWS], out: &mut [u8]) {
            let mut row = 0;
            $(
                if part(Group::$group, Place::$place, $id) as u8 == PART {
                    let $record = record;
                    let start = usize::from(places[row]);
                    match out.get_mut(start..start + $length) {
                        Some(place) => put(place, $value),
                        None => cold_path(),
                    }
                }
                row += 1;
            )*
            debug_assert_eq!(row, ROWS, "every row has its place");
        }

        /// Octets of a run.
        pub(super) const fn run_length(run: u8) -> u16 {
            0 $(+ if is_in_run(run, Group::$group, Place::$place, $id) { usual_length($id, $length) } else { 0 })*
        }

        /// Writes the values of a run to `out`, which is as long.
        #[inline(always)]
        pub(super) fn write_run<const RUN: u8>(record: &FlowRecord, out: &mut [u8]) {
            let mut at = 0;
            $(
                if is_in_run(RUN, Group::$group, Place::$place, $id) {
                    let $record = record;
                    let end = at + usize::from(usual_length($id, $length));
                    put(&mut out[at..end], $value);
                    at = end;
                }
            )*
            debug_assert_eq!(at, out.len(), "a run has its length");
        }
    };
}

/// Elements that are written together, so that a record without those of a part need not ask for each whether it has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Part {
    /// What depends on IP version and format.
    Kind,
    /// What nearly every record has besides.
    Always,
    /// What is asked for.
    Rare,
    /// The other direction of a biflow.
    Reverse,
    /// The same, what depends on the IP version.
    ReverseKind,
}

/// In which part an element is.
pub(super) const fn part(group: Group, place: Place, id: u16) -> Part {
    match (group, place) {
        (Group::V4 | Group::V6 | Group::Biflow, Place::Standard) => Part::Kind,
        (Group::Always, Place::Standard) => Part::Always,
        (Group::Reverse, _) => Part::Reverse,
        (Group::ReverseV4 | Group::ReverseV6, _) => Part::ReverseKind,
        // What NetFlow v9 says instead of standard elements.
        (_, Place::Asked) if matches!(id, 21 | 22 | 32) => Part::Kind,
        _ => Part::Rare,
    }
}

/// Elements that most layouts have one after the other, in the order of the table and in their usual lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Run {
    /// In IPFIX.
    Ipfix,
    /// In NetFlow v9.
    NetFlow9,
    /// Of the other direction of a biflow.
    Reverse,
}

/// Whether an element is in a run.
pub(super) const fn is_in_run(run: u8, group: Group, place: Place, id: u16) -> bool {
    const IPFIX: u8 = Run::Ipfix as u8;
    const NETFLOW9: u8 = Run::NetFlow9 as u8;
    match part(group, place, id) {
        Part::Always => run == IPFIX || (run == NETFLOW9 && id <= LAST_OF_NETFLOW9),
        Part::Reverse => run == Run::Reverse as u8,
        _ => false,
    }
}

/// The largest ElementID that NetFlow v9 and IPFIX share by design (RFC 5102 section 2.1 on compatibility).
pub(super) const LAST_OF_NETFLOW9: u16 = 127;

/// Octets on the wire where they were not asked for by name. Of the TCP flags the eight that everybody knows are one octet, as in
/// RFC 3954 and as RFC 7125 has it for whoever sees no others: there are collectors that read two as none.
pub(super) const fn usual_length(id: u16, length: u16) -> u16 {
    if id == TCP_CONTROL_BITS { 1 } else { length }
}

/// `tcpControlBits`, and under another enterprise number that of the other direction.
const TCP_CONTROL_BITS: u16 = 6;

/// Writes a value in as many octets as `place` has.
#[inline(always)]
pub(super) fn put(place: &mut [u8], value: Field) {
    match value {
        Field::Unsigned(number) => place.copy_from_slice(&number.to_be_bytes()[8 - place.len()..]),
        Field::Float(number) => place.copy_from_slice(&number.to_be_bytes()),
        Field::V4(address) => place.copy_from_slice(&address.octets()),
        Field::V6(address) => place.copy_from_slice(&address.octets()),
        Field::Mac(address) => place.copy_from_slice(&address),
    }
}

#[rustfmt::skip]
elements! {
    // Tunnels.
    Tunnel, Standard, (VMWARE, 891), Unsigned8, 1, None, "tunnelType", "1 VXLAN, 2 GRE, 7 GENEVE, 0 for others.", |record| unsigned(tunnel_type(record)), always;
    Tunnel, Standard, (VMWARE, 892), OctetArray, 4, None, "tunnelKey", "VXLAN or GENEVE network identifier, GRE key, ERSPAN session, GTP-U tunnel endpoint identifier; four octets.", |record| unsigned(record.tunnel.id), always;
    Tunnel, Standard, (IANA, 351), Unsigned64, 8, None, "layer2SegmentId", "Of VXLAN: 1 in the first octet, the network identifier in the last three.", |record| layer2_segment(record), is_vxlan;
    OuterV4, Standard, (IANA, 8), Ipv4Address, 4, None, "tunnelSourceIPv4Address", "Source address of the tunnel's own header: in IPFIX the first of two sourceIPv4Address or the only one.", |record| v4(record.tunnel.source), always;
    OuterV4, Standard, (IANA, 12), Ipv4Address, 4, None, "tunnelDestinationIPv4Address", "Destination address of the tunnel's own header, likewise.", |record| v4(record.tunnel.destination), always;
    OuterV6, Standard, (IANA, 27), Ipv6Address, 16, None, "tunnelSourceIPv6Address", "The same over IPv6.", |record| v6(record.tunnel.source), always;
    OuterV6, Standard, (IANA, 28), Ipv6Address, 16, None, "tunnelDestinationIPv6Address", "The same over IPv6.", |record| v6(record.tunnel.destination), always;

    // What nearly every record has, so that the values of an IPv4 flow lie side by side.
    V6, Standard, (IANA, 27), Ipv6Address, 16, None, "sourceIPv6Address", "Source address of the flow.", |record| v6(record.key.source), always;
    V6, Standard, (IANA, 28), Ipv6Address, 16, None, "destinationIPv6Address", "Destination address of the flow.", |record| v6(record.key.destination), always;
    V6, Standard, (IANA, 139), Unsigned16, 2, None, "icmpTypeCodeIPv6", "Type × 256 + code.", |record| icmp_type_code(record), FlowRecord::is_icmp;
    V4, Standard, (IANA, 8), Ipv4Address, 4, None, "sourceIPv4Address", "Source address of the flow.", |record| v4(record.key.source), |record| record.key.ip_version != 0;
    V4, Standard, (IANA, 12), Ipv4Address, 4, None, "destinationIPv4Address", "Destination address of the flow.", |record| v4(record.key.destination), |record| record.key.ip_version != 0;
    V4, Standard, (IANA, 32), Unsigned16, 2, None, "icmpTypeCodeIPv4", "Type × 256 + code.", |record| icmp_type_code(record), FlowRecord::is_icmp;
    Always, Standard, (IANA, 152), DateTimeMilliseconds, 8, Milliseconds, "flowStartMilliseconds", "First packet of the record.", |record| unsigned(record.start_us / 1000), always;
    Always, Standard, (IANA, 153), DateTimeMilliseconds, 8, Milliseconds, "flowEndMilliseconds", "Last packet of the record.", |record| unsigned(record.end_us / 1000), always;
    Always, Standard, (IANA, 7), Unsigned16, 2, None, "sourceTransportPort", "Of TCP, UDP, SCTP, DCCP and UDP-Lite.", |record| unsigned(record.key.source_port), FlowRecord::has_ports;
    Always, Standard, (IANA, 11), Unsigned16, 2, None, "destinationTransportPort", "Of TCP, UDP, SCTP, DCCP and UDP-Lite. In IPFIX it also carries type and code of ICMP, as collectors expect since NetFlow.", |record| unsigned(record.key.destination_port), FlowRecord::has_ports;
    Always, Standard, (IANA, 4), Unsigned8, 1, None, "protocolIdentifier", "Transport protocol; of IPv6 the one after the extension headers.", |record| unsigned(record.key.protocol), always;
    Always, Standard, (IANA, 60), Unsigned8, 1, None, "ipVersion", "4 or 6.", |record| unsigned(record.key.ip_version), |record| record.key.ip_version != 0;
    Always, Standard, (IANA, 5), Unsigned8, 1, None, "ipClassOfService", "Type of service or traffic class of the first packet.", |record| unsigned(record.tos), always;
    Always, Standard, (IANA, 6), Unsigned16, 2, None, "tcpControlBits", "TCP flags of all packets, or-ed. One octet with the eight; two, with NS, in the preset `full` and where it is asked for by name.", |record| unsigned(record.tcp_flags), |record| record.key.protocol == TCP;
    Always, Standard, (IANA, 52), Unsigned8, 1, Hops, "minimumTTL", "Smallest TTL or hop limit.", |record| unsigned(record.extremes.ttl_min), has_ttl;
    Always, Standard, (IANA, 53), Unsigned8, 1, Hops, "maximumTTL", "Largest TTL or hop limit.", |record| unsigned(record.extremes.ttl_max), has_ttl;
    Always, Standard, (IANA, 25), Unsigned64, 2, Octets, "minimumIpTotalLength", "Octets of the shortest packet, from its IP header on.", |record| unsigned(record.extremes.length_min), has_lengths;
    Always, Standard, (IANA, 26), Unsigned64, 2, Octets, "maximumIpTotalLength", "Octets of the longest packet; 65,535 where it is longer.", |record| unsigned(record.extremes.length_max), has_lengths;
    Always, Standard, (IANA, 2), Unsigned64, 8, Packets, "packetDeltaCount", "Packets since the flow's previous record.", |record| unsigned(record.packets), always;
    Always, Standard, (IANA, 1), Unsigned64, 8, Octets, "octetDeltaCount", "Octets from the IP header on since the flow's previous record.", |record| unsigned(record.octets), always;
    Always, Standard, (IANA, 352), Unsigned64, 8, Octets, "layer2OctetDeltaCount", "Octets of the whole frames, without preamble and frame check sequence.", |record| unsigned(record.layer2_octets), |record| record.layer2_octets != 0;
    Always, Standard, (IANA, 10), Unsigned32, 4, None, "ingressInterface", "Index of the interface where the packets came in. Of flows that were metered where they leave: with --next-hop.", |record| unsigned(record.interface(Direction::Ingress)), |record| record.interface(Direction::Ingress) != 0;
    Always, Standard, (IANA, 14), Unsigned32, 4, None, "egressInterface", "Index of the interface where the packets leave. Of flows that were metered where they came in: with --next-hop.", |record| unsigned(record.interface(Direction::Egress)), |record| record.interface(Direction::Egress) != 0;
    Always, Standard, (IANA, 61), Unsigned8, 1, None, "flowDirection", "0 ingress, 1 egress.", |record| unsigned(record.key.direction), always;
    Always, Standard, (IANA, 58), Unsigned16, 2, None, "vlanId", "Identifier of the outer VLAN tag.", |record| unsigned(record.key.vlan), has_vlan;
    Always, Standard, (IANA, 243), Unsigned16, 2, None, "dot1qVlanId", "The same.", |record| unsigned(record.key.vlan), has_vlan;
    Always, Standard, (IANA, 245), Unsigned16, 2, None, "dot1qCustomerVlanId", "Identifier of the second VLAN tag.", |record| unsigned(record.key.customer_vlan), |record| record.key.customer_vlan != 0;
    Always, Standard, (IANA, 70), OctetArray, 3, None, "mplsTopLabelStackSection", "First MPLS label stack entry of the first packet: label (20 bits), traffic class (3), bottom of stack (1); in JSON the number that they make.", |record| unsigned(record.mpls_top_label), |record| record.mpls_top_label != 0;
    Always, Standard, (IANA, 197), Unsigned8, 1, None, "fragmentFlags", "32 (more fragments follow) where the flow held fragments.", |record| fragment_flags(record), |record| record.fragmented;
    Always, Standard, (IANA, 256), Unsigned16, 2, None, "ethernetType", "EtherType of the network layer: 2048 or 34525.", |record| unsigned(record.ethertype), |record| record.ethertype != 0;
    Always, Standard, (IANA, 56), MacAddress, 6, None, "sourceMacAddress", "Of the first packet.", |record| Field::Mac(record.source_mac), |record| record.source_mac != [0; 6];
    Always, Standard, (IANA, 80), MacAddress, 6, None, "destinationMacAddress", "Of the first packet.", |record| Field::Mac(record.destination_mac), |record| record.destination_mac != [0; 6];
    Always, Standard, (IANA, 136), Unsigned8, 1, None, "flowEndReason", "1 idle timeout, 2 active timeout, 3 end of flow, 4 forced end, 5 lack of resources.", |record| unsigned(record.end_reason as u8), |record| record.end_reason != EndReason::Unsaid;

    // What is asked for by other settings.
    NextHop, Standard, (IANA, 15), Ipv4Address, 4, None, "ipNextHopIPv4Address", "Next hop by the routing tables, of a tunnel that of its own header; 0.0.0.0 where the destination is on the link, the next hop is IPv6 or nothing is known.", |record| v4(next_hop(record, 4)), |record| has_next_hop(record, 4);
    NextHop, Standard, (IANA, 62), Ipv6Address, 16, None, "ipNextHopIPv6Address", "The same where it is IPv6, as it may be for IPv4 flows too (RFC 8950).", |record| v6(next_hop(record, 6)), |record| has_next_hop(record, 6);
    AsNumber, Standard, (IANA, 16), Unsigned32, 4, None, "bgpSourceAsNumber", "Autonomous system of the source address: of a received record as its exporter says, else by the databases; 0 where it is not known.", |record| unsigned(record.source_as), |record| record.source_as != 0;
    AsNumber, Standard, (IANA, 17), Unsigned32, 4, None, "bgpDestinationAsNumber", "The same of the destination address.", |record| unsigned(record.destination_as), |record| record.destination_as != 0;
    Sampled, Standard, (IANA, 34), Unsigned32, 4, None, "samplingInterval", "Of how many packets or flows one was metered.", |record| unsigned(record.sampling.interval()), |record| record.sampling != SamplingRate::All;
    SampledPackets, Standard, (IANA, 304), Unsigned16, 2, None, "selectorAlgorithm", "4: uniform probabilistic (RFC 5475).", |_record| unsigned(UNIFORM_PROBABILISTIC), always;
    SampledPackets, Standard, (IANA, 305), Unsigned32, 4, Packets, "samplingPacketInterval", "1: packets chosen …", |_record| unsigned(1_u32), always;
    SampledPackets, Standard, (IANA, 306), Unsigned32, 4, Packets, "samplingPacketSpace", "… for this many that were not, on average.", |record| unsigned(record.sampling.interval() - 1), always;
    SampledPackets, Standard, (IANA, 311), Float64, 8, None, "samplingProbability", "The same as the probability of each packet, which is what RFC 5477 has for this algorithm.", |record| Field::Float(1.0 / f64::from(record.sampling.interval())), always;
    SampledFlows, Standard, (IANA, 390), Unsigned16, 2, None, "flowSelectorAlgorithm", "4: uniform probabilistic (RFC 7014).", |_record| unsigned(UNIFORM_PROBABILISTIC), always;
    SampledFlows, Standard, (IANA, 396), Unsigned64, 4, Flows, "samplingFlowInterval", "1: flows chosen …", |_record| unsigned(1_u32), always;
    SampledFlows, Standard, (IANA, 397), Unsigned64, 4, Flows, "samplingFlowSpacing", "… for this many that were not, on average.", |record| unsigned(record.sampling.interval() - 1), always;

    // The other direction of a biflow (RFC 5103): the same elements under the enterprise number of reverse elements.
    Biflow, Standard, (IANA, 239), Unsigned8, 1, None, "biflowDirection", "1: the source opened the conversation, by its SYN, else by its first packet.", |_record| unsigned(INITIATOR), always;
    Reverse, Standard, (REVERSE, 152), DateTimeMilliseconds, 8, Milliseconds, "reverseFlowStartMilliseconds", "First packet of the answers.", |record| unsigned(record.start_us / 1000), always;
    Reverse, Standard, (REVERSE, 153), DateTimeMilliseconds, 8, Milliseconds, "reverseFlowEndMilliseconds", "Last packet of the answers.", |record| unsigned(record.end_us / 1000), always;
    Reverse, Standard, (REVERSE, 2), Unsigned64, 8, Packets, "reversePacketDeltaCount", "Packets of the answers.", |record| unsigned(record.packets), always;
    Reverse, Standard, (REVERSE, 1), Unsigned64, 8, Octets, "reverseOctetDeltaCount", "Octets of the answers, from the IP header on.", |record| unsigned(record.octets), always;
    Reverse, Standard, (REVERSE, 352), Unsigned64, 8, Octets, "reverseLayer2OctetDeltaCount", "Octets of their frames.", |record| unsigned(record.layer2_octets), always;
    Reverse, Standard, (REVERSE, 5), Unsigned8, 1, None, "reverseIpClassOfService", "Type of service or traffic class of the first answer.", |record| unsigned(record.tos), always;
    Reverse, Standard, (REVERSE, 6), Unsigned16, 2, None, "reverseTcpControlBits", "TCP flags of the answers, or-ed.", |record| unsigned(record.tcp_flags), |record| record.key.protocol == TCP;
    Reverse, Standard, (REVERSE, 52), Unsigned8, 1, Hops, "reverseMinimumTTL", "Smallest TTL or hop limit of the answers.", |record| unsigned(record.extremes.ttl_min), always;
    Reverse, Standard, (REVERSE, 53), Unsigned8, 1, Hops, "reverseMaximumTTL", "Largest TTL or hop limit of the answers.", |record| unsigned(record.extremes.ttl_max), always;
    Reverse, Standard, (REVERSE, 25), Unsigned64, 2, Octets, "reverseMinimumIpTotalLength", "Octets of the shortest answer.", |record| unsigned(record.extremes.length_min), always;
    Reverse, Standard, (REVERSE, 26), Unsigned64, 2, Octets, "reverseMaximumIpTotalLength", "Octets of the longest answer; 65,535 where it is longer.", |record| unsigned(record.extremes.length_max), always;
    Reverse, Standard, (REVERSE, 58), Unsigned16, 2, None, "reverseVlanId", "Identifier of the outer VLAN tag of the answers.", |record| unsigned(record.key.vlan), has_vlan;
    Reverse, Standard, (REVERSE, 245), Unsigned16, 2, None, "reverseDot1qCustomerVlanId", "Identifier of their second VLAN tag.", |record| unsigned(record.key.customer_vlan), |record| record.key.customer_vlan != 0;
    Reverse, Standard, (REVERSE, 70), OctetArray, 3, None, "reverseMplsTopLabelStackSection", "First MPLS label stack entry of the first answer.", |record| unsigned(record.mpls_top_label), |record| record.mpls_top_label != 0;
    Reverse, Standard, (REVERSE, 197), Unsigned8, 1, None, "reverseFragmentFlags", "32 where there were fragments among the answers.", |record| fragment_flags(record), |record| record.fragmented;
    Reverse, Standard, (REVERSE, 56), MacAddress, 6, None, "reverseSourceMacAddress", "Of the first answer.", |record| Field::Mac(record.source_mac), |record| record.source_mac != [0; 6];
    Reverse, Standard, (REVERSE, 80), MacAddress, 6, None, "reverseDestinationMacAddress", "Of the first answer.", |record| Field::Mac(record.destination_mac), |record| record.destination_mac != [0; 6];
    ReverseV4, Standard, (REVERSE, 32), Unsigned16, 2, None, "reverseIcmpTypeCodeIPv4", "ICMP type × 256 + code of the answers.", |record| icmp_type_code(record), FlowRecord::is_icmp;
    ReverseV6, Standard, (REVERSE, 139), Unsigned16, 2, None, "reverseIcmpTypeCodeIPv6", "The same of ICMPv6.", |record| icmp_type_code(record), FlowRecord::is_icmp;

    // More than the standard: the preset `full` has these too.
    Always, Full, (IANA, 161), Unsigned32, 4, Milliseconds, "flowDurationMilliseconds", "From the first packet to the last.", |record| unsigned(duration_ms(record)), always;
    Always, Full, (IANA, 195), Unsigned8, 1, None, "ipDiffServCodePoint", "The upper six bits of ipClassOfService.", |record| unsigned(record.tos >> 2), always;
    Always, Full, (IANA, 196), Unsigned8, 1, None, "ipPrecedence", "Its upper three bits.", |record| unsigned(record.tos >> 5), always;
    V4, Full, (IANA, 176), Unsigned8, 1, None, "icmpTypeIPv4", "ICMP type.", |record| unsigned(icmp_number(record) >> 8), FlowRecord::is_icmp;
    V4, Full, (IANA, 177), Unsigned8, 1, None, "icmpCodeIPv4", "ICMP code.", |record| unsigned(icmp_number(record) & 0xff), FlowRecord::is_icmp;
    V6, Full, (IANA, 178), Unsigned8, 1, None, "icmpTypeIPv6", "ICMPv6 type.", |record| unsigned(icmp_number(record) >> 8), FlowRecord::is_icmp;
    V6, Full, (IANA, 179), Unsigned8, 1, None, "icmpCodeIPv6", "ICMPv6 code.", |record| unsigned(icmp_number(record) & 0xff), FlowRecord::is_icmp;

    // Other forms of the same, for who asks for them by name.
    Always, Asked, (IANA, 150), DateTimeSeconds, 4, Seconds, "flowStartSeconds", "First packet of the record.", |record| unsigned(record.start_us / 1_000_000), always;
    Always, Asked, (IANA, 151), DateTimeSeconds, 4, Seconds, "flowEndSeconds", "Last packet of the record.", |record| unsigned(record.end_us / 1_000_000), always;
    Always, Asked, (IANA, 154), DateTimeMicroseconds, 8, Microseconds, "flowStartMicroseconds", "First packet of the record. The kernel's clock is coarser: 1 to 10 ms.", |record| unsigned(ntp(record.start_us)), always;
    Always, Asked, (IANA, 155), DateTimeMicroseconds, 8, Microseconds, "flowEndMicroseconds", "Last packet of the record, likewise.", |record| unsigned(ntp(record.end_us)), always;
    Always, Asked, (IANA, 162), Unsigned32, 4, Microseconds, "flowDurationMicroseconds", "From the first packet to the last; 4,294,967,295 where that is longer.", |record| unsigned(duration_us(record)), always;
    Always, Asked, (IANA, 22), Unsigned32, 4, Milliseconds, "flowStartSysUpTime", "First packet of the record, since the start of the exporter. NetFlow v9 only.", |record| unsigned(record.start_us / 1000), always;
    Always, Asked, (IANA, 21), Unsigned32, 4, Milliseconds, "flowEndSysUpTime", "Last packet of the record, likewise.", |record| unsigned(record.end_us / 1000), always;
    V6, Asked, (IANA, 32), Unsigned16, 2, None, "icmpTypeCode", "What icmpTypeCodeIPv6 says. NetFlow v9 only, which has one element for both.", |record| icmp_type_code(record), FlowRecord::is_icmp;
    Always, Asked, (IANA, 3), Unsigned64, 8, Flows, "deltaFlowCount", "1.", |_record| unsigned(1_u32), always;
    Always, Asked, (IANA, 180), Unsigned16, 2, None, "udpSourcePort", "Of UDP; 0 for others.", |record| unsigned(port_of(record, UDP, record.key.source_port)), |record| record.key.protocol == UDP;
    Always, Asked, (IANA, 181), Unsigned16, 2, None, "udpDestinationPort", "Of UDP; 0 for others.", |record| unsigned(port_of(record, UDP, record.key.destination_port)), |record| record.key.protocol == UDP;
    Always, Asked, (IANA, 182), Unsigned16, 2, None, "tcpSourcePort", "Of TCP; 0 for others.", |record| unsigned(port_of(record, TCP, record.key.source_port)), |record| record.key.protocol == TCP;
    Always, Asked, (IANA, 183), Unsigned16, 2, None, "tcpDestinationPort", "Of TCP; 0 for others.", |record| unsigned(port_of(record, TCP, record.key.destination_port)), |record| record.key.protocol == TCP;
}

/// Of the IANA registries "PSAMP Parameters" and "IPFIX flowSelectorAlgorithm".
const UNIFORM_PROBABILISTIC: u16 = 4;

/// `biflowDirection` of conversations whose beginning was seen, or guessed as well as can be.
const INITIATOR: u8 = 1;

/// The bit "more fragments" of `fragmentFlags`.
const MORE_FRAGMENTS: u8 = 0x20;

/// Whether it is known how long the packets were. Of our own flows it always is; exporters need not say so.
fn has_lengths(record: &FlowRecord) -> bool {
    record.extremes.length_max != 0
}

/// The same of how far they had come.
fn has_ttl(record: &FlowRecord) -> bool {
    has_lengths(record) || record.extremes.ttl_max != 0
}

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
    unsigned(icmp_number(record))
}

/// Type × 256 + code; 0 for other protocols.
fn icmp_number(record: &FlowRecord) -> u16 {
    if record.is_icmp() { record.key.destination_port } else { 0 }
}

/// `port`, where the protocol is this one.
fn port_of(record: &FlowRecord, protocol: u8, port: u16) -> u16 {
    if record.key.protocol == protocol { port } else { 0 }
}

fn duration_us(record: &FlowRecord) -> u32 {
    u32::try_from(record.end_us.saturating_sub(record.start_us)).unwrap_or(u32::MAX)
}

fn duration_ms(record: &FlowRecord) -> u32 {
    // Of the milliseconds in the record, so that start and duration make the end.
    u32::try_from((record.end_us / 1000).saturating_sub(record.start_us / 1000)).unwrap_or(u32::MAX)
}

/// `dateTimeMicroseconds` (RFC 7011 section 6.1.9): seconds since 1900 and their fraction, whose lowest 11 bits are 0.
fn ntp(us: u64) -> u64 {
    /// From 1900 to 1970.
    const ERA: u64 = 2_208_988_800;
    let (seconds, rest) = (us / 1_000_000, us % 1_000_000);
    // Rounded up to the next step, so that what is read back is the same microsecond.
    let fraction = ((rest << 32).div_ceil(1_000_000) + 0x7ff) & !0x7ff;
    (seconds + ERA) << 32 | fraction
}

fn fragment_flags(record: &FlowRecord) -> Field {
    unsigned(if record.fragmented { MORE_FRAGMENTS } else { 0 })
}

fn has_vlan(record: &FlowRecord) -> bool {
    record.key.vlan != 0
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
