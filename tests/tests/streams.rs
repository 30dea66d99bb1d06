//! Holds that over TCP and TLS every record arrives once and as it was metered, that a collector is refused which is not the
//! right one, and that one which is not there yet gets everything when it is.

use std::fs;
use std::net::UdpSocket;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use flowprobe_tests::captures::pcap;
use flowprobe_tests::certificates::{Certificates, NAME};
use flowprobe_tests::counterpart::{Capture, Format, Reader, View, ipfixdump};
use flowprobe_tests::daemon::{Daemon, flowprobe};
use flowprobe_tests::frames::{Flow, packets_of};
use flowprobe_tests::inject;
use flowprobe_tests::ipfix::Collector;
use flowprobe_tests::lab;
use flowprobe_tests::namespace::Namespace;
use flowprobe_tests::process::{Finished, Process};
use flowprobe_tests::require;
use flowprobe_tests::stream::{Recorder, StreamCollector, must_arrive};
use flowprobe_tests::truth::Object;
use tempfile::TempDir;

const PORT: u16 = 4739;
const TLS_PORT: u16 = 4740;

/// A namespace with a pair, and a folder for what waits.
fn room() -> Result<(Namespace, TempDir, String)> {
    let spool = TempDir::new()?;
    let path = spool.path().join("spool").to_str().context("a path in UTF-8")?.to_owned();
    Ok((Namespace::with_pair()?, spool, path))
}

#[test]
fn every_reader_of_a_connection_shows_every_record() -> Result<()> {
    require!("socat", "ipfixDump", "tcpdump", "tshark");
    let (room, _folder, spool) = room()?;
    let collector = StreamCollector::listen(&room, "127.0.0.1", 0)?;
    let mut recorder = Recorder::start(&room, &format!("TCP-LISTEN:{PORT}"))?;
    let capture = Capture::start_tcp(&room, "lo", PORT)?;
    let recorded = format!("tcp://127.0.0.1:{PORT}");
    let arguments = ["-i", "vb", "--spool", &spool, "--collector", &recorded, "--collector", &collector.url()];
    let mut daemon = Daemon::quick(&room, &arguments)?;
    inject::send(&room, "va", "vb", &lab::traffic()?.frames)?;
    daemon.wait_until_seen("vb", lab::PACKETS)?;
    // Some have ended by being idle, the rest are made to.
    daemon.wait_for_record("a flow that has ended by itself", |_| true)?;
    let report = daemon.stop()?;

    let received = collector.stop()?;
    ensure!(!received.options.is_empty(), "no options records came");
    ensure!(must_arrive(&report.records, [&received])? == 0, "some records came twice");
    recorder.wait_for_end()?;
    let view = |reader| View { reader, format: Format::Ipfix };
    view(Reader::Tshark).must_show(&capture.stop()?.readings(PORT)?, &report.records)?;
    view(Reader::IpfixDump).must_show(&ipfixdump(recorder.file())?, &report.records)?;
    ensure!(must_arrive(&report.records, [&recorder.stop()?])? == 0, "some records were written twice");
    ensure!(report.logged("WARN").is_empty() && report.logged("ERROR").is_empty(), "{:?}", report.finished.stderr);
    Ok(())
}

#[test]
fn tls_reaches_the_right_collector() -> Result<()> {
    require!("socat", "openssl");
    let files = Certificates::new()?;
    let (ca, certificate, key) = (files.text("ca", "pem"), files.text("client", "pem"), files.text("client", "key"));
    let own = format!("&certificate={certificate}&key={key}");
    let name = format!("&name={NAME}");
    for (verify, more) in [("0", ""), ("0", &*name), ("1", &*own)] {
        let (room, _folder, spool) = room()?;
        let recorder = Recorder::start(&room, &tls_listener(&files, verify))?;
        must_be_reached(&room, &spool, recorder, &format!("ca={ca}{more}"))?;
    }
    Ok(())
}

