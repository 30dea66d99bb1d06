//! Lengths: of messages, sets, records, templates, and what pads them.

use super::*;
use crate::export::options::Facts;
use crate::export::packed::TemplateSet;

/// The largest templates that there are, and the smallest records.
fn schemas(format: Format) -> [Arc<Schema>; 4] {
    let one = Fields::named(&["protocolIdentifier"]).expect("known elements");
    [
        Arc::new(Schema::of(format, extras(), &Fields::Preset(Preset::Full))),
        Arc::new(Schema::of(format, extras(), &Fields::Preset(Preset::Minimal))),
        Arc::new(Schema::of(format, Extras::default(), &Fields::default())),
        Arc::new(Schema::of(format, Extras::default(), &one)),
    ]
}

/// Every shape of record that a schema may have.
fn shapes() -> Vec<FlowRecord> {
    let mut records = Vec::new();
    for family in [Family::V4, Family::V6] {
        for ip_version in [0, 4, 6] {
            let tunnel = Tunnel { kind: u8::from(ip_version != 0), ip_version, ..Tunnel::NONE };
            let [forward, reverse] = biflow(2, family);
            let single = record(1, family);
            let all = [single, forward, reverse].map(|one| FlowRecord { tunnel, ..one });
            records.extend(all.map(|one| FlowRecord { sampling: extras().sampling, ..one }));
        }
    }
    records
}

#[test]
fn every_record_has_the_length_of_its_layout() {
    let ten = 10.try_into().expect("not zero");
    for sampling in [SamplingRate::All, SamplingRate::Packets(ten), SamplingRate::Flows(ten)] {
        for preset in Preset::NAMES.map(|(_, preset)| preset) {
            for format in FORMATS {
                let schema = Arc::new(Schema::of(format, Extras { sampling, ..extras() }, &Fields::Preset(preset)));
                for (record, reverse) in conversations(&shapes()) {
                    let mut encoder = Encoder::new(format, Arc::clone(&schema), 1, 1472);
                    assert_eq!(encoder.push(record, reverse, CLOCK), Pushed::Taken);
                    let message = encoder.finish(CLOCK).expect("a message");
                    let layout = schema.layout(record);
                    let set = &sets(format, &message.octets)[..];
                    let padding = if format == Format::Ipfix { 0 } else { 3 };
                    let most = layout.record_length + padding;
                    assert_eq!((set.len(), set[0].0), (1, layout.template_id));
                    assert!((layout.record_length..=most).contains(&set[0].1.len()), "{layout:?}");
                }
            }
        }
    }
}

#[test]
fn messages_stay_within_what_they_may_have() {
    for format in FORMATS {
        for schema in schemas(format) {
            for capacity in [512, 600, 601, 602, 603, 1232, 1472, 65_535] {
                let records: Vec<FlowRecord> = (0..200).flat_map(|_| shapes()).collect();
                let mut encoder = Encoder::new(format, Arc::clone(&schema), 9, capacity);
                let messages = pack(&mut encoder, &schema, &records);
                // The full templates and records are longer than 512 octets.
                let most = if capacity < 1000 { capacity.max(longest(format, &schema)) } else { capacity };
                for message in &messages {
                    let length = message.octets.len();
                    assert!(length <= most, "{length} of {most}");
                    headers_are_right(format, message);
                }
                // None is finished before it is full.
                let record = schema.layouts().iter().map(|one| one.record_length).max().unwrap_or(0);
                let (_, full) = messages.split_last().expect("there are messages");
                assert!(full.iter().all(|message| message.octets.len() + record + 2 * (4 + 6) >= most));
            }
        }
    }
}

/// Octets of the longest template, and of the longest record, with their headers.
fn longest(format: Format, schema: &Schema) -> usize {
    let octets = |layout: &crate::export::elements::Layout| {
        let fields = layout.fields.iter().map(|field| if field.element.enterprise == 0 { 4 } else { 8 });
        (4 + fields.sum::<usize>()).max(layout.record_length)
    };
    format.header() + 4 + 6 + schema.layouts().iter().map(octets).max().unwrap_or(0)
}

