//! Holds that the kernel programs and the host's parser read every captured frame alike: same key, same counts.

use std::fs;
use std::ops::RangeInclusive;

use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::{Array, HashMap, MapData};
use aya::programs::Program;
use aya::{Ebpf, TestRun as _, TestRunOptions};
use flowprobe_ebpf::flow::FlowValue;
use flowprobe_ebpf::parse::{Bytes, Origin, Packet, ethernet};
use flowprobe_ebpf::{Direction, FlowKey, InterfaceSlot, TunnelledKey, Tunnels, Weight};
use flowprobe_tests::captures::{captures_in, ethernet_frames, mutated, shared};
use flowprobe_tests::fragments::Memory;
use flowprobe_tests::{kernel, require, skip};

/// What a test run of a program says it came in on: loopback.
const LOOPBACK: u32 = 1;

/// The programs that meter what comes in, and the tunnels that they open.
const PROGRAMS: [(&str, Tunnels); 5] = [
    ("xdp_ingress", Tunnels::NONE),
    ("xdp_ingress_tunnels", Tunnels::ALL),
    ("xdp_ingress_legacy", Tunnels::ALL),
    ("tc_ingress", Tunnels::NONE),
    ("tc_ingress_tunnels", Tunnels::ALL),
];

/// Octets of a socket buffer that the programs at tc look at (`scratch.rs` of the programs).
const VISIBLE_AT_TC: usize = 256;

/// Frames of one capture that are enough.
const MOST_FRAMES: usize = 20_000;

/// Frames gone wrong.
const MUTATED: usize = 20_000;
const SEED: u64 = 0xf10_09b0_be01;

/// A frame that `BPF_PROG_TEST_RUN` takes has at least an Ethernet header; for tc it holds an IP header where it says so, and
/// fits into a page beside what the kernel puts there.
const SIZES: RangeInclusive<usize> = 14..=usize::MAX;
const SIZES_AT_TC: RangeInclusive<usize> = 54..=3000;

type Value = [u8; size_of::<FlowValue>()];
type Flows<const KEY: usize> = HashMap<MapData, [u8; KEY], Value>;

/// The kernel program, and the maps that it writes.
struct Kernel {
    ebpf: Ebpf,
    program: &'static str,
    flows: Flows<{ size_of::<FlowKey>() }>,
    tunnelled: Flows<{ size_of::<TunnelledKey>() }>,
}

impl Kernel {
    fn load(program: &'static str, opened: Tunnels) -> Result<Self> {
        let mut ebpf = kernel::programs(opened, false)?;
        let mut interfaces: Array<_, [u32; 2]> = ebpf.map_mut("INTERFACES").context("a map")?.try_into()?;
        let slot = InterfaceSlot { ifindex: LOOPBACK, link: 0 };
        interfaces.set(LOOPBACK, bytemuck::cast::<_, [u32; 2]>(slot), 0)?;
        match ebpf.program_mut(program).context("a program")? {
            Program::Xdp(program) => program.load()?,
            Program::SchedClassifier(program) => program.load()?,
            _ => bail!("{program} is neither of XDP nor of tc"),
        }
        let flows = ebpf.take_map("FLOWS_0").context("a map")?.try_into()?;
        let tunnelled = ebpf.take_map("TUNNELLED_0").context("a map")?.try_into()?;
        Ok(Self { ebpf, program, flows, tunnelled })
    }

    /// The flow that `frame` makes, if it makes one; the maps are empty again afterwards.
    fn read(&mut self, frame: &[u8]) -> Result<Option<(TunnelledKey, FlowValue)>> {
        let options = TestRunOptions { data_in: Some(frame), ..TestRunOptions::default() };
        match self.ebpf.program_mut(self.program).context("a program")? {
            Program::Xdp(program) => program.test_run(options)?,
            Program::SchedClassifier(program) => program.test_run(options)?,
            _ => bail!("{} is neither of XDP nor of tc", self.program),
        };
        let plain = take_one(&mut self.flows)?;
        let tunnelled = take_one(&mut self.tunnelled)?;
        ensure!(plain.is_none() || tunnelled.is_none(), "one frame made several flows");
        let plain = plain.map(|(key, value)| {
            (TunnelledKey { flow: bytemuck::pod_read_unaligned(&key), ..TunnelledKey::default() }, value)
        });
        Ok(plain.or(tunnelled.map(|(key, value)| (bytemuck::pod_read_unaligned(&key), value))))
    }
}

