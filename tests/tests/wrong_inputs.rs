//! Holds that a wrong flag, file or privilege gets one clear error on standard error and exit code 2, and starts nothing.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use flowprobe_tests::daemon::{binary, flowprobe};
use flowprobe_tests::frames::{Flow, packets_of};
use flowprobe_tests::inject;
use flowprobe_tests::namespace::Namespace;
use flowprobe_tests::process::{Finished, Process, wait_until};
use flowprobe_tests::require;
use tempfile::TempDir;

/// One error that contains all of `parts`, exit code 2, nothing on standard output.
fn must_be_refused(finished: &Finished, parts: &[&str]) -> Result<()> {
    let said = finished.stderr.join("\n");
    ensure!(finished.status.code() == Some(2), "ended with {}: {said}", finished.status);
    ensure!(finished.stdout.is_empty(), "printed {:?}", finished.stdout);
    let errors = finished.stderr.iter().filter(|line| line.starts_with("error: ") || line.starts_with("flowprobe: "));
    ensure!(errors.count() == 1, "not one error: {said}");
    ensure!(!said.contains("panicked"), "{said}");
    for part in parts {
        ensure!(said.contains(part), "`{part}` is not in: {said}");
    }
    Ok(())
}

fn run(room: &Namespace, arguments: &[&str]) -> Result<Finished> {
    Process::start(&mut flowprobe(room, arguments)?)?.wait()
}

#[test]
fn flags_that_are_wrong() -> Result<()> {
    require!();
    let room = Namespace::with_pair()?;
    let long = "x".repeat(300);
    let cases: [(&[&str], &[&str]); 28] = [
        (&["-i", "nope0"], &["no interface `nope0`", "lo", "va", "vb"]),
        (&["-i", ""], &["no interface ``", "vb"]),
        (&["-i", &long], &["no interface", "vb"]),
        (&[], &["no interface has the default route", "-i", "vb"]),
        (&["-i", "vb", "-i", "vb"], &["`vb` is named twice"]),
        (&["-i", "vb", "--collector", "127.0.0.1:4739"], &["127.0.0.1:4739", "udp://192.0.2.1:4739"]),
        (&["-i", "vb", "--collector", "http://127.0.0.1"], &["unknown scheme `http`"]),
        (&["-i", "vb", "--collector", "udp://127.0.0.1:99999"], &["port from 1 to 65535", "99999"]),
        (&["-i", "vb", "--collector", "udp://127.0.0.1?mtu=1"], &["`mtu`", "512"]),
        (&["-i", "vb", "--collector", "udp://127.0.0.1?retries=3"], &["`retries`", "unknown"]),
        (&["-i", "vb", "--collector", "udp://2001:db8::1:4739"], &["in brackets"]),
        (&["-i", "vb", "--interval", "5parsecs"], &["--interval", "200ms", "`5parsecs`"]),
        (&["-i", "vb", "--interval", "0"], &["--interval", "10ms"]),
        (&["-i", "vb", "--idle-timeout=-1s"], &["--idle-timeout", "`-1s`"]),
        (&["-i", "vb", "--active-timeout", ""], &["--active-timeout"]),
        (&["-i", "vb", "--max-flows", "0"], &["--max-flows", "1 to 16777216", "`0`"]),
        (&["-i", "vb", "--max-flows", "99999999999"], &["--max-flows", "1 to 16777216"]),
        (&["-i", "vb", "--mode", "fast"], &["'fast'", "auto", "native", "tc", "generic"]),
        (&["-i", "vb", "--json", "--quiet"], &["--json", "--quiet"]),
        (&["-i", "vb", "--frobnicate"], &["--frobnicate"]),
        (&["-i", "vb", "--observation-domain", "-7"], &["-7"]),
        (&["-i", "vb", "stray"], &["stray"]),
        (&["-i", "vb", "--decapsulate", "vxlan,l2tp"], &["`l2tp`", "geneve", "6in4"]),
        (&["-i", "vb", "--sample", "0"], &["--sample", "`0`"]),
        (&["-i", "vb", "--sample", "2:100"], &["one of how many", "`2:100`"]),
        (&["-i", "vb", "--sample-by", "flows"], &["--sample", "1:100"]),
        (&["-i", "vb", "--filter", "host"], &["--filter", "column 5", "an address"]),
        (&["-i", "vb", "--filter", "ether[0] & 1 != 0"], &["column 1", "`ether[0]`"]),
    ];
    for (arguments, parts) in cases {
        let finished = run(&room, &[&["run"], arguments].concat())?;
        must_be_refused(&finished, parts).with_context(|| format!("flowprobe run {arguments:?}"))?;
        ensure!(room.programs("vb")?.is_empty(), "{arguments:?}: a program is attached");
    }
    must_be_refused(&run(&room, &["fly"])?, &["fly"])
}

