//! Scans of ports and of hosts, fast and slow, answered and not.

use std::net::Ipv4Addr;

use super::{Stage, attacker, nobody};
use crate::scenario::ordinary::{HOUR_MS, MINUTE_MS};
use crate::scenario::record::{Amount, Talk, flag, protocol};
use crate::scenario::site::{Device, Server};

/// Scans of this kind are said within so long of their beginning.
const FAST_MS: u64 = 2 * MINUTE_MS;

/// Slow ones: what is slower than that hides in what is ordinary.
const SLOW_MS: u64 = 3 * HOUR_MS;

/// How a port answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Refuses,
    Silent,
    Udp,
    Fin,
}

struct PortScan {
    name: &'static str,
    scanner: Device,
    victim: Device,
    at_ms: u64,
    ports: u64,
    gap_ms: u64,
    answer: Answer,
}

pub(super) fn ports(stage: &mut Stage<'_>) {
    let scan = |name, scanner, server, at: (u64, u64), ports, gap_ms, answer| {
        (name, scanner, server, at, ports, gap_ms, answer)
    };
    let scans = [
        scan(
            "port scan, 1,000 ports in 20 s, refused",
            stage.office(0),
            Server::Files,
            (9, 40),
            1000,
            20,
            Answer::Refuses,
        ),
        scan(
            "port scan, 120 ports in 1 min, silent",
            stage.office(1),
            Server::Database,
            (10, 15),
            120,
            500,
            Answer::Silent,
        ),
        scan("port scan from outside, 500 ports in 50 s", attacker(1), Server::Vpn, (3, 10), 500, 100, Answer::Silent),
        scan("port scan, a port in 5 s for 30 min", stage.office(2), Server::Mail, (11, 0), 360, 5000, Answer::Refuses),
        scan(
            "port scan, a port in 40 s for 5 h",
            stage.office(3),
            Server::Application,
            (8, 0),
            450,
            40_000,
            Answer::Silent,
        ),
        scan(
            "port scan, a port in 3 min for 10 h",
            stage.office(4),
            Server::Storage,
            (8, 30),
            200,
            180_000,
            Answer::Refuses,
        ),
        scan("port scan, UDP, 300 ports in 1 min", stage.office(5), Server::Directory, (13, 30), 300, 200, Answer::Udp),
        scan("port scan, FIN, 400 ports in 1 min", stage.office(6), Server::Telephony, (14, 10), 400, 150, Answer::Fin),
    ];
    for (name, scanner, server, (hours, minutes), ports, gap_ms, answer) in scans {
        let (victim, at_ms) = (stage.server(server), stage.at(hours, minutes));
        scan_ports(stage, &PortScan { name, scanner, victim, at_ms, ports, gap_ms, answer });
    }
}

fn scan_ports(stage: &mut Stage<'_>, scan: &PortScan) {
    let &PortScan { name, scanner, victim, at_ms, ports, gap_ms, answer } = scan;
    let mut numbers: Vec<u16> = (1..=u16::MAX).collect();
    stage.traffic.random.shuffle(&mut numbers[..10_000]);
    for (number, port) in (0..ports).zip(numbers) {
        let at_ms = at_ms + number * gap_ms + stage.traffic.random.u64(0..gap_ms / 2);
        // Some are open.
        if number % 180 == 90 && answer != Answer::Udp {
            stage.traffic.talk(Talk::tcp(scanner, victim, port, at_ms, (0, 0)).lasting(3));
            continue;
        }
        let from = stage.traffic.client_port();
        match answer {
            Answer::Refuses => stage.traffic.refused(scanner, victim, port, at_ms),
            Answer::Silent => stage.traffic.unanswered(scanner, victim, port, at_ms, 1),
            Answer::Fin => {
                let kind = (protocol::TCP, flag::FIN);
                stage.traffic.packets((scanner, victim), (from, port), kind, Amount::of(1, 40), (at_ms, at_ms));
            }
            Answer::Udp => {
                let kind = (protocol::UDP, 0);
                stage.traffic.packets((scanner, victim), (from, port), kind, Amount::of(1, 28), (at_ms, at_ms));
                // Port unreachable, at most one in a second.
                if number % 5 == 0 {
                    let kind = (protocol::ICMP, 0);
                    stage.traffic.packets((victim, scanner), (0, 0x0303), kind, Amount::of(1, 56), (at_ms, at_ms));
                }
            }
        }
    }
    let within_ms = if gap_ms < 10_000 { FAST_MS.max(gap_ms * 60) } else { SLOW_MS };
    let end_ms = at_ms + ports * gap_ms;
    let label = stage.label(name, &["port-scan"], &[scanner], (at_ms, end_ms), within_ms);
    label.peers = vec![victim.ip];
    if scanner.is_outside() {
        label.rules.push("probes");
        label.subjects.push(victim.ip.to_string());
    }
}

