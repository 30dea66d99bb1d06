//! The books behind the sum: what the kernel counted, what the table exported and holds, and where the packets went that found
//! no room; by interface name and direction, so that an interface that went and came back is still the same one.

use std::net::IpAddr;
use std::sync::Arc;

use flowprobe_ebpf::{Counter, Direction, InterfaceStats, OverflowKey};
use hashbrown::HashMap;

use crate::accounting::{Accounting, OverflowDestination, add_stats};
use crate::busier::keep_busier_half;
use crate::drain::{DrainReport, MeterStats};
use crate::table::Table;

/// Destinations of overflow that are remembered for each interface and direction. When there are more, the half with fewer
/// packets is forgotten: that is then in the sum of overflow only.
const MOST_DESTINATIONS: usize = 4096;

/// Destinations of overflow that are shown for each interface and direction.
const SHOWN_DESTINATIONS: usize = 10;

/// An interface and a direction.
type Point = (Arc<str>, Direction);

/// What is known since the start.
#[derive(Debug, Default)]
pub struct Ledger {
    /// As of the last drain.
    stats: Vec<MeterStats>,
    /// Of interfaces whose flows may still be in the table.
    names: HashMap<u32, Arc<str>>,
    /// Exported by interfaces that are gone, and of which the table knows nothing any more.
    exported: HashMap<Point, Counter>,
    overflow: HashMap<Point, Destinations>,
}

impl Ledger {
    /// Takes in what a drain says.
    pub fn update(&mut self, report: &mut DrainReport) {
        self.stats = std::mem::take(&mut report.stats);
        for one in &self.stats {
            if one.ifindex != 0 && self.names.get(&one.ifindex) != Some(&one.interface) {
                self.names.insert(one.ifindex, Arc::clone(&one.interface));
            }
        }
        for (key, counter) in &report.overflow {
            if let Some(name) = self.names.get(&key.ifindex) {
                let point = (Arc::clone(name), direction(key.direction));
                self.overflow.entry(point).or_default().add(key, *counter);
            }
        }
    }

    /// The sum of each interface and direction. Closes the books of interfaces that are gone and of which no flow is open.
    pub fn sums(&mut self, table: &mut Table) -> Vec<Accounting> {
        self.close_books(table);
        let mut sums = Sums::default();
        for MeterStats { interface, ifindex, direction, totals } in &self.stats {
            let sum = sums.of(interface, *direction);
            add_stats(&mut sum.kernel, totals);
            if *ifindex != 0 {
                sum.ifindex = *ifindex;
            }
            let of_table = table.totals(*ifindex, *direction);
            sum.exported += of_table.exported;
            sum.held += of_table.held;
        }
        for (ifindex, name) in self.names.iter().filter(|(ifindex, _)| !self.is_metered(**ifindex)) {
            for direction in [Direction::Ingress, Direction::Egress] {
                let of_table = table.totals(*ifindex, direction);
                if of_table.exported.packets + of_table.held.packets > 0 {
                    let sum = sums.of(name, direction);
                    sum.exported += of_table.exported;
                    sum.held += of_table.held;
                }
            }
        }
        for ((name, direction), counter) in &self.exported {
            sums.of(name, *direction).exported += *counter;
        }
        for ((name, direction), destinations) in &self.overflow {
            sums.of(name, *direction).overflow_destinations = destinations.top(SHOWN_DESTINATIONS);
        }
        sums.all
    }

    fn close_books(&mut self, table: &mut Table) {
        let gone: Vec<u32> = self.names.keys().copied().filter(|ifindex| !self.is_metered(*ifindex)).collect();
        for ifindex in gone {
            for (direction, exported) in table.forget_interface(ifindex) {
                *self.exported.entry((Arc::clone(&self.names[&ifindex]), direction)).or_default() += exported;
            }
            if !table.knows_interface(ifindex) {
                self.names.remove(&ifindex);
            }
        }
    }

    fn is_metered(&self, ifindex: u32) -> bool {
        self.stats.iter().any(|one| one.ifindex == ifindex)
    }
}

/// Sums in the order in which interfaces came up.
#[derive(Default)]
struct Sums {
    all: Vec<Accounting>,
    positions: HashMap<Point, usize>,
}

impl Sums {
    fn of(&mut self, interface: &Arc<str>, direction: Direction) -> &mut Accounting {
        let all = &mut self.all;
        let position = *self.positions.entry((Arc::clone(interface), direction)).or_insert_with(|| {
            all.push(Accounting {
                interface: Arc::clone(interface),
                ifindex: 0,
                direction,
                kernel: InterfaceStats::default(),
                exported: Counter::default(),
                held: Counter::default(),
                overflow_destinations: Vec::new(),
            });
            all.len() - 1
        });
        &mut all[position]
    }
}

/// Where overflow went.
#[derive(Debug, Default)]
struct Destinations(HashMap<(IpAddr, u8, u8), Counter>);

impl Destinations {
    fn add(&mut self, key: &OverflowKey, counter: Counter) {
        let place = (address(key), key.prefix_length(), key.protocol);
        if self.0.len() >= MOST_DESTINATIONS && !self.0.contains_key(&place) {
            keep_busier_half(&mut self.0, |counter| counter.packets);
        }
        *self.0.entry(place).or_default() += counter;
    }

