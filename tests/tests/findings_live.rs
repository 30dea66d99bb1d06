//! Holds that a flood, a scan, an upload, a beacon and an unknown device, all at once in a small site, are each said within the time that its
//! page of `docs/findings` gives, with the addresses and numbers of what was sent: in the API, in a file, and on the dashboard as the API has
//! them; that a restart keeps them; that what is suppressed is not said any more; and that disks that refuse do not stop it.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use flowprobe_tests::accuracy::is_long;
use flowprobe_tests::browser::Browser;
use flowprobe_tests::daemon::{Daemon, flowprobe};
use flowprobe_tests::http::Http;
use flowprobe_tests::namespace::Namespace;
use flowprobe_tests::pages::{DESK, LOOKS, ORIGIN, WEB, must_be_quiet, must_fit, pictures, ready};
use flowprobe_tests::process::{read, wait_until};
use flowprobe_tests::trouble::said::{
    Found, before, findings, must_be_the_beacon, must_be_the_flood, must_be_the_scan, must_be_the_upload, wait_for,
    wanted,
};
use flowprobe_tests::trouble::{CLIENT, CONTROL, GATEWAY, PORTS, STRANGER, Site};
use flowprobe_tests::{require, skip};
use rustix::process::Signal;
use serde_json::Value;

/// Within which what is found is on a page that is open: it asks every 5 s, and is drawn beside all the trouble.
const ON_THE_PAGE_MS: i64 = 7000;

/// A daemon on the gateway of a site, and its files.
struct Watch {
    site: Site,
    folder: tempfile::TempDir,
}

impl Watch {
    fn new() -> Result<Self> {
        let watch = Self { site: Site::new()?, folder: tempfile::tempdir()? };
        fs::write(watch.path("devices"), watch.site.approvals())?;
        Ok(watch)
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Starts the daemon, with more settings.
    fn start(&self, more: &str) -> Result<Daemon> {
        let (store, settings) = (self.path("store"), self.path("findings.toml"));
        let shorter = if is_long() { "" } else { "[beacon]\nlasts = \"10s\"\n" };
        let (devices, lines) = (self.path("devices"), self.path("lines"));
        let sink = format!("[[sink]]\ntype = \"file\"\npath = {lines:?}\nformat = \"flowprobe\"\n");
        fs::write(&settings, format!("{shorter}[device]\napprovals = {devices:?}\n{sink}{more}"))?;
        let files = ["--findings", &settings, "--store", &store, "--mac-vendors", "none"];
        let arguments = [&Site::INTERFACES[..], &["--interval", "200ms", "--web", WEB], &files].concat();
        Daemon::start(&self.site.gateway, &arguments)
    }

    /// What `flowprobe` prints with these arguments and the folder of history.
    fn ask(&self, arguments: &[&str]) -> Result<String> {
        let store = self.path("store");
        let arguments = [arguments, &["--store", &store]].concat();
        read(&mut flowprobe(&self.site.gateway, &arguments)?)
    }
}

#[test]
fn what_goes_wrong_is_said_in_time_with_its_numbers_shown_and_kept() -> Result<()> {
    require!("ping");
    let watch = Watch::new()?;
    let daemon = watch.start("")?;
    let http = Http::new(&watch.site.gateway, WEB)?;
    let has_browser = skip::can_run("what is found on the dashboard", &["chromium", "chromedriver"]);
    let browser = has_browser.then(|| looking(&watch.site)).transpose()?;
    let found = must_be_found(&watch.site, &http)?;
    if let Some(browser) = browser {
        must_have_appeared(&browser, &found)?;
        must_be_shown(&browser, &http)?;
    }
    let are_told = || {
        let sink = http.json("/api/v1/findings")?["sinks"][0].take();
        Ok(sink["failed"] == 0 && sink["sent"].as_u64() >= Some(found.len() as u64))
    };
    wait_until("findings that are told", are_told)?;
    is_shown(&watch.site.gateway, &daemon, &http)?;
    daemon.stop()?;
    let told = fs::read_to_string(watch.path("lines"))?;
    for one in found.values() {
        let is_opened = |line: &Value| line["id"] == one["id"] && line["change"] == "opened";
        ensure!(told.lines().filter_map(|line| serde_json::from_str(line).ok()).any(|line| is_opened(&line)), "{told}");
    }
    must_be_kept_and_quiet(&watch, &found)?;
    must_be_known_without_a_daemon(&watch, &found)
}

/// Makes all of the trouble at once, and waits for what is said of it.
fn must_be_found(site: &Site, http: &Http<'_>) -> Result<Found> {
    let (stop, begin) = (AtomicBool::new(false), Instant::now());
    let period = Duration::from_secs(if is_long() { 2 } else { 1 });
    scope(|scope| {
        let beacon = scope.spawn(|| site.beacon(period, &stop));
        let troubles = [scope.spawn(|| site.upload()), scope.spawn(|| site.scan(PORTS)), scope.spawn(|| site.appear())];
        let flood = site.flood();
        let found = wait_for(http, &wanted(begin, period), begin);
        stop.store(true, Ordering::Relaxed);
        let flood = flood?.stop(Signal::INT)?.stdout.join("\n");
        for trouble in troubles {
            trouble.join().map_err(|_| anyhow!("trouble panicked"))??;
        }
        let beats = beacon.join().map_err(|_| anyhow!("the beacon panicked"))??;
        let found = found?;
        let echoes = before(&flood, " packets transmitted").context(flood.clone())?.parse()?;
        must_be_the_flood(&found["icmp-flood"], echoes)?;
        must_be_the_upload(&found["exfiltration"], begin.elapsed())?;
        must_be_the_beacon(&found["beacon"], beats, period)?;
        must_be_the_scan(&found["port-scan"])?;
        Ok(found)
    })
}

/// What was found is still there after a restart, and goes on; what is suppressed is not said any more.
fn must_be_kept_and_quiet(watch: &Watch, found: &Found) -> Result<()> {
    let daemon = watch.start(&format!(
        "[[suppress]]\nrule = \"port-scan\"\nsubject = \"{CLIENT}\"\nuntil = \"2100-01-01\"\nreason = \"ours\"\n"
    ))?;
    let http = Http::new(&watch.site.gateway, WEB)?;
    let scan = |http: &Http<'_>| {
        let answer = http.json("/api/v1/findings?rule=port-scan")?;
        let [scan] = &answer["findings"].as_array().context("findings")?[..] else { bail!("{answer}") };
        Ok(scan.clone())
    };
    let before = scan(&http)?;
    ensure!(before["id"] == found["port-scan"]["id"], "{before} is not of {found:?}");
    watch.site.scan(3000..3060)?;
    let kept_quiet = || Ok(http.json("/api/v1/findings")?["suppressions"][0]["count"].as_u64() > Some(0));
    wait_until("sightings that are suppressed", kept_quiet)?;
    let after = scan(&http)?;
    ensure!(after["count"] == before["count"], "{after} was {before}");
    daemon.stop().map(drop)
}

