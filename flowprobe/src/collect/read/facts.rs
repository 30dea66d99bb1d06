//! What the options records of an exporter have taught.

use std::sync::Arc;

use hashbrown::HashMap;

use super::sampling;
use super::values::{Slot, Values};
use crate::record::SamplingRate;
use crate::text::shown;

/// Samplers, interfaces and their names that are remembered of one exporter, each.
const MOST: usize = 4096;

/// Octets that each of them takes, besides those of its text.
const PER_FACT: usize = 64;

/// What the options records of an exporter have taught: how it samples, and what its interfaces are called. What comes later
/// wins; what would be one too many to remember is counted and not learnt.
#[derive(Debug, Default)]
pub struct Facts {
    samplers: HashMap<u64, SamplingRate>,
    interfaces: HashMap<u32, SamplingRate>,
    domain: Option<SamplingRate>,
    names: HashMap<u32, Arc<str>>,
    descriptions: HashMap<u32, Arc<str>>,
    boot_us: Option<u64>,
    refused: u64,
    /// Octets of all names and descriptions.
    text_octets: usize,
}

impl Facts {
    /// The name of the interface with this index, or its description where that is all that was told.
    #[must_use]
    pub fn interface_name(&self, index: u32) -> Option<Arc<str>> {
        if index == 0 || self.names.is_empty() && self.descriptions.is_empty() {
            return None;
        }
        self.names.get(&index).or_else(|| self.descriptions.get(&index)).cloned()
    }

    /// The description of the interface with this index.
    #[must_use]
    pub fn interface_description(&self, index: u32) -> Option<&Arc<str>> {
        self.descriptions.get(&index)
    }

    /// How many interfaces have a name.
    #[must_use]
    pub fn interface_names(&self) -> usize {
        self.names.len()
    }

    /// How the whole observation domain samples, where that was told.
    #[must_use]
    pub const fn sampling(&self) -> Option<SamplingRate> {
        self.domain
    }

    /// How the sampler or selector with this ID samples.
    #[must_use]
    pub fn sampler(&self, id: u64) -> Option<SamplingRate> {
        self.samplers.get(&id).copied()
    }

    /// How the interface with this index is sampled.
    #[must_use]
    pub fn interface_sampling(&self, index: u32) -> Option<SamplingRate> {
        self.interfaces.get(&index).copied()
    }

    /// Octets that all of it takes, about.
    #[must_use]
    pub fn octets(&self) -> usize {
        let numbers = self.samplers.len() + self.interfaces.len();
        (numbers + self.names.len() + self.descriptions.len()) * PER_FACT + self.text_octets
    }

    /// Facts that were not learnt because there were too many.
    #[must_use]
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// When the exporter began, microseconds since 1970, where an options record has `systemInitTimeMilliseconds`.
    pub(super) const fn boot_us(&self) -> Option<u64> {
        self.boot_us
    }

    pub(super) fn know_sampling(&self) -> bool {
        self.domain.is_some() || !self.samplers.is_empty() || !self.interfaces.is_empty()
    }

    /// Adds what was known before, where nothing else has been learnt since.
    pub fn add(&mut self, before: Self) {
        add_all(&mut self.samplers, before.samplers);
        add_all(&mut self.interfaces, before.interfaces);
        add_all(&mut self.names, before.names);
        add_all(&mut self.descriptions, before.descriptions);
        self.domain = self.domain.or(before.domain);
        self.boot_us = self.boot_us.or(before.boot_us);
        self.refused += before.refused;
        self.text_octets = self.names.values().chain(self.descriptions.values()).map(|text| text.len()).sum();
    }

    /// Learns what an options record says: its numbers, and the octets of its `interfaceName` and `interfaceDescription`.
    pub(super) fn learn(&mut self, values: &Values, names_sampler: bool, name: &[u8], description: &[u8]) {
        let interface = [Slot::Ingress, Slot::Egress, Slot::PhysicalIngress, Slot::PhysicalEgress];
        let index = u32::try_from(values.first(&interface).1).unwrap_or(0);
        if let Some(rate) = sampling::said(values) {
            let (_, sampler) = values.first(&sampling::SAMPLERS);
            let learnt = if names_sampler {
                put(&mut self.samplers, sampler, rate)
            } else if index != 0 {
                put(&mut self.interfaces, index, rate)
            } else {
                self.domain = Some(rate);
                true
            };
            self.refused += u64::from(!learnt);
        }
        if index != 0 {
            for (texts, octets) in [(&mut self.names, name), (&mut self.descriptions, description)] {
                if let Some(text) = text(octets) {
                    let before = texts.get(&index).map_or(0, |known| known.len());
                    let learnt = put_text(texts, index, &text);
                    self.text_octets = self.text_octets - before + if learnt { text.len() } else { before };
                    self.refused += u64::from(!learnt);
                }
            }
        }
        let boot_ms = values.get(Slot::SystemInit);
        if boot_ms != 0 {
            self.boot_us = Some(boot_ms.saturating_mul(1000));
        }
    }
}

/// Whether there was room for it.
fn put<Key: Eq + std::hash::Hash, Value>(map: &mut HashMap<Key, Value>, key: Key, value: Value) -> bool {
    let room = map.len() < MOST || map.contains_key(&key);
    if room {
        map.insert(key, value);
    }
    room
}

/// Adds what has no value yet, as long as there is room.
fn add_all<Key: Eq + std::hash::Hash, Value>(map: &mut HashMap<Key, Value>, before: HashMap<Key, Value>) {
    for (key, value) in before {
        if !map.contains_key(&key) {
            put(map, key, value);
        }
    }
}

/// Exporters repeat their names every few minutes: one that is known is left as it is.
fn put_text(texts: &mut HashMap<u32, Arc<str>>, index: u32, text: &str) -> bool {
    texts.get(&index).is_some_and(|known| **known == *text) || put(texts, index, text.into())
}

/// A name as it may be shown: up to the zeros that fill its field; `None` where nothing is left.
fn text(octets: &[u8]) -> Option<String> {
    let octets = octets.split(|&octet| octet == 0).next().unwrap_or_default();
    shown(&String::from_utf8_lossy(octets))
}
