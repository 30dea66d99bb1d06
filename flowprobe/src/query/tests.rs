//! Every answer is what the rows say, whether it comes from rollups, records, or rows that wait.

mod groups;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::*;
use crate::enrich::{End, Facts, Interface, Known};
use crate::store::flows::{Flows, Side, ip};
use crate::store::layout::{DAY_MS, HOUR_MS};
use crate::store::rollup::{Counts, MINUTE_MS, Named, Names, Service};
use crate::store::tests::{START_MS, add, all_rows, rows, rows_of, store};
use crate::store::{Retention, Store, maintain};

const KEPT: Retention = Retention { age: Duration::from_secs(400 * 86_400), octets: u64::MAX };

/// A store with a day that is summed, hours that are files, some with parts that came late, an hour that is open, and rows that wait.
fn filled(random: &mut fastrand::Rng) -> (tempfile::TempDir, Store) {
    let (folder, store) = store();
    let shelf = store.shelf();
    let fill = |random: &mut fastrand::Rng, count, from_ms, to_ms| {
        add(shelf, &rows(random, count, from_ms, to_ms));
        shelf.write_out().expect("an empty disk");
    };
    let (second_day, open) = (START_MS + DAY_MS, START_MS + DAY_MS + 5 * HOUR_MS);
    fill(random, 3000, START_MS, second_day);
    fill(random, 1500, second_day, open);
    assert!(maintain(shelf, KEPT, open + 3 * MINUTE_MS, &AtomicBool::new(false)).is_empty());
    fill(random, 20, START_MS + 3 * HOUR_MS, START_MS + 5 * HOUR_MS);
    fill(random, 20, open - HOUR_MS, open);
    for _ in 0..3 {
        fill(random, 100, open, open + HOUR_MS / 2);
    }
    add(shelf, &rows(random, 50, open, open + HOUR_MS / 2));
    (folder, store)
}

/// Whether a row is asked for, read off the filter plainly.
fn is_meant(request: &Request, flows: &Flows, row: usize) -> bool {
    let Filter { addresses, sources, destinations, ports, protocols, interfaces, exporters, direction, .. } =
        &request.filter;
    let (source, destination) = (ip(flows.source[row]), ip(flows.destination[row]));
    let has_port = |port: &u16| [flows.source_port[row], flows.destination_port[row]].contains(&i32::from(*port));
    let is_interface = |name: &String| {
        [(&flows.ingress_name, &flows.ingress), (&flows.egress_name, &flows.egress)].into_iter().any(
            |(names, indices)| {
                names[row].as_deref() == Some(name) || (indices[row] != 0 && indices[row].to_string() == *name)
            },
        )
    };
    (request.from_ms..request.to_ms).contains(&flows.end_ms[row])
        && (addresses.is_empty() || addresses.iter().any(|net| net.contains(&source) || net.contains(&destination)))
        && (sources.is_empty() || sources.iter().any(|net| net.contains(&source)))
        && (destinations.is_empty() || destinations.iter().any(|net| net.contains(&destination)))
        && (ports.is_empty() || ports.iter().any(has_port))
        && (protocols.is_empty() || protocols.iter().any(|one| i32::from(*one) == flows.protocol[row]))
        && (interfaces.is_empty() || interfaces.iter().any(is_interface))
        && (exporters.is_empty() || exporters.contains(&ip(flows.exporter[row])))
        && direction.is_none_or(|one| i32::from(one) == flows.direction[row])
        && (request.filter.icmp.is_empty()
            || flows.protocol[row] == 1 && (flows.icmp[row] >> 8 == 8 || flows.icmp[row] == 0x303))
        && is_there(&request.filter, flows, row)
}

/// Whether one of both ends is in such a place.
fn is_there(filter: &Filter, flows: &Flows, row: usize) -> bool {
    let Filter { systems, countries, labels, .. } = filter;
    let is_any = |wanted: &[String], one: &Option<Arc<str>>, other: &Option<Arc<str>>| {
        wanted.is_empty() || [one, other].into_iter().flatten().any(|text| wanted.contains(&text.to_string()))
    };
    let numbers = [flows.source_as[row], flows.destination_as[row]];
    (systems.is_empty() || systems.iter().any(|number| numbers.contains(&i64::from(*number))))
        && is_any(countries, &flows.source_country[row], &flows.destination_country[row])
        && is_any(labels, &flows.source_label[row], &flows.destination_label[row])
}