/// In both versions of TLS, with and without a certificate of the exporter's own.
#[test]
fn openssl_decrypts_every_record() -> Result<()> {
    require!("openssl");
    let files = Certificates::new()?;
    let (ca, certificate, key) = (files.text("ca", "pem"), files.text("client", "pem"), files.text("client", "key"));
    let own = format!("ca={ca}&certificate={certificate}&key={key}");
    for version in TLS_VERSIONS {
        for (verify, options) in [(false, format!("ca={ca}")), (true, own.clone())] {
            let (room, _folder, spool) = room()?;
            let recorder = openssl(&room, &files, version, verify, &["-naccept", "1"])?;
            must_be_reached(&room, &spool, recorder, &options).with_context(|| format!("{version} {verify}"))?;
        }
    }
    Ok(())
}

/// Whether a collector over TLS gets every record once, without a warning.
fn must_be_reached(room: &Namespace, spool: &str, recorder: Recorder, options: &str) -> Result<()> {
    let url = format!("tls://127.0.0.1:{TLS_PORT}?{options}");
    let mut daemon = Daemon::quick(room, &["-i", "vb", "--spool", spool, "--collector", &url])?;
    let sent = inject::send_flows(room, "va", "vb", 1)?;
    daemon.wait_until_seen("vb", sent.sum().packets)?;
    daemon.wait_for_records(sent.0.len())?;
    inject::send_flows(room, "va", "vb", 101)?;
    daemon.wait_until_seen("vb", 2 * sent.sum().packets)?;
    let report = daemon.stop()?;
    ensure!(must_arrive(&report.records, [&recorder.stop()?])? == 0, "{options}: some records came twice");
    ensure!(report.records.len() >= 40, "{options}: {} records", report.records.len());
    ensure!(report.logged("WARN").is_empty(), "{options}: {:?}", report.finished.stderr);
    Ok(())
}

/// The server's certificate, its key, and the authority of the certificates that it accepts.
fn server_files(files: &Certificates) -> [String; 3] {
    [("server", "pem"), ("server", "key"), ("ca", "pem")].map(|(name, kind)| files.text(name, kind))
}

fn tls_listener(files: &Certificates, verify: &str) -> String {
    let [certificate, key, ca] = server_files(files);
    format!("OPENSSL-LISTEN:{TLS_PORT},cert={certificate},key={key},cafile={ca},verify={verify}")
}

/// How openssl's server is made to speak one version only.
const TLS_VERSIONS: [&str; 2] = ["-tls1_2", "-tls1_3"];

/// openssl's server; where it is to `verify`, it refuses a client without a certificate of the authority that it knows.
fn openssl(room: &Namespace, files: &Certificates, version: &str, verify: bool, more: &[&str]) -> Result<Recorder> {
    let [certificate, key, ca] = server_files(files);
    let own = ["-cert", &certificate, "-key", &key, version];
    let mutual = ["-Verify", "1", "-verify_return_error", "-CAfile", &ca];
    Recorder::start_tls(room, TLS_PORT, &[&own[..], if verify { &mutual } else { &[] }, more].concat())
}

#[test]
fn tls_sends_nothing_to_a_wrong_collector_nor_to_one_that_refuses() -> Result<()> {
    require!("socat", "openssl");
    let files = Certificates::new()?;
    let [ca, other, stranger, key] =
        [("ca", "pem"), ("other-ca", "pem"), ("other-client", "pem"), ("other-client", "key")]
            .map(|(name, kind)| files.text(name, kind));
    let cases = [
        ("0", format!("ca={other}"), "its issuer is none of those that are trusted"),
        ("0", format!("ca={ca}&name=elsewhere.test"), "it is not for the name that was expected"),
        ("1", format!("ca={ca}"), "the collector wants a client certificate"),
        (
            "1",
            format!("ca={ca}&certificate={stranger}&key={key}"),
            "the collector does not accept the client certificate",
        ),
    ];
    for (verify, options, words) in cases {
        let (room, _folder, spool) = room()?;
        let recorder = Recorder::start(&room, &(tls_listener(&files, verify) + ",fork"))?;
        must_get_nothing(&room, &spool, &recorder, &options, words)?;
    }
    Ok(())
}