#[test]
fn files_that_are_wrong() -> Result<()> {
    require!();
    let room = Namespace::with_pair()?;
    let folder = TempDir::new()?;
    let write = |name: &str, octets: &[u8]| -> Result<String> {
        let path = folder.path().join(name);
        fs::write(&path, octets)?;
        Ok(path.to_str().context("a path in UTF-8")?.to_owned())
    };
    let huge = "# nothing\n".repeat(1 << 20) + "mode = 7\n";
    let cases: [(&[u8], &[&str]); 10] = [
        (b"interval = \"1s\"\nmode = \"fast\"\n", &[":2:8: mode", "\"auto\"", "found string"]),
        (b"interfaces = [\"vb\"]\n\nmax-flow = 3\n", &[":3:1: unknown key `max-flow`", "max-flows"]),
        (b"max-flows = 0\n", &[":1:13: max-flows", "1 to 16777216"]),
        (b"idle-timeout = \"soon\"\n", &[":1:16: idle-timeout", "200ms"]),
        (b"interfaces = \"vb\"\n", &[":1:14: interfaces", "a list of interface names"]),
        (b"collectors = [\"udp://\"]\n", &[":1:14: collectors", "the host is missing"]),
        (b"interval = ", &[":1:"]),
        (b"interfaces = [\"nope0\"]\n", &["no interface `nope0`", "vb"]),
        (b"mode = \"\xff\xfe\"\n", &["UTF-8"]),
        (huge.as_bytes(), &[":1048577:8: mode"]),
    ];
    for (number, (content, parts)) in cases.into_iter().enumerate() {
        let path = write(&format!("{number}.toml"), content)?;
        for arguments in [vec!["check-config", &path], vec!["run", "-c", &path]] {
            let shown = format!("{} {}", arguments[0], String::from_utf8_lossy(&content[..content.len().min(40)]));
            let finished = run(&room, &arguments)?;
            must_be_refused(&finished, parts).with_context(|| shown.clone())?;
            let names_file = finished.stderr[0].contains(&path) || parts[0].starts_with("no interface");
            ensure!(names_file, "{shown}: the file is not named: {:?}", finished.stderr);
        }
    }
    let absent = folder.path().join("absent.toml");
    for path in [absent.as_path(), folder.path(), Path::new("/dev/null/x")] {
        let path = path.to_str().context("a path in UTF-8")?;
        must_be_refused(&run(&room, &["check-config", path])?, &[path])?;
        must_be_refused(&run(&room, &["run", "-c", path])?, &[path])?;
    }
    Ok(())
}

#[test]
fn files_that_are_right() -> Result<()> {
    require!();
    let room = Namespace::with_pair()?;
    let folder = TempDir::new()?;
    let path = folder.path().join("right.toml");
    let path_text = path.to_str().context("a path in UTF-8")?;
    fs::write(&path, "interfaces = [\"vb\"]\nmax-flows = 1_000\ninterval = \"200ms\"\noutput = \"json\"\n")?;
    let shown = run(&room, &["check-config", path_text])?;
    ensure!(shown.status.success() && shown.stderr.is_empty(), "{shown:?}");
    for line in
        ["interfaces = [\"vb\"]", "max-flows = 1000", "interval = \"200ms\"", "mode = \"auto\"", "output = \"json\""]
    {
        ensure!(shown.stdout.iter().any(|shown| shown == line), "`{line}` is not in {:?}", shown.stdout);
    }
    // What it shows is a file that means the same.
    fs::write(&path, shown.stdout.join("\n"))?;
    ensure!(run(&room, &["check-config", path_text])?.stdout == shown.stdout, "not the same the second time");

    // An empty file says nothing, and leaves all to the flags; a flag wins over the file.
    fs::write(&path, "")?;
    let mut daemon = Process::start(&mut flowprobe(&room, &["run", "-c", path_text, "-i", "vb", "--json"])?)?;
    daemon.wait_for_error_lines("metering vb", 1)?;
    ensure!(daemon.stop(rustix::process::Signal::TERM)?.status.success(), "an empty file is none");
    fs::write(&path, "interfaces = [\"va\"]\nmode = \"generic\"\n")?;
    let mut daemon = Process::start(&mut flowprobe(&room, &["run", "-c", path_text, "-i", "vb", "--json"])?)?;
    daemon.wait_for_error_lines("metering vb (generic XDP)", 1)?;
    let finished = daemon.stop(rustix::process::Signal::TERM)?;
    ensure!(!finished.stderr.iter().any(|line| line.contains("metering va")), "{:?}", finished.stderr);
    Ok(())
}

