//! What is put into a store is in it, once, whatever becomes of files on the way.

mod clock;
mod kill;
mod outsider;

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};

use flowprobe_ebpf::FlowKey;
use tempfile::TempDir;

use super::columns::{Columns, columns};
use super::compaction::{compact, read_rollup};
use super::file::{Effort, Reader};
use super::flows::{Flows, end_ms};
use super::layout::{DAY_MS, Day, HOUR_MS, Hour};
use super::rollup::{MinuteRows, Rollup, Rollups, ServiceRows, TalkerRows};
use super::*;
use crate::enrich::{End, Facts, Interface, Known, Place};
use crate::losses::{Losses, Lost};
use crate::record::{FlowRecord, ICMP, Role, SamplingRate, TCP, UDP};
use crate::sink::RecordBatch;

/// 2026-11-24 00:00 UTC.
pub(crate) const START_MS: i64 = 1_795_478_400_000;

/// A record whose flow ended at this moment, of one of a few hosts and services.
pub(crate) fn record(random: &mut fastrand::Rng, end_ms: i64) -> FlowRecord {
    let v6 = random.u8(..) < 50;
    let mut host = || {
        // Some are seen all the time, others hardly ever.
        let bits = random.u16(..12);
        let number = 1 + random.u16(..1 << bits);
        let [high, low] = number.to_be_bytes();
        if v6 {
            std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number).into()
        } else {
            std::net::Ipv4Addr::new(10, 7, high, low).into()
        }
    };
    let (source, destination) = (host(), host());
    let protocol = [TCP, TCP, UDP, ICMP, 50][random.usize(..5)];
    let [source_port, destination_port] = match protocol {
        TCP | UDP if random.bool() => [random.u16(32_768..), [53, 80, 443, 8443][random.usize(..4)]],
        TCP | UDP => [[53, 80, 443, 8443][random.usize(..4)], random.u16(32_768..)],
        ICMP => [0, 2048],
        _ => [0, 0],
    };
    let packets = random.u64(1..2000);
    let sampling = match random.u8(..10) {
        0 => SamplingRate::Packets(NonZeroU32::new(100).expect("not 0")),
        _ => SamplingRate::All,
    };
    let end_us = u64::try_from(end_ms).expect("after 1970") * 1000 + random.u64(..1000);
    FlowRecord {
        key: FlowKey {
            source,
            destination,
            source_port,
            destination_port,
            protocol,
            ip_version: if v6 { 6 } else { 4 },
            direction: random.u8(..2),
            ..FlowRecord::example().key
        },
        packets,
        octets: packets * random.u64(40..1500),
        layer2_octets: packets * 1000,
        start_us: end_us - random.u64(..60_000_000),
        end_us,
        source_mac: [2, 0, 0, 0, 0, random.u8(..5)],
        sampling,
        ..FlowRecord::example()
    }
}

/// A place in which the interface 7 is known, and of most addresses something.
pub(crate) struct Somewhere;

impl Known for Somewhere {
    fn interface(&mut self, index: u32) -> Interface {
        Interface { name: (index == 7).then(|| "eth7".into()), alias: (index == 7).then(|| "to the world".into()) }
    }

    fn end(&mut self, address: u128, mac: u64) -> End {
        let number = u32::try_from(address & 0xff).expect("an octet");
        let place = Place {
            as_number: if number.is_multiple_of(3) { 0 } else { 64_500 + number % 7 },
            as_organization: (number % 3 == 1).then(|| format!("Net {}", number % 7).into()),
            country: (!number.is_multiple_of(4)).then(|| ["DE", "FR", "IT"][number as usize % 3].into()),
            city: number.is_multiple_of(5).then(|| "Cologne".into()),
        };
        End {
            facts: Facts { place, label: number.is_multiple_of(2).then(|| "office".into()) },
            host_name: (number < 16).then(|| format!("host-{number}.example").into()),
            vendor: mac.is_multiple_of(2).then(|| "Example, \"Ltd\"".into()),
        }
    }
}

/// So many rows that ended in this time.
pub(crate) fn rows(random: &mut fastrand::Rng, count: usize, from_ms: i64, to_ms: i64) -> Flows {
    rows_of(random, count, from_ms, to_ms, &mut Somewhere)
}

