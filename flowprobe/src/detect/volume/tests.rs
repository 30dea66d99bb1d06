//! Rises and silences at several strengths, on the first day and after weeks; days and weeks that are ordinary.

use super::super::finding::Severity;
use super::super::site::Site;
use super::*;

const MB: u64 = 1_000_000;
const DAY: i64 = 288;
/// A Monday, midnight, in steps.
const START: i64 = 1_767_571_200_000 / STEP_MS;
const A: Ip = Ip(0xffff_0a00_0007);
const FAR: Ip = Ip(0xffff_cb00_7142);

fn flow(step: i64, proto: u8, octets: u64) -> Flow {
    let start_ms = (START + step) * STEP_MS + 100_000;
    Flow {
        source: FAR,
        destination: A,
        protocol: proto,
        packets: 1,
        octets,
        start_ms,
        end_ms: start_ms,
        interface: 3,
        ..Flow::default()
    }
}

fn new() -> Volume {
    Volume::new(
        VolumeSettings { cold_factor: 8, ..VolumeSettings::default() },
        State::default(),
        Box::new(|number| (number == 3).then(|| "eth0".to_owned())),
    )
}

/// Of a working day: a ramp in the morning, a dip at noon, little at night; with a jitter of a fifth that goes by the number.
fn ordinary(step: i64) -> u64 {
    let minute = step.rem_euclid(DAY) * 5;
    let of_day = match minute {
        480..540 => 20 + (minute - 480) * 8,
        540..720 | 780..1020 => 500,
        720..780 => 200,
        1020..1080 => 20 + (1080 - minute) * 8,
        _ => 20,
    };
    let share = if step.div_euclid(DAY) % 7 >= 5 { 20 } else { of_day.unsigned_abs() };
    share * MB * (90 + (step.unsigned_abs() * 7919) % 21) / 100
}

/// Runs steps; `octets` are those of TCP in each.
fn run(detector: &mut Volume, steps: std::ops::Range<i64>, octets: impl Fn(i64) -> u64) -> Seen {
    let (site, mut seen) = (Site::private_and([]), Seen::new());
    for step in steps {
        for flow in [flow(step, 6, octets(step)), flow(step, 17, octets(step) / 20), flow(step, 1, 20_000)] {
            let context = Context { site: &site, now_ms: flow.end_ms };
            if octets(step) > 0 {
                detector.flow(&flow, context, &mut seen);
            }
            detector.advance(context, &mut seen);
        }
    }
    seen.iter().for_each(|one| assert!(one.severity <= Severity::Medium));
    seen
}

fn with(rise: std::ops::Range<i64>, times: u64) -> impl Fn(i64) -> u64 {
    move |step| ordinary(step) * if rise.contains(&step) { times } else { 1 }
}

fn said(seen: &Seen) -> Vec<(&'static str, String, Severity)> {
    seen.iter().map(|one| (one.rule.name, one.matter.clone(), one.severity)).collect()
}

#[test]
fn ordinary_weeks_are_calm_from_the_first_day_on() {
    let seen = run(&mut new(), 0..35 * DAY, ordinary);
    assert!(seen.is_empty(), "{:?}", seen.iter().map(|one| &one.explanation).collect::<Vec<_>>());
}

#[test]
fn a_tenfold_rise_in_the_first_night_is_found() {
    let seen = run(&mut new(), 0..DAY, with(36..39, 10));
    // UDP has a twentieth of it here.
    let both = ["TCP", "UDP"].map(|class| ("volume-spike", class.to_owned(), Severity::Low));
    assert_eq!(said(&seen), both);
    assert!(
        seen[0].subject == Subject::Interface("eth0".into()) && seen[0].last_ms <= (START + 39) * STEP_MS,
        "{seen:?}"
    );
    // It begins in the middle of a step.
    let half = |step| if step == 35 { ordinary(step) * 5 } else { with(36..38, 10)(step) };
    assert!(said(&run(&mut new(), 0..DAY, half)).contains(&both[0]));
    assert!(run(&mut new(), 0..DAY, with(36..39, 4)).is_empty());
}

#[test]
fn a_rise_against_what_is_usual_is_found() {
    // By night, 20 times are no more than there is by day.
    for (at, times, severity) in [(36, 8, Severity::Low), (36, 20, Severity::Low), (120, 20, Severity::Medium)] {
        let at = 28 * DAY + at;
        let seen = run(&mut new(), 0..29 * DAY, with(at..at + 4, times));
        let first = seen.iter().find(|one| one.matter == "TCP").expect("found");
        assert_eq!((first.rule.name, first.severity), ("volume-spike", severity), "{seen:?}");
        assert_eq!(first.last_ms, (START + at + 3) * STEP_MS);
        assert!(
            first.explanation.contains("At this hour of the week") && first.evidence.len() == 1,
            "{}",
            first.explanation
        );
    }
    // A day at work on a day off, after four days: by this hour on other days it is usual.
    assert!(run(&mut new(), 0..5 * DAY, ordinary).is_empty());
    assert!(run(&mut new(), 0..28 * DAY, with(27 * DAY + 36..27 * DAY + 38, 20)).is_empty());
    // A flood of echo messages.
    let mut detector = new();
    run(&mut detector, 0..14 * DAY, ordinary);
    let site = Site::private_and([]);
    let mut seen = Seen::new();
    for step in 14 * DAY..14 * DAY + 5 {
        let flow = flow(step, 1, 50 * MB);
        detector.flow(&flow, Context { site: &site, now_ms: flow.end_ms }, &mut seen);
    }
    assert!(
        said(&seen).iter().any(|(rule, matter, _)| (*rule, matter.as_str()) == ("volume-spike", "ICMP")),
        "{seen:?}"
    );
}

