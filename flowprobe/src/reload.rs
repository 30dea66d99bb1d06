//! What a configuration that is read anew changes while the daemon runs.

use crate::config::{Config, Target};

/// How two configurations differ, by the keys of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// What takes effect at once.
    pub now: Vec<&'static str>,
    /// What takes a restart.
    pub at_restart: Vec<&'static str>,
}

impl Difference {
    /// What `wanted` changes of `current`.
    #[must_use]
    pub fn between(current: &Config, wanted: &Config) -> Self {
        let (a, b) = (current, wanted);
        let now = [
            ("collectors", a.export.targets != b.export.targets),
            ("filter", a.selection.filter != b.selection.filter),
            ("sample", a.selection.sampling != b.selection.sampling),
            ("biflow", a.table.biflow != b.table.biflow),
            ("interval", a.interval != b.interval),
            ("idle-timeout", a.table.idle_timeout != b.table.idle_timeout),
            ("active-timeout", a.table.active_timeout != b.table.active_timeout),
        ];
        let at_restart = [
            ("interfaces", a.interfaces != b.interfaces),
            ("listen", a.listen != b.listen),
            ("relay", a.relay != b.relay),
            ("mode", a.mode != b.mode),
            ("promisc", a.promisc != b.promisc),
            ("egress", a.scope.egress != b.scope.egress),
            ("next-hop", a.scope.routes != b.scope.routes),
            ("decapsulate", a.scope.tunnels != b.scope.tunnels),
            ("max-flows", a.table.max_flows != b.table.max_flows),
            ("observation-domain", a.export.domain != b.export.domain),
            ("spool", a.export.spool != b.export.spool),
            ("store", a.store != b.store),
            ("mmdb", a.enrich.databases != b.enrich.databases),
            ("labels", a.enrich.labels != b.enrich.labels),
            ("mac-vendors", a.enrich.vendors != b.enrich.vendors),
            ("reverse-dns", a.enrich.reverse_dns != b.enrich.reverse_dns),
            ("web", a.web != b.web),
            ("findings", a.findings != b.findings),
            ("output", a.output != b.output),
            ("status-socket", a.status_socket != b.status_socket),
        ];
        Self { now: changed(&now), at_restart: changed(&at_restart) }
    }
}

fn changed(keys: &[(&'static str, bool)]) -> Vec<&'static str> {
    keys.iter().filter(|(_, differs)| *differs).map(|(key, _)| *key).collect()
}

/// What holds after a reload: `wanted`, but for what takes a restart.
#[must_use]
pub fn merged(current: &Config, wanted: Config) -> Config {
    let mut merged = current.clone();
    merged.export.targets = wanted.export.targets;
    merged.selection.filter = wanted.selection.filter;
    merged.selection.sampling = wanted.selection.sampling;
    merged.interval = wanted.interval;
    merged.table.idle_timeout = wanted.table.idle_timeout;
    merged.table.active_timeout = wanted.table.active_timeout;
    merged.table.sampling = wanted.table.sampling;
    merged.table.biflow = wanted.table.biflow;
    merged
}

/// Those of `wanted` that are not among `current`.
#[must_use]
pub fn beyond(wanted: &[Target], current: &[Target]) -> Vec<Target> {
    wanted.iter().filter(|target| !current.contains(target)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Settings;

    fn config(text: &str) -> Config {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), format!("interfaces = [\"lo\"]\n{text}")).expect("written");
        Settings::from_file(file.path()).and_then(Settings::check).expect("a configuration")
    }

    #[test]
    fn equal_configurations_do_not_differ() {
        let text = "filter = \"tcp\"\nsample = 10\ncollectors = [\"udp://192.0.2.1\"]";
        assert_eq!(Difference::between(&config(text), &config(text)), Difference::default());
    }

    #[test]
    fn what_can_change_changes_and_the_rest_is_named() {
        let current = config("filter = \"tcp\"\nmax-flows = 1000\nmode = \"tc\"");
        let wanted = config("filter = \"udp\"\nsample = 10\nidle-timeout = 1\nmax-flows = 2000");
        let difference = Difference::between(&current, &wanted);
        assert_eq!(difference.now, ["filter", "sample", "idle-timeout"]);
        assert_eq!(difference.at_restart, ["mode", "max-flows"]);
        let merged = merged(&current, wanted.clone());
        assert_eq!((merged.table.max_flows, merged.mode), (current.table.max_flows, current.mode));
        assert_eq!(
            (&merged.selection.filter, merged.table.sampling),
            (&wanted.selection.filter, wanted.table.sampling)
        );
        assert_eq!(merged.table.idle_timeout, Duration::from_secs(1));
        assert_eq!(Difference::between(&merged, &wanted).now, [""; 0]);
    }

    #[test]
    fn what_is_listened_on_takes_a_restart() {
        let [current, wanted] = [2055, 9995].map(|port| config(&format!("listen = [\"udp://127.0.0.1:{port}\"]")));
        assert_eq!(Difference::between(&current, &wanted).at_restart, ["listen"]);
        assert_eq!(merged(&current, wanted).listen, current.listen);
    }

    #[test]
    fn a_collector_with_another_option_is_another_one() {
        let current = config("collectors = [\"udp://192.0.2.1\", \"udp://192.0.2.2\"]").export.targets;
        let wanted = config("collectors = [\"udp://192.0.2.1\", \"udp://192.0.2.2?mtu=1280\"]").export.targets;
        assert_eq!(beyond(&wanted, &current), [wanted[1].clone()]);
        assert_eq!(beyond(&current, &wanted), [current[1].clone()]);
    }
}
