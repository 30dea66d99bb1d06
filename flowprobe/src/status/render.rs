//! A snapshot as a table of at most 80 columns.

use std::fmt::Write as _;

use super::{Amount, SinkStatus, Snapshot, Sum};
use crate::collect::{Exporter, Listener, Listening};
use crate::detect;
use crate::enrich;
use crate::export::Condition;
use crate::summary::protocol_name;

/// Columns of what stands before the numbers.
const LABEL: usize = 38;
/// Columns of a number: the largest of 64 bits has 20 digits.
const NUMBER: usize = 20;

/// The table, with a line feed at the end of each line.
pub(super) fn table(snapshot: &Snapshot) -> String {
    let mut text = String::new();
    let mut line = |line: String| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}", line.trim_end());
    };
    let Snapshot { version, pid, uptime_seconds, drain_seconds, open_flows, .. } = snapshot;
    line(format!("flowprobe {version} · process {pid} · up {}", uptime(*uptime_seconds)));
    line(format!("{open_flows} open flows · the last drain took {:.1} ms", drain_seconds * 1000.0));
    if let Some(url) = &snapshot.web {
        line(format!("dashboard: {url}"));
    }
    for interface in &snapshot.interfaces {
        let hook = interface.hook.as_deref().unwrap_or("not metered: it is not there");
        line(format!("{}: {hook}", interface.name));
    }
    for sum in &snapshot.accounting {
        accounting(sum, &mut line);
    }
    if !snapshot.sinks.is_empty() {
        line(String::new());
        let number = 13;
        line(format!(
            "{:LABEL$}{:>number$}{:>number$}{:>number$}",
            "Lost on the way out", "records", "packets", "octets"
        ));
        for sink in &snapshot.sinks {
            let (name, lost) = (fitting(&sink.name, LABEL - 3), &sink.lost);
            let numbers = format!("{:>number$}{:>number$}{:>number$}", lost.records, lost.packets, lost.octets);
            line(format!("  {name:width$}{numbers}", width = LABEL - 2));
        }
    }
    collectors(&snapshot.sinks, &mut line);
    history(snapshot, &mut line);
    if let Some(found) = &snapshot.findings {
        findings(found, &mut line);
    }
    enrichment(snapshot, &mut line);
    listeners(snapshot, &mut line);
    text
}

/// Where history is kept, and how that goes.
fn history(snapshot: &Snapshot, line: &mut impl FnMut(String)) {
    let Some(history) = &snapshot.history else { return };
    let number = 13;
    line(String::new());
    line(format!("{:LABEL$}{:>number$}{:>number$}{:>number$}", "History", "stored", "waiting", "hours"));
    let numbers =
        format!("{:>number$}{:>number$}{:>number$}", history.stored_records, history.waiting_records, history.hours);
    line(format!("  {:width$}{numbers}", fitting(&history.folder, LABEL - 3), width = LABEL - 2));
    if let Some(problem) = &history.problem {
        line(format!("  not written: {}", fitting(problem, 60)));
    }
    let Some(remote) = &history.remote else { return };
    line(String::new());
    line(format!(
        "{:LABEL$}{:>number$}{:>number$}{:>number$}",
        "Hours of history elsewhere", "sent", "waiting", "missed"
    ));
    let numbers =
        format!("{:>number$}{:>number$}{:>number$}", remote.sent_hours, remote.waiting_hours, remote.missed_hours);
    line(format!("  {:width$}{numbers}", fitting(&remote.name, LABEL - 3), width = LABEL - 2));
    if let Some(problem) = &remote.problem {
        line(format!("  not sent: {}", fitting(problem, 68)));
    }
}

/// What looks wrong, and how those fare that are told.
fn findings(found: &detect::Condition, line: &mut impl FnMut(String)) {
    let (open, number) = (found.open, 10);
    line(String::new());
    line(format!(
        "{:LABEL$}{:>number$}{:>number$}{:>number$}{:>number$}",
        "Findings", "critical", "high", "medium", "low"
    ));
    let numbers = [open.critical, open.high, open.medium, open.low].map(|count| format!("{count:>number$}")).concat();
    line(format!("  {:width$}{numbers}", "open", width = LABEL - 2));
    for one in &found.worst {
        line(format!("      {:<9}{}", one.severity.to_string(), beginning(&one.title, 64)));
    }
    for (what, count) in [
        ("suppressed sightings", found.suppressed),
        ("flows that were not looked at, the queue was full", found.missed_flows),
        ("findings that there was no room for", found.forgotten),
    ] {
        if count > 0 {
            line(format!("  {what}: {count}"));
        }
    }
    if let Some(problem) = &found.problem {
        line(format!("  not kept over a restart: {}", fitting(problem, 50)));
    }
    if found.has_failed {
        line("  NOTHING IS LOOKED FOR: THE THREAD HAS FAILED, SEE THE LOG".to_owned());
    }
    if found.sinks.is_empty() {
        return;
    }
    let number = 13;
    line(String::new());
    line(format!("{:LABEL$}{:>number$}{:>number$}{:>number$}", "Changes of findings told", "sent", "waiting", "lost"));
    for sink in &found.sinks {
        let numbers = format!("{:>number$}{:>number$}{:>number$}", sink.sent, sink.waiting, sink.failed + sink.refused);
        line(format!("  {:width$}{numbers}", fitting(&sink.name, LABEL - 3), width = LABEL - 2));
        if let Some(trouble) = &sink.trouble {
            line(format!("      not delivered: {}", beginning(trouble, 58)));
        }
        if let Some(unsaved) = &sink.unsaved {
            line(format!("      what waits is not on disk: {}", beginning(unsaved, 46)));
        }
    }
}

