//! Connections on loopback: messages however they are cut, connections that go wrong beside others, certificates.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;

use super::super::stream::{Limits, Server};
use super::*;

fn message(length: u16, filling: u8) -> Vec<u8> {
    let mut octets = vec![filling; usize::from(length)];
    octets[..2].copy_from_slice(&10_u16.to_be_bytes());
    octets[2..4].copy_from_slice(&length.to_be_bytes());
    octets
}

fn connect(running: &Running) -> TcpStream {
    let stream = TcpStream::connect(running.counters().health().address).expect("a connection");
    stream.set_nodelay(true).expect("an option");
    stream.set_read_timeout(Some(PATIENCE)).expect("an option");
    stream
}

fn by(stream: &TcpStream, connection: u64) -> Peer {
    Peer { address: stream.local_addr().expect("an address"), connection: Some(connection) }
}

/// Whether the other side has closed it.
fn is_closed(mut stream: &TcpStream) -> bool {
    match stream.read(&mut [0; 9]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn messages_arrive_however_they_are_written() {
    let (running, told) = listening("tcp://127.0.0.1:0");
    let mut stream = connect(&running);
    let (first, second, third) = (message(16, 1), message(1400, 2), message(65_535, 3));
    stream.write_all(&first[..3]).expect("written");
    assert_eq!(told.recv_timeout(PATIENCE), Ok(Told::Flush), "nothing but flushes");
    stream.write_all(&[&first[3..], &second].concat()).expect("written");
    assert_eq!(next(&told), Told::Message(by(&stream, 1), first));
    assert_eq!(next(&told), Told::Message(by(&stream, 1), second));
    for piece in third.chunks(10_000) {
        stream.write_all(piece).expect("written");
    }
    assert_eq!(next(&told), Told::Message(by(&stream, 1), third));
    assert_eq!(running.counters().health().connections_open, 1);
    drop(stream);
    assert_eq!(next(&told), Told::Closed(1));
    let health = until(&running, |health| health.connections_open == 0);
    assert_eq!((health.messages, health.octets), (3, 16 + 1400 + 65_535));
    assert_eq!((health.connections_total, health.ended_broken), (1, 0));
    running.stop();
}

#[test]
fn a_connection_that_goes_wrong_disturbs_no_other() {
    let (running, told) = listening("tcp://[::1]:0");
    let mut good = connect(&running);
    good.write_all(&message(20, 1)).expect("written");
    assert_eq!(next(&told), Told::Message(by(&good, 1), message(20, 1)));

    let mut garbage = connect(&running);
    garbage.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("written");
    assert!(is_closed(&garbage));
    assert_eq!(next(&told), Told::Closed(2));

    // What came before the garbage is taken.
    let mut half = connect(&running);
    half.write_all(&[message(17, 3), vec![0, 10, 0, 2]].concat()).expect("written");
    assert!(is_closed(&half));
    assert_eq!(next(&told), Told::Message(by(&half, 3), message(17, 3)));
    assert_eq!(next(&told), Told::Closed(3));

    let mut torn = connect(&running);
    torn.write_all(&message(40, 4)[..39]).expect("written");
    drop(torn);
    assert_eq!(next(&told), Told::Closed(4));

    good.write_all(&message(21, 5)).expect("written");
    assert_eq!(next(&told), Told::Message(by(&good, 1), message(21, 5)));
    let health = until(&running, |health| health.connections_open == 1);
    assert_eq!((health.ended_not_ipfix, health.ended_broken, health.connections_total), (2, 1, 4));
    running.stop();
}

#[test]
fn who_is_not_allowed_is_not_connected() {
    let (running, told) = listening("tcp://127.0.0.1:0?allow=192.0.2.0/24");
    assert!(is_closed(&connect(&running)));
    let health = until(&running, |health| health.refused == 1);
    assert_eq!((health.connections_total, health.refused_octets), (0, 0));
    running.stop();
    assert!(told.try_iter().all(|told| told == Told::Flush));
}

/// A listener with other limits.
fn limited(tls: Option<TlsServer>, limits: Limits) -> (Running, Receiver<Told>) {
    let listen: Listen = "tcp://127.0.0.1:0".parse().expect("a URL");
    let listener = TcpListener::bind(listen.address).expect("a socket");
    let counters = ListenerCounters::new(listen.to_string(), listener.local_addr().expect("an address"), None);
    let (stop, stopped) = watch::channel(());
    let (recorder, told) = Recorder::new();
    let shared = counters.clone();
    let thread = thread::spawn(move || {
        Server::new(listener, tls, listen, shared, limits).expect("a server").run(recorder, stopped);
    });
    (Running { stop, thread, counters }, told)
}

#[test]
fn who_brings_nothing_for_long_is_closed() {
    let (running, told) = limited(None, Limits { idle: FLUSH_INTERVAL, ..Limits::of_this_process() });
    let mut stream = connect(&running);
    stream.write_all(&message(16, 1)[..15]).expect("written");
    assert!(is_closed(&stream));
    assert_eq!(next(&told), Told::Closed(1));
    let health = until(&running, |health| health.connections_open == 0);
    assert_eq!((health.ended_idle, health.ended_broken), (1, 0));
    running.stop();
}

#[test]
fn more_connections_than_there_may_be_are_turned_away_until_others_end() {
    let (running, told) = limited(None, Limits { connections: 3, ..Limits::of_this_process() });
    let mut open: Vec<TcpStream> = (0..3).map(|_| connect(&running)).collect();
    until(&running, |health| health.connections_open == 3);
    assert!(is_closed(&connect(&running)));
    assert_eq!(running.counters().health().connections_turned_away, 1);
    open.pop();
    assert_eq!(next(&told), Told::Closed(3));
    let mut late = connect(&running);
    late.write_all(&message(16, 1)).expect("written");
    assert_eq!(next(&told), Told::Message(by(&late, 4), message(16, 1)));
    running.stop();
}

#[test]
fn what_has_arrived_at_the_end_is_still_handed_on_and_every_connection_closed() {
    let (running, told) = listening("tcp://127.0.0.1:0");
    let streams = [connect(&running), connect(&running)];
    until(&running, |health| health.connections_open == 2);
    for mut stream in &streams {
        stream.write_all(&message(16, 9)).expect("written");
    }
    let counters = running.counters().clone();
    running.stop();
    let mut all: Vec<Told> = told.try_iter().collect();
    assert_eq!(all.pop(), Some(Told::Flush));
    assert_eq!(all.iter().filter(|told| matches!(told, Told::Message(..))).count(), 2);
    assert_eq!(all.iter().filter(|told| matches!(told, Told::Closed(_))).count(), 2);
    assert_eq!((counters.health().connections_open, counters.health().messages), (0, 2));
    assert!(streams.iter().all(is_closed));
}

/// An authority that signs for exporters and for us, and the files that we are configured with.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    folder: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("ca.pem"), certificate.pem()).expect("a file");
        let authority = Self { issuer: Issuer::new(params, key), certificate: certificate.der().clone(), folder };
        let (chain, key) = authority.sign();
        authority.write("own.pem", &chain);
        authority.write("own.key", &key);
        authority
    }

    /// A certificate and its key, both PEM.
    fn sign(&self) -> (String, String) {
        let params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        let key = KeyPair::generate().expect("a key");
        (params.signed_by(&key, &self.issuer).expect("a certificate").pem(), key.serialize_pem())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).expect("a file");
    }

    /// A listener that wants exporters' certificates of `clients`.
    fn listening(&self, clients: Option<&Self>) -> (Running, Receiver<Told>) {
        let [certificate, key] = ["own.pem", "own.key"].map(|name| self.path(name));
        let client_ca = clients.map(|clients| format!("&client-ca={}", clients.path("ca.pem").display()));
        let client_ca = client_ca.unwrap_or_default();
        let place = "tls://127.0.0.1:0";
        listening(&format!("{place}?certificate={}&key={}{client_ca}", certificate.display(), key.display()))
    }

    /// A session of an exporter that trusts this authority, with a certificate that `signer` has signed.
    fn session(
        &self,
        running: &Running,
        signer: Option<&Self>,
    ) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("a root");
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the versions")
            .with_root_certificates(roots);
        let config = match signer.map(Self::sign) {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let chain = vec![CertificateDer::from_pem_slice(chain.as_bytes()).expect("a certificate")];
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
                builder.with_client_auth_cert(chain, key).expect("a pair")
            }
        };
        let name = ServerName::try_from("localhost").expect("a name");
        let session = ClientConnection::new(Arc::new(config), name).expect("a session");
        let mut session = StreamOwned::new(session, connect(running));
        session.write_all(&message(1000, 7))?;
        session.flush()?;
        Ok(session)
    }
}

