//! Enrichment as a whole: files that change, and records.

use std::net::Ipv4Addr;
use std::path::Path;

use ipnet::IpNet;
use mmdb_writer::{Value, Writer};

use super::*;
use crate::store::flows::mapped;

/// A database with networks, the numbers of their autonomous systems, and their countries.
pub(crate) fn mmdb(rows: &[(&str, &str, &str)]) -> Vec<u8> {
    let mut writer = Writer::new("Example");
    for (network, number, country) in rows {
        let network: IpNet = network.parse().expect("a network");
        let number: u32 = number.trim_start_matches("AS").parse().expect("a number");
        let value = Value::map([
            ("autonomous_system_number", Value::from(number)),
            ("autonomous_system_organization", Value::from(format!("Net {number}"))),
            ("country", Value::map([("iso_code", Value::from(*country))])),
        ]);
        writer.insert_value(network, value).expect("a record");
    }
    writer.to_bytes().expect("a database")
}

struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        let files = Self { folder: tempfile::tempdir().expect("a folder") };
        files.put("as.mmdb", &mmdb(&[("192.0.2.0/24", "AS64500", "DE")]));
        files.put("networks.csv", b"192.0.2.0/25,office\n");
        files.put("oui.txt", b"00-00-0C   (hex)\t\tCisco Systems, Inc\n");
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// As those who care do it: under another name first.
    fn put(&self, name: &str, octets: &[u8]) {
        let new = self.path("new");
        std::fs::write(&new, octets).expect("written");
        std::fs::rename(&new, self.path(name)).expect("renamed");
    }

    fn config(&self) -> EnrichConfig {
        EnrichConfig {
            databases: vec![self.path("as.mmdb")],
            labels: vec![self.path("networks.csv")],
            vendors: Some(vec![self.path("oui.txt")]),
            reverse_dns: ReverseDns::None,
        }
    }
}

fn bits(address: [u8; 4]) -> u128 {
    mapped(Ipv4Addr::from(address).into())
}

fn told(enricher: &Enricher, address: [u8; 4]) -> (u32, Option<String>, Option<String>) {
    let facts = enricher.facts(bits(address));
    let text = |text: &Option<Arc<str>>| text.as_ref().map(|text| text.to_string());
    (facts.place.as_number, text(&facts.place.country), text(&facts.label))
}

/// Twice: a file is read when it has come to rest.
fn look(shared: &Enrichment) {
    shared.look(1);
    shared.look(2);
}

#[test]
fn all_that_is_known_comes_together() {
    let files = Files::new();
    let shared = Arc::new(Enrichment::open(&files.config()).expect("files"));
    let enricher = Enricher::new(&shared);
    assert_eq!(told(&enricher, [192, 0, 2, 1]), (64_500, Some("DE".into()), Some("office".into())));
    assert_eq!(told(&enricher, [192, 0, 2, 200]), (64_500, Some("DE".into()), None));
    assert_eq!(told(&enricher, [198, 51, 100, 1]), (0, None, None));
    assert_eq!(enricher.vendor(0x0000_0c00_0001).as_deref(), Some("Cisco Systems, Inc"));
    assert_eq!((enricher.host_name(1), enricher.vendor(1)), (None, None));
    let contents: Vec<_> = shared.condition().files.into_iter().map(|file| (file.key, file.contents)).collect();
    assert_eq!(contents[1..], [("labels".into(), "1 networks".into()), ("mac-vendors".into(), "1 prefixes".into())]);
    assert!(contents[0].1.starts_with("Example of "), "{contents:?}");
}

#[test]
fn numbers_are_those_of_the_exporter_where_it_has_said_them() {
    let files = Files::new();
    files.put("as.mmdb", &mmdb(&[("192.0.2.0/24", "AS64500", "DE"), ("198.51.100.0/24", "AS64501", "FR")]));
    let shared = Arc::new(Enrichment::open(&files.config()).expect("files"));
    let said = FlowRecord { source_as: 65_000, ..FlowRecord::example() };
    let mut records = [FlowRecord::example(), said];
    Enricher::new(&shared).number(&mut records);
    let numbers = records.map(|record| (record.source_as, record.destination_as));
    assert_eq!(numbers, [(64_500, 64_501), (65_000, 64_501)]);
}

