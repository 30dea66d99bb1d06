//! Sequence numbers: what was lost on the way, came late or came twice, and when an exporter has begun anew.
//!
//! NetFlow v9 numbers messages, the others the records in them: NetFlow v5 and v7 flows, IPFIX Data Records, those of options
//! included. A message says the number of its first; the next message's is expected to be higher by as many as it had.
//!
//! What is made of a number, in this order:
//!
//! 1. *Duplicate*: it and all octets are those of one of the last [`REMEMBERED`] messages. The message is dropped.
//! 2. *In order*: it is what was expected.
//! 3. *Restart*: the number does not go on and the uptime proves it ([`Uptimes`]). One that has been up for longer than since its
//!    last message has not begun anew: its messages come out of order, or it has several uptimes.
//! 4. *Unjudged*: there is nothing to compare it with, since the message is the first one, or the one before had records that
//!    could not be counted because their template is not known.
//! 5. *Resumed*: another count goes on, that of a message before which was stray or far off. The one that was followed until
//!    now is the other from now on: two processes may take turns on one port.
//! 6. *Late*: it lies in a gap of the last [`LATE_FOR`]. The message is taken, and its records are no longer missing.
//! 7. *Gap*: it is ahead by up to [`MOST_MISSING`]. What is between is missing.
//! 8. *Stray*: it is behind by up to 65,536 records or 1,024 messages, and in no gap. The message is taken.
//! 9. *Restart* of IPFIX, which has no uptime: it is not above [`BEGINNING`], and so far behind.
//! 10. *Far*: anything else. One message proves nothing, since its number may be wrong: if the next one goes on from there the
//!     count is resumed, and what is between is missing if the jump was ahead from a count that had gone on until then.
//!
//! A restart forgets templates, so a number alone is no proof of one: not over a connection, whose templates end with it (RFC
//! 7011 section 8), and not where the exporter says an uptime. If the count from before goes on after all, the restart is *taken
//! back*: it was one wrong number, or another process. A gap too was none if the count goes on in it that is said to have left it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::super::template::Version;
use super::super::wire::Header;
use super::uptime::Uptimes;

/// Messages that are remembered for duplicates, and gaps for what is late.
const REMEMBERED: usize = 64;

/// A number that is further ahead is believed only when the next message goes on from there.
const MOST_MISSING: u32 = 65_536;

/// What is further ahead is of another life, and nothing is missing between.
const FURTHEST_AHEAD: u32 = 1 << 28;

/// The largest number with which an exporter of IPFIX is held to begin anew. It begins with 0; if its first messages are lost on
/// the way, some sixty datagrams of 1,500 octets with the shortest records that are usual have as many.
const BEGINNING: u32 = 4096;

/// How long a gap waits for what is late.
const LATE_FOR: Duration = Duration::from_secs(10);

/// What a sequence number says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Duplicate,
    Restart,
    /// A restart was none, since the count from before goes on.
    TakenBack,
    /// Whether there was something before.
    Unjudged(bool),
    InOrder,
    /// So many are missing.
    Gap(u32),
    Late,
    Stray,
    Far,
    /// So many are missing, as the message before has said already.
    Resumed(u32),
}

#[derive(Clone, Copy, Debug)]
enum Expected {
    /// Nothing came yet.
    Anything,
    /// What came with this number could not be counted.
    Unknown(u32),
    Number(u32),
}

#[derive(Clone, Copy, Debug)]
struct Gap {
    start: u32,
    /// Never 0.
    length: u32,
    since: Instant,
}

impl Gap {
    const fn has(&self, number: u32) -> bool {
        number.wrapping_sub(self.start) < self.length
    }
}

/// A count beside the one that is followed.
#[derive(Clone, Copy, Debug)]
struct Other {
    /// The number of its last message where that was not taken for one of the count, else what would come next.
    from: u32,
    /// Of one that could not be counted, the same.
    next: u32,
    is_counted: bool,
    /// How far it is ahead of the one that was followed, which had gone on until then and has not since.
    jump: Option<u32>,
    /// Whether it is the one from before a restart.
    is_former: bool,
}

/// The sequence numbers of one session.
#[derive(Debug)]
pub(super) struct Sequence {
    is_of_datagrams: bool,
    expected: Expected,
    other: Option<Other>,
    /// Messages in order since the last that was not, so far as anybody asks.
    steady: u8,
    gaps: VecDeque<Gap>,
    /// Numbers of the last messages, and hashes of their octets.
    last: VecDeque<(u32, u64)>,
    uptimes: Uptimes,
}

/// Messages in order after which a session is one of its own.
const SETTLED: u8 = 4;

