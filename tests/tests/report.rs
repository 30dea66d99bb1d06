//! Holds that a report says what `flowprobe query` answers, of a running daemon and of its files, and that a browser shows its page with
//! every number, without asking anybody, also where it is as narrow as a telephone.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use flowprobe_tests::daemon::{Daemon, binary, status_of};
use flowprobe_tests::knowledge::Knowledge;
use flowprobe_tests::listening::{HERE, tell};
use flowprobe_tests::namespace::Namespace;
use flowprobe_tests::process::{read, wait_until};
use flowprobe_tests::require;
use serde_json::Value;

/// The answers of a report, and the questions that have the same.
const ANSWERS: [(&str, &[&str]); 10] = [
    ("series", &["series", "--step", "1m"]),
    ("seriesByProtocol", &["series", "--step", "1m", "--by-protocol"]),
    ("talkersByOctets", &["talkers"]),
    ("talkersByPackets", &["talkers", "--by", "packets"]),
    ("talkersByFlows", &["talkers", "--by", "flows"]),
    ("protocols", &["protocols"]),
    ("ports", &["ports"]),
    ("countries", &["countries"]),
    ("systems", &["systems"]),
    ("conversations", &["conversations"]),
];

fn flowprobe(command: &str, arguments: &[&[&str]]) -> Result<String> {
    read(Command::new(binary()?).arg(command).args(arguments.concat()))
}

fn json(command: &str, arguments: &[&[&str]]) -> Result<Value> {
    let text = flowprobe(command, &[&arguments.concat(), &["--json"]])?;
    serde_json::from_str(&text).with_context(|| text.clone())
}

/// A moment so many seconds from now, as flags have it.
fn moment(seconds: i64) -> Result<String> {
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    let at = format!("@{}", (now + seconds).div_euclid(60) * 60);
    Ok(read(Command::new("date").args(["-u", "-d", &at, "+%Y-%m-%dT%H:%M:%SZ"]))?.trim().to_owned())
}

/// A daemon that has this many records of UDP, TCP and ICMP in history, and knows where their addresses are.
fn heard(room: &Namespace, store: &str, count: u32) -> Result<Daemon> {
    let files = Knowledge::new()?;
    files.put_database("as.mmdb", &[("0.0.0.0/1", 64_500, "DE"), ("128.0.0.0/1", 64_501, "FR")])?;
    let (listen, database) = (format!("udp://{HERE}"), files.argument("as.mmdb"));
    let daemon = Daemon::start(room, &["--listen", &listen, "--store", store, "--mmdb", &database])?;
    // Messages by turns of all kinds, and of UDP.
    tell(room, count, |number| match (number / 20 % 2, number as usize % 20) {
        (0, place) => [6, 6, 6, 1, 58, 47, 50, 89][place % 8],
        _ => 17,
    })?;
    let pid = daemon.id();
    // It may be so new that it has no socket yet.
    let is_written = || Ok(status_of(pid).is_ok_and(|status| status["history"]["storedRecords"] == count));
    wait_until("records that are written", is_written)?;
    Ok(daemon)
}

/// Holds that a report of this time and source is what the questions answer, and returns it.
fn must_agree(times: &[&str], source: &[&str]) -> Result<Value> {
    let report = json("report", &[times, source, &["--top", "15"]])?;
    let answers = report["answers"].as_object().context("answers")?;
    ensure!(answers.len() == ANSWERS.len(), "{report}");
    for (name, question) in ANSWERS {
        let answer = json("query", &[question, times, source, &["--top", "15"]])?;
        ensure!(answers[name] == answer, "{name}: {}\n{answer}", answers[name]);
        ensure!(answer["rows"].as_array().is_some_and(|rows| !rows.is_empty()), "{answer}");
    }
    ensure!(report["total"] == answers["series"]["total"], "{report}");
    Ok(report)
}

#[test]
fn a_report_of_a_daemon_and_of_its_files_is_what_the_same_questions_answer() -> Result<()> {
    require!("date");
    let room = Namespace::new()?;
    let folder = tempfile::tempdir()?;
    let store = folder.path().join("store").display().to_string();
    let daemon = heard(&room, &store, 400)?;
    let socket = format!("/run/flowprobe/{}.sock", daemon.id());
    let (from, to) = (moment(-3600)?, moment(120)?);
    let times = ["--from", &from, "--to", &to];
    let of_daemon = must_agree(&times, &["--socket", &socket])?;
    ensure!(of_daemon["total"]["flows"] == 400, "{}", of_daemon["total"]);
    daemon.stop()?;
    let of_files = must_agree(&times, &["--store", &store])?;
    ensure!(of_files["answers"] == of_daemon["answers"], "{of_files}\n{of_daemon}");
    let filtered =
        must_agree(&[&times[..], &["--protocol", "udp", "--source", "10.0.0.0/24"]].concat(), &["--store", &store])?;
    ensure!(filtered["total"]["flows"] != 400 && filtered["filter"]["protocols"][0] == 17, "{filtered}");
    Ok(())
}

