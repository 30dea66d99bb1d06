//! What people do: pages, films, calls, files in a cloud, messages that are pushed, BitTorrent.

use std::net::IpAddr;

use super::{Day, HOUR_MS, Kind, MINUTE_MS, TORRENTS, Window};
use crate::scenario::record::{Amount, Ending, Talk, heavy};
use crate::scenario::site::{Device, Network, Outside, Server};

/// Pages, by employees all through their hours and by guests, with what they are made of.
pub(super) fn browse(day: &mut Day<'_>) {
    let office = day.network.office.clone();
    for (number, person) in office.into_iter().enumerate() {
        for window in day.at_work[number].clone() {
            for at_ms in day.by_chance(window, 9 * MINUTE_MS) {
                page(day, person, at_ms, number % 9 == 2);
            }
        }
    }
    let guests = day.network.guests.clone();
    for (number, person) in guests.into_iter().enumerate() {
        for at_ms in day.by_chance(day.visits[number], 5 * MINUTE_MS) {
            page(day, person, at_ms, number % 7 == 1);
        }
    }
}

/// A page and what it fetches. With broken IPv6, each server is tried by it first.
fn page(day: &mut Day<'_>, person: Device, at_ms: u64, broken_v6: bool) {
    let resolver = day.network.server(Server::Resolver);
    let servers = 1 + heavy(&mut day.traffic.random, 3, 1.8).min(20);
    for number in 0..servers {
        let at_ms = at_ms + number * day.traffic.random.u64(20..400);
        let kind = if number == 0 { Outside::Sites } else { Outside::Networks };
        let server = kind.popular(&mut day.traffic.random);
        if day.chance(50) {
            query(day, person, resolver, at_ms);
        }
        if broken_v6 && day.chance(40) {
            let tries = day.traffic.random.u64(1..=2);
            day.traffic.unanswered(person.v6(), server.v6(), 443, at_ms + 10, tries);
        }
        let random = &mut day.traffic.random;
        let content = (heavy(random, 1800, 1.9), heavy(random, 28_000, 5.0).min(400_000_000));
        // Most of the time nothing is said until one side gives up.
        let lasts = content.1 / 900 + heavy(random, 5000, 3.0).min(230_000);
        let ending = if random.u8(0..100) < 25 { Ending::Reset } else { Ending::Done };
        let quic = random.u8(0..100) < 40;
        let talk = Talk::tcp(person, server, 443, at_ms + 30, content).lasting(lasts).ending(ending);
        day.traffic.talk(if quic { Talk { protocol: 17, ending: Ending::Open, ..talk } } else { talk });
    }
    if day.chance(22) {
        let dead = Outside::DeadAds.popular(&mut day.traffic.random);
        for number in 0..day.traffic.random.u64(1..=3) {
            day.traffic.unanswered(person, dead, 443, at_ms + 300 + number * 250, 4);
        }
    }
    if day.chance(2) {
        let closed = Outside::Sites.any(&mut day.traffic.random);
        day.traffic.refused(person, closed, 443, at_ms + 700);
    }
}

/// A question to the resolver, twice as a rule (A and AAAA), which asks outside what it does not know.
pub(super) fn query(day: &mut Day<'_>, person: Device, resolver: Device, at_ms: u64) {
    let random = &mut day.traffic.random;
    let name = random.u64(56..90);
    let answer = name + heavy(random, 90, 1.9).min(1100);
    let asks = random.u64(1..=2);
    let talk = Talk::udp(person, resolver, 53, at_ms, (Amount::of(asks, name), Amount::of(asks, answer)));
    let takes = day.traffic.random.u64(1..90);
    day.traffic.talk(talk.lasting(takes));
    if day.chance(28) {
        let random = &mut day.traffic.random;
        let server = Outside::NameServers.popular(random);
        let lost = random.u8(0..100) < 3;
        let received = if lost { Amount::default() } else { Amount::of(1, answer + random.u64(0..300)) };
        let lasts = random.u64(5..80);
        day.traffic
            .talk(Talk::udp(resolver, server, 53, at_ms + 1, (Amount::of(1, name + 11), received)).lasting(lasts));
    }
}

