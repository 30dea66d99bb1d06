//! Amounts that are far from what two weeks have shown, and lines that fill.

use super::{Stage, attacker};
use crate::scenario::ordinary::{DAY_MS, HOUR_MS, MINUTE_MS};
use crate::scenario::record::{Amount, Talk};
use crate::scenario::site::{Outside, Server};

/// Octets in a millisecond of a line of 1 Mbit/s.
const MBIT_MS: u64 = 125;

pub(super) fn stage(stage: &mut Stage<'_>, number: u64) {
    let (client, films) = (stage.office(9), Outside::Films.device(3));
    let at_ms = stage.at(2, 0);
    let octets = 40_000_000_000;
    stage.traffic.talk(Talk::tcp(client, films, 443, at_ms, (octets / 500, octets)).lasting(2 * HOUR_MS));
    let time = (at_ms, at_ms + 2 * HOUR_MS);
    let label = stage.label("volume, 40 GB to a desk by night", &["volume-spike"], &[client], time, 90 * MINUTE_MS);
    // Or of the interface.
    label.subjects.clear();
    label.also = vec!["exfiltration"];

    let (web, at_ms) = (stage.server(Server::Web), stage.at(20, 0));
    for number in 0..300 {
        let visitor = Outside::Visitors.device(number);
        let at_ms = at_ms + stage.traffic.random.u64(0..HOUR_MS);
        stage.traffic.talk(Talk::tcp(visitor, web, 443, at_ms, (40_000, 60_000_000)).lasting(60_000));
    }
    let label = stage.label(
        "volume, 18 GB from the website in 1 h",
        &["volume-spike"],
        &[web],
        (at_ms, at_ms + HOUR_MS),
        90 * MINUTE_MS,
    );
    label.also = vec!["exfiltration"];
    label.subjects.clear();

    full(stage);
    fills(stage, number);
}

/// The uplink, of 1 Gbit/s, is full.
fn full(stage: &mut Stage<'_>) {
    let (storage, source) = (stage.server(Server::Storage), attacker(120));
    let (at_ms, lasts_ms) = (stage.at(6, 0), 30 * MINUTE_MS);
    let received = Amount::of(940 * MBIT_MS * lasts_ms / 1450, 1450);
    let talk = Talk::tcp(storage, source, 443, at_ms, (0, 0)).lasting(lasts_ms);
    stage.traffic.talk(Talk { sent: Amount::of(received.packets / 2, 52), received, ..talk });
    let label = stage.label(
        "capacity, 940 Mbit/s for 30 min",
        &["capacity-use"],
        &[storage],
        (at_ms, at_ms + lasts_ms),
        25 * MINUTE_MS,
    );
    label.subjects.clear();
    label.also = vec!["volume"];
}

/// Something that grows by 25 Mbit/s each day, from the servers' interface: on the last day 650 to 675 Mbit/s of 1 Gbit/s.
fn fills(stage: &mut Stage<'_>, number: u64) {
    let (storage, branch) = (stage.server(Server::Storage), Outside::Rented.device(3));
    let lasts_ms = 4 * HOUR_MS;
    for past in 0..=number {
        let at_ms = stage.at(12, 0) - past * DAY_MS;
        let rate = 300 + 25 * (number - past);
        let sent = Amount::of(rate * MBIT_MS * lasts_ms / 1450, 1450);
        let talk = Talk::tcp(storage, branch, 443, at_ms, (0, 0)).lasting(lasts_ms);
        stage.traffic.talk(Talk { sent, received: Amount::of(sent.packets / 2, 52), ..talk });
    }
    let time = (stage.start_ms, stage.start_ms + DAY_MS);
    let label = stage.label(
        "capacity, a trend that fills the line within weeks",
        &["capacity-trend"],
        &[storage],
        time,
        DAY_MS,
    );
    label.subjects.clear();
    label.also = vec!["exfiltration", "volume"];
}
