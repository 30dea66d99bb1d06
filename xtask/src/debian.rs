//! Debian's archive, read through apt: packages of any suite are downloaded and unpacked, and nothing is installed.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;

/// One suite of the archive, in a folder with lists of its own: the system's apt neither sees nor feels it.
pub(crate) struct Suite {
    folder: PathBuf,
}

impl Suite {
    /// Reads what `suite` offers. The mirror is the one that this system's apt uses.
    pub(crate) fn open(suite: &str, folder: &Path) -> Result<Self> {
        if !process::on_path("apt-get") || !process::on_path("dpkg-deb") {
            bail!("this is no Debian: it has no apt-get and dpkg-deb");
        }
        fs::create_dir_all(folder.join("lists/partial"))
            .with_context(|| format!("cannot create {}", folder.display()))?;
        fs::write(folder.join("sources.list"), format!("deb {} {suite} main\n", mirror()?))?;
        let suite = Self { folder: folder.to_path_buf() };
        process::read(suite.apt("apt-get").arg("update"))?;
        Ok(suite)
    }

    /// The versions of a package, the newest first.
    pub(crate) fn versions(&self, package: &str) -> Result<Vec<String>> {
        let offered = process::read(self.apt("apt-cache").args(["madison", package]))?;
        Ok(offered.lines().filter_map(|line| Some(line.split('|').nth(1)?.trim().to_owned())).collect())
    }

    /// `package` and what it depends on, directly or not, as far as `follow` says of a package's name.
    pub(crate) fn closure(&self, package: &str, follow: impl Fn(&str) -> bool) -> Result<BTreeSet<String>> {
        let mut packages = BTreeSet::new();
        let mut open = vec![package.to_owned()];
        while let Some(package) = open.pop() {
            let facts = process::read(self.apt("apt-cache").args(["show", "--no-all-versions", &package]))?;
            let depends = facts.lines().filter_map(|line| line.strip_prefix("Depends: "));
            let names = depends.flat_map(|line| line.split([',', '|'])).filter_map(|one| one.split_whitespace().next());
            open.extend(names.filter(|name| follow(name) && !packages.contains(*name)).map(str::to_owned));
            packages.insert(package);
        }
        Ok(packages)
    }

    /// Downloads a package, `name` or `name=version`, and unpacks it into `place`.
    pub(crate) fn unpack(&self, package: &str, place: &Path) -> Result<()> {
        let downloads = self.folder.join("download");
        fs::create_dir_all(&downloads)?;
        process::read(self.apt("apt-get").arg("download").arg(package).current_dir(&downloads))?;
        let file = fs::read_dir(&downloads)?.next().context("apt-get downloaded no package")??.path();
        process::run(Command::new("dpkg-deb").arg("--extract").arg(&file).arg(place))?;
        fs::remove_dir_all(&downloads).with_context(|| format!("cannot remove {}", downloads.display()))
    }

    /// A world of its own: one source, its own lists, no cache of package records that the system would see.
    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("-qq");
        for (name, file) in [("Dir::Etc::SourceList", "sources.list"), ("Dir::State::Lists", "lists")] {
            let mut setting = OsString::from(format!("{name}="));
            setting.push(self.folder.join(file));
            command.arg("-o").arg(setting);
        }
        for setting in [
            "Dir::Etc::SourceParts=-",
            "Dir::Cache::pkgcache=",
            "Dir::Cache::srcpkgcache=",
            // Else a mirror that cannot be reached is a warning, and what is missing later an error without its reason.
            "APT::Update::Error-Mode=any",
            // Else apt complains that its own user cannot write here.
            "APT::Sandbox::User=root",
        ] {
            command.args(["-o", setting]);
        }
        command
    }
}

/// The mirror of Debian that this system's apt uses.
fn mirror() -> Result<String> {
    let wanted = ["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Label: Debian"];
    let mirrors = process::read(Command::new("apt-get").args(wanted))?;
    let mirror = mirrors.lines().next().context("apt knows no Debian mirror: run `apt-get update` first")?;
    Ok(mirror.to_owned())
}
