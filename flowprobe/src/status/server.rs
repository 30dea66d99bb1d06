//! The daemon's side: whoever connects gets the snapshot, or the answer to the question that it says first, and the connection is
//! closed. A client can delay nobody: there are few at a time, and each has a few seconds.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tracing::debug;

use super::{FOLDER, InterfaceStatus, Snapshot};
use crate::detect::{self, Board};
use crate::enrich::Enrichment;
use crate::query::{self, Pool, Reply, Request, Unanswered};
use crate::sink::{FINDINGS, Tick};
use crate::store::Shelf;

/// Clients that are answered at a time; others wait a while.
const CLIENTS: usize = 8;

/// Clients at a time; one more is turned away.
const CONNECTIONS: usize = 128;

/// How long a client may take to read, and how long it waits for the first drain.
const PATIENCE: Duration = Duration::from_secs(5);

/// How soon a client says its question, if it has one.
const SOON: Duration = Duration::from_millis(200);

/// Octets of a question at most.
const LONGEST_QUESTION: u64 = 1 << 16;

/// What the daemon's stages tell the server.
pub struct State {
    /// The state after the last drain.
    pub tick: watch::Sender<Option<Arc<Tick>>>,
    /// The interfaces and how they are metered.
    pub interfaces: watch::Sender<Vec<InterfaceStatus>>,
}

/// The server's ends of it.
#[derive(Clone)]
pub struct Watched {
    tick: watch::Receiver<Option<Arc<Tick>>>,
    interfaces: watch::Receiver<Vec<InterfaceStatus>>,
    started: Instant,
    /// History, and where questions to it are taken in.
    history: Option<(Arc<Shelf>, Pool)>,
    enrichment: Option<Arc<Enrichment>>,
    /// What was found.
    board: Option<Board>,
    /// Where the dashboard is.
    web: Option<Arc<str>>,
}

impl Watched {
    /// Answers questions to this history.
    ///
    /// # Errors
    /// The threads that answer cannot be started.
    pub fn with_history(self, shelf: Option<Arc<Shelf>>) -> io::Result<Self> {
        let history = shelf.map(|shelf| Ok::<_, io::Error>((shelf, Pool::open()?))).transpose()?;
        Ok(Self { history, ..self })
    }

    /// Says how this enrichment fares.
    #[must_use]
    pub fn with_enrichment(self, enrichment: Arc<Enrichment>) -> Self {
        Self { enrichment: Some(enrichment), ..self }
    }

    /// Says how the looking for findings fares.
    #[must_use]
    pub fn with_findings(self, board: Option<Board>) -> Self {
        Self { board, ..self }
    }

    /// Says that the dashboard is there.
    #[must_use]
    pub fn with_web(self, url: Option<&str>) -> Self {
        Self { web: url.map(Arc::from), ..self }
    }

    /// History, if it is kept, and where questions to it are taken in.
    pub(crate) fn history(&self) -> Option<(Arc<Shelf>, Pool)> {
        self.history.clone()
    }

    /// What is known of addresses, if anything is.
    pub(crate) fn enrichment(&self) -> Option<Arc<Enrichment>> {
        self.enrichment.clone()
    }

    /// Whether there was a drain.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.tick.borrow().is_some()
    }

    /// The state after the last drain; none before the first.
    #[must_use]
    pub fn snapshot(&self) -> Option<Snapshot> {
        let tick = self.tick.borrow().clone()?;
        let interfaces = self.interfaces.borrow().clone();
        let history = self.history.as_ref().map(|(shelf, _)| shelf.condition());
        let enrichment = self.enrichment.as_ref().map(|enrichment| enrichment.condition()).unwrap_or_default();
        let snapshot = Snapshot::of(&tick, self.started.elapsed(), interfaces, history, enrichment);
        let findings = self.board.as_ref().map(|board| {
            let queue = tick.sinks.iter().find(|sink| *sink.name == *FINDINGS);
            let missed_flows = queue.map_or(0, |sink| sink.lost.records);
            detect::Condition { missed_flows, ..(*board.condition()).clone() }
        });
        Some(Snapshot { findings, web: self.web.as_deref().map(str::to_owned), ..snapshot })
    }
}

