//! Holds that captures are read to the same flows as an independent reader finds in them, and that broken ones say where.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use flowprobe_tests::captures::{captures_in, ethernet_frames, mutated, pcap, shared};
use flowprobe_tests::daemon::binary;
use flowprobe_tests::process::{Finished, Process};
use flowprobe_tests::{require, skip};
use netflow_parser::{NetflowPacket, NetflowParser};
use serde_json::Value;
use tempfile::TempDir;

fn replay(arguments: &[&str]) -> Result<Finished> {
    Process::start(Command::new(binary()?).arg("replay").args(arguments))?.wait()
}

/// An IPv4 UDP frame from `port`.
fn frame(port: u8) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    frame.extend([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 198, 51, 100, 2]);
    frame.extend([0, port, 0, 53, 0, 8, 0, 0]);
    frame
}

fn write(folder: &TempDir, name: &str, content: &[u8]) -> Result<String> {
    let path = folder.path().join(name);
    fs::write(&path, content)?;
    Ok(path.to_str().context("a path that is text")?.to_owned())
}

/// The records of JSON lines, and the accounting object.
fn parsed(lines: &[String]) -> Result<(Vec<Value>, Value)> {
    let mut records: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line)).collect::<Result<_, _>>()?;
    let accounting = records.pop().context("a line")?["accounting"].take();
    ensure!(accounting.is_object(), "the last line is no accounting");
    Ok((records, accounting))
}

/// Replays a capture, checks that its sum holds, and has the independent reader compare the flows.
fn agrees(oracle: &Path, folder: &TempDir, capture: &str) -> Result<()> {
    let finished = replay(&["--json", capture])?;
    ensure!(finished.status.success(), "{capture}: {:?}", finished.stderr);
    let (_, sum) = parsed(&finished.stdout)?;
    for unit in ["packets", "octets"] {
        let terms = ["exported", "held", "overflow", "unparsed", "sampledOut"];
        let total: u64 = terms.iter().filter_map(|term| sum[term][unit].as_u64()).sum();
        ensure!(sum["seen"][unit] == total, "{capture}: {sum}");
    }
    let records = write(folder, "records.json", finished.stdout.join("\n").as_bytes())?;
    let verdict = Command::new("python3").arg(oracle).args(["--compare", &records, capture]).output()?;
    ensure!(verdict.status.success(), "{capture}: {}", String::from_utf8_lossy(&verdict.stdout));
    Ok(())
}

#[test]
fn every_capture_gives_the_flows_that_another_reader_finds() -> Result<()> {
    require!("python3");
    let Some(oracle) = shared("tools/pcap_oracle.py") else {
        skip::note("every_capture_gives_the_flows_that_another_reader_finds", "no captures beside this checkout");
        return Ok(());
    };
    let folder = TempDir::new()?;
    let mut compared = 0;
    for place in ["corpus/packets", "corpus/labelled", "corpus/netflow"] {
        for capture in captures_in(&shared(place).with_context(|| format!("no {place}"))?)? {
            agrees(&oracle, &folder, capture.to_str().context("a path that is text")?)?;
            compared += 1;
        }
    }
    ensure!(compared > 0, "no capture was found");
    println!("{compared} captures compared");
    Ok(())
}

#[test]
fn frames_gone_wrong_give_the_flows_that_another_reader_finds() -> Result<()> {
    require!("python3");
    let (Some(oracle), Some(captures)) = (shared("tools/pcap_oracle.py"), shared("corpus/packets")) else {
        skip::note("frames_gone_wrong_give_the_flows_that_another_reader_finds", "no captures beside this checkout");
        return Ok(());
    };
    let files: Vec<Vec<u8>> = captures_in(&captures)?.iter().map(fs::read).collect::<Result<_, _>>()?;
    let captured: Vec<&[u8]> = files.iter().flat_map(|file| ethernet_frames(file)).collect();
    let folder = TempDir::new()?;
    for seed in [1, 0x5eed] {
        println!("seed {seed:#x}");
        let capture = write(&folder, "mutated.pcap", &pcap(&mutated(&captured, 10_000, seed)))?;
        agrees(&oracle, &folder, &capture)?;
    }
    Ok(())
}

#[test]
fn every_output_has_every_record() -> Result<()> {
    require!();
    let folder = TempDir::new()?;
    let frames: Vec<Vec<u8>> = (1..=40).map(|number| frame(number % 4 + 1)).collect();
    let file = write(&folder, "four.pcap", &pcap(&frames))?;
    let ipfix = folder.path().join("four.ipfix");
    let ipfix = ipfix.to_str().context("a path that is text")?;
    let finished = replay(&["--json", "--ipfix-file", ipfix, &file])?;
    ensure!(finished.status.success(), "{:?}", finished.stderr);
    let (records, sum) = parsed(&finished.stdout)?;
    ensure!(records.len() == 4 && sum["seen"]["packets"] == 40, "{records:?} {sum}");
    for record in &records {
        ensure!(record["packetDeltaCount"] == 10 && record["octetDeltaCount"] == 280, "{record}");
        let times = ["flowStartMilliseconds", "flowEndMilliseconds"].map(|name| record[name].as_u64());
        let [Some(start), Some(end)] = times else { anyhow::bail!("no times: {record}") };
        ensure!(end - start == 36_000 && start >= 1_700_000_000_500, "{record}");
    }

    let mut messages = 0;
    for packet in NetflowParser::default().parse_bytes(&fs::read(ipfix)?).packets {
        ensure!(matches!(packet, NetflowPacket::IPFix(_)), "not IPFIX: {packet:?}");
        messages += 1;
    }
    ensure!(messages > 0, "the IPFIX file is empty");

    let csv = replay(&["--csv", &file])?.stdout;
    ensure!(csv.len() == 5 && csv[0].starts_with("flowStartMilliseconds,"), "{csv:?}");
    let columns = csv[0].split(',').count();
    ensure!(csv.iter().all(|line| line.split(',').count() == columns), "{csv:?}");

    let summary = replay(&[&file])?.stdout.join("\n");
    ensure!(summary.contains("total 40 packets") && summary.contains("udp 192.0.2.1 :1"), "{summary}");
    ensure!(summary.lines().all(|line| line.chars().count() <= 80), "{summary}");
    Ok(())
}