impl Sequence {
    pub(super) const fn new(is_of_datagrams: bool) -> Self {
        Self {
            is_of_datagrams,
            expected: Expected::Anything,
            other: None,
            steady: 0,
            gaps: VecDeque::new(),
            last: VecDeque::new(),
            uptimes: Uptimes::new(),
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

    /// Whether anything was counted.
    pub(super) const fn has_counted(&self) -> bool {
        !matches!(self.expected, Expected::Anything | Expected::Number(0))
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
        if !late && self.is_of_datagrams && header.uptime_ms.is_some_and(|up| self.uptimes.have_fallen(up, now)) {
            return Verdict::Restart;
        }
        let near = if header.version == Version::NetFlow9 { 1024 } else { 65_536 };
        // The uptime says more of which life it is than the number.
        let is_former = || header.uptime_ms.is_none_or(|up| self.uptimes.is_of_former(up, now));
        let other = self.other.filter(|other| !other.is_former || is_former());
        let other = other.map(|other| (other, number.wrapping_sub(other.next)));
        let expected = match (self.expected, other) {
            (Expected::Number(expected), _) => expected,
            (Expected::Unknown(_), Some((other, beyond))) if other.is_former && beyond <= MOST_MISSING => {
                return Verdict::TakenBack;
            }
            (unknown, _) => return Verdict::Unjudged(matches!(unknown, Expected::Unknown(_))),
        };
        let (ahead, behind) = (number.wrapping_sub(expected), expected.wrapping_sub(number));
        match other {
            Some((other, 0)) if other.is_counted => other.resumed(0),
            _ if late => Verdict::Late,
            _ if ahead <= MOST_MISSING => Verdict::Gap(ahead),
            _ if behind <= near => Verdict::Stray,
            Some((other, beyond)) if beyond <= MOST_MISSING => other.resumed(beyond),
            _ if self.is_of_datagrams && header.version == Version::Ipfix && number <= BEGINNING => Verdict::Restart,
            _ => Verdict::Far,
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
        let steady = self.steady;
        self.steady = match verdict {
            Verdict::InOrder => steady.saturating_add(1),
            Verdict::Far => steady,
            _ => 0,
        };
        if self.last.len() >= REMEMBERED {
            self.last.pop_front();
        }
        self.last.push_back((number, hash));
        let mut found = 0;
        match verdict {
            Verdict::Late => return self.fill(number, units.unwrap_or(0), now),
            Verdict::Stray | Verdict::Far => {
                let jump = self.next().map(|next| number.wrapping_sub(next));
                let jump = jump.filter(|&ahead| verdict == Verdict::Far && steady > 0 && ahead < FURTHEST_AHEAD);
                let (next, is_counted) = (next.unwrap_or(number), next.is_some());
                self.other = Some(Other { from: number, next, is_counted, jump, is_former: false });
                return 0;
            }
            Verdict::Gap(length) => {
                let start = number.wrapping_sub(length);
                self.note(Gap { start, length, since: now });
            }
            Verdict::Restart => {
                self.gaps.clear();
                self.leave(true);
            }
            Verdict::Resumed(_) | Verdict::TakenBack => found = self.resume(number, now),
            Verdict::Duplicate | Verdict::Unjudged(_) | Verdict::InOrder => {}
        }
        // The count goes on, so that the other is not where it went.
        if let Some(other) = &mut self.other {
            other.jump = None;
        }
        self.expected = next.map_or(Expected::Unknown(number), Expected::Number);
        if let Some(uptime) = header.uptime_ms {
            self.uptimes.note(uptime, verdict == Verdict::Restart, now);
        }
        found
    }

    /// The number that is expected, if one is.
    const fn next(&self) -> Option<u32> {
        match self.expected {
            Expected::Number(expected) => Some(expected),
            Expected::Anything | Expected::Unknown(_) => None,
        }
    }

    /// Leaves the count that was followed, which is the other from now on.
    fn leave(&mut self, is_former: bool) {
        let (next, is_counted) = match self.expected {
            Expected::Anything => return self.other = None,
            Expected::Unknown(number) => (number, false),
            Expected::Number(number) => (number, true),
        };
        self.other = Some(Other { from: next, next, is_counted, jump: None, is_former });
    }

    /// Follows the other count. Returns how many are no longer missing: those of the gap in which it goes on.
    fn resume(&mut self, number: u32, now: Instant) -> u32 {
        let Some(other) = self.other else { return 0 };
        let gap = self.gaps.iter().find(|gap| gap.has(other.from));
        let found = gap.map_or(0, |gap| gap.length - other.from.wrapping_sub(gap.start));
        self.gaps.clear();
        let before = other.jump.map(|length| (other.from.wrapping_sub(length), length));
        let behind = (other.is_counted && !other.is_former).then(|| (other.next, number.wrapping_sub(other.next)));
        for (start, length) in before.into_iter().chain(behind) {
            if length > 0 {
                self.note(Gap { start, length, since: now });
            }
        }
        self.leave(false);
        found
    }

    fn note(&mut self, gap: Gap) {
        if self.gaps.len() >= REMEMBERED {
            self.gaps.pop_front();
        }
        self.gaps.push_back(gap);
    }

    /// The gap that misses this number.
    fn gap_of(&self, number: u32, now: Instant) -> Option<usize> {
        self.gaps.iter().position(|gap| gap.has(number) && now.saturating_duration_since(gap.since) <= LATE_FOR)
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
}

impl Other {
    /// What it is that it goes on, so many behind where it was.
    fn resumed(self, beyond: u32) -> Verdict {
        if self.is_former {
            return Verdict::TakenBack;
        }
        let beyond = if self.is_counted { beyond } else { 0 };
        Verdict::Resumed(self.jump.unwrap_or(0).saturating_add(beyond))
    }
}
