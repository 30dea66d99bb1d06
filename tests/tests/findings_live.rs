//! Holds that a running daemon says what looks wrong within half a minute, in its API and in a file, keeps it over a restart, and keeps quiet
//! about what is suppressed; disks that refuse do not stop it.

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use flowprobe_tests::daemon::{Daemon, flowprobe};
use flowprobe_tests::http::Http;
use flowprobe_tests::namespace::Namespace;
use flowprobe_tests::process::{Process, read, wait_until};
use flowprobe_tests::require;
use serde_json::Value;

const WEB: &str = "127.0.0.1:8739";

/// Within which a flood, a scan and a device are to be said.
const SOON: Duration = Duration::from_secs(30);

/// The findings of a rule, as the API has them.
fn of_rule(http: &Http<'_>, rule: &str) -> Result<Vec<Value>> {
    let answer = http.json(&format!("/api/v1/findings?rule={rule}"))?;
    Ok(answer["findings"].as_array().context("findings")?.clone())
}

/// Waits for a finding of a rule, and returns it.
fn found(http: &Http<'_>, rule: &str, since: Instant) -> Result<Value> {
    wait_until(&format!("a finding of {rule}"), || Ok(!of_rule(http, rule)?.is_empty()))?;
    ensure!(since.elapsed() < SOON, "{rule} took {:?}", since.elapsed());
    of_rule(http, rule)?.pop().context("a finding")
}

