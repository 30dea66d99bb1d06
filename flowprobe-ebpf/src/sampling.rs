//! Sampling: which packets are metered when not all are.

use bytemuck::{Pod, Zeroable};

use crate::flow::{Address, FlowKey};
use crate::protocol::has_ports;

/// How packets are chosen, as it lies in the map `SELECTION`. All zero: every packet is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Sampling {
    /// A [`SamplingMode`].
    pub mode: u32,
    /// A packet is chosen whose number, of 32 bits all equally likely, is below this.
    pub below: u32,
    /// Mixed into the hash of flows, so that nobody can tell from outside which are chosen.
    pub seed: u32,
}

/// What the choice depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum SamplingMode {
    /// Nothing: every packet is metered.
    All = 0,
    /// Chance: each packet by itself (RFC 5475 section 5.2.2.1, uniform probabilistic).
    Packets = 1,
    /// A hash of addresses, ports and protocol, the same for both directions: all packets of a conversation or none.
    Flows = 2,
}

impl Sampling {
    /// Every packet.
    pub const ALL: Self = Self { mode: SamplingMode::All as u32, below: 0, seed: 0 };

    /// One of `interval`; all for an interval of 0 or 1.
    #[must_use]
    pub const fn one_in(interval: u32, mode: SamplingMode, seed: u32) -> Self {
        if interval <= 1 {
            return Self::ALL;
        }
        // 2³² / interval, rounded to the nearest; below 2³¹ + 1 since the interval is at least 2.
        #[expect(clippy::cast_possible_truncation, reason = "said above")]
        let below = (((1_u64 << 32) + interval as u64 / 2) / interval as u64) as u32;
        Self { mode: mode as u32, below, seed }
    }

    /// Whether a packet of the flow `key` is metered. `chance` gives random numbers.
    #[must_use]
    #[inline(always)]
    pub fn keeps(&self, key: &FlowKey, chance: impl FnOnce() -> u32) -> bool {
        const PACKETS: u32 = SamplingMode::Packets as u32;
        const FLOWS: u32 = SamplingMode::Flows as u32;
        match self.mode {
            PACKETS => chance() < self.below,
            FLOWS => conversation_hash(key, self.seed) < self.below,
            _ => true,
        }
    }
}

/// The same number for both directions of a conversation. Type and code of ICMP stay out, because an answer's differ.
#[inline(always)]
fn conversation_hash(key: &FlowKey, seed: u32) -> u32 {
    let ports = if has_ports(key.protocol) { [key.source_port, key.destination_port] } else { [0, 0] };
    let source = endpoint_hash(&key.source, ports[0], seed);
    let destination = endpoint_hash(&key.destination, ports[1], seed);
    // A sum does not know which end is which; the mixing after it leaves no trace of that.
    finish(source.wrapping_add(destination) ^ u32::from(key.protocol))
}

#[inline(always)]
fn endpoint_hash(address: &Address, port: u16, seed: u32) -> u32 {
    let [a, b, c, d] = address.0;
    let mut hash = seed ^ u32::from(port);
    hash = mix(hash, a);
    hash = mix(hash, b);
    hash = mix(hash, c);
    hash = mix(hash, d);
    finish(hash)
}

/// Odd constants with about as many ones as zeros, which spread each bit of a factor over the product's upper half.
const SPREAD: u32 = 0x9e37_79b1;
const SPREAD_AGAIN: u32 = 0x85eb_ca77;

#[inline(always)]
const fn mix(hash: u32, word: u32) -> u32 {
    (hash ^ word.wrapping_mul(SPREAD_AGAIN)).rotate_left(13).wrapping_mul(SPREAD)
}

#[inline(always)]
const fn finish(hash: u32) -> u32 {
    let hash = (hash ^ hash >> 16).wrapping_mul(SPREAD);
    let hash = (hash ^ hash >> 15).wrapping_mul(SPREAD_AGAIN);
    hash ^ hash >> 16
}

const _: () = assert!(size_of::<Sampling>() == 12);

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use super::*;

    fn flow(number: u32) -> FlowKey {
        FlowKey {
            source: Ipv4Addr::from(0x0a00_0000 + number).into(),
            destination: Ipv4Addr::new(192, 0, 2, 1).into(),
            source_port: 40_000,
            destination_port: 443,
            protocol: 6,
            ip_version: 4,
            ..FlowKey::default()
        }
    }

    fn reversed(key: FlowKey) -> FlowKey {
        FlowKey {
            source: key.destination,
            destination: key.source,
            source_port: key.destination_port,
            destination_port: key.source_port,
            ..key
        }
    }

    #[test]
    fn one_flow_in_n_is_kept_with_its_answers() {
        for interval in [2, 10, 100] {
            let sampling = Sampling::one_in(interval, SamplingMode::Flows, 7);
            let kept = (0..100_000).map(flow).filter(|key| {
                let keeps = sampling.keeps(key, || 0);
                assert_eq!(keeps, sampling.keeps(&reversed(*key), || u32::MAX));
                keeps
            });
            let (kept, expected) = (kept.count(), 100_000 / interval as usize);
            // Five standard deviations of a binomial distribution.
            let spread = 5 * expected.isqrt();
            assert!(kept.abs_diff(expected) < spread, "1 in {interval}: {kept} of 100000");
        }
    }

    #[test]
    fn one_packet_in_n_is_kept_by_chance() {
        let sampling = Sampling::one_in(4, SamplingMode::Packets, 0);
        let kept = (0..16).filter(|number| sampling.keeps(&flow(1), || number << 28)).count();
        assert_eq!(kept, 4);
    }

    #[test]
    fn without_sampling_every_packet_is_kept() {
        for sampling in [Sampling::ALL, Sampling::zeroed(), Sampling::one_in(1, SamplingMode::Packets, 3)] {
            assert!(sampling.keeps(&flow(1), || u32::MAX));
        }
    }
}
