//! Holds that every flow's packets, IP octets and layer-2 octets are exact at full load, for mixes of protocols, lengths and
//! popularity, by native XDP and at tc.

use std::thread::sleep;

use anyhow::{Result, ensure};
use flowprobe_ebpf::protocol::{ICMP, TCP, UDP};
use flowprobe_tests::accuracy::{Distribution, Hook, Lab, Load, Mix, Pace, seconds};
use flowprobe_tests::{require, require_kernel};

fn mix(flows: u32, distribution: Distribution) -> Mix {
    Mix { flows, distribution, protocols: &[TCP, UDP, TCP, ICMP], lengths: 62..=1514, flood_percent: 0, seed: 1 }
}

fn every_flow_is_exact(mix: &Mix, hook: Hook) -> Result<()> {
    let traffic = mix.traffic();
    let mut lab = Lab::new(&traffic, 1, hook, &["--interval", "200ms", "--idle-timeout", "2s"])?;
    let mut loads = [Load::new(&traffic, 0, Pace::FAST)?];
    lab.under_load(&mut loads, |_| {
        sleep(seconds(4, 60));
        Ok(())
    })?;
    let outcome = lab.finish()?;
    println!("{hook:?}, {:?}: {} frames made; {outcome}", mix.distribution, loads[0].sent());
    ensure!(outcome.arrived_in_all().packets > 0, "nothing arrived");
    outcome.must_be_exact()
}

#[test]
fn uniform_native() -> Result<()> {
    require!();
    require_kernel!(6, 6, "an order of programs at tc, which counts what arrives");
    every_flow_is_exact(&mix(65_536, Distribution::Uniform), Hook::Native)
}

#[test]
fn zipf_native() -> Result<()> {
    require!();
    require_kernel!(6, 6, "an order of programs at tc, which counts what arrives");
    every_flow_is_exact(&mix(65_536, Distribution::Zipf(1.1)), Hook::Native)
}

#[test]
fn uniform_tc() -> Result<()> {
    require!("ethtool");
    require_kernel!(6, 6, "an order of programs at tc, which counts what arrives");
    every_flow_is_exact(&mix(4096, Distribution::Uniform), Hook::Tc)
}

#[test]
fn zipf_tc() -> Result<()> {
    require!("ethtool");
    require_kernel!(6, 6, "an order of programs at tc, which counts what arrives");
    every_flow_is_exact(&mix(65_536, Distribution::Zipf(1.1)), Hook::Tc)
}