/// The same where so much is known.
pub(crate) fn rows_of(
    random: &mut fastrand::Rng,
    count: usize,
    from_ms: i64,
    to_ms: i64,
    known: &mut impl Known,
) -> Flows {
    let mut flows = Flows::default();
    for _ in 0..count {
        let end_ms = random.i64(from_ms..to_ms);
        let record = record(random, end_ms);
        flows.push(&record, None, end_ms, known);
    }
    flows
}

/// Lets rows wait, each in its hour.
pub(crate) fn add(shelf: &Shelf, flows: &Flows) {
    shelf.add(|waiting| {
        for row in 0..flows.len() {
            waiting.entry(Hour::of(flows.end_ms[row])).or_default().append_row(flows, row);
        }
    });
}

/// Each row as text, in order: two stores with the same are alike.
fn texts(flows: &Flows) -> Vec<String> {
    let mut texts: Vec<String> = (0..flows.len())
        .map(|row| {
            let mut one = Flows::default();
            one.append_row(flows, row);
            format!("{one:?}")
        })
        .collect();
    texts.sort_unstable();
    texts
}

/// All rows of a store.
pub(crate) fn all_rows(shelf: &Shelf) -> Flows {
    let snapshot = shelf.snapshot().expect("a snapshot");
    let mut all = Flows::default();
    for (hour, files) in &snapshot.hours {
        for name in files.names() {
            let reader = Reader::<Flows>::open(&shelf.layout().hour(*hour).join(name)).expect("a file");
            for group in 0..reader.groups() {
                reader.read(group, 0..Flows::COLUMNS.len(), &mut all).expect("its rows");
            }
        }
    }
    for (_, waiting) in &snapshot.waiting {
        (0..waiting.len()).for_each(|row| all.append_row(waiting, row));
    }
    all
}

pub(crate) fn store() -> (TempDir, Store) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(&folder.path().join("store")).expect("a store");
    (folder, store)
}

fn go_on() -> AtomicBool {
    AtomicBool::new(false)
}

const KEPT: Retention = Retention { age: Duration::from_secs(400 * 86_400), octets: u64::MAX };

#[test]
fn rows_are_the_same_while_they_wait_in_parts_and_in_whole_hours() {
    let mut random = fastrand::Rng::with_seed(1);
    let (_folder, store) = store();
    let shelf = store.shelf();
    let mut expected = Flows::default();
    for part in 0..4 {
        let flows = rows(&mut random, 500, START_MS, START_MS + 3 * HOUR_MS);
        (0..flows.len()).for_each(|row| expected.append_row(&flows, row));
        add(shelf, &flows);
        assert_eq!(texts(&all_rows(shelf)), texts(&expected), "waiting, {part}");
        shelf.write_out().expect("an empty disk");
        assert_eq!(texts(&all_rows(shelf)), texts(&expected), "written, {part}");
    }
    // The last hour is not over.
    assert!(maintain(shelf, KEPT, START_MS + 3 * HOUR_MS - 1, &go_on()).is_empty());
    let files = |hour| shelf.layout().files(Hour(Hour::of(START_MS).0 + hour)).expect("a folder");
    assert_eq!(
        [0, 1, 2].map(|hour| (files(hour).whole.is_some(), files(hour).parts.len())),
        [(true, 0), (true, 0), (false, 4)]
    );
    assert_eq!(texts(&all_rows(shelf)), texts(&expected));
    // What comes late is kept beside, and taken in when there is much of it.
    for _ in 0..64 {
        let flows = rows(&mut random, 3, START_MS, START_MS + HOUR_MS);
        (0..flows.len()).for_each(|row| expected.append_row(&flows, row));
        add(shelf, &flows);
        shelf.write_out().expect("an empty disk");
    }
    assert_eq!(files(0).parts.len(), 64);
    assert!(maintain(shelf, KEPT, START_MS + 3 * HOUR_MS, &go_on()).is_empty());
    assert_eq!((files(0).whole.is_some(), files(0).parts.len()), (true, 0));
    assert_eq!(texts(&all_rows(shelf)), texts(&expected));
    assert_eq!(shelf.condition().stored_records, expected.len() as u64);
}

