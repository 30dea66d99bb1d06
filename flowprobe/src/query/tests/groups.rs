//! The questions of the dashboard: what sent and received, networks, messages of ICMP, interfaces, exporters, series of groups, hosts.

use std::net::IpAddr;

use super::*;
use crate::store::rollup::BothWays;

const SIX: [&str; 6] = ["octetsSent", "octetsReceived", "packetsSent", "packetsReceived", "flowsSent", "flowsReceived"];
const THREE: [&str; 3] = ["octets", "packets", "flows"];

fn quoted(bits: u128) -> String {
    format!("\"{}\"", ip(bits))
}

fn name_of(index: i64, name: &Option<Arc<str>>) -> Option<String> {
    name.as_ref().map(ToString::to_string).or_else(|| (index != 0).then(|| index.to_string()))
}

#[test]
fn questions_of_the_dashboard_are_answered_as_the_rows_say() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let (_folder, store) = filled(&mut random);
    let flows = all_rows(store.shelf());
    let source = Source::Shelf(store.shelf());
    for round in 0..60 {
        let (from_ms, to_ms) = random_times(&mut random);
        let filter = random_filter(&mut random);
        let mut request =
            Request { question: Question::Sources, from_ms, to_ms, filter, by: Measure::Octets, top: usize::MAX };
        let context = format!("seed {seed}, round {round}: {request:?}");
        let both = |row: usize| vec![(quoted(flows.source[row]), 0), (quoted(flows.destination[row]), 1)];
        let (all, _) = expected(&flows, &request, 2, both);
        for (question, flows_at) in [(Question::Sources, 4), (Question::Destinations, 5)] {
            request.question = question;
            let answer = ask(source, &request).expect("an answer");
            let mut of_side = all.clone();
            of_side.retain(|_, counts| counts[flows_at] > 0);
            assert_eq!(said(&answer, &["address"], &SIX), of_side, "{context}");
            let ranks: Vec<i64> = answer.rows.iter().map(|row| number(&row[flows_at - 3])).collect();
            assert!(ranks.is_sorted_by(|one, other| one >= other), "{context}: {ranks:?}");
        }

        let (prefix, prefix6) = (random.u8(0..=32), random.u8(0..=128));
        request.question = Question::Networks { prefix, prefix6 };
        let network = |bits: u128| {
            let address = ip(bits);
            let length = if address.is_ipv4() { prefix } else { prefix6 };
            format!("\"{}\"", ipnet::IpNet::new(address, length).expect("a prefix").trunc())
        };
        let (said_of, total) = expected(&flows, &request, 2, |row| {
            vec![(network(flows.source[row]), 0), (network(flows.destination[row]), 1)]
        });
        let answer = ask(source, &request).expect("an answer");
        assert_eq!((said(&answer, &["network"], &SIX), answer.total), (said_of, total.into()), "{context}");

        request.question = Question::Icmp;
        let (said_of, _) = expected(&flows, &request, 1, |row| {
            let (kind, code) = (flows.icmp[row] >> 8, flows.icmp[row] & 255);
            if flows.protocol[row] == 1 { vec![(format!("1 {kind} {code}"), 0)] } else { Vec::new() }
        });
        let answer = ask(source, &request).expect("an answer");
        let names = ["protocolIdentifier", "icmpType", "icmpCode"];
        assert_eq!(said(&answer, &names, &THREE), said_of, "{context}");

        request.question = Question::Interfaces;
        let (said_of, total) = expected(&flows, &request, 2, |row| {
            let out = name_of(flows.egress[row], &flows.egress_name[row]).map(|name| (format!("\"{name}\""), 0));
            let into = name_of(flows.ingress[row], &flows.ingress_name[row]).map(|name| (format!("\"{name}\""), 1));
            [out, into].into_iter().flatten().collect()
        });
        let answer = ask(source, &request).expect("an answer");
        let ways = ["octetsOut", "octetsIn", "packetsOut", "packetsIn", "flowsOut", "flowsIn"];
        assert_eq!((said(&answer, &["interface"], &ways), answer.total), (said_of, total.into()), "{context}");

        request.question = Question::Exporters;
        let (said_of, _) = expected(&flows, &request, 1, |row| {
            let exporter = flows.exporter[row];
            vec![(if exporter == 0 { "null".to_owned() } else { quoted(exporter) }, 0)]
        });
        let answer = ask(source, &request).expect("an answer");
        assert_eq!(said(&answer, &["exporterIPAddress"], &THREE), said_of, "{context}");

        request.top = random.usize(1..30);
        request.question = Question::Records;
        let answer = ask(source, &request).expect("an answer");
        let mut ends: Vec<i64> =
            (0..flows.len()).filter(|row| is_meant(&request, &flows, *row)).map(|row| flows.end_ms[row]).collect();
        ends.sort_unstable_by_key(|end| -end);
        assert_eq!(answer.of, ends.len() as u64, "{context}");
        ends.truncate(request.top);
        assert_eq!(answer.rows.iter().map(|row| number(&row[1])).collect::<Vec<_>>(), ends, "{context}");
    }
}

