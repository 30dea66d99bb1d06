//! The thread that looks for what is wrong: fed by the sink "findings", seen by the API and by `flowprobe replay --detect`.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::capacity::{Line, Lines};
use super::feed::{Feed, Interfaces};
use super::findings::{Finding, Findings};
use super::handed::Handed;
use super::keep::Keep;
use super::settings::Rate;
use super::suppress::Suppression;
use super::{Detection, Memory};
use crate::alert::{Condition, Sinks};
use crate::kernel::interface_speed;
use crate::sink::Event;

/// What was found, shared by the thread that looks for it and by those who ask.
#[derive(Clone, Debug, Default)]
pub struct Board {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    findings: Findings,
    suppressions: Vec<Suppression>,
    /// Sightings that were not said, for each suppression.
    suppressed: Vec<u64>,
    memory: Vec<Memory>,
    sinks: Vec<Condition>,
}

impl Board {
    /// One that goes on with these findings.
    #[must_use]
    pub fn new(findings: Findings, suppressions: Vec<Suppression>) -> Self {
        let suppressed = vec![0; suppressions.len()];
        Self { state: Arc::new(Mutex::new(State { findings, suppressions, suppressed, ..State::default() })) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The findings that are wanted, the latest first, at most so many.
    #[must_use]
    pub fn findings(&self, most: usize, is_wanted: impl Fn(&Finding) -> bool) -> Vec<Finding> {
        let state = self.lock();
        let mut found: Vec<&Finding> = state.findings.iter().filter(|one| is_wanted(one)).collect();
        found.sort_by_key(|one| std::cmp::Reverse(one.last_ms));
        found.into_iter().take(most).cloned().collect()
    }

    /// What detectors keep in memory, and how those fare that findings go to.
    #[must_use]
    pub fn health(&self) -> (Vec<Memory>, Vec<Condition>) {
        let state = self.lock();
        (state.memory.clone(), state.sinks.clone())
    }

    /// Each suppression with the sightings that it has kept quiet.
    #[must_use]
    pub fn suppressed(&self) -> Vec<(Suppression, u64)> {
        let state = self.lock();
        state.suppressions.iter().cloned().zip(state.suppressed.iter().copied()).collect()
    }
}

/// What the thread has.
pub struct Stage {
    detection: Detection,
    feed: Feed,
    board: Board,
    sinks: Option<Sinks>,
    keep: Option<Keeping>,
    lines: Speeds,
}

/// What interfaces can do, as it was last handed to the detector that asks.
struct Speeds {
    /// Of those that are named in the settings.
    named: BTreeMap<String, Rate>,
    /// Whether interfaces of this machine may be asked: those of a capture are of another.
    are_ours: bool,
    handed: Lines,
    new_lines: Handed<Arc<Lines>>,
    looked: Option<Instant>,
}

/// How often it is looked for interfaces that are new, or that have another speed.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Where and when it is kept what was found.
struct Keeping {
    keep: Keep,
    /// When it was, on a clock that only runs.
    kept: Instant,
    /// Whether something was found since.
    is_due: bool,
    /// Whether that has failed, which is said once.
    fails: bool,
}

/// How long sinks may take to send what they have at the end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What detectors have learned is kept this often.
const KEEP_EVERY: Duration = Duration::from_secs(300);

/// And so soon after something was found.
const KEEP_SOON: Duration = Duration::from_secs(5);

impl Stage {
    /// Detectors that are fed so, and put on this board what they see.
    #[must_use]
    pub fn new(detection: Detection, feed: Feed, board: Board) -> Self {
        let lines = Speeds {
            named: BTreeMap::new(),
            are_ours: false,
            handed: Lines::new(),
            new_lines: Handed::default(),
            looked: None,
        };
        Self { detection, feed, board, sinks: None, keep: None, lines }
    }

    /// Hands on what interfaces can do: as it is set, or as those of this machine say if they are the ones that are metered.
    #[must_use]
    pub fn with_speeds(self, named: BTreeMap<String, Rate>, are_ours: bool, new_lines: Handed<Arc<Lines>>) -> Self {
        let lines = Speeds { named, are_ours, new_lines, ..self.lines };
        Self { lines, ..self }
    }

    /// Tells these of what changes.
    #[must_use]
    pub fn telling(self, sinks: Sinks) -> Self {
        Self { sinks: Some(sinks), ..self }
    }

    /// Keeps there what is found and learned, and goes on with what was kept.
    #[must_use]
    pub fn keeping(mut self, keep: Keep) -> Self {
        match keep.load() {
            Ok(kept) => {
                for name in self.detection.go_on_with(&kept.learned) {
                    warn!(
                        "{}: what \"{name}\" had learned is of another version: it learns anew",
                        keep.path().display()
                    );
                }
                self.board.lock().findings = kept.findings;
            }
            Err(error) => warn!("{}: {error}: findings and baselines begin anew", keep.path().display()),
        }
        self.keep = Some(Keeping { keep, kept: Instant::now(), is_due: false, fails: false });
        self
    }

    /// Where it puts what it sees.
    #[must_use]
    pub const fn board(&self) -> &Board {
        &self.board
    }

    /// Takes in what comes on a thread of its own, until the queue ends.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(mut self, mut queue: mpsc::Receiver<Event>) -> io::Result<JoinHandle<()>> {
        thread::Builder::new().name("findings".into()).spawn(move || {
            while let Some(event) = queue.blocking_recv() {
                self.take(&event);
            }
            if let Some(keeping) = &mut self.keep {
                // The daemon ends, and not what it has seen: conversations may go on.
                keeping.save(&self.detection, &self.board);
            } else {
                self.detection.finish();
                self.put_up();
            }
            if let Some(sinks) = self.sinks {
                sinks.stop(LAST_WORDS);
            }
        })
    }

    fn take(&mut self, event: &Event) {
        match event {
            Event::Deltas(deltas) => {
                for delta in deltas.iter() {
                    if let Some(flow) = self.feed.of_delta(delta) {
                        self.detection.take(&flow);
                    }
                }
            }
            Event::Records(batch) => {
                for (index, record) in batch.records.iter().enumerate() {
                    if let Some(flow) = self.feed.of_record(record, batch.beyond.get(index)) {
                        self.detection.take(&flow);
                    }
                }
            }
            Event::Tick(tick) => {
                self.feed.set_offset(tick.offset);
                self.lines.look(&self.feed.interfaces());
                self.detection.advance(i64::try_from(tick.offset.to_wall_ms(tick.now_ns)).unwrap_or(i64::MAX));
                let (memory, sinks) = (self.detection.memory(), self.sinks.as_ref().map(Sinks::conditions));
                let mut state = self.board.lock();
                (state.memory, state.sinks) = (memory, sinks.unwrap_or_default());
            }
            Event::ReceivedDeltas(_) | Event::Datagrams(_) => return,
        }
        self.put_up();
    }

    /// Puts on the board what was seen, and tells of what has changed.
    fn put_up(&mut self) {
        let now_ms = self.detection.now_ms();
        let changes = {
            let mut state = self.board.lock();
            let State { findings, suppressions, suppressed, .. } = &mut *state;
            for sighting in self.detection.seen() {
                match suppressions.iter().position(|one| one.holds(&sighting, now_ms)) {
                    Some(index) => suppressed[index] += 1,
                    None => findings.see(sighting, now_ms),
                }
            }
            findings.advance(now_ms);
            findings.changes()
        };
        if let Some(keeping) = &mut self.keep {
            keeping.is_due |= !changes.is_empty();
            keeping.save_in_time(&self.detection, &self.board);
        }
        if let Some(sinks) = &self.sinks {
            sinks.tell(changes, now_ms);
        }
    }
}

impl Speeds {
    fn look(&mut self, interfaces: &Interfaces) {
        if self.looked.is_some_and(|looked| looked.elapsed() < LOOK_EVERY) {
            return;
        }
        self.looked = Some(Instant::now());
        let line = |(number, exporter, name): (u32, Option<IpAddr>, String)| {
            let is_own = exporter.is_none();
            let said = || (is_own && self.are_ours).then(|| interface_speed(&name)).flatten();
            let bits_per_second = self.named.get(&name).map(|rate| rate.0).or_else(said).unwrap_or(0);
            // Captures have both directions; what is metered or exported is what came in.
            (number, Line { name, bits_per_second, is_one_way: !is_own || self.are_ours })
        };
        let lines: Lines = interfaces.all().into_iter().map(line).collect();
        if lines != self.handed {
            self.handed = lines.clone();
            self.new_lines.put(Arc::new(lines));
        }
    }
}

impl Keeping {
    fn save_in_time(&mut self, detection: &Detection, board: &Board) {
        if self.kept.elapsed() >= if self.is_due { KEEP_SOON } else { KEEP_EVERY } {
            self.save(detection, board);
        }
    }

    fn save(&mut self, detection: &Detection, board: &Board) {
        let saved = self.keep.save(&board.lock().findings, &detection.learned());
        match (saved, self.fails) {
            (Ok(()), true) => {
                info!("findings are kept again");
                self.fails = false;
            }
            (Err(problem), false) => {
                error!("findings are not kept over a restart: cannot write {}: {problem}", self.keep.path().display());
                self.fails = true;
            }
            _ => {}
        }
        (self.kept, self.is_due) = (Instant::now(), false);
    }
}
