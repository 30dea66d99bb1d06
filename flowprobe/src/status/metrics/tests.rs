//! The page, its two formats, and what else has the names of metrics: `docs/metrics.md`, the dashboard and the rules of alerts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::super::snapshot::example;
use super::*;

/// Set to write the page in `docs/` instead of comparing it.
const RENEW: &str = "FLOWPROBE_RENEW_DOCS";

#[test]
fn the_page_has_every_number_of_the_snapshot() {
    let page = open_metrics(&example());
    for line in [
        "flowprobe_build_info{version=\"1.2.3\"} 1",
        "flowprobe_uptime_seconds 3725",
        "flowprobe_open_flows 9",
        "flowprobe_opened_flows_total 4321",
        "flowprobe_drains_total 3700",
        "flowprobe_drain_seconds_total 46.5",
        "flowprobe_last_drain_seconds 0.0125",
        "flowprobe_last_drain_timestamp_seconds 1700000000.0",
        "flowprobe_interface_metered{interface=\"eth0\",hook=\"native XDP\"} 1",
        "flowprobe_interface_metered{interface=\"eth1\",hook=\"\"} 0",
        "flowprobe_packets_total{interface=\"eth0\",direction=\"ingress\",term=\"sampledOut\"} 3",
        "flowprobe_bytes_total{interface=\"eth0\",direction=\"ingress\",term=\"seen\"} 10000",
        "flowprobe_held_packets{interface=\"eth0\",direction=\"ingress\"} 9",
        "flowprobe_held_bytes{interface=\"eth0\",direction=\"ingress\"} 900",
        "flowprobe_accounting_balances{interface=\"eth0\",direction=\"ingress\"} 1",
        "flowprobe_overflow_packets_total{interface=\"eth0\",direction=\"ingress\",protocol=\"tcp\"} 15",
        "flowprobe_unparsed_bytes_total{interface=\"eth0\",direction=\"ingress\",reason=\"notIp\"} 100",
        "flowprobe_sink_lost_packets_total{sink=\"udp://192.0.2.1:4739\"} 5",
        "flowprobe_sink_queue_events{sink=\"udp://192.0.2.1:4739\"} 11",
        "flowprobe_sink_queue_capacity_events{sink=\"udp://192.0.2.1:4739\"} 128",
        "flowprobe_collector_away{sink=\"udp://192.0.2.1:4739\"} 1",
        "flowprobe_collector_sent_records_total{sink=\"udp://192.0.2.1:4739\"} 900",
        "flowprobe_collector_waiting_bytes{sink=\"udp://192.0.2.1:4739\"} 6000",
        "flowprobe_collector_skipped_records_total{sink=\"udp://192.0.2.1:4739\"} 7",
        "flowprobe_collector_skipped_bytes_total{sink=\"udp://192.0.2.1:4739\"} 900",
        "flowprobe_store_records_total 5000",
        "flowprobe_store_waiting_records 12",
        "flowprobe_store_bytes 123456",
        "flowprobe_store_partitions 3",
        "flowprobe_store_deleted_partitions_total 1",
        "flowprobe_store_failing 1",
        "flowprobe_store_remote_partitions_total 20",
        "flowprobe_store_remote_bytes_total 654321",
        "flowprobe_store_remote_waiting_partitions 2",
        "flowprobe_store_remote_missed_partitions_total 1",
        "flowprobe_store_remote_failing 1",
        "flowprobe_store_remote_problems_total 4",
        "flowprobe_enrichment_loaded_timestamp_seconds{file=\"/var/lib/GeoIP/GeoLite2-ASN.mmdb\"} 1699999000.0",
        "flowprobe_enrichment_failing{file=\"/var/lib/GeoIP/GeoLite2-ASN.mmdb\"} 1",
        "flowprobe_enrichment_reloads_total{file=\"/var/lib/GeoIP/GeoLite2-ASN.mmdb\"} 2",
        "flowprobe_reverse_dns_names_total 7",
        "flowprobe_reverse_dns_known 8",
        "flowprobe_listener_kernel_drops_total{listener=\"udp://0.0.0.0:2055\"} 9",
        "flowprobe_exporter_missing{listener=\"udp://0.0.0.0:2055\",exporter=\"fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd\",domain=\"4294967295\",version=\"10\"} 5",
        "flowprobe_exporter_clock_skew_seconds{listener=\"udp://0.0.0.0:2055\",exporter=\"fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd\",domain=\"4294967295\",version=\"10\"} -1.5",
        "flowprobe_findings_open{severity=\"high\"} 1",
        "flowprobe_findings_open{severity=\"critical\"} 0",
        "flowprobe_findings_rule_open{rule=\"port-scan\"} 33",
        "flowprobe_findings_rule_opened_total{rule=\"port-scan\"} 44",
        "flowprobe_findings_kept 55",
        "flowprobe_findings_forgotten_total 1",
        "flowprobe_findings_unsaved 1",
        "flowprobe_findings_failed_saves_total 6",
        "flowprobe_findings_stopped 0",
        "flowprobe_findings_suppressed_sightings_total 7",
        "flowprobe_findings_seen_flows_total 120000",
        "flowprobe_findings_missed_flows_total 12",
        "flowprobe_detector_entries{detector=\"scan\"} 900",
        "flowprobe_detector_forgotten_entries_total{detector=\"scan\"} 3",
        "flowprobe_findings_sink_sent_changes_total{sink=\"webhook https://alerts.example\"} 40",
        "flowprobe_findings_sink_waiting_changes{sink=\"webhook https://alerts.example\"} 5",
        "flowprobe_findings_sink_failed_changes_total{sink=\"webhook https://alerts.example\"} 2",
        "flowprobe_findings_sink_refused_changes_total{sink=\"webhook https://alerts.example\"} 1",
        "flowprobe_findings_sink_failed_attempts_total{sink=\"webhook https://alerts.example\"} 9",
        "flowprobe_findings_sink_failing{sink=\"webhook https://alerts.example\"} 1",
        "flowprobe_findings_sink_failed_saves_total{sink=\"webhook https://alerts.example\"} 4",
        "flowprobe_findings_sink_unsaved{sink=\"webhook https://alerts.example\"} 1",
        "process_cpu_seconds_total 12.25",
        "process_resident_memory_bytes 91234304",
        "process_open_fds 33",
        "process_start_time_seconds 1699996275.0",
        "# HELP flowprobe_sink_lost_records Records that a sink was to take and that went nowhere.",
        "# TYPE flowprobe_packets counter",
    ] {
        assert!(page.lines().any(|found| found == line), "`{line}` is not in\n{page}");
    }
    assert!(page.ends_with("# EOF\n") && !page.contains("term=\"held\""));
}

