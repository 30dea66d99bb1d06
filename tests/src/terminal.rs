//! A terminal that can be read: a tmux server of the test's own, which ends when dropped.

use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::process::{patience, read};

/// A window in which a command runs.
pub struct Terminal {
    folder: TempDir,
}

impl Terminal {
    /// A window of so many columns and lines, which stays when `command` has ended.
    ///
    /// # Errors
    /// tmux fails.
    pub fn start(columns: usize, lines: usize, command: &str) -> Result<Self> {
        // Before the server is: it ends also when something below fails.
        let terminal = Self { folder: TempDir::new()? };
        let size = ["-x", &columns.to_string(), "-y", &lines.to_string()];
        let options = ["set-option", "-g", "remain-on-exit", "on", ";", "new-session", "-d"];
        read(terminal.tmux().args(options).args(size).arg(command))?;
        Ok(terminal)
    }

    fn tmux(&self) -> Command {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(self.folder.path().join("socket")).args(["-f", "/dev/null"]);
        command
    }

    /// What is on the screen.
    ///
    /// # Errors
    /// tmux fails.
    pub fn screen(&self) -> Result<Vec<String>> {
        Ok(read(self.tmux().args(["capture-pane", "-p"]))?.lines().map(|line| line.trim_end().to_owned()).collect())
    }

    /// A screen on which all of `texts` are.
    ///
    /// # Errors
    /// There is none in time.
    pub fn wait_for(&self, texts: &[&str]) -> Result<Vec<String>> {
        let on = |screen: &[String], text: &str| screen.iter().any(|line| line.contains(text));
        self.wait_until(&format!("{texts:?}"), |screen| texts.iter().all(|text| on(screen, text)))
    }

    /// A screen for which `wanted` holds.
    ///
    /// # Errors
    /// There is none in time.
    pub fn wait_until(&self, what: &str, wanted: impl Fn(&[String]) -> bool) -> Result<Vec<String>> {
        let end = Instant::now() + patience();
        loop {
            let screen = self.screen()?;
            if wanted(&screen) {
                return Ok(screen);
            }
            ensure!(Instant::now() < end, "not on the screen: {what}\n{}", screen.join("\n"));
            sleep(Duration::from_millis(50));
        }
    }

    /// Presses a key, by tmux's name of it, or several that are typed.
    ///
    /// # Errors
    /// tmux fails.
    pub fn press(&self, key: &str) -> Result<()> {
        read(self.tmux().args(["send-keys", key])).map(drop)
    }

    /// Gives the window another size.
    ///
    /// # Errors
    /// tmux fails.
    pub fn resize(&self, columns: usize, lines: usize) -> Result<()> {
        let size = ["-x", &columns.to_string(), "-y", &lines.to_string()];
        read(self.tmux().arg("resize-window").args(size)).map(drop)
    }

    /// Whether a program has the alternate screen, and whether the cursor is seen.
    ///
    /// # Errors
    /// tmux fails.
    pub fn alternate_and_cursor(&self) -> Result<(bool, bool)> {
        let flags = read(self.tmux().args(["display-message", "-p", "#{alternate_on} #{cursor_flag}"]))?;
        let (alternate, cursor) = flags.trim().split_once(' ').with_context(|| flags.clone())?;
        Ok((alternate == "1", cursor == "1"))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may not have started.
        let _ = self.tmux().arg("kill-server").output();
    }
}

/// Makes sure that lines are no longer than `widest`, and have nothing in them that garbles a terminal.
///
/// # Errors
/// One is.
pub fn must_be_clean(lines: &[String], widest: usize) -> Result<()> {
    for line in lines {
        ensure!(line.chars().count() <= widest, "longer than {widest}: {line}");
        let odd = line.chars().find(|character| character.is_control() || *character == '\u{fffd}');
        ensure!(odd.is_none(), "{odd:?} in {line:?}");
    }
    Ok(())
}
