//! What the site's servers are for: names, mail, files, logons, telephones, applications, and one that watches over all.

use super::people::query;
use super::{DAY_MS, Day, HOUR_MS, Kind, MINUTE_MS};
use crate::scenario::record::{Amount, Talk, flag, heavy, protocol};
use crate::scenario::site::{Device, Outside, ROUTER, Server};
use std::net::{IpAddr, Ipv4Addr};

/// Questions that have nothing to do with pages: of programs, servers and things, all day.
pub(super) fn resolve(day: &mut Day<'_>) {
    let resolver = day.network.server(Server::Resolver);
    for number in 0..day.network.office.len() {
        for at_ms in day.by_chance(day.on[number], 20 * MINUTE_MS) {
            query(day, day.network.office[number], resolver, at_ms);
        }
    }
    let network = day.network;
    for device in [&network.servers, &network.things, &network.phones].into_iter().flatten() {
        if device.ip != resolver.ip {
            for at_ms in day.by_chance(day.whole(), 25 * MINUTE_MS) {
                query(day, *device, resolver, at_ms);
            }
        }
    }
    // The mail relay looks every sender up in lists, with long names and many of them.
    let relay = network.server(Server::MailRelay);
    for at_ms in day.by_chance(day.whole(), 4 * MINUTE_MS) {
        for number in 0..day.traffic.random.u64(3..9) {
            query(day, relay, resolver, at_ms + number * 15);
        }
    }
    // A printer that does not know better asks a public resolver.
    let public = Outside::Telemetry.device(3);
    for at_ms in day.by_clock(day.whole(), 10 * MINUTE_MS, 300) {
        day.traffic.talk(Talk::udp(network.printers[1], public, 53, at_ms, (Amount::of(1, 62), Amount::of(1, 140))));
    }
}

/// Mail: asked for every few minutes, and between servers; some of them have been gone for long, but mail waits for them.
pub(super) fn mail(day: &mut Day<'_>) {
    let network = day.network;
    let (mail, relay) = (network.server(Server::Mail), network.server(Server::MailRelay));
    for (number, person) in network.office.iter().enumerate() {
        let minutes = [5, 5, 10, 15][number % 4];
        for at_ms in day.by_clock(day.on[number], minutes * MINUTE_MS, 1500) {
            let received =
                3200 + if day.chance(12) { heavy(&mut day.traffic.random, 40_000, 6.0).min(25_000_000) } else { 0 };
            day.traffic.talk(Talk::tcp(*person, mail, 993, at_ms, (1400, received)).lasting(received / 2000 + 350));
        }
    }
    let mean = if day.kind == Kind::Weekend { 12 } else { 3 };
    for at_ms in day.by_chance(day.whole(), mean * MINUTE_MS) {
        let other = Outside::MailServers.popular(&mut day.traffic.random);
        let octets = heavy(&mut day.traffic.random, 25_000, 6.0).min(30_000_000);
        let (client, server) = if day.chance(60) { (other, relay) } else { (relay, other) };
        day.traffic.talk(Talk::tcp(client, server, 25, at_ms, (octets, 900)).lasting(octets / 500 + 1200));
        day.traffic.talk(Talk::tcp(relay, mail, 25, at_ms + 2000, (octets, 700)).lasting(300));
    }
    for number in 50..53 {
        let gone = Outside::MailServers.device(number);
        for at_ms in day.by_clock(day.whole(), 15 * MINUTE_MS, 4000) {
            day.traffic.unanswered(relay, gone, 25, at_ms, 4);
        }
    }
}

