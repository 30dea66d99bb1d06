//! The files that detectors are handed: indicator lists and approved devices. They are read at the start, looked at every few seconds, and
//! read anew when they have changed. A new one that cannot be used changes nothing.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use thiserror::Error;
use tracing::{error, info, warn};

use super::super::device::Approvals;
use super::super::handed::Handed;
use super::super::indicator::{self, IndicatorSet, ListSettings, Parsed};
use super::super::{Outside, Settings};

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// A file cannot be used.
#[derive(Debug, Error)]
#[error("{key} {}: {problem}", path.display())]
pub struct FilesError {
    /// The table of the settings by which it is named.
    key: &'static str,
    path: PathBuf,
    problem: String,
}

/// What is looked at, and where it is put when it has changed.
#[derive(Debug)]
pub struct Files {
    lists: Vec<ListSettings>,
    approvals: Option<PathBuf>,
    stamps: Vec<Option<Stamp>>,
    /// As they were last handed on.
    indicators: Arc<IndicatorSet>,
    new_indicators: Handed<Arc<IndicatorSet>>,
    new_approvals: Handed<Approvals>,
}

/// What tells that a file has changed, or who may read it: device, inode, size, time of change.
type Stamp = (u64, u64, u64, i64, i64);

impl Files {
    /// Reads all of them.
    ///
    /// # Errors
    /// The first that cannot be used.
    pub fn open(settings: &Settings) -> Result<(Self, Outside), FilesError> {
        let mut files = Self {
            lists: settings.indicators.list.clone(),
            approvals: settings.device.approvals.clone(),
            stamps: Vec::new(),
            indicators: Arc::default(),
            new_indicators: Handed::default(),
            new_approvals: Handed::default(),
        };
        files.stamps = files.stamps();
        files.indicators = Arc::new(files.read_lists()?);
        for list in files.indicators.lists() {
            info!("indicators: {}: {} entries", list.name, list.entries);
        }
        let outside = Outside {
            indicators: Arc::clone(&files.indicators),
            new_indicators: files.new_indicators.clone(),
            approvals: files.read_approvals()?,
            new_approvals: files.new_approvals.clone(),
            ..Outside::default()
        };
        Ok((files, outside))
    }

    /// Looks at them from here on, on a thread that ends with the process; nothing where there are none.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn watch(mut self) -> io::Result<()> {
        if self.lists.is_empty() && self.approvals.is_none() {
            return Ok(());
        }
        thread::Builder::new().name("lists".into()).spawn(move || {
            loop {
                thread::sleep(LOOK_EVERY);
                self.look();
            }
        })?;
        Ok(())
    }

    /// Reads what has changed.
    fn look(&mut self) {
        let stamps = self.stamps();
        if stamps == self.stamps {
            return;
        }
        let (before, now) = (self.stamps.split_at(self.lists.len()), stamps.split_at(self.lists.len()));
        let (lists_differ, approvals_differ) = (before.0 != now.0, before.1 != now.1);
        if lists_differ {
            self.read_lists_again();
        }
        if approvals_differ {
            match self.read_approvals() {
                Ok(Some(approvals)) => {
                    info!("approved devices were read again: {}", approvals.len());
                    self.new_approvals.put(approvals);
                }
                Ok(None) => {}
                Err(problem) => error!("approved devices stay as they were: {problem}"),
            }
        }
        self.stamps = stamps;
    }

    /// Those of the lists, then that of the approvals.
    fn stamps(&self) -> Vec<Option<Stamp>> {
        self.lists.iter().map(|list| &list.file).chain(&self.approvals).map(|path| stamp(path)).collect()
    }

    fn read_lists(&self) -> Result<IndicatorSet, FilesError> {
        let read = |list: &ListSettings| Ok((list.clone(), read_list(list)?));
        Ok(IndicatorSet::of(self.lists.iter().map(read).collect::<Result<Vec<_>, FilesError>>()?))
    }

    /// One that cannot be used stays as it was, and the others do not.
    fn read_lists_again(&mut self) {
        let mut broken = 0;
        let read = |(at, list): (usize, &ListSettings)| {
            let parsed = read_list(list).or_else(|problem| {
                broken += 1;
                error!("{problem}; what was read of it before stays in use");
                self.indicators.taken_out(at).ok_or(problem)
            });
            Some((list.clone(), parsed.ok()?))
        };
        let lists: Vec<(ListSettings, Parsed)> = self.lists.iter().enumerate().filter_map(read).collect();
        if broken == self.lists.len() {
            return;
        }
        self.indicators = Arc::new(IndicatorSet::of(lists));
        let entries: u64 = self.indicators.lists().iter().map(|list| list.entries).sum();
        info!("indicators were read again: {} lists, {entries} entries", self.lists.len() - broken);
        self.new_indicators.put(Arc::clone(&self.indicators));
    }

    fn read_approvals(&self) -> Result<Option<Approvals>, FilesError> {
        let Some(path) = &self.approvals else { return Ok(None) };
        let failed = |problem: String| FilesError { key: "device.approvals", path: path.clone(), problem };
        let text = fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        Approvals::parse(&text).map(Some).map_err(failed)
    }
}

