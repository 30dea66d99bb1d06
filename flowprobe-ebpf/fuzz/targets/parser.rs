//! Arbitrary octets as a frame: the parser must not panic, and must find what the second reading finds.
//!
//! The last eight octets of an input are not of the frame but say how it is read, so that a captured frame with eight octets
//! after it is an input. Each is a number of 16 bits, network byte order: the VLAN that the NIC took out (its second
//! bit says whether it did, its first whether those tunnels are opened that the next number names, or all), how many octets
//! the capture has cut off, and for [`parse::network`] the EtherType and the offset.

#![no_main]

#[path = "../../../tests/src/second_reading.rs"]
mod second_reading;

use std::cell::RefCell;

use flowprobe_ebpf::parse::{self, Bytes, FragmentKey, FragmentPorts, Fragments, Layer, Origin, Packet};
use flowprobe_ebpf::{Direction, Tunnels};
use libfuzzer_sys::fuzz_target;

/// Writes down what it is told and asked. Knows the ports of every datagram: the last two octets of its identification,
/// unless the first of them is 0.
#[derive(Debug, Default, PartialEq)]
struct Oracle(RefCell<Vec<(FragmentKey, Option<FragmentPorts>)>>);

impl Fragments for Oracle {
    fn remember(&self, key: &FragmentKey, ports: FragmentPorts) {
        self.0.borrow_mut().push((*key, Some(ports)));
    }

    fn recall(&self, key: &FragmentKey) -> Option<FragmentPorts> {
        self.0.borrow_mut().push((*key, None));
        let [.., source, destination] = key.identification.to_be_bytes();
        (source != 0).then_some(FragmentPorts { source: source.into(), destination: destination.into() })
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((captured, knobs)) = input.split_last_chunk::<8>() else { return };
    let knob = |at: usize| u16::from_be_bytes([knobs[at], knobs[at + 1]]);
    let (vlan, cut, begin) = (knob(0) & 0x0fff, knob(2), Layer { ethertype: knob(4), offset: knob(6).into() });
    // All, or some.
    let opened = if knob(0) & 0x8000 == 0 { Tunnels::ALL } else { Tunnels(knob(2) & Tunnels::ALL.0) };
    let whole = Bytes::whole(captured);
    let frame = Bytes { original_length: whole.original_length + u32::from(cut), ..whole };
    let origin =
        Origin { ifindex: 7, direction: Direction::Egress, offloaded_vlan: (knob(0) & 0x4000 != 0).then_some(vlan) };
    let (parser, second) = (Oracle::default(), Oracle::default());

    let mut packet = Packet::default();
    let parsed = parse::ethernet(&frame, origin, opened, &parser, &mut packet).map(|()| packet);
    assert_eq!(parsed, second_reading::ethernet(&frame, origin, opened, &second));

    let mut packet = Packet::default();
    let parsed = parse::network(&frame, begin, origin, opened, &parser, &mut packet).map(|()| packet);
    assert_eq!(parsed, second_reading::network(&frame, begin, origin, opened, &second));
    assert_eq!(parser, second);
});
