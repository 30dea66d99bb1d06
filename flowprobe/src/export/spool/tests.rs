//! Order, bound, restarts, templates, going back, and the folder itself; damage, full disks, `kill -9` and chance have files of
//! their own.

mod back;
mod damage;
mod kill;
mod model;

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::export::packed::TemplateSet;
use crate::losses::Lost;

/// So large that the messages of a test have room.
const PLENTY: u64 = 64 << 20;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn open(folder: &TempDir, most_octets: u64) -> Spool {
    Spool::open(folder.path(), most_octets, Losses::default()).expect("it opens")
}

fn templates(number: u8) -> Arc<TemplateSet> {
    Arc::new(TemplateSet { messages: vec![[number; 20].into(), [number ^ 1; 7].into()] })
}

/// Message `number`, of `length` octets, which weighs more the larger its number is.
fn sized(number: u64, length: usize, templates: &Arc<TemplateSet>) -> Packed {
    let mut octets = number.to_be_bytes().to_vec();
    octets.resize(length, u8::try_from(number % 251).expect("it is small"));
    let weight = Lost { records: number + 1, packets: 3 * number + 1, octets: 100 * number };
    let records = u32::try_from(number).expect("it is small") + 2;
    Packed { octets, records, weight, templates: Arc::clone(templates), source: Default::default() }
}

fn message(number: u64) -> Packed {
    sized(number, 1400, &templates(0))
}

fn number(message: &Packed) -> u64 {
    u64::from_be_bytes(*message.octets.first_chunk().expect("it has a number"))
}

fn append(spool: &mut Spool, numbers: std::ops::Range<u64>) {
    for number in numbers {
        spool.append(&message(number)).expect("it is appended");
    }
}

/// Reads so many messages at most.
fn read(spool: &mut Spool, most: usize) -> Vec<(Position, Packed)> {
    std::iter::from_fn(|| spool.read().expect("it reads")).take(most).collect()
}

fn numbers(messages: &[(Position, Packed)]) -> Vec<u64> {
    messages.iter().map(|(_, message)| number(message)).collect()
}

fn rest(spool: &mut Spool) -> Vec<u64> {
    numbers(&read(spool, usize::MAX))
}

fn range(numbers: std::ops::Range<u64>) -> Vec<u64> {
    numbers.collect()
}

fn weight(numbers: impl IntoIterator<Item = u64>) -> Lost {
    numbers.into_iter().fold(Lost::default(), |mut sum, number| {
        sum += message(number).weight;
        sum
    })
}

fn retire_read(spool: &mut Spool) {
    spool.retire(spool.position()).expect("it is retired");
}

/// Segment files, and the octets of all.
fn files(folder: &TempDir) -> (Vec<PathBuf>, u64) {
    let ids = segment::list(folder.path()).expect("the folder is there");
    let paths: Vec<_> = ids.iter().map(|id| Segment::path(folder.path(), *id)).collect();
    let octets = paths.iter().map(|path| fs::metadata(path).expect("the file is there").len()).sum();
    (paths, octets)
}

#[test]
fn messages_come_back_whole_and_in_order() {
    let folder = folder();
    let mut spool = open(&folder, PLENTY);
    assert!(spool.is_empty() && spool.read().expect("it reads").is_none());
    let sent: Vec<_> = (0..300)
        .zip((8..).step_by(211))
        .map(|(number, length)| sized(number, length, &templates(u8::from(number % 5 == 0))))
        .collect();
    for message in &sent {
        spool.append(message).expect("it is appended");
    }
    let sizes: u64 = sent.iter().map(entry::data_length).sum();
    assert_eq!(spool.waiting(), Waiting { messages: 300, octets: sizes, weight: weight(0..300) });
    let got = read(&mut spool, usize::MAX);
    assert_eq!(got.len(), sent.len());
    for (sent, (_, got)) in sent.iter().zip(&got) {
        assert_eq!(
            (&sent.octets, sent.records, sent.weight, &sent.templates),
            (&got.octets, got.records, got.weight, &got.templates)
        );
    }
    assert!(got.is_sorted_by(|(left, _), (right, _)| left < right));
    assert_eq!((spool.waiting(), spool.is_empty()), (Waiting::default(), true));
    // Who has read all sees what comes next.
    append(&mut spool, 300..301);
    assert!(!spool.is_empty());
    assert_eq!(rest(&mut spool), [300]);
}

