//! URLs to listen on, what is wrong with those that are none, and what goes together.

use super::*;
use crate::config::Settings;

fn listen(url: &str) -> Listen {
    url.parse().expect(url)
}

#[test]
fn a_url_is_what_it_was_made_of() {
    for url in [
        "udp://0.0.0.0:2055",
        "udp://[2001:db8::10]:9995?receive-buffer=16777216&allow=10.0.0.0/8,192.0.2.1,2001:db8::/32",
        "tcp://127.0.0.1:0",
        "tls://[::]:4740?certificate=/etc/a%20b.pem&key=/etc/key.pem&client-ca=/etc/ca.pem&allow=::1",
    ] {
        assert_eq!(listen(url).url(), url);
    }
}

#[test]
fn ports_and_options_that_are_not_given() {
    for (url, whole) in [
        ("udp://192.0.2.1", "udp://192.0.2.1:2055"),
        ("udp://[::]/", "udp://[::]:2055"),
        ("tcp://[::1]", "tcp://[::1]:4739"),
        ("tls://0.0.0.0?cert=/c&key=/k", "tls://0.0.0.0:4740?certificate=/c&key=/k"),
        ("udp://[::ffff:127.0.0.1]:9?receive-buffer=8M", "udp://127.0.0.1:9"),
        ("tcp://[::]?allow=192.0.2.1/32&allow=192.0.2.1", "tcp://[::]:4739?allow=192.0.2.1"),
    ] {
        assert_eq!(listen(url).url(), whole, "{url}");
    }
}

#[test]
fn bad_urls_say_what_is_wrong() {
    for (url, problem) in [
        ("0.0.0.0:2055", "expected something like udp://0.0.0.0:2055"),
        ("http://0.0.0.0", "unknown scheme `http`; expected udp, tcp or tls"),
        ("sctp://0.0.0.0", "`sctp` is not offered"),
        ("udp://", "the address is missing"),
        ("udp://:2055", "the address is missing"),
        ("udp://collector:2055", "expected an address of this machine, found `collector`"),
        ("udp://[fe80::1%eth0]", "expected an address of this machine, found `[fe80::1%eth0]`"),
        ("udp://[::1", "expected an address of this machine, found `["),
        ("udp://::1", "an IPv6 address stands in brackets"),
        ("udp://0.0.0.0:70000", "expected a port from 0 to 65535, found `70000`"),
        ("udp://0.0.0.0?retries=3", "option `retries`: unknown to udp; expected one of allow, receive-buffer"),
        ("tcp://0.0.0.0?receive-buffer=8M", "option `receive-buffer`: unknown to tcp; expected one of allow"),
        ("udp://0.0.0.0?receive-buffer=1G", "option `receive-buffer`: expected a size from 1 MiB to 512 MiB"),
        ("udp://0.0.0.0?receive-buffer=much", "option `receive-buffer`: expected a size from 1 MiB to 512 MiB"),
        ("udp://0.0.0.0?allow=", "option `allow`: expected a network such as 192.0.2.0/24, or an address, found ``"),
        ("udp://0.0.0.0?allow=10.0.0.0/33", "option `allow`: expected a network"),
        (
            "udp://0.0.0.0?allow=10.1.0.0/8",
            "option `allow`: `10.1.0.0/8` has bits behind its prefix; the network is 10.0.0.0/8",
        ),
        ("udp://0.0.0.0?allow=::ffff:10.0.0.0/104", "is a network of IPv4"),
        ("tls://0.0.0.0?key=/k", "option `certificate` is missing"),
        ("tls://0.0.0.0?cert=/c", "option `key` is missing"),
        ("tls://0.0.0.0?cert=", "option `cert`: the value is missing"),
        ("tls://0.0.0.0?ca=/c", "option `ca`: unknown to tls; expected one of certificate, key, client-ca, allow"),
    ] {
        let error = url.parse::<Listen>().expect_err(url).to_string();
        assert!(error.starts_with(&format!("bad URL to listen on `{url}`: ")) && error.contains(problem), "{error}");
    }
}

