//! A frame as XDP programs get it: `xdp_md` as a [`Frame`].

use core::mem::MaybeUninit;

use aya_ebpf::Global;
use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::bpf_xdp_get_buff_len;
use aya_ebpf::programs::XdpContext;
use bytemuck::Pod;

use flowprobe_ebpf::parse::Frame;

use crate::scratch::{self, Scratch};

/// 1 where the kernel has multi-buffer XDP and `bpf_xdp_get_buff_len` (5.18).
#[unsafe(no_mangle)]
static MULTI_BUFFER: Global<u8> = Global::new(1);

/// A frame as the driver received it.
pub(crate) struct Xdp {
    data: usize,
    data_end: usize,
    length: u32,
    scratch: *mut Scratch,
}

impl Xdp {
    /// `scratch` points to a value of the map `SCRATCH`.
    #[inline(always)]
    pub(crate) fn new(context: &XdpContext, scratch: *mut Scratch) -> Self {
        let (data, data_end) = (context.data(), context.data_end());
        let length =
            if MULTI_BUFFER.load() != 0 { length_of_all_buffers(context.ctx) } else { (data_end - data) as u32 };
        Self { data, data_end, length, scratch }
    }
}

#[inline(always)]
fn length_of_all_buffers(context: *mut xdp_md) -> u32 {
    // SAFETY: the context is the one that the kernel handed to this run of the program.
    unsafe { bpf_xdp_get_buff_len(context) as u32 }
}

impl Frame for Xdp {
    /// Reads from the first buffer. A header that a driver put beyond it is not seen, as if the frame had been cut there.
    #[inline(always)]
    fn read<T: Pod>(&self, offset: usize) -> Option<T> {
        let start = self.data + offset;
        if start + size_of::<T>() > self.data_end {
            return None;
        }
        // SAFETY: `start..start + size_of::<T>()` lies between the packet's two ends, which the verifier proves again.
        Some(unsafe { read_words(start) })
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

/// Reads a header word by word, in words of its alignment. Volatile, because the compiler would else copy the header's parts
/// from the packet with a loop over bytes.
///
/// # Safety
/// `start..start + size_of::<T>()` can be read. It may be unaligned: BPF defines such loads from packets and maps where the
/// CPU does (the verifier refuses the program elsewhere).
#[inline(always)]
pub(crate) unsafe fn read_words<T: Pod>(start: usize) -> T {
    let mut header = MaybeUninit::<T>::uninit();
    let to = header.as_mut_ptr();
    let word = align_of::<T>();
    for position in 0..size_of::<T>() / word {
        // SAFETY: a multiple of its alignment is a type's size, so the words cover `T` exactly, in the source by this
        // function's contract and in `header`.
        unsafe {
            match word {
                4 => to.cast::<u32>().add(position).write((start as *const u32).add(position).read_volatile()),
                2 => to.cast::<u16>().add(position).write((start as *const u16).add(position).read_volatile()),
                _ => to.cast::<u8>().add(position).write((start as *const u8).add(position).read_volatile()),
            }
        }
    }
    // SAFETY: every word was written, and `T` is plain bytes.
    unsafe { header.assume_init() }
}
