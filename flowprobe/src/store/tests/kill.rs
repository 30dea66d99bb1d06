//! A process that writes a store and makes hours of its parts is killed again and again, while another program reads the files: no row
//! is missing that was written, and none is there twice, whoever reads.

use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicI64;
use std::thread;
use std::time::Instant;

use super::outsider::{Outsider, Seen};
use super::*;
use crate::query::{Filter, Measure, Question, Request, Source, ask};

const NAME: &str = "store::tests::kill::each_row_is_there_once_after_a_kill";
const FOLDER: &str = "FLOWPROBE_STORE_KILL";
const FIRST: &str = "FLOWPROBE_STORE_FIRST";

/// Writes rows, numbered in their octets from `first` on, and makes hours of them at the same time, until it is killed.
fn child(folder: &Path, first: i64) {
    let store = Store::open(folder).expect("the former process is dead");
    let shelf = Arc::clone(store.shelf());
    thread::spawn(move || {
        loop {
            let stop = AtomicBool::new(false);
            assert!(maintain(&shelf, KEPT, START_MS + DAY_MS, &stop).is_empty());
            // As if nobody waited for more parts.
            for hour in shelf.layout().hours().expect("a folder") {
                compact(&shelf, hour, &stop).expect("files that can be read");
            }
        }
    });
    let mut random = fastrand::Rng::new();
    let mut next = first;
    let mut out = io::stdout();
    loop {
        let count = random.usize(1..200);
        // Of one hour, so that all of them are there or none.
        let from_ms = START_MS + random.i64(0..3) * HOUR_MS;
        let mut flows = rows(&mut random, count, from_ms, from_ms + HOUR_MS);
        for (octets, packets) in flows.octets.iter_mut().zip(&mut flows.packets) {
            (*octets, *packets) = (next, outsider::packets_of(next));
            next += 1;
        }
        flows.sampling.fill(1);
        add(store.shelf(), &flows);
        store.shelf().write_out().expect("an empty disk");
        // The test harness has begun a line.
        out.write_all(format!("\nwritten {next}\n").as_bytes()).expect("a reader");
    }
}

/// Keeps in `written` up to which number a process says that rows are written. The last line may be torn.
fn listen(out: impl Read, written: &AtomicI64) {
    let (mut out, mut line) = (BufReader::new(out), Vec::new());
    while out.read_until(b'\n', &mut line).is_ok_and(|octets| octets > 0) {
        let number = line.strip_suffix(b"\n").and_then(|line| line.strip_prefix(b"written "));
        if let Some(number) = number.and_then(|number| std::str::from_utf8(number).ok()?.parse().ok()) {
            written.store(number, Ordering::Release);
        }
        line.clear();
    }
}

/// Looks at the store until `stop` is set: what was written before a look is in it, once.
fn watch(outsider: &mut Outsider, folder: &Path, written: &AtomicI64, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let before = written.load(Ordering::Acquire);
        match outsider.look(folder, before) {
            Seen::Rows { rows, distinct, early, odd } => {
                assert_eq!((rows, early, odd), (distinct, before, 0), "rows, those written before, and garbled ones");
            }
            // Files that were exchanged meanwhile are looked for again, as docs/history.md has it.
            Seen::Gone => {}
        }
    }
}

/// Runs a process and kills it, so long after it has written rows, or, where it is to be `early`, after its start; up to which number it
/// said that rows are written.
fn run(folder: &Path, first: i64, early: bool, time: Duration, outsider: Option<&mut Outsider>) -> i64 {
    let mut running = Command::new(std::env::current_exe().expect("a test program"))
        .args(["--exact", NAME, "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let out = running.stdout.take().expect("a pipe");
    let (written, stop) = (AtomicI64::new(first), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| listen(out, &written));
        if let Some(outsider) = outsider {
            scope.spawn(|| watch(outsider, folder, &written, &stop));
        }
        // However slow the machine is.
        let soon = Instant::now() + Duration::from_secs(30);
        while !early && written.load(Ordering::Relaxed) == first && Instant::now() < soon {
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(time);
        running.kill().expect("it is running");
        stop.store(true, Ordering::Relaxed);
        let status = running.wait().expect("it ends");
        assert!(!status.success() && status.code().is_none(), "it was killed: {status}");
    });
    written.into_inner()
}

/// The files of whole hours.
fn whole_hours(store: &Store) -> Vec<layout::FileId> {
    let hours = store.shelf().snapshot().expect("a snapshot").hours;
    hours.into_values().filter_map(|files| files.whole).collect()
}

#[test]
fn each_row_is_there_once_after_a_kill() {
    if let (Some(path), Ok(first)) = (std::env::var_os(FOLDER), std::env::var(FIRST)) {
        return child(Path::new(&path), first.parse().expect("a number"));
    }
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store");
    let rounds = if std::env::var_os("FLOWPROBE_LONG").is_some() { 200 } else { 20 };
    let mut outsider = Outsider::start("store::tests::kill::each_row_is_there_once_after_a_kill");
    let (mut next, mut whole, mut exchanged) = (0, Vec::new(), 0);
    for round in 0..rounds {
        let time = Duration::from_micros(random.u64(..200_000));
        let written = run(&path, next, random.u8(..4) == 0, time, outsider.as_mut());
        let layout = Layout::new(&path);
        let everything = Request {
            question: Question::Protocols,
            from_ms: START_MS,
            to_ms: START_MS + DAY_MS,
            filter: Filter::default(),
            by: Measure::Octets,
            top: 10,
        };
        // Before anybody has swept, and by rollups where there are such.
        let answer = ask(Source::Files(&layout), &everything).expect("an answer");
        assert!(answer.unreadable.is_empty(), "{:?}", answer.unreadable);
        let seen = outsider.as_mut().map(|outsider| outsider.look(&path, written));
        let store = Store::open(&path).expect("the process is dead");
        let mut numbers = all_rows(store.shelf()).octets;
        numbers.sort_unstable();
        let count = i64::try_from(numbers.len()).expect("few");
        assert!(numbers.iter().copied().eq(0..count), "seed {seed}, round {round}: a row is missing, or there twice");
        // What it could not say any more is one batch.
        assert!(
            (written..written + 200).contains(&count),
            "seed {seed}, round {round}: {count} rows, {written} written"
        );
        assert_eq!(answer.total.flows, count, "seed {seed}, round {round}");
        // Nobody exchanges files any more.
        let expected = Seen::Rows { rows: count, distinct: count, early: written, odd: 0 };
        let is_as_expected = seen.is_none_or(|seen| seen == expected || (count == 0 && seen == Seen::Gone));
        assert!(is_as_expected, "seed {seed}, round {round}: {seen:?}, {expected:?}");
        next = count;
        exchanged += usize::from(whole != whole_hours(&store));
        // Hours stay small, so that the next process makes files of them before it is killed.
        for (hour, files) in store.shelf().snapshot().expect("a snapshot").hours {
            if files.parts.len() > 8 {
                assert!(compact(store.shelf(), hour, &go_on()).expect("files that can be read"));
            }
        }
        whole = whole_hours(&store);
    }
    println!("{next} rows; in {exchanged} of {rounds} rounds an hour became a file");
    if let Some(outsider) = &outsider {
        println!("looked at {} times by another program, and {} times too late", outsider.found, outsider.gone);
        assert!(outsider.found > rounds, "there was time to look");
    }
    assert!(next > 1000 && exchanged > 0, "there was time for some");
}
