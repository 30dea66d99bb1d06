//! Devices that were never here before, are not approved, claim the address of another, or are of an odd make.

mod approvals;
mod inventory;
pub(crate) mod kind;
mod many;
mod moves;
mod settings;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use approvals::Approvals;
pub use inventory::{Address, Device, Inventory};
use kind::{Kind, is_link_local, kind};
use many::{Fold, Many, NEW, RARE, SINGLE, UNAUTHORISED, arrive, sighting};
use moves::{Moves, Sender};
pub use settings::{DeviceSettings, RandomMacs};

use super::connection::{Connection, Outcome};
use super::finding::{Rule, Seen, Severity, Sighting};
use super::flow::{Flow, Ip, Mac, flag, protocol};
use super::handed::Handed;
use super::sketch::recent::Recent;
use super::words::{counted, listed};
use super::{Context, Detector};

/// Under which it is kept what was learned.
pub(crate) const NAME: &str = "device-1";

static MAKER: Rule = Rule { name: "device-maker", technique: Some("T1200"), quiet_ms: 3_600_000 };

/// What is still there is said again after this time, so that the finding stays open.
const AGAIN_MS: i64 = 900_000;

/// Where approvals are by address too, a device has this time to get one.
const NAMELESS_MS: i64 = 10_000;

/// Addresses without approval that are remembered.
const SAID: usize = 4096;

/// Who knows who made a network card.
pub trait Makers {
    /// The maker of the card with this MAC address, if that is known.
    fn maker(&self, mac: Mac) -> Option<Arc<str>>;
}

/// Nobody does.
impl Makers for () {
    fn maker(&self, _: Mac) -> Option<Arc<str>> {
        None
    }
}

/// So many devices, the new one among them, are no network that is known.
const FEW: usize = 3;

/// What is to survive a restart.
#[derive(Debug, Serialize, Deserialize)]
pub struct DeviceState {
    /// Who is there.
    pub inventory: Inventory,
    moves: Moves,
    /// When new devices, addresses, and those without approval came, of the last day.
    arrivals: [Vec<i64>; 3],
    folds: [Fold; 5],
    /// Addresses without approval, and when that was said.
    said: Recent<Ip, i64>,
}

impl Default for DeviceState {
    fn default() -> Self {
        let (arrivals, folds) = Default::default();
        Self { inventory: Inventory::default(), moves: Moves::default(), arrivals, folds, said: Recent::new(SAID) }
    }
}

/// Looks for devices that should not be here.
pub(crate) struct Devices {
    settings: DeviceSettings,
    approvals: Option<Approvals>,
    new_approvals: Handed<Approvals>,
    makers: Box<dyn Makers + Send>,
    state: DeviceState,
}

/// What a source address says of the sender.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Inside,
    Outside,
    /// It has none yet (RFC 2131 section 4.1, RFC 4862 section 5.4.2).
    Nameless,
}

impl Devices {
    /// With what was known before. Newer approvals are taken from where they are put, at the next [`Detector::advance`].
    pub(crate) fn new(
        settings: DeviceSettings,
        (approvals, new_approvals): (Option<Approvals>, Handed<Approvals>),
        makers: Box<dyn Makers + Send>,
        state: DeviceState,
    ) -> Self {
        Self { settings, approvals, new_approvals, makers, state }
    }

    /// What is to survive a restart.
    pub(crate) const fn state(&self) -> &DeviceState {
        &self.state
    }

    /// From here on these are approved.
    fn approve(&mut self, approvals: Approvals) {
        self.approvals = Some(approvals);
        self.state.said = Recent::new(SAID);
        for device in self.state.inventory.iter_mut() {
            (device.is_approved, device.said_ms) = (false, None);
        }
    }

