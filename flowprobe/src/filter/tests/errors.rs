//! What is said of expressions that are wrong, too long or too deep.

use crate::filter::compile;

#[test]
fn errors_say_where_and_what_was_expected() {
    for (text, message) in [
        ("src host foo", "column 10: expected an address, found `foo`"),
        ("foo", "column 1: expected an address, or a keyword such as host, port or tcp, found `foo`"),
        ("host", "column 5: expected an address, found the end"),
        ("tcp and", "column 8: expected an address, or a keyword such as host, port or tcp, found the end"),
        ("tcp port 80 443", "column 13: expected `and`, `or` or the end, found `443`"),
        (
            "port 80 or len > 5 or 443",
            "column 23: expected an address, or a keyword such as host, port or tcp, found `443`",
        ),
        ("(tcp or udp", "column 12: expected `and`, `or` or `)`, found the end"),
        ("tcp)", "column 4: expected `and`, `or` or the end, found `)`"),
        (
            "port 65536",
            "column 6: expected a port up to 65535, or the name of a common service such as http or ssh, found `65536`",
        ),
        (
            "port foo",
            "column 6: expected a port up to 65535, or the name of a common service such as http or ssh, found `foo`",
        ),
        ("portrange 6000-", "column 11: expected two ports joined by `-`, such as 6000-6008, found `6000-`"),
        ("host 10.0.0.256", "column 6: expected an address, found `10.0.0.256`"),
        ("host 10", "column 6: expected an address, found `10`"),
        (
            "host 10.0.0.0/8",
            "column 14: expected `and`, `or` or the end (`host` takes one address, `net` takes a prefix), found `/`",
        ),
        (
            "net 10.1.2.3/8",
            "column 5: expected a network address without bits beyond its prefix or mask, found `10.1.2.3`",
        ),
        ("net 10.0.0.0/33", "column 14: expected a prefix length up to 32, found `33`"),
        ("net 2001:db8::/129", "column 16: expected a prefix length up to 128, found `129`"),
        ("net ::1 mask 255.0.0.0", "column 5: expected an IPv4 address before `mask`, found `::1`"),
        ("net 10.0.0.0 mask foo", "column 19: expected an IPv4 netmask, found `foo`"),
        ("ip host ::1", "column 9: expected an IPv4 address, found `::1`"),
        ("ip6 host 10.0.0.1", "column 10: expected an IPv6 address, found `10.0.0.1`"),
        ("tcp host 10.0.0.1", "column 5: expected `port` or `portrange`, found `host`"),
        ("icmp port 5", "column 6: expected `and`, `or` or the end, found `port`"),
        ("ip port 80", "column 4: expected `host`, `net`, `proto` or an address, found `port`"),
        ("src proto 6", "column 5: expected `host`, `net`, `port`, `portrange` or an address, found `proto`"),
        (
            "ether 0:1:2:3:4:5",
            "column 7: expected `host`, `src`, `dst`, `proto`, `broadcast` or `multicast`, found `0:1:2:3:4:5`",
        ),
        ("ether host 10.0.0.1", "column 12: expected a MAC address, found `10.0.0.1`"),
        ("proto foo", "column 7: expected a protocol number up to 255, or a name such as tcp or icmp, found `foo`"),
        ("proto 256", "column 7: expected a protocol number up to 255, or a name such as tcp or icmp, found `256`"),
        ("vlan 4096", "column 6: expected a VLAN identifier from 1 to 4095, found `4096`"),
        ("vlan 0", "column 6: expected a VLAN identifier from 1 to 4095, found `0`"),
        ("mpls 1048576", "column 6: expected a label up to 1048575, found `1048576`"),
        ("less many", "column 6: expected a length in octets, found `many`"),
        ("tcp[13] & 2", "column 12: expected a comparison such as == or !=, found the end"),
        ("tcp[tcpflags] == syn", "column 18: expected a number, or a name such as tcp-syn or icmp-echo, found `syn`"),
        ("tcp[13", "column 7: expected `]`, found the end"),
        ("host 10.0.0.1;", "column 14: expected a word, a number or an operator, found `;`"),
        ("arp", "column 1: `arp` cannot be a filter here: only IP packets become flows"),
        ("ip and ether proto \\arp", "column 20: `arp` cannot be a filter here: only IP packets become flows"),
        (
            "wlan host 1",
            "column 1: `wlan` cannot be a filter here: there are no such frames on the links that are metered",
        ),
        (
            "pppoes 1",
            "column 1: `pppoes` cannot be a filter here: the header is stepped over, and the filter asks what is behind it",
        ),
        (
            "gateway x",
            "column 1: `gateway` cannot be a filter here: names are not resolved; `ether host MAC and not host ADDRESS` says the same",
        ),
        (
            "ip broadcast",
            "column 1: `ip broadcast` cannot be a filter here: it would need the interface's netmask; write `ether broadcast` or the address",
        ),
        (
            "ip6 protochain 6",
            "column 5: `protochain` cannot be a filter here: extension headers are stepped over; `proto` asks for the protocol behind them",
        ),
        (
            "tcp[13] + 1 == 3",
            "column 9: `+` cannot be a filter here: there is no arithmetic but `&` with a constant on the left of a comparison and `|` between constants",
        ),
    ] {
        let error = compile(text).expect_err(text).to_string();
        assert_eq!(error, format!("{message}"), "{text}");
    }
    let error = compile("tcp and ether[0] & 1 != 0").expect_err("no such field").to_string();
    assert!(error.starts_with("column 9: `ether[0]` cannot be a filter here: flows keep a few"), "{error}");
    let error = compile("(ip[6:2] & 0x1fff) = 0").expect_err("no such field").to_string();
    assert!(error.starts_with("column 2: `ip[6:2]` cannot be a filter here"), "{error}");
}

#[test]
fn what_is_too_long_or_too_deep_is_refused() {
    let hosts = |count| vec!["host 10.0.0.1"; count].join(" or ");
    assert_eq!(compile(&hosts(32)).map(|filter| filter.length), Ok(64));
    let error = compile(&hosts(40)).expect_err("too long").to_string();
    assert_eq!(error, "it needs 80 tests, and a filter has room for 64");
    let deep = format!("{}tcp{}", "(".repeat(20_000), ")".repeat(20_000));
    let error = compile(&deep).expect_err("too deep").to_string();
    let most = "more than 256 parentheses, negations and changes between `and` and `or`";
    assert_eq!(error, format!("column 257: {most}"));
    assert!(compile(&"not ".repeat(20_000)).is_err());
    assert!(compile(&"tcp or udp and ".repeat(20_000)).is_err());
    assert!(compile(&format!("{}tcp[13]", "(".repeat(20_000))).is_err());
    assert!(compile(&hosts(20_000)).is_err());
}
