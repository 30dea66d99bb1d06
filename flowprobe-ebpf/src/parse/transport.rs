//! Ports, flags, and where the payload begins.

use bytemuck::{Pod, Zeroable};

use super::fragment::{FragmentKey, FragmentPorts, Fragments};
use super::ip::{Part, Payload};
use super::{Be16, Frame, Packet, as_u32};
use crate::flow::tcp_facts;
use crate::protocol;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Ports {
    source: Be16,
    destination: Be16,
}

/// The part of the TCP header (RFC 9293) after the acknowledgment number.
const TCP_FLAGS_OFFSET: usize = 12;
const UDP_HEADER: usize = 8;
const ICMP_HEADER: usize = 8;
/// The common header (RFC 9260 section 3.1), which a segmented packet repeats.
const SCTP_HEADER: usize = 12;

/// Fills in the ports, TCP's flags and the length of all headers. A transport header that the frame does not hold leaves
/// the ports 0: the packet still belongs to the flow of its addresses and protocol.
#[inline(always)]
pub(super) fn ports(frame: &impl Frame, payload: &Payload, fragments: &impl Fragments, packet: &mut Packet) {
    let Payload { offset, part, .. } = *payload;
    packet.headers = as_u32(offset);
    packet.key.source_port = 0;
    packet.key.destination_port = 0;
    if part == Part::Later {
        if let Some(FragmentPorts { source, destination }) = fragments.recall(&fragment_key(payload, packet)) {
            packet.key.source_port = source;
            packet.key.destination_port = destination;
        }
        return;
    }
    match packet.key.protocol {
        protocol::TCP => {
            both_ports(frame, offset, packet);
            if let Some(field) = frame.read::<Be16>(offset + TCP_FLAGS_OFFSET) {
                let field = field.get();
                packet.facts |= tcp_facts(field);
                packet.headers = as_u32(offset + usize::from(field >> 12) * 4);
            }
        }
        protocol::UDP => {
            both_ports(frame, offset, packet);
            packet.headers = as_u32(offset + UDP_HEADER);
        }
        protocol::SCTP => {
            both_ports(frame, offset, packet);
            packet.headers = as_u32(offset + SCTP_HEADER);
        }
        protocol::DCCP | protocol::UDP_LITE => both_ports(frame, offset, packet),
        protocol::ICMP | protocol::ICMPV6 => {
            // Type and code are the first two octets: read as one field, they are type × 256 + code.
            if let Some(field) = frame.read::<Be16>(offset) {
                packet.key.destination_port = field.get();
            }
            packet.headers = as_u32(offset + ICMP_HEADER);
        }
        _ => {}
    }
    if part == Part::First {
        let ports = FragmentPorts { source: packet.key.source_port, destination: packet.key.destination_port };
        fragments.remember(&fragment_key(payload, packet), ports);
    }
}

#[inline(always)]
fn both_ports(frame: &impl Frame, offset: usize, packet: &mut Packet) {
    if let Some(ports) = frame.read::<Ports>(offset) {
        packet.key.source_port = ports.source.get();
        packet.key.destination_port = ports.destination.get();
    }
}

#[inline(always)]
const fn fragment_key(payload: &Payload, packet: &Packet) -> FragmentKey {
    FragmentKey {
        source: packet.key.source,
        destination: packet.key.destination,
        identification: payload.identification,
        protocol: packet.key.protocol,
        ip_version: packet.key.ip_version,
        padding: 0,
    }
}
