//! Holds that `flowprobe top` shows on a terminal who talks, does what keys say, follows the daemon's comings and goings, and leaves the
//! terminal as it was.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use flowprobe_tests::certificates::Certificates;
use flowprobe_tests::daemon::{Daemon, binary, flowprobe};
use flowprobe_tests::frames::{Flow, UDP};
use flowprobe_tests::inject;
use flowprobe_tests::namespace::Namespace;
use flowprobe_tests::process::{Process, read, wait_until};
use flowprobe_tests::require;
use flowprobe_tests::terminal::{Terminal, must_be_clean};
use flowprobe_tests::truth::FlowId;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const WEB: &str = "127.0.0.1:8739";
const URL: &str = "http://127.0.0.1:8739";

/// Of one most octets come, of the other most packets.
const LOUD: &str = "10.1.0.7";
const BUSY: &str = "10.1.0.8";

/// What both send at once: six large packets, and forty that are empty.
fn frames() -> Result<Vec<Vec<u8>>> {
    let flow = |source: &str, port| -> Result<Flow> {
        let destination = Ipv4Addr::new(10, 2, 0, 1).into();
        let (source, protocol) = (source.parse()?, UDP);
        let id = FlowId {
            source,
            destination,
            source_port: 40_000,
            destination_port: port,
            protocol,
            vlan: 0,
            customer_vlan: 0,
        };
        Ok(Flow::new(id))
    };
    let (loud, busy) = (flow(LOUD, 443)?.packet(1400)?.0, flow(BUSY, 53)?.packet(0)?.0);
    Ok([vec![loud; 6], vec![busy; 40]].concat())
}

/// Has both talk while `test` runs.
fn while_they_talk(room: &Namespace, test: impl FnOnce() -> Result<()>) -> Result<()> {
    let (frames, done) = (frames()?, AtomicBool::new(false));
    thread::scope(|scope| {
        let talk = scope.spawn(|| -> Result<()> {
            while !done.load(Ordering::Relaxed) {
                inject::send(room, "va", "vb", &frames)?;
                thread::sleep(Duration::from_millis(200));
            }
            Ok(())
        });
        let tested = test();
        done.store(true, Ordering::Relaxed);
        talk.join().map_err(|_| anyhow!("who talks has panicked"))?.and(tested)
    })
}

/// `flowprobe top` with these arguments, in a shell that says how it ended and notes in `folder` how the terminal was before and after,
/// and the process ID.
fn top(room: &Namespace, folder: &Path, size: (usize, usize), arguments: &str) -> Result<Terminal> {
    let (binary, folder) = (binary()?, folder.display());
    let binary = binary.to_str().context("a path in UTF-8")?;
    let run = format!("echo \\$\\$ > {folder}/pid; exec ip netns exec {} '{binary}' top {arguments}", room.name());
    let command = format!(
        "trap : INT; stty -g > {folder}/before; echo typed before; sh -c \"{run}\"; echo ended with $?; stty -g > {folder}/after; exec cat"
    );
    // Notes of what ran in it before.
    for name in ["pid", "before", "after"] {
        let _ = std::fs::remove_file(format!("{folder}/{name}"));
    }
    Terminal::start(size.0, size.1, &command)
}

/// Makes sure that nothing of it is left on the terminal but how it ended.
fn must_have_left(terminal: &Terminal, folder: &Path) -> Result<()> {
    let screen = terminal.wait_for(&["typed before", "ended with 0"])?;
    let left: Vec<&String> = screen.iter().filter(|line| !line.is_empty()).collect();
    ensure!(left == ["typed before", "ended with 0"], "{left:?}");
    ensure!(terminal.alternate_and_cursor()? == (false, true), "the screen is not the usual one, or has no cursor");
    wait_until(
        "the terminal's modes",
        || Ok(std::fs::read(folder.join("after")).is_ok_and(|modes| !modes.is_empty())),
    )?;
    let [before, after] = ["before", "after"].map(|name| std::fs::read_to_string(folder.join(name)));
    ensure!(before? == after?, "the terminal's modes have changed");
    Ok(())
}

/// Whether these are on the screen, one above the other.
fn in_order(screen: &[String], above: &str, below: &str) -> bool {
    let line = |text: &str| screen.iter().position(|line| line.contains(text));
    line(above).is_some_and(|above| line(below).is_some_and(|below| above < below))
}

