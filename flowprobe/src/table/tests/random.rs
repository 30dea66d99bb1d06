//! Random packets of a few conversations, random times: whether directions are joined or not, every packet is in the records of
//! its own flow, the sum holds at every step ([`Lab::check`]), and nothing is left behind.

use std::collections::BTreeMap;

use flowprobe_ebpf::flow::FACT_INITIATOR;

use super::biflow::joining;
use super::*;
use crate::record::{ICMP, UDP};

const SEEDS: u64 = 300;
const STEPS: u64 = 200;

/// Packets, octets and layer-2 octets of each flow.
type Sums = BTreeMap<(FlowKey, Tunnel), [u64; 3]>;

fn any_key(random: &mut fastrand::Rng) -> FlowKey {
    let hosts = [1, 2, 3].map(|last| Address::from(std::net::Ipv4Addr::new(10, 0, 0, last)));
    let mut of = |choices: &[u16]| choices[random.usize(..choices.len())];
    let protocol = [TCP, TCP, UDP, ICMP, 47][usize::from(of(&[0, 1, 2, 3, 4]))];
    let (source_port, destination_port) = match protocol {
        ICMP => (0, of(&[0, 8 << 8, 3 << 8 | 1])),
        47 => (0, 0),
        _ => (of(&[9, 443]), of(&[9, 443])),
    };
    FlowKey {
        source: hosts[usize::from(of(&[0, 1, 1, 2]))],
        destination: hosts[usize::from(of(&[0, 0, 1, 2]))],
        ifindex: of(&[3, 3, 4]).into(),
        source_port,
        destination_port,
        vlan: of(&[0, 0, 0, 5]),
        protocol,
        ip_version: 4,
        direction: u8::from(of(&[0, 0, 1]) == 1),
        ..FlowKey::default()
    }
}

fn any_tunnel(random: &mut fastrand::Rng) -> Tunnel {
    if random.u8(..8) > 0 {
        return Tunnel::NONE;
    }
    let ends = [1, 2].map(|last| Address::from(std::net::Ipv4Addr::new(192, 0, 2, last)));
    let from = random.usize(..2);
    let id = random.u32(1..3);
    Tunnel { source: ends[from], destination: ends[1 - from], id, kind: random.u8(1..=6), ip_version: 4, padding: 0 }
}

/// What a drain may have counted until `now`.
fn any_delta(random: &mut fastrand::Rng, now: u64) -> FlowDelta {
    let packets = random.u64(1..4);
    let last_ns = now - random.u64(0..2) * SECOND;
    let first_ns = last_ns - if packets > 1 { random.u64(0..3) * SECOND } else { 0 };
    let facts = random.choice([ACK, ACK, ACK, SYN | FACT_INITIATOR, SYN | ACK, FIN, TCP_RST]).expect("some");
    let key = any_key(random);
    let facts = if key.protocol == TCP { facts } else { 0 };
    let value = FlowValue { packets, octets: packets * 60, first_ns, last_ns, facts, ..FlowValue::default() };
    let value = value.with_layer2_octets(packets * 74 + random.u64(0..9));
    FlowDelta { key, tunnel: any_tunnel(random), value }
}

fn add(sums: &mut Sums, key: FlowKey, tunnel: Tunnel, more: [u64; 3]) {
    let sum = sums.entry((key, tunnel)).or_default();
    *sum = [sum[0] + more[0], sum[1] + more[1], sum[2] + more[2]];
}

/// What records say of each flow.
fn told(records: &[FlowRecord]) -> Sums {
    let mut sums = Sums::new();
    for record in records {
        if record.packets > 0 {
            add(&mut sums, record.key, record.tunnel, [record.packets, record.octets, record.layer2_octets]);
        }
    }
    sums
}

/// Whether every flow is called the same half in all records of its biflow. One that has told everything leaves without a record
/// when it is idle, so what comes long after another is not looked at.
fn check_roles(lab: &Lab) {
    const SOON_US: u64 = 10_000_000;
    let mut told: BTreeMap<(FlowKey, Tunnel), (Role, u64)> = BTreeMap::new();
    for (one, other) in conversations(&lab.out) {
        let Some(other) = other else { continue };
        let end = one.end_us.max(other.end_us);
        for half in [one, other] {
            let before = told.insert((half.key, half.tunnel), (half.role, end));
            assert!(
                before.is_none_or(|(role, until)| role == half.role || half.start_us > until + SOON_US),
                "{half:?}"
            );
            if half.end_reason != EndReason::ActiveTimeout {
                told.remove(&(half.key, half.tunnel));
            }
        }
    }
}

