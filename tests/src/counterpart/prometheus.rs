//! A real Prometheus, which scrapes a daemon once a second, and its promtool.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::namespace::Namespace;
use crate::process::{Process, wait_until};
use crate::rest;

/// Where it listens.
const ADDRESS: &str = "127.0.0.1:9090";

/// A running Prometheus with a store of its own.
pub struct Prometheus<'a> {
    room: &'a Namespace,
    _process: Process,
    _folder: TempDir,
}

impl<'a> Prometheus<'a> {
    /// Starts one in a namespace that scrapes `target`, an address and a port, as the job `flowprobe`, and goes by these rules.
    ///
    /// # Errors
    /// It ends before it is ready.
    pub fn start(room: &'a Namespace, target: &str, rules: &Path) -> Result<Self> {
        Self::start_with(room, target, rules, &[])
    }

    /// The same with more lines of the job's configuration.
    ///
    /// # Errors
    /// As [`Prometheus::start`].
    pub fn start_with(room: &'a Namespace, target: &str, rules: &Path, lines: &[String]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let config = folder.path().join("prometheus.yml");
        let text = format!(
            "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\nrule_files:\n  - {}\nscrape_configs:\n  \
             - job_name: flowprobe\n    static_configs:\n      - targets: [\"{target}\"]\n{}",
            rules.display(),
            lines.iter().map(|line| format!("    {line}\n")).collect::<String>()
        );
        fs::write(&config, text)?;
        let mut command = room.command("prometheus");
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()));
        command.args([&format!("--web.listen-address={ADDRESS}"), "--log.level=warn"]);
        let process = Process::start(&mut command)?;
        let is_ready = || Ok(rest::get(room, &url("/-/ready"), &[]).is_ok_and(|answer| answer.status == 200));
        wait_until("a Prometheus that is ready", is_ready).with_context(|| format!("{:?}", process.errors()))?;
        Ok(Self { room, _process: process, _folder: folder })
    }

    /// What a question in PromQL has as its answer: its samples, each with its labels and its value.
    ///
    /// # Errors
    /// The question is none.
    pub fn query(&self, question: &str) -> Result<Vec<Sample>> {
        let answer = rest::get_json(self.room, &url(&format!("/api/v1/query?query={}", encoded(question))));
        let answer = answer.with_context(|| question.to_owned())?;
        let samples = answer["data"]["result"].as_array().context("no list")?;
        samples.iter().map(|sample| Sample::of(sample).with_context(|| sample.to_string())).collect()
    }

    /// The only value that a question has as its answer; none while there is none.
    ///
    /// # Errors
    /// The question is none, or has several.
    pub fn value(&self, question: &str) -> Result<Option<f64>> {
        let samples = self.query(question)?;
        ensure!(samples.len() < 2, "{question}: {samples:?}");
        Ok(samples.first().map(|sample| sample.value))
    }

    /// What another path of its API answers.
    ///
    /// # Errors
    /// There is no such path.
    pub fn api(&self, path: &str) -> Result<Value> {
        Ok(rest::get_json(self.room, &url(&format!("/api/v1/{path}")))?["data"].take())
    }
}

/// A sample.
#[derive(Debug)]
pub struct Sample {
    /// Its labels, an object.
    pub labels: Value,
    /// Its value.
    pub value: f64,
}

impl Sample {
    fn of(json: &Value) -> Result<Self> {
        let value = json["value"][1].as_str().context("no value")?.parse()?;
        Ok(Self { labels: json["metric"].clone(), value })
    }
}

/// What promtool says with these arguments, of an input if there is one.
///
/// # Errors
/// It is not content.
pub fn promtool(arguments: &[&str], input: Option<&Path>) -> Result<String> {
    let mut command = Command::new("promtool");
    match input {
        Some(file) => command.stdin(File::open(file)?),
        None => command.stdin(Stdio::null()),
    };
    let output = command.args(arguments).output().context("cannot start promtool")?;
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    ensure!(output.status.success(), "promtool {arguments:?}: {}: {said}", output.status);
    Ok(said)
}

/// A file in `docs/`.
#[must_use]
pub fn docs(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(file)
}

fn url(path: &str) -> String {
    format!("http://{ADDRESS}{path}")
}

/// A text as a value in the query of a URL.
fn encoded(text: &str) -> String {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.' | b'~');
    text.bytes()
        .map(|octet| if plain(octet) { char::from(octet).to_string() } else { format!("%{octet:02X}") })
        .collect()
}
