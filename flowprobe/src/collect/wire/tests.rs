//! Messages as octets, whole and broken, and what is found in them.

use super::build::{ipfix, netflow5, netflow9, set, template, words};
use super::*;
use crate::collect::received::{Specifier, VARIABLE_LENGTH};
use crate::collect::template::{Field, Scope, Template, Version};

const fn element(enterprise: u32, id: u16, length: u16) -> Field {
    Field::Element(Specifier { enterprise, id, length })
}

fn of_fields(version: Version, fields: Vec<Field>) -> Template {
    Template { version, scope: 0, fields }
}

fn told(version: Version, options: bool, body: &[u8]) -> Vec<Result<Told, Fault>> {
    ToldTemplates::of(version, options, 8, body).collect()
}

/// Lengths of the records that a set of these octets has, or what is wrong with it.
fn cut(template: &Template, body: &[u8]) -> Vec<Result<usize, Fault>> {
    let layout = Layout::of(template).expect("its records have octets");
    layout.records(body).map(|record| record.map(<[u8]>::len)).collect()
}

#[test]
fn headers_say_whose_a_message_is_and_when_it_left() {
    let message = netflow5((5000, 1_700_000_000), 77, &[40, 41]);
    let (header, content) = open(&message).expect("it has a header");
    let (domain, sampling) = (0x0102, Some(0x4064));
    assert_eq!((header.version, header.domain, header.sequence), (Version::NetFlow5, domain, 77));
    assert_eq!((header.count, header.sampling), (2, sampling));
    assert_eq!(header.export_time_us, 1_700_000_000_250_000);
    assert_eq!(header.boot_us(), Some(1_699_999_995_250_000));
    assert_eq!(content.expect("it is whole").octets.len(), 96);

    let message = netflow9((5000, 1_700_000_000), 78, 9, &[set(0, &[])]);
    let (header, content) = open(&message).expect("it has a header");
    assert_eq!((header.version, header.domain, header.sequence), (Version::NetFlow9, 9, 78));
    assert_eq!(header.boot_us(), Some(1_699_999_995_000_000));
    assert_eq!(content, Ok(Content { octets: &[0, 0, 0, 4], trailing: false }));

    let message = ipfix(1_700_000_000, 79, 10, &[set(2, &[])]);
    let (header, content) = open(&message).expect("it has a header");
    assert_eq!((header.version, header.domain, header.sequence), (Version::Ipfix, 10, 79));
    assert_eq!((header.export_time_us, header.boot_us()), (1_700_000_000_000_000, None));
    assert_eq!(content, Ok(Content { octets: &[0, 2, 0, 4], trailing: false }));
}

#[test]
fn version_7_has_longer_records_and_no_engine() {
    let mut message = netflow5((5000, 1_700_000_000), 77, &[40]);
    message[1] = 7;
    let (header, content) = open(&message).expect("it has a header");
    assert_eq!((header.version, header.domain, header.sampling), (Version::NetFlow7, 0, None));
    assert_eq!(content, Err(Fault::TruncatedMessage), "52 octets, and there are 48");
    message.extend([10, 0, 0, 1]);
    let (_, content) = open(&message).expect("it has a header");
    assert_eq!(content.expect("it is whole").octets.len(), 52);
    assert_eq!(fixed_template(Version::NetFlow7).least_octets(), 52);
    assert_eq!(fixed_template(Version::NetFlow5).least_octets(), 48);
}

#[test]
fn messages_that_are_too_short_or_of_no_version_are_nobodys() {
    assert_eq!(open(&[]).err(), Some(Fault::ShortHeader));
    assert_eq!(open(&[0, 8, 0, 0]).err(), Some(Fault::UnsupportedVersion));
    let whole = [netflow5((5000, 1), 0, &[]), netflow9((5000, 1), 0, 0, &[]), ipfix(1, 0, 0, &[])];
    for message in whole {
        assert!(open(&message).is_ok());
        assert_eq!(open(&message[..message.len() - 1]).err(), Some(Fault::ShortHeader));
    }
}

