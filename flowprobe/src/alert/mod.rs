//! Where findings go: the daemon's log, a syslog collector, a webhook, a file. Each of these sinks has a thread and a bounded queue of its
//! own, so that one that is slow delays nobody.

pub mod ecs;
mod file;
mod health;
pub mod json;
pub mod log;
mod notice;
mod pace;
pub mod settings;
pub mod syslog;
mod webhook;
mod worker;

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use ring::digest;
use thiserror::Error;

use crate::detect::finding::Severity;
use crate::detect::findings::{Change, Finding};
use crate::export::transport::{TlsClient, TlsError, TlsFiles};
use file::Lines;
use health::Health;
pub use health::{Condition, ROOM};
use log::Log;
pub use notice::{Notice, Observer, PEERS};
use pace::Pace;
use settings::{LogSettings, SinkSettings, SyslogFormat, SyslogSettings, SyslogUrl, WebhookSettings};
use syslog::{Style, Syslog, Transport};
pub use webhook::PostError;
use webhook::{Post, Webhook};
use worker::{Event, Sink, Worker};

/// How long threads may take to end when the time is up.
const GRACE: Duration = Duration::from_millis(200);

/// All sinks, running.
pub struct Sinks {
    running: Vec<Running>,
    /// Closed when the last thread has ended.
    over: Receiver<()>,
}

struct Running {
    minimum: Severity,
    health: Health,
    events: Sender<Event>,
}

/// A sink that cannot be had as configured.
#[derive(Debug, Error)]
#[error("{name}: {fault}")]
pub struct SinkError {
    /// Which.
    pub name: String,
    /// What is wrong with it.
    pub fault: Box<SinkFault>,
}

/// What is wrong with a sink.
#[derive(Debug, Error)]
pub enum SinkFault {
    /// Certificates or keys cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A webhook's secret or certificates cannot be used.
    #[error(transparent)]
    Post(#[from] PostError),
    /// Two sinks are the same.
    #[error("another sink goes to the same place")]
    Twice,
    /// The system has no thread for it.
    #[error("no thread can be started: {0}")]
    Thread(io::Error),
}

/// A sink whose files have been read.
enum Ready {
    Syslog(Worker<Syslog>),
    File(Worker<Lines>),
    Log(Worker<Log>),
    Webhook(Webhook),
}

/// Starts the sinks of the daemon: those that are configured, or its log. What waits is kept in `folder`.
///
/// # Errors
/// One of them cannot be had. None runs then.
pub fn start(settings: &[SinkSettings], folder: Option<&Path>) -> Result<Sinks, SinkError> {
    let observer = Observer {
        vendor: "flowprobe".to_owned(),
        product: "flowprobe".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
    };
    let log = [SinkSettings::Log(LogSettings::default())];
    Sinks::start(if settings.is_empty() { &log } else { settings }, &observer, folder)
}

impl Sinks {
    /// Starts all of them. What waits for webhooks is kept in `folder`; without one it is lost with the process. Files that cannot be written
    /// keep nothing from starting: they are tried again.
    ///
    /// # Errors
    /// One of them cannot be had. None runs then.
    pub fn start(settings: &[SinkSettings], observer: &Observer, folder: Option<&Path>) -> Result<Self, SinkError> {
        Self::start_at(settings, observer, folder, Pace::USUAL)
    }

    fn start_at(
        settings: &[SinkSettings],
        observer: &Observer,
        folder: Option<&Path>,
        pace: Pace,
    ) -> Result<Self, SinkError> {
        let (ends, over) = mpsc::channel();
        let mut sinks = Self { running: Vec::new(), over };
        for (position, one) in settings.iter().enumerate() {
            let name = named(one, &sinks.running);
            let failed = |fault| SinkError { name: one.name(), fault: Box::new(fault) };
            if settings[..position].iter().any(|other| is_same(other, one)) {
                return Err(failed(SinkFault::Twice));
            }
            let (health, (events, heard)) = (Health::new(name), mpsc::channel());
            let ready = prepare(one, observer, folder, pace, &health, &events).map_err(failed)?;
            let end = ends.clone();
            let run = move || {
                let _end = end;
                match ready {
                    Ready::Syslog(worker) => worker.run(&heard),
                    Ready::File(worker) => worker.run(&heard),
                    Ready::Log(worker) => worker.run(&heard),
                    Ready::Webhook(webhook) => webhook.run(&heard),
                }
            };
            let thread = std::thread::Builder::new().name("sink".to_owned()).spawn(run);
            thread.map_err(|error| failed(SinkFault::Thread(error)))?;
            sinks.running.push(Running { minimum: one.minimum_severity(), health, events });
        }
        Ok(sinks)
    }

