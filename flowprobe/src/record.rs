//! The two forms in which a flow travels through the daemon: the delta that a source hands to the table, and the record
//! that leaves it.

use std::fmt;
use std::num::NonZeroU32;

use flowprobe_ebpf::flow::{Extremes, FACT_TCP_FLAGS};
pub use flowprobe_ebpf::protocol::{ICMP, ICMPV6, TCP, UDP, has_ports};
use flowprobe_ebpf::{Direction, FlowKey, FlowValue, Route, Sampling, SamplingMode, Tunnel};

/// The FIN bit of `tcpControlBits`.
pub const TCP_FIN: u32 = 0x01;
/// The SYN bit of `tcpControlBits`.
pub const TCP_SYN: u32 = 0x02;
/// The RST bit of `tcpControlBits`.
pub const TCP_RST: u32 = 0x04;

/// What a source counted of one flow since it last said so. Times are nanoseconds of the kernel's monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowDelta {
    /// What makes the flow, together with the tunnel.
    pub key: FlowKey,
    /// The tunnel out of which its packets came, or [`Tunnel::NONE`].
    pub tunnel: Tunnel,
    /// What was counted.
    pub value: FlowValue,
}

/// Why a record left the table: IPFIX `flowEndReason` (element 136), RFC 5102.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EndReason {
    /// An exporter has not said why; 0 is reserved in the registry.
    Unsaid = 0,
    /// No packet for as long as the idle timeout.
    IdleTimeout = 1,
    /// The flow goes on; it has been reported at the active timeout.
    ActiveTimeout = 2,
    /// TCP said so, by FIN or RST.
    EndOfFlow = 3,
    /// The daemon is shutting down.
    ForcedEnd = 4,
    /// The table was full, and this flow had been idle longest.
    LackOfResources = 5,
}

/// What a record is of: packets one way, or one half of a biflow (RFC 5103), which is **two consecutive records**, the forward
/// one and then the reverse one. Nothing ever comes between the two, and nothing parts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Role {
    /// Packets one way. None of the other way are known, or nobody asked to join them.
    #[default]
    Single,
    /// From the side that opened the conversation; what the other side sent is in the next record.
    Forward,
    /// What answers the record before.
    Reverse,
}

/// A finished record: what one flow did between two moments. Counters are those since the flow's previous record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowRecord {
    /// What makes the flow, together with the tunnel.
    pub key: FlowKey,
    /// The tunnel out of which its packets came, or [`Tunnel::NONE`].
    pub tunnel: Tunnel,
    /// Packets.
    pub packets: u64,
    /// Octets from the IP header on.
    pub octets: u64,
    /// Octets of the layer-2 frames.
    pub layer2_octets: u64,
    /// First packet, microseconds since 1970-01-01 UTC.
    pub start_us: u64,
    /// Last packet, microseconds since 1970-01-01 UTC.
    pub end_us: u64,
    /// Smallest and largest IP length and TTL.
    pub extremes: Extremes,
    /// TCP flags, or-ed over all packets; 0 for other protocols.
    pub tcp_flags: u16,
    /// Whether there were fragments among the packets.
    pub fragmented: bool,
    /// EtherType of the network layer.
    pub ethertype: u16,
    /// Type of service or traffic class of the first packet.
    pub tos: u8,
    /// First MPLS label stack entry of the first packet, without its TTL; 0 without one.
    pub mpls_top_label: u32,
    /// Source MAC address of the first packet.
    pub source_mac: [u8; 6],
    /// Destination MAC address of the first packet.
    pub destination_mac: [u8; 6],
    /// Next hop and the interface on the other side, where they were asked for and are known.
    pub route: Option<Route>,
    /// Number of the autonomous system of the source address; 0 where it is not known.
    pub source_as: u32,
    /// The same of the destination address.
    pub destination_as: u32,
    /// How the packets were chosen.
    pub sampling: SamplingRate,
    /// Why the record left the table. The same in both halves of a biflow.
    pub end_reason: EndReason,
    /// Which half of a biflow this is, if it is one. A half may be without packets; it then has the times of the other.
    pub role: Role,
}

/// Which packets were metered: one of so many. Counts are what was metered, never scaled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SamplingRate {
    /// All.
    #[default]
    All,
    /// One packet of so many, each chosen by chance.
    Packets(NonZeroU32),
    /// One conversation of so many, chosen by a hash, with all its packets.
    Flows(NonZeroU32),
}

/// As a remark after what is metered; nothing where all is.
impl fmt::Display for SamplingRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => Ok(()),
            Self::Packets(interval) => write!(f, " · 1 in {interval} packets"),
            Self::Flows(interval) => write!(f, " · 1 in {interval} flows"),
        }
    }
}

impl SamplingRate {
    /// Of how many one was metered.
    #[must_use]
    pub const fn interval(self) -> u32 {
        match self {
            Self::All => 1,
            Self::Packets(interval) | Self::Flows(interval) => interval.get(),
        }
    }

    /// The same as the programs are told, with `seed` for the hash of flows.
    #[must_use]
    pub const fn seeded(self, seed: u32) -> Sampling {
        match self {
            Self::All => Sampling::ALL,
            Self::Packets(interval) => Sampling::one_in(interval.get(), SamplingMode::Packets, seed),
            Self::Flows(interval) => Sampling::one_in(interval.get(), SamplingMode::Flows, seed),
        }
    }
}

