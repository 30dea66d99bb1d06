//! What must hold of the table, and the page in `docs/` that is made from it.

use std::fmt::Write as _;
use std::path::Path;

use super::*;
use crate::export::statistics::{OptionsElement, VARIABLE, options};

/// Set to write the page instead of comparing it.
const RENEW: &str = "FLOWPROBE_RENEW_DOCS";

fn everything() -> Schema {
    Schema::new(Extras {
        tunnels: true,
        next_hops: true,
        sampling: SamplingRate::Packets(2.try_into().expect("not 0")),
    })
}

#[test]
fn only_the_addresses_of_tunnels_are_in_a_template_twice() {
    for layout in everything().layouts() {
        for (position, element) in layout.elements.iter().enumerate() {
            let same = |other: &&&Element| (other.enterprise, other.id) == (element.enterprise, element.id);
            let before: Vec<_> = layout.elements[..position].iter().filter(same).collect();
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
fn a_record_out_of_a_tunnel_needs_a_schema_with_tunnels() {
    let tunnel = flowprobe_ebpf::Tunnel { kind: 1, ip_version: 6, ..flowprobe_ebpf::Tunnel::NONE };
    let record = FlowRecord { tunnel, ..FlowRecord::example() };
    assert_eq!(everything().layout(&record).shape, Shape { family: Family::V4, outer: Some(Family::V6) });
    assert_eq!(Schema::default().layout(&record).shape, Shape { family: Family::V4, outer: None });
}

#[test]
fn template_ids_follow_the_layouts() {
    let ids = |schema: &Schema| schema.layouts().iter().map(|layout| layout.template_id).collect::<Vec<u16>>();
    assert_eq!(ids(&everything()), [256, 257, 258, 259, 260, 261]);
    let second = everything().followed_by(Extras::default());
    assert_eq!(ids(&second), [512, 513]);
    assert_eq!(ids(&second.followed_by(Extras::default())), [256, 257]);
}

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
    for Element { name, enterprise, id, length, group, about, .. } in ELEMENTS {
        let registry = match (*enterprise, name.starts_with("tunnel")) {
            (0, false) => format!("{id}"),
            (0, true) => format!("{id} (repeated)"),
            _ => format!("{enterprise}/{id}"),
        };
        let _ = writeln!(page, "| `{name}` | {registry} | {length} | {} | {about} |", in_words(*group));
    }
    page.push_str(OPTIONS_PREAMBLE);
    for template in options() {
        let _ = writeln!(page, "\n## {}\n\nTemplate ID {}.\n", template.title, template.template_id);
        page.push_str("| Element | Id | Octets | | What it says |\n| --- | --- | --- | --- | --- |\n");
        for (position, OptionsElement { name, id, length, about, .. }) in template.elements.iter().enumerate() {
            let length = if *length == VARIABLE { "variable".to_owned() } else { length.to_string() };
            let role = if position < usize::from(template.scope) { "scope" } else { "" };
            let _ = writeln!(page, "| `{name}` | {id} | {length} | {role} | {about} |");
        }
    }
    page
}

const OPTIONS_PREAMBLE: &str = "
# The elements of options records

What flowprobe says of itself (RFC 7011 section 4). Each collector gets it with the first drain, whenever templates are sent
again, and at the end; an IPFIX file ends with it. These records count in the sequence number like all Data Records. Made from
the table in `flowprobe/src/export/statistics.rs`, as above.

The accounting sum is a record for each term of each interface and direction. IANA has no elements for the terms and flowprobe
has no Private Enterprise Number, so the terms go by name. All totals are those since the daemon started.
";

const PREAMBLE: &str = "\
# The elements of a record

What flowprobe says about a flow, in the order in which a template has it. Made from the table in
`flowprobe/src/export/elements/table.rs` by its tests (`FLOWPROBE_RENEW_DOCS=1 cargo test -p flowprobe page_of_elements`);
changes belong there.

- **Element** is the name in JSON and CSV: that of the IANA registry \"IPFIX Information Elements\". The addresses of a
  tunnel's own header are in a record twice under one registry name, in the order of the headers (RFC 7011 section 8); JSON
  and CSV tell them apart by names of their own.
- **Id** is the ElementID; with a number before it, the Private Enterprise Number of whoever defines the element (6876 is
  VMware's, under which Open vSwitch has elements for tunnels).
- **Octets** are those of an IPFIX record. Fewer than the registry's type has is reduced-size encoding (RFC 7011 section 6.2).
- In JSON an element that says nothing about a record is left out, in CSV it is empty, in IPFIX it is 0.

| Element | Id | Octets | In records of | What it says |
| --- | --- | --- | --- | --- |
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
        Group::Sampled => "all flows, with `--sample`",
        Group::SampledPackets => "all flows, with `--sample` by packets",
        Group::SampledFlows => "all flows, with `--sample-by flows`",
    }
}
