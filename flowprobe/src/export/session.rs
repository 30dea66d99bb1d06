//! What a collector has had: its templates, and the sequence numbers that it expects next (RFC 7011 sections 3.1, 8 and 10.3).
//! Pure: it is handed the time, and says what is to be sent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Format;
use super::packed::{Packed, TemplateSet};

/// How a collector comes to know templates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Templates {
    /// Sent again and again, since datagrams are lost and collectors restart (RFC 7011 section 8.4).
    Refreshed(Duration),
    /// Sent once in a connection, and withdrawn before their IDs are used for others (section 8.1).
    Withdrawn,
}

/// One transport session.
#[derive(Debug)]
pub struct Session {
    format: Format,
    manner: Templates,
    /// By Observation Domain ID or Source ID.
    domains: BTreeMap<u32, Domain>,
}

#[derive(Debug, Default)]
struct Domain {
    sequence: u32,
    templates: Arc<TemplateSet>,
    sent: Option<Instant>,
}

impl Session {
    /// A session of which nothing has been sent.
    #[must_use]
    pub const fn new(format: Format, manner: Templates) -> Self {
        Self { format, manner, domains: BTreeMap::new() }
    }

    /// Makes `message` the next one of the session. What it returns has to be sent before: the templates, where they are due.
    /// `export_time` is in seconds since 1970 UTC.
    pub fn next(&mut self, message: &mut Packed, now: Instant, export_time: u32) -> Vec<Vec<u8>> {
        let id = self.format.domain(&message.octets);
        let before = self.announce(id, &message.templates, now, export_time);
        let domain = self.domains.entry(id).or_default();
        self.format.stamp(&mut message.octets, domain.sequence, export_time);
        domain.sequence = domain.sequence.wrapping_add(self.format.step(message.records));
        before
    }

    /// Takes back the last message of a domain, which has not left and is going to be packed anew.
    pub fn take_back(&mut self, message: &Packed) {
        let id = self.format.domain(&message.octets);
        if let Some(domain) = self.domains.get_mut(&id) {
            domain.sequence = domain.sequence.wrapping_sub(self.format.step(message.records));
        }
    }

    /// The same of a message of templates, which NetFlow v9 counts.
    pub fn take_back_templates(&mut self, message: &[u8]) {
        let id = self.format.domain(message);
        if let Some(domain) = self.domains.get_mut(&id)
            && self.format == Format::NetFlow9
        {
            domain.sequence = domain.sequence.wrapping_sub(1);
        }
    }

    /// The templates of a domain, if it has not had these or if they are due again.
    pub fn announce(&mut self, id: u32, templates: &Arc<TemplateSet>, now: Instant, export_time: u32) -> Vec<Vec<u8>> {
        let (format, manner) = (self.format, self.manner);
        let domain = self.domains.entry(id).or_default();
        let known = &domain.templates.messages;
        // A set that has grown by templates of received records has the older ones in front, and messages of before it need no more.
        let same = Arc::ptr_eq(&domain.templates, templates)
            || domain.templates == *templates
            || (!templates.messages.is_empty() && known.starts_with(&templates.messages));
        let grown = !same && !known.is_empty() && templates.messages.starts_with(known);
        let due = match (domain.sent, manner) {
            (Some(sent), Templates::Refreshed(interval)) => now.saturating_duration_since(sent) >= interval,
            (Some(_), Templates::Withdrawn) => false,
            (None, _) => true,
        };
        if same && !due {
            return Vec::new();
        }
        let mut messages = Vec::new();
        if grown && !due {
            messages.extend(templates.messages[known.len()..].iter().map(|message| message.to_vec()));
            domain.templates = Arc::clone(templates);
            return stamped(messages, format, id, domain, export_time);
        }
        if !same && !grown && domain.sent.is_some() && manner == Templates::Withdrawn {
            messages.extend(withdrawal(&domain.templates));
        }
        if !same {
            domain.templates = Arc::clone(templates);
        }
        domain.sent = Some(now);
        messages.extend(domain.templates.messages.iter().map(|message| message.to_vec()));
        stamped(messages, format, id, domain, export_time)
    }

