//! A collector that knows of flowprobe only what its messages say.

use std::collections::BTreeMap;

use netflow_parser::variable_versions::{ipfix, v9};
use netflow_parser::{FieldValue, NetflowPacket, NetflowParser};

/// netflow_parser, and the templates that it has read.
#[derive(Default)]
pub(super) struct Reader {
    parser: NetflowParser,
    /// Enterprise number and ElementID of the fields of each.
    templates: BTreeMap<u16, Vec<(u32, u16)>>,
}

/// A Data Record.
#[derive(Debug, PartialEq)]
pub(super) struct Read {
    pub(super) template_id: u16,
    /// Enterprise number, ElementID and octets of each field.
    pub(super) fields: Vec<(u32, u16, Vec<u8>)>,
    /// By the header of NetFlow v9, when the exporter was booted: milliseconds since 1970.
    pub(super) boot_ms: u64,
}

impl Read {
    /// The values of an element as numbers.
    pub(super) fn numbers(&self, enterprise: u32, id: u16) -> Vec<u64> {
        let fields = self.fields.iter().filter(|field| (field.0, field.1) == (enterprise, id));
        fields.map(|field| field.2.iter().fold(0, |number, octet| number << 8 | u64::from(*octet))).collect()
    }

    /// The value of an element of IANA's that is there once.
    pub(super) fn number(&self, id: u16) -> u64 {
        let numbers = self.numbers(0, id);
        assert_eq!(numbers.len(), 1, "element {id} is there once: {self:?}");
        numbers[0]
    }

    /// The octets of the first field of an element of IANA's.
    pub(super) fn octets(&self, id: u16) -> &[u8] {
        let field = self.fields.iter().find(|field| (field.0, field.1) == (0, id));
        field.map(|field| field.2.as_slice()).expect("the element is there")
    }
}

impl Reader {
    /// Reads a message; what is in it of Data Records, those of options included. No template may be missing.
    pub(super) fn read(&mut self, message: &[u8]) -> Vec<Read> {
        let result = self.parser.parse_bytes(message);
        assert!(result.error.is_none(), "{:?}", result.error);
        let mut records = Vec::new();
        for packet in result.packets {
            match packet {
                NetflowPacket::IPFix(packet) => {
                    for set in packet.flowsets {
                        self.ipfix(set, &mut records);
                    }
                }
                NetflowPacket::V9(packet) => {
                    let boot_ms = u64::from(packet.header.unix_secs) * 1000;
                    let boot_ms = boot_ms.wrapping_sub(u64::from(packet.header.sys_up_time));
                    for set in packet.flowsets {
                        self.netflow9(set, boot_ms, &mut records);
                    }
                }
                other => unreachable!("{other:?} has no templates"),
            }
        }
        records
    }

    /// Every Template ID that was read.
    pub(super) fn template_ids(&self) -> Vec<u16> {
        self.templates.keys().copied().collect()
    }

    /// Enterprise number and ElementID of each field of a template.
    pub(super) fn template(&self, id: u16) -> &[(u32, u16)] {
        &self.templates[&id]
    }

    fn ipfix(&mut self, set: ipfix::FlowSet, records: &mut Vec<Read>) {
        use ipfix::FlowSetBody::{Data, OptionsData, OptionsTemplate, OptionsTemplates, Template, Templates};
        let field =
            |field: &ipfix::TemplateField| (field.enterprise_number.unwrap_or(0), field.field_type_number & 0x7fff);
        let mut learn =
            |id, fields: &[ipfix::TemplateField]| self.templates.insert(id, fields.iter().map(field).collect());
        let id = set.header.header_id;
        match set.body {
            Template(template) => drop(learn(template.template_id, &template.fields)),
            Templates(templates) => templates.iter().for_each(|one| drop(learn(one.template_id, &one.fields))),
            OptionsTemplate(template) => drop(learn(template.template_id, &template.fields)),
            OptionsTemplates(templates) => templates.iter().for_each(|one| drop(learn(one.template_id, &one.fields))),
            Data(data) => records.extend(data.fields.iter().map(|fields| self.record(id, 0, fields))),
            OptionsData(data) => records.extend(data.fields.iter().map(|fields| self.record(id, 0, fields))),
            other => unreachable!("{other:?} in set {id}"),
        }
    }

    fn netflow9(&mut self, set: v9::FlowSet, boot_ms: u64, records: &mut Vec<Read>) {
        use v9::FlowSetBody::{Data, OptionsData, OptionsTemplate, Template};
        let id = set.header.flowset_id;
        match set.body {
            Template(templates) => {
                for template in templates.templates {
                    let fields = template.fields.iter().map(|field| (0, field.field_type_number));
                    self.templates.insert(template.template_id, fields.collect());
                }
            }
            OptionsTemplate(templates) => {
                for template in templates.templates {
                    let scope = template.scope_fields.iter().map(|field| (0, field.field_type_number));
                    let fields = template.option_fields.iter().map(|field| (0, field.field_type_number));
                    self.templates.insert(template.template_id, scope.chain(fields).collect());
                }
            }
            Data(data) => records.extend(data.fields.iter().map(|fields| self.record(id, boot_ms, fields))),
            OptionsData(data) => {
                for record in data.fields {
                    let scope = record.scope_fields.into_iter().map(|scope| match scope {
                        v9::ScopeDataField::System(octets) | v9::ScopeDataField::Interface(octets) => octets,
                        other => unreachable!("{other:?} is no scope of flowprobe's"),
                    });
                    let values = record.options_fields.iter().map(|(_, value)| octets(value));
                    let fields = self.templates[&id].iter().zip(scope.chain(values));
                    let fields = fields.map(|(&(enterprise, number), octets)| (enterprise, number, octets)).collect();
                    records.push(Read { template_id: id, fields, boot_ms });
                }
            }
            other => unreachable!("{other:?} in set {id}"),
        }
    }

    fn record<Name>(&self, template_id: u16, boot_ms: u64, fields: &[(Name, FieldValue)]) -> Read {
        let template = &self.templates[&template_id];
        assert_eq!(template.len(), fields.len());
        let fields = template.iter().zip(fields);
        let fields = fields.map(|(&(enterprise, id), (_, value))| (enterprise, id, octets(value))).collect();
        Read { template_id, fields, boot_ms }
    }
}

/// Whatever netflow_parser makes of a value, these are its octets.
fn octets(value: &FieldValue) -> Vec<u8> {
    let mut octets = Vec::new();
    value.write_be_bytes(&mut octets).expect("memory takes everything");
    octets
}
