//! What can be looked at: the tabs, the panels that they consist of, and what a panel's rows are.

use std::net::IpAddr;

use super::api::Conversation;

/// A table on the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Panel {
    Sources,
    Destinations,
    Protocols,
    Ports,
    Conversations,
    Interfaces,
    /// The terms of the accounting sum.
    Accounting,
    /// The conversations of what was chosen.
    Chosen,
}

/// A screenful of panels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tab {
    #[default]
    Overview,
    Talkers,
    Protocols,
    Ports,
    Conversations,
    Interfaces,
}

impl Tab {
    /// In the order of the keys 1 to 6.
    pub(super) const ALL: [Self; 6] =
        [Self::Overview, Self::Talkers, Self::Protocols, Self::Ports, Self::Conversations, Self::Interfaces];

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Talkers => "Talkers",
            Self::Protocols => "Protocols",
            Self::Ports => "Ports",
            Self::Conversations => "Conversations",
            Self::Interfaces => "Interfaces",
        }
    }

    pub(super) const fn panels(self) -> &'static [Panel] {
        match self {
            Self::Overview => &[Panel::Sources, Panel::Protocols, Panel::Ports, Panel::Conversations],
            Self::Talkers => &[Panel::Sources, Panel::Destinations],
            Self::Protocols => &[Panel::Protocols],
            Self::Ports => &[Panel::Ports],
            Self::Conversations => &[Panel::Conversations],
            Self::Interfaces => &[Panel::Interfaces, Panel::Accounting],
        }
    }

    /// Where it is in [`Self::ALL`].
    pub(super) const fn number(self) -> usize {
        self as usize
    }

    /// The one that is so many further on, around the end.
    pub(super) const fn further(self, by: usize) -> Self {
        Self::ALL[(self.number() + by) % Self::ALL.len()]
    }
}

/// Which row it is, however rows are sorted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Address(IpAddr),
    Protocol(u8),
    Port(u8, u16),
    /// Protocol, source and its port, destination and its port.
    Conversation(u8, (IpAddr, u16), (IpAddr, u16)),
    /// Name and direction.
    Interface(String, String),
}

/// What conversations are shown of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Address(IpAddr),
    Protocol(u8),
    Port(u8, u16),
}

impl Key {
    /// What Enter on such a row shows the conversations of.
    pub(super) const fn choice(&self) -> Option<Choice> {
        match self {
            Self::Address(address) => Some(Choice::Address(*address)),
            Self::Protocol(protocol) => Some(Choice::Protocol(*protocol)),
            Self::Port(protocol, port) => Some(Choice::Port(*protocol, *port)),
            Self::Conversation(..) | Self::Interface(..) => None,
        }
    }
}

impl Choice {
    /// Whether a conversation is one of it, in either direction.
    pub(super) fn has(&self, conversation: &Conversation) -> bool {
        match *self {
            Self::Address(address) => address == conversation.source || address == conversation.destination,
            Self::Protocol(protocol) => protocol == conversation.protocol_identifier,
            Self::Port(protocol, port) => {
                protocol == conversation.protocol_identifier
                    && [conversation.source_port, conversation.destination_port].contains(&Some(port))
            }
        }
    }
}