    /// The templates that are due again, of all domains, so that a collector which starts late learns them though no flow ends.
    pub fn refresh(&mut self, now: Instant, export_time: u32) -> Vec<Vec<u8>> {
        let known: Vec<(u32, Arc<TemplateSet>)> =
            self.domains.iter().map(|(id, domain)| (*id, Arc::clone(&domain.templates))).collect();
        known.into_iter().flat_map(|(id, templates)| self.announce(id, &templates, now, export_time)).collect()
    }

    /// Takes note that messages were lost: templates may have been among them, and are due again.
    pub fn lost(&mut self) {
        for domain in self.domains.values_mut() {
            domain.sent = None;
        }
    }
}

/// Messages of templates with the header that they have in a domain.
fn stamped(mut messages: Vec<Vec<u8>>, format: Format, id: u32, domain: &mut Domain, export_time: u32) -> Vec<Vec<u8>> {
    for message in &mut messages {
        format.address(message, id, domain.sequence, export_time);
        if format == Format::NetFlow9 {
            domain.sequence = domain.sequence.wrapping_add(1);
        }
    }
    messages
}

/// A message that withdraws all templates of a set (RFC 7011 section 8.1); none where there are none.
fn withdrawal(templates: &TemplateSet) -> Option<Vec<u8>> {
    const HEADER: usize = 16;
    let mut message = vec![0; HEADER];
    for set in [TEMPLATE_SET, OPTIONS_TEMPLATE_SET] {
        let ids: Vec<u16> = templates.messages.iter().flat_map(|message| template_ids(message, set)).collect();
        if ids.is_empty() {
            continue;
        }
        message.extend(set.to_be_bytes());
        message.extend(u16::try_from(4 + 4 * ids.len()).unwrap_or(u16::MAX).to_be_bytes());
        for id in ids {
            message.extend(id.to_be_bytes());
            message.extend([0; 2]);
        }
    }
    if message.len() == HEADER {
        return None;
    }
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    message[0..2].copy_from_slice(&10_u16.to_be_bytes());
    message[2..4].copy_from_slice(&length.to_be_bytes());
    Some(message)
}

/// Set IDs of IPFIX.
const TEMPLATE_SET: u16 = 2;
const OPTIONS_TEMPLATE_SET: u16 = 3;

