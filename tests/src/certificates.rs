//! Certificates of a test's own, made by openssl in a folder that is removed when dropped.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::process::read;

/// The name that the collector's certificate is for, beside 127.0.0.1.
pub const NAME: &str = "collector.test";

/// Two authorities; of the first a collector's certificate and an exporter's, of the other one nobody knows.
pub struct Certificates {
    folder: TempDir,
}

impl Certificates {
    /// Makes them: `ca`, `server` and `client` of one authority, `other-ca` and `other-client` of another.
    ///
    /// # Errors
    /// openssl fails.
    pub fn new() -> Result<Self> {
        let all = Self { folder: TempDir::new()? };
        let names = format!("subjectAltName=DNS:{NAME},IP:127.0.0.1");
        for (ca, ends) in [("ca", &["server", "client"][..]), ("other-ca", &["other-client"])] {
            all.make(ca, &["-addext", "basicConstraints=critical,CA:TRUE"])?;
            let [certificate, key] = ["pem", "key"].map(|kind| all.path(ca, kind));
            let [certificate, key] = [&certificate, &key].map(|path| path.to_str().context("a path in UTF-8"));
            let signed = ["-CA", certificate?, "-CAkey", key?, "-addext", "basicConstraints=critical,CA:FALSE"];
            for end in ends {
                all.make(end, &[&signed[..], &["-addext", &names]].concat())?;
            }
        }
        Ok(all)
    }

    fn make(&self, name: &str, more: &[&str]) -> Result<()> {
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
        command.args(["-days", "2", "-subj", &format!("/CN={name}"), "-out"]).arg(self.path(name, "pem"));
        read(command.arg("-keyout").arg(self.path(name, "key")).args(more)).map(drop)
    }

    /// The file of a certificate (`pem`) or of its private key (`key`).
    #[must_use]
    pub fn path(&self, name: &str, kind: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.{kind}"))
    }

    /// The same as text.
    #[must_use]
    pub fn text(&self, name: &str, kind: &str) -> String {
        self.path(name, kind).to_string_lossy().into_owned()
    }
}
