//! Where the packets went that found no room.

use aya::Ebpf;
use flowprobe_ebpf::{Counter, OverflowKey};

use super::DrainError;
use super::batch::BatchMap;
use crate::probe::LoadError;

/// Reads the maps `OVER_*` of both generations.
pub(super) struct OverflowReader {
    maps: [[BatchMap<OverflowKey, Counter>; 2]; 2],
}

impl OverflowReader {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, LoadError> {
        let [hosts_0, nets_0, hosts_1, nets_1] =
            ["OVER_HOSTS_0", "OVER_NETS_0", "OVER_HOSTS_1", "OVER_NETS_1"].map(|name| BatchMap::take(ebpf, name));
        Ok(Self { maps: [[hosts_0?, nets_0?], [hosts_1?, nets_1?]] })
    }

    /// What `generation`, which nobody writes any more, has counted.
    pub(super) fn read(&mut self, generation: u32) -> Result<Vec<(OverflowKey, Counter)>, DrainError> {
        let mut all = Vec::new();
        for map in &mut self.maps[generation as usize] {
            map.read_to_end(|keys, values| {
                all.extend(keys.iter().copied().zip(values.iter().copied()));
                Ok(())
            })?;
        }
        Ok(all)
    }
}
