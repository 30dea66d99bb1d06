//! The committed object file and what of it this kernel can run.

use std::num::NonZeroU32;

use aya::util::KernelVersion;
use aya::{Ebpf, EbpfError, EbpfLoader};
use thiserror::Error;

/// The kernel programs, as `cargo xtask build-ebpf` made them.
pub static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/../flowprobe-ebpf/object/flowprobe.bpf.o"));

/// What the kernel programs may rely on; they are told by read-only constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// `bpf_ktime_get_coarse_ns` (5.11).
    pub coarse_clock: bool,
    /// Multi-buffer XDP (5.18).
    pub multi_buffer: bool,
}

impl Features {
    /// The features of the running kernel.
    #[must_use]
    pub fn of_this_kernel() -> Self {
        Self { coarse_clock: kernel_is_at_least(5, 11), multi_buffer: kernel_is_at_least(5, 18) }
    }
}

/// Whether the running kernel is of this version or later. One that does not say is taken for an old one.
pub(super) fn kernel_is_at_least(major: u8, minor: u8) -> bool {
    KernelVersion::current().is_ok_and(|current| current >= KernelVersion::new(major, minor, 0))
}

/// Why the programs are not in the kernel.
#[derive(Debug, Error)]
pub enum LoadError {
    /// aya or the kernel refused the object.
    #[error("cannot load the kernel programs: {0}")]
    Object(#[source] EbpfError),
    /// The object lacks a map: it and the daemon are of different versions.
    #[error("the kernel object has no map `{0}`")]
    NoMap(&'static str),
    /// A map is not what it should be.
    #[error("the map `{name}` cannot be used: {error}")]
    Map {
        /// Its name.
        name: &'static str,
        /// What aya says.
        error: aya::maps::MapError,
    },
}

/// Creates the maps, with room for `max_flows` flows in each generation, and reads in the programs.
///
/// # Errors
/// The kernel refuses a map, for want of privilege or memory, or the object is damaged.
pub fn load_object(max_flows: NonZeroU32, features: Features, log_level: u8) -> Result<Ebpf, LoadError> {
    let (coarse_clock, multi_buffer) = (u8::from(features.coarse_clock), u8::from(features.multi_buffer));
    EbpfLoader::new()
        .map_max_entries("FLOWS_0", max_flows.get())
        .map_max_entries("FLOWS_1", max_flows.get())
        .override_global("COARSE_CLOCK", &coarse_clock, true)
        .override_global("MULTI_BUFFER", &multi_buffer, true)
        .override_global(aya_log::LEVEL, &log_level, true)
        .load(OBJECT)
        .map_err(LoadError::Object)
}
