//! A browser: Chromium without a window, in a namespace, which chromedriver drives (W3C WebDriver). What it logs and whom it asks is
//! kept. The protocol is JSON over HTTP; most of what is wanted here are commands that only chromedriver has.

use std::cell::RefCell;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::namespace::Namespace;
use crate::process::{Process, wait_until};
use crate::rest;

/// What Chromium needs to run as root, without a graphics card, and to ask nobody on its own behalf.
const SWITCHES: [&str; 10] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-features=Translate,OptimizationHints,MediaRouter",
];

/// The browser's own pages, such as that of a new tab: what they say and ask for is left out.
const OWN_PAGES: &str = "chrome";

/// Notes when the page has said of itself in `data-state` what it has come to, on the page's own clock. It is there before anything of
/// a page runs.
const WATCH_STATES: &str = "\
    window.flowprobeStates = {};
    new MutationObserver(() => {
        const state = document.documentElement?.dataset.state;
        if (state && !(state in window.flowprobeStates)) window.flowprobeStates[state] = performance.now();
    }).observe(document, { attributes: true, subtree: true, attributeFilter: ['data-state'] });";

/// How large the page is, and how it is shown.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    /// Its width in CSS pixels.
    pub width: u32,
    /// Its height.
    pub height: u32,
    /// Whether the system prefers dark colours.
    pub dark: bool,
}

/// What a page holds.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// Octets of its scripts' objects.
    pub heap: f64,
    /// Nodes of its documents, also such as are in none any more.
    pub nodes: f64,
    /// Functions that wait for events.
    pub listeners: f64,
}

/// A browser with one tab.
pub struct Browser<'a> {
    room: &'a Namespace,
    /// The URL of the session, to which commands are said.
    session: String,
    seen: RefCell<Seen>,
    _driver: Process,
    _profile: TempDir,
}

/// What was logged so far: chromedriver tells each line once.
#[derive(Debug, Default)]
struct Seen {
    console: Vec<String>,
    requests: Vec<String>,
}

impl<'a> Browser<'a> {
    /// Starts a browser with an empty cache.
    ///
    /// # Errors
    /// chromedriver or Chromium does not start.
    pub fn start(room: &'a Namespace) -> Result<Self> {
        let profile = tempfile::tempdir()?;
        let mut command = room.command("chromedriver");
        let mut driver = Process::start(command.args(["--port=0", "--log-level=SEVERE"]).env("HOME", profile.path()))?;
        let line = driver.wait_for_output("its port", |line| line.contains("started successfully on port "))?;
        let port = line.rsplit(' ').next().unwrap_or_default().trim_end_matches('.');
        let mut switches: Vec<String> = SWITCHES.map(str::to_owned).to_vec();
        switches.push(format!("--user-data-dir={}", profile.path().join("profile").display()));
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": switches },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        } } });
        let answer = rest::post(room, &format!("http://127.0.0.1:{port}/session"), &wanted)?;
        let id = value(&answer)?["sessionId"].as_str().map(str::to_owned).context("no session")?;
        let session = format!("http://127.0.0.1:{port}/session/{id}");
        let browser = Self { room, session, seen: RefCell::default(), _driver: driver, _profile: profile };
        browser.devtools("Page.addScriptToEvaluateOnNewDocument", &json!({ "source": WATCH_STATES }))?;
        Ok(browser)
    }

    /// Shows pages like this from now on. A window cannot be as narrow as a telephone, so this is about the page alone.
    ///
    /// # Errors
    /// The browser refuses.
    pub fn show(&self, screen: Screen) -> Result<()> {
        let Screen { width, height, dark } = screen;
        // Telephones draw scroll bars over the page.
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.devtools("Emulation.setDeviceMetricsOverride", &size)?;
        let scheme = json!([{ "name": "prefers-color-scheme", "value": if dark { "dark" } else { "light" } }]);
        self.devtools("Emulation.setEmulatedMedia", &json!({ "features": scheme })).map(drop)
    }

    /// Forgets what it has of pages that were shown before, their storage included.
    ///
    /// # Errors
    /// The browser refuses.
    pub fn forget(&self, origin: &str) -> Result<()> {
        self.devtools("Network.clearBrowserCache", &json!({}))?;
        let what = json!({ "origin": origin, "storageTypes": "all" });
        self.devtools("Storage.clearDataForOrigin", &what).map(drop)
    }

    /// Goes to a URL and waits until it is loaded.
    ///
    /// # Errors
    /// There is nothing.
    pub fn open(&self, url: &str) -> Result<()> {
        self.command("url", &json!({ "url": url })).map(drop)
    }

    /// What the body of a function returns that runs in the page with these arguments.
    ///
    /// # Errors
    /// It throws.
    pub fn run(&self, body: &str, arguments: &[Value]) -> Result<Value> {
        self.command("execute/sync", &json!({ "script": body, "args": arguments })).with_context(|| body.to_owned())
    }