/// Reads a rollup of an hour and adds up its values.
fn summed<R: Rollup>(shelf: &Shelf, hour: Hour) -> Vec<(R::Key, R::Value)> {
    let ids = shelf.layout().rollup_ids(R::NAME, &hour).expect("a folder");
    let mut all = Vec::new();
    read_rollup::<R>(shelf.layout(), &hour, ids.last().expect("a rollup"), |key, value| all.push((key, value)))
        .expect("its rows");
    all
}

#[test]
fn rollups_are_the_sums_of_their_rows_by_hour_and_by_day() {
    let mut random = fastrand::Rng::with_seed(2);
    let (_folder, store) = store();
    let shelf = store.shelf();
    let flows = rows(&mut random, 5000, START_MS, START_MS + DAY_MS);
    add(shelf, &flows);
    shelf.write_out().expect("an empty disk");
    assert!(maintain(shelf, KEPT, START_MS + 2 * DAY_MS, &go_on()).is_empty());
    let mut of_day = Rollups::default();
    for hour in Day(START_MS / DAY_MS).hours() {
        let mut expected = Rollups::default();
        for row in (0..flows.len()).filter(|row| Hour::of(flows.end_ms[*row]) == hour) {
            expected.add(&flows, row);
            of_day.add(&flows, row);
        }
        let minutes = summed::<MinuteRows>(shelf, hour);
        assert!(minutes.iter().all(|(key, value)| expected.minutes.counts.get(key) == Some(value)));
        assert_eq!(minutes.len(), expected.minutes.counts.len());
        let talkers = summed::<TalkerRows>(shelf, hour);
        assert!(talkers.iter().all(|(key, value)| expected.talkers.counts.get(key) == Some(value)));
        assert_eq!(talkers.len(), expected.talkers.counts.len());
        let ports = summed::<ServiceRows>(shelf, hour);
        assert!(ports.iter().all(|(key, value)| expected.services.counts.get(key) == Some(value)));
        assert_eq!(ports.len(), expected.services.counts.len());
    }
    let day = Day(START_MS / DAY_MS);
    let ids = shelf.layout().rollup_ids(TalkerRows::NAME, &day).expect("a folder");
    assert_eq!(ids.len(), 1);
    let mut talkers = 0;
    read_rollup::<TalkerRows>(shelf.layout(), &day, &ids[0], |key, value| {
        assert_eq!(of_day.talkers.counts.get(&key), Some(&value));
        talkers += 1;
    })
    .expect("its rows");
    assert_eq!(talkers, of_day.talkers.counts.len());
    // Nothing to do is nothing done.
    assert!(maintain(shelf, KEPT, START_MS + 2 * DAY_MS, &go_on()).is_empty());
    assert_eq!(shelf.layout().rollup_ids(TalkerRows::NAME, &day).expect("a folder"), ids);
}

#[test]
fn what_is_not_finished_is_no_part_of_the_store_and_is_swept() {
    let mut random = fastrand::Rng::with_seed(3);
    let (folder, store) = store();
    let flows = rows(&mut random, 100, START_MS, START_MS + HOUR_MS);
    add(store.shelf(), &flows);
    store.shelf().write_out().expect("an empty disk");
    let layout = store.shelf().layout().clone();
    fs::write(layout.unfinished().join("half"), b"PAR1").expect("a file");
    fs::create_dir(layout.unfinished().join("hour")).expect("a folder");
    fs::write(layout.unfinished().join("hour").join("hour-x.parquet"), b"PAR1").expect("a file");
    assert_eq!(all_rows(store.shelf()).len(), 100);
    drop(store);
    let store = Store::open(&folder.path().join("store")).expect("the same store");
    assert_eq!(fs::read_dir(layout.unfinished()).expect("a folder").count(), 0);
    assert_eq!(texts(&all_rows(store.shelf())), texts(&flows));
}

