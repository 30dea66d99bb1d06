//! Messages for tests, octet by octet.

/// A number's octets, one number after the other.
pub(in crate::collect) fn words<const N: usize>(words: [u16; N]) -> Vec<u8> {
    words.into_iter().flat_map(u16::to_be_bytes).collect()
}

/// A set of this ID.
pub(in crate::collect) fn set(id: u16, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len() + 4).expect("a set is short");
    [&words([id, length]), body].concat()
}

/// A template of IPFIX or NetFlow v9: IDs and lengths of its fields.
pub(in crate::collect) fn template(id: u16, fields: &[(u16, u16)]) -> Vec<u8> {
    let mut octets = words([id, u16::try_from(fields.len()).expect("a template is short")]);
    fields.iter().for_each(|(id, length)| octets.extend(words([*id, *length])));
    octets
}

/// A message of IPFIX, exported in this second since 1970.
pub(in crate::collect) fn ipfix(seconds: u32, sequence: u32, domain: u32, sets: &[Vec<u8>]) -> Vec<u8> {
    let sets = sets.concat();
    let length = u16::try_from(sets.len() + 16).expect("a message is short");
    let header = [seconds, sequence, domain].map(u32::to_be_bytes).concat();
    [words([10, length]), header, sets].concat()
}

/// A message of NetFlow v9, at this uptime in milliseconds and second since 1970.
pub(in crate::collect) fn netflow9((uptime, seconds): (u32, u32), sequence: u32, id: u32, sets: &[Vec<u8>]) -> Vec<u8> {
    let header = [uptime, seconds, sequence, id].map(u32::to_be_bytes).concat();
    let count = u16::try_from(sets.len()).expect("a message has few sets");
    [words([9, count]), header, sets.concat()].concat()
}

/// A message of NetFlow v5 with records of as many octets as these, from engine 1.2, which samples one of a hundred.
pub(in crate::collect) fn netflow5((uptime, seconds): (u32, u32), sequence: u32, octets: &[u32]) -> Vec<u8> {
    let header = [uptime, seconds, 250_000_000, sequence].map(u32::to_be_bytes).concat();
    let count = u16::try_from(octets.len()).expect("a message has few records");
    let mut message = [words([5, count]), header, words([0x0102, 0x4064])].concat();
    for octets in octets {
        let numbers = [0xc000_0201, 0xc633_6402, 0, 0x0003_0004, 1, *octets, uptime - 2000, uptime - 1000];
        message.extend(numbers.map(u32::to_be_bytes).concat());
        message.extend([0xc3, 0x50, 0x01, 0xbb, 0, 0x1b, 6, 0]);
        message.extend([0xfd, 0xe8, 0xfd, 0xe9, 24, 25, 0, 0]);
    }
    message
}