/// File shares, and what is printed.
pub(super) fn share_files(day: &mut Day<'_>) {
    let network = day.network;
    let shares = [network.server(Server::Files), network.server(Server::MoreFiles)];
    for (number, person) in network.office.iter().enumerate() {
        for window in day.at_work[number].clone() {
            for at_ms in day.by_chance(window, 40 * MINUTE_MS) {
                let random = &mut day.traffic.random;
                let share = shares[usize::from(random.u8(0..100) < 25)];
                let content =
                    (heavy(random, 300_000, 7.0).min(4_000_000_000), heavy(random, 1_500_000, 7.0).min(9_000_000_000));
                let lasts = (content.0 + content.1) / 40_000 + heavy(random, 60_000, 3.0).min(20 * MINUTE_MS);
                day.traffic.talk(Talk::tcp(*person, share, 445, at_ms, content).lasting(lasts));
            }
            for at_ms in day.by_chance(window, 4 * HOUR_MS) {
                let printer = network.printers[day.traffic.random.usize(0..network.printers.len())];
                let octets = heavy(&mut day.traffic.random, 900_000, 4.0).min(200_000_000);
                day.traffic.talk(Talk::tcp(*person, printer, 9100, at_ms, (octets, 300)).lasting(octets / 1000 + 900));
            }
        }
        // A drive that was never unmapped from a server that is gone.
        if number % 23 == 6 {
            let gone = Device { ip: IpAddr::V4(Ipv4Addr::new(10, 20, 3, 99)), ..network.server(Server::Files) };
            for at_ms in day.by_clock(day.on[number], 5 * MINUTE_MS, 800) {
                day.traffic.unanswered(*person, gone, 445, at_ms, 3);
            }
        }
    }
}

/// Logons, tickets and directory questions, and the remote desktops of some.
pub(super) fn log_on(day: &mut Day<'_>) {
    let network = day.network;
    let directory = network.server(Server::Directory);
    for (number, person) in network.office.iter().enumerate() {
        let window = day.on[number];
        let mut moments = day.by_chance(window, 90 * MINUTE_MS);
        moments.extend((window.0 < window.1).then_some(window.0 + 30_000));
        for at_ms in moments {
            for (part, port) in [(0, 88), (1, 389), (2, 445), (3, 135), (4, 49_668)] {
                let random = &mut day.traffic.random;
                let content = (heavy(random, 1900, 1.5), heavy(random, 3600, 2.5));
                let lasts = if port == 389 { 20_000 } else { 120 };
                day.traffic.talk(Talk::tcp(*person, directory, port, at_ms + part * 40, content).lasting(lasts));
            }
        }
        if number % 11 == 3 {
            for (from, to) in day.at_work[number].clone() {
                let (lasts, application) = (to - from, network.server(Server::Application));
                let talk = Talk::tcp(*person, application, 3389, from, (lasts * 2, lasts * 12)).lasting(lasts);
                day.traffic.talk(talk);
            }
        }
    }
}

/// Telephones: a word a minute to the exchange, which is in the house for some and in a cloud for others, and calls.
pub(super) fn telephone(day: &mut Day<'_>) {
    let network = day.network;
    for (number, phone) in network.phones.iter().enumerate() {
        let (server, seconds) = match number {
            0..8 => (network.server(Server::Telephony), 120),
            8..10 => (Outside::Telephony.device(0), 60),
            _ => continue,
        };
        let words = DAY_MS / 1000 / seconds / network.rarer;
        let amounts = (Amount::of(words, 480), Amount::of(words, 430));
        let start_ms = day.start_ms + day.traffic.random.u64(0..50_000);
        let talk = Talk::udp(*phone, server, 5060, start_ms, amounts).from_port(5060);
        day.traffic.talk(talk.lasting(DAY_MS - 60_000).part(false));
        if day.kind != Kind::Weekend {
            for at_ms in day.by_chance((day.at(8, 0), day.at(18, 0)), HOUR_MS) {
                let lasts = heavy(&mut day.traffic.random, 150_000, 2.5).min(HOUR_MS);
                let sound = Amount::of(lasts / 20, 200);
                let port = day.traffic.random.u16(10_000..20_000);
                day.traffic.talk(Talk::udp(*phone, server, port, at_ms, (sound, sound)).lasting(lasts));
            }
        }
    }
}

