//! Connections over loopback: what is acknowledged, how they end, and what is said where there is none.

mod tls;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);
const A_MOMENT: Duration = Duration::from_millis(200);
/// Octets that a collector has room for, about.
const ROOM: usize = 65_536;
/// More than the kernel's buffers hold.
const MUCH: usize = 64 << 20;

/// A stream, and the collector's end of it.
async fn connected() -> (Stream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a listener");
    SockRef::from(&listener).set_recv_buffer_size(ROOM).expect("a small buffer");
    let stream = connect(address_of(&listener), &SocketOptions::default()).await.expect("a stream");
    let (collector, _) = listener.accept().await.expect("the stream");
    (stream, collector)
}

fn address_of(listener: &TcpListener) -> SocketAddr {
    listener.local_addr().expect("an address")
}

async fn connect(to: SocketAddr, options: &SocketOptions) -> Result<Stream, ConnectError> {
    Stream::connect(&to.ip().to_string(), to.port(), options, None, PATIENCE).await
}

/// Waits until all that was written is acknowledged.
async fn all_acknowledged(stream: &Stream) {
    let end = Instant::now() + PATIENCE;
    while stream.acknowledged().expect("a number") < stream.written() {
        assert!(Instant::now() < end, "{stream:?} is not acknowledged");
        sleep(Duration::from_millis(1)).await;
    }
}

async fn closed(stream: &mut Stream) -> Closed {
    timeout(PATIENCE, stream.closed()).await.expect("an end")
}

fn broken(closed: Closed) -> io::Error {
    match closed {
        Closed::Broken(error) => error,
        Closed::InGoodOrder => panic!("closed in good order"),
    }
}

#[tokio::test]
async fn what_a_peer_has_no_room_for_is_not_acknowledged() {
    let (mut stream, mut collector) = connected().await;
    stream.send(b"a message").await.expect("sent");
    assert_eq!(stream.written(), 9);
    all_acknowledged(&stream).await;

    let much = vec![7; MUCH];
    assert!(timeout(A_MOMENT, stream.send(&much)).await.is_err(), "{MUCH} octets fit into the buffers");
    sleep(A_MOMENT).await;
    let (written, acknowledged) = (stream.written(), stream.acknowledged().expect("a number"));
    // The kernel doubles what a buffer was asked to have.
    assert!(9 < acknowledged && acknowledged <= 2 * ROOM as u64, "{acknowledged}");
    assert!(acknowledged < written && written < MUCH as u64, "{written}");

    let mut received = vec![0; usize::try_from(written).expect("a length")];
    collector.read_exact(&mut received).await.expect("all that was written");
    all_acknowledged(&stream).await;
    assert_eq!(stream.acknowledged().expect("a number"), written);
}

#[tokio::test]
async fn a_peer_that_has_read_all_and_closes_is_in_good_order() {
    let (mut stream, mut collector) = connected().await;
    stream.send(b"a message").await.expect("sent");
    collector.read_exact(&mut [0; 9]).await.expect("the message");
    collector.write_all(&[0; 10_000]).await.expect("what nobody asked for");
    assert!(timeout(A_MOMENT, stream.closed()).await.is_err(), "it is still open");
    drop(collector);
    assert!(matches!(closed(&mut stream).await, Closed::InGoodOrder));
    assert_eq!(stream.acknowledged().expect("a number"), 9);
}

#[tokio::test]
async fn a_reset_is_no_good_order() {
    let (mut stream, collector) = connected().await;
    SockRef::from(&collector).set_linger(Some(Duration::ZERO)).expect("a reset");
    drop(collector);
    assert_eq!(broken(closed(&mut stream).await).raw_os_error(), Some(libc::ECONNRESET));
    assert!(stream.send(b"too late").await.is_err());
    broken(closed(&mut stream).await);
}

#[tokio::test]
async fn a_reset_is_no_good_order_where_sending_has_met_it_first() {
    let (mut stream, collector) = connected().await;
    SockRef::from(&collector).set_linger(Some(Duration::ZERO)).expect("a reset");
    drop(collector);
    let error = stream.send(b"too late").await.expect_err("an error");
    assert!(matches!(error.raw_os_error(), Some(libc::ECONNRESET | libc::EPIPE)), "{error}");
    broken(closed(&mut stream).await);
}

