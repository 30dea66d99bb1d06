//! A frame as tc programs get it: `__sk_buff` as a [`Frame`] that may stand for several packets.

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::bpf_skb_load_bytes;
use bytemuck::Pod;

use flowprobe_ebpf::flow::Extremes;
use flowprobe_ebpf::parse::{Frame, Packet};
use flowprobe_ebpf::weight::capped;
use flowprobe_ebpf::{Direction, Weight};

use crate::kernel_frame::KernelFrame;
use crate::scratch::{self, Scratch, VISIBLE};
use crate::xdp_frame::read_words;

/// A socket buffer, which may stand for several packets: what a driver or GRO has joined, or what is yet to be segmented.
///
/// Its first octets are copied into [`Scratch`] by one helper call, which knows the buffer's fragments; reading from there
/// gives the verifier one way to follow instead of two for each header.
pub(crate) struct Skb {
    scratch: *mut Scratch,
    /// Octets in `scratch`.
    visible: usize,
    length: u32,
    /// Octets of the layer-2 frames on the wire, where the kernel has worked that out: before it sends
    /// (`qdisc_pkt_len_init` in `net/core/dev.c`). Else the same as `length`.
    wire_length: u32,
    segments: u32,
    segment_size: u32,
    /// Octets on the wire of a tag that the NIC took out, or will put in.
    tag: u32,
    offloaded_vlan: Option<u16>,
}

/// Octets of a VLAN tag.
const TAG: u32 = 4;

/// The segment size of SCTP, whose segments are as long as they are (`include/linux/skbuff.h`).
const GSO_BY_FRAGS: u32 = 0xffff;

impl Skb {
    /// `skb` is what the kernel handed to this run of the program; `scratch` points to a value of the map `SCRATCH`.
    #[inline(always)]
    pub(crate) fn new(skb: *mut __sk_buff, scratch: *mut Scratch, direction: Direction) -> Self {
        // SAFETY: by this function's contract.
        let fields = unsafe { &*skb };
        let tagged = fields.vlan_present != 0;
        let length = fields.len;
        let wire_length = if direction as u8 == Direction::Egress as u8 { fields.wire_len } else { length };
        let visible = copy_headers(skb, length as usize, scratch);
        Self {
            scratch,
            visible,
            length,
            wire_length: if wire_length < length { length } else { wire_length },
            segments: fields.gso_segs,
            segment_size: fields.gso_size,
            tag: if tagged { TAG } else { 0 },
            offloaded_vlan: if tagged { Some((fields.vlan_tci & 0x0fff) as u16) } else { None },
        }
    }

    /// How many packets the buffer becomes when `headers` octets are what each of them begins with. A guest's buffer comes
    /// without their number (`SKB_GSO_DODGY`).
    #[inline(always)]
    fn segments_behind(&self, headers: u32) -> u32 {
        if self.segments > 1 || self.segment_size == 0 || self.length <= headers {
            return if self.segments > 1 { self.segments } else { 1 };
        }
        (self.length - headers).div_ceil(self.segment_size)
    }
}

/// Copies the beginning of the buffer into `scratch` and returns how many octets that are.
#[inline(always)]
fn copy_headers(skb: *mut __sk_buff, length: usize, scratch: *mut Scratch) -> usize {
    if length == 0 {
        return 0;
    }
    let visible = if length > VISIBLE { VISIBLE } else { length };
    // Forgotten, or the compiler would drop two masks that the verifier needs: the one in `read`, and the one of the helper's
    // argument. Verifiers of Linux 6.1 and before know a bound only of the register that was compared, not of its copies.
    // SAFETY: `scratch` points to a value of the map `SCRATCH`.
    let last = unsafe { scratch::forget(scratch, visible - 1) };
    let octets = (last & (VISIBLE - 1)) as u32 + 1;
    // SAFETY: `scratch` has room for `VISIBLE` octets; the helper checks the source.
    let status = unsafe { bpf_skb_load_bytes(skb.cast(), 0, (&raw mut (*scratch).headers).cast(), octets) };
    if status == 0 { last + 1 } else { 0 }
}

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
    fn forget(&self, number: u32) -> u32 {
        // SAFETY: by the contract of `new`.
        unsafe { scratch::forget_number(self.scratch, number) }
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
        u64::from(self.wire_length) + self.packets() * u64::from(self.tag)
    }

    #[inline(always)]
    fn offloaded_vlan(&self) -> Option<u16> {
        self.offloaded_vlan
    }

    #[inline(always)]
    fn weigh(&self, packet: &Packet) -> Weight {
        let packets = self.segments_behind(packet.headers);
        let repeats = packets - 1;
        if repeats == 0 {
            return Weight::of_one(packet, u64::from(self.length + self.tag));
        }
        let is_by_frags = self.segment_size == GSO_BY_FRAGS;
        // What the kernel adds for each packet but the first is a packet's headers; newer ones include those in a tunnel that
        // the parser has not opened, older ones know less than the parser.
        let added = (self.wire_length - self.length) / repeats;
        let headers = if added > packet.headers && !is_by_frags { added } else { packet.headers };
        let network_headers = headers.saturating_sub(packet.network_offset);
        let (shortest, longest) = if is_by_frags {
            // Nothing says how long each is.
            let average = (packet.octets + repeats * network_headers) / packets;
            (average, average)
        } else {
            let longest = network_headers + self.segment_size;
            let last = packet.octets.wrapping_sub(repeats.wrapping_mul(self.segment_size));
            (if last < longest { last } else { longest }, longest)
        };
        let extremes = Extremes {
            length_min: capped(shortest),
            length_max: capped(longest),
            ttl_min: packet.ttl,
            ttl_max: packet.ttl,
        };
        let repeats = u64::from(repeats);
        Weight {
            packets: u64::from(packets),
            octets: u64::from(packet.octets) + repeats * u64::from(network_headers),
            layer2_octets: u64::from(self.length)
                + repeats * u64::from(headers)
                + u64::from(packets) * u64::from(self.tag),
            extremes,
        }
    }
}