#[test]
fn compaction_that_is_stopped_has_not_happened() {
    let mut random = fastrand::Rng::with_seed(4);
    let (_folder, store) = store();
    let flows = rows(&mut random, 100, START_MS, START_MS + HOUR_MS);
    add(store.shelf(), &flows);
    store.shelf().write_out().expect("an empty disk");
    let stop = go_on();
    stop.store(true, Ordering::Relaxed);
    assert!(!compact(store.shelf(), Hour::of(START_MS), &stop).expect("files that can be read"));
    let layout = store.shelf().layout();
    assert!(layout.files(Hour::of(START_MS)).expect("a folder").whole.is_none());
    assert_eq!(fs::read_dir(layout.unfinished()).expect("a folder").count(), 0);
    assert!(layout.rollup_ids(MinuteRows::NAME, &Hour::of(START_MS)).expect("a folder").is_empty());
}

#[test]
fn a_damaged_file_is_put_aside_and_the_rest_becomes_one() {
    let mut random = fastrand::Rng::with_seed(5);
    let (_folder, store) = store();
    let shelf = store.shelf();
    for _ in 0..3 {
        add(shelf, &rows(&mut random, 100, START_MS, START_MS + HOUR_MS));
        shelf.write_out().expect("an empty disk");
    }
    let hour = Hour::of(START_MS);
    let name = shelf.layout().files(hour).expect("a folder").parts[1].clone();
    fs::write(shelf.layout().hour(hour).join(&name), b"PAR1 is not enough").expect("a file");
    let faults = maintain(shelf, KEPT, START_MS + DAY_MS, &go_on());
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].to_string().contains(&name), "{}", faults[0]);
    assert!(shelf.layout().damaged().join(hour.to_string()).join(&name).is_file());
    assert!(maintain(shelf, KEPT, START_MS + DAY_MS, &go_on()).is_empty());
    assert!(shelf.layout().files(hour).expect("a folder").whole.is_some());
    assert_eq!(all_rows(shelf).len(), 200);
}

#[test]
fn old_hours_go_and_the_oldest_where_all_takes_too_much() {
    let mut random = fastrand::Rng::with_seed(6);
    let (_folder, store) = store();
    let shelf = store.shelf();
    for hour in 0..10 {
        let from_ms = START_MS + hour * HOUR_MS;
        add(shelf, &rows(&mut random, 2000, from_ms, from_ms + HOUR_MS));
    }
    shelf.write_out().expect("an empty disk");
    let now_ms = START_MS + 10 * HOUR_MS;
    let aged = Retention { age: Duration::from_secs(6 * 3600), ..KEPT };
    assert!(maintain(shelf, aged, now_ms, &go_on()).is_empty());
    let hours = |shelf: &Shelf| shelf.layout().hours().expect("a folder");
    assert_eq!(hours(shelf).first(), Some(&Hour::of(START_MS + 4 * HOUR_MS)));
    assert_eq!((hours(shelf).len(), shelf.condition().deleted_hours), (6, 4));
    // Rollups stay, and go at last.
    assert_eq!(shelf.layout().rollup_hours(TalkerRows::NAME).expect("a folder").len(), 9);
    let octets = shelf.condition().octets;
    let first_two: u64 = hours(shelf)[..2].iter().map(|hour| layout::octets_below(&shelf.layout().hour(*hour))).sum();
    let small = Retention { octets: octets - first_two, ..aged };
    assert!(maintain(shelf, small, now_ms, &go_on()).is_empty());
    assert_eq!(hours(shelf).first(), Some(&Hour::of(START_MS + 6 * HOUR_MS)));
    assert!(shelf.condition().octets <= small.octets, "{octets} {:?}", shelf.condition());
    assert_eq!((hours(shelf).len(), shelf.condition().deleted_hours), (4, 6));
    // What has been replaced and is about to go pushes nothing out.
    fs::write(shelf.layout().unfinished().join("replaced"), vec![0; 1 << 20]).expect("a file");
    assert!(maintain(shelf, small, now_ms, &go_on()).is_empty());
    assert_eq!(shelf.condition().deleted_hours, 6);
    assert!(maintain(shelf, aged, now_ms + 13 * 6 * HOUR_MS + HOUR_MS, &go_on()).is_empty());
    assert!(hours(shelf).is_empty());
    assert!(shelf.layout().rollup_hours(TalkerRows::NAME).expect("a folder").len() < 2);
}