#[tokio::test]
async fn a_message_that_was_cut_off_is_the_last() {
    let (mut stream, mut collector) = connected().await;
    let much = vec![7; MUCH];
    assert!(timeout(A_MOMENT, stream.send(&much)).await.is_err(), "{MUCH} octets fit into the buffers");
    let mut received = vec![0; usize::try_from(stream.written()).expect("a length")];
    collector.read_exact(&mut received).await.expect("all that was written");
    let error = stream.send(b"another").await.expect_err("an error");
    assert_eq!(error.to_string(), "the connection was broken before");
}

#[tokio::test]
async fn a_peer_that_closes_without_reading_is_in_no_good_order() {
    let (mut stream, collector) = connected().await;
    stream.send(b"a message").await.expect("sent");
    all_acknowledged(&stream).await;
    drop(collector);
    assert_eq!(broken(closed(&mut stream).await).raw_os_error(), Some(libc::ECONNRESET));
}

#[tokio::test]
async fn a_peer_that_is_killed_is_in_no_good_order_and_what_it_acknowledged_stays_known() {
    let (mut stream, collector) = connected().await;
    let collector: OwnedFd = collector.into_std().expect("a socket").into();
    // Nobody but this process has the socket then.
    let mut sleeper = Command::new("sleep").arg("1000").stdin(Stdio::from(collector)).spawn().expect("a process");
    let much = vec![7; MUCH];
    assert!(timeout(A_MOMENT, stream.send(&much)).await.is_err(), "{MUCH} octets fit into the buffers");
    let acknowledged = stream.acknowledged().expect("a number");
    sleeper.kill().expect("killed");
    sleeper.wait().expect("an end");
    assert_eq!(broken(closed(&mut stream).await).raw_os_error(), Some(libc::ECONNRESET));
    assert_eq!(stream.acknowledged().expect("a number"), acknowledged);
    assert!(acknowledged < stream.written());
}

#[tokio::test]
async fn closing_waits_until_all_is_acknowledged() {
    let (mut stream, mut collector) = connected().await;
    let much = vec![7; MUCH / 16];
    let (sent, read) = tokio::join!(
        async {
            stream.send(&much).await.expect("sent");
            stream.close(PATIENCE).await
        },
        async {
            sleep(A_MOMENT).await;
            let mut received = Vec::new();
            collector.read_to_end(&mut received).await.expect("all");
            received.len()
        }
    );
    assert!(sent);
    assert_eq!(read, much.len());
}

#[tokio::test]
async fn closing_gives_up_on_a_peer_that_does_not_read() {
    let (mut stream, _collector) = connected().await;
    let much = vec![7; MUCH];
    assert!(timeout(A_MOMENT, stream.send(&much)).await.is_err(), "{MUCH} octets fit into the buffers");
    assert!(!stream.close(A_MOMENT).await);
}

#[tokio::test]
async fn closing_does_not_wait_for_a_peer_that_is_gone() {
    let (mut stream, collector) = connected().await;
    let much = vec![7; MUCH];
    assert!(timeout(A_MOMENT, stream.send(&much)).await.is_err(), "{MUCH} octets fit into the buffers");
    let begin = Instant::now();
    let (acknowledged, ()) = tokio::join!(stream.close(PATIENCE), async {
        sleep(A_MOMENT).await;
        drop(collector);
    });
    assert!(!acknowledged);
    assert!(begin.elapsed() < PATIENCE / 2, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn closing_reads_what_is_left_so_that_the_end_is_no_reset() {
    let (stream, mut collector) = connected().await;
    collector.write_all(&[0; 10_000]).await.expect("what nobody asked for");
    assert!(stream.close(PATIENCE).await);
    let mut received = Vec::new();
    assert_eq!(collector.read_to_end(&mut received).await.expect("good order"), 0);
}

#[tokio::test]
async fn a_vanished_peer_will_be_noticed() {
    let (stream, _collector) = connected().await;
    let socket = SockRef::from(&stream);
    assert!(socket.tcp_nodelay().expect("an option"));
    assert!(socket.keepalive().expect("an option"));
    assert_eq!(socket.tcp_keepalive_time().expect("an option"), Duration::from_secs(15));
    assert_eq!(socket.tcp_keepalive_interval().expect("an option"), Duration::from_secs(5));
    assert_eq!(socket.tcp_keepalive_retries().expect("an option"), 3);
    assert_eq!(socket.tcp_user_timeout().expect("an option"), Some(Duration::from_secs(30)));
}

#[tokio::test]
async fn a_stream_has_the_options_that_were_asked_for() {
    let v4 = (IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv4Addr::new(127, 0, 0, 5)));
    let v6 = (IpAddr::from(Ipv6Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST));
    for (to, source) in [v4, v6] {
        let listener = TcpListener::bind((to, 0)).await.expect("a listener");
        let options = SocketOptions { source: Some(source), interface: Some("lo".into()), dscp: Some(46) };
        let stream = connect(address_of(&listener), &options).await.expect("a stream");
        let (_collector, from) = listener.accept().await.expect("the stream");
        assert_eq!(stream.peer(), address_of(&listener));
        assert_eq!(from.ip(), source);
        let socket = SockRef::from(&stream);
        assert_eq!(socket.device().expect("an option"), Some(b"lo".to_vec()));
        let class = if to.is_ipv6() { socket.tclass_v6() } else { socket.tos_v4() };
        assert_eq!(class.expect("an option"), 46 << 2);
    }
}

#[test]
fn a_udp_socket_takes_the_same_options() {
    let source = IpAddr::from(Ipv4Addr::new(127, 0, 0, 5));
    let options = SocketOptions { source: Some(source), interface: Some("lo".into()), dscp: Some(63) };
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).expect("a socket");
    options.apply(&socket, Ipv4Addr::LOCALHOST.into()).expect("the options");
    assert_eq!(socket.tos_v4().expect("an option"), 63 << 2);
    let local = socket.local_addr().expect("an address").as_socket().expect("an IP address");
    assert_eq!(local.ip(), source);
}

