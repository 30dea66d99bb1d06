//! Whether this process may do what it is asked to do, before it starts to.

use caps::{CapSet, Capability};
use thiserror::Error;

/// Capabilities that are missing.
#[derive(Debug, Error)]
#[error("missing {missing}: run as root, or grant it with `setcap {grant}+ep` on the flowprobe binary")]
pub struct MissingPrivilege {
    missing: String,
    grant: String,
}

/// Checks the effective capabilities: `CAP_BPF` and `CAP_PERFMON` to load the programs (`CAP_SYS_ADMIN` stands for both),
/// `CAP_NET_ADMIN` to attach them, `CAP_NET_RAW` for promiscuous mode.
///
/// # Errors
/// Names every capability that is missing.
pub fn check_privilege(promisc: bool) -> Result<(), MissingPrivilege> {
    let has = |capability| caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false);
    let admin = has(Capability::CAP_SYS_ADMIN);
    let needed = [
        (Capability::CAP_BPF, !admin),
        (Capability::CAP_PERFMON, !admin),
        (Capability::CAP_NET_ADMIN, true),
        (Capability::CAP_NET_RAW, promisc),
    ];
    let missing: Vec<Capability> = needed
        .into_iter()
        .filter(|(capability, is_needed)| *is_needed && !has(*capability))
        .map(|(capability, _)| capability)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = |separator: &str| missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(separator);
    Err(MissingPrivilege { missing: names(", "), grant: names(",").to_lowercase() })
}
