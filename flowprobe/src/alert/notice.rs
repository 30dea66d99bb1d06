//! What sinks are told: one change of a finding, small enough to wait by the thousand.

use std::borrow::Cow;

use jiff::Timestamp;

use crate::detect::finding::Severity;
use crate::detect::findings::{Change, Finding};

/// Peers that a notice names at most; how many there are is said beside them.
pub const PEERS: usize = 100;

/// Who reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observer {
    /// Who makes the product.
    pub vendor: String,
    /// What it is called.
    pub product: String,
    /// Its version.
    pub version: String,
    /// The machine it runs on.
    pub hostname: String,
}

/// A change of a finding.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// The finding as it is by now, with [`PEERS`] of its peers at most.
    pub finding: Finding,
    /// Peers that the finding has.
    pub peer_count: usize,
    /// What has changed.
    pub change: Change,
    /// When that became known, milliseconds since 1970 UTC.
    pub at_ms: i64,
}

impl Notice {
    /// Of a finding that has changed at `at_ms`, milliseconds since 1970 UTC.
    #[must_use]
    pub fn new(mut finding: Finding, change: Change, at_ms: i64) -> Self {
        let peer_count = finding.peers.len();
        if peer_count > PEERS {
            finding.peers = finding.peers.iter().take(PEERS).copied().collect();
        }
        Self { finding, peer_count, change, at_ms }
    }

    /// The same for each attempt to deliver this change, and no other change has it.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}-{}-{}", self.finding.id, self.change_name(), self.finding.count)
    }

    /// The change in one word.
    #[must_use]
    pub const fn change_name(&self) -> &'static str {
        match self.change {
            Change::Opened => "opened",
            Change::Raised => "raised",
            Change::Ended => "ended",
        }
    }

    /// The title, with the change before it where that is not its beginning.
    #[must_use]
    pub fn headline(&self) -> String {
        let title = clean(&self.finding.title);
        match self.change {
            Change::Opened => title.into_owned(),
            Change::Raised => format!("Raised to {}: {title}", self.finding.severity),
            Change::Ended => format!("Ended: {title}"),
        }
    }

    /// Headline and explanation, on one line.
    #[must_use]
    pub fn message(&self) -> String {
        let explanation = clean(&self.finding.explanation);
        if explanation.is_empty() { self.headline() } else { format!("{}. {explanation}", self.headline()) }
    }

    /// Whether somebody should look: it goes on, and is of medium severity or more.
    #[must_use]
    pub fn is_pressing(&self) -> bool {
        self.change != Change::Ended && self.finding.severity >= Severity::Medium
    }
}

/// A text without control characters: names in it may come from the network, and a line must stay one line.
#[must_use]
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    if text.contains(char::is_control) { text.replace(char::is_control, " ").into() } else { text.into() }
}

/// A moment as RFC 3339 has it, in UTC and to the millisecond.
#[must_use]
pub(super) fn moment(ms: i64) -> String {
    format!("{:.3}", Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::detect::finding::{Rule, Sighting, Subject};
    use crate::detect::findings::Findings;
    use crate::detect::flow::{Flow, Ip, Mac};

    pub(in crate::alert) static SCAN: Rule = Rule { name: "port-scan", technique: Some("T1046"), quiet_ms: 1000 };

    /// 2026-11-30T12:00:00Z.
    pub(in crate::alert) const NOON: i64 = 1_796_040_000_000;

    pub(in crate::alert) fn ip(text: &str) -> Ip {
        text.parse::<std::net::IpAddr>().expect("an address").into()
    }

    pub(in crate::alert) fn probe() -> Flow {
        Flow {
            source: ip("10.0.0.7"),
            destination: ip("10.0.0.9"),
            source_port: 40_000,
            destination_port: 22,
            protocol: 6,
            tcp_flags: 2,
            opens: true,
            packets: 1,
            octets: 60,
            start_ms: NOON - 14_000,
            end_ms: NOON - 14_000,
            source_mac: Mac([2, 0, 0, 0, 0, 7]),
            ..Flow::default()
        }
    }

    pub(in crate::alert) fn sighting() -> Sighting {
        Sighting {
            rule: &SCAN,
            severity: Severity::High,
            subject: ip("10.0.0.7").into(),
            matter: String::new(),
            title: "Port scan of 10.0.0.9".into(),
            explanation: "10.0.0.7 probed 512 ports on 10.0.0.9 in 14 s.".into(),
            peers: vec![ip("10.0.0.9")],
            first_ms: NOON - 14_000,
            last_ms: NOON,
            evidence: vec![probe()],
        }
    }

    /// What findings make of a sighting, told of as `change`.
    pub(in crate::alert) fn notice(sighting: Sighting, change: Change) -> Notice {
        Notice::new(finding(sighting), change, NOON + 1)
    }

    pub(in crate::alert) fn finding(sighting: Sighting) -> Finding {
        let mut findings = Findings::default();
        findings.see(sighting, NOON);
        findings.changes().remove(0).0
    }

    pub(in crate::alert) fn observer() -> Observer {
        Observer {
            vendor: "flowprobe".into(),
            product: "flowprobe".into(),
            version: "1.2.3".into(),
            hostname: "gate.example".into(),
        }
    }

    #[test]
    fn a_change_is_said_in_words() {
        let said = |change| notice(sighting(), change).message();
        let rest = "Port scan of 10.0.0.9. 10.0.0.7 probed 512 ports on 10.0.0.9 in 14 s.";
        assert_eq!(said(Change::Opened), rest);
        assert_eq!(said(Change::Raised), format!("Raised to high: {rest}"));
        assert_eq!(said(Change::Ended), format!("Ended: {rest}"));
        let hostile = Sighting { title: "a\r\nb\u{1b}[31m".into(), explanation: String::new(), ..sighting() };
        assert_eq!(notice(hostile, Change::Opened).message(), "a  b [31m");
    }

    #[test]
    fn each_change_has_a_key_of_its_own_and_peers_are_few() {
        let many = Sighting {
            subject: Subject::Interface("eth0".into()),
            peers: (0..5000_u128).map(|number| Ip(0xffff_0a00_0000 + number)).collect(),
            ..sighting()
        };
        let opened = notice(many, Change::Opened);
        assert_eq!((opened.finding.peers.len(), opened.peer_count), (PEERS, 4096));
        let keys = [Change::Opened, Change::Raised, Change::Ended].map(|change| notice(sighting(), change).key());
        let id = &opened.finding.id;
        assert_eq!(keys, [format!("{id}-opened-1"), format!("{id}-raised-1"), format!("{id}-ended-1")]);
        assert_eq!([0, NOON + 7].map(moment), ["1970-01-01T00:00:00.000Z", "2026-11-30T12:00:00.007Z"]);
    }
}
