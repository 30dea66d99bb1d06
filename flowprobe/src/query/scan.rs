//! Reads what a question is about: rollups where they suffice, files of records where not, and what waits. On several threads, since
//! files have nothing to do with each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::filter::Sieve;
use super::{Request, Source};
use crate::store::Snapshot;
use crate::store::columns::Columns as _;
use crate::store::compaction::{RollupReader, hours_of};
use crate::store::file::{FileFault, Reader};
use crate::store::flows::{Flows, mapped};
use crate::store::layout::{Day, FileId, HOUR_MS, Hour, HourFiles, Layout};
use crate::store::rollup::{MINUTE_MS, Rollup};

/// Threads at most: other work is going on.
const THREADS: usize = 2;

/// How often the files may be exchanged for others while they are looked for.
const TRIES: usize = 10;

/// What a question makes of rows.
pub(super) trait Gather: Send {
    /// The rollup that may have the answer.
    type Rollup: Rollup;

    /// For which part of a question that asks for such flows it has.
    fn use_of_rollup(&self, sieve: &Sieve) -> UseOfRollup;
    /// The same question, and nothing gathered yet.
    fn fork(&self) -> Self;
    /// The columns that it looks at.
    fn columns(&self) -> &'static [&'static str];
    /// Takes a row of which these columns are there.
    fn row(&mut self, flows: &Flows, row: usize);
    /// Takes a row of the rollup of an hour or a day that began then.
    fn summed(
        &mut self,
        sieve: &Sieve,
        start_ms: i64,
        key: <Self::Rollup as Rollup>::Key,
        value: <Self::Rollup as Rollup>::Value,
    );
    /// Takes what another has gathered.
    fn join(&mut self, other: Self);

    /// Of the rows of a group that are meant, those that it takes, in any order.
    fn choose(&mut self, _: &Flows, _: &mut Vec<usize>) {}

    /// Whether a group of rows has nothing for it.
    fn passes_over(&self, _: &Reader<Flows>, _: usize) -> bool {
        false
    }

    /// Whether a group of the rollup has nothing for it.
    ///
    /// # Errors
    /// The file is damaged.
    fn passes_over_sums(&self, _: &Reader<Self::Rollup>, _: usize) -> Result<bool, FileFault> {
        Ok(false)
    }
}

/// For what a rollup serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UseOfRollup {
    /// Nothing.
    Nothing,
    /// Hours and days that are wholly asked for.
    WholePeriods,
    /// Hours that are.
    WholeHours,
    /// Minutes.
    Minutes,
}

/// What is known of how an answer came about.
#[derive(Clone, Debug, Default)]
pub(super) struct Notes {
    /// Whether a rollup in it is not exact.
    pub(super) is_rough: bool,
    /// Files that are damaged and were passed over.
    pub(super) unreadable: Vec<String>,
    /// Rollups that are damaged, with what is wrong.
    damaged_sums: Damaged,
}

/// Files, and what is wrong with them.
pub(super) type Damaged = BTreeMap<PathBuf, String>;

impl Notes {
    pub(super) fn join(&mut self, other: Self) {
        self.is_rough |= other.is_rough;
        self.unreadable.extend(other.unreadable);
        self.damaged_sums.extend(other.damaged_sums);
    }
}

/// One thing to read.
pub(super) enum Step {
    Day(Day, FileId),
    Hour(Hour, FileId),
    File(Hour, PathBuf),
    /// The index among what waits, of which hour that is.
    Waiting(Hour, usize),
}

impl Step {
    /// The hour of the records; the first one of a day.
    pub(super) const fn hour(&self) -> Hour {
        match self {
            Self::Day(day, _) => Hour::of(day.start_ms()),
            Self::Hour(hour, _) | Self::File(hour, _) | Self::Waiting(hour, _) => *hour,
        }
    }

    /// The first moment of the day to which it belongs.
    pub(super) const fn day_ms(&self) -> i64 {
        match self {
            Self::Day(day, _) => day.start_ms(),
            Self::Hour(hour, _) | Self::File(hour, _) | Self::Waiting(hour, _) => hour.day().start_ms(),
        }
    }
}

/// Gathers all that a question is about.
///
/// # Errors
/// A folder cannot be read.
pub(super) fn gather<G: Gather + Sync>(
    source: Source<'_>,
    request: &Request,
    empty: &G,
) -> Result<(G, Notes), FileFault> {
    let sieve = Sieve::of(&request.filter, request.from_ms, request.to_ms);
    patiently(|damaged| {
        let (snapshot, layout) = (source.snapshot()?, source.layout());
        let steps = plan::<G::Rollup>(layout, &snapshot, &sieve, empty.use_of_rollup(&sieve), damaged)?;
        take_all(source, &snapshot, &steps, &sieve, empty)
    })
}