/// Where names come from, and since when.
fn enrichment(snapshot: &Snapshot, line: &mut impl FnMut(String)) {
    let enrich::Condition { files, reverse_dns } = &snapshot.enrichment;
    let number = 13;
    if !files.is_empty() {
        line(String::new());
        line(format!("{:LABEL$}{:>number$}{:>number$}{:>number$}", "Names", "in use for", "reloads", "failed"));
    }
    for file in files {
        let since = uptime(snapshot.drained_milliseconds.saturating_sub(file.loaded_milliseconds) / 1000);
        let numbers = format!("{since:>number$}{:>number$}{:>number$}", file.reloads, file.failed_reloads);
        line(format!("  {:width$}{numbers}", fitting(&file.path, LABEL - 3), width = LABEL - 2));
        line(format!("      {}: {}", file.key, fitting(&file.contents, 60)));
        if let Some(problem) = &file.problem {
            line(format!("      cannot be used now: {}", beginning(problem, 50)));
        }
    }
    if let Some(names) = reverse_dns {
        line(String::new());
        line(format!("{:LABEL$}{:>number$}{:>number$}{:>number$}", "Names of addresses", "asked", "found", "refused"));
        let numbers = format!("{:>number$}{:>number$}{:>number$}", names.asked, names.found, names.refused);
        line(format!("  {:width$}{numbers}", "reverse DNS", width = LABEL - 2));
    }
}

/// Who is heard, and what is missing of what they say.
fn listeners(snapshot: &Snapshot, line: &mut impl FnMut(String)) {
    let Listening { listeners, exporters } = &snapshot.listening;
    if listeners.is_empty() {
        return;
    }
    let number = 13;
    line(String::new());
    line(format!("{:LABEL$}{:>number$}{:>number$}{:>number$}", "Listeners", "messages", "refused", "dropped"));
    for Listener { socket, decoded } in listeners {
        let numbers = format!(
            "{:>number$}{:>number$}{:>number$}",
            socket.messages,
            socket.refused,
            socket.kernel_drops + socket.truncated
        );
        line(format!("  {:width$}{numbers}", fitting(&socket.url, LABEL - 3), width = LABEL - 2));
        for (fault, count) in &decoded.faults {
            line(format!("      {fault:width$}{count:>number$}", width = LABEL - 6));
        }
    }
    if exporters.is_empty() {
        return;
    }
    line(String::new());
    line(format!("{:LABEL$}{:>number$}{:>number$}{:>number$}", "Exporters", "records", "missing", "faults"));
    for Exporter { health, .. } in exporters {
        let address = health.address.map_or(String::new(), |address| address.to_string());
        let ago = uptime(snapshot.drained_milliseconds.saturating_sub(health.last_seen_ms) / 1000);
        let faults: u64 = health.faults.values().sum::<u64>() + health.dropped_sets;
        let rest = format!(" v{} {} ({ago} ago)", health.version, health.domain);
        let name = format!("{}{rest}", fitting(&address, (LABEL - 3).saturating_sub(rest.chars().count()).max(8)));
        let numbers = format!("{:>number$}{:>number$}{faults:>number$}", health.records, health.missing);
        line(format!("  {name:width$}{numbers}", width = LABEL - 2));
        for (fault, count) in &health.faults {
            line(format!(
                "      {:width$}{count:>room$}",
                fitting(fault, LABEL - 7),
                width = LABEL - 6,
                room = 3 * number
            ));
        }
        for (what, count) in [
            ("sets without template", health.dropped_sets),
            ("came twice", health.duplicates),
            ("restarts", health.restarts),
        ] {
            if count > 0 {
                line(format!("      {what:width$}{count:>room$}", width = LABEL - 6, room = 3 * number));
            }
        }
    }
}

/// What has become of the records that are not lost.
fn collectors(sinks: &[SinkStatus], line: &mut impl FnMut(String)) {
    let all: Vec<_> = sinks.iter().filter_map(|sink| Some((&sink.name, sink.collector?))).collect();
    if all.is_empty() {
        return;
    }
    let number = 13;
    line(String::new());
    line(format!("{:LABEL$}{:>number$}{:>number$}{:>number$}", "Records of collectors", "sent", "waiting", "skipped"));
    for (name, collector) in all {
        let state = if collector.is_away { " (away)" } else { "" };
        let name = format!("{}{state}", fitting(name, LABEL - 3 - state.len()));
        let Condition { sent_records, waiting_records, skipped, .. } = collector;
        let numbers = format!("{sent_records:>number$}{waiting_records:>number$}{:>number$}", skipped.records);
        line(format!("  {name:width$}{numbers}", width = LABEL - 2));
    }
}