#[test]
fn over_the_bound_the_oldest_go_and_are_counted() {
    let folder = folder();
    let losses = Losses::default();
    // A bound that is too small counts as the smallest.
    let mut spool = Spool::open(folder.path(), 1000, losses.clone()).expect("it opens");
    for number in 0..2000 {
        append(&mut spool, number..number + 1);
        assert!(files(&folder).1 <= SMALLEST_BOUND);
    }
    let (paths, octets) = files(&folder);
    assert!(paths.len() >= 8 && octets > SMALLEST_BOUND * 7 / 8 - 1500);
    let waiting = spool.waiting();
    let got = rest(&mut spool);
    let first = *got.first().expect("some are left");
    assert_eq!(got, range(first..2000));
    assert_eq!((losses.total(), waiting.weight), (weight(0..first), weight(first..2000)));
    assert_eq!(waiting.messages, 2000 - first);
}

#[test]
fn what_was_read_is_no_loss_unless_it_is_wanted_again() {
    let folder = folder();
    let losses = Losses::default();
    let mut spool = Spool::open(folder.path(), SMALLEST_BOUND, losses.clone()).expect("it opens");
    append(&mut spool, 0..600);
    let read_before = read(&mut spool, 150);
    let of_retired = read_before[50].0;
    spool.retire(of_retired).expect("it is retired");
    append(&mut spool, 600..900);
    // The first segments are gone, with what was read of them and what was not.
    let unread = rest(&mut spool);
    let first = *unread.first().expect("some are left");
    assert!(first > 150, "the cursor's segment was dropped");
    assert_eq!(losses.total(), weight(150..first));
    spool.rewind(read_before[100].0);
    let mut expected = weight(150..first);
    expected += weight(100..150);
    assert_eq!(losses.total(), expected);
    assert_eq!(rest(&mut spool), range(first..900));
    // It is retired where it was still in flight: no loss.
    retire_read(&mut spool);
    spool.rewind(of_retired);
    assert_eq!((losses.total(), rest(&mut spool)), (expected, Vec::new()));
}

#[test]
fn a_smaller_bound_holds_from_the_start() {
    let folder = folder();
    append(&mut open(&folder, 8 * SMALLEST_BOUND), 0..3000);
    let losses = Losses::default();
    let mut spool = Spool::open(folder.path(), SMALLEST_BOUND, losses.clone()).expect("it opens");
    assert!(files(&folder).1 <= SMALLEST_BOUND);
    let got = rest(&mut spool);
    assert_eq!(losses.total(), weight(0..got[0]));
    assert_eq!(got, range(got[0]..3000));
}

#[test]
fn what_never_fits_is_refused() {
    let folder = folder();
    let mut spool = open(&folder, SMALLEST_BOUND);
    append(&mut spool, 0..1);
    let huge = Arc::new(TemplateSet { messages: vec![vec![0; 65_535].into(); 2] });
    let error = spool.append(&sized(1, 100, &huge)).expect_err("it is too large");
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    // The largest message there is has room.
    spool.append(&sized(2, 65_535, &templates(0))).expect("it is appended");
    assert_eq!(rest(&mut spool), [0, 2]);
}

