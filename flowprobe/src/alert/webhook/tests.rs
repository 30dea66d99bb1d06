//! A receiver that fails in every way, and what it has in the end. Time in the book is made up.

mod outage;

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use ring::hmac;
use rustls::crypto::ring as provider;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

use super::super::notice::tests::{NOON, ip, observer, sighting};
use super::super::settings::SinkSettings;
use super::super::{Condition, Sinks};
use super::*;
use crate::detect::finding::{Severity, Sighting};
use crate::detect::findings::{Change, Finding, Findings};

const SECRET: &[u8] = b"a secret of the test";

/// Pauses take no time. An answer may: on a busy machine it must not be given up that has been sent.
const QUICK: Pace = Pace {
    first: Duration::from_millis(1),
    longest: Duration::from_millis(4),
    patience: Duration::from_secs(20),
    keeps: Duration::from_secs(3600),
};

/// What a receiver does with one request.
#[derive(Clone, Copy, Debug)]
enum Deed {
    /// Closes without an answer.
    Close,
    /// Never answers.
    Hang,
    /// Answers with this and no more.
    Answer(&'static str),
    /// Takes it.
    Take,
    /// Takes it after a while.
    TakeSlowly,
}

#[derive(Debug)]
struct Request {
    headers: HashMap<String, String>,
    body: String,
}

/// A receiver on loopback: what it was sent that it took, and how many requests it saw.
struct Receiving {
    url: String,
    taken: Receiver<Request>,
    thread: JoinHandle<usize>,
}

impl Receiving {
    /// Does the deeds in turn, then takes all until it has taken `count`.
    fn start(deeds: Vec<Deed>, count: usize) -> Self {
        Self::at(TcpListener::bind("127.0.0.1:0").expect("a socket"), deeds, count)
    }

    fn at(listener: TcpListener, deeds: Vec<Deed>, count: usize) -> Self {
        let url = format!("http://{}/hook?key=hidden", listener.local_addr().expect("an address"));
        let (took, taken) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut hanging = Vec::new();
            let (mut deeds, mut seen, mut left) = (deeds.into_iter(), 0, count);
            while left > 0 {
                let (stream, _) = listener.accept().expect("a connection");
                let Some((request, mut stream)) = read(stream) else { continue };
                seen += 1;
                let deed = deeds.next().unwrap_or(Deed::Take);
                if matches!(deed, Deed::TakeSlowly) {
                    std::thread::sleep(Duration::from_millis(100));
                }
                match deed {
                    Deed::Close => {}
                    Deed::Hang => hanging.push(stream),
                    Deed::Answer(answer) => say(&mut stream, answer),
                    Deed::Take | Deed::TakeSlowly => {
                        left -= 1;
                        took.send(request).expect("the test listens");
                        say(&mut stream, "200 OK");
                    }
                }
            }
            seen
        });
        Self { url, taken, thread }
    }

    fn next(&self) -> Request {
        self.taken.recv_timeout(Duration::from_secs(60)).expect("a request")
    }
}

fn say(stream: &mut impl Write, answer: &str) {
    let (status, header) = answer.split_once('|').unwrap_or((answer, "X-Nothing: 0"));
    // The other side may have gone.
    let _ = write!(stream, "HTTP/1.1 {status}\r\n{header}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
}

fn read<S: Read>(stream: S) -> Option<(Request, S)> {
    let mut lines = BufReader::new(stream);
    let mut line = String::new();
    // One that was given up before it was accepted has nothing to say.
    lines.read_line(&mut line).ok().filter(|octets| *octets > 0)?;
    assert_eq!(line, "POST /hook?key=hidden HTTP/1.1\r\n");
    let mut headers = HashMap::new();
    loop {
        line.clear();
        lines.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
    lines.read_exact(&mut body).ok()?;
    Some((Request { headers, body: String::from_utf8(body).ok()? }, lines.into_inner()))
}

/// Checks the signature as a receiver does.
fn verified(request: &Request) -> Value {
    let [seconds, signature] = ["x-flowprobe-timestamp", "x-flowprobe-signature"].map(|name| &request.headers[name]);
    let signature = signature.strip_prefix("v1=").expect("a version");
    let octet = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hexadecimal");
    let signature: Vec<u8> = signature.as_bytes().chunks(2).map(octet).collect();
    let signed = format!("{seconds}.{}", request.body);
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), signed.as_bytes(), &signature).expect("a signature");
    assert_eq!(request.headers["content-type"], "application/json");
    let body: Value = serde_json::from_str(&request.body).expect("JSON");
    let key = ["id", "change"].map(|key| body[key].as_str().expect("text")).join("-");
    assert_eq!(request.headers["idempotency-key"], format!("{key}-{}", body["count"]));
    body
}

/// Opened, raised and ended, of so many findings.
fn changes(findings: u8) -> Vec<(Finding, Change)> {
    let mut all = Findings::default();
    let mut changes = Vec::new();
    for severity in [Severity::Medium, Severity::High] {
        for host in 0..findings {
            all.see(Sighting { subject: ip(&format!("10.0.1.{host}")).into(), severity, ..sighting() }, NOON);
        }
        changes.extend(all.changes());
    }
    all.advance(NOON + 3_600_000);
    changes.extend(all.changes());
    changes
}

