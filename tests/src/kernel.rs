//! What the running kernel has, as far as tests expect different things of different kernels.

use std::fs;

use anyhow::{Context as _, Result};
use aya::util::KernelVersion;
use aya::{Ebpf, EbpfLoader};
use flowprobe_ebpf::Tunnels;

/// Whether the running kernel is of this version or later.
#[must_use]
pub fn is_at_least(major: u8, minor: u8) -> bool {
    KernelVersion::current().is_ok_and(|current| current >= KernelVersion::new(major, minor, 0))
}

/// Whether programs attach at tc by links of their own.
#[must_use]
pub fn has_tcx() -> bool {
    is_at_least(6, 6)
}

/// How the daemon names its hook at tc on this kernel.
#[must_use]
pub fn tc_hook() -> &'static str {
    if has_tcx() { "tcx" } else { "tc clsact" }
}

/// The daemon's programs, told what this kernel has and what they are to do, as the daemon tells them.
///
/// # Errors
/// The kernel refuses the maps.
pub fn programs(opened: Tunnels, find_routes: bool) -> Result<Ebpf> {
    let object = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../flowprobe-ebpf/object/flowprobe.bpf.o"))?;
    let [coarse_clock, multi_buffer, find_routes] = [is_at_least(5, 11), is_at_least(5, 18), find_routes].map(u8::from);
    let mut loader = EbpfLoader::new();
    loader.override_global("COARSE_CLOCK", &coarse_clock, true);
    loader.override_global("MULTI_BUFFER", &multi_buffer, true);
    loader.override_global("OPENED_TUNNELS", &opened.0, true);
    loader.override_global("FIND_ROUTES", &find_routes, true);
    loader.load(&object).context("the kernel refuses the maps")
}

/// Whether one of the daemon's programs is meant for this kernel, and for opening these tunnels: those whose names end in
/// `_legacy` are for kernels before 5.18, and load on every kernel.
#[must_use]
pub fn takes(program: &str, opened: Tunnels) -> bool {
    let for_tunnels = program.ends_with("_tunnels");
    program.ends_with("_legacy") || (is_at_least(5, 18) && for_tunnels == (opened != Tunnels::NONE))
}
