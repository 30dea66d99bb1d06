//! What one source knows of all addresses, and what several know together.

use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use ipnet::IpNet;

use super::ranges::Ranges;
use super::row::Place;

/// What is known of an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Where it is, and whose.
    pub place: Place,
    /// What the operator calls its network.
    pub label: Option<Arc<str>>,
}

impl Facts {
    /// Who runs the autonomous system of a record that says this number, or 0: nobody who is known, where that is another one.
    #[must_use]
    pub fn as_organization(&self, said: u32) -> Option<&Arc<str>> {
        let is_of_it = said == 0 || said == self.place.as_number;
        self.place.as_organization.as_ref().filter(|_| is_of_it)
    }
}

/// Facts as they are kept, since there may be millions that differ: their texts by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Row {
    as_number: u32,
    as_organization: u32,
    country: u32,
    city: u32,
    label: u32,
}

impl Row {
    /// The same with other numbers for texts: `numbers` has them.
    fn renumbered(self, numbers: &[u32]) -> Self {
        let of = |text: u32| numbers[text as usize];
        Self {
            as_organization: of(self.as_organization),
            country: of(self.country),
            city: of(self.city),
            label: of(self.label),
            ..self
        }
    }

    /// This, and what another knows beyond. A system's number and its organisation are of one.
    fn and(self, other: Self) -> Self {
        let either = |one: u32, another: u32| if one == 0 { another } else { one };
        let system = if self.as_number == 0 && self.as_organization == 0 { other } else { self };
        Self {
            as_number: system.as_number,
            as_organization: system.as_organization,
            country: either(self.country, other.country),
            city: either(self.city, other.city),
            label: either(self.label, other.label),
        }
    }
}

/// Facts by number, each once; number 0 is that nothing is known.
#[derive(Debug)]
struct Rows {
    rows: Vec<Row>,
    /// Texts by number; the first is none.
    texts: Vec<Option<Arc<str>>>,
}

impl Rows {
    fn facts(&self, number: u32) -> Facts {
        let row = &self.rows[number as usize];
        let text = |number: u32| self.texts[number as usize].clone();
        let place = Place {
            as_number: row.as_number,
            as_organization: text(row.as_organization),
            country: text(row.country),
            city: text(row.city),
        };
        Facts { place, label: text(row.label) }
    }
}

/// Gives facts their numbers.
#[derive(Debug)]
pub(super) struct Numbered {
    known: Rows,
    /// Numbers of rows, by what is in them.
    numbers: HashTable<u32>,
    hasher: DefaultHashBuilder,
    texts: HashMap<Arc<str>, u32>,
}

impl Numbered {
    pub(super) fn new() -> Self {
        let mut numbered = Self {
            known: Rows { rows: Vec::new(), texts: vec![None] },
            numbers: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            texts: HashMap::new(),
        };
        numbered.number_of(Row::default());
        numbered
    }

    /// The number of these.
    pub(super) fn number(&mut self, facts: &Facts) -> u32 {
        let Facts { place: Place { as_number, as_organization, country, city }, label } = facts;
        let row = Row {
            as_number: *as_number,
            as_organization: self.text(as_organization.as_ref()),
            country: self.text(country.as_ref()),
            city: self.text(city.as_ref()),
            label: self.text(label.as_ref()),
        };
        self.number_of(row)
    }

    fn number_of(&mut self, row: Row) -> u32 {
        let Self { known: Rows { rows, .. }, numbers, hasher, .. } = self;
        let hash = hasher.hash_one(row);
        if let Some(number) = numbers.find(hash, |number| rows[*number as usize] == row) {
            return *number;
        }
        let number = count(rows.len());
        rows.push(row);
        numbers.insert_unique(hash, number, |number| hasher.hash_one(rows[*number as usize]));
        number
    }

    fn text(&mut self, text: Option<&Arc<str>>) -> u32 {
        let Some(text) = text else { return 0 };
        let Self { known: Rows { texts, .. }, texts: numbers, .. } = self;
        *numbers.entry_ref(text).or_insert_with(|| {
            texts.push(Some(Arc::clone(text)));
            count(texts.len() - 1)
        })
    }
}

/// As a number of rows or texts: of networks there are fewer than 2³² in any file.
fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(0)
}

/// Networks, each with the number of its facts: first address, last address, number.
#[derive(Debug, Default)]
pub(super) struct Networks {
    v4: Vec<(u32, u32, u32)>,
    v6: Vec<(u128, u128, u32)>,
}

