//! The side of `flowprobe query`: asks the daemon, or reads the files, and prints.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::cli::{QueryArgs, SourceArgs};
use super::hunt::{HuntArgs, listed};
use super::{Answer, Request, Source, ask, render};
use crate::detect::indicator::IndicatorSet;
use crate::detect::site::Site;
use crate::status::{self, StatusError};
use crate::store::DEFAULT_FOLDER;
use crate::store::file::FileFault;
use crate::store::layout::Layout;

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum QueryError {
    /// No store in this folder.
    #[error("there is no history in {}", folder.display())]
    NoStore {
        /// The folder.
        folder: PathBuf,
    },
    /// Neither a daemon nor files.
    #[error(
        "no daemon that keeps history answers in {}, and there is none in {DEFAULT_FOLDER}: start `flowprobe run`, or name a folder \
         with --store",
        status::FOLDER
    )]
    Nowhere,
    /// More than one that may be meant.
    #[error("several daemons keep history: choose one with --socket, of {list}")]
    Several {
        /// Their sockets.
        list: String,
    },
    /// The daemon cannot be asked.
    #[error(transparent)]
    Daemon(#[from] StatusError),
    /// The daemon takes too long, as it may where records of weeks have to be read.
    #[error("{0}: ask for less, or read its files with --store")]
    Late(StatusError),
    /// It cannot answer.
    #[error("{reason}")]
    Refused {
        /// Its reason.
        reason: String,
    },
    /// A folder of the store cannot be read.
    #[error("cannot read history: {0}")]
    Fault(#[from] FileFault),
    /// Standard output refuses.
    #[error("cannot write the answer: {0}")]
    Output(#[from] io::Error),
}

/// What a daemon replies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reply {
    /// The answer.
    Answer(Answer),
    /// It keeps no history.
    NoHistory,
    /// It cannot answer, for this reason.
    Refused(String),
}

/// Finds the answer, and writes it to `out` in the form that `args` ask for.
///
/// # Errors
/// See [`QueryError`].
pub fn print(args: &QueryArgs, request: &Request, out: &mut impl Write) -> Result<(), QueryError> {
    let (_, answer) = find(&args.source, request)?;
    write(&answer, args.json, args.csv, out)
}

/// Finds which addresses of lists are in the files of a store, and writes it to `out` in the form that `args` ask for.
///
/// # Errors
/// See [`QueryError`].
pub fn print_hunt(
    args: &HuntArgs,
    times: (i64, i64),
    set: &Arc<IndicatorSet>,
    out: &mut impl Write,
) -> Result<(), QueryError> {
    let folder = args.store.clone().unwrap_or_else(|| DEFAULT_FOLDER.into());
    let layout = Layout::new(&folder);
    if !layout.flows().is_dir() {
        return Err(QueryError::NoStore { folder });
    }
    let answer = listed(Source::Files(&layout), times, set, &Site::private_and([]))?;
    write(&answer, args.json, args.csv, out)
}

fn write(answer: &Answer, as_json: bool, as_csv: bool, out: &mut impl Write) -> Result<(), QueryError> {
    let text = if as_json {
        format!("{}\n", answer.to_json())
    } else if as_csv {
        answer.to_csv()
    } else {
        render::table(answer)
    };
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Where answers come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The files in this folder.
    Files(PathBuf),
    /// The daemon with this socket.
    Daemon(PathBuf),
}

impl Place {
    /// Its answer.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub fn ask(&self, request: &Request) -> Result<Answer, QueryError> {
        match self {
            Self::Files(folder) => of_files(folder, request),
            Self::Daemon(socket) => match ask_daemon(socket, request)? {
                Reply::Answer(answer) => Ok(answer),
                Reply::NoHistory => {
                    let reason = format!("the daemon at {} keeps no history (--store none)", socket.display());
                    Err(QueryError::Refused { reason })
                }
                Reply::Refused(reason) => Err(QueryError::Refused { reason }),
            },
        }
    }
}

/// Finds who answers, and the answer.
///
/// # Errors
/// See [`QueryError`].
pub fn find(args: &SourceArgs, request: &Request) -> Result<(Place, Answer), QueryError> {
    let place = match (&args.store, &args.socket) {
        (Some(folder), _) => Place::Files(folder.clone()),
        (None, Some(socket)) => Place::Daemon(socket.clone()),
        (None, None) => return of_this_machine(request),
    };
    let answer = place.ask(request)?;
    Ok((place, answer))
}

fn of_files(folder: &Path, request: &Request) -> Result<Answer, QueryError> {
    let layout = Layout::new(folder);
    if !layout.flows().is_dir() {
        return Err(QueryError::NoStore { folder: folder.to_owned() });
    }
    Ok(ask(Source::Files(&layout), request)?)
}

/// Of the one daemon that keeps history; where there is none, of the files that one has left where it keeps them by default.
fn of_this_machine(request: &Request) -> Result<(Place, Answer), QueryError> {
    let mut answers = Vec::new();
    for socket in status::all_sockets()? {
        match ask_daemon(&socket, request) {
            Ok(Reply::NoHistory) => {}
            Ok(Reply::Answer(answer)) => answers.push((socket, answer)),
            Ok(Reply::Refused(reason)) => return Err(QueryError::Refused { reason }),
            Err(QueryError::Daemon(error)) if error.is_of_nobody() => {}
            Err(error) => return Err(error),
        }
    }
    match <[_; 1]>::try_from(answers) {
        Ok([(socket, answer)]) => Ok((Place::Daemon(socket), answer)),
        Err(answers) if answers.is_empty() => match of_files(Path::new(DEFAULT_FOLDER), request) {
            Err(QueryError::NoStore { .. }) => Err(QueryError::Nowhere),
            outcome => Ok((Place::Files(DEFAULT_FOLDER.into()), outcome?)),
        },
        Err(answers) => {
            let list: Vec<String> = answers.iter().map(|(socket, _)| socket.display().to_string()).collect();
            Err(QueryError::Several { list: list.join(", ") })
        }
    }
}

fn ask_daemon(socket: &Path, request: &Request) -> Result<Reply, QueryError> {
    let mut line = serde_json::to_vec(request).map_err(io::Error::from)?;
    line.push(b'\n');
    let text = status::exchange(socket, &line).map_err(|error| match error {
        late @ StatusError::Late { .. } => QueryError::Late(late),
        error => error.into(),
    })?;
    let reply = serde_json::from_slice(&text);
    Ok(reply.map_err(|error| StatusError::NotFlowprobe { path: socket.to_owned(), error })?)
}