#[tokio::test]
async fn an_option_that_cannot_be_had_is_named() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a listener");
    let to = address_of(&listener);
    let interface = |name: &str| SocketOptions { interface: Some(name.into()), ..SocketOptions::default() };
    let source = |address: IpAddr| SocketOptions { source: Some(address), ..SocketOptions::default() };
    let cases = [
        (interface("nosuch0"), "there is no interface `nosuch0`"),
        (interface(""), "there is no interface ``"),
        (interface("lo-that-is-too-long"), "there is no interface `lo-that-is-too-long`"),
        (
            source(Ipv4Addr::new(192, 0, 2, 1).into()),
            "cannot send from 192.0.2.1: Cannot assign requested address (os error 99)",
        ),
        (source(Ipv6Addr::LOCALHOST.into()), "cannot send from ::1 to 127.0.0.1: one is IPv4 and the other IPv6"),
        (SocketOptions { dscp: Some(64), ..SocketOptions::default() }, "cannot send with the DSCP 64: it has six bits"),
    ];
    for (options, words) in cases {
        let error = connect(to, &options).await.expect_err(words);
        assert_eq!(error.to_string(), words);
    }
}

#[tokio::test]
async fn a_collector_that_does_not_accept_is_named() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a listener");
    let to = address_of(&listener);
    drop(listener);
    let error = connect(to, &SocketOptions::default()).await.expect_err("nobody listens");
    assert_eq!(error.to_string(), format!("cannot connect to {to}: Connection refused (os error 111)"));
}

#[tokio::test]
async fn a_name_that_is_none_is_not_found() {
    let options = SocketOptions::default();
    // No resolver is asked for such a name.
    let error = Stream::connect("a\0b", 4739, &options, None, PATIENCE).await.expect_err("no name");
    assert!(matches!(&error, ConnectError::Resolve { host, .. } if host == "a\0b"), "{error}");
}

#[tokio::test]
async fn addresses_are_tried_until_one_accepts() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a listener");
    let (port, options) = (address_of(&listener).port(), SocketOptions::default());
    let stream = Stream::connect("localhost", port, &options, None, PATIENCE).await.expect("a stream");
    assert_eq!(stream.peer(), address_of(&listener));
}

#[tokio::test]
async fn a_collector_that_does_not_answer_is_not_waited_for() {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("an address");
    // The kernel drops what comes once the queue of those that nobody accepts is full.
    listener.listen(0).expect("a short queue");
    let to = listener.local_addr().expect("an address").as_socket().expect("an IP address");
    let (begin, options) = (Instant::now(), SocketOptions::default());
    let mut waiting = Vec::new();
    let error = loop {
        match Stream::connect("127.0.0.1", to.port(), &options, None, A_MOMENT).await {
            Ok(stream) => waiting.push(stream),
            Err(error) => break error,
        }
        assert!(waiting.len() < 10, "the queue is longer than it was asked to be");
    };
    assert_eq!(error.to_string(), format!("{to} does not answer"));
    assert!(begin.elapsed() < PATIENCE / 2, "{:?}", begin.elapsed());
}
