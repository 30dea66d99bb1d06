//! What flowprobe's kernel programs and its daemon share: the layout of the maps ([`flow`], [`stats`]), the packet
//! parser ([`parse`]) and the packet filter ([`filter`]). Everything here compiles for the host and for BPF; the programs
//! themselves are the binaries beside this file.
#![no_std]

pub mod filter;
pub mod flow;
pub mod interface;
pub mod parse;
pub mod protocol;
pub mod room;
pub mod sampling;
pub mod selection;
pub mod stats;
pub mod traffic;
pub mod tunnel;
pub mod weight;

pub use filter::Filter;
pub use flow::{Address, Direction, FlowKey, FlowValue};
pub use interface::{InterfaceSlot, LinkLayer, Route};
pub use room::{Epoch, OverflowKey, Room};
pub use sampling::{Sampling, SamplingMode};
pub use selection::Selection;
pub use stats::{Counter, InterfaceStats, OverflowClass};
pub use tunnel::{Tunnel, TunnelKind, TunnelledKey, Tunnels};
pub use weight::Weight;

/// How many interfaces can be metered at once: the number of slots in the map `INTERFACES`, a power of two.
pub const INTERFACE_SLOTS: u32 = 512;

/// How far from its first choice (`ifindex % INTERFACE_SLOTS`) an interface's slot may lie. The programs look no further.
pub const INTERFACE_PROBES: u32 = 8;

/// The two flow maps; `CONTROL[0]` names the one that programs write. (`CONTROL[1]` is an [`Epoch`].)
pub const GENERATIONS: u32 = 2;

/// Number of entries in the map `STATS`: one per interface slot, direction and generation.
pub const STATS_ENTRIES: u32 = INTERFACE_SLOTS * 2 * GENERATIONS;

/// Index into `STATS` of what `generation` counted on interface slot `slot` in `direction`.
#[must_use]
#[inline(always)]
pub const fn stats_index(slot: u32, direction: Direction, generation: u32) -> u32 {
    (slot * 2 + direction as u32) * GENERATIONS + (generation & 1)
}
