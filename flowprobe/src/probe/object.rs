//! The committed object file and what of it this kernel can run.

use std::num::NonZeroU32;

use aya::util::KernelVersion;
use aya::{Ebpf, EbpfError, EbpfLoader};
use flowprobe_ebpf::interface::MOST_ROUTES;
use flowprobe_ebpf::{Tunnels, room};
use thiserror::Error;

/// The kernel programs, as `cargo xtask build-ebpf` made them.
pub static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/../flowprobe-ebpf/object/flowprobe.bpf.o"));

/// What the kernel programs may rely on; they are told by read-only constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// `bpf_ktime_get_coarse_ns` (5.11).
    pub coarse_clock: bool,
    /// Multi-buffer XDP (5.18), and BPF's atomic instructions beyond addition (5.12). Without, the programs are loaded that
    /// have no need of either.
    pub multi_buffer: bool,
}

/// What the programs look at beyond what they do in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Tunnels to open.
    pub tunnels: Tunnels,
    /// Also what leaves.
    pub egress: bool,
    /// Next hop and the other interface of new flows.
    pub routes: bool,
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

/// Creates the maps, with room for `max_flows` flows in each generation, and reads in the programs for this `scope`.
///
/// # Errors
/// The kernel refuses a map, for want of privilege or memory, or the object is damaged.
pub fn load_object(max_flows: NonZeroU32, scope: Scope, features: Features, log_level: u8) -> Result<Ebpf, LoadError> {
    let max_tunnelled = if scope.tunnels == Tunnels::NONE { NonZeroU32::MIN } else { max_flows };
    let max_routes = if scope.routes { MOST_ROUTES } else { 1 };
    let mark_blocks = room::mark_blocks(max_flows.get());
    let find_routes = u8::from(scope.routes);
    let (coarse_clock, multi_buffer) = (u8::from(features.coarse_clock), u8::from(features.multi_buffer));
    EbpfLoader::new()
        .map_max_entries("FLOWS_0", max_flows.get())
        .map_max_entries("FLOWS_1", max_flows.get())
        .map_max_entries("TUNNELLED_0", max_tunnelled.get())
        .map_max_entries("TUNNELLED_1", max_tunnelled.get())
        .map_max_entries("ROUTES", max_routes)
        .map_max_entries("KNOWN", mark_blocks)
        .override_global("MARK_BLOCKS", &mark_blocks, true)
        .override_global("NEWCOMERS", &room::newcomers(max_flows.get()), true)
        .override_global("FILLING_AT", &room::filling(max_flows.get()), true)
        .override_global("OPENED_TUNNELS", &scope.tunnels.0, true)
        .override_global("FIND_ROUTES", &find_routes, true)
        .override_global("COARSE_CLOCK", &coarse_clock, true)
        .override_global("MULTI_BUFFER", &multi_buffer, true)
        .override_global(aya_log::LEVEL, &log_level, true)
        .load(OBJECT)
        .map_err(LoadError::Object)
}
