//! Live frames of a mix, made by the program `scheduled` of the traffic object.

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, MapData};
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader, Pod};
use flowprobe_ebpf::traffic::{TrafficFlow, TrafficSchedule};

use super::mix::{LONGEST_FRAME, Traffic};
use crate::frames::{Flow, UDP};
use crate::live::{OBJECT, run_live};
use crate::namespace::Namespace;
use crate::truth::FlowId;

/// Sends a mix into interfaces. What arrives is for [`super::Tally`] to say.
pub struct Generator {
    ebpf: Ebpf,
    frame: Vec<u8>,
    mask: u32,
    sent: u64,
}

impl Generator {
    /// A generator of `traffic`.
    ///
    /// # Errors
    /// The kernel refuses the maps or the program.
    pub fn new(traffic: &Traffic) -> Result<Self> {
        let entries = u32::try_from(traffic.schedule.len())?;
        ensure!(entries.is_power_of_two(), "{entries} entries of a schedule are no power of two");
        let mut loader = EbpfLoader::new();
        loader.map_max_entries("TRAFFIC_FLOWS", u32::try_from(traffic.flows.len())?);
        loader.map_max_entries("SCHEDULE", entries);
        let mut ebpf = loader.load(OBJECT).context("cannot load the traffic programs")?;
        let flows: Vec<[u32; 5]> = traffic.flows.iter().map(|flow| bytemuck::cast::<TrafficFlow, _>(*flow)).collect();
        fill(&mut ebpf, "TRAFFIC_FLOWS", &flows)?;
        fill(&mut ebpf, "SCHEDULE", &traffic.schedule)?;
        let program: &mut Xdp = ebpf.program_mut("scheduled").context("no program scheduled")?.try_into()?;
        program.load().context("the kernel refuses the program scheduled")?;
        let (mut frame, _) = Flow::new(any_flow()).packet(0)?;
        frame.resize(LONGEST_FRAME.into(), 0);
        Ok(Self { ebpf, frame, mask: entries - 1, sent: 0 })
    }

    /// Turns to the interface of this index.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn aim(&mut self, ifindex: u32) -> Result<()> {
        let plan = TrafficSchedule { mask: self.mask, ifindex, frame_length: LONGEST_FRAME.into(), padding: 0 };
        fill(&mut self.ebpf, "SCHEDULE_PLAN", &[bytemuck::cast::<TrafficSchedule, [u32; 4]>(plan)])
    }

    /// Makes `count` frames as fast as the kernel can. Not all of them need arrive: a full ring refuses what is too much.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn send(&mut self, namespace: &Namespace, count: u32) -> Result<()> {
        run_live(&mut self.ebpf, "scheduled", &self.frame, namespace, count)?;
        self.sent += u64::from(count);
        Ok(())
    }

    /// Frames that were made so far.
    #[must_use]
    pub const fn sent(&self) -> u64 {
        self.sent
    }
}

/// Writes the entries of an array.
fn fill<T: Pod>(ebpf: &mut Ebpf, name: &str, entries: &[T]) -> Result<()> {
    let map = ebpf.map_mut(name).with_context(|| format!("the object has no map {name}"))?;
    let mut map: Array<&mut MapData, T> = Array::try_from(map)?;
    for (index, entry) in (0..).zip(entries) {
        map.set(index, entry, 0).with_context(|| format!("cannot write entry {index} of {name}"))?;
    }
    Ok(())
}

/// What the frame looks like before the program makes it one of a flow.
fn any_flow() -> FlowId {
    let [source, destination] = [[10, 0, 0, 1], [10, 0, 0, 2]].map(Into::into);
    FlowId { source, destination, protocol: UDP, source_port: 1, destination_port: 1, vlan: 0, customer_vlan: 0 }
}
