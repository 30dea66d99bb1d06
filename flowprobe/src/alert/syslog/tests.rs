//! Messages to the octet, and what arrives where.

use std::io::{BufReader, Read as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::super::notice::tests::{finding, ip, notice, observer, sighting};
use super::super::settings::SyslogUrl;
use super::transport::Channel;
use super::*;
use crate::detect::finding::{Sighting, Subject};
use crate::export::transport::{TlsClient, TlsFiles};

const PATIENCE: Duration = Duration::from_secs(5);

fn style(format: SyslogFormat, largest: usize) -> Style {
    let zone = TimeZone::fixed(jiff::tz::offset(2));
    Style { facility: Facility::Local0, format, largest, hostname: observer().hostname, pid: 77, zone }
}

fn text(style: &Style, notice: &Notice) -> String {
    String::from_utf8(style.message(notice)).expect("UTF-8")
}

fn of(sighting: Sighting, largest: usize) -> String {
    text(&style(SyslogFormat::Rfc5424, largest), &notice(sighting, Change::Opened))
}

#[test]
fn a_message_is_as_rfc_5424_has_it() {
    let notice = notice(sighting(), Change::Opened);
    let expected = format!(
        "<131>1 2026-11-30T12:00:00.001Z gate.example flowprobe 77 port-scan [flowprobe@32473 id=\"{}\" change=\"opened\" \
         severity=\"high\" rule=\"port-scan\" subject=\"10.0.0.7\" count=\"1\" first=\"2026-11-30T11:59:46.000Z\" \
         last=\"2026-11-30T12:00:00.000Z\" technique=\"T1046\" peers=\"1\" peer=\"10.0.0.9\"] \u{feff}Port scan of 10.0.0.9. \
         10.0.0.7 probed 512 ports on 10.0.0.9 in 14 s.",
        notice.finding.id
    );
    assert_eq!(text(&style(SyslogFormat::Rfc5424, 2048), &notice), expected);
}

#[test]
fn a_local_message_is_as_the_c_library_writes_it() {
    let notice = notice(sighting(), Change::Raised);
    let expected = format!(
        "<131>Nov 30 14:00:00 flowprobe[77]: Raised to high: Port scan of 10.0.0.9. 10.0.0.7 probed 512 ports on 10.0.0.9 in 14 s. \
         (high, port-scan, finding {})",
        notice.finding.id
    );
    assert_eq!(text(&style(SyslogFormat::Local, 2048), &notice), expected);
    let early = Notice { at_ms: 1_793_577_600_000, ..notice };
    assert!(
        text(&style(SyslogFormat::Local, 2048), &early).starts_with("<131>Nov  2 "),
        "days of one digit have a space"
    );
}

#[test]
fn severities_and_facilities_are_mapped() {
    let priority = |severity, change, facility| {
        let style = Style { facility, ..style(SyslogFormat::Rfc5424, 2048) };
        style.priority(&notice(Sighting { severity, ..sighting() }, change))
    };
    let severities = [Severity::Low, Severity::Medium, Severity::High, Severity::Critical];
    assert_eq!(severities.map(|severity| priority(severity, Change::Opened, Facility::Security)), [37, 36, 35, 34]);
    assert_eq!(severities.map(|severity| priority(severity, Change::Ended, Facility::Local7)), [190; 4]);
    assert_eq!(priority(Severity::Critical, Change::Raised, Facility::Local3), 154);
}

#[test]
fn values_are_escaped_and_cannot_end_their_message() {
    let hostile = Sighting {
        subject: Subject::Interface("e\"t]h\\0\n<0>1 é".into()),
        title: "a\nb]\"\u{85}c".into(),
        explanation: String::new(),
        ..sighting()
    };
    let message = of(hostile, 2048);
    assert!(message.contains(" subject=\"e\\\"t\\]h\\\\0 <0>1 é\" "), "{message}");
    assert!(message.ends_with("] \u{feff}a b]\" c"), "{message}");
    assert_eq!([name("a b\n\u{e9}c", 2), name("\u{e9}", 9), name("", 9)], ["ab", "-", "-"]);
    let mut style = style(SyslogFormat::Rfc5424, 480);
    style.hostname = "h".repeat(999);
    let message = text(&style, &notice(sighting(), Change::Opened));
    assert_eq!((message.matches('h').count() >= 255, message.len() <= 480), (true, true), "{message}");
    assert!(message.contains("Port scan of 10.0.0.9. 10.0.0.7 probed 512 ports"), "{message}");
}

#[test]
fn a_message_is_never_too_long_and_stays_whole() {
    for largest in 480..900 {
        let long = Sighting {
            explanation: "ä€𝄞".repeat(400),
            peers: (0..50_u8).map(|last| ip(&format!("2001:db8::{last:x}"))).collect(),
            matter: "]".repeat(largest / 4),
            ..sighting()
        };
        let message = of(long.clone(), largest);
        assert!(message.len() <= largest && message.len() > largest - 8, "{largest}: {}", message.len());
        assert!(message.ends_with('…') && message.contains("] \u{feff}Port scan of 10.0.0.9. ä€𝄞"), "{message}");
        let local = text(&style(SyslogFormat::Local, largest), &notice(long, Change::Opened));
        assert!(local.len() <= largest && local.ends_with('…'), "{local}");
    }
    let mut cut = String::new();
    push_cut(&mut cut, "abc", 3);
    push_cut(&mut cut, "d", 3);
    assert_eq!(cut, "abc…", "an ellipsis at the least");
}

#[test]
fn datagrams_arrive_over_udp_and_on_a_local_socket_that_comes_back() {
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    udp.set_read_timeout(Some(PATIENCE)).expect("set");
    let port = udp.local_addr().expect("an address").port();
    let mut transport = Transport::new(SyslogUrl::Udp("127.0.0.1".into(), port), None, PATIENCE);
    let mut buffer = [0; 100];
    for message in [b"one", b"two"] {
        transport.send(message).expect("sent");
        let length = udp.recv(&mut buffer).expect("a datagram");
        assert_eq!(&buffer[..length], message);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("log");
    let mut transport = Transport::new(SyslogUrl::Local(path.clone()), None, PATIENCE);
    assert!(transport.send(b"nobody").expect_err("no socket").to_string().starts_with("unix://"));
    for _ in 0..2 {
        let log = UnixDatagram::bind(&path).expect("a socket");
        log.set_read_timeout(Some(PATIENCE)).expect("set");
        for message in [b"one", b"two"] {
            transport.send(message).expect("sent");
            let length = log.recv(&mut buffer).expect("a datagram");
            assert_eq!(&buffer[..length], message);
        }
        drop(log);
        std::fs::remove_file(&path).expect("removed");
    }
}

/// One message of a stream, by its octet count.
fn framed(stream: &mut impl std::io::BufRead) -> Vec<u8> {
    let mut count = Vec::new();
    stream.read_until(b' ', &mut count).expect("a count");
    let count = String::from_utf8(count).expect("digits");
    let mut message = vec![0; count.trim_end().parse().expect("digits")];
    stream.read_exact(&mut message).expect("a message");
    message
}

fn accept(listener: &TcpListener) -> TcpStream {
    let stream = listener.accept().expect("a connection").0;
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    stream
}

#[test]
fn a_stream_has_counts_and_a_new_connection_where_the_peer_has_closed() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let port = listener.local_addr().expect("an address").port();
    let mut transport = Transport::new(SyslogUrl::Tcp("127.0.0.1".into(), port), None, PATIENCE);
    for round in 0..2 {
        transport.send(b"a\nb").expect("sent");
        let mut stream = BufReader::new(accept(&listener));
        transport.send("é".as_bytes()).expect("sent");
        assert_eq!([framed(&mut stream), framed(&mut stream)], [b"a\nb".to_vec(), "é".into()], "{round}");
        // The end of the connection is with the sender as soon as this returns: both are of this machine.
        drop(stream);
    }
    drop(listener);
    assert!(transport.send(b"nobody").is_err());
}

#[test]
fn a_session_of_tls_has_counts_and_takes_only_the_right_certificate() {
    let folder = tempfile::tempdir().expect("a folder");
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, own.cert.pem()).expect("written");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .expect("a configuration");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let port = listener.local_addr().expect("an address").port();
    let server = std::thread::spawn(move || {
        let config = Arc::new(config);
        let session = || {
            let connection = ServerConnection::new(config.clone()).expect("a session");
            BufReader::new(StreamOwned::new(connection, accept(&listener)))
        };
        let mut read = Vec::new();
        for _ in 0..2 {
            let mut stream = session();
            read.push(framed(&mut stream));
            read.push(framed(&mut stream));
            let StreamOwned { conn, sock } = stream.get_mut();
            conn.send_close_notify();
            conn.complete_io(sock).expect("said");
        }
        let mut wrong = session();
        let error = wrong.read(&mut [0; 1]).expect_err("the certificate is not accepted");
        (read, error.to_string())
    });
    let client = |name: &str, ca: &PathBuf| {
        let files = TlsFiles { ca: Some(ca.clone()), ..TlsFiles::default() };
        TlsClient::new(&files, name).expect("a client")
    };
    let url = SyslogUrl::Tls("127.0.0.1".into(), port);
    let mut transport = Transport::new(url.clone(), Some(client("localhost", &path)), PATIENCE);
    for message in ["one", "two"] {
        transport.send(message.as_bytes()).expect("sent");
    }
    // The server says goodbye when it has read both.
    let Some((Channel::Tls(stream), _)) = &mut transport.open else { panic!("a session") };
    assert_eq!(stream.read(&mut [0; 1]).expect("goodbye"), 0);
    for message in ["three", "four"] {
        transport.send(message.as_bytes()).expect("sent");
    }
    let error =
        Transport::new(url, Some(client("other.example", &path)), PATIENCE).send(b"no").expect_err("another name");
    assert!(error.to_string().contains("certificate"), "{error}");
    let (read, refused) = server.join().expect("no panic");
    assert_eq!(read, ["one", "two", "three", "four"].map(|text| text.as_bytes().to_vec()));
    assert!(!refused.is_empty());
}

#[test]
fn peers_without_end_do_not_make_it_longer() {
    let many = Sighting {
        peers: (0..4096_u32).map(|last| std::net::Ipv4Addr::from_bits(last).into()).collect(),
        ..sighting()
    };
    let notice = Notice::new(finding(many), Change::Opened, 0);
    let message = text(&style(SyslogFormat::Rfc5424, 8192), &notice);
    assert_eq!((message.matches(" peer=").count(), message.contains(" peers=\"4096\"")), (10, true));
}
