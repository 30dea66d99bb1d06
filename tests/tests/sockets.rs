//! Holds that what is exported leaves as it was asked for: class, source address, length, format and what that cannot say.

use anyhow::{Result, ensure};
use flowprobe_tests::counterpart::Capture;
use flowprobe_tests::daemon::Daemon;
use flowprobe_tests::inject;
use flowprobe_tests::namespace::Namespace;
use flowprobe_tests::require;

const PORT: u16 = 2055;
/// Octets of an IP datagram.
const MTU: u64 = 600;

#[test]
fn datagrams_have_the_class_the_source_and_the_length_that_were_asked_for() -> Result<()> {
    require!("tcpdump", "tshark");
    let room = Namespace::with_pair()?;
    for format in ["ipfix", "netflow9", "netflow5"] {
        let capture = Capture::start(&room, "lo", PORT)?;
        let url = format!(
            "udp://127.0.0.1:{PORT}?format={format}&mtu={MTU}&dscp=46&source=127.0.0.2&interface=lo&template-refresh=1s"
        );
        let mut daemon = Daemon::quick(&room, &["-i", "vb", "--collector", &url])?;
        let sent = inject::send_flows(&room, "va", "vb", 1)?;
        daemon.wait_until_seen("vb", sent.sum().packets)?;
        daemon.stop()?;
        let lines = capture.stop()?.decode(PORT, "udp", &["ip.dsfield.dscp", "ip.src", "ip.len", "ip.flags.mf"])?;
        ensure!(!lines.is_empty(), "{format}: no datagrams");
        for line in lines {
            let columns: Vec<&str> = line.split('\t').collect();
            let [class, source, length, more] = columns[..] else { anyhow::bail!("tshark prints {line}") };
            ensure!((class, source) == ("46", "127.0.0.2"), "{format}: {line}");
            ensure!(matches!(more, "0" | "False") && length.parse::<u64>()? <= MTU, "{format}: {line}");
        }
    }
    Ok(())
}

#[test]
fn what_netflow_v5_has_no_words_for_is_counted() -> Result<()> {
    require!();
    let room = Namespace::with_pair()?;
    let url = format!("udp://127.0.0.1:{PORT}?format=netflow5");
    let mut daemon = Daemon::quick(&room, &["-i", "vb", "--collector", &url])?;
    // Half of them are IPv6.
    let sent = inject::send_flows(&room, "va", "vb", 1)?;
    daemon.wait_until_seen("vb", sent.sum().packets)?;
    let (v6, v4): (Vec<_>, Vec<_>) = sent.0.iter().partition(|(flow, _)| flow.source.is_ipv6());
    let sink = daemon.wait_for_sink("udp://127.0.0.1", "that all flows have ended", |sink| {
        let collector = &sink["collector"];
        collector["sentRecords"] == v4.len() && collector["skipped"]["records"] == v6.len()
    })?;
    let skipped = &sink["collector"]["skipped"];
    let packets: u64 = v6.iter().map(|(_, counts)| counts.packets).sum();
    ensure!(skipped["packets"] == packets, "{packets} packets of IPv6 were sent: {skipped}");
    let report = daemon.stop()?;
    ensure!(report.logged("10 skipped, which NetFlow v5 has no words for").len() == 1, "{:?}", report.finished.stderr);
    Ok(())
}
