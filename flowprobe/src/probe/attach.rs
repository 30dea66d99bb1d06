//! Where a program goes on an interface, and why there.

use std::fmt;
use std::io;

use aya::Ebpf;
use aya::programs::links::LinkOrder;
use aya::programs::tc::{NlOptions, TcAttachOptions, TcError, qdisc_add_clsact, qdisc_detach_program};
use aya::programs::xdp::XdpLink;
use aya::programs::{ProgramError, SchedClassifier, TcAttachType, Xdp, XdpMode};
use flowprobe_ebpf::{LinkLayer, Tunnels};
use thiserror::Error;
use tracing::warn;

use super::object::{Features, Scope, kernel_is_at_least};
use crate::config::AttachMode;

/// The programs' names in the object.
#[derive(Clone, Copy)]
struct Names {
    xdp_ingress: &'static str,
    tc_ingress: &'static str,
    tc_egress: &'static str,
}

const PROGRAMS: Names = Names { xdp_ingress: "xdp_ingress", tc_ingress: "tc_ingress", tc_egress: "tc_egress" };

/// Those that open tunnels.
const TUNNEL_PROGRAMS: Names =
    Names { xdp_ingress: "xdp_ingress_tunnels", tc_ingress: "tc_ingress_tunnels", tc_egress: "tc_egress_tunnels" };

/// Those for kernels before 5.18.
const LEGACY_PROGRAMS: Names =
    Names { xdp_ingress: "xdp_ingress_legacy", tc_ingress: "tc_ingress_legacy", tc_egress: "tc_egress_legacy" };

/// The hook at which a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// XDP in the driver.
    NativeXdp,
    /// XDP on socket buffers.
    GenericXdp,
    /// tc by a link of its own (Linux 6.6).
    Tcx,
    /// tc by a filter on the clsact qdisc.
    Clsact,
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NativeXdp => "native XDP",
            Self::GenericXdp => "generic XDP",
            Self::Tcx => "tcx",
            Self::Clsact => "tc clsact",
        })
    }
}

/// A program on an interface; dropping it takes the program off.
pub struct Attached {
    /// Where it runs.
    pub hook: Hook,
    /// Where `auto` had to settle for less: why.
    pub instead_of: Option<String>,
    _link: Link,
}

