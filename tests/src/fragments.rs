//! A memory of fragments for the host's parser.

use std::cell::RefCell;
use std::collections::HashMap;

use flowprobe_ebpf::parse::{FragmentKey, FragmentPorts, Fragments};

/// Remembers every datagram.
#[derive(Debug, Default, PartialEq)]
pub struct Memory(RefCell<HashMap<FragmentKey, FragmentPorts>>);

impl Fragments for Memory {
    fn remember(&self, key: &FragmentKey, ports: FragmentPorts) {
        self.0.borrow_mut().insert(*key, ports);
    }

    fn recall(&self, key: &FragmentKey) -> Option<FragmentPorts> {
        self.0.borrow().get(key).copied()
    }
}
