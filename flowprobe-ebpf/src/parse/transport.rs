//! Ports, flags, and where the payload begins.

use bytemuck::{Pod, Zeroable};

use super::ip::Payload;
use super::{Be16, Frame, Packet, as_u32};
use crate::flow::FACT_TCP_FLAGS;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

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

/// Fills in the ports, TCP's flags and the length of all headers. A transport header that the frame does not hold leaves
/// the ports 0: the packet still belongs to the flow of its addresses and protocol.
#[inline(always)]
pub(super) fn ports(frame: &impl Frame, payload: &Payload, packet: &mut Packet) {
    let Payload { offset, has_transport_header } = *payload;
    packet.key.source_port = 0;
    packet.key.destination_port = 0;
    let mut end = offset;
    if has_transport_header {
        match packet.key.protocol {
            TCP => {
                both_ports(frame, offset, packet);
                if let Some(field) = frame.read::<Be16>(offset + TCP_FLAGS_OFFSET) {
                    let field = field.get();
                    packet.facts |= u32::from(field) & FACT_TCP_FLAGS;
                    end = offset + usize::from(field >> 12) * 4;
                }
            }
            UDP => {
                both_ports(frame, offset, packet);
                end = offset + UDP_HEADER;
            }
            ICMP | ICMPV6 => {
                // Type and code are the first two octets: read as one field, they are type × 256 + code.
                if let Some(field) = frame.read::<Be16>(offset) {
                    packet.key.destination_port = field.get();
                }
                end = offset + ICMP_HEADER;
            }
            _ => {}
        }
    }
    packet.headers = as_u32(end);
}

#[inline(always)]
fn both_ports(frame: &impl Frame, offset: usize, packet: &mut Packet) {
    if let Some(ports) = frame.read::<Ports>(offset) {
        packet.key.source_port = ports.source.get();
        packet.key.destination_port = ports.destination.get();
    }
}
