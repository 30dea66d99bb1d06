//! Collectors of the tests' own over TCP: one in this process, which may stop reading or vanish, and what another program wrote
//! into a file.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Read as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::ipfix::{Received, Session, as_on_the_wire};
use crate::namespace::Namespace;
use crate::process::{Process, patience, read, wait_until};
use crate::truth::{Object, number};

/// Between two looks at sockets that have nothing.
const PAUSE: Duration = Duration::from_millis(2);

/// A TCP socket in a namespace and the thread that reads all of its connections.
pub struct StreamCollector {
    address: SocketAddr,
    shared: Arc<Shared>,
    reader: Option<JoinHandle<Result<Received>>>,
}

#[derive(Default)]
struct Shared {
    paused: AtomicBool,
    /// Ends when every connection has ended.
    stop: AtomicBool,
    /// Ends at once.
    vanish: AtomicBool,
    records: AtomicUsize,
    connections: AtomicUsize,
}

impl StreamCollector {
    /// Listens on an address of the namespace; port 0 stands for any.
    ///
    /// # Errors
    /// The port is taken.
    pub fn listen(namespace: &Namespace, address: &str, port: u16) -> Result<Self> {
        Self::with_buffer(namespace, address, port, None)
    }

    /// The same with a receive buffer of so many octets.
    ///
    /// # Errors
    /// The port is taken.
    pub fn with_buffer(namespace: &Namespace, address: &str, port: u16, buffer: Option<usize>) -> Result<Self> {
        let listener = namespace.inside(|| Ok(TcpListener::bind((address, port))?))?;
        if let Some(octets) = buffer {
            socket2::SockRef::from(&listener).set_recv_buffer_size(octets)?;
        }
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let reader = spawn({
            let shared = Arc::clone(&shared);
            move || serve(&listener, &shared)
        });
        Ok(Self { address, shared, reader: Some(reader) })
    }

    /// The URL that leads here.
    #[must_use]
    pub fn url(&self) -> String {
        format!("tcp://{}", self.address)
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Reads nothing more, or goes on.
    pub fn pause(&self, paused: bool) {
        self.shared.paused.store(paused, Ordering::Relaxed);
    }

    /// Flow records that came so far.
    #[must_use]
    pub fn records(&self) -> usize {
        self.shared.records.load(Ordering::Relaxed)
    }

    /// Connections that it has accepted so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Waits until so many flow records have come.
    ///
    /// # Errors
    /// They do not come.
    pub fn wait_for_records(&self, count: usize) -> Result<()> {
        let waited = wait_until("records", || Ok(self.has_ended() || self.records() >= count));
        waited.with_context(|| format!("{} of {count} records", self.records()))
    }

    /// Waits until every connection has ended, and returns everything.
    ///
    /// # Errors
    /// One does not end, or ends within a message, or a message is wrong.
    pub fn stop(self) -> Result<Received> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.ended()
    }

    /// Is gone at once, as a process that is killed, with all that it has not read; returns what it had.
    ///
    /// # Errors
    /// A message was wrong.
    pub fn vanish(self) -> Result<Received> {
        self.shared.vanish.store(true, Ordering::Relaxed);
        self.ended()
    }

