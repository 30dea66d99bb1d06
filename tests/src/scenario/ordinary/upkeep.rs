//! What computers do by themselves and their administrators for them: telemetry, clocks, updates, backups, remote administration, things.

use std::net::IpAddr;

use super::{ADMINISTRATOR, DAY_MS, DEVELOPER, Day, HOUR_MS, Kind, MINUTE_MS};
use crate::scenario::record::{Amount, Talk, heavy};
use crate::scenario::site::{Network, Outside, Server};

/// Questions for updates and reports, by the clock: of all computers to the same servers, and of some programs that only one has.
pub(super) fn telemetry(day: &mut Day<'_>) {
    let network = day.network;
    // Of the system, of the antivirus, of a chat program: minutes, off by so many milliseconds, octets.
    let programs = [(15, 20_000, 2200), (30, 500, 700), (60, 60_000, 5200), (120, 100, 900)];
    for (number, person) in network.office.iter().enumerate() {
        for (program, (minutes, off_ms, octets)) in (0..).zip(programs) {
            if program == 1 && number % 3 != 0 {
                continue;
            }
            for at_ms in day.by_clock(day.on[number], minutes * MINUTE_MS, off_ms) {
                let random = &mut day.traffic.random;
                let server = Outside::Telemetry.device(program * 3 + random.u32(0..3));
                let content = (octets + random.u64(0..400), 900 + heavy(random, 300, 2.0));
                day.traffic.talk(Talk::tcp(*person, server, 443, at_ms, content).lasting(180));
            }
        }
        if has_program_of_its_own(number) {
            let server = Outside::OwnTelemetry.device(u32::try_from(number).unwrap_or(0));
            let minutes = [5, 15, 60, 10][number / 8 % 4];
            let octets = 500 + day.traffic.random.u64(0..1500);
            for at_ms in day.by_clock(day.on[number], minutes * MINUTE_MS, minutes * 2000) {
                let content = (octets + day.traffic.random.u64(0..60), 1100);
                day.traffic.talk(Talk::tcp(*person, server, 443, at_ms, content).lasting(260));
            }
        }
    }
    // An antivirus on all servers looks its findings up by DNS-like packets of its own, as fast as it finds files.
    for server in &network.servers[..6] {
        for at_ms in day.by_chance(day.whole(), 20 * MINUTE_MS) {
            let cloud = Outside::Telemetry.device(10);
            for number in 0..heavy(&mut day.traffic.random, 4, 2.0).min(40) {
                day.traffic.talk(Talk::tcp(*server, cloud, 443, at_ms + number * 300, (800, 300)).lasting(90));
            }
        }
    }
}

const fn has_program_of_its_own(number: usize) -> bool {
    number % 8 == 5
}

/// Hosts that talk by the clock to servers to which nobody else does.
pub(super) fn with_programs_of_their_own(network: &Network) -> Vec<IpAddr> {
    let office = network.office.iter().enumerate().filter(|(number, _)| has_program_of_its_own(*number));
    let devices = network.things.iter().chain(&network.cameras).chain(&network.phones);
    office.map(|(_, person)| person).chain(devices).map(|device| device.ip).collect()
}

/// Clocks: of computers by the directory server, of all else by servers of the internet.
pub(super) fn clocks(day: &mut Day<'_>) {
    let network = day.network;
    let directory = network.server(Server::Directory);
    let word = (Amount::of(1, 76), Amount::of(1, 76));
    for (number, person) in network.office.iter().enumerate() {
        for at_ms in day.by_clock(day.on[number], HOUR_MS, 9000) {
            day.traffic.talk(Talk::udp(*person, directory, 123, at_ms, word).from_port(123));
        }
    }
    for (number, guest) in network.guests.iter().enumerate() {
        for at_ms in day.by_clock(day.visits[number], 30 * MINUTE_MS, 9000) {
            let server = Outside::Clocks.any(&mut day.traffic.random);
            day.traffic.talk(Talk::udp(*guest, server, 123, at_ms, word).lasting(15));
        }
    }
    for (number, device) in [&network.servers, &network.things, &network.phones].into_iter().flatten().enumerate() {
        // Some ask two servers, some every minute.
        let interval = network.rarer * if number == 0 || number == 22 { 64_000 } else { 1_024_000 };
        for service in 0..1 + number % 2 {
            let server = Outside::Clocks.device(u32::try_from(number + service * 3).unwrap_or(0));
            for at_ms in day.by_clock(day.whole(), interval, 3000) {
                day.traffic.talk(Talk::udp(*device, server, 123, at_ms, word).from_port(123).lasting(15));
            }
        }
    }
}

