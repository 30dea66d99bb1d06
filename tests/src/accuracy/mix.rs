//! What traffic consists of: flows of several protocols, how often each has a packet, and a flood beside them.

use std::ops::RangeInclusive;

use fastrand::Rng;
use flowprobe_ebpf::protocol::{ICMP, TCP};
use flowprobe_ebpf::traffic::{SHORTEST_FRAME, TrafficFlow};

/// The longest frame: an Ethernet frame without a tag.
pub const LONGEST_FRAME: u16 = 1514;

/// Entries of a drawn schedule.
const DRAWN: usize = 1 << 18;

/// The most flows that a mix can have.
const MOST_FLOWS: u32 = 1 << 20;

/// 10.0.0.0, with a flow's number in the bits below: no two flows of a mix have the same source.
const SOURCES: u32 = 0x0a00_0000;

/// 198.18.0.1, at which floods are aimed; no flow goes there.
pub const FLOOD_TARGET: u32 = 0xc612_0001;

/// How often each flow has a packet.
#[derive(Clone, Copy, Debug)]
pub enum Distribution {
    /// Every flow in its turn, as often as any other.
    InTurn,
    /// Drawn: every flow is as likely as any other.
    Uniform,
    /// Every flow once, and beside that drawn: the flow of rank r is r to this power less likely than the first.
    Zipf(f64),
}

/// The recipe of a mix. The same one gives the same traffic.
#[derive(Clone, Debug)]
pub struct Mix {
    /// Number of flows, at most 2^20.
    pub flows: u32,
    /// How often each has a packet.
    pub distribution: Distribution,
    /// Their protocols, in turn: TCP, UDP or ICMP; one that is named twice is that of twice as many flows.
    pub protocols: &'static [u8],
    /// Octets of a flow's frames lie in this range.
    pub lengths: RangeInclusive<u16>,
    /// Of so many packets of every hundred, each begins a flow of a flood of TCP SYNs towards one address.
    pub flood_percent: u8,
    /// Where chance begins.
    pub seed: u64,
}

/// Flows, and the order of their packets.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// The flows. The last one is the flood, which need not be in the schedule.
    pub flows: Vec<TrafficFlow>,
    /// Numbers of flows; as many as a power of two.
    pub schedule: Vec<u32>,
}

impl Mix {
    /// What this recipe gives.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        let mut random = Rng::with_seed(self.seed);
        let mut flows: Vec<TrafficFlow> =
            (0..self.flows.min(MOST_FLOWS)).map(|number| self.flow(number, &mut random)).collect();
        flows.push(TrafficFlow {
            source: random.u32(..),
            destination: FLOOD_TARGET,
            destination_port: 80,
            length: SHORTEST_FRAME,
            protocol: TCP,
            tcp_flags: 0x02,
            flood: 1,
            ..TrafficFlow::default()
        });
        Traffic { flows, schedule: self.schedule(&mut random) }
    }

    /// The same flows with another share of the flood.
    #[must_use]
    pub fn with_flood(&self, percent: u8) -> Self {
        Self { flood_percent: percent, ..self.clone() }
    }

    fn flow(&self, number: u32, random: &mut Rng) -> TrafficFlow {
        let protocol = self.protocols.get(number as usize % self.protocols.len().max(1)).copied().unwrap_or(TCP);
        let (source_port, destination_port) = if protocol == ICMP {
            (0, random.choice([0x0800, 0x0000, 0x0303]).unwrap_or_default())
        } else {
            (random.u16(1024..), random.choice([53, 80, 443, 8080]).unwrap_or_default())
        };
        TrafficFlow {
            source: SOURCES | number,
            // 172.16.0.0/24.
            destination: 0xac10_0000 | random.u32(1..=254),
            source_port,
            destination_port,
            length: random.u16(self.lengths.clone()).clamp(SHORTEST_FRAME, LONGEST_FRAME),
            protocol,
            tcp_flags: if protocol == TCP { random.choice([0x10, 0x18]).unwrap_or_default() } else { 0 },
            flood: 0,
        }
    }

    fn schedule(&self, random: &mut Rng) -> Vec<u32> {
        let flows = self.flows.min(MOST_FLOWS);
        let entries = match self.distribution {
            Distribution::InTurn if self.flood_percent == 0 => (flows as usize).next_power_of_two(),
            Distribution::Zipf(_) => DRAWN.max((flows as usize * 4).next_power_of_two()),
            _ => DRAWN.max(flows.next_power_of_two() as usize),
        };
        let chances = self.distribution.sums(flows);
        let all = chances.last().copied().unwrap_or_default();
        let mut turns = (0..flows).cycle();
        let mut schedule = Vec::with_capacity(entries);
        if let Distribution::Zipf(_) = self.distribution {
            schedule.extend(0..flows);
        }
        while schedule.len() < entries {
            let ordinary = match self.distribution {
                Distribution::InTurn => turns.next().unwrap_or_default(),
                Distribution::Uniform => random.u32(..flows.max(1)),
                Distribution::Zipf(_) => {
                    let drawn = random.f64() * all;
                    u32::try_from(chances.partition_point(|sum| *sum <= drawn)).unwrap_or_default().min(flows - 1)
                }
            };
            schedule.push(if random.u8(..100) < self.flood_percent { flows } else { ordinary });
        }
        if let Distribution::Zipf(_) = self.distribution {
            random.shuffle(&mut schedule);
        }
        schedule
    }
}