fn run(seed: u64, max_flows: u32) -> usize {
    let mut random = fastrand::Rng::with_seed(seed);
    let max_flows = NonZeroU32::new(max_flows).expect("not zero");
    let active_timeout = Duration::from_secs(5);
    let [mut alone, mut joined] =
        [config(), joining()].map(|config| Lab::with(TableConfig { max_flows, active_timeout, ..config }));
    let (mut sent, mut now) = (Sums::new(), 100 * SECOND);
    for _ in 0..STEPS {
        now += random.u64(0..3) * SECOND;
        let delta = any_delta(&mut random, now);
        let FlowValue { packets, octets, .. } = delta.value;
        add(&mut sent, delta.key, delta.tunnel, [packets, octets, delta.value.layer2_octets()]);
        for lab in [&mut alone, &mut joined] {
            lab.merge(delta);
            assert!(lab.table.len() <= max_flows.get() as usize);
        }
        if random.u8(..4) == 0 {
            alone.expire(now / SECOND);
            joined.expire(now / SECOND);
        }
    }
    if alone.out.iter().all(|record| record.end_reason != EndReason::LackOfResources) {
        check_roles(&joined);
    }
    // In the end both have told everything, once by time and once because it is the end.
    if seed.is_multiple_of(2) {
        alone.expire(now / SECOND + 60);
        joined.expire(now / SECOND + 60);
    } else {
        alone.flush();
        joined.flush();
    }
    for lab in [&alone, &joined] {
        assert!(lab.table.is_empty());
        assert_eq!(told(&lab.out), sent);
        assert_eq!(lab.table.free.len() as usize, lab.table.slab.len());
    }
    assert!(alone.out.iter().all(|record| record.role == Role::Single));
    joined.out.iter().filter(|record| record.role == Role::Forward).count()
}

#[test]
fn whether_joined_or_not_every_packet_is_in_the_records_of_its_flow() {
    let base = fastrand::u64(..u64::MAX / 2);
    for max_flows in [4, 12, 1000] {
        let mut pairs = 0;
        for seed in base..base + SEEDS {
            // Shown where the test fails.
            println!("seed {seed}, at most {max_flows} flows");
            pairs += run(seed, max_flows);
        }
        assert!(pairs > 100, "{pairs} pairs of {max_flows} flows from seed {base} on");
    }
}

/// Many flows at once and expiry in portions: the same records in the same order as one flow after the other and all at once.
#[test]
fn many_at_once_are_as_one_after_the_other() {
    let base = fastrand::u64(..u64::MAX / 2);
    let mut most_in_a_portion = 0;
    for seed in base..base + SEEDS {
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let max_flows = NonZeroU32::new(40).expect("not zero");
        let config = TableConfig { max_flows, ..if seed.is_multiple_of(2) { config() } else { joining() } };
        let [mut one, mut many] = [config, config].map(Table::new);
        let (mut expected, mut now) = (Vec::new(), 100 * SECOND);
        let (mut out, mut found) = (Vec::new(), Vec::new());
        for _ in 0..10 {
            now += 5 * SECOND;
            let deltas: Vec<FlowDelta> = (0..random.usize(..100)).map(|_| any_delta(&mut random, now)).collect();
            let told: Vec<bool> = deltas.iter().map(|delta| one.merge(delta, offset(), &mut expected)).collect();
            one.expire(now, offset(), &mut expected);

            let mut told_of = Vec::new();
            many.merge_all(&deltas, offset(), &mut out, |delta, established| told_of.push((*delta, established)));
            assert_eq!(told_of, deltas.into_iter().zip(told).collect::<Vec<_>>());
            found.append(&mut out);
            while many.expire_some(now, offset(), 3, &mut out) {
                assert!(out.len() <= 4);
                most_in_a_portion = most_in_a_portion.max(out.len());
                found.append(&mut out);
            }
            found.append(&mut out);
        }
        if !config.biflow {
            assert_eq!(expected, found);
        }
        // Which of several flows is the partner of another is up to chance.
        one.flush(EndReason::ForcedEnd, offset(), &mut expected);
        many.flush(EndReason::ForcedEnd, offset(), &mut found);
        assert_eq!(told(&expected), told(&found));
    }
    assert!(most_in_a_portion >= 3, "nothing was left for a second portion");
}