fn settings(url: &str, folder: &Path) -> SinkSettings {
    let secret = folder.join("secret");
    std::fs::write(&secret, [SECRET, b"\n"].concat()).expect("written");
    let text = format!("type = 'webhook'\nurl = '{url}'\nsecret-file = '{}'", secret.display());
    toml::from_str(&text).expect("settings")
}

fn start(url: &str, folder: &Path, pace: Pace) -> Sinks {
    Sinks::start_at(&[settings(url, folder)], &observer(), Some(folder), pace).expect("sinks")
}

fn condition(sinks: &Sinks) -> Condition {
    sinks.conditions().remove(0)
}

/// Identifier and change of all, in order for each finding, or it panics.
fn in_order(bodies: &[Value], findings: usize) {
    let mut told: HashMap<&str, Vec<&str>> = HashMap::new();
    for body in bodies {
        let [id, change] = ["id", "change"].map(|key| body[key].as_str().expect("text"));
        told.entry(id).or_default().push(change);
    }
    assert_eq!(told.len(), findings);
    assert!(told.values().all(|changes| changes == &["opened", "raised", "ended"]), "{told:?}");
}

#[test]
fn everything_arrives_once_and_in_order_whatever_the_receiver_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let failures = [
        Deed::Close,
        Deed::Answer("500 Internal Server Error"),
        Deed::Hang,
        Deed::Answer("429 Too Many Requests|Retry-After: 0"),
        Deed::Answer("410 Gone"),
        Deed::Take,
        Deed::Answer("422 Unprocessable Content"),
        Deed::Take,
        Deed::Answer("302 Found|Location: /elsewhere"),
        Deed::Answer("no HTTP"),
        Deed::Take,
        Deed::Answer("401 Unauthorized"),
    ];
    let receiving = Receiving::start(failures.to_vec(), 15);
    let pace = Pace { patience: Duration::from_secs(2), ..QUICK };
    let sinks = start(&receiving.url, folder.path(), pace);
    sinks.tell(changes(5), NOON);
    let bodies: Vec<Value> = (0..15).map(|_| verified(&receiving.next())).collect();
    in_order(&bodies, 5);
    let seen = receiving.thread.join().expect("no panic");
    assert_eq!(seen, 24, "9 of the deeds are failures");
    // The last answer may still be on its way.
    assert!(sinks.stop(Duration::from_secs(5)));
}

#[test]
fn what_is_sent_is_counted_and_troubles_are_said_without_the_url() {
    let folder = tempfile::tempdir().expect("a folder");
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = nobody.local_addr().expect("an address");
    drop(nobody);
    let url = format!("http://{address}/hook?key=hidden");
    let sinks = start(&url, folder.path(), QUICK);
    sinks.tell(changes(1), NOON);
    let mut said = condition(&sinks);
    while said.trouble.is_none() {
        std::thread::yield_now();
        said = condition(&sinks);
    }
    assert_eq!((said.sent, said.failed, said.refused, said.waiting), (0, 0, 0, 3));
    assert_eq!(said.name, format!("webhook http://{address}"));
    assert!(!format!("{said:?}{:?}", settings(&url, folder.path())).contains("hidden"), "{said:?}");
    drop(sinks);
}

#[test]
fn what_waits_survives_a_restart_and_the_rest_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let patient = Pace { first: Duration::from_secs(600), longest: Duration::from_secs(600), ..QUICK };
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = nobody.local_addr().expect("an address");
    drop(nobody);
    let url = format!("http://{address}/hook?key=hidden");
    let sinks = start(&url, folder.path(), patient);
    let all = changes(250);
    assert_eq!(all.len(), 750);
    sinks.tell(all.clone(), NOON);
    sinks.tell(all, NOON);
    while condition(&sinks).waiting > 1000 {
        std::thread::yield_now();
    }
    assert_eq!(condition(&sinks).refused, 500);
    assert!(sinks.stop(Duration::from_secs(20)), "nothing is tried at the end while the receiver is away");
    let sinks = start(&url, folder.path(), patient);
    assert_eq!(condition(&sinks).waiting, 1000);
    assert!(sinks.stop(Duration::from_secs(20)));
    // A receiver that is there again at the same place.
    let names = std::fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    let names: Vec<String> = names.map(|name| name.into_string().expect("UTF-8")).collect();
    assert!(names.iter().any(|name| name.starts_with("webhook-") && name.ends_with(".jsonl")), "{names:?}");
    let journal = names.iter().find(|name| name.ends_with(".jsonl")).expect("a journal");
    let (_, left, _) = Journal::open(folder.path().join(journal));
    assert_eq!((left.len(), left[0].number, left[999].number), (1000, 250, 1499));
    assert!(left.iter().all(|stored| stored.severity == Severity::High), "the medium ones have given way");
}

