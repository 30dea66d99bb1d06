//! Holds that a wrong flag, file or privilege gets one clear error on standard error and exit code 2, and starts nothing.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use flowprobe_tests::certificates::Certificates;
use flowprobe_tests::daemon::{binary, flowprobe};
use flowprobe_tests::frames::{Flow, packets_of};
use flowprobe_tests::inject;
use flowprobe_tests::knowledge::database;
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
    let cases: [(&[&str], &[&str]); 35] = [
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
        (&["-i", "vb", "--store", "/proc/version"], &["cannot keep history in /proc/version", "--store names another"]),
        (&["-i", "vb", "--store-age", "soon"], &["--store-age", "30d", "`soon`"]),
        (&["-i", "vb", "--store-remote", "gs://bucket"], &["--store-remote", "unknown scheme `gs`; expected s3"]),
        (
            &["-i", "vb", "--store-remote", "s3://k:secret@bucket"],
            &["--store-remote", "from the environment, or from a"],
        ),
        (
            &["-i", "vb", "--store", "/tmp/x", "--store-remote", "s3://bucket?credentials=/nowhere"],
            &["history cannot go to s3://bucket: cannot read `/nowhere`: No such file"],
        ),
        (
            &["-i", "vb", "--store", "none", "--store-remote", "s3://bucket"],
            &["history cannot go to s3://bucket with `store = \"none\"`"],
        ),
        (&["-i", "vb", "--store-size", "1K"], &["--store-size", "1 MiB or more", "`1K`"]),
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

/// A collector for records that may say anything; nothing listens there.
const COLLECTOR: [&str; 4] = ["-i", "vb", "--collector", "udp://127.0.0.1:4739"];

#[test]
fn fields_that_cannot_be_had() -> Result<()> {
    require!();
    let room = Namespace::with_pair()?;
    let cases: [(&[&str], &[&str]); 14] = [
        (&["--fields", "octetdeltacount"], &["--fields", "`octetdeltacount`", "but `octetDeltaCount` is"]),
        (&["--fields", "packets"], &["`packets` is no element", "docs/elements.md"]),
        (&["--fields", ""], &["--fields"]),
        (&["--fields", "octetDeltaCount,octetDeltaCount"], &["`octetDeltaCount` is there twice"]),
        (&["--fields", "sourceIPv4Address"], &["no field is left for IPv6 flows"]),
        (&["--fields", "octetDeltaCount,tunnelKey"], &["`tunnelKey` says nothing without --decapsulate"]),
        (&["--fields", "octetDeltaCount,ipNextHopIPv4Address"], &["says nothing without --next-hop"]),
        (&["--fields", "octetDeltaCount,samplingInterval"], &["`samplingInterval` says nothing without --sample"]),
        (&["--fields", "octetDeltaCount,samplingFlowInterval", "--sample", "9"], &["without --sample-by flows"]),
        (&["--fields", "octetDeltaCount,reversePacketDeltaCount"], &["says nothing without --biflow"]),
        (&["--fields", "octetDeltaCount,flowStartSysUpTime"], &["IPFIX cannot say `flowStartSysUpTime`"]),
        (
            &[
                "--decapsulate",
                "all",
                "--fields",
                "octetDeltaCount,sourceIPv4Address,sourceIPv6Address,tunnelSourceIPv4Address",
            ],
            &["`tunnelSourceIPv4Address` has to come before `sourceIPv4Address`"],
        ),
        (
            &[
                "--fields",
                "octetDeltaCount,tunnelKey",
                "--decapsulate",
                "all",
                "--collector",
                "udp://127.0.0.1:9?format=netflow9",
            ],
            &["udp://127.0.0.1:9", "NetFlow v9 cannot say `tunnelKey`"],
        ),
        (&["--collector", "udp://127.0.0.1:9?fields=octetDeltaCount"], &["option `fields`", "minimal", "in the file"]),
    ];
    for (arguments, parts) in cases {
        let finished = run(&room, &[&["run"], &COLLECTOR[..], arguments].concat())?;
        must_be_refused(&finished, parts).with_context(|| format!("{arguments:?}"))?;
    }
    ensure!(room.programs("vb")?.is_empty(), "a program is attached");
    Ok(())
}

#[test]
fn collectors_that_cannot_be_had() -> Result<()> {
    require!();
    let room = Namespace::with_pair()?;
    let folder = TempDir::new()?;
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(path("file"), "no certificate")?;
    let (file, folder_url) = (path("file"), format!("file://{}", folder.path().display()));
    let absent_ca = format!("tls://127.0.0.1:4740?ca={}", path("absent"));
    let no_ca = format!("tls://127.0.0.1:4740?ca={file}");
    let in_no_folder = format!("file://{}", path("absent/flows.ipfix"));
    let stream = ["--collector", "tcp://127.0.0.1:4739"];
    let with_spool = |spool: &'static str| [&stream[..], &["--spool", spool]].concat();
    let spool_in_file = [&stream[..], &["--spool", &file]].concat();
    let (unwritable, size, rate) = (with_spool("/proc/flowprobe"), ["--spool-size", "12"], ["--catch-up", "0"]);
    let url = |url: &'static str| ["--collector", url];
    let cases: [(&[&str], &[&str]); 22] = [
        (&url("udp://127.0.0.1?format=netflow5&fields=minimal"), &["option `fields`", "NetFlow v5"]),
        (&url("tcp://127.0.0.1?format=netflow9"), &["NetFlow v9 goes over udp only"]),
        (&url("udp://127.0.0.1?format=sflow"), &["option `format`", "netflow5", "`sflow`"]),
        (&[&url("udp://127.0.0.1?format=netflow5")[..], &["--sample", "20000"]].concat(), &["one of 20000", "16383"]),
        (&[url("udp://127.0.0.1:9"), url("udp://127.0.0.1:9?mtu=600")].concat(), &["udp://127.0.0.1:9 is named twice"]),
        (&url("failover:udp://127.0.0.1:9"), &["two collectors or more"]),
        (&url("balance:"), &["bad collector URL"]),
        (&url("balance:udp://127.0.0.1:9,udp://127.0.0.1:9"), &["a collector is there twice"]),
        (&url("balance:udp://127.0.0.1:9,udp://127.0.0.1:8?format=netflow9"), &["the same format and fields"]),
        (&url("failover:udp://127.0.0.1:9,file:///tmp/flows"), &["a file cannot be among several"]),
        (&url("sctp://127.0.0.1"), &["`sctp` is not offered", "tls"]),
        (&url("udp://127.0.0.1?dscp=64"), &["option `dscp`", "0 to 63", "`64`"]),
        (&url("udp://127.0.0.1?source=::1"), &["option `source`", "IPv4", "IPv6"]),
        (&url("tcp://127.0.0.1?mtu=1400"), &["option `mtu`", "unknown to tcp"]),
        (&url("file://flows.ipfix"), &["its whole path"]),
        (&["--collector", &folder_url], &[&folder_url, "no file"]),
        (&["--collector", &in_no_folder], &[&in_no_folder, "No such file"]),
        (&["--collector", &absent_ca], &[&path("absent"), "No such file"]),
        (&["--collector", &no_ca], &[&file, "certificate"]),
        (&spool_in_file, &[&file]),
        (&unwritable, &["/proc/flowprobe"]),
        (&[size, rate].concat(), &["--spool-size", "1 MiB", "`12`"]),
    ];
    for (arguments, parts) in cases {
        let finished = run(&room, &[&["run", "-i", "vb"], arguments].concat())?;
        must_be_refused(&finished, parts).with_context(|| format!("{arguments:?}"))?;
        ensure!(room.programs("vb")?.is_empty(), "{arguments:?}: a program is attached");
    }
    // An address or an interface may be there when it is started the next time.
    for (option, part) in [("source=192.0.2.77", "cannot send from 192.0.2.77"), ("interface=nope0", "nope0")] {
        let finished = run(&room, &["run", "-i", "vb", "--collector", &format!("udp://127.0.0.1?{option}")])?;
        let said = finished.stderr.join("\n");
        ensure!(finished.status.code() == Some(1) && said.contains(part), "{option}: {}: {said}", finished.status);
        ensure!(room.programs("vb")?.is_empty(), "{option}: a program is attached");
    }
    let slow = run(&room, &[&["run"], &COLLECTOR[..], &rate].concat())?;
    must_be_refused(&slow, &["--catch-up", "1 to 4294967295", "`0`"])
}

#[test]
fn files_whose_export_is_wrong() -> Result<()> {
    require!();
    let room = Namespace::with_pair()?;
    let folder = TempDir::new()?;
    let path = folder.path().join("wrong.toml").display().to_string();
    let cases = [
        ("fields = [\"octetdeltacount\"]", ":3:10: fields: `octetdeltacount` is no element that can be filled, but"),
        ("fields = [\"octetDeltaCount\", \"octetDeltaCount\"]", ":3:10: fields: `octetDeltaCount` is there twice"),
        ("fields = [\"sourceIPv4Address\"]", ":3:10: fields: no field is left for IPv6 flows"),
        ("fields = { ipv4 = [\"octetDeltaCount\"] }", ":3:10: fields: ipv6 is missing"),
        ("fields = { ipv4 = [\"octetDeltaCount\"], ipv6 = [] }", ":3:10: fields: no field is left for IPv6 flows"),
        (
            "fields = { ipv4 = [\"sourceIPv6Address\"], ipv6 = [\"octetDeltaCount\"] }",
            ":3:10: fields: `sourceIPv6Address` is not in records of IPv4 flows",
        ),
        ("fields = \"most\"", ":3:10: fields: expected minimal, standard, full, security, or a list of elements"),
        ("fields = 7", ":3:10: fields: expected a preset"),
        ("spool = 7", ":3:9: spool: expected a path or \"none\", found integer"),
        ("spool-size = \"much\"", ":3:14: spool-size: expected a size of 1 MiB or more"),
        ("catch-up = 0", ":3:12: catch-up: expected a number of records a second"),
        (
            "observation-domain = \"vb\"",
            ":3:22: observation-domain: expected a number from 0 to 4294967295, or interface",
        ),
        ("biflow = 1", ":3:10: biflow: expected true or false"),
        ("collectors = [\"failover:udp://127.0.0.1\"]", ":3:14: collectors: bad collector URL `failover:"),
        ("collectors = [\"http://127.0.0.1\"]", ":3:14: collectors: bad collector URL `http:"),
        ("collectors = [\"tcp://127.0.0.1?format=netflow9\"]", ":3:14: collectors: bad collector URL `tcp:"),
    ];
    for (text, part) in cases {
        fs::write(&path, format!("interfaces = [\"vb\"]\n\n{text}\n"))?;
        for arguments in [["check-config", &path].as_slice(), &["run", "-c", &path]] {
            let finished = run(&room, arguments)?;
            must_be_refused(&finished, &[&path, part]).with_context(|| text.to_owned())?;
            ensure!(finished.stderr.len() == 1, "{text}: more than a line: {:?}", finished.stderr);
        }
    }
    ensure!(room.programs("vb")?.is_empty(), "a program is attached");
    Ok(())
}

/// Every key, at something other than its default.
const WHOLE: &str = r#"interfaces = ["vb", "va"]
collectors = ["udp://192.0.2.10:4739?fields=standard&mtu=1280&template-refresh=1.5s&source=192.0.2.1&dscp=10", "file:///tmp/a%20b?rotate=1h&keep=24", "balance:udp://192.0.2.1,udp://192.0.2.2", "failover:tcp://192.0.2.3?fields=security,tcp://192.0.2.4?fields=security", "tls://192.0.2.5?ca=FOLDER/a%2c1.pem&certificate=FOLDER/c&key=FOLDER/k&name=x.example", "udp://192.0.2.9?format=netflow5&interface=eth%261"]
fields = { ipv4 = ["flowStartMicroseconds", "sourceIPv4Address", "reversePacketDeltaCount"], ipv6 = ["sourceIPv6Address", "reversePacketDeltaCount"] }
observation-domain = "interface"
spool = "/tmp/sp\\ool\"x"
spool-size = "2G"
catch-up = 7
biflow = true
mode = "tc"
promisc = true
egress = true
next-hop = true
decapsulate = ["vxlan", "ipip"]
filter = "tcp port 80"
sample = 100
sample-by = "flows"
interval = 0.25
idle-timeout = "1.5s"
active-timeout = "1m"
max-flows = 1000
store = "/tmp/st ore"
store-age = "90d"
store-size = "5G"
store-remote = "s3://bucket/flow%73?endpoint=http://127.0.0.1:9&region=eu-central-1&ca=FOLDER/a%2c1.pem"
mmdb = ["FOLDER/as.mmdb"]
labels = ["FOLDER/networks.csv"]
mac-vendors = "FOLDER/oui.txt"
reverse-dns = "private"
status-socket = "none"
web = "192.0.2.1:443"
web-token = "FOLDER/token"
web-certificate = "FOLDER/c"
web-key = "FOLDER/k"
web-name = ["flows.example"]
output = "quiet"
"#;

#[test]
fn files_that_are_right() -> Result<()> {
    require!("openssl");
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

    // So it is with every key, and with fields of one collector that are the default and not the file's.
    let certificates = Certificates::new()?;
    for (name, kind, copy) in [("ca", "pem", "a,1.pem"), ("client", "pem", "c"), ("client", "key", "k")] {
        fs::copy(certificates.path(name, kind), folder.path().join(copy))?;
    }
    fs::write(folder.path().join("as.mmdb"), database(&[("192.0.2.0/24", 64_500, "DE")])?)?;
    fs::write(folder.path().join("networks.csv"), "192.0.2.0/24,test\n")?;
    fs::write(folder.path().join("oui.txt"), "00000C Cisco\n")?;
    fs::write(folder.path().join("token"), "0123456789abcdef\n")?;
    let whole = WHOLE.replace("FOLDER", folder.path().to_str().context("a path in UTF-8")?);
    fs::write(&path, whole)?;
    let whole = run(&room, &["check-config", path_text])?;
    ensure!(whole.status.success() && whole.stderr.is_empty(), "{whole:?}");
    let keys = |text: &str| -> Vec<String> {
        let names = text.lines().filter_map(|line| line.split_once(" = ").map(|(key, _)| key.to_owned()));
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    };
    ensure!(keys(&whole.stdout.join("\n")) == keys(WHOLE), "not the keys that it was given: {:?}", whole.stdout);
    for part in ["4739?fields=standard&mtu=1280&template-refresh=1.5s", "rotate=3600s&keep=24", "balance:udp://"] {
        ensure!(whole.stdout[1].contains(part), "`{part}` is not in {}", whole.stdout[1]);
    }
    fs::write(&path, whole.stdout.join("\n"))?;
    ensure!(run(&room, &["check-config", path_text])?.stdout == whole.stdout, "not the same the second time");

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
        command.args(setpriv).arg(&copy).args(["run", "--store", "none", "-i", "vb"]).args(flowprobe);
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
