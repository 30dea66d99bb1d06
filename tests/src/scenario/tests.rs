//! Holds that scenarios are what they say: volumes, order, splits, labels whose traffic is there, files that can be read back, scores.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::attacks::{Family, LabelledDay, ordinary_day};
use super::ordinary::{DAY_MS, HOUR_MS, Kind, MONDAY_MS, day, mac_text};
use super::record::{ACTIVE_MS, Amount, Record, Talk, Traffic, flag, protocol};
use super::score::{Finding, Label, Score, Severity, Tolerance};
use super::site::{Network, Outside, Server};
use super::{ipfix, labelled, seed};

fn must_be_sane(records: &[Record]) {
    for record in records {
        let Record { packets, octets, start_ms, end_ms, export_ms, .. } = *record;
        assert!(packets > 0 && octets >= packets * 28 && octets <= packets * 1500, "{record:?}");
        assert!(start_ms <= end_ms && end_ms <= export_ms && end_ms - start_ms <= ACTIVE_MS, "{record:?}");
        assert!(
            record.source.is_ipv4() == record.destination.is_ipv4() && record.source != record.destination,
            "{record:?}"
        );
        assert!(record.lengths.0 <= record.lengths.1 && record.lengths.1 <= 1500, "{record:?}");
        assert!(record.protocol == protocol::TCP || record.flags == 0, "{record:?}");
    }
    assert!(records.is_sorted_by_key(|record| record.export_ms));
}

#[test]
fn ordinary_days_have_the_volumes_of_a_site_of_200_hosts() {
    let network = Network::whole(seed());
    assert_eq!(network.hosts().count(), 200);
    let inside: BTreeSet<IpAddr> = network.hosts().map(|host| host.ip).collect();
    assert_eq!(inside.len(), 200);
    for kind in Kind::ALL {
        let records = day(&network, kind.day(), seed());
        must_be_sane(&records);
        let hour = |record: &Record| usize::try_from((record.start_ms - MONDAY_MS) / HOUR_MS % 24).unwrap();
        let (mut hours, mut octets) = ([0_u32; 24], BTreeMap::new());
        for record in &records {
            // Pages, not what goes on for long.
            let new_page = record.destination_port == 443 && record.end_reason != 2 && inside.contains(&record.source);
            hours[hour(record)] += u32::from(new_page);
            *octets.entry(record.protocol).or_insert(0) += record.octets;
        }
        println!(
            "seed {}: {kind:?}: {} records, octets by protocol {octets:?}, pages by hour {hours:?}",
            seed(),
            records.len()
        );
        let expected = if kind == Kind::Weekend { 150_000..260_000 } else { 300_000..460_000 };
        assert!(expected.contains(&records.len()), "{kind:?}: {} records", records.len());
        assert!(octets[&protocol::TCP] > octets[&protocol::UDP] && octets[&protocol::UDP] > octets[&protocol::ICMP]);
        let everybody: BTreeSet<IpAddr> = records.iter().map(|record| record.source).collect();
        let there = inside.intersection(&everybody).count();
        if kind != Kind::Weekend {
            assert!(
                hours[10] > 3 * hours[3] && hours[12] * 10 < hours[10] * 8 && hours[12] * 10 < hours[14] * 8,
                "{hours:?}"
            );
            assert!(there > 175, "{there} hosts");
        }
        assert!(kind == Kind::Weekend || records.iter().any(|record| record.source.is_ipv6()));
        // Uploads of hundreds of megabytes, and backups of gigabytes to a cloud.
        let to_cloud = |outside: Outside| -> u64 {
            let cloud: BTreeSet<IpAddr> = (0..outside.count()).map(|number| outside.device(number).ip).collect();
            records.iter().filter(|record| cloud.contains(&record.destination)).map(|record| record.octets).sum()
        };
        assert!(to_cloud(Outside::CloudStorage) > 10_000_000_000);
        assert!(kind == Kind::Weekend || to_cloud(Outside::CloudFiles) > 300_000_000);
    }
}

#[test]
fn the_same_seed_gives_the_same_day_and_another_seed_another() {
    let of = |seed| day(&Network::small(seed), 1, seed);
    assert!(of(7) == of(7));
    assert!(of(7) != of(8));
}