impl Distribution {
    /// What the chances of the flows up to each add up to; nothing where they are all the same.
    fn sums(self, flows: u32) -> Vec<f64> {
        let Self::Zipf(exponent) = self else { return Vec::new() };
        let mut sum = 0.0;
        let next = |rank| {
            sum += f64::from(rank).powf(-exponent);
            sum
        };
        (1..=flows).map(next).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use flowprobe_ebpf::protocol::UDP;

    use super::*;

    fn mix(distribution: Distribution) -> Mix {
        Mix { flows: 1000, distribution, protocols: &[TCP, UDP, ICMP], lengths: 62..=1514, flood_percent: 0, seed: 7 }
    }

    fn packets_of_first(traffic: &Traffic) -> usize {
        traffic.schedule.iter().filter(|number| **number == 0).count()
    }

    #[test]
    fn the_same_recipe_gives_the_same_traffic_and_no_two_flows_are_one() {
        let (one, other) = (mix(Distribution::Uniform).traffic(), mix(Distribution::Uniform).traffic());
        assert_eq!((&one.flows, &one.schedule), (&other.flows, &other.schedule));
        let sources: HashSet<u32> = one.flows.iter().map(|flow| flow.source).collect();
        assert_eq!(sources.len(), 1001);
        assert!(one.schedule.len().is_power_of_two());
    }

    #[test]
    fn zipf_prefers_the_first_and_uniform_nobody() {
        let (uniform, zipf) = (mix(Distribution::Uniform).traffic(), mix(Distribution::Zipf(1.0)).traffic());
        // The first of a thousand has a packet of 1,000 or of 7.5.
        assert!((150..400).contains(&packets_of_first(&uniform)), "{}", packets_of_first(&uniform));
        assert!((30_000..40_000).contains(&packets_of_first(&zipf)), "{}", packets_of_first(&zipf));
    }

    #[test]
    fn a_flood_has_its_share_and_nothing_else_changes() {
        let quiet = mix(Distribution::InTurn);
        let flooded = quiet.with_flood(50);
        assert_eq!(quiet.traffic().flows, flooded.traffic().flows);
        let schedule = flooded.traffic().schedule;
        let flood = schedule.iter().filter(|number| **number == 1000).count();
        assert!((130_000..132_500).contains(&flood), "{flood} of {}", schedule.len());
        assert!(quiet.traffic().schedule.iter().all(|number| *number < 1000));
    }
}