/// Films and music, by guests and around lunch.
pub(super) fn watch(day: &mut Day<'_>) {
    let mut viewers: Vec<(Device, Window)> = Vec::new();
    for (number, guest) in day.network.guests.clone().into_iter().enumerate() {
        if number % 3 == 0 {
            viewers.push((guest, day.visits[number]));
        }
    }
    for (number, person) in day.network.office.clone().into_iter().enumerate() {
        if let [_, (back, _)] = day.at_work[number][..]
            && number % 6 == 0
        {
            viewers.push((person, (back - 40 * MINUTE_MS, back)));
        }
    }
    for (viewer, (from, to)) in viewers {
        let server = Outside::Films.any(&mut day.traffic.random);
        let lasts = to.saturating_sub(from).min(2 * HOUR_MS);
        if lasts == 0 {
            continue;
        }
        // 3 to 8 Mbit/s.
        let octets = lasts * day.traffic.random.u64(375..1000);
        let talk = Talk::tcp(viewer, server, 443, from, (octets / 400, octets)).lasting(lasts);
        let quic = day.chance(50);
        day.traffic.talk(if quic { Talk { protocol: 17, ..talk } } else { talk });
    }
}

/// Video calls: an hour of symmetric UDP to a relay for each that takes part, and sometimes straight to each other.
pub(super) fn meet(day: &mut Day<'_>) {
    let calls = match day.kind {
        Kind::Weekend => 1,
        _ => day.network.office.len() / 3,
    };
    for _ in 0..calls {
        let half = day.traffic.random.u64(0..2);
        let start_ms = day.at(if half == 0 { 9 } else { 13 }, 0) + day.traffic.random.u64(0..10) * 15 * MINUTE_MS;
        let lasts = day.traffic.random.u64(15..95) * MINUTE_MS;
        let relay = Outside::Meetings.any(&mut day.traffic.random);
        for _ in 0..day.traffic.random.u8(1..=4) {
            let number = day.traffic.random.usize(0..day.network.office.len());
            let is_there = day.at_work[number].iter().any(|(from, to)| *from <= start_ms && start_ms < *to);
            if is_there || day.kind == Kind::Weekend {
                let (person, off) = (day.network.office[number], day.traffic.random.u64(0..90_000));
                call(day, person, relay, start_ms + off, lasts);
            }
        }
    }
}

fn call(day: &mut Day<'_>, person: Device, relay: Device, start_ms: u64, lasts_ms: u64) {
    let random = &mut day.traffic.random;
    // Sound alone, or 0.6 to 2.4 Mbit/s each way.
    let rate = if random.u8(0..100) < 30 { 11 } else { random.u64(75..300) };
    let each = if rate == 11 { 220 } else { 1100 };
    let sent = Amount::of(lasts_ms * rate / each, each);
    let received = Amount::of(lasts_ms * rate * random.u64(60..200) / 100 / each, each);
    let port = random.u16(3478..=3481);
    let from = 50_000 + random.u16(0..60);
    let talk = Talk::udp(person, relay, port, start_ms, (sent, received)).lasting(lasts_ms);
    day.traffic.talk(talk.from_port(from));
    day.traffic.talk(Talk::tcp(person, relay, 443, start_ms, (lasts_ms / 30, lasts_ms / 20)).lasting(lasts_ms));
}

const fn has_file_store(number: usize) -> bool {
    number % 4 == 1
}

/// Those who have files in a cloud.
pub(super) fn with_file_stores(network: &Network) -> Vec<IpAddr> {
    let office = network.office.iter().enumerate().filter(|(number, _)| has_file_store(*number));
    office.map(|(_, person)| person.ip).collect()
}

