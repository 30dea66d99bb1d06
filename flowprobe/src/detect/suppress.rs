//! Findings that nobody wants to hear of, for a while.

use ipnet::IpNet;
use jiff::tz::TimeZone;
use jiff::{Timestamp, civil};
use serde::{Deserialize, Deserializer, de};

use super::finding::{Sighting, Subject};
use super::flow::Ip;
use super::site::Range;

/// What is not to be said: all that is named here has to be so.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Suppression {
    /// The rule, or `all`.
    pub rule: String,
    /// The address or network of whom it is about, or its name, such as a MAC address; anybody where it is not given.
    #[serde(default)]
    pub subject: Option<Whom>,
    /// An address or network that all of the peers have to be in.
    #[serde(default)]
    pub peer: Option<Whom>,
    /// Until when, milliseconds since 1970 UTC: written as a day, which is the last one, or as a time such as `2026-12-24T18:00:00Z`.
    #[serde(deserialize_with = "until", rename = "until")]
    pub until_ms: i64,
    /// Why.
    pub reason: String,
}

/// Whom a suppression is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// The hosts of a network.
    Network(Range),
    /// A subject that is written so.
    Named(String),
}

impl<'de> Deserialize<'de> for Whom {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let host = text.parse().map(|address: std::net::IpAddr| IpNet::from(address));
        Ok(match host.or_else(|_| text.parse::<IpNet>()) {
            Ok(network) => Self::Network(network.into()),
            Err(_) => Self::Named(text),
        })
    }
}

impl Whom {
    fn is(&self, subject: &Subject) -> bool {
        match (self, subject) {
            (Self::Network(range), Subject::Host(ip)) => range.has(*ip),
            (Self::Network(_), _) => false,
            (Self::Named(name), subject) => subject.to_string().eq_ignore_ascii_case(name),
        }
    }
}

/// A day lasts until it ends, by the clock of this machine.
fn until<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let text = String::deserialize(deserializer)?;
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.as_millisecond());
    }
    let end_of_day = || text.parse::<civil::Date>().ok()?.tomorrow().ok()?.to_zoned(TimeZone::system()).ok();
    let end = end_of_day().ok_or_else(|| {
        de::Error::custom(format!(
            "\"{text}\" is neither a day such as 2026-12-24 nor a time such as 2026-12-24T18:00:00Z"
        ))
    })?;
    Ok(end.timestamp().as_millisecond())
}

impl Suppression {
    /// Whether a sighting is not to be said at this moment.
    #[must_use]
    pub fn holds(&self, sighting: &Sighting, now_ms: i64) -> bool {
        let is_whom = |whom: &Whom| whom.is(&sighting.subject);
        now_ms < self.until_ms
            && (self.rule == "all" || self.rule == sighting.rule.name)
            && self.subject.as_ref().is_none_or(is_whom)
            && self.peer.as_ref().is_none_or(|peer| is_with(peer, sighting))
    }
}

/// Whether all others that a sighting is about are these: its peers, or where it names no new ones, the other ends of its flows.
fn is_with(peer: &Whom, sighting: &Sighting) -> bool {
    let is_peer = |ip: Ip| peer.is(&Subject::Host(ip));
    if !sighting.peers.is_empty() {
        return sighting.peers.iter().all(|ip| is_peer(*ip));
    }
    !sighting.evidence.is_empty()
        && sighting.evidence.iter().all(|flow| is_peer(flow.source) || is_peer(flow.destination))
}

#[cfg(test)]
mod tests {
    use super::super::finding::{Rule, Severity};
    use super::*;

    static RULE: Rule = Rule { name: "port-scan", technique: None, quiet_ms: 0 };

    fn sighting(subject: &str, peer: &str) -> Sighting {
        let ip = |text: &str| Ip::from(text.parse::<std::net::IpAddr>().expect("an address"));
        Sighting {
            rule: &RULE,
            severity: Severity::Low,
            subject: ip(subject).into(),
            matter: String::new(),
            title: String::new(),
            explanation: String::new(),
            peers: vec![ip(peer)],
            first_ms: 0,
            last_ms: 0,
            evidence: Vec::new(),
        }
    }

    fn suppression(text: &str) -> Result<Suppression, toml::de::Error> {
        toml::from_str(text)
    }

    #[test]
    fn what_is_suppressed_is_so_until_its_end() {
        let one = suppression(
            r#"
            rule = "port-scan"
            subject = "10.0.9.0/24"
            peer = "10.0.1.1"
            until = "2026-12-24T18:00:00Z"
            reason = "the scanner of the security team"
            "#,
        )
        .expect("a suppression");
        let end = "2026-12-24T18:00:00Z".parse::<Timestamp>().expect("a time").as_millisecond();
        assert!(one.holds(&sighting("10.0.9.7", "10.0.1.1"), end - 1));
        for (other, now_ms) in [
            (sighting("10.0.9.7", "10.0.1.1"), end),
            (sighting("10.0.8.7", "10.0.1.1"), end - 1),
            (sighting("10.0.9.7", "10.0.1.2"), end - 1),
        ] {
            assert!(!one.holds(&other, now_ms), "{other:?}");
        }
        assert!(!Suppression { rule: "beacon".into(), ..one.clone() }.holds(&sighting("10.0.9.7", "10.0.1.1"), 0));
        assert!(Suppression { rule: "all".into(), ..one }.holds(&sighting("10.0.9.7", "10.0.1.1"), 0));
    }

    #[test]
    fn a_day_is_the_last_one_and_nonsense_is_refused() {
        let until = |until: &str| suppression(&format!("rule = \"all\"\nuntil = \"{until}\"\nreason = \"x\""));
        let day = |text: &str| until(text).expect("a day").until_ms;
        assert_eq!(day("2026-12-25") - day("2026-12-24"), 86_400_000);
        for wrong in ["tomorrow", "2026-13-01", ""] {
            let error = until(wrong).expect_err("no time").to_string();
            assert!(error.contains("neither a day such as"), "{error}");
        }
        assert!(suppression("rule = \"all\"\nreason = \"x\"").is_err(), "without an end");
    }
}
