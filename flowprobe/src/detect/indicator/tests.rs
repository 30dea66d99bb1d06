//! Who is said to talk to whom, and who is not.

use super::super::connection::{Connections, Step};
use super::super::finding::Sighting;
use super::*;

const BAD: &str = "203.0.113.9";
const HOST: &str = "10.0.0.7";

fn ip(text: &str) -> Ip {
    text.parse::<std::net::IpAddr>().expect("an address").into()
}

fn list(name: &str, text: &str) -> (ListSettings, Parsed) {
    let settings = ListSettings { name: Some(name.into()), ..ListSettings::default() };
    (settings, parse(text.as_bytes(), None).expect("a list"))
}

fn set_of(lists: impl IntoIterator<Item = (ListSettings, Parsed)>) -> Arc<Set> {
    Arc::new(Set::of(lists))
}

/// The detector with what is around it.
struct Bench {
    site: Site,
    connections: Connections,
    detector: Indicator,
    seen: Seen,
}

impl Bench {
    fn new(set: Arc<Set>) -> Self {
        Self {
            site: Site::private_and([]),
            connections: Connections::new(100_000),
            detector: Indicator::new(&IndicatorSettings::default(), set, Handed::default(), IndicatorState::default()),
            seen: Seen::new(),
        }
    }

    fn flow(&mut self, flow: &Flow) {
        let Self { site, connections, detector, seen, .. } = self;
        let context = Context { site, now_ms: flow.end_ms };
        detector.flow(flow, context, seen);
        connections.take(flow, flow.end_ms, &mut |connection, step| match step {
            Step::Judged(outcome) => detector.judged(connection, outcome, context, seen),
            Step::Over => detector.over(connection, context, seen),
        });
    }

    fn until(&mut self, now_ms: i64) -> Vec<Sighting> {
        let Self { site, connections, detector, seen, .. } = self;
        let context = Context { site, now_ms };
        connections.advance(now_ms, &mut |connection, step| match step {
            Step::Judged(outcome) => detector.judged(connection, outcome, context, seen),
            Step::Over => detector.over(connection, context, seen),
        });
        detector.advance(context, seen);
        std::mem::take(seen)
    }

    /// A conversation over TCP; of `answer` 0 there is none.
    fn talk(&mut self, client: &str, server: &str, port: u16, at_ms: i64, sizes: (u64, u64)) {
        let flags = if sizes.1 > 0 { flag::SYN | flag::ACK } else { flag::SYN };
        let asked = Flow {
            source: ip(client),
            destination: ip(server),
            source_port: 40_000 + u16::try_from(at_ms / 1000 % 20_000).expect("small"),
            destination_port: port,
            protocol: protocol::TCP,
            tcp_flags: flags,
            opens: true,
            packets: sizes.0.div_ceil(1000),
            octets: sizes.0,
            start_ms: at_ms,
            end_ms: at_ms + 100,
            ..Flow::default()
        };
        self.flow(&asked);
        if sizes.1 > 0 {
            let (source_port, destination_port) = (port, asked.source_port);
            let (source, destination) = (asked.destination, asked.source);
            let (packets, octets) = (sizes.1.div_ceil(1000), sizes.1);
            self.flow(&Flow {
                source,
                destination,
                source_port,
                destination_port,
                packets,
                octets,
                opens: false,
                ..asked
            });
        }
    }
}

#[test]
fn an_inside_host_that_talks_to_a_listed_one_is_said_with_the_numbers() {
    let mut bench = Bench::new(set_of([list("feodo", "203.0.113.9 # Dridex"), list("scored", "203.0.113.9\t9\n")]));
    bench.talk(HOST, BAD, 443, 1000, (5000, 120_000));
    let seen = bench.until(7000);
    assert_eq!(seen.iter().map(|sighting| sighting.matter.as_str()).collect::<Vec<_>>(), ["feodo", "scored"]);
    let first = &seen[0];
    assert_eq!(
        (first.rule.name, first.severity, first.subject.to_string()),
        ("indicator", Severity::Medium, HOST.to_owned())
    );
    assert_eq!(first.title, "10.0.0.7 talks to 203.0.113.9, which is on list feodo");
    assert_eq!(
        first.explanation,
        "10.0.0.7 sent 5.00 kB (5 packets) to 1 address on list feodo and received 120 kB (120 packets) within 6 s; 1 conversation that it \
         opened was answered. Listed: 203.0.113.9 (Dridex)."
    );
    assert!(seen[1].explanation.ends_with("Listed: 203.0.113.9 (score 9)."), "{}", seen[1].explanation);
    assert_eq!((&first.peers, first.evidence.len(), first.first_ms), (&vec![ip(BAD)], 1, 1000));
    // Nothing new is said of the same again, until there is twice as much.
    bench.talk(HOST, BAD, 443, 10_000, (5000, 1000));
    assert_eq!(bench.until(20_000).len() + bench.until(80_000).len(), 0);
    bench.talk(HOST, BAD, 443, 100_000, (5000, 400_000));
    let again = bench.until(110_000);
    assert_eq!(again.len(), 2);
    assert!(
        again[0].explanation.contains("sent 15.0 kB (15 packets)") && again[0].explanation.contains("521 kB"),
        "{}",
        again[0].explanation
    );
    assert!(again[0].explanation.contains("2 conversations that it opened were answered"), "{}", again[0].explanation);
}

