//! The page in `docs/` that is made from the tables.

use std::fmt::Write as _;
use std::path::Path;

use super::*;
use crate::export::options::{OptionsElement, VARIABLE};

/// Set to write the page instead of comparing it.
const RENEW: &str = "FLOWPROBE_RENEW_DOCS";

#[test]
fn the_page_of_elements_is_what_the_table_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/elements.md");
    let page = page();
    if std::env::var_os(RENEW).is_some() {
        std::fs::write(&path, &page).expect("the page can be written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "docs/elements.md is out of date: run this test with {RENEW}=1");
}

fn page() -> String {
    let mut page = String::from(PREAMBLE);
    for (title, is_here) in [
        ("Flows", (|element| !of_biflows(element) && element.place == Place::Standard) as fn(&Element) -> bool),
        ("Biflows", of_biflows),
        ("More, in the preset `full`", |element| element.place == Place::Full),
        ("More, by name only", |element| element.place == Place::Asked),
    ] {
        let _ = writeln!(page, "\n### {title}\n");
        page.push_str("| Element | Id | Type | Octets | In records of | Presets | What it says |\n");
        page.push_str("| --- | --- | --- | --- | --- | --- | --- |\n");
        for element in ELEMENTS.iter().filter(|element| is_here(element)) {
            let Element { name, length, about, .. } = element;
            let (id, kind, presets) = (number(element), kind(element), presets(position(element), Format::Ipfix));
            let records = in_words(element.group);
            let _ = writeln!(page, "| `{name}` | {id} | {kind} | {length} | {records} | {presets} | {about} |");
        }
    }
    page.push_str(NETFLOW9);
    let schema = Schema::of(Format::NetFlow9, everything(), &Fields::Preset(Preset::Full));
    for element in ELEMENTS {
        let field = schema.layouts().iter().flat_map(|layout| &layout.fields);
        let field = field.into_iter().find(|field| std::ptr::eq(field.element, element));
        if let Some(FieldSpecifier { element, length }) = field {
            let (records, presets) = (in_words(element.group), presets(position(element), Format::NetFlow9));
            let _ = writeln!(page, "| `{}` | {} | {length} | {records} | {presets} |", element.name, element.id);
        }
    }
    for (preamble, format) in [(OPTIONS, Format::Ipfix), (OPTIONS_OF_NETFLOW9, Format::NetFlow9)] {
        page.push_str(preamble);
        for template in options::all(format) {
            let _ = writeln!(page, "\n### {}\n\nTemplate ID {}.\n", template.title, template.template_id);
            page.push_str("| Element | Id | Octets | | What it says |\n| --- | --- | --- | --- | --- |\n");
            for (position, OptionsElement { name, id, length, about, .. }) in template.elements.iter().enumerate() {
                let length = if *length == VARIABLE { "variable".to_owned() } else { length.to_string() };
                let role = if position < usize::from(template.scope) { "scope" } else { "" };
                let _ = writeln!(page, "| `{name}` | {id} | {length} | {role} | {about} |");
            }
        }
    }
    page
}

fn of_biflows(element: &Element) -> bool {
    element.group == Group::Biflow || element.group.is_reverse()
}

fn number(Element { name, enterprise, id, .. }: &Element) -> String {
    match (enterprise, name.starts_with("tunnel")) {
        (0, false) => format!("{id}"),
        (0, true) => format!("{id} (repeated)"),
        _ => format!("{enterprise}/{id}"),
    }
}

/// The type as the registry writes it, and the unit where the type does not say it.
fn kind(element: &Element) -> String {
    let lower = |name: String| name[..1].to_lowercase() + &name[1..];
    let data_type = lower(format!("{:?}", element.data_type));
    match element.unit {
        Unit::None => data_type,
        _ if data_type.starts_with("dateTime") => data_type,
        unit => format!("{data_type}, {}", lower(format!("{unit:?}"))),
    }
}

fn presets(wanted: usize, format: Format) -> String {
    let has = |preset| Fields::Preset(preset).of(Family::V4, format).any(|(position, _)| position == wanted);
    let names: Vec<&str> = Preset::NAMES.iter().filter(|(_, preset)| has(*preset)).map(|(name, _)| *name).collect();
    match names.len() {
        0 => "none".to_owned(),
        4 => "all".to_owned(),
        _ => names.join(", "),
    }
}

const PREAMBLE: &str = "\
# The elements of a record

What flowprobe says about a flow. Made from the tables in `flowprobe/src/export/elements/table.rs` and
`flowprobe/src/export/options/` by a test (`FLOWPROBE_RENEW_DOCS=1 cargo test -p flowprobe --lib page_of_elements`); changes
belong there.

## Flow records

Each collector has `fields`: the name of a preset, or a list of the names below, whose order is that of the template.

- `minimal`: who, with whom, when and how much.
- `standard`, unless another is asked for: everything, each in one form. JSON and CSV always have it.
- `full`: the standard, and what can be derived from it.
- `security`: what those who look for attacks want to know, and no more.

The columns:

- **Element** is the name in the configuration, in JSON and in CSV: that of the IANA registry \"IPFIX Information Elements\". The
  addresses of a tunnel's own header are in a record twice under one registry name, in the order of the headers (RFC 7011
  section 8); here they have names of their own, which tell them apart.
