//! Changes of findings as POSTs: signed, one at a time, again until they have arrived. What waits is kept on disk.
//!
//! Two threads: one keeps the [`book`] and the [`journal`], and is never kept waiting by the receiver; the other makes the requests.

mod book;
mod journal;
mod post;

#[cfg(test)]
mod tests;

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Instant;

use tracing::{error, warn};

use super::health::Health;
use super::json;
use super::notice::Notice;
use super::pace::Pace;
use super::worker::Event;
use book::{Book, Next};
pub(super) use journal::Journal;
use journal::Record;
pub(super) use journal::Stored;
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
    is_saving: bool,
}

impl Webhook {
    /// Starts the thread that makes the requests; their answers come as events. `journal` is where what waits is kept, and `left` what an
    /// earlier run has left there.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(super) fn new(
        post: Post,
        journal: Option<Journal>,
        left: Vec<Stored>,
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
        health.restored(left.len() as u64);
        let now = Instant::now();
        let mut book = Book::new(pace, now);
        left.into_iter().for_each(|stored| book.restore(stored, now));
        Ok(Self { book, journal, health, jobs, in_flight: None, unsaved: Vec::new(), is_saving: true })
    }

    /// Hands changes on until the end. What waits then is left to the next run.
    pub(super) fn run(mut self, events: &Receiver<Event>) {
        let mut end: Option<Instant> = None;
        loop {
            self.save();
            let now = Instant::now();
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
        self.save();
        let left = self.health.waiting();
        match (left, &self.journal) {
            (0, _) => {}
            (_, Some(_)) if self.is_saving => {
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
        let stored = self.book.add(notice.finding.id.clone(), notice.key(), json::line(notice), Instant::now());
        self.unsaved.push(Record::Add(stored));
    }

    fn settle(&mut self, answered: &Answered) {
        self.in_flight = None;
        if let Some(trouble) = &answered.trouble {
            self.health.attempt_failed(trouble);
        }
        let given_up = self.book.done(answered.number, answered.outcome, Instant::now());
        if answered.outcome == Outcome::Delivered {
            self.health.sent();
            self.unsaved.push(Record::Done(answered.number));
        }
        if !given_up.is_empty() {
            let lost = given_up.len() as u64;
            self.health.failed(lost);
            error!(sink = self.health.name(), "{lost} changes of findings are given up: they were refused for a day");
            self.unsaved.extend(given_up.into_iter().map(Record::Done));
        }
    }

    /// Tells the journal. Where it cannot be written, it is once it can be.
    fn save(&mut self) {
        let Some(journal) = &mut self.journal else { return };
        if self.unsaved.is_empty() && self.is_saving {
            return;
        }
        match journal.write(&self.unsaved, || self.book.stored()) {
            Ok(()) => self.is_saving = true,
            Err(error) => {
                if self.is_saving {
                    warn!(sink = self.health.name(), "what waits will not survive a restart: {error}");
                }
                self.is_saving = false;
            }
        }
        self.unsaved.clear();
    }
}
