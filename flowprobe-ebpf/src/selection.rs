//! Which packets are metered, as it lies in the map `SELECTION`.

use bytemuck::{Pod, Zeroable};

use crate::sampling::Sampling;

/// All zero: every packet is metered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Selection {
    /// How packets are chosen.
    pub sampling: Sampling,
}
