//! Databases of networks in the MaxMind format: a tree of prefixes, and records behind it.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use jiff::Timestamp;
use maxminddb::{MaxMindDbError, Reader, WithinOptions};
use serde::de::IgnoredAny;

use super::row::{Loose, Place};

/// A database, in memory: a file that is cut off or changed while it is in use must not pull the ground away.
pub(super) struct Database {
    reader: Reader<Vec<u8>>,
    /// What its records say, by where they are: of all but the largest databases all of them.
    places: HashMap<usize, Arc<Place>>,
}

/// Records that are read for good when a database is opened.
const MOST_PLACES: usize = 1 << 18;

/// Octets of all of them, about.
pub(super) const OCTETS_OF_PLACES: u64 = MOST_PLACES as u64 * 192;

/// Others that have been read lately, by where they are in the database: there are far fewer of them than addresses.
pub(super) type Recent = HashMap<usize, Arc<Place>>;

/// Records that are kept in it.
const MOST_RECENT: usize = 1 << 16;

/// Octets of such a record, about.
pub(super) const OCTETS_OF_RECENT: u64 = MOST_RECENT as u64 * 256;

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
        let places = read_all(&reader).map_err(|problem| format!("it is damaged: {problem}"))?;
        Ok(Self { reader, places })
    }

    /// What it calls itself, and of which day it is.
    pub(super) fn describe(&self) -> String {
        let metadata = self.reader.metadata();
        let built = i64::try_from(metadata.build_epoch).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
        match built {
            Some(built) => format!("{} of {}", metadata.database_type, built.strftime("%Y-%m-%d")),
            None => metadata.database_type.clone(),
        }
    }

    /// What it knows of an address.
    pub(super) fn find(&self, address: IpAddr, recent: &mut Recent) -> Option<Arc<Place>> {
        let found = self.reader.lookup(address).ok()?;
        let offset = found.offset()?;
        if let Some(place) = self.places.get(&offset).or_else(|| recent.get(&offset)) {
            return Some(Arc::clone(place));
        }
        let place = match found.decode::<Loose>() {
            Ok(row) => Arc::new(row.map_or_else(Place::default, |row| Place::of(&row))),
            // It was read as a whole when it was opened; what is left are records beyond the library's bounds.
            Err(_) => Arc::default(),
        };
        if recent.len() >= MOST_RECENT {
            recent.clear();
        }
        recent.insert(offset, Arc::clone(&place));
        Some(place)
    }
}

/// Goes through the whole tree, and reads each record once: what is damaged is found, and what they say is known. The library has a check as well, which asks for descriptions too: databases
/// that people make for themselves often have none.
fn read_all(reader: &Reader<Vec<u8>>) -> Result<HashMap<usize, Arc<Place>>, MaxMindDbError> {
    // A tree has no more leaves than nodes and one; more come only of a circle.
    let most = (reader.metadata().node_count as usize).saturating_add(1);
    let networks = reader.networks(WithinOptions::default().include_networks_without_data())?;
    let (mut read, mut places, mut texts) = (HashSet::new(), HashMap::new(), HashSet::new());
    for (count, network) in networks.enumerate() {
        let network = network?;
        if count > most {
            return Err(MaxMindDbError::invalid_database("its tree goes round in a circle"));
        }
        match network.offset().filter(|offset| read.insert(*offset)) {
            Some(offset) if places.len() < MOST_PLACES => {
                let mut place = network.decode::<Loose>()?.map_or_else(Place::default, |row| Place::of(&row));
                place.share(&mut texts);
                places.insert(offset, Arc::new(place));
            }
            Some(_) => drop(network.decode::<IgnoredAny>()?),
            None => {}
        }
    }
    Ok(places)
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("is", &self.describe()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::mmdb;
    use super::*;

    fn place(database: &Database, address: &str) -> Option<Arc<Place>> {
        database.find(address.parse().expect("an address"), &mut Recent::new())
    }

    #[test]
    fn addresses_of_both_versions_are_found() {
        let octets = mmdb(&[("192.0.2.0/24", "AS64500", "DE"), ("2001:db8::/32", "AS64501", "FR")]);
        let database = Database::of(octets).expect("a database");
        let of = |address| place(&database, address).map(|place| (place.as_number, place.country.clone()));
        assert_eq!(of("192.0.2.77"), Some((64_500, Some("DE".into()))));
        assert_eq!(of("2001:db8:1::1"), Some((64_501, Some("FR".into()))));
        assert_eq!((of("192.0.3.1"), of("2001:db9::1"), of("::")), (None, None, None));
        assert!(database.describe().starts_with("Example of 20"), "{}", database.describe());
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
                let _ = place(&database, "192.0.2.1");
                let _ = place(&database, "2001:db8::1");
            }
        }
    }
}
