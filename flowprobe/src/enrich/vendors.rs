//! Who made a network card, by the prefix of its MAC address: the lists of the IEEE, in the forms in which systems have them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hashbrown::HashMap;

use crate::text::shown;

/// Where distributions keep such lists: of the first folder in which there are any, all are taken.
const KNOWN_PLACES: [&[&str]; 6] = [
    &["/usr/share/ieee-data/oui.csv", "/usr/share/ieee-data/mam.csv", "/usr/share/ieee-data/oui36.csv"],
    &["/var/lib/ieee-data/oui.csv", "/var/lib/ieee-data/mam.csv", "/var/lib/ieee-data/oui36.csv"],
    &["/usr/share/ieee-data/oui.txt"],
    &["/usr/share/hwdata/oui.txt"],
    &["/usr/share/wireshark/manuf"],
    &["/usr/share/nmap/nmap-mac-prefixes"],
];

/// Lengths of prefixes that the IEEE gives away, the longest first.
const LENGTHS: [u8; 3] = [36, 28, 24];

/// Makers by prefix.
#[derive(Debug, Default)]
pub(super) struct Vendors {
    /// By the prefix, with zeros behind it, and its length in bits.
    prefixes: HashMap<(u64, u8), Arc<str>>,
}

/// The lists that this system has, if it has any.
pub(super) fn of_this_system() -> Vec<PathBuf> {
    let there = |paths: &&[&str]| paths.iter().map(PathBuf::from).filter(|path| path.is_file()).collect::<Vec<_>>();
    KNOWN_PLACES.iter().map(there).find(|paths| !paths.is_empty()).unwrap_or_default()
}

impl Vendors {
    /// Reads a list: `oui.csv`, `mam.csv` or `oui36.csv` of the IEEE, its `oui.txt`, Wireshark's `manuf`, nmap's
    /// `nmap-mac-prefixes`.
    ///
    /// # Errors
    /// It cannot be read, or has nothing of the kind; in words.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let octets = std::fs::read(path).map_err(|error| error.to_string())?;
        Self::of(&octets)
    }

    fn of(octets: &[u8]) -> Result<Self, String> {
        let octets = octets.strip_prefix(b"\xef\xbb\xbf").unwrap_or(octets);
        let mut vendors = Self::default();
        if octets.starts_with(b"Registry,") {
            vendors.add_csv(octets)?;
        } else {
            for line in String::from_utf8_lossy(octets).lines() {
                vendors.add_line(line);
            }
        }
        if vendors.prefixes.is_empty() {
            return Err("it has no prefixes of MAC addresses with their makers".to_owned());
        }
        Ok(vendors)
    }

    /// Registry, assignment, organisation, address.
    fn add_csv(&mut self, octets: &[u8]) -> Result<(), String> {
        for row in csv::ReaderBuilder::new().flexible(true).from_reader(octets).byte_records() {
            let row = row.map_err(|error| error.to_string())?;
            let cell = |index| row.get(index).map(String::from_utf8_lossy).unwrap_or_default();
            self.add(&cell(1), None, &cell(2));
        }
        Ok(())
    }

    /// One of `00-00-0C (hex) Cisco Systems, Inc`, `00:00:0C Cisco Cisco Systems, Inc`, `00:1B:C5:00:00:00/36 …`, `00000C Cisco`.
    fn add_line(&mut self, line: &str) {
        let line = line.trim();
        let Some((prefix, rest)) = line.split_once(|c: char| c.is_whitespace()) else { return };
        let rest = rest.trim();
        let name = match rest.strip_prefix("(hex)") {
            Some(name) => name,
            // The longer of the two names that Wireshark has.
            None if rest.starts_with("(base") => return,
            None => rest.rsplit('\t').next().unwrap_or(rest),
        };
        match prefix.split_once('/') {
            Some((prefix, length)) => self.add(prefix, length.parse().ok(), name),
            None => self.add(prefix, None, name),
        }
    }

    /// Of what is no prefix nothing is added.
    fn add(&mut self, prefix: &str, length: Option<u8>, name: &str) {
        let digits: String = prefix.chars().filter(|c| !matches!(c, ':' | '-' | '.')).collect();
        let bits = length.or_else(|| u8::try_from(digits.len() * 4).ok());
        let (Some(bits), true) = (bits.filter(|bits| LENGTHS.contains(bits)), digits.len() <= 12) else { return };
        if let (Ok(number), Some(name)) = (u64::from_str_radix(&digits, 16), shown(name)) {
            let prefix = (number << (48 - 4 * digits.len())) & mask(bits);
            self.prefixes.entry((prefix, bits)).or_insert_with(|| name.into());
        }
    }

    /// Who made the card with this address, of which the lowest 48 bits are given. Nobody, where the address was made up: those of
    /// groups, and those that are administered locally, such as a telephone's random one.
    pub(super) fn find(&self, address: u64) -> Option<&Arc<str>> {
        /// The bits of the first octet that say "group" and "local".
        const MADE_UP: u64 = 0x03 << 40;
        if address & MADE_UP != 0 || address == 0 {
            return None;
        }
        LENGTHS.iter().find_map(|bits| self.prefixes.get(&(address & mask(*bits), *bits)))
    }

    pub(super) fn add_all(&mut self, other: &Self) {
        for (prefix, name) in &other.prefixes {
            self.prefixes.entry(*prefix).or_insert_with(|| Arc::clone(name));
        }
    }

    /// Prefixes.
    pub(super) fn len(&self) -> usize {
        self.prefixes.len()
    }
}

