//! Holds that the dashboard is whole in a browser: on every page, in both themes, on a large screen and a telephone, with the numbers that
//! the API has and that were sent, without a word on the console and without asking anybody but the daemon. How long pages take from an
//! empty cache is printed, and only bounded.

use anyhow::{Context as _, Result, ensure};
use flowprobe_tests::browser::Browser;
use flowprobe_tests::daemon::Daemon;
use flowprobe_tests::http::Http;
use flowprobe_tests::inject;
use flowprobe_tests::knowledge::Knowledge;
use flowprobe_tests::listening::{HERE, of_all_kinds, tell};
use flowprobe_tests::namespace::Namespace;
use flowprobe_tests::pages::{DESK, LOOKS, ORIGIN, WEB, must_be_quiet, must_fit, pictures, ready};
use flowprobe_tests::process::wait_until;
use flowprobe_tests::require;
use flowprobe_tests::truth::Counts;
use serde_json::Value;
use tempfile::TempDir;

/// A host that has sent to one other, and nobody else has.
const HOST: &str = "10.0.0.7";

/// Flows of an exporter, of many protocols.
const RECEIVED: u32 = 400;

/// How long a page may take here, where others have the processors too; what is aimed at is a second for tables and two for charts.
const LONGEST_MS: f64 = 20_000.0;

/// A page, and its tables with the path of the API that each of them shows.
struct Page {
    name: &'static str,
    path: &'static str,
    charts: usize,
    tables: &'static [(&'static str, &'static str)],
}

const PAGES: [Page; 9] = [
    Page {
        name: "overview",
        path: "/",
        charts: 2,
        tables: &[
            ("top-sources", "top/sources"),
            ("top-destinations", "top/destinations"),
            ("top-services", "top/services"),
        ],
    },
    Page { name: "hosts", path: "/hosts", charts: 0, tables: &[("hosts", "top/addresses")] },
    Page { name: "host", path: "/hosts/10.0.0.7", charts: 1, tables: &[] },
    Page {
        name: "ports",
        path: "/ports",
        charts: 2,
        tables: &[("protocols", "top/protocols"), ("services", "top/services"), ("icmp", "top/icmp")],
    },
    Page { name: "conversations", path: "/conversations", charts: 1, tables: &[("conversations", "conversations")] },
    Page { name: "records", path: "/records", charts: 0, tables: &[("records", "records")] },
    Page {
        name: "places",
        path: "/places",
        charts: 2,
        tables: &[("countries", "top/countries"), ("systems", "top/systems")],
    },
    Page {
        name: "interfaces",
        path: "/interfaces",
        charts: 1,
        tables: &[("interface-totals", "top/interfaces"), ("exporter-totals", "top/exporters")],
    },
    Page { name: "findings", path: "/findings", charts: 0, tables: &[] },
];

/// Columns that say in other words what the API says.
const IN_WORDS: [(&str, &str); 5] = [
    ("records", "flowEndReason"),
    ("records", "tcpControlBits"),
    ("records", "protocol"),
    ("countries", "countryCode"),
    ("systems", "asNumber"),
];

/// A daemon with history of what was sent, and how much that was.
struct Site {
    daemon: Daemon,
    sent: Counts,
    flows: u64,
    /// A time in which all of it is, as a query.
    range: String,
    _folder: TempDir,
    _names: Knowledge,
}

impl Site {
    fn start(room: &Namespace) -> Result<Self> {
        let (folder, names) = (TempDir::new()?, Knowledge::new()?);
        names.put_database("as.mmdb", &[("0.0.0.0/1", 64_500, "DE"), ("128.0.0.0/1", 64_501, "FR")])?;
        let store = folder.path().join("store").display().to_string();
        let (listen, database) = (format!("udp://{HERE}"), names.argument("as.mmdb"));
        let arguments = ["-i", "vb", "--web", WEB, "--listen", &listen, "--store", &store, "--mmdb", &database];
        let daemon = Daemon::quick(room, &arguments)?;
        let injected = inject::send_flows(room, "va", "vb", 1)?;
        let (mut sent, mut count) = (injected.sum(), injected.0.len() as u64);
        sent += tell(room, RECEIVED, of_all_kinds)?;
        count += u64::from(RECEIVED);
        let http = Http::new(room, WEB)?;
        let mut now = Value::Null;
        // What is not written yet is in answers, too.
        wait_until("all records in history", || {
            now = http.json("/api/v1/totals?last=15m")?;
            Ok(now["total"]["flows"] == count)
        })
        .with_context(|| format!("{count} flows"))?;
        let minute = |name: &str, more: i64| -> Result<i64> {
            Ok((now[name].as_i64().context("a time")?.div_euclid(60_000) + more) * 60_000)
        };
        let range = format!("from={}&to={}", minute("fromMilliseconds", 0)?, minute("toMilliseconds", 2)?);
        Ok(Self { daemon, sent, flows: count, range, _folder: folder, _names: names })
    }
}

