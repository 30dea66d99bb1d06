//! All kinds of sinks together: none waits for another.

use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;

use super::notice::tests::{NOON, finding, observer, sighting};
use super::*;
use crate::detect::finding::Sighting;

const QUICK: Pace = Pace {
    first: Duration::from_millis(1),
    longest: Duration::from_millis(4),
    patience: Duration::from_secs(5),
    keeps: Duration::from_secs(3600),
};

fn one(text: &str) -> SinkSettings {
    toml::from_str(text).expect("settings")
}

fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path).expect("text").lines().count()
}

fn told(severity: Severity) -> Vec<(Finding, Change)> {
    vec![(finding(Sighting { severity, ..sighting() }), Change::Opened)]
}

#[test]
fn a_sink_that_hangs_delays_no_other_and_each_has_its_severity() {
    let folder = tempfile::tempdir().expect("a folder");
    let [all, bad] = ["all", "bad"].map(|name| folder.path().join(name));
    // It accepts, by way of its backlog, and never reads.
    let deaf = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let socket = folder.path().join("log");
    let log = UnixDatagram::bind(&socket).expect("a socket");
    log.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
    let settings = [
        one(&format!("type = 'webhook'\nurl = 'http://{}/'", deaf.local_addr().expect("an address"))),
        one(&format!("type = 'file'\npath = '{}'", all.display())),
        one(&format!("type = 'file'\npath = '{}'\nformat = 'flowprobe'\nminimum-severity = 'high'", bad.display())),
        one(&format!("type = 'syslog'\nurl = 'unix://{}'\nminimum-severity = 'critical'", socket.display())),
        one("type = 'log'"),
    ];
    let sinks = Sinks::start_at(&settings, &observer(), Some(folder.path()), QUICK).expect("sinks");
    for severity in [Severity::Low, Severity::Medium, Severity::High, Severity::Critical] {
        sinks.tell(told(severity), NOON);
    }
    let mut buffer = [0; 2048];
    let length = log.recv(&mut buffer).expect("a message");
    let message = String::from_utf8_lossy(&buffer[..length]);
    assert!(message.starts_with("<130>") && message.contains(" (critical, port-scan, finding "), "{message}");
    let sent = || sinks.conditions().iter().map(|said| said.sent).collect::<Vec<_>>();
    while sent() != [0, 4, 2, 1, 4] {
        std::thread::yield_now();
    }
    assert_eq!((lines(&all), lines(&bad), sinks.conditions()[0].waiting), (4, 2, 4));
    drop(sinks);
}

#[test]
fn a_collector_that_comes_back_has_all_of_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("log");
    let settings = [one(&format!("type = 'syslog'\nurl = 'unix://{}'", socket.display()))];
    let sinks = Sinks::start_at(&settings, &observer(), None, QUICK).expect("sinks");
    for _ in 0..3 {
        sinks.tell(told(Severity::High), NOON);
    }
    while sinks.conditions()[0].trouble.is_none() {
        std::thread::yield_now();
    }
    assert_eq!((sinks.conditions()[0].waiting, sinks.conditions()[0].sent), (3, 0));
    let log = UnixDatagram::bind(&socket).expect("a socket");
    log.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
    for _ in 0..3 {
        log.recv(&mut [0; 2048]).expect("a message");
    }
    assert!(sinks.stop(Duration::from_secs(20)));
}

#[test]
fn the_end_waits_for_what_can_be_told_and_for_no_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("findings");
    let sinks = |text: &str| {
        let sinks = Sinks::start_at(&[one(text)], &observer(), None, QUICK).expect("sinks");
        for _ in 0..ROOM {
            sinks.tell(told(Severity::Low), NOON);
        }
        sinks
    };
    let written = sinks(&format!("type = 'file'\npath = '{}'", path.display()));
    assert!(written.stop(Duration::from_secs(60)));
    assert_eq!(lines(&path), 1000);
    let away = sinks(&format!("type = 'syslog'\nurl = 'unix://{}'", folder.path().join("nobody").display()));
    let health = away.running[0].health.clone();
    away.stop(Duration::ZERO);
    while health.waiting() > 0 {
        std::thread::yield_now();
    }
    assert_eq!((health.condition().failed, health.condition().sent), (1000, 0));
}

