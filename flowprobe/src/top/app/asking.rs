//! When the daemon is asked, and what of.

use std::time::Duration;

use crate::top::api::Picture;

/// A round of questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::top) struct Question {
    /// How much of the past the tables are to show.
    pub(in crate::top) seconds: u32,
    /// Rows of each table at most.
    pub(in crate::top) top: u32,
    /// Whether the daemon is to say which one it is.
    pub(in crate::top) about: bool,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::top) struct Trouble {
    /// What is wrong, as it may be shown.
    pub(in crate::top) text: String,
    /// Whether nobody is there, rather than somebody who says something else.
    pub(in crate::top) nobody: bool,
    /// How long the daemon wants to be left alone.
    pub(in crate::top) retry: Option<Duration>,
}

/// How long there is between questions of which daemon it is.
const ABOUT: Duration = Duration::from_secs(30);

/// How soon a daemon that does not answer is asked again, at the earliest and at the latest.
const RETRY: Duration = Duration::from_secs(1);
const LATEST_RETRY: Duration = Duration::from_secs(60);

/// An answer that is not there after so long is late.
const LATE: Duration = Duration::from_secs(3);

/// The state of asking.
pub(super) struct Asking {
    interval: Duration,
    /// What has been asked and when, while there is no answer.
    asked: Option<(Question, Duration)>,
    due: Duration,
    /// When which daemon it is is to be asked again.
    about_due: Duration,
    /// When the last answer came.
    answered: Duration,
    trouble: Option<Trouble>,
}

impl Asking {
    /// After a first answer.
    pub(super) fn new(interval: Duration, now: Duration) -> Self {
        let (due, about_due) = (now + interval, now + ABOUT);
        Self { interval, asked: None, due, about_due, answered: now, trouble: None }
    }

    /// What to ask now, where something is wished and its time has come.
    pub(super) fn question(&mut self, wish: Question, now: Duration) -> Option<Question> {
        if self.asked.is_some() || now < self.due {
            return None;
        }
        // Another daemon may answer when one was away.
        let question = Question { about: now >= self.about_due || self.trouble.is_some(), ..wish };
        self.asked = Some((question, now));
        Some(question)
    }

    pub(super) fn next(&self) -> Option<Duration> {
        if self.asked.is_some() { None } else { Some(self.due) }
    }

    /// Asks at once: something else is wished.
    pub(super) fn hurry(&mut self, now: Duration) {
        if self.trouble.is_none() {
            self.due = now;
        }
    }

    /// Takes in an answer, and gives it back where it is one.
    pub(super) fn answered(
        &mut self,
        answer: Result<Box<Picture>, Trouble>,
        wish: Question,
        now: Duration,
    ) -> Option<Box<Picture>> {
        let (question, since) = self.asked.take().unwrap_or((wish, now));
        match answer {
            Ok(picture) => {
                let same = (question.seconds, question.top) == (wish.seconds, wish.top);
                self.due = if same { now.max(since + self.interval) } else { now };
                self.answered = now;
                self.trouble = None;
                if question.about {
                    self.about_due = now + ABOUT;
                }
                Some(picture)
            }
            Err(trouble) => {
                let retry = trouble.retry.unwrap_or_default().min(LATEST_RETRY);
                self.due = now + self.interval.max(RETRY).max(retry);
                self.trouble = Some(trouble);
                None
            }
        }
    }

    /// What is wrong, where something is, in words.
    pub(super) fn trouble(&self, now: Duration) -> Option<&str> {
        let late = self.asked.is_some_and(|(_, asked)| now.saturating_sub(asked) >= LATE);
        self.trouble.as_ref().map(|trouble| trouble.text.as_str()).or(late.then_some("it takes long to answer"))
    }

    /// Since the last answer.
    pub(super) const fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(self.answered)
    }
}
