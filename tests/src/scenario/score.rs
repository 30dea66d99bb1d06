//! Findings against labels: what was found in time, what was missed, what was found that is not there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use anyhow::{Context as _, Result};
use serde_json::Value;

/// A finding may begin so long before, or end so long after what it is about, and still be about it: by then it has been seen in
/// what was averaged, or has been quiet.
const AROUND_MS: u64 = 15 * 60_000;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Severity {
    Low,
    Medium,
    High,
    Critical,
}

impl Severity {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Low, Self::Medium, Self::High, Self::Critical];

    /// By its name.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn named(name: &str) -> Result<Self> {
        let named = Self::ALL.into_iter().find(|severity| format!("{severity:?}").eq_ignore_ascii_case(name));
        named.with_context(|| format!("no severity is called {name}"))
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{self:?}").to_lowercase())
    }
}

/// What flowprobe says of something that it has found.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the names are those of the JSON")]
pub struct Finding {
    pub rule: String,
    pub title: String,
    pub severity: Severity,
    pub first_ms: u64,
    pub last_ms: u64,
    pub detected_ms: u64,
    pub subjects: Vec<String>,
    pub peers: Vec<IpAddr>,
}

impl Finding {
    /// Those in lines of JSON; lines without a rule are something else.
    ///
    /// # Errors
    /// A line is not what a finding looks like.
    pub fn in_lines<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Vec<Self>> {
        let values = lines.into_iter().map(str::trim).filter(|line| line.starts_with('{'));
        let values = values.map(|line| serde_json::from_str::<Value>(line).with_context(|| line.to_owned()));
        let findings = values.filter(|value| value.as_ref().map_or(true, |value| value["rule"].is_string()));
        findings.map(|value| value.and_then(|value| Self::read(&value).with_context(|| value.to_string()))).collect()
    }

    fn read(value: &Value) -> Result<Self> {
        let text = |key: &str| value[key].as_str().map(str::to_owned).with_context(|| format!("no text {key}"));
        let number = |key: &str| value[key].as_u64().with_context(|| format!("no number {key}"));
        let list = |key: &str| -> Result<Vec<&str>> {
            let items = value[key].as_array().with_context(|| format!("no list {key}"))?;
            items.iter().map(|item| item.as_str().with_context(|| format!("not a text in {key}"))).collect()
        };
        Ok(Self {
            rule: text("rule")?,
            title: text("title")?,
            severity: Severity::named(&text("severity")?)?,
            first_ms: number("firstMilliseconds")?,
            last_ms: number("lastMilliseconds")?,
            detected_ms: number("detectedMilliseconds")?,
            subjects: list("subjects")?.into_iter().map(str::to_owned).collect(),
            peers: list("peers")?.into_iter().map(str::parse).collect::<Result<_, _>>()?,
        })
    }

    /// Whether its rule is this one or a kind of it, as `volume-spike` is of `volume`.
    fn is_of(&self, rule: &str) -> bool {
        self.rule.strip_prefix(rule).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }

    /// Whether it names one of these.
    fn names(&self, subjects: &[String]) -> bool {
        subjects.is_empty()
            || self.subjects.iter().any(|subject| subjects.contains(subject))
            || self.peers.iter().any(|peer| subjects.contains(&peer.to_string()))
    }
}

/// Something that should be found.
#[derive(Clone, Debug)]
pub struct Label {
    /// What it is and how strong.
    pub name: String,
    /// Rules of which one must find it; it counts for the first.
    pub rules: Vec<&'static str>,
    /// Rules that tell something true of it, too.
    pub also: Vec<&'static str>,
    /// Whom a finding must name, as its subject or among its peers: one of these; any where there are none.
    pub subjects: Vec<String>,
    /// Who else is concerned.
    pub peers: Vec<IpAddr>,
    /// When it begins, milliseconds since 1970 UTC.
    pub begin_ms: u64,
    /// When it ends.
    pub end_ms: u64,
    /// It must be found within so long of its beginning.
    pub within_ms: u64,
}

impl Label {
    /// Whether a finding is of this time and names whom it concerns.
    fn concerns(&self, finding: &Finding) -> bool {
        let ends_before = finding.last_ms + AROUND_MS < self.begin_ms;
        let begins_after = finding.first_ms > self.end_ms + AROUND_MS;
        !ends_before && !begins_after && finding.names(&self.subjects)
    }

    fn finds(&self, finding: &Finding) -> bool {
        self.rules.iter().any(|rule| finding.is_of(rule)) && self.concerns(finding)
    }

    fn explains(&self, finding: &Finding) -> bool {
        let rules = || self.rules.iter().chain(&self.also);
        rules().any(|rule| finding.is_of(rule)) && self.concerns(finding)
    }
}

/// Findings that tell the truth and are no alarm.
#[derive(Clone, Debug)]
pub struct Tolerance {
    /// Of one of these rules.
    pub rules: Vec<&'static str>,
    /// About one of these.
    pub subjects: Vec<String>,
    /// And no worse than this.
    pub at_most: Severity,
    /// What is true of it.
    pub why: &'static str,
}

