//! Changes of findings as syslog messages: RFC 5424, or as a machine's own programs write them to `/dev/log`.

mod transport;

#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::notice::{Notice, clean, moment};
use super::settings::{Facility, SyslogFormat};
use super::worker::{Sink, Trouble};
use crate::detect::finding::Severity;
use crate::detect::findings::Change;
pub(super) use transport::Transport;

/// Name of the structured data. 32473 is the enterprise number that is set aside for documentation (RFC 5612): this project has none.
pub const SD_ID: &str = "flowprobe@32473";

const APP_NAME: &str = "flowprobe";

/// Octets of a message that structured data must leave to its text.
const TEXT: usize = 120;

/// What all messages of a sink have in common.
#[derive(Clone, Debug)]
pub struct Style {
    /// Who says it, by the collector's rules.
    pub facility: Facility,
    /// How messages are written.
    pub format: SyslogFormat,
    /// Octets of a message at most, 480 or more.
    pub largest: usize,
    /// The machine.
    pub hostname: String,
    /// The process.
    pub pid: u32,
    /// Where the machine is: local messages have local times.
    pub zone: TimeZone,
}

/// Messages, and the way to the collector.
pub(super) struct Syslog {
    pub(super) style: Style,
    pub(super) transport: Transport,
}

impl Sink for Syslog {
    fn tell(&mut self, notice: &Notice) -> Result<(), Trouble> {
        let message = self.style.message(notice);
        self.transport.send(&message).map_err(|error| Trouble(error.to_string()))
    }
}

impl Style {
    /// A message, without what frames it.
    #[must_use]
    pub fn message(&self, notice: &Notice) -> Vec<u8> {
        match self.format {
            SyslogFormat::Rfc5424 => self.rfc5424(notice),
            SyslogFormat::Local => self.local(notice),
        }
    }

    /// RFC 5424 section 6. The text has a byte order mark, and is cut where the message would be too long.
    fn rfc5424(&self, notice: &Notice) -> Vec<u8> {
        let mut message = format!(
            "<{}>1 {} {} {APP_NAME} {} {} ",
            self.priority(notice),
            moment(notice.at_ms),
            name(&self.hostname, 255),
            self.pid,
            name(&notice.finding.rule, 32),
        );
        let room = self.largest.saturating_sub(TEXT);
        message.push('[');
        message.push_str(SD_ID);
        for (name, value) in facts(notice) {
            let parameter = parameter(name, &value);
            if message.len() + parameter.len() < room {
                message.push_str(&parameter);
            }
        }
        message.push_str("] \u{feff}");
        push_cut(&mut message, &notice.message(), self.largest);
        message.into_bytes()
    }

    /// RFC 3164 section 4.1 without the host, which is this one.
    fn local(&self, notice: &Notice) -> Vec<u8> {
        let at = Timestamp::from_millisecond(notice.at_ms).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(self.zone.clone());
        let mut message =
            format!("<{}>{} {APP_NAME}[{}]: ", self.priority(notice), at.strftime("%b %e %H:%M:%S"), self.pid);
        let finding = &notice.finding;
        let text = format!("{} ({}, {}, finding {})", notice.message(), finding.severity, finding.rule, finding.id);
        push_cut(&mut message, &text, self.largest);
        message.into_bytes()
    }

    /// Facility × 8 + severity.
    const fn priority(&self, notice: &Notice) -> u8 {
        self.facility as u8 * 8 + severity(notice)
    }
}

/// RFC 5424 section 6.2.1. What has ended is information, however bad it was.
const fn severity(notice: &Notice) -> u8 {
    match (notice.change, notice.finding.severity) {
        (Change::Ended, _) => 6,
        (_, Severity::Low) => 5,
        (_, Severity::Medium) => 4,
        (_, Severity::High) => 3,
        (_, Severity::Critical) => 2,
    }
}

/// A field of the header: printable ASCII without spaces, or a hyphen where there is nothing.
fn name(text: &str, most: usize) -> String {
    let text: String = text.chars().filter(char::is_ascii_graphic).take(most).collect();
    if text.is_empty() { "-".to_owned() } else { text }
}

/// What structured data has, the most useful first: what there is no room for is left out.
fn facts(notice: &Notice) -> Vec<(&'static str, String)> {
    let finding = &notice.finding;
    let mut facts = vec![
        ("id", finding.id.clone()),
        ("change", notice.change_name().to_owned()),
        ("severity", finding.severity.to_string()),
        ("rule", finding.rule.clone()),
        ("subject", finding.subject.to_string()),
        ("count", finding.count.to_string()),
        ("first", moment(finding.first_ms)),
        ("last", moment(finding.last_ms)),
    ];
    facts.extend(finding.technique.clone().map(|technique| ("technique", technique)));
    if !finding.matter.is_empty() {
        facts.push(("matter", finding.matter.clone()));
    }
    facts.push(("peers", notice.peer_count.to_string()));
    facts.extend(finding.peers.iter().take(10).map(|peer| ("peer", peer.to_string())));
    facts
}

/// RFC 5424 section 6.3.3: quotes, backslashes and closing brackets have a backslash before them.
fn parameter(name: &str, value: &str) -> String {
    let mut text = format!(" {name}=\"");
    for character in clean(value).chars() {
        if matches!(character, '"' | '\\' | ']') {
            text.push('\\');
        }
        text.push(character);
    }
    text.push('"');
    text
}

/// Puts `text` at the end of a message that may have `most` octets; an ellipsis stands for what there is no room for.
fn push_cut(message: &mut String, text: &str, most: usize) {
    let room = most.saturating_sub(message.len());
    if text.len() <= room {
        message.push_str(text);
        return;
    }
    let end = text.floor_char_boundary(room.saturating_sub('…'.len_utf8()));
    // Writing to a string cannot fail.
    let _ = write!(message, "{}…", &text[..end]);
}