/// The command line has what was kept, and who of a list is in history.
fn must_be_known_without_a_daemon(watch: &Watch, found: &Found) -> Result<()> {
    let kept = watch.ask(&["findings", "--json"])?;
    let ids: Vec<Value> =
        kept.lines().map(|line| Ok(serde_json::from_str::<Value>(line)?["id"].take())).collect::<Result<_>>()?;
    ensure!(found.values().all(|one| ids.contains(&one["id"])), "{kept}");
    let words = watch.ask(&["findings"])?;
    ensure!(words.contains(&format!("{CLIENT} scans ports of {GATEWAY} (port-scan, T1046)")), "{words}");

    let devices = watch.ask(&["devices"])?;
    let card = Site::STRANGE_CARD;
    let is_listed =
        |line: &str| line.starts_with(card) && line.contains(&format!(" {STRANGER} ")) && line.contains(" on lan2, 20");
    ensure!(devices.lines().any(is_listed), "{devices}");

    let list = watch.path("list");
    fs::write(&list, format!("10.9.0.64/30 # guests\n{CONTROL} # control\n192.0.2.77\n"))?;
    let hunt = |more: &[&str]| -> Result<Vec<Value>> {
        let hunted = watch.ask(&[&["hunt", &list, "--json"], more].concat())?;
        Ok(serde_json::from_str::<Value>(&hunted)?["rows"].as_array().context("rows")?.clone())
    };
    let outside = hunt(&[])?;
    let [control] = &outside[..] else { bail!("{outside:?}") };
    ensure!(control["address"] == CONTROL && control["reason"] == "control", "{control}");
    ensure!(control["others"] == CLIENT && control["packets"].as_i64() > Some(120), "{control}");
    let inside = hunt(&["--match-inside"])?;
    let client = inside.iter().find(|row| row["address"] == CLIENT).context("nobody inside")?;
    ensure!(inside.len() == 2 && client["reason"] == "guests", "{inside:?}");
    ensure!(client["packets"].as_i64() > control["packets"].as_i64(), "{inside:?}");
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

/// A browser that has the list open, and notes when the title of each finding is there first.
fn looking(site: &Site) -> Result<Browser<'_>> {
    let browser = Browser::start(&site.gateway)?;
    open(&browser, "/findings")?;
    let note = "window.appeared = {}; \
         const look = () => document.querySelectorAll('table[data-table=findings] tbody tr').forEach(row => { \
           if (row.innerText.trim()) window.appeared[row.dataset.key] ??= Date.now(); }); \
         new MutationObserver(look).observe(document.querySelector('[data-panel=findings]'), { childList: true, subtree: true }); \
         look(); return window.appeared;";
    let before = browser.run(note, &[])?;
    ensure!(before == serde_json::json!({}), "{before}");
    Ok(browser)
}

