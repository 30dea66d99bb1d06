//! Holds that what is known of addresses is in history, in JSON and in what collectors get; that a file that is replaced takes
//! effect, and one that is broken does not and is named; and that names are asked for while nobody waits for them.

use std::fs;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use flowprobe_tests::captures::pcap;
use flowprobe_tests::counterpart::Nfcapd;
use flowprobe_tests::daemon::{Daemon, binary, status_of};
use flowprobe_tests::exporting::{ExportingProcess, Layout, Sender};
use flowprobe_tests::frames::{Flow, packets_of};
use flowprobe_tests::inject;
use flowprobe_tests::knowledge::{Knowledge, database};
use flowprobe_tests::listening::{HERE, flows};
use flowprobe_tests::namespace::Namespace;
use flowprobe_tests::process::{read, wait_until};
use flowprobe_tests::require;
use flowprobe_tests::truth::Object;
use serde_json::Value;

/// A number that has no place in 16 bits, and what stands for such there (RFC 6793).
const LARGE: u32 = 4_200_000_000;
const AS_TRANS: u64 = 23_456;

/// What is known of the addresses of [`Flow::udp`].
fn knowledge() -> Result<Knowledge> {
    let files = Knowledge::new()?;
    let rows = [
        ("10.1.0.0/16", 64_500, "DE"),
        ("10.2.0.0/16", LARGE, "FR"),
        ("2001:db8:1::/48", 64_501, "IT"),
        ("2001:db8:2::/48", 64_502, "AT"),
    ];
    files.put_database("as.mmdb", &rows)?;
    files.put(
        "networks.csv",
        b"network,label\n10.1.0.0/16,office\n10.1.0.3,\"printer, third floor\"\n2001:db8:2::/48,lab\n",
    )?;
    files.put("oui.txt", b"00-00-0C   (hex)\t\tCisco Systems, Inc\n")?;
    Ok(files)
}

/// The flags that name these files.
fn flags(files: &Knowledge) -> Vec<String> {
    let flag = |flag: &str, name: &str| [format!("--{flag}"), files.argument(name)];
    [flag("mmdb", "as.mmdb"), flag("labels", "networks.csv"), flag("mac-vendors", "oui.txt")].concat()
}

/// Two packets of each of ten flows from a network card of a known maker.
fn send(room: &Namespace) -> Result<()> {
    let flows: Vec<Flow> = (1..=10).map(|number| Flow::udp(number, number % 2 == 0)).collect();
    let (mut frames, _) = packets_of(&flows, 2)?;
    for frame in &mut frames {
        frame[6..12].copy_from_slice(&[0, 0, 0x0c, 1, 2, 3]);
    }
    inject::send(room, "va", "vb", &frames)
}

fn query(store: &str, arguments: &[&str]) -> Result<Vec<Value>> {
    let mut command = Command::new(binary()?);
    command.arg("query").args(arguments).args(["--last", "1h", "--json", "--store", store]);
    let answer: Value = serde_json::from_str(&read(&mut command)?)?;
    answer["rows"].as_array().cloned().with_context(|| answer.to_string())
}

fn must_say(record: &Value, expected: &[(&str, Value)]) -> Result<()> {
    for (name, value) in expected {
        ensure!(record[*name] == *value, "{name} is {}, not {value}, in {record}", record[*name]);
    }
    Ok(())
}

