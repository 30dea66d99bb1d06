//! Ports of later fragments: they carry none, and take those of their datagram's first fragment.

use bytemuck::{Pod, Zeroable};

use crate::flow::Address;

/// What the fragments of one datagram have in common (RFC 791, RFC 8200 section 4.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct FragmentKey {
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// The datagram's identification.
    pub identification: u32,
    /// Transport protocol.
    pub protocol: u8,
    /// 4 or 6.
    pub ip_version: u8,
    /// Zero.
    pub padding: u16,
}

/// The ports of a datagram, as they stand in a [`crate::FlowKey`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct FragmentPorts {
    /// Source port.
    pub source: u16,
    /// Destination port, or ICMP type and code.
    pub destination: u16,
}

/// Remembers datagrams whose first fragment went by: an LRU map in the kernel, a bounded table on the host.
pub trait Fragments {
    /// The first fragment of `key` has these ports.
    fn remember(&self, key: &FragmentKey, ports: FragmentPorts);

    /// The ports of the first fragment of `key`, if that went by and is not forgotten.
    fn recall(&self, key: &FragmentKey) -> Option<FragmentPorts>;
}

/// No memory: every later fragment has port 0.
impl Fragments for () {
    #[inline(always)]
    fn remember(&self, _: &FragmentKey, _: FragmentPorts) {}

    #[inline(always)]
    fn recall(&self, _: &FragmentKey) -> Option<FragmentPorts> {
        None
    }
}

/// How many datagrams the kernel programs remember. Fragments of a datagram come close together; this is some seconds of a
/// stream that is all fragments.
pub const REMEMBERED_DATAGRAMS: usize = 16_384;

const _: () = assert!(size_of::<FragmentKey>() == 40 && size_of::<FragmentPorts>() == 4);
