//! What an indicator list takes: to read, to keep, and to compare both ends of a flow with.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use anyhow::{Result, ensure};
use flowprobe::detect::flow::Ip;
use flowprobe::detect::indicator::{IndicatorSet, ListSettings};
use flowprobe::detect::service::files::read_list;

use crate::memory::memory;

/// Flows in a round, and rounds.
const FLOWS: usize = 2_000_000;
const ROUNDS: usize = 5;

pub(crate) fn measure(entries: u32) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("list.netset");
    let mut random = fastrand::Rng::with_seed(3);
    std::fs::write(&path, list(entries, &mut random)?)?;
    let settings = ListSettings { file: path, ..ListSettings::default() };
    let (then, before) = (Instant::now(), memory("VmRSS:")?);
    let set = IndicatorSet::of([(settings.clone(), read_list(&settings)?)]);
    println!(
        "{entries} indicators: read in {:.2} s; {:.1} octets each, {} MiB more in memory, at most {} MiB meanwhile",
        then.elapsed().as_secs_f64(),
        set.octets() as f64 / f64::from(entries),
        memory("VmRSS:")?.saturating_sub(before) >> 10,
        memory("VmHWM:")?.saturating_sub(before) >> 10
    );
    // Hosts of a gateway and whom they talk to; and two that nobody meets twice.
    let few: Vec<Ip> = (0..20_000).map(|_| address(&mut random)).collect();
    let met = (0..FLOWS).map(|_| {
        let share = few.len() >> random.u32(..8);
        [few[random.usize(..2000)], few[random.usize(..share)]]
    });
    let met: Vec<[Ip; 2]> = met.collect();
    compare("as a gateway meets them", &set, &met)?;
    let at_random: Vec<[Ip; 2]> = (0..FLOWS).map(|_| [address(&mut random), address(&mut random)]).collect();
    compare("at random", &set, &at_random)
}

/// Seven of eight are addresses, the others networks of 24 to 28 bits, some of IPv6.
fn list(entries: u32, random: &mut fastrand::Rng) -> Result<String> {
    let mut text = String::from("# made up\n");
    for number in 0..entries {
        // None comes twice.
        let address = Ipv4Addr::from(0x0b00_0000 + number * 8 + random.u32(..8));
        match number % 16 {
            0 => writeln!(text, "2001:db8:{:x}:{:x}::/64", number >> 16, number & 0xffff)?,
            8 => writeln!(text, "{}/{}", Ipv4Addr::from(0x6000_0000 + number * 256), random.u32(24..=28))?,
            _ => writeln!(text, "{address}")?,
        }
    }
    Ok(text)
}

fn address(random: &mut fastrand::Rng) -> Ip {
    IpAddr::from(Ipv4Addr::from(random.u32(0x0100_0000..0xe000_0000))).into()
}

fn compare(what: &str, set: &IndicatorSet, flows: &[[Ip; 2]]) -> Result<()> {
    let mut times = Vec::new();
    let mut found = 0;
    for _ in 0..ROUNDS {
        let then = Instant::now();
        found = flows.iter().filter(|[source, destination]| set.has(*source) || set.has(*destination)).count();
        times.push(then.elapsed().as_secs_f64() * 1e9 / flows.len() as f64);
    }
    times.sort_by(f64::total_cmp);
    ensure!(found > 0 && found < flows.len(), "{found} of {} flows were found", flows.len());
    let (least, most) = (times[0], times[ROUNDS - 1]);
    println!("both ends of flows {what}: {:.0} ns a flow ({least:.0}–{most:.0}), {found} matched", times[ROUNDS / 2]);
    Ok(())
}
