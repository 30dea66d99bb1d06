//! The maps. Their BTF definitions are what aya, libbpf and bpftool create them from; the daemon sets the sizes of the flow
//! maps when it loads the object.

use aya_ebpf::Global;
use aya_ebpf::btf_maps::{Array, HashMap, LruHashMap, PerCpuArray};
use aya_ebpf::macros::btf_map;

use crate::scratch::Scratch;
use flowprobe_ebpf::parse::{FragmentKey, FragmentPorts, REMEMBERED_DATAGRAMS};
use flowprobe_ebpf::{FlowKey, FlowValue, INTERFACE_SLOTS, InterfaceStats, STATS_ENTRIES};

/// One generation of flows.
pub(crate) type FlowMap = HashMap<FlowKey, FlowValue, 65_536>;

#[btf_map]
pub(crate) static FLOWS_0: FlowMap = FlowMap::new();

#[btf_map]
pub(crate) static FLOWS_1: FlowMap = FlowMap::new();

/// `CONTROL[0]` is the generation word: 0 or 1, the flow map and the half of `STATS` that programs write.
#[btf_map]
pub(crate) static CONTROL: Array<u32, 1> = Array::new();

/// The ifindex that each slot stands for, 0 where the slot is free. User space writes a slot before it attaches.
#[btf_map]
pub(crate) static INTERFACES: Array<u32, { INTERFACE_SLOTS as usize }> = Array::new();

/// Counters by slot, direction and generation: [`flowprobe_ebpf::stats_index`].
#[btf_map]
pub(crate) static STATS: PerCpuArray<InterfaceStats, { STATS_ENTRIES as usize }> = PerCpuArray::new();

/// Datagrams whose first fragment went by.
#[btf_map]
pub(crate) static FRAGMENTS: LruHashMap<FragmentKey, FragmentPorts, REMEMBERED_DATAGRAMS> = LruHashMap::new();

/// Memory of this CPU's run of a program, beyond the stack's 512 octets.
#[btf_map]
pub(crate) static SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();

/// 1 where the kernel has `bpf_ktime_get_coarse_ns` (5.11).
#[unsafe(no_mangle)]
pub(crate) static COARSE_CLOCK: Global<u8> = Global::new(1);