fn random_filter(random: &mut fastrand::Rng) -> Filter {
    let mut filter = Filter::default();
    let networks = ["10.7.0.0/24", "10.7.0.1", "10.7.0.3", "2001:db8::/64", "2001:db8::1", "0.0.0.0/0", "192.0.2.1"];
    let mut network = || -> Vec<ipnet::IpNet> {
        let text = networks[random.usize(..networks.len())];
        vec![text.parse().unwrap_or_else(|_| text.parse::<std::net::IpAddr>().expect("an address").into())]
    };
    let (one, another, third) = (network(), network(), network());
    // Half of the questions have no filter.
    for _ in 0..random.usize(..3) * random.usize(..2) {
        match random.u8(..12) {
            0 => filter.addresses = one.clone(),
            1 => filter.sources = another.clone(),
            2 => filter.destinations = third.clone(),
            3 => filter.ports = vec![443, 53],
            4 => filter.protocols = vec![[6, 17, 1, 99][random.usize(..4)]],
            5 => filter.interfaces = vec![["eth7", "7", "eth0"][random.usize(..3)].to_owned()],
            6 => filter.systems = vec![64_500, 64_503],
            7 => filter.countries = vec![["DE", "FR", "XX"][random.usize(..3)].to_owned()],
            8 => filter.labels = vec![["office", "branch"][random.usize(..2)].to_owned()],
            9 => filter.icmp = vec!["8".parse().expect("a type"), "3/3".parse().expect("a type and a code")],
            10 => filter.exporters = vec!["192.0.2.9".parse().expect("an address")],
            _ => filter.direction = Some(random.u8(..2)),
        }
    }
    filter
}

fn random_times(random: &mut fastrand::Rng) -> (i64, i64) {
    let (first, last) = (START_MS - HOUR_MS, START_MS + DAY_MS + 7 * HOUR_MS);
    let grain = [1, MINUTE_MS, HOUR_MS, HOUR_MS, DAY_MS][random.usize(..5)];
    let at = |moment: i64| moment.div_euclid(grain) * grain;
    let (one, other) = (at(random.i64(first..last)), at(random.i64(first..last)));
    (one.min(other), one.max(other) + grain)
}

/// What the rows of an answer say by the text of their names, and as counts of octets, packets and flows.
type Said = BTreeMap<String, Vec<i64>>;

fn said(answer: &Answer, names: &[&str], counts: &[&str]) -> Said {
    let json = answer.to_json();
    let rows = json["rows"].as_array().expect("rows");
    let of = |row: &serde_json::Value| {
        let name: Vec<String> = names.iter().map(|name| row[name].to_string()).collect();
        (name.join(" "), counts.iter().map(|name| row[name].as_i64().expect("a number")).collect())
    };
    rows.iter().map(of).collect()
}

/// The same, by rows one by one: `key` and `place` tell where a row counts; there may be several.
fn expected(
    flows: &Flows,
    request: &Request,
    places: usize,
    keys: impl Fn(usize) -> Vec<(String, usize)>,
) -> (Said, Counts) {
    let (mut said, mut total) = (Said::new(), Counts::default());
    for row in (0..flows.len()).filter(|row| is_meant(request, flows, *row)) {
        let counts = Counts::of(flows, row);
        total += counts;
        for (key, place) in keys(row) {
            let sums = said.entry(key).or_insert_with(|| vec![0; 3 * places]);
            for (index, count) in [counts.octets, counts.packets, counts.flows].into_iter().enumerate() {
                sums[index * places + place] += count;
            }
        }
    }
    (said, total)
}