    /// Whether a device is met for the first time, or should not be here and that is to be said.
    fn look_at(&mut self, flow: &Flow, is_learning: bool, now_ms: i64, seen: &mut Seen) {
        let Some(device) = self.state.inventory.get_mut(flow.source_mac) else { return };
        let is_new = !device.is_met;
        device.is_met = true;
        if let Some(approvals) = &self.approvals {
            let is_due = device.said_ms.is_none_or(|said| now_ms.saturating_sub(said) >= AGAIN_MS);
            if device.is_approved || !is_due && !is_new {
                return;
            }
            device.is_approved = approvals.name(device).is_some();
            let is_named = flow.source.is_v4() && flow.source.is_of_a_host();
            let may_wait = approvals.has_addresses() && !is_named && now_ms - device.first_ms < NAMELESS_MS;
            if !device.is_approved && is_due && !may_wait {
                self.is_not_approved(flow, now_ms, seen);
            }
        }
        if is_new && !self.state.inventory.get(flow.source_mac).is_some_and(|device| device.is_approved) {
            self.meet(flow, is_learning, now_ms, seen);
        }
    }

    fn is_not_approved(&mut self, flow: &Flow, now_ms: i64, seen: &mut Seen) {
        let Some(device) = self.state.inventory.get_mut(flow.source_mac) else { return };
        let is_again = device.said_ms.replace(now_ms).is_some();
        let many = if kind(device.mac) == Kind::Random && self.settings.random_macs == RandomMacs::Fold {
            Some(Many::UnauthorisedRandom)
        } else if !is_again && arrive(&mut self.state.arrivals[1], now_ms) > SINGLE {
            Some(Many::Unauthorised)
        } else {
            None
        };
        if let Some(many) = many {
            // Once counted, it is not said again.
            device.said_ms = Some(i64::MAX);
            self.fold(many, flow, now_ms, seen);
            return;
        }
        let name = self.describe(flow);
        seen.push(sighting(
            &UNAUTHORISED,
            Severity::Medium,
            flow,
            format!("An unauthorised device: {name}"),
            format!("{name} is in the network, and neither it nor its address is in the file of approvals."),
        ));
    }

    /// A device that was never seen before.
    fn meet(&mut self, flow: &Flow, is_learning: bool, now_ms: i64, seen: &mut Seen) {
        let mac = flow.source_mac;
        if let Kind::Router(_) = kind(mac) {
            return;
        }
        self.look_at_maker(flow, is_learning, seen);
        // Of a network where nobody is known it cannot be said who is new: it is a short capture, or a line between two routers.
        let is_learned = !is_learning && self.state.inventory.len() > FEW;
        if !is_learned || self.approvals.is_some() {
            return;
        }
        if kind(mac) == Kind::Random && self.settings.random_macs == RandomMacs::Fold {
            return self.fold(Many::Random, flow, now_ms, seen);
        }
        let today = arrive(&mut self.state.arrivals[0], now_ms);
        if today > SINGLE {
            return self.fold(Many::New, flow, now_ms, seen);
        }
        let is_rare = today <= RARE && !matches!(kind(mac), Kind::Virtual(_));
        let severity = if is_rare { Severity::Medium } else { Severity::Low };
        let name = self.describe(flow);
        let count = counted(self.state.inventory.len() as u64 - 1, "other");
        seen.push(sighting(
            &NEW,
            severity,
            flow,
            format!("A new device: {name}"),
            format!("{name} was never seen before. {count} are known; new in the last 24 h: {today}."),
        ));
    }

    fn look_at_maker(&mut self, flow: &Flow, is_learning: bool, seen: &mut Seen) {
        let Some(maker) = self.makers.maker(flow.source_mac) else { return };
        let is_first = self.state.inventory.add_maker(&maker) && !is_learning;
        let lower = maker.to_lowercase();
        let allowed = &self.settings.makers;
        let (severity, why) = if allowed.iter().any(|name| lower.contains(&name.to_lowercase())) {
            return;
        } else if !allowed.is_empty() {
            (Severity::Medium, format!("devices here are to be of {}", listed(allowed, allowed.len() as u64)))
        } else if is_first {
            (Severity::Low, "there was none of this maker before".to_owned())
        } else {
            return;
        };
        let name = self.describe(flow);
        let title = format!("A device of an unusual maker: {name}");
        seen.push(sighting(&MAKER, severity, flow, title, format!("{name} is made by {maker}; {why}.")));
    }

