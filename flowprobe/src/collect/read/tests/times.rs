//! When flows began and ended.

use super::*;

/// Beginning and end, milliseconds before the export time.
fn before(read: &Read) -> (u64, u64) {
    let record = read.one();
    ((NOW_US - record.start_us) / 1000, (NOW_US - record.end_us) / 1000)
}

const NOW_MS: u64 = NOW_US / 1000;
const NOW_S: u64 = NOW_MS / 1000;

/// The NTP format of a time.
fn ntp(us: u64) -> u64 {
    (us / 1_000_000 + 2_208_988_800) << 32 | ((us % 1_000_000) << 32).div_ceil(1_000_000)
}

#[test]
fn every_form_says_the_same() {
    let (start, end) = (NOW_US - 9_000_000, NOW_US - 4_000_000);
    let forms = [
        [n(150, 4, NOW_S - 9), n(151, 4, NOW_S - 4)],
        [n(152, 8, NOW_MS - 9000), n(153, 8, NOW_MS - 4000)],
        [n(154, 8, ntp(start)), n(155, 8, ntp(end))],
        [n(158, 4, 9_000_000), n(159, 4, 4_000_000)],
    ];
    for form in forms {
        let read = read(&form);
        assert_eq!((read.one().start_us, read.one().end_us), (start, end), "{form:?}");
        assert_eq!(read.tail(), [], "{form:?}");
    }
    let form = [n(156, 8, ntp(start + 3) + 40), n(157, 8, ntp(end + 999_999))];
    let read = read(&form);
    assert_eq!((read.one().start_us, read.one().end_us), (start + 3, end + 999_999));
    assert_eq!(read.tail(), form, "nanoseconds are finer than a record");
}

#[test]
fn the_finest_that_is_said_counts() {
    let said = [n(150, 4, NOW_S - 9), n(151, 4, NOW_S - 4), n(152, 8, NOW_MS - 8500), n(153, 8, 0)];
    let read = read(&said);
    assert_eq!(before(&read), (8500, 4000));
    // The seconds of the start are those of the milliseconds.
    assert_eq!(read.tail(), []);
    let read = super::read(&[n(150, 4, NOW_S - 7), n(152, 8, NOW_MS - 8500)]);
    assert_eq!(read.tail(), [n(150, 4, NOW_S - 7)]);
}

#[test]
fn durations_observations_and_the_export_time_fill_in() {
    assert_eq!(before(&read(&[n(152, 8, NOW_MS - 9000), n(161, 4, 5000)])), (9000, 4000));
    assert_eq!(before(&read(&[n(153, 8, NOW_MS - 4000), n(162, 4, 2_000_000)])), (6000, 4000));
    assert_eq!(before(&read(&[n(161, 4, 3000)])), (3000, 0));
    assert_eq!(before(&read(&[n(152, 8, NOW_MS - 9000), n(323, 8, NOW_MS - 1000)])), (9000, 1000));
    assert_eq!(before(&read(&[n(153, 8, NOW_MS - 4000)])), (4000, 4000));
    assert_eq!(before(&read(&[n(2, 4, 1)])), (0, 0));
    let event = [n(323, 8, NOW_MS - 1000), n(230, 1, 1)];
    assert_eq!(before(&read(&event)), (1000, 1000));
    assert_eq!(read(&event).tail(), event);
    assert_eq!(before(&read(&[n(322, 4, NOW_S - 3)])), (3000, 3000));
    assert_eq!(before(&read(&[n(324, 8, ntp(NOW_US - 2000))])), (2, 2));
}

#[test]
fn a_message_without_a_time_was_exported_when_it_came() {
    let said = [n(2, 4, 1)];
    let mut exporter = Exporter::default();
    let mut out = ReceivedRecords::default();
    let mut context = Context {
        origin: &exporter.origin,
        export_time_us: 0,
        boot_us: None,
        sampling_v5: None,
        facts: &exporter.facts,
        received_us: NOW_US + 5,
        tails: &mut exporter.tails,
    };
    Plan::of(&template(&said)).read(&octets(&said), &mut context, &mut out).expect("a whole record");
    assert_eq!(out.records[0].start_us, NOW_US + 5);
}

#[test]
fn what_is_after_the_year_9999_is_no_time() {
    let said = [n(152, 8, u64::MAX), n(153, 8, NOW_MS - 4000), n(161, 8, u64::MAX)];
    let read = read(&said);
    assert_eq!((read.one().start_us, read.one().end_us), (0, NOW_US - 4_000_000));
    assert_eq!(read.tail(), [n(152, 8, u64::MAX), n(161, 8, u64::MAX)]);
    let read = super::read(&[n(152, 8, NOW_MS), n(161, 8, u64::MAX)]);
    assert_eq!((read.one().start_us, read.one().end_us), (NOW_US, NOW_US));
}

