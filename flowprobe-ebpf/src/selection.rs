//! Which packets are metered, as it lies in the map `SELECTION`.

use bytemuck::{Pod, Zeroable};

use crate::filter::Filter;
use crate::parse::Packet;
use crate::sampling::Sampling;

/// All zero: every packet is metered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Selection {
    /// Which packets are wanted at all.
    pub filter: Filter,
    /// How some are chosen of those that are.
    pub sampling: Sampling,
}

/// What becomes of a packet that was parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is metered.
    Metered,
    /// The filter does not want it.
    FilteredOut,
    /// Sampling did not choose it.
    SampledOut,
}

impl Selection {
    /// Whether every packet is metered: [`Selection::decide`] need not be asked.
    #[must_use]
    #[inline(always)]
    pub const fn is_everything(&self) -> bool {
        self.filter.length | self.sampling.mode == 0
    }

    /// Decides on a packet of a frame of `layer2_octets` octets. `chance` gives random numbers.
    #[must_use]
    #[inline(always)]
    pub fn decide(&self, packet: &Packet, layer2_octets: u64, chance: impl FnOnce() -> u32) -> Verdict {
        if !self.filter.accepts(packet, layer2_octets) {
            Verdict::FilteredOut
        } else if !self.sampling.keeps(&packet.key, chance) {
            Verdict::SampledOut
        } else {
            Verdict::Metered
        }
    }
}
