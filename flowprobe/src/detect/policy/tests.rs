//! Policies: what they forbid, what they permit, and which are refused.

use std::net::IpAddr;

use super::super::connection::{Connections, Step};
use super::super::finding::Severity;
use super::super::site::Site;
use super::*;

fn ip(text: &str) -> Ip {
    text.parse::<IpAddr>().expect("an address").into()
}

fn settings(text: &str) -> Result<PolicySettings, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// The three of the manual.
const THREE: &str = r#"[
    {"name": "guests", "from": ["10.0.50.0/24"], "only-ports": [53, "80", 443]},
    {"name": "database", "severity": "high", "to": ["10.0.9.5"], "protocols": ["tcp"], "ports": [5432],
     "only-from": ["10.0.8.0/28", "!10.0.8.9"]},
    {"name": "no telnet", "protocols": ["tcp"], "ports": [23], "forbid": true}
]"#;

struct Run {
    policies: Policies,
    connections: Connections,
    site: Site,
}

impl Run {
    fn new(text: &str) -> Self {
        let policies = Policies::new(settings(text).expect("policies"));
        Self { policies, connections: Connections::new(200_000), site: Site::private_and([]) }
    }

    fn take(&mut self, flows: &[Flow]) -> Seen {
        let Self { policies, connections, site } = self;
        let mut seen = Seen::new();
        let now_ms = flows.iter().map(|flow| flow.end_ms).max().unwrap_or(0) + 10_000;
        let mut tell = |connection: &Connection, step| {
            if let Step::Judged(outcome) = step {
                policies.judged(connection, outcome, Context { site, now_ms }, &mut seen);
            }
        };
        for flow in flows {
            connections.take(flow, flow.end_ms, &mut tell);
        }
        connections.finish(&mut tell);
        seen
    }

    fn advance(&mut self, now_ms: i64) -> Seen {
        let mut seen = Seen::new();
        self.policies.advance(Context { site: &self.site, now_ms }, &mut seen);
        seen
    }

    fn broken(&mut self, flows: &[Flow]) -> Vec<(String, String)> {
        self.take(flows).into_iter().map(|sighting| (sighting.matter, sighting.subject.to_string())).collect()
    }
}

fn packet(source: (&str, u16), destination: (&str, u16), protocol: u8, tcp_flags: u16, at_ms: i64) -> Flow {
    Flow {
        source: ip(source.0),
        destination: ip(destination.0),
        source_port: source.1,
        destination_port: destination.1,
        protocol,
        tcp_flags,
        opens: tcp_flags & (flag::SYN | flag::ACK) == flag::SYN,
        packets: 1,
        octets: 60,
        start_ms: at_ms,
        end_ms: at_ms,
        ..Flow::default()
    }
}

/// A conversation of TCP that takes place.
fn tcp(client: (&str, u16), server: (&str, u16)) -> [Flow; 3] {
    [
        packet(client, server, protocol::TCP, flag::SYN, 0),
        packet(server, client, protocol::TCP, flag::SYN | flag::ACK, 1),
        packet(client, server, protocol::TCP, flag::ACK, 2),
    ]
}

fn udp(client: (&str, u16), server: (&str, u16)) -> [Flow; 2] {
    [packet(client, server, protocol::UDP, 0, 0), packet(server, client, protocol::UDP, 0, 1)]
}

const GUEST: (&str, u16) = ("10.0.50.7", 50_000);

