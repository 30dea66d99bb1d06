//! Exfiltration, large and slow and in crumbs, and tunnels through DNS and ICMP.

use super::{Stage, attacker};
use crate::scenario::ordinary::{HOUR_MS, MINUTE_MS};
use crate::scenario::record::{Amount, Talk};
use crate::scenario::site::{Device, Server};

/// An upload to a stranger.
struct Upload {
    name: &'static str,
    source: Device,
    at_ms: u64,
    lasts_ms: u64,
    /// In so many connections, one after the other.
    parts: u64,
    octets: u64,
    within_ms: u64,
}

fn upload(stage: &mut Stage<'_>, to: u8, upload: &Upload) {
    let &Upload { name, source, at_ms, lasts_ms, parts, octets, within_ms } = upload;
    let server = attacker(to);
    for part in 0..parts {
        let lasts = lasts_ms / parts;
        let at_ms = at_ms + part * lasts;
        let content = (octets / parts, octets / parts / 400 + 3000);
        stage.traffic.talk(Talk::tcp(source, server, 443, at_ms, content).lasting(lasts * 9 / 10));
    }
    let label = stage.label(name, &["exfiltration"], &[source], (at_ms, at_ms + lasts_ms), within_ms);
    label.peers = vec![server.ip];
    label.also = vec!["volume", "beacon", "long-lived-connection"];
}

pub(super) fn uploads(stage: &mut Stage<'_>) {
    const GB: u64 = 1_000_000_000;
    let uploads = [
        ("exfiltration, 8 GB in 1 h", stage.office(30), (15, 0), HOUR_MS, 1, 8 * GB, 45 * MINUTE_MS),
        (
            "exfiltration, 2 GB in 20 min, 40 connections",
            stage.office(31),
            (13, 0),
            20 * MINUTE_MS,
            40,
            2 * GB,
            30 * MINUTE_MS,
        ),
        ("exfiltration, 2.4 GB over 8 h", stage.office(32), (9, 0), 8 * HOUR_MS, 96, 12 * GB / 5, 6 * HOUR_MS),
        (
            "exfiltration, 900 MB over 10 h by a server",
            stage.server(Server::OtherApplication),
            (8, 0),
            10 * HOUR_MS,
            300,
            9 * GB / 10,
            8 * HOUR_MS,
        ),
        (
            "exfiltration, 3 GB in 3 h by a camera at night",
            stage.network.cameras[5],
            (1, 0),
            3 * HOUR_MS,
            12,
            3 * GB,
            HOUR_MS,
        ),
        (
            "exfiltration, 400 MB in 15 min by a printer",
            stage.network.printers[2],
            (19, 0),
            15 * MINUTE_MS,
            5,
            2 * GB / 5,
            30 * MINUTE_MS,
        ),
    ];
    for (to, (name, source, (hours, minutes), lasts_ms, parts, octets, within_ms)) in (40..).zip(uploads) {
        let at_ms = stage.at(hours, minutes);
        upload(stage, to, &Upload { name, source, at_ms, lasts_ms, parts, octets, within_ms });
    }
    for (name, number, to, flows, lasts_ms) in [
        ("small flows, 12,000 in 3 h", 33, 50, 12_000, 3 * HOUR_MS),
        ("small flows, 3,000 in 5 h", 34, 51, 3000, 5 * HOUR_MS),
    ] {
        let (source, server, at_ms) = (stage.office(number), attacker(to), stage.at(10, 0));
        for _ in 0..flows {
            let at_ms = at_ms + stage.traffic.random.u64(0..lasts_ms);
            let content = (stage.traffic.random.u64(120..420), 40);
            stage.traffic.talk(Talk::tcp(source, server, 443, at_ms, content).lasting(90));
        }
        let label =
            stage.label(name, &["small-flows", "exfiltration"], &[source], (at_ms, at_ms + lasts_ms), 2 * HOUR_MS);
        label.peers = vec![server.ip];
        label.also = vec!["beacon"];
    }
}