impl Tolerance {
    fn allows(&self, finding: &Finding) -> bool {
        self.rules.iter().any(|rule| finding.is_of(rule))
            && finding.severity <= self.at_most
            && finding.subjects.iter().any(|subject| self.subjects.contains(subject))
    }
}

/// What became of a label.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The first of its rules.
    pub rule: &'static str,
    /// Its name.
    pub name: String,
    /// After how long it was found, milliseconds; may be negative where something was said too early.
    pub after_ms: Option<i64>,
    /// How long it may take.
    pub within_ms: u64,
}

/// What a rule has said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Findings of what was labelled.
    pub right: usize,
    /// Findings of what is true and tolerated.
    pub tolerated: usize,
    /// The rest.
    pub wrong: usize,
}

/// The score of one or several days.
#[derive(Clone, Debug, Default)]
pub struct Score {
    /// Where chance began.
    pub seed: u64,
    /// Labels.
    pub results: Vec<Outcome>,
    /// By rule.
    pub said: BTreeMap<String, Said>,
    /// Findings that nothing explains, each with the name of its day.
    pub wrong: Vec<(String, Finding)>,
    /// Tolerated ones.
    pub tolerated: Vec<(String, Finding)>,
}

impl Score {
    /// None yet.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Adds a day and what was found on it. Findings that end before `counts_from_ms` do not count.
    pub fn add(
        &mut self,
        day: &str,
        labels: &[Label],
        tolerances: &[Tolerance],
        findings: &[Finding],
        counts_from_ms: u64,
    ) {
        let findings: Vec<&Finding> = findings.iter().filter(|finding| finding.last_ms >= counts_from_ms).collect();
        for label in labels {
            let found = findings.iter().filter(|finding| label.finds(finding)).map(|finding| finding.detected_ms).min();
            let after = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX) - i64::try_from(label.begin_ms).unwrap_or(0);
            let (rule, name) = (label.rules.first().copied().unwrap_or_default(), label.name.clone());
            self.results.push(Outcome { rule, name, after_ms: found.map(after), within_ms: label.within_ms });
        }
        for finding in findings {
            let said = self.said.entry(finding.rule.clone()).or_default();
            if labels.iter().any(|label| label.explains(finding)) {
                said.right += 1;
            } else if tolerances.iter().any(|tolerance| tolerance.allows(finding)) {
                said.tolerated += 1;
                self.tolerated.push((day.to_owned(), finding.clone()));
            } else {
                said.wrong += 1;
                self.wrong.push((day.to_owned(), finding.clone()));
            }
        }
    }

    /// Labels that were not found, or too late.
    pub fn missed(&self) -> impl Iterator<Item = &Outcome> {
        self.results.iter().filter(|result| !result.is_in_time())
    }

    /// Wrong findings of at least this severity.
    pub fn alarms(&self, at_least: Severity) -> impl Iterator<Item = &(String, Finding)> {
        self.wrong.iter().filter(move |(_, finding)| finding.severity >= at_least)
    }
}

impl Outcome {
    /// Whether it was found, and soon enough.
    #[must_use]
    pub fn is_in_time(&self) -> bool {
        self.after_ms.is_some_and(|ms| ms <= i64::try_from(self.within_ms).unwrap_or(i64::MAX))
    }
}

fn percent(part: usize, whole: usize) -> String {
    match (100 * part).checked_div(whole) {
        Some(percent) => format!("{percent} %"),
        None => "-".to_owned(),
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} (FLOWPROBE_SEED)", self.seed)?;
        writeln!(f, "| rule | scenarios | found | in time | recall | true | tolerated | false | precision |")?;
        writeln!(f, "|---|---|---|---|---|---|---|---|---|")?;
        let rules: BTreeSet<&str> =
            self.results.iter().map(|result| result.rule).chain(self.said.keys().map(String::as_str)).collect();
        for rule in rules {
            let of = || self.results.iter().filter(|result| result.rule == rule);
            let found = of().filter(|result| result.after_ms.is_some()).count();
            let in_time = of().filter(|result| result.is_in_time()).count();
            let said = self.said.get(rule).copied().unwrap_or_default();
            let (recall, precision) = (percent(found, of().count()), percent(said.right, said.right + said.wrong));
            let Said { right, tolerated, wrong } = said;
            let scenarios = of().count();
            writeln!(
                f,
                "| {rule} | {scenarios} | {found} | {in_time} | {recall} | {right} | {tolerated} | {wrong} | {precision} |"
            )?;
        }
        for result in self.missed() {
            let within_s = result.within_ms / 1000;
            match result.after_ms {
                Some(ms) => writeln!(f, "late: {}: after {} s, not {within_s} s", result.name, ms / 1000)?,
                None => writeln!(f, "missed: {}", result.name)?,
            }
        }
        for (kind, findings) in [("false", &self.wrong), ("tolerated", &self.tolerated)] {
            for (day, finding) in findings {
                let Finding { rule, severity, subjects, title, .. } = finding;
                writeln!(f, "{kind}: {day}: {severity} {rule}: {}: {title}", subjects.join(", "))?;
            }
        }
        Ok(())
    }
}