#[test]
fn a_file_that_cannot_be_written_is_said_early_and_has_all_of_it_later() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("later/findings");
    let settings =
        [one("type = 'file'\npath = '/dev/full'"), one(&format!("type = 'file'\npath = '{}'", path.display()))];
    let sinks = Sinks::start_at(&settings, &observer(), None, QUICK).expect("sinks");
    // Nobody has told it of anything.
    while sinks.conditions()[1].trouble.is_none() {
        std::thread::yield_now();
    }
    assert!(sinks.conditions()[1].trouble.as_ref().is_some_and(|said| said.contains("No such file")));
    for _ in 0..5 {
        sinks.tell(told(Severity::Low), NOON);
    }
    while sinks.conditions().iter().any(|said| said.failed_attempts < 3) {
        std::thread::yield_now();
    }
    let [full, away] = [0, 1].map(|sink| sinks.conditions().remove(sink));
    assert_eq!([full.sent, full.waiting, full.refused, full.failed], [0, 5, 0, 0]);
    assert_eq!([away.sent, away.waiting, away.refused, away.failed], [0, 5, 0, 0]);
    assert!(full.trouble.expect("one").contains("No space left"));
    let text = serde_json::to_value(sinks.conditions()).expect("JSON");
    assert_eq!(text[0]["name"], "file /dev/full");
    assert!(text[0]["failedAttempts"].as_u64() >= Some(3));
    std::fs::create_dir(folder.path().join("later")).expect("a folder");
    while sinks.conditions()[1].sent < 5 {
        std::thread::yield_now();
    }
    assert_eq!((lines(&path), sinks.conditions()[1].trouble.as_deref()), (5, None));
}

#[test]
fn a_file_that_comes_before_anything_is_told_is_well_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("later/findings");
    let settings = [one(&format!("type = 'file'\npath = '{}'", path.display()))];
    let sinks = Sinks::start_at(&settings, &observer(), None, QUICK).expect("sinks");
    while sinks.conditions()[0].trouble.is_none() {
        std::thread::yield_now();
    }
    std::fs::create_dir(folder.path().join("later")).expect("a folder");
    while sinks.conditions()[0].trouble.is_some() {
        std::thread::yield_now();
    }
    assert!(path.exists());
}

#[test]
fn what_waits_for_a_webhook_is_on_disk_once_the_disk_takes_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let (spool, hook) = (folder.path().join("spool"), one("type = 'webhook'\nurl = 'http://127.0.0.1:9/'"));
    let sinks = Sinks::start(&[hook], &observer(), Some(&spool)).expect("sinks");
    sinks.tell(told(Severity::High), NOON);
    let said = sinks.conditions().remove(0);
    assert_eq!((said.waiting, said.failed_saves > 0), (1, true));
    assert!(said.unsaved.expect("a reason").contains("No such file"));
    std::fs::create_dir(&spool).expect("a folder");
    // It is tried again at the end, too.
    let health = sinks.running[0].health.clone();
    assert!(sinks.stop(Duration::from_secs(20)));
    assert_eq!((health.condition().unsaved, health.condition().waiting), (None, 1));
    let kept = std::fs::read_dir(&spool).expect("a folder").next().expect("a journal").expect("a journal");
    assert_eq!(lines(&kept.path()), 1);
}

#[test]
fn a_place_is_told_once_and_what_can_never_work_is_refused() {
    let refused =
        |settings: &[SinkSettings]| Sinks::start(settings, &observer(), None).err().expect("refused").to_string();
    assert_eq!(
        refused(&[one("type = 'log'"), one("type = 'log'\nname = 'b'")]),
        "b: another sink goes to the same place"
    );
    assert!(refused(&[one("type = 'syslog'\nurl = 'tls://h'\nca = '/nonexistent/ca'")]).contains("/nonexistent/ca"));
    assert!(
        refused(&[one("type = 'webhook'\nurl = 'https://h/'\nca = '/nonexistent/ca'")]).contains("/nonexistent/ca")
    );
}

#[test]
fn a_full_queue_keeps_the_worst() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("log");
    let settings = [one(&format!("type = 'syslog'\nurl = 'unix://{}'", socket.display()))];
    let sinks = Sinks::start_at(&settings, &observer(), None, QUICK).expect("sinks");
    for _ in 0..ROOM {
        sinks.tell(told(Severity::Low), NOON);
    }
    for severity in [Severity::High, Severity::Low, Severity::Critical] {
        sinks.tell(told(severity), NOON);
    }
    while sinks.conditions()[0].refused < 3 {
        std::thread::yield_now();
    }
    let said = sinks.conditions().remove(0);
    assert_eq!((said.sent, said.waiting, said.refused, said.failed), (0, ROOM, 3, 0));
    let log = UnixDatagram::bind(&socket).expect("a socket");
    log.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
    let mut severities = Vec::new();
    for _ in 0..ROOM {
        let mut buffer = [0; 2048];
        let length = log.recv(&mut buffer).expect("a message");
        severities.push(String::from_utf8_lossy(&buffer[1..length]).split('>').next().expect("one").to_owned());
    }
    let of = |severity: u8| (16 * 8 + severity).to_string();
    assert!(severities[..998].iter().all(|one| *one == of(5)), "{severities:?}");
    assert_eq!(severities[998..], [of(3), of(2)], "in the order in which they came");
    assert!(sinks.stop(Duration::from_secs(20)));
}
