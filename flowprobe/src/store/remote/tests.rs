//! What a bucket has of history is what the store has, each row once, whatever becomes of hours here.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use object_store::memory::InMemory;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt as _};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::sync::watch;

use super::bucket::SendFault;
use super::uploader::Uploader;
use super::*;
use crate::config::Remote;
use crate::store::compaction::compact;
use crate::store::layout::{DAY_MS, HOUR_MS, Hour, whole_name};
use crate::store::tests::{START_MS, add, rows, store};
use crate::store::{Retention, Shelf, Store, maintain};

const KEPT: Retention = Retention { age: Duration::from_secs(400 * 86_400), octets: u64::MAX };

/// The end of the day.
const NOW_MS: i64 = START_MS + DAY_MS;

/// Blocks until what is done with a bucket in memory is done.
fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}

/// Rows of the first hours of the day, so many of each, in parts.
fn fill(shelf: &Shelf, hours: i64, count: usize) {
    let mut random = fastrand::Rng::new();
    for hour in 0..hours {
        let from_ms = START_MS + hour * HOUR_MS;
        add(shelf, &rows(&mut random, count, from_ms, from_ms + HOUR_MS));
    }
    shelf.write_out().expect("an empty disk");
}

fn send_to(store: &Store) {
    let marks = Marks::read(store.shelf().layout(), "- s3://bucket").expect("a folder");
    store.shelf().send(marks, "s3://bucket".to_owned());
}

/// Sends all that waits.
fn round(shelf: &Arc<Shelf>, memory: &Arc<InMemory>) -> Result<(), SendFault> {
    let memory = Arc::clone(memory);
    let (_stop, stopped) = watch::channel(false);
    let mut uploader =
        Uploader::new(Arc::clone(shelf), move || Ok(Bucket::of(Arc::clone(&memory) as _, "a/b")), stopped);
    wait(uploader.round(shelf.remote().expect("a place")))
}

/// All objects.
fn objects(memory: &InMemory) -> BTreeMap<String, Vec<u8>> {
    wait(async {
        let listed = memory.list_with_delimiter(Some(&Key::from("a/b/flows"))).await.expect("a list");
        let mut all = BTreeMap::new();
        for folder in listed.common_prefixes {
            for object in memory.list_with_delimiter(Some(&folder)).await.expect("a list").objects {
                let octets = memory.get(&object.location).await.expect("an object").bytes().await.expect("octets");
                all.insert(object.location.to_string(), octets.to_vec());
            }
        }
        all
    })
}

/// What objects have to be: the files of hours, in order.
fn files(shelf: &Shelf) -> Vec<Vec<u8>> {
    let layout = shelf.layout();
    let hours = layout.hours().expect("a folder").into_iter();
    let read = |hour| {
        let id = layout.files(hour).expect("a folder").whole?;
        Some(fs::read(layout.hour(hour).join(whole_name(&id))).expect("a file"))
    };
    hours.filter_map(read).collect()
}

fn condition(shelf: &Shelf) -> RemoteCondition {
    shelf.condition().remote.expect("a place")
}

#[test]
fn hours_are_sent_once_also_after_a_restart_and_late_records_take_the_place_of_what_was_there() {
    let (folder, store) = store();
    send_to(&store);
    let shelf = Arc::clone(store.shelf());
    let memory = Arc::default();
    fill(&shelf, 2, 100);
    round(&shelf, &memory).expect("nothing to do");
    assert!(objects(&memory).is_empty(), "parts are not sent");
    assert!(maintain(&shelf, KEPT, NOW_MS, &AtomicBool::new(false)).is_empty());
    round(&shelf, &memory).expect("a bucket");
    let first = objects(&memory);
    assert_eq!(first.values().cloned().collect::<Vec<_>>(), files(&shelf));
    let name = first.keys().next().expect("an object");
    assert!(name.starts_with("a/b/flows/hour=2026-11-24T00/hour-") && name.ends_with(".parquet"), "{name}");
    let octets = first.values().map(|file| file.len() as u64).sum();
    let expected = RemoteCondition {
        name: "s3://bucket".to_owned(),
        sent_hours: 2,
        sent_octets: octets,
        ..RemoteCondition::default()
    };
    assert_eq!(condition(&shelf), expected);
    round(&shelf, &memory).expect("nothing to do");
    assert_eq!(condition(&shelf).sent_hours, 2);

    drop((shelf, store));
    let store = Store::open(&folder.path().join("store")).expect("the same store");
    send_to(&store);
    let shelf = Arc::clone(store.shelf());
    round(&shelf, &memory).expect("nothing to do");
    assert_eq!(condition(&shelf).sent_hours, 0);
    // Twice, since what takes the place of the second has to know the first.
    for turn in 1..3 {
        fill(&shelf, 1, 10);
        assert!(compact(&shelf, Hour::of(START_MS), &AtomicBool::new(false)).expect("files that can be read"));
        round(&shelf, &memory).expect("a bucket");
        let now = objects(&memory);
        assert!(now.keys().eq(first.keys()), "{now:?}");
        assert_eq!(now.values().cloned().collect::<Vec<_>>(), files(&shelf));
        assert_eq!(condition(&shelf).sent_hours, turn);
    }
}