#[test]
fn a_file_that_changes_takes_effect() {
    let files = Files::new();
    let shared = Arc::new(Enrichment::open(&files.config()).expect("files"));
    let mut enricher = Enricher::new(&shared);
    assert_eq!(told(&enricher, [192, 0, 2, 1]), (64_500, Some("DE".into()), Some("office".into())));
    files.put("as.mmdb", &mmdb(&[("192.0.2.0/24", "AS64999", "FR"), ("192.0.2.0/28", "AS64998", "IT")]));
    files.put("networks.csv", b"192.0.2.0/25,branch\n192.0.2.1,printer\n");
    look(&shared);
    // What a batch of records began with holds for all of it.
    assert_eq!(told(&enricher, [192, 0, 2, 1]).0, 64_500);
    enricher.refresh();
    assert_eq!(told(&enricher, [192, 0, 2, 1]), (64_998, Some("IT".into()), Some("printer".into())));
    assert_eq!(told(&enricher, [192, 0, 2, 100]), (64_999, Some("FR".into()), Some("branch".into())));
    let condition = shared.condition();
    let of = |index: usize| (condition.files[index].reloads, condition.files[index].failed_reloads);
    assert_eq!((of(0), of(1), of(2)), ((1, 0), (1, 0), (0, 0)));
    assert_eq!(condition.files[0].loaded_milliseconds, 2);
}

#[test]
fn a_file_that_is_broken_changes_nothing_and_is_named() {
    let files = Files::new();
    let shared = Arc::new(Enrichment::open(&files.config()).expect("files"));
    let mut enricher = Enricher::new(&shared);
    let before = told(&enricher, [192, 0, 2, 1]);
    let good = mmdb(&[("192.0.2.0/24", "AS64999", "FR")]);
    let mut zeroed = good.clone();
    let half = zeroed.len() / 2;
    zeroed[half - 40..half].fill(0xff);
    for bad in [Vec::new(), good[..half].to_vec(), b"<html>".to_vec(), zeroed] {
        files.put("as.mmdb", &bad);
        files.put("networks.csv", b"192.0.2.0/25\n");
        look(&shared);
        enricher.refresh();
        assert_eq!(told(&enricher, [192, 0, 2, 1]), before);
        let condition = shared.condition();
        assert!(condition.files[0].problem.as_ref().is_some_and(|problem| problem.starts_with("it is ")));
        let of_labels = condition.files[1].problem.as_deref();
        assert!(of_labels.is_some_and(|problem| problem.starts_with("line 1: expected a network")), "{of_labels:?}");
    }
    std::fs::remove_file(files.path("as.mmdb")).expect("removed");
    look(&shared);
    enricher.refresh();
    assert_eq!(told(&enricher, [192, 0, 2, 1]), before);
    assert!(shared.condition().files[0].problem.as_ref().is_some_and(|problem| problem.contains("No such file")));
    // And when it is right again, it counts.
    files.put("as.mmdb", &good);
    files.put("networks.csv", b"192.0.2.0/25,office\n");
    look(&shared);
    enricher.refresh();
    assert_eq!(told(&enricher, [192, 0, 2, 1]), (64_999, Some("FR".into()), Some("office".into())));
    assert_eq!(shared.condition().files[0].problem, None);
}

#[test]
fn a_file_that_is_still_being_written_is_not_read() {
    let files = Files::new();
    let shared = Arc::new(Enrichment::open(&files.config()).expect("files"));
    for length in [1, 2, 3] {
        std::fs::write(files.path("networks.csv"), "x".repeat(length)).expect("written");
        shared.look(1);
    }
    assert_eq!(shared.condition().files[1].failed_reloads, 0);
    shared.look(1);
    assert_eq!(shared.condition().files[1].failed_reloads, 1);
}

#[test]
fn what_is_missing_at_the_start_is_an_error_that_says_which() {
    let files = Files::new();
    let config = EnrichConfig { databases: vec![Path::new("/nowhere/as.mmdb").to_owned()], ..files.config() };
    let error = Enrichment::open(&config).expect_err("no such file").to_string();
    assert_eq!(error, "mmdb: /nowhere/as.mmdb: No such file or directory (os error 2)");
    files.put("networks.csv", b"everything,else\n");
    let error = Enrichment::open(&files.config()).expect_err("no labels").to_string();
    assert!(error.contains("networks.csv: line 1: expected a network such as"), "{error}");
}

#[test]
fn of_several_databases_each_says_what_those_before_it_do_not() {
    let files = Files::new();
    let mut cities = Writer::new("City");
    let city = Value::map([
        ("country", Value::map([("iso_code", Value::from("AT"))])),
        ("city", Value::map([("names", Value::map([("en", Value::from("Vienna"))]))])),
    ]);
    cities.insert_value("192.0.2.0/24".parse::<IpNet>().expect("a network"), city).expect("a record");
    files.put("city.mmdb", &cities.to_bytes().expect("a database"));
    let databases = vec![files.path("city.mmdb"), files.path("as.mmdb")];
    let shared = Arc::new(Enrichment::open(&EnrichConfig { databases, ..files.config() }).expect("files"));
    let enricher = Enricher::new(&shared);
    let place = &enricher.facts(bits([192, 0, 2, 1])).place;
    assert_eq!(
        (place.as_number, place.country.as_deref(), place.city.as_deref()),
        (64_500, Some("AT"), Some("Vienna"))
    );
}
