//! Devices that were never there before, addresses that move, servers of leases and gateways that nobody has asked for.

use std::net::{IpAddr, Ipv4Addr};

use super::Stage;
use crate::scenario::ordinary::{HOUR_MS, MINUTE_MS, mac_text};
use crate::scenario::record::{Amount, Record, Talk, protocol};
use crate::scenario::site::{Device, Outside, ROUTER, Server};

/// Within which time it is said: records of short flows come after 15 s, those of long ones after a minute.
const SOON_MS: u64 = 2 * MINUTE_MS;

pub(super) fn stage(stage: &mut Stage<'_>, records: &mut [Record]) {
    arrive(stage);
    move_addresses(stage, records);
    lease(stage);
    lead_astray(stage, records);
}

fn arrive(stage: &mut Stage<'_>) {
    let rules = ["new-device", "unauthorised-device", "device-maker"];
    let desk = stage.network.office[0];
    let device =
        |like: Device, net: u8, last: u8, mac| Device { ip: Ipv4Addr::new(10, 20, net, last).into(), mac, ..like };
    for (name, device, hours) in [
        ("new device, a small board at a desk", device(desk, 1, 250, [0xb8, 0x27, 0xeb, 0x44, 0x01, 0x9a]), 14),
        (
            "new device, among the servers by night",
            device(stage.server(Server::Files), 3, 201, [0x00, 0xe0, 0x4c, 0x68, 0x00, 0x33]),
            3,
        ),
    ] {
        let (at_ms, resolver) = (stage.at(hours, 7), stage.server(Server::Resolver));
        for number in 0..12 {
            let at_ms = at_ms + number * 20_000;
            let site = Outside::Sites.popular(&mut stage.traffic.random);
            stage.traffic.talk(Talk::udp(device, resolver, 53, at_ms, (Amount::of(1, 70), Amount::of(1, 150))));
            stage.traffic.talk(Talk::tcp(device, site, 443, at_ms + 60, (900, 20_000)).lasting(900));
        }
        let label = stage.label(name, &rules, &[device], (at_ms, at_ms + 4 * MINUTE_MS), SOON_MS);
        label.subjects.push(mac_text(device.mac));
    }
}

/// Frames of an address come from another card: from one moment on, or for minutes in which somebody listens in.
fn move_addresses(stage: &mut Stage<'_>, records: &mut [Record]) {
    let spy = stage.office(5);
    for (name, victim, mac, hours, lasts_ms) in [
        (
            "address moved, a printer to another maker's card",
            stage.network.printers[0],
            [0x00, 0x0c, 0x29, 0x77, 0x1b, 0x02],
            13,
            10 * HOUR_MS,
        ),
        (
            "address moved, a server's for 10 min to a desk's card",
            stage.server(Server::Monitor),
            spy.mac,
            15,
            10 * MINUTE_MS,
        ),
    ] {
        let at_ms = stage.at(hours, 0);
        for record in records.iter_mut().filter(|record| record.source == victim.ip) {
            if (at_ms..at_ms + lasts_ms).contains(&record.start_ms) {
                record.source_mac = mac;
            }
        }
        // One that comes after half a minute of silence is known when it goes back.
        let within_ms = if lasts_ms > HOUR_MS { 90 * MINUTE_MS } else { lasts_ms + 90_000 };
        let label = stage.label(
            name,
            &["address-conflict", "new-device", "device-maker"],
            &[victim],
            (at_ms, at_ms + lasts_ms),
            within_ms,
        );
        label.subjects.extend([mac, victim.mac].map(mac_text));
        label.also = vec!["unauthorised-device"];
    }
}

/// Offers of leases by somebody else.
fn lease(stage: &mut Stage<'_>) {
    for (name, server, hours, offers) in [
        ("rogue DHCP server, a desk's, 12 offers", stage.office(4), 10, 12),
        ("rogue DHCP server, a guest's, 1 offer", stage.network.guests[5], 16, 1),
    ] {
        let at_ms = stage.at(hours, 30);
        for number in 0..offers {
            let at_ms = at_ms + number * 120_000;
            let everybody = server.many(Ipv4Addr::BROADCAST);
            stage.traffic.packets(
                (server, everybody),
                (67, 68),
                (protocol::UDP, 0),
                Amount::of(2, 328),
                (at_ms, at_ms + 40),
            );
        }
        let label = stage.label(name, &["rogue-dhcp"], &[server], (at_ms, at_ms + offers * 120_000), SOON_MS);
        label.subjects.push(mac_text(server.mac));
    }
}

/// Frames to the internet go to a neighbour's card instead of the router's.
fn lead_astray(stage: &mut Stage<'_>, records: &mut [Record]) {
    for (name, rogue, victims, hours, lasts_ms) in [
        ("unexpected gateway, for ten hosts for 2 h", stage.office(6), 10, 10, 2 * HOUR_MS),
        ("unexpected gateway, for one host for 20 min", stage.office(7), 1, 14, 20 * MINUTE_MS),
    ] {
        let at_ms = stage.at(hours, 0);
        let vlan = rogue.vlan;
        let led: Vec<IpAddr> = {
            let neighbours = stage.network.office.iter().filter(|host| host.vlan == vlan && host.ip != rogue.ip);
            neighbours.skip(if victims == 1 { 11 } else { 0 }).take(victims).map(|host| host.ip).collect()
        };
        for record in records.iter_mut().filter(|record| record.destination_mac == ROUTER) {
            if (at_ms..at_ms + lasts_ms).contains(&record.start_ms) && led.contains(&record.source) {
                record.destination_mac = rogue.mac;
            }
        }
        // Somebody is there in any case.
        let host = stage.network.office.iter().find(|host| host.ip == led[0]).copied().unwrap_or(rogue);
        let before = stage.traffic.records.len();
        for number in 0..lasts_ms / (2 * MINUTE_MS) {
            let site = Outside::Sites.popular(&mut stage.traffic.random);
            let at_ms = at_ms + number * 2 * MINUTE_MS;
            stage.traffic.talk(Talk::tcp(host, site, 443, at_ms, (900, 20_000)).lasting(900));
        }
        for record in stage.traffic.records[before..].iter_mut().filter(|record| record.source == host.ip) {
            record.destination_mac = rogue.mac;
        }
        let within_ms = if victims == 1 { 10 * MINUTE_MS } else { 5 * MINUTE_MS };
        let label = stage.label(name, &["unexpected-gateway"], &[rogue, host], (at_ms, at_ms + lasts_ms), within_ms);
        label.subjects.push(mac_text(rogue.mac));
        label.subjects.extend(led.iter().map(ToString::to_string));
    }
}
