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

#[test]
fn beyond_512_tails_records_go_without() {
    let mut exporter = Exporter::default();
    let said = |id| [n(2, 4, 1), n(148, 8, 9), of(64_000, id, 4, 3)];
    let held: Vec<Read> = (0..512).map(|id| exporter.read(&said(id))).collect();
    assert_eq!((exporter.tails.len(), exporter.tails.left_out()), (512, 0));
    let plan = Plan::of(&template(&said(512)));
    let octets = octets(&said(512));
    for left_out in 1..=1024 {
        let read = exporter.with(&plan, &octets).expect("a whole record");
        assert_eq!((read.tail(), read.one().packets), (vec![], 1));
        assert_eq!(exporter.tails.left_out(), left_out);
    }
    assert_eq!(exporter.read(&said(3)).tail(), said(3)[1..]);
    // Tails of which there are no records any more make room.
    drop(held);
    let mut left_out = 0;
    while exporter.with(&plan, &octets).expect("a whole record").tail().is_empty() {
        left_out += 1;
        assert!(left_out <= 1024, "it was not looked for room");
    }
    assert!(exporter.tails.len() < 512);
}
