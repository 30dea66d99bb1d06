//! Frames written as bytes, and what the parser must find in them.

use core::cell::Cell;
use core::net::{Ipv4Addr, Ipv6Addr};

use super::*;
use crate::flow::{Address, FACT_FRAGMENT};

/// Remembers one datagram.
#[derive(Default)]
struct One(Cell<Option<(FragmentKey, FragmentPorts)>>);

impl Fragments for One {
    fn remember(&self, key: &FragmentKey, ports: FragmentPorts) {
        self.0.set(Some((*key, ports)));
    }

    fn recall(&self, key: &FragmentKey) -> Option<FragmentPorts> {
        self.0.get().filter(|(known, _)| known == key).map(|(_, ports)| ports)
    }
}

const MACS: [u8; 12] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];

/// IPv4, 20-octet header, TTL 64, 192.0.2.1 → 198.51.100.2.
fn ipv4(protocol: u8, total_length: u16, fragment: u16) -> [u8; 20] {
    let [l1, l0] = total_length.to_be_bytes();
    let [f1, f0] = fragment.to_be_bytes();
    [0x45, 0x10, l1, l0, 0, 1, f1, f0, 64, protocol, 0, 0, 192, 0, 2, 1, 198, 51, 100, 2]
}

/// Joins `parts` into one buffer and returns how much of it is filled.
fn join(parts: &[&[u8]], buffer: &mut [u8; 256]) -> usize {
    let mut end = 0;
    for part in parts {
        buffer[end..end + part.len()].copy_from_slice(part);
        end += part.len();
    }
    end
}

fn parse(parts: &[&[u8]]) -> Result<Packet, Unparsed> {
    parse_from(parts, None, Tunnels::NONE)
}

fn parse_from(parts: &[&[u8]], offloaded_vlan: Option<u16>, opened: Tunnels) -> Result<Packet, Unparsed> {
    let mut buffer = [0; 256];
    let length = join(parts, &mut buffer);
    let origin = Origin { ifindex: 7, direction: Direction::Ingress, offloaded_vlan };
    let mut packet = Packet::default();
    ethernet(&Bytes::whole(&buffer[..length]), origin, opened, &One::default(), &mut packet).map(|()| packet)
}

const TCP_SYN_ACK_ECE: [u8; 20] = [0x00, 0x50, 0xc0, 0x01, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x52, 0, 0, 0, 0, 0, 0];

#[test]
fn tcp_over_ipv4() {
    let packet = parse(&[&MACS, &[8, 0], &ipv4(6, 40, 0), &TCP_SYN_ACK_ECE]).expect("a flow");
    assert_eq!(packet.key.source, Address::from(Ipv4Addr::new(192, 0, 2, 1)));
    assert_eq!(packet.key.destination.to_ipv4(), Ipv4Addr::new(198, 51, 100, 2));
    assert_eq!((packet.key.source_port, packet.key.destination_port), (80, 49153));
    assert_eq!((packet.key.protocol, packet.key.ip_version, packet.key.ifindex), (6, 4, 7));
    assert_eq!((packet.octets, packet.headers), (40, 14 + 20 + 20));
    assert_eq!((packet.facts, packet.ttl, packet.tos), (0x52, 64, 0x10));
    assert_eq!(packet.source_mac, [2, 0, 0, 0, 0, 1]);
    assert_eq!((packet.key.vlan, packet.ethertype), (0, 0x0800));
}

#[test]
fn ipv4_options_move_the_ports() {
    let mut header = ipv4(17, 36, 0);
    header[0] = 0x47;
    let packet = parse(&[&MACS, &[8, 0], &header, &[1; 8], &[0, 53, 0, 99, 0, 16, 0, 0], &[0; 8]]).expect("a flow");
    assert_eq!((packet.key.source_port, packet.key.destination_port), (53, 99));
}

#[test]
fn two_tags_are_both_kept() {
    let tags = [0x88, 0xa8, 0x20, 0x64, 0x81, 0x00, 0xe0, 0xc8, 0x08, 0x00];
    let packet = parse(&[&MACS, &tags, &ipv4(1, 28, 0), &[8, 0, 0, 0, 0, 0, 0, 0]]).expect("a flow");
    assert_eq!((packet.key.vlan, packet.key.customer_vlan), (100, 200));
    assert_eq!(packet.key.destination_port, 8 * 256);
}