#[test]
fn guests_reach_only_some_ports() {
    let mut run = Run::new(THREE);
    for flows in [
        tcp(GUEST, ("9.9.9.9", 443)).to_vec(),
        tcp(GUEST, ("10.0.1.1", 80)).to_vec(),
        udp(GUEST, ("9.9.9.9", 53)).to_vec(),
        udp(("10.0.50.7", 68), ("10.0.0.1", 67)).to_vec(),
        vec![packet(("10.0.50.7", 0), ("10.0.0.1", 2048), protocol::ICMP, 0, 0)],
        // Others may, and others may ask the guests.
        tcp(("10.0.1.7", 50_000), ("9.9.9.9", 22)).to_vec(),
        tcp(("10.0.1.7", 50_000), ("10.0.50.7", 8009)).to_vec(),
        // To all: no conversation.
        vec![packet(("10.0.50.7", 5353), ("224.0.0.251", 5353), protocol::UDP, 0, 0)],
    ] {
        assert_eq!(run.broken(&flows), [], "{flows:?}");
    }
    let seen = run.take(&tcp(GUEST, ("9.9.9.9", 22)));
    assert_eq!((seen.len(), seen[0].severity), (1, Severity::Medium));
    assert_eq!(seen[0].title, "10.0.50.7 talked to 9.9.9.9:22 (tcp) against the policy \"guests\"");
    assert_eq!(
        seen[0].explanation,
        "10.0.50.7 talked to 9.9.9.9:22 (tcp) once. The policy \"guests\" forbids it. 1 conversation in all."
    );
    let guest = [("guests".to_owned(), "10.0.50.8".to_owned())];
    assert_eq!(run.broken(&udp(("10.0.50.8", 50_000), ("9.9.9.9", 123))), guest);
    // A tunnel has no port that is permitted.
    assert_eq!(run.broken(&[packet(("10.0.50.8", 0), ("9.9.9.9", 0), 47, 0, 0)]), guest);
}

#[test]
fn only_some_reach_the_database() {
    let mut run = Run::new(THREE);
    let database = ("10.0.9.5", 5432);
    assert_eq!(run.broken(&tcp(("10.0.8.1", 50_000), database)), []);
    assert_eq!(run.broken(&tcp(("10.0.1.1", 50_000), ("10.0.9.5", 22))), []);
    assert_eq!(run.broken(&tcp(("10.0.1.1", 50_000), ("10.0.9.6", 5432))), []);
    for other in ["10.0.1.1", "10.0.8.9", "10.0.8.16", "203.0.113.9"] {
        assert_eq!(run.broken(&tcp((other, 50_000), database)), [("database".to_owned(), other.to_owned())]);
    }
    // The middle of a conversation whose client is permitted, the server's packets first.
    let middle = [
        packet(database, ("10.0.8.1", 50_000), protocol::TCP, flag::ACK, 0),
        packet(("10.0.8.1", 50_000), database, protocol::TCP, flag::ACK, 1),
    ];
    assert_eq!(run.broken(&middle), []);
    let middle = middle.map(|flow| match flow.source_port {
        5432 => Flow { destination: ip("10.0.1.9"), ..flow },
        _ => Flow { source: ip("10.0.1.9"), ..flow },
    });
    assert_eq!(run.broken(&middle), [("database".to_owned(), "10.0.1.9".to_owned())]);
}

#[test]
fn attempts_count_too_and_are_said_as_such() {
    let mut run = Run::new(THREE);
    let seen = run.take(&[packet(("10.0.1.1", 50_000), ("10.0.2.2", 23), protocol::TCP, flag::SYN, 0)]);
    assert_eq!(seen[0].title, "10.0.1.1 tried to talk to 10.0.2.2:23 (tcp) against the policy \"no telnet\"");
    assert!(seen[0].explanation.ends_with("It was tried only: nobody answered, or it was refused."));
    // Answers to what others have asked in somebody's name, and ends of conversations.
    for calm in [
        packet(("9.9.9.9", 23), ("10.0.1.1", 40_000), protocol::TCP, flag::SYN | flag::ACK, 0),
        packet(("10.0.1.1", 40_000), ("9.9.9.9", 23), protocol::TCP, flag::RST, 0),
    ] {
        assert_eq!(run.broken(&[calm]), [], "{calm:?}");
    }
}