#[test]
fn a_store_has_one_writer_whose_process_is_named() {
    let (folder, store) = store();
    let error = Store::open(&folder.path().join("store")).expect_err("it is taken").to_string();
    assert!(error.contains(&format!("the flowprobe with process ID {} does", std::process::id())), "{error}");
    drop(store);
    assert!(Store::open(&folder.path().join("store")).is_ok());
    let file = folder.path().join("file");
    fs::write(&file, "").expect("a file");
    assert!(matches!(Store::open(&file), Err(StoreError::Unusable { .. })));
}

columns! {
    /// What flows had before most columns were there.
    struct EarlyFlows {
        end_ms: Time, "flowEndMilliseconds", "Last packet.";
        source: Address, "sourceIPAddress", "Of the packets.";
        octets: Count, "octetDeltaCount", "Octets.";
    }
}

#[test]
fn files_with_fewer_columns_are_read_and_those_that_they_have_not_say_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("early.parquet");
    let early = EarlyFlows { end_ms: vec![START_MS; 2], source: vec![1, 2], octets: vec![10, 20] };
    let mut writer = file::Writer::create(&path, Effort::Passing, &[]).expect("a file");
    writer.write(&early, 0..2).expect("rows");
    writer.finish().expect("an end");
    let mut flows = Flows::default();
    let reader = Reader::<Flows>::open(&path).expect("a file");
    reader.read(0, 0..Flows::COLUMNS.len(), &mut flows).expect("rows");
    assert_eq!((&flows.octets, &flows.source, &flows.packets), (&vec![10, 20], &vec![1, 2], &vec![0, 0]));
    assert_eq!((flows.exporter, flows.others.len()), (vec![0, 0], 2));
}

columns! {
    /// A column of the same name that is something else.
    struct OddFlows {
        octets: Text, "octetDeltaCount", "Octets.";
    }
}

#[test]
fn a_column_that_is_something_else_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("odd.parquet");
    let mut odd = OddFlows::default();
    odd.octets.push(Some("many".into()));
    let mut writer = file::Writer::create(&path, Effort::Passing, &[]).expect("a file");
    writer.write(&odd, 0..1).expect("a row");
    writer.finish().expect("an end");
    let error = Reader::<Flows>::open(&path).map(|_| ()).expect_err("a fault").to_string();
    assert!(
        error.ends_with("odd.parquet: the column octetDeltaCount is not what this version of flowprobe knows it as")
    );
}

#[test]
fn a_clock_that_was_never_set_does_not_hide_traffic_in_the_year_1970() {
    let at = |end_ms: i64| FlowRecord {
        start_us: u64::try_from(end_ms - 5000).unwrap_or(0) * 1000,
        end_us: u64::try_from(end_ms).unwrap_or(0) * 1000,
        ..FlowRecord::example()
    };
    for (said_ms, kept_ms) in [
        (START_MS, START_MS),
        (START_MS - 23 * HOUR_MS, START_MS - 23 * HOUR_MS),
        (5000, START_MS),
        (START_MS + DAY_MS, START_MS),
        (i64::MAX / 1000, START_MS),
    ] {
        let record = at(said_ms);
        assert_eq!(end_ms(&record, START_MS), kept_ms);
        let mut flows = Flows::default();
        flows.push(&record, None, START_MS, &mut ());
        assert_eq!((flows.start_ms[0], flows.end_ms[0]), (kept_ms - 5000, kept_ms));
        assert_eq!(flows.moved[0], i32::from(said_ms != kept_ms));
    }
}

fn batch(records: &[FlowRecord]) -> RecordBatch {
    RecordBatch::metered(&Arc::default(), records, false)
}

/// A moment of both clocks.
fn tick(writer: &mut Writer, seconds: u64) {
    let now_ms = START_MS + i64::try_from(seconds).expect("few") * 1000;
    writer.tick(u64::MAX / 2 + seconds * 1_000_000_000, now_ms);
}

