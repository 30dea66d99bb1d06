//! Programs that make traffic for the tests and benchmarks, and the two yardsticks of `cargo xtask bench kernel`. None of
//! them is part of the daemon.
//!
//! `traffic` and `send` are run through `BPF_PROG_TEST_RUN` with a frame to start from; each run gives the frame the
//! addresses of the next flow, in an order that is known and depends on nothing but the number of runs. `scheduled` does so
//! with flows of any kind, in an order that user space draws, and `tally` counts at the other end what of it arrived.
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![expect(internal_features, reason = "the only way to BPF's atomic instructions")]
#![expect(unsafe_code, reason = "kernel memory is reached by pointers; the verifier checks each access")]

mod schedule;
#[path = "../programs/scratch.rs"]
mod scratch;
mod tally;
#[path = "../programs/xdp_frame.rs"]
mod xdp_frame;

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::bindings::TC_ACT_UNSPEC;
use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS};
use aya_ebpf::btf_maps::{Array, PerCpuArray, ProgramArray};
use aya_ebpf::helpers::bpf_redirect;
use aya_ebpf::macros::{btf_map, classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};

use flowprobe_ebpf::parse::{self, Origin, Packet};
use flowprobe_ebpf::traffic::TrafficPlan;
use flowprobe_ebpf::{Direction, Tunnels};

/// What to send; written by user space before a run.
#[btf_map]
static PLAN: Array<TrafficPlan, 1> = Array::new();

/// Runs so far, of all CPUs.
#[btf_map]
static SENT: Array<u64, 1> = Array::new();

/// Entry 0: the program under test.
#[btf_map]
static UNDER_TEST: ProgramArray<1> = ProgramArray::new();

/// What the parser needs beside the stack.
#[btf_map]
static SCRATCH: PerCpuArray<scratch::Scratch, 1> = PerCpuArray::new();

/// Rewrites the frame for the next flow and goes on in the program under test.
#[xdp(frags)]
pub(crate) fn traffic(context: XdpContext) -> u32 {
    if next_flow(&context).is_none() {
        return XDP_ABORTED;
    }
    // SAFETY: the entry is an XDP program, which the map's owner check enforces. The call does not return.
    unsafe { UNDER_TEST.tail_call(&context, 0) };
    XDP_ABORTED
}

/// Rewrites the frame for the next flow and sends it out of the plan's interface (live frames).
#[xdp(frags)]
pub(crate) fn send(context: XdpContext) -> u32 {
    let Some(plan) = next_flow(&context) else {
        return XDP_ABORTED;
    };
    // SAFETY: the helper takes plain numbers.
    unsafe { bpf_redirect(plan.ifindex, 0) as u32 }
}

/// Makes the frame one of the next flow of the schedule and sends it out of the schedule's interface (live frames).
#[xdp(frags)]
pub(crate) fn scheduled(context: XdpContext) -> u32 {
    let Some(ifindex) = schedule::next_frame(&context) else {
        return XDP_ABORTED;
    };
    // SAFETY: the helper takes plain numbers.
    unsafe { bpf_redirect(ifindex, 0) as u32 }
}

/// Counts what of scheduled traffic arrived, behind any program that meters it.
#[classifier]
pub(crate) fn tally(context: TcContext) -> i32 {
    tally::count(&context);
    TC_ACT_UNSPEC
}

/// The cost of calling a program and nothing else.
#[xdp(frags)]
pub(crate) fn empty(_: XdpContext) -> u32 {
    XDP_PASS
}

/// The cost of parsing, with a result that the compiler cannot do without.
#[xdp(frags)]
pub(crate) fn parse_only(context: XdpContext) -> u32 {
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else { return XDP_ABORTED };
    let frame = xdp_frame::Xdp::new(&context, scratch);
    let origin =
        Origin { ifindex: context.ingress_ifindex() as u32, direction: Direction::Ingress, offloaded_vlan: None };
    let mut packet = Packet::default();
    let outcome = parse::ethernet(&frame, origin, Tunnels::NONE, &(), &mut packet);
    core::hint::black_box(&packet);
    if outcome.is_ok() { XDP_PASS } else { XDP_DROP }
}

/// An odd number: multiplying by it visits every flow of a power of two once, in an order that caches do not like.
const STRIDE: u64 = 0x9e37_79b1;

/// The number of this run.
#[inline(always)]
fn next_run() -> Option<u64> {
    let sent = SENT.get_ptr_mut(0)?;
    // Not relaxed: of a relaxed addition LLVM drops the result where only its lower half is used, as here.
    // SAFETY: the pointer comes from the map; other CPUs add to the word in the same way.
    Some(unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::SeqCst }>(sent, 1) })
}

#[inline(always)]
fn next_flow(context: &XdpContext) -> Option<&'static TrafficPlan> {
    let plan = PLAN.get(0)?;
    let run = next_run()?;
    let flow = (run.wrapping_mul(STRIDE) & u64::from(plan.flow_mask)) as u32;
    put(context, plan.address_offset, &(plan.address_base | flow).to_be())?;
    if plan.port_offset != 0 {
        put(context, plan.port_offset, &((flow as u16) | 0x8000).to_be())?;
    }
    Some(plan)
}

/// Writes `value` at `offset` into the frame.
#[inline(always)]
fn put<T: Copy>(context: &XdpContext, offset: u32, value: &T) -> Option<()> {
    let start = context.data() + (offset & 0xff) as usize;
    if start + size_of::<T>() > context.data_end() {
        return None;
    }
    // SAFETY: the range was checked against the frame's end; for alignment see `xdp_frame::read_words`.
    unsafe { *(start as *mut T) = *value };
    Some(())
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    // SAFETY: nothing here panics; the verifier refuses a program that could get here.
    unsafe { core::hint::unreachable_unchecked() }
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