#[test]
fn who_talks_is_seen_on_terminals_of_all_sizes() -> Result<()> {
    require!("tmux", "stty");
    let (room, folder) = (Namespace::with_pair()?, TempDir::new()?);
    let daemon = Daemon::quick(&room, &["-i", "vb", "--web", WEB])?;
    wait_for_web(&room)?;
    while_they_talk(&room, || {
        for (columns, lines) in [(80, 24), (200, 50)] {
            let arguments = format!("--url {URL} --interval 300ms");
            let terminal = top(&room, folder.path(), (columns, lines), &arguments)?;
            let overview =
                ["flowprobe", URL, "accounting adds up", LOUD, BUSY, "UDP", "udp/443", "10.2.0.1:443", "? help"];
            let screen = terminal.wait_for(&overview)?;
            must_be_clean(&screen, columns)?;
            ensure!(screen.len() == lines, "{} lines", screen.len());
            ensure!(in_order(&screen, LOUD, BUSY), "{screen:#?}");

            // By packets, by the address, and back.
            terminal.press("2")?;
            terminal.wait_until("the loud one first", |screen| in_order(screen, LOUD, BUSY))?;
            terminal.press("s")?;
            terminal.wait_until("the busy one first", |screen| in_order(screen, BUSY, LOUD))?;
            terminal.wait_for(&["packets/s▼"])?;
            terminal.press("r")?;
            terminal.wait_until("the loud one first", |screen| in_order(screen, LOUD, BUSY))?;
            terminal.wait_for(&["packets/s▲"])?;

            // Only what is looked for.
            terminal.press("5")?;
            terminal.wait_for(&[LOUD, BUSY])?;
            terminal.press("/")?;
            terminal.press(BUSY)?;
            let alone = |screen: &[String]| screen.iter().all(|line| !line.contains(LOUD));
            terminal.wait_until("the busy one alone", |screen| alone(screen) && in_order(screen, BUSY, "filter: "))?;
            terminal.press("Escape")?;
            terminal.wait_for(&[LOUD, BUSY])?;

            // What talks to whom.
            terminal.press("4")?;
            terminal.press("Enter")?;
            let chosen = terminal.wait_for(&["Conversations of udp/", "10.2.0.1"])?;
            ensure!(chosen.iter().all(|line| !line.contains(BUSY)), "{chosen:#?}");
            terminal.press("Escape")?;
            terminal.wait_for(&["1 Overview"])?;
            terminal.press("6")?;
            terminal.wait_for(&["hook", "XDP", "adds up", "exported", "vb "])?;
            terminal.press("q")?;
            must_have_left(&terminal, folder.path())?;
        }
        Ok(())
    })?;
    daemon.stop().map(drop)
}

#[test]
fn a_terminal_may_change_its_size_and_a_signal_ends_it() -> Result<()> {
    require!("tmux", "stty");
    let (room, folder) = (Namespace::with_pair()?, TempDir::new()?);
    let daemon = Daemon::quick(&room, &["-i", "vb", "--web", WEB])?;
    wait_for_web(&room)?;
    while_they_talk(&room, || {
        let terminal = top(&room, folder.path(), (80, 24), &format!("--url {URL}"))?;
        terminal.wait_for(&[LOUD, "? help"])?;
        for (columns, lines) in [(200, 50), (40, 10), (12, 2), (61, 33), (80, 24)] {
            terminal.resize(columns, lines)?;
            let whole = |screen: &[String]| match columns {
                12 => screen[0] == "too small",
                _ => screen.iter().any(|line| line.contains(LOUD)) && screen[lines - 1].starts_with("? help"),
            };
            let screen = terminal.wait_until(&format!("all of it at {columns} by {lines}"), whole)?;
            must_be_clean(&screen, columns)?;
        }
        ensure!(terminal.alternate_and_cursor()? == (true, false), "not on a screen of its own");
        terminal.press("Space")?;
        terminal.wait_for(&["PAUSED since "])?;
        let pid: i32 = std::fs::read_to_string(folder.path().join("pid"))?.trim().parse()?;
        kill_process(Pid::from_raw(pid).context("a process")?, Signal::TERM)?;
        must_have_left(&terminal, folder.path())
    })?;
    daemon.stop().map(drop)
}

