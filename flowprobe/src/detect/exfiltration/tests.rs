//! Uploads at several strengths, in a site of many hosts and of few, and uploads that are a matter of course.

use super::super::connection::{Connections, Step};
use super::super::site::Site;
use super::*;

const MB: u64 = 1_000_000;
const MINUTE_MS: i64 = 60_000;
/// A Monday, midnight.
const START_MS: i64 = 1_767_571_200_000;
const EVIL: Ip = Ip(0xffff_cb00_7142);
const CLOUD: Ip = Ip(0xffff_c633_6401);
const BACKUP: Ip = Ip(0xffff_c633_6463);

fn host(number: u32) -> Ip {
    Ip(0xffff_0a00_0000 + u128::from(number))
}

/// What two hosts exchange from so many minutes after the start on, for so many minutes: a flow each way and minute.
fn exchange(inside: Ip, outside: Ip, minute: i64, minutes: i64, (up, down): (u64, u64)) -> Vec<Flow> {
    let each = |source, destination, ports: (u16, u16), octets: u64, n| Flow {
        source,
        destination,
        source_port: ports.0,
        destination_port: ports.1,
        protocol: 6,
        tcp_flags: 0x18,
        packets: octets / 1000 + 1,
        octets,
        start_ms: START_MS + (minute + n) * MINUTE_MS,
        end_ms: START_MS + (minute + n + 1) * MINUTE_MS - 1000,
        ..Flow::default()
    };
    let share = minutes.unsigned_abs();
    (0..minutes)
        .flat_map(|n| {
            // The answer first, as exporters may say it.
            [each(outside, inside, (443, 50_000), down / share, n), each(inside, outside, (50_000, 443), up / share, n)]
        })
        .collect()
}

/// Days of so many hosts: each sends 1 to 5 MB to the cloud in an hour of the working day, photographs now and then, and talks on video.
fn ordinary(hosts: u32, days: i64) -> Vec<Flow> {
    let mut flows = Vec::new();
    for number in 1..=hosts {
        for hour in 0..24 * days {
            let is_work = (8..18).contains(&(hour % 24)) && hour / 24 % 7 < 5;
            let up = if is_work { 1 + u64::from(number) % 5 } else { 0 };
            flows.extend(exchange(
                host(number),
                Ip(CLOUD.0 + u128::from(number % 3)),
                hour * 60 + 3,
                1,
                (up * MB + 50_000, 8 * up * MB),
            ));
            if number % 10 == 1 && hour % 24 == 14 {
                flows.extend(exchange(
                    host(number),
                    Ip(0xffff_0900_0000 + u128::from(number)),
                    hour * 60,
                    55,
                    (900 * MB, 1100 * MB),
                ));
            }
            if number % 7 == 2 && hour % 24 == 12 {
                flows.extend(exchange(
                    host(number),
                    Ip(0xffff_0800_0000 + u128::from(number)),
                    hour * 60,
                    4,
                    (60 * MB, MB),
                ));
            }
        }
    }
    flows
}

fn run(detector: &mut Exfiltration, mut flows: Vec<Flow>) -> Seen {
    flows.sort_by_key(|flow| flow.end_ms);
    let (site, mut seen, mut now_ms) = (Site::private_and([]), Seen::new(), 0);
    let mut connections = Connections::new(10_000);
    let end_ms = flows.last().map_or(0, |flow| flow.end_ms) + HOUR_MS;
    let last = Flow { end_ms, ..Flow::default() };
    for flow in flows.iter().chain([&last]) {
        now_ms = if now_ms == 0 { flow.end_ms } else { now_ms };
        while now_ms + 30_000 <= flow.end_ms {
            now_ms += 30_000;
            let context = Context { site: &site, now_ms };
            connections.advance(now_ms, &mut |connection, step| {
                if let Step::Judged(outcome) = step {
                    detector.judged(connection, outcome, context, &mut seen);
                }
            });
            detector.advance(context, &mut seen);
        }
        let context = Context { site: &site, now_ms: flow.end_ms };
        detector.flow(flow, context, &mut seen);
        connections.take(flow, flow.end_ms, &mut |_, _| ());
    }
    seen.iter().for_each(|one| assert!(one.severity <= Severity::Medium));
    seen
}

fn new() -> Exfiltration {
    Exfiltration::new(ExfiltrationSettings::default(), State::default())
}

fn found(flows: Vec<Flow>) -> Seen {
    run(&mut new(), flows)
}

/// Whose uploads were seen, to whom.
fn who(seen: &Seen) -> Vec<(String, String)> {
    let mut who: Vec<_> = seen.iter().map(|one| (one.subject.to_string(), one.matter.clone())).collect();
    who.sort();
    who.dedup();
    who
}

fn only(number: u32, to: Ip) -> Vec<(String, String)> {
    vec![(host(number).to_string(), to.to_string())]
}

