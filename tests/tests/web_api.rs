//! Holds that the API answers what its OpenAPI document says, with the numbers that `flowprobe query` has and that were sent.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use flowprobe_tests::daemon::{Daemon, status_of};
use flowprobe_tests::history::query;
use flowprobe_tests::http::Http;
use flowprobe_tests::knowledge::Knowledge;
use flowprobe_tests::listening::{HERE, of_all_kinds, tell};
use flowprobe_tests::namespace::Namespace;
use flowprobe_tests::process::{read, wait_until};
use flowprobe_tests::require;
use serde_json::Value;

const WEB: &str = "127.0.0.1:8739";

/// A daemon that has heard so many records, and knows where their addresses are.
fn heard(room: &Namespace, store: &str, count: u32) -> Result<Daemon> {
    let files = Knowledge::new()?;
    files.put_database("as.mmdb", &[("0.0.0.0/1", 64_500, "DE"), ("128.0.0.0/1", 64_501, "FR")])?;
    let (listen, database) = (format!("udp://{HERE}"), files.argument("as.mmdb"));
    let interval = ["--interval", "200ms", "-i", "va"];
    let history = ["--listen", &listen, "--store", store, "--mmdb", &database, "--web", WEB];
    let daemon = Daemon::start(room, &[&interval[..], &history].concat())?;
    tell(room, count, of_all_kinds)?;
    let pid = daemon.id();
    let is_written = || Ok(status_of(pid).is_ok_and(|status| status["history"]["storedRecords"] == count));
    wait_until("records that are written", is_written)?;
    Ok(daemon)
}

/// The last hour, and a bit of the one that comes, as parameters and as flags of `flowprobe query`.
fn times(http: &Http<'_>) -> Result<[String; 2]> {
    let last = http.json("/api/v1/totals?last=1h")?;
    let at = |name: &str| last[name].as_i64().context("a time");
    let minute = |ms: i64| ms.div_euclid(60_000) * 60_000;
    Ok([minute(at("fromMilliseconds")?), minute(at("toMilliseconds")?) + 120_000].map(|ms| ms.to_string()))
}

/// What holds answers against the document: the validators of Python, who have not written either.
const VALIDATOR: &str = include_str!("../src/openapi.py");

/// What the validators say of answers, each with the path that it is of; nothing where Python does not have them.
fn validated(document: &Value, answers: &[(String, Value)]) -> Result<Option<String>> {
    let found = Command::new("python3").args(["-c", "import openapi_spec_validator"]).stderr(Stdio::null()).status()?;
    if !found.success() {
        return Ok(None);
    }
    let mut python = Command::new("python3")
        .args(["-c", VALIDATOR])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut input = python.stdin.take().context("no input")?;
    serde_json::to_writer(&mut input, &serde_json::json!([document, answers]))?;
    input.flush()?;
    drop(input);
    let outcome = python.wait_with_output()?;
    ensure!(outcome.status.success(), "{}", String::from_utf8_lossy(&outcome.stderr));
    Ok(Some(String::from_utf8_lossy(&outcome.stdout).trim().to_owned()))
}

