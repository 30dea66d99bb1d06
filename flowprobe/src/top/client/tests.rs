//! What is asked, and what becomes of answers of every kind.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use tempfile::TempDir;

use super::*;
use crate::top::example;

const QUESTION: Question = Question { seconds: 10, top: 100, about: true };

/// Answers whoever asks, by what is asked, and gives the URL. Each connection has one answer.
fn server(answer: impl Fn(&str, &[String]) -> Vec<u8> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    thread::spawn(move || {
        for connection in listener.incoming() {
            let connection: TcpStream = connection.expect("a connection");
            let head: Vec<String> =
                BufReader::new(&connection).lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
            let asked = head.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_owned();
            // Who has read enough may be gone.
            let _ = (&connection).write_all(&answer(&asked, &head)).and_then(|()| connection.shutdown(Shutdown::Write));
        }
    });
    url
}

fn response(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n{body}").into_bytes()
}

/// The example that a path means.
fn example_of(asked: &str) -> Vec<u8> {
    let what = asked.strip_prefix("/api/v1/").unwrap_or_default();
    let body = example::ANSWERS.iter().find(|(name, _)| what.split('?').next() == Some(name));
    body.map_or_else(|| response("404 Not Found", "", "{}"), |(_, body)| response("200 OK", "", body))
}

fn client(url: &str) -> Client {
    Client::new(url, None, None).expect("a URL")
}

fn trouble_of(status: &'static str, headers: &'static str, body: &'static str) -> Trouble {
    let url = server(move |_, _| response(status, headers, body));
    client(&url).ask(QUESTION).expect_err("it is no answer")
}

#[test]
fn a_round_of_questions_makes_a_picture() {
    let url = server(|asked, head| {
        assert!(!asked.starts_with("/api/v1/live") || asked == "/api/v1/live?top=100&seconds=10", "{asked}");
        assert!(!head.iter().any(|line| line.to_lowercase().starts_with("authorization:")), "{head:?}");
        example_of(asked)
    });
    let picture = client(&format!("{url}/")).ask(QUESTION).expect("an answer");
    assert_eq!(
        (picture.live.conversations.len(), picture.accounting.sums.len(), picture.interfaces.interfaces.len()),
        (4, 1, 2)
    );
    assert_eq!(picture.daemon.map(|daemon| daemon.uptime_seconds), Some(3700));
    let without = client(&url).ask(Question { about: false, ..QUESTION }).expect("an answer");
    assert!(without.daemon.is_none());
}

#[test]
fn a_token_goes_along() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("token");
    fs::write(&file, "s3cret\nnot this\n").expect("a file");
    let url = server(|asked, head| {
        let told = head.iter().any(|line| line.eq_ignore_ascii_case("authorization: bearer s3cret"));
        if told { example_of(asked) } else { response("401 Unauthorized", "", "{\"error\": \"who are you?\"}") }
    });
    Client::new(&url, Some(&file), None).expect("a token").ask(QUESTION).expect("an answer");
    let trouble = client(&url).ask(QUESTION).expect_err("no token");
    assert_eq!(trouble.text, "the daemon wants a token that it knows (--token-file): 401 Unauthorized");

    for text in ["", "\n", "two words\n", "s\u{f6}\n"] {
        fs::write(&file, text).expect("a file");
        assert!(matches!(Client::new(&url, Some(&file), None), Err(ClientError::NoToken(_))), "{text:?}");
    }
    let missing = folder.path().join("missing");
    assert!(matches!(Client::new(&url, Some(&missing), None), Err(ClientError::Token { .. })));
}

#[test]
fn what_is_no_answer_is_said_as_it_may_be_shown() {
    let busy = trouble_of("503 Service Unavailable", "Retry-After: 7\r\n", "{\"error\": \"too many \\u001b[31mask\"}");
    assert_eq!(
        busy,
        Trouble { text: "too many \u{fffd}[31mask".to_owned(), nobody: false, retry: Some(Duration::from_secs(7)) }
    );
    for (status, headers, body, expected) in [
        ("404 Not Found", "", "<html>", "what answers is no flowprobe daemon of this version: 404 Not Found"),
        ("500 Internal Server Error", "Retry-After: soon\r\n", "", "the daemon says 500 Internal Server Error"),
        // Somewhere else nobody is told a token.
        ("302 Found", "Location: http://192.0.2.1/\r\n", "", "the daemon says 302 Found"),
        ("200 OK", "", "[]", "what answers is no flowprobe daemon of this version (live?top=100&seconds=10: "),
    ] {
        let trouble = trouble_of(status, headers, body);
        assert!(trouble.text.starts_with(expected) && !trouble.nobody && trouble.retry.is_none(), "{trouble:?}");
    }
}

#[test]
fn an_answer_that_does_not_end_is_given_up() {
    let url = server(|_, _| {
        let mut octets = response("200 OK", "", "").strip_suffix(b"\r\n").expect("an end").to_vec();
        octets = String::from_utf8(octets).expect("text").replace("Content-Length: 0\r\n", "").into_bytes();
        octets.extend_from_slice(b"\r\n");
        octets.resize(octets.len() + usize::try_from(LARGEST).expect("it is small") + 1, b' ');
        octets
    });
    let trouble = client(&url).ask(QUESTION).expect_err("too much");
    assert!(trouble.text.contains("limit") && !trouble.nobody, "{trouble:?}");
}

#[test]
fn nobody_is_told_from_somebody() {
    // Bound and not listening: nobody else gets the port.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().expect("an address").into()).expect("a port");
    let address = socket.local_addr().ok().and_then(|address| address.as_socket()).expect("an address");
    let trouble = client(&format!("http://{address}")).ask(QUESTION).expect_err("nobody listens");
    assert!(trouble.nobody && trouble.text.starts_with("Connection refused"), "{trouble:?}");
}

#[test]
fn urls_are_those_of_a_daemon() {
    for (url, expected) in [
        ("http://127.0.0.1:8739", Some("http://127.0.0.1:8739")),
        ("https://probe.example:8739/", Some("https://probe.example:8739")),
        ("http://[::1]:8739/behind/a/proxy/", Some("http://[::1]:8739/behind/a/proxy")),
        ("127.0.0.1:8739", None),
        ("ftp://127.0.0.1", None),
        ("http://", None),
        ("http://user@127.0.0.1", None),
        ("http://127.0.0.1/?a=b", None),
        ("", None),
    ] {
        assert_eq!(base(url).as_deref(), expected, "{url}");
    }
}

#[test]
fn authorities_are_read_before_anything_is_asked() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("ca.pem");
    fs::write(&file, "nothing").expect("a file");
    let refused = Client::new("https://127.0.0.1", None, Some(&file)).map(|_| ()).expect_err("no certificates");
    assert!(refused.to_string().starts_with("--ca-file: there is no certificate in"), "{refused}");
    // Over HTTP nobody has to be trusted.
    assert!(Client::new("http://127.0.0.1", None, Some(&file)).is_ok());
}
