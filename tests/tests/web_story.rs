//! Holds that four hours of a site, replayed from a capture, are told as they were: streaming and browsing all the time, and in the third
//! hour an ICMP flood, whose rise is in octets by protocol and whose source is the first of the sources by packets.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use flowprobe_tests::daemon::{Daemon, flowprobe};
use flowprobe_tests::frames::{Flow, ICMP, TCP, UDP};
use flowprobe_tests::http::Http;
use flowprobe_tests::namespace::Namespace;
use flowprobe_tests::process::{read, wait_until};
use flowprobe_tests::require;
use flowprobe_tests::truth::FlowId;
use serde_json::Value;

const WEB: &str = "127.0.0.1:8739";
const LISTEN: &str = "127.0.0.1:4739";

/// Whose pings flood, and when: minutes since the beginning.
const FLOODER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 66);
const FLOOD: std::ops::Range<u64> = 150..160;
const MINUTES: u64 = 240;

/// One packet of a flow, and how long its frame is.
fn frame(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, ports: [u16; 2], payload: usize) -> Result<Vec<u8>> {
    let id = FlowId {
        source: source.into(),
        destination: destination.into(),
        source_port: ports[0],
        destination_port: ports[1],
        protocol,
        vlan: 0,
        customer_vlan: 0,
    };
    Ok(Flow::new(id).packet(payload)?.0)
}

/// A capture of the four hours that have just ended, and how many packets of pings are in it.
fn capture() -> Result<(Vec<u8>, u64)> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let begin = (now - MINUTES * 60).div_euclid(60) * 60;
    let mut random = fastrand::Rng::with_seed(8);
    let (server, client) = (Ipv4Addr::new(198, 51, 100, 7), Ipv4Addr::new(10, 0, 0, 21));
    let stream = frame(server, client, TCP, [443, 50_443], 1400)?;
    let ping = frame(FLOODER, Ipv4Addr::new(10, 0, 0, 1), ICMP, [0, 8 << 8], 1400)?;
    let mut file = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0];
    let mut put = |second: u64, micros: u32, frame: &[u8]| -> Result<()> {
        let length = u32::try_from(frame.len())?;
        for word in [u32::try_from(second)?, micros, length, length] {
            file.extend(word.to_le_bytes());
        }
        file.extend(frame);
        Ok(())
    };
    let mut pings = 0;
    for minute in 0..MINUTES {
        for second in (0..60).map(|second| begin + minute * 60 + second) {
            for part in 0..2 {
                put(second, part * 100_000, &stream)?;
            }
            if random.u8(..4) == 0 {
                let host = Ipv4Addr::new(10, 0, 0, random.u8(20..60));
                let site = Ipv4Addr::new(203, 0, 113, random.u8(1..20));
                put(second, 600_000, &frame(host, site, UDP, [random.u16(32_768..), 53], 40)?)?;
                put(second, 650_000, &frame(host, site, TCP, [random.u16(32_768..), 443], 300)?)?;
            }
            if FLOOD.contains(&minute) {
                for part in 0..60 {
                    put(second, 700_000 + part * 5000, &ping)?;
                    pings += 1;
                }
            }
        }
    }
    Ok((file, pings))
}

/// What a group of a series did in each step.
fn of_group(series: &Value, name: &str, what: &str) -> Result<Vec<i64>> {
    let groups = series["groups"].as_array().context("groups")?;
    let group = groups.iter().find(|group| group["name"] == name).with_context(|| format!("no {name}: {series}"))?;
    Ok(group[what].as_array().context("steps")?.iter().filter_map(Value::as_i64).collect())
}

#[test]
fn an_icmp_flood_among_streaming_and_browsing_is_seen_and_its_source_named() -> Result<()> {
    require!();
    let room = Namespace::new()?;
    let folder = tempfile::tempdir()?;
    let store = folder.path().join("store").display().to_string();
    let listen = format!("tcp://{LISTEN}");
    let daemon = Daemon::start(&room, &["--listen", &listen, "--store", &store, "--web", WEB])?;
    let (file, pings) = capture()?;
    let path = folder.path().join("four-hours.pcap");
    std::fs::File::create(&path)?.write_all(&file)?;
    let replayed = ["replay", "--quiet", "--collector", &listen, &path.display().to_string()];
    read(&mut flowprobe(&room, &replayed)?)?;
    let http = Http::new(&room, WEB)?;
    wait_until("the pings in history", || {
        let totals = http.json("/api/v1/totals?last=5h&protocol=icmp")?;
        Ok(totals["total"]["packets"] == pings)
    })?;
    let series = http.json("/api/v1/series?last=5h&group=protocol&step=10m")?;
    let (icmp, tcp) = (of_group(&series, "ICMP", "octets")?, of_group(&series, "TCP", "octets")?);
    let (peak, highest) = icmp.iter().enumerate().max_by_key(|(_, octets)| **octets).context("steps")?;
    // It rises above all else within two steps, and is nothing before and after.
    ensure!(*highest > 3 * tcp.iter().copied().max().unwrap_or(0), "{icmp:?} {tcp:?}");
    let outside = icmp.iter().enumerate().filter(|(step, _)| step.abs_diff(peak) > 1).map(|(_, octets)| octets);
    ensure!(outside.sum::<i64>() == 0, "{icmp:?}");
    for by in ["octets", "packets"] {
        let sources = http.json(&format!("/api/v1/top/sources?last=5h&by={by}&protocol=icmp"))?;
        ensure!(sources["rows"][0]["address"] == FLOODER.to_string(), "{by}: {sources}");
        ensure!(sources["rows"][0]["packetsSent"] == pings, "{sources}");
    }
    let first = http.json("/api/v1/top/sources?last=5h&by=packets")?["rows"][0].clone();
    ensure!(first["address"] == FLOODER.to_string(), "{first}");
    let message = http.json("/api/v1/top/icmp?last=5h")?["rows"][0].clone();
    ensure!(message["name"] == "echo request" && message["packets"] == pings, "{message}");
    let host = http.json(&format!("/api/v1/hosts/{FLOODER}?last=5h"))?;
    ensure!(host["peers"][0]["address"] == "10.0.0.1" && host["sent"]["packets"] == pings, "{host}");
    // The baseline needs days.
    ensure!(http.json("/api/v1/series?last=5h&baseline=true")?["baseline"].is_null());
    daemon.stop()?;
    Ok(())
}
