//! The kernel programs that meter packets. They count and let pass: their verdict is always `XDP_PASS` or `TCX_NEXT`.
//!
//! ```text
//! xdp_ingress ─┐
//! tc_ingress ──┼─► meter ─► STATS.seen ─► parse ─► select ─► account ─► FLOWS_0 or FLOWS_1 (TUNNELLED_0 or _1),
//! tc_egress ───┘                 └► STATS.unparsed  └► STATS.*_out └► STATS.overflow     whichever CONTROL names
//! ```
//!
//! Each comes three times: as it is, for tunnels, and for kernels that lack what it uses (see `machine`).
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
mod forget;
mod fragments;
mod kernel_frame;
mod machine;
mod macro_support;
mod maps;
mod meter;
mod overflow;
mod report;
mod room;
mod route;
mod scratch;
mod select;
mod skb_frame;
mod xdp_frame;

use aya_ebpf::bindings::{TC_ACT_UNSPEC, xdp_action::XDP_PASS};
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};

use flowprobe_ebpf::Direction;

use machine::{Atomics, Legacy, Machine};
use meter::Run;

type Plain = Atomics<false>;
type Tunnelled = Atomics<true>;

/// Meters what a NIC receives, before the kernel has built a socket buffer.
#[xdp(frags)]
pub(crate) fn xdp_ingress(context: XdpContext) -> u32 {
    xdp_run::<Plain>(&context)
}

/// The same, and opens tunnels.
#[xdp(frags)]
pub(crate) fn xdp_ingress_tunnels(context: XdpContext) -> u32 {
    xdp_run::<Tunnelled>(&context)
}

/// The same for kernels before 5.18, without multi-buffer XDP.
#[xdp]
pub(crate) fn xdp_ingress_legacy(context: XdpContext) -> u32 {
    xdp_run::<Legacy>(&context)
}

/// Meters what an interface receives, where XDP cannot go.
#[classifier]
pub(crate) fn tc_ingress(context: TcContext) -> i32 {
    tc_run::<Plain>(&context, Direction::Ingress)
}

/// The same, and opens tunnels.
#[classifier]
pub(crate) fn tc_ingress_tunnels(context: TcContext) -> i32 {
    tc_run::<Tunnelled>(&context, Direction::Ingress)
}

/// The same for kernels before 5.18.
#[classifier]
pub(crate) fn tc_ingress_legacy(context: TcContext) -> i32 {
    tc_run::<Legacy>(&context, Direction::Ingress)
}

/// Meters what leaves by an interface.
#[classifier]
pub(crate) fn tc_egress(context: TcContext) -> i32 {
    tc_run::<Plain>(&context, Direction::Egress)
}

/// The same, and opens tunnels.
#[classifier]
pub(crate) fn tc_egress_tunnels(context: TcContext) -> i32 {
    tc_run::<Tunnelled>(&context, Direction::Egress)
}

/// The same for kernels before 5.18.
#[classifier]
pub(crate) fn tc_egress_legacy(context: TcContext) -> i32 {
    tc_run::<Legacy>(&context, Direction::Egress)
}

#[inline(always)]
fn xdp_run<M: Machine>(context: &XdpContext) -> u32 {
    if let Some(scratch) = maps::SCRATCH.get_ptr_mut(0) {
        let frame = xdp_frame::Xdp::new(context, scratch);
        let run = Run {
            context: context.ctx.cast(),
            scratch,
            ifindex: context.ingress_ifindex() as u32,
            arrived_on: 0,
            direction: Direction::Ingress,
        };
        meter::meter::<M>(&frame, &run);
    }
    XDP_PASS
}

/// `TC_ACT_UNSPEC` is `TCX_NEXT`: the verdict is left to others.
#[inline(always)]
fn tc_run<M: Machine>(context: &TcContext, direction: Direction) -> i32 {
    if let Some(scratch) = maps::SCRATCH.get_ptr_mut(0) {
        let skb = context.skb.skb;
        let frame = skb_frame::Skb::new(skb, scratch, direction);
        // SAFETY: the context is the one that the kernel handed to this run of the program.
        let (ifindex, arrived_on) = unsafe { ((*skb).ifindex, (*skb).ingress_ifindex) };
        meter::meter::<M>(&frame, &Run { context: skb.cast(), scratch, ifindex, arrived_on, direction });
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
