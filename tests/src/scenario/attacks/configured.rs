//! What is wrong only because the site has said so: breaches of its policies, and addresses on its lists.

use std::net::Ipv4Addr;

use super::Stage;
use crate::scenario::ordinary::{HOUR_MS, MINUTE_MS};
use crate::scenario::record::{Amount, Talk};
use crate::scenario::site::{Device, Server};

/// A list with an address, a network, and what else such lists have.
pub const INDICATORS: &str = "\
# seen in attacks
198.51.100.77
203.0.113.64/28
192.0.2.0/25
2001:db8:bad::/48
";

/// What the site says: guests may ask the resolver, but otherwise have no business inside; the database is for the applications; nobody
/// uses telnet. `{indicators}` stands for the path of [`INDICATORS`].
pub const SETTINGS: &str = include_str!("configured.toml");

fn listed(a: u8, b: u8, c: u8, d: u8) -> Device {
    Device::outside(Ipv4Addr::new(a, b, c, d))
}

pub(super) fn stage(stage: &mut Stage<'_>) {
    let policy = ["policy"];
    let (client, thing, at_ms) = (stage.office(50), stage.network.things[6], stage.at(10, 0));
    stage.traffic.talk(Talk::tcp(client, thing, 23, at_ms, (300, 2000)).lasting(40_000));
    let within_ms = 2 * MINUTE_MS;
    stage.label("policy, telnet to a thing, once", &policy, &[client], (at_ms, at_ms + 40_000), within_ms);

    let (guest, at_ms) = (stage.network.guests[15], stage.at(11, 0));
    for server in [Server::Files, Server::MoreFiles, Server::Mail].map(|server| stage.server(server)) {
        stage.traffic.unanswered(guest, server, 445, at_ms, 3);
        stage.traffic.talk(Talk::tcp(guest, server, 80, at_ms + 5000, (400, 900)).lasting(300));
    }
    stage.label("policy, a guest at three servers", &policy, &[guest], (at_ms, at_ms + 10_000), within_ms).also =
        vec!["host-scan"];

    let (client, database, at_ms) = (stage.office(51), stage.server(Server::Database), stage.at(12, 30));
    for number in 0..40 {
        stage.traffic.talk(Talk::tcp(client, database, 5432, at_ms + number * 30_000, (2000, 90_000)).lasting(900));
    }
    let time = (at_ms, at_ms + 20 * MINUTE_MS);
    stage.label("policy, the database from a desk, 40 times", &policy, &[client], time, within_ms);

    let indicator = ["indicator"];
    let (client, server, at_ms) = (stage.office(52), listed(198, 51, 100, 77), stage.at(13, 15));
    stage.traffic.talk(Talk::tcp(client, server, 443, at_ms, (900, 40_000)).lasting(2500));
    stage.label(
        "indicator, a page from a listed address",
        &indicator,
        &[client, server],
        (at_ms, at_ms + 2500),
        within_ms,
    );

    let (client, server, at_ms) = (stage.network.things[2], listed(203, 0, 113, 70), stage.at(14, 0));
    for number in 0..60 {
        let amounts = (Amount::of(1, 70), Amount::of(1, 130));
        stage.traffic.talk(Talk::udp(client, server, 53, at_ms + number * 47_000, amounts).lasting(40));
    }
    let time = (at_ms, at_ms + HOUR_MS);
    let label = stage.label("indicator, names from a listed network", &indicator, &[client, server], time, within_ms);
    label.also = vec!["beacon", "outside-resolver"];

    let (server, web, at_ms) = (listed(192, 0, 2, 9), stage.server(Server::Web), stage.at(15, 0));
    for number in 0..12 {
        stage.traffic.refused(server, web, 22, at_ms + number * 5 * MINUTE_MS);
    }
    let (time, rules) = ((at_ms, at_ms + HOUR_MS), ["indicator-probe"]);
    stage.label("indicator, 12 knocks from a listed network", &rules, &[server, web], time, 50 * MINUTE_MS).also =
        vec!["probes"];
}
