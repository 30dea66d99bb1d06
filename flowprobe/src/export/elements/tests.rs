//! What must hold of the table and of the layouts that are made from it.

mod fields;
mod page;

use super::*;
use crate::export::{Format, options};
use crate::record::{Role, SamplingRate};

/// Of records that say all that they can; packets are sampled.
fn everything() -> Extras {
    let sampling = SamplingRate::Packets(2.try_into().expect("not 0"));
    Extras { tunnels: true, next_hops: true, as_numbers: true, sampling, biflow: true }
}

fn full(extras: Extras) -> Schema {
    Schema::of(Format::Ipfix, extras, &Fields::Preset(Preset::Full))
}

fn names(layout: &Layout) -> Vec<&'static str> {
    layout.elements().map(|element| element.name).collect()
}

/// The place of an element in the table.
fn position(element: &Element) -> usize {
    ELEMENTS.iter().position(|other| std::ptr::eq(other, element)).expect("it is out of the table")
}

#[test]
fn only_the_addresses_of_tunnels_are_in_a_template_twice() {
    for layout in full(everything()).layouts() {
        let elements: Vec<&Element> = layout.elements().collect();
        for (position, element) in elements.iter().enumerate() {
            let same = |other: &&&Element| (other.enterprise, other.id) == (element.enterprise, element.id);
            let before: Vec<_> = elements[..position].iter().filter(same).collect();
            // RFC 7011 section 8: the outer header's first.
            assert!(before.iter().all(|other| other.name.starts_with("tunnel")), "{}", element.name);
            assert!(before.len() <= 1, "{}", element.name);
        }
    }
}

#[test]
fn names_are_unique_in_the_table() {
    for (position, element) in ELEMENTS.iter().enumerate() {
        assert!(ELEMENTS[..position].iter().all(|other| other.name != element.name), "{}", element.name);
    }
}

#[test]
fn an_element_of_the_other_direction_is_that_of_the_flow_under_another_enterprise_number() {
    for reverse in ELEMENTS.iter().filter(|element| element.group.is_reverse()) {
        let forward = ELEMENTS.iter().find(|element| {
            let mut name = String::from("reverse");
            name.push_str(&element.name[..1].to_uppercase());
            name.push_str(&element.name[1..]);
            name == reverse.name
        });
        let forward = forward.expect("RFC 5103 section 6.1 names it after one that there is");
        assert_eq!((reverse.enterprise, reverse.id), (29_305, forward.id), "{}", reverse.name);
        assert_eq!((reverse.data_type, reverse.unit), (forward.data_type, forward.unit), "{}", reverse.name);
        assert_eq!(reverse.length, forward.length, "{}", reverse.name);
        let record = FlowRecord::example();
        assert_eq!((reverse.value)(&record), (forward.value)(&record), "{}", reverse.name);
    }
}

#[test]
fn no_value_is_longer_than_its_type() {
    for Element { name, data_type, length, .. } in ELEMENTS {
        let whole = match data_type {
            DataType::Unsigned8 => 1,
            DataType::Unsigned16 => 2,
            DataType::Unsigned32 | DataType::DateTimeSeconds | DataType::Ipv4Address => 4,
            DataType::MacAddress => 6,
            DataType::Ipv6Address => 16,
            DataType::OctetArray => *length,
            _ => 8,
        };
        // RFC 7011 section 6.2: what may be reduced is an integer or a float64, and dates may not.
        let may_be_reduced = matches!(data_type, DataType::Unsigned16 | DataType::Unsigned32 | DataType::Unsigned64);
        assert!(*length == whole || (may_be_reduced && *length < whole), "{name}");
    }
}

#[test]
fn a_record_out_of_a_tunnel_needs_a_schema_with_tunnels() {
    let tunnel = flowprobe_ebpf::Tunnel { kind: 1, ip_version: 6, ..flowprobe_ebpf::Tunnel::NONE };
    let record = FlowRecord { tunnel, ..FlowRecord::example() };
    let shape = |outer| Shape { family: Family::V4, outer, biflow: false };
    assert_eq!(full(everything()).layout(&record).shape, shape(Some(Family::V6)));
    assert_eq!(Schema::default().layout(&record).shape, shape(None));
    let netflow9 = Schema::of(Format::NetFlow9, everything(), &Fields::default());
    assert_eq!(netflow9.layout(&record).shape, shape(None));
}

