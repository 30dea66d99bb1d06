//! Records that were received: what flowprobe has words for, and the rest as it came.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::*;
use crate::collect::{Beyond, Origin, Specifier, Tail, VARIABLE_LENGTH};
use crate::export::session::{Session, Templates};

const EXPORTER: Specifier = Specifier { enterprise: 0, id: 130, length: 4 };
const NAT: Specifier = Specifier { enterprise: 0, id: 225, length: 4 };
const OF_ENTERPRISE: Specifier = Specifier { enterprise: 35_632, id: 77, length: 2 };
const TEXT: Specifier = Specifier { enterprise: 0, id: 96, length: VARIABLE_LENGTH };

/// What an exporter says beyond in two manners, a long text in the second.
fn beyond(texts: &[&[u8]]) -> Beyond {
    let origin = Arc::new(Origin { address: IpAddr::from([192, 0, 2, 77]), domain: 5 });
    let short = Arc::new(Tail { fields: vec![EXPORTER, NAT] });
    let long = Arc::new(Tail { fields: vec![EXPORTER, NAT, OF_ENTERPRISE, TEXT] });
    let mut beyond = Beyond::default();
    for text in texts {
        let mut octets = vec![192, 0, 2, 77, 203, 0, 113, 9];
        if text.is_empty() {
            beyond.push(&origin, [None, None], &short, &octets);
            continue;
        }
        octets.extend([0xab, 0xcd]);
        match u8::try_from(text.len()) {
            Ok(length) if length < 255 => octets.push(length),
            _ => octets.extend([&[255][..], &u16::try_from(text.len()).expect("short").to_be_bytes()].concat()),
        }
        octets.extend_from_slice(text);
        beyond.push(&origin, [None, None], &long, &octets);
    }
    beyond
}

fn received_encoder(format: Format) -> Encoder {
    Encoder::new(format, Arc::new(Schema::of(format, Extras::default(), &Fields::default())), 9, 1400)
}

fn push(encoder: &mut Encoder, record: &FlowRecord, beyond: &Beyond, index: usize) -> Pushed {
    encoder.push_any(record, None, beyond.get(index), CLOCK)
}

#[test]
fn what_was_received_is_said_as_it_came_beside_records_of_our_own() {
    let beyond = beyond(&[b"", b"web", b"web browsing"]);
    for format in FORMATS {
        let mut encoder = received_encoder(format);
        let mut reader = Reader::default();
        for index in 0..3_u16 {
            let record = record(index + 1, Family::V4);
            assert_eq!(push(&mut encoder, &record, &beyond, usize::from(index)), Pushed::Taken);
        }
        assert_eq!(encoder.push(&record(4, Family::V6), None, CLOCK), Pushed::Taken);
        let message = encoder.finish(CLOCK).expect("a message");
        assert_eq!(message.weight.records, 4);
        for templates in &message.templates.messages {
            reader.read(templates);
        }
        let read = reader.read(&message.octets);
        for (number, read) in (1_u64..).zip(&read[..3]) {
            assert_eq!((read.number(7), read.number(1)), (number, number << 33));
            assert_eq!((read.octets(130), read.octets(225)), (&[192, 0, 2, 77][..], &[203, 0, 113, 9][..]));
        }
        assert!(read[3].numbers(0, 130).is_empty() && read[3].template_id < 1024);
        let enterprise: Vec<Vec<u64>> = read.iter().map(|read| read.numbers(35_632, 77)).collect();
        if format == Format::Ipfix {
            assert_eq!(enterprise, [vec![], vec![0xabcd], vec![0xabcd], vec![]]);
            assert_eq!((read[1].octets(96), read[2].octets(96)), (&b"web"[..], &b"web browsing"[..]));
            assert_eq!(read[1].template_id, read[2].template_id);
        } else {
            // NetFlow v9 has no enterprises and no variable length.
            assert!(enterprise.iter().all(Vec::is_empty) && read[1].numbers(0, 96).is_empty());
            let flow = record(1, Family::V4);
            assert_eq!(read[0].boot_ms + read[0].number(22), flow.start_us / 1000);
        }
    }
}

#[test]
fn templates_that_come_about_later_are_announced_alone_and_refreshed_with_the_others() {
    let beyond = beyond(&[b"", b"web"]);
    for manner in [Templates::Withdrawn, Templates::Refreshed(Duration::from_secs(60))] {
        let mut encoder = received_encoder(Format::Ipfix);
        let mut session = Session::new(Format::Ipfix, manner);
        let now = Instant::now();
        let mut announced = Vec::new();
        let mut messages = Vec::new();
        for index in 0..2 {
            push(&mut encoder, &record(1, Family::V4), &beyond, index);
            let mut message = encoder.finish(CLOCK).expect("a message");
            announced.push(session.next(&mut message, now, 0).len());
            messages.push(message);
        }
        let own = received_encoder(Format::Ipfix).templates().messages.len();
        assert_eq!(announced, [own + 1, 1]);
        // A message of before needs no more than is known.
        assert!(session.next(&mut messages[0].clone(), now, 0).is_empty());
        let later = session.refresh(now + Duration::from_secs(60), 0).len();
        assert_eq!(later, if manner == Templates::Withdrawn { 0 } else { own + 2 });
    }
}

