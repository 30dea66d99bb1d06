//! Whether findings are looked for, and the file that says how: TOML with a table for each detector.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use crate::detect::Settings;

/// Whether findings are looked for, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct FindingsConfig {
    /// How; not at all without.
    pub settings: Option<Arc<Settings>>,
    /// The file that says so.
    pub path: Option<PathBuf>,
}

impl Default for FindingsConfig {
    fn default() -> Self {
        Self { settings: Some(Arc::default()), path: None }
    }
}

impl FindingsConfig {
    /// What a flag or the configuration's file means: a path, or `none`.
    ///
    /// # Errors
    /// The file cannot be read, or says something that it may not.
    pub(super) fn of(path: Option<PathBuf>) -> Result<Self, FindingsFileError> {
        match path {
            None => Ok(Self::default()),
            Some(path) if path.as_os_str() == "none" => Ok(Self { settings: None, path: None }),
            Some(path) => Ok(Self { settings: Some(Arc::new(read(&path)?)), path: Some(path) }),
        }
    }
}

/// As in the configuration's file.
impl fmt::Display for FindingsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.settings, &self.path) {
            (None, _) => f.write_str("findings = \"none\""),
            (Some(_), Some(path)) => write!(f, "findings = {:?}", path.display().to_string()),
            (Some(_), None) => f.write_str("# findings: with the defaults of all detectors"),
        }
    }
}

/// The file cannot be used.
#[derive(Debug, Error)]
#[error("{}{}: {problem}", path.display(), place(*.at))]
pub struct FindingsFileError {
    path: PathBuf,
    /// Line and column, from 1 on.
    at: Option<(usize, usize)>,
    problem: String,
}

fn place(at: Option<(usize, usize)>) -> String {
    at.map(|(line, column)| format!(":{line}:{column}")).unwrap_or_default()
}

/// Reads the settings of the detectors.
///
/// # Errors
/// The file cannot be read, or says something that it may not.
pub fn read(path: &Path) -> Result<Settings, FindingsFileError> {
    let text = std::fs::read_to_string(path).map_err(|error| FindingsFileError {
        path: path.to_owned(),
        at: None,
        problem: error.to_string(),
    })?;
    parse(path, &text)
}

fn parse(path: &Path, text: &str) -> Result<Settings, FindingsFileError> {
    toml::from_str(text).map_err(|error| FindingsFileError {
        path: path.to_owned(),
        at: error.span().map(|span| line_and_column(text, span.start)),
        problem: error.message().lines().collect::<Vec<_>>().join(", "),
    })
}

fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Settings, String> {
        parse(Path::new("findings.toml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_said_is_as_it_always_is() {
        assert_eq!(parsed(""), Ok(Settings::default()));
        let settings = parsed("[scan]\nports = 30\nwithin = \"10min\"").expect("settings");
        assert_eq!((settings.scan.ports, settings.scan.within.0, settings.scan.hosts), (30, 600_000, 25));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (text, expected) in [
            ("[scan]\nporst = 3", "findings.toml:2:1: unknown field `porst`"),
            ("[scan]\nwithin = \"soon\"", "findings.toml:2:10: \"soon\" is not a time"),
            ("[scan]\nwithin = 5", "findings.toml:2:10: invalid type: integer `5`"),
            ("inside = [\"10.0.0.0/33\"]", "findings.toml:1:11: invalid IP address"),
            ("[scan", "findings.toml:1:6: "),
        ] {
            let error = parsed(text).expect_err(text);
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