#[test]
fn a_sum_that_does_not_hold_is_told_and_what_there_is_not_has_no_metrics() {
    let mut snapshot = example();
    // More than a double can tell apart.
    snapshot.accounting[0].seen.octets += (1 << 60) + 1;
    snapshot.accounting[0].exported.octets += 1 << 60;
    snapshot.history = None;
    snapshot.findings = None;
    snapshot.enrichment.reverse_dns = None;
    snapshot.process = None;
    let page = open_metrics(&snapshot);
    assert!(page.contains("flowprobe_accounting_balances{interface=\"eth0\",direction=\"ingress\"} 0\n"), "{page}");
    for prefix in
        ["flowprobe_store_", "flowprobe_findings_", "flowprobe_detector_", "flowprobe_reverse_dns_", "process_"]
    {
        assert!(!page.contains(prefix), "{prefix}: {page}");
    }
}

#[test]
fn who_asks_for_open_metrics_gets_it_and_everybody_else_what_all_read() {
    let snapshot = example();
    let prometheus_2 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                        text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                        text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    for accept in [prometheus_2, prometheus_3, "application/openmetrics-text", "Application/OpenMetrics-Text ; q=0.1"] {
        let (kind, page) = exposition(&snapshot, Some(accept));
        assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8", "{accept}");
        assert!(page.contains("# TYPE flowprobe_packets counter\n") && page.ends_with("# EOF\n"), "{accept}: {page}");
    }
    for accept in [
        None,
        Some(""),
        Some("*/*"),
        Some("text/html,*/*;q=0.8"),
        Some("text/plain;version=0.0.4"),
        Some("application/openmetrics-text;q=0,text/plain"),
        Some("application/openmetrics-text;q=0.4,text/plain;q=0.5"),
        Some("application/openmetrics-text-of-another-kind"),
    ] {
        let (kind, page) = exposition(&snapshot, accept);
        assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8", "{accept:?}");
        assert!(page.contains("# TYPE flowprobe_packets_total counter\n") && !page.contains("# EOF"), "{page}");
    }
}

