//! A file that is there whole, or as it was before.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Whether there is a folder for it.
///
/// # Errors
/// There is none, or the path is a folder itself.
pub(super) fn check(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let folder = folder(path);
    if fs::metadata(&folder)?.is_dir() { Ok(()) } else { Err(io::ErrorKind::NotADirectory.into()) }
}

/// Writes it beside `path`, and puts it in the place of what is there. A link keeps leading to it, and what is no file, such as
/// /dev/stderr or a pipe, is written to.
///
/// # Errors
/// It cannot be written; then what is there stays as it is.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    let old = match fs::metadata(path) {
        Ok(old) if !old.is_file() => return OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes()),
        Ok(old) => Some(old),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let path = if old.is_some() { fs::canonicalize(path)? } else { path.to_owned() };
    let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
    let new = folder(&path).join(format!(".{}.{}.new", name.to_string_lossy(), std::process::id()));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).open(&new)?;
        if let Some(old) = old {
            file.set_permissions(old.permissions())?;
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &path)
    })();
    if written.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::AlreadyExists) {
        let _ = fs::remove_file(&new);
    }
    written
}

fn folder(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).expect("a folder").flatten();
        names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_file_is_exchanged_whole_with_its_permissions_and_through_a_link() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, link) = (folder.path().join("a.html"), folder.path().join("link"));
        write(&file, "old").expect("a new file");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("permissions");
        symlink("a.html", &link).expect("a link");
        write(&link, "new").expect("a file");
        assert_eq!(fs::read_to_string(&file).expect("a file"), "new");
        assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o640);
        assert!(fs::symlink_metadata(&link).expect("a link").is_symlink());
        assert_eq!(names(folder.path()).len(), 2);
    }

    #[test]
    fn what_is_no_file_stays_what_it_is() {
        write(Path::new("/dev/null"), "text").expect("it takes all");
        assert!(!fs::metadata("/dev/null").expect("a device").is_file());
    }

    #[test]
    fn where_there_is_no_folder_nothing_is_begun() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(check(&folder.path().join("none/a.html")).is_err());
        assert!(check(folder.path()).is_err());
        fs::write(folder.path().join("file"), "").expect("a file");
        assert!(check(&folder.path().join("file/a.html")).is_err());
        assert!(check(&folder.path().join("a.html")).is_ok() && check(Path::new("a.html")).is_ok());
        assert_eq!(names(folder.path()), ["file"]);
    }
}