#[test]
fn silence_is_found_and_a_gap_in_what_is_seen_is_none() {
    let silent = |from: i64, to: i64| move |step| if (from..to).contains(&step) { 0 } else { ordinary(step) };
    for day in [0, 20] {
        let from = day * DAY + 200;
        let seen = run(&mut new(), 0..(day + 1) * DAY, silent(from, from + 10));
        assert_eq!(said(&seen[..1].to_vec()), [("volume-silence", "all".to_owned(), Severity::Low)], "{seen:?}");
        assert_eq!(seen[0].last_ms, (START + from + 3) * STEP_MS);
    }
    assert!(run(&mut new(), 0..100, silent(50, 60)).is_empty());
    let mut detector = new();
    run(&mut detector, 0..20 * DAY, ordinary);
    assert!(run(&mut detector, 20 * DAY + 100..21 * DAY, ordinary).is_empty());
}

#[test]
fn a_network_that_is_often_silent_is_not_said_to_be() {
    // Guests, who are not there on some afternoons.
    let idle = |days: &'static [i64]| {
        move |step: i64| {
            let is_idle = days.contains(&step.div_euclid(DAY)) && (160..170).contains(&step.rem_euclid(DAY));
            if is_idle { 0 } else { ordinary(step) }
        }
    };
    let days = |days: &'static [i64]| -> Vec<i64> {
        let seen = run(&mut new(), 0..24 * DAY, idle(days));
        assert!(seen.iter().all(|one| one.rule.name == "volume-silence"), "{seen:?}");
        let mut days: Vec<i64> = seen.iter().map(|one| (one.last_ms / STEP_MS - START).div_euclid(DAY)).collect();
        days.dedup();
        days
    };
    assert_eq!(days(&[16, 17, 22]), [16, 17]);
    assert_eq!(days(&[17, 22]), [17, 22]);
}

#[test]
fn what_an_interface_had_at_such_an_hour_it_may_have_again() {
    let at = |day: i64| day * DAY + 36..day * DAY + 42;
    let twice = |days: [i64; 2]| {
        let octets = move |step| ordinary(step) * if days.iter().any(|day| at(*day).contains(&step)) { 8 } else { 1 };
        let seen = said(&run(&mut new(), 0..17 * DAY, octets));
        seen.iter().filter(|(rule, matter, _)| *rule == "volume-spike" && matter == "TCP").count()
    };
    assert_eq!(twice([15, 16]), twice([15, 15]), "the second is as high as the first");
    assert!(twice([15, 15]) > 0);
}

#[test]
fn a_host_that_is_twice_as_fast_as_ever_is_found() {
    let seen = run(&mut new(), 0..16 * DAY, |step| {
        let is_flood = (15 * DAY + 36..15 * DAY + 40).contains(&step);
        if is_flood { 3000 * MB } else { ordinary(step) }
    });
    let host = seen.iter().find(|one| one.subject == A.into()).expect("found");
    assert_eq!((host.matter.as_str(), host.severity), ("from outside", Severity::Low));
    assert!(
        host.explanation.starts_with("Traffic of 10.0.0.7 from outside has been high for 15 min"),
        "{}",
        host.explanation
    );
}

#[test]
fn a_restart_goes_on_and_memory_is_bounded() {
    let mut before = new();
    run(&mut before, 0..15 * DAY, ordinary);
    let text = serde_json::to_string(before.state()).expect("text");
    // Interfaces are known by name, whatever their numbers.
    let names: Names = Box::new(|_| Some("eth0".to_owned()));
    let mut after = Volume::new(VolumeSettings::default(), serde_json::from_str(&text).expect("the state"), names);
    let seen = run(&mut after, 15 * DAY..16 * DAY, with(15 * DAY + 36..15 * DAY + 40, 20));
    assert!(
        seen.iter().any(|one| one.explanation.contains("hour of the week") || one.explanation.contains("other days")),
        "{seen:?}"
    );
    let site = Site::private_and([]);
    for number in 0..100_000_u32 {
        let flow = Flow { destination: Ip(A.0 + u128::from(number)), interface: number, ..flow(16 * DAY, 6, 1000) };
        new_names(&mut after, number);
        after.flow(&flow, Context { site: &site, now_ms: flow.end_ms }, &mut Seen::new());
    }
    assert!(after.memory().0 <= HOSTS + INTERFACES && after.numbers.len() <= NUMBERS);
}

/// From here on interfaces have numbers only.
fn new_names(volume: &mut Volume, number: u32) {
    if number == 0 {
        volume.names = Box::new(|_| None);
        volume.numbers.clear();
    }
}