#[test]
fn standard_input_and_gzip_are_read() -> Result<()> {
    require!("gzip");
    let folder = TempDir::new()?;
    let plain = pcap(&[frame(1), frame(2)]);
    let file = write(&folder, "two.pcap", &plain)?;
    let zipped = Command::new("gzip").args(["-c", &file]).output()?.stdout;
    let zipped = write(&folder, "two", &zipped)?;
    let expected = parsed(&replay(&["--json", &file])?.stdout)?.0;
    ensure!(expected.len() == 2, "{expected:?}");
    ensure!(parsed(&replay(&["--json", &zipped])?.stdout)?.0 == expected, "gzip differs");

    let command =
        Command::new(binary()?).args(["replay", "--json", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = command?;
    child.stdin.take().context("a pipe")?.write_all(&plain)?;
    let output = child.wait_with_output()?;
    let lines: Vec<String> = String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect();
    ensure!(parsed(&lines)?.0 == expected, "standard input differs");
    Ok(())
}

#[test]
fn a_broken_capture_says_where_and_gives_what_came_before() -> Result<()> {
    require!();
    let folder = TempDir::new()?;
    let whole = pcap(&[frame(1), frame(2), frame(3)]);
    let cut = write(&folder, "cut.pcap", &whole[..whole.len() - 5])?;
    let mut strange = whole.clone();
    strange[20] = 147;
    let strange = write(&folder, "strange.pcap", &strange)?;
    let text = write(&folder, "text.pcap", b"not a capture, but long enough to have a header")?;
    let empty = write(&folder, "empty.pcap", b"")?;
    let place = 24 + 2 * (16 + frame(1).len());
    for (file, problem, records) in [
        (&cut, format!("cut off in the middle of a block, at octet {place}"), 2),
        (&strange, "link type 147 is not one that can be read, at octet 24".to_owned(), 0),
        (&text, "neither pcap, pcapng nor IPFIX, at octet 0".to_owned(), 0),
        (&empty, "ends before a capture's header does, at octet 0".to_owned(), 0),
    ] {
        let finished = replay(&["--json", file])?;
        ensure!(finished.status.code() == Some(1), "{file}: {}", finished.status);
        let said = finished.stderr.join("\n");
        ensure!(said.contains(&problem) && said.lines().count() == 1, "{file}: {said}");
        let found = finished.stdout.iter().filter(|line| line.contains("packetDeltaCount")).count();
        ensure!(found == records, "{file}: {:?}", finished.stdout);
    }
    // The captures after a broken one are still read.
    let file = write(&folder, "whole.pcap", &whole)?;
    let finished = replay(&["--json", &cut, &file])?;
    ensure!(finished.status.code() == Some(1), "{}", finished.status);
    ensure!(finished.stdout.iter().any(|line| line.contains("\"sourceTransportPort\":3,")), "{:?}", finished.stdout);

    for missing in ["nowhere.pcap", env!("CARGO_MANIFEST_DIR")] {
        let finished = replay(&[missing])?;
        ensure!(finished.status.code() == Some(2) && finished.stdout.is_empty(), "{missing}: {finished:?}");
        ensure!(finished.stderr.len() == 1 && finished.stderr[0].contains(missing), "{missing}: {:?}", finished.stderr);
    }
    Ok(())
}

#[test]
fn an_output_that_cannot_be_written_is_an_error() -> Result<()> {
    require!();
    let folder = TempDir::new()?;
    let file = write(&folder, "one.pcap", &pcap(&[frame(1)]))?;
    let finished = replay(&["--quiet", "--ipfix-file", "/dev/full", &file])?;
    let said = finished.stderr.join("\n");
    ensure!(finished.status.code() == Some(1) && said.contains("cannot write the output: No space left"), "{said}");
    Ok(())
}

#[test]
fn an_output_goes_on_when_another_has_no_reader_any_more() -> Result<()> {
    require!();
    let folder = TempDir::new()?;
    let frames: Vec<Vec<u8>> = (0..60_000).map(|number: u32| frame(number.to_be_bytes()[3])).collect();
    let file = write(&folder, "many.pcap", &pcap(&frames))?;
    let [alone, beside] = ["alone.ipfix", "beside.ipfix"].map(|name| folder.path().join(name));
    let quiet = Command::new(binary()?).args(["replay", "--quiet", &file, "--ipfix-file"]).arg(&alone).status()?;
    let mut command = Command::new(binary()?);
    command.args(["replay", "--json", &file, "--ipfix-file"]).arg(&beside).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    drop(child.stdout.take());
    ensure!(quiet.success() && child.wait()?.success(), "a reader that leaves is no failure");
    ensure!(fs::read(&alone)? == fs::read(&beside)?, "the IPFIX file is not whole");
    Ok(())
}