impl FlowRecord {
    /// The record as a delta, for summaries: counts are estimates of the whole where packets were sampled ([`FlowRecord::scaled`]);
    /// what a summary does not look at is left out.
    #[must_use]
    pub fn to_delta(&self) -> FlowDelta {
        let (packets, octets) = self.scaled();
        FlowDelta { key: self.key, tunnel: self.tunnel, value: FlowValue { packets, octets, ..FlowValue::default() } }
    }

    /// Packets and octets as they are estimated to have been, where not all were metered.
    #[must_use]
    pub const fn scaled(&self) -> (u64, u64) {
        let interval = self.sampling.interval() as u64;
        (self.packets.saturating_mul(interval), self.octets.saturating_mul(interval))
    }

    /// Whether the key's ports are ports.
    #[must_use]
    pub fn has_ports(&self) -> bool {
        has_ports(self.key.protocol)
    }

    /// The index of the interface in this direction: where the flow was metered, or the other one; 0 where it is not known.
    #[must_use]
    pub fn interface(&self, direction: Direction) -> u32 {
        if self.key.direction == direction as u8 {
            self.key.ifindex
        } else {
            self.route.map_or(0, |route| route.ifindex)
        }
    }

    /// Whether the key's destination port is an ICMP or ICMPv6 type and code.
    #[must_use]
    pub fn is_icmp(&self) -> bool {
        matches!(self.key.protocol, ICMP | ICMPV6)
    }
}

/// Each conversation among `records`: a record alone, or the two halves of a biflow. A forward half that ends `records` is alone.
pub fn conversations(records: &[FlowRecord]) -> impl Iterator<Item = (&FlowRecord, Option<&FlowRecord>)> {
    numbered_conversations(records).map(|(_, record, reverse)| (record, reverse))
}

/// The same, with the index of each conversation's first record.
pub fn numbered_conversations(
    records: &[FlowRecord],
) -> impl Iterator<Item = (usize, &FlowRecord, Option<&FlowRecord>)> {
    let mut records = records.iter().enumerate().peekable();
    std::iter::from_fn(move || {
        let (index, first) = records.next()?;
        let answers = |(_, next): &(usize, &FlowRecord)| (first.role, next.role) == (Role::Forward, Role::Reverse);
        Some((index, first, records.next_if(answers).map(|(_, reverse)| reverse)))
    })
}

/// The TCP flags among a flow's facts.
#[must_use]
pub const fn tcp_flags(facts: u32) -> u16 {
    (facts & FACT_TCP_FLAGS) as u16
}

#[cfg(test)]
impl FlowRecord {
    /// A record for tests that ask for any, or for one that differs from this in a field or two.
    pub(crate) fn example() -> Self {
        Self {
            key: FlowKey {
                source: std::net::Ipv4Addr::new(192, 0, 2, 1).into(),
                destination: std::net::Ipv4Addr::new(198, 51, 100, 2).into(),
                ifindex: 7,
                source_port: 50_000,
                destination_port: 443,
                protocol: TCP,
                ip_version: 4,
                ..FlowKey::default()
            },
            tunnel: Tunnel::NONE,
            packets: 3,
            octets: 156,
            layer2_octets: 198,
            start_us: 1_700_000_000_123_456,
            end_us: 1_700_000_001_456_789,
            extremes: Extremes::of(52, 64),
            tcp_flags: 0x11b,
            fragmented: false,
            ethertype: 0x0800,
            tos: 0xb8,
            mpls_top_label: 0,
            source_as: 0,
            destination_as: 0,
            source_mac: [2, 0, 0, 0, 0, 1],
            destination_mac: [2, 0, 0, 0, 0, 2],
            route: None,
            sampling: SamplingRate::All,
            end_reason: EndReason::EndOfFlow,
            role: Role::Single,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sampled_is_estimated_by_the_interval() {
        let record = |sampling, octets| FlowRecord { sampling, octets, ..FlowRecord::example() }.scaled();
        let one_in_hundred = NonZeroU32::new(100).expect("not 0");
        assert_eq!(record(SamplingRate::All, 156), (3, 156));
        assert_eq!(record(SamplingRate::Packets(one_in_hundred), 156), (300, 15_600));
        assert_eq!(record(SamplingRate::Flows(one_in_hundred), u64::MAX / 2), (300, u64::MAX));
    }

    #[test]
    fn only_a_forward_half_and_the_reverse_one_after_it_are_joined() {
        use Role::{Forward, Reverse, Single};
        let roles = [Single, Forward, Reverse, Forward, Forward, Reverse, Reverse, Single, Forward];
        let records = roles.map(|role| FlowRecord { role, ..FlowRecord::example() });
        let joined: Vec<_> =
            conversations(&records).map(|(one, other)| (one.role, other.map(|other| other.role))).collect();
        let pair = (Forward, Some(Reverse));
        let alone = |role| (role, None);
        assert_eq!(joined, [alone(Single), pair, alone(Forward), pair, alone(Reverse), alone(Single), alone(Forward)]);
    }
}
