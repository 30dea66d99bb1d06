//! The configuration file: TOML whose keys are the flags' long names. An error names file, line, column, key, and what was
//! expected.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum as _;
use flowprobe_ebpf::Tunnels;
use thiserror::Error;
use toml::{Spanned, Value};

use super::{
    AttachMode, Listen, OutputMode, PacketFilter, Relay, Remote, SampleBy, Settings, Target, ValueError, values,
};
use crate::enrich::ReverseDns;
use crate::export::elements::{Fields, Preset};
use crate::filter::FilterError;

/// A file that is not a configuration.
#[derive(Debug, Error)]
#[error("{}:{line}:{column}: {problem}", path.display())]
pub struct FileError {
    path: PathBuf,
    line: usize,
    column: usize,
    problem: String,
}

/// Reads the settings out of `text`, which came from `path`.
pub(super) fn parse(path: &Path, text: &str) -> Result<Settings, FileError> {
    let at = |offset: usize, problem: String| {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        FileError {
            path: path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            problem,
        }
    };
    let entries: BTreeMap<Spanned<String>, Spanned<Value>> = toml::from_str(text).map_err(|error| {
        let problem = error.message().lines().collect::<Vec<_>>().join(", ");
        at(error.span().map_or(0, |span| span.start), problem)
    })?;
    let mut settings = Settings::default();
    for (key, value) in &entries {
        let name = key.get_ref().as_str();
        let Some((_, set)) = KEYS.iter().find(|(known, _)| *known == name) else {
            let known: Vec<&str> = KEYS.iter().map(|(known, _)| *known).collect();
            return Err(at(key.span().start, format!("unknown key `{name}`; expected one of {}", known.join(", "))));
        };
        set(&mut settings, value.get_ref()).map_err(|problem| at(value.span().start, format!("{name}: {problem}")))?;
    }
    Ok(settings)
}

type Setter = fn(&mut Settings, &Value) -> Result<(), String>;

/// Every key of the file and what it sets.
const KEYS: [(&str, Setter); 38] = [
    ("interfaces", |settings, value| assign(&mut settings.interfaces, strings(value, "a list of interface names"))),
    ("listen", |settings, value| {
        let urls = strings(value, "a list of URLs to listen on");
        assign(&mut settings.listen, urls.and_then(|urls| urls.iter().map(|url| listen(url)).collect()))
    }),
    ("relay", |settings, value| assign(&mut settings.relay, relay(value))),
    ("collectors", |settings, value| {
        let urls = strings(value, "a list of collector URLs");
        assign(&mut settings.export.targets, urls.and_then(|urls| urls.iter().map(|url| target(url)).collect()))
    }),
    ("fields", |settings, value| assign(&mut settings.export.fields, fields(value))),
    ("spool", |settings, value| {
        let folder = value.as_str().filter(|text| !text.is_empty()).map(PathBuf::from);
        assign(&mut settings.export.spool, folder.ok_or_else(|| mismatch("a path or \"none\"", value)))
    }),
    ("spool-size", |settings, value| {
        assign(&mut settings.export.spool_size, number_or_text(value, values::SIZE, values::size))
    }),
    ("catch-up", |settings, value| {
        assign(&mut settings.export.catch_up, number_or_text(value, values::CATCH_UP, values::catch_up))
    }),
    ("biflow", |settings, value| assign(&mut settings.biflow, switch(value))),
    ("mode", |settings, value| assign(&mut settings.mode, mode(value))),
    ("promisc", |settings, value| assign(&mut settings.promisc, switch(value))),
    ("egress", |settings, value| assign(&mut settings.egress, switch(value))),
    ("next-hop", |settings, value| assign(&mut settings.next_hop, switch(value))),
    ("decapsulate", |settings, value| assign(&mut settings.selection.tunnels, tunnels(value))),
    ("sample", |settings, value| assign(&mut settings.selection.sample, sample(value))),
    ("sample-by", |settings, value| assign(&mut settings.selection.sample_by, sample_by(value))),
    ("filter", |settings, value| assign(&mut settings.selection.filter, filter(value))),
    ("interval", |settings, value| assign(&mut settings.interval, duration(value))),
    ("idle-timeout", |settings, value| assign(&mut settings.idle_timeout, duration(value))),
    ("active-timeout", |settings, value| assign(&mut settings.active_timeout, duration(value))),
    ("max-flows", |settings, value| assign(&mut settings.max_flows, max_flows(value))),
    ("observation-domain", |settings, value| {
        assign(&mut settings.export.domain, number_or_text(value, values::DOMAIN, str::parse))
    }),
    ("store", |settings, value| {
        let folder = value.as_str().filter(|text| !text.is_empty()).map(PathBuf::from);
        assign(&mut settings.store, folder.ok_or_else(|| mismatch("a path or \"none\"", value)))
    }),
    ("store-age", |settings, value| assign(&mut settings.store_age, number_or_text(value, values::SPAN, values::span))),
    ("store-size", |settings, value| {
        assign(&mut settings.store_size, number_or_text(value, values::SIZE, values::size))
    }),
    ("store-remote", |settings, value| assign(&mut settings.store_remote, remote(value))),
    ("mmdb", |settings, value| assign(&mut settings.enrich.databases, paths(value))),
    ("labels", |settings, value| assign(&mut settings.enrich.labels, paths(value))),
    ("mac-vendors", |settings, value| assign(&mut settings.enrich.vendors, paths(value))),
    ("reverse-dns", |settings, value| {
        let scope = value.as_str().and_then(|text| ReverseDns::from_str(text, false).ok());
        let expected = "\"none\", \"private\" or \"all\"";
        assign(&mut settings.enrich.reverse_dns, scope.ok_or_else(|| mismatch(expected, value)))
    }),
    ("findings", |settings, value| {
        let file = value.as_str().filter(|text| !text.is_empty()).map(PathBuf::from);
        assign(&mut settings.findings, file.ok_or_else(|| mismatch("a path or \"none\"", value)))
    }),
    ("status-socket", |settings, value| {
        let socket = value.as_str().and_then(|text| text.parse().ok());
        assign(&mut settings.status_socket, socket.ok_or_else(|| mismatch("a path or \"none\"", value)))
    }),
    ("web", |settings, value| {
        let address = value.as_str().map_or_else(|| Err(mismatch("an address or \"none\"", value)), str::parse);
        assign(&mut settings.web.address, address)
    }),
    ("web-token", |settings, value| assign(&mut settings.web.token, path(value))),
    ("web-certificate", |settings, value| assign(&mut settings.web.certificate, path(value))),
    ("web-key", |settings, value| assign(&mut settings.web.key, path(value))),
    ("web-name", |settings, value| assign(&mut settings.web.names, strings(value, "a list of host names"))),
    ("output", |settings, value| assign(&mut settings.output, output(value))),
];