    /// Tells every sink what has changed, as known at `now_ms`, milliseconds since 1970 UTC. Waits for none.
    pub fn tell(&self, changes: Vec<(Finding, Change)>, now_ms: i64) {
        for (finding, change) in changes {
            let mut notice: Option<Arc<Notice>> = None;
            let (severity, mut finding) = (finding.severity, Some(finding));
            for sink in self.running.iter().filter(|sink| severity >= sink.minimum) {
                if let Some(finding) = finding.take() {
                    notice = Some(Arc::new(Notice::new(finding, change, now_ms)));
                }
                if let Some(notice) = &notice
                    && sink.health.admit(severity)
                    && sink.events.send(Event::Tell(notice.clone())).is_err()
                {
                    sink.health.lost(severity, "its thread has ended");
                }
            }
        }
    }

    /// How each fares, in the order of the configuration.
    #[must_use]
    pub fn conditions(&self) -> Vec<Condition> {
        self.running.iter().map(|sink| sink.health.condition()).collect()
    }

    /// Ends all of them, when what waits was told, but no later than `patience` from now. Returns whether all have ended.
    #[expect(clippy::must_use_candidate, reason = "there is nothing left to do about it")]
    pub fn stop(self, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        self.say_stop(end);
        // Those that give up then have something to say.
        self.over.recv_timeout(patience + GRACE) == Err(RecvTimeoutError::Disconnected)
    }

    fn say_stop(&self, end: Instant) {
        for sink in &self.running {
            // One that has ended need not be told.
            let _ = sink.events.send(Event::Stop(end));
        }
    }
}

impl Drop for Sinks {
    fn drop(&mut self) {
        self.say_stop(Instant::now());
    }
}

/// Its name, with a number where another has it.
fn named(settings: &SinkSettings, others: &[Running]) -> String {
    let name = settings.name();
    let is_free = |name: &String| !others.iter().any(|other| other.health.name() == name);
    let numbered = (2..).map(|number| format!("{name} ({number})"));
    std::iter::once(name.clone()).chain(numbered).find(is_free).unwrap_or(name)
}

/// Whether two sinks would tell the same place of the same changes.
fn is_same(one: &SinkSettings, other: &SinkSettings) -> bool {
    match (one, other) {
        (SinkSettings::Syslog(one), SinkSettings::Syslog(other)) => one.url == other.url,
        (SinkSettings::Webhook(one), SinkSettings::Webhook(other)) => one.url == other.url,
        (SinkSettings::File(one), SinkSettings::File(other)) => one.path == other.path,
        (SinkSettings::Log(_), SinkSettings::Log(_)) => true,
        _ => false,
    }
}

fn prepare(
    settings: &SinkSettings,
    observer: &Observer,
    folder: Option<&Path>,
    pace: Pace,
    health: &Health,
    events: &Sender<Event>,
) -> Result<Ready, SinkFault> {
    let health = health.clone();
    Ok(match settings {
        SinkSettings::Syslog(settings) => Ready::Syslog(working(syslog(settings, observer, pace)?, health, pace)),
        SinkSettings::Webhook(settings) => {
            let journal = folder.map(|folder| folder.join(journal(settings)));
            let webhook = Webhook::new(Post::new(settings, &pace)?, journal, health, pace, events.clone());
            Ready::Webhook(webhook.map_err(SinkFault::Thread)?)
        }
        SinkSettings::File(settings) => {
            let lines = Lines::new(settings.path.clone(), settings.format, observer.clone());
            Ready::File(working(lines, health, pace))
        }
        SinkSettings::Log(_) => Ready::Log(working(Log, health, pace)),
    })
}

fn working<S: Sink>(sink: S, health: Health, pace: Pace) -> Worker<S> {
    Worker { sink, health, pace }
}

fn syslog(settings: &SyslogSettings, observer: &Observer, pace: Pace) -> Result<Syslog, SinkFault> {
    let (tls, usual) = match &settings.url {
        SyslogUrl::Local(_) => (None, SyslogFormat::Local),
        SyslogUrl::Udp(..) | SyslogUrl::Tcp(..) => (None, SyslogFormat::Rfc5424),
        SyslogUrl::Tls(host, _) => {
            let files = TlsFiles {
                ca: settings.ca.clone(),
                certificate: settings.certificate.clone(),
                key: settings.key.clone(),
                name: settings.server_name.clone(),
            };
            (Some(TlsClient::new(&files, host)?), SyslogFormat::Rfc5424)
        }
    };
    let style = Style {
        facility: settings.facility,
        format: settings.format.unwrap_or(usual),
        largest: settings.largest.octets(),
        hostname: observer.hostname.clone(),
        pid: std::process::id(),
        zone: TimeZone::system(),
    };
    Ok(Syslog { style, transport: Transport::new(settings.url.clone(), tls, pace.patience) })
}

/// What waits for a receiver is in a file that is named after all of its URL, so that no other ever gets it.
fn journal(settings: &WebhookSettings) -> PathBuf {
    let digest = digest::digest(&digest::SHA256, settings.url.uri().to_string().as_bytes());
    let name = digest.as_ref()[..8].iter().fold("webhook-".to_owned(), |name, octet| format!("{name}{octet:02x}"));
    Path::new(&name).with_extension("jsonl")
}