#[test]
fn a_long_conversation_is_split_at_the_active_timeout() {
    let (network, mut traffic) = (Network::small(1), Traffic::new(seed()));
    let talk = Talk::tcp(network.office[1], network.server(Server::Files), 445, MONDAY_MS, (9_000_000, 70_000));
    traffic.talk(talk.lasting(10 * 60_000 + 5000));
    let (there, back): (Vec<Record>, Vec<Record>) =
        traffic.records.iter().partition(|record| record.destination_port == 445);
    for (records, amount) in [(there, talk.sent), (back, talk.received)] {
        assert_eq!(records.len(), 11);
        assert_eq!(records.iter().map(|record| record.packets).sum::<u64>(), amount.packets);
        assert_eq!(records.iter().map(|record| record.octets).sum::<u64>(), amount.octets);
        for (number, record) in records.iter().enumerate() {
            assert_eq!(
                (record.flags & flag::SYN != 0, record.flags & flag::FIN != 0),
                (number == 0, number == 10),
                "{record:?}"
            );
            assert_eq!(record.end_reason, if number == 10 { 3 } else { 2 });
        }
        assert!(records.windows(2).all(|pair| pair[0].end_ms < pair[1].start_ms));
    }
    // A word every minute is a record each.
    let mut traffic = Traffic::new(seed());
    let words = (Amount::of(60, 60), Amount::of(60, 60));
    traffic
        .talk(Talk::udp(network.phones[0], network.server(Server::Telephony), 5060, MONDAY_MS, words).lasting(HOUR_MS));
    assert_eq!(traffic.records.len(), 120);
    assert!(traffic.records.iter().all(|record| record.packets == 1 && record.start_ms == record.end_ms));
}

/// Whether there is traffic of what a label says, and it begins and ends when it says so.
fn must_be_there(day: &LabelledDay, label: &Label) {
    let hosts: Vec<IpAddr> = label.subjects.iter().filter_map(|subject| subject.parse().ok()).collect();
    let names = |host: &IpAddr| hosts.is_empty() || hosts.contains(host);
    let time = label.begin_ms..=label.end_ms + 60_000;
    let mut of_the_time = day.records.iter().filter(|record| time.contains(&record.start_ms));
    assert!(of_the_time.any(|record| names(&record.source) || names(&record.destination)), "{}: nothing", label.name);
    let cards: Vec<&String> = label.subjects.iter().filter(|subject| subject.parse::<IpAddr>().is_err()).collect();
    let has = |mac: [u8; 6]| cards.iter().any(|card| **card == mac_text(mac));
    let mut of_the_time = day.records.iter().filter(|record| time.contains(&record.start_ms));
    assert!(cards.is_empty() || of_the_time.any(|record| has(record.source_mac) || has(record.destination_mac)));
    assert!(label.begin_ms >= day.counts_from_ms && label.begin_ms < label.end_ms && label.within_ms > 0, "{label:?}");
}

#[test]
fn what_is_labelled_is_there_and_nowhere_else() {
    for family in Family::ALL {
        let day = family.day(Kind::Weekday, seed());
        println!("seed {}: {}: {} records, {} labels", seed(), day.name, day.records.len(), day.labels.len());
        must_be_sane(&day.records);
        assert!(day.labels.len() >= 6);
        day.labels.iter().for_each(|label| must_be_there(&day, label));
    }
    let calm = ordinary_day(Kind::Weekday, seed());
    let strangers: BTreeSet<IpAddr> = (1..=254).map(|number| IpAddr::from([185, 220, number, 101])).collect();
    assert!(calm.labels.is_empty() && !calm.records.iter().any(|record| strangers.contains(&record.source)));
}

#[test]
fn beacons_keep_their_intervals() {
    let day = Family::Beacons.day(Kind::Weekday, seed());
    for (name, interval_ms, jitter) in
        [("beacon, every 1 min, jitter 0 %", 60_000, 0), ("beacon, every 10 s, jitter 40 %", 10_000, 40)]
    {
        let label = day.labels.iter().find(|label| label.name == name).unwrap();
        let times =
            day.records.iter().filter(|record| label.peers.contains(&record.destination)).map(|record| record.start_ms);
        let times: BTreeSet<u64> = times.collect();
        let gaps: Vec<u64> = times.iter().zip(times.iter().skip(1)).map(|(one, next)| next - one).collect();
        let off = interval_ms * jitter / 100 + 41;
        assert!(gaps.len() > 300 && gaps.iter().all(|gap| gap.abs_diff(interval_ms) <= off), "{name}: {gaps:?}");
    }
}

#[test]
fn a_file_is_read_back_as_it_was_written() {
    let day = ordinary_day(Kind::Weekend, seed());
    let mut file = Vec::new();
    let messages = ipfix::write(&day.records, &mut file).unwrap();
    assert!(messages > 10_000);
    let mut read = ipfix::read(&file).unwrap();
    let mut written = day.records;
    written.iter_mut().for_each(|record| record.export_ms = record.export_ms / 1000 * 1000);
    // In a message, those of IPv6 come last.
    for records in [&mut read, &mut written] {
        records.sort_by_key(|record| (record.export_ms, record.source.is_ipv6()));
    }
    assert!(read == written);
    file.truncate(file.len() - 1);
    assert!(ipfix::read(&file).is_err());
}

