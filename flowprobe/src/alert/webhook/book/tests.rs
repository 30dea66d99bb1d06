//! Hours of failure in no time.

use std::collections::HashMap;

use super::super::super::health::{Health, ROOM};
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
    add_severe(book, Severity::Low, finding, now)
}

fn add_severe(book: &mut Book, severity: Severity, finding: &str, now: Instant) -> u64 {
    book.add(severity, finding.to_owned(), String::new(), String::new(), now).number
}

fn numbers(gone: &[Stored]) -> Vec<u64> {
    gone.iter().map(|stored| stored.number).collect()
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
            arrived.extend(numbers(&book.done(job.number, outcome, now)));
            assert!(is_back || arrived.is_empty());
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
                    given_up = numbers(&book.done(job.number, outcome, now));
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
    let old =
        Stored { number: 41, severity: Severity::Low, finding: "a".into(), key: String::new(), body: String::new() };
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

/// Ten minutes of refused connections, errors up to the end of the hour, then a receiver that takes 20 s for each.
#[test]
fn more_than_there_is_room_for_in_an_hour_of_failure_costs_only_what_is_least_severe() {
    let (mut book, start) = book();
    let health = Health::new("webhook".into());
    let (mut told, mut arrived) = ([0_u64; 4], Vec::new());
    let mut free_from = start;
    for second in 0..10 * 3600 {
        let now = start + Duration::from_secs(second);
        // One a second in the first hour: of 40 three are high or worse, of 13 findings.
        if second < 3600 {
            let severity = match second % 40 {
                0 => Severity::Critical,
                13 | 27 => Severity::High,
                odd if odd % 2 == 1 => Severity::Medium,
                _ => Severity::Low,
            };
            told[severity as usize] += 1;
            if health.admit(severity) {
                add_severe(&mut book, severity, &format!("f{}", second % 13), now);
            }
            while let Some(severity) = health.giving_way() {
                book.give_way(severity, None).expect("one that waits");
                health.gave_way(severity);
            }
        }
        assert!(book.stored().count() as u64 <= ROOM && book.stored().count() as u64 == health.waiting());
        let Next::Send(job) = (if now < free_from { continue } else { book.next(now) }) else { continue };
        let is_back = second >= 3600;
        for gone in book.done(job.number, if is_back { Outcome::Delivered } else { AWAY }, now) {
            health.sent(gone.severity);
            arrived.push(gone);
        }
        if is_back {
            free_from = now + Duration::from_secs(20);
        }
    }
    let of = |severity| arrived.iter().filter(|one| one.severity == severity).count() as u64;
    assert_eq!(told, [1710, 1620, 180, 90], "more than there is room for");
    assert_eq!(
        [of(Severity::Critical), of(Severity::High), of(Severity::Medium), of(Severity::Low)],
        [90, 180, 730, 0]
    );
    assert!(numbers(&arrived).is_sorted(), "in the order in which they came");
    let said = health.condition();
    assert_eq!((said.sent, said.refused, said.failed, said.waiting), (1000, 2600, 0, 0));
}

#[test]
fn the_latest_of_a_severity_gives_way_and_never_the_one_that_is_on_its_way() {
    let (mut book, now) = book();
    let first = add(&mut book, "a", now);
    let high = add_severe(&mut book, Severity::High, "a", now);
    let last = add(&mut book, "b", now);
    assert_eq!(book.give_way(Severity::Low, Some(first)), Some(last));
    assert_eq!(book.give_way(Severity::Low, Some(first)), None);
    assert_eq!((book.give_way(Severity::High, None), book.give_way(Severity::Low, None)), (Some(high), Some(first)));
    assert_eq!(book.next(now), Next::Nothing);
}
