//! Who is inside.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::flow::{Flow, Ip};

/// A network as a range of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    first: u128,
    last: u128,
}

impl Range {
    /// Whether an address is in it.
    #[must_use]
    pub const fn has(&self, ip: Ip) -> bool {
        self.first <= ip.0 && ip.0 <= self.last
    }

    /// From the first to the last address.
    #[must_use]
    pub const fn ips(&self) -> RangeInclusive<Ip> {
        Ip(self.first)..=Ip(self.last)
    }

    /// The network around an address of which so many bits, of 128, are fixed.
    const fn around(ip: Ip, bits: u32) -> Self {
        let host = if bits >= 128 { 0 } else { u128::MAX >> bits };
        Self { first: ip.0 & !host, last: ip.0 | host }
    }
}

impl From<IpNet> for Range {
    fn from(network: IpNet) -> Self {
        let bits = match network {
            IpNet::V4(v4) => u32::from(v4.prefix_len()) + 96,
            IpNet::V6(v6) => u32::from(v6.prefix_len()),
        };
        Self::around(network.addr().into(), bits)
    }
}

/// The networks whose hosts are ours to look after.
#[derive(Clone, Debug)]
pub struct Site {
    inside: Vec<Range>,
    with_private: bool,
}

impl Site {
    /// Private and other addresses that no one else has on the internet (RFC 1918, 6598, 3927, 4193, 4291), and these networks.
    #[must_use]
    pub fn private_and(networks: impl IntoIterator<Item = IpNet>) -> Self {
        Self { inside: networks.into_iter().map(Range::from).collect(), with_private: true }
    }

    /// These networks and no others.
    #[must_use]
    pub fn only(networks: impl IntoIterator<Item = IpNet>) -> Self {
        Self { inside: networks.into_iter().map(Range::from).collect(), with_private: false }
    }

    /// Whether an address is one of ours.
    #[must_use]
    #[inline]
    pub fn is_inside(&self, ip: Ip) -> bool {
        self.with_private && is_private(ip) || self.inside.iter().any(|range| range.has(ip))
    }

    /// Whether it is a host's that is not ours.
    #[must_use]
    pub fn is_outside(&self, ip: Ip) -> bool {
        ip.is_of_a_host() && !self.is_inside(ip)
    }
}

/// Addresses that are not routed on the internet.
#[must_use]
pub const fn is_private(ip: Ip) -> bool {
    if ip.is_v4() {
        let v4 = ip.low();
        matches!(v4 >> 24, 10 | 127)
            || v4 >> 20 == 0xac1
            || v4 >> 16 == 0xc0a8
            || v4 >> 16 == 0xa9fe
            || v4 >> 22 == 0x6440 >> 6
    } else {
        ip.0 >> 121 == 0xfc >> 1 || ip.0 >> 118 == 0xfe80 >> 6 || ip.0 == 1
    }
}

/// What this machine knows of its networks.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Networks {
    /// Its own addresses.
    pub own: Vec<Ip>,
    /// Its own addresses, and the networks that it is connected to by interfaces that are not the way to the internet.
    pub inside: Vec<IpNet>,
}

impl Networks {
    /// Those of the network namespace of this process; fewer where something cannot be read.
    #[must_use]
    pub fn of_this_machine() -> Self {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/self/net/{name}")).unwrap_or_default();
        Self::of(&read("fib_trie"), &read("route"), &read("if_inet6"), &read("ipv6_route"))
    }

    /// By the tables of the kernel (`net/ipv4/fib_trie.c`, `net/ipv6/addrconf.c`, `net/ipv6/route.c`).
    fn of(fib_trie: &str, route: &str, if_inet6: &str, ipv6_route: &str) -> Self {
        let routes: Vec<(&str, Ipv4Addr, Ipv4Addr)> = route.lines().skip(1).filter_map(route_v4).collect();
        let way_out: Vec<&str> =
            routes.iter().filter(|(_, _, mask)| mask.is_unspecified()).map(|(name, ..)| *name).collect();
        let mut own: Vec<IpAddr> = own_v4(fib_trie).map(IpAddr::from).collect();
        let connected = routes.iter().filter(|(name, _, mask)| !mask.is_unspecified() && !way_out.contains(name));
        let mut inside: Vec<IpNet> = connected
            .filter_map(|(_, network, mask)| Some(Ipv4Net::with_netmask(*network, *mask).ok()?.into()))
            .collect();
        let default_v6 =
            |line: &&str| line.starts_with(&"0".repeat(32)) && line.split_whitespace().nth(1) == Some("00");
        let way_out: Vec<&str> =
            ipv6_route.lines().filter(default_v6).filter_map(|line| line.split_whitespace().last()).collect();
        for (address, bits, name) in if_inet6.lines().filter_map(address_v6) {
            own.push(address.into());
            if name != "lo" && !way_out.contains(&name) {
                inside.extend(Ipv6Net::new(address, bits).map(IpNet::from));
            }
        }
        inside.extend(own.iter().map(|address| IpNet::from(*address)));
        inside.retain(|network| !network.addr().is_unspecified() && !network.addr().is_loopback());
        inside.sort_unstable();
        inside.dedup();
        let mut own: Vec<Ip> = own.into_iter().map(Ip::from).collect();
        own.sort_unstable();
        own.dedup();
        Self { own, inside }
    }
}

