//! Pages of the dashboard as a browser shows them: in which looks, when they are ready, and what has to hold on each.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::browser::{Browser, Screen};

/// Where daemons of tests have it, in their namespaces.
pub const WEB: &str = "127.0.0.1:8739";
/// The same as a browser says it.
pub const ORIGIN: &str = "http://127.0.0.1:8739";

/// A large screen.
pub const DESK: Screen = Screen { width: 1440, height: 900, dark: false };
/// All that pages are looked at in, with their names.
pub const LOOKS: [(&str, Screen); 4] = [
    ("1440-light", DESK),
    ("1440-dark", Screen { dark: true, ..DESK }),
    ("390-dark", Screen { width: 390, height: 844, dark: true }),
    ("390-light", Screen { width: 390, height: 844, dark: false }),
];

/// Where the pictures go: beside what cargo builds.
///
/// # Errors
/// The folder cannot be made.
pub fn pictures() -> Result<PathBuf> {
    let ourselves = std::env::current_exe()?;
    let folder = ourselves.ancestors().nth(3).context("no target folder")?.join("dashboard");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Waits until the page has all that it wants to have.
///
/// # Errors
/// It takes too long.
pub fn ready(browser: &Browser<'_>) -> Result<()> {
    browser.wait_for("a page that is ready", "document.documentElement.dataset.state === 'ready'")
}

/// Nobody was asked but the daemon, and nothing was said on the console.
///
/// # Errors
/// Somebody was, or something.
pub fn must_be_quiet(browser: &Browser<'_>) -> Result<()> {
    let console = browser.console()?;
    ensure!(console.is_empty(), "{console:#?}");
    let is_elsewhere = |url: &&String| {
        !["about:", "data:", "blob:"].iter().any(|own| url.starts_with(own)) && !url.starts_with(&format!("{ORIGIN}/"))
    };
    let requests = browser.requests()?;
    let elsewhere: Vec<&String> = requests.iter().filter(is_elsewhere).collect();
    ensure!(elsewhere.is_empty(), "{elsewhere:?}");
    let troubles =
        browser.run("return [...document.querySelectorAll('.trouble:not([hidden])')].map(it => it.innerText);", &[])?;
    ensure!(troubles == Value::Array(Vec::new()), "{troubles}");
    Ok(())
}

/// The page is no wider than the screen, has the theme's background, and its charts, of which there are so many, are drawn in their size.
///
/// # Errors
/// It is not so.
pub fn must_fit(browser: &Browser<'_>, screen: Screen, charts: usize) -> Result<()> {
    let brightness = "getComputedStyle(document.body).backgroundColor.match(/[0-9.]+/g).slice(0, 3).reduce((sum, one) => sum + Number(one), 0) / 3";
    browser.wait_for("the theme", &format!("({brightness} < 128) === {}", screen.dark))?;
    browser.wait_for(
        "charts that are drawn in their size",
        "[...document.querySelectorAll('[data-chart]')].every(it => { \
         const drawn = it.querySelector('svg.main-svg'); \
         return drawn && Math.abs(drawn.clientWidth - it.clientWidth) < 2; })",
    )?;
    let seen = browser.run(
        "const root = document.documentElement; \
         const marks = '.scatterlayer .trace path, .barlayer .point path, .sankey .sankey-link'; \
         return { screen: innerWidth, wide: root.scrollWidth, width: root.clientWidth, \
           marks: [...document.querySelectorAll('[data-chart]')].map(it => it.querySelectorAll(marks).length) };",
        &[],
    )?;
    // A screen grows where what it shows is too wide for it.
    ensure!(seen["screen"] == screen.width && seen["wide"].as_u64() <= seen["width"].as_u64(), "{seen}");
    let marks = seen["marks"].as_array().context("charts")?;
    ensure!(marks.len() >= charts && marks.iter().all(|count| count != 0), "{charts} charts: {seen}");
    Ok(())
}
