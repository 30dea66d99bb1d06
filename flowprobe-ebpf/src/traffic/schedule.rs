//! Traffic of flows that user space describes, in an order that it draws.

use aya_ebpf::btf_maps::Array;
use aya_ebpf::helpers::bpf_xdp_adjust_tail;
use aya_ebpf::macros::btf_map;
use aya_ebpf::programs::XdpContext;

use flowprobe_ebpf::protocol::{TCP, UDP};
use flowprobe_ebpf::traffic::{SHORTEST_FRAME, TRAFFIC_MAGIC, TrafficFlow, TrafficMark, TrafficSchedule};

use crate::next_run;

/// Octets of the headers that are written.
const HEADERS: usize = 14 + 20 + 20;

/// The longest frame that is made.
const LONGEST_FRAME: u32 = 2047;

/// An odd number: multiplied by it, runs give numbers that look like random ones and do not repeat.
const STRIDE: u64 = 0x9e37_79b9_7f4a_7c15;

/// How to go through the schedule.
#[btf_map]
static SCHEDULE_PLAN: Array<TrafficSchedule, 1> = Array::new();

/// Numbers of flows. User space gives it as many entries as it draws.
#[btf_map]
static SCHEDULE: Array<u32, 1> = Array::new();

/// The flows. User space gives it as many entries as it describes.
#[btf_map]
static TRAFFIC_FLOWS: Array<TrafficFlow, 1> = Array::new();

/// Makes the frame one of the next flow and returns the interface by which it is to leave.
#[inline(always)]
pub(crate) fn next_frame(context: &XdpContext) -> Option<u32> {
    let plan = SCHEDULE_PLAN.get(0)?;
    let run = next_run()?;
    let number = *SCHEDULE.get(run as u32 & plan.mask)?;
    let flow = TRAFFIC_FLOWS.get(number)?;
    let length = u32::from(flow.length);
    if length < u32::from(SHORTEST_FRAME) || length > LONGEST_FRAME {
        return None;
    }
    // SAFETY: the context is the one that the kernel handed to this run of the program.
    if unsafe { bpf_xdp_adjust_tail(context.ctx, length as i32 - plan.frame_length as i32) } != 0 {
        return None;
    }
    put_headers(context, flow, run)?;
    put_mark(context, length, number)?;
    Some(plan.ifindex)
}

/// Writes what the flow makes of the IPv4 and transport headers. Checksums are left: nobody on the way looks at them.
#[inline(always)]
fn put_headers(context: &XdpContext, flow: &TrafficFlow, run: u64) -> Option<()> {
    let start = context.data();
    if start + HEADERS > context.data_end() {
        return None;
    }
    let (mut source, mut source_port) = (flow.source, flow.source_port);
    if flow.flood != 0 {
        let fresh = (run ^ u64::from(flow.source)).wrapping_mul(STRIDE);
        (source, source_port) = ((fresh >> 32) as u32, (fresh >> 16) as u16);
    }
    let ip = start + 14;
    let transport = ip + 20;
    // A segment of its own for each, which nobody joins with the one before: all have the same number.
    let second = if flow.protocol == UDP { u32::from(flow.length - 34) << 16 } else { 1 };
    let ports = match flow.protocol {
        TCP | UDP => u32::from(source_port) << 16 | u32::from(flow.destination_port),
        _ => u32::from(flow.destination_port) << 16,
    };
    // The header's length in words, the flags, the window.
    let fourth = 0x5000_1000 | u32::from(flow.tcp_flags) << 16;
    // SAFETY: all of it lies within the headers, which lie within the frame as was checked; for alignment see
    // `xdp_frame::read_words`.
    unsafe {
        *((ip + 2) as *mut u16) = (flow.length - 14).to_be();
        *((ip + 9) as *mut u8) = flow.protocol;
        *((ip + 12) as *mut u32) = source.to_be();
        *((ip + 16) as *mut u32) = flow.destination.to_be();
        *(transport as *mut u32) = ports.to_be();
        *((transport + 4) as *mut u32) = second.to_be();
        *((transport + 8) as *mut u32) = 0;
        *((transport + 12) as *mut u32) = fourth.to_be();
        *((transport + 16) as *mut u32) = 0;
    }
    Some(())
}

/// Ends the frame with its mark.
#[inline(always)]
fn put_mark(context: &XdpContext, length: u32, number: u32) -> Option<()> {
    // The bits that a length can have, so that the verifier knows how far it reaches.
    let at = (length as usize - size_of::<TrafficMark>()) & LONGEST_FRAME as usize;
    let start = context.data() + at;
    if start + size_of::<TrafficMark>() > context.data_end() {
        return None;
    }
    // SAFETY: the range was checked against the frame's end; for alignment see `xdp_frame::read_words`.
    unsafe { *(start as *mut TrafficMark) = TrafficMark { magic: TRAFFIC_MAGIC, flow: number } };
    Some(())
}
