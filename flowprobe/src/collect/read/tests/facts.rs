//! What options records teach: samplers, interfaces and their names.

use std::num::NonZeroU32;

use super::*;
use crate::collect::template::Scope;
use crate::record::SamplingRate;

fn packets(interval: u32) -> SamplingRate {
    SamplingRate::Packets(NonZeroU32::new(interval).expect("not 0"))
}

fn flows(interval: u32) -> SamplingRate {
    SamplingRate::Flows(NonZeroU32::new(interval).expect("not 0"))
}

fn probability(value: f64) -> Said {
    o(311, &value.to_be_bytes())
}

#[test]
fn a_record_says_how_it_was_sampled_in_many_ways() {
    let sampled = |said: &[Said]| {
        let read = read(said);
        (read.one().sampling, read.tail())
    };
    let none = vec![];
    assert_eq!(sampled(&[n(34, 4, 100), n(35, 1, 2)]), (packets(100), none.clone()));
    assert_eq!(sampled(&[n(34, 4, 100), n(35, 1, 1)]), (packets(100), vec![n(35, 1, 1)]));
    assert_eq!(sampled(&[n(34, 4, 1)]), (SamplingRate::All, none.clone()));
    assert_eq!(sampled(&[n(34, 4, 0)]), (SamplingRate::All, none.clone()));
    assert_eq!(sampled(&[n(50, 4, 64)]), (packets(64), none.clone()));
    let ours = [n(304, 2, 4), n(305, 4, 1), n(306, 4, 99), probability(0.01)];
    assert_eq!(sampled(&ours), (packets(100), none.clone()));
    let ten_in_thousand = [n(305, 4, 10), n(306, 4, 990)];
    assert_eq!(sampled(&ten_in_thousand), (packets(100), ten_in_thousand.to_vec()));
    assert_eq!(sampled(&[probability(0.25)]), (packets(4), none.clone()));
    let size = [n(309, 4, 2), n(310, 4, 100)];
    assert_eq!(sampled(&size), (packets(50), size.to_vec()));
    let population = [n(309, 4, 1), n(310, 4, 256)];
    assert_eq!(sampled(&[&[n(305, 4, 1)], &population[..]].concat()), (packets(256), population.to_vec()));
    assert_eq!(sampled(&[n(390, 2, 4), n(396, 4, 1), n(397, 4, 9)]), (flows(10), none));
    for nonsense in [f64::NAN, -1.0, 0.0, 2.0, f64::INFINITY] {
        assert_eq!(sampled(&[probability(nonsense)]).0, SamplingRate::All);
    }
}

#[test]
fn the_record_wins_then_its_sampler_its_interface_its_domain_and_the_header() {
    let mut exporter = Exporter { sampling_v5: Some(0x4000 | 5), ..Exporter::default() };
    let record = [n(48, 1, 3), n(10, 4, 7), n(14, 4, 8), n(34, 4, 0)];
    let sampled = |exporter: &mut Exporter, said: &[Said]| exporter.read(said).one().sampling;
    assert_eq!(sampled(&mut exporter, &record), packets(5));
    exporter.learn(&[n(149, 4, 7), n(34, 4, 10), n(35, 1, 1)]);
    assert_eq!(sampled(&mut exporter, &record), packets(10));
    exporter.learn(&[n(14, 4, 8), n(34, 4, 20)]);
    assert_eq!(sampled(&mut exporter, &record), packets(20));
    exporter.learn(&[n(10, 4, 7), n(34, 4, 30)]);
    assert_eq!(sampled(&mut exporter, &record), packets(30));
    exporter.learn(&[n(302, 8, 3), n(305, 4, 1), n(306, 4, 39)]);
    assert_eq!(sampled(&mut exporter, &record), packets(40));
    let record = [n(48, 1, 3), n(10, 4, 7), n(14, 4, 8), n(34, 4, 50)];
    assert_eq!(sampled(&mut exporter, &record), packets(50));
    // Of a sampler that nobody has told about, and of none.
    assert_eq!(sampled(&mut exporter, &[n(48, 1, 4)]), packets(10));
    assert_eq!(sampled(&mut exporter, &[n(2, 4, 1)]), packets(10));
}