#[test]
fn openssl_gets_nothing_where_either_refuses() -> Result<()> {
    require!("openssl");
    let files = Certificates::new()?;
    let [ca, other, stranger, key] =
        [("ca", "pem"), ("other-ca", "pem"), ("other-client", "pem"), ("other-client", "key")]
            .map(|(name, kind)| files.text(name, kind));
    for version in TLS_VERSIONS {
        // TLS 1.2 has no words for a certificate that is missing.
        let missing =
            if version == "-tls1_2" { "it may want a client certificate" } else { "wants a client certificate" };
        let cases = [
            (false, format!("ca={other}"), "its issuer is none of those that are trusted"),
            (true, format!("ca={ca}"), missing),
            (
                true,
                format!("ca={ca}&certificate={stranger}&key={key}"),
                "the collector does not accept the client certificate",
            ),
        ];
        for (verify, options, words) in cases {
            let (room, _folder, spool) = room()?;
            let recorder = openssl(&room, &files, version, verify, &[])?;
            must_get_nothing(&room, &spool, &recorder, &options, words).with_context(|| version.to_owned())?;
        }
    }
    Ok(())
}

/// Whether nothing is sent to a collector over TLS, the log says once why in these words, and the records wait.
fn must_get_nothing(room: &Namespace, spool: &str, recorder: &Recorder, options: &str, words: &str) -> Result<()> {
    let url = format!("tls://127.0.0.1:{TLS_PORT}?{options}");
    let mut daemon = Daemon::quick(room, &["-i", "vb", "--spool", spool, "--collector", &url])?;
    daemon.wait_for_log(&format!("WARN tls://127.0.0.1:{TLS_PORT}: cannot be reached: "), 1)?;
    let sent = inject::send_flows(room, "va", "vb", 1)?;
    daemon.wait_until_seen("vb", sent.sum().packets)?;
    daemon.wait_for_records(sent.0.len())?;
    // Several attempts.
    sleep(Duration::from_secs(1));
    let report = daemon.stop()?;
    let said = report.logged("tls://");
    let warned = report.logged("WARN");
    ensure!(warned.len() == 1 && warned[0].contains(words), "{options}: `{words}` is not what it says: {said:?}");
    let waits = format!("{} wait on disk for the next start", report.records.len());
    ensure!(said.iter().any(|line| line.contains(&waits)), "{options}: {said:?}");
    ensure!(recorder.octets() == 0, "{options}: {} octets were sent", recorder.octets());
    Ok(())
}

#[test]
fn tls_files_that_cannot_be_used_are_named_before_anything_starts() -> Result<()> {
    require!("openssl");
    let files = Certificates::new()?;
    let room = Namespace::with_pair()?;
    let garbage = files.text("garbage", "pem");
    fs::write(&garbage, "-----BEGIN CERTIFICATE-----\nnone\n")?;
    let empty = files.text("empty", "pem");
    fs::write(&empty, "")?;
    let [ca, client, key, other] = [("ca", "pem"), ("client", "pem"), ("client", "key"), ("other-client", "key")]
        .map(|(name, kind)| files.text(name, kind));
    let cases = [
        ("ca=/nowhere/ca.pem".to_owned(), "cannot read `/nowhere/ca.pem`"),
        (format!("ca={garbage}"), "garbage.pem` is damaged"),
        (format!("ca={empty}"), "there is no certificate in"),
        (format!("ca={ca}&certificate={client}"), "needs its private key"),
        (format!("ca={ca}&key={key}"), "needs its certificate"),
        (format!("ca={ca}&certificate={client}&key={other}"), "is not that of the certificate in"),
        (format!("ca={ca}&certificate={client}&key={ca}"), "there is no private key in"),
    ];
    let config = files.path("flowprobe", "toml");
    for (options, words) in &cases {
        let url = format!("tls://127.0.0.1?{options}");
        fs::write(&config, format!("interfaces = [\"vb\"]\ncollectors = [\"{url}\"]\n"))?;
        let config = config.to_str().context("a path in UTF-8")?;
        let commands: [&[&str]; 3] = [
            &["run", "-i", "vb", "--spool", "none", "--collector", &url],
            &["check-config", config],
            &["replay", "--collector", &url, "/dev/null"],
        ];
        for command in commands {
            let finished = Process::start(&mut flowprobe(&room, command)?)?.wait()?;
            must_be_refused(&finished, words).with_context(|| format!("{command:?}"))?;
        }
        ensure!(room.programs("vb")?.is_empty(), "{options}: a program is attached");
    }
    Ok(())
}

