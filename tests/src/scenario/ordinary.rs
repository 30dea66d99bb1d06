//! Ordinary days of a site of 200 hosts: nothing in them should be found, or nothing worse than the truth that they tell.
//!
//! They hold what makes detectors cry wolf on real networks: advertisement servers that do not answer, IPv6 that does not work, programs
//! that ask for updates by the clock, long calls, uploads to file stores, backups by night, a monitoring server that asks everybody, an
//! administrator who is everywhere, neighbours that share updates, a guest with BitTorrent, and the noise of the internet.

mod people;
mod services;
mod upkeep;
mod visitors;

use std::net::IpAddr;

use super::record::{Record, Traffic, whole};
use super::score::{Severity, Tolerance};
use super::site::{Network, Outside, Server};

/// Milliseconds of a minute.
pub const MINUTE_MS: u64 = 60_000;

/// Milliseconds of an hour.
pub const HOUR_MS: u64 = 60 * MINUTE_MS;

/// Milliseconds of a day.
pub const DAY_MS: u64 = 24 * HOUR_MS;

/// 9 March 2026, a Monday, 00:00 UTC, which is the site's time.
pub const MONDAY_MS: u64 = 1_773_014_400_000;

/// What kind of day it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// People work.
    Weekday,
    /// Hardly anybody is there.
    Weekend,
    /// People work, and computers update themselves; at night everything is backed up in full.
    Patches,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Weekday, Self::Weekend, Self::Patches];

    /// The kind of a day, counted from [`MONDAY_MS`]: Wednesdays are for patches.
    #[must_use]
    pub const fn of_day(number: u64) -> Self {
        match number % 7 {
            2 => Self::Patches,
            5 | 6 => Self::Weekend,
            _ => Self::Weekday,
        }
    }

    /// A day of this kind, counted from [`MONDAY_MS`].
    #[must_use]
    pub const fn day(self) -> u64 {
        match self {
            Self::Weekday => 1,
            Self::Patches => 2,
            Self::Weekend => 5,
        }
    }
}

/// A span of time, milliseconds since 1970 UTC.
pub(crate) type Window = (u64, u64);

/// A day in the making.
pub(crate) struct Day<'a> {
    pub(crate) network: &'a Network,
    pub(crate) kind: Kind,
    pub(crate) start_ms: u64,
    pub(crate) traffic: Traffic,
    /// When each employee sits at the computer.
    pub(crate) at_work: Vec<Vec<Window>>,
    /// When each employee's computer is on.
    pub(crate) on: Vec<Window>,
    /// When each guest is there.
    pub(crate) visits: Vec<Window>,
}

impl<'a> Day<'a> {
    fn new(network: &'a Network, number: u64, seed: u64) -> Self {
        let start_ms = MONDAY_MS + number * DAY_MS;
        let mut traffic = Traffic::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number);
        let kind = Kind::of_day(number);
        let (mut at_work, mut on, mut visits) = (Vec::new(), Vec::new(), Vec::new());
        for _ in &network.office {
            let windows = working_hours(&mut traffic, kind, start_ms);
            let stays_on = traffic.random.u8(0..100) < if kind == Kind::Weekend { 6 } else { 12 };
            let whole_day = (start_ms, start_ms + DAY_MS - 1);
            let span = match (windows.first(), windows.last()) {
                (Some(first), Some(last)) if !stays_on => (first.0 - 2 * MINUTE_MS, last.1),
                _ if stays_on => whole_day,
                _ => (start_ms, start_ms),
            };
            on.push(span);
            at_work.push(windows);
        }
        for _ in &network.guests {
            let comes = start_ms + traffic.random.u64(8 * HOUR_MS..16 * HOUR_MS);
            let stays = traffic.random.u64(HOUR_MS..6 * HOUR_MS);
            let there = kind != Kind::Weekend || traffic.random.u8(0..100) < 15;
            visits.push(if there { (comes, comes + stays) } else { (start_ms, start_ms) });
        }
        Self { network, kind, start_ms, traffic, at_work, on, visits }
    }

    /// The moment so many hours and minutes into the day.
    pub(crate) const fn at(&self, hours: u64, minutes: u64) -> u64 {
        self.start_ms + hours * HOUR_MS + minutes * MINUTE_MS
    }

    /// All of it.
    pub(crate) const fn whole(&self) -> Window {
        (self.start_ms, self.start_ms + DAY_MS - 1)
    }

    /// Moments in a window, as chance has them, on average so far apart.
    pub(crate) fn by_chance(&mut self, window: Window, mean_ms: u64) -> Vec<u64> {
        let (mut moments, mut at_ms) = (Vec::new(), window.0);
        loop {
            #[expect(clippy::cast_precision_loss, reason = "a mean")]
            let gap = -(1.0 - self.traffic.random.f64()).ln() * mean_ms as f64;
            at_ms += whole(gap).max(1);
            if at_ms >= window.1 {
                return moments;
            }
            moments.push(at_ms);
        }
    }

    /// Moments in a window by a clock that is off by up to so many milliseconds each time.
    pub(crate) fn by_clock(&mut self, window: Window, interval_ms: u64, off_ms: u64) -> Vec<u64> {
        let first = window.0 + self.traffic.random.u64(0..interval_ms);
        let mut moments = Vec::new();
        let mut at_ms = first;
        while at_ms < window.1 {
            moments.push(at_ms + self.traffic.random.u64(0..=off_ms));
            at_ms += interval_ms;
        }
        moments
    }

    /// Whether something of so many in a hundred happens.
    pub(crate) fn chance(&mut self, percent: u8) -> bool {
        self.traffic.random.u8(0..100) < percent
    }
}

