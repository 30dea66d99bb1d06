//! The truth: what arrived at an interface, counted at tcx behind whatever meters it, by the program `tally` of the traffic
//! object. A veth's full ring refuses frames, so what was sent says little.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use aya::maps::{Array, HashMap, MapData, MapError};
use aya::programs::links::LinkOrder;
use aya::programs::tc::{SchedClassifierLink, TcAttachOptions};
use aya::programs::{SchedClassifier, TcAttachType};
use aya::{Ebpf, EbpfLoader};
use flowprobe_ebpf::traffic::Arrived;

use super::mix::Traffic;
use crate::live::OBJECT;
use crate::namespace::Namespace;
use crate::truth::{Counts, ETHERNET_HEADER, Total};

/// Counts what arrives.
pub struct Tally {
    ebpf: Ebpf,
    flows: u32,
    /// The indexes that an interface of this name has had.
    watched: BTreeMap<String, Vec<u32>>,
    links: Vec<(String, SchedClassifierLink)>,
}

impl Tally {
    /// A tally of the flows of `traffic`; takes Linux 6.6.
    ///
    /// # Errors
    /// The kernel refuses the maps or the program.
    pub fn new(traffic: &Traffic) -> Result<Self> {
        let flows = u32::try_from(traffic.flows.len())?;
        let mut loader = EbpfLoader::new();
        loader.map_max_entries("ARRIVED_BY_FLOW", flows);
        let mut ebpf = loader.load(OBJECT).context("cannot load the traffic programs")?;
        let program: &mut SchedClassifier = ebpf.program_mut("tally").context("no program tally")?.try_into()?;
        program.load().context("the kernel refuses the program tally")?;
        Ok(Self { ebpf, flows, watched: BTreeMap::new(), links: Vec::new() })
    }

    /// Begins to count what arrives at an interface. One that has gone and come back must be watched again, before the first
    /// frame arrives.
    ///
    /// # Errors
    /// There is no such interface, or the kernel refuses.
    pub fn watch(&mut self, namespace: &Namespace, interface: &str) -> Result<()> {
        let index = namespace.index(interface)?;
        let program: &mut SchedClassifier = self.ebpf.program_mut("tally").context("no program tally")?.try_into()?;
        let options = TcAttachOptions::TcxOrder(LinkOrder::last());
        let link = namespace.inside(|| {
            let link = program.attach_with_options(interface, TcAttachType::Ingress, options)?;
            Ok(program.take_link(link)?)
        })?;
        self.links.push((interface.to_owned(), link));
        let indexes = self.watched.entry(interface.to_owned()).or_default();
        if !indexes.contains(&index) {
            indexes.push(index);
        }
        Ok(())
    }

    /// Stops counting what arrives at an interface; what has arrived stays counted.
    pub fn leave(&mut self, interface: &str) {
        self.links.retain(|(watched, _)| watched != interface);
    }

    /// The interfaces that were watched.
    pub fn interfaces(&self) -> impl Iterator<Item = &str> {
        self.watched.keys().map(String::as_str)
    }

    /// What has arrived at an interface of this name.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn arrived(&self, interface: &str) -> Result<Total> {
        let map = self.ebpf.map("ARRIVED_BY_INTERFACE").context("no map ARRIVED_BY_INTERFACE")?;
        let map: HashMap<&MapData, u32, [u64; 2]> = HashMap::try_from(map)?;
        let mut total = Total::default();
        for index in self.watched.get(interface).into_iter().flatten() {
            match map.get(index, 0) {
                Ok([packets, octets]) => total += Total { packets, octets },
                Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(total)
    }

    /// What has arrived of each flow, at all interfaces together.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn by_flow(&self) -> Result<Vec<Counts>> {
        let map = self.ebpf.map("ARRIVED_BY_FLOW").context("no map ARRIVED_BY_FLOW")?;
        let map: Array<&MapData, [u64; 2]> = Array::try_from(map)?;
        (0..self.flows).map(|flow| Ok(counts(bytemuck::cast(map.get(&flow, 0)?)))).collect()
    }
}

/// What must be counted of these frames: they have no tags, and IP ends where they do.
fn counts(Arrived { packets, octets }: Arrived) -> Counts {
    Counts { packets, octets: octets - packets * ETHERNET_HEADER, layer2_octets: octets }
}
