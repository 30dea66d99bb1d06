//! Configurations of `fields` out of a generator: each is refused for a fault that it has, or what it asks for is read back.

mod configuration;
mod names;

use super::*;
use crate::export::elements::{ELEMENTS, Element, Field};
use configuration::Configuration;
use names::is_in;

/// The seed, to run a failed case again.
const SEED: &str = "FLOWPROBE_SEED";

const CASES: usize = 10_000;

#[test]
fn whatever_fields_are_asked_for_they_are_refused_for_a_reason_or_read_back() {
    let seed = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("{SEED}={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut refused, mut records) = (0, 0);
    for case in 0..CASES {
        let configuration = Configuration::random(&mut random);
        let fault = configuration.fault();
        match (configuration.fields(), fault) {
            (Err(_), Some(_)) => refused += 1,
            (Ok(fields), None) => records += read_back(&configuration, &fields, &mut random),
            (Err(reason), None) => panic!("case {case} of {SEED}={seed}: {reason}, of {configuration:?}"),
            (Ok(_), Some(fault)) => panic!("case {case} of {SEED}={seed} is taken: {fault}, of {configuration:?}"),
        }
    }
    assert!((CASES / 5..CASES / 5 * 4).contains(&refused), "{refused} of {CASES} are refused");
    assert!(records > CASES, "{records} records");
}

/// Encodes records, some of them halves of biflows, and compares what comes back. How many it were.
fn read_back(configuration: &Configuration, fields: &Fields, random: &mut fastrand::Rng) -> usize {
    let Configuration { format, extras, .. } = *configuration;
    let schema = Arc::new(Schema::of(format, extras, fields));
    let capacity = [512, 1232, 1472, 65_535][random.usize(..4)];
    let mut encoder = Encoder::new(format, Arc::clone(&schema), random.u32(..), capacity);
    let mut reader = Reader::default();
    for message in &encoder.templates().messages {
        assert_eq!(reader.read(message), []);
    }
    let mut records: Vec<FlowRecord> = Vec::new();
    for _ in 0..random.usize(1..12) {
        records.extend(random_conversation(extras, random));
    }
    let messages = pack(&mut encoder, &schema, &records);
    let read: Vec<_> = messages.iter().flat_map(|message| reader.read(&message.octets)).collect();
    let mut expected = Vec::new();
    for (record, reverse) in conversations(&records) {
        match reverse {
            Some(reverse) if !schema.joins_biflows() => expected.extend([(record, None), (reverse, None)]),
            _ => expected.push((record, reverse)),
        }
    }
    assert_eq!(read.len(), expected.len(), "{configuration:?}");
    for (read, (record, reverse)) in read.iter().zip(&expected) {
        compare(configuration, &schema, read, record, *reverse);
    }
    read.len()
}

fn compare(
    configuration: &Configuration,
    schema: &Schema,
    read: &reader::Read,
    record: &FlowRecord,
    reverse: Option<&FlowRecord>,
) {
    let chosen = configuration.names(record);
    let elements: Vec<&Element> = match &chosen {
        Some(names) => {
            let element = |name: &&str| ELEMENTS.iter().find(|element| element.name == *name);
            let here = names.iter().filter(|name| is_in(name, record, reverse.is_some()));
            here.filter_map(element).collect()
        }
        None => {
            let elements: Vec<&Element> = schema.layout(record).elements().collect();
            assert!(elements.iter().all(|element| is_in(element.name, record, reverse.is_some())));
            elements
        }
    };
    assert_eq!(read.fields.len(), elements.len(), "{configuration:?}");
    let has_all_flags = chosen.is_some() || configuration.preset == Preset::Full;
    for ((enterprise, id, octets), element) in read.fields.iter().zip(elements) {
        assert_eq!((*enterprise, *id), (element.enterprise, element.id), "{configuration:?}");
        let subject = if element.enterprise == 29_305 { reverse.expect("the answers") } else { record };
        let is_flags = element.id == 6 && matches!(element.enterprise, 0 | 29_305);
        let reduced = is_flags && !(has_all_flags && configuration.format == Format::Ipfix);
        let length = if reduced { 1 } else { usize::from(element.length) };
        let value = (element.value)(subject);
        let expected = match value {
            // Of NetFlow v9: uptimes, which with the header's are the moment.
            Field::Unsigned(ms) if element.name.ends_with("SysUpTime") => {
                ms.checked_sub(read.boot_ms).expect("no flow is before the boot").to_be_bytes()[8 - length..].to_vec()
            }
            Field::Unsigned(number) => number.to_be_bytes()[8 - length..].to_vec(),
            Field::Float(number) => number.to_bits().to_be_bytes().to_vec(),
            Field::V4(address) => u32::from(address).to_be_bytes().to_vec(),
            Field::V6(address) => u128::from(address).to_be_bytes().to_vec(),
            Field::Mac(address) => address.to_vec(),
        };
        assert_eq!(octets, &expected, "{} of {configuration:?}", element.name);
    }
}

fn random_conversation(extras: Extras, random: &mut fastrand::Rng) -> Vec<FlowRecord> {
    let first = configuration::random_record(extras, random);
    if !extras.biflow || random.bool() {
        return vec![first];
    }
    let other = configuration::random_record(extras, random);
    let key = FlowKey { ip_version: first.key.ip_version, ..other.key };
    let reverse = FlowRecord { key, tunnel: first.tunnel, role: Role::Reverse, ..other };
    vec![FlowRecord { role: Role::Forward, ..first }, reverse]
}
