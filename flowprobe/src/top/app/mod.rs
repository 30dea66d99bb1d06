//! What is shown and what a key changes about it: state, handed events and the time. Knows neither a terminal nor a network.

mod asking;
mod keys;
mod view;

#[cfg(test)]
pub(super) mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::civil::Time;
use ratatui::crossterm::event::KeyEvent;
use ratatui::layout::Size;

use asking::Asking;
pub(super) use asking::{Question, Trouble};
pub(super) use view::View;

use super::api::{Daemon, Picture};
use super::layout::Places;
use super::panel::{Choice, Panel, Tab};

/// When something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    /// Since some moment that stays the same.
    pub(super) at: Duration,
    /// The time of day.
    pub(super) clock: Time,
}

/// What happens.
#[derive(Debug)]
pub(super) enum Event {
    Key(KeyEvent),
    Resize(Size),
    /// The daemon has answered the question, or has not.
    Answer(Result<Box<Picture>, Trouble>),
    /// The process is to end, or the terminal is gone.
    Leave,
}

/// What has to be done after an event, besides drawing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    None,
    /// Everything is to be drawn anew: something else may have written onto the terminal.
    Repaint,
    Leave,
}

/// What stays the same.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) url: String,
    /// From question to question.
    pub(super) interval: Duration,
    /// Whether there may be colours.
    pub(super) colour: bool,
}

/// How much of the past the tables show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Window {
    #[default]
    Short,
    Long,
}

impl Window {
    pub(super) const fn seconds(self) -> u32 {
        match self {
            Self::Short => 10,
            Self::Long => 60,
        }
    }
}

/// What was chosen to see the conversations of.
#[derive(Clone, Debug)]
struct Chosen {
    choice: Choice,
    name: String,
    /// The filter of the tab, to be taken up again.
    filter: String,
}

/// All that is shown.
pub(super) struct App {
    pub(super) setup: Setup,
    pub(super) size: Size,
    pub(super) picture: Picture,
    /// Which daemon it is, and when it said so.
    daemon: Option<(Daemon, Duration)>,
    asking: Asking,
    pub(super) tab: Tab,
    /// For each tab, which of its panels the keys are for.
    focus: [usize; Tab::ALL.len()],
    chosen: Option<Chosen>,
    pub(super) filter: String,
    pub(super) typing: bool,
    pub(super) help: bool,
    pub(super) paused: Option<Moment>,
    pub(super) window: Window,
    views: BTreeMap<Panel, View>,
}

impl App {
    /// Rows of each table that the daemon is asked for, and the most that it gives.
    pub(super) const FEW: u32 = 100;
    const MANY: u32 = 1000;

    /// With the first picture, at the moment at which it came.
    pub(super) fn new(setup: Setup, picture: Picture, size: Size, now: Moment) -> Self {
        let mut app = Self {
            asking: Asking::new(setup.interval, now.at),
            setup,
            size,
            picture: Picture::default(),
            daemon: None,
            tab: Tab::default(),
            focus: Default::default(),
            chosen: None,
            filter: String::new(),
            typing: false,
            help: false,
            paused: None,
            window: Window::default(),
            views: BTreeMap::new(),
        };
        app.show(picture, now);
        app.settle();
        app
    }

    /// Takes in what has happened.
    pub(super) fn on(&mut self, event: Event, now: Moment) -> Effect {
        let effect = match event {
            Event::Key(key) => self.on_key(key, now),
            Event::Resize(size) => {
                self.size = size;
                Effect::None
            }
            Event::Answer(answer) => {
                self.on_answer(answer, now);
                Effect::None
            }
            Event::Leave => Effect::Leave,
        };
        self.settle();
        effect
    }

    fn on_answer(&mut self, answer: Result<Box<Picture>, Trouble>, now: Moment) {
        let picture = self.asking.answered(answer, self.wish(), now.at);
        // What was asked before the pause is not what was to be looked at.
        if let Some(picture) = picture.filter(|_| self.paused.is_none()) {
            self.show(*picture, now);
        }
    }

    fn show(&mut self, mut picture: Picture, now: Moment) {
        if let Some(daemon) = picture.daemon.take() {
            self.daemon = Some((daemon, now.at));
        }
        self.picture = picture;
    }

    /// What to ask the daemon now, where something is to be asked.
    pub(super) fn question(&mut self, now: Moment) -> Option<Question> {
        if self.paused.is_some() { None } else { self.asking.question(self.wish(), now.at) }
    }

    /// When there will be something to ask; none while an answer is awaited, and in a pause.
    pub(super) fn next_question(&self) -> Option<Duration> {
        if self.paused.is_some() { None } else { self.asking.next() }
    }

    /// Rows that are searched, or of which some are chosen, are all that the daemon gives.
    fn wish(&self) -> Question {
        let many = self.typing || !self.filter.is_empty() || self.chosen.is_some();
        Question { seconds: self.window.seconds(), top: if many { Self::MANY } else { Self::FEW }, about: false }
    }

    /// Rows of a table that the daemon is asked for.
    pub(super) fn rows_asked(&self) -> usize {
        usize::try_from(self.wish().top).unwrap_or(usize::MAX)
    }

    /// What is wrong, and how old what is shown has become. In a pause nobody asks.
    pub(super) fn trouble(&self, now: Moment) -> Option<(&str, Duration)> {
        let trouble = self.asking.trouble(now.at).filter(|_| self.paused.is_none())?;
        Some((trouble, self.asking.age(now.at)))
    }

    /// The daemon's version, and since when it runs.
    pub(super) fn daemon(&self, now: Moment) -> Option<(&str, Duration)> {
        let (daemon, at) = self.daemon.as_ref()?;
        let up = Duration::from_secs(daemon.uptime_seconds).saturating_add(now.at.saturating_sub(*at));
        Some((daemon.version.as_str(), up))
    }

    /// What conversations are shown of, where one has been chosen.
    pub(super) fn chosen(&self) -> Option<&str> {
        self.chosen.as_ref().map(|chosen| chosen.name.as_str())
    }

    /// The panel that the keys are for.
    pub(super) fn focused(&self) -> Panel {
        if self.chosen.is_some() { Panel::Chosen } else { self.focus_of_tab() }
    }

    fn focus_of_tab(&self) -> Panel {
        let panels = self.tab.panels();
        panels[self.focus[self.tab.number()].min(panels.len() - 1)]
    }

    /// Where things are; none where the terminal is too small.
    pub(super) fn places(&self) -> Option<Places> {
        Places::of(self.size, self.tab, self.focus_of_tab(), self.chosen.as_ref().map(|_| Panel::Chosen))
    }

    /// A panel that is on the screen.
    pub(super) fn view(&self, panel: Panel) -> Option<&View> {
        self.views.get(&panel)
    }

    /// Brings the rows of all that is on the screen up to what the state says.
    fn settle(&mut self) {
        let Some(places) = self.places() else { return };
        let wanted = self.filter.to_lowercase();
        let choice = self.chosen.as_ref().map(|chosen| chosen.choice);
        for (panel, _) in &places.panels {
            let view = self.views.entry(*panel).or_insert_with(|| View::new(*panel));
            view.settle(panel.rows(&self.picture, choice), &wanted, places.rows(*panel));
        }
    }
}