#[test]
fn every_page_has_the_numbers_of_the_api_and_fits_in_every_look() -> Result<()> {
    require!("chromium", "chromedriver");
    let room = Namespace::with_pair()?;
    let site = Site::start(&room)?;
    let (browser, http, pictures) = (Browser::start(&room)?, Http::new(&room, WEB)?, pictures()?);
    for Page { name, path, charts, tables } in PAGES {
        let is_whole = || -> Result<()> {
            browser.show(DESK)?;
            browser.open("about:blank")?;
            browser.forget(ORIGIN)?;
            let before = browser.requests()?.len();
            browser.open(&format!("{ORIGIN}{path}?{}", site.range))?;
            ready(&browser)?;
            let asked = browser.requests()?.split_off(before);
            must_be_quiet(&browser)?;
            let times = [browser.reached("tables")?, browser.reached("ready")?];
            println!("{name}: tables after {:.0} ms, all of it after {:.0} ms", times[0], times[1]);
            ensure!(times.iter().all(|ms| *ms < LONGEST_MS), "{times:?}");
            for (table, api) in tables {
                must_have_rows(&browser, &http, table, &asked, api)?;
            }
            for (look, screen) in LOOKS {
                browser.show(screen)?;
                must_fit(&browser, screen, charts).context(look)?;
                browser.screenshot(&pictures.join(format!("{name}-{look}.png")))?;
            }
            must_be_quiet(&browser)
        };
        is_whole().with_context(|| format!("{name}: {path}"))?;
    }
    println!("pictures are in {}", pictures.display());
    site.daemon.stop().map(drop)
}

/// A table shows the rows of the answer to the question that the page has asked at this path: in each cell that is named like a value of
/// a row, this value, in the order of the answer.
fn must_have_rows(browser: &Browser<'_>, http: &Http<'_>, table: &str, asked: &[String], api: &str) -> Result<()> {
    let beginning = format!("{ORIGIN}/api/v1/{api}?");
    let question = asked.iter().find(|url| url.starts_with(&beginning)).with_context(|| format!("{api}: {asked:?}"))?;
    let answer = http.json(question.strip_prefix(ORIGIN).context("a path")?)?;
    let rows = answer["rows"].as_array().context("rows")?;
    ensure!(!rows.is_empty(), "{question}: {answer}");
    let shown = browser.run(
        "return [...document.querySelectorAll(`table[data-table=\"${arguments[0]}\"] tbody tr`)].map(row => \
         Object.fromEntries([...row.querySelectorAll('[data-column]')].map(it => [it.dataset.column, it.dataset.value])));",
        &[table.into()],
    )?;
    let shown = shown.as_array().context("a list")?;
    ensure!(shown.len() == rows.len(), "{table}: {} rows instead of {}", shown.len(), rows.len());
    let mut compared = 0;
    for (cells, row) in shown.iter().zip(rows) {
        for (column, text) in cells.as_object().context("cells")? {
            let expected = match row.get(column) {
                None if column == "share" => share(api, row).to_string(),
                None => continue,
                Some(_) if IN_WORDS.contains(&(table, column)) => continue,
                Some(Value::Null) => String::new(),
                Some(Value::String(text)) => text.clone(),
                Some(value) => value.to_string(),
            };
            ensure!(text.as_str() == Some(&expected), "{table}: {column} is {text} instead of {expected}: {row}");
            compared += 1;
        }
    }
    ensure!(compared >= rows.len(), "{table}: only {compared} cells of {} rows: {shown:?}", rows.len());
    Ok(())
}

/// The octets by which a row has its place.
fn share(api: &str, row: &Value) -> u64 {
    let keys: &[&str] = match api {
        "top/sources" => &["octetsSent"],
        "top/destinations" => &["octetsReceived"],
        _ => &["octets", "octetsSent", "octetsReceived"],
    };
    keys.iter().filter_map(|key| row[*key].as_u64()).sum()
}

