//! Whatever a template and a record are, nothing is lost and nothing panics.

use super::*;
use crate::export::elements::{ELEMENTS, Field as Value};
use crate::record::{Role, SamplingRate};

/// IDs of elements that a `FlowRecord` has a place for, and some others.
const IDS: [u16; 95] = [
    1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 14, 15, 16, 17, 21, 22, 23, 24, 25, 26, 27, 28, 32, 34, 35, 48, 49, 50, 52, 53,
    56, 57, 58, 60, 61, 62, 70, 80, 81, 82, 83, 85, 86, 88, 130, 131, 136, 139, 148, 150, 151, 152, 153, 154, 155, 156,
    157, 158, 159, 160, 161, 162, 176, 177, 178, 179, 180, 181, 182, 183, 192, 197, 210, 225, 231, 232, 233, 239, 243,
    245, 252, 253, 256, 298, 299, 302, 304, 305, 306, 309, 311, 323, 352, 405,
];

/// A field with a value that is often small, or all zeros, or has nothing small about it.
fn field(random: &mut fastrand::Rng) -> Said {
    let id = if random.u8(..) < 250 { IDS[random.usize(..IDS.len())] } else { random.u16(..0x8000) };
    let enterprise = [0, 0, 0, 0, 0, REVERSE, REVERSE, 6871, 35_632][random.usize(..9)];
    let usual = match id {
        4 | 5 | 52 | 53 | 60 | 61 | 136 | 176..=179 | 192 | 197 | 233 => 1,
        6 | 7 | 11 | 32 | 58 | 139 | 180..=183 | 243 | 245 | 256 | 304 => 2,
        27 | 28 | 62 | 131 => 16,
        56 | 57 | 80 | 81 => 6,
        70 => 3,
        152..=157 | 160 | 311 | 323 => 8,
        _ => 4,
    };
    let length = if random.u8(..) < 200 { usual } else { random.u16(..20) };
    let kind = random.u8(..4);
    let mut value: Vec<u8> = (0..length).map(|_| if kind == 0 { 0 } else { random.u8(..) }).collect();
    if kind == 1 {
        let small = value.len().saturating_sub(1);
        value[..small].fill(0);
        value.iter_mut().for_each(|octet| *octet %= 20);
    }
    match random.u8(..8) {
        0 => v(enterprise, id, &value),
        _ => (Specifier { enterprise, id, length }, value),
    }
}

/// The value of a field, without the length before it.
fn value(said: &Said) -> &[u8] {
    if said.0.length == VARIABLE_LENGTH { &said.1[1..] } else { &said.1 }
}

/// Whether these octets would be written for this value.
fn is_written(written: Value, octets: &[u8]) -> bool {
    let of_octets = |written: &[u8]| octets == written;
    match written {
        Value::Unsigned(number) => {
            let written = u128::from(number).to_be_bytes();
            octets.iter().rev().zip(written.iter().rev()).all(|(one, other)| one == other)
                && octets.iter().rev().skip(16).all(|&octet| octet == 0)
                && written.iter().rev().skip(octets.len()).all(|&octet| octet == 0)
        }
        Value::Float(number) => of_octets(&number.to_be_bytes()),
        Value::V4(address) => of_octets(&address.octets()),
        Value::V6(address) => of_octets(&address.octets()),
        Value::Mac(address) => of_octets(&address),
    }
}