#[test]
fn a_restart_goes_on_where_messages_had_arrived() {
    // Messages that are appended, read and retired before; a hundred make more than a segment.
    for (appended, read_before, retired) in
        [(0, 0, 0), (1, 0, 0), (1, 1, 0), (1, 1, 1), (250, 0, 0), (250, 100, 0), (250, 100, 100), (250, 120, 92)]
            .into_iter()
            .chain((88..96).map(|retired| (250, 200, retired)))
            .chain([(250, 250, 249), (250, 250, 250)])
    {
        for synced in [false, true] {
            let folder = folder();
            let mut spool = open(&folder, SMALLEST_BOUND);
            append(&mut spool, 0..appended);
            let got = read(&mut spool, read_before);
            let place = got.get(retired).map_or(spool.position(), |(position, _)| *position);
            spool.retire(place).expect("it is retired");
            if synced {
                spool.sync().expect("it is synced");
            }
            drop(spool);
            for _ in 0..2 {
                let mut spool = open(&folder, SMALLEST_BOUND);
                let (waiting, got) = (spool.waiting(), rest(&mut spool));
                let first = got.first().copied().unwrap_or(appended);
                let retired = retired as u64;
                assert!(if synced { first == retired } else { first <= retired && retired - first < UNSAVED_BELOW });
                assert_eq!(got, range(first..appended));
                assert_eq!((waiting.messages, waiting.weight), (appended - first, weight(first..appended)));
                assert_eq!(spool.damage(), Damage::default());
            }
        }
    }
}

#[test]
fn messages_come_twice_within_the_bound_and_not_beyond() {
    let folder = folder();
    let mut spool = open(&folder, PLENTY);
    append(&mut spool, 0..1000);
    for retired in 1..=1000 {
        assert_eq!(read(&mut spool, 1).len(), 1);
        retire_read(&mut spool);
        let (place, _) = Place::load(folder.path()).expect("it can be read");
        let ahead = spool.in_flight.len() as u64 + spool.place.unsaved;
        assert!(ahead < UNSAVED_BELOW && (retired < UNSAVED_BELOW || place.position > Position::default()));
    }
    drop(spool);
    let again = rest(&mut open(&folder, PLENTY));
    assert_eq!(again, range(1000 - 1000 % UNSAVED_BELOW..1000));
}

#[test]
fn what_comes_after_a_restart_is_never_taken_for_what_has_arrived() {
    let folder = folder();
    let mut spool = open(&folder, PLENTY);
    append(&mut spool, 0..10);
    assert_eq!(read(&mut spool, 8).len(), 8);
    retire_read(&mut spool);
    spool.sync().expect("it is synced");
    drop(spool);
    // As after a power failure that has taken more than the place says.
    let (paths, octets) = files(&folder);
    File::options().write(true).open(&paths[0]).and_then(|file| file.set_len(octets / 3)).expect("it is cut");
    append(&mut open(&folder, PLENTY), 10..15);
    let mut spool = open(&folder, PLENTY);
    assert_eq!(rest(&mut spool), range(10..15));
    // The same where no segment is left.
    retire_read(&mut spool);
    spool.sync().expect("it is synced");
    assert!(files(&folder).0.is_empty());
    drop(spool);
    append(&mut open(&folder, PLENTY), 15..20);
    assert_eq!(rest(&mut open(&folder, PLENTY)), range(15..20));
}

