//! The map of fragmented datagrams behind the parser's [`Fragments`].

use aya_ebpf::bindings::BPF_ANY;

use flowprobe_ebpf::parse::{FragmentKey, FragmentPorts, Fragments};

use crate::maps::FRAGMENTS;

pub(crate) struct KernelFragments;

impl Fragments for KernelFragments {
    /// An LRU map makes room by itself; where even that fails, later fragments are counted with port 0.
    #[inline(always)]
    fn remember(&self, key: &FragmentKey, ports: FragmentPorts) {
        let _ = FRAGMENTS.insert(key, &ports, BPF_ANY.into());
    }

    #[inline(always)]
    fn recall(&self, key: &FragmentKey) -> Option<FragmentPorts> {
        let ports = FRAGMENTS.get_ptr(key)?;
        // SAFETY: the pointer comes from the map. An entry that is evicted at this moment gives another datagram's ports,
        // as a datagram of the same identification would.
        Some(unsafe { *ports })
    }
}
