//! The thread that looks for what is wrong: fed by the sink "findings", seen by the API and by `flowprobe replay --detect`.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tracing::{error, warn};

use super::super::capacity::{Line, Lines};
use super::super::findings::{Change, Finding, Findings};
use super::super::flow::Flow;
use super::super::handed::Handed;
use super::super::settings::Rate;
use super::super::suppress::Suppression;
use super::super::{Detection, RULES};
use super::condition::{self, Condition};
use super::feed::{Feed, Interfaces};
use super::keep::Keep;
use super::keeping::{INTERFACES, Keeping};
use crate::alert::Sinks;
use crate::kernel::interface_speed;
use crate::sink::Event;

/// What was found, shared by the thread that looks for it and by those who ask.
#[derive(Clone, Debug, Default)]
pub struct Board {
    state: Arc<Mutex<State>>,
    /// As of the last drain, so that whoever asks waits for nobody.
    condition: Arc<Mutex<Arc<Condition>>>,
}

#[derive(Debug, Default)]
struct State {
    findings: Findings,
    suppressions: Vec<Suppression>,
    /// Sightings that were not said, for each suppression.
    suppressed: Vec<u64>,
    /// Findings that were opened since the start, for each of [`RULES`].
    opened: Vec<u64>,
    /// Findings that earlier runs had forgotten.
    forgotten_before: u64,
}

