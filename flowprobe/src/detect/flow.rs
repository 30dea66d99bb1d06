//! What detectors look at: who sent what to whom since the last time that this was said.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// IANA protocol numbers that detectors know by name.
pub(crate) mod protocol {
    pub(crate) const ICMP: u8 = 1;
    pub(crate) const TCP: u8 = 6;
    pub(crate) const UDP: u8 = 17;
    pub(crate) const ICMPV6: u8 = 58;
}

/// TCP header flags (RFC 9293 section 3.1).
pub(crate) mod flag {
    pub(crate) const FIN: u16 = 0x01;
    pub(crate) const SYN: u16 = 0x02;
    pub(crate) const RST: u16 = 0x04;
    pub(crate) const PSH: u16 = 0x08;
    pub(crate) const ACK: u16 = 0x10;
}

/// An address as a number: IPv6, or IPv4 as IPv4-mapped IPv6 (RFC 4291 section 2.5.5.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ip(pub u128);

impl Ip {
    /// IPv4 where it is mapped, else IPv6.
    #[must_use]
    pub fn to_addr(self) -> IpAddr {
        IpAddr::V6(Ipv6Addr::from_bits(self.0)).to_canonical()
    }

    /// Whether it is an IPv4 address.
    #[must_use]
    pub const fn is_v4(self) -> bool {
        self.0 >> 32 == 0xffff
    }

    /// The network that it is in as a rule, /24 or /48, by its first address.
    #[must_use]
    pub const fn network(self) -> Self {
        Self(if self.is_v4() { self.0 & !0xff } else { self.0 >> 80 << 80 })
    }

    /// The lowest 32 bits: the IPv4 address, where it is one.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "that is what it is for")]
    pub const fn low(self) -> u32 {
        self.0 as u32
    }

    /// Whether packets to it are for more than one host: multicast, and the limited broadcast.
    #[must_use]
    pub const fn is_to_many(self) -> bool {
        if self.is_v4() {
            let top = self.low() >> 28;
            top == 0xe || self.low() == u32::MAX
        } else {
            self.0 >> 120 == 0xff
        }
    }

    /// Whether it names a host at all: not the unspecified address, not many.
    #[must_use]
    pub const fn is_of_a_host(self) -> bool {
        !self.is_to_many() && self.0 != 0 && self.0 != 0xffff_0000_0000
    }
}

impl From<IpAddr> for Ip {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => v4.into(),
            IpAddr::V6(v6) => Self(v6.to_bits()),
        }
    }
}

impl From<Ipv4Addr> for Ip {
    fn from(address: Ipv4Addr) -> Self {
        Self(address.to_ipv6_mapped().to_bits())
    }
}

impl fmt::Display for Ip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_addr().fmt(f)
    }
}

/// A MAC address; all zeros where it is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Whether one is known, of one station.
    #[must_use]
    pub const fn is_of_a_station(self) -> bool {
        self.0[0] & 1 == 0 && (self.0[0] | self.0[1] | self.0[2] | self.0[3] | self.0[4] | self.0[5]) != 0
    }

    /// Whether it was made up by the device, or by a hypervisor (IEEE 802: the locally administered bit), as phones do for each network.
    #[must_use]
    pub const fn is_local(self) -> bool {
        self.0[0] & 2 != 0
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Packets one way: all of a finished record, or what was metered of an open flow since the last drain. Counts are estimates of the whole
/// where packets were sampled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// Who sent them.
    pub source: Ip,
    /// To whom.
    pub destination: Ip,
    /// 0 where the protocol has none.
    pub source_port: u16,
    /// ICMP and ICMPv6: type × 256 + code.
    pub destination_port: u16,
    /// IANA number.
    pub protocol: u8,
    /// TCP flags, or-ed; 0 for other protocols.
    pub tcp_flags: u16,
    /// Whether a packet had SYN and no ACK, as far as that is known.
    pub opens: bool,
    /// Whether there were fragments.
    pub is_fragmented: bool,
    /// Packets.
    pub packets: u64,
    /// Octets from the IP header on.
    pub octets: u64,
    /// First packet, milliseconds since 1970 UTC.
    pub start_ms: i64,
    /// Last packet, the same.
    pub end_ms: i64,
    /// Smallest and largest IP length; 0 where it is not known.
    pub length: (u16, u16),
    /// Of the first frame.
    pub source_mac: Mac,
    /// Of the first frame.
    pub destination_mac: Mac,
    /// Outer VLAN, 0 without one.
    pub vlan: u16,
    /// Where it came in: a number that stands for an exporter and an interface of it.
    pub interface: u32,
}

impl Flow {
    /// A destination port that is ICMP type and code.
    #[must_use]
    pub const fn is_icmp(&self) -> bool {
        matches!(self.protocol, protocol::ICMP | protocol::ICMPV6)
    }

    /// The type of an ICMP or ICMPv6 message.
    #[must_use]
    pub const fn icmp_type(&self) -> u8 {
        (self.destination_port >> 8) as u8
    }

    /// Whether it holds nothing but attempts to open a TCP connection: SYN, again and again, and an end.
    #[must_use]
    pub const fn is_attempt(&self) -> bool {
        self.protocol == protocol::TCP && self.tcp_flags & flag::SYN != 0 && self.tcp_flags & flag::ACK == 0
    }

    /// Whether it is the one packet with which a server accepts a TCP connection. Of more packets SYN and ACK may be a client's, or-ed.
    pub(crate) const fn accepts(&self) -> bool {
        const SHOWN: u16 = flag::FIN | flag::SYN | flag::RST | flag::PSH | flag::ACK;
        self.protocol == protocol::TCP && self.packets == 1 && self.tcp_flags & SHOWN == flag::SYN | flag::ACK
    }

    /// Octets in each packet, rounded down; 0 without packets.
    #[must_use]
    pub const fn octets_each(&self) -> u64 {
        match self.octets.checked_div(self.packets) {
            Some(each) => each,
            None => 0,
        }
    }

    /// What of `count`, spread evenly over the time of the flow, belongs into so many milliseconds. All of it where the flow is shorter.
    #[must_use]
    pub fn share(&self, count: u64, of_ms: i64) -> u64 {
        let lasts = self.end_ms - self.start_ms;
        if lasts <= of_ms {
            count
        } else {
            u64::try_from(i128::from(count) * i128::from(of_ms) / i128::from(lasts)).unwrap_or(count)
        }
    }
}
