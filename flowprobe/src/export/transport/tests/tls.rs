//! TLS with a server of this process, whose certificates are made on the spot.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd,
};
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::*;

const NAME: &str = "collector.example";
const BOTH: &[&SupportedProtocolVersion] = &[&TLS12, &TLS13];

/// An authority, and a folder for its files.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
    folder: TempDir,
}

/// A certificate and its key.
struct Pair {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let folder = tempfile::tempdir().expect("a folder");
        Self { issuer: Issuer::new(params, key), certificate, folder }
    }

    fn sign(&self, change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let mut params = CertificateParams::new([NAME.to_owned()]).expect("a name");
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        Pair { certificate: params.signed_by(&key, &self.issuer).expect("a certificate"), key }
    }

    fn file(&self, name: &str, content: &str) -> Option<PathBuf> {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).expect("a file");
        Some(path)
    }

    /// What a client that trusts this authority is configured with.
    fn files(&self) -> TlsFiles {
        let ca = self.file("ca.pem", &self.certificate.pem());
        TlsFiles { ca, name: Some(NAME.into()), ..TlsFiles::default() }
    }

    /// The same with a certificate that `signer` has signed.
    fn files_with(&self, signer: &Self) -> TlsFiles {
        let pair = signer.sign(|_| ());
        let certificate = self.file("client.pem", &pair.certificate.pem());
        let key = self.file("client.key", &pair.key.serialize_pem());
        TlsFiles { certificate, key, ..self.files() }
    }

    fn words(&self, text: &str) -> String {
        text.replace("FOLDER", &self.folder.path().display().to_string())
    }
}

/// A collector that shows the certificate of `pair`, and wants one of `clients` where that is given.
fn acceptor(pair: &Pair, clients: Option<&Authority>, versions: &[&'static SupportedProtocolVersion]) -> TlsAcceptor {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(versions);
    let builder = builder.expect("the versions");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.certificate.der().clone()).expect("a root");
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build();
            builder.with_client_cert_verifier(verifier.expect("a verifier"))
        }
    };
    let key = PrivateKeyDer::try_from(pair.key.serialize_der()).expect("a key");
    let config = builder.with_single_cert(vec![pair.certificate.der().clone()], key);
    TlsAcceptor::from(Arc::new(config.expect("a configuration")))
}

type Served = JoinHandle<io::Result<TlsStream<TcpStream>>>;

/// Connects with what `files` say to a collector that answers by `acceptor`; the name of the files counts.
async fn session(files: &TlsFiles, acceptor: TlsAcceptor) -> (Result<Stream, ConnectError>, SocketAddr, Served) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a listener");
    let address = address_of(&listener);
    let served = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await?;
        acceptor.accept(tcp).await
    });
    (tls_connect(address, files).await, address, served)
}

async fn tls_connect(to: SocketAddr, files: &TlsFiles) -> Result<Stream, ConnectError> {
    let host = to.ip().to_string();
    let client = TlsClient::new(files, &host).expect("a client");
    Stream::connect(&host, to.port(), &SocketOptions::default(), Some(&client), PATIENCE).await
}

async fn accepted(served: Served) -> TlsStream<TcpStream> {
    served.await.expect("a task").expect("a session")
}

#[tokio::test]
async fn a_message_arrives_and_the_end_is_known_on_both_sides() {
    let authority = Authority::new("authority");
    for versions in [&[&TLS12] as &[_], &[&TLS13]] {
        let acceptor = acceptor(&authority.sign(|_| ()), None, versions);
        let (stream, _, served) = session(&authority.files(), acceptor).await;
        let mut stream = stream.expect("a stream");
        let mut collector = accepted(served).await;
        let handshake = stream.written();
        assert!(handshake > 0);
        let much = vec![7; 100_000];
        let ((), received) = tokio::join!(async { stream.send(&much).await.expect("sent") }, async {
            let mut received = vec![0; much.len()];
            collector.read_exact(&mut received).await.expect("the message");
            received
        });
        assert_eq!(received, much);
        // Records have headers and tags.
        assert!(stream.written() - handshake > 100_000);
        all_acknowledged(&stream).await;
        assert!(timeout(A_MOMENT, stream.closed()).await.is_err(), "it is still open");
        assert!(stream.close(PATIENCE).await);
        assert_eq!(collector.read(&mut [0; 9]).await.expect("a goodbye"), 0);
    }
}

