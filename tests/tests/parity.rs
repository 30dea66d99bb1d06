//! Holds that the kernel program and the host's parser read every captured frame alike: same key, same counts.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, HashMap, MapData};
use aya::programs::Xdp;
use aya::{Ebpf, TestRun as _, TestRunOptions};
use flowprobe_ebpf::flow::{Extremes, FlowValue};
use flowprobe_ebpf::parse::{Bytes, Origin, Packet, ethernet};
use flowprobe_ebpf::{Direction, FlowKey};
use flowprobe_tests::captures::{captures_in, ethernet_frames, mutated, shared};
use flowprobe_tests::fragments::Memory;
use flowprobe_tests::{require, skip};

/// What a test run of an XDP program says it came in on: loopback.
const LOOPBACK: u32 = 1;

/// Frames of one capture that are enough.
const MOST_FRAMES: usize = 20_000;

/// Frames gone wrong.
const MUTATED: usize = 20_000;
const SEED: u64 = 0xf10_09b0_be01;

/// A frame that `BPF_PROG_TEST_RUN` takes has at least an Ethernet header.
const SHORTEST: usize = 14;

type Key = [u8; size_of::<FlowKey>()];
type Value = [u8; size_of::<FlowValue>()];

/// The kernel program, and the map that it writes.
struct Kernel {
    ebpf: Ebpf,
    flows: HashMap<MapData, Key, Value>,
}

impl Kernel {
    fn load() -> Result<Self> {
        let object = concat!(env!("CARGO_MANIFEST_DIR"), "/../flowprobe-ebpf/object/flowprobe.bpf.o");
        let mut ebpf = Ebpf::load(&fs::read(object)?)?;
        let mut interfaces: Array<_, u32> = ebpf.map_mut("INTERFACES").context("a map")?.try_into()?;
        interfaces.set(LOOPBACK, LOOPBACK, 0)?;
        let program: &mut Xdp = ebpf.program_mut("xdp_ingress").context("a program")?.try_into()?;
        program.load()?;
        let flows = ebpf.take_map("FLOWS_0").context("a map")?.try_into()?;
        Ok(Self { ebpf, flows })
    }

    /// The flow that `frame` makes, if it makes one; the map is empty again afterwards.
    fn read(&mut self, frame: &[u8]) -> Result<Option<(FlowKey, FlowValue)>> {
        let program: &mut Xdp = self.ebpf.program_mut("xdp_ingress").context("a program")?.try_into()?;
        program.test_run(TestRunOptions { data_in: Some(frame), ..TestRunOptions::default() })?;
        let Some(key) = self.flows.keys().next().transpose()? else { return Ok(None) };
        let value = self.flows.get(&key, 0)?;
        self.flows.remove(&key)?;
        ensure!(self.flows.keys().next().is_none(), "one frame made several flows");
        Ok(Some((bytemuck::pod_read_unaligned(&key), bytemuck::pod_read_unaligned(&value))))
    }
}

/// The same by the host's parser. The kernel's clock is not the host's: times are left out of the comparison.
fn expected(frame: &[u8], memory: &Memory, seen: &FlowValue) -> Option<(FlowKey, FlowValue)> {
    let origin = Origin { ifindex: LOOPBACK, direction: Direction::Ingress, offloaded_vlan: 0 };
    let mut packet = Packet::default();
    ethernet(&Bytes::whole(frame), origin, memory, &mut packet).ok()?;
    let value = FlowValue {
        packets: 1,
        octets: u64::from(packet.octets),
        layer2_excess: 0,
        first_ns: seen.first_ns,
        last_ns: seen.last_ns,
        extremes: Extremes::of(u16::try_from(packet.octets).unwrap_or(u16::MAX), packet.ttl).pack(),
        facts: packet.facts,
        ethertype: packet.ethertype,
        tos: packet.tos,
        link_octets: u8::try_from(packet.network_offset).unwrap_or(u8::MAX),
        source_mac: packet.source_mac,
        destination_mac: packet.destination_mac,
        mpls_top_label: packet.mpls_top_label,
    };
    Some((packet.key, value.with_layer2_octets(frame.len() as u64)))
}

/// Compares one frame; whether it made a flow.
fn agree(kernel: &mut Kernel, memory: &Memory, frame: &[u8]) -> Result<bool> {
    let by_kernel = kernel.read(frame)?;
    let seen = by_kernel.map(|(_, value)| value).unwrap_or_default();
    let by_host = expected(frame, memory, &seen);
    ensure!(by_kernel == by_host, "the kernel says {by_kernel:?}, the host {by_host:?}: {frame:02x?}");
    Ok(by_kernel.is_some())
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
    let mut kernel = Kernel::load()?;
    let memory = Memory::default();
    let (mut compared, mut flows) = (0, 0);
    for frame in captured.into_iter().chain(broken.iter().map(Vec::as_slice)).filter(|it| it.len() >= SHORTEST) {
        flows += usize::from(agree(&mut kernel, &memory, frame)?);
        compared += 1;
    }
    ensure!(flows > 1000, "only {flows} of {compared} frames made a flow");
    println!("{compared} frames compared, {flows} with a flow; seed of the mutations {SEED:#x}");
    Ok(())
}