#[test]
fn a_length_that_lies_is_found() {
    let mut message = ipfix(1, 0, 0, &[set(2, &[])]);
    message.extend([1, 2, 3]);
    let (_, content) = open(&message).expect("it has a header");
    assert_eq!(content, Ok(Content { octets: &[0, 2, 0, 4], trailing: true }));
    message[3] = 24;
    assert_eq!(open(&message).expect("it has a header").1, Err(Fault::TruncatedMessage));
    message[3] = 15;
    assert_eq!(open(&message).expect("it has a header").1, Err(Fault::BadMessageLength));
    let message = netflow5((5000, 1), 0, &[1, 2]);
    assert_eq!(open(&message[..100]).expect("it has a header").1, Err(Fault::TruncatedMessage));
}

#[test]
fn sets_end_where_they_are_broken() {
    let good = set(256, &[1, 2, 3]);
    for broken in [&[0, 0, 0, 0, 9][..], &[1, 0, 0, 0], &[1, 0, 0, 3], &[1, 0, 0, 5], &[1, 0, 0xff, 0xff, 9]] {
        let content = [&good, broken, &good].concat();
        let sets: Vec<_> = Sets::of(&content[..good.len() + broken.len()]).collect();
        assert_eq!(sets, [Ok(Set { id: 256, body: &[1, 2, 3] }), Err(Fault::BadSetLength)], "{broken:?}");
        assert!(check_sets(&content[..good.len() + broken.len()]).is_err());
    }
    assert_eq!(check_sets(&[good.clone(), good].concat()), Ok(false));
}

#[test]
fn what_is_no_set_behind_the_last_one_is_padding() {
    let good = set(256, &[1, 2, 3]);
    for padding in [&[0][..], &[1, 0], &[9, 9, 9], &[0; 4], &[0; 9]] {
        let content = [&good, padding].concat();
        let sets: Vec<_> = Sets::of(&content).collect();
        assert_eq!(sets, [Ok(Set { id: 256, body: &[1, 2, 3] })], "{padding:?}");
        assert_eq!(check_sets(&content), Ok(true));
    }
}

#[test]
fn the_ids_of_one_versions_templates_mean_nothing_in_the_other() {
    let kind = |version, id| Set { id, body: &[] }.kind(version);
    let kinds = |version| [0, 1, 2, 3, 4, 255, 256, 65_535].map(|id| kind(version, id));
    use Kind::{Data, OptionsTemplates, Reserved, Templates};
    let ipfix = [Reserved, Reserved, Templates, OptionsTemplates, Reserved, Reserved, Data, Data];
    assert_eq!(kinds(Version::Ipfix), ipfix);
    let netflow9 = [Templates, OptionsTemplates, Reserved, Reserved, Reserved, Reserved, Data, Data];
    assert_eq!(kinds(Version::NetFlow9), netflow9);
}

#[test]
fn templates_of_ipfix_have_enterprises_and_end_in_padding() {
    let mut body = words([256, 3, 8, 4, 0x8000 | 82, VARIABLE_LENGTH]);
    body.extend([0, 0, 0x72, 0x79]);
    body.extend(words([1, 8]));
    body.extend(template(257, &[(27, 16)]));
    body.extend([0; 3]);
    let first = vec![element(0, 8, 4), element(29_305, 82, VARIABLE_LENGTH), element(0, 1, 8)];
    let second = vec![element(0, 27, 16)];
    let [first, second] = [first, second].map(|fields| of_fields(Version::Ipfix, fields));
    let expected = [Ok(Told::Template(256, first)), Ok(Told::Template(257, second))];
    assert_eq!(told(Version::Ipfix, false, &body), expected);
    body.extend([0; 5]);
    assert_eq!(told(Version::Ipfix, false, &body), expected, "zeros are padding, however many");
}

