//! Kernel modules: those that the tests need, with those that these need, in the order in which they are loaded.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use object::{Object as _, ObjectSection as _};

use crate::process;

/// Interfaces that tests make, and the qdisc and classifier that carry programs at tc before Linux 6.6.
const WANTED: [&str; 9] = ["tcp_diag", "veth", "dummy", "8021q", "vrf", "vxlan", "tun", "sch_ingress", "cls_bpf"];

/// A module's name and its ELF file.
pub(super) type Module = (String, Vec<u8>);

/// The wanted modules below `folder`, each after those that it needs. What is not there is taken for built in.
pub(super) fn wanted(folder: &Path) -> Result<Vec<Module>> {
    let mut files = BTreeMap::new();
    find(folder, &mut files)?;
    let mut modules = Vec::new();
    for name in WANTED {
        add(name, &files, &mut modules)?;
    }
    Ok(modules)
}

fn add(name: &str, files: &BTreeMap<String, PathBuf>, modules: &mut Vec<Module>) -> Result<()> {
    let Some(file) = files.get(name) else { return Ok(()) };
    if modules.iter().any(|(there, _)| there == name) {
        return Ok(());
    }
    let module = read(file)?;
    let needed = dependencies(&module).with_context(|| format!("{} is no module", file.display()))?;
    for name in needed {
        add(&name, files, modules)?;
    }
    modules.push((name.to_owned(), module));
    Ok(())
}

/// Every module below `folder`, by its name: in file names, `-` stands for `_` too.
fn find(folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, files)?;
        } else if let Some((name, _)) = path.file_name().and_then(|name| name.to_str()?.split_once(".ko")) {
            files.insert(name.replace('-', "_"), path);
        }
    }
    Ok(())
}

/// The module, decompressed.
fn read(file: &Path) -> Result<Vec<u8>> {
    let tool = match file.extension().and_then(|extension| extension.to_str()) {
        Some("ko") => return fs::read(file).with_context(|| format!("cannot read {}", file.display())),
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => bail!("{} is compressed in a way that is not known here", file.display()),
    };
    process::read_octets(Command::new(tool).args(["--decompress", "--stdout"]).arg(file))
}

/// What the module says that it needs: depmod, which would know too, runs only where a kernel is installed.
fn dependencies(module: &[u8]) -> Result<Vec<String>> {
    let elf = object::File::parse(module)?;
    let facts = elf.section_by_name(".modinfo").context("no section .modinfo")?.data()?;
    let depends = facts.split(|octet| *octet == 0).find_map(|fact| fact.strip_prefix(b"depends="));
    let names = String::from_utf8_lossy(depends.unwrap_or_default()).replace('-', "_");
    Ok(names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect())
}
