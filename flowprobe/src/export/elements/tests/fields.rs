//! Presets, lists of names, and what is said of those that cannot be had.

use super::super::fields::{MINIMAL, SECURITY};
use super::*;

fn preset_names(preset: Preset) -> Vec<&'static str> {
    let fields = Fields::Preset(preset);
    fields.of(Family::V4, Format::Ipfix).map(|(position, _)| ELEMENTS[position].name).collect()
}

fn refusal(names: &[&str]) -> String {
    Fields::named(names).expect_err("there is a fault in it").to_string()
}

/// What is said of a list that has all that it needs but for one thing.
fn unfit(more: &str, format: Format, extras: Extras) -> String {
    let fields = Fields::named(&["octetDeltaCount", more]).expect("known elements");
    fields.check(format, extras).expect_err("there is a fault in it").to_string()
}

#[test]
fn every_name_in_a_preset_is_that_of_an_element_and_there_once() {
    let all: Vec<&str> = MINIMAL.iter().chain(&SECURITY).copied().collect();
    for (position, name) in all.iter().enumerate() {
        assert!(ELEMENTS.iter().any(|element| element.name == *name), "{name}");
        assert!(!all[..position].contains(name), "{name} is there twice");
    }
    assert_eq!(preset_names(Preset::Minimal).len(), MINIMAL.len());
    assert_eq!(preset_names(Preset::Security).len(), MINIMAL.len() + SECURITY.len());
}

#[test]
fn presets_grow_from_minimal_to_full() {
    let [minimal, standard, full, security] =
        [Preset::Minimal, Preset::Standard, Preset::Full, Preset::Security].map(preset_names);
    let within = |few: &[&str], many: &[&str]| few.iter().all(|name| many.contains(name)) && few.len() < many.len();
    assert!(within(&minimal, &standard) && within(&standard, &full));
    assert!(within(&minimal, &security) && within(&security, &full));
    for (name, preset) in Preset::NAMES {
        assert_eq!((Preset::named(name), preset.to_string().as_str()), (Some(preset), name));
    }
    assert_eq!(Preset::named("everything"), None);
}