#[test]
fn words_and_what_is_not_among_them() {
    let text = r#"[
        {"name": "no way in", "from": ["outside", "!203.0.113.0/24"], "to": ["inside", "!10.0.9.80"], "protocols": ["tcp"], "forbid": true},
        {"name": "cameras", "from": ["10.0.60.0/24"], "only-to": ["10.0.61.1", "fd00::1"]},
        {"name": "mail", "from": ["inside"], "to": ["outside"], "ports": ["25", "465-587"], "forbid": true, "severity": "low"}
    ]"#;
    let mut run = Run::new(text);
    let names = |run: &mut Run, client, server, port| -> Vec<String> {
        run.broken(&tcp((client, 50_000), (server, port))).into_iter().map(|(name, _)| name).collect()
    };
    assert_eq!(names(&mut run, "9.9.9.9", "10.0.0.1", 443), ["no way in"]);
    assert_eq!(names(&mut run, "203.0.113.9", "10.0.0.1", 443), [""; 0]);
    assert_eq!(names(&mut run, "9.9.9.8", "10.0.9.80", 443), [""; 0]);
    assert_eq!(names(&mut run, "10.0.60.3", "10.0.61.1", 554), [""; 0]);
    assert_eq!(names(&mut run, "10.0.60.3", "9.9.9.9", 587), ["cameras", "mail"]);
    assert_eq!(names(&mut run, "10.0.1.3", "9.9.9.9", 464), [""; 0]);
    assert_eq!(names(&mut run, "10.0.1.3", "9.9.9.9", 465), ["mail"]);
    assert_eq!(names(&mut run, "10.0.1.4", "9.9.9.9", 588), [""; 0]);
    assert_eq!(names(&mut run, "fd00::7", "2001:db8::1", 25), ["mail"]);
}

