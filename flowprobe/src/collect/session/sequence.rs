//! Sequence numbers: what was lost on the way, came late or came twice, and when an exporter has begun anew.
//!
//! NetFlow v9 numbers messages, the others the records in them: NetFlow v5 and v7 flows, IPFIX Data Records, those of options
//! included. A message says the number of its first; the next message's is expected to be higher by as many as it had.
//!
//! What is made of a number, in this order:
//!
//! 1. *Duplicate*: it and all octets are those of one of the last [`REMEMBERED`] messages. The message is dropped.
//! 2. *Restart*: the uptime has fallen by more than [`UPTIME_SLACK`], which neither the order on the way nor an uptime that
//!    began again after 2³² ms explains, to no more than what has passed since the message before, and the number does not go
//!    on. One that has been up for longer has not begun anew: its messages come out of order, or it has several uptimes.
//! 3. *Unjudged*: there is nothing to compare it with, since the message is the first one, or the one before had records that
//!    could not be counted because their template is not known.
//! 4. *In order*: it is what was expected.
//! 5. *Gap*: it is ahead by less than [`FURTHEST_AHEAD`]. What is between is missing.
//! 6. *Late*: it lies in a gap of the last [`LATE_FOR`]. The message is taken, and its records are no longer missing.
//! 7. *Stray*: it is behind by up to 65,536 records or 1,024 messages, and in no gap. The message is taken. If the next message
//!    goes on where a stray one has ended, the exporter counts otherwise or has begun anew: *resumed*, without a claim.
//! 8. *Restart*: anything else. It is far behind, as with IPFIX, which has no uptime, when a process begins at 0.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::super::template::Version;
use super::super::wire::Header;

/// Messages that are remembered for duplicates, and gaps for what is late.
const REMEMBERED: usize = 64;

/// A number that is further ahead, or further behind, is of another life.
const FURTHEST_AHEAD: u32 = 1 << 28;

/// How long a gap waits for what is late.
const LATE_FOR: Duration = Duration::from_secs(10);

/// How far uptimes go back because messages overtake each other.
const UPTIME_SLACK: Duration = Duration::from_secs(10);

/// How far the clocks of an exporter and of this host may have parted while an uptime begins again.
const CLOCK_SLACK: Duration = Duration::from_secs(60);

/// What a sequence number says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Duplicate,
    Restart,
    /// Whether there was something before.
    Unjudged(bool),
    InOrder,
    /// So many are missing.
    Gap(u32),
    Late,
    Stray,
    Resumed,
}

#[derive(Clone, Copy, Debug)]
enum Expected {
    /// Nothing came yet.
    Anything,
    /// What came could not be counted.
    Unknown,
    Number(u32),
}

#[derive(Clone, Copy, Debug)]
struct Gap {
    start: u32,
    /// Never 0.
    length: u32,
    since: Instant,
}

/// The sequence numbers of one session.
#[derive(Debug)]
pub(super) struct Sequence {
    expected: Expected,
    /// What would be expected if a stray message was the beginning of a new count.
    astray: Option<u32>,
    /// Messages in order since the last that was not, so far as anybody asks.
    steady: u8,
    gaps: VecDeque<Gap>,
    /// Numbers of the last messages, and hashes of their octets.
    last: VecDeque<(u32, u64)>,
    uptime: Option<(u32, Instant)>,
}

/// Messages in order after which a session is one of its own.
const SETTLED: u8 = 4;

impl Sequence {
    pub(super) const fn new() -> Self {
        Self {
            expected: Expected::Anything,
            astray: None,
            steady: 0,
            gaps: VecDeque::new(),
            last: VecDeque::new(),
            uptime: None,
        }
    }

    /// Whether this number is the next.
    pub(super) const fn expects(&self, number: u32) -> bool {
        matches!(self.expected, Expected::Number(expected) if expected == number)
    }

    /// Whether so many messages came in order that this is a count of its own.
    pub(super) const fn is_settled(&self) -> bool {
        self.steady >= SETTLED
    }

