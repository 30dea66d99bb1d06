//! Holds that interfaces may come and go for ever: a hundred of them, some of which are always being deleted and made again
//! beside traffic, cost the daemon no descriptor, program, map, link or memory more, and each has its exact sum.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use flowprobe_ebpf::protocol::{ICMP, TCP, UDP};
use flowprobe_tests::accuracy::{Distribution, Hook, Lab, Load, Mix, Pace, faults, seconds};
use flowprobe_tests::resources;
use flowprobe_tests::{require, require_kernel};

const INTERFACES: usize = 100;

/// Interfaces that go and come back in one round.
const AT_ONCE: usize = 10;

/// Rounds, however long they take: what is held after the second is compared with what is held at the end.
const FEWEST_ROUNDS: usize = 4;

/// What the daemon may have in memory at the end beyond a quarter more than after the second round: what drains of many
/// interfaces leave in the allocator.
const MORE_MEMORY: u64 = 16 << 20;

/// What the daemon holds.
struct Held {
    descriptors: BTreeMap<String, usize>,
    memory: u64,
}

impl Held {
    fn by(lab: &Lab) -> Result<Self> {
        let pid = lab.daemon.id();
        Ok(Self { descriptors: resources::descriptors(pid)?, memory: resources::memory(pid, "VmRSS")? })
    }
}

#[test]
fn a_hundred_interfaces_come_and_go() -> Result<()> {
    require!("ethtool");
    require_kernel!(6, 6, "an order of programs at tc, which counts what arrives");
    let mix = Mix {
        flows: 256,
        distribution: Distribution::Zipf(1.0),
        protocols: &[TCP, UDP, ICMP],
        lengths: 62..=1514,
        flood_percent: 0,
        seed: 9,
    };
    let traffic = mix.traffic();
    let mut lab = Lab::new(&traffic, INTERFACES, Hook::Native, &["--interval", "500ms", "--idle-timeout", "2s"])?;
    let mut loads = [Load::over(&traffic, 0..INTERFACES, Pace { rate: Some(400_000), ahead: None })?];
    let (rounds, warm) = lab.under_load(&mut loads, |lab| {
        let end = Instant::now() + seconds(12, 120);
        let (mut round, mut warm) = (0, None);
        while round < FEWEST_ROUNDS || Instant::now() < end {
            let first = round * AT_ONCE % INTERFACES;
            faults::delete_and_make_again(lab, first..first + AT_ONCE)?;
            round += 1;
            if round == 2 {
                warm = Some(Held::by(lab)?);
            }
        }
        Ok((round, warm))
    })?;
    lab.settle()?;
    let (warm, held) = (warm.context("fewer than two rounds")?, Held::by(&lab)?);
    let outcome = lab.finish()?;
    println!(
        "{rounds} rounds: {:?}, {} KiB in memory, and after the second {:?}, {} KiB; {outcome}",
        held.descriptors,
        held.memory >> 10,
        warm.descriptors,
        warm.memory >> 10
    );
    ensure!(outcome.arrived.values().all(|arrived| arrived.packets > 0), "nothing arrived: {:?}", outcome.arrived);
    outcome.must_be_exact()?;
    for (kind, count) in &held.descriptors {
        let before = warm.descriptors.get(kind).copied().unwrap_or_default();
        ensure!(*count <= before, "{kind}: {count} are open, {before} after the second round");
    }
    ensure!(held.memory <= warm.memory + warm.memory / 4 + MORE_MEMORY, "{} octets in memory", held.memory);
    Ok(())
}