#[test]
fn answers_are_what_the_rows_say() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let (_folder, store) = filled(&mut random);
    let flows = all_rows(store.shelf());
    assert_eq!(flows.len(), 4890);
    const THREE: [&str; 3] = ["octets", "packets", "flows"];
    const SIX: [&str; 6] =
        ["octetsSent", "octetsReceived", "packetsSent", "packetsReceived", "flowsSent", "flowsReceived"];
    let quoted = |bits: u128| format!("\"{}\"", ip(bits));
    for round in 0..80 {
        let (from_ms, to_ms) = random_times(&mut random);
        let filter = random_filter(&mut random);
        let mut request =
            Request { question: Question::Talkers, from_ms, to_ms, filter, by: Measure::Octets, top: usize::MAX };
        let context = format!("seed {seed}, round {round}: {request:?}");
        let source = Source::Shelf(store.shelf());
        let (said_of, total) = expected(&flows, &request, 2, |row| {
            vec![(quoted(flows.source[row]), 0), (quoted(flows.destination[row]), 1)]
        });
        let answer = ask(source, &request).expect("an answer");
        assert_eq!(said(&answer, &["address"], &SIX), said_of, "{context}");
        assert_eq!((answer.total, answer.is_rough), (total.into(), false), "{context}");
        assert!(answer.unreadable.is_empty());

        request.question = Question::Protocols;
        let (said_of, total) = expected(&flows, &request, 1, |row| vec![(flows.protocol[row].to_string(), 0)]);
        let answer = ask(source, &request).expect("an answer");
        assert_eq!(
            (said(&answer, &["protocolIdentifier"], &THREE), answer.total),
            (said_of, total.into()),
            "{context}"
        );

        request.question = Question::Ports;
        let (said_of, _) = expected(&flows, &request, 1, |row| match flows.protocol[row] {
            6 | 17 => {
                let port = flows.source_port[row].min(flows.destination_port[row]);
                vec![(format!("{} {port}", flows.protocol[row]), 0)]
            }
            _ => Vec::new(),
        });
        let answer = ask(source, &request).expect("an answer");
        assert_eq!(said(&answer, &["protocolIdentifier", "port"], &THREE), said_of, "{context}");

        request.question = Question::Conversations;
        let (said_of, total) = expected(&flows, &request, 2, |row| {
            let (source, destination) = (flows.source[row], flows.destination[row]);
            let (source_port, destination_port) = (flows.source_port[row], flows.destination_port[row]);
            let is_sent = source_port > destination_port || (source_port == destination_port && source <= destination);
            let (client, server) = if is_sent { (source, destination) } else { (destination, source) };
            let port = source_port.min(destination_port);
            let key = format!("{} {} {} {port}", quoted(client), quoted(server), flows.protocol[row]);
            vec![(key, usize::from(!is_sent))]
        });
        let answer = ask(source, &request).expect("an answer");
        let names = ["client", "server", "protocolIdentifier", "port"];
        assert_eq!((said(&answer, &names, &SIX), answer.total), (said_of, total.into()), "{context}");

        request.question = Question::Countries;
        let (said_of, total) = expected(&flows, &request, 2, |row| {
            let ends = [(&flows.source_country[row], 0), (&flows.destination_country[row], 1)];
            ends.into_iter().filter_map(|(end, place)| Some((format!("\"{}\"", end.as_ref()?), place))).collect()
        });
        let answer = ask(source, &request).expect("an answer");
        assert_eq!((said(&answer, &["countryCode"], &SIX), answer.total), (said_of, total.into()), "{context}");
        assert_eq!(answer.of, answer.rows.len() as u64);

        request.question = Question::Systems;
        let (said_of, total) = expected(&flows, &request, 2, |row| {
            let ends = [(flows.source_as[row], 0), (flows.destination_as[row], 1)];
            ends.into_iter().filter(|(end, _)| *end != 0).map(|(end, place)| (end.to_string(), place)).collect()
        });
        let answer = ask(source, &request).expect("an answer");
        assert_eq!((said(&answer, &["asNumber"], &SIX), answer.total), (said_of, total.into()), "{context}");

        let step_ms = [1000, MINUTE_MS, 15 * MINUTE_MS, HOUR_MS][random.usize(..4)];
        let by_protocol = random.bool();
        request.question = Question::Series { step_ms, by_protocol };
        let (said_of, total) = expected(&flows, &request, 1, |row| {
            let step = flows.end_ms[row] / step_ms * step_ms;
            vec![(if by_protocol { format!("{step} {}", flows.protocol[row]) } else { step.to_string() }, 0)]
        });
        let answer = ask(source, &request).expect("an answer");
        let names: &[&str] = if by_protocol { &["milliseconds", "protocolIdentifier"] } else { &["milliseconds"] };
        let mut in_answer = said(&answer, names, &THREE);
        in_answer.retain(|_, counts| counts[2] > 0);
        assert_eq!((in_answer, answer.total), (said_of, total.into()), "{context}");

        request.question = Question::Records;
        let answer = ask(source, &request).expect("an answer");
        let (_, total) = expected(&flows, &request, 1, |_| Vec::new());
        assert_eq!(
            (answer.total, answer.of, answer.rows.len()),
            (total.into(), u64::try_from(total.flows).expect("few"), usize::try_from(total.flows).expect("few"))
        );
    }
}