#[test]
fn templates_of_netflow_v9_have_scopes_and_elements_of_cisco() {
    let fields = vec![element(9, 1000, 4), element(0, 8, 4)];
    let expected = Told::Template(300, of_fields(Version::NetFlow9, fields));
    assert_eq!(told(Version::NetFlow9, false, &template(300, &[(33_768, 4), (8, 4)])), [Ok(expected)]);

    let mut body = words([301, 8, 8, 1, 4, 2, 2, 34, 4, 35, 1]);
    body.extend([0, 0]);
    let fields =
        vec![Field::Scope(Scope::System, 4), Field::Scope(Scope::Interface, 2), element(0, 34, 4), element(0, 35, 1)];
    let expected = Template { version: Version::NetFlow9, scope: 2, fields };
    assert_eq!(told(Version::NetFlow9, true, &body), [Ok(Told::Template(301, expected))]);
    assert_eq!(told(Version::NetFlow9, true, &words([301, 6, 4, 1, 4, 2, 2])), [Err(Fault::BadTemplate)]);
}

#[test]
fn what_older_firewalls_call_by_numbers_of_their_own_is_known() {
    let body = template(256, &[(40_000, 20), (40_001, 4), (40_004, 2), (40_005, 1), (40_006, 1)]);
    let fields =
        vec![element(9, 7232, 20), element(0, 225, 4), element(0, 228, 2), element(0, 233, 1), element(9, 7238, 1)];
    let expected = Told::Template(256, of_fields(Version::NetFlow9, fields));
    assert_eq!(told(Version::NetFlow9, false, &body), [Ok(expected)]);
}

#[test]
fn options_templates_of_ipfix_say_how_many_of_their_fields_are_the_scope() {
    let expected = Template {
        version: Version::Ipfix,
        scope: 1,
        fields: vec![element(0, 10, 4), element(0, 82, VARIABLE_LENGTH)],
    };
    let body = words([258, 2, 1, 10, 4, 82, VARIABLE_LENGTH]);
    assert_eq!(told(Version::Ipfix, true, &body), [Ok(Told::Template(258, expected))]);
    for scope in [0, 3] {
        let body = words([258, 2, scope, 10, 4, 82, VARIABLE_LENGTH]);
        assert_eq!(told(Version::Ipfix, true, &body), [Err(Fault::BadTemplate)], "{scope} fields");
    }
}

#[test]
fn withdrawals_are_of_one_template_or_of_all() {
    assert_eq!(told(Version::Ipfix, false, &words([300, 0])), [Ok(Told::Withdrawn(300))]);
    assert_eq!(told(Version::Ipfix, false, &words([2, 0])), [Ok(Told::AllWithdrawn)]);
    assert_eq!(told(Version::Ipfix, true, &words([3, 0])), [Ok(Told::AllWithdrawn)]);
    assert_eq!(told(Version::Ipfix, true, &words([2, 0])), [Err(Fault::BadTemplate)]);
    assert_eq!(told(Version::NetFlow9, false, &words([300, 0])), [Err(Fault::BadTemplate)], "v9 has none");
}

