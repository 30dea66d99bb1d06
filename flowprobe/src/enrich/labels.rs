//! Names that the operator gives to networks: `office`, `guest wifi`. Of the networks that an address is in, the smallest one's
//! name is its.

use std::path::Path;
use std::sync::Arc;

use csv::{ReaderBuilder, StringRecord, Trim};
use hashbrown::HashMap;
use ipnet::IpNet;

use super::layer::{Facts, Layer, Networks, Numbered};
use super::row::Place;
use crate::config;
use crate::text::shown;

/// Names by network, out of one or more files.
#[derive(Debug, Default)]
pub(super) struct Labels {
    networks: HashMap<IpNet, Arc<str>>,
}

/// Words that may stand above the column of networks.
const HEADINGS: [&str; 5] = ["network", "prefix", "cidr", "subnet", "range"];

impl Labels {
    /// Reads a file of comma-separated values: a network or an address, and its name. Lines that begin with `#` are remarks, and
    /// the first line may be a heading.
    ///
    /// # Errors
    /// It cannot be read, or a line is something else; in words, with the number of the line.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let octets = std::fs::read(path).map_err(|error| error.to_string())?;
        Self::of(&octets)
    }

    fn of(octets: &[u8]) -> Result<Self, String> {
        // Excel begins a file with a mark.
        let octets = octets.strip_prefix(b"\xef\xbb\xbf").unwrap_or(octets);
        let mut reader = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .comment(Some(b'#'))
            .trim(Trim::All)
            .from_reader(octets);
        let mut labels = Self::default();
        let mut row = StringRecord::new();
        let mut is_first = true;
        loop {
            match reader.read_record(&mut row) {
                Ok(false) => return Ok(labels),
                Ok(true) => {}
                Err(error) => return Err(error.to_string()),
            }
            let is_heading = is_first && HEADINGS.iter().any(|word| row.get(0).is_some_and(|cell| is(cell, word)));
            is_first = false;
            if !is_heading {
                let end = usize::try_from(reader.position().byte()).unwrap_or(0);
                labels.add(&row).map_err(|problem| format!("line {}: {problem}", line_of(octets, end)))?;
            }
        }
    }

    fn add(&mut self, row: &StringRecord) -> Result<(), String> {
        let found = || row.iter().collect::<Vec<_>>().join(",");
        let (Some(network), Some(label)) = (row.get(0), row.get(1).and_then(shown).map(Arc::<str>::from)) else {
            return Err(format!("expected a network and its label, such as 10.1.0.0/16,office, found `{}`", found()));
        };
        let network = config::network(network)?;
        match self.networks.insert(network, Arc::clone(&label)).filter(|before| *before != label) {
            Some(before) => Err(format!("{network} is `{before}` already")),
            None => Ok(()),
        }
    }

    /// What they say of all addresses.
    pub(super) fn layer(&self) -> Layer {
        let (mut networks, mut numbered) = (Networks::default(), Numbered::new());
        for (network, label) in &self.networks {
            let facts = Facts { place: Place::default(), label: Some(Arc::clone(label)) };
            networks.add(*network, numbered.number(&facts));
        }
        Layer::of(networks, numbered)
    }

    /// Adds the networks of another file; those that are there already stay what they are.
    pub(super) fn add_all(&mut self, other: &Self) {
        for (network, label) in &other.networks {
            self.networks.entry(*network).or_insert_with(|| Arc::clone(label));
        }
    }

    /// Networks.
    pub(super) fn len(&self) -> usize {
        self.networks.len()
    }
}

/// In which line the row is that ends here. The reader's own number is that of the remarks before it.
fn line_of(octets: &[u8], end: usize) -> usize {
    let row = octets.get(..end.saturating_sub(1)).unwrap_or(octets);
    1 + row.iter().filter(|octet| **octet == b'\n').count()
}

fn is(cell: &str, word: &str) -> bool {
    cell.eq_ignore_ascii_case(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(labels: &Labels, address: &str) -> Option<String> {
        let layer = labels.layer();
        layer.find(address.parse().expect("an address")).label.as_ref().map(ToString::to_string)
    }

    #[test]
    fn the_smallest_network_gives_its_name() {
        let text = "\u{feff}Network,Label,Remark\r\n# ours\r\n10.0.0.0/8, office\r\n10.1.0.0/16,\"guest, \"\"wifi\"\"\"\r\n\
                    10.1.2.3,printer,third floor\r\n\r\n2001:db8::/32,lab\n192.0.2.0/24,test\n0.0.0.0/0,outside\n";
        let labels = Labels::of(text.as_bytes()).expect("labels");
        assert_eq!(labels.len(), 6);
        for (address, label) in [
            ("10.2.3.4", "office"),
            ("10.1.3.4", "guest, \"wifi\""),
            ("10.1.2.3", "printer"),
            ("192.0.2.77", "test"),
            ("198.51.100.1", "outside"),
            ("2001:db8:5::1", "lab"),
        ] {
            assert_eq!(find(&labels, address).as_deref(), Some(label), "{address}");
        }
        assert_eq!(find(&labels, "2001:db9::1"), None);
    }

    #[test]
    fn what_is_no_label_is_named_with_its_line() {
        for (text, problem) in [
            (
                "10.0.0.0/8\n",
                "line 1: expected a network and its label, such as 10.1.0.0/16,office, found `10.0.0.0/8`",
            ),
            (
                "10.0.0.0/8,a\n10.0.0.0/33,b\n",
                "line 2: expected a network such as 192.0.2.0/24, or an address, found `10.0.0.0/33`",
            ),
            (
                "network,label\n10.0.0.1/8,a\n",
                "line 2: `10.0.0.1/8` has bits behind its prefix; the network is 10.0.0.0/8",
            ),
            ("10.0.0.0/8,a\n# again\n10.0.0.0/8,b\n", "line 3: 10.0.0.0/8 is `a` already"),
            (
                "::ffff:192.0.2.0/120,a\n",
                "line 1: `::ffff:192.0.2.0/120` is a network of IPv4 and has to be written as one",
            ),
            ("10.0.0.0/8,  \n", "line 1: expected a network and its label"),
            ("office,10.0.0.0/8\n", "line 1: expected a network such as"),
        ] {
            let error = Labels::of(text.as_bytes()).expect_err(problem);
            assert!(error.starts_with(problem), "{error}");
        }
        assert!(Labels::of(b"10.0.0.0/8,\xff\xfe\n").expect_err("no UTF-8").contains("UTF-8"));
        assert_eq!(Labels::of(b"").expect("none").len(), 0);
        // What is said twice alike is said once.
        assert_eq!(Labels::of(b"10.0.0.0/8,a\n10.0.0.0/8,a\n").expect("labels").len(), 1);
    }

    #[test]
    fn of_several_files_the_first_one_names_a_network() {
        let mut first = Labels::of(b"10.0.0.0/8,first\n").expect("labels");
        first.add_all(&Labels::of(b"10.0.0.0/8,second\n10.1.0.0/16,second\n").expect("labels"));
        let named = ["10.0.0.1", "10.1.0.1"].map(|address| find(&first, address));
        assert_eq!(named, [Some("first".to_owned()), Some("second".to_owned())]);
    }
}
