//! A clock that is set an hour forwards and backwards costs no row, and no row is in an hour that is not its own.

use std::time::SystemTime;

use super::*;
use crate::query::{Answer, Filter, Measure, Question, Request, Source, ask};
use crate::store::rollup::MINUTE_MS;

/// By how much the wall clock is off in a minute: right, an hour fast, right, an hour slow, right.
fn off_ms(minute: i64) -> i64 {
    match minute {
        15..25 => HOUR_MS,
        35..45 => -HOUR_MS,
        _ => 0,
    }
}

fn everything(question: Question) -> Request {
    Request {
        question,
        from_ms: START_MS,
        to_ms: START_MS + DAY_MS,
        filter: Filter::default(),
        by: Measure::Octets,
        top: usize::MAX,
    }
}

/// Takes records for an hour, from 10:50 on, and puts the store in order meanwhile, as the threads do. Returns when each flow ended.
fn an_hour_of_records(store: &Store, losses: &Losses) -> Vec<i64> {
    let mut random = fastrand::Rng::with_seed(21);
    let mut writer = Writer::new(Arc::clone(store.shelf()), losses.clone(), None);
    let mut ends = Vec::new();
    for second in (0..3600).step_by(5) {
        let now_ms = START_MS + 10 * HOUR_MS + 50 * MINUTE_MS + second * 1000 + off_ms(second / 60);
        writer.tick(u64::MAX / 2 + second.unsigned_abs() * 1_000_000_000, now_ms);
        for _ in 0..random.usize(1..4) {
            let end_ms = now_ms - random.i64(0..4000);
            writer.take(&batch(&[record(&mut random, end_ms)]));
            ends.push(end_ms);
        }
        if second % 30 == 0 {
            assert!(maintain(store.shelf(), KEPT, now_ms, &go_on()).is_empty());
        }
    }
    writer.write_out();
    ends.sort_unstable();
    ends
}

#[test]
fn a_clock_that_jumps_an_hour_and_back_costs_no_row_and_moves_none() {
    let (_folder, store) = store();
    let (shelf, losses) = (store.shelf(), Losses::default());
    let ends = an_hour_of_records(&store, &losses);
    let condition = shelf.condition();
    assert_eq!((losses.total(), condition.problem, condition.problems), (Lost::default(), None, 0));
    let flows = all_rows(shelf);
    let mut kept = flows.end_ms.clone();
    kept.sort_unstable();
    assert_eq!(kept, ends);
    assert!(flows.moved.iter().all(|moved| *moved == 0));
    let hours = shelf.layout().hours().expect("hours");
    assert_eq!(hours, [10, 11, 12].map(|hour| Hour(Hour::of(START_MS).0 + hour)));
    for hour in hours {
        for name in shelf.layout().files(hour).expect("a folder").names() {
            let reader = Reader::<Flows>::open(&shelf.layout().hour(hour).join(name)).expect("a file");
            let mut rows = Flows::default();
            (0..reader.groups()).for_each(|group| {
                reader.read(group, 0..Flows::COLUMNS.len(), &mut rows).expect("its rows");
            });
            assert!(rows.end_ms.iter().all(|end_ms| Hour::of(*end_ms) == hour), "{hour}");
        }
    }
    // By files, by sums of hours and of the day, and by sums alone.
    let all = |source| ask(source, &everything(Question::Talkers)).expect("an answer");
    let before: Answer = all(Source::Shelf(shelf));
    assert_eq!(before.total.flows.unsigned_abs(), ends.len() as u64);
    assert_eq!(all(Source::Files(shelf.layout())), before);
    assert!(maintain(shelf, KEPT, START_MS + 2 * DAY_MS, &go_on()).is_empty());
    assert_eq!(all(Source::Shelf(shelf)), before);
    let gone = Retention { age: Duration::from_secs(20 * 3600), ..KEPT };
    assert!(maintain(shelf, gone, START_MS + 2 * DAY_MS, &go_on()).is_empty());
    assert!(shelf.layout().hours().expect("hours").is_empty());
    assert_eq!(all(Source::Shelf(shelf)), before);
}

/// Names begin with the moment in which they were made; after the clock was set back the last name is not the last file.
#[test]
fn sums_of_records_that_are_gone_are_the_last_ones_though_the_clock_was_set_back() {
    let mut random = fastrand::Rng::with_seed(22);
    let (_folder, store) = store();
    let (shelf, layout) = (store.shelf(), store.shelf().layout());
    let hour = Hour::of(START_MS);
    add(shelf, &rows(&mut random, 300, START_MS, START_MS + HOUR_MS));
    shelf.write_out().expect("an empty disk");
    assert!(maintain(shelf, KEPT, START_MS + 2 * HOUR_MS, &go_on()).is_empty());
    let whole = layout.files(hour).expect("a folder").whole.expect("a whole hour");
    let future = "29991231T235959.999-000000-00000000.parquet";
    let folder = layout.hour(hour);
    fs::rename(folder.join(layout::whole_name(&whole)), folder.join(format!("hour-{future}"))).expect("another name");
    for name in [MinuteRows::NAME, TalkerRows::NAME, ServiceRows::NAME] {
        let path = layout.rollup_file(name, &hour, &whole);
        fs::rename(&path, path.with_file_name(future)).expect("another name");
    }
    add(shelf, &rows(&mut random, 50, START_MS, START_MS + HOUR_MS));
    shelf.write_out().expect("an empty disk");
    let gone = Retention { age: Duration::from_secs(1800), ..KEPT };
    assert!(maintain(shelf, gone, START_MS + 2 * HOUR_MS, &go_on()).is_empty());
    assert!(layout.hours().expect("hours").is_empty());
    for question in [Question::Talkers, Question::Protocols] {
        let answer = ask(Source::Shelf(shelf), &everything(question)).expect("an answer");
        assert_eq!(answer.total.flows, 350);
    }
}

#[test]
fn what_was_replaced_goes_also_where_the_clock_was_set_back() {
    let (_folder, store) = store();
    let unfinished = store.shelf().layout().unfinished();
    let now = SystemTime::now();
    let made = |name: &str, modified: SystemTime| {
        let path = unfinished.join(name);
        fs::create_dir(&path).expect("a folder");
        File::open(&path).and_then(|folder| folder.set_modified(modified)).expect("a time");
        path
    };
    let just_now = made("just now", now);
    let old = made("old", now - Duration::from_secs(3600));
    let of_the_future = made("of the future", now + Duration::from_secs(3600));
    assert!(maintain(store.shelf(), KEPT, START_MS, &go_on()).is_empty());
    assert_eq!([just_now, old, of_the_future].map(|path| path.exists()), [true, false, false]);
}
