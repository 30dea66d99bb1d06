//! Which addresses of the past are listed by now.

use std::collections::BTreeMap;

use super::may_match;
use super::set::{Found, IndicatorSet, Listed};
use crate::detect::flow::Ip;
use crate::detect::site::Site;

/// What history knows of an address, as a whole or for a part of the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Past {
    /// Who sent or received.
    pub address: Ip,
    /// When it was seen first, milliseconds since 1970 UTC.
    pub first_ms: i64,
    /// When it was seen last.
    pub last_ms: i64,
    /// Packets, both directions.
    pub packets: u64,
    /// Octets, both directions.
    pub octets: u64,
    /// Flows, both directions.
    pub flows: u64,
}

/// An address of the past that is listed.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit<'a> {
    /// All that is known of it, put together.
    pub past: Past,
    /// By which lists, and why.
    pub listed: Vec<Listed<'a>>,
}

/// Which of these addresses are listed, the one that was seen last first. Sums of the same address are added up, in any order. Addresses of
/// the site, and those of no host, match only lists that say so.
#[must_use]
pub fn hunt<'a>(set: &'a IndicatorSet, site: &Site, sums: impl IntoIterator<Item = Past>) -> Vec<Hit<'a>> {
    let mut found: BTreeMap<Ip, (Past, Found)> = BTreeMap::new();
    for past in sums {
        let value = set.find(past.address);
        if value == 0 {
            continue;
        }
        let whole =
            &mut found.entry(past.address).or_insert((Past { packets: 0, octets: 0, flows: 0, ..past }, value)).0;
        whole.first_ms = whole.first_ms.min(past.first_ms);
        whole.last_ms = whole.last_ms.max(past.last_ms);
        whole.packets = whole.packets.saturating_add(past.packets);
        whole.octets = whole.octets.saturating_add(past.octets);
        whole.flows = whole.flows.saturating_add(past.flows);
    }
    let mut hits: Vec<Hit<'a>> = found
        .into_values()
        .filter_map(|(past, value)| {
            let counts = may_match(site, past.address);
            let listed: Vec<Listed<'a>> =
                set.listed(value).into_iter().filter(|listed| counts || listed.list.match_inside).collect();
            (!listed.is_empty()).then_some(Hit { past, listed })
        })
        .collect();
    hits.sort_by_key(|hit| std::cmp::Reverse(hit.past.last_ms));
    hits
}

#[cfg(test)]
mod tests {
    use super::super::ListSettings;
    use super::super::parse::parse;
    use super::*;

    #[test]
    fn the_past_is_put_together_by_address() {
        let list = |text: &str, match_inside| {
            let settings = ListSettings { name: Some("list".into()), match_inside, ..ListSettings::default() };
            (settings, parse(text.as_bytes(), None).expect("a list"))
        };
        let text = "192.0.2.0/24 # old C2\n10.0.0.0/8\n224.0.0.0/4\n";
        let past = |address: &str, at_ms, octets| Past {
            address: address.parse::<std::net::IpAddr>().expect("an address").into(),
            first_ms: at_ms,
            last_ms: at_ms + 10,
            packets: 2,
            octets,
            flows: 1,
        };
        let sums = [
            past("192.0.2.1", 500, 70),
            past("192.0.2.1", 100, 30),
            past("192.0.3.1", 100, 30),
            past("10.0.0.1", 100, 1),
            past("192.0.2.2", 900, 1),
            past("224.0.0.251", 1, 1),
            past("192.0.2.1", 300, u64::MAX),
        ];
        let site = Site::private_and([]);
        let set = IndicatorSet::of([list(text, false)]);
        let hits = hunt(&set, &site, sums);
        assert_eq!(hits.iter().map(|hit| hit.past.address.to_string()).collect::<Vec<_>>(), ["192.0.2.2", "192.0.2.1"]);
        let whole = hits[1].past;
        assert_eq!(
            (whole.first_ms, whole.last_ms, whole.packets, whole.octets, whole.flows),
            (100, 510, 6, u64::MAX, 3)
        );
        assert_eq!((hits[1].listed[0].list.name.as_str(), hits[1].listed[0].reason), ("list", "old C2"));
        assert_eq!(hunt(&IndicatorSet::of([list(text, true)]), &site, sums).len(), 4);
    }
}
