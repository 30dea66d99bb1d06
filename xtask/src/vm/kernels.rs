//! The kernels: Debian's images, downloaded and unpacked once.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::debian::Suite;
use crate::workspace;

/// A kernel to test on: what we call it, and the suite of Debian that has it.
pub(super) struct Kernel {
    pub(super) name: &'static str,
    pub(super) suite: &'static str,
}

/// Before multi-buffer XDP and BPF atomics; before tcx; a long-term kernel with tcx; the newest that Debian backports.
pub(super) const KERNELS: [Kernel; 4] = [
    Kernel { name: "5.10", suite: "bullseye" },
    Kernel { name: "6.1", suite: "bookworm" },
    Kernel { name: "6.12", suite: "bookworm-backports" },
    Kernel { name: "newest", suite: "trixie-backports" },
];

/// The meta package that depends on a suite's current kernel.
const META_PACKAGE: &str = "linux-image-amd64";

/// The packages below it that hold the kernel and its modules: one until Linux 6.12, three since.
const WITH_FILES: [&str; 3] = ["linux-image-", "linux-binary-", "linux-modules-"];

/// A kernel's files.
pub(super) struct Image {
    /// Like `6.1.0-50-amd64`.
    pub(super) release: String,
    pub(super) vmlinuz: PathBuf,
    pub(super) modules: PathBuf,
}

impl Kernel {
    /// The kernel as it was unpacked before.
    pub(super) fn cached(&self) -> Result<Option<Image>> {
        let place = self.place()?;
        if place.is_dir() { Image::find(&place).map(Some) } else { Ok(None) }
    }

    /// The kernel, downloaded unless it was before.
    pub(super) fn get(&self) -> Result<Image> {
        if let Some(image) = self.cached()? {
            return Ok(image);
        }
        println!("downloading the kernel of Debian {}", self.suite);
        let place = self.place()?;
        // A folder of its own until it is whole.
        let scratch = folder()?.join(format!("download-{}", self.name));
        let outcome = self.download(&scratch, &place);
        if scratch.exists() {
            fs::remove_dir_all(&scratch).with_context(|| format!("cannot remove {}", scratch.display()))?;
        }
        outcome?;
        Image::find(&place)
    }

    fn download(&self, scratch: &Path, place: &Path) -> Result<()> {
        let archive = Suite::open(self.suite, &scratch.join("apt"))?;
        let unpacked = scratch.join("unpacked");
        for package in archive.closure(META_PACKAGE, |name| WITH_FILES.iter().any(|start| name.starts_with(start)))? {
            archive.unpack(&package, &unpacked)?;
        }
        fs::create_dir_all(place.parent().unwrap_or(place))?;
        fs::rename(&unpacked, place).with_context(|| format!("cannot create {}", place.display()))
    }

    fn place(&self) -> Result<PathBuf> {
        Ok(folder()?.join("kernels").join(self.name))
    }
}

/// Where all that this command writes is.
pub(super) fn folder() -> Result<PathBuf> {
    Ok(workspace::target()?.join("vm"))
}

impl Image {
    /// Debian moves things about: modules below `/lib` or `/usr/lib`, the kernel in `/boot` or among its modules.
    fn find(unpacked: &Path) -> Result<Self> {
        let modules = ["usr/lib/modules", "lib/modules"]
            .iter()
            .find_map(|folder| fs::read_dir(unpacked.join(folder)).ok()?.next()?.ok())
            .with_context(|| format!("no kernel modules in {}", unpacked.display()))?
            .path();
        let release = modules.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let vmlinuz = [unpacked.join("boot").join(format!("vmlinuz-{release}")), modules.join("vmlinuz")]
            .into_iter()
            .find(|file| file.is_file())
            .with_context(|| format!("no kernel {release} in {}", unpacked.display()))?;
        Ok(Self { release, vmlinuz, modules })
    }
}