#[test]
fn templates_that_cannot_be_are_refused_and_those_behind_them_are_read() {
    use Version::{Ipfix, NetFlow9};
    let options = |id, scope| [words([id, 2, scope]), words([10, 4, 34, 4])].concat();
    let bad = [
        (Ipfix, false, template(255, &[(8, 4)])),
        (Ipfix, false, template(256, &[(8, 0), (12, 0)])),
        (Ipfix, false, words([3, 0])),
        (Ipfix, true, options(256, 0)),
        (Ipfix, true, options(256, 3)),
        (Ipfix, true, options(255, 1)),
        (NetFlow9, false, template(256, &[])),
        (NetFlow9, false, template(0, &[(8, 4)])),
        (NetFlow9, false, template(256, &[(8, 0), (12, 0)])),
        (NetFlow9, true, words([256, 4, 4, 1, 0, 34, 0])),
        (NetFlow9, true, words([9, 4, 4, 1, 4, 34, 4])),
    ];
    for (version, is_options, body) in bad {
        let good = match (version, is_options) {
            (_, false) => template(257, &[(8, 4)]),
            (NetFlow9, true) => words([257, 4, 4, 1, 4, 34, 4]),
            (_, true) => options(257, 1),
        };
        let all = told(version, is_options, &[body.clone(), good].concat());
        assert!(matches!(all[..], [Err(Fault::BadTemplate), Ok(Told::Template(257, _))]), "{body:?}: {all:?}");
    }
    let body = [template(256, &[(8, 4); 9]), template(257, &[(8, 4)])].concat();
    let good = Told::Template(257, of_fields(Ipfix, vec![element(0, 8, 4)]));
    assert_eq!(told(Ipfix, false, &body), [Err(Fault::TooManyFields), Ok(good)]);
}

#[test]
fn a_template_whose_end_nobody_knows_is_the_last_of_its_set() {
    let cut_short = [words([256, 2, 8, 4]), words([256, 1, 0x8001, 4])];
    for body in cut_short {
        assert_eq!(told(Version::Ipfix, false, &body), [Err(Fault::BadTemplate)], "{body:?}");
    }
    let odd = [words([256, 6, 4, 1, 4, 34, 4]), words([257, 4, 4, 1, 4]), words([34, 4])].concat();
    assert_eq!(told(Version::NetFlow9, true, &odd), [Err(Fault::BadTemplate)]);
}

#[test]
fn what_is_shorter_than_a_record_of_fixed_length_is_padding() {
    let template = of_fields(Version::NetFlow9, vec![element(0, 8, 4), element(0, 7, 2), element(0, 32, 0)]);
    assert_eq!(cut(&template, &[]), []);
    assert_eq!(cut(&template, &[1; 6]), [Ok(6)]);
    assert_eq!(cut(&template, &[1; 15]), [Ok(6), Ok(6)], "three octets of anything");
    assert_eq!(cut(&template, &[[1; 6], [0; 6]].concat()[..11]), [Ok(6)], "five zeros");
    assert_eq!(cut(&template, &[1; 11]), [Ok(6), Err(Fault::ShortRecord)], "five octets that are no zeros");
}

#[test]
fn values_of_variable_length_have_one_octet_before_them_or_three() {
    let fields =
        vec![element(0, 8, 4), element(0, 82, VARIABLE_LENGTH), element(0, 7, 2), element(0, 83, VARIABLE_LENGTH)];
    let template = of_fields(Version::Ipfix, fields);
    let empty = [1, 1, 1, 1, 0, 2, 2, 0];
    let short = [1, 1, 1, 1, 3, 9, 9, 9, 2, 2, 1, 9];
    let mut long = vec![1, 1, 1, 1, 255, 1, 0];
    long.extend([9; 256]);
    long.extend([2, 2, 255, 0, 0]);
    let body = [&empty[..], &short, &long, &empty, &[0; 3]].concat();
    assert_eq!(cut(&template, &body), [Ok(8), Ok(12), Ok(268), Ok(8)]);
    for end in [9, 19, 23, 30, 287] {
        let lengths = cut(&template, &body[..end]);
        let whole = [8, 20, 288].iter().filter(|&&at| at <= end).count();
        let left = end - [0, 8, 20][whole];
        let expected = if left <= 3 { None } else { Some(&Err(Fault::ShortRecord)) };
        assert_eq!(lengths.get(whole), expected, "cut off at {end}: {lengths:?}");
    }
    let only = of_fields(Version::Ipfix, vec![element(0, 82, VARIABLE_LENGTH)]);
    assert_eq!(cut(&only, &[0, 0, 1]), [Ok(1), Ok(1), Err(Fault::ShortRecord)], "a value of no octets is one");
}
