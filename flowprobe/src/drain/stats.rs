//! The kernel's counters, whole as of a drain.

use std::sync::Arc;

use aya::maps::{Map, MapData, MapError, PerCpuArray, PerCpuValues};
use aya::util::nr_cpus;
use flowprobe_ebpf::{Direction, GENERATIONS, InterfaceStats, stats_index};
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
    /// What interfaces had counted whose slots were taken back, by name and direction.
    gone: HashMap<(Arc<str>, u8), InterfaceStats>,
    /// CPUs that there may be, and that have a counter each.
    cpus: usize,
}

impl StatsReader {
    pub(super) fn new(map: Map, slots: Arc<Slots>, egress: bool) -> Result<Self, MapError> {
        let directions: &[_] = if egress { &[Direction::Ingress, Direction::Egress] } else { &[Direction::Ingress] };
        let map = PerCpuArray::try_from(map)?;
        let cpus = nr_cpus().map_err(|(_, error)| MapError::IoError(error))?;
        Ok(Self { map, slots, directions, retired: HashMap::new(), gone: HashMap::new(), cpus })
    }

    /// Totals of all interfaces, with what `generation`, which nobody writes any more, has counted by now.
    pub(super) fn read(&mut self, generation: u32) -> Result<Vec<MeterStats>, MapError> {
        let mut all = self.of_gone();
        for Meter { slot, ifindex, name, .. } in self.slots.meters() {
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
        self.take_back_slots()?;
        Ok(all)
    }

    /// What is known of interfaces that are gone; without an index, which others may have by now.
    fn of_gone(&self) -> Vec<MeterStats> {
        let gone = self.gone.iter().map(|((name, direction), totals)| MeterStats {
            interface: Arc::clone(name),
            ifindex: 0,
            direction: if *direction == Direction::Egress as u8 { Direction::Egress } else { Direction::Ingress },
            totals: *totals,
        });
        gone.collect()
    }

    fn take_back_slots(&mut self) -> Result<(), MapError> {
        let Self { map, slots, directions, retired, gone, cpus } = self;
        slots.take_back(|Meter { slot, name, .. }| {
            for &direction in *directions {
                let sum = gone.entry((Arc::clone(name), direction as u8)).or_default();
                for counted in retired.remove(&(*slot, direction as u8)).unwrap_or_default() {
                    add_stats(sum, &counted);
                }
                for generation in 0..GENERATIONS {
                    let zero = PerCpuValues::try_from(vec![MapValue::default(); *cpus])?;
                    map.set(stats_index(*slot, direction, generation), zero, 0)?;
                }
            }
            Ok(())
        })
    }
}