#[test]
fn a_sampler_that_is_known_is_not_in_the_tail() {
    let mut exporter = Exporter::default();
    let record = [n(48, 2, 3)];
    assert_eq!(exporter.read(&record).tail(), record);
    exporter.learn(&[n(48, 2, 3), n(49, 1, 2), n(50, 4, 1000)]);
    let read = exporter.read(&record);
    assert_eq!((read.one().sampling, read.tail()), (packets(1000), vec![]));
    assert_eq!(exporter.facts.sampler(3), Some(packets(1000)));
    assert_eq!(exporter.facts.sampling(), None);
}

#[test]
fn interfaces_have_names_or_descriptions() {
    let mut exporter = Exporter::default();
    exporter.learn(&[n(10, 4, 3), o(82, b"Gi0/1\0\0\0"), o(83, b"uplink")]);
    exporter.learn(&[n(14, 4, 4), v(0, 83, b" to\x1b[2J the\xff lab ")]);
    let scope = Field::Scope(Scope::Interface, 4);
    let name = Field::Element(Specifier { enterprise: 0, id: 82, length: 3 });
    let netflow9 = Template { version: Version::NetFlow9, scope: 1, fields: vec![scope, name] };
    Plan::of(&netflow9).learn(&[0, 0, 0, 5, b'e', b'n', b'0'], &mut exporter.facts).expect("a whole record");

    let name = |index| exporter.facts.interface_name(index).map(|name| name.to_string());
    assert_eq!(name(3).as_deref(), Some("Gi0/1"));
    assert_eq!(name(4).as_deref(), Some("to\u{fffd}[2J the\u{fffd} lab"));
    assert_eq!(name(5).as_deref(), Some("en0"));
    assert_eq!((name(0), name(6)), (None, None));
    assert_eq!(exporter.facts.interface_description(3).map(|name| &**name), Some("uplink"));

    let read = exporter.read(&[n(10, 4, 5), n(14, 4, 3), n(61, 1, 1)]);
    let (received, _) = read.0.beyond.get(0).expect("one");
    assert_eq!(received.ingress_name.as_deref(), Some("en0"));
    assert_eq!(received.egress_name.as_deref(), Some("Gi0/1"));
}

#[test]
fn what_is_learnt_is_bounded() {
    let mut exporter = Exporter::default();
    for index in 1..=5000 {
        exporter.learn(&[n(10, 4, index), n(34, 4, index + 1), v(0, 82, &[b'x'; 250])]);
    }
    exporter.learn(&[n(10, 4, 1), n(34, 4, 9), v(0, 82, b"renamed")]);
    assert_eq!(exporter.facts.interface_names(), 4096);
    assert_eq!(exporter.facts.refused(), 2 * (5000 - 4096));
    assert_eq!(exporter.facts.interface_sampling(1), Some(packets(9)));
    assert_eq!(exporter.facts.interface_name(1).as_deref(), Some("renamed"));
    let long = [b'\x01'; 250];
    exporter.learn(&[n(10, 4, 2), v(0, 82, &long)]);
    assert!(exporter.facts.interface_name(2).is_some_and(|name| name.len() <= 255));
}

#[test]
fn an_options_record_that_ends_too_early_teaches_nothing() {
    let said = [n(10, 4, 3), n(34, 4, 100)];
    let mut facts = Facts::default();
    let plan = Plan::of(&template(&said));
    assert_eq!(plan.learn(&octets(&said)[..7], &mut facts), Err(ShortRecord { octets: 7 }));
    assert_eq!(facts.interface_sampling(3), None);
}
