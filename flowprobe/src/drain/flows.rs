//! A generation's flow map, read and emptied in batches.

use std::os::fd::AsFd as _;

use aya::Ebpf;
use aya::maps::{Map, MapData, MapError};
use bytemuck::{Pod, Zeroable as _};
use flowprobe_ebpf::{FlowKey, FlowValue, Tunnel, TunnelledKey};
use tracing::debug;

use super::{DrainError, take};
use crate::kernel::{self, Batch, BatchCursor};
use crate::probe::LoadError;
use crate::record::FlowDelta;

/// Flows asked for in one system call. Measured with a million flows: from 512 to 65,536 the cost per flow differs by a
/// twentieth.
const BATCH: usize = 8192;

/// The key of a flow map.
pub trait Key: Pod {
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

/// The flow map of one generation.
pub struct FlowMap<K> {
    map: MapData,
    keys: Vec<K>,
    values: Vec<FlowValue>,
}

impl<K: Key> FlowMap<K> {
    /// Takes the map called `name` out of a loaded object and makes sure of its shape.
    ///
    /// # Errors
    /// There is none, or its keys and values are not of the sizes that this daemon knows.
    pub fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Self, LoadError> {
        let Map::HashMap(map) = take(ebpf, name)? else {
            return Err(LoadError::NoMap(name));
        };
        let info = map.info().map_err(|error| LoadError::Map { name, error })?;
        let of = |size: u32| usize::try_from(size).unwrap_or(usize::MAX);
        let [key, value] = [of(info.key_size()), of(info.value_size())];
        if key != size_of::<K>() {
            let error = MapError::InvalidKeySize { size: size_of::<K>(), expected: key };
            return Err(LoadError::Map { name, error });
        }
        if value != size_of::<FlowValue>() {
            let error = MapError::InvalidValueSize { size: size_of::<FlowValue>(), expected: value };
            return Err(LoadError::Map { name, error });
        }
        Ok(Self { map, keys: vec![K::zeroed(); BATCH], values: vec![FlowValue::zeroed(); BATCH] })
    }

    /// Moves all flows out of the map and hands them to `sink`, a batch at a time. Returns how many there were.
    pub(super) fn read_to_end(
        &mut self,
        generation: u32,
        sink: &mut impl FnMut(Vec<FlowDelta>) -> Result<(), DrainError>,
    ) -> Result<usize, DrainError> {
        let mut cursor = BatchCursor::default();
        let mut total = 0;
        loop {
            let outcome =
                kernel::lookup_and_delete_batch(self.map.fd().as_fd(), &mut cursor, &mut self.keys, &mut self.values)
                    .map_err(|error| DrainError::Flows { generation, error })?;
            let (count, last) = match outcome {
                Batch::More(count) => (count, false),
                Batch::Last(count) => (count, true),
                Batch::BufferTooSmall => {
                    self.grow();
                    continue;
                }
            };
            if count > 0 {
                total += count;
                let entries = self.keys[..count].iter().zip(&self.values[..count]);
                let deltas = entries.map(|(key, value)| {
                    let (key, tunnel) = key.parts();
                    FlowDelta { key, tunnel, value: *value }
                });
                sink(deltas.collect())?;
            }
            if last {
                return Ok(total);
            }
        }
    }

    fn grow(&mut self) {
        let size = self.keys.len() * 2;
        debug!("a bucket of the flow map holds more than {} flows; reading {size} at a time", self.keys.len());
        self.keys.resize(size, K::zeroed());
        self.values.resize(size, FlowValue::zeroed());
    }
}
