//! A frame as XDP programs get it: `xdp_md` as a [`Frame`].

use aya_ebpf::Global;
use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::bpf_xdp_get_buff_len;
use aya_ebpf::programs::XdpContext;
use bytemuck::Pod;

use flowprobe_ebpf::parse::Frame;

/// 1 where the kernel has multi-buffer XDP and `bpf_xdp_get_buff_len` (5.18).
#[unsafe(no_mangle)]
static MULTI_BUFFER: Global<u8> = Global::new(1);

/// A frame as the driver received it.
pub(crate) struct Xdp {
    context: *mut xdp_md,
    data: usize,
    data_end: usize,
    length: u32,
}

impl Xdp {
    #[inline(always)]
    pub(crate) fn new(context: &XdpContext) -> Self {
        let (data, data_end) = (context.data(), context.data_end());
        let mut frame = Self { context: context.ctx, data, data_end, length: (data_end - data) as u32 };
        if MULTI_BUFFER.load() != 0 {
            frame.length = frame.length_of_all_buffers();
        }
        frame
    }

    #[inline(always)]
    fn length_of_all_buffers(&self) -> u32 {
        // SAFETY: the context is the one that the kernel handed to this run of the program.
        unsafe { bpf_xdp_get_buff_len(self.context) as u32 }
    }
}

impl Frame for Xdp {
    /// Headers lie in the first buffer; drivers that split a frame put at least 128 octets there.
    #[inline(always)]
    fn read<T: Pod>(&self, offset: usize) -> Option<T> {
        read_between(self.data, self.data_end, offset)
    }

    #[inline(always)]
    fn length(&self) -> u32 {
        self.length
    }
}

/// Reads `T` from packet memory between `data` and `data_end`.
#[inline(always)]
pub(crate) fn read_between<T: Pod>(data: usize, data_end: usize, offset: usize) -> Option<T> {
    let start = data + offset;
    if start + size_of::<T>() > data_end {
        return None;
    }
    let header = start as *const T;
    // SAFETY: `start..start + size_of::<T>()` lies between the packet's two ends, which the verifier proves again, and `T`
    // is plain bytes. The pointer may be unaligned: BPF defines such loads from packets where the CPU does (the verifier
    // refuses the program elsewhere), and each field is then one load instead of one per byte.
    Some(unsafe { header.read() })
}