fn assign<T>(setting: &mut Option<T>, value: Result<T, String>) -> Result<(), String> {
    *setting = Some(value?);
    Ok(())
}

fn strings(value: &Value, expected: &str) -> Result<Vec<String>, String> {
    let list = value.as_array().ok_or_else(|| mismatch(expected, value))?;
    let texts = list.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(|| mismatch(expected, item)));
    texts.collect()
}

/// The path of a file.
fn path(value: &Value) -> Result<PathBuf, String> {
    let path = value.as_str().filter(|text| !text.is_empty()).map(PathBuf::from);
    path.ok_or_else(|| mismatch("a path", value))
}

/// Paths of files; of one, it alone.
fn paths(value: &Value) -> Result<Vec<PathBuf>, String> {
    let expected = "a path or a list of paths";
    let texts = match value.as_str() {
        Some(text) => vec![text.to_owned()],
        None => strings(value, expected)?,
    };
    match texts.iter().find(|text| text.is_empty()) {
        Some(empty) => Err(format!("expected {expected}, found `{empty}`")),
        None => Ok(texts.into_iter().map(PathBuf::from).collect()),
    }
}

fn switch(value: &Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| mismatch("true or false", value))
}

fn tunnels(value: &Value) -> Result<Tunnels, String> {
    let names = strings(value, "a list of tunnels")?;
    let all = names.iter().try_fold(Tunnels::NONE, |all, name| Ok(all.and(values::tunnels(name)?)));
    all.map_err(|error: ValueError| error.to_string())
}

/// A number, or text such as 1:100.
fn sample(value: &Value) -> Result<NonZeroU32, String> {
    number_or_text(value, values::SAMPLE, values::sample)
}

fn sample_by(value: &Value) -> Result<SampleBy, String> {
    value
        .as_str()
        .and_then(|text| SampleBy::from_str(text, false).ok())
        .ok_or_else(|| mismatch("\"packets\" or \"flows\"", value))
}

fn filter(value: &Value) -> Result<PacketFilter, String> {
    let text = value.as_str().ok_or_else(|| mismatch("an expression", value))?;
    text.parse().map_err(|error: FilterError| error.to_string())
}