    /// Those with most packets, most first.
    fn top(&self, count: usize) -> Vec<OverflowDestination> {
        let all = self.0.iter();
        let all = all.map(|(&(address, prefix_length, protocol), &counter)| OverflowDestination {
            address,
            prefix_length,
            protocol,
            counter,
        });
        let mut all: Vec<OverflowDestination> = all.collect();
        all.sort_unstable_by(|a, b| {
            b.counter
                .packets
                .cmp(&a.counter.packets)
                .then_with(|| a.address.cmp(&b.address))
                .then(a.protocol.cmp(&b.protocol))
        });
        all.truncate(count);
        all
    }
}

/// The destination of most packets of one drain's overflow, and how many they were.
#[must_use]
pub fn busiest(overflow: &[(OverflowKey, Counter)]) -> Option<OverflowDestination> {
    let (key, counter) = overflow.iter().max_by_key(|(_, counter)| counter.packets)?;
    let (prefix_length, protocol) = (key.prefix_length(), key.protocol);
    Some(OverflowDestination { address: address(key), prefix_length, protocol, counter: *counter })
}

fn address(key: &OverflowKey) -> IpAddr {
    if key.ip_version == 4 { key.destination.to_ipv4().into() } else { key.destination.to_ipv6().into() }
}

const fn direction(number: u8) -> Direction {
    if number == Direction::Egress as u8 { Direction::Egress } else { Direction::Ingress }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use flowprobe_ebpf::{FlowKey, FlowValue, Tunnel};

    use super::*;
    use crate::clock::WallOffset;
    use crate::record::{EndReason, FlowDelta};
    use crate::table::TableConfig;

    fn offset() -> WallOffset {
        WallOffset::between(Duration::from_secs(1_000), 0)
    }

    fn seen(ifindex: u32, packets: u64) -> MeterStats {
        let mut totals = InterfaceStats::default();
        totals.seen.add(packets, packets * 100);
        MeterStats { interface: Arc::from("eth0"), ifindex, direction: Direction::Ingress, totals }
    }

    fn report(stats: Vec<MeterStats>, overflow: Vec<(OverflowKey, Counter)>) -> DrainReport {
        DrainReport { now_ns: 0, offset: offset(), flows: 0, took: Duration::ZERO, stats, overflow }
    }

    fn merge(table: &mut Table, ifindex: u32, packets: u64) {
        let value = FlowValue { packets, octets: packets * 100, ..FlowValue::default() };
        let key = FlowKey { ifindex, ..FlowKey::default() };
        table.merge(&FlowDelta { key, tunnel: Tunnel::NONE, value }, offset(), &mut Vec::new());
    }

    #[test]
    fn an_interface_that_is_gone_keeps_its_place_in_the_sum() {
        let (mut ledger, mut table) = (Ledger::default(), Table::new(TableConfig::default()));
        ledger.update(&mut report(vec![seen(7, 3)], Vec::new()));
        merge(&mut table, 7, 3);
        let balances = |ledger: &mut Ledger, table: &mut Table, packets| {
            let sums = ledger.sums(table);
            assert_eq!(sums.len(), 1);
            assert!(sums[0].balances() && sums[0].kernel.seen.packets == packets, "{:?}", sums[0]);
        };
        balances(&mut ledger, &mut table, 3);
        // It went, and its slot was given back: what it saw comes without an index; its flow is still open.
        ledger.update(&mut report(vec![seen(0, 3)], Vec::new()));
        balances(&mut ledger, &mut table, 3);
        // It came back under another index.
        ledger.update(&mut report(vec![seen(0, 3), seen(8, 2)], Vec::new()));
        merge(&mut table, 8, 2);
        balances(&mut ledger, &mut table, 5);
        table.flush(EndReason::ForcedEnd, offset(), &mut Vec::new());
        balances(&mut ledger, &mut table, 5);
        assert!(!table.knows_interface(7) && table.knows_interface(8));
        balances(&mut ledger, &mut table, 5);
    }

    #[test]
    fn the_destinations_of_most_packets_are_remembered() {
        let destination = |number: u32| OverflowKey {
            destination: Ipv4Addr::from(number).into(),
            ifindex: 7,
            ip_version: 4,
            protocol: 6,
            prefix_octets: 16,
            ..OverflowKey::default()
        };
        let mut ledger = Ledger::default();
        let counter = |packets| Counter { packets, octets: packets * 60 };
        ledger.update(&mut report(vec![seen(7, 0)], vec![(destination(1), counter(1_000))]));
        for round in 0..20 {
            let once = (0..1_000).map(|number| (destination(0x0a00_0000 + round * 1_000 + number), counter(1)));
            ledger.update(&mut report(vec![seen(7, 0)], once.collect()));
        }
        let all = ledger.overflow.values().next().expect("one interface");
        assert!(all.0.len() <= MOST_DESTINATIONS);
        let sums = ledger.sums(&mut Table::new(TableConfig::default()));
        let shown = &sums[0].overflow_destinations;
        assert_eq!((shown.len(), shown[0].to_string().as_str()), (SHOWN_DESTINATIONS, "0.0.0.1"));
        assert_eq!(shown[0].counter, counter(1_000));
    }
}