    /// Waits until an expression is true in the page.
    ///
    /// # Errors
    /// It takes too long.
    pub fn wait_for(&self, what: &str, expression: &str) -> Result<()> {
        let body = format!("return Boolean({expression});");
        let waited = wait_until(what, || Ok(self.run(&body, &[])? == true));
        waited.with_context(|| format!("the console: {:?}", self.console().unwrap_or_default()))
    }

    /// When the page has said of itself that it is in this state, in milliseconds since its navigation began.
    ///
    /// # Errors
    /// It has not.
    pub fn reached(&self, state: &str) -> Result<f64> {
        let at = self.run("return window.flowprobeStates[arguments[0]];", &[state.into()])?;
        at.as_f64().with_context(|| format!("the page was never `{state}`"))
    }

    /// An attribute of all elements that a selector finds, in the order of the page; those that do not have it are left out.
    ///
    /// # Errors
    /// The selector is none.
    pub fn attributes(&self, selector: &str, attribute: &str) -> Result<Vec<String>> {
        let body = "return [...document.querySelectorAll(arguments[0])].map(it => it.getAttribute(arguments[1])).filter(it => it !== null);";
        Ok(serde_json::from_value(self.run(body, &[selector.into(), attribute.into()])?)?)
    }

    /// Clicks on the first element that a selector finds.
    ///
    /// # Errors
    /// There is none.
    pub fn click(&self, selector: &str) -> Result<()> {
        let found = self.run(
            "const it = document.querySelector(arguments[0]); it?.click(); return it !== null;",
            &[selector.into()],
        )?;
        ensure!(found == true, "nothing is `{selector}`");
        Ok(())
    }

    /// Writes all of the page, not only what fits on the screen, to a file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn screenshot(&self, file: &Path) -> Result<()> {
        let answer = self.devtools("Page.captureScreenshot", &json!({ "captureBeyondViewport": true }))?;
        let image = STANDARD.decode(answer["data"].as_str().context("no image")?)?;
        fs::write(file, image).with_context(|| format!("cannot write {}", file.display()))
    }

    /// What the page holds once its garbage is collected.
    ///
    /// # Errors
    /// The browser is gone.
    pub fn held(&self) -> Result<Held> {
        self.devtools("HeapProfiler.collectGarbage", &json!({}))?;
        self.devtools("Performance.enable", &json!({}))?;
        let answer = self.devtools("Performance.getMetrics", &json!({}))?;
        let metric = |name: &str| {
            let all = answer["metrics"].as_array().into_iter().flatten();
            let found = all.into_iter().find(|metric| metric["name"] == name);
            found.and_then(|metric| metric["value"].as_f64()).with_context(|| format!("no {name}: {answer}"))
        };
        Ok(Held { heap: metric("JSHeapUsedSize")?, nodes: metric("Nodes")?, listeners: metric("JSEventListeners")? })
    }

    /// All that was said on the console so far: what scripts say, and what the browser holds against pages. Each begins with its level,
    /// such as `SEVERE`.
    ///
    /// # Errors
    /// The browser is gone.
    pub fn console(&self) -> Result<Vec<String>> {
        let lines = self.command("se/log", &json!({ "type": "browser" }))?;
        let mut seen = self.seen.borrow_mut();
        for line in lines.as_array().context("no list")? {
            let text = |name: &str| line[name].as_str().unwrap_or_default();
            if !text("message").starts_with(OWN_PAGES) {
                seen.console.push(format!("{} {}", text("level"), text("message")));
            }
        }
        Ok(seen.console.clone())
    }

    /// The URLs that pages have asked for so far, whatever became of that.
    ///
    /// # Errors
    /// The browser is gone.
    pub fn requests(&self) -> Result<Vec<String>> {
        let lines = self.command("se/log", &json!({ "type": "performance" }))?;
        let mut seen = self.seen.borrow_mut();
        for line in lines.as_array().context("no list")? {
            let event: Value = serde_json::from_str(line["message"].as_str().unwrap_or_default())?;
            let event = &event["message"];
            let url = event["params"]["request"]["url"].as_str().unwrap_or_default();
            if event["method"] == "Network.requestWillBeSent" && !url.starts_with(OWN_PAGES) {
                seen.requests.push(url.to_owned());
            }
        }
        Ok(seen.requests.clone())
    }

    /// A command of the DevTools protocol.
    fn devtools(&self, command: &str, parameters: &Value) -> Result<Value> {
        self.command("goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }

    fn command(&self, command: &str, parameters: &Value) -> Result<Value> {
        value(&rest::post(self.room, &format!("{}/{command}", self.session), parameters)?)
    }
}

impl Drop for Browser<'_> {
    fn drop(&mut self) {
        // Chromium ends with its session; what chromedriver would leave behind ends with the namespace.
        let _ = rest::delete(self.room, &self.session);
    }
}

/// What WebDriver answers, if it is no error.
fn value(answer: &rest::Answer) -> Result<Value> {
    let mut json = answer.json()?;
    ensure!(answer.status == 200, "{}: {}", json["value"]["error"], json["value"]["message"]);
    Ok(json["value"].take())
}