#[test]
fn a_tag_that_the_nic_removed_is_the_outer_one() {
    let packet = parse_from(&[&MACS, &[0x81, 0, 0, 200, 8, 0], &ipv4(1, 28, 0), &[0; 8]], Some(100), Tunnels::NONE)
        .expect("a flow");
    assert_eq!((packet.key.vlan, packet.key.customer_vlan), (100, 200));
}

#[test]
fn icmpv6_over_ipv6() {
    let mut header = [0; 40];
    header[0] = 0x6b;
    header[1] = 0x80;
    header[5] = 16;
    header[6] = 58;
    header[7] = 255;
    header[23] = 1;
    header[39] = 2;
    let packet = parse(&[&MACS, &[0x86, 0xdd], &header, &[128, 3, 0, 0, 0, 0, 0, 0], &[0; 8]]).expect("a flow");
    assert_eq!(packet.key.source.to_ipv6(), Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 1));
    assert_eq!((packet.key.destination_port, packet.key.ip_version), (128 * 256 + 3, 6));
    assert_eq!((packet.octets, packet.ttl, packet.tos), (56, 255, 0xb8));
}

#[test]
fn later_fragments_have_no_ports() {
    let first = parse(&[&MACS, &[8, 0], &ipv4(17, 28, 0x2000), &[0, 53, 0, 99, 0, 16, 0, 0]]).expect("a flow");
    assert_eq!((first.key.source_port, first.facts), (53, FACT_FRAGMENT));
    let later = parse(&[&MACS, &[8, 0], &ipv4(17, 28, 0x0005), &[0, 53, 0, 99, 0, 16, 0, 0]]).expect("a flow");
    assert_eq!((later.key.source_port, later.facts), (0, FACT_FRAGMENT));
}

#[test]
fn a_length_of_zero_is_what_the_frame_holds() {
    let packet = parse(&[&MACS, &[8, 0], &ipv4(6, 0, 0), &TCP_SYN_ACK_ECE, &[0; 100]]).expect("a flow");
    assert_eq!(packet.octets, 140);
}

#[test]
fn a_cut_transport_header_leaves_ports_zero() {
    let packet = parse(&[&MACS, &[8, 0], &ipv4(6, 40, 0), &[0, 80]]).expect("a flow");
    assert_eq!((packet.key.source_port, packet.key.destination_port), (0, 0));
}

#[test]
fn what_is_no_flow_says_why() {
    let arp = [0, 1, 8, 0, 6, 4, 0, 1];
    assert_eq!(parse(&[&MACS, &[8, 6], &arp]), Err(Unparsed::NotIp));
    assert_eq!(parse(&[&MACS]), Err(Unparsed::Truncated));
    assert_eq!(parse(&[&MACS, &[0x81, 0, 0]]), Err(Unparsed::Truncated));
    assert_eq!(parse(&[&MACS, &[8, 0], &ipv4(6, 40, 0)[..19]]), Err(Unparsed::Truncated));
    let mut short = ipv4(6, 40, 0);
    short[0] = 0x44;
    assert_eq!(parse(&[&MACS, &[8, 0], &short]), Err(Unparsed::BadIpv4Header));
    assert_eq!(parse(&[&MACS, &[0x86, 0xdd], &[0x45; 40]]), Err(Unparsed::BadIpv6Header));
}

#[test]
fn labels_are_stepped_over_and_the_first_is_kept() {
    let stack = [0x88, 0x47, 0x12, 0x34, 0x50, 0x40, 0, 1, 0x01, 0x40];
    let packet = parse(&[&MACS, &stack, &ipv4(17, 28, 0), &[0, 53, 0, 99, 0, 8, 0, 0]]).expect("a flow");
    assert_eq!((packet.mpls_top_label, packet.key.source_port, packet.network_offset), (0x12_3450, 53, 22));
    let pseudowire = [0x88, 0x47, 0x12, 0x34, 0x51, 0x40, 0, 0, 0, 0];
    assert_eq!(parse(&[&MACS, &pseudowire, &[0; 40]]), Err(Unparsed::NotIp));
    assert_eq!(parse(&[&MACS, &[0x88, 0x47], &[0; 40]]), Err(Unparsed::TooManyTags));
}

