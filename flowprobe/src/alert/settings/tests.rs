//! Tables as they are written, and what is said of those that are wrong.

use super::*;

#[derive(Debug, Deserialize)]
struct File {
    sink: Vec<SinkSettings>,
}

fn read(text: &str) -> Result<Vec<SinkSettings>, String> {
    toml::from_str::<File>(text).map(|file| file.sink).map_err(|error| error.message().to_owned())
}

#[test]
fn sinks_are_tables_of_the_file() {
    let sinks = read(
        "[[sink]]\ntype = 'log'\n\
         [[sink]]\ntype = 'syslog'\nurl = 'tls://logs.example'\nfacility = 'security'\nminimum-severity = 'medium'\n\
         [[sink]]\ntype = 'webhook'\nurl = 'https://alerts.example/x?key=1'\nsecret-file = '/etc/flowprobe/secret'\n\
         [[sink]]\ntype = 'file'\npath = '/var/log/findings.json'\nformat = 'flowprobe'\nname = 'archive'\n\
         [[sink]]\ntype = 'syslog'\n",
    );
    let sinks = sinks.expect("settings");
    assert_eq!(
        sinks.iter().map(SinkSettings::name).collect::<Vec<_>>(),
        [
            "log",
            "syslog tls://logs.example:6514",
            "webhook https://alerts.example",
            "archive",
            "syslog unix:///dev/log"
        ]
    );
    assert_eq!(sinks[1].minimum_severity(), Severity::Medium);
    assert_eq!(sinks[4], SinkSettings::Syslog(SyslogSettings::default()));
    assert!(!format!("{sinks:?}").contains("key=1"));
}

#[test]
fn what_is_wrong_is_refused_in_words() {
    for (text, expected) in [
        ("type = 'mail'", "unknown variant `mail`"),
        ("type = 'log'\nurl = 'x'", "unknown field `url`"),
        ("type = 'webhook'", "missing field `url`"),
        ("type = 'webhook'\nurl = 'ftp://user:pass@host/'", "it is no URL of a receiver"),
        ("type = 'syslog'\nurl = 'udp://host:0'", "\"udp://host:0\" is no place of a syslog collector"),
        ("type = 'syslog'\nurl = 'host'", "\"host\" is no place of a syslog collector"),
        ("type = 'syslog'\nurl = 'tcp://host:99999'", "\"tcp://host:99999\" is no place of a syslog collector"),
        ("type = 'syslog'\nlargest = 100", "100 is not a length of messages"),
        ("type = 'syslog'\nfacility = 'kern'", "unknown variant `kern`"),
        ("type = 'log'\nminimum-severity = 'urgent'", "unknown variant `urgent`"),
    ] {
        let error = read(&format!("[[sink]]\n{text}")).expect_err(text);
        assert!(error.contains(expected) && !error.contains("pass"), "{text}: {error}");
    }
}

#[test]
fn places_of_collectors_are_written_as_they_are_read() {
    for text in ["udp://10.0.0.1:514", "tcp://[2001:db8::1]:601", "tls://logs.example:6514", "unix:///run/log"] {
        assert_eq!(SyslogUrl::try_from(text.to_owned()).expect(text).to_string(), text);
    }
    assert_eq!(SyslogUrl::try_from("udp://h".to_owned()), Ok(SyslogUrl::Udp("h".into(), 514)));
}
