//! Floods of one and of many, weak and strong, and answers to questions that the victim has not asked.

use super::{Stage, attacker, strangers};
use crate::scenario::ordinary::MINUTE_MS;
use crate::scenario::record::{Amount, Talk, flag, protocol};
use crate::scenario::site::{Device, Server};

/// A flood of many short flows is said within this time: they idle for 15 s before an exporter tells of them, and few sources are taken for
/// clients that try again until there is enough of them.
const SOON_MS: u64 = 150_000;

/// One of long flows: an exporter tells of each after a minute.
const RECORD_MS: u64 = 150_000;

pub(super) fn stage(stage: &mut Stage<'_>) {
    icmp(stage);
    syn(stage);
    udp(stage);
    amplified(stage);
    reflected(stage);
}

fn icmp(stage: &mut Stage<'_>) {
    let rules = ["icmp-flood"];
    for (name, number, hours, rate, seconds, server) in [
        ("ICMP flood, 5,000/s by one inside", 0, 9, 5000, 60, Server::Files),
        ("ICMP flood, 500/s by one inside", 1, 10, 500, 180, Server::MoreFiles),
    ] {
        let (source, victim, at_ms) = (stage.office(number), stage.server(server), stage.at(hours, 20));
        let amount = Amount::of(rate * seconds, 84);
        stage.traffic.ping(source, victim, at_ms, seconds * 1000, (amount, Amount::of(rate * seconds * 9 / 10, 84)));
        stage.label(name, &rules, &[source, victim], (at_ms, at_ms + seconds * 1000), RECORD_MS).also = vec!["volume"];
    }
    let (victim, at_ms) = (stage.server(Server::Vpn), stage.at(11, 0));
    for source in strangers(&mut stage.traffic, 200) {
        stage.traffic.ping(source, victim, at_ms, 90_000, (Amount::of(20 * 90, 1028), Amount::default()));
    }
    stage.label("ICMP flood, 20/s by each of 200 outside", &rules, &[victim], (at_ms, at_ms + 90_000), RECORD_MS);
}

fn syn(stage: &mut Stage<'_>) {
    let rules = ["syn-flood"];
    let web = stage.server(Server::Web);
    let at_ms = stage.at(14, 5);
    for source in strangers(&mut stage.traffic, 40_000) {
        let (at_ms, port) = (at_ms + stage.traffic.random.u64(0..40_000), stage.traffic.client_port());
        let kind = (protocol::TCP, flag::SYN);
        stage.traffic.packets((source, web), (port, 443), kind, Amount::of(1, 44), (at_ms, at_ms));
        let kind = (protocol::TCP, flag::SYN | flag::ACK);
        stage.traffic.packets((web, source), (443, port), kind, Amount::of(1, 44), (at_ms, at_ms));
    }
    stage.label("SYN flood, 1,000/s from made up addresses", &rules, &[web], (at_ms, at_ms + 40_000), SOON_MS);

    let (relay, at_ms) = (stage.server(Server::MailRelay), stage.at(15, 0));
    for source in strangers(&mut stage.traffic, 60) {
        for _ in 0..240 {
            let (at_ms, port) = (at_ms + stage.traffic.random.u64(0..60_000), stage.traffic.client_port());
            let kind = (protocol::TCP, flag::SYN);
            stage.traffic.packets((source, relay), (port, 25), kind, Amount::of(1, 44), (at_ms, at_ms));
        }
    }
    let label = stage.label("SYN flood, 240/s by 60 outside", &rules, &[relay], (at_ms, at_ms + 60_000), SOON_MS);
    label.also = vec!["probes"];

    // A guest's computer belongs to somebody else.
    let (source, victim, at_ms) = (stage.network.guests[9], attacker(9), stage.at(16, 0));
    for _ in 0..18_000 {
        let (at_ms, port) = (at_ms + stage.traffic.random.u64(0..60_000), stage.traffic.random.u16(1024..));
        let kind = (protocol::TCP, flag::SYN);
        stage.traffic.packets((source, victim), (port, 80), kind, Amount::of(1, 40), (at_ms, at_ms));
    }
    stage.label("SYN flood, 300/s by one inside", &rules, &[source, victim], (at_ms, at_ms + 60_000), SOON_MS);
}

