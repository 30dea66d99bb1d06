//! Says of a packet what an expression says, without a graph: what the compiler is held against.

use std::net::IpAddr;

use flowprobe_ebpf::parse::Packet;
use flowprobe_ebpf::protocol::has_ports;

use crate::filter::ast::{Comparison, Ends, Expression, Network, Primitive, Quantity, Relation, Version};

pub(super) fn holds(expression: &Expression, packet: &Packet, octets: u64) -> bool {
    match expression {
        Expression::Is(primitive) => is(*primitive, packet, octets),
        Expression::Not(inner) => !holds(inner, packet, octets),
        Expression::All(list) => list.iter().all(|part| holds(part, packet, octets)),
        Expression::Any(list) => list.iter().any(|part| holds(part, packet, octets)),
    }
}

fn is(primitive: Primitive, packet: &Packet, octets: u64) -> bool {
    let key = &packet.key;
    match primitive {
        Primitive::Ip { version, protocol } => {
            version.is_none_or(|version| key.ip_version == version as u8)
                && protocol.is_none_or(|number| key.protocol == number)
        }
        Primitive::Network { ends, network } => at(ends, addresses(packet), |address| lies_in(address, &network)),
        Primitive::Port { ends, protocol, low, high } => {
            has_ports(key.protocol)
                && protocol.is_none_or(|number| key.protocol == number)
                && at(ends, [key.source_port, key.destination_port], |port| (low..=high).contains(&port))
        }
        Primitive::Mac { ends, mac } => at(ends, [packet.source_mac, packet.destination_mac], |is| is == mac),
        Primitive::Broadcast => packet.destination_mac == [255; 6],
        Primitive::Multicast => packet.destination_mac[0] % 2 == 1,
        Primitive::EtherType(number) => packet.ethertype == number,
        Primitive::Vlan(None) => key.vlan != 0 || key.customer_vlan != 0,
        Primitive::Vlan(Some(number)) => key.vlan == number || key.customer_vlan == number,
        Primitive::Mpls(None) => packet.mpls_top_label != 0,
        Primitive::Mpls(Some(label)) => packet.mpls_top_label != 0 && packet.mpls_top_label / 16 == label,
        Primitive::Fragment => packet.facts >= 0x1_0000,
        Primitive::Way(direction) => key.direction == direction as u8,
        Primitive::Compare(comparison) => compare(comparison, packet, octets),
    }
}

fn addresses(packet: &Packet) -> [IpAddr; 2] {
    let [source, destination] = [packet.key.source, packet.key.destination];
    if packet.key.ip_version == 4 {
        [source.to_ipv4().into(), destination.to_ipv4().into()]
    } else {
        [source.to_ipv6().into(), destination.to_ipv6().into()]
    }
}

fn lies_in(address: IpAddr, network: &Network) -> bool {
    match (address, network.version) {
        (IpAddr::V4(address), Version::V4) => {
            address.to_bits() & network.mask.to_ipv4().to_bits() == network.address.to_ipv4().to_bits()
        }
        (IpAddr::V6(address), Version::V6) => {
            address.to_bits() & network.mask.to_ipv6().to_bits() == network.address.to_ipv6().to_bits()
        }
        _ => false,
    }
}

fn at<T>(ends: Ends, [source, destination]: [T; 2], test: impl Fn(T) -> bool) -> bool {
    let (source, destination) = (test(source), test(destination));
    match ends {
        Ends::Source => source,
        Ends::Destination => destination,
        Ends::Either => source || destination,
        Ends::Both => source && destination,
    }
}

fn compare(comparison: Comparison, packet: &Packet, octets: u64) -> bool {
    let Some(value) = value(comparison.quantity, packet, octets) else { return false };
    let (value, number) = (value & comparison.mask, comparison.number);
    match comparison.relation {
        Relation::Equal => value == number,
        Relation::NotEqual => value != number,
        Relation::Less => value < number,
        Relation::LessOrEqual => value <= number,
        Relation::Greater => value > number,
        Relation::GreaterOrEqual => value >= number,
    }
}

fn value(quantity: Quantity, packet: &Packet, octets: u64) -> Option<u32> {
    let key = &packet.key;
    let is = |version: Version| key.ip_version == version as u8;
    let icmp = |version| is(version) && key.protocol == if version == Version::V4 { 1 } else { 58 };
    let [kind, code] = key.destination_port.to_be_bytes();
    match quantity {
        Quantity::Length => u32::try_from(octets).ok(),
        Quantity::IpLength => is(Version::V4).then_some(packet.octets),
        Quantity::Tos => is(Version::V4).then_some(packet.tos.into()),
        Quantity::Ttl(version) => is(version).then_some(packet.ttl.into()),
        Quantity::Protocol => is(Version::V4).then_some(key.protocol.into()),
        Quantity::SourcePort(protocol) => (key.protocol == protocol).then_some(key.source_port.into()),
        Quantity::DestinationPort(protocol) => (key.protocol == protocol).then_some(key.destination_port.into()),
        Quantity::TcpFlags => (key.protocol == 6).then_some(packet.facts % 256),
        Quantity::IcmpType(version) => icmp(version).then_some(kind.into()),
        Quantity::IcmpCode(version) => icmp(version).then_some(code.into()),
    }
}
