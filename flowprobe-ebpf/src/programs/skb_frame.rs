//! A frame as tc programs get it: `__sk_buff` as a [`Frame`] that may stand for several packets.

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::bpf_skb_load_bytes;
use aya_ebpf::programs::TcContext;
use bytemuck::Pod;

use flowprobe_ebpf::Weight;
use flowprobe_ebpf::flow::Extremes;
use flowprobe_ebpf::parse::{Frame, Packet};
use flowprobe_ebpf::weight::capped;

use crate::kernel_frame::KernelFrame;
use crate::scratch::{self, Scratch, VISIBLE};
use crate::xdp_frame::read_words;

/// A socket buffer, which may stand for several packets: what a driver or GRO has joined, or what is yet to be segmented.
///
/// Its first octets are copied into [`Scratch`] by one helper call, which knows the buffer's fragments; reading from there
/// gives the verifier one way to follow instead of two for each header.
pub(crate) struct Skb {
    context: *mut __sk_buff,
    scratch: *mut Scratch,
    /// Octets in `scratch`.
    visible: usize,
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
    /// `scratch` points to a value of the map `SCRATCH`.
    #[inline(always)]
    pub(crate) fn new(context: &TcContext, scratch: *mut Scratch) -> Self {
        let skb = context.skb.skb;
        // SAFETY: the context is the one that the kernel handed to this run of the program.
        let fields = unsafe { &*skb };
        let tagged = fields.vlan_present != 0;
        let length = fields.len;
        let visible = copy_headers(skb, length as usize, scratch);
        Self {
            context: skb,
            scratch,
            visible,
            length,
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

/// Copies the beginning of the buffer into `scratch` and returns how many octets that are; none where there is not even an
/// Ethernet header.
#[inline(always)]
fn copy_headers(skb: *mut __sk_buff, length: usize, scratch: *mut Scratch) -> usize {
    if length < ETHERNET_HEADER {
        return 0;
    }
    let visible = if length > VISIBLE { VISIBLE } else { length };
    // SAFETY: `scratch` has room for `VISIBLE` octets; the helper checks the source.
    let status = unsafe { bpf_skb_load_bytes(skb.cast(), 0, (&raw mut (*scratch).headers).cast(), visible as u32) };
    if status == 0 { visible } else { 0 }
}

/// Octets of the shortest header that begins a frame.
const ETHERNET_HEADER: usize = 14;

impl Frame for Skb {
    #[inline(always)]
    fn read<T: Pod>(&self, offset: usize) -> Option<T> {
        if offset + size_of::<T>() > self.visible {
            return None;
        }
        // The mask changes nothing and tells the verifier what the comparison above tells the reader.
        let within = offset & (VISIBLE - 1);
        // SAFETY: a read that begins in the visible octets ends in `headers`, which has room for the largest beyond them.
        let start = unsafe { (&raw const (*self.scratch).headers).cast::<u8>().add(within) };
        // SAFETY: as above.
        Some(unsafe { read_words(start as usize) })
    }

    #[inline(always)]
    fn forget_way(&self, offset: usize) -> usize {
        // SAFETY: by the contract of `new`.
        unsafe { scratch::forget(self.scratch, offset) }
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