#[test]
fn a_tail_that_no_message_has_room_for_is_not_said() {
    let text = vec![b'x'; 1400];
    let beyond = beyond(&[b"web", &text, b"mail"]);
    let mut encoder = received_encoder(Format::Ipfix);
    let record = record(1, Family::V6);
    let pushed = [0, 1, 2].map(|index| push(&mut encoder, &record, &beyond, index));
    assert_eq!(pushed, [Pushed::Taken, Pushed::Unsayable, Pushed::Taken]);
    let message = encoder.finish(CLOCK).expect("a message");
    assert_eq!((message.records, message.weight.records), (2, 2));
    assert!(message.octets.len() <= 1400);
}

#[test]
fn a_received_biflow_is_one_record_and_brings_its_tail_when_it_is_packed_again() {
    let beyond = beyond(&[b"web"]);
    let mut encoder = received_encoder(Format::Ipfix);
    encoder.keep_source();
    let [forward, reverse] = biflow(3, Family::V4);
    assert_eq!(encoder.push_any(&forward, Some(&reverse), beyond.get(0), CLOCK), Pushed::Taken);
    let first = encoder.finish(CLOCK).expect("a message");
    for (record, reverse, said) in first.source.conversations() {
        assert_eq!(encoder.push_any(record, reverse, said, CLOCK), Pushed::Taken);
    }
    let again = encoder.finish(CLOCK).expect("a message");
    assert_eq!(again.octets, first.octets);
    let mut reader = Reader::default();
    for templates in &again.templates.messages {
        reader.read(templates);
    }
    let read = reader.read(&again.octets);
    assert_eq!((read.len(), read[0].numbers(29_305, 2)), (1, vec![reverse.packets]));
    assert_eq!(read[0].octets(96), b"web");
}

/// What an exporter says that sends ever other templates: each of these is of a tail of its own.
fn restless(number: u16) -> Beyond {
    let origin = Arc::new(Origin { address: IpAddr::from([192, 0, 2, 66]), domain: 5 });
    let fields = vec![EXPORTER, Specifier { enterprise: 64_000, id: number, length: 2 }];
    let mut beyond = Beyond::default();
    beyond.push(&origin, [None, None], &Arc::new(Tail { fields }), &[192, 0, 2, 66, 1, 2]);
    beyond
}

/// Takes a record into messages, which a collector reads in their session.
fn deliver(encoder: &mut Encoder, session: &mut Session, reader: &mut Reader, beyond: &Beyond) -> Vec<reader::Read> {
    let mut read = Vec::new();
    let record = record(1, Family::V4);
    let mut pushed = push(encoder, &record, beyond, 0);
    for last in [false, true] {
        if last || pushed == Pushed::NoRoom {
            let mut message = encoder.finish(CLOCK).expect("there is something in it");
            // The reader knows no withdrawals: templates without fields.
            for templates in session.next(&mut message, Instant::now(), 0).iter().filter(|all| half(all, 22) > 0) {
                reader.read(templates);
            }
            read.extend(reader.read(&message.octets));
        }
        if pushed == Pushed::NoRoom {
            pushed = push(encoder, &record, beyond, 0);
        }
        assert_eq!(pushed, Pushed::Taken);
    }
    read
}

#[test]
fn who_sends_ever_other_templates_does_not_use_up_those_of_others() {
    for manner in [Templates::Withdrawn, Templates::Refreshed(Duration::from_secs(60))] {
        let mut encoder = received_encoder(Format::Ipfix);
        let mut session = Session::new(Format::Ipfix, manner);
        let mut reader = Reader::default();
        let sound = beyond(&[b"web"]);
        for number in 0..7000 {
            let other = restless(number);
            if number % 2 == 0 {
                // In a message with others, which the templates of all outlive.
                assert_ne!(push(&mut encoder, &record(2, Family::V4), &sound, 0), Pushed::Unsayable);
            }
            let read = deliver(&mut encoder, &mut session, &mut reader, &other);
            assert_eq!(read.last().expect("a record").numbers(64_000, number), [0x0102]);
            if number % 2 == 0 {
                assert_eq!(read[0].numbers(35_632, 77), [0xabcd], "{number}");
            }
            assert!(encoder.templates().messages.len() <= 2100);
        }
    }
}

#[test]
fn wide_templates_are_as_few_as_their_octets_allow() {
    let mut encoder = Encoder::new(Format::Ipfix, Arc::new(Schema::default()), 9, 16_384);
    let origin = Arc::new(Origin { address: IpAddr::from([192, 0, 2, 66]), domain: 5 });
    for number in 0..500_u16 {
        let field = |id: u16| Specifier { enterprise: 64_000, id: id + number, length: 1 };
        let tail = Arc::new(Tail { fields: (0..1000).map(field).collect() });
        let mut wide = Beyond::default();
        wide.push(&origin, [None, None], &tail, &[7; 1000]);
        if push(&mut encoder, &record(1, Family::V4), &wide, 0) == Pushed::NoRoom {
            encoder.finish(CLOCK).expect("a message");
            assert_eq!(push(&mut encoder, &record(1, Family::V4), &wide, 0), Pushed::Taken);
        }
        let octets: usize = encoder.templates().messages.iter().map(|message| message.len()).sum();
        assert!(octets < 600 << 10, "{octets}");
    }
}