/// What was found was on the page that was open within a few seconds, without anybody asking for it.
fn must_have_appeared(browser: &Browser<'_>, found: &Found) -> Result<()> {
    let all = || browser.run("return window.appeared;", &[]);
    let are_there = || {
        let appeared = all()?;
        Ok(found.values().all(|one| one["id"].as_str().is_some_and(|id| appeared.get(id).is_some())))
    };
    wait_until("findings on the page", are_there)?;
    let appeared = all()?;
    for one in found.values() {
        let at_ms = appeared[one["id"].as_str().context("an id")?].as_i64().context("a time")?;
        let after_ms = at_ms - one["detectedMilliseconds"].as_i64().context("when it was found")?;
        println!("{} is on the page {after_ms} ms after it was found", one["rule"]);
        ensure!((0..ON_THE_PAGE_MS).contains(&after_ms), "{after_ms} ms: {one:#}");
    }
    must_be_quiet(browser)
}

/// The list, each finding, the overview and the page of a host, in all looks.
fn must_be_shown(browser: &Browser<'_>, http: &Http<'_>) -> Result<()> {
    let pictures = pictures()?;
    let all = at_rest(http, || {
        open(browser, "/findings")?;
        rows(browser, "findings", "it.querySelector('a')?.innerText ?? it.innerText")
    })?;
    let (all, rows) = all;
    ensure!(rows.len() == all.len(), "{rows:#?}");
    for (row, one) in rows.iter().zip(&all) {
        ensure!(row["key"] == one["id"] && row["title"] == one["title"], "{row} is not {one}");
        ensure!(row["severity"] == one["severity"] && row["state"] == one["state"], "{row} is not {one}");
        ensure!(row["subjects"] == one["subjects"][0] && row["count"] == as_text(&one["count"]), "{row} is not {one}");
    }
    look(browser, &pictures, "findings-all")?;
    for one in &all {
        let rule = one["rule"].as_str().context("a rule")?;
        open(browser, &format!("/findings/{}", one["id"].as_str().context("an id")?))?;
        must_be_explained(browser, one).with_context(|| rule.to_owned())?;
        look(browser, &pictures, &format!("finding-{rule}")).with_context(|| rule.to_owned())?;
    }

    let titles = "return [...document.querySelectorAll('[data-panel=findings] li a')].map(it => it.innerText);";
    let open_ones = || all.iter().filter(|one| one["state"] == "open");
    open(browser, "/")?;
    let expected: Vec<&Value> = open_ones().map(|one| &one["title"]).collect();
    let shown = browser.run(titles, &[])?;
    ensure!(shown.as_array().is_some_and(|shown| shown.iter().eq(expected.iter().copied())), "{shown}: {expected:?}");
    look(browser, &pictures, "findings-overview")?;

    // From a finding to its host, which has all that names it.
    let beacon = all.iter().find(|one| one["rule"] == "beacon").context("the beacon")?;
    open(browser, &format!("/findings/{}", beacon["id"].as_str().context("an id")?))?;
    browser.click(&format!("[data-panel=finding] dd a[href^='/hosts/{CONTROL}']"))?;
    browser.wait_for("the host", &format!("location.pathname === '/hosts/{CONTROL}'"))?;
    ready(browser)?;
    let shown = browser.run(titles, &[])?;
    ensure!(shown == serde_json::json!([beacon["title"]]), "{shown}");
    open(browser, &format!("/hosts/{CLIENT}"))?;
    let names_it = |one: &&Value| [&one["subjects"], &one["peers"]].iter().any(|names| names[0] == CLIENT);
    let expected: Vec<&Value> = all.iter().filter(names_it).map(|one| &one["title"]).collect();
    let shown = browser.run(titles, &[])?;
    ensure!(expected.len() == 3, "{expected:?}");
    ensure!(shown.as_array().is_some_and(|shown| shown.iter().eq(expected.iter().copied())), "{shown}: {expected:?}");
    look(browser, &pictures, "findings-host")?;
    println!("pictures are in {}", pictures.display());
    must_be_quiet(browser)
}