#[test]
fn only_who_is_allowed_may_send() {
    let all = listen("udp://[::]");
    let some = listen("udp://[::]?allow=10.0.0.0/8,192.0.2.7,2001:db8::/32");
    for (peer, is_allowed) in [
        ("10.255.0.1", true),
        ("11.0.0.1", false),
        ("192.0.2.7", true),
        ("192.0.2.8", false),
        ("2001:db8:1::1", true),
        ("2001:db9::1", false),
    ] {
        let peer: IpAddr = peer.parse().expect("an address");
        assert_eq!((all.allows(peer), some.allows(peer)), (true, is_allowed), "{peer}");
    }
}

#[test]
fn addresses_that_the_kernel_would_refuse_are_found() {
    for (one, other, is_refused) in [
        ("udp://127.0.0.1:1", "udp://127.0.0.1:1?allow=::1", true),
        ("udp://127.0.0.1:1", "udp://127.0.0.1:2", false),
        ("udp://127.0.0.1:0", "udp://127.0.0.1:0", false),
        ("udp://127.0.0.1:1", "tcp://127.0.0.1:1", false),
        ("udp://127.0.0.1:1", "udp://0.0.0.0:1", true),
        ("udp://0.0.0.0:1", "udp://[::]:1", true),
        ("udp://[::]:1", "udp://127.0.0.1:1", true),
        ("udp://[::1]:1", "udp://0.0.0.0:1", false),
        ("tcp://[::1]:1", "tls://[::]:1?cert=/c&key=/k", true),
    ] {
        let (a, b) = (listen(one), listen(other));
        assert_eq!((a.overlaps(&b), b.overlaps(&a)), (is_refused, is_refused), "{one} {other}");
    }
}

fn checked(listen: &[&str], relay: Relay, collectors: &[&str]) -> Result<crate::config::Config, String> {
    let mut settings = Settings { relay: Some(relay), ..Settings::default() };
    settings.listen = Some(listen.iter().map(|url| url.parse().expect("a URL")).collect());
    settings.export.targets = Some(collectors.iter().map(|url| url.parse().expect("a collector")).collect());
    settings.check().map_err(|error| error.to_string())
}

#[test]
fn who_listens_needs_no_interface() {
    let config = checked(&["udp://127.0.0.1"], Relay::default(), &[]).expect("a configuration");
    assert_eq!(config.interfaces, [""; 0]);
    let text = config.to_string();
    assert!(text.contains("\nlisten = [\"udp://127.0.0.1:2055\"]\nrelay = \"records\"\n"), "{text}");
    let both = Settings { listen: Some(config.listen), interfaces: Some(vec!["lo".into()]), ..Settings::default() };
    assert_eq!(both.check().expect("a configuration").interfaces, ["lo"]);
}

#[test]
fn what_does_not_go_together_is_refused() {
    let error = checked(&["udp://127.0.0.1", "udp://0.0.0.0"], Relay::default(), &[]).expect_err("one address twice");
    assert!(error.contains("udp://0.0.0.0:2055"), "{error}");
    let error = checked(&["tls://[::1]?cert=/none/c&key=/none/k"], Relay::default(), &[]).expect_err("no such file");
    assert!(error.starts_with("cannot listen on tls://[::1]:4740: cannot read `/none/c`: "), "{error}");

    let collectors = ["tcp://192.0.2.1", "udp://192.0.2.2"];
    let error = checked(&["udp://127.0.0.1"], Relay::Datagrams, &collectors).expect_err("datagrams in datagrams");
    assert!(
        error.starts_with("the collector udp://192.0.2.2:4739: with `relay = \"datagrams\"` it has to be"),
        "{error}"
    );
    assert!(checked(&["udp://127.0.0.1"], Relay::Datagrams, &collectors[..1]).is_ok());
    assert!(checked(&["udp://127.0.0.1"], Relay::Records, &collectors).is_ok());
}
