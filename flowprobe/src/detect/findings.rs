//! Sightings folded into findings: one for each rule, subject and matter, open as long as it goes on.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use super::finding::{Severity, Sighting, Subject};
use super::flow::{Flow, Ip};
use super::site::Range;

/// What was seen again within this time after it had ended is the same finding.
const FOLDED_MS: i64 = 24 * 3_600_000;

/// Findings that are kept; the oldest that have ended go first.
const MOST: usize = 10_000;

/// Flows that are kept as evidence of each: the first half of them, and the latest.
const EVIDENCE: usize = 16;

/// Peers that are kept of each.
const PEERS: usize = 4096;

/// So many are kept of each even where all together have too many.
const FEW_PEERS: usize = 16;

/// Peers that are kept of all together.
const ALL_PEERS: usize = 1 << 20;

/// Whether it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It was seen lately.
    Open,
    /// Nothing was seen of it for the quiet time of its rule.
    Ended,
}

/// What looks wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The same as long as it lives.
    pub id: String,
    /// [`super::finding::Rule::name`].
    pub rule: String,
    /// MITRE ATT&CK technique.
    pub technique: Option<String>,
    /// The highest that was said.
    pub severity: Severity,
    /// Whether it goes on.
    pub state: State,
    /// Whom it is about.
    pub subject: Subject,
    /// What of the subject.
    pub matter: String,
    /// A headline.
    pub title: String,
    /// Sentences, with the numbers up to the last sighting.
    pub explanation: String,
    /// Who else is concerned, at most 4,096.
    pub peers: BTreeSet<Ip>,
    /// Sightings.
    pub count: u64,
    /// Milliseconds since 1970 UTC.
    pub first_ms: i64,
    /// The same.
    pub last_ms: i64,
    /// When it was said for the first time.
    pub detected_ms: i64,
    /// Some of the flows.
    pub evidence: Vec<Flow>,
    quiet_ms: i64,
}

/// Why a finding is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It is new, or goes on after it had ended.
    Opened,
    /// It is worse than was said before.
    Raised,
    /// It is over.
    Ended,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Key {
    rule: String,
    subject: Subject,
    matter: String,
}

/// All findings.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Findings {
    /// By number, the oldest first.
    all: BTreeMap<u64, Finding>,
    by_key: HashMap<Key, u64>,
    next: u64,
    peers: usize,
    forgotten: u64,
    /// As they were when it changed.
    #[serde(skip)]
    changes: Vec<(Finding, Change)>,
}

impl Findings {
    /// Folds a sighting in, which was made at this moment.
    pub fn see(&mut self, sighting: Sighting, now_ms: i64) {
        let key = Key {
            rule: sighting.rule.name.to_owned(),
            subject: sighting.subject.clone(),
            matter: sighting.matter.clone(),
        };
        let known = self.by_key.get(&key).and_then(|number| self.all.get_mut(number));
        match known {
            Some(finding) if sighting.first_ms - finding.last_ms <= FOLDED_MS => {
                let change = match finding.state {
                    State::Ended => Some(Change::Opened),
                    State::Open if sighting.severity > finding.severity => Some(Change::Raised),
                    State::Open => None,
                };
                self.peers += finding.fold(sighting, ALL_PEERS - self.peers.min(ALL_PEERS));
                self.changes.extend(change.map(|change| (finding.clone(), change)));
            }
            _ => self.open(key, sighting, now_ms),
        }
    }

    fn open(&mut self, key: Key, sighting: Sighting, now_ms: i64) {
        if self.all.len() >= MOST {
            self.forget_one();
        }
        let number = self.next;
        self.next += 1;
        let mut finding = Finding {
            id: format!("{:x}-{number}", sighting.first_ms / 1000),
            rule: key.rule.clone(),
            technique: sighting.rule.technique.map(str::to_owned),
            severity: sighting.severity,
            state: State::Open,
            subject: key.subject.clone(),
            matter: key.matter.clone(),
            title: String::new(),
            explanation: String::new(),
            peers: BTreeSet::new(),
            count: 0,
            first_ms: sighting.first_ms,
            last_ms: sighting.last_ms,
            // The clock stands since its last tick.
            detected_ms: now_ms.max(sighting.last_ms),
            evidence: Vec::new(),
            quiet_ms: sighting.rule.quiet_ms,
        };
        self.peers += finding.fold(sighting, ALL_PEERS - self.peers.min(ALL_PEERS));
        self.changes.push((finding.clone(), Change::Opened));
        self.all.insert(number, finding);
        self.by_key.insert(key, number);
    }

    /// Makes room: of those that have ended, and else of those that go on, the least severe goes, and of these the oldest.
    fn forget_one(&mut self) {
        let worth = |(number, finding): &(&u64, &Finding)| (finding.state == State::Open, finding.severity, **number);
        let Some(number) = self.all.iter().min_by_key(worth).map(|(number, _)| *number) else { return };
        if let Some(mut gone) = self.all.remove(&number) {
            if gone.state == State::Open {
                gone.state = State::Ended;
                self.changes.push((gone.clone(), Change::Ended));
            }
            self.peers = self.peers.saturating_sub(gone.peers.len());
            let key = Key { rule: gone.rule, subject: gone.subject, matter: gone.matter };
            if self.by_key.get(&key) == Some(&number) {
                self.by_key.remove(&key);
            }
        }
        self.forgotten += 1;
    }