/// Reads an indicator list, and says which of its lines are not understood.
///
/// # Errors
/// The file cannot be read, or nothing in it is an address.
pub fn read_list(list: &ListSettings) -> Result<Parsed, FilesError> {
    let failed = |problem: String| FilesError { key: "indicators.list", path: list.file.clone(), problem };
    let octets = fs::read(&list.file).map_err(|error| failed(error.to_string()))?;
    let parsed = indicator::parse(&octets, list.minimum_score).map_err(|error| failed(error.to_string()))?;
    if parsed.refused > 0 {
        let first = parsed.refusals.first().map(|first| format!("; the first: {first}")).unwrap_or_default();
        warn!("{}: {} lines are not understood and are left out{first}", list.file.display(), parsed.refused);
    }
    Ok(parsed)
}

fn stamp(path: &Path) -> Option<Stamp> {
    let file = fs::metadata(path).ok()?;
    Some((file.dev(), file.ino(), file.len(), file.ctime(), file.ctime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::super::super::flow::Ip;
    use super::*;

    #[test]
    fn lists_are_read_again_when_they_change_and_stay_when_they_are_broken() {
        let folder = tempfile::tempdir().expect("a folder");
        let (list, devices) = (folder.path().join("list.txt"), folder.path().join("devices.txt"));
        fs::write(&list, "192.0.2.1\n").expect("written");
        fs::write(&devices, "00:1b:21:0a:0b:0c printer\n").expect("written");
        let text = format!("[[indicators.list]]\nfile = {list:?}\n[device]\napprovals = {devices:?}\n");
        let settings: Settings = toml::from_str(&text).expect("settings");
        let (mut files, outside) = Files::open(&settings).expect("files");
        let ip = |text: &str| Ip::from(text.parse::<std::net::IpAddr>().expect("an address"));
        assert!(outside.indicators.has(ip("192.0.2.1")) && outside.approvals.is_some_and(|all| all.len() == 1));
        files.look();
        assert!(outside.new_indicators.take().is_none() && outside.new_approvals.take().is_none());

        fs::write(&list, "192.0.2.1\n198.51.100.0/24\n").expect("written");
        files.look();
        let newer = outside.new_indicators.take().expect("a newer list");
        assert!(newer.has(ip("198.51.100.9")) && outside.new_approvals.take().is_none());

        fs::write(&list, "nothing of the kind, really\n").expect("written");
        fs::write(&devices, "00:1b:21:0a:0b:0c printer\n10.0.0.7 camera\n").expect("written");
        files.look();
        assert!(outside.new_indicators.take().is_none());
        assert!(outside.new_approvals.take().is_some_and(|all| all.len() == 2));
        assert!(Files::open(&settings).is_err_and(|error| error.to_string().contains("list.txt")));
    }

    #[test]
    fn a_broken_list_stays_as_it_was_and_keeps_no_other_from_being_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let lists = ["a", "b", "c"].map(|name| folder.path().join(name));
        for (list, text) in
            lists.iter().zip(["192.0.2.0/24 # net\n192.0.2.9 # host\n", "192.0.2.9\n", "198.51.100.1\n"])
        {
            fs::write(list, text).expect("written");
        }
        let text: String = lists.iter().map(|list| format!("[[indicators.list]]\nfile = {list:?}\n")).collect();
        let settings: Settings = toml::from_str(&text).expect("settings");
        let (mut files, outside) = Files::open(&settings).expect("files");
        let said = |set: &IndicatorSet, address: &str| {
            let address: std::net::IpAddr = address.parse().expect("an address");
            set.look_up(address.into()).iter().map(|by| format!("{} {}", by.list.name, by.why())).collect::<Vec<_>>()
        };
        assert_eq!(said(&outside.indicators, "192.0.2.9"), ["a host", "b "]);

        // One is broken, one is gone, one is newer; twice, so that what stays stays again.
        for newest in ["198.51.100.2", "198.51.100.33"] {
            fs::write(&lists[0], "nothing of the kind, really\n").expect("written");
            let _ = fs::remove_file(&lists[1]);
            fs::write(&lists[2], format!("{newest}\n")).expect("written");
            files.look();
            let set = outside.new_indicators.take().expect("newer lists");
            assert_eq!(said(&set, "192.0.2.9"), ["a host", "b "]);
            assert_eq!(
                (said(&set, "192.0.2.8"), said(&set, newest)),
                (vec!["a net".to_owned()], vec!["c ".to_owned()])
            );
            assert_eq!(said(&set, "198.51.100.1"), Vec::<String>::new());
        }

        fs::write(&lists[0], "192.0.2.77\n").expect("written");
        fs::write(&lists[1], "192.0.2.78\n").expect("written");
        files.look();
        let set = outside.new_indicators.take().expect("newer lists");
        let all = ["192.0.2.9", "192.0.2.77", "192.0.2.78", "198.51.100.33"].map(|address| said(&set, address).len());
        assert_eq!(all, [0, 1, 1, 1]);
    }
}