/// What `action` says of findings that are the same before and after it, as the page ranks them: the worst first, then the latest.
fn at_rest<T>(http: &Http<'_>, action: impl Fn() -> Result<T>) -> Result<(Vec<Value>, T)> {
    for _ in 0..20 {
        let mut before = findings(http)?;
        let result = action()?;
        if before == findings(http)? {
            let rank = |one: &Value| ["high", "medium", "low"].iter().position(|name| one["severity"] == *name);
            before.sort_by_key(|one| (rank(one), one["lastMilliseconds"].as_i64().map(|ms| -ms)));
            return Ok((before, result));
        }
        sleep(Duration::from_secs(1));
    }
    bail!("findings do not come to rest")
}

fn open(browser: &Browser<'_>, path: &str) -> Result<()> {
    browser.show(DESK)?;
    browser.open(&format!("{ORIGIN}{path}"))?;
    ready(browser)
}

/// The rows of a table: their key, and what an expression is for each cell (`it`), by the names of its columns.
fn rows(browser: &Browser<'_>, table: &str, expression: &str) -> Result<Vec<Value>> {
    let body = format!(
        "return [...document.querySelectorAll(`table[data-table=\"${{arguments[0]}}\"] tbody tr`)].map(row => ({{ key: row.dataset.key, \
         ...Object.fromEntries([...row.querySelectorAll('[data-column]')].map(it => [it.dataset.column, {expression}])) }}));"
    );
    Ok(browser.run(&body, &[table.into()])?.as_array().context("rows")?.clone())
}

/// The page of a finding says what the API says, links to its hosts, and has its evidence.
fn must_be_explained(browser: &Browser<'_>, one: &Value) -> Result<()> {
    let shown = browser.run(
        "const panel = document.querySelector('[data-panel=finding]'); \
         const facts = [...panel.querySelectorAll('dl > div')].map(it => [it.querySelector('dt').innerText, it.querySelector('dd').innerText]); \
         return { title: panel.querySelector('h2').innerText, text: panel.querySelector('p.explanation').innerText, \
           facts: Object.fromEntries(facts), hosts: [...panel.querySelectorAll('dd a')].map(it => new URL(it.href).pathname) };",
        &[],
    )?;
    ensure!(shown["title"] == one["title"] && shown["text"] == one["explanation"], "{shown:#} is not {one:#}");
    let facts = &shown["facts"];
    for (name, expected) in [
        ("Severity", &one["severity"]),
        ("State", &one["state"]),
        ("Hosts", &one["subjects"][0]),
        ("Peers", &one["peers"][0]),
        ("Rule", &one["rule"]),
        ("MITRE ATT&CK", &one["technique"]),
    ] {
        ensure!(facts[name] == *expected, "{name}: {shown:#} is not {one:#}");
    }
    ensure!(facts["Times"] == as_text(&one["count"]), "{shown:#} is not {one:#}");
    // A card has no page.
    let hosts = [&one["subjects"][0], &one["peers"][0]].map(|name| name.as_str().unwrap_or_default().to_owned());
    let pages: Vec<Value> =
        hosts.iter().filter(|name| !name.contains(':')).map(|name| format!("/hosts/{name}").into()).collect();
    ensure!(shown["hosts"] == Value::Array(pages), "{shown:#}");

    let evidence = one["evidence"].as_array().context("evidence")?;
    let rows = rows(browser, "evidence", "it.dataset.value")?;
    ensure!(!evidence.is_empty() && rows.len() == evidence.len(), "{} of {}", rows.len(), evidence.len());
    for (row, flow) in rows.iter().zip(evidence) {
        let mut compared = 0;
        for (column, value) in row.as_object().context("cells")? {
            let Some(expected) = flow.get(column) else { continue };
            let expected = as_text(expected);
            ensure!(*value == expected, "{column} is {value} instead of {expected}: {flow}");
            compared += 1;
        }
        ensure!(compared >= 6, "{row} of {flow}");
    }
    Ok(())
}

/// A text without its quotes, and a number as a text.
fn as_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// In all looks, whatever is on it, the page fits, says nothing on the console, and has times and numbers for people.
fn look(browser: &Browser<'_>, pictures: &Path, name: &str) -> Result<()> {
    let text = browser.run("return document.body.innerText;", &[])?;
    let is_raw = |word: &str| word.len() >= 12 && word.bytes().all(|octet| octet.is_ascii_digit());
    let raw: Vec<&str> = text.as_str().context("text")?.split_whitespace().filter(|word| is_raw(word)).collect();
    ensure!(raw.is_empty(), "{name}: {raw:?}");
    for (look, screen) in LOOKS {
        browser.show(screen)?;
        must_fit(browser, screen, 0).with_context(|| format!("{name}, {look}"))?;
        browser.screenshot(&pictures.join(format!("{name}-{look}.png")))?;
    }
    must_be_quiet(browser)
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
