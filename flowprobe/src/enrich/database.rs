//! Databases of networks in the MaxMind format: a tree of prefixes, and records behind it.

use std::net::Ipv4Addr;
use std::path::Path;

use hashbrown::HashMap;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use jiff::Timestamp;
use maxminddb::{MaxMindDbError, Reader, WithinOptions};

use super::layer::{Facts, Layer, Networks, Numbered};
use super::row::{Loose, Place};

/// A database. Nothing is left of its file when it has been read: one that is cut off or changed while it is in use must not pull the
/// ground away, and of most records little is of interest.
#[derive(Debug)]
pub(super) struct Database {
    pub(super) layer: Layer,
    /// What it calls itself, and of which day it is.
    pub(super) about: String,
}

impl Database {
    /// Reads a file, the whole of it: what is wrong with it is known before it is used.
    ///
    /// # Errors
    /// It cannot be read, or is damaged; in words.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let octets = std::fs::read(path).map_err(|error| error.to_string())?;
        Self::of(octets)
    }

    fn of(octets: Vec<u8>) -> Result<Self, String> {
        let reader = Reader::from_source(octets).map_err(|error| format!("it is no MMDB file: {error}"))?;
        let layer = read_all(&reader).map_err(|problem| format!("it is damaged: {problem}"))?;
        let metadata = reader.metadata();
        let built = i64::try_from(metadata.build_epoch).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
        let about = match built {
            Some(built) => format!("{} of {}", metadata.database_type, built.strftime("%Y-%m-%d")),
            None => metadata.database_type.clone(),
        };
        Ok(Self { layer, about })
    }
}

/// Goes through the whole tree, and reads each record once. The library has a check of its own, which asks for descriptions too:
/// databases that people make for themselves often have none.
fn read_all(reader: &Reader<Vec<u8>>) -> Result<Layer, MaxMindDbError> {
    // A tree has no more leaves than nodes and one; more come only of a circle.
    let most = (reader.metadata().node_count as usize).saturating_add(1);
    let (mut numbered, mut read, mut known) = (Numbered::new(), HashMap::new(), Networks::default());
    let mut options = WithinOptions::default().include_networks_without_data();
    if reader.lookup(Ipv4Addr::UNSPECIFIED.into())?.network()?.is_ipv6() {
        // Then there is no tree of IPv4 to which others lead, and the library takes what says the same as its place for such.
        options = options.include_aliased_networks();
    }
    for (count, found) in reader.networks(options)?.enumerate() {
        let found = found?;
        if count > most {
            return Err(MaxMindDbError::invalid_database("its tree goes round in a circle"));
        }
        let Some(offset) = found.offset() else { continue };
        let number = match read.get(&offset) {
            Some(number) => *number,
            None => {
                let place = found.decode::<Loose>()?.map_or_else(Place::default, |row| Place::of(&row));
                let number = numbered.number(&Facts { place, label: None });
                read.insert(offset, number);
                number
            }
        };
        if number != 0 {
            let network = found.network()?;
            let network = IpNet::new(network.ip(), network.prefix()).ok();
            network.into_iter().flat_map(networks_of).for_each(|network| known.add(network, number));
        }
    }
    Ok(Layer::of(known, numbered))
}

/// A network as addresses are looked up: those of IPv4 are in `::/96` of a tree for IPv6, in all of which they are where a network is
/// larger than that, and mapped ones are IPv4.
fn networks_of(network: IpNet) -> impl Iterator<Item = IpNet> {
    let all_of_v4 = IpNet::V4(Ipv4Net::default());
    let (itself, v4) = match network {
        IpNet::V6(v6) if v6.prefix_len() <= 96 && v6.addr().to_bits() == 0 => (Some(network), Some(all_of_v4)),
        IpNet::V6(v6) => match mapped(v6) {
            Some(v4) => (None, Some(v4)),
            None => (Some(network), None),
        },
        IpNet::V4(_) => (None, Some(network)),
    };
    itself.into_iter().chain(v4)
}

/// A network of IPv4-mapped addresses as one of IPv4.
fn mapped(network: Ipv6Net) -> Option<IpNet> {
    let address: Ipv4Addr = network.addr().to_ipv4_mapped()?;
    Ipv4Net::new(address, network.prefix_len().checked_sub(96)?).ok().map(IpNet::V4)
}

#[cfg(test)]
mod tests {
    use super::super::tests::mmdb;
    use super::*;

    fn facts(database: &Database, address: &str) -> Facts {
        database.layer.find(address.parse().expect("an address"))
    }

    #[test]
    fn addresses_of_both_versions_are_found() {
        let octets = mmdb(&[("192.0.2.0/24", "AS64500", "DE"), ("2001:db8::/32", "AS64501", "FR")]);
        let database = Database::of(octets).expect("a database");
        let of = |address| {
            let place = facts(&database, address).place;
            (place.as_number, place.country)
        };
        assert_eq!(of("192.0.2.77"), (64_500, Some("DE".into())));
        assert_eq!(of("2001:db8:1::1"), (64_501, Some("FR".into())));
        for address in ["192.0.3.1", "2001:db9::1", "::", "::ffff:192.0.2.77"] {
            assert_eq!(of(address), (0, None), "{address}");
        }
        assert!(database.about.starts_with("Example of 20"), "{}", database.about);
    }

    #[test]
    fn a_network_above_those_of_ipv4_has_them_all() {
        let database = Database::of(mmdb(&[("::/0", "AS64500", "DE")])).expect("a database");
        for address in ["192.0.2.1", "0.0.0.0", "255.255.255.255", "2001:db8::1", "ffff::"] {
            assert_eq!(facts(&database, address).place.as_number, 64_500, "{address}");
        }
    }

    #[test]
    fn what_is_damaged_is_refused() {
        let good = mmdb(&[("192.0.2.0/24", "AS64500", "DE"), ("198.51.100.0/24", "AS64501", "FR")]);
        for (bad, problem) in [
            (Vec::new(), "it is no MMDB file: "),
            (b"<html>404 not found</html>".to_vec(), "it is no MMDB file: "),
            (good[..good.len() / 2].to_vec(), "it is no MMDB file: "),
            (good[good.len() / 3..].to_vec(), "it is "),
        ] {
            let error = Database::of(bad).expect_err(problem);
            assert!(error.starts_with(problem), "{error}");
        }
        // Whatever is changed: it is refused, or it is a database, and nothing panics.
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..2000 {
            let mut bad = good.clone();
            for _ in 0..random.usize(1..8) {
                let at = random.usize(..bad.len());
                bad[at] = random.u8(..);
            }
            if let Ok(database) = Database::of(bad) {
                let _ = (facts(&database, "192.0.2.1"), facts(&database, "2001:db8::1"));
            }
        }
    }
}