/// Files that go to a cloud as they change: many small exchanges, and uploads of up to hundreds of megabytes by several.
pub(super) fn synchronise(day: &mut Day<'_>) {
    for (number, person) in day.network.office.clone().into_iter().enumerate() {
        if !has_file_store(number) {
            continue;
        }
        for window in day.at_work[number].clone() {
            for at_ms in day.by_chance(window, 25 * MINUTE_MS) {
                let server = Outside::CloudFiles.popular(&mut day.traffic.random);
                let octets = heavy(&mut day.traffic.random, 400_000, 6.0).min(700_000_000);
                let up = day.chance(55);
                let content = if up { (octets, 6000) } else { (5000, octets) };
                // 20 Mbit/s and less.
                let lasts = octets / day.traffic.random.u64(300..2500) + 400;
                day.traffic.talk(Talk::tcp(person, server, 443, at_ms, content).lasting(lasts));
            }
        }
        // Somebody has made a film, or tidies up.
        if let Some(&(from, _)) = day.at_work[number].last()
            && number % 20 == 5
        {
            let server = Outside::CloudFiles.popular(&mut day.traffic.random);
            for part in 0..day.traffic.random.u64(8..24) {
                let at_ms = from + part * 50_000;
                day.traffic.talk(Talk::tcp(person, server, 443, at_ms, (33_000_000, 9000)).lasting(45_000));
            }
        }
    }
}

/// Connections that stay open so that something can be pushed; a word every few minutes keeps them alive.
pub(super) fn keep_in_touch(day: &mut Day<'_>) {
    let mut clients: Vec<(Device, Window)> = day.network.office.iter().copied().zip(day.on.iter().copied()).collect();
    clients.extend(day.network.guests.iter().copied().zip(day.visits.iter().copied()));
    for (number, (client, (from, to))) in clients.into_iter().enumerate() {
        let services = if number % 3 == 0 { 2 } else { 1 };
        for service in 0..services {
            let server = Outside::Push.popular(&mut day.traffic.random);
            let minutes = [9, 15, 28][(number + service) % 3];
            let lasts = to.saturating_sub(from);
            let words = lasts / (minutes * MINUTE_MS);
            if words < 2 {
                continue;
            }
            let port = if number % 2 == 0 { 5223 } else { 443 };
            let talk = Talk::tcp(client, server, port, from + 5000, (900, 4000));
            day.traffic.talk(talk);
            let amounts = (Amount::of(words, 85), Amount::of(words, 79));
            let rest = Talk { sent: amounts.0, received: amounts.1, ..talk };
            day.traffic.talk(rest.lasting(lasts - MINUTE_MS).part(false));
        }
    }
}

/// A guest's BitTorrent: hundreds of peers on all ports, half of which are gone, and a share in the upload.
pub(super) fn share_torrents(day: &mut Day<'_>) {
    let (guest, window) = (day.network.guests[TORRENTS], day.visits[TORRENTS]);
    for at_ms in day.by_chance(window, 12_000) {
        let peer = Outside::Swarm.any(&mut day.traffic.random);
        let port = if day.chance(30) { 6881 } else { day.traffic.random.u16(1025..65_000) };
        match day.traffic.random.u8(0..100) {
            // Distributed hash table.
            0..40 => {
                let answer = if day.chance(55) { Amount::of(1, 330) } else { Amount::default() };
                day.traffic.talk(Talk::udp(guest, peer, port, at_ms, (Amount::of(1, 145), answer)).from_port(51_413));
            }
            40..70 => day.traffic.unanswered(guest, peer, port, at_ms, 3),
            70..80 => day.traffic.refused(guest, peer, port, at_ms),
            80..88 => {
                day.traffic.talk(Talk::udp(peer, guest, 51_413, at_ms, (Amount::of(1, 145), Amount::of(1, 330))));
            }
            _ => {
                let random = &mut day.traffic.random;
                let content =
                    (heavy(random, 900_000, 4.0).min(60_000_000), heavy(random, 5_000_000, 4.0).min(300_000_000));
                let lasts = random.u64(20_000..900_000);
                day.traffic.talk(Talk::tcp(guest, peer, port, at_ms, content).lasting(lasts));
            }
        }
    }
}