#[tokio::test]
async fn a_collector_that_says_goodbye_is_in_good_order_and_one_that_does_not_is_not() {
    let authority = Authority::new("authority");
    let (stream, _, served) = session(&authority.files(), acceptor(&authority.sign(|_| ()), None, BOTH)).await;
    let mut collector = accepted(served).await;
    collector.shutdown().await.expect("a goodbye");
    assert!(matches!(closed(&mut stream.expect("a stream")).await, Closed::InGoodOrder));

    let (stream, _, served) = session(&authority.files(), acceptor(&authority.sign(|_| ()), None, BOTH)).await;
    drop(accepted(served).await);
    let error = broken(closed(&mut stream.expect("a stream")).await);
    assert_eq!(error.to_string(), "the collector closed the connection without TLS's goodbye (close_notify)");
}

#[tokio::test]
async fn a_collector_with_a_wrong_certificate_is_refused_with_the_reason() {
    let authority = Authority::new("authority");
    let own = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new([NAME.to_owned()]).expect("a name");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let signed_by_itself = Pair { certificate: params.self_signed(&own).expect("a certificate"), key: own };
    let trusts_it =
        TlsFiles { ca: authority.file("self.pem", &signed_by_itself.certificate.pem()), ..authority.files() };
    let other_name = TlsFiles { name: None, ..authority.files() };
    let cases = [
        (
            authority.files(),
            Authority::new("another").sign(|_| ()),
            "its issuer is none of those that are trusted (UnknownIssuer)",
        ),
        (
            authority.files(),
            Authority::new("authority").sign(|_| ()),
            "its signature is not that of the authority of this name (BadSignature)",
        ),
        (
            other_name,
            authority.sign(|_| ()),
            "it is not for the name that was expected (certificate not valid for name \"127.0.0.1\"; certificate is only \
             valid for DnsName(\"collector.example\"))",
        ),
        (
            authority.files(),
            authority.sign(|params| params.not_after = date_time_ymd(2020, 1, 1)),
            "it has expired (certificate expired: verification time ",
        ),
        (
            authority.files(),
            authority.sign(|params| params.not_before = date_time_ymd(4000, 1, 1)),
            "it is not valid yet, by this machine's clock (certificate not valid yet: verification time ",
        ),
        (
            authority.files(),
            authority.sign(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]),
            "it is not for a server (",
        ),
        (trusts_it, signed_by_itself, "it is that of an authority (CA:TRUE), which a server's must not be ("),
    ];
    for (files, pair, words) in cases {
        let (stream, address, _) = session(&files, acceptor(&pair, None, BOTH)).await;
        let error = stream.expect_err(words);
        let expected = format!("the certificate that {address} shows is not accepted: {words}");
        assert!(error.to_string().starts_with(&expected), "{error}");
        assert!(matches!(error, ConnectError::Certificate { .. }));
    }
}

#[tokio::test]
async fn a_client_certificate_that_is_asked_for_and_trusted_does() {
    let authority = Authority::new("authority");
    for versions in [&[&TLS12] as &[_], &[&TLS13]] {
        let acceptor = acceptor(&authority.sign(|_| ()), Some(&authority), versions);
        let (stream, _, served) = session(&authority.files_with(&authority), acceptor).await;
        let mut stream = stream.expect("a stream");
        let mut collector = accepted(served).await;
        stream.send(b"a message").await.expect("sent");
        collector.read_exact(&mut [0; 9]).await.expect("the message");
        assert!(stream.close(PATIENCE).await);
    }
}

/// With TLS 1.3 a client learns only after the handshake that it is not welcome.
#[tokio::test]
async fn a_client_that_is_refused_is_told_why() {
    let authority = Authority::new("authority");
    let wanted = "the collector wants a client certificate (TLS alert CertificateRequired)";
    let refused = "the collector does not accept the client certificate (TLS alert UnknownCA)";
    for (files, words) in [(authority.files(), wanted), (authority.files_with(&Authority::new("another")), refused)] {
        let pair = authority.sign(|_| ());
        let (stream, _, _) = session(&files, acceptor(&pair, Some(&authority), &[&TLS13])).await;
        assert_eq!(broken(closed(&mut stream.expect("a stream")).await).to_string(), words);

        let (stream, _, served) = session(&files, acceptor(&pair, Some(&authority), &[&TLS13])).await;
        let mut stream = stream.expect("a stream");
        assert!(served.await.expect("a task").is_err());
        let begin = Instant::now();
        let error = loop {
            match stream.send(b"a message").await {
                Ok(()) => assert!(begin.elapsed() < PATIENCE, "messages are still taken"),
                Err(error) => break error,
            }
            sleep(Duration::from_millis(1)).await;
        };
        assert_eq!(error.to_string(), words);

        let (stream, address, _) = session(&files, acceptor(&pair, Some(&authority), &[&TLS12])).await;
        let error = stream.expect_err("no session");
        assert_eq!(error.to_string(), format!("no TLS session with {address}: {words}"));
    }
}