#[test]
fn messages_arrive_under_tls() {
    let authority = Authority::new();
    let (running, told) = authority.listening(None);
    let session = authority.session(&running, None).expect("a session");
    assert_eq!(next(&told), Told::Message(by(&session.sock, 1), message(1000, 7)));
    // Without a goodbye.
    drop(session);
    assert_eq!(next(&told), Told::Closed(1));
    let health = until(&running, |health| health.connections_open == 0);
    assert_eq!((health.messages, health.octets, health.ended_broken, health.handshakes_failed), (1, 1000, 0, 0));
    running.stop();
}

#[test]
fn where_certificates_are_wanted_only_who_has_one_is_heard() {
    let (authority, another) = (Authority::new(), Authority::new());
    let (running, told) = authority.listening(Some(&authority));
    for (number, signer) in [(1, None), (2, Some(&another))] {
        // With TLS 1.3 an exporter learns of it when it reads.
        let outcome = authority.session(&running, signer).and_then(|mut session| session.read(&mut [0; 9]));
        assert!(outcome.is_err(), "it is refused");
        assert_eq!(next(&told), Told::Closed(number));
        assert_eq!(running.counters().health().handshakes_failed, number);
    }
    let session = authority.session(&running, Some(&authority)).expect("a session");
    assert_eq!(next(&told), Told::Message(by(&session.sock, 3), message(1000, 7)));
    running.stop();
}