/// So many bits at the front of 48.
const fn mask(bits: u8) -> u64 {
    (u64::MAX << (48 - bits)) & 0xffff_ffff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(list: &str, address: u64) -> Option<String> {
        Vendors::of(list.as_bytes()).expect("a list").find(address).map(|name| name.to_string())
    }

    #[test]
    fn lists_of_all_forms_are_understood() {
        let csv = "Registry,Assignment,Organization Name,Organization Address\r\n\
                   MA-L,00000C,\"Cisco Systems, Inc\",170 West Tasman Drive\r\nMA-M,0C5CB5A,Yamasei,Tokyo\r\n\
                   MA-S,70B3D5F2F,TELEPLATFORMS,Moscow\r\n";
        let text = "OUI/MA-L\t\t\tOrganization\ncompany_id\t\t\tOrganization\n\n\
                    00-00-0C   (hex)\t\tCisco Systems, Inc\n00000C     (base 16)\t\tCisco Systems, Inc\n\t\t\t\tSan Jose\n";
        let manuf = "# a remark\n00:00:0C\tCisco\tCisco Systems, Inc\n0C:5C:B5:A0:00:00/28\tYamasei\tYamasei\n\
                     70:B3:D5:F2:F0:00/36\tTeleplat\tTELEPLATFORMS\n";
        let nmap = "00000C Cisco Systems, Inc\n0C5CB5A Yamasei\n70B3D5F2F TELEPLATFORMS\n";
        for list in [csv, text, manuf, nmap] {
            assert_eq!(find(list, 0x0000_0c12_3456).as_deref(), Some("Cisco Systems, Inc"), "{list}");
            assert_eq!(find(list, 0x0000_0d12_3456), None);
        }
        for list in [csv, manuf, nmap] {
            assert_eq!(find(list, 0x0c5c_b5af_ffff).as_deref(), Some("Yamasei"), "{list}");
            assert_eq!(find(list, 0x0c5c_b5bf_ffff), None);
            assert_eq!(find(list, 0x70b3_d5f2_f001).as_deref(), Some("TELEPLATFORMS"));
        }
    }

    #[test]
    fn the_longest_prefix_is_the_makers() {
        let list = "70B3D5 IEEE\n70B3D5F2F TELEPLATFORMS\n";
        assert_eq!(find(list, 0x70b3_d5f2_f001).as_deref(), Some("TELEPLATFORMS"));
        assert_eq!(find(list, 0x70b3_d500_0001).as_deref(), Some("IEEE"));
    }

    #[test]
    fn addresses_that_are_made_up_have_no_maker() {
        let list = "020000 Local\n010000 Group\n000000 XEROX CORPORATION\n";
        assert_eq!(find(list, 0x0200_0000_0001), None);
        assert_eq!(find(list, 0x0100_0000_0001), None);
        assert_eq!(find(list, 0), None);
        assert_eq!(find(list, 1).as_deref(), Some("XEROX CORPORATION"));
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in ["", "network,label\n10.0.0.0/8,office\n", "\0\0\0\0", "Registry,Assignment\nMA-L,XYZ\n"] {
            let error = Vendors::of(text.as_bytes()).expect_err("no list");
            assert_eq!(error, "it has no prefixes of MAC addresses with their makers");
        }
    }
}