/// Updates: a few large downloads on all days; on the day of patches everybody's, which neighbours share.
pub(super) fn updates(day: &mut Day<'_>) {
    let network = day.network;
    let patches = day.kind == Kind::Patches;
    for (number, person) in network.office.iter().enumerate() {
        let Some(&(from, _)) = day.at_work[number].first() else { continue };
        if !day.chance(if patches { 92 } else { 12 }) {
            continue;
        }
        let start_ms = from + day.traffic.random.u64(0..100) * MINUTE_MS;
        for part in 0..day.traffic.random.u64(2..7) {
            let server = Outside::Updates.popular(&mut day.traffic.random);
            let octets = heavy(&mut day.traffic.random, 90_000_000, 2.5).min(2_000_000_000);
            let talk = Talk::tcp(*person, server, 80, start_ms + part * 150_000, (9000, octets));
            day.traffic.talk(talk.lasting(octets / 9000 + 300));
        }
        if patches {
            share_updates(day, number, start_ms);
        }
    }
    let updates = network.server(Server::Updates);
    for part in 0..if patches { 40 } else { 3 } {
        let octets = heavy(&mut day.traffic.random, 250_000_000, 2.0).min(3_000_000_000);
        let server = Outside::Updates.popular(&mut day.traffic.random);
        let talk = Talk::tcp(updates, server, 443, day.at(3, 0) + part * 90_000, (20_000, octets));
        day.traffic.talk(talk.lasting(octets / 25_000));
    }
}

/// Parts of updates from and to neighbours, some of whom have gone.
fn share_updates(day: &mut Day<'_>, number: usize, start_ms: u64) {
    let network = day.network;
    let person = network.office[number];
    for part in 0..day.traffic.random.u64(4..13) {
        let other = network.office[day.traffic.random.usize(0..network.office.len())];
        let at_ms = start_ms + part * day.traffic.random.u64(2000..200_000);
        if other.ip == person.ip {
            continue;
        }
        if day.chance(30) {
            day.traffic.unanswered(person, other, 7680, at_ms, 3);
        } else {
            let octets = heavy(&mut day.traffic.random, 12_000_000, 3.0).min(500_000_000);
            day.traffic.talk(Talk::tcp(person, other, 7680, at_ms, (4000, octets)).lasting(octets / 30_000 + 200));
        }
    }
}

/// Backups: of computers that are left on and of servers to the backup server by night; of the largest to a cloud.
pub(super) fn backups(day: &mut Day<'_>) {
    let network = day.network;
    let backup = network.server(Server::Backup);
    let full = day.kind != Kind::Weekday;
    let mut clients: Vec<_> = network.servers.iter().filter(|server| server.ip != backup.ip).copied().collect();
    for (number, person) in network.office.iter().enumerate() {
        if day.on[number] == day.whole() {
            clients.push(*person);
        }
    }
    for (number, client) in (0..).zip(clients) {
        let start_ms = day.at(20, 0) + number * 3 * MINUTE_MS + day.traffic.random.u64(0..9000);
        let median = if full { 5_000_000_000 } else { 500_000_000 };
        let octets = heavy(&mut day.traffic.random, median, 2.0).min(40_000_000_000);
        let lasts = octets / 60_000;
        day.traffic.talk(Talk::tcp(client, backup, 10_080, start_ms, (octets, octets / 500)).lasting(lasts));
        day.traffic.talk(Talk::tcp(backup, client, 10_081, start_ms - 2000, (900, 700)).lasting(500));
    }
    for server in [Server::Database, Server::Files, Server::Storage].map(|server| network.server(server)) {
        let parts = if full { 60 } else { 14 };
        for part in 0..parts {
            let cloud = Outside::CloudStorage.device(part);
            let octets = heavy(&mut day.traffic.random, 500_000_000, 1.3);
            let at_ms = day.at(1, 10) + u64::from(part) * 100_000 + day.traffic.random.u64(0..5000);
            day.traffic.talk(Talk::tcp(server, cloud, 443, at_ms, (octets, 90_000)).lasting(octets / 6000));
        }
    }
    let rented = Outside::Rented.device(1);
    let talk = Talk::tcp(network.server(Server::Build), rented, 22, day.at(4, 30), (300_000_000, 2_000_000));
    day.traffic.talk(talk.lasting(5 * MINUTE_MS));
}