impl Board {
    /// One that goes on with these findings.
    #[must_use]
    pub fn new(findings: Findings, suppressions: Vec<Suppression>) -> Self {
        let (suppressed, opened) = (vec![0; suppressions.len()], vec![0; RULES.len()]);
        let state = State { findings, suppressions, suppressed, opened, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)), condition: Arc::default() }
    }

    /// How it fares, as of the last drain.
    #[must_use]
    pub fn condition(&self) -> Arc<Condition> {
        Arc::clone(&self.condition.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn say(&self, condition: Condition) {
        *self.condition.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(condition);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Findings as they are kept. Whoever asks waits until they are packed, and not until they are on disk.
    pub(super) fn packed(&self) -> io::Result<Vec<u8>> {
        Keep::packed(&self.lock().findings)
    }

    /// The findings that are wanted, the latest first, at most so many.
    #[must_use]
    pub fn findings(&self, most: usize, is_wanted: impl Fn(&Finding) -> bool) -> Vec<Finding> {
        let state = self.lock();
        let mut found: Vec<&Finding> = state.findings.iter().filter(|one| is_wanted(one)).collect();
        found.sort_by_key(|one| std::cmp::Reverse(one.last_ms));
        found.into_iter().take(most).cloned().collect()
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
    /// What the event brings that is taken in.
    batch: Vec<Flow>,
    board: Board,
    sinks: Option<Sinks>,
    keep: Option<Keeping>,
    lines: Speeds,
    /// Flows that were looked at.
    flows: u64,
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

/// How long sinks may take to send what they have at the end.
const LAST_WORDS: Duration = Duration::from_secs(2);

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
        Self { detection, feed, batch: Vec::new(), board, sinks: None, keep: None, lines, flows: 0 }
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
        let mut of_no_use = Vec::new();
        match keep.findings() {
            Ok(findings) => {
                let mut state = self.board.lock();
                state.forgotten_before = findings.forgotten();
                state.findings = findings;
            }
            Err(error) => {
                warn!("{error}: findings begin anew");
                of_no_use.push(error);
            }
        }
        match keep.learned() {
            Ok(learned) => {
                let names = learned.iter().find(|(name, _)| name == INTERFACES);
                if let Some(names) = names.and_then(|(_, octets)| postcard::from_bytes(octets).ok()) {
                    self.feed.interfaces().go_on_with(names);
                }
                for name in self.detection.go_on_with(&learned) {
                    warn!("what the detector \"{name}\" had learned is of another version: it learns anew");
                }
            }
            Err(error) => {
                warn!("{error}: detectors learn anew");
                of_no_use.push(error);
            }
        }
        self.keep = Some(Keeping::new(keep, of_no_use, &self.board));
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
            let _guard = SaysFailure(self.board.clone());
            while let Some(event) = queue.blocking_recv() {
                self.take(&event);
            }
            if let Some(keeping) = &mut self.keep {
                // The daemon ends, and not what it has seen: conversations may go on.
                keeping.save(&self.detection, &self.board, &self.feed.interfaces());
            } else {
                self.detection.finish();
                self.board.lock().findings.advance(self.detection.now_ms());
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
                let Self { feed, batch, .. } = self;
                batch.extend(deltas.iter().filter_map(|delta| feed.of_delta(delta)));
                self.look();
            }
            Event::Records(records) => {
                let Self { feed, batch, .. } = self;
                let of_record = |(index, record)| feed.of_record(record, records.beyond.get(index));
                batch.extend(records.records.iter().enumerate().filter_map(of_record));
                self.look();
            }
            Event::Tick(tick) => {
                let now_ms = self.feed.tick(tick.offset, tick.now_ns);
                self.lines.look(&self.feed.interfaces());
                self.detection.advance(now_ms);
                self.board.lock().findings.advance(self.detection.now_ms());
                self.put_up();
                self.say();
                return;
            }
            Event::ReceivedDeltas(_) | Event::Datagrams(_) => return,
        }
        self.put_up();
    }

    /// Says how it fares.
    fn say(&self) {
        let (forgotten, suppressed, counted) = {
            let state = self.board.lock();
            let forgotten = state.findings.forgotten() - state.forgotten_before;
            (forgotten, state.suppressed.iter().sum(), Condition::count(state.findings.iter(), &state.opened))
        };
        self.board.say(Condition {
            forgotten,
            suppressed,
            flows: self.flows,
            detectors: self.detection.loads(),
            sinks: self.sinks.as_ref().map(Sinks::conditions).unwrap_or_default(),
            problem: self.keep.as_ref().and_then(|keeping| keeping.problem().map(str::to_owned)),
            failed_saves: self.keep.as_ref().map(Keeping::failures).unwrap_or_default(),
            ..counted
        });
    }

    fn look(&mut self) {
        self.flows += self.batch.len() as u64;
        self.detection.take(&self.batch);
        self.batch.clear();
    }

    /// Puts on the board what was seen, and tells of what has changed.
    fn put_up(&mut self) {
        let now_ms = self.detection.now_ms();
        let changes = {
            let mut state = self.board.lock();
            let State { findings, suppressions, suppressed, opened, .. } = &mut *state;
            for sighting in self.detection.seen() {
                match suppressions.iter().position(|one| one.holds(&sighting, now_ms)) {
                    Some(index) => suppressed[index] += 1,
                    None => findings.see(sighting, now_ms),
                }
            }
            let changes = findings.changes();
            for (finding, _) in changes.iter().filter(|(_, change)| *change == Change::Opened) {
                if let Some(count) = condition::number(&finding.rule).and_then(|rule| opened.get_mut(rule)) {
                    *count += 1;
                }
            }
            changes
        };
        // Told before it is kept: rather twice than never.
        let is_news = !changes.is_empty();
        if let Some(sinks) = &self.sinks {
            sinks.tell(changes, now_ms);
            if let Some(keeping) = &mut self.keep {
                keeping.save_in_time(is_news, &self.detection, &self.board, &self.feed.interfaces());
            }
        }
    }
}

/// Says so when the thread fails, which nobody waits for.
struct SaysFailure(Board);

impl Drop for SaysFailure {
    fn drop(&mut self) {
        if thread::panicking() {
            error!("the thread \"findings\" has failed: nothing is looked for until a restart");
            self.0.say(Condition { has_failed: true, ..(*self.0.condition()).clone() });
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
