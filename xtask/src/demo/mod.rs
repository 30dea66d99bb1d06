//! `cargo xtask demo`: the daemon on the gateway of a small network that exists only in network namespaces, with real
//! traffic through it and trouble to be found. Nothing outside those namespaces is touched, and they are gone at the end.

mod dashboard;
mod folder;
mod lab;
mod traffic;
mod trouble;

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::build_and_run::has;
use crate::{process, workspace};
use folder::Folder;
use lab::{LINKS, Lab, OUTSIDE, SERVER};
pub(crate) use traffic::{TrafficArgs, run as run_traffic};

/// What the daemon gets to finish its exports.
const GRACE: Duration = Duration::from_secs(10);

/// Show the daemon at work on a gateway between network namespaces, with real traffic (needs root)
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long it runs
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Passed to `flowprobe run`
    #[arg(last = true)]
    flags: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("error: the demo makes network namespaces and loads BPF programs, which takes root: run it as root");
        return Ok(ExitCode::from(2));
    }
    let daemon = workspace::build_daemon()?;
    // From here on a signal ends the demo in good order.
    let ended = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&ended)).context("cannot take over the signals")?;
    }
    let lab = Lab::build()?;
    let result = show(&lab, &daemon, args, &ended);
    println!("demo: taking down the namespaces");
    drop(lab);
    result
}

/// Traffic and daemon, until the time is up, a signal came or the daemon has ended by itself.
fn show(lab: &Lab, daemon: &Path, args: &Args, ended: &AtomicBool) -> Result<ExitCode> {
    let ports = LINKS.map(|link| link.port);
    println!(
        "demo: two clients ── gateway ── a server and the outside; the daemon meters {} of the gateway for {} s",
        ports.join(", "),
        args.seconds
    );
    let servers =
        [SERVER.host, OUTSIDE.host].map(|host| Process::start(&mut traffic::server(lab, host, args.seconds)?));
    let _servers = servers.into_iter().collect::<Result<Vec<_>>>()?;
    let mut command = lab.command(lab::GATEWAY, daemon);
    command.arg("run").args(ports.iter().flat_map(|port| ["-i", port]));
    let folder = Folder::new()?;
    command.args(folder.arguments(&args.flags)?).args(&args.flags);
    let mut meter = Process::start(&mut command)?;
    if !has(&args.flags, &["--web"]) {
        dashboard::open_door(lab.path(lab::GATEWAY));
    }
    trouble::announce(args.seconds);
    // Its programs are attached before the first packet of the traffic.
    sleep(Duration::from_secs(1));
    let end = Instant::now() + Duration::from_secs(args.seconds);
    let clients = lab::CLIENTS.iter().map(|client| traffic::client(lab, client.host, args.seconds));
    let troubles = trouble::TROUBLES.iter().map(|one| traffic::trouble(lab, one, args.seconds));
    let traffic = clients.chain(troubles).map(|command| Process::start(&mut command?)).collect::<Result<Vec<_>>>()?;

    let mut by_itself = None;
    while Instant::now() < end && !ended.load(Ordering::Relaxed) && by_itself.is_none() {
        sleep(Duration::from_millis(100));
        by_itself = meter.child.try_wait().context("cannot wait for the daemon")?;
    }
    drop(traffic);
    let status = match by_itself {
        Some(status) => status,
        None => meter.end()?,
    };
    if !status.success() {
        eprintln!("error: the daemon ended with {status}");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// A child in a process group of its own, so that a Ctrl-C reaches it through us only; killed with its children when
/// dropped.
struct Process {
    child: Child,
}

impl Process {
    fn start(command: &mut Command) -> Result<Self> {
        let child =
            command.process_group(0).spawn().with_context(|| format!("cannot start `{}`", process::line(command)))?;
        Ok(Self { child })
    }

    /// Asks it to end, and insists after a while.
    fn end(&mut self) -> Result<ExitStatus> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).context("cannot end the daemon")?;
        let end = Instant::now() + GRACE;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            sleep(Duration::from_millis(20));
        }
        eprintln!("error: the daemon did not end within {} s: killed", GRACE.as_secs());
        self.child.kill()?;
        Ok(self.child.wait()?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // No such process is what we want to hear.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}
