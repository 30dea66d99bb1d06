//! Holds that a filter accepts what tcpdump prints for the same expression.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use flowprobe_tests::captures::shared;
use flowprobe_tests::daemon::binary;
use flowprobe_tests::process::{Finished, Process};
use flowprobe_tests::{require, skip};
use serde_json::Value;

/// Where both must agree: Ethernet, and none of what the two see differently on purpose, which docs/filter.md explains. So
/// no tags, labels, PPPoE, tunnels (tcpdump looks at the outermost header), fragments (it has no ports for later ones) and
/// DCCP (its `port` does not know it).
const CAPTURES: [&str; 6] = [
    "ipfixprobe__mixed.pcap",
    "ndpi__gnutella.pcap",
    "ndpi__icmp-tunnel.pcap",
    "ndpi__synscan.pcap",
    "zeek__sctp.pcap",
    "zeek__ssh.pcap",
];

/// Each is asked of IP packets only, since nothing else becomes a flow. None asks for a protocol that some capture has
/// behind IPv6 extension headers (`icmp6`: tcpdump does not look there), or for TCP flags over IPv6 (it has them for IPv4).
const EXPRESSIONS: [&str; 59] = [
    "ip",
    "ip6",
    "tcp",
    "udp",
    "icmp",
    "sctp",
    "igmp",
    "not tcp",
    "not (tcp or udp)",
    "ip proto 17",
    "ip6 proto 17",
    r"ip proto \tcp",
    "proto 6 or 132",
    r"ether proto \ip6",
    "port 80",
    "port 53 or 5353",
    "not port 53",
    "tcp port 22",
    "tcp src port 22",
    "udp dst port 53 or 137 or 1900",
    "port domain",
    "tcp port ssh or http or https",
    "portrange 1024-49151",
    "udp src portrange 0-1023",
    "src and dst portrange 1024-65535",
    "src or dst port 6346",
    "sctp port 2905 or 80 or 7",
    "net 10",
    "net 10.0",
    "net 192.168.0.0/16",
    "src net 192.168.0.0 mask 255.255.0.0",
    "src and dst net 192.168.0.0/16",
    "dst net 224.0.0.0/4",
    "net 172.16.0.0/12 or 10.0.0.0/8 and udp",
    "not src net 0.0.0.0/1",
    "ip6 net fe80::/10",
    "src net fe80::/10 and dst net ff02::/16",
    "host 255.255.255.255",
    "host 10.0.2.15 and not port 80",
    "ip multicast",
    "ip6 multicast",
    "broadcast",
    "multicast and not broadcast",
    "ether multicast or ip6",
    "ether host ff:ff:ff:ff:ff:ff",
    "ether src 52:54:00:12:35:02 or ether dst 52-54-00-12-35-02",
    "less 60",
    "greater 1000",
    "len >= 60 and len < 100",
    "len != 60 && ! tcp",
    "ip and tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn",
    "ip and tcp[tcpflags] & (tcp-fin|tcp-rst) != 0",
    "ip and (tcp[13] & 2) != 0 and dst portrange 1-1024",
    "ip and tcp[tcpflags] == tcp-ack|tcp-push",
    "icmp[icmptype] == icmp-echo or icmp[icmptype] == icmp-echoreply",
    "icmp[icmptype] != icmp-echo",
    "icmp6[icmp6type] == icmp6-neighborsolicit",
    "ip[8] < 64 or ip6[7] == 255",
    "tcp or udp and port 53 or icmp and not host 10.0.2.15",
];

/// The packets that a replay meters, by its accounting.
fn metered(capture: &Path, expression: &str) -> Result<u64> {
    let mut command = Command::new(binary()?);
    command.args(["replay", "--json", "--filter", expression]).arg(capture);
    let finished = Process::start(&mut command)?.wait()?;
    ensure!(finished.status.success(), "{expression}: {:?}", finished.stderr);
    let last: Value = serde_json::from_str(finished.stdout.last().context("no accounting")?)?;
    let sum = &last["accounting"];
    let term = |name: &str| sum[name]["packets"].as_u64().with_context(|| format!("no {name}: {sum}"));
    ensure!(term("held")? == 0 && term("overflow")? == 0, "{expression}: {sum}");
    let exported = term("exported")?;
    ensure!(term("seen")? == exported + term("filteredOut")? + term("unparsed")?, "{expression}: {sum}");
    Ok(exported)
}

/// The packets that tcpdump finds.
fn found(capture: &Path, expression: &str) -> Result<u64> {
    let mut command = Command::new("tcpdump");
    command.args(["-n", "--count", "-r"]).arg(capture).arg(format!("(ip or ip6) and ({expression})"));
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "tcpdump {expression}: {}", String::from_utf8_lossy(&output.stderr));
    let number = said.split_whitespace().next().and_then(|number| number.parse().ok());
    number.with_context(|| format!("tcpdump {expression}: {said}"))
}

#[test]
fn filters_accept_what_tcpdump_prints() -> Result<()> {
    require!("tcpdump");
    let Some(folder) = shared("corpus/packets") else {
        skip::note("filters_accept_what_tcpdump_prints", "no captures beside this checkout");
        return Ok(());
    };
    let mut differences = Vec::new();
    for expression in EXPRESSIONS {
        let mut total = 0;
        for capture in CAPTURES.map(|name| folder.join(name)) {
            let (ours, theirs) = (metered(&capture, expression)?, found(&capture, expression)?);
            total += theirs;
            if ours != theirs {
                differences.push(format!("`{expression}` of {}: {ours}, tcpdump {theirs}", capture.display()));
            }
        }
        // One that matches nothing anywhere compares nothing.
        if total == 0 {
            differences.push(format!("`{expression}` matches no packet of any capture"));
        }
    }
    ensure!(differences.is_empty(), "{}", differences.join("\n"));
    println!("{} expressions compared on {} captures", EXPRESSIONS.len(), CAPTURES.len());
    Ok(())
}

fn replay(arguments: &[&str]) -> Result<Finished> {
    Process::start(Command::new(binary()?).arg("replay").args(arguments))?.wait()
}

#[test]
fn a_wrong_filter_is_a_usage_error_that_says_where() -> Result<()> {
    require!();
    for (expression, problem) in [
        ("src host foo", "column 10: expected an address, found `foo`"),
        ("arp or tcp", "column 1: `arp` cannot be a filter here: only IP packets become flows"),
    ] {
        let finished = replay(&["--filter", expression, "nowhere.pcap"])?;
        let said = finished.stderr.join("\n");
        ensure!(finished.status.code() == Some(2) && said.contains(problem), "{}: {said}", finished.status);
    }
    Ok(())
}
