//! The kernel programs that meter packets. They count and let pass: their verdict is always `XDP_PASS` or `TCX_NEXT`.
//!
//! ```text
//! xdp_ingress ─┐
//!              ├─► meter ─► STATS.seen ─► parse ─► account ─► FLOWS_0 or FLOWS_1, whichever CONTROL names
//! tc_ingress ──┘                 └► STATS.unparsed    └► STATS.overflow
//! ```
#![no_std]
#![no_main]
// BPF has no atomic load or store, so `core::sync::atomic` does not compile for it; its atomic additions do.
#![feature(core_intrinsics)]
#![expect(internal_features, reason = "the only way to BPF's atomic instructions")]
#![expect(unsafe_code, reason = "kernel memory is reached by pointers; the verifier checks each access")]

extern crate aya_ebpf as _;
// aya-log's macros name their support crate by path; see `macro_support`.
extern crate self as aya_log_ebpf;

mod account;
mod fragments;
mod kernel_frame;
mod macro_support;
mod maps;
mod meter;
mod report;
mod scratch;
mod skb_frame;
mod xdp_frame;

use aya_ebpf::bindings::{TC_ACT_UNSPEC, xdp_action::XDP_PASS};
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};

use flowprobe_ebpf::Direction;

/// Meters what a NIC receives, before the kernel has built a socket buffer.
#[xdp(frags)]
pub(crate) fn xdp_ingress(context: XdpContext) -> u32 {
    if let Some(scratch) = maps::SCRATCH.get_ptr_mut(0) {
        let frame = xdp_frame::Xdp::new(&context, scratch);
        meter::meter(&frame, context.ingress_ifindex() as u32, Direction::Ingress);
    }
    XDP_PASS
}

/// Meters what an interface receives, where XDP cannot go. `TC_ACT_UNSPEC` is `TCX_NEXT`: the verdict is left to others.
#[classifier]
pub(crate) fn tc_ingress(context: TcContext) -> i32 {
    if let Some(scratch) = maps::SCRATCH.get_ptr_mut(0) {
        let frame = skb_frame::Skb::new(&context, scratch);
        meter::meter(&frame, frame.ifindex(), Direction::Ingress);
    }
    TC_ACT_UNSPEC
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    // SAFETY: the parser's no-panic contract; the verifier refuses a program that could get here.
    unsafe { core::hint::unreachable_unchecked() }
}

/// Which helpers a program may call depends on this.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