/// A preset, a list of elements, or a list for each IP version.
fn fields(value: &Value) -> Result<Fields, String> {
    let expected = "a preset, a list of elements, or { ipv4 = […], ipv6 = […] }";
    let fields = match value {
        Value::String(name) => {
            let names = Preset::NAMES.map(|(name, _)| name).join(", ");
            let preset = Preset::named(name).map(Fields::Preset);
            return preset.ok_or_else(|| format!("expected {names}, or a list of elements, found \"{name}\""));
        }
        Value::Array(_) => Fields::named(&strings(value, expected)?),
        Value::Table(table) if table.keys().all(|key| key == "ipv4" || key == "ipv6") => {
            let of = |key: &str| {
                let list = table.get(key).ok_or_else(|| format!("{key} is missing"))?;
                strings(list, "a list of elements")
            };
            Fields::by_family(&of("ipv4")?, &of("ipv6")?)
        }
        _ => return Err(mismatch(expected, value)),
    };
    fields.map_err(|error| error.to_string())
}

/// A value that may be written as a number or as text.
fn number_or_text<T>(value: &Value, expected: &str, read: fn(&str) -> Result<T, ValueError>) -> Result<T, String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        _ => return Err(mismatch(expected, value)),
    };
    read(&text).map_err(|error| error.to_string())
}

fn target(url: &str) -> Result<Target, String> {
    url.parse().map_err(|error: super::CollectorError| error.to_string())
}

fn listen(url: &str) -> Result<Listen, String> {
    url.parse().map_err(|error: super::ListenUrlError| error.to_string())
}

fn relay(value: &Value) -> Result<Relay, String> {
    value
        .as_str()
        .and_then(|text| Relay::from_str(text, false).ok())
        .ok_or_else(|| mismatch("\"records\", \"datagrams\" or \"none\"", value))
}

fn remote(value: &Value) -> Result<Remote, String> {
    let url = value.as_str().ok_or_else(|| mismatch("a URL such as \"s3://bucket/prefix\"", value))?;
    url.parse().map_err(|error: super::RemoteUrlError| error.to_string())
}

fn mode(value: &Value) -> Result<AttachMode, String> {
    value
        .as_str()
        .and_then(|text| AttachMode::from_str(text, false).ok())
        .ok_or_else(|| mismatch("\"auto\", \"native\", \"tc\" or \"generic\"", value))
}

fn output(value: &Value) -> Result<OutputMode, String> {
    match value.as_str() {
        Some("summary") => Ok(OutputMode::Summary),
        Some("json") => Ok(OutputMode::Json),
        Some("quiet") => Ok(OutputMode::Quiet),
        _ => Err(mismatch("\"summary\", \"json\" or \"quiet\"", value)),
    }
}

/// A time as text, or a number of seconds.
fn duration(value: &Value) -> Result<Duration, String> {
    match value {
        Value::String(text) => values::duration(text).map_err(|error| error.to_string()),
        Value::Integer(_) | Value::Float(_) => values::duration(&value.to_string()).map_err(|error| error.to_string()),
        _ => Err(mismatch(values::DURATION, value)),
    }
}

fn max_flows(value: &Value) -> Result<NonZeroU32, String> {
    let number = value.as_integer().ok_or_else(|| mismatch(values::MAX_FLOWS, value))?;
    values::max_flows(&number.to_string()).map_err(|error| error.to_string())
}

fn mismatch(expected: &str, found: &Value) -> String {
    format!("expected {expected}, found {}", Found(found))
}

