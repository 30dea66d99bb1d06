//! The side of `flowprobe status`: asks, and prints.

use std::io::{self, Read as _, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use super::{FOLDER, Snapshot, open_metrics, render, sockets};
use crate::cli::StatusArgs;

/// How long a daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long it may take to answer a question to history.
const PATIENCE_WITH_HISTORY: Duration = Duration::from_secs(120);

/// Octets of an answer at most.
const LARGEST: u64 = 64 << 20;

/// Why there is no status to be shown.
#[derive(Debug, Error)]
pub enum StatusError {
    /// Nobody is there.
    #[error("no flowprobe daemon answers in {}: none is running, or it answers elsewhere (--status-socket)", folder.display())]
    None {
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// A socket that was named, or that is there, cannot be asked.
    #[error("cannot ask the daemon at {}: {error}", path.display())]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// It has taken too long.
    #[error("the daemon at {} has not answered within {} s", path.display(), patience.as_secs_f64())]
    Late {
        /// The socket.
        path: PathBuf,
        /// How long it might have taken.
        patience: Duration,
    },
    /// It has closed the connection without a word.
    #[error("the daemon at {} is asked by too many at once, or is still waiting for its first drain", path.display())]
    Silent {
        /// The socket.
        path: PathBuf,
    },
    /// What answers is no daemon, or one of another version.
    #[error("what answers at {} is no flowprobe daemon of this version: {error}", path.display())]
    NotFlowprobe {
        /// The socket.
        path: PathBuf,
        /// What is wrong with the answer.
        error: serde_json::Error,
    },
    /// Metrics of several daemons would have the same names.
    #[error("several daemons are running: choose one with --socket, of {list}")]
    Several {
        /// Their sockets.
        list: String,
    },
    /// Standard output refuses.
    #[error("cannot write the status: {0}")]
    Output(#[from] io::Error),
}

/// Asks the daemons that `args` mean, and writes what they say to `out`.
///
/// # Errors
/// See [`StatusError`].
pub fn print(args: &StatusArgs, out: &mut impl Write) -> Result<(), StatusError> {
    let snapshots = match &args.socket {
        Some(path) if !path.is_dir() => vec![(path.clone(), ask(path)?)],
        Some(folder) => ask_all(folder)?,
        None => ask_all(Path::new(FOLDER))?,
    };
    if args.metrics {
        let [(_, snapshot)] = &snapshots[..] else {
            let list: Vec<String> = snapshots.iter().map(|(path, _)| path.display().to_string()).collect();
            return Err(StatusError::Several { list: list.join(", ") });
        };
        out.write_all(open_metrics(snapshot).as_bytes())?;
    } else if args.json {
        for (_, snapshot) in &snapshots {
            serde_json::to_writer(&mut *out, snapshot).map_err(io::Error::from)?;
            writeln!(out)?;
        }
    } else {
        let tables: Vec<String> = snapshots.iter().map(|(_, snapshot)| render::table(snapshot)).collect();
        out.write_all(tables.join("\n").as_bytes())?;
    }
    Ok(out.flush()?)
}

/// Every daemon with a socket in `folder`; sockets where nobody listens any more are passed over.
fn ask_all(folder: &Path) -> Result<Vec<(PathBuf, Snapshot)>, StatusError> {
    let mut snapshots = Vec::new();
    let found = match sockets(folder) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(StatusError::Unreachable { path: folder.to_owned(), error }),
    };
    for (_, path) in found {
        match ask(&path) {
            Ok(snapshot) => snapshots.push((path, snapshot)),
            Err(error) if error.is_of_nobody() => {}
            Err(error) => return Err(error),
        }
    }
    if snapshots.is_empty() { Err(StatusError::None { folder: folder.to_owned() }) } else { Ok(snapshots) }
}

fn ask(path: &Path) -> Result<Snapshot, StatusError> {
    let text = exchange(path, &[])?;
    serde_json::from_slice(&text).map_err(|error| StatusError::NotFlowprobe { path: path.to_owned(), error })
}

/// Says `question` to the daemon at `path`, which may be nothing, and returns what it says.
///
/// # Errors
/// It cannot be asked, or does not answer.
pub fn exchange(path: &Path, question: &[u8]) -> Result<Vec<u8>, StatusError> {
    // It may be looking through weeks.
    exchange_within(if question.is_empty() { PATIENCE } else { PATIENCE_WITH_HISTORY }, path, question)
}

fn exchange_within(patience: Duration, path: &Path, question: &[u8]) -> Result<Vec<u8>, StatusError> {
    let mut text = Vec::new();
    let answer = UnixStream::connect(path).and_then(|mut socket| {
        socket.set_read_timeout(Some(patience))?;
        socket.write_all(question)?;
        socket.shutdown(Shutdown::Write)?;
        socket.take(LARGEST).read_to_end(&mut text)
    });
    match answer {
        // What the system says of a timeout is that a resource is unavailable.
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            Err(StatusError::Late { path: path.to_owned(), patience })
        }
        Err(error) => Err(StatusError::Unreachable { path: path.to_owned(), error }),
        Ok(0) => Err(StatusError::Silent { path: path.to_owned() }),
        Ok(_) => Ok(text),
    }
}

impl StatusError {
    /// Whether nobody listens at the socket: a daemon that has died has left it.
    #[must_use]
    pub fn is_of_nobody(&self) -> bool {
        let kinds = [io::ErrorKind::ConnectionRefused, io::ErrorKind::NotFound];
        matches!(self, Self::Unreachable { error, .. } if kinds.contains(&error.kind()))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_daemon_that_does_not_answer_in_time_is_said_to_be_late() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("mute.sock");
        let _mute = UnixListener::bind(&path).expect("a socket");
        let error = exchange_within(Duration::from_millis(50), &path, b"").expect_err("nobody answers");
        assert!(error.to_string().ends_with("mute.sock has not answered within 0.05 s"), "{error}");
        assert!(!error.is_of_nobody());
    }
}
