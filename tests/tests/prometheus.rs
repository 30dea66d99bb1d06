//! Holds that a real Prometheus reads what the daemon says at `/metrics`, in both formats, and has its numbers; that promtool finds nothing
//! to complain about; and that the dashboard's questions and the rules of alerts, all of them, have answers.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context as _, Result, ensure};
use flowprobe_tests::certificates::Certificates;
use flowprobe_tests::counterpart::prometheus::{Prometheus, docs, promtool};
use flowprobe_tests::daemon::Daemon;
use flowprobe_tests::exporting::{ExportingProcess, Layout, Sender};
use flowprobe_tests::inject;
use flowprobe_tests::knowledge::Knowledge;
use flowprobe_tests::listening::{HERE, flows};
use flowprobe_tests::namespace::Namespace;
use flowprobe_tests::process::wait_until;
use flowprobe_tests::{require, rest};
use serde_json::Value;
use tempfile::TempDir;

/// Where the daemon serves.
const WEB: &str = "127.0.0.1:8739";

/// Nobody is there.
const COLLECTOR: &str = "tcp://127.0.0.1:4739";

/// What Prometheus asks with.
const OPEN_METRICS: &str = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

/// A daemon that has something to say of nearly all that it can: it meters an interface, listens, keeps history, knows names, and has a
/// collector that is away.
struct Probe {
    daemon: Daemon,
    _folder: TempDir,
    _names: Knowledge,
}

impl Probe {
    fn start(room: &Namespace) -> Result<Self> {
        let (folder, names) = (TempDir::new()?, Knowledge::new()?);
        names.put_database("as.mmdb", &[("0.0.0.0/1", 64_500, "DE")])?;
        let store = folder.path().join("store").display().to_string();
        let spool = folder.path().join("spool").display().to_string();
        let (listen, database) = (format!("udp://{HERE}"), names.argument("as.mmdb"));
        let mut arguments = vec!["-i", "vb", "--web", WEB, "--listen", &listen, "--store", &store, "--mmdb", &database];
        arguments.extend(["--collector", COLLECTOR, "--spool", &spool]);
        let daemon = Daemon::quick(room, &arguments)?;
        Ok(Self { daemon, _folder: folder, _names: names })
    }

    /// Gives it packets of all kinds of which some carry no flow, and records of an exporter, one of whose messages is missing and
    /// one is wrong; and waits until all of it is counted, and no flow is open.
    fn busy(&mut self, room: &Namespace) -> Result<()> {
        let sent = inject::send_flows(room, "va", "vb", 1)?.sum().packets;
        let arp = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1, 8, 6], &[0; 46]].concat();
        inject::send(room, "va", "vb", &[arp.clone(), arp])?;
        let sender = Sender::new(room, "127.0.0.3:9000", HERE)?;
        let mut process = ExportingProcess::new(10, 1);
        let layout = Layout::plain(256, &process);
        for turn in 0..3 {
            let data = flows(turn * 20, 20, &process);
            let message = process.message(&[layout.template(), layout.data(&data, &process)]);
            if turn != 1 {
                sender.send(&message)?;
            }
        }
        sender.send(&[0, 10, 0, 3])?;
        self.daemon.wait_until_seen("vb", sent + 2)?;
        wait_until("all that is counted", || {
            let status = self.daemon.status()?;
            let held =
                status["accounting"].as_array().is_some_and(|sums| sums.iter().all(|sum| sum["held"]["packets"] == 0));
            Ok(held && status["openFlows"] == 0 && status["exporters"][0]["missing"] == 20)
        })
        .with_context(|| format!("{}", self.daemon.status().unwrap_or_default()))
    }
}

/// The page as it is said to `accept`, of the content type that it has to have.
fn page(room: &Namespace, accept: &str, content_type: &str) -> Result<String> {
    let answer = rest::get(room, &format!("http://{WEB}/metrics"), &[("Accept", accept)])?;
    ensure!(answer.status == 200 && answer.header("content-type") == content_type, "{answer:?}");
    Ok(answer.body)
}

fn plain(room: &Namespace) -> Result<String> {
    page(room, "*/*", "text/plain; version=0.0.4; charset=utf-8")
}

/// The names of the metrics on a page that have samples.
fn names(page: &str) -> BTreeSet<&str> {
    page.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split(['{', ' ']).next()).collect()
}