/// A value as an error message shows it: short.
struct Found<'a>(&'a Value);

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Table(_) => f.write_str("a table"),
            Value::Array(_) => f.write_str("a list"),
            value => write!(f, "{} `{value}`", value.type_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::StatusSocket;

    fn parse_text(text: &str) -> Result<Settings, String> {
        parse(Path::new("flowprobe.toml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn every_key_is_read() {
        let settings = parse_text(
            r#"
            interfaces = ["eth0", "eth1"]
            listen = ["udp://0.0.0.0:2055?allow=192.0.2.0/24", "tcp://[::]"]
            relay = "none"
            collectors = ["udp://192.0.2.1"]
            mode = "tc"
            promisc = true
            egress = true
            next-hop = true
            decapsulate = ["vxlan", "ipip"]
            sample = "1:100"
            sample-by = "flows"
            filter = "tcp port 443 or 80"
            interval = "200ms"
            idle-timeout = 30
            active-timeout = "5m"
            max-flows = 1_000_000
            observation-domain = 7
            store = "/srv/flows"
            store-age = "90d"
            store-size = "100G"
            status-socket = "none"
            web = "[::1]:80"
            web-token = "/etc/flowprobe/token"
            web-certificate = "/etc/flowprobe/web.pem"
            web-key = "/etc/flowprobe/web.key"
            web-name = ["flows.example"]
            output = "json"
            "#,
        )
        .expect("a configuration");
        assert_eq!(settings.interfaces.as_deref().map(<[String]>::len), Some(2));
        assert_eq!(settings.listen.as_deref().map(<[Listen]>::len), Some(2));
        assert_eq!(settings.relay, Some(Relay::None));
        assert_eq!(settings.mode, Some(AttachMode::Tc));
        assert_eq!((settings.egress, settings.next_hop), (Some(true), Some(true)));
        assert_eq!(settings.selection.tunnels, Some(Tunnels::VXLAN.and(Tunnels::IP_IN_IP)));
        assert_eq!(settings.selection.sample.map(NonZeroU32::get), Some(100));
        assert_eq!(settings.selection.filter, Some("tcp port 443 or 80".parse().expect("a filter")));
        assert_eq!(settings.selection.sample_by, Some(SampleBy::Flows));
        assert_eq!(settings.idle_timeout, Some(Duration::from_secs(30)));
        assert_eq!(settings.max_flows.map(NonZeroU32::get), Some(1_000_000));
        assert_eq!(settings.store.as_deref(), Some(Path::new("/srv/flows")));
        assert_eq!(settings.store_age, Some(Duration::from_secs(90 * 86_400)));
        assert_eq!(settings.store_size, Some(100 << 30));
        assert_eq!(settings.status_socket, Some(StatusSocket::Off));
        assert_eq!(settings.web.address, Some("[::1]:80".parse().expect("an address")));
        assert_eq!(settings.web.token.as_deref(), Some(Path::new("/etc/flowprobe/token")));
        assert_eq!(settings.web.certificate.as_deref(), Some(Path::new("/etc/flowprobe/web.pem")));
        assert_eq!(settings.web.key.as_deref(), Some(Path::new("/etc/flowprobe/web.key")));
        assert_eq!(settings.web.names, Some(vec!["flows.example".to_owned()]));
        assert_eq!(settings.output, Some(OutputMode::Json));
    }

    #[test]
    fn an_error_names_file_line_key_and_what_was_expected() {
        for (text, message) in [
            (
                "interval = \"1s\"\nmax-flow = 3\n",
                "flowprobe.toml:2:1: unknown key `max-flow`; expected one of interfaces, ",
            ),
            (
                "max-flows = \"many\"",
                "flowprobe.toml:1:13: max-flows: expected a number of flows from 1 to 16777216, found string",
            ),
            (
                "\n\nmode = \"fast\"",
                "flowprobe.toml:3:8: mode: expected \"auto\", \"native\", \"tc\" or \"generic\", found string",
            ),
            ("idle-timeout = \"soon\"", "flowprobe.toml:1:16: idle-timeout: expected a time from 10ms to 1d"),
            (
                "collectors = [\"udp://\"]",
                "flowprobe.toml:1:14: collectors: bad collector URL `udp://`: the host is missing",
            ),
            (
                "interfaces = [1]",
                "flowprobe.toml:1:14: interfaces: expected a list of interface names, found integer `1`",
            ),
            (
                "listen = [\"udp://host\"]",
                "flowprobe.toml:1:10: listen: bad URL to listen on `udp://host`: expected an address of this machine",
            ),
            (
                "store-remote = 7",
                "flowprobe.toml:1:16: store-remote: expected a URL such as \"s3://bucket/prefix\", found",
            ),
            (
                "store-remote = \"gs://bucket\"",
                "flowprobe.toml:1:16: store-remote: bad URL for history `gs://bucket`: ",
            ),
            (
                "web = \"localhost\"",
                "flowprobe.toml:1:7: web: expected an address of this machine, such as 127.0.0.1:8739",
            ),
            ("relay = \"all\"", "flowprobe.toml:1:9: relay: expected \"records\", \"datagrams\" or \"none\", found"),
            ("decapsulate = [\"l2tp\"]", "flowprobe.toml:1:15: decapsulate: expected a tunnel: vxlan, "),
            ("filter = \"host foo\"", "flowprobe.toml:1:10: filter: column 6: expected"),
            ("sample = 0", "flowprobe.toml:1:10: sample: expected one of how many"),
            (
                "sample-by = \"bytes\"",
                "flowprobe.toml:1:13: sample-by: expected \"packets\" or \"flows\", found string",
            ),
            ("interval = ", "flowprobe.toml:1:"),
            ("promisc = true\npromisc = true", "flowprobe.toml:2:1: duplicate key"),
        ] {
            let error = parse_text(text).expect_err(text);
            assert!(error.starts_with(message), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