#[test]
fn who_began_and_who_answered_decides_how_bad_it_is() {
    let severities = |severity, talk: &dyn Fn(&mut Bench)| {
        let (settings, parsed) = list("c2", BAD);
        let mut bench = Bench::new(set_of([(ListSettings { severity, ..settings }, parsed)]));
        talk(&mut bench);
        bench.until(9000).into_iter().map(|sighting| (sighting.severity, sighting.title)).collect::<Vec<_>>()
    };
    use Severity::{High, Low, Medium};
    let opened = |bench: &mut Bench| bench.talk(HOST, BAD, 443, 1000, (500, 500));
    let tried = |bench: &mut Bench| bench.talk(HOST, BAD, 443, 1000, (60, 0));
    let accepted = |bench: &mut Bench| bench.talk(BAD, HOST, 443, 1000, (500, 500));
    let probed = |bench: &mut Bench| bench.talk(BAD, HOST, 443, 1000, (60, 0));
    let title = |does: &str| format!("10.0.0.7 {does} 203.0.113.9, which is on list c2");
    assert_eq!(severities(High, &opened), [(High, title("talks to"))]);
    assert_eq!(severities(High, &tried), [(Medium, title("tries to reach"))]);
    assert_eq!(severities(High, &accepted), [(Medium, title("answers"))]);
    assert_eq!(severities(Medium, &tried), [(Low, title("tries to reach"))]);
    assert_eq!(severities(Medium, &accepted), [(Low, title("answers"))]);
    assert_eq!(severities(High, &probed), []);
    // The refusal may be told of before the question, or alone.
    let refused = |bench: &mut Bench| {
        bench.flow(&Flow {
            source: ip(HOST),
            destination: ip(BAD),
            source_port: 22,
            destination_port: 40_001,
            protocol: protocol::TCP,
            tcp_flags: flag::RST | flag::ACK,
            packets: 1,
            octets: 40,
            start_ms: 1000,
            end_ms: 1000,
            ..Flow::default()
        });
    };
    assert_eq!(severities(High, &refused), []);
}

#[test]
fn probes_are_low_and_of_a_few_hosts_only() {
    let mut bench = Bench::new(set_of([list("scanners", "203.0.113.0/24")]));
    let mut seen = Vec::new();
    for round in 0..12_i64 {
        for host in 0..200 {
            bench.talk(
                &format!("203.0.113.{}", round + 1),
                &format!("10.0.1.{host}"),
                22,
                round * 20_000 + host,
                (60, 0),
            );
        }
        seen.extend(bench.until(round * 20_000 + 15_000));
    }
    assert!(seen.iter().all(|sighting| sighting.severity == Severity::Low && sighting.rule.name == "indicator-probe"));
    assert_eq!(seen.len(), PROBED);
    let Sighting { title, explanation, subject, .. } = &seen[0];
    assert_eq!(*title, format!("10 addresses on list scanners probed {subject}"));
    assert!(explanation.contains(&format!("tried to reach {subject} 10 times within 3")), "{explanation}");
}

#[test]
fn what_is_inside_or_no_host_never_matches_unless_a_list_says_so() {
    let bogons = "10.0.0.0/8\n192.168.0.0/16\n224.0.0.0/3\n0.0.0.0/8\n203.0.113.0/24\nfe80::/10\n";
    let run = |match_inside, site: Site| {
        let (settings, parsed) = list("fullbogons", bogons);
        let mut bench = Bench::new(set_of([(ListSettings { match_inside, ..settings }, parsed)]));
        bench.site = site;
        for (client, server) in [
            (HOST, "10.0.0.8"),
            (HOST, "198.51.100.1"),
            (HOST, "224.0.0.251"),
            ("0.0.0.0", "255.255.255.255"),
            ("fe80::1", "fe80::2"),
        ] {
            bench.talk(client, server, 80, 1000, (500, 500));
        }
        let seen: Vec<String> = bench.until(9000).into_iter().map(|sighting| sighting.title).collect();
        (seen, bench.detector.ignored().inside > 5)
    };
    assert_eq!(run(false, Site::private_and([])), (vec![], true));
    // Others may look after private addresses; they are on no list for being where they are.
    assert_eq!(run(false, Site::only(["10.0.0.0/29".parse().expect("a network")])), (vec![], true));
    let (seen, _) = run(true, Site::private_and([]));
    assert!(seen.contains(&"10.0.0.7 talks to 10.0.0.8, which is on list fullbogons".to_owned()), "{seen:?}");
}