#[test]
fn what_speaks_no_tls_is_counted() {
    let authority = Authority::new();
    let (running, told) = authority.listening(None);
    let mut stream = connect(&running);
    stream.write_all(&message(16, 1)).expect("written");
    until(&running, |health| health.handshakes_failed == 1);
    assert_eq!(next(&told), Told::Closed(1));
    assert_eq!(running.counters().health().messages, 0);
    running.stop();
}

#[test]
fn who_does_not_come_to_an_agreement_is_closed() {
    let authority = Authority::new();
    let [certificate, key] = ["own.pem", "own.key"].map(|name| authority.path(name));
    let tls = TlsServer::new(&TlsServerFiles { certificate, key, client_ca: None }).expect("a server");
    let (running, told) = limited(Some(tls), Limits { handshake: FLUSH_INTERVAL, ..Limits::of_this_process() });
    let stream = connect(&running);
    assert!(is_closed(&stream));
    assert_eq!(next(&told), Told::Closed(1));
    assert_eq!(running.counters().health().handshakes_failed, 1);
    running.stop();
}

#[test]
fn files_that_are_wrong_are_named_before_anything_is_bound() {
    let authority = Authority::new();
    authority.write("empty.pem", "");
    let [own, key, empty] = ["own.pem", "own.key", "empty.pem"].map(|name| authority.path(name).display().to_string());
    for (options, words) in [
        (format!("certificate={empty}&key={key}"), format!("there is no certificate in `{empty}`")),
        (format!("certificate={own}&key={empty}"), format!("there is no private key in `{empty}`")),
        (format!("certificate={own}&key={key}&client-ca={empty}"), format!("there is no certificate in `{empty}`")),
    ] {
        let error = Listener::bind(&format!("tls://127.0.0.1:0?{options}").parse().expect("a URL")).expect_err(&words);
        assert!(error.to_string().starts_with(&format!("cannot listen on tls://127.0.0.1:0: {words}")), "{error}");
    }
}
