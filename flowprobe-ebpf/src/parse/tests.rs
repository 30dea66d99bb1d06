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
    parse_from(parts, 0)
}

fn parse_from(parts: &[&[u8]], offloaded_vlan: u16) -> Result<Packet, Unparsed> {
    let mut buffer = [0; 256];
    let length = join(parts, &mut buffer);
    let origin = Origin { ifindex: 7, direction: Direction::Ingress, offloaded_vlan };
    let mut packet = Packet::default();
    ethernet(&Bytes::whole(&buffer[..length]), origin, &One::default(), &mut packet).map(|()| packet)
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
    let packet = parse_from(&[&MACS, &[0x81, 0, 0, 200, 8, 0], &ipv4(1, 28, 0), &[0; 8]], 100).expect("a flow");
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
