//! The terminal, and the threads that tell what happens: keys, the daemon's answers, signals.

use std::io::{self, IsTerminal as _, Stdout, stdin, stdout};
use std::panic;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Zoned;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::event::{self, Event as TerminalEvent};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::layout::Size;
use tokio::signal::unix::{SignalKind, signal};

use super::api::Picture;
use super::app::{App, Effect, Event, Moment, Question, Setup, Trouble, Window};
use super::cli::{self, TopArgs, TopError};
use super::client::Client;
use super::draw::draw;

/// How often the picture is drawn anew where nothing happens: times pass.
const BEAT: Duration = Duration::from_secs(1);

/// Shows what goes by until the user has seen enough.
///
/// # Errors
/// See [`TopError`].
pub fn run(args: &TopArgs) -> Result<(), TopError> {
    if !stdin().is_terminal() || !stdout().is_terminal() {
        return Err(TopError::NoTerminal);
    }
    let client = Client::new(&cli::url(args)?, args.token_file.as_deref(), args.ca_file.as_deref())?;
    let url = client.url().to_owned();
    // While the terminal is still as it was: what is wrong now is said there.
    let first = Question { seconds: Window::default().seconds(), top: App::FEW, about: true };
    let picture = ask_first(&client, first).map_err(|trouble| {
        let (url, why) = (url.clone(), trouble.text);
        if trouble.nobody { TopError::Nobody { url, why } } else { TopError::Refused { url, why } }
    })?;
    let setup = Setup { url, interval: args.interval, colour: may_have_colour() };
    let (events, happened) = mpsc::channel();
    let questions = start_asking(client, events.clone())?;
    start_listening(events.clone())?;

    let mut screen = Screen::enter()?;
    // Only now: before, lines are read and no keys.
    start_reading(events)?;
    let clock = Clock(Instant::now());
    let app = App::new(setup, picture, screen.terminal.size()?, clock.now());
    watch(app, &clock, &mut screen, &questions, &happened)
}

/// How long a daemon that has just been started may want to be waited for.
const PATIENCE_AT_START: Duration = Duration::from_secs(10);

/// The first answer, of a daemon that may only just have begun.
fn ask_first(client: &Client, question: Question) -> Result<Picture, Trouble> {
    let end = Instant::now() + PATIENCE_AT_START;
    loop {
        match client.ask(question) {
            Err(Trouble { retry: Some(retry), .. }) if retry < end.saturating_duration_since(Instant::now()) => {
                thread::sleep(retry.max(Duration::from_millis(100)));
            }
            answer => return answer,
        }
    }
}

/// See no-color.org: any value but an empty one.
fn may_have_colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Draws, and takes in what happens, until it is enough.
fn watch(
    mut app: App,
    clock: &Clock,
    screen: &mut Screen,
    questions: &Sender<Question>,
    happened: &Receiver<Event>,
) -> Result<(), TopError> {
    loop {
        if let Some(question) = app.question(clock.now()) {
            // Its thread is there as long as this one.
            let _ = questions.send(question);
        }
        let (now, size) = (clock.now(), screen.terminal.size()?);
        if size != app.size {
            // Nobody was told of a change before keys were read for the first time.
            app.on(Event::Resize(size), now);
        }
        screen.draw(&app, now)?;
        let until_question = app.next_question().map_or(BEAT, |due| due.saturating_sub(now.at));
        let mut next = match happened.recv_timeout(until_question.min(BEAT)) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        // What has come meanwhile is drawn at once: a key that repeats would be ahead of its picture.
        while let Some(event) = next {
            match app.on(event, clock.now()) {
                Effect::None => {}
                Effect::Repaint => screen.clear()?,
                Effect::Leave => return Ok(()),
            }
            next = happened.try_recv().ok();
        }
    }
}

/// Time since the start, and of the day.
struct Clock(Instant);

impl Clock {
    fn now(&self) -> Moment {
        Moment { at: self.0.elapsed(), clock: Zoned::now().time() }
    }
}

/// A thread that asks the daemon; it ends with what it gets questions from.
fn start_asking(client: Client, events: Sender<Event>) -> io::Result<Sender<Question>> {
    let (questions, asked) = mpsc::channel();
    let ask = move || {
        for question in asked {
            if events.send(Event::Answer(client.ask(question).map(Box::new))).is_err() {
                break;
            }
        }
    };
    thread::Builder::new().name("ask".to_owned()).spawn(ask)?;
    Ok(questions)
}

/// A thread that reads keys. It hangs in the system call at the end, and goes with the process.
fn start_reading(events: Sender<Event>) -> io::Result<()> {
    let read = move || {
        loop {
            let event = match event::read() {
                Ok(TerminalEvent::Key(key)) => Event::Key(key),
                Ok(TerminalEvent::Resize(width, height)) => Event::Resize(Size { width, height }),
                Ok(_) => continue,
                // The terminal is gone.
                Err(_) => Event::Leave,
            };
            let last = matches!(event, Event::Leave);
            if events.send(event).is_err() || last {
                break;
            }
        }
    };
    thread::Builder::new().name("keys".to_owned()).spawn(read).map(drop)
}

/// A thread that waits for signals that ask the process to end.
fn start_listening(events: Sender<Event>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let inside = runtime.enter();
    let kinds = [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt(), SignalKind::quit()];
    let mut signals = kinds.map(signal).into_iter().collect::<io::Result<Vec<_>>>()?;
    drop(inside);
    let listen = move || {
        let any = futures_util::future::select_all(signals.iter_mut().map(|signal| Box::pin(signal.recv())));
        runtime.block_on(any);
        // Where nobody is left to be told, all is over already.
        let _ = events.send(Event::Leave);
    };
    thread::Builder::new().name("signals".to_owned()).spawn(listen).map(drop)
}

/// The terminal in a state in which it can be drawn on. However this ends, it is left as it was.
struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    /// Held while something is written to it.
    busy: Arc<Mutex<()>>,
}

impl Screen {
    fn enter() -> io::Result<Self> {
        let busy = Arc::new(Mutex::new(()));
        say_panics_below(Arc::clone(&busy));
        enable_raw_mode()?;
        let entered = execute!(stdout(), EnterAlternateScreen, Hide)
            .and_then(|()| Terminal::new(CrosstermBackend::new(stdout())));
        match entered {
            Ok(terminal) => Ok(Self { terminal, busy }),
            Err(error) => {
                leave();
                Err(error)
            }
        }
    }

    fn draw(&mut self, app: &App, now: Moment) -> io::Result<()> {
        let _busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        self.terminal.draw(|frame| draw(app, now, frame)).map(drop)
    }

    /// Has everything drawn anew.
    fn clear(&mut self) -> io::Result<()> {
        let _busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        self.terminal.clear()
    }
}

/// What a process exits with that has panicked.
const PANICKED: i32 = 101;

/// Has what a panic says written to the terminal as it was. Where it is another thread than the one that draws, which is this one, that
/// one must not draw any more: it waits for ever.
fn say_panics_below(busy: Arc<Mutex<()>>) {
    let (before, drawing) = (panic::take_hook(), thread::current().id());
    panic::set_hook(Box::new(move |what| {
        let elsewhere = thread::current().id() != drawing;
        let _busy = elsewhere.then(|| busy.lock().unwrap_or_else(PoisonError::into_inner));
        leave();
        before(what);
        std::process::exit(PANICKED);
    }));
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave();
    }
}

fn leave() {
    // A terminal that is gone needs nothing.
    let _ = disable_raw_mode();
    let _ = execute!(stdout(), LeaveAlternateScreen, Show);
}