#[test]
fn each_shape_has_a_layout_of_its_own() {
    let schema = full(everything());
    let mut seen = Vec::new();
    for ip_version in [4, 6] {
        for outer in [0, 4, 6] {
            for role in [Role::Single, Role::Forward] {
                let example = FlowRecord::example();
                let key = flowprobe_ebpf::FlowKey { ip_version, ..example.key };
                let tunnel = flowprobe_ebpf::Tunnel { kind: outer, ip_version: outer, ..flowprobe_ebpf::Tunnel::NONE };
                let record = FlowRecord { key, tunnel, role, ..example };
                let layout = schema.layout(&record);
                assert_eq!(layout.shape, Shape::of(&record));
                let has = |name| names(layout).contains(&name);
                assert_eq!(has("sourceIPv4Address"), ip_version == 4);
                assert_eq!(has("sourceIPv6Address"), ip_version == 6);
                assert_eq!(has("tunnelType"), outer != 0);
                assert_eq!(has("tunnelSourceIPv6Address"), outer == 6);
                let is_biflow = role == Role::Forward;
                assert_eq!((has("biflowDirection"), has("reverseOctetDeltaCount")), (is_biflow, is_biflow));
                assert_eq!(has("reverseIcmpTypeCodeIPv4"), is_biflow && ip_version == 4);
                assert_eq!(has("reverseIcmpTypeCodeIPv6"), is_biflow && ip_version == 6);
                assert!(has("ipNextHopIPv4Address") && has("ipNextHopIPv6Address") && has("samplingInterval"));
                assert_eq!((has("samplingProbability"), has("samplingFlowSpacing")), (true, false));
                seen.push(layout.template_id);
            }
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, (256..268).collect::<Vec<u16>>());
}

#[test]
fn template_ids_follow_the_layouts() {
    let ids = |schema: &Schema| schema.layouts().iter().map(|layout| layout.template_id).collect::<Vec<u16>>();
    let first = full(everything());
    assert_eq!(ids(&first), (256..268).collect::<Vec<u16>>());
    let (format, fields) = (Format::Ipfix, Fields::default());
    let second = first.followed_by(format, Extras::default(), &fields);
    assert_eq!(ids(&second), [512, 513]);
    assert_eq!(ids(&second.followed_by(format, Extras::default(), &fields)), [256, 257]);
    for template in [Format::Ipfix, Format::NetFlow9].into_iter().flat_map(options::all) {
        assert!(template.template_id >= 512 + 12, "{} is not one of a schema", template.template_id);
    }
}

#[test]
fn biflows_are_joined_where_records_say_something_of_the_answers() {
    let joins = |format, extras, fields: &Fields| Schema::of(format, extras, fields).joins_biflows();
    let chosen = |more: &[&str]| Fields::named(&[&["protocolIdentifier"], more].concat()).expect("known elements");
    let (with, without) = (everything(), Extras { biflow: false, ..everything() });
    for (_, preset) in Preset::NAMES {
        assert!(joins(Format::Ipfix, with, &Fields::Preset(preset)), "{preset}");
        assert!(!joins(Format::Ipfix, without, &Fields::Preset(preset)), "{preset}");
        assert!(!joins(Format::NetFlow9, with, &Fields::Preset(preset)), "{preset}");
        assert!(!joins(Format::NetFlow5, with, &Fields::Preset(preset)), "{preset}");
    }
    assert!(joins(Format::Ipfix, with, &chosen(&["reversePacketDeltaCount"])));
    assert!(!joins(Format::Ipfix, with, &chosen(&[])));
    assert!(!joins(Format::Ipfix, with, &chosen(&["biflowDirection"])));
    // The layout of a half is then that of a flow.
    let half = FlowRecord { role: Role::Forward, ..FlowRecord::example() };
    assert!(!Schema::of(Format::Ipfix, with, &chosen(&[])).layout(&half).shape.biflow);
}
