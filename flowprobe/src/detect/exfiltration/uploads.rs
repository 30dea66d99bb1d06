//! What a host inside sends outside: to whom, and what it used to send by hour of week.

use serde::{Deserialize, Serialize};

use super::super::flow::{Flow, Ip};

pub(crate) const HOUR_MS: i64 = 3_600_000;
pub(crate) const DAY_MS: i64 = 24 * HOUR_MS;

/// Outside hosts that are kept of each host.
const DESTINATIONS: usize = 8;

/// Of a host that moves less in an hour it is not remembered whom it talks to.
const TRACKED: u64 = 1_000_000;

/// So many times more is sent than comes back in an upload.
const UPLOAD: u64 = 2;

/// Hours of a week.
const WEEK: usize = 168;

/// Octets as a level: four for each doubling, so that a level is exact to 9 %. 0 stands for none.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "between 0 and 255"
)]
pub(crate) fn level(octets: u64) -> u8 {
    if octets == 0 { 0 } else { ((octets as f64).log2() * 4.0).round().min(255.0) as u8 }
}

/// The octets of a level.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below 2 to the power of 64")]
pub(crate) fn octets_of(level: u8) -> u64 {
    if level == 0 { 0 } else { 2_f64.powf(f64::from(level) / 4.0) as u64 }
}

/// Octets to and from an outside host in a time that begins with the first of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Exchange {
    pub(crate) since_ms: i64,
    pub(crate) up: u64,
    pub(crate) down: u64,
}

impl Exchange {
    fn add(&mut self, flow: &Flow, is_up: bool, lasts_ms: i64) {
        if flow.end_ms - self.since_ms >= lasts_ms {
            *self = Self { since_ms: flow.start_ms.max(flow.end_ms - lasts_ms), ..Self::default() };
        }
        let octets = flow.share(flow.octets, lasts_ms);
        let sum = if is_up { &mut self.up } else { &mut self.down };
        *sum = sum.saturating_add(octets);
    }

    /// Whether so many times more was sent than came back.
    pub(crate) const fn is_upload(&self, ratio: u64) -> bool {
        self.up / ratio >= self.down
    }
}

/// An outside host that a host talks to.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Destination {
    pub(crate) ip: Ip,
    /// What decides who stays: what it got since ever, and what the one had whose place it took (Space-Saving, Metwally et al., 2005).
    rank: u64,
    pub(crate) hour: Exchange,
    pub(crate) day: Exchange,
    /// Octets to and from it in this hour of the clock.
    clock: (u64, u64),
    /// Hours of the day's exchange in which it got something.
    pub(crate) hours: u8,
    last_hour: i64,
    pub(crate) last_ms: i64,
    /// Since when it got too much within an hour, and how much it has got by then.
    pub(crate) suspect: Option<(i64, Exchange)>,
    /// What it had got when that was said last.
    pub(crate) said: u64,
    /// The largest upload that was seen.
    pub(crate) evidence: Flow,
}

impl Destination {
    fn new(ip: Ip, rank: u64) -> Self {
        let (hour, day) = (Exchange::default(), Exchange::default());
        let evidence = Flow::default();
        Self {
            ip,
            rank,
            hour,
            day,
            clock: (0, 0),
            hours: 0,
            last_hour: 0,
            last_ms: 0,
            suspect: None,
            said: 0,
            evidence,
        }
    }
}

/// What was sent by hour, as levels.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Habit {
    /// Of the last 24 hours, the latest first.
    recent: [u8; 24],
    /// By hour of week; empty, or 0 where there was none.
    week: Vec<u8>,
}

impl Habit {
    /// Learns an hour. One odd week moves what is usual by no more than a factor of 4, once there is something.
    fn learn(&mut self, hour: i64, octets: u64) {
        let sent = level(octets);
        self.recent.rotate_right(1);
        self.recent[0] = sent;
        if self.week.is_empty() {
            self.week = vec![0; WEEK];
        }
        let usual = &mut self.week[index(hour)];
        *usual = if *usual == 0 { sent } else { sent.clamp(usual.saturating_sub(8), usual.saturating_add(8)) };
    }

    /// The most at this hour of the week or one next to it, at this hour yesterday, and in the second busiest of the last 24 hours, of which
    /// so many are known.
    fn usual(&self, hour: i64, known: u8) -> u64 {
        let by_week = (-1..=1).filter_map(|next| self.week.get(index(hour + next)));
        let yesterday = self.recent.iter().skip(22);
        let mut sorted = self.recent;
        sorted.sort_unstable();
        let busy = if known >= 2 { sorted[22] } else { sorted[23] };
        octets_of(by_week.chain(yesterday).copied().max().unwrap_or(0).max(busy))
    }
}

/// A host inside, and its habit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Host {
    /// When it was seen first.
    pub(crate) since_ms: i64,
    /// Hours since 1970 UTC.
    hour: i64,
    /// Octets sent outside in this hour.
    up: u64,
    /// Octets to and from outside in this hour.
    all: u64,
    /// To all together.
    sent: Habit,
    /// To those that got more than they gave.
    uploads: Habit,
    /// Octets of the last 24 hours together, and of the busiest of them.
    sum: u64,
    most: u64,
    /// How many of them are known.
    known: u8,
    /// Levels of the last 7 days, the latest first.
    days: [u8; 7],
    pub(crate) destinations: Vec<Destination>,
    /// What was sent within an hour when that was said last.
    pub(crate) said: u64,
}

impl Host {
    pub(crate) fn new(at_ms: i64) -> Self {
        Self {
            since_ms: at_ms,
            hour: at_ms.div_euclid(HOUR_MS),
            up: 0,
            all: 0,
            sent: Habit::default(),
            uploads: Habit::default(),
            sum: 0,
            most: 0,
            known: 0,
            days: [0; 7],
            destinations: Vec::new(),
            said: 0,
        }
    }