fn must_be_refused(finished: &Finished, words: &str) -> Result<()> {
    let [said] = &finished.stderr[..] else { anyhow::bail!("not one line: {:?}", finished.stderr) };
    ensure!(finished.status.code() == Some(2), "ended with {}: {said}", finished.status);
    ensure!(said.contains("tls://127.0.0.1:4740") && said.contains(words), "`{words}` is not in: {said}");
    Ok(())
}

#[test]
fn a_collector_that_is_not_there_yet_gets_everything_later() -> Result<()> {
    require!();
    let (room, _folder, spool) = room()?;
    // A port of its own, on which nobody listens any more.
    let port = StreamCollector::listen(&room, "127.0.0.1", 0)?.port();
    let url = format!("tcp://127.0.0.1:{port}");
    let mut daemon = Daemon::quick(&room, &["-i", "vb", "--spool", &spool, "--collector", &url])?;
    daemon.wait_for_log(&format!("WARN {url}: cannot be reached: "), 1)?;
    let sent = inject::send_flows(&room, "va", "vb", 1)?;
    daemon.wait_for_records(sent.0.len())?;
    let away = daemon.wait_for_sink(&url, "records that wait", |sink| sink["collector"]["waitingRecords"] == 20)?;
    ensure!(away["collector"]["isAway"] == true && away["lost"]["records"] == 0, "{away}");
    let collector = StreamCollector::listen(&room, "127.0.0.1", port)?;
    collector.wait_for_records(20)?;
    daemon.wait_for_log(&format!("INFO {url}: reached again"), 1)?;
    inject::send_flows(&room, "va", "vb", 101)?;
    daemon.wait_until_seen("vb", 2 * sent.sum().packets)?;
    let report = daemon.stop()?;
    ensure!(must_arrive(&report.records, [&collector.stop()?])? == 0, "some records came twice");
    ensure!(report.logged("WARN").len() == 1, "not warned once: {:?}", report.finished.stderr);
    Ok(())
}

#[test]
fn over_udp_a_late_collector_gets_the_templates_when_they_are_due() -> Result<()> {
    require!();
    let room = Namespace::with_pair()?;
    let url = {
        let port = Collector::listen(&room, "127.0.0.1", 0)?;
        format!("{}?template-refresh=500ms", port.url())
    };
    let mut daemon = Daemon::quick(&room, &["-i", "vb", "--collector", &url])?;
    let before = inject::send_flows(&room, "va", "vb", 1)?;
    daemon.wait_for_records(before.0.len())?;
    daemon.wait_for_sink("udp:", "that they have left", |sink| sink["collector"]["sentRecords"] == before.0.len())?;
    let port = url.split([':', '?']).nth(2).context("a port")?.parse()?;
    let collector = Collector::listen(&room, "127.0.0.1", port)?;
    // No flow ends meanwhile.
    sleep(Duration::from_millis(1500));
    let sent = inject::send_flows(&room, "va", "vb", 101)?;
    daemon.wait_until_seen("vb", 2 * sent.sum().packets)?;
    let report = daemon.stop()?;
    let received = collector.stop()?;
    ensure!(received.without_template == 0, "{} sets without template", received.without_template);
    must_arrive(&report.records[before.0.len()..], [&received]).map(drop)
}

