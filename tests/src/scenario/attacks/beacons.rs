//! Programs that report to a stranger by the clock, and connections that do not end.

use super::{Stage, attacker};
use crate::scenario::ordinary::{HOUR_MS, MINUTE_MS};
use crate::scenario::record::{Amount, Talk};

pub(super) fn stage(stage: &mut Stage<'_>) {
    let mut number = 0;
    // Interval, how long it goes on, within which time it is found.
    for (interval, interval_ms, lasts_ms, within_ms) in [
        ("10 s", 10_000, 90 * MINUTE_MS, 30 * MINUTE_MS),
        ("1 min", MINUTE_MS, 6 * HOUR_MS, 2 * HOUR_MS),
        ("10 min", 10 * MINUTE_MS, 20 * HOUR_MS, 8 * HOUR_MS),
    ] {
        for jitter in [0, 20, 40] {
            // Every eighth computer has telemetry of its own.
            number += if (number + 1) % 8 == 5 { 2 } else { 1 };
            let (client, server) = (stage.office(number), attacker(80 + u8::try_from(number).unwrap_or(0)));
            let hours = if interval_ms > MINUTE_MS { 2 } else { 9 };
            let begin_ms = stage.at(hours, 0) + stage.traffic.random.u64(0..10 * MINUTE_MS);
            let mut at_ms = begin_ms;
            while at_ms < begin_ms + lasts_ms {
                let content = (410 + stage.traffic.random.u64(0..30), 250 + stage.traffic.random.u64(0..20));
                stage.traffic.talk(Talk::tcp(client, server, 443, at_ms, content).lasting(170));
                let off_ms = interval_ms * jitter / 100;
                at_ms +=
                    interval_ms - off_ms + stage.traffic.random.u64(0..=2 * off_ms) + stage.traffic.random.u64(0..40);
            }
            let name = format!("beacon, every {interval}, jitter {jitter} %");
            let label = stage.label(&name, &["beacon"], &[client], (begin_ms, at_ms), within_ms);
            label.peers = vec![server.ip];
            label.also = vec!["small-flows"];
        }
    }
    let (client, server, at_ms) =
        (stage.server(crate::scenario::site::Server::Hypervisor), attacker(110), stage.at(1, 0));
    for number in 0..900 {
        let at_ms = at_ms + number * MINUTE_MS + stage.traffic.random.u64(0..4000);
        let amounts = (Amount::of(1, 96), Amount::of(1, 72));
        stage.traffic.talk(Talk::udp(client, server, 8443, at_ms, amounts).lasting(60));
    }
    let time = (at_ms, at_ms + 900 * MINUTE_MS);
    stage.label("beacon, UDP, every minute, by a server", &["beacon"], &[client], time, 2 * HOUR_MS).peers =
        vec![server.ip];
    long(stage);
}

fn long(stage: &mut Stage<'_>) {
    for (name, number, to, hours, lasts, gap_ms, octets, udp) in [
        ("connection of 20 h with a word every 30 s", 20, 111, 1, 20, 30_000, (120, 90), false),
        ("connection of 14 h, always busy", 22, 112, 6, 14, 700, (90, 300), false),
        ("tunnel over UDP of 16 h", 23, 113, 4, 16, 400, (380, 700), true),
    ] {
        let (client, server, at_ms) = (stage.office(number), attacker(to), stage.at(hours, 0));
        let lasts_ms = lasts * HOUR_MS;
        let packets = lasts_ms / gap_ms;
        let amounts = (Amount::of(packets, octets.0), Amount::of(packets, octets.1));
        let port = if udp { 1194 } else { 4444 };
        let talk = Talk::udp(client, server, port, at_ms, amounts).lasting(lasts_ms);
        stage.traffic.talk(if udp { talk } else { Talk { protocol: 6, ..talk } });
        let label =
            stage.label(name, &["long-lived-connection", "beacon"], &[client], (at_ms, at_ms + lasts_ms), 10 * HOUR_MS);
        label.peers = vec![server.ip];
        label.also = vec!["exfiltration"];
    }
}