#[test]
fn both_formats_have_the_same_samples_and_each_metric_has_one() {
    let mut snapshot = example();
    snapshot.sinks[0].name = "a \"name\" with \\ and\nall".to_owned();
    let samples = |page: &str| -> BTreeSet<String> {
        page.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    };
    let (_, plain) = exposition(&snapshot, None);
    assert_eq!(samples(&plain), samples(&open_metrics(&snapshot)));
    assert!(plain.contains("{sink=\"a \\\"name\\\" with \\\\ and\\nall\"}"), "{plain}");
    let metrics = metrics(&plain);
    assert!(metrics.len() > 100, "{}", metrics.len());
    for Metric { name, help, kind, labels } in metrics {
        assert!(labels.is_some(), "{name} has no sample: the example does not have it");
        assert!(help.ends_with('.') && !help.ends_with(".."), "{name}: {help}");
        // What `promtool check metrics` holds against others.
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
        for unit in ["hours", "octets", "milliseconds", "count"] {
            assert!(!name.split('_').any(|part| part == unit), "{name}");
        }
    }
}

/// What a page says of a metric.
#[derive(Default)]
struct Metric<'a> {
    name: &'a str,
    help: &'a str,
    kind: &'a str,
    /// The names of its labels, where it has a sample.
    labels: Option<Vec<&'a str>>,
}

/// The metrics of a page, in its order.
fn metrics(page: &str) -> Vec<Metric<'_>> {
    let mut metrics: Vec<Metric<'_>> = Vec::new();
    for line in page.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            metrics.push(Metric { name, help, ..Metric::default() });
            continue;
        }
        let metric = metrics.last_mut().expect("help comes first");
        let kind = line.strip_prefix("# TYPE ").and_then(|rest| rest.strip_prefix(metric.name));
        if let Some(kind) = kind {
            metric.kind = kind.trim();
            continue;
        }
        assert_eq!(line.split(['{', ' ']).next(), Some(metric.name), "{line}");
        // No value of the example has a comma in it.
        let labels = line.split(['{', ',']).skip(1).filter_map(|label| Some(label.split_once("=\"")?.0));
        metric.labels = Some(labels.collect());
    }
    metrics
}

fn docs(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(file)
}

fn read(file: &str) -> String {
    std::fs::read_to_string(docs(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The titles of the page's tables, and how the names in each begin. Each metric is in the first that it fits.
const TABLES: [(&str, &[&str]); 10] = [
    ("Process", &["process_", "flowprobe_build_", "flowprobe_uptime_"]),
    ("Accounting", &["flowprobe_packets_", "flowprobe_bytes_", "flowprobe_held_", "flowprobe_accounting_"]),
    ("What is in no record", &["flowprobe_overflow_", "flowprobe_unparsed_"]),
    ("Sinks and collectors", &["flowprobe_sink_", "flowprobe_collector_"]),
    ("History", &["flowprobe_store_"]),
    ("Findings", &["flowprobe_findings_", "flowprobe_detector_"]),
    ("Enrichment", &["flowprobe_enrichment_", "flowprobe_reverse_dns_"]),
    ("Listeners", &["flowprobe_listener_"]),
    ("Exporters", &["flowprobe_exporter_"]),
    ("Drains and interfaces", &["flowprobe_"]),
];

#[test]
fn the_page_of_metrics_has_all_of_them() {
    let (_, page) = exposition(&example(), None);
    let metrics = metrics(&page);
    let mut rows: BTreeMap<&str, String> = BTreeMap::new();
    for Metric { name, help, kind, labels } in &metrics {
        let fits = |(_, prefixes): &&(&str, &[&str])| prefixes.iter().any(|prefix| name.starts_with(prefix));
        let (title, _) = TABLES.iter().find(fits).expect("the last fits all");
        let labels: Vec<String> = labels.iter().flatten().map(|label| format!("`{label}`")).collect();
        let row = format!("| `{name}` | {kind} | {} | {help} |\n", labels.join(", "));
        rows.entry(title).or_default().push_str(&row);
    }
    let written = read("metrics.md");
    let (before, rest) = written.split_once("<!-- metrics -->\n").expect("a place for them");
    let (_, after) = rest.split_once("<!-- end of metrics -->\n").expect("its end");
    let mut page = format!("{before}<!-- metrics -->\n");
    for (title, _) in TABLES {
        let rows = rows.get(title).unwrap_or_else(|| panic!("{title} has no metrics"));
        page.push_str(&format!(
            "\n### {title}\n\n| metric | type | labels | what it says |\n| --- | --- | --- | --- |\n{rows}"
        ));
    }
    page.push_str(&format!("\n<!-- end of metrics -->\n{after}"));
    if std::env::var_os(RENEW).is_some() {
        std::fs::write(docs("metrics.md"), &page).expect("the page can be written");
        return;
    }
    assert!(written == page, "docs/metrics.md is out of date: run this test with {RENEW}=1");
}

/// The words of a text that could be a metric's name: `flowprobe_…` and `process_…`.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
    words.filter(|word| word.starts_with("flowprobe_") || word.starts_with("process_")).collect()
}

/// All texts of a JSON value under this name, wherever they are.
fn texts<'a>(value: &'a Value, wanted: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                match value {
                    Value::String(text) if name == wanted => found.push(text),
                    _ => texts(value, wanted, found),
                }
            }
        }
        Value::Array(all) => all.iter().for_each(|value| texts(value, wanted, found)),
        _ => {}
    }
}