#[test]
fn a_report_that_cannot_be_made_leaves_the_old_one() -> Result<()> {
    require!();
    let folder = tempfile::tempdir()?;
    let page = folder.path().join("page.html");
    fs::write(&page, "old")?;
    let at = |path: &Path| path.display().to_string();
    let none = at(&folder.path().join("none"));
    let fails = |arguments: &[&str], code: i32, reason: &str| -> Result<()> {
        let output = Command::new(binary()?).arg("report").args(arguments).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(code) && said.contains(reason), "{arguments:?}: {} {said}", output.status);
        ensure!(fs::read_to_string(&page)? == "old" && fs::read_dir(folder.path())?.count() == 1, "{arguments:?}");
        Ok(())
    };
    let (file, nowhere) = (at(&page), at(&folder.path().join("none/page.html")));
    fails(&["--html", &file, "--store", &none], 1, "there is no history in")?;
    fails(&["--html", &nowhere, "--store", &none], 1, "cannot write the report to")?;
    fails(&["--html", &file, "--json"], 2, "cannot be used with")?;
    fails(&[], 2, "--html <FILE>|--json")?;
    fails(&["--html", &file, "--step", "1s"], 2, "--step is too short")
}

/// What a browser makes of a page, as markup, in a namespace of which nothing leads anywhere.
fn dom(room: &Namespace, page: &Path, profile: &Path) -> Result<String> {
    let mut browser = room.command("chromium");
    browser.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]);
    browser.args([
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
        "--dump-dom",
    ]);
    browser.arg(format!("--log-net-log={}", profile.join("net.json").display()));
    browser.arg(format!("--user-data-dir={}", profile.display())).env("HOME", profile);
    read(browser.arg(format!("file://{}", page.display())))
}

/// What a page has asked for over the network. What the browser asks on its own behalf has no page as its origin.
fn asked(profile: &Path) -> Result<Vec<String>> {
    let log = fs::read_to_string(profile.join("net.json"))?;
    let of_page = |line: &&str| {
        line.contains("\"url\":\"http") && line.contains("\"initiator\":") && !line.contains("\"not an origin\"")
    };
    Ok(log.lines().filter(of_page).map(str::to_owned).collect())
}

/// A number with its digits in groups of three, as the page has it for who points at a cell.
fn exact(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}

/// Names of columns, and those with numbers, of the tables on the page.
const SHOWN: [(&str, &[&str], &[&str]); 8] = [
    ("talkersByOctets", &["address"], &["octetsSent", "octetsReceived"]),
    ("talkersByPackets", &["address"], &["packetsSent", "packetsReceived"]),
    ("talkersByFlows", &["address"], &["flowsSent", "flowsReceived"]),
    ("protocols", &["protocol"], &["octets", "packets", "flows"]),
    ("ports", &["protocol"], &["octets", "packets", "flows"]),
    ("countries", &["countryCode"], &["octetsSent", "octetsReceived"]),
    ("systems", &["asOrganization"], &["octetsSent", "octetsReceived"]),
    ("conversations", &["client", "server", "protocol"], &["octetsSent", "octetsReceived", "packetsSent"]),
];

#[test]
fn a_browser_shows_every_number_asks_nobody_and_needs_no_more_room_than_there_is() -> Result<()> {
    require!("date", "chromium");
    let room = Namespace::new()?;
    let folder = tempfile::tempdir()?;
    let store = folder.path().join("store").display().to_string();
    heard(&room, &store, 200)?.stop()?;
    let (from, to) = (moment(-3600)?, moment(120)?);
    const TITLE: &str = "<script>document.body.innerHTML = 'taken over'</script>";
    let arguments = ["--from", &from, "--to", &to, "--store", &store, "--title", TITLE];
    let page = folder.path().join("page.html");
    flowprobe("report", &[&arguments, &["--html", &page.display().to_string()]])?;
    let report = json("report", &[&arguments])?;
    let shown = dom(&room, &page, &folder.path().join("profile"))?;
    ensure!(shown.contains("</footer>") && shown.contains("<h1>&lt;script&gt;document"), "{shown}");
    for (table, names, numbers) in SHOWN {
        for row in report["answers"][table]["rows"].as_array().context("rows")? {
            for name in names {
                let text = row[*name].as_str().with_context(|| row.to_string())?;
                let is_shown = ["</t", "<small"].iter().any(|end| shown.contains(&format!(">{text}{end}")));
                ensure!(is_shown, "{table}: no {text}");
            }
            for number in numbers {
                let number = exact(row[*number].as_u64().with_context(|| row.to_string())?);
                ensure!(shown.contains(&format!("title=\"{number}\">")), "{table}: no {number}");
            }
        }
    }
    let asked = asked(&folder.path().join("profile"))?;
    ensure!(asked.is_empty(), "{asked:?}");
    let curious = folder.path().join("curious.html");
    fs::write(&curious, "<!DOCTYPE html><img src=\"http://127.0.0.1:9/\">")?;
    dom(&room, &curious, &folder.path().join("control"))?;
    ensure!(!self::asked(&folder.path().join("control"))?.is_empty(), "a page that asks somebody would not be noticed");
    let widths = narrow(&room, &page, folder.path())?;
    ensure!(widths == "390 of 390", "{widths}");
    Ok(())
}

/// How wide the page would be where there are 390 pixels: the page in a frame of that size, which the page around it measures.
fn narrow(room: &Namespace, page: &Path, folder: &Path) -> Result<String> {
    let text = fs::read_to_string(page)?.replace('&', "&amp;").replace('"', "&quot;");
    let around = format!(
        "<!DOCTYPE html><title></title><iframe id=\"page\" style=\"width:390px;height:800px;border:0\" srcdoc=\"{text}\"></iframe>\
         <script>onload = () => {{ const root = document.getElementById('page').contentDocument.documentElement; \
         document.title = `${{root.scrollWidth}} of ${{root.clientWidth}}`; }}</script>"
    );
    let file = folder.join("around.html");
    fs::write(&file, around)?;
    let shown = dom(room, &file, &folder.join("narrow"))?;
    let title = shown.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>"));
    Ok(title.with_context(|| shown.clone())?.0.to_owned())
}
