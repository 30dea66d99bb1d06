//! The per-CPU counters behind the accounting sum, as they lie in the map `STATS`.

use bytemuck::{Pod, Zeroable};

use crate::parse::Unparsed;

/// Packets and layer-2 octets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Counter {
    /// Packets on the wire.
    pub packets: u64,
    /// Octets of their layer-2 frames.
    pub octets: u64,
}

impl Counter {
    /// Adds `packets` and `octets`.
    #[inline(always)]
    pub const fn add(&mut self, packets: u64, octets: u64) {
        self.packets += packets;
        self.octets += octets;
    }
}

impl core::ops::AddAssign for Counter {
    fn add_assign(&mut self, other: Self) {
        self.add(other.packets, other.octets);
    }
}

impl core::ops::Sub for Counter {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { packets: self.packets - other.packets, octets: self.octets - other.octets }
    }
}

/// What one CPU counted on one interface in one direction and one generation, since the programs were loaded.
///
/// Only its own CPU writes it, with soft interrupts off; user space reads it after the generation was retired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct InterfaceStats {
    /// Every frame the program was run for.
    pub seen: Counter,
    /// Frames whose flow found no room in the flow map, by [`OverflowClass`].
    pub overflow: [Counter; OverflowClass::COUNT],
    /// Frames that carry no flow, by [`Unparsed`].
    pub unparsed: [Counter; Unparsed::COUNT],
    /// Packets that the filter does not want.
    pub filtered_out: Counter,
    /// Packets that sampling did not choose.
    pub sampled_out: Counter,
}

/// The protocol classes by which overflow is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum OverflowClass {
    /// Protocol 6.
    Tcp = 0,
    /// Protocol 17.
    Udp = 1,
    /// Protocols 1 and 58.
    Icmp = 2,
    /// All others.
    Other = 3,
}

impl OverflowClass {
    /// Number of classes.
    pub const COUNT: usize = 4;

    /// All classes with the names under which they are shown, in the order of [`InterfaceStats::overflow`].
    pub const NAMES: [&'static str; Self::COUNT] = ["tcp", "udp", "icmp", "other"];

    /// The class of an IANA protocol number.
    #[must_use]
    #[inline(always)]
    pub const fn of(protocol: u8) -> Self {
        match protocol {
            6 => Self::Tcp,
            17 => Self::Udp,
            1 | 58 => Self::Icmp,
            _ => Self::Other,
        }
    }
}

const _: () = assert!(size_of::<InterfaceStats>() == 16 * (3 + OverflowClass::COUNT + Unparsed::COUNT));
