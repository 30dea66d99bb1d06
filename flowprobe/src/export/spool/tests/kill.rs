//! A process that uses the spool and is killed again and again: nothing that was appended is missing, and what comes twice is
//! within the bound.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::*;

/// What a process says on its standard output, a line each, about a message: a number, since each process has its own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Said {
    Appended(u64),
    Read(u64),
    /// This one and all before it are about to be retired.
    Retiring(u64),
    /// They are.
    Retired(u64),
}

impl Said {
    fn parse(line: &str) -> Option<Self> {
        let (verb, number) = line.split_once(' ')?;
        let number = number.parse().ok()?;
        match verb {
            "appended" => Some(Self::Appended(number)),
            "read" => Some(Self::Read(number)),
            "retiring" => Some(Self::Retiring(number)),
            "retired" => Some(Self::Retired(number)),
            _ => None,
        }
    }
}

/// Messages of one process are numbered from here times its own number on.
const EACH: u64 = 1 << 20;

/// Uses the spool until it is killed.
fn child(folder: &Path, process: u64) {
    let mut out = io::stdout();
    let mut say = |what: &str, number: u64| out.write_all(format!("{what} {number}\n").as_bytes()).expect("a reader");
    // The line that the test harness has begun.
    say("", 0);
    let mut random = fastrand::Rng::new();
    let mut spool = Spool::open(folder, PLENTY, Losses::default()).expect("it opens");
    let mut next = process * EACH;
    // What was read, and where it ends.
    let mut in_flight: VecDeque<(Position, u64)> = VecDeque::new();
    loop {
        for _ in 0..random.usize(..60) {
            spool.append(&sized(next, random.usize(8..3000), &templates(random.u8(..2)))).expect("it is appended");
            say("appended", next);
            next += 1;
        }
        for _ in 0..random.usize(..60) {
            let Some((_, message)) = spool.read().expect("it reads") else { break };
            say("read", number(&message));
            in_flight.push_back((spool.position(), number(&message)));
        }
        let count = random.usize(..=in_flight.len());
        if let Some((position, number)) = in_flight.drain(..count).next_back() {
            say("retiring", number);
            spool.retire(position).expect("it is retired");
            say("retired", number);
        }
        if random.u8(..10) == 0 {
            spool.sync().expect("it is synced");
        }
    }
}

/// Runs a process for a while and kills it; what it said.
fn run(folder: &TempDir, process: u64, time: Duration) -> Vec<Said> {
    let mut running = Command::new(std::env::current_exe().expect("a test program"))
        .args(["--exact", NAME, "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder.path())
        .env(PROCESS, process.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut out = running.stdout.take().expect("a pipe");
    let reader = std::thread::spawn(move || {
        let mut said = String::new();
        out.read_to_string(&mut said).map(|_| said)
    });
    std::thread::sleep(time);
    running.kill().expect("it is running");
    let status = running.wait().expect("it ends");
    assert!(!status.success() && status.code().is_none(), "it was killed: {status}");
    let said = reader.join().expect("a reader").expect("text");
    // The last line may be torn.
    said.split_inclusive('\n').filter_map(|line| Said::parse(line.strip_suffix('\n')?)).collect()
}

/// What all processes have said so far.
#[derive(Default)]
struct Heard {
    /// Messages in the order in which they lie in the spool. A process may die before it can say that it has appended one:
    /// it is heard of when it is read.
    appended: Vec<u64>,
    /// How many of those have arrived.
    retired: usize,
    /// How many may have: a process may die before it can say so.
    retiring: usize,
}

impl Heard {
    /// Takes note that `number` is read after the first `after` of what was appended, or as the first in this process.
    fn read(&mut self, number: u64, after: Option<usize>) -> usize {
        let Ok(at) = self.appended.binary_search(&number) else {
            // The one that its process could not say: the last of that process.
            let at = self.appended.partition_point(|other| *other < number);
            let last = at.checked_sub(1).map(|before| self.appended[before]);
            assert!(last == Some(number - 1) || number.is_multiple_of(EACH), "{number} was never appended");
            self.appended.insert(at, number);
            assert!(at >= self.retired, "{number} is late");
            return self.read(number, after);
        };
        match after {
            Some(after) => assert_eq!(at, after, "{number} out of order"),
            None => {
                assert!(at <= self.retiring, "{} is missing", self.appended[self.retiring]);
                let again = self.retired.saturating_sub(at) as u64;
                assert!(again < UNSAVED_BELOW, "{again} messages come again");
            }
        }
        at + 1
    }

    /// How many were appended up to `number`.
    fn place(&self, number: u64) -> usize {
        self.appended.binary_search(&number).expect("it was read") + 1
    }

    fn hear(&mut self, said: &[Said]) {
        let mut after = None;
        for said in said {
            match *said {
                Said::Appended(number) => self.appended.push(number),
                Said::Read(number) => after = Some(self.read(number, after)),
                Said::Retiring(number) => self.retiring = self.retiring.max(self.place(number)),
                Said::Retired(number) => self.retired = self.retired.max(self.place(number)),
            }
        }
    }
}

const NAME: &str = "export::spool::tests::kill::nothing_is_missing_after_a_kill";
const FOLDER: &str = "FLOWPROBE_SPOOL_KILL";
const PROCESS: &str = "FLOWPROBE_SPOOL_PROCESS";

#[test]
fn nothing_is_missing_after_a_kill() {
    if let (Some(path), Some(process)) = (std::env::var_os(FOLDER), std::env::var(PROCESS).ok()) {
        return child(Path::new(&path), process.parse().expect("a number"));
    }
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (folder, mut heard) = (folder(), Heard::default());
    for process in 0..20 {
        let said = run(&folder, process, Duration::from_micros(random.u64(20_000..250_000)));
        heard.hear(&said);
    }
    let mut spool = open(&folder, PLENTY);
    assert_eq!(spool.damage().segments, 0);
    let left: Vec<_> = rest(&mut spool).into_iter().map(Said::Read).collect();
    heard.hear(&left);
    println!("{} appended, {} of them retired, {} left", heard.appended.len(), heard.retired, left.len());
    assert!(heard.retired > 1000, "there was time for some");
    // What was read last is the last there is, or all has arrived.
    let last = left.last().copied();
    let all_arrived = left.is_empty() && heard.retiring == heard.appended.len();
    assert!(all_arrived || last == heard.appended.last().copied().map(Said::Read), "the last is missing");
}