/// Takes the only flow out of a map.
fn take_one<const KEY: usize>(flows: &mut Flows<KEY>) -> Result<Option<([u8; KEY], FlowValue)>> {
    let Some(key) = flows.keys().next().transpose()? else { return Ok(None) };
    let value = flows.get(&key, 0)?;
    flows.remove(&key)?;
    ensure!(flows.keys().next().is_none(), "one frame made several flows");
    Ok(Some((key, bytemuck::pod_read_unaligned(&value))))
}

/// The same by the host's parser. The kernel's clock is not the host's: times are left out of the comparison.
fn expected(frame: Bytes<'_>, opened: Tunnels, memory: &Memory, seen: &FlowValue) -> Option<(TunnelledKey, FlowValue)> {
    let origin = Origin { ifindex: LOOPBACK, direction: Direction::Ingress, offloaded_vlan: None };
    let mut packet = Packet::default();
    ethernet(&frame, origin, opened, memory, &mut packet).ok()?;
    let weight = Weight::of_one(&packet, frame.original_length.into());
    let value = FlowValue::begin(&packet, weight, 0);
    let value = FlowValue { first_ns: seen.first_ns, last_ns: seen.last_ns, ..value };
    Some((TunnelledKey { flow: packet.key, tunnel: packet.tunnel }, value))
}

/// What became of the frames that were compared.
#[derive(Default)]
struct Tally {
    compared: u64,
    flows: u64,
    tunnelled: u64,
}

/// Compares `frames`, one by one.
fn compare<'a>(program: &'static str, opened: Tunnels, frames: impl Iterator<Item = &'a [u8]>) -> Result<Tally> {
    let mut kernel = Kernel::load(program, opened)?;
    let memory = Memory::default();
    let at_tc = program.starts_with("tc_");
    let mut tally = Tally::default();
    let sizes = if at_tc { SIZES_AT_TC } else { SIZES };
    for frame in frames.filter(|frame| sizes.contains(&frame.len())) {
        let by_kernel = kernel.read(frame).with_context(|| format!("{} octets: {frame:02x?}", frame.len()))?;
        let seen = by_kernel.map(|(_, value)| value).unwrap_or_default();
        let whole = Bytes::whole(frame);
        let visible = if at_tc { frame.len().min(VISIBLE_AT_TC) } else { frame.len() };
        let by_host = expected(Bytes { captured: &frame[..visible], ..whole }, opened, &memory, &seen);
        ensure!(by_kernel == by_host, "the kernel says {by_kernel:?}, the host {by_host:?}: {frame:02x?}");
        tally.compared += 1;
        if let Some((key, _)) = by_kernel {
            tally.flows += 1;
            tally.tunnelled += u64::from(key.tunnel.is_some());
        }
    }
    Ok(tally)
}

#[test]
fn kernel_and_host_agree_on_every_frame() -> Result<()> {
    require!();
    let Some(folder) = shared("corpus/packets") else {
        skip::note("kernel_and_host_agree_on_every_frame", "no captures beside this checkout");
        return Ok(());
    };
    let files: Vec<Vec<u8>> = captures_in(&folder)?.iter().map(fs::read).collect::<Result<_, _>>()?;
    let captured: Vec<&[u8]> =
        files.iter().flat_map(|file| ethernet_frames(file).into_iter().take(MOST_FRAMES)).collect();
    let broken = mutated(&captured, MUTATED, SEED);
    for (program, opened) in PROGRAMS.into_iter().filter(|(program, opened)| kernel::takes(program, *opened)) {
        let frames = captured.iter().copied().chain(broken.iter().map(Vec::as_slice));
        let Tally { compared, flows, tunnelled } = compare(program, opened, frames)?;
        ensure!(flows > 1000, "only {flows} of {compared} frames made a flow");
        ensure!((tunnelled > 1000) == (opened == Tunnels::ALL), "{tunnelled} flows in tunnels with {opened:?}");
        println!(
            "{program}: {compared} frames compared, {flows} with a flow, {tunnelled} of them out of a tunnel; seed {SEED:#x}"
        );
    }
    Ok(())
}
