//! Devices: who is found, how loudly, and who is not.

use std::net::IpAddr;

use super::many::DAY_MS;
use super::*;
use crate::detect::site::Site;

const LAN: u32 = 1;
const START_MS: i64 = 1_700_000_000_000;

struct Known;

impl Makers for Known {
    fn maker(&self, mac: Mac) -> Option<Arc<str>> {
        match mac.0[..3] {
            [0, 0x1b, 0x21] => Some("Intel Corporate".into()),
            [0, 0x17, 0x88] => Some("Philips Lighting BV".into()),
            _ => None,
        }
    }
}

fn ip(text: &str) -> Ip {
    text.parse::<IpAddr>().expect("an address").into()
}

fn v4(number: u32) -> Ip {
    Ip(0xffff_0000_0000 + u128::from(number))
}

/// A card of Intel.
fn card(number: u32) -> Mac {
    let [_, a, b, c] = number.to_be_bytes();
    Mac([0, 0x1b, 0x21, a, b, c])
}

fn random(number: u32) -> Mac {
    let [a, b, c, d] = number.to_be_bytes();
    Mac([0xda, 0x10, a, b, c, d])
}

const ROUTER: Mac = Mac([0, 0x1b, 0x21, 0xff, 0xff, 0xff]);

fn flow(mac: Mac, source: Ip, at_ms: i64) -> Flow {
    Flow {
        source,
        destination: ip("8.8.8.8"),
        source_mac: mac,
        destination_mac: ROUTER,
        protocol: protocol::UDP,
        packets: 1,
        octets: 80,
        start_ms: START_MS + at_ms,
        end_ms: START_MS + at_ms,
        interface: LAN,
        ..Flow::default()
    }
}

/// Detector with ten devices and a router, all of them learned.
struct Run {
    devices: Devices,
    site: Site,
}

impl Run {
    fn new(settings: &str, approvals: Option<&str>) -> Self {
        let settings = serde_json::from_str(settings).expect("settings");
        let approvals = approvals.map(|text| Approvals::parse(text).expect("approvals"));
        let devices = Devices::new(settings, (approvals, Handed::default()), Box::new(Known), DeviceState::default());
        Self { devices, site: Site::private_and([]) }
    }

    fn learned(settings: &str, approvals: Option<&str>) -> Self {
        let mut run = Self::new(settings, approvals);
        for number in 1..=10 {
            assert!(run.take(&flow(card(number), v4(0x0a00_0000 + number), 1000)).is_empty());
        }
        for outside in 1..=3 {
            run.take(&flow(ROUTER, v4(0x0101_0100 + outside), 2000));
        }
        // The router answers a device from its own address.
        run.take(&Flow {
            destination: ip("10.0.0.1"),
            destination_mac: card(1),
            ..flow(ROUTER, ip("10.0.0.254"), 3000)
        });
        run
    }

    fn take(&mut self, flow: &Flow) -> Seen {
        let mut seen = Seen::new();
        self.devices.flow(flow, Context { site: &self.site, now_ms: flow.end_ms }, &mut seen);
        seen
    }

    fn all(&mut self, flows: impl IntoIterator<Item = Flow>) -> Seen {
        flows.into_iter().flat_map(|flow| self.take(&flow)).collect()
    }

    fn answered(&mut self, client: Ip, at_ms: i64) -> Seen {
        let mut connections = crate::detect::connection::Connections::new(10);
        let mut seen = Seen::new();
        let now_ms = START_MS + at_ms;
        let request = Flow { source_port: 50_000, destination_port: 53, ..flow(Mac::default(), client, at_ms) };
        let answer = Flow {
            source: request.destination,
            destination: client,
            source_port: 53,
            destination_port: 50_000,
            destination_mac: Mac::default(),
            ..request
        };
        let Self { devices, site } = self;
        let mut tell = |connection: &Connection, step| {
            if let crate::detect::connection::Step::Judged(outcome) = step {
                devices.judged(connection, outcome, Context { site, now_ms }, &mut seen);
            }
        };
        connections.take(&request, now_ms, &mut tell);
        connections.take(&answer, now_ms, &mut tell);
        connections.finish(&mut tell);
        seen
    }
}

fn said(seen: &Seen) -> Vec<(&'static str, Severity)> {
    seen.iter().map(|sighting| (sighting.rule.name, sighting.severity)).collect()
}

