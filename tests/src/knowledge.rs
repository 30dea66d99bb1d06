//! Files from which the daemon knows who is where.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use ipnet::IpNet;
use mmdb_writer::{Value, Writer};
use tempfile::TempDir;

/// A folder with such files, each of which is put there as a whole.
pub struct Knowledge {
    folder: TempDir,
}

/// A network, the number of its autonomous system, and its country.
pub type Row<'a> = (&'a str, u32, &'a str);

impl Knowledge {
    /// An empty folder.
    ///
    /// # Errors
    /// There is no room.
    pub fn new() -> Result<Self> {
        Ok(Self { folder: TempDir::new()? })
    }

    /// Where a file is.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The same as an argument.
    #[must_use]
    pub fn argument(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Puts a file there, in place of one that is there.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn put(&self, name: &str, octets: &[u8]) -> Result<()> {
        let unfinished = self.path("unfinished");
        fs::write(&unfinished, octets)?;
        fs::rename(&unfinished, self.path(name))?;
        Ok(())
    }

    /// Puts a database there, in the way in which MaxMind makes them.
    ///
    /// # Errors
    /// It cannot be made or written.
    pub fn put_database(&self, name: &str, rows: &[Row<'_>]) -> Result<()> {
        self.put(name, &database(rows)?)
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// A database with these networks.
///
/// # Errors
/// One is no network.
pub fn database(rows: &[Row<'_>]) -> Result<Vec<u8>> {
    let mut writer = Writer::new("Test");
    for (network, number, country) in rows {
        let network: IpNet = network.parse()?;
        let value = Value::map([
            ("autonomous_system_number", Value::from(*number)),
            ("autonomous_system_organization", Value::from(format!("Network {number}"))),
            ("country", Value::map([("iso_code", Value::from(*country))])),
            ("city", Value::map([("names", Value::map([("en", Value::from(format!("Capital of {country}")))]))])),
        ]);
        writer.insert_value(network, value).with_context(|| network.to_string())?;
    }
    writer.to_bytes().context("a database")
}