pub(super) fn hosts(stage: &mut Stage<'_>) {
    let rules = ["host-scan"];
    // A worm: 1,000 addresses in 30 s.
    let (source, at_ms) = (stage.office(10), stage.at(15, 20));
    for number in 0..1000_u64 {
        let [.., net, last] = (number + 256).to_be_bytes();
        let at_ms = at_ms + number * 30;
        knock(stage, source, nobody(net, last, stage.network.servers[0]), 445, at_ms);
    }
    stage.label("host scan, tcp/445, 1,000 addresses in 30 s", &rules, &[source], (at_ms, at_ms + 30_000), FAST_MS);

    let (source, at_ms) = (stage.network.guests[12], stage.at(16, 10));
    for last in 1..=254_u8 {
        let target = nobody(3, last, stage.network.servers[0]);
        let answer = if (10..30).contains(&last) { Amount::of(1, 28) } else { Amount::default() };
        stage.traffic.ping(source, target, at_ms + u64::from(last) * 40, 0, (Amount::of(1, 28), answer));
    }
    let time = (at_ms, at_ms + 10_000);
    stage.label("host scan, ICMP, 254 addresses in 10 s", &rules, &[source], time, FAST_MS).rules.push("probes");

    for (name, number, hours, port, targets, gap_ms) in [
        ("host scan, tcp/22, an address in 4 s for 10 min", 11, 9, 22, 150, 4000),
        ("host scan, tcp/3389, an address a minute for 4 h", 12, 12, 3389, 240, 60_000),
        ("host scan, tcp/445, an address in 3 min for 9 h", 13, 10, 445, 180, 180_000),
    ] {
        let (source, at_ms) = (stage.office(number), stage.at(hours, 0));
        for target in 0..targets {
            let last = u8::try_from(target + 5).unwrap_or(0);
            let at_ms = at_ms + target * gap_ms + stage.traffic.random.u64(0..gap_ms / 3);
            knock(stage, source, nobody(30, last, stage.network.servers[0]), port, at_ms);
        }
        let within_ms = if gap_ms < 10_000 { 5 * MINUTE_MS } else { SLOW_MS };
        stage
            .label(name, &rules, &[source], (at_ms, at_ms + targets * gap_ms), within_ms)
            .rules
            .push("lateral-movement");
    }

    // A camera looks for others of its kind all over the internet.
    let (source, at_ms) = (stage.network.cameras[3], stage.at(2, 0));
    for _ in 0..3000 {
        let [a, b, c] = [0; 3].map(|_| stage.traffic.random.u8(1..255));
        let target = Device::outside(Ipv4Addr::new(100 + a / 2, b, c, a));
        let at_ms = at_ms + stage.traffic.random.u64(0..600_000);
        let port = if c % 10 == 0 { 2323 } else { 23 };
        stage.traffic.unanswered(source, target, port, at_ms, 1);
    }
    stage.label("host scan, tcp/23, 5/s all over the internet", &rules, &[source], (at_ms, at_ms + 600_000), FAST_MS);

    // From outside, the doors that there are.
    let (source, at_ms) = (attacker(2), stage.at(5, 0));
    let doors = [Server::Web, Server::MailRelay, Server::Vpn].map(|server| stage.server(server));
    for number in 0..90 {
        let port = [22, 80, 443, 3389, 8080, 8443, 5900, 21, 25, 110, 143, 993, 1433, 3306, 5432][number % 15];
        let at_ms = at_ms + number as u64 * 700;
        stage.traffic.unanswered(source, doors[number / 15 % 3], port, at_ms, 1);
    }
    let label = stage.label(
        "probes from outside, 15 ports of 3 hosts in 1 min",
        &["probes", "port-scan", "host-scan"],
        &[source],
        (at_ms, at_ms + 63_000),
        FAST_MS,
    );
    label.subjects.extend(doors.map(|door| door.ip.to_string()));
}

/// An attempt where hardly anybody lives.
fn knock(stage: &mut Stage<'_>, source: Device, target: Device, port: u16, at_ms: u64) {
    let lives = stage.network.hosts().find(|host| host.ip == target.ip).copied();
    match lives {
        Some(host) if host.ip == source.ip => {}
        Some(host) if at_ms.is_multiple_of(3) => stage.traffic.refused(source, host, port, at_ms),
        Some(host) if at_ms % 3 == 1 => {
            stage.traffic.talk(Talk::tcp(source, host, port, at_ms, (300, 300)).lasting(80));
        }
        _ => stage.traffic.unanswered(source, target, port, at_ms, 2),
    }
}