/// What addresses were called the last time in the time that is asked for, by rows one by one.
fn named(flows: &Flows, request: &Request) -> BTreeMap<String, Named> {
    let mut named: BTreeMap<String, Named> = BTreeMap::new();
    for row in (0..flows.len()).filter(|row| (request.from_ms..request.to_ms).contains(&flows.end_ms[*row])) {
        for (side, address) in [(Side::Source, flows.source[row]), (Side::Destination, flows.destination[row])] {
            if let Some(one) = Named::of(flows, row, side) {
                let known = named.entry(ip(address).to_string()).or_insert_with(|| one.clone());
                *known = known.clone().max(one);
            }
        }
    }
    named
}

#[test]
fn addresses_are_called_as_they_were_the_last_time() {
    let mut random = fastrand::Rng::with_seed(17);
    let (_folder, store) = filled(&mut random);
    // In the last hour some have other names, and none where nothing is known any more.
    let late = rows_of(&mut random, 40, START_MS + 29 * HOUR_MS, START_MS + 30 * HOUR_MS, &mut Elsewhere);
    add(store.shelf(), &late);
    let flows = all_rows(store.shelf());
    for round in 0..20 {
        let (from_ms, to_ms) = random_times(&mut random);
        let top = [5, 100, usize::MAX][round % 3];
        let (filter, by) = (random_filter(&mut random), Measure::Octets);
        let mut request = Request { question: Question::Talkers, from_ms, to_ms, filter, by, top };
        let named = named(&flows, &request);
        let check = |row: &serde_json::Value, address: &str, prefix: [&str; 6]| {
            let names = named.get(row[address].as_str().expect("an address")).map(|named| &named.names);
            let text = |of: fn(&Names) -> &Option<Arc<str>>| names.and_then(|names| of(names).as_deref());
            let number = names.map(|names| names.as_number).filter(|number| *number != 0);
            let [host_name, label, as_number, organization, country, city] = prefix.map(|name| &row[name]);
            assert_eq!(host_name.as_str(), text(|names| &names.host_name), "round {round}: {row}");
            assert_eq!(label.as_str(), text(|names| &names.label), "{row}");
            assert_eq!(as_number.as_i64(), number, "{row}");
            assert_eq!(organization.as_str(), text(|names| &names.as_organization), "{row}");
            assert_eq!(country.as_str(), text(|names| &names.country), "{row}");
            assert_eq!(city.as_str(), text(|names| &names.city), "{row}");
        };
        let rows = |request: &Request| {
            let answer = ask(Source::Shelf(store.shelf()), request).expect("an answer").to_json();
            answer["rows"].as_array().expect("rows").clone()
        };
        for row in rows(&request) {
            check(&row, "address", ["hostName", "label", "asNumber", "asOrganization", "countryCode", "cityName"]);
        }
        request.question = Question::Conversations;
        for row in rows(&request) {
            let of = ["serverHostName", "serverLabel", "serverAsNumber", "serverAsOrganization", "serverCountryCode"];
            check(&row, "server", [of[0], of[1], of[2], of[3], of[4], "serverCityName"]);
        }
    }
}

/// Where all is called otherwise.
struct Elsewhere;

impl Known for Elsewhere {
    fn interface(&mut self, _: u32) -> Interface {
        Interface::default()
    }

    fn end(&mut self, address: u128, _: u64) -> End {
        let label = (!address.is_multiple_of(3)).then(|| "moved".into());
        End { facts: Facts { label, ..Facts::default() }, ..End::default() }
    }
}