#[test]
fn policies_that_say_nothing_or_contradict_themselves_are_refused() {
    for (policy, expected) in [
        (r#"{"forbid": true}"#, "a policy has no name"),
        (r#"{"name": "a"}"#, "policy \"a\": it forbids nothing"),
        (r#"{"name": "a", "forbid": true, "only-ports": [80]}"#, "policy \"a\": forbid = true leaves nothing"),
        (r#"{"name": "a", "ports": [22], "only-ports": [80]}"#, "policy \"a\": it has both ports and only-ports"),
        (
            r#"{"name": "a", "from": ["inside"], "only-from": ["10.0.0.1"]}"#,
            "policy \"a\": it has both from and only-from",
        ),
        (r#"{"name": "a", "from": [], "forbid": true}"#, "policy \"a\": from is an empty list"),
        (r#"{"name": "a", "protocols": [], "forbid": true}"#, "policy \"a\": protocols is an empty list"),
        (r#"{"name": "a", "only-ports": []}"#, "policy \"a\": only-ports is an empty list"),
        (r#"{"name": "a", "only-ports": ["0-65535"]}"#, "policy \"a\": only-ports permits all ports"),
        (r#"{"name": "a", "only-to": ["any"]}"#, "policy \"a\": only-to permits any"),
        (
            r#"{"name": "a", "from": ["10.0.5.0/24", "!10.0.0.0/8"], "forbid": true}"#,
            "policy \"a\": nobody is in from (10.0.5.0/24, !10.0.0.0/8)",
        ),
        (r#"{"name": "a", "to": ["any", "!inside", "!outside"], "forbid": true}"#, "policy \"a\": nobody is in to"),
        (
            r#"{"name": "a", "from": ["10.0.0.0/8"], "to": ["fd00::/8"], "forbid": true}"#,
            "policy \"a\": its clients and its servers are of different",
        ),
        (r#"{"name": "a", "from": ["guest"], "forbid": true}"#, "policy \"a\": from has \"guest\", which is neither"),
        (
            r#"{"name": "a", "ports": ["90-80"], "forbid": true}"#,
            "policy \"a\": ports has \"90-80\", which no port is in; 80-90",
        ),
        (r#"{"name": "a", "ports": [65536], "forbid": true}"#, "policy \"a\": ports has \"65536\", which is neither"),
        (r#"{"name": "a", "protocols": ["telnet"], "forbid": true}"#, "policy \"a\": protocols has \"telnet\""),
        (
            r#"{"name": "a", "protocols": ["icmp"], "ports": [8], "forbid": true}"#,
            "policy \"a\": it has ports, but none of its protocols",
        ),
        (r#"{"name": "a", "forbid": true}, {"name": "a", "forbid": true}"#, "policy \"a\": there are two of this name"),
        (r#"{"name": "a", "forbidden": true}"#, "unknown field `forbidden`"),
    ] {
        let error = settings(&format!("[{policy}]")).expect_err(policy);
        assert!(error.starts_with(expected), "{policy}: {error}");
    }
    assert_eq!(settings(THREE).expect("policies").names().collect::<Vec<_>>(), ["guests", "database", "no telnet"]);
}

#[test]
fn breaches_are_folded_and_said_when_they_have_doubled_or_after_a_minute() {
    let mut run = Run::new(THREE);
    let mut seen = Seen::new();
    for number in 0..100_u16 {
        seen.extend(run.take(&tcp(("10.0.50.7", 40_000 + number), ("9.9.9.9", 1000 + number % 10))));
    }
    assert_eq!(seen.len(), 7);
    assert!(seen.iter().all(|sighting| sighting.matter == "guests" && sighting.subject == seen[0].subject));
    assert!(run.advance(30_000).is_empty());
    let last = run.advance(SOON_MS + 20_000);
    assert_eq!(last.len(), 1);
    let text = &last[0].explanation;
    assert!(text.contains("9.9.9.9:1000 (tcp) 10 times, ") && text.contains("others 20 times"), "{text}");
    assert!(text.ends_with("100 conversations in all."), "{text}");
    assert!(run.advance(SOON_MS + 30_000).is_empty());
}

#[test]
fn made_up_clients_are_few_findings_and_little_memory() {
    let mut run = Run::new(r#"[{"name": "in", "from": ["outside"], "to": ["inside"], "forbid": true}]"#);
    let flows: Vec<Flow> = (0..65_536_u128)
        .map(|number| Flow {
            source: Ip(0xffff_0b00_0000 + number),
            ..packet(("9.9.9.9", 50_000), ("10.0.0.1", 443), protocol::TCP, flag::SYN, 0)
        })
        .collect();
    let seen = run.take(&flows);
    let subjects: std::collections::BTreeSet<_> = seen.iter().map(|sighting| &sighting.subject).collect();
    assert_eq!(subjects.len(), CLIENTS as usize + 1);
    assert!(run.policies.memory().0 <= BREACHES + 1, "{}", run.policies.memory().0);
    assert!(run.advance(BREACH.quiet_ms * 2).len() <= 1);
    run.advance(BREACH.quiet_ms * 3);
    assert_eq!(run.policies.memory().0, 1);
}

#[test]
fn the_table_says_what_each_policy_by_itself_says() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let hosts = [
        "10.0.0.0/8",
        "10.1.0.0/16",
        "10.1.2.3",
        "inside",
        "outside",
        "!10.1.2.0/24",
        "!192.0.2.0/24",
        "fd00::/8",
        "0.0.0.0/0",
        "::/0",
    ];
    let mut policies = Vec::new();
    while policies.len() < 150 {
        let name = policies.len();
        let (from, to) = (random.choice(hosts).expect("a host"), random.choice(hosts).expect("a host"));
        let (low, more) = (random.u16(1..2000), random.u16(0..500));
        let what = random.choice([r#""forbid": true"#, r#""forbid": true, "protocols": ["tcp"]"#]).expect("one");
        let ports = random.choice(["ports", "only-ports"]).expect("one");
        let what = if ports == "ports" { what } else { r#""protocols": ["tcp", 17]"# };
        let one = format!(
            r#"{{"name": "{name}", "from": ["{from}"], "to": ["{to}"], "{ports}": ["{low}-{}"], {what}}}"#,
            low + more
        );
        if settings(&format!("[{one}]")).is_ok() {
            policies.push(one);
        }
    }
    let all = settings(&format!("[{}]", policies.join(","))).expect("policies").rules;
    let each: Vec<Rules> = policies.iter().map(|one| settings(&format!("[{one}]")).expect("a policy").rules).collect();
    let site = Site::private_and([]);
    let addresses =
        ["10.0.0.1", "10.1.2.3", "10.1.2.4", "192.0.2.1", "9.9.9.9", "fd00::1", "2001:db8::1", "255.255.255.254"]
            .map(ip);
    let mut found = 0;
    for _ in 0..2000 {
        let (client, server) = (random.choice(addresses).expect("one"), random.choice(addresses).expect("one"));
        let (number, port) = (random.choice([6, 17, 47]).expect("one"), random.u16(0..3000));
        let mut together = Vec::new();
        all.broken(&site, client, server, number, port, |index| together.push(index));
        let mut alone = Vec::new();
        for (index, rules) in each.iter().enumerate() {
            rules.broken(&site, client, server, number, port, |_| alone.push(index));
        }
        assert_eq!(together, alone);
        found += alone.len();
    }
    assert!(found > 1000, "{found}");
}