#[test]
fn a_daemon_that_goes_away_is_waited_for() -> Result<()> {
    require!("tmux", "stty");
    let (room, folder) = (Namespace::with_pair()?, TempDir::new()?);
    let arguments = ["-i", "vb", "--web", WEB];
    let daemon = Daemon::quick(&room, &arguments)?;
    wait_for_web(&room)?;
    let terminal = top(&room, folder.path(), (80, 24), &format!("--url {URL} --interval 300ms"))?;
    inject::send(&room, "va", "vb", &frames()?)?;
    terminal.wait_for(&[LOUD])?;
    terminal.press("w")?;
    terminal.wait_for(&[LOUD, "last 60 s"])?;
    daemon.stop()?;
    // The last picture stays.
    terminal.wait_for(&["NO ANSWER for", "Connection refused", LOUD])?;
    let daemon = Daemon::quick(&room, &arguments)?;
    terminal.wait_until("another daemon, which has seen nothing", |screen| {
        screen[0].starts_with("flowprobe") && screen.iter().all(|line| !line.contains(LOUD))
    })?;
    terminal.press("C-c")?;
    must_have_left(&terminal, folder.path())?;
    daemon.stop().map(drop)
}

#[test]
fn the_daemon_is_found_and_who_is_not_told_its_token_is_told_so() -> Result<()> {
    require!("tmux", "stty", "openssl");
    let (room, folder, sockets) = (Namespace::with_pair()?, TempDir::new()?, TempDir::new()?);
    let certificates = Certificates::new()?;
    let token = certificates.text("token", "txt");
    std::fs::write(&token, "0123456789abcdef0123456789abcdef\n")?;
    let (certificate, key) = (certificates.text("server", "pem"), certificates.text("server", "key"));
    let secure = ["--web-token", &token, "--web-certificate", &certificate, "--web-key", &key];
    let socket = sockets.path().to_str().context("a path")?;
    let daemon = Daemon::quick(&room, &[&["-i", "vb", "--web", WEB, "--status-socket", socket], &secure[..]].concat())?;
    // A mount namespace of its own, with the folder of this test's daemon where daemons usually are.
    let found = |flags: &str| -> Result<Terminal> {
        std::fs::create_dir_all("/run/flowprobe")?;
        let binary = binary()?;
        let binary = binary.to_str().context("a path in UTF-8")?;
        let run = format!("mount --bind {socket} /run/flowprobe && exec '{binary}' top {flags}");
        let command = format!("ip netns exec {} sh -c \"{run}\"; echo ended with $?; exec cat", room.name());
        Terminal::start(160, 24, &command)
    };
    let ca = certificates.text("ca", "pem");
    wait_until("the daemon's first drain", || Ok(room_has_sum(&daemon, socket)))?;
    let with_both = found(&format!("--ca-file {ca} --token-file {token}"))?;
    with_both.wait_for(&["flowprobe", "https://127.0.0.1:8739", "accounting adds up"])?;
    with_both.press("q")?;
    with_both.wait_for(&["ended with 0"])?;
    found(&format!("--ca-file {ca}"))?
        .wait_for(&["the daemon wants a token that it knows (--token-file)", "ended with 1"])?;
    found(&format!("--token-file {token}"))?
        .wait_for(&["cannot watch the daemon at https://127.0.0.1:8739", "ended with 1"])?;
    daemon.stop()?;
    found("")?.wait_for(&[
        "no flowprobe daemon answers at http://127.0.0.1:8739",
        "flowprobe run -i IFACE",
        "ended with 1",
    ])?;
    let daemon = Daemon::quick(&room, &["-i", "vb", "--web", "none", "--status-socket", socket])?;
    wait_until("the daemon's first drain", || Ok(room_has_sum(&daemon, socket)))?;
    found("")?.wait_for(&["cannot be watched: it was started with --web none", "ended with 1"])?;
    drop(folder);
    daemon.stop().map(drop)
}

/// Whether the daemon has drained, and so answers.
fn room_has_sum(daemon: &Daemon, folder: &str) -> bool {
    let socket = format!("{folder}/{}.sock", daemon.id());
    let Ok(binary) = binary() else { return false };
    read(std::process::Command::new(binary).args(["status", "--json", "--socket", &socket])).is_ok()
}

/// Waits until the daemon has something to show.
fn wait_for_web(room: &Namespace) -> Result<()> {
    let http = flowprobe_tests::http::Http::new(room, WEB)?;
    wait_until("the daemon's first drain", || Ok(http.get("/readyz").is_ok_and(|answer| answer.status == 200)))
}

#[test]
fn where_there_is_no_terminal_it_says_so() -> Result<()> {
    require!();
    let room = Namespace::new()?;
    let finished = Process::start(&mut flowprobe(&room, &["top", "--url", URL])?)?.wait()?;
    ensure!(finished.status.code() == Some(2) && finished.stdout.is_empty(), "{finished:?}");
    ensure!(finished.stderr.len() == 1 && finished.stderr[0].contains("draws on a terminal"), "{finished:?}");
    Ok(())
}
