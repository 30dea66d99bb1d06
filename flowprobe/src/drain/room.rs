//! How full the flow maps are, and which flows keep their room in them.

use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use aya::Ebpf;
use aya::maps::{Array, Map, MapData, MapError};
use flowprobe_ebpf::room::{MARKS_PER_BLOCK, Room, filling, mark_of, room_index};
use flowprobe_ebpf::{Epoch, FlowKey};

use super::take;
use crate::kernel::{MapValue, SharedOctets};
use crate::probe::LoadError;

/// Reads the map `ROOM`.
pub(super) struct RoomReader {
    map: Array<MapData, MapValue<Room>>,
    filling_at: u64,
}

/// What was put into a generation's flow maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fill {
    /// Nothing: they need not be read.
    Empty,
    /// Something.
    Some,
    /// So much that new flows may have found no room.
    Crowded,
}

impl RoomReader {
    pub(super) fn take(ebpf: &mut Ebpf, max_flows: u32) -> Result<Self, LoadError> {
        let map = take(ebpf, "ROOM")?;
        let map = Array::try_from(map).map_err(|error| LoadError::Map { name: "ROOM", error })?;
        Ok(Self { map, filling_at: filling(max_flows).into() })
    }

    /// How full the maps of `generation` are, which nobody writes any more; from now on they count as empty.
    pub(super) fn take_stock(&mut self, generation: u32) -> Result<Fill, MapError> {
        let mut most = 0;
        for tunnelled in [false, true] {
            let index = room_index(generation, tunnelled);
            let MapValue(Room { flows, .. }) = self.map.get(&index, 0)?;
            if flows > 0 {
                self.map.set(index, MapValue(Room::default()), 0)?;
            }
            most = most.max(flows);
        }
        Ok(match most {
            0 => Fill::Empty,
            flows if flows < self.filling_at => Fill::Some,
            _ => Fill::Crowded,
        })
    }
}

/// Sets the marks of flows that are known, so that a flood of new ones does not take their room. Programs mark a flow at its
/// second packet in a generation; this is for those that have one packet in each.
#[derive(Debug)]
pub struct KnownFlows {
    /// Held because the programs need it when they are loaded, which may be later.
    _map: MapData,
    marks: SharedOctets,
    blocks: u32,
    epoch: Arc<AtomicU32>,
}

impl KnownFlows {
    /// Marks the flow, for this epoch and the next.
    pub fn mark(&self, key: &FlowKey) {
        let (block, mark) = mark_of(key, self.blocks);
        let epoch = Epoch(self.epoch.load(Ordering::Relaxed));
        if let Some(octet) = self.marks.octets().get(block as usize * MARKS_PER_BLOCK + mark) {
            octet.store(epoch.mark(), Ordering::Relaxed);
        }
    }
}

/// Lets marks become old: an epoch is as long as a flow may be idle.
pub(super) struct Epochs {
    current: Arc<AtomicU32>,
    length: Duration,
    next: Instant,
}

impl Epochs {
    /// Epochs of this length from now on, and who marks flows in them.
    pub(super) fn begin(ebpf: &mut Ebpf, length: Duration) -> Result<(Self, KnownFlows), LoadError> {
        const NAME: &str = "KNOWN";
        let failed = |error| LoadError::Map { name: NAME, error };
        let Map::Array(map) = take(ebpf, NAME)? else {
            return Err(LoadError::NoMap(NAME));
        };
        let blocks = map.info().map_err(failed)?.max_entries();
        let length_in_octets = blocks as usize * MARKS_PER_BLOCK;
        let marks =
            SharedOctets::map(map.fd().as_fd(), length_in_octets).map_err(|error| failed(MapError::IoError(error)))?;
        let current = Arc::new(AtomicU32::new(Epoch::FIRST.0));
        let known = KnownFlows { _map: map, marks, blocks, epoch: Arc::clone(&current) };
        Ok((Self { current, length, next: Instant::now() + length }, known))
    }

    pub(super) fn current(&self) -> Epoch {
        Epoch(self.current.load(Ordering::Relaxed))
    }

    pub(super) fn set_length(&mut self, length: Duration) {
        self.length = length;
        self.next = self.next.min(Instant::now() + length);
    }

    /// The next epoch, if this one is over. It is told to the programs first.
    pub(super) fn next(
        &mut self,
        now: Instant,
        tell: impl FnOnce(Epoch) -> Result<(), MapError>,
    ) -> Result<(), MapError> {
        if now < self.next {
            return Ok(());
        }
        let epoch = self.current().next();
        tell(epoch)?;
        self.current.store(epoch.0, Ordering::Relaxed);
        self.next = now + self.length;
        Ok(())
    }
}
