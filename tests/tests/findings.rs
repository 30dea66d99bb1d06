//! Holds that `flowprobe replay --detect` finds what is wrong in labelled days, in time, and hardly anything else; `FLOWPROBE_SEED` gives
//! other days.

use std::collections::BTreeMap;
use std::fs;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use flowprobe_tests::captures::shared;
use flowprobe_tests::daemon::binary;
use flowprobe_tests::scenario::attacks::{Family, INDICATORS, LabelledDay, SETTINGS, ordinary_day};
use flowprobe_tests::scenario::labelled::{self, Coverage};
use flowprobe_tests::scenario::ordinary::Kind;
use flowprobe_tests::scenario::score::{Finding, Score, Severity};
use flowprobe_tests::scenario::{ipfix, seed};
use flowprobe_tests::{require, skip};
use tempfile::TempDir;

/// What is found in a file.
fn findings_in(file: &Path, settings: Option<&Path>) -> Result<Vec<Finding>> {
    let mut command = Command::new(binary()?);
    command.args(["replay", "--detect", "--json"]);
    if let Some(settings) = settings {
        command.arg("--findings").arg(settings);
    }
    let output = command.arg(file).output()?;
    ensure!(output.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&output.stderr));
    Finding::in_lines(std::str::from_utf8(&output.stdout)?.lines())
}

/// What is found on a day, which adds to the score.
fn replay(day: &LabelledDay, folder: &Path, score: &mut Score) -> Result<()> {
    let (file, list, settings) = (folder.join("day.ipfix"), folder.join("listed"), folder.join("findings.toml"));
    ipfix::write(&day.records, &mut BufWriter::new(fs::File::create(&file)?))?;
    fs::write(&list, INDICATORS)?;
    fs::write(&settings, SETTINGS.replace("{indicators}", list.to_str().context("a path that is text")?))?;
    let started = Instant::now();
    let findings = findings_in(&file, day.configured.then_some(&settings))?;
    let (records, seconds) = (day.records.len(), started.elapsed().as_secs_f64());
    println!("{}: {records} records, {} findings in {seconds:.1} s", day.name, findings.len());
    score.add(&day.name, &day.labels, &day.tolerances, &findings, day.counts_from_ms);
    Ok(())
}

#[test]
fn ordinary_days_are_calm() -> Result<()> {
    require!();
    let folder = TempDir::new()?;
    let mut score = Score::new(seed());
    for kind in Kind::ALL {
        replay(&ordinary_day(kind, seed()), folder.path(), &mut score)?;
    }
    println!("{score}");
    let alarms = score.alarms(Severity::High).count();
    ensure!(alarms == 0, "{alarms} alarms on ordinary days, seed {}", seed());
    Ok(())
}

#[test]
fn what_is_labelled_is_found_in_time() -> Result<()> {
    require!();
    let folder = TempDir::new()?;
    let mut score = Score::new(seed());
    for (family, kind) in Family::ALL.into_iter().zip(Kind::ALL.into_iter().cycle()) {
        replay(&family.day(kind, seed()), folder.path(), &mut score)?;
    }
    println!("{score}");
    let missed: Vec<&str> = score.missed().map(|outcome| outcome.name.as_str()).collect();
    ensure!(missed.is_empty(), "missed or late, seed {}: {missed:?}", seed());
    let alarms = score.alarms(Severity::High).count();
    ensure!(alarms == 0, "{alarms} alarms about nothing, seed {}", seed());
    Ok(())
}

/// A labelled log as an IPFIX file.
fn converted(log: &Path, folder: &Path) -> Result<PathBuf> {
    let file = folder.join("labelled.ipfix");
    let tool = shared("tools/zeek_to_ipfix.py").context("no converter")?;
    let output = Command::new("python3").arg(tool).args([log, &file]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(file)
}

#[test]
fn labelled_logs_of_others_are_covered() -> Result<()> {
    require!("python3");
    let Some(logs) = shared("corpus/labelled") else {
        skip::note("labelled_logs_of_others_are_covered", "no labelled logs beside this checkout");
        return Ok(());
    };
    let folder = TempDir::new()?;
    let mut rules = BTreeMap::new();
    for log in fs::read_dir(logs)? {
        let log = log?.path();
        let name = log.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !name.ends_with(".labeled") {
            continue;
        }
        let findings = findings_in(&converted(&log, folder.path())?, None)?;
        let coverage = Coverage::of(&labelled::read(&fs::read_to_string(&log)?)?, &findings);
        println!("{name}\n{coverage}");
        let alarms = coverage.alarms(Severity::High).count();
        ensure!(alarms == 0, "{name}: {alarms} alarms about what is benign");
        if name.contains("mixed") {
            let share = coverage.share_of_connections();
            ensure!(share >= 0.9, "{name}: {share:.3} of the attack flows are covered");
        }
        rules.insert(name, findings.into_iter().map(|finding| finding.rule).collect::<Vec<_>>());
    }
    let found = |log: &str, rule: &str| {
        rules.iter().any(|(name, rules)| name.contains(log) && rules.iter().any(|said| said == rule))
    };
    ensure!(found("001-cc", "beacon"), "no beacon in the log of a command and control server: {rules:?}");
    Ok(())
}