/// The monitoring server asks everybody, every minute, and does not mind that some have been off for weeks.
pub(super) fn watch_over(day: &mut Day<'_>) {
    let network = day.network;
    let monitor = network.server(Server::Monitor);
    let off = |last: u8| Device { ip: IpAddr::V4(Ipv4Addr::new(10, 20, 3, last)), ..monitor };
    for server in network.servers.iter().filter(|server| server.ip != monitor.ip) {
        for at_ms in day.by_clock(day.whole(), network.rarer * MINUTE_MS, 400) {
            day.traffic.ping(monitor, *server, at_ms, 400, (Amount::of(3, 84), Amount::of(3, 84)));
        }
        let port = day.traffic.random.choice([22, 80, 443, 9100, 5666]).unwrap_or(22);
        for at_ms in day.by_clock(day.whole(), network.rarer * 5 * MINUTE_MS, 900) {
            day.traffic.talk(Talk::tcp(monitor, *server, port, at_ms, (420, 5200)).lasting(40));
        }
    }
    for gone in [off(98), off(97)] {
        for at_ms in day.by_clock(day.whole(), network.rarer * MINUTE_MS, 400) {
            day.traffic.ping(monitor, gone, at_ms, 2000, (Amount::of(3, 84), Amount::default()));
        }
        for at_ms in day.by_clock(day.whole(), 5 * MINUTE_MS, 400) {
            day.traffic.unanswered(monitor, gone, 443, at_ms, 3);
        }
    }
    for device in network.printers.iter().chain(&network.cameras) {
        for at_ms in day.by_clock(day.whole(), network.rarer * 10 * MINUTE_MS, 900) {
            let amounts = (Amount::of(8, 110), Amount::of(8, 190));
            day.traffic.talk(Talk::udp(monitor, *device, 161, at_ms, amounts).lasting(300));
        }
    }
}

/// Applications and their database, cameras and their recorder.
pub(super) fn applications(day: &mut Day<'_>) {
    let network = day.network;
    let database = network.server(Server::Database);
    for application in [Server::Application, Server::OtherApplication].map(|server| network.server(server)) {
        let content = (DAY_MS * 3, DAY_MS * 20);
        let talk = Talk::tcp(application, database, 5432, day.start_ms, content);
        day.traffic.talk(talk.lasting(DAY_MS - 1).part(false));
        for (number, person) in network.office.iter().enumerate().filter(|(number, _)| number % 2 == 0) {
            for window in day.at_work[number].clone() {
                for at_ms in day.by_chance(window, 50 * MINUTE_MS) {
                    let content =
                        (heavy(&mut day.traffic.random, 6000, 2.0), heavy(&mut day.traffic.random, 90_000, 3.0));
                    day.traffic.talk(Talk::tcp(*person, application, 443, at_ms, content).lasting(20_000));
                }
            }
        }
    }
    for camera in &network.cameras {
        // 1 Mbit/s.
        let talk = Talk::tcp(network.server(Server::Recorder), *camera, 554, day.start_ms, (DAY_MS / 50, DAY_MS * 125));
        day.traffic.talk(talk.lasting(DAY_MS - 1).part(false));
    }
}

