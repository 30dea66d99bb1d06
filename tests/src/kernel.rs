//! What the running kernel has, as far as tests expect different things of different kernels.

use aya::util::KernelVersion;

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
