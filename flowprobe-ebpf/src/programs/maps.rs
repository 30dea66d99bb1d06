//! The maps. Their BTF definitions are what aya, libbpf and bpftool create them from; the daemon sets the sizes of the flow
//! maps when it loads the object.

use aya_ebpf::Global;
use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::btf_maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf};
use aya_ebpf::macros::btf_map;

use crate::scratch::Scratch;
use flowprobe_ebpf::interface::MOST_ROUTES;
use flowprobe_ebpf::parse::{FragmentKey, FragmentPorts, REMEMBERED_DATAGRAMS};
use flowprobe_ebpf::room::{Marks, OVERFLOW_DESTINATIONS, ROOMS};
use flowprobe_ebpf::selection::Selection;
use flowprobe_ebpf::{
    Counter, FlowKey, FlowValue, GENERATIONS, INTERFACE_SLOTS, InterfaceSlot, InterfaceStats, OverflowKey, Room, Route,
    STATS_ENTRIES, TunnelledKey,
};

/// Flows in a map unless the daemon asks for another number when it loads the object.
const FLOWS: usize = 65_536;

/// Where the packets of one generation went that found no room.
pub(crate) type OverflowMap = HashMap<OverflowKey, Counter, OVERFLOW_DESTINATIONS>;

/// One generation of flows.
pub(crate) type FlowMap<Key> = HashMap<Key, FlowValue, FLOWS>;

#[btf_map]
pub(crate) static FLOWS_0: FlowMap<FlowKey> = FlowMap::new();

#[btf_map]
pub(crate) static FLOWS_1: FlowMap<FlowKey> = FlowMap::new();

/// Flows that came out of tunnels, apart from the others, whose keys need not be that long.
#[btf_map]
pub(crate) static TUNNELLED_0: FlowMap<TunnelledKey> = FlowMap::new();

#[btf_map]
pub(crate) static TUNNELLED_1: FlowMap<TunnelledKey> = FlowMap::new();

/// `CONTROL[0]` is the generation word: 0 or 1, the flow map and the half of `STATS` that programs write. `CONTROL[1]` is an
/// [`flowprobe_ebpf::Epoch`].
#[btf_map]
pub(crate) static CONTROL: Array<u32, 2> = Array::new();

/// What was put into the flow maps: [`flowprobe_ebpf::room::room_index`].
#[btf_map]
pub(crate) static ROOM: Array<Room, { ROOMS as usize }> = Array::new();

/// The marks of flows that are known. The daemon sets some as well, by mapping this into its memory.
#[btf_map]
pub(crate) static KNOWN: Array<Marks, 1, { BPF_F_MMAPABLE as usize }> = Array::new();

/// Hosts for which there were packets without room, and networks of hosts that have found no room there.
#[btf_map]
pub(crate) static OVER_HOSTS_0: OverflowMap = OverflowMap::new();

#[btf_map]
pub(crate) static OVER_HOSTS_1: OverflowMap = OverflowMap::new();

#[btf_map]
pub(crate) static OVER_NETS_0: OverflowMap = OverflowMap::new();

#[btf_map]
pub(crate) static OVER_NETS_1: OverflowMap = OverflowMap::new();

/// A word to the daemon whenever a flow map is filling; what it says does not matter.
#[btf_map]
pub(crate) static FILLING: RingBuf<(), 4096> = RingBuf::new();

/// What packets to meter, by generation: user space writes the entry of the one that comes next, so that a change takes
/// effect between two drains.
#[btf_map]
pub(crate) static SELECTION: Array<Selection, { GENERATIONS as usize }> = Array::new();

/// The interface that each slot stands for. User space writes a slot before it attaches.
#[btf_map]
pub(crate) static INTERFACES: Array<InterfaceSlot, { INTERFACE_SLOTS as usize }> = Array::new();

/// Counters by slot, direction and generation: [`flowprobe_ebpf::stats_index`].
#[btf_map]
pub(crate) static STATS: PerCpuArray<InterfaceStats, { STATS_ENTRIES as usize }> = PerCpuArray::new();

/// Datagrams whose first fragment went by.
#[btf_map]
pub(crate) static FRAGMENTS: LruHashMap<FragmentKey, FragmentPorts, REMEMBERED_DATAGRAMS> = LruHashMap::new();

/// The numbers of the routes that were met.
#[btf_map]
pub(crate) static ROUTES: HashMap<Route, u32, { MOST_ROUTES as usize }> = HashMap::new();

/// `ROUTE_COUNT[0]`: how many numbers were given out.
#[btf_map]
pub(crate) static ROUTE_COUNT: Array<u32, 1> = Array::new();

/// Memory of this CPU's run of a program, beyond the stack's 512 octets.
#[btf_map]
pub(crate) static SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();

/// 1 where the kernel has `bpf_ktime_get_coarse_ns` (5.11).
#[unsafe(no_mangle)]
pub(crate) static COARSE_CLOCK: Global<u8> = Global::new(1);

/// The tunnels to open: [`flowprobe_ebpf::Tunnels`].
#[unsafe(no_mangle)]
pub(crate) static OPENED_TUNNELS: Global<u16> = Global::new(0);

/// 1 where new flows are to be given a route.
#[unsafe(no_mangle)]
pub(crate) static FIND_ROUTES: Global<u8> = Global::new(0);

/// Flows in a flow map before those that are not known find no more room. Without the daemon there is no such bound.
#[unsafe(no_mangle)]
pub(crate) static NEWCOMERS: Global<u32> = Global::new(u32::MAX);

/// Flows in a flow map at which the daemon is told.
#[unsafe(no_mangle)]
pub(crate) static FILLING_AT: Global<u32> = Global::new(u32::MAX);

/// Entries of the map `KNOWN`.
#[unsafe(no_mangle)]
pub(crate) static MARK_BLOCKS: Global<u32> = Global::new(1);