#[tokio::test]
async fn what_does_not_speak_tls_is_told_apart() {
    let authority = Authority::new("authority");
    let cases = [
        (Some(&b"220 hello\r\n"[..]), false, "what answers does not seem to speak TLS ("),
        (None, false, "it closes the connection instead of answering TLS"),
        (None, true, "it accepts connections but does not answer TLS"),
    ];
    for (answer, stays, words) in cases {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a listener");
        let address = address_of(&listener);
        let server = async {
            let (mut tcp, _) = listener.accept().await.expect("a connection");
            assert!(tcp.read(&mut [0; 4096]).await.expect("a hello") > 0);
            tcp.write_all(answer.unwrap_or_default()).await.expect("an answer");
            if stays {
                sleep(A_MOMENT * 2).await;
            }
        };
        let client = TlsClient::new(&authority.files(), "127.0.0.1").expect("a client");
        let options = SocketOptions::default();
        let patience = if stays { A_MOMENT } else { PATIENCE };
        let connecting = Stream::connect("127.0.0.1", address.port(), &options, Some(&client), patience);
        let (stream, ()) = tokio::join!(connecting, server);
        let error = stream.expect_err(words).to_string();
        assert!(error.starts_with(&format!("no TLS session with {address}: {words}")), "{error}");
    }
}

#[test]
fn files_that_are_wrong_are_named_with_the_reason() {
    let authority = Authority::new("authority");
    let good = authority.files_with(&authority);
    let other_key = authority.file("other.key", &KeyPair::generate().expect("a key").serialize_pem());
    let empty = authority.file("empty.pem", "nothing\n");
    let torn = authority.file("torn.pem", &authority.certificate.pem().replace("-----END", "END"));
    let scrambled = authority.file("scrambled.pem", "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n");
    let wrong = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let wrong = authority.file("wrong.pem", wrong);
    let wrong_key = authority.file("wrong.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let encrypted = authority.file("encrypted.key", encrypted);
    let missing = Some(authority.folder.path().join("missing.pem"));
    let cases = [
        (
            TlsFiles { ca: missing, ..good.clone() },
            "cannot read `FOLDER/missing.pem`: No such file or directory (os error 2)",
        ),
        (TlsFiles { ca: empty.clone(), ..good.clone() }, "there is no certificate in `FOLDER/empty.pem`"),
        (TlsFiles { ca: torn, ..good.clone() }, "`FOLDER/torn.pem` is damaged: a section has no end"),
        (TlsFiles { ca: scrambled, ..good.clone() }, "`FOLDER/scrambled.pem` is damaged: base64 decode error: "),
        (TlsFiles { ca: wrong.clone(), ..good.clone() }, "a certificate in `FOLDER/wrong.pem` cannot be used: "),
        (TlsFiles { certificate: empty.clone(), ..good.clone() }, "there is no certificate in `FOLDER/empty.pem`"),
        (TlsFiles { certificate: wrong, ..good.clone() }, "a certificate in `FOLDER/wrong.pem` cannot be used: "),
        (
            TlsFiles { key: empty, ..good.clone() },
            "there is no private key in `FOLDER/empty.pem`; one that is encrypted cannot be used",
        ),
        (
            TlsFiles { key: encrypted, ..good.clone() },
            "there is no private key in `FOLDER/encrypted.key`; one that is encrypted cannot be used",
        ),
        (TlsFiles { key: wrong_key, ..good.clone() }, "the private key in `FOLDER/wrong.key` cannot be used: "),
        (
            TlsFiles { key: other_key, ..good.clone() },
            "the private key in `FOLDER/other.key` is not that of the certificate in `FOLDER/client.pem`",
        ),
        (TlsFiles { key: None, ..good.clone() }, "the client certificate `FOLDER/client.pem` needs its private key"),
        (TlsFiles { certificate: None, ..good.clone() }, "the private key `FOLDER/client.key` needs its certificate"),
        (
            TlsFiles { name: Some("not a name".into()), ..good.clone() },
            "`not a name` is neither a DNS name nor an address, so no certificate can be for it",
        ),
    ];
    for (files, words) in cases {
        let error = TlsClient::new(&files, "127.0.0.1").expect_err(words).to_string();
        let words = authority.words(words);
        // What follows a colon is the library's.
        if words.ends_with(": ") {
            assert!(error.starts_with(&words) && error.len() > words.len(), "{error}");
        } else {
            assert_eq!(error, words);
        }
    }
    assert!(TlsClient::new(&good, "127.0.0.1").expect("a client").has_certificate());
}
