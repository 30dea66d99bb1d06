//! The list of devices that may be here, as text.

use std::net::IpAddr;

use hashbrown::HashMap;

use super::super::flow::{Ip, Mac};
use super::inventory::Device;
use super::kind::parse_mac;

/// Devices that are approved: by MAC address, or by an address that one of them has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Approvals {
    macs: HashMap<Mac, String>,
    addresses: HashMap<Ip, String>,
}

impl Approvals {
    /// Reads lines of `MAC [name]` or `address [name]`; what comes after `#` is a remark. The name may have spaces.
    ///
    /// # Errors
    /// The number of the first line that is neither, what it has, and what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut approvals = Self::default();
        for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let (key, name) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            let name = name.trim().to_owned();
            let twice = if let Some(mac) = parse_mac(key) {
                if !mac.is_of_a_station() {
                    return Err(format!("line {}: {key} is not the address of one device", index + 1));
                }
                approvals.macs.insert(mac, name).is_some()
            } else if let Ok(address) = key.parse::<IpAddr>() {
                approvals.addresses.insert(address.into(), name).is_some()
            } else {
                let line = index + 1;
                return Err(format!(
                    "line {line}: \"{key}\" is neither a MAC address such as 00:1b:21:0a:0b:0c nor an address such as 10.0.0.7"
                ));
            };
            if twice {
                return Err(format!("line {}: {key} is there a second time", index + 1));
            }
        }
        Ok(approvals)
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.macs.len() + self.addresses.len()
    }

    /// Whether there are none, so that nobody is approved.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether devices are approved by their addresses, too.
    pub(super) fn has_addresses(&self) -> bool {
        !self.addresses.is_empty()
    }

    /// The name of a device that is approved, which may be empty.
    #[must_use]
    pub fn name(&self, device: &Device) -> Option<&str> {
        let by_address = || device.addresses.iter().find_map(|address| self.addresses.get(&address.ip));
        self.macs.get(&device.mac).or_else(by_address).map(String::as_str)
    }

    /// Whether an address is approved by itself.
    pub(super) fn has_address(&self, ip: Ip) -> bool {
        self.addresses.contains_key(&ip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_understood() {
        let text = "\u{feff}# ours\r\n\r\n00:1b:21:0a:0b:0c  printer, second floor # by the stairs\r\n10.0.0.7\n  fd00::7 the nas\n";
        let approvals = Approvals::parse(text).expect("a list");
        assert_eq!(approvals.len(), 3);
        assert_eq!(approvals.macs[&Mac([0, 0x1b, 0x21, 0x0a, 0x0b, 0x0c])], "printer, second floor");
        assert!(approvals.has_addresses() && approvals.has_address(IpAddr::from([10, 0, 0, 7]).into()));
        assert!(Approvals::parse("# nobody\n").expect("a list").is_empty());
    }

    #[test]
    fn errors_say_where_and_what() {
        let error = |text| Approvals::parse(text).expect_err("no list");
        assert_eq!(
            error("10.0.0.7\n\nprinter 10.0.0.8"),
            "line 3: \"printer\" is neither a MAC address such as 00:1b:21:0a:0b:0c nor an address such as 10.0.0.7"
        );
        assert_eq!(error("ff:ff:ff:ff:ff:ff"), "line 1: ff:ff:ff:ff:ff:ff is not the address of one device");
        assert_eq!(error("10.0.0.7 a\n10.0.0.7 b"), "line 2: 10.0.0.7 is there a second time");
    }
}