#[test]
fn records_are_written_every_few_seconds_and_both_halves_of_a_biflow_are_rows() {
    let (_folder, store) = store();
    let mut writer = Writer::new(Arc::clone(store.shelf()), Losses::default(), None);
    tick(&mut writer, 0);
    let end_us = u64::try_from(START_MS).expect("after 1970") * 1000;
    let half = |role, packets| FlowRecord { role, packets, start_us: end_us, end_us, ..FlowRecord::example() };
    writer.take(&batch(&[half(Role::Single, 1), half(Role::Forward, 2), half(Role::Reverse, 3)]));
    // Nothing was answered.
    writer.take(&batch(&[half(Role::Forward, 4), half(Role::Reverse, 0)]));
    let stored = |store: &Store| (store.shelf().condition().stored_records, store.shelf().condition().waiting_records);
    assert_eq!(stored(&store), (0, 4));
    tick(&mut writer, 4);
    assert_eq!(stored(&store), (0, 4));
    tick(&mut writer, 5);
    assert_eq!(stored(&store), (4, 0));
    let rows = all_rows(store.shelf());
    assert_eq!((rows.packets, rows.biflow), (vec![1, 2, 3, 4], vec![0, 1, 2, 1]));
}

#[test]
fn what_cannot_be_written_waits_and_beyond_a_bound_the_earliest_are_counted_as_lost() {
    let (_folder, store) = store();
    let losses = Losses::default();
    let mut writer = Writer::new(Arc::clone(store.shelf()), losses.clone(), None);
    tick(&mut writer, 0);
    let records = |hour: u64| {
        let end_us = (u64::try_from(START_MS).expect("after 1970") / 1000 + hour * 3600) * 1_000_000;
        vec![FlowRecord { start_us: end_us, end_us, ..FlowRecord::example() }; 4096]
    };
    // As a disk that is not there.
    fs::remove_dir_all(store.shelf().layout().unfinished()).expect("a folder");
    writer.take(&batch(&records(0)));
    tick(&mut writer, 5);
    let condition = store.shelf().condition();
    assert_eq!((condition.waiting_records, condition.stored_records, condition.problems), (4096, 0, 1));
    assert!(condition.problem.is_some_and(|problem| problem.contains("No such file")));
    for _ in 0..64 {
        writer.take(&batch(&records(1)));
    }
    let lost = losses.total();
    assert_eq!(lost, Lost { records: 65 * 4096, packets: 3 * 65 * 4096, octets: 156 * 65 * 4096 });
    writer.take(&batch(&records(1)));
    fs::create_dir(store.shelf().layout().unfinished()).expect("a folder");
    tick(&mut writer, 10);
    let condition = store.shelf().condition();
    assert_eq!((condition.waiting_records, condition.stored_records, condition.problem), (0, 4096, None));
}

/// Set to write the page instead of comparing it.
const RENEW: &str = "FLOWPROBE_RENEW_DOCS";

#[test]
fn the_page_of_history_has_the_columns() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/history.md");
    let written = fs::read_to_string(&path).expect("the page");
    let (before, rest) = written.split_once("<!-- columns -->\n").expect("a place for them");
    let (_, after) = rest.split_once("<!-- end of columns -->\n").expect("its end");
    let mut page = format!("{before}<!-- columns -->\n| column | type | what it says |\n| --- | --- | --- |\n");
    for column in Flows::COLUMNS {
        let kind = match column.kind {
            columns::Kind::Time => "timestamp",
            columns::Kind::Count | columns::Kind::Id => "int64",
            columns::Kind::Number => "int32",
            columns::Kind::Address => "text",
            columns::Kind::OptionalAddress | columns::Kind::Mac | columns::Kind::Text | columns::Kind::Name => {
                "text or null"
            }
        };
        page.push_str(&format!("| `{}` | {kind} | {} |\n", column.name, column.about));
    }
    page.push_str(&format!("<!-- end of columns -->\n{after}"));
    if std::env::var_os(RENEW).is_some() {
        fs::write(&path, &page).expect("the page can be written");
        return;
    }
    assert!(written == page, "docs/history.md is out of date: run this test with {RENEW}=1");
}
