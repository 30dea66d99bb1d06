//! The rollups of what enrichment knows: sums by autonomous system and country, and what each address was called.

use std::sync::Arc;

use super::super::columns::columns;
use super::super::flows::{Flows, Side};
use super::{BothWays, Counts, Rollup, Rollups, Tally, Weight, both_of, push_both};

/// Where the end of a flow is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "named and explained as columns of flows")]
pub struct PlaceKey {
    pub as_number: i64,
    pub as_organization: Option<Arc<str>>,
    pub country: Option<Arc<str>>,
}

impl PlaceKey {
    /// That of an end of a row; the same for all of which nothing is known.
    #[must_use]
    pub fn of(flows: &Flows, row: usize, side: Side) -> Self {
        let ends = flows.ends(side);
        Self {
            as_number: ends.as_numbers[row],
            as_organization: ends.as_organizations[row].clone(),
            country: ends.countries[row].clone(),
        }
    }
}

/// What an address was called, and where it was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "named and explained as columns of flows")]
pub struct Names {
    pub host_name: Option<Arc<str>>,
    pub label: Option<Arc<str>>,
    pub as_number: i64,
    pub as_organization: Option<Arc<str>>,
    pub country: Option<Arc<str>>,
    pub city: Option<Arc<str>>,
}

/// The columns of flows that [`Named::of`] looks at, besides the time and the addresses.
pub const NAME_COLUMNS: [&str; 12] = [
    "sourceHostName",
    "destinationHostName",
    "sourceLabel",
    "destinationLabel",
    "bgpSourceAsNumber",
    "bgpDestinationAsNumber",
    "sourceAsOrganization",
    "destinationAsOrganization",
    "sourceCountryCode",
    "destinationCountryCode",
    "sourceCityName",
    "destinationCityName",
];

/// The same, as it was at a moment. Of two, the later counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    /// When it was so, milliseconds since 1970 UTC.
    pub seen_ms: i64,
    /// What was known.
    pub names: Names,
}

impl Default for Named {
    fn default() -> Self {
        Self { seen_ms: i64::MIN, names: Names::default() }
    }
}

impl Named {
    /// What a row says of one of its ends; none where it says nothing.
    #[must_use]
    pub fn of(flows: &Flows, row: usize, side: Side) -> Option<Self> {
        let ends = flows.ends(side);
        let names = Names {
            host_name: ends.host_names[row].clone(),
            label: ends.labels[row].clone(),
            as_number: ends.as_numbers[row],
            as_organization: ends.as_organizations[row].clone(),
            country: ends.countries[row].clone(),
            city: ends.cities[row].clone(),
        };
        (names != Names::default()).then_some(Self { seen_ms: flows.end_ms[row], names })
    }
}

impl std::ops::AddAssign for Named {
    fn add_assign(&mut self, other: Self) {
        // Of the same moment either may come first: the order decides, so that the same rows give the same.
        if *self < other {
            *self = other;
        }
    }
}

impl Weight for Named {
    fn weight(&self) -> u64 {
        self.seen_ms.try_into().unwrap_or(0)
    }
}

/// Notes what a row says of one of its ends, unless something later is known.
pub(super) fn note(hosts: &mut Tally<u128, Named>, flows: &Flows, row: usize, side: Side) {
    let address = flows.ends(side).addresses[row];
    let is_older = |known: &Named| known.seen_ms > flows.end_ms[row];
    if hosts.counts.get(&address).is_some_and(is_older) {
        return;
    }
    if let Some(named) = Named::of(flows, row, side) {
        hosts.add(address, named);
    }
}

columns! {
    /// The rollup by autonomous system and country on disk.
    pub struct PlaceRows {
        as_number: Id, "asNumber", "Number of the autonomous system; 0 where it is not known.";
        as_organization: Text, "asOrganization", "Who runs it.";
        country: Text, "countryCode", "Two letters of ISO 3166-1.";
        packets_sent: Count, "packetsSent", "Packets.";
        octets_sent: Count, "octetsSent", "Octets.";
        flows_sent: Count, "flowsSent", "Records.";
        packets_received: Count, "packetsReceived", "Packets.";
        octets_received: Count, "octetsReceived", "Octets.";
        flows_received: Count, "flowsReceived", "Records.";
    }
}

columns! {
    /// What addresses were called, on disk.
    pub struct HostRows {
        address: Address, "address", "Of the host.";
        seen_ms: Time, "lastMilliseconds", "When it was last called so.";
        host_name: Text, "hostName", "Its name.";
        label: Text, "label", "What the operator calls its network.";
        as_number: Id, "asNumber", "Its autonomous system.";
        as_organization: Text, "asOrganization", "Who runs that.";
        country: Text, "countryCode", "Two letters of ISO 3166-1.";
        city: Text, "cityName", "The city, in English.";
    }
}

impl Rollup for PlaceRows {
    const NAME: &'static str = "places";
    type Key = PlaceKey;
    type Value = BothWays;

    fn of(rollups: &mut Rollups) -> &mut Tally<PlaceKey, BothWays> {
        &mut rollups.places
    }

    fn push(&mut self, key: &PlaceKey, value: &BothWays) {
        self.as_number.push(key.as_number);
        self.as_organization.push(key.as_organization.clone());
        self.country.push(key.country.clone());
        push_both!(self, *value);
    }

    fn row(&self, row: usize) -> (PlaceKey, BothWays) {
        let key = PlaceKey {
            as_number: self.as_number[row],
            as_organization: self.as_organization[row].clone(),
            country: self.country[row].clone(),
        };
        (key, both_of!(self, row))
    }

    fn count(&self) -> usize {
        self.as_number.len()
    }
}

impl Rollup for HostRows {
    const NAME: &'static str = "hosts";
    type Key = u128;
    type Value = Named;

    fn of(rollups: &mut Rollups) -> &mut Tally<u128, Named> {
        &mut rollups.hosts
    }

    fn push(&mut self, key: &u128, value: &Named) {
        let Names { host_name, label, as_number, as_organization, country, city } = value.names.clone();
        self.address.push(*key);
        self.seen_ms.push(value.seen_ms);
        self.host_name.push(host_name);
        self.label.push(label);
        self.as_number.push(as_number);
        self.as_organization.push(as_organization);
        self.country.push(country);
        self.city.push(city);
    }

    fn row(&self, row: usize) -> (u128, Named) {
        let names = Names {
            host_name: self.host_name[row].clone(),
            label: self.label[row].clone(),
            as_number: self.as_number[row],
            as_organization: self.as_organization[row].clone(),
            country: self.country[row].clone(),
            city: self.city[row].clone(),
        };
        (self.address[row], Named { seen_ms: self.seen_ms[row], names })
    }

    fn count(&self) -> usize {
        self.address.len()
    }
}
