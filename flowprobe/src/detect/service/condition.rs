//! How the looking for findings fares, as status and metrics show it.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

use super::super::finding::Severity;
use super::super::findings::{Finding, State};
use super::super::{Load, RULES};
use crate::alert;

/// Headlines that are shown.
const WORST: usize = 5;

/// The state as of a drain. What is counted is so since the start of the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Condition {
    /// Findings that go on.
    pub open: BySeverity,
    /// Those of them that are worst.
    pub worst: Vec<Headline>,
    /// All rules, by name.
    pub rules: Vec<OfRule>,
    /// Findings that are kept.
    pub kept: u64,
    /// Findings that there was no room for any more.
    pub forgotten: u64,
    /// Sightings that were not said.
    pub suppressed: u64,
    /// Flows that were looked at.
    pub flows: u64,
    /// Flows that the full queue has refused.
    pub missed_flows: u64,
    /// What each detector has in memory.
    pub detectors: Vec<Load>,
    /// How those fare that findings go to.
    pub sinks: Vec<alert::Condition>,
    /// Why findings are not kept over a restart, while that is so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// How often keeping them has failed.
    pub failed_saves: u64,
    /// Whether the thread that looks has failed, so that nothing is looked for any more.
    pub has_failed: bool,
}

/// Findings that go on, by severity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "see Severity")]
pub struct BySeverity {
    pub critical: u64,
    pub high: u64,
    pub medium: u64,
    pub low: u64,
}

impl BySeverity {
    fn of(&mut self, severity: Severity) -> &mut u64 {
        match severity {
            Severity::Critical => &mut self.critical,
            Severity::High => &mut self.high,
            Severity::Medium => &mut self.medium,
            Severity::Low => &mut self.low,
        }
    }
}

/// What was found by a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfRule {
    /// Its name.
    pub rule: String,
    /// Findings that go on.
    pub open: u64,
    /// Findings that were opened, or went on after they had ended.
    pub opened: u64,
}

/// What a finding is about, in few words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Headline {
    /// The finding's.
    pub id: String,
    /// The rule's name.
    pub rule: String,
    /// How bad it is.
    pub severity: Severity,
    /// The words.
    pub title: String,
    /// When it was last seen, milliseconds since 1970 UTC.
    pub last_milliseconds: i64,
}

impl Condition {
    /// Counts findings. `opened` are those of each of [`RULES`] that were opened.
    pub(super) fn count<'a>(findings: impl Iterator<Item = &'a Finding>, opened: &[u64]) -> Self {
        let rule = |(rule, opened): (&&str, &u64)| OfRule { rule: (*rule).to_owned(), open: 0, opened: *opened };
        let mut condition = Self { rules: RULES.iter().zip(opened).map(rule).collect(), ..Self::default() };
        let mut open = Vec::new();
        for finding in findings {
            condition.kept += 1;
            if finding.state == State::Open {
                *condition.open.of(finding.severity) += 1;
                if let Some(rule) = number(&finding.rule) {
                    condition.rules[rule].open += 1;
                }
                open.push(finding);
            }
        }
        let worst = |one: &&Finding| (Reverse(one.severity), Reverse(one.last_ms));
        if open.len() > WORST {
            open.select_nth_unstable_by_key(WORST, worst);
            open.truncate(WORST);
        }
        open.sort_by_key(worst);
        condition.worst = open.into_iter().map(Headline::of).collect();
        condition
    }
}

impl Headline {
    fn of(finding: &Finding) -> Self {
        Self {
            id: finding.id.clone(),
            rule: finding.rule.clone(),
            severity: finding.severity,
            title: finding.title.clone(),
            last_milliseconds: finding.last_ms,
        }
    }
}

/// Which of [`RULES`] has this name.
pub(super) fn number(rule: &str) -> Option<usize> {
    RULES.binary_search(&rule).ok()
}

#[cfg(test)]
pub(crate) fn example() -> Condition {
    let headline = |severity, title: &str| Headline {
        id: "6b0d6532-0".to_owned(),
        rule: "port-scan".to_owned(),
        severity,
        title: title.to_owned(),
        last_milliseconds: 1_699_999_999_000,
    };
    Condition {
        open: BySeverity { critical: 0, high: 1, medium: 2, low: 30 },
        worst: vec![
            headline(Severity::High, "172.16.0.8 scans ports of 64.13.134.52"),
            headline(Severity::Medium, &"10.0.0.17 talks to 203.0.113.66 like a machine ".repeat(3)),
        ],
        rules: vec![OfRule { rule: "port-scan".to_owned(), open: 33, opened: 44 }],
        kept: 55,
        forgotten: 1,
        suppressed: 7,
        flows: 120_000,
        missed_flows: 12,
        detectors: vec![Load { detector: "scan".into(), entries: 900, forgotten: 3, nanoseconds: 1_500_000_000 }],
        sinks: vec![alert::Condition {
            name: "webhook https://alerts.example".to_owned(),
            sent: 40,
            failed: 2,
            refused: 1,
            waiting: 5,
            failed_attempts: 9,
            trouble: Some("Connection refused (os error 111)".to_owned()),
            failed_saves: 4,
            unsaved: Some("Read-only file system (os error 30)".to_owned()),
        }],
        problem: Some("No space left on device (os error 28)".to_owned()),
        failed_saves: 6,
        has_failed: false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::{Rule, Sighting};
    use super::super::super::findings::Findings;
    use super::super::super::flow::Ip;
    use super::*;

    static SCAN: Rule = Rule { name: "port-scan", technique: None, quiet_ms: 1000 };
    static PROBES: Rule = Rule { name: "probes", technique: None, quiet_ms: 1_000_000 };

    fn sighting(rule: &'static Rule, subject: u128, severity: Severity, at_ms: i64) -> Sighting {
        Sighting {
            rule,
            severity,
            subject: Ip(subject).into(),
            matter: String::new(),
            title: format!("{subject}"),
            explanation: String::new(),
            peers: Vec::new(),
            first_ms: at_ms,
            last_ms: at_ms,
            evidence: Vec::new(),
        }
    }

    #[test]
    fn what_goes_on_is_counted_and_the_worst_is_named_first() {
        let mut findings = Findings::default();
        // These end.
        for subject in 0..3 {
            findings.see(sighting(&SCAN, subject, Severity::Critical, 0), 0);
        }
        for subject in 10..20 {
            findings.see(sighting(&PROBES, subject, Severity::Low, i64::try_from(subject).expect("small")), 20);
        }
        findings.see(sighting(&SCAN, 30, Severity::High, 5000), 5000);
        findings.see(sighting(&SCAN, 31, Severity::Medium, 5001), 5001);
        findings.advance(5001);
        let opened: Vec<u64> = (0..RULES.len() as u64).collect();
        let said = Condition::count(findings.iter(), &opened);
        assert_eq!((said.open, said.kept), (BySeverity { critical: 0, high: 1, medium: 1, low: 10 }, 15));
        let titles: Vec<&str> = said.worst.iter().map(|one| one.title.as_str()).collect();
        assert_eq!(titles, ["30", "31", "19", "18", "17"]);
        let open: Vec<(&str, u64)> =
            said.rules.iter().filter(|rule| rule.open > 0).map(|rule| (rule.rule.as_str(), rule.open)).collect();
        assert_eq!(open, [("port-scan", 2), ("probes", 10)]);
        assert_eq!(said.rules.iter().map(|rule| rule.opened).collect::<Vec<_>>(), opened);
    }
}
