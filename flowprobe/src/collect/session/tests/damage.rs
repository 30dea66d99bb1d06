//! Messages gone wrong at random: no panic, no bound broken, and nobody else's records harmed.

use super::{FIELDS, Listener, START, flows, from, told};
use crate::collect::session::{Limits, Peer};
use crate::collect::wire::build::{ipfix, netflow5, netflow9, set, template, words};

/// Messages of all kinds. Sequence numbers go on where they are known.
fn messages() -> Vec<Vec<u8>> {
    let options = set(3, &words([300, 3, 1, 10, 4, 82, 65_535, 34, 4]));
    let names = set(300, &[0, 0, 0, 1, 3, b'a', b'b', b'c', 0, 0, 0, 9]);
    let variable = set(2, &template(301, &[(8, 4), (82, 65_535), (1, 4), (371, 65_535)]));
    let values = set(301, &[1, 2, 3, 4, 0, 0, 0, 0, 9, 2, 8, 8, 1, 2, 3, 4, 255, 0, 1, 7, 0, 0, 0, 9, 0]);
    let v9 = |sets: &[Vec<u8>]| netflow9((9000, START), 1, 1, sets);
    vec![
        ipfix(START, 0, 1, &[told(256), flows(256, &[1, 2, 3])]),
        ipfix(START, 3, 1, &[options, names]),
        ipfix(START, 4, 1, &[variable, values.clone()]),
        ipfix(START, 6, 1, &[values, flows(999, &[1])]),
        ipfix(START, 8, 1, &[set(2, &words([256, 0])), set(3, &words([3, 0]))]),
        v9(&[set(0, &template(256, &FIELDS)), flows(256, &[1, 2])]),
        v9(&[set(1, &words([300, 4, 8, 2, 4, 34, 4, 82, 8])), set(300, &[7; 32])]),
        netflow5((9000, START), 0, &[1, 2, 3]),
    ]
}

fn any_octets(most: usize, random: &mut fastrand::Rng) -> Vec<u8> {
    let count = random.usize(..most);
    std::iter::repeat_with(|| random.u8(..)).take(count).collect()
}

fn damage(message: &mut Vec<u8>, random: &mut fastrand::Rng) {
    for _ in 0..random.usize(..6) {
        let place = random.usize(..message.len().max(1));
        let Some(octet) = message.get_mut(place) else { continue };
        let any = random.u8(..);
        *octet = *random.choice([0, 1, 2, 3, 4, 255, any].iter()).expect("there are some");
    }
    match random.u8(..10) {
        0 => message.truncate(random.usize(..=message.len())),
        1 => message.extend(any_octets(40, random)),
        2 => {
            let (from, to) = (random.usize(..=message.len()), random.usize(..=message.len()));
            let part = message[from.min(to)..from.max(to)].to_vec();
            message.splice(to..to, part);
        }
        _ => {}
    }
}

#[test]
fn no_message_harms_a_listener_or_another_exporter() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let limits = Limits {
        addresses: 20,
        sessions: 6,
        templates: 5,
        fields: 64,
        state_octets: 60_000,
        state_octets_of_all: 400_000,
        held_octets: 1000,
        held_octets_of_all: 5000,
        ..Limits::default()
    };
    let mut listener = Listener::within(limits.clone());
    let originals = messages();
    let good = from("192.0.2.7:40000");
    let mut sequence = 0;
    for round in 0..40_000_u32 {
        let mut message = originals[random.usize(..originals.len())].clone();
        damage(&mut message, &mut random);
        let address = format!("198.51.100.{}:{}", random.u8(..40), random.u16(1..4));
        let connection = (random.u8(..8) == 0).then(|| random.u64(..9));
        let peer = Peer { connection, ..from(&address) };
        listener.take(peer, &message);
        if random.u8(..50) == 0 {
            listener.exporters.closed(random.u64(..9));
        }
        listener.pass(std::time::Duration::from_millis(random.u64(..200)));
        if round % 8 == 0 {
            let told = ipfix(START, sequence, 1, &[told(256), flows(256, &[round, round + 1])]);
            assert_eq!(listener.take(good, &told), [round.into(), u64::from(round) + 1], "seed {seed}, round {round}");
            sequence += 2;
        }
        if round % 64 == 0 {
            listener.expire();
            let totals = listener.exporters.totals();
            assert!(totals.addresses <= limits.addresses, "{totals:?}");
            assert!(totals.sessions <= limits.addresses * limits.sessions, "{totals:?}");
            assert!(totals.state_octets <= limits.state_octets_of_all, "{totals:?}");
            assert!(totals.held_octets <= limits.held_octets_of_all, "{totals:?}");
            listener.out = crate::collect::received::ReceivedRecords::default();
        }
    }
    let all = listener.exporters.health();
    let of_good = all.iter().find(|health| health.address == Some(good.address.ip())).expect("it is known");
    assert_eq!((of_good.missing, of_good.records, of_good.faults.len()), (0, 10_000, 0), "seed {seed}");
    assert!(all.iter().any(|health| !health.faults.is_empty()), "the damage was some");
}

#[test]
fn any_octets_are_taken() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut listener = Listener::new();
    for _ in 0..20_000 {
        let mut message: Vec<u8> = any_octets(200, &mut random);
        let version = *random.choice([5, 7, 9, 10].iter()).expect("there are some");
        if let [first, second, third, fourth, ..] = message.as_mut_slice() {
            (*first, *second, *third) = (0, version, 0);
            if version == 10 {
                *fourth = u8::try_from(random.usize(16..217).min(255)).expect("it is small");
            }
        }
        listener.take(from("198.51.100.1:1"), &message);
    }
    let totals = listener.exporters.totals();
    assert!(totals.messages - totals.faults.values().sum::<u64>() > 10_000, "most have a header: {totals:?}");
}