    /// What the number of a message says whose octets have this hash.
    pub(super) fn judge(&self, header: &Header, hash: u64, now: Instant) -> Verdict {
        let number = header.sequence;
        if self.last.contains(&(number, hash)) {
            return Verdict::Duplicate;
        }
        if self.expects(number) {
            return Verdict::InOrder;
        }
        let late = self.gap_of(number, now).is_some();
        if !late && self.has_rebooted(header, now) {
            return Verdict::Restart;
        }
        let expected = match self.expected {
            Expected::Anything => return Verdict::Unjudged(false),
            Expected::Unknown => return Verdict::Unjudged(true),
            Expected::Number(expected) => expected,
        };
        let (ahead, behind) = (number.wrapping_sub(expected), expected.wrapping_sub(number));
        let near = if header.version == Version::NetFlow9 { 1024 } else { 65_536 };
        if late {
            Verdict::Late
        } else if self.astray == Some(number) {
            Verdict::Resumed
        } else if ahead < FURTHEST_AHEAD {
            Verdict::Gap(ahead)
        } else if behind <= near {
            Verdict::Stray
        } else {
            Verdict::Restart
        }
    }

    /// Goes on behind a message that was taken, with so many units; `None` where those could not be counted. Returns how many
    /// are no longer missing.
    pub(super) fn advance(
        &mut self,
        header: &Header,
        hash: u64,
        verdict: Verdict,
        units: Option<u32>,
        now: Instant,
    ) -> u32 {
        let number = header.sequence;
        let next = units.map(|units| number.wrapping_add(units));
        self.steady = if verdict == Verdict::InOrder { self.steady.saturating_add(1) } else { 0 };
        if self.last.len() >= REMEMBERED {
            self.last.pop_front();
        }
        self.last.push_back((number, hash));
        match verdict {
            Verdict::Late => return self.fill(number, units.unwrap_or(0), now),
            Verdict::Stray => {
                self.astray = next;
                return 0;
            }
            Verdict::Gap(length) => {
                let start = number.wrapping_sub(length);
                self.note(Gap { start, length, since: now });
            }
            Verdict::Restart | Verdict::Resumed => self.gaps.clear(),
            Verdict::Duplicate | Verdict::Unjudged(_) | Verdict::InOrder => {}
        }
        self.astray = None;
        self.expected = next.map_or(Expected::Unknown, Expected::Number);
        if let Some(uptime) = header.uptime_ms {
            self.uptime = Some((uptime, now));
        }
        0
    }

    fn note(&mut self, gap: Gap) {
        if self.gaps.len() >= REMEMBERED {
            self.gaps.pop_front();
        }
        self.gaps.push_back(gap);
    }

    /// The gap that misses this number.
    fn gap_of(&self, number: u32, now: Instant) -> Option<usize> {
        self.gaps.iter().position(|gap| {
            number.wrapping_sub(gap.start) < gap.length && now.saturating_duration_since(gap.since) <= LATE_FOR
        })
    }

    /// Takes what came late out of its gap. Returns how many that are.
    fn fill(&mut self, number: u32, units: u32, now: Instant) -> u32 {
        let Some(gap) = self.gap_of(number, now).and_then(|index| self.gaps.remove(index)) else { return 0 };
        let before = number.wrapping_sub(gap.start);
        let units = units.min(gap.length - before);
        let behind = gap.length - before - units;
        for (start, length) in [(gap.start, before), (number.wrapping_add(units), behind)] {
            if length > 0 {
                self.note(Gap { start, length, ..gap });
            }
        }
        units
    }

    /// Whether the uptime says that the exporter has begun anew.
    fn has_rebooted(&self, header: &Header, now: Instant) -> bool {
        let (Some(uptime), Some((before, then))) = (header.uptime_ms, self.uptime) else { return false };
        let back = Duration::from_millis(before.saturating_sub(uptime).into());
        let forward = Duration::from_millis(uptime.wrapping_sub(before).into());
        let passed = now.saturating_duration_since(then);
        let up = Duration::from_millis(uptime.into());
        back > UPTIME_SLACK && forward.abs_diff(passed) > CLOCK_SLACK && up <= passed + CLOCK_SLACK
    }
}
