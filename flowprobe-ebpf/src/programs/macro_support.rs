//! What aya-log's macros expect of their support crate, with the ring buffer as a BTF map.
//!
//! `aya-log-ebpf` itself defines the buffer in the legacy section `maps`, which libbpf 1.0 and later refuse; its macros, its
//! wire format and the reader in the daemon are used as they are.

use aya_ebpf::Global;
use aya_ebpf::btf_maps::RingBuf;
use aya_ebpf::macros::btf_map;
pub(crate) use aya_log_common::{Argument, DefaultFormatter, DisplayHint, Field, Header, Level, LogValueLength};

/// Octets of the ring: room for some hundred messages.
const RING_OCTETS: usize = 1 << 16;

#[btf_map]
pub(crate) static AYA_LOGS: RingBuf<(), RING_OCTETS> = RingBuf::new();

/// Set by the daemon to what its own log shows.
#[unsafe(no_mangle)]
static AYA_LOG_LEVEL: Global<u8> = Global::new(0xff);

#[inline(always)]
pub(crate) fn level_enabled(level: Level) -> bool {
    level as u8 <= AYA_LOG_LEVEL.load()
}
