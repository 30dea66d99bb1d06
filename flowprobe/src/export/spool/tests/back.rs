//! Messages that come back go before those that wait, whatever of those has been read, and also after a restart.

use super::*;

fn messages(numbers: std::ops::Range<u64>) -> Vec<Packed> {
    numbers.map(message).collect()
}

#[test]
fn where_nothing_waits_they_are_what_waits() {
    let folder = folder();
    let mut spool = open(&folder, PLENTY);
    append(&mut spool, 0..3);
    assert_eq!(rest(&mut spool), range(0..3));
    spool.put_back(&messages(7..9)).expect("they are put back");
    assert_eq!(rest(&mut spool), [7, 8]);
}

#[test]
fn they_go_before_what_waits_and_what_was_read_is_retired() {
    for read_before in 0..6 {
        let folder = folder();
        let mut spool = open(&folder, PLENTY);
        append(&mut spool, 10..16);
        assert_eq!(read(&mut spool, read_before).len(), read_before);
        spool.put_back(&messages(0..3)).expect("they are put back");
        let expected = [range(0..3), range(10 + read_before as u64..16)].concat();
        assert_eq!(spool.waiting().messages, expected.len() as u64);
        // What comes later stays behind.
        append(&mut spool, 20..22);
        let expected = [expected, range(20..22)].concat();
        assert_eq!(rest(&mut spool), expected);
        spool.rewind(Position::default());
        assert_eq!(rest(&mut spool), expected);
        spool.sync().expect("it is synced");
        drop(spool);
        assert_eq!(rest(&mut open(&folder, PLENTY)), expected);
    }
}

#[test]
fn again_and_again_there_is_a_place_for_them() {
    let folder = folder();
    let losses = Losses::default();
    let mut spool = Spool::open(folder.path(), PLENTY, losses.clone()).expect("it opens");
    append(&mut spool, 0..100);
    for round in 0..25 {
        // The first few are on their way, and come back.
        let got: Vec<Packed> = read(&mut spool, 1 + round % 3).into_iter().map(|(_, message)| message).collect();
        spool.put_back(&got).expect("they are put back");
        assert_eq!(spool.waiting().messages, 100, "round {round}");
    }
    assert_eq!(rest(&mut spool), range(0..100));
    retire_read(&mut spool);
    spool.sync().expect("it is synced");
    assert_eq!((files(&folder).0.len(), losses.total()), (0, Lost::default()));
}
