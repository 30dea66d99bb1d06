//! The one table of exported elements. Templates, data records and JSON objects are made from it, and so agree.

use std::net::{Ipv4Addr, Ipv6Addr};

use flowprobe_ebpf::Direction;

use crate::record::{EndReason, FlowRecord};

/// A field's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// IPFIX unsigned8 to unsigned64, dateTimeMilliseconds.
    Unsigned(u64),
    /// IPFIX ipv4Address.
    V4(Ipv4Addr),
    /// IPFIX ipv6Address.
    V6(Ipv6Addr),
    /// IPFIX macAddress.
    Mac([u8; 6]),
}

/// One row: an element of the IANA registry "IPFIX Information Elements" and where its value comes from.
#[derive(Clone, Copy)]
pub struct Element {
    /// Name in the registry.
    pub name: &'static str,
    /// ElementID in the registry.
    pub id: u16,
    /// Octets on the wire; fewer than the registry's type has is RFC 7011's reduced-size encoding (section 6.2).
    pub length: u16,
    /// The value.
    pub value: fn(&FlowRecord) -> Field,
    /// Whether the element says something about the record. In an IPFIX record it is then 0, in a JSON object left out.
    pub applies: fn(&FlowRecord) -> bool,
}

/// IP version of a record, and with it the template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of a record.
    #[must_use]
    pub const fn of(record: &FlowRecord) -> Self {
        if record.key.ip_version == 6 { Self::V6 } else { Self::V4 }
    }

    /// The elements of the family's records, in the order of the template.
    #[must_use]
    pub const fn elements(self) -> &'static [Element] {
        match self {
            Self::V4 => V4,
            Self::V6 => V6,
        }
    }
}

const fn always(_: &FlowRecord) -> bool {
    true
}

const fn element(name: &'static str, id: u16, length: u16, value: fn(&FlowRecord) -> Field) -> Element {
    Element { name, id, length, value, applies: always }
}

const fn only_if(element: Element, applies: fn(&FlowRecord) -> bool) -> Element {
    Element { applies, ..element }
}

const FLOW_START_MILLISECONDS: Element =
    element("flowStartMilliseconds", 152, 8, |record| Field::Unsigned(record.start_ms));
const FLOW_END_MILLISECONDS: Element = element("flowEndMilliseconds", 153, 8, |record| Field::Unsigned(record.end_ms));
const SOURCE_IPV4_ADDRESS: Element =
    element("sourceIPv4Address", 8, 4, |record| Field::V4(record.key.source.to_ipv4()));
const DESTINATION_IPV4_ADDRESS: Element =
    element("destinationIPv4Address", 12, 4, |record| Field::V4(record.key.destination.to_ipv4()));
const SOURCE_IPV6_ADDRESS: Element =
    element("sourceIPv6Address", 27, 16, |record| Field::V6(record.key.source.to_ipv6()));
const DESTINATION_IPV6_ADDRESS: Element =
    element("destinationIPv6Address", 28, 16, |record| Field::V6(record.key.destination.to_ipv6()));
const SOURCE_TRANSPORT_PORT: Element =
    only_if(element("sourceTransportPort", 7, 2, |record| unsigned(record.key.source_port)), FlowRecord::has_ports);
/// Carries type and code of ICMP too, as NetFlow has it and collectors expect.
const DESTINATION_TRANSPORT_PORT: Element = only_if(
    element("destinationTransportPort", 11, 2, |record| unsigned(record.key.destination_port)),
    FlowRecord::has_ports,
);
const PROTOCOL_IDENTIFIER: Element = element("protocolIdentifier", 4, 1, |record| unsigned(record.key.protocol));
const IP_VERSION: Element = element("ipVersion", 60, 1, |record| unsigned(record.key.ip_version));
const IP_CLASS_OF_SERVICE: Element = element("ipClassOfService", 5, 1, |record| unsigned(record.tos));
const TCP_CONTROL_BITS: Element =
    only_if(element("tcpControlBits", 6, 2, |record| unsigned(record.tcp_flags)), |record| {
        record.key.protocol == crate::record::TCP
    });
const ICMP_TYPE_CODE_IPV4: Element = only_if(element("icmpTypeCodeIPv4", 32, 2, icmp_type_code), FlowRecord::is_icmp);
const ICMP_TYPE_CODE_IPV6: Element = only_if(element("icmpTypeCodeIPv6", 139, 2, icmp_type_code), FlowRecord::is_icmp);
const MINIMUM_TTL: Element = element("minimumTTL", 52, 1, |record| unsigned(record.extremes.ttl_min));
const MAXIMUM_TTL: Element = element("maximumTTL", 53, 1, |record| unsigned(record.extremes.ttl_max));
const MINIMUM_IP_TOTAL_LENGTH: Element =
    element("minimumIpTotalLength", 25, 2, |record| unsigned(record.extremes.length_min));
