//! Holds that the running kernel takes every program that is meant for it, and that each mode attaches where the
//! documentation says it does on this kernel, and counts exactly.

use std::fs;

use anyhow::{Context as _, Result, bail, ensure};
use aya::programs::{Program, ProgramError};
use aya::{Ebpf, EbpfLoader};
use flowprobe_ebpf::Tunnels;
use flowprobe_tests::daemon::Daemon;
use flowprobe_tests::inject::send_flows;
use flowprobe_tests::kernel;
use flowprobe_tests::namespace::Namespace;
use flowprobe_tests::process::wait_until;
use flowprobe_tests::require;
use flowprobe_tests::truth::Flows;

/// Programs so named are for kernels before 5.18, and load on every kernel.
const LEGACY: &str = "_legacy";

/// The lines of a verifier's log that say what it refused.
const LAST_LINES: usize = 12;

/// The daemon's programs, told what this kernel has and what they are to do, as the daemon tells them.
fn load_object(tunnels: Tunnels, find_routes: bool) -> Result<Ebpf> {
    let object = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../flowprobe-ebpf/object/flowprobe.bpf.o"))?;
    let (coarse_clock, multi_buffer) = (u8::from(kernel::is_at_least(5, 11)), u8::from(kernel::is_at_least(5, 18)));
    let mut loader = EbpfLoader::new();
    loader.override_global("COARSE_CLOCK", &coarse_clock, true);
    loader.override_global("MULTI_BUFFER", &multi_buffer, true);
    let find_routes = u8::from(find_routes);
    loader.override_global("OPENED_TUNNELS", &tunnels.0, true);
    loader.override_global("FIND_ROUTES", &find_routes, true);
    loader.load(&object).context("the kernel refuses the maps")
}

fn load(program: &mut Program) -> Result<()> {
    let outcome = match program {
        Program::Xdp(program) => program.load(),
        Program::SchedClassifier(program) => program.load(),
        _ => bail!("neither an XDP program nor one for tc"),
    };
    match outcome {
        Err(ProgramError::LoadError { io_error, verifier_log }) => {
            let log = verifier_log.to_string();
            let lines: Vec<&str> = log.lines().collect();
            bail!("{io_error}: {}", lines[lines.len().saturating_sub(LAST_LINES)..].join("\n"))
        }
        outcome => Ok(outcome?),
    }
}

#[test]
fn the_verifier_takes_every_program_that_is_meant_for_this_kernel() -> Result<()> {
    require!();
    let mut refused = Vec::new();
    for (tunnels, find_routes) in
        [(Tunnels::NONE, false), (Tunnels::NONE, true), (Tunnels::ALL, false), (Tunnels::ALL, true)]
    {
        for (name, program) in load_object(tunnels, find_routes)?.programs_mut() {
            if (name.ends_with(LEGACY) || kernel::is_at_least(5, 18))
                && let Err(error) = load(program)
            {
                refused.push(format!("{name} with {tunnels:?}, routes {find_routes}: {error:#}"));
            }
        }
    }
    ensure!(refused.is_empty(), "refused:\n{}", refused.join("\n"));
    Ok(())
}

#[test]
fn each_mode_attaches_where_it_says_and_counts_exactly() -> Result<()> {
    require!();
    let at_tc = kernel::tc_hook();
    for (mode, said, there) in [
        ("native", "native XDP", "native xdp_ingress"),
        ("auto", "native XDP", "native xdp_ingress"),
        ("tc", at_tc, &format!("{at_tc} tc_ingress")),
        ("generic", "generic XDP", "generic xdp_ingress"),
    ] {
        let room = Namespace::with_pair()?;
        let mut daemon = Daemon::quick(&room, &["-i", "vb", "--mode", mode])?;
        let programs = room.programs("vb")?;
        // The end of a long name is not the kernel's to tell.
        ensure!(programs.len() == 1 && programs[0].starts_with(there), "{mode}: {programs:?}");
        let sent = send_flows(&room, "va", "vb", 0)?;
        daemon.wait_until_seen("vb", sent.sum().packets)?;
        let report = daemon.stop()?;
        let said = format!("metering vb ({said})");
        ensure!(report.logged(&said).len() == 1, "{mode}: not said `{said}`: {:?}", report.finished.stderr);
        ensure!(report.term("vb", "seen")? == sent.sum().into(), "{mode}: {:?}", report.term("vb", "seen")?);
        sent.must_equal(&Flows::of_records(&report.records)?, mode)?;
        wait_until("no program on the interface", || Ok(room.programs("vb")?.is_empty()))?;
    }
    Ok(())
}
