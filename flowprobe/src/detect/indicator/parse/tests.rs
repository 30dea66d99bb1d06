//! Lists as they are found in the world, and as nobody would want them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::*;

/// First and last address, score and reason of each entry.
type Entry = (String, Option<f32>, String);

fn entries(parsed: &Parsed) -> Vec<Entry> {
    let entry = |first: IpAddr, last: IpAddr, note: u32| {
        let Note { score, reason } = parsed.notes[note as usize].clone();
        (if first == last { first.to_string() } else { format!("{first}-{last}") }, score, reason.into())
    };
    let v4 = parsed
        .v4
        .iter()
        .map(|(first, last, note)| entry(Ipv4Addr::from_bits(*first).into(), Ipv4Addr::from_bits(*last).into(), *note));
    let v6 = parsed
        .v6
        .iter()
        .map(|(first, last, note)| entry(Ipv6Addr::from_bits(*first).into(), Ipv6Addr::from_bits(*last).into(), *note));
    v4.chain(v6).collect()
}

fn read(text: &str) -> Parsed {
    parse(text.as_bytes(), None).expect("a list")
}

fn of(expected: &[(&str, Option<f32>, &str)]) -> Vec<Entry> {
    expected.iter().map(|(range, score, reason)| ((*range).to_owned(), *score, (*reason).to_owned())).collect()
}

#[test]
fn plain_lists_have_comments_scores_and_texts() {
    let text = "\u{feff}# mine\r\n\r\n192.0.2.1\r\n 192.0.2.2 # a bot\n192.0.2.0/30 ; SBL1234\n; all of it\n\
        192.0.2.9 - 192.0.2.12\n2001:db8::1#six\n\
        192.0.2.7 80.5\n192.0.2.8 seen at night\n192.0.2[.]13:443\n// no more";
    let list = read(text);
    assert_eq!(
        entries(&list),
        of(&[
            ("192.0.2.1", None, ""),
            ("192.0.2.2", None, "a bot"),
            ("192.0.2.0-192.0.2.3", None, "SBL1234"),
            ("192.0.2.9-192.0.2.12", None, ""),
            ("192.0.2.7", Some(80.5), ""),
            ("192.0.2.8", None, "seen at night"),
            ("192.0.2.13", None, ""),
            ("2001:db8::1", None, "six"),
        ])
    );
    assert_eq!((list.refused, list.name.as_deref()), (0, Some("mine")));
}

#[test]
fn firehol_headers_and_ipset_save_name_the_list() {
    let list = read(
        "#\n# feodo_30d\n#\n# ipv4 hash:ip ipset\n#\n# A tracker of trojans. (https://example.org/)\n#\n# Maintainer      : Example\n\
         # Maintainer URL  : https://example.org/\n# Category        : malware\n\
         # Entries         : 1 unique IPs\n#\n192.0.2.5\n198.51.100.0/24\n",
    );
    assert_eq!(
        [list.name.as_deref(), list.category.as_deref(), list.maintainer.as_deref()],
        [Some("feodo_30d"), Some("malware"), Some("Example")]
    );
    assert_eq!(list.len(), 2);
    let list = read(
        "create bad hash:net family inet hashsize 1024 maxelem 65536\nadd bad 192.0.2.0/24\nadd bad 198.51.100.7 timeout 30\n",
    );
    assert_eq!(
        (list.name.as_deref(), entries(&list)),
        (Some("bad"), of(&[("192.0.2.0-192.0.2.255", None, ""), ("198.51.100.7", None, "")]))
    );
}

#[test]
fn scores_that_are_too_low_are_left_out() {
    let text = "# ip<TAB>score\n192.0.2.1\t9\n192.0.2.2\t2\n192.0.2.3\t3\n192.0.2.4\n";
    let list = parse(text.as_bytes(), Some(3.0)).expect("a list");
    assert_eq!(
        entries(&list),
        of(&[("192.0.2.1", Some(9.0), ""), ("192.0.2.3", Some(3.0), ""), ("192.0.2.4", None, "")])
    );
    assert_eq!((list.below, list.unscored, list.refused), (1, 1, 0));
    let none = parse(b"192.0.2.1,1\n192.0.2.2,2\n", Some(3.0)).expect("an empty list");
    assert_eq!((none.len(), none.below), (0, 2));
}

