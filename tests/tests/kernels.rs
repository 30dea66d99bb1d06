//! Holds that the running kernel takes every program that is meant for it, and that each mode attaches where the
//! documentation says it does on this kernel, and counts exactly.

use anyhow::{Result, bail, ensure};
use aya::programs::{Program, ProgramError};
use flowprobe_ebpf::Tunnels;
use flowprobe_tests::daemon::Daemon;
use flowprobe_tests::inject::send_flows;
use flowprobe_tests::kernel;
use flowprobe_tests::namespace::Namespace;
use flowprobe_tests::process::wait_until;
use flowprobe_tests::require;
use flowprobe_tests::truth::Flows;

/// The lines of a verifier's log that say what it refused.
const LAST_LINES: usize = 12;

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
        for (name, program) in kernel::programs(tunnels, find_routes)?.programs_mut() {
            if kernel::takes(name, tunnels)
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

#[test]
fn what_this_kernel_cannot_do_is_said() -> Result<()> {
    require!();
    let room = Namespace::with_pair()?;
    let report = Daemon::quick(&room, &["-i", "vb", "--next-hop"])?.stop()?;
    let said = report.logged("WARN next hops and egress interfaces are not looked up").len();
    ensure!(said == usize::from(!kernel::is_at_least(5, 18)), "{:?}", report.finished.stderr);
    Ok(())
}