/// The wrap of 32 bits of milliseconds.
const WRAP_MS: u64 = 1 << 32;

#[test]
fn uptimes_count_from_the_boot_and_begin_again() {
    let up = |boot_ms: u64, start: u64, end: u64| {
        let mut exporter = Exporter { boot_us: Some(boot_ms * 1000), ..Exporter::default() };
        let read = exporter.read(&[n(22, 4, start), n(21, 4, end)]);
        assert_eq!(read.tail(), []);
        (read.one().start_us / 1000, read.one().end_us / 1000)
    };
    assert_eq!(up(NOW_MS - 100_000, 91_000, 96_000), (NOW_MS - 9000, NOW_MS - 4000));
    // The header's uptime began again two seconds before the flow ended, and the boot seems to have been then.
    assert_eq!(up(NOW_MS - 6000, WRAP_MS - 3000, 2000), (NOW_MS - 9000, NOW_MS - 4000));
    // The header's says the true boot, as systemInitTimeMilliseconds does: uptimes began again once.
    let boot = NOW_MS - WRAP_MS - 100_000;
    assert_eq!(up(boot, 91_000, 96_000), (NOW_MS - 9000, NOW_MS - 4000));
    assert_eq!(up(boot + 96_000, WRAP_MS - 5000, 1), (NOW_MS - 9000, NOW_MS - 3999));
    // A clock that is a little ahead has not wrapped.
    assert_eq!(up(NOW_MS - 100_000, 91_000, 100_050), (NOW_MS - 9000, NOW_MS + 50));
}

#[test]
fn without_a_boot_uptimes_are_no_times() {
    let said = [n(22, 4, 91_000), n(21, 4, 96_000)];
    assert_eq!(before(&read(&said)), (0, 0));
    assert_eq!(read(&said).tail(), said);

    let boot = n(160, 8, NOW_MS - 100_000);
    let with_boot = [&said[..], std::slice::from_ref(&boot)].concat();
    assert_eq!(before(&read(&with_boot)), (9000, 4000));
    assert_eq!(read(&with_boot).tail(), std::slice::from_ref(&boot));

    let mut exporter = Exporter::default();
    exporter.learn(&[n(144, 4, 1), boot]);
    assert_eq!(before(&exporter.read(&said)), (9000, 4000));
}

#[test]
fn an_uptime_of_0_is_the_boot_unless_both_are_0_of_an_exporter_that_has_been_up_for_long() {
    let up = |up_ms: u64, said: &[Said]| {
        let mut exporter = Exporter { boot_us: Some(NOW_US - up_ms * 1000), ..Exporter::default() };
        before(&exporter.read(said))
    };
    let both = |start, end| [n(22, 4, start), n(21, 4, end)];
    assert_eq!(up(100_000, &both(0, 96_000)), (100_000, 4000));
    assert_eq!(up(59_999, &both(0, 0)), (59_999, 59_999));
    assert_eq!(up(60_000, &both(0, 0)), (0, 0), "nothing is filled in");
    assert_eq!(up(100_000, &[n(22, 4, 0)]), (0, 0), "one alone says nothing");
    assert_eq!(up(100_000, &[n(21, 4, 96_000)]), (4000, 4000));
    // What is not 0 says more.
    assert_eq!(up(100_000, &[n(22, 4, 0), n(21, 4, 96_000), n(150, 4, NOW_S - 9)]), (9000, 4000));
    // Beyond 32 bits it is when they began again last.
    assert_eq!(up(WRAP_MS + 7000, &both(WRAP_MS - 1000, 0)), (8000, 7000));
    // Without a boot there is nothing to measure from.
    assert_eq!(before(&read(&both(0, 96_000))), (0, 0));
}

#[test]
fn answers_have_an_uptime_of_0_too() {
    let mut exporter = Exporter { boot_us: Some(NOW_US - 100_000_000), ..Exporter::default() };
    let said = [n(2, 4, 1), of(REVERSE, 2, 4, 1), of(REVERSE, 22, 4, 0), of(REVERSE, 21, 4, 96_000)];
    let read = exporter.read(&said);
    let [_, answers] = read.0.records[..] else { panic!("{} records", read.0.records.len()) };
    assert_eq!((answers.start_us, answers.end_us), (NOW_US - 100_000_000, NOW_US - 4_000_000));
}