    fn has_ended(&self) -> bool {
        self.reader.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn ended(mut self) -> Result<Received> {
        let reader = self.reader.take().context("ended twice")?;
        reader.join().map_err(|_| anyhow!("the collector's thread panicked"))?
    }
}

impl Drop for StreamCollector {
    fn drop(&mut self) {
        self.shared.vanish.store(true, Ordering::Relaxed);
    }
}

fn serve(listener: &TcpListener, shared: &Shared) -> Result<Received> {
    let mut received = Received::default();
    let mut connections: Vec<(TcpStream, Messages)> = Vec::new();
    let mut end = None;
    while !shared.vanish.load(Ordering::Relaxed) {
        // Asked before the sockets: after the last look nothing is left in them.
        let stop = shared.stop.load(Ordering::Relaxed);
        let mut idle = true;
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(true)?;
                connections.push((stream, Messages::default()));
                shared.connections.fetch_add(1, Ordering::Relaxed);
                idle = false;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        let mut position = 0;
        while !shared.paused.load(Ordering::Relaxed)
            && let Some((stream, messages)) = connections.get_mut(position)
        {
            match messages.read(stream, &mut received)? {
                State::Open => position += 1,
                State::Read => (idle, position) = (false, position + 1),
                State::Ended => drop(connections.swap_remove(position)),
            }
            shared.records.store(received.records.len(), Ordering::Relaxed);
        }
        if stop && idle {
            if connections.is_empty() {
                break;
            }
            let end = *end.get_or_insert_with(|| Instant::now() + patience());
            ensure!(Instant::now() < end, "{} connections do not end", connections.len());
        }
        if idle {
            sleep(PAUSE);
        }
    }
    Ok(received)
}

enum State {
    Open,
    Read,
    Ended,
}

/// The messages in a connection.
#[derive(Default)]
struct Messages {
    session: Session,
    rest: Vec<u8>,
}

impl Messages {
    fn read(&mut self, stream: &mut TcpStream, received: &mut Received) -> Result<State> {
        let mut octets = vec![0; 65_536];
        match stream.read(&mut octets) {
            Ok(0) => {
                ensure!(self.rest.is_empty(), "a connection ends with {} octets of a message", self.rest.len());
                Ok(State::Ended)
            }
            Ok(length) => self.feed(&octets[..length], received).map(|()| State::Read),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(State::Open),
            // What it was in the middle of has to come again, in another connection.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(State::Ended),
            Err(error) => Err(error.into()),
        }
    }

    fn feed(&mut self, octets: &[u8], received: &mut Received) -> Result<()> {
        self.rest.extend_from_slice(octets);
        let mut at = 0;
        while let Some([0, version, high, low]) = self.rest.get(at..at + 4) {
            ensure!(*version == 10, "a message of version {version}");
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            let Some(message) = self.rest.get(at..at + length) else { break };
            self.session.take_in(message, received)?;
            ensure!(received.without_template == 0, "data came before its template");
            at += length;
        }
        self.rest.drain(..at);
        Ok(())
    }
}

/// A process, socat or openssl, that accepts one connection and writes what comes into a file, message by message or not: it can
/// be stopped and killed.
pub struct Recorder {
    process: Process,
    file: PathBuf,
    _folder: TempDir,
}

impl Recorder {
    /// Listens, by socat's address such as `TCP-LISTEN:4739`.
    ///
    /// # Errors
    /// socat does not start.
    pub fn start(namespace: &Namespace, listen: &str) -> Result<Self> {
        let folder = TempDir::new()?;
        let file = folder.path().join("stream");
        let mut command = namespace.command("socat");
        command.args(["-d", "-d", "-u", &format!("{listen},reuseaddr")]);
        command.arg(format!("OPEN:{},creat,append", file.display()));
        let mut process = Process::start(&mut command)?;
        process.wait_for_error_lines("listening on", 1)?;
        Ok(Self { process, file, _folder: folder })
    }