fn headers_are_right(format: Format, message: &Packed) {
    let octets = &message.octets;
    let sets = sets(format, octets);
    assert!(sets.iter().all(|(id, _)| *id >= 256));
    match format {
        Format::Ipfix => {
            assert_eq!((half(octets, 0), usize::from(half(octets, 2))), (10, octets.len()));
            assert_eq!((word(octets, 4), word(octets, 12)), (CLOCK.now_s(), 9));
        }
        _ => {
            assert_eq!((half(octets, 0), u32::from(half(octets, 2))), (9, message.records));
            assert_eq!(word(octets, 16), 9);
        }
    }
    assert_eq!(
        (format.domain(octets), word(octets, format.header() - 8)),
        (9, if format == Format::Ipfix { 0 } else { word(octets, 12) })
    );
}

#[test]
fn sets_of_netflow9_end_on_a_multiple_of_four() {
    let format = Format::NetFlow9;
    let mut encoder = encoder(format, 1472);
    let schema = Schema::of(format, Extras::default(), &Fields::default());
    for message in pack(&mut encoder, &schema, &mixed(100)) {
        for (id, set) in sets(format, &message.octets) {
            assert!(set.len().is_multiple_of(4), "set {id}");
            let record =
                schema.layouts().iter().find(|layout| layout.template_id == id).expect("its layout").record_length;
            let padding = set.len() % record;
            assert!(padding < 4 && set[set.len() - padding..].iter().all(|octet| *octet == 0));
        }
    }
    for message in &encoder.templates().messages {
        assert!(sets(format, message).iter().all(|(_, set)| set.len().is_multiple_of(4)));
    }
}

#[test]
fn padding_is_never_taken_for_records() {
    // Of one, two and three octets: as long as the padding of a set may be.
    for names in [&["protocolIdentifier"][..], &["vlanId"], &["protocolIdentifier", "vlanId"]] {
        let format = Format::NetFlow9;
        let fields = Fields::named(names).expect("known elements");
        let schema = Arc::new(Schema::of(format, Extras::default(), &fields));
        for count in 1..=9 {
            let mut encoder = Encoder::new(format, Arc::clone(&schema), 9, 1472);
            let mut reader = Reader::default();
            for message in &encoder.templates().messages {
                reader.read(message);
            }
            let messages = pack(&mut encoder, &schema, &mixed(count));
            let length = schema.layouts()[0].record_length;
            let held: usize = sets(format, &messages[0].octets).iter().map(|(_, set)| set.len() / length).sum();
            assert_eq!((held, reader.read(&messages[0].octets).len()), (usize::from(count), usize::from(count)));
        }
    }
}

/// The Template IDs of the sets with templates, and whether they are of options.
fn defined(format: Format, templates: &TemplateSet) -> Vec<(u16, bool)> {
    let (flows, of_options) = if format == Format::Ipfix { (2, 3) } else { (0, 1) };
    let mut defined = Vec::new();
    let mut reader = Reader::default();
    for message in &templates.messages {
        for (id, set) in sets(format, message) {
            assert!(id == flows || id == of_options, "a set with data among templates");
            defined.push((half(set, 0), id == of_options));
        }
        assert_eq!(reader.read(message), []);
    }
    defined
}

#[test]
fn templates_are_whole_wherever_messages_end() {
    for format in FORMATS {
        for schema in schemas(format) {
            let mut all: Vec<u16> = schema.layouts().iter().map(|layout| layout.template_id).collect();
            all.extend(crate::export::options::templates(format, &schema).map(|template| template.template_id));
            for capacity in (100..1500).step_by(7).chain(480..600) {
                let encoder = Encoder::new(format, Arc::clone(&schema), 1, capacity);
                let templates = encoder.templates();
                let mut reader = Reader::default();
                for message in &templates.messages {
                    let most =
                        capacity.max(longest(format, &schema)).max(if format == Format::Ipfix { 447 } else { 130 });
                    assert!(message.len() <= most, "{} of {most}", message.len());
                    let count = match format {
                        Format::Ipfix => message.len(),
                        _ => sets(format, message).iter().map(|(id, set)| count_of(*id, set)).sum(),
                    };
                    assert_eq!(usize::from(half(message, 2)), count);
                    reader.read(message);
                }
                assert_eq!(reader.template_ids(), all, "at {capacity}");
            }
        }
    }
}