#[test]
fn a_new_device_is_found_with_its_first_packet() {
    let mut run = Run::learned("{}", None);
    let seen = run.take(&flow(card(99), ip("10.0.0.99"), 2 * DAY_MS));
    assert_eq!(said(&seen), [("new-device", Severity::Medium)]);
    assert_eq!(seen[0].title, "A new device: 00:1b:21:00:00:63 (10.0.0.99, Intel Corporate)");
    assert!(seen[0].explanation.contains("11 others are known"), "{}", seen[0].explanation);
    assert_eq!(said(&run.take(&flow(card(99), ip("10.0.0.98"), 2 * DAY_MS + 1))), []);
    // Before it has an address.
    assert_eq!(said(&run.take(&flow(card(98), ip("0.0.0.0"), 2 * DAY_MS))), [("new-device", Severity::Medium)]);
    assert_eq!(said(&run.take(&flow(card(98), ip("10.0.0.98"), 2 * DAY_MS))), []);
}

#[test]
fn known_devices_and_changing_addresses_are_calm() {
    let mut run = Run::learned("{}", None);
    let days = (2..60).flat_map(|day| {
        (1..=10).flat_map(move |number| {
            let at_ms = day * DAY_MS + i64::from(number) * 60_000;
            // Another address each day, by DHCP and by RFC 8981.
            let lease = 0x0a00_0100 + u32::try_from(day).expect("a day") * 10 % 64 + number;
            let privacy = Ip(0xfd00 << 112 | u128::from(number) << 32 | u128::try_from(day).expect("a day"));
            [flow(card(number), v4(lease), at_ms), flow(card(number), privacy, at_ms + 1)]
        })
    });
    assert_eq!(said(&run.all(days)), []);
    let device = run.devices.state().inventory.get(card(3)).expect("a device");
    assert_eq!((device.addresses.len(), device.is_router()), (16, false));
    assert_eq!(run.devices.state().inventory.len(), 11);
}

#[test]
fn a_monday_full_of_new_devices_is_not_a_hundred_findings() {
    let mut run = Run::learned("{}", None);
    let flows = (100..400).map(|number| flow(card(number), v4(0x0a00_1000 + number), 3 * DAY_MS + i64::from(number)));
    let seen = run.all(flows);
    let count = |severity| seen.iter().filter(|sighting| sighting.severity == severity).count();
    assert_eq!((count(Severity::Medium), count(Severity::High)), (RARE, 0));
    let subjects: std::collections::BTreeSet<_> = seen.iter().map(|sighting| &sighting.subject).collect();
    assert_eq!((subjects.len(), seen.len()), (SINGLE + 1, SINGLE + 9));
    assert!(seen.last().expect("one").title.starts_with("256 more new devices"), "{}", seen.last().expect("one").title);
}