    /// Takes in what went to or came from an outside host.
    pub(crate) fn take(&mut self, flow: &Flow, outside: Ip, is_up: bool) {
        self.turn(flow.end_ms);
        if is_up {
            self.up = self.up.saturating_add(flow.share(flow.octets, HOUR_MS));
        }
        self.all = self.all.saturating_add(flow.octets);
        if self.all < TRACKED {
            return;
        }
        // What comes in makes no room for itself at the cost of what goes out.
        let weight = if is_up { flow.octets } else { flow.octets / 16 };
        let found = self.destinations.iter().position(|one| one.ip == outside);
        let place = found.unwrap_or_else(|| self.place(outside));
        let Some(one) = self.destinations.get_mut(place) else { return };
        one.rank = one.rank.saturating_add(weight);
        one.hour.add(flow, is_up, HOUR_MS);
        let before = one.day.since_ms;
        one.day.add(flow, is_up, DAY_MS);
        let clock = if is_up { &mut one.clock.0 } else { &mut one.clock.1 };
        *clock = clock.saturating_add(flow.share(flow.octets, HOUR_MS));
        if one.day.since_ms != before {
            (one.hours, one.said, one.rank) = (0, 0, one.rank / 2);
        }
        one.last_ms = one.last_ms.max(flow.end_ms);
        let hour = flow.end_ms.div_euclid(HOUR_MS);
        if is_up && hour != one.last_hour {
            one.last_hour = hour;
            one.hours = one.hours.saturating_add(1);
        }
        if is_up && flow.octets > one.evidence.octets {
            one.evidence = *flow;
        }
    }

    fn place(&mut self, outside: Ip) -> usize {
        if self.destinations.len() < DESTINATIONS {
            self.destinations.push(Destination::new(outside, 0));
            return self.destinations.len() - 1;
        }
        let least = self.destinations.iter().enumerate().min_by_key(|(_, one)| one.rank).map_or(0, |(place, _)| place);
        let rank = self.destinations[least].rank;
        self.destinations[least] = Destination::new(outside, rank);
        least
    }

    /// So late it is: hours that have gone by become habit.
    pub(crate) fn turn(&mut self, now_ms: i64) {
        let now = now_ms.div_euclid(HOUR_MS);
        // Of a host that was away for long, the last week.
        self.hour = self.hour.max(now - 168);
        while self.hour < now {
            self.close();
            self.hour += 1;
            (self.up, self.all) = (0, 0);
        }
    }

    fn close(&mut self) {
        self.sent.learn(self.hour, self.up);
        self.known = self.known.saturating_add(1).min(24);
        self.sum = self.sent.recent.iter().map(|level| octets_of(*level)).sum();
        self.most = octets_of(self.sent.recent.iter().copied().max().unwrap_or(0));
        if self.hour.rem_euclid(24) == 23 {
            self.days.rotate_right(1);
            self.days[0] = level(self.sum);
        }
        let mut uploaded = 0_u64;
        for one in &mut self.destinations {
            let (up, down) = std::mem::take(&mut one.clock);
            uploaded = uploaded.saturating_add(if up / UPLOAD >= down { up } else { 0 });
        }
        self.uploads.learn(self.hour, uploaded);
    }

    /// What it used to send in an hour such as this, to all together.
    pub(crate) fn usual(&self) -> u64 {
        self.sent.usual(self.hour, self.known)
    }

    /// The same of uploads: a call, in which as much comes back, says nothing about them.
    pub(crate) fn usual_uploads(&self) -> u64 {
        self.uploads.usual(self.hour, self.known)
    }

    /// What it used to send on a day, the median of those that are known; none before the third.
    pub(crate) fn usual_day(&self) -> Option<u64> {
        let mut known: Vec<u8> = self.days.iter().copied().filter(|day| *day > 0).collect();
        known.sort_unstable();
        (known.len() >= 3).then(|| octets_of(known[known.len() / 2]))
    }

    /// Octets of this hour, or of the one before if that had more.
    pub(crate) fn hour_up(&self) -> u64 {
        self.up.max(octets_of(self.sent.recent[0]))
    }

    /// Octets of this hour alone.
    pub(crate) const fn this_hour(&self) -> u64 {
        self.up
    }

    /// Octets of the last 24 hours.
    pub(crate) const fn day_up(&self) -> u64 {
        self.sum.saturating_add(self.up)
    }

    /// Octets of the busiest of the last 24 hours.
    pub(crate) fn most_up(&self) -> u64 {
        self.most.max(self.up)
    }
}

/// The first hosts inside that talked to an outside host.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Talkers([Option<u32>; 3]);

impl Talkers {
    pub(crate) fn add(&mut self, host: u32) {
        if !self.0.contains(&Some(host))
            && let Some(place) = self.0.iter_mut().find(|place| place.is_none())
        {
            *place = Some(host);
        }
    }

    pub(crate) fn others(&self, host: u32) -> usize {
        self.0.iter().flatten().filter(|other| **other != host).count()
    }
}

/// An address in 32 bits: IPv4 as it is, IPv6 folded.
#[expect(clippy::cast_possible_truncation, reason = "folded")]
pub(crate) const fn folded(ip: Ip) -> u32 {
    if ip.is_v4() { ip.0 as u32 } else { (ip.0 >> 96 ^ ip.0 >> 64 ^ ip.0 >> 32 ^ ip.0) as u32 }
}

fn index(hour: i64) -> usize {
    usize::try_from(hour.rem_euclid(168)).unwrap_or(0)
}
