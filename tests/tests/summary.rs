//! Holds that the summary fits the terminal, shows who talks, and is not garbled.

use anyhow::{Context as _, Result, ensure};
use flowprobe_tests::daemon::{binary, flowprobe};
use flowprobe_tests::frames::{Flow, packets_of};
use flowprobe_tests::inject;
use flowprobe_tests::namespace::Namespace;
use flowprobe_tests::process::Process;
use flowprobe_tests::require;
use flowprobe_tests::terminal::{Terminal, must_be_clean};
use rustix::process::Signal;

const COLUMNS: usize = 80;
const LINES: usize = 24;

/// A talker of IPv4, of which much is sent, and one of IPv6 with the longest address.
const TALKER: &str = "10.1.0.2";
const LONG_TALKER: &str = "2001:db8:1111:2222:3333:4444:5555:6661";

fn talk(room: &Namespace) -> Result<()> {
    let mut long = Flow::udp(1, true);
    long.id.source = LONG_TALKER.parse()?;
    long.id.destination = "2001:db8:1111:2222:3333:4444:5555:6662".parse()?;
    let (frames, _) = packets_of(&[Flow::udp(2, false), Flow::udp(2, false), long], 50)?;
    inject::send(room, "va", "vb", &frames)
}

#[test]
fn a_pipe_gets_plain_lines() -> Result<()> {
    require!();
    let room = Namespace::with_pair()?;
    let mut daemon = Process::start(&mut flowprobe(&room, &["run", "-i", "vb", "--interval", "200ms"])?)?;
    daemon.wait_for_error_lines("metering vb", 1)?;
    talk(&room)?;
    daemon.wait_for_output("the talker", |line| line.contains(TALKER))?;
    let finished = daemon.stop(Signal::TERM)?;
    ensure!(finished.status.success(), "ended with {}", finished.status);
    must_be_clean(&finished.stdout, COLUMNS)?;
    ensure!(finished.stdout.iter().any(|line| line.contains("vb")), "the interface is not named");
    Ok(())
}

#[test]
fn a_terminal_gets_one_screenful() -> Result<()> {
    require!("tmux");
    let room = Namespace::with_pair()?;
    let binary = binary()?;
    let binary = binary.to_str().context("a path in UTF-8")?;
    // The shell says how it ended: tmux sometimes misses the exit status of its own child.
    let command = "trap : INT; ip netns exec";
    let command = format!("{command} {} '{binary}' run -i vb --interval 200ms; echo ended with $?", room.name());
    let terminal = Terminal::start(COLUMNS, LINES, &command)?;
    terminal.wait_for(&["vb"])?;
    talk(&room)?;
    // Not always of one drain: IPv4 is drained first.
    let screen = terminal.wait_for(&[TALKER, LONG_TALKER])?;
    must_be_clean(&screen, COLUMNS)?;
    ensure!(screen.len() <= LINES, "{} lines", screen.len());

    // A warning does not tear the picture.
    room.ip("link delete va")?;
    let screen = terminal.wait_for(&["interface vb is gone"])?;
    must_be_clean(&screen, COLUMNS)?;

    // Redrawn in place, not one below the other.
    let titles = screen.iter().filter(|line| line.contains("flowprobe")).count();
    ensure!(titles <= 1, "drawn {titles} times:\n{}", screen.join("\n"));
    terminal.press("C-c")?;
    terminal.wait_for(&["ended with 0"])?;
    Ok(())
}