#[test]
fn what_is_known_is_in_json_in_history_and_in_what_collectors_get() -> Result<()> {
    require!("nfcapd", "nfdump");
    let room = Namespace::with_pair()?;
    room.ip("link set vb alias uplink")?;
    let files = knowledge()?;
    let store = files.argument("store");
    let formats = [("ipfix", 4739), ("netflow9", 4740), ("netflow5", 4741)];
    let collectors = formats.map(|(_, port)| Nfcapd::start(&room, port));
    let mut arguments = vec!["-i".to_owned(), "vb".to_owned(), "--store".to_owned(), store.clone()];
    arguments.extend(flags(&files));
    for (format, port) in formats {
        arguments.extend(["--collector".to_owned(), format!("udp://127.0.0.1:{port}?format={format}")]);
    }
    let mut daemon = Daemon::quick(&room, &arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
    send(&room)?;
    daemon.wait_until_seen("vb", 20)?;
    let report = daemon.stop()?;

    let of = |name: &str, address: &str| -> Result<Value> {
        let found = report.records.iter().find(|record| record.get(name).and_then(Value::as_str) == Some(address));
        Ok(Value::Object(found.with_context(|| format!("no {address}"))?.clone()))
    };
    let v4: [(&str, Value); 12] = [
        ("bgpSourceAsNumber", 64_500.into()),
        ("bgpDestinationAsNumber", LARGE.into()),
        ("sourceAsOrganization", "Network 64500".into()),
        ("destinationAsOrganization", "Network 4200000000".into()),
        ("sourceCountryCode", "DE".into()),
        ("destinationCountryCode", "FR".into()),
        ("sourceCityName", "Capital of DE".into()),
        ("sourceLabel", "office".into()),
        ("destinationLabel", Value::Null),
        ("sourceMacVendor", "Cisco Systems, Inc".into()),
        ("ingressInterfaceName", "vb".into()),
        ("ingressInterfaceDescription", "uplink".into()),
    ];
    must_say(&of("sourceIPv4Address", "10.1.0.1")?, &v4)?;
    must_say(&of("sourceIPv4Address", "10.1.0.3")?, &[("sourceLabel", "printer, third floor".into())])?;
    let v6 = [("bgpSourceAsNumber", 64_501.into()), ("destinationLabel", "lab".into())];
    must_say(&of("sourceIPv6Address", "2001:db8:1::2")?, &v6)?;

    for ((format, _), collector) in formats.into_iter().zip(collectors) {
        let records = collector?.objects()?;
        let expected: u64 = if format == "netflow5" { 5 } else { 10 };
        ensure!(records.len() as u64 == expected, "{format}: {} records", records.len());
        let number = |record: &Object, name: &str| record.get(name).and_then(Value::as_u64);
        for record in records.iter().filter(|record| record.contains_key("src4_addr")) {
            let large = if format == "netflow5" { AS_TRANS } else { LARGE.into() };
            let found = (number(record, "src_as"), number(record, "dst_as"));
            ensure!(found == (Some(64_500), Some(large)), "{format}: {found:?} in {record:?}");
        }
    }

    let records = query(&store, &["records", "--source", "10.1.0.1"])?;
    let [record] = &records[..] else { anyhow::bail!("{records:?}") };
    must_say(record, &v4)?;
    must_say(record, &[("serviceName", "domain".into())])?;
    let talkers = query(&store, &["talkers"])?;
    let talker = talkers.iter().find(|row| row["address"] == "10.1.0.3").context("no talker")?;
    let names = [("label", "printer, third floor".into()), ("asNumber", 64_500.into()), ("countryCode", "DE".into())];
    must_say(talker, &names)?;
    let sum = |rows: &[Value], of: (&str, Value), name: &str| -> Option<u64> {
        rows.iter().find(|row| row[of.0] == of.1)?[name].as_u64()
    };
    let countries = query(&store, &["countries"])?;
    ensure!(sum(&countries, ("countryCode", "FR".into()), "packetsReceived") == Some(10), "{countries:?}");
    let systems = query(&store, &["systems"])?;
    ensure!(sum(&systems, ("asNumber", LARGE.into()), "flowsReceived") == Some(5), "{systems:?}");
    for (flag, value, count) in
        [("--as", "AS64501", 5), ("--country", "fr", 5), ("--label", "printer, third floor", 1), ("--label", "lab", 5)]
    {
        let found = query(&store, &["records", flag, value])?.len();
        ensure!(found == count, "{flag} {value}: {found} records");
    }
    // At a terminal, too; and what says nothing is left out.
    let table = read(Command::new(binary()?).args(["query", "talkers", "--store", &store]))?;
    ensure!(table.contains("Network 64500") && table.contains("printer, third floor"), "{table}");
    ensure!(!table.contains("host name"), "{table}");
    Ok(())
}

#[test]
fn a_capture_is_enriched_as_well() -> Result<()> {
    let files = knowledge()?;
    let (frames, _) = packets_of(&[Flow::udp(1, false)], 1)?;
    let capture = files.path("one.pcap");
    fs::write(&capture, pcap(&frames))?;
    let mut command = Command::new(binary()?);
    command.arg("replay").arg(&capture).arg("--json").args(flags(&files));
    let record: Value = serde_json::from_str(read(&mut command)?.lines().next().unwrap_or_default())?;
    must_say(&record, &[("bgpSourceAsNumber", 64_500.into()), ("sourceLabel", "office".into())])?;
    let mut command = Command::new(binary()?);
    command.arg("replay").arg(&capture).arg("--csv").args(flags(&files));
    let csv = read(&mut command)?;
    ensure!(csv.contains("bgpSourceAsNumber") && csv.contains("64500"), "{csv}");
    Ok(())
}

/// The condition of a file of names in a status.
fn file_of(status: &Value, key: &str) -> Result<Value> {
    let files = status["enrichment"]["files"].as_array().with_context(|| status.to_string())?;
    files.iter().find(|file| file["key"] == key).cloned().with_context(|| status.to_string())
}

#[test]
fn a_file_that_is_replaced_takes_effect_and_a_broken_one_is_named_and_does_not() -> Result<()> {
    require!();
    let room = Namespace::new()?;
    let files = knowledge()?;
    let listen = format!("udp://{HERE}");
    let flags = flags(&files);
    let arguments: Vec<&str> = ["--listen", &listen].into_iter().chain(flags.iter().map(String::as_str)).collect();
    let mut daemon = Daemon::quick(&room, &arguments)?;
    let sender = Sender::new(&room, "127.0.0.2:9000", HERE)?;
    let mut process = ExportingProcess::new(10, 1);
    let layout = Layout::plain(256, &process);
    let source = flows(1, 1, &process)[0].source;
    let mut sent = 0;
    // One more record, and what it says.
    let mut next = |daemon: &mut Daemon| -> Result<Value> {
        let data = flows(1, 1, &process);
        sender.send(&process.message(&[layout.template(), layout.data(&data, &process)]))?;
        sent += 1;
        daemon.wait_for_records(sent)?;
        daemon.printed()?.pop().map(Value::Object).context("no record")
    };
    let network = format!("{source}/32");
    ensure!(next(&mut daemon)?.get("bgpSourceAsNumber").is_none());
    let good = database(&[(&network, 64_510, "PT")])?;
    files.put("as.mmdb", &good)?;
    files.put("networks.csv", format!("{network},desk\n").as_bytes())?;
    let pid = daemon.id();
    let in_use =
        |key: &'static str, reloads: u64| wait_until(key, || Ok(file_of(&status_of(pid)?, key)?["reloads"] == reloads));
    in_use("mmdb", 1)?;
    in_use("labels", 1)?;
    let known =
        [("bgpSourceAsNumber", 64_510.into()), ("sourceCountryCode", "PT".into()), ("sourceLabel", "desk".into())];
    must_say(&next(&mut daemon)?, &known)?;

    // A download that was cut off, a page that says that there is nothing, labels that are none.
    for (failed, bad) in [(1, &good[..good.len() / 2]), (2, b"<html>not found</html>"), (3, b"")] {
        files.put("as.mmdb", bad)?;
        wait_until("a database that is broken", || Ok(file_of(&status_of(pid)?, "mmdb")?["failedReloads"] == failed))?;
        must_say(&next(&mut daemon)?, &known)?;
    }
    files.put("networks.csv", b"desk,192.0.2.1\n")?;
    wait_until("labels that are broken", || Ok(file_of(&status_of(pid)?, "labels")?["failedReloads"] == 1))?;
    let socket = format!("/run/flowprobe/{pid}.sock");
    let status = read(Command::new(binary()?).args(["status", "--socket", &socket]))?;
    ensure!(
        status.contains("cannot be used now: it is no MMDB file") && status.contains("line 1: expected a network"),
        "{status}"
    );
    let metrics = read(Command::new(binary()?).args(["status", "--metrics", "--socket", &socket]))?;
    let failing = format!("flowprobe_enrichment_failing{{file=\"{}\"}} 1", files.argument("as.mmdb"));
    ensure!(metrics.contains(&failing), "{metrics}");
    must_say(&next(&mut daemon)?, &known)?;

    files.put_database("as.mmdb", &[(&network, 64_511, "ES")])?;
    in_use("mmdb", 2)?;
    must_say(&next(&mut daemon)?, &[("bgpSourceAsNumber", 64_511.into()), ("sourceLabel", "desk".into())])?;
    let report = daemon.stop()?;
    ensure!(report.logged("has changed and cannot be used, what was there before is: it is no MMDB file").len() == 3);
    Ok(())
}

#[test]
fn an_exporters_own_numbers_stay() -> Result<()> {
    require!();
    let room = Namespace::new()?;
    let files = Knowledge::new()?;
    let mut process = ExportingProcess::new(5, 1);
    let flow = flows(1, 1, &process)[0].clone();
    files.put_database(
        "as.mmdb",
        &[(&format!("{}/32", flow.source), 64_510, "PT"), (&format!("{}/32", flow.destination), 64_511, "ES")],
    )?;
    let mut daemon =
        Daemon::quick(&room, &["--listen", &format!("udp://{HERE}"), "--mmdb", &files.argument("as.mmdb")])?;
    // NetFlow v5 has both numbers in each record: here that of the source only.
    let mut message = process.netflow5(&[flow], 0);
    message[64..66].copy_from_slice(&65_000_u16.to_be_bytes());
    Sender::new(&room, "127.0.0.2:9000", HERE)?.send(&message)?;
    daemon.wait_for_records(1)?;
    let report = daemon.stop()?;
    let record = Value::Object(report.records[0].clone());
    // Of a number that is not the database's, the database's organisation is not said.
    let said = [
        ("bgpSourceAsNumber", 65_000.into()),
        ("sourceAsOrganization", Value::Null),
        ("bgpDestinationAsNumber", 64_511.into()),
        ("destinationAsOrganization", "Network 64511".into()),
    ];
    must_say(&record, &said)
}

/// What `ip netns exec` puts over `/etc` in a namespace, removed in the end.
struct Etc {
    folder: PathBuf,
}

impl Etc {
    fn new(room: &Namespace, files: &[(&str, &str)]) -> Result<Self> {
        let folder = PathBuf::from("/etc/netns").join(room.name());
        fs::create_dir_all(&folder)?;
        let etc = Self { folder };
        for (name, text) in files {
            fs::write(etc.folder.join(name), text)?;
        }
        Ok(etc)
    }
}

impl Drop for Etc {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn names_are_asked_for_and_nobody_waits_for_them() -> Result<()> {
    require!();
    let room = Namespace::new()?;
    let process = ExportingProcess::new(10, 1);
    let known = flows(1, 1, &process)[0].source;
    // A server that never answers, for all that is not in the file.
    let hosts = format!("127.0.0.1 localhost\n{known} Desk-7.example.net desk\n");
    let etc = [
        ("hosts", hosts.as_str()),
        ("resolv.conf", "nameserver 127.0.0.53\n"),
        ("nsswitch.conf", "hosts: files dns\n"),
    ];
    let _etc = Etc::new(&room, &etc)?;
    let _mute = room.inside(|| Ok(UdpSocket::bind("127.0.0.53:53")?))?;
    let folder = tempfile::tempdir()?;
    let store = folder.path().join("store").display().to_string();
    let listen = format!("udp://{HERE}");
    let mut daemon = Daemon::quick(&room, &["--listen", &listen, "--reverse-dns", "all", "--store", &store])?;
    let sender = Sender::new(&room, "127.0.0.2:9000", HERE)?;
    let mut process = process;
    let layout = Layout::plain(256, &process);
    let mut send = |first: u32, count: u32| -> Result<()> {
        let data = flows(first, count, &process);
        sender.send(&process.message(&[layout.template(), layout.data(&data, &process)]))
    };
    send(1, 1)?;
    daemon.wait_for_records(1)?;
    let pid = daemon.id();
    wait_until("the name", || Ok(status_of(pid)?["enrichment"]["reverseDns"]["found"] == 1))?;
    // Addresses that nobody answers for: more than are asked for at a time.
    for turn in 0..10 {
        send(2 + turn * 20, 20)?;
    }
    daemon.wait_for_records(201)?;
    let names = status_of(pid)?["enrichment"]["reverseDns"].clone();
    ensure!(names["found"] == 1 && names["asked"].as_u64() < Some(100), "all were waited for: {names}");
    send(1, 1)?;
    daemon.wait_for_records(202)?;
    let record = daemon.printed()?.pop().map(Value::Object).context("no record")?;
    must_say(&record, &[("sourceHostName", "desk-7.example.net".into())])?;
    let report = daemon.stop()?;
    ensure!(report.records.len() == 202, "{} records", report.records.len());
    let talkers = query(&store, &["talkers", "--address", &known.to_string()])?;
    let talker = talkers.iter().find(|row| row["address"] == known.to_string()).context("no talker")?;
    must_say(talker, &[("hostName", "desk-7.example.net".into())])
}

#[test]
fn a_file_that_cannot_be_used_is_named_before_anything_starts() -> Result<()> {
    let files = Knowledge::new()?;
    files.put("broken.mmdb", b"nothing of the kind")?;
    files.put("broken.csv", b"10.0.0.0/8,office\n10.0.0.1/8,desk\n")?;
    files.put("empty.txt", b"")?;
    let file = files.path("flowprobe.toml");
    for (key, name, problem) in [
        ("mmdb", "broken.mmdb", "it is no MMDB file: "),
        ("mmdb", "missing.mmdb", "No such file or directory"),
        ("labels", "broken.csv", "line 2: `10.0.0.1/8` has bits behind its prefix; the network is 10.0.0.0/8"),
        ("labels", "", "Is a directory"),
        ("mac-vendors", "empty.txt", "it has no prefixes of MAC addresses with their makers"),
    ] {
        let path = files.argument(name);
        let expected = format!("flowprobe: {key}: {path}: {problem}");
        fs::write(&file, format!("interfaces = [\"lo\"]\nlisten = [\"udp://127.0.0.1:0\"]\n{key} = [\"{path}\"]\n"))?;
        let flag = format!("--{key}");
        let by_flag = ["run", "--listen", "udp://127.0.0.1:0", "--store", "none", &flag, &path];
        let by_file = ["check-config", &file.display().to_string()];
        for arguments in [&by_flag[..], &by_file[..]] {
            let output = Command::new(binary()?).args(arguments).output()?;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(output.status.code() == Some(2) && said.contains(&expected), "{arguments:?}: {said}");
        }
    }
    for (line, problem) in [
        ("mmdb = 7", "mmdb: expected a path or a list of paths, found integer `7`"),
        ("labels = [\"\"]", "labels: expected a path or a list of paths, found ``"),
        ("reverse-dns = true", "reverse-dns: expected \"none\", \"private\" or \"all\", found boolean `true`"),
        ("reverse-dns = \"some\"", "reverse-dns: expected \"none\", \"private\" or \"all\", found string"),
    ] {
        fs::write(&file, format!("interfaces = [\"lo\"]\n{line}\n"))?;
        let output = Command::new(binary()?).arg("check-config").arg(&file).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            output.status.code() == Some(2) && said.contains(problem) && said.contains("toml:2:"),
            "{line}: {said}"
        );
    }
    Ok(())
}