fn number(cell: &Cell) -> i64 {
    match cell {
        Cell::Number(number) => *number,
        cell => unreachable!("{cell:?} is no number"),
    }
}

/// The groups of a row, read off it plainly.
fn groups_of(flows: &Flows, row: usize, grouping: Grouping) -> Vec<Group> {
    let service = Service::of(flows, row);
    let of_service = |has_port: bool| {
        service.filter(|service| service.has_port() == has_port).map(Group::Service).into_iter().collect()
    };
    let countries = [&flows.source_country[row], &flows.destination_country[row]];
    let systems = [flows.source_as[row], flows.destination_as[row]];
    match grouping {
        Grouping::None => vec![Group::All],
        Grouping::Protocol => vec![Group::Protocol(flows.protocol[row])],
        Grouping::Service => of_service(true),
        Grouping::Icmp => of_service(false),
        Grouping::Interface => {
            let name =
                |name: Option<String>, group: fn(Arc<str>) -> Group| name.map(|name| group(name.as_str().into()));
            let into = name(name_of(flows.ingress[row], &flows.ingress_name[row]), Group::In);
            let out = name(name_of(flows.egress[row], &flows.egress_name[row]), Group::Out);
            into.into_iter().chain(out).collect()
        }
        Grouping::Source => vec![Group::Address(ip(flows.source[row]))],
        Grouping::Destination => vec![Group::Address(ip(flows.destination[row]))],
        Grouping::Country => countries.into_iter().flatten().cloned().map(Group::Country).collect(),
        Grouping::System => systems.into_iter().filter(|number| *number != 0).map(Group::System).collect(),
        Grouping::Exporter => vec![Group::Exporter((flows.exporter[row] != 0).then(|| ip(flows.exporter[row])))],
    }
}

const ALL: [Grouping; 10] = [
    Grouping::None,
    Grouping::Protocol,
    Grouping::Service,
    Grouping::Icmp,
    Grouping::Interface,
    Grouping::Source,
    Grouping::Destination,
    Grouping::Country,
    Grouping::System,
    Grouping::Exporter,
];

#[test]
fn series_of_groups_are_what_the_rows_say() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let (_folder, store) = filled(&mut random);
    let flows = all_rows(store.shelf());
    for round in 0..60 {
        let (from_ms, to_ms) = random_times(&mut random);
        let step_ms = [MINUTE_MS, 15 * MINUTE_MS, HOUR_MS, 3 * HOUR_MS, 24 * HOUR_MS][random.usize(..5)];
        let top = random.usize(1..6);
        let filter = random_filter(&mut random);
        let request = Request { question: Question::Records, from_ms, to_ms, filter, by: Measure::Flows, top };
        let grouping = ALL[round % ALL.len()];
        let context = format!("seed {seed}, round {round}: {grouping:?} {step_ms} {request:?}");
        let chart = chart(Source::Shelf(store.shelf()), &request, step_ms, grouping).expect("an answer");
        let mut of_groups: BTreeMap<Group, BTreeMap<i64, Counts>> = BTreeMap::new();
        let mut total = Counts::default();
        for row in (0..flows.len()).filter(|row| is_meant(&request, &flows, *row)) {
            let counts = Counts::of(&flows, row);
            total += counts;
            let step = flows.end_ms[row] / step_ms * step_ms;
            for group in groups_of(&flows, row, grouping) {
                *of_groups.entry(group).or_default().entry(step).or_default() += counts;
            }
        }
        assert_eq!(chart.total, total, "{context}");
        assert!(chart.steps.windows(2).all(|steps| steps[1] - steps[0] == step_ms), "{context}");
        assert!(chart.steps[0] <= from_ms && chart.steps[0] + step_ms > from_ms, "{context}");
        let mut others: BTreeMap<i64, Counts> = BTreeMap::new();
        let weight = |steps: &BTreeMap<i64, Counts>| steps.values().map(|counts| counts.flows).sum::<i64>();
        let mut shown: Vec<i64> = Vec::new();
        for (group, counts) in &chart.groups {
            let in_chart: BTreeMap<i64, Counts> = chart
                .steps
                .iter()
                .copied()
                .zip(counts.iter().copied())
                .filter(|(_, counts)| counts.flows > 0)
                .collect();
            match of_groups.remove(group) {
                Some(of_group) => {
                    shown.push(weight(&of_group));
                    assert_eq!(in_chart, of_group, "{context} {group:?}");
                }
                None if *group == Group::Other => others = in_chart,
                None => assert!(grouping == Grouping::None && in_chart.is_empty(), "{context} {group:?}"),
            }
        }
        let mut expected: BTreeMap<i64, Counts> = BTreeMap::new();
        for steps in of_groups.values() {
            assert!(shown.len() == top && shown.iter().all(|one| *one >= weight(steps)), "{context}");
            steps.iter().for_each(|(step, counts)| *expected.entry(*step).or_default() += *counts);
        }
        assert_eq!(others, expected, "{context}");
    }
}