- **Id** is the ElementID; with a number before it, the Private Enterprise Number of whoever defines the element: 6876 is
  VMware's, under which Open vSwitch has elements for tunnels, and 29305 that of the reverse elements of RFC 5103.
- **Type** is the registry's, with the unit where there is one.
- **Octets** are those of an IPFIX record. Fewer than the type has is reduced-size encoding (RFC 7011 section 6.2).
  `tcpControlBits` and `reverseTcpControlBits` are one octet in the presets but `full`.
- **In records of** says which flows have it, and which setting it needs.
- **Presets** are those that have it, where its records are. By name each can be had.

In JSON an element that says nothing about a record is left out, in CSV it is empty, in IPFIX it is 0. The tables are in the order
in which the presets have the elements.
";

const NETFLOW9: &str = "
## Flow records of NetFlow v9

A preset has in NetFlow v9 what the format shares with IPFIX: elements up to number 127. Its times are uptimes, from which with the
header's a collector computes the same milliseconds. There are no records of tunnels or biflows: a flow out of a tunnel is told
without it, and a biflow as two flows. By name it can have every element of IANA's that the tables have, but for those of
tunnels and biflows.

| Element | Field type | Octets | In records of | Presets |
| --- | --- | --- | --- | --- |
";

const OPTIONS: &str = "
## Options records

What flowprobe says of itself (RFC 7011 section 4). Each collector gets it with the first drain, whenever templates are sent
again, and at the end; an IPFIX file ends with it. These records count in the sequence number like all Data Records.

The accounting sum is a record for each term of each interface and direction. IANA has no elements for the terms and flowprobe
has no Private Enterprise Number, so the terms go by name. All totals are those since the daemon started.
";

const OPTIONS_OF_NETFLOW9: &str = "
## Options records of NetFlow v9

Their scopes are not elements but the scope types of RFC 3954 section 6.1; texts have a fixed length and end with zeros.
NetFlow v5 has none.
";

const fn in_words(group: Group) -> &'static str {
    match group {
        Group::Always => "all flows",
        Group::V4 => "IPv4 flows",
        Group::V6 => "IPv6 flows",
        Group::Tunnel => "flows out of tunnels (`--decapsulate`)",
        Group::OuterV4 => "flows out of tunnels over IPv4",
        Group::OuterV6 => "flows out of tunnels over IPv6",
        Group::NextHop => "all flows, with `--next-hop`",
        Group::AsNumber => "all flows, with `--mmdb`",
        Group::Sampled => "all flows, with `--sample`",
        Group::SampledPackets => "all flows, with `--sample` by packets",
        Group::SampledFlows => "all flows, with `--sample-by flows`",
        Group::Biflow | Group::Reverse => "biflows (`--biflow`)",
        Group::ReverseV4 => "biflows of IPv4",
        Group::ReverseV6 => "biflows of IPv6",
    }
}
