//! Holds that with `--next-hop` records know where packets go: both interfaces, and the next hop, by the kernel's own routing.

use std::net::UdpSocket;

use anyhow::{Context as _, Result, ensure};
use flowprobe_tests::daemon::{Daemon, Report};
use flowprobe_tests::namespace::Namespace;
use flowprobe_tests::truth::{Object, number};
use flowprobe_tests::{require, require_kernel, skip};

/// A client and a server, with a router between them.
struct Routed {
    client: Namespace,
    router: Namespace,
    server: Namespace,
}

impl Routed {
    /// The server also has addresses that only routes lead to: 10.99.0.1, 10.98.0.1 and fd00:99::1.
    fn new() -> Result<Self> {
        let (client, router, server) = (Namespace::new()?, Namespace::new()?, Namespace::new()?);
        client.connect("c", &router)?;
        server.connect("s", &router)?;
        for (namespace, interface, v4, v6) in [
            (&client, "c", "10.7.2.1/24", "fd00:72::1/64"),
            (&router, "c", "10.7.2.254/24", "fd00:72::fe/64"),
            (&router, "s", "10.7.3.254/24", "fd00:73::fe/64"),
            (&server, "s", "10.7.3.1/24", "fd00:73::1/64"),
        ] {
            namespace.address(interface, v4)?;
            namespace.address(interface, v6)?;
        }
        router.set("net/ipv4/ip_forward", "1")?;
        router.set("net/ipv6/conf/all/forwarding", "1")?;
        for (namespace, line) in [
            (&client, "route add default via 10.7.2.254"),
            (&client, "-6 route add default via fd00:72::fe"),
            (&server, "route add default via 10.7.3.254"),
            (&server, "address add 10.99.0.1/32 dev lo"),
            (&server, "address add 10.98.0.1/32 dev lo"),
        ] {
            namespace.ip(line)?;
        }
        Ok(Self { client, router, server })
    }

    /// Sends a datagram to each of `destinations` and returns what the router's daemon says, when it has said so of each, on
    /// its way in and on its way out.
    fn metered(&self, destinations: &[&str]) -> Result<Report> {
        let receiver = self.server.inside(|| Ok(UdpSocket::bind(("0.0.0.0", 9))?))?;
        let mut daemon = Daemon::quick(&self.router, &["-i", "c", "-i", "s", "--egress", "--next-hop"])?;
        for destination in destinations {
            let from = if destination.contains(':') { "fd00:72::1" } else { "0.0.0.0" };
            let sender = self.client.inside(|| Ok(UdpSocket::bind((from, 40_000))?))?;
            sender.send_to(b"hello", (*destination, 9))?;
            if !destination.contains(':') {
                receiver.recv(&mut [0; 10])?;
            }
        }
        for destination in destinations {
            for direction in [0, 1] {
                daemon.wait_for_record(&format!("the datagram to {destination}"), |record| {
                    is_to(record, destination) && number(record, "flowDirection").ok() == Some(direction)
                })?;
            }
        }
        daemon.stop()
    }

    /// Makes sure that the records of a destination know both interfaces, and this next hop: in both directions, or only where
    /// packets come in.
    fn check(&self, report: &Report, destination: &str, next_hop: &str, both: bool) -> Result<()> {
        let expected = (u64::from(self.router.index("c")?), u64::from(self.router.index("s")?));
        let records: Vec<_> = report.records.iter().filter(|record| is_to(record, destination)).collect();
        ensure!(records.len() == 2, "{destination}: one record in, one out: {records:?}");
        for record in records {
            if both || number(record, "flowDirection")? == 0 {
                let interfaces = (number(record, "ingressInterface")?, number(record, "egressInterface")?);
                ensure!(interfaces == expected, "{destination}: by {interfaces:?}, not {expected:?}: {record:?}");
                let found = record.get(&format!("ipNextHop{}Address", version(destination)));
                ensure!(found.is_some_and(|it| it == next_hop), "{destination}: next hop {found:?}: {record:?}");
            }
        }
        Ok(())
    }
}

fn version(address: &str) -> &'static str {
    if address.contains(':') { "IPv6" } else { "IPv4" }
}

fn is_to(record: &Object, destination: &str) -> bool {
    record.get(&format!("destination{}Address", version(destination))).is_some_and(|found| found == destination)
}

#[test]
fn a_router_knows_where_packets_go() -> Result<()> {
    require!();
    require_kernel!(5, 18, "next hops");
    let routed = Routed::new()?;
    // A network behind the server, and one that a rule sends elsewhere than the main table.
    for line in [
        "route add 10.99.0.0/16 via 10.7.3.1",
        "route add 10.98.0.0/16 via 10.7.3.77",
        "route add 10.98.0.0/16 via 10.7.3.1 table 100",
        "rule add iif c to 10.98.0.0/16 table 100",
        "-6 route add fd00:99::/64 via fd00:73::1",
    ] {
        routed.router.ip(line)?;
    }
    let report = routed.metered(&["10.7.3.1", "10.99.0.1", "10.98.0.1", "fd00:99::1"])?;
    routed.check(&report, "10.7.3.1", "0.0.0.0", true)?;
    routed.check(&report, "10.99.0.1", "10.7.3.1", true)?;
    // On its way out nothing says any more by which rule the packet got there.
    routed.check(&report, "10.98.0.1", "10.7.3.1", false)?;
    routed.check(&report, "fd00:99::1", "fd00:73::1", true)
}

#[test]
fn a_vrf_has_routes_of_its_own() -> Result<()> {
    require!();
    require_kernel!(5, 18, "next hops");
    let routed = Routed::new()?;
    if routed.router.ip("link add red type vrf table 10").is_err() {
        skip::note("a_vrf_has_routes_of_its_own", "this kernel has no VRFs");
        return Ok(());
    }
    for line in [
        "link set red up",
        "link set c master red",
        "link set s master red",
        "route add 10.99.0.0/16 via 10.7.3.1 table 10",
        // The main table says otherwise.
        "route add 10.99.0.0/16 dev lo",
    ] {
        routed.router.ip(line).context("cannot set up the VRF")?;
    }
    let report = routed.metered(&["10.7.3.1", "10.99.0.1"])?;
    // On its way out the kernel says that a packet came in by the VRF's own device.
    routed.check(&report, "10.7.3.1", "0.0.0.0", false)?;
    routed.check(&report, "10.99.0.1", "10.7.3.1", false)
}
