//! The daemon under test.

use std::io::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;

use crate::namespace::Namespace;
use crate::process::{Finished, Process, patience, read, wait_until};
use crate::truth::{Object, Total, must_balance};

/// A running `flowprobe run --json`.
pub struct Daemon {
    process: Process,
}

/// What a daemon has printed in its life.
#[derive(Debug)]
pub struct Report {
    /// How it ended and what it logged.
    pub finished: Finished,
    /// Its flow records, as far as they were kept.
    pub records: Vec<Object>,
    /// Its accounting objects, oldest first.
    pub accounting: Vec<Object>,
    /// What it said at its end of each address at which it listened.
    pub listeners: Vec<Object>,
    /// What it said at its end of each exporter that it heard.
    pub exporters: Vec<Object>,
}

/// `flowprobe` with these arguments, in a namespace. A daemon keeps history, and has a dashboard, only where these say where: not on this
/// machine.
///
/// # Errors
/// `FLOWPROBE_BIN` is not set.
pub fn flowprobe(namespace: &Namespace, arguments: &[&str]) -> Result<Command> {
    let mut command = namespace.command(binary()?);
    match arguments {
        ["run", others @ ..] => {
            command.arg("run");
            // Before the others, the last of which may want something behind it.
            for flag in ["--store", "--web", "--findings"].into_iter().filter(|flag| !others.contains(flag)) {
                command.args([flag, "none"]);
            }
            command.args(others)
        }
        all => command.args(all),
    };
    Ok(command)
}

/// The daemon's path.
///
/// # Errors
/// `FLOWPROBE_BIN` is not set.
pub fn binary() -> Result<std::ffi::OsString> {
    std::env::var_os("FLOWPROBE_BIN").context("FLOWPROBE_BIN is not set")
}

/// What `flowprobe status` says of the daemon of this process id.
///
/// # Errors
/// It does not answer.
pub fn status_of(pid: u32) -> Result<Value> {
    let socket = format!("/run/flowprobe/{pid}.sock");
    let text = read(Command::new(binary()?).args(["status", "--json", "--socket", &socket]))?;
    serde_json::from_str(&text).with_context(|| text.clone())
}

/// What `flowprobe check-config` says that a daemon with a table of `max_flows`, which prints JSON, may come to have in memory,
/// octets.
///
/// # Errors
/// It does not say so.
pub fn memory_bound(max_flows: u32) -> Result<u64> {
    let mut file = tempfile::NamedTempFile::new()?;
    writeln!(
        file,
        "interfaces = [\"lo\"]\noutput = \"json\"\nstore = \"none\"\nweb = \"none\"\nfindings = \"none\"\nmax-flows = {max_flows}"
    )?;
    let said = read(Command::new(binary()?).arg("check-config").arg(file.path()))?;
    let line = said.lines().find_map(|line| line.strip_prefix("# at most ")).with_context(|| said.clone())?;
    let mebibytes: u64 = line.split(' ').next().unwrap_or_default().parse().with_context(|| line.to_owned())?;
    Ok(mebibytes << 20)
}

impl Daemon {
    /// Starts `flowprobe run --json` with more arguments and waits until it meters every interface and listens at every address
    /// that they name.
    ///
    /// # Errors
    /// It ends before.
    pub fn start(namespace: &Namespace, arguments: &[&str]) -> Result<Self> {
        Self::start_folding(namespace, arguments, |_| true)
    }

    /// The same, with every line that it prints handed to `fold`, which says whether the line is kept for the report; see
    /// [`Process::start_folding`].
    ///
    /// # Errors
    /// It ends before.
    pub fn start_folding(
        namespace: &Namespace,
        arguments: &[&str],
        fold: impl FnMut(&str) -> bool + Send + 'static,
    ) -> Result<Self> {
        let all = [&["run", "--json"], arguments].concat();
        let mut process = Process::start_folding(&mut flowprobe(namespace, &all)?, fold)?;
        let named = |flag: &str| arguments.iter().filter(|argument| **argument == flag).count();
        process.wait_for_error_lines(" metering ", named("-i"))?;
        process.wait_for_error_lines(" listening on ", named("--listen"))?;
        Ok(Self { process })
    }

