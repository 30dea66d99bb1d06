//! A frame as tc programs get it: `__sk_buff` as a [`Frame`] that may stand for several packets.

use core::mem::MaybeUninit;

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::bpf_skb_load_bytes;
use aya_ebpf::programs::TcContext;
use bytemuck::Pod;

use flowprobe_ebpf::flow::Extremes;
use flowprobe_ebpf::parse::{Frame, Packet};

use crate::weight::{KernelFrame, Weight, capped};
use crate::xdp_frame::read_between;

/// A socket buffer, which may stand for several packets: what a driver or GRO has joined, or what is yet to be segmented.
pub(crate) struct Skb {
    context: *mut __sk_buff,
    data: usize,
    data_end: usize,
    length: u32,
    segments: u32,
    segment_size: u32,
    /// Octets on the wire of a tag that the NIC took out.
    tag: u32,
    offloaded_vlan: u16,
}

/// Octets of a VLAN tag.
const TAG: u32 = 4;

impl Skb {
    #[inline(always)]
    pub(crate) fn new(context: &TcContext) -> Self {
        let skb = context.skb.skb;
        // SAFETY: the context is the one that the kernel handed to this run of the program.
        let fields = unsafe { &*skb };
        let tagged = fields.vlan_present != 0;
        Self {
            context: skb,
            data: fields.data as usize,
            data_end: fields.data_end as usize,
            length: fields.len,
            segments: fields.gso_segs,
            segment_size: fields.gso_size,
            tag: if tagged { TAG } else { 0 },
            offloaded_vlan: if tagged { (fields.vlan_tci & 0x0fff) as u16 } else { 0 },
        }
    }

    #[inline(always)]
    pub(crate) fn ifindex(&self) -> u32 {
        // SAFETY: as in `new`.
        unsafe { (*self.context).ifindex }
    }
}

impl Frame for Skb {
    /// Reads from the linear part; where that ends too soon, by the helper that knows the fragments.
    #[inline(always)]
    fn read<T: Pod>(&self, offset: usize) -> Option<T> {
        if let Some(header) = read_between(self.data, self.data_end, offset) {
            return Some(header);
        }
        let mut header = MaybeUninit::<T>::uninit();
        // SAFETY: the destination holds `size_of::<T>()` octets; the helper checks the source.
        let status = unsafe {
            bpf_skb_load_bytes(self.context.cast(), offset as u32, header.as_mut_ptr().cast(), size_of::<T>() as u32)
        };
        // SAFETY: on success the helper has written all of `header`, and `T` is plain bytes.
        (status == 0).then(|| unsafe { header.assume_init() })
    }

    #[inline(always)]
    fn length(&self) -> u32 {
        self.length
    }
}

impl KernelFrame for Skb {
    #[inline(always)]
    fn packets(&self) -> u64 {
        if self.segments > 1 { u64::from(self.segments) } else { 1 }
    }

    #[inline(always)]
    fn layer2_octets(&self) -> u64 {
        u64::from(self.length) + self.packets() * u64::from(self.tag)
    }

    #[inline(always)]
    fn offloaded_vlan(&self) -> u16 {
        self.offloaded_vlan
    }

    #[inline(always)]
    fn weigh(&self, packet: &Packet) -> Weight {
        let packets = self.packets();
        let repeats = packets - 1;
        let network_headers = packet.headers - packet.network_offset;
        let extremes = if repeats == 0 {
            Extremes::of(capped(packet.octets), packet.ttl)
        } else {
            let longest = network_headers + self.segment_size;
            let before_last = repeats * u64::from(self.segment_size);
            let last = (u64::from(packet.octets)).wrapping_sub(before_last);
            Extremes {
                length_min: if last < u64::from(longest) { last as u16 } else { capped(longest) },
                length_max: capped(longest),
                ttl_min: packet.ttl,
                ttl_max: packet.ttl,
            }
        };
        Weight {
            packets,
            octets: u64::from(packet.octets) + repeats * u64::from(network_headers),
            layer2_octets: self.layer2_octets() + repeats * u64::from(packet.headers),
            extremes,
        }
    }
}