#[test]
fn the_files_alone_answer_as_the_daemon_does_when_all_is_written() {
    let mut random = fastrand::Rng::with_seed(11);
    let (_folder, store) = filled(&mut random);
    store.shelf().write_out().expect("an empty disk");
    for question in [
        Question::Talkers,
        Question::Ports,
        Question::Countries,
        Question::Systems,
        Question::Conversations,
        Question::Host { address: "10.7.0.1".parse().expect("an address") },
        Question::Series { step_ms: MINUTE_MS, by_protocol: true },
        Question::Records,
    ] {
        let request = Request {
            question,
            from_ms: START_MS + 1234,
            to_ms: START_MS + 2 * DAY_MS,
            filter: Filter::default(),
            by: Measure::Packets,
            top: 50,
        };
        let of_daemon = ask(Source::Shelf(store.shelf()), &request).expect("an answer");
        assert_eq!(ask(Source::Files(store.shelf().layout()), &request).expect("an answer"), of_daemon);
        assert!(!of_daemon.rows.is_empty());
    }
}

#[test]
fn a_host_has_sent_what_it_sent_on_either_end_of_a_conversation() {
    let mut random = fastrand::Rng::with_seed(12);
    let (_folder, store) = filled(&mut random);
    let flows = all_rows(store.shelf());
    let address: std::net::IpAddr = "10.7.0.1".parse().expect("an address");
    let request = Request {
        question: Question::Host { address },
        from_ms: START_MS,
        to_ms: START_MS + 2 * DAY_MS,
        filter: Filter::default(),
        by: Measure::Octets,
        top: usize::MAX,
    };
    let answer = ask(Source::Shelf(store.shelf()), &request).expect("an answer").to_json();
    let rows = answer["rows"].as_array().expect("rows");
    let sum = |name: &str| -> i64 {
        let others = rows.iter().filter(|row| row["peer"] != "10.7.0.1");
        others.map(|row| row[name].as_i64().expect("a number")).sum()
    };
    let of = |own: &[u128], other: &[u128]| -> i64 {
        let is_meant = |row: &usize| ip(own[*row]) == address && ip(other[*row]) != address;
        (0..flows.len()).filter(is_meant).map(|row| Counts::of(&flows, row).octets).sum()
    };
    assert_eq!(sum("octetsSent"), of(&flows.source, &flows.destination));
    assert_eq!(sum("octetsReceived"), of(&flows.destination, &flows.source));
}

#[test]
fn records_that_are_gone_are_still_in_the_sums() {
    let mut random = fastrand::Rng::with_seed(13);
    let (_folder, store) = filled(&mut random);
    let shelf = store.shelf();
    shelf.write_out().expect("an empty disk");
    let now_ms = START_MS + 3 * DAY_MS;
    assert!(maintain(shelf, KEPT, now_ms, &AtomicBool::new(false)).is_empty());
    let request = Request {
        question: Question::Talkers,
        from_ms: START_MS,
        to_ms: now_ms,
        filter: Filter::default(),
        by: Measure::Octets,
        top: 100,
    };
    let before = ask(Source::Shelf(shelf), &request).expect("an answer");
    // The first day goes, hour by hour.
    for hours in [60, 50, 44] {
        let aged = Retention { age: Duration::from_secs(hours * 3600), ..KEPT };
        assert!(maintain(shelf, aged, now_ms, &AtomicBool::new(false)).is_empty());
        assert_eq!(ask(Source::Shelf(shelf), &request).expect("an answer"), before, "{hours}");
    }
    assert!(shelf.condition().deleted_hours > 20);
    let records = Request { question: Question::Records, ..request };
    assert!(ask(Source::Shelf(shelf), &records).expect("an answer").of < before.total.flows.try_into().expect("more"));
}