#[test]
fn pppoe_carries_ip_or_nothing_of_interest() {
    let session = [0x88, 0x64, 0x11, 0, 0, 1, 0, 30, 0x00, 0x21];
    let packet = parse(&[&MACS, &session, &ipv4(17, 28, 0), &[0, 53, 0, 99, 0, 8, 0, 0]]).expect("a flow");
    assert_eq!((packet.key.destination_port, packet.ethertype), (99, 0x0800));
    let control = [0x88, 0x64, 0x11, 0, 0, 1, 0, 30, 0xc0, 0x21];
    assert_eq!(parse(&[&MACS, &control, &[0; 40]]), Err(Unparsed::NotIp));
}

#[test]
fn too_many_tags_are_said_to_be() {
    let tag = [0x81, 0, 0, 1];
    assert_eq!(parse(&[&MACS, &tag, &tag, &tag, &tag, &tag, &tag, &tag, &[8, 0]]), Err(Unparsed::TooManyTags));
}

/// An IPv6 header whose payload begins with `next_header`.
fn ipv6(next_header: u8) -> [u8; 40] {
    let mut header = [0; 40];
    header[0] = 0x60;
    header[5] = 100;
    header[6] = next_header;
    header[39] = 1;
    header
}

#[test]
fn extension_headers_are_stepped_over_each_by_its_own_length() {
    let hop_by_hop = [51, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let authentication = [17, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let udp = [0, 53, 0, 99, 0, 8, 0, 0];
    let packet = parse(&[&MACS, &[0x86, 0xdd], &ipv6(0), &hop_by_hop, &authentication, &udp]).expect("a flow");
    assert_eq!((packet.key.protocol, packet.key.source_port, packet.key.destination_port), (17, 53, 99));
    assert_eq!(packet.headers, 14 + 40 + 16 + 12 + 8);
    let cut = parse(&[&MACS, &[0x86, 0xdd], &ipv6(0), &hop_by_hop[..7]]).expect("a flow");
    assert_eq!(cut.key.protocol, 0);
}

#[test]
fn fragments_share_the_ports_of_the_first() {
    let memory = One::default();
    let read = |parts: &[&[u8]]| {
        let mut buffer = [0; 256];
        let length = join(parts, &mut buffer);
        let origin = Origin { ifindex: 1, direction: Direction::Ingress, offloaded_vlan: None };
        let mut packet = Packet::default();
        ethernet(&Bytes::whole(&buffer[..length]), origin, Tunnels::NONE, &memory, &mut packet).expect("a flow");
        packet
    };
    let udp = [0, 53, 0, 99, 0, 8, 0, 0];
    let first = read(&[&MACS, &[8, 0], &ipv4(17, 28, 0x2000), &udp]);
    let later = read(&[&MACS, &[8, 0], &ipv4(17, 28, 0x0001), &[0xff; 8]]);
    assert_eq!((later.key, later.facts), (first.key, FACT_FRAGMENT));

    let fragment = |offset: u8, identification: u8| [17, 0, 0, offset, 0, 0, 0, identification];
    let first = read(&[&MACS, &[0x86, 0xdd], &ipv6(44), &fragment(1, 7), &udp]);
    assert_eq!(first.key.source_port, 53);
    assert_eq!(read(&[&MACS, &[0x86, 0xdd], &ipv6(44), &fragment(8, 7), &[0xff; 8]]).key, first.key);
    assert_eq!(read(&[&MACS, &[0x86, 0xdd], &ipv6(44), &fragment(8, 9), &[0xff; 8]]).key.source_port, 0);
    // An atomic fragment (RFC 6946) is whole.
    assert_eq!(read(&[&MACS, &[0x86, 0xdd], &ipv6(44), &fragment(0, 7), &udp]).facts, 0);
}
