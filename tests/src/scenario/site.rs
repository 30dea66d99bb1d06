//! The site that the scenarios are about: 200 hosts in 10.20.0.0/16 behind one router and one firewall, and whom they know outside.
//!
//! The exporter sits in the router and meters each packet once, where it comes in: with the MAC of whoever sent it there, and the router's
//! or a neighbour's. Servers that the internet may reach have addresses that the firewall translates one to one, so that what comes from
//! outside is addressed to them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fastrand::Rng;

/// MAC of the router, in all VLANs.
pub const ROUTER: [u8; 6] = [0x00, 0x1c, 0x73, 0x20, 0x00, 0x01];

/// MAC of the firewall, from which all comes that is not of the site.
pub const FIREWALL: [u8; 6] = [0x00, 0x1b, 0x17, 0x20, 0x00, 0x02];

/// Interface of the router to the firewall.
pub const UPLINK: u32 = 1;

const UPLINK_VLAN: u16 = 99;

/// Somebody with an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its address.
    pub ip: IpAddr,
    /// The source of its frames where they are metered.
    pub mac: [u8; 6],
    /// The VLAN of these frames.
    pub vlan: u16,
    /// The router's interface where they come in.
    pub interface: u32,
}

impl Device {
    /// Somebody on the internet.
    #[must_use]
    pub const fn outside(ip: Ipv4Addr) -> Self {
        Self { ip: IpAddr::V4(ip), mac: FIREWALL, vlan: UPLINK_VLAN, interface: UPLINK }
    }

    /// A group to which the device's frames go in its own VLAN, or all in it.
    #[must_use]
    pub const fn many(&self, group: Ipv4Addr) -> Self {
        let [a, b, c, d] = group.octets();
        let mac = if a == 255 || d == 255 { [0xff; 6] } else { [0x01, 0x00, 0x5e, b & 0x7f, c, d] };
        Self { ip: IpAddr::V4(group), mac, vlan: self.vlan, interface: self.interface }
    }

    /// The same device by its IPv6 address, which the router translates (RFC 6296) on the way out.
    #[must_use]
    pub fn v6(&self) -> Self {
        let IpAddr::V4(v4) = self.ip else { return *self };
        let [_, _, c, d] = v4.octets().map(u16::from);
        let ip = if self.is_outside() {
            let [high, low] = [v4.to_bits() >> 16, v4.to_bits() & 0xffff].map(|half| u16::try_from(half).unwrap_or(0));
            Ipv6Addr::new(0x2a00, 0x1450, 0x4001, 0, 0, 0, high, low)
        } else {
            Ipv6Addr::new(0xfd10, 0x20, 0, c, 0, 0, 0xff, 0x100 + d)
        };
        Self { ip: IpAddr::V6(ip), ..*self }
    }

    /// Whether it is on the internet.
    #[must_use]
    pub const fn is_outside(&self) -> bool {
        self.vlan == UPLINK_VLAN
    }

    /// The destination MAC of its frames to another.
    #[must_use]
    pub const fn next_hop(&self, other: &Self) -> [u8; 6] {
        if self.vlan == other.vlan { other.mac } else { ROUTER }
    }
}

/// Servers of the site, each with its last octet in 10.20.3.0/24 (or 10.20.4.0/24 where the internet may reach it).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Server {
    Directory,
    Files,
    MoreFiles,
    Mail,
    Backup,
    Updates,
    Monitor,
    Database,
    Application,
    OtherApplication,
    Resolver,
    Hypervisor,
    OtherHypervisor,
    Storage,
    Telephony,
    Recorder,
    Build,
    Web,
    MailRelay,
    Vpn,
}

impl Server {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::Directory,
        Self::Files,
        Self::MoreFiles,
        Self::Mail,
        Self::Backup,
        Self::Updates,
        Self::Monitor,
        Self::Database,
        Self::Application,
        Self::OtherApplication,
        Self::Resolver,
        Self::Hypervisor,
        Self::OtherHypervisor,
        Self::Storage,
        Self::Telephony,
        Self::Recorder,
        Self::Build,
        Self::Web,
        Self::MailRelay,
        Self::Vpn,
    ];
}

/// Who is on the site.
#[derive(Clone, Debug)]
pub struct Network {
    /// Computers of employees; the first is the administrator's.
    pub office: Vec<Device>,
    /// In the order of [`Server::ALL`].
    pub servers: Vec<Device>,
    /// Telephones and laptops of guests, mostly with random MACs.
    pub guests: Vec<Device>,
    /// Telephones on desks.
    pub phones: Vec<Device>,
    /// Cameras, which the recorder watches.
    pub cameras: Vec<Device>,
    /// Thermostats, screens and the like.
    pub things: Vec<Device>,
    /// Printers.
    pub printers: Vec<Device>,
    /// How many times rarer than on the whole site is what servers and things do by the clock.
    pub rarer: u64,
}

/// Vendors of computers, telephones and the like (first three octets).
const VENDORS: [[u8; 3]; 4] = [[0x8c, 0x04, 0xba], [0x3c, 0x52, 0x82], [0xf0, 0x18, 0x98], [0x54, 0xee, 0x75]];

fn host(random: &mut Rng, net: u8, last: u8, vlan: u16, interface: u32, vendor: [u8; 3]) -> Device {
    let [a, b, c] = vendor;
    let mac = [a, b, c, random.u8(..), random.u8(..), last];
    Device { ip: IpAddr::V4(Ipv4Addr::new(10, 20, net, last)), mac, vlan, interface }
}