    /// The same with openssl's server, which decrypts to its standard output what comes over TLS. `more` are arguments such as
    /// `-cert`.
    ///
    /// # Errors
    /// openssl does not start.
    pub fn start_tls(namespace: &Namespace, port: u16, more: &[&str]) -> Result<Self> {
        let folder = TempDir::new()?;
        let [file, input] = ["stream", "input"].map(|name| folder.path().join(name));
        // Standard input that has nothing and does not end: at its end openssl would look for more without a pause.
        read(Command::new("mkfifo").arg(&input))?;
        let mut command = namespace.command("sh");
        command.args(["-c", "exec \"$@\" <>\"$0\""]).arg(&input);
        command.args(["openssl", "s_server", "-quiet", "-accept", &port.to_string()]).args(more);
        let process = Process::start_into(&mut command, File::create(&file)?)?;
        let listener = format!("sport = :{port}");
        wait_until(
            "that openssl listens",
            || Ok(!read(namespace.command("ss").args(["-Htln", &listener]))?.is_empty()),
        )
        .with_context(|| format!("{:?}", process.errors()))?;
        Ok(Self { process, file, _folder: folder })
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Waits until its connection has ended.
    ///
    /// # Errors
    /// It does not end.
    pub fn wait_for_end(&mut self) -> Result<()> {
        self.process.wait_for_error_lines("exiting with status 0", 1)
    }

    /// Octets that it has written.
    #[must_use]
    pub fn octets(&self) -> u64 {
        fs::metadata(&self.file).map_or(0, |file| file.len())
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// It is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Kills it; what it had written, without a message that was cut off.
    ///
    /// # Errors
    /// It is gone already, or a message is wrong.
    pub fn kill(self) -> Result<Received> {
        let Self { process, file, _folder } = self;
        process.stop(Signal::KILL)?;
        read_file(&file).map(|(received, _)| received)
    }

    /// Waits until its connection has ended, or it is dead; the keys of all that it had written, in order, without a message that
    /// was cut off.
    ///
    /// # Errors
    /// The connection does not end, or a message is wrong.
    pub fn keys(self) -> Result<Vec<Key>> {
        let Self { process, file, _folder } = self;
        process.wait()?;
        let (mut messages, mut keys) = (Messages::default(), Vec::new());
        let (mut file, mut octets) = (File::open(file)?, vec![0; 1 << 20]);
        loop {
            let length = file.read(&mut octets)?;
            if length == 0 {
                return Ok(keys);
            }
            let mut received = Received::default();
            messages.feed(&octets[..length], &mut received)?;
            keys.extend(received.records.iter().map(key).collect::<Result<Vec<Key>>>()?);
        }
    }

    /// Waits until its connection has ended; all that it had written.
    ///
    /// # Errors
    /// The connection does not end, or ends within a message, or a message is wrong.
    pub fn stop(self) -> Result<Received> {
        let Self { process, file, _folder } = self;
        process.wait()?;
        let (received, rest) = read_file(&file)?;
        ensure!(rest == 0, "the connection ends with {rest} octets of a message");
        Ok(received)
    }
}

/// What makes a record one of a kind where flows differ in their source address: millions of these can be held.
pub type Key = (String, u64);

/// The key of a record.
///
/// # Errors
/// It lacks an element.
pub fn key(record: &Object) -> Result<Key> {
    let address = record.get("sourceIPv4Address").and_then(Value::as_str).context("no source address")?;
    Ok((address.to_owned(), number(record, "flowStartMilliseconds")?))
}

/// What was read of a connection and written into a file, and how many octets of a message it ends with.
fn read_file(file: &Path) -> Result<(Received, usize)> {
    let (mut messages, mut received) = (Messages::default(), Received::default());
    match fs::read(file) {
        Ok(octets) => octets.chunks(1 << 20).try_for_each(|octets| messages.feed(octets, &mut received))?,
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    Ok((received, messages.rest.len()))
}

/// Makes sure that all records that were printed have come, in every element and in their order, and nothing else. Some may have
/// come more than once: where one comes for the first time is its place. Returns how many came again.
///
/// # Errors
/// Names the first that is not as it should be.
pub fn must_arrive<'a>(printed: &[Object], received: impl IntoIterator<Item = &'a Received>) -> Result<usize> {
    let mut seen = HashSet::new();
    let mut again = 0;
    let mut came = Vec::new();
    for record in received.into_iter().flat_map(|received| &received.records) {
        let text = serde_json::to_string(record)?;
        if seen.insert(text.clone()) {
            came.push(text);
        } else {
            again += 1;
        }
    }
    let (printed_count, came_count) = (printed.len(), came.len());
    for (position, printed) in printed.iter().enumerate() {
        let printed = serde_json::to_string(&as_on_the_wire(printed))?;
        let came = came.get(position);
        ensure!(
            came == Some(&printed),
            "record {position} of {printed_count} is {printed}; of {came_count} that came (and {again} again) there is {came:?}{}",
            if seen.contains(&printed) { ", and it came elsewhere" } else { ", and it never came" }
        );
    }
    ensure!(came_count == printed_count, "{came_count} records came, {printed_count} were printed");
    Ok(again)
}