/// Interface, network and mask of a line of `/proc/net/route` that has no gateway, or is the way to everywhere.
fn route_v4(line: &str) -> Option<(&str, Ipv4Addr, Ipv4Addr)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [name, destination, gateway, _, _, _, _, mask, ..] = fields[..] else { return None };
    // As they lie in memory, in the byte order of the machine.
    let address = |text| Some(Ipv4Addr::from(u32::from_str_radix(text, 16).ok()?.to_ne_bytes()));
    let mask = address(mask)?;
    (gateway == "00000000" || mask.is_unspecified()).then_some((name, address(destination)?, mask))
}

/// The addresses before lines `/32 host LOCAL`.
fn own_v4(fib_trie: &str) -> impl Iterator<Item = Ipv4Addr> {
    let mut last = None;
    fib_trie.lines().filter_map(move |line| {
        let line = line.trim();
        match line.strip_prefix("|-- ") {
            Some(address) => {
                last = address.parse().ok();
                None
            }
            None if line == "/32 host LOCAL" => last,
            None => None,
        }
    })
}

/// Address, bits of its network and interface of a line of `/proc/net/if_inet6`.
fn address_v6(line: &str) -> Option<(Ipv6Addr, u8, &str)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [address, _, bits, _, _, name] = fields[..] else { return None };
    let address = Ipv6Addr::from(u128::from_str_radix(address, 16).ok()?);
    Some((address, u8::from_str_radix(bits, 16).ok()?, name))
}

/// Flows of which it is not known who is inside, until there are enough to tell.
#[derive(Debug, Default)]
pub(crate) struct Guess {
    flows: Vec<Flow>,
}

/// Flows that are looked at before it is said.
const ENOUGH: usize = 512;

impl Guess {
    /// Takes a flow; whether there are enough.
    pub(crate) fn take(&mut self, flow: &Flow) -> bool {
        self.flows.push(*flow);
        self.flows.len() >= ENOUGH
    }

    /// Adds to the site the network without private addresses whose hosts are in nearly all flows, if there is one, and returns the flows.
    pub(crate) fn decide(self, site: &mut Site) -> Vec<Flow> {
        let hosts = |flow: &&Flow| flow.source.is_of_a_host() && flow.destination.is_of_a_host();
        let flows: Vec<&Flow> = self.flows.iter().filter(hosts).collect();
        let unknown: Vec<&&Flow> =
            flows.iter().filter(|flow| !site.is_inside(flow.source) && !site.is_inside(flow.destination)).collect();
        if unknown.len() * 2 > flows.len() {
            // Of one host, then of a network, then of a larger one: an IPv4 network has 96 bits before it.
            let found = [[128, 128], [120, 64], [112, 48]].into_iter().find_map(|bits| busiest(&unknown, bits));
            site.inside.extend(found);
        }
        self.flows
    }
}