#[test]
fn an_hour_that_was_deleted_and_begins_anew_has_an_object_beside_the_other() {
    let (_folder, store) = store();
    send_to(&store);
    let (shelf, memory) = (Arc::clone(store.shelf()), Arc::default());
    let (stop, brief) = (AtomicBool::new(false), Retention { age: Duration::from_secs(3600), ..KEPT });
    for objects_then in 1..3 {
        fill(&shelf, 1, 50);
        // What has to be sent stays until it is.
        assert!(maintain(&shelf, brief, NOW_MS, &stop).is_empty());
        assert_eq!(shelf.layout().hours().expect("a folder").len(), 1);
        let file = files(&shelf);
        round(&shelf, &memory).expect("a bucket");
        assert!(maintain(&shelf, brief, NOW_MS, &stop).is_empty());
        assert!(shelf.layout().hours().expect("a folder").is_empty());
        let now = objects(&memory);
        assert_eq!(now.len(), objects_then);
        assert_eq!(now.values().next_back(), file.first());
    }
    assert_eq!(condition(&shelf).missed_hours, 0);
    round(&shelf, &memory).expect("nothing to do");
    assert_eq!(fs::read_dir(shelf.layout().sent()).expect("a folder").count(), 0);
}

#[test]
fn where_there_is_no_room_hours_go_all_the_same_and_are_counted() {
    let (_folder, store) = store();
    send_to(&store);
    let (shelf, memory) = (Arc::clone(store.shelf()), Arc::default());
    let stop = AtomicBool::new(false);
    fill(&shelf, 3, 50);
    assert!(maintain(&shelf, KEPT, NOW_MS, &stop).is_empty());
    round(&shelf, &memory).expect("a bucket");
    // Something of the first that is not there.
    fill(&shelf, 1, 1);
    assert!(maintain(&shelf, Retention { octets: 0, ..KEPT }, NOW_MS, &stop).is_empty());
    assert!(shelf.layout().hours().expect("a folder").is_empty());
    assert_eq!((condition(&shelf).missed_hours, shelf.condition().deleted_hours), (1, 3));
}

#[test]
fn a_damaged_hour_is_passed_over_and_counted_and_keeps_no_other_from_going() {
    let (_folder, store) = store();
    send_to(&store);
    let (shelf, memory) = (Arc::clone(store.shelf()), Arc::default());
    fill(&shelf, 2, 50);
    assert!(maintain(&shelf, KEPT, NOW_MS, &AtomicBool::new(false)).is_empty());
    let (layout, hour) = (shelf.layout(), Hour::of(START_MS));
    let id = layout.files(hour).expect("a folder").whole.expect("a file");
    fs::write(layout.hour(hour).join(whole_name(&id)), b"PAR1 is not enough").expect("a file");
    for _ in 0..2 {
        round(&shelf, &memory).expect("a bucket");
        let now = condition(&shelf);
        assert_eq!((now.sent_hours, now.missed_hours, now.waiting_hours, now.problems), (1, 1, 0, 1));
    }
    assert_eq!(objects(&memory).len(), 1);
}

