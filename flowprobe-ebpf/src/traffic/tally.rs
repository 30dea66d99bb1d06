//! The truth at the receiving end: what of scheduled traffic arrived, by flow and by interface.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::btf_maps::{Array, HashMap};
use aya_ebpf::macros::btf_map;
use aya_ebpf::programs::TcContext;

use flowprobe_ebpf::traffic::{Arrived, TRAFFIC_MAGIC, TrafficMark};

/// By the number in a frame's mark. User space gives it as many entries as there are flows.
#[btf_map]
static ARRIVED_BY_FLOW: Array<Arrived, 1> = Array::new();

/// By the index of the interface, frames without a mark as well.
#[btf_map]
static ARRIVED_BY_INTERFACE: HashMap<u32, Arrived, 4096> = HashMap::new();

/// Counts the frame. One of a flow that is not known is counted at its interface only.
#[inline(always)]
pub(crate) fn count(context: &TcContext) {
    let skb = context.skb.skb;
    // SAFETY: the context is the one that the kernel handed to this run of the program.
    let (ifindex, octets) = unsafe { ((*skb).ifindex, (*skb).len) };
    add(of_interface(ifindex), octets);
    let Some(at) = octets.checked_sub(size_of::<TrafficMark>() as u32) else { return };
    let Ok(mark) = context.load::<TrafficMark>(at as usize) else { return };
    if mark.magic == TRAFFIC_MAGIC {
        add(ARRIVED_BY_FLOW.get_ptr_mut(mark.flow), octets);
    }
}

#[inline(always)]
fn of_interface(ifindex: u32) -> Option<*mut Arrived> {
    if let Some(found) = ARRIVED_BY_INTERFACE.get_ptr_mut(ifindex) {
        return Some(found);
    }
    // Another CPU may have been first; then its entry stays.
    let _ = ARRIVED_BY_INTERFACE.insert(ifindex, Arrived::default(), u64::from(BPF_NOEXIST));
    ARRIVED_BY_INTERFACE.get_ptr_mut(ifindex)
}

#[inline(always)]
fn add(arrived: Option<*mut Arrived>, octets: u32) {
    let Some(arrived) = arrived else { return };
    // SAFETY: the pointer comes from a map.
    let packets = unsafe { &raw mut (*arrived).packets };
    // SAFETY: as above.
    let sum = unsafe { &raw mut (*arrived).octets };
    // SAFETY: both are words of the map's value, to which other CPUs add in the same way.
    unsafe {
        atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(packets, 1);
        atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(sum, u64::from(octets));
    }
}