#[test]
fn a_host_is_what_its_rows_say() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let (_folder, store) = filled(&mut random);
    let flows = all_rows(store.shelf());
    let now_ms = START_MS + 3 * DAY_MS;
    for (round, address) in ["10.7.0.1", "10.7.0.3", "2001:db8::1", "10.7.2.1", "192.0.2.1"].into_iter().enumerate() {
        let address: IpAddr = address.parse().expect("an address");
        // Of the last rounds the first day is summed, and then the second.
        if round == 3 {
            store.shelf().write_out().expect("an empty disk");
            assert!(maintain(store.shelf(), KEPT, now_ms, &AtomicBool::new(false)).is_empty());
        }
        let (from_ms, to_ms) = if round == 0 { (START_MS, now_ms) } else { random_times(&mut random) };
        let request = Request {
            question: Question::Records,
            from_ms,
            to_ms,
            filter: Filter::default(),
            by: Measure::Octets,
            top: usize::MAX,
        };
        let known = host(Source::Shelf(store.shelf()), &request, address, HOUR_MS).expect("an answer");
        let context = format!("seed {seed}: {address} {request:?}");
        let ends = |row: &usize| [ip(flows.source[*row]), ip(flows.destination[*row])];
        let all: Vec<usize> = (0..flows.len()).filter(|row| ends(row).contains(&address)).collect();
        assert_eq!(known.first_ms, all.iter().map(|row| flows.start_ms[*row]).min(), "{context}");
        assert_eq!(known.last_ms, all.iter().map(|row| flows.end_ms[*row]).max(), "{context}");
        let (mut both, mut steps) = (BothWays::default(), BTreeMap::<i64, BothWays>::new());
        let mut peers: BTreeMap<String, BothWays> = BTreeMap::new();
        for row in all.into_iter().filter(|row| is_meant(&request, &flows, *row)) {
            let [source, destination] = ends(&row);
            let counts = Counts::of(&flows, row);
            for (own, peer, side) in [(source, destination, Side::Source), (destination, source, Side::Destination)] {
                if own == address {
                    let one = BothWays::of(side, counts);
                    both += one;
                    *steps.entry(flows.end_ms[row] / HOUR_MS * HOUR_MS).or_default() += one;
                    *peers.entry(format!("\"{peer}\"")).or_default() += one;
                }
            }
        }
        assert_eq!(known.both, both, "{context}");
        let in_steps = known.series.steps.iter().copied().zip(known.series.counts.iter().copied());
        assert_eq!(in_steps.filter(|(_, both)| *both != BothWays::default()).collect::<BTreeMap<_, _>>(), steps);
        let of_peers: BTreeMap<String, i64> =
            peers.iter().map(|(name, both)| (name.clone(), both.sum().octets)).collect();
        let in_answer = said(&known.peers, &["address"], &["octetsSent", "octetsReceived"]);
        let in_answer: BTreeMap<String, i64> =
            in_answer.into_iter().map(|(name, sums)| (name, sums.iter().sum())).collect();
        assert_eq!(in_answer, of_peers, "{context}");
        assert_eq!(known.mac_addresses.is_empty(), both.sent.flows == 0, "{context}: {:?}", known.mac_addresses);
    }
}

#[test]
fn an_answer_that_nobody_wants_any_more_is_given_up() {
    let mut random = fastrand::Rng::with_seed(18);
    let (_folder, store) = filled(&mut random);
    let request = Request {
        question: Question::Conversations,
        from_ms: START_MS,
        to_ms: START_MS + 2 * DAY_MS,
        filter: Filter::default(),
        by: Measure::Octets,
        top: 10,
    };
    let flows = |stop: &AtomicBool| ask(Source::Wanted(store.shelf(), stop), &request).expect("an answer").total.flows;
    assert_eq!((flows(&AtomicBool::new(true)), flows(&AtomicBool::new(false))), (0, 4890));
}