const MAXIMUM_IP_TOTAL_LENGTH: Element =
    element("maximumIpTotalLength", 26, 2, |record| unsigned(record.extremes.length_max));
const PACKET_DELTA_COUNT: Element = element("packetDeltaCount", 2, 8, |record| Field::Unsigned(record.packets));
const OCTET_DELTA_COUNT: Element = element("octetDeltaCount", 1, 8, |record| Field::Unsigned(record.octets));
const LAYER2_OCTET_DELTA_COUNT: Element =
    element("layer2OctetDeltaCount", 352, 8, |record| Field::Unsigned(record.layer2_octets));
const INGRESS_INTERFACE: Element =
    only_if(element("ingressInterface", 10, 4, |record| metered_at(record, Direction::Ingress)), |record| {
        record.key.direction == Direction::Ingress as u8
    });
const EGRESS_INTERFACE: Element =
    only_if(element("egressInterface", 14, 4, |record| metered_at(record, Direction::Egress)), |record| {
        record.key.direction == Direction::Egress as u8
    });
const FLOW_DIRECTION: Element = element("flowDirection", 61, 1, |record| unsigned(record.key.direction));
const VLAN_ID: Element =
    only_if(element("vlanId", 58, 2, |record| unsigned(record.key.vlan)), |record| record.key.vlan != 0);
const DOT1Q_VLAN_ID: Element =
    only_if(element("dot1qVlanId", 243, 2, |record| unsigned(record.key.vlan)), |record| record.key.vlan != 0);
const DOT1Q_CUSTOMER_VLAN_ID: Element =
    only_if(element("dot1qCustomerVlanId", 245, 2, |record| unsigned(record.key.customer_vlan)), |record| {
        record.key.customer_vlan != 0
    });
/// Three octets: label (20 bits), traffic class (3), bottom of stack (1). In JSON the number that they make.
const MPLS_TOP_LABEL_STACK_SECTION: Element =
    only_if(element("mplsTopLabelStackSection", 70, 3, |record| unsigned(record.mpls_top_label)), |record| {
        record.mpls_top_label != 0
    });
const ETHERNET_TYPE: Element = element("ethernetType", 256, 2, |record| unsigned(record.ethertype));
const SOURCE_MAC_ADDRESS: Element = element("sourceMacAddress", 56, 6, |record| Field::Mac(record.source_mac));
const DESTINATION_MAC_ADDRESS: Element =
    element("destinationMacAddress", 80, 6, |record| Field::Mac(record.destination_mac));
const FLOW_END_REASON: Element = element("flowEndReason", 136, 1, |record| unsigned(end_reason(record.end_reason)));

const fn end_reason(reason: EndReason) -> u8 {
    reason as u8
}

fn unsigned(value: impl Into<u64>) -> Field {
    Field::Unsigned(value.into())
}

fn icmp_type_code(record: &FlowRecord) -> Field {
    unsigned(if record.is_icmp() { record.key.destination_port } else { 0 })
}

fn metered_at(record: &FlowRecord, direction: Direction) -> Field {
    unsigned(if record.key.direction == direction as u8 { record.key.ifindex } else { 0 })
}

/// The elements of a family, in the order of its template; the families differ in addresses and ICMP.
macro_rules! family {
    ($source:ident, $destination:ident, $icmp_type_code:ident) => {
        &[
            FLOW_START_MILLISECONDS,
            FLOW_END_MILLISECONDS,
            $source,
            $destination,
            SOURCE_TRANSPORT_PORT,
            DESTINATION_TRANSPORT_PORT,
            PROTOCOL_IDENTIFIER,
            IP_VERSION,
            IP_CLASS_OF_SERVICE,
            TCP_CONTROL_BITS,
            $icmp_type_code,
            MINIMUM_TTL,
            MAXIMUM_TTL,
            MINIMUM_IP_TOTAL_LENGTH,
            MAXIMUM_IP_TOTAL_LENGTH,
            PACKET_DELTA_COUNT,
            OCTET_DELTA_COUNT,
            LAYER2_OCTET_DELTA_COUNT,
            INGRESS_INTERFACE,
            EGRESS_INTERFACE,
            FLOW_DIRECTION,
            VLAN_ID,
            DOT1Q_VLAN_ID,
            DOT1Q_CUSTOMER_VLAN_ID,
            MPLS_TOP_LABEL_STACK_SECTION,
            ETHERNET_TYPE,
            SOURCE_MAC_ADDRESS,
            DESTINATION_MAC_ADDRESS,
            FLOW_END_REASON,
        ]
    };
}

static V4: &[Element] = family!(SOURCE_IPV4_ADDRESS, DESTINATION_IPV4_ADDRESS, ICMP_TYPE_CODE_IPV4);
static V6: &[Element] = family!(SOURCE_IPV6_ADDRESS, DESTINATION_IPV6_ADDRESS, ICMP_TYPE_CODE_IPV6);
