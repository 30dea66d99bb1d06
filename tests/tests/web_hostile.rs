//! Holds that whoever asks the dashboard for too much, or for what is not there, gets a short answer that says why, and harms nobody: not
//! those who ask sensibly, and not the accounting.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use flowprobe_tests::certificates::{Certificates, NAME};
use flowprobe_tests::daemon::{Daemon, flowprobe};
use flowprobe_tests::http::{Http, answer};
use flowprobe_tests::namespace::Namespace;
use flowprobe_tests::process::{Process, read, wait_until};
use flowprobe_tests::require;

const WEB: &str = "127.0.0.1:8739";

/// Two namespaces, of which the first is metered.
fn rooms() -> Result<(Namespace, Namespace)> {
    let (here, there) = (Namespace::new()?, Namespace::new()?);
    here.connect("veth0", &there)?;
    here.address("veth0", "10.9.0.1/24")?;
    there.address("veth0", "10.9.0.2/24")?;
    Ok((here, there))
}

#[test]
fn requests_that_cannot_be_answered_are_told_why() -> Result<()> {
    require!();
    let (here, _there) = rooms()?;
    let folder = tempfile::tempdir()?;
    let store = folder.path().join("store").display().to_string();
    let daemon = Daemon::quick(&here, &["-i", "veth0", "--store", &store, "--web", WEB])?;
    let http = Http::new(&here, WEB)?;
    let long = "x".repeat(20_000);
    let many = "&address=10.0.0.1".repeat(500);
    for (path, status, said) in [
        ("/api/v1/totals?from=0&to=7258118400000", 200, ""),
        ("/api/v1/series?from=0&to=7258118400000", 200, ""),
        ("/api/v1/series?from=0&to=7258118400000&step=1s", 400, "more than 2000 steps"),
        ("/api/v1/series?last=10y&group=source&top=51", 400, "1 to 50"),
        ("/api/v1/totals?from=-9223372036854775808", 400, "expected milliseconds since 1970"),
        ("/api/v1/totals?from=7258118400000&to=0", 400, "has to be before"),
        ("/api/v1/totals?last=-1h", 400, "expected a time"),
        ("/api/v1/top/addresses?top=1000000000", 400, "1 to 1000"),
        ("/api/v1/top/networks?prefix=33", 400, "0 to 32"),
        ("/api/v1/top/addresses?address=10.0.0.1%2F33", 400, "expected a network"),
        ("/api/v1/top/addresses?protocol=%27%3B%20drop%20table", 400, "expected a protocol"),
        ("/api/v1/top/%2e%2e%2f", 404, "what is ranked is one of"),
        ("/api/v1/hosts/nobody", 404, "a host is an address"),
        ("/api/v1/hosts/10.0.0.1%00", 404, "a host is an address"),
        ("/api/v2/totals", 404, "there is no /api/v2/totals here"),
        ("/assets/../Cargo.toml", 404, "there is no such file"),
        ("/assets/%2e%2e/%2e%2e/etc/passwd", 404, "there is no such file"),
        ("/assets//etc/passwd", 404, "there is no such file"),
        ("/etc/passwd", 404, "there is no /etc/passwd here"),
        ("/metrics/../../etc/passwd", 404, ""),
        (&format!("/api/v1/totals?label={long}"), 414, "longer than any question"),
        (&format!("/api/v1/totals?last=1h{many}"), 414, "longer than any question"),
    ] {
        let response = http.get(path)?;
        ensure!(
            response.status == status && response.text().contains(said),
            "{path}: {}\n{}",
            response.head,
            response.text()
        );
        ensure!(status == 200 || response.body.len() < 1000, "{path}: {}", response.body.len());
        ensure!(response.header("content-security-policy").is_some_and(|policy| policy.contains("default-src 'none'")));
    }
    for (request, status) in [
        ("POST /api/v1/totals HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello", 405),
        ("DELETE / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 405),
        ("GET / HTTP/1.1\r\nHost: attacker.example\r\nConnection: close\r\n\r\n", 421),
        ("GET / HTTP/1.1\r\nConnection: close\r\n\r\n", 421),
        ("GET http://attacker.example/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 421),
        ("nonsense\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nX: \0\r\nConnection: close\r\n\r\n", 400),
        (&format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(100_000)), 431),
        (&format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "X: y\r\n".repeat(200)), 431),
        ("HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 200),
    ] {
        let response = http.send(request)?;
        ensure!(response.status == status, "{request:.80}: {}", response.head);
        ensure!(!request.starts_with("HEAD") || response.body.is_empty());
    }
    daemon.stop()?;
    Ok(())
}

/// As many as are open at the same time, and more.
const CONNECTIONS: usize = 1000;

#[test]
fn a_thousand_connections_and_slow_clients_harm_nobody() -> Result<()> {
    require!("ping");
    let (here, there) = rooms()?;
    let folder = tempfile::tempdir()?;
    let store = folder.path().join("store").display().to_string();
    let daemon = Daemon::quick(&here, &["-i", "veth0", "--store", &store, "--web", WEB])?;
    let http = Http::new(&here, WEB)?;
    let mut ping = Process::start(there.command("ping").args(["-q", "-c", "200", "-i", "0.02", "10.9.0.1"]))?;
    let mut stuck: Vec<TcpStream> = Vec::new();
    for number in 0..CONNECTIONS {
        let mut stream = http.connect()?;
        // Some say nothing, some never come to an end, some do not read what they have asked for.
        let _ = match number % 3 {
            0 => Ok(()),
            1 => stream.write_all(b"GET / HTTP/1.1\r\nHost: local"),
            _ => stream.write_all(b"GET /assets/plotly.min.js HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        };
        stuck.push(stream);
    }
    // Those beyond the bound were told so; it is over within the time that a client may take.
    let mut told = 0;
    for stream in stuck.iter_mut().rev().take(50) {
        told += usize::from(answer(stream).is_ok_and(|response| response.status == 503));
    }
    ensure!(told > 0, "nobody was told that there are too many");
    let begun = Instant::now();
    wait_until("an answer beside them", || Ok(http.json("/api/v1/totals").is_ok()))?;
    ensure!(begun.elapsed() < Duration::from_secs(50), "{:?}", begun.elapsed());
    drop(stuck);
    // Many who ask at once: all get an answer, or are told to come back.
    let outcomes: Vec<u16> = std::thread::scope(|scope| {
        let ask = |_| scope.spawn(|| http.get("/api/v1/conversations?last=30d").map_or(0, |response| response.status));
        let asking: Vec<_> = (0..100).map(ask).collect();
        asking.into_iter().map(|one| one.join().unwrap_or(0)).collect()
    });
    ensure!(outcomes.iter().all(|status| [200, 429, 503].contains(status)), "{outcomes:?}");
    ensure!(outcomes.contains(&200), "{outcomes:?}");
    ping.wait_for_output("its sum", |line| line.contains("200 packets transmitted"))?;
    ping.wait()?;
    let sums = http.json("/api/v1/accounting")?["sums"].clone();
    ensure!(sums[0]["balances"] == true, "{sums}");
    let report = daemon.stop()?;
    let packets: u64 = report
        .records
        .iter()
        .filter(|record| record["protocolIdentifier"] == 1 && record["sourceIPv4Address"] == "10.9.0.2")
        .filter_map(|record| record["packetDeltaCount"].as_u64())
        .sum();
    ensure!(packets == 200, "{packets} of 200 packets");
    Ok(())
}

#[test]
fn beyond_loopback_it_takes_a_token_and_tls() -> Result<()> {
    require!("curl", "openssl");
    let (here, there) = rooms()?;
    let certificates = Certificates::new()?;
    let token = certificates.text("token", "txt");
    std::fs::write(&token, "0123456789abcdef0123456789abcdef\n")?;
    let (certificate, key) = (certificates.text("server", "pem"), certificates.text("server", "key"));
    for (flags, said) in [
        (&["--web", "10.9.0.1:8739"][..], "that takes a token (--web-token FILE) and TLS"),
        (&["--web", "0.0.0.0", "--web-token", &token], "that takes TLS"),
        (&["--web", "10.9.0.1", "--web-certificate", &certificate, "--web-key", &key], "that takes a token"),
        (&["--web", "10.9.0.1", "--web-token", &certificate], "is no token"),
        (&["--web", "10.9.0.1", "--web-token", "/nowhere"], "cannot read the token"),
        (&["--web", "here"], "expected an address of this machine"),
        (
            &["--web", "10.9.0.77", "--web-token", &token, "--web-certificate", &certificate, "--web-key", &key],
            "the dashboard cannot be at 10.9.0.77:8739",
        ),
    ] {
        let output = flowprobe(&here, &[&["run", "-i", "veth0"], flags].concat())?.output()?;
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(2) && error.contains(said), "{flags:?}: {error}");
    }
    let secure = ["--web-token", &token, "--web-certificate", &certificate, "--web-key", &key, "--web-name", NAME];
    let daemon = Daemon::quick(&here, &[&["-i", "veth0", "--web", "10.9.0.1:8739"], &secure[..]].concat())?;
    let ca = certificates.text("ca", "pem");
    let curl = |flags: &[&str], path: &str| -> Result<String> {
        let (url, to) = (format!("https://{NAME}:8739{path}"), format!("{NAME}:8739:10.9.0.1:8739"));
        let common = ["-s", "--cacert", &ca, "--connect-to", &to, "-w", "\n%{http_code}"];
        read(there.command("curl").args(common).args(flags).arg(url))
    };
    let right = "Authorization: Bearer 0123456789abcdef0123456789abcdef";
    wait_until("the first drain", || Ok(curl(&[], "/readyz")?.ends_with("\n200")))?;
    for (flags, path, status) in [
        (&[][..], "/", 401),
        (&[], "/api/v1/status", 401),
        (&[], "/metrics", 401),
        (&[], "/healthz", 200),
        (&["-H", "Authorization: Bearer 0123456789abcdef0123456789abcdee"], "/", 401),
        (&["-u", "somebody:wrong"], "/", 401),
        (&["-H", right], "/", 200),
        (&["-H", right], "/api/v1/status", 200),
        (&["-u", "somebody:0123456789abcdef0123456789abcdef"], "/metrics", 200),
    ] {
        let said = curl(flags, path)?;
        ensure!(said.ends_with(&format!("\n{status}")), "{flags:?} {path}: {said}");
        ensure!(status != 401 || !said.contains("0123456789abcdef"), "{said}");
    }
    // Without TLS there is nothing, and the log has no secret.
    ensure!(Http::new(&here, "10.9.0.1:8739")?.get("/healthz").is_err());
    let log = daemon.log().join("\n");
    ensure!(log.contains("the dashboard is at https://10.9.0.1:8739") && !log.contains("0123456789abcdef"), "{log}");
    daemon.stop()?;
    Ok(())
}

#[test]
fn a_dashboard_that_nobody_asked_for_is_done_without_where_its_port_is_taken() -> Result<()> {
    require!();
    let (here, _there) = rooms()?;
    let first = Daemon::quick(&here, &["-i", "veth0", "--web", WEB])?;
    let wanted = flowprobe(&here, &["run", "-i", "veth0", "--web", WEB])?.output()?;
    let error = String::from_utf8_lossy(&wanted.stderr).into_owned();
    ensure!(wanted.status.code() == Some(2) && error.contains("cannot be at 127.0.0.1:8739"), "{error}");
    let binary = flowprobe_tests::daemon::binary()?;
    let mut second =
        Process::start(here.command(binary).args(["run", "--json", "-i", "veth0", "--mode", "tc", "--store", "none"]))?;
    second.wait_for_error_lines("there is no dashboard: cannot listen on 127.0.0.1:8739", 1)?;
    second.wait_for_error_lines(" metering ", 1)?;
    second.stop(rustix::process::Signal::INT)?;
    first.stop()?;
    Ok(())
}