#[test]
fn promtool_has_nothing_to_say_of_the_page_and_the_rules_hold() -> Result<()> {
    require!("promtool");
    let room = Namespace::with_pair()?;
    let mut probe = Probe::start(&room)?;
    probe.busy(&room)?;
    let folder = TempDir::new()?;
    let file = folder.path().join("page.txt");
    let plain = plain(&room)?;
    fs::write(&file, &plain)?;
    let said = promtool(&["check", "metrics"], Some(&file))?;
    ensure!(said.is_empty(), "{said}");
    let names = names(&plain);
    ensure!(names.len() > 90, "{names:?}");
    let open = page(&room, OPEN_METRICS, "application/openmetrics-text; version=1.0.0; charset=utf-8")?;
    ensure!(open.ends_with("# EOF\n") && self::names(&open) == names, "{open}");

    // It would notice: a counter that is not called one, and a metric without help.
    fs::write(&file, "# HELP other Something.\n# TYPE other counter\nother 1\nmore 1\n")?;
    ensure!(promtool(&["check", "metrics"], Some(&file)).is_err(), "it takes everything");
    for arguments in [["check", "rules", "prometheus/alerts.yml"], ["test", "rules", "prometheus/alerts_test.yml"]] {
        let [verb, what, file] = arguments;
        let said = promtool(&[verb, what, &docs(file).display().to_string()], None)?;
        ensure!(said.contains("SUCCESS"), "{said}");
    }
    probe.daemon.stop().map(drop)
}

#[test]
fn prometheus_has_the_numbers_of_the_daemon() -> Result<()> {
    require!("prometheus");
    let room = Namespace::with_pair()?;
    let mut probe = Probe::start(&room)?;
    let prometheus = Prometheus::start(&room, WEB, &docs("prometheus/alerts.yml"))?;
    probe.busy(&room)?;
    let status = probe.daemon.status()?;
    let sum = &status["accounting"][0];
    let seen = sum["seen"]["packets"].as_f64().context("packets")?;
    ensure!(seen >= 202.0 && sum["unparsed"]["packets"] == 2, "{sum}");
    let of = |what: &str, term: &str| {
        format!("flowprobe_{what}_total{{interface=\"vb\",direction=\"ingress\",term=\"{term}\"}}")
    };
    wait_until("a scrape after the last packet", || Ok(prometheus.value(&of("packets", "seen"))? == Some(seen)))?;
    for term in ["seen", "exported", "overflow", "unparsed", "sampledOut", "filteredOut"] {
        for (what, key) in [("packets", "packets"), ("bytes", "octets")] {
            let (scraped, said) = (prometheus.value(&of(what, term))?, sum[term][key].as_f64());
            ensure!(scraped.is_some() && scraped == said, "{term} {what}: {scraped:?} instead of {said:?}");
        }
    }
    let sink = |name: &str| format!("{name}{{sink=\"{COLLECTOR}\"}}");
    let exporter = |name: &str| format!("{name}{{exporter=\"127.0.0.3\"}}");
    for (question, value) in [
        ("up{job=\"flowprobe\"}".to_owned(), 1.0),
        ("flowprobe_held_packets{interface=\"vb\"}".to_owned(), 0.0),
        ("flowprobe_accounting_balances".to_owned(), 1.0),
        ("flowprobe_interface_metered{interface=\"vb\"}".to_owned(), 1.0),
        (sink("flowprobe_collector_away"), 1.0),
        (sink("flowprobe_sink_lost_records_total"), 0.0),
        (sink("flowprobe_sink_queue_capacity_events"), 128.0),
        (exporter("flowprobe_exporter_records_total"), 40.0),
        (exporter("flowprobe_exporter_missing"), 20.0),
        ("max(flowprobe_enrichment_failing)".to_owned(), 0.0),
        ("flowprobe_store_failing".to_owned(), 0.0),
    ] {
        ensure!(prometheus.value(&question)? == Some(value), "{question}: {:?}", prometheus.query(&question)?);
    }
    let age = prometheus.value("time() - process_start_time_seconds and on (instance) flowprobe_build_info")?;
    ensure!(age.is_some_and(|age| (-2.0..3600.0).contains(&age)), "{age:?} s old");
    probe.daemon.stop().map(drop)
}