impl State {
    /// Nothing known yet; the process starts now.
    #[must_use]
    pub fn new() -> (Self, Watched) {
        let (tick, tick_watched) = watch::channel(None);
        let (interfaces, interfaces_watched) = watch::channel(Vec::new());
        let watched = Watched {
            tick: tick_watched,
            interfaces: interfaces_watched,
            started: Instant::now(),
            history: None,
            enrichment: None,
            board: None,
            web: None,
        };
        (Self { tick, interfaces }, watched)
    }
}

/// A listening socket, removed when dropped.
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
}

impl Server {
    /// Listens at `path`. In the folder that all daemons share, it is made where it is missing, and sockets of daemons that
    /// died are removed. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The folder or the socket cannot be made, or another process listens there.
    pub fn bind(path: PathBuf) -> io::Result<Self> {
        let folder = path.parent().unwrap_or(Path::new("."));
        if folder == Path::new(FOLDER) {
            match DirBuilder::new().mode(0o755).create(folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        remove_stale(folder, &path);
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(&path)?)?;
        // Before it listens: nobody connects until only the owner may.
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        socket.listen(CONNECTIONS.try_into().unwrap_or(1))?;
        socket.set_nonblocking(true)?;
        let listener = UnixListener::from_std(OwnedFd::from(socket).into())?;
        Ok(Self { listener, path })
    }

    /// Answers until it is dropped.
    pub async fn run(self, watched: Watched) {
        let (open, places) = (Arc::new(Semaphore::new(CONNECTIONS)), Arc::new(Semaphore::new(CLIENTS)));
        loop {
            match self.listener.accept().await {
                Ok((client, _)) => {
                    // Beyond the bound it is closed at once.
                    if let Ok(is_open) = Arc::clone(&open).try_acquire_owned() {
                        let (watched, places) = (watched.clone(), Arc::clone(&places));
                        tokio::spawn(async move {
                            let _is_open = is_open;
                            serve(client, watched, &places).await;
                        });
                    }
                }
                // Such as too many open files: it may pass.
                Err(error) => {
                    debug!("the status socket: {error}");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Somebody may have removed it already.
        let _ = fs::remove_file(&self.path);
    }
}

/// Answers a client. Until it has said what it wants it keeps no other from an answer.
async fn serve(mut client: UnixStream, watched: Watched, places: &Semaphore) {
    let question = question(&mut client).await;
    let Ok(Ok(_place)) = tokio::time::timeout(PATIENCE, places.acquire()).await else { return };
    let text = match question {
        None => snapshot(watched).await,
        Some(question) => history(&question, watched).await,
    };
    let Some(mut text) = text else { return };
    text.push(b'\n');
    let write = async {
        // A client that has gone away has seen enough.
        let _ = client.write_all(&text).await;
        let _ = client.shutdown().await;
    };
    if tokio::time::timeout(PATIENCE, write).await.is_err() {
        debug!("a client of the status socket does not read");
    }
}

/// The line that a client says, if it says one soon.
async fn question(client: &mut UnixStream) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    let mut reader = BufReader::new(client.take(LONGEST_QUESTION));
    match tokio::time::timeout(SOON, reader.read_until(b'\n', &mut line)).await {
        Ok(Ok(length)) if length > 0 => Some(line),
        _ => None,
    }
}

/// The answer to a question to history.
async fn history(question: &[u8], watched: Watched) -> Option<Vec<u8>> {
    let reply = match (serde_json::from_slice::<Request>(question), watched.history) {
        (Err(error), _) => Reply::Refused(format!("the daemon does not understand the question: {error}")),
        (Ok(_), None) => Reply::NoHistory,
        (Ok(request), Some((shelf, pool))) => {
            let asked = pool.ask(move |stop| query::ask(query::Source::Wanted(&shelf, stop), &request));
            match asked.await {
                Ok(Ok(answer)) => Reply::Answer(answer),
                Ok(Err(fault)) => Reply::Refused(format!("cannot read history: {fault}")),
                Err(Unanswered::Busy) => {
                    Reply::Refused("more questions are waiting than can be answered soon".to_owned())
                }
                Err(Unanswered::Failed) => Reply::Refused("the daemon has failed at it: its log says where".to_owned()),
            }
        }
    };
    serde_json::to_vec(&reply).ok()
}

async fn snapshot(mut watched: Watched) -> Option<Vec<u8>> {
    // The first drain may not be over yet.
    tokio::time::timeout(PATIENCE, watched.tick.wait_for(Option::is_some)).await.ok()?.ok()?;
    serde_json::to_vec(&watched.snapshot()?).ok()
}

/// Removes the sockets of daemons that are dead, and what an earlier process has left at `own`.
fn remove_stale(folder: &Path, own: &Path) {
    let others = super::sockets(folder).unwrap_or_default();
    let dead = others.into_iter().filter(|(pid, _)| !Path::new(&format!("/proc/{pid}")).exists());
    for path in dead.map(|(_, path)| path).chain([own.to_owned()]) {
        let is_socket = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.file_type().is_socket());
        let refused = || StdUnixStream::connect(&path).is_err_and(|it| it.kind() == io::ErrorKind::ConnectionRefused);
        if is_socket && refused() {
            debug!("removing {}, where nobody listens any more", path.display());
            let _ = fs::remove_file(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::clock::WallOffset;
    use crate::losses::Noted;

    /// A tick with so long a list of sinks that no socket's buffer holds the answer.
    fn large_tick() -> Arc<Tick> {
        let sink = |number| crate::sink::SinkState {
            name: format!("udp://sink-{number}").into(),
            lost: Default::default(),
            queue: Default::default(),
            collector: None,
        };
        Arc::new(Tick {
            now_ns: 0,
            offset: WallOffset::measure(),
            accounting: Vec::new(),
            ignored: Noted::default(),
            open_flows: 3,
            opened_flows: 3,
            drain: Duration::ZERO,
            drains: Default::default(),
            sinks: (0..100_000).map(sink).collect(),
            listening: Default::default(),
            selection: "".into(),
            last: false,
        })
    }

    #[tokio::test(start_paused = true)]
    async fn clients_that_do_not_read_are_dropped_and_keep_their_places_no_longer() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        let (state, watched) = State::new();
        state.tick.send_replace(Some(large_tick()));
        let server = tokio::spawn(Server::bind(path.clone()).expect("a socket").run(watched));
        let stuck: Vec<_> = (0..CLIENTS).map(|_| StdUnixStream::connect(&path).expect("a connection")).collect();
        // Time is paused: it passes only when everybody waits, and then all patience is over.
        tokio::time::sleep(PATIENCE * 2).await;
        let reader = tokio::task::spawn_blocking(move || super::super::exchange(&path, &[]).expect("an answer"));
        let text = reader.await.expect("no panic");
        let snapshot: Snapshot = serde_json::from_slice(&text).expect("a snapshot");
        assert_eq!((snapshot.open_flows, snapshot.sinks.len()), (3, 100_000));
        // What those got ends in the middle.
        for mut client in stuck {
            let mut cut = Vec::new();
            client.read_to_end(&mut cut).expect("it was closed");
            assert!(cut.len() < text.len() && !cut.is_empty(), "{}", cut.len());
        }
        server.abort();
    }

    #[tokio::test]
    async fn what_a_dead_process_left_is_replaced_and_what_lives_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        // No process has this number; the kernel's largest is 4,194,304.
        let others = [super::super::in_folder(folder.path(), 4_194_305), path.clone()];
        for stale in &others {
            drop(std::os::unix::net::UnixListener::bind(stale).expect("a socket"));
        }
        let server = Server::bind(path.clone()).expect("nobody listens there");
        assert!(!others[0].exists());
        assert_eq!(fs::metadata(&path).expect("a socket").permissions().mode() & 0o777, 0o600);
        assert!(Server::bind(path.clone()).is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse));
        drop(server);
        assert!(!path.exists());
        fs::write(&path, "precious").expect("a file");
        assert!(Server::bind(path.clone()).is_err());
        assert_eq!(fs::read(&path).expect("the file"), b"precious");
    }
}