/// Does again what has not found a file that was just there, and without sums that turned out to be damaged.
///
/// # Errors
/// Those of the last time.
pub(super) fn patiently<T>(
    mut work: impl FnMut(&Damaged) -> Result<(T, Notes), FileFault>,
) -> Result<(T, Notes), FileFault> {
    let (mut tries, mut damaged) = (0, Damaged::new());
    loop {
        match work(&damaged) {
            // An hour's parts have been exchanged for one file, or were too old.
            Err(fault) if fault.is_missing() && tries < TRIES => tries += 1,
            // Once more without these sums: what they are of may be there.
            Ok((_, notes)) if !notes.damaged_sums.is_empty() => damaged.extend(notes.damaged_sums),
            Ok((gathered, mut notes)) => {
                notes.unreadable.extend(damaged.into_values());
                return Ok((gathered, notes));
            }
            Err(fault) => return Err(fault),
        }
    }
}

/// Does all steps of a plan; no more of them once nobody waits for the answer.
///
/// # Errors
/// A file cannot be read. One that is damaged is noted and passed over.
pub(super) fn take_all<G: Gather + Sync>(
    source: Source<'_>,
    snapshot: &Snapshot,
    steps: &[Step],
    sieve: &Sieve,
    empty: &G,
) -> Result<(G, Notes), FileFault> {
    let (next, layout) = (AtomicUsize::new(0), source.layout());
    let outcome = Mutex::new(Ok((empty.fork(), Notes::default())));
    let work = || {
        let (mut gathered, mut notes) = (empty.fork(), Notes::default());
        let fault = loop {
            let Some(step) = steps.get(next.fetch_add(1, Ordering::Relaxed)).filter(|_| !source.is_stopped()) else {
                break None;
            };
            match take(layout, snapshot, step, sieve, &mut gathered, &mut notes) {
                Err(fault) if fault.is_damage() && matches!(step, Step::Day(..) | Step::Hour(..)) => {
                    let what = fault.to_string();
                    notes.damaged_sums.insert(fault.path, what);
                }
                Err(fault) if fault.is_damage() => notes.unreadable.push(fault.to_string()),
                Err(fault) => break Some(fault),
                Ok(()) => {}
            }
        };
        let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
        match (&mut *outcome, fault) {
            (_, Some(fault)) => *outcome = Err(fault),
            (Ok((all, of_all)), None) => {
                all.join(gathered);
                of_all.join(notes);
            }
            (Err(_), None) => {}
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS).min(steps.len());
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    outcome.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// What is to be read, so that each row is counted once.
pub(super) fn plan<R: Rollup>(
    layout: &Layout,
    snapshot: &Snapshot,
    sieve: &Sieve,
    use_of_rollup: UseOfRollup,
    damaged: &Damaged,
) -> Result<Vec<Step>, FileFault> {
    let (from_ms, to_ms) = sieve.times();
    let name = R::NAME;
    let mut hours: BTreeSet<Hour> = snapshot.hours.keys().copied().collect();
    let uses = use_of_rollup != UseOfRollup::Nothing;
    if uses {
        hours.extend(layout.rollup_hours(name)?);
        hours.extend(layout.rollup_days(name)?.into_iter().flat_map(Day::hours));
    }
    hours.retain(|hour| hour.start_ms() < to_ms && hour.end_ms() > from_ms);
    let is_of_minutes = from_ms % MINUTE_MS == 0 && to_ms % MINUTE_MS == 0;
    let serves = |start_ms: i64, end_ms: i64| match use_of_rollup {
        UseOfRollup::Nothing => false,
        UseOfRollup::Minutes if is_of_minutes => true,
        UseOfRollup::WholeHours if end_ms - start_ms > HOUR_MS => false,
        UseOfRollup::WholePeriods | UseOfRollup::WholeHours | UseOfRollup::Minutes => {
            from_ms <= start_ms && end_ms <= to_ms
        }
    };
    let mut by_day: BTreeMap<Day, Vec<Hour>> = BTreeMap::new();
    for hour in hours {
        by_day.entry(hour.day()).or_default().push(hour);
    }
    let none = HourFiles::default();
    let files = |hour: Hour| snapshot.hours.get(&hour).unwrap_or(&none);
    let waiting = snapshot.waiting.iter().enumerate();
    let mut steps: Vec<Step> = waiting.map(|(index, (hour, _))| Step::Waiting(*hour, index)).collect();
    for (day, hours) in by_day {
        if serves(day.start_ms(), day.end_ms())
            && let Some(id) = sum_of_day::<R>(layout, day, &files)?
            && !damaged.contains_key(&layout.rollup_file(name, &day, &id))
        {
            steps.push(Step::Day(day, id));
            let parts = hours.iter().flat_map(|&hour| files(hour).parts.iter().map(move |name| (hour, name)));
            steps.extend(parts.map(|(hour, name)| Step::File(hour, layout.hour(hour).join(name))));
            continue;
        }
        for hour in hours {
            let files = files(hour);
            let rollup = if serves(hour.start_ms(), hour.end_ms()) {
                let mut ids = layout.rollup_ids(name, &hour)?.into_iter();
                match &files.whole {
                    Some(whole) => ids.find(|id| id == whole),
                    // Records that are gone.
                    None if files.parts.is_empty() => ids.next_back(),
                    // A file of all is being made of the parts; what follows from it is there before it is.
                    None => None,
                }
            } else {
                None
            };
            match rollup.filter(|id| !damaged.contains_key(&layout.rollup_file(name, &hour, id))) {
                Some(id) => {
                    steps.push(Step::Hour(hour, id));
                    steps.extend(files.parts.iter().map(|name| Step::File(hour, layout.hour(hour).join(name))));
                }
                None => steps.extend(files.names().map(|name| Step::File(hour, layout.hour(hour).join(name)))),
            }
        }
    }
    Ok(steps)
}

/// The rollup of a day, if it is of just those hours that there are files and rollups of now.
fn sum_of_day<'a, R: Rollup>(
    layout: &Layout,
    day: Day,
    files: &impl Fn(Hour) -> &'a HourFiles,
) -> Result<Option<FileId>, FileFault> {
    let Some(id) = layout.rollup_ids(R::NAME, &day)?.pop() else { return Ok(None) };
    let summed = match hours_of::<R>(layout, day, &id) {
        Ok(summed) => summed,
        Err(fault) if fault.is_damage() => return Ok(None),
        Err(fault) => return Err(fault),
    };
    for hour in day.hours() {
        let now = match &files(hour).whole {
            Some(whole) => Some(whole.clone()),
            // Records that are gone.
            None if files(hour).parts.is_empty() => layout.rollup_ids(R::NAME, &hour)?.pop(),
            None => None,
        };
        if now.is_some_and(|now| !summed.iter().any(|id| id == now.as_str())) {
            return Ok(None);
        }
    }
    Ok(Some(id))
}

fn take<G: Gather>(
    layout: &Layout,
    snapshot: &Snapshot,
    step: &Step,
    sieve: &Sieve,
    gathered: &mut G,
    notes: &mut Notes,
) -> Result<(), FileFault> {
    match step {
        Step::Waiting(_, index) => {
            let (_, flows) = &snapshot.waiting[*index];
            let mut rows: Vec<usize> = (0..flows.len()).filter(|row| sieve.passes(flows, *row)).collect();
            gathered.choose(flows, &mut rows);
            rows.into_iter().for_each(|row| gathered.row(flows, row));
            Ok(())
        }
        Step::File(_, path) => take_file(&Reader::open(path)?, sieve, gathered),
        Step::Day(day, id) => take_sums(layout, (day, day.start_ms()), id, sieve, gathered, notes),
        Step::Hour(hour, id) => take_sums(layout, (hour, hour.start_ms()), id, sieve, gathered, notes),
    }
}

fn take_sums<G: Gather>(
    layout: &Layout,
    (period, start_ms): (&impl fmt::Display, i64),
    id: &FileId,
    sieve: &Sieve,
    gathered: &mut G,
    notes: &mut Notes,
) -> Result<(), FileFault> {
    let rollup = RollupReader::<G::Rollup>::open(layout, period, id)?;
    for group in 0..rollup.groups() {
        if !gathered.passes_over_sums(rollup.file(), group)? {
            rollup.read(group, |key, value| gathered.summed(sieve, start_ms, key, value))?;
        }
    }
    notes.is_rough |= rollup.is_rough();
    Ok(())
}

fn take_file<G: Gather>(reader: &Reader<Flows>, sieve: &Sieve, gathered: &mut G) -> Result<(), FileFault> {
    let deciding = sieve.columns();
    let wanted = gathered.columns().iter().filter_map(|name| Flows::index_of(name));
    let wanted: Vec<usize> = wanted.filter(|column| !deciding.contains(column)).collect();
    let (from_ms, to_ms) = sieve.times();
    let hosts = sieve.hosts();
    // The latest first: whoever wants only those passes over the others then.
    for group in (0..reader.groups()).rev() {
        if gathered.passes_over(reader, group) {
            continue;
        }
        let ends = deciding.first().and_then(|end| reader.extent(group, *end));
        if ends.is_some_and(|(first, last)| last < from_ms || first >= to_ms) {
            continue;
        }
        let mut may_have = true;
        for (addresses, columns) in &hosts {
            let mut any = false;
            for address in addresses {
                any |= reader.may_have(group, columns, mapped(*address))?;
            }
            may_have &= any;
        }
        if !may_have {
            continue;
        }
        let mut flows = Flows::default();
        reader.read(group, deciding.iter().copied(), &mut flows)?;
        let mut rows: Vec<usize> = (0..flows.len()).filter(|row| sieve.passes(&flows, *row)).collect();
        gathered.choose(&flows, &mut rows);
        if rows.is_empty() {
            continue;
        }
        rows.sort_unstable();
        reader.read_some(group, wanted.iter().copied(), &rows, &mut flows)?;
        rows.iter().for_each(|row| gathered.row(&flows, *row));
    }
    Ok(())
}
