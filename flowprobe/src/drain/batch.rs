//! A hash map of one generation, read and emptied in batches.

use std::os::fd::AsFd as _;

use aya::Ebpf;
use aya::maps::{Map, MapData, MapError};
use bytemuck::Pod;
use tracing::debug;

use super::{DrainError, take};
use crate::kernel::{self, Batch, BatchCursor};
use crate::probe::LoadError;

/// Entries asked for in one system call. Measured with a million flows: from 512 to 65,536 the cost per flow differs by a
/// twentieth.
pub const BATCH: usize = 8192;

/// A hash map that programs fill while its generation is the current one.
pub(super) struct BatchMap<K, V> {
    map: MapData,
    name: &'static str,
    keys: Vec<K>,
    values: Vec<V>,
}

impl<K: Pod, V: Pod> BatchMap<K, V> {
    /// Takes the map called `name` out of a loaded object and makes sure of its shape.
    ///
    /// # Errors
    /// There is none, or its keys and values are not of the sizes that this daemon knows.
    pub(super) fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Self, LoadError> {
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
        if value != size_of::<V>() {
            let error = MapError::InvalidValueSize { size: size_of::<V>(), expected: value };
            return Err(LoadError::Map { name, error });
        }
        Ok(Self { map, name, keys: vec![K::zeroed(); BATCH], values: vec![V::zeroed(); BATCH] })
    }

    /// Moves all entries out of the map and shows them to `sink`, a batch at a time: as many values as keys. Returns how many
    /// there were.
    pub(super) fn read_to_end(
        &mut self,
        mut sink: impl FnMut(&[K], &[V]) -> Result<(), DrainError>,
    ) -> Result<usize, DrainError> {
        let mut cursor = BatchCursor::default();
        let mut total = 0;
        loop {
            let outcome =
                kernel::lookup_and_delete_batch(self.map.fd().as_fd(), &mut cursor, &mut self.keys, &mut self.values)
                    .map_err(|error| DrainError::Batch { map: self.name, error })?;
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
                sink(&self.keys[..count], &self.values[..count])?;
            }
            if last {
                return Ok(total);
            }
        }
    }

    fn grow(&mut self) {
        let size = self.keys.len() * 2;
        debug!("a bucket of {} holds more than {} entries; reading {size} at a time", self.name, self.keys.len());
        self.keys.resize(size, K::zeroed());
        self.values.resize(size, V::zeroed());
    }
}