/// When an employee works: from the morning until a lunch break, and from there to the evening.
fn working_hours(traffic: &mut Traffic, kind: Kind, start_ms: u64) -> Vec<Window> {
    let mut minute = |from: u64, to: u64| start_ms + traffic.random.u64(from..to) * MINUTE_MS;
    if kind == Kind::Weekend {
        let comes = minute(9 * 60, 15 * 60);
        return if minute(0, 100) < start_ms + 8 * MINUTE_MS { vec![(comes, comes + 3 * HOUR_MS)] } else { Vec::new() };
    }
    // One in fourteen is not there.
    if minute(0, 14) == start_ms {
        return Vec::new();
    }
    let (comes, lunch) = (minute(7 * 60 + 10, 9 * 60 + 40), minute(11 * 60 + 40, 12 * 60 + 40));
    let back = lunch + minute(25, 65) - start_ms;
    vec![(comes, lunch), (back, minute(16 * 60, 18 * 60 + 50))]
}

/// The records of a day, counted from [`MONDAY_MS`], in the order of their export.
#[must_use]
pub fn day(network: &Network, number: u64, seed: u64) -> Vec<Record> {
    let mut day = Day::new(network, number, seed);
    people::browse(&mut day);
    people::watch(&mut day);
    people::meet(&mut day);
    people::synchronise(&mut day);
    people::keep_in_touch(&mut day);
    people::share_torrents(&mut day);
    services::resolve(&mut day);
    services::mail(&mut day);
    services::share_files(&mut day);
    services::log_on(&mut day);
    services::telephone(&mut day);
    services::watch_over(&mut day);
    services::applications(&mut day);
    services::lease(&mut day);
    services::multicast(&mut day);
    upkeep::telemetry(&mut day);
    upkeep::clocks(&mut day);
    upkeep::updates(&mut day);
    upkeep::backups(&mut day);
    upkeep::administer(&mut day);
    upkeep::things(&mut day);
    visitors::noise(&mut day);
    visitors::website(&mut day);
    visitors::home_office(&mut day);
    let mut records = day.traffic.records;
    in_order(&mut records);
    records
}

/// Sorts records as an exporter tells of them.
pub fn in_order(records: &mut [Record]) {
    records.sort_by_key(|record| (record.export_ms, record.end_ms));
}

/// Findings that tell the truth about an ordinary day without being an alarm.
#[must_use]
pub fn tolerances(network: &Network) -> Vec<Tolerance> {
    let addresses = |outside: Outside| (0..outside.count()).map(|number| outside.device(number).ip).collect::<Vec<_>>();
    let server = |server: Server| network.server(server).ip;
    let tolerate = |rules: &[&'static str], subjects: Vec<IpAddr>, at_most: Severity, why: &'static str| Tolerance {
        rules: rules.to_vec(),
        subjects: subjects.iter().map(ToString::to_string).collect(),
        at_most,
        why,
    };
    let scans = ["probes", "port-scan", "host-scan"];
    let attacked = [Server::Web, Server::MailRelay, Server::Vpn].map(server).to_vec();
    let guests: Vec<IpAddr> = network.guests.iter().map(|guest| guest.ip).collect();
    let mut new =
        tolerate(&["new-device", "address-conflict", "device-maker"], guests, Severity::Low, "guests come and go");
    new.subjects.extend(network.guests.iter().map(|guest| mac_text(guest.mac)));
    vec![
        tolerate(&scans, addresses(Outside::Noise), Severity::Low, "the noise of the internet"),
        tolerate(&scans, visitors::scanners(), Severity::Medium, "search engines of ports ask for all of them"),
        tolerate(&scans, attacked, Severity::Low, "the noise of the internet"),
        tolerate(
            &scans,
            vec![network.guests[TORRENTS].ip],
            Severity::Low,
            "BitTorrent knocks at many doors, and others at its",
        ),
        tolerate(
            &["long-lived-connection"],
            vec![network.office[DEVELOPER].ip],
            Severity::Low,
            "SSH to a rented server all day",
        ),
        tolerate(
            &["long-lived-connection"],
            [&network.phones[..], &network.cameras, &network.things].concat().iter().map(|device| device.ip).collect(),
            Severity::Low,
            "telephones and things stay connected to their vendors",
        ),
        tolerate(
            &["long-lived-connection", "exfiltration"],
            vec![server(Server::Vpn)],
            Severity::Low,
            "a branch office and employees at home",
        ),
        tolerate(
            &["exfiltration"],
            vec![server(Server::Build)],
            Severity::Low,
            "copies to a server that only it knows, which is new where nothing was learned",
        ),
        tolerate(
            &["exfiltration"],
            people::with_file_stores(network),
            Severity::Low,
            "uploads of hundreds of megabytes to file stores",
        ),
        tolerate(
            &["beacon"],
            upkeep::with_programs_of_their_own(network),
            Severity::Low,
            "programs that only one host has, by the clock: nothing but time tells them from what should not be there",
        ),
        tolerate(
            &["lateral-movement", "host-scan"],
            vec![network.office[ADMINISTRATOR].ip, server(Server::Build)],
            Severity::Medium,
            "administration, which is new for it where nothing was learned",
        ),
        new,
    ]
}

/// The text of a MAC address.
#[must_use]
pub fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|octet| format!("{octet:02x}")).join(":")
}

/// The administrator's computer among those of the office.
pub const ADMINISTRATOR: usize = 0;

/// The computer of a developer, who works on a rented server.
pub const DEVELOPER: usize = 7;

/// The guest with BitTorrent.
pub const TORRENTS: usize = 4;
