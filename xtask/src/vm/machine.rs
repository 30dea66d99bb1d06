//! A virtual machine: qemu, watched.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::kernels::Image;
use super::report::Report;
use crate::process;
use crate::tally::Outcome;

/// A machine that says nothing for this long hangs: emulated, it may verify the larger programs for minutes.
const SILENCE: Duration = Duration::from_secs(600);

/// All of a machine's life.
const LIFE: Duration = Duration::from_secs(1800);

/// Kernel messages that are shown of a machine that failed.
const LAST_LINES: usize = 40;

/// Ends at a panic, as at power off, for `-no-reboot`.
const KERNEL_COMMAND_LINE: &str = "console=ttyS0 panic=-1 oops=panic loglevel=5";

/// Boots the kernel into the archive, shows what its tests say, and counts. The kernel's own messages go to `console`.
pub(super) fn run(image: &Image, initrd: &Path, console: &Path) -> Result<Outcome> {
    let mut command = qemu(image, initrd, console);
    println!("{}", process::line(&command));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{}`", process::line(&command)))?;
    let lines = lines(child.stdout.take().context("no output")?);
    let machine = Running(child);
    let mut report = Report::default();
    let why = watch(&lines, &mut report);
    drop(machine);
    let outcome = report.finish(why);
    if outcome.failed() > 0 {
        show_end(console)?;
    }
    Ok(outcome)
}

fn qemu(image: &Image, initrd: &Path, console: &Path) -> Command {
    let mut command = Command::new("qemu-system-x86_64");
    // Emulated: where this runs in a machine that is virtual itself, KVM may be there and hang.
    command.args(["-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", "2048"]);
    command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
    // The first serial port is the kernel's console, the second says how the tests go.
    command.arg("-serial").arg(format!("file:{}", console.display())).args(["-serial", "stdio"]);
    command.arg("-kernel").arg(&image.vmlinuz).arg("-initrd").arg(initrd).args(["-append", KERNEL_COMMAND_LINE]);
    command
}

/// Reads and shows until the machine ends; why, if it is before it was done.
fn watch(lines: &Receiver<String>, report: &mut Report) -> &'static str {
    let end = Instant::now() + LIFE;
    loop {
        let patience = SILENCE.min(end.saturating_duration_since(Instant::now()));
        match lines.recv_timeout(patience) {
            Ok(line) => {
                println!("{line}");
                report.read_line(&line);
            }
            // It powers off, and if not, we end it.
            Err(_) if report.is_done() => return "",
            Err(RecvTimeoutError::Disconnected) => return "the machine went down before its tests were done",
            Err(RecvTimeoutError::Timeout) => return "the machine hung or took too long and was ended",
        }
    }
}

/// The lines of a pipe, read by a thread that ends with it.
fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while matches!(pipe.read_until(b'\n', &mut line), Ok(octets) if octets > 0) {
            // Whoever listened has given up.
            if sender.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                break;
            }
            line.clear();
        }
    });
    receiver
}

/// A running qemu, ended when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn show_end(console: &Path) -> Result<()> {
    let said = std::fs::read(console).with_context(|| format!("cannot read {}", console.display()))?;
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<&str> = said.lines().collect();
    println!("the console's last lines; all are in {}:", console.display());
    for line in &lines[lines.len().saturating_sub(LAST_LINES)..] {
        println!("  {line}");
    }
    Ok(())
}