    /// Starts with the timeouts that most tests want: drains five times a second, flows end two seconds after their last
    /// packet.
    ///
    /// # Errors
    /// It ends before.
    pub fn quick(namespace: &Namespace, arguments: &[&str]) -> Result<Self> {
        Self::start(namespace, &[&["--interval", "200ms", "--idle-timeout", "2s"], arguments].concat())
    }

    /// Waits until its log has `count` lines that contain `text`.
    ///
    /// # Errors
    /// It ends before, or takes too long.
    pub fn wait_for_log(&mut self, text: &str, count: usize) -> Result<()> {
        self.process.wait_for_error_lines(text, count)
    }

    /// Its log so far.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.process.errors()
    }

    /// Waits until it prints a record for which `wanted` holds.
    ///
    /// # Errors
    /// It ends before, or takes too long.
    pub fn wait_for_record(&mut self, what: &str, wanted: impl Fn(&Object) -> bool) -> Result<Object> {
        let line = self.process.wait_for_output(what, |line| record(line).is_some_and(|record| wanted(&record)))?;
        record(&line).context("a record")
    }

    /// Waits until it has printed so many records.
    ///
    /// # Errors
    /// It ends before, or takes too long.
    pub fn wait_for_records(&mut self, count: usize) -> Result<()> {
        let mut missing = count;
        let line = self.process.wait_for_output(&format!("{count} records"), |line| {
            missing -= usize::from(record(line).is_some());
            missing == 0
        });
        line.map(drop)
    }

    /// Waits until the accounting of an interface shows this many packets seen on their way in.
    ///
    /// # Errors
    /// It ends before, or takes too long.
    pub fn wait_until_seen(&mut self, interface: &str, packets: u64) -> Result<()> {
        self.wait_until_seen_in(interface, "ingress", packets)
    }

    /// The same for a direction, `ingress` or `egress`.
    ///
    /// # Errors
    /// It ends before, or takes too long.
    pub fn wait_until_seen_in(&mut self, interface: &str, direction: &str, packets: u64) -> Result<()> {
        let end = Instant::now() + patience();
        let what = format!("{packets} packets seen on {interface}");
        loop {
            let enough = |line: &str| seen(line, interface, direction).is_some_and(|seen| seen >= packets);
            let line = self.process.wait_for_output(&what, enough);
            if line.is_ok() || Instant::now() >= end {
                return line.map(drop);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What `flowprobe status` says of it.
    ///
    /// # Errors
    /// It does not answer.
    pub fn status(&self) -> Result<Value> {
        status_of(self.id())
    }

    /// Waits until `flowprobe status` says something of the sink whose name contains `name`; returns what it says of it.
    ///
    /// # Errors
    /// It takes too long.
    pub fn wait_for_sink(&self, name: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = Value::Null;
        let waited = wait_until(what, || {
            // It answers from its first drain on.
            let status = self.status().unwrap_or_default();
            let sinks = status["sinks"].as_array().cloned().unwrap_or_default();
            let sink = sinks.into_iter().find(|sink| sink["name"].as_str().is_some_and(|found| found.contains(name)));
            last = sink.unwrap_or_default();
            Ok(wanted(&last))
        });
        waited.with_context(|| format!("{last}; {:?}", self.log()))?;
        Ok(last)
    }

    /// Waits until `flowprobe status` says something of the `kind` (`listeners` or `exporters`) for which `wanted` holds;
    /// returns what it says of it.
    ///
    /// # Errors
    /// It takes too long.
    pub fn wait_for_health(&self, kind: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let (mut found, mut last) = (None, Value::Null);
        let waited = wait_until(what, || {
            last = self.status().unwrap_or_default()[kind].take();
            found = last.as_array().and_then(|all| all.iter().find(|one| wanted(one))).cloned();
            Ok(found.is_some())
        });
        waited.with_context(|| format!("{kind}: {last}; {:?}", self.log()))?;
        found.context("waited for nothing")
    }

    /// The records that it has printed so far.
    ///
    /// # Errors
    /// One is no record.
    pub fn printed(&self) -> Result<Vec<Object>> {
        let lines = self.process.output();
        let records = lines.iter().filter(|line| is_record(line));
        records.map(|line| serde_json::from_str(line).with_context(|| line.clone())).collect()
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// It is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Kills it outright.
    ///
    /// # Errors
    /// It is gone.
    pub fn kill(self) -> Result<Finished> {
        self.process.stop(Signal::KILL)
    }

    /// Ends it with SIGTERM; see [`Daemon::stop_with`].
    ///
    /// # Errors
    /// See [`Daemon::stop_with`].
    pub fn stop(self) -> Result<Report> {
        self.stop_with(Signal::TERM)
    }

    /// Ends it, and makes sure of what holds for every run: exit code 0, lines that are JSON, sums that balance in every
    /// accounting object, nothing held at the end, time running forwards in every record that is its own.
    ///
    /// # Errors
    /// One of these does not hold.
    pub fn stop_with(self, signal: Signal) -> Result<Report> {
        let finished = self.process.stop(signal)?;
        ensure!(finished.status.success(), "the daemon ended with {}: {:?}", finished.status, finished.stderr);
        let (mut records, mut accounting) = (Vec::new(), Vec::new());
        let (mut listeners, mut exporters) = (Vec::new(), Vec::new());
        for line in &finished.stdout {
            let value: Value = serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;
            let object = value.as_object().with_context(|| format!("no object: {line}"))?;
            let of = [("accounting", &mut accounting), ("listener", &mut listeners), ("exporter", &mut exporters)];
            let named = |name: &str| object.get(name).and_then(Value::as_object);
            match of.into_iter().find_map(|(name, all)| Some((named(name)?, all))) {
                Some((said, all)) => all.push(said.clone()),
                None => records.push(object.clone()),
            }
        }
        for sum in &accounting {
            must_balance(sum)?;
        }
        for record in records.iter().filter(|record| !was_received(record)) {
            let time = |name| crate::truth::number(record, name);
            ensure!(
                time("flowStartMilliseconds")? <= time("flowEndMilliseconds")?,
                "a flow ends before it starts: {record:?}"
            );
        }
        let report = Report { finished, records, accounting, listeners, exporters };
        for interface in report.interfaces() {
            ensure!(report.term(&interface, "held")? == Total::default(), "{interface}: flows are held at the end");
        }
        Ok(report)
    }
}

impl Report {
    /// A term of the last accounting of what came in on an interface.
    ///
    /// # Errors
    /// There is none.
    pub fn term(&self, interface: &str, term: &str) -> Result<Total> {
        self.term_in(interface, "ingress", term)
    }

    /// The same for a direction, `ingress` or `egress`.
    ///
    /// # Errors
    /// There is none.
    pub fn term_in(&self, interface: &str, direction: &str, term: &str) -> Result<Total> {
        let is = |sum: &Object, name: &str, value: &str| sum.get(name).and_then(Value::as_str) == Some(value);
        let of_both = |sum: &&Object| is(sum, "interface", interface) && is(sum, "direction", direction);
        let last = self.accounting.iter().rev().find(of_both);
        Total::of_term(last.with_context(|| format!("no {direction} accounting of {interface}"))?, term)
    }

    /// The log lines that contain `text`.
    #[must_use]
    pub fn logged(&self, text: &str) -> Vec<&String> {
        self.finished.stderr.iter().filter(|line| line.contains(text)).collect()
    }

    /// The interfaces of which there is accounting.
    #[must_use]
    pub fn interfaces(&self) -> Vec<String> {
        let names = self.accounting.iter().filter_map(|sum| sum.get("interface")?.as_str().map(str::to_owned));
        let mut names: Vec<String> = names.collect();
        names.sort();
        names.dedup();
        names
    }
}

/// Whether a record came from an exporter, rather than from an interface.
#[must_use]
pub fn was_received(record: &Object) -> bool {
    ["exporterIPv4Address", "exporterIPv6Address"].iter().any(|name| record.contains_key(*name))
}

/// Whether a line of JSON is a record, rather than what the daemon says of itself.
fn is_record(line: &str) -> bool {
    !["{\"accounting\"", "{\"listener\"", "{\"exporter\""].iter().any(|start| line.starts_with(start))
}

fn record(line: &str) -> Option<Object> {
    is_record(line).then(|| serde_json::from_str::<Object>(line).ok())?
}

fn seen(line: &str, interface: &str, direction: &str) -> Option<u64> {
    let value: Value = serde_json::from_str(line).ok()?;
    let accounting = &value["accounting"];
    (accounting["interface"] == interface && accounting["direction"] == direction)
        .then(|| accounting["seen"]["packets"].as_u64())?
}