impl Network {
    /// A site with so many computers of employees (at most 250), guests (at most 200), phones, cameras and things.
    fn new([office, guests, phones, cameras, things]: [u8; 5], rarer: u64, seed: u64) -> Self {
        let random = &mut Rng::with_seed(seed ^ 0x0005_173e);
        let vendor = |random: &mut Rng| VENDORS[random.usize(0..VENDORS.len())];
        let desk = |random: &mut Rng, number: u8, vendor: [u8; 3]| {
            let half = number % 2;
            host(random, 1 + half, 10 + number / 2, 10 + u16::from(half), 2, vendor)
        };
        let vlan = |random: &mut Rng, net: u8, count: u8, interface: u32, vendor: [u8; 3]| -> Vec<Device> {
            (0..count).map(|number| host(random, net, 10 + number, u16::from(net) * 10, interface, vendor)).collect()
        };
        let mut servers = vlan(random, 3, 20, 3, [0x00, 0x50, 0x56]);
        for (server, last) in servers[17..].iter_mut().zip(10..) {
            *server = host(random, 4, last, 40, 3, [0x00, 0x50, 0x56]);
        }
        let guest = |random: &mut Rng, number: u8| {
            let own = host(random, 10, 10 + number, 100, 4, VENDORS[2]);
            let [_, b, c, d, e, f] = own.mac;
            // Two of three make up a MAC for each network.
            if number.is_multiple_of(3) {
                own
            } else {
                Device { mac: [random.u8(..) & 0xfc | 2, b, c, d, e, f], ..own }
            }
        };
        Self {
            office: (0..office)
                .map(|number| {
                    let vendor = vendor(random);
                    desk(random, number, vendor)
                })
                .collect(),
            servers,
            guests: (0..guests).map(|number| guest(random, number)).collect(),
            phones: vlan(random, 20, phones, 5, [0x80, 0x5e, 0xc0]),
            cameras: vlan(random, 21, cameras, 5, [0x44, 0x19, 0xb6]),
            things: vlan(random, 22, things, 5, [0x24, 0x0a, 0xc4]),
            printers: (0..4).map(|number| host(random, 1, 200 + number, 10, 2, [0x00, 0x17, 0xc8])).collect(),
            rarer,
        }
    }

    /// All 200 hosts.
    #[must_use]
    pub fn whole(seed: u64) -> Self {
        Self::new([115, 30, 15, 8, 8], 1, seed)
    }

    /// A quarter of the people, for scenarios over weeks.
    #[must_use]
    pub fn small(seed: u64) -> Self {
        Self::new([28, 8, 5, 2, 5], 6, seed)
    }

    /// One of the servers.
    #[must_use]
    pub fn server(&self, server: Server) -> Device {
        self.servers[server as usize]
    }

    /// Everybody.
    pub fn hosts(&self) -> impl Iterator<Item = &Device> {
        [&self.office, &self.servers, &self.guests, &self.phones, &self.cameras, &self.things, &self.printers]
            .into_iter()
            .flatten()
    }
}

/// Kinds of servers on the internet. Each has addresses of its own, which are the same on all days and for all seeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Outside {
    Sites,
    Networks,
    DeadAds,
    Telemetry,
    OwnTelemetry,
    Updates,
    Meetings,
    Films,
    CloudFiles,
    Push,
    Clocks,
    NameServers,
    MailServers,
    CloudStorage,
    Telephony,
    Visitors,
    Noise,
    Swarm,
    HomeUsers,
    Rented,
}

impl Outside {
    /// The first two octets, how many networks of 256 there are, and how many addresses are used.
    const fn block(self) -> (u8, u8, u32) {
        match self {
            Self::Sites => (151, 101, 900),
            Self::Networks => (104, 18, 240),
            Self::DeadAds => (64, 74, 14),
            Self::Telemetry => (20, 42, 12),
            Self::OwnTelemetry => (35, 190, 30),
            Self::Updates => (23, 55, 24),
            Self::Meetings => (52, 112, 40),
            Self::Films => (45, 57, 30),
            Self::CloudFiles => (162, 125, 12),
            Self::Push => (17, 57, 16),
            Self::Clocks => (129, 6, 8),
            Self::NameServers => (205, 251, 260),
            Self::MailServers => (40, 107, 60),
            Self::CloudStorage => (52, 219, 4),
            Self::Telephony => (54, 172, 2),
            Self::Visitors => (86, 128, 420),
            Self::Noise => (71, 6, 330),
            Self::Swarm => (93, 34, 900),
            Self::HomeUsers => (79, 204, 9),
            Self::Rented => (116, 203, 5),
        }
    }

    /// How many there are.
    #[must_use]
    pub const fn count(self) -> u32 {
        self.block().2
    }

    /// Whether they all belong to one provider, whose addresses lie together.
    const fn is_of_one_provider(self) -> bool {
        use Outside as O;
        matches!(
            self,
            O::Telemetry | O::Updates | O::Meetings | O::CloudFiles | O::Push | O::CloudStorage | O::Telephony
        )
    }

    /// One by number. They lie scattered over the block, unless they are of one provider.
    #[must_use]
    pub fn device(self, number: u32) -> Device {
        let (a, b, count) = self.block();
        if self.is_of_one_provider() {
            let [.., last] = (number % count).to_be_bytes();
            return Device::outside(Ipv4Addr::new(a, b, 144 + last % 2, 10 + last * 3));
        }
        let [_, _, c, d] = (number % count).wrapping_mul(40_503).to_be_bytes();
        Device::outside(Ipv4Addr::new(a, b, c, d.max(1)))
    }

    /// Any.
    pub fn any(self, random: &mut Rng) -> Device {
        self.device(random.u32(0..self.count()))
    }

    /// Any; the first ones are far more popular.
    pub fn popular(self, random: &mut Rng) -> Device {
        let spread = f64::from(self.count()).powf(random.f64());
        self.device(u32::try_from(super::record::whole(spread)).unwrap_or(0).saturating_sub(1))
    }
}
