//! Primitives into tests.

use flowprobe_ebpf::filter::{Field, FilterTest};
use flowprobe_ebpf::flow::FACT_FRAGMENT;
use flowprobe_ebpf::protocol::{ICMP, ICMPV6, TCP};

use super::ast::{Comparison, Ends, Network, Primitive, Quantity, Relation, Version};

/// Tests that say one primitive together.
pub(super) enum Tests {
    All(Vec<FilterTest>),
    Any(Vec<FilterTest>),
}

const EVERY_BIT: u32 = u32::MAX;
const WHOLE_MAC: [u8; 6] = [0xff; 6];

/// The bit of a MAC address that says it is a group's.
const GROUP: [u8; 6] = [1, 0, 0, 0, 0, 0];

/// Where the label begins in [`flowprobe_ebpf::parse::Packet::mpls_top_label`], after traffic class and bottom of stack.
const LABEL_SHIFT: u32 = 4;
const LABEL: u32 = 0x00ff_fff0;

pub(super) fn tests(primitive: Primitive) -> Tests {
    match primitive {
        Primitive::Ip { version, protocol } => {
            let test = protocol.map_or(FilterTest::ANY, |number| exactly(Field::PROTOCOL, number.into()));
            one(test.of(number_of(version), 0))
        }
        Primitive::Network { ends, network: Network { version, address, mask } } => {
            at(ends, Field::SOURCE_ADDRESS, Field::DESTINATION_ADDRESS, |field| {
                FilterTest::address(field, address, mask).of(version as u8, 0)
            })
        }
        Primitive::Port { ends, protocol, low, high } => {
            at(ends, Field::SOURCE_PORT, Field::DESTINATION_PORT, |field| {
                FilterTest::range(field, EVERY_BIT, low.into(), high.into()).of(0, protocol.unwrap_or(0))
            })
        }
        Primitive::Mac { ends, mac } => {
            at(ends, Field::SOURCE_MAC, Field::DESTINATION_MAC, |field| FilterTest::mac(field, mac, WHOLE_MAC))
        }
        Primitive::Broadcast => one(FilterTest::mac(Field::DESTINATION_MAC, WHOLE_MAC, WHOLE_MAC)),
        Primitive::Multicast => one(FilterTest::mac(Field::DESTINATION_MAC, GROUP, GROUP)),
        Primitive::EtherType(number) => one(exactly(Field::ETHERTYPE, number.into())),
        Primitive::Vlan(identifier) => {
            let (low, high) = identifier.map_or((1, EVERY_BIT), |number| (number.into(), number.into()));
            at(Ends::Either, Field::VLAN, Field::CUSTOMER_VLAN, |field| FilterTest::range(field, EVERY_BIT, low, high))
        }
        Primitive::Mpls(None) => one(FilterTest::range(Field::MPLS_TOP_LABEL, EVERY_BIT, 1, EVERY_BIT)),
        Primitive::Mpls(Some(label)) => mpls(label << LABEL_SHIFT),
        Primitive::Fragment => one(FilterTest::range(Field::FACTS, FACT_FRAGMENT, FACT_FRAGMENT, FACT_FRAGMENT)),
        Primitive::Way(direction) => one(exactly(Field::DIRECTION, direction as u32)),
        Primitive::Compare(comparison) => compare(comparison),
    }
}

fn one(test: FilterTest) -> Tests {
    Tests::All(vec![test])
}

fn exactly(field: Field, number: u32) -> FilterTest {
    FilterTest::range(field, EVERY_BIT, number, number)
}

const fn number_of(version: Option<Version>) -> u8 {
    match version {
        Some(version) => version as u8,
        None => 0,
    }
}

/// The same test of one end of a packet or of both.
fn at(ends: Ends, source: Field, destination: Field, test: impl Fn(Field) -> FilterTest) -> Tests {
    match ends {
        Ends::Source => one(test(source)),
        Ends::Destination => one(test(destination)),
        Ends::Either => Tests::Any(vec![test(source), test(destination)]),
        Ends::Both => Tests::All(vec![test(source), test(destination)]),
    }
}

fn mpls(label: u32) -> Tests {
    let test = FilterTest::range(Field::MPLS_TOP_LABEL, LABEL, label, label);
    if label != 0 {
        return one(test);
    }
    // Label 0 must be told from no label; it has the bottom-of-stack bit, or a traffic class.
    Tests::All(vec![FilterTest::range(Field::MPLS_TOP_LABEL, EVERY_BIT, 1, EVERY_BIT), test])
}

/// A field, how far its lowest bit lies from that of the number in it, the number's bits, and the conditions.
struct Place {
    field: Field,
    shift: u32,
    bits: u32,
    version: u8,
    protocol: u8,
}

const fn place(quantity: Quantity) -> Place {
    let (field, shift, bits, version, protocol) = match quantity {
        Quantity::Length => (Field::LAYER2_OCTETS, 0, EVERY_BIT, 0, 0),
        Quantity::IpLength => (Field::IP_OCTETS, 0, EVERY_BIT, 4, 0),
        Quantity::Tos => (Field::TOS, 0, 0xff, 4, 0),
        Quantity::Ttl(version) => (Field::TTL, 0, 0xff, version as u8, 0),
        Quantity::Protocol => (Field::PROTOCOL, 0, 0xff, 4, 0),
        Quantity::SourcePort(protocol) => (Field::SOURCE_PORT, 0, 0xffff, 0, protocol),
        Quantity::DestinationPort(protocol) => (Field::DESTINATION_PORT, 0, 0xffff, 0, protocol),
        Quantity::TcpFlags => (Field::FACTS, 0, 0xff, 0, TCP),
        Quantity::IcmpType(version) => (Field::ICMP_TYPE_CODE, 8, 0xff, version as u8, icmp(version)),
        Quantity::IcmpCode(version) => (Field::ICMP_TYPE_CODE, 0, 0xff, version as u8, icmp(version)),
    };
    Place { field, shift, bits, version, protocol }
}

const fn icmp(version: Version) -> u8 {
    match version {
        Version::V4 => ICMP,
        Version::V6 => ICMPV6,
    }
}

/// A comparison as ranges of the masked number: none where nothing compares so, two for most `!=`.
fn compare(comparison: Comparison) -> Tests {
    let Comparison { quantity, mask, relation, number } = comparison;
    let Place { field, shift, bits, version, protocol } = place(quantity);
    let mask = mask & bits;
    let below = number.checked_sub(1).map(|high| (0, high));
    let above = number.checked_add(1).map(|low| (low, mask));
    let ranges = match relation {
        Relation::Equal => [Some((number, number)), None],
        Relation::NotEqual => [below, above],
        Relation::Less => [below, None],
        Relation::LessOrEqual => [Some((0, number)), None],
        Relation::Greater => [above, None],
        Relation::GreaterOrEqual => [Some((number, mask)), None],
    };
    // No masked number is larger than the mask.
    let ranges =
        ranges.into_iter().flatten().map(|(low, high)| (low, high.min(mask))).filter(|(low, high)| low <= high);
    let tests: Vec<FilterTest> = ranges
        .map(|(low, high)| FilterTest::range(field, mask << shift, low << shift, high << shift).of(version, protocol))
        .collect();
    if tests.is_empty() {
        // A range from 1 to 0 holds nothing.
        return one(FilterTest::range(field, EVERY_BIT, 1, 0));
    }
    Tests::Any(tests)
}
