//! `flowprobe top` on the command line: its flags, and which daemon they mean.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use thiserror::Error;

use super::client::ClientError;
use crate::config;
use crate::status::{self, Snapshot};

/// Where a daemon's API is, unless it says otherwise.
pub const STANDARD_URL: &str = "http://127.0.0.1:8739";

/// Flags of `flowprobe top`.
#[derive(Clone, Debug, Args)]
pub struct TopArgs {
    /// The daemon's HTTP API [default: that of the daemon that runs here, else http://127.0.0.1:8739]
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,

    /// File whose first line is the token that the daemon wants
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// Certificates of the authorities that may have signed the daemon's, in PEM [default: those that the system trusts]
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,

    /// From picture to picture
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = interval)]
    pub interval: Duration,
}

/// The daemon looks at its tables for each picture.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(200);

fn interval(text: &str) -> Result<Duration, String> {
    let time = config::duration(text).map_err(|error| error.to_string())?;
    if time < SHORTEST_INTERVAL { Err("the shortest is 200ms".to_owned()) } else { Ok(time) }
}

/// Why nothing is shown, or no more.
#[derive(Debug, Error)]
pub enum TopError {
    /// Neither keys nor pictures are possible.
    #[error(
        "`flowprobe top` draws on a terminal and reads its keys, and standard input and output are none; `flowprobe status` prints"
    )]
    NoTerminal,
    /// A flag cannot be used.
    #[error(transparent)]
    Flags(#[from] ClientError),
    /// Nobody is there.
    #[error(
        "no flowprobe daemon answers at {url} ({why}): `flowprobe run -i IFACE` starts one; one that runs with --web none \
         cannot be watched"
    )]
    Nobody {
        /// Where it was looked for.
        url: String,
        /// What the system says.
        why: String,
    },
    /// A daemon is there, but answers nothing.
    #[error("the flowprobe daemon that runs here, process {pid}, cannot be watched: it was started with --web none")]
    NoWeb {
        /// Its process ID.
        pid: u32,
    },
    /// Which one?
    #[error("several daemons are running: choose one with --url, of {list}")]
    Several {
        /// Their URLs.
        list: String,
    },
    /// Somebody is there and says something else.
    #[error("cannot watch the daemon at {url}: {why}")]
    Refused {
        /// Where it is.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// The terminal refuses.
    #[error("the terminal cannot be used: {0}")]
    Terminal(#[from] io::Error),
}

impl TopError {
    /// Whether the command line, or where it was typed, is wrong.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        matches!(self, Self::NoTerminal | Self::Flags(_))
    }
}

/// Where the daemon is that `args` mean.
pub(super) fn url(args: &TopArgs) -> Result<String, TopError> {
    if let Some(url) = &args.url {
        return Ok(url.clone());
    }
    url_of(&running())
}

/// The daemons that run here, as far as they may be asked. One that does not answer here may still answer over HTTP.
fn running() -> Vec<(u32, Option<String>)> {
    let sockets = status::all_sockets().unwrap_or_default();
    let answers = sockets.iter().filter_map(|socket| status::exchange(socket, &[]).ok());
    let snapshots = answers.filter_map(|text| serde_json::from_slice::<Snapshot>(&text).ok());
    snapshots.map(|daemon| (daemon.pid, daemon.web)).collect()
}

/// Of the process IDs and URLs of those that run.
fn url_of(running: &[(u32, Option<String>)]) -> Result<String, TopError> {
    let urls: Vec<&str> = running.iter().filter_map(|(_, url)| url.as_deref()).collect();
    match (&urls[..], running) {
        ([url], _) => Ok((*url).to_owned()),
        ([], [(pid, _), ..]) => Err(TopError::NoWeb { pid: *pid }),
        ([], []) => Ok(STANDARD_URL.to_owned()),
        (several, _) => Err(TopError::Several { list: several.join(", ") }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemon_that_runs_here_is_meant() {
        let url = |running: &[(u32, Option<&str>)]| {
            let running: Vec<_> = running.iter().map(|(pid, url)| (*pid, url.map(str::to_owned))).collect();
            url_of(&running).map_err(|error| error.to_string())
        };
        let [silent, one, other] = [(1, None), (2, Some("http://127.0.0.1:8739")), (3, Some("http://127.0.0.1:9000"))];
        assert_eq!(url(&[]).as_deref(), Ok(STANDARD_URL));
        assert_eq!(url(&[silent, other]).as_deref(), Ok("http://127.0.0.1:9000"));
        assert_eq!(
            url(&[one, other]).expect_err("which one?"),
            "several daemons are running: choose one with --url, of http://127.0.0.1:8739, http://127.0.0.1:9000"
        );
        assert_eq!(
            url(&[silent]).expect_err("it has none"),
            "the flowprobe daemon that runs here, process 1, cannot be watched: it was started with --web none"
        );
    }

    #[test]
    fn pictures_come_at_most_five_times_a_second() {
        assert_eq!(interval("200ms"), Ok(Duration::from_millis(200)));
        assert_eq!(interval("50ms"), Err("the shortest is 200ms".to_owned()));
    }
}
