//! Holds that the live view goes on without growing, in the browser and in the daemon: half a minute, in its long form an hour.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use flowprobe_tests::accuracy::seconds;
use flowprobe_tests::browser::{Browser, Held, Screen};
use flowprobe_tests::daemon::Daemon;
use flowprobe_tests::namespace::Namespace;
use flowprobe_tests::process::Process;
use flowprobe_tests::require;
use flowprobe_tests::resources::memory;

const WEB: &str = "127.0.0.1:8739";

/// When the page has drawn last, by its own clock.
fn refreshed(browser: &Browser<'_>) -> Result<String> {
    let value = browser.run("return document.documentElement.dataset.refreshed ?? '';", &[])?;
    Ok(value.as_str().unwrap_or_default().to_owned())
}

#[test]
fn live_goes_on_and_nothing_grows() -> Result<()> {
    require!("chromium", "chromedriver", "ping");
    let (lasts, settles) = (seconds(30, 3600), seconds(15, 330));
    let (here, there) = (Namespace::new()?, Namespace::new()?);
    here.connect("veth0", &there)?;
    here.address("veth0", "10.9.0.1/24")?;
    there.address("veth0", "10.9.0.2/24")?;
    let daemon = Daemon::quick(&here, &["-i", "veth0", "--web", WEB])?;
    let count = ((lasts + settles).as_secs() * 5 + 100).to_string();
    let ping = Process::start(there.command("ping").args(["-q", "-i", "0.2", "-c", &count, "10.9.0.1"]))?;
    let browser = Browser::start(&here)?;
    browser.show(Screen { width: 1440, height: 900, dark: false })?;
    browser.open(&format!("http://{WEB}/?range=live"))?;
    browser.wait_for("a page that is ready", "document.documentElement.dataset.state === 'ready'")?;
    // The charts are of five minutes: so long there is more from drain to drain.
    sleep(settles);
    let (before, memory_before) = (browser.held()?, memory(daemon.id(), "VmRSS")?);
    let end = Instant::now() + lasts;
    while Instant::now() < end {
        let last = refreshed(&browser)?;
        sleep(Duration::from_secs(10));
        ensure!(refreshed(&browser)? != last, "the page stands still since {last}");
    }
    let (after, memory_after) = (browser.held()?, memory(daemon.id(), "VmRSS")?);
    println!("{before:?} → {after:?}; the daemon {memory_before} → {memory_after} octets");
    let Held { heap, nodes, listeners } = before;
    // Where the charts are not of five minutes yet, their lines grow.
    ensure!(after.heap < heap * 1.3 + 4e6 && after.nodes < nodes * 1.2 + 200.0, "{before:?} {after:?}");
    ensure!(after.listeners < listeners * 1.1 + 20.0, "{before:?} {after:?}");
    ensure!(memory_after < memory_before + (24 << 20), "{memory_before} {memory_after}");
    let sources = browser.attributes("[data-table=top-sources] tbody tr", "data-key")?;
    ensure!(sources.iter().any(|source| source == "10.9.0.2"), "{sources:?}");
    ensure!(browser.console()?.is_empty(), "{:?}", browser.console()?);
    ping.stop(rustix::process::Signal::INT)?;
    daemon.stop().map(drop)
}
