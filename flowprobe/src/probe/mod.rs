//! Puts the kernel programs onto interfaces, keeps them there while interfaces come and go, and takes them off.

mod attach;
mod logs;
mod object;
mod privilege;
mod slots;
mod watch;

use std::os::fd::OwnedFd;
use std::sync::Arc;

use flowprobe_ebpf::LinkLayer;
use thiserror::Error;
use tracing::{debug, info, warn};

use crate::config::{AttachMode, Config};
use crate::kernel;
pub use attach::{AttachError, Attached, Hook};
pub use logs::forward_kernel_logs;
pub use object::{Features, LoadError, OBJECT, Scope, load_object};
pub use privilege::{MissingPrivilege, check_privilege};
pub use slots::{Meter, SlotError, Slots};
pub use watch::watch_links;

use attach::Programs;

/// The programs in the kernel and where they are attached.
pub struct Probe {
    programs: Programs,
    slots: Arc<Slots>,
    mode: AttachMode,
    promisc: bool,
    egress: bool,
    interfaces: Vec<Interface>,
}

/// An interface that was asked for.
struct Interface {
    name: Arc<str>,
    attachment: Option<Attachment>,
}

/// What undoes itself when dropped: the link detaches the program, the socket ends promiscuous mode.
struct Attachment {
    ifindex: u32,
    attached: Attached,
    _egress: Option<Attached>,
    _promiscuous: Option<OwnedFd>,
}

/// Why an interface is not metered.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// The interface is not there.
    #[error("the interface `{0}` is gone")]
    Gone(Arc<str>),
    /// No program could be attached.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// No room in the map `INTERFACES`.
    #[error(transparent)]
    Slot(#[from] SlotError),
    /// The kernel does not say of what kind the interface is.
    #[error("cannot find out how the frames of `{name}` begin: {error}")]
    LinkLayer {
        /// The interface.
        name: Arc<str>,
        /// What the kernel says.
        error: std::io::Error,
    },
    /// Promiscuous mode was refused.
    #[error("cannot put `{name}` into promiscuous mode: {error}")]
    Promiscuous {
        /// The interface.
        name: Arc<str>,
        /// What the kernel says.
        error: std::io::Error,
    },
}

impl Probe {
    /// A probe that is not attached anywhere yet. `slots` are those of the map `INTERFACES` of the same object.
    #[must_use]
    pub fn new(ebpf: aya::Ebpf, slots: Arc<Slots>, config: &Config) -> Self {
        let Config { mode, promisc, scope, .. } = *config;
        let interfaces = config.interfaces.iter();
        let interfaces = interfaces.map(|name| Interface { name: Arc::from(name.as_str()), attachment: None });
        Self {
            programs: Programs::new(ebpf, scope, Features::of_this_kernel()),
            slots,
            mode,
            promisc,
            egress: scope.egress,
            interfaces: interfaces.collect(),
        }
    }

    /// Attaches to every interface that was asked for.
    ///
    /// # Errors
    /// The first interface that cannot be metered; those before it stay attached until the probe is dropped.
    pub fn attach_all(&mut self) -> Result<(), ProbeError> {
        for position in 0..self.interfaces.len() {
            self.attach(position)?;
        }
        Ok(())
    }

    /// Brings the attachments in line with the interfaces that exist now: lets go of those that went, attaches to those
    /// that came back. What fails is logged and tried again at the next call.
    pub fn reconcile(&mut self) {
        for position in 0..self.interfaces.len() {
            let Interface { name, attachment } = &mut self.interfaces[position];
            let now = kernel::interface_index(name);
            let before = attachment.as_ref().map(|attachment| attachment.ifindex);
            if before == now {
                continue;
            }
            if let Some(before) = before {
                warn!("interface {name} is gone; flows on the other interfaces go on");
                *attachment = None;
                self.slots.release(before);
            }
            if now.is_some()
                && let Err(error) = self.attach(position)
            {
                warn!("{error}; trying again when the interface changes");
            }
        }
    }

    /// How each interface is metered: its name and, where it is attached, its hook.
    pub fn hooks(&self) -> impl Iterator<Item = (&Arc<str>, Option<Hook>)> {
        self.interfaces
            .iter()
            .map(|interface| (&interface.name, interface.attachment.as_ref().map(|it| it.attached.hook)))
    }

    /// Takes the programs off all interfaces.
    pub fn detach_all(&mut self) {
        for interface in &mut self.interfaces {
            if interface.attachment.take().is_some() {
                debug!("detached from {}", interface.name);
            }
        }
    }

    fn attach(&mut self, position: usize) -> Result<(), ProbeError> {
        let name = Arc::clone(&self.interfaces[position].name);
        let ifindex = kernel::interface_index(&name).ok_or_else(|| ProbeError::Gone(Arc::clone(&name)))?;
        // Before the program runs: it counts only on interfaces that have a slot.
        let link =
            kernel::link_layer(&name).map_err(|error| ProbeError::LinkLayer { name: Arc::clone(&name), error })?;
        self.slots.assign(ifindex, link, &name)?;
        let attachment = self.attach_to(&name, ifindex, link).inspect_err(|_| self.slots.release(ifindex))?;
        self.interfaces[position].attachment = Some(attachment);
        Ok(())
    }

    fn attach_to(&mut self, name: &Arc<str>, ifindex: u32, link: LinkLayer) -> Result<Attachment, ProbeError> {
        let promiscuous = if self.promisc {
            let socket = kernel::promiscuous(ifindex)
                .map_err(|error| ProbeError::Promiscuous { name: Arc::clone(name), error })?;
            Some(socket)
        } else {
            None
        };
        attach::remove_leftovers(name);
        let attached = self.programs.attach(name, ifindex, link, self.mode)?;
        let egress = self.egress.then(|| self.programs.attach_egress(name)).transpose()?;
        let and_egress = egress.as_ref().map_or(String::new(), |egress| format!(", egress by {}", egress.hook));
        match &attached.instead_of {
            None => info!("metering {name} ({}{and_egress})", attached.hook),
            Some(why) => info!("metering {name} ({}{and_egress}; {why})", attached.hook),
        }
        Ok(Attachment { ifindex, attached, _egress: egress, _promiscuous: promiscuous })
    }
}
