//! Hours of failure in no time.

use std::collections::HashMap;

use super::*;

const AWAY: Outcome = Outcome::Away { retry_after: None };
const REFUSED: Outcome = Outcome::Refused { retry_after: None };

fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

fn book() -> (Book, Instant) {
    let now = Instant::now();
    (Book::new(Pace::USUAL, now), now)
}

fn add(book: &mut Book, finding: &str, now: Instant) -> u64 {
    book.add(finding.to_owned(), String::new(), String::new(), now).number
}

fn sent(book: &Book, now: Instant) -> u64 {
    match book.next(now) {
        Next::Send(job) => job.number,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_receiver_that_fails_for_an_hour_gets_everything_afterwards_once_and_in_order() {
    let (mut book, start) = book();
    let mut added = HashMap::new();
    let (mut arrived, mut attempts, mut now) = (Vec::new(), 0, start);
    for second in 0..3 * 3600 {
        now = start + Duration::from_secs(second);
        // One in ten seconds, of 7 findings.
        if second % 10 == 0 && added.len() < 900 {
            let finding = format!("f{}", second / 10 % 7);
            added.insert(add(&mut book, &finding, now), finding);
        }
        while let Next::Send(job) = book.next(now) {
            attempts += 1;
            let is_back = second >= 3600;
            let outcome = if is_back { Outcome::Delivered } else { AWAY };
            assert!(book.done(job.number, outcome, now).is_empty());
            if is_back {
                arrived.push(job.number);
            }
        }
    }
    assert_eq!((arrived.len(), arrived.is_sorted(), added.len()), (900, true, 900));
    assert_eq!(book.next(now), Next::Nothing);
    assert!((900 + 20..900 + 40).contains(&attempts), "one at a time is tried, with pauses: {attempts}");
}

#[test]
fn one_that_is_refused_holds_up_its_finding_and_no_other() {
    let (mut book, now) = book();
    let [a1, a2, b1, a3] = ["a", "a", "b", "a"].map(|finding| add(&mut book, finding, now));
    assert_eq!(sent(&book, now), a1);
    book.done(a1, REFUSED, now);
    assert_eq!(sent(&book, now), b1);
    book.done(b1, Outcome::Delivered, now);
    let Next::At(at) = book.next(now) else { panic!("later") };
    assert!(at > now && at <= now + Duration::from_secs(1));
    for number in [a1, a2, a3] {
        assert_eq!(sent(&book, at), number);
        book.done(number, Outcome::Delivered, at);
    }
    assert_eq!(book.next(at), Next::Nothing);
}

#[test]
fn what_is_refused_for_a_day_is_given_up() {
    for outcome in [AWAY, REFUSED] {
        let (mut book, start) = book();
        let [first, _, other] = ["a", "a", "b"].map(|finding| add(&mut book, finding, start));
        let (mut now, mut attempts, mut given_up) = (start, 0, Vec::new());
        while given_up.is_empty() {
            match book.next(now) {
                Next::Send(job) => {
                    attempts += 1;
                    given_up = book.done(job.number, outcome, now);
                }
                Next::At(at) => now = at,
                Next::Nothing => panic!("nothing was given up"),
            }
        }
        let lasted = now - start;
        assert!(lasted >= minutes(24 * 60) && lasted <= minutes(24 * 60 + 5), "{lasted:?}");
        assert!((24 * 12..3 * 24 * 24).contains(&attempts), "{attempts}");
        match outcome {
            // All were as old, and the receiver is away for all of them.
            AWAY => assert_eq!(given_up, [first, 1, other]),
            _ => assert_eq!(given_up.len(), 1),
        }
    }
    let (mut book, start) = book();
    let old = Stored { number: 41, finding: "a".into(), key: String::new(), body: String::new() };
    book.restore(old, start);
    assert_eq!((book.done(41, AWAY, start), add(&mut book, "a", start)), (vec![], 42), "its day begins anew");
}

#[test]
fn a_receiver_is_left_alone_for_as_long_as_it_wants() {
    let (mut book, now) = book();
    let number = add(&mut book, "a", now);
    let asked = |retry_after| Outcome::Away { retry_after: Some(retry_after) };
    let due = |book: &Book| match book.next(now) {
        Next::At(at) => at - now,
        other => panic!("{other:?}"),
    };
    book.done(number, asked(minutes(30)), now);
    assert!(due(&book) >= minutes(30) && due(&book) <= minutes(33));
    assert_eq!(sent(&book, now + minutes(33)), number);
    book.done(number, asked(Duration::ZERO), now);
    assert!(due(&book) >= Duration::from_secs(1) && due(&book) <= Duration::from_secs(2), "as if it had not asked");
    book.done(number, asked(Duration::MAX), now);
    assert!(due(&book) >= minutes(24 * 60) && due(&book) <= minutes(25 * 60), "no longer than a day");
    book.done(number, Outcome::Refused { retry_after: Some(minutes(7)) }, now);
    assert!(due(&book) >= minutes(7) && due(&book) <= minutes(8));
    book.done(12_345, Outcome::Delivered, now);
    assert!(matches!(book.next(now), Next::At(_)), "one that it does not have changes nothing");
}