/// A host that uploads far more than it has in two weeks.
pub(super) fn after_weeks(stage: &mut Stage<'_>) {
    let (source, at_ms) = (stage.office(3), stage.at(16, 0));
    let name = "exfiltration after two weeks, 1.5 GB in 40 min";
    let (lasts_ms, within_ms) = (40 * MINUTE_MS, 45 * MINUTE_MS);
    upload(stage, 60, &Upload { name, source, at_ms, lasts_ms, parts: 4, octets: 1_500_000_000, within_ms });
}

pub(super) fn tunnels(stage: &mut Stage<'_>) {
    let relayed = [
        // One socket of the client, many of the resolver.
        ("DNS tunnel, 20/s for 15 min", 40, 70, (9, 30), 50, 15 * MINUTE_MS, (210, 640), true, 10 * MINUTE_MS),
        ("DNS tunnel, 1/s for 2 h", 41, 71, (13, 0), 1000, 2 * HOUR_MS, (180, 290), false, 45 * MINUTE_MS),
        ("DNS tunnel, 12 in a minute for 6 h", 42, 72, (9, 0), 5000, 6 * HOUR_MS, (230, 260), false, 3 * HOUR_MS),
    ];
    for (name, number, to, (hours, minutes), gap_ms, lasts_ms, lengths, one_socket, within_ms) in relayed {
        let (client, server, resolver) = (stage.office(number), attacker(to), stage.server(Server::Resolver));
        let at_ms = stage.at(hours, minutes);
        let questions = lasts_ms / gap_ms;
        if one_socket {
            let amounts = (Amount::of(questions, lengths.0), Amount::of(questions, lengths.1));
            stage.traffic.talk(Talk::udp(client, resolver, 53, at_ms, amounts).lasting(lasts_ms));
        }
        for question in 0..questions {
            let at_ms = at_ms + question * gap_ms + stage.traffic.random.u64(0..gap_ms);
            let longer = stage.traffic.random.u64(0..40);
            let amounts = (Amount::of(1, lengths.0 + longer), Amount::of(1, lengths.1 + longer));
            if !one_socket {
                stage.traffic.talk(Talk::udp(client, resolver, 53, at_ms, amounts).lasting(60));
            }
            stage.traffic.talk(Talk::udp(resolver, server, 53, at_ms + 1, amounts).lasting(55));
        }
        let label =
            stage.label(name, &["dns-tunnel"], &[client, resolver, server], (at_ms, at_ms + lasts_ms), within_ms);
        label.also = vec!["small-flows", "exfiltration"];
    }
    let (client, server, at_ms) = (stage.office(43), attacker(73), stage.at(14, 30));
    let amounts = (Amount::of(8 * 3600, 240), Amount::of(8 * 3600, 420));
    stage.traffic.talk(Talk::udp(client, server, 53, at_ms, amounts).lasting(HOUR_MS));
    let time = (at_ms, at_ms + HOUR_MS);
    let label = stage.label(
        "DNS tunnel past the resolver, 8/s for 1 h",
        &["dns-tunnel"],
        &[client, server],
        time,
        10 * MINUTE_MS,
    );
    label.also = vec!["exfiltration", "small-flows"];

    for (name, number, to, rate_ms, lasts_ms, octets, within_ms) in [
        ("ICMP tunnel, 20/s of 1,000 octets for 10 min", 45, 75, 50, 10 * MINUTE_MS, (1000, 1100), 3 * MINUTE_MS),
        ("ICMP tunnel, 2/s of 400 octets for 1 h", 46, 76, 500, HOUR_MS, (400, 260), 15 * MINUTE_MS),
        ("ICMP tunnel, one in 3 s of 300 octets for 3 h", 47, 77, 3000, 3 * HOUR_MS, (300, 180), HOUR_MS),
    ] {
        let (client, server, at_ms) = (stage.office(number), attacker(to), stage.at(11, 15));
        let packets = lasts_ms / rate_ms;
        let before = stage.traffic.records.len();
        let amounts = (Amount::of(packets, octets.0), Amount::of(packets, octets.1));
        stage.traffic.ping(client, server, at_ms, lasts_ms, amounts);
        for record in &mut stage.traffic.records[before..] {
            record.lengths = (84, (record.lengths.1 * 7 / 5).min(1500));
        }
        let label = stage.label(name, &["icmp-tunnel"], &[client, server], (at_ms, at_ms + lasts_ms), within_ms);
        label.also = vec!["exfiltration", "volume"];
    }
}
