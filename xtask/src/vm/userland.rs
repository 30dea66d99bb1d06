//! What runs in a virtual machine: a shell, the tools that the tests call, the daemon, the tests, and what these read.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::archive::Archive;
use super::modules::Module;
use crate::{process, workspace};

/// A test program, and its arguments.
pub(super) type Test = (&'static str, &'static str);

/// The test programs that depend on the kernel, and which of their tests. Collectors, captures and terminals do not.
pub(super) const PLAN: [Test; 15] = [
    ("kernels", ""),
    ("attach", ""),
    ("egress", ""),
    ("routes", ""),
    ("tunnels", ""),
    ("selection", ""),
    ("flows", ""),
    ("parity", ""),
    ("summary", "a_pipe"),
    ("wrong_inputs", ""),
    ("load", "--skip sixty_five_thousand"),
    ("accuracy", ""),
    ("flood", ""),
    ("reload", ""),
    ("clock", ""),
];

/// Programs of this system that the tests call. Not tshark: it is larger than all else together.
const TOOLS: [&str; 9] = ["ip", "tc", "ss", "ping", "ethtool", "setpriv", "iperf3", "nfcapd", "nfdump"];

/// Where the shell script that is the first process mounts something or puts something.
const FOLDERS: [&str; 7] = ["/proc", "/sys", "/dev", "/tmp", "/run", "/busybox", "/modules"];

/// Captures up to this size come along: `parity` reads them frame by frame.
const LARGEST_CAPTURE: u64 = 256 << 10;

/// Everything but the kernel's modules: built and found once for all kernels.
pub(super) struct Userland {
    /// A line for each test program: its name and arguments.
    plan: String,
    files: Vec<(PathBuf, PathBuf)>,
}

impl Userland {
    /// Builds the daemon and the tests of the `plan` and finds the rest; `scratch` is a folder for stripped copies.
    pub(super) fn build(plan: &[Test], scratch: &Path) -> Result<Self> {
        let lines = plan.iter().map(|(test, arguments)| format!("{test} {arguments}\n"));
        let mut userland = Self { plan: lines.collect(), files: Vec::new() };
        userland.program(&process::find("busybox").context("not installed: busybox")?, "/bin/busybox")?;
        for tool in TOOLS {
            // What is missing here, tests miss there and say so.
            if let Some(path) = process::find(tool) {
                userland.program(&path, &format!("/usr/bin/{tool}"))?;
            }
        }
        userland.program(&workspace::build_whole_daemon()?, "/flowprobe/flowprobe")?;
        let tests = test_programs()?;
        for (name, _) in plan {
            let (_, path) = tests.iter().find(|(test, _)| test == name).with_context(|| format!("no test {name}"))?;
            // With its debug information each would be as large as all else together.
            let stripped = scratch.join(name);
            process::run(Command::new("strip").arg("--strip-debug").arg("-o").arg(&stripped).arg(path))?;
            userland.program(&stripped, &format!("/flowprobe/tests/{name}"))?;
        }
        userland.what_tests_read()?;
        Ok(userland)
    }

    /// Writes the first file system of a kernel.
    pub(super) fn write(&self, file: &Path, modules: &[Module]) -> Result<()> {
        let output = File::create(file).with_context(|| format!("cannot create {}", file.display()))?;
        let mut archive = Archive::new(BufWriter::new(output));
        archive.file(Path::new("/init"), include_bytes!("init.sh"))?;
        archive.file(Path::new("/flowprobe/plan"), self.plan.as_bytes())?;
        for folder in FOLDERS {
            archive.folder(Path::new(folder))?;
        }
        // Tests find files from here, by way of `..`.
        archive.folder(&workspace::root().join("tests"))?;
        for (there, here) in &self.files {
            let content = fs::read(here).with_context(|| format!("cannot read {}", here.display()))?;
            archive.file(there, &content)?;
        }
        for (number, (name, module)) in modules.iter().enumerate() {
            archive.file(Path::new(&format!("/modules/{number:02}-{name}.ko")), module)?;
        }
        archive.finish()?;
        Ok(())
    }

    /// A program and the libraries that it needs.
    fn program(&mut self, path: &Path, place: &str) -> Result<()> {
        self.add(path.to_path_buf(), PathBuf::from(place));
        for library in libraries(path)? {
            self.add(library.clone(), library);
        }
        Ok(())
    }

    fn add(&mut self, here: PathBuf, there: PathBuf) {
        if self.files.iter().all(|(place, _)| *place != there) {
            self.files.push((there, here));
        }
    }

    /// The kernel objects, and captures where they lie beside the checkout, at the paths where tests look for them.
    fn what_tests_read(&mut self) -> Result<()> {
        let root = workspace::root();
        let mut files = files_in(&root.join("flowprobe-ebpf/object"))?;
        // By this path and no other: `shared` may be a link.
        let captures = root.parent().unwrap_or(&root).join("shared/corpus/packets");
        if captures.exists() {
            let small = |file: &PathBuf| fs::metadata(file).is_ok_and(|facts| facts.len() <= LARGEST_CAPTURE);
            files.extend(files_in(&captures)?.into_iter().filter(small));
        }
        for file in files {
            self.add(file.clone(), file);
        }
        Ok(())
    }
}

fn files_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

/// The shared libraries of a program, and the loader: none if it is static.
fn libraries(program: &Path) -> Result<BTreeSet<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("cannot start `ldd`")?;
    let said = String::from_utf8_lossy(&output.stdout);
    if said.contains("not found") {
        bail!("a library of {} is missing: {}", program.display(), said.trim());
    }
    // Lines like `libc.so.6 => /lib/…/libc.so.6 (0x…)` and `/lib64/ld-….so.2 (0x…)`; a static program has none.
    let paths = said.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    Ok(paths.map(PathBuf::from).collect())
}

/// The end-to-end tests, compiled: name and program of each.
fn test_programs() -> Result<Vec<(String, PathBuf)>> {
    let mut build = workspace::cargo_of_all("test");
    build.args(["--test", "*", "--no-run", "--message-format=json", "--target-dir"]);
    let messages = process::read(build.arg(workspace::target()?))?;
    let programs = messages.lines().filter_map(|message| {
        let program = PathBuf::from(json_text(message, "executable")?);
        // A file name like `attach-0123456789abcdef`.
        let name = program.file_name().and_then(OsStr::to_str)?.rsplit_once('-')?.0.to_owned();
        Some((name, program))
    });
    Ok(programs.collect())
}

/// The text of a key in one of cargo's messages, which are JSON: a path in which nothing needs an escape.
fn json_text<'a>(message: &'a str, key: &str) -> Option<&'a str> {
    let (_, value) = message.split_once(&format!("\"{key}\":\""))?;
    Some(value.split_once('"')?.0)
}