fn accounting(sum: &Sum, line: &mut impl FnMut(String)) {
    line(String::new());
    let title = fitting(&format!("{} {}", sum.interface, sum.direction), LABEL - 1);
    line(format!("{title:LABEL$}{:>NUMBER$}{:>NUMBER$}", "packets", "octets"));
    for (name, amount, breakdown) in sum.terms() {
        let sign = match name {
            "seen" => ' ',
            "exported" => '=',
            _ => '+',
        };
        line(row(&format!("{sign} {name}"), amount));
        for (part, amount) in breakdown.into_iter().flatten() {
            line(row(&format!("      {part}"), *amount));
        }
        if name == "overflow" {
            for to in &sum.overflow_by_destination {
                let label = format!("      to {} {}", to.destination, protocol_name(to.protocol_identifier));
                line(row(&label, Amount { packets: to.packets, octets: to.octets }));
            }
        }
    }
    if !sum.balances() {
        line("  THIS DOES NOT ADD UP".to_owned());
    }
}

fn row(label: &str, amount: Amount) -> String {
    format!("{:LABEL$}{:>NUMBER$}{:>NUMBER$}", fitting(label, LABEL - 1), amount.packets, amount.octets)
}

/// The end of a name that is too long, since that tells more.
fn fitting(name: &str, room: usize) -> String {
    let length = name.chars().count();
    if length <= room {
        return name.to_owned();
    }
    let end: String = name.chars().skip(length + 1 - room).collect();
    format!("…{end}")
}

/// The beginning of a sentence that is too long.
fn beginning(sentence: &str, room: usize) -> String {
    if sentence.chars().count() <= room {
        return sentence.to_owned();
    }
    let beginning: String = sentence.chars().take(room.saturating_sub(1)).collect();
    format!("{beginning}…")
}

fn uptime(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::snapshot::example;
    use super::*;

    #[test]
    fn every_term_has_a_line_and_none_is_too_long() {
        let mut snapshot = example();
        snapshot.sinks[0].name = format!("udp://[{}]:4739", "2001:db8::".repeat(8));
        snapshot.accounting[0].held.octets += 1;
        let text = table(&snapshot);
        let expected = "\
flowprobe 1.2.3 · process 77 · up 1 h 2 min
9 open flows · the last drain took 12.5 ms
dashboard: http://127.0.0.1:8739
eth0: native XDP
eth1: not metered: it is not there

eth0 ingress                                       packets              octets
  seen                                                 100               10000
= exported                                              60                6000
+ held                                                   9                 901
+ overflow                                              20                2000
      tcp                                               15                1500
      udp                                                5                 500
      to 192.0.2.7/32 TCP                               14                1400
+ unparsed                                               1                 100
      notIp                                              1                 100
+ sampledOut                                             3                 300
+ filteredOut                                            7                 700
  THIS DOES NOT ADD UP

Lost on the way out                         records      packets       octets
  …01:db8::2001:db8::2001:db8::]:4739             4            5          600

Records of collectors                          sent      waiting      skipped
  …:2001:db8::2001:db8::]:4739 (away)           900           50            7

History                                      stored      waiting        hours
  /var/lib/flowprobe/store                     5000           12            3
  not written: tmp/x: No space left on device (os error 28)

Hours of history elsewhere                     sent      waiting       missed
  s3://bucket/flowprobe                          20            2            1
  not sent: hour=2026-11-24T09: Connection refused (os error 111)

Findings                                critical      high    medium       low
  open                                         0         1         2        30
      high     172.16.0.8 scans ports of 64.13.134.52
      medium   10.0.0.17 talks to 203.0.113.66 like a machine 10.0.0.17 talks …
  suppressed sightings: 7
  flows that were not looked at, the queue was full: 12
  findings that there was no room for: 1
  not kept over a restart: No space left on device (os error 28)

Changes of findings told                       sent      waiting         lost
  webhook https://alerts.example                 40            5            3
      not delivered: Connection refused (os error 111)
      what waits is not on disk: Read-only file system (os error 30)

Names                                    in use for      reloads       failed
  /var/lib/GeoIP/GeoLite2-ASN.mmdb      16 min 40 s            2            1
      mmdb: GeoLite2-ASN of 2026-11-24
      cannot be used now: it is no MMDB file: it is cut off

Names of addresses                            asked        found      refused
  reverse DNS                                     9            7            1

Listeners                                  messages      refused      dropped
  udp://0.0.0.0:2055                             77            8            9
      unsupportedVersion                          3

Exporters                                   records      missing       faults
  …dfd:fdfd v10 4294967295 (10 s ago)          1234            5            3
      shortRecord                                                           3
      came twice                                                            2
";
        assert_eq!(text, expected);
        assert!(text.lines().all(|line| line.chars().count() <= 80));
    }
}
