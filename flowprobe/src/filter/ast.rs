//! What an expression says.

use flowprobe_ebpf::{Address, Direction};

/// An expression. Chains of one operator are one list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expression {
    Is(Primitive),
    Not(Box<Expression>),
    All(Vec<Expression>),
    Any(Vec<Expression>),
}

impl Expression {
    pub(super) fn and(self, other: Self) -> Self {
        match self {
            Self::All(mut list) => {
                list.push(other);
                Self::All(list)
            }
            first => Self::All(vec![first, other]),
        }
    }

    pub(super) fn or(self, other: Self) -> Self {
        match self {
            Self::Any(mut list) => {
                list.push(other);
                Self::Any(list)
            }
            first => Self::Any(vec![first, other]),
        }
    }
}

/// One question about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Primitive {
    /// `ip`, `tcp`, `ip proto 6`: both conditions, where there are any.
    Ip { version: Option<Version>, protocol: Option<u8> },
    /// `host`, `net`, and multicast by IP address.
    Network { ends: Ends, network: Network },
    /// `port` and `portrange`: of this protocol, or of any that has ports.
    Port { ends: Ends, protocol: Option<u8>, low: u16, high: u16 },
    /// `ether host`.
    Mac { ends: Ends, mac: [u8; 6] },
    /// `ether broadcast`.
    Broadcast,
    /// `ether multicast`.
    Multicast,
    /// `ether proto`.
    EtherType(u16),
    /// `vlan`: some tag, or one with this identifier.
    Vlan(Option<u16>),
    /// `mpls`: some label, or this one on top.
    Mpls(Option<u32>),
    /// `fragment`.
    Fragment,
    /// `inbound`, `outbound`.
    Way(Direction),
    /// `len`, `tcp[tcpflags]` and the like against a number.
    Compare(Comparison),
}

/// An IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Version {
    V4 = 4,
    V6 = 6,
}

/// Of which end of a packet something is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    Source,
    Destination,
    Either,
    Both,
}

/// The addresses of `version` that are `address` in the bits of `mask`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Network {
    pub(super) version: Version,
    pub(super) address: Address,
    pub(super) mask: Address,
}

/// `quantity & mask relation number`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Comparison {
    pub(super) quantity: Quantity,
    pub(super) mask: u32,
    pub(super) relation: Relation,
    pub(super) number: u32,
}

/// What can be compared. A packet that has no such field matches no comparison, `!=` included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quantity {
    /// Octets of the layer-2 frame.
    Length,
    /// IPv4 total length.
    IpLength,
    /// IPv4 type of service.
    Tos,
    /// TTL or hop limit, of this version.
    Ttl(Version),
    /// IPv4 protocol.
    Protocol,
    /// Source port, of this protocol.
    SourcePort(u8),
    /// Destination port, of this protocol.
    DestinationPort(u8),
    /// The low eight TCP flags.
    TcpFlags,
    /// ICMP type, of ICMP for this version.
    IcmpType(Version),
    /// ICMP code, of ICMP for this version.
    IcmpCode(Version),
}

/// How two numbers are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}
