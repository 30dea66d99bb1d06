//! Which interface each slot of the maps `INTERFACES` and `STATS` stands for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aya::maps::{Array, Map, MapData, MapError};
use flowprobe_ebpf::{INTERFACE_PROBES, INTERFACE_SLOTS, InterfaceSlot, LinkLayer};
use thiserror::Error;

use crate::kernel::MapValue;

/// One interface as the kernel programs know it: a slot and an ifindex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meter {
    /// The slot.
    pub slot: u32,
    /// The interface's index when the slot was given to it.
    pub ifindex: u32,
    /// The interface's name.
    pub name: Arc<str>,
    /// Where the interface is gone: how often its counters were read since.
    gone: Option<u32>,
}

/// So often the counters of an interface are read after no program ran there any more: at the second time at the latest, both
/// generations are complete.
const LAST_READS: u32 = 2;

/// No slot for an interface.
#[derive(Debug, Error)]
pub enum SlotError {
    /// All slots where the programs would look are taken.
    #[error("no room to meter `{name}` (ifindex {ifindex}): {INTERFACE_PROBES} slots near its own are taken")]
    Full {
        /// The interface.
        name: Arc<str>,
        /// Its index.
        ifindex: u32,
    },
    /// The kernel refused the write.
    #[error("cannot write the map INTERFACES: {0}")]
    Map(#[from] MapError),
}

/// The slots that were given out. A slot keeps its interface for a while after that is gone, until all that was counted is read.
pub struct Slots {
    inner: Mutex<Inner>,
}

struct Inner {
    map: Array<MapData, MapValue<InterfaceSlot>>,
    meters: Vec<Meter>,
}

impl Slots {
    /// No slot given yet. `map` is the map `INTERFACES`.
    ///
    /// # Errors
    /// The map is not what it should be.
    pub fn new(map: MapData) -> Result<Self, MapError> {
        let map = Array::try_from(Map::Array(map))?;
        Ok(Self { inner: Mutex::new(Inner { map, meters: Vec::new() }) })
    }

    /// All slots given so far, in that order.
    #[must_use]
    pub fn meters(&self) -> Vec<Meter> {
        self.lock().meters.clone()
    }

    /// Gives the interface a slot, or finds the one it has.
    pub(super) fn assign(&self, ifindex: u32, link: LinkLayer, name: &Arc<str>) -> Result<(), SlotError> {
        let mut inner = self.lock();
        let entry = MapValue(InterfaceSlot { ifindex, link: link as u32 });
        if let Some(meter) = inner.meters.iter_mut().find(|meter| meter.ifindex == ifindex) {
            meter.name = Arc::clone(name);
            meter.gone = None;
            let slot = meter.slot;
            // An interface that came back may be of another kind.
            return Ok(inner.map.set(slot, entry, 0)?);
        }
        let taken = |slot| inner.meters.iter().any(|meter| meter.slot == slot);
        let slot = (0..INTERFACE_PROBES)
            .map(|probe| ifindex.wrapping_add(probe) & (INTERFACE_SLOTS - 1))
            .find(|slot| !taken(*slot))
            .ok_or_else(|| SlotError::Full { name: Arc::clone(name), ifindex })?;
        inner.map.set(slot, entry, 0)?;
        inner.meters.push(Meter { slot, ifindex, name: Arc::clone(name), gone: None });
        Ok(())
    }

    /// No program runs on the interface any more.
    pub(super) fn release(&self, ifindex: u32) {
        if let Some(meter) = self.lock().meters.iter_mut().find(|meter| meter.ifindex == ifindex) {
            meter.gone = Some(0);
        }
    }

    /// All counters were read. Takes back the slots of interfaces of which everything is known by now: `close` takes what it
    /// needs, and makes the counters zero.
    ///
    /// # Errors
    /// The kernel refuses, or `close` does.
    pub fn take_back(&self, mut close: impl FnMut(&Meter) -> Result<(), MapError>) -> Result<(), MapError> {
        let mut inner = self.lock();
        for meter in &mut inner.meters {
            meter.gone = meter.gone.map(|reads| reads + 1);
        }
        while let Some(position) =
            inner.meters.iter().position(|meter| meter.gone.is_some_and(|reads| reads >= LAST_READS))
        {
            // Under the lock: nobody gets the slot before it is empty.
            close(&inner.meters[position])?;
            let meter = inner.meters.remove(position);
            inner.map.set(meter.slot, MapValue(InterfaceSlot::default()), 0)?;
        }
        Ok(())
    }

    /// The list is whole after every step, so that a panic elsewhere does not make it less true.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
