//! What is known of a record besides: interfaces of this machine, and what enrichment knows of both ends.

use std::sync::Arc;

use hashbrown::HashMap;

use super::{Enricher, Facts};
use crate::kernel;

/// What is known besides of a record.
pub trait Known {
    /// An interface of this machine.
    fn interface(&mut self, index: u32) -> Interface;
    /// The end of a flow: its address, as 128 bits, and that of its network card.
    fn end(&mut self, address: u128, mac: u64) -> End;
}

/// What an interface is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: Option<Arc<str>>,
    /// Its alias.
    pub alias: Option<Arc<str>>,
}

/// What is known of the end of a flow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// Of its address.
    pub facts: Facts,
    /// Its name.
    pub host_name: Option<Arc<str>>,
    /// Who made its network card.
    pub vendor: Option<Arc<str>>,
}

/// Nothing is known.
impl Known for () {
    fn interface(&mut self, _: u32) -> Interface {
        Interface::default()
    }

    fn end(&mut self, _: u128, _: u64) -> End {
        End::default()
    }
}

/// All that this process knows: interfaces of this machine, and what enrichment does. Interfaces are asked for once in a while, since
/// they come and go and are renamed.
#[derive(Debug)]
pub struct Surroundings {
    interfaces: HashMap<u32, Interface>,
    enricher: Option<Enricher>,
}

impl Surroundings {
    /// With what `enricher` knows.
    #[must_use]
    pub fn new(enricher: Option<Enricher>) -> Self {
        Self { interfaces: HashMap::new(), enricher }
    }

    /// Takes in which files have changed: to be called once for many records.
    pub fn refresh(&mut self) {
        if let Some(enricher) = &mut self.enricher {
            enricher.refresh();
        }
    }

    /// Asks for interfaces anew from now on.
    pub fn forget(&mut self) {
        self.interfaces.clear();
    }
}

impl Known for Surroundings {
    fn interface(&mut self, index: u32) -> Interface {
        if index == 0 {
            return Interface::default();
        }
        let ask = || {
            let name = kernel::interface_name(index);
            let alias = name.as_deref().and_then(kernel::interface_alias);
            Interface { name: name.map(Arc::from), alias: alias.map(Arc::from) }
        };
        self.interfaces.entry(index).or_insert_with(ask).clone()
    }

    fn end(&mut self, address: u128, mac: u64) -> End {
        match &mut self.enricher {
            None => End::default(),
            Some(enricher) => End {
                facts: enricher.facts(address),
                host_name: enricher.host_name(address),
                vendor: enricher.vendor(mac),
            },
        }
    }
}