#[test]
fn a_header_says_which_column_is_which() {
    let with_header = [
        "first_seen,dst_ip,dst_port,malware,score\n2026-01-01,192.0.2.1,443,\"Dri\"\"dex, new\",75\n",
        "\"first_seen\",\"dst_ip\",\"dst_port\",\"malware\",\"Score\"\r\n\
         \"2026-01-01 07:44\", \"192.0.2.1\" ,\"443\",\"Dri\"\"dex, new\",\"75\"\r\n",
        "# \"first_seen\",\"dst_ip\",\"dst_port\",\"malware\",\"score\"\n\"x\",\"192.0.2.1:80\",\"443\",\"Dri\"\"dex, new\",\"75\"\n",
        "first seen\tDst-IP\tport\tmalware\tscore\n1\t192.0.2.1\t\tDri\"\"dex, new\t75\n",
        "seen;dst_ip;port;malware;score\n1;192.0.2.1;4;Dri\"\"dex, new;75\n",
    ];
    for text in with_header {
        assert_eq!(entries(&read(text)), of(&[("192.0.2.1", Some(75.0), "Dri\"\"dex, new")]), "{text}");
    }
    // The named column that holds addresses.
    assert_eq!(
        entries(&read("host,ip,category,description\nexample.org,192.0.2.1,scan,ssh\n")),
        of(&[("192.0.2.1", None, "scan, ssh")])
    );
    assert_eq!(
        entries(&read("Start\tEnd\tNetmask\tAttacks\n192.0.2.0\t192.0.2.255\t24\t9\n")),
        of(&[("192.0.2.0-192.0.2.255", None, "")])
    );
    assert_eq!(entries(&read("IP address\n192.0.2.1\n")), of(&[("192.0.2.1", None, "")]));
}

#[test]
fn without_a_header_the_first_column_with_an_address_counts() {
    assert_eq!(
        entries(&read("7,2026-01-01,192.0.2.1,198.51.100.1,botnet\n8,2026-01-01,192.0.2.2,198.51.100.1,other\n")),
        of(&[("192.0.2.1", None, "botnet"), ("192.0.2.2", None, "other"),])
    );
    // The commas are in the comment.
    assert_eq!(
        entries(&read("192.0.2.1 # Scanning US,,38.0,-97.0\n")),
        of(&[("192.0.2.1", None, "Scanning US,,38.0,-97.0")])
    );
}

#[test]
fn an_odd_line_costs_no_other() {
    let text = "192.0.2.1\nexample.org\n192.0.2.300\n0.0.0.0/0\n192.0.2.2\n10.0.0.0/40\n\"192.0.2.3\n192.0.2.9-192.0.2.1\n\u{1}\n";
    let list = read(text);
    assert_eq!((list.len(), list.refused, list.refusals.len()), (2, 7, SHOWN));
    let lines: Vec<u64> = list.refusals.iter().map(|refusal| refusal.line).collect();
    assert_eq!(lines, [2, 3, 4, 6, 7]);
    let said = list.refusals[2].to_string();
    assert_eq!(said, "line 4: \"0.0.0.0/0\" is not a network that is not half of all addresses or more");
    let list = read("ip,reason\n192.0.2.1,\"open quote\n192.0.2.2,fine\n,\n\"192.0.2.3\",\n");
    assert_eq!((list.len(), list.refused), (3, 1));
}

#[test]
fn nothing_at_all_is_an_error_and_an_empty_list_is_not() {
    assert_eq!(read("# feodo\n#\n# Entries : 0\n").len(), 0);
    assert_eq!(read("ip,score\n").len(), 0);
    let error = parse(b"<html>\n<body>Not found</body>\n", None).expect_err("no list");
    assert_eq!((error.refused, error.refusals[0].line), (2, 1));
    assert!(error.to_string().contains("2 lines were refused; line 1: \"<html>\" is not an address"), "{error}");
    assert!(parse(b"\n \n", None).expect_err("no list").to_string().starts_with("is empty"));
}

#[test]
fn hostile_files_are_bounded() {
    let mut text = vec![b'9'; 3_000_000];
    text.extend_from_slice(b"\n192.0.2.1\n\0\0\n\xff\xfe\n192.0.2.2 # \xff\x07bell\n#");
    text.extend(vec![b'#'; 100_000]);
    text.extend_from_slice(b"\n192.0.2.3 # ");
    text.extend(vec![b'x'; 3000]);
    let list = parse(&text, None).expect("a list");
    assert_eq!((list.len(), list.refused), (3, 3));
    assert_eq!(list.refusals[0].expected, SHORTER);
    assert!(list.refusals.iter().all(|refusal| refusal.found.chars().count() <= 40));
    assert_eq!(entries(&list)[1].2, "\u{fffd}\u{fffd}bell");
    assert_eq!(entries(&list)[2].2.len(), REASON);
    let mut random = fastrand::Rng::with_seed(2);
    let some = b"0123456789.:,,\t\n\n\n\"#;/- ipscore\0\xff[]";
    for _ in 0..20_000 {
        let text: Vec<u8> = (0..random.usize(..80)).map(|_| some[random.usize(..some.len())]).collect();
        if let Ok(list) = parse(&text, Some(2.0)) {
            assert!(
                list.v4.iter().all(|(first, last, note)| first <= last && (*note as usize) < list.notes.len()),
                "{text:?}"
            );
        }
    }
}

#[test]
fn reasons_have_an_end() {
    let text: String = (0..300).map(|number| format!("192.0.{}.{} #{number}\n", number / 256, number % 256)).collect();
    let list = parse_with(text.as_bytes(), None, 100).expect("a list");
    assert_eq!((list.len(), list.notes.len(), list.unexplained), (300, 100, 201));
}
