//! An outage over loopback: connections are refused, then there are errors, then answers are slow, then all is well. More happens meanwhile
//! than there is room for. What takes hours is tried on a made-up clock, in the book's own tests.

use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketType, bind, listen, socket};

use super::super::super::health::ROOM;
use super::super::super::notice::tests::finding;
use super::*;
use crate::logging::tests::Page;

/// A port of loopback that is ours and refuses connections, until somebody listens there.
fn silent_port() -> OwnedFd {
    let port = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&port, &std::net::SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
    port
}

/// Of eight changes one is high, two are medium; each is of a finding of its own.
fn severity(number: u64) -> Severity {
    match number % 8 {
        0 => Severity::High,
        3 | 6 => Severity::Medium,
        _ => Severity::Low,
    }
}

fn subject(number: u64) -> String {
    format!("10.1.{}.{}", number / 256, number % 256)
}

#[test]
fn after_an_outage_the_worst_is_there_in_order_and_the_log_has_two_lines_of_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = silent_port();
    // Its address is that of the listener that it becomes.
    let listener = TcpListener::from(port);
    let url = format!("http://{}/hook?key=hidden", listener.local_addr().expect("an address"));
    let SinkSettings::Webhook(settings) = settings(&url, folder.path()) else { panic!("a webhook") };
    let pace = Pace { patience: Duration::from_secs(2), ..QUICK };
    let (events, heard) = mpsc::channel();
    let (health, journal) = (Health::new("webhook".into()), folder.path().join("journal.jsonl"));
    let post = Post::new(&settings, &pace).expect("a secret");
    let webhook = Webhook::new(post, Some(journal.clone()), health.clone(), pace, events.clone()).expect("threads");
    let thread = std::thread::spawn(move || Page::of(|| webhook.run(&heard)));

    while health.condition().failed_attempts < 3 {
        if health.waiting() == 0 {
            tell(&health, &events, 0);
        }
        std::thread::yield_now();
    }
    assert!(health.condition().trouble.is_some_and(|said| said.contains("refused")));
    let all = 2 * ROOM;
    (1..all).for_each(|number| tell(&health, &events, number));
    while health.giving_way().is_some() {
        std::thread::yield_now();
    }
    let said = health.condition();
    assert_eq!((said.waiting, said.refused, said.sent, said.failed), (ROOM, ROOM, 0, 0));

    let mut deeds = vec![Deed::Answer("500 Internal Server Error"); 4];
    deeds.extend([Deed::Close, Deed::Answer("503 Service Unavailable"), Deed::Hang]);
    deeds.extend([Deed::TakeSlowly; 5]);
    listen(&listener, 16).expect("it listens");
    let count = usize::try_from(ROOM).expect("small");
    let receiving = Receiving::at(listener, deeds, count);
    let bodies: Vec<Value> = (0..count).map(|_| verified(&receiving.next())).collect();
    assert_eq!(receiving.thread.join().expect("no panic"), count + 7, "each once");
    while health.waiting() > 0 {
        std::thread::yield_now();
    }
    events.send(Event::Stop(Instant::now() + Duration::from_secs(20))).expect("it hears");
    let log = thread.join().expect("no panic");

    let arrived: Vec<&str> = bodies.iter().map(|body| body["subjects"][0].as_str().expect("an address")).collect();
    let of = |wanted| (0..all).filter(move |number| severity(*number) == wanted);
    let stayed = |number: &u64| severity(*number) != Severity::Low || arrived.contains(&subject(*number).as_str());
    let expected: Vec<String> = (0..all).filter(stayed).map(subject).collect();
    assert_eq!(arrived, expected, "all that is medium or high, and in order");
    assert_eq!((of(Severity::High).count(), of(Severity::Medium).count()), (250, 500));
    let said = health.condition();
    assert_eq!((said.sent, said.refused, said.failed, said.trouble), (ROOM, ROOM, 0, None));
    assert_eq!(log.matches("findings wait to be delivered").count(), 1, "{log}");
    assert_eq!(log.matches("findings are delivered again").count(), 1, "{log}");
    assert!(log.lines().count() == 2 && !log.contains("hidden"), "{log}");
    assert_eq!(Journal::open(journal).1.len(), 0, "nothing waits for the next start");
}

fn tell(health: &Health, events: &Sender<Event>, number: u64) {
    let severity = severity(number);
    if health.admit(severity) {
        let finding = finding(Sighting { severity, subject: ip(&subject(number)).into(), ..sighting() });
        let notice = Notice::new(finding, Change::Opened, NOON);
        events.send(Event::Tell(Arc::new(notice))).expect("it hears");
    }
}
