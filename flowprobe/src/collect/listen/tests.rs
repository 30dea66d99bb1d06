//! Datagrams on loopback: who sent them, who may, and what the kernel drops.

mod connections;

use std::net::IpAddr;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Instant;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// What a handler was told.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Message(Peer, Vec<u8>),
    Flush,
    Closed(u64),
}

/// Passes on what it is told.
struct Recorder(Sender<Told>);

impl Recorder {
    fn new() -> (Self, Receiver<Told>) {
        let (sender, receiver) = mpsc::channel();
        (Self(sender), receiver)
    }

    fn note(&self, told: Told) {
        self.0.send(told).expect("somebody who reads");
    }
}

impl Handler for Recorder {
    fn message(&mut self, from: Peer, octets: &[u8]) {
        self.note(Told::Message(from, octets.to_vec()));
    }

    fn flush(&mut self) {
        self.note(Told::Flush);
    }

    fn closed(&mut self, connection: u64) {
        self.note(Told::Closed(connection));
    }
}

/// Starts to listen at `url`.
fn listening(url: &str) -> (Running, Receiver<Told>) {
    let (recorder, told) = Recorder::new();
    let listener = Listener::bind(&url.parse().expect(url)).expect("a listener");
    (listener.start(recorder).expect("a thread"), told)
}

fn sender(address: &str) -> UdpSocket {
    UdpSocket::bind((address.parse::<IpAddr>().expect("an address"), 0)).expect("a socket")
}

fn from(socket: &UdpSocket) -> Peer {
    Peer { address: socket.local_addr().expect("an address"), connection: None }
}

/// The next thing that is told and no flush.
fn next(told: &Receiver<Told>) -> Told {
    loop {
        match told.recv_timeout(PATIENCE).expect("something is told") {
            Told::Flush => {}
            other => return other,
        }
    }
}

