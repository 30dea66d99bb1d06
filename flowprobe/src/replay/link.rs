//! Link types of captures (<https://www.tcpdump.org/linktypes.html>) and where the parser begins on each.

use flowprobe_ebpf::Tunnels;
use flowprobe_ebpf::parse::{self, Be16, Bytes, Fragments, Frame as _, Layer, Origin, Packet, Unparsed, by_version};

/// A link type that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// `LINKTYPE_ETHERNET`.
    Ethernet,
    /// `LINKTYPE_RAW`, `LINKTYPE_IPV4`, `LINKTYPE_IPV6` and the numbers that BSDs use for the first.
    Raw,
    /// `LINKTYPE_NULL` and `LINKTYPE_LOOP`: four octets of address family, whose values differ between systems; the IP
    /// version that follows says the same.
    Loopback,
    /// `LINKTYPE_LINUX_SLL`, "cooked" capture.
    Cooked,
    /// `LINKTYPE_LINUX_SLL2`.
    Cooked2,
}

/// Octets before the network layer.
const LOOPBACK_HEADER: usize = 4;
const COOKED_HEADER: usize = 16;
const COOKED2_HEADER: usize = 20;

impl Link {
    /// The link type of a capture's number.
    pub(super) const fn of(number: i32) -> Option<Self> {
        Some(match number {
            1 => Self::Ethernet,
            12 | 14 | 101 | 228 | 229 => Self::Raw,
            0 | 108 => Self::Loopback,
            113 => Self::Cooked,
            276 => Self::Cooked2,
            _ => return None,
        })
    }

    /// Parses a frame of this link type.
    pub(super) fn parse(
        self,
        frame: &Bytes<'_>,
        origin: Origin,
        opened: Tunnels,
        fragments: &impl Fragments,
        packet: &mut Packet,
    ) -> Result<(), Unparsed> {
        let (ethertype, offset) = match self {
            Self::Ethernet => return parse::ethernet(frame, origin, opened, fragments, packet),
            Self::Raw => (by_version(frame, 0)?, 0),
            Self::Loopback => (by_version(frame, LOOPBACK_HEADER)?, LOOPBACK_HEADER),
            Self::Cooked => {
                let ethertype: Be16 = frame.read(COOKED_HEADER - 2).ok_or(Unparsed::Truncated)?;
                packet.source_mac = frame.read(6).ok_or(Unparsed::Truncated)?;
                (ethertype.get(), COOKED_HEADER)
            }
            Self::Cooked2 => {
                let ethertype: Be16 = frame.read(0).ok_or(Unparsed::Truncated)?;
                packet.source_mac = frame.read(12).ok_or(Unparsed::Truncated)?;
                (ethertype.get(), COOKED2_HEADER)
            }
        };
        parse::network(frame, Layer { ethertype, offset }, origin, opened, fragments, packet)
    }
}