#[test]
fn a_page_that_asks_others_or_complains_would_be_noticed() -> Result<()> {
    require!("chromium", "chromedriver");
    let room = Namespace::new()?;
    let browser = Browser::start(&room)?;
    browser.show(DESK)?;
    browser.open("data:text/html,<img src=\"http://127.0.0.1:9/\"><script>console.warn('complaint')</script>")?;
    browser.wait_for("the picture", "document.images[0].complete")?;
    ensure!(browser.requests()?.iter().any(|url| url == "http://127.0.0.1:9/"), "{:?}", browser.requests()?);
    let console = browser.console()?;
    ensure!(console.iter().any(|line| line.starts_with("WARNING ") && line.contains("complaint")), "{console:?}");
    ensure!(must_be_quiet(&browser).is_err(), "it was not noticed");
    Ok(())
}

#[test]
fn totals_on_the_page_are_what_was_sent() -> Result<()> {
    require!("chromium", "chromedriver");
    let room = Namespace::with_pair()?;
    let site = Site::start(&room)?;
    let browser = Browser::start(&room)?;
    browser.show(DESK)?;
    browser.open(&format!("{ORIGIN}/?{}", site.range))?;
    ready(&browser)?;
    for (amount, expected) in [("octets", site.sent.octets), ("packets", site.sent.packets), ("flows", site.flows)] {
        let shown = browser.attributes(&format!("[data-panel=totals] [data-total={amount}]"), "data-value")?;
        ensure!(shown == [expected.to_string()], "{amount}: {shown:?} instead of {expected}");
    }
    let balances = browser.attributes("[data-table=accounting] [data-balances]", "data-balances")?;
    ensure!(balances == ["true"], "{balances:?}");
    let seen = browser.attributes("[data-table=accounting] [data-term=seen]", "data-packets")?;
    let expected = site.daemon.status()?["accounting"][0]["seen"]["packets"].to_string();
    ensure!(seen == [expected.clone()], "{seen:?} instead of {expected}");

    // Only what one host has sent, which is one flow of the exporter.
    browser.open(&format!("{ORIGIN}/hosts/{HOST}?{}", site.range))?;
    ready(&browser)?;
    let sent = browser.attributes("[data-panel=about] [data-way=sent] [data-total=octets]", "data-value")?;
    ensure!(sent == ["1007"], "{sent:?}");
    let peers = browser.attributes("[data-table=peers] tbody [data-column=address]", "data-value")?;
    ensure!(peers == ["198.51.100.7"], "{peers:?}");
    must_be_quiet(&browser)?;
    site.daemon.stop().map(drop)
}

#[test]
fn a_click_filters_and_the_way_back_undoes_it_and_live_goes_on() -> Result<()> {
    require!("chromium", "chromedriver");
    let room = Namespace::with_pair()?;
    let site = Site::start(&room)?;
    let browser = Browser::start(&room)?;
    browser.show(DESK)?;
    browser.open(&format!("{ORIGIN}/ports?{}", site.range))?;
    ready(&browser)?;
    let all = browser.attributes("[data-table=protocols] tbody tr", "data-key")?;
    ensure!(all.len() > 3, "{all:?}");
    browser.click("[data-table=protocols] tbody [data-column=protocol] a[href]")?;
    browser.wait_for("a filter", "new URLSearchParams(location.search).get('protocol') !== null")?;
    ready(&browser)?;
    let one = browser.attributes("[data-table=protocols] tbody tr", "data-key")?;
    ensure!(one.len() == 1 && all.contains(&one[0]), "{one:?} of {all:?}");
    browser.run("history.back();", &[])?;
    browser.wait_for("the way back", "new URLSearchParams(location.search).get('protocol') === null")?;
    browser.wait_for(
        "all of it",
        &format!("document.querySelectorAll('[data-table=protocols] tbody tr').length === {}", all.len()),
    )?;

    // A theme that was chosen is kept, whatever the system prefers.
    let theme = "return document.documentElement.dataset.theme;";
    ensure!(browser.run(theme, &[])? == "light", "it is not as the system prefers");
    browser.click("[data-theme-choice=dark]")?;
    browser.open(&format!("{ORIGIN}/?range=live"))?;
    ready(&browser)?;
    ensure!(browser.run(theme, &[])? == "dark", "the theme was forgotten");

    // Live asks again every two seconds, and what comes meanwhile is there.
    let refreshed = "document.documentElement.dataset.refreshed";
    let first = browser.run(&format!("return {refreshed};"), &[])?;
    inject::send_flows(&room, "va", "vb", 100)?;
    browser.wait_for("newer numbers", &format!("{refreshed} !== '{}'", first.as_str().unwrap_or_default()))?;
    browser.wait_for(
        "hosts that have just come",
        "document.querySelectorAll('[data-table=top-sources] tbody tr').length > 0",
    )?;
    must_be_quiet(&browser)?;
    site.daemon.stop().map(drop)
}