    /// Counts one of many, and says so when it is time to.
    fn fold(&mut self, many: Many, flow: &Flow, now_ms: i64, seen: &mut Seen) {
        seen.extend(self.state.folds[many as usize].say(many, flow, now_ms));
    }

    /// A device with what is known of it.
    fn describe(&self, flow: &Flow) -> String {
        let device = self.state.inventory.get(flow.source_mac);
        let mut known = Vec::new();
        if let Some(device) = device.filter(|device| !device.addresses.is_empty()) {
            let addresses: Vec<Ip> = device.addresses.iter().map(|address| address.ip).collect();
            known.push(listed(&addresses, addresses.len() as u64));
        }
        match (kind(flow.source_mac), self.makers.maker(flow.source_mac)) {
            (Kind::Virtual(of), _) => known.push(format!("virtual, {of}")),
            (Kind::Random, _) => known.push("random address".to_owned()),
            (_, Some(maker)) => known.push(maker.to_string()),
            _ => {}
        }
        if device.is_some_and(Device::is_router) {
            known.push("a router".to_owned());
        }
        let mac = flow.source_mac;
        if known.is_empty() { mac.to_string() } else { format!("{mac} ({})", known.join(", ")) }
    }

    /// Follows which card has an inside address.
    fn follow(&mut self, flow: &Flow, is_learning: bool, now_ms: i64, seen: &mut Seen) {
        let (ip, learning_ms) = (flow.source, self.settings.learning.0);
        if is_link_local(ip) || matches!(kind(flow.source_mac), Kind::Router(_)) {
            return;
        }
        let inventory = &mut self.state.inventory;
        let Some(device) = inventory.get(flow.source_mac) else { return };
        let sender = if device.router_since_ms.is_none() {
            Sender::Device
        } else if !inventory.is_established(flow.source_mac, learning_ms, now_ms) {
            Sender::Relay
        } else if is_own(device, inventory, flow) {
            Sender::Router
        } else {
            return;
        };
        if sender == Sender::Router
            && let Some(device) = inventory.get_mut(flow.source_mac)
            && !device.own.contains(&ip)
        {
            device.own.push(ip);
        }
        if let Some(other) = self.state.moves.other(flow)
            && inventory.is_established(other, learning_ms, now_ms)
            && inventory.get(other).is_some_and(|device| !device.own.contains(&ip))
        {
            // It was a host behind the router, before that was known as one.
            self.state.moves.forget(flow);
        }
        self.state.moves.take(flow, sender, is_learning, seen);
    }

    /// An inside IPv4 address of records without MAC addresses.
    fn see_address(&mut self, ip: Ip, connection: &Connection, now_ms: i64, seen: &mut Seen) {
        let is_learning = self.state.inventory.age_ms(now_ms) < self.settings.learning.0;
        let is_new = self.state.inventory.add_address(ip, now_ms);
        let flow = Flow { source: ip, source_mac: Mac::default(), ..connection.to_flow() };
        let sighting = |rule, severity, title, explanation| Sighting {
            subject: ip.into(),
            evidence: vec![connection.to_flow()],
            ..sighting(rule, severity, &flow, title, explanation)
        };
        match self.approvals.as_ref().filter(|approvals| approvals.has_addresses()) {
            Some(approvals) => {
                let is_due = self.state.said.get(&ip).is_none_or(|said| now_ms - said >= AGAIN_MS);
                if approvals.has_address(ip) || !is_due {
                    return;
                }
                let mut is_first = false;
                *self.state.said.entry(ip, || {
                    is_first = true;
                    now_ms
                }) = now_ms;
                let arrivals = &mut self.state.arrivals[1];
                if is_first && arrive(arrivals, now_ms) > SINGLE {
                    return self.fold(Many::Unauthorised, &flow, now_ms, seen);
                }
                let title = format!("An unauthorised device: {ip}");
                let explanation =
                    format!("{ip} talks to others and is not in the file of approvals; its MAC address is not known.");
                seen.push(sighting(&UNAUTHORISED, Severity::Medium, title, explanation));
            }
            None if is_new && !is_learning => {
                if arrive(&mut self.state.arrivals[2], now_ms) > RARE {
                    return self.fold(Many::Addresses, &flow, now_ms, seen);
                }
                let explanation = format!("{ip} was never seen before; its MAC address is not known.");
                seen.push(sighting(&NEW, Severity::Low, format!("A new address: {ip}"), explanation));
            }
            None => {}
        }
    }
}

