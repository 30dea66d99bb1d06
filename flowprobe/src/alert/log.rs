//! Changes of findings in the daemon's own log, with their facts as fields.

use tracing::{info, warn};

use super::notice::Notice;
use super::worker::{Sink, Trouble};

/// The log: a warning where somebody should look, else an information.
pub(super) struct Log;

impl Sink for Log {
    fn tell(&mut self, notice: &Notice) -> Result<(), Trouble> {
        tell(notice);
        Ok(())
    }
}

/// One line of the log.
pub fn tell(notice: &Notice) {
    // The macros take a level that is known when they are compiled.
    macro_rules! say {
        ($say:ident) => {{
            let finding = &notice.finding;
            $say!(
                target: "flowprobe::findings",
                change = notice.change_name(),
                severity = %finding.severity,
                rule = finding.rule,
                technique = finding.technique,
                subject = %finding.subject,
                matter = finding.matter,
                peers = notice.peer_count,
                count = finding.count,
                id = finding.id,
                "{}",
                notice.message()
            );
        }};
    }
    if notice.is_pressing() { say!(warn) } else { say!(info) }
}

#[cfg(test)]
mod tests {
    use super::super::notice::tests::{notice, sighting};
    use super::*;
    use crate::detect::finding::{Severity, Sighting};
    use crate::detect::findings::Change;
    use crate::logging::tests::Page;

    fn said(sighting: Sighting, change: Change) -> String {
        Page::of(|| tell(&notice(sighting, change)))
    }

    #[test]
    fn a_line_has_the_facts_and_the_level_of_its_severity() {
        let line = said(sighting(), Change::Opened);
        let id = notice(sighting(), Change::Opened).finding.id;
        let expected = format!(
            " WARN flowprobe::findings: Port scan of 10.0.0.9. 10.0.0.7 probed 512 ports on 10.0.0.9 in 14 s. change=\"opened\" \
             severity=high rule=\"port-scan\" technique=\"T1046\" subject=10.0.0.7 matter=\"\" peers=1 count=1 id=\"{id}\"\n"
        );
        assert_eq!(line, expected);
        let of = |severity, change| {
            said(Sighting { severity, ..sighting() }, change).split_whitespace().next().map(str::to_owned)
        };
        assert_eq!(of(Severity::Low, Change::Opened).as_deref(), Some("INFO"));
        assert_eq!(of(Severity::Medium, Change::Raised).as_deref(), Some("WARN"));
        assert_eq!(of(Severity::Critical, Change::Ended).as_deref(), Some("INFO"));
    }
}
