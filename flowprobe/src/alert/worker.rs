//! The thread of a sink that is told one change after the other. The one that cannot be told now waits, and those after it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;

use tracing::error;

use super::health::Health;
use super::notice::Notice;
use super::pace::Pace;
use super::webhook::Answered;

/// What a sink's thread hears.
pub(super) enum Event {
    /// A change, for which there is a place.
    Tell(Arc<Notice>),
    /// The end: what can still be told until then is told.
    Stop(Instant),
    /// What has become of a POST.
    Answered(Answered),
}

/// Where changes go, one by one.
pub(super) trait Sink: Send {
    /// Whether changes could be told, as far as can be seen without one.
    ///
    /// # Errors
    /// They could not.
    fn check(&mut self) -> Result<(), Trouble> {
        Ok(())
    }

    /// Tells of a change.
    ///
    /// # Errors
    /// It could not be told.
    fn tell(&mut self, notice: &Notice) -> Result<(), Trouble>;
}

/// Why a change was not told, in words. It may work later.
#[derive(Debug)]
pub(super) struct Trouble(pub(super) String);

/// Hands changes on until the end.
pub(super) struct Worker<S> {
    pub(super) sink: S,
    pub(super) health: Health,
    pub(super) pace: Pace,
}

impl<S: Sink> Worker<S> {
    pub(super) fn run(mut self, events: &Receiver<Event>) {
        let mut held =
            Held { changes: VecDeque::new(), is_checked: false, failures: 0, due: Instant::now(), end: None };
        loop {
            // What came meanwhile is heard first: it may be the end.
            events.try_iter().for_each(|event| held.hear(event));
            self.give_way(&mut held);
            let now = Instant::now();
            if held.end.is_some_and(|end| held.changes.is_empty() || now >= end) {
                break;
            }
            let has_work = !held.changes.is_empty() || !held.is_checked;
            if now >= held.due && has_work {
                self.work(&mut held);
                continue;
            }
            let due = has_work.then_some(held.due);
            let event = match held.end.into_iter().chain(due).min() {
                None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(until) => events.recv_timeout(until.saturating_duration_since(now)),
            };
            match event {
                Ok(event) => held.hear(event),
                Err(RecvTimeoutError::Timeout) => {}
                // Nobody is left who could say when to stop.
                Err(RecvTimeoutError::Disconnected) => held.end = Some(now),
            }
        }
        if !held.changes.is_empty() {
            let lost = held.changes.len();
            held.changes.iter().for_each(|notice| self.health.failed(notice.finding.severity));
            error!(sink = self.health.name(), "{lost} changes of findings could not be delivered before the end");
        }
    }

    /// Puts those away whose places worse ones have taken: of each severity the latest.
    fn give_way(&self, held: &mut Held) {
        while let Some(severity) = self.health.giving_way() {
            // One that was not heard of yet is put away when it is.
            let Some(at) = held.changes.iter().rposition(|notice| notice.finding.severity == severity) else { break };
            held.changes.remove(at);
            self.health.gave_way(severity);
        }
    }

    /// Tells the first change; before any, looks whether that could be done, so that it is known early where it cannot.
    fn work(&mut self, held: &mut Held) {
        let first = held.changes.front();
        let severity = first.map(|notice| notice.finding.severity);
        let done = match first {
            Some(notice) => self.sink.tell(notice),
            None => self.sink.check(),
        };
        match done {
            Ok(()) => severity.map_or_else(|| self.health.well(), |severity| self.health.sent(severity)),
            Err(Trouble(why)) => {
                self.health.attempt_failed(&why);
                held.failures += 1;
                held.due = Instant::now() + self.pace.wait(held.failures);
                return;
            }
        }
        held.changes.pop_front();
        (held.is_checked, held.failures) = (true, 0);
    }
}

/// What waits, and for when.
struct Held {
    changes: VecDeque<Arc<Notice>>,
    /// Whether it has worked once.
    is_checked: bool,
    /// In a row.
    failures: u32,
    /// Nothing is tried before.
    due: Instant,
    end: Option<Instant>,
}

impl Held {
    fn hear(&mut self, event: Event) {
        match event {
            Event::Tell(notice) => self.changes.push_back(notice),
            Event::Stop(at) => self.end = Some(at),
            Event::Answered(_) => {}
        }
    }
}
