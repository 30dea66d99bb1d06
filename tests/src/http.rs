//! A client of the dashboard that says just what it is told to, over connections made in a namespace.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::namespace::Namespace;
use crate::process::patience;

/// Whom to ask.
pub struct Http<'a> {
    namespace: &'a Namespace,
    address: SocketAddr,
}

/// What was answered.
#[derive(Clone, Debug)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// The lines of the head, the first one too.
    pub head: String,
    /// What follows.
    pub body: Vec<u8>,
}

impl Response {
    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// It is none.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("{}\n{}", self.head, self.text()))
    }
}

impl<'a> Http<'a> {
    /// The dashboard that listens there in this namespace.
    ///
    /// # Errors
    /// It is no address.
    pub fn new(namespace: &'a Namespace, address: &str) -> Result<Self> {
        Ok(Self { namespace, address: address.parse()? })
    }

    /// A connection.
    ///
    /// # Errors
    /// Nobody listens.
    pub fn connect(&self) -> Result<TcpStream> {
        self.namespace.inside(|| {
            let stream = TcpStream::connect_timeout(&self.address, Duration::from_secs(5))?;
            stream.set_read_timeout(Some(patience()))?;
            Ok(stream)
        })
    }

    /// Asks for a path, as a browser would.
    ///
    /// # Errors
    /// There is no answer.
    pub fn get(&self, path: &str) -> Result<Response> {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address))
    }

    /// The JSON behind a path.
    ///
    /// # Errors
    /// The answer is another one.
    pub fn json(&self, path: &str) -> Result<Value> {
        let response = self.get(path)?;
        ensure!(response.status == 200, "{path}: {} {}", response.head, response.text());
        response.json()
    }

    /// Says this, whatever it is, and reads until the end.
    ///
    /// # Errors
    /// There is no answer.
    pub fn send(&self, request: &str) -> Result<Response> {
        let mut stream = self.connect()?;
        // It may have been answered, and closed, before it was read to its end.
        let _ = stream.write_all(request.as_bytes());
        answer(&mut stream)
    }
}

/// What comes until the end of a connection.
///
/// # Errors
/// It is no answer.
pub fn answer(stream: &mut TcpStream) -> Result<Response> {
    let mut all = Vec::new();
    let outcome = stream.read_to_end(&mut all);
    let end = all.windows(4).position(|octets| octets == b"\r\n\r\n");
    let end = end.with_context(|| format!("no answer: {outcome:?} after {:?}", String::from_utf8_lossy(&all)))?;
    let head = String::from_utf8_lossy(&all[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).with_context(|| head.clone())?;
    Ok(Response { status, head, body: all.split_off(end + 4) })
}
