//! Who is there: devices by MAC address, with what is known of each.

use std::collections::BTreeSet;

use hashbrown::HashMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::super::flow::{Flow, Ip, Mac};
use super::super::sketch::recent::Recent;
use super::kind::{Kind, kind};

/// Devices that are known at once.
pub(super) const DEVICES: usize = 1 << 16;

/// Inside IPv4 addresses that are known at once.
const ADDRESSES: usize = 1 << 18;

/// Makers that are known.
const MAKERS: usize = 4096;

/// Addresses that are kept of each device, those that were used last. IPv6 hosts have several, and new ones every day (RFC 8981).
const EACH: usize = 16;

/// More inside IPv4 addresses than a device has in a day: it sends for others.
const OF_ONE: usize = 8;

/// Outside networks (IPv4 addresses, IPv6 /64) from which on a MAC address is a router's. One or two are a device that came from another
/// network and still has its address from there, or an IPv6 address of a network that nobody has said to be inside.
const OUTSIDE: usize = 3;

const DAY_MS: i64 = 86_400_000;

/// A device that was seen for less than this is the first to be forgotten: a made-up one, as when a switch is flooded with addresses.
const FLEETING_MS: i64 = 60_000;

/// An address of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The address.
    pub ip: Ip,
    /// When the device was first seen with it, milliseconds since 1970 UTC.
    pub first_ms: i64,
    /// When last.
    pub last_ms: i64,
    /// When it was last compared with who else has it.
    #[serde(skip)]
    pub(super) followed_ms: i64,
}

/// What is known of a MAC address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// The address.
    pub mac: Mac,
    /// When it was first seen, milliseconds since 1970 UTC.
    pub first_ms: i64,
    /// When it was last seen.
    pub last_ms: i64,
    /// Where it was last seen, [`Flow::interface`].
    pub interface: u32,
    /// The VLAN of that, 0 without one.
    pub vlan: u16,
    /// Inside addresses that it used last, at most 16. Of a router, those that it had before it was known as one.
    pub addresses: Vec<Address>,
    /// Since when it is known as a router.
    pub router_since_ms: Option<i64>,
    /// Of a router, inside addresses that are its own: those from which it talks to hosts of the same /24 (IPv4).
    pub own: Vec<Ip>,
    /// Whether it was decided whether it is new.
    pub(super) is_met: bool,
    /// Whether it is known to be approved.
    #[serde(skip)]
    pub(super) is_approved: bool,
    /// When it was last said that it should not be here.
    pub(super) said_ms: Option<i64>,
    counted_from_ms: i64,
    inside: Vec<u32>,
    outside: Vec<u64>,
}

impl Device {
    fn new(flow: &Flow) -> Self {
        Self {
            mac: flow.source_mac,
            first_ms: flow.start_ms,
            last_ms: flow.end_ms,
            interface: flow.interface,
            vlan: flow.vlan,
            addresses: Vec::new(),
            router_since_ms: None,
            own: Vec::new(),
            is_met: false,
            is_approved: false,
            said_ms: None,
            counted_from_ms: flow.end_ms,
            inside: Vec::new(),
            outside: Vec::new(),
        }
    }

    /// Whether it sends packets of others.
    #[must_use]
    pub const fn is_router(&self) -> bool {
        self.router_since_ms.is_some() || matches!(kind(self.mac), Kind::Router(_))
    }

    /// Takes in where packets come from that it sends; returns whether the address is a new one of its own.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the lower half of an IPv4 address, the upper half of an IPv6 address"
    )]
    pub(super) fn note(&mut self, flow: &Flow, is_inside: bool) -> bool {
        self.first_ms = self.first_ms.min(flow.start_ms);
        self.last_ms = self.last_ms.max(flow.end_ms);
        (self.interface, self.vlan) = (flow.interface, flow.vlan);
        if flow.end_ms - self.counted_from_ms > DAY_MS {
            if self.inside.len() <= OF_ONE && self.outside.len() < OUTSIDE {
                // A day in which it sent for nobody but itself.
                self.router_since_ms = None;
            }
            self.counted_from_ms = flow.end_ms;
            self.inside.clear();
            self.outside.clear();
        }
        let ip = flow.source;
        if !is_inside {
            let network = if ip.is_v4() { u64::from(ip.0 as u32) } else { (ip.0 >> 64) as u64 };
            if self.outside.len() < OUTSIDE && !self.outside.contains(&network) {
                self.outside.push(network);
            }
        } else if ip.is_v4() && self.inside.len() <= OF_ONE && !self.inside.contains(&(ip.0 as u32)) {
            self.inside.push(ip.0 as u32);
        }
        if self.router_since_ms.is_none() && (self.inside.len() > OF_ONE || self.outside.len() >= OUTSIDE) {
            self.router_since_ms = Some(flow.end_ms);
        }
        is_inside && !self.is_router() && self.has_used(flow)
    }

    /// Whether the address of a flow, which [`Device::note`] has taken in, is to be compared with who else has it: twice a second, which is
    /// enough to see it change.
    pub(super) fn is_to_follow(&mut self, flow: &Flow) -> bool {
        const OFTEN_MS: i64 = 500;
        if self.is_router() {
            return true;
        }
        let Some(address) = self.addresses.iter_mut().find(|address| address.ip == flow.source) else { return true };
        let is_due = flow.end_ms - address.followed_ms >= OFTEN_MS;
        if is_due {
            address.followed_ms = flow.end_ms;
        }
        is_due
    }

    /// Whether the address is new.
    fn has_used(&mut self, flow: &Flow) -> bool {
        if let Some(known) = self.addresses.iter_mut().find(|address| address.ip == flow.source) {
            known.first_ms = known.first_ms.min(flow.start_ms);
            known.last_ms = known.last_ms.max(flow.end_ms);
            return false;
        }
        if self.addresses.len() >= EACH {
            let oldest = (0..EACH).min_by_key(|index| self.addresses[*index].last_ms).unwrap_or(0);
            self.addresses.swap_remove(oldest);
        }
        self.addresses.push(Address { ip: flow.source, first_ms: flow.start_ms, last_ms: flow.end_ms, followed_ms: 0 });
        true
    }
}

