//! When an interface is said to be full, or to fill, and when not.

use std::net::IpAddr;

use super::super::site::Site;
use super::*;

const GIGABIT: u64 = 1_000_000_000;
/// 2026-11-30.
const MONDAY: i64 = 20_787;

fn ip(text: &str) -> Ip {
    text.parse::<IpAddr>().expect("an address").into()
}

/// Interface 3 of a gigabit, and the flows of a step: per cent of its speed out of the site and into it.
struct Bench {
    site: Site,
    capacity: Capacity,
    handed: Handed<Arc<Lines>>,
    seen: Seen,
}

impl Bench {
    fn new(bits_per_second: u64, is_one_way: bool) -> Self {
        let handed = Handed::default();
        let capacity = Capacity::new(&CapacitySettings::default(), handed.clone(), CapacityState::default());
        let new = Self { site: Site::private_and([]), capacity, handed, seen: Seen::new() };
        new.lines(bits_per_second, is_one_way);
        new
    }

    fn lines(&self, bits_per_second: u64, is_one_way: bool) {
        self.handed.put(Arc::new(Lines::from_iter([(3, Line { name: "uplink".into(), bits_per_second, is_one_way })])));
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a made-up count")]
    fn flow(&mut self, ends: (&str, &str), start_ms: i64, end_ms: i64, octets: f64) {
        let flow = Flow {
            source: ip(ends.0),
            destination: ip(ends.1),
            packets: 0,
            octets: octets as u64,
            start_ms,
            end_ms,
            interface: 3,
            ..Flow::default()
        };
        self.capacity.flow(&flow, Context { site: &self.site, now_ms: end_ms }, &mut self.seen);
    }

    /// A step, and what is said at its end.
    fn step(&mut self, at_ms: i64, percent: (f64, f64)) -> Vec<Sighting> {
        for (part, ends) in [(percent.0, ("10.0.0.7", "203.0.113.1")), (percent.1, ("203.0.113.1", "10.0.0.7"))] {
            if part > 0.0 {
                self.flow(ends, at_ms, at_ms + STEP_MS - 1, part / 100.0 * 125e6 * 300.0);
            }
        }
        self.advance(at_ms + STEP_MS + LATE_MS)
    }

    fn advance(&mut self, now_ms: i64) -> Vec<Sighting> {
        self.capacity.advance(Context { site: &self.site, now_ms }, &mut self.seen);
        std::mem::take(&mut self.seen)
    }

    /// Days with a busy hour each, at 10 o'clock UTC; what is said by the end, without what is too full.
    fn days(&mut self, first: i64, busiest: impl IntoIterator<Item = f64>) -> Vec<Sighting> {
        let mut seen = Vec::new();
        for (day, busiest) in (first..).zip(busiest) {
            for step in 0..288 {
                let percent = if (120..132).contains(&step) { busiest } else { busiest / 4.0 };
                seen.extend(self.step(day * DAY_MS + step * STEP_MS, (percent, percent / 3.0)));
            }
        }
        seen.retain(|sighting| sighting.rule.name == "capacity-trend");
        seen
    }
}

#[test]
fn an_interface_that_is_full_for_a_quarter_of_an_hour_is_said() {
    for (percent, title) in [
        (85.0, "uplink is nearly full: 85 % of 1 Gbit/s for 15 min"),
        (97.0, "uplink is full: 97 % of 1 Gbit/s for 15 min"),
    ] {
        let mut bench = Bench::new(GIGABIT, false);
        let seen: Vec<Vec<Sighting>> =
            (0..4).map(|step| bench.step(step * STEP_MS, (5.0, if step == 0 { 20.0 } else { percent }))).collect();
        assert_eq!(seen.iter().map(Vec::len).collect::<Vec<_>>(), [0, 0, 0, 1], "{percent}");
        let said = &seen[3][0];
        assert_eq!(
            (said.title.as_str(), said.severity, said.subject.to_string()),
            (title, Severity::Medium, "uplink".to_owned())
        );
        assert!(said.explanation.contains("Mbit/s into the site for 15 min"), "{}", said.explanation);
        assert_eq!((said.first_ms, said.last_ms, said.evidence.len()), (STEP_MS, 4 * STEP_MS, 2));
        let longer = bench.step(4 * STEP_MS, (0.0, percent));
        assert!(longer[0].title.ends_with("for 20 min") && longer[0].first_ms == STEP_MS, "{}", longer[0].title);
        assert_eq!(bench.step(5 * STEP_MS, (0.0, 10.0)).len(), 0);
    }
}

#[test]
fn short_peaks_both_directions_together_and_unknown_speeds_are_nothing() {
    let calm = |bits, is_one_way, percents: &[(f64, f64)]| {
        let mut bench = Bench::new(bits, is_one_way);
        (0..).zip(percents).all(|(step, percent)| bench.step(step * STEP_MS, *percent).is_empty())
    };
    assert!(calm(GIGABIT, false, &[(99.0, 0.0), (99.0, 0.0), (70.0, 0.0), (99.0, 0.0), (99.0, 0.0), (0.0, 0.0)]));
    assert!(calm(GIGABIT, false, &[(75.0, 75.0); 12]));
    assert!(calm(0, false, &[(99.0, 99.0); 12]));
    assert!(calm(10 * GIGABIT, false, &[(99.0, 99.0); 12]));
    // An exporter that names where packets came in has one direction in each.
    assert!(!calm(GIGABIT, true, &[(45.0, 45.0); 3]));
}

#[test]
fn inside_traffic_may_go_either_way() {
    let run = |is_one_way| {
        let mut bench = Bench::new(GIGABIT, is_one_way);
        let mut seen = 0;
        for step in 0..6 {
            bench.flow(("10.0.0.7", "10.0.0.8"), step * STEP_MS, (step + 1) * STEP_MS - 1, 0.9 * 125e6 * 300.0);
            seen += bench.advance((step + 1) * STEP_MS + LATE_MS).len();
        }
        seen
    };
    assert_eq!(run(false), 0);
    assert!(run(true) > 0);
}

#[test]
fn a_long_record_counts_where_it_was() {
    let mut bench = Bench::new(GIGABIT, false);
    bench.flow(("10.0.0.7", "203.0.113.1"), 0, 6 * STEP_MS - 1, 0.5 * 125e6 * 1800.0);
    assert_eq!(bench.advance(6 * STEP_MS + LATE_MS).len(), 0);
    bench.flow(("10.0.0.7", "203.0.113.1"), STEP_MS, 5 * STEP_MS - 1, 0.4 * 125e6 * 1200.0);
    let seen = bench.advance(7 * STEP_MS + LATE_MS);
    assert_eq!((seen[0].first_ms, seen[0].last_ms), (STEP_MS, 5 * STEP_MS), "{}", seen[0].title);
}

#[test]
fn growth_has_a_date_and_a_range() {
    for (grows, days) in [(0.5, 10), (1.0, 10), (2.0, 7), (0.5, 35)] {
        let mut bench = Bench::new(GIGABIT, false);
        let seen = bench.days(MONDAY, (0..=days).map(|day| 40.0 + grows * f64::from(day)));
        let last_day = f64::from(days) - 1.0;
        // Full at 60 per cent more than at first; the last day is not closed yet.
        let left = (60.0 - grows * last_day) / grows;
        if left > 90.0 {
            assert!(seen.is_empty(), "{grows}");
            continue;
        }
        let last = seen.last().expect("a trend");
        assert_eq!((last.severity, last.rule.name), (Severity::Low, "capacity-trend"));
        let expected = date((MONDAY as f64 + last_day + left + 1e-6).floor());
        let before = date((MONDAY as f64 + last_day + left - 1.0).floor());
        assert!(
            [expected, before].iter().any(|day| last.title == format!("uplink fills on about {day}")),
            "{} but {expected}",
            last.title
        );
        assert!(
            last.explanation.contains("fills on about 20") && last.explanation.contains(", between 20"),
            "{}",
            last.explanation
        );
    }
}

#[test]
fn too_few_days_no_growth_and_weekends_have_no_date() {
    assert_eq!(
        Bench::new(GIGABIT, false).days(MONDAY, (0..7).map(|day| 40.0 + 3.0 * f64::from(day))).len(),
        0,
        "6 days and a bit"
    );
    assert_eq!(Bench::new(GIGABIT, false).days(MONDAY, [50.0; 12]).len(), 0);
    assert_eq!(Bench::new(0, false).days(MONDAY, (0..9).map(|day| 40.0 + 3.0 * f64::from(day))).len(), 0);
    assert_eq!(Bench::new(GIGABIT, false).days(MONDAY, (0..9).map(|day| 70.0 - 3.0 * f64::from(day))).len(), 0);
    for begins in 0..7 {
        let week = (0..23).map(|day| if (day + begins) % 7 < 2 { 8.0 } else { 60.0 + f64::from(day * 7 % 5) });
        assert_eq!(Bench::new(GIGABIT, false).days(MONDAY, week).len(), 0, "from weekday {begins}");
    }
}

#[test]
fn it_goes_on_after_a_restart_and_with_another_speed() {
    let mut bench = Bench::new(GIGABIT, false);
    assert_eq!(bench.days(MONDAY, (0..6).map(|day| 40.0 + 2.0 * f64::from(day))).len(), 0);
    let kept = serde_json::to_string(bench.capacity.state()).expect("a state");
    assert!(kept.len() < 20_000, "{}", kept.len());
    let state = serde_json::from_str(&kept).expect("what was written");
    bench.capacity = Capacity::new(&CapacitySettings::default(), bench.handed.clone(), state);
    bench.lines(GIGABIT, false);
    let seen = bench.days(MONDAY + 6, (6..9).map(|day| 40.0 + 2.0 * f64::from(day)));
    assert_eq!(seen.len(), 2);
    bench.lines(100 * GIGABIT, false);
    assert_eq!(bench.days(MONDAY + 9, (9..12).map(|day| 40.0 + 2.0 * f64::from(day))).len(), 0);
}

#[test]
fn memory_is_bounded() {
    let mut bench = Bench::new(GIGABIT, false);
    for interface in 0..10_000 {
        for at_ms in [0, i64::from(interface) * 1_000_000, i64::MAX / 4] {
            let flow = Flow { interface, octets: 1, start_ms: -5, end_ms: at_ms, ..Flow::default() };
            bench.capacity.flow(&flow, Context { site: &bench.site, now_ms: at_ms }, &mut bench.seen);
        }
    }
    let (entries, forgotten) = bench.capacity.memory();
    assert!(entries <= INTERFACES && forgotten > 7000, "{entries} {forgotten}");
}

#[test]
fn speeds_read_well() {
    assert_eq!(
        [1e9, 2.5e9, 100e6, 123.4e6, 15.26e6, 999.0].map(speed),
        ["1 Gbit/s", "2.50 Gbit/s", "100 Mbit/s", "123 Mbit/s", "15.3 Mbit/s", "999 bit/s"]
    );
}
