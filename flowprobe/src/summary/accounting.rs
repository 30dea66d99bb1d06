//! The accounting sums as lines.

use std::sync::Arc;

use flowprobe_ebpf::{Counter, Direction, InterfaceStats};

use super::format::{compact, count, protocol_name};
use super::{WIDTH, file_name, shortened};
use crate::accounting::{Accounting, add_stats};

/// The sums of all interfaces and directions. Where they would take more than `room` lines, those that are further down are
/// added up in one.
pub(super) fn lines(all: &[Accounting], room: usize) -> Vec<String> {
    let each: Vec<Vec<String>> = all.iter().map(lines_of).collect();
    if each.iter().map(Vec::len).sum::<usize>() <= room {
        return each.concat();
    }
    let mut lines: Vec<String> = Vec::new();
    let mut shown = 0;
    // Two lines are for the rest, and the first one is shown in any case.
    while shown == 0 || lines.len() + each[shown].len() + 2 <= room {
        lines.extend(each[shown].iter().cloned());
        shown += 1;
    }
    if let Some(rest) = sum_of(&all[shown..]) {
        lines.extend(lines_of(&rest));
    }
    lines
}

/// Several sums as one.
fn sum_of(several: &[Accounting]) -> Option<Accounting> {
    let mut sum = Accounting {
        interface: Arc::from(format!("{} more", several.len())),
        ifindex: 0,
        direction: Direction::Ingress,
        kernel: InterfaceStats::default(),
        exported: Counter::default(),
        held: Counter::default(),
        overflow_destinations: Vec::new(),
    };
    for one in several {
        add_stats(&mut sum.kernel, &one.kernel);
        sum.exported += one.exported;
        sum.held += one.held;
    }
    (!several.is_empty()).then_some(sum)
}

/// The sum of one interface and direction in packets, and the same in octets; what was not to be metered, and where overflow
/// went, on lines of their own, if there was any.
fn lines_of(one: &Accounting) -> Vec<String> {
    let verdict = if one.balances() { "" } else { "  DOES NOT ADD UP" };
    let way = if one.direction == Direction::Egress { " out" } else { "" };
    let terms = [one.kernel.seen, one.exported, one.held, one.overflow(), one.unparsed()];
    let [seen, exported, held, overflow, unparsed] = terms.map(|term| count(term.packets));
    let name = file_name(&one.interface);
    let packets = format!(
        "{name}{way}: seen {seen} = exported {exported} + held {held} + overflow {overflow} + unparsed {unparsed}"
    );
    let [seen, exported, held, overflow, unparsed] = terms.map(|term| count(term.octets));
    let octets = format!("  octets {seen} = {exported} + {held} + {overflow} + {unparsed}");
    let mut lines = vec![format!("{}{verdict}", shortened(&packets, WIDTH)), shortened(&octets, WIDTH)];
    let (filtered, sampled) = (one.kernel.filtered_out, one.kernel.sampled_out);
    if filtered.packets + sampled.packets > 0 {
        let [filtered, sampled] =
            [filtered, sampled].map(|counter| format!("{} ({} octets)", count(counter.packets), count(counter.octets)));
        lines.push(shortened(&format!("  + filtered out {filtered} + sampled out {sampled}"), WIDTH));
    }
    lines.extend(overflow_line(one));
    lines
}

/// Where most of the overflow went, as many destinations as one line has room for.
fn overflow_line(one: &Accounting) -> Option<String> {
    let mut line = String::new();
    for to in &one.overflow_destinations {
        let begin = if line.is_empty() { "  overflow to" } else { "," };
        let next = format!("{begin} {to} ({}) {}", protocol_name(to.protocol), compact(to.counter.packets));
        if line.chars().count() + next.chars().count() > WIDTH {
            break;
        }
        line.push_str(&next);
    }
    (!line.is_empty()).then_some(line)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::accounting::OverflowDestination;

    fn held(interface: &str, packets: u64) -> Accounting {
        let counter = Counter { packets, octets: packets * 114 };
        Accounting {
            interface: Arc::from(interface),
            ifindex: 0,
            direction: Direction::Ingress,
            kernel: InterfaceStats { seen: counter, ..InterfaceStats::default() },
            exported: Counter::default(),
            held: counter,
            overflow_destinations: Vec::new(),
        }
    }

    #[test]
    fn packets_octets_and_what_was_not_to_be_metered_have_their_lines() {
        let mut accounting = held("veth0", 100);
        let in_packets = "veth0: seen 100 = exported 0 + held 100 + overflow 0 + unparsed 0";
        assert_eq!(lines_of(&accounting), [in_packets, "  octets 11,400 = 0 + 11,400 + 0 + 0"]);
        let to = OverflowDestination {
            address: Ipv4Addr::new(192, 0, 2, 7).into(),
            prefix_length: 32,
            protocol: 6,
            counter: Counter { packets: 12_345, octets: 740_700 },
        };
        let net = OverflowDestination { prefix_length: 24, protocol: 17, ..to };
        let flooded = Accounting { overflow_destinations: vec![to, net], ..accounting.clone() };
        assert_eq!(lines_of(&flooded)[2], "  overflow to 192.0.2.7 (TCP) 12,345, 192.0.2.7/24 (UDP) 12,345");
        accounting.direction = Direction::Egress;
        accounting.kernel.sampled_out = accounting.held;
        accounting.held = Counter::default();
        assert_eq!(
            lines_of(&accounting),
            [
                "veth0 out: seen 100 = exported 0 + held 0 + overflow 0 + unparsed 0",
                "  octets 11,400 = 0 + 0 + 0 + 0",
                "  + filtered out 0 (0 octets) + sampled out 100 (11,400 octets)",
            ]
        );
    }

    #[test]
    fn of_many_interfaces_those_that_find_no_place_are_added_up() {
        let all: Vec<Accounting> = (0..100).map(|number| held(&format!("veth{number}"), 2)).collect();
        let shown = lines(&all, 10);
        assert_eq!(shown.len(), 10);
        assert_eq!(shown[8], "96 more: seen 192 = exported 0 + held 192 + overflow 0 + unparsed 0");
        assert_eq!(lines(&all[..5], 10).len(), 10);
        assert_eq!(lines(&all, 0).len(), 4);
        assert!(lines(&[], 10).is_empty());
    }
}
