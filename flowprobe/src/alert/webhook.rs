//! Changes of findings as POSTs: signed, one at a time, again until they have arrived. What waits is kept on disk.
//!
//! Two threads: one keeps the [`book`] and the [`journal`], and is never kept waiting by the receiver; the other makes the requests.

mod book;
mod journal;
mod post;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use tracing::{error, warn};

use super::health::Health;
use super::json;
use super::notice::Notice;
use super::pace::Pace;
use super::worker::Event;
use book::{Book, Next};
use journal::{Journal, Record};
use post::Job;
use post::Outcome;
pub use post::PostError;
pub(super) use post::{Answered, Post};

/// One receiver, and what waits for it.
pub(super) struct Webhook {
    book: Book,
    journal: Option<Journal>,
    health: Health,
    jobs: Sender<Job>,
    /// The change that is on its way.
    in_flight: Option<u64>,
    /// What the journal has yet to be told.
    unsaved: Vec<Record>,
    /// When the journal is written again, where that has failed.
    again: Option<Instant>,
}

/// So soon a journal is tried to be written again.
const AGAIN: Duration = Duration::from_secs(5);

impl Webhook {
    /// Starts the thread that makes the requests; their answers come as events. `journal` is where what waits is kept; what an earlier run
    /// has left there is sent first.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(super) fn new(
        post: Post,
        journal: Option<PathBuf>,
        health: Health,
        pace: Pace,
        answers: Sender<Event>,
    ) -> std::io::Result<Self> {
        let (jobs, to_do) = mpsc::channel::<Job>();
        std::thread::Builder::new().name("webhook-post".to_owned()).spawn(move || {
            for job in to_do {
                // Nobody hears the answer after the end.
                if answers.send(Event::Answered(post.send(&job))).is_err() {
                    break;
                }
            }
        })?;
        let now = Instant::now();
        let (mut book, mut again) = (Book::new(pace, now), None);
        let journal = journal.map(|path| {
            let (journal, left, opened) = Journal::open(path);
            if let Err(error) = opened {
                health.not_saved(&error);
                again = Some(now + AGAIN);
            }
            for stored in left {
                health.restored(stored.severity);
                book.restore(stored, now);
            }
            journal
        });
        Ok(Self { book, journal, health, jobs, in_flight: None, unsaved: Vec::new(), again })
    }

    /// Hands changes on until the end. What waits then is left to the next run.
    pub(super) fn run(mut self, events: &Receiver<Event>) {
        let mut end: Option<Instant> = None;
        loop {
            self.give_way();
            let now = Instant::now();
            self.save(now, false);
            let mut until = end;
            if self.in_flight.is_none() {
                match self.book.next(now) {
                    Next::Send(job) if end.is_none_or(|end| now < end) => {
                        self.in_flight = Some(job.number);
                        if self.jobs.send(job).is_err() {
                            error!(sink = self.health.name(), "the thread that makes its requests is gone");
                            break;
                        }
                    }
                    Next::At(at) if end.is_none() => until = Some(at),
                    _ => {}
                }
            }
            until = until.into_iter().chain(self.again).min();
            if end.is_some_and(|end| self.in_flight.is_none() || now >= end) {
                break;
            }
            let event = match until {
                None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(until) => events.recv_timeout(until.saturating_duration_since(now)),
            };
            match event {
                Ok(event) => end = self.hear(event).or(end),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            // Changes come in bursts, and are written together.
            while let Ok(event) = events.try_recv() {
                end = self.hear(event).or(end);
            }
        }
        self.give_way();
        self.save(Instant::now(), true);
        let left = self.health.waiting();
        match (left, &self.journal) {
            (0, _) => {}
            (_, Some(_)) if self.again.is_none() => {
                warn!(sink = self.health.name(), "{left} changes of findings wait for the next start");
            }
            _ => error!(sink = self.health.name(), "{left} changes of findings could not be delivered before the end"),
        }
    }

    /// Returns the end, where it is said.
    fn hear(&mut self, event: Event) -> Option<Instant> {
        match event {
            Event::Tell(notice) => self.take(&notice),
            Event::Answered(answered) => self.settle(&answered),
            Event::Stop(at) => return Some(at),
        }
        None
    }

    fn take(&mut self, notice: &Notice) {
        let (severity, finding) = (notice.finding.severity, notice.finding.id.clone());
        let stored = self.book.add(severity, finding, notice.key(), json::line(notice), Instant::now());
        self.unsaved.push(Record::Add(stored));
    }

    /// Puts those away whose places worse ones have taken.
    fn give_way(&mut self) {
        while let Some(severity) = self.health.giving_way() {
            // One that is on its way, or was not heard of yet, is waited for.
            let Some(number) = self.book.give_way(severity, self.in_flight) else { break };
            self.health.gave_way(severity);
            self.unsaved.push(Record::Done(number));
        }
    }

    fn settle(&mut self, answered: &Answered) {
        self.in_flight = None;
        if let Some(trouble) = &answered.trouble {
            self.health.attempt_failed(trouble);
        }
        let gone = self.book.done(answered.number, answered.outcome, Instant::now());
        if answered.outcome == Outcome::Delivered {
            gone.iter().for_each(|stored| self.health.sent(stored.severity));
        } else if !gone.is_empty() {
            gone.iter().for_each(|stored| self.health.failed(stored.severity));
            let lost = gone.len();
            error!(sink = self.health.name(), "{lost} changes of findings are given up: they were refused for a day");
        }
        self.unsaved.extend(gone.iter().map(|stored| Record::Done(stored.number)));
    }

    /// Tells the journal. Where it cannot be written, that is tried again now and then, and at the end.
    fn save(&mut self, now: Instant, is_end: bool) {
        let Some(journal) = &mut self.journal else { return };
        let is_due = match self.again {
            Some(again) => now >= again || is_end,
            None => !self.unsaved.is_empty(),
        };
        // After a failure all that waits is written, and not what is new.
        if is_due {
            match journal.write(&self.unsaved, || self.book.stored()) {
                Ok(()) => {
                    self.again = None;
                    self.health.saved();
                }
                Err(error) => {
                    self.again = Some(now + AGAIN);
                    self.health.not_saved(&error);
                }
            }
        }
        self.unsaved.clear();
    }
}
