//! A real server that speaks S3 and checks signatures: `s3s-fs`, which keeps objects as files.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::namespace::Namespace;
use crate::process::{Process, wait_until};

/// Where it listens.
pub const ENDPOINT: &str = "http://127.0.0.1:8014";

/// The key whose requests it takes, and its secret.
pub const KEY: [&str; 2] = ["flowprobe", "a secret that nobody guesses"];

/// A server; it ends when dropped, and what it has stays.
pub struct Server {
    _process: Process,
}

impl Server {
    /// Starts one in a namespace, with buckets that are the folders in `root`, and waits until it listens.
    ///
    /// # Errors
    /// It ends before.
    pub fn start(namespace: &Namespace, root: &Path) -> Result<Self> {
        let mut command = namespace.command("s3s-fs");
        command.args(["--host", "127.0.0.1", "--port", "8014", "--access-key", KEY[0], "--secret-key", KEY[1]]);
        let process = Process::start(command.arg(root))?;
        wait_until("a server that speaks S3", || {
            namespace.inside(|| Ok(TcpStream::connect("127.0.0.1:8014").is_ok()))
        })?;
        Ok(Self { _process: process })
    }
}

/// The objects of the bucket in this folder: their octets by name.
///
/// # Errors
/// A folder or a file cannot be read.
pub fn objects(bucket: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut all = BTreeMap::new();
    let mut folders: Vec<PathBuf> = vec![bucket.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                all.insert(path.strip_prefix(bucket)?.display().to_string(), fs::read(&path)?);
            }
        }
    }
    Ok(all)
}

/// Writes a file of keys as programs that speak S3 read it.
///
/// # Errors
/// It cannot be written.
pub fn write_keys(path: &Path, [id, secret]: [&str; 2]) -> Result<()> {
    let text = format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n");
    fs::write(path, text).with_context(|| path.display().to_string())
}