#[test]
fn without_privilege_the_missing_capability_is_named() -> Result<()> {
    require!("setpriv");
    let room = Namespace::with_pair()?;
    // A copy where everybody may start it.
    let folder = TempDir::new()?;
    let copy = folder.path().join("flowprobe");
    fs::copy(binary()?, &copy)?;
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(folder.path(), Clone::clone(&everybody))?;
    fs::set_permissions(&copy, everybody)?;
    let run = |setpriv: &[&str], flowprobe: &[&str]| -> Result<Finished> {
        let mut command = room.command("setpriv");
        command.args(setpriv).arg(&copy).args(["run", "-i", "vb"]).args(flowprobe);
        Process::start(&mut command)?.wait()
    };
    let nobody = ["--reuid", "65534", "--clear-groups"];
    let all = ["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN", "setcap"];
    must_be_refused(&run(&nobody, &[])?, &all)?;
    must_be_refused(&run(&["--bounding-set", "-net_admin"], &[])?, &["CAP_NET_ADMIN"])?;
    must_be_refused(&run(&["--bounding-set", "-net_raw"], &["--promisc"])?, &["CAP_NET_RAW"])?;
    // What is wrong before that is said first, to everybody.
    must_be_refused(&run(&nobody, &["--max-flows", "0"])?, &["--max-flows"])
}

#[test]
fn a_reader_that_goes_away_ends_it_cleanly() -> Result<()> {
    require!();
    let room = Namespace::with_pair()?;
    let mut command =
        flowprobe(&room, &["run", "-i", "vb", "--json", "--interval", "100ms", "--idle-timeout", "200ms"])?;
    let mut daemon = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let output = daemon.stdout.take().context("no standard output")?;
    let mut head = Command::new("head").args(["-n", "1"]).stdin(output).stdout(Stdio::piped()).spawn()?;
    let ended = wait_until("the daemon's end", || {
        let (frames, _) = packets_of(&[Flow::udp(1, false)], 1)?;
        inject::send(&room, "va", "vb", &frames)?;
        Ok(daemon.try_wait()?.is_some())
    });
    if ended.is_err() {
        daemon.kill()?;
    }
    let status = daemon.wait()?;
    head.wait()?;
    ended?;
    ensure!(status.success(), "ended with {status}");
    let mut said = String::new();
    std::io::Read::read_to_string(&mut daemon.stderr.take().context("no error output")?, &mut said)?;
    ensure!(!said.contains("panicked"), "{said}");
    ensure!(room.programs("vb")?.is_empty(), "programs are left");
    Ok(())
}

#[test]
fn a_reader_that_stands_still_does_not_keep_it_from_ending() -> Result<()> {
    require!();
    let room = Namespace::with_pair()?;
    let mut command = flowprobe(&room, &["run", "-i", "vb", "--json", "--interval", "10ms"])?;
    let mut daemon = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let said = daemon.stderr.take().context("no error output")?;
    let mut said = std::io::BufRead::lines(std::io::BufReader::new(said));
    // Accounting alone fills the pipe and then the queue; the loss is reported.
    let lost = said.by_ref().map_while(Result::ok).any(|line| line.contains("records lost on the way out"));
    let pid = rustix::process::Pid::from_child(&daemon);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    let ended = wait_until("the daemon's end", || Ok(daemon.try_wait()?.is_some()));
    if ended.is_err() {
        daemon.kill()?;
    }
    let status = daemon.wait()?;
    ended?;
    ensure!(lost && status.success(), "ended with {status}; the loss was reported: {lost}");
    ensure!(room.programs("vb")?.is_empty(), "programs are left");
    Ok(())
}
