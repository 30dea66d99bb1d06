//! Lateral movement: a host that logs on to many others, which it has not done before, and gets answers.

use super::Stage;
use crate::scenario::ordinary::{HOUR_MS, MINUTE_MS};
use crate::scenario::record::{Talk, heavy};
use crate::scenario::site::Device;

pub(super) fn stage(stage: &mut Stage<'_>) {
    for (name, number, hours, port, targets, gap_ms, within_ms) in [
        ("lateral movement, tcp/445 to 60 hosts in 10 min", 20, 13, 445, 60, 10_000, 10 * MINUTE_MS),
        ("lateral movement, tcp/5985 to 30 hosts in 20 min", 21, 14, 5985, 30, 40_000, 30 * MINUTE_MS),
        ("lateral movement, tcp/3389 to 15 hosts in 1 h", 22, 15, 3389, 15, 240_000, 90 * MINUTE_MS),
        ("lateral movement, tcp/22 to 14 servers in 4 h", 23, 10, 22, 14, 1_020_000, 5 * HOUR_MS),
    ] {
        let (source, at_ms) = (stage.office(number), stage.at(hours, 10));
        move_on(stage, source, at_ms, (port, targets, gap_ms));
        let label = stage.label(name, &["lateral-movement"], &[source], (at_ms, at_ms + targets * gap_ms), within_ms);
        label.rules.push("host-scan");
    }
}

/// A host that has worked for two weeks as all others.
pub(super) fn after_weeks(stage: &mut Stage<'_>) {
    let (source, at_ms) = (stage.office(3), stage.at(11, 0));
    move_on(stage, source, at_ms, (3389, 12, 150_000));
    let time = (at_ms, at_ms + 12 * 150_000);
    stage.label(
        "lateral movement after two weeks, tcp/3389 to 12 hosts in 30 min",
        &["lateral-movement"],
        &[source],
        time,
        HOUR_MS,
    );
}

fn move_on(stage: &mut Stage<'_>, source: Device, at_ms: u64, (port, targets, gap_ms): (u16, u64, u64)) {
    let neighbours: Vec<Device> = if port == 22 { stage.network.servers.clone() } else { stage.network.office.clone() };
    let others = neighbours.into_iter().filter(|other| other.ip != source.ip);
    for (number, other) in (0..targets).zip(others) {
        let at_ms = at_ms + number * gap_ms + stage.traffic.random.u64(0..gap_ms / 2);
        let random = &mut stage.traffic.random;
        let content = (heavy(random, 60_000, 2.0), heavy(random, 40_000, 2.0));
        let lasts = heavy(random, 15_000, 2.0).min(gap_ms * 2);
        stage.traffic.talk(Talk::tcp(source, other, port, at_ms, content).lasting(lasts));
    }
}