    /// Ends those of which nothing was seen for long.
    pub fn advance(&mut self, now_ms: i64) {
        for finding in self.all.values_mut() {
            if finding.state == State::Open && now_ms - finding.last_ms > finding.quiet_ms {
                finding.state = State::Ended;
                self.changes.push((finding.clone(), Change::Ended));
            }
        }
    }

    /// What has changed since this was asked last.
    pub fn changes(&mut self) -> Vec<(Finding, Change)> {
        std::mem::take(&mut self.changes)
    }

    /// All of them, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Finding> {
        self.all.values()
    }

    /// How many there was no room for any more.
    #[must_use]
    pub const fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

impl Finding {
    /// Whether its subject, or one of its peers, is in this range.
    #[must_use]
    pub fn is_about(&self, range: &Range) -> bool {
        matches!(self.subject, Subject::Host(ip) if range.has(ip)) || self.peers.range(range.ips()).next().is_some()
    }

    /// Takes in a sighting, with room for so many more peers. Returns how many are new.
    fn fold(&mut self, sighting: Sighting, room: usize) -> usize {
        self.state = State::Open;
        self.severity = self.severity.max(sighting.severity);
        self.title = sighting.title;
        self.explanation = sighting.explanation;
        self.count += 1;
        self.first_ms = self.first_ms.min(sighting.first_ms);
        self.last_ms = self.last_ms.max(sighting.last_ms);
        // What is slow is not over because it pauses for as long as it always does.
        let pauses_ms = (self.last_ms - self.first_ms) / i64::try_from(self.count).unwrap_or(i64::MAX);
        self.quiet_ms = sighting.rule.quiet_ms.max((4 * pauses_ms).min(FOLDED_MS));
        let before = self.peers.len();
        // A few are named, however many others have.
        let room = room.max(FEW_PEERS.saturating_sub(before)).min(PEERS.saturating_sub(before));
        for peer in sighting.peers {
            if self.peers.len() < before + room {
                self.peers.insert(peer);
            }
        }
        for flow in sighting.evidence {
            if self.evidence.contains(&flow) {
                continue;
            }
            if self.evidence.len() >= EVIDENCE {
                self.evidence.remove(EVIDENCE / 2);
            }
            self.evidence.push(flow);
        }
        self.peers.len() - before
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Rule;
    use super::*;

    static RULE: Rule = Rule { name: "port-scan", technique: Some("T1046"), quiet_ms: 1000 };

    fn sighting(subject: u128, at_ms: i64, severity: Severity) -> Sighting {
        Sighting {
            rule: &RULE,
            severity,
            subject: Ip(subject).into(),
            matter: String::new(),
            title: "A port scan".into(),
            explanation: format!("at {at_ms}"),
            peers: vec![Ip(u128::try_from(at_ms).expect("not negative"))],
            first_ms: at_ms,
            last_ms: at_ms,
            evidence: vec![Flow { start_ms: at_ms, ..Flow::default() }],
        }
    }

    #[test]
    fn repeats_fold_and_a_finding_ends_and_opens_again() {
        let mut findings = Findings::default();
        let changes =
            |findings: &mut Findings| findings.changes().into_iter().map(|(_, change)| change).collect::<Vec<_>>();
        for at_ms in 0..100 {
            findings.see(sighting(1, at_ms, Severity::Low), at_ms);
        }
        assert_eq!(changes(&mut findings), [Change::Opened]);
        findings.see(sighting(1, 100, Severity::High), 100);
        findings.see(sighting(1, 101, Severity::Medium), 101);
        assert_eq!(changes(&mut findings), [Change::Raised]);
        let one = findings.iter().next().expect("one").clone();
        assert_eq!((one.count, one.severity, one.first_ms, one.last_ms), (102, Severity::High, 0, 101));
        assert_eq!((one.peers.len(), one.evidence.len(), one.explanation.as_str()), (102, EVIDENCE, "at 101"));
        assert_eq!((one.evidence[0].start_ms, one.evidence[EVIDENCE - 1].start_ms), (0, 101));
        findings.advance(1101);
        assert_eq!(changes(&mut findings), []);
        findings.advance(1102);
        findings.advance(1103);
        assert_eq!(changes(&mut findings), [Change::Ended]);
        findings.see(sighting(1, 10_000, Severity::Low), 10_000);
        findings.see(sighting(2, 10_000, Severity::Low), 10_000);
        findings.see(sighting(1, 10_001 + FOLDED_MS, Severity::Low), 10_001 + FOLDED_MS);
        assert_eq!(changes(&mut findings), [Change::Opened; 3]);
        assert_eq!(findings.iter().count(), 3);
    }

    #[test]
    fn there_are_never_too_many() {
        let mut findings = Findings::default();
        for subject in 0..MOST as u128 + 50 {
            findings.see(sighting(subject, 0, Severity::Low), 0);
        }
        assert_eq!((findings.iter().count(), findings.forgotten()), (MOST, 50));
        assert_eq!(findings.changes().len(), MOST + 100);
    }
}