#[test]
fn a_restart_delivers_what_was_left_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let deeds = vec![Deed::Take, Deed::Take, Deed::Answer("503 Service Unavailable|Retry-After: 3600")];
    let receiving = Receiving::start(deeds, 30);
    let sinks = start(&receiving.url, folder.path(), QUICK);
    sinks.tell(changes(10), NOON);
    let mut bodies: Vec<Value> = (0..2).map(|_| verified(&receiving.next())).collect();
    while condition(&sinks).failed_attempts == 0 {
        std::thread::yield_now();
    }
    let said = condition(&sinks);
    assert_eq!((said.sent, said.waiting), (2, 28));
    assert!(said.trouble.expect("one").contains("503"));
    assert!(sinks.stop(Duration::from_secs(20)));
    let sinks = start(&receiving.url, folder.path(), QUICK);
    assert_eq!(condition(&sinks).name, format!("webhook {}", receiving.url.trim_end_matches("/hook?key=hidden")));
    bodies.extend((0..28).map(|_| verified(&receiving.next())));
    in_order(&bodies, 10);
    assert_eq!(receiving.thread.join().expect("no panic"), 31);
    while condition(&sinks).sent < 28 {
        std::thread::yield_now();
    }
    let said = condition(&sinks);
    assert_eq!((said.sent, said.waiting, said.failed, said.trouble), (28, 0, 0, None));
    assert!(sinks.stop(Duration::from_secs(20)));
}

#[test]
fn a_receiver_that_hangs_is_away() {
    let folder = tempfile::tempdir().expect("a folder");
    // It accepts, by way of its backlog, and never reads.
    let deaf = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let url = format!("http://{}/hook?key=hidden", deaf.local_addr().expect("an address"));
    let SinkSettings::Webhook(settings) = settings(&url, folder.path()) else { panic!("a webhook") };
    let hasty = Pace { patience: Duration::from_millis(20), ..QUICK };
    let answered =
        Post::new(&settings, &hasty).expect("a secret").send(&Job { number: 3, key: "k".into(), body: "{}".into() });
    assert_eq!((answered.number, answered.outcome), (3, Outcome::Away { retry_after: None }));
    assert_eq!(answered.trouble.as_deref(), Some("there is no answer within 20ms"));
}

#[test]
fn a_receiver_behind_tls_shows_its_certificate_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    let ca = folder.path().join("ca.pem");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(provider::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .expect("a configuration");
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let url = format!("https://{}/hook?key=hidden", listener.local_addr().expect("an address"));
    let thread = std::thread::spawn(move || {
        loop {
            let connection = ServerConnection::new(config.clone()).expect("a session");
            let stream = StreamOwned::new(connection, listener.accept().expect("a connection").0);
            let Some((request, mut stream)) = read(stream) else { continue };
            say(&mut stream, "204 No Content");
            stream.conn.send_close_notify();
            let _ = stream.conn.complete_io(&mut stream.sock);
            return request;
        }
    });
    let SinkSettings::Webhook(mut settings) = settings(&url, folder.path()) else { panic!("a webhook") };
    settings.ca = Some(ca.clone());
    let job =
        Job { number: 0, key: "1-opened-1".into(), body: "{\"id\":\"1\",\"change\":\"opened\",\"count\":1}".into() };
    std::fs::write(&ca, other.cert.pem()).expect("written");
    let refused = Post::new(&settings, &QUICK).expect("certificates").send(&job);
    assert_eq!(refused.outcome, Outcome::Away { retry_after: None });
    let trouble = refused.trouble.expect("one");
    assert!(trouble.contains("certificate") && !trouble.contains("hidden"), "{trouble}");
    std::fs::write(&ca, own.cert.pem()).expect("written");
    let taken = Post::new(&settings, &QUICK).expect("certificates").send(&job);
    assert_eq!(taken, Answered { number: 0, outcome: Outcome::Delivered, trouble: None });
    verified(&thread.join().expect("no panic"));
}

#[test]
fn secrets_that_cannot_be_had_are_refused_and_never_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let refused = |rest: &str| {
        let text = format!("type = 'webhook'\nurl = 'http://127.0.0.1:9/hidden'\n{rest}");
        let settings = toml::from_str::<SinkSettings>(&text).expect("settings");
        let error = Sinks::start(&[settings], &observer(), Some(folder.path())).err().expect("refused");
        error.to_string()
    };
    let path = folder.path().join("short");
    std::fs::write(&path, "hunter2\n").expect("written");
    let said = refused(&format!("secret-file = '{}'", path.display()));
    assert_eq!(said, "webhook http://127.0.0.1:9: the secret has 7 octets; it needs 16 or more");
    assert!(refused("secret-file = '/nonexistent/secret'").contains("cannot read `/nonexistent/secret`"));
    assert!(refused("secret-env = 'FLOWPROBE_NO_SUCH'").contains("no environment variable `FLOWPROBE_NO_SUCH`"));
    assert!(refused("secret-env = 'A'\nsecret-file = 'b'").contains("cannot both be set"));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
    assert!(!format!("{key:?}").contains("secret of the test"));
}
