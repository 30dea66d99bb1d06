//! Which of several collectors gets a conversation: always the same, whatever the others are and however often flowprobe is
//! started. Where one is added or goes, only the conversations move that it gets or had (rendezvous hashing).

use std::net::IpAddr;
use std::sync::Arc;

use crate::record::FlowRecord;

/// One collector's part of what several share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// A number for each of the collectors.
    seeds: Arc<[u64]>,
    /// Which of them this one is.
    position: usize,
}

impl Share {
    /// The share of each of the collectors of these names.
    #[must_use]
    pub fn among(names: &[String]) -> Vec<Self> {
        let seeds: Arc<[u64]> = names
            .iter()
            .map(|name| name.bytes().fold(0x9e37_79b9, |seed, octet| mixed(seed ^ u64::from(octet))))
            .collect();
        (0..names.len()).map(|position| Self { seeds: Arc::clone(&seeds), position }).collect()
    }

    /// Whether this collector gets what an exporter has sent, where that is passed on as it came.
    #[must_use]
    pub fn has_exporter(&self, address: IpAddr) -> bool {
        let octets = match address {
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            IpAddr::V6(address) => address.octets(),
        };
        self.is_first_of(octets.iter().fold(0, |number, octet| mixed(number ^ u64::from(*octet))))
    }

    /// Whether this collector gets the record. Both directions of a conversation go to the same one.
    #[must_use]
    pub fn has(&self, record: &FlowRecord) -> bool {
        self.is_first_of(conversation(record))
    }

    fn is_first_of(&self, number: u64) -> bool {
        let first = (0..self.seeds.len()).max_by_key(|&position| mixed(number ^ self.seeds[position]));
        first == Some(self.position)
    }
}

/// A number of the conversation: the same for both directions.
fn conversation(record: &FlowRecord) -> u64 {
    let key = &record.key;
    let end = |address: [u32; 4], port: u16| {
        let [a, b, c, d] = address.map(u64::from);
        // Ports of ICMP are type and code, which differ between the directions.
        let port = if record.has_ports() { port } else { 0 };
        mixed(mixed(a << 32 | b) ^ (c << 32 | d)) ^ mixed(u64::from(port) << 8)
    };
    let ends = end(key.source.0, key.source_port).wrapping_add(end(key.destination.0, key.destination_port));
    mixed(ends ^ u64::from(key.protocol))
}

/// The finalizer of SplitMix64: every bit of the outcome depends on every bit of `number`.
const fn mixed(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use flowprobe_ebpf::FlowKey;

    use super::*;

    fn record(number: u32) -> FlowRecord {
        let example = FlowRecord::example();
        FlowRecord { key: FlowKey { source: Ipv4Addr::from(0x0a00_0000 + number).into(), ..example.key }, ..example }
    }

    fn reverse(record: &FlowRecord) -> FlowRecord {
        let key = record.key;
        FlowRecord {
            key: FlowKey {
                source: key.destination,
                destination: key.source,
                source_port: key.destination_port,
                destination_port: key.source_port,
                ..key
            },
            ..*record
        }
    }

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("udp://192.0.2.{number}:4739")).collect()
    }

    fn owner(shares: &[Share], record: &FlowRecord) -> usize {
        let owners: Vec<usize> = (0..shares.len()).filter(|&position| shares[position].has(record)).collect();
        assert_eq!(owners.len(), 1);
        owners[0]
    }

    #[test]
    fn each_conversation_has_one_collector_and_the_shares_are_even() {
        let shares = Share::among(&names(4));
        let mut counts = [0; 4];
        for number in 0..10_000 {
            let record = record(number);
            let owner = owner(&shares, &record);
            assert!(shares[owner].has(&reverse(&record)));
            counts[owner] += 1;
        }
        assert!(counts.iter().all(|count| (2300..2700).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_collector_more_takes_from_all_and_moves_nothing_else() {
        let (before, after) = (Share::among(&names(3)), Share::among(&names(4)));
        for number in 0..1000 {
            let record = record(number);
            let (old, new) = (owner(&before, &record), owner(&after, &record));
            assert!(new == old || new == 3);
        }
    }

    #[test]
    fn who_gets_what_never_changes() {
        let shares = Share::among(&names(3));
        let owners: Vec<usize> = (0..8).map(|number| owner(&shares, &record(number))).collect();
        assert_eq!(
            owners,
            [1, 1, 1, 2, 1, 1, 0, 1],
            "the hash has changed: conversations of a site move when it updates"
        );
    }
}