/// The administrator goes from server to server; a developer stays on one that is rented; a program configures all servers.
pub(super) fn administer(day: &mut Day<'_>) {
    let network = day.network;
    let administrator = network.office[ADMINISTRATOR];
    for window in day.at_work[ADMINISTRATOR].clone() {
        for at_ms in day.by_chance(window, 25 * MINUTE_MS) {
            let server = network.servers[day.traffic.random.usize(0..14)];
            let port = if day.chance(60) { 22 } else { 3389 };
            let lasts = heavy(&mut day.traffic.random, 6 * MINUTE_MS, 2.0).min(HOUR_MS);
            day.traffic.talk(Talk::tcp(administrator, server, port, at_ms, (lasts / 20, lasts / 4)).lasting(lasts));
        }
    }
    if let [(from, _), .., (_, to)] = day.at_work[DEVELOPER][..] {
        let rented = Outside::Rented.device(0);
        let lasts = to - from;
        let talk = Talk::tcp(network.office[DEVELOPER], rented, 22, from + MINUTE_MS, (lasts / 30, lasts / 6));
        day.traffic.talk(talk.lasting(lasts - 2 * MINUTE_MS));
    }
    if day.kind == Kind::Patches {
        let build = network.server(Server::Build);
        for (number, server) in (0..).zip(network.servers.iter().filter(|server| server.ip != build.ip)) {
            let at_ms = day.at(21, 0) + number / 5 * 60_000 + number * 700;
            day.traffic.talk(Talk::tcp(build, *server, 22, at_ms, (180_000, 260_000)).lasting(50_000));
        }
    }
}

/// Things: some keep a connection to their vendor alive by a word a minute, others ask every few minutes.
pub(super) fn things(day: &mut Day<'_>) {
    let network = day.network;
    for (number, thing) in (0..).zip(&network.things) {
        let vendor = Outside::OwnTelemetry.device(20 + number / 4);
        if number < 2 {
            let words = DAY_MS / MINUTE_MS / network.rarer;
            let amounts = (Amount::of(words, 54), Amount::of(words, 54));
            let talk = Talk::tcp(*thing, vendor, 8883, day.start_ms, (0, 0));
            let talk = Talk { sent: amounts.0, received: amounts.1, ..talk };
            day.traffic.talk(talk.lasting(DAY_MS - 1).part(false));
        } else {
            for at_ms in day.by_clock(day.whole(), network.rarer * 5 * MINUTE_MS, 2500) {
                let octets = 700 + day.traffic.random.u64(0..90);
                day.traffic.talk(Talk::tcp(*thing, vendor, 443, at_ms, (octets, 1300)).lasting(600));
            }
        }
    }
    // A camera tells its vendor that it lives, without asking anybody.
    for camera in &network.cameras[..2] {
        let vendor = Outside::OwnTelemetry.device(28);
        for at_ms in day.by_clock(day.whole(), network.rarer * 3 * MINUTE_MS, 200) {
            let amounts = (Amount::of(1, 92), Amount::of(1, 68));
            day.traffic.talk(Talk::udp(*camera, vendor, 32_100, at_ms, amounts).from_port(32_100).lasting(160));
        }
    }
}