#[test]
fn templates_are_shared_and_are_in_every_segment() {
    let folder = folder();
    let mut spool = open(&folder, SMALLEST_BOUND);
    let (even, odd) = (templates(2), Arc::new(TemplateSet::default()));
    for number in 0..400 {
        // An equal set is the same, although it is another object.
        let set = if number < 200 { Arc::new((*even).clone()) } else { Arc::clone(&odd) };
        spool.append(&sized(number, 1400, &set)).expect("it is appended");
    }
    let mut of_entries = files(&folder).1;
    let segments = files(&folder).0.len() as u64;
    assert!(segments >= 4);
    of_entries -= 400 * entry::data_length(&message(0)) + segments * u64::from(entry::FIRST);
    let mut one = Vec::new();
    entry::put_templates(&mut one, &even);
    assert!(of_entries <= (segments + 1) * one.len() as u64, "templates once in a segment, and where they change");
    for _ in 0..2 {
        let got = read(&mut spool, usize::MAX);
        assert!(got[..200].iter().all(|(_, message)| Arc::ptr_eq(&message.templates, &got[0].1.templates)));
        assert!(got[200..].iter().all(|(_, message)| Arc::ptr_eq(&message.templates, &got[200].1.templates)));
        assert_eq!((&*got[0].1.templates, &*got[399].1.templates), (&*even, &*odd));
        // Back to the middle of a segment, whose templates are at its beginning.
        for index in [150, 30, 399, 200, 199] {
            spool.rewind(got[index].0);
            let again = read(&mut spool, usize::MAX);
            assert_eq!(numbers(&again), range(index as u64..400));
            assert_eq!(again[0].1.templates, got[index].1.templates);
        }
        drop(spool);
        spool = open(&folder, SMALLEST_BOUND);
    }
    // After a restart, what is appended brings its templates along.
    spool.append(&sized(400, 1400, &even)).expect("it is appended");
    let last = read(&mut spool, usize::MAX).pop().expect("it is there").1;
    assert_eq!((number(&last), last.templates), (400, even));
}

#[test]
fn going_back_and_retiring() {
    let folder = folder();
    let mut spool = open(&folder, SMALLEST_BOUND);
    append(&mut spool, 0..400);
    let got = read(&mut spool, 300);
    spool.rewind(got[120].0);
    assert_eq!((spool.waiting().messages, spool.waiting().weight), (280, weight(120..400)));
    // What has not been read cannot be retired.
    spool.retire(got[299].0).expect("it is retired");
    assert_eq!(rest(&mut spool), range(120..400));
    spool.retire(got[250].0).expect("it is retired");
    spool.rewind(got[120].0);
    assert_eq!(rest(&mut spool), range(250..400));
    spool.rewind(got[260].0);
    assert_eq!(numbers(&read(&mut spool, 10)), range(260..270));
    assert!(files(&folder).0.len() < 5, "retired segments are removed");
    assert_eq!(rest(&mut spool), range(270..400));
    retire_read(&mut spool);
    assert_eq!(files(&folder).0.len(), 1, "the newest goes on being written");
    append(&mut spool, 400..401);
    assert_eq!(files(&folder).0.len(), 1);
    assert_eq!(rest(&mut spool), [400]);
    retire_read(&mut spool);
    spool.sync().expect("it is synced");
    assert_eq!(files(&folder).0.len(), 0);
    append(&mut spool, 401..402);
    assert_eq!(rest(&mut spool), [401]);
}

#[test]
fn one_process_at_a_time() {
    let folder = folder();
    let spool = open(&folder, PLENTY);
    let Err(error) = Spool::open(folder.path(), PLENTY, Losses::default()) else { panic!("it is in use") };
    assert!(matches!(&error, SpoolError::InUse { folder: named } if named == folder.path()));
    assert!(error.to_string().contains("in use by another process"));
    drop(spool);
    open(&folder, PLENTY);
}

#[test]
fn the_folder_is_the_owners_alone_and_an_error_names_it() {
    let outer = folder();
    let inner = outer.path().join("new/spool");
    let mut spool = Spool::open(&inner, PLENTY, Losses::default()).expect("it opens");
    append(&mut spool, 0..3);
    assert_eq!(read(&mut spool, 1).len(), 1);
    retire_read(&mut spool);
    spool.sync().expect("it is synced");
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&inner), 0o700);
    let files: Vec<_> = fs::read_dir(&inner).expect("it is there").map(|file| file.expect("a file").path()).collect();
    assert_eq!(files.len(), 3);
    assert!(files.iter().all(|file| mode(file) == 0o600));
    let file = outer.path().join("file");
    fs::write(&file, "precious").expect("it is written");
    let Err(error) = Spool::open(&file.join("spool"), PLENTY, Losses::default()) else { panic!("no folder there") };
    assert!(error.to_string().contains("file/spool` for the spool: "), "{error}");
}
