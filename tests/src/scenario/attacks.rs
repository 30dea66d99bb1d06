//! What should be found, each use case at several strengths, hidden in ordinary days, with labels that say what it is.
//!
//! Several attacks share a day, each with hosts of its own or at a time of its own, so that none explains another.

mod beacons;
mod configured;
mod devices;
mod floods;
mod lateral;
mod scans;
mod theft;
mod volumes;

use std::net::{IpAddr, Ipv4Addr};

use super::ordinary::{DAY_MS, HOUR_MS, Kind, MINUTE_MS, MONDAY_MS, day, in_order, tolerances};
use super::record::{Record, Traffic};
use super::score::{Label, Tolerance};
use super::site::{Device, Network, Server};
pub use configured::{INDICATORS, SETTINGS};

/// An ordinary day, or weeks of them, with attacks in it, or none.
#[derive(Clone, Debug)]
pub struct LabelledDay {
    /// What it is.
    pub name: String,
    /// In the order of their export.
    pub records: Vec<Record>,
    /// What should be found.
    pub labels: Vec<Label>,
    /// What may be found.
    pub tolerances: Vec<Tolerance>,
    /// Findings that end before this time, milliseconds since 1970 UTC, do not count: until then it is learned what is usual.
    pub counts_from_ms: u64,
    /// Whether it takes [`SETTINGS`] to find what is in it: policies, indicators, the speeds of interfaces.
    pub configured: bool,
}

/// An ordinary day of a kind, in which there is nothing to find.
#[must_use]
pub fn ordinary_day(kind: Kind, seed: u64) -> LabelledDay {
    let network = Network::whole(seed);
    LabelledDay {
        name: format!("an ordinary day ({kind:?})"),
        records: day(&network, kind.day(), seed),
        labels: Vec::new(),
        tolerances: tolerances(&network),
        counts_from_ms: 0,
        configured: false,
    }
}

/// Which attacks are on a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Floods, and amplification.
    Floods,
    /// Of ports and hosts, and lateral movement.
    Scans,
    /// Exfiltration and tunnels.
    Theft,
    /// Beacons, and connections that do not end.
    Beacons,
    /// Breaches of policies, matches of indicators.
    Configured,
    /// What takes two weeks to know better: new devices, changed MACs, volumes, capacity, administration that is new.
    Weeks,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Floods, Self::Scans, Self::Theft, Self::Beacons, Self::Configured, Self::Weeks];

    /// A day with these attacks, on a day of this kind.
    #[must_use]
    pub fn day(self, kind: Kind, seed: u64) -> LabelledDay {
        let weeks = self == Self::Weeks;
        let network = if weeks { Network::small(seed) } else { Network::whole(seed) };
        let number = kind.day() + if weeks { 14 } else { 0 };
        let first = if weeks { 0 } else { number };
        let mut records: Vec<Record> = (first..=number).flat_map(|number| day(&network, number, seed)).collect();
        let mut stage = Stage {
            network: &network,
            start_ms: MONDAY_MS + number * DAY_MS,
            traffic: Traffic::new(seed ^ 0xa77a_c4ed),
            labels: Vec::new(),
        };
        match self {
            Self::Floods => floods::stage(&mut stage),
            Self::Scans => {
                scans::ports(&mut stage);
                scans::hosts(&mut stage);
                lateral::stage(&mut stage);
            }
            Self::Theft => {
                theft::uploads(&mut stage);
                theft::tunnels(&mut stage);
            }
            Self::Beacons => beacons::stage(&mut stage),
            Self::Configured => configured::stage(&mut stage),
            Self::Weeks => {
                devices::stage(&mut stage, &mut records);
                volumes::stage(&mut stage, number);
                lateral::after_weeks(&mut stage);
                theft::after_weeks(&mut stage);
            }
        }
        let Stage { traffic, labels, .. } = stage;
        records.extend(traffic.records);
        in_order(&mut records);
        LabelledDay {
            name: format!("{self:?} ({kind:?})"),
            records,
            labels,
            tolerances: tolerances(&network),
            counts_from_ms: if weeks { MONDAY_MS + 14 * DAY_MS } else { 0 },
            configured: matches!(self, Self::Configured | Self::Weeks),
        }
    }
}

/// A day on which attacks are put.
struct Stage<'a> {
    network: &'a Network,
    start_ms: u64,
    traffic: Traffic,
    labels: Vec<Label>,
}

impl Stage<'_> {
    /// The moment so many hours and minutes into the day.
    const fn at(&self, hours: u64, minutes: u64) -> u64 {
        self.start_ms + hours * HOUR_MS + minutes * MINUTE_MS
    }

    /// An employee's computer, counted from the end, where no ordinary habit goes by number.
    fn office(&self, number: usize) -> Device {
        self.network.office[self.network.office.len() - 1 - number]
    }

    fn server(&self, server: Server) -> Device {
        self.network.server(server)
    }

    /// A label for what goes on from `begin_ms` to `end_ms`.
    fn label(
        &mut self,
        name: &str,
        rules: &[&'static str],
        subjects: &[Device],
        time: (u64, u64),
        within_ms: u64,
    ) -> &mut Label {
        let number = self.labels.len();
        self.labels.push(Label {
            name: name.to_owned(),
            rules: rules.to_vec(),
            also: Vec::new(),
            subjects: subjects.iter().map(|device| device.ip.to_string()).collect(),
            peers: Vec::new(),
            begin_ms: time.0,
            end_ms: time.1,
            within_ms,
        });
        &mut self.labels[number]
    }
}

/// A stranger with bad intentions, in a network of its own.
fn attacker(number: u8) -> Device {
    Device::outside(Ipv4Addr::new(185, 220, number, 101))
}

/// Addresses of many strangers, or made up.
fn strangers(traffic: &mut Traffic, count: usize) -> Vec<Device> {
    let nets = [24, 41, 58, 78, 91, 112, 121, 177, 187, 201];
    let mut stranger = || {
        let [a, b, c] = [0; 3].map(|_| traffic.random.u8(1..255));
        Device::outside(Ipv4Addr::new(traffic.random.choice(nets).unwrap_or(24), a, b, c))
    };
    (0..count).map(|_| stranger()).collect()
}

/// An inside address at which there is nobody.
fn nobody(net: u8, last: u8, like: Device) -> Device {
    Device { ip: IpAddr::V4(Ipv4Addr::new(10, 20, net, last)), ..like }
}