#[test]
fn one_upload_to_a_host_nobody_talks_to_is_found_on_the_first_day() {
    for (megabytes, minutes, severity) in
        [(2000, 5, Severity::Medium), (150, 50, Severity::Low), (600, 30, Severity::Medium)]
    {
        let mut flows = ordinary(60, 1);
        flows.extend(exchange(host(7), EVIL, 15 * 60, minutes, (megabytes * MB, megabytes * MB / 50)));
        let seen = found(flows);
        assert_eq!(who(&seen), only(7, EVIL), "{megabytes} MB");
        assert_eq!((seen[0].severity, seen[0].peers.as_slice()), (severity, &[EVIL][..]), "{}", seen[0].explanation);
        assert!(seen.len() <= 3 && seen[0].explanation.contains("No other host here"), "{seen:?}");
    }
}

#[test]
fn slow_uploads_are_found_within_the_day() {
    let mut flows = ordinary(60, 1);
    flows.extend(exchange(host(7), EVIL, 0, 23 * 60, (30 * 23 * MB, MB)));
    let seen = found(flows);
    assert_eq!((who(&seen), seen[0].severity), (only(7, EVIL), Severity::Low), "{seen:?}");
    assert!(seen[0].last_ms - START_MS <= 10 * HOUR_MS, "{}", seen[0].explanation);
}

#[test]
fn ordinary_days_are_calm() {
    let mut flows = ordinary(60, 10);
    for day in 0..10 {
        for number in 20..25 {
            // Backups at night, not all at the same minute.
            let minute = day * 1440 + 60 + i64::from(number - 20) * 4;
            flows.extend(exchange(host(number), BACKUP, minute, 40, (3000 * MB, 30 * MB)));
        }
    }
    // What clients outside fetch from a server here.
    let mut served = exchange(host(3), EVIL, 300, 30, (4000 * MB, 10 * MB));
    served.iter_mut().for_each(|flow| {
        let port = |port: u16| if port == 443 { 50_000 } else { 443 };
        (flow.source_port, flow.destination_port) = (port(flow.source_port), port(flow.destination_port));
    });
    flows.extend(served);
    assert_eq!(found(flows).iter().map(|one| &one.explanation).collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn a_habit_is_learned_and_a_break_of_it_is_found() {
    // One host has a backup of its own, each night: said on the first, and not again.
    let mut flows = ordinary(30, 9);
    for day in 0..9 {
        flows.extend(exchange(host(5), BACKUP, day * 1440 + 120, 30, (400 * MB, 4 * MB)));
    }
    let seen = found(flows.clone());
    assert_eq!(who(&seen), only(5, BACKUP));
    assert!(seen.iter().all(|one| one.first_ms < START_MS + DAY_MS), "{seen:?}");
    // After a week, what is new is said at once, and what goes to a usual place is said if it is very much.
    flows.extend(exchange(host(6), EVIL, 8 * 1440 + 600, 10, (300 * MB, 3 * MB)));
    flows.extend(exchange(host(9), CLOUD, 8 * 1440 + 720, 30, (5000 * MB, 50 * MB)));
    let seen = found(flows);
    let late: Vec<_> = seen.iter().filter(|one| one.first_ms > START_MS + DAY_MS).collect();
    assert_eq!(
        late.len(),
        late.iter().filter(|one| [host(6).into(), host(9).into()].contains(&one.subject)).count(),
        "{late:?}"
    );
    let of = |number| late.iter().find(|one| one.subject == host(number).into()).map(|one| one.severity);
    assert_eq!((of(6), of(9)), (Some(Severity::Medium), Some(Severity::Low)), "{late:?}");
}

#[test]
fn a_lab_of_three_hosts_takes_more() {
    let lab = |up, down| {
        let mut flows = ordinary(3, 1);
        flows.extend(exchange(host(2), EVIL, 600, 10, (up * MB, down * MB)));
        found(flows)
    };
    assert!(lab(150, 1).is_empty() && lab(500, 100).is_empty());
    let seen = lab(400, 5);
    assert_eq!(who(&seen), only(2, EVIL));
    // Half of 400 MB is there after five minutes.
    assert!(seen[0].last_ms <= START_MS + 607 * MINUTE_MS, "{seen:?}");
}

#[test]
fn a_restart_goes_on_and_memory_is_bounded() {
    let mut flows = ordinary(30, 1);
    flows.extend(exchange(host(7), EVIL, 600, 10, (90 * MB, MB)));
    flows.sort_by_key(|flow| flow.end_ms);
    let mut before = new();
    assert!(run(&mut before, flows).is_empty());
    let text = serde_json::to_string(before.state()).expect("text");
    let mut after = Exfiltration::new(ExfiltrationSettings::default(), serde_json::from_str(&text).expect("the state"));
    // The cloud is known to have others, and the habits are known.
    assert!(run(&mut after, exchange(host(9), CLOUD, 1440, 10, (300 * MB, MB))).is_empty());
    let site = Site::private_and([]);
    for number in 0..100_000 {
        for flow in exchange(host(number), Ip(EVIL.0 + u128::from(number)), 2000, 1, (1000, 10)) {
            after.flow(&flow, Context { site: &site, now_ms: flow.end_ms }, &mut Seen::new());
        }
    }
    assert!(after.memory().0 <= HOSTS + OUTSIDE);
}
