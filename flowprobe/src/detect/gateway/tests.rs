//! Gateways: which are found, how loudly, and which are not.

use std::net::IpAddr;

use super::*;
use crate::detect::site::Site;

const DAY_MS: i64 = 86_400_000;
const USUAL: Mac = Mac([0, 0x1b, 0x21, 0, 0, 0xfe]);
const OTHER: Mac = Mac([0, 0x1b, 0x21, 0, 0, 0xfd]);

fn ip(text: &str) -> Ip {
    text.parse::<IpAddr>().expect("an address").into()
}

fn host(number: u8) -> (Mac, Ip) {
    (Mac([0, 0x1b, 0x21, 1, 0, number]), IpAddr::from([10, 0, 0, number]).into())
}

/// A host hands a packet to an outside address to a next hop.
fn out(number: u8, hop: Mac, network: u8, at_ms: i64) -> Flow {
    let (source_mac, source) = host(number);
    Flow {
        source,
        destination: IpAddr::from([8, 8, network, 8]).into(),
        source_mac,
        destination_mac: hop,
        source_port: 50_000,
        destination_port: 443,
        protocol: protocol::TCP,
        packets: 1,
        octets: 80,
        start_ms: at_ms,
        end_ms: at_ms,
        interface: 1,
        ..Flow::default()
    }
}

fn advertisement(mac: Mac, source: &str, at_ms: i64) -> Flow {
    Flow {
        source: ip(source),
        destination: ip("ff02::1"),
        source_mac: mac,
        destination_mac: Mac([0x33, 0x33, 0, 0, 0, 1]),
        source_port: 0,
        destination_port: u16::from(ADVERTISEMENT) << 8,
        protocol: protocol::ICMPV6,
        ..out(1, USUAL, 1, at_ms)
    }
}

fn all(gateways: &mut Gateways, flows: impl IntoIterator<Item = Flow>) -> Seen {
    let (site, mut seen) = (Site::private_and([]), Seen::new());
    for flow in flows {
        gateways.flow(&flow, Context { site: &site, now_ms: flow.end_ms }, &mut seen);
    }
    seen
}

fn with(settings: &str) -> Gateways {
    Gateways::new(serde_json::from_str(settings).expect("settings"), GatewayState::default())
}

/// After a day in which twenty hosts, and the other one, used the usual gateway.
fn learned() -> Gateways {
    let mut gateways = with("{}");
    let flows = (0..24_u8).flat_map(|hour| {
        (1..=20).map(move |number| out(number, USUAL, hour, i64::from(hour) * 3_600_000 + i64::from(number)))
    });
    assert!(all(&mut gateways, flows).is_empty());
    gateways
}

#[test]
fn a_gateway_that_nobody_knows_is_found_with_the_third_network() {
    let mut gateways = learned();
    assert!(all(&mut gateways, [out(1, OTHER, 1, 2 * DAY_MS), out(1, OTHER, 2, 2 * DAY_MS)]).is_empty());
    let seen = all(&mut gateways, [out(1, OTHER, 3, 2 * DAY_MS)]);
    assert_eq!((seen.len(), seen[0].severity), (1, Severity::Medium));
    assert_eq!(seen[0].title, "An unexpected gateway: 00:1b:21:00:00:fd");
    let text = &seen[0].explanation;
    assert!(text.starts_with("Packets of 1 address to 3 outside networks were handed to 00:1b:21:00:00:fd"), "{text}");
    assert!(text.ends_with("Usual here, and not in use now: 00:1b:21:00:00:fe."), "{text}");
    let seen = all(&mut gateways, (0..250).map(|n| out(2, OTHER, n, 2 * DAY_MS + i64::from(n))));
    assert_eq!(seen.len(), 6, "when it has doubled");
    // It stays for a day: it belongs here, unless the settings say otherwise.
    assert!(all(&mut gateways, (0..9).map(|n| out(2, OTHER, n, 3 * DAY_MS + 1000))).is_empty());
}

#[test]
fn a_client_that_becomes_the_gateway_while_that_is_there_is_high() {
    let mut gateways = learned();
    let (attacker, _) = host(7);
    let forwarded = |n: u8, at_ms| Flow { source_mac: attacker, ..out(n, USUAL, n, at_ms) };
    let flows = (1..=6).flat_map(|n| {
        let at_ms = 2 * DAY_MS + i64::from(n) * 10;
        [out(n, attacker, n, at_ms), forwarded(n, at_ms + 1)]
    });
    let seen = all(&mut gateways, flows);
    assert_eq!(seen[0].severity, Severity::High);
    assert!(seen[0].explanation.contains("It was a client of the gateway until now"), "{}", seen[0].explanation);
    // When the usual gateway is gone, it stands in for it.
    let seen = all(&mut learned(), (1..=6).map(|n| out(n, attacker, n, 2 * DAY_MS)));
    assert_eq!(seen[0].severity, Severity::Medium);
}