#[test]
fn over_udp_it_is_said_that_nobody_listens_and_that_somebody_does() -> Result<()> {
    require!();
    let room = Namespace::with_pair()?;
    // A port on which nobody listens any more.
    let port = room.inside(|| Ok(UdpSocket::bind(("127.0.0.1", 0))?.local_addr()?.port()))?;
    let name = format!("udp://127.0.0.1:{port}");
    let url = format!("{name}?template-refresh=500ms");
    let mut daemon = Daemon::quick(&room, &["-i", "vb", "--collector", &url])?;
    daemon.wait_for_log(&format!("WARN {name}: nobody listens there, says its host: "), 1)?;
    daemon.wait_for_sink(&name, "that it is away", |sink| sink["collector"]["isAway"] == true)?;
    let before = inject::send_flows(&room, "va", "vb", 1)?;
    daemon.wait_for_records(before.0.len())?;
    daemon.wait_for_sink(&name, "that they have left", |sink| sink["collector"]["sentRecords"] == before.0.len())?;
    let collector = Collector::listen(&room, "127.0.0.1", port)?;
    daemon.wait_for_log(&format!("INFO {name}: its host refuses nothing any more"), 1)?;
    daemon.wait_for_sink(&name, "that it is there", |sink| sink["collector"]["isAway"] == false)?;
    inject::send_flows(&room, "va", "vb", 101)?;
    daemon.wait_until_seen("vb", 2 * before.sum().packets)?;
    let report = daemon.stop()?;
    ensure!(report.logged("WARN").len() == 1, "not warned once: {:?}", report.finished.stderr);
    must_arrive(&report.records[before.0.len()..], [&collector.stop()?]).map(drop)
}

/// A capture of so many flows of one packet, a second apart, and the records in it.
fn capture(folder: &TempDir, flows: u16) -> Result<String> {
    let flows: Vec<Flow> = (0..flows).map(|number| Flow::udp(number, number % 2 == 0)).collect();
    let path = folder.path().join("flows.pcap");
    fs::write(&path, pcap(&packets_of(&flows, 1)?.0))?;
    Ok(path.to_str().context("a path in UTF-8")?.to_owned())
}

fn printed(finished: &Finished) -> Result<Vec<Object>> {
    let records = finished.stdout.iter().filter(|line| !line.starts_with("{\"accounting\""));
    records.map(|line| Ok(serde_json::from_str(line)?)).collect()
}

#[test]
fn a_replay_waits_for_its_collector() -> Result<()> {
    require!();
    let (room, folder, _) = room()?;
    let file = capture(&folder, 60_000)?;
    let collector = StreamCollector::with_buffer(&room, "127.0.0.1", 0, Some(4096))?;
    let (url, port) = (collector.url(), collector.port());
    let arguments = ["replay", "--json", "--collector", &url, &file];
    let replay = Process::start(&mut flowprobe(&room, &arguments)?)?;
    collector.wait_for_records(5000)?;
    // With what the socket has; and gone for a while.
    collector.pause(true);
    sleep(Duration::from_millis(300));
    let first = collector.vanish()?;
    sleep(Duration::from_secs(1));
    let collector = StreamCollector::listen(&room, "127.0.0.1", port)?;
    let finished = replay.wait()?;
    let second = collector.stop()?;
    ensure!(finished.status.success(), "{}: {:?}", finished.status, finished.stderr);
    ensure!(!second.records.is_empty(), "it was all over before the collector was gone");
    must_arrive(&printed(&finished)?, [&first, &second])?;

    let refused = Process::start(&mut flowprobe(&room, &["replay", "--collector", &url, &file])?)?.wait()?;
    ensure!(refused.status.code() == Some(1) && refused.stderr.len() == 1, "{:?}", refused.stderr);
    ensure!(refused.stdout.is_empty() && refused.stderr[0].contains(&url), "{:?}", refused.stderr);
    Ok(())
}