#[test]
fn the_dashboard_and_the_alerts_name_no_metric_that_there_is_not() {
    let (_, page) = exposition(&example(), None);
    let metrics = metrics(&page);
    let dashboard: Value = serde_json::from_str(&read("grafana/flowprobe.json")).expect("JSON");
    let mut expressions = Vec::new();
    texts(&dashboard, "expr", &mut expressions);
    texts(&dashboard, "query", &mut expressions);
    assert!(expressions.len() > 20, "{}", expressions.len());
    let (alerts, rules) = (read("prometheus/alerts.yml"), read("prometheus/alerts_test.yml"));
    for text in expressions.into_iter().chain([&alerts[..], &rules]) {
        for name in names(text) {
            assert!(metrics.iter().any(|metric| metric.name == name), "no metric `{name}`: {text}");
        }
    }
}

#[test]
fn each_alert_is_tried_says_what_to_do_and_is_on_the_page() {
    let (alerts, rules, page) = (read("prometheus/alerts.yml"), read("prometheus/alerts_test.yml"), read("metrics.md"));
    let all: Vec<&str> = alerts.split("- alert: ").skip(1).collect();
    assert!(all.len() > 15, "{}", all.len());
    for alert in &all {
        let name = alert.lines().next().unwrap_or_default();
        let severity = alert.split_once("severity: ").and_then(|(_, rest)| rest.lines().next()).unwrap_or_default();
        assert!(matches!(severity, "critical" | "warning"), "{name}: {severity}");
        assert!(alert.contains("summary: ") && alert.contains("description: "), "{name}");
        assert!(rules.contains(&format!("alertname=\"{name}\"")), "{name} is not tried");
        assert!(page.contains(&format!("| `{name}` | {severity} | ")), "{name} is not on the page");
    }
    assert_eq!(page.matches("| `Flowprobe").count(), all.len(), "the page has alerts that there are not");
}

#[test]
fn the_dashboard_asks_the_source_that_is_chosen_and_its_panels_can_be_told_apart() {
    let dashboard: Value = serde_json::from_str(&read("grafana/flowprobe.json")).expect("JSON");
    let mut ids = BTreeSet::new();
    let panels = dashboard["panels"].as_array().expect("panels");
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{panel}");
        assert!(panel["title"].as_str().is_some_and(|title| !title.is_empty()), "{panel}");
        if panel["type"] == "row" {
            continue;
        }
        assert!(panel["description"].as_str().is_some_and(|text| text.ends_with('.')), "{panel}");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{panel}");
        for target in panel["targets"].as_array().expect("targets") {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{target}");
        }
    }
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    let named: Vec<&str> = variables.iter().filter_map(|variable| variable["name"].as_str()).collect();
    for name in ["datasource", "instance", "interface"] {
        assert!(named.contains(&name), "{named:?}");
    }
    // Grafana fills this in: a dashboard of another installation would ask for what is not there.
    assert!(dashboard.get("__inputs").is_none() && dashboard["id"].is_null(), "{dashboard}");
}
