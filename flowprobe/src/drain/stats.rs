//! The kernel's counters, whole as of a drain.

use std::sync::Arc;

use aya::maps::{Map, MapData, MapError, PerCpuArray};
use flowprobe_ebpf::{Direction, InterfaceStats, stats_index};
use hashbrown::HashMap;

use super::MeterStats;
use crate::accounting::add_stats;
use crate::kernel::MapValue;
use crate::probe::{Meter, Slots};

/// Reads the map `STATS`.
pub(super) struct StatsReader {
    map: PerCpuArray<MapData, MapValue<InterfaceStats>>,
    slots: Arc<Slots>,
    directions: &'static [Direction],
    /// By slot and direction: what each generation had counted when it was last retired.
    retired: HashMap<(u32, u8), [InterfaceStats; 2]>,
}

impl StatsReader {
    pub(super) fn new(map: Map, slots: Arc<Slots>, egress: bool) -> Result<Self, MapError> {
        let directions: &[_] = if egress { &[Direction::Ingress, Direction::Egress] } else { &[Direction::Ingress] };
        Ok(Self { map: PerCpuArray::try_from(map)?, slots, directions, retired: HashMap::new() })
    }

    /// Totals of all interfaces, with what `generation`, which nobody writes any more, has counted by now.
    pub(super) fn read(&mut self, generation: u32) -> Result<Vec<MeterStats>, MapError> {
        let mut all = Vec::new();
        for Meter { slot, ifindex, name } in self.slots.meters() {
            for &direction in self.directions {
                let values = self.map.get(&stats_index(slot, direction, generation), 0)?;
                let mut counted = InterfaceStats::default();
                for MapValue(of_one_cpu) in values.iter() {
                    add_stats(&mut counted, of_one_cpu);
                }
                let retired = self.retired.entry((slot, direction as u8)).or_default();
                retired[generation as usize] = counted;
                let mut totals = retired[0];
                add_stats(&mut totals, &retired[1]);
                all.push(MeterStats { interface: Arc::clone(&name), ifindex, direction, totals });
            }
        }
        Ok(all)
    }
}