#[test]
fn answers_are_what_the_openapi_document_says() -> Result<()> {
    require!();
    let room = Namespace::with_pair()?;
    let folder = tempfile::tempdir()?;
    let _daemon = heard(&room, &folder.path().join("store").display().to_string(), 400)?;
    let http = Http::new(&room, WEB)?;
    let document = http.json("/api/v1/openapi.json")?;
    let paths = document["paths"].as_object().context("paths")?;
    ensure!(paths.len() > 20, "{}", paths.len());
    let mut answers = Vec::new();
    for (path, operation) in paths {
        let at = path.replace("{address}", "10.0.0.1");
        answers.push((path.clone(), http.json(&at)?));
        let wrong = http.get(&format!("{at}?nonsense=1"))?;
        ensure!(wrong.status == 400 && wrong.json()?["parameter"] == "nonsense", "{path}: {}", wrong.text());
        for parameter in operation["get"]["parameters"].as_array().into_iter().flatten() {
            let Some(name) = parameter["$ref"].as_str().and_then(|it| it.rsplit('/').next()) else { continue };
            let known = &document["components"]["parameters"][name];
            let name = known["name"].as_str().context("a name")?;
            let value = match name {
                "last" => "15m",
                "from" | "to" => "2026-11-24T10:00:00Z",
                "address" | "source" | "destination" => "10.0.0.0/8",
                "protocol" => "udp",
                "icmp" => "8/0",
                "interface" => "va",
                "country" => "de",
                "label" => "office",
                "exporter" => "127.0.0.3",
                "step" => "60s",
                "as" => "AS64500",
                "port" => "53",
                "rule" => "port-scan",
                "id" => "6b0daca1-2",
                "top" | "prefix" | "prefix6" | "seconds" => "7",
                // The first of those that are listed.
                _ => known["schema"]["enum"][0].as_str().context("a choice")?,
            };
            let also = match name {
                "from" => "&to=2026-11-24T11:00:00Z",
                "to" => "&from=2026-11-24T09:00:00Z",
                _ => "",
            };
            answers.push((path.clone(), http.json(&format!("{at}?{name}={value}{also}"))?));
            let refused = http.get(&format!("{at}?{name}=%00{also}"))?;
            // Of names anything may be asked for.
            let is_free = ["interface", "label"].contains(&name);
            ensure!(
                is_free || (refused.status == 400 && refused.json()?["parameter"] == name),
                "{path} {name}: {}",
                refused.text()
            );
        }
        let csv = &operation["get"]["responses"]["200"]["content"]["text/csv"];
        if !csv.is_null() {
            let rows = answers.iter().find(|(of, _)| of == path).context("an answer")?.1["rows"]
                .as_array()
                .context("rows")?
                .len();
            let csv = http.get(&format!("{at}?format=csv"))?;
            ensure!(csv.header("content-type").is_some_and(|kind| kind.starts_with("text/csv")), "{}", csv.head);
            ensure!(csv.text().lines().count() == rows + 1, "{path}: {}", csv.text());
        }
    }
    match validated(&document, &answers)? {
        Some(count) => ensure!(count == answers.len().to_string(), "{count}"),
        None => eprintln!("NO VALIDATOR: not installed: openapi-spec-validator for python3"),
    }
    Ok(())
}

/// Paths of the API, and the questions that have the same rows.
const QUESTIONS: [(&str, &[&str]); 12] = [
    ("top/addresses", &["talkers"]),
    ("top/sources", &["sources"]),
    ("top/destinations", &["destinations"]),
    ("top/networks", &["networks"]),
    ("top/protocols", &["protocols"]),
    ("top/services", &["ports"]),
    ("top/icmp", &["icmp"]),
    ("top/countries", &["countries"]),
    ("top/systems", &["systems"]),
    ("top/exporters", &["exporters"]),
    ("conversations", &["conversations"]),
    ("records", &["records"]),
];

