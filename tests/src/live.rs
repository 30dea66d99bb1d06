//! Live frames: the program `send` of the traffic object, run through `BPF_PROG_TEST_RUN` with each frame redirected into
//! a veth. No packet generator is faster on one machine, and the flow of every frame is known.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, MapData};
use aya::programs::xdp::XdpLink;
use aya::programs::{TestRun as _, Xdp, XdpMode};
use aya::{Ebpf, TestRunAttrs, TestRunOptions};
use flowprobe_ebpf::traffic::TrafficPlan;

use crate::frames::{Flow, UDP};
use crate::namespace::Namespace;
use crate::process::read;
use crate::truth::{Counts, FlowId};

/// The traffic programs.
pub(crate) static OBJECT: &[u8] = aya::include_bytes_aligned!("../../flowprobe-ebpf/object/traffic.bpf.o");

/// Frames that the kernel makes at once; its largest batch is 256, the receiving ring's size.
const BATCH: u32 = 64;

/// Octets after the UDP header.
const PAYLOAD: usize = 18;

/// Where the source address lies in an untagged IPv4 frame.
const SOURCE_ADDRESS: u32 = 14 + 12;

/// 10.128.0.0: the flow's number is in the bits below.
const SOURCES: u32 = 0x0a80_0000;

/// Sends UDP frames of a number of flows, which differ in their source address only.
pub struct Generator {
    ebpf: Ebpf,
    flows: u32,
    frame: Vec<u8>,
    counts: Counts,
    sent: u64,
}

impl Generator {
    /// A generator of `flows` flows, a power of two, into `interface`.
    ///
    /// # Errors
    /// The kernel refuses the programs.
    pub fn new(namespace: &Namespace, interface: &str, flows: u32) -> Result<Self> {
        ensure!(flows.is_power_of_two() && flows <= 1 << 20, "{flows} is no number of flows");
        let mut ebpf = load()?;
        let plan = TrafficPlan {
            flow_mask: flows - 1,
            address_base: SOURCES,
            address_offset: SOURCE_ADDRESS,
            port_offset: 0,
            ifindex: namespace.index(interface)?,
        };
        let map = ebpf.map_mut("PLAN").context("the object has no map PLAN")?;
        let mut map: Array<&mut MapData, [u32; 5]> = Array::try_from(map)?;
        map.set(0, bytemuck::cast::<_, [u32; 5]>(plan), 0)?;
        let (frame, counts) = Flow::new(flow_id(0)).packet(PAYLOAD)?;
        Ok(Self { ebpf, flows, frame, counts, sent: 0 })
    }

    /// What must be counted of each frame.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// Frames that were made so far.
    #[must_use]
    pub const fn sent(&self) -> u64 {
        self.sent
    }

    /// Makes `count` frames as fast as the kernel can.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn send(&mut self, namespace: &Namespace, count: u32) -> Result<()> {
        run_live(&mut self.ebpf, "send", &self.frame, namespace, count)?;
        let map = self.ebpf.map("SENT").context("the object has no map SENT")?;
        let runs: Array<&MapData, u64> = Array::try_from(map)?;
        self.sent = runs.get(&0, 0)?;
        Ok(())
    }

    /// Sends for a time, whole rounds through all flows, and returns the rate that was reached.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn send_for(&mut self, namespace: &Namespace, time: Duration) -> Result<f64> {
        let round = self.flows.max(1 << 17);
        let before = self.sent;
        let start = Instant::now();
        while start.elapsed() < time {
            self.send(namespace, round)?;
        }
        Ok((self.sent - before) as f64 / start.elapsed().as_secs_f64())
    }

    /// Packets of each flow among the frames that were made: the same of each, since they were whole rounds.
    ///
    /// # Errors
    /// They were not whole rounds.
    pub fn packets_by_flow(&self) -> Result<BTreeMap<FlowId, u64>> {
        ensure!(self.sent.is_multiple_of(self.flows.into()), "{} frames are no whole rounds", self.sent);
        let each = self.sent / u64::from(self.flows);
        Ok((0..self.flows).map(|number| (flow_id(number), each)).collect())
    }
}

/// Runs a program of the traffic object on `count` live frames, copies of `frame`.
pub(crate) fn run_live(ebpf: &mut Ebpf, name: &str, frame: &[u8], namespace: &Namespace, count: u32) -> Result<()> {
    let program: &mut Xdp = ebpf.program_mut(name).with_context(|| format!("no program {name}"))?.try_into()?;
    let options = TestRunOptions {
        data_in: Some(frame),
        repeat: count,
        attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
        ..TestRunOptions::new()
    };
    // The interface's number is looked up in the namespace of the thread.
    namespace.inside(|| program.test_run(options).context("the kernel does not send live frames")).map(drop)
}

fn flow_id(number: u32) -> FlowId {
    FlowId {
        source: IpAddr::V4(Ipv4Addr::from(SOURCES | number)),
        destination: IpAddr::V4(Ipv4Addr::new(10, 1, 0, 1)),
        protocol: UDP,
        source_port: 4000,
        destination_port: 9,
        vlan: 0,
        customer_vlan: 0,
    }
}

/// Frames redirected into `interface` that its peer took, and those that the full ring refused, by the driver's count.
///
/// # Errors
/// `ethtool` fails.
pub fn redirected(namespace: &Namespace, interface: &str) -> Result<(u64, u64)> {
    let statistics = read(namespace.command("ethtool").args(["-S", interface]))?;
    let sum = |end: &str| -> Result<u64> {
        let values = statistics.lines().filter_map(|line| {
            let (name, value) = line.trim().split_once(": ")?;
            (name.starts_with("tx_queue_") && name.ends_with(end)).then(|| value.parse::<u64>())
        });
        values.sum::<Result<u64, _>>().with_context(|| format!("no numbers in {statistics}"))
    };
    Ok((sum("_xdp_xmit")?, sum("_xdp_xmit_errors")?))
}

/// A foreign XDP program on an interface, taken off when dropped.
pub struct Foreigner {
    _link: XdpLink,
    _ebpf: Ebpf,
}

impl Foreigner {
    /// Attaches a program that passes everything.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn attach(namespace: &Namespace, interface: &str) -> Result<Self> {
        let mut ebpf = load()?;
        let program: &mut Xdp = ebpf.program_mut("empty").context("the object has no program empty")?.try_into()?;
        let link = namespace.inside(|| {
            let link = program.attach(interface, XdpMode::Driver)?;
            Ok(program.take_link(link)?)
        })?;
        Ok(Self { _link: link, _ebpf: ebpf })
    }
}

fn load() -> Result<Ebpf> {
    let mut ebpf = Ebpf::load(OBJECT).context("cannot load the traffic programs")?;
    for name in ["send", "empty"] {
        let program: &mut Xdp = ebpf.program_mut(name).with_context(|| format!("no program {name}"))?.try_into()?;
        program.load().with_context(|| format!("the kernel refuses the program {name}"))?;
    }
    Ok(ebpf)
}