/// Whether the records that were made of it say the value of a field: as our own element of this number, or as one of the few
/// that a biflow and its sampling replace.
fn is_in_record(said: &Said, records: &[FlowRecord], boot_ms: u64) -> bool {
    let octets = value(said);
    let (enterprise, id) = (said.0.enterprise, said.0.id);
    let forward = records[0];
    let unsigned = |number: u64| is_written(Value::Unsigned(number), octets);
    let up = |us: u64| unsigned((us / 1000).wrapping_sub(boot_ms) & 0xffff_ffff);
    let of_answers = records.get(1);
    let type_and_code = forward.key.destination_port.to_be_bytes();
    match (enterprise, id) {
        (0, 231) => unsigned(forward.octets),
        (0, 298) => unsigned(forward.packets),
        (0, 232) => of_answers.is_some_and(|record| unsigned(record.octets)),
        (0, 299) => of_answers.is_some_and(|record| unsigned(record.packets)),
        (0, 239) => forward.role == Role::Forward && unsigned(1),
        (0, 50) => unsigned(forward.sampling.interval().into()),
        (0, 35 | 49) => matches!(forward.sampling, SamplingRate::Packets(_)) && unsigned(2),
        (0, 22) => up(forward.start_us),
        (0, 21) => up(forward.end_us),
        (0, 158) => unsigned(NOW_US - forward.start_us),
        (0, 159) => unsigned(NOW_US - forward.end_us),
        (REVERSE, 22) => of_answers.is_some_and(|record| up(record.start_us)),
        (REVERSE, 21) => of_answers.is_some_and(|record| up(record.end_us)),
        (REVERSE, 158) => of_answers.is_some_and(|record| unsigned(NOW_US - record.start_us)),
        (REVERSE, 159) => of_answers.is_some_and(|record| unsigned(NOW_US - record.end_us)),
        // Two ports as fprobe has them for ICMP.
        (0, 7) if forward.is_icmp() && forward.key.source_port == 0 => unsigned(type_and_code[0].into()),
        (0, 11) if forward.is_icmp() && forward.key.source_port == 0 && unsigned(type_and_code[1].into()) => true,
        (0 | REVERSE, _) => {
            let is_time = (150..=155).contains(&id);
            let subject = match (enterprise, of_answers) {
                (0, _) => &forward,
                (_, Some(reverse)) => reverse,
                (_, None) if is_time => &forward,
                (_, None) => return false,
            };
            let mut rows = ELEMENTS.iter().filter(|row| (row.enterprise, row.id) == (0, id));
            rows.any(|row| is_written((row.value)(subject), octets))
        }
        _ => false,
    }
}

#[test]
fn every_octet_is_in_the_record_or_in_the_tail() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut in_tails = 0;
    for round in 0..10_000 {
        let count = random.usize(1..40);
        let said: Vec<Said> = (0..count).map(|_| field(&mut random)).collect();
        let mut exporter = Exporter { boot_us: Some(NOW_US - 100_000_000), ..Exporter::default() };
        let read = exporter.read(&said);
        let records = &read.0.records;
        let in_record =
            said.iter().rev().find(|(field, _)| (field.enterprise, field.id, field.length > 0) == (0, 160, true));
        let in_record = in_record.map_or(0, |field| number(value(field)));
        let boot_ms = if (1..NOW_US / 1000).contains(&in_record) { in_record } else { NOW_US / 1000 - 100_000 };
        assert_eq!(records.len(), read.0.beyond.len());
        let mut tail = read.tail_of(0);
        for field in &said {
            if let Some(place) = tail.iter().position(|of_tail| of_tail == field) {
                tail.remove(place);
                in_tails += 1;
                continue;
            }
            let is_padding = (field.0.enterprise, field.0.id) == (0, 210);
            let is_zero = value(field).iter().all(|&octet| octet == 0);
            let context = || format!("seed {seed}, round {round}: {field:?} of {said:?} is lost in {records:?}");
            assert!(is_padding || is_zero || is_in_record(field, records, boot_ms), "{}", context());
        }
        // What is left is the origin.
        assert!(tail.iter().all(|(field, _)| matches!(field.id, 130 | 405)), "seed {seed}, round {round}: {tail:?}");
        let (received, octets) = read.0.beyond.get(0).expect("one");
        let mut line = String::from("{\"first\":1");
        registry::put_tail_json(&received.tail, octets, &mut line);
        line.push('}');
        let object: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert!(object.is_object());
    }
    assert!(in_tails > 50_000, "{in_tails}");
}

#[test]
fn no_octets_make_it_panic() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut exporter = Exporter::default();
    let (mut read, mut short) = (0, 0);
    for _ in 0..20_000 {
        let fields: Vec<Said> = (0..random.usize(..60)).map(|_| field(&mut random)).collect();
        let plan = Plan::of(&template(&fields));
        let length = random.usize(..300);
        let record: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
        match exporter.with(&plan, &record) {
            Ok(_) => read += 1,
            Err(ShortRecord { octets }) => {
                assert_eq!(octets, length, "seed {seed}");
                short += 1;
            }
        }
        let _ = plan.learn(&record, &mut exporter.facts);
    }
    assert!(read > 1000 && short > 1000, "seed {seed}: {read} read, {short} short");
    assert!(exporter.tails.len() <= 512);
}