#[test]
fn a_long_file_goes_in_parts_and_what_is_stopped_is_not_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("long");
    let octets: Vec<u8> = (0..2 * PART + 5).map(|number| (number % 251) as u8).collect();
    fs::write(&path, &octets).expect("a file");
    let memory = Arc::new(InMemory::new());
    let bucket = Bucket::of(Arc::clone(&memory) as _, "");
    let key = Key::from("flows/long");
    let (stop, mut stopped) = watch::channel(false);
    let put = wait(bucket.put(&key, &path, &mut stopped));
    assert_eq!(put.expect("a bucket"), 2 * PART + 5);
    let there = wait(async { memory.get(&key).await.expect("an object").bytes().await.expect("octets") });
    assert!(there == octets);
    stop.send_replace(true);
    let outcome = wait(bucket.put(&Key::from("flows/other"), &path, &mut stopped));
    assert!(outcome.is_ok() || matches!(outcome, Err(SendFault::Stopped)), "{outcome:?}");
}

fn remote(text: &str) -> Remote {
    text.parse().expect("a URL")
}

/// Keys in the environment.
fn keys(name: &str) -> Option<String> {
    matches!(name, "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY").then(|| "x".to_owned())
}

/// What comes of putting a file of a few octets there.
fn put(remote: &Remote, path: &Path) -> Result<u64, SendFault> {
    fs::write(path, "octets").expect("a file");
    let bucket = Bucket::open_in(remote, keys)?;
    let (_stop, mut stopped) = watch::channel(false);
    wait(bucket.put(&Key::from("flows/a"), path, &mut stopped))
}

#[test]
fn what_is_wrong_is_said_in_a_line() {
    let folder = tempfile::tempdir().expect("a folder");
    // Nobody listens there any more.
    let address = TcpListener::bind("127.0.0.1:0").and_then(|taken| taken.local_addr()).expect("an address");
    let fault = put(&remote(&format!("s3://bucket?endpoint=http://{address}")), &folder.path().join("file"));
    assert_eq!(fault.expect_err("nobody listens").to_string(), "Connection refused (os error 111)");
    let half = Bucket::open_in(&remote("s3://bucket"), |name| (name == "AWS_ACCESS_KEY_ID").then(|| "x".to_owned()));
    let fault = half.expect_err("half a key").to_string();
    assert!(fault.to_lowercase().contains("secret"), "{fault}");
    let fault = Bucket::open_in(&remote("s3://bucket?credentials=/nowhere"), keys).expect_err("no file").to_string();
    assert!(fault.starts_with("cannot read `/nowhere`"), "{fault}");
}

/// A server that answers one request as S3 would; what it was asked, and the authority that signed its certificate.
fn server_with_tls(folder: &Path) -> (u16, thread::JoinHandle<String>) {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    fs::write(folder.join("ca.pem"), cert.pem()).expect("a file");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .expect("a certificate");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let server = thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("a client");
        let mut session = rustls::ServerConnection::new(Arc::new(config)).expect("a session");
        let mut stream = rustls::Stream::new(&mut session, &mut socket);
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\noctets") {
            let mut more = [0; 4096];
            match stream.read(&mut more) {
                Ok(count) if count > 0 => asked.extend(&more[..count]),
                _ => return String::new(),
            }
        }
        let answer = "HTTP/1.1 200 OK\r\netag: \"1\"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        stream.write_all(answer.as_bytes()).expect("a reader");
        String::from_utf8_lossy(&asked).into_owned()
    });
    (port, server)
}

#[test]
fn a_server_with_tls_has_to_be_one_that_is_trusted() {
    let folder = tempfile::tempdir().expect("a folder");
    let ca = folder.path().join("ca.pem");
    let (port, server) = server_with_tls(folder.path());
    let url = |port: u16| format!("s3://bucket?endpoint=https://localhost:{port}&ca={}", ca.display());
    assert_eq!(put(&remote(&url(port)), &folder.path().join("file")).expect("it is trusted"), 6);
    let asked = server.join().expect("a server");
    assert!(asked.starts_with("PUT /bucket/flows/a HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("AWS4-HMAC-SHA256 Credential=x/"), "{asked}");
    // Another with the same name, whom the certificate at hand does not vouch for.
    let trusted = fs::read(&ca).expect("a certificate");
    let (port, _server) = server_with_tls(folder.path());
    fs::write(&ca, trusted).expect("a file");
    let fault = put(&remote(&url(port)), &folder.path().join("file")).expect_err("it is not trusted").to_string();
    assert!(fault.contains("invalid peer certificate") || fault.contains("refused"), "{fault}");
}
