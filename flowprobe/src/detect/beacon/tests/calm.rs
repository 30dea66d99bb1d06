//! What looks like a beacon and is none.

use super::*;

/// Exponentially distributed with this mean, as times between events are that do not depend on each other.
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "a time to a thousandth")]
fn chance(mean: i64, random: &mut fastrand::Rng) -> i64 {
    (-(1.0 - random.f64()).ln() * mean as f64) as i64
}

#[test]
fn a_silent_connection_that_goes_on_is_no_beacon() {
    let mut random = random(5);
    let mut flows =
        Talk { own_port: Some(50_000), ..Talk::new(443) }.at(regular(100, 300_000, 0, &mut random), 0, &mut random);
    flows.iter_mut().for_each(|flow| (flow.tcp_flags, flow.opens) = (0x18, false));
    assert_eq!(seen(flows), None);
}

#[test]
fn known_good_and_inside_are_not_looked_at() {
    let mut random = random(7);
    let times = regular(60, 64_000, 5, &mut random);
    for talk in [Talk::udp(123), Talk::udp(53), Talk { server: "10.0.0.9".into(), ..Talk::new(443) }] {
        assert_eq!(seen(talk.at(times.clone(), 5, &mut random)), None, "{}", talk.port);
    }
    // An outside host that asks an inside one is not this.
    let inward = Talk { client: SERVER.into(), server: CLIENT.into(), ..Talk::new(443) };
    assert_eq!(seen(inward.at(times.clone(), 5, &mut random)), None);
    let known_good = vec!["198.51.100.0/24".parse().expect("a network")];
    for settings in
        [BeaconSettings { known_good, ..Default::default() }, BeaconSettings { enabled: false, ..Default::default() }]
    {
        let mut watch = Watch::new(settings);
        assert!(watch.all(Talk::new(4444).at(times.clone(), 5, &mut random)).is_empty());
    }
    // Mail of one host.
    assert_eq!(seen(Talk::new(993).at(times, 5, &mut random)), Some(Severity::Low));
}

#[test]
fn what_several_hosts_do_is_no_beacon() {
    let mut random = random(8);
    // Updates of all, mail of a fifth of them, and one that only one asks.
    let mut flows = Vec::new();
    for host in 1..=20 {
        let client = format!("10.0.0.{host}");
        let mut poll = |server: &str, port, period_ms: i64| {
            let talk = Talk { client: client.clone(), server: server.into(), ..Talk::new(port) };
            let shift = random.i64(0..period_ms);
            let times = regular(60, period_ms, 3, &mut random).into_iter().map(|at| at + shift);
            flows.extend(talk.at(times, 10, &mut random));
        };
        poll("203.0.113.10", 443, 300_000);
        if host <= 4 {
            poll("203.0.113.20", 993, 300_000);
        }
        if host == 7 {
            poll(SERVER, 8443, 300_000);
        }
    }
    let mut watch = Watch::new(BeaconSettings::default());
    watch.all(flows);
    let matters: std::collections::BTreeSet<&str> = watch.seen.iter().map(|seen| seen.matter.as_str()).collect();
    assert_eq!(matters.into_iter().collect::<Vec<_>>(), ["198.51.100.9 tcp/8443"]);
    assert_eq!(watch.worst(), Some(Severity::Medium));
}

#[test]
fn people_who_browse_and_watch_are_no_beacon() {
    for seed in 100..103 {
        let mut random = random(seed);
        let mut flows = Vec::new();
        for host in 1..=20 {
            for site in 1..=30 {
                let server = format!("203.0.{site}.{host}");
                let mut at = random.i64(0..HOUR_MS);
                let talk = Talk { client: format!("10.0.0.{host}"), server, ..Talk::new(443) };
                // Visits by chance, pages within them, objects within these.
                while at < 9 * HOUR_MS {
                    for _ in 0..random.u32(1..6) {
                        for _ in 0..random.u32(1..5) {
                            let sent = 400 + chance(2000, &mut random).unsigned_abs();
                            flows.extend(Talk { sent, ..talk.clone() }.at([at + random.i64(0..2000)], 0, &mut random));
                        }
                        at += 3000 + chance(40_000, &mut random);
                    }
                    at += chance(1_800_000, &mut random);
                }
            }
            // A film: a connection for each piece, as regular as can be.
            let film = Talk {
                client: format!("10.0.0.{host}"),
                server: format!("192.0.2.{host}"),
                received: 3_000_000,
                ..Talk::new(443)
            };
            flows.extend(film.at(regular(600, 6000, 5, &mut random), 5, &mut random));
        }
        let mut watch = Watch::new(BeaconSettings::default());
        watch.all(flows);
        let said: Vec<&String> = watch.seen.iter().map(|seen| &seen.explanation).collect();
        assert!(said.len() <= 1 && watch.worst() <= Some(Severity::Low), "{said:#?}");
    }
}

#[test]
fn sessions_that_reconnect_are_no_beacon() {
    let mut random = random(9);
    let talk = Talk { lasts_ms: 900_000, ..Talk::new(443) };
    assert_eq!(seen(talk.at(regular(40, 960_000, 2, &mut random), 10, &mut random)), None);
}