/// Templates in a set of NetFlow v9.
fn count_of(id: u16, set: &[u8]) -> usize {
    let (mut at, mut count) = (0, 0);
    while at + 4 <= set.len() {
        let specifiers = usize::from(half(set, at + 2));
        at += if id == 1 { 6 + specifiers + usize::from(half(set, at + 4)) } else { 4 + 4 * specifiers };
        count += 1;
    }
    count
}

#[test]
fn templates_fit_into_512_octets_where_they_can() {
    for format in FORMATS {
        let schema = Arc::new(Schema::of(format, extras(), &Fields::default()));
        let encoder = Encoder::new(format, Arc::clone(&schema), 1, 512);
        let templates = encoder.templates();
        assert!(templates.messages.iter().all(|message| message.len() <= 512));
        assert_eq!(templates.messages.len() > 1, format == Format::Ipfix);
        // Each of options has a set of its own.
        let defined = defined(format, &templates);
        let count = crate::export::options::templates(format, &schema).count();
        assert_eq!(defined.iter().filter(|(_, of_options)| *of_options).count(), count);
    }
}

#[test]
fn templates_say_what_the_layouts_say() {
    for format in FORMATS {
        let schema = Arc::new(Schema::of(format, extras(), &Fields::Preset(Preset::Full)));
        let encoder = Encoder::new(format, Arc::clone(&schema), 1, 1472);
        let mut reader = Reader::default();
        for message in &encoder.templates().messages {
            reader.read(message);
        }
        for layout in schema.layouts() {
            let elements: Vec<_> = layout.elements().map(|element| (element.enterprise, element.id)).collect();
            assert_eq!(reader.template(layout.template_id), elements);
        }
        for template in crate::export::options::templates(format, &schema) {
            let elements: Vec<_> = template.elements.iter().map(|element| (0, element.id)).collect();
            assert_eq!(reader.template(template.template_id), elements);
        }
    }
}

#[test]
fn a_capacity_that_changes_holds_from_the_next_message() {
    for format in FORMATS {
        let schema = Schema::of(format, Extras::default(), &Fields::default());
        let mut encoder = encoder(format, 1472);
        for capacity in [1472, 1232, 512, 9000] {
            encoder.set_capacity(capacity);
            for message in pack(&mut encoder, &schema, &mixed(300)) {
                assert!(message.octets.len() <= capacity);
                encoder.recycle(message);
            }
            assert!(encoder.templates().messages.iter().all(|message| message.len() <= capacity));
        }
    }
}

#[test]
fn what_a_buffer_held_before_is_in_no_later_message() {
    for format in FORMATS {
        let schema = Schema::of(format, Extras::default(), &Fields::default());
        let (mut used, mut fresh) = (encoder(format, 1472), encoder(format, 1472));
        for message in pack(&mut used, &schema, &mixed(100)) {
            used.recycle(Packed { octets: vec![0xff; message.octets.len()], ..message });
        }
        let records = [record(1, Family::V4), record(2, Family::V6), record(3, Family::V4)];
        let octets = |encoder: &mut Encoder| -> Vec<Vec<u8>> {
            pack(encoder, &schema, &records).into_iter().map(|message| message.octets).collect()
        };
        assert_eq!(octets(&mut used), octets(&mut fresh));
    }
}

#[test]
fn options_records_need_room_too() {
    let tick = options::tick();
    let schema = Schema::of(Format::Ipfix, extras(), &Fields::default());
    let facts = Facts::new(&tick, 1, 99, options::SENT, options::NOT_SENT);
    for (template, facts) in facts.records(Format::Ipfix, &schema, &tick, &[]) {
        assert!(template.record_length(&facts) <= template.longest_record(), "{}", template.title);
    }
}