/// Rollups are there before the file from which they are made: whoever asks meanwhile, or after a kill just then, counts the parts.
#[test]
fn rollups_of_a_file_that_is_not_there_yet_are_not_counted_beside_its_parts() {
    let mut random = fastrand::Rng::with_seed(16);
    let (_folder, store) = store();
    let shelf = store.shelf();
    add(shelf, &rows(&mut random, 300, START_MS, START_MS + HOUR_MS));
    shelf.write_out().expect("an empty disk");
    let layout = shelf.layout();
    let hour = layout.hours().expect("hours")[0];
    let parts = layout.files(hour).expect("a folder").parts;
    // As if it had been killed between the last two steps.
    let saved = layout.unfinished().join("saved");
    std::fs::copy(layout.hour(hour).join(&parts[0]), &saved).expect("a copy");
    assert!(maintain(shelf, KEPT, START_MS + 2 * HOUR_MS, &AtomicBool::new(false)).is_empty());
    for name in layout.files(hour).expect("a folder").names() {
        std::fs::remove_file(layout.hour(hour).join(name)).expect("the whole hour");
    }
    std::fs::rename(saved, layout.hour(hour).join(&parts[0])).expect("the part");
    for question in
        [Question::Talkers, Question::Protocols, Question::Series { step_ms: MINUTE_MS, by_protocol: false }]
    {
        let request = Request {
            question,
            from_ms: START_MS,
            to_ms: START_MS + DAY_MS,
            filter: Filter::default(),
            by: Measure::Octets,
            top: 10,
        };
        assert_eq!(ask(Source::Shelf(shelf), &request).expect("an answer").total.flows, 300, "{request:?}");
    }
}

#[test]
fn a_damaged_file_is_named_and_passed_over() {
    let mut random = fastrand::Rng::with_seed(14);
    let (_folder, store) = filled(&mut random);
    let layout = store.shelf().layout();
    let hour = layout.hours().expect("hours").pop().expect("the last");
    let name = layout.files(hour).expect("a folder").parts.pop().expect("a part");
    let path = layout.hour(hour).join(&name);
    let octets = std::fs::read(&path).expect("a file");
    let request = Request {
        question: Question::Conversations,
        from_ms: hour.start_ms(),
        to_ms: hour.end_ms(),
        filter: Filter::default(),
        by: Measure::Octets,
        top: 10,
    };
    let flows = |answer: &Answer| answer.total.flows;
    let whole = ask(Source::Shelf(store.shelf()), &request).expect("an answer");
    for damage in [&octets[..octets.len() / 2], b"", b"PAR1PAR1"] {
        std::fs::write(&path, damage).expect("a file");
        let answer = ask(Source::Shelf(store.shelf()), &request).expect("an answer");
        assert_eq!((answer.unreadable.len(), flows(&answer)), (1, flows(&whole) - 100));
        assert!(answer.unreadable[0].contains(&name), "{:?}", answer.unreadable);
    }
}

/// A file with a few octets changed.
fn damaged(random: &mut fastrand::Rng, octets: &[u8]) -> Vec<u8> {
    let mut changed = octets.to_vec();
    for _ in 0..random.usize(1..4) {
        let at = random.usize(..changed.len());
        changed[at] ^= random.u8(1..);
    }
    changed
}

/// Whether an answer is right, or else names just this file.
fn is_right_or_names(answer: &Answer, right: &Answer, path: &std::path::Path) -> bool {
    let names = |line: &String| line.starts_with(&*path.to_string_lossy());
    match &answer.unreadable[..] {
        [] => (answer.total, &answer.rows) == (right.total, &right.rows),
        lines => lines.len() == 1 && lines.iter().all(names),
    }
}

#[test]
fn octets_that_were_changed_never_change_an_answer_that_does_not_say_so() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let (_folder, store) = filled(&mut random);
    let layout = store.shelf().layout();
    let hours = layout.hours().expect("hours");
    let mut faults = 0;
    // A whole hour, and parts.
    for hour in [hours[2], hours[hours.len() - 1]] {
        let name = layout.files(hour).expect("a folder").names().next().expect("a file");
        let path = layout.hour(hour).join(name);
        let octets = std::fs::read(&path).expect("a file");
        let address = "10.7.0.1".parse().expect("an address");
        for question in [Question::Records, Question::Host { address }] {
            let request = Request {
                question,
                from_ms: hour.start_ms(),
                to_ms: hour.end_ms(),
                filter: Filter::default(),
                by: Measure::Octets,
                top: usize::MAX,
            };
            let right = ask(Source::Shelf(store.shelf()), &request).expect("an answer");
            for round in 0..150 {
                std::fs::write(&path, damaged(&mut random, &octets)).expect("a file");
                let answer = ask(Source::Shelf(store.shelf()), &request).expect("an answer");
                assert!(is_right_or_names(&answer, &right, &path), "seed {seed}, {round}: {:?}", answer.unreadable);
                faults += usize::from(!answer.unreadable.is_empty());
            }
            std::fs::write(&path, &octets).expect("a file");
        }
    }
    assert!(faults > 100, "seed {seed}: {faults}");
}