#[test]
fn random_addresses_are_one_soft_finding_a_day_and_virtual_machines_are_soft() {
    let mut run = Run::learned("{}", None);
    let seen = run.all((0..64).map(|number| flow(random(number), v4(0x0a00_1000 + number), 2 * DAY_MS)));
    assert!(seen.len() == 7 && seen.iter().all(|sighting| sighting.severity == Severity::Low), "{:?}", said(&seen));
    assert!(seen.iter().all(|sighting| sighting.subject == seen[0].subject && sighting.matter == "random"));
    assert_eq!(run.all((100..101).map(|number| flow(random(number), ip("10.0.0.9"), 3 * DAY_MS + 2))).len(), 1);
    let machine = Mac([0x52, 0x54, 0, 1, 2, 3]);
    let seen = run.take(&flow(machine, ip("10.0.0.77"), 2 * DAY_MS));
    assert_eq!(said(&seen), [("new-device", Severity::Low)]);
    assert!(seen[0].title.contains("virtual, QEMU"));
    let mut each = Run::learned(r#"{"random-macs": "each"}"#, None);
    assert_eq!(said(&each.take(&flow(random(1), ip("10.0.0.77"), 2 * DAY_MS))), [("new-device", Severity::Medium)]);
    // Virtual routers are no devices.
    assert_eq!(said(&each.take(&flow(Mac([0, 0, 0x5e, 0, 1, 9]), ip("10.0.0.254"), 2 * DAY_MS))), []);
}

#[test]
fn who_is_not_in_the_file_is_found_at_once() {
    let file = "00:1b:21:00:00:01 desk\n10.0.0.2 printer\n";
    let mut run = Run::new("{}", Some(file));
    assert_eq!(said(&run.take(&flow(card(1), ip("10.0.0.50"), 0))), []);
    // Approved by its address, which is not known from the first packet on.
    assert_eq!(said(&run.take(&flow(card(2), ip("0.0.0.0"), 0))), []);
    assert_eq!(said(&run.take(&flow(card(2), ip("fe80::2"), 0))), []);
    assert_eq!(said(&run.take(&flow(card(2), ip("10.0.0.2"), 1000))), []);
    assert_eq!(said(&run.take(&flow(card(2), ip("fe80::2"), DAY_MS))), []);
    let seen = run.take(&flow(card(3), ip("10.0.0.3"), 1000));
    assert_eq!(said(&seen), [("unauthorised-device", Severity::Medium)]);
    assert_eq!(seen[0].title, "An unauthorised device: 00:1b:21:00:00:03 (10.0.0.3, Intel Corporate)");
    assert_eq!(said(&run.take(&flow(card(3), ip("10.0.0.3"), 2000))), []);
    assert_eq!(run.take(&flow(card(3), ip("10.0.0.3"), 1000 + AGAIN_MS)).len(), 1, "it is still there");
    // One that never gets an address.
    assert_eq!(said(&run.take(&flow(card(4), ip("fe80::4"), 0))), []);
    assert_eq!(run.take(&flow(card(4), ip("fe80::4"), NAMELESS_MS)).len(), 1);
    assert_eq!(said(&run.take(&flow(random(1), ip("10.0.0.9"), 1000))), [("unauthorised-device", Severity::Low)]);
    // The file has changed.
    run.devices.approve(Approvals::parse("00:1b:21:00:00:03").expect("approvals"));
    assert_eq!(said(&run.take(&flow(card(3), ip("10.0.0.3"), DAY_MS))), []);
    assert_eq!(run.take(&flow(card(1), ip("10.0.0.50"), DAY_MS)).len(), 1);
}

#[test]
fn addresses_without_macs_are_known_too() {
    let mut run = Run::new("{}", None);
    assert_eq!(said(&run.answered(ip("10.0.0.1"), 0)), []);
    assert_eq!(said(&run.answered(ip("10.0.0.1"), 2 * DAY_MS)), []);
    assert_eq!(said(&run.answered(ip("10.0.0.2"), 2 * DAY_MS)), [("new-device", Severity::Low)]);
    for calm in ["10.0.0.2", "fd00::7", "fe80::7", "169.254.1.1", "8.8.4.4"] {
        assert_eq!(said(&run.answered(ip(calm), 2 * DAY_MS)), [], "{calm}");
    }
    let seen: Seen = (0..1000).flat_map(|number| run.answered(v4(0x0a01_0000 + number), 2 * DAY_MS)).collect();
    assert!(seen.len() < 16, "{}", seen.len());
    let mut run = Run::new("{}", Some("10.0.0.1\n"));
    assert_eq!(said(&run.answered(ip("10.0.0.1"), 0)), []);
    assert_eq!(said(&run.answered(ip("10.0.0.2"), 0)), [("unauthorised-device", Severity::Medium)]);
    assert_eq!(said(&run.answered(ip("10.0.0.2"), 1)), []);
    // By MAC addresses alone nobody is told apart here.
    assert_eq!(said(&Run::new("{}", Some("00:1b:21:00:00:01")).answered(ip("10.0.0.2"), 0)), []);
}

#[test]
fn makers_out_of_place_are_found() {
    let lamp = Mac([0, 0x17, 0x88, 0, 0, 1]);
    let mut run = Run::learned("{}", None);
    let seen = run.take(&flow(lamp, ip("10.0.0.60"), 2 * DAY_MS));
    assert_eq!(said(&seen), [("device-maker", Severity::Low), ("new-device", Severity::Medium)]);
    let another = Mac([0, 0x17, 0x88, 0, 0, 2]);
    assert_eq!(said(&run.take(&flow(another, ip("10.0.0.61"), 2 * DAY_MS))), [("new-device", Severity::Medium)]);
    let mut run = Run::learned(r#"{"makers": ["intel", "HP"]}"#, None);
    let seen = run.take(&flow(lamp, ip("10.0.0.60"), 5000));
    assert_eq!(said(&seen), [("device-maker", Severity::Medium)]);
    assert!(seen[0].explanation.ends_with("is made by Philips Lighting BV; devices here are to be of intel, HP."));
}

/// Frames of an address by two cards in turn.
fn alternating(address: &str, one: Mac, other: Mac, at_ms: i64, count: i64) -> Vec<Flow> {
    let mac = |turn| if turn % 2 == 0 { one } else { other };
    (0..count).map(|turn| flow(mac(turn), ip(address), at_ms + turn * 500)).collect()
}

#[test]
fn an_address_of_two_cards_at_once_is_found() {
    let worst = |seen: &Seen| seen.iter().map(|sighting| sighting.severity).max();
    let mut run = Run::learned("{}", None);
    // It moves once: good to know. It goes back and forth: somebody should look.
    let seen = run.all(alternating("10.0.0.1", card(1), card(2), 2 * DAY_MS, 2));
    assert_eq!(said(&seen), [("address-conflict", Severity::Low)]);
    // After a silence it may be another's; one that comes back to it had it all the time.
    let moved = [(6, 0), (8, 60_000), (6, 660_000)].map(|(n, at_ms)| flow(card(n), ip("10.0.0.6"), 2 * DAY_MS + at_ms));
    assert_eq!(said(&run.all(moved[..2].to_vec())), []);
    assert_eq!(said(&run.take(&moved[2])), [("address-conflict", Severity::Low)]);
    let seen = run.all(alternating("10.0.0.3", card(3), card(4), 2 * DAY_MS, 40));
    assert_eq!(worst(&seen), Some(Severity::Medium));
    assert_eq!(seen.len(), 7, "1, 2, 3, 4, 8, 16 and 32 changes");
    let text = &seen.last().expect("one").explanation;
    assert!(text.contains("changed between them 32 times in 16 s") && text.contains("00:1b:21:00:00:03"), "{text}");
    // The router's.
    let own = |mac, at_ms| Flow {
        destination: ip("10.0.0.1"),
        destination_mac: card(1),
        ..flow(mac, ip("10.0.0.254"), at_ms)
    };
    run.take(&own(ROUTER, 3 * DAY_MS));
    let seen = run.take(&own(card(5), 3 * DAY_MS + 500));
    assert_eq!(said(&seen), [("address-conflict", Severity::Medium)]);
    let seen = run.all((2..8).map(|turn| own(if turn % 2 == 0 { ROUTER } else { card(5) }, 3 * DAY_MS + turn * 500)));
    assert_eq!(worst(&seen), Some(Severity::High));
    assert!(seen.last().expect("one").explanation.starts_with("The address of a router, 10.0.0.254, was"));
}

#[test]
fn who_forwards_for_many_while_they_are_there_is_found() {
    let mut run = Run::learned("{}", None);
    // Card 7 has come between the others and the router, and hands on what all of them send and get.
    let attack = (0..60).flat_map(|second| {
        let at_ms = 2 * DAY_MS + second * 1000;
        let victims = (1..=6).flat_map(move |n| {
            [flow(card(n), v4(0x0a00_0000 + n), at_ms), flow(card(7), v4(0x0a00_0000 + n), at_ms + 1)]
        });
        let answers = (1..=5).map(move |n| flow(card(7), v4(0x0808_0800 + n), at_ms + 2));
        victims.chain(answers)
    });
    let seen = run.all(attack);
    let subjects: std::collections::BTreeSet<_> = seen
        .iter()
        .filter(|sighting| sighting.severity == Severity::Medium)
        .map(|sighting| &sighting.subject)
        .collect();
    assert_eq!(subjects.len(), 6);
}

#[test]
fn ordinary_changes_of_cards_are_calm() {
    let mut run = Run::learned("{}", None);
    // A lease that another device gets, after an hour.
    let seen =
        run.all([flow(card(1), ip("10.0.0.1"), 2 * DAY_MS), flow(card(2), ip("10.0.0.1"), 2 * DAY_MS + 3_600_000)]);
    assert_eq!(said(&seen), []);
    // Packets on their way through the router, seen on both sides, and by another exporter.
    let routed = (0..50).flat_map(|n| {
        let direct = flow(card(3), ip("10.0.0.3"), 3 * DAY_MS + n * 100);
        [direct, Flow { source_mac: ROUTER, ..direct }, Flow { source_mac: card(4), interface: 2, ..direct }]
    });
    assert_eq!(said(&run.all(routed)), []);
    // Virtual routers.
    let virtual_router = Mac([0, 0, 0x5e, 0, 1, 1]);
    assert_eq!(said(&run.all(alternating("10.0.0.254", virtual_router, card(5), 3 * DAY_MS, 40))), []);
    // Records that come late.
    let late = [flow(card(6), ip("10.0.0.6"), 5 * DAY_MS), flow(card(6), ip("10.0.0.6"), 5 * DAY_MS - 10)];
    assert_eq!(said(&run.all(late)), []);
    // A team of cards that was one in the learning time.
    let mut run = Run::new("{}", None);
    run.all(alternating("10.0.0.20", card(20), card(21), 0, 10));
    assert_eq!(said(&run.all(alternating("10.0.0.20", card(20), card(21), 2 * DAY_MS, 40))), []);
}

#[test]
fn made_up_sources_are_no_devices() {
    let mut run = Run::learned("{}", None);
    let before = run.devices.state().inventory.len();
    // From outside through the router; inside addresses through it; both from one device.
    let flows = (0..65_536).flat_map(|n| {
        let (outside, inside) = (v4(0x0b00_0000 + n * 977), v4(0x0a05_0000 + n));
        let at_ms = 2 * DAY_MS + i64::from(n) / 10;
        [
            flow(ROUTER, outside, at_ms),
            flow(ROUTER, inside, at_ms),
            flow(card(1), outside, at_ms),
            flow(card(1), inside, at_ms),
        ]
    });
    assert_eq!(said(&run.all(flows)), []);
    let inventory = &run.devices.state().inventory;
    assert_eq!(inventory.len(), before);
    assert!(inventory.iter().all(|device| device.addresses.len() <= 16));
    assert!(inventory.entries() < 100, "{}", inventory.entries());
    assert!(run.devices.memory().0 < 200, "{}", run.devices.memory().0);
    // After a day as a host among others it is no router any more.
    for day in [4, 6, 8] {
        run.take(&flow(card(1), ip("10.0.0.1"), day * DAY_MS));
    }
    assert!(!run.devices.state().inventory.get(card(1)).expect("a device").is_router());
}

#[test]
fn a_flood_of_made_up_cards_does_not_push_out_those_that_are_known() {
    let mut run = Run::learned("{}", None);
    for number in 1..=10 {
        run.take(&flow(card(number), v4(0x0a00_0000 + number), DAY_MS));
    }
    let seen = run
        .all((0..100_000).map(|n| flow(card(1000 + n), v4(0x0a01_0000 + n % 60_000), 2 * DAY_MS + i64::from(n) / 100)));
    assert!(seen.len() < 80, "{}", seen.len());
    let inventory = &run.devices.state().inventory;
    assert!(inventory.len() <= inventory::DEVICES && inventory.forgotten() > 0);
    assert!((1..=10).all(|number| inventory.get(card(number)).is_some()));
}

#[test]
fn what_was_learned_survives_a_restart() {
    let mut run = Run::learned("{}", None);
    run.all(alternating("10.0.0.20", card(1), card(2), 10_000, 10));
    let text = serde_json::to_string(run.devices.state()).expect("text");
    let state: DeviceState = serde_json::from_str(&text).expect("a state");
    let mut run = Run {
        devices: Devices::new(DeviceSettings::default(), (None, Handed::default()), Box::new(()), state),
        site: Site::private_and([]),
    };
    assert_eq!(run.devices.state().inventory.len(), 11);
    assert_eq!(said(&run.take(&flow(card(5), ip("10.0.0.5"), 2 * DAY_MS))), []);
    assert_eq!(said(&run.all(alternating("10.0.0.20", card(1), card(2), 2 * DAY_MS, 10))), []);
    assert_eq!(said(&run.take(&flow(card(55), ip("10.0.0.55"), 2 * DAY_MS))), [("new-device", Severity::Medium)]);
}
