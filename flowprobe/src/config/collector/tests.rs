//! URLs that are collectors, and what is wrong with those that are none.

use super::*;

#[test]
fn a_url_is_what_it_was_made_of() {
    for url in [
        "udp://[2001:db8::10]:2055?mtu=1280",
        "udp://c.example:4739?mtu=600&template-refresh=1.5s",
        "udp://192.0.2.1:2055?format=netflow9&fields=minimal&source=192.0.2.9&interface=eth0&dscp=46",
        "tcp://192.0.2.1:4739",
        "tls://c.example:4740?ca=/etc/ca.pem&certificate=/etc/a%20b.pem&key=/etc/key.pem&name=other.example",
        "file:///var/lib/flows.ipfix?rotate=3600s&keep=24",
        "failover:tcp://192.0.2.1:4739,udp://192.0.2.2:4739",
        "balance:udp://192.0.2.1:2055?format=netflow5,udp://192.0.2.2:2055?format=netflow5",
    ] {
        let target: Target = url.parse().expect("a target");
        assert_eq!(target.text(&Fields::default()), url);
    }
}

#[test]
fn the_standard_is_named_where_others_get_something_else() {
    let url = "udp://192.0.2.1:4739?fields=standard";
    let target: Target = url.parse().expect("a target");
    assert_eq!(target.text(&Fields::Preset(Preset::Minimal)), url);
    assert_eq!(target.text(&Fields::default()), "udp://192.0.2.1:4739");
}

#[test]
fn urls_with_and_without_port_and_options() {
    let plain: Collector = "udp://collector.example".parse().expect("a collector");
    assert_eq!((plain.host.as_str(), plain.port, plain.mtu), ("collector.example", 4739, 1500));
    let full: Collector =
        "udp://[2001:db8::1]:2055?mtu=9000&template-refresh=5s&format=ipfix".parse().expect("a collector");
    assert_eq!((full.host.as_str(), full.port, full.mtu), ("2001:db8::1", 2055, 9000));
    assert_eq!(full.template_refresh, Duration::from_secs(5));
    assert_eq!(full.to_string(), "udp://[2001:db8::1]:2055");
    let port = |url: &str| url.parse::<Collector>().expect("a collector").port;
    assert_eq!(["udp://c?format=netflow5", "tls://c", "tcp://c"].map(port), [2055, 4740, 4739]);
}

#[test]
fn bad_urls_say_what_is_wrong() {
    for (url, problem) in [
        ("192.0.2.1:4739", "expected something like udp://192.0.2.1:4739"),
        ("http://192.0.2.1", "unknown scheme `http`"),
        ("sctp://192.0.2.1", "`sctp` is not offered"),
        ("udp://", "the host is missing"),
        ("udp://:4739", "the host is missing"),
        ("udp://192.0.2.1:0", "expected a port from 1 to 65535, found `0`"),
        ("udp://192.0.2.1:70000", "expected a port from 1 to 65535, found `70000`"),
        ("udp://2001:db8::1:4739", "an IPv6 address stands in brackets"),
        ("udp://[2001:db8::1", "has no `]`"),
        ("udp://[::1]x", "expected `:port` after `]`"),
        ("udp://192.0.2.1/path", "host and port and nothing else"),
        ("udp://192.0.2.1?mtu=100", "option `mtu`: expected octets from 512"),
        ("tcp://192.0.2.1?mtu=1000", "option `mtu`: unknown to tcp"),
        ("udp://192.0.2.1?retries=3", "option `retries`: unknown to udp"),
        ("udp://192.0.2.1?ca=/etc/ca.pem", "option `ca`: unknown to udp"),
        ("tls://192.0.2.1?ca=", "option `ca`: the value is missing"),
        ("udp://192.0.2.1?format=sflow", "option `format`: expected ipfix, netflow9, netflow5"),
        ("tcp://192.0.2.1?format=netflow9", "NetFlow v9 goes over udp only"),
        ("udp://192.0.2.1?format=netflow5&fields=full", "those of NetFlow v5 are fixed"),
        ("udp://192.0.2.1?fields=all", "option `fields`: expected minimal, standard, full, security"),
        ("udp://192.0.2.1?dscp=64", "option `dscp`: expected a number from 0 to 63"),
        ("udp://192.0.2.1?source=::1", "option `source`: one of the addresses is IPv4"),
        ("file://flows.ipfix", "by its whole path"),
        ("file:///var/lib/", "not a folder"),
        ("file:///var/lib/x?keep=many", "option `keep`: expected a number"),
        ("failover:udp://192.0.2.1", "two collectors or more"),
        ("failover:", "expected something like"),
        ("balance:udp://192.0.2.1,udp://192.0.2.1", "there twice"),
        ("balance:udp://192.0.2.1,udp://192.0.2.2?format=netflow5", "the same format"),
        ("failover:udp://192.0.2.1,file:///tmp/x", "a file cannot be among several"),
    ] {
        let error = url.parse::<Target>().expect_err(url).to_string();
        assert!(error.contains(problem), "{url}: {error}");
    }
}
