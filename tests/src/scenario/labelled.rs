//! Findings against a Zeek log of connections in which somebody has labelled each: who attacks, and who does not.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use anyhow::{Context as _, Result};

use super::score::{Finding, Severity};

/// What a label says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Judgement {
    /// `Malicious`.
    Attack,
    /// `Benign`.
    Benign,
    /// `Background` and what else there is: nobody knows.
    Unknown,
}

/// A labelled connection.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Who began it.
    pub source: IpAddr,
    /// With whom.
    pub destination: IpAddr,
    /// What it is.
    pub judgement: Judgement,
    /// What kind of it.
    pub detail: String,
}

/// Reads a log of tab-separated columns, of which `#fields` has the names.
///
/// # Errors
/// A column is missing, or an address is none.
pub fn read(log: &str) -> Result<Vec<Connection>> {
    let fields = log.lines().find_map(|line| line.strip_prefix("#fields\t")).context("no #fields")?;
    let column =
        |name: &str| fields.split('\t').position(|field| field == name).with_context(|| format!("no column {name}"));
    let columns = [column("id.orig_h")?, column("id.resp_h")?, column("label")?, column("detailedlabel")?];
    let rows = log.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    rows.map(|row| {
        let cells: Vec<&str> = row.split('\t').collect();
        let cell =
            |column: usize| cells.get(column).copied().with_context(|| format!("a row with too few columns: {row}"));
        let judgement = match cell(columns[2])? {
            "Malicious" => Judgement::Attack,
            "Benign" => Judgement::Benign,
            _ => Judgement::Unknown,
        };
        let [source, destination] = [cell(columns[0])?.parse()?, cell(columns[1])?.parse()?];
        Ok(Connection { source, destination, judgement, detail: cell(columns[3])?.to_owned() })
    })
    .collect()
}

/// How much of the attacks is covered, and what was said of others.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    /// Attack connections by their kind: all, and those whose source is covered.
    pub connections: BTreeMap<String, (usize, usize)>,
    /// Addresses that attack.
    pub attackers: BTreeSet<IpAddr>,
    /// Those that are covered.
    pub covered: BTreeSet<IpAddr>,
    /// By rule and severity: all findings, and those whose subjects and peers are all benign by label.
    pub findings: BTreeMap<(String, Severity), (usize, usize)>,
    /// The latter.
    pub benign: Vec<Finding>,
}

impl Coverage {
    /// Of these findings over these connections.
    #[must_use]
    pub fn of(connections: &[Connection], findings: &[Finding]) -> Self {
        let attacks = || connections.iter().filter(|connection| connection.judgement == Judgement::Attack);
        let attackers: BTreeSet<IpAddr> = attacks().map(|attack| attack.source).collect();
        let victims: BTreeSet<IpAddr> = attacks().map(|attack| attack.destination).collect();
        let mut named: BTreeSet<IpAddr> = BTreeSet::new();
        for finding in findings {
            named.extend(finding.subjects.iter().filter_map(|subject| subject.parse::<IpAddr>().ok()));
            named.extend(&finding.peers);
        }
        let mut coverage = Self::default();
        // Who is a victim as well is covered only as a subject.
        let accused = |address: &IpAddr| findings.iter().any(|finding| finding.subjects.contains(&address.to_string()));
        let is_covered =
            |address: &&IpAddr| named.contains(*address) && (!victims.contains(*address) || accused(address));
        coverage.covered = attackers.iter().filter(is_covered).copied().collect();
        for attack in attacks() {
            let (all, covered) = coverage.connections.entry(attack.detail.clone()).or_default();
            *all += 1;
            *covered += usize::from(coverage.covered.contains(&attack.source));
        }
        let concerned: BTreeSet<IpAddr> = attackers.union(&victims).copied().collect();
        let pairs = Pairs::of(connections, &attackers);
        for finding in findings {
            let is_benign = pairs.are_benign(finding, &concerned);
            let (all, benign) = coverage.findings.entry((finding.rule.clone(), finding.severity)).or_default();
            *all += 1;
            *benign += usize::from(is_benign);
            if is_benign {
                coverage.benign.push(finding.clone());
            }
        }
        coverage.attackers = attackers;
        coverage
    }

