//! The frame from which all traffic is made, and which flow is which.

use anyhow::{Result, anyhow};
use clap::ValueEnum;
use flowprobe_ebpf::parse::{self, Bytes, Origin, Packet};
use flowprobe_ebpf::traffic::TrafficPlan;
use flowprobe_ebpf::{Direction, FlowKey, Tunnels};
use serde::Serialize;

use super::LOOPBACK;

/// IP version of the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Family {
    Ipv4,
    Ipv6,
}

/// A TCP segment without payload, in a frame of 60 (IPv4) or 74 (IPv6) octets.
pub(crate) struct Frame {
    bytes: Vec<u8>,
    address_base: u32,
    address_offset: u32,
    port_offset: u32,
    key: FlowKey,
}

const MACS: [u8; 12] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
/// ACK and PSH, ports 0 (rewritten) → 443.
const TCP: [u8; 20] = [0, 0, 0x01, 0xbb, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 0x20, 0, 0, 0, 0, 0];
/// Total length 46, TTL 64, TCP, 10.0.0.0 (rewritten) → 192.0.2.1.
const IPV4: [u8; 20] = [0x45, 0, 0, 46, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 0, 192, 0, 2, 1];
/// Payload length 20, TCP, hop limit 64; addresses follow.
const IPV6: [u8; 8] = [0x60, 0, 0, 0, 0, 20, 6, 64];
/// 2001:db8:: (its last word is rewritten) → 2001:db8::1.
const IPV6_ADDRESSES: [u8; 32] =
    [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

impl Frame {
    pub(crate) fn new(family: Family) -> Result<Self> {
        let (bytes, address_base, address_offset, port_offset) = match family {
            Family::Ipv4 => {
                ([&MACS[..], &[0x08, 0], &IPV4, &TCP, &[0; 6]].concat(), u32::from_be_bytes([10, 0, 0, 0]), 14 + 12, 34)
            }
            Family::Ipv6 => ([&MACS[..], &[0x86, 0xdd], &IPV6, &IPV6_ADDRESSES, &TCP].concat(), 0, 14 + 20, 54),
        };
        let origin = Origin { ifindex: LOOPBACK, direction: Direction::Ingress, offloaded_vlan: None };
        let mut packet = Packet::default();
        parse::ethernet(&Bytes::whole(&bytes), origin, Tunnels::NONE, &(), &mut packet)
            .map_err(|why| anyhow!("the frame is {why:?}"))?;
        Ok(Self { bytes, address_base, address_offset, port_offset, key: packet.key })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Octets.
    pub(crate) fn length(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The plan of traffic that goes through `flows` flows, a power of two.
    pub(crate) fn plan(&self, flows: u32) -> TrafficPlan {
        TrafficPlan {
            flow_mask: flows - 1,
            address_base: self.address_base,
            address_offset: self.address_offset,
            port_offset: self.port_offset,
            ifindex: 0,
        }
    }

    /// The number of the flow that `key` belongs to, where it is one of the plan's.
    pub(crate) fn flow_of(&self, key: &FlowKey, flows: u32) -> Option<u32> {
        let flow = u32::from_be(key.source.0[3]) ^ self.address_base;
        let mut expected = self.key;
        expected.source.0[3] = (self.address_base | flow).to_be();
        expected.source_port = u16::try_from(flow & 0xffff).ok()? | 0x8000;
        (flow < flows && *key == expected).then_some(flow)
    }
}