/// The network with so many fixed bits (IPv4, IPv6) that is in nine of ten flows; of several, the one that talks to most others.
fn busiest(flows: &[&&Flow], bits: [u32; 2]) -> Option<Range> {
    let network = |ip: Ip| Range::around(ip, bits[usize::from(!ip.is_v4())]);
    let mut candidates: Vec<Range> = Vec::new();
    // A network that is in nine of ten flows is in one of these.
    for flow in flows.iter().take(8) {
        for range in [flow.source, flow.destination].map(network) {
            if !candidates.contains(&range) {
                candidates.push(range);
            }
        }
    }
    let rated = candidates.into_iter().filter_map(|range| {
        let of_it = flows.iter().filter(|flow| range.has(flow.source) || range.has(flow.destination));
        let mut peers = HashSet::new();
        let (mut count, mut opened) = (0, 0);
        for flow in of_it {
            count += 1;
            // Of two hosts that talk only to each other, the client is ours.
            opened += usize::from(flow.opens && range.has(flow.source));
            peers.extend([flow.source, flow.destination].into_iter().filter(|ip| !range.has(*ip)));
        }
        (count * 10 >= flows.len() * 9).then_some(((peers.len(), opened), range))
    });
    rated.max_by_key(|(rank, _)| *rank).map(|(_, range)| range)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Ip {
        text.parse::<IpAddr>().expect("an address").into()
    }

    fn flow(source: &str, destination: &str) -> Flow {
        Flow { source: ip(source), destination: ip(destination), ..Flow::default() }
    }

    #[test]
    fn private_addresses_are_inside_and_others_are_not() {
        let site = Site::private_and(["203.0.113.0/24".parse().expect("a network")]);
        for inside in [
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.0.1",
            "169.254.9.9",
            "100.64.0.1",
            "100.127.0.1",
            "fd00::1",
            "fe80::1",
            "203.0.113.9",
            "127.0.0.1",
        ] {
            assert!(site.is_inside(ip(inside)), "{inside}");
        }
        for outside in [
            "11.0.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.169.0.1",
            "100.63.0.1",
            "100.128.0.1",
            "2001:db8::1",
            "203.0.114.1",
        ] {
            assert!(site.is_outside(ip(outside)), "{outside}");
        }
        assert!(
            !site.is_outside(ip("224.0.0.251")) && !site.is_outside(ip("ff02::fb")) && !site.is_outside(ip("0.0.0.0"))
        );
        assert!(!Site::only(["203.0.113.0/24".parse().expect("a network")]).is_inside(ip("10.0.0.1")));
    }

    #[test]
    fn a_gateway_knows_its_networks_and_not_its_provider_s() {
        let fib_trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     |-- 198.51.100.7\n        /32 host LOCAL\n     \
                        |-- 10.0.0.0\n        /24 link UNICAST\n     |-- 10.0.0.1\n        /32 host LOCAL\n     |-- 127.0.0.1\n        /32 host LOCAL\n";
        let hex = |address: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(address));
        let line = |name: &str, network, gateway, mask| {
            format!("{name}\t{}\t{}\t0001\t0\t0\t0\t{}\t0\t0\t0\n", hex(network), hex(gateway), hex(mask))
        };
        let route = format!(
            "Iface\tDestination\n{}{}{}",
            line("wan", [0; 4], [198, 51, 100, 1], [0; 4]),
            line("wan", [198, 51, 100, 0], [0; 4], [255, 255, 255, 0]),
            line("lan", [203, 0, 113, 0], [0; 4], [255, 255, 255, 128]),
        );
        let if_inet6 = "00000000000000000000000000000001 01 80 10 80       lo\n20010db8000000010000000000000001 03 40 00 80      lan\n\
                        20010db8000000020000000000000009 02 40 00 80      wan\n";
        let ipv6_route = format!("{0} 00 {0} 00 {0} 00000400 00000001 00000000 00450003 wan\n", "0".repeat(32));
        let networks = Networks::of(fib_trie, &route, if_inet6, &ipv6_route);
        let inside: Vec<String> = networks.inside.iter().map(ToString::to_string).collect();
        assert_eq!(
            inside,
            [
                "10.0.0.1/32",
                "198.51.100.7/32",
                "203.0.113.0/25",
                "2001:db8:0:1::1/64",
                "2001:db8:0:1::1/128",
                "2001:db8:0:2::9/128"
            ]
        );
        assert!(networks.own.contains(&ip("2001:db8:0:2::9")) && networks.own.contains(&ip("198.51.100.7")));
        assert_eq!(Networks::of("", "", "", ""), Networks::default());
    }

    #[test]
    fn who_is_in_all_flows_is_inside() {
        let inside = |flows: &[Flow], asked: &str| {
            let (mut site, mut guess) = (Site::private_and([]), Guess::default());
            flows.iter().for_each(|flow| _ = guess.take(flow));
            assert_eq!(guess.decide(&mut site), flows);
            site.is_inside(ip(asked))
        };
        let attacked: Vec<Flow> = (1..200).map(|n| flow(&format!("198.51.100.{n}"), "147.32.81.167")).collect();
        assert!(inside(&attacked, "147.32.81.167"));
        assert!(!inside(&attacked, "147.32.81.168") && !inside(&attacked, "198.51.100.7"));
        let network: Vec<Flow> = (1..200).map(|n| flow(&format!("147.32.84.{n}"), &format!("8.8.{n}.8"))).collect();
        assert!(inside(&network, "147.32.84.250"));
        let private: Vec<Flow> = (1..200).map(|n| flow(&format!("10.0.0.{n}"), "147.32.81.167")).collect();
        assert!(!inside(&private, "147.32.81.167"));
        let mixed: Vec<Flow> = (1..200).map(|n| flow(&format!("5.{n}.1.1"), &format!("6.1.{n}.1"))).collect();
        assert!(!inside(&mixed, "5.1.1.1"));
    }
}
