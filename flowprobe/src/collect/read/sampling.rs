//! How the packets of a flow were chosen, as its record says it, or what its exporter has told, or the header of its message.

use std::num::NonZeroU32;

use super::Context;
use super::values::{Slot, Values};
use crate::record::SamplingRate;

/// Values that name a sampler. An exporter may use one of them in options records and the other in those of flows.
pub(super) const SAMPLERS: [Slot; 2] = [Slot::Selector, Slot::Sampler];

/// What one record, of a flow or of options, says about sampling; `None` where it says nothing.
pub(super) fn said(values: &Values) -> Option<SamplingRate> {
    let chosen = values.get(Slot::PacketInterval);
    let one_of = [
        values.get(Slot::SamplingInterval),
        values.get(Slot::SamplerInterval),
        one_in(chosen.saturating_add(values.get(Slot::PacketSpace)), chosen),
        one_in(values.get(Slot::SamplingPopulation), values.get(Slot::SamplingSize)),
        of_probability(f64::from_bits(values.get(Slot::SamplingProbability))),
    ];
    // Cisco's routers say an interval of one packet without a space beside the one of 256 that they sample.
    let said = |least| one_of.into_iter().find(|&interval| interval >= least);
    if let Some(interval) = said(2).or_else(|| said(1)) {
        return Some(rate(interval, SamplingRate::Packets));
    }
    let chosen = values.get(Slot::FlowInterval);
    match one_in(chosen.saturating_add(values.get(Slot::FlowSpacing)), chosen) {
        0 => None,
        interval => Some(rate(interval, SamplingRate::Flows)),
    }
}

/// How the packets of a record's flow were chosen, and whether it was the sampler or selector it names that told: by the record
/// itself, else by what is known of its sampler, its interfaces or all of its exporter, else by the header of NetFlow v5.
pub(super) fn of_record(
    values: &Values,
    names_sampler: bool,
    interfaces: [u32; 2],
    context: &Context<'_>,
) -> (SamplingRate, bool) {
    if let Some(rate) = said(values) {
        return (rate, false);
    }
    let facts = context.facts;
    if facts.know_sampling() {
        let (_, sampler) = values.first(&SAMPLERS);
        if let Some(rate) = facts.sampler(sampler).filter(|_| names_sampler) {
            return (rate, true);
        }
        let of_interface = interfaces.iter().find_map(|&index| facts.interface_sampling(index));
        if let Some(rate) = of_interface.or(facts.sampling()) {
            return (rate, false);
        }
    }
    (context.sampling_v5.map_or(SamplingRate::All, of_v5_header), false)
}

/// What the sampling word in a header of NetFlow v5 says. Its mode is not looked at: exporters that sample leave it 0.
fn of_v5_header(word: u16) -> SamplingRate {
    rate(u64::from(word & 0x3fff), SamplingRate::Packets)
}

/// One of this many; all where that is one, or 0.
fn rate(interval: u64, by: fn(NonZeroU32) -> SamplingRate) -> SamplingRate {
    match NonZeroU32::new(u32::try_from(interval).unwrap_or(u32::MAX)) {
        None | Some(NonZeroU32::MIN) => SamplingRate::All,
        Some(interval) => by(interval),
    }
}

/// Of how many one was chosen where `chosen` of `all` were, rounded; 0 where none was.
fn one_in(all: u64, chosen: u64) -> u64 {
    all.saturating_add(chosen / 2).checked_div(chosen).unwrap_or(0)
}

/// Of how many one was chosen where each was with this probability; 0 where it is none.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "what is beyond 64 bits saturates")]
fn of_probability(probability: f64) -> u64 {
    if probability > 0.0 && probability <= 1.0 { (1.0 / probability).round() as u64 } else { 0 }
}