/// Devices, addresses and makers that were seen.
#[derive(Debug, Serialize, Deserialize)]
pub struct Inventory {
    /// When the first flow was seen.
    began_ms: Option<i64>,
    #[serde(serialize_with = "write", deserialize_with = "read")]
    devices: HashMap<Mac, Device>,
    /// Inside IPv4 addresses, with and without a MAC address.
    addresses: Recent<Ip, i64>,
    makers: BTreeSet<String>,
    forgotten: u64,
}

impl Default for Inventory {
    fn default() -> Self {
        Self {
            began_ms: None,
            devices: HashMap::new(),
            addresses: Recent::new(ADDRESSES),
            makers: BTreeSet::new(),
            forgotten: 0,
        }
    }
}

impl Inventory {
    /// All devices, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Device> {
        self.devices.values()
    }

    /// How many devices there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.devices.len()
    }

    /// Whether there are none yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.devices.is_empty()
    }

    /// A device.
    #[must_use]
    pub fn get(&self, mac: Mac) -> Option<&Device> {
        self.devices.get(&mac)
    }

    /// How many devices and addresses there was no room for any more.
    #[must_use]
    pub const fn forgotten(&self) -> u64 {
        self.forgotten + self.addresses.forgotten()
    }

    /// Entries in memory.
    pub(super) fn entries(&self) -> usize {
        self.devices.len() + self.addresses.len() + self.makers.len()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Device> {
        self.devices.values_mut()
    }

    /// Whether a MAC address is that of a router that was one in the learning time, or has been one for as long.
    pub(super) fn is_established(&self, mac: Mac, learning_ms: i64, now_ms: i64) -> bool {
        let since = self.devices.get(&mac).and_then(|device| device.router_since_ms);
        since.is_some_and(|since| since - self.began_ms.unwrap_or(since) < learning_ms || now_ms - since >= learning_ms)
    }

    /// It began so much later.
    pub(super) fn skip(&mut self, ms: i64) {
        self.began_ms = self.began_ms.map(|began_ms| began_ms + ms);
    }

    /// How long it has been going on; begins with the first call.
    pub(super) fn age_ms(&mut self, now_ms: i64) -> i64 {
        now_ms - *self.began_ms.get_or_insert(now_ms)
    }

    pub(super) fn get_mut(&mut self, mac: Mac) -> Option<&mut Device> {
        self.devices.get_mut(&mac)
    }

    /// Adds the device that sent this.
    pub(super) fn add(&mut self, flow: &Flow) -> &mut Device {
        if self.devices.len() >= DEVICES && !self.devices.contains_key(&flow.source_mac) {
            self.make_room();
        }
        self.devices.entry(flow.source_mac).or_insert_with(|| Device::new(flow))
    }

    /// Forgets an eighth: those that were seen for a moment only, the oldest first; then those that were not seen for longest.
    fn make_room(&mut self) {
        let mut all: Vec<(bool, i64, Mac)> = self
            .devices
            .values()
            .map(|device| (device.last_ms - device.first_ms >= FLEETING_MS, device.last_ms, device.mac))
            .collect();
        all.sort_unstable();
        for (_, _, mac) in all.iter().take(DEVICES / 8) {
            self.devices.remove(mac);
            self.forgotten += 1;
        }
    }

    /// Takes in an inside IPv4 address; whether it is new. When there are more than can be known, none is new.
    pub(super) fn add_address(&mut self, ip: Ip, now_ms: i64) -> bool {
        let mut is_new = false;
        *self.addresses.entry(ip, || {
            is_new = true;
            now_ms
        }) = now_ms;
        is_new && self.addresses.forgotten() == 0
    }

    /// Takes in a maker; whether it is the first device of it where others are known.
    pub(super) fn add_maker(&mut self, maker: &str) -> bool {
        if self.makers.contains(maker) || self.makers.len() >= MAKERS {
            return false;
        }
        let has_others = !self.makers.is_empty();
        self.makers.insert(maker.to_owned());
        has_others
    }
}

/// As a list, since not all formats have keys that are no text.
fn write<S: Serializer>(devices: &HashMap<Mac, Device>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(devices.values())
}

fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HashMap<Mac, Device>, D::Error> {
    let list = Vec::<Device>::deserialize(deserializer)?;
    Ok(list.into_iter().map(|device| (device.mac, device)).collect())
}