    /// Findings of at least this severity that are benign by label.
    pub fn alarms(&self, at_least: Severity) -> impl Iterator<Item = &Finding> {
        self.benign.iter().filter(move |finding| finding.severity >= at_least)
    }

    /// The share of attack connections whose source is covered.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    pub fn share_of_connections(&self) -> f64 {
        let (all, covered) =
            self.connections.values().fold((0, 0), |sum, (all, covered)| (sum.0 + all, sum.1 + covered));
        if all == 0 { 1.0 } else { covered as f64 / all as f64 }
    }

    /// The share of attacking addresses that are covered.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    pub fn share_of_addresses(&self) -> f64 {
        if self.attackers.is_empty() { 1.0 } else { self.covered.len() as f64 / self.attackers.len() as f64 }
    }
}

/// Who has to do with whom, by label.
struct Pairs {
    attack: BTreeSet<(IpAddr, IpAddr)>,
    benign: BTreeSet<IpAddr>,
    attackers: BTreeSet<IpAddr>,
}

impl Pairs {
    fn of(connections: &[Connection], attackers: &BTreeSet<IpAddr>) -> Self {
        let mut pairs = Self { attack: BTreeSet::new(), benign: BTreeSet::new(), attackers: attackers.clone() };
        for connection in connections {
            let (source, destination) = (connection.source, connection.destination);
            match connection.judgement {
                Judgement::Attack => pairs.attack.extend([(source, destination), (destination, source)]),
                Judgement::Benign => pairs.benign.extend([source, destination]),
                Judgement::Unknown => {}
            }
        }
        pairs
    }

    /// Whether it concerns nothing but benign traffic: no attacker is in it, no two that attack each other, and somebody is benign.
    fn are_benign(&self, finding: &Finding, concerned: &BTreeSet<IpAddr>) -> bool {
        let subjects: Vec<IpAddr> = finding.subjects.iter().filter_map(|subject| subject.parse().ok()).collect();
        let all = || subjects.iter().chain(&finding.peers);
        let accuses = all().any(|address| self.attackers.contains(address) && !self.benign.contains(address));
        let attack =
            subjects.iter().any(|subject| finding.peers.iter().any(|peer| self.attack.contains(&(*subject, *peer))));
        let attacked_alone = finding.peers.is_empty() && subjects.iter().any(|subject| concerned.contains(subject));
        !accuses && !attack && !attacked_alone && all().any(|address| self.benign.contains(address))
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |part: f64| format!("{:.1} %", part * 100.0);
        writeln!(f, "| attack flows | all | covered |")?;
        writeln!(f, "|---|---|---|")?;
        for (detail, (all, covered)) in &self.connections {
            writeln!(f, "| {detail} | {all} | {covered} |")?;
        }
        let (all, covered) = (self.attackers.len(), self.covered.len());
        writeln!(f, "flows covered: {}", percent(self.share_of_connections()))?;
        writeln!(f, "attacking addresses covered: {covered} of {all}, {}", percent(self.share_of_addresses()))?;
        writeln!(f, "| rule | severity | findings | benign by label |")?;
        writeln!(f, "|---|---|---|---|")?;
        for ((rule, severity), (all, benign)) in &self.findings {
            writeln!(f, "| {rule} | {severity} | {all} | {benign} |")?;
        }
        for finding in &self.benign {
            writeln!(
                f,
                "benign: {} {}: {}: {}",
                finding.severity,
                finding.rule,
                finding.subjects.join(", "),
                finding.title
            )?;
        }
        Ok(())
    }
}