fn udp(stage: &mut Stage<'_>) {
    let rules = ["udp-flood"];
    let (source, web, at_ms) = (attacker(20), stage.server(Server::Web), stage.at(17, 0));
    let amount = Amount::of(20_000 * 60, 1400);
    stage.traffic.talk(Talk::udp(source, web, 80, at_ms, (amount, Amount::default())).lasting(60_000));
    stage.label("UDP flood, 20,000/s by one outside", &rules, &[web], (at_ms, at_ms + 60_000), RECORD_MS).also =
        vec!["volume"];

    let (relay, at_ms) = (stage.server(Server::MailRelay), stage.at(18, 0));
    for source in strangers(&mut stage.traffic, 30) {
        for _ in 0..200 {
            let (at_ms, port) = (at_ms + stage.traffic.random.u64(0..85_000), stage.traffic.random.u16(1..));
            let amounts = (Amount::of(30, 900), Amount::default());
            stage.traffic.talk(Talk::udp(source, relay, port, at_ms, amounts).lasting(5000));
        }
    }
    let label =
        stage.label("UDP flood, 2,000/s by 30 outside, all ports", &rules, &[relay], (at_ms, at_ms + 90_000), SOON_MS);
    label.also = vec!["probes", "port-scan"];
}

/// Answers from servers of others to a victim of ours.
fn amplified(stage: &mut Stage<'_>) {
    let rules = ["amplification", "udp-flood"];
    for (name, hours, server, port, reflectors, rate, octets) in [
        ("amplification, DNS, 400 reflectors, 77 Mbit/s", 1, Server::Vpn, 53, 400, 16, 1500),
        ("amplification, NTP, 60 reflectors, 7 Mbit/s", 2, Server::MailRelay, 123, 60, 30, 468),
        ("amplification, memcached, 6 reflectors, 270 Mbit/s", 3, Server::Web, 11_211, 6, 4000, 1400),
    ] {
        let (victim, at_ms) = (stage.server(server), stage.at(hours, 30));
        for reflector in strangers(&mut stage.traffic, reflectors) {
            let to = stage.traffic.random.u16(1024..);
            let amount = Amount::of(rate * 60, octets);
            let talk = Talk::udp(reflector, victim, to, at_ms, (amount, Amount::default()));
            stage.traffic.talk(talk.from_port(port).lasting(60_000));
        }
        let label = stage.label(name, &rules, &[victim], (at_ms, at_ms + MINUTE_MS), RECORD_MS);
        label.also = vec!["volume", "fragments", "probes"];
    }
}

/// Servers of ours that answer what is asked in the name of a victim outside.
fn reflected(stage: &mut Stage<'_>) {
    // Each question has an answer of two packets.
    let thing = stage.network.things[5];
    let reflectors: [(&str, u64, Device, u16, u64, u64); 2] = [
        ("reflector, SSDP of a thing, 9 Mbit/s", 4, thing, 1900, 400, 1400),
        ("reflector, DNS, 1.3 Mbit/s", 5, stage.server(Server::Vpn), 53, 60, 1350),
    ];
    for (number, (name, hours, reflector, port, rate, octets)) in (30..).zip(reflectors) {
        let (victim, at_ms) = (attacker(number), stage.at(hours, 30));
        let amounts = (Amount::of(rate * 300, 62), Amount::of(2 * rate * 300, octets));
        stage.traffic.talk(Talk::udp(victim, reflector, port, at_ms, amounts).lasting(300_000));
        let label = stage.label(
            name,
            &["amplification", "reflector"],
            &[reflector, victim],
            (at_ms, at_ms + 300_000),
            RECORD_MS,
        );
        label.also = vec!["exfiltration", "volume", "fragments", "udp-flood"];
    }
}