#[test]
fn the_api_has_the_numbers_of_query_and_of_what_was_sent() -> Result<()> {
    require!();
    let room = Namespace::with_pair()?;
    let folder = tempfile::tempdir()?;
    let daemon = heard(&room, &folder.path().join("store").display().to_string(), 400)?;
    let http = Http::new(&room, WEB)?;
    let [from, to] = times(&http)?;
    let socket = format!("/run/flowprobe/{}.sock", daemon.id());
    let moment = |ms: &str| -> Result<String> {
        let seconds = ms.parse::<i64>()? / 1000;
        Ok(read(Command::new("date").args(["-u", "-d", &format!("@{seconds}"), "+%Y-%m-%dT%H:%M:%SZ"]))?
            .trim()
            .to_owned())
    };
    let (from_text, to_text) = (moment(&from)?, moment(&to)?);
    for (filters, flags) in
        [("", &[][..]), ("&protocol=udp&source=10.0.0.0/24", &["--protocol", "udp", "--source", "10.0.0.0/24"])]
    {
        for (path, question) in QUESTIONS {
            let of_api = http.json(&format!("/api/v1/{path}?from={from}&to={to}&top=50&by=packets{filters}"))?;
            let asked = [
                question,
                &["--from", &from_text, "--to", &to_text, "--top", "50", "--by", "packets", "--socket", &socket],
                flags,
            ]
            .concat();
            let of_query = query(&asked)?;
            ensure!(of_api == of_query, "{path}{filters}:\n{of_api}\n{of_query}");
        }
    }
    let totals = http.json(&format!("/api/v1/totals?from={from}&to={to}"))?;
    ensure!(totals["total"]["flows"] == 400, "{totals}");
    for group in ["none", "protocol", "service", "icmp", "source", "destination", "exporter"] {
        let series = http.json(&format!("/api/v1/series?from={from}&to={to}&group={group}&top=3"))?;
        ensure!(series["total"] == totals["total"], "{group}: {series}");
        let of_groups: i64 = series["groups"]
            .as_array()
            .context("groups")?
            .iter()
            .flat_map(|group| group["octets"].as_array())
            .flatten()
            .filter_map(Value::as_i64)
            .sum();
        let of_icmp_or_ports = group == "icmp" || group == "service";
        ensure!(of_icmp_or_ports || Some(of_groups) == totals["total"]["octets"].as_i64(), "{group}: {series}");
        let seconds: f64 = series["seconds"].as_array().context("seconds")?.iter().filter_map(Value::as_f64).sum();
        ensure!((seconds - 3720.0).abs() < 61.0, "{seconds}");
    }
    let top = http.json(&format!("/api/v1/top/addresses?from={from}&to={to}&top=1"))?["rows"][0].clone();
    let host =
        http.json(&format!("/api/v1/hosts/{}?from={from}&to={to}", top["address"].as_str().context("an address")?))?;
    for (way, name) in [("sent", "octetsSent"), ("received", "octetsReceived")] {
        ensure!(host[way]["octets"] == top[name], "{host}\n{top}");
        let in_steps: i64 =
            host["series"][way]["octets"].as_array().context("steps")?.iter().filter_map(Value::as_i64).sum();
        ensure!(Some(in_steps) == top[name].as_i64(), "{host}");
    }
    ensure!(
        host["names"]["countryCode"] == top["countryCode"]
            && top["countryCode"].is_string()
            && !host["firstMilliseconds"].is_null(),
        "{host}"
    );
    Ok(())
}

#[test]
fn the_last_seconds_are_those_of_what_goes_by() -> Result<()> {
    require!("ping");
    let (here, there) = (Namespace::new()?, Namespace::new()?);
    here.connect("veth0", &there)?;
    here.address("veth0", "10.9.0.1/24")?;
    there.address("veth0", "10.9.0.2/24")?;
    let daemon = Daemon::quick(&here, &["-i", "veth0", "--web", WEB])?;
    let http = Http::new(&here, WEB)?;
    // From now on flows are counted.
    let samples = |live: &Value| live["series"]["packets"].as_array().map_or(0, Vec::len);
    wait_until("a drain", || Ok(samples(&http.json("/api/v1/live")?) > 0))?;
    read(there.command("ping").args(["-q", "-c", "50", "-i", "0.02", "-s", "972", "10.9.0.1"]))?;
    let of_ping = |live: &Value| {
        live["sources"].as_array().into_iter().flatten().find(|row| row["address"] == "10.9.0.2").cloned()
    };
    wait_until("all packets in the table", || {
        let live = http.json("/api/v1/live?seconds=60")?;
        Ok(of_ping(&live).is_some_and(|row| row["packets"] == 50 && row["octets"] == 50_000))
    })?;
    let live = http.json("/api/v1/live?seconds=60")?;
    ensure!(live["protocols"][0]["protocol"] == "ICMP" && live["protocols"][0]["packets"] == 50, "{live}");
    ensure!(live["conversations"][0]["destinationIPAddress"] == "10.9.0.1", "{live}");
    let seen = |live: &Value| -> i64 {
        live["series"]["packets"].as_array().into_iter().flatten().filter_map(Value::as_i64).sum()
    };
    ensure!(seen(&live) >= 50 && samples(&live) > 1, "{live}");
    // There is no history, and that is said.
    let refused = http.get("/api/v1/totals")?;
    ensure!(refused.status == 404 && refused.text().contains("keeps no history"), "{}", refused.text());
    let sums = http.json("/api/v1/accounting")?["sums"].clone();
    ensure!(sums[0]["balances"] == true && sums[0]["seen"]["packets"].as_i64() >= Some(50), "{sums}");
    daemon.stop()?;
    Ok(())
}
