//! Which tails there are.

use super::*;
use crate::record::TCP;

fn tail(read: &Read) -> Arc<crate::collect::Tail> {
    Arc::clone(&read.0.beyond.get(0).expect("one").0.tail)
}

#[test]
fn records_that_are_laid_out_alike_share_a_tail() {
    let mut exporter = Exporter::default();
    let one = exporter.read(&[n(1, 4, 5), n(16, 4, 1), n(210, 3, 0)]);
    let other = exporter.read(&[n(16, 4, 2), n(2, 8, 5)]);
    assert!(Arc::ptr_eq(&tail(&one), &tail(&other)));
    assert_eq!(exporter.tails.len(), 1);
    exporter.origin = Origin { address: "2001:db8::1".parse().expect("an address"), domain: 1 }.into();
    let third = exporter.read(&[n(16, 4, 2)]);
    assert_eq!(
        third.tail_of(0)[..2],
        [n(131, 16, 0), n(405, 4, 1)].map(|(specifier, _)| specifier).map(|specifier| {
            let octets = if specifier.id == 131 {
                [&[0x20, 1, 0x0d, 0xb8][..], &[0; 11], &[1]].concat()
            } else {
                vec![0, 0, 0, 1]
            };
            (specifier, octets)
        })
    );
    assert_eq!(exporter.tails.len(), 2);
}

#[test]
fn a_field_that_once_had_something_to_say_stays_in_the_tail() {
    let said = |code| [n(4, 1, TCP.into()), n(11, 2, 80), n(32, 2, code)];
    let plan = Plan::of(&template(&said(0)));
    let mut exporter = Exporter::default();
    let mut tail = |code| exporter.with(&plan, &octets(&said(code))).expect("a whole record").tail();
    assert_eq!(tail(0), []);
    assert_eq!(tail(5), [n(32, 2, 5)]);
    assert_eq!(tail(0), [n(32, 2, 0)]);
    assert_eq!(exporter.tails.len(), 2);
}

fn at(last: u8) -> Arc<Origin> {
    Origin { address: [192, 0, 2, last].into(), domain: 7 }.into()
}

/// A record that has a tail of its own.
fn peculiar(id: u16) -> [Said; 3] {
    [n(2, 4, 1), n(148, 8, 9), of(64_000, id, 4, 3)]
}

/// How many elements a record has in its tail.
fn said(exporter: &mut Exporter, plan: &Plan, record: &[u8]) -> usize {
    exporter.with(plan, record).expect("a whole record").tail_of(0).len()
}

#[test]
fn beyond_512_tails_records_go_without_until_one_is_not_used_any_more() {
    let mut exporter = Exporter::default();
    for id in 0..512 {
        exporter.read(&peculiar(id));
    }
    assert_eq!((exporter.tails.len(), exporter.tails.left_out()), (512, 0));
    let plan = Plan::of(&template(&peculiar(512)));
    let octets = octets(&peculiar(512));
    // The first tail was of the first of 512 records.
    for left_out in 1..=513 {
        let read = exporter.with(&plan, &octets).expect("a whole record");
        assert_eq!((read.tail(), read.one().packets), (vec![], 1));
        assert_eq!(exporter.tails.left_out(), left_out);
    }
    assert_eq!(exporter.with(&plan, &octets).expect("a whole record").tail(), peculiar(512)[1..]);
    assert_eq!((exporter.tails.len(), exporter.tails.left_out()), (512, 513));
    assert_eq!(exporter.read(&peculiar(3)).tail(), peculiar(3)[1..], "which had not to go");
}

#[test]
fn who_sends_ever_other_templates_takes_no_tail_from_others() {
    let mut exporter = Exporter::default();
    let plans: Vec<(Plan, Vec<u8>)> =
        (0..2000).map(|id| (Plan::of(&template(&peculiar(id))), octets(&peculiar(id)))).collect();
    let sound: Vec<(Plan, Vec<u8>)> =
        (5000..5100).map(|id| (Plan::of(&template(&peculiar(id))), octets(&peculiar(id)))).collect();
    let (before, after) = sound.split_at(50);
    exporter.origin = at(1);
    let tails: Vec<_> =
        before.iter().map(|(plan, record)| tail(&exporter.with(plan, record).expect("whole"))).collect();
    let mut given = 0;
    for round in 0..5 {
        exporter.origin = at(2);
        given += plans.iter().filter(|(plan, record)| said(&mut exporter, plan, record) == 4).count();
        assert_eq!(exporter.tails.len(), 512);
        // Of before and of after all room was used up, with many records in between.
        exporter.origin = at(1);
        for (plan, record) in before.iter().chain(&after[..round * 10]) {
            assert_eq!(said(&mut exporter, plan, record), 4, "round {round}");
        }
        let now = before.iter().map(|(plan, record)| tail(&exporter.with(plan, record).expect("whole")));
        assert!(now.zip(&tails).all(|(now, then)| Arc::ptr_eq(&now, then)), "nobody needs another template for it");
    }
    // And what is left over goes round, but slowly.
    assert!((1000..5000).contains(&given), "{given}");
    assert_eq!(exporter.tails.left_out(), 10_000 - u64::try_from(given).expect("few"));
}

#[test]
fn a_thousand_addresses_with_tails_of_their_own_each_get_them() {
    let mut exporter = Exporter::default();
    for _ in 0..3 {
        for id in 0..1000_u16 {
            let [high, low] = id.to_be_bytes();
            exporter.origin = Origin { address: [198, 18, high, low].into(), domain: 7 }.into();
            let read = exporter.read(&peculiar(id));
            assert_eq!(read.tail_of(0)[2..], peculiar(id)[1..]);
        }
    }
    assert_eq!((exporter.tails.len(), exporter.tails.left_out()), (512, 0));
}