#[test]
fn sums_that_are_damaged_are_named_and_what_they_are_of_is_counted() {
    let mut random = fastrand::Rng::with_seed(17);
    let (_folder, store) = filled(&mut random);
    let layout = store.shelf().layout();
    let hours = layout.hours().expect("hours");
    let request = |question| Request {
        question,
        from_ms: START_MS,
        to_ms: START_MS + 2 * DAY_MS,
        filter: Filter::default(),
        by: Measure::Octets,
        top: usize::MAX,
    };
    for (question, name) in [(Question::Talkers, "talkers"), (Question::Protocols, "minutes")] {
        let right = ask(Source::Files(layout), &request(question.clone())).expect("an answer");
        let of = |period: &dyn std::fmt::Display| {
            layout.rollup_file(name, &period, &layout.rollup_ids(name, &period).expect("a folder")[0])
        };
        let (of_day, of_hour) = (of(&hours[2].day()), of(&hours[2]));
        for (count, path) in [(1, of_day), (2, of_hour)] {
            let mut octets = std::fs::read(&path).expect("a file");
            // In its first pages.
            octets[40] ^= 1;
            std::fs::write(&path, octets).expect("a file");
            let answer = ask(Source::Files(layout), &request(question.clone())).expect("an answer");
            assert_eq!((answer.total, &answer.rows), (right.total, &right.rows));
            assert_eq!(answer.unreadable.len(), count, "{:?}", answer.unreadable);
            let names = |line: &String| line.starts_with(&*path.to_string_lossy());
            assert!(answer.unreadable.iter().any(names), "{:?}", answer.unreadable);
        }
    }
}

#[test]
fn the_first_are_those_with_most_of_what_was_asked_for() {
    let mut random = fastrand::Rng::with_seed(15);
    let (_folder, store) = filled(&mut random);
    for (by, name) in [(Measure::Octets, "octets"), (Measure::Packets, "packets"), (Measure::Flows, "flows")] {
        let request = Request {
            question: Question::Ports,
            from_ms: START_MS,
            to_ms: START_MS + 2 * DAY_MS,
            filter: Filter::default(),
            by,
            top: 3,
        };
        let answer = ask(Source::Shelf(store.shelf()), &request).expect("an answer");
        let all = ask(Source::Shelf(store.shelf()), &Request { top: 1000, ..request }).expect("an answer");
        assert_eq!((answer.rows.len(), answer.of, all.rows.len()), (3, all.of, usize::try_from(all.of).expect("few")));
        assert_eq!(answer.rows, all.rows[..3]);
        let json = all.to_json();
        let values: Vec<i64> =
            json["rows"].as_array().expect("rows").iter().map(|row| row[name].as_i64().expect("a number")).collect();
        assert!(values.is_sorted_by(|a, b| a >= b), "{name}: {values:?}");
    }
}

#[test]
fn csv_and_tables_say_what_the_answer_says() {
    let cell = |text: &str| Cell::Text(text.to_owned());
    let answer = Answer {
        from_ms: START_MS,
        to_ms: START_MS + HOUR_MS,
        total: Total { packets: 3, octets: 1500, flows: 2 },
        of: 7,
        columns: vec![("address".to_owned(), Unit::Name), ("octetsSent".to_owned(), Unit::Octets)],
        rows: vec![vec![cell("a,\"b\""), Cell::Number(1500)], vec![Cell::None, Cell::Number(0)]],
        is_rough: true,
        unreadable: vec!["x.parquet: EOF".to_owned()],
    };
    assert_eq!(answer.to_csv(), "address,octetsSent\r\n\"a,\"\"b\"\"\",1500\r\n,0\r\n");
    let table = render::table(&answer);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines[..3], ["address  octets sent", "a,\"b\"        1.50 kB", "-                0 B"]);
    assert!(lines[4].starts_with("2 of 7 rows · 1.50 kB in 3 packets of 2 flows · "), "{}", lines[4]);
    assert!(table.contains("There were too many") && table.contains("damaged: x.parquet: EOF"), "{table}");
}
