//! Tunnels: which are opened, and what is kept of the one that a flow's packets came out of.

use bytemuck::{Pod, Zeroable};

use crate::flow::{Address, FlowKey};

/// The tunnel around a flow's packets; where tunnels are nested, the innermost. Part of what makes two packets one flow:
/// two tenants of an overlay may use the same addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
#[repr(C)]
pub struct Tunnel {
    /// Source address of the tunnel's IP header.
    pub source: Address,
    /// Destination address of the tunnel's IP header.
    pub destination: Address,
    /// VXLAN or GENEVE network identifier, GRE key, ERSPAN session, GTP-U tunnel endpoint identifier; 0 where there is none.
    pub id: u32,
    /// A [`TunnelKind`].
    pub kind: u8,
    /// 4 or 6: of the tunnel's IP header; 0 without a tunnel.
    pub ip_version: u8,
    /// Zero.
    pub padding: u16,
}

impl Tunnel {
    /// Of a packet that is in no tunnel, or in none that is opened.
    pub const NONE: Self = Self {
        source: Address([0; 4]),
        destination: Address([0; 4]),
        id: 0,
        kind: TunnelKind::None as u8,
        ip_version: 0,
        padding: 0,
    };

    /// Whether there is one.
    #[must_use]
    #[inline(always)]
    pub const fn is_some(&self) -> bool {
        self.kind != TunnelKind::None as u8
    }
}

/// What makes two packets one flow where tunnels are opened: the key of the maps of tunnelled flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
#[repr(C)]
pub struct TunnelledKey {
    /// The inner flow.
    pub flow: FlowKey,
    /// Around it.
    pub tunnel: Tunnel,
}

/// How a tunnel wraps packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TunnelKind {
    /// No tunnel.
    None = 0,
    /// VXLAN (RFC 7348), also with a protocol field (VXLAN-GPE).
    Vxlan = 1,
    /// GENEVE (RFC 8926).
    Geneve = 2,
    /// GRE (RFC 2784, RFC 2890), NVGRE among it (RFC 7637).
    Gre = 3,
    /// ERSPAN, types I to III, which GRE carries.
    Erspan = 4,
    /// GTP user plane (3GPP TS 29.281).
    GtpU = 5,
    /// IP in IP, of either version in either (RFC 2003, RFC 4213, RFC 2473).
    IpInIp = 6,
}

/// The tunnels that are opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tunnels(pub u16);

impl Tunnels {
    /// None: every packet belongs to the flow of its outermost IP header.
    pub const NONE: Self = Self(0);
    /// VXLAN and VXLAN-GPE: UDP to port 4789, 8472 (Linux's choice before there was a registered one) or 4790.
    pub const VXLAN: Self = Self(1 << 0);
    /// GENEVE: UDP to port 6081.
    pub const GENEVE: Self = Self(1 << 1);
    /// GRE that carries IP, Ethernet, MPLS or ERSPAN.
    pub const GRE: Self = Self(1 << 2);
    /// GTP-U: UDP to port 2152.
    pub const GTP_U: Self = Self(1 << 3);
    /// IPv4 in IPv4.
    pub const V4_IN_V4: Self = Self(1 << 4);
    /// IPv6 in IPv4.
    pub const V6_IN_V4: Self = Self(1 << 5);
    /// IPv4 in IPv6.
    pub const V4_IN_V6: Self = Self(1 << 6);
    /// IPv6 in IPv6.
    pub const V6_IN_V6: Self = Self(1 << 7);
    /// IP in IP, whatever the versions.
    pub const IP_IN_IP: Self = Self::V4_IN_V4.and(Self::V6_IN_V4).and(Self::V4_IN_V6).and(Self::V6_IN_V6);
    /// All of them.
    pub const ALL: Self = Self(0xff);

    /// What can be asked for, by name.
    pub const NAMES: [(&'static str, Self); 11] = [
        ("vxlan", Self::VXLAN),
        ("geneve", Self::GENEVE),
        ("gre", Self::GRE),
        ("gtpu", Self::GTP_U),
        ("ipip", Self::IP_IN_IP),
        ("4in4", Self::V4_IN_V4),
        ("6in4", Self::V6_IN_V4),
        ("4in6", Self::V4_IN_V6),
        ("6in6", Self::V6_IN_V6),
        ("all", Self::ALL),
        ("none", Self::NONE),
    ];

    /// These and those.
    #[must_use]
    #[inline(always)]
    pub const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Whether one of `others` is among these.
    #[must_use]
    #[inline(always)]
    pub const fn has(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }
}

const _: () = {
    assert!(size_of::<Tunnel>() == 40);
    assert!(size_of::<TunnelledKey>() == 88);
    assert!(align_of::<TunnelledKey>() == 4);
};
