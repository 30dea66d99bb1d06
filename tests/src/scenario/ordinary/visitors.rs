//! What comes from outside: the noise of the internet, visitors of the website, employees at home.

use std::net::IpAddr;

use super::{DAY_MS, Day, HOUR_MS, Kind, MINUTE_MS};
use crate::scenario::record::{Amount, Talk, flag, heavy, protocol};
use crate::scenario::site::{Device, Outside, Server};

/// Ports that strangers ask for.
const WANTED: [u16; 18] =
    [22, 23, 23, 23, 80, 81, 445, 445, 1433, 2323, 3389, 5060, 5555, 6379, 7547, 8080, 8443, 37_215];

/// How many search engines of ports there are among the noise.
const SCANNERS: u32 = 5;

/// Addresses of search engines of ports.
pub(super) fn scanners() -> Vec<IpAddr> {
    (0..SCANNERS).map(|number| Outside::Noise.device(number).ip).collect()
}

/// Hundreds of strangers who try a door or two, a few who try all of them, and answers to questions that others have asked in our name.
pub(super) fn noise(day: &mut Day<'_>) {
    let doors = [Server::Web, Server::MailRelay, Server::Vpn].map(|server| day.network.server(server));
    for stranger in (SCANNERS..Outside::Noise.count()).map(|number| Outside::Noise.device(number)) {
        for at_ms in day.by_chance(day.whole(), 10 * HOUR_MS) {
            let port = day.traffic.random.choice(WANTED).unwrap_or(23);
            for door in doors {
                if day.chance(50) {
                    let at_ms = at_ms + day.traffic.random.u64(0..4000);
                    knock(day, stranger, door, port, at_ms);
                }
            }
        }
    }
    for scanner in (0..SCANNERS).map(|number| Outside::Noise.device(number)) {
        for at_ms in day.by_chance(day.whole(), 3 * MINUTE_MS) {
            let door = doors[day.traffic.random.usize(0..doors.len())];
            let port = day.traffic.random.u16(1..12_000);
            knock(day, scanner, door, port, at_ms);
        }
    }
    for at_ms in day.by_chance(day.whole(), 9 * MINUTE_MS) {
        let stranger = Outside::Noise.any(&mut day.traffic.random);
        let door = doors[day.traffic.random.usize(0..doors.len())];
        let ports = (day.traffic.random.choice([80, 443, 22]).unwrap_or(80), day.traffic.client_port());
        let kind = (protocol::TCP, flag::SYN | flag::ACK);
        let amount = Amount::of(day.traffic.random.u64(1..4), 44);
        day.traffic.packets((stranger, door), ports, kind, amount, (at_ms, at_ms + 3000));
    }
    for at_ms in day.by_chance(day.whole(), 30 * MINUTE_MS) {
        let stranger = Outside::Noise.any(&mut day.traffic.random);
        day.traffic.ping(stranger, doors[0], at_ms, 1000, (Amount::of(2, 60), Amount::of(2, 60)));
    }
}

fn knock(day: &mut Day<'_>, stranger: Device, door: Device, port: u16, at_ms: u64) {
    let web = day.network.server(Server::Web);
    if port == 5060 {
        day.traffic.talk(Talk::udp(stranger, door, port, at_ms, (Amount::of(1, 440), Amount::default())));
    } else if door.ip == web.ip && matches!(port, 80 | 443) {
        day.traffic.talk(Talk::tcp(stranger, door, port, at_ms, (180, 900)).lasting(300));
    } else if door.ip == web.ip {
        day.traffic.refused(stranger, door, port, at_ms);
    } else {
        let tries = day.traffic.random.u64(1..=2);
        day.traffic.unanswered(stranger, door, port, at_ms, tries);
    }
}

/// Visitors of the website, and robots that read all of it.
pub(super) fn website(day: &mut Day<'_>) {
    let (web, rarer) = (day.network.server(Server::Web), day.network.rarer);
    for visitor in (0..Outside::Visitors.count()).map(|number| Outside::Visitors.device(number)) {
        for at_ms in day.by_chance((day.at(6, 0), day.at(23, 0)), rarer * 12 * HOUR_MS) {
            for number in 0..day.traffic.random.u64(1..5) {
                let random = &mut day.traffic.random;
                let content = (heavy(random, 1500, 1.6), heavy(random, 70_000, 4.0).min(90_000_000));
                let lasts = content.1 / 600 + heavy(random, 3000, 2.5).min(60_000);
                day.traffic.talk(Talk::tcp(visitor, web, 443, at_ms + number * 120, content).lasting(lasts));
            }
        }
    }
    for number in 0..3 {
        let robot = Outside::Visitors.device(number * 100);
        for at_ms in day.by_clock(day.whole(), rarer * 2 * MINUTE_MS, 40_000) {
            let octets = heavy(&mut day.traffic.random, 40_000, 2.0);
            day.traffic.talk(Talk::tcp(robot, web, 443, at_ms, (900, octets)).lasting(800));
        }
    }
    // A service asks every minute whether the website lives.
    let watch = Outside::Visitors.device(7);
    for at_ms in day.by_clock(day.whole(), rarer * MINUTE_MS, 300) {
        day.traffic.talk(Talk::tcp(watch, web, 443, at_ms, (420, 4100)).lasting(140));
    }
}

/// Employees at home, whose files and desktops go through the tunnel as uploads of the VPN server's.
pub(super) fn home_office(day: &mut Day<'_>) {
    let network = day.network;
    let vpn = network.server(Server::Vpn);
    let users = if day.kind == Kind::Weekend { 2 } else { Outside::HomeUsers.count() };
    for user in (0..users).map(|number| Outside::HomeUsers.device(number)) {
        let start_ms = day.at(7, 30) + day.traffic.random.u64(0..2 * HOUR_MS);
        let lasts = day.traffic.random.u64(6 * HOUR_MS..9 * HOUR_MS);
        let octets = heavy(&mut day.traffic.random, 900_000_000, 2.0).min(8_000_000_000);
        let amounts = (Amount::of(octets / 4000, 400), Amount::of(octets / 1000, 1000));
        day.traffic.talk(Talk::udp(user, vpn, 4500, start_ms, amounts).from_port(4500).lasting(lasts));
        // What they do on the other side of it.
        for at_ms in day.by_chance((start_ms, start_ms + lasts), 10 * MINUTE_MS) {
            let content = (9000, heavy(&mut day.traffic.random, 400_000, 5.0).min(500_000_000));
            let server = network.servers[day.traffic.random.usize(0..4)];
            let port = if server.ip == network.server(Server::Mail).ip { 993 } else { 445 };
            day.traffic.talk(Talk::tcp(vpn, server, port, at_ms, content).lasting(content.1 / 2000 + 2000));
        }
    }
    // A branch office, by a tunnel that is always up.
    let branch = Outside::Rented.device(2);
    let amounts = (Amount::of(DAY_MS / 500, 300), Amount::of(DAY_MS / 400, 500));
    let talk = Talk::udp(branch, vpn, 51_820, day.start_ms, amounts).from_port(51_820);
    day.traffic.talk(talk.lasting(DAY_MS - 1).part(false));
}