impl Detector for Devices {
    fn flow(&mut self, flow: &Flow, context: Context<'_>, seen: &mut Seen) {
        if !flow.source_mac.is_of_a_station() || flow.source.is_to_many() {
            return;
        }
        let origin = match () {
            () if context.site.is_inside(flow.source) => Origin::Inside,
            () if flow.source.is_of_a_host() => Origin::Outside,
            () => Origin::Nameless,
        };
        let now_ms = context.now_ms;
        let inventory = &mut self.state.inventory;
        let is_learning = inventory.age_ms(now_ms) < self.settings.learning.0;
        if inventory.get(flow.source_mac).is_none() {
            inventory.add(flow);
        }
        let Some(device) = inventory.get_mut(flow.source_mac) else { return };
        let has_new_address = origin != Origin::Nameless && device.note(flow, origin == Origin::Inside);
        if origin == Origin::Outside {
            return;
        }
        let is_settled = device.is_met && (device.is_approved || self.approvals.is_none());
        let is_to_follow = origin == Origin::Inside && device.is_to_follow(flow);
        if has_new_address && flow.source.is_v4() {
            inventory.add_address(flow.source, now_ms);
        }
        if !is_settled {
            self.look_at(flow, is_learning, now_ms, seen);
        }
        if is_to_follow {
            self.follow(flow, is_learning, now_ms, seen);
        }
    }

    fn judged(&mut self, connection: &Connection, outcome: Outcome, context: Context<'_>, seen: &mut Seen) {
        // Who was answered and went on is there; the source of a spoofed packet is not.
        let is_talk = connection.protocol != protocol::TCP || connection.client_flags & flag::ACK != 0;
        if outcome != Outcome::Answered || !is_talk || connection.client_mac.is_of_a_station() {
            return;
        }
        for ip in [connection.client, connection.server] {
            if ip.is_v4() && ip.0 >> 24 != 0x00ff_ff7f && !is_link_local(ip) && context.site.is_inside(ip) {
                self.see_address(ip, connection, context.now_ms, seen);
            }
        }
    }

    fn skip(&mut self, ms: i64) {
        self.state.inventory.skip(ms);
    }

    fn advance(&mut self, _: Context<'_>, _: &mut Seen) {
        if let Some(approvals) = self.new_approvals.take() {
            self.approve(approvals);
        }
    }

    fn name(&self) -> &'static str {
        NAME
    }

    fn learned(&self) -> Option<Vec<u8>> {
        postcard::to_stdvec(self.state()).ok()
    }

    fn go_on_with(&mut self, learned: &[u8]) -> bool {
        postcard::from_bytes(learned).map(|learned| self.state = learned).is_ok()
    }

    fn memory(&self) -> (usize, u64) {
        let (inventory, (places, forgotten)) = (&self.state.inventory, self.state.moves.memory());
        (inventory.entries() + places + self.state.said.len(), inventory.forgotten() + forgotten)
    }
}

/// Whether a router talks from an address of its own: to a device in the same /24, which would hear from any other directly.
fn is_own(router: &Device, inventory: &Inventory, flow: &Flow) -> bool {
    const MOST: usize = 8;
    router.own.contains(&flow.source)
        || router.own.len() < MOST
            && flow.source.is_v4()
            && flow.source.0 >> 8 == flow.destination.0 >> 8
            && inventory.get(flow.destination_mac).is_some_and(|device| !device.is_router())
}