/// Leases of addresses: asked for by all in the VLAN, renewed by word with the server; guests get theirs from the router.
pub(super) fn lease(day: &mut Day<'_>) {
    let network = day.network;
    let directory = network.server(Server::Directory);
    let clients: Vec<(Device, (u64, u64))> = network.office.iter().copied().zip(day.on.iter().copied()).collect();
    for (client, window) in clients.into_iter().filter(|(_, window)| window.0 < window.1) {
        discover(day, client, window.0 + 5000);
        // The router passes the question on; what it sends itself is not metered, the server's answer is.
        let relay = Device { ip: router_of(&client), mac: ROUTER, ..client };
        day.traffic.packets(
            (directory, relay),
            (67, 67),
            (protocol::UDP, 0),
            Amount::of(2, 328),
            (window.0 + 5001, window.0 + 5900),
        );
        for at_ms in day.by_clock(window, 4 * HOUR_MS, 60_000) {
            day.traffic
                .talk(Talk::udp(client, directory, 67, at_ms, (Amount::of(1, 328), Amount::of(1, 336))).from_port(68));
        }
    }
    for (number, guest) in network.guests.iter().enumerate() {
        let window = day.visits[number];
        if window.0 < window.1 {
            discover(day, *guest, window.0);
            for at_ms in day.by_clock(window, 30 * MINUTE_MS, 9000) {
                let router = Device { ip: router_of(guest), mac: ROUTER, ..*guest };
                day.traffic.packets((*guest, router), (68, 67), (protocol::UDP, 0), Amount::of(1, 328), (at_ms, at_ms));
            }
        }
    }
}

fn router_of(device: &Device) -> IpAddr {
    match device.ip {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            Ipv4Addr::new(a, b, c, 1).into()
        }
        v6 @ IpAddr::V6(_) => v6,
    }
}

/// DISCOVER and REQUEST, to everybody.
fn discover(day: &mut Day<'_>, client: Device, at_ms: u64) {
    let nobody = Device { ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED), ..client };
    let everybody = client.many(Ipv4Addr::BROADCAST);
    day.traffic.packets((nobody, everybody), (68, 67), (protocol::UDP, 0), Amount::of(2, 328), (at_ms, at_ms + 900));
}

/// What is said to all neighbours: mDNS, SSDP, LLMNR, name service, and a program that looks for itself.
pub(super) fn multicast(day: &mut Day<'_>) {
    let network = day.network;
    for (number, person) in network.office.iter().enumerate() {
        let [_, _, net, _] = match person.ip {
            IpAddr::V4(v4) => v4.octets(),
            IpAddr::V6(_) => continue,
        };
        let broadcast = Ipv4Addr::new(10, 20, net, 255);
        let (group, port, minutes) = match number % 4 {
            0 => (Ipv4Addr::new(224, 0, 0, 251), 5353, 30),
            1 => (Ipv4Addr::new(239, 255, 255, 250), 1900, 15),
            2 => (Ipv4Addr::new(224, 0, 0, 252), 5355, 25),
            _ => (broadcast, 137, 20),
        };
        for at_ms in day.by_chance(day.on[number], minutes * MINUTE_MS) {
            let from = if port == 1900 { day.traffic.client_port() } else { port };
            let amount = Amount::of(day.traffic.random.u64(1..=4), day.traffic.random.u64(70..230));
            day.traffic.packets(
                (*person, person.many(group)),
                (from, port),
                (protocol::UDP, 0),
                amount,
                (at_ms, at_ms + 3000),
            );
        }
        if number % 8 == 1 {
            for at_ms in day.by_clock(day.on[number], 5 * MINUTE_MS, 100) {
                let all = person.many(Ipv4Addr::BROADCAST);
                day.traffic.packets(
                    (*person, all),
                    (17_500, 17_500),
                    (protocol::UDP, 0),
                    Amount::of(1, 172),
                    (at_ms, at_ms),
                );
            }
        }
    }
    // What a firewall lets through of conversations that it has forgotten.
    for at_ms in day.by_chance(day.whole(), 20 * MINUTE_MS) {
        let person = network.office[day.traffic.random.usize(0..network.office.len())];
        let server = Outside::Networks.any(&mut day.traffic.random);
        let ports = (443, day.traffic.client_port());
        let kind = (
            protocol::TCP,
            day.traffic.random.choice([flag::RST, flag::ACK | flag::FIN, flag::ACK]).unwrap_or(flag::ACK),
        );
        day.traffic.packets((server, person), ports, kind, Amount::of(1, 52), (at_ms, at_ms));
    }
}