enum Link {
    Xdp(#[expect(dead_code, reason = "held for its drop")] XdpLink),
    Tc(#[expect(dead_code, reason = "held for its drop")] aya::programs::tc::SchedClassifierLink),
}

/// A program could not be attached.
#[derive(Clone, Debug, Error)]
#[error("cannot attach to `{interface}` as {hook}: {reason}")]
pub struct AttachError {
    interface: String,
    hook: Hook,
    reason: String,
}

/// The programs, loaded into the kernel when they are first needed.
pub(super) struct Programs {
    ebpf: Ebpf,
    names: Names,
}

impl Programs {
    pub(super) fn new(ebpf: Ebpf, scope: Scope, features: Features) -> Self {
        let names = match (features.multi_buffer, scope.tunnels) {
            (false, _) => LEGACY_PROGRAMS,
            (true, Tunnels::NONE) => PROGRAMS,
            (true, _) => TUNNEL_PROGRAMS,
        };
        if scope.routes && !features.multi_buffer {
            warn!("next hops and egress interfaces are not looked up: that takes Linux 5.18");
        }
        Self { ebpf, names }
    }

    /// Attaches as `mode` says, to meter what comes in.
    pub(super) fn attach(
        &mut self,
        interface: &str,
        ifindex: u32,
        link: LinkLayer,
        mode: AttachMode,
    ) -> Result<Attached, AttachError> {
        match mode {
            AttachMode::Native => self.xdp(interface, ifindex, Hook::NativeXdp),
            AttachMode::Generic => self.xdp(interface, ifindex, Hook::GenericXdp),
            AttachMode::Tc => self.tc(interface, TcAttachType::Ingress),
            AttachMode::Auto if link == LinkLayer::Ip => {
                let attached = self.tc(interface, TcAttachType::Ingress)?;
                Ok(Attached { instead_of: Some("its frames have no Ethernet header".to_owned()), ..attached })
            }
            AttachMode::Auto => self.xdp(interface, ifindex, Hook::NativeXdp).or_else(|no_xdp| {
                let attached = self.tc(interface, TcAttachType::Ingress).map_err(|no_tc| AttachError {
                    reason: format!("{}; {} failed too: {}", no_xdp.reason, no_tc.hook, no_tc.reason),
                    ..no_xdp.clone()
                })?;
                let why = format!("native XDP was refused: {}", no_xdp.reason);
                Ok(Attached { instead_of: Some(why), ..attached })
            }),
        }
    }

    /// Attaches to meter what leaves.
    pub(super) fn attach_egress(&mut self, interface: &str) -> Result<Attached, AttachError> {
        self.tc(interface, TcAttachType::Egress)
    }

    fn xdp(&mut self, interface: &str, ifindex: u32, hook: Hook) -> Result<Attached, AttachError> {
        let mode = if hook == Hook::GenericXdp { XdpMode::Skb } else { XdpMode::Driver };
        let mut attach = || {
            let program: &mut Xdp = program(&mut self.ebpf, self.names.xdp_ingress)?;
            loaded(program.load())?;
            let link = program.attach_to_if_index(ifindex, mode)?;
            program.take_link(link)
        };
        let link =
            attach().map_err(|error| AttachError { interface: interface.to_owned(), hook, reason: explain(&error) })?;
        Ok(Attached { hook, instead_of: None, _link: Link::Xdp(link) })
    }

    fn tc(&mut self, interface: &str, way: TcAttachType) -> Result<Attached, AttachError> {
        let hook = if kernel_is_at_least(6, 6) { Hook::Tcx } else { Hook::Clsact };
        // Nearest to the wire: what others drop has been counted on its way in, and is not on its way out.
        let (name, order, priority) = match way {
            TcAttachType::Egress => (self.names.tc_egress, LinkOrder::last(), u16::MAX),
            _ => (self.names.tc_ingress, LinkOrder::first(), 1),
        };
        let attach = || {
            let program: &mut SchedClassifier = program(&mut self.ebpf, name)?;
            loaded(program.load())?;
            let options = if hook == Hook::Tcx {
                TcAttachOptions::TcxOrder(order)
            } else {
                add_clsact(interface)?;
                TcAttachOptions::Netlink(NlOptions { priority, ..NlOptions::default() })
            };
            let link = program.attach_with_options(interface, way, options)?;
            program.take_link(link)
        };
        let link =
            attach().map_err(|error| AttachError { interface: interface.to_owned(), hook, reason: explain(&error) })?;
        Ok(Attached { hook, instead_of: None, _link: Link::Tc(link) })
    }
}

/// Makes the clsact qdisc where there is none.
fn add_clsact(interface: &str) -> Result<(), ProgramError> {
    match qdisc_add_clsact(interface) {
        Err(TcError::NetlinkError(error)) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        outcome => outcome.map_err(Into::into),
    }
}

/// Removes the filters that a killed daemon has left on `interface`, whatever it was told to do: before Linux 6.6 a filter does
/// not die with its process.
pub(super) fn remove_leftovers(interface: &str) {
    if kernel_is_at_least(6, 6) {
        return;
    }
    for Names { tc_ingress, tc_egress, .. } in [PROGRAMS, TUNNEL_PROGRAMS, LEGACY_PROGRAMS] {
        for (way, name) in [(TcAttachType::Ingress, tc_ingress), (TcAttachType::Egress, tc_egress)] {
            // Where it fails there is none, or not even a qdisc; if there is more to it, attaching will say so.
            if qdisc_detach_program(interface, way, name).is_ok() {
                warn!(
                    "removed the filter `{name}` from {interface}: a flowprobe that was killed, or still runs, had put it there"
                );
            }
        }
    }
}

fn program<'a, P>(ebpf: &'a mut Ebpf, name: &str) -> Result<P, ProgramError>
where
    P: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
{
    ebpf.program_mut(name).ok_or(ProgramError::UnexpectedProgramType)?.try_into()
}

/// A program is loaded once, whatever the number of interfaces.
fn loaded(outcome: Result<(), ProgramError>) -> Result<(), ProgramError> {
    match outcome {
        Err(ProgramError::AlreadyLoaded) => Ok(()),
        outcome => outcome,
    }
}

/// The kernel's refusal in an operator's words.
fn explain(error: &ProgramError) -> String {
    let io_error = match error {
        ProgramError::SyscallError(error) => Some(&error.io_error),
        ProgramError::LoadError { io_error, .. } => Some(io_error),
        _ => None,
    };
    let loading = matches!(error, ProgramError::LoadError { .. });
    match io_error.and_then(io::Error::raw_os_error) {
        Some(libc::EBUSY | libc::EEXIST) => "another XDP program is attached there".to_owned(),
        Some(libc::EOPNOTSUPP) => "the driver has no such hook".to_owned(),
        Some(libc::EPERM | libc::EACCES) if !loading => "the kernel does not permit it".to_owned(),
        Some(libc::ENODEV) => "the interface is gone".to_owned(),
        // What veth says of a program that takes frames in one buffer only.
        Some(libc::ERANGE) => "the MTU is too large for XDP without multi-buffer (Linux 5.18)".to_owned(),
        // The kernel's own words, without a verifier log of pages.
        _ => match io_error {
            Some(io_error) if loading => format!("the verifier refused the program ({io_error})"),
            Some(io_error) => io_error.to_string(),
            None => error.to_string(),
        },
    }
}