impl Networks {
    pub(super) fn add(&mut self, network: IpNet, number: u32) {
        match network {
            IpNet::V4(network) => self.v4.push((network.network().to_bits(), network.broadcast().to_bits(), number)),
            IpNet::V6(network) => self.v6.push((network.network().to_bits(), network.broadcast().to_bits(), number)),
        }
    }
}

/// What is known of all addresses.
#[derive(Debug)]
pub(super) struct Layer {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
    known: Rows,
}

/// Of nothing anything.
impl Default for Layer {
    fn default() -> Self {
        Self::of(Networks::default(), Numbered::new())
    }
}

impl Layer {
    /// Of networks, with the facts of which they have the numbers. Of networks that lie in each other the smallest counts.
    pub(super) fn of(networks: Networks, numbered: Numbered) -> Self {
        Self { v4: Ranges::of(networks.v4), v6: Ranges::of(networks.v6), known: numbered.known }
    }

    /// What this knows, and beyond that what another does.
    pub(super) fn and(&self, other: &Self) -> Self {
        let mut numbered = Numbered::new();
        let [ours, theirs] = [self, other]
            .map(|layer| layer.known.texts.iter().map(|text| numbered.text(text.as_ref())).collect::<Vec<_>>());
        let mut combine = |one: u32, another: u32| {
            let one = self.known.rows[one as usize].renumbered(&ours);
            numbered.number_of(one.and(other.known.rows[another as usize].renumbered(&theirs)))
        };
        let (v4, v6) = (self.v4.and(&other.v4, &mut combine), self.v6.and(&other.v6, &mut combine));
        Self { v4, v6, known: numbered.known }
    }

    /// What is known of an address.
    #[inline]
    pub(super) fn find(&self, address: IpAddr) -> Facts {
        self.known.facts(self.number(address))
    }

    /// The number of its autonomous system, or 0.
    #[inline]
    pub(super) fn as_number(&self, address: IpAddr) -> u32 {
        self.known.rows[self.number(address) as usize].as_number
    }

    fn number(&self, address: IpAddr) -> u32 {
        match address {
            IpAddr::V4(address) => self.v4.find(address.to_bits()),
            IpAddr::V6(address) => self.v6.find(address.to_bits()),
        }
    }

    /// Ranges of addresses of which one thing is known.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(rows: &[(&str, &str, &str)]) -> Layer {
        let (mut networks, mut numbered) = (Networks::default(), Numbered::new());
        for (network, label, country) in rows {
            let text = |text: &str| (!text.is_empty()).then(|| text.into());
            let place = Place { country: text(country), ..Place::default() };
            let number = numbered.number(&Facts { place, label: text(label) });
            networks.add(network.parse().expect("a network"), number);
        }
        Layer::of(networks, numbered)
    }

    #[test]
    fn what_the_first_does_not_know_the_second_says() {
        let both = layer(&[("10.0.0.0/8", "", "DE"), ("10.1.0.0/16", "office", ""), ("2001:db8::/32", "lab", "")])
            .and(&layer(&[("10.0.0.0/9", "all", "FR"), ("192.0.2.0/24", "", "IT"), ("2001:db8:1::/48", "", "AT")]));
        let of = |address: &str| {
            let Facts { place, label } = both.find(address.parse().expect("an address"));
            [label, place.country].map(|text| text.as_deref().unwrap_or("-").to_owned()).join(" ")
        };
        for (address, known) in [
            ("10.0.0.1", "all DE"),
            ("10.1.0.1", "office FR"),
            ("10.200.0.1", "- DE"),
            ("192.0.2.1", "- IT"),
            ("2001:db8::1", "lab -"),
            ("2001:db8:1::1", "lab AT"),
            ("11.0.0.1", "- -"),
        ] {
            assert_eq!(of(address), known, "{address}");
        }
    }

    #[test]
    fn the_same_facts_are_there_once() {
        let one = layer(&[
            ("10.0.0.0/9", "office", "DE"),
            ("10.128.0.0/9", "office", "DE"),
            ("192.0.2.0/24", "office", "DE"),
        ]);
        assert_eq!((one.known.rows.len(), one.known.texts.len()), (2, 3));
        // Before, 10/8 as a whole, between, 192.0.2/24, behind; and all of IPv6.
        assert_eq!(one.len(), 6);
        assert_eq!(one.find([10, 0, 0, 1].into()), one.find([192, 0, 2, 1].into()));
    }
}