#[test]
fn a_list_counts_from_the_first_moment_on() {
    let mut gateways = with(r#"{"gateways": ["00:1b:21:00:00:FE"]}"#);
    assert!(all(&mut gateways, (0..9).map(|n| out(1, USUAL, n, 0))).is_empty());
    assert_eq!(all(&mut gateways, (0..3).map(|n| out(1, OTHER, n, 0))).len(), 1);
    assert!(!all(&mut gateways, (0..3).map(|n| out(1, OTHER, n, 9 * DAY_MS))).is_empty());
    let error = serde_json::from_str::<GatewaySettings>(r#"{"gateways": ["10.0.0.1"]}"#).expect_err("no settings");
    assert!(error.to_string().starts_with("\"10.0.0.1\" is not a MAC address such as"), "{error}");
}

#[test]
fn several_gateways_virtual_ones_and_other_networks_are_calm() {
    let mut gateways = learned();
    let glbp = |forwarder| Mac([0, 7, 0xb4, 0, 1, forwarder]);
    let both = |vlan: u16, one: Mac, other: Mac, at_ms: i64| {
        (0..50).map(move |n| Flow { vlan, ..out(n, if n % 2 == 0 { one } else { other }, n, at_ms) })
    };
    assert!(all(&mut gateways, both(20, USUAL, OTHER, 0).chain(both(20, USUAL, OTHER, 5 * DAY_MS))).is_empty());
    // A network that comes later learns for itself.
    assert!(all(&mut gateways, both(30, OTHER, OTHER, 6 * DAY_MS)).is_empty());
    // Another forwarder of a balanced gateway.
    assert!(all(&mut gateways, both(40, glbp(1), glbp(2), 0).chain(both(40, glbp(1), glbp(3), 5 * DAY_MS))).is_empty());
    // A new virtual router.
    let vrrp = Mac([0, 0, 0x5e, 0, 1, 7]);
    let seen = all(&mut gateways, (0..3).map(|n| out(1, vrrp, n, 2 * DAY_MS)));
    assert_eq!((seen.len(), seen[0].severity), (1, Severity::Low));
}

#[test]
fn what_goes_to_no_gateway_is_nothing() {
    let mut gateways = learned();
    let many =
        |change: fn(Flow) -> Flow| (0..50).map(move |n| change(out(n, OTHER, n, 2 * DAY_MS))).collect::<Vec<_>>();
    for flows in [
        many(|flow| Flow {
            destination: IpAddr::from([10, 0, 1, flow.destination.0.to_be_bytes()[14]]).into(),
            ..flow
        }),
        many(|flow| Flow { destination: ip("224.0.0.251"), ..flow }),
        many(|flow| Flow { destination: ip("255.255.255.255"), destination_mac: Mac([0xff; 6]), ..flow }),
        many(|flow| Flow { destination_mac: Mac::default(), ..flow }),
        many(|flow| Flow { source: ip("9.9.9.9"), ..flow }),
        many(|flow| Flow { source: ip("169.254.7.7"), ..flow }),
        // One public address that is on the same link.
        many(|flow| Flow { destination: ip("203.0.113.7"), ..flow }),
        // Neighbour solicitation of public addresses on the same link.
        many(|flow| Flow {
            source: ip("fe80::1"),
            destination: Ip(ip("2001:db8::1").0 + (flow.destination.0 << 64)),
            protocol: protocol::ICMPV6,
            destination_port: 135 << 8,
            ..flow
        }),
    ] {
        assert!(all(&mut gateways, flows.clone()).is_empty(), "{:?}", flows[0]);
    }
}

#[test]
fn routers_that_advertise_themselves_are_found() {
    let mut gateways = learned();
    assert!(all(&mut gateways, (0..9).map(|n| advertisement(USUAL, "fe80::1", 3000 + n))).is_empty());
    assert!(all(&mut gateways, [advertisement(USUAL, "fe80::1", 3 * DAY_MS)]).is_empty());
    let seen = all(&mut gateways, (0..100).map(|n| advertisement(OTHER, "fe80::66", 3 * DAY_MS + n)));
    assert_eq!((seen.len(), seen[0].severity, seen[0].rule.name), (7, Severity::Medium, "unexpected-ipv6-router"));
    assert_eq!(
        seen[0].explanation,
        "00:1b:21:00:00:fd sent 1 router advertisement from fe80::66, which hosts take as their gateway and name server. Usual \
         here: 00:1b:21:00:00:fe."
    );
    // Without MAC addresses, by address.
    let seen = all(&mut gateways, [advertisement(Mac::default(), "fe80::67", 3 * DAY_MS)]);
    assert_eq!(seen[0].subject, Subject::Host(ip("fe80::67")));
}

#[test]
fn memory_is_bounded_and_survives() {
    let mut gateways = learned();
    let flows = (0..200_000_u32).map(|n| {
        let [_, a, b, c] = n.to_be_bytes();
        let mac = Mac([0, 0x50, 1, a, b, c]);
        Flow {
            source_mac: mac,
            destination_mac: if n % 2 == 0 { mac } else { USUAL },
            vlan: c.into(),
            ..out(1, USUAL, c, 2 * DAY_MS)
        }
    });
    all(&mut gateways, flows);
    assert!(gateways.memory().0 <= SEGMENTS + CLIENTS && gateways.memory().1 > 0);
    let text = serde_json::to_string(learned().state()).expect("text");
    let mut again = Gateways::new(GatewaySettings::default(), serde_json::from_str(&text).expect("a state"));
    assert!(all(&mut again, (0..9).map(|n| out(1, USUAL, n, 2 * DAY_MS))).is_empty());
    assert_eq!(all(&mut again, (0..3).map(|n| out(1, host(7).0, n, 2 * DAY_MS + 1)))[0].severity, Severity::High);
}
