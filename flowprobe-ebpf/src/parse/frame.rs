//! Bounds-checked access to the bytes of a frame.

use bytemuck::{Pod, Zeroable};

/// A frame to read from. Implemented here for byte slices; the kernel programs implement it over `xdp_md` and `__sk_buff`.
pub trait Frame {
    /// The header `T`, of two bytes at least, that begins `offset` bytes into the frame; `None` where the frame ends before it
    /// does. Of a single byte the compiler would make a comparison that the kernel's verifier learns nothing from.
    fn read<T: Pod>(&self, offset: usize) -> Option<T>;

    /// The same offset, of which the kernel's verifier knows nothing but that it is at most [`FARTHEST_OFFSET`]. Where many
    /// ways through the headers meet, the verifier would follow each of their offsets to the end of the program; so it
    /// follows one.
    #[inline(always)]
    fn forget_way(&self, offset: usize) -> usize {
        offset
    }

    /// The same number, of which the kernel's verifier knows nothing: for what is decided upon later, and for the same reason.
    #[inline(always)]
    fn forget(&self, number: u32) -> u32 {
        number
    }

    /// Octets of the frame, those beyond what [`Frame::read`] can reach included.
    fn length(&self) -> u32;
}

/// No offset in the kernel is larger: a first buffer is far shorter, and a header is at most some kilobytes behind the one before
/// it, which was read.
pub const FARTHEST_OFFSET: usize = 0x7fff;

/// A captured frame on the host.
#[derive(Clone, Copy, Debug)]
pub struct Bytes<'a> {
    /// The bytes that were captured.
    pub captured: &'a [u8],
    /// The length of the frame on the wire; more than `captured.len()` where the capture was cut.
    pub original_length: u32,
}

impl<'a> Bytes<'a> {
    /// A frame of which every byte is there.
    ///
    /// Frames longer than 4 GiB do not exist; the length is capped there.
    #[must_use]
    pub fn whole(frame: &'a [u8]) -> Self {
        Self { captured: frame, original_length: u32::try_from(frame.len()).unwrap_or(u32::MAX) }
    }
}

impl Frame for Bytes<'_> {
    #[inline(always)]
    fn read<T: Pod>(&self, offset: usize) -> Option<T> {
        let end = offset.checked_add(size_of::<T>())?;
        self.captured.get(offset..end).map(bytemuck::pod_read_unaligned)
    }

    #[inline(always)]
    fn length(&self) -> u32 {
        self.original_length
    }
}

/// A 16-bit field in network byte order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct Be16(u16);

impl Be16 {
    /// The value in host byte order.
    #[must_use]
    #[inline(always)]
    pub const fn get(self) -> u16 {
        u16::from_be(self.0)
    }
}
