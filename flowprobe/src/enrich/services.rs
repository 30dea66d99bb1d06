//! Names of services, by protocol and port: those that this system has, and else the ones that everybody knows.

use std::sync::{Arc, LazyLock};

use hashbrown::HashMap;

use crate::filter::well_known_services;
use crate::record::{TCP, UDP, has_ports};
use crate::summary::protocol_number;

/// Where systems keep them.
const KNOWN_PLACES: [&str; 2] = ["/etc/services", "/usr/etc/services"];

static SERVICES: LazyLock<HashMap<(u8, u16), Arc<str>>> = LazyLock::new(|| {
    let text = KNOWN_PLACES.iter().find_map(|path| std::fs::read(path).ok()).unwrap_or_default();
    all(&String::from_utf8_lossy(&text))
});

/// The name of the service at a port, of `protocol`. Names follow from the two, and do not change while the process lives.
#[must_use]
pub fn service_name(protocol: i32, port: i32) -> Option<&'static Arc<str>> {
    SERVICES.get(&(u8::try_from(protocol).ok()?, u16::try_from(port).ok()?))
}

/// Those of a file, and the well-known ones that it has not.
fn all(text: &str) -> HashMap<(u8, u16), Arc<str>> {
    let mut services = HashMap::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let (Some(name), Some((port, protocol))) = (words.next(), words.next().and_then(|word| word.split_once('/')))
        else {
            continue;
        };
        if let (Ok(port), Some(protocol)) = (port.parse(), protocol_number(protocol).filter(|one| has_ports(*one))) {
            services.entry((protocol, port)).or_insert_with(|| Arc::from(name));
        }
    }
    for (name, port) in well_known_services() {
        for protocol in [TCP, UDP] {
            services.entry((protocol, port)).or_insert_with(|| Arc::from(name));
        }
    }
    services
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_own_names_come_first() {
        let services =
            all("# a remark\nweb 80/tcp www # the web\nweb2\t80/tcp\nodd 443/none\nodd nothing\ntwo 65536/tcp\n");
        let name = |protocol, port| services.get(&(protocol, port)).map(|name| &**name);
        assert_eq!((name(TCP, 80), name(UDP, 80), name(TCP, 443)), (Some("web"), Some("http"), Some("https")));
        assert_eq!((name(TCP, 1), name(1, 80)), (None, None));
        assert_eq!(service_name(6, 22).map(|name| &**name), Some("ssh"));
        assert_eq!((service_name(6, -1), service_name(300, 22), service_name(6, 70_000)), (None, None, None));
    }
}
