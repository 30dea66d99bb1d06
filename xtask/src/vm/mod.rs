//! `cargo xtask vm-test`: the end-to-end tests on other kernels, in virtual machines.

mod archive;
mod kernels;
mod machine;
mod modules;
mod report;
mod userland;

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::packages::{self, Need};
use crate::process;
use crate::tally::{Outcome, Tally};
use kernels::{KERNELS, Kernel};
use userland::{PLAN, Test, Userland};

/// What boots a kernel, and what the machine is made of besides what end-to-end tests need anyway.
const NEEDED: [Need; 6] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("busybox", "busybox-static"),
    ("strip", "binutils"),
    ("ldd", "libc-bin"),
    ("xz", "xz-utils"),
    ("setpriv", "util-linux"),
];

/// Run the end-to-end tests on older and newer kernels, in virtual machines
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A kernel of those that --list shows; several. All of them if not given
    #[arg(long = "kernel", value_name = "NAME")]
    kernels: Vec<String>,
    /// A test program of those that run there, such as `kernels`; several. All of them if not given
    #[arg(long = "test", value_name = "NAME")]
    tests: Vec<String>,
    /// Show the kernels and which of them are here already
    #[arg(long)]
    list: bool,
    /// Install no Debian packages
    #[arg(long)]
    no_install: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if args.list {
        return list();
    }
    let unknown = unknown("kernel", &args.kernels, &KERNELS.map(|kernel| kernel.name))
        .or_else(|| unknown("test", &args.tests, &PLAN.map(|(test, _)| test)));
    if let Some(error) = unknown {
        eprintln!("error: {error}");
        return Ok(ExitCode::from(2));
    }
    let asked = |names: &[String], name: &str| names.is_empty() || names.iter().any(|asked| asked == name);
    let kernels = KERNELS.iter().filter(|kernel| asked(&args.kernels, kernel.name));
    let plan: Vec<Test> = PLAN.into_iter().filter(|(test, _)| asked(&args.tests, test)).collect();
    let mut tally = Tally::default();
    for line in packages::install(&packages::COUNTERPARTS, !args.no_install) {
        tally.note(line);
    }
    add_steps(&mut tally, kernels, &plan, !args.no_install);
    Ok(tally.finish())
}

/// What to say of the first name that is not one of `known`.
fn unknown(what: &str, names: &[String], known: &[&str]) -> Option<String> {
    let name = names.iter().find(|name| !known.contains(&name.as_str()))?;
    Some(format!("no {what} `{name}`; there are {}", known.join(", ")))
}

fn list() -> Result<ExitCode> {
    for kernel in &KERNELS {
        let here = kernel.cached()?.map_or_else(|| "not downloaded".to_owned(), |image| image.release);
        println!("{:<8} Debian {:<20} {here}", kernel.name, kernel.suite);
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs all tests on all kernels, one step for each kernel.
pub(crate) fn add_all_steps(tally: &mut Tally, may_install: bool) {
    add_steps(tally, &KERNELS, &PLAN, may_install);
}

/// The short form: whether the oldest kernel takes the programs.
pub(crate) fn add_short_step(tally: &mut Tally, may_install: bool) {
    add_steps(tally, &KERNELS[..1], &PLAN[..1], may_install);
}

fn add_steps<'a>(tally: &mut Tally, kernels: impl IntoIterator<Item = &'a Kernel>, plan: &[Test], may_install: bool) {
    for line in packages::install(&NEEDED, may_install) {
        tally.note(line);
    }
    let missing: Vec<&str> =
        NEEDED.iter().map(|(program, _)| *program).filter(|program| !process::on_path(program)).collect();
    let mut userland = None;
    for kernel in kernels {
        tally.step(&format!("kernel {}", kernel.name), || {
            if !cfg!(target_arch = "x86_64") {
                return Ok(Outcome::skip("the kernels are for x86-64, and this machine is not".to_owned()));
            }
            if !missing.is_empty() {
                return Ok(Outcome::skip(format!("not installed: {}", missing.join(", "))));
            }
            test_on(kernel, plan, &mut userland)
        });
    }
}

fn test_on(kernel: &Kernel, plan: &[Test], userland: &mut Option<Userland>) -> Result<Outcome> {
    let image = match kernel.get() {
        Ok(image) => image,
        Err(error) => return Ok(Outcome::skip(format!("Linux {} was not to be had: {error:#}", kernel.name))),
    };
    let folder = kernels::folder()?;
    let scratch = folder.join("tests");
    fs::create_dir_all(&scratch).with_context(|| format!("cannot create {}", scratch.display()))?;
    let userland = match userland {
        Some(userland) => userland,
        none => none.insert(Userland::build(plan, &scratch)?),
    };
    println!("Linux {}", image.release);
    let initrd = folder.join("initrd.cpio");
    userland.write(&initrd, &modules::wanted(&image.modules)?)?;
    let outcome = machine::run(&image, &initrd, &folder.join(format!("console-{}.txt", kernel.name)));
    fs::remove_file(&initrd).with_context(|| format!("cannot remove {}", initrd.display()))?;
    outcome
}