#[test]
fn who_chooses_gets_these_and_in_this_order() {
    let chosen = ["octetDeltaCount", "sourceIPv6Address", "protocolIdentifier", "sourceIPv4Address"];
    let schema = Schema::of(Format::Ipfix, Extras::default(), &Fields::named(&chosen).expect("known elements"));
    assert_eq!(names(&schema.layouts()[0]), ["octetDeltaCount", "protocolIdentifier", "sourceIPv4Address"]);
    assert_eq!(names(&schema.layouts()[1]), ["octetDeltaCount", "sourceIPv6Address", "protocolIdentifier"]);

    let by_family = Fields::by_family(&["vlanId", "sourceIPv4Address"], &["tcpControlBits"]).expect("known elements");
    let schema = Schema::of(Format::Ipfix, Extras::default(), &by_family);
    assert_eq!(names(&schema.layouts()[0]), ["vlanId", "sourceIPv4Address"]);
    assert_eq!(names(&schema.layouts()[1]), ["tcpControlBits"]);
    assert_eq!(by_family.to_string(), r#"{ ipv4 = ["vlanId", "sourceIPv4Address"], ipv6 = ["tcpControlBits"] }"#);
    assert_eq!(Fields::default().to_string(), "\"standard\"");
}

#[test]
fn tcp_flags_are_one_octet_but_where_all_is_asked_for() {
    let lengths = |format, fields: &Fields| -> Vec<u16> {
        let schema = Schema::of(format, everything(), fields);
        let fields = schema.layouts().iter().flat_map(|layout| &layout.fields);
        let flags = fields.filter(|field| matches!(field.element.name, "tcpControlBits" | "reverseTcpControlBits"));
        flags.map(|field| field.length).collect()
    };
    let named = Fields::named(&["tcpControlBits", "reverseTcpControlBits"]).expect("known elements");
    let only = |length, fields: &Fields| {
        let lengths = lengths(Format::Ipfix, fields);
        !lengths.is_empty() && lengths.iter().all(|other| *other == length)
    };
    assert!(only(1, &Fields::Preset(Preset::Standard)) && only(1, &Fields::Preset(Preset::Security)));
    assert!(only(2, &Fields::Preset(Preset::Full)) && only(2, &named));
    // RFC 3954 has one octet.
    for fields in [Fields::Preset(Preset::Full), Fields::named(&["tcpControlBits"]).expect("known elements")] {
        assert_eq!(lengths(Format::NetFlow9, &fields), [1, 1]);
    }
}

#[test]
fn netflow9_has_elements_of_its_own_in_place_of_those_it_has_not() {
    for (_, preset) in Preset::NAMES {
        let schema = Schema::of(Format::NetFlow9, everything(), &Fields::Preset(preset));
        for layout in schema.layouts() {
            assert!(layout.elements().all(|element| element.enterprise == 0 && element.id <= 127), "{layout:?}");
            let has = |name| names(layout).contains(&name);
            assert!(has("flowStartSysUpTime") && has("flowEndSysUpTime") && !has("flowStartMilliseconds"));
            assert!(has("octetDeltaCount") && has("samplingInterval"));
            let has_icmp = preset != Preset::Minimal;
            assert_eq!(has("icmpTypeCode"), has_icmp && layout.shape.family == Family::V6);
            assert_eq!(has("icmpTypeCodeIPv4"), has_icmp && layout.shape.family == Family::V4);
        }
    }
}

#[test]
fn names_that_are_not_known_are_answered_with_the_one_that_was_meant() {
    let said = |name: &str| refusal(&[name]);
    assert_eq!(
        said("sourceipv4address"),
        "`sourceipv4address` is no element that can be filled, but `sourceIPv4Address` is; docs/elements.md has them all"
    );
    assert!(said("DeltaCount").contains("but `packetDeltaCount` is"), "{}", said("DeltaCount"));
    assert!(said("flowStartMillisecondsUTC").contains("but `flowStartMilliseconds` is"));
    assert_eq!(
        said("bgpNextHopIPv4Address"),
        "`bgpNextHopIPv4Address` is no element that can be filled; docs/elements.md has them all"
    );
    assert!(!said("xyz").contains("but"));
}

#[test]
fn lists_that_say_nothing_or_the_same_twice_are_refused() {
    assert_eq!(refusal(&["vlanId", "protocolIdentifier", "vlanId"]), "`vlanId` is there twice");
    assert_eq!(refusal(&[]), "no field is left for IPv4 flows");
    assert_eq!(refusal(&["sourceIPv4Address"]), "no field is left for IPv6 flows");
    // Not every flow comes out of a tunnel or is answered.
    for name in ["tunnelType", "tunnelSourceIPv4Address", "reverseOctetDeltaCount", "biflowDirection"] {
        assert_eq!(refusal(&[name]), "no field is left for IPv4 flows");
    }
    assert_eq!(
        refusal(&["protocolIdentifier", "sourceIPv4Address", "tunnelSourceIPv4Address"]),
        "`tunnelSourceIPv4Address` has to come before `sourceIPv4Address`: they are one element of the registry, and the \
         tunnel's is the first"
    );
    assert!(Fields::named(&["protocolIdentifier", "tunnelSourceIPv4Address", "sourceIPv4Address"]).is_ok());
    let other = Fields::by_family(&["sourceIPv4Address", "sourceIPv6Address"], &["vlanId"]);
    assert_eq!(other.expect_err("of IPv6").to_string(), "`sourceIPv6Address` is not in records of IPv4 flows");
    let other = Fields::by_family(&["vlanId"], &["reverseIcmpTypeCodeIPv4"]);
    assert_eq!(other.expect_err("of IPv4").to_string(), "`reverseIcmpTypeCodeIPv4` is not in records of IPv6 flows");
}

#[test]
fn what_needs_a_setting_says_which() {
    let packets = everything();
    let flows = Extras { sampling: SamplingRate::Flows(2.try_into().expect("not 0")), ..packets };
    let needs = [
        ("tunnelKey", Extras { tunnels: false, ..packets }, "--decapsulate"),
        ("tunnelSourceIPv6Address", Extras { tunnels: false, ..packets }, "--decapsulate"),
        ("ipNextHopIPv4Address", Extras { next_hops: false, ..packets }, "--next-hop"),
        ("bgpSourceAsNumber", Extras { as_numbers: false, ..packets }, "--mmdb"),
        ("samplingInterval", Extras { sampling: SamplingRate::All, ..packets }, "--sample"),
        ("samplingProbability", flows, "--sample by packets"),
        ("samplingFlowSpacing", packets, "--sample-by flows"),
        ("biflowDirection", Extras { biflow: false, ..packets }, "--biflow"),
        ("reverseVlanId", Extras { biflow: false, ..packets }, "--biflow"),
    ];
    for (name, extras, setting) in needs {
        assert_eq!(unfit(name, Format::Ipfix, extras), format!("`{name}` says nothing without {setting}"));
    }
    for (_, preset) in Preset::NAMES {
        assert_eq!(Fields::Preset(preset).check(Format::Ipfix, Extras::default()), Ok(()));
    }
}

#[test]
fn each_format_says_what_it_cannot() {
    let cases = [
        ("flowStartSysUpTime", Format::Ipfix, "it has times of its own, such as flowStartMilliseconds"),
        ("icmpTypeCode", Format::Ipfix, "it has icmpTypeCodeIPv6"),
        ("tunnelType", Format::NetFlow9, "it has no elements of enterprises"),
        ("reverseOctetDeltaCount", Format::NetFlow9, "it has no elements of enterprises"),
        ("tunnelSourceIPv4Address", Format::NetFlow9, "it has no repeated elements"),
        ("layer2SegmentId", Format::NetFlow9, "its records say nothing of tunnels"),
        ("biflowDirection", Format::NetFlow9, "its records have one direction"),
    ];
    for (name, format, why) in cases {
        assert_eq!(unfit(name, format, everything()), format!("{format} cannot say `{name}`: {why}"));
    }
    let chosen = Fields::named(&["vlanId"]).expect("known elements");
    let refusal = chosen.check(Format::NetFlow5, everything()).expect_err("there is nothing to choose");
    assert_eq!(refusal.to_string(), "NetFlow v5 cannot say `vlanId`: its fields are fixed");
    let fit = Fields::named(&["flowStartSysUpTime", "icmpTypeCode", "samplingInterval"]).expect("known elements");
    assert_eq!(fit.check(Format::NetFlow9, everything()), Ok(()));
}

#[test]
fn answers_are_told_of_both_ip_versions_or_of_neither() {
    let check = |v4: &[&str], v6: &[&str]| {
        let fields =
            Fields::by_family(&[&["vlanId"], v4].concat(), &[&["vlanId"], v6].concat()).expect("known elements");
        fields.check(Format::Ipfix, everything()).map_err(|error| error.to_string())
    };
    let (count, flags) = ("reversePacketDeltaCount", "reverseTcpControlBits");
    assert_eq!(check(&[count], &[flags]), Ok(()));
    assert_eq!(check(&["biflowDirection"], &[]), Ok(()));
    let one_sided = |family| {
        Err(format!("records of {family} flows would say nothing of the answers, and those of the other IP version do"))
    };
    assert_eq!(check(&[count], &[]), one_sided("IPv6"));
    assert_eq!(check(&["biflowDirection"], &[count]), one_sided("IPv4"));
    assert_eq!(
        unfit("reverseIcmpTypeCodeIPv4", Format::Ipfix, everything()),
        one_sided("IPv6").expect_err("it is one")
    );
}