#[test]
fn prometheus_shows_a_token_over_tls_and_is_refused_without() -> Result<()> {
    require!("prometheus", "openssl");
    let room = Namespace::with_pair()?;
    let certificates = Certificates::new()?;
    let token = certificates.text("token", "txt");
    fs::write(&token, "0123456789abcdef0123456789abcdef\n")?;
    let (certificate, key) = (certificates.text("server", "pem"), certificates.text("server", "key"));
    let secure = ["--web-token", &token, "--web-certificate", &certificate, "--web-key", &key];
    let daemon = Daemon::quick(&room, &[&["-i", "vb", "--web", WEB], &secure[..]].concat())?;
    let tls = [
        "scheme: https".to_owned(),
        "tls_config:".to_owned(),
        format!("  ca_file: {}", certificates.text("ca", "pem")),
    ];
    let shown = ["authorization:".to_owned(), format!("  credentials_file: {token}")];
    for (lines, is_up) in [([&tls[..], &shown].concat(), 1.0), (tls.to_vec(), 0.0)] {
        let prometheus = Prometheus::start_with(&room, WEB, &docs("prometheus/alerts.yml"), &lines)?;
        wait_until("a scrape", || Ok(prometheus.value("up")? == Some(is_up)))
            .with_context(|| format!("{lines:?}: {:?}", prometheus.query("up")))?;
        ensure!(prometheus.query("flowprobe_build_info")?.is_empty() == (is_up == 0.0), "{lines:?}");
    }
    daemon.stop().map(drop)
}

#[test]
fn all_questions_of_the_dashboard_and_all_alerts_have_answers() -> Result<()> {
    require!("prometheus");
    let room = Namespace::with_pair()?;
    let mut probe = Probe::start(&room)?;
    let prometheus = Prometheus::start(&room, WEB, &docs("prometheus/alerts.yml"))?;
    probe.busy(&room)?;
    let page = plain(&room)?;
    let there = names(&page);
    // A rate takes two scrapes.
    let scrapes = "count_over_time(flowprobe_unparsed_packets_total{interface=\"vb\"}[1m]) > 2";
    wait_until("some scrapes", || Ok(!prometheus.query(scrapes)?.is_empty()))?;
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(docs("grafana/flowprobe.json"))?)?;
    let mut answered = 0;
    for panel in dashboard["panels"].as_array().context("panels")? {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let question = target["expr"].as_str().context("a question")?;
            let samples = prometheus.query(&filled_in(question)).with_context(|| panel["title"].to_string())?;
            let words = question.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
            let mut metrics = words.filter(|word| word.starts_with("flowprobe_") || word.starts_with("process_"));
            let is_there = metrics.all(|name| there.contains(name));
            ensure!(samples.is_empty() != is_there, "{}: {question}: {samples:?}", panel["title"]);
            answered += usize::from(is_there);
        }
    }
    ensure!(answered > 45, "only {answered} questions have answers");
    for variable in dashboard["templating"]["list"].as_array().context("variables")? {
        let Some(inner) = variable["definition"].as_str().and_then(|text| text.strip_prefix("label_values(")) else {
            continue;
        };
        let (_, label) = inner.trim_end_matches(')').rsplit_once(", ").context("a label")?;
        let values = prometheus.api(&format!("label/{label}/values"))?;
        ensure!(values.as_array().is_some_and(|values| !values.is_empty()), "{variable}");
    }
    alerts(&prometheus)?;
    probe.daemon.stop().map(drop)
}

/// A question as Grafana asks it where everything is chosen.
fn filled_in(question: &str) -> String {
    ["$job", "$instance", "$interface"]
        .iter()
        .fold(question.replace("$__rate_interval", "1m"), |text, variable| text.replace(variable, ".*"))
}

/// Every rule can be worked out, and the only things that are wrong here are the collector and the exporter.
fn alerts(prometheus: &Prometheus<'_>) -> Result<()> {
    let mut rules = Vec::new();
    wait_until("rules that were worked out", || {
        let groups = prometheus.api("rules")?;
        rules = groups["groups"][0]["rules"].as_array().cloned().unwrap_or_default();
        Ok(rules.len() > 15 && rules.iter().all(|rule| rule["health"] != "unknown"))
    })?;
    for rule in &rules {
        ensure!(rule["health"] == "ok", "{rule}");
        let name = rule["name"].as_str().unwrap_or_default();
        let is_wrong = name == "FlowprobeCollectorAway" || name.starts_with("FlowprobeExporter");
        ensure!(rule["state"] == "inactive" || is_wrong, "{rule}");
        ensure!(name != "FlowprobeCollectorAway" || rule["state"] == "pending", "{rule}");
    }
    Ok(())
}