fn label(name: &str, rules: &[&'static str], subject: &str) -> Label {
    Label {
        name: name.to_owned(),
        rules: rules.to_vec(),
        also: vec!["volume"],
        subjects: vec![subject.to_owned()],
        peers: Vec::new(),
        begin_ms: 5 * HOUR_MS,
        end_ms: 6 * HOUR_MS,
        within_ms: 60_000,
    }
}

fn line(rule: &str, severity: &str, subject: &str, peer: &str, at_ms: u64) -> String {
    serde_json::json!({
        "id": "1", "rule": rule, "title": "A title", "severity": severity, "state": "open", "firstMilliseconds": at_ms,
        "lastMilliseconds": at_ms, "detectedMilliseconds": at_ms, "count": 1, "subjects": [subject], "peers": [peer],
        "technique": null, "explanation": "It is so.", "evidence": [],
    })
    .to_string()
}

#[test]
fn a_score_counts_what_is_found_late_missed_false_and_tolerated() {
    let labels = [
        label("found", &["port-scan"], "10.0.0.1"),
        label("by its peer", &["beacon"], "10.0.0.2"),
        label("late", &["syn-flood"], "10.0.0.3"),
        label("missed", &["beacon"], "10.0.0.4"),
    ];
    let tolerance = Tolerance {
        rules: vec!["probes"],
        subjects: vec!["10.0.0.9".to_owned()],
        at_most: Severity::Low,
        why: "noise",
    };
    let now = 5 * HOUR_MS + 30_000;
    let lines = [
        "{\"accounting\":{}}".to_owned(),
        line("port-scan", "medium", "10.0.0.1", "10.9.9.9", now),
        line("volume", "low", "10.0.0.1", "10.9.9.9", now),
        line("beacon", "medium", "10.9.9.9", "10.0.0.2", now),
        line("syn-flood", "high", "10.0.0.3", "10.9.9.9", now + 60_000),
        // Of another time, of another subject, of another rule.
        line("beacon", "high", "10.0.0.4", "10.9.9.9", 9 * HOUR_MS),
        line("beacon", "low", "10.0.0.5", "10.9.9.9", now),
        line("gateway", "low", "10.0.0.1", "10.9.9.9", now),
        line("probes", "low", "10.0.0.9", "10.9.9.9", now),
        line("probes", "medium", "10.0.0.9", "10.9.9.9", now),
        line("probes", "critical", "10.0.0.9", "10.9.9.9", HOUR_MS),
    ];
    let findings = Finding::in_lines(lines.iter().map(String::as_str)).unwrap();
    let mut score = Score::new(3);
    score.add("a day", &labels, &[tolerance], &findings, 2 * HOUR_MS);
    let text = score.to_string();
    println!("{text}");
    assert_eq!(score.missed().map(|outcome| outcome.name.as_str()).collect::<Vec<_>>(), ["late", "missed"]);
    assert_eq!((score.wrong.len(), score.tolerated.len(), score.alarms(Severity::High).count()), (4, 1, 1));
    assert!(text.contains("seed 3") && text.contains("| beacon | 2 | 1 | 1 | 50 % | 1 | 0 | 2 | 33 % |"), "{text}");
    assert!(text.contains("late: late: after 90 s, not 60 s") && text.contains("missed: missed"), "{text}");
    assert!(Finding::in_lines(["{\"rule\":\"beacon\"}"]).is_err());
}

#[test]
fn a_labelled_log_tells_what_is_covered() {
    let log = "#separator \\x09\n#fields\tts\tid.orig_h\tid.orig_p\tid.resp_h\tlabel\tdetailedlabel\n\
        1.0\t198.51.100.1\t5\t10.0.0.1\tMalicious\tAttack\n\
        1.5\t198.51.100.1\t6\t10.0.0.1\tMalicious\tAttack\n\
        2.0\t198.51.100.2\t5\t10.0.0.1\tMalicious\tAttack\n\
        3.0\t10.0.0.1\t5\t203.0.113.5\tBenign\tUpdates\n\
        4.0\t10.0.0.1\t5\t203.0.113.6\tBackground\t(empty)\n";
    let connections = labelled::read(log).unwrap();
    let lines = [
        line("probes", "low", "10.0.0.1", "198.51.100.1", 1000),
        line("beacon", "high", "10.0.0.1", "203.0.113.5", 3000),
        line("beacon", "low", "10.0.0.1", "203.0.113.6", 4000),
    ];
    let findings = Finding::in_lines(lines.iter().map(String::as_str)).unwrap();
    let coverage = labelled::Coverage::of(&connections, &findings);
    println!("{coverage}");
    assert_eq!((coverage.attackers.len(), coverage.covered.len(), coverage.benign.len()), (2, 1, 2));
    assert_eq!(coverage.connections["Attack"], (3, 2));
    assert_eq!(coverage.alarms(Severity::High).count(), 1);
    assert!(labelled::read("#fields\tts\tlabel\n").is_err());
}

#[test]
fn weeks_go_on_from_day_to_day() {
    let day = Family::Weeks.day(Kind::Weekday, seed());
    let days: BTreeSet<u64> = day.records.iter().map(|record| (record.start_ms - MONDAY_MS) / DAY_MS).collect();
    assert!((0..=15).all(|number| days.contains(&number)), "{days:?}");
}