/// Waits until the counters are as they should be.
fn until(running: &Running, holds: impl Fn(&ListenerHealth) -> bool) -> ListenerHealth {
    let begin = Instant::now();
    loop {
        let health = running.counters().health();
        if holds(&health) {
            return health;
        }
        assert!(begin.elapsed() < PATIENCE, "{health:?}");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn datagrams_are_told_apart_by_who_sent_them() {
    let (running, told) = listening("udp://127.0.0.1:0");
    let to = running.counters().health().address;
    assert_ne!(to.port(), 0);
    for (socket, octets) in
        [(sender("127.0.0.2"), &b"one"[..]), (sender("127.0.0.3"), b""), (sender("127.0.0.2"), b"3")]
    {
        socket.send_to(octets, to).expect("sent");
        assert_eq!(next(&told), Told::Message(from(&socket), octets.to_vec()));
    }
    let longest = vec![7; 65_507];
    sender("127.0.0.1").send_to(&longest, to).expect("sent");
    assert!(matches!(next(&told), Told::Message(_, octets) if octets == longest));
    let health = until(&running, |health| health.messages == 4);
    assert_eq!((health.octets, health.url), (65_507 + 4, format!("udp://{to}")));
    running.stop();
}

#[test]
fn an_ipv4_mapped_sender_is_one_of_ipv4() {
    let mut listen: Listen = "udp://[::1]:0?allow=127.0.0.0/8".parse().expect("a URL");
    listen.address = "[::ffff:127.0.0.1]:0".parse().expect("an address");
    let (recorder, told) = Recorder::new();
    let running = Listener::bind(&listen).expect("a listener").start(recorder).expect("a thread");
    let socket = sender("127.0.0.1");
    socket.send_to(b"mapped", ("127.0.0.1", running.counters().health().address.port())).expect("sent");
    assert_eq!(next(&told), Told::Message(from(&socket), b"mapped".to_vec()));
    running.stop();
}

#[test]
fn who_is_not_allowed_is_counted_and_not_heard() {
    for (url, refused, allowed) in [
        ("udp://127.0.0.1:0?allow=127.0.0.2,2001:db8::/32", "127.0.0.1", "127.0.0.2"),
        ("udp://[::1]:0?allow=::1", "::1", "::1"),
    ] {
        let (running, told) = listening(url);
        let to = running.counters().health().address;
        let others = if refused == allowed { 0 } else { 2 };
        for _ in 0..others {
            sender(refused).send_to(b"12345", to).expect("sent");
        }
        let socket = sender(allowed);
        socket.send_to(b"heard", to).expect("sent");
        assert_eq!(next(&told), Told::Message(from(&socket), b"heard".to_vec()));
        let health = until(&running, |health| health.messages == 1);
        assert_eq!((health.refused, health.refused_octets), (others, others * 5));
        running.stop();
    }
}

/// Blocks at each message until it is told to go on.
struct Blocking(Receiver<()>, Recorder);

impl Handler for Blocking {
    fn message(&mut self, from: Peer, octets: &[u8]) {
        let _ = self.0.recv();
        self.1.message(from, octets);
    }

    fn flush(&mut self) {}

    fn closed(&mut self, _: u64) {}
}

#[test]
fn what_a_full_buffer_drops_is_counted_to_the_datagram() {
    let mut listen: Listen = "udp://127.0.0.1:0".parse().expect("a URL");
    listen.transport = ListenTransport::Udp { receive_buffer: 16 * 1024 };
    let listener = Listener::bind(&listen).expect("a listener");
    assert_eq!(listener.counters().health().receive_buffer, Some(16 * 1024));
    let to = listener.address();
    let (release, blocked) = mpsc::channel();
    let (recorder, told) = Recorder::new();
    let running = listener.start(Blocking(blocked, recorder)).expect("a thread");
    let socket = sender("127.0.0.1");
    const SENT: u64 = 2000;
    for _ in 0..SENT {
        socket.send_to(&[1; 500], to).expect("sent");
    }
    drop(release);
    // No datagram comes that could bring the number.
    let health = until(&running, |health| health.messages + health.kernel_drops == SENT);
    assert!(health.kernel_drops > SENT / 2, "{health:?}");
    while !matches!(told.recv_timeout(FLUSH_INTERVAL), Err(mpsc::RecvTimeoutError::Timeout)) {}
    // What one brings is not counted again.
    socket.send_to(&[2; 500], to).expect("sent");
    let again = until(&running, |again| again.messages == health.messages + 1);
    assert_eq!(again.kernel_drops, health.kernel_drops);
    running.stop();
}

#[test]
fn what_is_cut_short_is_counted_and_not_heard() {
    let listen: Listen = "udp://127.0.0.1:0".parse().expect("a URL");
    let (socket, _) = datagrams::open(listen.address, 1 << 20).expect("a socket");
    let to = socket.local_addr().expect("an address");
    let counters = ListenerCounters::new(listen.to_string(), to, None);
    let (recorder, told) = Recorder::new();
    let (stop, stopped) = watch::channel(());
    let receiver = datagrams::Receiver::with_longest(100, socket, listen, counters.clone(), recorder);
    let thread = thread::spawn(move || receiver.run(&stopped));
    let socket = sender("127.0.0.1");
    for length in [101, 1000, 100] {
        socket.send_to(&vec![100; length], to).expect("sent");
    }
    assert_eq!(next(&told), Told::Message(from(&socket), vec![100; 100]));
    drop(stop);
    thread.join().expect("an end");
    let health = counters.health();
    assert_eq!((health.truncated, health.messages, health.octets), (2, 1, 100));
}

#[test]
fn a_handler_is_flushed_after_a_batch_and_when_nothing_comes() {
    let (running, told) = listening("udp://127.0.0.1:0");
    for _ in 0..2 {
        assert_eq!(told.recv_timeout(PATIENCE), Ok(Told::Flush), "nothing was sent");
    }
    sender("127.0.0.1").send_to(b"one", running.counters().health().address).expect("sent");
    next(&told);
    assert_eq!(told.recv_timeout(PATIENCE), Ok(Told::Flush));
    running.stop();
}

#[test]
fn what_the_kernel_has_at_the_end_is_still_handed_on() {
    let listener = Listener::bind(&"udp://127.0.0.1:0".parse().expect("a URL")).expect("a listener");
    let to = listener.address();
    let socket = sender("127.0.0.1");
    const SENT: usize = 3 * datagrams::BATCH + 1;
    for _ in 0..SENT {
        socket.send_to(b"early", to).expect("sent");
    }
    let (recorder, told) = Recorder::new();
    let running = listener.start(recorder).expect("a thread");
    let counters = running.counters().clone();
    running.stop();
    assert_eq!(counters.health().messages, SENT as u64);
    let all: Vec<Told> = told.try_iter().collect();
    assert_eq!(all.iter().filter(|told| matches!(told, Told::Message(..))).count(), SENT);
    assert_eq!(all.last(), Some(&Told::Flush));
    assert_eq!(told.try_recv(), Err(mpsc::TryRecvError::Disconnected), "the handler is gone");
}

#[test]
fn an_address_that_cannot_be_had_is_named_with_what_to_do() {
    for scheme in ["udp", "tcp"] {
        let bind = |place: &str| Listener::bind(&format!("{scheme}://{place}").parse().expect("a URL"));
        let first = bind("127.0.0.1:0").expect("a listener");
        let place = first.address().to_string();
        let error = bind(&place).expect_err("it is taken").to_string();
        let expected =
            format!("cannot listen on {scheme}://{place}: Address already in use (os error 98); `ss -lnptu` ");
        assert!(error.starts_with(&expected), "{error}");
        let error = bind("192.0.2.1:0").expect_err("no such address").to_string();
        assert!(error.ends_with("; no interface has this address now"), "{error}");
    }
}

#[test]
fn health_is_written_and_read_as_json() {
    let health =
        ListenerCounters::new("udp://[::1]:2055".into(), "[::1]:2055".parse().expect("an address"), Some(1)).health();
    let text = serde_json::to_string(&health).expect("JSON");
    assert!(
        text.starts_with("{\"url\":\"udp://[::1]:2055\",\"address\":\"[::1]:2055\",\"receiveBuffer\":1,"),
        "{text}"
    );
    assert_eq!(serde_json::from_str::<ListenerHealth>(&text).expect("health"), health);
}