/// The Template IDs that the sets of one kind in a message of flowprobe's own define.
fn template_ids(message: &[u8], wanted: u16) -> Vec<u16> {
    let half = |at: usize| message.get(at..at + 2).map(|octets| u16::from_be_bytes([octets[0], octets[1]]));
    let mut ids = Vec::new();
    let mut set = 16;
    while let (Some(id), Some(length)) = (half(set), half(set + 2)) {
        let end = set + usize::from(length.max(4));
        let mut at = set + 4;
        while id == wanted && at + 4 <= end {
            let (Some(template), Some(count)) = (half(at), half(at + 2)) else { break };
            ids.push(template);
            at += if wanted == OPTIONS_TEMPLATE_SET { 6 } else { 4 };
            for _ in 0..count {
                let is_enterprise = half(at).is_some_and(|id| id & 0x8000 != 0);
                at += if is_enterprise { 8 } else { 4 };
            }
        }
        set = end;
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::super::elements::{Extras, Fields, Schema};
    use super::super::encode::Encoder;
    use super::*;
    use crate::losses::Lost;

    fn templates(extras: Extras) -> Arc<TemplateSet> {
        let schema = Schema::of(Format::Ipfix, extras, &Fields::default());
        Encoder::new(Format::Ipfix, Arc::new(schema), 1, 1400).templates()
    }

    fn message(format: Format, domain: u8, records: u32, templates: &Arc<TemplateSet>) -> Packed {
        let mut octets = vec![0; format.header()];
        let at = if format == Format::NetFlow9 { 19 } else { 15 };
        octets[at] = domain;
        Packed {
            octets,
            records,
            weight: Lost::default(),
            templates: Arc::clone(templates),
            source: Default::default(),
        }
    }

    fn sequence(format: Format, octets: &[u8]) -> u32 {
        let at = if format == Format::NetFlow9 { 12 } else { 8 };
        u32::from_be_bytes(octets[at..at + 4].try_into().expect("four octets"))
    }

    #[test]
    fn each_domain_has_its_own_sequence_and_its_own_templates() {
        let set = templates(Extras::default());
        let mut session = Session::new(Format::Ipfix, Templates::Withdrawn);
        let now = Instant::now();
        let mut seen = Vec::new();
        for (domain, records) in [(1, 5), (2, 3), (1, 2), (2, 1), (1, 1)] {
            let mut message = message(Format::Ipfix, domain, records, &set);
            let before = session.next(&mut message, now, 77);
            assert_eq!(message.octets[4..8], [0, 0, 0, 77]);
            assert!(before.iter().all(|octets| octets[12..16] == [0, 0, 0, domain]));
            seen.push((before.len(), sequence(Format::Ipfix, &message.octets)));
        }
        let all = set.messages.len();
        assert_eq!(seen, [(all, 0), (all, 0), (0, 5), (0, 3), (0, 7)]);
    }

    #[test]
    fn netflow9_counts_messages_those_of_templates_too() {
        let set = Arc::new(TemplateSet { messages: vec![[0; 20].into(); 2] });
        let mut session = Session::new(Format::NetFlow9, Templates::Refreshed(Duration::from_secs(60)));
        let mut now = Instant::now();
        let mut seen = Vec::new();
        for wait in [0, 1, 60] {
            now += Duration::from_secs(wait);
            let mut message = message(Format::NetFlow9, 4, 30, &set);
            let before = session.next(&mut message, now, 77);
            seen.extend(before.iter().map(|octets| sequence(Format::NetFlow9, octets)));
            seen.push(sequence(Format::NetFlow9, &message.octets));
        }
        assert_eq!(seen, [0, 1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn templates_are_refreshed_when_they_are_due_or_may_be_lost() {
        let set = templates(Extras::default());
        let mut session = Session::new(Format::Ipfix, Templates::Refreshed(Duration::from_secs(60)));
        let now = Instant::now();
        let all = set.messages.len();
        assert_eq!(session.announce(1, &set, now, 0).len(), all);
        assert_eq!(session.refresh(now + Duration::from_secs(59), 0).len(), 0);
        assert_eq!(session.refresh(now + Duration::from_secs(60), 0).len(), all);
        session.lost();
        assert_eq!(session.refresh(now + Duration::from_secs(61), 0).len(), all);
    }

    #[test]
    fn other_templates_come_after_a_withdrawal_of_those_before() {
        let first = templates(Extras { tunnels: true, ..Extras::default() });
        let second = templates(Extras::default());
        let mut session = Session::new(Format::Ipfix, Templates::Withdrawn);
        session.announce(1, &first, Instant::now(), 0);
        let messages = session.announce(1, &second, Instant::now(), 0);
        assert_eq!(messages.len(), 1 + second.messages.len());
        let withdrawn = &messages[0];
        assert_eq!(usize::from(u16::from_be_bytes([withdrawn[2], withdrawn[3]])), withdrawn.len());
        // Six layouts, and the options templates; each with no field.
        let ids: Vec<u16> = withdrawn[20..44].chunks(4).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
        assert_eq!(ids, [256, 257, 258, 259, 260, 261]);
        assert!(withdrawn[20..44].chunks(4).all(|pair| pair[2..] == [0, 0]));
        assert_eq!(withdrawn[44..46], [0, 3]);
        assert_eq!(template_ids(withdrawn, TEMPLATE_SET), ids);
    }

    #[test]
    fn a_message_that_is_taken_back_was_never_counted() {
        let set = templates(Extras::default());
        let mut session = Session::new(Format::Ipfix, Templates::Withdrawn);
        let mut one = message(Format::Ipfix, 1, 5, &set);
        session.next(&mut one, Instant::now(), 0);
        session.take_back(&one);
        session.next(&mut one, Instant::now(), 0);
        assert_eq!(sequence(Format::Ipfix, &one.octets), 0);
    }
}