/// Knocks at so many TCP ports, at each once.
fn knock(from: &Namespace, at: &str, ports: std::ops::Range<u16>) -> Result<()> {
    from.inside(|| {
        for port in ports {
            let address: SocketAddr = format!("{at}:{port}").parse()?;
            match TcpStream::connect_timeout(&address, Duration::from_millis(500)) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    })
}

#[test]
fn floods_scans_and_strange_devices_are_said_within_half_a_minute_and_kept() -> Result<()> {
    require!("ping");
    let (gateway, guest) = (Namespace::new()?, Namespace::new()?);
    gateway.connect("lan", &guest)?;
    gateway.address("lan", "10.9.0.1/24")?;
    guest.address("lan", "10.9.0.66/24")?;
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (store, lines, devices, settings) = (path("store"), path("lines"), path("devices"), path("findings.toml"));
    fs::write(&devices, "02:00:00:00:00:01  the only one\n")?;
    let text = |quiet: &str| {
        format!(
            "[device]\napprovals = {devices:?}\n[[sink]]\ntype = \"file\"\npath = {lines:?}\nformat = \"flowprobe\"\n{quiet}"
        )
    };
    fs::write(&settings, text(""))?;
    let arguments = ["-i", "lan", "--interval", "200ms", "--store", &store, "--web", WEB, "--findings", &settings];
    let daemon = Daemon::start(&gateway, &arguments)?;
    let http = Http::new(&gateway, WEB)?;

    let since = Instant::now();
    let mut ping = guest.command("ping");
    ping.args(["-q", "-i", "0.002", "-w", "25", "10.9.0.1"]);
    let ping = Process::start(&mut ping)?;
    let device = found(&http, "unauthorised-device", since)?;
    let mac = guest.link("lan")?["address"].as_str().context("a MAC address")?.to_owned();
    ensure!(device["explanation"].as_str().is_some_and(|text| text.contains(&mac)), "{device}");
    let flood = found(&http, "icmp-flood", since)?;
    ensure!(flood["subjects"][0] == "10.9.0.66" && flood["peers"][0] == "10.9.0.1", "{flood}");
    ensure!(flood["explanation"].as_str().is_some_and(|text| text.contains("10.9.0.66 sends")), "{flood}");
    drop(ping);

    let since = Instant::now();
    knock(&guest, "10.9.0.1", 2000..2060)?;
    let scan = found(&http, "port-scan", since)?;
    ensure!(scan["subjects"][0] == "10.9.0.66" && scan["state"] == "open" && scan["severity"] == "medium", "{scan}");
    ensure!(scan["explanation"].as_str().is_some_and(|text| text.contains("ports (TCP) of 10.9.0.1")), "{scan}");
    let about = http.json("/api/v1/hosts/10.9.0.66")?;
    ensure!(about["findings"].as_array().is_some_and(|all| all.len() >= 2), "{about}");
    let are_told = || {
        let sink = http.json("/api/v1/findings")?["sinks"][0].take();
        Ok(sink["failed"] == 0 && sink["sent"].as_u64() >= Some(3))
    };
    wait_until("findings that are told", are_told)?;
    is_shown(&gateway, &daemon, &http)?;
    daemon.stop()?;

    let told = fs::read_to_string(&lines)?;
    for one in [&device, &flood, &scan] {
        let is_opened = |line: &Value| line["id"] == one["id"] && line["change"] == "opened";
        ensure!(told.lines().filter_map(|line| serde_json::from_str(line).ok()).any(|line| is_opened(&line)), "{told}");
    }

    // What was found is still there, and goes on; what is suppressed is not said any more.
    let quiet =
        "[[suppress]]\nrule = \"port-scan\"\nsubject = \"10.9.0.66\"\nuntil = \"2100-01-01\"\nreason = \"ours\"\n";
    fs::write(&settings, text(quiet))?;
    let daemon = Daemon::start(&gateway, &arguments)?;
    let before = of_rule(&http, "port-scan")?.pop().context("the scan is forgotten")?;
    ensure!(before["id"] == scan["id"], "{before} was {scan}");
    knock(&guest, "10.9.0.1", 3000..3060)?;
    let kept_quiet = || Ok(http.json("/api/v1/findings")?["suppressions"][0]["count"].as_u64() > Some(0));
    wait_until("sightings that are suppressed", kept_quiet)?;
    let after = of_rule(&http, "port-scan")?.pop().context("the scan")?;
    ensure!(after["count"] == before["count"], "{after} was {before}");
    daemon.stop()?;

    // Without a daemon: what it has kept, and who of a list is in history.
    let kept = read(&mut flowprobe(&gateway, &["findings", "--store", &store, "--json"])?)?;
    let ids: Vec<Value> =
        kept.lines().map(|line| Ok(serde_json::from_str::<Value>(line)?["id"].take())).collect::<Result<_>>()?;
    ensure!([&device, &flood, &scan].iter().all(|one| ids.contains(&one["id"])), "{kept}");
    let words = read(&mut flowprobe(&gateway, &["findings", "--store", &store])?)?;
    ensure!(words.contains("10.9.0.66 scans ports of 10.9.0.1 (port-scan, T1046)"), "{words}");
    let list = path("list");
    fs::write(&list, "10.9.0.64/30 # guests\n198.51.100.7\n")?;
    let hunted = read(&mut flowprobe(&gateway, &["hunt", &list, "--store", &store, "--match-inside", "--json"])?)?;
    let hunted: Value = serde_json::from_str(&hunted)?;
    let [row] = &hunted["rows"].as_array().context("rows")?[..] else { anyhow::bail!("{hunted}") };
    ensure!((&row["address"], &row["reason"]) == (&"10.9.0.66".into(), &"guests".into()), "{hunted}");
    ensure!(row["others"] == "10.9.0.1" && row["packets"].as_i64() > Some(120), "{hunted}");
    let outside = read(&mut flowprobe(&gateway, &["hunt", &list, "--store", &store, "--json"])?)?;
    ensure!(serde_json::from_str::<Value>(&outside)?["rows"].as_array().is_some_and(Vec::is_empty), "{outside}");
    Ok(())
}

/// Status and metrics say how many findings there are, and name the worst.
fn is_shown(gateway: &Namespace, daemon: &Daemon, http: &Http<'_>) -> Result<()> {
    let shown = daemon.status()?["findings"].take();
    let open = ["critical", "high", "medium", "low"].map(|severity| shown["open"][severity].as_u64().unwrap_or(0));
    let listed = http.json("/api/v1/findings?state=open")?["findings"].as_array().context("findings")?.len() as u64;
    ensure!(listed >= 3 && open.iter().sum::<u64>() == listed, "{listed} are open: {shown}");
    let scans = shown["rules"].as_array().and_then(|rules| rules.iter().find(|rule| rule["rule"] == "port-scan"));
    ensure!(scans.is_some_and(|rule| rule["open"] == 1 && rule["opened"] == 1), "{shown}");
    ensure!(shown["flows"].as_u64() > Some(60) && shown["missedFlows"] == 0, "{shown}");
    ensure!(shown["sinks"][0]["sent"].as_u64() >= Some(3) && shown["hasFailed"] == false, "{shown}");
    let worst = shown["worst"][0]["title"].as_str().context("a title")?;
    let socket = format!("/run/flowprobe/{}.sock", daemon.id());
    let table = read(&mut flowprobe(gateway, &["status", "--socket", &socket])?)?;
    ensure!(table.contains(worst) && table.contains("Changes of findings told"), "{worst} is not in {table}");
    let page = read(&mut flowprobe(gateway, &["status", "--metrics", "--socket", &socket])?)?;
    let high = format!("flowprobe_findings_open{{severity=\"high\"}} {}", open[1]);
    for line in [&high, "flowprobe_findings_rule_opened_total{rule=\"port-scan\"} 1", "flowprobe_findings_stopped 0"] {
        ensure!(page.lines().any(|found| found == line), "{line} is not in {page}");
    }
    Ok(())
}

/// Daemons start, look and tell although nothing that they find can be written; all of it is written once it can be.
#[test]
fn files_that_cannot_be_written_keep_nothing_from_starting() -> Result<()> {
    require!();
    let room = Namespace::new()?;
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (store, settings, kept, later) = (path("store"), path("findings.toml"), path("store/findings"), path("later"));
    fs::create_dir(&store)?;
    fs::write(&kept, "no folder")?;
    let sinks = "[[sink]]\ntype = \"webhook\"\nurl = \"http://127.0.0.1:9/\"\n[[sink]]\ntype = \"file\"\n";
    fs::write(&settings, format!("{sinks}path = \"{later}/lines\"\n"))?;
    let listen = "udp://127.0.0.1:2055";
    let arguments = ["--listen", listen, "--interval", "200ms", "--store", &store, "--findings", &settings];
    let daemon = Daemon::start(&room, &arguments)?;
    let troubles = || -> Result<[bool; 3]> {
        let shown = daemon.status()?["findings"].take();
        let (hook, file) = (&shown["sinks"][0], &shown["sinks"][1]);
        Ok([shown["problem"].is_string(), hook["unsaved"].is_string(), file["trouble"].is_string()])
    };
    wait_until("all three troubles", || Ok(troubles()? == [true; 3]))?;
    let shown = daemon.status()?["findings"].take();
    ensure!(
        shown["failedSaves"].as_u64() >= Some(1) && shown["sinks"][0]["failedSaves"].as_u64() >= Some(1),
        "{shown}"
    );
    ensure!(shown["problem"].as_str().is_some_and(|said| said.contains(&kept)), "{shown}");

    fs::remove_file(&kept)?;
    fs::create_dir(&kept)?;
    fs::create_dir(&later)?;
    // Half a minute is the longest pause.
    for _ in 0..2 {
        let _ = wait_until("no trouble", || Ok(troubles()? == [false; 3]));
    }
    ensure!(troubles()? == [false; 3], "{}", daemon.status()?["findings"]);
    ensure!(fs::exists(format!("{kept}/found"))? && fs::exists(format!("{later}/lines"))?, "files");
    daemon.stop()?;
    Ok(())
}

#[test]
fn wrong_settings_are_refused_with_their_place() -> Result<()> {
    require!();
    let room = Namespace::with_pair()?;
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (settings, list) = (path("findings.toml"), path("list"));
    fs::write(&list, "nothing of the kind\n")?;
    for (text, expected) in [
        ("[scan]\nporst = 3".to_owned(), ":2:1: unknown field `porst`"),
        ("[scan]\nwithin = \"soon\"".to_owned(), ":2:10: \"soon\" is not a time"),
        ("[beacons]".to_owned(), ":1:2: unknown field `beacons`"),
        ("inside = [\"10.0.0.0/40\"]".to_owned(), ":1:11: invalid"),
        ("[[policy]]\nname = \"x\"".to_owned(), "x"),
        ("[[suppress]]\nrule = \"all\"\nreason = \"x\"".to_owned(), "until"),
        ("[[sink]]\ntype = \"pigeon\"".to_owned(), "pigeon"),
        (format!("[[indicators.list]]\nfile = {list:?}"), "list"),
        ("[[indicators.list]]\nfile = \"/nonexistent\"".to_owned(), "/nonexistent"),
        ("[device]\napprovals = \"/nonexistent\"".to_owned(), "/nonexistent"),
        ("[scan".to_owned(), ":1:6:"),
    ] {
        fs::write(&settings, &text)?;
        let mut command = flowprobe(&room, &["run", "-i", "va", "--findings", &settings])?;
        let output = command.output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(2) && said.contains(expected), "{text}: {} {said}", output.status);
    }
    let missing = read(&mut flowprobe(&room, &["run", "-i", "va", "--findings", "/nonexistent"])?);
    ensure!(missing.is_err(), "a file that is not there");
    Ok(())
}