#[test]
fn ordinary_traffic_strangers_and_pings_are_nothing() {
    let mut bench = Bench::new(set_of([list("a", "203.0.113.9\n2001:db8::/32")]));
    for number in 0..250 {
        bench.talk(HOST, &format!("198.51.100.{number}"), 443, 1000 * number, (500, 9000));
    }
    bench.talk("198.51.100.1", BAD, 443, 260_000, (500, 9000));
    let ping = Flow {
        source: ip(BAD),
        destination: ip(HOST),
        protocol: protocol::ICMP,
        destination_port: 0x800,
        packets: 1,
        octets: 84,
        start_ms: 261_000,
        end_ms: 261_000,
        ..Flow::default()
    };
    bench.flow(&ping);
    bench.flow(&Flow { source: ping.destination, destination: ping.source, destination_port: 0, ..ping });
    assert_eq!(bench.until(290_000).len(), 0);
    assert_eq!(bench.detector.ignored().passing, 2);
    bench.talk("fd00::7", "2001:db8:1::1", 443, 300_000, (500, 9000));
    assert_eq!(bench.until(310_000).len(), 1);
}

#[test]
fn a_list_that_comes_later_finds_what_goes_on() {
    let handed = Handed::default();
    let mut bench = Bench::new(Arc::default());
    bench.detector =
        Indicator::new(&IndicatorSettings::default(), Arc::default(), handed.clone(), IndicatorState::default());
    bench.talk(HOST, BAD, 443, 1000, (500, 9000));
    assert_eq!(bench.until(10_000).len(), 0);
    handed.put(set_of([list("new", BAD)]));
    assert_eq!(bench.until(15_000).len(), 0);
    let mut seen = Vec::new();
    for at_ms in (16_000..60_000).step_by(2000) {
        let there = Flow {
            source: ip(HOST),
            destination: ip(BAD),
            source_port: 40_001,
            destination_port: 443,
            protocol: protocol::TCP,
            tcp_flags: flag::ACK,
            packets: 1,
            octets: 100,
            start_ms: at_ms,
            end_ms: at_ms,
            ..Flow::default()
        };
        bench.flow(&there);
        bench.flow(&Flow {
            source: there.destination,
            destination: there.source,
            source_port: 443,
            destination_port: 40_001,
            ..there
        });
        seen.extend(bench.until(at_ms));
    }
    let titles: Vec<&str> = seen.iter().map(|sighting| sighting.title.as_str()).collect();
    assert_eq!(
        (titles, seen[0].severity),
        (vec!["10.0.0.7 exchanges packets with 203.0.113.9, which is on list new"], Severity::Low)
    );
    handed.put(Arc::default());
    assert_eq!((bench.until(70_000).len(), bench.detector.state.contacts.len()), (0, 0));
}

#[test]
fn it_goes_on_after_a_restart() {
    let set = set_of([list("a", BAD)]);
    let mut bench = Bench::new(Arc::clone(&set));
    bench.talk(HOST, BAD, 443, 1000, (5000, 120_000));
    assert_eq!(bench.until(7000).len(), 1);
    let kept = serde_json::to_vec(bench.detector.state()).expect("a state");
    let state = serde_json::from_slice(&kept).expect("what was written");
    bench.detector = Indicator::new(&IndicatorSettings::default(), set, Handed::default(), state);
    bench.talk(HOST, BAD, 443, 100_000, (5000, 10_000));
    assert_eq!(bench.until(110_000).len(), 0);
    bench.talk(HOST, BAD, 443, 200_000, (5000, 400_000));
    assert_eq!(bench.until(210_000).len(), 1);
}

#[test]
fn memory_is_bounded() {
    let mut bench = Bench::new(set_of([list("a", "203.0.113.0/24\n2001:db8::/32")]));
    for number in 0..60_000_u32 {
        let host = format!("10.{}.{}.{}", number >> 16, number >> 8 & 255, number & 255);
        bench.talk(&host, &format!("203.0.113.{}", number % 250), 443, i64::from(number), (500, 500));
        if number % 6000 == 0 {
            drop(bench.until(i64::from(number)));
        }
    }
    drop(bench.until(300_000));
    let (entries, forgotten) = bench.detector.memory();
    assert!(entries <= PAIRS + 2 * HOSTS && forgotten > 20_000, "{entries} {forgotten}");
}

#[test]
fn settings_are_read() {
    let text = "probes = 0\n[[list]]\nfile = '/etc/flowprobe/feodo.ipset'\nseverity = 'high'\nminimum-score = 3\nmatch-inside = true\n";
    let settings: IndicatorSettings = toml::from_str(text).expect("settings");
    let expected = ListSettings {
        file: "/etc/flowprobe/feodo.ipset".into(),
        severity: Severity::High,
        minimum_score: Some(3.0),
        match_inside: true,
        ..ListSettings::default()
    };
    assert_eq!((settings.probes, &settings.list), (0, &vec![expected]));
    assert_eq!(settings.list[0].name_of(&Parsed::default()), "feodo");
    assert!(toml::from_str::<IndicatorSettings>("[[list]]\nfiles = 'x'").is_err());
}
