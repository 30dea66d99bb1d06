//! The flow maps.

use aya::Ebpf;
use bytemuck::Pod;
use flowprobe_ebpf::{FlowKey, FlowValue, Tunnel, TunnelledKey};

use super::batch::BatchMap;
use super::{DrainError, Drained};
use crate::probe::LoadError;
use crate::record::FlowDelta;

/// The key of a flow map.
trait Key: Pod {
    /// The flow, and the tunnel out of which it came.
    fn parts(self) -> (FlowKey, Tunnel);
}

impl Key for FlowKey {
    fn parts(self) -> (FlowKey, Tunnel) {
        (self, Tunnel::NONE)
    }
}

impl Key for TunnelledKey {
    fn parts(self) -> (FlowKey, Tunnel) {
        (self.flow, self.tunnel)
    }
}

/// The flow maps of one generation.
pub(super) struct FlowMaps {
    plain: BatchMap<FlowKey, FlowValue>,
    /// Where tunnels are opened.
    tunnelled: Option<BatchMap<TunnelledKey, FlowValue>>,
}

impl FlowMaps {
    pub(super) fn take(
        ebpf: &mut Ebpf,
        [plain, tunnelled]: [&'static str; 2],
        tunnels: bool,
    ) -> Result<Self, LoadError> {
        let tunnelled = tunnels.then(|| BatchMap::take(ebpf, tunnelled)).transpose()?;
        Ok(Self { plain: BatchMap::take(ebpf, plain)?, tunnelled })
    }

    /// Moves all flows out of the maps and hands them to `sink`; `crowded` goes with them. Returns how many there were.
    pub(super) fn read_to_end(
        &mut self,
        crowded: bool,
        sink: &mut impl FnMut(Drained) -> Result<(), DrainError>,
    ) -> Result<usize, DrainError> {
        let mut flows = self.plain.read_to_end(|keys, values| sink(drained(keys, values, crowded)))?;
        if let Some(tunnelled) = &mut self.tunnelled {
            flows += tunnelled.read_to_end(|keys, values| sink(drained(keys, values, crowded)))?;
        }
        Ok(flows)
    }
}

fn drained<K: Key>(keys: &[K], values: &[FlowValue], crowded: bool) -> Drained {
    let deltas = keys.iter().zip(values).map(|(key, value)| {
        let (key, tunnel) = key.parts();
        FlowDelta { key, tunnel, value: *value }
    });
    Drained::Flows { deltas: deltas.collect(), crowded }
}
